//! Files in and out of bidual: tables (CSV, Parquet, NPY, NPZ), the encoding
//! of their columns as features, model files (safetensors), predictions (CSV,
//! NPY), ONNX export, networks that other programs trained, and explanations
//! of networks as text, JSON and HTML.
//!
//! Tables and models pass through plain `Vec<f64>` and slices; networks are
//! those of the crate `bidual`, of whose solvers nothing is used here. All
//! readers take untrusted bytes: malformed input yields an [`Error`] whose
//! one-line message names the place and the remedy, never a panic, and never
//! an allocation out of proportion to the file.

#![forbid(unsafe_code)]

pub mod atomic;
pub mod encoding;
pub mod error;
pub mod explain;
pub mod foreign;
pub mod model;
pub mod onnx;
pub mod predictions;
pub mod table;
mod text;

pub use error::{Error, Place};
