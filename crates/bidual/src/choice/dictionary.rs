//! The directions that networks of the same outputs and cost can use.

use crate::Result;
use crate::fit::Prepared;
use crate::formulation::with_ones;
use crate::linalg::{Mat, column};
use crate::network::{Bias, Network};
use crate::optimal_set::{Directions, cell_directions, gauge, optimal_directions};
use crate::options::Options;

/// Random starts of a search for optimal directions, and how often it is repeated.
const STARTS: usize = 192;
const SEARCHES: u64 = 4;
/// What a search returns has at least this share of the price λ.
const LEVEL: f64 = 1.0 - 1e-5;
/// Directions of one sign closer than this to a neuron of the network are that neuron.
const SAME: f64 = 1e-4;
/// Neurons of one sign closer than this are one neuron in two parts.
const TWINS: f64 = 1e-8;

/// For each neuron its place among the different directions of a network with these sizes.
pub(super) fn places(network: &Network, sizes: &[f64], bias: Bias) -> Vec<Option<usize>> {
    let mut kept: Vec<(Vec<f64>, f64)> = vec![];
    let place = |j: usize| {
        if sizes[j] == 0.0 {
            return None;
        }
        let (u, sign) = (unit(network, j, network.inputs() + 1, bias), network.outputs[j].signum());
        let twin = kept.iter().position(|(v, s)| *s == sign && distance(v, &u) <= TWINS);
        Some(twin.unwrap_or_else(|| {
            kept.push((u, sign));
            kept.len() - 1
        }))
    };
    (0..sizes.len()).map(place).collect()
}

fn distance(u: &[f64], v: &[f64]) -> f64 {
    u.iter().zip(v).fold(0.0, |t: f64, (a, b)| t.hypot(a - b))
}

/// The optimal directions at the residual of `network` that are not its own (`units`), and whether
/// these are all of them.
pub(super) fn directions(
    prepared: &Prepared,
    options: &Options,
    x: &Mat,
    units: &Network,
    network: &Network,
    more: Option<&Network>,
    lambda: f64,
) -> Result<(Directions, bool)> {
    let features = if options.bias == Bias::None { x.clone() } else { with_ones(x) };
    let program = prepared.formulation.program(lambda);
    let nu = program.residual(&network.predict(x));
    let p = features.ncols();
    let (mut candidates, mut signs): (Vec<Vec<f64>>, Vec<f64>) = (vec![], vec![]);
    let mut complete = false;
    for network in [Some(units), more].into_iter().flatten() {
        for j in 0..network.neurons() {
            candidates.push(weights(network, j, p));
            signs.push(network.outputs[j].signum());
        }
    }
    if let Some(global) = &prepared.global {
        let starts: Vec<(Vec<f64>, bool)> =
            candidates.iter().zip(&signs).map(|(u, s)| (u.clone(), *s < 0.0)).collect();
        for seed in 0..SEARCHES {
            let starts = if seed == 0 { starts.as_slice() } else { &[] };
            for c in global.oracle().search(&nu, starts, STARTS, seed, LEVEL * lambda) {
                candidates.push(c.direction);
                signs.push(if c.negative { -1.0 } else { 1.0 });
            }
        }
    } else if let Some(patterns) = prepared.listed.as_ref() {
        let found = cell_directions(&features, patterns, &nu, lambda)?;
        for k in 0..found.signs.len() {
            candidates.push(column(&found.directions, k).to_vec());
            signs.push(found.signs[k]);
        }
        complete = true;
    }
    let all = Mat::from_fn(p, candidates.len(), |i, k| candidates[k][i]);
    let found = optimal_directions(&features, &nu, lambda, options.bias, &all, &signs)?;
    let known: Vec<Vec<f64>> =
        (0..units.neurons()).map(|j| unit(units, j, p, options.bias)).collect();
    let new = |k: &usize| {
        let u = column(&found.directions, *k);
        let own = known.iter().zip(&units.outputs);
        !own.into_iter().any(|(v, a)| a.signum() == found.signs[*k] && distance(v, u) <= SAME)
    };
    let kept: Vec<usize> = (0..found.signs.len()).filter(new).collect();
    let found = Directions {
        directions: Mat::from_fn(p, kept.len(), |i, k| found.directions[(i, kept[k])]),
        signs: kept.iter().map(|&k| found.signs[k]).collect(),
        prices: kept.iter().map(|&k| found.prices[k]).collect(),
    };
    Ok((found, complete))
}

/// (w_j, b_j), without b_j where there is no hidden bias.
fn weights(network: &Network, j: usize, p: usize) -> Vec<f64> {
    let mut u = column(&network.weights, j).to_vec();
    if u.len() < p {
        u.push(network.biases[j]);
    }
    u
}

fn unit(network: &Network, j: usize, p: usize, bias: Bias) -> Vec<f64> {
    let rho = gauge(column(&network.weights, j), network.biases[j], bias);
    weights(network, j, p).iter().map(|v| v / rho).collect()
}

/// The neurons of `units` and those of `found`, each of size 1.
pub(super) fn joined(units: &Network, found: &Directions, bias: Bias) -> Network {
    let (d, m, k) = (units.inputs(), units.neurons(), found.signs.len());
    let at = |i: usize, j: usize| match j < m {
        true => units.weights[(i, j)],
        false => found.directions[(i, j - m)],
    };
    let mut network = units.clone();
    network.weights = Mat::from_fn(d, m + k, at);
    let offset = |j: usize| if bias == Bias::None { 0.0 } else { found.directions[(d, j)] };
    network.biases.extend((0..k).map(offset));
    network.outputs.extend(&found.signs);
    network
}
