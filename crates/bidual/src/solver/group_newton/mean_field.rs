//! A preconditioner from the average overlap of patterns.
//!
//! Patterns that are on for shares s_i, s_j of the samples overlap in about s_i·s_j of them, so
//! AᵀHA ≈ h̄·(ssᵀ ⊗ G) outside the diagonal blocks, which are about h̄·s_i·G, with G = XᵀX. In the
//! eigenbasis of G every block of the Newton matrix is then diagonal plus rank one, and the blocks
//! are coupled by one d×d matrix (Woodbury). Derived here.

use crate::linalg::{Mat, axpy, cholesky_in_place, cholesky_solve, column, column_mut, dot, gemm};
use crate::operator::{LinearOperator, MeanField};

/// Variance of a gate, at least: a pattern that is always on has none.
const SPREAD: f64 = 0.05;
/// Curvature along a group, as a share of that across it, at least.
const RADIAL: f64 = 1e-8;

/// Applies the inverse of the model to d×k matrices; the identity where there is no model.
pub(super) struct Preconditioner {
    model: Option<Model>,
}

struct Model {
    field: MeanField,
    /// √(h̄·eigenvalue).
    roots: Vec<f64>,
    blocks: Blocks,
    /// Cholesky factor of I + √(h̄Λ)·Σ s_i²B_i⁻¹·√(h̄Λ).
    factor: Mat,
    /// Space for d×k matrices in the eigenbasis.
    rotated: Mat,
    solved: Mat,
}

/// B_i = a_iΛ + θ_i(I − ŵŵᵀ) in the eigenbasis.
struct Blocks {
    /// 1/(a_iΛ + θ_i), d×k.
    inverse: Mat,
    /// D_i⁻¹ŵ_i and its weight β_i.
    radial: Mat,
    weights: Vec<f64>,
}

impl Blocks {
    /// out = B_i⁻¹ v.
    fn solve(&self, i: usize, v: &[f64], out: &mut [f64]) {
        let (inverse, radial) = (column(&self.inverse, i), column(&self.radial, i));
        let along = self.weights[i] * dot(radial, v);
        for j in 0..v.len() {
            out[j] = inverse[j] * v[j] + along * radial[j];
        }
    }
}

impl Preconditioner {
    /// For groups of directions `unit` (d×k) whose norms bend by `bends`, and mean curvature `h`.
    pub(super) fn new(operator: &dyn LinearOperator, h: f64, bends: &[f64], unit: &Mat) -> Self {
        Self { model: operator.mean_field().and_then(|field| Model::new(field, h, bends, unit)) }
    }

    /// out = M⁻¹ r.
    pub(super) fn apply(&mut self, r: &Mat, out: &mut Mat) {
        match &mut self.model {
            Some(model) => model.apply(r, out),
            None => out.copy_from(r),
        }
    }
}

impl Model {
    fn new(field: MeanField, h: f64, bends: &[f64], unit: &Mat) -> Option<Self> {
        let (d, k) = unit.shape();
        if h.is_nan() || h <= 0.0 {
            return None;
        }
        let values: Vec<f64> = field.spectrum.values.iter().map(|v| v.max(0.0)).collect();
        let mut rotated = Mat::zeros(d, k);
        gemm(rotated.as_mut(), field.spectrum.basis.transpose(), unit.as_ref(), false);
        let (mut inverse, mut radial) = (Mat::zeros(d, k), Mat::zeros(d, k));
        let mut weights = vec![0.0; k];
        let mut coupling = Mat::zeros(d, d);
        for i in 0..k {
            let share = field.shares[i].abs();
            let own = h * (share * (1.0 - share)).max(SPREAD);
            let (inverse, radial) = (column_mut(&mut inverse, i), column_mut(&mut radial, i));
            let w = column(&rotated, i);
            let mut along = 0.0;
            for j in 0..d {
                let data = own * values[j];
                inverse[j] = 1.0 / (data + bends[i]);
                radial[j] = inverse[j] * w[j];
                along += w[j] * data * radial[j];
            }
            weights[i] = bends[i] / along.max(RADIAL);
            let square = field.shares[i] * field.shares[i];
            for j in 0..d {
                coupling[(j, j)] += square * inverse[j];
                axpy(square * weights[i] * radial[j], radial, column_mut(&mut coupling, j));
            }
        }
        let roots: Vec<f64> = values.iter().map(|v| (h * v).sqrt()).collect();
        let mut factor = Mat::from_fn(d, d, |i, j| {
            roots[i] * coupling[(i, j)] * roots[j] + if i == j { 1.0 } else { 0.0 }
        });
        let blocks = Blocks { inverse, radial, weights };
        let solved = Mat::zeros(d, k);
        cholesky_in_place(&mut factor).then_some(Self {
            field,
            roots,
            blocks,
            factor,
            rotated,
            solved,
        })
    }

    fn apply(&mut self, r: &Mat, out: &mut Mat) {
        let (d, k) = r.shape();
        let basis = self.field.spectrum.basis.as_ref();
        gemm(self.rotated.as_mut(), basis.transpose(), r.as_ref(), false);
        let (mut sum, mut shared) = (vec![0.0; d], vec![0.0; d]);
        for i in 0..k {
            let solved = column_mut(&mut self.solved, i);
            self.blocks.solve(i, column(&self.rotated, i), solved);
            axpy(self.field.shares[i], solved, &mut sum);
        }
        sum.iter_mut().zip(&self.roots).for_each(|(s, root)| *s *= root);
        cholesky_solve(&self.factor, &mut sum);
        sum.iter_mut().zip(&self.roots).for_each(|(s, root)| *s *= root);
        for i in 0..k {
            self.blocks.solve(i, &sum, &mut shared);
            axpy(-self.field.shares[i], &shared, column_mut(&mut self.solved, i));
        }
        gemm(out.as_mut(), basis, self.solved.as_ref(), false);
    }
}
