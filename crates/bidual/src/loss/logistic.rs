//! Logistic loss.

use std::sync::Arc;

use super::exponential::{signed_decays, softplus_tails};
use super::numeric::{compensated_sum, increasing_root};
use super::samples::{Samples, label_product};
use super::{ConicForm, Loss, LossError};

/// Logistic loss `ℓ(f, y) = ln(1 + e^{−yf})` with labels `y = ±1`.
///
/// Residual `ν_i = ω_i y_i σ(−y_i f_i)`; dual `D(ν) = −Σ ω_i (p_i ln p_i + (1−p_i) ln(1−p_i))` with
/// `p_i = y_i ν_i/ω_i ∈ [0, 1]` and `0 ln 0 = 0`; `ℓ'' ≤ ¼`. Textbook pair. All forms stay accurate
/// for large `|f|`.
#[derive(Debug, Clone)]
pub struct Logistic {
    data: Samples,
}

impl Logistic {
    /// Labels `y ∈ {−1, 1}^n`; `weights` as they are, or `1/n` each for `None`.
    pub fn new(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        Ok(Self { data: Samples::with_labels(y, weights)? })
    }
}

/// `(σ(m), σ(−m))` at the margin m, both accurate relative to their values, from
/// `decay = ±e^{−|m|}` with the sign of m.
fn sigmoids(decay: f64) -> (f64, f64) {
    let e = decay.abs();
    let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
    if decay.is_sign_negative() { (small, large) } else { (large, small) }
}

/// `p ln p + (1−p) ln(1−p)` for `p ∈ [0, 1]`, and the magnitude that carries its rounding error:
/// `|p ln p| + |ln(1−p)|` bounds both the terms and the effect of a relative error of `p`.
fn negative_entropy(p: f64) -> (f64, f64) {
    // At p = 1 a rounded p can only have hidden a positive entropy, so no magnitude is needed.
    if p <= 0.0 || p >= 1.0 {
        return (0.0, 0.0);
    }
    let (a, b) = (p * p.ln(), (-p).ln_1p());
    (a + (1.0 - p) * b, p - a - b)
}

impl Loss for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn weights(&self) -> &[f64] {
        &self.data.w
    }

    fn targets(&self) -> &[f64] {
        &self.data.y
    }

    fn value(&self, f: &[f64]) -> f64 {
        self.data.check(f);
        let samples = f.iter().zip(softplus_tails(f)).zip(self.data.y.iter().zip(&self.data.w));
        let weighty = samples.filter(|(_, (_, w))| **w > 0.0);
        compensated_sum(weighty.map(|((f, tail), (y, w))| w * (tail + (-y * f).max(0.0))))
    }

    fn residual_into(&self, f: &[f64], nu: &mut [f64]) {
        let decays = signed_decays(f, 0.0);
        self.data.map_into(&decays, nu, |e, y, w| y * (w * sigmoids(y * e).1));
    }

    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.data.map_into(&signed_decays(f, 0.0), out, |e, _, w| {
            let (a, b) = sigmoids(e);
            w * (a * b)
        });
    }

    fn conjugate(&self, u: &[f64]) -> f64 {
        self.data.conjugate(u, |u, y, w| {
            let p = -y * u;
            (p >= 0.0 && p <= w).then(|| w * negative_entropy(p / w).0)
        })
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        self.data.dual_value(nu, t, |v, y, w| {
            let (value, size) = negative_entropy(label_product(t, v, y, w)? / w);
            Some((-w * value, w * size))
        })
    }

    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.data.max_unit_scale(nu)
    }

    fn clip_dual(&self, nu: &mut [f64]) {
        self.data.clip_unit(nu);
    }

    fn curvature_bound(&self) -> f64 {
        0.25
    }

    /// `None` if all samples of positive weight have the same label.
    fn best_intercept(&self, f: &[f64]) -> Option<f64> {
        let weight = |label: f64| {
            compensated_sum(self.data.zip(f).filter(|&(_, y, _)| y == label).map(|(_, _, w)| w))
        };
        let (positive, negative) = (weight(1.0), weight(-1.0));
        if positive == 0.0 && negative == 0.0 {
            return Some(0.0);
        }
        if positive == 0.0 || negative == 0.0 {
            return None;
        }
        // The condition is Σωσ(f + c) = Σ_{y=1}ω: the answer for constant outputs gives a bracket.
        let odds = positive.ln() - negative.ln();
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (f, _, _) in self.data.zip(f) {
            if !f.is_finite() {
                return None;
            }
            low = low.min(f);
            high = high.max(f);
        }
        // Slightly wider than needed, against the rounding of the logarithms.
        let slack = 1e-12 * (1.0 + odds.abs() + low.abs().max(high.abs()));
        let (lo, hi) = (odds - high - slack, odds - low + slack);
        let mean = compensated_sum(self.data.zip(f).map(|(f, _, w)| w * f)) / (positive + negative);
        let c = increasing_root(lo, hi, odds - mean, f64::EPSILON / 4.0, |c| {
            self.data.derivative(&signed_decays(f, c), |e, y, w| {
                let (hit, miss) = sigmoids(y * e);
                (-y * (w * miss), w * (hit * miss))
            })
        });
        Some(c)
    }

    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self { data: self.data.subset(rows) })
    }

    fn sample_value(&self, f: f64, y: f64) -> f64 {
        let margin = y * f;
        if margin >= 0.0 { (-margin).exp().ln_1p() } else { margin.exp().ln_1p() - margin }
    }

    /// Newton on `−D'(t) = Σ a_i ln(p_i/(1−p_i))`, `a_i = y_i ν_i`, `p_i = t a_i/ω_i`.
    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        if !cap.is_finite() {
            // Only ν = 0, where every scale gives the same value.
            return Some(0.0);
        }
        let derivative = |t: f64| {
            self.data.derivative(nu, |v, y, w| {
                let a = y * v;
                if a <= 0.0 {
                    return (0.0, 0.0);
                }
                let p = (t * a / w).min(1.0);
                if p == 0.0 {
                    return (f64::NEG_INFINITY, 0.0);
                }
                (a * (p.ln() - (-p).ln_1p()), a / (t * (1.0 - p)))
            })
        };
        if derivative(cap).0 <= 0.0 {
            return Some(cap);
        }
        // The bound is quadratic in the error of t, so 1e-9 is enough.
        Some(increasing_root(0.0, cap, cap.min(1.0), 1e-9, derivative))
    }

    fn conic_form(&self) -> Option<ConicForm> {
        Some(ConicForm::Logistic)
    }
}
