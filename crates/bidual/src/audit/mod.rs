//! How far a network that another program trained is from the best network of any width.
//!
//! The objective of the network is an upper bound on the optimum, and any dual vector ν gives a
//! lower one. The network's own residual ν = −∇F is a poor dual vector unless training has
//! converged. So training goes on from the network, over all networks, and the residual of what
//! is found is proved too: that bound is about all networks as well, the one given among them.

mod check;
mod proposal;
mod solve;
mod tidy;

pub use proposal::Proposal;

use crate::certificate::{Certificate, Scope, relative_gap};
use crate::data::{Dataset, Scaling};
use crate::fit::{Model, positive_lambda_max, prepare};
use crate::formulation::objective;
use crate::global::{Global, Neurons};
use crate::linalg::Mat;
use crate::network::{Bias, Network};
use crate::optimal_set::{beta_estimate, unit_features};
use crate::options::{Activation, Effort, Lambda, LossKind, Options, PatternChoice};
use crate::pricing::Candidate;
use crate::solver::{Deadline, Observer, Status};
use crate::stationarity::{Stationarity, StationarityOptions, network_stationarity};
use crate::{Error, Result};
use check::{check, choose_lambda, imbalance};
use proposal::propose;
use solve::{Task, improved};
use std::time::{Duration, Instant};
use tidy::{Tidied, select, sizeable, tidy};

/// Random starts of the search for the neuron to add first.
const STARTS: usize = 256;
/// Neurons smaller than this share of the largest are left out of the stationarity verdict.
const NEGLIGIBLE: f64 = 1e-5;
/// The weight decay that a network was trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AuditLambda {
    /// This value (mean-loss convention).
    Absolute(f64),
    /// This share of the λ at which the constant network is optimal.
    Fraction(f64),
}

/// Everything that an audit depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditOptions {
    /// The loss that was minimised.
    pub loss: LossKind,
    /// Hidden bias, and whether weight decay acts on it.
    pub bias: Bias,
    /// The features on which weight decay is measured.
    pub scaling: Scaling,
    /// Whether there is a (never penalised) output bias.
    pub output_bias: bool,
    /// λ; `None`: the one at which the network is closest to stationary.
    pub lambda: Option<AuditLambda>,
    /// Work allowed for the proof.
    pub effort: Effort,
    /// Relative gap at which the network counts as globally optimal.
    pub tolerance: f64,
    /// Wall-clock limit.
    pub time_limit: Option<Duration>,
    /// Whether to return the better network as a model.
    pub improve: bool,
    /// What counts as stationary: looser than for networks that are solved for.
    pub stationarity: StationarityOptions,
}

impl AuditOptions {
    /// Penalised hidden biases and a free output bias, λ estimated, gap 1e-4.
    pub fn new(loss: LossKind, scaling: Scaling) -> Self {
        Self {
            loss,
            bias: Bias::Penalised,
            scaling,
            output_bias: true,
            lambda: None,
            effort: Effort::Auto,
            tolerance: 1e-4,
            time_limit: None,
            improve: false,
            stationarity: StationarityOptions {
                residual: 1e-2,
                tie: 1e-4,
                balance: 1e-2,
                ties: 10,
            },
        }
    }

    /// The options of a fit over all networks with the same objective.
    fn fit(&self, lambda: f64) -> Options {
        Options {
            activation: Activation::Relu,
            loss: self.loss,
            lambda: Lambda::Absolute(lambda),
            patterns: PatternChoice::Generated(self.effort),
            bias: self.bias,
            output_bias: self.output_bias,
            standardize: self.scaling != Scaling::identity(self.scaling.mean.len()),
            tolerance: self.tolerance,
            time_limit: self.time_limit,
            ..Options::default()
        }
    }
}

/// The verdict on a network.
#[derive(Debug, Clone)]
pub struct Audit {
    /// λ of the objective (mean-loss convention).
    pub lambda: f64,
    /// True if nobody gave λ and it is [`Audit::estimate`].
    pub lambda_estimated: bool,
    /// ⟨ν, f⟩ / Σ‖w_j‖|a_j|, the λ at which the network is closest to stationary (negative or
    /// `None` if there is none).
    pub estimate: Option<f64>,
    /// The smallest λ at which the constant network is optimal, as far as search found it.
    pub lambda_max: f64,
    /// Objective of the network as given, and the lower bound over all networks of any width.
    pub certificate: Certificate,
    /// The lower bound that the network's own residual gives, if it was asked for one.
    pub own_lower: Option<f64>,
    /// Objective after the free improvements: idle neurons dropped, neurons balanced, output bias
    /// refitted.
    pub tidied: f64,
    /// Neurons of the network given.
    pub neurons: usize,
    /// Those of them that are active on no sample or have no output.
    pub idle: usize,
    /// Largest |ρ(w) − |a||, relative, of the others as given.
    pub imbalance: f64,
    /// Verdict on the balanced neurons that are not negligible.
    pub stationarity: Stationarity,
    /// Those neurons by their place in the network given: the order of
    /// [`Stationarity::neurons`].
    pub checked: Vec<usize>,
    /// The neuron to add first, if one lowers the objective.
    pub proposal: Option<Proposal>,
    /// Objective of the best network found.
    pub best: f64,
    /// Neurons of that network.
    pub best_neurons: usize,
    /// Relative gap between it and the lower bound.
    pub best_gap: f64,
    /// Why training from the network stopped; certified where nothing was left to train.
    pub status: Status,
    /// The best network found with its own certificate, on request; never above the one given.
    pub improved: Option<Model>,
}

impl Audit {
    /// (objective − lower)/objective.
    pub fn relative_gap(&self) -> f64 {
        self.certificate.relative_gap()
    }

    /// The neuron with the largest residual of [`Audit::stationarity`], by its place in the
    /// network given.
    pub fn worst_neuron(&self) -> Option<usize> {
        self.stationarity.neuron.map(|k| self.checked[k])
    }
}

/// Audits `network` (on raw features) on the data that it was trained on.
///
/// The lower bound holds for every network of any width with the options' kind of biases, whatever
/// the search did; weight decay is λ/2 Σ(‖w_j‖² + a_j²) on the scaled features.
///
/// ```
/// use bidual::audit::{AuditLambda, AuditOptions, audit};
/// use bidual::{Dataset, LossKind, Mat, Network, Scaling, solver::silent};
/// let x = Mat::from_fn(40, 2, |i, j| ((i * (7 + 3 * j)) % 11) as f64 - 5.0);
/// let y = (0..40).map(|i| x[(i, 0)].abs() + 0.3 * x[(i, 1)]).collect();
/// let network = Network {
///     weights: Mat::from_fn(2, 2, |i, j| if i == 0 { 1.0 - 2.0 * j as f64 } else { 0.1 }),
///     biases: vec![0.0, 0.1],
///     outputs: vec![1.0, 1.0],
///     output_bias: 0.0,
///     gates: None,
/// };
/// let mut options = AuditOptions::new(LossKind::Squared, Scaling::identity(2));
/// options.lambda = Some(AuditLambda::Absolute(0.05));
/// let audit = audit(&network, &Dataset::new(x, y, None)?, &options, &mut silent())?;
/// assert!(audit.certificate.lower <= audit.best && audit.best <= audit.certificate.upper);
/// # Ok::<(), bidual::Error>(())
/// ```
pub fn audit(
    network: &Network,
    data: &Dataset,
    options: &AuditOptions,
    observer: &mut dyn Observer,
) -> Result<Audit> {
    let started = Instant::now();
    let given = check(network, data, options)?;
    let placeholder = options.fit(match options.lambda {
        Some(AuditLambda::Absolute(value)) => value,
        _ => 1.0,
    });
    let prepared = prepare(data, &placeholder, Some((&options.scaling, None)))?;
    let Some(global) = &prepared.global else {
        return Err(Error::Option("an audit is over all networks".into()));
    };
    let start = Start::new(given, &options.scaling.apply(&data.x), options.bias, global);
    let deadline = |share: f64| options.time_limit.map(|limit| started + limit.mul_f64(share));
    observer.stage("λ_max");
    let mut limited = Deadline { inner: observer, deadline: deadline(0.25) };
    let lambda_max = positive_lambda_max(data, &prepared, true, &mut limited)?;
    let lambda = choose_lambda(options, start.estimate, lambda_max)?;
    let fit = options.fit(lambda);
    fit.validate()?;

    let value = |network: &Network| {
        objective(network, data, &options.scaling, prepared.loss.as_ref(), lambda, options.bias)
    };
    let given = start.given.clone().fold(&options.scaling);
    let tidied = start.tidied.network.clone().fold(&options.scaling);
    let upper = value(&given);
    let after = value(&tidied).min(upper);
    let found = start.search(global);
    let task = Task { start: &start, found: &found, options, lambda, upper: after };
    observer.stage("solving");
    let mut limited = Deadline { inner: observer, deadline: deadline(1.0) };
    let solved = task.solve(global, data.samples(), &mut limited)?;

    let (checked, stationarity) = start.stationarity(lambda, options)?;
    let (lower, method) = (solved.solution.lower, solved.method);
    let mut audit = Audit {
        lambda,
        lambda_estimated: options.lambda.is_none(),
        estimate: start.estimate,
        lambda_max,
        certificate: Certificate { lower, upper, scope: Scope::Complete, method },
        own_lower: solved.own_lower,
        tidied: after,
        neurons: network.neurons(),
        idle: network.neurons() - start.tidied.origin.len(),
        imbalance: imbalance(&start.given, &start.tidied.origin, options.bias),
        stationarity,
        checked,
        proposal: found
            .first()
            .map(|dearest| propose(global, dearest, &start.f, lambda, &options.scaling))
            .filter(|p| p.price > lambda * (1.0 + 1e-6) && p.decrease > 1e-12 * upper.abs()),
        best: solved.solution.upper.min(after),
        best_neurons: solved.solution.z.columns.len(),
        best_gap: 0.0,
        status: solved.solution.status,
        improved: None,
    };
    if options.improve {
        let lambdas = (lambda, lambda_max);
        let model = improved(data, &fit, &prepared, solved, lambdas, &[tidied, given])?;
        (audit.best, audit.best_neurons) = (model.certificate.upper, model.network.neurons());
        audit.improved = Some(model);
    }
    audit.best_gap = relative_gap(lower, audit.best);
    Ok(audit)
}

/// The network on scaled features, and what follows from it without λ.
struct Start {
    given: Network,
    tidied: Tidied,
    /// Neurons of the tidied network, and their outputs.
    neurons: Neurons,
    f: Vec<f64>,
    nu: Vec<f64>,
    estimate: Option<f64>,
    x: Mat,
}

impl Start {
    fn new(given: Network, x: &Mat, bias: Bias, global: &Global) -> Self {
        let tidied = tidy(&given, x, bias, &global.oracle().gauge(), global.loss());
        let neurons = Neurons::of(&tidied.network, bias);
        let f = neurons.outputs(global.oracle().x());
        let nu = global.residual(&f);
        let (phi, sizes) = unit_features(&tidied.network, x, bias);
        let estimate = beta_estimate(&nu, &phi, &sizes);
        Self { given, tidied, neurons, f, nu, estimate, x: x.clone() }
    }

    /// Dear neurons at the network's own residual, the dearest first.
    fn search(&self, global: &Global) -> Vec<Candidate> {
        let directions = self.neurons.directions(&global.oracle().gauge());
        global.oracle().search(&self.nu, &directions, STARTS, 0, 0.0)
    }

    /// The neurons that are not negligible, by their place in the network given, and the verdict
    /// on them.
    fn stationarity(
        &self,
        lambda: f64,
        options: &AuditOptions,
    ) -> Result<(Vec<usize>, Stationarity)> {
        let network = &self.tidied.network;
        let sizeable = sizeable(network, options.bias, NEGLIGIBLE);
        let (kept, limits) = (select(network, &sizeable), options.stationarity);
        let found = network_stationarity(&kept, &self.x, &self.nu, lambda, options.bias, limits)?;
        Ok((sizeable.iter().map(|&k| self.tidied.origin[k]).collect(), found))
    }
}
