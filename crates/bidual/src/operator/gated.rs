//! Σ_i σ_i D_i X z_i: the model operator of gated and exact ReLU networks.

use super::samples::{Products, Samples};
use super::tables::{GROUP, Number, Rows, transpose};
use super::{LinearOperator, MeanField, Scratch, Spectrum};
use crate::arrangement::Patterns;
use crate::linalg::{Mat, column_mut, eigen, gemm};
use crate::{Error, Result};
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

/// Below so many multiplications a product takes some tens of microseconds.
const WORTH_THREADS: usize = 4_000_000;

/// A z = Σ_c σ_c D_{p(c)} X z_c for a list of columns c = (pattern p, sign σ = ±1).
///
/// X is n×d, the patterns are bit-packed, and the n×dP matrix is never formed: both products are
/// sums of rows chosen by bits, by tables of partial sums: a quarter of the additions of a product
/// with a dense matrix and none of its multiplications. Memory beside the patterns: X by rows, once
/// more in f32 where rough products are used, and nP/8 bytes for each direction that is used.
#[derive(Clone)]
pub struct Gated {
    x: Arc<Samples>,
    /// Products are in f32.
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
        Self::with_columns(Samples::double(&x), patterns, columns)
    }

    /// [`Gated::unsigned`] on data in f32: n rows of `d` numbers, one after the other, which may be
    /// a memory map. They are kept in f32 and widened product by product: there is no copy in f64,
    /// and no other rounding.
    pub fn unsigned_f32(x: &[f32], d: usize, patterns: Arc<Patterns>) -> Result<Self> {
        let n = patterns.samples();
        if d == 0 || n.checked_mul(d) != Some(x.len()) {
            return Err(Error::Data(format!(
                "{} numbers are not {n} rows (as the patterns have) of {d}: give n·d numbers, row by row",
                x.len()
            )));
        }
        if let Some(at) = x.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data(format!(
                "x[{}, {}] is {}: every feature must be finite; fill it in or drop the row",
                at / d,
                at % d,
                x[at]
            )));
        }
        let columns = (0..patterns.len() as u32).map(|p| (p, 1.0)).collect();
        Ok(Self::with_columns(Samples::single(x, d), patterns, columns))
    }

    /// Two columns per pattern, 2p with sign +1 and 2p+1 with sign −1 (ReLU networks:
    /// positive and negative output weights).
    pub fn signed(x: Arc<Mat>, patterns: Arc<Patterns>) -> Self {
        let columns = (0..patterns.len() as u32).flat_map(|p| [(p, 1.0), (p, -1.0)]).collect();
        Self::with_columns(Samples::double(&x), patterns, columns)
    }

    fn with_columns(x: Samples, patterns: Arc<Patterns>, columns: Vec<(u32, f64)>) -> Self {
        let row_norms = Arc::new(x.norms());
        let (gates, gate_of) = different(&columns);
        Self {
            x: Arc::new(x),
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
            let groups = self.x.shape().0.div_ceil(GROUP);
            let half = |gate: u32, g: usize| {
                (self.patterns.bits(gate as usize)[g / 2] >> (GROUP * (g % 2))) as u32
            };
            (0..groups).flat_map(|g| self.gates.iter().map(move |&p| half(p, g))).collect()
        })
    }

    /// Bits of the samples, word by word of the gates `used`.
    fn masks_by_gate(&self, used: &[usize]) -> Vec<u32> {
        let n = self.x.shape().0;
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

    fn forward<D: Number, T: Number>(
        &self,
        rows: &Rows<D>,
        z: MatRef<'_, f64>,
        mut out: MatMut<'_, f64>,
    ) {
        let ((n, d), count) = (self.x.shape(), self.gates.len());
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
            let z: Rows<T> = if 2 * used.len() < count {
                rows.like(used.len(), |k, j| sums[used[k] * d + j])
            } else {
                rows.like(count, |k, j| sums[k * d + j])
            };
            f.fill(0.0);
            in_tiles(f, FORWARD_ROWS, n * d * used.len(), |t, tile| {
                let (first, count) = (t * FORWARD_ROWS, tile.len());
                let words = |g: usize| &masks[g * n + first..][..count];
                self.scratch.with_vec(|space| rows.products(first, &z, words, space, tile));
            });
            out.as_mut().col_mut(0).iter_mut().zip(f).for_each(|(o, v)| *o = scale * *v);
        });
    }

    fn backward<D: Number, T: Number>(
        &self,
        rows: &Rows<D>,
        r: MatRef<'_, f64>,
        mut out: MatMut<'_, f64>,
    ) {
        let ((n, d), count) = (self.x.shape(), self.gates.len());
        let masks = self.masks_by_sample();
        self.scratch.with(count * d + n, |buffer| {
            let (sums, contiguous) = buffer.split_at_mut(count * d);
            contiguous.iter_mut().zip(r.col(0).iter()).for_each(|(to, from)| *to = *from);
            let scale = if self.rough { normalise(contiguous) } else { 1.0 };
            let contiguous = &*contiguous;
            let (most, least) = ADJOINT_PATTERNS;
            let size = count.div_ceil(rayon::current_num_threads()).clamp(least, most);
            in_tiles(sums, (size * d).max(1), n * d * count, |t, tile| {
                let (first, k) = (t * size, tile.len() / d);
                let words = |g: usize| &masks[g * count + first..][..k];
                self.scratch.with_vec(|space| rows.sums::<T>(contiguous, words, space, tile));
            });
            for (c, (&gate, &(_, sign))) in self.gate_of.iter().zip(&self.columns).enumerate() {
                let (from, sign) = (&sums[gate as usize * d..][..d], scale * sign);
                out.as_mut().col_mut(c).iter_mut().zip(from).for_each(|(o, v)| *o = sign * v);
            }
        });
    }

    /// σ_c z_c summed over the columns of each gate (a row each), and which gates are used.
    fn by_gates(&self, z: MatRef<'_, f64>, sums: &mut [f64]) -> Vec<usize> {
        let d = self.x.shape().1;
        sums.fill(0.0);
        for (c, (&gate, &(_, sign))) in self.gate_of.iter().zip(&self.columns).enumerate() {
            let to = &mut sums[gate as usize * d..][..d];
            to.iter_mut().zip(z.col(c).iter()).for_each(|(to, v)| *to += sign * v);
        }
        (0..self.gates.len()).filter(|g| sums[g * d..][..d].iter().any(|v| *v != 0.0)).collect()
    }
}

/// Runs `work` on the tiles of `values`, on several threads where `products`, the multiplications
/// of the dense product, are worth waking them.
fn in_tiles(
    values: &mut [f64],
    size: usize,
    products: usize,
    work: impl Fn(usize, &mut [f64]) + Sync,
) {
    if products < WORTH_THREADS {
        values.chunks_mut(size).enumerate().for_each(|(t, tile)| work(t, tile));
    } else {
        values.par_chunks_mut(size).enumerate().for_each(|(t, tile)| work(t, tile));
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
        (self.x.shape().1, self.columns.len())
    }

    fn range(&self) -> (usize, usize) {
        (self.x.shape().0, 1)
    }

    fn apply_into(&self, z: MatRef<'_, f64>, out: MatMut<'_, f64>) {
        match self.x.products(self.rough) {
            Products::Double(rows) => self.forward::<f64, f64>(rows, z, out),
            Products::Single(rows) => self.forward::<f32, f64>(rows, z, out),
            Products::Rough(rows) => self.forward::<f32, f32>(rows, z, out),
        }
    }

    fn adjoint_into(&self, r: MatRef<'_, f64>, out: MatMut<'_, f64>) {
        match self.x.products(self.rough) {
            Products::Double(rows) => self.backward::<f64, f64>(rows, r, out),
            Products::Single(rows) => self.backward::<f32, f64>(rows, r, out),
            Products::Rough(rows) => self.backward::<f32, f32>(rows, r, out),
        }
    }

    fn rough(&self) -> Option<Arc<dyn LinearOperator>> {
        self.x.can_be_rough().then(|| Arc::new(Self { rough: true, ..self.clone() }) as Arc<_>)
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
        let mut block = self.x.slice(0, self.x.shape().0);
        for j in 0..block.ncols() {
            for (i, v) in column_mut(&mut block, j).iter_mut().enumerate() {
                *v *= if self.patterns.get(pattern as usize, i) { sign } else { 0.0 };
            }
        }
        block
    }

    fn each_into(&self, z: MatRef<'_, f64>, mut out: MatMut<'_, f64>) {
        let n = self.x.shape().0;
        for first in (0..n).step_by(FORWARD_ROWS) {
            let rows = self.x.slice(first, FORWARD_ROWS.min(n - first));
            gemm(out.as_mut().subrows_mut(first, rows.nrows()), rows.as_ref(), z, false);
        }
        let mut mask = vec![0.0; n];
        for (c, &(pattern, sign)) in self.columns.iter().enumerate() {
            self.patterns.expand_f64(pattern as usize, 0, &mut mask);
            out.as_mut().col_mut(c).iter_mut().zip(&mask).for_each(|(v, m)| *v *= sign * m);
        }
    }

    /// XXᵀ ∘ M diag(weights) Mᵀ, M the n×P matrix of the patterns.
    fn kernel(&self, weights: &[f64]) -> Option<Mat> {
        let n = self.x.shape().0;
        let inner = self.inner.get_or_init(|| {
            let (x, mut inner) = (self.x.slice(0, n), Mat::zeros(n, n));
            gemm(inner.as_mut(), x.as_ref(), x.transpose(), false);
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
                let rows = self.x.slice(start, FORWARD_ROWS.min(n - start));
                gemm(gram.as_mut(), rows.transpose(), rows.as_ref(), true);
            }
            let (values, basis) = eigen(&gram)?;
            Some(Arc::new(Spectrum { values, basis }))
        });
        let n = self.x.shape().0.max(1) as f64;
        let share = |gate: &u32| self.patterns.count_active(*gate as usize) as f64 / n;
        let shares: Vec<f64> = self.gates.iter().map(share).collect();
        let columns = self.gate_of.iter().zip(&self.columns);
        Some(MeanField {
            spectrum: spectrum.clone()?,
            shares: columns.map(|(&gate, &(_, sign))| sign * shares[gate as usize]).collect(),
        })
    }

    fn adjoint_rounding(&self, r: &[f64]) -> f64 {
        if self.rough {
            // nothing is to be proved with rough products
            return f64::INFINITY;
        }
        // |fl(Σ_k r_k x_k) − Σ_k r_k x_k| ≤ (n+4)·2⁻⁵³·Σ_k |r_k||x_k| entrywise
        let sum: f64 = r.iter().zip(self.row_norms.iter()).map(|(r, x)| r.abs() * x).sum();
        ((self.x.shape().0 as f64 + 4.0) * f64::EPSILON * 0.5 + self.margin) * sum
    }
}
