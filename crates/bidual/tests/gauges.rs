//! Gauges of a column against their definitions: the proximal operator by its
//! objective and by the optimality conditions, the polar by sampling the unit
//! ball, and projections on the orthant by Moreau's decomposition.

#[path = "common/problems.rs"]
mod problems;

use bidual::Mat;
use bidual::cone::{Cone, Gauge, Orthant};
use bidual::regularizer::{GroupL2, Regularizer};
use problems::Random;
use proptest::prelude::*;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// ρ from its definition.
fn value(radius: Option<f64>, v: &[f64]) -> f64 {
    match radius {
        None => norm(v),
        Some(r) => norm(&v[..v.len() - 1]).max(v[v.len() - 1].abs() / r),
    }
}

fn gauge(radius: Option<f64>) -> GroupL2 {
    radius.map_or_else(GroupL2::new, GroupL2::with_free_bias)
}

fn vector(d: usize, size: f64, r: &mut Random) -> Vec<f64> {
    let mut v: Vec<f64> = r.normals(d).iter().map(|v| size * v).collect();
    match r.integer(0, 5) {
        0 => v[d - 1] = 0.0,
        1 => v[..d - 1].fill(0.0),
        2 => v[d - 1] *= 100.0,
        _ => {}
    }
    v
}

fn check_prox(radius: Option<f64>, v: &[f64], step: f64, r: &mut Random) {
    let rho = gauge(radius);
    let mut p = v.to_vec();
    rho.prox_column(&mut p, step);
    let residual: Vec<f64> = v.iter().zip(&p).map(|(v, p)| v - p).collect();
    // v − p ∈ step·∂ρ(p): in the polar ball, and touching where p is
    let scale = norm(v) + step;
    let polar = rho.column_polar(&residual);
    assert!(polar <= step * (1.0 + 1e-12) + 1e-15 * scale * (1.0 + radius.unwrap_or(0.0)));
    let touch = dot(&residual, &p) - step * value(radius, &p);
    assert!(touch.abs() <= 1e-13 * scale * scale * (1.0 + radius.unwrap_or(0.0)), "{touch:e}");
    let objective = |u: &[f64]| {
        let far: Vec<f64> = u.iter().zip(v).map(|(u, v)| u - v).collect();
        0.5 * dot(&far, &far) + step * value(radius, u)
    };
    let least = objective(&p);
    for k in 0..30 {
        let size = scale * 10f64.powi(-(k % 6));
        let other: Vec<f64> = p.iter().map(|p| p + size * r.normal()).collect();
        assert!(least <= objective(&other) + 1e-14 * scale * scale);
    }
    for t in [0.0, 0.5, 0.999, 1.001, 2.0] {
        let other: Vec<f64> = p.iter().map(|p| t * p).collect();
        assert!(least <= objective(&other) + 1e-14 * scale * scale);
    }
}

fn check_polar(radius: Option<f64>, g: &[f64], r: &mut Random) {
    let rho = gauge(radius);
    let polar = rho.column_polar(g);
    for _ in 0..40 {
        let u = vector(g.len(), 1.0, r);
        let size = value(radius, &u);
        if size > 0.0 {
            assert!(dot(g, &u) / size <= polar * (1.0 + 1e-14));
        }
    }
    // attained at g/‖g‖, or with a free bias at (g_u/‖g_u‖, R·sign g_b)
    let mut best = g.to_vec();
    let k = g.len() - usize::from(radius.is_some());
    let length = norm(&g[..k]);
    if length > 0.0 {
        best[..k].iter_mut().for_each(|v| *v /= length);
    }
    if let Some(r) = radius {
        best[k] = r * g[k].signum();
    }
    assert!(value(radius, &best) <= 1.0 + 1e-14);
    assert!((dot(g, &best) - polar).abs() <= 1e-13 * polar);
}

fn check_value(radius: Option<f64>, a: &[f64], b: &[f64], t: f64) {
    let rho = gauge(radius);
    let (va, vb) = (rho.column_value(a), rho.column_value(b));
    assert!((va - value(radius, a)).abs() <= 1e-14 * va);
    let scaled: Vec<f64> = a.iter().map(|a| -3.0 * t * a).collect();
    assert!((rho.column_value(&scaled) - 3.0 * t * va).abs() <= 1e-13 * (t * va));
    let mixed: Vec<f64> = a.iter().zip(b).map(|(a, b)| t * a + (1.0 - t) * b).collect();
    assert!(rho.column_value(&mixed) <= (t * va + (1.0 - t) * vb) * (1.0 + 1e-14));
    assert!(dot(a, b) <= va * rho.column_polar(b) * (1.0 + 1e-14));
}

fn radius() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![Just(None), (-3.0f64..4.0).prop_map(|e| Some(10f64.powf(e)))]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(6),
        ..ProptestConfig::default()
    })]

    #[test]
    fn group_norms(radius in radius(), d in 2usize..7, seed in 0u64..1 << 40, e in -4.0f64..3.0) {
        let r = &mut Random::new(seed);
        let v = vector(d, 10f64.powf(e), r);
        let step = 10f64.powf(r.uniform(-4.0, 3.0));
        check_prox(radius, &v, step, r);
        check_prox(radius, &v, 0.3 * norm(&v) + 1e-12, r);
        check_polar(radius, &v, r);
        let (other, t) = (vector(d, 1.0, r), r.uniform(0.0, 1.0));
        check_value(radius, &v, &other, t);
        let same = match (gauge(radius).gauge(), radius) {
            (Gauge::Norm, None) => true,
            (Gauge::FreeBias { radius }, Some(r)) => radius == r,
            _ => false,
        };
        prop_assert!(same);
    }

    #[test]
    fn orthant(d in 1usize..20, seed in 0u64..1 << 40) {
        let s = Random::new(seed).normals(d);
        let (mut p, mut dual) = (s.clone(), s.clone());
        Orthant.project(&mut p);
        Orthant.project_dual(&mut dual);
        let negative: Vec<f64> = s.iter().zip(&p).map(|(s, p)| s - p).collect();
        for i in 0..d {
            prop_assert_eq!(p[i], if s[i] > 0.0 { s[i] } else { 0.0 });
            prop_assert!((dual[i] - p[i]).abs() <= 1e-15 * s[i].abs(), "self-dual");
            prop_assert!(negative[i] <= 0.0);
        }
        prop_assert_eq!(dot(&p, &negative), 0.0);
    }
}

#[test]
fn sums_and_maxima_over_columns() {
    let r = &mut Random::new(3);
    for radius in [None, Some(2.5)] {
        let (rho, z) = (gauge(radius), r.matrix(4, 9));
        let columns: Vec<Vec<f64>> = (0..9).map(|c| (0..4).map(|i| z[(i, c)]).collect()).collect();
        let sum: f64 = columns.iter().map(|c| value(radius, c)).sum();
        assert!((rho.value(&z) - sum).abs() <= 1e-13);
        let largest = columns.iter().map(|c| rho.column_polar(c)).fold(0.0, f64::max);
        assert_eq!(rho.polar(&z), largest);
    }
    assert_eq!(GroupL2::new().value(&Mat::zeros(3, 0)), 0.0);
}

#[test]
fn zero_stays_zero() {
    for radius in [None, Some(0.5)] {
        let mut v = vec![0.0; 3];
        gauge(radius).prox_column(&mut v, 1.0);
        assert_eq!(v, [0.0; 3]);
        gauge(radius).prox_column(&mut v, 0.0);
        assert_eq!(v, [0.0; 3]);
        assert_eq!(gauge(radius).column_polar(&v), 0.0);
    }
}
