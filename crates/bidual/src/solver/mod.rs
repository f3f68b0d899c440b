//! Solvers know programs, never networks. One file an algorithm.

mod column_generation;
mod conic;
mod fista;
mod gram;
mod group_newton;
mod interior_point;
mod master;
mod semismooth;
mod working_set;

pub use column_generation::ColumnGeneration;
pub use conic::{Conic, ConicSolution, LinearTerms};
pub use fista::Fista;
pub(crate) use gram::weighted_gram;
pub use group_newton::GroupNewton;
pub use interior_point::InteriorPoint;

use crate::linalg::{Mat, column, column_mut};
use crate::loss::Loss;
use crate::{Error, Program, Result};
use std::ops::ControlFlow;
use std::time::Instant;

/// Why a solver stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The relative duality gap, computed from a dual feasible point, is below the tolerance.
    Certified,
    /// The iteration limit came first.
    IterationLimit,
    /// The time limit came first.
    TimeLimit,
    /// The observer asked to stop (Ctrl-C, callback).
    Interrupted,
    /// The work allowed for the proof over all networks was used up.
    ProofLimit,
    /// No further progress in f64.
    Stalled,
}

impl Status {
    /// Short name, as printed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Status::Certified => "certified",
            Status::IterationLimit => "iteration limit",
            Status::TimeLimit => "time limit",
            Status::Interrupted => "interrupted",
            Status::ProofLimit => "proof limit",
            Status::Stalled => "stalled",
        }
    }

    /// True if the observer or the clock ended the solve.
    pub fn is_early(self) -> bool {
        matches!(self, Status::TimeLimit | Status::Interrupted)
    }

    /// One sentence that says what it means and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Status::Certified => "the gap is proved to be below the tolerance",
            Status::IterationLimit => {
                "the gap is above the tolerance: raise the iteration limit or the tolerance"
            }
            Status::TimeLimit => {
                "the gap is above the tolerance: raise the time limit, the tolerance or λ, or list fewer patterns where patterns are listed"
            }
            Status::Interrupted => {
                "stopped on request: the network is the best so far, with its true gap"
            }
            Status::ProofLimit => {
                "the gap over all networks is above the tolerance and the proof has used its share of work: ask for the global scope (no limit but time), a larger λ or fewer features"
            }
            Status::Stalled => {
                "no further progress in double precision: the gap shown is what could be proved; raise the tolerance or λ"
            }
        }
    }
}

/// What an [`Observer`] sees.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Iterations so far (of the algorithm that reports).
    pub iteration: usize,
    /// Objective of the best feasible point.
    pub upper: f64,
    /// Best proved lower bound (−∞ before the first).
    pub lower: f64,
    /// Non-zero columns.
    pub active: usize,
}

/// Sees each iteration and may stop the solver: progress bar, log, Ctrl-C, time limit.
pub trait Observer: Send {
    /// A new part of the work begins (cross-validation, final solve, ...).
    fn stage(&mut self, name: &str) {
        let _ = name;
    }

    /// Called at each iteration; `Break` stops the solver with the given status.
    fn observe(&mut self, progress: &Progress) -> ControlFlow<Status>;
}

/// Any closure is an observer.
impl<F: FnMut(&Progress) -> ControlFlow<Status> + Send> Observer for F {
    fn observe(&mut self, progress: &Progress) -> ControlFlow<Status> {
        self(progress)
    }
}

/// Never stops.
pub fn silent() -> impl Observer {
    |_: &Progress| ControlFlow::Continue(())
}

/// Stops `inner` when `deadline` has passed.
pub struct Deadline<'a> {
    /// Asked first.
    pub inner: &'a mut dyn Observer,
    /// When to stop, if ever.
    pub deadline: Option<Instant>,
}

impl Observer for Deadline<'_> {
    fn stage(&mut self, name: &str) {
        self.inner.stage(name);
    }

    fn observe(&mut self, progress: &Progress) -> ControlFlow<Status> {
        self.inner.observe(progress)?;
        match self.deadline {
            Some(t) if Instant::now() >= t => ControlFlow::Break(Status::TimeLimit),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Non-zero columns of z.
#[derive(Debug, Clone)]
pub struct SparseColumns {
    /// Indices of the columns.
    pub columns: Vec<usize>,
    /// Their values, d×columns.len().
    pub values: Mat,
}

impl SparseColumns {
    /// z = 0.
    pub fn zero(d: usize) -> Self {
        Self { columns: vec![], values: Mat::zeros(d, 0) }
    }

    /// The columns of `z` that are not exactly zero, renamed by `names`.
    pub fn gather(z: &Mat, names: &[usize]) -> Self {
        let keep: Vec<usize> =
            (0..z.ncols()).filter(|&c| column(z, c).iter().any(|v| *v != 0.0)).collect();
        Self {
            columns: keep.iter().map(|&c| names[c]).collect(),
            values: Mat::from_fn(z.nrows(), keep.len(), |i, k| z[(i, keep[k])]),
        }
    }

    /// The value of one column, if it is not zero.
    pub fn column(&self, c: usize) -> Option<&[f64]> {
        let k = self.columns.iter().position(|own| *own == c)?;
        Some(column(&self.values, k))
    }

    /// Values on the listed columns (zero where absent).
    pub fn scatter(&self, columns: &[usize]) -> Mat {
        let mut z = Mat::zeros(self.values.nrows(), columns.len());
        for (k, &c) in columns.iter().enumerate() {
            if let Some(value) = self.column(c) {
                column_mut(&mut z, k).copy_from_slice(value);
            }
        }
        z
    }
}

/// What a solver returns: its best feasible point, its best dual point, and no more than was proved.
#[derive(Debug, Clone)]
pub struct Solution {
    /// Best feasible point.
    pub z: SparseColumns,
    /// Dual vector ν of the best lower bound.
    pub nu: Vec<f64>,
    /// Objective at `z`.
    pub upper: f64,
    /// Best proved lower bound on the program's optimum.
    pub lower: f64,
    /// Why the solver stopped.
    pub status: Status,
    /// Iterations used.
    pub iterations: usize,
}

/// An algorithm for programs.
pub trait Solver: Send + Sync {
    /// Name, as printed.
    fn name(&self) -> &'static str;

    /// Solves `program` from `start` (any columns; cone constraints need not hold there).
    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution>;
}

/// Refuses a loss without derivatives.
pub(crate) fn require_smooth(loss: &dyn Loss, solver: &'static str) -> Result<()> {
    if loss.is_smooth() {
        return Ok(());
    }
    Err(Error::Unsupported { solver, what: "a loss without derivatives", instead: "conic" })
}
