//! Losses against definitions: derivatives, conjugates, lower bounds, intercepts.

use bidual::loss::{
    Absolute, Hinge, Huber, Interpolation, Logistic, Loss, LossError, Squared, SquaredHinge,
    WithIntercept, best_dual_value, mean_weights, unit_weights,
};
use proptest::prelude::*;
use std::sync::Arc;

/// xorshift64*, enough for test data.
struct Rng(u64);

impl Rng {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    fn normals(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| scale * self.normal()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn residual(loss: &dyn Loss, f: &[f64]) -> Vec<f64> {
    let mut nu = vec![0.0; f.len()];
    loss.residual_into(f, &mut nu);
    nu
}

fn hessian(loss: &dyn Loss, f: &[f64]) -> Vec<f64> {
    let mut h = vec![0.0; f.len()];
    loss.hessian_diagonal_into(f, &mut h);
    h
}

/// The four losses on random data with both labels; `weighted` includes a sample of weight 0.
fn losses(rng: &mut Rng, n: usize, weighted: bool) -> Vec<Arc<dyn Loss>> {
    let targets = rng.normals(n, 1.5);
    let labels: Vec<f64> = (0..n)
        .map(|i| match i {
            0 => 1.0,
            1 => -1.0,
            _ => {
                if rng.uniform() < 0.6 {
                    1.0
                } else {
                    -1.0
                }
            }
        })
        .collect();
    let weights = weighted.then(|| {
        (0..n).map(|i| if i == 2 { 0.0 } else { 0.1 + rng.uniform() }).collect::<Vec<f64>>()
    });
    vec![
        Arc::new(Squared::new(targets.clone(), weights.clone()).unwrap()),
        Arc::new(Huber::new(targets, 0.7, weights.clone()).unwrap()),
        Arc::new(Logistic::new(labels.clone(), weights.clone()).unwrap()),
        Arc::new(SquaredHinge::new(labels, weights).unwrap()),
    ]
}

fn profiled(losses: &[Arc<dyn Loss>]) -> Vec<Arc<dyn Loss>> {
    losses
        .iter()
        .map(|loss| Arc::new(WithIntercept::new(loss.clone()).unwrap()) as Arc<dyn Loss>)
        .collect()
}

/// Losses with and without intercept, weighted and not.
fn all_losses(rng: &mut Rng, n: usize) -> Vec<Arc<dyn Loss>> {
    let mut all = losses(rng, n, false);
    all.extend(losses(rng, n, true));
    let with = profiled(&all);
    all.extend(with);
    all
}

fn golden_min(mut lo: f64, mut hi: f64, f: impl Fn(f64) -> f64) -> f64 {
    let r = 0.618_033_988_749_894_8;
    for _ in 0..300 {
        let (a, b) = (hi - r * (hi - lo), lo + r * (hi - lo));
        if f(a) < f(b) {
            hi = b;
        } else {
            lo = a;
        }
    }
    0.5 * (lo + hi)
}

#[test]
fn residual_matches_finite_differences() {
    let mut rng = Rng(1);
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
    let mut rng = Rng(2);
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
    let mut rng = Rng(3);
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

#[test]
fn fenchel_young() {
    let mut rng = Rng(4);
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
    let mut rng = Rng(5);
    for y in [1.0, -1.0] {
        let w = 0.37;
        let all: Vec<Arc<dyn Loss>> = vec![
            Arc::new(Squared::new(vec![y], Some(vec![w])).unwrap()),
            Arc::new(Huber::new(vec![y], 0.7, Some(vec![w])).unwrap()),
            Arc::new(Logistic::new(vec![y], Some(vec![w])).unwrap()),
            Arc::new(SquaredHinge::new(vec![y], Some(vec![w])).unwrap()),
        ];
        for loss in all {
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
        let bounded = 0.37 * 0.7;
        let huber = Huber::new(vec![y], 0.7, Some(vec![w])).unwrap();
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
    let mut rng = Rng(6);
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

/// With weights that are powers of two the quadratic duals are sums of products, which a
/// two-product splits without error: the reference is exact to about 1e-30.
#[test]
fn quadratic_dual_is_rounded_down() {
    let split = |a: f64, b: f64| (a * b, a.mul_add(b, -(a * b)));
    let mut rng = Rng(7);
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
fn best_intercept_is_the_minimiser() {
    let mut rng = Rng(8);
    for trial in 0..60 {
        let n = 7 + trial % 5;
        let scale = [0.1, 1.0, 5.0, 40.0][trial % 4];
        let mut all = losses(&mut rng, n, false);
        all.extend(losses(&mut rng, n, true));
        for loss in all {
            let shift = 3.0 * rng.normal();
            let f: Vec<f64> = (0..n).map(|_| shift + scale * rng.normal()).collect();
            let at = |c: f64| {
                let moved: Vec<f64> = f.iter().map(|f| f + c).collect();
                loss.value(&moved)
            };
            let c = loss.best_intercept(&f).unwrap();
            let moved: Vec<f64> = f.iter().map(|f| f + c).collect();
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
        let moved: Vec<f64> = f.iter().map(|f| f + c).collect();
        assert!(residual(&loss, &moved).iter().sum::<f64>().abs() < 1e-9);
    }
    assert_eq!(logistic.best_intercept(&[f64::NAN; 3]), None);
    let squared = Squared::new(vec![1.0, 2.0], None).unwrap();
    assert_eq!(squared.best_intercept(&[f64::NAN, 0.0]), None);
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

#[test]
fn profiled_value_is_the_minimum() {
    let mut rng = Rng(9);
    let n = 10;
    for _ in 0..20 {
        for weighted in [false, true] {
            for loss in losses(&mut rng, n, weighted) {
                let with = WithIntercept::new(loss.clone()).unwrap();
                let f = rng.normals(n, 2.0);
                let at = |c: f64| {
                    let moved: Vec<f64> = f.iter().map(|f| f + c).collect();
                    loss.value(&moved)
                };
                let value = with.value(&f);
                let reference = at(golden_min(-50.0, 50.0, at));
                assert!((value - reference).abs() <= 1e-13 * (1.0 + reference));
                for k in -50..=50 {
                    assert!(value <= at(0.2 * f64::from(k)) * (1.0 + 1e-15));
                }
                assert_eq!(value, at(with.intercept(&f)));
                // Invariance, and no constant left.
                let moved: Vec<f64> = f.iter().map(|f| f + 1.7).collect();
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
    let mut rng = Rng(10);
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
    let mut rng = Rng(11);
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

#[test]
fn max_scale_is_the_boundary() {
    let mut rng = Rng(12);
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
    let mut rng = Rng(13);
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
    fn samples(&self) -> usize {
        self.0.samples()
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

#[test]
fn weights_are_multiplicities() {
    let mut rng = Rng(14);
    let y = vec![1.0, -1.0, 1.0, -1.0];
    let twice = vec![1.0, -1.0, 1.0, -1.0, -1.0];
    let w = Some(vec![1.0, 2.0, 1.0, 1.0]);
    let one = Some(unit_weights(5));
    let pairs: Vec<(Arc<dyn Loss>, Arc<dyn Loss>)> = vec![
        (
            Arc::new(Squared::new(y.clone(), w.clone()).unwrap()),
            Arc::new(Squared::new(twice.clone(), one.clone()).unwrap()),
        ),
        (
            Arc::new(Huber::new(y.clone(), 0.5, w.clone()).unwrap()),
            Arc::new(Huber::new(twice.clone(), 0.5, one.clone()).unwrap()),
        ),
        (
            Arc::new(Logistic::new(y.clone(), w.clone()).unwrap()),
            Arc::new(Logistic::new(twice.clone(), one.clone()).unwrap()),
        ),
        (
            Arc::new(SquaredHinge::new(y, w).unwrap()),
            Arc::new(SquaredHinge::new(twice, one).unwrap()),
        ),
    ];
    for (weighted, doubled) in pairs {
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
    let mut rng = Rng(15);
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
    let mut rng = Rng(16);
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

#[test]
fn constructors_validate() {
    let ok = vec![1.0, -1.0];
    assert_eq!(Squared::new(vec![], None).unwrap_err(), LossError::Empty);
    assert_eq!(mean_weights(4), vec![0.25; 4]);
    assert!(matches!(
        Squared::new(vec![1.0, f64::NAN], None),
        Err(LossError::Target { index: 1, .. })
    ));
    assert_eq!(
        Logistic::new(vec![1.0, 0.0], None).unwrap_err(),
        LossError::Label { index: 1, value: 0.0 }
    );
    assert!(SquaredHinge::new(vec![2.0], None).is_err());
    assert_eq!(
        Squared::new(ok.clone(), Some(vec![1.0])).unwrap_err(),
        LossError::Length { targets: 2, weights: 1 }
    );
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(
            Squared::new(ok.clone(), Some(vec![1.0, bad])),
            Err(LossError::Weight { index: 1, .. })
        ));
    }
    assert!(Squared::new(ok.clone(), Some(vec![0.0, 0.0])).is_err());
    for delta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(Huber::new(ok.clone(), delta, None), Err(LossError::Delta { .. })));
    }
    let message = Logistic::new(vec![1.0, 0.5], None).unwrap_err().to_string();
    assert_eq!(message, "label 1 is 0.5; it must be 1 or -1");
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
        let mut rng = Rng(seed);
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

    /// The refitted constant leaves no imbalance beyond the rounding of the outputs.
    #[test]
    fn refit_is_stationary(
        seed in 1u64..u64::MAX,
        n in 3usize..30,
        scale in -6.0f64..6.0,
        shift in -1e3f64..1e3,
    ) {
        let mut rng = Rng(seed);
        for loss in losses(&mut rng, n, true) {
            let scale = 10f64.powf(scale);
            let f: Vec<f64> = (0..n).map(|_| shift + scale * rng.normal()).collect();
            let c = loss.best_intercept(&f).unwrap();
            let moved: Vec<f64> = f.iter().map(|f| f + c).collect();
            let nu = residual(&*loss, &moved);
            let sum: f64 = nu.iter().sum();
            let total: f64 = loss.weights().iter().sum();
            let size: f64 = f.iter().fold(c.abs(), |m, f| m.max(f.abs()));
            prop_assert!(sum.abs() <= 1e-14 * total * (1.0 + size), "{} {sum}", loss.name());
        }
    }
}

/// Hinge and absolute on random data; `f` with some samples on their kinks.
fn kinked(rng: &mut Rng, n: usize) -> (Vec<Arc<dyn Loss>>, Vec<f64>) {
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
    let mut rng = Rng(31);
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
    let mut rng = Rng(32);
    for trial in 0..200 {
        let n = 1 + (rng.uniform() * 9.0) as usize;
        let (losses, f) = kinked(&mut rng, n.max(3));
        for loss in losses.iter().filter(|l| l.as_intercept().is_none()) {
            let at = |c: f64| loss.value(&f.iter().map(|f| f + c).collect::<Vec<_>>());
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
