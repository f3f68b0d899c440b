//! Family `bound`: training over all networks with a proof, and the moment relaxation of level 1.

use super::node::Node;
use super::problem::Problem;
use super::{Answer, by_rows, status};
use anyhow::Result;
use bidual::arrangement::{count_cells, generic_bound};
use bidual::cone::Gauge;
use bidual::global::{Global, GlobalSolution, Neurons, Target};
use bidual::pricing::Budget;
use bidual::relaxation::moment_bound;
use bidual::solver::Deadline;
use bidual::{Bias, Mat, Scope};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::sync::Arc;

/// Cells that are counted.
const COUNTED: usize = 10_000_000;
/// Cones of the proof at most.
const CONES: f64 = 5e8;
/// Up to this rank proofs close, and find what training has missed.
const PROVED: usize = 6;
/// Restarts beyond it.
const RESTARTS: usize = 24;
/// Random starts of the last search for dear neurons.
const SEARCHED: usize = 2000;

pub fn answer(root: &Node, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    let problem = Problem::plain(&root.need("data")?, &root.need("settings")?)?;
    problem.require_plain("bound", false)?;
    let loss = problem.loss.build(&problem.y)?;
    let (x, beta) = (Arc::new(problem.x.clone()), problem.beta);
    let relaxed = moment_bound(&x, loss.as_ref(), beta, 1e-9)?;
    let global = Global::new(x.clone(), x.clone(), Gauge::Norm, loss, Bias::None);
    let cones = (CONES / (x.nrows() as f64 + 300.0)) as usize;
    let target = Target {
        lambda: beta,
        tolerance: tolerance.min(1e-7),
        budget: Some(Budget { cones, memory: 1 << 30 }),
        max_rounds: usize::MAX,
    };
    let best = train(&global, &target, observer)?;
    let found = global.solve(&target, Some(&best.neurons), observer)?;
    let nu = global.residual(&found.neurons.outputs(&x));
    let starts = found.neurons.directions(&Gauge::Norm);
    let attained = global.oracle().search(&nu, &starts, SEARCHED, 0, 0.0);
    let attained = attained.first().map_or(0.0, |c| c.value);
    let lower = found.lower.max(relaxed.lower);
    // the bound on κ that the best dual vector of the training was given
    let proved = global.target(&found.nu, found.lower, beta);
    let told = status(lower, found.upper, tolerance, found.status);
    // a case of kind primitive asks for the facts alone
    let optimum = root.text("kind")? != Some("primitive");
    let facts = json!({
        "opt_lower": lower,
        "n_open_cells": cells(&problem),
        "level1_sdp_lower_bound": relaxed.lower,
        "level1_relaxation": relaxed.relaxation,
        "best_known_network_value": found.upper,
        "certified_lower_bound": lower,
        "kappa_heuristic_over_beta": attained / beta,
        "kappa_upper_over_beta": proved / beta,
        "bb_nodes": found.cones,
        "neurons": found.neurons.len(),
    });
    Ok(Answer {
        value: optimum.then_some(found.upper),
        lower: Some(lower),
        upper: Some(found.upper),
        scope: Scope::Complete,
        status: told,
        facts,
    })
}

/// The best network of a training from nothing and of trainings from perturbed networks: where no
/// proof closes, local pricing alone may have missed a better one.
fn train(global: &Global, target: &Target, observer: &mut Deadline) -> Result<GlobalSolution> {
    let target = Target { budget: None, ..*target };
    let mut best = global.solve(&target, None, observer)?;
    if global.oracle().rank() <= PROVED {
        return Ok(best);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for k in 0..RESTARTS {
        if best.status.is_early() {
            break;
        }
        let size = [0.1, 0.3, 1.0][k % 3];
        let start = perturbed(&best.neurons, size, &mut rng);
        let again = global.solve(&target, Some(&start), observer)?;
        if again.upper < best.upper {
            best = again;
        }
    }
    Ok(best)
}

/// Each neuron split in two, each of which is moved by `size` times its length.
fn perturbed(neurons: &Neurons, size: f64, rng: &mut ChaCha8Rng) -> Neurons {
    let (p, m) = (neurons.values.nrows(), neurons.len());
    let values = Mat::from_fn(p, 2 * m, |i, j| {
        let length = neurons.size(j % m, &Gauge::Norm) * (3.0 / p as f64).sqrt();
        0.5 * (neurons.values[(i, j % m)] + size * length * rng.random_range(-1.0..1.0))
    });
    let negative = neurons.negative.iter().chain(&neurons.negative).copied().collect();
    Neurons { values, negative }
}

/// Number of open cells where it can be counted.
fn cells(problem: &Problem) -> Value {
    let (n, d) = (problem.x.nrows(), problem.x.ncols());
    if generic_bound(n, d) > COUNTED as u128 {
        return Value::Null;
    }
    count_cells(&by_rows(&problem.x), n, d, COUNTED).map_or(Value::Null, |c| json!(c.open))
}
