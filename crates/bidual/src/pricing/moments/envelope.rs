//! Quadratic majorants of (t)_+ on a range, chosen from the first two moments of t (derived here).

/// A majorant α + βt + γt² of (t)_+ on [−lo, hi] and the negative Hessian of its best value ψ(t,
/// q).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Majorant {
    /// constant α
    pub constant: f64,
    /// β = ∂ψ/∂t
    pub slope: f64,
    /// γ = ∂ψ/∂q
    pub curvature: f64,
    /// −∂²ψ/∂t², −∂²ψ/∂t∂q, −∂²ψ/∂q²
    pub hessian: [f64; 3],
}

/// The best majorant at the moments (E t, E t²) = (t, q) among
/// ½t + ¼(t²/r + r), r > 0 (valid on the whole line), and, with s = t + lo on [−lo, ∞),
/// s − 2lo·s/s₀ + lo·s²/s₀², s₀ ≥ 2lo, or its mirror image when hi < lo.
///
/// The second one is s(1 − 2lo/s₀ + lo·s/s₀²) ≥ 0 for s₀ ≥ 2lo, and minus t it is lo(1 − s/s₀)².
/// Every r > 0 and every s₀ ≥ 2lo is valid, so rounding in their choice does no harm.
#[inline(always)]
pub(crate) fn majorant(t: f64, q: f64, lo: f64, hi: f64) -> Majorant {
    let mirrored = hi < lo;
    let (g, far) = if mirrored { (hi, lo) } else { (lo, hi) };
    let r = q.max(1e-24 * (lo + hi) * (lo + hi)).sqrt();
    let tau = if mirrored { -t } else { t };
    let width = g + far;
    let a = tau + g;
    let d = (q + g * (2.0 * tau + g)).max(1e-24 * width * width);
    let free = a * width > d;
    let s0 = if free { d / a } else { width }.max(2.0 * g);
    let inv = 1.0 / s0;
    let e = g * inv;
    let near = r <= g;
    let w = if free { 2.0 * g / d } else { 0.0 };
    let v = 1.0 - 2.0 * e;
    let slope = 1.0 - 2.0 * e + 2.0 * e * e;
    if near {
        let k = 0.25 / r;
        Majorant {
            constant: 0.25 * r,
            slope: 0.5,
            curvature: k,
            hessian: [0.0, 0.0, 0.5 * k / (r * r)],
        }
    } else {
        let sign = if mirrored { -1.0 } else { 1.0 };
        Majorant {
            constant: g * (1.0 - e) * (1.0 - e),
            slope: if mirrored { 1.0 - slope } else { slope },
            curvature: e * inv,
            hessian: [w * v * v, -sign * w * v * inv, w * inv * inv],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn majorants_lie_above_the_ramp() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20_000 {
            let lo = rng.random::<f64>().powi(3);
            let hi = rng.random::<f64>().powi(3);
            let t = (rng.random::<f64>() * 1.4 - 0.2) * (hi + lo) - lo;
            let q = t * t + rng.random::<f64>().powi(2) * hi * lo;
            let m = majorant(t, q, lo, hi);
            for k in 0..=50 {
                let x = -lo + (hi + lo) * k as f64 / 50.0;
                let value = m.constant + m.slope * x + m.curvature * x * x;
                assert!(value >= x.max(0.0) - 1e-12 * (hi + lo), "{lo} {hi} {t} {q} at {x}");
            }
        }
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..2000 {
            let (lo, hi) = (0.1 + rng.random::<f64>(), 0.1 + rng.random::<f64>());
            let t = -lo + (hi + lo) * (0.1 + 0.8 * rng.random::<f64>());
            let q = t * t + 0.9 * rng.random::<f64>() * (hi - t) * (t + lo);
            let m = majorant(t, q, lo, hi);
            let at = |t: f64, q: f64| majorant(t, q, lo, hi);
            let value = |m: Majorant, t: f64, q: f64| m.constant + m.slope * t + m.curvature * q;
            let e = 1e-6;
            let dt = (value(at(t + e, q), t + e, q) - value(at(t - e, q), t - e, q)) / (2.0 * e);
            assert!((dt - m.slope).abs() < 1e-6);
            let (p, o) = (at(t + e, q), at(t - e, q));
            let tt = -(p.slope - o.slope) / (2.0 * e);
            let tq = -(p.curvature - o.curvature) / (2.0 * e);
            if (tt - m.hessian[0]).abs() > 1e-3 * (1.0 + tt.abs()) {
                // only at a change of region
                assert!(((q.sqrt() - lo.min(hi)) / lo.min(hi)).abs() < 1e-3, "{tt} {:?}", m);
            } else {
                assert!((tq - m.hessian[1]).abs() < 1e-3 * (1.0 + tq.abs()), "{tq} {:?}", m);
            }
        }
    }
}
