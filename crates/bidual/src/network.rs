//! The network that a person can read, run, save and export.

use crate::data::Scaling;
use crate::linalg::{Mat, axpy, column, column_mut, dot, norm, same};

/// How the hidden bias enters the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// No hidden bias: neurons are φ(wᵀx).
    None,
    /// φ(wᵀx + b) with b in the weight decay, like any weight.
    Penalised,
    /// φ(wᵀx + b) with b free of weight decay.
    Free,
}

/// Gates of a gated ReLU network: neuron j is on iff g_jᵀx ≥ t_j.
#[derive(Debug, Clone)]
pub struct Gates {
    /// Directions g_j, d×m, a column a neuron.
    pub directions: Mat,
    /// Thresholds t_j.
    pub thresholds: Vec<f64>,
}

impl PartialEq for Gates {
    /// Gates of different shapes are different.
    fn eq(&self, other: &Self) -> bool {
        self.thresholds == other.thresholds && same(&self.directions, &other.directions)
    }
}

/// f(x) = Σ_j a_j φ(w_jᵀx + b_j) + c with φ the ReLU, or, when `gates` are
/// present, f(x) = Σ_j a_j 1{g_jᵀx ≥ t_j}(w_jᵀx + b_j) + c.
#[derive(Debug, Clone)]
pub struct Network {
    /// Hidden weights w_j, d×m, a column a neuron.
    pub weights: Mat,
    /// Hidden biases b_j.
    pub biases: Vec<f64>,
    /// Output weights a_j.
    pub outputs: Vec<f64>,
    /// Output bias c.
    pub output_bias: f64,
    /// Present for gated networks only.
    pub gates: Option<Gates>,
}

impl PartialEq for Network {
    /// Networks of different shapes are different.
    fn eq(&self, other: &Self) -> bool {
        same(&self.weights, &other.weights)
            && self.biases == other.biases
            && self.outputs == other.outputs
            && self.output_bias == other.output_bias
            && self.gates == other.gates
    }
}

impl Network {
    /// The constant network without neurons.
    pub fn constant(features: usize, output_bias: f64, gated: bool) -> Self {
        Self {
            weights: Mat::zeros(features, 0),
            biases: vec![],
            outputs: vec![],
            output_bias,
            gates: gated.then(|| Gates { directions: Mat::zeros(features, 0), thresholds: vec![] }),
        }
    }

    /// Number of hidden neurons m.
    pub fn neurons(&self) -> usize {
        self.outputs.len()
    }

    /// Number of inputs d.
    pub fn inputs(&self) -> usize {
        self.weights.nrows()
    }

    /// f(x_i) for every row of `x` (n×d).
    pub fn predict(&self, x: &Mat) -> Vec<f64> {
        let n = x.nrows();
        let mut out = vec![self.output_bias; n];
        let (mut hidden, mut gate) = (vec![0.0; n], vec![0.0; n]);
        let affine = |w: &[f64], b: f64, to: &mut [f64]| {
            to.fill(b);
            for (j, &wj) in w.iter().enumerate() {
                axpy(wj, column(x, j), to);
            }
        };
        for j in 0..self.neurons() {
            affine(column(&self.weights, j), self.biases[j], &mut hidden);
            let a = self.outputs[j];
            match &self.gates {
                None => out.iter_mut().zip(&hidden).for_each(|(o, h)| *o += a * h.max(0.0)),
                Some(gates) => {
                    affine(column(&gates.directions, j), 0.0, &mut gate);
                    let t = gates.thresholds[j];
                    for i in 0..n {
                        if gate[i] >= t {
                            out[i] += a * hidden[i];
                        }
                    }
                }
            }
        }
        out
    }

    /// Weight decay ½Σ_j(‖w_j‖² + a_j²), the bias inside ‖w_j‖ if penalised.
    pub fn weight_decay(&self, bias: Bias) -> f64 {
        let squares = (0..self.neurons()).map(|j| {
            let w = column(&self.weights, j);
            let b = if bias == Bias::Penalised { self.biases[j] } else { 0.0 };
            0.5 * (dot(w, w) + b * b + self.outputs[j] * self.outputs[j])
        });
        squares.sum()
    }

    /// Rescales every neuron (w, b, a) → (sw, sb, a/s) so that ‖w‖ = |a| (the
    /// bias inside ‖w‖ if penalised): same function, least weight decay.
    pub fn balance(&mut self, bias: Bias) {
        for j in 0..self.neurons() {
            let mut w = norm(column(&self.weights, j));
            if bias == Bias::Penalised {
                w = w.hypot(self.biases[j]);
            }
            let a = self.outputs[j].abs();
            if w > 0.0 && a > 0.0 {
                let s = (a / w).sqrt();
                column_mut(&mut self.weights, j).iter_mut().for_each(|v| *v *= s);
                self.biases[j] *= s;
                self.outputs[j] /= s;
            }
        }
    }

    /// True if the hidden biases of a network on raw features vanish, up to rounding, on the
    /// features of `scaling`: there it is a network without them.
    pub fn has_no_hidden_biases(&self, scaling: &Scaling) -> bool {
        (0..self.neurons()).all(|j| {
            let w = column(&self.weights, j);
            let shift = w.iter().zip(&scaling.mean).map(|(w, m)| w * m);
            let (sum, size) = shift.fold((0.0, 0.0), |(s, t), v: f64| (s + v, t + v.abs()));
            (self.biases[j] + sum).abs() <= 1e-9 * size
        })
    }

    /// The same function of raw features, for a network on scaled features.
    pub fn fold(mut self, scaling: &Scaling) -> Self {
        for j in 0..self.neurons() {
            scaling.fold(column_mut(&mut self.weights, j), &mut self.biases[j]);
            if let Some(gates) = &mut self.gates {
                // gᵀx̃ ≥ t ⇔ g̃ᵀx + o ≥ t with o the folded offset
                let mut offset = 0.0;
                scaling.fold(column_mut(&mut gates.directions, j), &mut offset);
                gates.thresholds[j] -= offset;
            }
        }
        self
    }

    /// Inverse of [`Network::fold`]: the weights that the regulariser sees.
    pub fn unfold(mut self, scaling: &Scaling) -> Self {
        for j in 0..self.neurons() {
            scaling.unfold(column_mut(&mut self.weights, j), &mut self.biases[j]);
            if let Some(gates) = &mut self.gates {
                let mut offset = 0.0;
                scaling.unfold(column_mut(&mut gates.directions, j), &mut offset);
                gates.thresholds[j] -= offset;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// d inputs and m neurons, all weights 1.
    fn ones(d: usize, m: usize, gated: bool) -> Network {
        let ones = |d, m| Mat::from_fn(d, m, |_, _| 1.0);
        Network {
            weights: ones(d, m),
            biases: vec![1.0; m],
            outputs: vec![1.0; m],
            output_bias: 0.0,
            gates: gated.then(|| Gates { directions: ones(d, m), thresholds: vec![0.0; m] }),
        }
    }

    #[test]
    fn networks_of_different_shapes_are_different() {
        for gated in [false, true] {
            let network = ones(2, 3, gated);
            assert_eq!(network, network.clone());
            for (d, m) in [(2, 4), (3, 3), (3, 2), (2, 0), (0, 3)] {
                assert_ne!(network, ones(d, m, gated));
            }
            assert_ne!(network, ones(2, 3, !gated));
            let mut other = network.clone();
            other.weights[(1, 2)] = 2.0;
            assert_ne!(network, other);
        }
        let (mut one, mut other) = (ones(2, 3, true), ones(2, 3, true));
        other.gates = ones(3, 3, true).gates;
        assert_ne!(one, other);
        one.gates = Network::constant(2, 0.0, true).gates;
        assert_ne!(one, other);
    }
}
