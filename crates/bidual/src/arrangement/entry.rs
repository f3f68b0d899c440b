//! The cells that a turning hyperplane enters at a ray, and points inside them.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::flat::{Flat, Line, Vertex};
use super::restriction::{Failure, RawCells, cells};
use super::rows::{UnitRows, dot, normalise, smallest, subtract};
use super::sweep::{GENERIC, Layer};

/// A sign for every row that vanishes on a ray, and the direction into the cell.
pub(super) enum Local {
    /// Independent rows: one cell. Signs of the flag and of the crossing row.
    Simple,
    /// Signs of the rows in ascending order, cell by cell (indices), with
    /// directions in the normals of the line and its own.
    Many(RawCells, Vec<usize>),
}

/// The walk along one line, with the memory it needs.
pub(super) struct Walk<'a> {
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
    pub inside: Vec<f64>,
    /// Rows that vanish on the ray: flag, then crossing row; ascending if degenerate.
    pub tied: Vec<usize>,
    /// The crossing row in the normals and the direction along, if simple.
    crossing: Vec<f64>,
    /// g as a combination of the tied rows, with error bounds, if simple.
    pub coefficients: Vec<(f64, f64)>,
    values: Vec<f64>,
    slopes: Vec<f64>,
}

impl<'a> Walk<'a> {
    pub fn new(layer: &'a Layer, flat: &'a Flat) -> Result<Self, Failure> {
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
    pub fn local(&mut self, line: &Line, vertex: &Vertex) -> Result<Local, Failure> {
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
    pub fn lines_through(&self) -> Result<u64, Failure> {
        if self.layer.rank == 3 {
            return Ok(self.tied.len() as u64);
        }
        count_rays(&self.quotient())
    }

    /// The direction on which every tied row has its sign as value (simple rays).
    pub fn aim(&mut self) {
        let count = self.layer.rank - 1;
        let mut at = [0.0; 64];
        for k in 0..count {
            let mut value = 1.0_f64.copysign(self.coefficients[k].0);
            for (earlier, x) in at[..k].iter().enumerate() {
                value -= x * self.entry(k, earlier);
            }
            at[k] = value / self.entry(k, k);
        }
        self.direct(&at[..count]);
    }

    /// Takes over a direction given in the normals and along the line.
    pub fn direct(&mut self, at: &[f64]) {
        let rank = self.layer.rank;
        self.direction.fill(0.0);
        let normals = self.flat.normals.chunks(rank).chain([&self.along[..]]);
        for (x, q) in at.iter().zip(normals) {
            subtract(&mut self.direction, -x, q);
        }
        normalise(&mut self.direction);
    }

    /// From the ray along the direction, half way to the first row that changes sign.
    pub fn step_off(&mut self) {
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
