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

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::flat::{Flat, Line, Vertex};
use super::restriction::{Failure, RawCells, cells};
use super::rows::{UnitRows, dot, mix, normalise, smallest, subtract};

/// Turning hyperplanes this close to containing a line are drawn anew.
const GENERIC: f64 = 1e-10;

/// One arrangement with its turning hyperplane.
pub(super) struct Layer {
    rank: usize,
    whole: Flat,
    /// The rows, one coordinate of all of them after the other.
    columns: Vec<f64>,
    /// Largest rounding error of a row.
    error: f64,
    /// The forms b and f, orthonormal.
    pencil: [Vec<f64>; 2],
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

/// The number of lines through the origin that are flats of `rows` (spanning).
fn count_rays(rows: &UnitRows) -> Result<u64, Failure> {
    if rows.dim <= 1 {
        return Ok(1);
    }
    let (mut rays, mut failure) = (0, None);
    let count = |flat: &Flat| {
        let line = flat.line()?;
        let own = |v: &&Vertex| line.classes(v).iter().all(|&c| flat.continues(c));
        Ok(line.vertices.iter().filter(own).count() as u64)
    };
    let _ = Flat::whole(rows).for_each_line(&count, &mut |result| match result {
        Ok(more) => {
            rays += more;
            ControlFlow::Continue(())
        }
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failure.map_or(Ok(rays), Err)
}

/// A sign for every row that vanishes on a ray, and the direction into the cell.
enum Local {
    /// Independent rows: one cell. Signs of the flag and of the crossing row.
    Simple,
    /// Signs of the rows in ascending order, cell by cell (indices), with
    /// directions in the normals of the line and its own.
    Many(RawCells, Vec<usize>),
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

    fn row(&self, i: usize) -> &[f64] {
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

/// The walk along one line, with the memory it needs.
struct Walk<'a> {
    layer: &'a Layer,
    flat: &'a Flat,
    /// Products of the flag rows with the normals, and of the forms with them.
    triangle: Vec<f64>,
    forms: [Vec<f64>; 2],
    /// b and f on the basis of the line.
    on_line: [[f64; 2]; 2],
    /// The ray, the direction of growing angle, and the last direction into a cell.
    ray: Vec<f64>,
    along: Vec<f64>,
    direction: Vec<f64>,
    /// The point found inside the cell, of unit length.
    inside: Vec<f64>,
    /// Rows that vanish on the ray: flag, then crossing row; ascending if degenerate.
    tied: Vec<usize>,
    /// The crossing row in the normals and the direction along, if simple.
    crossing: Vec<f64>,
    /// g as a combination of the tied rows, with error bounds, if simple.
    coefficients: Vec<(f64, f64)>,
    values: Vec<f64>,
    slopes: Vec<f64>,
}

impl<'a> Walk<'a> {
    fn new(layer: &'a Layer, flat: &'a Flat) -> Result<Self, Failure> {
        let rank = layer.rank;
        let on_line = [0, 1]
            .map(|k| [0, 1].map(|e| dot(&layer.pencil[k], &flat.basis[e * rank..(e + 1) * rank])));
        let turn = on_line[0][0] * on_line[1][1] - on_line[0][1] * on_line[1][0];
        if turn.abs() < GENERIC {
            return Err(Failure::Inconsistent);
        }
        let products = |x: &[f64]| flat.normals.chunks(rank).map(|q| dot(x, q)).collect();
        let triangle = |&row: &usize| -> Vec<f64> { products(layer.row(row)) };
        let rows = layer.whole.rows.len();
        Ok(Self {
            layer,
            flat,
            triangle: flat.flag.iter().flat_map(triangle).collect(),
            forms: [products(&layer.pencil[0]), products(&layer.pencil[1])],
            on_line,
            ray: vec![0.0; rank],
            along: vec![0.0; rank],
            direction: vec![0.0; rank],
            inside: vec![0.0; rank],
            tied: Vec::with_capacity(rank),
            crossing: Vec::with_capacity(rank),
            coefficients: vec![(0.0, 0.0); rank - 1],
            values: vec![0.0; rows],
            slopes: vec![0.0; rows],
        })
    }

    /// The cells that are entered at the ray.
    fn local(&mut self, line: &Line, vertex: &Vertex) -> Result<Local, Failure> {
        let rank = self.layer.rank;
        let (sin, cos) = vertex.angle.sin_cos();
        let (e1, e2) = self.flat.basis.split_at(rank);
        for k in 0..rank {
            self.ray[k] = cos * e1[k] + sin * e2[k];
            self.along[k] = cos * e2[k] - sin * e1[k];
        }
        let [b, f] = self.on_line;
        let (bv, fv) = (cos * b[0] + sin * b[1], cos * f[0] + sin * f[1]);
        // g in the normals and along the line
        let turn = b[0] * f[1] - b[1] * f[0];
        let g = |k: usize| bv * self.forms[1][k] - fv * self.forms[0][k];
        let classes = line.classes(vertex);
        let members = self.flat.members(classes[0]);
        let simple = classes.len() == 1
            && members.len() == 1
            && self.flat.tied.len() == self.flat.flag.len();
        if !simple {
            let form: Vec<f64> = (0..rank - 2).map(g).chain([turn]).collect();
            self.tied = self.flat.tied_at(classes);
            return self.many(form);
        }
        let row = members[0].row;
        self.tied.clear();
        self.tied.extend(&self.flat.flag);
        self.tied.push(row);
        let h = self.layer.row(row);
        self.crossing.clear();
        self.crossing.extend(self.flat.normals.chunks(rank).map(|q| dot(h, q)));
        self.crossing.push(dot(h, &self.along));
        // g = Σ c_k h_k by substitution from the last row to the first.
        let error = 4.0 * self.layer.error + 16.0 * rank as f64 * f64::EPSILON;
        // The error of the angle turns g, but on the row it has second order.
        let turned = error + 4.0 * self.flat.rows.error[classes[0]];
        for k in (0..rank - 1).rev() {
            let mut value = if k == rank - 2 { turn } else { g(k) };
            let mut bound = if k == rank - 2 { error } else { turned };
            for later in k + 1..rank - 1 {
                let (c, e) = self.coefficients[later];
                let entry = self.entry(later, k);
                value -= c * entry;
                bound += e * entry.abs() + error * c.abs();
            }
            let pivot = self.entry(k, k);
            let c = value / pivot;
            bound = (bound + error * c.abs()) / (pivot.abs() - error);
            if !(pivot.abs() > 2.0 * error && c.abs() > bound) {
                return Err(Failure::Inconsistent);
            }
            self.coefficients[k] = (c, bound);
        }
        Ok(Local::Simple)
    }

    /// Row `k` of the tied rows on normal `column`, or along the line.
    fn entry(&self, k: usize, column: usize) -> f64 {
        let flag = self.layer.rank - 2;
        if k == flag { self.crossing[column] } else { self.triangle[k * flag + column] }
    }

    /// Dependent rows meet in the ray: the cells of their arrangement that g
    /// leaves on its positive side, that is, does not cut.
    fn many(&self, mut form: Vec<f64>) -> Result<Local, Failure> {
        let rank = self.layer.rank;
        let mut rows = self.quotient();
        normalise(&mut form);
        let last = rows.len();
        rows.data.extend(form);
        rows.error.push(8.0 * f64::EPSILON);
        let raw = cells(&rows, rank - 1, usize::MAX)?;
        let clear = |at: usize, on: bool| {
            let mut bits = raw.bits(at).to_vec();
            let own = bits[last / 64] >> (last % 64) & 1 == 1;
            bits[last / 64] &= !(1 << (last % 64));
            (own == on).then_some(bits)
        };
        let below: HashSet<Vec<u64>> = (0..raw.len()).filter_map(|at| clear(at, false)).collect();
        let whole = |&at: &usize| clear(at, true).is_some_and(|bits| !below.contains(&bits));
        let chosen = (0..raw.len()).filter(whole).collect();
        Ok(Local::Many(raw, chosen))
    }

    /// The tied rows modulo the ray, in the normals and the direction along.
    fn quotient(&self) -> UnitRows {
        let rank = self.layer.rank;
        let mut rows = UnitRows { dim: rank - 1, data: Vec::new(), error: Vec::new() };
        for &row in &self.tied {
            let start = rows.data.len();
            let h = self.layer.row(row);
            rows.data.extend(self.flat.normals.chunks(rank).map(|q| dot(h, q)));
            rows.data.push(dot(h, &self.along));
            normalise(&mut rows.data[start..]);
            rows.error.push(self.layer.whole.rows.error[row] + 4.0 * f64::EPSILON);
        }
        rows
    }

    /// In how many lines a degenerate ray lies.
    fn lines_through(&self) -> Result<u64, Failure> {
        if self.layer.rank == 3 {
            return Ok(self.tied.len() as u64);
        }
        count_rays(&self.quotient())
    }

    /// The direction on which every tied row has its sign as value (simple rays).
    fn aim(&mut self) {
        let count = self.layer.rank - 1;
        let mut at = [0.0; 64];
        for k in 0..count {
            let mut value = 1.0_f64.copysign(self.coefficients[k].0);
            for earlier in 0..k {
                value -= at[earlier] * self.entry(k, earlier);
            }
            at[k] = value / self.entry(k, k);
        }
        self.direct(&at[..count]);
    }

    /// Takes over a direction given in the normals and along the line.
    fn direct(&mut self, at: &[f64]) {
        let rank = self.layer.rank;
        self.direction.fill(0.0);
        let normals = self.flat.normals.chunks(rank).chain([&self.along[..]]);
        for (x, q) in at.iter().zip(normals) {
            subtract(&mut self.direction, -x, q);
        }
        normalise(&mut self.direction);
    }

    /// From the ray along the direction, half way to the first row that changes sign.
    fn step_off(&mut self) {
        let rows = self.values.len();
        self.values.fill(0.0);
        self.slopes.fill(0.0);
        for (k, column) in self.layer.columns.chunks(rows).enumerate() {
            let (v, w) = (self.ray[k], self.direction[k]);
            for ((value, slope), h) in
                self.values.iter_mut().zip(self.slopes.iter_mut()).zip(column)
            {
                *value += v * h;
                *slope += w * h;
            }
        }
        for &row in &self.tied {
            (self.values[row], self.slopes[row]) = (1.0, 1.0);
        }
        for (value, slope) in self.values.iter_mut().zip(&self.slopes) {
            let t = -*value / slope;
            *value = if t > 0.0 { t } else { f64::INFINITY };
        }
        let step = smallest(&self.values).min(2.0);
        for k in 0..self.inside.len() {
            self.inside[k] = self.ray[k] + 0.5 * step * self.direction[k];
        }
        normalise(&mut self.inside);
    }
}
