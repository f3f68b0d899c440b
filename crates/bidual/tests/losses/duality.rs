//! Conjugates against their definition, and lower bounds at any dual vector.

use bidual::loss::{Huber, Logistic, Loss, SquaredHinge};

use crate::common::*;

#[test]
fn fenchel_young() {
    let mut rng = Random(4);
    let n = 11;
    for _ in 0..30 {
        for loss in all_losses(&mut rng, n) {
            let f = rng.normals(n, 2.0);
            let gradient: Vec<f64> = residual(&*loss, &f).iter().map(|v| -v).collect();
            let gap = loss.value(&f) + loss.conjugate(&gradient) - dot(&f, &gradient);
            assert!(gap.abs() < 1e-12, "{} {gap}", loss.name());
            for _ in 0..20 {
                let mut nu = rng.normals(n, 0.5);
                loss.clip_dual(&mut nu);
                let u: Vec<f64> = nu.iter().map(|v| -v).collect();
                let conjugate = loss.conjugate(&u);
                assert!(conjugate.is_finite(), "{}", loss.name());
                assert!(loss.value(&f) + conjugate - dot(&f, &u) >= -1e-12);
                // The bound is the conjugate less a margin of rounding size.
                let dual = loss.dual_value(&nu, 1.0);
                assert!(dual <= -conjugate && dual >= -conjugate - 1e-11 * (1.0 + conjugate.abs()));
            }
        }
    }
}

#[test]
fn conjugate_is_the_supremum() {
    let mut rng = Random(5);
    for y in [1.0, -1.0] {
        let w = 0.37;
        for loss in smooth(&[y], &[y], Some(vec![w])) {
            for _ in 0..50 {
                let mut nu = [0.4 * rng.normal()];
                loss.clip_dual(&mut nu);
                let u = -nu[0];
                let objective = |f: f64| loss.value(&[f]) - u * f;
                let f = golden_min(-60.0, 60.0, objective);
                let supremum = -objective(f);
                let conjugate = loss.conjugate(&[u]);
                assert!(
                    (supremum - conjugate).abs() < 1e-10,
                    "{} u={u}: {supremum} {conjugate}",
                    loss.name()
                );
            }
        }
        // Outside the domain.
        let bounded = w * DELTA;
        let huber = Huber::new(vec![y], DELTA, Some(vec![w])).unwrap();
        assert_eq!(huber.conjugate(&[bounded * 1.001]), f64::INFINITY);
        let logistic = Logistic::new(vec![y], Some(vec![w])).unwrap();
        assert_eq!(logistic.conjugate(&[y * 1e-9]), f64::INFINITY);
        assert_eq!(logistic.conjugate(&[-y * 0.38]), f64::INFINITY);
        assert_eq!(logistic.conjugate(&[-y * w]), 0.0);
        assert_eq!(logistic.conjugate(&[0.0]), 0.0);
        let hinge = SquaredHinge::new(vec![y], Some(vec![w])).unwrap();
        assert_eq!(hinge.conjugate(&[y * 1e-9]), f64::INFINITY);
    }
}

#[test]
fn weak_duality() {
    let mut rng = Random(6);
    let n = 12;
    for _ in 0..30 {
        for loss in all_losses(&mut rng, n) {
            let g = rng.normals(n, 1.5);
            let nu = residual(&*loss, &g);
            let dual = loss.dual_value(&nu, 1.0);
            // Tight at the point of the residual.
            let here = loss.value(&g) + dot(&nu, &g);
            assert!((here - dual).abs() < 1e-11, "{} {here} {dual}", loss.name());
            for scale in [1e-6, 1e-3, 0.1, 1.0, 10.0] {
                let f: Vec<f64> = g.iter().map(|g| g + scale * rng.normal()).collect();
                assert!(dual <= loss.value(&f) + dot(&nu, &f) + 1e-14 * (1.0 + dot(&f, &f)));
            }
        }
    }
}
