//! Products with a 0/1 matrix without multiplications: the method of the four Russians.
//!
//! Arlazarov, Dinic, Kronrod and Faradzhev 1970. A sum of rows of X chosen by a pattern takes one
//! look-up and one addition per *four* rows: the 16 sums over subsets of each four rows are tabled
//! once and shared by all patterns. The columns of X are handled in tiles of at most four vectors,
//! so that eight tables (32 rows) fit into the first cache: 16 KiB, or 32 where vectors have 64 bytes.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};
use pulp::{Arch, Simd, WithSimd};
use std::any::TypeId;
use std::ops::{Add, Mul};

/// Rows, or patterns, that share a mask word.
pub(super) const GROUP: usize = 32;

/// A kind of number that tables hold: f64, or f32 for products that need few digits.
pub(super) trait Number:
    Copy + Send + Sync + Add<Output = Self> + Mul<Output = Self> + Pod + 'static
{
    type Vector<S: Simd>: Copy;
    const ZERO: Self;

    fn from_f64(v: f64) -> Self;
    fn to_f64(self) -> f64;
    fn lanes<S: Simd>() -> usize;
    fn vectors<S: Simd>(s: &[Self]) -> &[Self::Vector<S>];
    fn vectors_mut<S: Simd>(s: &mut [Self]) -> &mut [Self::Vector<S>];
    fn zeros<S: Simd>(simd: S) -> Self::Vector<S>;
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn sum<S: Simd>(simd: S, a: Self::Vector<S>) -> f64;
}

macro_rules! number {
    ($t:ty, $vector:ident, $lanes:ident, $view:ident, $view_mut:ident, $splat:ident, $add:ident, $mul_add:ident,
     $sum:ident) => {
        impl Number for $t {
            type Vector<S: Simd> = S::$vector;
            const ZERO: Self = 0.0;

            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn vectors<S: Simd>(s: &[Self]) -> &[S::$vector] {
                S::$view(s).0
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(s: &mut [Self]) -> &mut [S::$vector] {
                S::$view_mut(s).0
            }
            #[inline(always)]
            fn zeros<S: Simd>(simd: S) -> S::$vector {
                simd.$splat(0.0)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn sum<S: Simd>(simd: S, a: S::$vector) -> f64 {
                f64::from(simd.$sum(a))
            }
        }
    };
}

number!(
    f64,
    f64s,
    F64_LANES,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    add_f64s,
    mul_add_f64s,
    reduce_sum_f64s
);
number!(
    f32,
    f32s,
    F32_LANES,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    add_f32s,
    mul_add_f32s,
    reduce_sum_f32s
);

/// Sums over the subsets of four rows; eight tables serve a mask word. A row of a table must not
/// cross a cache line where it need not.
#[repr(align(64))]
struct Tables<T, const W: usize>([[[T; W]; 16]; GROUP / 4]);

impl<T: Number, const W: usize> Tables<T, W> {
    fn new() -> Self {
        Self([[[T::ZERO; W]; 16]; GROUP / 4])
    }
}

/// `count` rows that start on a cache line, contents unspecified.
fn aligned<T: Number, const W: usize>(buffer: &mut Vec<f64>, count: usize) -> &mut [[T; W]] {
    const LINE: usize = 8;
    let most = (count * W * size_of::<T>()).div_ceil(size_of::<f64>());
    if buffer.len() < most + LINE {
        buffer.resize(most + LINE, 0.0);
    }
    let offset = buffer.as_ptr().align_offset(LINE * size_of::<f64>()).min(LINE);
    let numbers: &mut [T] = cast_slice_mut(&mut buffer[offset..offset + most]);
    numbers[..count * W].as_chunks_mut::<W>().0
}

/// Numbers in a vector of this machine.
fn lanes<T: Number>() -> usize {
    struct Lanes<T>(std::marker::PhantomData<T>);
    impl<T: Number> WithSimd for Lanes<T> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            T::lanes::<S>()
        }
    }
    Arch::new().dispatch(Lanes::<T>(std::marker::PhantomData))
}

/// First column and width of each tile: full ones of four vectors and a rest of whole vectors, for
/// sums of the kinds T and U alike.
fn tiles<T: Number, U: Number>(columns: usize) -> Vec<(usize, usize)> {
    let step = |lanes: usize, size: usize| lanes.max(4 * size_of::<f64>() / size);
    let (t, u) = (step(lanes::<T>(), size_of::<T>()), step(lanes::<U>(), size_of::<U>()));
    let (full, step) = (4 * t.min(u), t.max(u));
    let width = |first: usize| (columns - first).min(full).next_multiple_of(step);
    (0..columns).step_by(full).map(|first| (first, width(first))).collect()
}

/// Calls a function with the width of a tile as a constant: one to four vectors.
macro_rules! with_width {
    ($width:expr, $call:ident, $t:ident, ($($argument:expr),*)) => {
        match $width {
            4 => $call::<D, $t, 4>($($argument),*),
            8 => $call::<D, $t, 8>($($argument),*),
            12 => $call::<D, $t, 12>($($argument),*),
            16 => $call::<D, $t, 16>($($argument),*),
            24 => $call::<D, $t, 24>($($argument),*),
            32 => $call::<D, $t, 32>($($argument),*),
            48 => $call::<D, $t, 48>($($argument),*),
            _ => $call::<D, $t, 64>($($argument),*),
        }
    };
}

/// The rows of a matrix in tiles of columns, each tile contiguous; rows are padded with zeros to a
/// multiple of [`GROUP`]. They are kept as numbers of the kind D; sums may be of another kind T.
pub(super) struct Rows<D> {
    columns: usize,
    tiles: Vec<Tile<D>>,
}

struct Tile<D> {
    /// Of its columns in the matrix.
    first: usize,
    width: usize,
    values: Vec<D>,
}

impl<D: Number> Rows<D> {
    /// `value(i, j)` for `rows` rows, in tiles (first column, width) that cover the columns.
    fn build(
        rows: usize,
        columns: usize,
        tiles: Vec<(usize, usize)>,
        value: impl Fn(usize, usize) -> f64,
    ) -> Self {
        let padded = rows.next_multiple_of(GROUP);
        let tile = |(first, width): (usize, usize)| {
            let mut values = vec![D::ZERO; padded * width];
            for (i, row) in values.chunks_mut(width).enumerate().take(rows) {
                for (j, to) in row.iter_mut().enumerate().take(columns - first) {
                    *to = D::from_f64(value(i, first + j));
                }
            }
            Tile { first, width, values }
        };
        Self { columns, tiles: tiles.into_iter().map(tile).collect() }
    }

    /// `value(i, j)` for `rows` × `columns`, in tiles for sums of the kinds T and D.
    pub(super) fn of<T: Number>(
        (rows, columns): (usize, usize),
        value: impl Fn(usize, usize) -> f64,
    ) -> Self {
        Self::build(rows, columns, tiles::<T, D>(columns), value)
    }

    /// `value(k, j)` for `rows` more rows with the same columns, in the same tiles.
    pub(super) fn like<T: Number>(
        &self,
        rows: usize,
        value: impl Fn(usize, usize) -> f64,
    ) -> Rows<T> {
        let tiles = self.tiles.iter().map(|tile| (tile.first, tile.width)).collect();
        Rows::build(rows, self.columns, tiles, value)
    }

    /// Entry (i, j).
    pub(super) fn value(&self, i: usize, j: usize) -> f64 {
        let tile = &self.tiles[j / self.tiles[0].width.max(1)];
        tile.values[i * tile.width + j - tile.first].to_f64()
    }

    /// First column, width and entries of each tile.
    pub(super) fn each_tile(&self, mut see: impl FnMut(usize, usize, &[D])) {
        self.tiles.iter().for_each(|tile| see(tile.first, tile.width, &tile.values));
    }

    /// The largest |entry|.
    pub(super) fn largest(&self) -> f64 {
        let of = |tile: &Tile<D>| tile.values.iter().fold(0.0_f64, |a, v| a.max(v.to_f64().abs()));
        self.tiles.iter().map(of).fold(0.0, f64::max)
    }

    /// Σ_k r_k x_k over the rows k chosen by each mask, for the masks of one range of patterns:
    /// `masks(g)` holds bit k%32 of word g = k/32 of each. Pattern p goes to `out[p·columns..]`.
    /// Rows are summed in order, so the result does not depend on how the patterns are split into
    /// ranges. `buffer` is space.
    pub(super) fn sums<'m, T: Number>(
        &self,
        r: &[f64],
        masks: impl Fn(usize) -> &'m [u32],
        buffer: &mut Vec<f64>,
        out: &mut [f64],
    ) {
        for tile in &self.tiles {
            let width = self.columns - tile.first;
            let place = Place { first: tile.first, columns: self.columns, width };
            with_width!(tile.width, sums_tile, T, (&tile.values, r, &masks, buffer, out, place));
        }
    }

    /// out_i += x_iᵀ Σ_c z_c over the columns c chosen by row i, for the rows first..: `masks(g)`
    /// holds, for each of these rows, bit c%32 of word g = c/32. `z` has the columns as rows.
    pub(super) fn products<'m, T: Number>(
        &self,
        first: usize,
        z: &Rows<T>,
        masks: impl Fn(usize) -> &'m [u32],
        buffer: &mut Vec<f64>,
        out: &mut [f64],
    ) {
        for (tile, z) in self.tiles.iter().zip(&z.tiles) {
            let x = &tile.values[first * tile.width..];
            with_width!(tile.width, products_tile, T, (x, &z.values, &masks, buffer, out));
        }
    }
}

/// Where the sums of a tile go: entries first.. of each row of `columns`, `width` at most.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    columns: usize,
    width: usize,
}

fn sums_tile<'m, D: Number, T: Number, const W: usize>(
    tile: &[D],
    r: &[f64],
    masks: &dyn Fn(usize) -> &'m [u32],
    buffer: &mut Vec<f64>,
    out: &mut [f64],
    place: Place,
) {
    let rows = tile.as_chunks::<W>().0;
    let sums = aligned::<T, W>(buffer, out.len() / place.columns);
    if rows.is_empty() {
        sums.fill([T::ZERO; W]);
    }
    let mut tables = Tables::<T, W>::new();
    let arch = Arch::new();
    for (g, (rows, r)) in rows.chunks(GROUP).zip(r.chunks(GROUP)).enumerate() {
        arch.dispatch(Tabulate { tables: &mut tables, rows, scales: Some(r) });
        arch.dispatch(LookUp { tables: &tables, masks: masks(g), first: g == 0, sums });
    }
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(place.columns)) {
        let out = &mut out[place.first..][..W.min(place.width)];
        out.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum.to_f64());
    }
}

fn products_tile<'m, D: Number, T: Number, const W: usize>(
    x: &[D],
    z: &[T],
    masks: &dyn Fn(usize) -> &'m [u32],
    buffer: &mut Vec<f64>,
    out: &mut [f64],
) {
    if z.is_empty() {
        return;
    }
    let (x, z) = (x.as_chunks::<W>().0, z.as_chunks::<W>().0);
    let mut tables = Tables::<T, W>::new();
    let sums = aligned::<T, W>(buffer, out.len());
    let arch = Arch::new();
    for (g, rows) in z.chunks(GROUP).enumerate() {
        arch.dispatch(Tabulate { tables: &mut tables, rows, scales: None });
        arch.dispatch(LookUp { tables: &tables, masks: masks(g), first: g == 0, sums });
    }
    arch.dispatch(Dots { x, sums, out });
}

/// The same numbers, if both kinds are one.
fn same<D: Number, T: Number>(x: &[D]) -> Option<&[T]> {
    (TypeId::of::<D>() == TypeId::of::<T>()).then(|| cast_slice(x))
}

/// out_i += x_iᵀ sums_i.
struct Dots<'a, D, T, const W: usize> {
    x: &'a [[D; W]],
    sums: &'a [[T; W]],
    out: &'a mut [f64],
}

impl<D: Number, T: Number, const W: usize> WithSimd for Dots<'_, D, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if W.is_multiple_of(T::lanes::<S>()) {
            self.vectors(simd);
        } else {
            self.vectors(pulp::Scalar::new());
        }
    }
}

impl<D: Number, T: Number, const W: usize> Dots<'_, D, T, W> {
    #[inline(always)]
    fn vectors<S: Simd>(self, simd: S) {
        let direct = same::<D, T>(self.x.as_flattened());
        let mut widened = [T::ZERO; W];
        for (k, (out, sum)) in self.out.iter_mut().zip(self.sums).enumerate() {
            let x = match direct {
                Some(rows) => &rows[k * W..][..W],
                None => {
                    for j in 0..W {
                        widened[j] = T::from_f64(self.x[k][j].to_f64());
                    }
                    &widened
                }
            };
            let mut total = T::zeros(simd);
            for (x, s) in T::vectors::<S>(x).iter().zip(T::vectors::<S>(sum)) {
                total = T::mul_add(simd, *x, *s, total);
            }
            *out += T::sum(simd, total);
        }
    }
}

/// Fills the tables of 32 rows, each times its scale (1 without scales, 0 beyond their end).
struct Tabulate<'a, D, T, const W: usize> {
    tables: &'a mut Tables<T, W>,
    rows: &'a [[D; W]],
    scales: Option<&'a [f64]>,
}

impl<D: Number, T: Number, const W: usize> WithSimd for Tabulate<'_, D, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (t, table) in self.tables.0.iter_mut().enumerate() {
            for bit in 0..4 {
                let k = 4 * t + bit;
                let scale = self.scales.map_or(1.0, |r| r.get(k).copied().unwrap_or(0.0));
                let (scale, from) = (T::from_f64(scale), &self.rows[k]);
                let mut row = [T::ZERO; W];
                for j in 0..W {
                    row[j] = scale * T::from_f64(from[j].to_f64());
                }
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
struct LookUp<'a, T, const W: usize> {
    tables: &'a Tables<T, W>,
    masks: &'a [u32],
    first: bool,
    sums: &'a mut [[T; W]],
}

impl<T: Number, const W: usize> WithSimd for LookUp<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (W / T::lanes::<S>(), W % T::lanes::<S>()) {
            (1, 0) => self.vectors::<S, 1>(simd),
            (2, 0) => self.vectors::<S, 2>(simd),
            (3, 0) => self.vectors::<S, 3>(simd),
            (4, 0) => self.vectors::<S, 4>(simd),
            (6, 0) => self.vectors::<S, 6>(simd),
            (8, 0) => self.vectors::<S, 8>(simd),
            _ => self.vectors::<pulp::Scalar, W>(pulp::Scalar::new()),
        }
    }
}

impl<T: Number, const W: usize> LookUp<'_, T, W> {
    /// With N registers for a row of W numbers.
    #[inline(always)]
    fn vectors<S: Simd, const N: usize>(self, simd: S) {
        let table = T::vectors::<S>(self.tables.0.as_flattened().as_flattened());
        let Some(table) = table.as_chunks::<N>().0.first_chunk::<{ 16 * GROUP / 4 }>() else {
            return;
        };
        let sums = T::vectors_mut::<S>(self.sums.as_flattened_mut()).as_chunks_mut::<N>().0;
        for (&mask, sum) in self.masks.iter().zip(sums) {
            let mut total = if self.first { [T::zeros(simd); N] } else { *sum };
            for t in 0..GROUP / 4 {
                let row = &table[16 * t + (mask >> (4 * t) & 15) as usize];
                for j in 0..N {
                    total[j] = T::plus(simd, total[j], row[j]);
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
