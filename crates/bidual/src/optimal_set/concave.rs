//! The optimal value between the points of a regularisation path.

/// One solved point of a path: P*(β) lies in `lower..=upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathValue {
    /// β ≥ 0.
    pub beta: f64,
    /// Proved lower bound on P*(β).
    pub lower: f64,
    /// L + βN of a network, an upper bound on P*(β).
    pub upper: f64,
    /// N of that network, Σ‖w_j‖|a_j|.
    pub norm: f64,
}

/// Bounds (lower, upper) on P*(β) = min L + βN at any β ≥ 0, from the solved points.
///
/// P* is an infimum of the affine functions L + βN, N ≥ 0, one for each network: concave and
/// non-decreasing (derived here). So chords between proved lower bounds are lower bounds, and the
/// line L_k + βN_k of a solved network is an upper bound everywhere. With `loss_nonnegative` L ≥ 0
/// adds the point (0, 0) below the smallest β. Both ends are widened by a rounding margin of
/// 2⁻⁵⁰ of the magnitudes involved. The points may come in any order; without usable points the
/// bounds are infinite.
pub fn path_bounds(points: &[PathValue], beta: f64, loss_nonnegative: bool) -> (f64, f64) {
    const MARGIN: f64 = 4.0 * f64::EPSILON;
    let (mut lower, mut upper) = (f64::NEG_INFINITY, f64::INFINITY);
    let origin = loss_nonnegative.then_some((0.0, 0.0));
    if loss_nonnegative {
        lower = 0.0;
    }
    for p in points {
        let terms = p.upper.abs() + p.norm * (beta.abs() + p.beta.abs());
        let line = p.upper + p.norm * (beta - p.beta) + MARGIN * terms;
        if p.norm >= 0.0 && line < upper {
            upper = line;
        }
        if p.beta <= beta {
            lower = lower.max(p.lower); // non-decreasing
            continue;
        }
        let left = points.iter().filter(|q| q.beta <= beta).map(|q| (q.beta, q.lower));
        for (start, value) in left.chain(origin) {
            let t = (beta - start) / (p.beta - start);
            let chord = (1.0 - t) * value + t * p.lower;
            lower = lower.max(chord - MARGIN * (value.abs() + p.lower.abs()));
        }
    }
    (lower, upper)
}
