//! The choice among networks with the same outputs and cost, and bounds between the points of a
//! path. Objectives, outputs and losses are evaluated from their definitions; members of the set come
//! from a random walk along the null space of features that the tests compute themselves.

#[path = "common/problems.rs"]
mod problems;

use bidual::path::{bounds_at, lambda_grid, path};
use bidual::solver::silent;
use bidual::*;
use problems::{Random, Setup, loss_of};

/// The data of `seed`, validation data, and options of one of several kinds.
fn problem(seed: u64) -> (Dataset, Dataset, Options) {
    let mut r = Random::new(seed);
    let (n, d) = (8 + 4 * (seed as usize % 3), 1 + seed as usize % 4);
    let loss = match seed % 5 {
        3 => LossKind::Logistic,
        4 => LossKind::Huber(0.5),
        _ => LossKind::Squared,
    };
    let mut sample = |rows: usize| {
        let x = r.matrix(rows, d);
        // convex in one feature: kinks can be anywhere between two samples
        let value = |i: usize, e: f64| match d {
            1 => x[(i, 0)] * x[(i, 0)] - 0.7 + 0.02 * e,
            _ => x[(i, 0)].abs() - x[(i, 1)] + 0.3 * e,
        };
        let mut y: Vec<f64> = (0..rows).map(|i| value(i, r.normal())).collect();
        if loss.is_classification() {
            y.iter_mut().for_each(|v| *v = if *v > 0.0 { 1.0 } else { -1.0 });
            (y[0], y[1]) = (1.0, -1.0);
        }
        let weights =
            seed.is_multiple_of(3).then(|| (0..rows).map(|i| 1.0 + (i % 3) as f64).collect());
        Dataset::new(x, y, weights).expect("valid data")
    };
    let (data, validation) = (sample(n), sample(30));
    let (patterns, bias) = match (seed + seed / 4) % 4 {
        _ if d == 1 => (PatternChoice::Generated(Effort::Auto), Bias::Free),
        0 => (PatternChoice::Generated(Effort::Auto), Bias::Penalised),
        1 => (PatternChoice::All(100_000), Bias::None),
        2 => (PatternChoice::Sampled(80), Bias::Penalised),
        _ if seed.is_multiple_of(3) => (PatternChoice::Generated(Effort::Auto), Bias::Free),
        _ => (PatternChoice::Generated(Effort::Auto), Bias::None),
    };
    let lambda = Lambda::Fraction([0.02, 0.005, 0.1][(seed / 4) as usize % 3]);
    let output_bias = bias == Bias::Free || seed % 7 != 5;
    let options = Options { loss, lambda, patterns, bias, output_bias, ..Options::default() };
    (data, validation, options)
}

/// Σ ω ℓ(f, y), the weights divided by their sum.
fn loss_on(network: &Network, data: &Dataset, loss: LossKind) -> f64 {
    let (f, weights) = (network.predict(&data.x), data.normalised_weights());
    (0..f.len()).map(|i| weights[i] * loss_of(loss, f[i], data.y[i]).0).sum()
}

/// ‖w‖·|a| of each neuron on scaled features.
fn sizes_of(model: &Model, data: &Dataset, options: &Options) -> Vec<f64> {
    let setup = Setup::new(data, options, model.lambda);
    let neurons = setup.competitor(&model.network, &data.x).neurons;
    let size = |n: &problems::Neuron| {
        let b = if options.bias == Bias::Penalised { n.b } else { 0.0 };
        n.w.iter().fold(b.abs(), |t, w| t.hypot(*w)) * n.a.abs()
    };
    neurons.iter().map(size).collect()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |t, (a, b)| t.max((a - b).abs()))
}

/// Members of a set by a random walk from its first one: steps along the null space of the features
/// (with ones where the output bias is free) and of the sum, cut off where a size vanishes; none
/// where the rank is not clear: there members are a matter of tolerances.
fn members(
    all: &Alternatives,
    data: &Dataset,
    options: &Options,
    r: &mut Random,
) -> Option<Vec<Vec<f64>>> {
    let k = all.set().directions();
    let unit = all.network(&vec![1.0; k]);
    assert_eq!(unit.neurons(), k);
    let (n, d) = (data.samples(), data.features());
    let hidden = |i: usize, j: usize| {
        let t: f64 = (0..d).map(|l| unit.weights[(l, j)] * data.x[(i, l)]).sum();
        unit.outputs[j] * (t + unit.biases[j]).max(0.0)
    };
    // rows of samples (centred where constants are free), and one for the sum
    let mut rows = Mat::from_fn(n + 1, k, |i, j| if i < n { hidden(i, j) } else { 1.0 });
    if options.output_bias {
        for j in 0..k {
            let mean = (0..n).map(|i| rows[(i, j)]).sum::<f64>() / n as f64;
            (0..n).for_each(|i| rows[(i, j)] -= mean);
        }
    }
    let svd = rows.svd().expect("finite");
    let values = svd.S().column_vector();
    let rank = (0..k.min(n + 1)).filter(|&j| values[j] > 1e-10 * values[0]).count();
    if (0..k.min(n + 1)).any(|j| (1e-12..1e-6).contains(&(values[j] / values[0]))) {
        return None;
    }
    let null: Vec<usize> = (rank..k).collect();
    let mut c = all.set().sizes().to_vec();
    let mut found = vec![c.clone()];
    for _ in 0..60 {
        let mut step = vec![0.0; k];
        for &j in &null {
            let t = r.normal();
            (0..k).for_each(|i| step[i] += t * svd.V()[(i, j)]);
        }
        let end = |sign: f64| {
            let reach = |i: usize| match sign * step[i] < -1e-9 {
                true => -c[i] / (sign * step[i]),
                false => f64::INFINITY,
            };
            (0..k).map(reach).fold(f64::INFINITY, f64::min)
        };
        let (forward, backward) = (end(1.0), end(-1.0));
        if null.is_empty() || !forward.is_finite() || !backward.is_finite() {
            break;
        }
        let t = r.uniform(-1.0, 1.0);
        let t = if t > 0.0 { t * forward } else { t * backward };
        (0..k).for_each(|i| c[i] = (c[i] + t * step[i]).max(0.0));
        found.push(c.clone());
    }
    Some(found)
}

#[test]
fn chosen_networks_have_the_same_outputs_and_cost() {
    let (mut moved, mut narrower) = (0, 0);
    for seed in 0..40 {
        let (data, validation, base) = problem(seed);
        let narrow = fit(&data, &base, &mut silent()).expect("fits");
        assert_eq!(narrow.selection, None);
        let before = Setup::new(&data, &base, narrow.lambda);
        let objective = |m: &Model| before.competitor(&m.network, &data.x).objective(&before);
        let mut norms = vec![];
        for choose in [Choose::LeastWidth, Choose::LeastNorm, Choose::Validation] {
            let options = Options { choose, ..base.clone() };
            let model = fit_with_validation(&data, Some(&validation), &options, &mut silent())
                .expect("fits");
            let at = format!("seed {seed}, {}", choose.name());
            let how = model.selection.clone().expect("a choice says what it did");
            assert_eq!(how.kept, None, "{at}");
            let (old, new) = (objective(&narrow), objective(&model));
            assert!(new <= old * (1.0 + 1e-9), "{at}: objective {old:e} became {new:e}");
            assert!((model.certificate.upper - new).abs() <= 1e-10 * new, "{at}");
            assert!(model.certificate.relative_gap() <= model.options.tolerance, "{at}");
            let (f, g) = (narrow.predict(&data.x), model.predict(&data.x));
            assert!(largest_difference(&f, &g) <= 1e-7, "{at}: other outputs");
            let again = certify(&model, &data).expect("certifiable");
            assert!((again.upper - model.certificate.upper).abs() <= 1e-12 * new, "{at}");
            assert!(again.lower >= model.certificate.lower - 1e-9 * new, "{at}");
            moved += usize::from(model.network.outputs != narrow.network.outputs);
            norms.push(how.norms[1]);
            match choose {
                Choose::LeastWidth => {
                    assert!(model.network.neurons() <= narrow.network.neurons(), "{at}");
                    narrower += usize::from(model.network.neurons() < narrow.network.neurons());
                }
                Choose::Validation => {
                    let loss = how.validation.expect("losses");
                    let own = loss_on(&model.network, &validation, base.loss);
                    let default = loss_on(&narrow.network, &validation, base.loss);
                    assert!((own - loss.chosen).abs() <= 1e-9 * own, "{at}");
                    // neurons that are one in two parts differ from it by rounding
                    assert!(own <= default * (1.0 + 1e-8), "{at}: {own} above {default}");
                }
                _ => assert!(how.norms[1] <= how.norms[0], "{at}"),
            }
        }
        assert!(norms[1] <= norms[0].min(norms[2]) * (1.0 + 1e-8), "seed {seed}: {norms:?}");
    }
    assert!(moved >= 15 && narrower >= 1, "the test is empty: {moved} moved, {narrower} narrower");
}

#[test]
fn no_random_member_is_better() {
    let (mut wide, mut kept, mut vague) = (0, 0, 0);
    for seed in 0..40 {
        let (data, validation, options) = problem(seed);
        let model = fit(&data, &options, &mut silent()).expect("fits");
        let all = Alternatives::of(&model, &data).expect("comparable");
        let spread = all.spread().expect("small");
        let mut r = Random::new(seed + 500);
        let Some(members) = members(&all, &data, &options, &mut r) else {
            vague += 1;
            continue;
        };
        let total: f64 = all.set().sizes().iter().sum();
        let objective = |network: &Network| {
            let setup = Setup::new(&data, &options, model.lambda);
            setup.competitor(network, &data.x).objective(&setup)
        };
        let least_norm = all.set().least_norm().expect("solvable");
        let narrowest = all.least_width().expect("small");
        let norm = |c: &[f64]| c.iter().fold(0.0f64, |t, v| t.hypot(*v));
        let values: Vec<f64> = validation.y.clone();
        let loss = options.loss.build(&values, validation.normalised_weights()).expect("a loss");
        let unit = all.network(&vec![1.0; all.set().directions()]);
        let rows = validation.samples();
        let phi = Mat::from_fn(rows, unit.neurons(), |i, j| {
            let w = (0..data.features()).map(|l| unit.weights[(l, j)] * validation.x[(i, l)]);
            unit.outputs[j] * (w.sum::<f64>() + unit.biases[j]).max(0.0)
        });
        let z = Mat::from_fn(rows, all.set().free_parameters(), |_, _| 1.0);
        let own = all.network(all.set().sizes());
        let free = vec![own.output_bias; z.ncols()];
        let best = all.set().best_on(&phi, &z, &free, loss.as_ref()).expect("solvable");
        let least = loss_on(&all.network(&best.sizes), &validation, options.loss);
        let f = model.predict(&data.x);
        for c in &members {
            let network = all.network(c);
            let at = format!("seed {seed}");
            // directions are known to about 1e-9: keep what is a member to that accuracy
            let off = largest_difference(&f, &network.predict(&data.x));
            if off > 1e-9 || c.iter().sum::<f64>() > total * (1.0 + 1e-11) {
                continue;
            }
            kept += 1;
            let (old, new) = (objective(&model.network), objective(&network));
            assert!((new - old).abs() <= 1e-7 * old, "{at}: {old:e} became {new:e}");
            assert!(norm(&least_norm) <= norm(c) * (1.0 + 1e-5), "{at}: a smaller norm");
            let width = c.iter().filter(|v| **v > 1e-12 * total).count();
            assert!(!narrowest.minimal || narrowest.width <= width, "{at}: a narrower member");
            let loss = loss_on(&network, &validation, options.loss);
            assert!(least <= loss * (1.0 + 1e-5), "{at}: validation loss {least} above {loss}");
            for (j, range) in spread.ranges.iter().enumerate() {
                let Some(range) = range else { continue };
                let place = all.own()[j].expect("a neuron with a range");
                let twins = all.own().iter().filter(|o| **o == Some(place)).count();
                let slack = 1e-5 * total;
                let low = if twins > 1 { 0.0 } else { range.min };
                assert!(c[place] >= low - slack, "{at}: neuron {j} is smaller");
                assert!(c[place] <= range.max + slack, "{at}: neuron {j} is larger");
            }
        }
        for (range, c) in spread.ranges.iter().zip(sizes_of(&model, &data, &options)) {
            let Some(range) = range else { continue };
            assert!(range.min <= c * (1.0 + 1e-9) && c <= range.max * (1.0 + 1e-9), "seed {seed}");
        }
        for sizes in [&least_norm, &narrowest.sizes, &best.sizes] {
            for (j, range) in spread.ranges.iter().enumerate() {
                let Some(range) = range else { continue };
                let c = sizes[all.own()[j].expect("a neuron with a range")];
                let off = (range.min - c).max(c - range.max) / total;
                // where prices differ little, rounding of the sum lets sizes move further
                assert!(off <= 1e-4, "seed {seed}: neuron {j} is {off:e} outside its range");
            }
        }
        let apart = members.iter().map(|c| largest_difference(c, &members[0])).fold(0.0, f64::max);
        if spread.is_unique() {
            assert!(apart <= 1e-4 * total, "seed {seed}: another member at {apart:e}");
        }
        wide += usize::from(apart > 1e-3 * total);
    }
    assert!(wide >= 2 && kept >= 300, "the test is empty: {wide}, {kept}");
    assert!(vague <= 10, "{vague} dictionaries of no clear rank");
}

#[test]
fn bounds_between_points_contain_the_fit() {
    for seed in 0..24 {
        let (data, _, mut options) = problem(seed);
        if seed % 6 == 5 {
            options.activation = Activation::Gated;
            options.patterns = PatternChoice::Sampled(30);
        }
        let grid = |top: f64| lambda_grid(top, 6, 0.01);
        let points = path(&data, None, &options, grid, &mut silent()).expect("a path");
        let top = points[0].model.lambda_max;
        for share in [1.7, 0.8, 0.33, 0.09, 0.021, 0.006] {
            let lambda = share * top;
            let (lower, upper) = bounds_at(&points, lambda);
            let at = Options { lambda: Lambda::Absolute(lambda), ..options.clone() };
            let model = fit(&data, &at, &mut silent()).expect("fits");
            let certificate = model.certificate;
            assert!(lower <= certificate.upper, "seed {seed}, {share}: {lower:e} {certificate:?}");
            assert!(upper >= certificate.lower, "seed {seed}, {share}: {upper:e} {certificate:?}");
            assert!(lower <= upper);
            if (0.01..1.0).contains(&share) {
                assert!((upper - lower) <= 0.3 * upper, "seed {seed}, {share}: {lower} {upper}");
            }
        }
        for point in &points {
            let (lower, upper) = bounds_at(&points, point.model.lambda);
            assert!(lower >= point.certificate().lower);
            assert!(upper <= point.certificate().upper * (1.0 + 1e-12));
        }
    }
}

#[test]
fn what_does_not_apply_is_refused() {
    let (data, validation, options) = problem(0);
    let says = |options: &Options, validation: Option<&Dataset>, text: &str| {
        let error = fit_with_validation(&data, validation, options, &mut silent())
            .expect_err("refused")
            .to_string();
        assert!(error.contains(text), "{error}");
    };
    let choose = |choose| Options { choose, ..options.clone() };
    says(&choose(Choose::Validation), None, "needs validation data");
    let gated = Options {
        activation: Activation::Gated,
        patterns: PatternChoice::Sampled(10),
        ..choose(Choose::LeastNorm)
    };
    says(&gated, None, "is for ReLU networks");
    let other = Dataset::new(Mat::from_fn(4, 5, |i, j| (i + j) as f64), vec![1.0; 4], None)
        .expect("valid data");
    says(&choose(Choose::Validation), Some(&other), "have 5 features");
    let logistic = Options { loss: LossKind::Logistic, ..choose(Choose::Validation) };
    says(&logistic, Some(&validation), "label");
    let model = Model {
        options: Options {
            activation: Activation::Gated,
            patterns: PatternChoice::Sampled(10),
            ..options.clone()
        },
        ..fit(&data, &options, &mut silent()).expect("fits")
    };
    assert!(Alternatives::of(&model, &data).is_err());
}
