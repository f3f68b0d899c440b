//! Bounds and values at the level of rounding, against references of higher accuracy.

use bidual::loss::{Huber, Logistic, Loss, Squared, SquaredHinge, unit_weights};

use crate::common::*;

/// With weights that are powers of two the quadratic duals are sums of products, which a
/// two-product splits without error: the reference is exact to about 1e-30.
#[test]
fn quadratic_dual_is_rounded_down() {
    let split = |a: f64, b: f64| (a * b, a.mul_add(b, -(a * b)));
    let mut rng = Random(7);
    for n in [1, 2, 7, 60] {
        for _ in 0..300 {
            let y = rng.normals(n, 1.0);
            let labels: Vec<f64> = y.iter().map(|y| y.signum()).collect();
            let w: Vec<f64> = (0..n).map(|i| [0.25, 1.0, 2.0][i % 3]).collect();
            let f = rng.normals(n, 1.0);
            let all: Vec<Box<dyn Loss>> = vec![
                Box::new(Squared::new(y.clone(), Some(w.clone())).unwrap()),
                Box::new(Huber::new(y, 0.3, Some(w.clone())).unwrap()),
                Box::new(SquaredHinge::new(labels, Some(w.clone())).unwrap()),
            ];
            for loss in all {
                let nu = residual(&*loss, &f);
                let bound = loss.dual_value(&nu, 1.0);
                // Σ(terms) − bound, high parts first; Neumaier's sum.
                let mut parts = vec![(-bound, 0.0)];
                for ((v, y), w) in nu.iter().zip(loss.targets()).zip(&w) {
                    parts.push(split(*v, *y));
                    parts.push(split(-0.5 * v, v / w));
                }
                let (mut sum, mut low) = (0.0_f64, 0.0);
                let mut size = 0.0;
                for (high, rest) in parts {
                    let total = sum + high;
                    low += rest
                        + if sum.abs() >= high.abs() {
                            (sum - total) + high
                        } else {
                            (high - total) + sum
                        };
                    sum = total;
                    size += high.abs();
                }
                let slack = sum + low;
                assert!(slack >= 0.0, "{} {slack}", loss.name());
                assert!(slack <= 8.0 * (n as f64 + 4.0) * f64::EPSILON * size);
            }
        }
    }
}

/// Entropies evaluated with 700 digits.
#[test]
fn logistic_dual_is_rounded_down() {
    let loss = Logistic::new(vec![1.0], Some(vec![1.0])).unwrap();
    let reference = [
        (1e-300, 6.917755278982137e-298),
        (1e-17, 4.0143946580898777e-16),
        (0.001, 0.007907255112232087),
        (0.3, 0.6108643020548935),
        (0.5, std::f64::consts::LN_2),
        (0.7, 0.6108643020548935),
        (0.999, 0.007907255112232094),
        (0.999999999, 2.1723265250352427e-08),
        (0.9999999999999991, 3.1670096792166606e-14),
        (0.9999999999999999, 4.189626486814324e-15),
    ];
    for (s, entropy) in reference {
        let bound = loss.dual_value(&[s], 1.0);
        let condition = entropy - f64::ln_1p(-s);
        assert!(bound <= entropy, "{s} {bound}");
        assert!(bound >= entropy - 1e-14 * condition, "{s} {bound}");
        assert!((loss.conjugate(&[-s]) + entropy).abs() <= 4.0 * f64::EPSILON * entropy);
    }
}

#[test]
fn logistic_is_stable() {
    let loss = Logistic::new(vec![1.0, -1.0], Some(unit_weights(2))).unwrap();
    for f in [1e6, 800.0, 40.0] {
        assert_eq!(loss.value(&[-f, f]), 2.0 * f);
        assert_eq!(residual(&loss, &[-f, f]), vec![1.0, -1.0]);
        assert!(loss.value(&[f, -f]) <= 2.0 * (-f).exp());
        let nu = residual(&loss, &[-f, f]);
        assert_eq!(loss.dual_value(&nu, 1.0), 0.0);
    }
    assert_eq!(loss.value(&[40.0, -40.0]), 2.0 * (-40.0_f64).exp());
    // ln(1 + e^{−1e-9}) = ln 2 − 5e-10 + ...
    let small = loss.sample_value(1e-9, 1.0);
    assert!((small - (2.0_f64.ln() - 5e-10)).abs() < 3e-16);
    // Just inside the boundary the bound stays below 0 ≤ F.
    for s in [1.0_f64.next_down(), 1.0 - 1e-12] {
        assert!(loss.dual_value(&[s, -s], 1.0) <= -2.0 * (1.0 - s) * (1.0 - s).ln() * 1.1);
    }
}
