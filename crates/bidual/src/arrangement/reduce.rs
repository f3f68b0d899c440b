//! Rows at unit length, in coordinates of their row space, grouped by hyperplane.

use super::centre::centre;
use super::enumerate::{
    EnumerateError, PARALLEL_TOLERANCE, RANK_TOLERANCE, ZERO_ROW, generic_bound,
};
use super::restriction::bit;
use super::rows::{UnitRows, dot, lift, merge_parallel, normalise, pivoted_basis, subtract};

/// The non-zero rows of `x` (row-major n×d) at unit length, with their indices.
pub(super) fn unit_rows(
    x: &[f64],
    n: usize,
    d: usize,
) -> Result<(Vec<usize>, UnitRows), EnumerateError> {
    if n.checked_mul(d) != Some(x.len()) {
        return Err(EnumerateError::Shape { n, d, found: x.len() });
    }
    if let Some(at) = x.iter().position(|v| !v.is_finite()) {
        return Err(EnumerateError::NonFinite { row: at / d, column: at % d });
    }
    let largest = x.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let scaled: Vec<f64> =
        if largest > 0.0 { x.iter().map(|v| v / largest).collect() } else { x.to_vec() };
    let mut samples = Vec::new();
    let mut rows = UnitRows { dim: d, data: Vec::new(), error: Vec::new() };
    for (i, row) in scaled.chunks(d.max(1)).enumerate() {
        let mut unit = row.to_vec();
        if normalise(&mut unit) > ZERO_ROW {
            samples.push(i);
            rows.data.extend(unit);
            rows.error.push(2.0 * f64::EPSILON);
        }
    }
    Ok((samples, rows))
}

/// The non-zero rows in coordinates of their row space, grouped by hyperplane.
pub(super) struct Reduced {
    /// Orthonormal basis of the row space, rank × d.
    pub basis: Vec<f64>,
    /// Basis in which the distinct rows are isotropic, rank × d.
    pub transform: Vec<f64>,
    /// All non-zero rows in both.
    pub orthonormal: UnitRows,
    pub isotropic: UnitRows,
    pub representatives: Vec<usize>,
    pub group: Vec<usize>,
    pub opposite: Vec<bool>,
}

impl Reduced {
    pub fn new(rows: &UnitRows, limit: usize) -> Result<Self, EnumerateError> {
        // Rank r has at least 2^r cells: no need to know it beyond the limit.
        let enough = limit.max(1).ilog2() as usize + 1;
        let mut representatives: Vec<usize> = (0..rows.len()).collect();
        let mut group = representatives.clone();
        let mut opposite = vec![false; rows.len()];
        // Rows may become parallel by the projection, and the rank may drop
        // when they are merged: repeat until nothing merges.
        loop {
            let current = rows.gather(&representatives);
            let (pivots, basis) = pivoted_basis(&current, enough, RANK_TOLERANCE);
            if pivots.len() == enough {
                return Err(EnumerateError::Limit {
                    limit,
                    found: 1_usize.checked_shl(enough as u32).unwrap_or(usize::MAX),
                    bound: generic_bound(current.len(), current.len().min(rows.dim)),
                });
            }
            let transform = isotropic_basis(&current, &basis);
            let merge = merge_parallel(&apply(&current, &transform), PARALLEL_TOLERANCE);
            for (group, opposite) in group.iter_mut().zip(&mut opposite) {
                *opposite ^= merge.opposite[*group];
                *group = merge.group[*group];
            }
            representatives = (merge.representatives.iter()).map(|&k| representatives[k]).collect();
            if representatives.len() == current.len() {
                return Ok(Self {
                    orthonormal: rows.project(&basis),
                    isotropic: apply(rows, &transform),
                    basis,
                    transform,
                    representatives,
                    group,
                    opposite,
                });
            }
        }
    }

    pub fn rank(&self) -> usize {
        self.isotropic.dim
    }

    /// The signs of the non-zero rows in a cell of the representatives.
    pub fn signs(&self, bits: &[u64]) -> Vec<f64> {
        (self.group.iter().zip(&self.opposite))
            .map(|(&group, &opposite)| if bit(bits, group) == opposite { -1.0 } else { 1.0 })
            .collect()
    }

    /// Representatives and the merged rows not parallel to the last digit.
    pub fn walls(&self) -> Vec<usize> {
        let rows = &self.isotropic;
        (0..rows.len())
            .filter(|&k| {
                let other = self.representatives[self.group[k]];
                k == other
                    || rows.distance(k, other, self.opposite[k]) > rows.tolerance(k, other, 0.0)
            })
            .collect()
    }

    /// The direction `u`, or a deeper one towards the centre of its cell.
    pub fn recentred(&self, walls: &[usize], signs: &[f64], u: &[f64], steps: usize) -> Vec<f64> {
        let mut v: Vec<f64> = (self.basis.chunks(u.len())).map(|q| dot(q, u)).collect();
        let inward: Vec<f64> = (walls.iter())
            .flat_map(|&k| self.orthonormal.row(k).iter().map(move |h| signs[k] * h))
            .collect();
        centre(&inward, &mut v, steps);
        let mut u = lift(&v, &self.basis, u.len());
        normalise(&mut u);
        u
    }
}

/// Columns t_k of the span of `basis`, as rows, such that the products of the
/// rows with them are orthonormal. A linear map of u keeps the cells; this one
/// separates rows that crowd around few directions, as data far from the
/// origin with a bias column do.
fn isotropic_basis(rows: &UnitRows, basis: &[f64]) -> Vec<f64> {
    let (dim, n) = (rows.dim, rows.len());
    let mut transform: Vec<f64> = basis.to_vec();
    let mut products: Vec<f64> = Vec::with_capacity(basis.len() / dim * n);
    for k in 0..basis.len() / dim {
        let (done, rest) = transform.split_at_mut(k * dim);
        let column = &mut rest[..dim];
        let mut product: Vec<f64> = Vec::new();
        for _ in 0..2 {
            product = (0..n).map(|i| dot(rows.row(i), column)).collect();
            for (t, p) in done.chunks(dim).zip(products.chunks(n)) {
                let along = dot(&product, p);
                subtract(&mut product, along, p);
                subtract(column, along, t);
            }
            let norm = normalise(&mut product);
            // Zero only if the row is: the rank is known.
            if norm > 0.0 {
                column.iter_mut().for_each(|x| *x /= norm);
            }
        }
        products.extend(product);
    }
    transform
}

/// The rows times the columns of `transform`, scaled to unit length, with the
/// rounding errors of the products.
fn apply(rows: &UnitRows, transform: &[f64]) -> UnitRows {
    let factor = f64::EPSILON * (4.0 + (rows.dim as f64).sqrt());
    let mut result =
        UnitRows { dim: transform.len() / rows.dim, data: Vec::new(), error: Vec::new() };
    for i in 0..rows.len() {
        let (mut unit, mut size) = (Vec::with_capacity(result.dim), 0.0);
        for column in transform.chunks(rows.dim) {
            let terms = || rows.row(i).iter().zip(column).map(|(a, b)| a * b);
            unit.push(terms().sum());
            size += terms().map(f64::abs).sum::<f64>().powi(2);
        }
        let norm = normalise(&mut unit);
        result.error.push(factor * size.sqrt() / norm);
        result.data.extend(unit);
    }
    result
}
