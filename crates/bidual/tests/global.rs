//! Training over all networks, against the exact program on all cells and against
//! Clarabel on the same program written out.
//!
//! `BIDUAL_CASES` sets the number of random problems (default 300).

#[path = "common/conic.rs"]
mod conic;
#[path = "common/problems.rs"]
mod problems;

use bidual::arrangement::Arrangement;
use bidual::formulation::with_ones;
use bidual::solver::{Status, silent};
use bidual::{
    Activation, Bias, Dataset, Effort, Lambda, Mat, Options, PatternChoice, Scope, certify, fit,
};
use problems::{Competitor, Random, Setup, random_problem};
use rayon::prelude::*;
use std::time::Duration;

fn cases(default: u64) -> u64 {
    std::env::var("BIDUAL_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Problem `seed` with at most 3 features, over all networks.
fn problem(seed: u64) -> (Dataset, Options) {
    let (data, options) = random_problem(seed);
    let x = Mat::from_fn(data.samples(), data.features().min(3), |i, j| data.x[(i, j)]);
    let patterns = PatternChoice::Generated(Effort::Unlimited);
    // far more than any of them needs: a stuck proof shall fail, not hang
    let time_limit = Some(Duration::from_secs(120));
    let options = Options { activation: Activation::Relu, patterns, time_limit, ..options };
    (Dataset::new(x, data.y, data.weights).expect("valid"), options)
}

#[test]
fn closes_to_the_exact_optimum_over_all_cells() {
    let outcomes: Vec<(bool, bool)> = (0..cases(300))
        .into_par_iter()
        .filter_map(|seed| {
            let (data, options) = problem(seed);
            let model = match fit(&data, &options, &mut silent()) {
                Ok(model) => model,
                Err(error) => {
                    assert!(error.to_string().contains("λ_max is 0"), "seed {seed}: {error}");
                    return None;
                }
            };
            let certificate = model.certificate;
            assert_eq!(certificate.scope, Scope::Complete);
            let what = format!("seed {seed}: {certificate:?} {:?} {options:?}", model.status);
            assert_eq!(model.status, Status::Certified, "{what}");
            assert!(certificate.relative_gap() <= 1e-6, "{what}");
            // the same problem by enumeration, at the same λ
            let listed = Options {
                patterns: PatternChoice::All(100_000),
                lambda: Lambda::Absolute(model.lambda),
                ..options.clone()
            };
            let compared = fit(&data, &listed, &mut silent()).ok().is_some_and(|exact| {
                let scale = 1e-9 * exact.certificate.upper.abs();
                let exact = exact.certificate;
                assert!(certificate.lower <= exact.upper + scale, "{what} {exact:?}");
                assert!(certificate.upper >= exact.lower - scale, "{what} {exact:?}");
                true
            });
            // and by a conic solver, where that is small enough
            let setup = Setup::new(&data, &options, model.lambda);
            let x = setup.matrix();
            let features = if options.bias == Bias::None { x } else { with_ones(&x) };
            let conic = Arrangement::all_cells(&features, 100_000).ok().is_some_and(|cells| {
                if 2 * cells.len() * features.ncols() > 200 {
                    return false;
                }
                let optimum = conic::optimum(&setup, &cells.patterns, true);
                let near = 2e-7 * (optimum.abs() + 1e-3);
                assert!(certificate.lower <= optimum + near, "{what} Clarabel {optimum}");
                assert!(certificate.upper >= optimum - near, "{what} Clarabel {optimum}");
                true
            });
            Some((compared, conic))
        })
        .collect();
    let count = outcomes.len();
    let compared = outcomes.iter().filter(|o| o.0).count();
    let conic = outcomes.iter().filter(|o| o.1).count();
    assert!(compared * 10 >= count * 8, "{compared} of {count} enumerated");
    assert!(conic * 10 >= count * 3, "{conic} of {count} by Clarabel");
}

#[test]
fn no_network_beats_the_bound() {
    (0..cases(60)).into_par_iter().for_each(|seed| {
        let mut r = Random::new(77_000 + seed);
        let (n, d) = (r.integer(10, 40) as usize, r.integer(2, 6) as usize);
        let (_, options) = problem(seed);
        let x = r.matrix(n, d);
        let classes = options.loss.is_classification();
        let y = (0..n)
            .map(|i| {
                let v = (x[(i, 0)] - 0.3).max(0.0) - x[(i, 1)].max(0.0) + 0.3 * r.normal();
                if classes { v.signum() } else { v }
            })
            .collect();
        let data = Dataset::new(x, y, None).expect("valid");
        let options = Options { patterns: PatternChoice::Generated(Effort::Auto), ..options };
        let Ok(model) = fit(&data, &options, &mut silent()) else { return };
        let setup = Setup::new(&data, &options, model.lambda);
        let found = setup.competitor(&model.network, &data.x);
        let bound = model.certificate.lower;
        let own = found.objective(&setup);
        assert!((own - model.certificate.upper).abs() <= 1e-9 * own.abs(), "seed {seed}");
        let mut attackers: Vec<Competitor> = [1, 3, 20]
            .into_iter()
            .flat_map(|m| [0.3, 1.0].map(|size| (m, size)))
            .map(|(m, size)| Competitor::random(&setup, m, size, &mut r))
            .collect();
        attackers.push(found);
        for mut attacker in attackers {
            let before = attacker.objective(&setup);
            assert!(before >= bound * (1.0 - 1e-12), "seed {seed}: {before} below {bound}");
            attacker.descend(&setup, 300);
            let after = attacker.objective(&setup);
            assert!(after >= bound * (1.0 - 1e-12), "seed {seed}: {after} below {bound}");
        }
    });
}

#[test]
fn certify_proves_the_stored_bound_again() {
    for seed in 0..20 {
        let (data, options) = problem(seed);
        let Ok(model) = fit(&data, &options, &mut silent()) else { continue };
        let again = certify(&model, &data).expect("same data");
        let (was, upper) = (model.certificate, again.upper);
        assert!((upper - was.upper).abs() <= 1e-12 * upper.abs(), "seed {seed}");
        assert!(again.lower >= was.lower - 1e-8 * upper.abs(), "seed {seed}: {again:?} {was:?}");
    }
}

#[test]
fn the_same_bytes_whatever_the_number_of_threads() {
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| {
            let (data, options) = problem(seed);
            fit(&data, &options, &mut silent()).ok().map(|m| {
                let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                (bits(&m.dual), bits(&m.network.outputs), m.certificate.lower.to_bits(), m.cones)
            })
        })
    };
    for seed in [1, 2, 6, 11] {
        assert_eq!(run(1, seed), run(2, seed), "seed {seed}");
    }
}

#[test]
fn a_better_network_than_any_sampled_one() {
    // patterns drawn at random almost never contain the best neurons
    let mut r = Random::new(5);
    let x = r.matrix(80, 4);
    let y = (0..80).map(|i| (x[(i, 0)] + 0.5 * x[(i, 1)]).abs() + 0.1 * r.normal()).collect();
    let data = Dataset::new(x, y, None).expect("valid");
    let global = Options { lambda: Lambda::Fraction(0.05), ..Options::default() };
    let model = fit(&data, &global, &mut silent()).expect("fits");
    assert_eq!(model.status, Status::Certified);
    let sampled = Options {
        patterns: PatternChoice::Sampled(200),
        lambda: Lambda::Absolute(model.lambda),
        ..global
    };
    let other = fit(&data, &sampled, &mut silent()).expect("fits");
    assert!(model.certificate.upper < other.certificate.upper);
    assert!(model.network.neurons() <= 80);
}
