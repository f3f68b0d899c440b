//! First-order steps while they are cheap, second-order ones when they stall.

use super::{ColumnGeneration, Fista, Observer, Solution, Solver, SparseColumns, Status};
use crate::certificate::relative_gap;
use crate::{Program, Result};

/// FISTA for `first` iterations; then, if the gap is still open and the active
/// columns make a small enough Newton system, column generation from there;
/// otherwise FISTA to the end.
///
/// FISTA identifies the active columns in a few hundred cheap steps, but needs
/// tens of thousands for the last digits of ill-conditioned programs (small λ).
#[derive(Debug, Clone)]
pub struct Staged {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Iterations at most, over all stages.
    pub max_iterations: usize,
    /// Proximal steps before the second stage.
    pub first: usize,
    /// Largest order (active columns × length) of the Newton system.
    pub newton_order: usize,
}

impl Default for Staged {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_iterations: 100_000, first: 1000, newton_order: 4000 }
    }
}

impl Solver for Staged {
    fn name(&self) -> &'static str {
        "fista, then column generation"
    }

    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        let fista = |limit: usize, start: Option<&SparseColumns>, observer: &mut dyn Observer| {
            Fista { tolerance: self.tolerance, max_iterations: limit, ..Fista::default() }
                .solve(program, start, observer)
        };
        let first = fista(self.first.min(self.max_iterations), start, observer)?;
        let left = self.max_iterations - first.iterations.min(self.max_iterations);
        let open = matches!(first.status, Status::IterationLimit | Status::Stalled);
        if !open || left == 0 {
            return Ok(first);
        }
        let order = first.z.columns.len() * program.shape().0;
        let second = if order <= self.newton_order {
            let newton = ColumnGeneration {
                tolerance: self.tolerance,
                max_iterations: left,
                ..ColumnGeneration::default()
            };
            newton.solve(program, Some(&first.z), observer)?
        } else {
            fista(left, Some(&first.z), observer)?
        };
        Ok(better(first, second, self.tolerance))
    }
}

/// The later stage's answer with the best bounds of both.
fn better(first: Solution, mut second: Solution, tolerance: f64) -> Solution {
    if first.lower > second.lower {
        (second.lower, second.nu) = (first.lower, first.nu);
    }
    if first.upper < second.upper {
        (second.upper, second.z) = (first.upper, first.z);
    }
    if relative_gap(second.lower, second.upper) <= tolerance {
        second.status = Status::Certified;
    }
    second.iterations += first.iterations;
    second
}
