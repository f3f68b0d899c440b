//! Newton's method on the barrier of the level-1 relaxation.

use super::bound::Multiplier;
use crate::linalg::{Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, gemm};
use crate::loss::Loss;

/// Newton steps in a stage at most.
const STEPS: usize = 40;
/// A stage ends at this squared Newton decrement.
const CENTRED: f64 = 1e-6;
/// Below this squared decrement full steps are taken.
const NEAR: f64 = 0.05;

/// Moments of one output sign and the numbers a_i.
#[derive(Clone)]
struct Moments {
    /// u, then the lower triangle of U column by column: m numbers.
    w: Vec<f64>,
    a: Vec<f64>,
}

/// What the rows see of one sign.
struct Seen {
    tau: f64,
    t: Vec<f64>,
    q: Vec<f64>,
}

pub(super) struct Barrier<'a> {
    loss: &'a dyn Loss,
    lambda: f64,
    d: usize,
    /// Rows that are not zero.
    rows: Vec<usize>,
    h: Vec<f64>,
    /// x_i as rows over (u), n×d; x_i x_iᵀ over the triangle of U, n×(m − d).
    linear: Mat,
    quadratic: Mat,
    signs: [Moments; 2],
}

/// Position of U_jk, j ≥ k, in the triangle.
fn position(d: usize, j: usize, k: usize) -> usize {
    k * d - k * (k + 1) / 2 + j
}

impl<'a> Barrier<'a> {
    /// Strictly feasible start; `None` without a row that is not zero.
    pub fn new(x: &Mat, loss: &'a dyn Loss, lambda: f64) -> Option<Self> {
        let n = x.nrows();
        // in one dimension the relaxation has no interior: a feature of zeros gives it one
        let d = x.ncols().max(2);
        let at = |i: usize, j: usize| if j < x.ncols() { x[(i, j)] } else { 0.0 };
        let length = |i: usize| (0..d).map(|j| at(i, j) * at(i, j)).sum::<f64>().sqrt();
        let rows: Vec<usize> = (0..n).filter(|&i| length(i) > 0.0).collect();
        if rows.is_empty() {
            return None;
        }
        let h: Vec<f64> = rows.iter().map(|&i| length(i)).collect();
        let triangle = d * (d + 1) / 2;
        let linear = Mat::from_fn(rows.len(), d, |r, j| at(rows[r], j));
        let mut quadratic = Mat::zeros(rows.len(), triangle);
        for k in 0..d {
            for j in k..d {
                let twice = if j == k { 1.0 } else { 2.0 };
                for (r, &i) in rows.iter().enumerate() {
                    quadratic[(r, position(d, j, k))] = twice * at(i, j) * at(i, k);
                }
            }
        }
        // U = cI, u = 0: q = ch², τ = cd, and ch < a < ch√d
        let size = loss.value(&vec![0.0; n]) / lambda;
        let c = 0.05 * size / d as f64;
        if !(c > 0.0 && c.is_finite()) {
            return None;
        }
        let mut w = vec![0.0; d + triangle];
        (0..d).for_each(|j| w[d + position(d, j, j)] = c);
        let middle = (d as f64).powf(0.25);
        let a = h.iter().map(|h| c * h * middle).collect();
        let one = Moments { w, a };
        let signs = [one.clone(), one];
        Some(Self { loss, lambda, d, rows, h, linear, quadratic, signs })
    }

    fn see(&self, m: &Moments) -> Seen {
        let d = self.d;
        let (mut t, mut q) = (vec![0.0; self.h.len()], vec![0.0; self.h.len()]);
        (0..d).for_each(|j| axpy(m.w[j], column(&self.linear, j), &mut t));
        for k in 0..self.quadratic.ncols() {
            axpy(m.w[d + k], column(&self.quadratic, k), &mut q);
        }
        Seen { tau: (0..d).map(|j| m.w[d + position(d, j, j)]).sum(), t, q }
    }

    /// Outputs f on all samples.
    fn outputs(&self, signs: &[Moments; 2], seen: &[Seen; 2]) -> Vec<f64> {
        let mut f = vec![0.0; self.loss.samples()];
        for (r, &i) in self.rows.iter().enumerate() {
            f[i] = 0.5 * (seen[0].t[r] + signs[0].a[r] - seen[1].t[r] - signs[1].a[r]);
        }
        f
    }

    /// Objective of the relaxation.
    pub fn objective(&self) -> f64 {
        let seen = [self.see(&self.signs[0]), self.see(&self.signs[1])];
        let f = self.outputs(&self.signs, &seen);
        self.loss.value(&f) + self.lambda * (seen[0].tau + seen[1].tau)
    }

    /// ν = −∇F at the outputs.
    pub fn nu(&self) -> Vec<f64> {
        let seen = [self.see(&self.signs[0]), self.see(&self.signs[1])];
        let mut nu = vec![0.0; self.loss.samples()];
        self.loss.residual_into(&self.outputs(&self.signs, &seen), &mut nu);
        self.loss.clip_dual(&mut nu);
        nu
    }

    /// Multipliers of the sign `s` at the barrier parameter μ, one for each sample.
    pub fn multipliers(&self, mu: f64, s: f64) -> Vec<Multiplier> {
        let m = &self.signs[usize::from(s < 0.0)];
        let seen = self.see(m);
        let none = Multiplier { above: 0.0, below: 0.0, chord: 0.0, point: 1.0 };
        let mut all = vec![none; self.loss.samples()];
        for (r, &i) in self.rows.iter().enumerate() {
            let (a, t, q) = (m.a[r], seen.t[r], seen.q[r]);
            all[i] = Multiplier {
                above: mu / (a - t),
                below: mu / (a + t),
                chord: mu / (self.h[r] * a - q),
                point: (q / seen.tau).sqrt(),
            };
        }
        all
    }

    /// M, (d+1)×(d+1).
    fn matrix(&self, m: &Moments, tau: f64) -> Mat {
        let d = self.d;
        Mat::from_fn(d + 1, d + 1, |i, j| match (i, j) {
            (0, 0) => tau,
            (0, j) => m.w[j - 1],
            (i, 0) => m.w[i - 1],
            (i, j) => m.w[d + position(d, i.max(j) - 1, i.min(j) - 1)],
        })
    }

    /// The barrier function at parameter μ; +∞ outside.
    fn value(&self, signs: &[Moments; 2], mu: f64) -> f64 {
        let seen = [self.see(&signs[0]), self.see(&signs[1])];
        let f = self.outputs(signs, &seen);
        let objective = self.loss.value(&f) + self.lambda * (seen[0].tau + seen[1].tau);
        let mut total = objective / mu;
        for (m, seen) in signs.iter().zip(&seen) {
            let mut matrix = self.matrix(m, seen.tau);
            if !cholesky_in_place(&mut matrix) {
                return f64::INFINITY;
            }
            total -= (0..=self.d).map(|j| 2.0 * matrix[(j, j)].ln()).sum::<f64>();
            for r in 0..self.h.len() {
                let (a, t, q) = (m.a[r], seen.t[r], seen.q[r]);
                let slacks = [a - t, a + t, self.h[r] * a - q, q * seen.tau - a * a];
                if slacks.iter().any(|s| s.is_nan() || *s <= 0.0) {
                    return f64::INFINITY;
                }
                total -= slacks.iter().map(|s| s.ln()).sum::<f64>();
            }
        }
        if total.is_nan() { f64::INFINITY } else { total }
    }

    /// Newton's method at parameter μ; false if it fails at once.
    pub fn centre(&mut self, mu: f64) -> bool {
        let mut value = self.value(&self.signs, mu);
        for step in 0..STEPS {
            let Some((direction, decrement)) = self.direction(mu) else { return step > 0 };
            if decrement <= CENTRED {
                return true;
            }
            let mut length = 1.0;
            loop {
                let mut trial = self.signs.clone();
                for (m, by) in trial.iter_mut().zip(&direction) {
                    axpy(length, &by.w, &mut m.w);
                    axpy(length, &by.a, &mut m.a);
                }
                let next = self.value(&trial, mu);
                // near the centre full steps are safe, and values are rounded more coarsely
                let near = decrement <= NEAR && length == 1.0 && next.is_finite();
                if near || next <= value - 1e-3 * length * decrement {
                    (self.signs, value) = (trial, next);
                    break;
                }
                length *= 0.6;
                if length < 1e-9 {
                    return step > 0;
                }
            }
        }
        true
    }

    /// The Newton direction and its squared decrement.
    fn direction(&self, mu: f64) -> Option<([Moments; 2], f64)> {
        let (n, d, m) = (self.h.len(), self.d, self.signs[0].w.len());
        let seen = [self.see(&self.signs[0]), self.see(&self.signs[1])];
        let f = self.outputs(&self.signs, &seen);
        let (mut nu, mut curvature) = (vec![0.0; f.len()], vec![0.0; f.len()]);
        self.loss.residual_into(&f, &mut nu);
        self.loss.hessian_diagonal_into(&f, &mut curvature);
        // row-wise features of (t, q, τ) of both signs, and the same times the local Hessian
        let mut weights = vec![[[0.0; 6]; 6]; n];
        let mut slopes = vec![[0.0; 6]; n];
        let mut locals = Vec::with_capacity(n);
        for r in 0..n {
            let i = self.rows[r];
            let local = Local::new(
                self.h[r],
                [0, 1].map(|s| (seen[s].t[r], seen[s].q[r], seen[s].tau, self.signs[s].a[r])),
                -nu[i] / mu,
                curvature[i] / mu,
            )?;
            weights[r] = local.reduced;
            slopes[r] = local.slope;
            locals.push(local);
        }
        let mut gradient = vec![0.0; 2 * m];
        let mut hessian = Mat::zeros(2 * m, 2 * m);
        self.gather(&weights, &slopes, &mut hessian, &mut gradient);
        for s in 0..2 {
            for j in 0..d {
                gradient[s * m + d + position(d, j, j)] += self.lambda / mu;
            }
            self.determinant(&self.signs[s], seen[s].tau, s * m, &mut hessian, &mut gradient)?;
        }
        for j in 0..2 * m {
            let diagonal = hessian[(j, j)];
            hessian[(j, j)] = diagonal * (1.0 + 1e-14);
        }
        if !cholesky_in_place(&mut hessian) {
            return None;
        }
        let mut step: Vec<f64> = gradient.iter().map(|g| -g).collect();
        cholesky_solve(&hessian, &mut step);
        let mut decrement = -dot(&gradient, &step);
        let mut result =
            [0, 1].map(|s| Moments { w: step[s * m..(s + 1) * m].to_vec(), a: vec![0.0; n] });
        let change = [self.see(&result[0]), self.see(&result[1])];
        for (r, local) in locals.iter().enumerate() {
            let y: [f64; 6] = [
                change[0].t[r],
                change[0].q[r],
                change[0].tau,
                change[1].t[r],
                change[1].q[r],
                change[1].tau,
            ];
            let (a, gain) = local.eliminated(&y);
            (result[0].a[r], result[1].a[r]) = (a[0], a[1]);
            decrement += gain;
        }
        decrement.is_finite().then_some((result, decrement.max(0.0)))
    }

    /// Sums the local Hessians and slopes over the rows.
    fn gather(
        &self,
        weights: &[[[f64; 6]; 6]],
        slopes: &[[f64; 6]],
        hessian: &mut Mat,
        gradient: &mut [f64],
    ) {
        let (n, d, m) = (self.h.len(), self.d, self.signs[0].w.len());
        let triangle = m - d;
        // features of one sign: rows over (u, U) for t, q; τ is the same for all rows
        let width = d + triangle;
        let mut scaled = Mat::zeros(n, width);
        let parts = [(&self.linear, 0, d), (&self.quadratic, d, triangle)];
        for s in 0..2 {
            for z in 0..2 {
                for (p, (left, from, count)) in parts.iter().enumerate() {
                    for (o, (right, start, columns)) in parts.iter().enumerate() {
                        for j in 0..*columns {
                            let to = column_mut(&mut scaled, j);
                            for (r, to) in to.iter_mut().enumerate() {
                                *to = weights[r][3 * s + p][3 * z + o] * right[(r, j)];
                            }
                        }
                        let mut block = Mat::zeros(*count, *columns);
                        let right = scaled.as_ref().subcols(0, *columns);
                        gemm(block.as_mut(), left.transpose(), right, false);
                        for j in 0..*columns {
                            for i in 0..*count {
                                hessian[(s * m + from + i, z * m + start + j)] += block[(i, j)];
                            }
                        }
                    }
                    // with τ of the other side: Σ_r weight·feature, on the diagonal of U
                    let column_of = |j: usize| -> f64 {
                        (0..n).map(|r| weights[r][3 * s + p][3 * z + 2] * left[(r, j)]).sum()
                    };
                    for i in 0..*count {
                        let value = column_of(i);
                        for k in 0..d {
                            let trace = z * m + d + position(d, k, k);
                            hessian[(s * m + from + i, trace)] += value;
                            hessian[(trace, s * m + from + i)] += value;
                        }
                    }
                }
                let both: f64 = (0..n).map(|r| weights[r][3 * s + 2][3 * z + 2]).sum();
                for k in 0..d {
                    for l in 0..d {
                        let at = (s * m + d + position(d, k, k), z * m + d + position(d, l, l));
                        hessian[at] += both;
                    }
                }
            }
            for (p, (left, from, count)) in parts.iter().enumerate() {
                for i in 0..*count {
                    let sum: f64 = (0..n).map(|r| slopes[r][3 * s + p] * left[(r, i)]).sum();
                    gradient[s * m + from + i] += sum;
                }
            }
            let trace: f64 = slopes.iter().map(|slope| slope[3 * s + 2]).sum();
            for k in 0..d {
                gradient[s * m + d + position(d, k, k)] += trace;
            }
        }
    }

    /// Adds −ln det M of one sign, whose variables start at `from`.
    fn determinant(
        &self,
        moments: &Moments,
        tau: f64,
        from: usize,
        hessian: &mut Mat,
        gradient: &mut [f64],
    ) -> Option<()> {
        let (d, m) = (self.d, moments.w.len());
        let mut factor = self.matrix(moments, tau);
        if !cholesky_in_place(&mut factor) {
            return None;
        }
        let mut inverse = Mat::identity(d + 1, d + 1);
        (0..=d).for_each(|j| cholesky_solve(&factor, column_mut(&mut inverse, j)));
        // entries of the variables in M
        let mut entries: Vec<Vec<(usize, usize)>> = vec![vec![]; m];
        for j in 0..d {
            entries[j] = vec![(0, j + 1), (j + 1, 0)];
            for k in 0..=j {
                entries[d + position(d, j, k)] = match j == k {
                    true => vec![(j + 1, j + 1), (0, 0)],
                    false => vec![(j + 1, k + 1), (k + 1, j + 1)],
                };
            }
        }
        for (v, own) in entries.iter().enumerate() {
            gradient[from + v] -= own.iter().map(|&at| inverse[at]).sum::<f64>();
            for (w, other) in entries.iter().enumerate() {
                let mut sum = 0.0;
                for &(i, j) in own {
                    for &(k, l) in other {
                        sum += inverse[(j, k)] * inverse[(l, i)];
                    }
                }
                hessian[(from + v, from + w)] += sum;
            }
        }
        Some(())
    }
}

/// The barrier and the loss of one row, its two numbers a eliminated.
struct Local {
    /// Hessian in (t, q, τ) of both signs after elimination.
    reduced: [[f64; 6]; 6],
    /// Gradient after elimination.
    slope: [f64; 6],
    /// Inverse of the Hessian in (a⁺, a⁻).
    inverse: [[f64; 2]; 2],
    /// Mixed derivatives and gradient in a.
    cross: [[f64; 6]; 2],
    own: [f64; 2],
}

impl Local {
    /// `at` = (t, q, τ, a) of both signs; `slope` = F'/μ, `curvature` = F''/μ of the sample.
    fn new(h: f64, at: [(f64, f64, f64, f64); 2], slope: f64, curvature: f64) -> Option<Self> {
        let mut full = [[0.0; 6]; 6];
        let mut gradient = [0.0; 6];
        let (mut cross, mut own, mut aa) = ([[0.0; 6]; 2], [0.0; 2], [[0.0; 2]; 2]);
        for (s, &(t, q, tau, a)) in at.iter().enumerate() {
            let (p, m, c, e) = (1.0 / (a - t), 1.0 / (a + t), h * a - q, q * tau - a * a);
            let (c, e) = (1.0 / c, 1.0 / e);
            let o = 3 * s;
            gradient[o] = p - m;
            gradient[o + 1] = c - tau * e;
            gradient[o + 2] = -q * e;
            own[s] = -p - m - h * c + 2.0 * a * e;
            full[o][o] = p * p + m * m;
            full[o + 1][o + 1] = c * c + tau * tau * e * e;
            full[o + 1][o + 2] = -e + tau * q * e * e;
            full[o + 2][o + 1] = full[o + 1][o + 2];
            full[o + 2][o + 2] = q * q * e * e;
            cross[s][o] = m * m - p * p;
            cross[s][o + 1] = -h * c * c - 2.0 * a * tau * e * e;
            cross[s][o + 2] = -2.0 * a * q * e * e;
            aa[s][s] = p * p + m * m + h * h * c * c + 2.0 * e + 4.0 * a * a * e * e;
        }
        let signs = [1.0, -1.0];
        for s in 0..2 {
            gradient[3 * s] += 0.5 * signs[s] * slope;
            own[s] += 0.5 * signs[s] * slope;
            for z in 0..2 {
                let both = 0.25 * signs[s] * signs[z] * curvature;
                full[3 * s][3 * z] += both;
                cross[s][3 * z] += both;
                aa[s][z] += both;
            }
        }
        let determinant = aa[0][0] * aa[1][1] - aa[0][1] * aa[1][0];
        if !(determinant > 0.0 && determinant.is_finite()) {
            return None;
        }
        let inverse = [
            [aa[1][1] / determinant, -aa[0][1] / determinant],
            [-aa[1][0] / determinant, aa[0][0] / determinant],
        ];
        let mut local = Self { reduced: full, slope: gradient, inverse, cross, own };
        for i in 0..6 {
            let left = local.through([cross[0][i], cross[1][i]]);
            for j in 0..6 {
                local.reduced[i][j] -= left[0] * cross[0][j] + left[1] * cross[1][j];
            }
            local.slope[i] -= left[0] * own[0] + left[1] * own[1];
        }
        Some(local)
    }

    /// H_aa⁻¹ v.
    fn through(&self, v: [f64; 2]) -> [f64; 2] {
        let i = &self.inverse;
        [i[0][0] * v[0] + i[0][1] * v[1], i[1][0] * v[0] + i[1][1] * v[1]]
    }

    /// Step in a for the step y in (t, q, τ), and g_aᵀH_aa⁻¹g_a, its part of the decrement.
    fn eliminated(&self, y: &[f64; 6]) -> ([f64; 2], f64) {
        let rest = [0, 1]
            .map(|s| -self.own[s] - self.cross[s].iter().zip(y).map(|(c, y)| c * y).sum::<f64>());
        let alone = self.through(self.own);
        (self.through(rest), alone[0] * self.own[0] + alone[1] * self.own[1])
    }
}
