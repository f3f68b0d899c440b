//! Newton steps on the groups that are not zero.

use super::super::working_set::{Ended, Point, Stop};
use super::mean_field::Preconditioner;
use crate::Program;
use crate::linalg::{Mat, as_column, axpy, column, column_mut, dot, norm};
use faer::MatMut;
use std::ops::ControlFlow;

/// Newton steps between two rounds of proximal steps.
const STEPS: usize = 4;
/// Share of the gradient, in the norm of the preconditioner, that conjugate gradients may leave.
const FORCING: f64 = 0.05;
/// Conjugate-gradient iterations of a step at most.
const MOST: usize = 250;
/// Iterations between two questions whether to stop.
const ASK: usize = 16;

/// The program on its groups that are not zero.
struct Active {
    program: Program,
    z: Mat,
    f: Vec<f64>,
    value: f64,
}

impl Active {
    fn objective(program: &Program, z: &Mat, f: &[f64]) -> f64 {
        program.loss.value(f) + program.lambda * program.regularizer.value(z)
    }
}

/// A few Newton steps on the support of `point`, until one promises less than a tenth of `goal`.
pub(super) fn newton(point: &mut Point, goal: f64, limit: usize, stop: &mut Stop) -> Ended {
    let support: Vec<usize> =
        (0..point.z.ncols()).filter(|&c| column(&point.z, c).iter().any(|v| *v != 0.0)).collect();
    let mut ended = Ended { iterations: 0, status: None };
    if support.is_empty() {
        return ended;
    }
    let program = point.program.restrict(&support);
    let z = Mat::from_fn(point.z.nrows(), support.len(), |i, k| point.z[(i, support[k])]);
    let value = Active::objective(&program, &z, &point.f);
    let mut active = Active { program, z, f: point.f.clone(), value };
    for _ in 0..STEPS {
        let done = ended.iterations;
        let mut ask = |k: usize, upper: f64| stop(done + k, upper);
        let direction = match direction(&active, limit - done, &mut ask) {
            ControlFlow::Continue(direction) => direction,
            ControlFlow::Break((iterations, status)) => {
                ended = Ended { iterations: done + iterations, status: Some(status) };
                break;
            }
        };
        ended.iterations += direction.iterations;
        let before = active.value;
        if !search(&mut active, &direction) || ended.iterations >= limit {
            break;
        }
        let zeroed = (0..active.z.ncols()).any(|c| active.z.col(c).iter().all(|v| *v == 0.0));
        // a group that became zero has no curvature: another round decides
        if zeroed || before - active.value < 0.1 * goal {
            break;
        }
    }
    for (k, &c) in support.iter().enumerate() {
        column_mut(&mut point.z, c).copy_from_slice(column(&active.z, k));
    }
    point.f = active.f;
    ended
}

/// A truncated Newton direction.
struct Direction {
    /// d×k.
    z: Mat,
    /// A z.
    f: Vec<f64>,
    /// Derivative of the objective along it, negative.
    slope: f64,
    iterations: usize,
}

/// The Hessian of the loss at the current outputs, an unpenalised constant minimised out.
struct Curvature {
    diagonal: Vec<f64>,
    /// Σh where the constant is profiled.
    total: Option<f64>,
}

impl Curvature {
    fn at(program: &Program, f: &[f64]) -> Self {
        let mut diagonal = vec![0.0; f.len()];
        program.loss.hessian_diagonal_into(f, &mut diagonal);
        let total = program.loss.as_intercept().map(|_| diagonal.iter().sum::<f64>());
        Self { diagonal, total: total.filter(|t| *t > 0.0) }
    }

    fn mean(&self) -> f64 {
        self.diagonal.iter().sum::<f64>() / self.diagonal.len().max(1) as f64
    }

    /// out = H v.
    fn apply(&self, v: &[f64], out: &mut [f64]) {
        let mean = self.total.map_or(0.0, |total| dot(&self.diagonal, v) / total);
        for ((out, v), h) in out.iter_mut().zip(v).zip(&self.diagonal) {
            *out = h * (v - mean);
        }
    }
}

/// Conjugate gradients for the Newton system.
fn direction(
    active: &Active,
    limit: usize,
    ask: &mut Stop,
) -> ControlFlow<(usize, crate::solver::Status), Direction> {
    let (program, (n, (d, k))) = (&active.program, (active.f.len(), active.program.shape()));
    let lambda = program.lambda;
    let mut along = vec![0.0; n];
    program.loss.residual_into(&active.f, &mut along);
    // −gradient
    let mut r = Mat::zeros(d, k);
    program.operator.adjoint_into(as_column(&along), r.as_mut());
    let sizes: Vec<f64> = (0..k).map(|c| norm(column(&active.z, c))).collect();
    let mut unit = active.z.clone();
    for (c, size) in sizes.iter().enumerate() {
        column_mut(&mut unit, c).iter_mut().for_each(|v| *v /= size);
        axpy(-lambda, column(&unit, c), column_mut(&mut r, c));
    }
    let bends: Vec<f64> = sizes.iter().map(|size| lambda / size).collect();
    let curvature = Curvature::at(program, &active.f);
    let mut preconditioner =
        Preconditioner::new(program.operator.as_ref(), curvature.mean(), &bends, &unit);
    let gradient = r.clone();
    let (mut x, mut fx) = (Mat::zeros(d, k), vec![0.0; n]);
    let (mut y, mut q) = (Mat::zeros(d, k), Mat::zeros(d, k));
    preconditioner.apply(&r, &mut y);
    let mut p = y.clone();
    let mut fp = vec![0.0; n];
    let mut square = inner(&r, &y);
    let goal = FORCING * FORCING * square;
    let mut iterations = 0;
    while iterations < MOST.min(limit) && square > goal {
        if iterations % ASK == 0
            && let ControlFlow::Break(status) = ask(iterations, active.value)
        {
            return ControlFlow::Break((iterations, status));
        }
        iterations += 1;
        let out = MatMut::from_column_major_slice_mut(&mut fp, n, 1);
        program.operator.apply_into(p.as_ref(), out);
        curvature.apply(&fp, &mut along);
        program.operator.adjoint_into(as_column(&along), q.as_mut());
        for c in 0..k {
            let (u, p) = (column(&unit, c), column(&p, c));
            let radial = dot(u, p);
            let q = column_mut(&mut q, c);
            for i in 0..d {
                q[i] += bends[c] * (p[i] - radial * u[i]);
            }
        }
        let curved = inner(&p, &q);
        if curved.is_nan() || curved <= 0.0 {
            break;
        }
        let step = square / curved;
        for c in 0..k {
            axpy(step, column(&p, c), column_mut(&mut x, c));
            axpy(-step, column(&q, c), column_mut(&mut r, c));
        }
        axpy(step, &fp, &mut fx);
        preconditioner.apply(&r, &mut y);
        let next = inner(&r, &y);
        let turn = next / square;
        square = next;
        for c in 0..k {
            let (p, y) = (column_mut(&mut p, c), column(&y, c));
            for i in 0..d {
                p[i] = y[i] + turn * p[i];
            }
        }
    }
    let slope = -inner(&gradient, &x);
    ControlFlow::Continue(Direction { z: x, f: fx, slope, iterations: iterations.max(1) })
}

/// ⟨a, b⟩ of matrices.
fn inner(a: &Mat, b: &Mat) -> f64 {
    (0..a.ncols()).map(|c| dot(column(a, c), column(b, c))).sum()
}

/// Goes along the direction while that lowers the objective; a group that would pass the origin
/// stops there. False if nothing was gained.
fn search(active: &mut Active, direction: &Direction) -> bool {
    if direction.slope.is_nan() || direction.slope >= 0.0 {
        return false;
    }
    let program = &active.program;
    let n = active.f.len();
    let mut t = 1.0;
    let mut f = vec![0.0; n];
    for _ in 0..20 {
        let mut z = active.z.clone();
        let mut stopped = false;
        for c in 0..z.ncols() {
            let z = column_mut(&mut z, c);
            let size = dot(z, z);
            if size + t * dot(z, column(&direction.z, c)) <= 0.0 {
                z.fill(0.0);
                stopped = true;
            } else {
                axpy(t, column(&direction.z, c), z);
            }
        }
        if stopped {
            f = program.outputs(&z);
        } else {
            f.iter_mut()
                .zip(active.f.iter().zip(&direction.f))
                .for_each(|(f, (a, b))| *f = a + t * b);
        }
        let value = Active::objective(program, &z, &f);
        let least = if stopped { 0.0 } else { 1e-4 * t * direction.slope };
        if value < active.value + least {
            (active.z, active.f, active.value) = (z, f, value);
            return true;
        }
        t *= 0.5;
    }
    false
}
