//! A fitted model as named tensors and text, and back.

use crate::chosen;
use crate::model_text::*;
use crate::report::{certificate_json, cross_validation_json, status_key};
use crate::values;
use anyhow::{Context, Result, bail, ensure};
use bidual::{Activation, Choose, Gates, Mat, Model, Network, Options, PatternChoice, Scaling};
use bidual_io::encoding::Encoding;
use bidual_io::model::{Tensor, Tensors};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Changes whenever an older reader would misread the file.
const FORMAT: &str = "bidual-model-1";

/// A model with what it takes to apply it to tables.
pub struct Stored {
    pub model: Model,
    pub encoding: Encoding,
    /// Name of the target column.
    pub target: String,
    /// Names of −1 and +1, for classification.
    pub classes: Option<[String; 2]>,
    /// Name of the column of sample weights, if the fit had one.
    pub weights: Option<String>,
}

impl Stored {
    pub fn to_tensors(&self) -> Tensors {
        let (model, options) = (&self.model, &self.model.options);
        let mut tensors = BTreeMap::new();
        let mut vector = |name: &str, values: &[f64]| {
            let tensor = Tensor { shape: vec![values.len()], values: values.to_vec() };
            tensors.insert(name.to_owned(), tensor);
        };
        vector("hidden_biases", &model.network.biases);
        vector("output_weights", &model.network.outputs);
        vector("output_bias", &[model.network.output_bias]);
        vector("scaling_mean", &model.scaling.mean);
        vector("scaling_inverse_scale", &model.scaling.inverse_scale);
        vector("dual", &model.dual);
        let mut neurons = |name: &str, m: &Mat| {
            tensors.insert(name.to_owned(), rows_of_columns(m));
        };
        neurons("hidden_weights", &model.network.weights);
        if let Some(gates) = &model.network.gates {
            neurons("gate_directions", &gates.directions);
        }
        if let Some(gates) = &model.gates {
            neurons("pattern_gates", &gates.directions);
        }
        for (name, gates) in
            [("gate_thresholds", &model.network.gates), ("pattern_thresholds", &model.gates)]
        {
            if let Some(gates) = gates {
                let values = gates.thresholds.clone();
                tensors.insert(name.to_owned(), Tensor { shape: vec![values.len()], values });
            }
        }

        let mut metadata: BTreeMap<String, String> = [
            ("format", FORMAT.to_owned()),
            ("bidual_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("formulation", activation_key(options.activation).to_owned()),
            ("loss", loss_key(options.loss)),
            ("bias", bias_key(options.bias).to_owned()),
            ("output_bias", options.output_bias.to_string()),
            ("standardize", options.standardize.to_string()),
            ("seed", options.seed.to_string()),
            ("lambda", exact(model.lambda)),
            ("lambda_max", exact(model.lambda_max)),
            ("lambda_choice", lambda_key(options.lambda)),
            ("patterns", patterns_key(&options.patterns)),
            ("pattern_count", model.patterns.to_string()),
            ("tolerance", exact(options.tolerance)),
            ("max_iterations", options.max_iterations.to_string()),
            ("folds", options.folds.to_string()),
            ("iterations", model.iterations.to_string()),
            ("cones", model.cones.to_string()),
            ("certificate", certificate_json(&model.certificate).to_string()),
            ("status", status_key(model.status)),
            ("encoding", json!(self.encoding).to_string()),
            ("features", json!(self.encoding.feature_names()).to_string()),
            ("target", self.target.clone()),
        ]
        .map(|(key, text)| (key.to_owned(), text))
        .into();
        let optional = [
            ("active_share", options.active_share.map(exact)),
            ("time_limit", options.time_limit.map(|limit| exact(limit.as_secs_f64()))),
            ("classes", self.classes.as_ref().map(|classes| json!(classes).to_string())),
            ("weights", self.weights.clone()),
            (
                "choose",
                (options.choose != Choose::Narrow).then(|| options.choose.name().to_owned()),
            ),
            (
                "selection",
                model
                    .selection
                    .as_ref()
                    .map(|how| chosen::json(options.choose, Some(how)).to_string()),
            ),
            (
                "cross_validation",
                model.cross_validation.as_ref().map(|cv| cross_validation_json(cv).to_string()),
            ),
        ];
        for (key, text) in optional {
            if let Some(text) = text {
                metadata.insert(key.to_owned(), text);
            }
        }
        Tensors { tensors, metadata }
    }

    pub fn load(path: &Path) -> Result<Self> {
        let tensors = Tensors::load(path)?;
        Self::from_tensors(&tensors).with_context(|| path.display().to_string())
    }

    pub fn from_tensors(file: &Tensors) -> Result<Self> {
        let format = file.meta("format").context("not a model of bidual")?;
        ensure!(
            format == FORMAT,
            "the format is {format:?}, expected {FORMAT:?}: use the version of bidual that wrote it"
        );
        let encoding: Encoding = serde_json::from_str(file.meta("encoding")?)
            .map_err(|e| damaged("encoding", "an encoding of columns", e))?;
        let d = encoding.feature_names().len();
        let activation = parse(file, "formulation", activation_of)?;
        let scaling = Scaling {
            mean: vector(file, "scaling_mean", d)?,
            inverse_scale: vector(file, "scaling_inverse_scale", d)?,
        };
        ensure!(
            scaling.inverse_scale.iter().all(|s| *s >= 0.0),
            "tensor \"scaling_inverse_scale\" holds a negative number: write the model anew"
        );
        let gates = match file.tensors.contains_key("pattern_gates") {
            true => Some(gates(file, "pattern_gates", "pattern_thresholds", d)?),
            false => None,
        };
        let network = network(file, activation, d)?;
        for j in (0..d).filter(|&j| scaling.inverse_scale[j] == 0.0) {
            ensure!(
                (0..network.neurons()).all(|k| network.weights[(j, k)] == 0.0),
                "feature {j} is constant by \"scaling_inverse_scale\" but has a weight: write the model anew"
            );
        }
        let certificate = certificate_of(file.meta("certificate")?)?;
        let options = Options {
            activation,
            loss: parse(file, "loss", loss_of)?,
            lambda: parse(file, "lambda_choice", |text| values::lambda(text).ok())?,
            patterns: patterns_of(file.meta("patterns")?, gates.as_ref(), &scaling)?,
            active_share: optional(file, "active_share")?,
            bias: parse(file, "bias", bias_of)?,
            output_bias: plain(file, "output_bias")?,
            standardize: plain(file, "standardize")?,
            seed: plain(file, "seed")?,
            tolerance: plain(file, "tolerance")?,
            max_iterations: plain(file, "max_iterations")?,
            time_limit: optional::<f64>(file, "time_limit")?
                .map(Duration::try_from_secs_f64)
                .transpose()
                .map_err(|e| damaged("time_limit", "seconds", e))?,
            folds: plain(file, "folds")?,
            choose: match file.metadata.contains_key("choose") {
                true => parse(file, "choose", chosen::choose_of)?,
                false => Choose::Narrow,
            },
        };
        options.validate().context("the stored options contradict each other")?;
        let classes: Option<[String; 2]> = file
            .metadata
            .get("classes")
            .map(|text| serde_json::from_str(text))
            .transpose()
            .map_err(|e| damaged("classes", "two names", e))?;
        ensure!(
            classes.is_some() == options.loss.is_classification(),
            "the metadata \"classes\" and \"loss\" contradict each other: write the model anew"
        );
        if options.activation == Activation::Gated
            || !matches!(options.patterns, PatternChoice::All(_) | PatternChoice::Generated(_))
        {
            ensure!(
                gates.is_some(),
                "the tensor \"pattern_gates\" is missing: write the model anew"
            );
        }
        let selection = file.metadata.get("selection");
        let selection = selection.map(|text| chosen::selection_of(text)).transpose()?;
        ensure!(
            selection.is_some() == (options.choose != Choose::Narrow),
            "the metadata \"choose\" and \"selection\" contradict each other: write the model anew"
        );
        let model = Model {
            network,
            lambda: plain(file, "lambda")?,
            lambda_max: plain(file, "lambda_max")?,
            certificate,
            dual: finite(file, "dual")?,
            status: parse(file, "status", status_of)?,
            iterations: plain(file, "iterations")?,
            cones: plain(file, "cones")?,
            patterns: plain(file, "pattern_count")?,
            cross_validation: file
                .metadata
                .get("cross_validation")
                .map(|text| cross_validation_of(text))
                .transpose()?,
            selection,
            options,
            scaling,
            gates,
        };
        ensure!(
            model.lambda > 0.0 && model.lambda.is_finite(),
            "the metadata \"lambda\" is {}, expected a positive number: write the model anew",
            model.lambda
        );
        Ok(Self {
            model,
            encoding,
            target: file.meta("target")?.to_owned(),
            classes,
            weights: file.metadata.get("weights").cloned(),
        })
    }
}

/// A d×m matrix with a column a neuron as an m×d tensor with a row a neuron.
pub fn rows_of_columns(m: &Mat) -> Tensor {
    let values = (0..m.ncols()).flat_map(|j| m.col_as_slice(j).iter().copied()).collect();
    Tensor { shape: vec![m.ncols(), m.nrows()], values }
}

fn parse<T>(file: &Tensors, key: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text = file.meta(key)?;
    read(text).ok_or_else(|| damaged(key, "a value this version knows", format!("{text:?}")))
}

fn plain<T: FromStr>(file: &Tensors, key: &str) -> Result<T> {
    parse(file, key, |text| text.parse().ok())
}

fn optional<T: FromStr>(file: &Tensors, key: &str) -> Result<Option<T>> {
    file.metadata.contains_key(key).then(|| plain(file, key)).transpose()
}

fn finite(file: &Tensors, name: &str) -> Result<Vec<f64>> {
    let values = file.vector(name)?;
    check_finite(name, values)?;
    Ok(values.to_vec())
}

fn check_finite(name: &str, values: &[f64]) -> Result<()> {
    match values.iter().find(|v| !v.is_finite()) {
        Some(bad) => {
            bail!("tensor {name:?} holds {bad}, expected finite numbers: write the model anew")
        }
        None => Ok(()),
    }
}

fn vector(file: &Tensors, name: &str, length: usize) -> Result<Vec<f64>> {
    let values = finite(file, name)?;
    ensure!(
        values.len() == length,
        "tensor {name:?} has {} values, expected {length}: write the model anew",
        values.len()
    );
    Ok(values)
}

/// An m×d tensor as a d×m matrix.
fn columns(file: &Tensors, name: &str, d: usize) -> Result<Mat> {
    let (rows, found, values) = file.matrix(name)?;
    ensure!(
        found == d,
        "tensor {name:?} has {found} columns, expected {d}, one per feature: write the model anew"
    );
    check_finite(name, values)?;
    Ok(Mat::from_fn(d, rows, |j, k| values[k * d + j]))
}

fn gates(file: &Tensors, directions: &str, thresholds: &str, d: usize) -> Result<Gates> {
    let directions = columns(file, directions, d)?;
    let thresholds = vector(file, thresholds, directions.ncols())?;
    Ok(Gates { directions, thresholds })
}

fn network(file: &Tensors, activation: Activation, d: usize) -> Result<Network> {
    let weights = columns(file, "hidden_weights", d)?;
    let m = weights.ncols();
    let gates = match activation {
        Activation::Relu => None,
        Activation::Gated => Some(gates(file, "gate_directions", "gate_thresholds", d)?),
    };
    if let Some(found) = gates.as_ref().map(|g| g.thresholds.len()).filter(|found| *found != m) {
        bail!("{m} neurons but {found} gates, expected one gate per neuron: write the model anew");
    }
    Ok(Network {
        biases: vector(file, "hidden_biases", m)?,
        outputs: vector(file, "output_weights", m)?,
        output_bias: vector(file, "output_bias", 1)?[0],
        weights,
        gates,
    })
}
