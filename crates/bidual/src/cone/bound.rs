//! The rigorous bound ρ*(c + Aᵀλ) on the support function of a cone.

use super::factor::{dot, norm};
use super::nnls::sign;
use super::support::{Gauge, Rows};

/// The power of two below max|c_j|, 1 for c = 0.
pub(super) fn power_of_two(c: &[f64]) -> f64 {
    let top = c.iter().fold(0.0_f64, |t, v| t.max(v.abs()));
    if top == 0.0 {
        return 1.0;
    }
    f64::from_bits(top.max(f64::MIN_POSITIVE).to_bits() & (0x7ff << 52))
}

/// The change of one multiplier that cancels g_b = (c + Aᵀλ)_b at the least cost in
/// ‖g_w‖ + R|g_b|: position and new value, if any change lowers the bound.
pub(super) fn repair(
    rows: &Rows<'_>,
    bits: &[u64],
    c: &[f64],
    radius: f64,
    index: &[u32],
    lambda: &[f64],
    g: &mut Vec<f64>,
) -> Option<(usize, f64)> {
    let inner = rows.d - 1;
    g.clear();
    g.extend_from_slice(c);
    for (&k, &l) in index.iter().zip(lambda) {
        let t = l * sign(bits, k as usize);
        for (g, x) in g.iter_mut().zip(rows.row(k as usize)) {
            *g += t * x;
        }
    }
    let length = norm(&g[..inner]);
    let mut best = length + radius * g[inner].abs();
    let mut found = None;
    if radius * g[inner].abs() <= 1e-14 * length {
        return None;
    }
    for (i, (&k, &l)) in index.iter().zip(lambda).enumerate() {
        let (s, x) = (sign(bits, k as usize), rows.row(k as usize));
        let value = (l - g[inner] / (s * x[inner])).max(0.0);
        let t = s * (value - l);
        let across = dot(&g[..inner], &x[..inner]);
        let square = length * length + t * (2.0 * across + t * dot(&x[..inner], &x[..inner]));
        let total = square.max(0.0).sqrt() + radius * (g[inner] + t * x[inner]).abs();
        if total < best {
            (best, found) = (total, Some((i, value)));
        }
    }
    found
}

/// ρ*(c + Aᵀλ) rounded up: a rigorous bound h(c) ≤ ρ* for any multipliers.
///
/// `lambda[i]` belongs to row `index[i]`; negative or NaN values count as 0 and rows ≥ n are left
/// out, which only changes which valid bound is returned. The rounding term is
/// (m + d/2 + 8)·2⁻⁵³·ρ*(|c| + |A|ᵀλ) for m multipliers: m + 1 roundings of each sum, d/2 + 2 of the
/// norm and three of the total (derived here). +∞ if the value is not finite. No allocation.
pub fn bound_with(
    rows: &Rows<'_>,
    bits: &[u64],
    c: &[f64],
    gauge: &Gauge,
    index: &[u32],
    lambda: &[f64],
) -> f64 {
    let mut size = Residual::new(rows, bits, c, gauge, index, lambda, 1.0);
    // Squares near the ends of the range: once more in units of the largest coordinate.
    if size.top > 0.0 && !(1e-100..1e100).contains(&size.magnitude) {
        let unit = power_of_two(&[size.top]);
        size = Residual::new(rows, bits, c, gauge, index, lambda, unit);
    }
    let radius = gauge.radius();
    let slack = (index.len() as f64 + 0.5 * rows.d as f64 + 8.0) * (0.5 * f64::EPSILON);
    let (mut total, mut magnitude) = (size.norm, size.magnitude);
    if gauge.penalised(rows.d) < rows.d {
        total += radius * size.last.abs();
        magnitude += radius * size.last_magnitude;
    }
    if magnitude > 0.0 {
        // The last term covers roundings among the subnormal numbers.
        total += slack * magnitude + f64::MIN_POSITIVE;
    }
    if total.is_finite() { total } else { f64::INFINITY }
}

/// Sizes of g = c + Aᵀλ and of |c| + |A|ᵀλ: norms of the penalised coordinates, and the last one.
struct Residual {
    norm: f64,
    magnitude: f64,
    last: f64,
    last_magnitude: f64,
    /// Largest penalised coordinate of |c| + |A|ᵀλ.
    top: f64,
}

impl Residual {
    /// Squares are taken in units of `unit`, a power of two.
    fn new(
        rows: &Rows<'_>,
        bits: &[u64],
        c: &[f64],
        gauge: &Gauge,
        index: &[u32],
        lambda: &[f64],
        unit: f64,
    ) -> Self {
        // Coordinates go through in blocks that stay in registers and on the stack.
        const BLOCK: usize = 32;
        let penalised = gauge.penalised(rows.d);
        let (mut square, mut magnitude_square, mut top) = (0.0, 0.0, 0.0_f64);
        let (mut last, mut last_magnitude) = (0.0, 0.0);
        for (block, c) in c.chunks(BLOCK).enumerate() {
            let from = block * BLOCK;
            let (mut g, mut a) = ([0.0; BLOCK], [0.0; BLOCK]);
            for (j, c) in c.iter().enumerate() {
                (g[j], a[j]) = (*c, c.abs());
            }
            for (&k, &l) in index.iter().zip(lambda) {
                let k = k as usize;
                // `max` turns a NaN into 0.
                let l = l.max(0.0);
                if k >= rows.n || l == 0.0 {
                    continue;
                }
                let (t, x) = (l * sign(bits, k), &rows.row(k)[from..from + c.len()]);
                for (j, x) in x.iter().enumerate() {
                    let term = t * x;
                    g[j] += term;
                    a[j] += term.abs();
                }
            }
            for j in 0..c.len() {
                if from + j < penalised {
                    let (x, y) = (g[j] / unit, a[j] / unit);
                    square += x * x;
                    magnitude_square += y * y;
                    top = top.max(a[j]);
                } else {
                    (last, last_magnitude) = (g[j], a[j]);
                }
            }
        }
        Self {
            norm: square.sqrt() * unit,
            magnitude: magnitude_square.sqrt() * unit,
            last,
            last_magnitude,
            top,
        }
    }
}
