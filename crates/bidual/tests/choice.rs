use bidual::optimal_set::*;
use bidual::solver::silent;
use bidual::*;

#[path = "common/problems.rs"]
#[allow(dead_code)]
mod problems;
use problems::Random;

#[test]
fn explore() {
    for seed in 0..24u64 {
        let mut r = Random::new(seed);
        let (n, d) = (8 + 4 * (seed as usize % 4), 2 + seed as usize % 3);
        let x = r.matrix(n, d);
        let y: Vec<f64> = (0..n).map(|i| x[(i, 0)].abs() - x[(i, 1)] + 0.3 * r.normal()).collect();
        let v = Dataset::new(r.matrix(30, d), r.normals(30), None).unwrap();
        let data = Dataset::new(x, y, None).unwrap();
        for (patterns, bias) in [
            (PatternChoice::Generated(Effort::Auto), Bias::Penalised),
            (PatternChoice::All(100000), Bias::None),
            (PatternChoice::Sampled(80), Bias::Penalised),
            (PatternChoice::Generated(Effort::Auto), Bias::None),
        ] {
            let base = Options {
                lambda: Lambda::Fraction([0.02, 0.005, 0.1][seed as usize % 3]),
                patterns: patterns.clone(),
                bias,
                ..Options::default()
            };
            let t = std::time::Instant::now();
            let narrow = fit(&data, &base, &mut silent()).unwrap();
            let t0 = t.elapsed().as_secs_f64();
            let mut line = format!(
                "seed {seed} n {n} d {d} {} {bias:?} fit {t0:.2}s gap {:.1e} m {}:",
                match patterns {
                    PatternChoice::Generated(_) => "gen",
                    PatternChoice::All(_) => "all",
                    _ => "sam",
                },
                narrow.certificate.relative_gap(),
                narrow.network.neurons()
            );
            for choose in [Choose::LeastWidth, Choose::LeastNorm, Choose::Validation] {
                let t = std::time::Instant::now();
                let m = fit_with_validation(
                    &data,
                    Some(&v),
                    &Options { choose, ..base.clone() },
                    &mut silent(),
                )
                .unwrap();
                let s = m.selection.unwrap();
                let rel =
                    (m.certificate.upper - narrow.certificate.upper) / narrow.certificate.upper;
                let (f, g) = (m.network.predict(&data.x), narrow.network.predict(&data.x));
                let diff = f.iter().zip(&g).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                if choose == Choose::LeastWidth {
                    line += &format!(" dirs {} own {} free {} |", s.directions, s.own, s.freedom);
                }
                line += &format!(
                    " {} m {} rel {rel:.1e} diff {diff:.1e} t {:.2} {:?} {:?} norms {:.3} {:.3} {:?}|",
                    choose.name(),
                    m.network.neurons(),
                    t.elapsed().as_secs_f64() - t0,
                    s.minimal,
                    s.validation.map(|v| (v.narrow, v.chosen, v.gap)),
                    s.norms[0],
                    s.norms[1],
                    s.kept
                );
            }
            println!("{line}");
        }
    }
}
