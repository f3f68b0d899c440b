//! Projection on a cone and exact feasibility.

use super::bound::power_of_two;
use super::factor::norm;
use super::nnls::sign;
use super::support::{CANCELLED, Rows, Workspace, weighted};

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
        ws.nnls.solve(&problem, &ws.scaled, &[], 1e-12, |_, _| false);
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
            let value = sign(bits, k) * rows.row(k).iter().zip(u).fold(0.0, |t, (x, u)| t + x * u);
            value >= 0.0 || except.contains(&(k as u32))
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
