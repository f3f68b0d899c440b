//! The Newton system of the relaxation: scaling of the matrix constraint, assembly, step lengths.

use super::moments::{add_cone, add_product, symmetric};
use super::pieces::{Elastic, Peak, cone_reach};
use super::{RANGE_CAP, Relaxation};
use crate::pricing::moments::kernels::{cholesky, dots, eigen, eigenvalues, rank_one, solve};
use crate::pricing::moments::rows::pair;

/// Fraction of the way to the boundary.
const KEEP: f64 = 0.92;

impl Relaxation<'_> {
    /// The extended moment matrix of `x` (row-major, order p + 1); `corner` is its first entry.
    fn matrix(&self, x: &[f64], corner: f64, out: &mut [f64]) {
        let p = self.rows.p;
        let e = p + 1;
        out[0] = corner;
        for i in 0..p {
            out[i + 1] = x[i];
            out[(i + 1) * e] = x[i];
            for j in 0..=i {
                let v = x[p + pair(j, i)];
                out[(i + 1) * e + j + 1] = v;
                out[(j + 1) * e + i + 1] = v;
            }
        }
    }

    /// Cholesky factor and inverse of M; false if it is not positive definite.
    pub(super) fn invert(&mut self) -> bool {
        let e = self.rows.p + 1;
        let mut l = std::mem::take(&mut self.lower_factor);
        self.matrix(&self.x, 1.0, &mut l);
        let ok = cholesky(self.arch, &mut l, e);
        if ok {
            for k in 0..e {
                let column = &mut self.inverse[k * e..(k + 1) * e];
                column.fill(0.0);
                column[k] = 1.0;
                solve(self.arch, &l, e, column);
            }
        }
        self.lower_factor = l;
        ok
    }

    /// The dual matrix Z = [[z₀, −bᵀ/2], [−b/2, mI − Q]] ≻ 0 at the iterate's multipliers, z₀ and m
    /// minimising z₀ + m − μ log det Z.
    pub(super) fn dual_matrix(&mut self, mu: f64) {
        let p = self.rows.p;
        let e = p + 1;
        let (m, z0) = self.scratch.dual_centre(p, mu);
        for i in 0..p {
            self.dual[i + 1] = -0.5 * self.now.b[i];
            self.dual[(i + 1) * e] = -0.5 * self.now.b[i];
            for j in 0..p {
                self.dual[(i + 1) * e + j + 1] = -self.now.q[i * p + j];
            }
            self.dual[(i + 1) * e + i + 1] += m;
        }
        self.dual[0] = z0;
    }

    /// tr(MZ).
    pub(super) fn matrix_complementarity(&self) -> f64 {
        let (p, e) = (self.rows.p, self.rows.p + 1);
        let mut s = self.dual[0];
        for i in 0..p {
            s += 2.0 * self.x[i] * self.dual[i + 1];
            for j in 0..p {
                s += self.x[p + pair(i.min(j), i.max(j))] * self.dual[(i + 1) * e + j + 1];
            }
        }
        s
    }

    /// Scaling matrix W⁻¹ with W Z W = M (Nesterov and Todd): with M = LLᵀ and LᵀZL = VΛVᵀ it is
    /// L⁻ᵀVΛ^½VᵀL⁻¹.
    pub(super) fn scale(&mut self) -> bool {
        let e = self.rows.p + 1;
        let l = &self.lower_factor;
        // the factor's diagonal is stored as reciprocals
        let at = |i: usize, j: usize| if i == j { 1.0 / l[i * e + i] } else { l[i * e + j] };
        let mut zl = [0.0; 256];
        let mut a = [0.0; 256];
        for i in 0..e {
            for j in 0..e {
                zl[i * e + j] = (j..e).map(|k| self.dual[i * e + k] * at(k, j)).sum();
            }
        }
        for i in 0..e {
            for j in 0..e {
                a[i * e + j] = (i..e).map(|k| at(k, i) * zl[k * e + j]).sum();
            }
        }
        let mut values = [0.0; 16];
        eigen(self.arch, &mut a[..e * e], &mut values[..e]);
        // columns L⁻ᵀ v_k λ_k^¼
        for k in 0..e {
            let lambda = values[k];
            if lambda.is_nan() || lambda <= 0.0 {
                return false;
            }
            let row = &mut a[k * e..(k + 1) * e];
            for i in (0..e).rev() {
                let xi = row[i] * l[i * e + i];
                row[i] = xi;
                for (y, c) in row[..i].iter_mut().zip(&l[i * e..i * e + i]) {
                    *y -= c * xi;
                }
            }
            let f = lambda.sqrt().sqrt();
            row.iter_mut().for_each(|c| *c *= f);
        }
        for i in 0..e {
            for j in 0..e {
                self.scaling[i * e + j] = (0..e).map(|k| a[k * e + i] * a[k * e + j]).sum();
            }
        }
        true
    }

    /// Row weights and multipliers of the Newton system, then gradient, Hessian and the step dx;
    /// false if the system is not positive definite.
    pub(super) fn direction(&mut self, mu: f64) -> bool {
        let (p, d) = (self.rows.p, self.tables.variables());
        self.row_system(mu);
        let mut out = std::mem::take(&mut self.next);
        self.gather(&self.block.slope_next, &self.block.curvature_next, &mut out);
        self.hessian.fill(0.0);
        self.spread.fill(0.0);
        for k in 0..self.sides.len() {
            let a = &self.normals[k * p..(k + 1) * p];
            let side = &mut self.sides[k];
            side.state.newton(side.tau, &side.z, mu, self.cone_cap, &mut side.newton);
            let n = &side.newton;
            add_cone(&mut out, p, a, n.rho, &n.gamma);
            for i in 0..p {
                for j in 0..p {
                    self.spread[i * p + j] += n.spread * a[i] * a[j];
                }
            }
            // tt·pp' + tz(pr' + rp') + zz·rr' = tt(p + (tz/tt)r)(·)' + (zz − tz²/tt)rr'
            let [tt, tz, zz] = n.form;
            let ratio = if tt > 0.0 { tz / tt } else { 0.0 };
            for (w, cu, cr) in [(tt, 1.0, ratio), (zz - tz * ratio, 0.0, 1.0)] {
                self.vector[..p].iter_mut().zip(a).for_each(|(x, c)| *x = cu * c);
                symmetric(&mut self.vector[p..], &n.direction, a, cr);
                rank_one(self.arch, &mut self.hessian, d, w, &self.vector);
            }
        }
        for e in &self.pairs[..self.pair_count] {
            let (y, w) = e.state.newton(e.room, mu, self.cone_cap);
            add_product(&mut out, p, &self.tables.pairs, &e.coefficients, y);
            self.vector[..p].fill(0.0);
            self.vector[p..].copy_from_slice(&e.coefficients);
            rank_one(self.arch, &mut self.hessian, d, w, &self.vector);
        }
        self.next = out;
        self.assemble_gradient(mu);
        self.assemble_hessian();
        if !cholesky(self.arch, &mut self.hessian, d) {
            return false;
        }
        self.vector.fill(0.0);
        for a in 0..p {
            self.vector[p + pair(a, a)] = 1.0;
        }
        self.dx.copy_from_slice(&self.gradient);
        solve(self.arch, &self.hessian, d, &mut self.dx);
        solve(self.arch, &self.hessian, d, &mut self.vector);
        let on = |v: &[f64]| (0..p).map(|a| v[p + pair(a, a)]).sum::<f64>();
        let shift = on(&self.dx) / on(&self.vector);
        self.dx.iter_mut().zip(&self.vector).for_each(|(s, t)| *s -= shift * t);
        self.dx.iter().all(|c| c.is_finite())
    }

    fn row_system(&mut self, mu: f64) {
        let (n, n_p) = (self.active.len(), self.n_p);
        let k = &mut self.block;
        let [w0, w1, w2] = &mut k.weight;
        let (w0, w1, w2) = (&mut w0[..n], &mut w1[..n], &mut w2[..n]);
        let (lo, hi) = (&k.lo[..n], &k.hi[..n]);
        let (t, q) = (&k.t[..n], &k.q[..n]);
        let (s1, c1) = (&mut k.slope_next[..n], &mut k.curvature_next[..n]);
        let state: [&[f64]; 7] = std::array::from_fn(|j| &k.state[j][..n]);
        self.arch.dispatch(
            #[inline(always)]
            || {
                for i in n_p..n {
                    let inv = 1.0 / (hi[i] + lo[i]);
                    let zt = lo[i] * inv;
                    let z = q[i] * inv + zt * t[i];
                    let piece = Peak { s: state[0][i], y: [state[1][i], state[2][i], state[3][i]] };
                    let [y1, y2, g11, g12, g22] = piece.newton(t[i], z, mu);
                    s1[i] = -y1 - y2 * zt;
                    c1[i] = -y2 * inv;
                    w0[i] = g11 + 2.0 * g12 * zt + g22 * zt * zt;
                    w1[i] = (g12 + g22 * zt) * inv;
                    w2[i] = g22 * inv * inv;
                }
                for i in 0..n {
                    let (lo, hi) = (lo[i], hi[i]);
                    let room = (hi - lo) * t[i] + hi * lo - q[i];
                    let piece = Elastic { s: state[4][i], y0: state[5][i], y1: state[6][i] };
                    let (y, w) = piece.newton(room, mu, RANGE_CAP / (hi + lo));
                    s1[i] += y * (hi - lo);
                    c1[i] -= y;
                    w0[i] += w * (hi - lo) * (hi - lo);
                    w1[i] -= w * (hi - lo);
                    w2[i] += w;
                }
            },
        );
    }

    fn assemble_gradient(&mut self, mu: f64) {
        let p = self.rows.p;
        let e = p + 1;
        for i in 0..p {
            self.gradient[i] = self.next.b[i] + 2.0 * mu * self.inverse[i + 1];
        }
        for (k, &(a, b)) in self.tables.pairs.iter().enumerate() {
            let g = self.next.q[a * p + b] + mu * self.inverse[(a + 1) * e + b + 1];
            self.gradient[p + k] = self.tables.multiplicity[k] * g;
        }
    }

    /// Adds the rows, the scaled matrix term and the cone's spread to the Hessian (lower triangle).
    fn assemble_hessian(&mut self) {
        let (p, np, d) = (self.rows.p, self.tables.pairs.len(), self.tables.variables());
        let (e, s) = (p + 1, self.stride);
        let mult = &self.tables.multiplicity;
        let mut packed = [0.0; 128];
        dots(self.arch, &self.products, s, &self.block.weight[0], &mut packed[..np]);
        let inv = &self.scaling;
        for (k, &(a, b)) in self.tables.pairs.iter().enumerate() {
            let v = inv[0] * inv[(a + 1) * e + b + 1] + inv[a + 1] * inv[b + 1];
            self.hessian[b * d + a] += packed[k] + 2.0 * v;
        }
        // third moments: (a, bc) from sorted triples
        self.quartic.resize(np * np, 0.0);
        let mut at = 0;
        for c in 0..p {
            product(&self.h[c * s..(c + 1) * s], &self.block.weight[1], &mut self.buffer);
            let k = (c + 1) * (c + 2) / 2;
            dots(self.arch, &self.products, s, &self.buffer, &mut self.quartic[at..at + k]);
            at += k;
        }
        for k in 0..np {
            for a in 0..p {
                let c = self.quartic[self.tables.triples[k * p + a] as usize];
                self.hessian[(p + k) * d + a] += mult[k] * c;
            }
        }
        // fourth moments: (ab, cd) from sorted quadruples
        at = 0;
        for (j, &(c, _)) in self.tables.pairs.iter().enumerate() {
            product(&self.products[j * s..(j + 1) * s], &self.block.weight[2], &mut self.buffer);
            let k = (c + 1) * (c + 2) / 2;
            dots(self.arch, &self.products, s, &self.buffer, &mut self.quartic[at..at + k]);
            at += k;
        }
        let spread = |i: usize, j: usize| self.spread[i * p + j];
        let with_cone = !self.sides.is_empty();
        at = 0;
        for k in 0..np {
            let (a, b) = self.tables.pairs[k];
            let row = &mut self.hessian[(p + k) * d..(p + k + 1) * d];
            let (ia, ib) = (&inv[(a + 1) * e..(a + 2) * e], &inv[(b + 1) * e..(b + 2) * e]);
            for c in 0..p {
                row[c] += mult[k] * (ia[0] * ib[c + 1] + ia[c + 1] * ib[0]);
            }
            for l in 0..=k {
                let (c, f) = self.tables.pairs[l];
                let matrix = ia[c + 1] * ib[f + 1] + ia[f + 1] * ib[c + 1];
                let quartic = self.quartic[self.tables.quads[at] as usize];
                row[p + l] += mult[k] * mult[l] * (0.5 * matrix + quartic);
                at += 1;
            }
            if with_cone {
                // tr(dU S dU), S = Σ spread·aaᵀ
                for l in 0..=k {
                    let (c, f) = self.tables.pairs[l];
                    let mut v = 0.0;
                    if a == c {
                        v += spread(b, f);
                    }
                    if a == f {
                        v += spread(b, c);
                    }
                    if b == c {
                        v += spread(a, f);
                    }
                    if b == f {
                        v += spread(a, c);
                    }
                    row[p + l] += 0.25 * mult[k] * mult[l] * v;
                }
            }
        }
    }

    /// Steps of all pieces for dx, step lengths, update. Returns the primal and dual lengths (0 if
    /// M left its cone).
    pub(super) fn advance(&mut self, mu: f64) -> (f64, f64) {
        self.changes();
        let (mut primal, mut dual) = self.row_steps(mu);
        for side in &mut self.sides {
            side.step = side.state.step(&side.newton, side.dtau, &side.dz, mu);
            let (s, d) = (&side.state, &side.step);
            limit(&mut primal, s.s, d.s);
            primal = primal.min(cone_reach(side.tau + s.s, &side.z, side.dtau + d.s, &side.dz));
            limit(&mut dual, s.y0, d.y0);
            dual = dual.min(cone_reach(s.rho, &s.gamma, d.rho, &d.gamma));
        }
        for e in &mut self.pairs[..self.pair_count] {
            e.step = e.state.step(e.room, e.change, mu, self.cone_cap);
            limit(&mut primal, e.state.s, e.step.s);
            limit(&mut primal, e.state.s + e.room, e.step.s + e.change);
            limit(&mut dual, e.state.y0, e.step.y0);
            limit(&mut dual, e.state.y1, e.step.y1);
        }
        primal = primal.min(self.matrix_reach());
        let shorten = |r: f64| if r < 1.0 { KEEP * r } else { r };
        let (mut primal, dual) = (shorten(primal), shorten(dual));
        let before = std::mem::take(&mut self.x);
        let mut x = before.clone();
        let mut tries = 0;
        loop {
            for (x, (b, s)) in x.iter_mut().zip(before.iter().zip(&self.dx)) {
                *x = b + primal * s;
            }
            self.x = std::mem::take(&mut x);
            self.repair_trace();
            if self.invert() {
                break;
            }
            x = std::mem::take(&mut self.x);
            primal *= 0.7;
            tries += 1;
            if tries > 20 {
                self.x = before;
                return (0.0, 0.0);
            }
        }
        self.moments();
        self.update(primal, dual);
        (primal, dual)
    }

    fn update(&mut self, primal: f64, dual: f64) {
        let lengths = [primal, dual, dual, dual, primal, dual, dual];
        for ((x, d), l) in self.block.state.iter_mut().zip(&self.block.step).zip(lengths) {
            x.iter_mut().zip(d).for_each(|(x, d)| *x += l * d);
        }
        for side in &mut self.sides {
            let (s, d) = (&mut side.state, &side.step);
            s.s += primal * d.s;
            s.y0 += dual * d.y0;
            s.rho += dual * d.rho;
            s.gamma.iter_mut().zip(&d.gamma).for_each(|(x, d)| *x += dual * d);
        }
        for e in &mut self.pairs[..self.pair_count] {
            e.state.s += primal * e.step.s;
            e.state.y0 += dual * e.step.y0;
            e.state.y1 += dual * e.step.y1;
        }
    }

    fn row_steps(&mut self, mu: f64) -> (f64, f64) {
        let (n, n_p) = (self.active.len(), self.n_p);
        let k = &mut self.block;
        let (lo, hi) = (&k.lo[..n], &k.hi[..n]);
        let (t, q, dt, dq) = (&k.t[..n], &k.q[..n], &k.dt[..n], &k.dq[..n]);
        let state: [&[f64]; 7] = std::array::from_fn(|j| &k.state[j][..n]);
        let [s0, s1, s2, s3, s4, s5, s6] = &mut k.step;
        let (s0, s1, s2, s3) = (&mut s0[..n], &mut s1[..n], &mut s2[..n], &mut s3[..n]);
        let (s4, s5, s6) = (&mut s4[..n], &mut s5[..n], &mut s6[..n]);
        self.arch.dispatch(
            #[inline(always)]
            || {
                // largest −change/value; its reciprocal is the step to the boundary
                let (mut primal, mut dual) = (1.0f64, 1.0f64);
                for i in n_p..n {
                    let inv = 1.0 / (hi[i] + lo[i]);
                    let zt = lo[i] * inv;
                    let (z, dz) = (q[i] * inv + zt * t[i], dq[i] * inv + zt * dt[i]);
                    let piece = Peak { s: state[0][i], y: [state[1][i], state[2][i], state[3][i]] };
                    let step = piece.step(t[i], z, dt[i], dz, mu);
                    (s0[i], s1[i], s2[i], s3[i]) = (step.s, step.y[0], step.y[1], step.y[2]);
                    let a = (-step.s / piece.s).max((dt[i] - step.s) / (piece.s - t[i]));
                    primal = primal.max(a).max((dz - step.s) / (piece.s - z));
                    let b = (-step.y[0] / piece.y[0]).max(-step.y[1] / piece.y[1]);
                    dual = dual.max(b).max(-step.y[2] / piece.y[2]);
                }
                for i in 0..n {
                    let (lo, hi) = (lo[i], hi[i]);
                    let room = (hi - lo) * t[i] + hi * lo - q[i];
                    let change = (hi - lo) * dt[i] - dq[i];
                    let piece = Elastic { s: state[4][i], y0: state[5][i], y1: state[6][i] };
                    let step = piece.step(room, change, mu, RANGE_CAP / (hi + lo));
                    (s4[i], s5[i], s6[i]) = (step.s, step.y0, step.y1);
                    let a = (-step.s / piece.s).max(-(step.s + change) / (piece.s + room));
                    primal = primal.max(a);
                    dual = dual.max(-step.y0 / piece.y0).max(-step.y1 / piece.y1);
                }
                (1.0 / primal, 1.0 / dual)
            },
        )
    }

    /// Largest step with M + α·dM ⪰ 0: from the smallest eigenvalue of L⁻¹ dM L⁻ᵀ.
    fn matrix_reach(&mut self) -> f64 {
        let e = self.rows.p + 1;
        let mut a = [0.0; 256];
        self.matrix(&self.dx, 0.0, &mut a);
        let l = &self.lower_factor;
        // rows of L⁻¹dM, then (L⁻¹dM)L⁻ᵀ by the same substitution on the transpose
        for _ in 0..2 {
            for i in 0..e {
                for k in 0..i {
                    let c = l[i * e + k];
                    let (top, bottom) = a.split_at_mut(i * e);
                    for (x, y) in bottom[..e].iter_mut().zip(&top[k * e..(k + 1) * e]) {
                        *x -= c * y;
                    }
                }
                a[i * e..(i + 1) * e].iter_mut().for_each(|x| *x *= l[i * e + i]);
            }
            for i in 0..e {
                for j in 0..i {
                    a.swap(i * e + j, j * e + i);
                }
            }
        }
        let mut values = [0.0; 16];
        eigenvalues(self.arch, &mut a[..e * e], &mut values[..e]);
        let least = values.into_iter().fold(0.0, f64::min);
        if least < -1.0 { -1.0 / least } else { 1.0 }
    }
}

fn limit(reach: &mut f64, value: f64, change: f64) {
    if value + *reach * change < 0.0 {
        *reach = -value / change;
    }
}

fn product(a: &[f64], b: &[f64], out: &mut [f64]) {
    for (o, (x, y)) in out.iter_mut().zip(a.iter().zip(b)) {
        *o = x * y;
    }
}
