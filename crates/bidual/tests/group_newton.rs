//! Newton's method on the active groups against the interior-point solver, on random gated
//! programs: all smooth losses, few samples, repeated columns and patterns, one pattern, λ from
//! λ_max down to 10⁻⁵ of it. `BIDUAL_CASES` sets how many.

#[path = "common/problems.rs"]
mod problems;

use bidual::arrangement::Patterns;
use bidual::loss::{Huber, Logistic, Loss, Squared, SquaredHinge, WithIntercept};
use bidual::operator::Gated;
use bidual::regularizer::GroupL2;
use bidual::solver::{
    Fista, GroupNewton, InteriorPoint, Progress, Solution, Solver, SparseColumns, Status, silent,
};
use bidual::{Mat, Program};
use problems::Random;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn cases() -> u64 {
    std::env::var("BIDUAL_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(300)
}

fn program(seed: u64) -> Program {
    let mut r = Random::new(seed);
    let (n, d) = (r.integer(2, 40) as usize, r.integer(1, 12) as usize);
    let p = if seed.is_multiple_of(7) { 1 } else { r.integer(2, 30) as usize };
    let mut x = r.matrix(n, d);
    if seed.is_multiple_of(3) && d > 1 {
        (0..n).for_each(|i| x[(i, 1)] = x[(i, 0)]);
    }
    let mut patterns = Patterns::new(n);
    for k in 0..p {
        let u = r.normals(d);
        let side = |i: usize| (0..d).map(|j| x[(i, j)] * u[j]).sum::<f64>() >= 0.0;
        match (k, seed % 4) {
            // always on, twice the same, never on
            (0, _) => patterns.push_bools((0..n).map(|_| true)),
            (2, 1) => {
                let twin = patterns.bits(1).to_vec();
                patterns.push(&twin);
            }
            (3, 2) => patterns.push_bools((0..n).map(|_| false)),
            _ => patterns.push_bools((0..n).map(side)),
        }
    }
    let classes = matches!(seed % 5, 2 | 3);
    let mut y: Vec<f64> = (0..n)
        .map(|_| if classes { f64::from(2 * r.integer(0, 1) - 1) } else { r.normal() })
        .collect();
    y[n - 1] = if classes { -y[0] } else { y[0] + 1.0 };
    let weights = (r.integer(0, 2) == 0).then(|| (0..n).map(|_| r.uniform(0.1, 2.0)).collect());
    let loss: Arc<dyn Loss> = match seed % 5 {
        0 | 4 => Arc::new(Squared::new(y, weights).expect("targets")),
        1 => Arc::new(Huber::new(y, r.uniform(0.1, 2.0), weights).expect("targets")),
        2 => Arc::new(Logistic::new(y, weights).expect("labels")),
        _ => Arc::new(SquaredHinge::new(y, weights).expect("labels")),
    };
    let loss: Arc<dyn Loss> = match r.integer(0, 1) {
        0 => Arc::new(WithIntercept::new(loss).expect("attained")),
        _ => loss,
    };
    let operator = Arc::new(Gated::unsigned(Arc::new(x), Arc::new(patterns)));
    let mut program = Program {
        loss,
        operator,
        regularizer: Arc::new(GroupL2::new()),
        constraint: None,
        lambda: 1.0,
    };
    let fractions = [1.0, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5];
    program.lambda = program.lambda_max() * fractions[r.integer(0, 6) as usize];
    program
}

fn solved(solver: &dyn Solver, program: &Program) -> Solution {
    solver.solve(program, None, &mut silent()).expect("solved")
}

/// What must hold whatever the solver did.
fn honest(seed: u64, program: &Program, solution: &Solution, tolerance: f64) -> Result<(), String> {
    let own = program.restrict(&solution.z.columns).objective(&solution.z.values);
    let near = 1e-12 * (1.0 + own.abs());
    if (own - solution.upper).abs() > near || solution.lower > own + near {
        return Err(format!("seed {seed}: {own} {} {}", solution.upper, solution.lower));
    }
    let small = solution.upper - solution.lower <= tolerance * solution.upper.abs();
    if (solution.status == Status::Certified) != small {
        return Err(format!("seed {seed}: {:?}", solution.status));
    }
    Ok(())
}

#[test]
fn agrees_with_interior_point() {
    let open = AtomicU64::new(0);
    let failures: Vec<String> = (0..cases())
        .into_par_iter()
        .filter_map(|seed| {
            let program = program(seed);
            let newton = solved(&GroupNewton { tolerance: 1e-9, ..Default::default() }, &program);
            let other = InteriorPoint { tolerance: 1e-9, ..Default::default() };
            let other = solved(&other, &program);
            for solution in [&newton, &other] {
                if let Err(text) = honest(seed, &program, solution, 1e-9) {
                    return Some(text);
                }
            }
            let near = 1e-7 * program.loss.value(&vec![0.0; program.samples()]);
            if newton.upper - newton.lower > near {
                open.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            let apart = newton.lower > other.upper || other.lower > newton.upper;
            let certified = other.status == Status::Certified;
            let far = certified && (newton.upper - other.upper).abs() > near;
            (apart || far).then(|| {
                format!(
                    "seed {seed}: {} {} against {} {}",
                    newton.lower, newton.upper, other.lower, other.upper
                )
            })
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    // at λ_max/10⁵ a kinked gradient (Huber, squared hinge) may take too many steps
    let open = open.into_inner();
    assert!(open <= 1 + cases() / 100, "{open} of {} are open", cases());
}

#[test]
fn larger_programs_agree_with_proximal_steps() {
    // wide enough for several working sets, conjugate gradients and steps in η
    let failures: Vec<String> = [(120, 6, 300, 1e-1), (120, 6, 300, 1e-3), (40, 20, 200, 1e-2)]
        .into_par_iter()
        .filter_map(|(n, d, p, fraction)| {
            let mut r = Random::new(n as u64 + p as u64);
            let x = r.matrix(n, d);
            let y: Vec<f64> =
                (0..n).map(|i| x[(i, 0)].abs() - x[(i, 1)] + 0.1 * r.normal()).collect();
            let mut patterns = Patterns::new(n);
            for _ in 0..p {
                let u = r.normals(d);
                let side = |i: usize| (0..d).map(|j| x[(i, j)] * u[j]).sum::<f64>() >= 0.0;
                patterns.push_bools((0..n).map(side));
            }
            let mut program = Program {
                loss: Arc::new(Squared::new(y, None).expect("targets")),
                operator: Arc::new(Gated::unsigned(Arc::new(x), Arc::new(patterns))),
                regularizer: Arc::new(GroupL2::new()),
                constraint: None,
                lambda: 1.0,
            };
            program.lambda = fraction * program.lambda_max();
            let newton = solved(&GroupNewton { tolerance: 1e-9, ..Default::default() }, &program);
            let plain = solved(&Fista { tolerance: 1e-7, ..Default::default() }, &program);
            let apart = newton.lower > plain.upper || plain.lower > newton.upper;
            let far = (newton.upper - plain.upper).abs() > 1e-7 * plain.upper;
            let open = newton.status != Status::Certified;
            (apart || far || open).then(|| {
                format!("{n}×{d}×{p}: {:?} {} {}", newton.status, newton.upper, plain.upper)
            })
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn warm_starts_limits_and_interruptions() {
    let program = program(10);
    let solver = GroupNewton { tolerance: 1e-8, ..Default::default() };
    let first = solved(&solver, &program);
    let again = solver.solve(&program, Some(&first.z), &mut silent()).expect("solved");
    assert!(again.iterations <= first.iterations && again.upper <= first.upper * (1.0 + 1e-8));
    // a useless start costs time only
    let d = program.shape().0;
    let far = SparseColumns { columns: vec![0], values: Mat::from_fn(d, 1, |_, _| 1e3) };
    let recovered = solver.solve(&program, Some(&far), &mut silent()).expect("solved");
    assert!((recovered.upper - first.upper).abs() <= 1e-7 * first.upper);
    let mut stop = |_: &Progress| ControlFlow::Break(Status::Interrupted);
    let stopped = solver.solve(&program, None, &mut stop).expect("stopped");
    assert_eq!(stopped.status, Status::Interrupted);
    let short = GroupNewton { max_iterations: 1, tolerance: 1e-14, ..Default::default() };
    let short = solved(&short, &program);
    assert!(short.iterations <= 1 && short.lower <= short.upper);
}

/// Squares of such numbers underflow, and with them the norms that bound prices.
#[test]
fn tiny_dual_vectors_prove_nothing_false() {
    for seed in 0..60 {
        let program = program(seed);
        let solution = solved(&GroupNewton::default(), &program);
        let f = program.restrict(&solution.z.columns).outputs(&solution.z.values);
        for exponent in [-60, -140, -155, -165, -221, -300] {
            let tiny = 10f64.powi(exponent);
            let nu: Vec<f64> = program.residual(&f).iter().map(|v| tiny * v).collect();
            let prices = program.price(&nu, program.lambda, &mut program.multipliers());
            let lower = program.lower_bound(&nu, prices.kappa());
            assert!(
                lower <= solution.upper,
                "seed {seed}, 1e{exponent}: {lower} {}",
                solution.upper
            );
        }
    }
}
