//! λ_max: above it the best network is a constant, below it is not; the order of
//! its values over scopes; and its value against a sweep over all neurons.

#[path = "common/problems.rs"]
mod problems;

use bidual::arrangement::{Arrangement, Share, sample_gates};
use bidual::formulation::{Formulation, GatedRelu, Relu};
use bidual::loss::{Loss, WithIntercept};
use bidual::solver::silent;
use bidual::{Bias, Lambda, Mat, Options, fit};
use problems::{Random, Setup, loss_of, random_problem};
use rayon::prelude::*;
use std::sync::Arc;

#[test]
fn constant_above_and_better_below() {
    let count = (0..160u64)
        .into_par_iter()
        .filter_map(|seed| {
            let (data, options) = random_problem(seed);
            let options = Options { lambda: Lambda::Fraction(1.0001), tolerance: 1e-9, ..options };
            let above = fit(&data, &options, &mut silent()).ok()?;
            let setup = Setup::new(&data, &options, above.lambda);
            let constant = setup.loss_at(&vec![0.0; data.samples()]);
            assert_eq!(above.network.neurons(), 0, "seed {seed}");
            let near = 1e-11 * constant;
            assert!((above.certificate.upper - constant).abs() <= near, "seed {seed}");
            assert!((above.certificate.lower - constant).abs() <= 10.0 * near, "seed {seed}");
            assert!((above.lambda - 1.0001 * above.lambda_max).abs() <= 1e-15 * above.lambda);
            let options = Options { lambda: Lambda::Fraction(0.99), ..options };
            let below = fit(&data, &options, &mut silent()).expect("fitted above λ_max");
            assert_eq!(below.lambda_max, above.lambda_max);
            assert!(
                below.certificate.upper < constant && below.network.neurons() > 0,
                "seed {seed}: {:?} against {constant}, {options:?}",
                below.certificate
            );
            Some(())
        })
        .count();
    assert!(count > 120, "only {count} problems");
}

/// The profiled loss of a problem, and its scaled features.
fn ready(seed: u64) -> (Arc<Mat>, Arc<dyn Loss>, Bias, Setup) {
    let (data, options) = random_problem(seed);
    let setup = Setup::new(&data, &options, 1.0);
    let loss = options.loss.build(&data.y, data.normalised_weights()).expect("loss");
    let loss: Arc<dyn Loss> = if options.output_bias {
        Arc::new(WithIntercept::new(loss).expect("two classes"))
    } else {
        loss
    };
    (Arc::new(setup.matrix()), loss, options.bias, setup)
}

fn extended(x: &Mat, bias: Bias) -> Mat {
    let d = x.ncols();
    let width = d + usize::from(bias != Bias::None);
    Mat::from_fn(x.nrows(), width, |i, j| if j < d { x[(i, j)] } else { 1.0 })
}

#[test]
fn restricted_complete_gated_in_this_order() {
    (0..150u64).into_par_iter().for_each(|seed| {
        let (x, loss, bias, _) = ready(seed);
        let all = Arrangement::all_cells(&extended(&x, bias), 10_000).expect("few cells");
        if all.is_empty() {
            return;
        }
        let relu = |arrangement| {
            let formulation = Relu::new(x.clone(), loss.clone(), arrangement, bias);
            formulation.expect("valid").program(0.0).lambda_max()
        };
        let complete = relu(all.clone());
        let share = if bias == Bias::None { Share::Central } else { Share::Biased };
        let gates = sample_gates(&x, 15, seed, share, false).expect("gates");
        if let Ok(sampled) = Arrangement::from_gates(&x, &gates) {
            let restricted = relu(sampled);
            let slack = 1e-9 * complete + 1e-14;
            assert!(restricted <= complete + slack, "seed {seed}: {restricted} > {complete}");
        }
        if bias != Bias::Free {
            let gated = GatedRelu::new(x.clone(), loss.clone(), all, bias).expect("valid");
            let gated = gated.program(0.0).lambda_max();
            assert!(complete <= gated * (1.0 + 1e-9), "seed {seed}: {complete} > {gated}");
        }
    });
}

/// max over ±, u of ±νᵀ(Xu)_+/ρ(u), by sweeping the circle (two inputs) or by
/// random directions refined (more): from below, and close for two inputs.
#[test]
fn sweep_over_neurons() {
    let (mut tight, mut seen) = (0, 0);
    for seed in 0..150u64 {
        let (x, loss, bias, setup) = ready(seed);
        let rows = extended(&x, bias);
        let all = Arrangement::all_cells(&rows, 10_000).expect("few cells");
        if all.is_empty() {
            continue;
        }
        let (n, d) = (rows.nrows(), rows.ncols());
        let relu = Relu::new(x, loss, all, bias).expect("valid");
        let lambda_max = relu.program(0.0).lambda_max();
        let c = setup.best_constant(&vec![0.0; n]);
        let nu: Vec<f64> =
            (0..n).map(|i| -setup.omega[i] * loss_of(setup.loss, c, setup.y[i]).1).collect();
        let price = |u: &[f64]| {
            let hidden = |i: usize| (0..d).map(|j| rows[(i, j)] * u[j]).sum::<f64>().max(0.0);
            let value: f64 = (0..n).map(|i| nu[i] * hidden(i)).sum();
            let penalised = if bias == Bias::Free { &u[..d - 1] } else { u };
            value.abs() / penalised.iter().map(|v| v * v).sum::<f64>().sqrt()
        };
        let mut best = 0.0f64;
        let r = &mut Random::new(seed);
        // a free bias with next to no weight is a constant: only rounding is left of it
        let usable = |u: &[f64]| bias != Bias::Free || u[d - 1].abs() < 30.0;
        for k in 0..20_000 {
            let u = if d == 2 {
                let angle = f64::from(k) * std::f64::consts::TAU / 20_000.0;
                let (s, c) = (angle.sin(), angle.cos());
                if bias == Bias::Free { vec![c.signum(), s / c.abs()] } else { vec![c, s] }
            } else {
                r.normals(d)
            };
            if usable(&u) {
                best = best.max(price(&u));
            }
        }
        assert!(best <= lambda_max * (1.0 + 1e-7) + 1e-13, "seed {seed}: {best} > {lambda_max}");
        if d == 2 {
            seen += 1;
            tight += usize::from(best >= lambda_max * (1.0 - 1e-3));
        }
    }
    assert!(seen >= 20 && tight >= seen - 1, "{tight} of {seen}");
}
