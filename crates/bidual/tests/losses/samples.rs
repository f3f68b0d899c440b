//! Weights, subsets, and what constructors refuse.

use std::sync::Arc;

use bidual::loss::{
    Absolute, Hinge, Huber, Interpolation, Logistic, Loss, LossError, Squared, SquaredHinge,
    WithIntercept, mean_weights, unit_weights,
};

use crate::common::*;

#[test]
fn weights_are_multiplicities() {
    let mut rng = Random(14);
    let y = vec![1.0, -1.0, 1.0, -1.0];
    let twice = vec![1.0, -1.0, 1.0, -1.0, -1.0];
    let weighted = smooth(&y, &y, Some(vec![1.0, 2.0, 1.0, 1.0]));
    let doubled = smooth(&twice, &twice, Some(unit_weights(5)));
    for (weighted, doubled) in weighted.into_iter().zip(doubled) {
        let both: [(Arc<dyn Loss>, Arc<dyn Loss>); 2] = [
            (weighted.clone(), doubled.clone()),
            (
                Arc::new(WithIntercept::new(weighted).unwrap()),
                Arc::new(WithIntercept::new(doubled).unwrap()),
            ),
        ];
        for (weighted, doubled) in both {
            for _ in 0..20 {
                let f = rng.normals(4, 1.5);
                let g = [&f[..], &f[1..2]].concat();
                assert!((weighted.value(&f) - doubled.value(&g)).abs() < 1e-14);
                let (a, b) = (residual(&*weighted, &f), residual(&*doubled, &g));
                assert!((a[1] - b[1] - b[4]).abs() < 1e-14);
                for i in [0, 2, 3] {
                    assert!((a[i] - b[i]).abs() < 1e-14);
                }
                let (da, db) = (weighted.dual_value(&a, 0.8), doubled.dual_value(&b, 0.8));
                assert!((da - db).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn subsets_keep_the_total_weight() {
    let mut rng = Random(15);
    let n = 8;
    for loss in all_losses(&mut rng, n) {
        let rows = [0, 1, 1, 4, 6];
        let part = loss.subset(&rows);
        assert_eq!(part.samples(), 5);
        assert_eq!(part.name(), loss.name());
        assert_eq!(part.as_intercept().is_some(), loss.as_intercept().is_some());
        let total: f64 = loss.weights().iter().sum();
        let kept: f64 = part.weights().iter().sum();
        assert!((total - kept).abs() < 1e-14);
        let factor = part.weights()[0] / loss.weights()[0];
        for (k, &row) in rows.iter().enumerate() {
            assert_eq!(part.targets()[k], loss.targets()[row]);
            assert!((part.weights()[k] - factor * loss.weights()[row]).abs() < 1e-15);
        }
        if loss.as_intercept().is_none() {
            let f = rng.normals(5, 1.0);
            let sum: f64 = (0..5)
                .map(|k| part.weights()[k] * loss.sample_value(f[k], part.targets()[k]))
                .sum();
            assert!((part.value(&f) - sum).abs() < 1e-14);
        }
    }
    // No weight left, or no rows: the zero function.
    let loss = Squared::new(vec![1.0, 2.0], Some(vec![0.0, 1.0])).unwrap();
    assert_eq!(loss.subset(&[0]).value(&[7.0]), 0.0);
    let with = WithIntercept::new(Arc::new(loss)).unwrap();
    assert_eq!(with.subset(&[0]).value(&[7.0]), 0.0);
    assert_eq!(residual(&*with.subset(&[0]), &[7.0]), vec![0.0]);
    assert_eq!(with.subset(&[]).value(&[]), 0.0);
}

#[test]
fn zero_weights_drop_the_sample() {
    let mut rng = Random(16);
    let n = 6;
    for loss in losses(&mut rng, n, true) {
        for loss in [loss.clone(), profiled(&[loss]).remove(0)] {
            let f = rng.normals(n, 1.0);
            let mut g = f.clone();
            g[2] = 1e3;
            assert_eq!(loss.value(&f), loss.value(&g));
            assert_eq!(residual(&*loss, &f), residual(&*loss, &g));
            assert_eq!(residual(&*loss, &f)[2], 0.0);
            assert_eq!(hessian(&*loss, &f)[2], 0.0);
            let mut nu = vec![0.1; n];
            loss.clip_dual(&mut nu);
            assert_eq!(nu[2], 0.0);
        }
    }
}

type Make = fn(Vec<f64>, Option<Vec<f64>>) -> Result<Arc<dyn Loss>, LossError>;

#[test]
fn constructors_validate() {
    let with_targets: [Make; 4] = [
        |y, w| Ok(Arc::new(Squared::new(y, w)?)),
        |y, w| Ok(Arc::new(Huber::new(y, DELTA, w)?)),
        |y, w| Ok(Arc::new(Absolute::new(y, w)?)),
        |y, w| Ok(Arc::new(Interpolation::new(y, w)?)),
    ];
    let with_labels: [Make; 3] = [
        |y, w| Ok(Arc::new(Logistic::new(y, w)?)),
        |y, w| Ok(Arc::new(SquaredHinge::new(y, w)?)),
        |y, w| Ok(Arc::new(Hinge::new(y, w)?)),
    ];
    let ok = vec![1.0, -1.0];
    for make in with_targets.into_iter().chain(with_labels) {
        let error = |y: &[f64], w: Option<&[f64]>| {
            make(y.to_vec(), w.map(<[f64]>::to_vec)).err().expect("refused")
        };
        assert!(make(ok.clone(), None).is_ok());
        assert_eq!(error(&[], None), LossError::Empty);
        assert!(matches!(error(&[1.0, f64::NAN], None), LossError::Target { index: 1, .. }));
        assert_eq!(error(&ok, Some(&[1.0])), LossError::Length { targets: 2, weights: 1 });
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(error(&ok, Some(&[1.0, bad])), LossError::Weight { index: 1, .. }));
        }
        assert_eq!(error(&ok, Some(&[0.0, 0.0])), LossError::TotalWeight { value: 0.0 });
    }
    for make in with_targets {
        assert!(make(vec![2.0, 0.5], None).is_ok());
    }
    for make in with_labels {
        let error = make(vec![1.0, 0.5], None).err().expect("refused");
        assert_eq!(error, LossError::Label { index: 1, value: 0.5 });
        assert_eq!(error.to_string(), "label 1 is 0.5; it must be 1 or -1");
        assert!(make(vec![2.0], None).is_err());
        assert!(make(vec![1.0, 0.0], None).is_err());
    }
    for delta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Huber::new(ok.clone(), delta, None), Err(LossError::Delta { .. })));
    }
    assert_eq!(mean_weights(4), vec![0.25; 4]);
}
