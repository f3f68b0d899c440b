//! Accelerated proximal gradient with adaptive restart, on a working set.
//!
//! Beck & Teboulle 2009 (FISTA), O'Donoghue & Candès 2015 (gradient restart).

use super::working_set::{Ended, Inner, Outer, Point, Stop};
use super::{Observer, Solution, Solver, SparseColumns};
use crate::linalg::{Mat, as_column, column, column_mut};
use crate::{Program, Result};
use faer::MatMut;
use std::ops::ControlFlow;

/// FISTA for programs without cone constraints.
#[derive(Debug, Clone)]
pub struct Fista {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Proximal steps at most, over all working sets.
    pub max_iterations: usize,
    /// Columns in the first working set (later: the support and as many others again).
    pub working_set: usize,
}

impl Default for Fista {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_iterations: 100_000, working_set: 40 }
    }
}

impl Solver for Fista {
    fn name(&self) -> &'static str {
        "fista"
    }

    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        let outer = Outer {
            name: self.name(),
            tolerance: self.tolerance,
            max_iterations: self.max_iterations,
            first: self.working_set,
        };
        outer.solve(program, start, observer, &mut Steps { lipschitz: 0.0 })
    }
}

/// Inner iterations between two checks of the restricted gap.
const CHECK: usize = 10;
/// Goals, relative to the objective, for which gradients in f32 are enough.
const ROUGH: f64 = 1e-5;

/// FISTA on one restricted program; buffers are allocated once per call.
pub(super) struct Steps {
    /// Lipschitz estimate of ∇(F∘A), adapted by backtracking; 0 before the first call.
    pub lipschitz: f64,
}

/// ‖∇²(F∘A)‖ from below.
fn first_guess(program: &Program) -> f64 {
    let largest = program.loss.weights().iter().copied().fold(0.0, f64::max);
    let bound = program.loss.curvature_bound() * largest;
    let guess = bound * program.operator.squared_norm_estimate(8);
    if guess > 0.0 { guess } else { 1.0 }
}

impl Inner for Steps {
    fn run(&mut self, point: &mut Point, goal: f64, limit: usize, stop: &mut Stop) -> Ended {
        let program = point.program;
        let (n, (d, p)) = (program.samples(), program.shape());
        let (loss, lambda) = (program.loss.as_ref(), program.lambda);
        if self.lipschitz == 0.0 {
            self.lipschitz = first_guess(program);
        }
        let (mut y, mut fy) = (point.z.clone(), point.f.clone());
        let (mut next, mut f_next) = (Mat::zeros(d, p), vec![0.0; n]);
        let mut gradient = Mat::zeros(d, p);
        let mut nu = vec![0.0; n];
        let mut momentum = 1.0f64;
        let coarse = goal > ROUGH * program.objective_at(&point.z, &point.f).abs();
        let rough = if coarse { program.operator.rough() } else { None };
        let gradients = rough.as_ref().unwrap_or(&program.operator);
        for iteration in 0..limit {
            if iteration % CHECK == 0 {
                let (upper, lower) = point.gap(&mut nu, &mut gradient);
                if upper - lower <= goal {
                    return Ended { iterations: iteration, status: None, reached: true };
                }
                if let ControlFlow::Break(status) = stop(iteration, upper) {
                    return Ended { iterations: iteration, status: Some(status), reached: false };
                }
            }
            loss.residual_into(&fy, &mut nu);
            gradients.adjoint_into(as_column(&nu), gradient.as_mut());
            let value = loss.value(&fy);
            self.lipschitz *= 0.95;
            // proximal step with backtracking on the quadratic upper model
            loop {
                let step = 1.0 / self.lipschitz;
                let (mut linear, mut square) = (0.0, 0.0);
                for c in 0..p {
                    let (to, from) = (column_mut(&mut next, c), column(&y, c));
                    let g = column(&gradient, c);
                    for i in 0..d {
                        to[i] = from[i] + step * g[i];
                    }
                    program.regularizer.prox_column(to, step * lambda);
                    for i in 0..d {
                        let move_i = to[i] - from[i];
                        linear -= g[i] * move_i;
                        square += move_i * move_i;
                    }
                }
                let out = MatMut::from_column_major_slice_mut(&mut f_next, n, 1);
                program.operator.apply_into(next.as_ref(), out);
                let model = value + linear + 0.5 * self.lipschitz * square;
                if loss.value(&f_next) <= model + 1e-14 * value.abs() || self.lipschitz > 1e300 {
                    break;
                }
                self.lipschitz *= 2.0;
            }
            // restart when the step turns against the momentum
            let mut turn = 0.0;
            for c in 0..p {
                let (a, b, z) = (column(&y, c), column(&next, c), column(&point.z, c));
                turn += (0..d).map(|i| (a[i] - b[i]) * (b[i] - z[i])).sum::<f64>();
            }
            let after = if turn > 0.0 {
                1.0
            } else {
                0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt())
            };
            let beta = if turn > 0.0 { 0.0 } else { (momentum - 1.0) / after };
            momentum = after;
            for c in 0..p {
                let (a, b, z) = (column_mut(&mut y, c), column(&next, c), column(&point.z, c));
                for i in 0..d {
                    a[i] = b[i] + beta * (b[i] - z[i]);
                }
            }
            for i in 0..n {
                fy[i] = f_next[i] + beta * (f_next[i] - point.f[i]);
            }
            std::mem::swap(&mut point.z, &mut next);
            std::mem::swap(&mut point.f, &mut f_next);
        }
        Ended { iterations: limit, status: None, reached: false }
    }
}
