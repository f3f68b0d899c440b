//! Column generation: a small master over the columns in play, exact prices for
//! all the others.
//!
//! Optimal solutions have few active columns (5 to 30 of thousands), so the
//! master stays small whatever P is. Each round solves the master by interior
//! point, prices every column at its residual (one projection on a cone each,
//! screened by the adjoint norm and by the last multipliers), adds those that
//! cost more than λ, and stops on the duality gap of the whole program.

use super::gram::GramCache;
use super::interior_point::{Block, Master, Target, solve_blocks};
use super::{Observer, Progress, Solution, Solver, SparseColumns, Status};
use crate::certificate::relative_gap;
use crate::cone::Multipliers;
use crate::linalg::{Mat, column, column_mut};
use crate::program::Prices;
use crate::{Program, Result};
use std::ops::ControlFlow;

/// Column generation with an interior-point master, for programs with or without cones.
#[derive(Debug, Clone)]
pub struct ColumnGeneration {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Newton steps at most, over all masters.
    pub max_iterations: usize,
    /// Columns added in a round: at least this many, or half of those in play if more.
    pub batch: usize,
}

impl Default for ColumnGeneration {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_iterations: 10_000, batch: 10 }
    }
}

/// Relative gap that a master in f64 cannot be asked to go below.
const MASTER_FLOOR: f64 = 1e-11;

/// Far more rounds than any program needs: each adds a column or sharpens the master.
const MAX_ROUNDS: usize = 10_000;

/// State shared by the solvers that work on dense blocks.
pub(super) struct Session<'a> {
    program: &'a Program,
    blocks: Vec<Block>,
    names: Vec<usize>,
    /// Columns that were dropped once and came back stay.
    returned: Vec<usize>,
    dropped: Vec<usize>,
    cache: GramCache,
    multipliers: Vec<Multipliers>,
    /// Outputs of the last master.
    f: Vec<f64>,
    best: SparseColumns,
    nu: Vec<f64>,
    pub upper: f64,
    pub lower: f64,
    iterations: usize,
}

impl<'a> Session<'a> {
    /// Starts at z = 0.
    pub(super) fn new(program: &'a Program) -> Self {
        let f = vec![0.0; program.samples()];
        Self {
            upper: program.loss.value(&f),
            lower: f64::NEG_INFINITY,
            nu: program.residual(&f),
            best: SparseColumns::zero(program.shape().0),
            multipliers: program.multipliers(),
            blocks: vec![],
            names: vec![],
            returned: vec![],
            dropped: vec![],
            cache: GramCache::default(),
            iterations: 0,
            f,
            program,
        }
    }

    /// Adds columns (those already there and those with a trivial cone are skipped).
    pub(super) fn add(&mut self, columns: &[usize], start: Option<&SparseColumns>) -> usize {
        let before = self.blocks.len();
        for &c in columns {
            if self.names.contains(&c) {
                continue;
            }
            let Some(mut block) = Block::new(self.program, c) else { continue };
            if let Some(value) = start.and_then(|s| s.column(c)) {
                block.set_column(value);
            }
            if self.dropped.contains(&c) {
                self.returned.push(c);
            }
            self.blocks.push(block);
            self.names.push(c);
        }
        self.cache.clear();
        self.blocks.len() - before
    }

    /// Adds the columns that are dearest at z = 0 among those with the largest
    /// adjoint norms: a network early, before the first full pricing.
    fn add_first(&mut self, batch: usize) -> usize {
        let c = self.program.adjoint(&self.nu);
        let norm = |j: &usize| self.program.regularizer.column_polar(column(&c, *j));
        let mut order: Vec<usize> = (0..c.ncols()).collect();
        order.sort_by(|a, b| norm(b).total_cmp(&norm(a)).then(a.cmp(b)));
        order.truncate(4 * batch);
        let few = self.program.restrict(&order);
        let prices = few.price(&self.nu, few.lambda, &mut few.multipliers());
        let dearest = prices.above(few.lambda * (1.0 + 1e-10));
        let first: Vec<usize> = dearest.into_iter().take(batch).map(|k| order[k]).collect();
        self.add(&first, None)
    }

    /// Solves the master from the current values; if that jams, anew from other scales.
    pub(super) fn solve_master(
        &mut self,
        target: &Target,
        stop: &mut dyn FnMut(usize, f64, f64) -> ControlFlow<Status>,
    ) -> Status {
        if self.blocks.is_empty() {
            return Status::Certified;
        }
        let mut status = self.attempt(target, stop);
        for scale in [0.1, 0.001] {
            let jammed = self.upper - self.lower > 1e-6 * self.upper.abs();
            if status != Status::Stalled || !jammed {
                break;
            }
            let kept: Vec<Vec<f64>> = self.blocks.iter().map(Block::column).collect();
            self.blocks.iter_mut().for_each(Block::reset);
            let upper = self.upper;
            // a cold start has the whole way to go
            let distance = scale * upper.abs();
            status = self.attempt(&Target { distance, ..*target }, stop);
            if self.upper >= upper && status == Status::Stalled {
                self.blocks.iter_mut().zip(&kept).for_each(|(b, v)| b.set_column(v));
            }
        }
        status
    }

    fn attempt(
        &mut self,
        target: &Target,
        stop: &mut dyn FnMut(usize, f64, f64) -> ControlFlow<Status>,
    ) -> Status {
        let gauge = self.program.regularizer.gauge();
        let (count, offset) = (self.iterations, self.upper);
        let master: Master = solve_blocks(
            self.program.loss.as_ref(),
            self.program.lambda,
            &gauge,
            &mut self.blocks,
            target,
            &mut self.cache,
            |iteration, upper, lower| stop(count + iteration, upper.min(offset), lower),
        );
        self.iterations += master.iterations;
        self.f = master.f;
        if master.upper < self.upper {
            self.upper = master.upper;
            self.best = self.current();
        }
        master.status
    }

    /// The blocks' values as columns of the program.
    fn current(&self) -> SparseColumns {
        let d = self.program.shape().0;
        let mut values = Mat::zeros(d, self.blocks.len());
        for (k, b) in self.blocks.iter().enumerate() {
            column_mut(&mut values, k).copy_from_slice(&b.column());
        }
        SparseColumns { columns: self.names.clone(), values }
    }

    /// Prices every column at the residual of the last master and improves the
    /// lower bound; the status if the observer stopped it half way.
    pub(super) fn bound(&mut self, observer: &mut dyn Observer) -> ControlFlow<Status, Prices> {
        // something to stand on should the full pricing be interrupted
        self.quick_bound();
        let nu = self.program.residual(&self.f);
        let progress = self.progress();
        let (program, multipliers) = (self.program, &mut self.multipliers);
        let prices = program
            .price_while(&nu, program.lambda, multipliers, &mut || observer.observe(&progress))?;
        let lower = program.lower_bound(&nu, prices.kappa());
        if lower > self.lower {
            (self.lower, self.nu) = (lower, nu);
        }
        ControlFlow::Continue(prices)
    }

    /// A first bound, without cones.
    pub(super) fn quick_bound(&mut self) {
        if self.lower == f64::NEG_INFINITY {
            self.nu = self.program.residual(&self.f);
            self.lower = self.program.quick_bound(&self.nu);
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            iteration: self.iterations,
            upper: self.upper,
            lower: self.lower,
            active: self.names.len(),
        }
    }

    /// Drops columns that the master has driven to zero.
    fn drop_inactive(&mut self) {
        let gauge = self.program.regularizer.gauge();
        let sizes: Vec<f64> = self.blocks.iter().map(|b| gauge.value(&b.column())).collect();
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        // a column whose whole penalty is far below the gap cannot matter yet
        let gap = (self.upper - self.lower).min(self.upper.abs());
        let idle = 0.01 * gap / (self.program.lambda * sizes.len() as f64);
        let least = idle.max(1e-7 * largest);
        let keep: Vec<bool> = sizes
            .iter()
            .zip(&self.names)
            .map(|(s, c)| *s > least || self.returned.contains(c))
            .collect();
        if keep.iter().all(|k| *k) {
            return;
        }
        for (c, k) in self.names.iter().zip(&keep) {
            if !k {
                self.dropped.push(*c);
            }
        }
        let (blocks, names) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.names));
        let kept = blocks.into_iter().zip(names).zip(keep).filter(|(_, keep)| *keep);
        (self.blocks, self.names) = kept.map(|(pair, _)| pair).unzip();
        self.cache.clear();
    }

    /// Removes negligible columns as long as the certified gap stays within `tolerance`.
    fn prune(&mut self, tolerance: f64) {
        let gauge = self.program.regularizer.gauge();
        let mut order: Vec<usize> = (0..self.best.columns.len()).collect();
        let size = |k: usize| gauge.value(column(&self.best.values, k));
        order.sort_by(|&a, &b| size(b).total_cmp(&size(a)).then(a.cmp(&b)));
        let largest = order.first().map_or(0.0, |&k| size(k));
        let allowed = self.upper.max(self.lower + 0.9 * tolerance * self.upper.abs());
        for threshold in [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8] {
            let keep: Vec<usize> =
                order.iter().copied().filter(|&k| size(k) > threshold * largest).collect();
            let columns: Vec<usize> = keep.iter().map(|&k| self.best.columns[k]).collect();
            let values = Mat::from_fn(self.best.values.nrows(), keep.len(), |i, k| {
                self.best.values[(i, keep[k])]
            });
            let objective = self.program.restrict(&columns).objective(&values);
            if objective <= allowed {
                self.upper = objective;
                self.best = SparseColumns { columns, values };
                return;
            }
        }
    }

    /// The best point, its bound, and the status that they justify.
    pub(super) fn finish(mut self, status: Status, tolerance: f64) -> Solution {
        self.prune(tolerance);
        // a column of a flat cone is projected on it: what counts is its own objective
        let best = self.program.restrict(&self.best.columns).objective(&self.best.values);
        self.upper = self.upper.max(best);
        let proved = relative_gap(self.lower, self.upper) <= tolerance;
        Solution {
            z: self.best,
            nu: self.nu,
            upper: self.upper,
            lower: self.lower,
            status: match (proved, status) {
                (true, _) => Status::Certified,
                (false, Status::Certified) => Status::Stalled,
                (false, status) => status,
            },
            iterations: self.iterations,
        }
    }
}

impl Solver for ColumnGeneration {
    fn name(&self) -> &'static str {
        "column generation"
    }

    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        super::require_smooth(program.loss.as_ref(), self.name())?;
        let mut session = Session::new(program);
        // a tolerance below what f64 can reach must not end the search at the first rough master
        let mut accuracy = (0.3 * self.tolerance).max(10.0 * MASTER_FLOOR);
        // early masters are solved to this share of the gap
        let mut effort = 0.02;
        let mut status = Status::IterationLimit;
        let mut fresh = 0;
        if let Some(start) = start {
            // values that are worse than none at all would only mislead the first master
            let value = program.restrict(&start.columns).objective(&start.values);
            fresh = session.add(&start.columns, (value <= session.upper).then_some(start));
        }
        if fresh == 0 {
            fresh = session.add_first(self.batch);
        }
        for round in 0..MAX_ROUNDS {
            // the first columns are solved before everything is priced
            if round > 0 || fresh == 0 {
                let prices = match session.bound(observer) {
                    ControlFlow::Continue(prices) => prices,
                    ControlFlow::Break(reason) => {
                        status = reason;
                        break;
                    }
                };
                if relative_gap(session.lower, session.upper) <= self.tolerance {
                    status = Status::Certified;
                    break;
                }
                if let ControlFlow::Break(reason) = observer.observe(&session.progress()) {
                    status = reason;
                    break;
                }
                if session.iterations >= self.max_iterations {
                    break;
                }
                session.drop_inactive();
                let batch = self.batch.max(session.names.len() / 2);
                let violators: Vec<usize> = prices
                    .above(program.lambda * (1.0 + 1e-10))
                    .into_iter()
                    .filter(|c| !session.names.contains(c))
                    .take(batch)
                    .collect();
                fresh = session.add(&violators, None);
                if fresh == 0 {
                    // every column in play or cheap: only the master's accuracy is missing
                    if accuracy < (1e-3 * self.tolerance).max(MASTER_FLOOR) {
                        status = Status::Stalled;
                        break;
                    }
                    accuracy *= 0.1;
                }
            }
            let gap = session.upper - session.lower;
            let distance = if gap.is_finite() { gap } else { 0.1 * session.upper.abs() };
            let lower = session.lower;
            let target = Target {
                // early masters need no more accuracy than the columns deserve
                tolerance: accuracy.max(if fresh > 0 {
                    effort * distance / session.upper.abs()
                } else {
                    0.0
                }),
                distance: distance.clamp(1e-4 * session.upper.abs(), 0.1 * session.upper.abs()),
                max_iterations: self.max_iterations.saturating_sub(session.iterations).min(100),
            };
            let (active, before) = (session.names.len(), session.upper);
            let stopped = session.solve_master(&target, &mut |iteration, upper, _| {
                observer.observe(&Progress { iteration, upper, lower, active })
            });
            if stopped.is_early() {
                status = stopped;
                session.quick_bound();
                break;
            }
            if session.upper >= before {
                effort *= 0.1;
            }
        }
        Ok(session.finish(status, self.tolerance))
    }
}
