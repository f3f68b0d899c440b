//! Squared loss.

use std::sync::Arc;

use super::numeric::compensated_sum;
use super::samples::{Samples, quadratic_term};
use super::{ConicForm, Loss, LossError};

/// Squared loss `ℓ(f, y) = ½(f−y)²`.
///
/// Residual `ν_i = ω_i(y_i − f_i)`; dual `D(ν) = Σ (ν_i y_i − ½ν_i²/ω_i)` on all of `R^n`; `ℓ'' = 1`.
/// The pair is textbook; its use in convex duals of ReLU networks is Pilanci and Ergen (2020).
#[derive(Debug, Clone)]
pub struct Squared {
    data: Samples,
}

impl Squared {
    /// Targets `y ∈ R^n`, finite; `weights` as they are, or `1/n` each for `None`.
    pub fn new(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        Ok(Self { data: Samples::with_targets(y, weights)? })
    }
}

impl Loss for Squared {
    fn name(&self) -> &'static str {
        "squared"
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

    fn residual_into(&self, f: &[f64], nu: &mut [f64]) {
        self.data.map_into(f, nu, |f, y, w| w * (y - f));
    }

    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(f, out, |_, _, w| w);
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data.conjugate(u, |u, y, w| Some(u * y + 0.5 * u * (u / w)))
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, w| Some(quadratic_term(t * v, y, w)))
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_scale(nu, |_, _, _| f64::INFINITY)
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip(nu, |v, _, _| v);
    }

    fn curvature_bound(&self) -> f64 {
        1.0
    }

    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        let total = compensated_sum(self.data.w.iter().copied());
        if total == 0.0 {
            return Some(0.0);
        }
        let mean = |shift: f64| {
            compensated_sum(self.data.zip(f).map(|(f, y, w)| w * (y - f - shift))) / total
        };
        // The second pass removes the rounding error of the first products.
        let first = mean(0.0);
        Some(first + mean(first)).filter(|c| c.is_finite())
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self { data: self.data.subset(rows) })
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        let r = f - y;
        0.5 * r * r
    }

    fn dual_is_free(&self) -> bool {
        true
    }

    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        self.data.quadratic_scale(nu, cap)
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::Squared)
    }
}
