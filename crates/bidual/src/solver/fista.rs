//! Accelerated proximal gradient with adaptive restart, on a working set.
//!
//! Beck & Teboulle 2009 (FISTA), O'Donoghue & Candès 2015 (gradient restart).
//! The outer loop prices all columns by one full adjoint, certifies the gap and
//! grows the working set by the most violated columns; the inner loop works on
//! the restricted program only.

use super::{Observer, Progress, Solution, Solver, SparseColumns, Status};
use crate::certificate::relative_gap;
use crate::linalg::{Mat, column, column_mut};
use crate::{Error, Program, Result};
use faer::MatMut;
use std::ops::ControlFlow;

/// FISTA for programs without cone constraints.
#[derive(Debug, Clone)]
pub struct Fista {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Proximal steps at most, over all working sets.
    pub max_iterations: usize,
    /// Columns in the first working set (later: the support and as many violators again).
    pub working_set: usize,
}

impl Default for Fista {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_iterations: 100_000, working_set: 40 }
    }
}

/// Inner iterations between two checks of the restricted gap.
const CHECK: usize = 10;

/// FISTA on one restricted program; buffers are allocated once per working set.
struct Inner<'a> {
    program: &'a Program,
    z: Mat,
    /// Outputs at z.
    f: Vec<f64>,
    /// Lipschitz estimate of ∇(F∘A), adapted by backtracking.
    lipschitz: &'a mut f64,
}

/// How an inner solve ended.
struct Ended {
    iterations: usize,
    status: Option<Status>,
}

impl Inner<'_> {
    /// Runs until the restricted gap is below `goal` (absolute).
    fn run(
        &mut self,
        goal: f64,
        limit: usize,
        stop: &mut dyn FnMut(usize, f64) -> ControlFlow<Status>,
    ) -> Ended {
        let (n, (d, p)) = (self.program.samples(), self.program.shape());
        let loss = self.program.loss.as_ref();
        let lambda = self.program.lambda;
        let (mut y, mut fy) = (self.z.clone(), self.f.clone());
        let (mut next, mut f_next) = (Mat::zeros(d, p), vec![0.0; n]);
        let mut gradient = Mat::zeros(d, p);
        let mut nu = vec![0.0; n];
        let mut momentum = 1.0f64;
        for iteration in 0..limit {
            if iteration % CHECK == 0 {
                let (upper, lower) = self.gap(&mut nu, &mut gradient);
                if upper - lower <= goal {
                    return Ended { iterations: iteration, status: None };
                }
                if let ControlFlow::Break(status) = stop(iteration, upper) {
                    return Ended { iterations: iteration, status: Some(status) };
                }
            }
            loss.residual_into(&fy, &mut nu);
            self.program.operator.adjoint_into(crate::linalg::as_column(&nu), gradient.as_mut());
            let value = loss.value(&fy);
            *self.lipschitz *= 0.95;
            // proximal step with backtracking on the quadratic upper model
            loop {
                let step = 1.0 / *self.lipschitz;
                let (mut linear, mut square) = (0.0, 0.0);
                for c in 0..p {
                    let (to, from) = (column_mut(&mut next, c), column(&y, c));
                    let g = column(&gradient, c);
                    for i in 0..d {
                        to[i] = from[i] + step * g[i];
                    }
                    self.program.regularizer.prox_column(to, step * lambda);
                    for i in 0..d {
                        let move_i = to[i] - from[i];
                        linear -= g[i] * move_i;
                        square += move_i * move_i;
                    }
                }
                let out = MatMut::from_column_major_slice_mut(&mut f_next, n, 1);
                self.program.operator.apply_into(next.as_ref(), out);
                let model = value + linear + 0.5 * *self.lipschitz * square;
                if loss.value(&f_next) <= model + 1e-14 * value.abs() || *self.lipschitz > 1e300 {
                    break;
                }
                *self.lipschitz *= 2.0;
            }
            // restart when the step turns against the momentum
            let mut turn = 0.0;
            for c in 0..p {
                let (a, b, z) = (column(&y, c), column(&next, c), column(&self.z, c));
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
                let (a, b, z) = (column_mut(&mut y, c), column(&next, c), column(&self.z, c));
                for i in 0..d {
                    a[i] = b[i] + beta * (b[i] - z[i]);
                }
            }
            for i in 0..n {
                fy[i] = f_next[i] + beta * (f_next[i] - self.f[i]);
            }
            std::mem::swap(&mut self.z, &mut next);
            std::mem::swap(&mut self.f, &mut f_next);
        }
        Ended { iterations: limit, status: None }
    }

    /// Objective and lower bound of the restricted program at z.
    fn gap(&self, nu: &mut [f64], gradient: &mut Mat) -> (f64, f64) {
        let loss = self.program.loss.as_ref();
        loss.residual_into(&self.f, nu);
        loss.clip_dual(nu);
        self.program.operator.adjoint_into(crate::linalg::as_column(nu), gradient.as_mut());
        let kappa = self.program.regularizer.polar(gradient);
        let omega = self.program.regularizer.value(&self.z);
        let upper = loss.value(&self.f) + self.program.lambda * omega;
        (upper, self.program.lower_bound(nu, kappa))
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
        super::require_smooth(program.loss.as_ref(), self.name())?;
        if program.constraint.is_some() {
            return Err(Error::Unsupported {
                solver: "fista",
                what: "cone constraints",
                instead: "column generation",
            });
        }
        let (d, p) = program.shape();
        let mut best = start.cloned().unwrap_or_else(|| SparseColumns::zero(d));
        let mut f = program.restrict(&best.columns).outputs(&best.values);
        let objective = |z: &SparseColumns, f: &[f64]| {
            program.loss.value(f) + program.lambda * program.regularizer.value(&z.values)
        };
        let mut upper = objective(&best, &f);
        let (mut lower, mut nu) = (f64::NEG_INFINITY, program.residual(&f));
        let mut lipschitz = 0.0;
        let (mut iterations, mut status) = (0, Status::IterationLimit);
        let mut size = self.working_set.max(1);
        let mut accuracy = 0.3;
        while iterations < self.max_iterations {
            let candidate = program.residual(&f);
            let adjoint = program.adjoint(&candidate);
            let prices: Vec<f64> =
                (0..p).map(|c| program.regularizer.column_polar(column(&adjoint, c))).collect();
            let radius = program.regularizer.gauge().bias_radius().unwrap_or(0.0);
            let margin = program.operator.adjoint_rounding(&candidate) * (1.0 + radius);
            let kappa = prices.iter().copied().fold(0.0, f64::max) + margin;
            let bound = program.lower_bound(&candidate, kappa);
            if bound > lower {
                (lower, nu) = (bound, candidate);
            }
            let active = best.columns.len();
            if relative_gap(lower, upper) <= self.tolerance {
                status = Status::Certified;
                break;
            }
            let progress = Progress { iteration: iterations, upper, lower, active };
            if let ControlFlow::Break(reason) = observer.observe(&progress) {
                status = reason;
                break;
            }
            // working set: the support and the dearest other columns
            let mut order: Vec<usize> = (0..p).filter(|c| !best.columns.contains(c)).collect();
            order.sort_by(|&a, &b| prices[b].total_cmp(&prices[a]).then(a.cmp(&b)));
            let violated = order.iter().take_while(|&&c| prices[c] > program.lambda).count();
            if violated == 0 {
                accuracy *= 0.3;
            }
            size = size.max(2 * active).min(p);
            let mut set = best.columns.clone();
            set.extend(order.into_iter().take(size.saturating_sub(active).max(1)));
            set.sort_unstable();
            set.dedup();

            let restricted = program.restrict(&set);
            if lipschitz == 0.0 {
                let largest = program.loss.weights().iter().copied().fold(0.0, f64::max);
                let bound = program.loss.curvature_bound() * largest;
                lipschitz = bound * restricted.operator.squared_norm_estimate(8);
                if lipschitz <= 0.0 {
                    lipschitz = 1.0;
                }
            }
            let goal = accuracy * (upper - lower).max(0.0);
            let goal = goal.max(0.3 * self.tolerance * accuracy * upper.abs());
            let mut inner = Inner {
                program: &restricted,
                z: best.scatter(&set),
                f: f.clone(),
                lipschitz: &mut lipschitz,
            };
            let ended = inner.run(goal, self.max_iterations - iterations, &mut |k, value| {
                let now = upper.min(value);
                observer.observe(&Progress { iteration: iterations + k, upper: now, lower, active })
            });
            iterations += ended.iterations.max(1);
            let z = SparseColumns::gather(&inner.z, &set);
            let reached = objective(&z, &inner.f);
            let progressed = reached < upper;
            if reached <= upper {
                // outputs again from z: the accumulated ones drift in the last digits
                f = restricted.outputs(&inner.z);
                upper = objective(&z, &f);
                best = z;
            }
            if let Some(reason) = ended.status {
                status = reason;
                break;
            }
            if !progressed && violated == 0 && accuracy < 1e-6 {
                status = Status::Stalled;
                break;
            }
        }
        if status != Status::Certified {
            let candidate = program.residual(&f);
            let prices = program.price(&candidate, program.lambda, &mut program.multipliers());
            let bound = program.lower_bound(&candidate, prices.kappa());
            if bound > lower {
                (lower, nu) = (bound, candidate);
            }
            if relative_gap(lower, upper) <= self.tolerance {
                status = Status::Certified;
            }
        }
        Ok(Solution { z: best, nu, upper, lower, status, iterations })
    }
}
