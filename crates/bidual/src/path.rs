//! Regularisation paths, and the choice of λ by K-fold cross-validation.

use crate::certificate::Certificate;
use crate::choice;
use crate::data::Dataset;
use crate::fit::{Prepared, finish, positive_lambda_max, prepare};
use crate::linalg::{column, column_mut, dot};
use crate::loss::Loss;
use crate::network::Network;
use crate::optimal_set::{PathValue, path_bounds};
use crate::options::Options;
use crate::solver::{Deadline, Observer, Progress, SparseColumns, Status};
use crate::{Error, Model, Program, Result};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

/// Values on the path of cross-validation.
const CV_POINTS: usize = 16;
/// Last value of that path, as a share of λ_max.
const CV_RATIO: f64 = 1e-3;
/// Relative gap on the folds: finer than the differences that a score can show.
const CV_TOLERANCE: f64 = 1e-3;
/// Rounds of training over all networks at each λ: a warm start needs few.
const CV_ROUNDS: usize = 4;
/// The path ends after so many values without a better score.
const CV_PATIENCE: usize = 4;

/// Mean validation loss over the folds, for each λ that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossValidation {
    /// λ, decreasing.
    pub lambdas: Vec<f64>,
    /// Mean validation loss.
    pub scores: Vec<f64>,
    /// Number of folds.
    pub folds: usize,
    /// False if the time limit or an interruption ended the path early.
    pub finished: bool,
}

impl CrossValidation {
    /// λ with the least score, the largest such λ in a tie.
    pub fn best_lambda(&self) -> f64 {
        let mut best = 0;
        for k in 1..self.scores.len() {
            if self.scores[k] < self.scores[best] {
                best = k;
            }
        }
        self.lambdas[best]
    }

    /// True if the smallest λ that was tried has the best score: the path may have ended too early.
    pub fn ends_at_best(&self) -> bool {
        self.lambdas.last() == Some(&self.best_lambda())
    }
}

/// `points` values from `lambda_max` down to `ratio`·`lambda_max`, equally spaced in log λ.
pub fn lambda_grid(lambda_max: f64, points: usize, ratio: f64) -> Vec<f64> {
    let last = points.saturating_sub(1).max(1) as f64;
    (0..points).map(|k| lambda_max * ratio.powf(k as f64 / last)).collect()
}

/// Disjoint validation sets that cover the samples: seeded, and stratified by label for ±1 targets.
pub fn folds(data: &Dataset, k: usize, seed: u64, stratify: bool) -> Result<Vec<Vec<usize>>> {
    let n = data.samples();
    if k < 2 || n < 2 * k {
        return Err(Error::Option(format!(
            "{k}-fold cross-validation needs at least {} samples, found {n}: use fewer folds or give λ",
            2 * k.max(2)
        )));
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    if stratify {
        let smallest = [-1.0, 1.0].map(|s| data.y.iter().filter(|y| **y == s).count());
        if let Some(few) = smallest.into_iter().find(|c| *c < k) {
            return Err(Error::Data(format!(
                "the smaller class has {few} samples, fewer than the {k} folds: use fewer folds or give λ"
            )));
        }
        order.sort_by(|&a, &b| data.y[a].total_cmp(&data.y[b])); // stable: keeps the shuffle inside a class
    }
    let mut sets = vec![vec![]; k];
    for (position, sample) in order.into_iter().enumerate() {
        sets[position % k].push(sample);
    }
    sets.iter_mut().for_each(|s| s.sort_unstable());
    Ok(sets)
}

/// One training set on its way down the path.
struct Fold {
    prepared: Prepared,
    validation: Dataset,
    /// The last two solutions.
    solutions: Vec<(f64, SparseColumns)>,
}

impl Fold {
    /// Mean validation loss at λ, or the status that stopped the solver.
    fn score(
        &mut self,
        lambda: f64,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<std::result::Result<f64, Status>> {
        let generated = self.prepared.global.is_some();
        let limit = if generated { CV_ROUNDS } else { options.max_iterations };
        let start = self.prepared.start(lambda, &self.solutions);
        let start = start.as_ref();
        let solution =
            self.prepared.solve(lambda, CV_TOLERANCE, limit, None, start, observer)?.solution;
        if solution.status.is_early() {
            return Ok(Err(solution.status));
        }
        let network = self.prepared.formulation.recover(&solution.z).fold(&self.prepared.scaling);
        remember(&mut self.solutions, lambda, solution.z);
        Ok(Ok(validation_loss(&network, &self.validation, self.prepared.loss.as_ref())))
    }
}

/// Keeps the last two solutions of a path, the latest last.
fn remember(solutions: &mut Vec<(f64, SparseColumns)>, lambda: f64, z: SparseColumns) {
    solutions.drain(..solutions.len().saturating_sub(1));
    solutions.push((lambda, z));
}

/// Mean loss of `network` on `data` (raw features).
fn validation_loss(network: &Network, data: &Dataset, loss: &dyn Loss) -> f64 {
    let f = network.predict(&data.x);
    let weights = data.normalised_weights();
    let losses = f.iter().zip(&data.y).map(|(f, y)| loss.sample_value(*f, *y));
    losses.zip(weights).map(|(l, w)| l * w).sum()
}

/// Shares one observer between folds that run in parallel.
struct Shared<'a, 'b, 'c>(&'a Mutex<&'b mut (dyn Observer + 'c)>);

impl Observer for Shared<'_, '_, '_> {
    fn observe(&mut self, progress: &Progress) -> ControlFlow<Status> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).observe(progress)
    }
}

/// Runs a warm-started path on every fold and returns the scores. The path goes
/// from λ_max to λ_max/1000 and ends when the score has stopped improving.
pub fn cross_validate(
    data: &Dataset,
    options: &Options,
    lambda_max: f64,
    observer: &mut dyn Observer,
) -> Result<CrossValidation> {
    let sets = folds(data, options.folds, options.seed, options.loss.is_classification())?;
    let mut states = sets
        .iter()
        .map(|set| {
            let training: Vec<usize> =
                (0..data.samples()).filter(|i| set.binary_search(i).is_err()).collect();
            let prepared = prepare(&data.subset(&training)?, options, None)?;
            Ok(Fold { prepared, validation: data.subset(set)?, solutions: vec![] })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut result =
        CrossValidation { lambdas: vec![], scores: vec![], folds: options.folds, finished: true };
    let (mut best, mut since) = (f64::INFINITY, 0);
    for (k, lambda) in lambda_grid(lambda_max, CV_POINTS, CV_RATIO).into_iter().enumerate() {
        observer.stage(&format!("cross-validation, λ {} of at most {CV_POINTS}", k + 1));
        let shared = Mutex::new(&mut *observer);
        let scores = states
            .par_iter_mut()
            .map(|fold| fold.score(lambda, options, &mut Shared(&shared)))
            .collect::<Result<Vec<_>>>()?;
        let scores: std::result::Result<Vec<f64>, Status> = scores.into_iter().collect();
        let Ok(scores) = scores else {
            result.finished = false;
            break;
        };
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        result.lambdas.push(lambda);
        result.scores.push(mean);
        since = if mean < best { 0 } else { since + 1 };
        best = best.min(mean);
        if since >= CV_PATIENCE {
            break;
        }
    }
    if result.lambdas.is_empty() {
        // stopped before the first score: a moderate λ is all that can be said
        result.lambdas.push(0.1 * lambda_max);
        result.scores.push(f64::NAN);
    }
    Ok(result)
}

/// A start for `program`, the next of a path, from the last two solutions (λ, z), latest last: the
/// line through both, where its objective is below that of the last one.
pub fn predict(program: &Program, solved: &[(f64, &SparseColumns)]) -> SparseColumns {
    let [.., (far, before), (near, last)] = solved else {
        return solved
            .last()
            .map_or_else(|| SparseColumns::zero(program.shape().0), |s| s.1.clone());
    };
    let ratio = (near - program.lambda) / (far - near);
    let mut line = (*last).clone();
    if program.constraint.is_some() || !ratio.is_finite() {
        return line;
    }
    for (k, &c) in last.columns.iter().enumerate() {
        let Some(old) = before.column(c) else { continue };
        let value = column(&last.values, k);
        let ahead: Vec<f64> = value.iter().zip(old).map(|(v, o)| v + ratio * (v - o)).collect();
        // a column that would turn round is on its way to zero
        if dot(&ahead, value) > 0.0 {
            column_mut(&mut line.values, k).copy_from_slice(&ahead);
        }
    }
    let own = program.restrict(&last.columns);
    let better = own.objective(&line.values) < own.objective(&last.values);
    if better { line } else { (*last).clone() }
}

/// One λ of a path.
#[derive(Debug, Clone)]
pub struct PathPoint {
    /// The model at this λ, with its certificate.
    pub model: Model,
    /// Mean loss on the validation set, if one was given.
    pub validation_loss: Option<f64>,
}

/// Bounds on the optimal objective at any λ > 0 from the certificates of a path, without a solve:
/// proved values below, objectives of its networks above. They hold over the scope that the
/// certificates share; all losses of a [`Model`] are ≥ 0.
pub fn bounds_at(points: &[PathPoint], lambda: f64) -> (f64, f64) {
    let of = |point: &PathPoint| {
        let model = &point.model;
        let decay = model.network.clone().unfold(&model.scaling).weight_decay(model.options.bias);
        let Certificate { lower, upper, .. } = model.certificate;
        PathValue { beta: model.lambda, lower, upper, norm: decay }
    };
    let values: Vec<PathValue> = points.iter().map(of).collect();
    path_bounds(&values, lambda, true)
}

impl PathPoint {
    /// The certificate at this λ.
    pub fn certificate(&self) -> &Certificate {
        &self.model.certificate
    }
}

/// Solves for each λ (decreasing is fastest), warm-started, with a certificate
/// each. `options.lambda` is ignored; stops early when the observer or
/// `options.time_limit` says so, with the points finished by then.
pub fn path(
    data: &Dataset,
    validation: Option<&Dataset>,
    options: &Options,
    lambdas: impl FnOnce(f64) -> Vec<f64>,
    observer: &mut dyn Observer,
) -> Result<Vec<PathPoint>> {
    choice::check(options, data, validation)?;
    let prepared = prepare(data, options, None)?;
    let deadline = options.time_limit.map(|limit| Instant::now() + limit);
    let mut observer = Deadline { inner: observer, deadline };
    let lambda_max = positive_lambda_max(data, &prepared, true, &mut observer)?;
    let mut points: Vec<PathPoint> = vec![];
    // the last two solutions, the latest last
    let mut solutions: Vec<(f64, SparseColumns)> = vec![];
    let lambdas = lambdas(lambda_max);
    let count = lambdas.len();
    for (k, lambda) in lambdas.into_iter().enumerate() {
        observer.stage(&format!("λ {} of {count}", k + 1));
        let loss = prepared.loss.as_ref();
        let (tolerance, limit) = (0.7 * options.tolerance, options.max_iterations);
        let budget = options.proof_budget(data.samples());
        let start = prepared.start(lambda, &solutions);
        let solved =
            prepared.solve(lambda, tolerance, limit, budget, start.as_ref(), &mut observer)?;
        remember(&mut solutions, lambda, solved.solution.z.clone());
        let model =
            finish(data, validation, options, &prepared, solved, (lambda, lambda_max), None)?;
        let stopped = model.status.is_early();
        let validation_loss = validation.map(|v| validation_loss(&model.network, v, loss));
        points.push(PathPoint { model, validation_loss });
        if stopped {
            break;
        }
    }
    Ok(points)
}
