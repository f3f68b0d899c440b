//! Interior directions of large margin in a polyhedral cone.

use super::rows::{dot, normalise};

fn smallest_margin(a: &[f64], u: &[f64]) -> f64 {
    a.chunks(u.len()).fold(f64::INFINITY, |least, row| least.min(dot(row, u)))
}

/// Newton steps for `min −Σ log(a_iᵀu) + N/2‖u‖²` over the cone, keeping the
/// unit direction of the largest margin. At the minimum ‖u‖ = 1 and the margin
/// is at least 1/N of the largest possible one (derived here: multiply
/// `Σ a_i/(a_iᵀu) = Nu` by any unit v of the cone).
pub(super) fn centre(a: &[f64], best: &mut [f64], steps: usize) {
    let rank = best.len();
    let count = (a.len() / rank) as f64;
    let mut best_margin = smallest_margin(a, best);
    let mut u = best.to_vec();
    for _ in 0..steps {
        let mut gradient: Vec<f64> = u.iter().map(|v| -count * v).collect();
        let mut hessian = vec![0.0; rank * rank];
        for k in 0..rank {
            hessian[k * rank + k] = count;
        }
        for row in a.chunks(rank) {
            let inverse = 1.0 / dot(row, &u);
            if !(inverse > 0.0 && inverse.is_finite()) {
                return;
            }
            for (k, value) in row.iter().enumerate() {
                let scaled = value * inverse;
                gradient[k] += scaled;
                for (entry, other) in hessian[k * rank..=k * rank + k].iter_mut().zip(row) {
                    *entry += scaled * inverse * other;
                }
            }
        }
        if !solve_cholesky(&mut hessian, &mut gradient) {
            return;
        }
        // Stay well inside: at most 0.7 of the way to the boundary.
        let mut step = 1.0_f64;
        for row in a.chunks(rank) {
            let change = dot(row, &gradient);
            if change < 0.0 {
                step = step.min(0.7 * dot(row, &u) / -change);
            }
        }
        let mut moved = 0.0_f64;
        for (value, direction) in u.iter_mut().zip(&gradient) {
            *value += step * direction;
            moved = moved.max((step * direction).abs());
        }
        let mut unit = u.clone();
        normalise(&mut unit);
        let margin = smallest_margin(a, &unit);
        if margin > best_margin {
            best_margin = margin;
            best.copy_from_slice(&unit);
        }
        if moved < 1e-3 {
            return;
        }
    }
}

/// Solves with the lower triangle of a positive definite matrix in place;
/// false when it is not numerically positive definite.
fn solve_cholesky(matrix: &mut [f64], rhs: &mut [f64]) -> bool {
    let n = rhs.len();
    for i in 0..n {
        for k in 0..=i {
            let sum = matrix[i * n + k] - dot(&matrix[i * n..i * n + k], &matrix[k * n..k * n + k]);
            if k < i {
                matrix[i * n + k] = sum / matrix[k * n + k];
            } else if sum > 0.0 && sum.is_finite() {
                matrix[i * n + i] = sum.sqrt();
            } else {
                return false;
            }
        }
        rhs[i] = (rhs[i] - dot(&matrix[i * n..i * n + i], &rhs[..i])) / matrix[i * n + i];
    }
    for i in (0..n).rev() {
        rhs[i] /= matrix[i * n + i];
        for k in 0..i {
            rhs[k] -= matrix[i * n + k] * rhs[i];
        }
    }
    true
}
