//! Audits of random, half-trained and optimal networks. Tolerances are next to each check.

#[path = "common/golden.rs"]
mod golden;

use bidual::audit::{AuditLambda, AuditOptions, audit};
use bidual::formulation::objective;
use bidual::solver::silent;
use bidual::stationarity::Verdict;
use bidual::{
    Bias, Dataset, Effort, Error, Lambda, LossKind, Mat, Network, Options, PatternChoice, Scaling,
    certify, fit,
};
use golden::Random;
use std::time::Duration;

const LOSSES: [LossKind; 4] =
    [LossKind::Squared, LossKind::Huber(0.5), LossKind::Logistic, LossKind::SquaredHinge];

/// Features of different scales and means; labels ±1 for a classification loss.
fn data(r: &mut Random, n: usize, d: usize, loss: LossKind, weighted: bool) -> Dataset {
    let x = Mat::from_fn(n, d, |_, j| (1.0 + j as f64) * r.normal() + j as f64);
    let y = (0..n)
        .map(|i| {
            let value = x[(i, 0)].abs() - 0.4 * x[(i, d - 1)] + 0.3 * r.normal();
            if loss.is_classification() { if value > 0.3 { 1.0 } else { -1.0 } } else { value }
        })
        .collect();
    let weights = weighted.then(|| (0..n).map(|i| 0.5 + (i % 3) as f64).collect());
    Dataset::new(x, y, weights).expect("well formed")
}

/// On scaled features, folded: without biases there if `bias` is none.
fn random_network(r: &mut Random, m: usize, bias: Bias, scaling: &Scaling) -> Network {
    let d = scaling.mean.len();
    let network = Network {
        weights: Mat::from_fn(d, m, |_, _| 0.5 * r.normal()),
        biases: (0..m).map(|_| if bias == Bias::None { 0.0 } else { 0.5 * r.normal() }).collect(),
        outputs: (0..m).map(|_| 0.5 * r.normal()).collect(),
        output_bias: 0.3 * r.normal(),
        gates: None,
    };
    network.fold(scaling)
}

fn value(network: &Network, data: &Dataset, options: &AuditOptions, lambda: f64) -> f64 {
    let loss = options.loss.build(&data.y, data.normalised_weights()).expect("targets fit");
    objective(network, data, &options.scaling, loss.as_ref(), lambda, options.bias)
}

/// The bound is below every network there is, the improved network is never above the one given.
#[test]
fn bounds_and_improvements_on_random_networks() {
    let mut r = Random(3);
    for case in 0..120 {
        let loss = LOSSES[case % 4];
        let bias = [Bias::Penalised, Bias::Free, Bias::None][case % 3];
        let (n, d) = (20 + case % 25, 1 + case / 4 % 3);
        let data = data(&mut r, n, d, loss, case % 5 == 0);
        let scaling = match case % 2 {
            0 => Scaling::standard(&data.x, &data.normalised_weights()),
            _ => Scaling::identity(d),
        };
        let lambda = [0.3, 0.05, 0.01][case / 8 % 3];
        let mut options = AuditOptions {
            bias,
            lambda: Some(AuditLambda::Fraction(lambda)),
            improve: true,
            // takes well under a second; a busy machine must not decide
            time_limit: Some(Duration::from_secs(60)),
            ..AuditOptions::new(loss, scaling.clone())
        };
        options.output_bias = bias == Bias::Free || case % 7 != 0;
        let mut network = random_network(&mut r, 1 + 3 * (case % 4), bias, &scaling);
        if !options.output_bias {
            network.output_bias = 0.0;
        }
        let found = audit(&network, &data, &options, &mut silent()).expect("auditable");
        let lambda = found.lambda;
        let given = value(&network, &data, &options, lambda);
        assert!((found.certificate.upper - given).abs() <= 1e-12 * given, "case {case}");
        let lower = found.certificate.lower;
        assert!(lower.is_finite() && lower <= found.best * (1.0 + 1e-9), "case {case}: {found:?}");
        assert!(found.best <= found.tidied && found.tidied <= given, "case {case}");
        // small problems: every proof closes
        assert!(found.best_gap <= options.tolerance, "case {case}: {}", found.best_gap);
        let model = found.improved.as_ref().expect("asked for");
        let improved = value(&model.network, &data, &options, lambda);
        assert_eq!(improved, found.best, "case {case}");
        assert!(improved <= given, "case {case}: {improved} {given}");
        let again = certify(model, &data).expect("certifiable");
        assert!(again.relative_gap() <= options.tolerance, "case {case}: {again:?}");
        // a fit from nothing, on the same features: the same optimum
        if case % 2 == 0 {
            let fitted = Options {
                loss,
                bias,
                output_bias: options.output_bias,
                lambda: Lambda::Absolute(lambda),
                tolerance: 1e-4,
                standardize: scaling != Scaling::identity(d),
                time_limit: options.time_limit,
                ..Options::default()
            };
            let fitted = fit(&data, &fitted, &mut silent()).expect("fit").certificate;
            assert!(lower <= fitted.upper && fitted.lower <= found.best, "case {case}");
        }
        for k in 0..200 {
            let other = random_network(&mut r, 1 + k % 9, bias, &scaling);
            let output_bias = if options.output_bias { other.output_bias } else { 0.0 };
            let other = Network { output_bias, ..other };
            assert!(lower <= value(&other, &data, &options, lambda), "case {case}");
        }
        // the neuron to add first pays what it says
        if let Some(first) = &found.proposal {
            assert!(first.gain > 0.0 && first.decrease > 0.0 && first.size > 0.0);
            let mut tidied = network.clone().unfold(&scaling);
            tidied.balance(bias);
            let mut wider = tidied.fold(&scaling);
            let (m, root) = (wider.neurons(), first.size.sqrt());
            let weights = wider.weights.clone();
            wider.weights = Mat::from_fn(d, m + 1, |i, j| {
                if j < m { weights[(i, j)] } else { root * first.direction[i] }
            });
            wider.biases.push(root * first.offset);
            wider.outputs.push(if first.negative { -root } else { root });
            if options.output_bias {
                let best = |c: &f64| {
                    value(&Network { output_bias: *c, ..wider.clone() }, &data, &options, lambda)
                };
                let (mut low, mut high) = (-30.0, 30.0);
                for _ in 0..200 {
                    let (a, b) = (low + 0.4 * (high - low), low + 0.6 * (high - low));
                    if best(&a) < best(&b) { high = b } else { low = a }
                }
                wider.output_bias = low;
            }
            let after = value(&wider, &data, &options, lambda);
            assert!(after < given, "case {case}: {after} {given}");
            assert!(
                after <= found.tidied - first.decrease + 0.02 * given || found.idle > 0,
                "case {case}"
            );
        }
    }
}

/// A network that is optimal is found to be, without training; shaken a little it is not.
#[test]
fn optimal_networks_pass() {
    let mut r = Random(5);
    for (case, bias) in [Bias::Penalised, Bias::Free, Bias::None].into_iter().enumerate() {
        let loss = LOSSES[case];
        let data = data(&mut r, 40, 2, loss, false);
        let fitted = Options {
            loss,
            bias,
            lambda: Lambda::Fraction(0.1),
            patterns: PatternChoice::Generated(Effort::Auto),
            tolerance: 1e-8,
            ..Options::default()
        };
        let model = fit(&data, &fitted, &mut silent()).expect("fit");
        let options = AuditOptions {
            bias,
            tolerance: 1e-6,
            ..AuditOptions::new(loss, model.scaling.clone())
        };
        let found = audit(&model.network, &data, &options, &mut silent()).expect("auditable");
        assert!(found.lambda_estimated);
        assert!((found.lambda - model.lambda).abs() <= 1e-5 * model.lambda, "{}", found.lambda);
        assert!(found.relative_gap() <= 1e-6, "{bias:?}: {}", found.relative_gap());
        assert_eq!(found.stationarity.verdict, Verdict::Stationary, "{:?}", found.stationarity);
        assert!(found.imbalance <= 1e-9 && found.proposal.is_none() && found.idle == 0);
        assert_eq!(found.own_lower, Some(found.certificate.lower));

        let mut shaken = model.network.clone();
        shaken.outputs.iter_mut().for_each(|a| *a *= 1.3);
        let options = AuditOptions {
            lambda: Some(AuditLambda::Absolute(model.lambda)),
            improve: true,
            ..options
        };
        let found = audit(&shaken, &data, &options, &mut silent()).expect("auditable");
        assert!(found.relative_gap() > 1e-4 && found.best_gap <= 1e-6, "{found:?}");
        assert_eq!(found.stationarity.verdict, Verdict::NotStationary);
        assert!(found.imbalance > 0.2);
        let optimum = model.certificate;
        assert!((found.best - optimum.upper).abs() <= 1e-6 * optimum.upper);
        assert!(found.certificate.lower <= optimum.upper);
    }
}

/// Idle neurons and unbalanced weights are free improvements; time can run out at once.
#[test]
fn free_improvements_and_early_stops() {
    let mut r = Random(9);
    let data = data(&mut r, 30, 2, LossKind::Squared, false);
    let scaling = Scaling::identity(2);
    let mut network = random_network(&mut r, 4, Bias::Penalised, &scaling);
    network.biases[1] = -1e3;
    network.outputs[2] = 0.0;
    let options = AuditOptions {
        lambda: Some(AuditLambda::Absolute(0.02)),
        time_limit: Some(Duration::from_nanos(1)),
        improve: true,
        ..AuditOptions::new(LossKind::Squared, scaling)
    };
    let found = audit(&network, &data, &options, &mut silent()).expect("auditable");
    assert_eq!((found.neurons, found.idle), (4, 2));
    assert!(found.tidied < found.certificate.upper);
    assert!(found.status.is_early() && found.certificate.lower <= found.best);
    assert!(found.improved.expect("asked for").certificate.upper <= found.tidied);
}

#[test]
fn what_cannot_be_audited_is_refused() {
    let mut r = Random(1);
    let data = data(&mut r, 20, 2, LossKind::Squared, false);
    let scaling = Scaling::identity(2);
    let network = random_network(&mut r, 3, Bias::Penalised, &scaling);
    let options = AuditOptions::new(LossKind::Squared, scaling.clone());
    let says = |network: &Network, options: &AuditOptions, part: &str| {
        let error: Error = audit(network, &data, options, &mut silent()).expect_err(part);
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    };
    let without = AuditOptions { bias: Bias::None, ..options.clone() };
    says(&network, &without, "has hidden biases");
    says(&network, &AuditOptions { output_bias: false, ..options.clone() }, "the output bias");
    let zero = AuditOptions { lambda: Some(AuditLambda::Absolute(0.0)), ..options.clone() };
    says(&network, &zero, "λ must be positive");
    let mut diverged = network.clone();
    diverged.biases[0] = f64::NAN;
    says(&diverged, &options, "not finite");
    let mut idle = network.clone();
    idle.biases.fill(-1e6);
    says(&idle, &options, "give λ");
    // a network that fits the wrong way round: no λ explains it
    let mut wrong = network.clone();
    wrong.outputs.iter_mut().for_each(|a| *a = -a.abs() - 5.0);
    says(&wrong, &options, "not positive");
    let narrow = random_network(&mut r, 2, Bias::Penalised, &Scaling::identity(3));
    says(&narrow, &options, "takes 3 features");
}
