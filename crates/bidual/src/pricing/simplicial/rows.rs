//! Data rows, prepared once, and the packed row sets of one pricing problem.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kernel::{Block, LANES};

/// Euclidean norm without overflow.
pub(super) fn norm(x: &[f64]) -> f64 {
    let top = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if top == 0.0 || !top.is_finite() {
        return top;
    }
    top * x.iter().map(|v| (v / top) * (v / top)).sum::<f64>().sqrt()
}

/// Data rows `h_i ∈ R^p` with equal and antiparallel rows merged; reusable for many dual vectors.
///
/// Two rows `h` and `−h` share one line because `(−t)_+ = (t)_+ − t`: the difference is linear.
#[derive(Clone, Debug)]
pub struct Rows {
    dim: usize,
    count: usize,
    lines: Vec<f64>,
    norms: Vec<f64>,
    line_of: Vec<u32>,
    flipped: Vec<bool>,
    finite: bool,
}

const NO_LINE: u32 = u32::MAX;

impl Rows {
    /// Prepares `n × p` row-major data. `None` if `p` is zero or does not divide the length.
    pub fn new(data: &[f64], dim: usize) -> Option<Self> {
        if dim == 0 || !data.len().is_multiple_of(dim) {
            return None;
        }
        let count = data.len() / dim;
        let finite = data.iter().all(|v| v.is_finite());
        let mut rows = Self {
            dim,
            count,
            lines: Vec::new(),
            norms: Vec::new(),
            line_of: Vec::with_capacity(count),
            flipped: Vec::with_capacity(count),
            finite,
        };
        let mut seen: HashMap<Vec<u64>, u32> = HashMap::with_capacity(count);
        for row in data.chunks_exact(dim) {
            rows.insert(row, &mut seen);
        }
        Some(rows)
    }

    fn insert(&mut self, row: &[f64], seen: &mut HashMap<Vec<u64>, u32>) {
        let Some(&lead) = row.iter().find(|v| **v != 0.0) else {
            self.line_of.push(NO_LINE);
            self.flipped.push(false);
            return;
        };
        let sign = if lead < 0.0 { -1.0 } else { 1.0 };
        // adding zero turns −0 into +0
        let line: Vec<f64> = row.iter().map(|v| sign * v + 0.0).collect();
        let next = self.norms.len() as u32;
        let id = *seen.entry(line.iter().map(|v| v.to_bits()).collect()).or_insert(next);
        if id == next {
            self.norms.push(norm(&line));
            self.lines.extend_from_slice(&line);
        }
        self.line_of.push(id);
        self.flipped.push(sign < 0.0);
    }

    /// Number of rows `n`.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of columns `p`.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of distinct lines `{h, −h}` among the non-zero rows.
    pub fn lines(&self) -> usize {
        self.norms.len()
    }

    fn line(&self, id: usize) -> &[f64] {
        &self.lines[id * self.dim..(id + 1) * self.dim]
    }

    /// The function `u ↦ cᵀu + Σ_i ν_i (h_iᵀu)_+` on the lines.
    pub(super) fn function(&self, nu: &[f64], linear: Option<&[f64]>) -> Function<'_> {
        let mut weight = vec![0.0; self.lines()];
        let mut slope = linear.map_or_else(|| vec![0.0; self.dim], <[f64]>::to_vec);
        let mut size = norm(&slope);
        for (i, &v) in nu.iter().enumerate() {
            if v == 0.0 || self.line_of[i] == NO_LINE {
                continue;
            }
            let id = self.line_of[i] as usize;
            weight[id] += v;
            size += v.abs() * self.norms[id];
            if self.flipped[i] {
                for (s, h) in slope.iter_mut().zip(self.line(id)) {
                    *s -= v * h;
                }
            }
        }
        let finite = self.finite && size.is_finite();
        let mut f = Function { rows: self, weight, slope, size, finite, packed: Vec::new() };
        f.pack();
        f
    }
}

/// Lanes of the products of packed rows with a direction.
type Lanes = [f64; LANES];

/// `f(u) = cᵀu + Σ_g ω_g (x_gᵀu)_+` on distinct lines.
pub(super) struct Function<'a> {
    pub rows: &'a Rows,
    pub weight: Vec<f64>,
    pub slope: Vec<f64>,
    /// `‖c‖ + Σ_i |ν_i|‖h_i‖` over the original rows: every rounding margin is a multiple of it.
    pub size: f64,
    pub finite: bool,
    /// Lines that carry weight, eight at a time: their weights, then their coordinates by columns.
    packed: Vec<Lanes>,
}

impl Function<'_> {
    fn pack(&mut self) {
        let count = self.weight.iter().filter(|w| **w != 0.0).count();
        let stride = self.rows.dim + 1;
        let mut packed = vec![[0.0; LANES]; count.div_ceil(LANES) * stride];
        for (i, (w, x, _)) in self.active().enumerate() {
            let block = &mut packed[i / LANES * stride..][..stride];
            block[0][i % LANES] = w;
            for (column, x) in block[1..].iter_mut().zip(x) {
                column[i % LANES] = *x;
            }
        }
        self.packed = packed;
    }

    /// Visits the packed rows: weights, columns, products with `u`.
    fn visit(&self, u: &[f64], mut each: impl FnMut(&Lanes, &[Lanes], &Lanes)) {
        for block in self.packed.chunks_exact(self.rows.dim + 1) {
            let mut s = [0.0; LANES];
            for (column, u) in block[1..].iter().zip(u) {
                for l in 0..LANES {
                    s[l] += column[l] * u;
                }
            }
            each(&block[0], &block[1..], &s);
        }
    }

    /// Lines that carry weight.
    pub fn active(&self) -> impl Iterator<Item = (f64, &[f64], f64)> {
        let rows = self.rows;
        (0..rows.lines())
            .filter(|&g| self.weight[g] != 0.0)
            .map(move |g| (self.weight[g], rows.line(g), rows.norms[g]))
    }

    /// Value at `u`.
    pub fn value(&self, u: &[f64]) -> f64 {
        let mut sums = [0.0; LANES];
        self.visit(u, |w, _, s| {
            for l in 0..LANES {
                sums[l] += if s[l] > 0.0 { w[l] * s[l] } else { 0.0 };
            }
        });
        self.slope.iter().zip(u).map(|(a, b)| a * b).sum::<f64>() + sums.iter().sum::<f64>()
    }

    /// Adds the rows with `x_gᵀu > 0`, times a factor that depends on their weight, to `out`.
    pub fn add_active(&self, u: &[f64], factor: impl Fn(f64) -> f64, out: &mut [f64]) {
        let mut sums = vec![[0.0; LANES]; out.len()];
        self.visit(u, |w, columns, s| {
            let mut on = [0.0; LANES];
            for l in 0..LANES {
                on[l] = if s[l] > 0.0 { factor(w[l]) } else { 0.0 };
            }
            for (sum, column) in sums.iter_mut().zip(columns) {
                for l in 0..LANES {
                    sum[l] += on[l] * column[l];
                }
            }
        });
        for (o, sum) in out.iter_mut().zip(&sums) {
            *o += sum.iter().sum::<f64>();
        }
    }

    /// A subgradient-like direction at `u`: `c + Σ_{x_gᵀu > 0} ω_g x_g`.
    pub fn gradient(&self, u: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.slope);
        self.add_active(u, |w| w, out);
    }

    /// Second-moment matrix `Σ_g |ω_g| x_g x_gᵀ` times `factor`, row-major.
    pub fn moment(&self, factor: f64) -> Vec<f64> {
        let p = self.rows.dim;
        let mut h = vec![0.0; p * p];
        for (w, x, length) in self.active() {
            let w = w.abs() * factor / length;
            for j in 0..p {
                for k in 0..p {
                    h[j * p + k] += w * x[j] * x[k];
                }
            }
        }
        h
    }
}

/// Rows that may change side in a cone, as weighted lines `|ω|x`, and the sums of those that do
/// not. Columns of a block are coordinates.
pub(super) struct RowSet<const P: usize> {
    /// Rows that enter with a plus sign.
    pub plus: Vec<Block<P>>,
    /// Rows that enter with a minus sign.
    pub minus: Vec<Block<P>>,
    /// Linear term and the plus rows that are positive everywhere.
    pub plus_fixed: [f64; P],
    /// The minus rows that are positive everywhere.
    pub minus_fixed: [f64; P],
    bytes: usize,
    live: Arc<AtomicUsize>,
}

impl<const P: usize> RowSet<P> {
    pub fn new(
        plus: Vec<Block<P>>,
        minus: Vec<Block<P>>,
        plus_fixed: [f64; P],
        minus_fixed: [f64; P],
        live: &Arc<AtomicUsize>,
    ) -> Arc<Self> {
        let bytes = size_of::<Block<P>>() * (plus.len() + minus.len()) + size_of::<Self>();
        live.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Self { plus, minus, plus_fixed, minus_fixed, bytes, live: Arc::clone(live) })
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.plus.len() + self.minus.len()
    }

    /// Counter of the bytes held by all sets of a search.
    pub fn counter(&self) -> &Arc<AtomicUsize> {
        &self.live
    }
}

impl<const P: usize> Drop for RowSet<P> {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Packs rows into blocks; the last one is filled with zero rows, which change nothing.
fn blocks<const P: usize>(rows: &[[f64; P]]) -> Vec<Block<P>> {
    let mut out = vec![[[0.0; LANES]; P]; rows.len().div_ceil(LANES)];
    for (i, row) in rows.iter().enumerate() {
        for k in 0..P {
            out[i / LANES][k][i % LANES] = row[k];
        }
    }
    out
}

/// The row sets of `f` and `−f`, scaled by `factor` (a power of two).
pub(super) fn root_sets<const P: usize>(
    f: &Function<'_>,
    factor: f64,
    live: &Arc<AtomicUsize>,
) -> [Arc<RowSet<P>>; 2] {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (w, x, _) in f.active() {
        let row: [f64; P] = std::array::from_fn(|k| (w.abs() * factor) * x[k]);
        if w > 0.0 { up.push(row) } else { down.push(row) }
    }
    let (up, down) = (blocks(&up), blocks(&down));
    let slope: [f64; P] = std::array::from_fn(|k| f.slope[k] * factor);
    [
        RowSet::new(up.clone(), down.clone(), slope, [0.0; P], live),
        RowSet::new(down, up, slope.map(|s| -s), [0.0; P], live),
    ]
}
