//! The rows of X as products want them.

use super::tables::{Number, Rows};
use crate::linalg::{Mat, column};
use std::sync::OnceLock;

/// Largest entry of data for which products in f32 do not leave its range.
const SINGLE: (f64, f64) = (1e-12, 1e12);

/// X by rows, in f64 or as it came in f32. Sums are in f64 either way, but for rough products.
pub(super) struct Samples {
    shape: (usize, usize),
    kind: Kind,
}

enum Kind {
    /// And in f32, once that was asked for; `None` inside if it is out of its range.
    Double(Rows<f64>, OnceLock<Option<Rows<f32>>>),
    /// And whether products in f32 are possible.
    Single(Rows<f32>, bool),
}

/// What products are made of: rows of one kind, and the kind of the sums.
pub(super) enum Products<'a> {
    Double(&'a Rows<f64>),
    Single(&'a Rows<f32>),
    Rough(&'a Rows<f32>),
}

impl Samples {
    pub(super) fn double(x: &Mat) -> Self {
        let rows = Rows::of::<f64>(x.shape(), |i, j| x[(i, j)]);
        Self { shape: x.shape(), kind: Kind::Double(rows, OnceLock::new()) }
    }

    /// n rows of d numbers, one after the other.
    pub(super) fn single(x: &[f32], d: usize) -> Self {
        let shape = (x.len() / d.max(1), d);
        let rows = Rows::of::<f64>(shape, |i, j| f64::from(x[i * d + j]));
        let rough = in_range(rows.largest());
        Self { shape, kind: Kind::Single(rows, rough) }
    }

    pub(super) fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Rows first.. as a matrix.
    pub(super) fn slice(&self, first: usize, count: usize) -> Mat {
        let mut out = Mat::zeros(count, self.shape.1);
        match &self.kind {
            Kind::Double(rows, _) => rows.copy_to(first, &mut out),
            Kind::Single(rows, _) => rows.copy_to(first, &mut out),
        }
        out
    }

    /// ‖x_k‖ of each row.
    pub(super) fn norms(&self) -> Vec<f64> {
        const STEP: usize = 512;
        let (n, d) = self.shape;
        let mut squares = vec![0.0; n];
        for (t, squares) in squares.chunks_mut(STEP).enumerate() {
            let slice = self.slice(t * STEP, squares.len());
            for j in 0..d {
                squares.iter_mut().zip(column(&slice, j)).for_each(|(s, v)| *s += v * v);
            }
        }
        squares.into_iter().map(f64::sqrt).collect()
    }

    /// Whether there are products in f32.
    pub(super) fn can_be_rough(&self) -> bool {
        match &self.kind {
            Kind::Double(rows, rough) => rough.get_or_init(|| narrowed(rows, self.shape)).is_some(),
            Kind::Single(_, rough) => *rough,
        }
    }

    /// For products, rough ones if they are asked for and there are such.
    pub(super) fn products(&self, rough: bool) -> Products<'_> {
        match &self.kind {
            Kind::Double(rows, single) => match single.get() {
                Some(Some(single)) if rough => Products::Rough(single),
                _ => Products::Double(rows),
            },
            Kind::Single(rows, true) if rough => Products::Rough(rows),
            Kind::Single(rows, _) => Products::Single(rows),
        }
    }
}

fn in_range(largest: f64) -> bool {
    (SINGLE.0..SINGLE.1).contains(&largest)
}

fn narrowed(rows: &Rows<f64>, shape: (usize, usize)) -> Option<Rows<f32>> {
    in_range(rows.largest()).then(|| Rows::of::<f32>(shape, |i, j| rows.value(i, j)))
}

impl<D: Number> Rows<D> {
    /// Rows first.. of all columns, as many as `out` has.
    fn copy_to(&self, first: usize, out: &mut Mat) {
        let d = out.ncols();
        self.each_tile(|at, width, values| {
            for j in 0..width.min(d - at) {
                let to = crate::linalg::column_mut(out, at + j);
                let from = values[first * width + j..].iter().step_by(width);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f64());
            }
        });
    }
}
