//! `bidual solve`: a problem as JSON, its optimum with bounds and facts as JSON. One short file a
//! kind of problem.

mod arrangement;
mod bound;
mod node;
mod optimal_set;
mod oracle;
mod patches;
mod path;
mod problem;
mod stationary;
mod train;

use crate::Outcome;
use crate::args::SolveArgs;
use crate::progress::Watch;
use crate::report::{self, gap_text, significant_above, significant_below};
use anyhow::{Context, Result, anyhow, bail, ensure};
use bidual::Scope;
use bidual::certificate::relative_gap;
use bidual::solver::{Deadline, Status};
use node::Node;
use serde_json::{Value, json};
use std::time::Instant;

/// Cells at most.
const MOST_CELLS: usize = 1_000_000;

/// Families of the schema that later versions bring.
const LATER: [&str; 30] = [
    "act",
    "cone",
    "vec",
    "white",
    "oned",
    "thr",
    "cnn2_sum",
    "cnn2_max",
    "cnn2_vector",
    "circ_linear",
    "circ_relu3",
    "circ_relu3_short",
    "circ_relu4",
    "cnn3",
    "linear_cnn",
    "parallel_linear",
    "parallel3_sum",
    "parallel3_fro",
    "bn2",
    "bn_cnn",
    "bn_closed",
    "attention",
    "lowrank",
    "threshold",
    "vector_relu",
    "poly",
    "robust_poly",
    "robust_relu",
    "prakhya_sdp",
    "primitive",
];
const SUPPORTED: &str = "relu, gated (with data.gate_patterns), relu_admm, arr, oracle, bound, optset, path, stat, counts and certificate";

pub fn run(args: &SolveArgs) -> Result<Outcome> {
    let started = Instant::now();
    let file = args.problem.display().to_string();
    let text = std::fs::read_to_string(&args.problem)
        .with_context(|| format!("{file}: cannot be read; check the path"))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|e| anyhow!("not valid JSON: {e}; write the file anew"))
        .with_context(|| file.clone())?;
    let mut watch = Watch::start(false)?;
    let answer = {
        let deadline = args.time_limit.map(|limit| started + limit);
        let mut limited = Deadline { inner: &mut watch, deadline };
        let root = Node { path: String::new(), value: &value };
        solve(&root, args.tolerance, &mut limited).with_context(|| file.clone())
    };
    watch.finish();
    let answer = answer?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        report::print(&format!("{}\n", answer.json(seconds)))?;
    } else {
        report::print(&answer.text(seconds))?;
    }
    Ok(Outcome::certified(answer.status == Status::Certified))
}

/// What is printed. Problems that are not about one optimum have no value, and bounds only where
/// the family says on what.
struct Answer {
    value: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    scope: Scope,
    status: Status,
    facts: Value,
}

impl Answer {
    /// Facts alone.
    fn facts(status: Status, facts: Value) -> Self {
        Self { value: None, lower: None, upper: None, scope: Scope::Complete, status, facts }
    }
}

fn solve(root: &Node, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    ensure!(root.value.is_object(), "expected a JSON object with family, data and settings");
    match root.need("family")?.string()? {
        family @ ("relu" | "gated" | "relu_admm") => {
            train::answer(&problem::Problem::parse(root, family)?, tolerance, observer)
        }
        "arr" => arrangement::answer(root),
        "oracle" => oracle::answer(root, observer),
        "bound" => bound::answer(root, tolerance, observer),
        "optset" => optimal_set::answer(root, tolerance, observer),
        "path" => path::answer(root, tolerance, observer),
        "stat" => stationary::answer(root, tolerance, observer),
        "counts" => patches::counts(root),
        "certificate" => patches::supports(root),
        family if LATER.contains(&family) => {
            bail!("family: {family:?} is not supported yet; supported are {SUPPORTED}")
        }
        family => bail!("family: {family:?} is unknown; supported are {SUPPORTED}"),
    }
}

/// Certified if the gap is below the tolerance, else what the solver said.
fn status(lower: f64, upper: f64, tolerance: f64, solver: Status) -> Status {
    match solver {
        _ if relative_gap(lower, upper) <= tolerance => Status::Certified,
        Status::Certified => Status::Stalled,
        other => other,
    }
}

/// Row-major copy.
fn by_rows(x: &bidual::Mat) -> Vec<f64> {
    (0..x.nrows()).flat_map(|i| (0..x.ncols()).map(move |j| x[(i, j)])).collect()
}

impl Answer {
    fn json(&self, seconds: f64) -> Value {
        json!({
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "scope": report::scope_key(self.scope),
            "status": report::status_key(self.status),
            "seconds": seconds,
            "facts": self.facts,
        })
    }

    fn text(&self, seconds: f64) -> String {
        let mut text = String::new();
        let mut line = |name: &str, content: String| {
            text.push_str(&format!("{name:<8} {content}\n"));
        };
        if let Some(value) = self.value {
            line("value", significant_above(value, 12));
        }
        if let (Some(lower), Some(upper)) = (self.lower, self.upper) {
            line("lower", significant_below(lower, 12));
            if self.value != Some(upper) {
                line("upper", significant_above(upper, 12));
            }
            line("gap", gap_text(relative_gap(lower, upper)));
        }
        line("scope", self.scope.to_string());
        line("status", format!("{}: {}", self.status.name(), self.status.advice()));
        for (name, fact) in self.facts.as_object().into_iter().flatten() {
            // lists belong into the JSON
            match (name.as_str(), fact) {
                ("n_patterns_used", fact) => line("patterns", fact.to_string()),
                (_, Value::Array(_) | Value::Object(_) | Value::Null) => {}
                ("dual_value" | "kappa_at_dual" | "beta_max", _) => {}
                (name, Value::String(told)) => line(name, told.clone()),
                (name, fact) => line(name, fact.to_string()),
            }
        }
        line("time", format!("{seconds:.2} s"));
        text
    }
}
