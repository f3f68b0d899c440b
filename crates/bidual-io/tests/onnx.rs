//! ONNX export, checked with onnx and onnxruntime where BIDUAL_PYTHON names a
//! Python interpreter that has them.

use std::path::Path;
use std::process::Command;

use bidual_io::onnx::{OnnxNetwork, to_onnx};
use serde_json::{Value, json};

/// Numbers in [-1, 1) from a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        let next = self.0.wrapping_mul(6364136223846793005);
        self.0 = next.wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn vec(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn evaluate(n: &OnnxNetwork<'_>, x: &[f64]) -> f64 {
    let mut sum = n.output_bias;
    for j in 0..n.outputs.len() {
        let row = |matrix: &[f64]| dot(&matrix[j * n.inputs..(j + 1) * n.inputs], x);
        let z = row(n.weights) + n.biases[j];
        let on = match n.gates {
            Some((directions, thresholds)) => row(directions) >= thresholds[j],
            None => z > 0.0,
        };
        sum += if on { n.outputs[j] * z } else { 0.0 };
    }
    sum
}

fn case(directory: &Path, name: &str, n: &OnnxNetwork<'_>, inputs: &[Vec<f64>]) -> Value {
    let path = directory.join(format!("{name}.onnx"));
    let bytes = to_onnx(n).unwrap();
    assert_eq!(bytes, to_onnx(n).unwrap());
    std::fs::write(&path, bytes).unwrap();
    let outputs: Vec<f64> = inputs.iter().map(|x| evaluate(n, x)).collect();
    let labels: Vec<i64> = outputs.iter().map(|&f| i64::from(f >= 0.0)).collect();
    let labels = if n.classifier { json!(labels) } else { Value::Null };
    json!({"model": path, "inputs": inputs, "outputs": outputs, "labels": labels})
}

#[test]
fn runtime_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut numbers = Numbers(7);
    let mut cases = Vec::new();
    for (m, d) in [(0, 3), (1, 1), (5, 2), (64, 17)] {
        let (weights, biases, outputs) = (numbers.vec(m * d), numbers.vec(m), numbers.vec(m));
        let (directions, thresholds) = (numbers.vec(m * d), numbers.vec(m));
        let inputs: Vec<Vec<f64>> = (0..50).map(|_| numbers.vec(d)).collect();
        for gated in [false, true] {
            for classifier in [false, true] {
                let network = OnnxNetwork {
                    weights: &weights,
                    biases: &biases,
                    outputs: &outputs,
                    output_bias: numbers.next() / 4.0,
                    gates: gated.then_some((&directions, &thresholds)),
                    inputs: d,
                    classifier,
                    doc: "a network – with documentation",
                };
                let name = format!("m{m}_d{d}_{gated}_{classifier}");
                cases.push(case(at, &name, &network, &inputs));
            }
        }
    }
    // On the edges: f(x) = 0 is the label 1, and g·x = t is on.
    let edge = OnnxNetwork {
        weights: &[1.0, 0.0],
        biases: &[0.0],
        outputs: &[1.0],
        output_bias: -2.0,
        gates: Some((&[1.0, 0.0], &[2.0])),
        inputs: 2,
        classifier: true,
        doc: "",
    };
    let below = f64::from_bits(2.0f64.to_bits() - 1);
    let inputs = [vec![2.0, 5.0], vec![below, 5.0], vec![3.0, 0.0]];
    cases.push(case(at, "edge", &edge, &inputs));
    // Raw inputs far from zero, where single precision would lose everything.
    let scaled = OnnxNetwork {
        weights: &[1.0, 1e-9],
        biases: &[-1e9],
        gates: None,
        output_bias: 0.0,
        ..edge
    };
    cases.push(case(at, "scaled", &scaled, &[vec![1e9 + 0.5, 1e9], vec![1e9 - 7.25, -3e9]]));

    let Some(python) = std::env::var_os("BIDUAL_PYTHON") else {
        println!("skipped: BIDUAL_PYTHON names no interpreter with onnx and onnxruntime");
        return;
    };
    let list = at.join("cases.json");
    std::fs::write(&list, json!(cases).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_check.py");
    let run = Command::new(python).arg(script).arg(list).output().unwrap();
    let (out, err) = (&run.stdout, &run.stderr);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(err));
    println!("{}", String::from_utf8_lossy(out));
}

#[test]
fn unsuitable_networks_are_refused() {
    let good = OnnxNetwork {
        weights: &[1.0, 2.0],
        biases: &[0.0],
        outputs: &[1.0],
        output_bias: 0.0,
        gates: None,
        inputs: 2,
        classifier: false,
        doc: "",
    };
    let fails = |network: OnnxNetwork<'_>, says: &str| {
        let error = to_onnx(&network).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    to_onnx(&good).unwrap();
    fails(OnnxNetwork { inputs: 0, ..good }, "inputs: expected at least 1, found 0");
    fails(
        OnnxNetwork { inputs: 3, ..good },
        "weights: expected 3 values for 1 neurons of 3 inputs, found 2",
    );
    fails(OnnxNetwork { biases: &[], ..good }, "biases: expected 1 values");
    fails(
        OnnxNetwork { output_bias: f64::NAN, ..good },
        "output bias: expected finite values, found NaN",
    );
    fails(OnnxNetwork { gates: Some((&[0.0], &[0.0])), ..good }, "gate directions: expected 2");
    fails(OnnxNetwork { inputs: usize::MAX, ..good }, "network: expected at most");
}
