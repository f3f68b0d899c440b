//! Family `stat`: is a given network stationary, is it globally optimal?

use super::Answer;
use super::node::Node;
use super::problem::Problem;
use super::train::Training;
use anyhow::{Result, ensure};
use bidual::certificate::relative_gap;
use bidual::network::{Bias, Network};
use bidual::solver::{Deadline, Status};
use bidual::stationarity::{StationarityOptions, Verdict, network_stationarity};
use serde_json::json;

/// κ(ν) ≤ β(1 + this) counts as globally optimal.
const GLOBAL: f64 = 1e-6;

pub fn answer(root: &Node, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    let data = root.need("data")?;
    let problem = Problem::plain(&data, &root.need("settings")?)?;
    problem.require_plain("stat", false)?;
    let (weights, outputs) = (data.need("W")?.matrix()?, data.need("alpha")?.vector()?);
    ensure!(
        weights.nrows() == outputs.len() && weights.ncols() == problem.x.ncols(),
        "data.W: expected {} rows of {} numbers, found {} rows of {}",
        outputs.len(),
        problem.x.ncols(),
        weights.nrows(),
        weights.ncols()
    );
    let network = Network {
        weights: weights.transpose().to_owned(),
        biases: vec![0.0; outputs.len()],
        outputs,
        output_bias: 0.0,
        gates: None,
    };
    let training = Training::new(&problem)?;
    let program = training.formulation.program(problem.beta);
    let f = network.predict(&problem.x);
    let value = training.loss.value(&f) + problem.beta * network.weight_decay(Bias::None);
    let nu = program.residual(&f);
    let kappa = program.price(&nu, 0.0, &mut program.multipliers()).kappa();
    let lower = program.lower_bound(&nu, kappa);
    let trained = training.solve(&problem, problem.beta, 0.5 * tolerance, None, observer)?;
    // end points of training are stationary to the accuracy of their weights
    let options = StationarityOptions { tie: 1e-7, ..Default::default() };
    let (x, beta) = (&problem.x, problem.beta);
    let report = network_stationarity(&network, x, &nu, beta, Bias::None, options)?;
    let global = kappa <= problem.beta * (1.0 + GLOBAL);
    let verdict = match report.verdict {
        Verdict::Stationary if global => "global",
        Verdict::Stationary => "stationary_not_global",
        Verdict::Undecided => "undecided",
        Verdict::ClarkeOnly => "clarke_stationary_only",
        Verdict::NotStationary => "not_stationary",
    };
    let best = trained.value.min(value);
    let certified = relative_gap(trained.solution.lower, best) <= tolerance;
    let told = if certified { Status::Certified } else { trained.solution.status };
    Ok(Answer {
        value: None,
        lower: Some(trained.solution.lower.max(lower)),
        upper: Some(best),
        scope: training.formulation.scope(),
        status: told,
        facts: json!({
            "network_value": value,
            "global_value": best,
            "verdict": verdict,
            "kappa_residual_over_beta": kappa / problem.beta,
            "certified_lower_bound_from_network": lower,
            "stationarity_residual": report.residual,
            "clarke_residual": report.clarke_residual,
            "balance_defect": report.balance_defect,
        }),
    })
}
