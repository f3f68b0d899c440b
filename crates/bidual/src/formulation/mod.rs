//! One short file a paper's system: builds a [`Program`] and reads a [`Network`] back.

mod gated_relu;
mod relu;

pub use gated_relu::GatedRelu;
pub use relu::Relu;

use crate::certificate::{Method, Scope};
use crate::data::Dataset;
use crate::linalg::Mat;
use crate::loss::Loss;
use crate::network::{Bias, Network};
use crate::solver::SparseColumns;
use crate::{Error, Program, Result, Scaling};

/// A system of the literature as a convex program.
///
/// Everything lives on scaled features; [`Network::fold`] goes back to raw ones.
pub trait Formulation: Send + Sync {
    /// Name, as stored in models.
    fn name(&self) -> &'static str;

    /// The convex program at λ.
    fn program(&self, lambda: f64) -> Program;

    /// The network of a feasible point, on scaled features, its output bias refitted.
    fn recover(&self, z: &SparseColumns) -> Network;

    /// The networks over which the program's lower bounds hold.
    fn scope(&self) -> Scope;

    /// How lower bounds of the program are proved.
    fn method(&self) -> Method;
}

/// The non-convex training objective of a network on raw features:
/// F(f(X)) + λ·½Σ_j(‖w_j‖² + a_j²), weights measured on scaled features.
///
/// `loss` has no intercept: the network carries its own output bias.
pub fn objective(
    network: &Network,
    data: &Dataset,
    scaling: &Scaling,
    loss: &dyn Loss,
    lambda: f64,
    bias: Bias,
) -> f64 {
    let decay = network.clone().unfold(scaling).weight_decay(bias);
    loss.value(&network.predict(&data.x)) + lambda * decay
}

/// Refuses features so large or so small that their squares overflow or underflow:
/// a norm that is ∞ or 0 by rounding would prove nothing.
fn check_range(x: &Mat) -> Result<()> {
    for j in 0..x.ncols() {
        for (i, v) in x.col_as_slice(j).iter().enumerate() {
            if !(*v == 0.0 || (1e-120..1e120).contains(&v.abs())) {
                return Err(Error::Data(format!(
                    "feature {j} of sample {i} is {v:e} (after scaling, where that is on), outside 1e-120 to 1e120: choose other units"
                )));
            }
        }
    }
    Ok(())
}

/// x with a column of ones appended: the features of a program with hidden bias.
pub fn with_ones(x: &Mat) -> Mat {
    let d = x.ncols();
    Mat::from_fn(x.nrows(), d + 1, |i, j| if j < d { x[(i, j)] } else { 1.0 })
}

/// Splits the neurons v = (u, b) of a program into a balanced network and refits its output bias.
fn recover(
    z: &SparseColumns,
    bias: Bias,
    negative: impl Fn(usize) -> bool,
    gates: Option<crate::network::Gates>,
    x: &Mat,
    loss: &dyn Loss,
) -> Network {
    let d = x.ncols();
    // a neuron without input weights is a constant: the refitted output bias takes it up
    let constant = |k: usize| bias == Bias::Free && (0..d).all(|i| z.values[(i, k)] == 0.0);
    let kept: Vec<usize> = (0..z.columns.len()).filter(|&k| !constant(k)).collect();
    let at = |i: usize, k: usize| z.values[(i, kept[k])];
    let m = kept.len();
    let mut network = Network {
        weights: Mat::from_fn(d, m, &at),
        biases: (0..m).map(|k| if bias == Bias::None { 0.0 } else { at(d, k) }).collect(),
        outputs: kept.iter().map(|&k| if negative(z.columns[k]) { -1.0 } else { 1.0 }).collect(),
        output_bias: 0.0,
        gates,
    };
    network.balance(bias);
    if let Some(profiled) = loss.as_intercept() {
        network.output_bias = profiled.intercept(&network.predict(x));
    }
    network
}
