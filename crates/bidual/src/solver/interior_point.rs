//! Primal-dual interior point for programs with few columns.
//!
//! minimise F(Σ_g Φ_g v_g) + λ Σ_g t_g  s.t.  ρ(v_g) ≤ t_g,  A_g v_g ≥ 0
//!
//! for any smooth convex F. Nesterov–Todd scaling for the norm cone, the usual
//! primal-dual scaling for the rows, Armijo search on the barrier function; t_g
//! is eliminated block by block, so a step is one Cholesky factorisation of
//! order Σ_g d (see Boyd & Vandenberghe, Convex Optimization, ch. 11, for the method).
//! Every iterate is strictly inside its cone: what is returned is exactly feasible.

use super::{Observer, Progress, Solution, Solver, SparseColumns, Status};
use crate::cone::Gauge;
use crate::linalg::{
    Mat, axpy, cholesky_in_place, cholesky_solve, column, dot, gemm, norm, times, transpose_times,
};
use crate::loss::{Loss, best_dual_value};
use crate::{Program, Result};
use rayon::prelude::*;
use std::ops::ControlFlow;

/// Interior point over all columns of the program at once. The master solver of
/// [`ColumnGeneration`](super::ColumnGeneration); use it directly for small programs.
#[derive(Debug, Clone)]
pub struct InteriorPoint {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Newton steps at most.
    pub max_iterations: usize,
}

impl Default for InteriorPoint {
    fn default() -> Self {
        Self { tolerance: 1e-8, max_iterations: 200 }
    }
}

/// One column as dense data, expressed in an orthonormal basis of the span of its cone.
#[derive(Clone)]
pub(super) struct Block {
    /// Model matrix Φ_g, n×r.
    phi: Mat,
    /// Non-zero cone rows of unit length, m×r (m = 0: no cone).
    rows: Mat,
    /// d×r basis when the cone is flat; None if r = d.
    basis: Option<Mat>,
    /// A direction of unit length strictly inside the cone.
    witness: Vec<f64>,
    /// Next start: last solution.
    value: Vec<f64>,
    /// Multipliers of the rows at the last solution.
    multipliers: Vec<f64>,
}

impl Block {
    /// None if the cone of the column contains only zero.
    pub(super) fn new(program: &Program, c: usize) -> Option<Self> {
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
    pub(super) fn column(&self) -> Vec<f64> {
        match &self.basis {
            None => self.value.clone(),
            Some(q) => {
                let mut v = vec![0.0; q.nrows()];
                times(q, &self.value, &mut v);
                v
            }
        }
    }

    /// Sets the start from program coordinates.
    pub(super) fn set_column(&mut self, v: &[f64]) {
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

/// Variables of one block: primal (t, v, s = A v), dual (z, y).
struct State {
    t: f64,
    v: Vec<f64>,
    s: Vec<f64>,
    /// (z₀, z_u), inside the norm cone.
    z: Vec<f64>,
    y: Vec<f64>,
    /// Multipliers of R·t ∓ b ≥ 0 (free bias only).
    bounds: [f64; 2],
}

/// One Newton direction of a block, and its scaled data.
struct Direction {
    /// dt = dt0 + dtvᵀdv.
    dt0: f64,
    dtv: Vec<f64>,
    /// Hessian of the norm cone in (t, u).
    cone: Mat,
    dt: f64,
    dv: Vec<f64>,
    ds: Vec<f64>,
    dz: Vec<f64>,
    dy: Vec<f64>,
    dbounds: [f64; 2],
}

impl State {
    fn det(&self, k: usize) -> f64 {
        let u = norm(&self.v[..k]);
        (self.t - u) * (self.t + u)
    }

    fn bound_slacks(&self, gauge: &Gauge) -> Option<[f64; 2]> {
        let (r, b) = (gauge.bias_radius()?, self.v[self.v.len() - 1]);
        Some([r * self.t - b, r * self.t + b])
    }

    /// Number of complementarity products.
    fn degree(&self, gauge: &Gauge) -> f64 {
        1.0 + self.s.len() as f64 + if gauge.bias_radius().is_some() { 2.0 } else { 0.0 }
    }

    fn complementarity(&self, gauge: &Gauge) -> f64 {
        let k = self.penalised(gauge);
        let mut sum = self.t * self.z[0] + dot(&self.v[..k], &self.z[1..]) + dot(&self.s, &self.y);
        if let Some(r) = self.bound_slacks(gauge) {
            sum += r[0] * self.bounds[0] + r[1] * self.bounds[1];
        }
        sum
    }

    fn penalised(&self, gauge: &Gauge) -> usize {
        gauge.penalised(self.v.len())
    }

    /// −½log det(t,u) − Σ log s − …; +∞ outside.
    fn barrier(&self, gauge: &Gauge) -> f64 {
        let det = self.det(self.penalised(gauge));
        if self.t <= 0.0 || det <= 0.0 || self.s.iter().any(|s| *s <= 0.0) {
            return f64::INFINITY;
        }
        let mut sum = -0.5 * det.ln() - self.s.iter().map(|s| s.ln()).sum::<f64>();
        if let Some(r) = self.bound_slacks(gauge) {
            if r[0] <= 0.0 || r[1] <= 0.0 {
                return f64::INFINITY;
            }
            sum -= r[0].ln() + r[1].ln();
        }
        sum
    }

    /// Centres the dual variables on the primal ones.
    fn centre_dual(&mut self, gauge: &Gauge, mu: f64) {
        let k = self.penalised(gauge);
        let det = self.det(k);
        self.z[0] = mu * self.t / det;
        for j in 0..k {
            self.z[1 + j] = -mu * self.v[j] / det;
        }
        self.y.iter_mut().zip(&self.s).for_each(|(y, s)| *y = mu / s);
        if let Some(r) = self.bound_slacks(gauge) {
            self.bounds = [mu / r[0], mu / r[1]];
        }
    }

    /// Gradient of λt − cᵀv + μ·barrier in (t, v); `scratch` has one entry a row.
    fn gradient(
        &self,
        gauge: &Gauge,
        lambda: f64,
        c: &[f64],
        mu: f64,
        rows: &Mat,
    ) -> (f64, Vec<f64>) {
        let k = self.penalised(gauge);
        let det = self.det(k);
        let mut gt = lambda - mu * self.t / det;
        let weights: Vec<f64> = self.s.iter().map(|s| mu / s).collect();
        let mut gv = vec![0.0; self.v.len()];
        transpose_times(rows, &weights, &mut gv);
        for j in 0..gv.len() {
            gv[j] = -c[j] - gv[j] + if j < k { mu * self.v[j] / det } else { 0.0 };
        }
        if let (Some(r), Some(radius)) = (self.bound_slacks(gauge), gauge.bias_radius()) {
            gt -= mu * radius * (1.0 / r[0] + 1.0 / r[1]);
            gv[k] += mu * (1.0 / r[0] - 1.0 / r[1]);
        }
        (gt, gv)
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

/// A solved master.
pub(super) struct Master {
    pub f: Vec<f64>,
    pub upper: f64,
    pub lower: f64,
    pub status: Status,
    pub iterations: usize,
}

/// What a master is asked for.
pub(super) struct Target {
    /// Relative gap of the master at which to stop.
    pub tolerance: f64,
    /// Estimate of (start objective − optimum): sets the first barrier parameter.
    pub distance: f64,
    pub max_iterations: usize,
}

/// ΦᵀHΦ, kept while H and the columns stay the same (squared loss: for ever).
#[derive(Default)]
pub(super) struct GramCache {
    hessian: Vec<f64>,
    gram: Option<Mat>,
}

impl GramCache {
    pub(super) fn clear(&mut self) {
        self.gram = None;
    }

    fn get(&mut self, phi: &Mat, hessian: &[f64], intercept: bool) -> &Mat {
        if self.hessian != hessian {
            self.hessian = hessian.to_vec();
            self.gram = None;
        }
        self.gram.get_or_insert_with(|| weighted_gram(phi, hessian, intercept))
    }
}

/// Lower triangle of Φᵀ(diag h − hhᵀ/Σh if `intercept`)Φ, in fixed tiles.
fn weighted_gram(phi: &Mat, h: &[f64], intercept: bool) -> Mat {
    const TILE: usize = 96;
    let (n, m) = (phi.nrows(), phi.ncols());
    let roots: Vec<f64> = h.iter().map(|v| v.max(0.0).sqrt()).collect();
    let total: f64 = h.iter().sum();
    let mut scaled = Mat::zeros(n, m);
    for j in 0..m {
        let from = column(phi, j);
        // centring first: the rank-one term would cancel digits
        let mean = if intercept && total > 0.0 { dot(from, h) / total } else { 0.0 };
        for (to, (v, r)) in scaled.col_as_slice_mut(j).iter_mut().zip(from.iter().zip(&roots)) {
            *to = (v - mean) * r;
        }
    }
    let starts: Vec<usize> = (0..m).step_by(TILE).collect();
    let pairs: Vec<(usize, usize)> = starts
        .iter()
        .flat_map(|&i| starts.iter().filter(move |&&j| j <= i).map(move |&j| (i, j)))
        .collect();
    let tiles: Vec<Mat> = pairs
        .par_iter()
        .map(|&(i, j)| {
            let (ni, nj) = (TILE.min(m - i), TILE.min(m - j));
            let mut tile = Mat::zeros(ni, nj);
            let (left, right) = (scaled.as_ref().subcols(i, ni), scaled.as_ref().subcols(j, nj));
            gemm(tile.as_mut(), left.transpose(), right, false);
            tile
        })
        .collect();
    let mut gram = Mat::zeros(m, m);
    for ((i, j), tile) in pairs.into_iter().zip(tiles) {
        gram.as_mut().submatrix_mut(i, j, tile.nrows(), tile.ncols()).copy_from(&tile);
    }
    gram
}

/// Solves the master over `blocks`, from their values, and stores the solution in them.
pub(super) fn solve_blocks(
    loss: &dyn Loss,
    lambda: f64,
    gauge: &Gauge,
    blocks: &mut [Block],
    target: &Target,
    cache: &mut GramCache,
    mut stop: impl FnMut(usize, f64, f64) -> ControlFlow<Status>,
) -> Master {
    let n = loss.samples();
    let offsets: Vec<usize> = std::iter::once(0)
        .chain(blocks.iter().scan(0, |sum, b| {
            *sum += b.value.len();
            Some(*sum)
        }))
        .collect();
    let m = offsets[blocks.len()];
    let mut phi = Mat::zeros(n, m);
    for (b, &o) in blocks.iter().zip(&offsets) {
        phi.as_mut().subcols_mut(o, b.value.len()).copy_from(&b.phi);
    }
    let intercept = loss.as_intercept().is_some();
    let count: f64 = blocks.iter().map(|b| b.rows.nrows() as f64 + 3.0).sum();
    let mut mu = (target.distance / count).max(f64::MIN_POSITIVE);
    let push = target.distance / (lambda * blocks.len() as f64);
    let mut states: Vec<State> =
        blocks.iter().map(|b| start_state(b, gauge, lambda, mu, push)).collect();

    let (mut f, mut nu, mut h) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let (mut c, mut df) = (vec![0.0; m], vec![0.0; n]);
    let mut best = Master {
        f: vec![],
        upper: f64::INFINITY,
        lower: f64::NEG_INFINITY,
        status: Status::IterationLimit,
        iterations: 0,
    };
    let mut short_steps = 0;
    for iteration in 0..=target.max_iterations {
        best.iterations = iteration;
        f.fill(0.0);
        for (s, &o) in states.iter().zip(&offsets) {
            for (j, v) in s.v.iter().enumerate() {
                axpy(*v, column(&phi, o + j), &mut f);
            }
        }
        loss.residual_into(&f, &mut nu);
        loss.clip_dual(&mut nu);
        transpose_times(&phi, &nu, &mut c);

        // rigorous for the columns of the master: v is feasible and y ≥ 0
        let penalty: f64 = states.iter().map(|s| gauge.value(&s.v)).sum();
        let value = loss.value(&f);
        let upper = value + lambda * penalty;
        let kappa = states
            .iter()
            .zip(blocks.iter())
            .zip(&offsets)
            .map(|((s, b), &o)| {
                let mut g = vec![0.0; s.v.len()];
                transpose_times(&b.rows, &s.y, &mut g);
                axpy(1.0, &c[o..o + g.len()], &mut g);
                gauge.polar(&g)
            })
            .fold(0.0, f64::max);
        let t_max = if kappa > 0.0 { lambda / kappa } else { f64::MAX };
        best.lower = best.lower.max(best_dual_value(loss, &nu, t_max).0);
        if upper <= best.upper {
            best.upper = upper;
            best.f.clone_from(&f);
            for (b, s) in blocks.iter_mut().zip(&states) {
                b.value.copy_from_slice(&s.v);
                b.multipliers.copy_from_slice(&s.y);
            }
        }
        if best.upper - best.lower <= target.tolerance * best.upper.abs() {
            best.status = Status::Certified;
            break;
        }
        if let ControlFlow::Break(status) = stop(iteration, best.upper, best.lower) {
            best.status = status;
            break;
        }
        if short_steps >= 4 {
            best.status = Status::Stalled;
            break;
        }

        // Newton system
        loss.hessian_diagonal_into(&f, &mut h);
        let mut k = cache.get(&phi, &h, intercept).clone();
        let mut rhs = vec![0.0; m];
        let mut directions: Vec<Direction> = states
            .par_iter()
            .zip(&*blocks)
            .zip(&offsets)
            .map(|((s, b), &o)| newton_block(s, b, gauge, lambda, mu, &c[o..o + s.v.len()]))
            .collect::<Vec<_>>()
            .into_iter()
            .zip(&offsets)
            .map(|((direction, hessian, right), &o)| {
                for j in 0..right.len() {
                    for i in j..right.len() {
                        k[(o + i, o + j)] += hessian[(i, j)];
                    }
                }
                rhs[o..o + right.len()].copy_from_slice(&right);
                direction
            })
            .collect();
        if !factor(&mut k) {
            best.status = Status::Stalled;
            break;
        }
        cholesky_solve(&k, &mut rhs);
        if rhs.iter().any(|v| !v.is_finite()) {
            best.status = Status::Stalled;
            break;
        }
        directions
            .par_iter_mut()
            .zip(&states)
            .zip(&*blocks)
            .zip(&offsets)
            .for_each(|(((d, s), b), &o)| complete(d, s, b, gauge, mu, &rhs[o..o + s.v.len()]));

        // step lengths
        let keep = 0.99f64.max(1.0 - mu);
        let (mut primal, mut dual) = (1.0f64, 1.0f64);
        for (s, d) in states.iter().zip(&directions) {
            let (p, q) = step_limits(s, d, gauge, keep);
            (primal, dual) = (primal.min(p), dual.min(q));
        }
        df.fill(0.0);
        let mut slope = 0.0;
        for ((s, d), (b, &o)) in states.iter().zip(&directions).zip(blocks.iter().zip(&offsets)) {
            for (j, v) in d.dv.iter().enumerate() {
                axpy(*v, column(&phi, o + j), &mut df);
            }
            let (gt, gv) = s.gradient(gauge, lambda, &c[o..o + s.v.len()], mu, &b.rows);
            slope += gt * d.dt + dot(&gv, &d.dv);
        }
        let merit = |states: &[State], value: f64| -> f64 {
            value + states.iter().map(|s| lambda * s.t + mu * s.barrier(gauge)).sum::<f64>()
        };
        let before = merit(&states, value);
        let mut alpha = primal;
        let mut trial = f.clone();
        for attempt in 0..30 {
            trial.copy_from_slice(&f);
            axpy(alpha, &df, &mut trial);
            advance(&mut states, &directions, alpha);
            let after = merit(&states, loss.value(&trial));
            // the last digits of the merit are noise: accept within rounding
            if after <= before + 1e-4 * alpha * slope + 1e-13 * before.abs() || attempt == 29 {
                break;
            }
            advance(&mut states, &directions, -alpha);
            alpha *= 0.5;
        }
        for ((s, d), b) in states.iter_mut().zip(&directions).zip(&*blocks) {
            times(&b.rows, &s.v, &mut s.s);
            axpy(dual, &d.dz, &mut s.z);
            axpy(dual, &d.dy, &mut s.y);
            s.bounds[0] += dual * d.dbounds[0];
            s.bounds[1] += dual * d.dbounds[1];
        }
        if states.iter().any(|s| s.s.iter().any(|v| *v <= 0.0)) {
            // rounding has put a row on its facet: no interior left in f64
            best.status = Status::Stalled;
            break;
        }
        let step = alpha.min(dual);
        short_steps = if step < 1e-3 { short_steps + 1 } else { 0 };
        let average = states.iter().map(|s| s.complementarity(gauge)).sum::<f64>()
            / states.iter().map(|s| s.degree(gauge)).sum::<f64>();
        let sigma = if step > 0.9 {
            0.1
        } else if step > 0.5 {
            0.3
        } else if step > 0.1 {
            0.7
        } else {
            1.0
        };
        mu = (sigma * average).max(1e-18 * (lambda + best.upper.abs()) / count);
    }
    best
}

/// A strictly interior start near the block's value.
fn start_state(b: &Block, gauge: &Gauge, lambda: f64, mu: f64, push: f64) -> State {
    let r = b.value.len();
    let mut v = b.value.clone();
    axpy(push, &b.witness, &mut v);
    let mut s = vec![0.0; b.rows.nrows()];
    times(&b.rows, &v, &mut s);
    if s.iter().any(|s| *s <= 0.0) {
        // the given value is not in the cone: start from the witness alone
        v = b.witness.iter().map(|w| (push + norm(&b.value)) * w).collect();
        times(&b.rows, &v, &mut s);
    }
    let k = gauge.penalised(r);
    let u = norm(&v[..k]);
    let mut t = (mu + (mu * mu + 4.0 * lambda * lambda * u * u).sqrt()) / (2.0 * lambda);
    if let Some(radius) = gauge.bias_radius() {
        t = t.max(1.5 * v[k].abs() / radius);
    }
    t = t.max(u * (1.0 + 1e-10)).max(f64::MIN_POSITIVE);
    let mut state =
        State { t, v, s, z: vec![0.0; k + 1], y: vec![0.0; b.rows.nrows()], bounds: [0.0; 2] };
    state.centre_dual(gauge, mu);
    state
}

/// Hessian (t eliminated) and right-hand side of one block.
fn newton_block(
    s: &State,
    b: &Block,
    gauge: &Gauge,
    lambda: f64,
    mu: f64,
    c: &[f64],
) -> (Direction, Mat, Vec<f64>) {
    let r = s.v.len();
    let k = s.penalised(gauge);
    let (gt, gv) = s.gradient(gauge, lambda, c, mu, &b.rows);
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
    let right: Vec<f64> = (0..r).map(|j| -gv[j] + tv[j] * gt / tt).collect();
    let direction = Direction {
        dt0: -gt / tt,
        dtv: tv.into_iter().map(|v| -v / tt).collect(),
        cone,
        dt: 0.0,
        dv: vec![],
        ds: vec![],
        dz: vec![],
        dy: vec![],
        dbounds: [0.0; 2],
    };
    (direction, hessian, right)
}

/// Fills the direction of a block from its dv.
fn complete(d: &mut Direction, s: &State, b: &Block, gauge: &Gauge, mu: f64, dv: &[f64]) {
    let k = s.penalised(gauge);
    let det = s.det(k);
    d.dv = dv.to_vec();
    d.dt = d.dt0 + dot(&d.dtv, dv);
    d.ds = vec![0.0; s.s.len()];
    times(&b.rows, dv, &mut d.ds);
    // dz = −z + μx⁻¹ − H dx,  dy = −y + μ/s − (y/s)∘ds
    d.dz = (0..=k)
        .map(|i| {
            let inverse = if i == 0 { s.t } else { -s.v[i - 1] } * mu / det;
            let mut h = d.cone[(i, 0)] * d.dt;
            for j in 0..k {
                h += d.cone[(i, j + 1)] * dv[j];
            }
            inverse - s.z[i] - h
        })
        .collect();
    d.dy = (0..s.s.len()).map(|i| (mu - s.y[i] * d.ds[i]) / s.s[i] - s.y[i]).collect();
    if let (Some(slack), Some(radius)) = (s.bound_slacks(gauge), gauge.bias_radius()) {
        for side in 0..2 {
            let sign = if side == 0 { -1.0 } else { 1.0 };
            let ds = radius * d.dt + sign * dv[k];
            d.dbounds[side] = (mu - s.bounds[side] * ds) / slack[side] - s.bounds[side];
        }
    }
}

/// Primal and dual step limits of a block.
fn step_limits(s: &State, d: &Direction, gauge: &Gauge, keep: f64) -> (f64, f64) {
    let k = s.penalised(gauge);
    let mut primal =
        cone_step(s.t, &s.v[..k], d.dt, &d.dv[..k], keep).min(orthant_step(&s.s, &d.ds, keep));
    let mut dual = cone_step(s.z[0], &s.z[1..], d.dz[0], &d.dz[1..], keep)
        .min(orthant_step(&s.y, &d.dy, keep));
    if let (Some(slack), Some(radius)) = (s.bound_slacks(gauge), gauge.bias_radius()) {
        let ds = [radius * d.dt - d.dv[k], radius * d.dt + d.dv[k]];
        primal = primal.min(orthant_step(&slack, &ds, keep));
        dual = dual.min(orthant_step(&s.bounds, &d.dbounds, keep));
    }
    (primal, dual)
}

fn advance(states: &mut [State], directions: &[Direction], alpha: f64) {
    for (s, d) in states.iter_mut().zip(directions) {
        s.t += alpha * d.dt;
        axpy(alpha, &d.dv, &mut s.v);
        axpy(alpha, &d.ds, &mut s.s);
    }
}

/// Cholesky with a growing ridge if rounding has made the matrix indefinite.
fn factor(k: &mut Mat) -> bool {
    let original = k.clone();
    let largest = (0..k.nrows()).map(|i| k[(i, i)]).fold(0.0, f64::max);
    for ridge in [0.0, 1e-15, 1e-13, 1e-11, 1e-9] {
        if ridge > 0.0 {
            k.copy_from(&original);
            for i in 0..k.nrows() {
                k[(i, i)] += ridge * largest;
            }
        }
        if cholesky_in_place(k) {
            return true;
        }
    }
    false
}

impl Solver for InteriorPoint {
    fn name(&self) -> &'static str {
        "interior point"
    }

    fn solve(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        let mut session = super::column_generation::Session::new(program);
        let all: Vec<usize> = (0..program.shape().1).collect();
        session.add(&all, start);
        let target = Target {
            tolerance: self.tolerance,
            distance: 0.1 * session.upper.abs(),
            max_iterations: self.max_iterations,
        };
        let status = session.solve_master(&target, &mut |iteration, upper, lower| {
            observer.observe(&Progress { iteration, upper, lower, active: all.len() })
        });
        session.bound();
        Ok(session.finish(status, self.tolerance))
    }
}
