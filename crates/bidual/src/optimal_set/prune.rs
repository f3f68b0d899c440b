//! Narrower networks with the same outputs and no more weight decay.

use super::columns::Columns;
use super::{check_features, check_shapes, gauge, unit_features, with_sizes};
use crate::linalg::{Mat, axpy, column, norm};
use crate::network::{Bias, Network};
use crate::{Error, Result};

/// A column counts as dependent if some combination of it and the kept columns, in units of their
/// norms, vanishes up to this share of the sum of its coefficients.
pub const DEPENDENT: f64 = 1e-12;

/// Share of Σc that rounding and the preference for larger neurons may add to Σc in all.
const DRIFT: f64 = 1e-13;

/// Sizes c' ≥ 0 with the same outputs Φc' + Zc₀' = Φc + Zc₀ (some c₀'), Σc' ≤ Σc, and independent
/// columns of [Φ_S, Z] on the support S of c'; so at most rank[Φ, Z] − rank Z neurons remain.
///
/// `phi` is n×k, `z` is n×q (columns of the free parameters, possibly none), `c` has k sizes. Null
/// vectors Φη + Zη₀ = 0 are followed in the direction that does not increase Σc until a size
/// vanishes (Caratheodory's argument; for two-layer networks Pilanci and Ergen 2020). All columns
/// go through one QR factorisation, those with the largest outputs c_k‖φ_k‖ first, and where both
/// directions of a null vector keep Σc the smaller neuron goes. `tolerance` as [`DEPENDENT`]: the
/// outputs change by at most about `tolerance`·k·Σc·max‖φ_k‖, for exactly dependent columns by
/// rounding.
pub fn prune(phi: &Mat, z: &Mat, c: &[f64], tolerance: f64) -> Result<Vec<f64>> {
    check_shapes(phi, z, c)?;
    if !(0.0..0.1).contains(&tolerance) {
        return Err(Error::Option(format!(
            "the tolerance of pruning is {tolerance}: choose a small number ≥ 0, such as {DEPENDENT:e}"
        )));
    }
    let norms: Vec<f64> = (0..phi.ncols()).map(|k| norm(column(phi, k))).collect();
    let mut order: Vec<usize> = (0..c.len()).filter(|&k| c[k] > 0.0 && norms[k] > 0.0).collect();
    let weight = |k: usize| c[k] * norms[k];
    order.sort_by(|&i, &j| weight(j).total_cmp(&weight(i)).then(i.cmp(&j)));
    // neurons without output only cost
    let mut sizes = vec![0.0; c.len()];
    order.iter().for_each(|&k| sizes[k] = c[k]);
    let total: f64 = sizes.iter().sum();
    let mut pruning = Pruning {
        phi,
        z,
        norms,
        tolerance,
        factor: Columns::new(phi.nrows()),
        kept: vec![],
        locked: 0,
        deletions: 0,
        along: vec![],
        eta: vec![],
        work: vec![0.0; phi.nrows()],
        budget: DRIFT * total,
        sizes,
    };
    pruning.lock_free_parameters();
    order.into_iter().for_each(|k| pruning.offer(k));
    pruning.refine(c);
    Ok(pruning.sizes)
}

struct Pruning<'a> {
    phi: &'a Mat,
    z: &'a Mat,
    norms: Vec<f64>,
    tolerance: f64,
    /// Columns of Z, then those of `kept`, each of unit norm.
    factor: Columns,
    kept: Vec<usize>,
    /// Number of independent columns of Z.
    locked: usize,
    deletions: usize,
    along: Vec<f64>,
    /// Null vector: entries of `kept`, then 1 for the new column.
    eta: Vec<f64>,
    work: Vec<f64>,
    /// What Σc may still grow by.
    budget: f64,
    sizes: Vec<f64>,
}

/// One end of the segment c − θη: its length, and the column whose size vanishes there.
#[derive(Clone, Copy)]
struct End {
    theta: f64,
    blocker: usize,
    /// Output of that column.
    weight: f64,
}

impl Pruning<'_> {
    fn lock_free_parameters(&mut self) {
        self.factor = Columns::new(self.phi.nrows());
        for j in 0..self.z.ncols() {
            let length = norm(column(self.z, j));
            if length > 0.0 {
                load(self.z, j, length, &mut self.work);
                let rho = self.factor.split(&mut self.work, &mut self.along);
                if rho > self.tolerance.max(1e-13) {
                    self.factor.push(&self.work, &self.along, rho);
                }
            }
        }
        self.locked = self.factor.len();
    }

    /// Keeps column k, or removes neurons until it is gone or independent of the others.
    fn offer(&mut self, k: usize) {
        while self.sizes[k] > 0.0 {
            load(self.phi, k, self.norms[k], &mut self.work);
            let rho = self.factor.split(&mut self.work, &mut self.along);
            let along = self.along.clone();
            self.factor.solve(&mut self.along);
            let spread = 1.0 + self.along.iter().map(|g| g.abs()).sum::<f64>();
            if rho > self.tolerance * spread && rho > 0.0 {
                self.factor.push(&self.work, &along, rho);
                self.kept.push(k);
                return;
            }
            self.step(k);
        }
    }

    /// Moves along the null vector of column k and the kept ones until a size vanishes.
    fn step(&mut self, k: usize) {
        let Self { along, kept, norms, eta, locked, .. } = self;
        eta.clear();
        eta.extend(kept.iter().zip(&along[*locked..]).map(|(&j, g)| -g * norms[k] / norms[j]));
        eta.push(1.0);
        let growth: f64 = self.eta.iter().sum();
        let (forward, backward) = (self.end(k, 1.0), self.end(k, -1.0));
        // c − θη: forward lowers Σc by θ·growth, backward raises it
        let cost = |end: Option<End>, growth: f64| end.map_or(f64::INFINITY, |e| e.theta * growth);
        let (up, down) = (cost(forward, -growth), cost(backward, growth));
        let weight = |end: Option<End>| end.map_or(f64::INFINITY, |e| e.weight);
        let back = match (up <= self.budget, down <= self.budget) {
            (true, true) => weight(backward) < weight(forward),
            (false, true) => true,
            _ => false,
        };
        let (end, sign, cost) = if back { (backward, -1.0, down) } else { (forward, 1.0, up) };
        let Some(end) = end else {
            // not reached: the new column itself bounds the way forward
            self.sizes[k] = 0.0;
            return;
        };
        self.budget -= cost.max(0.0);
        for (position, &e) in self.eta.iter().enumerate() {
            let j = self.kept.get(position).copied().unwrap_or(k);
            let (before, change) = (self.sizes[j], end.theta * sign * e);
            let after = before - change;
            // what is left of a size that cancels is rounding
            let gone = j == end.blocker || after <= 1e-15 * (before + change.abs());
            self.sizes[j] = if gone { 0.0 } else { after };
        }
        for position in (0..self.kept.len()).rev() {
            if self.sizes[self.kept[position]] == 0.0 {
                self.kept.remove(position);
                self.factor.remove(self.locked + position);
                self.deletions += 1;
            }
        }
        // rotations lose a little orthogonality each
        if self.deletions > self.kept.len().max(64) {
            self.refactor();
        }
    }

    /// How far c − θ·sign·η stays ≥ 0.
    fn end(&self, k: usize, sign: f64) -> Option<End> {
        let mut best: Option<End> = None;
        for (position, &e) in self.eta.iter().enumerate() {
            let e = sign * e;
            if e <= 0.0 {
                continue;
            }
            let j = self.kept.get(position).copied().unwrap_or(k);
            let (theta, weight) = (self.sizes[j] / e, self.sizes[j] * self.norms[j]);
            if best.is_none_or(|b| theta < b.theta) {
                best = Some(End { theta, blocker: j, weight });
            }
        }
        best
    }

    fn refactor(&mut self) {
        self.deletions = 0;
        self.lock_free_parameters();
        for k in std::mem::take(&mut self.kept) {
            load(self.phi, k, self.norms[k], &mut self.work);
            let rho = self.factor.split(&mut self.work, &mut self.along);
            if rho > 0.0 {
                self.factor.push(&self.work, &self.along, rho);
                self.kept.push(k);
            }
        }
    }

    /// Takes the drift of the outputs that the kept columns can express out of their sizes.
    fn refine(&mut self, c: &[f64]) {
        self.work.fill(0.0);
        for (k, (before, after)) in c.iter().zip(&self.sizes).enumerate() {
            if before != after {
                axpy(before - after, column(self.phi, k), &mut self.work);
            }
        }
        self.factor.split(&mut self.work, &mut self.along);
        self.factor.solve(&mut self.along);
        let change =
            |position: usize| self.along[self.locked + position] / self.norms[self.kept[position]];
        let refined: Vec<f64> =
            (0..self.kept.len()).map(|p| self.sizes[self.kept[p]] + change(p)).collect();
        let sum: f64 = refined.iter().sum();
        let before: f64 = self.kept.iter().map(|&k| self.sizes[k]).sum();
        if refined.iter().all(|v| *v > 0.0) && sum - before <= self.budget.max(1e-14 * before) {
            self.kept.iter().zip(refined).for_each(|(&k, v)| self.sizes[k] = v);
        }
    }
}

/// Column j of `matrix` divided by `length`.
fn load(matrix: &Mat, j: usize, length: f64, to: &mut [f64]) {
    to.iter_mut().zip(column(matrix, j)).for_each(|(t, v)| *t = v / length);
}

/// The pruned network: same outputs on `x` (n×d, scaled features), at most as much weight decay,
/// balanced neurons.
///
/// A ReLU neuron that is a constant at no cost (free hidden bias, zero weights) goes into the
/// output bias, which must be free then. With `free_output_bias` constants count as free: [Φ, 1] becomes independent, and
/// the output bias takes up the difference (refit it to save more). `tolerance` as in [`prune`].
pub fn prune_network(
    network: &Network,
    x: &Mat,
    bias: Bias,
    free_output_bias: bool,
    tolerance: f64,
) -> Result<Network> {
    check_features(network, x)?;
    let mut folded = network.clone();
    for j in 0..network.neurons() {
        let (b, a) = (network.biases[j], network.outputs[j]);
        let constant = b != 0.0 && a != 0.0;
        if constant && gauge(column(&network.weights, j), b, bias) == 0.0 {
            if network.gates.is_some() || !free_output_bias {
                return Err(Error::Option(format!(
                    "neuron {j} is a constant that costs nothing: move it to a free output bias first"
                )));
            }
            folded.output_bias += a * b.max(0.0);
            folded.outputs[j] = 0.0;
        }
    }
    let (phi, sizes) = unit_features(&folded, x, bias);
    let n = x.nrows();
    let z = if free_output_bias { Mat::from_fn(n, 1, |_, _| 1.0) } else { Mat::zeros(n, 0) };
    let pruned = prune(&phi, &z, &sizes, tolerance)?;
    if free_output_bias && n > 0 {
        let mut difference = vec![0.0; n];
        for k in 0..sizes.len() {
            axpy(sizes[k] - pruned[k], column(&phi, k), &mut difference);
        }
        folded.output_bias += difference.iter().sum::<f64>() / n as f64;
    }
    Ok(with_sizes(&folded, &pruned, bias))
}
