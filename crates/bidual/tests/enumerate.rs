//! The enumeration of arrangements against golden cases and known counts.

mod common;
#[path = "common/golden.rs"]
mod golden;

use bidual::arrangement::{EnumerateError, count_cells, enumerate_cells, generic_bound};
use common::{checked, counts, gaussian, strings};
use golden::golden;

fn with_ones(points: &[f64], d: usize) -> Vec<f64> {
    points.chunks(d).flat_map(|p| p.iter().copied().chain([1.0])).collect()
}

#[test]
fn golden_cases() {
    for name in [
        "arr01_gauss_8x3",
        "arr02_gauss_7x4",
        "arr03_dup_anti_zero_8x3",
        "arr04_grid_bias_9x3",
        "arr08_wide_4x6",
    ] {
        let case = golden(&format!("two_layer/{name}"));
        let rows: Vec<Vec<f64>> =
            serde_json::from_value(case["data"]["X"].clone()).expect("matrix");
        let cells = checked(&rows.concat(), rows.len(), rows[0].len());
        let expected = &case["expected"];
        assert_eq!(cells.patterns.len() as u64, expected["n_open_cells"], "{name}");
        assert_eq!(cells.rank as u64, expected["rank"], "{name}");
        assert_eq!(cells.hyperplanes as u64, expected["n_distinct_hyperplanes"], "{name}");
        let bound = u64::try_from(cells.generic_bound).expect("small");
        assert_eq!(bound, expected["generic_bound"], "{name}");
        let patterns: Vec<String> =
            serde_json::from_value(expected["open_patterns"].clone()).expect("patterns");
        assert_eq!(strings(&cells), patterns, "{name}");
    }
}

#[test]
fn counts_of_special_geometries() {
    // Rank-2 data in five dimensions.
    let (left, right) = (gaussian(18, 1), gaussian(10, 2));
    let x: Vec<f64> =
        (0..45).map(|k| (0..2).map(|m| left[k / 5 * 2 + m] * right[m * 5 + k % 5]).sum()).collect();
    assert_eq!(counts(&x, 9, 5), (9, 2, 18));
    assert_eq!(counts(&with_ones(&gaussian(16, 3), 2), 8, 3), (8, 3, 58));
    // One-dimensional data with repeats, and a bias.
    let line = [0.3, -1.0, 0.3, 2.0, 0.7, -1.0, 5.5, 1.1];
    assert_eq!(counts(&with_ones(&line, 1), 8, 2), (6, 2, 12));
    // Three antipodal pairs.
    let pairs = [2.0, 1.0, -2.0, -1.0, 1.0, -3.0, -1.0, 3.0, -1.0, 2.0, 1.0, -2.0];
    assert_eq!(counts(&pairs, 6, 2), (3, 2, 6));
    // Rank one.
    assert_eq!(counts(&[1.0, 2.0, -0.5, -1.0, 3.0, 6.0], 3, 2), (1, 1, 2));
    // The 3×3 grid standardised: dependences hold only to rounding.
    let step = 1.5_f64.sqrt();
    let grid: Vec<f64> = (0..9)
        .flat_map(|k| [f64::from(k / 3 - 1) * step, f64::from(k % 3 - 1) * step / 3.0])
        .collect();
    assert_eq!(counts(&with_ones(&grid, 2), 9, 3), (9, 3, 58));
    // The braid arrangement x_i = x_j of five points: 5! cells, rank 4.
    let mut braid = Vec::new();
    for i in 0..5 {
        for j in 0..i {
            let mut row = [0.0; 5];
            (row[i], row[j]) = (0.7, -0.7);
            braid.extend(row);
        }
    }
    assert_eq!(counts(&braid, 10, 5), (10, 4, 120));
    // All 0/±1 vectors of length 3 up to sign.
    let mut cube = Vec::new();
    for k in 0..27 {
        cube.extend([k / 9, k / 3 % 3, k % 3].map(|v| f64::from(v) - 1.0));
    }
    assert_eq!(counts(&cube, 27, 3), (13, 3, 96));
}

/// The reflection arrangements of Coxeter groups have as many cells as the
/// group has elements, and are degenerate everywhere.
#[test]
fn reflection_arrangements() {
    let signed = |d: usize, keep: &dyn Fn(&[i32]) -> bool| -> Vec<f64> {
        (0..3_i32.pow(d as u32))
            .map(|code| (0..d).map(|k| code / 3_i32.pow(k as u32) % 3 - 1).collect())
            .filter(|row: &Vec<i32>| keep(row))
            .flatten()
            .map(f64::from)
            .collect()
    };
    let size = |row: &[i32]| row.iter().map(|v| v * v).sum::<i32>();
    let b5 = signed(5, &|row| matches!(size(row), 1 | 2));
    assert_eq!(counts(&b5, b5.len() / 5, 5), (25, 5, 3840));
    let d5 = signed(5, &|row| size(row) == 2);
    assert_eq!(counts(&d5, d5.len() / 5, 5), (20, 5, 1920));
    let f4 = signed(4, &|row| matches!(size(row), 1 | 2 | 4));
    assert_eq!(counts(&f4, f4.len() / 4, 4), (24, 4, 1152));
    // H3 and H4 involve the golden ratio: dependent only up to rounding.
    let golden = 0.5 * (1.0 + 5_f64.sqrt());
    let h4: Vec<f64> = (signed(4, &|row| matches!(size(row), 1 | 4)).chunks(4))
        .map(|row| {
            let half = if row.contains(&0.0) { 1.0 } else { 0.5 };
            row.iter().map(|v| v * half).collect()
        })
        .chain(even_permutations().into_iter().flat_map(|order| {
            (0..8).map(move |signs| {
                let value = [0.5 * golden, 0.5, 0.5 / golden, 0.0];
                let mut row = vec![0.0; 4];
                for k in 0..4 {
                    let sign = if signs >> k & 1 == 1 { -1.0 } else { 1.0 };
                    row[order[k]] = sign * value[k];
                }
                row
            })
        }))
        .flat_map(|row: Vec<f64>| row)
        .collect();
    assert_eq!(counts(&h4, 120, 4), (60, 4, 14_400));
    let h3: Vec<f64> =
        (h4.chunks(4).filter(|row| row[3] == 0.0)).flat_map(|row| &row[..3]).copied().collect();
    assert_eq!(counts(&h3, h3.len() / 3, 3), (15, 3, 120));
    // Counted without listing.
    for (x, d, cells) in [(&b5, 5, 3840), (&d5, 5, 1920), (&h3, 3, 120), (&h4, 4, 14_400)] {
        assert_eq!(count_cells(x, x.len() / d, d, usize::MAX).expect("count").open, cells);
    }
}

fn even_permutations() -> Vec<[usize; 4]> {
    let mut found = Vec::new();
    for code in 0..256 {
        let order = [code / 64, code / 16 % 4, code / 4 % 4, code % 4];
        let pairs = (0..4).flat_map(|i| (0..i).map(move |k| (k, i)));
        let repeated = pairs.clone().any(|(k, i)| order[k] == order[i]);
        if !repeated && pairs.filter(|&(k, i)| order[k] > order[i]).count() % 2 == 0 {
            found.push(order);
        }
    }
    found
}

#[test]
fn general_position_attains_the_generic_bound() {
    for (n, d, expected) in [
        (40, 3, 1562),
        (25, 4, 4650),
        (12, 6, 2048),
        (1, 1, 2),
        (5, 1, 2),
        (70, 2, 140),
        (20, 3, 382),
        (12, 4, 464),
        (10, 5, 512),
        (9, 9, 512),
        (3, 8, 8),
        (10, 10, 1024),
        (11, 10, 2046),
    ] {
        let start = std::time::Instant::now();
        let x = gaussian(n * d, (n * 100 + d) as u64);
        let cells = checked(&x, n, d);
        println!("{n}x{d}: {} cells, {:?}", cells.patterns.len(), start.elapsed());
        assert_eq!(cells.patterns.len(), expected, "{n}x{d}");
        if d > 1 {
            assert_eq!(cells.generic_bound, expected as u128, "{n}x{d}");
        }
    }
}

fn binomial(n: usize, k: usize) -> usize {
    (0..k).fold(1, |c, i| c * (n - i) / (i + 1))
}

#[test]
fn generic_bound_formula() {
    assert_eq!(generic_bound(0, 0), 1);
    assert_eq!(generic_bound(8, 3), 58);
    assert_eq!(generic_bound(1000, 3), 999_002);
    for n in 1..=60 {
        assert_eq!(generic_bound(n, n), 1 << n);
        assert_eq!(generic_bound(n, usize::MAX), 1 << n);
        for rank in 1..=n {
            let sum: usize = (0..rank).map(|k| binomial(n - 1, k)).sum();
            if n <= 50 {
                assert_eq!(generic_bound(n, rank), 2 * sum as u128);
            }
        }
    }
    assert_eq!(generic_bound(127, 127), 1 << 127);
    assert_eq!(generic_bound(128, 128), u128::MAX);
    assert_eq!(generic_bound(usize::MAX, usize::MAX), u128::MAX);
}

#[test]
fn errors_and_limits() {
    let x = gaussian(120, 7);
    let shape = enumerate_cells(&x, 41, 3, 10);
    assert!(matches!(shape, Err(EnumerateError::Shape { n: 41, d: 3, found: 120 })));
    let mut bad = x.clone();
    bad[7] = f64::NAN;
    let error = enumerate_cells(&bad, 40, 3, 10).expect_err("not finite");
    assert_eq!(error, EnumerateError::NonFinite { row: 2, column: 1 });
    for limit in [0, 1, 5, 8, 100, 1561] {
        match enumerate_cells(&x, 40, 3, limit) {
            Err(EnumerateError::Limit { limit: l, found, bound }) => {
                assert_eq!(l, limit);
                assert!(found > limit && found as u128 <= bound && bound >= 1562);
            }
            other => panic!("limit {limit}: {other:?}"),
        }
    }
    assert!(enumerate_cells(&x, 40, 3, 1562).is_ok());
    // A rank that is out of reach is refused at once, whatever the limit.
    let wide = gaussian(200 * 80, 8);
    for limit in [1000, usize::MAX] {
        let error = enumerate_cells(&wide, 200, 80, limit).expect_err("too many");
        assert!(matches!(error, EnumerateError::Limit { bound, .. } if bound > 1 << 80));
    }
}

#[test]
fn no_hyperplanes() {
    for (n, d) in [(0, 3), (3, 0), (0, 0), (4, 2)] {
        let cells = enumerate_cells(&vec![0.0; n * d], n, d, 1).expect("one cell");
        assert_eq!((cells.rank, cells.hyperplanes, cells.generic_bound), (0, 0, 1));
        assert_eq!(strings(&cells), ["1".repeat(n)]);
        assert_eq!(cells.witnesses.len(), d);
    }
}

#[test]
fn extreme_scales_and_near_parallel_rows() {
    let base = gaussian(24, 9);
    let reference = checked(&base, 8, 3);
    for factor in [1e-300, 1e-9, 1e300] {
        let x: Vec<f64> = base.iter().map(|v| v * factor).collect();
        assert_eq!(checked(&x, 8, 3).patterns, reference.patterns);
    }
    // Positive factors per row do not move any cell.
    let x: Vec<f64> =
        (base.iter().enumerate()).map(|(k, v)| v * 10_f64.powi((k / 3) as i32 - 4)).collect();
    assert_eq!(checked(&x, 8, 3).patterns, reference.patterns);
    // A nearly repeated row has a thin wedge of cells of its own; below the
    // tolerance it does not.
    for (offset, hyperplanes) in [(1e-5, 9), (1e-7, 9), (1e-8, 9), (1e-11, 8), (1e-15, 8)] {
        let mut x = base.clone();
        x.extend([base[0] + offset, base[1], base[2] - offset]);
        let cells = checked(&x, 9, 3);
        assert_eq!(cells.hyperplanes, hyperplanes, "{offset}");
        let expected = generic_bound(hyperplanes, 3) as usize;
        assert_eq!(cells.patterns.len(), expected, "{offset}");
    }
}

#[test]
fn badly_scaled_and_crowded_data() {
    for seed in 0..20 {
        let points = gaussian(24, 100 + seed);
        // A column of small scale.
        let flat: Vec<f64> = (points.iter().enumerate())
            .map(|(k, v)| if k % 3 == 1 { 1e-7 * v } else { *v })
            .collect();
        assert_eq!(counts(&flat, 8, 3), (8, 3, 58));
        // Points far from the origin with a bias column.
        let far: Vec<f64> = points.iter().map(|v| 3e3 + v).collect();
        assert_eq!(counts(&with_ones(&far, 2), 12, 3), (12, 3, 134));
        // Two bundles of nearly parallel rows.
        let axis = gaussian(6, 200 + seed);
        let bundles: Vec<f64> =
            (points.iter().enumerate()).map(|(k, v)| axis[k % 6] + 1e-5 * v).collect();
        assert_eq!(counts(&bundles, 8, 3), (8, 3, 58));
    }
    // Years as a feature: integers, exactly dependent.
    let years: Vec<f64> =
        (0..16).flat_map(|k| [2000.0 + f64::from(k / 4), 1980.0 + f64::from(k % 4)]).collect();
    let centred: Vec<f64> = (0..16).flat_map(|k| [f64::from(k / 4), f64::from(k % 4)]).collect();
    let (raw, moved) = (with_ones(&years, 2), with_ones(&centred, 2));
    assert_eq!(checked(&raw, 16, 3).patterns, checked(&moved, 16, 3).patterns);
}

#[test]
fn witnesses_are_nearly_as_deep_as_possible() {
    // The margin at the analytic centre is at least 1/N of any other one.
    let (n, d) = (15, 3);
    let mut x = gaussian(n * d, 10);
    for row in x.chunks_mut(d) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    }
    let cells = checked(&x, n, d);
    let values = |u: &[f64]| -> Vec<f64> {
        let norm = u.iter().map(|v| v * v).sum::<f64>().sqrt();
        x.chunks(d).map(|h| h.iter().zip(u).map(|(a, b)| a * b).sum::<f64>() / norm).collect()
    };
    let depth = |z: &[f64]| z.iter().fold(f64::INFINITY, |m, v| m.min(v.abs()));
    let all = strings(&cells);
    for u in gaussian(20_000 * d, 11).chunks(d) {
        let z = values(u);
        let pattern: String = z.iter().map(|&v| if v > 0.0 { '1' } else { '0' }).collect();
        let cell = all.binary_search(&pattern).expect("a listed cell");
        let own = values(&cells.witnesses[cell * d..(cell + 1) * d]);
        assert!(depth(&own) * n as f64 * 1.01 >= depth(&z));
    }
}
