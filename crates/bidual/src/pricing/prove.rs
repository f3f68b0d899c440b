//! The proof that no neuron is dearer: a rigorous upper bound on κ(ν) over all
//! directions.

use super::{Candidate, Oracle, simplicial};
use crate::certificate::Method;
use crate::cone::{Gauge, Workspace};
use crate::linalg::{Mat, column, dot, norm};
use rayon::prelude::*;
use std::sync::Arc;

/// Singular values below this share of the largest are left to the slack.
const RANK_TOLERANCE: f64 = 1e-9;

/// How much work a proof may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Cones examined at most.
    pub cones: usize,
    /// Bytes for open cones.
    pub memory: usize,
}

/// What a proof looks for.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// Stop when κ ≤ `target` is proved.
    pub target: f64,
    /// Stop when upper ≤ lower·(1 + `tolerance`).
    pub tolerance: f64,
}

/// Progress of a proof: proved bound, best price attained, cones so far.
#[derive(Debug, Clone, Copy)]
pub struct Bracket {
    /// Proved: κ ≤ `upper`.
    pub upper: f64,
    /// Attained: κ ≥ `lower`.
    pub lower: f64,
    /// Cones examined.
    pub cones: usize,
}

/// What was proved about κ(ν), and the neurons found on the way.
#[derive(Debug, Clone)]
pub struct Proof {
    /// κ(ν) ≤ `upper`, rounding included.
    pub upper: f64,
    /// Best price attained.
    pub lower: f64,
    /// Dear neurons, dearest first.
    pub candidates: Vec<Candidate>,
    /// How `upper` was proved.
    pub method: Method,
    /// Cones examined.
    pub cones: usize,
    /// True if `go_on` or the budget ended it.
    pub stopped: bool,
}

/// Rows in coordinates of their own span.
pub(super) struct Projected {
    rows: Option<simplicial::Rows>,
    /// Orthonormal columns, (penalised coordinates)×r; `None`: as given.
    basis: Option<Mat>,
    /// Means taken off the columns before projecting (free bias only).
    means: Vec<f64>,
    /// ‖what the projection leaves out‖_F.
    slack: f64,
    /// ‖X‖_F of the penalised coordinates, for the trivial bound.
    size: f64,
}

impl Projected {
    fn new(x: &Mat, gauge: &Gauge) -> Self {
        let (n, p) = (x.nrows(), x.ncols());
        let q = gauge.penalised(p);
        let free = q < p;
        let means: Vec<f64> = (0..q)
            .map(|j| if free { column(x, j).iter().sum::<f64>() / n as f64 } else { 0.0 })
            .collect();
        let centred = Mat::from_fn(n, q, |i, j| x[(i, j)] - means[j]);
        let basis = match centred.thin_svd() {
            Ok(svd) => {
                let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
                let first = values.first().copied().unwrap_or(0.0);
                let r = values.iter().filter(|v| **v > RANK_TOLERANCE * first).count().max(1);
                (r < q).then(|| svd.V().subcols(0, r).to_owned())
            }
            Err(_) => None,
        };
        let size = centred.norm_l2();
        let make = |h: &Mat| {
            let wide = h.ncols() + usize::from(free);
            let at = |i: usize, j: usize| if j < h.ncols() { h[(i, j)] } else { 1.0 };
            let flat: Vec<f64> = (0..n).flat_map(|i| (0..wide).map(move |j| at(i, j))).collect();
            simplicial::Rows::new(&flat, wide)
        };
        match basis {
            None => {
                let plain = Mat::from_fn(n, q, |i, j| x[(i, j)]);
                Self { rows: make(&plain), basis: None, means: vec![0.0; q], slack: 0.0, size }
            }
            Some(basis) => {
                let h = &centred * &basis;
                let slack = (&centred - &h * basis.transpose()).norm_l2() + 1e-14 * size;
                Self { rows: make(&h), basis: Some(basis), means, slack, size }
            }
        }
    }

    /// Coordinates that the search sees.
    pub(super) fn dim(&self) -> usize {
        self.rows.as_ref().map_or(0, simplicial::Rows::dim)
    }

    fn lift(&self, u: &[f64], free: bool) -> Vec<f64> {
        let Some(basis) = &self.basis else { return u.to_vec() };
        let mut out: Vec<f64> = (0..basis.nrows())
            .map(|i| (0..basis.ncols()).map(|k| basis[(i, k)] * u[k]).sum())
            .collect();
        if free {
            let shift = dot(&out, &self.means);
            out.push(u[basis.ncols()] - shift);
        }
        out
    }

    fn project(&self, u: &[f64], free: bool) -> Vec<f64> {
        let Some(basis) = &self.basis else { return u.to_vec() };
        let mut out: Vec<f64> =
            (0..basis.ncols()).map(|k| dot(basis.col_as_slice(k), &u[..basis.nrows()])).collect();
        if free {
            out.push(u[basis.nrows()] + dot(&u[..basis.nrows()], &self.means));
        }
        out
    }
}

impl Oracle {
    fn projected(&self) -> Arc<Projected> {
        self.projected.get_or_init(|| Arc::new(Projected::new(&self.x, &self.gauge))).clone()
    }

    /// Dimension in which cones are searched: the rank of the rows, a free bias included.
    pub fn rank(&self) -> usize {
        self.projected().dim()
    }

    /// Proves an upper bound on κ(ν) over all directions. `starts` are known
    /// neurons (direction, negative); `go_on` is asked every few milliseconds.
    pub fn prove(
        &self,
        nu: &[f64],
        goal: &Goal,
        budget: &Budget,
        starts: &[(Vec<f64>, bool)],
        go_on: &mut dyn FnMut(&Bracket) -> bool,
    ) -> Proof {
        let projected = self.projected();
        let trivial = self.norm_bound(nu, projected.size);
        let Some(rows) = &projected.rows else {
            let (method, candidates) = (Method::NormBound, vec![]);
            return Proof {
                upper: trivial,
                lower: 0.0,
                candidates,
                method,
                cones: 0,
                stopped: true,
            };
        };
        let free = self.gauge.bias_radius();
        let reach = free.map(|r| r + norm(&projected.means));
        let slack = projected.slack * norm(nu);
        let outer = |upper: f64| upper.hypot(slack) * (1.0 + 1e-15);
        let problem = simplicial::Problem {
            rows,
            nu,
            linear: None,
            ball: if free.is_some() { simplicial::Ball::FreeBias } else { simplicial::Ball::Norm },
            radius: reach.unwrap_or(0.0),
        };
        let settings = simplicial::Settings {
            target: (goal.target * goal.target - slack * slack).max(0.0).sqrt(),
            tolerance: goal.tolerance,
            max_cones: budget.cones,
            memory: budget.memory,
            wanted: 24,
        };
        let starts: Vec<(Vec<f64>, bool)> = starts
            .iter()
            .map(|(u, negative)| (projected.project(u, free.is_some()), !negative))
            .collect();
        let outcome = simplicial::price(&problem, &settings, &starts, &mut |s| {
            go_on(&Bracket { upper: outer(s.upper), lower: s.lower, cones: s.cones })
        });
        let mut candidates: Vec<Candidate> = outcome
            .directions
            .par_iter()
            .map_init(Workspace::default, |ws, d| {
                self.polish(nu, &projected.lift(&d.u, free.is_some()), !d.positive, ws)
            })
            .collect();
        candidates.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.bits.cmp(&b.bits)));
        candidates.dedup_by(|a, b| a.bits == b.bits && a.negative == b.negative);
        let lower = candidates.first().map_or(0.0, |c| c.value).max(outcome.lower);
        let (mut upper, mut method) = (outer(outcome.upper), Method::SimplicialCones);
        if trivial < upper {
            (upper, method) = (trivial, Method::NormBound);
        }
        Proof { upper, lower, candidates, method, cones: outcome.cones, stopped: outcome.stopped }
    }

    /// |νᵀ(Xu)_+| ≤ ‖ν‖‖X‖_F: weak, always there.
    fn norm_bound(&self, nu: &[f64], size: f64) -> f64 {
        let n = nu.len() as f64;
        let bias = self.gauge.bias_radius().map_or(0.0, |r| {
            let means: f64 = (0..self.gauge.penalised(self.x.ncols()))
                .map(|j| (column(&self.x, j).iter().sum::<f64>() / n).powi(2))
                .sum();
            (r + means.sqrt()) * n.sqrt()
        });
        norm(nu) * (size + bias) * (1.0 + 1e-12)
    }
}
