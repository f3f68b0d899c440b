//! Unpenalised intercept, minimised out.

use std::fmt;
use std::sync::Arc;

use super::numeric::{CompensatedSum, UNIT_ROUNDOFF, compensated_sum};
use super::{Loss, LossError};

/// Margin at which a logistic loss is 0 for all purposes, for the one-label limit.
const SATURATED_MARGIN: f64 = 40.0;

/// The profiled loss `F̃(f) = min_c F(f + c·1)`: an output bias without penalty (derived here).
///
/// Partial minimisation keeps convexity, and by the envelope theorem `∇F̃(f) = ∇F(f + c*·1)`, so
/// the residual satisfies `1ᵀν = 0`. The Hessian is `diag(h) − hhᵀ/Σh ≼ diag(h)`, with `h` the
/// Hessian diagonal of `F` at `f + c*·1`: the curvature bound of `F` remains valid. The conjugate
/// is `F̃*(u) = F*(u)` if `1ᵀu = 0` and `+∞` otherwise.
///
/// **Balanced vectors.** The equality `1ᵀν = 0` is met exactly and not only to rounding:
/// [`WithIntercept::balance`] moves `ν` to multiples of one power of two and makes their integer sum
/// 0, and [`Loss::residual_into`] and [`Loss::clip_dual`] end with it. For such a vector
/// [`Loss::dual_value`] is a lower bound without further assumption. A vector balanced only to
/// rounding (one rescaled by the caller, say) has `F̃(f) ≥ D(ν) − νᵀf − c·1ᵀν` for the constant `c` of
/// the competitor; `dual_value` then subtracts `|t·1ᵀν|·B`, a bound for the competitors with
/// `|c| ≤ B`, where `B` is [`WithIntercept::offset_bound`]. Beyond rounding the value is `−∞`.
///
/// Cost: one best intercept per evaluation, a few passes over the samples unless `F` is squared.
#[derive(Clone)]
pub struct WithIntercept {
    inner: Arc<dyn Loss>,
    offset_bound: f64,
}

impl fmt::Debug for WithIntercept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WithIntercept")
            .field("inner", &self.inner.name())
            .field("samples", &self.inner.samples())
            .field("offset_bound", &self.offset_bound)
            .finish()
    }
}

impl WithIntercept {
    /// Profiles `inner`. Fails if no constant minimises it (logistic loss with one label) or if it
    /// already has an intercept.
    pub fn new(inner: Arc<dyn Loss>) -> Result<Self, LossError> {
        let loss = inner.name();
        if inner.as_intercept().is_some() {
            return Err(LossError::NestedIntercept { loss });
        }
        // Whether the infimum is attained depends on the labels, not on the outputs.
        if inner.best_intercept(&vec![0.0; inner.samples()]).is_none() {
            return Err(LossError::NoIntercept { loss });
        }
        Ok(Self::unchecked(inner))
    }

    fn unchecked(inner: Arc<dyn Loss>) -> Self {
        let largest = inner.targets().iter().fold(0.0_f64, |largest, y| largest.max(y.abs()));
        Self { inner, offset_bound: 10.0 * (1.0 + largest) }
    }

    /// Replaces the bound `B` on the competitors' constants, used for vectors that are balanced
    /// only to rounding. A value that is negative or `NaN` counts as `∞`.
    pub fn with_offset_bound(mut self, bound: f64) -> Self {
        self.offset_bound = if bound >= 0.0 { bound } else { f64::INFINITY };
        self
    }

    /// The bound `B`; by default `10·(1 + max|y|)`, which assumes constants up to ten times the
    /// scale of the targets. The charge is that of a rounding error, so a generous `B` is cheap.
    pub fn offset_bound(&self) -> f64 {
        self.offset_bound
    }

    /// The loss `F` without intercept.
    pub fn inner(&self) -> &Arc<dyn Loss> {
        &self.inner
    }

    /// The minimiser `c*` of `F(f + c·1)`.
    ///
    /// A subset with a single label may leave the logistic infimum 0 unattained; the constant is
    /// then one that brings every margin to at least 40, where the loss is below 1e-17.
    pub fn intercept(&self, f: &[f64]) -> f64 {
        if let Some(c) = self.inner.best_intercept(f) {
            return c;
        }
        let label = self
            .inner
            .targets()
            .iter()
            .zip(self.inner.weights())
            .find(|&(_, &w)| w > 0.0)
            .map_or(1.0, |(&y, _)| y);
        let worst = f.iter().fold(0.0_f64, |worst, f| worst.min(label * f));
        label * (SATURATED_MARGIN - worst)
    }

    fn shifted(&self, f: &[f64]) -> Vec<f64> {
        let c = self.intercept(f);
        f.iter().map(|f| f + c).collect()
    }

    /// Makes `1ᵀν = 0` exactly without leaving the domain, for `ν` in the domain of `F`.
    ///
    /// On an interval domain the heavier sign class is multiplied by
    /// `min(S₊, S₋)/max(S₊, S₋)`, `S_± = Σ(±ν_i)₊`, which only shrinks entries. On a free domain
    /// `ω_i·Σν/Σω` is subtracted: for a squared residual this is the refit of the intercept. The
    /// entries are then truncated to multiples of 2⁻⁵² times the largest (as a power of two) and
    /// the remaining units are taken from the heavier class. Vectors that are not finite are left
    /// as they are; their dual value is `−∞`.
    pub fn balance(&self, nu: &mut [f64]) {
        assert_eq!(nu.len(), self.inner.samples(), "vector length");
        if self.inner.dual_is_free() {
            let weights = self.inner.weights();
            let total = compensated_sum(weights.iter().copied());
            let shift = compensated_sum(nu.iter().copied()) / total;
            if shift.is_finite() {
                for (v, &w) in nu.iter_mut().zip(weights) {
                    *v -= w * shift;
                }
            }
        } else {
            let (positive, negative) = class_sums(nu);
            let ratio = positive.min(negative) / positive.max(negative);
            if ratio.is_finite() {
                for v in nu.iter_mut() {
                    if (*v > 0.0) == (positive > negative) {
                        *v *= ratio;
                    }
                }
            }
        }
        cancel_remainder(nu);
    }

    /// `|Σν|` if it is 0 or of the size of rounding errors.
    fn imbalance(&self, nu: &[f64]) -> Option<f64> {
        let mut sum = CompensatedSum::default();
        let mut magnitude = 0.0;
        for &v in nu {
            sum.add(v);
            magnitude += v.abs();
        }
        // On a balanced vector the result 0 is exact: the partial sums and their errors are
        // multiples of one power of two. Otherwise the error left is of second order.
        let imbalance = sum.value().abs();
        (imbalance <= 4.0 * nu.len() as f64 * UNIT_ROUNDOFF * magnitude).then_some(imbalance)
    }
}

/// `S₊` and `S₋`.
fn class_sums(nu: &[f64]) -> (f64, f64) {
    let (mut positive, mut negative) = (CompensatedSum::default(), CompensatedSum::default());
    for &v in nu {
        if v > 0.0 {
            positive.add(v);
        } else {
            negative.add(-v);
        }
    }
    (positive.value(), negative.value())
}

/// Truncates the entries to multiples of a unit and removes units from the heavier sign class
/// until the sum is 0. No entry grows or changes sign.
fn cancel_remainder(nu: &mut [f64]) {
    // A fold by `max` would hide a NaN.
    if nu.iter().any(|v| !v.is_finite()) {
        return;
    }
    let largest = nu.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
    if largest < 1e-280 {
        // The unit would be subnormal, and the zero vector is balanced.
        nu.fill(0.0);
        return;
    }
    // The power of two below `largest`, times 2⁻⁵²: every entry is below 2⁵³ units.
    let unit = f64::from_bits(largest.to_bits() & 0x7ff0_0000_0000_0000) * f64::EPSILON;
    let mut units: Vec<i64> = nu.iter().map(|v| (v / unit) as i64).collect();
    let total: i128 = units.iter().map(|&m| i128::from(m)).sum();
    let sign: i64 = if total > 0 { 1 } else { -1 };
    let mut excess = total.abs();
    while excess > 0 {
        // The heavier class holds at least `excess` units, so each round removes at least one.
        let active = units.iter().filter(|&&m| m * sign > 0).count() as i128;
        if active == 0 {
            break;
        }
        let share = (excess + active - 1) / active;
        for m in units.iter_mut().filter(|m| **m * sign > 0) {
            // At most |m| < 2⁵³, so the conversion cannot fail.
            let take = i128::from(m.abs()).min(share).min(excess);
            *m -= sign * i64::try_from(take).unwrap_or(0);
            excess -= take;
        }
    }
    for (v, m) in nu.iter_mut().zip(units) {
        *v = m as f64 * unit;
    }
}

impl Loss for WithIntercept {
    /// The name of the loss without intercept.
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn weights(&self) -> &[f64] {
        self.inner.weights()
    }

    fn targets(&self) -> &[f64] {
        self.inner.targets()
    }

    fn value(&self, f: &[f64]) -> f64 {
        self.inner.value(&self.shifted(f))
    }

    fn residual_into(&self, f: &[f64], nu: &mut [f64]) {
        self.inner.residual_into(&self.shifted(f), nu);
        self.balance(nu);
    }

    /// `h`, the Hessian diagonal of `F` at `f + c*·1`. The Hessian of the profiled loss is
    /// `diag(h) − hhᵀ/Σh`, and `diag(h)` is an upper bound of it.
    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]) {
        self.inner.hessian_diagonal_into(&self.shifted(f), out);
    }

    /// `F*(u)` if `1ᵀu` is 0 to rounding, else `+∞`.
    fn conjugate(&self, u: &[f64]) -> f64 {
        match self.imbalance(u) {
            Some(_) => self.inner.conjugate(u),
            None => f64::INFINITY,
        }
    }

    fn dual_value(&self, nu: &[f64], t: f64) -> f64 {
        if t == 0.0 {
            return self.inner.dual_value(nu, 0.0);
        }
        match self.imbalance(nu) {
            Some(0.0) => self.inner.dual_value(nu, t),
            Some(imbalance) => {
                let value = self.inner.dual_value(nu, t);
                let charge = t.abs() * imbalance * self.offset_bound;
                // Two roundings of the charge and one of the difference.
                let value = value - charge - 4.0 * UNIT_ROUNDOFF * (value.abs() + charge);
                if value.is_nan() { f64::NEG_INFINITY } else { value }
            }
            None => f64::NEG_INFINITY,
        }
    }

    /// As without intercept: scaling keeps `1ᵀν = 0`.
    fn max_scale(&self, nu: &[f64]) -> f64 {
        self.inner.max_scale(nu)
    }

    /// Clips to the domain without intercept, then balances.
    fn clip_dual(&self, nu: &mut [f64]) {
        self.inner.clip_dual(nu);
        self.balance(nu);
    }

    fn curvature_bound(&self) -> f64 {
        self.inner.curvature_bound()
    }

    /// `Some(0)`: adding a constant does not change the profiled loss.
    fn best_intercept(&self, _f: &[f64]) -> Option<f64> {
        Some(0.0)
    }

    /// The profiled loss of the subset, with the default [`WithIntercept::offset_bound`]. A subset
    /// with one label is accepted; its infimum is then 0 for a classification loss.
    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss> {
        Arc::new(Self::unchecked(self.inner.subset(rows)))
    }

    /// As without intercept: `f` is the output with the constant already added.
    fn sample_value(&self, f: f64, y: f64) -> f64 {
        self.inner.sample_value(f, y)
    }

    fn as_intercept(&self) -> Option<&WithIntercept> {
        Some(self)
    }

    fn value_and_residual(&self, f: &[f64], nu: &mut [f64]) -> f64 {
        let shifted = self.shifted(f);
        let value = self.inner.value_and_residual(&shifted, nu);
        self.balance(nu);
        value
    }

    fn is_smooth(&self) -> bool {
        self.inner.is_smooth()
    }

    fn dual_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        self.inner.dual_scale(nu, cap)
    }
}
