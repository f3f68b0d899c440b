//! ΦᵀHΦ, the dense part of the Newton system.

use crate::linalg::{Mat, column, dot, gemm};
use rayon::prelude::*;

/// ΦᵀHΦ, kept while H and the columns stay the same (squared loss: for ever).
#[derive(Default)]
pub(super) struct GramCache {
    hessian: Vec<f64>,
    gram: Option<Mat>,
}

impl GramCache {
    pub(super) fn clear(&mut self) {
        self.gram = None;
    }

    pub(super) fn get(&mut self, phi: &Mat, hessian: &[f64], intercept: bool) -> &Mat {
        if self.hessian != hessian {
            self.hessian = hessian.to_vec();
            self.gram = None;
        }
        self.gram.get_or_insert_with(|| weighted_gram(phi, hessian, intercept))
    }
}

/// Lower triangle of Φᵀ(diag h − hhᵀ/Σh if `intercept`)Φ, in fixed tiles.
pub(crate) fn weighted_gram(phi: &Mat, h: &[f64], intercept: bool) -> Mat {
    const TILE: usize = 256;
    let (n, m) = (phi.nrows(), phi.ncols());
    let roots: Vec<f64> = h.iter().map(|v| v.max(0.0).sqrt()).collect();
    let total: f64 = h.iter().sum();
    let mut scaled = Mat::zeros(n, m);
    for j in 0..m {
        let from = column(phi, j);
        // centring first: the rank-one term would cancel digits
        let mean = if intercept && total > 0.0 { dot(from, h) / total } else { 0.0 };
        for (to, (v, r)) in scaled.col_as_slice_mut(j).iter_mut().zip(from.iter().zip(&roots)) {
            *to = (v - mean) * r;
        }
    }
    let starts: Vec<usize> = (0..m).step_by(TILE).collect();
    let pairs: Vec<(usize, usize)> = starts
        .iter()
        .flat_map(|&i| starts.iter().filter(move |&&j| j <= i).map(move |&j| (i, j)))
        .collect();
    let tiles: Vec<Mat> = pairs
        .par_iter()
        .map(|&(i, j)| {
            let (ni, nj) = (TILE.min(m - i), TILE.min(m - j));
            let mut tile = Mat::zeros(ni, nj);
            let (left, right) = (scaled.as_ref().subcols(i, ni), scaled.as_ref().subcols(j, nj));
            gemm(tile.as_mut(), left.transpose(), right, false);
            tile
        })
        .collect();
    let mut gram = Mat::zeros(m, m);
    for ((i, j), tile) in pairs.into_iter().zip(tiles) {
        gram.as_mut().submatrix_mut(i, j, tile.nrows(), tile.ncols()).copy_from(&tile);
    }
    gram
}
