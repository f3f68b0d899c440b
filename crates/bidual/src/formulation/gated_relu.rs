//! Gated ReLU: f(x) = Σ_i 1{g_iᵀx ≥ t_i} w_iᵀx with fixed gates.
//!
//! Mishkin, Sahiner & Pilanci 2022, "Fast convex optimization for two-layer ReLU networks":
//! min F(Σ_i D_i X w_i) + λ Σ_i ‖w_i‖₂, a group lasso. One column per gate (no ±, no
//! cone); a column w is the neuron (w/√‖w‖, a = √‖w‖), and the value equals
//! that of weight-decay training of the gated network: the gates are the model.

use super::{Formulation, check_range, recover, with_ones};
use crate::arrangement::Arrangement;
use crate::certificate::{Method, Scope};
use crate::linalg::Mat;
use crate::loss::Loss;
use crate::network::{Bias, Gates, Network};
use crate::operator::Gated;
use crate::regularizer::GroupL2;
use crate::solver::SparseColumns;
use crate::{Error, Program, Result};
use std::sync::Arc;

/// The gated program on scaled features.
pub struct GatedRelu {
    x: Arc<Mat>,
    operator: Arc<Gated>,
    loss: Arc<dyn Loss>,
    arrangement: Arrangement,
    bias: Bias,
}

impl GatedRelu {
    /// `x` is n×d without bias column. A free hidden bias is refused: with a
    /// free constant behind every gate the model fits any targets at no cost.
    pub fn new(
        x: Arc<Mat>,
        loss: Arc<dyn Loss>,
        arrangement: Arrangement,
        bias: Bias,
    ) -> Result<Self> {
        if bias == Bias::Free {
            return Err(Error::Option(
                "a gated network with free hidden biases is not regularised: use a penalised bias or none"
                    .into(),
            ));
        }
        check_range(&x)?;
        let features = if bias == Bias::None { x.clone() } else { Arc::new(with_ones(&x)) };
        let operator = Arc::new(Gated::unsigned(features, arrangement.patterns.clone()));
        Ok(Self { x, operator, loss, arrangement, bias })
    }
}

impl Formulation for GatedRelu {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn program(&self, lambda: f64) -> Program {
        Program {
            loss: self.loss.clone(),
            operator: self.operator.clone(),
            regularizer: Arc::new(GroupL2::new()),
            constraint: None,
            lambda,
        }
    }

    fn recover(&self, z: &SparseColumns) -> Network {
        // gates are unknown only when patterns were given as bits: then the
        // network exists on the training samples alone and has no gates to store
        let gates = self.arrangement.gates.as_ref().map(|g| Gates {
            directions: Mat::from_fn(self.x.ncols(), z.columns.len(), |i, k| {
                g.directions[(i, z.columns[k])]
            }),
            thresholds: z.columns.iter().map(|&c| g.thresholds[c]).collect(),
        });
        recover(z, self.bias, |_| false, gates, &self.x, self.loss.as_ref())
    }

    fn scope(&self) -> Scope {
        Scope::Gates(self.arrangement.len())
    }

    fn method(&self) -> Method {
        Method::AdjointNorm
    }
}
