//! Train two-layer ReLU networks to *certified global optimality*.
//!
//! A ReLU network with weight decay is a non-convex problem; its bidual is a
//! convex program with the same optimal value (Pilanci & Ergen 2020), and the
//! network can be read back from that program's solution.
//!
//! ```text
//! Dataset ──► Arrangement ──► Formulation ── program() ──► Program
//!  X, y, ω     patterns            │        min F(A z) + λ Ω(z)  s.t.  G z ≥ 0
//!                                  │                         │
//!                                  │                       Solver ──► z, ν, status
//!                                  ◄──── recover() ──────────┘
//!                                  ▼
//!                     Network  +  Certificate (lower ≤ optimum ≤ upper, and over which networks)
//! ```
//!
//! # Conventions
//!
//! * F(f) = Σ ω_i ℓ(f_i, y_i) with Σ ω_i = 1: the **mean** over samples; squared is ½(f − y)².
//! * Weight decay is λ/2 Σ_j(‖w_j‖² + a_j²), measured on standardised features
//!   unless [`Options::standardize`] is off. It equals λ Σ_j‖w_j‖|a_j| for balanced neurons.
//! * A column of `z` is a neuron. ν = −∇F is the dual vector, D(ν) = −F*(−ν).
//! * A bound belongs to its [`Scope`]: the sampled patterns, the given gates, or all networks.

#![warn(missing_docs)]

pub mod arrangement;
pub mod audit;
pub mod certificate;
mod certify;
pub mod choice;
pub mod cone;
mod data;
mod error;
mod fit;
pub mod formulation;
pub mod global;
mod linalg;
pub mod loss;
pub mod network;
pub mod operator;
pub mod optimal_set;
mod options;
pub mod path;
pub mod pricing;
mod program;
pub mod regularizer;
pub mod relaxation;
pub mod solver;
pub mod stationarity;

pub use certificate::{Certificate, Method, Scope};
pub use certify::{certify, training_objective};
pub use choice::{Alternatives, Choose, Selection, Spread};
pub use data::{Dataset, Scaling};
pub use error::{Error, Result};
pub use fit::{Model, Prepared, default_solver, fit, fit_with_validation, prepare};
pub use linalg::Mat;
pub use network::{Bias, Gates, Network};
pub use options::{Activation, Effort, Lambda, LossKind, Options, PatternChoice};
pub use program::{Prices, Program};
