//! (2D_i − I) X z_i, column by column: the rows whose non-negativity keeps a
//! neuron inside its cell.

use super::LinearOperator;
use crate::arrangement::Patterns;
use crate::linalg::{Mat, column, column_mut};
use faer::{MatMut, MatRef};
use std::sync::Arc;

/// Column c of the result is s_c ∘ (X z_c), s_c = 2·bits − 1 of the pattern of column c.
#[derive(Clone)]
pub struct HalfSpaces {
    x: Arc<Mat>,
    patterns: Arc<Patterns>,
    /// Pattern of each column.
    columns: Vec<u32>,
}

impl HalfSpaces {
    /// Two columns per pattern, as [`Gated::signed`](super::Gated::signed): the
    /// cone of a neuron does not depend on the sign of its output weight.
    pub fn signed(x: Arc<Mat>, patterns: Arc<Patterns>) -> Self {
        let columns = (0..patterns.len() as u32).flat_map(|p| [p, p]).collect();
        Self { x, patterns, columns }
    }

    /// The data matrix X, n×d.
    pub fn data(&self) -> &Mat {
        &self.x
    }

    /// Packed bits of the pattern of a column.
    pub fn bits(&self, column: usize) -> &[u64] {
        self.patterns.bits(self.columns[column] as usize)
    }

    /// The same rows for the listed columns only.
    pub fn select(&self, columns: &[usize]) -> Self {
        Self { columns: columns.iter().map(|&c| self.columns[c]).collect(), ..self.clone() }
    }

    fn sign(&self, c: usize, i: usize) -> f64 {
        if self.patterns.get(self.columns[c] as usize, i) { 1.0 } else { -1.0 }
    }
}

impl LinearOperator for HalfSpaces {
    fn domain(&self) -> (usize, usize) {
        (self.x.ncols(), self.columns.len())
    }

    fn range(&self) -> (usize, usize) {
        (self.x.nrows(), self.columns.len())
    }

    fn apply_into(&self, z: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        crate::linalg::gemm(out.as_mut(), (*self.x).as_ref(), z, false);
        for c in 0..self.columns.len() {
            out.as_mut().col_mut(c).iter_mut().enumerate().for_each(|(i, v)| *v *= self.sign(c, i));
        }
    }

    fn adjoint_into(&self, r: MatRef<'_, f64>, out: MatMut<'_, f64>) {
        let signed = Mat::from_fn(r.nrows(), r.ncols(), |i, c| self.sign(c, i) * r[(i, c)]);
        crate::linalg::gemm(out, self.x.transpose(), signed.as_ref(), false);
    }

    fn restrict(&self, columns: &[usize]) -> Arc<dyn LinearOperator> {
        Arc::new(self.select(columns))
    }

    fn block(&self, c: usize) -> Mat {
        let mut block = Mat::clone(&self.x);
        for j in 0..block.ncols() {
            for (i, v) in column_mut(&mut block, j).iter_mut().enumerate() {
                *v *= self.sign(c, i);
            }
        }
        block
    }

    fn adjoint_rounding(&self, r: &[f64]) -> f64 {
        let n = self.x.nrows();
        let largest = (0..self.x.ncols())
            .map(|j| crate::linalg::norm(column(&self.x, j)))
            .fold(0.0, |a: f64, b| a.hypot(b));
        (n as f64 + 4.0) * f64::EPSILON * 0.5 * largest * crate::linalg::norm(r)
    }
}
