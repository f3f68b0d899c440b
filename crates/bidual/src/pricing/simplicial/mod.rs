//! Exact pricing by branch and bound over simplicial cones.
//!
//! The pricing problem is `κ = max |cᵀu + Σ_i ν_i (h_iᵀu)_+|` over the unit ball of a gauge. On a
//! simplicial cone the terms with positive weight are bounded by their chords (they are sublinear,
//! so the values at the vertices bound them), the others by tangents, and the maximum of the
//! resulting linear function over the cone and the ball is a small non-negative least-squares
//! problem. Cones that cannot beat the incumbent are discarded, the others are halved. Everything
//! is derived here; block pivoting is due to Portugal, Júdice and Vicente (Math. Comp. 1994).

mod cone;
mod dive;
mod exchange;
mod incumbent;
mod kernel;
mod nnls;
mod polish;
mod rows;
mod search;
mod start;

pub use rows::Rows;

/// Largest dimension that is searched; above it [`price`] returns the trivial bound.
pub const MAX_DIM: usize = 8;

/// The set over which the directions `u ∈ R^p` range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ball {
    /// `‖u‖₂ ≤ 1`.
    Norm,
    /// The last coordinate `b` is outside the norm: `‖(u_1, …, u_{p−1})‖₂ ≤ 1`, `|b| ≤ radius`.
    FreeBias,
}

/// A pricing problem: `max |f(u)|` over the ball, `f(u) = cᵀu + Σ_i ν_i (h_iᵀu)_+`.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// The rows `h_i`.
    pub rows: &'a Rows,
    /// Dual vector `ν`, length `n`.
    pub nu: &'a [f64],
    /// Linear term `c`, length `p` (other slopes than those of the ReLU).
    pub linear: Option<&'a [f64]>,
    /// The gauge.
    pub ball: Ball,
    /// Bound on `|b|`; only used with [`Ball::FreeBias`]. There `f` is constant in `b` beyond the
    /// kinks if `Σν_i = 0` (and `c_p = 0`), which the caller provides up to rounding; what is left
    /// of the slope is charged to the bound, times the part of `radius` beyond the kinks.
    pub radius: f64,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Cones with a bound up to here are discarded at once: "prove κ ≤ target". 0 for none.
    pub target: f64,
    /// Relative: done when `upper ≤ max(target, lower·(1 + tolerance))`.
    pub tolerance: f64,
    /// Cones examined at most.
    pub max_cones: usize,
    /// Bytes for open cones; beyond it the search goes depth first.
    pub memory: usize,
    /// Number of distinct directions to return at most.
    pub wanted: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { target: 0.0, tolerance: 1e-6, max_cones: usize::MAX, memory: 512 << 20, wanted: 16 }
    }
}

/// Progress of a search.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Cones examined.
    pub cones: usize,
    /// Proved upper bound on κ.
    pub upper: f64,
    /// Best value attained.
    pub lower: f64,
}

/// A direction of gauge one with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// `u`, length `p`.
    pub u: Vec<f64>,
    /// True if `f(u) = value`, false if `−f(u) = value`.
    pub positive: bool,
    /// `|f(u)|` as evaluated in f64.
    pub value: f64,
}

/// Result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Proved upper bound on κ, rounding included.
    pub upper: f64,
    /// Best value attained (0 if none is positive).
    pub lower: f64,
    /// Distinct good directions, best first.
    pub directions: Vec<Direction>,
    /// Cones examined.
    pub cones: usize,
    /// `upper ≤ max(target, lower·(1 + tolerance))`.
    pub closed: bool,
    /// Ended by a limit or by the caller. Neither closed nor stopped: rounding sets the limit.
    pub stopped: bool,
}

/// Brackets κ.
///
/// `starts` are known good directions with their signs (`true`: `f` is positive there). `go_on` is
/// asked between batches of cones; the bounds are valid whenever it says no. The result does not
/// depend on the number of threads. Data that are not finite, or of the wrong length, give
/// `upper = ∞`.
pub fn price(
    problem: &Problem<'_>,
    settings: &Settings,
    starts: &[(Vec<f64>, bool)],
    go_on: &mut dyn FnMut(&State) -> bool,
) -> Outcome {
    match problem.rows.dim() {
        1 => search::search::<1>(problem, settings, starts, go_on),
        2 => search::search::<2>(problem, settings, starts, go_on),
        3 => search::search::<3>(problem, settings, starts, go_on),
        4 => search::search::<4>(problem, settings, starts, go_on),
        5 => search::search::<5>(problem, settings, starts, go_on),
        6 => search::search::<6>(problem, settings, starts, go_on),
        7 => search::search::<7>(problem, settings, starts, go_on),
        8 => search::search::<8>(problem, settings, starts, go_on),
        _ => search::unsearched(problem, settings),
    }
}
