//! Σ_i σ_i D_i X z_i: the model operator of gated and exact ReLU networks.

use super::{LinearOperator, Scratch};
use crate::arrangement::Patterns;
use crate::linalg::{Mat, column, column_mut, gemm};
use faer::{MatMut, MatRef};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows in a forward tile and in an adjoint tile (multiples of 64: a tile starts on a mask word).
const FORWARD_ROWS: usize = 256;
const ADJOINT_ROWS: usize = 512;
/// Patterns handled together in a tile.
const TILE_PATTERNS: usize = 64;

/// A z = Σ_c σ_c D_{p(c)} X z_c for a list of columns c = (pattern p, sign σ = ±1).
///
/// X is n×d, the patterns are bit-packed (nP/8 bytes), and the n×dP matrix is
/// never formed: a product costs 2ndP operations and tiles of a fixed size.
#[derive(Clone)]
pub struct Gated {
    x: Arc<Mat>,
    patterns: Arc<Patterns>,
    /// (pattern, sign) of each column of z.
    columns: Vec<(u32, f64)>,
    /// ‖x_k‖ of each row, for rounding bounds.
    row_norms: Arc<Vec<f64>>,
    scratch: Arc<Scratch>,
    /// See [`Gated::with_margin`].
    margin: f64,
}

impl Gated {
    /// One column per pattern, all with sign +1 (gated networks).
    pub fn unsigned(x: Arc<Mat>, patterns: Arc<Patterns>) -> Self {
        let columns = (0..patterns.len() as u32).map(|p| (p, 1.0)).collect();
        Self::with_columns(x, patterns, columns)
    }

    /// Two columns per pattern, 2p with sign +1 and 2p+1 with sign −1 (ReLU networks:
    /// positive and negative output weights).
    pub fn signed(x: Arc<Mat>, patterns: Arc<Patterns>) -> Self {
        let columns = (0..patterns.len() as u32).flat_map(|p| [(p, 1.0), (p, -1.0)]).collect();
        Self::with_columns(x, patterns, columns)
    }

    fn with_columns(x: Arc<Mat>, patterns: Arc<Patterns>, columns: Vec<(u32, f64)>) -> Self {
        let mut squares = vec![0.0; x.nrows()];
        for j in 0..x.ncols() {
            squares.iter_mut().zip(column(&x, j)).for_each(|(s, v)| *s += v * v);
        }
        let row_norms = Arc::new(squares.into_iter().map(f64::sqrt).collect());
        Self { x, patterns, columns, row_norms, scratch: Arc::default(), margin: 0.0 }
    }

    /// Adds `margin`·Σ_k|r_k|‖x_k‖ to the rounding bound of every adjoint: cells of
    /// relative width up to `margin` may then be missing from a complete list,
    /// because a neuron inside one is that close to a neuron of a listed cell.
    pub fn with_margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// Runs `f` on a contiguous copy of the only column of `out` and stores the result.
    fn with_contiguous(&self, mut out: MatMut<'_, f64>, f: impl FnOnce(&mut [f64])) {
        self.scratch.with(self.x.nrows(), |buffer| {
            f(buffer);
            out.as_mut().col_mut(0).iter_mut().zip(buffer).for_each(|(o, v)| *o = *v);
        });
    }

    /// out[rows of one tile] = Σ_c σ_c D_c X z_c, summed in the order of the columns.
    fn forward_tile(&self, start: usize, z: MatRef<'_, f64>, active: &[usize], out: &mut [f64]) {
        out.fill(0.0);
        let d = self.x.ncols();
        let rows = out.len();
        let tile = self.x.as_ref().subrows(start, rows);
        self.scratch.with((d + rows) * TILE_PATTERNS + rows, |buffer| {
            let (packed, rest) = buffer.split_at_mut(d * TILE_PATTERNS);
            let (products, mask) = rest.split_at_mut(rows * TILE_PATTERNS);
            for chunk in active.chunks(TILE_PATTERNS) {
                for (slot, &c) in packed.chunks_mut(d).zip(chunk) {
                    slot.iter_mut().zip(z.col(c).iter()).for_each(|(to, from)| *to = *from);
                }
                let k = chunk.len();
                gemm(
                    MatMut::from_column_major_slice_mut(&mut products[..rows * k], rows, k),
                    tile,
                    MatRef::from_column_major_slice(&packed[..d * k], d, k),
                    false,
                );
                for (product, &c) in products.chunks(rows).zip(chunk) {
                    let (pattern, sign) = self.columns[c];
                    self.patterns.expand_f64(pattern as usize, start, mask);
                    for i in 0..rows {
                        out[i] += sign * mask[i] * product[i];
                    }
                }
            }
        });
    }

    /// out (d×k) = XᵀD_p r for the k patterns of the columns first.., rows summed in order.
    fn adjoint_tile(&self, first: usize, r: &[f64], mut out: MatMut<'_, f64>) {
        let (n, k) = (self.x.nrows(), out.ncols());
        self.scratch.with(ADJOINT_ROWS * TILE_PATTERNS, |buffer| {
            for start in (0..n).step_by(ADJOINT_ROWS) {
                let rows = ADJOINT_ROWS.min(n - start);
                for (c, masked) in buffer.chunks_mut(rows).take(k).enumerate() {
                    let pattern = self.columns[first + c].0 as usize;
                    self.patterns.expand_f64(pattern, start, masked);
                    masked.iter_mut().zip(&r[start..]).for_each(|(m, r)| *m *= r);
                }
                gemm(
                    out.as_mut(),
                    self.x.as_ref().subrows(start, rows).transpose(),
                    MatRef::from_column_major_slice(&buffer[..rows * k], rows, k),
                    start > 0,
                );
            }
        });
        for c in 0..k {
            let sign = self.columns[first + c].1;
            out.as_mut().col_mut(c).iter_mut().for_each(|v| *v *= sign);
        }
    }
}

impl LinearOperator for Gated {
    fn domain(&self) -> (usize, usize) {
        (self.x.ncols(), self.columns.len())
    }

    fn range(&self) -> (usize, usize) {
        (self.x.nrows(), 1)
    }

    fn apply_into(&self, z: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        // columns that are exactly zero cost nothing
        let used = |c: &usize| z.col(*c).iter().any(|v| *v != 0.0);
        let active: Vec<usize> = (0..self.columns.len()).filter(used).collect();
        self.with_contiguous(out.as_mut(), |f| {
            f.par_chunks_mut(FORWARD_ROWS).enumerate().for_each(|(t, tile)| {
                self.forward_tile(t * FORWARD_ROWS, z, &active, tile);
            });
        });
    }

    fn adjoint_into(&self, r: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        // 2p and 2p+1 share a pattern: the second is the first with the other sign
        let paired = self.columns.len().is_multiple_of(2)
            && self.columns.chunks(2).all(|c| c[0].0 == c[1].0 && c[0].1 == -c[1].1);
        if paired && !self.columns.is_empty() {
            let halves = self.columns.iter().step_by(2).copied().collect();
            let half = Self { columns: halves, ..self.clone() };
            let mut first = Mat::zeros(self.x.ncols(), self.columns.len() / 2);
            half.adjoint_into(r, first.as_mut());
            for c in 0..self.columns.len() {
                let sign = if c % 2 == 0 { 1.0 } else { -1.0 };
                let from = column(&first, c / 2);
                out.as_mut().col_mut(c).iter_mut().zip(from).for_each(|(o, v)| *o = sign * v);
            }
            return;
        }
        self.scratch.with(self.x.nrows(), |contiguous| {
            contiguous.iter_mut().zip(r.col(0).iter()).for_each(|(to, from)| *to = *from);
            let contiguous = &*contiguous;
            out.par_col_chunks_mut(TILE_PATTERNS).enumerate().for_each(|(t, tile)| {
                self.adjoint_tile(t * TILE_PATTERNS, contiguous, tile);
            });
        });
    }

    fn restrict(&self, columns: &[usize]) -> Arc<dyn LinearOperator> {
        let columns = columns.iter().map(|&c| self.columns[c]).collect();
        Arc::new(Self { columns, ..self.clone() })
    }

    fn block(&self, c: usize) -> Mat {
        let (pattern, sign) = self.columns[c];
        let mut block = Mat::clone(&self.x);
        for j in 0..block.ncols() {
            for (i, v) in column_mut(&mut block, j).iter_mut().enumerate() {
                *v *= if self.patterns.get(pattern as usize, i) { sign } else { 0.0 };
            }
        }
        block
    }

    fn adjoint_rounding(&self, r: &[f64]) -> f64 {
        // |fl(Σ_k r_k x_k) − Σ_k r_k x_k| ≤ (n+4)·2⁻⁵³·Σ_k |r_k||x_k| entrywise
        let sum: f64 = r.iter().zip(self.row_norms.iter()).map(|(r, x)| r.abs() * x).sum();
        ((self.x.nrows() as f64 + 4.0) * f64::EPSILON * 0.5 + self.margin) * sum
    }
}
