//! The program on a few columns as a conic program for Clarabel.

use super::LinearTerms;
use crate::linalg::{Mat, column};
use crate::loss::{ConicForm, Loss};
use crate::{Error, Program, Result};
use clarabel::algebra::CscMatrix;
use clarabel::solver::SupportedConeT::*;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SolverStatus, SupportedConeT};

/// What came out of a master.
pub(super) enum Outcome {
    /// An approximate solution.
    Point(Point),
    /// No point has a finite loss: a direction ν that proves it on these columns.
    Infeasible(Vec<f64>),
    /// The solver gave up.
    Failed,
}

/// An approximate solution of a master.
pub(super) struct Point {
    /// Values of the columns, d×k.
    pub z: Mat,
    /// Free parameters c.
    pub free: Vec<f64>,
    /// Penalised parameters p.
    pub penalised: Vec<f64>,
    /// The multipliers of f = Az + Zc + Sp, an approximation of −∇F(f).
    pub nu: Vec<f64>,
}

/// Minimise ½xᵀPx + qᵀx subject to b − Ax in cones.
#[derive(Default)]
struct Builder {
    quadratic: Vec<f64>,
    linear: Vec<f64>,
    rows: Vec<usize>,
    columns: Vec<usize>,
    values: Vec<f64>,
    right: Vec<f64>,
    cones: Vec<SupportedConeT<f64>>,
}

impl Builder {
    /// `count` variables of the same cost; the first one's index.
    fn variables(&mut self, count: usize, quadratic: f64, linear: f64) -> usize {
        let first = self.linear.len();
        self.quadratic.resize(first + count, quadratic);
        self.linear.resize(first + count, linear);
        first
    }

    /// constant + Σ coefficient·variable as the next entry of the cone to be named.
    fn row(&mut self, constant: f64, terms: &[(usize, f64)]) {
        let row = self.right.len();
        for &(variable, value) in terms {
            self.entry(row, variable, value);
        }
        self.right.push(constant);
    }

    fn entry(&mut self, row: usize, variable: usize, value: f64) {
        if value != 0.0 {
            self.rows.push(row);
            self.columns.push(variable);
            self.values.push(-value);
        }
    }

    fn cone(&mut self, cone: SupportedConeT<f64>) {
        self.cones.push(cone);
    }
}

/// Solves the master over the columns `names`; `loss` without intercept, `form` its conic form.
pub(super) fn solve(
    program: &Program,
    names: &[usize],
    loss: &dyn Loss,
    form: ConicForm,
    terms: &LinearTerms,
    tolerance: f64,
) -> Result<Outcome> {
    let (n, (d, _)) = (program.samples(), program.shape());
    let mut b = Builder::default();
    let outputs = b.variables(n, 0.0, 0.0);
    let first = b.variables(names.len() * d, 0.0, 0.0);
    let sizes = b.variables(names.len(), 0.0, program.lambda);
    let free = b.variables(terms.free.ncols(), 0.0, 0.0);
    let (penalised, gamma) = match &terms.penalised {
        Some((s, gamma)) => (b.variables(s.ncols() + 1, 0.0, 0.0), *gamma),
        None => (0, 0.0),
    };
    // f − Az − Zc − Sp = 0: its multipliers are ν
    for i in 0..n {
        b.row(0.0, &[(outputs + i, -1.0)]);
    }
    let dense = |b: &mut Builder, block: &Mat, at: usize| {
        for j in 0..block.ncols() {
            for (i, v) in column(block, j).iter().enumerate() {
                b.entry(i, at + j, *v);
            }
        }
    };
    for (k, &c) in names.iter().enumerate() {
        dense(&mut b, &program.operator.block(c), first + k * d);
    }
    dense(&mut b, &terms.free, free);
    if let Some((s, _)) = &terms.penalised {
        dense(&mut b, s, penalised);
    }
    b.cone(ZeroConeT(n));
    add_columns(&mut b, program, names, first, sizes);
    if let Some((s, _)) = &terms.penalised {
        let size = penalised + s.ncols();
        b.linear[size] = gamma;
        b.row(0.0, &[(size, 1.0)]);
        (0..s.ncols()).for_each(|j| b.row(0.0, &[(penalised + j, 1.0)]));
        b.cone(SecondOrderConeT(s.ncols() + 1));
    }
    for i in 0..n {
        add_loss(&mut b, form, loss.weights()[i], loss.targets()[i], outputs + i);
    }
    let (status, x, z) = run(b, tolerance)?;
    let nu = z[..n].to_vec();
    if x.iter().chain(&z).any(|v| !v.is_finite()) {
        return Ok(Outcome::Failed);
    }
    Ok(match status {
        SolverStatus::PrimalInfeasible | SolverStatus::AlmostPrimalInfeasible => {
            Outcome::Infeasible(nu)
        }
        SolverStatus::Solved | SolverStatus::AlmostSolved | SolverStatus::InsufficientProgress => {
            let s = terms.penalised.as_ref().map_or(0, |(s, _)| s.ncols());
            Outcome::Point(Point {
                z: Mat::from_fn(d, names.len(), |i, k| x[first + k * d + i]),
                free: x[free..free + terms.free.ncols()].to_vec(),
                penalised: x[penalised..penalised + s].to_vec(),
                nu,
            })
        }
        _ => Outcome::Failed,
    })
}

/// ρ(v) ≤ t and Gv ≥ 0 for each column v.
fn add_columns(b: &mut Builder, program: &Program, names: &[usize], first: usize, sizes: usize) {
    let d = program.shape().0;
    let gauge = program.regularizer.gauge();
    let inner = gauge.penalised(d);
    for k in 0..names.len() {
        b.row(0.0, &[(sizes + k, 1.0)]);
        (0..inner).for_each(|j| b.row(0.0, &[(first + k * d + j, 1.0)]));
        b.cone(SecondOrderConeT(inner + 1));
    }
    let start = b.right.len();
    for (k, &c) in names.iter().enumerate() {
        let v = first + k * d;
        if let Some(radius) = gauge.bias_radius() {
            b.row(0.0, &[(sizes + k, radius), (v + d - 1, -1.0)]);
            b.row(0.0, &[(sizes + k, radius), (v + d - 1, 1.0)]);
        }
        if let Some(constraint) = &program.constraint {
            let rows = constraint.rows(c);
            for i in 0..rows.nrows() {
                if (0..d).any(|j| rows[(i, j)] != 0.0) {
                    let row = b.right.len();
                    (0..d).for_each(|j| b.entry(row, v + j, rows[(i, j)]));
                    b.right.push(0.0);
                }
            }
        }
    }
    if b.right.len() > start {
        b.cone(NonnegativeConeT(b.right.len() - start));
    }
}

/// ω ℓ(f, y), f the variable `f`.
fn add_loss(b: &mut Builder, form: ConicForm, w: f64, y: f64, f: usize) {
    if w == 0.0 {
        return;
    }
    match form {
        ConicForm::Squared => {
            b.quadratic[f] = w;
            b.linear[f] = -w * y;
        }
        ConicForm::Huber(_) | ConicForm::Absolute => {
            let mut terms = vec![(f, 1.0)];
            let slope = match form {
                ConicForm::Huber(delta) => {
                    terms.push((b.variables(1, w, 0.0), -1.0));
                    delta
                }
                _ => 1.0,
            };
            let sides = b.variables(2, 0.0, w * slope);
            terms.extend([(sides, -1.0), (sides + 1, 1.0)]);
            b.row(-y, &terms);
            b.cone(ZeroConeT(1));
            b.row(0.0, &[(sides, 1.0)]);
            b.row(0.0, &[(sides + 1, 1.0)]);
            b.cone(NonnegativeConeT(2));
        }
        ConicForm::Hinge | ConicForm::SquaredHinge => {
            let h = match form {
                ConicForm::Hinge => b.variables(1, 0.0, w),
                _ => b.variables(1, w, 0.0),
            };
            b.row(-1.0, &[(f, y), (h, 1.0)]);
            b.row(0.0, &[(h, 1.0)]);
            b.cone(NonnegativeConeT(2));
        }
        ConicForm::Interpolation => {
            b.row(-y, &[(f, 1.0)]);
            b.cone(ZeroConeT(1));
        }
        ConicForm::Logistic => {
            // ln(1 + e^{−yf}) ≤ e  ⇔  e^{−yf−e} + e^{−e} ≤ 1
            let e = b.variables(1, 0.0, w);
            let parts = b.variables(2, 0.0, 0.0);
            b.row(0.0, &[(f, -y), (e, -1.0)]);
            b.row(1.0, &[]);
            b.row(0.0, &[(parts, 1.0)]);
            b.cone(ExponentialConeT());
            b.row(0.0, &[(e, -1.0)]);
            b.row(1.0, &[]);
            b.row(0.0, &[(parts + 1, 1.0)]);
            b.cone(ExponentialConeT());
            b.row(1.0, &[(parts, -1.0), (parts + 1, -1.0)]);
            b.cone(NonnegativeConeT(1));
        }
    }
}

fn run(b: Builder, tolerance: f64) -> Result<(SolverStatus, Vec<f64>, Vec<f64>)> {
    let (m, n) = (b.right.len(), b.linear.len());
    let constraints = CscMatrix::new_from_triplets(m, n, b.rows, b.columns, b.values);
    let diagonal: Vec<usize> = (0..n).filter(|&j| b.quadratic[j] != 0.0).collect();
    let curvature = diagonal.iter().map(|&j| b.quadratic[j]).collect();
    let objective = CscMatrix::new_from_triplets(n, n, diagonal.clone(), diagonal, curvature);
    let settings = DefaultSettings {
        verbose: false,
        tol_gap_abs: tolerance,
        tol_gap_rel: tolerance,
        tol_feas: tolerance,
        direct_solve_method: "qdldl".into(),
        ..DefaultSettings::default()
    };
    let mut solver =
        DefaultSolver::new(&objective, &b.linear, &constraints, &b.right, &b.cones, settings)
            .map_err(|e| Error::Data(format!("the conic program cannot be set up: {e}")))?;
    solver.solve();
    let found = solver.solution;
    Ok((found.status, found.x, found.z))
}
