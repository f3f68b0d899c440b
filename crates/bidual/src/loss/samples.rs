//! What the losses share: targets, weights, sums with their margins.

use super::numeric::*;
use super::*;

/// Targets and weights shared by the losses.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub(super) y: Vec<f64>,
    pub(super) w: Vec<f64>,
}

impl Samples {
    /// Labels ±1.
    pub(super) fn with_labels(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        let samples = Self::with_targets(y, weights)?;
        match samples.y.iter().position(|y| y.abs() != 1.0) {
            Some(index) => Err(LossError::Label { index, value: samples.y[index] }),
            None => Ok(samples),
        }
    }

    /// Finite targets; the weights `None` stand for the mean.
    pub(super) fn with_targets(y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self, LossError> {
        if y.is_empty() {
            return Err(LossError::Empty);
        }
        if let Some(index) = y.iter().position(|y| !y.is_finite()) {
            return Err(LossError::Target { index, value: y[index] });
        }
        let w = weights.unwrap_or_else(|| mean_weights(y.len()));
        if w.len() != y.len() {
            return Err(LossError::Length { targets: y.len(), weights: w.len() });
        }
        if let Some(index) = w.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            return Err(LossError::Weight { index, value: w[index] });
        }
        let value = compensated_sum(w.iter().copied());
        if !(value > 0.0 && value.is_finite()) {
            return Err(LossError::TotalWeight { value });
        }
        Ok(Self { y, w })
    }

    pub(super) fn len(&self) -> usize {
        self.y.len()
    }

    /// Samples of positive weight, zipped with one vector of length `n`: `(v_i, y_i, ω_i)`.
    pub(super) fn zip<'a>(&'a self, v: &'a [f64]) -> impl Iterator<Item = (f64, f64, f64)> + 'a {
        self.check(v);
        v.iter()
            .zip(&self.y)
            .zip(&self.w)
            .filter(|&(_, &w)| w > 0.0)
            .map(|((&v, &y), &w)| (v, y, w))
    }

    pub(super) fn check(&self, v: &[f64]) {
        assert_eq!(v.len(), self.y.len(), "vector length and sample count");
    }

    /// `Σ ω_i term(f_i, y_i)`.
    pub(super) fn value(&self, f: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
        compensated_sum(self.zip(f).map(|(f, y, w)| w * term(f, y)))
    }

    /// `out_i = term(f_i, y_i, ω_i)`, 0 where the weight is 0.
    pub(super) fn map_into(&self, f: &[f64], out: &mut [f64], term: impl Fn(f64, f64, f64) -> f64) {
        self.check(f);
        self.check(out);
        for ((out, &f), (&y, &w)) in out.iter_mut().zip(f).zip(self.y.iter().zip(&self.w)) {
            *out = if w > 0.0 { term(f, y, w) } else { 0.0 };
        }
    }

    /// `Σ term(u_i, y_i, ω_i)`, `+∞` as soon as a term is `None` or a sample without weight has
    /// `u_i ≠ 0`.
    pub(super) fn conjugate(&self, u: &[f64], term: impl Fn(f64, f64, f64) -> Option<f64>) -> f64 {
        self.check(u);
        let mut sum = CompensatedSum::default();
        for (&u, (&y, &w)) in u.iter().zip(self.y.iter().zip(&self.w)) {
            if w > 0.0 {
                match term(u, y, w) {
                    Some(value) => sum.add(value),
                    None => return f64::INFINITY,
                }
            } else if u != 0.0 {
                return f64::INFINITY;
            }
        }
        let value = sum.value();
        if value.is_nan() { f64::INFINITY } else { value }
    }

    /// Lower bound of `Σ term(ν_i, y_i, ω_i)`. A term is a pair: the value, and the sum of
    /// the absolute values whose relative rounding errors it carries.
    pub(super) fn dual_value(
        &self,
        nu: &[f64],
        t: f64,
        term: impl Fn(f64, f64, f64) -> Option<(f64, f64)>,
    ) -> f64 {
        self.check(nu);
        if t == 0.0 {
            // g(0) = 0 for every loss of this module, whatever ν holds.
            return 0.0;
        }
        let mut sum = CompensatedSum::default();
        let mut magnitude = 0.0;
        for (&v, (&y, &w)) in nu.iter().zip(self.y.iter().zip(&self.w)) {
            if w > 0.0 {
                let Some((value, size)) = term(v, y, w) else {
                    return f64::NEG_INFINITY;
                };
                sum.add(value);
                magnitude += size;
            } else if v != 0.0 {
                return f64::NEG_INFINITY;
            }
        }
        let margin = 4.0 * (self.len() as f64 + 4.0) * UNIT_ROUNDOFF * magnitude;
        let value = sum.value() - margin;
        if value.is_nan() { f64::NEG_INFINITY } else { value }
    }

    /// Minimum over the samples of `scale(ν_i, y_i, ω_i)`; a sample without weight allows any
    /// scale of 0 and only the scale 0 otherwise.
    pub(super) fn max_scale(&self, nu: &[f64], scale: impl Fn(f64, f64, f64) -> f64) -> f64 {
        self.check(nu);
        let mut best = f64::INFINITY;
        for (&v, (&y, &w)) in nu.iter().zip(self.y.iter().zip(&self.w)) {
            if v == 0.0 {
                continue;
            }
            if w == 0.0 || !v.is_finite() {
                return 0.0;
            }
            best = best.min(scale(v, y, w));
        }
        best
    }

    /// `ν_i ← clip(ν_i, y_i, ω_i)`; 0 where the weight is 0 or the entry is `NaN`.
    pub(super) fn clip(&self, nu: &mut [f64], clip: impl Fn(f64, f64, f64) -> f64) {
        self.check(nu);
        for (v, (&y, &w)) in nu.iter_mut().zip(self.y.iter().zip(&self.w)) {
            *v = if w > 0.0 && !v.is_nan() { clip(*v, y, w) } else { 0.0 };
        }
    }

    /// [`Samples::max_scale`] where the domain is `0 ≤ y_i ν_i ≤ ω_i`.
    pub(super) fn max_unit_scale(&self, nu: &[f64]) -> f64 {
        self.max_scale(nu, |v, y, w| if y * v > 0.0 { quotient_down(w, v.abs()) } else { 0.0 })
    }

    /// [`Samples::clip`] to the domain `0 ≤ y_i ν_i ≤ ω_i`.
    pub(super) fn clip_unit(&self, nu: &mut [f64]) {
        self.clip(nu, |v, y, w| y * (y * v).max(0.0).min(w));
    }

    /// The maximiser on `[0, cap]` of the dual where it is the linear `tνᵀy`: an end.
    pub(super) fn linear_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        let slope = compensated_sum(self.zip(nu).map(|(v, y, _)| v * y));
        Some(if slope > 0.0 { cap } else { 0.0 })
    }

    /// `Σν_i y_i / Σ(ν_i²/ω_i)` clipped to `[0, cap]`: the maximiser of the dual where it is the
    /// quadratic `tνᵀy − ½t²Σν_i²/ω_i`.
    pub(super) fn quadratic_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        let slope = compensated_sum(self.zip(nu).map(|(v, y, _)| v * y));
        let curvature = compensated_sum(self.zip(nu).map(|(v, _, w)| v * (v / w)));
        let t = slope / curvature;
        // 0/0 at ν = 0, or overflow: only the end points are left.
        if t.is_nan() {
            return Some(0.0);
        }
        Some(t.min(cap).max(0.0))
    }

    pub(super) fn subset(&self, rows: &[usize]) -> Self {
        let y: Vec<f64> = rows.iter().map(|&row| self.y[row]).collect();
        let mut w: Vec<f64> = rows.iter().map(|&row| self.w[row]).collect();
        let total = compensated_sum(self.w.iter().copied());
        let kept = compensated_sum(w.iter().copied());
        if kept > 0.0 {
            for w in &mut w {
                // Divided first: a single row then gets exactly the total.
                *w = *w / kept * total;
            }
        }
        Self { y, w }
    }

    /// Smallest and largest `y_i − f_i` over the samples of positive weight.
    pub(super) fn residual_range(&self, f: &[f64]) -> Option<(f64, f64)> {
        self.zip(f).map(|(f, y, _)| y - f).fold(None, |range, r| match range {
            None => Some((r, r)),
            Some((lo, hi)) => Some((f64::min(lo, r), f64::max(hi, r))),
        })
    }

    /// Derivative of `c ↦ F(f + c·1)` as `(Σ term, Σ slope, Σ|term|)`.
    pub(super) fn derivative(
        &self,
        f: &[f64],
        term: impl Fn(f64, f64, f64) -> (f64, f64),
    ) -> (f64, f64, f64) {
        let mut sum = CompensatedSum::default();
        let (mut slope, mut magnitude) = (0.0, 0.0);
        for (f, y, w) in self.zip(f) {
            let (value, second) = term(f, y, w);
            sum.add(value);
            slope += second;
            magnitude += value.abs();
        }
        (sum.value(), slope, magnitude)
    }
}

/// `|tν|` of a sample with label `y` where `0 ≤ y·tν ≤ bound` in exact arithmetic.
pub(super) fn label_product(t: f64, v: f64, y: f64, bound: f64) -> Option<f64> {
    // The sign is read from the factors: a product may underflow.
    let p = if t > 0.0 { y * v } else { -y * v };
    (p >= 0.0 && product_at_most(t.abs(), p, bound)).then(|| t.abs() * p)
}

/// The dual term `νy − ½ν²/ω` and the sum of the absolute values of its parts.
pub(super) fn quadratic_term(v: f64, y: f64, w: f64) -> (f64, f64) {
    let (linear, quadratic) = (v * y, 0.5 * v * (v / w));
    (linear - quadratic, linear.abs() + quadratic)
}

/// Minimiser of the convex piecewise-linear function of one variable whose slope is `−initial`
/// on the left and rises by `w` at each kink `(c, w)`: the middle of the interval of
/// minimisers, its finite end where it is a half-line. `None` if a kink is not finite.
pub(super) fn middle_of_minimisers(mut kinks: Vec<(f64, f64)>, initial: f64) -> Option<f64> {
    if kinks.iter().any(|(c, _)| !c.is_finite()) {
        return None;
    }
    kinks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (Some(first), Some(last)) = (kinks.first(), kinks.last()) else {
        return Some(0.0);
    };
    // Sums of the same weights in another order differ by rounding.
    let zero = 8.0 * kinks.len() as f64 * UNIT_ROUNDOFF * initial.max(1e-300);
    if initial <= zero {
        return Some(first.0);
    }
    let mut sum = CompensatedSum::default();
    sum.add(-initial);
    for (k, (c, w)) in kinks.iter().enumerate() {
        sum.add(*w);
        if sum.value() > zero {
            return Some(*c);
        }
        if sum.value() >= -zero {
            return Some(kinks.get(k + 1).map_or(*c, |next| c + 0.5 * (next.0 - c)));
        }
    }
    Some(last.0)
}
