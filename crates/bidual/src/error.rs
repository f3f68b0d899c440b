//! What can go wrong before a solver runs. A solver that stops early is not an
//! error: it returns its best point with a [`Status`](crate::Status).

use crate::arrangement::{EnumerateError, PatternError};
use crate::loss::LossError;

/// Every message says what was expected, what was found, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The data cannot be used as they are.
    #[error("{0}")]
    Data(String),
    /// An option has a value that is not allowed, or two options contradict each other.
    #[error("{0}")]
    Option(String),
    /// The loss does not accept these targets or weights.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The cells of the arrangement cannot be listed.
    #[error(transparent)]
    Enumerate(#[from] EnumerateError),
    /// A list of activation patterns is malformed.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The chosen solver does not handle this program.
    #[error("the solver `{solver}` does not handle {what}; use `{instead}`")]
    Unsupported {
        /// Name of the solver that refused.
        solver: &'static str,
        /// The part of the program that it does not handle.
        what: &'static str,
        /// A solver that does.
        instead: &'static str,
    },
}

/// Result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
