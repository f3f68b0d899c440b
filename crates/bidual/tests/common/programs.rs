//! Random programs, and what must hold for every solution.

use super::problems::Random;
use bidual::Program;
use bidual::arrangement::Patterns;
use bidual::cone::Constraint;
use bidual::loss::{Huber, Logistic, Loss, Squared, SquaredHinge, WithIntercept};
use bidual::operator::{Gated, HalfSpaces};
use bidual::regularizer::GroupL2;
use bidual::solver::{Solution, Solver, Status, silent};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of random programs: `BIDUAL_CASES`, or 300.
pub fn cases() -> u64 {
    std::env::var("BIDUAL_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(300)
}

/// A random program of a few columns; with cones, or without.
pub fn program(seed: u64, cones: bool) -> Program {
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
            // always on (no cone of its own in general), twice the same, never on
            (0, _) if p > 1 || !cones => patterns.push_bools((0..n).map(|_| true)),
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
    let (x, patterns) = (Arc::new(x), Arc::new(patterns));
    let operator = match cones {
        true => Gated::signed(x.clone(), patterns.clone()),
        false => Gated::unsigned(x.clone(), patterns.clone()),
    };
    let mut program = Program {
        loss,
        operator: Arc::new(operator),
        regularizer: Arc::new(GroupL2::new()),
        constraint: cones.then(|| Constraint::new(HalfSpaces::signed(x, patterns))),
        lambda: 1.0,
    };
    let fractions = [1.0, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5];
    program.lambda = program.lambda_max() * fractions[r.integer(0, 6) as usize];
    program
}

pub fn solved(solver: &dyn Solver, program: &Program) -> Solution {
    solver.solve(program, None, &mut silent()).expect("solved")
}

/// What must hold whatever the solver did.
pub fn honest(
    seed: u64,
    program: &Program,
    solution: &Solution,
    tolerance: f64,
) -> Result<(), String> {
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

/// What is wrong if two solvers differ by more than 1e-7 of the loss at zero, or their bounds cross;
/// a program that `own` has not solved that far is only counted.
pub fn disagreement(
    seed: u64,
    program: &Program,
    own: &Solution,
    other: &Solution,
    open: &AtomicU64,
) -> Option<String> {
    let near = 1e-7 * program.loss.value(&vec![0.0; program.samples()]);
    if own.upper - own.lower > near {
        open.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    let apart = own.lower > other.upper || other.lower > own.upper;
    let far = other.status == Status::Certified && (own.upper - other.upper).abs() > near;
    (apart || far).then(|| {
        let [a, b, c, d] = [own.lower, own.upper, other.lower, other.upper];
        format!("seed {seed}: {a} {b} against {c} {d}")
    })
}
