//! One column of the master: its data, its value, and the face of its cone that it is on.

use crate::Program;
use crate::cone::{Constraint, Projection};
use crate::linalg::{Mat, axpy, column, gemm, norm, transpose_times};

/// A column with its cone.
pub(super) struct Face {
    constraint: Option<Constraint>,
    /// Its place in `constraint`.
    index: usize,
    /// Φ, n×d.
    pub phi: Mat,
    /// v.
    pub value: Vec<f64>,
    /// c = Φᵀν.
    pub gradient: Vec<f64>,
    /// The proximal point of the last [`Face::step`].
    pub next: Vec<f64>,
    /// 1 − ‖next‖/‖projection‖.
    shrink: f64,
    point: Vec<f64>,
    projection: Projection,
    priced: Projection,
}

impl Face {
    pub(super) fn new(program: &Program, c: usize, value: Option<&[f64]>) -> Self {
        let phi = program.operator.block(c);
        let d = phi.ncols();
        Self {
            constraint: program.constraint.clone(),
            index: c,
            phi,
            value: value.map_or_else(|| vec![0.0; d], <[f64]>::to_vec),
            gradient: vec![0.0; d],
            next: vec![0.0; d],
            shrink: 1.0,
            point: vec![0.0; d],
            projection: Projection::default(),
            priced: Projection::default(),
        }
    }

    /// The price of the column at c = Φᵀν.
    pub(super) fn price(&mut self, c: &[f64]) -> f64 {
        self.gradient.copy_from_slice(c);
        project(&self.constraint, self.index, &self.gradient, &mut self.priced);
        norm(&self.priced.point)
    }

    /// prox of σ(λ‖·‖ + indicator of the cone) at v + σ(c − change): the projection, shrunk.
    pub(super) fn step(&mut self, change: &[f64], sigma: f64, lambda: f64) {
        for (j, p) in self.point.iter_mut().enumerate() {
            *p = self.value[j] + sigma * (self.gradient[j] - change[j]);
        }
        project(&self.constraint, self.index, &self.point, &mut self.projection);
        let length = norm(&self.projection.point);
        self.shrink = if length > sigma * lambda { sigma * lambda / length } else { 1.0 };
        for (n, p) in self.next.iter_mut().zip(&self.projection.point) {
            *n = (1.0 - self.shrink) * p;
        }
    }

    /// A root of the derivative of the last proximal point: N with NNᵀ = σ·prox′, of as many
    /// columns as the face has dimensions.
    pub(super) fn root(&self, sigma: f64) -> Option<Mat> {
        if self.shrink >= 1.0 {
            return None;
        }
        let face = match self.constraint {
            Some(_) => self.projection.face(),
            None => Mat::identity(self.value.len(), self.value.len()),
        };
        let length = norm(&self.projection.point);
        let direction: Vec<f64> = self.projection.point.iter().map(|p| p / length).collect();
        let mut along = vec![0.0; face.ncols()];
        transpose_times(&face, &direction, &mut along);
        let (across, scale) = ((1.0 - self.shrink).sqrt(), sigma.sqrt());
        let mut root = face;
        for (j, a) in along.iter().enumerate() {
            let column = root.col_as_slice_mut(j);
            column.iter_mut().for_each(|v| *v *= scale * across);
            axpy(scale * (1.0 - across) * a, &direction, column);
        }
        Some(root)
    }
}

fn project(constraint: &Option<Constraint>, index: usize, v: &[f64], to: &mut Projection) {
    match constraint {
        Some(constraint) => constraint.project(index, v, to),
        None => {
            to.point.clear();
            to.point.extend_from_slice(v);
        }
    }
}

/// Φ_g N_g side by side.
pub(super) fn images(faces: &[(&Face, Mat)], n: usize) -> Mat {
    let total = faces.iter().map(|(_, root)| root.ncols()).sum();
    let mut images = Mat::zeros(n, total);
    let mut from = 0;
    for (face, root) in faces {
        let part = images.as_mut().subcols_mut(from, root.ncols());
        gemm(part, face.phi.as_ref(), root.as_ref(), false);
        from += root.ncols();
    }
    images
}

/// Σ_j y_j·(column j of m).
pub(super) fn combine(m: &Mat, y: &[f64], out: &mut [f64]) {
    for (j, y) in y.iter().enumerate() {
        axpy(*y, column(m, j), out);
    }
}
