//! Deletion–restriction on unit rows: the cells that a new hyperplane cuts are
//! the cells of the arrangement the earlier ones induce on it.

use std::collections::HashMap;
use std::f64::consts::{FRAC_PI_2, PI};
use std::hash::{BuildHasherDefault, Hasher};

use super::rows::{UnitRows, dot, lift, merge_parallel, mix, normalise, pivoted_basis, subtract};

/// Rows closer than this (as unit vectors, up to sign) coincide inside a
/// restriction; rows whose propagated rounding error is larger need more.
pub(super) const COINCIDENT: f64 = 1e-12;

/// Cells as sign bits (one bit per row) with one unit witness each.
pub(super) struct RawCells {
    pub words: usize,
    pub bits: Vec<u64>,
    pub witnesses: Vec<f64>,
}

impl RawCells {
    fn new(rows: usize) -> Self {
        Self { words: rows.div_ceil(64).max(1), bits: Vec::new(), witnesses: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.bits.len() / self.words
    }

    pub fn bits(&self, cell: usize) -> &[u64] {
        &self.bits[cell * self.words..(cell + 1) * self.words]
    }
}

pub(super) enum Failure {
    /// More cells than allowed; this many are known to exist.
    Limit(usize),
    /// The numerical decisions contradict each other.
    Inconsistent,
}

pub(super) fn bit(bits: &[u64], i: usize) -> bool {
    bits[i / 64] >> (i % 64) & 1 == 1
}

/// All open cells of the arrangement of `rows`, which span `rank` ≥ 1
/// dimensions. Witnesses are in the coordinates of the rows.
pub(super) fn cells(rows: &UnitRows, rank: usize, limit: usize) -> Result<RawCells, Failure> {
    if rank >= 3 {
        return insertion(rows, rank, limit);
    }
    let (pivots, basis) = pivoted_basis(rows, rank, 0.0);
    if pivots.len() < rank || rank == 0 {
        return Err(Failure::Inconsistent);
    }
    let found = if rank == 1 {
        let mut found = RawCells::new(rows.len());
        push_pair(&mut found, rows, &rows.project(&basis), &[1.0], &basis);
        found
    } else {
        sweep(rows, &basis)
    };
    if found.len() > limit {
        return Err(Failure::Limit(found.len()));
    }
    Ok(found)
}

/// Adds the cell of the direction `v` (in coordinates) and the opposite cell.
fn push_pair(found: &mut RawCells, rows: &UnitRows, coords: &UnitRows, v: &[f64], basis: &[f64]) {
    let mut bits = vec![0_u64; found.words];
    for i in 0..rows.len() {
        bits[i / 64] |= u64::from(dot(coords.row(i), v) > 0.0) << (i % 64);
    }
    push_signed(found, rows.len(), &bits, &lift(v, basis, rows.dim));
}

fn push_signed(found: &mut RawCells, rows: usize, bits: &[u64], witness: &[f64]) {
    found.bits.extend_from_slice(bits);
    found.bits.extend(bits.iter().enumerate().map(|(w, word)| {
        let used = rows.saturating_sub(w * 64).min(64);
        !word & u64::MAX.checked_shr(64 - used as u32).unwrap_or(0)
    }));
    found.witnesses.extend_from_slice(witness);
    found.witnesses.extend(witness.iter().map(|x| -x));
}

/// Rank 2: the boundaries sorted by angle modulo π; the midpoint of every gap
/// is a witness, and crossing a boundary flips the rows that share it.
fn sweep(rows: &UnitRows, basis: &[f64]) -> RawCells {
    let coords = rows.project(basis);
    let n = rows.len();
    let mut boundary: Vec<(f64, usize)> = (0..n)
        .map(|i| {
            let h = coords.row(i);
            ((h[1].atan2(h[0]) + FRAC_PI_2).rem_euclid(PI), i)
        })
        .collect();
    boundary.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // Start in the widest gap: its signs are the safest to read off, and no
    // group of coincident boundaries is split by the wrap at π.
    let gap_after = |k: usize| {
        let next = boundary.get(k + 1).map_or(boundary[0].0 + PI, |next| next.0);
        next - boundary[k].0
    };
    let widest = (0..n).max_by(|&a, &b| gap_after(a).total_cmp(&gap_after(b))).unwrap_or(0);
    let half = 0.5 * gap_after(widest);
    boundary.rotate_left(widest + 1);
    for entry in &mut boundary[n - widest - 1..] {
        entry.0 += PI;
    }

    let mut found = RawCells::new(n);
    let start = boundary[0].0 - half;
    push_pair(&mut found, rows, &coords, &[start.cos(), start.sin()], basis);
    let mut bits = found.bits(0).to_vec();
    for pair in boundary.windows(2) {
        let ((from, i), (to, k)) = (pair[0], pair[1]);
        bits[i / 64] ^= 1 << (i % 64);
        if to - from > coords.tolerance(i, k, COINCIDENT) {
            let middle = 0.5 * (from + to);
            let witness = lift(&[middle.cos(), middle.sin()], basis, rows.dim);
            push_signed(&mut found, n, &bits, &witness);
        }
    }
    found
}

/// Rank ≥ 3: the 2^rank cells of independent rows, then one row at a time.
fn insertion(rows: &UnitRows, rank: usize, limit: usize) -> Result<RawCells, Failure> {
    let merge = merge_parallel(rows, COINCIDENT);
    let distinct = rows.gather(&merge.representatives);
    let (mut order, basis) = pivoted_basis(&distinct, rank, 0.0);
    if order.len() < rank {
        return Err(Failure::Inconsistent);
    }
    let mut position = vec![usize::MAX; distinct.len()];
    for (at, &row) in order.iter().enumerate() {
        position[row] = at;
    }
    for (row, at) in position.iter_mut().enumerate() {
        if *at == usize::MAX {
            *at = order.len();
            order.push(row);
        }
    }
    let coords = distinct.gather(&order).project(&basis);
    let mut grown = Growing::start(&coords, limit)?;
    for j in rank..coords.len() {
        grown.insert(&coords, j, limit)?;
    }

    let mut found = RawCells::new(rows.len());
    let mut bits = vec![0_u64; found.words];
    for (cell, v) in grown.cells.witnesses.chunks(rank).enumerate() {
        bits.fill(0);
        for (i, (&group, &opposite)) in merge.group.iter().zip(&merge.opposite).enumerate() {
            let sign = bit(grown.cells.bits(cell), position[group]) != opposite;
            bits[i / 64] |= u64::from(sign) << (i % 64);
        }
        found.bits.extend_from_slice(&bits);
        found.witnesses.extend(lift(v, &basis, rows.dim));
    }
    Ok(found)
}

/// The cells of the first rows, with a fingerprint of each sign vector.
struct Growing {
    cells: RawCells,
    fingerprints: Vec<u64>,
}

impl Growing {
    /// All sign vectors of the first `dim` rows, whose matrix is lower
    /// triangular: the witness with margin 1 everywhere by substitution.
    fn start(coords: &UnitRows, limit: usize) -> Result<Self, Failure> {
        let rank = coords.dim;
        let count = 1_usize.checked_shl(rank as u32).unwrap_or(usize::MAX);
        // No memory holds 2^48 cells, whatever the caller allows.
        if count > limit || rank >= 48 {
            return Err(Failure::Limit(count));
        }
        let mut grown = Self { cells: RawCells::new(coords.len()), fingerprints: Vec::new() };
        for signs in 0..count as u64 {
            let mut u = vec![0.0; rank];
            for k in 0..rank {
                let target = if signs >> k & 1 == 1 { 1.0 } else { -1.0 };
                u[k] = (target - dot(&coords.row(k)[..k], &u[..k])) / coords.row(k)[k];
            }
            normalise(&mut u);
            grown.cells.witnesses.extend(u);
            grown.cells.bits.push(signs);
            grown.cells.bits.extend(std::iter::repeat_n(0, grown.cells.words - 1));
            grown.fingerprints.push(fingerprint(&[signs]));
        }
        Ok(grown)
    }

    /// Adds row `j`: cells it cuts become two, the others get the sign of
    /// their witness.
    fn insert(&mut self, coords: &UnitRows, j: usize, limit: usize) -> Result<(), Failure> {
        let rank = coords.dim;
        let restricted = restrict(coords, j)?;
        let cut = cells(&restricted, rank - 1, usize::MAX)?;
        let before = self.cells.len();
        if before.saturating_add(cut.len()) > limit {
            return Err(Failure::Limit(before.saturating_add(cut.len())));
        }
        let mut index = HashMap::with_capacity_and_hasher(cut.len(), ByFingerprint::default());
        for k in 0..cut.len() {
            if index.insert(fingerprint(cut.bits(k)), k).is_some() {
                return Err(Failure::Inconsistent);
            }
        }
        let h = coords.row(j);
        let along: Vec<f64> = (0..j).map(|k| dot(coords.row(k), h)).collect();
        for cell in 0..before {
            let key = self.fingerprints[cell];
            let piece = index
                .get(&key)
                .copied()
                .filter(|&k| cut.bits(k) == &self.cells.bits(cell)[..cut.words]);
            let slot = cell * rank..(cell + 1) * rank;
            let Some(piece) = piece else {
                if dot(&self.cells.witnesses[slot], h) > 0.0 {
                    self.set(cell, j);
                }
                continue;
            };
            let v = &cut.witnesses[piece * rank..(piece + 1) * rank];
            let [below, above] = step_off(coords, j, &along, cut.bits(piece), v);
            self.cells.witnesses[slot].copy_from_slice(&below);
            self.cells.witnesses.extend(above);
            let words = cell * self.cells.words..(cell + 1) * self.cells.words;
            self.cells.bits.extend_from_within(words);
            self.fingerprints.push(key);
            self.set(self.fingerprints.len() - 1, j);
        }
        if self.cells.len() != before + cut.len() {
            return Err(Failure::Inconsistent);
        }
        Ok(())
    }

    fn set(&mut self, cell: usize, j: usize) {
        self.cells.bits[cell * self.cells.words + j / 64] |= 1 << (j % 64);
        self.fingerprints[cell] ^= mix(j as u64);
    }
}

/// The rows before `j` projected on its hyperplane, as unit vectors.
fn restrict(coords: &UnitRows, j: usize) -> Result<UnitRows, Failure> {
    let h = coords.row(j);
    let mut restricted = UnitRows {
        dim: coords.dim,
        data: Vec::with_capacity(j * coords.dim),
        error: Vec::with_capacity(j),
    };
    for i in 0..j {
        let mut p = coords.row(i).to_vec();
        let along = dot(&p, h);
        subtract(&mut p, along, h);
        let again = dot(&p, h);
        subtract(&mut p, again, h);
        let norm = normalise(&mut p);
        if norm == 0.0 {
            return Err(Failure::Inconsistent);
        }
        let error = coords.error[i] + along.abs() * coords.error[j] + f64::EPSILON;
        restricted.error.push(error / norm);
        restricted.data.extend(p);
    }
    Ok(restricted)
}

/// Witnesses on both sides of row `j` from a witness `v` on it: on each side
/// the step at which the new margin meets the first shrinking old one.
fn step_off(coords: &UnitRows, j: usize, along: &[f64], bits: &[u64], v: &[f64]) -> [Vec<f64>; 2] {
    let mut steps = [1.0_f64; 2];
    for (k, &c) in along.iter().enumerate() {
        let margin = dot(coords.row(k), v).abs();
        let side = usize::from(bit(bits, k) != (c > 0.0));
        steps[side] = steps[side].min(margin / (1.0 + c.abs()));
    }
    [(0, -1.0), (1, 1.0)].map(|(side, sign)| {
        let mut u = v.to_vec();
        subtract(&mut u, -sign * steps[side], coords.row(j));
        normalise(&mut u);
        u
    })
}

/// The exclusive or of one random word per set bit: cheap to update when a
/// row is added. Equal fingerprints are confirmed on the bits themselves.
fn fingerprint(bits: &[u64]) -> u64 {
    let mut sum = 0;
    for (w, &word) in bits.iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            sum ^= mix(w as u64 * 64 + u64::from(rest.trailing_zeros()));
            rest &= rest - 1;
        }
    }
    sum
}

type ByFingerprint = BuildHasherDefault<Identity>;

/// Fingerprints are uniform already and need no further hashing.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = mix(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
