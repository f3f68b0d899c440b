//! Data made ready for the sweep, and the check of what it finds on the data.

use super::enumerate::{EnumerateError, RECENTRING_STEPS, THIN, confirmed_margin};
use super::reduce::{Reduced, unit_rows};
use super::restriction::Failure;
use super::rows::{UnitRows, lift, normalise, smallest};
use super::stream::Count;
use super::sweep::{Layer, count, layers};

/// Turning hyperplanes tried before the data are called degenerate.
const SEEDS: u64 = 8;

/// Data with at least one non-zero row.
pub(super) struct Prepared {
    pub n: usize,
    pub d: usize,
    /// The samples of the non-zero rows, ascending.
    samples: Vec<usize>,
    /// The non-zero rows at unit length, and one coordinate of all after the other.
    rows: UnitRows,
    columns: Vec<f64>,
    reduced: Reduced,
    walls: Vec<usize>,
    /// Hyperplane of every non-zero row, by its first row.
    pub group: Vec<usize>,
    /// One row of every hyperplane in the coordinates of the row space.
    pub distinct: UnitRows,
    /// Every non-zero row is a hyperplane of its own.
    plain: bool,
}

/// Memory for checks and their last result.
#[derive(Default)]
pub(super) struct Scratch {
    /// Signs of the non-zero rows; a row that vanishes counts as positive.
    pub words: Vec<u64>,
    /// The direction, of length d.
    pub u: Vec<f64>,
    values: Vec<f64>,
}

impl Prepared {
    /// None if all rows are zero.
    pub fn new(
        x: &[f64],
        n: usize,
        d: usize,
        limit: usize,
    ) -> Result<Option<Self>, EnumerateError> {
        let (samples, rows) = unit_rows(x, n, d)?;
        if samples.is_empty() {
            return Ok(None);
        }
        let reduced = Reduced::new(&rows, limit)?;
        let mut order: Vec<usize> = (0..reduced.representatives.len()).collect();
        order.sort_unstable_by_key(|&g| reduced.representatives[g]);
        let mut position = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, &g)| position[g] = at);
        let chosen: Vec<usize> = order.iter().map(|&g| reduced.representatives[g]).collect();
        let columns = (0..d).flat_map(|k| (0..rows.len()).map(move |i| (i, k)));
        Ok(Some(Self {
            n,
            d,
            columns: columns.map(|(i, k)| rows.data[i * d + k]).collect(),
            walls: reduced.walls(),
            group: reduced.group.iter().map(|&g| position[g]).collect(),
            distinct: reduced.isotropic.gather(&chosen),
            plain: chosen.len() == rows.len(),
            samples,
            rows,
            reduced,
        }))
    }

    /// For every hyperplane whether there are rows on both sides of it.
    pub fn two_sided(&self) -> Vec<bool> {
        let mut sides = vec![false; self.distinct.len()];
        for (&group, &opposite) in self.group.iter().zip(&self.reduced.opposite) {
            sides[group] |= opposite;
        }
        sides
    }

    /// The layers of the sweep and the number of cells.
    pub fn counted(&self, limit: usize) -> Result<(Vec<Layer>, Count), EnumerateError> {
        let mut facts = Count::new(self.distinct.len(), self.distinct.dim);
        let (layers, open) = counted(&self.distinct, limit).map_err(|failure| match failure {
            Failure::Limit(found) => EnumerateError::Limit { limit, found, bound: facts.bound },
            Failure::Inconsistent => disagreement(),
        })?;
        facts.open = open;
        Ok((layers, facts))
    }

    /// The patterns of a cell and of the opposite one from the signs of the
    /// non-zero rows; zero rows are active in both.
    pub fn pair(&self, signs: &[u64], pattern: &mut [u64], opposite: &mut [u64]) {
        if self.samples.len() == self.n {
            pattern.copy_from_slice(signs);
            opposite.iter_mut().zip(signs).for_each(|(to, from)| *to = !from);
        } else {
            pattern.fill(u64::MAX);
            opposite.fill(u64::MAX);
            for (i, &sample) in self.samples.iter().enumerate() {
                let off = if on(signs, i) { &mut *opposite } else { &mut *pattern };
                off[sample / 64] &= !(1 << (sample % 64));
            }
        }
        let last = self.n.div_ceil(64) - 1;
        let used = u64::MAX >> ((64 - self.n % 64) % 64);
        pattern[last] &= used;
        opposite[last] &= used;
    }

    /// The non-zero rows of some hyperplanes, one bit each.
    pub fn tied_rows(&self, hyperplanes: &[u64]) -> Vec<u64> {
        let mut rows = vec![0_u64; self.rows.len().div_ceil(64)];
        for (i, &group) in self.group.iter().enumerate() {
            rows[i / 64] |= u64::from(on(hyperplanes, group)) << (i % 64);
        }
        rows
    }

    /// Checks on the data, in double precision with its rounding errors, that
    /// the direction `v` has the given signs on all rows but the tied ones.
    pub fn confirm(
        &self,
        scratch: &mut Scratch,
        bits: &[u64],
        tied: Option<&[u64]>,
        v: &[f64],
    ) -> Result<(), EnumerateError> {
        scratch.u.clear();
        scratch.u.resize(self.d, 0.0);
        for (c, q) in v.iter().zip(self.reduced.transform.chunks(self.d)) {
            scratch.u.iter_mut().zip(q).for_each(|(u, q)| *u += c * q);
        }
        normalise(&mut scratch.u);
        let margin = self.margin(scratch, bits, tied);
        if margin > THIN {
            return Ok(());
        }
        if tied.is_none() {
            let side = |i: usize| on(bits, self.group[i]) != self.reduced.opposite[i];
            let signs: Vec<f64> =
                (0..self.rows.len()).map(|i| if side(i) { 1.0 } else { -1.0 }).collect();
            let mut start = lift(v, &self.reduced.transform, self.d);
            normalise(&mut start);
            let deeper = self.reduced.recentred(&self.walls, &signs, &start, RECENTRING_STEPS);
            if confirmed_margin(&self.rows, &signs, &deeper).0 > margin {
                scratch.u = deeper;
                return if self.margin(scratch, bits, tied) > 0.0 {
                    Ok(())
                } else {
                    Err(Self::unconfirmed(margin))
                };
            }
        }
        if margin > 0.0 { Ok(()) } else { Err(Self::unconfirmed(margin)) }
    }

    fn unconfirmed(margin: f64) -> EnumerateError {
        EnumerateError::Numerical {
            reason: format!(
                "the direction found for a cell is not confirmed on the data: \
                 margin less rounding error {margin:.1e} at unit length"
            ),
        }
    }

    /// Signs of all rows at the direction in `scratch`, and the smallest |x_iᵀu|
    /// less its rounding error; −1 if the signs are not those of `bits`.
    fn margin(&self, scratch: &mut Scratch, bits: &[u64], tied: Option<&[u64]>) -> f64 {
        if scratch.u.iter().any(|u| !u.is_finite()) {
            return -1.0;
        }
        let rows = self.rows.len();
        scratch.values.clear();
        scratch.values.resize(rows, 0.0);
        for (column, &u) in self.columns.chunks(rows).zip(&scratch.u) {
            scratch.values.iter_mut().zip(column).for_each(|(value, x)| *value += x * u);
        }
        if let Some(tied) = tied {
            // A row that vanishes on the flat: active, whatever rounding says.
            let vanishing = self.group.iter().map(|&group| on(tied, group));
            let values = scratch.values.iter_mut().zip(vanishing);
            values.filter(|(_, tied)| *tied).for_each(|(value, _)| *value = f64::INFINITY);
        }
        scratch.words.clear();
        let mut agree = true;
        for (w, values) in scratch.values.chunks(64).enumerate() {
            let word = (values.iter().enumerate())
                .fold(0, |word, (i, value)| word | (!value.to_bits() >> 63) << i);
            agree &= word == self.expected(bits, tied, w, values.len());
            scratch.words.push(word);
        }
        scratch.values.iter_mut().for_each(|value| *value = value.abs());
        // Σ|x_k u_k| ≤ 1 for unit vectors: the rounding error of every product.
        let rounding = (self.d as f64 + 4.0) * f64::EPSILON;
        if agree { smallest(&scratch.values) - rounding } else { -1.0 }
    }

    /// The signs of the non-zero rows 64·w and the following from those of their
    /// hyperplanes.
    fn expected(&self, bits: &[u64], tied: Option<&[u64]>, w: usize, count: usize) -> u64 {
        if self.plain && tied.is_none() {
            return bits[w];
        }
        (0..count).fold(0, |sum, k| {
            let (group, opposite) = (self.group[64 * w + k], self.reduced.opposite[64 * w + k]);
            let tied = tied.is_some_and(|tied| on(tied, group));
            sum | u64::from(tied || on(bits, group) != opposite) << k
        })
    }
}

fn on(bits: &[u64], i: usize) -> bool {
    bits[i / 64] >> (i % 64) & 1 == 1
}

pub(super) fn disagreement() -> EnumerateError {
    EnumerateError::Numerical {
        reason: "which rows meet in a common direction cannot be decided consistently".to_owned(),
    }
}

/// The layers of distinct rows that span their space, and the number of cells.
pub(super) fn counted(rows: &UnitRows, limit: usize) -> Result<(Vec<Layer>, u64), Failure> {
    for seed in 0..SEEDS {
        let attempt = layers(rows, seed).and_then(|layers| {
            let open = count(&layers, limit as u64)?;
            Ok((layers, open))
        });
        match attempt {
            Err(Failure::Inconsistent) => {}
            other => return other,
        }
    }
    Err(Failure::Inconsistent)
}
