//! Flats of a central arrangement and the sweep around a flat of dimension 2.

use std::f64::consts::{FRAC_PI_2, PI};
use std::ops::{ControlFlow, Range};

use rayon::prelude::*;

use super::restriction::{COINCIDENT, Failure};
use super::rows::{UnitRows, dot, merge_parallel, mix, normalise, subtract};

/// Lines swept at once: bounds the memory of their results.
const BATCH: usize = 64;
/// Below this number of classes threads cost more than they save.
const WORTH_THREADS: usize = 48;

/// A row of the arrangement in a class: it is a positive multiple of the
/// coordinates of the class, or of their opposite.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub row: usize,
    pub opposite: bool,
}

/// Rows that cut the flat in the same hyperplane.
pub(super) struct Class {
    /// The smallest of the rows.
    pub first: usize,
    members: Range<usize>,
    /// Exclusive or of the [`mix`] of the rows.
    pub fingerprint: u64,
}

/// An intersection of hyperplanes, with the arrangement induced on it.
///
/// Its flag, the rows that define it, is the lexicographically first basis of
/// the rows that vanish on it; following only ascending flags visits every flat
/// once (derived here: the greedy basis is unique, and its beginnings are the
/// greedy bases of the flats they define).
pub(super) struct Flat {
    /// Orthonormal basis in the coordinates of the arrangement, dim × rank.
    pub basis: Vec<f64>,
    /// Unit coordinates of the classes in that basis.
    pub rows: UnitRows,
    pub classes: Vec<Class>,
    members: Vec<Member>,
    /// Rows that vanish on the flat, ascending.
    pub tied: Vec<usize>,
    /// Rows that define the flat, ascending.
    pub flag: Vec<usize>,
    /// Orthonormal, flag × rank; row `flag[k]` lies in the span of the first k + 1.
    pub normals: Vec<f64>,
}

impl Flat {
    /// The whole space of an arrangement of distinct rows that span it.
    pub fn whole(rows: &UnitRows) -> Self {
        let rank = rows.dim;
        let mut basis = vec![0.0; rank * rank];
        (0..rank).for_each(|k| basis[k * rank + k] = 1.0);
        let class = |row| Class { first: row, members: row..row + 1, fingerprint: mix(row as u64) };
        Self {
            basis,
            rows: rows.clone(),
            classes: (0..rows.len()).map(class).collect(),
            members: (0..rows.len()).map(|row| Member { row, opposite: false }).collect(),
            tied: Vec::new(),
            flag: Vec::new(),
            normals: Vec::new(),
        }
    }

    pub fn dim(&self) -> usize {
        self.rows.dim
    }

    pub fn members(&self, class: usize) -> &[Member] {
        &self.members[self.classes[class].members.clone()]
    }

    /// Whether the class continues the flag of the flat.
    pub fn continues(&self, class: usize) -> bool {
        self.flag.last().is_none_or(|&last| self.classes[class].first > last)
    }

    /// The flat inside this one on which a class vanishes; classes that become
    /// parallel are merged.
    pub fn cut(&self, class: usize) -> Result<Self, Failure> {
        let (dim, rank) = (self.dim(), self.basis.len() / self.dim());
        let h = self.rows.row(class);
        // The reflection that takes h to the first axis, up to sign: its other
        // rows are an orthonormal basis of the complement.
        let mut axis = h.to_vec();
        axis[0] += 1.0_f64.copysign(h[0]);
        let scale = 2.0 / dot(&axis, &axis);
        let reflect = |x: &[f64], out: &mut Vec<f64>| {
            let along = scale * dot(&axis, x);
            out.extend((1..dim).map(|k| x[k] - along * axis[k]));
        };
        let count = self.rows.len() - 1;
        let mut rows = UnitRows {
            dim: dim - 1,
            data: Vec::with_capacity(count * (dim - 1)),
            error: Vec::with_capacity(count),
        };
        for i in (0..self.rows.len()).filter(|&i| i != class) {
            let (start, x) = (rows.data.len(), self.rows.row(i));
            reflect(x, &mut rows.data);
            let norm = normalise(&mut rows.data[start..]);
            let along = dot(x, h).abs();
            let error = self.rows.error[i] + along * self.rows.error[class] + 4.0 * f64::EPSILON;
            if norm <= 2.0 * error {
                return Err(Failure::Inconsistent);
            }
            rows.error.push(error / norm);
        }
        let mut combined = vec![0.0; rank];
        let mut normal = vec![0.0; rank];
        for (k, b) in self.basis.chunks(rank).enumerate() {
            subtract(&mut combined, -scale * axis[k], b);
            subtract(&mut normal, -h[k], b);
        }
        let mut basis = self.basis[rank..].to_vec();
        for (b, along) in basis.chunks_mut(rank).zip(&axis[1..]) {
            subtract(b, *along, &combined);
        }
        let mut tied = self.tied.clone();
        tied.extend(self.members(class).iter().map(|m| m.row));
        tied.sort_unstable();
        let mut flat = Self {
            basis,
            rows,
            classes: Vec::with_capacity(count),
            members: Vec::with_capacity(self.members.len()),
            tied,
            flag: self.flag.iter().copied().chain([self.classes[class].first]).collect(),
            normals: self.normals.iter().copied().chain(normal).collect(),
        };
        for i in (0..self.rows.len()).filter(|&i| i != class) {
            flat.push_class(self.members(i).iter().copied());
        }
        // The sweep groups the classes of a plane by itself.
        if dim > 3 { Ok(flat.merged()) } else { Ok(flat) }
    }

    fn push_class(&mut self, members: impl Iterator<Item = Member>) {
        let start = self.members.len();
        self.members.extend(members);
        let new = &self.members[start..];
        let first = new.iter().map(|m| m.row).min().unwrap_or(usize::MAX);
        let fingerprint = new.iter().fold(0, |sum, m| sum ^ mix(m.row as u64));
        self.classes.push(Class { first, members: start..self.members.len(), fingerprint });
    }

    /// The same flat with parallel classes merged, in the order of their first rows.
    pub fn merged(self) -> Self {
        let merge = merge_parallel(&self.rows, COINCIDENT);
        if merge.representatives.len() == self.rows.len() {
            return self;
        }
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); merge.representatives.len()];
        for (class, &group) in merge.group.iter().enumerate() {
            groups[group].push(class);
        }
        let first = |g: usize| groups[g].iter().map(|&c| self.classes[c].first).min();
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_unstable_by_key(|&g| first(g));
        let kept: Vec<usize> = order.iter().map(|&g| merge.representatives[g]).collect();
        let mut flat = Self {
            rows: self.rows.gather(&kept),
            basis: self.basis.clone(),
            classes: Vec::with_capacity(groups.len()),
            members: Vec::with_capacity(self.members.len()),
            tied: self.tied.clone(),
            flag: self.flag.clone(),
            normals: self.normals.clone(),
        };
        for &group in &order {
            flat.push_class(groups[group].iter().flat_map(|&c| {
                let turned = merge.opposite[c];
                self.members(c).iter().map(move |m| Member { opposite: m.opposite ^ turned, ..*m })
            }));
        }
        flat
    }

    /// The rays of a flat of dimension 2, by angle.
    pub fn line(&self) -> Result<Line, Failure> {
        let angle = |i: usize| {
            let h = self.rows.row(i);
            (h[1].atan2(h[0]) + FRAC_PI_2).rem_euclid(PI)
        };
        let mut stops: Vec<(f64, usize)> = (0..self.rows.len()).map(|i| (angle(i), i)).collect();
        stops.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let n = stops.len();
        if n == 0 {
            return Err(Failure::Inconsistent);
        }
        // Start in the widest gap: its signs are the safest to read off, and no
        // group of coincident rays is split by the wrap at π.
        let gap_after =
            |k: usize| stops.get(k + 1).map_or(stops[0].0 + PI, |next| next.0) - stops[k].0;
        let mut widest = (gap_after(0), 0);
        for k in 1..n {
            if gap_after(k) > widest.0 {
                widest = (gap_after(k), k);
            }
        }
        let (gap, last) = widest;
        stops.rotate_left(last + 1);
        for entry in &mut stops[n - last - 1..] {
            entry.0 += PI;
        }
        let start = stops[0].0 - 0.5 * gap;
        let mut vertices = Vec::with_capacity(n);
        let mut from = 0;
        for k in 1..=n {
            let apart = k == n || {
                let ((a, i), (b, j)) = (stops[k - 1], stops[k]);
                b - a > self.rows.tolerance(i, j, COINCIDENT)
            };
            if apart {
                vertices.push(Vertex {
                    angle: 0.5 * (stops[from].0 + stops[k - 1].0),
                    from,
                    to: k,
                });
                from = k;
            }
        }
        Ok(Line { start, vertices, classes: stops.into_iter().map(|stop| stop.1).collect() })
    }

    /// The signs of all rows in the gap before the first ray of the line.
    pub fn first_signs(&self, line: &Line, bits: &mut [u64]) {
        bits.fill(0);
        let (sin, cos) = line.start.sin_cos();
        for class in 0..self.classes.len() {
            let on = dot(self.rows.row(class), &[cos, sin]) > 0.0;
            for member in self.members(class) {
                bits[member.row / 64] |= u64::from(on != member.opposite) << (member.row % 64);
            }
        }
    }

    /// Crosses a ray: the signs of its rows change.
    pub fn cross(&self, classes: &[usize], bits: &mut [u64]) {
        for member in classes.iter().flat_map(|&class| self.members(class)) {
            bits[member.row / 64] ^= 1 << (member.row % 64);
        }
    }

    /// The rows that vanish on a ray of the line.
    pub fn tied_at(&self, classes: &[usize]) -> Vec<usize> {
        let mut tied = self.tied.clone();
        tied.extend(classes.iter().flat_map(|&c| self.members(c)).map(|m| m.row));
        tied.sort_unstable();
        tied
    }

    /// Calls `task` on every flat of dimension 2 below this one (dimension ≥ 2),
    /// in parallel batches, and `take` on the results in a fixed order.
    pub fn for_each_line<R: Send>(
        &self,
        task: &(impl Fn(&Self) -> R + Sync),
        take: &mut impl FnMut(R) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failure> {
        if self.dim() == 2 {
            return Ok(take(task(self)));
        }
        let below: Vec<usize> = (0..self.classes.len()).filter(|&c| self.continues(c)).collect();
        if self.dim() > 3 {
            for class in below {
                if self.cut(class)?.for_each_line(task, take)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let one = |&class: &usize| self.cut(class).map(|flat| task(&flat));
        for batch in below.chunks(BATCH) {
            let results: Vec<_> = if self.classes.len() < WORTH_THREADS {
                batch.iter().map(one).collect()
            } else {
                batch.par_iter().map(one).collect()
            };
            for result in results {
                if take(result?).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The rays of a flat of dimension 2 over half a turn; the other half is opposite.
pub(super) struct Line {
    /// An angle before the first ray.
    pub start: f64,
    pub vertices: Vec<Vertex>,
    classes: Vec<usize>,
}

/// A ray of a line and the range of the classes that vanish on it.
pub(super) struct Vertex {
    pub angle: f64,
    from: usize,
    to: usize,
}

impl Line {
    pub fn classes(&self, vertex: &Vertex) -> &[usize] {
        &self.classes[vertex.from..vertex.to]
    }
}
