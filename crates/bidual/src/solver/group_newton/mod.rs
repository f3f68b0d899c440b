//! Newton's method on the active groups, for smooth losses and sums of Euclidean norms.
//!
//! On groups that stay away from zero F(Az) + λΣ‖z_c‖ is smooth, and its Newton system
//! AᵀHA + λ·blkdiag((I − ẑẑᵀ)/‖z‖) is solved by conjugate gradients with two operator products an
//! iteration. Accelerated proximal steps in between decide which groups are zero. Derived here from
//! truncated Newton methods (Nocedal & Wright, §7.1) and working sets (Massias et al. 2018).

mod mean_field;
mod step;
mod variational;

use super::fista::Steps;
use super::working_set::{Ended, Inner, Outer, Point, Stop};
use super::{Observer, Solution, Solver, SparseColumns};
use crate::cone::Gauge;
use crate::linalg::column;
use crate::{Error, Program, Result};
use variational::variational;

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
        let proximal = if start.is_some() { LATER_STEPS } else { FIRST_STEPS };
        let mut inner = Alternating {
            steps: Steps { lipschitz: 0.0 },
            proximal,
            work: 0.0,
            ridge: 0.0,
            misses: 0,
        };
        outer.solve(program, start, observer, &mut inner)
    }
}

/// Proximal steps before the first Newton step, and before each later one.
const FIRST_STEPS: usize = 20;
const LATER_STEPS: usize = 5;
/// Where Newton steps gain nothing, before the next trial: twice as many each time, to this.
const MOST_STEPS: usize = 1000;
/// Rounds of both at most: then the working set may be the problem.
const ROUNDS: usize = 30;
/// Conjugate gradients may cost as much as so many steps in η.
const STEPS_IN_ETA: f64 = 5.0;
/// Calls in a row that may miss their goal.
const MOST_MISSES: usize = 5;
/// Samples at most for steps in η: they need a few n×n matrices.
const MOST_SAMPLES: usize = 4000;
/// Additions of the structured operator in the time of a multiplication and addition.
const CHEAPER: f64 = 3.0;

/// Proximal steps and Newton steps by turns.
struct Alternating {
    steps: Steps,
    /// Proximal steps before the next Newton step.
    proximal: usize,
    /// Work of conjugate gradients so far, in steps in η.
    work: f64,
    /// Regularisation of steps in η, and how often in a row they have missed their goal.
    ridge: f64,
    misses: usize,
}

impl Inner for Alternating {
    fn run(&mut self, point: &mut Point, goal: f64, limit: usize, stop: &mut Stop) -> Ended {
        let mut done = 0;
        for _ in 0..ROUNDS {
            if self.work <= STEPS_IN_ETA {
                let steps = self.proximal.min(limit - done);
                let ended =
                    self.steps.run(point, goal, steps, &mut |k, upper| stop(done + k, upper));
                done += ended.iterations;
                if ended.status.is_some() || ended.reached {
                    return Ended { iterations: done, ..ended };
                }
                let (ended, gained) =
                    step::newton(point, goal, limit - done, &mut |k, upper| stop(done + k, upper));
                // where the curvature says little (flat losses, kinks) proximal steps do the work
                self.proximal =
                    if gained { LATER_STEPS } else { (2 * self.proximal).min(MOST_STEPS) };
                done += ended.iterations;
                self.work += work(point, ended.iterations);
                if ended.status.is_some() || done >= limit {
                    return Ended { iterations: done, ..ended };
                }
            }
            if self.work > STEPS_IN_ETA {
                let mut ask = |k: usize, upper: f64| stop(done + k, upper);
                let ended = variational(point, &mut self.ridge, goal, limit - done, &mut ask);
                let missed = ended.as_ref().is_none_or(|ended| !ended.reached);
                self.misses = if missed { self.misses + 1 } else { 0 };
                // where they do not apply, or do not get on, the others do the work
                if ended.is_none() || self.misses > MOST_MISSES {
                    self.work = f64::NEG_INFINITY;
                }
                let Some(ended) = ended else { continue };
                return Ended { iterations: done + ended.iterations, ..ended };
            }
        }
        Ended { iterations: done, status: None, reached: false }
    }
}

/// What these conjugate-gradient iterations cost, in steps in η.
fn work(point: &Point, iterations: usize) -> f64 {
    let n = point.f.len();
    if n > MOST_SAMPLES {
        return 0.0;
    }
    let used = (0..point.z.ncols()).filter(|&c| column(&point.z, c).iter().any(|v| *v != 0.0));
    let (n, d, k) = (n as f64, point.z.nrows() as f64, used.count() as f64);
    let products = iterations as f64 * 4.0 * n * d * k / CHEAPER;
    // kernel, its factor, the Hessian and its factor
    let step = n * n * k + n * n * n / 3.0 + n * n * k + n * k * k + k * k * k / 3.0;
    products / step
}
