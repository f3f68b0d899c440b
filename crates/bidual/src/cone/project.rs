//! Projection on a cone and exact feasibility.

use super::bound::power_of_two;
use super::factor::{axpy, dot, norm};
use super::nnls::{Nnls, Start, sign};
use super::support::{CANCELLED, Rows, Workspace, weighted};
use crate::linalg::Mat;

/// Euclidean projection of c on K, c + Aᵀλ at the minimiser λ ≥ 0 (Moreau); exactly zero if c lies
/// in the polar cone up to rounding, or is not finite. The constraints hold up to rounding, see
/// [`make_feasible`].
pub fn project(rows: &Rows<'_>, bits: &[u64], c: &[f64], ws: &mut Workspace) -> Vec<f64> {
    let scale = power_of_two(c);
    ws.scaled.clear();
    ws.scaled.extend(c.iter().map(|v| v / scale));
    let length = norm(&ws.scaled);
    if length.is_finite() && length > 0.0 {
        let problem = weighted(rows, bits, 1.0);
        ws.nnls.solve(&problem, &ws.scaled, Start::Rows(&[]), 1e-12, |_, _| false);
        if norm(&ws.nnls.p) > CANCELLED * length {
            return ws.nnls.p.iter().map(|v| v * scale).collect();
        }
    }
    vec![0.0; rows.d]
}

/// Moves u by t·witness, with the smallest t on the ladder 0, ε, 4ε, 16ε, … ≤ 1 (times
/// ‖u‖/‖witness‖, ε = 2⁻⁵²) that makes s_k x_kᵀu ≥ 0 for all k outside `except`, in f64 with the sum
/// taken in the order of the coordinates. Returns t, or `None` (u unchanged) if no step does.
///
/// `witness` lies in the relative interior of K and `except` lists the implicit equalities of a flat
/// K, on which no sign is guaranteed (both from `relative_interior`).
pub fn make_feasible(
    rows: &Rows<'_>,
    bits: &[u64],
    except: &[u32],
    u: &mut [f64],
    witness: &[f64],
) -> Option<f64> {
    let feasible = |u: &[f64]| {
        (0..rows.n).all(|k| {
            sign(bits, k) * in_order(rows.row(k), u) >= 0.0 || except.contains(&(k as u32))
        })
    };
    if feasible(u) {
        return Some(0.0);
    }
    let unit = norm(u) / norm(witness);
    if !unit.is_finite() {
        return None;
    }
    let mut moved = u.to_vec();
    for step in 0..27 {
        let t = unit * f64::EPSILON * 4.0_f64.powi(step);
        for ((m, u), w) in moved.iter_mut().zip(&*u).zip(witness) {
            *m = u + t * w;
        }
        if feasible(&moved) {
            u.copy_from_slice(&moved);
            return Some(t);
        }
    }
    None
}

/// xᵀu, summed in the order of the coordinates.
pub(super) fn in_order(x: &[f64], u: &[f64]) -> f64 {
    x.iter().zip(u).fold(0.0, |t, (x, u)| t + x * u)
}

/// Projections on one cone, each started from the tight rows of the one before.
#[derive(Default)]
pub(crate) struct Projection {
    nnls: Nnls,
    scaled: Vec<f64>,
    /// The projection; its tight rows are those with positive multipliers.
    pub point: Vec<f64>,
}

impl Projection {
    pub(super) fn project(&mut self, rows: &Rows<'_>, bits: &[u64], v: &[f64]) {
        let scale = power_of_two(v);
        self.scaled.clear();
        self.scaled.extend(v.iter().map(|v| v / scale));
        self.point.clear();
        self.point.resize(v.len(), 0.0);
        let length = norm(&self.scaled);
        if !(length.is_finite() && length > 0.0) {
            return;
        }
        let problem = weighted(rows, bits, 1.0);
        self.nnls.solve(&problem, &self.scaled, Start::Last, 1e-12, |_, _| false);
        if norm(&self.nnls.p) > CANCELLED * length {
            self.point.iter_mut().zip(&self.nnls.p).for_each(|(to, p)| *to = p * scale);
        }
    }

    /// Orthonormal basis (d×r) of the directions in which the tight rows stay tight.
    pub(crate) fn face(&self) -> Mat {
        let d = self.point.len();
        // Householder reflections that take the normals to the first unit vectors
        let mut reflections: Vec<Vec<f64>> = vec![];
        for normal in self.nnls.normals() {
            let mut v = normal.to_vec();
            reflections.iter().for_each(|h| reflect(h, &mut v));
            let t = reflections.len();
            v[..t].fill(0.0);
            v[t] += norm(&v).copysign(v[t]);
            let length = norm(&v);
            v.iter_mut().for_each(|v| *v /= length);
            reflections.push(v);
        }
        let t = reflections.len();
        let mut basis = Mat::zeros(d, d - t);
        for j in 0..d - t {
            let column = basis.col_as_slice_mut(j);
            column[t + j] = 1.0;
            reflections.iter().rev().for_each(|h| reflect(h, column));
        }
        basis
    }
}

/// v − 2(hᵀv)h.
fn reflect(h: &[f64], v: &mut [f64]) {
    axpy(-2.0 * dot(h, v), h, v);
}
