//! Structured linear operators: z (d×P, a column a neuron) ↦ A z.
//!
//! The extension point for new architectures: implement the trait, test it
//! against its dense twin ([`LinearOperator::block`]) and the adjoint identity,
//! and every solver and certificate works with it.

mod gated;
mod halfspaces;
mod samples;
mod tables;

pub use gated::Gated;
pub use halfspaces::HalfSpaces;

use crate::linalg::Mat;
use faer::{MatMut, MatRef};
use std::sync::{Arc, Mutex};

/// A linear map from d×P matrices to matrices with n rows.
pub trait LinearOperator: Send + Sync {
    /// (d, P): length of a column of z, number of columns.
    fn domain(&self) -> (usize, usize);

    /// (n, 1) for operators that sum over columns, (n, P) for operators that act column by column.
    fn range(&self) -> (usize, usize);

    /// out = A z.
    fn apply_into(&self, z: MatRef<'_, f64>, out: MatMut<'_, f64>);

    /// out = Aᵀ r.
    fn adjoint_into(&self, r: MatRef<'_, f64>, out: MatMut<'_, f64>);

    /// The operator on the listed columns of z only.
    fn restrict(&self, columns: &[usize]) -> Arc<dyn LinearOperator>;

    /// The same map with products rounded to f32, if that is cheaper: for directions of inner solvers,
    /// never for a residual, an objective or a bound.
    fn rough(&self) -> Option<Arc<dyn LinearOperator>> {
        None
    }

    /// Column block j as a dense n×d matrix.
    fn block(&self, column: usize) -> Mat;

    /// The outputs of each column alone: column c of `out` (n×P) is A_c z_c.
    fn each_into(&self, z: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        for c in 0..z.ncols() {
            let block = self.block(c);
            let from = z.subcols(c, 1);
            crate::linalg::gemm(out.as_mut().subcols_mut(c, 1), block.as_ref(), from, false);
        }
    }

    /// Lower triangle of Σ_c weights_c A_c A_cᵀ (n×n, the rest unspecified), if the operator has a
    /// short way to it.
    fn kernel(&self, weights: &[f64]) -> Option<Mat> {
        let _ = weights;
        None
    }

    /// How the columns overlap on average, if the operator knows: for preconditioners only.
    fn mean_field(&self) -> Option<MeanField> {
        None
    }

    /// Bound on the rounding error of any column of `adjoint_into(r)`, in the Euclidean norm.
    fn adjoint_rounding(&self, r: &[f64]) -> f64;

    /// ‖A‖² by power iteration, from below: a first guess for step sizes, never a bound.
    fn squared_norm_estimate(&self, iterations: usize) -> f64 {
        let (d, p) = self.domain();
        let (n, q) = self.range();
        if d * p == 0 || n * q == 0 {
            return 0.0;
        }
        let mut z = Mat::from_fn(d, p, |i, j| 1.0 + ((i * 31 + j * 17) % 7) as f64 / 7.0);
        let mut r = Mat::zeros(n, q);
        let mut estimate = 0.0;
        for _ in 0..iterations {
            let size = z.norm_l2();
            if size == 0.0 {
                break;
            }
            z *= faer::Scale(1.0 / size);
            self.apply_into(z.as_ref(), r.as_mut());
            self.adjoint_into(r.as_ref(), z.as_mut());
            estimate = z.norm_l2();
        }
        estimate
    }
}

/// A model of AᵀA: block (i, j) is about s_i·s_j·G, and block (i, i) about |s_i|·G.
#[derive(Clone)]
pub struct MeanField {
    /// G (d×d).
    pub spectrum: Arc<Spectrum>,
    /// s: share of the samples on which each column is active, with its sign.
    pub shares: Vec<f64>,
}

/// G = V diag(values) Vᵀ.
pub struct Spectrum {
    /// Eigenvalues, rising.
    pub values: Vec<f64>,
    /// V.
    pub basis: Mat,
}

/// Reusable buffers, so that repeated products do not allocate.
#[derive(Default)]
pub(crate) struct Scratch(Mutex<Vec<Vec<f64>>>);

impl Scratch {
    /// Runs `f` on a buffer of at least `len` entries (contents unspecified).
    pub(crate) fn with<T>(&self, len: usize, f: impl FnOnce(&mut [f64]) -> T) -> T {
        self.with_vec(|buffer| {
            if buffer.len() < len {
                buffer.resize(len, 0.0);
            }
            f(&mut buffer[..len])
        })
    }

    /// Runs `f` on a buffer of any length, which it may change.
    pub(crate) fn with_vec<T>(&self, f: impl FnOnce(&mut Vec<f64>) -> T) -> T {
        let take = || self.0.lock().unwrap_or_else(|e| e.into_inner());
        let mut buffer = take().pop().unwrap_or_default();
        let result = f(&mut buffer);
        take().push(buffer);
        result
    }
}
