//! Primal-dual interior point for programs with few columns.
//!
//! minimise F(Σ_g Φ_g v_g) + λ Σ_g t_g  s.t.  ρ(v_g) ≤ t_g,  A_g v_g ≥ 0
//!
//! for any smooth convex F. Infeasible start (slacks are variables of their own,
//! so that thin cones start well centred and warm starts may touch their
//! facets), Nesterov–Todd scaling for the norm cone, backtracking on the
//! residual of the optimality conditions (Boyd & Vandenberghe, Convex
//! Optimization, §11.7); t_g and the slacks are eliminated block by block, so a
//! step is one Cholesky factorisation of order Σ_g d. Points that count towards
//! the upper bound satisfy A_g v_g ≥ 0 in f64.

mod block;

use super::gram::GramCache;
use super::master::{Master, Solved, Stop, Target};
use super::{Observer, Progress, Solution, Solver, SparseColumns, Status};
use crate::cone::Gauge;
use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, norm, transpose_times,
};
use crate::loss::{Loss, best_dual_value};
use crate::{Program, Result};
use block::{Block, Direction, State};
use rayon::prelude::*;
use std::ops::ControlFlow;

/// Interior point over all columns of the program at once. Also the master of
/// [`ColumnGeneration`](super::ColumnGeneration) with a free bias, or where another jams; use it directly for small programs.
#[derive(Debug, Clone)]
pub struct InteriorPoint {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Newton steps at most.
    pub max_iterations: usize,
}

impl Default for InteriorPoint {
    fn default() -> Self {
        Self { tolerance: 1e-7, max_iterations: 200 }
    }
}

/// The columns in play as dense blocks.
#[derive(Default)]
pub(super) struct Blocks {
    blocks: Vec<Block>,
    cache: GramCache,
}

impl Master for Blocks {
    fn add(&mut self, program: &Program, c: usize, value: Option<&[f64]>) -> bool {
        let Some(mut block) = Block::new(program, c) else { return false };
        if let Some(value) = value {
            block.set_column(value);
        }
        self.blocks.push(block);
        self.cache.clear();
        true
    }

    fn retain(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.blocks.retain(|_| keep.next() == Some(&true));
        self.cache.clear();
    }

    fn values(&self, d: usize) -> Mat {
        let mut values = Mat::zeros(d, self.blocks.len());
        for (k, b) in self.blocks.iter().enumerate() {
            column_mut(&mut values, k).copy_from_slice(&b.column());
        }
        values
    }

    /// If the attempt from the current values jams, others from other scales.
    fn solve(&mut self, program: &Program, target: &Target, stop: &mut Stop<'_>) -> Solved {
        let mut best = self.attempt(program, target, 0, stop);
        for scale in [0.1, 0.001] {
            let jammed = best.upper - best.lower > 1e-6 * best.upper.abs();
            if best.status != Status::Stalled || !jammed {
                break;
            }
            let kept: Vec<Vec<f64>> = self.blocks.iter().map(Block::column).collect();
            self.blocks.iter_mut().for_each(Block::reset);
            // a cold start has the whole way to go
            let distance = scale
                * best.upper.abs().min(program.loss.value(&vec![0.0; program.samples()]).abs());
            let next =
                self.attempt(program, &Target { distance, ..*target }, best.iterations, stop);
            if next.upper >= best.upper && next.status == Status::Stalled {
                self.blocks.iter_mut().zip(&kept).for_each(|(b, v)| b.set_column(v));
                best.iterations = next.iterations;
            } else {
                best = next;
            }
        }
        best
    }
}

impl Blocks {
    fn attempt(
        &mut self,
        program: &Program,
        target: &Target,
        before: usize,
        stop: &mut Stop<'_>,
    ) -> Solved {
        let mut attempt = solve_blocks(
            program.loss.as_ref(),
            program.lambda,
            &program.regularizer.gauge(),
            &mut self.blocks,
            target,
            &mut self.cache,
            |iteration, upper, lower| stop(before + iteration, upper, lower),
        );
        attempt.iterations += before;
        attempt
    }
}

/// The blocks' data side by side, and the quantities that every iteration recomputes.
struct Iterate<'a> {
    loss: &'a dyn Loss,
    phi: Mat,
    offsets: Vec<usize>,
    f: Vec<f64>,
    nu: Vec<f64>,
    /// Φᵀν.
    c: Vec<f64>,
}

impl<'a> Iterate<'a> {
    fn new(loss: &'a dyn Loss, blocks: &[Block]) -> Self {
        let mut offsets = vec![0];
        for b in blocks {
            offsets.push(offsets[offsets.len() - 1] + b.value.len());
        }
        let (n, m) = (loss.samples(), offsets[blocks.len()]);
        let mut phi = Mat::zeros(n, m);
        for (b, &o) in blocks.iter().zip(&offsets) {
            phi.as_mut().subcols_mut(o, b.value.len()).copy_from(&b.phi);
        }
        Self { loss, phi, offsets, f: vec![0.0; n], nu: vec![0.0; n], c: vec![0.0; m] }
    }

    /// Outputs, residual and adjoint at the current point.
    fn update(&mut self, states: &[State]) {
        self.f.fill(0.0);
        for (s, &o) in states.iter().zip(&self.offsets) {
            for (j, v) in s.v.iter().enumerate() {
                axpy(*v, column(&self.phi, o + j), &mut self.f);
            }
        }
        self.loss.residual_into(&self.f, &mut self.nu);
        self.loss.clip_dual(&mut self.nu);
        transpose_times(&self.phi, &self.nu, &mut self.c);
    }

    /// Largest exact step of a single block along its own gradient at z = 0: no
    /// column of a solution is much longer.
    fn natural_size(&mut self) -> f64 {
        self.update(&[]);
        let mut along = vec![0.0; self.f.len()];
        let step = |g: usize| {
            let c = &self.c[self.offsets[g]..self.offsets[g + 1]];
            along.fill(0.0);
            for (j, v) in c.iter().enumerate() {
                axpy(*v, column(&self.phi, self.offsets[g] + j), &mut along);
            }
            let weighted = along.iter().zip(self.loss.weights()).map(|(v, w)| w * v * v);
            let curvature = self.loss.curvature_bound() * weighted.sum::<f64>();
            if curvature > 0.0 { norm(c).powi(3) / curvature } else { 0.0 }
        };
        let largest = (0..self.offsets.len() - 1).map(step).fold(0.0, f64::max);
        if largest > 0.0 { largest } else { f64::MAX }
    }

    /// Φ_gᵀν.
    fn part(&self, g: usize) -> &[f64] {
        &self.c[self.offsets[g]..self.offsets[g + 1]]
    }

    /// Polar of c_g + A_gᵀy_g, largest over the blocks: rigorous for the columns of the master.
    fn kappa(&self, states: &[State], blocks: &[Block], gauge: &Gauge) -> f64 {
        let price = |(g, (s, b)): (usize, (&State, &Block))| {
            let mut v = vec![0.0; s.v.len()];
            transpose_times(&b.rows, &s.y, &mut v);
            axpy(1.0, self.part(g), &mut v);
            gauge.polar(&v)
        };
        states.iter().zip(blocks).enumerate().map(price).fold(0.0, f64::max)
    }
}

/// Solves the master over `blocks`, from their values, and stores the solution in them.
fn solve_blocks(
    loss: &dyn Loss,
    lambda: f64,
    gauge: &Gauge,
    blocks: &mut [Block],
    target: &Target,
    cache: &mut GramCache,
    mut stop: impl FnMut(usize, f64, f64) -> ControlFlow<Status>,
) -> Solved {
    let mut at = Iterate::new(loss, blocks);
    let intercept = loss.as_intercept().is_some();
    let count: f64 = blocks.iter().map(|b| 1.5 * b.rows.nrows() as f64 + 3.0).sum();
    // neither more than the distance to go nor more than the loss can use
    let size = (target.distance / (lambda * blocks.len() as f64)).min(at.natural_size());
    // generous: a start with too small a μ for its residuals creeps along the
    // boundary; far from the optimum the residuals are prices, not λ
    at.update(&[]);
    let dearest = (0..blocks.len()).map(|g| gauge.polar(at.part(g))).fold(0.0, f64::max);
    let unit = (30.0 * lambda).max(3.0 * dearest);
    let mut mu = (unit * size * blocks.len() as f64 / count).max(f64::MIN_POSITIVE);
    let mut states: Vec<State> =
        blocks.iter().map(|b| State::new(b, gauge, lambda, mu, size)).collect();
    let mut best = Solved {
        f: vec![],
        upper: f64::INFINITY,
        lower: f64::NEG_INFINITY,
        status: Status::IterationLimit,
        iterations: 0,
    };
    let (mut short_steps, mut damping) = (0, 0.0f64);
    let mut hessian = vec![0.0; loss.samples()];
    at.update(&states);
    for iteration in 0..=target.max_iterations {
        best.iterations = iteration;
        let kappa = at.kappa(&states, blocks, gauge);
        let t_max = if kappa > 0.0 { lambda / kappa } else { f64::MAX };
        let bound = best_dual_value(loss, &at.nu, t_max).0;
        if bound > best.lower || best.f.is_empty() {
            best.lower = best.lower.max(bound);
            best.f.clone_from(&at.f);
        }
        let feasible = states.iter().all(State::feasible);
        let penalty: f64 = states.iter().map(|s| gauge.value(&s.v)).sum();
        let upper = loss.value(&at.f) + lambda * penalty;
        if feasible && upper <= best.upper {
            best.upper = upper;
            for (b, s) in blocks.iter_mut().zip(&states) {
                b.value.copy_from_slice(&s.v);
                b.multipliers.copy_from_slice(&s.y);
            }
        }
        if best.upper.is_finite() && best.upper - best.lower <= target.tolerance * best.upper.abs()
        {
            best.status = Status::Certified;
            break;
        }
        if let ControlFlow::Break(status) = stop(iteration, best.upper, best.lower) {
            best.status = status;
            break;
        }
        if short_steps >= 5 {
            best.status = Status::Stalled;
            break;
        }

        loss.hessian_diagonal_into(&at.f, &mut hessian);
        for (h, w) in hessian.iter_mut().zip(loss.weights()) {
            *h = h.max(damping * loss.curvature_bound() * w);
        }
        let gram = cache.get(&at.phi, &hessian, intercept);
        let Some(mut newton) = Newton::new(&at, &states, blocks, gram, gauge) else {
            best.status = Status::Stalled;
            break;
        };
        // Mehrotra: the affine step tells how far to aim and how the products bend
        let average = states.iter().map(|s| s.complementarity(gauge)).sum::<f64>()
            / states.iter().map(|s| s.degree(gauge)).sum::<f64>();
        let mut sound = newton.aim(&at, &states, blocks, gauge, lambda, 0.0);
        let affine = newton.limit(&states, gauge, 1.0);
        newton.directions.iter_mut().for_each(Direction::correct);
        // below the asked gap nothing is gained, and slacks must stay above their residuals
        let floor = 0.05 * target.tolerance * upper.abs() / count;
        mu = ((1.0 - affine).powi(3).clamp(1e-6, 1.0) * average).max(floor).max(f64::MIN_POSITIVE);
        sound &= newton.aim(&at, &states, blocks, gauge, lambda, mu);
        if !sound {
            best.status = Status::Stalled;
            break;
        }
        let saved = states.clone();
        let mut alpha = 0.0;
        let mut accepted = false;
        for corrected in [true, false] {
            if !corrected {
                // without the second-order term the step is Newton's own, which must descend
                newton.directions.iter_mut().for_each(Direction::forget_correction);
                mu = mu.max(0.3 * average);
                if !newton.aim(&at, &states, blocks, gauge, lambda, mu) {
                    break;
                }
            }
            alpha = newton.limit(&states, gauge, 0.99);
            let merit = |at: &Iterate, states: &[State]| -> f64 {
                let one = |(g, (s, b)): (usize, (&State, &Block))| {
                    s.merit(b, gauge, lambda, size, mu, at.part(g))
                };
                states.iter().zip(&*blocks).enumerate().map(one).sum::<f64>().sqrt()
            };
            let before = merit(&at, &states);
            for _ in 0..if corrected { 4 } else { 10 } {
                for ((s, d), b) in states.iter_mut().zip(&newton.directions).zip(&*blocks) {
                    s.advance(d, alpha);
                    s.refresh(b);
                }
                at.update(&states);
                accepted = merit(&at, &states) <= (1.0 - 0.01 * alpha) * before;
                if accepted {
                    break;
                }
                states.clone_from(&saved);
                at.update(&states);
                alpha *= 0.5;
            }
            if accepted {
                break;
            }
        }
        if !accepted && damping < 1.0 {
            // the quadratic model of the loss is too flat here (Huber and squared
            // hinge have regions without curvature): once more with some of the bound
            damping = (10.0 * damping).clamp(1e-3, 1.0);
            continue;
        }
        if !accepted {
            // the merit is down to its rounding: go on by the book for a few steps
            alpha = newton.limit(&states, gauge, 0.9);
            for ((s, d), b) in states.iter_mut().zip(&newton.directions).zip(&*blocks) {
                s.advance(d, alpha);
                s.refresh(b);
            }
            at.update(&states);
        }
        damping *= 0.1;
        short_steps = if accepted && alpha >= 1e-3 { 0 } else { short_steps + 1 };
    }
    best
}

/// The factored Newton system and the direction of every block.
struct Newton {
    factor: Mat,
    directions: Vec<Direction>,
}

impl Newton {
    /// None if the system cannot be factored.
    fn new(
        at: &Iterate,
        states: &[State],
        blocks: &[Block],
        gram: &Mat,
        gauge: &Gauge,
    ) -> Option<Self> {
        let mut system = gram.clone();
        let parts: Vec<_> =
            states.par_iter().zip(blocks).map(|(s, b)| Direction::start(s, b, gauge)).collect();
        let mut directions = Vec::with_capacity(parts.len());
        for ((direction, own), &o) in parts.into_iter().zip(&at.offsets) {
            for j in 0..own.ncols() {
                for i in j..own.nrows() {
                    system[(o + i, o + j)] += own[(i, j)];
                }
            }
            directions.push(direction);
        }
        factor(&mut system).then_some(Self { factor: system, directions })
    }

    /// Directions towards the central point μ; false if they are not finite.
    fn aim(
        &mut self,
        at: &Iterate,
        states: &[State],
        blocks: &[Block],
        gauge: &Gauge,
        lambda: f64,
        mu: f64,
    ) -> bool {
        let mut rhs = vec![0.0; at.c.len()];
        for (g, d) in self.directions.iter_mut().enumerate() {
            let right = d.aim(&states[g], &blocks[g], gauge, lambda, mu, at.part(g));
            rhs[at.offsets[g]..at.offsets[g + 1]].copy_from_slice(&right);
        }
        cholesky_solve(&self.factor, &mut rhs);
        self.directions.par_iter_mut().enumerate().for_each(|(g, d)| {
            d.complete(&states[g], &blocks[g], gauge, mu, &rhs[at.offsets[g]..at.offsets[g + 1]]);
        });
        norm(&rhs).is_finite()
    }

    /// Largest common step.
    fn limit(&self, states: &[State], gauge: &Gauge, keep: f64) -> f64 {
        let limits = states.iter().zip(&self.directions).map(|(s, d)| d.limit(s, gauge, keep));
        limits.fold(1.0, f64::min)
    }
}

/// Cholesky with a growing ridge if rounding has made the matrix indefinite.
fn factor(k: &mut Mat) -> bool {
    let original = k.clone();
    let largest = (0..k.nrows()).map(|i| k[(i, i)]).fold(0.0, f64::max);
    for ridge in [0.0, 1e-15, 1e-13, 1e-11, 1e-9] {
        if ridge > 0.0 {
            k.copy_from(&original);
            for i in 0..k.nrows() {
                k[(i, i)] += ridge * largest;
            }
        }
        if cholesky_in_place(k) {
            return true;
        }
    }
    false
}

impl Solver for InteriorPoint {
    fn name(&self) -> &'static str {
        "interior point"
    }

    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        super::require_smooth(program.loss.as_ref(), self.name())?;
        let blocks = Box::new(Blocks::default());
        let mut session =
            super::column_generation::Session::new(program, blocks, false, self.tolerance);
        let all: Vec<usize> = (0..program.shape().1).collect();
        session.add(&all, start);
        let target = Target {
            tolerance: self.tolerance,
            distance: 0.1 * session.upper.abs(),
            max_iterations: self.max_iterations,
        };
        let status = session.solve_master(&target, &mut |iteration, upper, lower| {
            observer.observe(&Progress { iteration, upper, lower, active: all.len() })
        });
        // prices of its own columns: nothing is left to add, only the bound improves
        session.quick_bound();
        let status = match status.is_early() {
            true => status,
            false => session.bound(0, observer).break_value().unwrap_or(status),
        };
        Ok(session.finish(status))
    }
}
