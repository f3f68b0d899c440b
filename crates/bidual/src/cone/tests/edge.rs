//! Rounding of the bound, interiors, projections, extreme data, larger problems.

use super::*;
use proptest::prelude::*;

const NONE: f64 = f64::NEG_INFINITY;

proptest! {
    /// c + Aᵀλ nearly cancels; the exact value in integers must not exceed the bound.
    #[test]
    fn bound_covers_cancellation(
        (n, d) in (1usize..7, 1usize..40),
        seed in any::<u64>(),
        radius in prop_oneof![Just(None), Just(Some(3.0))],
    ) {
        let mut rng = Random(seed);
        let entry = |rng: &mut Random| rng.below(2001) as i64 - 1000;
        let x: Vec<i64> = (0..n * d).map(|_| entry(&mut rng)).collect();
        let plus: Vec<bool> = (0..n).map(|_| rng.below(2) == 0).collect();
        let lambda: Vec<i64> = (0..n).map(|_| rng.below(1 << 50) as i64).collect();
        let case = Case::new(n, d, x.iter().map(|&v| v as f64).collect(), &plus);
        let shift = |j: usize| -> i128 {
            let s = |k: usize| if plus[k] { 1 } else { -1 };
            (0..n).map(|k| s(k) * i128::from(x[k * d + j]) * i128::from(lambda[k])).sum()
        };
        let c: Vec<f64> = (0..d).map(|j| -(shift(j) as f64) + rng.below(3) as f64).collect();
        let exact: Vec<f64> = (0..d).map(|j| (c[j] as i128 + shift(j)) as f64).collect();
        let gauge = radius.map_or(Gauge::Norm, |radius| Gauge::FreeBias { radius });
        let (w, b) = exact.split_at(gauge.penalised(d));
        let truth = dot(w, w).sqrt() + b.iter().map(|b| 3.0 * b.abs()).sum::<f64>();
        let index: Vec<u32> = (0..n as u32).collect();
        let real: Vec<f64> = lambda.iter().map(|&l| l as f64).collect();
        let bound = bound_with(&case.rows(), &case.bits, &c, &gauge, &index, &real);
        prop_assert!(bound >= truth * (1.0 - 1e-14), "{bound} {truth}");
        let size = (0..d).fold(0.0, |t, j| {
            let terms = (0..n).map(|k| (x[k * d + j] as f64 * real[k]).abs());
            t + c[j].abs() + terms.sum::<f64>()
        });
        prop_assert!(bound <= truth * (1.0 + 1e-14) + 1e-13 * size * (1.0 + radius.unwrap_or(0.0)));
    }

    /// h depends neither on the scale of single rows nor, up to the factor, on that of c.
    #[test]
    fn scales(seed in any::<u64>(), power in -300i32..300) {
        let mut rng = Random(seed);
        let mut ws = Workspace::new();
        let case = random_case(&mut rng, false);
        let c: Vec<f64> = (0..case.d).map(|_| rng.normal()).collect();
        let before = support(&case.rows(), &case.bits, &c, &Gauge::Norm, NONE, &[], &mut ws);
        let (n, d) = (case.n, case.d);
        let mut rows = case.rows.clone();
        for k in 0..n {
            let t = 2.0_f64.powi(rng.below(601) as i32 - 300);
            rows[k * d..(k + 1) * d].iter_mut().for_each(|v| *v *= t);
        }
        let plus: Vec<bool> = (0..n).map(|k| case.sign(k) > 0.0).collect();
        let scaled = Case::new(n, d, rows, &plus);
        let factor = 2.0_f64.powi(power);
        let c: Vec<f64> = c.iter().map(|v| v * factor).collect();
        let after = support(&scaled.rows(), &scaled.bits, &c, &Gauge::Norm, NONE, &[], &mut ws);
        let size = dot(&c, &c).sqrt() / factor;
        prop_assert!((after.upper / factor - before.upper).abs() <= 1e-9 * (before.upper + size));
    }
}

/// Gaussian cells: interior directions, their margins, and the projection's conditions.
#[test]
fn open_cones() {
    let mut rng = Random(5);
    let mut ws = Workspace::new();
    for _ in 0..100 {
        let d = 1 + rng.below(6);
        let n = 1 + rng.below(40);
        let rows = (0..n * d).map(|_| rng.normal()).collect();
        let inside: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let case = Case::cell(n, d, rows, &inside, &mut rng);
        let (r, bits) = (case.rows(), &case.bits);
        let Interior::Open(u) = interior(&r, bits, &mut ws) else {
            panic!("a Gaussian cell is open");
        };
        let margin = |u: &[f64]| {
            let unit = |k: usize| {
                let x = &case.rows[k * d..(k + 1) * d];
                case.margin(k, u) / (dot(x, x) * dot(u, u)).sqrt()
            };
            (0..n).map(unit).fold(f64::INFINITY, f64::min)
        };
        assert!((dot(&u, &u) - 1.0).abs() < 1e-14);
        let widest = margin(&u);
        assert!(widest > 0.0 && widest >= margin(&inside) * (1.0 - 1e-9));
        for _ in 0..20 {
            let near: Vec<f64> = u.iter().map(|v| v + 0.01 * rng.normal()).collect();
            assert!(widest >= margin(&near) * (1.0 - 1e-9));
        }
        let c: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let mut p = project(&r, bits, &c, &mut ws);
        let size = dot(&p, &p).sqrt();
        let bound = support(&r, bits, &c, &Gauge::Norm, NONE, &[], &mut ws);
        assert!((size - bound.upper).abs() <= 1e-10 * (1.0 + size));
        assert!((dot(&p, &c) - dot(&p, &p)).abs() <= 1e-12 * dot(&c, &c));
        let t = make_feasible(&r, bits, &[], &mut p, &u).unwrap();
        assert!(t * widest <= 1e-13 * size, "{t}");
        assert!((0..n).all(|k| case.margin(k, &p) >= 0.0));
    }
}

/// Cones built around a known face: span, equalities and witness.
#[test]
fn flat_cones() {
    let mut rng = Random(6);
    let mut ws = Workspace::new();
    for trial in 0..200 {
        let d = 2 + rng.below(5);
        let span = rng.below(d);
        // An orthonormal-ish change of basis, so that nothing is axis-parallel (or the identity).
        let turn: Vec<f64> = (0..d * d)
            .map(|i| {
                let unit = f64::from(u8::from(i % (d + 1) == 0));
                if trial % 2 == 0 { unit } else { unit + 0.3 * rng.normal() }
            })
            .collect();
        let mut local: Vec<Vec<f64>> = Vec::new();
        let mut expected = Vec::new();
        // Opposite pairs on each normal e_j, j ≥ span; then rows that only touch the face in
        // combination; then open rows (first coordinates positive on the witness).
        for j in span..d {
            for s in [1.0, -2.0] {
                let mut x = vec![0.0; d];
                x[j] = s;
                for i in j + 1..d {
                    x[i] = (rng.below(5) as f64 - 2.0) * (trial % 3) as f64;
                }
                expected.push(local.len() as u32);
                local.push(x);
            }
        }
        for _ in 0..rng.below(10) {
            let mut x: Vec<f64> = (0..d).map(|_| rng.below(5) as f64 - 2.0).collect();
            // On span 0 the opposite pairs already leave nothing.
            x[..span].iter_mut().for_each(|v| *v = v.abs());
            x[0] = x[0].abs() + 1.0;
            if span == 0 {
                expected.push(local.len() as u32);
            }
            local.push(x);
        }
        local.push(vec![0.0; d]);
        let n = local.len();
        let mut rows = vec![0.0; n * d];
        for k in 0..n {
            for j in 0..d {
                rows[k * d + j] = (0..d).map(|i| local[k][i] * turn[i * d + j]).sum();
            }
        }
        let case = Case::new(n, d, rows, &vec![true; n]);
        let (r, bits) = (case.rows(), &case.bits);
        let found = relative_interior(&r, bits, &mut ws);
        assert_eq!((found.r, &found.equalities), (span, &expected), "trial {trial}");
        let flat = Interior::Flat { equalities: expected.clone() };
        assert_eq!(interior(&r, bits, &mut ws), flat);
        assert_eq!(found.basis.len(), d * span);
        for (i, a) in found.basis.chunks_exact(d).enumerate() {
            for (j, b) in found.basis.chunks_exact(d).enumerate() {
                assert!((dot(a, b) - f64::from(u8::from(i == j))).abs() < 1e-14);
            }
        }
        let unit = if span == 0 { 0.0 } else { 1.0 };
        assert!((dot(&found.witness, &found.witness) - unit).abs() < 1e-13);
        for k in 0..n - 1 {
            let margin = case.margin(k, &found.witness);
            if expected.contains(&(k as u32)) {
                assert!(margin.abs() < 1e-12);
            } else {
                assert!(margin > 0.0);
            }
        }
    }
}

/// Cells a hair wide keep their interior down to the documented tolerance.
#[test]
fn thin_cones() {
    let mut ws = Workspace::new();
    for width in [1e-2, 1e-4, 1e-6, 1e-8, 1e-9] {
        let rows = vec![width, 1.0, 0.3, width, -1.0, 0.1, 0.0, 0.2, 1.0];
        let case = Case::new(3, 3, rows, &[true; 3]);
        let found = interior(&case.rows(), &case.bits, &mut ws);
        let Interior::Open(u) = found else {
            panic!("width {width}");
        };
        assert!((0..3).all(|k| case.margin(k, &u) > 0.0));
        let c = [1.0, 0.5, 0.0];
        let bound = support(&case.rows(), &case.bits, &c, &Gauge::Norm, NONE, &[], &mut ws);
        assert!(bound.upper - bound.lower <= 1e-6 * bound.upper, "{width} {bound:?}");
    }
    let rows = vec![1e-13, 1.0, 1e-13, -1.0];
    let case = Case::new(2, 2, rows, &[true; 2]);
    let found = interior(&case.rows(), &case.bits, &mut ws);
    assert!(matches!(found, Interior::Flat { equalities } if equalities == [0, 1]));
}

/// Empty, zero and non-finite data give documented answers.
#[test]
fn extremes() {
    let mut ws = Workspace::new();
    assert!(Rows::new(2, 3, &[0.0; 6], &[0.0; 5]).is_none());
    assert!(Rows::new(usize::MAX, 3, &[], &[]).is_none());
    let free = Gauge::FreeBias { radius: 2.0 };
    for gauge in [Gauge::Norm, free] {
        let empty = Case::new(0, 2, vec![], &[]);
        let found = support(&empty.rows(), &[], &[3.0, 4.0], &gauge, NONE, &[7], &mut ws);
        let truth = if gauge == free { 11.0 } else { 5.0 };
        assert!((found.upper - truth).abs() < 1e-13 && (found.lower - truth).abs() < 1e-7);
        let none = Case::new(3, 0, vec![], &[true; 3]);
        let found = support(&none.rows(), &none.bits, &[], &gauge, NONE, &[], &mut ws);
        assert_eq!((found.upper, found.lower), (0.0, 0.0));
        let zero = Case::new(4, 2, vec![0.0; 8], &[true, false, true, false]);
        let found = support(&zero.rows(), &zero.bits, &[3.0, 4.0], &gauge, NONE, &[1], &mut ws);
        assert!((found.upper - truth).abs() < 1e-13);
        let found = support(&zero.rows(), &zero.bits, &[0.0, 0.0], &gauge, NONE, &[], &mut ws);
        assert_eq!((found.upper, found.stop), (0.0, Stop::Optimal));
        for bad in [f64::NAN, f64::INFINITY] {
            let c = [bad, 1.0];
            let found = support(&zero.rows(), &zero.bits, &c, &gauge, 1.0, &[], &mut ws);
            assert_eq!((found.upper, found.stop), (f64::INFINITY, Stop::Limit));
            assert_eq!(project(&zero.rows(), &zero.bits, &c, &mut ws), [0.0, 0.0]);
            let case = Case::new(3, 2, vec![1.0, bad, -1.0, 0.5, bad, bad], &[true; 3]);
            let found = support(&case.rows(), &case.bits, &[1.0, 2.0], &gauge, 0.1, &[0], &mut ws);
            assert!(!found.upper.is_nan());
            relative_interior(&case.rows(), &case.bits, &mut ws);
        }
    }
    let zero = Case::new(4, 2, vec![0.0; 8], &[true, false, true, false]);
    assert_eq!(interior(&zero.rows(), &zero.bits, &mut ws), Interior::Open(vec![1.0, 0.0]));
    for radius in [-1.0, f64::NAN, f64::INFINITY] {
        let gauge = Gauge::FreeBias { radius };
        let found = support(&zero.rows(), &zero.bits, &[1.0, 1.0], &gauge, 0.0, &[], &mut ws);
        assert_eq!(found.upper, f64::INFINITY);
    }
    // Radius 0: the bias is fixed at 0.
    let case = Case::new(2, 3, vec![1.0, 0.0, 1.0, 0.0, 1.0, 1.0], &[true, false]);
    let gauge = Gauge::FreeBias { radius: 0.0 };
    let found = support(&case.rows(), &case.bits, &[1.0, 1.0, 9.0], &gauge, NONE, &[], &mut ws);
    assert!((found.upper - 1.0).abs() < 1e-14 && (found.lower - 1.0).abs() < 1e-14);
}

/// Numbers after `key` in the golden file, in order.
fn numbers(text: &str, key: &str, count: usize) -> Vec<f64> {
    let (_, tail) = text.split_once(&format!("\"{key}\":")).unwrap();
    let words = tail.split(|ch: char| " [],\n}".contains(ch));
    let values: Vec<f64> =
        words.filter(|w| !w.is_empty()).take(count).map(|w| w.parse().unwrap()).collect();
    values
}

#[test]
fn golden_projection() {
    let text = include_str!("../../../../../tests/golden/two_layer/cone01.json");
    let x = numbers(text, "X", 24);
    let w = numbers(text, "w", 3);
    let plus: Vec<bool> = "11101000".chars().map(|ch| ch == '1').collect();
    assert!(text.contains("\"pattern\": \"11101000\""));
    let case = Case::new(8, 3, x, &plus);
    let mut ws = Workspace::new();
    let (rows, bits) = (case.rows(), &case.bits);
    let p = project(&rows, bits, &w, &mut ws);
    let expected = numbers(text, "proj_norm_w", 1)[0];
    assert!((dot(&p, &p).sqrt() - expected).abs() < 1e-12);
    let minus: Vec<f64> = w.iter().map(|v| -v).collect();
    let p = project(&rows, bits, &minus, &mut ws);
    let expected = numbers(text, "proj_norm_minus_w", 1)[0];
    assert!((dot(&p, &p).sqrt() - expected).abs() < 1e-12);
    let found = support(&rows, bits, &minus, &Gauge::Norm, NONE, &[], &mut ws);
    assert!((found.upper - expected).abs() < 1e-12);
}

/// n = 600, d = 31 Gaussian cells with c = XᵀDν: prints the cost, asserts only the gap.
#[test]
fn larger_cells() {
    let (n, d, trials) = (600, 31, 20);
    let mut rng = Random(3);
    let mut ws = Workspace::new();
    let (mut cold, mut warm, mut steps, mut again) = (0.0, 0.0, 0, 0);
    for _ in 0..trials {
        let rows = (0..n * d).map(|_| rng.normal()).collect();
        let u: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let case = Case::cell(n, d, rows, &u, &mut rng);
        let mut c = vec![0.0; d];
        for k in (0..n).filter(|&k| case.sign(k) > 0.0) {
            let nu = 0.3 + rng.normal();
            for j in 0..d {
                c[j] += nu * case.rows[k * d + j];
            }
        }
        let (r, bits) = (case.rows(), &case.bits);
        let clock = std::time::Instant::now();
        let found = support(&r, bits, &c, &Gauge::Norm, NONE, &[], &mut ws);
        cold += clock.elapsed().as_secs_f64();
        steps += found.iterations;
        assert!(found.upper - found.lower <= 1e-11 * found.upper);
        let start = ws.active().to_vec();
        for v in &mut c {
            *v += 0.01 * found.upper * rng.normal();
        }
        let clock = std::time::Instant::now();
        let found = support(&r, bits, &c, &Gauge::Norm, NONE, &start, &mut ws);
        warm += clock.elapsed().as_secs_f64();
        again += found.iterations;
        assert!(found.upper - found.lower <= 1e-11 * found.upper);
    }
    let mean = |t: f64| t * 1e6 / f64::from(trials);
    println!(
        "n={n} d={d}: cold {} iterations {:.0} µs, warm {} iterations {:.0} µs",
        steps / trials as usize,
        mean(cold),
        again as f64 / f64::from(trials),
        mean(warm)
    );
}
