//! Features on wild scales: predictions and certificates do not depend on the
//! units of a feature, useless columns get weight zero, gates are stored in raw
//! units, and `certify` repeats what `fit` said.

#[path = "common/problems.rs"]
mod problems;

use bidual::solver::{Status, silent};
use bidual::{
    Activation, Bias, Dataset, Gates, Lambda, LossKind, Mat, Model, Options, PatternChoice,
    certify, fit, prepare,
};
use problems::{Random, Setup, random_problem};
use rayon::prelude::*;

const SCALES: [f64; 4] = [1e-3, 1.0, 37.0, 1e3];
const SHIFTS: [f64; 4] = [0.5, -1e3, 4.0, 2e4];

fn data(n: usize, seed: u64) -> Dataset {
    let mut r = Random::new(seed);
    let x = r.matrix(n, 4);
    let y = (0..n)
        .map(|i| (x[(i, 0)] + x[(i, 1)]).max(0.0) - x[(i, 2)].abs() + 0.1 * r.normal())
        .collect();
    Dataset::new(x, y, None).expect("valid data")
}

fn rescaled(data: &Dataset) -> Dataset {
    let x = Mat::from_fn(data.samples(), 4, |i, j| SCALES[j] * data.x[(i, j)] + SHIFTS[j]);
    Dataset::new(x, data.y.clone(), data.weights.clone()).expect("valid data")
}

fn trained(data: &Dataset, options: &Options) -> Model {
    let model = fit(data, options, &mut silent()).expect("fitted");
    assert_eq!(model.status, Status::Certified, "{:?}", model.certificate);
    let weights = (0..model.network.neurons())
        .flat_map(|k| (0..data.features()).map(move |j| (j, k)).collect::<Vec<_>>());
    assert!(weights.into_iter().all(|(j, k)| model.network.weights[(j, k)].is_finite()));
    assert!(model.network.biases.iter().chain(&model.network.outputs).all(|v| v.is_finite()));
    model
}

fn far(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn variants() -> Vec<Options> {
    let base = Options {
        lambda: Lambda::Fraction(0.05),
        patterns: PatternChoice::Sampled(80),
        tolerance: 1e-9,
        ..Options::default()
    };
    vec![
        base.clone(),
        Options { bias: Bias::Free, ..base.clone() },
        Options { bias: Bias::None, output_bias: false, ..base.clone() },
        // the second derivative jumps: the last two digits are reached by luck only
        Options {
            loss: LossKind::Huber(0.3),
            active_share: Some(0.3),
            tolerance: 1e-7,
            ..base.clone()
        },
        Options { activation: Activation::Gated, ..base },
    ]
}

#[test]
fn units_do_not_matter() {
    let (plain, fresh) = (data(50, 1), data(200, 2));
    let (wild, wild_fresh) = (rescaled(&plain), rescaled(&fresh));
    for options in variants() {
        let (a, b) = (trained(&plain, &options), trained(&wild, &options));
        let (ca, cb) = (&a.certificate, &b.certificate);
        let near = 3.0 * options.tolerance * ca.upper;
        assert!((ca.upper - cb.upper).abs() <= near, "{ca:?} {cb:?} {options:?}");
        assert!((ca.lower - cb.lower).abs() <= near, "{ca:?} {cb:?} {options:?}");
        assert!((a.lambda_max - b.lambda_max).abs() <= 1e-9 * a.lambda_max);
        // the optimum of outputs is unique; a gap of 1e-9 leaves them 1e-4 or so of freedom
        let on_data = far(&a.predict(&plain.x), &b.predict(&wild.x));
        assert!(on_data <= 1e-3, "{on_data} {options:?}");
        let on_fresh = far(&a.predict(&fresh.x), &b.predict(&wild_fresh.x));
        assert!(on_fresh <= 0.05, "{on_fresh} {options:?}");
    }
}

#[test]
fn useless_columns() {
    let plain = data(40, 3);
    // constant, repeated (and rescaled), zero, huge constant
    let x = Mat::from_fn(40, 8, |i, j| match j {
        0..4 => plain.x[(i, j)],
        4 => 3.0,
        5 => 1e3 * plain.x[(i, 0)] - 7.0,
        6 => 0.0,
        _ => 1e9 + 0.1,
    });
    let wide = Dataset::new(x, plain.y.clone(), None).expect("valid data");
    for options in variants() {
        let model = trained(&wide, &options);
        for k in 0..model.network.neurons() {
            for j in [4, 6, 7] {
                assert_eq!(model.network.weights[(j, k)], 0.0, "{options:?}");
            }
        }
        let other =
            Mat::from_fn(40, 8, |i, j| if [4, 6, 7].contains(&j) { 5e3 } else { wide.x[(i, j)] });
        assert_eq!(model.predict(&other), model.predict(&wide.x));
        let again = certify(&model, &wide).expect("certified");
        assert!((again.upper - model.certificate.upper).abs() <= 1e-9 * again.upper);
    }
}

#[test]
fn certify_repeats_the_fit() {
    let count = (0..200u64)
        .into_par_iter()
        .filter_map(|seed| {
            let (data, options) = random_problem(seed);
            let model = fit(&data, &options, &mut silent()).ok()?;
            let (first, again) = (model.certificate, certify(&model, &data).expect("certified"));
            let near = 1e-9 * first.upper.abs();
            assert!((first.upper - again.upper).abs() <= near, "seed {seed}: {first:?} {again:?}");
            assert!((first.lower - again.lower).abs() <= near, "seed {seed}: {first:?} {again:?}");
            assert_eq!((first.scope, first.method), (again.scope, again.method));
            Some(())
        })
        .count();
    assert!(count > 150, "only {count} problems");
}

#[test]
fn certify_is_about_the_given_data_and_network() {
    let plain = data(30, 4);
    let mut model = trained(&plain, &variants()[0]);
    let honest = model.certificate;
    // a worse network: same optimum, higher objective, the old bound still stored
    model.network.outputs[0] *= 1.5;
    let worse = certify(&model, &plain).expect("certified");
    assert!(worse.upper > honest.upper && worse.lower >= honest.lower * (1.0 - 1e-9));
    assert!(worse.lower <= honest.upper);
    // a forged dual vector cannot raise the bound above the optimum
    for factor in [3.0, -1.0, 1e6, f64::NAN, f64::INFINITY] {
        let mut forged = model.clone();
        forged.dual.iter_mut().for_each(|v| *v *= factor);
        let certificate = certify(&forged, &plain).expect("certified");
        assert!(certificate.lower <= honest.upper && !certificate.lower.is_nan());
    }
    // other samples: their own objective
    let other = data(25, 5);
    let elsewhere = certify(&model, &other).expect("certified");
    let lambda = model.lambda;
    let setup = Setup { lambda, ..Setup::new(&other, &model.options, lambda) };
    let f = model.predict(&other.x);
    let loss: f64 = f.iter().zip(&setup.y).map(|(f, y)| 0.5 * (f - y).powi(2) / 25.0).sum();
    assert!(elsewhere.upper >= loss && elsewhere.lower <= elsewhere.upper);
    // other features: refused
    let narrow = Dataset::new(Mat::zeros(5, 2), vec![0.0, 1.0, 0.0, 1.0, 2.0], None).expect("data");
    let text = certify(&model, &narrow).expect_err("two features").to_string();
    assert!(text.contains("fitted on 4 features") && text.contains("have 2"), "{text}");
}

/// A published library keeps its gates in scaled units: its networks do not
/// predict on raw data what they were trained to.
#[test]
fn gates_see_raw_features() {
    let wild = rescaled(&data(80, 6));
    for bias in [Bias::None, Bias::Penalised] {
        for active_share in [None, Some(0.25)] {
            let options = Options {
                activation: Activation::Gated,
                bias,
                active_share,
                patterns: PatternChoice::Sampled(60),
                lambda: Lambda::Fraction(0.02),
                ..Options::default()
            };
            let model = trained(&wild, &options);
            let (network, gates) = (&model.network, model.network.gates.as_ref().expect("gates"));
            let scaled = Setup::new(&wild, &options, model.lambda).matrix();
            let stored = model.gates.as_ref().expect("gates");
            // every gate is one of the stored ones and has the very bits of training
            for k in 0..network.neurons() {
                let side = |x: &Mat, g: &Gates, c: usize, i: usize| {
                    (0..4).map(|j| g.directions[(j, c)] * x[(i, j)]).sum::<f64>() >= g.thresholds[c]
                };
                let bits: Vec<bool> = (0..80).map(|i| side(&wild.x, gates, k, i)).collect();
                let known = (0..stored.thresholds.len())
                    .any(|c| (0..80).all(|i| side(&scaled, stored, c, i) == bits[i]));
                assert!(known, "neuron {k} of {options:?}");
            }
            // the objective of training, from raw predictions
            let loss: f64 = model
                .predict(&wild.x)
                .iter()
                .zip(&wild.y)
                .map(|(f, y)| 0.5 * (f - y).powi(2) / 80.0)
                .sum();
            let decay = network.clone().unfold(&model.scaling).weight_decay(bias);
            let upper = loss + model.lambda * decay;
            assert!((upper - model.certificate.upper).abs() <= 1e-9 * upper);
        }
    }
}

/// Gates given on raw features are the gates of the network.
#[test]
fn given_gates_are_raw() {
    let wild = rescaled(&data(60, 7));
    let mut r = Random::new(8);
    let directions = Mat::from_fn(4, 6, |j, _| r.normal() / SCALES[j]);
    let thresholds: Vec<f64> =
        (0..6).map(|k| (0..4).map(|j| directions[(j, k)] * SHIFTS[j]).sum::<f64>() + 0.2).collect();
    let given = Gates { directions, thresholds };
    let options = Options {
        activation: Activation::Gated,
        patterns: PatternChoice::Given(given.clone()),
        lambda: Lambda::Fraction(0.05),
        ..Options::default()
    };
    let model = trained(&wild, &options);
    assert_eq!(model.patterns, 6);
    let gates = model.network.gates.as_ref().expect("gates");
    let on = |g: &Gates, k: usize, i: usize| {
        (0..4).map(|j| g.directions[(j, k)] * wild.x[(i, j)]).sum::<f64>() >= g.thresholds[k]
    };
    for k in 0..model.network.neurons() {
        let bits: Vec<bool> = (0..60).map(|i| on(gates, k, i)).collect();
        assert!((0..6).any(|c| (0..60).all(|i| on(&given, c, i) == bits[i])), "neuron {k}");
    }
    let wrong = PatternChoice::Given(Gates { directions: Mat::zeros(3, 1), thresholds: vec![0.0] });
    let error = prepare(&wild, &Options { patterns: wrong, ..options }, None).err().expect("3 ≠ 4");
    assert!(error.to_string().contains("3 entries") && error.to_string().contains("4 features"));
}

/// Scaling and its inverse, and both against the definition of a network.
#[test]
fn fold_and_unfold() {
    let wild = rescaled(&data(20, 9));
    for options in variants() {
        let model = trained(&wild, &options);
        let back = model.network.clone().unfold(&model.scaling);
        let scaled = model.scaling.apply(&wild.x);
        let off = far(&back.predict(&scaled), &model.predict(&wild.x));
        assert!(off <= 1e-8, "{off} {options:?}");
        let own = Setup::new(&wild, &options, 1.0).matrix();
        for i in 0..20 {
            for j in 0..4 {
                assert!((own[(i, j)] - scaled[(i, j)]).abs() <= 1e-8, "row {i}, column {j}");
            }
        }
    }
}
