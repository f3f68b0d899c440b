//! Samples, targets and weights; standardisation and its inverse.

use crate::linalg::{Mat, column, column_mut};
use crate::{Error, Result};

/// A supervised data set: `x` is n×d (rows are samples), `y` has n entries
/// (real targets, or labels ±1 for classification), `weights` are per sample.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Features, n×d.
    pub x: Mat,
    /// Targets, n.
    pub y: Vec<f64>,
    /// Sample weights ω (any positive scale: they are divided by their sum), or
    /// `None` for equal weights.
    pub weights: Option<Vec<f64>>,
}

impl Dataset {
    /// Checks shapes and values: n ≥ 2, d ≥ 1, everything finite.
    pub fn new(x: Mat, y: Vec<f64>, weights: Option<Vec<f64>>) -> Result<Self> {
        let (n, d) = (x.nrows(), x.ncols());
        if n < 2 {
            return Err(Error::Data(format!("at least 2 samples are needed, found {n}")));
        }
        if d == 0 {
            return Err(Error::Data("at least one feature is needed, found none".into()));
        }
        if y.len() != n {
            return Err(Error::Data(format!(
                "x has {n} rows but y has {} entries: one target per sample is needed",
                y.len()
            )));
        }
        for j in 0..d {
            if let Some(i) = column(&x, j).iter().position(|v| !v.is_finite()) {
                return Err(Error::Data(format!(
                    "x[{i}, {j}] is {}: every feature must be finite; fill it in or drop the row",
                    x[(i, j)]
                )));
            }
        }
        if let Some(i) = y.iter().position(|v| !v.is_finite()) {
            return Err(Error::Data(format!("y[{i}] is {}: every target must be finite", y[i])));
        }
        if let Some(w) = &weights {
            if w.len() != n {
                return Err(Error::Data(format!(
                    "{n} samples but {} weights: one weight per sample is needed",
                    w.len()
                )));
            }
            if let Some(i) = w.iter().position(|v| !v.is_finite() || *v < 0.0) {
                return Err(Error::Data(format!(
                    "weight {i} is {}: weights must be finite and not negative",
                    w[i]
                )));
            }
            if w.iter().filter(|v| **v > 0.0).count() < 2 {
                return Err(Error::Data("at least 2 samples need a positive weight".into()));
            }
        }
        Ok(Self { x, y, weights })
    }

    /// Number of samples n.
    pub fn samples(&self) -> usize {
        self.x.nrows()
    }

    /// Number of features d.
    pub fn features(&self) -> usize {
        self.x.ncols()
    }

    /// The rows `rows`, in that order.
    pub fn subset(&self, rows: &[usize]) -> Result<Self> {
        let x = Mat::from_fn(rows.len(), self.features(), |i, j| self.x[(rows[i], j)]);
        let y = rows.iter().map(|&i| self.y[i]).collect();
        let weights = self.weights.as_ref().map(|w| rows.iter().map(|&i| w[i]).collect());
        Self::new(x, y, weights)
    }

    /// Weights divided by their sum, so that F is a mean over samples.
    pub fn normalised_weights(&self) -> Vec<f64> {
        let n = self.samples();
        match &self.weights {
            None => vec![1.0 / n as f64; n],
            Some(w) => {
                let sum: f64 = w.iter().sum();
                w.iter().map(|v| v / sum).collect()
            }
        }
    }
}

/// The affine map x̃ = (x − mean)·inverse_scale, column by column. A constant
/// column has `inverse_scale` 0: it becomes exactly zero and gets weight zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Subtracted from each feature.
    pub mean: Vec<f64>,
    /// One over the standard deviation; 0 for a constant feature.
    pub inverse_scale: Vec<f64>,
}

impl Scaling {
    /// No change: mean 0, scale 1.
    pub fn identity(features: usize) -> Self {
        Self { mean: vec![0.0; features], inverse_scale: vec![1.0; features] }
    }

    /// Mean 0 and standard deviation 1 under `weights` (which sum to one).
    pub fn standard(x: &Mat, weights: &[f64]) -> Self {
        let d = x.ncols();
        let mut scaling = Self::identity(d);
        for j in 0..d {
            let values = column(x, j);
            let weighty = values.iter().zip(weights).filter(|(_, w)| **w > 0.0);
            let largest = weighty.fold(0.0f64, |a, (v, _)| a.max(v.abs()));
            if largest == 0.0 {
                scaling.inverse_scale[j] = 0.0;
                continue;
            }
            // relative to the largest entry: sums of squares neither overflow nor underflow
            let weighted = |f: &dyn Fn(f64) -> f64| -> f64 {
                let rows = values.iter().zip(weights).filter(|(_, w)| **w > 0.0);
                rows.map(|(v, w)| w * f(v / largest)).sum()
            };
            let rough = weighted(&|v| v);
            let mean = rough + weighted(&|v| v - rough);
            let deviation = weighted(&|v| (v - mean) * (v - mean)).sqrt();
            scaling.mean[j] = mean * largest;
            // below 1e-13 of the largest entry a spread is rounding, not information
            let constant = deviation <= 1e-13;
            let inverse = 1.0 / (deviation * largest);
            scaling.inverse_scale[j] = if constant || !inverse.is_finite() { 0.0 } else { inverse };
        }
        scaling
    }

    /// The scaled copy of `x`.
    pub fn apply(&self, x: &Mat) -> Mat {
        let mut out = x.clone();
        for j in 0..x.ncols() {
            let (mean, inverse) = (self.mean[j], self.inverse_scale[j]);
            for v in column_mut(&mut out, j) {
                *v = (*v - mean) * inverse;
            }
        }
        out
    }

    /// (direction, offset) on scaled features → the same function of raw features.
    pub fn fold(&self, direction: &mut [f64], offset: &mut f64) {
        for (j, w) in direction.iter_mut().enumerate() {
            *w *= self.inverse_scale[j];
            *offset -= *w * self.mean[j];
        }
    }

    /// Inverse of [`Scaling::fold`].
    pub fn unfold(&self, direction: &mut [f64], offset: &mut f64) {
        for (j, w) in direction.iter_mut().enumerate() {
            *offset += *w * self.mean[j];
            *w = if self.inverse_scale[j] > 0.0 { *w / self.inverse_scale[j] } else { 0.0 };
        }
    }
}
