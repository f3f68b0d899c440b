//! Neurons of one closed cell as one neuron.

use super::{check_features, gauge};
use crate::linalg::{Mat, axpy, column};
use crate::network::{Bias, Network};
use crate::{Error, Result};

/// A sample is on the kink of a neuron if |wᵀx + b| is at most this share of Σ|w_l x_l| + |b|: what
/// training leaves of a kink in a sample.
pub const KINK: f64 = 1e-9;

/// Neurons whose output weights have one sign and that no sample separates, added up.
struct Group {
    /// In the given network; more than one if something was merged.
    members: Vec<usize>,
    negative: bool,
    /// Samples on the active and on the inactive side of some member, 64 in a word.
    sides: [Vec<u64>; 2],
}

/// The ReLU network in which neurons of one closed cell, with the same sign of the output weight, are
/// one balanced neuron: no sample of `x` (n×d, scaled features) is on the active side of one and on the
/// inactive side of another.
///
/// With v = |a|(w, b) the outputs Σ(v_kᵀx)_+ are (Σv_kᵀx)_+ there, and ρ(Σv_k) ≤ Σρ(v_k): the weight
/// decay of balanced neurons does not rise (derived here). Training leaves such neurons where it has
/// found one direction more than once, up to its accuracy. Their features differ by more than
/// [`prune_network`](super::prune_network) takes for dependent.
///
/// A sample is on neither side where |wᵀx + b| ≤ `tolerance`·(Σ|w_l x_l| + |b|), as [`KINK`]; its
/// output changes by at most the sum of these over the neurons, times |a|. Neurons
/// without output are left out; constants at no cost and gated networks stay as they are.
pub fn merge_cells(network: &Network, x: &Mat, bias: Bias, tolerance: f64) -> Result<Network> {
    check_features(network, x)?;
    if !(0.0..0.1).contains(&tolerance) {
        return Err(Error::Option(format!(
            "the tolerance of merging is {tolerance}: choose a small number ≥ 0, such as {KINK:e}"
        )));
    }
    if network.gates.is_some() {
        return Ok(network.clone());
    }
    let size = |j: usize| {
        gauge(column(&network.weights, j), network.biases[j], bias) * network.outputs[j].abs()
    };
    let constant = |j: usize| network.outputs[j] != 0.0 && network.biases[j] != 0.0;
    let mut order: Vec<usize> =
        (0..network.neurons()).filter(|&j| size(j) > 0.0 || constant(j)).collect();
    order.sort_by(|&i, &j| size(j).total_cmp(&size(i)).then(i.cmp(&j)));
    let mut groups: Vec<Group> = vec![];
    for j in order {
        let negative = network.outputs[j] < 0.0;
        let sides = match size(j) > 0.0 {
            true => sides(network, j, x, tolerance),
            // separated from every neuron
            false => [(); 2].map(|_| vec![u64::MAX; x.nrows().div_ceil(64)]),
        };
        match groups.iter_mut().find(|g| g.negative == negative && !separated(&g.sides, &sides)) {
            Some(group) => {
                group.members.push(j);
                for (all, own) in group.sides.iter_mut().zip(&sides) {
                    all.iter_mut().zip(own).for_each(|(a, b)| *a |= b);
                }
            }
            None => groups.push(Group { members: vec![j], negative, sides }),
        }
    }
    // as they come in the given network, by their first neurons
    groups.iter_mut().for_each(|group| group.members.sort_unstable());
    groups.sort_by_key(|group| group.members[0]);
    let (d, p) = (network.inputs(), network.inputs() + 1);
    let mut kept: Vec<(Vec<f64>, f64)> = vec![];
    for Group { members, negative, .. } in groups {
        let mut sum = vec![0.0; p];
        for &j in &members {
            let a = network.outputs[j].abs();
            axpy(a, column(&network.weights, j), &mut sum);
            sum[d] += a * network.biases[j];
        }
        let size = gauge(&sum[..d], sum[d], bias);
        if members.len() > 1 && size > 0.0 {
            let a = size.sqrt();
            kept.push((sum.iter().map(|v| v / a).collect(), if negative { -a } else { a }));
        } else {
            // as they are, to the bit
            kept.extend(members.iter().map(|&j| {
                let w = column(&network.weights, j);
                let weights = w.iter().chain([&network.biases[j]]).copied().collect();
                (weights, network.outputs[j])
            }));
        }
    }
    Ok(Network {
        weights: Mat::from_fn(d, kept.len(), |l, k| kept[k].0[l]),
        biases: kept.iter().map(|(w, _)| w[d]).collect(),
        outputs: kept.iter().map(|(_, a)| *a).collect(),
        output_bias: network.output_bias,
        gates: None,
    })
}

/// Samples on the active and on the inactive side of neuron j.
fn sides(network: &Network, j: usize, x: &Mat, tolerance: f64) -> [Vec<u64>; 2] {
    let n = x.nrows();
    let mut hidden = vec![network.biases[j]; n];
    let mut scale = vec![network.biases[j].abs(); n];
    for (l, &w) in column(&network.weights, j).iter().enumerate() {
        axpy(w, column(x, l), &mut hidden);
        scale.iter_mut().zip(column(x, l)).for_each(|(s, x)| *s += (w * x).abs());
    }
    let mut sides = [vec![0; n.div_ceil(64)], vec![0; n.div_ceil(64)]];
    for (i, (h, s)) in hidden.iter().zip(&scale).enumerate() {
        if h.abs() > tolerance * s {
            sides[usize::from(*h < 0.0)][i / 64] |= 1 << (i % 64);
        }
    }
    sides
}

fn separated(a: &[Vec<u64>; 2], b: &[Vec<u64>; 2]) -> bool {
    let meet = |a: &[u64], b: &[u64]| a.iter().zip(b).any(|(a, b)| a & b != 0);
    meet(&a[0], &b[1]) || meet(&a[1], &b[0])
}
