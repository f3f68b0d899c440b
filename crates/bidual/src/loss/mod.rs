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
//! | [`Hinge`] | `(1−yf)₊` | `p`, `p = ys` | `p ∈ [0,1]` | – |
//! | [`Absolute`] | `abs(f−y)` | `sy` | `−1 ≤ s ≤ 1` | – |
//! | [`Interpolation`] | 0 if `f = y`, else ∞ | `sy` | `R` | – |
//!
//! The last three are not smooth ([`Loss::is_smooth`]): solvers that need derivatives refuse them.
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

mod absolute;
mod error;
mod exponential;
mod hinge;
mod huber;
mod intercept;
mod interpolation;
mod logistic;
mod numeric;
mod samples;
mod squared;
mod squared_hinge;

use std::sync::Arc;

pub use absolute::Absolute;
pub use error::LossError;
pub use hinge::Hinge;
pub use huber::Huber;
pub use intercept::WithIntercept;
pub use interpolation::Interpolation;
pub use logistic::Logistic;
pub use squared::Squared;
pub use squared_hinge::SquaredHinge;

/// The form of a loss in a conic program, per sample and without its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConicForm {
    /// `½(f − y)²`.
    Squared,
    /// `½r² + δ(p + q)` with `f − y = r + p − q`, `p, q ≥ 0`; the threshold `δ`.
    Huber(f64),
    /// `p + q` with `f − y = p − q`, `p, q ≥ 0`.
    Absolute,
    /// `ln(1 + e^{−yf})`, by two exponential cones.
    Logistic,
    /// `h ≥ 1 − yf`, `h ≥ 0`.
    Hinge,
    /// `½h²` with `h ≥ 1 − yf`, `h ≥ 0`.
    SquaredHinge,
    /// `f = y`.
    Interpolation,
}

/// A convex loss `F(f) = Σ_i ω_i ℓ(f_i, y_i)`, with `ℓ'' ≤` [`Loss::curvature_bound`] where it is
/// smooth ([`Loss::is_smooth`]).
///
/// The default weights are `ω_i = 1/n`, the mean over samples. A sample with `ω_i = 0` contributes
/// nothing and its dual variable is 0.
pub trait Loss: Send + Sync {
    /// Name of the loss, for reports.
    fn name(&self) -> &'static str;

    /// Number of samples `n`.
    fn samples(&self) -> usize {
        self.targets().len()
    }

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

    /// Whether the loss has a continuous gradient. If not, [`Loss::residual_into`] gives one
    /// subgradient, whose lower bound is valid but weak, and solvers that need derivatives refuse.
    fn is_smooth(&self) -> bool {
        true
    }

    /// How to write the loss in a conic program; `None` where that is not known, and for a
    /// profiled loss (write the loss behind it with a free constant).
    fn conic_form(&self) -> Option<ConicForm> {
        None
    }

    /// Maximiser of `t ↦ D(tν)` on `[0, cap]` where the loss has a direct way to compute it, for
    /// `cap ≤` [`Loss::max_scale`]; `None` asks for a search by values.
    ///
    /// Any answer is safe: it only selects the point at which the bound is evaluated.
    fn dual_scale(&self, _nu: &[f64], _cap: f64) -> Option<f64> {
        None
    }
}

/// Largest multiple of a dual vector that is tried.
const MOST_SCALE: f64 = 1e30;

/// Largest lower bound along one dual direction: `max { D(tν) : 0 ≤ t ≤ t_max, tν feasible }` as
/// `(value, t)`.
///
/// `t_max` may be `∞`; a negative or `NaN` bound counts as 0. `t` is at most 10³⁰: prices of vectors
/// that would need more are below 10⁻¹⁵⁰ or so, where squares underflow and a norm says less than it
/// should. The value is never below that of
/// `t = 0`, and `t = t_max` is always among the candidates. `D` is concave in `t`: a quadratic for
/// the squared, Huber and squared hinge losses (closed form), Newton for the logistic loss, golden
/// section for a loss without [`Loss::dual_scale`].
pub fn best_dual_value(loss: &dyn Loss, nu: &[f64], t_max: f64) -> (f64, f64) {
    let mut best = (loss.dual_value(nu, 0.0), 0.0);
    // `f64::min` and `f64::max` return the other argument for a NaN.
    let cap =
        if t_max.is_nan() { 0.0 } else { t_max.min(loss.max_scale(nu)).clamp(0.0, MOST_SCALE) };
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
