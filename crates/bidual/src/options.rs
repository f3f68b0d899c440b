//! Everything that a fit depends on.

use crate::choice::Choose;
use crate::loss::{Huber, Logistic, Loss, Squared, SquaredHinge};
use crate::network::{Bias, Gates};
use crate::pricing::Budget;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Which network is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// ReLU neurons: the exact cone-constrained program.
    Relu,
    /// Fixed gates with free weights: a group lasso.
    Gated,
}

/// Which loss; always the mean over samples (weights divided by their sum).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LossKind {
    /// ½(f − y)².
    Squared,
    /// ½(f − y)² up to |f − y| = δ, linear beyond.
    Huber(f64),
    /// log(1 + e^{−yf}), labels ±1.
    Logistic,
    /// ½(1 − yf)₊², labels ±1.
    SquaredHinge,
}

impl LossKind {
    /// True for losses on labels ±1.
    pub fn is_classification(self) -> bool {
        matches!(self, LossKind::Logistic | LossKind::SquaredHinge)
    }

    /// The loss on given targets and weights (used as they are).
    pub fn build(self, y: &[f64], weights: Vec<f64>) -> Result<Arc<dyn Loss>> {
        let (y, weights) = (y.to_vec(), Some(weights));
        Ok(match self {
            LossKind::Squared => Arc::new(Squared::new(y, weights)?),
            LossKind::Huber(delta) => Arc::new(Huber::new(y, delta, weights)?),
            LossKind::Logistic => Arc::new(Logistic::new(y, weights)?),
            LossKind::SquaredHinge => Arc::new(SquaredHinge::new(y, weights)?),
        })
    }
}

/// How λ is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lambda {
    /// This share of λ_max.
    Fraction(f64),
    /// This value.
    Absolute(f64),
    /// The best of a path under K-fold cross-validation.
    CrossValidated,
}

/// How much work the proof over all networks may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// So many cones that it takes about half a minute.
    Auto,
    /// Until it is proved, or the time limit.
    Unlimited,
}

impl Effort {
    /// The budget of a proof on n rows.
    pub fn budget(self, rows: usize) -> Budget {
        let cones = match self {
            // a cone costs about as much as there are rows near its kinks
            Effort::Auto => (6e9 / (rows as f64 + 300.0)) as usize,
            Effort::Unlimited => usize::MAX,
        };
        Budget { cones, memory: 1 << 30 }
    }
}

/// Which activation patterns or gates are used.
#[derive(Debug, Clone, PartialEq)]
pub enum PatternChoice {
    /// Whatever pricing asks for: training over all networks of any width, with a proof over
    /// all of them (ReLU only).
    Generated(Effort),
    /// So many Gaussian directions (duplicates and the zero pattern are removed).
    Sampled(usize),
    /// Every open cell, at most so many: the certificate then covers all networks.
    All(usize),
    /// Gates on raw features.
    Given(Gates),
}

/// Everything that a fit depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which network is trained.
    pub activation: Activation,
    /// Which loss.
    pub loss: LossKind,
    /// How λ is chosen.
    pub lambda: Lambda,
    /// Which patterns are used.
    pub patterns: PatternChoice,
    /// Share of the samples on which each sampled gate is active (needs a hidden bias for ReLU).
    pub active_share: Option<f64>,
    /// Hidden bias.
    pub bias: Bias,
    /// Output bias (never penalised).
    pub output_bias: bool,
    /// Standardise the features inside the fit; the network takes raw features all the same.
    pub standardize: bool,
    /// Seed of sampled gates and of the folds of cross-validation.
    pub seed: u64,
    /// Relative gap (upper − lower)/upper at which a fit counts as certified.
    pub tolerance: f64,
    /// Iterations at most (Newton steps, proximal steps, or rounds of training over all networks).
    pub max_iterations: usize,
    /// Wall-clock limit of the whole fit, cross-validation included (at most half of it).
    pub time_limit: Option<Duration>,
    /// Folds of cross-validation.
    pub folds: usize,
    /// Which of the networks with the same outputs and the same cost is returned (ReLU only).
    pub choose: Choose,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            activation: Activation::Relu,
            loss: LossKind::Squared,
            lambda: Lambda::CrossValidated,
            patterns: PatternChoice::Generated(Effort::Auto),
            active_share: None,
            bias: Bias::Penalised,
            output_bias: true,
            standardize: true,
            seed: 0,
            tolerance: 1e-6,
            max_iterations: 100_000,
            time_limit: None,
            folds: 5,
            choose: Choose::Narrow,
        }
    }
}

impl Options {
    /// Work allowed for the proof over all networks, where patterns are generated.
    pub(crate) fn proof_budget(&self, rows: usize) -> Option<Budget> {
        match self.patterns {
            PatternChoice::Generated(effort) => Some(effort.budget(rows)),
            _ => None,
        }
    }

    /// Checks every value that does not depend on data.
    pub fn validate(&self) -> Result<()> {
        let bad = |what: &str, expected: &str, found: String| {
            Err(Error::Option(format!("{what} must be {expected}, found {found}")))
        };
        match self.lambda {
            Lambda::Fraction(v) if !(v > 0.0 && v.is_finite()) => {
                return bad("the fraction of λ_max", "positive", v.to_string());
            }
            Lambda::Absolute(v) if !(v > 0.0 && v.is_finite()) => {
                return bad("λ", "positive", v.to_string());
            }
            _ => {}
        }
        if let LossKind::Huber(delta) = self.loss
            && !(delta > 0.0 && delta.is_finite())
        {
            return bad("the Huber threshold δ", "positive", delta.to_string());
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            return bad("the tolerance", "between 0 and 1", self.tolerance.to_string());
        }
        if self.max_iterations == 0 {
            return bad("the iteration limit", "at least 1", "0".into());
        }
        if self.folds < 2 {
            return bad("the number of folds", "at least 2", self.folds.to_string());
        }
        match (&self.patterns, self.active_share) {
            (PatternChoice::Sampled(0), _) => {
                return bad("the number of patterns", "at least 1", "0".into());
            }
            (PatternChoice::Sampled(_), _) | (_, None) => {}
            _ => {
                return Err(Error::Option(
                    "an active share applies to sampled patterns only: drop one of the two".into(),
                ));
            }
        }
        if self.activation == Activation::Gated
            && matches!(self.patterns, PatternChoice::Generated(_))
        {
            return Err(Error::Option(
                "the gates of a gated network are part of the model: sample or give them (patterns cannot be generated)"
                    .into(),
            ));
        }
        if self.choose != Choose::Narrow {
            crate::choice::applies(self)?;
        }
        if self.active_share.is_some()
            && self.activation == Activation::Relu
            && self.bias == Bias::None
        {
            return Err(Error::Option(
                "patterns with a given active share are cells only with a hidden bias: use a penalised or free bias"
                    .into(),
            ));
        }
        Ok(())
    }
}
