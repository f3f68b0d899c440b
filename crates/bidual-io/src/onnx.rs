//! Networks as ONNX models, in double precision throughout.

use prost::Message;

use crate::error::Error;

pub(crate) mod proto;

use proto::{Graph, Model, Node, OperatorSet, TensorProto, ValueInfo};

/// The network f(x) = Σⱼ aⱼ·φⱼ(wⱼ·x + bⱼ) + c over m neurons and d inputs, with
/// φⱼ the ReLU or, for a gated network, the factor 1 where gⱼ·x ≥ tⱼ, else 0.
#[derive(Clone, Copy, Debug)]
pub struct OnnxNetwork<'a> {
    /// wⱼ, m × d in row-major order.
    pub weights: &'a [f64],
    /// bⱼ, m of them.
    pub biases: &'a [f64],
    /// aⱼ, m of them; m may be 0.
    pub outputs: &'a [f64],
    /// c.
    pub output_bias: f64,
    /// gⱼ, m × d in row-major order, and tⱼ, m of them.
    pub gates: Option<(&'a [f64], &'a [f64])>,
    /// d, at least 1.
    pub inputs: usize,
    /// Whether to add the output `label`, 1 where f(x) ≥ 0 and else 0.
    pub classifier: bool,
    /// Documentation to store in the model.
    pub doc: &'a str,
}

/// Largest number of weights; a protocol buffer is limited to 2 GiB.
const MOST_WEIGHTS: usize = 1 << 27;

/// The bytes of an ONNX model (IR version 8, operator set 17) of the network:
/// input `X`, N × d doubles; output `output`, N × 1 doubles; for classifiers
/// also `label`, N 64-bit integers. Gates compare as computed by the runtime,
/// whose rounding may differ where gⱼ·x and tⱼ agree to the last bits.
///
/// # Errors
/// Slices of other lengths, no inputs, values that are not finite, more
/// weights than a protocol buffer can hold.
pub fn to_onnx(network: &OnnxNetwork<'_>) -> Result<Vec<u8>, Error> {
    check(network)?;
    let d = network.inputs;
    let zeros = vec![0.0; d];
    // Matrices with a side of zero are legal but poorly supported; a network
    // without neurons gets one whose output is always 0.
    let (weights, biases, outputs, gates) = if network.outputs.is_empty() {
        (zeros.as_slice(), [0.0].as_slice(), [0.0].as_slice(), None)
    } else {
        (network.weights, network.biases, network.outputs, network.gates)
    };
    let m = outputs.len();

    let mut initializers = vec![
        TensorProto::doubles("weights", &[d, m], transposed(weights, m, d)),
        TensorProto::doubles("biases", &[m], biases.to_vec()),
        TensorProto::doubles("output_weights", &[m, 1], outputs.to_vec()),
        TensorProto::doubles("output_bias", &[1], vec![network.output_bias]),
    ];
    let mut nodes = vec![
        Node::new("MatMul", &["X", "weights"], "products"),
        Node::new("Add", &["products", "biases"], "preactivations"),
    ];
    if let Some((directions, thresholds)) = gates {
        let zero = TensorProto::doubles("zero", &[], vec![0.0]);
        initializers.extend([
            TensorProto::doubles("gates", &[d, m], transposed(directions, m, d)),
            TensorProto::doubles("thresholds", &[m], thresholds.to_vec()),
            zero,
        ]);
        nodes.extend([
            Node::new("MatMul", &["X", "gates"], "gate_products"),
            Node::new("GreaterOrEqual", &["gate_products", "thresholds"], "on"),
            Node::new("Where", &["on", "preactivations", "zero"], "activations"),
        ]);
    } else {
        nodes.push(Node::new("Relu", &["preactivations"], "activations"));
    }
    nodes.extend([
        Node::new("MatMul", &["activations", "output_weights"], "sums"),
        Node::new("Add", &["sums", "output_bias"], "output"),
    ]);
    let mut results = vec![ValueInfo::doubles("output", "N", 1)];
    if network.classifier {
        initializers.extend([
            TensorProto::doubles("boundary", &[1], vec![0.0]),
            TensorProto::integers("columns", &[1]),
        ]);
        nodes.extend([
            Node::new("Squeeze", &["output", "columns"], "margins"),
            Node::new("GreaterOrEqual", &["margins", "boundary"], "positive"),
            Node::cast_to_integers("positive", "label"),
        ]);
        results.push(ValueInfo::integers("label", "N"));
    }

    let model = Model {
        ir_version: Some(8),
        producer_name: Some("bidual".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(network.doc.to_owned()),
        graph: Some(Graph {
            nodes,
            name: Some("two_layer_network".to_owned()),
            initializers,
            inputs: vec![ValueInfo::doubles("X", "N", d as i64)],
            outputs: results,
        }),
        operator_sets: vec![OperatorSet { domain: Some(String::new()), version: Some(17) }],
    };
    Ok(model.encode_to_vec())
}

/// Checks the lengths and values of a network.
fn check(network: &OnnxNetwork<'_>) -> Result<(), Error> {
    let (m, d) = (network.outputs.len(), network.inputs);
    let wrong = |what, expected: String, found: String| Err(Error::Onnx { what, expected, found });
    if d == 0 {
        return wrong("inputs", "at least 1".into(), "0".into());
    }
    let parts = if network.gates.is_some() { 2 } else { 1 };
    let count = m.max(1).checked_mul(d).filter(|n| *n <= MOST_WEIGHTS / parts);
    let Some(_) = count else {
        let most = format!("at most {} weights", MOST_WEIGHTS / parts);
        return wrong("network", most, format!("{m} neurons of {d} inputs"));
    };
    let (directions, thresholds) = network.gates.unwrap_or_default();
    let gates = if network.gates.is_some() { m } else { 0 };
    let output_bias = [network.output_bias];
    let slices = [
        ("weights", network.weights, m * d),
        ("biases", network.biases, m),
        ("outputs", network.outputs, m),
        ("output bias", &output_bias, 1),
        ("gate directions", directions, gates * d),
        ("gate thresholds", thresholds, gates),
    ];
    for (what, values, expected) in slices {
        if values.len() != expected {
            let expected = format!("{expected} values for {m} neurons of {d} inputs");
            return wrong(what, expected, values.len().to_string());
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return wrong(what, "finite values".into(), bad.to_string());
        }
    }
    Ok(())
}

/// An m × d matrix in row-major order as d × m.
fn transposed(values: &[f64], m: usize, d: usize) -> Vec<f64> {
    (0..d).flat_map(|column| values.iter().skip(column).step_by(d).take(m).copied()).collect()
}
