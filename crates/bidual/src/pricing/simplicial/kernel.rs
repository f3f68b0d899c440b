//! Loops over packed rows. A block holds eight rows: `block[k][lane]` is the projection of a row
//! on vertex `k`. Every sum runs in eight fixed lanes, so the result does not depend on the
//! instruction set that the dispatch selects.

use pulp::{Simd, WithSimd};

/// Rows in a block.
pub(super) const LANES: usize = 8;

/// Eight packed rows, one array of lanes for each of the `P` columns.
pub(super) type Block<const P: usize> = [[f64; LANES]; P];

/// Sum of the lanes in a fixed order.
#[inline(always)]
fn total(a: &[f64; LANES]) -> f64 {
    ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
}

/// Accumulators of one column: as many registers as a block has lanes, in the worst case.
type Registers<S> = [<S as Simd>::f64s; LANES];

/// A column as vector registers.
#[inline(always)]
fn column<S: Simd>(lanes: &[f64; LANES]) -> &[S::f64s] {
    S::as_simd_f64s(lanes).0
}

/// The lanes of accumulators, summed in a fixed order.
#[inline(always)]
fn sum<S: Simd>(registers: &Registers<S>) -> f64 {
    total(&spill::<S>(registers))
}

#[inline(always)]
fn spill<S: Simd>(registers: &Registers<S>) -> [f64; LANES] {
    let mut lanes = [0.0; LANES];
    let (out, _) = S::as_mut_simd_f64s(&mut lanes);
    for (o, r) in out.iter_mut().zip(registers) {
        *o = *r;
    }
    lanes
}

#[inline(always)]
fn sums<S: Simd, const P: usize>(registers: &[Registers<S>; P]) -> [f64; P] {
    let mut out = [0.0; P];
    for k in 0..P {
        out[k] = sum::<S>(&registers[k]);
    }
    out
}

/// Register `c` of the projections `Σ_k t_k block[k]`.
#[inline(always)]
fn combine<S: Simd, const P: usize>(
    simd: S,
    block: &Block<P>,
    t: &[S::f64s; P],
    c: usize,
) -> S::f64s {
    let mut s = simd.splat_f64s(0.0);
    for k in 0..P {
        s = simd.add_f64s(s, simd.mul_f64s(t[k], column::<S>(&block[k])[c]));
    }
    s
}

#[inline(always)]
fn splat<S: Simd, const P: usize>(simd: S, t: &[f64; P]) -> [S::f64s; P] {
    std::array::from_fn(|k| simd.splat_f64s(t[k]))
}

struct Active<'a, const P: usize> {
    rows: &'a [Block<P>],
    t: &'a [f64; P],
}

impl<const P: usize> WithSimd for Active<'_, P> {
    type Output = [f64; P];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; P] {
        let zero = simd.splat_f64s(0.0);
        let t = splat(simd, self.t);
        let mut acc = [[zero; LANES]; P];
        for block in self.rows {
            for c in 0..LANES / S::F64_LANES {
                let on = simd.less_than_f64s(zero, combine(simd, block, &t, c));
                for k in 0..P {
                    let x = simd.select_f64s(on, column::<S>(&block[k])[c], zero);
                    acc[k][c] = simd.add_f64s(acc[k][c], x);
                }
            }
        }
        sums::<S, P>(&acc)
    }
}

/// Sum of the rows with `aᵀt > 0`, per column.
#[inline(always)]
pub(super) fn active_sum<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    t: &[f64; P],
) -> [f64; P] {
    simd.vectorize(Active { rows, t })
}

struct Value<'a, const P: usize> {
    rows: &'a [Block<P>],
    t: &'a [f64; P],
}

impl<const P: usize> WithSimd for Value<'_, P> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let zero = simd.splat_f64s(0.0);
        let t = splat(simd, self.t);
        let mut acc = [zero; LANES];
        for block in self.rows {
            for c in 0..LANES / S::F64_LANES {
                let s = combine(simd, block, &t, c);
                acc[c] = simd.add_f64s(acc[c], simd.max_f64s(s, zero));
            }
        }
        sum::<S>(&acc)
    }
}

/// `Σ (aᵀt)_+` over the rows.
#[inline(always)]
pub(super) fn positive_sum<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    t: &[f64; P],
) -> f64 {
    simd.vectorize(Value { rows, t })
}

/// Where a new vertex sits: `left·v_first + right·v_second`, both factors positive.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub first: usize,
    pub second: usize,
    pub left: f64,
    pub right: f64,
}

struct EdgeValue<'a, const P: usize> {
    rows: &'a [Block<P>],
    edge: Edge,
}

impl<const P: usize> WithSimd for EdgeValue<'_, P> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let zero = simd.splat_f64s(0.0);
        let mut acc = [zero; LANES];
        for block in self.rows {
            for c in 0..LANES / S::F64_LANES {
                let s = middle(simd, block, self.edge, c);
                acc[c] = simd.add_f64s(acc[c], simd.max_f64s(s, zero));
            }
        }
        sum::<S>(&acc)
    }
}

/// `Σ (a)_+` at the new vertex of an edge.
#[inline(always)]
pub(super) fn edge_value<S: Simd, const P: usize>(simd: S, rows: &[Block<P>], edge: Edge) -> f64 {
    simd.vectorize(EdgeValue { rows, edge })
}

/// Sides of rows on a cone: which lanes change sign, and the sum of those that are ≥ 0 everywhere.
pub(super) struct Sides<const P: usize> {
    /// Number of rows that take both signs.
    pub crossing: usize,
    /// Sum of the rows that are non-negative on every vertex, per column.
    pub fixed: [f64; P],
}

struct Classify<'a, const P: usize> {
    rows: &'a [Block<P>],
    edge: Edge,
    slot: usize,
    masks: &'a mut [u8],
}

/// Register `c` of the column of the new vertex of an edge.
#[inline(always)]
fn middle<S: Simd, const P: usize>(simd: S, block: &Block<P>, edge: Edge, c: usize) -> S::f64s {
    let a = simd.mul_f64s(simd.splat_f64s(edge.left), column::<S>(&block[edge.first])[c]);
    let b = simd.mul_f64s(simd.splat_f64s(edge.right), column::<S>(&block[edge.second])[c]);
    simd.add_f64s(a, b)
}

/// The whole column of the new vertex.
#[inline(always)]
fn middle_column<S: Simd, const P: usize>(simd: S, block: &Block<P>, edge: Edge) -> [f64; LANES] {
    let mut registers = [simd.splat_f64s(0.0); LANES];
    for c in 0..LANES / S::F64_LANES {
        registers[c] = middle(simd, block, edge, c);
    }
    spill::<S>(&registers)
}

/// A bit for every lane with `lo < 0 < hi`.
#[inline(always)]
fn crossing<S: Simd>(simd: S, lo: &Registers<S>, hi: &Registers<S>) -> u8 {
    const BIT: [f64; LANES] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
    let zero = simd.splat_f64s(0.0);
    let mut flag = [zero; LANES];
    for c in 0..LANES / S::F64_LANES {
        let bit = column::<S>(&BIT)[c];
        let below = simd.select_f64s(simd.less_than_f64s(lo[c], zero), bit, zero);
        flag[c] = simd.select_f64s(simd.less_than_f64s(zero, hi[c]), below, zero);
    }
    sum::<S>(&flag) as u8
}

/// Adds register `x` where `lo ≥ 0`.
#[inline(always)]
fn add_fixed<S: Simd>(simd: S, acc: &mut S::f64s, lo: S::f64s, x: S::f64s) {
    let zero = simd.splat_f64s(0.0);
    *acc = simd.add_f64s(*acc, simd.select_f64s(simd.less_than_or_equal_f64s(zero, lo), x, zero));
}

impl<const P: usize> WithSimd for Classify<'_, P> {
    type Output = Sides<P>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sides<P> {
        let zero = simd.splat_f64s(0.0);
        let mut acc = [[zero; LANES]; P];
        let mut count = 0;
        for (block, mask) in self.rows.iter().zip(self.masks.iter_mut()) {
            let (mut lo, mut hi) = ([zero; LANES], [zero; LANES]);
            for c in 0..LANES / S::F64_LANES {
                let mid = middle(simd, block, self.edge, c);
                let (mut low, mut high) = (mid, mid);
                for k in 0..P {
                    if k != self.slot {
                        let x = column::<S>(&block[k])[c];
                        low = simd.min_f64s(x, low);
                        high = simd.max_f64s(x, high);
                    }
                }
                for k in 0..P {
                    let x = if k == self.slot { mid } else { column::<S>(&block[k])[c] };
                    add_fixed(simd, &mut acc[k][c], low, x);
                }
                (lo[c], hi[c]) = (low, high);
            }
            *mask = crossing(simd, &lo, &hi);
            count += mask.count_ones() as usize;
        }
        Sides { crossing: count, fixed: sums::<S, P>(&acc) }
    }
}

/// Classifies the rows of the child that puts the new vertex of `edge` in `slot`.
#[inline(always)]
pub(super) fn classify<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    edge: Edge,
    slot: usize,
    masks: &mut [u8],
) -> Sides<P> {
    simd.vectorize(Classify { rows, edge, slot, masks })
}

/// Appends the lanes named by the bits of `mask`; `at` is the next free row of `out`. Lanes not
/// named are written too, and overwritten: cheaper than a branch that nobody can predict. So `out`
/// needs room for one row more, and holds rubbish from row `at` on.
#[inline(always)]
fn scatter<const P: usize>(
    columns: &[&[f64; LANES]; P],
    mask: u8,
    out: &mut [Block<P>],
    at: &mut usize,
) {
    for lane in 0..LANES {
        let target = &mut out[*at / LANES];
        for k in 0..P {
            target[k][*at % LANES] = columns[k][lane];
        }
        *at += usize::from(mask >> lane & 1);
    }
}

/// Turns the rows from `rows` on into zero rows, up to the end of their block.
#[inline(always)]
fn clear_from<const P: usize>(out: &mut [Block<P>], rows: usize) {
    if !rows.is_multiple_of(LANES) {
        for k in 0..P {
            out[rows / LANES][k][rows % LANES..].fill(0.0);
        }
    }
}

struct Pack<'a, const P: usize> {
    rows: &'a [Block<P>],
    edge: Edge,
    slot: usize,
    masks: &'a [u8],
    out: &'a mut [Block<P>],
}

impl<const P: usize> WithSimd for Pack<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut at = 0;
        for (block, &mask) in self.rows.iter().zip(self.masks) {
            if mask != 0 {
                let new = middle_column(simd, block, self.edge);
                let mut columns = block.each_ref();
                columns[self.slot] = &new;
                scatter(&columns, mask, self.out, &mut at);
            }
        }
        clear_from(self.out, at);
    }
}

/// Packs the crossing rows of a child into `out`, which has a block more than they need.
#[inline(always)]
pub(super) fn pack<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    edge: Edge,
    slot: usize,
    masks: &[u8],
    out: &mut [Block<P>],
) {
    simd.vectorize(Pack { rows, edge, slot, masks, out });
}

struct Copy<'a, const P: usize> {
    rows: &'a [Block<P>],
    edge: Edge,
    slot: usize,
    out: &'a mut [Block<P>],
}

impl<const P: usize> WithSimd for Copy<'_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (block, out) in self.rows.iter().zip(self.out) {
            for k in 0..P {
                if k != self.slot {
                    out[k] = block[k];
                }
            }
            out[self.slot] = middle_column(simd, block, self.edge);
        }
    }
}

/// Copies all rows of a child (used when packing would save no block).
#[inline(always)]
pub(super) fn copy_child<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    edge: Edge,
    slot: usize,
    out: &mut [Block<P>],
) {
    simd.vectorize(Copy { rows, edge, slot, out });
}

struct Project<'a, const P: usize> {
    rows: &'a [Block<P>],
    vertices: &'a [[f64; P]; P],
    out: &'a mut [Block<P>],
    masks: &'a mut [u8],
}

struct FixedSum<'a, const P: usize> {
    rows: &'a [Block<P>],
    vertices: &'a [[f64; P]; P],
}

impl<const P: usize> WithSimd for FixedSum<'_, P> {
    type Output = [f64; P];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; P] {
        let zero = simd.splat_f64s(0.0);
        let vertices: [[S::f64s; P]; P] = std::array::from_fn(|k| splat(simd, &self.vertices[k]));
        let mut acc = [[zero; LANES]; P];
        for block in self.rows {
            for c in 0..LANES / S::F64_LANES {
                let mut lo = combine(simd, block, &vertices[0], c);
                for k in 1..P {
                    lo = simd.min_f64s(combine(simd, block, &vertices[k], c), lo);
                }
                for j in 0..P {
                    add_fixed(simd, &mut acc[j][c], lo, column::<S>(&block[j])[c]);
                }
            }
        }
        sums::<S, P>(&acc)
    }
}

/// Sum of the rows (columns are coordinates) that [`project`] files as positive everywhere.
#[inline(always)]
pub(super) fn fixed_sum<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    vertices: &[[f64; P]; P],
) -> [f64; P] {
    simd.vectorize(FixedSum { rows, vertices })
}

impl<const P: usize> WithSimd for Project<'_, P> {
    type Output = Sides<P>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Sides<P> {
        let zero = simd.splat_f64s(0.0);
        let vertices: [[S::f64s; P]; P] = std::array::from_fn(|k| splat(simd, &self.vertices[k]));
        let mut acc = [[zero; LANES]; P];
        let mut count = 0;
        for ((block, out), mask) in
            self.rows.iter().zip(self.out.iter_mut()).zip(self.masks.iter_mut())
        {
            let (mut lo, mut hi) = ([zero; LANES], [zero; LANES]);
            for c in 0..LANES / S::F64_LANES {
                let mut image = [zero; P];
                for k in 0..P {
                    image[k] = combine(simd, block, &vertices[k], c);
                    S::as_mut_simd_f64s(&mut out[k]).0[c] = image[k];
                }
                let (mut low, mut high) = (image[0], image[0]);
                for k in 1..P {
                    low = simd.min_f64s(image[k], low);
                    high = simd.max_f64s(image[k], high);
                }
                for k in 0..P {
                    add_fixed(simd, &mut acc[k][c], low, image[k]);
                }
                (lo[c], hi[c]) = (low, high);
            }
            *mask = crossing(simd, &lo, &hi);
            count += mask.count_ones() as usize;
        }
        Sides { crossing: count, fixed: sums::<S, P>(&acc) }
    }
}

/// Projects rows (columns are coordinates) on the vertices of a cone and classifies them.
#[inline(always)]
pub(super) fn project<S: Simd, const P: usize>(
    simd: S,
    rows: &[Block<P>],
    vertices: &[[f64; P]; P],
    out: &mut [Block<P>],
    masks: &mut [u8],
) -> Sides<P> {
    simd.vectorize(Project { rows, vertices, out, masks })
}

/// Moves the rows named by the masks to the front of `rows` and clears the rest of the last block;
/// returns the number of blocks in use.
pub(super) fn compress<const P: usize>(
    rows: &mut [Block<P>],
    masks: &[u8],
    crossing: usize,
) -> usize {
    let mut at = 0;
    for i in 0..rows.len() {
        let block = rows[i];
        scatter(&block.each_ref(), masks[i], rows, &mut at);
    }
    clear_from(rows, crossing);
    crossing.div_ceil(LANES)
}

/// Copies the rows named by the masks, unchanged.
pub(super) fn select<const P: usize>(
    rows: &[Block<P>],
    masks: &[u8],
    crossing: usize,
) -> Vec<Block<P>> {
    let mut out = vec![[[0.0; LANES]; P]; crossing.div_ceil(LANES) + 1];
    let mut at = 0;
    for (block, &mask) in rows.iter().zip(masks) {
        scatter(&block.each_ref(), mask, &mut out, &mut at);
    }
    clear_from(&mut out, at);
    out.truncate(crossing.div_ceil(LANES));
    out
}
