//! ΦᵀHΦ of all neurons, Φ = [±D_jX], kept up to date while rows cross the
//! hyperplanes of a few neurons: a step changes few bits of the masks.

use crate::linalg::{Mat, axpy, column, column_mut, dot};
use crate::solver::weighted_gram;

/// Relative change of a sample's curvature that calls for a new matrix.
const STALE: f64 = 0.1;

/// The Gauss–Newton matrix, both triangles, without the intercept's rank-one term.
pub(super) struct Gram {
    matrix: Mat,
    /// Φᵀh.
    moments: Vec<f64>,
    masks: Vec<Vec<f64>>,
    signs: Vec<f64>,
    hessian: Vec<f64>,
}

impl Gram {
    pub fn new(x: &Mat, masks: Vec<Vec<f64>>, signs: Vec<f64>, hessian: &[f64]) -> Self {
        let (n, p, m) = (x.nrows(), x.ncols(), masks.len());
        let mut phi = Mat::zeros(n, m * p);
        for j in 0..m {
            for c in 0..p {
                let to = column_mut(&mut phi, j * p + c);
                for ((t, x), on) in to.iter_mut().zip(column(x, c)).zip(&masks[j]) {
                    *t = signs[j] * on * x;
                }
            }
        }
        let mut matrix = weighted_gram(&phi, hessian, false);
        for b in 0..m * p {
            for a in 0..b {
                matrix[(a, b)] = matrix[(b, a)];
            }
        }
        let moments = (0..m * p).map(|c| dot(column(&phi, c), hessian)).collect();
        Self { matrix, moments, masks, signs, hessian: hessian.to_vec() }
    }

    /// Brings the matrix to the given masks; false if a new one is cheaper or due.
    pub fn update(
        &mut self,
        rows: &[f64],
        masks: &[&[f64]],
        signs: &[f64],
        hessian: &[f64],
    ) -> bool {
        let n = hessian.len();
        if masks.len() != self.masks.len() || signs != self.signs {
            return false;
        }
        let stale = |(old, new): (&f64, &f64)| (old - new).abs() > STALE * old.abs().max(new.abs());
        if self.hessian.iter().zip(hessian).any(stale) {
            return false;
        }
        let mut changes: Vec<(usize, usize, f64)> = vec![];
        for (j, (old, new)) in self.masks.iter().zip(masks).enumerate() {
            for i in 0..n {
                if old[i] != new[i] {
                    changes.push((i, j, new[i]));
                }
            }
            if 3 * changes.len() > n * masks.len().min(4) {
                return false;
            }
        }
        let p = rows.len() / n;
        for (i, j, on) in changes {
            let row = &rows[i * p..(i + 1) * p];
            let weight = self.hessian[i] * if on > 0.0 { 1.0 } else { -1.0 };
            for k in 0..masks.len() {
                // the own block counts once, on the diagonal
                if k != j && self.masks[k][i] == 0.0 {
                    continue;
                }
                let s = weight * self.signs[j] * self.signs[k];
                for b in 0..p {
                    axpy(
                        s * row[b],
                        row,
                        &mut column_mut(&mut self.matrix, k * p + b)[j * p..(j + 1) * p],
                    );
                }
                if k != j {
                    for b in 0..p {
                        axpy(
                            s * row[b],
                            row,
                            &mut column_mut(&mut self.matrix, j * p + b)[k * p..(k + 1) * p],
                        );
                    }
                }
            }
            axpy(weight * self.signs[j], row, &mut self.moments[j * p..(j + 1) * p]);
            self.masks[j][i] = on;
        }
        true
    }

    /// The entry of blocks (j, k) as bᵀ(ΦᵀHΦ)b' for reduced bases, filled by the caller.
    pub fn block(&self, j: usize, k: usize, p: usize) -> faer::MatRef<'_, f64> {
        self.matrix.as_ref().submatrix(j * p, k * p, p, p)
    }

    /// Φᵀh of block j.
    pub fn moment(&self, j: usize, p: usize) -> &[f64] {
        &self.moments[j * p..(j + 1) * p]
    }

    /// Σh.
    pub fn total(&self) -> f64 {
        self.hessian.iter().sum()
    }
}
