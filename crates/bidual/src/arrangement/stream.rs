//! Counting and visiting the open cells of an arrangement without storing them.

use std::ops::ControlFlow;

use super::enumerate::{EnumerateError, generic_bound};
use super::prepared::{Prepared, Scratch, disagreement};

/// Receives a pattern, one bit per sample as in [`Patterns`](super::Patterns), and
/// a direction of length d that attains it, until it breaks off.
pub type Visit<'a> = dyn FnMut(&[u64], &[f64]) -> ControlFlow<()> + 'a;

/// How many open cells there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The number of open cells `{u : s∘Xu > 0}`, the one without an active
    /// sample included.
    pub open: u64,
    /// Rank of the non-zero rows, each scaled to unit length.
    pub rank: usize,
    /// Number of distinct non-parallel non-zero rows.
    pub hyperplanes: usize,
    /// [`generic_bound`] of these two: `open` is at most this, and equal to it if
    /// every `rank` of the distinct rows are independent.
    pub bound: u128,
}

impl Count {
    /// The facts known before counting; no hyperplanes leave one cell.
    pub(super) fn new(hyperplanes: usize, rank: usize) -> Self {
        Self { open: 1, rank, hyperplanes, bound: generic_bound(hyperplanes, rank) }
    }
}

/// Counts the open cells of the arrangement of the rows of `x` (row-major n×d),
/// at most `limit`, also for repeated, antiparallel, zero and otherwise
/// dependent rows: the same cells as
/// [`enumerate_cells`](super::enumerate_cells) lists, without listing them.
///
/// Time O(N^(r−1) log N) for N distinct rows of rank r, memory O(N·r) per thread
/// (where more than r − 1 rows meet in a ray, also the cells of these rows alone).
/// That all rays are seen alike from all lines through them is checked; where
/// rows are nearly, but not quite, dependent (cells thinner than about 1e-9) this
/// may refuse data that the list accepts.
///
/// # Errors
/// [`EnumerateError`], as for the list; nothing is stored, so a large `limit`
/// costs time only.
pub fn count_cells(x: &[f64], n: usize, d: usize, limit: usize) -> Result<Count, EnumerateError> {
    match Prepared::new(x, n, d, limit)? {
        Some(prepared) => Ok(prepared.counted(limit)?.1),
        None if limit == 0 => Err(EnumerateError::Limit { limit, found: 1, bound: 1 }),
        None => Ok(Count::new(0, 0)),
    }
}

/// The cells entered on one line.
#[derive(Default)]
struct Batch {
    words: Vec<u64>,
    witnesses: Vec<f64>,
    scratch: Scratch,
    failure: Option<EnumerateError>,
}

/// Calls `visit` on every open cell of the arrangement of the rows of `x`
/// (row-major n×d), once each, until it breaks off: with the pattern, one bit
/// per sample as in [`Patterns`](super::Patterns), and a unit direction u of
/// length d with `s∘Xu > 0` on all non-zero rows, by more than the rounding error
/// of the product. Opposite cells follow each other; the order depends on the
/// data alone, not on the number of threads.
///
/// The cells are first counted (see [`count_cells`]), so that too many or
/// inconsistent ones are an error before the first visit. Memory is that of the
/// count and of the cells on 64 lines: O(N) cells, whatever their total number.
/// A visit costs O(n·d) besides.
///
/// # Errors
/// [`EnumerateError`], as for [`enumerate_cells`](super::enumerate_cells). Cells
/// too thin to be confirmed are the only one after the first visit.
pub fn for_each_cell(
    x: &[f64],
    n: usize,
    d: usize,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<Count, EnumerateError> {
    let Some(prepared) = Prepared::new(x, n, d, limit)? else {
        return no_hyperplanes(n, d, limit, visit);
    };
    let (layers, count) = prepared.counted(limit)?;
    let emit = |batch: &mut Batch, bits: &[u64], v: &[f64]| {
        if batch.failure.is_some() {
            return;
        }
        match prepared.confirm(&mut batch.scratch, bits, None, v) {
            Ok(()) => {
                batch.words.extend_from_slice(&batch.scratch.words);
                batch.witnesses.extend_from_slice(&batch.scratch.u);
            }
            Err(error) => batch.failure = Some(error),
        }
    };
    let words = n.div_ceil(64).max(1);
    let (mut pattern, mut opposite) = (vec![0_u64; words], vec![0_u64; words]);
    let mut other = vec![0.0; d];
    let (mut failure, mut visited) = (None, 0_u64);
    for layer in layers {
        let flow = layer.stream(&emit, &mut |batch: Batch| {
            let width = batch.scratch.words.len().max(1);
            for (signs, u) in batch.words.chunks(width).zip(batch.witnesses.chunks(d)) {
                prepared.pair(signs, &mut pattern, &mut opposite);
                other.iter_mut().zip(u).for_each(|(to, from)| *to = -from);
                if visit(&pattern, u).is_break() || visit(&opposite, &other).is_break() {
                    return ControlFlow::Break(());
                }
                visited += 2;
            }
            failure = batch.failure;
            if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        if flow.map_err(|_| disagreement())?.is_break() {
            return Ok(count);
        }
    }
    if visited == count.open { Ok(count) } else { Err(disagreement()) }
}

/// All zero rows: one cell, all of them active.
fn no_hyperplanes(
    n: usize,
    d: usize,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<Count, EnumerateError> {
    if limit == 0 {
        return Err(EnumerateError::Limit { limit, found: 1, bound: 1 });
    }
    let mut pattern = vec![u64::MAX; n.div_ceil(64).max(1)];
    if let Some(last) = pattern.last_mut() {
        *last = if n == 0 { 0 } else { u64::MAX >> ((64 - n % 64) % 64) };
    }
    let mut u = vec![0.0; d];
    u.first_mut().into_iter().for_each(|first| *first = 1.0);
    let _ = visit(&pattern, &u);
    Ok(Count::new(0, 0))
}
