//! A second-order master for columns with the Euclidean norm and polyhedral cones.
//!
//! minimise F(Σ_g Φ_g v_g) + λ Σ_g ‖v_g‖₂  s.t. v_g in the cone of g
//!
//! One outer step minimises the quadratic model of F at v plus ‖v⁺ − v‖²/(2σ). Its dual is smooth
//! in one vector η ∈ Rⁿ: the proximal map of λ‖·‖ on a cone is the projection on the cone (an
//! active-set problem in d unknowns) followed by shrinkage, so that
//!
//! ψ(η) = ½‖η‖² + Σ_g (‖prox_g‖²/(2σ) + ηᵀSΦ_g v_g),  ∇ψ = η − SΦ(prox − v),  S = H^½,
//!
//! is minimised by a semismooth Newton method whose matrix I + Σ SΦ_g N_g N_gᵀΦ_gᵀSᵀ is small: N_g
//! spans the face of the cone that prox_g is on (Li, Sun & Toh 2018 for the lasso; with cones derived
//! here). Rows enter and leave the faces many at a time, however thin a cone is.

mod face;

use super::Status;
use super::gram::weighted_gram;
use super::master::{Master, Solved, Stop, Target};
use crate::Program;
use crate::linalg::{
    Mat, as_column, cholesky_in_place, cholesky_solve, column, dot, norm, transpose_times,
};
use crate::loss::best_dual_value;
use face::{Face, combine, images};
use rayon::prelude::*;
use std::ops::ControlFlow;

/// The columns in play, each on a face of its cone.
#[derive(Default)]
pub(super) struct Semismooth {
    columns: Vec<usize>,
    faces: Vec<Face>,
    /// Proximal parameter that worked last, in units of ‖v‖/λ.
    sigma: f64,
}

/// Newton steps of one outer step at most.
const STEPS: usize = 40;
/// Newton's method ends when the gradient is below this share of the step.
const ACCURACY: f64 = 0.02;
/// Outer steps without a better gap at most.
const PATIENCE: usize = 10;
/// Relative differences of objectives that mean nothing.
const ROUNDING: f64 = 1e-15;
/// Steps in a row that may gain nothing once the gradient has fallen to this share of the first.
const IDLE: usize = 3;
const NOISE: f64 = 1e-4;
/// Halvings of a step at most.
const HALVINGS: usize = 12;

impl Master for Semismooth {
    fn add(&mut self, program: &Program, c: usize, value: Option<&[f64]>) -> bool {
        self.columns.push(c);
        self.faces.push(Face::new(program, c, value));
        true
    }

    fn retain(&mut self, keep: &[bool]) {
        let mut marks = keep.iter();
        self.faces.retain(|_| marks.next() == Some(&true));
        let mut marks = keep.iter();
        self.columns.retain(|_| marks.next() == Some(&true));
    }

    fn values(&self, d: usize) -> Mat {
        Mat::from_fn(d, self.faces.len(), |i, k| self.faces[k].value[i])
    }

    fn solve(&mut self, program: &Program, target: &Target, stop: &mut Stop<'_>) -> Solved {
        let loss = program.loss.as_ref();
        let (n, lambda) = (loss.samples(), program.lambda);
        let own = program.restrict(&self.columns);
        let mut model = Model::new(loss.as_intercept().is_some(), n);
        let mut products = Mat::zeros(own.shape().0, self.faces.len());
        let mut f = own.outputs(&self.values(own.shape().0));
        let mut upper = loss.value(&f) + lambda * self.penalty();
        let mut solved = Solved {
            f: f.clone(),
            upper,
            lower: f64::NEG_INFINITY,
            status: Status::IterationLimit,
            iterations: 0,
        };
        let mut nu = vec![0.0; n];
        let mut h = vec![0.0; n];
        let mut damping = 0.0;
        let (mut least, mut stuck) = (f64::INFINITY, 0);
        if self.sigma == 0.0 {
            self.sigma = 1.0;
        }
        loop {
            loss.residual_into(&f, &mut nu);
            loss.clip_dual(&mut nu);
            own.operator.adjoint_into(as_column(&nu), products.as_mut());
            let price = |(k, g): (usize, &mut Face)| g.price(column(&products, k));
            let prices: Vec<f64> = self.faces.par_iter_mut().enumerate().map(price).collect();
            let kappa = prices.into_iter().fold(0.0, f64::max);
            let t = if kappa > 0.0 { lambda / kappa } else { f64::MAX };
            let bound = best_dual_value(loss, &nu, t).0;
            if bound > solved.lower {
                solved.lower = bound;
                solved.f.clone_from(&f);
            }
            solved.upper = upper;
            let lower = solved.lower;
            if upper - lower <= target.tolerance * upper.abs() {
                solved.status = Status::Certified;
                break;
            }
            if let ControlFlow::Break(status) = stop(solved.iterations, upper, lower) {
                solved.status = status;
                break;
            }
            if solved.iterations >= target.max_iterations {
                break;
            }
            if upper - lower < 0.9 * least {
                (least, stuck) = (upper - lower, 0);
            } else {
                stuck += 1;
            }
            if stuck > PATIENCE {
                solved.status = Status::Stalled;
                break;
            }
            loss.hessian_diagonal_into(&f, &mut h);
            for (h, w) in h.iter_mut().zip(loss.weights()) {
                *h = h.max(damping * loss.curvature_bound() * w);
            }
            model.set(&h);
            let size = self.size(target.distance / lambda);
            let sigma = self.sigma * size / lambda;
            let count = solved.iterations;
            let mut go_on = |step: usize| stop(count + step, upper, lower).is_continue();
            let (steps, found, next) = self.newton(&own, &f, &model, sigma, &mut go_on);
            solved.iterations += steps.max(1);
            // along the segment to the minimiser of the model
            let change: Vec<f64> = next.iter().zip(&f).map(|(to, from)| to - from).collect();
            let start: Vec<Vec<f64>> = self.faces.iter().map(|g| g.value.clone()).collect();
            let mut alpha = 1.0;
            let mut accepted = false;
            for _ in 0..HALVINGS {
                for (g, v) in self.faces.iter_mut().zip(&start) {
                    for ((to, v), next) in g.value.iter_mut().zip(v).zip(&g.next) {
                        *to = if alpha == 1.0 { *next } else { v + alpha * (next - v) };
                    }
                }
                let trial: Vec<f64> = f.iter().zip(&change).map(|(f, c)| f + alpha * c).collect();
                let value = loss.value(&trial) + lambda * self.penalty();
                // the last digits of the residual are worth more than those of the objective
                if value <= upper + ROUNDING * upper.abs() {
                    f = trial;
                    upper = value;
                    accepted = true;
                    break;
                }
                alpha *= 0.5;
            }
            if !accepted {
                for (g, v) in self.faces.iter_mut().zip(start) {
                    g.value = v;
                }
            }
            // a model that promises too much has too little curvature (Huber, squared hinge)
            damping = if accepted && alpha == 1.0 {
                0.1 * damping
            } else {
                (10.0 * damping).clamp(1e-3, 1.0)
            };
            if !accepted || !found {
                self.sigma *= 0.2;
            } else if steps <= 8 && alpha == 1.0 {
                self.sigma *= 5.0;
            }
            self.sigma = self.sigma.clamp(1e-6, 1e8);
        }
        solved
    }
}

impl Semismooth {
    fn penalty(&self) -> f64 {
        self.faces.iter().map(|g| norm(&g.value)).sum()
    }

    /// Largest norm of a column; a guess where all are zero.
    fn size(&self, guess: f64) -> f64 {
        let largest = self.faces.iter().map(|g| norm(&g.value)).fold(0.0, f64::max);
        if largest > 0.0 { largest } else { guess / self.faces.len().max(1) as f64 }
    }

    /// Minimises ψ; the proximal points of the minimiser are left in the faces. Steps, whether the
    /// minimiser was found, and the outputs at the proximal points.
    fn newton(
        &mut self,
        own: &Program,
        f: &[f64],
        model: &Model,
        sigma: f64,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> (usize, bool, Vec<f64>) {
        let n = f.len();
        let origin = model.times(f);
        let mut eta = vec![0.0; n];
        let mut at = self.evaluate(own, &eta, &origin, model, sigma);
        let first = norm(&at.gradient);
        let (mut least, mut idle) = (first, 0);
        for step in 0..STEPS {
            let moved: Vec<f64> = eta.iter().zip(&at.gradient).map(|(e, g)| e - g).collect();
            let size = norm(&at.gradient);
            if size <= ACCURACY * norm(&moved) || size <= 1e-14 * norm(&origin) {
                return (step, true, at.f);
            }
            let direction = self.direction(&at.gradient, model, sigma);
            let slope = dot(&direction, &at.gradient);
            let mut alpha = 1.0;
            let mut found = false;
            for _ in 0..HALVINGS {
                let trial: Vec<f64> =
                    eta.iter().zip(&direction).map(|(e, d)| e + alpha * d).collect();
                let next = self.evaluate(own, &trial, &origin, model, sigma);
                let rounding = 1e-14 * (at.value.abs() + next.scale);
                if next.value <= at.value + 1e-4 * alpha * slope + rounding {
                    (eta, at) = (trial, next);
                    found = true;
                    break;
                }
                alpha *= 0.5;
            }
            // near the end a long proximal step amplifies rounding
            let size = norm(&at.gradient);
            idle = if size < 0.7 * least { 0 } else { idle + 1 };
            least = least.min(size);
            if !found {
                // the faces are those of the last trial
                at = self.evaluate(own, &eta, &origin, model, sigma);
            }
            let noise = idle >= IDLE && size <= NOISE * first;
            if !found || noise || !go_on(step + 1) {
                return (step + 1, false, at.f);
            }
        }
        (STEPS, false, at.f)
    }

    /// −(I + BBᵀ)⁻¹g, B = SΦN.
    fn direction(&self, g: &[f64], model: &Model, sigma: f64) -> Vec<f64> {
        let roots: Vec<Option<Mat>> = self.faces.par_iter().map(|g| g.root(sigma)).collect();
        let active: Vec<(&Face, Mat)> =
            self.faces.iter().zip(roots).filter_map(|(g, r)| Some((g, r?))).collect();
        let b = images(&active, g.len());
        let mut direction: Vec<f64> = g.iter().map(|v| -v).collect();
        let mut system = weighted_gram(&b, &model.h, model.centred);
        for i in 0..system.nrows() {
            system[(i, i)] += 1.0;
        }
        if !cholesky_in_place(&mut system) {
            return direction;
        }
        let mut y = vec![0.0; b.ncols()];
        transpose_times(&b, &model.transposed(g), &mut y);
        cholesky_solve(&system, &mut y);
        let mut image = vec![0.0; g.len()];
        combine(&b, &y, &mut image);
        direction.iter_mut().zip(model.times(&image)).for_each(|(d, v)| *d += v);
        direction
    }

    fn evaluate(
        &mut self,
        own: &Program,
        eta: &[f64],
        origin: &[f64],
        model: &Model,
        sigma: f64,
    ) -> At {
        let mut change = Mat::zeros(own.shape().0, self.faces.len());
        own.operator.adjoint_into(as_column(&model.transposed(eta)), change.as_mut());
        let step = |(k, g): (usize, &mut Face)| g.step(column(&change, k), sigma, own.lambda);
        self.faces.par_iter_mut().enumerate().for_each(step);
        let (mut scale, mut gain) = (0.0, 0.0);
        for g in &self.faces {
            scale += dot(&g.next, &g.next) / (2.0 * sigma);
            gain += dot(&g.gradient, &g.value);
        }
        let next = Mat::from_fn(change.nrows(), change.ncols(), |i, k| self.faces[k].next[i]);
        let f = own.outputs(&next);
        let images = model.times(&f);
        let gradient: Vec<f64> = (0..eta.len()).map(|i| eta[i] - (images[i] - origin[i])).collect();
        let value = 0.5 * dot(eta, eta) + scale + dot(eta, origin) - gain;
        At { value, scale, gradient, f }
    }
}

/// ψ and its gradient.
struct At {
    value: f64,
    /// Size of the terms of the value.
    scale: f64,
    gradient: Vec<f64>,
    /// Outputs at the proximal points.
    f: Vec<f64>,
}

/// S = (I − ŝŝᵀ·centred)·diag(s), s = √h.
struct Model {
    h: Vec<f64>,
    roots: Vec<f64>,
    unit: Vec<f64>,
    centred: bool,
}

impl Model {
    fn new(centred: bool, n: usize) -> Self {
        Self { h: vec![0.0; n], roots: vec![0.0; n], unit: vec![0.0; n], centred }
    }

    fn set(&mut self, h: &[f64]) {
        self.h.copy_from_slice(h);
        for (r, h) in self.roots.iter_mut().zip(h) {
            *r = h.max(0.0).sqrt();
        }
        let length = norm(&self.roots);
        for (u, r) in self.unit.iter_mut().zip(&self.roots) {
            *u = if length > 0.0 { r / length } else { 0.0 };
        }
    }

    fn centre(&self, v: &mut [f64]) {
        if self.centred {
            let mean = dot(&self.unit, v);
            v.iter_mut().zip(&self.unit).for_each(|(v, u)| *v -= mean * u);
        }
    }

    /// S a.
    fn times(&self, a: &[f64]) -> Vec<f64> {
        let mut v: Vec<f64> = a.iter().zip(&self.roots).map(|(a, r)| a * r).collect();
        self.centre(&mut v);
        v
    }

    /// Sᵀη.
    fn transposed(&self, eta: &[f64]) -> Vec<f64> {
        let mut v = eta.to_vec();
        self.centre(&mut v);
        v.iter_mut().zip(&self.roots).for_each(|(v, r)| *v *= r);
        v
    }
}
