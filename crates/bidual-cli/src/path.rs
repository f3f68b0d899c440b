//! `bidual path`: certified networks along a decreasing sequence of λ.

use crate::Outcome;
use crate::args::PathArgs;
use crate::data::{Training, load_training};
use crate::options::options;
use crate::progress::Watch;
use crate::report::{self, Score, gap_text, significant, significant_above, significant_below};
use crate::values::ActivationArg;
use anyhow::{Result, bail, ensure};
use bidual::certificate::relative_gap;
use bidual::path::{PathPoint, bounds_at, lambda_grid};
use bidual::solver::{Deadline, Status};
use bidual::{Alternatives, Dataset, Lambda};
use bidual_io::predictions::{OutColumn, output_format, write_columns};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::time::Instant;

pub fn run(args: &PathArgs) -> Result<Outcome> {
    let started = Instant::now();
    if let Some(path) = &args.output {
        output_format(path)?;
        crate::fit::refuse_overwrite(path, &[&args.train.data])?;
    }
    ensure!(
        !args.width || args.train.activation == ActivationArg::Relu,
        "--width is for ReLU neurons: networks with the same outputs are not compared for gated ones; drop one of the two"
    );
    let Training { dataset, encoding, loss, .. } = load_training(&args.train)?;
    // the path sets λ itself; the value here only has to be a valid one
    let options = options(&args.train, loss, Lambda::Fraction(1.0), 2, &encoding.feature_names())?;
    let classification = loss.is_classification();
    let (training, validation) = match args.validation {
        0.0 => (dataset, None),
        share => {
            let (training, held_out) = split(&dataset, share, args.train.seed, classification)?;
            (training, Some(held_out))
        }
    };

    let points = args.points as usize;
    let mut watch = Watch::start(args.train.quiet)?;
    let deadline = args.train.time_limit.map(|limit| started + limit);
    let mut limited = Deadline { inner: &mut watch, deadline };
    let grid = |lambda_max: f64| match lambda_max > 0.0 {
        true => lambda_grid(lambda_max, points, args.ratio),
        false => vec![],
    };
    let path = bidual::path::path(&training, validation.as_ref(), &options, grid, &mut limited);
    watch.finish();
    let path = path?;
    ensure!(
        !path.is_empty(),
        "λ_max is 0: no network improves on the constant for these rows; check features and targets"
    );

    let mut rows: Vec<Row> =
        path.iter().map(|point| Row::of(point, validation.as_ref(), classification)).collect();
    if args.width {
        for (row, point) in rows.iter_mut().zip(&path) {
            row.width = Some(width(point, &training));
        }
    }
    let between: Vec<Between> = args.at.iter().map(|at| Between::of(&path, *at)).collect();
    let score_name = format!("validation_{}", Score::name(classification));
    if let Some(file) = &args.output {
        write(file, &rows, &score_name, validation.is_some())?;
    }
    if args.train.json {
        report::print_json(&json!({
            "points": rows.iter().map(|row| row.json(&score_name)).collect::<Vec<_>>(),
            "at": between.iter().map(Between::json).collect::<Vec<_>>(),
            "lambda_max": path[0].model.lambda_max,
            "scope": report::scope_json(path[0].model.certificate.scope),
            "samples": training.samples(),
            "validation_samples": validation.as_ref().map_or(0, Dataset::samples),
            "seconds": started.elapsed().as_secs_f64(),
            "version": env!("CARGO_PKG_VERSION"),
        }))?;
    } else if !args.train.quiet {
        let scope = path[0].model.certificate.scope.to_string();
        let between: String = between.iter().map(|b| b.text(&scope)).collect();
        report::print(&(table(&rows, &score_name, validation.is_some()) + &between))?;
    }
    let certified = rows.iter().all(|row| row.status == Status::Certified);
    Ok(Outcome::certified(certified && rows.len() == points))
}

/// Training and held-out rows: seeded, of each class the same share.
fn split(
    data: &Dataset,
    share: f64,
    seed: u64,
    classification: bool,
) -> Result<(Dataset, Dataset)> {
    let mut order: Vec<usize> = (0..data.samples()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let groups: Vec<Vec<usize>> = if classification {
        let (a, b) = order.into_iter().partition(|&i| data.y[i] < 0.0);
        vec![a, b]
    } else {
        vec![order]
    };
    let (mut training, mut held_out) = (vec![], vec![]);
    for group in groups {
        let least = if classification { 1 } else { 2 };
        let count = ((share * group.len() as f64).round() as usize).max(least);
        if group.len() < count + least {
            bail!(
                "--validation {share} leaves too few rows: {} cannot be split; use another share, 0, or more rows",
                group.len()
            );
        }
        held_out.extend_from_slice(&group[..count]);
        training.extend_from_slice(&group[count..]);
    }
    training.sort_unstable();
    held_out.sort_unstable();
    let (training, held_out) = (data.subset(&training)?, data.subset(&held_out)?);
    ensure!(
        training.y.iter().any(|y| *y != training.y[0]),
        "every target is {} once rows are held out: use another --seed or --validation 0",
        training.y[0]
    );
    Ok((training, held_out))
}

/// One λ as it is printed.
struct Row {
    lambda: f64,
    fraction: f64,
    objective: f64,
    lower: f64,
    gap: f64,
    neurons: usize,
    /// The fewest neurons found, and whether that is proved; or why there is no answer.
    width: Option<Result<(usize, bool), String>>,
    status: Status,
    validation: Option<(f64, f64)>,
}

impl Row {
    fn of(point: &PathPoint, validation: Option<&Dataset>, classification: bool) -> Self {
        let (model, certificate) = (&point.model, point.certificate());
        let score = |v| Score::of(v, &model.predict(&v.x), classification).main();
        Self {
            lambda: model.lambda,
            fraction: model.lambda / model.lambda_max,
            objective: certificate.upper,
            lower: certificate.lower,
            gap: certificate.relative_gap(),
            neurons: model.network.neurons(),
            width: None,
            status: model.status,
            validation: point.validation_loss.zip(validation.map(score)),
        }
    }

    fn known_width(&self) -> Option<(usize, bool)> {
        self.width.as_ref()?.as_ref().ok().copied()
    }

    fn json(&self, score_name: &str) -> Value {
        let mut value = json!({
            "lambda": self.lambda,
            "lambda_fraction": self.fraction,
            "objective": self.objective,
            "lower": self.lower,
            "relative_gap": self.gap,
            "neurons": self.neurons,
            "status": report::status_key(self.status),
        });
        match &self.width {
            Some(Ok((width, minimal))) => {
                value["width"] = json!(width);
                value["width_is_minimal"] = json!(minimal);
            }
            Some(Err(reason)) => value["width_unknown_because"] = json!(reason),
            None => {}
        }
        if let Some((loss, score)) = self.validation {
            value["validation_loss"] = json!(loss);
            value[score_name] = json!(score);
        }
        value
    }
}

/// The narrowest network with the outputs and the cost of a point's, and whether it is proved the
/// narrowest on the directions that were compared.
fn width(point: &PathPoint, training: &Dataset) -> Result<(usize, bool), String> {
    let found = Alternatives::of(&point.model, training).and_then(|all| all.least_width());
    found.map(|found| (found.width, found.minimal)).map_err(|error| error.to_string())
}

/// Bounds at a λ without a fit.
struct Between {
    lambda: f64,
    fraction: f64,
    lower: f64,
    upper: f64,
}

impl Between {
    fn of(path: &[PathPoint], at: Lambda) -> Self {
        let lambda_max = path[0].model.lambda_max;
        let lambda = match at {
            Lambda::Absolute(value) => value,
            Lambda::Fraction(fraction) => fraction * lambda_max,
            // not accepted on the command line
            Lambda::CrossValidated => lambda_max,
        };
        let (lower, upper) = bounds_at(path, lambda);
        Self { lambda, fraction: lambda / lambda_max, lower, upper }
    }

    fn gap(&self) -> f64 {
        relative_gap(self.lower, self.upper)
    }

    fn json(&self) -> Value {
        json!({
            "lambda": self.lambda,
            "lambda_fraction": self.fraction,
            "lower": self.lower,
            "upper": self.upper,
            "relative_gap": self.gap(),
        })
    }

    fn text(&self, scope: &str) -> String {
        format!(
            "at lambda {} ({} of λ_max), without a fit: {} ≤ optimum over {scope} ≤ {} (relative gap {})\n",
            significant(self.lambda, 6),
            significant(self.fraction, 4),
            significant_below(self.lower, 8),
            significant_above(self.upper, 8),
            gap_text(self.gap())
        )
    }
}

/// The table for people; rows that are not certified say why.
fn table(rows: &[Row], score_name: &str, validated: bool) -> String {
    let mut text = format!(
        "{:>12} {:>10} {:>14} {:>14} {:>9} {:>8}",
        "lambda", "fraction", "objective", "lower", "gap", "neurons"
    );
    if rows.iter().any(|row| row.width.is_some()) {
        text += &format!(" {:>8}", "width");
    }
    if validated {
        text += &format!(" {:>16} {score_name:>20}", "validation_loss");
    }
    text.push('\n');
    for row in rows {
        text += &format!(
            "{:>12} {:>10} {:>14} {:>14} {:>9} {:>8}",
            significant(row.lambda, 6),
            significant(row.fraction, 4),
            significant(row.objective, 8),
            significant_below(row.lower, 8),
            gap_text(row.gap),
            row.neurons
        );
        if let Some(width) = &row.width {
            let told = match width {
                Ok((width, true)) => width.to_string(),
                Ok((width, false)) => format!("≤{width}"),
                Err(_) => "?".to_owned(),
            };
            text += &format!(" {told:>8}");
        }
        if let Some((loss, score)) = row.validation {
            text += &format!(" {:>16} {:>20}", significant(loss, 6), significant(score, 5));
        }
        if row.status != Status::Certified {
            text += &format!("  {}", row.status.name());
        }
        text.push('\n');
    }
    text
}

fn write(file: &std::path::Path, rows: &[Row], score_name: &str, validated: bool) -> Result<()> {
    type Get = fn(&Row) -> f64;
    let mut columns: Vec<(&str, Get)> = vec![
        ("lambda", |r| r.lambda),
        ("lambda_fraction", |r| r.fraction),
        ("objective", |r| r.objective),
        ("lower", |r| r.lower),
        ("relative_gap", |r| r.gap),
        ("neurons", |r| r.neurons as f64),
    ];
    if rows.iter().any(|r| r.width.is_some()) {
        columns.push(("width", |r| r.known_width().map_or(f64::NAN, |w| w.0 as f64)));
        columns.push(("width_is_minimal", |r| {
            r.known_width().map_or(f64::NAN, |w| f64::from(u8::from(w.1)))
        }));
    }
    if validated {
        columns.push(("validation_loss", |r| r.validation.map_or(f64::NAN, |v| v.0)));
        columns.push((score_name, |r| r.validation.map_or(f64::NAN, |v| v.1)));
    }
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<Vec<f64>> =
        columns.iter().map(|(_, get)| rows.iter().map(get).collect()).collect();
    let columns: Vec<OutColumn> = values.iter().map(|v| OutColumn::Number(v)).collect();
    Ok(write_columns(Some(file), &names, &columns)?)
}
