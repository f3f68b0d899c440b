//! Rigorous maximum of a quadratic over the unit sphere, and the ellipsoid of points above a level.

use crate::pricing::moments::kernels::{dot, eigen};
use pulp::Arch;

/// A certified statement about u ↦ k + bᵀu + uᵀQu on the unit sphere: it equals `bound` −
/// (u−u₀)ᵀA(u−u₀) up to terms already inside `bound`, A ⪰ 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    /// upper bound of the maximum
    pub bound: f64,
    /// centre u₀ = ½A⁻¹b
    pub centre: Vec<f64>,
    /// Cholesky factor (lower, reciprocal diagonal) of a matrix ⪯ A = mI − Q
    pub factor: Vec<f64>,
}

/// Buffers of [`certify`].
#[derive(Default)]
pub(crate) struct Scratch {
    values: Vec<f64>,
    vectors: Vec<f64>,
    projected: Vec<f64>,
}

impl Scratch {
    /// For the (b, Q) of the last [`certify`]: (m, z₀) minimising m + z₀ − μ log det [[z₀, −bᵀ/2],
    /// [−b/2, mI − Q]].
    pub fn dual_centre(&self, p: usize, mu: f64) -> (f64, f64) {
        let lambda = |i: usize| self.values[i];
        let top = (0..p).map(lambda).fold(f64::NEG_INFINITY, f64::max);
        // z₀ = ¼bᵀA⁻¹b + μ; then 1 = ¼‖A⁻¹b‖² + μ tr A⁻¹ fixes m = top + e, the right side falling
        // in e
        let load = |e: f64| -> (f64, f64) {
            let (mut s, mut ds) = (0.0, 0.0);
            for i in 0..p {
                let d = 1.0 / (e + (top - lambda(i)));
                let g = 0.25 * self.projected[i] * self.projected[i] * d * d;
                s += g + mu * d;
                ds += 2.0 * g * d + mu * d * d;
            }
            (s, ds)
        };
        let mut e = mu;
        for _ in 0..60 {
            let (s, ds) = load(e);
            // Newton on 1/√load, which is concave: monotone from the left
            let step = 2.0 * s * (s.sqrt() - 1.0) / ds;
            e += step;
            if step <= 1e-9 * e {
                break;
            }
        }
        let z0 = mu
            + (0..p)
                .map(|i| 0.25 * self.projected[i].powi(2) / (e + (top - lambda(i))))
                .sum::<f64>();
        (top + e, z0)
    }
}

/// Certifies max over ‖u‖ = 1 of k + bᵀu + uᵀQu ≤ min_m m + k + ¼bᵀ(mI − Q)⁻¹b (equality at the
/// minimiser).
///
/// Rounding: A = mI − Q ⪰ 0 holds because the Cholesky factorisation of A − δI succeeds with δ
/// above the backward error (p+2)²·2⁻⁵³·‖A‖ of the factorisation. Then for any u₀, with r = b −
/// 2Au₀, on the sphere bᵀu − uᵀAu = bᵀu₀ − u₀ᵀAu₀ + rᵀ(u−u₀) − (u−u₀)ᵀA(u−u₀) and |rᵀ(u−u₀)| ≤
/// ‖r‖(1 + ‖u₀‖). False if no m works.
pub(crate) fn certify(
    arch: Arch,
    k: f64,
    b: &[f64],
    q: &[f64],
    scratch: &mut Scratch,
    out: &mut Certificate,
) -> bool {
    let p = b.len();
    let Scratch { values, vectors, projected } = scratch;
    vectors.clear();
    vectors.extend_from_slice(q);
    values.resize(p, 0.0);
    eigen(arch, vectors, values);
    projected.clear();
    projected.extend((0..p).map(|i| dot(&vectors[i * p..(i + 1) * p], b)));
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let size = values.iter().map(|v| v.abs()).fold(0.0, f64::max)
        + b.iter().map(|c| c * c).sum::<f64>().sqrt();
    if !(size.is_finite() && k.is_finite() && top.is_finite()) {
        return false;
    }
    let floor = 1e-9 * size + 1e-140;
    // m − top = e; slope of m + ¼Σg²/(m−λ): 1 − ¼Σg²/(m−λ)²
    let excess = |e: f64| -> (f64, f64) {
        let (mut s2, mut s3) = (0.0, 0.0);
        for i in 0..p {
            let d = 1.0 / (e + (top - values[i]));
            let g = projected[i] * d;
            s2 += g * g;
            s3 += g * g * d;
        }
        (0.5 * s2.sqrt(), 0.25 * s3)
    };
    let mut e = floor;
    let (mut norm, mut third) = excess(e);
    if norm > 1.0 {
        // Newton's method on 1/‖u₀‖ rises monotonically to the root from the left
        for _ in 0..60 {
            let step = norm * norm * (norm - 1.0) / third;
            e += step;
            (norm, third) = excess(e);
            if norm <= 1.0 + 1e-9 || step.is_nan() || step <= 0.0 {
                break;
            }
        }
    }
    out.factor.resize(p * p, 0.0);
    out.centre.resize(p, 0.0);
    for _ in 0..12 {
        let m = top + e;
        let delta = 8.0 * ((p + 2) * (p + 2)) as f64 * f64::EPSILON * (m.abs() + size);
        for i in 0..p {
            for j in 0..=i {
                out.factor[i * p + j] = -q[i * p + j];
            }
            out.factor[i * p + i] += m - delta;
        }
        if crate::pricing::moments::kernels::cholesky(arch, &mut out.factor, p) {
            out.centre.fill(0.0);
            for i in 0..p {
                let c = 0.5 * projected[i] / (e + (top - values[i]));
                for (x, y) in out.centre.iter_mut().zip(&vectors[i * p..(i + 1) * p]) {
                    *x += c * y;
                }
            }
            let (mut value, mut residual, mut length) = (0.0, 0.0, 0.0);
            for i in 0..p {
                let ui = out.centre[i];
                let au = m * ui - dot(&q[i * p..(i + 1) * p], &out.centre);
                value += ui * (b[i] - au);
                residual += (b[i] - 2.0 * au) * (b[i] - 2.0 * au);
                length += ui * ui;
            }
            let length = length.sqrt();
            let rounding =
                64.0 * p as f64 * f64::EPSILON * (size + m.abs()) * (1.0 + length).powi(2)
                    + 4.0 * f64::EPSILON * k.abs();
            out.bound = k + m + value + residual.sqrt() * (1.0 + length) + rounding;
            return out.bound.is_finite();
        }
        e = 4.0 * e + floor;
    }
    false
}

impl Certificate {
    /// Half width of hᵀu over {(u−u₀)ᵀA(u−u₀) ≤ radius²}: radius·√(hᵀA⁻¹h), rounded up.
    ///
    /// The factor L has LLᵀ ⪯ A, condition number at most about 10⁵ (the smallest eigenvalue of A
    /// is kept above 10⁻⁹ of its size), so forward substitution is accurate to far better than the
    /// factor 1 + 10⁻⁷.
    pub fn reach(&self, radius: f64, h: &[f64], y: &mut [f64]) -> f64 {
        let p = h.len();
        let mut s = 0.0;
        for i in 0..p {
            let row = &self.factor[i * p..i * p + i];
            let mut v = h[i];
            for (l, x) in row.iter().zip(&y[..i]) {
                v -= l * x;
            }
            y[i] = v * self.factor[i * p + i];
            s += y[i] * y[i];
        }
        radius * s.sqrt() * (1.0 + 1e-7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn bound_holds_and_is_attained() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut scratch, mut c) = (Scratch::default(), Certificate::default());
        for round in 0..300 {
            let p = 1 + round % 6;
            let mut q = vec![0.0; p * p];
            for i in 0..p {
                for j in 0..=i {
                    q[i * p + j] = rng.random::<f64>() - 0.5;
                    q[j * p + i] = q[i * p + j];
                }
            }
            let scale = if round % 3 == 0 { 0.0 } else { 1.0 };
            let b: Vec<f64> = (0..p).map(|_| scale * (rng.random::<f64>() - 0.5)).collect();
            assert!(certify(Arch::new(), 0.3, &b, &q, &mut scratch, &mut c));
            let value = |u: &[f64]| {
                (0..p).fold(0.3, |s, i| s + u[i] * (b[i] + dot(&q[i * p..(i + 1) * p], u)))
            };
            let mut best = f64::NEG_INFINITY;
            let mut y = vec![0.0; p];
            for _ in 0..2000 {
                let mut u: Vec<f64> = (0..p).map(|_| rng.random::<f64>() - 0.5).collect();
                crate::pricing::moments::rows::normalise(&mut u);
                let f = value(&u);
                best = best.max(f);
                // points above a level lie in the ellipsoid
                let radius = (c.bound - f).max(0.0).sqrt();
                let away = (u[0] - c.centre[0]).abs();
                let mut h = vec![0.0; p];
                h[0] = 1.0;
                assert!(away <= c.reach(radius, &h, &mut y) + 1e-7);
            }
            assert!(best <= c.bound);
            if p <= 2 {
                assert!(best > c.bound - 1e-2, "{best} {}", c.bound);
            }
        }
    }
}
