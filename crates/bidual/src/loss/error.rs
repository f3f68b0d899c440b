//! What is wrong with the targets, weights or parameters of a loss.

use std::fmt;

/// Why a loss cannot be built.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// There are no samples.
    Empty,
    /// The weights do not match the targets.
    Length {
        /// Number of targets.
        targets: usize,
        /// Number of weights.
        weights: usize,
    },
    /// A target is not finite.
    Target {
        /// Sample.
        index: usize,
        /// Its target.
        value: f64,
    },
    /// A label is neither +1 nor −1.
    Label {
        /// Sample.
        index: usize,
        /// Its label.
        value: f64,
    },
    /// A weight is negative or not finite.
    Weight {
        /// Sample.
        index: usize,
        /// Its weight.
        value: f64,
    },
    /// All weights are 0, or their sum overflows.
    TotalWeight {
        /// Sum of the weights.
        value: f64,
    },
    /// The threshold of the Huber loss is not positive and finite.
    Delta {
        /// The threshold.
        value: f64,
    },
    /// No constant minimises the loss, because all weighted samples have one label.
    NoIntercept {
        /// Name of the loss.
        loss: &'static str,
    },
    /// The loss already has an intercept.
    NestedIntercept {
        /// Name of the loss.
        loss: &'static str,
    },
}

impl fmt::Display for LossError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossError::Empty => write!(out, "a loss needs at least one sample"),
            LossError::Length { targets, weights } => {
                write!(out, "{weights} weights for {targets} targets; give one weight per target")
            }
            LossError::Target { index, value } => {
                write!(out, "target {index} is {value}; it must be finite")
            }
            LossError::Label { index, value } => {
                write!(out, "label {index} is {value}; it must be 1 or -1")
            }
            LossError::Weight { index, value } => {
                write!(out, "weight {index} is {value}; it must be finite and at least 0")
            }
            LossError::TotalWeight { value } => {
                write!(out, "the weights sum to {value}; the sum must be positive and finite")
            }
            LossError::Delta { value } => {
                write!(out, "the Huber threshold is {value}; it must be positive and finite")
            }
            LossError::NoIntercept { loss } => write!(
                out,
                "the {loss} loss has no best output bias, because all weighted samples have the same label: add samples of the other class or switch the output bias off"
            ),
            LossError::NestedIntercept { loss } => {
                write!(out, "the {loss} loss already has an intercept")
            }
        }
    }
}

impl std::error::Error for LossError {}
