//! The neuron to add first.

use crate::data::Scaling;
use crate::global::Global;
use crate::linalg::times;
use crate::pricing::Candidate;

/// A neuron ±size·(directionᵀx + offset)₊ on raw features that lowers the objective of a network
/// when it is added to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Direction on raw features; it has unit norm where weight decay is measured.
    pub direction: Vec<f64>,
    /// Its offset on raw features.
    pub offset: f64,
    /// True for a negative output weight.
    pub negative: bool,
    /// |νᵀφ(Xu)| at the network's own residual ν: the most that local search found, so that
    /// κ(ν) ≥ `price`.
    pub price: f64,
    /// First-order gain per unit of size ‖w‖|a|: `price` − λ.
    pub gain: f64,
    /// The size that lowers the objective most, everything else fixed (a free output bias refitted).
    pub size: f64,
    /// By how much it does.
    pub decrease: f64,
}

/// The dearest candidate as a neuron of raw features, with its best size. `f` are the outputs of
/// the neurons so far.
pub(super) fn propose(
    global: &Global,
    candidate: &Candidate,
    f: &[f64],
    lambda: f64,
    scaling: &Scaling,
) -> Proposal {
    let x = global.oracle().x();
    let mut phi = vec![0.0; x.nrows()];
    times(x, &candidate.direction, &mut phi);
    let sign = if candidate.negative { -1.0 } else { 1.0 };
    phi.iter_mut().for_each(|v| *v = sign * v.max(0.0));
    let (size, decrease) = best_size(global, f, &phi, lambda);
    let d = scaling.mean.len();
    let mut direction = candidate.direction[..d].to_vec();
    let mut offset = candidate.direction.get(d).copied().unwrap_or(0.0);
    scaling.fold(&mut direction, &mut offset);
    Proposal {
        direction,
        offset,
        negative: candidate.negative,
        price: candidate.value,
        gain: candidate.value - lambda,
        size,
        decrease,
    }
}

/// The minimiser of s ↦ F(f + sφ) + λs on s ≥ 0 and the decrease from s = 0: bisection on the
/// slope λ − ν(f + sφ)ᵀφ, which increases with s.
fn best_size(global: &Global, f: &[f64], phi: &[f64], lambda: f64) -> (f64, f64) {
    let loss = global.loss();
    let (mut moved, mut nu) = (f.to_vec(), vec![0.0; f.len()]);
    let mut at = |s: f64| {
        moved.iter_mut().zip(f).zip(phi).for_each(|((m, f), p)| *m = f + s * p);
        let value = loss.value_and_residual(&moved, &mut nu) + lambda * s;
        let slope: f64 = lambda - nu.iter().zip(phi).map(|(v, p)| v * p).sum::<f64>();
        (value, slope)
    };
    let (start, slope) = at(0.0);
    let square: f64 = phi.iter().zip(loss.weights()).map(|(p, w)| w * p * p).sum();
    if !(slope < 0.0 && square > 0.0) {
        return (0.0, 0.0);
    }
    let (mut low, mut high) = (0.0, -slope / (loss.curvature_bound() * square));
    for _ in 0..60 {
        if at(high).1 >= 0.0 {
            break;
        }
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if at(middle).1 < 0.0 { low = middle } else { high = middle }
    }
    (low, (start - at(low).0).max(0.0))
}
