//! Newton's method on the neurons themselves: the second-order finish of a slide.
//!
//! F(Σ ±(Xv_j)_+) + λΣρ(v_j) is smooth between the hyperplanes x_kᵀv_j = 0 and
//! convex across those where ±ν_k < 0: there minimisers sit. Each neuron keeps
//! a set of such *ties* x_kᵀv_j = 0 as equalities; a step minimises the
//! quadratic model on their null spaces, an exact search along it stops at the
//! minimum of the true objective (a new tie, if that is a kink), and a tie is
//! released when its multiplier leaves [0, 1]. Derived here; an active-set
//! method in the spirit of Nocedal & Wright, §16.5.

use super::gram::Gram;
use super::neurons::Neurons;
use crate::cone::Gauge;
use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, gemm, norm,
    transpose_times,
};
use crate::loss::Loss;
use std::ops::ControlFlow;

/// Steps over which the objective must fall by the accuracy asked for.
const PATIENCE: usize = 8;

/// Rows that are multiples of one another share their hyperplane and their ties.
pub(crate) struct Classes {
    /// Class of each row.
    of: Vec<u32>,
    members: Vec<Vec<u32>>,
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
struct Neuron {
    v: Vec<f64>,
    sign: f64,
    /// Tied classes.
    ties: Vec<u32>,
    /// Orthonormal basis of the tied rows, then of their complement: p×p.
    basis: Mat,
    /// Classes at 0 that the next step moves to the positive (true) or negative side.
    released: Vec<(u32, bool)>,
    /// On rows, 0/1 (ties are off).
    mask: Vec<f64>,
}

impl Neuron {
    fn free(&self, p: usize) -> usize {
        p - self.ties.len()
    }
}

pub(crate) struct Newton<'a> {
    pub x: &'a Mat,
    /// The rows of `x`, one after the other.
    pub rows: &'a [f64],
    pub classes: &'a Classes,
    pub loss: &'a dyn Loss,
    pub lambda: f64,
    pub gauge: Gauge,
}

/// Where Newton's method ended.
pub(crate) struct Finished {
    pub neurons: Neurons,
    /// Packed patterns, ties on the side of their released state (off).
    pub cells: Vec<Vec<u64>>,
}

impl Newton<'_> {
    /// The loss without its output bias.
    fn plain(&self) -> &dyn Loss {
        self.loss.as_intercept().map_or(self.loss, |profiled| profiled.inner().as_ref())
    }

    /// The objective of the neurons as they stand, with their best output bias.
    fn rest(&self, neurons: &[Neuron], t0: &Mat, scratch: &mut Scratch) -> f64 {
        let (n, m) = (self.x.nrows(), neurons.len());
        let (zero, still) = (Mat::zeros(n, m), Mat::zeros(self.x.ncols(), m));
        (scratch.offset, scratch.slope) = (0.0, 0.0);
        if let Some(profiled) = self.loss.as_intercept() {
            let mut f = vec![0.0; n];
            for (j, neuron) in neurons.iter().enumerate() {
                f.iter_mut().zip(column(t0, j)).for_each(|(f, t)| *f += neuron.sign * t.max(0.0));
            }
            scratch.offset = profiled.intercept(&f);
        }
        self.along(neurons, (t0, &zero), &still, 0.0, scratch).0
    }

    fn row(&self, i: usize) -> Vec<f64> {
        (0..self.x.ncols()).map(|j| self.x[(i, j)]).collect()
    }

    /// Orthonormal basis: tied rows first, then the complement. False if a tie is dependent.
    fn set_basis(&self, neuron: &mut Neuron) -> bool {
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
    fn snap(&self, neuron: &mut Neuron) {
        for k in 0..neuron.ties.len() {
            let q = column(&neuron.basis, k).to_vec();
            let along = dot(&q, &neuron.v);
            axpy(-along, &q, &mut neuron.v);
        }
    }

    fn tie(&self, neuron: &mut Neuron, class: u32) -> bool {
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

    fn masks(&self, neuron: &mut Neuron, t: &[f64]) {
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

    fn penalised<'v>(&self, v: &'v [f64]) -> &'v [f64] {
        &v[..self.gauge.penalised(v.len())]
    }

    /// F + λΣ‖v_j‖ at V + tD from projections; with the right derivative along D.
    fn along(
        &self,
        neurons: &[Neuron],
        (t0, td): (&Mat, &Mat),
        d: &Mat,
        t: f64,
        scratch: &mut Scratch,
    ) -> (f64, f64) {
        let Scratch { f, df, nu, offset, slope: along } = scratch;
        f.fill(*offset + t * *along);
        df.fill(*along);
        let (mut value, mut slope) = (0.0, 0.0);
        for (j, neuron) in neurons.iter().enumerate() {
            let s = neuron.sign;
            for (((f, df), a), b) in
                f.iter_mut().zip(df.iter_mut()).zip(column(t0, j)).zip(column(td, j))
            {
                let at = a + t * b;
                let on = at > 0.0 || (at == 0.0 && *b > 0.0);
                let (a, b) = if on { (s * at, s * b) } else { (0.0, 0.0) };
                *f += a;
                *df += b;
            }
            let (v, dv) = (self.penalised(&neuron.v), self.penalised(column(d, j)));
            let (vv, vd, dd) = (dot(v, v), dot(v, dv), dot(dv, dv));
            let size = (vv + t * (2.0 * vd + t * dd)).max(0.0).sqrt();
            value += self.lambda * size;
            slope += self.lambda * if size > 0.0 { (vd + t * dd) / size } else { dd.sqrt() };
        }
        value += self.plain().value_and_residual(f, nu);
        slope -= dot(nu, df);
        (value, slope)
    }

    /// Runs at most `limit` steps, until they promise less than `accuracy` (relative).
    pub fn run(
        &self,
        start: &Neurons,
        limit: usize,
        accuracy: f64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Finished {
        let (n, p) = (self.x.nrows(), self.x.ncols());
        let mut neurons: Vec<Neuron> = (0..start.len())
            .map(|j| Neuron {
                v: column(&start.values, j).to_vec(),
                sign: if start.negative[j] { -1.0 } else { 1.0 },
                ties: vec![],
                basis: Mat::identity(p, p),
                released: vec![],
                mask: vec![0.0; n],
            })
            .collect();
        let mut scratch = Scratch {
            f: vec![0.0; n],
            df: vec![0.0; n],
            nu: vec![0.0; n],
            offset: 0.0,
            slope: 0.0,
        };
        let mut iterations = 0;
        let mut damping = 1e-12;
        let mut cache: Option<Gram> = None;
        let mut first = true;
        let (mut stalls, mut history) = (0, vec![]);
        while iterations < limit && go_on().is_continue() {
            let m = neurons.len();
            if m == 0 {
                break;
            }
            iterations += 1;
            // projections, masks, outputs
            let mut t0 = self.project(&neurons);
            let mut value = self.rest(&neurons, &t0, &mut scratch);
            if first {
                // rows that the slide has left on their kink
                first = false;
                let before = (neurons.clone(), t0.clone(), value);
                for j in 0..m {
                    self.first_ties(&mut neurons[j], column(&t0, j), &scratch.nu);
                }
                t0 = self.project(&neurons);
                value = self.rest(&neurons, &t0, &mut scratch);
                if value > before.2 + 1e-9 * before.2.abs() {
                    (neurons, t0, value) = before;
                    self.rest(&neurons, &t0, &mut scratch);
                }
            }
            history.push(value);
            if let Some(before) = iterations.checked_sub(PATIENCE + 1)
                && history[before] - value <= accuracy * value.abs()
            {
                break;
            }
            for j in 0..m {
                self.masks(&mut neurons[j], column(&t0, j));
            }
            let nu = scratch.nu.clone();
            // gradients in full space, reduced designs
            let mut full: Vec<Vec<f64>> = Vec::with_capacity(m);
            let mut sizes = vec![];
            let mut offsets = vec![0];
            for neuron in &neurons {
                let masked: Vec<f64> =
                    neuron.mask.iter().zip(&nu).map(|(m, v)| -neuron.sign * m * v).collect();
                let mut g = vec![0.0; p];
                transpose_times(self.x, &masked, &mut g);
                let u = self.penalised(&neuron.v);
                let size = norm(u).max(1e-300);
                axpy(self.lambda / size, u, &mut g[..u.len()]);
                full.push(g);
                sizes.push(size);
                offsets.push(offsets[offsets.len() - 1] + neuron.free(p));
            }
            let dim = offsets[m];
            let mut gradient = vec![0.0; dim];
            for (j, neuron) in neurons.iter().enumerate() {
                let k = neuron.ties.len();
                for c in 0..p - k {
                    gradient[offsets[j] + c] = dot(column(&neuron.basis, k + c), &full[j]);
                }
            }
            let mut hessian = vec![0.0; n];
            // the outputs in `scratch` contain the output bias
            self.plain().hessian_diagonal_into(&scratch.f, &mut hessian);
            let mut gram = self.reduced_gram(&neurons, &offsets, &hessian, &mut cache);
            for (j, neuron) in neurons.iter().enumerate() {
                let k = neuron.ties.len();
                let q = self.gauge.penalised(p);
                // λ/‖u‖ (I − ûûᵀ) on the penalised coordinates, in the reduced basis
                let reduced = |c: usize| &column(&neuron.basis, k + c)[..q];
                let along: Vec<f64> = (0..p - k)
                    .map(|c| dot(reduced(c), self.penalised(&neuron.v)) / sizes[j])
                    .collect();
                for a in 0..p - k {
                    for b in 0..=a {
                        let inner = dot(reduced(a), reduced(b)) - along[a] * along[b];
                        gram[(offsets[j] + a, offsets[j] + b)] += self.lambda / sizes[j] * inner;
                    }
                }
            }
            let trace: f64 = (0..dim).map(|k| gram[(k, k)]).sum::<f64>() / dim.max(1) as f64;
            let mut step = gradient.clone();
            let mut shift = damping;
            loop {
                let mut factor = gram.clone();
                for k in 0..dim {
                    factor[(k, k)] += shift * trace.max(1e-300);
                }
                if cholesky_in_place(&mut factor) {
                    step.copy_from_slice(&gradient);
                    cholesky_solve(&factor, &mut step);
                    break;
                }
                shift *= 100.0;
                if shift > 1e6 {
                    break;
                }
            }
            let mut d = Mat::zeros(p, m);
            for (j, neuron) in neurons.iter().enumerate() {
                let k = neuron.ties.len();
                for c in 0..p - k {
                    axpy(
                        -step[offsets[j] + c],
                        column(&neuron.basis, k + c),
                        column_mut(&mut d, j),
                    );
                }
            }
            let decrement = dot(&gradient, &step);
            if decrement <= accuracy * value.abs() {
                // a stationary point on its ties: are their multipliers in [0, 1]?
                if !self.release(&mut neurons, &full, &nu) {
                    break;
                }
                continue;
            }
            let td = self.project_onto(&neurons, &d);
            if self.loss.as_intercept().is_some() {
                let total: f64 = hessian.iter().sum();
                let moved = |j: usize| {
                    let masks = neurons[j].mask.iter().zip(&hessian).zip(column(&td, j));
                    neurons[j].sign * masks.map(|((m, h), t)| m * h * t).sum::<f64>()
                };
                let moment: f64 = (0..m).map(moved).sum();
                scratch.slope = if total > 0.0 { -moment / total } else { 0.0 };
            }
            let mut cap = 1.0;
            let (best, kink) = loop {
                let found = self.search(&neurons, (&t0, &td), &d, value, cap, &mut scratch);
                // beyond a hump of a non-convex kink: look nearer
                if found.0.1 <= value || cap < 1e-6 {
                    break found;
                }
                cap *= 0.1;
            };
            let (best, kink) = if best.1 <= value { (best, kink) } else { ((0.0, value), vec![]) };
            let t = best.0;
            for (j, neuron) in neurons.iter_mut().enumerate() {
                axpy(t, column(&d, j), &mut neuron.v);
                if t > 0.0 {
                    neuron.released.clear();
                }
            }
            let mut tied = false;
            for (class, j) in kink {
                tied |= self.tie(&mut neurons[j], class);
            }
            let gain = value - best.1;
            if gain <= 1e-15 * value.abs() && !tied {
                // early multipliers may show the way out
                stalls += 1;
                damping = (damping * 100.0).min(1e-2);
                if stalls > 4 || !self.release(&mut neurons, &full, &nu) && stalls > 2 {
                    break;
                }
            } else {
                stalls = 0;
                damping = (damping * 0.1).max(1e-12);
            }
            self.drop_small(&mut neurons);
        }
        let t = self.project(&neurons);
        for j in 0..neurons.len() {
            self.masks(&mut neurons[j], column(&t, j));
        }
        let pack = |mask: &[f64]| {
            let mut bits = vec![0u64; n.div_ceil(64)];
            mask.iter()
                .enumerate()
                .for_each(|(i, m)| bits[i / 64] |= u64::from(*m > 0.0) << (i % 64));
            bits
        };
        Finished {
            neurons: Neurons {
                values: Mat::from_fn(p, neurons.len(), |i, j| neurons[j].v[i]),
                negative: neurons.iter().map(|n| n.sign < 0.0).collect(),
            },
            cells: neurons.iter().map(|n| pack(&n.mask)).collect(),
        }
    }

    /// Xv_j, exactly 0 on ties.
    fn project(&self, neurons: &[Neuron]) -> Mat {
        let p = self.x.ncols();
        let v = Mat::from_fn(p, neurons.len(), |i, j| neurons[j].v[i]);
        self.project_onto(neurons, &v)
    }

    fn project_onto(&self, neurons: &[Neuron], v: &Mat) -> Mat {
        let mut t = Mat::zeros(self.x.nrows(), neurons.len());
        gemm(t.as_mut(), self.x.as_ref(), v.as_ref(), false);
        for (j, neuron) in neurons.iter().enumerate() {
            for &class in &neuron.ties {
                for &i in &self.classes.members[class as usize] {
                    t[(i as usize, j)] = 0.0;
                }
            }
        }
        t
    }

    /// Slope of the kink of a class for one neuron: positive where the objective is convex across it.
    fn kink(&self, class: u32, sign: f64, nu: &[f64]) -> f64 {
        self.classes.members[class as usize].iter().map(|&i| -sign * nu[i as usize]).sum()
    }

    /// Ties the nearest hyperplanes with a convex kink.
    fn first_ties(&self, neuron: &mut Neuron, t: &[f64], nu: &[f64]) {
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
    fn release(&self, neurons: &mut [Neuron], full: &[Vec<f64>], nu: &[f64]) -> bool {
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

    /// Zᵀ(ΦᵀHΦ − intercept)Z on the null spaces of the ties, lower triangle.
    fn reduced_gram(
        &self,
        neurons: &[Neuron],
        offsets: &[usize],
        hessian: &[f64],
        cache: &mut Option<Gram>,
    ) -> Mat {
        let (p, m) = (self.x.ncols(), neurons.len());
        let masks: Vec<&[f64]> = neurons.iter().map(|n| n.mask.as_slice()).collect();
        let signs: Vec<f64> = neurons.iter().map(|n| n.sign).collect();
        if !cache.as_mut().is_some_and(|g| g.update(self.rows, &masks, &signs, hessian)) {
            let masks = masks.iter().map(|m| m.to_vec()).collect();
            *cache = Some(Gram::new(self.x, masks, signs, hessian));
        }
        let dim = offsets[m];
        let mut reduced = Mat::zeros(dim, dim);
        let Some(gram) = cache.as_ref() else { return reduced };
        let (mut half, mut moments) = (Mat::zeros(p, p), vec![0.0; dim]);
        for j in 0..m {
            let kj = neurons[j].ties.len();
            let zj = neurons[j].basis.as_ref().subcols(kj, p - kj);
            for k in 0..=j {
                let kk = neurons[k].ties.len();
                let zk = neurons[k].basis.as_ref().subcols(kk, p - kk);
                let mut half = half.as_mut().subcols_mut(0, p - kk);
                gemm(half.as_mut(), gram.block(j, k, p), zk, false);
                let to = reduced.as_mut().submatrix_mut(offsets[j], offsets[k], p - kj, p - kk);
                gemm(to, zj.transpose(), half.as_ref(), false);
            }
            for c in 0..p - kj {
                moments[offsets[j] + c] = dot(column(&neurons[j].basis, kj + c), gram.moment(j, p));
            }
        }
        let total = gram.total();
        if self.loss.as_intercept().is_some() && total > 0.0 {
            for b in 0..dim {
                for a in b..dim {
                    reduced[(a, b)] -= moments[a] * moments[b] / total;
                }
            }
        }
        reduced
    }

    /// The least value along the step, by bisection over the hyperplanes that it
    /// crosses: ((t, value), kinks to tie there).
    fn search(
        &self,
        neurons: &[Neuron],
        projections: (&Mat, &Mat),
        d: &Mat,
        value: f64,
        cap: f64,
        scratch: &mut Scratch,
    ) -> ((f64, f64), Vec<(u32, usize)>) {
        let (_, start) = self.along(neurons, projections, d, 0.0, scratch);
        let (full, end) = self.along(neurons, projections, d, cap, scratch);
        if full < value && (end.abs() <= 0.9 * start.abs() || end < 0.0) {
            return ((cap, full), vec![]);
        }
        let mut crossings: Vec<(f64, u32, u32)> = vec![];
        for j in 0..neurons.len() {
            let pairs = column(projections.0, j).iter().zip(column(projections.1, j));
            for (i, (a, b)) in pairs.enumerate() {
                // towards its hyperplane, or leaving it
                if *b != 0.0 && a * b <= 0.0 && a.abs() <= cap * b.abs() {
                    crossings.push((-a / b, j as u32, i as u32));
                }
            }
        }
        crossings.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut times: Vec<f64> = crossings.iter().map(|c| c.0).collect();
        times.dedup();
        // first crossing after which the objective climbs
        let (mut below, mut above) = (0, times.len());
        while below < above {
            let middle = (below + above) / 2;
            let (_, slope) = self.along(neurons, projections, d, times[middle], scratch);
            if slope > 0.0 { above = middle } else { below = middle + 1 }
        }
        let left = if above > 0 { times[above - 1] } else { 0.0 };
        let right = times.get(above).copied().unwrap_or(cap);
        // does it climb already before that crossing?
        let (mut low, mut high) = (left, right);
        let (_, mut slope_low) = self.along(neurons, projections, d, low, scratch);
        let inner = right - 1e-9 * (right - left);
        let (at_inner, mut slope_high) = self.along(neurons, projections, d, inner, scratch);
        if slope_high < 0.0 && above < times.len() {
            let (v, _) = self.along(neurons, projections, d, right, scratch);
            let kinks = crossings
                .iter()
                .filter(|c| c.0 == right)
                .map(|c| (self.classes.of[c.2 as usize], c.1 as usize))
                .filter(|(class, j)| self.kink(*class, neurons[*j].sign, &scratch.nu) > 0.0);
            let mut kinks: Vec<(u32, usize)> = kinks.collect();
            kinks.dedup();
            return ((right, v), kinks);
        }
        let mut best = if at_inner < value { (inner, at_inner) } else { (0.0, value) };
        (high, slope_low) = (inner.min(high), slope_low.min(0.0));
        for k in 0..40 {
            let secant = low - slope_low * (high - low) / (slope_high - slope_low);
            let t = if k % 3 == 2 || !secant.is_finite() { 0.5 * (low + high) } else { secant };
            let (v, slope) = self.along(neurons, projections, d, t, scratch);
            if v < best.1 {
                best = (t, v);
            }
            if slope.abs() <= 1e-6 * start.abs() || high - low <= 1e-13 * high {
                break;
            }
            if slope > 0.0 {
                (high, slope_high) = (t, slope);
            } else {
                (low, slope_low) = (t, slope);
            }
        }
        (best, vec![])
    }

    /// Drops neurons whose removal does not raise the objective.
    fn drop_small(&self, neurons: &mut Vec<Neuron>) {
        let size = |n: &Neuron| norm(self.penalised(&n.v));
        let largest = neurons.iter().map(size).fold(0.0, f64::max);
        let small = neurons.iter().any(|n| size(n) < 0.02 * largest);
        if !small {
            return;
        }
        let t = self.project(neurons);
        let mut f = vec![0.0; self.x.nrows()];
        for (j, neuron) in neurons.iter().enumerate() {
            f.iter_mut().zip(column(&t, j)).for_each(|(f, t)| *f += neuron.sign * t.max(0.0));
        }
        let mut value = self.loss.value(&f);
        let mut keep = vec![true; neurons.len()];
        for (j, neuron) in neurons.iter().enumerate() {
            if size(neuron) >= 0.02 * largest {
                continue;
            }
            let without: Vec<f64> =
                f.iter().zip(column(&t, j)).map(|(f, t)| f - neuron.sign * t.max(0.0)).collect();
            let lighter = self.loss.value(&without);
            if lighter <= value + self.lambda * size(neuron) {
                (value, f) = (lighter, without);
                keep[j] = false;
            }
        }
        let mut index = 0;
        neurons.retain(|_| {
            index += 1;
            keep[index - 1]
        });
    }
}

struct Scratch {
    f: Vec<f64>,
    df: Vec<f64>,
    nu: Vec<f64>,
    /// Output bias, and how it changes along the step: a variable of its own, so
    /// that a search needs no minimisation over it at every point.
    offset: f64,
    slope: f64,
}
