//! How far each neuron can shrink or grow without leaving the optimal set.

use super::set::OptimalSet;
use crate::Result;
use crate::linalg::{column, dot, norm, transpose_times};
use rayon::prelude::*;

/// The interval of one size over the optimal set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Lower bound on the size, proved by multipliers.
    pub min: f64,
    /// Upper bound on the size, proved by multipliers.
    pub max: f64,
    /// The bounds are attained within this distance.
    pub gap: f64,
}

impl OptimalSet {
    /// min and max of every size over the set, by two linear programs each. The ends come from the
    /// multipliers by weak duality, with the residual of the multipliers and rounding charged
    /// (derived here): whatever the solver does, no member of c* + Nη lies outside. The basis N
    /// itself is that of [`SetOptions::rank_tolerance`](super::SetOptions); a size whose row of N
    /// is below ten times that counts as fixed.
    pub fn ranges(&self) -> Result<Vec<Range>> {
        let of = |k: usize| -> Range {
            if (0..self.freedom()).all(|j| self.null[(k, j)] == 0.0) {
                let c = self.sizes[k];
                return Range { min: c, max: c, gap: 0.0 };
            }
            let (low, low_seen) = self.least(k, 1.0);
            let (high, high_seen) = self.least(k, -1.0);
            let (min, max) = (low.max(0.0), (-high).min(self.cap()));
            Range { min, max, gap: (low_seen - min).abs().max((max + high_seen).abs()) }
        };
        Ok((0..self.directions()).into_par_iter().map(of).collect())
    }

    /// Lower bound on sign·c_k over the set, and the value that was seen.
    fn least(&self, k: usize, sign: f64) -> (f64, f64) {
        let q: Vec<f64> = (0..self.freedom()).map(|j| sign * self.null[(k, j)]).collect();
        let worst = if sign > 0.0 { 0.0 } else { -self.cap() };
        let Some(found) = self.polytope().minimise(None, &q) else {
            return (worst, sign * self.sizes[k]);
        };
        // sign·c_k = vᵀc + μᵀc − τ·1ᵀc ≥ vᵀ(c* + Nη) − τ·cap with v = sign·e_k − μ + τ1
        let mut v: Vec<f64> = found.mu.iter().map(|m| found.tau - m).collect();
        v[k] += sign;
        let mut residual = vec![0.0; self.freedom()];
        transpose_times(&self.null, &v, &mut residual);
        let paid = dot(&found.mu, &self.sizes);
        let slack = found.tau * (self.cap() - self.total());
        // ‖η‖ ≤ ‖c − c*‖ ≤ Σc + Σc*; 1 % for the orthogonality of the computed basis
        let reach = 1.01 * (self.cap() + self.total());
        let size = self.directions() as f64 + 16.0;
        let columns: f64 = (0..self.freedom()).map(|j| norm(column(&self.null, j))).sum();
        let rounding =
            size * f64::EPSILON * (self.sizes[k] + paid + slack + norm(&v) * columns * reach);
        let bound = sign * self.sizes[k] - paid - slack - norm(&residual) * reach - rounding;
        let seen = sign * self.at(&found.eta)[k];
        (if bound.is_nan() { worst } else { bound.max(worst) }, seen)
    }
}
