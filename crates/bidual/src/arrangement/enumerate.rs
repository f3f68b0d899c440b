//! Exact enumeration of the open cells of a central hyperplane arrangement.

use std::fmt;

use super::patterns::Patterns;
use super::reduce::{Reduced, unit_rows};
use super::restriction::{Failure, cells};
use super::rows::{UnitRows, lift, normalise};

/// Rows of norm at most this multiple of max |X| count as zero.
pub const ZERO_ROW: f64 = 1e-12;
/// Directions of the row space below this share of the whole (Frobenius norm
/// of the row-normalised data) count as absent.
pub const RANK_TOLERANCE: f64 = 1e-9;
/// Rows at most this far apart, up to sign, count as one hyperplane (unit rows
/// in coordinates of u in which the data are isotropic).
pub const PARALLEL_TOLERANCE: f64 = 1e-9;

/// Newton steps spent on recentring one witness at most.
pub(super) const RECENTRING_STEPS: usize = 12;
/// Multiplications spent on recentring witnesses that need no help.
const RECENTRING_WORK: f64 = 1e9;
/// Witnesses of smaller margin (unit rows, unit direction) are recentred
/// whatever the work.
pub(super) const THIN: f64 = 1e-8;

/// All open cells `{u : s∘Xu > 0}` of the rows of X (n×d).
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    /// One pattern per cell in the order of the `0`/`1` strings; zero rows are
    /// active in all of them. The pattern without an active sample is listed
    /// when its cell is open.
    pub patterns: Patterns,
    /// One unit direction u of length d per cell, concatenated: `s∘Xu > 0` on
    /// all non-zero rows, by more than the rounding error of the product.
    pub witnesses: Vec<f64>,
    /// Rank of the non-zero rows, each scaled to unit length.
    pub rank: usize,
    /// Number of distinct non-parallel non-zero rows.
    pub hyperplanes: usize,
    /// [`generic_bound`] of these two numbers.
    pub generic_bound: u128,
}

/// Why an arrangement was not enumerated.
#[derive(Clone, Debug, PartialEq)]
pub enum EnumerateError {
    /// The data do not hold n·d numbers.
    Shape {
        /// Rows expected.
        n: usize,
        /// Columns expected.
        d: usize,
        /// Numbers found.
        found: usize,
    },
    /// An entry is infinite or not a number.
    NonFinite {
        /// Row, from 0.
        row: usize,
        /// Column, from 0.
        column: usize,
    },
    /// There are more cells than allowed: at least `found`, at most `bound`.
    Limit {
        /// Cells allowed.
        limit: usize,
        /// Cells found before stopping.
        found: usize,
        /// Number of cells in general position.
        bound: u128,
    },
    /// The data are so nearly degenerate that double precision does not
    /// separate the cells.
    Numerical {
        /// What failed.
        reason: String,
    },
}

impl fmt::Display for EnumerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { n, d, found } => {
                write!(f, "{found} numbers do not make a matrix of {n} × {d}")
            }
            Self::NonFinite { row, column } => {
                write!(f, "the entry in row {row}, column {column} is not finite")
            }
            Self::Limit { limit, found, bound } => write!(
                f,
                "the data have more than {limit} activation patterns (at least {found}, at most {bound}): sample patterns, or use fewer rows or features"
            ),
            Self::Numerical { reason } => {
                write!(f, "the arrangement is too nearly degenerate: {reason}")
            }
        }
    }
}

impl std::error::Error for EnumerateError {}

/// The number of open cells of `hyperplanes` central hyperplanes in general
/// position, `2 Σ_{k<rank} C(hyperplanes − 1, k)` (Cover 1965), an upper bound
/// for all others; 1 without hyperplanes. Saturates.
#[must_use]
pub fn generic_bound(hyperplanes: usize, rank: usize) -> u128 {
    let Some(top) = hyperplanes.checked_sub(1) else {
        return 1;
    };
    let top = top as u128;
    let (mut sum, mut binomial) = (0_u128, 1_u128);
    for k in 0..rank as u128 {
        if k > top {
            break;
        }
        sum = sum.saturating_add(binomial);
        // C(top, k+1) = C(top, k)(top − k)/(k + 1), reduced before multiplying.
        let shared = gcd(binomial, k + 1);
        let factor = (top - k) / ((k + 1) / shared);
        binomial = (binomial / shared).saturating_mul(factor);
        if sum == u128::MAX || binomial == u128::MAX {
            return if k + 1 < rank as u128 { u128::MAX } else { sum.saturating_mul(2) };
        }
    }
    sum.saturating_mul(2)
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Enumerates the open cells of the arrangement of the rows of `x` (row-major
/// n×d) by deletion–restriction, also for repeated, antiparallel, zero and
/// otherwise dependent rows. Every cell comes with a direction that has been
/// checked against its pattern in double precision.
///
/// Rows are first scaled to unit length, which leaves the cells unchanged, so
/// [`RANK_TOLERANCE`] does not depend on the scale of single rows. Dependences
/// of rows are recognised within their propagated rounding errors (at least
/// 1e-12), so cells of about that width may be left out; data that are
/// dependent only to single precision are taken as they are, with the thin
/// cells they have. Merged rows share a sign: see [`PARALLEL_TOLERANCE`].
///
/// # Errors
/// [`EnumerateError`]: a wrong length of `x`, an entry that is not finite,
/// more than `limit` cells, or cells too thin to be told apart.
pub fn enumerate_cells(
    x: &[f64],
    n: usize,
    d: usize,
    limit: usize,
) -> Result<Cells, EnumerateError> {
    let (samples, rows) = unit_rows(x, n, d)?;
    if samples.is_empty() {
        return without_hyperplanes(n, d, limit);
    }

    let reduced = Reduced::new(&rows, limit)?;
    let hyperplanes = reduced.representatives.len();
    let rank = reduced.rank();
    let bound = generic_bound(hyperplanes, rank);
    let distinct = reduced.isotropic.gather(&reduced.representatives);
    let raw = cells(&distinct, rank, limit).map_err(|failure| match failure {
        Failure::Limit(found) => EnumerateError::Limit { limit, found, bound },
        Failure::Inconsistent => EnumerateError::Numerical {
            reason: "the cells cut by a row contradict those found before".to_owned(),
        },
    })?;

    let mut patterns = Patterns::new(n);
    let mut witnesses = Vec::with_capacity(raw.len() * d);
    let mut gates = vec![true; n];
    let walls = reduced.walls();
    let per_step = (raw.len() * walls.len() * rank * rank) as f64;
    let steps = ((RECENTRING_WORK / per_step) as usize).min(RECENTRING_STEPS);
    for (cell, v) in raw.witnesses.chunks(rank).enumerate() {
        let signs = reduced.signs(raw.bits(cell));
        let mut u = lift(v, &reduced.transform, d);
        normalise(&mut u);
        let (mut margin, mut row) = confirmed_margin(&rows, &signs, &u);
        if steps > 0 || margin < THIN {
            let steps = if margin < THIN { RECENTRING_STEPS } else { steps };
            let other = reduced.recentred(&walls, &signs, &u, steps);
            let (better, at) = confirmed_margin(&rows, &signs, &other);
            if better > margin {
                (u, margin, row) = (other, better, at);
            }
        }
        if margin.is_nan() || margin <= 0.0 {
            return Err(EnumerateError::Numerical {
                reason: format!(
                    "the direction found for a cell is not confirmed on row {}: \
                     margin less rounding error {margin:.1e} at unit length",
                    samples[row]
                ),
            });
        }
        for (&i, &sign) in samples.iter().zip(&signs) {
            gates[i] = sign > 0.0;
        }
        patterns.push_bools(gates.iter().copied());
        witnesses.extend(u);
    }
    let mut order: Vec<usize> = (0..patterns.len()).collect();
    order.sort_by(|&a, &b| patterns.compare(a, b));
    Ok(Cells {
        patterns: patterns.select(&order),
        witnesses: order
            .iter()
            .flat_map(|&cell| &witnesses[cell * d..(cell + 1) * d])
            .copied()
            .collect(),
        rank,
        hyperplanes,
        generic_bound: bound,
    })
}

/// Rank 0: the whole space is one cell, all bits 1, any direction in it.
fn without_hyperplanes(n: usize, d: usize, limit: usize) -> Result<Cells, EnumerateError> {
    if limit == 0 {
        return Err(EnumerateError::Limit { limit, found: 1, bound: 1 });
    }
    let mut patterns = Patterns::new(n);
    patterns.push_bools((0..n).map(|_| true));
    let mut witnesses = vec![0.0; d];
    if let Some(first) = witnesses.first_mut() {
        *first = 1.0;
    }
    Ok(Cells { patterns, witnesses, rank: 0, hyperplanes: 0, generic_bound: 1 })
}

/// The smallest `s_i x_iᵀu` over unit rows, less what rounding can make of it,
/// and the row of it.
pub(super) fn confirmed_margin(rows: &UnitRows, signs: &[f64], u: &[f64]) -> (f64, usize) {
    let factor = (u.len() as f64 + 4.0) * f64::EPSILON;
    let mut least = (f64::INFINITY, 0);
    for (i, sign) in signs.iter().enumerate() {
        let (mut value, mut size) = (0.0, 0.0);
        for (a, b) in rows.row(i).iter().zip(u) {
            value += a * b;
            size += (a * b).abs();
        }
        let margin = sign * value - factor * size;
        if margin < least.0 || margin.is_nan() {
            least = (margin, i);
        }
    }
    least
}
