//! The structured operators against their dense twins and against a
//! double-double adjoint, at sizes on both sides of every tile.

#[path = "common/problems.rs"]
mod problems;

use bidual::Mat;
use bidual::arrangement::Patterns;
use bidual::operator::{Gated, HalfSpaces, LinearOperator};
use problems::Random;
use proptest::prelude::*;
use std::sync::Arc;

fn data(n: usize, d: usize, p: usize, seed: u64) -> (Arc<Mat>, Arc<Patterns>, Random) {
    let mut r = Random::new(seed);
    let x = r.matrix(n, d);
    let mut patterns = Patterns::new(n);
    for k in 0..p {
        let u = r.normals(d);
        let side = |i: usize| (0..d).map(|j| x[(i, j)] * u[j]).sum::<f64>() >= 0.0;
        patterns.push_bools((0..n).map(|i| (k != 1) && side(i)));
    }
    (Arc::new(x), Arc::new(patterns), r)
}

fn apply(a: &dyn LinearOperator, z: &Mat) -> Mat {
    let (n, q) = a.range();
    let mut out = Mat::from_fn(n, q, |_, _| f64::NAN);
    a.apply_into(z.as_ref(), out.as_mut());
    out
}

fn adjoint(a: &dyn LinearOperator, r: &Mat) -> Mat {
    let (d, p) = a.domain();
    let mut out = Mat::from_fn(d, p, |_, _| f64::NAN);
    a.adjoint_into(r.as_ref(), out.as_mut());
    out
}

/// (high, low) += a·b without rounding beyond 2⁻¹⁰⁴.
fn accumulate(sum: &mut (f64, f64), a: f64, b: f64) {
    let product = a * b;
    let rest = a.mul_add(b, -product);
    let total = sum.0 + product;
    let part = total - sum.0;
    let lost = (sum.0 - (total - part)) + (product - part);
    *sum = (total, sum.1 + lost + rest);
}

/// ‖Σ_i sides_i r_i x_i − computed‖, the sum in double-double arithmetic.
fn error(block: &Mat, r: &[f64], computed: &[f64]) -> f64 {
    let mut square = 0.0;
    for (j, value) in computed.iter().enumerate() {
        let mut sum = (0.0, 0.0);
        for (i, r) in r.iter().enumerate() {
            accumulate(&mut sum, block[(i, j)], *r);
        }
        square += ((sum.0 - value) + sum.1).powi(2);
    }
    square.sqrt()
}

/// Outputs column by column, and ΣA_c w_c A_cᵀ where the operator offers it, from the blocks.
fn each_and_kernel(a: &dyn LinearOperator, z: &Mat) {
    let ((_, p), (n, _)) = (a.domain(), a.range());
    let mut each = Mat::from_fn(n, p, |_, _| f64::NAN);
    a.each_into(z.as_ref(), each.as_mut());
    let weights: Vec<f64> = (0..p).map(|c| (c % 3) as f64).collect();
    let mut kernel = Mat::zeros(n, n);
    for c in 0..p {
        let block = a.block(c);
        let own = &block * z.as_ref().subcols(c, 1);
        let near = 1e-12 * (1.0 + own.norm_max());
        assert!((0..n).all(|i| (each[(i, c)] - own[(i, 0)]).abs() <= near));
        kernel += faer::Scale(weights[c]) * (&block * block.transpose());
    }
    if let Some(found) = a.kernel(&weights) {
        let near = 1e-12 * (1.0 + kernel.norm_max());
        assert!((0..n).all(|j| (j..n).all(|i| (found[(i, j)] - kernel[(i, j)]).abs() <= near)));
    }
}

/// What holds for every operator, given random z and r.
fn check(a: &dyn LinearOperator, random: &mut Random) {
    let ((d, p), (n, q)) = (a.domain(), a.range());
    let sparse = random.integer(0, 1) == 0;
    let z = Mat::from_fn(d, p, |_, c| {
        let v = random.normal();
        if sparse && c % 3 != 0 { 0.0 } else { v }
    });
    // sizes over many orders of magnitude, so that rounding shows
    let r = Mat::from_fn(n, q, |_, _| random.normal() * 10f64.powf(random.uniform(-6.0, 6.0)));
    let (az, atr) = (apply(a, &z), adjoint(a, &r));
    let mut dense = Mat::zeros(n, q);
    let mut sizes = Mat::zeros(n, q);
    if q == 1 {
        each_and_kernel(a, &z);
    }
    let (mut left, mut right, mut size) = (0.0, 0.0, 0.0);
    for c in 0..p {
        let block = a.block(c);
        let to = if q == 1 { 0 } else { c };
        let rc: Vec<f64> = (0..n).map(|i| r[(i, to)]).collect();
        for i in 0..n {
            for j in 0..d {
                dense[(i, to)] += block[(i, j)] * z[(j, c)];
                sizes[(i, to)] += (block[(i, j)] * z[(j, c)]).abs();
            }
        }
        let computed: Vec<f64> = (0..d).map(|j| atr[(j, c)]).collect();
        let (bound, true_error) = (a.adjoint_rounding(&rc), error(&block, &rc, &computed));
        assert!(true_error <= bound, "column {c}: error {true_error:e} above {bound:e}");
        assert!(bound <= 1e-12 * n as f64 * (n as f64).sqrt() * d as f64 * 20.0 * largest(&rc));
        right += (0..d).map(|j| atr[(j, c)] * z[(j, c)]).sum::<f64>();
    }
    for to in 0..q {
        for i in 0..n {
            let off = (az[(i, to)] - dense[(i, to)]).abs();
            assert!(off <= 1e-14 * (d * p) as f64 * sizes[(i, to)] + 1e-300, "row {i}: {off:e}");
            left += az[(i, to)] * r[(i, to)];
            size += sizes[(i, to)] * r[(i, to)].abs();
        }
    }
    assert!((left - right).abs() <= 1e-13 * (n * p) as f64 * size, "{left} against {right}");
}

fn largest(r: &[f64]) -> f64 {
    r.iter().fold(0.0, |a, v| a.max(v.abs()))
}

/// `restrict` is the selection of columns, repeated and reordered ones included.
fn check_restriction(a: &dyn LinearOperator, random: &mut Random) {
    let ((d, p), (n, q)) = (a.domain(), a.range());
    let count = random.integer(0, 2 * p.min(40) as i32) as usize;
    let mut columns: Vec<usize> =
        (0..count).map(|_| random.integer(0, p as i32 - 1) as usize).collect();
    if count > 3 {
        (columns[1], columns[3]) = (columns[0] ^ usize::from(p > 1 && p % 2 == 0), columns[2]);
    }
    let part = a.restrict(&columns);
    assert_eq!(part.domain(), (d, columns.len()));
    let own_q = if q == 1 { 1 } else { columns.len() };
    assert_eq!(part.range(), (n, own_q));
    let r = random.matrix(n, q);
    let selected = Mat::from_fn(n, own_q, |i, k| r[(i, if q == 1 { 0 } else { columns[k] })]);
    let (whole, partial) = (adjoint(a, &r), adjoint(part.as_ref(), &selected));
    for (k, &c) in columns.iter().enumerate() {
        assert_eq!(part.block(k), a.block(c));
        for j in 0..d {
            let off = (whole[(j, c)] - partial[(j, k)]).abs();
            assert!(off <= 1e-14 * n as f64 * n as f64, "{off:e}");
        }
    }
    check(part.as_ref(), random);
}

fn size() -> impl Strategy<Value = usize> {
    let edges = vec![1, 2, 63, 64, 65, 127, 128, 255, 256, 257, 511, 512, 513, 576, 640];
    prop_oneof![prop::sample::select(edges), 1usize..700]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![prop::sample::select(vec![1, 2, 31, 32, 33, 63, 64, 65, 128, 129]), 1usize..140]
}

/// Few columns, and numbers on both sides of every width of a tile.
fn columns() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1usize..6, 1 => prop::sample::select(vec![8, 9, 13, 16, 17, 25, 33, 49, 65, 70])]
}

/// Products in f32 are those of the operator to six digits of the sums' sizes, whatever the scale.
fn check_rough(a: &dyn LinearOperator, random: &mut Random) {
    let ((d, p), (n, _)) = (a.domain(), a.range());
    let rough = a.rough().expect("data of moderate size");
    assert_eq!(rough.adjoint_rounding(&vec![1.0; n]), f64::INFINITY);
    for scale in [1.0, 1e-200, 1e200] {
        let z = Mat::from_fn(d, p, |_, _| scale * random.normal());
        let r = Mat::from_fn(n, 1, |_, _| scale * random.normal());
        let (exact, near) = (apply(a, &z), apply(rough.as_ref(), &z));
        let size = exact.norm_max() + scale * ((d * p) as f64).sqrt();
        assert!((0..n).all(|i| (exact[(i, 0)] - near[(i, 0)]).abs() <= 3e-5 * size));
        let (exact, near) = (adjoint(a, &r), adjoint(rough.as_ref(), &r));
        let size = exact.norm_max() + scale * (n as f64).sqrt();
        let close = |c: usize| (0..d).all(|j| (exact[(j, c)] - near[(j, c)]).abs() <= 3e-5 * size);
        assert!((0..p).all(close));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(5),
        ..ProptestConfig::default()
    })]

    #[test]
    fn gated_unsigned(n in size(), d in columns(), p in count(), seed in 0u64..1 << 40) {
        let (x, patterns, mut r) = data(n, d, p, seed);
        let a = Gated::unsigned(x, patterns);
        prop_assert_eq!(a.domain(), (d, p));
        check(&a, &mut r);
        check_restriction(&a, &mut r);
        check_rough(&a, &mut r);
    }

    #[test]
    fn gated_signed(n in size(), d in columns(), p in count(), seed in 0u64..1 << 40) {
        let (x, patterns, mut r) = data(n, d, p, seed);
        let a = Gated::signed(x, patterns);
        prop_assert_eq!(a.domain(), (d, 2 * p));
        check(&a, &mut r);
        check_restriction(&a, &mut r);
    }

    #[test]
    fn half_spaces(n in size(), d in 1usize..6, p in 1usize..40, seed in 0u64..1 << 40) {
        let (x, patterns, mut r) = data(n, d, p, seed);
        let a = HalfSpaces::signed(x.clone(), patterns.clone());
        prop_assert_eq!(a.domain(), (d, 2 * p));
        prop_assert_eq!(a.range(), (n, 2 * p));
        check(&a, &mut r);
        check_restriction(&a, &mut r);
        for c in 0..2 * p {
            prop_assert_eq!(a.bits(c), patterns.bits(c / 2));
        }
    }
}

#[test]
fn blocks_are_what_they_say() {
    let (x, patterns, _) = data(70, 3, 5, 9);
    let gated = Gated::signed(x.clone(), patterns.clone());
    let rows = HalfSpaces::signed(x.clone(), patterns.clone());
    for p in 0..5 {
        for (k, sign) in [1.0, -1.0].into_iter().enumerate() {
            let (block, cone) = (gated.block(2 * p + k), rows.block(2 * p + k));
            for i in 0..70 {
                let on = patterns.get(p, i);
                for j in 0..3 {
                    assert_eq!(block[(i, j)], if on { sign * x[(i, j)] } else { 0.0 });
                    assert_eq!(cone[(i, j)], if on { x[(i, j)] } else { -x[(i, j)] });
                }
            }
        }
    }
}

/// Data in f32 give the operator of the same numbers in f64, and its rough products.
#[test]
fn data_in_single_precision() {
    for (n, d, p) in [(70, 3, 5), (130, 17, 40), (513, 33, 70), (20, 70, 2)] {
        let (x, patterns, mut r) = data(n, d, p, 31);
        let single: Vec<f32> = (0..n * d).map(|k| x[(k / d, k % d)] as f32).collect();
        let widened = Mat::from_fn(n, d, |i, j| f64::from(single[i * d + j]));
        let a = Gated::unsigned_f32(&single, d, patterns.clone()).unwrap();
        let b = Gated::unsigned(Arc::new(widened), patterns);
        check(&a, &mut r);
        check_restriction(&a, &mut r);
        check_rough(&a, &mut r);
        let z = r.matrix(d, p);
        assert_eq!(apply(&a, &z), apply(&b, &z));
        let nu = r.matrix(n, 1);
        assert_eq!(adjoint(&a, &nu), adjoint(&b, &nu));
        assert!((0..p).all(|c| a.block(c) == b.block(c)));
    }
}

#[test]
fn bad_data_in_single_precision() {
    let (_, patterns, _) = data(10, 2, 3, 1);
    let message =
        |x: &[f32], d| Gated::unsigned_f32(x, d, patterns.clone()).err().unwrap().to_string();
    assert!(message(&[0.0; 19], 2).contains("19 numbers are not 10 rows"));
    assert!(message(&[], 0).contains("are not 10 rows"));
    let mut x = [1.0; 20];
    x[7] = f32::NAN;
    assert!(message(&x, 2).contains("x[3, 1] is NaN"));
}

/// Data that f32 cannot hold have no products in it.
#[test]
fn rough_products_know_their_range() {
    let (_, patterns, _) = data(40, 2, 3, 4);
    for size in [0.0, 1e-30, 1e30, f64::MAX] {
        let x = Mat::from_fn(40, 2, |i, j| if (i, j) == (7, 1) { size } else { 1e-3 * size });
        assert!(Gated::unsigned(Arc::new(x), patterns.clone()).rough().is_none());
    }
}

/// The power iteration stays below ‖A‖² and comes near it.
#[test]
fn norm_estimate_is_from_below() {
    for seed in 0..10 {
        let (x, patterns, mut r) = data(30, 3, 6, seed);
        let a = Gated::signed(x, patterns);
        let mut best = 0.0f64;
        for _ in 0..5 {
            let mut z = r.matrix(3, 12);
            for _ in 0..200 {
                let length = z.norm_l2();
                z = adjoint(&a, &apply(&a, &z));
                z *= faer::Scale(1.0 / length);
            }
            best = best.max(z.norm_l2());
        }
        let estimate = a.squared_norm_estimate(8);
        assert!(estimate <= best * (1.0 + 1e-9) && estimate >= 0.3 * best, "{estimate} {best}");
    }
}
