//! Fitted networks in words, numbers and pictures: each neuron as a condition
//! on the features and what it adds where the condition holds.
//!
//! A ReLU neuron a·max(0, wᵀx + b) is written as s·max(0, gᵀx − t): g is the
//! direction w on raw features, divided by the norm of w on standardised
//! features, t the threshold, and s the strength, the change of the network's
//! output per standard deviation beyond the threshold. (Derived here; the
//! function is the same.)

use bidual::{Bias, Mat, Network, Scaling};
use serde_json::{Value, json};

mod figure;
mod html;
mod text;

/// A network and what its inputs and output mean.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The model file, as reports name it.
    pub source: &'a str,
    /// The network on raw features.
    pub network: &'a Network,
    /// Means and deviations of the features in the fit.
    pub scaling: &'a Scaling,
    /// Names of the features, d of them.
    pub features: &'a [String],
    /// Whether each feature is a quantity (and not a category's indicator).
    pub numeric: &'a [bool],
    /// Name of the target.
    pub target: &'a str,
    /// Names of −1 and +1, for classification.
    pub classes: Option<&'a [String; 2]>,
    /// Whether weight decay sees the hidden bias, which then counts in norms.
    pub bias: Bias,
}

/// Samples to explain a network on.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// The table, as reports name it.
    pub source: &'a str,
    /// Raw features, n×d.
    pub x: &'a Mat,
    /// Targets, n, or ±1 for classification.
    pub y: Option<&'a [f64]>,
    /// Sample weights, n, of any scale.
    pub weights: Option<&'a [f64]>,
}

/// What is known of other networks with the same outputs and the same cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Others {
    /// Whether there are any, on which directions; or why that is not known.
    pub statement: String,
    /// Whether there are none; unknown without an answer.
    pub unique: Option<bool>,
    /// For each neuron of the network the least and the largest size norm·|output weight| among
    /// them; empty if unknown.
    pub ranges: Vec<Option<[f64; 2]>>,
}

/// A coefficient of a neuron's direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Index of the feature.
    pub feature: usize,
    /// Per standard deviation of the feature; the squares of a direction sum to 1.
    pub standardised: f64,
    /// Per unit of the feature.
    pub raw: f64,
}

/// Where one feature alone decides whether a neuron is active.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breakpoint {
    /// Index of the feature.
    pub feature: usize,
    /// Its value, in its unit.
    pub value: f64,
    /// Active above the value, or below it.
    pub above: bool,
    /// Whether other features have no weight at all; else the value is for
    /// samples whose other features are at their means.
    pub exact: bool,
}

/// One neuron.
#[derive(Clone, Debug, PartialEq)]
pub struct Neuron {
    /// Its place in the model file, from 1.
    pub number: usize,
    /// It is active where Σ raw·x > `threshold`: terms that are not zero, the
    /// largest standardised coefficient first. Those of the gate, if it has one.
    pub direction: Vec<Term>,
    /// The threshold t, in standard deviations along the direction.
    pub threshold: f64,
    /// The condition in one feature, if 98 % of the squared direction is one.
    pub breakpoint: Option<Breakpoint>,
    /// What the output changes per standard deviation beyond the threshold;
    /// for a gated neuron the norm of the linear part that is switched.
    pub strength: f64,
    /// A gated neuron adds Σ raw·x + constant where it is active.
    pub linear: Option<(Vec<Term>, f64)>,
    /// Output weight a.
    pub output_weight: f64,
    /// Hidden bias b, on raw features.
    pub hidden_bias: f64,
    /// Norm of the hidden weights that weight decay sees.
    pub norm: f64,
    /// Weighted share of the samples on which it is active.
    pub active: Option<f64>,
    /// Standard deviation of its output over the samples.
    pub deviation: Option<f64>,
    /// `deviation` as a share of the sum over neurons.
    pub share: Option<f64>,
    /// The least and the largest size norm·|output weight| among the networks with the same outputs
    /// and cost.
    pub range: Option<[f64; 2]>,
}

/// A network in parts.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    subject: Subject<'a>,
    samples: Option<Samples<'a>>,
    /// The neurons, the largest contribution first: by deviation on the
    /// samples, or by strength without samples.
    pub neurons: Vec<Neuron>,
    /// Standard deviation of the network's output over the samples.
    pub deviation: Option<f64>,
    /// Other networks with the same outputs and cost, if that was asked.
    pub others: Option<Others>,
}

/// Share of a squared direction from which one feature counts as the only one.
const DOMINANT: f64 = 0.98;

/// Takes a network apart, on `samples` if there are any.
pub fn explain<'a>(subject: Subject<'a>, samples: Option<Samples<'a>>) -> Explanation<'a> {
    let scaled = subject.network.clone().unfold(subject.scaling);
    let weights = samples.map(|s| normalised(s.weights, s.x.nrows()));
    let mut neurons: Vec<Neuron> =
        (0..subject.network.neurons()).map(|j| neuron(&subject, &scaled, j)).collect();
    let mut deviation = None;
    if let (Some(samples), Some(weights)) = (samples, &weights) {
        for neuron in &mut neurons {
            let (active, output) = outputs(subject.network, neuron.number - 1, samples.x);
            let share = active.iter().zip(weights).filter(|(a, _)| **a).map(|(_, w)| w).sum();
            neuron.active = Some(share);
            neuron.deviation = Some(standard_deviation(&output, weights));
        }
        let total: f64 = neurons.iter().filter_map(|n| n.deviation).sum();
        for neuron in &mut neurons {
            neuron.share = neuron.deviation.map(|d| if total > 0.0 { d / total } else { 0.0 });
        }
        deviation = Some(standard_deviation(&subject.network.predict(samples.x), weights));
    }
    let size = |n: &Neuron| n.deviation.unwrap_or(n.strength.abs());
    neurons.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.number.cmp(&b.number)));
    Explanation { subject, samples, neurons, deviation, others: None }
}

/// Weights that sum to one.
fn normalised(weights: Option<&[f64]>, n: usize) -> Vec<f64> {
    match weights {
        Some(weights) => {
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect()
        }
        None => vec![1.0 / n.max(1) as f64; n],
    }
}

fn standard_deviation(values: &[f64], weights: &[f64]) -> f64 {
    let mean: f64 = values.iter().zip(weights).map(|(v, w)| v * w).sum();
    let squares = values.iter().zip(weights).map(|(v, w)| w * (v - mean) * (v - mean));
    squares.sum::<f64>().sqrt()
}

/// vᵀx + offset for each row of `x`.
fn affine(v: &[f64], offset: f64, x: &Mat) -> Vec<f64> {
    let mut out = vec![offset; x.nrows()];
    for (j, v) in v.iter().enumerate().filter(|(_, v)| **v != 0.0) {
        out.iter_mut().zip(x.col_as_slice(j)).for_each(|(o, x)| *o += v * x);
    }
    out
}

/// Where a neuron is active, and what it adds, for each row of `x`.
fn outputs(network: &Network, j: usize, x: &Mat) -> (Vec<bool>, Vec<f64>) {
    let mut values = affine(network.weights.col_as_slice(j), network.biases[j], x);
    let active: Vec<bool> = match &network.gates {
        None => values.iter().map(|z| *z > 0.0).collect(),
        Some(gates) => {
            let gate = affine(gates.directions.col_as_slice(j), 0.0, x);
            gate.iter().map(|g| *g >= gates.thresholds[j]).collect()
        }
    };
    let a = network.outputs[j];
    values.iter_mut().zip(&active).for_each(|(v, on)| *v = if *on { a * *v } else { 0.0 });
    (active, values)
}

/// Terms that are not zero, `factor` times the weights, the largest first.
fn terms(raw: &[f64], standardised: &[f64], factor: f64) -> Vec<Term> {
    let mut terms: Vec<Term> = (raw.iter().zip(standardised).enumerate())
        .filter(|(_, (r, s))| **r != 0.0 && **s != 0.0)
        .map(|(feature, (r, s))| Term { feature, standardised: s * factor, raw: r * factor })
        .collect();
    let size = |t: &Term| t.standardised.abs();
    terms.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.feature.cmp(&b.feature)));
    terms
}

fn norm(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |sum: f64, v| sum.hypot(*v))
}

fn neuron(subject: &Subject<'_>, scaled: &Network, j: usize) -> Neuron {
    let network = subject.network;
    let (raw, standardised) = (network.weights.col_as_slice(j), scaled.weights.col_as_slice(j));
    let (a, length) = (network.outputs[j], norm(standardised));
    let mut neuron = Neuron {
        number: j + 1,
        direction: vec![],
        threshold: 0.0,
        breakpoint: None,
        strength: a * length,
        linear: None,
        output_weight: a,
        hidden_bias: network.biases[j],
        norm: match subject.bias {
            Bias::Penalised => length.hypot(scaled.biases[j]),
            Bias::Free | Bias::None => length,
        },
        active: None,
        deviation: None,
        share: None,
        range: None,
    };
    // without gates, the neuron is its own gate: −b is the threshold
    let (gate, gate_standardised, threshold) = match (&network.gates, &scaled.gates) {
        (Some(gates), Some(scaled)) => {
            neuron.linear = Some((terms(raw, standardised, a), a * network.biases[j]));
            (
                gates.directions.col_as_slice(j),
                scaled.directions.col_as_slice(j),
                gates.thresholds[j],
            )
        }
        _ => (raw, standardised, -network.biases[j]),
    };
    let length = norm(gate_standardised);
    if length > 0.0 {
        neuron.direction = terms(gate, gate_standardised, 1.0 / length);
        neuron.threshold = threshold / length;
        neuron.breakpoint = breakpoint(&neuron, &subject.scaling.mean);
    } else {
        neuron.threshold = threshold;
    }
    neuron
}

fn breakpoint(neuron: &Neuron, mean: &[f64]) -> Option<Breakpoint> {
    let (first, rest) = neuron.direction.split_first()?;
    if first.standardised * first.standardised < DOMINANT {
        return None;
    }
    let others: f64 = rest.iter().map(|t| t.raw * mean.get(t.feature).unwrap_or(&0.0)).sum();
    let value = (neuron.threshold - others) / first.raw;
    let (above, exact) = (first.raw > 0.0, rest.is_empty());
    value.is_finite().then_some(Breakpoint { feature: first.feature, value, above, exact })
}

impl Neuron {
    /// norm·|output weight|: what the neuron costs at most, and exactly if it is balanced.
    pub fn size(&self) -> f64 {
        self.norm * self.output_weight.abs()
    }
}

impl Explanation<'_> {
    /// Adds what is known of other networks with the same outputs and cost.
    pub fn with_others(mut self, others: Others) -> Self {
        for neuron in &mut self.neurons {
            neuron.range = others.ranges.get(neuron.number - 1).copied().flatten();
        }
        self.others = Some(others);
        self
    }

    /// All of it as one JSON object; names, units and numbers are not rounded.
    pub fn json(&self) -> Value {
        let subject = &self.subject;
        let name = |feature: usize| subject.features.get(feature).cloned().unwrap_or_default();
        let list = |terms: &[Term]| -> Vec<Value> {
            let term = |t: &Term| json!({"feature": name(t.feature), "standardised": t.standardised, "raw": t.raw});
            terms.iter().map(term).collect()
        };
        let neurons: Vec<Value> = (self.neurons.iter())
            .map(|n| {
                let breakpoint = n.breakpoint.map(|b| {
                    json!({
                        "feature": name(b.feature), "value": b.value,
                        "active": if b.above { "above" } else { "below" }, "exact": b.exact,
                    })
                });
                json!({
                    "neuron": n.number,
                    "direction": list(&n.direction),
                    "threshold": n.threshold,
                    "breakpoint": breakpoint,
                    "strength": n.strength,
                    "linear": n.linear.as_ref().map(|(terms, constant)| json!({"terms": list(terms), "constant": constant})),
                    "output_weight": n.output_weight,
                    "hidden_bias": n.hidden_bias,
                    "norm": n.norm,
                    "active_share": n.active,
                    "deviation": n.deviation,
                    "contribution_share": n.share,
                    "size": n.size(),
                    "size_range": n.range,
                    "sentence": self.sentence(n),
                })
            })
            .collect();
        json!({
            "model": subject.source,
            "data": self.samples.map(|s| s.source),
            "samples": self.samples.map(|s| s.x.nrows()),
            "target": subject.target,
            "classes": subject.classes,
            "features": subject.features,
            "output_bias": subject.network.output_bias,
            "deviation": self.deviation,
            "unique": self.others.as_ref().and_then(|o| o.unique),
            "other_networks": self.others.as_ref().map(|o| &o.statement),
            "neurons": neurons,
        })
    }
}
