//! Family `oracle`: the pricing problem at a given ν, by cells and by simplicial cones.

use super::node::Node;
use super::{Answer, MOST_CELLS};
use anyhow::{Result, ensure};
use bidual::Scope;
use bidual::arrangement::Arrangement;
use bidual::cone::Gauge;
use bidual::pricing::{Budget, Goal, Oracle};
use bidual::solver::{Deadline, Observer, Progress, Status};
use serde_json::json;
use std::sync::Arc;

/// Relative difference of the two ways at most.
const AGREEMENT: f64 = 1e-8;

pub fn answer(root: &Node, observer: &mut Deadline) -> Result<Answer> {
    let data = root.need("data")?;
    let x = Arc::new(data.need("X")?.matrix()?);
    let nu = data.need("nu")?.vector()?;
    ensure!(
        nu.len() == x.nrows(),
        "data.nu: expected {} numbers, one per row of data.X, found {}",
        x.nrows(),
        nu.len()
    );
    let arrangement = Arrangement::all_cells(&x, MOST_CELLS)?;
    let oracle = Oracle::new(x, Gauge::Norm);
    let cells = oracle.price_cells(&nu, &arrangement)?;
    let progress =
        Progress { iteration: 0, upper: f64::INFINITY, lower: f64::NEG_INFINITY, active: 0 };
    let goal = Goal { target: 0.0, tolerance: 1e-10 };
    let budget = Budget { cones: 50_000_000, memory: 1 << 30 };
    let cones =
        oracle.prove(&nu, &goal, &budget, &[], &mut |_| observer.observe(&progress).is_continue());
    let scale = AGREEMENT * cells.lower.abs();
    // bounds of one way hold for the other, and close on the same number
    let apart = |upper: f64, lower: f64| upper < lower - scale;
    let agree = !apart(cones.upper, cells.lower)
        && !apart(cells.upper, cones.lower)
        && (cones.stopped || cones.upper - cells.lower <= scale)
        && cells.upper - cells.lower <= scale;
    Ok(Answer {
        value: None,
        lower: Some(cells.lower),
        upper: Some(cells.upper.min(cones.upper)),
        scope: Scope::Complete,
        status: if agree { Status::Certified } else { Status::Stalled },
        facts: json!({
            "kappa": cells.lower,
            "maximiser_u": cells.direction,
            "maximiser_sign": if cells.negative { -1 } else { 1 },
            "n_open_cells": arrangement.cells,
            "gated_bound": cells.gated,
            "kappa_upper_by_cells": cells.upper,
            "kappa_upper_by_cones": cones.upper,
            "kappa_lower_by_cones": cones.lower,
            "cones": cones.cones,
        }),
    })
}
