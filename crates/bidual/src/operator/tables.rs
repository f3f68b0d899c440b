//! Products with a 0/1 matrix without multiplications: the method of the four Russians.
//!
//! Arlazarov, Dinic, Kronrod and Faradzhev 1970. A sum of rows of X chosen by a pattern takes one
//! look-up and one addition per *four* rows: the 16 sums over subsets of each four rows are tabled
//! once and shared by all patterns. The columns of X are handled in tiles of at most 16, so that
//! eight tables (32 rows) take 16 KiB of the first cache.

use crate::linalg::Mat;
use pulp::{Arch, Simd, WithSimd};

/// Rows, or patterns, that share a mask word.
pub(super) const GROUP: usize = 32;
/// Columns of a full tile.
const WIDTH: usize = 16;
/// Sums over the subsets of four rows; eight tables serve a mask word. A row of a table must not
/// cross a cache line where it need not.
#[repr(align(64))]
struct Tables<const W: usize>([[[f64; W]; 16]; GROUP / 4]);

impl<const W: usize> Tables<W> {
    fn new() -> Self {
        Self([[[0.0; W]; 16]; GROUP / 4])
    }
}

/// `count` rows that start on a cache line, contents unspecified.
fn aligned<const W: usize>(buffer: &mut Vec<f64>, count: usize) -> &mut [[f64; W]] {
    const LINE: usize = 8;
    if buffer.len() < count * W + LINE {
        buffer.resize(count * W + LINE, 0.0);
    }
    let offset = buffer.as_ptr().align_offset(LINE * size_of::<f64>()).min(LINE);
    buffer[offset..offset + count * W].as_chunks_mut::<W>().0
}

/// The rows of a matrix in tiles of columns, each tile contiguous; rows are padded with zeros to a
/// multiple of [`GROUP`].
pub(super) struct Rows {
    columns: usize,
    tiles: Vec<(usize, Vec<f64>)>,
}

/// Width of each tile: 16s and a rest in {4, 8, 12, 16}.
fn widths(columns: usize) -> impl Iterator<Item = usize> {
    (0..columns).step_by(WIDTH).map(move |first| (columns - first).min(WIDTH).next_multiple_of(4))
}

impl Rows {
    /// `value(i, j)` for `rows` × `columns`.
    fn build(rows: usize, columns: usize, value: impl Fn(usize, usize) -> f64) -> Self {
        let padded = rows.next_multiple_of(GROUP);
        let tiles = widths(columns)
            .enumerate()
            .map(|(t, width)| {
                let mut tile = vec![0.0; padded * width];
                for (i, row) in tile.chunks_mut(width).enumerate().take(rows) {
                    for (j, to) in row.iter_mut().enumerate().take(columns - t * WIDTH) {
                        *to = value(i, t * WIDTH + j);
                    }
                }
                (width, tile)
            })
            .collect();
        Self { columns, tiles }
    }

    /// The rows of `x`.
    pub(super) fn of(x: &Mat) -> Self {
        Self::build(x.nrows(), x.ncols(), |i, j| x[(i, j)])
    }

    /// The columns `chosen` of a matrix with `length` rows, as rows.
    pub(super) fn transposed(
        length: usize,
        chosen: usize,
        value: impl Fn(usize, usize) -> f64,
    ) -> Self {
        Self::build(chosen, length, |k, j| value(j, k))
    }

    /// Σ_k r_k x_k over the rows k chosen by each mask, for the masks of one range of patterns:
    /// `masks(g)` holds bit k%32 of word g = k/32 of each. Calls `store(p, first, sums)` with the
    /// entries first.. of pattern p. Rows are summed in order, so the result does not depend on
    /// how the patterns are split into ranges. `buffer` is space.
    pub(super) fn sums<'m>(
        &self,
        r: &[f64],
        count: usize,
        masks: impl Fn(usize) -> &'m [u32],
        buffer: &mut Vec<f64>,
        mut store: impl FnMut(usize, usize, &[f64]),
    ) {
        for (t, (width, tile)) in self.tiles.iter().enumerate() {
            let mut emit = |p: usize, sums: &[f64]| {
                store(p, t * WIDTH, &sums[..sums.len().min(self.columns - t * WIDTH)]);
            };
            match width {
                4 => sums_tile::<4>(tile, r, count, &masks, buffer, &mut emit),
                8 => sums_tile::<8>(tile, r, count, &masks, buffer, &mut emit),
                12 => sums_tile::<12>(tile, r, count, &masks, buffer, &mut emit),
                _ => sums_tile::<16>(tile, r, count, &masks, buffer, &mut emit),
            }
        }
    }

    /// out_i += x_iᵀ Σ_c z_c over the columns c chosen by row i, for the rows first..: `masks(g)`
    /// holds, for each of these rows, bit c%32 of word g = c/32. `z` has the columns as rows.
    pub(super) fn products<'m>(
        &self,
        first: usize,
        z: &Rows,
        masks: impl Fn(usize) -> &'m [u32],
        buffer: &mut Vec<f64>,
        out: &mut [f64],
    ) {
        for ((width, tile), (_, z)) in self.tiles.iter().zip(&z.tiles) {
            let x = &tile[first * width..];
            match width {
                4 => products_tile::<4>(x, z, &masks, buffer, out),
                8 => products_tile::<8>(x, z, &masks, buffer, out),
                12 => products_tile::<12>(x, z, &masks, buffer, out),
                _ => products_tile::<16>(x, z, &masks, buffer, out),
            }
        }
    }
}

fn sums_tile<'m, const W: usize>(
    tile: &[f64],
    r: &[f64],
    count: usize,
    masks: &impl Fn(usize) -> &'m [u32],
    buffer: &mut Vec<f64>,
    emit: &mut impl FnMut(usize, &[f64]),
) {
    let rows = tile.as_chunks::<W>().0;
    let sums = aligned::<W>(buffer, count);
    if rows.is_empty() {
        sums.fill([0.0; W]);
    }
    let mut tables = Tables::<W>::new();
    let arch = Arch::new();
    for (g, (rows, r)) in rows.chunks(GROUP).zip(r.chunks(GROUP)).enumerate() {
        let scaled = |k: usize| {
            let scale = r.get(k).copied().unwrap_or(0.0);
            rows[k].map(|v| scale * v)
        };
        arch.dispatch(Tabulate { tables: &mut tables, row: scaled });
        arch.dispatch(LookUp { tables: &tables, masks: masks(g), first: g == 0, sums });
    }
    for (p, sums) in sums.iter().enumerate() {
        emit(p, sums);
    }
}

fn products_tile<'m, const W: usize>(
    x: &[f64],
    z: &[f64],
    masks: &impl Fn(usize) -> &'m [u32],
    buffer: &mut Vec<f64>,
    out: &mut [f64],
) {
    if z.is_empty() {
        return;
    }
    let (x, z) = (x.as_chunks::<W>().0, z.as_chunks::<W>().0);
    let mut tables = Tables::<W>::new();
    let sums = aligned::<W>(buffer, out.len());
    let arch = Arch::new();
    for (g, columns) in z.chunks(GROUP).enumerate() {
        arch.dispatch(Tabulate { tables: &mut tables, row: |k: usize| columns[k] });
        arch.dispatch(LookUp { tables: &tables, masks: masks(g), first: g == 0, sums });
    }
    arch.dispatch(Dots { x, sums, out });
}

/// out_i += x_iᵀ sums_i.
struct Dots<'a, const W: usize> {
    x: &'a [[f64; W]],
    sums: &'a [[f64; W]],
    out: &'a mut [f64],
}

impl<const W: usize> WithSimd for Dots<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for ((out, x), sum) in self.out.iter_mut().zip(self.x).zip(self.sums) {
            let (x, sum) = (S::as_simd_f64s(x).0, S::as_simd_f64s(sum).0);
            let mut total = simd.splat_f64s(0.0);
            for (x, s) in x.iter().zip(sum) {
                total = simd.mul_add_f64s(*x, *s, total);
            }
            *out += simd.reduce_sum_f64s(total);
        }
    }
}

/// Fills the tables of 32 rows.
struct Tabulate<'a, const W: usize, F> {
    tables: &'a mut Tables<W>,
    row: F,
}

impl<const W: usize, F: Fn(usize) -> [f64; W]> WithSimd for Tabulate<'_, W, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (t, table) in self.tables.0.iter_mut().enumerate() {
            for bit in 0..4 {
                let row = (self.row)(4 * t + bit);
                let (known, next) = table.split_at_mut(1 << bit);
                for (to, from) in next.iter_mut().zip(known.iter()) {
                    for j in 0..W {
                        to[j] = from[j] + row[j];
                    }
                }
            }
        }
    }
}

/// sums_p += the rows that each mask chooses, or = if these are the first.
struct LookUp<'a, const W: usize> {
    tables: &'a Tables<W>,
    masks: &'a [u32],
    first: bool,
    sums: &'a mut [[f64; W]],
}

impl<const W: usize> WithSimd for LookUp<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match W / S::F64_LANES {
            1 => self.vectors::<S, 1>(simd),
            2 => self.vectors::<S, 2>(simd),
            3 => self.vectors::<S, 3>(simd),
            4 => self.vectors::<S, 4>(simd),
            6 => self.vectors::<S, 6>(simd),
            8 => self.vectors::<S, 8>(simd),
            12 => self.vectors::<S, 12>(simd),
            _ => self.vectors::<S, 16>(simd),
        }
    }
}

impl<const W: usize> LookUp<'_, W> {
    /// With N registers for a row of W numbers.
    #[inline(always)]
    fn vectors<S: Simd, const N: usize>(self, simd: S) {
        let table = S::as_simd_f64s(self.tables.0.as_flattened().as_flattened()).0;
        let Some(table) = table.as_chunks::<N>().0.first_chunk::<{ 16 * GROUP / 4 }>() else {
            return;
        };
        let sums = S::as_mut_simd_f64s(self.sums.as_flattened_mut()).0.as_chunks_mut::<N>().0;
        for (&mask, sum) in self.masks.iter().zip(sums) {
            let mut total = if self.first { [simd.splat_f64s(0.0); N] } else { *sum };
            for t in 0..GROUP / 4 {
                let row = &table[16 * t + (mask >> (4 * t) & 15) as usize];
                for j in 0..N {
                    total[j] = simd.add_f64s(total[j], row[j]);
                }
            }
            *sum = total;
        }
    }
}

/// Bit j of word i becomes bit i of word j (Hacker's Delight, §7-3).
pub(super) fn transpose(a: &mut [u32; 32]) {
    let (mut width, mut mask) = (16, 0x0000_ffff_u32);
    while width != 0 {
        let mut k = 0;
        while k < 32 {
            let t = ((a[k] >> width) ^ a[k + width]) & mask;
            a[k] ^= t << width;
            a[k + width] ^= t;
            k = (k + width + 1) & !width;
        }
        width >>= 1;
        mask ^= mask << width;
    }
}
