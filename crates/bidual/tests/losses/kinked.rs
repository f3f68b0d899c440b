//! Losses without a continuous gradient: hinge, absolute, interpolation.

use std::sync::Arc;

use bidual::loss::{Absolute, Hinge, Interpolation, Loss, WithIntercept, best_dual_value};

use crate::common::*;

/// Hinge and absolute on random data; `f` with some samples on their kinks.
fn kinked(rng: &mut Random, n: usize) -> (Vec<Arc<dyn Loss>>, Vec<f64>) {
    let y: Vec<f64> = (0..n).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let mut f = rng.normals(n, 1.5);
    // yf = 1 and f = y are the same for labels
    (0..n).step_by(3).for_each(|i| f[i] = y[i]);
    let weights = Some((0..n).map(|i| if i == 1 { 0.0 } else { 0.2 + rng.uniform() }).collect());
    let plain: Vec<Arc<dyn Loss>> = vec![
        Arc::new(Hinge::new(y.clone(), weights.clone()).unwrap()),
        Arc::new(Absolute::new(y.clone(), weights).unwrap()),
        Arc::new(Hinge::new(y.clone(), None).unwrap()),
        Arc::new(Absolute::new(y, None).unwrap()),
    ];
    let with = profiled(&plain);
    (plain.into_iter().chain(with).collect(), f)
}

#[test]
fn kinked_losses_follow_their_definitions() {
    let mut rng = Random(31);
    let n = 10;
    for _ in 0..60 {
        let (losses, f) = kinked(&mut rng, n);
        for loss in losses {
            assert!(!loss.is_smooth() && loss.curvature_bound() == f64::INFINITY);
            assert_eq!(hessian(&*loss, &f), vec![0.0; n]);
            let nu = residual(&*loss, &f);
            let value = loss.value(&f);
            let intercept = loss.as_intercept().is_some();
            let mut any = rng.normals(n, 1.0);
            loss.clip_dual(&mut any);
            for _ in 0..20 {
                let g = rng.normals(n, 2.0);
                let slope: f64 = nu.iter().zip(&f).zip(&g).map(|((v, f), g)| v * (g - f)).sum();
                // ν is minus a subgradient; profiled, it is balanced and only a dual point
                assert!(intercept || loss.value(&g) >= value - slope - 1e-12, "{}", loss.name());
                for v in [&nu, &any] {
                    let bound = loss.dual_value(v, 1.0) - dot(v, &g);
                    assert!(loss.value(&g) >= bound, "{} {bound}", loss.name());
                }
            }
            // the value is attained: F = D(ν) − νᵀf at a subgradient
            if !intercept {
                let fenchel = loss.dual_value(&nu, 1.0) - dot(&nu, &f);
                assert!((value - fenchel).abs() < 1e-12, "{} {value} {fenchel}", loss.name());
                let gradient: Vec<f64> = nu.iter().map(|v| -v).collect();
                assert!((loss.conjugate(&gradient) + loss.dual_value(&nu, 1.0)).abs() < 1e-13);
            }
            let t = loss.max_scale(&any);
            assert!(t >= 1.0);
            if t.is_finite() {
                assert!(loss.dual_value(&any, t).is_finite());
                assert_eq!(loss.dual_value(&any, t * (1.0 + 1e-15)), f64::NEG_INFINITY);
            }
            let (best, at) = best_dual_value(&*loss, &any, 0.7);
            assert!(best == loss.dual_value(&any, at) && best >= loss.dual_value(&any, 0.35));
            assert!(best >= loss.dual_value(&any, 0.7));
        }
    }
}

/// g(s) = inf ℓ(f) + sf, the conjugate by its definition on a grid.
#[test]
fn kinked_conjugates_are_suprema() {
    for y in [-1.0, 1.0] {
        let losses: Vec<Box<dyn Loss>> = vec![
            Box::new(Hinge::new(vec![y], Some(vec![0.72])).unwrap()),
            Box::new(Absolute::new(vec![y], Some(vec![0.72])).unwrap()),
        ];
        for loss in losses {
            for k in -20..=20 {
                let nu = 0.05 * f64::from(k);
                let grid = |reach: i32| {
                    (-reach..=reach)
                        .map(|i| 0.01 * f64::from(i))
                        .map(|f| loss.value(&[f]) + nu * f)
                        .fold(f64::INFINITY, f64::min)
                };
                let dual = loss.dual_value(&[nu], 1.0);
                if dual.is_finite() {
                    assert!((dual - grid(300)).abs() < 1e-12, "{} {y} {nu}", loss.name());
                } else {
                    assert!(grid(3000) < grid(300) - 0.1, "{} {y} {nu}", loss.name());
                }
            }
        }
    }
}

#[test]
fn kinked_intercepts_are_minimisers() {
    let mut rng = Random(32);
    for trial in 0..200 {
        let n = 1 + (rng.uniform() * 9.0) as usize;
        let (losses, f) = kinked(&mut rng, n.max(3));
        for loss in losses.iter().filter(|l| l.as_intercept().is_none()) {
            let at = |c: f64| loss.value(&shifted(&f, c));
            let best = loss.best_intercept(&f).unwrap();
            for k in -400..=400 {
                let c = 0.02 * f64::from(k);
                assert!(at(best) <= at(c) + 1e-12, "{trial} {} {best} {c}", loss.name());
            }
        }
    }
    // one class: every large constant is a minimiser
    let one = Hinge::new(vec![1.0, 1.0], None).unwrap();
    assert_eq!(one.best_intercept(&[0.0, -2.0]), Some(3.0));
    let other = Hinge::new(vec![-1.0, -1.0], None).unwrap();
    assert_eq!(other.best_intercept(&[0.0, -2.0]), Some(-1.0));
    // between the medians
    let even = Absolute::new(vec![0.0, 4.0], None).unwrap();
    assert_eq!(even.best_intercept(&[0.0, 0.0]), Some(2.0));
}

#[test]
fn interpolation_is_an_equality() {
    let loss = Interpolation::new(vec![2.0, -1.0, 5.0], Some(vec![1.0, 1.0, 0.0])).unwrap();
    assert_eq!(loss.value(&[2.0, -1.0, 0.0]), 0.0);
    assert_eq!(loss.value(&[2.0 + 1e-12, -1.0, 7.0]), 0.0);
    assert_eq!(loss.value(&[2.0 + 1e-6, -1.0, 0.0]), f64::INFINITY);
    assert_eq!(loss.value(&[f64::NAN, -1.0, 0.0]), f64::INFINITY);
    assert!(!loss.is_smooth() && loss.dual_is_free());
    let nu = [3.0, 0.5, 0.0];
    assert!((loss.dual_value(&nu, 1.0) - 5.5).abs() < 1e-12 && loss.dual_value(&nu, 1.0) <= 5.5);
    assert_eq!(loss.dual_value(&[0.0, 0.0, 1.0], 1.0), f64::NEG_INFINITY);
    assert_eq!(best_dual_value(&loss, &nu, 2.0).1, 2.0);
    assert_eq!(best_dual_value(&loss, &[-3.0, 0.5, 0.0], 2.0), (0.0, 0.0));
    let with = WithIntercept::new(Arc::new(loss)).unwrap();
    assert_eq!(with.value(&[0.0, -3.0, 0.0]), 0.0);
    assert_eq!(with.intercept(&[0.0, -3.0, 9.0]), 2.0);
    let mut nu = vec![3.0, 0.5, 0.0];
    with.clip_dual(&mut nu);
    assert_eq!(nu.iter().sum::<f64>(), 0.0);
}
