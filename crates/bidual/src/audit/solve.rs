//! Training on from the network, and the better of two bounds.

use super::{AuditOptions, Start};
use crate::Result;
use crate::certificate::{Method, relative_gap};
use crate::data::Dataset;
use crate::fit::{Model, Prepared, finish};
use crate::formulation::objective;
use crate::global::{Global, Target};
use crate::network::Network;
use crate::options::Options;
use crate::pricing::{Bracket, Candidate, Goal};
use crate::solver::{Observer, Progress, Solution, Status};

/// What is known before training goes on.
pub(super) struct Task<'a> {
    pub start: &'a Start,
    /// Dear neurons at the network's own residual.
    pub found: &'a [Candidate],
    pub options: &'a AuditOptions,
    pub lambda: f64,
    /// The best objective known.
    pub upper: f64,
}

/// The result of training on, with the better of two bounds.
pub(super) struct Solved {
    pub solution: Solution,
    /// How its lower bound was proved.
    pub method: Method,
    /// Cones examined by proofs.
    pub cones: usize,
    /// The bound of the network's own residual, if it was asked for one.
    pub own_lower: Option<f64>,
}

impl Task<'_> {
    /// Proves the network's own residual where that can be enough, trains on from the network
    /// otherwise, and keeps the better bound.
    pub(super) fn solve(
        &self,
        global: &Global,
        rows: usize,
        observer: &mut dyn Observer,
    ) -> Result<Solved> {
        let (lambda, tolerance) = (self.lambda, self.options.tolerance);
        let kappa = self.found.first().map_or(lambda, |c| c.value);
        // κ(ν) ≥ kappa: the own residual cannot prove more
        let hope = global.lower_bound(&self.start.nu, kappa, lambda);
        let mut own = None;
        if relative_gap(hope, self.upper) <= 0.9 * tolerance {
            observer.stage("proving over all networks");
            let wanted = self.upper * (1.0 - 0.95 * tolerance);
            let (lower, method, cones) = self.prove(global, rows, wanted, observer);
            if relative_gap(lower, self.upper) <= tolerance {
                return Ok(self.without_training(global, lower, method, cones));
            }
            own = Some((lower, method, cones));
            observer.stage("solving");
        }
        let target = Target {
            lambda,
            // a little below the tolerance: the network is evaluated anew from its weights
            tolerance: 0.7 * tolerance,
            budget: Some(self.options.effort.budget(rows)),
            max_rounds: usize::MAX,
        };
        let solved = global.solve(&target, Some(&self.start.neurons), observer)?;
        let mut result = Solved {
            solution: Solution {
                z: solved.neurons.to_columns(),
                nu: solved.nu,
                upper: solved.upper,
                lower: solved.lower,
                status: solved.status,
                iterations: solved.rounds,
            },
            method: solved.method,
            cones: solved.cones,
            own_lower: None,
        };
        if own.is_none() && hope > solved.lower && !solved.status.is_early() {
            let wanted = hope - 0.05 * (self.upper - hope);
            own = Some(self.prove(global, rows, wanted, observer));
        }
        result.own_lower = own.map(|o| o.0);
        result.cones += own.map_or(0, |o| o.2);
        if let Some((lower, method, _)) = own.filter(|o| o.0 > result.solution.lower) {
            result.method = method;
            (result.solution.lower, result.solution.nu) = (lower, self.start.nu.clone());
        }
        Ok(result)
    }

    /// The lower bound of the own residual, proved up to `wanted` if the work allowed suffices.
    fn prove(
        &self,
        global: &Global,
        rows: usize,
        wanted: f64,
        observer: &mut dyn Observer,
    ) -> (f64, Method, usize) {
        let (nu, lambda) = (self.start.nu.as_slice(), self.lambda);
        let goal = Goal { target: global.target(nu, wanted, lambda), tolerance: 1e-9 };
        let starts: Vec<(Vec<f64>, bool)> =
            self.found.iter().map(|c| (c.direction.clone(), c.negative)).collect();
        let go_on = &mut |bracket: &Bracket| {
            let lower = global.lower_bound(nu, bracket.upper, lambda);
            let (upper, active) = (self.upper, self.start.neurons.len());
            let progress = Progress { iteration: 0, upper, lower, active };
            observer.observe(&progress).is_continue()
        };
        let budget = self.options.effort.budget(rows);
        let proof = global.oracle().prove(nu, &goal, &budget, &starts, go_on);
        (global.lower_bound(nu, proof.upper, lambda), proof.method, proof.cones)
    }

    /// The network itself, whose own residual is proof enough.
    fn without_training(
        &self,
        global: &Global,
        lower: f64,
        method: Method,
        cones: usize,
    ) -> Solved {
        let solution = Solution {
            z: self.start.neurons.to_columns(),
            nu: self.start.nu.clone(),
            upper: global.objective(&self.start.neurons, self.lambda),
            lower,
            status: Status::Certified,
            iterations: 0,
        };
        Solved { solution, method, cones, own_lower: Some(lower) }
    }
}

/// The solved network as a model, or one of `alternatives` (on raw features) if rounding or
/// pruning made that the better one.
pub(super) fn improved(
    data: &Dataset,
    options: &Options,
    prepared: &Prepared,
    solved: Solved,
    lambdas: (f64, f64),
    alternatives: &[Network],
) -> Result<Model> {
    let Solved { solution, method, cones, .. } = solved;
    let solved = crate::fit::Solved { solution, method, cones };
    let mut model = finish(data, None, options, prepared, solved, lambdas, None)?;
    for network in alternatives {
        let (scaling, loss) = (&prepared.scaling, prepared.loss.as_ref());
        let upper = objective(network, data, scaling, loss, lambdas.0, options.bias);
        if upper < model.certificate.upper {
            model.certificate.upper = upper;
            model.patterns = network.neurons();
            model.network = network.clone();
        }
    }
    if model.certificate.relative_gap() <= options.tolerance {
        model.status = Status::Certified;
    }
    Ok(model)
}
