//! Exact fit as a loss.

use std::sync::Arc;

use super::samples::Samples;
use super::{ConicForm, Loss, LossError};

/// Largest deviation that counts as a fit, relative to the largest target.
const FIT: f64 = 1e-9;

/// Interpolation: `ℓ(f, y) = 0` if `f = y`, else `+∞`.
///
/// With it a regularised problem becomes the minimum-norm problem `min λΩ(z)` subject to `f = y`.
/// Dual `D(ν) = Σ ν_i y_i` on all of `R^n`. In floating point [`Loss::value`] accepts deviations up
/// to 1e-9 of the largest target (of any size, including 0, where all targets are 0); lower bounds
/// are about exact fits. There is no gradient: take `ν` from a solver's multipliers. Textbook pair.
#[derive(Debug, Clone)]
pub struct Interpolation {
    data: Samples,
    slack: f64,
}

impl Interpolation {
    /// Targets `y ∈ R^n`, finite. A positive weight means that the sample must be fitted, a weight
    /// of 0 that it is left out.
    pub fn new(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        Ok(Self::of(Samples::with_targets(y, weights)?))
    }

    fn of(data: Samples) -> Self {
        let largest = data.y.iter().fold(0.0_f64, |t, y| t.max(y.abs()));
        Self { data, slack: FIT * largest }
    }

    /// Largest `|f_i − y_i|` that counts as a fit.
    pub fn slack(&self) -> f64 {
        self.slack
    }
}

impl Loss for Interpolation {
    fn name(&self) -> &'static str {
        "interpolation"
    }

    fn weights(&self) -> &[f64] {
        &self.data.w
    }

    fn targets(&self) -> &[f64] {
        &self.data.y
    }

    fn value(&self, f: &[f64]) -> f64 {
        // One infinite term decides; a sum would do too, but 0·∞ must not come up.
        let fits = self.data.zip(f).all(|(f, y, _)| self.sample_value(f, y) == 0.0);
        if fits { 0.0 } else { f64::INFINITY }
    }

    /// 0, a subgradient where the fit is exact.
    fn residual_into(&self, f: &[f64], nu: &mut [f64]) {
        self.data.map_into(f, nu, |_, _, _| 0.0);
    }

    /// 0.
    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(f, out, |_, _, _| 0.0);
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data.conjugate(u, |u, y, _| Some(u * y))
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, _| {
            let term = t * v * y;
            Some((term, term.abs()))
        })
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_scale(nu, |_, _, _| f64::INFINITY)
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip(nu, |v, _, _| v);
    }

    /// `∞`: the loss is not even continuous.
    fn curvature_bound(&self) -> f64 {
        f64::INFINITY
    }

    /// The middle of the range of `y − f`: the only constant that can fit.
    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        let Some((lo, hi)) = self.data.residual_range(f) else {
            return Some(0.0);
        };
        Some(lo + 0.5 * (hi - lo)).filter(|c| c.is_finite())
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self::of(self.data.subset(rows)))
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        // A NaN is no fit.
        if (f - y).abs() <= self.slack { 0.0 } else { f64::INFINITY }
    }

    fn dual_is_free(&self) -> bool {
        true
    }

    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        self.data.linear_scale(nu, cap)
    }

    fn is_smooth(&self) -> bool {
        false
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::Interpolation)
    }
}
