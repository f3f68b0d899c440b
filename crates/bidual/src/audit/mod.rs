//! How far a network that another program trained is from the best network of any width.
//!
//! The objective of the network is an upper bound on the optimum, and any dual vector ν gives a
//! lower one. The network's own residual ν = −∇F is a poor dual vector unless training has
//! converged. So training goes on from the network, over all networks, and the residual of what
//! is found is proved too: that bound is about all networks as well, the one given among them.

mod proposal;
mod tidy;

pub use proposal::Proposal;

use crate::certificate::{Certificate, Method, Scope, relative_gap};
use crate::data::{Dataset, Scaling};
use crate::fit::{Model, Prepared, finish, positive_lambda_max, prepare};
use crate::formulation::objective;
use crate::global::{Global, Neurons, Target};
use crate::linalg::column;
use crate::network::{Bias, Network};
use crate::optimal_set::{beta_estimate, unit_features};
use crate::options::{Activation, Effort, Lambda, LossKind, Options, PatternChoice};
use crate::pricing::{Bracket, Candidate, Goal};
use crate::solver::{Deadline, Observer, Progress, Solution, Status};
use crate::stationarity::{Stationarity, StationarityOptions, network_stationarity};
use crate::{Error, Result};
use std::time::{Duration, Instant};
use tidy::{select, sizeable, tidy};

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
    let mut given = check(network, data, options)?;
    let placeholder = options.fit(match options.lambda {
        Some(AuditLambda::Absolute(value)) => value,
        _ => 1.0,
    });
    let prepared = prepare(data, &placeholder, Some((&options.scaling, None)))?;
    let Some(global) = &prepared.global else {
        return Err(Error::Option("an audit is over all networks".into()));
    };
    let x = options.scaling.apply(&data.x);
    settle_biases(&mut given, network, options)?;
    let gauge = global.oracle().gauge();
    let tidied = tidy(&given, &x, options.bias, &gauge, global.loss());
    let neurons = Neurons::of(&tidied.network, options.bias);
    let f = neurons.outputs(global.oracle().x());
    let nu = global.residual(&f);
    let (phi, sizes) = unit_features(&tidied.network, &x, options.bias);
    let estimate = beta_estimate(&nu, &phi, &sizes);

    observer.stage("λ_max");
    let deadline = |share: f64| options.time_limit.map(|limit| started + limit.mul_f64(share));
    let mut limited = Deadline { inner: observer, deadline: deadline(0.25) };
    let lambda_max = positive_lambda_max(data, &prepared, &mut limited)?;
    let lambda = choose_lambda(options, estimate, lambda_max)?;
    let fit = options.fit(lambda);
    fit.validate()?;

    observer.stage("solving");
    let mut limited = Deadline { inner: observer, deadline: deadline(1.0) };
    let value = |network: &Network| {
        objective(network, data, &options.scaling, prepared.loss.as_ref(), lambda, options.bias)
    };
    let unfolded = given.clone().fold(&options.scaling);
    let upper = value(&unfolded);
    let own =
        Own { neurons: &neurons, nu: &nu, upper: upper.min(global.objective(&neurons, lambda)) };
    let found = own.search(global);
    let searched = Searched { own, found: &found, options, lambda };
    let solved = searched.solve(global, data.samples(), &mut limited)?;

    let sizeable = sizeable(&tidied.network, options.bias, NEGLIGIBLE);
    let stationarity = network_stationarity(
        &select(&tidied.network, &sizeable),
        &x,
        &nu,
        lambda,
        options.bias,
        options.stationarity,
    )?;
    let proposal = found
        .first()
        .map(|dearest| proposal::propose(global, dearest, &f, lambda, &options.scaling))
        .filter(|p| p.price > lambda * (1.0 + 1e-6) && p.decrease > 1e-12 * upper.abs());
    let folded = tidied.network.clone().fold(&options.scaling);
    let after = value(&folded).min(upper);
    let (lower, method) = (solved.lower, solved.method);
    let mut audit = Audit {
        lambda,
        lambda_estimated: options.lambda.is_none(),
        estimate,
        lambda_max,
        certificate: Certificate { lower, upper, scope: Scope::Complete, method },
        own_lower: solved.own_lower,
        tidied: after,
        neurons: network.neurons(),
        idle: network.neurons() - tidied.origin.len(),
        imbalance: imbalance(&given, &tidied.origin, options.bias),
        stationarity,
        checked: sizeable.iter().map(|&k| tidied.origin[k]).collect(),
        proposal,
        best: solved.solution.upper.min(after),
        best_neurons: solved.solution.z.columns.len(),
        best_gap: 0.0,
        status: solved.solution.status,
        improved: None,
    };
    if options.improve {
        let alternatives = [folded, unfolded];
        let model = improved(data, &fit, &prepared, solved, (lambda, lambda_max), &alternatives)?;
        (audit.best, audit.best_neurons) = (model.certificate.upper, model.network.neurons());
        audit.improved = Some(model);
    }
    audit.best_gap = relative_gap(lower, audit.best);
    Ok(audit)
}

/// The network on scaled features, if it is one that the options are about.
fn check(network: &Network, data: &Dataset, options: &AuditOptions) -> Result<Network> {
    if network.gates.is_some() {
        return Err(Error::Option("only ReLU networks can be audited".into()));
    }
    let (d, features) = (network.inputs(), data.features());
    if d != features || options.scaling.mean.len() != d {
        return Err(Error::Data(format!(
            "the network takes {d} features, the scaling {}, and the data have {features}: give the data that the network was trained on",
            options.scaling.mean.len()
        )));
    }
    let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
    let columns = (0..network.neurons()).all(|j| finite(column(&network.weights, j)));
    if !(columns
        && finite(&network.biases)
        && finite(&network.outputs)
        && network.output_bias.is_finite())
    {
        return Err(Error::Data(
            "the network has weights that are not finite: it has diverged".into(),
        ));
    }
    if !options.output_bias && network.output_bias != 0.0 {
        return Err(Error::Option(format!(
            "the network has the output bias {}: audit it with one",
            network.output_bias
        )));
    }
    Ok(network.clone().unfold(&options.scaling))
}

/// Without hidden biases those on scaled features must vanish: up to rounding they are set to 0.
fn settle_biases(given: &mut Network, raw: &Network, options: &AuditOptions) -> Result<()> {
    if options.bias != Bias::None {
        return Ok(());
    }
    if !raw.has_no_hidden_biases(&options.scaling) {
        return Err(Error::Option(
            "the network has hidden biases where weight decay is measured: audit it with penalised or free ones, or on features that are not centred"
                .into(),
        ));
    }
    given.biases.fill(0.0);
    Ok(())
}

fn choose_lambda(options: &AuditOptions, estimate: Option<f64>, lambda_max: f64) -> Result<f64> {
    match (options.lambda, estimate) {
        (Some(AuditLambda::Absolute(value)), _) => Ok(value),
        (Some(AuditLambda::Fraction(share)), _) => Ok(share * lambda_max),
        (None, Some(value)) if value > 1e-12 * lambda_max => Ok(value),
        (None, Some(value)) => Err(Error::Option(format!(
            "the network is closest to stationary at λ = {value:.3e}, which is not positive: it was trained without weight decay, or is far from converged; give λ"
        ))),
        (None, None) => Err(Error::Option(
            "no neuron of the network is active on the data, so no λ can be read off it: give λ"
                .into(),
        )),
    }
}

/// Largest |ρ(w) − |a|| of the listed neurons, relative to the larger of the two.
fn imbalance(network: &Network, neurons: &[usize], bias: Bias) -> f64 {
    let of = |&j: &usize| {
        let w = column(&network.weights, j);
        let (rho, a) =
            (crate::optimal_set::gauge(w, network.biases[j], bias), network.outputs[j].abs());
        (rho - a).abs() / rho.max(a)
    };
    neurons.iter().map(of).fold(0.0, f64::max)
}

/// The neurons of the network, their residual and the best objective known for them.
struct Own<'a> {
    neurons: &'a Neurons,
    nu: &'a [f64],
    upper: f64,
}

impl Own<'_> {
    /// Dear neurons at the network's own residual.
    fn search(&self, global: &Global) -> Vec<Candidate> {
        let directions = self.neurons.directions(&global.oracle().gauge());
        global.oracle().search(self.nu, &directions, STARTS, 0, 0.0)
    }
}

/// What is known before training goes on.
struct Searched<'a> {
    own: Own<'a>,
    found: &'a [Candidate],
    options: &'a AuditOptions,
    lambda: f64,
}

/// The result of training on, with the better of two bounds.
struct Solved {
    solution: Solution,
    method: Method,
    lower: f64,
    own_lower: Option<f64>,
}

impl Searched<'_> {
    /// Proves the network's own residual where that can be enough, trains on from the network
    /// otherwise, and keeps the better bound.
    fn solve(&self, global: &Global, rows: usize, observer: &mut dyn Observer) -> Result<Solved> {
        let (lambda, tolerance) = (self.lambda, self.options.tolerance);
        let kappa = self.found.first().map_or(lambda, |c| c.value);
        // κ(ν) ≥ kappa: the own residual cannot prove more
        let hope = global.lower_bound(self.own.nu, kappa, lambda);
        let mut own = None;
        if relative_gap(hope, self.own.upper) <= 0.9 * tolerance {
            observer.stage("proving over all networks");
            let wanted = self.own.upper * (1.0 - 0.95 * tolerance);
            let (lower, method) = self.prove(global, rows, wanted, observer);
            if relative_gap(lower, self.own.upper) <= tolerance {
                return Ok(self.without_training(global, lower, method));
            }
            own = Some((lower, method));
            observer.stage("solving");
        }
        let target = Target {
            lambda,
            // a little below the tolerance: the network is evaluated anew from its weights
            tolerance: 0.7 * tolerance,
            budget: Some(self.options.effort.budget(rows)),
            max_rounds: usize::MAX,
        };
        let solved = global.solve(&target, Some(self.own.neurons), observer)?;
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
            lower: solved.lower,
            own_lower: None,
        };
        if own.is_none() && hope > solved.lower && !solved.status.is_early() {
            let wanted = hope - 0.05 * (self.own.upper - hope);
            own = Some(self.prove(global, rows, wanted, observer));
        }
        result.own_lower = own.map(|o| o.0);
        if let Some((lower, method)) = own.filter(|o| o.0 > result.lower) {
            (result.lower, result.method) = (lower, method);
            (result.solution.lower, result.solution.nu) = (lower, self.own.nu.to_vec());
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
    ) -> (f64, Method) {
        let (nu, lambda) = (self.own.nu, self.lambda);
        let goal = Goal { target: global.target(nu, wanted, lambda), tolerance: 1e-9 };
        let starts: Vec<(Vec<f64>, bool)> =
            self.found.iter().map(|c| (c.direction.clone(), c.negative)).collect();
        let go_on = &mut |bracket: &Bracket| {
            let lower = global.lower_bound(nu, bracket.upper, lambda);
            let (upper, active) = (self.own.upper, self.own.neurons.len());
            let progress = Progress { iteration: 0, upper, lower, active };
            observer.observe(&progress).is_continue()
        };
        let budget = self.options.effort.budget(rows);
        let proof = global.oracle().prove(nu, &goal, &budget, &starts, go_on);
        (global.lower_bound(nu, proof.upper, lambda), proof.method)
    }

    /// The network itself, whose own residual is proof enough.
    fn without_training(&self, global: &Global, lower: f64, method: Method) -> Solved {
        let solution = Solution {
            z: self.own.neurons.to_columns(),
            nu: self.own.nu.to_vec(),
            upper: global.objective(self.own.neurons, self.lambda),
            lower,
            status: Status::Certified,
            iterations: 0,
        };
        Solved { solution, method, lower, own_lower: Some(lower) }
    }
}

/// The solved network as a model, or one of `alternatives` (on raw features) if rounding or
/// pruning made that the better one.
fn improved(
    data: &Dataset,
    options: &Options,
    prepared: &Prepared,
    solved: Solved,
    lambdas: (f64, f64),
    alternatives: &[Network],
) -> Result<Model> {
    let Solved { solution, method, .. } = solved;
    let mut model = finish(data, options, prepared, (solution, method), lambdas, None)?;
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
