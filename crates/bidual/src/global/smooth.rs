//! Newton's method on smoothed neurons: φ_δ(t) = (t + √(t² + δ²))/2 in place of (t)₊, δ → 0.
//!
//! At a minimiser many neurons sit on kinks, and a method that meets kinks one after the other
//! needs as many steps. The smoothed objective has none: its minimisers lead to all of them at once,
//! as a central path leads to a vertex, and neurons still cross hyperplanes freely. Derived here.

use super::neurons::Neurons;
use crate::cone::Gauge;
use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, gemm, norm,
    transpose_times,
};
use crate::loss::Loss;
use crate::solver::weighted_gram;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::ControlFlow;

/// δ in turn, relative to the root mean square of a neuron's projections.
const WIDTHS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Newton steps for one δ, at most.
const STEPS: usize = 4;
/// A δ is done when a step promises less than this part of what smoothing costs.
const ENOUGH: f64 = 1e-2;

/// The problem that is smoothed.
pub(crate) struct Smooth<'a> {
    x: &'a Mat,
    loss: &'a dyn Loss,
    lambda: f64,
    gauge: Gauge,
    /// Root mean square of ‖x_i‖: what compares weights with projections.
    radius: f64,
}

/// Neurons with their projections (n×m), outputs and smoothed objective.
struct Point {
    v: Mat,
    t: Mat,
    f: Vec<f64>,
    value: f64,
}

/// What is fixed for one δ: the signs of the output weights and δ_j.
struct Stage<'a> {
    signs: &'a [f64],
    deltas: Vec<f64>,
}

/// One neuron's part of the quadratic model.
struct Part {
    /// ±φ' on the samples.
    slope: Vec<f64>,
    gradient: Vec<f64>,
    /// Curvature of its convex kinks and of its weight decay.
    block: Mat,
}

impl<'a> Smooth<'a> {
    pub fn new(x: &'a Mat, loss: &'a dyn Loss, lambda: f64, gauge: Gauge) -> Self {
        let squares: f64 = (0..x.ncols()).map(|c| dot(column(x, c), column(x, c))).sum();
        let radius = (squares / x.nrows() as f64).sqrt().max(f64::MIN_POSITIVE);
        Self { x, loss, lambda, gauge, radius }
    }

    /// Follows the minimisers along δ from `start`; the result may be worse than it.
    pub fn run(&self, start: &Neurons, go_on: &mut dyn FnMut() -> ControlFlow<()>) -> Neurons {
        let signs: Vec<f64> = start.negative.iter().map(|n| if *n { -1.0 } else { 1.0 }).collect();
        let mut v = start.values.clone();
        'widths: for width in WIDTHS {
            let stage = Stage { signs: &signs, deltas: self.deltas(&v, width) };
            let mut point = self.point(v, &stage);
            let mut damping = 1e-6;
            for _ in 0..STEPS {
                if go_on().is_break() {
                    v = point.v;
                    break 'widths;
                }
                let cost = (point.value - self.exact(&point, &signs)).abs();
                if self.step(&mut point, &stage, &mut damping) <= ENOUGH * cost {
                    break;
                }
            }
            v = point.v;
        }
        Neurons { values: v, negative: start.negative.clone() }
    }

    /// δ_j, the same for all samples of a neuron; very small neurons are smoothed as larger ones.
    fn deltas(&self, v: &Mat, width: f64) -> Vec<f64> {
        let t = self.project(v);
        let root = (t.nrows() as f64).sqrt();
        let spread: Vec<f64> = (0..v.ncols()).map(|j| norm(column(&t, j)) / root).collect();
        let largest = spread.iter().fold(0.0_f64, |a, b| a.max(*b));
        spread.iter().map(|s| width * s.max(1e-3 * largest).max(f64::MIN_POSITIVE)).collect()
    }

    fn project(&self, v: &Mat) -> Mat {
        let mut t = Mat::zeros(self.x.nrows(), v.ncols());
        gemm(t.as_mut(), self.x.as_ref(), v.as_ref(), false);
        t
    }

    fn point(&self, v: Mat, stage: &Stage) -> Point {
        let t = self.project(&v);
        let mut f = vec![0.0; t.nrows()];
        let value = self.value(&v, &t, stage, &mut f);
        Point { v, t, f, value }
    }

    fn penalised<'v>(&self, v: &'v Mat, j: usize) -> &'v [f64] {
        &column(v, j)[..self.gauge.penalised(v.nrows())]
    }

    /// The smoothed objective, weight decay as √(‖u_j‖² + η²) − η; writes the outputs.
    fn value(&self, v: &Mat, t: &Mat, stage: &Stage, f: &mut [f64]) -> f64 {
        f.fill(0.0);
        let mut decay = 0.0;
        for (j, (s, delta)) in stage.signs.iter().zip(&stage.deltas).enumerate() {
            let (half, square, eta) = (0.5 * s, delta * delta, delta / self.radius);
            Arch::new().dispatch(|| {
                for (f, t) in f.iter_mut().zip(column(t, j)) {
                    *f += half * (t + (t * t + square).sqrt());
                }
            });
            decay += norm(self.penalised(v, j)).hypot(eta) - eta;
        }
        self.loss.value(f) + self.lambda * decay
    }

    /// The true objective.
    fn exact(&self, point: &Point, signs: &[f64]) -> f64 {
        let mut f = vec![0.0; point.f.len()];
        let mut decay = 0.0;
        for (j, s) in signs.iter().enumerate() {
            f.iter_mut().zip(column(&point.t, j)).for_each(|(f, t)| *f += s * t.max(0.0));
            decay += norm(self.penalised(&point.v, j));
        }
        self.loss.value(&f) + self.lambda * decay
    }

    /// One damped Newton step; returns what it promised, 0 if none was found.
    fn step(&self, point: &mut Point, stage: &Stage, damping: &mut f64) -> f64 {
        let (n, p, m) = (self.x.nrows(), self.x.ncols(), stage.signs.len());
        let (gradient, gram) = self.model(point, stage);
        // each neuron is damped on its own scale, lest one of them hold up the others
        let scale = |j: usize| (j * p..(j + 1) * p).map(|k| gram[(k, k)]).sum::<f64>() / p as f64;
        let scales: Vec<f64> = (0..m).map(|j| scale(j).max(1e-300)).collect();
        let (v, t) = (point.v.clone(), point.t.clone());
        let mut trial = Point { v, t, f: vec![0.0; n], value: 0.0 };
        for _ in 0..12 {
            let mut factor = gram.clone();
            for k in 0..m * p {
                factor[(k, k)] += *damping * scales[k / p];
            }
            if !cholesky_in_place(&mut factor) {
                *damping *= 100.0;
                continue;
            }
            let mut step = gradient.clone();
            cholesky_solve(&factor, &mut step);
            let promised = dot(&gradient, &step);
            let d = Mat::from_fn(p, m, |i, j| -step[j * p + i]);
            let td = self.project(&d);
            let mut along = 1.0;
            while along > 1e-3 {
                for j in 0..m {
                    add(column_mut(&mut trial.v, j), column(&point.v, j), along, column(&d, j));
                    add(column_mut(&mut trial.t, j), column(&point.t, j), along, column(&td, j));
                }
                trial.value = self.value(&trial.v, &trial.t, stage, &mut trial.f);
                if point.value - trial.value > 0.1 * along * promised {
                    if along == 1.0 {
                        *damping = (*damping * 0.1).max(1e-9);
                    } else if along < 0.2 {
                        *damping = (*damping * 10.0).max(1e-3);
                    }
                    std::mem::swap(point, &mut trial);
                    return promised;
                }
                along *= 0.4;
            }
            *damping = (*damping * 100.0).max(1e-3);
        }
        0.0
    }

    /// Gradient and Hessian (lower triangle) of the smoothed objective, without the negative
    /// curvature of concave kinks.
    fn model(&self, point: &Point, stage: &Stage) -> (Vec<f64>, Mat) {
        let (n, p, m) = (self.x.nrows(), self.x.ncols(), stage.signs.len());
        let mut nu = vec![0.0; n];
        self.loss.residual_into(&point.f, &mut nu);
        let profiled = self.loss.as_intercept();
        let offset = profiled.map_or(0.0, |l| l.intercept(&point.f));
        let outputs: Vec<f64> = point.f.iter().map(|f| f + offset).collect();
        let mut hessian = vec![0.0; n];
        let plain = profiled.map_or(self.loss, |l| l.inner().as_ref());
        plain.hessian_diagonal_into(&outputs, &mut hessian);
        let parts: Vec<Part> =
            (0..m).into_par_iter().map(|j| self.part(point, stage, &nu, j)).collect();
        let mut phi = Mat::zeros(n, m * p);
        for (j, part) in parts.iter().enumerate() {
            for c in 0..p {
                scaled(column_mut(&mut phi, j * p + c), column(self.x, c), &part.slope);
            }
        }
        let mut gram = weighted_gram(&phi, &hessian, profiled.is_some());
        for (j, part) in parts.iter().enumerate() {
            for b in 0..p {
                for a in b..p {
                    gram[(j * p + a, j * p + b)] += part.block[(a, b)];
                }
            }
        }
        (parts.into_iter().flat_map(|part| part.gradient).collect(), gram)
    }

    fn part(&self, point: &Point, stage: &Stage, nu: &[f64], j: usize) -> Part {
        let (n, p) = (self.x.nrows(), self.x.ncols());
        let (s, delta) = (stage.signs[j], stage.deltas[j]);
        let (mut slope, mut bend) = (vec![0.0; n], vec![0.0; n]);
        Arch::new().dispatch(|| {
            let samples = column(&point.t, j).iter().zip(nu);
            for ((t, nu), (slope, bend)) in samples.zip(slope.iter_mut().zip(&mut bend)) {
                let root = (t * t + delta * delta).sqrt();
                *slope = s * 0.5 * (1.0 + t / root);
                *bend = (-s * nu).max(0.0) * 0.5 * (delta / root).powi(2) / root;
            }
        });
        let pull: Vec<f64> = slope.iter().zip(nu).map(|(a, b)| -a * b).collect();
        let mut gradient = vec![0.0; p];
        transpose_times(self.x, &pull, &mut gradient);
        let mut bent = Mat::zeros(n, p);
        for c in 0..p {
            scaled(column_mut(&mut bent, c), column(self.x, c), &bend);
        }
        let mut block = Mat::zeros(p, p);
        gemm(block.as_mut(), self.x.as_ref().transpose(), bent.as_ref(), false);
        let u = self.penalised(&point.v, j);
        let size = norm(u).hypot(delta / self.radius).max(1e-300);
        axpy(self.lambda / size, u, &mut gradient[..u.len()]);
        for b in 0..u.len() {
            for a in 0..u.len() {
                let inner = f64::from(u8::from(a == b)) - u[a] / size * (u[b] / size);
                block[(a, b)] += self.lambda / size * inner;
            }
        }
        Part { slope, gradient, block }
    }
}

/// to ← a + t·b.
fn add(to: &mut [f64], a: &[f64], t: f64, b: &[f64]) {
    to.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = a + t * b);
}

/// to ← w∘x.
fn scaled(to: &mut [f64], x: &[f64], w: &[f64]) {
    to.iter_mut().zip(x.iter().zip(w)).for_each(|(to, (x, w))| *to = x * w);
}
