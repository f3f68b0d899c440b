//! Σ_i σ_i D_i X z_i: the model operator of gated and exact ReLU networks.

use super::tables::{GROUP, Number, Rows, transpose};
use super::{LinearOperator, MeanField, Scratch, Spectrum};
use crate::arrangement::Patterns;
use crate::linalg::{Mat, column, column_mut, eigen, gemm};
use faer::{MatMut, MatRef};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Rows of a forward tile.
const FORWARD_ROWS: usize = 512;
/// Columns of a kernel tile.
const KERNEL_COLUMNS: usize = 128;
/// Patterns of an adjoint tile, at most and at least.
const ADJOINT_PATTERNS: (usize, usize) = (512, 64);

/// Entries of data, and of vectors beside their largest, that f32 can hold.
const SINGLE: (f64, f64) = (1e-12, 1e12);

/// A z = Σ_c σ_c D_{p(c)} X z_c for a list of columns c = (pattern p, sign σ = ±1).
///
/// X is n×d, the patterns are bit-packed, and the n×dP matrix is never formed: both products are
/// sums of rows chosen by bits, by tables of partial sums: a quarter of the additions of a product
/// with a dense matrix and none of its multiplications. Memory beside X and the patterns: X once
/// more by rows, and nP/8 bytes for each direction that is used.
#[derive(Clone)]
pub struct Gated {
    x: Arc<Mat>,
    rows: Arc<Rows<f64>>,
    /// The rows in f32, once they were asked for; `None` inside if they are out of its range.
    single: Arc<OnceLock<Option<Rows<f32>>>>,
    /// Products use `single`.
    rough: bool,
    patterns: Arc<Patterns>,
    /// (pattern, sign) of each column of z.
    columns: Vec<(u32, f64)>,
    /// The different patterns of the columns.
    gates: Vec<u32>,
    /// Index in `gates` of each column.
    gate_of: Vec<u32>,
    /// Word g of gate p at g·gates + p: bits of the samples 32g...
    by_sample: Arc<OnceLock<Vec<u32>>>,
    /// Word g of sample i at g·n + i: bits of the gates 32g...
    by_gate: Arc<OnceLock<Vec<u32>>>,
    /// ‖x_k‖ of each row, for rounding bounds.
    row_norms: Arc<Vec<f64>>,
    /// Of XᵀX; `None` inside if it could not be found.
    spectrum: Arc<OnceLock<Option<Arc<Spectrum>>>>,
    /// XXᵀ, once a kernel was asked for.
    inner: Arc<OnceLock<Mat>>,
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
        let rows = Arc::new(Rows::of(&x));
        let (gates, gate_of) = different(&columns);
        Self {
            x,
            rows,
            single: Arc::default(),
            rough: false,
            patterns,
            columns,
            gates,
            gate_of,
            by_sample: Arc::default(),
            by_gate: Arc::default(),
            row_norms,
            spectrum: Arc::default(),
            inner: Arc::default(),
            scratch: Arc::default(),
            margin: 0.0,
        }
    }

    /// Adds `margin`·Σ_k|r_k|‖x_k‖ to the rounding bound of every adjoint: cells of
    /// relative width up to `margin` may then be missing from a complete list,
    /// because a neuron inside one is that close to a neuron of a listed cell.
    pub fn with_margin(self, margin: f64) -> Self {
        Self { margin, ..self }
    }

    /// Bits of the gates, word by word of samples.
    fn masks_by_sample(&self) -> &[u32] {
        self.by_sample.get_or_init(|| {
            let groups = self.x.nrows().div_ceil(GROUP);
            let half = |gate: u32, g: usize| {
                (self.patterns.bits(gate as usize)[g / 2] >> (GROUP * (g % 2))) as u32
            };
            (0..groups).flat_map(|g| self.gates.iter().map(move |&p| half(p, g))).collect()
        })
    }

    /// Bits of the samples, word by word of the gates `used`.
    fn masks_by_gate(&self, used: &[usize]) -> Vec<u32> {
        let n = self.x.nrows();
        let mut masks = vec![0u32; used.len().div_ceil(GROUP) * n];
        for (used, masks) in used.chunks(GROUP).zip(masks.chunks_mut(n)) {
            for (g, masks) in masks.chunks_mut(GROUP).enumerate() {
                let mut block = [0u32; GROUP];
                for (word, &u) in block.iter_mut().zip(used) {
                    let bits = self.patterns.bits(self.gates[u] as usize);
                    *word = (bits[g / 2] >> (GROUP * (g % 2))) as u32;
                }
                transpose(&mut block);
                masks.copy_from_slice(&block[..masks.len()]);
            }
        }
        masks
    }

    /// The rows that products use if they are rough.
    fn single(&self) -> Option<&Rows<f32>> {
        self.single.get().and_then(Option::as_ref).filter(|_| self.rough)
    }

    fn forward<T: Number>(&self, rows: &Rows<T>, z: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        let (n, d, count) = (self.x.nrows(), self.x.ncols(), self.gates.len());
        self.scratch.with(count * d + n, |buffer| {
            let (sums, f) = buffer.split_at_mut(count * d);
            // columns that are exactly zero cost nothing
            let used = self.by_gates(z, sums);
            let scale = if self.rough { normalise(sums) } else { 1.0 };
            let few;
            let masks = if 2 * used.len() < count {
                few = self.masks_by_gate(&used);
                &few
            } else {
                self.by_gate.get_or_init(|| self.masks_by_gate(&(0..count).collect::<Vec<_>>()))
            };
            let z = if 2 * used.len() < count {
                Rows::transposed(d, used.len(), |j, k| sums[used[k] * d + j])
            } else {
                Rows::transposed(d, count, |j, k| sums[k * d + j])
            };
            f.fill(0.0);
            f.par_chunks_mut(FORWARD_ROWS).enumerate().for_each(|(t, tile)| {
                let first = t * FORWARD_ROWS;
                let count = tile.len();
                let words = |g: usize| &masks[g * n + first..][..count];
                self.scratch.with_vec(|space| rows.products(first, &z, words, space, tile));
            });
            out.as_mut().col_mut(0).iter_mut().zip(f).for_each(|(o, v)| *o = scale * *v);
        });
    }

    fn backward<T: Number>(&self, rows: &Rows<T>, r: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        let (n, d, count) = (self.x.nrows(), self.x.ncols(), self.gates.len());
        let masks = self.masks_by_sample();
        self.scratch.with(count * d + n, |buffer| {
            let (sums, contiguous) = buffer.split_at_mut(count * d);
            contiguous.iter_mut().zip(r.col(0).iter()).for_each(|(to, from)| *to = *from);
            let scale = if self.rough { normalise(contiguous) } else { 1.0 };
            let contiguous = &*contiguous;
            let (most, least) = ADJOINT_PATTERNS;
            let size = count.div_ceil(rayon::current_num_threads()).clamp(least, most);
            sums.par_chunks_mut((size * d).max(1)).enumerate().for_each(|(t, tile)| {
                let (first, k) = (t * size, tile.len() / d);
                let words = |g: usize| &masks[g * count + first..][..k];
                self.scratch.with_vec(|space| rows.sums(contiguous, words, space, tile));
            });
            for (c, (&gate, &(_, sign))) in self.gate_of.iter().zip(&self.columns).enumerate() {
                let (from, sign) = (&sums[gate as usize * d..][..d], scale * sign);
                out.as_mut().col_mut(c).iter_mut().zip(from).for_each(|(o, v)| *o = sign * v);
            }
        });
    }

    /// σ_c z_c summed over the columns of each gate (a row each), and which gates are used.
    fn by_gates(&self, z: MatRef<'_, f64>, sums: &mut [f64]) -> Vec<usize> {
        let d = self.x.ncols();
        sums.fill(0.0);
        for (c, (&gate, &(_, sign))) in self.gate_of.iter().zip(&self.columns).enumerate() {
            let to = &mut sums[gate as usize * d..][..d];
            to.iter_mut().zip(z.col(c).iter()).for_each(|(to, v)| *to += sign * v);
        }
        (0..self.gates.len()).filter(|g| sums[g * d..][..d].iter().any(|v| *v != 0.0)).collect()
    }
}

/// Divides by a power of two near the largest entry, which is returned, for f32.
fn normalise(values: &mut [f64]) -> f64 {
    let largest = values.iter().fold(0.0_f64, |a, v| a.max(v.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return 1.0;
    }
    let scale = 2f64.powi((largest.log2() as i32).clamp(-1000, 1000));
    values.iter_mut().for_each(|v| *v /= scale);
    scale
}

/// The different patterns in order, and the index of each column's.
fn different(columns: &[(u32, f64)]) -> (Vec<u32>, Vec<u32>) {
    let mut index = HashMap::with_capacity(columns.len());
    let mut gates = vec![];
    let gate_of = columns
        .iter()
        .map(|&(pattern, _)| {
            *index.entry(pattern).or_insert_with(|| {
                gates.push(pattern);
                gates.len() as u32 - 1
            })
        })
        .collect();
    (gates, gate_of)
}

impl LinearOperator for Gated {
    fn domain(&self) -> (usize, usize) {
        (self.x.ncols(), self.columns.len())
    }

    fn range(&self) -> (usize, usize) {
        (self.x.nrows(), 1)
    }

    fn apply_into(&self, z: MatRef<'_, f64>, out: MatMut<'_, f64>) {
        match self.single() {
            Some(rows) => self.forward(rows, z, out),
            None => self.forward(&self.rows, z, out),
        }
    }

    fn adjoint_into(&self, r: MatRef<'_, f64>, out: MatMut<'_, f64>) {
        match self.single() {
            Some(rows) => self.backward(rows, r, out),
            None => self.backward(&self.rows, r, out),
        }
    }

    fn rough(&self) -> Option<Arc<dyn LinearOperator>> {
        let rows = self.single.get_or_init(|| {
            let inside = |v: &f64| *v == 0.0 || (SINGLE.0..SINGLE.1).contains(&v.abs());
            let fits = (0..self.x.ncols()).all(|j| column(&self.x, j).iter().all(inside));
            fits.then(|| Rows::of(&self.x))
        });
        rows.is_some().then(|| Arc::new(Self { rough: true, ..self.clone() }) as Arc<_>)
    }

    fn restrict(&self, columns: &[usize]) -> Arc<dyn LinearOperator> {
        let columns: Vec<_> = columns.iter().map(|&c| self.columns[c]).collect();
        let (gates, gate_of) = different(&columns);
        Arc::new(Self {
            columns,
            gates,
            gate_of,
            by_sample: Arc::default(),
            by_gate: Arc::default(),
            ..self.clone()
        })
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

    fn each_into(&self, z: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        gemm(out.as_mut(), Mat::as_ref(&self.x), z, false);
        let mut mask = vec![0.0; self.x.nrows()];
        for (c, &(pattern, sign)) in self.columns.iter().enumerate() {
            self.patterns.expand_f64(pattern as usize, 0, &mut mask);
            out.as_mut().col_mut(c).iter_mut().zip(&mask).for_each(|(v, m)| *v *= sign * m);
        }
    }

    /// XXᵀ ∘ M diag(weights) Mᵀ, M the n×P matrix of the patterns.
    fn kernel(&self, weights: &[f64]) -> Option<Mat> {
        let n = self.x.nrows();
        let inner = self.inner.get_or_init(|| {
            let mut inner = Mat::zeros(n, n);
            gemm(inner.as_mut(), Mat::as_ref(&self.x), self.x.transpose(), false);
            inner
        });
        let mut sums = vec![0.0; self.gates.len()];
        self.gate_of.iter().zip(weights).for_each(|(&gate, w)| sums[gate as usize] += w);
        let used: Vec<usize> = (0..sums.len()).filter(|g| sums[*g] != 0.0).collect();
        let mut masks = Mat::zeros(n, used.len());
        for (k, &g) in used.iter().enumerate() {
            self.patterns.expand_f64(self.gates[g] as usize, 0, column_mut(&mut masks, k));
        }
        let mut scaled = masks.clone();
        for (k, &g) in used.iter().enumerate() {
            column_mut(&mut scaled, k).iter_mut().for_each(|v| *v *= sums[g]);
        }
        let mut kernel = Mat::zeros(n, n);
        kernel.as_mut().par_col_chunks_mut(KERNEL_COLUMNS).enumerate().for_each(|(t, chunk)| {
            let (first, width) = (t * KERNEL_COLUMNS, chunk.ncols());
            let mut below = chunk.subrows_mut(first, n - first);
            let left = masks.as_ref().subrows(first, n - first);
            let right = scaled.as_ref().subrows(first, width);
            gemm(below.as_mut(), left, right.transpose(), false);
            for j in 0..width {
                let factors = inner.as_ref().col(first + j).subrows(first, n - first);
                let column = below.as_mut().col_mut(j);
                column.iter_mut().zip(factors.iter()).for_each(|(v, f)| *v *= f);
            }
        });
        Some(kernel)
    }

    fn mean_field(&self) -> Option<MeanField> {
        let spectrum = self.spectrum.get_or_init(|| {
            let (n, d) = self.x.shape();
            let mut gram = Mat::zeros(d, d);
            // a tall product is faster in slices of rows
            for start in (0..n).step_by(FORWARD_ROWS) {
                let rows = self.x.as_ref().subrows(start, FORWARD_ROWS.min(n - start));
                gemm(gram.as_mut(), rows.transpose(), rows, true);
            }
            let (values, basis) = eigen(&gram)?;
            Some(Arc::new(Spectrum { values, basis }))
        });
        let n = self.x.nrows().max(1) as f64;
        let share = |gate: &u32| self.patterns.count_active(*gate as usize) as f64 / n;
        let shares: Vec<f64> = self.gates.iter().map(share).collect();
        let columns = self.gate_of.iter().zip(&self.columns);
        Some(MeanField {
            spectrum: spectrum.clone()?,
            shares: columns.map(|(&gate, &(_, sign))| sign * shares[gate as usize]).collect(),
        })
    }

    fn adjoint_rounding(&self, r: &[f64]) -> f64 {
        // |fl(Σ_k r_k x_k) − Σ_k r_k x_k| ≤ (n+4)·2⁻⁵³·Σ_k |r_k||x_k| entrywise
        let sum: f64 = r.iter().zip(self.row_norms.iter()).map(|(r, x)| r.abs() * x).sum();
        ((self.x.nrows() as f64 + 4.0) * f64::EPSILON * 0.5 + self.margin) * sum
    }
}
