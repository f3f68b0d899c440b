//! The solvers against each other and against stored optima (summed losses, made
//! with independent tools); warm starts, interruptions, limits and refusals.

#[path = "common/golden.rs"]
mod golden;
#[path = "common/problems.rs"]
mod problems;

use bidual::arrangement::{Arrangement, Patterns};
use bidual::formulation::{Formulation, GatedRelu, Relu};
use bidual::loss::{Huber, Logistic, Loss, Squared, WithIntercept, unit_weights};
use bidual::solver::{
    ColumnGeneration, Fista, InteriorPoint, Progress, Solution, Solver, SparseColumns, Status,
    silent,
};
use bidual::{
    Activation, Bias, Dataset, Lambda, LossKind, Mat, Options, PatternChoice, Program, fit, prepare,
};
use golden::{golden, matrix, vector};
use problems::{Random, random_problem};
use serde_json::Value;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// The program of a stored case in its own (sum) convention, and its number of cells.
fn stored(case: &Value) -> (Program, usize) {
    let (data, settings) = (&case["data"], &case["settings"]);
    let (x, y) = (matrix(&data["X"]), vector(&data["y"]));
    let (n, d, weights) = (x.nrows(), x.ncols(), Some(unit_weights(y.len())));
    let loss: Arc<dyn Loss> = match settings["loss"].as_str() {
        Some("logistic") => Arc::new(Logistic::new(y, weights).expect("labels")),
        Some("huber") => {
            let delta = settings["huber_delta"].as_f64().expect("δ");
            Arc::new(Huber::new(y, delta, weights).expect("targets"))
        }
        _ => Arc::new(Squared::new(y, weights).expect("targets")),
    };
    let loss: Arc<dyn Loss> = match settings["out_bias"].as_bool() {
        Some(true) => Arc::new(WithIntercept::new(loss).expect("attained")),
        _ => loss,
    };
    let bias = match settings["bias"].as_str() {
        None => Bias::None,
        Some("reg") => Bias::Penalised,
        Some(_) => Bias::Free,
    };
    let beta = settings["beta"].as_f64().expect("β");
    let arrangement = if let Some(bits) = data.get("gate_patterns") {
        let strings: Vec<String> = serde_json::from_value(bits.clone()).expect("bits");
        Arrangement::from_patterns(&Patterns::from_strings(&strings).expect("bits"))
    } else if let Some(rows) = data.get("patterns") {
        let rows = matrix(rows);
        let mut patterns = Patterns::new(n);
        for p in 0..rows.ncols() {
            patterns.push_bools((0..n).map(|i| rows[(i, p)] == 1.0));
        }
        Arrangement::from_patterns(&patterns)
    } else {
        let width = d + usize::from(bias != Bias::None);
        Arrangement::all_cells(
            &Mat::from_fn(n, width, |i, j| if j < d { x[(i, j)] } else { 1.0 }),
            10_000,
        )
    };
    let arrangement = arrangement.expect("patterns");
    let (x, cells) = (Arc::new(x), arrangement.cells);
    let program = if settings["gated"] == true {
        GatedRelu::new(x, loss, arrangement, bias).expect("valid").program(beta)
    } else {
        Relu::new(x, loss, arrangement, bias).expect("valid").program(beta)
    };
    (program, cells)
}

fn solvers(program: &Program, tolerance: f64) -> Vec<Box<dyn Solver>> {
    let mut all: Vec<Box<dyn Solver>> = vec![
        Box::new(ColumnGeneration { tolerance, ..Default::default() }),
        Box::new(InteriorPoint { tolerance, ..Default::default() }),
    ];
    if program.constraint.is_none() {
        all.push(Box::new(Fista { tolerance, ..Default::default() }));
    }
    all
}

fn solve(solver: &dyn Solver, program: &Program) -> Solution {
    solver.solve(program, None, &mut silent()).expect("supported")
}

/// What every solution must satisfy, whatever its status.
fn check(solution: &Solution, program: &Program, what: &str) {
    let restricted = program.restrict(&solution.z.columns);
    let value = restricted.objective(&solution.z.values);
    assert!((value - solution.upper).abs() <= 1e-11 * (1.0 + value.abs()), "{what}");
    if let Some(constraint) = &restricted.constraint {
        let violation = constraint.violation(&solution.z.values);
        assert!(violation <= 1e-15, "{what}: {violation:e}");
    }
    assert_eq!(solution.nu.len(), program.samples());
    if solution.lower.is_finite() {
        let prices = program.price(&solution.nu, program.lambda, &mut program.multipliers());
        let lower = program.lower_bound(&solution.nu, prices.kappa());
        // an interrupted solver may have had no time for the full prices
        let slack = 1e-9 * (1.0 + lower.abs());
        assert!(solution.lower <= lower + slack, "{what}: {} {lower}", solution.lower);
        let early = solution.status.is_early();
        // pricing stops at κ ≤ λ: the bound may be a little weaker than exact prices give
        assert!(
            early || solution.lower >= lower - 10.0 * slack,
            "{what}: {} {lower}",
            solution.lower
        );
    }
    assert!(solution.lower <= solution.upper + 1e-12 * (1.0 + value.abs()), "{what}");
}

#[test]
fn stored_optima() {
    for name in [
        "two_layer/relu01_sq",
        "two_layer/relu02_sq_small_beta",
        "two_layer/relu03_sq_10x3",
        "two_layer/relu04_bias_reg",
        "two_layer/relu05_bias_unreg_outbias",
        "two_layer/relu07_logistic",
        "two_layer/relu09_huber",
        "two_layer/gated01",
        "sdp_and_robust/relu_admm_all",
        "sdp_and_robust/relu_admm_subset",
    ] {
        let case = golden(name);
        let (program, cells) = stored(&case);
        let expected = &case["expected"];
        let value = case["value"].as_f64().expect("value");
        let tolerance = case["abs_tol"]
            .as_f64()
            .unwrap_or_else(|| case["rel_tol"].as_f64().expect("tolerance") * value);
        if let Some(count) = expected["n_patterns_used"].as_u64() {
            assert_eq!(cells as u64, count, "{name}");
        }
        if let Some(largest) = expected["beta_max"].as_f64() {
            assert!((program.lambda_max() - largest).abs() <= 1e-8 * largest, "{name}");
        }
        for solver in solvers(&program, 1e-7) {
            let solution = solve(solver.as_ref(), &program);
            let what = format!("{name}, {}", solver.name());
            check(&solution, &program, &what);
            assert_eq!(solution.status, Status::Certified, "{what}");
            assert!((solution.upper - value).abs() <= tolerance, "{what}: {}", solution.upper);
            assert!(solution.lower <= value + 0.1 * tolerance, "{what}");
            assert!(solution.upper >= value - 0.1 * tolerance, "{what}");
            if expected["outputs_z"].is_array() && name != "two_layer/relu09_huber" {
                let f = program.restrict(&solution.z.columns).outputs(&solution.z.values);
                let shift = |f: &[f64], z: &[f64]| match program.loss.as_intercept() {
                    Some(_) => (0..f.len()).map(|i| z[i] - f[i]).sum::<f64>() / f.len() as f64,
                    None => 0.0,
                };
                let z = vector(&expected["outputs_z"]);
                let c = shift(&f, &z);
                for (f, z) in f.iter().zip(&z) {
                    assert!((f + c - z).abs() <= 2e-3, "{what}: {f} against {z}");
                }
            }
        }
        if expected["dual_nu"].is_array() {
            let mut nu = vector(&expected["dual_nu"]);
            program.loss.clip_dual(&mut nu);
            let kappa = program.price(&nu, 0.0, &mut program.multipliers()).kappa();
            assert!((kappa - program.lambda).abs() <= 1e-6, "{name}: κ = {kappa}");
            let bound = program.lower_bound(&nu, kappa);
            assert!(bound <= value + 1e-9 && bound >= value - 1e-5, "{name}: {bound}");
        }
    }
}

fn random_program(seed: u64) -> Program {
    let (data, options) = random_problem(seed);
    let prepared = prepare(&data, &options, None).expect("prepared");
    let lambda_max = prepared.formulation.program(0.0).lambda_max();
    prepared.formulation.program([0.05, 0.4][seed as usize % 2] * lambda_max)
}

#[test]
fn solvers_agree() {
    // small ones: the interior point takes all columns at once
    let programs = (0..60).map(random_program).filter(|p| p.shape().1 <= 60 && p.lambda > 0.0);
    let mut count = 0;
    for (k, program) in programs.enumerate() {
        let results: Vec<Solution> =
            solvers(&program, 1e-6).iter().map(|s| solve(s.as_ref(), &program)).collect();
        for (i, a) in results.iter().enumerate() {
            check(a, &program, &format!("program {k}, solver {i}"));
            for b in &results {
                assert!(a.lower <= b.upper * (1.0 + 1e-12) + 1e-15, "program {k}");
            }
        }
        count += 1;
    }
    assert!(count >= 20, "{count} programs");
}

#[test]
fn warm_starts() {
    for seed in [1, 2, 4, 9, 12, 14, 19] {
        let program = random_program(seed);
        let solver: Box<dyn Solver> = if program.constraint.is_some() {
            Box::new(ColumnGeneration::default())
        } else {
            Box::new(Fista::default())
        };
        let cold = solve(solver.as_ref(), &program);
        let again = solver.solve(&program, Some(&cold.z), &mut silent()).expect("supported");
        check(&again, &program, "again");
        assert!(again.iterations <= cold.iterations.max(15), "seed {seed}");
        // a start outside the cones, on useless columns, of the wrong size
        let (d, p) = program.shape();
        let mut r = Random::new(seed);
        for size in [1e-8, 1.0, 1e4] {
            let columns: Vec<usize> = (0..p.min(7)).collect();
            let values = Mat::from_fn(d, columns.len(), |_, _| size * r.normal());
            let start = SparseColumns { columns, values };
            let bad = solver.solve(&program, Some(&start), &mut silent()).expect("supported");
            check(&bad, &program, &format!("seed {seed}, start {size:e}"));
            let near = (bad.upper - cold.upper).abs() <= 3e-6 * cold.upper;
            assert!(near, "seed {seed}, start {size:e}: {bad:?} against {}", cold.upper);
        }
    }
}

#[test]
fn interruption_returns_the_best_point_with_its_true_gap() {
    for seed in [1, 2, 4, 9, 14, 19] {
        let program = random_program(seed);
        for solver in solvers(&program, 1e-10) {
            let full = solve(solver.as_ref(), &program);
            for limit in [1, 2, 4, 8] {
                let mut calls = 0;
                let mut last: Option<(f64, f64)> = None;
                let mut observer = |p: &Progress| {
                    calls += 1;
                    last = Some((p.upper, p.lower));
                    if calls >= limit {
                        ControlFlow::Break(Status::Interrupted)
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                let stopped = solver.solve(&program, None, &mut observer).expect("supported");
                let what = format!("seed {seed}, {}, after {limit}", solver.name());
                assert!(calls <= limit + 1, "{what}: asked {calls} times");
                check(&stopped, &program, &what);
                let gap = bidual::certificate::relative_gap(stopped.lower, stopped.upper);
                if stopped.status == Status::Certified {
                    assert!(gap <= 1e-10, "{what}");
                } else if calls == limit {
                    assert_eq!(stopped.status, Status::Interrupted, "{what}");
                }
                assert!(stopped.lower.is_finite(), "{what}: no bound");
                let slack = 1e-12 * (1.0 + full.upper);
                assert!(stopped.upper >= full.lower - slack, "{what}");
                assert!(stopped.lower <= full.upper + slack, "{what}");
                let (upper, _) = last.expect("observed");
                assert!(stopped.upper <= upper * (1.0 + 1e-9) + slack, "{what}");
            }
        }
    }
}

fn plain(n: usize) -> (Dataset, Options) {
    let mut r = Random::new(21);
    let x = r.matrix(n, 3);
    let y = (0..n).map(|i| x[(i, 0)].max(0.0) - x[(i, 1)].max(0.0) + 0.1 * r.normal()).collect();
    let options = Options {
        lambda: Lambda::Fraction(0.01),
        patterns: PatternChoice::Sampled(60),
        ..Options::default()
    };
    (Dataset::new(x, y, None).expect("data"), options)
}

#[test]
fn limits_of_a_fit() {
    let (data, base) = plain(60);
    for activation in [Activation::Relu, Activation::Gated] {
        for lambda in [Lambda::Fraction(0.01), Lambda::CrossValidated] {
            let base = Options { activation, lambda, ..base.clone() };
            let none = Options { time_limit: Some(Duration::ZERO), ..base.clone() };
            let model = fit(&data, &none, &mut silent()).expect("a model");
            assert_eq!(model.status, Status::TimeLimit);
            assert!(model.certificate.lower <= model.certificate.upper);
            assert!(model.certificate.lower.is_finite());
            assert!(model.cross_validation.is_none_or(|cv| !cv.finished));
            let mut stop = |_: &Progress| ControlFlow::Break(Status::Interrupted);
            let model = fit(&data, &base, &mut stop).expect("a model");
            assert_eq!(model.status, Status::Interrupted);
        }
        let one = Options { activation, max_iterations: 1, ..base.clone() };
        let model = fit(&data, &one, &mut silent()).expect("a model");
        assert_eq!(model.status, Status::IterationLimit);
        assert!(model.certificate.relative_gap() > base.tolerance);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (data, base) = plain(20);
    let cones = prepare(&data, &base, None).expect("prepared").formulation.program(0.1);
    let error = Fista::default().solve(&cones, None, &mut silent()).expect_err("cones");
    let text = error.to_string();
    assert!(matches!(error, bidual::Error::Unsupported { .. }), "{text}");
    assert!(text.contains("fista") && text.contains("column generation"), "{text}");

    let refused = |options: Options, words: &[&str]| {
        let text = fit(&data, &options, &mut silent()).expect_err(words[0]).to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    let b = || base.clone();
    refused(Options { lambda: Lambda::Fraction(0.0), ..b() }, &["fraction", "positive", "0"]);
    refused(Options { lambda: Lambda::Absolute(f64::NAN), ..b() }, &["λ", "NaN"]);
    refused(Options { loss: LossKind::Huber(-1.0), ..b() }, &["Huber", "-1"]);
    refused(Options { tolerance: 0.0, ..b() }, &["tolerance", "between 0 and 1"]);
    refused(Options { max_iterations: 0, ..b() }, &["iteration limit", "at least 1"]);
    refused(Options { folds: 1, ..b() }, &["folds", "at least 2"]);
    refused(Options { patterns: PatternChoice::Sampled(0), ..b() }, &["patterns", "at least 1"]);
    refused(Options { active_share: Some(1.5), ..b() }, &["active share", "1.5"]);
    refused(
        Options { active_share: Some(0.5), bias: Bias::None, ..b() },
        &["active share", "hidden bias"],
    );
    refused(
        Options { bias: Bias::Free, output_bias: false, ..b() },
        &["free hidden bias", "output bias"],
    );
    refused(
        Options { activation: Activation::Gated, bias: Bias::Free, ..b() },
        &["gated", "penalised"],
    );
    refused(
        Options { activation: Activation::Gated, patterns: PatternChoice::All(100), ..b() },
        &["gates", "sample or give"],
    );
    refused(Options { patterns: PatternChoice::All(10), ..b() }, &["more than 10"]);
    refused(Options { loss: LossKind::Logistic, ..b() }, &["1"]);
    let constant = Dataset::new(data.x.clone(), vec![2.0; 20], None).expect("data");
    let text = fit(&constant, &base, &mut silent()).expect_err("constant").to_string();
    assert!(text.contains("every target is 2"), "{text}");
    let flat = Dataset::new(Mat::from_fn(20, 2, |_, j| j as f64), data.y.clone(), None);
    let flat = flat.expect("data");
    for bias in [Bias::None, Bias::Penalised, Bias::Free] {
        for activation in [Activation::Relu, Activation::Gated] {
            if activation == Activation::Relu || bias != Bias::Free {
                let options = Options { bias, activation, ..b() };
                let text = fit(&flat, &options, &mut silent()).expect_err("flat").to_string();
                assert!(text.contains("constant"), "{bias:?} {activation:?}: {text}");
            }
        }
    }
}
