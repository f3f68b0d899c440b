//! Newton's method on the active groups against the interior-point solver, on random gated
//! programs: all smooth losses, few samples, repeated columns and patterns, one pattern, λ from
//! λ_max down to 10⁻⁵ of it. `BIDUAL_CASES` sets how many.

#[path = "common/problems.rs"]
mod problems;
#[path = "common/programs.rs"]
mod programs;

use bidual::arrangement::Patterns;
use bidual::loss::Squared;
use bidual::operator::Gated;
use bidual::regularizer::GroupL2;
use bidual::solver::{
    Fista, GroupNewton, InteriorPoint, Progress, Solver, SparseColumns, Status, silent,
};
use bidual::{Mat, Program};
use problems::Random;
use programs::{cases, disagreement, honest, program, solved};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

#[test]
fn agrees_with_interior_point() {
    let open = AtomicU64::new(0);
    let failures: Vec<String> = (0..cases())
        .into_par_iter()
        .filter_map(|seed| {
            let program = program(seed, false);
            let newton = solved(&GroupNewton { tolerance: 1e-9, ..Default::default() }, &program);
            let other = InteriorPoint { tolerance: 1e-9, ..Default::default() };
            let other = solved(&other, &program);
            for solution in [&newton, &other] {
                if let Err(text) = honest(seed, &program, solution, 1e-9) {
                    return Some(text);
                }
            }
            disagreement(seed, &program, &newton, &other, &open)
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
    let program = program(10, false);
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
        let program = program(seed, false);
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
