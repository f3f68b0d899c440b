//! Counting, visiting and closing arrangements against the list, golden cases and
//! known counts.

mod common;
#[path = "common/golden.rs"]
mod golden;

use std::collections::HashSet;
use std::ops::ControlFlow;

use bidual::arrangement::{
    ArrangementFacts, Count, EnumerateError, Patterns, closed_patterns, count_cells,
    enumerate_cells, for_each_cell, generic_bound,
};
use common::{checked, counts, gaussian, strings};
use golden::golden;
use serde_json::Value;

/// Everything that is visited, with each witness checked on the data.
fn visited(x: &[f64], n: usize, d: usize) -> (Count, Patterns, Vec<f64>) {
    let (mut patterns, mut witnesses) = (Patterns::new(n), Vec::new());
    let count = for_each_cell(x, n, d, usize::MAX, &mut |bits, u| {
        patterns.push(bits);
        assert_eq!(patterns.bits(patterns.len() - 1), bits, "padding");
        witnesses.extend_from_slice(u);
        ControlFlow::Continue(())
    })
    .expect("visited");
    assert_eq!(count_cells(x, n, d, usize::MAX), Ok(count));
    assert_eq!(count.open, patterns.len() as u64);
    for (cell, u) in witnesses.chunks(d.max(1)).enumerate() {
        assert!((u.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-12);
        for (i, row) in x.chunks(d.max(1)).enumerate() {
            let value: f64 = row.iter().zip(u).map(|(a, b)| a * b).sum();
            let zero = row.iter().all(|&v| v == 0.0);
            assert_eq!(patterns.get(cell, i), zero || value > 0.0);
            assert!(zero || value != 0.0);
        }
    }
    (count, patterns, witnesses)
}

fn sorted(patterns: &Patterns) -> Vec<String> {
    let mut all: Vec<String> = (0..patterns.len()).map(|k| patterns.bit_string(k)).collect();
    all.sort();
    all
}

/// The visited cells are the listed ones.
fn agrees(x: &[f64], n: usize, d: usize) -> Count {
    let cells = checked(x, n, d);
    let (count, patterns, _) = visited(x, n, d);
    assert_eq!(sorted(&patterns), strings(&cells), "{n}x{d}");
    let facts = (cells.rank, cells.hyperplanes, cells.generic_bound);
    assert_eq!((count.rank, count.hyperplanes, count.bound), facts);
    assert!(u128::from(count.open) <= count.bound);
    count
}

fn matrix(value: &Value) -> (Vec<f64>, usize, usize) {
    let rows: Vec<Vec<f64>> = serde_json::from_value(value.clone()).expect("matrix");
    (rows.concat(), rows.len(), rows[0].len())
}

fn list(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("strings")
}

#[test]
fn golden_facts() {
    for name in [
        "arr01_gauss_8x3",
        "arr02_gauss_7x4",
        "arr03_dup_anti_zero_8x3",
        "arr04_grid_bias_9x3",
        "arr08_wide_4x6",
    ] {
        let case = golden(&format!("two_layer/{name}"));
        let (x, n, d) = matrix(&case["data"]["X"]);
        agrees(&x, n, d);
        let facts = ArrangementFacts::new(&x, n, d, 1000).expect("facts");
        let expected = &case["expected"];
        assert_eq!(facts.n_open_cells, expected["n_open_cells"], "{name}");
        assert_eq!(facts.rank as u64, expected["rank"], "{name}");
        assert_eq!(facts.n_distinct_hyperplanes as u64, expected["n_distinct_hyperplanes"]);
        assert_eq!(facts.generic_bound as u64, expected["generic_bound"], "{name}");
        assert_eq!(facts.open_patterns, list(&expected["open_patterns"]), "{name}");
        assert_eq!(facts.n_closed_patterns as u64, expected["n_closed_patterns"], "{name}");
        assert_eq!(facts.closed_patterns, list(&expected["closed_patterns"]), "{name}");
    }
}

#[test]
fn golden_threshold_cases() {
    for (name, open) in [
        ("two_layer/thr01_generic_bias", "n_open_cells"),
        ("sdp_and_robust/threshold_bias", "n_generic_patterns"),
        ("sdp_and_robust/threshold_nobias_allones", "n_generic_patterns"),
    ] {
        let case = golden(name);
        let (x, n, d) = matrix(&case["data"]["X"]);
        let closed = closed_patterns(&x, n, d, 1000).expect("closed");
        assert_eq!(closed.open.open, case["expected"][open], "{name}");
        assert_eq!(closed.patterns.len() as u64, case["expected"]["n_closed_patterns"], "{name}");
    }
}

/// Patches of one sample: windows of all channels, zero outside unless circular.
fn patches(sample: &Value, settings: &Value) -> Vec<Vec<f64>> {
    let get = |key: &str, default: u64| settings[key].as_u64().unwrap_or(default) as usize;
    let (stride, pad) = (get("stride", 1) as i64, get("pad", 0) as i64);
    if settings["kh"].is_u64() {
        let images: Vec<Vec<Vec<f64>>> = serde_json::from_value(sample.clone()).expect("image");
        let (kh, kw) = (get("kh", 1) as i64, get("kw", 1) as i64);
        let (height, width) = (images[0].len() as i64, images[0][0].len() as i64);
        let inside = |r: i64, c: i64| (0..height).contains(&r) && (0..width).contains(&c);
        let mut found = Vec::new();
        for top in (-pad..=height + pad - kh).step_by(stride as usize) {
            for left in (-pad..=width + pad - kw).step_by(stride as usize) {
                let window = |image: &Vec<Vec<f64>>| -> Vec<f64> {
                    (0..kh * kw)
                        .map(|k| (top + k / kw, left + k % kw))
                        .map(
                            |(r, c)| if inside(r, c) { image[r as usize][c as usize] } else { 0.0 },
                        )
                        .collect()
                };
                found.push(images.iter().flat_map(window).collect());
            }
        }
        return found;
    }
    let channels = get("channels", 1);
    let signal: Vec<f64> = if channels > 1 {
        serde_json::from_value::<Vec<Vec<f64>>>(sample.clone()).expect("channels").concat()
    } else {
        serde_json::from_value(sample.clone()).expect("signal")
    };
    let (length, h) = ((signal.len() / channels) as i64, get("h", 1) as i64);
    let circular = settings["circular"] == true;
    let last = if circular { length - 1 } else { length + pad - h };
    let value = |at: i64, c: usize| {
        let at = if circular { at.rem_euclid(length) } else { at };
        if (0..length).contains(&at) { signal[at as usize * channels + c] } else { 0.0 }
    };
    (-pad..=last)
        .step_by(stride as usize)
        .map(|from| (0..h).flat_map(|k| (0..channels).map(move |c| (from + k, c))).collect())
        .map(|at: Vec<(i64, usize)>| at.into_iter().map(|(k, c)| value(k, c)).collect())
        .collect()
}

/// Full-dimensional sets of filters with the same largest patch, or none
/// positive, in every sample: unions of cells of the patches and their
/// differences.
fn max_pool_selections(samples: &[Vec<Vec<f64>>]) -> usize {
    let d = samples[0][0].len();
    let mut rows: Vec<Vec<f64>> = samples.concat();
    for sample in samples {
        for (k, a) in sample.iter().enumerate() {
            rows.extend(
                sample[..k].iter().map(|b| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()),
            );
        }
    }
    let mut selections = HashSet::new();
    for_each_cell(&rows.concat(), rows.len(), d, 1 << 20, &mut |_, u| {
        let values = |patch: &Vec<f64>| patch.iter().zip(u).map(|(a, b)| a * b).sum::<f64>();
        let pick = |sample: &Vec<Vec<f64>>| {
            let all: Vec<f64> = sample.iter().map(values).collect();
            let best = (0..all.len()).max_by(|&a, &b| all[a].total_cmp(&all[b])).expect("patches");
            (all[best] > 0.0).then_some(best)
        };
        selections.insert(samples.iter().map(pick).collect::<Vec<_>>());
        ControlFlow::Continue(())
    })
    .expect("cells");
    selections.len()
}

#[test]
fn golden_patch_counts() {
    let case = golden("convolutional_and_deep/pattern_counts");
    let items = case["data"]["items"].as_array().expect("items");
    let expected = case["expected"]["items"].as_array().expect("items");
    for (item, expected) in items.iter().zip(expected) {
        let name = item["name"].as_str().expect("name");
        let samples: Vec<Vec<Vec<f64>>> = (item["X"].as_array().expect("samples").iter())
            .map(|s| patches(s, &item["settings"]))
            .collect();
        let rows = samples.concat();
        assert_eq!(rows.len() as u64, expected["n_rows"], "{name}");
        let count = agrees(&rows.concat(), rows.len(), rows[0].len());
        assert_eq!(count.hyperplanes as u64, expected["n_distinct_hyperplanes"], "{name}");
        assert_eq!(count.rank as u64, expected["rank"], "{name}");
        assert_eq!(count.open, expected["sum_pool_patterns"], "{name}");
        assert_eq!(count.bound as u64, expected["bound"], "{name}");
        if let Some(selections) = expected["max_pool_patterns"].as_u64() {
            assert_eq!(max_pool_selections(&samples) as u64, selections, "{name}");
        }
    }
}

#[test]
fn three_antipodal_pairs() {
    let pairs = [2.0, 1.0, -2.0, -1.0, 1.0, -3.0, -1.0, 3.0, -1.0, 2.0, 1.0, -2.0];
    assert_eq!(agrees(&pairs, 6, 2).open, 6);
    let closed = closed_patterns(&pairs, 6, 2, 13).expect("closed");
    assert_eq!((closed.patterns.len(), closed.open.open), (13, 6));
    let mut ties = closed.ties.clone();
    ties.sort_unstable();
    assert_eq!(ties, [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 6]);
    for (k, u) in closed.witnesses.chunks(2).enumerate() {
        for (i, row) in pairs.chunks(2).enumerate() {
            let value = row[0] * u[0] + row[1] * u[1];
            assert!(value.abs() < 1e-14 || closed.patterns.get(k, i) == (value > 0.0));
        }
    }
    let error = closed_patterns(&pairs, 6, 2, 12).expect_err("limit");
    assert!(matches!(error, EnumerateError::Limit { limit: 12, found: 13, bound: 27 }));
}

fn with_ones(points: &[f64], d: usize) -> Vec<f64> {
    points.chunks(d).flat_map(|p| p.iter().copied().chain([1.0])).collect()
}

#[test]
fn geometries() {
    // Rank-2 data in five dimensions: u = 0 adds the pattern of all samples.
    let (left, right) = (gaussian(18, 1), gaussian(10, 2));
    let flat: Vec<f64> =
        (0..45).map(|k| (0..2).map(|m| left[k / 5 * 2 + m] * right[m * 5 + k % 5]).sum()).collect();
    assert_eq!(agrees(&flat, 9, 5).open, 18);
    assert_eq!(closed_patterns(&flat, 9, 5, 100).expect("closed").patterns.len(), 19);
    // With a bias column closed and open patterns are the same.
    let line = [0.3, -1.0, 0.3, 2.0, 0.7, -1.0, 5.5, 1.1];
    let grid: Vec<f64> =
        (0..25).flat_map(|k| [f64::from(k / 5) - 2.0, f64::from(k % 5) * 0.1]).collect();
    let cube: Vec<f64> =
        (0..27).flat_map(|k| [k / 9, k / 3 % 3, k % 3].map(|v| f64::from(v) * 0.3)).collect();
    for (points, d) in [(&line[..], 1), (&gaussian(16, 3), 2), (&grid, 2), (&cube, 3)] {
        let x = with_ones(points, d);
        let n = points.len() / d;
        let open = agrees(&x, n, d + 1).open;
        let closed = closed_patterns(&x, n, d + 1, 100_000).expect("closed");
        assert_eq!(closed.patterns.len() as u64, open);
    }
    // General position: only u = 0 can add a pattern.
    for (n, d) in [(12, 3), (10, 4), (9, 5), (4, 6), (40, 2)] {
        let x = gaussian(n * d, (7 * n + d) as u64);
        let facts = ArrangementFacts::new(&x, n, d, 100_000).expect("facts");
        assert_eq!(u128::from(facts.n_open_cells), facts.generic_bound);
        let ones = "1".repeat(n);
        let extra = usize::from(!facts.open_patterns.contains(&ones));
        assert_eq!(facts.n_closed_patterns, facts.open_patterns.len() + extra, "{n}x{d}");
    }
    // Rank one: open half-lines, and the origin if there are both signs.
    let half = [1.0, 2.0, 3.0, 6.0];
    assert_eq!(closed_patterns(&half, 2, 2, 9).expect("closed").patterns.len(), 2);
    let both = [1.0, 2.0, -3.0, -6.0, 0.0, 0.0];
    assert_eq!(agrees(&both, 3, 2).open, 2);
    assert_eq!(closed_patterns(&both, 3, 2, 9).expect("closed").patterns.len(), 3);
}

/// Faces of the arrangement of x_i = 0 with every row on both sides: 3^d closed
/// patterns; and the braid arrangement, whose faces are the ordered partitions.
#[test]
fn all_faces_of_symmetric_data() {
    for d in 1..=6 {
        let mut x = vec![0.0; 2 * d * d];
        for k in 0..d {
            (x[2 * k * d + k], x[(2 * k + 1) * d + k]) = (0.7, -1.3);
        }
        let closed = closed_patterns(&x, 2 * d, d, 1000).expect("closed");
        assert_eq!(closed.patterns.len(), 3_usize.pow(d as u32));
        assert_eq!(closed.open.open, 1 << d);
    }
    let fubini = [1, 3, 13, 75, 541, 4683];
    for points in 2..=6 {
        let mut x = Vec::new();
        for i in 0..points {
            for j in (0..points).filter(|&j| j != i) {
                let mut row = vec![0.0; points];
                (row[i], row[j]) = (0.7, -0.7);
                x.extend(row);
            }
        }
        let n = points * (points - 1);
        let closed = closed_patterns(&x, n, points, 5000).expect("closed");
        assert_eq!(closed.patterns.len(), fubini[points - 1]);
        assert_eq!(closed.open.open, (1..=points as u64).product::<u64>());
    }
}

#[test]
fn visits_equal_the_list() {
    for (n, d) in [
        (1, 1),
        (5, 1),
        (3, 2),
        (70, 2),
        (20, 3),
        (65, 3),
        (40, 3),
        (12, 4),
        (25, 4),
        (10, 5),
        (15, 5),
        (12, 6),
        (11, 10),
        (10, 10),
        (3, 8),
    ] {
        let x = gaussian(n * d, (n * 100 + d) as u64);
        let count = agrees(&x, n, d);
        assert_eq!(u128::from(count.open), count.bound, "{n}x{d}");
        assert_eq!(count.bound, generic_bound(n.min(count.hyperplanes), d.min(n)));
    }
    for (n, d) in [(300, 3), (50, 4), (30, 5), (22, 7)] {
        let x = gaussian(n * d, (n * 100 + d) as u64);
        let count = count_cells(&x, n, d, usize::MAX).expect("count");
        assert_eq!(u128::from(count.open), generic_bound(n, d), "{n}x{d}");
    }
    // Small integers, with dependences of all kinds.
    for seed in 0..60 {
        let d = 2 + seed as usize % 4;
        let n = 6 + seed as usize % 9;
        let largest = [1.5, 1.0, 3.0, 0.6][seed as usize % 4];
        let x: Vec<f64> =
            gaussian(n * d, 900 + seed).iter().map(|v| (v * largest).round() * 0.1).collect();
        if x.iter().any(|&v| v != 0.0) {
            agrees(&x, n, d);
        }
    }
}

#[test]
fn reflection_arrangements() {
    let signed = |d: usize, keep: &dyn Fn(i32) -> bool| -> Vec<f64> {
        (0..3_i32.pow(d as u32))
            .map(|code| (0..d).map(|k| code / 3_i32.pow(k as u32) % 3 - 1).collect())
            .filter(|row: &Vec<i32>| keep(row.iter().map(|v| v * v).sum()))
            .flatten()
            .map(f64::from)
            .collect()
    };
    for (d, hyperplanes, cells) in [(3, 9, 48), (4, 16, 384), (5, 25, 3840)] {
        let b = signed(d, &|size| matches!(size, 1 | 2));
        let count = agrees(&b, b.len() / d, d);
        assert_eq!((count.hyperplanes, count.open), (hyperplanes, cells));
    }
    let d4 = signed(4, &|size| size == 2);
    assert_eq!(agrees(&d4, d4.len() / 4, 4).open, 192);
    let f4 = signed(4, &|size| matches!(size, 1 | 2 | 4));
    assert_eq!(agrees(&f4, f4.len() / 4, 4).open, 1152);
    let all = signed(3, &|size| size > 0);
    assert_eq!(counts(&all, 26, 3).2 as u64, agrees(&all, 26, 3).open);
}

#[test]
fn badly_scaled_and_crowded_data() {
    for seed in 0..5 {
        let points = gaussian(24, 100 + seed);
        let flat: Vec<f64> = (points.iter().enumerate())
            .map(|(k, v)| if k % 3 == 1 { 1e-7 * v } else { *v })
            .collect();
        assert_eq!(agrees(&flat, 8, 3).open, 58);
        let far: Vec<f64> = points.iter().map(|v| 3e3 + v).collect();
        assert_eq!(agrees(&with_ones(&far, 2), 12, 3).open, 134);
        let axis = gaussian(6, 200 + seed);
        let bundles: Vec<f64> =
            (points.iter().enumerate()).map(|(k, v)| axis[k % 6] + 1e-5 * v).collect();
        assert_eq!(agrees(&bundles, 8, 3).open, 58);
    }
    let base = gaussian(24, 9);
    for (offset, hyperplanes) in [(1e-5, 9), (1e-8, 9), (1e-11, 8), (1e-15, 8)] {
        let mut x = base.clone();
        x.extend([base[0] + offset, base[1], base[2] - offset]);
        assert_eq!(u128::from(agrees(&x, 9, 3).open), generic_bound(hyperplanes, 3));
    }
}

/// Integers with noise: what is not refused is the list, and noise of the size of
/// rounding errors is not there.
#[test]
fn nearly_dependent_rows_are_listed_or_refused() {
    let mut refused = 0;
    for (noise, always) in
        [(0.0, true), (1e-15, true), (1e-14, true), (1e-11, false), (1e-9, false), (1e-5, true)]
    {
        for seed in 0..24 {
            let (n, d) = (8 + seed as usize % 6, 2 + seed as usize % 4);
            let offsets = gaussian(n * d, 5000 + seed);
            let x: Vec<f64> = (gaussian(n * d, 4000 + seed).iter().zip(&offsets))
                .map(|(v, e)| (1.5 * v).round() + noise * e)
                .collect();
            let count = for_each_cell(&x, n, d, 1 << 20, &mut |_, _| ControlFlow::Continue(()));
            match (count, enumerate_cells(&x, n, d, 1 << 20)) {
                (Ok(count), Ok(cells)) => assert_eq!(count.open, cells.patterns.len() as u64),
                (Err(EnumerateError::Numerical { .. }), _) if !always => refused += 1,
                (Ok(_), Err(_)) if !always => refused += 1,
                other => panic!("noise {noise}, seed {seed}: {:?}", other.0),
            }
        }
    }
    assert!(refused < 40, "{refused} of 48");
}

#[test]
fn the_same_on_any_number_of_threads() {
    let grid: Vec<f64> =
        (0..100).flat_map(|k| [f64::from(k / 10), f64::from(k % 10), 1.0]).collect();
    for (x, n, d) in [(gaussian(360, 5), 120, 3), (gaussian(220, 6), 55, 4), (grid, 100, 3)] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            pool.install(|| visited(&x, n, d))
        };
        let (count, patterns, witnesses) = on(1);
        assert!(patterns.deduplicated().0.len() == patterns.len());
        for threads in [2, 5] {
            let other = on(threads);
            assert_eq!(other.0, count);
            assert_eq!(other.1, patterns);
            let bytes = |all: &[f64]| all.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bytes(&other.2), bytes(&witnesses));
        }
    }
}

#[test]
fn limits_and_breaks() {
    let x = gaussian(120, 7);
    for limit in [0, 1, 8, 100, 1561] {
        let error = count_cells(&x, 40, 3, limit).expect_err("limit");
        assert!(matches!(error, EnumerateError::Limit { limit: l, found, bound } if l == limit
                && found > limit && found as u128 <= bound && bound >= 1562));
        let mut visits = 0;
        let visit = &mut |_: &[u64], _: &[f64]| {
            visits += 1;
            ControlFlow::Continue(())
        };
        assert_eq!(for_each_cell(&x, 40, 3, limit, visit), Err(error));
        assert_eq!(visits, 0);
    }
    for stop in [1, 2, 777] {
        let mut visits = 0;
        let count = for_each_cell(&x, 40, 3, 1562, &mut |_, _| {
            visits += 1;
            if visits == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((visits, count.expect("count").open), (stop, 1562));
    }
    let wide = gaussian(200 * 80, 8);
    let error = count_cells(&wide, 200, 80, 1 << 40).expect_err("too many");
    assert!(matches!(error, EnumerateError::Limit { bound, .. } if bound > 1 << 80));
    let shape = count_cells(&x, 41, 3, 10);
    assert!(matches!(shape, Err(EnumerateError::Shape { n: 41, d: 3, found: 120 })));
    for (n, d) in [(0, 3), (3, 0), (0, 0), (4, 2), (64, 1), (65, 2)] {
        let x = vec![0.0; n * d];
        let mut seen = Vec::new();
        let count = for_each_cell(&x, n, d, 1, &mut |bits, u| {
            let mut one = Patterns::new(n);
            one.push(bits);
            assert_eq!(one.bits(0), bits);
            seen.push((one.bit_string(0), u.len()));
            ControlFlow::Continue(())
        });
        assert_eq!(seen, [("1".repeat(n), d)]);
        assert_eq!(count, count_cells(&x, n, d, 1));
        let closed = closed_patterns(&x, n, d, 1).expect("one pattern");
        assert_eq!((closed.patterns.len(), closed.open.open), (1, 1));
        assert!(count_cells(&x, n, d, 0).is_err());
    }
}
