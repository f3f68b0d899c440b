//! Pruning: outputs and cost stay, what is left is independent.

use bidual::optimal_set::*;
use bidual::{Bias, Mat, Network};

use crate::golden::*;
use crate::instances::*;

#[test]
fn pruning_keeps_outputs_and_cost_and_ends_independent() {
    let (mut worst_fit, mut worst_cost, mut worst_condition) = (0.0f64, f64::NEG_INFINITY, 1.0f64);
    for seed in 0..600 {
        let optimal = seed % 2 == 0;
        let k = 1 + (seed as usize * 7) % 90;
        let (phi, z, c) = instance(seed, k, optimal);
        let pruned = prune(&phi, &z, &c, DEPENDENT).expect("well formed");
        let scale: f64 = (0..k).map(|j| c[j].max(pruned[j]) * norm(column(&phi, j))).sum();
        let difference: Vec<f64> =
            times(&phi, &c).iter().zip(times(&phi, &pruned)).map(|(a, b)| a - b).collect();
        let (before, after): (f64, f64) = (c.iter().sum(), pruned.iter().sum());
        if before > 0.0 {
            worst_fit = worst_fit.max(off_span(&z, &difference) / scale.max(1e-300));
            worst_cost = worst_cost.max(after / before - 1.0);
            if optimal {
                assert!((after / before - 1.0).abs() < 1e-9, "seed {seed}: the cost is constant");
            }
        }
        worst_condition = worst_condition.min(conditioning(&phi, &z, &pruned));
        assert!(pruned.iter().all(|v| *v >= 0.0));
    }
    println!("fit {worst_fit:e}, cost {worst_cost:e}, condition {worst_condition:e}");
    assert!(worst_fit < 1e-12, "outputs move by {worst_fit:e}");
    assert!(worst_cost < 1e-12, "cost rises by {worst_cost:e}");
    assert!(worst_condition > 1e-10, "columns still depend: {worst_condition:e}");
}

/// Columns that depend on each other up to noise: whatever counts as dependent, the outputs move by
/// less than k times the tolerance and the cost does not rise.
#[test]
fn pruning_almost_dependent_columns() {
    let (mut worst_fit, mut worst_cost) = (0.0f64, f64::NEG_INFINITY);
    for seed in 3000..3300 {
        let k = 5 + (seed as usize * 7) % 40;
        let (mut phi, z, c) = instance(seed, k, false);
        let mut r = Random(seed);
        let noise = 10f64.powf(-14.0 + 6.0 * r.uniform());
        for j in 0..k {
            let size = norm(column(&phi, j));
            (0..phi.nrows()).for_each(|i| phi[(i, j)] += noise * size * r.normal());
        }
        let pruned = prune(&phi, &z, &c, DEPENDENT).expect("well formed");
        let scale: f64 = (0..k).map(|j| c[j].max(pruned[j]) * norm(column(&phi, j))).sum();
        let difference: Vec<f64> =
            times(&phi, &c).iter().zip(times(&phi, &pruned)).map(|(a, b)| a - b).collect();
        worst_fit = worst_fit.max(off_span(&z, &difference) / scale.max(1e-300));
        let (before, after): (f64, f64) = (c.iter().sum(), pruned.iter().sum());
        worst_cost = worst_cost.max(after / before - 1.0);
        assert!(width(&pruned) + z.ncols() <= phi.nrows());
    }
    println!("almost dependent: fit {worst_fit:e}, cost {worst_cost:e}");
    assert!(worst_fit < 1e-11, "outputs move by {worst_fit:e}");
    assert!(worst_cost < 1e-12, "cost rises by {worst_cost:e}");
}

#[test]
fn pruning_forty_four_neurons_on_ten_samples() {
    let mut r = Random(44);
    let x = r.matrix(10, 3);
    let network = Network {
        weights: r.matrix(3, 44),
        biases: vec![0.0; 44],
        outputs: (0..44).map(|_| r.normal()).collect(),
        output_bias: 0.3,
        gates: None,
    };
    let narrow = prune_network(&network, &x, Bias::None, true, DEPENDENT).expect("well formed");
    assert!(narrow.neurons() <= 9, "{} neurons", narrow.neurons());
    let mut balanced = network.clone();
    balanced.balance(Bias::None);
    assert!(narrow.weight_decay(Bias::None) <= balanced.weight_decay(Bias::None) * (1.0 + 1e-12));
    for (a, b) in narrow.predict(&x).iter().zip(network.predict(&x)) {
        assert!((a - b).abs() < 1e-11, "{a} {b}");
    }
    // the larger of two equal neurons' directions stays
    let twins = Network {
        weights: Mat::from_fn(
            3,
            2,
            |i, j| if i == 0 { [1.0, 2.0][j] } else { 0.5 * [1.0, 2.0][j] },
        ),
        biases: vec![0.0; 2],
        outputs: vec![1.0, 3.0],
        output_bias: 0.0,
        gates: None,
    };
    let one = prune_network(&twins, &x, Bias::None, false, DEPENDENT).expect("well formed");
    assert_eq!(one.neurons(), 1);
    let wide = prune_network(&network, &Mat::zeros(10, 2), Bias::None, false, DEPENDENT);
    assert!(wide.is_err());
}

#[test]
fn biases_in_pruning() {
    let mut r = Random(5);
    let x = r.matrix(8, 2);
    let mut network = Network {
        weights: r.matrix(2, 30),
        biases: (0..30).map(|_| r.normal()).collect(),
        outputs: (0..30).map(|_| r.normal()).collect(),
        output_bias: -0.7,
        gates: None,
    };
    for bias in [Bias::Penalised, Bias::Free] {
        if bias == Bias::Free {
            (0..2).for_each(|i| network.weights[(i, 4)] = 0.0);
            network.biases[4] = 2.0;
        }
        let mut balanced = network.clone();
        balanced.balance(bias);
        let narrow = prune_network(&network, &x, bias, true, DEPENDENT).expect("well formed");
        assert!(narrow.neurons() <= 7);
        let constant = if bias == Bias::Free { balanced.outputs[4].powi(2) / 2.0 } else { 0.0 };
        let before = balanced.weight_decay(bias) - constant;
        assert!(narrow.weight_decay(bias) <= before * (1.0 + 1e-12));
        for (a, b) in narrow.predict(&x).iter().zip(network.predict(&x)) {
            assert!((a - b).abs() < 1e-11, "{a} {b}");
        }
    }
    assert!(prune_network(&network, &x, Bias::Free, false, DEPENDENT).is_err());
}
