//! Moments, multipliers and states at the iterate.

use super::pieces::{Cone, Elastic, Peak};
use super::{CONE_START, Product, Quadratic, RANGE_CAP, Relaxation, Side};
use crate::pricing::moments::envelope::majorant;
use crate::pricing::moments::kernels::{combine, dot};
use crate::pricing::moments::rows::pair;

impl Relaxation<'_> {
    /// out = U a for the second moments in `x`.
    pub(super) fn times(p: usize, x: &[f64], a: &[f64], out: &mut Vec<f64>) {
        out.clear();
        for i in 0..p {
            let mut s = 0.0;
            for j in 0..p {
                s += x[p + if i <= j { pair(i, j) } else { pair(j, i) }] * a[j];
            }
            out.push(s);
        }
    }

    /// Keeps the products of cone rows that are smallest at the start.
    pub(super) fn choose_products(&mut self) {
        let p = self.rows.p;
        let m = self.normals.len() / p.max(1);
        let mut scored: Vec<(f64, usize, usize)> = Vec::new();
        let mut z = Vec::new();
        for k in 0..m {
            Self::times(p, &self.x, &self.normals[k * p..(k + 1) * p], &mut z);
            for l in 0..k {
                scored.push((dot(&z, &self.normals[l * p..(l + 1) * p]), k, l));
            }
        }
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.truncate(self.tuning.products);
        self.pair_count = scored.len();
        for (i, &(_, k, l)) in scored.iter().enumerate() {
            if self.pairs.len() == i {
                self.pairs.push(Product {
                    coefficients: vec![0.0; self.tables.pairs.len()],
                    state: Elastic::default(),
                    room: 0.0,
                    change: 0.0,
                    step: Elastic::default(),
                });
            }
            let (a, b) = (&self.normals[k * p..(k + 1) * p], &self.normals[l * p..(l + 1) * p]);
            symmetric(&mut self.pairs[i].coefficients, a, b, 1.0);
        }
        self.sides.resize_with(m, Side::default);
    }

    /// First and second moments of the rows, cone and products at x.
    pub(super) fn moments(&mut self) {
        let p = self.rows.p;
        let (t, q) = (&mut self.block.t, &mut self.block.q);
        row_moments(
            self.arch,
            p,
            &self.tables.multiplicity,
            &self.h,
            &self.products,
            &self.x,
            t,
            q,
        );
        for (k, side) in self.sides.iter_mut().enumerate() {
            let a = &self.normals[k * p..(k + 1) * p];
            side.tau = dot(a, &self.x[..p]);
            Self::times(p, &self.x, a, &mut side.z);
        }
        for e in &mut self.pairs[..self.pair_count] {
            e.room = dot(&e.coefficients, &self.x[p..]);
        }
    }

    /// The moments' change along dx.
    pub(super) fn changes(&mut self) {
        let p = self.rows.p;
        let (t, q) = (&mut self.block.dt, &mut self.block.dq);
        row_moments(
            self.arch,
            p,
            &self.tables.multiplicity,
            &self.h,
            &self.products,
            &self.dx,
            t,
            q,
        );
        for (k, side) in self.sides.iter_mut().enumerate() {
            let a = &self.normals[k * p..(k + 1) * p];
            side.dtau = dot(a, &self.dx[..p]);
            Self::times(p, &self.dx, a, &mut side.dz);
        }
        for e in &mut self.pairs[..self.pair_count] {
            e.change = dot(&e.coefficients, &self.dx[p..]);
        }
    }

    /// Puts all pieces on the central path at μ for the present moments.
    pub(super) fn centre(&mut self, mu: f64) {
        let n = self.active.len();
        let k = &mut self.block;
        for i in 0..n {
            let (t, q, lo, hi) = (k.t[i], k.q[i], k.lo[i], k.hi[i]);
            if i >= self.n_p {
                let s = Peak::centre(t, (q + lo * t) / (hi + lo), mu);
                (k.state[0][i], k.state[1][i]) = (s.s, s.y[0]);
                (k.state[2][i], k.state[3][i]) = (s.y[1], s.y[2]);
            }
            let s = Elastic::centre((hi - lo) * t + hi * lo - q, mu, RANGE_CAP / (hi + lo));
            (k.state[4][i], k.state[5][i], k.state[6][i]) = (s.s, s.y0, s.y1);
        }
        let (mu, cap) = (mu.max(CONE_START), self.cone_cap);
        for side in &mut self.sides {
            side.state = Cone::centre(side.tau, &side.z, mu, cap);
        }
        for e in &mut self.pairs[..self.pair_count] {
            e.state = Elastic::centre(e.room, mu, cap);
        }
    }

    /// Multipliers (b, Q, k₀), value and complementarity of the iterate; P rows leave their
    /// tangents and curvatures.
    pub(super) fn multipliers(&mut self) {
        let (n, n_p) = (self.active.len(), self.n_p);
        let k = &mut self.block;
        let [w0, w1, w2] = &mut k.weight;
        let (w0, w1, w2) = (&mut w0[..n], &mut w1[..n], &mut w2[..n]);
        let (lo, hi, norm) = (&k.lo[..n], &k.hi[..n], &k.norm[..n]);
        let (t, q) = (&k.t[..n], &k.q[..n]);
        let (slope, curvature) = (&mut k.slope[..n], &mut k.curvature[..n]);
        let (s1, c1) = (&mut k.slope_next[..n], &mut k.curvature_next[..n]);
        let state: [&[f64]; 7] = std::array::from_fn(|j| &k.state[j][..n]);
        let (k0, value, magnitude, comp) = self.arch.dispatch(
            #[inline(always)]
            || {
                let (mut k0, mut value, mut magnitude, mut comp) = (0.0, 0.0, 0.0, 0.0);
                for i in 0..n_p {
                    let m = majorant(t[i], q[i], lo[i], hi[i]);
                    (s1[i], c1[i]) = (m.slope, m.curvature);
                    (w0[i], w1[i], w2[i]) = (m.hessian[0], m.hessian[1], m.hessian[2]);
                    k0 += m.constant;
                    value += m.constant + m.slope * t[i] + m.curvature * q[i];
                    magnitude += m.constant + norm[i] * (m.slope.abs() + m.curvature * norm[i]);
                }
                for i in n_p..n {
                    let inv = 1.0 / (hi[i] + lo[i]);
                    let z = (q[i] + lo[i] * t[i]) * inv;
                    let (y0, y1, y2) = (state[1][i], state[2][i], state[3][i]);
                    // valid for any a₁, a₂ ≥ 0 with a₁ + a₂ ≤ 1
                    let fit = 1.0 / (y1 + y2).max(1.0);
                    let (a1, a2) = ((y1 * fit).max(0.0), (y2 * fit).max(0.0) * inv);
                    (s1[i], c1[i]) = (-a1 - a2 * lo[i], -a2);
                    (w0[i], w1[i], w2[i]) = (0.0, 0.0, 0.0);
                    value -= t[i].max(z).max(0.0);
                    let s = state[0][i];
                    comp += s * y0 + (s - t[i]) * y1 + (s - z) * y2;
                    magnitude += norm[i] * (1.0 + a2 * norm[i]);
                }
                for i in 0..n {
                    let (lo, hi) = (lo[i], hi[i]);
                    let room = (hi - lo) * t[i] + hi * lo - q[i];
                    let y = state[6][i].max(0.0);
                    k0 += y * hi * lo;
                    value += RANGE_CAP / (hi + lo) * room.min(0.0);
                    comp += state[4][i] * state[5][i] + (state[4][i] + room) * y;
                    slope[i] = s1[i] + y * (hi - lo);
                    curvature[i] = c1[i] - y;
                    magnitude += y * (hi * lo + norm[i] * (hi + lo + norm[i]));
                }
                (k0, value, magnitude, comp)
            },
        );
        self.k0 = k0 + self.constant;
        self.magnitude = magnitude + self.absolute + self.constant;
        self.complementarity = comp;
        self.value = value + self.linear_value();
        let mut out = std::mem::take(&mut self.now);
        self.gather(&self.block.slope, &self.block.curvature, &mut out);
        self.cone_multipliers(&mut out);
        self.now = out;
    }

    fn cone_multipliers(&mut self, out: &mut Quadratic) {
        let p = self.rows.p;
        for (k, side) in self.sides.iter().enumerate() {
            let a = &self.normals[k * p..(k + 1) * p];
            let s = &side.state;
            let zeta = side.z.iter().map(|c| c * c).sum::<f64>().sqrt();
            self.value += self.cone_cap * (side.tau - zeta).min(0.0);
            self.complementarity += s.s * s.y0 + (side.tau + s.s) * s.rho + dot(&s.gamma, &side.z);
            let length = s.gamma.iter().map(|c| c * c).sum::<f64>().sqrt();
            // the multiplier of τ must be at least ‖γ‖
            let rho = s.rho.max(length * (1.0 + 1e-14));
            self.magnitude += 4.0 * rho;
            add_cone(out, p, a, rho, &s.gamma);
        }
        for e in &self.pairs[..self.pair_count] {
            let y = e.state.y1.max(0.0);
            self.value += self.cone_cap * e.room.min(0.0);
            self.complementarity += e.state.s * e.state.y0 + (e.state.s + e.room) * y;
            self.magnitude += y;
            add_product(out, p, &self.tables.pairs, &e.coefficients, y);
        }
    }
}

/// t = h·u and q = hᵀUh of every row.
fn row_moments(
    arch: pulp::Arch,
    p: usize,
    multiplicity: &[f64],
    h: &[f64],
    products: &[f64],
    x: &[f64],
    t: &mut [f64],
    q: &mut [f64],
) {
    let (np, stride) = (multiplicity.len(), t.len());
    combine(arch, h, stride, &x[..p], t);
    let mut scaled = [0.0; 128];
    for k in 0..np {
        scaled[k] = x[p + k] * multiplicity[k];
    }
    combine(arch, products, stride, &scaled[..np], q);
}

/// Adds ρ·a to b and ½(γaᵀ + aγᵀ) to Q.
pub(super) fn add_cone(out: &mut Quadratic, p: usize, a: &[f64], rho: f64, gamma: &[f64]) {
    for i in 0..p {
        out.b[i] += rho * a[i];
        for j in 0..p {
            out.q[i * p + j] += 0.5 * (gamma[i] * a[j] + a[i] * gamma[j]);
        }
    }
}

/// Adds y·(product) to Q.
pub(super) fn add_product(
    out: &mut Quadratic,
    p: usize,
    pairs: &[(usize, usize)],
    coefficients: &[f64],
    y: f64,
) {
    for (e, &(a, b)) in coefficients.iter().zip(pairs) {
        if a == b {
            out.q[a * p + a] += y * e;
        } else {
            out.q[a * p + b] += 0.5 * y * e;
            out.q[b * p + a] += 0.5 * y * e;
        }
    }
}

/// Coefficients of scale·zᵀUa as a function of the entries of U.
pub(super) fn symmetric(out: &mut [f64], z: &[f64], a: &[f64], scale: f64) {
    let mut k = 0;
    for j in 0..a.len() {
        for i in 0..j {
            out[k] = scale * (z[i] * a[j] + z[j] * a[i]);
            k += 1;
        }
        out[k] = scale * z[j] * a[j];
        k += 1;
    }
}
