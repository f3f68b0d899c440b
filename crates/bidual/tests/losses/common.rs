//! Random losses and what the tests ask of them.

use std::sync::Arc;

use bidual::loss::{Huber, Logistic, Loss, Squared, SquaredHinge, WithIntercept};

pub use crate::golden::{Random, dot};

/// Threshold of the Huber loss.
pub const DELTA: f64 = 0.7;

pub fn residual(loss: &dyn Loss, f: &[f64]) -> Vec<f64> {
    let mut nu = vec![0.0; f.len()];
    loss.residual_into(f, &mut nu);
    nu
}

pub fn hessian(loss: &dyn Loss, f: &[f64]) -> Vec<f64> {
    let mut h = vec![0.0; f.len()];
    loss.hessian_diagonal_into(f, &mut h);
    h
}

/// The four smooth losses on random data with both labels; `weighted` includes a sample of weight 0.
pub fn losses(rng: &mut Random, n: usize, weighted: bool) -> Vec<Arc<dyn Loss>> {
    let targets = rng.normals(n, 1.5);
    let labels: Vec<f64> = (0..n)
        .map(|i| match i {
            0 => 1.0,
            1 => -1.0,
            _ => {
                if rng.uniform() < 0.6 {
                    1.0
                } else {
                    -1.0
                }
            }
        })
        .collect();
    let weights = weighted.then(|| {
        (0..n).map(|i| if i == 2 { 0.0 } else { 0.1 + rng.uniform() }).collect::<Vec<f64>>()
    });
    smooth(&targets, &labels, weights)
}

/// The four smooth losses, that of Huber with the threshold [`DELTA`].
pub fn smooth(targets: &[f64], labels: &[f64], weights: Option<Vec<f64>>) -> Vec<Arc<dyn Loss>> {
    let (y, labels) = (targets.to_vec(), labels.to_vec());
    vec![
        Arc::new(Squared::new(y.clone(), weights.clone()).unwrap()),
        Arc::new(Huber::new(y, DELTA, weights.clone()).unwrap()),
        Arc::new(Logistic::new(labels.clone(), weights.clone()).unwrap()),
        Arc::new(SquaredHinge::new(labels, weights).unwrap()),
    ]
}

pub fn profiled(losses: &[Arc<dyn Loss>]) -> Vec<Arc<dyn Loss>> {
    losses
        .iter()
        .map(|loss| Arc::new(WithIntercept::new(loss.clone()).unwrap()) as Arc<dyn Loss>)
        .collect()
}

/// Losses with and without intercept, weighted and not.
pub fn all_losses(rng: &mut Random, n: usize) -> Vec<Arc<dyn Loss>> {
    let mut all = losses(rng, n, false);
    all.extend(losses(rng, n, true));
    let with = profiled(&all);
    all.extend(with);
    all
}

/// Minimiser of a convex function on an interval, by golden sections.
pub fn golden_min(mut lo: f64, mut hi: f64, f: impl Fn(f64) -> f64) -> f64 {
    let r = 0.618_033_988_749_894_8;
    for _ in 0..300 {
        let (a, b) = (hi - r * (hi - lo), lo + r * (hi - lo));
        if f(a) < f(b) {
            hi = b;
        } else {
            lo = a;
        }
    }
    0.5 * (lo + hi)
}

/// f + c·1.
pub fn shifted(f: &[f64], c: f64) -> Vec<f64> {
    f.iter().map(|f| f + c).collect()
}
