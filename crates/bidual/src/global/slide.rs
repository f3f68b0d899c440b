//! Joint local minimisation of the weight-decay objective over all neurons,
//! without patterns: neurons slide across cells, which a program over fixed
//! patterns cannot do. Limited-memory BFGS (Nocedal & Wright, Numerical
//! Optimization, §7.2) with a weak Wolfe bisection, which also works across
//! kinks (Lewis & Overton 2013).

use super::neurons::Neurons;
use crate::cone::Gauge;
use crate::linalg::{Mat, axpy, column, column_mut, dot, gemm, norm, times};
use crate::loss::Loss;
use faer::MatRef;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::ControlFlow;

/// Pairs that approximate the inverse Hessian.
const MEMORY: usize = 24;
/// Rows in a tile: fixed, so that sums do not depend on the threads.
const TILE: usize = 384;

/// The objective F(Σ a_j(Xw_j)_+) + λ/2 Σ(‖w_j‖² + a_j²), its kinks rounded.
struct Objective<'a> {
    x: &'a Mat,
    /// Without output bias: that is a variable of its own here.
    loss: &'a dyn Loss,
    output_bias: bool,
    lambda: f64,
    penalised: usize,
    f: Vec<f64>,
    nu: Vec<f64>,
    /// Half width of each neuron's kink: (t)₊ is a parabola on [−δ, δ].
    deltas: Vec<f64>,
    tiles: Vec<Tile>,
}

/// What is computed of a run of rows.
struct Tile {
    start: usize,
    /// Projections, then ν∘φ'.
    t: Mat,
    f: Vec<f64>,
    /// Xᵀ(ν∘φ') and νᵀφ of each neuron.
    gradient: Mat,
    fits: Vec<f64>,
}

impl Tile {
    /// t ← XW and f ← Σ a_jφ_j(t_j).
    fn forward(&mut self, x: &Mat, w: MatRef<'_, f64>, a: &[f64], deltas: &[f64]) {
        let rows = x.as_ref().subrows(self.start, self.f.len());
        gemm(self.t.as_mut(), rows, w, false);
        self.f.fill(0.0);
        Arch::new().dispatch(|| {
            for (j, (a, delta)) in a.iter().zip(deltas).enumerate() {
                let half = 0.5 / delta;
                for (f, t) in self.f.iter_mut().zip(column(&self.t, j)) {
                    let s = (t * half + 0.5).clamp(0.0, 1.0);
                    *f += a * s * (t + delta * (1.0 - s));
                }
            }
        });
    }

    fn backward(&mut self, x: &Mat, w: MatRef<'_, f64>, nu: &[f64], deltas: &[f64]) {
        let (n, p) = (self.f.len(), x.ncols());
        let nu = &nu[self.start..self.start + n];
        Arch::new().dispatch(|| {
            for (j, delta) in deltas.iter().enumerate() {
                let half = 0.5 / delta;
                let mut rounded = [0.0; 4];
                for (t, v) in column_mut(&mut self.t, j).chunks_mut(4).zip(nu.chunks(4)) {
                    for (k, (t, v)) in t.iter_mut().zip(v).enumerate() {
                        let s = (*t * half + 0.5).clamp(0.0, 1.0);
                        *t = s * v;
                        rounded[k] += *t * (1.0 - s);
                    }
                }
                self.fits[j] = delta * rounded.iter().sum::<f64>();
            }
        });
        let rows = x.as_ref().subrows(self.start, n);
        gemm(self.gradient.as_mut(), rows.transpose(), self.t.as_ref(), false);
        for (j, fit) in self.fits.iter_mut().enumerate() {
            // φ = tφ' + δφ'(1 − φ')
            *fit += (0..p).map(|c| w[(c, j)] * self.gradient[(c, j)]).sum::<f64>();
        }
    }
}

impl Objective<'_> {
    /// The value at θ = (w_1, …, w_m, a, c); writes the gradient.
    fn evaluate(&mut self, theta: &[f64], gradient: &mut [f64]) -> f64 {
        let p = self.x.ncols();
        let m = self.deltas.len();
        let (w, rest) = theta.split_at(p * m);
        let (a, offset) = rest.split_at(m);
        let weights = MatRef::from_column_major_slice(w, p, m);
        let (x, deltas) = (self.x, &self.deltas);
        each(&mut self.tiles, |tile| tile.forward(x, weights, a, deltas));
        let offset = if self.output_bias { offset[0] } else { 0.0 };
        for tile in &self.tiles {
            let out = &mut self.f[tile.start..tile.start + tile.f.len()];
            out.iter_mut().zip(&tile.f).for_each(|(out, f)| *out = f + offset);
        }
        let mut value = self.loss.value_and_residual(&self.f, &mut self.nu);
        let nu = &self.nu;
        each(&mut self.tiles, |tile| tile.backward(x, weights, nu, deltas));
        let (gw, rest) = gradient.split_at_mut(p * m);
        let (ga, offset) = rest.split_at_mut(m);
        offset[0] = if self.output_bias { -nu.iter().sum::<f64>() } else { 0.0 };
        gw.fill(0.0);
        ga.fill(0.0);
        for tile in &self.tiles {
            for j in 0..m {
                axpy(-a[j], column(&tile.gradient, j), &mut gw[j * p..(j + 1) * p]);
                ga[j] -= tile.fits[j];
            }
        }
        let q = self.penalised;
        for j in 0..m {
            let wj = &w[j * p..j * p + q];
            value += 0.5 * self.lambda * (dot(wj, wj) + a[j] * a[j]);
            axpy(self.lambda, wj, &mut gw[j * p..j * p + q]);
            ga[j] += self.lambda * a[j];
        }
        value
    }
}

/// Visits all tiles, in parallel where that pays.
fn each(tiles: &mut [Tile], visit: impl Fn(&mut Tile) + Send + Sync) {
    let work: usize = tiles.iter().map(|tile| tile.f.len() * tile.fits.len()).sum();
    if work < 10_000 {
        tiles.iter_mut().for_each(visit);
    } else {
        tiles.par_iter_mut().for_each(visit);
    }
}

/// Slides `neurons` downhill, for at most `iterations` or until 20 of them gain less than
/// `tolerance` (relative); returns them balanced. Their kinks are rounded over `width`, relative to
/// the root mean square of its projections: without corners the method takes longer steps.
/// `go_on` is asked at every iteration.
pub(crate) fn slide(
    x: &Mat,
    loss: &dyn Loss,
    lambda: f64,
    gauge: &Gauge,
    neurons: &Neurons,
    (iterations, tolerance): (usize, f64),
    width: f64,
    go_on: &mut dyn FnMut(f64) -> ControlFlow<()>,
) -> Neurons {
    let (n, p, m) = (x.nrows(), x.ncols(), neurons.len());
    let q = gauge.penalised(p);
    let mut theta = vec![0.0; (p + 1) * m + 1];
    for j in 0..m {
        let v = column(&neurons.values, j);
        let root = norm(&v[..q]).sqrt().max(1e-150);
        for i in 0..p {
            theta[j * p + i] = v[i] / root;
        }
        theta[p * m + j] = if neurons.negative[j] { -root } else { root };
    }
    let (f, nu) = (vec![0.0; n], vec![0.0; n]);
    let profiled = loss.as_intercept();
    if let Some(profiled) = profiled {
        theta[(p + 1) * m] = profiled.intercept(&neurons.outputs(x));
    }
    let plain = profiled.map_or(loss, |l| l.inner().as_ref());
    let output_bias = profiled.is_some();
    let deltas = (0..m)
        .map(|j| {
            let mut t = vec![0.0; n];
            times(x, &theta[j * p..(j + 1) * p], &mut t);
            (width * norm(&t) / (n as f64).sqrt()).max(1e-300)
        })
        .collect();
    let tiles = (0..n)
        .step_by(TILE)
        .map(|start| {
            let rows = TILE.min(n - start);
            let (t, f) = (Mat::zeros(rows, m), vec![0.0; rows]);
            Tile { start, t, f, gradient: Mat::zeros(p, m), fits: vec![0.0; m] }
        })
        .collect();
    let penalised = q;
    let mut objective =
        Objective { x, loss: plain, output_bias, lambda, penalised, f, nu, deltas, tiles };
    let mut gradient = vec![0.0; theta.len()];
    let mut value = objective.evaluate(&theta, &mut gradient);
    let (mut pairs, mut direction) = (Pairs::default(), vec![0.0; theta.len()]);
    let (mut trial, mut trial_gradient) = (theta.clone(), gradient.clone());
    let mut history = value;
    for k in 0..iterations {
        if m == 0 || go_on(value).is_break() {
            break;
        }
        pairs.direction(&gradient, &mut direction);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            pairs.clear();
            direction.iter_mut().zip(&gradient).for_each(|(d, g)| *d = -g);
            slope = -dot(&gradient, &gradient);
        }
        if slope == 0.0 {
            break;
        }
        // weak Wolfe by bisection and doubling
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut t = if pairs.is_empty() {
            (0.1 * norm(&theta) / norm(&direction)).min(1.0 / norm(&direction).max(1e-300))
        } else {
            1.0
        };
        let mut accepted = false;
        let mut trial_value = value;
        for _ in 0..40 {
            for ((to, x), d) in trial.iter_mut().zip(&theta).zip(&direction) {
                *to = x + t * d;
            }
            trial_value = objective.evaluate(&trial, &mut trial_gradient);
            if trial_value.is_nan() || trial_value > value + 1e-4 * t * slope {
                high = t;
            } else if dot(&direction, &trial_gradient) < 0.9 * slope {
                low = t;
                accepted = true;
            } else {
                accepted = true;
                break;
            }
            t = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * low };
            if high.is_finite() && high - low < 1e-12 * high {
                break;
            }
        }
        // NaN is no progress either
        if !accepted || trial_value.partial_cmp(&value).is_none_or(|order| order.is_gt()) {
            if pairs.is_empty() {
                break;
            }
            pairs.clear();
            continue;
        }
        pairs.push(&theta, &gradient, &trial, &trial_gradient);
        std::mem::swap(&mut theta, &mut trial);
        std::mem::swap(&mut gradient, &mut trial_gradient);
        value = trial_value;
        if k % 20 == 19 {
            if history - value <= tolerance * value.abs() {
                break;
            }
            history = value;
        }
    }
    let a = &theta[p * m..(p + 1) * m];
    Neurons {
        values: Mat::from_fn(p, m, |i, j| theta[j * p + i] * a[j].abs()),
        negative: a.iter().map(|a| *a < 0.0).collect(),
    }
}

/// The last steps and changes of the gradient.
#[derive(Default)]
struct Pairs {
    steps: Vec<Vec<f64>>,
    changes: Vec<Vec<f64>>,
}

impl Pairs {
    fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn clear(&mut self) {
        self.steps.clear();
        self.changes.clear();
    }

    fn push(&mut self, x: &[f64], g: &[f64], x_new: &[f64], g_new: &[f64]) {
        let s: Vec<f64> = x_new.iter().zip(x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = g_new.iter().zip(g).map(|(a, b)| a - b).collect();
        if dot(&s, &y) <= 1e-14 * norm(&s) * norm(&y) {
            return;
        }
        if self.steps.len() == MEMORY {
            self.steps.remove(0);
            self.changes.remove(0);
        }
        self.steps.push(s);
        self.changes.push(y);
    }

    /// direction ← −H⁻¹g by the two-loop recursion.
    fn direction(&self, g: &[f64], direction: &mut [f64]) {
        direction.iter_mut().zip(g).for_each(|(d, g)| *d = -g);
        let k = self.steps.len();
        let mut alpha = vec![0.0; k];
        for i in (0..k).rev() {
            let (s, y) = (&self.steps[i], &self.changes[i]);
            alpha[i] = dot(s, direction) / dot(s, y);
            axpy(-alpha[i], y, direction);
        }
        if let (Some(s), Some(y)) = (self.steps.last(), self.changes.last()) {
            let scale = dot(s, y) / dot(y, y);
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for i in 0..k {
            let (s, y) = (&self.steps[i], &self.changes[i]);
            let beta = dot(y, direction) / dot(s, y);
            axpy(alpha[i] - beta, s, direction);
        }
    }
}
