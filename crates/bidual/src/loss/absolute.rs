//! Absolute loss.

use std::sync::Arc;

use super::numeric::{product_at_most, quotient_down};
use super::samples::{Samples, middle_of_minimisers};
use super::{ConicForm, Loss, LossError};

/// Absolute loss `ℓ(f, y) = |f − y|`.
///
/// Dual `D(ν) = Σ ν_i y_i` on `|ν_i| ≤ ω_i`. The loss has a kink at `f = y`, where solutions
/// typically lie: the residual there is one subgradient, and its lower bound is weak. Take `ν` from
/// a solver's multipliers. Textbook pair.
#[derive(Debug, Clone)]
pub struct Absolute {
    data: Samples,
}

impl Absolute {
    /// Targets `y ∈ R^n`, finite; `weights` as they are, or `1/n` each for `None`.
    pub fn new(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        Ok(Self { data: Samples::with_targets(y, weights)? })
    }
}

impl Loss for Absolute {
    fn name(&self) -> &'static str {
        "absolute"
    }

    fn weights(&self) -> &[f64] {
        &self.data.w
    }

    fn targets(&self) -> &[f64] {
        &self.data.y
    }

    fn value(&self, f: &[f64]) -> f64 {
        self.data.value(f, |f, y| self.sample_value(f, y))
    }

    /// A subgradient: 0 at the kink.
    fn residual_into(&self, f: &[f64], nu: &mut [f64]) {
        self.data.map_into(f, nu, |f, y, w| if f == y { 0.0 } else { w * (y - f).signum() });
    }

    /// 0: the loss is piecewise linear.
    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(f, out, |_, _, _| 0.0);
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data.conjugate(u, |u, y, w| (u.abs() <= w).then_some(u * y))
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, w| {
            product_at_most(t.abs(), v.abs(), w).then(|| {
                let term = t * v * y;
                (term, term.abs())
            })
        })
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_scale(nu, |v, _, w| quotient_down(w, v.abs()))
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip(nu, |v, _, w| v.min(w).max(-w));
    }

    /// `∞`: there is a kink.
    fn curvature_bound(&self) -> f64 {
        f64::INFINITY
    }

    /// A weighted median of `y − f`, the middle of the interval of medians.
    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        // The slope in c rises by 2ω_i at c = y_i − f_i, from −Σω.
        let kinks = self.data.zip(f).map(|(f, y, w)| (y - f, 2.0 * w)).collect();
        let total: f64 = self.data.zip(f).map(|s| s.2).sum();
        middle_of_minimisers(kinks, total)
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self { data: self.data.subset(rows) })
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        (f - y).abs()
    }

    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        self.data.linear_scale(nu, cap)
    }

    fn is_smooth(&self) -> bool {
        false
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::Absolute)
    }
}
