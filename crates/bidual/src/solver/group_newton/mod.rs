//! Newton's method on the active groups, for smooth losses and sums of Euclidean norms.
//!
//! On groups that stay away from zero F(Az) + λΣ‖z_c‖ is smooth, and its Newton system
//! AᵀHA + λ·blkdiag((I − ẑẑᵀ)/‖z‖) is solved by conjugate gradients with two operator products an
//! iteration. Accelerated proximal steps in between decide which groups are zero. Derived here from
//! truncated Newton methods (Nocedal & Wright, §7.1) and working sets (Massias et al. 2018).

mod mean_field;
mod step;

use super::fista::Steps;
use super::working_set::{Ended, Inner, Outer, Point, Stop};
use super::{Observer, Solution, Solver, SparseColumns};
use crate::cone::Gauge;
use crate::{Error, Program, Result};

/// Newton-CG on a working set, for programs without cone constraints and with the Euclidean norm.
#[derive(Debug, Clone)]
pub struct GroupNewton {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Proximal steps and conjugate-gradient iterations at most, over all working sets.
    pub max_iterations: usize,
    /// Columns in the first working set (or a tenth of all, if more).
    pub working_set: usize,
}

impl Default for GroupNewton {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_iterations: 100_000, working_set: 40 }
    }
}

impl Solver for GroupNewton {
    fn name(&self) -> &'static str {
        "group newton"
    }

    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        if !matches!(program.regularizer.gauge(), Gauge::Norm) {
            return Err(Error::Unsupported {
                solver: self.name(),
                what: "a regularizer other than the Euclidean norm",
                instead: "fista",
            });
        }
        let outer = Outer {
            name: self.name(),
            tolerance: self.tolerance,
            max_iterations: self.max_iterations,
            first: self.working_set,
        };
        let mut inner = Alternating { steps: Steps { lipschitz: 0.0 }, warm: start.is_some() };
        outer.solve(program, start, observer, &mut inner)
    }
}

/// Proximal steps before the first Newton step, and before each later one.
const FIRST_STEPS: usize = 20;
const LATER_STEPS: usize = 5;
/// Rounds of both at most: then the working set may be the problem.
const ROUNDS: usize = 30;

/// Proximal steps and Newton steps by turns.
struct Alternating {
    steps: Steps,
    /// Some groups are known already.
    warm: bool,
}

impl Inner for Alternating {
    fn run(&mut self, point: &mut Point, goal: f64, limit: usize, stop: &mut Stop) -> Ended {
        let mut done = 0;
        for _ in 0..ROUNDS {
            let steps = if self.warm { LATER_STEPS } else { FIRST_STEPS };
            self.warm = true;
            let steps = steps.min(limit - done);
            let ended = self.steps.run(point, goal, steps, &mut |k, upper| stop(done + k, upper));
            done += ended.iterations;
            if ended.status.is_some() || ended.iterations < steps {
                return Ended { iterations: done, ..ended };
            }
            let ended =
                step::newton(point, goal, limit - done, &mut |k, upper| stop(done + k, upper));
            done += ended.iterations;
            if ended.status.is_some() || done >= limit {
                return Ended { iterations: done, ..ended };
            }
        }
        Ended { iterations: done, status: None }
    }
}
