//! What can be taken off a network without moving its outputs (but for a constant).

use crate::cone::Gauge;
use crate::linalg::{Mat, axpy, column, norm};
use crate::loss::Loss;
use crate::network::{Bias, Network};
use crate::optimal_set::gauge as weight_gauge;

/// A network after its free improvements, on scaled features.
pub(super) struct Tidied {
    /// Balanced neurons that do something; the output bias refitted if it is free.
    pub network: Network,
    /// Where each neuron stands in the network given.
    pub origin: Vec<usize>,
}

/// Drops neurons that are active on no sample or have no output, takes up constants in a free
/// output bias, balances and refits. None of it raises the objective (derived here): outputs on
/// the samples stay or move by a constant that is then chosen best, weight decay goes down.
///
/// `x` n×d scaled features; `loss` profiles the output bias if that is free.
pub(super) fn tidy(given: &Network, x: &Mat, bias: Bias, gauge: &Gauge, loss: &dyn Loss) -> Tidied {
    let mut biases = given.biases.clone();
    let mut hidden = vec![0.0; x.nrows()];
    let mut origin = vec![];
    for j in 0..given.neurons() {
        let w = column(&given.weights, j);
        let rho = weight_gauge(w, biases[j], bias);
        if !(rho > 0.0 && given.outputs[j] != 0.0) {
            continue;
        }
        hidden.fill(biases[j]);
        w.iter().enumerate().for_each(|(i, &w)| axpy(w, column(x, i), &mut hidden));
        if hidden.iter().all(|h| *h <= 0.0) {
            continue;
        }
        if let Some(radius) = gauge.bias_radius() {
            // active everywhere: a larger free bias is a constant
            biases[j] = biases[j].min(radius * norm(w));
        }
        origin.push(j);
    }
    let mut network = Network {
        weights: Mat::from_fn(given.inputs(), origin.len(), |i, k| given.weights[(i, origin[k])]),
        biases: origin.iter().map(|&j| biases[j]).collect(),
        outputs: origin.iter().map(|&j| given.outputs[j]).collect(),
        output_bias: given.output_bias,
        gates: None,
    };
    network.balance(bias);
    if let Some(profiled) = loss.as_intercept() {
        network.output_bias = 0.0;
        network.output_bias = profiled.intercept(&network.predict(x));
    }
    Tidied { network, origin }
}

/// The neurons whose size ρ(w)|a| is above `share` of the largest: the others are zero neurons,
/// which are stationary, up to what training leaves of them.
pub(super) fn sizeable(network: &Network, bias: Bias, share: f64) -> Vec<usize> {
    let size = |j: usize| {
        let w = column(&network.weights, j);
        weight_gauge(w, network.biases[j], bias) * network.outputs[j].abs()
    };
    let largest = (0..network.neurons()).map(size).fold(0.0, f64::max);
    (0..network.neurons()).filter(|&j| size(j) > share * largest).collect()
}

/// The listed neurons of a ReLU network.
pub(super) fn select(network: &Network, keep: &[usize]) -> Network {
    Network {
        weights: Mat::from_fn(network.inputs(), keep.len(), |i, k| network.weights[(i, keep[k])]),
        biases: keep.iter().map(|&j| network.biases[j]).collect(),
        outputs: keep.iter().map(|&j| network.outputs[j]).collect(),
        output_bias: network.output_bias,
        gates: None,
    }
}
