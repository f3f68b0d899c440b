//! Masters: solvers of the program on the few columns in play.

use super::Status;
use crate::Program;
use crate::linalg::Mat;
use std::ops::ControlFlow;

/// What a master is asked for.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// Relative gap of the master at which to stop.
    pub tolerance: f64,
    /// Estimate of (start objective − optimum).
    pub distance: f64,
    pub max_iterations: usize,
}

/// A solved master.
pub(super) struct Solved {
    /// Outputs whose residual gave the best lower bound.
    pub f: Vec<f64>,
    /// Objective of the values that it now has.
    pub upper: f64,
    /// Lower bound on the optimum of the master.
    pub lower: f64,
    pub status: Status,
    pub iterations: usize,
}

/// Asked with iterations, upper and lower bound of the master: whether to stop.
pub(super) type Stop<'a> = dyn FnMut(usize, f64, f64) -> ControlFlow<Status> + 'a;

/// Solves the program on the columns in play, from their last values.
pub(super) trait Master {
    /// Takes up a column, from `value` if there is one; false if only zero is allowed there.
    fn add(&mut self, program: &Program, column: usize, value: Option<&[f64]>) -> bool;

    /// Keeps the columns that are marked.
    fn retain(&mut self, keep: &[bool]);

    /// The values, a column each.
    fn values(&self, d: usize) -> Mat;

    fn solve(&mut self, program: &Program, target: &Target, stop: &mut Stop<'_>) -> Solved;
}
