//! Which activation patterns 1{Xu ≥ 0} are in play: sampled, given, or all of them.

mod centre;
mod enumerate;
mod patterns;
mod restriction;
mod rows;
mod sample;

pub use enumerate::{
    Cells, EnumerateError, PARALLEL_TOLERANCE, RANK_TOLERANCE, ZERO_ROW, enumerate_cells,
    generic_bound,
};
pub use patterns::{PatternError, Patterns};
pub use sample::{Share, sample_gates};

use crate::linalg::{Mat, column, gemm};
use crate::network::Gates;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Distinct activation patterns of n samples with, where known, a gate that produces each.
#[derive(Debug, Clone)]
pub struct Arrangement {
    /// Distinct patterns; the zero pattern is left out.
    pub patterns: Arc<Patterns>,
    /// Gate k produces pattern k: bit i is on iff g_kᵀx_i ≥ t_k (x without bias column).
    pub gates: Option<Gates>,
    /// True if these are all open cells of the arrangement.
    pub complete: bool,
    /// Number of patterns before the zero pattern was left out.
    pub cells: usize,
}

impl Arrangement {
    /// Patterns of the given gates on the rows of `x` (n×d).
    pub fn from_gates(x: &Mat, gates: &Gates) -> Result<Self> {
        let (n, d, p) = (x.nrows(), x.ncols(), gates.thresholds.len());
        if gates.directions.nrows() != d {
            return Err(Error::Option(format!(
                "gates have {} entries but the data have {d} features: give one entry per feature",
                gates.directions.nrows()
            )));
        }
        if p == 0 {
            return Err(Error::Option("at least one gate is needed, found none".into()));
        }
        let packed: Vec<Vec<u64>> = (0..p)
            .collect::<Vec<_>>()
            .par_chunks(64)
            .flat_map_iter(|chunk| {
                let mut projections = Mat::zeros(n, chunk.len());
                let directions = gates.directions.as_ref().subcols(chunk[0], chunk.len());
                gemm(projections.as_mut(), x.as_ref(), directions, false);
                let pack = move |(k, &gate): (usize, &usize)| {
                    let threshold = gates.thresholds[gate];
                    let mut words = vec![0u64; n.div_ceil(64)];
                    for (i, v) in column(&projections, k).iter().enumerate() {
                        words[i / 64] |= u64::from(*v >= threshold) << (i % 64);
                    }
                    words
                };
                chunk.iter().enumerate().map(pack).collect::<Vec<_>>()
            })
            .collect();
        let mut all = Patterns::new(n);
        packed.iter().for_each(|words| all.push(words));
        let (distinct, kept) = all.deduplicated();
        let cells = distinct.len();
        let live: Vec<usize> = (0..distinct.len()).filter(|&k| !distinct.is_zero(k)).collect();
        if live.is_empty() {
            return Err(Error::Option(
                "every gate is off on every sample, so nothing can be trained: sample more patterns, or check the thresholds of given gates"
                    .into(),
            ));
        }
        let gate = |k: usize| kept[live[k]];
        Ok(Self {
            patterns: Arc::new(distinct.select(&live)),
            gates: Some(Gates {
                directions: Mat::from_fn(d, live.len(), |i, k| gates.directions[(i, gate(k))]),
                thresholds: (0..live.len()).map(|k| gates.thresholds[gate(k)]).collect(),
            }),
            complete: false,
            cells,
        })
    }

    /// Given patterns (duplicates and the zero pattern are left out).
    pub fn from_patterns(patterns: &Patterns) -> Result<Self> {
        let (distinct, _) = patterns.deduplicated();
        let live: Vec<usize> = (0..distinct.len()).filter(|&k| !distinct.is_zero(k)).collect();
        let cells = distinct.len();
        Ok(Self { patterns: Arc::new(distinct.select(&live)), gates: None, complete: false, cells })
    }

    /// All open cells of the rows of `x` (append a column of ones for a hidden
    /// bias), at most `limit`. Refuses data on which f64 cannot tell whether the
    /// list is complete: rows or columns that are almost, but not quite, parallel.
    pub fn all_cells(x: &Mat, limit: usize) -> Result<Self> {
        let (n, d) = (x.nrows(), x.ncols());
        let rows: Vec<f64> =
            (0..n).flat_map(|i| (0..d).map(move |j| (i, j))).map(|at| x[at]).collect();
        let cells = enumerate_cells(&rows, n, d, limit)?;
        check_separation(x, &cells)?;
        let live: Vec<usize> =
            (0..cells.patterns.len()).filter(|&k| !cells.patterns.is_zero(k)).collect();
        Ok(Self {
            patterns: Arc::new(cells.patterns.select(&live)),
            gates: None,
            complete: true,
            cells: cells.patterns.len(),
        })
    }

    /// Number of patterns P.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// True if there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// Relative width below which a cell of a complete list may be missing; charged
/// to every bound over all networks.
pub(crate) const CELL_WIDTH: f64 = 1e-11;

/// Errors if the list of cells treats different rows as one, or drops a direction that is not zero.
fn check_separation(x: &Mat, cells: &Cells) -> Result<()> {
    let (n, d) = (x.nrows(), x.ncols());
    let refuse = |what: String| {
        Err(Error::Data(format!(
            "{what}: whether the list of patterns is complete cannot be decided in double precision; round or drop one of them, or sample patterns"
        )))
    };
    let values = x.singular_values().unwrap_or_default();
    if let (Some(first), Some(dropped)) = (values.first(), values.get(cells.rank))
        && *dropped > 1e-12 * first
    {
        return refuse("some features are almost, but not quite, collinear".into());
    }
    let row = |i: usize| (0..d).map(|j| x[(i, j)]).collect::<Vec<f64>>();
    let norms: Vec<f64> = (0..n).map(|i| crate::linalg::norm(&row(i))).collect();
    let longest = norms.iter().copied().fold(0.0, f64::max);
    // rows on one hyperplane have the same bits in every cell, or opposite ones
    let mut seen: HashMap<Vec<bool>, usize> = HashMap::new();
    for i in 0..n {
        if norms[i] == 0.0 {
            continue;
        }
        if norms[i] <= ZERO_ROW * longest {
            return refuse(format!("sample {i} is almost, but not quite, the zero vector"));
        }
        let first = cells.patterns.get(0, i);
        let key = (0..cells.patterns.len()).map(|p| cells.patterns.get(p, i) == first).collect();
        let twin = *seen.entry(key).or_insert(i);
        let sign = if cells.patterns.get(0, twin) == first { 1.0 } else { -1.0 };
        let apart: Vec<f64> =
            (0..d).map(|j| x[(i, j)] / norms[i] - sign * x[(twin, j)] / norms[twin]).collect();
        if crate::linalg::norm(&apart) > 1e-12 {
            return refuse(format!("samples {twin} and {i} are almost, but not quite, parallel"));
        }
    }
    Ok(())
}
