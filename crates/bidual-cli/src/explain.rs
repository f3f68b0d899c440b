//! `bidual explain`: a stored network in words, numbers and a picture.

use crate::Outcome;
use crate::args::ExplainArgs;
use crate::data::{check_order, matrix, sample_weights};
use crate::export::extension;
use crate::model_file::Stored;
use crate::model_text::bias_of;
use crate::{fit, report};
use anyhow::{Context, Result, anyhow, bail, ensure};
use bidual::{Alternatives, Bias, Dataset, Gates, Mat, Model, Network, Scaling, Spread};
use bidual_io::atomic::{check_output, write_atomically};
use bidual_io::encoding::{Encoding, InputKind, binary_signs, number_column};
use bidual_io::explain::{Others, Samples, Subject, explain};
use bidual_io::table::read_table;
use serde_json::Value;
use std::path::Path;

/// Relative difference up to which two objectives count as equal.
const SAME: f64 = 1e-9;

pub fn run(args: &ExplainArgs) -> Result<Outcome> {
    check_order(&args.model, args.data.as_deref())?;
    if let Some(path) = &args.html {
        check_output(path)?;
        let found = extension(path);
        ensure!(
            matches!(found.as_str(), "html" | "htm"),
            "{}: expected a .html file, found the extension {found:?}; rename it",
            path.display()
        );
        let inputs: Vec<_> =
            [Some(&args.model), args.data.as_ref()].into_iter().flatten().collect();
        fit::refuse_overwrite(path, &inputs)?;
    }
    let parts = Parts::load(&args.model)?;
    let data = args.data.as_deref().map(|path| Data::load(path, &parts)).transpose()?;
    let source = args.model.display().to_string();
    let features = parts.encoding.feature_names();
    let numeric = quantities(&parts.encoding);
    let subject = Subject {
        source: &source,
        network: &parts.network,
        scaling: &parts.scaling,
        features: &features,
        numeric: &numeric,
        target: &parts.target,
        classes: parts.classes.as_ref(),
        bias: parts.bias,
    };
    let samples = data.as_ref().map(|data| Samples {
        source: &data.source,
        x: &data.x,
        y: data.y.as_deref(),
        weights: data.weights.as_deref(),
    });
    let mut explanation = explain(subject, samples);
    if let Some(others) = data.as_ref().and_then(|data| others(&parts, data)) {
        explanation = explanation.with_others(others);
    }
    if let Some(path) = &args.html {
        let page = explanation.html();
        write_atomically(path, |out| out.write_all(page.as_bytes()))?;
    }
    if args.json {
        report::print_json(&explanation.json())?;
    } else {
        report::print(&explanation.text())?;
    }
    Ok(Outcome::Done)
}

/// Other networks with the same outputs and cost, for ReLU networks.
fn others(parts: &Parts, data: &Data) -> Option<Others> {
    if parts.network.gates.is_some() || parts.network.neurons() == 0 {
        return None;
    }
    Some(match spread(parts, data) {
        Ok(spread) => Others {
            statement: statement(&spread),
            unique: Some(spread.is_unique()),
            ranges: spread.ranges.iter().map(|r| r.map(|r| [r.min, r.max])).collect(),
        },
        Err(error) => {
            Others { statement: format!("not compared: {error:#}"), unique: None, ranges: vec![] }
        }
    })
}

fn spread(parts: &Parts, data: &Data) -> Result<Spread> {
    let model = parts.model.as_ref().context(
        "a .json file does not say how the network was fitted; give the .safetensors model",
    )?;
    let y = data.y.clone().with_context(|| {
        format!("{} has no column {:?}, which the cost needs", data.source, parts.target)
    })?;
    if parts.weights.is_some() && data.weights.is_none() {
        bail!("{} has no column of sample weights, which the cost needs", data.source);
    }
    let data_set = Dataset::new(data.x.clone(), y, data.weights.clone())?;
    let objective = bidual::training_objective(model, &data_set)?;
    let stored = model.certificate.upper;
    ensure!(
        (objective - stored).abs() <= SAME * stored.abs(),
        "on {} the objective is {objective:?}, in the fit it was {stored:?}; give the data of the fit",
        data.source
    );
    Ok(Alternatives::of(model, &data_set)?.spread()?)
}

/// Whether other networks do the same, and which ones were looked at.
fn statement(spread: &Spread) -> String {
    let more = spread.directions - spread.own;
    let copies = match spread.ranges.iter().flatten().count() - spread.own {
        0 => String::new(),
        1 => ", where 1 neuron is a copy".to_owned(),
        copies => format!(", where {copies} neurons are copies"),
    };
    let source = if spread.complete { "in its patterns" } else { "found by search" };
    let from = format!("{} of this one{copies}; {more} more {source}", spread.own);
    let on = format!("on {} directions ({from})", spread.directions);
    let same = "the same outputs on these samples and the same weight decay";
    if spread.is_unique() {
        return format!("unique on the directions examined: no other network {on} has {same}");
    }
    format!(
        "not unique: other networks {on} have {same}; {} of the {} sizes here can change, {} can be 0, {} of the other directions can come in",
        spread.movable, spread.own, spread.dispensable, spread.joining
    )
}

/// Whether each feature is a quantity.
fn quantities(encoding: &Encoding) -> Vec<bool> {
    let kinds = encoding.inputs.iter().flat_map(|input| match &input.kind {
        InputKind::Number => vec![true],
        InputKind::OneHot { categories } => vec![false; categories.len()],
    });
    kinds.collect()
}

/// What is needed of a model file.
struct Parts {
    /// The whole model, if the file holds it.
    model: Option<Model>,
    network: Network,
    scaling: Scaling,
    encoding: Encoding,
    target: String,
    classes: Option<[String; 2]>,
    bias: Bias,
    weights: Option<String>,
}

impl Parts {
    fn load(path: &Path) -> Result<Self> {
        if extension(path) == "json" {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{}: cannot be read", path.display()))?;
            return Self::from_json(&text).with_context(|| path.display().to_string());
        }
        let stored = Stored::load(path)?;
        Ok(Self {
            network: stored.model.network.clone(),
            scaling: stored.model.scaling.clone(),
            encoding: stored.encoding,
            target: stored.target,
            classes: stored.classes,
            bias: stored.model.options.bias,
            weights: stored.weights,
            model: Some(stored.model),
        })
    }

    /// Reads what `bidual export` writes as JSON.
    fn from_json(text: &str) -> Result<Self> {
        const ANEW: &str = "export the model anew";
        let file: Value =
            serde_json::from_str(text).map_err(|e| anyhow!("not valid JSON: {e}; {ANEW}"))?;
        let part = |key: &str| {
            file.get(key).with_context(|| format!("there is no {key:?} in the file; {ANEW}"))
        };
        fn of<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Result<T> {
            serde_json::from_value(value.clone()).map_err(|e| anyhow!("{key:?}: {e}; {ANEW}"))
        }
        let numbers = |key: &str, length: usize| -> Result<Vec<f64>> {
            let values: Vec<f64> = of(part(key)?, key)?;
            let found = values.len();
            ensure!(found == length, "{key:?} has {found} values, expected {length}; {ANEW}");
            Ok(values)
        };
        let encoding: Encoding = of(part("encoding")?, "encoding")?;
        let d = encoding.feature_names().len();
        ensure!(d > 0, "\"encoding\" has no features; {ANEW}");
        let columns = |key: &str| -> Result<Mat> {
            let rows: Vec<Vec<f64>> = of(part(key)?, key)?;
            if let Some(row) = rows.iter().find(|row| row.len() != d) {
                bail!("{key:?} has a row of {} values, expected {d}; {ANEW}", row.len());
            }
            Ok(Mat::from_fn(d, rows.len(), |i, j| rows[j][i]))
        };
        let weights = columns("hidden_weights")?;
        let m = weights.ncols();
        let gates = match file.get("gate_directions") {
            Some(_) => {
                let directions = columns("gate_directions")?;
                ensure!(directions.ncols() == m, "\"gate_directions\": expected {m} rows; {ANEW}");
                Some(Gates { directions, thresholds: numbers("gate_thresholds", m)? })
            }
            None => None,
        };
        let bias: String = of(part("bias")?, "bias")?;
        let inverse_scale = numbers("scaling_inverse_scale", d)?;
        ensure!(
            inverse_scale.iter().all(|s| *s >= 0.0),
            "\"scaling_inverse_scale\" holds a negative number; {ANEW}"
        );
        Ok(Self {
            model: None,
            network: Network {
                biases: numbers("hidden_biases", m)?,
                outputs: numbers("output_weights", m)?,
                output_bias: of(part("output_bias")?, "output_bias")?,
                weights,
                gates,
            },
            scaling: Scaling { mean: numbers("scaling_mean", d)?, inverse_scale },
            encoding,
            target: of(part("target")?, "target")?,
            classes: of(part("classes")?, "classes")?,
            bias: bias_of(&bias).with_context(|| format!("\"bias\" is {bias:?}; {ANEW}"))?,
            weights: of(part("weights")?, "weights")?,
        })
    }
}

/// Samples to explain the network on.
struct Data {
    source: String,
    x: Mat,
    y: Option<Vec<f64>>,
    weights: Option<Vec<f64>>,
}

impl Data {
    /// The target and the sample weights are used if the table has them.
    fn load(path: &Path, parts: &Parts) -> Result<Self> {
        let table = read_table(path)?;
        let has = |name: &str| table.names.iter().any(|n| n == name);
        let x = matrix(&parts.encoding.apply(&table)?);
        let y = match &parts.classes {
            _ if !has(&parts.target) => None,
            Some(classes) => Some(binary_signs(&table, &parts.target, classes)?),
            None => Some(number_column(&table, &parts.target)?),
        };
        let weights = sample_weights(&table, parts.weights.as_deref().filter(|name| has(name)))?;
        if weights.as_ref().is_some_and(|w| !w.iter().any(|v| *v > 0.0)) {
            bail!("{}: no sample has a positive weight", path.display());
        }
        Ok(Self { source: path.display().to_string(), x, y, weights })
    }
}
