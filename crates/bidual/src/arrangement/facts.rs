//! Counts and patterns of an arrangement under one roof.

use super::closed::closed_patterns;
use super::enumerate::EnumerateError;

/// What there is to know about the patterns of data; strings have one character
/// per sample, `1` = active, and are sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrangementFacts {
    /// Number of open cells.
    pub n_open_cells: u64,
    /// Rank of the non-zero rows.
    pub rank: usize,
    /// Number of distinct non-parallel non-zero rows.
    pub n_distinct_hyperplanes: usize,
    /// [`generic_bound`](super::generic_bound) on the number of open cells.
    pub generic_bound: u128,
    /// The patterns of the open cells.
    pub open_patterns: Vec<String>,
    /// Number of distinct vectors `1{Xu ≥ 0}`, ties included.
    pub n_closed_patterns: usize,
    /// These vectors.
    pub closed_patterns: Vec<String>,
}

impl ArrangementFacts {
    /// The facts of the rows of `x` (row-major n×d), for at most `limit` patterns.
    ///
    /// # Errors
    /// [`EnumerateError`], as for [`closed_patterns`].
    pub fn new(x: &[f64], n: usize, d: usize, limit: usize) -> Result<Self, EnumerateError> {
        let closed = closed_patterns(x, n, d, limit)?;
        let all: Vec<String> =
            (0..closed.patterns.len()).map(|k| closed.patterns.bit_string(k)).collect();
        let open = all.iter().zip(&closed.ties).filter(|(_, ties)| **ties == 0);
        Ok(Self {
            n_open_cells: closed.open.open,
            rank: closed.open.rank,
            n_distinct_hyperplanes: closed.open.hyperplanes,
            generic_bound: closed.open.bound,
            open_patterns: open.map(|(pattern, _)| pattern.clone()).collect(),
            n_closed_patterns: all.len(),
            closed_patterns: all,
        })
    }
}
