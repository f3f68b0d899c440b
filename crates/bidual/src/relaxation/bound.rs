//! From multipliers to a rigorous bound on the price of a neuron.

use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, eigen, norm,
};

/// Multipliers of one row of one sign, all ≥ 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multiplier {
    /// Of a ≥ t.
    pub above: f64,
    /// Of a ≥ −t.
    pub below: f64,
    /// Of h a ≥ q.
    pub chord: f64,
    /// Where a² ≤ qτ is linearised: a ≤ ½(q/r + rτ) for this r > 0.
    pub point: f64,
}

/// Upper bound on max{ s Σ ν_i (x_iᵀu)₊ : ‖u‖ = 1 }, rounding included; +∞ if none was found.
///
/// With w = sν, ½w_i|t| = (c − α − β − γh)|t| for c = ½w + α + β + γh ≥ 0, and on the sphere
/// c|t| ≤ ½c(t²/r + r), −α|t| ≤ −αt, −β|t| ≤ βt, −γh|t| ≤ −γt². So the price is at most
/// k + bᵀu + uᵀQu, and for A = mI − Q ⪰ 0 and any y, with r = b − Ay,
/// bᵀu − uᵀAu ≤ ¼yᵀAy + ‖r‖ on the sphere (derived here).
pub(super) fn price(x: &Mat, nu: &[f64], multipliers: &[Multiplier], s: f64) -> f64 {
    let (n, d) = (x.nrows(), x.ncols());
    let (mut k, mut magnitude) = (0.0, 0.0);
    let mut linear = vec![0.0; n];
    let mut curvature = vec![0.0; n];
    for i in 0..n {
        let square: f64 = (0..d).map(|j| x[(i, j)] * x[(i, j)]).sum();
        if square == 0.0 {
            // squares may have underflowed
            let length: f64 = (0..d).map(|j| x[(i, j)].abs()).sum();
            k += length * nu[i].abs();
            continue;
        }
        // h may be too large by rounding, never too small
        let h = square.sqrt() * (1.0 + d as f64 * f64::EPSILON);
        let half = 0.5 * s * nu[i];
        let m = &multipliers[i];
        let (mut above, mut below, mut chord) =
            (m.above.max(0.0), m.below.max(0.0), m.chord.max(0.0));
        let total = above + below + chord * h;
        let mut c = half + total;
        if c < 0.0 {
            if total > 0.0 {
                let factor = -half / total;
                (above, below, chord) = (above * factor, below * factor, chord * factor);
            } else {
                (above, below) = (-0.5 * half, -0.5 * half);
            }
            c = 0.0;
        }
        let r = if m.point > 0.0 && m.point.is_finite() { m.point.min(h) } else { h };
        linear[i] = half - above + below;
        curvature[i] = 0.5 * c / r - chord;
        k += 0.5 * c * r;
        let slopes = half.abs() + above + below + chord * h + c;
        magnitude += slopes * h + 0.5 * c * (square / r + r) + chord * square;
    }
    let mut b = vec![0.0; d];
    let mut q = Mat::zeros(d, d);
    let mut scaled = Mat::zeros(n, d);
    for j in 0..d {
        b[j] = dot(column(x, j), &linear);
        let to = column_mut(&mut scaled, j);
        to.iter_mut().zip(column(x, j)).zip(&curvature).for_each(|((t, x), c)| *t = c * x);
    }
    for j in 0..d {
        for l in 0..=j {
            let value = dot(column(x, l), column(&scaled, j));
            (q[(j, l)], q[(l, j)]) = (value, value);
        }
    }
    // every sum above, entry by entry; d² entries of Q and d of b act on unit vectors
    let margin = 4.0 * (n + d + 16) as f64 * f64::EPSILON * (d as f64) * magnitude;
    let Some(sphere) = sphere(&q, &b) else { return f64::INFINITY };
    // `max` would turn a NaN into 0
    let bound = k + sphere + margin;
    if bound.is_nan() { f64::INFINITY } else { bound.max(0.0) }
}

/// Upper bound on max{bᵀu + uᵀQu : ‖u‖ = 1} for these numbers.
fn sphere(q: &Mat, b: &[f64]) -> Option<f64> {
    let d = b.len();
    let (values, basis) = eigen(q)?;
    let g: Vec<f64> = (0..d).map(|j| (0..d).map(|i| basis[(i, j)] * b[i]).sum()).collect();
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let size = values.iter().fold(0.0f64, |t, v| t.max(v.abs())) + norm(b);
    if size == 0.0 {
        return Some(0.0);
    }
    // m beyond the largest eigenvalue with ¼Σ g²/(m − λ)² = 1
    let (mut low, mut high) = (top, top + 0.5 * norm(b) + 1e-9 * size);
    for _ in 0..200 {
        let middle = low + 0.5 * (high - low);
        let slope: f64 = g.iter().zip(&values).map(|(g, v)| (g / (middle - v)).powi(2)).sum();
        if 0.25 * slope > 1.0 { low = middle } else { high = middle }
    }
    // the least shift at which the factorisation proves A ⪰ δI
    let unit = 1e-13 * size;
    for step in 0..30 {
        let m = high + unit * 2f64.powi(step);
        // a factorisation that succeeds proves A − δI ⪰ −(rounding below δ)
        let delta = 4.0 * ((d + 4) * (d + 4)) as f64 * f64::EPSILON * (size + m.abs());
        let a = Mat::from_fn(d, d, |i, j| if i == j { m - q[(i, j)] } else { -q[(i, j)] });
        let mut factor = Mat::from_fn(d, d, |i, j| a[(i, j)] - if i == j { delta } else { 0.0 });
        if !cholesky_in_place(&mut factor) {
            continue;
        }
        let mut y = b.to_vec();
        cholesky_solve(&factor, &mut y);
        let mut ay = vec![0.0; d];
        (0..d).for_each(|j| axpy(y[j], column(&a, j), &mut ay));
        let rest: Vec<f64> = b.iter().zip(&ay).map(|(b, a)| b - a).collect();
        let quarter = 0.25 * dot(&y, &ay);
        let scale = (size + m.abs()) * (norm(&y) + 1.0).powi(2);
        let rounding = 8.0 * (d + 4) as f64 * f64::EPSILON * scale * d as f64;
        return Some(m + quarter + norm(&rest) + rounding);
    }
    None
}
