//! Files in and out of bidual: tables (CSV, Parquet, NPY, NPZ), the encoding
//! of their columns as features, model files (safetensors), predictions (CSV,
//! NPY) and ONNX export.
//!
//! Everything passes through plain `Vec<f64>` and slices, so the crate knows
//! nothing of the solver. All readers take untrusted bytes: malformed input
//! yields an [`Error`] whose one-line message names the place and the remedy,
//! never a panic, and never an allocation out of proportion to the file.

#![forbid(unsafe_code)]

pub mod atomic;
pub mod encoding;
pub mod error;
pub mod model;
pub mod onnx;
pub mod predictions;
pub mod table;
mod text;

pub use error::{Error, Place};
