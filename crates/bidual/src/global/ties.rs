//! Ties: hyperplanes x_kᵀv_j = 0 on which a neuron is kept, and when they are let go.

use super::newton::Newton;
use crate::linalg::{Mat, axpy, cholesky_in_place, cholesky_solve, column, dot, norm};

/// Rows that are multiples of one another share their hyperplane and their ties.
pub(crate) struct Classes {
    /// Class of each row.
    pub of: Vec<u32>,
    pub members: Vec<Vec<u32>>,
    norms: Vec<f64>,
}

impl Classes {
    /// Groups equal rows of `x`.
    pub fn new(x: &Mat) -> Self {
        let mut index = std::collections::HashMap::new();
        let (mut of, mut members): (Vec<u32>, Vec<Vec<u32>>) = (vec![], vec![]);
        let mut norms = vec![];
        for i in 0..x.nrows() {
            let key: Vec<u64> = (0..x.ncols()).map(|j| (x[(i, j)] + 0.0).to_bits()).collect();
            let next = members.len() as u32;
            let class = *index.entry(key).or_insert(next);
            if class == next {
                members.push(vec![]);
                norms.push((0..x.ncols()).map(|j| x[(i, j)] * x[(i, j)]).sum::<f64>().sqrt());
            }
            members[class as usize].push(i as u32);
            of.push(class);
        }
        Self { of, members, norms }
    }
}

/// A neuron with its ties.
#[derive(Clone)]
pub(super) struct Neuron {
    pub v: Vec<f64>,
    pub sign: f64,
    /// Tied classes.
    pub ties: Vec<u32>,
    /// Orthonormal basis of the tied rows, then of their complement: p×p.
    pub basis: Mat,
    /// Classes at 0 that the next step moves to the positive (true) or negative side.
    pub released: Vec<(u32, bool)>,
    /// On rows, 0/1 (ties are off).
    pub mask: Vec<f64>,
}

impl Neuron {
    pub fn free(&self, p: usize) -> usize {
        p - self.ties.len()
    }
}

impl Newton<'_> {
    pub(super) fn row(&self, i: usize) -> Vec<f64> {
        (0..self.x.ncols()).map(|j| self.x[(i, j)]).collect()
    }

    /// Orthonormal basis: tied rows first, then the complement. False if a tie is dependent.
    pub(super) fn set_basis(&self, neuron: &mut Neuron) -> bool {
        let p = self.x.ncols();
        let mut columns: Vec<Vec<f64>> = vec![];
        let push = |mut r: Vec<f64>, columns: &mut Vec<Vec<f64>>, least: f64| {
            let before = norm(&r);
            for _ in 0..2 {
                for q in columns.iter() {
                    let along = dot(q, &r);
                    axpy(-along, q, &mut r);
                }
            }
            let after = norm(&r);
            if after <= least * before || after == 0.0 {
                return false;
            }
            r.iter_mut().for_each(|v| *v /= after);
            columns.push(r);
            true
        };
        for &t in &neuron.ties {
            if !push(self.row(self.classes.members[t as usize][0] as usize), &mut columns, 1e-9) {
                return false;
            }
        }
        // unit vectors, the least dependent first
        while columns.len() < p {
            let best = (0..p)
                .max_by(|&a, &b| {
                    let left = |j: usize| 1.0 - columns.iter().map(|q| q[j] * q[j]).sum::<f64>();
                    left(a).total_cmp(&left(b)).then(b.cmp(&a))
                })
                .unwrap_or(0);
            let mut e = vec![0.0; p];
            e[best] = 1.0;
            if !push(e, &mut columns, 1e-12) {
                return false;
            }
        }
        neuron.basis = Mat::from_fn(p, p, |i, k| columns[k][i]);
        true
    }

    /// v ← its projection on the null space of the ties.
    pub(super) fn snap(&self, neuron: &mut Neuron) {
        for k in 0..neuron.ties.len() {
            let q = column(&neuron.basis, k).to_vec();
            let along = dot(&q, &neuron.v);
            axpy(-along, &q, &mut neuron.v);
        }
    }

    pub(super) fn tie(&self, neuron: &mut Neuron, class: u32) -> bool {
        let before = (neuron.ties.clone(), neuron.basis.clone());
        if neuron.ties.contains(&class) || neuron.ties.len() + 1 >= self.x.ncols() {
            return false;
        }
        neuron.ties.push(class);
        if !self.set_basis(neuron) {
            (neuron.ties, neuron.basis) = before;
            return false;
        }
        self.snap(neuron);
        true
    }

    pub(super) fn masks(&self, neuron: &mut Neuron, t: &[f64]) {
        for (m, t) in neuron.mask.iter_mut().zip(t) {
            *m = if *t > 0.0 { 1.0 } else { 0.0 };
        }
        for &class in &neuron.ties {
            for &i in &self.classes.members[class as usize] {
                neuron.mask[i as usize] = 0.0;
            }
        }
        for &(class, on) in &neuron.released {
            for &i in &self.classes.members[class as usize] {
                neuron.mask[i as usize] = if on { 1.0 } else { 0.0 };
            }
        }
    }

    /// Slope of the kink of a class for one neuron: positive where the objective is convex across it.
    pub(super) fn kink(&self, class: u32, sign: f64, nu: &[f64]) -> f64 {
        self.classes.members[class as usize].iter().map(|&i| -sign * nu[i as usize]).sum()
    }

    /// Ties the nearest hyperplanes with a convex kink.
    pub(super) fn first_ties(&self, neuron: &mut Neuron, t: &[f64], nu: &[f64]) {
        let size = norm(&neuron.v);
        let near = |c: usize| {
            let i = self.classes.members[c][0] as usize;
            t[i].abs() / (size * self.classes.norms[c]).max(1e-300)
        };
        let mut close: Vec<(f64, u32)> = (0..self.classes.members.len())
            .filter(|&c| self.classes.norms[c] > 0.0)
            .map(|c| (near(c), c as u32))
            .filter(|(r, c)| *r < 1e-9 && self.kink(*c, neuron.sign, nu) > 0.0)
            .collect();
        close.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (_, class) in close {
            self.tie(neuron, class);
        }
    }

    /// Releases, per neuron, the tie whose multiplier is farthest outside [0, 1].
    pub(super) fn release(&self, neurons: &mut [Neuron], full: &[Vec<f64>], nu: &[f64]) -> bool {
        let mut any = false;
        for (neuron, g) in neurons.iter_mut().zip(full) {
            let k = neuron.ties.len();
            if k == 0 {
                continue;
            }
            let rows: Vec<Vec<f64>> = neuron
                .ties
                .iter()
                .map(|&c| self.row(self.classes.members[c as usize][0] as usize))
                .collect();
            // coefficients c of g + Σ c_i x_i = 0 in the span of the ties
            let mut gram = Mat::from_fn(k, k, |a, b| dot(&rows[a], &rows[b]));
            let mut c: Vec<f64> = rows.iter().map(|r| -dot(r, g)).collect();
            if !cholesky_in_place(&mut gram) {
                continue;
            }
            cholesky_solve(&gram, &mut c);
            let mut worst = (0.0, 0, false);
            for (a, &class) in neuron.ties.iter().enumerate() {
                let kappa = self.kink(class, neuron.sign, nu);
                let scale = 1e-9 * (kappa.abs() + self.lambda / self.classes.norms[class as usize]);
                let (below, above) = (-c[a] - scale, c[a] - kappa - scale);
                let weight = self.classes.norms[class as usize];
                if below * weight > worst.0 {
                    worst = (below * weight, a, false);
                }
                if above * weight > worst.0 {
                    worst = (above * weight, a, true);
                }
            }
            if worst.0 > 0.0 {
                let class = neuron.ties.remove(worst.1);
                neuron.released.push((class, worst.2));
                self.set_basis(neuron);
                any = true;
            }
        }
        any
    }
}
