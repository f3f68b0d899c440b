//! Family `optset`: the optimal directions, the least width and uniqueness.

use super::node::Node;
use super::problem::Problem;
use super::train::Training;
use super::{Answer, status};
use anyhow::Result;
use bidual::certificate::relative_gap;
use bidual::formulation::with_ones;
use bidual::optimal_set::{Directions, OptimalSet, SetOptions, cell_directions, fit_sizes};
use bidual::solver::Deadline;
use bidual::{Bias, Mat};
use serde_json::json;

/// Relative gap asked for: directions are told apart by prices at ν, known to its square root.
const GAP: f64 = 1e-12;

pub fn answer(root: &Node, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    let problem = Problem::plain(&root.need("data")?, &root.need("settings")?)?;
    problem.require_plain("optset", true)?;
    let training = Training::new(&problem)?;
    let features =
        if problem.bias == Bias::None { problem.x.clone() } else { with_ones(&problem.x) };
    let trained = training.solve(&problem, problem.beta, GAP, None, observer)?;
    let program = training.formulation.program(problem.beta);
    let nu = program.residual(&trained.outputs);
    let patterns = &training.arrangement.patterns;
    let found = positive_first(cell_directions(&features, patterns, &nu, problem.beta)?);
    let phi = found.features(&features);
    let free = Mat::from_fn(problem.x.nrows(), usize::from(problem.output_bias), |_, _| 1.0);
    let (sizes, rest) = fit_sizes(&phi, &free, &trained.outputs)?;
    // directions that differ by less are one, and they are known to the square root of the gap
    let gap = relative_gap(trained.solution.lower, trained.value);
    let options = SetOptions { rank_tolerance: gap.sqrt().clamp(1e-9, 1e-6), ..Default::default() };
    let set = OptimalSet::new(&phi, &free, &sizes, options)?;
    let narrow = set.least_width()?;
    let directions: Vec<Vec<f64>> =
        (0..found.signs.len()).map(|k| found.directions.col_as_slice(k).to_vec()).collect();
    let (lower, upper) = (trained.solution.lower, trained.value);
    Ok(Answer {
        value: Some(upper),
        lower: Some(lower),
        upper: Some(upper),
        scope: training.formulation.scope(),
        status: status(lower, upper, tolerance, trained.solution.status),
        facts: json!({
            "n_optimal_directions": directions.len(),
            "directions": directions,
            "direction_signs": found.signs.iter().map(|s| *s as i64).collect::<Vec<_>>(),
            "feature_rank": set.rank(),
            "minimal_width": narrow.width,
            "minimal_width_is_proved": narrow.minimal,
            "solution_unique_in_directions": set.has_independent_features(),
            "dual_nu": nu,
            "outputs_z": trained.outputs,
            "sizes": narrow.sizes,
            "fit_residual": rest,
        }),
    })
}

/// The directions of positive output weights first, in the order of the cells.
fn positive_first(found: Directions) -> Directions {
    let mut order: Vec<usize> = (0..found.signs.len()).collect();
    order.sort_by(|&a, &b| found.signs[b].total_cmp(&found.signs[a]).then(a.cmp(&b)));
    let d = found.directions.nrows();
    Directions {
        directions: Mat::from_fn(d, order.len(), |i, k| found.directions[(i, order[k])]),
        signs: order.iter().map(|&k| found.signs[k]).collect(),
        prices: order.iter().map(|&k| found.prices[k]).collect(),
    }
}
