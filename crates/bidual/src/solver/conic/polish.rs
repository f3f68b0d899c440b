//! From an approximate solution to a feasible one.

use super::LinearTerms;
use crate::Program;
use crate::linalg::{Mat, axpy, column, dot, norm, thin_svd};

/// Moves v into the cone of its column, along a direction of the (relative) interior.
pub(super) fn into_cone(program: &Program, index: usize, v: &mut [f64]) {
    let Some(constraint) = &program.constraint else { return };
    let Some(inside) = constraint.interior(index) else {
        v.fill(0.0);
        return;
    };
    if let Some(basis) = &inside.basis {
        let along: Vec<f64> = (0..basis.ncols()).map(|j| dot(column(basis, j), v)).collect();
        v.fill(0.0);
        along.iter().enumerate().for_each(|(j, t)| axpy(*t, column(basis, j), v));
    }
    let rows = constraint.rows(index);
    let (mut t, unit) = (0.0f64, norm(&inside.witness));
    for i in 0..rows.nrows() {
        let at = |u: &[f64]| u.iter().enumerate().map(|(j, u)| rows[(i, j)] * u).sum::<f64>();
        let length = (0..rows.ncols()).map(|j| rows[(i, j)] * rows[(i, j)]).sum::<f64>().sqrt();
        let (value, slope) = (at(v), at(&inside.witness));
        // implicit equalities of a flat cone hold by the projection on its span
        if value < 0.0 && slope > 1e-10 * length * unit {
            t = t.max(-value / slope);
        }
    }
    axpy(t * (1.0 + 1e-12), &inside.witness, v);
}

/// Rescales the columns (by little) so that Az + Zc fits `y` to rounding, which keeps every column
/// in its cone. `program` has just the columns of `z`; left as it is where that fails. Returns the
/// largest deviation left.
pub(super) fn interpolate(
    program: &Program,
    terms: &LinearTerms,
    y: &[f64],
    z: &mut Mat,
    free: &mut [f64],
) -> f64 {
    let (n, k, q) = (y.len(), z.ncols(), free.len());
    let mut off = f64::INFINITY;
    for _ in 0..4 {
        let mut features = Mat::zeros(n, k + q);
        for j in 0..k {
            let block = program.operator.block(j);
            let to = features.col_as_slice_mut(j);
            column(z, j).iter().enumerate().for_each(|(i, v)| axpy(*v, column(&block, i), to));
        }
        for j in 0..q {
            features.col_as_slice_mut(k + j).copy_from_slice(column(&terms.free, j));
        }
        let mut rest = y.to_vec();
        (0..k).for_each(|j| axpy(-1.0, column(&features, j), &mut rest));
        (0..q).for_each(|j| axpy(-free[j], column(&features, k + j), &mut rest));
        let left = rest.iter().fold(0.0f64, |t, r| t.max(r.abs()));
        off = left;
        if left == 0.0 {
            break;
        }
        // least norm: Fᵀ(FFᵀ)⁺ by singular values
        let Some(svd) = thin_svd(&features) else { break };
        let mut step = vec![0.0; k + q];
        for (s, value) in svd.s.iter().enumerate() {
            if *value > 1e-11 * svd.s[0] {
                axpy(dot(column(&svd.u, s), &rest) / value, column(&svd.v, s), &mut step);
            }
        }
        if !step[..k].iter().all(|s| s.abs() < 0.5) {
            break;
        }
        for j in 0..k {
            z.col_as_slice_mut(j).iter_mut().for_each(|v| *v *= 1.0 + step[j]);
        }
        (0..q).for_each(|j| free[j] += step[k + j]);
    }
    off
}
