//! Separable convex losses, their residuals and their dual bounds.
//!
//! A loss is `F(f) = Σ_i ω_i ℓ(f_i, y_i)` on the outputs `f ∈ R^n` of a model. Every method is
//! built around one sign convention: the *residual* is `ν = −∇F(f)`, and the dual value of any
//! vector `ν` is `D(ν) = −F*(−ν)`, so that (Fenchel–Young)
//!
//! ```text
//! F(f) ≥ D(ν) − νᵀf   for every f and every ν, with equality at ν = −∇F(f).
//! ```
//!
//! | loss | `ℓ(f, y)` | `g(s) = −ℓ*(−s)` | domain of `s = ν_i/ω_i` | `ℓ'' ≤` |
//! |---|---|---|---|---|
//! | [`Squared`] | `½(f−y)²` | `sy − ½s²` | `R` | 1 |
//! | [`Logistic`] | `ln(1+e^{−yf})` | `−p ln p − (1−p) ln(1−p)`, `p = ys` | `p ∈ [0,1]` | ¼ |
//! | [`Huber`] | `½r²` if `abs(r) ≤ δ`, else `δ·abs(r) − ½δ²`, `r = f−y` | `sy − ½s²` | `−δ ≤ s ≤ δ` | 1 |
//! | [`SquaredHinge`] | `½(1−yf)₊²` | `p − ½p²`, `p = ys` | `p ≥ 0` | 1 |
//!
//! Each domain is an interval containing 0, so `tν` stays feasible for `0 ≤ t ≤ 1`; the best `t`
//! is found by [`best_dual_value`]. [`WithIntercept`] minimises over an unpenalised constant
//! added to all outputs.
//!
//! The conjugates are textbook pairs (Boyd and Vandenberghe, *Convex Optimization*, 2004, §3.3);
//! the convex duals of two-layer networks in which they are used follow Pilanci and Ergen (2020).
//! The floating-point margins are derived here.
//!
//! Slices passed to a loss have length [`Loss::samples`]; another length is a programming error
//! and panics.

mod huber;
mod intercept;
mod logistic;
mod squared;
mod squared_hinge;

use std::fmt;
use std::sync::Arc;

pub use huber::Huber;
pub use intercept::WithIntercept;
pub use logistic::Logistic;
pub use squared::Squared;
pub use squared_hinge::SquaredHinge;

/// Unit roundoff of `f64`, 2⁻⁵³.
pub(crate) const UNIT_ROUNDOFF: f64 = f64::EPSILON / 2.0;

/// A convex loss `F(f) = Σ_i ω_i ℓ(f_i, y_i)`, smooth with `ℓ'' ≤` [`Loss::curvature_bound`].
///
/// The default weights are `ω_i = 1/n`, the mean over samples. A sample with `ω_i = 0` contributes
/// nothing and its dual variable is 0.
pub trait Loss: Send + Sync {
    /// Name of the loss, for reports.
    fn name(&self) -> &'static str;

    /// Number of samples `n`.
    fn samples(&self) -> usize;

    /// Sample weights `ω`, length `n`.
    fn weights(&self) -> &[f64];

    /// Targets `y`, length `n`; labels are ±1.
    fn targets(&self) -> &[f64];

    /// `F(f)`, by compensated summation.
    fn value(&self, f: &[f64]) -> f64;

    /// Writes the residual `ν = −∇F(f)`, that is `ν_i = −ω_i ℓ'(f_i, y_i)`.
    ///
    /// The result lies in the domain of [`Loss::dual_value`] exactly, not only up to rounding.
    fn residual_into(&self, f: &[f64], nu: &mut [f64]);

    /// Writes `ω_i ℓ''(f_i, y_i)`; at a kink of `ℓ'`, an element of its generalised derivative.
    fn hessian_diagonal_into(&self, f: &[f64], out: &mut [f64]);

    /// `F*(u) = Σ_i ω_i ℓ*(u_i/ω_i)`, `+∞` outside the domain.
    fn conjugate(&self, u: &[f64]) -> f64;

    /// `D(tν) = −F*(−tν)`, rounded down to a true lower bound; `−∞` outside the domain.
    ///
    /// The sum is compensated and `4(n+4)·2⁻⁵³·Σ|terms|` is subtracted, where the terms are the
    /// summands before cancellation and include the condition of the logarithms. The value
    /// belongs to the product `tν` in exact arithmetic, so membership is decided on that product
    /// and not on its rounding. A vector that is not finite gives `−∞` unless `t = 0`.
    fn dual_value(&self, nu: &[f64], t: f64) -> f64;

    /// Largest `t` (possibly `∞`) with `tν` in the domain, rounded down.
    ///
    /// It is at least 1 for every `ν` in the domain, and in `[0, 1)` for any other.
    fn max_scale(&self, nu: &[f64]) -> f64;

    /// Projects `ν` on the domain, sample by sample; a weight of 0 and a `NaN` give 0.
    fn clip_dual(&self, nu: &mut [f64]);

    /// Supremum of `ℓ''` per sample, without the weight.
    fn curvature_bound(&self) -> f64;

    /// A constant `c` that minimises `F(f + c·1)`, to the accuracy of `f64`.
    ///
    /// `None` if the infimum is not attained. Where the minimisers form an interval, one of them.
    fn best_intercept(&self, f: &[f64]) -> Option<f64>;

    /// The same loss on the given samples (repetitions allowed), with the weights multiplied by
    /// one factor so that they keep their total.
    ///
    /// If the chosen samples have total weight 0 the result is the zero function. Panics if a row
    /// is not below [`Loss::samples`].
    fn subset(&self, rows: &[usize]) -> Arc<dyn Loss>;

    /// `ℓ(f, y)` of one sample, without weight.
    fn sample_value(&self, f: f64, y: f64) -> f64;

    /// The profiled loss behind this one, if an unpenalised intercept is minimised out.
    fn as_intercept(&self) -> Option<&WithIntercept> {
        None
    }

    /// `F(f)` and the residual in one call; cheaper than two calls for a profiled loss.
    fn value_and_residual(&self, f: &[f64], nu: &mut [f64]) -> f64 {
        self.residual_into(f, nu);
        self.value(f)
    }

    /// Whether the domain of the dual is all of `R^n` (up to samples of weight 0).
    fn dual_is_free(&self) -> bool {
        false
    }

    /// Maximiser of `t ↦ D(tν)` on `[0, cap]` where the loss has a direct way to compute it, for
    /// `cap ≤` [`Loss::max_scale`]; `None` asks for a search by values.
    ///
    /// Any answer is safe: it only selects the point at which the bound is evaluated.
    fn dual_scale(&self, _nu: &[f64], _cap: f64) -> Option<f64> {
        None
    }
}

/// Largest lower bound along one dual direction: `max { D(tν) : 0 ≤ t ≤ t_max, tν feasible }` as
/// `(value, t)`.
///
/// `t_max` may be `∞`; a negative or `NaN` bound counts as 0. The value is never below that of
/// `t = 0`, and `t = t_max` is always among the candidates. `D` is concave in `t`: a quadratic for
/// the squared, Huber and squared hinge losses (closed form), Newton for the logistic loss, golden
/// section for a loss without [`Loss::dual_scale`].
pub fn best_dual_value(loss: &dyn Loss, nu: &[f64], t_max: f64) -> (f64, f64) {
    let mut best = (loss.dual_value(nu, 0.0), 0.0);
    // `f64::min` and `f64::max` return the other argument for a NaN.
    let cap = if t_max.is_nan() { 0.0 } else { t_max.min(loss.max_scale(nu)).max(0.0) };
    if cap <= 0.0 {
        return best;
    }
    let mut consider = |t: f64| {
        let value = loss.dual_value(nu, t);
        if value > best.0 {
            best = (value, t);
        }
        value
    };
    if cap.is_finite() {
        consider(cap);
    }
    match loss.dual_scale(nu, cap) {
        Some(t) => {
            if t.is_finite() && t >= 0.0 {
                consider(t.min(cap));
            }
        }
        None => golden_section(cap, &mut consider),
    }
    best
}

/// Golden-section search for the maximum of a concave function on `[0, cap]`, which may take the
/// value `−∞` on the right. The caller keeps the best point.
fn golden_section(cap: f64, value: &mut dyn FnMut(f64) -> f64) {
    const RATIO: f64 = 0.618_033_988_749_894_8;
    let mut lo = 0.0;
    let mut hi = cap;
    if hi.is_infinite() {
        // Double until the value stops increasing: the maximiser is then below `hi`.
        hi = 1.0;
        let mut previous = value(hi);
        while hi < 1e300 {
            hi *= 2.0;
            let next = value(hi);
            if next.is_nan() || next <= previous {
                break;
            }
            previous = next;
        }
    }
    let mut a = hi - RATIO * (hi - lo);
    let mut b = lo + RATIO * (hi - lo);
    let (mut va, mut vb) = (value(a), value(b));
    // The error of the value is quadratic in that of t.
    for _ in 0..200 {
        if hi - lo <= 1e-9 * hi {
            break;
        }
        // Equal values at −∞ are both beyond the domain, so the search moves left on ties.
        if va >= vb {
            hi = b;
            b = a;
            vb = va;
            a = hi - RATIO * (hi - lo);
            va = value(a);
        } else {
            lo = a;
            a = b;
            va = vb;
            b = lo + RATIO * (hi - lo);
            vb = value(b);
        }
    }
}

/// Weights `1/n`: the loss is the mean over the samples.
pub fn mean_weights(n: usize) -> Vec<f64> {
    vec![1.0 / n as f64; n]
}

/// Weights 1: the loss is the sum over the samples.
pub fn unit_weights(n: usize) -> Vec<f64> {
    vec![1.0; n]
}

/// Why a loss cannot be built.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// There are no samples.
    Empty,
    /// The weights do not match the targets.
    Length {
        /// Number of targets.
        targets: usize,
        /// Number of weights.
        weights: usize,
    },
    /// A target is not finite.
    Target {
        /// Sample.
        index: usize,
        /// Its target.
        value: f64,
    },
    /// A label is neither +1 nor −1.
    Label {
        /// Sample.
        index: usize,
        /// Its label.
        value: f64,
    },
    /// A weight is negative or not finite.
    Weight {
        /// Sample.
        index: usize,
        /// Its weight.
        value: f64,
    },
    /// All weights are 0, or their sum overflows.
    TotalWeight {
        /// Sum of the weights.
        value: f64,
    },
    /// The threshold of the Huber loss is not positive and finite.
    Delta {
        /// The threshold.
        value: f64,
    },
    /// No constant minimises the loss, because all weighted samples have one label.
    NoIntercept {
        /// Name of the loss.
        loss: &'static str,
    },
    /// The loss already has an intercept.
    NestedIntercept {
        /// Name of the loss.
        loss: &'static str,
    },
}

impl fmt::Display for LossError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossError::Empty => write!(out, "a loss needs at least one sample"),
            LossError::Length { targets, weights } => {
                write!(out, "{weights} weights for {targets} targets")
            }
            LossError::Target { index, value } => {
                write!(out, "target {index} is {value}; it must be finite")
            }
            LossError::Label { index, value } => {
                write!(out, "label {index} is {value}; it must be 1 or -1")
            }
            LossError::Weight { index, value } => {
                write!(out, "weight {index} is {value}; it must be finite and at least 0")
            }
            LossError::TotalWeight { value } => {
                write!(out, "the weights sum to {value}; the sum must be positive and finite")
            }
            LossError::Delta { value } => {
                write!(out, "the Huber threshold is {value}; it must be positive and finite")
            }
            LossError::NoIntercept { loss } => write!(
                out,
                "the {loss} loss has no best output bias, because all weighted samples have the same label: add samples of the other class or switch the output bias off"
            ),
            LossError::NestedIntercept { loss } => {
                write!(out, "the {loss} loss already has an intercept")
            }
        }
    }
}

impl std::error::Error for LossError {}

/// Targets and weights shared by the losses.
#[derive(Debug, Clone)]
struct Samples {
    y: Vec<f64>,
    w: Vec<f64>,
}

impl Samples {
    fn new(y: Vec<f64>, weights: Option<Vec<f64>>, labels: bool) -> Result<Self, LossError> {
        if y.is_empty() {
            return Err(LossError::Empty);
        }
        for (index, &value) in y.iter().enumerate() {
            if !value.is_finite() {
                return Err(LossError::Target { index, value });
            }
            if labels && value.abs() != 1.0 {
                return Err(LossError::Label { index, value });
            }
        }
        let w = weights.unwrap_or_else(|| mean_weights(y.len()));
        if w.len() != y.len() {
            return Err(LossError::Length { targets: y.len(), weights: w.len() });
        }
        for (index, &value) in w.iter().enumerate() {
            if !value.is_finite() || value < 0.0 {
                return Err(LossError::Weight { index, value });
            }
        }
        let value = compensated_sum(w.iter().copied());
        if !(value > 0.0 && value.is_finite()) {
            return Err(LossError::TotalWeight { value });
        }
        Ok(Self { y, w })
    }

    fn len(&self) -> usize {
        self.y.len()
    }

    /// Samples of positive weight, zipped with one vector of length `n`: `(v_i, y_i, ω_i)`.
    fn zip<'a>(&'a self, v: &'a [f64]) -> impl Iterator<Item = (f64, f64, f64)> + 'a {
        self.check(v);
        v.iter()
            .zip(&self.y)
            .zip(&self.w)
            .filter(|&(_, &w)| w > 0.0)
            .map(|((&v, &y), &w)| (v, y, w))
    }

    fn check(&self, v: &[f64]) {
        assert_eq!(v.len(), self.y.len(), "vector length and sample count");
    }

    /// `Σ ω_i term(f_i, y_i)`.
    fn value(&self, f: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
        compensated_sum(self.zip(f).map(|(f, y, w)| w * term(f, y)))
    }

    /// `out_i = term(f_i, y_i, ω_i)`, 0 where the weight is 0.
    fn map_into(&self, f: &[f64], out: &mut [f64], term: impl Fn(f64, f64, f64) -> f64) {
        self.check(f);
        self.check(out);
        for ((out, &f), (&y, &w)) in out.iter_mut().zip(f).zip(self.y.iter().zip(&self.w)) {
            *out = if w > 0.0 { term(f, y, w) } else { 0.0 };
        }
    }

    /// `Σ term(u_i, y_i, ω_i)`, `+∞` as soon as a term is `None` or a sample without weight has
    /// `u_i ≠ 0`.
    fn conjugate(&self, u: &[f64], term: impl Fn(f64, f64, f64) -> Option<f64>) -> f64 {
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
    fn dual_value(
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
    fn max_scale(&self, nu: &[f64], scale: impl Fn(f64, f64, f64) -> f64) -> f64 {
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
    fn clip(&self, nu: &mut [f64], clip: impl Fn(f64, f64, f64) -> f64) {
        self.check(nu);
        for (v, (&y, &w)) in nu.iter_mut().zip(self.y.iter().zip(&self.w)) {
            *v = if w > 0.0 && !v.is_nan() { clip(*v, y, w) } else { 0.0 };
        }
    }

    /// `Σν_i y_i / Σ(ν_i²/ω_i)` clipped to `[0, cap]`: the maximiser of the dual where it is the
    /// quadratic `tνᵀy − ½t²Σν_i²/ω_i`.
    fn quadratic_scale(&self, nu: &[f64], cap: f64) -> Option<f64> {
        let slope = compensated_sum(self.zip(nu).map(|(v, y, _)| v * y));
        let curvature = compensated_sum(self.zip(nu).map(|(v, _, w)| v * (v / w)));
        let t = slope / curvature;
        // 0/0 at ν = 0, or overflow: only the end points are left.
        if t.is_nan() {
            return Some(0.0);
        }
        Some(t.min(cap).max(0.0))
    }

    fn subset(&self, rows: &[usize]) -> Self {
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
    fn residual_range(&self, f: &[f64]) -> Option<(f64, f64)> {
        self.zip(f).map(|(f, y, _)| y - f).fold(None, |range, r| match range {
            None => Some((r, r)),
            Some((lo, hi)) => Some((f64::min(lo, r), f64::max(hi, r))),
        })
    }

    /// Derivative of `c ↦ F(f + c·1)` as `(Σ term, Σ slope, Σ|term|)`.
    fn derivative(&self, f: &[f64], term: impl Fn(f64, f64, f64) -> (f64, f64)) -> (f64, f64, f64) {
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

/// Neumaier's compensated sum (Neumaier, 1974): error about one rounding of the result plus a
/// second-order term.
#[derive(Debug, Default, Clone, Copy)]
struct CompensatedSum {
    sum: f64,
    compensation: f64,
}

impl CompensatedSum {
    #[inline]
    fn add(&mut self, term: f64) {
        let total = self.sum + term;
        self.compensation += if self.sum.abs() >= term.abs() {
            (self.sum - total) + term
        } else {
            (term - total) + self.sum
        };
        self.sum = total;
    }

    fn value(self) -> f64 {
        // An overflowed sum has a NaN compensation.
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }
}

fn compensated_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut sum = CompensatedSum::default();
    for term in terms {
        sum.add(term);
    }
    sum.value()
}

/// Whether `a·b ≤ bound` in exact arithmetic, for `a, b ≥ 0`. False for a `NaN`.
fn product_at_most(a: f64, b: f64, bound: f64) -> bool {
    let product = a * b;
    // Rounding is monotone, so only a product that rounds to the bound is undecided.
    product < bound || (product == bound && a.mul_add(b, -bound) <= 0.0)
}

/// Largest `f64` known to be at most `a·b`, for `a, b ≥ 0`.
fn product_down(a: f64, b: f64) -> f64 {
    let product = a * b;
    if product.is_finite() && a.mul_add(b, -product) < 0.0 { product.next_down() } else { product }
}

/// `bound/size` rounded down, so that `t·size ≤ bound` in exact arithmetic; `size > 0`.
fn quotient_down(bound: f64, size: f64) -> f64 {
    let t = bound / size;
    if t.is_infinite() {
        // The quotient overflowed; a huge finite scale is also feasible.
        return f64::MAX;
    }
    if product_at_most(t, size, bound) { t } else { t.next_down() }
}

/// Root of a nondecreasing function on `[lo, hi]` with values of opposite sign (or 0) at the ends:
/// Newton's method, replaced by bisection when a step leaves the bracket or does not halve.
///
/// The function returns its value, its slope and the sum of the absolute values of its terms; a
/// value below the rounding error of that sum is a root. Steps below `tolerance·|root|` end the
/// iteration.
fn increasing_root(
    mut lo: f64,
    mut hi: f64,
    start: f64,
    tolerance: f64,
    mut function: impl FnMut(f64) -> (f64, f64, f64),
) -> f64 {
    let mut point = start.min(hi).max(lo);
    let mut last_step = hi - lo;
    for _ in 0..200 {
        let (value, slope, magnitude) = function(point);
        if value.is_nan() || value.abs() <= UNIT_ROUNDOFF * magnitude && magnitude.is_finite() {
            return point;
        }
        if value < 0.0 {
            lo = point;
        } else {
            hi = point;
        }
        let step = value / slope;
        let newton = point - step;
        if step.abs() <= tolerance * point.abs() {
            return if newton >= lo && newton <= hi { newton } else { point };
        }
        let next = if newton > lo && newton < hi && step.abs() <= 0.5 * last_step {
            newton
        } else {
            lo + 0.5 * (hi - lo)
        };
        if next <= lo || next >= hi || next.is_nan() {
            return point;
        }
        last_step = (next - point).abs();
        point = next;
    }
    point
}
