//! Family `path`: the optimum for each β of a list, with warm starts.

use super::node::Node;
use super::problem::Problem;
use super::train::Training;
use super::{Answer, status};
use anyhow::{Result, ensure};
use bidual::solver::{Deadline, Observer, SparseColumns, Status};
use serde_json::{Value, json};

/// Relative gap asked for: the regulariser is known to about its square root.
const GAP: f64 = 1e-12;

pub fn answer(root: &Node, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    let (data, settings) = (root.need("data")?, root.need("settings")?);
    let problem = Problem::plain(&data, &settings)?;
    let list = data.need("betas")?;
    let betas: Vec<f64> = list.items()?.iter().map(Node::positive).collect::<Result<_>>()?;
    ensure!(!betas.is_empty(), "{}: expected at least one number, found none", list.path);
    let training = Training::new(&problem)?;
    let mut order: Vec<usize> = (0..betas.len()).collect();
    order.sort_by(|&a, &b| betas[b].total_cmp(&betas[a]).then(a.cmp(&b)));
    let mut start: Option<SparseColumns> = None;
    let mut values = vec![Value::Null; betas.len()];
    let (mut lowers, mut sizes) = (values.clone(), values.clone());
    let mut worst = Status::Certified;
    for (count, k) in order.into_iter().enumerate() {
        observer.stage(&format!("β {} of {}", count + 1, betas.len()));
        let beta = betas[k];
        let trained = training.solve(&problem, beta, GAP, start.as_ref(), observer)?;
        let (value, size) = match training.polish(&problem, beta, &trained, observer)? {
            Some(polished) => polished,
            None => {
                let program = training.formulation.program(beta);
                (trained.value, program.regularizer.value(&trained.solution.z.values))
            }
        };
        sizes[k] = json!(size);
        values[k] = json!(value);
        lowers[k] = json!(trained.solution.lower);
        let told = status(trained.solution.lower, value, tolerance, trained.solution.status);
        if told != Status::Certified {
            worst = told;
        }
        if told.is_early() {
            break;
        }
        start = Some(trained.solution.z);
    }
    Ok(Answer::facts(
        worst,
        json!({
            "beta_max": training.largest(&problem),
            "opt_values": values,
            "opt_lower": lowers,
            "regulariser_N": sizes,
        }),
    ))
}
