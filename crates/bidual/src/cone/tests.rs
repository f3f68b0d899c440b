//! Tests of the cone primitives: a conic solver as reference, weak duality, degenerate rows.

mod edge;

use super::*;
use clarabel::algebra::CscMatrix;
use clarabel::solver::{
    DefaultSettings, DefaultSolver, IPSolver, NonnegativeConeT, SecondOrderConeT,
};

/// A small generator (splitmix64), so that the cases are the same everywhere.
struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let r = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        r * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Owner of one matrix in both orders, with signs.
struct Case {
    pub n: usize,
    pub d: usize,
    pub rows: Vec<f64>,
    pub columns: Vec<f64>,
    pub bits: Vec<u64>,
}

impl Case {
    fn new(n: usize, d: usize, rows: Vec<f64>, plus: &[bool]) -> Self {
        let mut columns = vec![0.0; n * d];
        let mut bits = vec![0; n.div_ceil(64)];
        for k in 0..n {
            for j in 0..d {
                columns[j * n + k] = rows[k * d + j];
            }
            bits[k / 64] |= u64::from(plus[k]) << (k % 64);
        }
        Self { n, d, rows, columns, bits }
    }

    /// Signs of X u, zero margins drawn at random.
    fn cell(n: usize, d: usize, rows: Vec<f64>, u: &[f64], rng: &mut Random) -> Self {
        let plus: Vec<bool> = (0..n)
            .map(|k| {
                let t: f64 = (0..d).map(|j| rows[k * d + j] * u[j]).sum();
                t > 0.0 || t == 0.0 && rng.below(2) == 0
            })
            .collect();
        Self::new(n, d, rows, &plus)
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(self.n, self.d, &self.columns, &self.rows).unwrap()
    }

    fn sign(&self, k: usize) -> f64 {
        super::nnls::sign(&self.bits, k)
    }

    fn margin(&self, k: usize, u: &[f64]) -> f64 {
        let x = &self.rows[k * self.d..(k + 1) * self.d];
        self.sign(k) * x.iter().zip(u).fold(0.0, |t, (x, u)| t + x * u)
    }
}

/// Random rows: Gaussian, or small integers, with duplicates, opposite rows, zero rows, and possibly
/// of deficient rank; signs of a cell, sometimes of no cell.
fn random_case(rng: &mut Random, bias: bool) -> Case {
    let d = 1 + rng.below(6) + usize::from(bias);
    let n = 1 + rng.below(40);
    let integer = rng.below(2) == 0;
    let rank = if rng.below(4) == 0 { 1 + rng.below(d) } else { d };
    let mut rows = vec![0.0; n * d];
    for k in 0..n {
        for j in 0..rank {
            let integer_entry = rng.below(5) as f64 - 2.0;
            rows[k * d + j] = if integer { integer_entry } else { rng.normal() };
        }
        match rng.below(8) {
            0 if k > 0 => {
                let t = [1.0, -1.0, 2.0, -3.0][rng.below(4)];
                let other = rng.below(k);
                for j in 0..d {
                    rows[k * d + j] = t * rows[other * d + j];
                }
            }
            1 => rows[k * d..(k + 1) * d].fill(0.0),
            _ => {}
        }
        if bias {
            rows[k * d + d - 1] = 1.0;
        }
    }
    if rank < d && !bias {
        // Mix the columns, so that the null space is not a coordinate space.
        for k in 0..n {
            let x = &mut rows[k * d..(k + 1) * d];
            for j in rank..d {
                x[j] = x[j - rank] - 2.0 * x[(j - rank) / 2];
            }
        }
    }
    let u: Vec<f64> =
        (0..d).map(|_| if integer { rng.below(3) as f64 - 1.0 } else { rng.normal() }).collect();
    if rng.below(6) == 0 {
        let plus: Vec<bool> = (0..n).map(|_| rng.below(2) == 0).collect();
        Case::new(n, d, rows, &plus)
    } else {
        Case::cell(n, d, rows, &u, rng)
    }
}

fn random_direction(rng: &mut Random, d: usize) -> Vec<f64> {
    if rng.below(3) == 0 {
        (0..d).map(|_| rng.below(7) as f64 - 3.0).collect()
    } else {
        (0..d).map(|_| rng.normal()).collect()
    }
}

/// h(c) by an interior-point method: value and maximiser.
fn reference(case: &Case, c: &[f64], gauge: &Gauge) -> (f64, Vec<f64>) {
    let (n, d) = (case.n, case.d);
    let inner = gauge.penalised(d);
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|k| (0..d).map(|j| -case.sign(k) * case.rows[k * d + j]).collect()).collect();
    let mut b = vec![0.0; n];
    if let Gauge::FreeBias { radius } = gauge {
        for s in [1.0, -1.0] {
            let mut row = vec![0.0; d];
            row[d - 1] = s;
            a.push(row);
            b.push(*radius);
        }
    }
    let flat = a.len();
    a.push(vec![0.0; d]);
    b.push(1.0);
    for j in 0..inner {
        let mut row = vec![0.0; d];
        row[j] = -1.0;
        a.push(row);
        b.push(0.0);
    }
    let cones = [NonnegativeConeT(flat), SecondOrderConeT(inner + 1)];
    let settings = DefaultSettings {
        verbose: false,
        tol_gap_abs: 1e-12,
        tol_gap_rel: 1e-12,
        tol_feas: 1e-12,
        max_iter: 300,
        ..DefaultSettings::default()
    };
    let p = CscMatrix::zeros((d, d));
    let q: Vec<f64> = c.iter().map(|v| -v).collect();
    let a: CscMatrix = CscMatrix::from(&a);
    let mut solver = DefaultSolver::new(&p, &q, &a, &b, &cones, settings).unwrap();
    solver.solve();
    (-solver.solution.obj_val, solver.solution.x.clone())
}

fn gauge_size(gauge: &Gauge, u: &[f64]) -> f64 {
    let (w, b) = u.split_at(gauge.penalised(u.len()));
    let length = w.iter().map(|v| v * v).sum::<f64>().sqrt();
    match (gauge, b) {
        (Gauge::FreeBias { radius }, [b]) => length.max(b.abs() / radius),
        _ => length,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Everything that is asked of one problem.
fn examine(case: &Case, c: &[f64], gauge: &Gauge, rng: &mut Random, ws: &mut Workspace) {
    let (rows, bits) = (case.rows(), &case.bits);
    let none = f64::NEG_INFINITY;
    let found = support(&rows, bits, c, gauge, none, &[], ws);
    let active = ws.active().to_vec();
    let lambda = ws.multipliers().to_vec();
    let u = ws.direction().to_vec();
    let (truth, point) = reference(case, c, gauge);
    let size = dot(c, c).sqrt();
    assert!(found.upper >= truth - 1e-9, "{found:?} {truth}");
    assert!(found.upper <= truth * (1.0 + 1e-7) + 1e-9, "{found:?} {truth} {gauge:?}");
    assert!(found.lower <= found.upper && found.lower >= 0.0);
    assert!(
        found.upper - found.lower <= 1e-8 * found.upper + 1e-9 * size,
        "{found:?} {truth} {gauge:?} n={} d={}",
        case.n,
        case.d
    );
    assert_eq!(found.stop, Stop::Optimal);
    assert!(gauge_size(gauge, &u) <= 1.0 + 1e-14);
    assert!(lambda.iter().all(|&l| l >= 0.0));
    let again = bound_with(&rows, bits, c, gauge, &active, &lambda);
    assert_eq!(again, found.upper, "the exposed multipliers prove the bound");
    for k in 0..case.n {
        let x = &case.rows[k * case.d..(k + 1) * case.d];
        let slack = 1e-8 * dot(x, x).sqrt() * dot(&u, &u).sqrt();
        assert!(case.margin(k, &u) >= -slack, "row {k}");
    }
    // Weak duality at feasible points.
    let reduced = relative_interior(&rows, bits, ws);
    for trial in 0..10 {
        let base = if trial % 2 == 0 { &u } else { &point };
        let t = [0.0, 1e-6, 1e-3, 0.1, 1.0][trial / 2];
        let mut v: Vec<f64> = base.iter().map(|b| b + t * rng.normal()).collect();
        v = project(&rows, bits, &v, ws);
        if make_feasible(&rows, bits, &reduced.equalities, &mut v, &reduced.witness).is_none() {
            continue;
        }
        let length = gauge_size(gauge, &v);
        if reduced.equalities.is_empty() && length > 0.0 {
            let value = dot(c, &v) / length;
            assert!(found.upper >= value - 1e-14 * size * dot(&v, &v).sqrt() / length);
        }
    }
    // Early stop and warm start.
    for factor in [0.5, 0.999, 1.0 - 1e-9, 1.0, 1.0 + 1e-9, 1.1, 2.0] {
        let early = support(&rows, bits, c, gauge, factor * truth, &[], ws);
        assert!(early.upper >= truth - 1e-9 * (1.0 + size));
        assert!(early.upper >= found.lower * (1.0 - 1e-14) - 1e-13 * size);
        assert_eq!(early.stop == Stop::Target, early.upper <= factor * truth);
    }
    let mut starts = vec![active.clone(), (0..case.n as u32 + 3).collect()];
    starts.push((0..5).map(|_| rng.below(case.n) as u32).collect());
    for start in starts {
        let warm = support(&rows, bits, c, gauge, none, &start, ws);
        let gap = (warm.upper - found.upper).abs();
        assert!(gap <= 2e-8 * found.upper + 1e-9 * size, "{warm:?} {found:?}");
        if *gauge == Gauge::Norm && start == active {
            assert!(warm.iterations <= 1, "{}", warm.iterations);
        }
    }
}

#[test]
fn norm_gauge_against_conic_solver() {
    let mut rng = Random(1);
    let mut ws = Workspace::new();
    for _ in 0..200 {
        let case = random_case(&mut rng, false);
        let c = random_direction(&mut rng, case.d);
        examine(&case, &c, &Gauge::Norm, &mut rng, &mut ws);
    }
}

#[test]
fn free_bias_against_conic_solver() {
    let mut rng = Random(2);
    let mut ws = Workspace::new();
    for trial in 0..200 {
        let case = random_case(&mut rng, true);
        let mut c = random_direction(&mut rng, case.d);
        if trial % 2 == 0 {
            // As at a dual point with 1ᵀν = 0, exactly or up to rounding.
            c[case.d - 1] = if trial % 4 == 0 { 0.0 } else { 1e-15 };
        }
        let radius = [0.1, 1.0, 5.0, 100.0][rng.below(4)];
        examine(&case, &c, &Gauge::FreeBias { radius }, &mut rng, &mut ws);
    }
}
