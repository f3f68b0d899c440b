//! Stationarity verdicts against sampled directional derivatives and golden cases; bounds between
//! the points of a path. Tolerances are next to each check.

#[path = "common/golden.rs"]
mod golden;

use bidual::arrangement::Arrangement;
use bidual::optimal_set::*;
use bidual::stationarity::*;
use bidual::{Bias, Mat, Network};
use golden::*;
use serde_json::Value;

fn stationary_case(name: &str) -> (Mat, Vec<f64>, Mat, Vec<f64>, f64, Value) {
    let case = golden(name);
    let data = &case["data"];
    let beta = case["settings"]["beta"].as_f64().expect("β");
    let w = matrix(&data["W"]).transpose().to_owned();
    (
        matrix(&data["X"]),
        vector(&data["y"]),
        w,
        vector(&data["alpha"]),
        beta,
        case["expected"].clone(),
    )
}

fn network_of(w: &Mat, a: &[f64]) -> Network {
    Network {
        weights: w.clone(),
        biases: vec![0.0; a.len()],
        outputs: a.to_vec(),
        output_bias: 0.0,
        gates: None,
    }
}

#[test]
fn golden_stationary_points() {
    for (name, global) in
        [("two_layer/stat01_one_neuron_local", false), ("two_layer/stat03_global", true)]
    {
        let (x, y, w, a, beta, expected) = stationary_case(name);
        let network = network_of(&w, &a);
        let nu = residual_squared(&y, &network.predict(&x));
        let value = 0.5 * dot(&nu, &nu) + beta * network.weight_decay(Bias::None);
        assert!((value - expected["network_value"].as_f64().expect("value")).abs() < 1e-9);
        let report = network_stationarity(
            &network,
            &x,
            &nu,
            beta,
            Bias::None,
            StationarityOptions::default(),
        )
        .expect("well formed");
        println!("{name}: {report:?}");
        assert_eq!(report.verdict, Verdict::Stationary, "{name}");
        let (phi, c) = unit_features(&network, &x, Bias::None);
        let estimate = beta_estimate(&nu, &phi, &c).expect("neurons");
        assert!((estimate - beta).abs() < 1e-3 * beta, "{estimate}");
        // κ(ν)/β from all cells: dear enough just below, not above
        let kappa = expected["kappa_residual_over_beta"].as_f64().expect("κ") * beta;
        let cells = Arrangement::all_cells(&x, 1000).expect("few cells");
        let dear =
            |level: f64| cell_directions(&x, &cells.patterns, &nu, level).expect("ok").signs.len();
        assert!(dear(kappa) > 0 && dear(kappa * (1.0 + 3e-6)) == 0, "{name}");
        assert_eq!(kappa <= beta * (1.0 + 1e-6), global);
    }
}

#[test]
fn clarke_is_weaker() {
    // X = [(0, 1.5), (1, −0.6)], β = .4, ν = (.32, .4): descent towards the side of the first row
    let x = Mat::from_fn(2, 2, |i, j| [[0.0, 1.5], [1.0, -0.6]][i][j]);
    let size = 1.2f64.sqrt();
    let w = Mat::from_fn(2, 1, |i, _| if i == 0 { size } else { 0.0 });
    let options = StationarityOptions::default();
    let report =
        stationarity(&x, &w, &[size], &[0.32, 0.4], 0.4, Bias::None, options).expect("well formed");
    assert_eq!(report.verdict, Verdict::ClarkeOnly);
    assert!(report.clarke_residual < 1e-15);
    assert!(report.residual > 0.1, "{report:?}");
    assert_eq!((report.neuron, report.neurons[0].ties), (Some(0), 1));
    // the descent is real
    let y = [0.32, 0.4 + 1.2];
    let value = |w: [f64; 2], a: f64| {
        let f: Vec<f64> =
            (0..2).map(|i| a * (x[(i, 0)] * w[0] + x[(i, 1)] * w[1]).max(0.0)).collect();
        let r = residual_squared(&y, &f);
        0.5 * dot(&r, &r) + 0.2 * (w[0] * w[0] + w[1] * w[1] + a * a)
    };
    assert!((value([size, 0.0], size) - 0.6112).abs() < 1e-12);
    assert!(value([size, 1e-4], size) < 0.6112 || value([size, -1e-4], size) < 0.6112);
    // the other sign of the tied row's residual: stationary
    let report = stationarity(&x, &w, &[size], &[-0.32, 0.4], 0.4, Bias::None, options);
    assert_eq!(report.expect("well formed").verdict, Verdict::NotStationary);
    // unbalanced: rebalancing is free descent
    let w2 = Mat::from_fn(2, 1, |i, _| if i == 0 { 2.0 * size } else { 0.0 });
    let report = stationarity(&x, &w2, &[size / 2.0], &[0.32, 0.4], 0.4, Bias::None, options);
    let report = report.expect("well formed");
    assert_eq!(report.verdict, Verdict::NotStationary);
    assert!((report.balance_defect - 0.75).abs() < 1e-12);
    // no neuron, and a zero neuron
    let none = stationarity(&x, &Mat::zeros(2, 1), &[0.0], &[0.3, 0.4], 0.4, Bias::None, options);
    assert_eq!(none.expect("well formed").verdict, Verdict::Stationary);
}

/// The residual is the steepest descent: max over unit δ of −P'(w; δ)/(|a|β), by sampling in the
/// plane, with one neuron and several rows tied to it.
#[test]
fn residual_is_the_steepest_descent() {
    let mut r = Random(12);
    let mut verdicts = [0; 4];
    for case in 0..300 {
        let (tied, loose, beta) = (1 + case % 4, 2, 0.5);
        // w = e1, tied rows along e2
        let x = Mat::from_fn(tied + loose, 2, |i, j| match (i < tied, j) {
            (true, 0) => 0.0,
            _ => r.normal(),
        });
        let w = Mat::from_fn(2, 1, |i, _| [1.0, 0.0][i]);
        let sign = if case % 2 == 0 { 1.0 } else { -1.0 };
        let mut nu: Vec<f64> = (0..tied + loose).map(|_| 0.2 * r.normal()).collect();
        if case % 3 > 0 {
            // the first-order condition along e1, and tied rows that cannot descend, mostly
            let active: Vec<usize> = (tied..tied + loose).filter(|&i| x[(i, 0)] > 0.0).collect();
            if active.is_empty() {
                continue;
            }
            let paid: f64 = active[1..].iter().map(|&i| nu[i] * x[(i, 0)]).sum();
            nu[active[0]] = (sign * beta - paid) / x[(active[0], 0)];
            if case % 3 == 1 {
                (0..tied).for_each(|i| nu[i] = -sign * 30.0 * nu[i].abs());
            }
        }
        let report =
            stationarity(&x, &w, &[sign], &nu, beta, Bias::None, StationarityOptions::default())
                .expect("well formed");
        let descent = |delta: [f64; 2]| {
            let mut slope = -beta * delta[0];
            for i in 0..tied + loose {
                let move_ = x[(i, 0)] * delta[0] + x[(i, 1)] * delta[1];
                if i < tied {
                    slope += sign * nu[i] * move_.max(0.0);
                } else if x[(i, 0)] > 0.0 {
                    slope += sign * nu[i] * move_;
                }
            }
            slope / beta
        };
        let steepest = (0..20_000)
            .map(|t| std::f64::consts::TAU * t as f64 / 20_000.0)
            .map(|t| descent([t.cos(), t.sin()]))
            .fold(0.0, f64::max);
        let size: f64 = 1.0 + nu.iter().map(|v| v.abs()).sum::<f64>();
        assert!(
            (steepest - report.residual).abs() < 2e-3 * size / beta,
            "case {case}: {steepest} {report:?}"
        );
        assert!(steepest <= report.residual + 1e-12 * size, "case {case}: {steepest} {report:?}");
        verdicts[match report.verdict {
            Verdict::Stationary => 0,
            Verdict::Undecided => 1,
            Verdict::ClarkeOnly => 2,
            Verdict::NotStationary => 3,
        }] += 1;
    }
    println!("{verdicts:?}");
    assert!(verdicts[0] > 10 && verdicts[1] == 0 && verdicts[2] > 3 && verdicts[3] > 10);
}

#[test]
fn many_ties() {
    // 14 tied rows that would descend, all held by one that costs more
    let x = Mat::from_fn(16, 2, |i, j| if i == 0 { [1.0, 0.0][j] } else { [0.0, 1.0][j] });
    let w = Mat::from_fn(2, 1, |i, _| [1.0, 0.0][i]);
    let nu = |held: f64| {
        let mut nu = vec![0.01; 16];
        (nu[0], nu[15]) = (0.5, held);
        nu
    };
    let verdict = |held: f64, ties: usize| {
        let options = StationarityOptions { ties, ..Default::default() };
        let report = stationarity(&x, &w, &[1.0], &nu(held), 0.5, Bias::None, options);
        report.expect("well formed").verdict
    };
    assert_eq!(verdict(-0.15, 14), Verdict::Stationary);
    assert_eq!(verdict(-0.15, 12), Verdict::Undecided);
    assert_eq!(verdict(-0.13, 14), Verdict::ClarkeOnly);
    assert_eq!(verdict(-0.13, 3), Verdict::ClarkeOnly);
    let bad = stationarity(&x, &w, &[1.0], &nu(f64::NAN), 0.5, Bias::None, Default::default());
    assert!(bad.is_err());
}

#[test]
fn free_bias_has_no_price() {
    // one neuron φ(x − 1) on x = 2, 3, −1, with 1ᵀν = 0 over the active rows
    let x = Mat::from_fn(3, 1, |i, _| [2.0, 3.0, -1.0][i]);
    let network = Network {
        weights: Mat::from_fn(1, 1, |_, _| 1.0),
        biases: vec![-1.0],
        outputs: vec![1.0],
        output_bias: 0.0,
        gates: None,
    };
    let options = StationarityOptions::default();
    let verdict = |nu: &[f64], beta: f64, bias: Bias| {
        network_stationarity(&network, &x, nu, beta, bias, options).expect("well formed")
    };
    // 3·.4 − 2·.4 = .4 = β, 0 = Σν
    let nu = [-0.4, 0.4, 0.0];
    assert_eq!(verdict(&nu, 0.4, Bias::Free).verdict, Verdict::Stationary);
    assert_eq!(verdict(&[-0.4, 0.5, 0.0], 0.4, Bias::Free).verdict, Verdict::NotStationary);
    assert_eq!(verdict(&nu, 0.4, Bias::Penalised).verdict, Verdict::NotStationary);
}

#[test]
fn path_between_points() {
    let case = golden("two_layer/path01");
    let betas = vector(&case["data"]["betas"]);
    let values = vector(&case["expected"]["opt_values"]);
    let norms = vector(&case["expected"]["regulariser_N"]);
    let points: Vec<PathValue> = (0..betas.len())
        .map(|k| PathValue { beta: betas[k], lower: values[k], upper: values[k], norm: norms[k] })
        .collect();
    for k in 0..points.len() {
        let others: Vec<PathValue> =
            points.iter().copied().filter(|p| p.beta != betas[k]).collect();
        let (lower, upper) = path_bounds(&others, betas[k], true);
        // stored values are accurate to 1e-6
        assert!(
            lower <= values[k] + 1e-6 && values[k] <= upper + 1e-6,
            "{lower} {} {upper}",
            values[k]
        );
        let (lower, upper) = path_bounds(&points, betas[k], true);
        assert!((lower - values[k]).abs() < 1e-12 && (upper - values[k]).abs() < 1e-12);
        assert!(lower <= values[k] && values[k] <= upper);
    }
    // above β_max the value is the loss of the zero network
    let top = 0.5 * dot(&vector(&case["data"]["y"]), &vector(&case["data"]["y"]));
    let (lower, upper) = path_bounds(&points, 3.0, true);
    assert!(lower <= top && top <= upper);
    assert_eq!(path_bounds(&[], 1.0, false), (f64::NEG_INFINITY, f64::INFINITY));
}
