//! Family `arr`: counts and patterns of an arrangement.

use super::node::Node;
use super::{Answer, MOST_CELLS, by_rows};
use anyhow::{Context, Result};
use bidual::arrangement::ArrangementFacts;
use bidual::solver::Status;
use serde_json::json;

pub fn answer(root: &Node) -> Result<Answer> {
    let x = root.need("data")?.need("X")?.matrix()?;
    let facts =
        ArrangementFacts::new(&by_rows(&x), x.nrows(), x.ncols(), MOST_CELLS).context("data.X")?;
    Ok(Answer::facts(
        Status::Certified,
        json!({
            "n_open_cells": facts.n_open_cells,
            "rank": facts.rank,
            "n_distinct_hyperplanes": facts.n_distinct_hyperplanes,
            // beyond 2⁶⁴ a double is exact enough
            "generic_bound": u64::try_from(facts.generic_bound)
                .map_or_else(|_| json!(facts.generic_bound as f64), |bound| json!(bound)),
            "open_patterns": facts.open_patterns,
            "n_closed_patterns": facts.n_closed_patterns,
            "closed_patterns": facts.closed_patterns,
        }),
    ))
}
