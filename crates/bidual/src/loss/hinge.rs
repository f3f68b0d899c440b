//! Hinge loss.

use std::sync::Arc;

use super::samples::{Samples, label_product, middle_of_minimisers};
use super::{ConicForm, Loss, LossError};

/// Hinge loss `ℓ(f, y) = (1 − yf)₊` with labels `y = ±1`.
///
/// Dual `D(ν) = Σ y_i ν_i` on `0 ≤ y_i ν_i ≤ ω_i`. The loss has a kink at `yf = 1`, where solutions
/// typically lie: the residual there is one subgradient, and its lower bound is weak. Take `ν` from
/// a solver's multipliers. Cortes and Vapnik (1995); the dual is a textbook pair.
#[derive(Debug, Clone)]
pub struct Hinge {
    data: Samples,
}

impl Hinge {
    /// Labels `y ∈ {−1, 1}^n`; `weights` as they are, or `1/n` each for `None`.
    pub fn new(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        Ok(Self { data: Samples::with_labels(y, weights)? })
    }
}

impl Loss for Hinge {
    fn name(&self) -> &'static str {
        "hinge"
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
        // Not `if below`, which would turn a NaN output into a zero residual.
        self.data.map_into(f, nu, |f, y, w| if y * f >= 1.0 { 0.0 } else { y * w });
    }

    /// 0: the loss is piecewise linear.
    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(f, out, |_, _, _| 0.0);
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data.conjugate(u, |u, y, w| {
            let p = -y * u;
            (0.0..=w).contains(&p).then_some(-p)
        })
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, w| {
            let p = label_product(t, v, y, w)?;
            Some((p, p))
        })
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_unit_scale(nu)
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip_unit(nu);
    }

    /// `∞`: there is a kink.
    fn curvature_bound(&self) -> f64 {
        f64::INFINITY
    }

    /// The middle of the interval of minimisers, or its end where it is a half-line.
    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        // The slope in c rises by ω_i at c = y_i − f_i, from −Σ_{y=1} ω.
        let kinks = self.data.zip(f).map(|(f, y, w)| (y - f, w)).collect();
        let positive: f64 = self.data.zip(f).filter(|s| s.1 > 0.0).map(|s| s.2).sum();
        middle_of_minimisers(kinks, positive)
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self { data: self.data.subset(rows) })
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        let gap = 1.0 - y * f;
        if gap <= 0.0 { 0.0 } else { gap }
    }

    /// The dual is `t·Σ y_i ν_i`, not falling in the domain.
    fn dual_scale(&self, _nu: &[f64], cap: f64) -> Option<f64> {
        Some(cap)
    }

    fn is_smooth(&self) -> bool {
        false
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::Hinge)
    }
}
