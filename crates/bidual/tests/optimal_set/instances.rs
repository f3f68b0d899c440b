//! Features, free columns and sizes, as of networks and at random.

use bidual::Mat;

use crate::golden::*;

/// Dependent, repeated, zero and badly scaled columns with sizes. With `optimal`, every column has
/// price exactly 1 at one ν with Zᵀν = 0, as at an optimum.
pub fn instance(seed: u64, k: usize, optimal: bool) -> (Mat, Mat, Vec<f64>) {
    let mut r = Random(seed);
    let n = 5 + r.below(8);
    let rank = 2 + r.below(n - 1);
    let q = r.below(3);
    let mut z = r.matrix(n, q);
    if q > 0 {
        (0..n).for_each(|i| z[(i, 0)] = 1.0);
    }
    let left = r.matrix(n, rank);
    let right = r.matrix(rank, k);
    let mut phi = &left * &right;
    for j in 1..k {
        match r.below(8) {
            0 => {
                let other = r.below(j);
                (0..n).for_each(|i| phi[(i, j)] = phi[(i, other)]);
            }
            1 if !optimal => (0..n).for_each(|i| phi[(i, j)] = 0.0),
            _ => {}
        }
    }
    let nu: Vec<f64> = loop {
        let mut v: Vec<f64> = (0..n).map(|_| r.normal()).collect();
        for _ in 0..2 {
            // Gram–Schmidt on at most two columns
            let one: Vec<f64> = column_or_empty(&z, 0);
            let mut two = column_or_empty(&z, 1);
            if q > 1 {
                let t = dot(&one, &two) / dot(&one, &one);
                two.iter_mut().zip(&one).for_each(|(a, b)| *a -= t * b);
            }
            for u in [one, two].iter().filter(|u| !u.is_empty()) {
                let t = dot(u, &v) / dot(u, u);
                v.iter_mut().zip(u).for_each(|(a, b)| *a -= t * b);
            }
        }
        if norm(&v) > 0.1 {
            break v;
        }
    };
    for j in 0..k {
        let factor = if optimal {
            1.0 / dot(&nu, column(&phi, j))
        } else {
            10f64.powf(12.0 * (r.uniform() - 0.5))
        };
        (0..n).for_each(|i| phi[(i, j)] *= factor);
    }
    let c = (0..k)
        .map(|_| match r.below(6) {
            0 => 0.0,
            1 => 1e-9 * r.uniform(),
            _ => r.uniform(),
        })
        .collect();
    (phi, z, c)
}

fn column_or_empty(z: &Mat, j: usize) -> Vec<f64> {
    if j < z.ncols() { column(z, j).to_vec() } else { vec![] }
}

/// [Φ_S, Z] with columns of norm one: smallest singular value over the largest.
pub fn conditioning(phi: &Mat, z: &Mat, c: &[f64]) -> f64 {
    let support: Vec<usize> = (0..c.len()).filter(|&k| c[k] > 0.0).collect();
    let m = support.len() + z.ncols();
    if m == 0 {
        return 1.0;
    }
    assert!(m <= phi.nrows(), "more columns than rows");
    let col = |j: usize| {
        if j < support.len() { column(phi, support[j]) } else { column(z, j - support.len()) }
    };
    let unit = Mat::from_fn(phi.nrows(), m, |i, j| col(j)[i] / norm(col(j)));
    let values = unit.singular_values().expect("finite");
    values[m - 1] / values[0]
}
