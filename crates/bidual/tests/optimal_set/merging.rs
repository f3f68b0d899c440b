//! Neurons of one closed cell become one: outputs stay, the objective does not rise.

use std::collections::HashSet;

use bidual::optimal_set::*;
use bidual::{Bias, Mat, Network};

use crate::golden::*;

/// Random data and, for each of four directions, three neurons near it with one sign of the output
/// weight and a fourth with the other; and how many cells with a sign these are.
fn copies(seed: u64, distance: f64, bias: Bias) -> (Mat, Network, usize) {
    let mut r = Random(seed);
    let (n, d) = (40, 3);
    let x = r.matrix(n, d);
    let pattern = |w: &[f64], b: f64| -> Vec<bool> {
        (0..n).map(|i| (0..d).map(|l| w[l] * x[(i, l)]).sum::<f64>() + b > 0.0).collect()
    };
    let (mut weights, mut biases, mut outputs) = (vec![], vec![], vec![]);
    let mut cells = HashSet::new();
    for _ in 0..4 {
        let direction = r.normals(d + 1, 1.0);
        let sign = if r.uniform() < 0.5 { 1.0 } else { -1.0 };
        for sign in [sign, sign, sign, -sign] {
            let size = 0.5 + r.uniform();
            let near: Vec<f64> =
                direction.iter().map(|v| size * (v + distance * r.normal())).collect();
            let b = if bias == Bias::None { 0.0 } else { near[d] };
            cells.insert((pattern(&near, b), sign > 0.0));
            weights.push(near);
            biases.push(b);
            outputs.push(sign * (0.5 + r.uniform()));
        }
    }
    let weights = Mat::from_fn(d, biases.len(), |l, j| weights[j][l]);
    (x, Network { weights, biases, outputs, output_bias: 0.1, gates: None }, cells.len())
}

#[test]
fn near_copies_become_one_neuron() {
    let mut merged = [0; 3];
    for seed in 0..90 {
        let bias = [Bias::None, Bias::Penalised, Bias::Free][seed as usize % 3];
        let scale = seed as usize / 3 % 3;
        let distance = [1e-6, 1e-4, 1e-2][scale];
        let (x, mut network, cells) = copies(seed, distance, bias);
        network.balance(bias);
        let narrow = merge_cells(&network, &x, bias, KINK).expect("well formed");
        assert!(narrow.neurons() <= cells, "seed {seed}: {} of {cells}", narrow.neurons());
        merged[scale] += network.neurons() - narrow.neurons();
        let (before, after) = (network.weight_decay(bias), narrow.weight_decay(bias));
        assert!(after <= before * (1.0 + 1e-14), "seed {seed}: {after} {before}");
        for (a, b) in narrow.predict(&x).iter().zip(network.predict(&x)) {
            assert!((a - b).abs() < 1e-9, "seed {seed}: {a} {b}");
        }
        // what is left has nothing to merge, and keeps its weights
        assert_eq!(merge_cells(&narrow, &x, bias, KINK).expect("well formed"), narrow);
    }
    // two of sixteen a direction, unless a sample lies between
    assert!(merged[0] == 240 && merged[1] > 200 && merged[2] > 20, "{merged:?}");
}

/// A sample on the kink of one neuron, exactly or to the accuracy of training, separates it from no
/// other; one on opposite sides of two does.
#[test]
fn cells_are_closed() {
    let rows = [[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]];
    let x = Mat::from_fn(3, 2, |i, l| rows[i][l]);
    // the third sample is on the kink of (1, 1)
    let network = |first: f64, second: [f64; 2], output: f64| Network {
        weights: Mat::from_fn(2, 2, |l, j| if j == 0 { [first, 1.0][l] } else { second[l] }),
        biases: vec![0.0; 2],
        outputs: vec![1.0, output],
        output_bias: 0.0,
        gates: None,
    };
    let neurons = |given: &Network| {
        let merged = merge_cells(given, &x, Bias::None, KINK).expect("well formed");
        for (a, b) in merged.predict(&x).iter().zip(given.predict(&x)) {
            assert!((a - b).abs() < 1e-10);
        }
        merged.neurons()
    };
    for second in [[1.0, 1.2], [1.2, 1.0]] {
        for first in [1.0, 1.0 + 1e-11, 1.0 - 1e-11] {
            assert_eq!(neurons(&network(first, second, 2.0)), 1);
            assert_eq!(neurons(&network(first, second, -2.0)), 2);
        }
    }
    assert_eq!(neurons(&network(1.0 + 1e-6, [1.0, 1.2], 2.0)), 2);
    assert_eq!(neurons(&network(1.0 - 1e-6, [1.0, 1.2], 2.0)), 1);
    assert_eq!(neurons(&network(1.0, [1.0, 1.2], 0.0)), 1);
    // a constant costs nothing with a free bias: it stays
    let mut constant = network(1.0, [0.0, 0.0], 2.0);
    constant.biases = vec![0.0, 0.3];
    assert_eq!(merge_cells(&constant, &x, Bias::Free, KINK).expect("well formed"), constant);
    let wide = merge_cells(&network(1.0, [1.0, 1.2], 2.0), &Mat::zeros(3, 3), Bias::None, KINK);
    assert!(wide.is_err());
    assert!(merge_cells(&network(1.0, [1.0, 1.2], 2.0), &x, Bias::None, f64::NAN).is_err());
}

/// Trained networks: no two neurons of one sign are in one closed cell.
#[test]
fn trained_networks_have_one_neuron_a_cell() {
    use bidual::{Dataset, Lambda, Options, fit, solver::silent};
    for seed in 0..4 {
        let mut r = Random(seed);
        let x = r.matrix(40, 2);
        let y = (0..40).map(|i| x[(i, 0)].abs() - x[(i, 1)].max(0.0) + 0.3 * r.normal()).collect();
        let options = Options { lambda: Lambda::Fraction(0.01), ..Options::default() };
        let data = Dataset::new(x, y, None).expect("data");
        let model = fit(&data, &options, &mut silent()).expect("fit");
        let scaled = model.network.clone().unfold(&model.scaling);
        let again = merge_cells(&scaled, &model.scaling.apply(&data.x), options.bias, KINK);
        assert_eq!(again.expect("well formed").neurons(), scaled.neurons(), "seed {seed}");
    }
}
