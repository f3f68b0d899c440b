//! The reach of a dual direction and the best bound along it.

use std::sync::Arc;

use bidual::loss::{Huber, Logistic, Loss, Squared, best_dual_value};
use proptest::prelude::*;

use crate::common::*;

#[test]
fn max_scale_is_the_boundary() {
    let mut rng = Random(12);
    let n = 15;
    for _ in 0..50 {
        for loss in all_losses(&mut rng, n) {
            let nu = residual(&*loss, &rng.normals(n, 2.0));
            let t = loss.max_scale(&nu);
            assert!(t >= 1.0, "{} {t}", loss.name());
            if t.is_finite() {
                assert!(loss.dual_value(&nu, t).is_finite(), "{} {t}", loss.name());
                assert_eq!(loss.dual_value(&nu, t * (1.0 + 1e-15)), f64::NEG_INFINITY);
            } else {
                assert!(loss.dual_value(&nu, 1e6).is_finite());
            }
            assert_eq!(loss.max_scale(&vec![0.0; n]), f64::INFINITY);
        }
    }
    let logistic = Logistic::new(vec![1.0, -1.0], Some(vec![0.5, 0.0])).unwrap();
    assert_eq!(logistic.max_scale(&[0.25, 0.0]), 2.0);
    assert_eq!(logistic.max_scale(&[-0.25, 0.0]), 0.0);
    assert_eq!(logistic.max_scale(&[0.25, 0.1]), 0.0);
    assert_eq!(logistic.max_scale(&[f64::NAN, 0.0]), 0.0);
    assert_eq!(logistic.dual_value(&[0.25, 0.1], 1.0), f64::NEG_INFINITY);
    let huber = Huber::new(vec![3.0], 0.1, Some(vec![0.3])).unwrap();
    let nu = residual(&huber, &[0.0]);
    assert_eq!(huber.max_scale(&nu), 1.0);
}

#[test]
fn best_dual_value_is_the_maximum() {
    let mut rng = Random(13);
    let n = 9;
    for trial in 0..40 {
        for loss in all_losses(&mut rng, n) {
            let nu = residual(&*loss, &rng.normals(n, 2.0));
            let t_max = [0.2, 1.0, 3.0, f64::INFINITY][trial % 4];
            let (value, t) = best_dual_value(&*loss, &nu, t_max);
            assert!(t >= 0.0 && t <= t_max);
            assert_eq!(value, loss.dual_value(&nu, t));
            assert!(value >= loss.dual_value(&nu, 0.0));
            let cap = t_max.min(loss.max_scale(&nu)).min(20.0);
            for k in 0..=400 {
                let grid = loss.dual_value(&nu, cap * f64::from(k) / 400.0);
                assert!(value >= grid - 1e-13 * (1.0 + grid.abs()), "{}", loss.name());
            }
            // The generic search agrees with the direct one.
            let (searched, _) = best_dual_value(&Generic(loss.clone()), &nu, t_max);
            assert!(
                (searched - value).abs() <= 1e-13 * (1.0 + value.abs()),
                "{} {searched} {value}",
                loss.name()
            );
        }
    }
    let loss = Squared::new(vec![1.0, -2.0], None).unwrap();
    assert_eq!(best_dual_value(&loss, &[0.0, 0.0], f64::INFINITY).0, 0.0);
    assert_eq!(best_dual_value(&loss, &[1.0, 1.0], f64::NAN), (0.0, 0.0));
    assert_eq!(best_dual_value(&loss, &[1.0, 1.0], -1.0), (0.0, 0.0));
    assert_eq!(best_dual_value(&loss, &[f64::NAN, 1.0], 1.0), (0.0, 0.0));
    assert_eq!(best_dual_value(&loss, &[-1.0, 1.0], 5.0), (0.0, 0.0));
    let t = best_dual_value(&loss, &[0.25, -0.5], f64::INFINITY).1;
    assert!((t - 2.0).abs() < 1e-15);
}

/// A loss without a direct maximiser of the dual along a ray.
struct Generic(Arc<dyn Loss>);

impl Loss for Generic {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn weights(&self) -> &[f64] {
        self.0.weights()
    }
    fn targets(&self) -> &[f64] {
        self.0.targets()
    }
    fn value(&self, f: &[f64]) -> f64 {
        self.0.value(f)
    }
    fn residual_into(&self, f: &[f64], nu: &mut [f64]) {
        self.0.residual_into(f, nu);
    }
    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.0.hessian_diagonal_into(f, out);
    }
    fn conjugate(&self, u: &[f64]) -> f64 {
        self.0.conjugate(u)
    }
    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.0.dual_value(nu, t)
    }
    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.0.max_scale(nu)
    }
    fn clip_dual(&self, nu: &mut [f64]) {
        self.0.clip_dual(nu);
    }
    fn curvature_bound(&self) -> f64 {
        self.0.curvature_bound()
    }
    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        self.0.best_intercept(f)
    }
    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        self.0.subset(rows)
    }
    fn sample_value(&self, f: f64, y: f64) -> f64 {
        self.0.sample_value(f, y)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// D(tν) ≤ F(f) + tνᵀf for any ν after clipping, any f and any feasible scale.
    #[test]
    fn any_dual_vector_bounds_any_output(
        seed in 1u64..u64::MAX,
        n in 3usize..30,
        output in -4.0f64..3.0,
        dual in -6.0f64..2.0,
        t in 0.0f64..4.0,
    ) {
        let mut rng = Random(seed);
        for loss in all_losses(&mut rng, n) {
            let f = rng.normals(n, 10f64.powf(output));
            let mut nu = rng.normals(n, 10f64.powf(dual));
            loss.clip_dual(&mut nu);
            let t = t.min(loss.max_scale(&nu));
            let bound = loss.dual_value(&nu, t);
            prop_assert!(bound.is_finite());
            let value = loss.value(&f);
            let size = value + nu.iter().zip(&f).map(|(a, b)| (t * a * b).abs()).sum::<f64>();
            prop_assert!(bound <= value + t * dot(&nu, &f) + 1e-13 * (size + 1e-3));
            let (best, s) = best_dual_value(&*loss, &nu, t);
            prop_assert!(best >= bound && s <= t);
        }
    }
}
