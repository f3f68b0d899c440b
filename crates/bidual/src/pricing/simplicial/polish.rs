//! Exact ascent from a good direction: on the piece where the convex part of `f` is linear, the
//! rest is concave and its maximum over the ball is found to the last digit.
//!
//! With `g = c + Σ_{x_iᵀu > 0} w_i x_i` over the plus rows and the zonotope `Z = Σ |w_i|[0, x_i]`
//! of the minus rows, the maximum of `gᵀv − Σ|w_i|(x_iᵀv)_+` over the unit ball is the distance
//! from `g` to `Z`, attained at the normalised residual. Alternating the choice of the piece and
//! the projection never decreases `f`. The projection is Wolfe's minimum-norm-point algorithm
//! (Math. Programming 1976): its corral has at most `p + 1` points.

use super::rows::Function;

/// Pieces visited at most.
const PIECES: usize = 10;
/// Points below this weight leave the corral.
const DUST: f64 = 1e-13;

/// Sum over the rows with `σω > 0` (`plus`) or `σω < 0` that are active at `u`, of `|ω|x`.
fn active(f: &Function<'_>, positive: bool, plus: bool, u: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    f.add_active(u, |w| if (w > 0.0) == (positive == plus) { w.abs() } else { 0.0 }, out);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Weights of the point of least norm in the affine hull of the points, `None` if singular.
fn affine(points: &[Vec<f64>]) -> Option<Vec<f64>> {
    let m = points.len();
    let mut a: Vec<Vec<f64>> =
        points.iter().map(|p| points.iter().map(|q| dot(p, q)).chain([1.0]).collect()).collect();
    let size = (0..m).map(|i| a[i][i]).fold(0.0, f64::max);
    for c in 0..m {
        let top = (c..m).max_by(|&i, &j| a[i][c].abs().total_cmp(&a[j][c].abs()))?;
        a.swap(c, top);
        let pivot = a[c][c].abs();
        if pivot.is_nan() || pivot <= 1e-15 * size {
            return None;
        }
        for r in c + 1..m {
            let factor = a[r][c] / a[c][c];
            for k in c..=m {
                a[r][k] -= factor * a[c][k];
            }
        }
    }
    let mut y = vec![0.0; m];
    for r in (0..m).rev() {
        let known: f64 = (r + 1..m).map(|k| a[r][k] * y[k]).sum();
        y[r] = (a[r][m] - known) / a[r][r];
    }
    let sum: f64 = y.iter().sum();
    (sum.is_finite() && sum != 0.0).then(|| y.iter().map(|v| v / sum).collect())
}

fn mean(points: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut x = vec![0.0; points[0].len()];
    for (p, w) in points.iter().zip(weights) {
        for (x, p) in x.iter_mut().zip(p) {
            *x += w * p;
        }
    }
    x
}

/// Point of least norm of `g − Z`, from the vertex that is extreme at `u`; `calls` bounds the
/// passes over the rows.
fn nearest(f: &Function<'_>, positive: bool, g: &[f64], u: &[f64], calls: &mut usize) -> Vec<f64> {
    let mut buffer = vec![0.0; g.len()];
    let mut vertex = |v: &[f64]| -> Vec<f64> {
        active(f, positive, false, v, &mut buffer);
        g.iter().zip(&buffer).map(|(a, b)| a - b).collect()
    };
    let mut points = vec![vertex(u)];
    let mut weights = vec![1.0];
    let mut x = points[0].clone();
    while *calls > 0 {
        *calls -= 1;
        let q = vertex(&x);
        let square = dot(&x, &x);
        if dot(&x, &q) >= square * (1.0 - 1e-15) || points.contains(&q) {
            break;
        }
        points.push(q);
        weights.push(0.0);
        while let Some(wanted) = affine(&points) {
            let step = weights
                .iter()
                .zip(&wanted)
                .filter(|(_, m)| **m < DUST)
                .map(|(w, m)| w / (w - m).max(f64::MIN_POSITIVE))
                .fold(1.0, f64::min);
            for (w, m) in weights.iter_mut().zip(&wanted) {
                *w += step * (m - *w);
            }
            if step >= 1.0 {
                break;
            }
            let keep: Vec<bool> = weights.iter().map(|w| *w > DUST).collect();
            if keep.iter().all(|k| *k) || keep.iter().all(|k| !*k) {
                break;
            }
            let mut it = keep.iter();
            points.retain(|_| it.next() == Some(&true));
            weights.retain(|w| *w > DUST);
        }
        let next = mean(&points, &weights);
        if dot(&next, &next) >= square {
            break;
        }
        x = next;
    }
    x
}

/// Ascends from `u`; the result has any length. Only for the gauge `‖u‖`.
pub(super) fn ascend(f: &Function<'_>, u: &[f64], positive: bool, mut calls: usize) -> Vec<f64> {
    let sign = if positive { 1.0 } else { -1.0 };
    let size = super::rows::norm(u);
    let mut u: Vec<f64> = u.iter().map(|v| v / size).collect();
    let mut value = sign * f.value(&u);
    let mut g = vec![0.0; u.len()];
    for _ in 0..PIECES {
        active(f, positive, true, &u, &mut g);
        for (g, c) in g.iter_mut().zip(&f.slope) {
            *g += sign * c;
        }
        let z = nearest(f, positive, &g, &u, &mut calls);
        let length = super::rows::norm(&z);
        if !(length > 0.0 && length.is_finite()) {
            break;
        }
        let next: Vec<f64> = z.iter().map(|v| v / length).collect();
        let reached = sign * f.value(&next);
        if reached.is_nan() || reached <= value {
            break;
        }
        let small = reached - value <= 1e-15 * reached;
        (u, value) = (next, reached);
        if small || calls == 0 {
            break;
        }
    }
    u
}
