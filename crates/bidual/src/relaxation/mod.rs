//! A lower bound over all networks from one semidefinite program, without cells and for any rank.
//!
//! A network is a measure of atoms u, ‖u‖ = 1, for each output sign. Keep of it the moments
//! M = [[τ, uᵀ], [u, U]] ⪰ 0 with tr U = τ, and for each row x_i with t_i = x_iᵀu, q_i = x_iᵀUx_i
//! and h_i = ‖x_i‖ a number a_i in place of |t_i|:
//!
//! ```text
//! a_i ≥ |t_i|,   h_i a_i ≥ q_i,   a_i² ≤ q_i τ,   (x_iᵀu)₊ is replaced by ½(t_i + a_i).
//! ```
//!
//! The minimum of F(½(t⁺+a⁺) − ½(t⁻+a⁻)) + λ(τ⁺ + τ⁻) over two such sets, one for each sign, is at
//! most the objective of any network: the level-1 moment relaxation of weight-decay training. It is
//! solved here by a barrier method, and its bound is evaluated anew from the multipliers: each
//! choice of them gives a quadratic function above the price of a neuron, whose maximum over the
//! sphere is bounded by a Cholesky factorisation (derived here; moment relaxations are due to
//! Lasserre 2001).

mod barrier;
mod bound;

use crate::linalg::Mat;
use crate::loss::{Loss, best_dual_value};
use crate::solver::require_smooth;
use crate::{Error, Result};
use barrier::Barrier;

/// Barrier stages at most: the parameter falls by a factor of 8 in each.
const STAGES: usize = 24;

/// A lower bound over all ReLU networks of any width.
#[derive(Debug, Clone)]
pub struct MomentBound {
    /// Proved: no network has an objective below.
    pub lower: f64,
    /// Objective of the relaxation at the last point, not below its minimum.
    pub relaxation: f64,
    /// The dual vector ν that proves `lower`.
    pub nu: Vec<f64>,
    /// Rigorous bound on κ(ν), the price of a neuron at ν.
    pub kappa: f64,
}

/// Solves the level-1 relaxation for bias-free neurons on the rows of `x` (n×d; a penalised bias is
/// a column of ones) to the relative accuracy `tolerance`. For smooth losses.
pub fn moment_bound(x: &Mat, loss: &dyn Loss, lambda: f64, tolerance: f64) -> Result<MomentBound> {
    require_smooth(loss, "moment relaxation")?;
    let n = x.nrows();
    if n != loss.samples() || x.ncols() == 0 {
        return Err(Error::Data(format!(
            "{n} rows of {} features for a loss on {} samples: the shapes must agree",
            x.ncols(),
            loss.samples()
        )));
    }
    if !(lambda > 0.0 && lambda.is_finite()) {
        return Err(Error::Option(format!("λ is {lambda}: it must be positive and finite")));
    }
    let zero = vec![0.0; n];
    let start = loss.value(&zero);
    let mut best =
        MomentBound { lower: loss.dual_value(&zero, 0.0), relaxation: start, nu: zero, kappa: 0.0 };
    let Some(mut barrier) = Barrier::new(x, loss, lambda) else {
        return Ok(best);
    };
    let mut mu = 0.3 * start / n as f64;
    for _ in 0..STAGES {
        if mu.is_nan() || mu <= 0.0 || !barrier.centre(mu) {
            break;
        }
        let nu = barrier.nu();
        let kappa = [1.0, -1.0].map(|s| bound::price(x, &nu, &barrier.multipliers(mu, s), s));
        let kappa = kappa[0].max(kappa[1]);
        if kappa.is_finite() && kappa > 0.0 {
            let lower = best_dual_value(loss, &nu, lambda / kappa * (1.0 - 1e-12)).0;
            if lower > best.lower {
                best = MomentBound { lower, nu, kappa, ..best };
            }
        }
        best.relaxation = barrier.objective();
        if best.relaxation - best.lower <= tolerance * best.relaxation.abs() {
            break;
        }
        mu *= 0.125;
    }
    Ok(best)
}
