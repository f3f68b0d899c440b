//! Zᵀν = 0, the dual condition of parameters without penalty.
//!
//! Where it fails the dual value is −∞, so ν is moved onto it without leaving the domain of the
//! conjugate, and what rounding leaves is charged to the bound. Derived here.

use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, dot, gemm, norm, thin_svd,
};
use crate::loss::Loss;

/// Singular values below this share of the largest are dependences of the columns.
const DEPENDENT: f64 = 1e-12;
/// Newton steps of the projection at most.
const STEPS: usize = 60;

/// Orthonormal columns with the span of `z`, each column scaled to unit length before.
pub(super) fn orthonormal(z: &Mat) -> Mat {
    let lengths: Vec<f64> = (0..z.ncols()).map(|j| norm(column(z, j))).collect();
    let kept: Vec<usize> = (0..z.ncols()).filter(|&j| lengths[j] > 0.0).collect();
    let unit = Mat::from_fn(z.nrows(), kept.len(), |i, k| z[(i, kept[k])] / lengths[kept[k]]);
    if kept.is_empty() {
        return unit;
    }
    // without a decomposition, what is left of ν along Z is charged anyway
    let Some(svd) = thin_svd(&unit) else { return unit };
    let rank = svd.s.iter().filter(|s| **s > DEPENDENT * svd.s[0]).count();
    svd.u.subcols(0, rank).to_owned()
}

/// Moves ν to a near point of the domain of `loss` with Qᵀν = 0 up to rounding, Q orthonormal:
/// the nearest one where the domain is a box.
pub(super) fn annul(loss: &dyn Loss, q: &Mat, nu: &mut [f64]) {
    loss.clip_dual(nu);
    if q.ncols() == 0 {
        return;
    }
    if loss.dual_is_free() {
        remove_along(q, nu);
        remove_along(q, nu);
        loss.clip_dual(nu);
        return;
    }
    // ν(μ) = clip(ν̂ − Qμ) minimises ½‖ν − ν̂‖² on the domain at the root of Qᵀν(μ) = 0, which is
    // the minimiser of the convex ½‖x‖² − ½‖x − clip x‖², x = ν̂ − Qμ: semismooth Newton
    let (n, k) = (nu.len(), q.ncols());
    let start = nu.to_vec();
    let mut mu = vec![0.0; k];
    let at = |mu: &[f64]| {
        let mut x = start.clone();
        (0..k).for_each(|j| axpy(-mu[j], column(q, j), &mut x));
        let mut clipped = x.clone();
        loss.clip_dual(&mut clipped);
        let off: f64 = x.iter().zip(&clipped).map(|(a, b)| (a - b) * (a - b)).sum();
        let value = 0.5 * (dot(&x, &x) - off);
        let inside: Vec<bool> = x.iter().zip(&clipped).map(|(a, b)| a == b).collect();
        (value, clipped, inside)
    };
    let (mut value, mut point, mut inside) = at(&mu);
    let size = norm(&start);
    for _ in 0..STEPS {
        let g: Vec<f64> = (0..k).map(|j| dot(column(q, j), &point)).collect();
        if norm(&g) <= 1e-15 * size {
            break;
        }
        let mut h = Mat::from_fn(k, k, |a, b| {
            let sum: f64 = (0..n).filter(|&i| inside[i]).map(|i| q[(i, a)] * q[(i, b)]).sum();
            sum + if a == b { 1e-10 } else { 0.0 }
        });
        let mut step = g.clone();
        if !cholesky_in_place(&mut h) {
            break;
        }
        cholesky_solve(&h, &mut step);
        let slope = dot(&g, &step);
        let mut t = 1.0;
        let moved = loop {
            let trial: Vec<f64> = mu.iter().zip(&step).map(|(m, s)| m + t * s).collect();
            let next = at(&trial);
            if next.0 <= value - 1e-4 * t * slope {
                break Some((trial, next));
            }
            t *= 0.5;
            if t < 1e-10 {
                break None;
            }
        };
        let Some((trial, next)) = moved else { break };
        mu = trial;
        (value, point, inside) = next;
    }
    // one exact correction on the entries that can move
    for _ in 0..2 {
        let free: Vec<usize> = (0..n).filter(|&i| inside[i] && point[i] != 0.0).collect();
        let rows = Mat::from_fn(free.len(), k, |i, j| q[(free[i], j)]);
        let mut along: Vec<f64> = (0..k).map(|j| dot(column(q, j), &point)).collect();
        let mut gram = Mat::zeros(rows.ncols(), rows.ncols());
        gemm(gram.as_mut(), rows.transpose(), rows.as_ref(), false);
        if free.is_empty() || !cholesky_in_place(&mut gram) {
            break;
        }
        cholesky_solve(&gram, &mut along);
        for (i, &row) in free.iter().enumerate() {
            point[row] -= (0..k).map(|j| rows[(i, j)] * along[j]).sum::<f64>();
        }
        loss.clip_dual(&mut point);
    }
    nu.copy_from_slice(&point);
}

fn remove_along(q: &Mat, nu: &mut [f64]) {
    for j in 0..q.ncols() {
        axpy(-dot(column(q, j), nu), column(q, j), nu);
    }
}

/// Upper bound on |νᵀZc| for all ‖Dc‖₂ ≤ 1, D the lengths of the columns of Z: what is left of
/// Zᵀν, rounding of the products included.
pub(super) fn remainder(z: &Mat, nu: &[f64]) -> f64 {
    let share = (nu.len() as f64 + 4.0) * f64::EPSILON;
    let each = (0..z.ncols()).map(|j| {
        let z = column(z, j);
        let magnitude: f64 = z.iter().zip(nu).map(|(z, v)| (z * v).abs()).sum();
        let length = norm(z);
        if length > 0.0 { (dot(z, nu).abs() + share * magnitude) / length } else { 0.0 }
    });
    each.map(|v| v * v).sum::<f64>().sqrt() * (1.0 + 1e-12)
}

/// Upper bound on ‖Sᵀν‖₂.
pub(super) fn polar(s: &Mat, nu: &[f64]) -> f64 {
    let share = (nu.len() as f64 + 4.0) * f64::EPSILON;
    let each = (0..s.ncols()).map(|j| {
        let s = column(s, j);
        let magnitude: f64 = s.iter().zip(nu).map(|(s, v)| (s * v).abs()).sum();
        dot(s, nu).abs() + share * magnitude
    });
    each.map(|v| v * v).sum::<f64>().sqrt() * (1.0 + 1e-12)
}
