//! Objective and certificate of a network, computed anew from its weights.

use crate::Result;
use crate::certificate::{Certificate, Method, Scope, relative_gap};
use crate::data::Dataset;
use crate::fit::{Model, Prepared, prepare};
use crate::formulation::objective;
use crate::global::{Global, Neurons};
use crate::network::Network;
use crate::options::Options;
use crate::pricing::Goal;
use std::time::Instant;

/// Recomputes the certificate of `network` from its weights: the objective, and
/// the best lower bound of its own residual and of the stored dual vector.
pub(crate) fn certify_prepared(
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

/// The certificate of `network` over all networks: the objective, and the best
/// bound of the stored dual vector and of the network's own residual. `hint` is a
/// lower bound that the stored vector is known to prove.
pub(crate) fn certify_global(
    data: &Dataset,
    options: &Options,
    prepared: &Prepared,
    global: &Global,
    network: &Network,
    lambda: f64,
    dual: Option<(&[f64], f64)>,
) -> (Certificate, Vec<f64>) {
    let loss = prepared.loss.as_ref();
    let upper = objective(network, data, &prepared.scaling, loss, lambda, options.bias);
    let neurons = Neurons::of(&network.clone().unfold(&prepared.scaling), options.bias);
    let starts = neurons.directions(&global.oracle().gauge());
    let deadline = options.time_limit.map(|limit| Instant::now() + limit);
    let Some(budget) = options.proof_budget(data.samples()) else {
        return (prepared.certificate(f64::NEG_INFINITY, upper), vec![]);
    };
    let bound = |nu: Vec<f64>, lower: f64| {
        let goal = Goal { target: global.target(&nu, lower, lambda), tolerance: 1e-12 };
        let go_on = &mut |_: &_| deadline.is_none_or(|t| Instant::now() < t);
        let proof = global.oracle().prove(&nu, &goal, &budget, &starts, go_on);
        (global.lower_bound(&nu, proof.upper, lambda), nu, proof.method)
    };
    let wanted = upper * (1.0 - 0.95 * options.tolerance);
    let stored = dual.filter(|d| d.0.len() == data.samples()).map(|(dual, hint)| {
        let mut nu = dual.to_vec();
        global.loss().clip_dual(&mut nu);
        let (lower, nu, method) = bound(nu, hint - 1e-10 * hint.abs());
        // the same number as the fit, not a slightly better one
        let same = lower >= hint && lower - hint <= 1e-6 * hint.abs();
        (if same { hint } else { lower }, nu, method)
    });
    let best: (f64, Vec<f64>, Method) = match stored {
        Some(best) if relative_gap(best.0, upper) <= options.tolerance => best,
        stored => {
            let own = bound(global.residual(&network.predict(&data.x)), wanted);
            stored.filter(|s| s.0 >= own.0).unwrap_or(own)
        }
    };
    let (lower, nu, method) = best;
    (Certificate { lower, upper, scope: Scope::Complete, method }, nu)
}

/// The training objective of a fitted model on `data`, without any proof.
pub fn training_objective(model: &Model, data: &Dataset) -> Result<f64> {
    if data.features() != model.network.inputs() {
        return Err(crate::Error::Data(format!(
            "the model was fitted on {} features, the data have {}",
            model.network.inputs(),
            data.features()
        )));
    }
    let options = &model.options;
    let loss = options.loss.build(&data.y, data.normalised_weights())?;
    let (network, scaling) = (&model.network, &model.scaling);
    Ok(objective(network, data, scaling, loss.as_ref(), model.lambda, options.bias))
}

/// Recomputes objective and certificate of a fitted model on `data` (the data
/// of the fit, or others: then the statement is about those).
pub fn certify(model: &Model, data: &Dataset) -> Result<Certificate> {
    let prepared = prepare(data, &model.options, Some((&model.scaling, model.gates.as_ref())))?;
    if let Some(global) = &prepared.global {
        let dual = Some((model.dual.as_slice(), model.certificate.lower));
        let (options, network) = (&model.options, &model.network);
        return Ok(certify_global(data, options, &prepared, global, network, model.lambda, dual).0);
    }
    let dual = Some(model.dual.as_slice());
    Ok(certify_prepared(data, &model.options, &prepared, &model.network, model.lambda, dual).0)
}
