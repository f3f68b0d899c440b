//! Rows in coordinates of their own span: what a search sees is their rank.

use super::simplicial;
use crate::cone::Gauge;
use crate::linalg::{Mat, column, dot, gemm, thin_svd};

/// Singular values below this share of the largest are left to the slack.
const RANK_TOLERANCE: f64 = 1e-9;

/// Rows in coordinates of their own span.
pub(super) struct Projected {
    /// Rows for the search over cones, if there are any coordinates.
    pub rows: Option<simplicial::Rows>,
    /// The same rows, one after the other.
    pub flat: Vec<f64>,
    /// Orthonormal columns, (penalised coordinates)×r; `None`: as given.
    basis: Option<Mat>,
    /// Means taken off the columns before projecting (free bias only).
    pub means: Vec<f64>,
    /// ‖what the projection leaves out‖_F.
    pub slack: f64,
    /// ‖X‖_F of the penalised coordinates, for the trivial bound.
    pub size: f64,
}

impl Projected {
    pub fn new(x: &Mat, gauge: &Gauge) -> Self {
        let (n, p) = (x.nrows(), x.ncols());
        let q = gauge.penalised(p);
        let free = q < p;
        let means: Vec<f64> = (0..q)
            .map(|j| if free { column(x, j).iter().sum::<f64>() / n as f64 } else { 0.0 })
            .collect();
        let centred = Mat::from_fn(n, q, |i, j| x[(i, j)] - means[j]);
        let basis = thin_svd(&centred).and_then(|svd| {
            let first = svd.s.first().copied().unwrap_or(0.0);
            let r = svd.s.iter().filter(|v| **v > RANK_TOLERANCE * first).count().max(1);
            (r < q).then(|| svd.v.subcols(0, r).to_owned())
        });
        let size = centred.norm_l2();
        let make = |h: &Mat| {
            let wide = h.ncols() + usize::from(free);
            let at = |i: usize, j: usize| if j < h.ncols() { h[(i, j)] } else { 1.0 };
            let flat: Vec<f64> = (0..n).flat_map(|i| (0..wide).map(move |j| at(i, j))).collect();
            (simplicial::Rows::new(&flat, wide), flat)
        };
        match basis {
            None => {
                let plain = Mat::from_fn(n, q, |i, j| x[(i, j)]);
                let (rows, flat) = make(&plain);
                Self { rows, flat, basis: None, means: vec![0.0; q], slack: 0.0, size }
            }
            Some(basis) => {
                let mut h = Mat::zeros(n, basis.ncols());
                gemm(h.as_mut(), centred.as_ref(), basis.as_ref(), false);
                let mut kept = Mat::zeros(n, q);
                gemm(kept.as_mut(), h.as_ref(), basis.transpose(), false);
                let slack = (&centred - &kept).norm_l2() + 1e-14 * size;
                let (rows, flat) = make(&h);
                Self { rows, flat, basis: Some(basis), means, slack, size }
            }
        }
    }

    /// Coordinates that the search sees.
    pub fn dim(&self) -> usize {
        self.rows.as_ref().map_or(0, simplicial::Rows::dim)
    }

    /// A direction of the projected rows as one of the given rows.
    pub fn lift(&self, u: &[f64], free: bool) -> Vec<f64> {
        let Some(basis) = &self.basis else { return u.to_vec() };
        let mut out: Vec<f64> = (0..basis.nrows())
            .map(|i| (0..basis.ncols()).map(|k| basis[(i, k)] * u[k]).sum())
            .collect();
        if free {
            let shift = dot(&out, &self.means);
            out.push(u[basis.ncols()] - shift);
        }
        out
    }

    /// Inverse of [`Projected::lift`] on its range.
    pub fn project(&self, u: &[f64], free: bool) -> Vec<f64> {
        let Some(basis) = &self.basis else { return u.to_vec() };
        let mut out: Vec<f64> =
            (0..basis.ncols()).map(|k| dot(basis.col_as_slice(k), &u[..basis.nrows()])).collect();
        if free {
            out.push(u[basis.nrows()] + dot(&u[..basis.nrows()], &self.means));
        }
        out
    }
}
