//! Loops over packed rows. A block holds eight rows: `block[k][lane]` is the projection of a row
//! on vertex `k`. Every sum runs in eight fixed lanes, so the result does not depend on the
//! instruction set that the dispatch selects.

use pulp::{Arch, Simd, WithSimd};

/// Rows in a block.
pub(super) const LANES: usize = 8;

/// Eight packed rows, one array of lanes for each of the `P` columns.
pub(super) type Block<const P: usize> = [[f64; LANES]; P];

/// Sum of the lanes in a fixed order.
#[inline(always)]
fn total(a: &[f64; LANES]) -> f64 {
    ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
}

#[inline(always)]
fn positive(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

/// Projections `Σ_k t_k block[k]` of the eight rows.
#[inline(always)]
fn combine<const P: usize>(block: &Block<P>, t: &[f64; P]) -> [f64; LANES] {
    let mut s = [0.0; LANES];
    for k in 0..P {
        for l in 0..LANES {
            s[l] += t[k] * block[k][l];
        }
    }
    s
}

struct Active<'a, const P: usize> {
    rows: &'a [Block<P>],
    t: &'a [f64; P],
}

impl<const P: usize> WithSimd for Active<'_, P> {
    type Output = [f64; P];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [f64; P] {
        let mut acc = [[0.0; LANES]; P];
        for block in self.rows {
            let s = combine(block, self.t);
            for k in 0..P {
                for l in 0..LANES {
                    acc[k][l] += if s[l] > 0.0 { block[k][l] } else { 0.0 };
                }
            }
        }
        let mut sums = [0.0; P];
        for k in 0..P {
            sums[k] = total(&acc[k]);
        }
        sums
    }
}

/// Sum of the rows with `aᵀt > 0`, per column.
pub(super) fn active_sum<const P: usize>(arch: Arch, rows: &[Block<P>], t: &[f64; P]) -> [f64; P] {
    arch.dispatch(Active { rows, t })
}

struct Value<'a, const P: usize> {
    rows: &'a [Block<P>],
    t: &'a [f64; P],
}

impl<const P: usize> WithSimd for Value<'_, P> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut acc = [0.0; LANES];
        for block in self.rows {
            let s = combine(block, self.t);
            for l in 0..LANES {
                acc[l] += positive(s[l]);
            }
        }
        total(&acc)
    }
}

/// `Σ (aᵀt)_+` over the rows.
pub(super) fn positive_sum<const P: usize>(arch: Arch, rows: &[Block<P>], t: &[f64; P]) -> f64 {
    arch.dispatch(Value { rows, t })
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
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut acc = [0.0; LANES];
        for block in self.rows {
            let (a, b) = (&block[self.edge.first], &block[self.edge.second]);
            for l in 0..LANES {
                acc[l] += positive(self.edge.left * a[l] + self.edge.right * b[l]);
            }
        }
        total(&acc)
    }
}

/// `Σ (a)_+` at the new vertex of an edge.
pub(super) fn edge_value<const P: usize>(arch: Arch, rows: &[Block<P>], edge: Edge) -> f64 {
    arch.dispatch(EdgeValue { rows, edge })
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

/// The block of a child: the column of `slot` becomes that of the new vertex.
#[inline(always)]
fn child_block<const P: usize>(block: &Block<P>, edge: Edge, slot: usize) -> Block<P> {
    let mut child = *block;
    for l in 0..LANES {
        child[slot][l] = edge.left * block[edge.first][l] + edge.right * block[edge.second][l];
    }
    child
}

/// Lanes that cross as bits; adds the fixed positive rows to `acc`.
#[inline(always)]
fn side<const P: usize>(block: &Block<P>, acc: &mut Block<P>) -> u8 {
    let (mut lo, mut hi) = (block[0], block[0]);
    for k in 1..P {
        for l in 0..LANES {
            let x = block[k][l];
            lo[l] = if x < lo[l] { x } else { lo[l] };
            hi[l] = if x > hi[l] { x } else { hi[l] };
        }
    }
    for k in 0..P {
        for l in 0..LANES {
            acc[k][l] += if lo[l] >= 0.0 { block[k][l] } else { 0.0 };
        }
    }
    let mut mask = 0;
    for l in 0..LANES {
        mask |= u8::from(lo[l] < 0.0 && hi[l] > 0.0) << l;
    }
    mask
}

#[inline(always)]
fn lane_totals<const P: usize>(acc: &Block<P>) -> [f64; P] {
    let mut sums = [0.0; P];
    for k in 0..P {
        sums[k] = total(&acc[k]);
    }
    sums
}

impl<const P: usize> WithSimd for Classify<'_, P> {
    type Output = Sides<P>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Sides<P> {
        let mut acc = [[0.0; LANES]; P];
        let mut crossing = 0;
        for (block, mask) in self.rows.iter().zip(self.masks.iter_mut()) {
            let child = child_block(block, self.edge, self.slot);
            *mask = side(&child, &mut acc);
            crossing += mask.count_ones() as usize;
        }
        Sides { crossing, fixed: lane_totals(&acc) }
    }
}

/// Classifies the rows of the child that puts the new vertex of `edge` in `slot`.
pub(super) fn classify<const P: usize>(
    arch: Arch,
    rows: &[Block<P>],
    edge: Edge,
    slot: usize,
    masks: &mut [u8],
) -> Sides<P> {
    arch.dispatch(Classify { rows, edge, slot, masks })
}

/// Appends the lanes named by the bits of `mask`; `at` is the next free row of `out`.
#[inline(always)]
fn scatter<const P: usize>(block: &Block<P>, mask: u8, out: &mut [Block<P>], at: &mut usize) {
    let mut rest = mask;
    while rest != 0 {
        let lane = rest.trailing_zeros() as usize % LANES;
        let target = &mut out[*at / LANES];
        for k in 0..P {
            target[k][*at % LANES] = block[k][lane];
        }
        *at += 1;
        rest &= rest - 1;
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
    fn with_simd<S: Simd>(self, _: S) {
        let mut at = 0;
        for (block, &mask) in self.rows.iter().zip(self.masks) {
            if mask != 0 {
                scatter(&child_block(block, self.edge, self.slot), mask, self.out, &mut at);
            }
        }
    }
}

/// Packs the crossing rows of a child into zeroed blocks.
pub(super) fn pack<const P: usize>(
    arch: Arch,
    rows: &[Block<P>],
    edge: Edge,
    slot: usize,
    masks: &[u8],
    out: &mut [Block<P>],
) {
    arch.dispatch(Pack { rows, edge, slot, masks, out });
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
    fn with_simd<S: Simd>(self, _: S) {
        for (block, out) in self.rows.iter().zip(self.out) {
            *out = child_block(block, self.edge, self.slot);
        }
    }
}

/// Copies all rows of a child (used when packing would save no block).
pub(super) fn copy_child<const P: usize>(
    arch: Arch,
    rows: &[Block<P>],
    edge: Edge,
    slot: usize,
    out: &mut [Block<P>],
) {
    arch.dispatch(Copy { rows, edge, slot, out });
}

struct Project<'a, const P: usize> {
    rows: &'a [Block<P>],
    vertices: &'a [[f64; P]; P],
    out: &'a mut [Block<P>],
    masks: &'a mut [u8],
}

impl<const P: usize> WithSimd for Project<'_, P> {
    type Output = Sides<P>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Sides<P> {
        let mut acc = [[0.0; LANES]; P];
        let mut crossing = 0;
        for ((block, out), mask) in
            self.rows.iter().zip(self.out.iter_mut()).zip(self.masks.iter_mut())
        {
            for k in 0..P {
                out[k] = combine(block, &self.vertices[k]);
            }
            *mask = side(out, &mut acc);
            crossing += mask.count_ones() as usize;
        }
        Sides { crossing, fixed: lane_totals(&acc) }
    }
}

/// Projects rows (columns are coordinates) on the vertices of a cone and classifies them.
pub(super) fn project<const P: usize>(
    arch: Arch,
    rows: &[Block<P>],
    vertices: &[[f64; P]; P],
    out: &mut [Block<P>],
    masks: &mut [u8],
) -> Sides<P> {
    arch.dispatch(Project { rows, vertices, out, masks })
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
        scatter(&block, masks[i], rows, &mut at);
    }
    let used = crossing.div_ceil(LANES);
    for row in crossing..used * LANES {
        for k in 0..P {
            rows[row / LANES][k][row % LANES] = 0.0;
        }
    }
    used
}

/// Copies the rows named by the masks, unchanged.
pub(super) fn select<const P: usize>(
    rows: &[Block<P>],
    masks: &[u8],
    crossing: usize,
) -> Vec<Block<P>> {
    let mut out = vec![[[0.0; LANES]; P]; crossing.div_ceil(LANES)];
    let mut at = 0;
    for (block, &mask) in rows.iter().zip(masks) {
        scatter(block, mask, &mut out, &mut at);
    }
    out
}
