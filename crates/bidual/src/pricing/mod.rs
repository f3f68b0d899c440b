//! Pricing: the best new neuron for a dual vector ν, over all networks, and the
//! proof that there is none.
//!
//! κ(ν) = max{ |Σ_k ν_k (x_kᵀu)_+| : ρ(u) ≤ 1 } is attained in some cell, but
//! nothing here lists cells: [`Oracle::search`] climbs (a lower bound, with the
//! neurons that attain it), [`Oracle::prove`] bounds from above.

mod cells;
mod local;
pub mod moments;
mod projection;
mod prove;
pub mod simplicial;

pub use cells::CellPrices;
pub(crate) use local::pack;
pub use prove::{Bracket, Budget, Goal, Proof};

use crate::cone::{Gauge, Rows};
use crate::linalg::Mat;
use std::sync::{Arc, OnceLock};

/// A neuron that pricing proposes.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Direction u with ρ(u) = 1.
    pub direction: Vec<f64>,
    /// True for a negative output weight.
    pub negative: bool,
    /// ±Σ_k ν_k (x_kᵀu)_+ ≥ 0, the price attained.
    pub value: f64,
    /// Packed pattern of the closed cell in which u was found; u may lie on its facets.
    pub bits: Vec<u64>,
}

/// The rows that neurons see, and the gauge of their weights. Knows nothing else.
#[derive(Clone)]
pub struct Oracle {
    x: Arc<Mat>,
    by_rows: Arc<Vec<f64>>,
    by_columns: Arc<Vec<f64>>,
    gauge: Gauge,
    projected: OnceLock<Arc<projection::Projected>>,
}

impl Oracle {
    /// `x` is n×p, with its column of ones if there is a hidden bias.
    pub fn new(x: Arc<Mat>, gauge: Gauge) -> Self {
        let by_rows = (0..x.nrows()).flat_map(|i| (0..x.ncols()).map(move |j| (i, j)));
        let by_rows = Arc::new(by_rows.map(|at| x[at]).collect());
        let by_columns = (0..x.ncols()).flat_map(|j| x.col_as_slice(j).to_vec()).collect();
        Self { by_rows, by_columns: Arc::new(by_columns), gauge, x, projected: OnceLock::new() }
    }

    /// The rows, n×p.
    pub fn x(&self) -> &Mat {
        &self.x
    }

    /// The rows one after the other.
    pub(crate) fn by_rows(&self) -> &[f64] {
        &self.by_rows
    }

    /// The gauge of the weights.
    pub fn gauge(&self) -> Gauge {
        self.gauge
    }

    fn rows(&self) -> Rows<'_> {
        Rows {
            n: self.x.nrows(),
            d: self.x.ncols(),
            columns: &self.by_columns,
            rows: &self.by_rows,
            lengths: None,
        }
    }
}
