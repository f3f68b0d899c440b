//! The same fit on one and on several threads gives the same bits: network,
//! certificate, dual vector, and every score of cross-validation.

#[path = "common/problems.rs"]
mod problems;

use bidual::solver::silent;
use bidual::{
    Activation, Bias, Dataset, Effort, Lambda, LossKind, Model, Options, PatternChoice, certify,
    fit,
};
use problems::Random;
use rayon::ThreadPoolBuilder;

fn data(n: usize, d: usize, classes: bool) -> Dataset {
    let mut r = Random::new(42);
    let x = r.matrix(n, d);
    let teacher = |i: usize| (x[(i, 0)] - 0.5 * x[(i, 1)]).max(0.0) - x[(i, d - 1)].max(0.3);
    let y = (0..n).map(|i| teacher(i) + 0.3 * r.normal());
    let y = y.map(|v| if classes { (v + 0.2).signum() } else { v }).collect();
    Dataset::new(x, y, None).expect("valid data")
}

fn on(threads: usize, data: &Dataset, options: &Options) -> Model {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
    pool.install(|| fit(data, options, &mut silent())).expect("fitted")
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn same(data: &Dataset, options: &Options) {
    let one = on(1, data, options);
    assert!(one.network.neurons() > 0);
    for threads in [2, 5] {
        let other = on(threads, data, options);
        assert_eq!(one.network, other.network, "{threads} threads");
        assert_eq!(one.certificate, other.certificate, "{threads} threads");
        assert_eq!(bits(&one.dual), bits(&other.dual), "{threads} threads");
        assert_eq!(one.lambda.to_bits(), other.lambda.to_bits());
        assert_eq!(one.lambda_max.to_bits(), other.lambda_max.to_bits());
        assert_eq!((one.iterations, one.status), (other.iterations, other.status));
        assert_eq!(one.cones, other.cones, "{threads} threads");
        assert_eq!(one.gates, other.gates);
        assert_eq!(one.scaling, other.scaling);
        match (&one.cross_validation, &other.cross_validation) {
            (Some(a), Some(b)) => {
                assert_eq!(bits(&a.scores), bits(&b.scores));
                assert_eq!(bits(&a.lambdas), bits(&b.lambdas));
            }
            (None, None) => {}
            _ => panic!("cross-validation on one side only"),
        }
        assert_eq!(bits(&one.predict(&data.x)), bits(&other.predict(&data.x)));
    }
    let again = certify(&one, data).expect("certified");
    assert!((again.upper - one.certificate.upper).abs() <= 1e-12 * again.upper.abs());
}

fn options(activation: Activation, patterns: PatternChoice) -> Options {
    Options { activation, patterns, lambda: Lambda::Fraction(0.03), ..Options::default() }
}

#[test]
fn relu_sampled() {
    // more rows than a tile, more patterns than a tile
    same(&data(600, 4, false), &options(Activation::Relu, PatternChoice::Sampled(150)));
}

#[test]
fn all_networks() {
    let base = options(Activation::Relu, PatternChoice::Generated(Effort::Auto));
    let base = Options { lambda: Lambda::Fraction(0.1), tolerance: 1e-5, ..base };
    same(&data(800, 4, false), &base);
    same(&data(800, 4, true), &Options { loss: LossKind::Logistic, ..base });
}

#[test]
fn relu_all_cells_and_free_bias() {
    let base = options(Activation::Relu, PatternChoice::All(5000));
    same(&data(14, 3, false), &Options { bias: Bias::Free, ..base });
}

#[test]
fn gated() {
    same(&data(600, 4, false), &options(Activation::Gated, PatternChoice::Sampled(150)));
}

#[test]
fn logistic() {
    let base = options(Activation::Relu, PatternChoice::Sampled(80));
    same(&data(90, 3, true), &Options { loss: LossKind::Logistic, ..base });
}

#[test]
fn cross_validation() {
    for activation in [Activation::Relu, Activation::Gated] {
        let base = options(activation, PatternChoice::Sampled(40));
        let base = Options { lambda: Lambda::CrossValidated, folds: 4, seed: 3, ..base };
        same(&data(60, 3, false), &base);
        same(&data(60, 3, true), &Options { loss: LossKind::SquaredHinge, ..base });
    }
}
