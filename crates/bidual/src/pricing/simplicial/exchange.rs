//! Line search between two tangent cuts.

use super::cone::Cone;
use super::nnls::{self, Projection, dot};

/// Projections in one exchange at most.
const TRIALS: usize = 12;

/// Moves weight from cut `worst` to cut `best` so that the bound falls most; `drop` is the initial
/// rate for `½‖Π(c)‖²`, a convex function of the step with derivative `Δcᵀt`. Newton steps on the
/// piece at hand (support fixed); when they leave the bracket, the point where the tangents of its
/// ends meet: thin cones make the function all but piecewise linear.
#[inline(always)]
pub(super) fn shift<const P: usize>(
    cone: &mut Cone<P>,
    at: &mut Projection<P>,
    best: usize,
    worst: usize,
    drop: f64,
) {
    let mut change = [0.0; P];
    for k in 0..P {
        change[k] = cone.cuts.value[worst][k] - cone.cuts.value[best][k];
    }
    let (full, other) = (cone.cuts.weight[worst], cone.cuts.weight[best]);
    let start = *at;
    let newton = |p: &Projection<P>, x: f64, slope: f64| {
        let curvature = dot(&change, &p.factor.solve(&change));
        if curvature > 0.0 { x - slope / curvature } else { f64::INFINITY }
    };
    // ends of the bracket: position, slope, value
    let mut low = (0.0, -drop, 0.5 * start.norm * start.norm);
    let mut high = (full, f64::INFINITY, 0.0);
    let mut step = newton(at, 0.0, -drop);
    if step.is_nan() || step > full {
        step = full;
    }
    let mut kept = (0.0, start);
    for round in 0..TRIALS {
        cone.cuts.weight[best] = other + step;
        cone.cuts.weight[worst] = if step == full { 0.0 } else { full - step };
        *at = nnls::project(&cone.distance, &cone.majorant(), at.factor.support);
        let slope = dot(&change, &at.t);
        let value = 0.5 * at.norm * at.norm;
        if at.norm < kept.1.norm {
            kept = (step, *at);
        }
        if slope.abs() <= 0.1 * drop || (slope <= 0.0 && step == full) || round + 1 == TRIALS {
            break;
        }
        if slope < 0.0 {
            low = (step, slope, value);
        } else {
            high = (step, slope, value);
        }
        let inside = |x: f64| x > low.0 && x < high.0;
        let mut next = newton(at, step, slope);
        if !inside(next) && high.1.is_finite() {
            next = (high.2 - low.2 + low.1 * low.0 - high.1 * high.0) / (low.1 - high.1);
        }
        step = if inside(next) {
            next
        } else if high.1.is_finite() {
            0.5 * (low.0 + high.0)
        } else {
            full
        };
    }
    if at.norm > kept.1.norm {
        *at = kept.1;
        cone.cuts.weight[best] = other + kept.0;
        cone.cuts.weight[worst] = if kept.0 == full { 0.0 } else { full - kept.0 };
    }
}
