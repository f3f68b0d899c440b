//! Newton's method on the sizes of the groups, where samples are few and λ is small.
//!
//! With ‖w‖ = min_{η>0} (‖w‖²/η + η)/2 the weights are eliminated: for a loss that is quadratic
//! with curvature H = diag(s²) and s∘targets t,
//!
//! J(η) = λ/2·Σ_c η_c + ½·tᵀQ⁻¹t,  Q = I + diag(s)·K_η·diag(s)/λ,  K_η = Σ_c η_c A_c A_cᵀ,
//!
//! is convex in η ≥ 0, with gradient λ/2·(1 − ‖u_c‖²), u_c = A_cᵀν/λ, ν = s∘Q⁻¹t, and Hessian
//! BᵀQ⁻¹B, b_c = s∘A_c u_c; its minimum is that of the program, at w_c = η_c u_c. A step costs one
//! Cholesky factor of order n whatever the conditioning. Another loss is expanded to second order
//! first. Derived here from the η-trick (Bach et al. 2012, §1.4).

use super::super::working_set::{Ended, Point, ROUNDING, Stop};
use super::step::Curvature;
use crate::Program;
use crate::linalg::{
    Mat, as_column, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, gemm,
    lower_solve, norm,
};
use crate::solver::Status;
use std::ops::ControlFlow;

/// Steps in η at most, for one expansion of the loss.
const STEPS: usize = 40;
/// Expansions of the loss at most.
const EXPANSIONS: usize = 8;
/// Halvings of a step at most.
const HALVINGS: usize = 12;
/// A step that gains less than this share of the goal is the last.
const ENOUGH: f64 = 0.03;
/// Rounds of clamping at zero at most.
const CLAMPS: usize = 12;
/// The diagonal of the Hessian is lifted by a share of itself, at least this: with more groups than
/// samples it is singular. Steps that must be cut raise the share, full steps lower it.
const RIDGE: f64 = 1e-12;
const RAISED: f64 = 1e-6;
const MOST_RIDGE: f64 = 1e3;

/// Newton steps in η on all columns of `point`; `None` if the method does not apply here or gains
/// nothing.
pub(super) fn variational(
    point: &mut Point,
    ridge: &mut f64,
    goal: f64,
    limit: usize,
    stop: &mut Stop,
) -> Option<Ended> {
    let mut ended = Ended { iterations: 0, status: None, reached: false };
    let mut gained = false;
    let program = point.program;
    let mut nu = vec![0.0; point.f.len()];
    let mut gradient = Mat::zeros(point.z.nrows(), point.z.ncols());
    for _ in 0..EXPANSIONS {
        let model = Quadratic::at(program, &point.f)?;
        let before = program.objective_at(&point.z, &point.f);
        let eta = (0..point.z.ncols()).map(|c| norm(column(&point.z, c))).collect();
        let done = ended.iterations;
        let mut ask = |k: usize| stop(done + k, before);
        let minimum = model.minimise(eta, ridge, goal, limit - done, &mut ask)?;
        ended.iterations += minimum.iterations;
        ended.status = minimum.status;
        // a quadratic loss is met exactly; another one is left on the way if it bends
        let full = program.outputs(&minimum.z);
        let mut t = 1.0;
        let better = (0..HALVINGS).any(|_| {
            let mut z = minimum.z.clone();
            if t < 1.0 {
                z = &point.z + faer::Scale(t) * (&z - &point.z);
            }
            let f: Vec<f64> = point.f.iter().zip(&full).map(|(a, b)| a + t * (b - a)).collect();
            t *= 0.5;
            let lower = program.objective_at(&z, &f) <= before + ROUNDING * before.abs();
            if lower {
                (point.z, point.f) = (z, f);
            }
            lower
        });
        gained |= better && before - program.objective_at(&point.z, &point.f) > 1e-3 * goal;
        if !better || ended.status.is_some() || ended.iterations >= limit {
            break;
        }
        let (upper, lower) = point.gap(&mut nu, &mut gradient);
        ended.reached = upper - lower <= goal;
        if ended.reached {
            break;
        }
    }
    (gained || ended.reached || ended.status.is_some()).then_some(ended)
}

/// The loss to second order, and the program's operator.
struct Quadratic<'a> {
    program: &'a Program,
    /// √h.
    roots: Vec<f64>,
    /// t.
    targets: Vec<f64>,
    /// An unpenalised constant is minimised out.
    intercept: bool,
}

/// J at some η.
struct Value {
    eta: Vec<f64>,
    factor: Mat,
    /// Q⁻¹(t − c·s).
    alpha: Vec<f64>,
    value: f64,
}

/// Where the steps in η have ended: η_c u_c.
struct Minimum {
    z: Mat,
    iterations: usize,
    status: Option<Status>,
}

impl<'a> Quadratic<'a> {
    fn at(program: &'a Program, f: &[f64]) -> Option<Self> {
        let Curvature { diagonal, total } = Curvature::at(program, f);
        let largest = diagonal.iter().copied().fold(0.0, f64::max);
        let mut nu = vec![0.0; f.len()];
        program.loss.residual_into(f, &mut nu);
        let roots: Vec<f64> = diagonal.iter().map(|h| h.sqrt()).collect();
        let flat = diagonal.iter().zip(&nu).any(|(h, nu)| *h <= 1e-12 * largest && *nu != 0.0);
        if largest.is_nan() || largest <= 0.0 || flat {
            return None;
        }
        let target = |i: usize| if nu[i] == 0.0 { 0.0 } else { nu[i] / roots[i] };
        let targets = (0..f.len()).map(|i| roots[i] * f[i] + target(i)).collect();
        Some(Self { program, roots, targets, intercept: total.is_some() })
    }

    fn value(&self, eta: Vec<f64>) -> Option<Value> {
        let n = self.roots.len();
        let lambda = self.program.lambda;
        let mut factor = self.program.operator.kernel(&eta)?;
        for j in 0..n {
            let scale = self.roots[j] / lambda;
            let q = column_mut(&mut factor, j);
            for i in j..n {
                q[i] *= self.roots[i] * scale;
            }
            q[j] += 1.0;
        }
        if !cholesky_in_place(&mut factor) {
            return None;
        }
        let mut alpha = self.targets.clone();
        cholesky_solve(&factor, &mut alpha);
        if self.intercept {
            let mut constant = self.roots.clone();
            cholesky_solve(&factor, &mut constant);
            let c = dot(&self.targets, &constant) / dot(&self.roots, &constant);
            axpy(-c, &constant, &mut alpha);
        }
        let value = 0.5 * (lambda * eta.iter().sum::<f64>() + dot(&self.targets, &alpha));
        Some(Value { eta, factor, alpha, value })
    }

    /// u = Aᵀν/λ, d×P.
    fn directions(&self, alpha: &[f64]) -> Mat {
        let nu: Vec<f64> = self.roots.iter().zip(alpha).map(|(s, a)| s * a).collect();
        let mut u = Mat::zeros(self.program.shape().0, self.program.shape().1);
        self.program.operator.adjoint_into(as_column(&nu), u.as_mut());
        u *= faer::Scale(1.0 / self.program.lambda);
        u
    }

    /// Goes down J until a step gains little of `goal`, is refused, or the caller stops it.
    fn minimise(
        &self,
        eta: Vec<f64>,
        ridge: &mut f64,
        goal: f64,
        limit: usize,
        ask: &mut dyn FnMut(usize) -> ControlFlow<Status>,
    ) -> Option<Minimum> {
        let mut at = self.value(eta)?;
        let (mut iterations, mut status) = (0, None);
        let mut u = self.directions(&at.alpha);
        while iterations < STEPS.min(limit) {
            if let ControlFlow::Break(reason) = ask(iterations) {
                status = Some(reason);
                break;
            }
            iterations += 1;
            let sizes: Vec<f64> = (0..u.ncols()).map(|c| norm(column(&u, c))).collect();
            let step = self.step(&at, &u, &sizes, *ridge)?;
            let gradient = |size: &f64| 0.5 * self.program.lambda * (1.0 - size * size);
            let slope: f64 = step.iter().zip(&sizes).map(|(d, size)| gradient(size) * d).sum();
            let mut next = None;
            let mut t = 1.0;
            for _ in 0..HALVINGS {
                let eta = at.eta.iter().zip(&step).map(|(e, d)| (e + t * d).max(0.0)).collect();
                let trial = self.value(eta)?;
                if trial.value < at.value + (1e-4 * t * slope).min(0.0) {
                    next = Some(trial);
                    break;
                }
                t *= 0.5;
            }
            if t == 1.0 {
                *ridge = (0.1 * *ridge).max(RIDGE);
            } else if t < 0.5 {
                *ridge = (10.0 * *ridge).clamp(RAISED, MOST_RIDGE);
            }
            let Some(next) = next else { break };
            let gain = at.value - next.value;
            at = next;
            u = self.directions(&at.alpha);
            if gain < ENOUGH * goal {
                break;
            }
        }
        for (c, eta) in at.eta.iter().enumerate() {
            column_mut(&mut u, c).iter_mut().for_each(|v| *v *= eta);
        }
        Some(Minimum { z: u, iterations, status })
    }

    /// The Newton step within η ≥ 0. Where ‖u‖ > 1 its right-hand side is that of 1/‖u‖, which is
    /// nearly linear in η (Moré & Sorensen 1983).
    fn step(&self, at: &Value, u: &Mat, sizes: &[f64], ridge: f64) -> Option<Vec<f64>> {
        let free: Vec<usize> =
            (0..sizes.len()).filter(|&c| at.eta[c] > 0.0 || sizes[c] > 1.0).collect();
        let mut hessian = self.hessian(at, u, &free);
        let largest = (0..free.len()).map(|k| hessian[(k, k)]).fold(0.0, f64::max);
        (0..free.len()).for_each(|k| hessian[(k, k)] += ridge * hessian[(k, k)] + RIDGE * largest);
        let down = |c: &usize| {
            let size = sizes[*c];
            let outside = size * size * (size - 1.0);
            self.program.lambda * if size > 1.0 { outside } else { 0.5 * (size * size - 1.0) }
        };
        let down: Vec<f64> = free.iter().map(down).collect();
        let eta: Vec<f64> = free.iter().map(|&c| at.eta[c]).collect();
        let mut step = vec![0.0; sizes.len()];
        for (c, s) in free.iter().zip(within_bounds(&hessian, &down, &eta)?) {
            step[*c] = s;
        }
        Some(step)
    }

    /// BᵀQ⁻¹B on the columns `free`.
    fn hessian(&self, at: &Value, u: &Mat, free: &[usize]) -> Mat {
        let (n, k) = (self.roots.len(), free.len());
        let chosen = Mat::from_fn(u.nrows(), k, |i, j| u[(i, free[j])]);
        let mut b = Mat::zeros(n, k);
        self.program.operator.restrict(free).each_into(chosen.as_ref(), b.as_mut());
        for j in 0..k {
            column_mut(&mut b, j).iter_mut().zip(&self.roots).for_each(|(v, s)| *v *= s);
        }
        lower_solve(&at.factor, &mut b);
        let mut hessian = Mat::zeros(k, k);
        gemm(hessian.as_mut(), b.transpose(), b.as_ref(), false);
        if self.intercept {
            let mut constant = Mat::from_fn(n, 1, |i, _| self.roots[i]);
            lower_solve(&at.factor, &mut constant);
            let s = column(&constant, 0);
            let along: Vec<f64> = (0..k).map(|j| dot(column(&b, j), s)).collect();
            let size = dot(s, s);
            (0..k).for_each(|j| axpy(-along[j] / size, &along, column_mut(&mut hessian, j)));
        }
        hessian
    }
}

/// A step d ≥ −η with H d = `down` on the entries that stay inside: those that would leave are
/// clamped, round by round.
fn within_bounds(hessian: &Mat, down: &[f64], eta: &[f64]) -> Option<Vec<f64>> {
    let mut step = vec![0.0; eta.len()];
    let mut inside: Vec<usize> = (0..eta.len()).collect();
    let mut clamped: Vec<usize> = vec![];
    for _ in 0..CLAMPS {
        let k = inside.len();
        let mut system = Mat::from_fn(k, k, |i, j| hessian[(inside[i], inside[j])]);
        if !cholesky_in_place(&mut system) {
            return None;
        }
        let pulled = |i: usize| clamped.iter().map(|&j| hessian[(i, j)] * eta[j]).sum::<f64>();
        let mut solved: Vec<f64> = inside.iter().map(|&i| down[i] + pulled(i)).collect();
        cholesky_solve(&system, &mut solved);
        let mut leaving = vec![];
        for (&i, s) in inside.iter().zip(&solved) {
            step[i] = s.max(-eta[i]);
            if eta[i] + s < 0.0 {
                leaving.push(i);
            }
        }
        if leaving.is_empty() {
            break;
        }
        inside.retain(|i| !leaving.contains(i));
        clamped.extend(leaving);
    }
    Some(step)
}
