//! Primal–dual Newton steps of the small pieces of the relaxation.
//!
//! A piece is max over its slack s of −cap·s subject to s + (something) in a cone; eliminating the
//! Newton step of the slack and of the multipliers leaves a linear term and a negative Hessian in
//! the moments. With D = y/σ the primal–dual weights of σ·y = μ, everything below is one step of
//! that elimination (derived here).

/// Two-piece term −cap·max(0, −x): s ≥ 0, x + s ≥ 0 with multipliers y₀ + y₁ = cap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elastic {
    /// slack
    pub s: f64,
    /// multiplier of s ≥ 0
    pub y0: f64,
    /// multiplier of x + s ≥ 0
    pub y1: f64,
}

impl Elastic {
    /// The point on the central path at μ.
    #[inline(always)]
    pub fn centre(x: f64, mu: f64, cap: f64) -> Self {
        let b = x * cap;
        let root = (b * b + 4.0 * mu * mu).sqrt();
        // the larger of root ± b directly, the other one from their product 4μ²
        let large = root + b.abs();
        let small = 4.0 * mu * mu / large;
        let (plus, minus) = if b >= 0.0 { (large, small) } else { (small, large) };
        let y1 = 2.0 * mu * cap / (2.0 * mu + plus);
        let y0 = 2.0 * mu * cap / (2.0 * mu + minus);
        Self { s: mu / y0, y0, y1 }
    }

    /// (ŷ, weight): after a step dx the multiplier is ŷ − weight·dx.
    #[inline(always)]
    pub fn newton(&self, x: f64, mu: f64, cap: f64) -> (f64, f64) {
        let (i0, i1) = (1.0 / self.s, 1.0 / (x + self.s));
        let (d0, d1) = (self.y0 * i0, self.y1 * i1);
        let inv = 1.0 / (d0 + d1);
        (mu * i1 - d1 * (mu * (i0 + i1) - cap) * inv, d0 * d1 * inv)
    }

    /// Step (ds, dy₀, dy₁) for dx.
    #[inline(always)]
    pub fn step(&self, x: f64, dx: f64, mu: f64, cap: f64) -> Self {
        let (i0, i1) = (1.0 / self.s, 1.0 / (x + self.s));
        let (d0, d1) = (self.y0 * i0, self.y1 * i1);
        let s = (mu * (i0 + i1) - cap - d1 * dx) / (d0 + d1);
        Self { s, y0: mu * i0 - self.y0 - d0 * s, y1: mu * i1 - self.y1 - d1 * (dx + s) }
    }
}

/// Three-piece term −max(0, z₁, z₂): s ≥ 0, s ≥ z₁, s ≥ z₂ with multipliers adding up to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peak {
    /// epigraph variable
    pub s: f64,
    /// multipliers
    pub y: [f64; 3],
}

impl Peak {
    /// The point on the central path at μ.
    #[inline(always)]
    pub fn centre(z1: f64, z2: f64, mu: f64) -> Self {
        let top = z1.max(z2).max(0.0);
        let d = [top, top - z1, top - z2];
        // Σμ/(s − z_j) = 1, from the left of the root; Newton on the reciprocal, which is nearly
        // linear
        let mut e = mu;
        for _ in 0..5 {
            let i = d.map(|d| 1.0 / (e + d));
            let f = mu * (i[0] + i[1] + i[2]);
            e += f * (f - 1.0) / (mu * (i[0] * i[0] + i[1] * i[1] + i[2] * i[2]));
        }
        Self { s: top + e, y: d.map(|d| mu / (e + d)) }
    }

    /// (ŷ₁, ŷ₂, G₁₁, G₁₂, G₂₂): after a step the multipliers are ŷ + G·dz.
    #[inline(always)]
    pub fn newton(&self, z1: f64, z2: f64, mu: f64) -> [f64; 5] {
        let i = [1.0 / self.s, 1.0 / (self.s - z1), 1.0 / (self.s - z2)];
        let d = [self.y[0] * i[0], self.y[1] * i[1], self.y[2] * i[2]];
        let inv = 1.0 / (d[0] + d[1] + d[2]);
        let r = (mu * (i[0] + i[1] + i[2]) - 1.0) * inv;
        [
            mu * i[1] - d[1] * r,
            mu * i[2] - d[2] * r,
            d[1] * (d[0] + d[2]) * inv,
            -d[1] * d[2] * inv,
            d[2] * (d[0] + d[1]) * inv,
        ]
    }

    /// Step for (dz₁, dz₂).
    #[inline(always)]
    pub fn step(&self, z1: f64, z2: f64, dz1: f64, dz2: f64, mu: f64) -> Self {
        let i = [1.0 / self.s, 1.0 / (self.s - z1), 1.0 / (self.s - z2)];
        let d = [self.y[0] * i[0], self.y[1] * i[1], self.y[2] * i[2]];
        let s = (mu * (i[0] + i[1] + i[2]) - 1.0 + d[1] * dz1 + d[2] * dz2) / (d[0] + d[1] + d[2]);
        let y = [
            mu * i[0] - self.y[0] - d[0] * s,
            mu * i[1] - self.y[1] - d[1] * (s - dz1),
            mu * i[2] - self.y[2] - d[2] * (s - dz2),
        ];
        Self { s, y }
    }
}

/// Conic term −cap·(‖z‖ − τ)_+: s ≥ 0, τ + s ≥ ‖z‖ with multipliers y₀ + ρ = cap, ‖γ‖ ≤ ρ.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cone {
    /// slack
    pub s: f64,
    /// multiplier of the slack
    pub y0: f64,
    /// multiplier of τ
    pub rho: f64,
    /// multiplier of z
    pub gamma: Vec<f64>,
}

/// One Newton step of a [`Cone`] in the plane of τ and a unit vector: multipliers and negative
/// Hessian spread·I on z plus the 2×2 form (tt, tz, zz) on (dτ, directionᵀdz).
#[derive(Clone, Debug, Default)]
pub(crate) struct ConeNewton {
    /// multiplier of τ for a zero step
    pub rho: f64,
    /// multiplier of z for a zero step
    pub gamma: Vec<f64>,
    /// weight of ‖dz‖²
    pub spread: f64,
    /// unit vector, or zero
    pub direction: Vec<f64>,
    /// the 2×2 form
    pub form: [f64; 3],
    /// (H₀₀, H_z0 length, D₀, r) of the elimination of the slack
    slack: [f64; 4],
}

impl Cone {
    /// The point on the central path at μ.
    pub fn centre(tau: f64, z: &[f64], mu: f64, cap: f64) -> Self {
        let zeta = z.iter().map(|c| c * c).sum::<f64>().sqrt().max(1e-150);
        let p = Peak::centre((zeta - tau) * cap, (-zeta - tau) * cap, mu);
        let (y0, y1, y2) = (p.y[0] * cap, p.y[1] * cap, p.y[2] * cap);
        let gamma = z.iter().map(|c| -(y1 - y2) * c / zeta).collect();
        Self { s: p.s / cap, y0, rho: y1 + y2, gamma }
    }

    /// Step data at (τ, z).
    pub fn newton(&self, tau: f64, z: &[f64], mu: f64, cap: f64, out: &mut ConeNewton) {
        let v = tau + self.s;
        let zz: f64 = z.iter().map(|c| c * c).sum();
        let gg: f64 = self.gamma.iter().map(|c| c * c).sum();
        let (zeta, gnorm) = (zz.sqrt(), gg.sqrt());
        let det = ((v - zeta) * (v + zeta)).max(1e-300);
        let ydet = ((self.rho - gnorm) * (self.rho + gnorm)).max(1e-300);
        let (rs, ry) = (det.sqrt(), ydet.sqrt());
        // scaling point: w ∝ s/√det + J y/√ydet, its mirror image is the direction of H
        let inner =
            (v * self.rho + z.iter().zip(&self.gamma).map(|(a, b)| a * b).sum::<f64>()) / (rs * ry);
        let g = 1.0 / (2.0 * (1.0 + inner.max(1.0))).sqrt();
        let h = ry / rs;
        let v0 = (v / rs + self.rho / ry) * g;
        out.direction.clear();
        // J(s̄ + Jȳ) on z: −z/√det + γ/√ydet
        out.direction.extend(z.iter().zip(&self.gamma).map(|(a, b)| (b / ry - a / rs) * g));
        let nu = out.direction.iter().map(|c| c * c).sum::<f64>().sqrt();
        if nu > 0.0 {
            out.direction.iter_mut().for_each(|c| *c /= nu);
        }
        let d0 = self.y0 / self.s;
        let h00 = h * (1.0 + 2.0 * nu * nu);
        let hz = 2.0 * h * v0 * nu;
        let total = 1.0 / (h00 + d0);
        let r = (2.0 * mu * v / det + mu / self.s - cap) * total;
        out.rho = 2.0 * mu * v / det - h00 * r;
        out.gamma.clear();
        out.gamma
            .extend(z.iter().zip(&out.direction).map(|(c, e)| -2.0 * mu * c / det - hz * r * e));
        out.spread = h;
        out.form = [h00 * d0 * total, hz * d0 * total, 2.0 * h * nu * nu - hz * hz * total];
        out.slack = [h00, hz, d0, r];
    }

    /// Step for (dτ, dz).
    pub fn step(&self, n: &ConeNewton, dtau: f64, dz: &[f64], mu: f64) -> Self {
        let [h00, hz, d0, r] = n.slack;
        let along: f64 = n.direction.iter().zip(dz).map(|(a, b)| a * b).sum();
        let s = r - (h00 * dtau + hz * along) / (h00 + d0);
        let [tt, tz, zz] = n.form;
        let rho = n.rho - tt * dtau - tz * along - self.rho;
        let gamma = (0..dz.len())
            .map(|i| {
                n.gamma[i]
                    - n.spread * dz[i]
                    - (tz * dtau + zz * along) * n.direction[i]
                    - self.gamma[i]
            })
            .collect();
        Self { s, y0: mu / self.s - self.y0 - d0 * s, rho, gamma }
    }
}

/// Largest α ≤ 1 with (v, z) + α(dv, dz) in the second-order cone.
pub(crate) fn cone_reach(v: f64, z: &[f64], dv: f64, dz: &[f64]) -> f64 {
    let (mut a, mut b, mut c) = (dv * dv, v * dv, v * v);
    for (x, d) in z.iter().zip(dz) {
        a -= d * d;
        b -= x * d;
        c -= x * x;
    }
    // a α² + 2bα + c = 0
    let disc = b * b - a * c;
    let mut reach: f64 = if dv < 0.0 { -v / dv } else { f64::INFINITY };
    if disc >= 0.0 {
        let q = -(b + if b >= 0.0 { disc.sqrt() } else { -disc.sqrt() });
        for root in [q / a, c / q] {
            if root > 0.0 && root < reach {
                reach = root;
            }
        }
    }
    reach.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centres_are_fixed_points() {
        let mu = 1e-3;
        for x in [0.5, -0.3, 1e-6] {
            let e = Elastic::centre(x, mu, 8.0);
            let d = e.step(x, 0.0, mu, 8.0);
            assert!(d.s.abs() < 1e-9 && d.y0.abs() < 1e-9 && d.y1.abs() < 1e-9, "{d:?}");
            let (y, _) = e.newton(x, mu, 8.0);
            assert!((y - e.y1).abs() < 1e-9);
        }
        let p = Peak::centre(0.2, -0.1, mu);
        let d = p.step(0.2, -0.1, 0.0, 0.0, mu);
        assert!(d.s.abs() < 1e-7 && d.y.iter().all(|c| c.abs() < 1e-7), "{p:?} {d:?}");
        for tau in [0.5, 0.1, -0.2] {
            let z = [0.2, -0.1, 0.05];
            let c = Cone::centre(tau, &z, mu, 20.0);
            let mut n = ConeNewton::default();
            c.newton(tau, &z, mu, 20.0, &mut n);
            let d = c.step(&n, 0.0, &[0.0; 3], mu);
            assert!(d.s.abs() < 1e-7 && d.rho.abs() < 1e-5 && d.y0.abs() < 1e-5, "{c:?} {d:?}");
            assert!(d.gamma.iter().all(|c| c.abs() < 1e-5), "{d:?}");
            // near the centre the multipliers move as the form says
            let (dt, dz) = (1e-6, [2e-6, -1e-6, 3e-6]);
            let moved: Vec<f64> = z.iter().zip(&dz).map(|(a, b)| a + b).collect();
            let e = Cone::centre(tau + dt, &moved, mu, 20.0);
            let d = c.step(&n, dt, &dz, mu);
            let want = e.rho - c.rho;
            assert!((d.rho - want).abs() < 1e-3 * want.abs() + 1e-7, "{} {want}", d.rho);
            for i in 0..3 {
                let want = e.gamma[i] - c.gamma[i];
                assert!((d.gamma[i] - want).abs() < 2e-3 * want.abs() + 1e-6, "{d:?} {want}");
            }
        }
    }
}
