//! Exact two-layer ReLU: f(x) = Σ_j a_j (w_jᵀx [+ b_j])_+.
//!
//! Pilanci & Ergen 2020, "Neural networks are convex regularizers":
//! min F(Σ_i D_i X (v_i − w_i)) + λ Σ_i (ρ(v_i) + ρ(w_i)), (2D_i − I)X v_i ≥ 0 and the same
//! for w_i, over activation patterns D_i. Two columns per pattern: 2i (a > 0)
//! and 2i+1 (a < 0). With all open cells the value is that of weight-decay
//! training at any sufficient width; with a subset it is an upper bound that a
//! real network attains.

use super::{Formulation, check_range, recover, with_ones};
use crate::arrangement::{Arrangement, CELL_WIDTH};
use crate::certificate::{Method, Scope};
use crate::cone::Constraint;
use crate::linalg::Mat;
use crate::loss::Loss;
use crate::network::{Bias, Network};
use crate::operator::{Gated, HalfSpaces};
use crate::regularizer::GroupL2;
use crate::solver::SparseColumns;
use crate::{Error, Program, Result};
use std::sync::Arc;

/// The cone-constrained program on scaled features.
pub struct Relu {
    x: Arc<Mat>,
    operator: Arc<Gated>,
    constraint: Constraint,
    regularizer: Arc<GroupL2>,
    loss: Arc<dyn Loss>,
    arrangement: Arrangement,
    bias: Bias,
}

impl Relu {
    /// `x` is n×d without bias column; the patterns are cells of `x`, or of
    /// [x, 1] with a hidden bias. A free hidden bias needs a loss with output
    /// bias ([`WithIntercept`](crate::loss::WithIntercept)), which takes up the constants it can make.
    pub fn new(
        x: Arc<Mat>,
        loss: Arc<dyn Loss>,
        arrangement: Arrangement,
        bias: Bias,
    ) -> Result<Self> {
        check_range(&x)?;
        let features = if bias == Bias::None { x.clone() } else { Arc::new(with_ones(&x)) };
        let regularizer = match bias {
            Bias::Free if loss.as_intercept().is_none() => {
                return Err(Error::Option(
                    "a free hidden bias can produce any constant at no cost: switch the output bias on"
                        .into(),
                ));
            }
            Bias::Free => {
                let norm = |i| (0..x.ncols()).map(|j| x[(i, j)] * x[(i, j)]).sum::<f64>().sqrt();
                let radius = (0..x.nrows()).map(norm).fold(0.0, f64::max);
                GroupL2::with_free_bias((radius * (1.0 + 1e-6)).max(1e-100))
            }
            _ => GroupL2::new(),
        };
        let patterns = arrangement.patterns.clone();
        let margin = if arrangement.complete { CELL_WIDTH } else { 0.0 };
        Ok(Self {
            operator: Arc::new(
                Gated::signed(features.clone(), patterns.clone()).with_margin(margin),
            ),
            constraint: Constraint::new(HalfSpaces::signed(features, patterns)),
            regularizer: Arc::new(regularizer),
            x,
            loss,
            arrangement,
            bias,
        })
    }
}

impl Formulation for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn program(&self, lambda: f64) -> Program {
        Program {
            loss: self.loss.clone(),
            operator: self.operator.clone(),
            regularizer: self.regularizer.clone(),
            constraint: Some(self.constraint.clone()),
            lambda,
        }
    }

    fn recover(&self, z: &SparseColumns) -> Network {
        recover(z, self.bias, |c| c % 2 == 1, None, &self.x, self.loss.as_ref())
    }

    fn scope(&self) -> Scope {
        if self.arrangement.complete {
            Scope::Complete
        } else {
            Scope::Sampled(self.arrangement.len())
        }
    }

    fn method(&self) -> Method {
        Method::ConePricing
    }
}
