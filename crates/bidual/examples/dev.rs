use bidual::global::{Global, Target};
use bidual::pricing::Budget;
use bidual::*;
use std::sync::Arc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let frac: f64 = args[2].parse().unwrap();
    let bias = match args[3].as_str() {
        "none" => Bias::None,
        "free" => Bias::Free,
        _ => Bias::Penalised,
    };
    let tol: f64 = args[4].parse().unwrap();
    let rows: Vec<Vec<f64>> = text
        .lines()
        .skip(1)
        .map(|l| l.split(',').map(|v| v.trim().parse().unwrap()).collect())
        .collect();
    let d = rows[0].len() - 1;
    let y: Vec<f64> = rows.iter().map(|r| r[d]).collect();
    let x = Mat::from_fn(rows.len(), d, |i, j| rows[i][j]);
    let data = Dataset::new(x, y, None).unwrap();
    let loss = if args.get(5).map(|s| s == "logistic") == Some(true) {
        LossKind::Logistic
    } else {
        LossKind::Squared
    };
    let cap: f64 = args.get(6).map(|s| s.parse().unwrap()).unwrap_or(120.0);
    let options = Options {
        loss,
        bias,
        patterns: PatternChoice::Sampled(5),
        lambda: Lambda::Fraction(0.1),
        ..Default::default()
    };
    let p = prepare(&data, &options, None).unwrap();
    let program = p.formulation.program(1.0);
    let xs = Arc::new(p.scaling.apply(&data.x));
    let features =
        if bias == Bias::None { xs.clone() } else { Arc::new(formulation::with_ones(&xs)) };
    let gauge = program.regularizer.gauge();
    let g = Global::new(xs, features.clone(), gauge, program.loss.clone(), bias);
    let t = std::time::Instant::now();
    let budget = Budget { cones: 100_000_000, memory: 1 << 30 };
    let b = g.lambda_max(1e-7, &budget, &mut |_| t.elapsed().as_secs_f64() < 60.0);
    println!(
        "rank {} lambda_max in [{}, {}] cones {} {:?}",
        g.oracle().rank(),
        b.lower,
        b.upper,
        b.cones,
        t.elapsed()
    );
    let t = std::time::Instant::now();
    let mut last = (0, 0.0);
    let mut obs = |p: &solver::Progress| {
        if p.iteration != last.0 && p.iteration > 0 || t.elapsed().as_secs_f64() - last.1 > 5.0 {
            last = (p.iteration, t.elapsed().as_secs_f64());
            eprintln!(
                "  {:7.2}s round {} upper {:.9} lower {:.9} active {}",
                last.1, p.iteration, p.upper, p.lower, p.active
            );
        }
        if t.elapsed().as_secs_f64() > cap {
            std::ops::ControlFlow::Break(solver::Status::TimeLimit)
        } else {
            std::ops::ControlFlow::Continue(())
        }
    };
    let s = g
        .solve(
            &Target {
                lambda: frac * b.lower,
                tolerance: tol,
                budget: Some(budget),
                max_rounds: 1000,
            },
            None,
            &mut obs,
        )
        .unwrap();
    println!(
        "upper {:.10} lower {:.10} gap {:.2e} {:?} width {} rounds {} cones {} total {:?}",
        s.upper,
        s.lower,
        (s.upper - s.lower) / s.upper,
        s.status,
        s.neurons.len(),
        s.rounds,
        s.cones,
        t.elapsed()
    );
}
