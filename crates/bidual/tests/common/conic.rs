//! The convex programs written out as conic programs with dense blocks and given
//! to Clarabel: nothing of the crate is used but the bits of the patterns.

use crate::problems::Setup;
use bidual::arrangement::Patterns;
use bidual::{Bias, LossKind};
use clarabel::algebra::CscMatrix;
use clarabel::solver::SupportedConeT::*;
use clarabel::solver::*;

/// A program under construction: minimise ½xᵀPx + qᵀx subject to b − Ax in cones.
#[derive(Default)]
struct Conic {
    quadratic: Vec<f64>,
    linear: Vec<f64>,
    entries: Vec<(usize, usize, f64)>,
    right: Vec<f64>,
    cones: Vec<SupportedConeT<f64>>,
}

impl Conic {
    fn variables(&mut self, count: usize, quadratic: f64, linear: f64) -> usize {
        self.quadratic.resize(self.quadratic.len() + count, quadratic);
        self.linear.resize(self.linear.len() + count, linear);
        self.linear.len() - count
    }

    /// One row: constant + Σ coefficient·variable, in the cone to be named.
    fn row(&mut self, constant: f64, terms: &[(usize, f64)]) {
        let row = self.right.len();
        self.entries.extend(terms.iter().map(|&(v, a)| (row, v, -a)));
        self.right.push(constant);
    }

    fn solve(self) -> (f64, Vec<f64>) {
        let (m, n) = (self.right.len(), self.linear.len());
        let triplets = |entries: Vec<(usize, usize, f64)>, rows: usize| {
            let i = entries.iter().map(|e| e.0).collect();
            let j = entries.iter().map(|e| e.1).collect();
            CscMatrix::new_from_triplets(rows, n, i, j, entries.iter().map(|e| e.2).collect())
        };
        let diagonal = self.quadratic.iter().enumerate().map(|(k, v)| (k, k, *v)).collect();
        let (p, a) = (triplets(diagonal, n), triplets(self.entries, m));
        let settings = DefaultSettings {
            verbose: false,
            tol_gap_abs: 1e-10,
            tol_gap_rel: 1e-10,
            tol_feas: 1e-10,
            ..DefaultSettings::default()
        };
        let mut solver =
            DefaultSolver::new(&p, &self.linear, &a, &self.right, &self.cones, settings)
                .expect("well formed");
        solver.solve();
        let solution = &solver.solution;
        let solved = matches!(solution.status, SolverStatus::Solved | SolverStatus::AlmostSolved);
        assert!(solved, "{:?}", solution.status);
        (solution.obj_val, solution.x.clone())
    }
}

/// Optimal value of the program on the given patterns: with `cones` two columns
/// each (positive and negative output weights), without cones one (gates).
pub fn optimum(setup: &Setup, patterns: &Patterns, cones: bool) -> f64 {
    let mut c = Conic::default();
    let (n, inner) = (setup.x.len(), setup.x[0].len());
    let d = inner + usize::from(setup.bias != Bias::None);
    let feature = |i: usize, j: usize| if j < inner { setup.x[i][j] } else { 1.0 };
    let signs: &[f64] = if cones { &[1.0, -1.0] } else { &[1.0] };
    // f_i as a list of (variable, coefficient)
    let mut outputs: Vec<Vec<(usize, f64)>> = vec![vec![]; n];
    for p in 0..patterns.len() {
        for sign in signs {
            let z = c.variables(d, 0.0, 0.0);
            let t = c.variables(1, 0.0, setup.lambda);
            for i in (0..n).filter(|&i| patterns.get(p, i)) {
                outputs[i].extend((0..d).map(|j| (z + j, sign * feature(i, j))));
            }
            // a free bias carries no norm at all: the bound of the crate on it is not used here
            let penalised = if setup.bias == Bias::Free { inner } else { d };
            c.row(0.0, &[(t, 1.0)]);
            (0..penalised).for_each(|j| c.row(0.0, &[(z + j, 1.0)]));
            c.cones.push(SecondOrderConeT(penalised + 1));
            if cones {
                for i in 0..n {
                    let side = if patterns.get(p, i) { 1.0 } else { -1.0 };
                    let terms: Vec<_> = (0..d).map(|j| (z + j, side * feature(i, j))).collect();
                    c.row(0.0, &terms);
                }
                c.cones.push(NonnegativeConeT(n));
            }
        }
    }
    if setup.output_bias {
        let constant = c.variables(1, 0.0, 0.0);
        outputs.iter_mut().for_each(|f| f.push((constant, 1.0)));
    }
    for (i, f) in outputs.iter().enumerate() {
        add_loss(&mut c, setup, i, f);
    }
    c.solve().0
}

/// ω_i ℓ(f_i, y_i) by its epigraph.
fn add_loss(c: &mut Conic, setup: &Setup, i: usize, f: &[(usize, f64)]) {
    let (w, y) = (setup.omega[i], setup.y[i]);
    let with = |scale: f64, more: &[(usize, f64)]| -> Vec<(usize, f64)> {
        f.iter().map(|&(v, a)| (v, scale * a)).chain(more.iter().copied()).collect()
    };
    match setup.loss {
        LossKind::Squared => {
            let r = c.variables(1, w, 0.0);
            c.row(-y, &with(1.0, &[(r, -1.0)]));
            c.cones.push(ZeroConeT(1));
        }
        LossKind::Huber(delta) => {
            // f − y = r + p − q at the price ½r² + δ(p + q)
            let r = c.variables(1, w, 0.0);
            let pq = c.variables(2, 0.0, w * delta);
            c.row(-y, &with(1.0, &[(r, -1.0), (pq, -1.0), (pq + 1, 1.0)]));
            c.cones.push(ZeroConeT(1));
            c.row(0.0, &[(pq, 1.0)]);
            c.row(0.0, &[(pq + 1, 1.0)]);
            c.cones.push(NonnegativeConeT(2));
        }
        LossKind::SquaredHinge => {
            let h = c.variables(1, w, 0.0);
            c.row(-1.0, &with(y, &[(h, 1.0)]));
            c.row(0.0, &[(h, 1.0)]);
            c.cones.push(NonnegativeConeT(2));
        }
        LossKind::Logistic => {
            // log(1 + e^{−yf}) ≤ e  ⇔  e^{−yf−e} + e^{−e} ≤ 1
            let e = c.variables(1, 0.0, w);
            let uv = c.variables(2, 0.0, 0.0);
            c.row(0.0, &with(-y, &[(e, -1.0)]));
            c.row(1.0, &[]);
            c.row(0.0, &[(uv, 1.0)]);
            c.cones.push(ExponentialConeT());
            c.row(0.0, &[(e, -1.0)]);
            c.row(1.0, &[]);
            c.row(0.0, &[(uv + 1, 1.0)]);
            c.cones.push(ExponentialConeT());
            c.row(1.0, &[(uv, -1.0), (uv + 1, -1.0)]);
            c.cones.push(NonnegativeConeT(1));
        }
    }
}
