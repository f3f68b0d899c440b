//! From a data set to a certified network: options, `fit`, `certify`.

use crate::arrangement::{Arrangement, Share, centre_thresholds, sample_gates};
use crate::certificate::{Certificate, Scope, relative_gap};
use crate::data::{Dataset, Scaling};
use crate::formulation::{Formulation, GatedRelu, Relu, objective, with_ones};
use crate::linalg::Mat;
use crate::loss::{Huber, Logistic, Loss, Squared, SquaredHinge, WithIntercept};
use crate::network::{Bias, Gates, Network};
use crate::path::{CrossValidation, cross_validate};
use crate::solver::{ColumnGeneration, Deadline, Observer, Solution, Solver, Staged, Status};
use crate::{Error, Program, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which network is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// ReLU neurons: the exact cone-constrained program.
    Relu,
    /// Fixed gates with free weights: a group lasso.
    Gated,
}

/// Which loss; always the mean over samples (weights divided by their sum).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossKind {
    /// ½(f − y)².
    Squared,
    /// ½(f − y)² up to |f − y| = δ, linear beyond.
    Huber(f64),
    /// log(1 + e^{−yf}), labels ±1.
    Logistic,
    /// ½(1 − yf)₊², labels ±1.
    SquaredHinge,
}

impl LossKind {
    /// True for losses on labels ±1.
    pub fn is_classification(self) -> bool {
        matches!(self, LossKind::Logistic | LossKind::SquaredHinge)
    }

    /// The loss on given targets and weights (used as they are).
    pub fn build(self, y: &[f64], weights: Vec<f64>) -> Result<Arc<dyn Loss>> {
        let (y, weights) = (y.to_vec(), Some(weights));
        Ok(match self {
            LossKind::Squared => Arc::new(Squared::new(y, weights)?),
            LossKind::Huber(delta) => Arc::new(Huber::new(y, delta, weights)?),
            LossKind::Logistic => Arc::new(Logistic::new(y, weights)?),
            LossKind::SquaredHinge => Arc::new(SquaredHinge::new(y, weights)?),
        })
    }
}

/// How λ is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lambda {
    /// This share of λ_max.
    Fraction(f64),
    /// This value.
    Absolute(f64),
    /// The best of a path under K-fold cross-validation.
    CrossValidated,
}

/// Which activation patterns or gates are used.
#[derive(Debug, Clone, PartialEq)]
pub enum PatternChoice {
    /// So many Gaussian directions (duplicates and the zero pattern are removed).
    Sampled(usize),
    /// Every open cell, at most so many: the certificate then covers all networks.
    All(usize),
    /// Gates on raw features.
    Given(Gates),
}

/// Everything that a fit depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which network is trained.
    pub activation: Activation,
    /// Which loss.
    pub loss: LossKind,
    /// How λ is chosen.
    pub lambda: Lambda,
    /// Which patterns are used.
    pub patterns: PatternChoice,
    /// Share of the samples on which each sampled gate is active (needs a hidden bias for ReLU).
    pub active_share: Option<f64>,
    /// Hidden bias.
    pub bias: Bias,
    /// Output bias (never penalised).
    pub output_bias: bool,
    /// Standardise the features inside the fit; the network takes raw features all the same.
    pub standardize: bool,
    /// Seed of sampled gates and of the folds of cross-validation.
    pub seed: u64,
    /// Relative gap (upper − lower)/upper at which a fit counts as certified.
    pub tolerance: f64,
    /// Iterations at most (Newton steps or proximal steps).
    pub max_iterations: usize,
    /// Wall-clock limit of the whole fit, cross-validation included (at most half of it).
    pub time_limit: Option<Duration>,
    /// Folds of cross-validation.
    pub folds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            activation: Activation::Relu,
            loss: LossKind::Squared,
            lambda: Lambda::CrossValidated,
            patterns: PatternChoice::Sampled(500),
            active_share: None,
            bias: Bias::Penalised,
            output_bias: true,
            standardize: true,
            seed: 0,
            tolerance: 1e-6,
            max_iterations: 100_000,
            time_limit: None,
            folds: 5,
        }
    }
}

impl Options {
    /// Checks every value that does not depend on data.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: &str, expected: &str, found: String| {
            Err(Error::Option(format!("{what} must be {expected}, found {found}")))
        };
        match self.lambda {
            Lambda::Fraction(v) if !(v > 0.0 && v.is_finite()) => {
                return bad("the fraction of λ_max", "positive", v.to_string());
            }
            Lambda::Absolute(v) if !(v > 0.0 && v.is_finite()) => {
                return bad("λ", "positive", v.to_string());
            }
            _ => {}
        }
        if let LossKind::Huber(delta) = self.loss
            && !(delta > 0.0 && delta.is_finite())
        {
            return bad("the Huber threshold δ", "positive", delta.to_string());
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            return bad("the tolerance", "between 0 and 1", self.tolerance.to_string());
        }
        if self.max_iterations == 0 {
            return bad("the iteration limit", "at least 1", "0".into());
        }
        if self.folds < 2 {
            return bad("the number of folds", "at least 2", self.folds.to_string());
        }
        match (&self.patterns, self.active_share) {
            (PatternChoice::Sampled(0), _) => {
                return bad("the number of patterns", "at least 1", "0".into());
            }
            (PatternChoice::Sampled(_), _) | (_, None) => {}
            _ => {
                return Err(Error::Option(
                    "an active share applies to sampled patterns only: drop one of the two".into(),
                ));
            }
        }
        if self.active_share.is_some()
            && self.activation == Activation::Relu
            && self.bias == Bias::None
        {
            return Err(Error::Option(
                "patterns with a given active share are cells only with a hidden bias: use a penalised or free bias"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// A data set made ready for one formulation: scaled, arranged, with its loss.
pub struct Prepared {
    /// The program and its networks.
    pub formulation: Box<dyn Formulation>,
    /// Raw ↔ scaled features.
    pub scaling: Scaling,
    /// Gates of the patterns on scaled features (none when all cells are listed).
    pub gates: Option<Gates>,
    /// The loss without intercept.
    pub loss: Arc<dyn Loss>,
    /// Number of patterns in play.
    pub patterns: usize,
}

impl Prepared {
    fn certificate(&self, lower: f64, upper: f64) -> Certificate {
        let (scope, method) = (self.formulation.scope(), self.formulation.method());
        Certificate { lower, upper, scope, method }
    }
}

/// Scales `data`, lists the patterns and builds the formulation. `fixed` reuses
/// the scaling and the (scaled) gates of a stored model.
pub fn prepare(
    data: &Dataset,
    options: &Options,
    fixed: Option<(&Scaling, Option<&Gates>)>,
) -> Result<Prepared> {
    options.validate()?;
    let weights = data.normalised_weights();
    let scaling = match fixed {
        Some((scaling, _)) => scaling.clone(),
        None if options.standardize => Scaling::standard(&data.x, &weights),
        None => Scaling::identity(data.features()),
    };
    if scaling.mean.len() != data.features() {
        return Err(Error::Data(format!(
            "the model was fitted on {} features, the data have {}",
            scaling.mean.len(),
            data.features()
        )));
    }
    let x = Arc::new(scaling.apply(&data.x));
    let loss = options.loss.build(&data.y, weights)?;
    let arrangement = arrange(&x, &data.x, options, &scaling, fixed.and_then(|f| f.1))?;
    let profiled: Arc<dyn Loss> = if options.output_bias {
        Arc::new(WithIntercept::new(loss.clone())?)
    } else {
        loss.clone()
    };
    let (gates, patterns) = (arrangement.gates.clone(), arrangement.len());
    let formulation: Box<dyn Formulation> = match options.activation {
        Activation::Relu => Box::new(Relu::new(x, profiled, arrangement, options.bias)?),
        Activation::Gated => Box::new(GatedRelu::new(x, profiled, arrangement, options.bias)?),
    };
    Ok(Prepared { formulation, scaling, gates, loss, patterns })
}

fn arrange(
    x: &Mat,
    raw_x: &Mat,
    options: &Options,
    scaling: &Scaling,
    gates: Option<&Gates>,
) -> Result<Arrangement> {
    let arrangement = match (&options.patterns, gates) {
        (PatternChoice::All(limit), _) if options.activation == Activation::Relu => {
            let ones = (options.bias != Bias::None).then(|| with_ones(x));
            Arrangement::all_cells(ones.as_ref().unwrap_or(x), *limit)
        }
        (_, Some(gates)) => Arrangement::from_gates(x, gates),
        (PatternChoice::All(_), None) => Err(Error::Option(
            "a gated network needs gates that can be evaluated on new data: sample or give them"
                .into(),
        )),
        (PatternChoice::Given(raw), None) => {
            let mut gates = raw.clone();
            if gates.directions.nrows() != x.ncols() {
                return Err(Error::Option(format!(
                    "the given gates have {} entries, the data have {} features: give one entry per feature",
                    gates.directions.nrows(),
                    x.ncols()
                )));
            }
            let central = options.activation == Activation::Relu && options.bias == Bias::None;
            if central && let Some(t) = gates.thresholds.iter().find(|t| **t != 0.0) {
                return Err(Error::Option(format!(
                    "a gate has the threshold {t}, but without a hidden bias the patterns of ReLU neurons have none: set the thresholds to 0 or use a hidden bias"
                )));
            }
            if !central {
                // decided on the raw features, where the network evaluates them
                centre_thresholds(raw_x, &mut gates, |sorted, t| {
                    sorted.partition_point(|v| *v < t)
                });
            }
            for k in 0..gates.thresholds.len() {
                let mut offset = 0.0;
                scaling.unfold(gates.directions.col_as_slice_mut(k), &mut offset);
                gates.thresholds[k] = if central { 0.0 } else { gates.thresholds[k] - offset };
            }
            Arrangement::from_gates(x, &gates)
        }
        (PatternChoice::Sampled(count), None) => {
            let share = match (options.active_share, options.bias) {
                (Some(q), _) => Share::Quantile(q),
                (None, Bias::None) => Share::Central,
                (None, _) => Share::Biased,
            };
            let centred = options.activation == Activation::Gated;
            Arrangement::from_gates(x, &sample_gates(x, *count, options.seed, share, centred)?)
        }
    }?;
    if arrangement.is_empty() {
        return Err(Error::Data(
            "no neuron can be active on any sample: every feature is constant; check the data or use a hidden bias"
                .into(),
        ));
    }
    Ok(arrangement)
}

/// A fitted network with its proof.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network on raw features.
    pub network: Network,
    /// The options of the fit.
    pub options: Options,
    /// λ in force (mean-loss convention).
    pub lambda: f64,
    /// The smallest λ at which the zero network is optimal, for this program.
    pub lambda_max: f64,
    /// lower ≤ optimum ≤ upper and its scope.
    pub certificate: Certificate,
    /// The dual vector that proves `lower`, one entry a sample.
    pub dual: Vec<f64>,
    /// Why the solver stopped.
    pub status: Status,
    /// Iterations of the final solve.
    pub iterations: usize,
    /// Raw ↔ scaled features.
    pub scaling: Scaling,
    /// Gates behind the patterns, on scaled features.
    pub gates: Option<Gates>,
    /// Number of patterns in play.
    pub patterns: usize,
    /// The path that chose λ, if it was cross-validated.
    pub cross_validation: Option<CrossValidation>,
}

/// The solver for a program: column generation where there are cones, FISTA
/// with a second-order finish otherwise.
pub fn default_solver(program: &Program, tolerance: f64, max_iterations: usize) -> Box<dyn Solver> {
    if program.constraint.is_some() {
        Box::new(ColumnGeneration { tolerance, max_iterations, ..Default::default() })
    } else {
        Box::new(Staged { tolerance, max_iterations, ..Default::default() })
    }
}

/// Trains a network on `data` and proves how good it is.
///
/// ```
/// use bidual::{Dataset, Lambda, Mat, Options, fit, solver::silent};
/// let x = Mat::from_fn(40, 2, |i, j| ((i * (7 + 3 * j)) % 11) as f64 - 5.0);
/// let y = (0..40).map(|i| x[(i, 0)].abs() + 0.3 * x[(i, 1)]).collect();
/// let options = Options { lambda: Lambda::Fraction(0.05), ..Options::default() };
/// let model = fit(&Dataset::new(x, y, None)?, &options, &mut silent())?;
/// assert!(model.certificate.relative_gap() <= 1e-6);
/// # Ok::<(), bidual::Error>(())
/// ```
pub fn fit(data: &Dataset, options: &Options, observer: &mut dyn Observer) -> Result<Model> {
    let started = Instant::now();
    let prepared = prepare(data, options, None)?;
    let lambda_max = positive_lambda_max(data, &prepared)?;
    let deadline = |share: f64| options.time_limit.map(|limit| started + limit.mul_f64(share));
    let (lambda, cross_validation) = match options.lambda {
        Lambda::Absolute(value) => (value, None),
        Lambda::Fraction(fraction) => (fraction * lambda_max, None),
        Lambda::CrossValidated => {
            let mut limited = Deadline { inner: observer, deadline: deadline(0.5) };
            let validation = cross_validate(data, options, lambda_max, &mut limited)?;
            (validation.best_lambda(), Some(validation))
        }
    };
    observer.stage("solving");
    let program = prepared.formulation.program(lambda);
    // a little below the tolerance: the network is evaluated anew from its weights
    let solver = default_solver(&program, 0.7 * options.tolerance, options.max_iterations);
    let mut limited = Deadline { inner: observer, deadline: deadline(1.0) };
    let solution = solver.solve(&program, None, &mut limited)?;
    finish(data, options, &prepared, solution, (lambda, lambda_max), cross_validation)
}

/// λ_max, refused where nothing can be learnt.
pub(crate) fn positive_lambda_max(data: &Dataset, prepared: &Prepared) -> Result<f64> {
    let constant = data.y.first().filter(|y| data.y.iter().all(|v| v == *y));
    if let Some(found) =
        constant.filter(|_| prepared.formulation.program(0.0).loss.as_intercept().is_some())
    {
        return Err(Error::Data(format!(
            "every target is {found}: there is nothing to learn; check the target column"
        )));
    }
    let program = prepared.formulation.program(0.0);
    let lambda_max = program.lambda_max();
    // a λ_max of the size of its own rounding is zero
    let residual = program.residual(&vec![0.0; data.samples()]);
    if lambda_max <= 10.0 * program.operator.adjoint_rounding(&residual) {
        return Err(Error::Data(
            "λ_max is 0: the residual is orthogonal to every neuron, so no network improves on the constant; check features and targets"
                .into(),
        ));
    }
    Ok(lambda_max)
}

/// Recovers, folds and certifies the network of a solution.
pub(crate) fn finish(
    data: &Dataset,
    options: &Options,
    prepared: &Prepared,
    solution: Solution,
    (lambda, lambda_max): (f64, f64),
    cross_validation: Option<CrossValidation>,
) -> Result<Model> {
    let network = prepared.formulation.recover(&solution.z).fold(&prepared.scaling);
    let (certificate, dual) = if solution.status.is_early() {
        // no time to price everything anew: the solver has proved its own bound
        let upper = objective(
            &network,
            data,
            &prepared.scaling,
            prepared.loss.as_ref(),
            lambda,
            options.bias,
        );
        (prepared.certificate(solution.lower, upper), solution.nu)
    } else {
        certify_prepared(data, options, prepared, &network, lambda, Some(&solution.nu))
    };
    let status = match solution.status {
        _ if certificate.relative_gap() <= options.tolerance => Status::Certified,
        Status::Certified => Status::Stalled,
        other => other,
    };
    Ok(Model {
        network,
        options: options.clone(),
        lambda,
        lambda_max,
        certificate,
        dual,
        status,
        iterations: solution.iterations,
        scaling: prepared.scaling.clone(),
        gates: prepared.gates.clone(),
        patterns: prepared.patterns,
        cross_validation,
    })
}

/// Recomputes the certificate of `network` from its weights: the objective, and
/// the best lower bound of its own residual and of the stored dual vector.
fn certify_prepared(
    data: &Dataset,
    options: &Options,
    prepared: &Prepared,
    network: &Network,
    lambda: f64,
    dual: Option<&[f64]>,
) -> (Certificate, Vec<f64>) {
    let loss = prepared.loss.as_ref();
    let upper = objective(network, data, &prepared.scaling, loss, lambda, options.bias);
    let program = prepared.formulation.program(lambda);
    let bound = |nu: Vec<f64>| {
        let prices = program.price(&nu, lambda, &mut program.multipliers());
        (program.lower_bound(&nu, prices.kappa()), nu)
    };
    let stored = dual.filter(|d| d.len() == data.samples()).map(|d| {
        let mut nu = d.to_vec();
        program.loss.clip_dual(&mut nu);
        bound(nu)
    });
    // the stored dual vector is the proof; the network's own residual is asked if that fails
    let best = match stored {
        Some(best) if relative_gap(best.0, upper) <= options.tolerance => best,
        stored => {
            let own = bound(program.residual(&network.predict(&data.x)));
            stored.filter(|s| s.0 >= own.0).unwrap_or(own)
        }
    };
    (prepared.certificate(best.0, upper), best.1)
}

/// Recomputes objective and certificate of a fitted model on `data` (the data
/// of the fit, or others: then the statement is about those).
pub fn certify(model: &Model, data: &Dataset) -> Result<Certificate> {
    let prepared = prepare(data, &model.options, Some((&model.scaling, model.gates.as_ref())))?;
    let dual = Some(model.dual.as_slice());
    Ok(certify_prepared(data, &model.options, &prepared, &model.network, model.lambda, dual).0)
}

impl Model {
    /// f(x) on raw features.
    pub fn predict(&self, x: &Mat) -> Vec<f64> {
        self.network.predict(x)
    }

    /// True if the lower bound covers all networks of any width.
    pub fn is_global(&self) -> bool {
        self.certificate.scope == Scope::Complete
    }
}
