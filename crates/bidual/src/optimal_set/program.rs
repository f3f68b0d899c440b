//! Linear and quadratic objectives over {η : c + Nη ≥ 0, 1ᵀ(c + Nη) ≤ cap}, by an interior-point
//! method. There are no equality constraints, so η = 0 is always feasible and no right-hand side
//! can be inconsistent.

use crate::linalg::{Mat, column};
use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, NonnegativeConeT, SolverStatus};

/// The polytope of sizes c + Nη.
pub(super) struct Polytope<'a> {
    /// k sizes, ≥ 0.
    pub sizes: &'a [f64],
    /// N, k×p; a row of zeros marks a size that is the same everywhere.
    pub null: &'a Mat,
    /// 1ᵀN, length p; empty if the sum is the same everywhere.
    pub sums: &'a [f64],
    /// Bound on the sum of the sizes.
    pub cap: f64,
}

/// An approximate minimiser with its multipliers.
pub(super) struct Minimum {
    /// η, length p.
    pub eta: Vec<f64>,
    /// Multipliers μ ≥ 0 of c + Nη ≥ 0, length k.
    pub mu: Vec<f64>,
    /// Multiplier τ ≥ 0 of the bound on the sum.
    pub tau: f64,
}

impl Polytope<'_> {
    /// Minimises ½ηᵀPη + qᵀη (P symmetric p×p, or absent). `None` if the solver fails.
    pub(super) fn minimise(&self, quadratic: Option<&Mat>, q: &[f64]) -> Option<Minimum> {
        let (k, p) = (self.null.nrows(), self.null.ncols());
        let unit = if self.cap > 0.0 { self.cap } else { 1.0 };
        // η = unit·x, and an objective of order one
        let curvature = quadratic.map_or(0.0, |m| (0..p).map(|j| m[(j, j)]).fold(0.0, f64::max));
        let slope = q.iter().fold(0.0f64, |t, v| t.max(v.abs()));
        let scale = (unit * unit * curvature).max(unit * slope);
        let scale = if scale > 0.0 && scale.is_finite() { scale } else { 1.0 };
        let rows: Vec<usize> =
            (0..k).filter(|&i| (0..p).any(|j| self.null[(i, j)] != 0.0)).collect();
        let last = usize::from(!self.sums.is_empty());
        let (mut starts, mut index, mut values) = (vec![0], vec![], vec![]);
        for j in 0..p {
            let entries = column(self.null, j);
            for (at, &i) in rows.iter().enumerate().filter(|(_, i)| entries[**i] != 0.0) {
                index.push(at);
                values.push(-entries[i]);
            }
            if last == 1 && self.sums[j] != 0.0 {
                index.push(rows.len());
                values.push(self.sums[j]);
            }
            starts.push(index.len());
        }
        let constraints = CscMatrix::new(rows.len() + last, p, starts, index, values);
        let mut right: Vec<f64> = rows.iter().map(|&i| self.sizes[i] / unit).collect();
        if last == 1 {
            right.push((self.cap - self.sizes.iter().sum::<f64>()).max(0.0) / unit);
        }
        let linear: Vec<f64> = q.iter().map(|v| v * unit / scale).collect();
        let objective = quadratic
            .map_or_else(|| CscMatrix::zeros((p, p)), |m| upper_triangle(m, unit * unit / scale));
        let settings = DefaultSettings {
            verbose: false,
            tol_gap_abs: 1e-11,
            tol_gap_rel: 1e-11,
            tol_feas: 1e-11,
            direct_solve_method: "qdldl".into(),
            ..DefaultSettings::default()
        };
        let cones = [NonnegativeConeT(rows.len() + last)];
        let mut solver =
            DefaultSolver::new(&objective, &linear, &constraints, &right, &cones, settings).ok()?;
        solver.solve();
        let found = &solver.solution;
        let usable = matches!(
            found.status,
            SolverStatus::Solved | SolverStatus::AlmostSolved | SolverStatus::InsufficientProgress
        );
        if !usable || found.x.iter().chain(&found.z).any(|v| !v.is_finite()) {
            return None;
        }
        let dual = |v: f64| (v * scale / unit).max(0.0);
        let mut mu = vec![0.0; k];
        rows.iter().zip(&found.z).for_each(|(&i, z)| mu[i] = dual(*z));
        let tau = if last == 1 { dual(found.z[rows.len()]) } else { 0.0 };
        Some(Minimum { eta: found.x.iter().map(|v| v * unit).collect(), mu, tau })
    }
}

fn upper_triangle(m: &Mat, factor: f64) -> CscMatrix<f64> {
    let p = m.ncols();
    let (mut starts, mut index, mut values) = (vec![0], vec![], vec![]);
    for j in 0..p {
        for i in 0..=j {
            index.push(i);
            values.push(factor * m[(i, j)]);
        }
        starts.push(index.len());
    }
    CscMatrix::new(p, p, starts, index, values)
}
