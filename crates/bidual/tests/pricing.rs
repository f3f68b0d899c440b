//! Exact pricing and its local search against the maximum over enumerated cells.
//!
//! `BIDUAL_CASES` sets the number of random problems (default 600).

#[path = "common/problems.rs"]
mod problems;

use bidual::Mat;
use bidual::arrangement::enumerate_cells;
use bidual::cone::{Gauge, Rows, Workspace, support};
use bidual::formulation::with_ones;
use bidual::pricing::{Budget, Goal, Oracle};
use problems::Random;
use rayon::prelude::*;
use std::sync::Arc;

fn cases() -> u64 {
    std::env::var("BIDUAL_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(600)
}

const FULL: Budget = Budget { cones: usize::MAX, memory: 1 << 28 };

/// κ(ν) by one projection for each cell and sign.
fn by_cells(x: &Mat, gauge: &Gauge, nu: &[f64]) -> f64 {
    let (n, p) = (x.nrows(), x.ncols());
    let rows: Vec<f64> = (0..n).flat_map(|i| (0..p).map(move |j| (i, j))).map(|a| x[a]).collect();
    let columns: Vec<f64> = (0..p).flat_map(|j| x.col_as_slice(j).to_vec()).collect();
    let cells = enumerate_cells(&rows, n, p, 1_000_000).expect("small");
    let view = Rows::new(n, p, &columns, &rows).expect("shapes");
    let mut ws = Workspace::default();
    let mut best = 0.0f64;
    for k in 0..cells.patterns.len() {
        for sign in [1.0, -1.0] {
            let mut c = vec![0.0; p];
            for i in (0..n).filter(|&i| cells.patterns.get(k, i)) {
                for j in 0..p {
                    c[j] += sign * nu[i] * x[(i, j)];
                }
            }
            best = best
                .max(support(&view, cells.patterns.bits(k), &c, gauge, best, &[], &mut ws).lower);
        }
    }
    best
}

/// Rows, gauge and ν of case `seed`: Gaussian or integer rows with repeated,
/// antiparallel and zero ones; no bias, a penalised one or a free one.
fn case(seed: u64) -> (Mat, Gauge, Vec<f64>) {
    let mut r = Random::new(seed);
    let d = r.integer(1, 4) as usize;
    let most = [30, 30, 16, 9][d - 1];
    let n = r.integer(2, most) as usize;
    let integers = seed.is_multiple_of(3);
    let mut x =
        Mat::from_fn(n, d, |_, _| if integers { f64::from(r.integer(-2, 2)) } else { r.normal() });
    if n > 3 && seed.is_multiple_of(4) {
        for j in 0..d {
            x[(1, j)] = x[(0, j)];
            x[(2, j)] = -x[(0, j)];
            x[(3, j)] = 0.0;
        }
    }
    let mut nu = r.normals(n);
    match seed % 5 {
        3 if d < 4 => (with_ones(&x), Gauge::Norm, nu),
        4 if d < 4 => {
            // a free bias needs ν that sums to zero
            let mean = nu.iter().sum::<f64>() / n as f64;
            nu.iter_mut().for_each(|v| *v -= mean);
            let norm = |i: usize| (0..d).map(|j| x[(i, j)] * x[(i, j)]).sum::<f64>().sqrt();
            let radius = (0..n).map(norm).fold(1e-3, f64::max) * (1.0 + 1e-6);
            (with_ones(&x), Gauge::FreeBias { radius }, nu)
        }
        _ => (x, Gauge::Norm, nu),
    }
}

#[test]
fn proof_and_incumbent_meet_at_the_maximum_over_all_cells() {
    (0..cases()).into_par_iter().for_each(|seed| {
        let (x, gauge, nu) = case(seed);
        let exact = by_cells(&x, &gauge, &nu);
        let size: f64 = nu.iter().map(|v| v.abs()).sum();
        let near = 1e-9 * exact + 1e-11 * size;
        let oracle = Oracle::new(Arc::new(x), gauge);
        let goal = Goal { target: 0.0, tolerance: 1e-9 };
        let proof = oracle.prove(&nu, &goal, &FULL, &[], &mut |_| true);
        assert!(proof.upper >= exact * (1.0 - 1e-12), "seed {seed}: {} < {exact}", proof.upper);
        assert!(proof.upper <= exact * (1.0 + 2e-9) + near, "seed {seed}: {} {exact}", proof.upper);
        assert!((proof.lower - exact).abs() <= 2.0 * near, "seed {seed}: {} {exact}", proof.lower);
        for c in &proof.candidates {
            assert!(c.value <= exact + near, "seed {seed}");
        }
        for c in oracle.search(&nu, &[], 32, seed, 0.0) {
            assert!(c.value <= exact + near, "seed {seed}: search {} above {exact}", c.value);
        }
    });
}

#[test]
fn a_bound_is_valid_whenever_the_search_is_stopped() {
    (0..cases() / 4).into_par_iter().for_each(|seed| {
        let (x, gauge, nu) = case(seed);
        let exact = by_cells(&x, &gauge, &nu);
        let oracle = Oracle::new(Arc::new(x), gauge);
        for cones in [0, 1, 10, 100] {
            let goal = Goal { target: 0.0, tolerance: 0.0 };
            let budget = Budget { cones, memory: 1 };
            let proof = oracle.prove(&nu, &goal, &budget, &[], &mut |_| true);
            assert!(proof.upper >= exact * (1.0 - 1e-12), "seed {seed}: {} {exact}", proof.upper);
        }
        // towards a target above κ the proof stops below the target
        let goal = Goal { target: 1.3 * exact + 1e-9, tolerance: 0.0 };
        let proof = oracle.prove(&nu, &goal, &FULL, &[], &mut |_| true);
        assert!(proof.upper >= exact * (1.0 - 1e-12) && proof.upper <= goal.target * (1.0 + 1e-9));
    });
}

/// Rank ten, where nothing can be enumerated: the proof is never below what search attains.
#[test]
fn moment_bounds_at_rank_ten() {
    let mut r = Random::new(9);
    for n in [20, 60] {
        let x = Arc::new(r.matrix(n, 10));
        let nu = r.normals(n);
        let oracle = Oracle::new(x, Gauge::Norm);
        let search = oracle.search(&nu, &[], 256, 0, 0.0);
        let lower = search.first().map_or(0.0, |c| c.value);
        let goal = Goal { target: 0.0, tolerance: 1e-3 };
        let budget = Budget { cones: 300_000, memory: 1 << 28 };
        let proof = oracle.prove(&nu, &goal, &budget, &[], &mut |_| true);
        assert!(proof.upper >= lower && proof.lower <= proof.upper);
        assert!(proof.lower >= lower * (1.0 - 1e-9), "{} {lower}", proof.lower);
    }
}

/// A matrix of rank 2 in ten columns is priced in two coordinates.
#[test]
fn rank_is_what_counts() {
    let mut r = Random::new(4);
    let (a, b) = (r.matrix(30, 2), r.matrix(2, 10));
    let x = &a * &b;
    let nu = r.normals(30);
    let oracle = Oracle::new(Arc::new(x), Gauge::Norm);
    assert_eq!(oracle.rank(), 2);
    let goal = Goal { target: 0.0, tolerance: 1e-9 };
    let proof = oracle.prove(&nu, &goal, &FULL, &[], &mut |_| true);
    let found = oracle.search(&nu, &[], 64, 0, 0.0)[0].value;
    assert!(proof.upper >= found && proof.upper <= found * (1.0 + 1e-6), "{} {found}", proof.upper);
}
