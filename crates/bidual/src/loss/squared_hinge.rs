//! Squared hinge loss.

use std::sync::Arc;

use super::numeric::increasing_root;
use super::samples::{Samples, label_product, quadratic_term};
use super::{ConicForm, Loss, LossError};

/// Squared hinge loss `ℓ(f, y) = ½(1 − yf)₊²` with labels `y = ±1`.
///
/// Residual `ν_i = ω_i y_i (1 − y_i f_i)₊`; dual `D(ν) = Σ (y_i ν_i − ½ν_i²/ω_i)` on `y_i ν_i ≥ 0`;
/// `ℓ'' ≤ 1`, with the generalised second derivative 0 at `yf = 1`. Textbook pair.
#[derive(Debug, Clone)]
pub struct SquaredHinge {
    data: Samples,
}

impl SquaredHinge {
    /// Labels `y ∈ {−1, 1}^n`; `weights` as they are, or `1/n` each for `None`.
    pub fn new(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        Ok(Self { data: Samples::with_labels(y, weights)? })
    }
}

impl Loss for SquaredHinge {
    fn name(&self) -> &'static str {
        "squared hinge"
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
        self.data.map_into(f, nu, |f, y, w| {
            let gap = 1.0 - y * f;
            // Not `max`, which would turn a NaN output into a zero residual.
            if gap <= 0.0 { 0.0 } else { y * (w * gap) }
        });
    }

    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(f, out, |f, y, w| if y * f < 1.0 { w } else { 0.0 });
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data.conjugate(u, |u, y, w| {
            let p = -y * u;
            (p >= 0.0).then(|| 0.5 * p * (p / w) - p)
        })
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, w| {
            let p = label_product(t, v, y, f64::INFINITY)?;
            // yν = p and y² = 1
            Some(quadratic_term(p, 1.0, w))
        })
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_scale(nu, |v, y, _| if y * v > 0.0 { f64::INFINITY } else { 0.0 })
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip(nu, |v, y, _| if y * v > 0.0 { v } else { 0.0 });
    }

    fn curvature_bound(&self) -> f64 {
        1.0
    }

    /// Where a constant separates the classes with margin, the middle of the interval of zero
    /// loss, or its point nearest to 0 when there is one class.
    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        // Positive samples are inactive for c ≥ 1 − f_i, negative ones for c ≤ −1 − f_i.
        let mut positive = f64::NEG_INFINITY;
        let mut negative = f64::INFINITY;
        for (f, y, _) in self.data.zip(f) {
            if !f.is_finite() {
                return None;
            }
            if y > 0.0 {
                positive = positive.max(y - f);
            } else {
                negative = negative.min(y - f);
            }
        }
        if positive <= negative {
            return Some(if positive.is_finite() && negative.is_finite() {
                positive + 0.5 * (negative - positive)
            } else {
                0.0_f64.max(positive).min(negative)
            });
        }
        let middle = negative + 0.5 * (positive - negative);
        let c = increasing_root(negative, positive, middle, f64::EPSILON / 4.0, |c| {
            self.data.derivative(f, |f, y, w| {
                let gap = 1.0 - y * (f + c);
                if gap > 0.0 { (-y * (w * gap), w) } else { (0.0, 0.0) }
            })
        });
        Some(c)
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self { data: self.data.subset(rows) })
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        let gap = 1.0 - y * f;
        if gap <= 0.0 { 0.0 } else { 0.5 * gap * gap }
    }

    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        self.data.quadratic_scale(nu, cap)
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::SquaredHinge)
    }
}
