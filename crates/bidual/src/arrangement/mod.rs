//! Which activation patterns 1{Xu ≥ 0} are in play: sampled, given, or all of them.

mod centre;
mod closed;
mod entry;
mod enumerate;
mod facts;
mod flat;
mod patterns;
mod prepared;
mod reduce;
mod restriction;
mod rows;
mod sample;
mod stream;
mod sweep;

pub use closed::{ClosedPatterns, closed_patterns};
pub use enumerate::{
    Cells, EnumerateError, PARALLEL_TOLERANCE, RANK_TOLERANCE, ZERO_ROW, enumerate_cells,
    generic_bound,
};
pub use facts::ArrangementFacts;
pub use patterns::{PatternError, Patterns};
pub(crate) use sample::centre_thresholds;
pub use sample::{Share, sample_gates};
pub use stream::{Count, Visit, count_cells, for_each_cell};

use crate::linalg::{Mat, column, gemm};
use crate::network::Gates;
use crate::{Error, Result};
use rayon::prelude::*;
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

/// Errors where f64 could merge different hyperplanes, or miss cells between
/// them: rows that are almost parallel, a direction that almost vanishes, cells
/// that are almost flat. What is left is well conditioned.
fn check_separation(x: &Mat, cells: &Cells) -> Result<()> {
    const PARALLEL: f64 = 1e-5;
    const CONDITION: f64 = 1e-4;
    const MARGIN: f64 = 1e-8;
    let (n, d) = (x.nrows(), x.ncols());
    let refuse = |what: String| {
        Err(Error::Data(format!(
            "{what}: whether the list of patterns is complete cannot be decided in double precision; round or drop one of them, standardise, or sample patterns"
        )))
    };
    let norms: Vec<f64> =
        (0..n).map(|i| (0..d).map(|j| x[(i, j)] * x[(i, j)]).sum::<f64>().sqrt()).collect();
    let longest = norms.iter().copied().fold(0.0, f64::max);
    let rows: Vec<usize> = (0..n).filter(|&i| norms[i] > 0.0).collect();
    if let Some(i) = rows.iter().find(|&&i| norms[i] <= ZERO_ROW * longest) {
        return refuse(format!("sample {i} is almost, but not quite, the zero vector"));
    }
    let unit = Mat::from_fn(rows.len(), d, |k, j| x[(rows[k], j)] / norms[rows[k]]);
    let Ok(values) = unit.singular_values() else {
        return refuse("the singular values of the features cannot be computed".into());
    };
    let first = values.first().copied().unwrap_or(0.0);
    let dropped = values.get(cells.rank).copied().unwrap_or(0.0);
    let last = if cells.rank > 0 { values[cells.rank - 1] } else { first };
    if dropped > 1e-13 * first || last < CONDITION * first {
        return refuse("some features are almost, but not quite, collinear".into());
    }
    let by_rows: Vec<Vec<f64>> =
        (0..rows.len()).map(|k| (0..d).map(|j| unit[(k, j)]).collect()).collect();
    for (k, a) in by_rows.iter().enumerate() {
        for (l, b) in by_rows[..k].iter().enumerate() {
            let sign = if crate::linalg::dot(a, b) < 0.0 { -1.0 } else { 1.0 };
            let apart = a.iter().zip(b).map(|(a, b)| (a - sign * b).powi(2)).sum::<f64>().sqrt();
            if apart > 1e-13 && apart < PARALLEL {
                let (i, j) = (rows[l], rows[k]);
                return refuse(format!("samples {i} and {j} are almost, but not quite, parallel"));
            }
        }
    }
    for witness in cells.witnesses.chunks(d) {
        let margin = by_rows.iter().map(|a| crate::linalg::dot(a, witness).abs());
        if margin.fold(f64::INFINITY, f64::min) < MARGIN {
            return refuse("some samples almost, but not quite, depend on each other".into());
        }
    }
    Ok(())
}
