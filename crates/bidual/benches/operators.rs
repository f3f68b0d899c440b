//! Products of the gated operator next to a dense product, in operations a second.
//!
//! `cargo bench --bench operators`; one thread unless RAYON_NUM_THREADS says otherwise. An item is
//! one multiplication or addition of the product with the dense n×dP matrix (2ndP in all), so the
//! rate of the dense product is the limit of any method that forms the masked data.

use bidual::Mat;
use bidual::arrangement::Patterns;
use bidual::operator::{Gated, LinearOperator};
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;

fn main() {
    if std::env::var_os("RAYON_NUM_THREADS").is_none() {
        rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("first pool");
    }
    divan::main();
}

/// n, d, P
const SHAPES: [(usize, usize, usize); 8] = [
    (569, 31, 1000),
    (442, 11, 1000),
    (1797, 65, 1000),
    (9568, 5, 1000),
    (10_000, 19, 1000),
    (2000, 51, 100),
    (2000, 51, 5000),
    (6000, 784, 300),
];

fn normals(random: &mut ChaCha8Rng, rows: usize, columns: usize) -> Mat {
    Mat::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut *random))
}

fn operator((n, d, p): (usize, usize, usize)) -> (Gated, ChaCha8Rng) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let x = normals(&mut random, n, d);
    let mut patterns = Patterns::new(n);
    let directions = normals(&mut random, d, p);
    let sides = &x * &directions;
    for k in 0..p {
        patterns.push_bools((0..n).map(|i| sides[(i, k)] >= 0.0));
    }
    (Gated::unsigned(Arc::new(x), Arc::new(patterns)), random)
}

fn operations((n, d, p): (usize, usize, usize)) -> ItemsCount {
    ItemsCount::new(2 * n * d * p)
}

/// {XᵀD_p r} over all patterns.
#[divan::bench(args = SHAPES)]
fn adjoint(bencher: Bencher, shape: (usize, usize, usize)) {
    let (a, mut random) = operator(shape);
    let r = normals(&mut random, shape.0, 1);
    let mut out = Mat::zeros(shape.1, shape.2);
    bencher.counter(operations(shape)).bench_local(|| a.adjoint_into(r.as_ref(), out.as_mut()));
}

/// Σ_p D_p X w_p with all w_p different from zero.
#[divan::bench(args = SHAPES)]
fn forward(bencher: Bencher, shape: (usize, usize, usize)) {
    let (a, mut random) = operator(shape);
    let z = normals(&mut random, shape.1, shape.2);
    let mut out = Mat::zeros(shape.0, 1);
    bencher.counter(operations(shape)).bench_local(|| a.apply_into(z.as_ref(), out.as_mut()));
}

/// A dense product of two square matrices: what a method with multiplications can reach at most.
#[divan::bench(args = [1024])]
fn dense(bencher: Bencher, size: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (a, b) = (normals(&mut random, size, size), normals(&mut random, size, size));
    let mut out = Mat::zeros(size, size);
    bencher.counter(ItemsCount::new(2 * size * size * size)).bench_local(|| {
        faer::linalg::matmul::matmul(
            out.as_mut(),
            faer::Accum::Replace,
            a.as_ref(),
            b.as_ref(),
            1.0,
            faer::Par::Seq,
        );
    });
}
