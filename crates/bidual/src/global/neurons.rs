//! A list of neurons with the signs of their output weights.

use crate::cone::Gauge;
use crate::linalg::{Mat, column, norm, times};
use crate::network::{Bias, Network};
use crate::solver::SparseColumns;

/// f = Σ ±(Xv_j)_+, v_j = |a_j|w_j for balanced neurons.
#[derive(Debug, Clone)]
pub struct Neurons {
    /// p×m, the bias last if there is one.
    pub values: Mat,
    /// True for a negative output weight.
    pub negative: Vec<bool>,
}

impl Neurons {
    /// No neurons of `p` weights.
    pub fn none(p: usize) -> Self {
        Self { values: Mat::zeros(p, 0), negative: vec![] }
    }

    /// The neurons of a balanced ReLU network on scaled features.
    pub fn of(network: &Network, bias: Bias) -> Self {
        let (d, m) = (network.inputs(), network.neurons());
        let p = d + usize::from(bias != Bias::None);
        let at = |i: usize, j: usize| {
            let w = if i < d { network.weights[(i, j)] } else { network.biases[j] };
            network.outputs[j].abs() * w
        };
        let negative = network.outputs.iter().map(|a| *a < 0.0).collect();
        Self { values: Mat::from_fn(p, m, at), negative }
    }

    /// From columns 2k (positive) and 2k+1 (negative output weight).
    pub(crate) fn from_columns(z: &SparseColumns) -> Self {
        let negative = z.columns.iter().map(|c| c % 2 == 1).collect();
        Self { values: z.values.clone(), negative }
    }

    /// Inverse of [`Neurons::from_columns`].
    pub(crate) fn to_columns(&self) -> SparseColumns {
        let name = |(k, negative): (usize, &bool)| 2 * k + usize::from(*negative);
        let columns = self.negative.iter().enumerate().map(name).collect();
        SparseColumns { columns, values: self.values.clone() }
    }

    /// Number of neurons m.
    pub fn len(&self) -> usize {
        self.negative.len()
    }

    /// True without neurons.
    pub fn is_empty(&self) -> bool {
        self.negative.is_empty()
    }

    /// These neurons and more of them.
    pub(super) fn with(&self, more: &[(Vec<f64>, bool)]) -> Self {
        let (p, m) = (self.values.nrows(), self.len());
        let at = |i: usize, j: usize| if j < m { self.values[(i, j)] } else { more[j - m].0[i] };
        let mut negative = self.negative.clone();
        negative.extend(more.iter().map(|n| n.1));
        Self { values: Mat::from_fn(p, m + more.len(), at), negative }
    }

    /// The listed neurons.
    pub(super) fn select(&self, keep: &[usize]) -> Self {
        Self {
            values: Mat::from_fn(self.values.nrows(), keep.len(), |i, k| self.values[(i, keep[k])]),
            negative: keep.iter().map(|&k| self.negative[k]).collect(),
        }
    }

    /// f on the rows of `x` (n×p).
    pub fn outputs(&self, x: &Mat) -> Vec<f64> {
        let (mut f, mut t) = (vec![0.0; x.nrows()], vec![0.0; x.nrows()]);
        for j in 0..self.len() {
            times(x, column(&self.values, j), &mut t);
            let s = if self.negative[j] { -1.0 } else { 1.0 };
            f.iter_mut().zip(&t).for_each(|(f, t)| *f += s * t.max(0.0));
        }
        f
    }

    /// ‖v_j‖ without a free bias: what weight decay sees.
    pub fn size(&self, j: usize, gauge: &Gauge) -> f64 {
        norm(&column(&self.values, j)[..gauge.penalised(self.values.nrows())])
    }

    /// Σ_j‖v_j‖.
    pub fn penalty(&self, gauge: &Gauge) -> f64 {
        (0..self.len()).map(|j| self.size(j, gauge)).sum()
    }

    /// Unit directions and signs, as pricing wants them.
    pub fn directions(&self, gauge: &Gauge) -> Vec<(Vec<f64>, bool)> {
        let unit = |j: usize| {
            let v = column(&self.values, j);
            let size = gauge.value(v);
            (v.iter().map(|v| v / size).collect(), self.negative[j])
        };
        (0..self.len()).filter(|&j| gauge.value(column(&self.values, j)) > 0.0).map(unit).collect()
    }
}
