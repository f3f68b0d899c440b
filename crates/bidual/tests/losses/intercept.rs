//! The best constant, and losses that are minimised over it.

use std::sync::Arc;

use bidual::loss::{Huber, Logistic, Loss, LossError, Squared, SquaredHinge, WithIntercept};
use proptest::prelude::*;

use crate::common::*;

#[test]
fn best_intercept_is_the_minimiser() {
    let mut rng = Random(8);
    for trial in 0..60 {
        let n = 7 + trial % 5;
        let scale = [0.1, 1.0, 5.0, 40.0][trial % 4];
        let mut all = losses(&mut rng, n, false);
        all.extend(losses(&mut rng, n, true));
        for loss in all {
            let shift = 3.0 * rng.normal();
            let f: Vec<f64> = (0..n).map(|_| shift + scale * rng.normal()).collect();
            let at = |c: f64| loss.value(&shifted(&f, c));
            let c = loss.best_intercept(&f).unwrap();
            let moved = shifted(&f, c);
            let nu = residual(&*loss, &moved);
            let size: f64 = nu.iter().map(|v| v.abs()).sum();
            let sum: f64 = nu.iter().sum();
            assert!(
                sum.abs() <= 1e-14 * (size + scale + shift.abs() + c.abs()),
                "{} sum {sum} of {size}",
                loss.name()
            );
            let here = at(c);
            for step in [1e-6, 1e-4, 1e-2] {
                assert!(here <= at(c + step) + 1e-15 * here);
                assert!(here <= at(c - step) + 1e-15 * here);
            }
            let reference = at(golden_min(-300.0, 300.0, at));
            assert!(here <= reference + 1e-14 * (1.0 + reference), "{}", loss.name());
        }
    }
}

#[test]
fn best_intercept_special_cases() {
    let one_label = vec![1.0, 1.0, 1.0];
    let logistic = Logistic::new(one_label.clone(), None).unwrap();
    assert_eq!(logistic.best_intercept(&[0.0, 5.0, -3.0]), None);
    let hinge = SquaredHinge::new(one_label, None).unwrap();
    assert_eq!(hinge.best_intercept(&[0.0, 5.0, -3.0]), Some(4.0));
    assert_eq!(hinge.best_intercept(&[2.0, 5.0, 3.0]), Some(0.0));
    // A label whose samples have no weight does not count.
    let dropped = Logistic::new(vec![1.0, -1.0], Some(vec![1.0, 0.0])).unwrap();
    assert_eq!(dropped.best_intercept(&[0.0, 0.0]), None);
    // Separable by a constant with room: the middle of the interval.
    let pair = SquaredHinge::new(vec![1.0, -1.0], None).unwrap();
    assert_eq!(pair.best_intercept(&[10.0, -6.0]), Some(-2.0));
    // Constant outputs: the log-odds.
    let labels = vec![1.0, 1.0, 1.0, -1.0];
    let c = Logistic::new(labels, None).unwrap().best_intercept(&[2.0; 4]).unwrap();
    assert!((c - (3.0_f64.ln() - 2.0)).abs() < 1e-15);
    // Two clusters beyond the threshold: derivative 0 on an interval.
    let huber = Huber::new(vec![-5.0, 5.0], 1.0, None).unwrap();
    let c = huber.best_intercept(&[0.0, 0.0]).unwrap();
    assert!(c.abs() <= 4.0);
    // Large outputs of the wrong and of the right sign.
    for sign in [1.0, -1.0] {
        let loss = Logistic::new(vec![1.0, -1.0, -1.0], None).unwrap();
        let f = [sign * 1e6, -sign * 1e6, -sign * 1e6];
        let c = loss.best_intercept(&f).unwrap();
        let moved = shifted(&f, c);
        assert!(residual(&loss, &moved).iter().sum::<f64>().abs() < 1e-9);
    }
    assert_eq!(logistic.best_intercept(&[f64::NAN; 3]), None);
    let squared = Squared::new(vec![1.0, 2.0], None).unwrap();
    assert_eq!(squared.best_intercept(&[f64::NAN, 0.0]), None);
}

#[test]
fn profiled_value_is_the_minimum() {
    let mut rng = Random(9);
    let n = 10;
    for _ in 0..20 {
        for weighted in [false, true] {
            for loss in losses(&mut rng, n, weighted) {
                let with = WithIntercept::new(loss.clone()).unwrap();
                let f = rng.normals(n, 2.0);
                let at = |c: f64| loss.value(&shifted(&f, c));
                let value = with.value(&f);
                let reference = at(golden_min(-50.0, 50.0, at));
                assert!((value - reference).abs() <= 1e-13 * (1.0 + reference));
                for k in -50..=50 {
                    assert!(value <= at(0.2 * f64::from(k)) * (1.0 + 1e-15));
                }
                assert_eq!(value, at(with.intercept(&f)));
                // Invariance, and no constant left.
                let moved = shifted(&f, 1.7);
                assert!((with.value(&moved) - value).abs() < 1e-13 * (1.0 + value));
                assert_eq!(with.best_intercept(&f), Some(0.0));
                let nu = residual(&with, &f);
                assert!(nu.iter().sum::<f64>().abs() < 1e-14);
                assert!(with.inner().dual_value(&nu, 1.0).is_finite());
            }
        }
    }
}

#[test]
fn profiled_dual_is_a_lower_bound() {
    let mut rng = Random(10);
    let n = 12;
    for _ in 0..40 {
        for weighted in [false, true] {
            for loss in losses(&mut rng, n, weighted) {
                let with = WithIntercept::new(loss.clone()).unwrap();
                let f = rng.normals(n, 1.5);
                for scale in [0.0, 1e-8, 1e-4, 0.1, 3.0] {
                    // Residual of the loss without refit of the constant, then balanced.
                    let c = with.intercept(&f);
                    let g: Vec<f64> = f.iter().map(|f| f + c + scale * rng.normal()).collect();
                    let mut nu = residual(&*loss, &g);
                    with.clip_dual(&mut nu);
                    for t in [0.3, 1.0] {
                        let dual = with.dual_value(&nu, t);
                        assert!(dual.is_finite(), "{}", loss.name());
                        let slack = 1e-14 * (1.0 + dot(&f, &f));
                        assert!(dual <= with.value(&f) + t * dot(&nu, &f) + slack);
                        let far = rng.normals(n, 4.0);
                        let slack = 1e-14 * (1.0 + dot(&far, &far));
                        assert!(dual <= with.value(&far) + t * dot(&nu, &far) + slack);
                    }
                }
            }
        }
    }
}

#[test]
fn balance_is_exact_and_stays_feasible() {
    let mut rng = Random(11);
    for n in [4, 10, 1000] {
        for weighted in [false, true] {
            for loss in losses(&mut rng, n, weighted) {
                let with = WithIntercept::new(loss.clone()).unwrap();
                let mut nu = vec![0.0; n];
                // Clipping can leave one sign class, which balances to zero.
                while nu.iter().all(|&v| v == 0.0) {
                    nu = rng.normals(n, 2.0 / n as f64);
                    nu[3] *= 1e-9;
                    with.clip_dual(&mut nu);
                }
                // All entries are multiples of 2⁻⁵² of the largest: integers add up exactly.
                let largest = nu.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                let unit = 2.0_f64.powi(largest.log2().floor() as i32 - 52);
                let mut sum = 0_i128;
                for v in &nu {
                    assert_eq!((v / unit).fract(), 0.0);
                    sum += (v / unit) as i128;
                }
                assert_eq!(sum, 0);
                assert_eq!(with.dual_value(&nu, 1.0), loss.dual_value(&nu, 1.0));
                let mut again = nu.clone();
                with.clip_dual(&mut again);
                assert_eq!(again, nu);
                // Rescaled: balanced to rounding, charged but finite.
                let third: Vec<f64> = nu.iter().map(|v| v / 3.0).collect();
                let charged = with.dual_value(&third, 1.0);
                let exact = with.dual_value(&nu, 1.0 / 3.0);
                assert!((charged - exact).abs() < 1e-11);
                // Unbalanced: no bound.
                let mut off = nu.clone();
                let largest = off.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs()));
                *largest.unwrap() *= 0.999;
                assert_eq!(with.dual_value(&off, 1.0), f64::NEG_INFINITY);
                let negated: Vec<f64> = off.iter().map(|v| -v).collect();
                assert_eq!(with.conjugate(&negated), f64::INFINITY);
            }
        }
    }
}

#[test]
fn profiled_edge_cases() {
    let one: Arc<dyn Loss> = Arc::new(Logistic::new(vec![1.0; 3], None).unwrap());
    let error = WithIntercept::new(one).unwrap_err();
    assert_eq!(error, LossError::NoIntercept { loss: "logistic" });
    let two: Arc<dyn Loss> = Arc::new(Logistic::new(vec![1.0, 1.0, -1.0], None).unwrap());
    let with = Arc::new(WithIntercept::new(two).unwrap());
    let nested = WithIntercept::new(with.clone()).unwrap_err();
    assert_eq!(nested, LossError::NestedIntercept { loss: "logistic" });
    // A fold with one label: infimum 0, approached.
    let fold = with.subset(&[0, 1]);
    let f = [3.0, -700.0];
    assert!(fold.value(&f) < 1e-15);
    assert!(fold.as_intercept().unwrap().intercept(&f).is_finite());
    let mut nu = residual(&*fold, &f);
    assert_eq!(nu, vec![0.0, 0.0]);
    nu = vec![0.2, 0.3];
    fold.clip_dual(&mut nu);
    assert_eq!(nu, vec![0.0, 0.0]);
    assert!(fold.dual_value(&nu, 1.0) <= 0.0);
    // Not finite: no bound, no panic.
    assert_eq!(with.dual_value(&[f64::NAN, 0.0, 0.0], 1.0), f64::NEG_INFINITY);
    assert_eq!(with.dual_value(&[f64::INFINITY; 3], 1.0), f64::NEG_INFINITY);
    assert_eq!(with.dual_value(&[f64::NAN; 3], 0.0), 0.0);
    let _ = with.value(&[f64::NAN; 3]);
    let _ = residual(&*with, &[f64::INFINITY, 0.0, 0.0]);
    let tiny = WithIntercept::new(Arc::new(Squared::new(vec![1.0, 2.0], None).unwrap())).unwrap();
    let mut nu = vec![1e-300, 2e-300];
    tiny.balance(&mut nu);
    assert_eq!(nu, vec![0.0, 0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The refitted constant leaves no imbalance beyond the rounding of the outputs.
    #[test]
    fn refit_is_stationary(
        seed in 1u64..u64::MAX,
        n in 3usize..30,
        scale in -6.0f64..6.0,
        shift in -1e3f64..1e3,
    ) {
        let mut rng = Random(seed);
        for loss in losses(&mut rng, n, true) {
            let scale = 10f64.powf(scale);
            let f: Vec<f64> = (0..n).map(|_| shift + scale * rng.normal()).collect();
            let c = loss.best_intercept(&f).unwrap();
            let moved = shifted(&f, c);
            let nu = residual(&*loss, &moved);
            let sum: f64 = nu.iter().sum();
            let total: f64 = loss.weights().iter().sum();
            let size: f64 = f.iter().fold(c.abs(), |m, f| m.max(f.abs()));
            prop_assert!(sum.abs() <= 1e-14 * total * (1.0 + size), "{} {sum}", loss.name());
        }
    }
}
