//! Attacks on certificates that once succeeded: each must be refused, or the
//! bound must hold for the better network that was found.

use bidual::certificate::relative_gap;
use bidual::solver::{Status, silent};
use bidual::{
    Activation, Bias, Dataset, Error, Gates, Lambda, LossKind, Mat, Options, PatternChoice, fit,
};

fn plain() -> Options {
    Options {
        loss: LossKind::Squared,
        lambda: Lambda::Fraction(0.1),
        bias: Bias::None,
        output_bias: false,
        standardize: false,
        ..Options::default()
    }
}

fn message(result: bidual::Result<bidual::Model>) -> String {
    match result {
        Err(error @ (Error::Data(_) | Error::Option(_))) => error.to_string(),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Two bundles of nearly parallel rows: double precision cannot list their cells.
#[test]
fn almost_parallel_samples_are_not_called_complete() {
    for noise in [1e-6, 1e-7, 3e-8, 1e-9] {
        let bundle = |i: usize, j: usize| {
            let centre = if i.is_multiple_of(2) { [1.0, 0.4, -0.3] } else { [-0.2, 0.9, 0.7] };
            centre[j] + noise * (((i * 7 + j * 5) % 11) as f64 / 11.0 - 0.4)
        };
        let x = Mat::from_fn(8, 3, bundle);
        let y = (0..8).map(|i| (i % 3) as f64).collect();
        let options = Options { patterns: PatternChoice::All(10_000), ..plain() };
        let text = message(fit(&Dataset::new(x, y, None).unwrap(), &options, &mut silent()));
        assert!(text.contains("almost"), "{text}");
    }
}

/// One long row must not hide that the others nearly lie in a plane.
#[test]
fn one_long_sample_does_not_hide_a_small_direction() {
    let x = Mat::from_fn(13, 3, |i, j| match (i, j) {
        (12, 0) => 1e6,
        (12, _) => 0.0,
        (_, 2) => 1e-9 * (i as f64 - 5.5),
        _ => ((i * (3 + 2 * j)) % 7) as f64 - 3.1,
    });
    let y = (0..13).map(|i| i as f64 - 6.0).collect();
    let options = Options { patterns: PatternChoice::All(10_000), ..plain() };
    let text = message(fit(&Dataset::new(x, y, None).unwrap(), &options, &mut silent()));
    assert!(text.contains("almost"), "{text}");
}

/// Squares that overflow or underflow would turn prices into NaN or zero.
#[test]
fn extreme_features_are_refused() {
    for extreme in [1e160, 1e-170] {
        let x = Mat::from_fn(
            9,
            2,
            |i, j| if i == 8 { extreme } else { ((i * (2 + j)) % 5) as f64 - 1.5 },
        );
        let y = (0..9).map(|i| (i % 4) as f64).collect();
        let weights = Some((0..9).map(|i| if i == 8 { 0.0 } else { 1.0 }).collect());
        let data = Dataset::new(x, y, weights).unwrap();
        for activation in [Activation::Relu, Activation::Gated] {
            let options = Options { activation, patterns: PatternChoice::Sampled(50), ..plain() };
            let text = message(fit(&data, &options, &mut silent()));
            assert!(text.contains("units"), "{text}");
        }
    }
}

/// Given gates whose thresholds are data values: the bound is about the gates
/// that the returned network evaluates.
#[test]
fn gates_on_data_values_are_those_of_the_network() {
    for seed in 0..40usize {
        let scale = [0.1, 0.3, 1.0][seed % 3];
        let x = Mat::from_fn(12, 2, |i, j| {
            scale * ((i * (3 + seed % 5) + j * (seed + 2) + i * j) % 5) as f64
        });
        let y: Vec<f64> = (0..12).map(|i| ((i * i + seed) % 7) as f64 / 3.0).collect();
        let gates = Gates {
            directions: Mat::from_fn(2, 6, |i, k| f64::from(u8::from(i == k % 2))),
            thresholds: (0..6).map(|k| scale * (1 + k / 2) as f64).collect(),
        };
        let raw_bit = |i: usize, k: usize| x[(i, k % 2)] >= gates.thresholds[k];
        let options = Options {
            activation: Activation::Gated,
            patterns: PatternChoice::Given(gates.clone()),
            standardize: true,
            ..plain()
        };
        let data = Dataset::new(x.clone(), y, None).unwrap();
        let model = fit(&data, &options, &mut silent()).unwrap();
        assert_eq!(model.status, Status::Certified);
        assert!(model.certificate.lower <= model.certificate.upper * (1.0 + 1e-9));
        let distinct: std::collections::BTreeSet<Vec<bool>> =
            (0..6).map(|k| (0..12).map(|i| raw_bit(i, k)).collect()).collect();
        let live = distinct.iter().filter(|bits| bits.iter().any(|b| *b)).count();
        assert_eq!(model.patterns, live, "seed {seed}");
    }
}

/// Thresholds that cannot be honoured are refused, not ignored.
#[test]
fn thresholds_without_a_bias_are_refused() {
    let x = Mat::from_fn(10, 2, |i, j| ((i * (2 + j)) % 7) as f64 - 3.0);
    let y = (0..10).map(|i| (i % 3) as f64).collect();
    let gates = Gates {
        directions: Mat::from_fn(2, 3, |i, k| (i + k) as f64 - 1.0),
        thresholds: vec![0.5; 3],
    };
    let options = Options { patterns: PatternChoice::Given(gates), ..plain() };
    let text = message(fit(&Dataset::new(x, y, None).unwrap(), &options, &mut silent()));
    assert!(text.contains("threshold"), "{text}");
}

/// A bound above the objective proves nothing about that network.
#[test]
fn a_bound_above_the_objective_is_no_proof() {
    assert_eq!(relative_gap(1.1, 1.0), f64::INFINITY);
    assert_eq!(relative_gap(f64::NAN, 1.0), f64::INFINITY);
    assert_eq!(relative_gap(1.0 + 1e-12, 1.0), 0.0);
    assert!((relative_gap(0.9, 1.0) - 0.1).abs() < 1e-15);
}
