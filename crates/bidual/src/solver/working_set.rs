//! The outer loop of solvers without cones: price all columns, certify, choose the working set.
//!
//! One full adjoint prices every column, gives a dual feasible point and with it the gap of the
//! whole program; the inner solver then sees only the columns in use and the dearest others.

use super::{Observer, Progress, Solution, SparseColumns, Status};
use crate::certificate::relative_gap;
use crate::linalg::{Mat, as_column};
use crate::{Error, Program, Result};
use std::ops::ControlFlow;

/// A point of a restricted program.
pub(super) struct Point<'a> {
    /// The restricted program.
    pub program: &'a Program,
    /// d×(columns in the set).
    pub z: Mat,
    /// Outputs at `z`.
    pub f: Vec<f64>,
}

impl Point<'_> {
    /// Objective and lower bound of the restricted program; `nu` and `gradient` are overwritten
    /// by the residual and its adjoint.
    pub(super) fn gap(&self, nu: &mut [f64], gradient: &mut Mat) -> (f64, f64) {
        let loss = self.program.loss.as_ref();
        loss.residual_into(&self.f, nu);
        loss.clip_dual(nu);
        self.program.operator.adjoint_into(as_column(nu), gradient.as_mut());
        let kappa = self.program.regularizer.polar(gradient);
        (self.program.objective_at(&self.z, &self.f), self.program.lower_bound(nu, kappa))
    }
}

/// How an inner solve ended.
pub(super) struct Ended {
    pub iterations: usize,
    /// Why it was stopped, if it was.
    pub status: Option<Status>,
    /// The goal is reached.
    pub reached: bool,
}

/// Asked by an inner solver with its iterations and objective: whether to stop.
pub(super) type Stop<'a> = dyn FnMut(usize, f64) -> ControlFlow<Status> + 'a;

/// An inner solver: improves `point` until the restricted gap is below `goal` (absolute).
pub(super) trait Inner {
    fn run(&mut self, point: &mut Point, goal: f64, limit: usize, stop: &mut Stop) -> Ended;
}

/// What both solvers ask of the outer loop.
pub(super) struct Outer {
    pub name: &'static str,
    pub tolerance: f64,
    pub max_iterations: usize,
    /// Columns in the first working set.
    pub first: usize,
}

/// The inner solver is asked for this share of the gap; less when the set cannot grow.
const ACCURACY: f64 = 0.1;
/// Share of the tolerance that is enough on the working set.
const AIM: f64 = 0.4;
/// Columns taken into the set whether they are violated or not.
const FEW: usize = 10;
/// Rounds without a better gap at most.
const PATIENCE: usize = 10;
/// Relative differences of objectives that mean nothing.
pub(super) const ROUNDING: f64 = 1e-15;

impl Outer {
    pub(super) fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
        inner: &mut dyn Inner,
    ) -> Result<Solution> {
        super::require_smooth(program.loss.as_ref(), self.name)?;
        if program.constraint.is_some() {
            return Err(Error::Unsupported {
                solver: self.name,
                what: "cone constraints",
                instead: "column generation",
            });
        }
        let mut best = start.cloned().unwrap_or_else(|| SparseColumns::zero(program.shape().0));
        let mut f = program.restrict(&best.columns).outputs(&best.values);
        let mut upper = program.objective_at(&best.values, &f);
        let (mut lower, mut nu) = (f64::NEG_INFINITY, program.residual(&f));
        let (mut iterations, mut stopped) = (0, None);
        let mut accuracy = ACCURACY;
        let (mut least, mut stuck) = (f64::INFINITY, 0);
        let status = loop {
            let candidate = program.residual(&f);
            // without cones no multipliers are used
            let prices = program.price(&candidate, program.lambda, &mut []);
            let bound = program.lower_bound(&candidate, prices.kappa());
            if bound > lower {
                (lower, nu) = (bound, candidate);
            }
            if relative_gap(lower, upper) <= self.tolerance {
                break Status::Certified;
            }
            if let Some(reason) = stopped {
                break reason;
            }
            if upper - lower < 0.9 * least {
                (least, stuck) = (upper - lower, 0);
            } else {
                stuck += 1;
            }
            if stuck > PATIENCE {
                break Status::Stalled;
            }
            let active = best.columns.len();
            let progress = Progress { iteration: iterations, upper, lower, active };
            if let ControlFlow::Break(reason) = observer.observe(&progress) {
                break reason;
            }
            if iterations == self.max_iterations {
                break Status::IterationLimit;
            }
            let (set, grown) = self.set(&best.columns, &prices.lower, program.lambda);
            if !grown || stuck > 0 {
                accuracy *= 0.3;
            }
            let restricted = program.restrict(&set);
            let goal =
                accuracy * (upper - lower).max(AIM / ACCURACY * self.tolerance * upper.abs());
            let mut point = Point { program: &restricted, z: best.scatter(&set), f: f.clone() };
            let ended =
                inner.run(&mut point, goal, self.max_iterations - iterations, &mut |k, value| {
                    let (iteration, upper) = (iterations + k, upper.min(value));
                    observer.observe(&Progress { iteration, upper, lower, active })
                });
            iterations = (iterations + ended.iterations.max(1)).min(self.max_iterations);
            let z = SparseColumns::gather(&point.z, &set);
            // outputs again from z: the accumulated ones drift in the last digits
            point.f = restricted.outputs(&point.z);
            let reached = program.objective_at(&z.values, &point.f);
            // the last digits of the gradient are worth more than those of the objective
            if reached <= upper + ROUNDING * upper.abs() {
                (f, upper, best) = (point.f, reached, z);
            }
            stopped = ended.status;
        };
        Ok(Solution { z: best, nu, upper, lower, status, iterations })
    }

    /// The columns in use and the dearest others, sorted; and whether one of these is violated.
    fn set(&self, used: &[usize], prices: &[f64], lambda: f64) -> (Vec<usize>, bool) {
        let mut inside = vec![false; prices.len()];
        used.iter().for_each(|&c| inside[c] = true);
        let mut others: Vec<usize> = (0..prices.len()).filter(|&c| !inside[c]).collect();
        let violated = others.iter().filter(|&&c| prices[c] > lambda).count();
        let room = match used.len() {
            // from zero the dearest columns are a guess
            0 => self.first.max(prices.len() / 10),
            n => violated.clamp(FEW, FEW.max(self.first).max(n)),
        };
        let room = room.clamp(1, others.len().max(1));
        let dearer = |a: &usize, b: &usize| prices[*b].total_cmp(&prices[*a]).then(a.cmp(b));
        if room < others.len() {
            others.select_nth_unstable_by(room, dearer);
            others.truncate(room);
        }
        others.extend_from_slice(used);
        others.sort_unstable();
        (others, violated > 0)
    }
}
