//! Checks and data shared by the tests of the enumeration.

use bidual::arrangement::{Cells, enumerate_cells, generic_bound};

/// Enumerates and checks what holds for all data: witnesses, order, antipodes.
pub fn checked(x: &[f64], n: usize, d: usize) -> Cells {
    let cells = enumerate_cells(x, n, d, 1 << 20).expect("enumerable");
    assert_eq!(cells.witnesses.len(), cells.patterns.len() * d);
    let zero = |i: usize| x[i * d..(i + 1) * d].iter().all(|&v| v == 0.0);
    for cell in 0..cells.patterns.len() {
        let u = &cells.witnesses[cell * d..(cell + 1) * d];
        let norm: f64 = u.iter().map(|v| v * v).sum();
        assert!((norm - 1.0).abs() < 1e-12);
        for i in 0..n {
            let value: f64 = (0..d).map(|k| x[i * d + k] * u[k]).sum();
            assert_eq!(cells.patterns.get(cell, i), zero(i) || value > 0.0, "row {i}");
            assert!(zero(i) || value != 0.0);
        }
        if cell > 0 {
            assert!(cells.patterns.compare(cell - 1, cell).is_lt());
        }
    }
    assert!(cells.patterns.len() as u128 <= cells.generic_bound);
    assert_eq!(cells.generic_bound, generic_bound(cells.hyperplanes, cells.rank));
    if cells.rank > 0 {
        let all = strings(&cells);
        for string in &all {
            let opposite: String = (string.chars().enumerate())
                .map(|(i, c)| if c == '0' || zero(i) { '1' } else { '0' })
                .collect();
            assert!(all.binary_search(&opposite).is_ok());
        }
    }
    cells
}

pub fn strings(cells: &Cells) -> Vec<String> {
    (0..cells.patterns.len()).map(|cell| cells.patterns.bit_string(cell)).collect()
}

/// Fixed pseudo-random numbers, close to normal (a sum of twelve uniform).
pub fn gaussian(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9);
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
}

/// The number of distinct hyperplanes, the rank and the number of cells.
pub fn counts(x: &[f64], n: usize, d: usize) -> (usize, usize, usize) {
    let cells = checked(x, n, d);
    (cells.hyperplanes, cells.rank, cells.patterns.len())
}
