//! Weights of the tangent cuts that make the bound small.

use super::cone::{CUTS, Cone};
use super::nnls::{self, Projection, dot};

/// Projections in one exchange at most.
const TRIALS: usize = 12;

/// Ridge, relative to the largest pivot, on cuts that all but coincide on the support.
const RIDGE: f64 = 1e-12;

/// A change of the weights (sum zero) and how far it can be followed.
struct Direction<const P: usize> {
    weight: [f64; CUTS],
    /// What it does to the majorant.
    change: [f64; P],
    full: f64,
}

impl<const P: usize> Direction<P> {
    #[inline(always)]
    fn new(cone: &Cone<P>, weight: [f64; CUTS]) -> Self {
        let (mut change, mut full) = ([0.0; P], f64::INFINITY);
        for j in 0..cone.cuts.len.min(CUTS) {
            if weight[j] < 0.0 {
                let end = cone.cuts.weight[j] / -weight[j];
                full = if end < full { end } else { full };
            }
            for k in 0..P {
                change[k] -= weight[j] * cone.cuts.value[j][k];
            }
        }
        Self { weight, change, full }
    }

    /// From cut `worst` to cut `best`.
    #[inline(always)]
    fn pair(cone: &Cone<P>, best: usize, worst: usize) -> Self {
        let mut weight = [0.0; CUTS];
        weight[best] = 1.0;
        weight[worst] = -1.0;
        Self::new(cone, weight)
    }

    /// Newton's: to the minimum over all weights in use (and that of `best`) on the piece of the
    /// projection, where all these cuts have the same value.
    #[inline(always)]
    fn newton(cone: &Cone<P>, at: &Projection<P>, best: usize, worst: usize) -> Self {
        let cuts = &cone.cuts;
        let (mut list, mut count) = ([0; CUTS], 0);
        for j in 0..cuts.len.min(CUTS) {
            if j != worst && (cuts.weight[j] > 0.0 || j == best) {
                list[count] = j;
                count += 1;
            }
        }
        let mut difference = [[0.0; P]; CUTS];
        let mut lower = [[0.0; CUTS]; CUTS];
        let mut inverse = [0.0; CUTS];
        let mut x = [0.0; CUTS];
        let mut top = 0.0;
        for i in 0..count {
            for k in 0..P {
                difference[i][k] = cuts.value[list[i]][k] - cuts.value[worst][k];
            }
            let image = at.factor.solve(&difference[i]);
            // row i of the factor L D Lᵀ of the matrix of the cuts, and of L⁻¹ times the right side
            let mut pivot = dot(&difference[i], &image);
            let mut right = dot(&difference[i], &at.t);
            top = if pivot > top { pivot } else { top };
            let mut scaled = [0.0; CUTS];
            for m in 0..i {
                let mut s = dot(&difference[m], &image);
                for q in 0..m {
                    s -= scaled[q] * lower[m][q];
                }
                scaled[m] = s;
                lower[i][m] = s * inverse[m];
                pivot -= s * lower[i][m];
                right -= lower[i][m] * x[m];
            }
            let floor = RIDGE * top;
            inverse[i] = 1.0 / if pivot > floor { pivot } else { floor };
            x[i] = right;
        }
        let mut weight = [0.0; CUTS];
        for i in (0..count).rev() {
            let mut s = x[i] * inverse[i];
            for m in i + 1..count {
                s -= lower[m][i] * x[m];
            }
            x[i] = s;
            weight[list[i]] = s;
            weight[worst] -= s;
        }
        Self::new(cone, weight)
    }
}

/// Moves weight between the cuts so that the bound falls: along Newton's direction, or from cut
/// `worst` to cut `best` where that leads nowhere or if `pairs` asks for it. True if a weight came
/// to its end. A projection no longer than `enough` needs no better weights.
#[inline(always)]
pub(super) fn shift<const P: usize>(
    cone: &mut Cone<P>,
    at: &mut Projection<P>,
    best: usize,
    worst: usize,
    pairs: bool,
    enough: f64,
) -> bool {
    let mut way = Direction::newton(cone, at, best, worst);
    let mut drop = -dot(&way.change, &at.t);
    let mut step = 1.0;
    if pairs || !(way.full > 0.0 && drop > 0.0 && drop.is_finite()) {
        way = Direction::pair(cone, best, worst);
        drop = -dot(&way.change, &at.t);
        step = newton(at, &way.change, 0.0, -drop);
    }
    let full = way.full;
    if step.is_nan() || step > full {
        step = full;
    }
    let old = cone.cuts.weight;
    let start = *at;
    // ends of the bracket: position, slope, value
    let mut low = (0.0, -drop, 0.5 * start.norm * start.norm);
    let mut high = (full, f64::INFINITY, 0.0);
    let mut kept = (0.0, start);
    for round in 0..TRIALS {
        put(cone, &old, &way.weight, step);
        *at = nnls::project(&cone.distance, &cone.majorant(), at.factor);
        let slope = dot(&way.change, &at.t);
        let value = 0.5 * at.norm * at.norm;
        if at.norm < kept.1.norm {
            kept = (step, *at);
        }
        let flat = slope.abs() <= 0.1 * drop || (slope <= 0.0 && step == full);
        if flat || at.norm <= enough || round + 1 == TRIALS {
            break;
        }
        if slope < 0.0 {
            low = (step, slope, value);
        } else {
            high = (step, slope, value);
        }
        let inside = |x: f64| x > low.0 && x < high.0;
        let mut next = newton(at, &way.change, step, slope);
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
        put(cone, &old, &way.weight, kept.0);
        step = kept.0;
    }
    step == full
}

/// Weights `old + step·way`, those that come to their end exactly zero.
#[inline(always)]
fn put<const P: usize>(cone: &mut Cone<P>, old: &[f64; CUTS], way: &[f64; CUTS], step: f64) {
    for j in 0..CUTS {
        let w = old[j] + step * way[j];
        cone.cuts.weight[j] = if w > 1e-15 { w } else { 0.0 };
    }
}

/// Newton's step from `x`, where the derivative is `slope`, on the piece of the projection.
#[inline(always)]
fn newton<const P: usize>(at: &Projection<P>, change: &[f64; P], x: f64, slope: f64) -> f64 {
    let curvature = dot(change, &at.factor.solve(change));
    if curvature > 0.0 { x - slope / curvature } else { f64::INFINITY }
}
