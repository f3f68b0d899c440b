//! Column generation: a small master over the columns in play, exact prices for
//! all the others.
//!
//! Optimal solutions have few active columns (5 to 30 of thousands), so the
//! master stays small whatever P is. Each round solves the master (Newton's method
//! on the faces of the cones, or interior point), prices every column at its
//! residual (one projection on a cone each, screened by the adjoint norm and by the
//! last multipliers), adds the dearest of those that cost more than λ, and stops on
//! the duality gap of the whole program.

use super::interior_point::Blocks;
use super::master::{Master, Target};
use super::semismooth::Semismooth;
use super::{Observer, Progress, Solution, Solver, SparseColumns, Status};
use crate::certificate::relative_gap;
use crate::cone::{Gauge, Multipliers};
use crate::linalg::{Mat, column, column_mut};
use crate::program::Prices;
use crate::{Program, Result};
use std::ops::ControlFlow;

/// Column generation, for programs with or without cones.
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

/// State shared by the solvers that work on a master.
pub(super) struct Session<'a> {
    program: &'a Program,
    master: Box<dyn Master>,
    /// Whether interior point may take over.
    fallback: bool,
    tolerance: f64,
    names: Vec<usize>,
    /// Columns that were dropped once and came back stay.
    returned: Vec<usize>,
    dropped: Vec<usize>,
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
    pub(super) fn new(
        program: &'a Program,
        master: Box<dyn Master>,
        fallback: bool,
        tolerance: f64,
    ) -> Self {
        let f = vec![0.0; program.samples()];
        Self {
            upper: program.loss.value(&f),
            lower: f64::NEG_INFINITY,
            nu: program.residual(&f),
            best: SparseColumns::zero(program.shape().0),
            multipliers: program.multipliers(),
            master,
            fallback,
            tolerance,
            names: vec![],
            returned: vec![],
            dropped: vec![],
            iterations: 0,
            f,
            program,
        }
    }

    /// Adds columns (those already there and those with a trivial cone are skipped).
    pub(super) fn add(&mut self, columns: &[usize], start: Option<&SparseColumns>) -> usize {
        let before = self.names.len();
        for &c in columns {
            let new = !self.names.contains(&c);
            if new && self.master.add(self.program, c, start.and_then(|s| s.column(c))) {
                if self.dropped.contains(&c) {
                    self.returned.push(c);
                }
                self.names.push(c);
            }
        }
        self.names.len() - before
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

    /// Solves the master from the current values; if that jams, by interior point.
    pub(super) fn solve_master(
        &mut self,
        target: &Target,
        stop: &mut dyn FnMut(usize, f64, f64) -> ControlFlow<Status>,
    ) -> Status {
        if self.names.is_empty() {
            return Status::Certified;
        }
        let (mut status, gap) = self.attempt(target, stop);
        let jammed = matches!(status, Status::Stalled | Status::IterationLimit);
        if self.fallback && jammed && gap > 0.5 * self.tolerance {
            self.fallback = false;
            // from zero: where one master has jammed is no good start for the other
            self.master = Box::new(Blocks::default());
            let names = std::mem::take(&mut self.names);
            self.add(&names, None);
            let distance = 0.1 * self.program.loss.value(&vec![0.0; self.f.len()]).abs();
            status = self.attempt(&Target { distance, ..*target }, stop).0;
        }
        status
    }

    /// Status and relative gap of the master.
    fn attempt(
        &mut self,
        target: &Target,
        stop: &mut dyn FnMut(usize, f64, f64) -> ControlFlow<Status>,
    ) -> (Status, f64) {
        let (count, offset) = (self.iterations, self.upper);
        let solved = self.master.solve(self.program, target, &mut |iteration, upper, lower| {
            stop(count + iteration, upper.min(offset), lower)
        });
        self.iterations += solved.iterations;
        self.f = solved.f;
        if solved.upper < self.upper {
            self.upper = solved.upper;
            self.best = self.current();
        }
        (solved.status, relative_gap(solved.lower, solved.upper))
    }

    /// The values in play as columns of the program.
    fn current(&self) -> SparseColumns {
        let values = self.master.values(self.program.shape().0);
        SparseColumns { columns: self.names.clone(), values }
    }

    /// Prices every column at the residual of the last master and improves the
    /// lower bound; the status if the observer stopped it half way.
    pub(super) fn bound(
        &mut self,
        batch: usize,
        observer: &mut dyn Observer,
    ) -> ControlFlow<Status, Prices> {
        // something to stand on should the full pricing be interrupted
        self.quick_bound();
        let nu = self.program.residual(&self.f);
        let progress = self.progress();
        // those in play may be among the dearest
        let enough = batch + self.names.len();
        let (program, multipliers) = (self.program, &mut self.multipliers);
        let prices = program.price_while(&nu, program.lambda, enough, multipliers, &mut || {
            observer.observe(&progress)
        })?;
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
        let current = self.current();
        let sizes: Vec<f64> =
            (0..self.names.len()).map(|k| gauge.value(column(&current.values, k))).collect();
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
        self.master.retain(&keep);
        let mut keep = keep.into_iter();
        self.names.retain(|_| keep.next() == Some(true));
    }

    /// Removes negligible columns as long as the certified gap stays within the tolerance.
    fn prune(&mut self) {
        let gauge = self.program.regularizer.gauge();
        let mut order: Vec<usize> = (0..self.best.columns.len()).collect();
        let size = |k: usize| gauge.value(column(&self.best.values, k));
        order.sort_by(|&a, &b| size(b).total_cmp(&size(a)).then(a.cmp(&b)));
        let largest = order.first().map_or(0.0, |&k| size(k));
        let allowed = self.upper.max(self.lower + 0.9 * self.tolerance * self.upper.abs());
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

    /// Moves the columns of the best point into their cones in f64; one that cannot is given up.
    fn make_feasible(&mut self) {
        let Some(constraint) = &self.program.constraint else { return };
        for (k, &c) in self.best.columns.iter().enumerate() {
            let value = column_mut(&mut self.best.values, k);
            let inside = constraint.interior(c);
            if !inside.is_some_and(|inside| constraint.make_feasible(c, value, &inside)) {
                value.fill(0.0);
            }
        }
        self.best = SparseColumns::gather(&self.best.values, &self.best.columns);
    }

    /// The best point, its bound, and the status that they justify.
    pub(super) fn finish(mut self, status: Status) -> Solution {
        self.prune();
        self.make_feasible();
        // what counts is the objective of the point that is returned
        let best = self.program.restrict(&self.best.columns).objective(&self.best.values);
        self.upper = self.upper.max(best);
        let proved = relative_gap(self.lower, self.upper) <= self.tolerance;
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
        let norm = matches!(program.regularizer.gauge(), Gauge::Norm);
        let master: Box<dyn Master> =
            if norm { Box::new(Semismooth::default()) } else { Box::new(Blocks::default()) };
        let mut session = Session::new(program, master, norm, self.tolerance);
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
                let batch = self.batch.max(session.names.len() / 2);
                let prices = match session.bound(batch, observer) {
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
        Ok(session.finish(status))
    }
}
