//! Newton steps on the groups that are not zero.

use super::super::working_set::{Ended, Point, ROUNDING, Stop};
use super::mean_field::Preconditioner;
use crate::Program;
use crate::linalg::{Mat, as_column, axpy, column, column_mut, dot, norm};
use faer::MatMut;
use std::ops::ControlFlow;

/// Newton steps between two rounds of proximal steps, at most.
const STEPS: usize = 6;
/// Change of the curvature, as a share of it, that does not matter.
const SAME: f64 = 0.2;
/// Halvings of a step at most.
const HALVINGS: usize = 20;
/// Share of the gradient, in the norm of the preconditioner, that conjugate gradients may leave: the
/// root of `LOOSENESS` times the relative goal, within these limits.
const FORCING: (f64, f64) = (0.1, 0.5);
const LOOSENESS: f64 = 300.0;
/// Conjugate-gradient iterations of a step at most.
const MOST: usize = 250;
/// Iterations between two questions whether to stop.
const ASK: usize = 16;

/// The program on its groups that are not zero.
#[derive(Clone)]
struct Active {
    program: Program,
    /// Index of each group in the working set.
    names: Vec<usize>,
    z: Mat,
    f: Vec<f64>,
    value: f64,
}

impl Active {
    /// The groups of `z` that are not zero.
    fn new(program: &Program, z: &Mat, f: Vec<f64>, names: &[usize]) -> Self {
        let support: Vec<usize> =
            (0..z.ncols()).filter(|&c| column(z, c).iter().any(|v| *v != 0.0)).collect();
        let program = program.restrict(&support);
        let z = Mat::from_fn(z.nrows(), support.len(), |i, k| z[(i, support[k])]);
        let value = program.objective_at(&z, &f);
        Self { program, names: support.into_iter().map(|c| names[c]).collect(), z, f, value }
    }

    /// Whether the loss bends at the outputs `f` as it does here: then the model holds so far.
    fn same_curvature(&self, f: &[f64]) -> bool {
        let (here, there) =
            (Curvature::at(&self.program, &self.f), Curvature::at(&self.program, f));
        let sum: f64 = here.diagonal.iter().sum();
        let pairs = here.diagonal.iter().zip(&there.diagonal);
        pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() <= SAME * sum
    }

    /// t times along the direction, with zeros where a group would pass the origin.
    fn moved(&self, direction: &Direction, t: f64) -> (Mat, bool) {
        let mut z = self.z.clone();
        let mut stopped = false;
        for c in 0..z.ncols() {
            let z = column_mut(&mut z, c);
            if dot(z, z) + t * dot(z, column(&direction.z, c)) <= 0.0 {
                z.fill(0.0);
                stopped = true;
            } else {
                axpy(t, column(&direction.z, c), z);
            }
        }
        (z, stopped)
    }
}

/// A few Newton steps on the support of `point`, until one promises less than a tenth of `goal`.
///
/// A group that would pass the origin is set to zero and left out of the next step, whatever the
/// objective says: its linear model holds up to there, and the other groups take over. Only the
/// end is compared with the beginning: true if that is lower.
pub(super) fn newton(point: &mut Point, goal: f64, limit: usize, stop: &mut Stop) -> (Ended, bool) {
    let mut ended = Ended { iterations: 0, status: None, reached: false };
    let all: Vec<usize> = (0..point.z.ncols()).collect();
    let start = Active::new(point.program, &point.z, point.f.clone(), &all);
    let mut active = start.clone();
    let mut first = None;
    for _ in 0..STEPS {
        let done = ended.iterations;
        if active.names.is_empty() || done >= limit {
            break;
        }
        let mut ask = |k: usize, upper: f64| stop(done + k, upper.min(start.value));
        let direction = match direction(&active, goal, limit - done, &mut ask) {
            ControlFlow::Continue(direction) => direction,
            ControlFlow::Break((iterations, status)) => {
                ended.iterations += iterations;
                ended.status = Some(status);
                break;
            }
        };
        ended.iterations += direction.iterations;
        let (z, stopped) = active.moved(&direction, 1.0);
        let f = if stopped { active.program.outputs(&z) } else { vec![] };
        if stopped && active.same_curvature(&f) {
            active = Active::new(&active.program, &z, f, &active.names);
        } else {
            let before = active.value;
            if !search(&mut active, &direction) || before - active.value < 0.1 * goal {
                break;
            }
            active = Active::new(&active.program, &active.z, active.f.clone(), &active.names);
        }
        first.get_or_insert(direction);
    }
    let before = start.value;
    if active.value.is_nan() || active.value > before + ROUNDING * before.abs() {
        active = start;
        if let Some(direction) = first {
            search(&mut active, &direction);
        }
    }
    point.z.fill(0.0);
    for (k, &c) in active.names.iter().enumerate() {
        column_mut(&mut point.z, c).copy_from_slice(column(&active.z, k));
    }
    point.f = active.f;
    (ended, active.value < before)
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
pub(super) struct Curvature {
    pub diagonal: Vec<f64>,
    /// Σh where the constant is profiled.
    pub total: Option<f64>,
}

impl Curvature {
    pub(super) fn at(program: &Program, f: &[f64]) -> Self {
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

/// Conjugate gradients for the Newton system, on the way to a gap of `goal`.
fn direction(
    active: &Active,
    goal: f64,
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
    let forcing = (LOOSENESS * goal / active.value.abs()).sqrt().clamp(FORCING.0, FORCING.1);
    let enough = forcing * forcing * square;
    let mut iterations = 0;
    let rough = program.operator.rough();
    let products = rough.as_ref().unwrap_or(&program.operator);
    while iterations < MOST.min(limit) && square > enough {
        if iterations % ASK == 0
            && let ControlFlow::Break(status) = ask(iterations, active.value)
        {
            return ControlFlow::Break((iterations, status));
        }
        iterations += 1;
        let out = MatMut::from_column_major_slice_mut(&mut fp, n, 1);
        products.apply_into(p.as_ref(), out);
        curvature.apply(&fp, &mut along);
        products.adjoint_into(as_column(&along), q.as_mut());
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
        if rough.is_none() {
            axpy(step, &fp, &mut fx);
        }
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
    if rough.is_some() {
        fx = program.outputs(&x);
    }
    let slope = -inner(&gradient, &x);
    ControlFlow::Continue(Direction { z: x, f: fx, slope, iterations: iterations.max(1) })
}

/// ⟨a, b⟩ of matrices.
fn inner(a: &Mat, b: &Mat) -> f64 {
    (0..a.ncols()).map(|c| dot(column(a, c), column(b, c))).sum()
}

/// Goes along the direction as far as that lowers the objective. False if nothing was gained.
fn search(active: &mut Active, direction: &Direction) -> bool {
    if direction.slope.is_nan() || direction.slope >= 0.0 {
        return false;
    }
    let mut t = 1.0;
    for _ in 0..HALVINGS {
        let (z, stopped) = active.moved(direction, t);
        let f = if stopped {
            active.program.outputs(&z)
        } else {
            active.f.iter().zip(&direction.f).map(|(f, g)| f + t * g).collect()
        };
        let value = active.program.objective_at(&z, &f);
        let least = if stopped { 0.0 } else { 1e-4 * t * direction.slope };
        // what the step promises may be less than the objective can show
        let blind = -direction.slope < 1e3 * ROUNDING * active.value.abs();
        let slack = if blind { ROUNDING * active.value.abs() } else { least };
        if value < active.value + slack {
            (active.z, active.f, active.value) = (z, f, value);
            return true;
        }
        t *= 0.5;
    }
    false
}
