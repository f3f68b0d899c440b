//! Ranges and choices within the optimal set.

use bidual::arrangement::Arrangement;
use bidual::loss::{Logistic, Loss, Squared};
use bidual::optimal_set::*;
use bidual::stationarity::*;
use bidual::{Bias, Mat, Network};

use crate::golden::*;
use crate::instances::*;

/// Every vertex of {c ≥ 0 : Φc + Zc₀ = f}: all supports by least squares.
fn vertices(phi: &Mat, z: &Mat, f: &[f64]) -> Vec<Vec<f64>> {
    let k = phi.ncols();
    (0..1usize << k)
        .filter_map(|set| {
            let support: Vec<usize> = (0..k).filter(|j| set >> j & 1 == 1).collect();
            let part = Mat::from_fn(phi.nrows(), support.len(), |i, j| phi[(i, support[j])]);
            let independent = conditioning_of(&part, z) > 1e-7;
            let (c, rest) = fit_sizes(&part, z, f).expect("well formed");
            (independent && rest < 1e-10 * norm(f)).then(|| {
                let mut all = vec![0.0; k];
                support.iter().zip(c).for_each(|(&j, c)| all[j] = c);
                all
            })
        })
        .collect()
}

fn conditioning_of(phi: &Mat, z: &Mat) -> f64 {
    if phi.ncols() + z.ncols() > phi.nrows() {
        0.0
    } else {
        conditioning(phi, z, &vec![1.0; phi.ncols()])
    }
}

#[test]
fn ranges_width_and_norm_against_all_vertices() {
    let (mut largest_gap, mut cases) = (0.0f64, 0);
    for seed in 1000..1040 {
        let (phi, z, mut c) = instance(seed, 8, true);
        c.iter_mut().filter(|v| **v < 1e-8).for_each(|v| *v = 0.0);
        let set = OptimalSet::new(&phi, &z, &c, SetOptions::default()).expect("well formed");
        let f = times(&phi, &c);
        // prices of very different columns: the enumeration itself must be trustworthy
        let sizes: Vec<f64> = (0..8).map(|j| norm(column(&phi, j))).collect();
        let spread = sizes.iter().fold(0.0f64, |a, b| a.max(*b))
            / sizes.iter().fold(f64::INFINITY, |a, b| a.min(*b));
        if spread > 300.0 {
            continue;
        }
        let corners = vertices(&phi, &z, &f);
        assert!(!corners.is_empty(), "seed {seed}");
        cases += 1;
        let total: f64 = c.iter().sum();
        for (j, range) in set.ranges().expect("solved").iter().enumerate() {
            let low = corners.iter().map(|c| c[j]).fold(f64::INFINITY, f64::min);
            let high = corners.iter().map(|c| c[j]).fold(0.0, f64::max);
            assert!(
                range.min <= low + 1e-8 * total && low - range.min < 1e-6 * total,
                "seed {seed} {j}: {range:?} [{low}, {high}]"
            );
            assert!(
                range.max >= high - 1e-8 * total && range.max - high < 1e-6 * total,
                "seed {seed} {j}: {range:?} [{low}, {high}]"
            );
            assert!(range.min <= c[j] && c[j] <= range.max);
            largest_gap = largest_gap.max(range.gap / total);
        }
        let least = corners.iter().map(|c| c.iter().filter(|v| **v > 1e-9 * total).count()).min();
        let narrow = set.least_width().expect("solved");
        assert_eq!(Some(narrow.width), least, "seed {seed}");
        assert!(narrow.minimal);
        let small = set.least_norm().expect("solved");
        let (n, k) = (phi.nrows(), phi.ncols());
        let ones = vec![1.0; k];
        let identity = Squared::new(vec![0.0; k], Some(ones)).expect("loss");
        let again = set
            .best_on(
                &Mat::identity(k, k),
                &Mat::zeros(k, z.ncols()),
                &vec![0.0; z.ncols()],
                &identity,
            )
            .expect("solved");
        assert!((norm(&small) - norm(&again.sizes)).abs() < 1e-8 * total, "seed {seed}");
        for member in [&narrow.sizes, &small, &again.sizes] {
            let moved: Vec<f64> = times(&phi, member).iter().zip(&f).map(|(a, b)| a - b).collect();
            assert!(off_span(&z, &moved) < 1e-10 * norm(&f), "seed {seed}");
            assert!(member.iter().sum::<f64>() <= total * (1.0 + 2e-9), "seed {seed}");
            assert!(
                corners.iter().all(|c| norm(c) >= norm(&small) - 1e-9 * total)
                    && member.len() == k
                    && n > 0
            );
        }
    }
    println!("{cases} cases, largest gap {largest_gap:e}");
    assert!(cases > 10);
}

#[test]
fn validation_choice_is_optimal() {
    for seed in 2000..2030u64 {
        let (phi, z, c) = instance(seed, 14, true);
        let set = OptimalSet::new(&phi, &z, &c, SetOptions::default()).expect("well formed");
        let mut r = Random(seed ^ 99);
        let rows = 12;
        let (phi_v, z_v) = (r.matrix(rows, 14), r.matrix(rows, z.ncols()));
        let free: Vec<f64> = (0..z.ncols()).map(|_| r.normal()).collect();
        let y: Vec<f64> = (0..rows).map(|_| if r.uniform() < 0.5 { -1.0 } else { 1.0 }).collect();
        let losses: [Box<dyn Loss>; 2] = [
            Box::new(Squared::new(y.clone(), None).expect("loss")),
            Box::new(Logistic::new(y.clone(), None).expect("loss")),
        ];
        for loss in &losses {
            let best = set.best_on(&phi_v, &z_v, &free, loss.as_ref()).expect("solved");
            assert!(
                best.gap <= 1e-6 * (1.0 + best.loss),
                "seed {seed}: {} {}",
                best.loss,
                best.gap
            );
            // the training outputs stay, free parameters included
            let outputs = |c: &[f64], free: &[f64]| -> Vec<f64> {
                times(&phi, c).iter().zip(times(&z, free)).map(|(a, b)| a + b).collect()
            };
            let (before, after) = (outputs(&c, &free), outputs(&best.sizes, &best.free));
            let off = before.iter().zip(&after).fold(0.0f64, |t, (a, b)| t.max((a - b).abs()));
            assert!(off < 1e-9 * (1.0 + norm(&before)), "seed {seed}: {off:e}");
            let here = times(&phi_v, &best.sizes);
            let f: Vec<f64> =
                here.iter().zip(times(&z_v, &best.free)).map(|(a, b)| a + b).collect();
            assert!((loss.value(&f) - best.loss).abs() < 1e-12 * (1.0 + best.loss));
        }
    }
}

#[test]
fn golden_optimal_set() {
    let case = golden("two_layer/optset01");
    let (x, y) = (matrix(&case["data"]["X"]), vector(&case["data"]["y"]));
    let (beta, expected) = (case["settings"]["beta"].as_f64().expect("β"), &case["expected"]);
    let (nu, f) = (vector(&expected["dual_nu"]), vector(&expected["outputs_z"]));
    let cells = Arrangement::all_cells(&x, 1000).expect("few cells");
    let found = cell_directions(&x, &cells.patterns, &nu, beta).expect("well formed");
    assert_eq!(found.signs.len() as u64, expected["n_optimal_directions"].as_u64().expect("count"));
    let (stored, signs) = (matrix(&expected["directions"]), vector(&expected["direction_signs"]));
    for k in 0..signs.len() {
        let close = (0..found.signs.len()).any(|j| {
            let off =
                (0..3).fold(0.0f64, |t, i| t.hypot(found.directions[(i, j)] - stored[(k, i)]));
            off < 1e-6 && found.signs[j] == signs[k]
        });
        assert!(close, "direction {k}");
    }
    let phi = found.features(&x);
    let none = Mat::zeros(x.nrows(), 0);
    let rank = feature_rank(&phi, &none, 1e-9).expect("finite");
    assert_eq!(rank as u64, expected["feature_rank"].as_u64().expect("rank"));
    let (c, rest) = fit_sizes(&phi, &none, &f).expect("well formed");
    assert!(rest < 1e-7, "{rest:e}");
    let objective = |c: &[f64]| {
        let r = residual_squared(&y, &times(&phi, c));
        0.5 * dot(&r, &r) + beta * c.iter().sum::<f64>()
    };
    let value = case["value"].as_f64().expect("value");
    assert!((objective(&c) - value).abs() < 1e-8, "{} {value}", objective(&c));

    let set = OptimalSet::new(&phi, &none, &c, SetOptions::default()).expect("well formed");
    assert_eq!(
        set.has_independent_features(),
        expected["solution_unique_in_directions"].as_bool().expect("flag")
    );
    assert_eq!((set.rank(), set.freedom()), (8, 2));
    let narrow = set.least_width().expect("solved");
    assert!(narrow.minimal);
    assert_eq!(narrow.width as u64, expected["minimal_width"].as_u64().expect("width"));
    let ranges = set.ranges().expect("solved");
    println!("{ranges:#?}");
    // five of ten can vanish, and one size moves over [.63, .93]
    assert_eq!(ranges.iter().filter(|r| r.min < 1e-7).count(), 5);
    assert!(ranges.iter().any(|r| (r.min - 0.63).abs() < 5e-3 && (r.max - 0.93).abs() < 5e-3));
    assert!(ranges.iter().all(|r| r.gap < 1e-7));
    for c in [
        narrow.sizes,
        set.least_norm().expect("solved"),
        prune(&phi, &none, &c, DEPENDENT).expect("ok"),
    ] {
        assert!((objective(&c) - objective(set.sizes())).abs() < 1e-9);
        assert!(width(&c) >= 8);
    }
    let all: Vec<f64> = set.least_norm().expect("solved");
    println!("least norm {} of {} neurons", norm(&all), width(&all));
}

/// Trains on all cells, then prunes and chooses: the objective of the trained network stays.
#[test]
fn trained_networks() {
    use bidual::{Dataset, Lambda, Options, PatternChoice, fit, solver::silent};
    let case = golden("two_layer/optset01");
    let (x, y) = (matrix(&case["data"]["X"]), vector(&case["data"]["y"]));
    let n = y.len() as f64;
    for (bias, output_bias) in
        [(Bias::None, false), (Bias::Penalised, true), (Bias::None, true), (Bias::Free, true)]
    {
        let options = Options {
            lambda: Lambda::Absolute(0.1 / n),
            patterns: PatternChoice::All(100_000),
            bias,
            output_bias,
            standardize: false,
            tolerance: 1e-9,
            ..Options::default()
        };
        let data = Dataset::new(x.clone(), y.clone(), None).expect("data");
        let model = fit(&data, &options, &mut silent()).expect("fit");
        let network = &model.network;
        let objective = |network: &Network| {
            let r = residual_squared(&y, &network.predict(&x));
            0.5 * dot(&r, &r) + 0.1 * network.weight_decay(bias)
        };
        let narrow = prune_network(network, &x, bias, output_bias, DEPENDENT).expect("pruned");
        assert!(objective(&narrow) <= objective(network) * (1.0 + 1e-12));
        assert!(narrow.neurons() <= network.neurons().min(10 - usize::from(output_bias)));
        let (phi, sizes) = unit_features(network, &x, bias);
        let z = Mat::from_fn(10, usize::from(output_bias), |_, _| 1.0);
        let set = OptimalSet::new(&phi, &z, &sizes, SetOptions::default()).expect("set");
        let least = set.least_norm().expect("solved");
        let mut chosen = with_sizes(network, &least, bias);
        let shift: f64 =
            network.predict(&x).iter().zip(chosen.predict(&x)).map(|(a, b)| a - b).sum();
        chosen.output_bias += shift / n * f64::from(u8::from(output_bias));
        assert!(objective(&chosen) <= objective(network) * (1.0 + 1e-9), "{bias:?}");
        // stationary as far as the fit is optimal
        let nu = residual_squared(&y, &narrow.predict(&x));
        let loose = StationarityOptions { residual: 2e-2, tie: 1e-4, ..Default::default() };
        let report = network_stationarity(&narrow, &x, &nu, 0.1, bias, loose).expect("report");
        println!(
            "{bias:?} {output_bias}: {} → {} neurons, verdict {:?}, residual {:e}",
            network.neurons(),
            narrow.neurons(),
            report.verdict,
            report.residual
        );
    }
}

/// Timing of large cases, by hand: cargo test --release -- --ignored --nocapture large
#[test]
#[ignore = "a measurement"]
fn large() {
    for (n, k) in [(200, 1000), (1000, 2000)] {
        let mut r = Random(3);
        let phi = Mat::from_fn(n, k, |_, _| r.normal().max(0.0));
        let c: Vec<f64> = (0..k).map(|_| r.uniform()).collect();
        let start = std::time::Instant::now();
        let pruned = prune(&phi, &Mat::zeros(n, 0), &c, DEPENDENT).expect("pruned");
        println!("prune {n}×{k} → {}: {:?}", width(&pruned), start.elapsed());
    }
    for (n, k) in [(40, 60)] {
        let mut r = Random(3);
        let mut phi = Mat::from_fn(n, k, |_, _| r.normal().max(0.0));
        for j in 0..k {
            let sum: f64 = (0..n).map(|i| phi[(i, j)]).sum();
            (0..n).for_each(|i| phi[(i, j)] *= 10.0 / sum);
        }
        let c: Vec<f64> = (0..k).map(|_| r.uniform()).collect();
        let start = std::time::Instant::now();
        let set = OptimalSet::new(&phi, &Mat::zeros(n, 0), &c, SetOptions::default()).expect("set");
        println!("set {n}×{k}: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        let ranges = set.ranges().expect("ranges");
        let gap = ranges.iter().fold(0.0f64, |t, r| t.max(r.gap));
        println!("ranges: {:?}, gap {gap:e}", start.elapsed());
        let start = std::time::Instant::now();
        let small = set.least_norm().expect("norm");
        println!("least norm: {:?} {} of {}", start.elapsed(), norm(&small), norm(&c));
    }
}
