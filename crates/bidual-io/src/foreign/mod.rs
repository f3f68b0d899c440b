//! Two-layer ReLU networks that other programs trained, read from ONNX graphs,
//! safetensors files and NPZ archives.
//!
//! What is read is f(x) = Σⱼ aⱼ max(0, wⱼᵀx + bⱼ) + c. Whatever the file does
//! feature by feature before the hidden layer, unit by unit around it, or to
//! the one output by a fixed factor and offset, is folded into these weights,
//! in double precision. Everything else is refused by name.

use std::path::Path;
use std::str::FromStr;

use bidual::{Mat, Network, Scaling};

use crate::error::Error;
use crate::model::{Tensor, Tensors};
use crate::table::{npz, read_file};

mod algebra;
mod constant;
mod graph;
#[cfg(test)]
mod handmade;
mod operators;
mod tensors;

pub use tensors::read_named;

/// How to read a file of named arrays; ONNX graphs need none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Which arrays are the weights; by default they are found by shape and name.
    pub names: Option<ArrayNames>,
    /// How the matrices lie; by default the shapes decide.
    pub layout: Option<Layout>,
}

/// The arrays of a two-layer network by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayNames {
    /// Hidden weights.
    pub hidden_weights: String,
    /// Hidden biases; none are zeros.
    pub hidden_biases: Option<String>,
    /// Output weights.
    pub output_weights: String,
    /// Output bias; none is zero.
    pub output_bias: Option<String>,
}

impl FromStr for ArrayNames {
    type Err = String;

    /// Reads `W1=…,b1=…,W2=…,b2=…` in any order; the biases may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected W1=NAME,b1=NAME,W2=NAME,b2=NAME (b1 and b2 may be absent)";
        let mut found: [Option<String>; 4] = [None, None, None, None];
        for part in text.split(',') {
            let (key, name) = part.split_once('=').ok_or(EXPECTED)?;
            let place = ["W1", "b1", "W2", "b2"].iter().position(|k| *k == key.trim());
            let place = place.and_then(|at| found.get_mut(at)).ok_or(EXPECTED)?;
            let name = name.trim();
            if name.is_empty() || place.is_some() {
                return Err(EXPECTED.into());
            }
            *place = Some(name.to_owned());
        }
        let [hidden, hidden_biases, output, output_bias] = found;
        let (Some(hidden_weights), Some(output_weights)) = (hidden, output) else {
            return Err(EXPECTED.into());
        };
        Ok(Self { hidden_weights, hidden_biases, output_weights, output_bias })
    }
}

/// How a weight matrix lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A row a unit, as in torch: hidden m×d, output 1×m.
    Units,
    /// A row an input, as in scikit-learn and Keras: hidden d×m, output m×1.
    Inputs,
}

/// A network from a file of another program.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignNetwork {
    /// The network on the inputs that the file expects.
    pub network: Network,
    /// What the file held.
    pub found: Found,
}

/// What a file held, for the reader of a report to check.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// `ONNX`, `safetensors` or `NPZ`.
    pub format: &'static str,
    /// The program that wrote the file, if it says so.
    pub producer: Option<String>,
    /// Whether weights were stored in single precision: then the program's own
    /// outputs differ from those of `network` by the rounding of 24-bit sums.
    pub single_precision: bool,
    /// Whether the file goes on to a probability or a class, of which the
    /// output of `network` is the logit: f(x) ≥ 0 is the second class.
    pub logit: bool,
    /// What the file does to the inputs before its hidden layer, if anything:
    /// `network.unfold(&scaling)` has the hidden weights as they were trained.
    pub scaling: Option<Scaling>,
    /// Where the parts came from, in words, in the order of the computation.
    pub parts: Vec<String>,
}

/// Reads the network at `path`; the extension (`.onnx`, `.safetensors`, `.npz`,
/// in any case) decides the format. ONNX weights in files beside the graph are
/// read too.
///
/// # Errors
/// Other extensions, unreadable or damaged files, and every network that is
/// not a two-layer ReLU network with one output: the message names the first
/// part that is not understood.
pub fn read_network(path: &Path, options: &ReadOptions) -> Result<ForeignNetwork, Error> {
    let file = path.display().to_string();
    let extension =
        path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if !matches!(extension.as_str(), "onnx" | "safetensors" | "npz") {
        return Err(Error::NetworkFormat { file, found: extension });
    }
    let bytes = read_file(path)?;
    match extension.as_str() {
        "onnx" => {
            let folder = path.parent().unwrap_or(Path::new("."));
            graph::read(&bytes, &file, Some(folder))
        }
        "safetensors" => read_safetensors_network(&bytes, &file, options),
        _ => read_npz_network(&bytes, &file, options),
    }
}

/// Reads the bytes of an ONNX model that holds all its weights; `source`
/// begins the messages.
///
/// # Errors
/// Those of [`read_network`]; weights in other files.
pub fn read_onnx_network(bytes: &[u8], source: &str) -> Result<ForeignNetwork, Error> {
    graph::read(bytes, source, None)
}

/// Reads the bytes of a safetensors file; `source` begins the messages.
///
/// # Errors
/// Those of [`read_network`].
pub fn read_safetensors_network(
    bytes: &[u8],
    source: &str,
    options: &ReadOptions,
) -> Result<ForeignNetwork, Error> {
    let file = Tensors::from_bytes(bytes, source)?;
    let single = Tensors::holds_single_precision(bytes);
    let tensors = file.tensors.into_iter().collect();
    let mut read = read_named(tensors, source, options)?;
    read.found.format = "safetensors";
    read.found.single_precision = single;
    read.found.producer = file.metadata.get("format").map(crate::text::one_line);
    Ok(read)
}

/// Reads the bytes of an NPZ archive; `source` begins the messages.
///
/// # Errors
/// Those of [`read_network`].
pub fn read_npz_network(
    bytes: &[u8],
    source: &str,
    options: &ReadOptions,
) -> Result<ForeignNetwork, Error> {
    let arrays = npz::read_arrays(bytes, source)?;
    let single = arrays.iter().any(|(_, a)| a.single_precision);
    let tensors = arrays
        .into_iter()
        .map(|(name, a)| (name, Tensor { shape: a.shape, values: a.values }))
        .collect();
    let mut read = read_named(tensors, source, options)?;
    read.found.format = "NPZ";
    read.found.single_precision = single;
    Ok(read)
}

/// A network from its parts: `weights` m×d in row-major order (a row a unit).
///
/// # Errors
/// No inputs or units, numbers that are not finite.
fn network(
    file: &str,
    inputs: usize,
    weights: &[f64],
    biases: Vec<f64>,
    outputs: Vec<f64>,
    output_bias: f64,
) -> Result<Network, Error> {
    let refuse = |what: String, remedy| Err(Error::Network { file: file.into(), what, remedy });
    let m = outputs.len();
    if inputs == 0 || m == 0 {
        let what = format!("the network has {inputs} inputs and {m} hidden units");
        return refuse(what, "expected at least one of each");
    }
    for (what, values) in [
        ("hidden weights", weights),
        ("hidden biases", &biases),
        ("output weights", &outputs),
        ("output bias", &[output_bias]),
    ] {
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            let what = format!("the {what} hold {bad} (after folding the scaling)");
            return refuse(what, "expected finite numbers; was training stopped in time?");
        }
    }
    let at = |i: usize, j: usize| weights.get(j * inputs + i).copied().unwrap_or(f64::NAN);
    Ok(Network { weights: Mat::from_fn(inputs, m, at), biases, outputs, output_bias, gates: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_order() {
        let names: ArrayNames = "W2=b, W1 = a,b1=c".parse().unwrap();
        assert_eq!((names.hidden_weights.as_str(), names.output_weights.as_str()), ("a", "b"));
        assert_eq!((names.hidden_biases.as_deref(), names.output_bias), (Some("c"), None));
        for bad in ["", "W1=a", "W1=a,W2=", "W1=a,W2=b,W1=c", "W1=a,W2=b,w3=c", "a,b"] {
            assert!(bad.parse::<ArrayNames>().is_err(), "{bad}");
        }
    }

    #[test]
    fn other_formats_get_advice() {
        for (name, says) in [("m.pt", "torch.onnx.export"), ("m.pkl", "skl2onnx"), ("m", "use")] {
            let error = read_network(Path::new(name), &ReadOptions::default()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
