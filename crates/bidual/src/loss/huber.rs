//! Huber loss.

use std::sync::Arc;

use super::numeric::{increasing_root, product_at_most, product_down, quotient_down};
use super::samples::{Samples, quadratic_term};
use super::{ConicForm, Loss, LossError};

/// Huber loss with threshold `δ > 0`: with `r = f − y`, `ℓ = ½r²` if `|r| ≤ δ`, else `δ|r| − ½δ²`.
///
/// Residual `ν_i = ω_i clip(y_i − f_i, ±δ)`; dual `D(ν) = Σ (ν_i y_i − ½ν_i²/ω_i)` on
/// `|ν_i| ≤ ω_i δ`; `ℓ'' ≤ 1`, with the generalised second derivative 1 at `|r| = δ`.
/// The loss is Huber (1964); the dual is the conjugate of an infimal convolution (textbook).
#[derive(Debug, Clone)]
pub struct Huber {
    data: Samples,
    delta: f64,
}

impl Huber {
    /// Targets `y ∈ R^n`, finite; `delta` positive and finite; `weights` as they are, or `1/n`
    /// each for `None`.
    pub fn new(y: Vec<f64>, delta: f64, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        if !(delta > 0.0 && delta.is_finite()) {
            return Err(LossError::Delta { value: delta });
        }
        Ok(Self { data: Samples::with_targets(y, weights)?, delta })
    }

    /// The threshold `δ`.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// Largest `f64` at most `ω δ`: entries up to it are in the domain exactly.
    fn bound(&self, w: f64) -> f64 {
        product_down(w, self.delta)
    }
}

impl Loss for Huber {
    fn name(&self) -> &'static str {
        "huber"
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
            let r = y - f;
            let bound = self.bound(w);
            (w * r).min(bound).max(-bound)
        });
    }

    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(f, out, |f, y, w| if (f - y).abs() <= self.delta { w } else { 0.0 });
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data
            .conjugate(u, |u, y, w| (u.abs() <= self.bound(w)).then(|| u * y + 0.5 * u * (u / w)))
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, w| {
            product_at_most(t.abs(), v.abs(), self.bound(w)).then(|| quadratic_term(t * v, y, w))
        })
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_scale(nu, |v, _, w| quotient_down(self.bound(w), v.abs()))
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip(nu, |v, _, w| {
            let bound = self.bound(w);
            v.min(bound).max(-bound)
        });
    }

    fn curvature_bound(&self) -> f64 {
        1.0
    }

    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        let Some((lo, hi)) = self.data.residual_range(f) else {
            return Some(0.0);
        };
        let c = increasing_root(lo, hi, lo + 0.5 * (hi - lo), f64::EPSILON / 4.0, |c| {
            self.data.derivative(f, |f, y, w| {
                let r = f + c - y;
                if r.abs() <= self.delta { (w * r, w) } else { (w * self.delta.copysign(r), 0.0) }
            })
        });
        Some(c).filter(|c| c.is_finite())
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self { data: self.data.subset(rows), delta: self.delta })
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        let r = (f - y).abs();
        if r <= self.delta { 0.5 * r * r } else { self.delta * (r - 0.5 * self.delta) }
    }

    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        self.data.quadratic_scale(nu, cap)
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::Huber(self.delta))
    }
}
