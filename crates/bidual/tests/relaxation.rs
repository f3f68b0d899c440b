//! The moment relaxation against exact optima, the golden values, and networks.

#[path = "common/golden.rs"]
mod golden;

use bidual::Mat;
use bidual::loss::{Hinge, Huber, Logistic, Loss, Squared, SquaredHinge, unit_weights};
use bidual::relaxation::moment_bound;
use golden::*;
use std::sync::Arc;

#[test]
fn golden_values() {
    for (name, tolerance) in
        [("two_layer/bound01_40x3_teacher", 1e-5), ("two_layer/bound03_200x10_teacher", 1e-4)]
    {
        let case = golden(name);
        let (x, y) = (matrix(&case["data"]["X"]), vector(&case["data"]["y"]));
        let weights = unit_weights(y.len());
        let loss = Squared::new(y, Some(weights)).unwrap();
        let beta = case["settings"]["beta"].as_f64().unwrap();
        let start = std::time::Instant::now();
        let found = moment_bound(&x, &loss, beta, 1e-9).unwrap();
        let stored = case["expected"]["level1_sdp_lower_bound"].as_f64().unwrap();
        println!(
            "{name}: {} ≤ {}, stored {stored}, {:?}",
            found.lower,
            found.relaxation,
            start.elapsed()
        );
        assert!((found.lower - stored).abs() < tolerance, "{} {stored}", found.lower);
        assert!(found.lower <= found.relaxation);
    }
}

/// The bound never exceeds the objective of any network, and its κ no price.
#[test]
fn below_every_network() {
    for seed in 0..60 {
        let mut r = Random(seed);
        let (n, d) = (3 + r.below(10), 1 + r.below(4));
        let mut x = r.matrix(n, d);
        if seed % 3 == 0 {
            (0..d).for_each(|j| x[(1, j)] = -x[(0, j)]);
            (0..d).for_each(|j| x[(2, j)] = 0.0);
        }
        let labels: Vec<f64> = (0..n).map(|_| if r.below(2) == 0 { 1.0 } else { -1.0 }).collect();
        let y: Vec<f64> = (0..n).map(|_| r.normal()).collect();
        let w = Some(unit_weights(n));
        let loss: Arc<dyn Loss> = match seed % 4 {
            0 => Arc::new(Squared::new(y, w).unwrap()),
            1 => Arc::new(Huber::new(y, 0.5, w).unwrap()),
            2 => Arc::new(Logistic::new(labels, w).unwrap()),
            _ => Arc::new(SquaredHinge::new(labels, w).unwrap()),
        };
        let lambda = [0.01, 0.1, 0.5][r.below(3)];
        let found = moment_bound(&x, loss.as_ref(), lambda, 1e-8).unwrap();
        let slack = 1e-3 * found.relaxation.abs();
        assert!(found.lower <= found.relaxation, "{seed}");
        println!("{seed} {n}×{d} {}: {} ≤ {}", loss.name(), found.lower, found.relaxation);
        assert!(found.relaxation - found.lower <= slack, "{seed}: not closed");
        for _ in 0..2000 {
            let u: Vec<f64> = (0..d).map(|_| r.normal()).collect();
            let hidden: Vec<f64> = times(&x, &u).iter().map(|t| t.max(0.0)).collect();
            let price = dot(&found.nu, &hidden).abs() / norm(&u);
            assert!(price <= found.kappa, "{seed}: {price} {}", found.kappa);
        }
        // coordinate descent over random neurons: networks of falling objective
        let mut f = vec![0.0; n];
        let mut size = 0.0;
        for _ in 0..300 {
            let mut nu = vec![0.0; n];
            loss.residual_into(&f, &mut nu);
            let u: Vec<f64> = (0..d).map(|_| r.normal()).collect();
            let hidden: Vec<f64> = times(&x, &u).iter().map(|t| t.max(0.0) / norm(&u)).collect();
            let slope = dot(&nu, &hidden);
            if slope.abs() > lambda {
                let step = (slope.abs() - lambda) / dot(&hidden, &hidden) * slope.signum();
                f.iter_mut().zip(&hidden).for_each(|(f, h)| *f += step * h);
                size += step.abs();
            }
            let objective = loss.value(&f) + lambda * size;
            assert!(found.lower <= objective, "{seed}: {} {objective}", found.lower);
        }
    }
}

#[test]
fn refusals() {
    let x = Mat::from_fn(2, 1, |i, _| i as f64);
    let hinge = Hinge::new(vec![1.0, -1.0], None).unwrap();
    assert!(moment_bound(&x, &hinge, 0.1, 1e-6).is_err());
    let squared = Squared::new(vec![1.0, -1.0], None).unwrap();
    assert!(moment_bound(&x, &squared, 0.0, 1e-6).is_err());
    let zero = Mat::zeros(2, 1);
    assert_eq!(moment_bound(&zero, &squared, 0.1, 1e-6).unwrap().lower, 0.0);
}
