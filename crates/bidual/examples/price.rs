//! Times exact pricing, κ(ν) = max |νᵀ(Xu)_+| over the unit ball, on random data.
//!
//! `cargo run --release --example price -- [words that a row must contain]`
//!
//! Prints a Markdown table, a row a kind of problem, medians over several seeds. Times are
//! wall-clock: run it on a machine that has two cores to spare.

use bidual::cone::Gauge;
use bidual::global::{Global, Target};
use bidual::loss::Squared;
use bidual::pricing::Budget;
use bidual::pricing::simplicial::{Ball, Outcome, Problem, Rows, Settings, price};
use bidual::{Bias, Mat};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;
use std::time::Instant;

/// Where ν comes from.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Residual of the optimal network at 0.1 λ_max, five planted neurons and noise 0.1.
    Planted,
    /// The same with labels that are noise.
    Noise,
    /// Gaussian.
    Random,
    /// The planted labels themselves, as for λ_max.
    Labels,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Planted => "planted, 0.1 λ_max",
            Self::Noise => "noise labels, 0.1 λ_max",
            Self::Random => "random ν",
            Self::Labels => "ν = y",
        }
    }
}

/// A row of the table.
struct Case {
    kind: Kind,
    n: usize,
    d: usize,
    tolerance: f64,
    seeds: u64,
    /// Cones and seconds of a plain C++ program of the same method, one thread; an
    /// upper bound where it says "less than" and for the harder of two instances.
    prototype: (f64, f64),
}

#[rustfmt::skip]
const CASES: [Case; 14] = [
    Case { kind: Kind::Planted, n: 200, d: 3, tolerance: 1e-5, seeds: 5, prototype: (488.0, 0.01) },
    Case { kind: Kind::Planted, n: 1000, d: 3, tolerance: 1e-5, seeds: 5, prototype: (402.0, 0.01) },
    Case { kind: Kind::Noise, n: 200, d: 3, tolerance: 1e-6, seeds: 5, prototype: (3180.0, 0.01) },
    Case { kind: Kind::Random, n: 10_000, d: 3, tolerance: 1e-4, seeds: 5, prototype: (2394.0, 0.25) },
    Case { kind: Kind::Random, n: 100_000, d: 3, tolerance: 1e-4, seeds: 3, prototype: (7298.0, 5.8) },
    Case { kind: Kind::Noise, n: 1000, d: 4, tolerance: 1e-4, seeds: 3, prototype: (80_270.0, 0.8) },
    Case { kind: Kind::Random, n: 10_000, d: 4, tolerance: 1e-4, seeds: 5, prototype: (60_958.0, 5.3) },
    Case { kind: Kind::Labels, n: 100_000, d: 4, tolerance: 1e-4, seeds: 3, prototype: (534.0, 1.9) },
    Case { kind: Kind::Planted, n: 200, d: 5, tolerance: 1e-5, seeds: 5, prototype: (33_290.0, 0.2) },
    Case { kind: Kind::Planted, n: 1000, d: 5, tolerance: 1e-4, seeds: 3, prototype: (52_942.0, 1.2) },
    Case { kind: Kind::Noise, n: 200, d: 5, tolerance: 1e-6, seeds: 3, prototype: (0.9e6, 8.0) },
    Case { kind: Kind::Labels, n: 10_000, d: 5, tolerance: 1e-4, seeds: 5, prototype: (11_792.0, 2.3) },
    Case { kind: Kind::Random, n: 10_000, d: 5, tolerance: 1e-4, seeds: 1, prototype: (370_000.0, 90.0) },
    Case { kind: Kind::Planted, n: 1000, d: 6, tolerance: 1e-4, seeds: 1, prototype: (2.3e6, 54.0) },
];

fn normals(random: &mut ChaCha8Rng, count: usize) -> Vec<f64> {
    (0..count).map(|_| StandardNormal.sample(random)).collect()
}

/// Rows (n×d, one after the other) and ν.
fn make(case: &Case, seed: u64) -> Result<(Vec<f64>, Vec<f64>), bidual::Error> {
    let (n, d) = (case.n, case.d);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let x = normals(&mut random, n * d);
    if matches!(case.kind, Kind::Noise | Kind::Random) {
        let y = normals(&mut random, n);
        return Ok((x.clone(), if case.kind == Kind::Random { y } else { residual(&x, y, d)? }));
    }
    let (w, a) = (normals(&mut random, 5 * d), normals(&mut random, 5));
    let y: Vec<f64> = x
        .chunks_exact(d)
        .zip(normals(&mut random, n))
        .map(|(row, noise)| {
            let neuron = |(w, a): (&[f64], &f64)| {
                a * w.iter().zip(row).map(|(w, x)| w * x).sum::<f64>().max(0.0)
            };
            w.chunks_exact(d).zip(&a).map(neuron).sum::<f64>() + 0.1 * noise
        })
        .collect();
    Ok((x.clone(), if case.kind == Kind::Labels { y } else { residual(&x, y, d)? }))
}

/// Residual of a network trained to 1e-5 of the optimum at 0.1 λ_max, without a proof.
fn residual(x: &[f64], y: Vec<f64>, d: usize) -> Result<Vec<f64>, bidual::Error> {
    let n = y.len();
    let x = Arc::new(Mat::from_fn(n, d, |i, j| x[i * d + j]));
    let loss = Arc::new(Squared::new(y, None)?);
    let global = Global::new(x.clone(), x, Gauge::Norm, loss, Bias::None);
    let budget = Budget { cones: 10_000_000, memory: 1 << 29 };
    let lambda = 0.1 * global.lambda_max(1e-4, &budget, &mut |_| true).lower;
    let target = Target { lambda, tolerance: 1e-5, budget: None, max_rounds: 60 };
    let trained = global.solve(&target, None, &mut bidual::solver::silent())?;
    let outputs = trained.neurons.outputs(global.oracle().x());
    Ok(global.residual(&outputs))
}

/// Seconds of one call, the least over repetitions that take a fifth of a second together.
fn time(pool: &rayon::ThreadPool, problem: &Problem<'_>, tolerance: f64) -> (f64, Outcome) {
    let settings = Settings { tolerance, ..Settings::default() };
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    loop {
        let start = Instant::now();
        let outcome = pool.install(|| price(problem, &settings, &[], &mut |_| true));
        best = best.min(start.elapsed().as_secs_f64());
        if begin.elapsed().as_secs_f64() > 0.2 {
            return (best, outcome);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pools = [1, 2].map(|t| rayon::ThreadPoolBuilder::new().num_threads(t).build());
    let [one, two] = pools;
    let (one, two) = (one?, two?);
    println!(
        "| ν | n × d | tolerance | cones | s, one thread | s, two | ratio \
         | prototype: cones | s | times faster |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for case in &CASES {
        let label = format!("{} {}x{}", case.kind.name(), case.n, case.d);
        if !words.iter().all(|w| label.contains(w.as_str())) {
            continue;
        }
        let (mut cones, mut single, mut double) = (vec![], vec![], vec![]);
        for seed in 1..=case.seeds {
            let (x, nu) = make(case, seed)?;
            let rows = Rows::new(&x, case.d).ok_or("n × d numbers expected")?;
            let problem =
                Problem { rows: &rows, nu: &nu, linear: None, ball: Ball::Norm, radius: 0.0 };
            let (seconds, outcome) = time(&one, &problem, case.tolerance);
            let (again, same) = time(&two, &problem, case.tolerance);
            if outcome != same {
                return Err(format!("{label}: the threads change the result").into());
            }
            if !outcome.closed {
                println!("{label}, seed {seed}: not closed, upper {}", outcome.upper);
            }
            cones.push(outcome.cones as f64);
            single.push(seconds);
            double.push(again);
        }
        let (s1, s2) = (median(single), median(double));
        println!(
            "| {} | {} × {} | {:.0e} | {:.0} | {:.4} | {:.4} | {:.2} | {:.0} | {} | {:.1} |",
            case.kind.name(),
            case.n,
            case.d,
            case.tolerance,
            median(cones),
            s1,
            s2,
            s1 / s2,
            case.prototype.0,
            case.prototype.1,
            case.prototype.1 / s1
        );
    }
    Ok(())
}
