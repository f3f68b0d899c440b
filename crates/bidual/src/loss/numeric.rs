//! Sums, products and roots whose rounding is accounted for.

/// Unit roundoff of `f64`, 2⁻⁵³.
pub(super) const UNIT_ROUNDOFF: f64 = f64::EPSILON / 2.0;

/// Neumaier's compensated sum (Neumaier, 1974): error about one rounding of the result plus a
/// second-order term.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct CompensatedSum {
    sum: f64,
    compensation: f64,
}

impl CompensatedSum {
    #[inline]
    pub(super) fn add(&mut self, term: f64) {
        let total = self.sum + term;
        self.compensation += if self.sum.abs() >= term.abs() {
            (self.sum - total) + term
        } else {
            (term - total) + self.sum
        };
        self.sum = total;
    }

    pub(super) fn value(self) -> f64 {
        // An overflowed sum has a NaN compensation.
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }
}

pub(super) fn compensated_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut sum = CompensatedSum::default();
    for term in terms {
        sum.add(term);
    }
    sum.value()
}

/// Whether `a·b ≤ bound` in exact arithmetic, for `a, b ≥ 0`. False for a `NaN`.
pub(super) fn product_at_most(a: f64, b: f64, bound: f64) -> bool {
    let product = a * b;
    // Rounding is monotone, so only a product that rounds to the bound is undecided.
    product < bound || (product == bound && a.mul_add(b, -bound) <= 0.0)
}

/// Largest `f64` known to be at most `a·b`, for `a, b ≥ 0`.
pub(super) fn product_down(a: f64, b: f64) -> f64 {
    let product = a * b;
    if product.is_finite() && a.mul_add(b, -product) < 0.0 { product.next_down() } else { product }
}

/// `bound/size` rounded down, so that `t·size ≤ bound` in exact arithmetic; `size > 0`.
pub(super) fn quotient_down(bound: f64, size: f64) -> f64 {
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
pub(super) fn increasing_root(
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
