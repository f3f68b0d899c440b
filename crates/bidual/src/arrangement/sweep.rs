//! The cells of an arrangement by the ray at which a turning hyperplane enters them.
//!
//! Derived here. Take two generic linear forms b, f and the hyperplanes
//! f = c·b through their common kernel T, of codimension 2. A cell that meets T
//! is a cell of the arrangement induced on T. Any other cell is entered by the
//! turning hyperplane at exactly one of its extreme rays v: the one at which the
//! cell lies on the positive side of g = b(v)·f − f(v)·b. Hence every cell is
//! found once from its entry ray, and ray by ray only the rows that vanish on v
//! matter. The rays come line by line (flats of dimension 2), sorted by angle;
//! in memory are one line per thread and its cells.

use std::ops::ControlFlow;

use super::entry::{Local, Walk};
use super::flat::Flat;
use super::restriction::Failure;
use super::rows::{UnitRows, dot, mix, normalise, subtract};

/// Turning hyperplanes this close to containing a line are drawn anew.
pub(super) const GENERIC: f64 = 1e-10;

/// One arrangement with its turning hyperplane.
pub(super) struct Layer {
    pub rank: usize,
    pub whole: Flat,
    /// The rows, one coordinate of all of them after the other.
    pub columns: Vec<f64>,
    /// Largest rounding error of a row.
    pub error: f64,
    /// The forms b and f, orthonormal.
    pub pencil: [Vec<f64>; 2],
    /// Orthonormal basis in the coordinates of the first layer, rank × its rank.
    lift: Vec<f64>,
}

/// What the sweep of one line contributes to the count.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Pairs of opposite cells entered here.
    pairs: u64,
    /// Rays seen less rays that should be seen, by fingerprint: 0 in total if
    /// all lines agree on which rows meet in which ray.
    balance: u64,
}

/// Receives a cell: its signs, one bit per row, and a direction inside, in the
/// coordinates of the first layer.
pub(super) trait Emit<R>: Fn(&mut R, &[u64], &[f64]) + Sync {}
impl<R, F: Fn(&mut R, &[u64], &[f64]) + Sync> Emit<R> for F {}

/// The arrangement of `rows` (distinct, spanning), then the one induced on its
/// T, and so on.
pub(super) fn layers(rows: &UnitRows, seed: u64) -> Result<Vec<Layer>, Failure> {
    let top = rows.dim;
    let mut lift = vec![0.0; top * top];
    (0..top).for_each(|k| lift[k * top + k] = 1.0);
    let mut found: Vec<Layer> = Vec::new();
    let mut current = rows.clone();
    loop {
        let frame = random_frame(current.dim, mix(seed) ^ found.len() as u64);
        let layer = Layer::new(&current, &frame, lift);
        if layer.rank <= 2 {
            found.push(layer);
            return Ok(found);
        }
        let kernel = &frame[2 * layer.rank..];
        current = on_subspace(&current, kernel)?;
        lift = product(kernel, &layer.lift, layer.rank, top);
        found.push(layer);
    }
}

/// The rows as forms on a subspace with an orthonormal basis.
fn on_subspace(rows: &UnitRows, basis: &[f64]) -> Result<UnitRows, Failure> {
    let mut induced = UnitRows { dim: basis.len() / rows.dim, data: Vec::new(), error: Vec::new() };
    for i in 0..rows.len() {
        let start = induced.data.len();
        induced.data.extend(basis.chunks(rows.dim).map(|q| dot(rows.row(i), q)));
        let norm = normalise(&mut induced.data[start..]);
        let error = rows.error[i] + 4.0 * f64::EPSILON;
        if norm <= GENERIC.max(8.0 * error) {
            return Err(Failure::Inconsistent);
        }
        induced.error.push(error / norm);
    }
    Ok(induced)
}

fn product(left: &[f64], right: &[f64], inner: usize, columns: usize) -> Vec<f64> {
    let mut result = vec![0.0; left.len() / inner * columns];
    for (row, to) in left.chunks(inner).zip(result.chunks_mut(columns)) {
        for (factor, from) in row.iter().zip(right.chunks(columns)) {
            subtract(to, -factor, from);
        }
    }
    result
}

/// An orthonormal basis of all of dimension `dim`, fixed by the seed.
fn random_frame(dim: usize, seed: u64) -> Vec<f64> {
    let mut frame: Vec<f64> = Vec::with_capacity(dim * dim);
    let mut state = mix(seed);
    while frame.len() < dim * dim {
        let mut next: Vec<f64> = Vec::with_capacity(dim);
        for _ in 0..dim {
            // A sum of four uniform numbers is close enough to normal.
            let mut sum = -2.0;
            for _ in 0..4 {
                state = mix(state);
                sum += (state >> 11) as f64 / (1_u64 << 53) as f64;
            }
            next.push(sum);
        }
        normalise(&mut next);
        for pass in 0..3 {
            for earlier in frame.chunks(dim) {
                let along = dot(&next, earlier);
                subtract(&mut next, along, earlier);
            }
            // Too close to the earlier ones: draw again.
            if normalise(&mut next) < 0.05 && pass == 0 {
                next.clear();
                break;
            }
        }
        frame.extend(next);
    }
    frame
}

/// The cells of all layers: the number, and whether the lines agree on the rays.
pub(super) fn count(layers: &[Layer], limit: u64) -> Result<u64, Failure> {
    let mut total = 0_u64;
    for layer in layers {
        let (mut balance, mut failure) = (0_u64, None);
        let flow =
            layer.for_each_line(&|flat: &Flat| layer.tally(flat), &mut |tally| match tally {
                Ok(Tally { pairs, balance: b }) => {
                    total = total.saturating_add(pairs.saturating_mul(2));
                    balance = balance.wrapping_add(b);
                    if total > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                }
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if flow.is_break() {
            return Err(Failure::Limit(usize::try_from(total).unwrap_or(usize::MAX)));
        }
        if balance != 0 {
            return Err(Failure::Inconsistent);
        }
    }
    Ok(total)
}

impl Layer {
    fn new(rows: &UnitRows, frame: &[f64], lift: Vec<f64>) -> Self {
        let rank = rows.dim;
        let second = frame.get(rank..2 * rank).unwrap_or(&[]).to_vec();
        Self {
            rank,
            whole: Flat::whole(rows),
            columns: (0..rank).flat_map(|k| (0..rows.len()).map(move |i| rows.row(i)[k])).collect(),
            error: rows.error.iter().copied().fold(0.0, f64::max),
            pencil: [frame[..rank].to_vec(), second],
            lift,
        }
    }

    pub fn row(&self, i: usize) -> &[f64] {
        self.whole.rows.row(i)
    }

    fn words(&self) -> usize {
        self.whole.rows.len().div_ceil(64).max(1)
    }

    /// The lines; rank 1 has none and counts as one.
    fn for_each_line<R: Send>(
        &self,
        task: &(impl Fn(&Flat) -> R + Sync),
        take: &mut impl FnMut(R) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failure> {
        if self.rank == 1 {
            return Ok(take(task(&self.whole)));
        }
        self.whole.for_each_line(task, take)
    }

    fn tally(&self, flat: &Flat) -> Result<Tally, Failure> {
        if self.rank == 1 {
            return Ok(Tally { pairs: 1, balance: 0 });
        }
        let mut walk = Walk::new(self, flat)?;
        let mut tally = Tally::default();
        let tied = flat.tied.iter().fold(0, |sum, &row| sum ^ mix(row as u64));
        let line = flat.line()?;
        for vertex in &line.vertices {
            let classes = line.classes(vertex);
            let rows = classes.iter().fold(tied, |sum, &c| sum ^ flat.classes[c].fingerprint);
            let seen = mix(rows);
            tally.balance = tally.balance.wrapping_add(seen);
            if !classes.iter().all(|&c| flat.continues(c)) {
                continue;
            }
            let (pairs, lines) = match walk.local(&line, vertex)? {
                Local::Simple => (1, self.rank as u64 - 1),
                Local::Many(_, chosen) => (chosen.len() as u64, walk.lines_through()?),
            };
            tally.pairs += pairs;
            tally.balance = tally.balance.wrapping_sub(seen.wrapping_mul(lines));
        }
        Ok(tally)
    }

    /// One cell of every pair of opposite ones, line by line: `emit` runs in
    /// parallel, `take` in order.
    pub fn stream<R: Send + Default>(
        &self,
        emit: &impl Emit<R>,
        take: &mut impl FnMut(R) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut failure = None;
        let flow = self.for_each_line(
            &|flat: &Flat| self.emit_line(flat, emit),
            &mut |result| match result {
                Ok(found) => take(found),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        failure.map_or(Ok(flow), Err)
    }

    fn emit_line<R: Default>(&self, flat: &Flat, emit: &impl Emit<R>) -> Result<R, Failure> {
        let mut found = R::default();
        let mut bits = vec![0_u64; self.words()];
        if self.rank == 1 {
            for i in 0..self.whole.rows.len() {
                bits[i / 64] |= u64::from(self.row(i)[0] > 0.0) << (i % 64);
            }
            emit(&mut found, &bits, &self.lift);
            return Ok(found);
        }
        let mut walk = Walk::new(self, flat)?;
        let line = flat.line()?;
        flat.first_signs(&line, &mut bits);
        let mut cell = bits.clone();
        let mut lifted = vec![0.0; self.lift.len() / self.rank];
        for vertex in &line.vertices {
            let classes = line.classes(vertex);
            if classes.iter().all(|&c| flat.continues(c)) {
                cell.copy_from_slice(&bits);
                let mut send = |walk: &mut Walk, cell: &[u64]| {
                    walk.step_off();
                    lifted.fill(0.0);
                    for (x, q) in walk.inside.iter().zip(self.lift.chunks(lifted.len())) {
                        subtract(&mut lifted, -x, q);
                    }
                    emit(&mut found, cell, &lifted);
                };
                match walk.local(&line, vertex)? {
                    Local::Simple => {
                        for (k, &row) in walk.tied.iter().enumerate() {
                            set(&mut cell, row, walk.coefficients[k].0 > 0.0);
                        }
                        walk.aim();
                        send(&mut walk, &cell);
                    }
                    Local::Many(raw, chosen) => {
                        let width = self.rank - 1;
                        for at in chosen {
                            for (k, &row) in walk.tied.iter().enumerate() {
                                set(&mut cell, row, raw.bits(at)[k / 64] >> (k % 64) & 1 == 1);
                            }
                            let direction = &raw.witnesses[at * width..(at + 1) * width];
                            walk.direct(direction);
                            send(&mut walk, &cell);
                        }
                    }
                }
            }
            flat.cross(classes, &mut bits);
        }
        Ok(found)
    }
}

fn set(bits: &mut [u64], row: usize, on: bool) {
    let mask = 1_u64 << (row % 64);
    if on {
        bits[row / 64] |= mask;
    } else {
        bits[row / 64] &= !mask;
    }
}
