//! Residuals, Hessians and curvature bounds against difference quotients.

use crate::common::*;

#[test]
fn residual_matches_finite_differences() {
    let mut rng = Random(1);
    for _ in 0..10 {
        for loss in all_losses(&mut rng, 9) {
            let f = rng.normals(9, 1.5);
            let nu = residual(&*loss, &f);
            let mut both = vec![0.0; 9];
            let value = loss.value_and_residual(&f, &mut both);
            assert_eq!(both, nu);
            assert_eq!(value, loss.value(&f));
            for i in 0..9 {
                let h = 1e-5;
                let at = |s: f64| {
                    let mut f = f.clone();
                    f[i] += s;
                    loss.value(&f)
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                // Across a kink of ℓ' the difference quotient is off by h/4 at most.
                assert!((slope + nu[i]).abs() < 5e-6, "{} {i}: {slope} {}", loss.name(), nu[i]);
            }
        }
    }
}

#[test]
fn hessian_matches_finite_differences() {
    let mut rng = Random(2);
    let n = 9;
    let h = 1e-6;
    for _ in 0..20 {
        for loss in all_losses(&mut rng, n) {
            let f = rng.normals(n, 1.5);
            let d = hessian(&*loss, &f);
            let mass: f64 = d.iter().sum();
            for j in 0..n {
                let at = |s: f64| {
                    let mut f = f.clone();
                    f[j] += s;
                    (residual(&*loss, &f), hessian(&*loss, &f))
                };
                let (plus, minus) = (at(h), at(-h));
                if plus.1.iter().zip(&minus.1).any(|(a, b)| (a - b).abs() > 1e-4) {
                    // A kink of ℓ' within the step.
                    continue;
                }
                for i in 0..n {
                    let numeric = -(plus.0[i] - minus.0[i]) / (2.0 * h);
                    let mut exact = if i == j { d[i] } else { 0.0 };
                    if loss.as_intercept().is_some() && mass > 0.0 {
                        exact -= d[i] * d[j] / mass;
                    }
                    assert!(
                        (numeric - exact).abs() < 1e-7,
                        "{} {i} {j}: {numeric} {exact}",
                        loss.name()
                    );
                }
            }
        }
    }
}

#[test]
fn curvature_bound_holds_and_is_attained() {
    let mut rng = Random(3);
    for loss in losses(&mut rng, 5, false) {
        let mut largest: f64 = 0.0;
        for k in 0..4001 {
            let f = -10.0 + 0.005 * f64::from(k);
            for y in [-1.0, 1.0] {
                let h = 1e-3;
                let second = (loss.sample_value(f + h, y) - 2.0 * loss.sample_value(f, y)
                    + loss.sample_value(f - h, y))
                    / (h * h);
                largest = largest.max(second);
            }
        }
        let bound = loss.curvature_bound();
        assert!(largest <= bound + 1e-6, "{} {largest}", loss.name());
        assert!(largest >= 0.999 * bound, "{} {largest}", loss.name());
        let f = rng.normals(5, 3.0);
        for (h, w) in hessian(&*loss, &f).iter().zip(loss.weights()) {
            assert!(*h >= 0.0 && *h <= w * bound);
        }
    }
}
