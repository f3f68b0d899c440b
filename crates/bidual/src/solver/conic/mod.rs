//! A general conic solver for small programs, and bounds rebuilt from its multipliers.
//!
//! For losses without derivatives (hinge, absolute, interpolation) and for linear parameters beside
//! the neurons. Columns enter as they are priced, each master goes to an interior-point method for
//! second-order cones. Nothing that it says is taken on trust: the point is made feasible and its
//! objective evaluated, and ν, its multipliers, is moved into the domain of the conjugate and onto
//! the equalities, priced over every cone, and scaled.

mod equalities;
mod master;
mod polish;

use super::{Observer, Progress, Solution, Solver, SparseColumns, Status};
use crate::certificate::relative_gap;
use crate::linalg::{Mat, axpy, column, norm};
use crate::loss::{ConicForm, Loss, best_dual_value};
use crate::{Error, Program, Result};
use master::{Outcome, Point};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Tolerance that masters are asked for at last; they stop where f64 ends.
const FINEST: f64 = 1e-14;

/// Column generation with a conic interior-point master.
#[derive(Debug, Clone)]
pub struct Conic {
    /// Relative duality gap at which to stop.
    pub tolerance: f64,
    /// Masters at most.
    pub max_rounds: usize,
    /// Columns of the first master at most.
    pub first: usize,
    /// With free parameters c ([`LinearTerms::free`]) the condition Zᵀν = 0 holds up to rounding;
    /// what is left is charged for competitors with ‖c‖₂ (columns of unit length) up to this
    /// factor times 1 + ‖y‖₂ + ‖c*‖₂, c* the parameters found. The charge is that of a rounding
    /// error, so a generous factor is cheap. A free constant ([`WithIntercept`](crate::loss::WithIntercept)) alone needs none.
    pub reach: f64,
}

impl Default for Conic {
    fn default() -> Self {
        Self { tolerance: 1e-6, max_rounds: 100, first: 256, reach: 1e3 }
    }
}

/// Linear parameters beside the columns of a program: f = Az + Zc + Sp.
#[derive(Debug, Clone)]
pub struct LinearTerms {
    /// Z, n×q (possibly q = 0): parameters c without penalty.
    pub free: Mat,
    /// S (n×s) and γ > 0: parameters p with the penalty γ‖p‖₂, not multiplied by λ.
    pub penalised: Option<(Mat, f64)>,
}

impl LinearTerms {
    /// No parameters, for n samples.
    pub fn none(n: usize) -> Self {
        Self { free: Mat::zeros(n, 0), penalised: None }
    }

    /// Zc + Sp.
    pub fn outputs(&self, free: &[f64], penalised: &[f64]) -> Vec<f64> {
        let mut f = vec![0.0; self.free.nrows()];
        free.iter().enumerate().for_each(|(j, c)| axpy(*c, column(&self.free, j), &mut f));
        if let Some((s, _)) = &self.penalised {
            penalised.iter().enumerate().for_each(|(j, p)| axpy(*p, column(s, j), &mut f));
        }
        f
    }

    fn penalty(&self, penalised: &[f64]) -> f64 {
        self.penalised.as_ref().map_or(0.0, |(_, gamma)| gamma * norm(penalised))
    }

    fn check(&self, n: usize) -> Result<()> {
        let fits = |m: &Mat| {
            let finite = (0..m.ncols()).all(|j| column(m, j).iter().all(|v| v.is_finite()));
            m.nrows() == n && finite
        };
        let good = fits(&self.free)
            && self.penalised.as_ref().is_none_or(|(s, g)| fits(s) && *g > 0.0 && g.is_finite());
        if good {
            return Ok(());
        }
        Err(Error::Data(format!(
            "linear parameters need {n} finite rows, one per sample, and a positive finite penalty"
        )))
    }
}

/// A solution with its linear parameters.
#[derive(Debug, Clone)]
pub struct ConicSolution {
    /// Columns, ν and bounds; the objective includes the linear parameters.
    pub solution: Solution,
    /// c, without the constant of a profiled loss.
    pub free: Vec<f64>,
    /// p.
    pub penalised: Vec<f64>,
}

/// The parts of a problem that stay the same.
struct Problem<'a> {
    program: &'a Program,
    /// The loss without intercept.
    loss: Arc<dyn Loss>,
    form: ConicForm,
    /// With the column of ones first if the loss was profiled.
    terms: LinearTerms,
    /// 1 if the loss was profiled.
    intercept: usize,
    /// Orthonormal basis of the free columns.
    basis: Mat,
}

/// A feasible point.
struct Feasible {
    z: SparseColumns,
    free: Vec<f64>,
    penalised: Vec<f64>,
    value: f64,
}

impl Conic {
    /// Solves `program` with linear parameters beside its columns.
    ///
    /// An interpolation problem without a solution is an error.
    pub fn solve_with(
        &self,
        program: &Program,
        terms: &LinearTerms,
        observer: &mut dyn Observer,
    ) -> Result<ConicSolution> {
        let problem = Problem::new(program, terms)?;
        let mut names = problem.first_columns(self.first);
        let zero = Feasible {
            z: SparseColumns::zero(program.shape().0),
            free: vec![0.0; problem.terms.free.ncols()],
            penalised: vec![0.0; terms.penalised.as_ref().map_or(0, |(s, _)| s.ncols())],
            value: problem.loss.value(&vec![0.0; program.samples()]),
        };
        let mut best = zero;
        let (mut lower, mut nu) = (f64::NEG_INFINITY, vec![0.0; program.samples()]);
        let mut multipliers = program.multipliers();
        let mut status = Status::IterationLimit;
        let (mut rounds, mut accuracy) = (0, 1e-11);
        while rounds < self.max_rounds {
            rounds += 1;
            let (loss, form) = (problem.loss.as_ref(), problem.form);
            let outcome = master::solve(program, &names, loss, form, &problem.terms, accuracy)?;
            let (mut trial, level) = match outcome {
                Outcome::Failed => {
                    status = Status::Stalled;
                    break;
                }
                Outcome::Infeasible(ray) => {
                    let size = norm(&ray);
                    (ray.into_iter().map(|v| v / size).collect::<Vec<f64>>(), 0.0)
                }
                Outcome::Point(point) => {
                    let found = problem.feasible(&names, &point);
                    if found.value < best.value {
                        best = found;
                    }
                    (point.nu, program.lambda)
                }
            };
            equalities::annul(loss, &problem.basis, &mut trial);
            problem.balance(&mut trial);
            let prices = program.price(&trial, level, &mut multipliers);
            if level > 0.0 {
                let bound = problem.lower_bound(&trial, prices.kappa(), self.reach, &best.free);
                if bound > lower {
                    (lower, nu) = (bound, trial);
                }
                if relative_gap(lower, best.value) <= self.tolerance {
                    status = Status::Certified;
                    break;
                }
            }
            let progress =
                Progress { iteration: rounds, upper: best.value, lower, active: names.len() };
            if let ControlFlow::Break(reason) = observer.observe(&progress) {
                status = reason;
                break;
            }
            let threshold = if level > 0.0 { level * (1.0 + 1e-9) } else { 1e-9 };
            let batch = names.len().max(64);
            let fresh = prices.above(threshold).into_iter().filter(|c| !names.contains(c));
            let fresh: Vec<usize> = fresh.take(batch).collect();
            if fresh.is_empty() {
                if level == 0.0 {
                    return Err(infeasible());
                }
                // every column in play or cheap: only the master's accuracy is missing
                if accuracy < FINEST * 10.0 {
                    status = Status::Stalled;
                    break;
                }
                accuracy *= 0.1;
            }
            names.extend(fresh);
        }
        let free = best.free.split_off(problem.intercept);
        let solution =
            Solution { z: best.z, nu, upper: best.value, lower, status, iterations: rounds };
        Ok(ConicSolution { solution, free, penalised: best.penalised })
    }
}

fn infeasible() -> Error {
    Error::Data(
        "no network fits the targets exactly: samples that are parallel have incompatible targets, or a zero row has a target that is not 0; use a hidden bias, an output bias or another loss"
            .into(),
    )
}

impl Solver for Conic {
    fn name(&self) -> &'static str {
        "conic"
    }

    /// `start` is not used: interior-point methods start anew.
    fn solve(
        &self,
        program: &Program,
        _start: Option<&SparseColumns>,
        observer: &mut dyn Observer,
    ) -> Result<Solution> {
        let none = LinearTerms::none(program.samples());
        Ok(self.solve_with(program, &none, observer)?.solution)
    }
}

impl<'a> Problem<'a> {
    fn new(program: &'a Program, terms: &LinearTerms) -> Result<Self> {
        let n = program.samples();
        terms.check(n)?;
        let (loss, intercept) = match program.loss.as_intercept() {
            Some(profiled) => (profiled.inner().clone(), 1),
            None => (program.loss.clone(), 0),
        };
        let form = loss.conic_form().ok_or(Error::Unsupported {
            solver: "conic",
            what: "this loss",
            instead: "column generation",
        })?;
        let q = intercept + terms.free.ncols();
        let at = |i: usize, j: usize| match j.checked_sub(intercept) {
            Some(j) => terms.free[(i, j)],
            None => 1.0,
        };
        let terms =
            LinearTerms { free: Mat::from_fn(n, q, at), penalised: terms.penalised.clone() };
        // the balance of a profiled loss is exact: a constant alone needs no projection
        let alone = q == 1 && intercept == 1;
        let basis = if alone { Mat::zeros(n, 0) } else { equalities::orthonormal(&terms.free) };
        Ok(Self { program, loss, form, terms, intercept, basis })
    }

    /// True if the constant of a profiled loss is the only free parameter.
    fn constant_alone(&self) -> bool {
        self.intercept == 1 && self.terms.free.ncols() == 1
    }

    fn balance(&self, nu: &mut [f64]) {
        if let Some(profiled) = self.program.loss.as_intercept()
            && self.constant_alone()
        {
            profiled.clip_dual(nu);
        }
    }

    /// All columns if they are few, else those dearest at the first residual by adjoint norms.
    fn first_columns(&self, count: usize) -> Vec<usize> {
        let columns = self.program.shape().1;
        if columns <= count {
            return (0..columns).collect();
        }
        let zero = vec![0.0; self.program.samples()];
        let mut nu = match self.form {
            ConicForm::Interpolation => self.loss.targets().to_vec(),
            _ => self.program.residual(&zero),
        };
        equalities::annul(self.loss.as_ref(), &self.basis, &mut nu);
        let c = self.program.adjoint(&nu);
        let size: Vec<f64> =
            (0..columns).map(|j| self.program.regularizer.column_polar(column(&c, j))).collect();
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by(|&a, &b| size[b].total_cmp(&size[a]).then(a.cmp(&b)));
        order.truncate(count);
        order
    }

    /// max D(tν) over the t that the prices and the linear penalty allow, less the charge for what
    /// is left of Zᵀν.
    fn lower_bound(&self, nu: &[f64], kappa: f64, reach: f64, free: &[f64]) -> f64 {
        let linear = match &self.terms.penalised {
            Some((s, gamma)) => gamma / equalities::polar(s, nu),
            None => f64::INFINITY,
        };
        let scale = if kappa > 0.0 { self.program.lambda / kappa } else { f64::INFINITY };
        // ν = 0 allows every scale
        let t_max = scale.min(linear).min(f64::MAX) * (1.0 - 1e-12);
        let t_max = if kappa.is_nan() || linear.is_nan() { 0.0 } else { t_max };
        if self.constant_alone() {
            return best_dual_value(self.program.loss.as_ref(), nu, t_max).0;
        }
        let (value, t) = best_dual_value(self.loss.as_ref(), nu, t_max);
        let z = &self.terms.free;
        if z.ncols() == 0 {
            return value;
        }
        let sizes: Vec<f64> = (0..z.ncols()).map(|j| norm(column(z, j)) * free[j]).collect();
        let radius = reach * (1.0 + norm(self.loss.targets()) + norm(&sizes));
        let charge = t * equalities::remainder(z, nu) * radius;
        let bound = value - charge - 1e-15 * (value.abs() + charge);
        // t = 0 costs nothing
        self.loss.dual_value(nu, 0.0).max(bound)
    }

    /// The point with its columns moved into their cones and its objective.
    fn feasible(&self, names: &[usize], point: &Point) -> Feasible {
        let gauge = self.program.regularizer.gauge();
        let size = |k: usize| gauge.value(column(&point.z, k));
        let largest = (0..names.len()).map(size).fold(0.0, f64::max);
        let mut best: Option<Feasible> = None;
        let (mut allowed, mut loosest) = (f64::INFINITY, f64::INFINITY);
        // fewer columns if that costs nothing
        for threshold in [1e-12, 1e-9, 1e-7, 1e-6] {
            let keep: Vec<usize> =
                (0..names.len()).filter(|&k| size(k) > threshold * largest).collect();
            let columns: Vec<usize> = keep.iter().map(|&k| names[k]).collect();
            let mut values =
                Mat::from_fn(point.z.nrows(), keep.len(), |i, k| point.z[(i, keep[k])]);
            for (k, &c) in columns.iter().enumerate() {
                polish::into_cone(self.program, c, values.col_as_slice_mut(k));
            }
            let few = self.program.restrict(&columns);
            let mut free = point.free.clone();
            let mut off = 0.0;
            if self.form == ConicForm::Interpolation {
                let y = self.loss.targets();
                off = polish::interpolate(&few, &self.terms, y, &mut values, &mut free);
            }
            let value = self.objective(&few, &values, &free, &point.penalised);
            if value <= allowed && off <= loosest {
                loosest = loosest.min(off.max(1e-14 * norm(self.loss.targets())));
                allowed = allowed.min(value + 1e-10 * value.abs());
                let penalised = point.penalised.clone();
                let z = SparseColumns { columns, values };
                best = Some(Feasible { z, free, penalised, value });
            }
        }
        best.unwrap_or(Feasible {
            z: SparseColumns::zero(point.z.nrows()),
            free: point.free.clone(),
            penalised: point.penalised.clone(),
            value: f64::INFINITY,
        })
    }

    fn objective(&self, few: &Program, z: &Mat, free: &[f64], penalised: &[f64]) -> f64 {
        let mut f = self.terms.outputs(free, penalised);
        f.iter_mut().zip(few.outputs(z)).for_each(|(f, a)| *f += a);
        let columns = self.program.lambda * self.program.regularizer.value(z);
        self.loss.value(&f) + columns + self.terms.penalty(penalised)
    }
}
