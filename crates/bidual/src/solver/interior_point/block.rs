//! One column of the master: its data, its variables, its part of the Newton system.

use crate::Program;
use crate::cone::Gauge;
use crate::linalg::{Mat, axpy, dot, gemm, norm, times, transpose_times};

/// One column as dense data, expressed in an orthonormal basis of the span of its cone.
#[derive(Clone)]
pub(in crate::solver) struct Block {
    /// Model matrix Φ_g, n×r.
    pub(super) phi: Mat,
    /// Non-zero cone rows of unit length, m×r (m = 0: no cone).
    pub(super) rows: Mat,
    /// d×r basis when the cone is flat; None if r = d.
    basis: Option<Mat>,
    /// A direction of unit length strictly inside the cone.
    witness: Vec<f64>,
    /// Next start: last solution.
    pub(super) value: Vec<f64>,
    /// Multipliers of the rows at the last solution.
    pub(super) multipliers: Vec<f64>,
}

impl Block {
    /// None if the cone of the column contains only zero.
    pub(in crate::solver) fn new(program: &Program, c: usize) -> Option<Self> {
        let mut phi = program.operator.block(c);
        let d = phi.ncols();
        let (mut rows, mut basis, mut witness) = (Mat::zeros(0, d), None, vec![0.0; d]);
        match &program.constraint {
            None => witness[0] = 1.0,
            Some(constraint) => {
                let interior = constraint.interior(c)?;
                rows = constraint.rows(c);
                witness = interior.witness;
                if let Some(q) = interior.basis {
                    let mut reduced = Mat::zeros(phi.nrows(), q.ncols());
                    gemm(reduced.as_mut(), phi.as_ref(), q.as_ref(), false);
                    let mut reduced_rows = Mat::zeros(rows.nrows(), q.ncols());
                    gemm(reduced_rows.as_mut(), rows.as_ref(), q.as_ref(), false);
                    (phi, rows) = (reduced, reduced_rows);
                    let mut local = vec![0.0; q.ncols()];
                    transpose_times(&q, &witness, &mut local);
                    witness = local;
                    basis = Some(q);
                }
                rows = unit_rows(&rows, &witness);
            }
        }
        let value = vec![0.0; witness.len()];
        let multipliers = vec![0.0; rows.nrows()];
        Some(Self { phi, rows, basis, witness, value, multipliers })
    }

    /// The solution in the coordinates of the program.
    pub(in crate::solver) fn column(&self) -> Vec<f64> {
        match &self.basis {
            None => self.value.clone(),
            Some(q) => {
                let mut v = vec![0.0; q.nrows()];
                times(q, &self.value, &mut v);
                v
            }
        }
    }

    /// Forgets the last solution: the next start is cold.
    pub(in crate::solver) fn reset(&mut self) {
        self.value.fill(0.0);
        self.multipliers.fill(0.0);
    }

    /// Sets the start from program coordinates.
    pub(in crate::solver) fn set_column(&mut self, v: &[f64]) {
        match &self.basis {
            None => self.value.copy_from_slice(v),
            Some(q) => transpose_times(q, v, &mut self.value),
        }
    }
}

/// Rows scaled to unit length; rows that vanish on the span of the cone (where
/// the witness is not strictly positive) are equalities there and are dropped.
fn unit_rows(rows: &Mat, witness: &[f64]) -> Mat {
    let (m, d) = (rows.nrows(), rows.ncols());
    let mut margin = vec![0.0; m];
    times(rows, witness, &mut margin);
    let norms: Vec<f64> =
        (0..m).map(|i| (0..d).map(|j| rows[(i, j)] * rows[(i, j)]).sum::<f64>().sqrt()).collect();
    let keep: Vec<usize> = (0..m).filter(|&i| norms[i] > 0.0 && margin[i] > 0.0).collect();
    Mat::from_fn(keep.len(), d, |i, j| rows[(keep[i], j)] / norms[keep[i]])
}

/// Variables of one block: primal (t, v) with (t, u) strictly inside the norm
/// cone, slacks s > 0 with A v = s once the start has been forgotten; dual (z, y).
#[derive(Clone)]
pub(super) struct State {
    pub t: f64,
    pub v: Vec<f64>,
    pub s: Vec<f64>,
    /// A v − s.
    pub residual: Vec<f64>,
    /// (z₀, z_u), inside the norm cone.
    pub z: Vec<f64>,
    pub y: Vec<f64>,
    /// Multipliers of R·t ∓ b ≥ 0 (free bias only).
    pub bounds: [f64; 2],
    /// The products of the norm cone and of the bounds are held at `weight`·μ. With
    /// weight 1 against m rows, t − ‖u‖ would be m times smaller than t all along the
    /// path and u could turn by 1/√m a step at most (derived here).
    weight: f64,
}

/// One Newton direction of a block, and its scaled data.
pub(super) struct Direction {
    /// dt = dt0 + dtvᵀdv.
    dt0: f64,
    /// Second derivative in t.
    tt: f64,
    dtv: Vec<f64>,
    /// Hessian of the norm cone in (t, u).
    cone: Mat,
    /// Second-order term of the rows' complementarity.
    correction: Vec<f64>,
    pub dt: f64,
    pub dv: Vec<f64>,
    pub ds: Vec<f64>,
    pub dz: Vec<f64>,
    pub dy: Vec<f64>,
    pub dbounds: [f64; 2],
}

impl State {
    /// A start near the block's value (near `size`·witness for a new column):
    /// every complementarity product is about μ, and no slack starts so small
    /// that its row would block the first steps, however thin the cone is.
    pub(super) fn new(b: &Block, gauge: &Gauge, lambda: f64, mu: f64, size: f64) -> Self {
        let mut v = b.value.clone();
        let fresh = v.iter().all(|v| *v == 0.0);
        if fresh {
            axpy(size, &b.witness, &mut v);
        }
        let k = gauge.penalised(v.len());
        let u = norm(&v[..k]);
        let weight = 1.0 + 0.5 * b.rows.nrows() as f64;
        let aim = weight * mu;
        let mut t = (aim + (aim * aim + 4.0 * lambda * lambda * u * u).sqrt()) / (2.0 * lambda);
        if let Some(radius) = gauge.bias_radius() {
            t = t.max(1.5 * v[k].abs() / radius);
        }
        let t = t.max(u * (1.0 + 1e-10)).max(f64::MIN_POSITIVE);
        let mut s = vec![0.0; b.rows.nrows()];
        times(&b.rows, &v, &mut s);
        let y: Vec<f64> = s
            .iter_mut()
            .zip(&b.multipliers)
            .map(|(s, last)| {
                let floor = if fresh { 0.3 * size } else { (mu / last).min(0.3 * size) };
                *s = s.max(floor);
                mu / *s
            })
            .collect();
        let mut state = Self {
            t,
            residual: vec![0.0; s.len()],
            s,
            z: vec![0.0; k + 1],
            y,
            bounds: [0.0; 2],
            weight,
            v,
        };
        let det = state.det(k);
        state.z[0] = aim * state.t / det;
        for j in 0..k {
            state.z[1 + j] = -aim * state.v[j] / det;
        }
        if let Some(r) = state.bound_slacks(gauge) {
            state.bounds = [aim / r[0], aim / r[1]];
        }
        state.refresh(b);
        state
    }

    /// Recomputes A v − s; slacks that the rows have caught up with become the rows.
    pub(super) fn refresh(&mut self, b: &Block) {
        times(&b.rows, &self.v, &mut self.residual);
        if self.residual.iter().zip(&self.s).all(|(av, s)| *av >= 0.9 * s && *av <= 1.1 * s) {
            self.s.copy_from_slice(&self.residual);
            self.residual.fill(0.0);
        } else {
            self.residual.iter_mut().zip(&self.s).for_each(|(r, s)| *r -= s);
        }
    }

    /// True if A v ≥ 0 in f64.
    pub(super) fn feasible(&self) -> bool {
        self.residual.iter().zip(&self.s).all(|(r, s)| r + s >= 0.0)
    }

    fn penalised(&self, gauge: &Gauge) -> usize {
        gauge.penalised(self.v.len())
    }

    fn det(&self, k: usize) -> f64 {
        let u = norm(&self.v[..k]);
        (self.t - u) * (self.t + u)
    }

    fn bound_slacks(&self, gauge: &Gauge) -> Option<[f64; 2]> {
        let (r, b) = (gauge.bias_radius()?, self.v[self.v.len() - 1]);
        Some([r * self.t - b, r * self.t + b])
    }

    /// Number of complementarity products, by weight.
    pub(super) fn degree(&self, gauge: &Gauge) -> f64 {
        let bounds = if gauge.bias_radius().is_some() { 2.0 } else { 0.0 };
        self.s.len() as f64 + self.weight * (1.0 + bounds)
    }

    /// Sum of the complementarity products.
    pub(super) fn complementarity(&self, gauge: &Gauge) -> f64 {
        let k = self.penalised(gauge);
        let mut sum = self.t * self.z[0] + dot(&self.v[..k], &self.z[1..]) + dot(&self.s, &self.y);
        if let Some(r) = self.bound_slacks(gauge) {
            sum += r[0] * self.bounds[0] + r[1] * self.bounds[1];
        }
        sum
    }

    /// Squared size of the residuals of the optimality conditions, in units of
    /// λ (dual), `size` (slacks) and their product (complementarity at μ); c = (Φᵀν)_g.
    pub(super) fn merit(
        &self,
        b: &Block,
        gauge: &Gauge,
        lambda: f64,
        size: f64,
        mu: f64,
        c: &[f64],
    ) -> f64 {
        let k = self.penalised(gauge);
        let mut g = vec![0.0; self.v.len()];
        transpose_times(&b.rows, &self.y, &mut g);
        for j in 0..g.len() {
            g[j] += c[j] + if j < k { self.z[1 + j] } else { 0.0 };
        }
        let mut gt = lambda - self.z[0];
        let mut central: f64 = self.s.iter().zip(&self.y).map(|(s, y)| (s * y - mu).powi(2)).sum();
        let aim = self.weight * mu;
        central += (self.t * self.z[0] + dot(&self.v[..k], &self.z[1..]) - aim).powi(2);
        if let (Some(r), Some(radius)) = (self.bound_slacks(gauge), gauge.bias_radius()) {
            gt -= radius * (self.bounds[0] + self.bounds[1]);
            g[k] += self.bounds[1] - self.bounds[0];
            central +=
                (r[0] * self.bounds[0] - aim).powi(2) + (r[1] * self.bounds[1] - aim).powi(2);
        }
        (dot(&g, &g) + gt * gt) / (lambda * lambda)
            + dot(&self.residual, &self.residual) / (size * size)
            + central / (lambda * size).powi(2)
    }

    /// Step s, t, v, z, y by α.
    pub(super) fn advance(&mut self, d: &Direction, alpha: f64) {
        self.t += alpha * d.dt;
        axpy(alpha, &d.dv, &mut self.v);
        axpy(alpha, &d.ds, &mut self.s);
        axpy(alpha, &d.dz, &mut self.z);
        axpy(alpha, &d.dy, &mut self.y);
        self.bounds[0] += alpha * d.dbounds[0];
        self.bounds[1] += alpha * d.dbounds[1];
    }

    /// Nesterov–Todd Hessian of the norm cone at the scaling point of (t,u) and z.
    fn scaling(&self, k: usize) -> Mat {
        let zu = norm(&self.z[1..=k]);
        let det_z = ((self.z[0] - zu) * (self.z[0] + zu)).max(f64::MIN_POSITIVE);
        let det_x = self.det(k).max(f64::MIN_POSITIVE);
        let (rx, rz) = (det_x.sqrt(), det_z.sqrt());
        let cosine = (self.t * self.z[0] + dot(&self.v[..k], &self.z[1..])) / (rx * rz);
        let gamma = (0.5 * (1.0 + cosine)).max(1e-300).sqrt();
        // q = J w̄ with w̄ = (x̄ + J z̄)/(2γ)
        let q: Vec<f64> = (0..=k)
            .map(|j| {
                let x = if j == 0 { self.t } else { -self.v[j - 1] };
                (x / rx + self.z[j] / rz) / (2.0 * gamma)
            })
            .collect();
        let scale = rz / rx;
        Mat::from_fn(k + 1, k + 1, |i, j| {
            let sign = if i != j {
                0.0
            } else if i == 0 {
                -1.0
            } else {
                1.0
            };
            scale * (2.0 * q[i] * q[j] + sign)
        })
    }
}

impl Direction {
    /// Hessian in v (t eliminated): the part of the Newton matrix of this block.
    pub(super) fn start(s: &State, b: &Block, gauge: &Gauge) -> (Self, Mat) {
        let r = s.v.len();
        let k = s.penalised(gauge);
        let cone = s.scaling(k);
        let mut scaled = b.rows.clone();
        for j in 0..r {
            for (a, (y, slack)) in scaled.col_as_slice_mut(j).iter_mut().zip(s.y.iter().zip(&s.s)) {
                *a *= (y / slack).sqrt();
            }
        }
        let mut hessian = Mat::zeros(r, r);
        gemm(hessian.as_mut(), scaled.transpose(), scaled.as_ref(), false);
        for i in 0..k {
            for j in 0..k {
                hessian[(i, j)] += cone[(i + 1, j + 1)];
            }
        }
        let mut tt = cone[(0, 0)];
        let mut tv: Vec<f64> = (0..r).map(|j| if j < k { cone[(0, j + 1)] } else { 0.0 }).collect();
        if let (Some(slack), Some(radius)) = (s.bound_slacks(gauge), gauge.bias_radius()) {
            let w = [s.bounds[0] / slack[0], s.bounds[1] / slack[1]];
            tt += radius * radius * (w[0] + w[1]);
            tv[k] += radius * (w[1] - w[0]);
            hessian[(k, k)] += w[0] + w[1];
        }
        for i in 0..r {
            for j in 0..r {
                hessian[(i, j)] -= tv[i] * tv[j] / tt;
            }
        }
        let direction = Self {
            dt0: 0.0,
            tt,
            dtv: tv.into_iter().map(|v| -v / tt).collect(),
            cone,
            correction: vec![0.0; s.s.len()],
            dt: 0.0,
            dv: vec![],
            ds: vec![],
            dz: vec![],
            dy: vec![],
            dbounds: [0.0; 2],
        };
        (direction, hessian)
    }

    /// Right-hand side of the Newton system for barrier parameter μ, with the
    /// second-order correction in force; c = (Φᵀν)_g.
    pub(super) fn aim(
        &mut self,
        s: &State,
        b: &Block,
        gauge: &Gauge,
        lambda: f64,
        mu: f64,
        c: &[f64],
    ) -> Vec<f64> {
        let r = s.v.len();
        let k = s.penalised(gauge);
        let det = s.det(k);
        let aim = s.weight * mu;
        let mut gt = lambda - aim * s.t / det;
        let pull: Vec<f64> = (0..s.s.len())
            .map(|i| (mu - self.correction[i] - s.y[i] * s.residual[i]) / s.s[i])
            .collect();
        let mut right = vec![0.0; r];
        transpose_times(&b.rows, &pull, &mut right);
        for j in 0..r {
            right[j] += c[j] - if j < k { aim * s.v[j] / det } else { 0.0 };
        }
        if let (Some(slack), Some(radius)) = (s.bound_slacks(gauge), gauge.bias_radius()) {
            gt -= aim * radius * (1.0 / slack[0] + 1.0 / slack[1]);
            right[k] += aim * (1.0 / slack[1] - 1.0 / slack[0]);
        }
        self.dt0 = -gt / self.tt;
        for j in 0..r {
            right[j] -= self.dtv[j] * gt;
        }
        right
    }

    /// Fills in everything that follows from dv.
    pub(super) fn complete(&mut self, s: &State, b: &Block, gauge: &Gauge, mu: f64, dv: &[f64]) {
        let k = s.penalised(gauge);
        let det = s.det(k);
        let aim = s.weight * mu;
        self.dv = dv.to_vec();
        self.dt = self.dt0 + dot(&self.dtv, dv);
        // ds = A dv + (A v − s),  dy = −y + (μ − correction)/s − (y/s)∘ds
        self.ds = vec![0.0; s.s.len()];
        times(&b.rows, dv, &mut self.ds);
        axpy(1.0, &s.residual, &mut self.ds);
        self.dy = (0..s.s.len())
            .map(|i| (mu - self.correction[i] - s.y[i] * self.ds[i]) / s.s[i] - s.y[i])
            .collect();
        // dz = −z + μx⁻¹ − H dx
        self.dz = (0..=k)
            .map(|i| {
                let inverse = if i == 0 { s.t } else { -s.v[i - 1] } * aim / det;
                let mut h = self.cone[(i, 0)] * self.dt;
                for j in 0..k {
                    h += self.cone[(i, j + 1)] * dv[j];
                }
                inverse - s.z[i] - h
            })
            .collect();
        if let (Some(slack), Some(radius)) = (s.bound_slacks(gauge), gauge.bias_radius()) {
            for side in 0..2 {
                let sign = if side == 0 { -1.0 } else { 1.0 };
                let ds = radius * self.dt + sign * dv[k];
                self.dbounds[side] = (aim - s.bounds[side] * ds) / slack[side] - s.bounds[side];
            }
        }
    }

    /// Mehrotra's second-order term of the rows, from the direction just completed.
    pub(super) fn correct(&mut self) {
        for (c, (ds, dy)) in self.correction.iter_mut().zip(self.ds.iter().zip(&self.dy)) {
            *c = ds * dy;
        }
    }

    /// Back to the plain Newton direction.
    pub(super) fn forget_correction(&mut self) {
        self.correction.fill(0.0);
    }

    /// Largest step that keeps all variables strictly inside, shortened by `keep`.
    pub(super) fn limit(&self, s: &State, gauge: &Gauge, keep: f64) -> f64 {
        let k = s.penalised(gauge);
        let mut limit = cone_step(s.t, &s.v[..k], self.dt, &self.dv[..k], keep)
            .min(orthant_step(&s.s, &self.ds, keep))
            .min(cone_step(s.z[0], &s.z[1..], self.dz[0], &self.dz[1..], keep))
            .min(orthant_step(&s.y, &self.dy, keep));
        if let (Some(slack), Some(radius)) = (s.bound_slacks(gauge), gauge.bias_radius()) {
            let ds = [radius * self.dt - self.dv[k], radius * self.dt + self.dv[k]];
            limit = limit.min(orthant_step(&slack, &ds, keep));
            limit = limit.min(orthant_step(&s.bounds, &self.dbounds, keep));
        }
        limit
    }
}

/// Largest α ≤ 1 keeping (x₀ + α dx₀, x + α dx) in the norm cone, shortened by `keep`.
fn cone_step(x0: f64, x: &[f64], dx0: f64, dx: &[f64], keep: f64) -> f64 {
    let u = norm(x);
    let a = dx0 * dx0 - dot(dx, dx);
    let b = x0 * dx0 - dot(x, dx);
    let c = (x0 - u) * (x0 + u);
    let mut limit = f64::INFINITY;
    if dx0 < 0.0 {
        limit = -x0 / dx0;
    }
    // smallest positive root of aα² + 2bα + c, c > 0
    let discriminant = b * b - a * c;
    if discriminant >= 0.0 {
        let root = discriminant.sqrt();
        for candidate in [c / (-b + root), c / (-b - root)] {
            if candidate > 0.0 && candidate.is_finite() {
                limit = limit.min(candidate);
            }
        }
    }
    (keep * limit).min(1.0)
}

fn orthant_step(x: &[f64], dx: &[f64], keep: f64) -> f64 {
    x.iter().zip(dx).fold(1.0, |a: f64, (x, d)| if *d < 0.0 { a.min(-keep * x / d) } else { a })
}
