//! Training over all networks of any width: crowd, price, add, slide, finish, prove.
//!
//! A crowd of random neurons begins; pricing proposes neurons from anywhere; sliding moves all neurons jointly
//! across cells; Newton's method finishes them to the last digits; what is left
//! when local pricing finds nothing is handed to the proof, which either bounds
//! κ(ν) over all directions or returns a neuron that local pricing has missed.

mod candidates;
mod crowd;
mod gram;
mod master;
mod neurons;
mod newton;
mod search;
mod slide;
mod smooth;
mod ties;
mod train;

pub use neurons::Neurons;

use crate::Result;
use crate::certificate::{Method, relative_gap};
use crate::cone::Gauge;
use crate::linalg::Mat;
use crate::loss::{Loss, best_dual_value};
use crate::network::Bias;
use crate::pricing::{Bracket, Budget, Candidate, Goal, Oracle, Proof};
use crate::solver::{Observer, Progress, Status, require_smooth};
use candidates::{Depth, Found, STARTS, level_of, sort};
use std::ops::ControlFlow;
use std::sync::Arc;
use ties::Classes;
use train::State;

/// Rounds of training and of proofs, at most.
const ROUNDS: usize = 400;

/// The data of a global fit, on scaled features.
pub struct Global {
    x: Arc<Mat>,
    oracle: Oracle,
    loss: Arc<dyn Loss>,
    bias: Bias,
    classes: Classes,
}

/// What a global solve aims at.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// λ of the objective.
    pub lambda: f64,
    /// Relative gap at which to stop.
    pub tolerance: f64,
    /// Work allowed for proofs; `None`: train only, with no bound beyond the trivial one.
    pub budget: Option<Budget>,
    /// Rounds of training at most.
    pub max_rounds: usize,
}

/// A trained network with its proof over all networks.
#[derive(Debug, Clone)]
pub struct GlobalSolution {
    /// The neurons.
    pub neurons: Neurons,
    /// The dual vector of `lower`.
    pub nu: Vec<f64>,
    /// Objective of the neurons.
    pub upper: f64,
    /// Proved lower bound on the objective of every network of any width.
    pub lower: f64,
    /// How `lower` was proved.
    pub method: Method,
    /// Why it stopped.
    pub status: Status,
    /// Rounds of training.
    pub rounds: usize,
    /// Cones examined by the proofs.
    pub cones: usize,
}

/// The best bound so far.
struct Bound {
    lower: f64,
    nu: Vec<f64>,
    method: Method,
}

impl Bound {
    /// Keeps what a proof at the ν of `state` gives, if that is more.
    fn keep(&mut self, global: &Global, state: &State, proof: &Proof, lambda: f64) {
        let lower = global.lower_bound(&state.nu, proof.upper, lambda);
        if lower > self.lower {
            *self = Self { lower, nu: state.nu.clone(), method: proof.method };
        }
    }
}

impl Global {
    /// `x` (n×d) are the scaled features, `features` the same with a column of
    /// ones if there is a hidden bias.
    pub fn new(
        x: Arc<Mat>,
        features: Arc<Mat>,
        gauge: Gauge,
        loss: Arc<dyn Loss>,
        bias: Bias,
    ) -> Self {
        let classes = Classes::new(&features);
        Self { x, oracle: Oracle::new(features, gauge), loss, bias, classes }
    }

    /// The pricing problem of these data.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The loss, its output bias minimised out.
    pub fn loss(&self) -> &dyn Loss {
        self.loss.as_ref()
    }

    /// F(f) + λΣ‖v_j‖.
    pub fn objective(&self, neurons: &Neurons, lambda: f64) -> f64 {
        let f = neurons.outputs(self.oracle.x());
        self.loss.value(&f) + lambda * neurons.penalty(&self.oracle.gauge())
    }

    /// ν = −∇F(f), in the domain of the conjugate.
    pub fn residual(&self, f: &[f64]) -> Vec<f64> {
        let mut nu = vec![0.0; f.len()];
        self.loss.residual_into(f, &mut nu);
        self.loss.clip_dual(&mut nu);
        nu
    }

    /// The lower bound that ν gives when κ(ν) ≤ `kappa`.
    pub fn lower_bound(&self, nu: &[f64], kappa: f64, lambda: f64) -> f64 {
        let t = if kappa == 0.0 { f64::MAX } else { lambda / kappa * (1.0 - 1e-12) };
        best_dual_value(self.loss.as_ref(), nu, if kappa.is_nan() { 0.0 } else { t }).0
    }

    /// The largest κ for which ν proves `lower` (within λ and 1000 λ).
    pub fn target(&self, nu: &[f64], lower: f64, lambda: f64) -> f64 {
        let (mut low, mut high) = (lambda, 1000.0 * lambda);
        if self.lower_bound(nu, low, lambda) < lower {
            return lambda;
        }
        for _ in 0..60 {
            let middle = (low * high).sqrt();
            if self.lower_bound(nu, middle, lambda) >= lower {
                low = middle
            } else {
                high = middle
            }
            if high - low <= 1e-3 * (low - lambda).max(1e-12 * lambda) {
                break;
            }
        }
        low
    }

    /// Bounds λ_max = κ(ν₀), ν₀ the residual without neurons, to the relative
    /// `tolerance` if the budget allows it.
    pub fn lambda_max(
        &self,
        tolerance: f64,
        budget: &Budget,
        go_on: &mut dyn FnMut(&Bracket) -> bool,
    ) -> Proof {
        let nu = self.residual(&vec![0.0; self.x.nrows()]);
        let starts: Vec<(Vec<f64>, bool)> = self
            .oracle
            .search(&nu, &[], 2 * STARTS, 0, 0.0)
            .into_iter()
            .take(20)
            .map(|c| (c.direction, c.negative))
            .collect();
        let mut proof =
            self.oracle.prove(&nu, &Goal { target: 0.0, tolerance }, budget, &starts, go_on);
        let again = self.oracle.search(&nu, &starts, 0, 0, 0.0);
        if let Some(best) = again.first() {
            proof.lower = proof.lower.max(best.value);
        }
        proof
    }

    /// Trains from `start` (or from nothing) and proves, until the gap over all
    /// networks is below the tolerance.
    pub fn solve(
        &self,
        target: &Target,
        start: Option<&Neurons>,
        observer: &mut dyn Observer,
    ) -> Result<GlobalSolution> {
        let Target { lambda, tolerance, budget, max_rounds } = *target;
        require_smooth(self.loss.as_ref(), "global training")?;
        let mut state = self.begin(start, lambda);
        let norm_bound = self.oracle.prove(
            &state.nu,
            &Goal { target: 0.0, tolerance: f64::INFINITY },
            &Budget { cones: 0, memory: 0 },
            &[],
            &mut |_| false,
        );
        let mut best = Bound {
            lower: self.lower_bound(&state.nu, norm_bound.upper, lambda),
            nu: state.nu.clone(),
            method: norm_bound.method,
        };
        if start.is_none() {
            let told = progress_of(&state, 0, best.lower);
            let mut go_on = || match observer.observe(&told) {
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
                ControlFlow::Break(_) => ControlFlow::Break(()),
            };
            self.crowd(&mut state, lambda, &mut go_on);
        }
        let (mut cones, mut rounds) = (0, 0);
        let mut missed: Vec<Candidate> = vec![];
        let (mut idle, mut depth) = (0_i32, Depth::new(budget.is_some()));
        // a short proof has left this state open
        let mut open = false;
        let status = loop {
            if rounds >= ROUNDS.min(max_rounds) {
                break Status::IterationLimit;
            }
            rounds += 1;
            let known = std::mem::take(&mut missed);
            let Found { candidates: mut found, gap } = self.candidates(
                &state,
                known,
                &depth,
                rounds as u64,
                open.then_some(tolerance),
                lambda,
            );
            let directions = state.neurons.directions(&self.oracle.gauge());
            let level = level_of(lambda);
            let hope = state.upper - gap * state.upper.abs();
            let progress = progress_of(&state, rounds, best.lower);
            if let ControlFlow::Break(status) = observer.observe(&progress) {
                break status;
            }
            // a rough bound now and then: training may be stopped before the real proof
            if let Some(budget) = budget
                && rounds >= 8
                && rounds.is_power_of_two()
                && gap > 0.5 * tolerance
            {
                let rough =
                    Budget { cones: budget.cones.min(rough_cones(self.x.nrows())), ..budget };
                let aim = hope - gap * state.upper.abs();
                let goal = Goal { target: self.target(&state.nu, aim, lambda), tolerance: 0.01 };
                let mut go_on =
                    |_: &Bracket| matches!(observer.observe(&progress), ControlFlow::Continue(()));
                let proof = self.oracle.prove(&state.nu, &goal, &rough, &directions, &mut go_on);
                cones += proof.cones;
                best.keep(self, &state, &proof, lambda);
                found.extend(proof.candidates.into_iter().filter(|c| c.value > level));
                sort(&mut found);
            }
            if gap > 0.5 * tolerance && idle < 3 {
                let before = state.upper;
                // the less it moves, the sharper the master
                let finer = gap * 0.01f64.powi(idle);
                if let Some(status) = self.improve(&mut state, &found, target, finer, observer)? {
                    break status;
                }
                let gain = (before - state.upper) / state.upper.abs();
                depth.adapt(gain, gap);
                if let ControlFlow::Break(status) =
                    observer.observe(&progress_of(&state, rounds, best.lower))
                {
                    break status;
                }
                idle = if gain > 1e-13 { 0 } else { idle + 1 };
                open = false;
                continue;
            }
            let Some(budget) = budget else { break Status::Stalled };
            if cones >= budget.cones {
                break Status::ProofLimit;
            }
            observer.stage("proving over all networks");
            let goal = Goal {
                target: self.target(&state.nu, state.upper * (1.0 - 0.95 * tolerance), lambda),
                tolerance: 1e-12,
            };
            let mut early = None;
            let short = !open && idle < 3;
            let most = if short { rough_cones(self.x.nrows()) } else { usize::MAX };
            let left = Budget { cones: most.min(budget.cones - cones), ..budget };
            let proof = self.oracle.prove(&state.nu, &goal, &left, &directions, &mut |b| {
                let bound = self.lower_bound(&state.nu, b.upper, lambda);
                let progress = Progress { lower: best.lower.max(bound), ..progress };
                if let ControlFlow::Break(status) = observer.observe(&progress) {
                    early = Some(status);
                }
                // neurons dearer than the target: back to training once a few are there
                let dear = b.lower > goal.target * (1.0 + 1e-9) && b.cones > 2000;
                early.is_none() && !dear
            });
            cones += proof.cones;
            best.keep(self, &state, &proof, lambda);
            if relative_gap(best.lower, state.upper) <= tolerance {
                break Status::Certified;
            }
            if let Some(status) = early {
                break status;
            }
            missed = proof.candidates;
            missed.retain(|c| c.value > level);
            if short {
                open = true;
            } else if missed.is_empty() || idle >= 3 {
                break if cones >= budget.cones { Status::ProofLimit } else { Status::Stalled };
            }
            observer.stage("solving");
        };
        if status == Status::Certified {
            // to the last digits, so that the network's own residual proves what ν proved
            self.finish(&mut state, 0.0, lambda, &mut || ControlFlow::Continue(()));
        }
        Ok(GlobalSolution {
            neurons: state.neurons,
            nu: best.nu,
            upper: state.upper,
            lower: best.lower,
            method: best.method,
            status,
            rounds,
            cones,
        })
    }
}

/// What an observer is told of `state`.
fn progress_of(state: &State, rounds: usize, lower: f64) -> Progress {
    Progress { iteration: rounds, upper: state.upper, lower, active: state.neurons.len() }
}

/// Cones of a rough bound or a short proof on n rows: a fraction of a second.
fn rough_cones(rows: usize) -> usize {
    (1e8 / (rows as f64 + 300.0)) as usize
}
