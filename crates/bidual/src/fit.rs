//! From a data set to a certified network: options, `fit`, `certify`.

use crate::arrangement::{Arrangement, Patterns, Share, centre_thresholds, sample_gates};
use crate::certificate::{Certificate, Method, Scope};
use crate::certify::certify_prepared;
use crate::choice::{self, Choose, Selection};
use crate::data::{Dataset, Scaling};
use crate::formulation::{Formulation, GatedRelu, Relu, objective, with_ones};
use crate::global::{Global, Neurons, Target};
use crate::linalg::Mat;
use crate::loss::{Loss, WithIntercept};
use crate::network::{Bias, Gates, Network};
use crate::optimal_set::{DEPENDENT, KINK, merge_cells, prune_network};
use crate::options::{Activation, Lambda, Options, PatternChoice};
use crate::path::predict;
use crate::path::{CrossValidation, cross_validate};
use crate::pricing::Budget;
use crate::solver::{
    ColumnGeneration, Deadline, GroupNewton, Observer, Progress, Solution, Solver, SparseColumns,
    Status,
};
use crate::{Error, Program, Result};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

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
    /// Number of patterns listed (0 if they are generated).
    pub patterns: usize,
    /// The patterns that are listed.
    pub listed: Option<Arc<Patterns>>,
    /// Training and proofs over all networks, where patterns are generated.
    pub global: Option<Global>,
}

/// A solution with the proof of its bound.
pub(crate) struct Solved {
    pub solution: Solution,
    pub method: Method,
    /// Cones examined by proofs over all networks.
    pub cones: usize,
}

impl Prepared {
    pub(crate) fn certificate(&self, lower: f64, upper: f64) -> Certificate {
        let (scope, method) = (self.formulation.scope(), self.formulation.method());
        Certificate { lower, upper, scope, method }
    }

    /// Solves at λ to the relative gap `tolerance` from `start`; with generated
    /// patterns a proof over all networks is tried within `budget`, if there is one.
    pub(crate) fn solve(
        &self,
        lambda: f64,
        tolerance: f64,
        max_iterations: usize,
        budget: Option<Budget>,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solved> {
        let Some(global) = &self.global else {
            let program = self.formulation.program(lambda);
            let solver = default_solver(&program, tolerance, max_iterations);
            let solution = solver.solve(&program, start, observer)?;
            return Ok(Solved { solution, method: self.formulation.method(), cones: 0 });
        };
        let start = start.map(Neurons::from_columns);
        let target = Target { lambda, tolerance, budget, max_rounds: max_iterations };
        let solution = global.solve(&target, start.as_ref(), observer)?;
        let found = Solution {
            z: solution.neurons.to_columns(),
            nu: solution.nu,
            upper: solution.upper,
            lower: solution.lower,
            status: solution.status,
            iterations: solution.rounds,
        };
        Ok(Solved { solution: found, method: solution.method, cones: solution.cones })
    }

    /// A start at λ from the last two solutions of a path.
    pub(crate) fn start(
        &self,
        lambda: f64,
        solved: &[(f64, SparseColumns)],
    ) -> Option<SparseColumns> {
        let (_, last) = solved.last()?;
        if self.global.is_some() {
            // columns are neurons there, without names
            return Some(last.clone());
        }
        let solved: Vec<_> = solved.iter().map(|(lambda, z)| (*lambda, z)).collect();
        Some(predict(&self.formulation.program(lambda), &solved))
    }

    /// The smallest λ at which the constant network is optimal: exact over the
    /// listed patterns; over all networks the largest price found, which a proof
    /// confirms where it is wanted and the rank allows it.
    pub fn lambda_max(&self, proof: bool, observer: &mut dyn Observer) -> f64 {
        let Some(global) = &self.global else {
            return self.formulation.program(0.0).lambda_max();
        };
        let rows = global.oracle().x().nrows();
        let cones = if proof { (2e8 / (rows as f64 + 300.0)) as usize } else { 0 };
        let budget = Budget { cones, memory: 1 << 28 };
        let progress =
            Progress { iteration: 0, upper: f64::INFINITY, lower: f64::NEG_INFINITY, active: 0 };
        let go_on = &mut |_: &_| matches!(observer.observe(&progress), ControlFlow::Continue(()));
        global.lambda_max(1e-7, &budget, go_on).lower
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
    let generated = matches!(options.patterns, PatternChoice::Generated(_));
    let arrangement = if generated {
        let patterns = Arc::new(Patterns::new(data.samples()));
        Arrangement { patterns, gates: None, complete: true, cells: 0 }
    } else {
        arrange(&x, &data.x, options, &scaling, fixed.and_then(|f| f.1))?
    };
    let profiled: Arc<dyn Loss> = if options.output_bias {
        Arc::new(WithIntercept::new(loss.clone())?)
    } else {
        loss.clone()
    };
    let (gates, patterns) = (arrangement.gates.clone(), arrangement.len());
    let listed = (!generated).then(|| arrangement.patterns.clone());
    let (shared, outer) = (x.clone(), profiled.clone());
    let formulation: Box<dyn Formulation> = match options.activation {
        Activation::Relu => Box::new(Relu::new(x, profiled, arrangement, options.bias)?),
        Activation::Gated => Box::new(GatedRelu::new(x, profiled, arrangement, options.bias)?),
    };
    let global = generated.then(|| {
        let hidden_bias = options.bias != Bias::None;
        let features = if hidden_bias { Arc::new(with_ones(&shared)) } else { shared.clone() };
        let gauge = formulation.program(0.0).regularizer.gauge();
        Global::new(shared, features, gauge, outer, options.bias)
    });
    Ok(Prepared { formulation, scaling, gates, loss, patterns, listed, global })
}

fn arrange(
    x: &Mat,
    raw_x: &Mat,
    options: &Options,
    scaling: &Scaling,
    gates: Option<&Gates>,
) -> Result<Arrangement> {
    let arrangement = match (&options.patterns, gates) {
        (PatternChoice::Generated(_), _) => {
            Err(Error::Option("generated patterns are not listed".into()))
        }
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
    /// The smallest λ at which the zero network is optimal, for this program; over all networks and
    /// with an absolute λ the largest price that local search found, without a proof.
    pub lambda_max: f64,
    /// lower ≤ optimum ≤ upper and its scope.
    pub certificate: Certificate,
    /// The dual vector that proves `lower`, one entry a sample.
    pub dual: Vec<f64>,
    /// Why the solver stopped.
    pub status: Status,
    /// Iterations of the final solve (rounds of training over all networks).
    pub iterations: usize,
    /// Cones examined by the proofs over all networks, 0 without such proofs.
    pub cones: usize,
    /// Raw ↔ scaled features.
    pub scaling: Scaling,
    /// Gates behind the patterns, on scaled features.
    pub gates: Option<Gates>,
    /// Number of patterns in play.
    pub patterns: usize,
    /// The path that chose λ, if it was cross-validated.
    pub cross_validation: Option<CrossValidation>,
    /// How the network was chosen, unless it is just a narrow one.
    pub selection: Option<Selection>,
}

/// The solver for a program: column generation where there are cones, Newton's method on the
/// active groups otherwise.
pub fn default_solver(program: &Program, tolerance: f64, max_iterations: usize) -> Box<dyn Solver> {
    if program.constraint.is_some() {
        Box::new(ColumnGeneration { tolerance, max_iterations, ..Default::default() })
    } else {
        Box::new(GroupNewton { tolerance, max_iterations, ..Default::default() })
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
    fit_with_validation(data, None, options, observer)
}

/// [`fit`] with the data for [`Choose::Validation`], which nothing else uses.
pub fn fit_with_validation(
    data: &Dataset,
    validation: Option<&Dataset>,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Model> {
    let started = Instant::now();
    choice::check(options, data, validation)?;
    let prepared = prepare(data, options, None)?;
    let deadline = |share: f64| options.time_limit.map(|limit| started + limit.mul_f64(share));
    let lambda_max = {
        let mut limited = Deadline { inner: observer, deadline: deadline(0.5) };
        // a given λ needs no proof of λ_max
        let proof = !matches!(options.lambda, Lambda::Absolute(_));
        positive_lambda_max(data, &prepared, proof, &mut limited)?
    };
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
    let mut limited = Deadline { inner: observer, deadline: deadline(1.0) };
    let solved = prepared.solve(
        lambda,
        // a little below the tolerance: the network is evaluated anew from its weights
        0.7 * options.tolerance,
        options.max_iterations,
        options.proof_budget(data.samples()),
        None,
        &mut limited,
    )?;
    let lambdas = (lambda, lambda_max);
    finish(data, validation, options, &prepared, solved, lambdas, cross_validation)
}

/// λ_max, refused where nothing can be learnt.
pub(crate) fn positive_lambda_max(
    data: &Dataset,
    prepared: &Prepared,
    proof: bool,
    observer: &mut dyn Observer,
) -> Result<f64> {
    let constant = data.y.first().filter(|y| data.y.iter().all(|v| v == *y));
    if let Some(found) =
        constant.filter(|_| prepared.formulation.program(0.0).loss.as_intercept().is_some())
    {
        return Err(Error::Data(format!(
            "every target is {found}: there is nothing to learn; check the target column"
        )));
    }
    let program = prepared.formulation.program(0.0);
    let lambda_max = prepared.lambda_max(proof, observer);
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

/// Recovers, prunes, chooses, folds and certifies the network of a solution.
pub(crate) fn finish(
    data: &Dataset,
    validation: Option<&Dataset>,
    options: &Options,
    prepared: &Prepared,
    Solved { solution, method, cones }: Solved,
    (lambda, lambda_max): (f64, f64),
    cross_validation: Option<CrossValidation>,
) -> Result<Model> {
    let value = |network: &Network| {
        let (scaling, loss) = (&prepared.scaling, prepared.loss.as_ref());
        objective(network, data, scaling, loss, lambda, options.bias)
    };
    let recovered = prepared.formulation.recover(&solution.z);
    let mut narrow = recovered.clone();
    let mut network = recovered.clone().fold(&prepared.scaling);
    let mut upper = value(&network);
    // fewer neurons with the same outputs and no more weight decay
    let x = prepared.scaling.apply(&data.x);
    // the sum of two neurons may be on a pattern that is not listed, where the bound says nothing
    let all = prepared.global.is_some() || prepared.formulation.scope() == Scope::Complete;
    let merge = |network: &Network| merge_cells(network, &x, options.bias, KINK);
    let prune = |network: &Network| {
        prune_network(network, &x, options.bias, options.output_bias, DEPENDENT)
    };
    type Pass<'a> = &'a dyn Fn(&Network) -> Result<Network>;
    let passes: [Option<Pass<'_>>; 2] = [all.then_some(&merge), Some(&prune)];
    for pass in passes.into_iter().flatten() {
        let Ok(narrower) = pass(&narrow) else { continue };
        let folded = narrower.clone().fold(&prepared.scaling);
        let after = value(&folded);
        if after <= upper + 1e-12 * upper.abs() {
            (narrow, network, upper) = (narrower, folded, after);
        }
    }
    let mut selection = None;
    if options.choose != Choose::Narrow {
        let known = (lambda, upper);
        let (chosen, how) =
            choice::select(data, validation, options, prepared, &narrow, &recovered, known);
        if let Some((chosen, after)) = chosen {
            (network, upper) = (chosen, after);
        }
        selection = Some(how);
    }
    let (certificate, dual) = if prepared.global.is_some() {
        let (lower, scope) = (solution.lower, Scope::Complete);
        (Certificate { lower, upper, scope, method }, solution.nu)
    } else if solution.status.is_early() {
        // no time to price everything anew: the solver has proved its own bound
        (prepared.certificate(solution.lower, upper), solution.nu)
    } else {
        certify_prepared(data, options, prepared, &network, lambda, Some(&solution.nu))
    };
    let status = match solution.status {
        _ if certificate.relative_gap() <= options.tolerance => Status::Certified,
        Status::Certified => Status::Stalled,
        other => other,
    };
    let neurons = network.neurons();
    Ok(Model {
        network,
        options: options.clone(),
        lambda,
        lambda_max,
        certificate,
        dual,
        status,
        iterations: solution.iterations,
        cones,
        scaling: prepared.scaling.clone(),
        gates: prepared.gates.clone(),
        patterns: if prepared.global.is_some() { neurons } else { prepared.patterns },
        cross_validation,
        selection,
    })
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
