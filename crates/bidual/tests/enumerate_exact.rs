//! The enumeration of arrangements of integer rows against exact arithmetic.

mod common;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bidual::arrangement::{Patterns, closed_patterns, for_each_cell};
use common::{checked, counts, gaussian, strings};
use proptest::prelude::*;

/// All circuits (minimal linear dependences) of integer rows, exactly.
fn circuits(rows: &[Vec<i128>]) -> Vec<Vec<(usize, i128)>> {
    let mut found = Vec::new();
    for subset in 1_u32..1 << rows.len() {
        let chosen: Vec<usize> = (0..rows.len()).filter(|i| subset >> i & 1 == 1).collect();
        if chosen.len() > rows[0].len() + 1 {
            continue;
        }
        // Columns are the chosen rows; integer elimination to diagonal form.
        let mut m: Vec<Vec<i128>> =
            (0..rows[0].len()).map(|k| chosen.iter().map(|&i| rows[i][k]).collect()).collect();
        let mut pivots = Vec::new();
        for column in 0..chosen.len() {
            let at = pivots.len();
            let Some(pivot) = (at..m.len()).find(|&r| m[r][column] != 0) else {
                continue;
            };
            m.swap(at, pivot);
            for r in (0..m.len()).filter(|&r| r != at) {
                let (p, q) = (m[at][column], m[r][column]);
                let row: Vec<i128> =
                    (m[r].iter().zip(&m[at])).map(|(a, b)| a * p - b * q).collect();
                let common = row.iter().fold(0, |g, v| gcd(g, v.abs())).max(1);
                m[r] = row.iter().map(|v| v / common).collect();
            }
            pivots.push(column);
        }
        if pivots.len() + 1 != chosen.len() {
            continue;
        }
        let free = (0..chosen.len()).find(|c| !pivots.contains(c)).expect("free");
        let signs: Vec<(usize, i128)> = (0..chosen.len())
            .map(|c| match pivots.iter().position(|&p| p == c) {
                Some(r) => (chosen[c], -(m[r][free] * m[r][c]).signum()),
                None => (chosen[free], 1),
            })
            .collect();
        if signs.iter().all(|s| s.1 != 0) {
            found.push(signs);
        }
    }
    found
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The open cells by Gordan's theorem: the signs s are infeasible iff some
/// dependence of the rows has all its coefficients of the sign of s.
fn brute_force(rows: &[Vec<i128>]) -> Vec<String> {
    let nonzero: Vec<usize> =
        (0..rows.len()).filter(|&i| rows[i].iter().any(|&v| v != 0)).collect();
    let kept: Vec<Vec<i128>> = nonzero.iter().map(|&i| rows[i].clone()).collect();
    let circuits = if kept.is_empty() { Vec::new() } else { circuits(&kept) };
    let mut cells: Vec<String> = (0_u32..1 << kept.len())
        .filter(|signs| {
            circuits.iter().all(|circuit| {
                let agreeing = |&&(i, c): &&(usize, i128)| (c > 0) == (signs >> i & 1 == 1);
                let agree = circuit.iter().filter(agreeing).count();
                agree != 0 && agree != circuit.len()
            })
        })
        .map(|signs| {
            let mut flags = vec!['1'; rows.len()];
            for (k, &i) in nonzero.iter().enumerate() {
                flags[i] = if signs >> k & 1 == 1 { '1' } else { '0' };
            }
            flags.iter().collect()
        })
        .collect();
    cells.sort();
    cells
}

/// The closed patterns: the signs s ∈ {−, 0, +} of some Xu are the ones that no
/// dependence of the rows sees with one sign only (Farkas).
fn brute_force_closed(rows: &[Vec<i128>]) -> Vec<String> {
    let nonzero: Vec<usize> =
        (0..rows.len()).filter(|&i| rows[i].iter().any(|&v| v != 0)).collect();
    let kept: Vec<Vec<i128>> = nonzero.iter().map(|&i| rows[i].clone()).collect();
    let circuits = if kept.is_empty() { Vec::new() } else { circuits(&kept) };
    let mut found = BTreeSet::new();
    for code in 0..3_u32.pow(kept.len() as u32) {
        let sign = |i: usize| i128::from(code / 3_u32.pow(i as u32) % 3) - 1;
        let possible = circuits.iter().all(|circuit| {
            let has = |side: i128| circuit.iter().any(|&(i, c)| (c * sign(i)).signum() == side);
            has(1) == has(-1)
        });
        if possible {
            let mut flags = vec!['1'; rows.len()];
            for (k, &i) in nonzero.iter().enumerate() {
                flags[i] = if sign(k) >= 0 { '1' } else { '0' };
            }
            found.insert(flags.into_iter().collect::<String>());
        }
    }
    found.into_iter().collect()
}

fn distinct_hyperplanes(rows: &[Vec<i128>]) -> usize {
    let nonzero = |r: &&Vec<i128>| r.iter().any(|&v| v != 0);
    let parallel = |a: &[i128], b: &[i128]| {
        (0..a.len()).all(|i| (0..a.len()).all(|k| a[i] * b[k] == a[k] * b[i]))
    };
    let mut kept: Vec<&Vec<i128>> = Vec::new();
    for row in rows.iter().filter(nonzero) {
        if !kept.iter().any(|other| parallel(row, other)) {
            kept.push(row);
        }
    }
    kept.len()
}

/// Integer rows; some replaced by a multiple of an earlier row (also 0).
fn integer_data(largest: i128, columns: usize) -> impl Strategy<Value = Vec<Vec<i128>>> {
    (1_usize..=8, 1..=columns).prop_flat_map(move |(n, d)| {
        let entry = -largest..=largest;
        let row = prop::collection::vec(entry, d);
        let link = (0_u8..4, any::<prop::sample::Index>(), -3_i128..=3);
        (prop::collection::vec(row, n), prop::collection::vec(link, n)).prop_map(
            |(mut rows, links)| {
                for i in 1..rows.len() {
                    let (kind, index, factor) = &links[i];
                    if *kind == 0 {
                        rows[i] = rows[index.index(i)].iter().map(|v| v * factor).collect();
                    }
                }
                rows
            },
        )
    })
}

fn agrees_with_brute_force(rows: &[Vec<i128>], scale: f64) {
    let x: Vec<f64> = rows.iter().flatten().map(|&v| v as f64 * scale).collect();
    let cells = checked(&x, rows.len(), rows[0].len());
    assert_eq!(strings(&cells), brute_force(rows));
    assert_eq!(cells.hyperplanes, distinct_hyperplanes(rows));
    let (n, d) = (rows.len(), rows[0].len());
    let mut visited = Patterns::new(n);
    let count = for_each_cell(&x, n, d, 1 << 20, &mut |bits, _| {
        visited.push(bits);
        ControlFlow::Continue(())
    });
    let mut visited: Vec<String> = (0..visited.len()).map(|k| visited.bit_string(k)).collect();
    visited.sort();
    assert_eq!(visited, strings(&cells));
    assert_eq!(count.expect("count").hyperplanes, cells.hyperplanes);
    let closed = closed_patterns(&x, n, d, 1 << 20).expect("closed");
    let closed = closed.patterns;
    let all: Vec<String> = (0..closed.len()).map(|k| closed.bit_string(k)).collect();
    assert_eq!(all, brute_force_closed(rows));
}

/// Rank 3 for more rows: half the cells are the regions of a line arrangement
/// in the projective plane, 1 + Σ over its points of (lines through it − 1).
#[test]
fn integer_rows_of_rank_three_by_their_points() {
    let cross = |a: &[i64; 3], b: &[i64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    for (seed, largest) in (0..40).zip([1, 2, 3, 5, 9].into_iter().cycle()) {
        let n = 12 + seed as usize;
        let rows: Vec<[i64; 3]> = gaussian(3 * n, 300 + seed)
            .chunks(3)
            .map(|g| [0, 1, 2].map(|k| (g[k] * 1e4) as i64 % (largest + 1)))
            .collect();
        let mut lines: Vec<[i64; 3]> = Vec::new();
        for row in rows.iter().filter(|row| **row != [0; 3]) {
            if lines.iter().all(|line| cross(line, row) != [0; 3]) {
                lines.push(*row);
            }
        }
        let mut points: Vec<[i64; 3]> = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            for other in &lines[..i] {
                let point = cross(line, other);
                if points.iter().all(|p| cross(p, &point) != [0; 3]) {
                    points.push(point);
                }
            }
        }
        let through = |p: &[i64; 3]| {
            let on = |line: &&[i64; 3]| (0..3).map(|k| line[k] * p[k]).sum::<i64>() == 0;
            lines.iter().filter(on).count()
        };
        let regions = 1 + points.iter().map(|p| through(p) - 1).sum::<usize>();
        let x: Vec<f64> = rows.iter().flatten().map(|&v| v as f64 * 0.1).collect();
        assert_eq!(counts(&x, n, 3), (lines.len(), 3, 2 * regions));
    }
}

/// All 2ⁿ (and 3ⁿ) signs of ten rows.
#[test]
fn ten_integer_rows() {
    for (seed, largest) in (0..12).zip([1.0, 2.0, 30.0].into_iter().cycle()) {
        let d = 2 + seed as usize % 4;
        let rows: Vec<Vec<i128>> = gaussian(10 * d, 700 + seed)
            .chunks(d)
            .map(|g| g.iter().map(|v| (v * largest) as i128).collect())
            .collect();
        agrees_with_brute_force(&rows, 0.1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn small_integers(rows in integer_data(2, 5)) {
        agrees_with_brute_force(&rows, 1.0);
    }

    #[test]
    fn scaled_integers(rows in integer_data(3, 5)) {
        agrees_with_brute_force(&rows, 0.1);
    }

    #[test]
    fn generic_integers(rows in integer_data(10_000, 4)) {
        agrees_with_brute_force(&rows, 1e-4);
    }
}
