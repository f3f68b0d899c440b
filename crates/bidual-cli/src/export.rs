//! `bidual export`: a stored network as ONNX or as plain numbers.

use crate::Outcome;
use crate::args::ExportArgs;
use crate::model_file::{Stored, rows_of_columns};
use crate::model_text::{activation_key, bias_key, loss_key};
use anyhow::{Result, bail};
use bidual::Mat;
use bidual_io::atomic::{check_output, write_atomically};
use bidual_io::onnx::{OnnxNetwork, to_onnx};
use serde_json::{Value, json};
use std::path::Path;

pub fn run(args: &ExportArgs) -> Result<Outcome> {
    let path = &args.output;
    let write = match extension(path).as_str() {
        "onnx" => onnx,
        "json" => plain,
        found => bail!(
            "{}: the extension {found:?} is not an export format; use .onnx or .json",
            path.display()
        ),
    };
    check_output(path)?;
    crate::fit::refuse_overwrite(path, &[&args.model])?;
    let bytes = write(&Stored::load(&args.model)?)?;
    write_atomically(path, |out| out.write_all(&bytes))?;
    Ok(Outcome::Done)
}

/// In lower case.
pub fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// The bytes of the ONNX file.
pub fn onnx(stored: &Stored) -> Result<Vec<u8>> {
    let network = &stored.model.network;
    let weights = rows_of_columns(&network.weights).values;
    let gates = network.gates.as_ref();
    let directions = gates.map(|g| rows_of_columns(&g.directions).values);
    let thresholds = gates.map(|g| g.thresholds.as_slice());
    let features = stored.encoding.feature_names().join(", ");
    let doc = match &stored.classes {
        Some([negative, positive]) => format!(
            "score of {:?}: label 1 is {positive:?}, 0 is {negative:?}; features: {features}",
            stored.target
        ),
        None => format!("prediction of {:?}; features: {features}", stored.target),
    };
    Ok(to_onnx(&OnnxNetwork {
        weights: &weights,
        biases: &network.biases,
        outputs: &network.outputs,
        output_bias: network.output_bias,
        gates: directions.as_deref().zip(thresholds),
        inputs: network.inputs(),
        classifier: stored.classes.is_some(),
        doc: &doc,
    })?)
}

/// The weights on raw features, a list a neuron.
fn plain(stored: &Stored) -> Result<Vec<u8>> {
    let network = &stored.model.network;
    let rows =
        |m: &Mat| -> Vec<Value> { (0..m.ncols()).map(|j| json!(m.col_as_slice(j))).collect() };
    let mut value = json!({
        "activation": activation_key(stored.model.options.activation),
        "loss": loss_key(stored.model.options.loss),
        "bias": bias_key(stored.model.options.bias),
        "features": stored.encoding.feature_names(),
        "target": stored.target,
        "classes": stored.classes,
        "weights": stored.weights,
        "encoding": stored.encoding,
        "scaling_mean": stored.model.scaling.mean,
        "scaling_inverse_scale": stored.model.scaling.inverse_scale,
        "lambda": stored.model.lambda,
        "hidden_weights": rows(&network.weights),
        "hidden_biases": network.biases,
        "output_weights": network.outputs,
        "output_bias": network.output_bias,
        "certificate": crate::report::certificate_json(&stored.model.certificate),
    });
    if let Some(gates) = &network.gates {
        value["gate_directions"] = json!(rows(&gates.directions));
        value["gate_thresholds"] = json!(gates.thresholds);
    }
    Ok(format!("{value:#}\n").into_bytes())
}
