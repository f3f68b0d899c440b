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
use super::search::Scratch;
use super::ties::{Classes, Neuron};
use crate::cone::Gauge;
use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, gemm, norm,
    transpose_times,
};
use crate::loss::Loss;
use std::ops::ControlFlow;

/// Steps over which the objective must fall by the accuracy asked for.
const PATIENCE: usize = 8;

/// The problem on which Newton's method runs.
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
