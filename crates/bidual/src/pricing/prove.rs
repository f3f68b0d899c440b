//! The proof that no neuron is dearer: a rigorous upper bound on κ(ν) over all
//! directions.

use super::projection::Projected;
use super::{Candidate, Oracle, moments, simplicial};
use crate::certificate::Method;
use crate::cone::Workspace;
use crate::linalg::{column, norm};
use rayon::prelude::*;
use std::sync::Arc;

/// Up to this rank cones are halved; above it moment relaxations branch on rows.
const CONES_UP_TO: usize = 7;
/// Cones that cost about as much as one node of the moment relaxations.
const CONES_PER_NODE: usize = 1000;

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

impl Oracle {
    fn projected(&self) -> Arc<Projected> {
        self.projected.get_or_init(|| Arc::new(Projected::new(&self.x, &self.gauge))).clone()
    }

    /// Dimension in which cones are searched: the rank of the rows, a free bias included.
    pub fn rank(&self) -> usize {
        self.projected().dim()
    }

    /// Proves an upper bound on κ(ν) over all directions. `starts` are known
    /// neurons (direction, negative); `go_on` is asked several times a second.
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
        let slack = projected.slack * norm(nu);
        let outer = |upper: f64| upper.hypot(slack) * (1.0 + 1e-15);
        let inner =
            Goal { target: (goal.target * goal.target - slack * slack).max(0.0).sqrt(), ..*goal };
        let starts: Vec<(Vec<f64>, bool)> = starts
            .iter()
            .map(|(u, negative)| (projected.project(u, free.is_some()), *negative))
            .collect();
        if free.is_some() && projected.dim() == 2 {
            return self.prove_by_breakpoints(nu, trivial);
        }
        let mut watch = |b: &Bracket| go_on(&Bracket { upper: outer(b.upper), ..*b });
        let by_moments =
            free.is_none() && (CONES_UP_TO + 1..=moments::MAX_DIMENSION).contains(&projected.dim());
        let found = if by_moments {
            by_rows(&projected.flat, projected.dim(), nu, &inner, budget, &starts, &mut watch)
        } else {
            let ball = match free {
                Some(_) => simplicial::Ball::FreeBias,
                None => simplicial::Ball::Norm,
            };
            let radius = free.map_or(0.0, |r| r + norm(&projected.means));
            let problem = simplicial::Problem { rows, nu, linear: None, ball, radius };
            by_cones(&problem, &inner, budget, &starts, &mut watch)
        };
        let mut candidates: Vec<Candidate> = found
            .directions
            .par_iter()
            .map_init(Workspace::default, |ws, (u, negative)| {
                self.polish(nu, &projected.lift(u, free.is_some()), *negative, ws)
            })
            .collect();
        candidates.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.bits.cmp(&b.bits)));
        candidates.dedup_by(|a, b| a.bits == b.bits && a.negative == b.negative);
        let lower = candidates.first().map_or(0.0, |c| c.value).max(found.lower);
        let (mut upper, mut method) = (outer(found.upper), found.method);
        if trivial < upper {
            (upper, method) = (trivial, Method::NormBound);
        }
        Proof { upper, lower, candidates, method, cones: found.cones, stopped: found.stopped }
    }

    /// One coordinate and a free bias: the maximum over the breakpoints of both
    /// directions u = ±1, exact up to rounding.
    fn prove_by_breakpoints(&self, nu: &[f64], trivial: f64) -> Proof {
        let projected = self.projected();
        let n = nu.len();
        let reach = self.gauge.bias_radius().unwrap_or(0.0) + norm(&projected.means);
        let h: Vec<f64> = (0..n).map(|i| projected.flat[2 * i]).collect();
        let size: f64 = h.iter().zip(nu).map(|(h, v)| v.abs() * (h.abs() + reach)).sum();
        let margin = 8.0 * (n as f64 + 8.0) * f64::EPSILON * size;
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| h[b].total_cmp(&h[a]).then(a.cmp(&b)));
        let mut best = [(0.0f64, 1.0, 0.0); 2];
        for u in [1.0, -1.0] {
            if u < 0.0 {
                order.reverse();
            }
            // at b = −u·h of the k-th in order, those before it are on; at the end, all
            let (mut mass, mut moment) = (0.0, 0.0);
            let mut consider = |b: f64, mass: f64, moment: f64| {
                let value = moment + mass * b;
                for (slot, sign) in best.iter_mut().zip([1.0, -1.0]) {
                    if sign * value > slot.0 {
                        *slot = (sign * value, u, b);
                    }
                }
            };
            for &k in &order {
                consider(-u * h[k], mass, moment);
                mass += nu[k];
                moment += nu[k] * u * h[k];
            }
            consider(reach, mass, moment);
        }
        let mut ws = Workspace::default();
        let mut candidates: Vec<Candidate> = best
            .iter()
            .zip([false, true])
            .filter(|(b, _)| b.0 > 0.0)
            .map(|(b, negative)| {
                self.polish(nu, &projected.lift(&[b.1, b.2], true), negative, &mut ws)
            })
            .collect();
        candidates.sort_by(|a, b| b.value.total_cmp(&a.value));
        let attained = best[0].0.max(best[1].0);
        let slack = projected.slack * norm(nu);
        Proof {
            upper: ((attained + margin).hypot(slack) * (1.0 + 1e-15)).min(trivial),
            lower: candidates.first().map_or(0.0, |c| c.value),
            candidates,
            method: Method::SimplicialCones,
            cones: 2,
            stopped: false,
        }
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

/// What a search over projected directions found.
struct Found {
    upper: f64,
    lower: f64,
    /// (u, negative), best first.
    directions: Vec<(Vec<f64>, bool)>,
    method: Method,
    cones: usize,
    stopped: bool,
}

fn by_cones(
    problem: &simplicial::Problem<'_>,
    goal: &Goal,
    budget: &Budget,
    starts: &[(Vec<f64>, bool)],
    go_on: &mut dyn FnMut(&Bracket) -> bool,
) -> Found {
    let settings = simplicial::Settings {
        target: goal.target,
        tolerance: goal.tolerance,
        max_cones: budget.cones,
        memory: budget.memory,
        wanted: 24,
    };
    let starts: Vec<(Vec<f64>, bool)> = starts.iter().map(|(u, n)| (u.clone(), !n)).collect();
    let outcome = simplicial::price(problem, &settings, &starts, &mut |s| {
        go_on(&Bracket { upper: s.upper, lower: s.lower, cones: s.cones })
    });
    Found {
        upper: outcome.upper,
        lower: outcome.lower,
        directions: outcome.directions.into_iter().map(|d| (d.u, !d.positive)).collect(),
        method: Method::SimplicialCones,
        cones: outcome.cones,
        stopped: outcome.stopped,
    }
}

/// Moment relaxations work fastest towards a target that they can reach: easier
/// targets first, each a tenth of the way to the next.
fn by_rows(
    rows: &[f64],
    p: usize,
    nu: &[f64],
    goal: &Goal,
    budget: &Budget,
    starts: &[(Vec<f64>, bool)],
    go_on: &mut dyn FnMut(&Bracket) -> bool,
) -> Found {
    let starts: Vec<(Vec<f64>, bool)> = starts.iter().map(|(u, n)| (u.clone(), !n)).collect();
    let mut found = Found {
        upper: f64::INFINITY,
        lower: 0.0,
        directions: vec![],
        method: Method::Moments,
        cones: 0,
        stopped: true,
    };
    let most = budget.cones / CONES_PER_NODE;
    for excess in [0.1, 0.01, 1e-3, 0.0] {
        let settings = moments::Settings {
            target: goal.target * (1.0 + excess),
            tolerance: goal.tolerance.max(1e-7).max(excess),
            max_nodes: most.saturating_sub(found.cones / CONES_PER_NODE),
            memory: budget.memory,
            relaxed: 0,
        };
        if settings.max_nodes == 0 {
            found.stopped = true;
            break;
        }
        let before = found.cones;
        let outcome = moments::price(rows, p, nu, &settings, &starts, &mut |s| {
            let upper = s.upper.min(found.upper);
            go_on(&Bracket { upper, lower: s.lower, cones: before + CONES_PER_NODE * s.nodes })
        });
        found.upper = found.upper.min(outcome.upper);
        found.lower = found.lower.max(outcome.lower);
        found.directions = outcome.directions.into_iter().map(|(u, s, _)| (u, !s)).collect();
        found.cones += CONES_PER_NODE * outcome.nodes;
        found.stopped = outcome.stopped;
        if outcome.stopped || found.lower > settings.target {
            break;
        }
    }
    found
}
