//! The optimal set of a certified network: every network with the same outputs and the same cost.
//!
//! With a smooth loss the dual vector ν is unique, and the neurons of *all* optimal networks point
//! in the optimal directions, the maximisers of |νᵀφ(Xu)| over ρ(u) ≤ 1 (Mishkin and Pilanci 2023,
//! "Optimal sets and solution paths of ReLU networks"). Let Φ = [s_k φ(Xu_k)] be their outputs with
//! the sign s_k of the output weight, Z the columns of free parameters (ones for an output bias) and
//! f* the optimal outputs, unique for a strictly convex loss. The optimal networks are
//!
//! ```text
//! { c ≥ 0 : Φc + Zc₀ = f* for some c₀ },   c_k = ρ(w_k)|a_k|,   Σc = N(f*),
//! ```
//!
//! a polytope: νᵀΦ = β1ᵀ and Zᵀν = 0 make the sum the same everywhere. [`prune`] walks to one of
//! its vertices, [`OptimalSet::ranges`] bounds each size over it, and the other methods choose
//! within it. Nothing here depends on how the dictionary Φ was found; with the neurons of one
//! network it is the part of the optimal set on those neurons.

mod choose;
mod columns;
mod concave;
mod directions;
mod least_squares;
mod merge;
mod program;
mod prune;
mod ranges;
mod set;

pub use choose::{Chosen, NarrowNetwork};
pub use concave::{PathValue, path_bounds};
pub use directions::{Directions, PRICE_TOLERANCE, cell_directions, fit_sizes, optimal_directions};
pub(crate) use least_squares::bounded_least_squares;
pub use merge::{KINK, merge_cells};
pub use prune::{DEPENDENT, prune, prune_network};
pub use ranges::Range;
pub use set::{OptimalSet, SetOptions, feature_rank};

use crate::linalg::{Mat, axpy, column, column_mut, norm};
use crate::network::{Bias, Network};
use crate::{Error, Result};

/// ρ(w, b): what weight decay sees of the hidden weights of one neuron.
pub(crate) fn gauge(w: &[f64], b: f64, bias: Bias) -> f64 {
    if bias == Bias::Penalised { norm(w).hypot(b) } else { norm(w) }
}

/// Columns sign(a_j)·φ(Xu_j) of the unit-gauge neurons u_j = (w_j, b_j)/ρ(w_j, b_j) (n×m, `x` n×d
/// scaled features), and their sizes c_j = ρ(w_j, b_j)|a_j|: the network is Φc plus its output
/// bias. A neuron with ρ = 0 has column and size 0. Gated networks use their gates.
pub fn unit_features(network: &Network, x: &Mat, bias: Bias) -> (Mat, Vec<f64>) {
    let (n, m) = (x.nrows(), network.neurons());
    let mut phi = Mat::zeros(n, m);
    let mut sizes = vec![0.0; m];
    for j in 0..m {
        let (w, b, a) = (column(&network.weights, j), network.biases[j], network.outputs[j]);
        let rho = gauge(w, b, bias);
        sizes[j] = rho * a.abs();
        if !(rho > 0.0 && a != 0.0) {
            sizes[j] = 0.0;
            continue;
        }
        let out = column_mut(&mut phi, j);
        out.fill(b);
        w.iter().enumerate().for_each(|(i, &w)| axpy(w, column(x, i), out));
        let factor = a.signum() / rho;
        match &network.gates {
            None => out.iter_mut().for_each(|v| *v = v.max(0.0) * factor),
            Some(gates) => {
                let mut gate = vec![0.0; n];
                let g = column(&gates.directions, j);
                g.iter().enumerate().for_each(|(i, &g)| axpy(g, column(x, i), &mut gate));
                for (v, g) in out.iter_mut().zip(&gate) {
                    *v = if *g >= gates.thresholds[j] { *v * factor } else { 0.0 };
                }
            }
        }
    }
    (phi, sizes)
}

/// The network whose neuron j has size `sizes[j]` in the direction that it has in `network`, and is
/// balanced (ρ(w_j) = |a_j|); neurons of size 0, of zero gauge or without output are left out.
pub fn with_sizes(network: &Network, sizes: &[f64], bias: Bias) -> Network {
    let scale: Vec<(usize, f64, f64)> = (0..network.neurons().min(sizes.len()))
        .filter_map(|j| {
            let rho = gauge(column(&network.weights, j), network.biases[j], bias);
            let a = network.outputs[j];
            let live = sizes[j] > 0.0 && rho > 0.0 && a != 0.0;
            live.then(|| (j, sizes[j].sqrt() / rho, sizes[j].sqrt() * a.signum()))
        })
        .collect();
    let d = network.inputs();
    Network {
        weights: Mat::from_fn(d, scale.len(), |i, k| network.weights[(i, scale[k].0)] * scale[k].1),
        biases: scale.iter().map(|&(j, s, _)| network.biases[j] * s).collect(),
        outputs: scale.iter().map(|&(_, _, a)| a).collect(),
        output_bias: network.output_bias,
        gates: network.gates.as_ref().map(|gates| crate::Gates {
            directions: Mat::from_fn(d, scale.len(), |i, k| gates.directions[(i, scale[k].0)]),
            thresholds: scale.iter().map(|&(j, _, _)| gates.thresholds[j]).collect(),
        }),
    }
}

/// Estimate of β from an (almost) stationary network: ⟨ν, Φc⟩ / Σc, by Euler's identity for the
/// homogeneous units (derived here). `phi` (n×k) and `c` as in [`unit_features`]; `None` for a
/// network without neurons.
pub fn beta_estimate(nu: &[f64], phi: &Mat, c: &[f64]) -> Option<f64> {
    let total: f64 = c.iter().sum();
    let paid: f64 =
        c.iter().enumerate().map(|(k, c)| c * crate::linalg::dot(column(phi, k), nu)).sum();
    (total > 0.0).then(|| paid / total)
}

fn check_features(network: &Network, x: &Mat) -> Result<()> {
    if network.inputs() == x.ncols() {
        return Ok(());
    }
    Err(Error::Data(format!(
        "the network takes {} features but the data have {}",
        network.inputs(),
        x.ncols()
    )))
}

/// Shapes of (Φ, Z, c), finite entries, c ≥ 0.
fn check_shapes(phi: &Mat, z: &Mat, c: &[f64]) -> Result<()> {
    if phi.nrows() != z.nrows() || phi.ncols() != c.len() {
        return Err(Error::Data(format!(
            "Φ is {}×{}, Z is {}×{} and there are {} sizes: Φ and Z need one row per sample, and Φ one column per size",
            phi.nrows(),
            phi.ncols(),
            z.nrows(),
            z.ncols(),
            c.len()
        )));
    }
    if let Some(k) = c.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
        return Err(Error::Data(format!("size {k} is {}: sizes are finite and ≥ 0", c[k])));
    }
    let finite = |m: &Mat| (0..m.ncols()).all(|j| column(m, j).iter().all(|v| v.is_finite()));
    if !finite(phi) || !finite(z) {
        return Err(Error::Data("Φ and Z must be finite".into()));
    }
    Ok(())
}
