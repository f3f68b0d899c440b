//! Support function of a cone of fixed signs, the pricing problem of one cell.
//!
//! For K = {u ∈ R^d : s_k x_kᵀu ≥ 0, k = 1..n} and A = diag(s) X,
//!
//! h(c) = max{cᵀu : u ∈ K, ρ(u) ≤ 1} = min_{λ≥0} ρ*(c + Aᵀλ),
//!
//! where ρ is the gauge of the columns and ρ* the support function of its ball. Every λ ≥ 0 gives a
//! valid upper bound (weak duality), so no result here relies on convergence: the bound is
//! evaluated at the multipliers found, clipped at zero, with its own rounding error added.

use super::bound::{bound_with, power_of_two, repair};
use super::factor::{dot, norm};
use super::nnls::{End, Lengths, Nnls, Problem, Start};

/// The data X (n×d) in both orders.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Number of rows.
    pub n: usize,
    /// Number of columns.
    pub d: usize,
    /// Column-major: column j is `columns[j*n..(j+1)*n]`.
    pub columns: &'a [f64],
    /// Row-major: row k is `rows[k*d..(k+1)*d]`.
    pub rows: &'a [f64],
    /// Lengths of the rows, where they are known.
    pub(crate) lengths: Option<&'a Lengths>,
}

impl<'a> Rows<'a> {
    /// Both orders of one n×d matrix; `None` if a slice does not hold n·d numbers or n ≥ 2³².
    pub fn new(n: usize, d: usize, columns: &'a [f64], rows: &'a [f64]) -> Option<Self> {
        let size = n.checked_mul(d)?;
        let fits = columns.len() == size && rows.len() == size && u32::try_from(n).is_ok();
        fits.then_some(Self { n, d, columns, rows, lengths: None })
    }

    /// Row k.
    pub(super) fn row(&self, k: usize) -> &'a [f64] {
        &self.rows[k * self.d..(k + 1) * self.d]
    }
}

/// The gauge ρ whose unit ball bounds u.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gauge {
    /// ρ(u) = ‖u‖₂, ρ*(g) = ‖g‖₂.
    Norm,
    /// The last coordinate b of u = (w, b) is a free bias: the ball is {‖w‖₂ ≤ 1, |b| ≤ radius} and
    /// ρ*(g) = ‖g_w‖₂ + radius·|g_b|. The radius must be finite and ≥ 0 (otherwise bounds are +∞).
    FreeBias {
        /// Bound on |b|.
        radius: f64,
    },
}

impl Gauge {
    /// Number of leading coordinates that carry the norm, out of d.
    pub fn penalised(&self, d: usize) -> usize {
        match self {
            Self::Norm => d,
            Self::FreeBias { .. } => d.saturating_sub(1),
        }
    }

    pub(super) fn radius(&self) -> f64 {
        match self {
            Self::Norm => 0.0,
            Self::FreeBias { radius } if *radius >= 0.0 => *radius,
            Self::FreeBias { .. } => f64::INFINITY,
        }
    }
}

/// Why [`support`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `upper ≤ target`.
    Target,
    /// Optimal up to rounding; `upper − lower` says how far that goes on ill-conditioned cones.
    Optimal,
    /// Iteration limit or non-finite data; `upper` is valid, perhaps not tight.
    Limit,
}

/// Bounds on h(c).
#[derive(Clone, Copy, Debug)]
pub struct Support {
    /// Rigorous: h(c) ≤ `upper` for the given f64 data. Rounding inside c is not covered.
    pub upper: f64,
    /// cᵀu at the maximiser u found, 0 ≤ `lower` ≤ `upper`; feasible up to rounding only (see
    /// `make_feasible`). Zero, the value at u = 0, if none was found.
    pub lower: f64,
    /// Active-set iterations.
    pub iterations: usize,
    /// Why the method stopped.
    pub stop: Stop,
}

/// Buffers of all functions of this module, and the multipliers and maximiser of the last
/// [`support`]. One workspace serves problems of any shape; it allocates only while growing.
#[derive(Default)]
pub struct Workspace {
    pub(super) nnls: Nnls,
    pub(super) scaled: Vec<f64>,
    trial: Vec<f64>,
    begin: Vec<u32>,
    g: Vec<f64>,
    active: Vec<u32>,
    multipliers: Vec<f64>,
    direction: Vec<f64>,
    pub(super) unit_columns: Vec<f64>,
    pub(super) unit_rows: Vec<f64>,
    pub(super) unit_index: Vec<u32>,
}

impl Workspace {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows with the multipliers that prove the last `upper`; the next warm start.
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// λ ≥ 0 of the rows in [`Workspace::active`].
    pub fn multipliers(&self) -> &[f64] {
        &self.multipliers
    }

    /// The maximiser u (ρ(u) ≤ 1) of the last `lower`; zero if there is none.
    pub fn direction(&self) -> &[f64] {
        &self.direction
    }
}

/// What remains of c below this fraction of it is rounding, not a direction.
pub(super) const CANCELLED: f64 = 1e-14;

/// Relative gap at which the search over the weight of a free bias ends.
const GAP: f64 = 1e-9;

/// h(c) = max{cᵀu : u ∈ K, ρ(u) ≤ 1}, bounded above rigorously and below up to rounding.
///
/// K = {u : s_k x_kᵀu ≥ 0} with s_k = +1 where bit k of `bits` is set and −1 elsewhere; zero rows
/// impose nothing. `c` has length d. The method is Lawson and Hanson's active-set NNLS on
/// min_{λ≥0} ‖c + Aᵀλ‖, started from the rows `start`; it stops as soon as `upper ≤ target`.
///
/// With a free bias (‖g_w‖ + R|g_b|)² = min_{0<θ<1} ‖g_w‖²/θ + R²g_b²/(1−θ), jointly convex in
/// (g, θ): for fixed θ an NNLS whose last coordinate is weighted by M = R√(θ/(1−θ)), and over M a
/// monotone equation, |u_b| = R‖u_w‖ (derived here). M starts so large that g_b ≈ 0, which is
/// already optimal unless the bound on |b| is active. The gap left is 10⁻⁹ relative; where only |b|
/// ≤ R binds (g_w → 0) the direction carries rounding up to some 10⁻⁸.
pub fn support(
    rows: &Rows<'_>,
    bits: &[u64],
    c: &[f64],
    gauge: &Gauge,
    target: f64,
    start: &[u32],
    ws: &mut Workspace,
) -> Support {
    ws.active.clear();
    ws.multipliers.clear();
    ws.direction.clear();
    ws.direction.resize(rows.d, 0.0);
    let mut result = Support {
        upper: bound_with(rows, bits, c, gauge, &[], &[]),
        lower: 0.0,
        iterations: 0,
        stop: Stop::Limit,
    };
    if result.upper <= target {
        result.stop = Stop::Target;
    } else if result.upper == 0.0 {
        result.stop = Stop::Optimal;
    } else if result.upper.is_finite() {
        match *gauge {
            Gauge::Norm => {
                let problem = weighted(rows, bits, 1.0);
                attempt(&problem, rows, bits, c, gauge, target, start, ws, &mut result);
            }
            Gauge::FreeBias { radius } => {
                free_bias(rows, bits, c, radius, target, start, ws, &mut result);
            }
        }
        result.lower = result.lower.min(result.upper);
    }
    result
}

pub(super) fn weighted<'a>(rows: &Rows<'a>, bits: &'a [u64], last: f64) -> Problem<'a> {
    Problem {
        n: rows.n,
        d: rows.d,
        columns: rows.columns,
        rows: rows.rows,
        bits: Some(bits),
        last,
        lengths: rows.lengths.filter(|_| last == 1.0),
    }
}

/// Searches the weight M of the bias coordinate; each step is one warm-started NNLS.
fn free_bias(
    rows: &Rows<'_>,
    bits: &[u64],
    c: &[f64],
    radius: f64,
    target: f64,
    start: &[u32],
    ws: &mut Workspace,
    result: &mut Support,
) {
    let gauge = Gauge::FreeBias { radius };
    let Some(inner) = rows.d.checked_sub(1) else {
        return;
    };
    // |b| never needs to exceed the longest row where both signs occur: no reason to weigh by more.
    let reach = (0..rows.n).fold(0.0_f64, |t, k| t.max(norm(&rows.row(k)[..inner])));
    let natural = if reach > 0.0 { reach.min(radius) } else { radius };
    let mut m = 1e4 * natural;
    let (mut low, mut high) = (None, None);
    let mut begin = std::mem::take(&mut ws.begin);
    begin.clear();
    begin.extend_from_slice(start);
    // h is at most ρ*(c); what is 10⁻¹³ of that is zero.
    let (size, mut stride) = (result.upper, 1.0);
    for trip in 0..80 {
        let problem = weighted(rows, bits, m);
        let excess = attempt(&problem, rows, bits, c, &gauge, target, &begin, ws, result);
        let closed = result.upper - result.lower <= GAP * result.upper + 1e-13 * size;
        if result.stop == Stop::Target || closed || radius == 0.0 {
            break;
        }
        if excess > 0.0 {
            high = Some((m.ln(), excess));
        } else {
            low = Some((m.ln(), excess));
        }
        let next = match (low, high) {
            (Some((a, fa)), Some((b, fb))) => {
                if b - a < 1e-10 {
                    break;
                }
                // Secant kept away from the ends; every third step halves the bracket.
                let t: f64 = -fa / (fb - fa);
                let secant = trip % 3 != 2 && t.is_finite();
                a + (b - a) * if secant { t.clamp(0.01, 0.99) } else { 0.5 }
            }
            (None, Some((b, _))) => b - stride,
            (Some((a, _)), None) => a + stride,
            (None, None) => break,
        };
        stride *= 2.0;
        m = next.exp();
        let sensible = m > 1e-12 * natural && m < 1e12 * natural;
        if !sensible {
            break;
        }
        begin.clone_from(&ws.nnls.passive);
    }
    ws.begin = begin;
}

/// One NNLS: improves the bounds in `result` and what `ws` exposes. Returns
/// log(M²|g_b| / (R‖g_w‖)) for a free bias, 0 otherwise.
fn attempt(
    problem: &Problem<'_>,
    rows: &Rows<'_>,
    bits: &[u64],
    c: &[f64],
    gauge: &Gauge,
    target: f64,
    start: &[u32],
    ws: &mut Workspace,
    result: &mut Support,
) -> f64 {
    let scale = power_of_two(c);
    ws.scaled.clear();
    ws.scaled.extend(c.iter().map(|v| v / scale));
    if let Some(v) = ws.scaled.last_mut() {
        *v *= problem.last;
    }
    // Violations are relative to ‖u‖ in units of ‖x_k‖; a large weight M shrinks them.
    let shrink = match gauge {
        Gauge::Norm => 1.0,
        Gauge::FreeBias { radius } => (radius / problem.last).min(1.0),
    };
    let tol = (1e-12 * shrink).max(1e-15);
    let (nnls, trial, g) = (&mut ws.nnls, &mut ws.trial, &mut ws.g);
    let (active, multipliers) = (&mut ws.active, &mut ws.multipliers);
    let upper = &mut result.upper;
    let end = nnls.solve(problem, &ws.scaled, Start::Rows(start), tol, |index, lambda| {
        trial.clear();
        trial.extend(lambda.iter().map(|l| l.max(0.0) * scale));
        let mut bound = bound_with(rows, bits, c, gauge, index, trial);
        if let Gauge::FreeBias { radius } = *gauge
            && let Some((i, value)) = repair(rows, bits, c, radius, index, trial, g)
        {
            let before = std::mem::replace(&mut trial[i], value);
            let repaired = bound_with(rows, bits, c, gauge, index, trial);
            if repaired < bound {
                bound = repaired;
            } else {
                trial[i] = before;
            }
        }
        if bound < *upper {
            *upper = bound;
            active.clear();
            active.extend_from_slice(index);
            multipliers.clone_from(trial);
        }
        *upper <= target
    });
    result.iterations += nnls.iterations;
    result.stop = match end {
        End::Stopped => Stop::Target,
        End::Optimal => Stop::Optimal,
        End::Limit => Stop::Limit,
    };
    if end == End::Optimal {
        maximiser(problem, c, gauge, ws, result);
    }
    match *gauge {
        Gauge::Norm => 0.0,
        Gauge::FreeBias { radius } => {
            let (p, inner) = (&ws.nnls.p, problem.d - 1);
            let (w, b) = (norm(&p[..inner]), problem.last * p[inner].abs());
            // Both zero: nothing is left to balance, any weight will do.
            (b / radius).max(f64::MIN_POSITIVE).ln() - w.max(f64::MIN_POSITIVE).ln()
        }
    }
}

/// The primal point of the last NNLS, scaled onto the ball; kept if it improves `lower`.
fn maximiser(
    problem: &Problem<'_>,
    c: &[f64],
    gauge: &Gauge,
    ws: &mut Workspace,
    result: &mut Support,
) {
    let p = &ws.nnls.p;
    if norm(p) <= CANCELLED * norm(&ws.scaled) {
        return;
    }
    let length = match *gauge {
        Gauge::Norm => norm(p),
        Gauge::FreeBias { radius } => {
            let (w, b) = p.split_at(problem.d - 1);
            let b = (problem.last * b[0]).abs();
            let tall = if radius > 0.0 { b / radius } else { 0.0 };
            norm(w).max(tall)
        }
    };
    ws.trial.clear();
    ws.trial.extend(p.iter().map(|v| v / length));
    if let Some(b) = ws.trial.last_mut() {
        *b *= problem.last;
    }
    let value = dot(c, &ws.trial);
    if value > result.lower {
        result.lower = value;
        ws.direction.clone_from(&ws.trial);
    }
}
