use bidual::arrangement::Arrangement;
use bidual::formulation::*;
use bidual::loss::*;
use bidual::solver::*;
use bidual::*;
use std::ops::ControlFlow;
use std::sync::Arc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "golden" {
        for path in &args[2..] {
            let v: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let xs: Vec<Vec<f64>> = serde_json::from_value(v["data"]["X"].clone()).unwrap();
            let y: Vec<f64> = serde_json::from_value(v["data"]["y"].clone()).unwrap();
            let s = &v["settings"];
            let (n, d) = (xs.len(), xs[0].len());
            let x = Mat::from_fn(n, d, |i, j| xs[i][j]);
            let beta = s["beta"].as_f64().unwrap();
            let w = Some(unit_weights(n));
            let loss: Arc<dyn Loss> = match s["loss"].as_str().unwrap() {
                "squared" => Arc::new(Squared::new(y, w).unwrap()),
                "logistic" => Arc::new(Logistic::new(y, w).unwrap()),
                "huber" => Arc::new(Huber::new(y, s["huber_delta"].as_f64().unwrap(), w).unwrap()),
                other => {
                    println!("{path}: {other} skipped");
                    continue;
                }
            };
            if !s["skip"].is_null() {
                continue;
            }
            let bias = match s["bias"].as_str() {
                None => Bias::None,
                Some("reg") => Bias::Penalised,
                _ => Bias::Free,
            };
            let loss: Arc<dyn Loss> = if s["out_bias"].as_bool().unwrap() {
                Arc::new(WithIntercept::new(loss).unwrap())
            } else {
                loss
            };
            let ones = if bias == Bias::None {
                x.clone()
            } else {
                Mat::from_fn(n, d + 1, |i, j| if j < d { x[(i, j)] } else { 1.0 })
            };
            let arr = Arrangement::all_cells(&ones, 100000).unwrap();
            println!("{} cells {} expected {}", path, arr.cells, v["expected"]["n_patterns_used"]);
            let f = Relu::new(Arc::new(x), loss, arr, bias).unwrap();
            let program = f.program(beta);
            println!(
                "  lambda_max {} expected {}",
                program.lambda_max(),
                v["expected"]["beta_max"]
            );
            for solver in [
                Box::new(ColumnGeneration { tolerance: 1e-9, ..Default::default() })
                    as Box<dyn Solver>,
                Box::new(InteriorPoint::default()),
            ] {
                let vb = std::env::var("V").is_ok();
                let sol = solver
                    .solve(&program, None, &mut move |p: &Progress| {
                        if vb {
                            println!("   {p:?}");
                        }
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                println!(
                    "  {} {:?} upper {:.12} lower {:.12} value {} its {} neurons {}",
                    solver.name(),
                    sol.status,
                    sol.upper,
                    sol.lower,
                    v["value"],
                    sol.iterations,
                    sol.z.columns.len()
                );
            }
        }
        return;
    }
    // csv data: path act lambda patterns loss
    let text = std::fs::read_to_string(&args[2]).unwrap();
    let rows: Vec<Vec<f64>> =
        text.lines().skip(1).map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    let (n, d) = (rows.len(), rows[0].len() - 1);
    let classify = args[6] != "squared";
    let x = Mat::from_fn(n, d, |i, j| rows[i][j]);
    let y: Vec<f64> = rows
        .iter()
        .map(|r| if classify { if r[d] > 0.5 { 1.0 } else { -1.0 } } else { r[d] })
        .collect();
    let data = Dataset::new(x, y, None).unwrap();
    let options = Options {
        activation: if args[3] == "relu" { Activation::Relu } else { Activation::Gated },
        loss: match &args[6][..] {
            "squared" | "lsc" => LossKind::Squared,
            "logistic" => LossKind::Logistic,
            _ => LossKind::SquaredHinge,
        },
        lambda: if args[4] == "cv" {
            Lambda::CrossValidated
        } else {
            Lambda::Fraction(args[4].parse().unwrap())
        },
        patterns: PatternChoice::Sampled(args[5].parse().unwrap()),
        ..Options::default()
    };
    let t = std::time::Instant::now();
    let verbose = args.len() > 7;
    struct O(std::time::Instant, bool);
    impl Observer for O {
        fn stage(&mut self, s: &str) {
            println!("[{:.2}] {s}", self.0.elapsed().as_secs_f64());
        }
        fn observe(&mut self, p: &Progress) -> ControlFlow<Status> {
            if self.1 {
                println!(
                    "[{:.2}] it {} upper {:.9} lower {:.9} active {}",
                    self.0.elapsed().as_secs_f64(),
                    p.iteration,
                    p.upper,
                    p.lower,
                    p.active
                );
            }
            ControlFlow::Continue(())
        }
    }
    let m = fit(&data, &options, &mut O(t, verbose)).unwrap();
    println!(
        "{:?} gap {:.2e} upper {:.10} lower {:.10} neurons {} λ {:.5} ({:.4}) its {} scope {} cv {:?} {:.2}s",
        m.status,
        m.certificate.relative_gap(),
        m.certificate.upper,
        m.certificate.lower,
        m.network.neurons(),
        m.lambda,
        m.lambda / m.lambda_max,
        m.iterations,
        m.certificate.scope,
        m.cross_validation,
        t.elapsed().as_secs_f64()
    );
}
