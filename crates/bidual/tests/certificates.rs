//! Certificates under attack: on random small problems, lower ≤ optimum ≤ upper
//! against Clarabel on the explicit conic program, and no dual candidate may give
//! a bound above any network that random search and gradient descent can find.
//! Objectives are evaluated from their definitions, not by the crate.

#[path = "common/conic.rs"]
mod conic;
#[path = "common/problems.rs"]
mod problems;

use bidual::arrangement::{Arrangement, Patterns};
use bidual::solver::{ColumnGeneration, Solver, Status, silent};
use bidual::{Activation, Bias, Dataset, Mat, Model, Options, Program, Scope, fit, prepare};
use problems::{Competitor, Neuron, Random, Setup, random_problem};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const PROBLEMS: u64 = 270;

/// Everything that the tests need to know about one fitted problem.
struct Fitted {
    seed: u64,
    data: Dataset,
    options: Options,
    model: Model,
    setup: Setup,
    program: Program,
}

/// None where the crate rightly refuses: nothing can be learnt from these data.
fn fitted(seed: u64) -> Option<Fitted> {
    let (data, options) = random_problem(seed);
    let model = match fit(&data, &options, &mut silent()) {
        Ok(model) => model,
        Err(error) => {
            let text = error.to_string();
            let known = ["λ_max is 0", "no neuron can be active", "every gate is off"];
            assert!(known.iter().any(|k| text.contains(k)), "seed {seed}: {text}");
            return None;
        }
    };
    let setup = Setup::new(&data, &options, model.lambda);
    let program = prepare(&data, &options, Some((&model.scaling, model.gates.as_ref())))
        .expect("prepared before")
        .formulation
        .program(model.lambda);
    Some(Fitted { seed, data, options, model, setup, program })
}

fn each(check: impl Fn(&Fitted) + Sync) -> usize {
    let done = (0..PROBLEMS).into_par_iter().filter_map(|s| fitted(s).map(|f| check(&f)));
    done.count()
}

/// The patterns in play, for the route that does not use the crate's operators.
fn patterns(f: &Fitted) -> Patterns {
    let mut patterns = Patterns::new(f.data.samples());
    let (_, columns) = f.program.shape();
    if let Some(gates) = &f.model.gates {
        return (*Arrangement::from_gates(&f.setup.matrix(), gates).expect("gates").patterns)
            .clone();
    }
    // all cells: the program has two columns a pattern, rows s·x with s = ±1
    let (x, d) = (f.setup.matrix(), f.setup.x[0].len());
    let rows: Vec<f64> = (0..x.nrows())
        .flat_map(|i| {
            let one = (f.options.bias != Bias::None).then_some(1.0);
            f.setup.x[i].iter().copied().chain(one).collect::<Vec<_>>()
        })
        .collect();
    let width = d + usize::from(f.options.bias != Bias::None);
    let cells = bidual::arrangement::enumerate_cells(&rows, x.nrows(), width, 10_000)
        .expect("few cells")
        .patterns;
    for p in 0..cells.len() {
        if !cells.is_zero(p) {
            patterns.push_bools((0..x.nrows()).map(|i| cells.get(p, i)));
        }
    }
    assert_eq!(2 * patterns.len(), columns);
    patterns
}

/// Relative slack for the rounding of the objectives that are compared.
fn slack(value: f64) -> f64 {
    1e-12 * (1.0 + value.abs())
}

#[test]
fn upper_is_the_objective_of_the_network_and_status_is_justified() {
    let certified = AtomicUsize::new(0);
    let count = each(|f| {
        let (seed, certificate) = (f.seed, &f.model.certificate);
        let own = f.setup.competitor(&f.model.network, &f.data.x).objective(&f.setup);
        assert!(
            (own - certificate.upper).abs() <= 1e-9 * own.abs(),
            "seed {seed}: {own} against {}",
            certificate.upper
        );
        assert!(certificate.lower <= certificate.upper + slack(own), "seed {seed}");
        if f.model.status == Status::Certified {
            assert!(certificate.relative_gap() <= f.options.tolerance, "seed {seed}");
            certified.fetch_add(1, Ordering::Relaxed);
        } else {
            assert!(certificate.relative_gap() > f.options.tolerance, "seed {seed}");
        }
        let all = matches!(f.options.patterns, bidual::PatternChoice::All(_));
        assert_eq!(certificate.scope == Scope::Complete, all, "seed {seed}");
    });
    assert!(count >= 200, "only {count} problems");
    let certified = certified.into_inner();
    assert!(certified >= count - 2, "{certified} of {count} certified");
}

/// Degenerate data (few distinct samples, flat losses, free biases, gains far
/// below the loss) on which solvers have stalled.
#[test]
fn degenerate_problems_are_certified() {
    let stalled: Vec<String> = [
        183, 308, 426, 435, 629, 691, 845, 1032, 1160, 1229, 1356, 1382, 1425, 1787, 1841, 1905,
        2051, 2095, 2149, 2295, 2531, 2813, 2855,
    ]
    .into_par_iter()
    .filter_map(fitted)
    .filter(|f| f.model.status != Status::Certified)
    .map(|f| format!("seed {}: gap {:.1e}", f.seed, f.model.certificate.relative_gap()))
    .collect();
    assert!(stalled.is_empty(), "{stalled:#?}");
}

#[test]
fn recovered_networks_have_the_value_of_the_program_and_stay_in_their_cones() {
    let count = each(|f| {
        let seed = f.seed;
        let solver = ColumnGeneration { tolerance: 1e-7, ..Default::default() };
        let solution = solver.solve(&f.program, None, &mut silent()).expect("supported");
        let restricted = f.program.restrict(&solution.z.columns);
        let value = restricted.objective(&solution.z.values);
        assert!((value - solution.upper).abs() <= 1e-12 * value.abs(), "seed {seed}");
        if let Some(constraint) = &restricted.constraint {
            let violation = constraint.violation(&solution.z.values);
            assert!(violation <= 1e-15, "seed {seed}: violation {violation:e}");
        }
        let prepared =
            prepare(&f.data, &f.options, Some((&f.model.scaling, f.model.gates.as_ref())))
                .expect("prepared before");
        let network = prepared.formulation.recover(&solution.z).fold(&prepared.scaling);
        let own = f.setup.competitor(&network, &f.data.x).objective(&f.setup);
        let close = (own - value).abs() <= 1e-9 * value.abs();
        // the bound on a free bias may cost the program something that the network does not pay
        let better = f.options.bias == Bias::Free && own <= value && own >= solution.lower;
        assert!(close || better, "seed {seed}: network {own}, program {value}");
    });
    assert!(count >= 200, "only {count} problems");
}

#[test]
fn clarabel_agrees() {
    let count = (0..PROBLEMS)
        .into_par_iter()
        .filter_map(fitted)
        .filter_map(|f| {
            let (d, columns) = f.program.shape();
            if d * columns > 260 {
                return None;
            }
            let cones = f.options.activation == Activation::Relu;
            let optimum = conic::optimum(&f.setup, &patterns(&f), cones);
            let (certificate, seed) = (&f.model.certificate, f.seed);
            let near = 2e-7 * (optimum.abs() + 1e-3);
            assert!(
                certificate.lower <= optimum + near && optimum <= certificate.upper + near,
                "seed {seed}: Clarabel {optimum}, {certificate:?}, {:?}",
                f.options
            );
            Some(())
        })
        .count();
    assert!(count >= 90, "only {count} problems");
}

/// Networks in the scope of the certificate, found without the crate's solvers.
fn attackers(f: &Fitted, r: &mut Random) -> Vec<Competitor> {
    let complete = f.model.certificate.scope == Scope::Complete;
    let found = f.setup.competitor(&f.model.network, &f.data.x);
    if complete {
        let widths = [1, 3, 20];
        let mut all: Vec<Competitor> = widths
            .iter()
            .flat_map(|&m| [0.3, 1.5].map(|size| (m, size)))
            .map(|(m, size)| Competitor::random(&f.setup, m, size, r))
            .collect();
        for size in [1e-3, 0.1] {
            let mut near = found.clone();
            for n in &mut near.neurons {
                n.w.iter_mut().for_each(|w| *w += size * r.normal());
                n.a += size * r.normal();
                if f.setup.bias != Bias::None {
                    n.b += size * r.normal();
                }
            }
            all.push(near);
        }
        return all;
    }
    // restricted: columns inside their cones (ReLU), any columns (gates)
    let (d, columns) = f.program.shape();
    let inner = f.setup.x[0].len();
    let bits = patterns(f);
    let signs = if f.program.constraint.is_some() { 2 } else { 1 };
    let neuron = |c: usize, v: &[f64]| Neuron {
        w: v[..inner].to_vec(),
        b: v.get(inner).copied().unwrap_or(0.0),
        a: if signs == 2 && c % 2 == 1 { -1.0 } else { 1.0 },
        on: Some((0..f.data.samples()).map(|i| bits.get(c / signs, i)).collect()),
    };
    let one = |r: &mut Random, size: f64| {
        let mut neurons = vec![];
        for _ in 0..r.integer(1, 6) {
            let c = r.integer(0, columns as i32 - 1) as usize;
            let mut v: Vec<f64> = r.normals(d).iter().map(|v| size * v).collect();
            if let Some(constraint) = &f.program.constraint {
                let Some(interior) = constraint.interior(c) else { continue };
                v = interior.witness.iter().map(|w| size * w).collect();
            }
            neurons.push(neuron(c, &v));
        }
        Competitor { neurons, c: 0.0 }
    };
    (0..40).map(|k| one(r, [0.03, 0.3, 1.0][k % 3])).collect()
}

#[test]
fn no_network_beats_a_lower_bound() {
    let count = each(|f| {
        let r = &mut Random::new(77 + f.seed);
        let complete = f.model.certificate.scope == Scope::Complete;
        let (mut best, mut outputs) = (f.model.certificate.upper, vec![]);
        for mut attacker in attackers(f, r) {
            let mut f0 = attacker.outputs(&f.setup);
            let c = f.setup.best_constant(&f0);
            best = best.min(attacker.best_objective(&f.setup));
            outputs.push(f0.clone());
            if complete || f.options.activation == Activation::Gated {
                attacker.c = c;
                attacker.descend(&f.setup, 300);
                best = best.min(attacker.best_objective(&f.setup));
                f0 = attacker.outputs(&f.setup);
                outputs.push(f0);
            }
        }
        for _ in 0..5 {
            outputs.push(r.normals(f.data.samples()));
        }
        let trained = f.model.network.predict(&f.data.x);
        for size in [1e-6, 1e-3, 0.1] {
            outputs.push(trained.iter().map(|f| f + size * r.normal()).collect());
        }
        let mut bounds = vec![f.model.certificate.lower];
        for output in &outputs {
            bounds.push(bound(&f.program, &f.program.residual(output), f.program.lambda));
        }
        for spread in [1e-5, 0.3] {
            let mut nu: Vec<f64> =
                f.model.dual.iter().map(|v| v * (1.0 + spread * r.normal())).collect();
            f.program.loss.clip_dual(&mut nu);
            for target in [0.0, 0.5 * f.program.lambda, 2.0 * f.program.lambda, f64::MAX] {
                bounds.push(bound(&f.program, &nu, target));
            }
        }
        for lower in bounds {
            assert!(lower <= best + slack(best), "seed {}: {lower} above {best}", f.seed);
        }
    });
    assert!(count >= 200, "only {count} problems");
}

fn bound(program: &Program, nu: &[f64], target: f64) -> f64 {
    let prices = program.price(nu, target, &mut program.multipliers());
    for (c, (upper, lower)) in prices.upper.iter().zip(&prices.lower).enumerate() {
        assert!(upper >= lower, "column {c}: {upper} < {lower}");
    }
    program.lower_bound(nu, prices.kappa())
}

/// Bounds priced with multipliers of another dual vector remain bounds.
#[test]
fn stale_multipliers_are_safe() {
    (0..40).into_par_iter().filter_map(fitted).for_each(|f| {
        let r = &mut Random::new(f.seed);
        let mut multipliers = f.program.multipliers();
        for _ in 0..6 {
            let output: Vec<f64> = r.normals(f.data.samples());
            let nu = f.program.residual(&output);
            let stale = f.program.price(&nu, f.program.lambda, &mut multipliers);
            let fresh = f.program.price(&nu, 0.0, &mut f.program.multipliers());
            for (c, upper) in stale.upper.iter().enumerate() {
                assert!(
                    *upper >= fresh.lower[c] * (1.0 - 1e-9),
                    "seed {}: column {c}: {upper} < {}",
                    f.seed,
                    fresh.lower[c]
                );
            }
            let lower = f.program.lower_bound(&nu, stale.kappa());
            assert!(lower <= f.model.certificate.upper + slack(lower), "seed {}", f.seed);
        }
    });
}

/// A random cone program: prices attained by the crate's own maximisers are feasible values.
#[test]
fn prices_bound_every_direction_of_the_cone() {
    (0..60).into_par_iter().filter_map(fitted).for_each(|f| {
        let Some(constraint) = &f.program.constraint else { return };
        let r = &mut Random::new(f.seed);
        let nu = f.program.residual(&r.normals(f.data.samples()));
        let adjoint = f.program.adjoint(&nu);
        let prices = f.program.price(&nu, 0.0, &mut f.program.multipliers());
        let gauge = f.program.regularizer.gauge();
        let (d, columns) = f.program.shape();
        for c in 0..columns.min(60) {
            let Some(interior) = constraint.interior(c) else { continue };
            for scale in [0.0, 0.1, 1.0] {
                let mut u: Vec<f64> = interior.witness.clone();
                u.iter_mut().for_each(|v| *v += scale * r.normal());
                let one = Mat::from_fn(d, 1, |i, _| u[i]);
                if constraint.restrict(&[c]).violation(&one) > 0.0 {
                    continue;
                }
                let value: f64 = (0..d).map(|i| adjoint[(i, c)] * u[i]).sum();
                let value = value / gauge.value(&u);
                assert!(value <= prices.upper[c] * (1.0 + 1e-12) + 1e-15, "seed {}", f.seed);
            }
        }
    });
}
