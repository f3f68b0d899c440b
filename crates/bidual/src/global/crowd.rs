//! The beginning: many random neurons slide together and are thinned out.
//!
//! Neurons that enter one after the other settle before the next ones come, and may hide places that
//! were free before; a crowd finds its places together, as in a wide network. Derived here.

use super::Global;
use super::neurons::Neurons;
use super::slide::slide;
use super::train::State;
use crate::cone::Gauge;
use crate::linalg::{axpy, column, dot, norm, times};
use std::ops::ControlFlow;

/// Neurons of a crowd: so many for each λ that fits into the largest price, within limits.
const DENSITY: f64 = 2.0;
const FEWEST: usize = 30;
const MOST: usize = 200;
/// Samples × neurons, at most.
const LARGEST: usize = 3_000_000;
/// Widths of the rounded kinks, in turn, with the iterations for each.
const WIDTHS: [f64; 6] = [0.1, 0.1, 0.1, 0.03, 0.03, 0.01];
const SLIDES: usize = 100;
/// Angles within which neurons are added up where that costs little, the widest first.
const ANGLES: [f64; 3] = [0.03, 0.01, 0.003];
/// Neurons smaller than this beside the largest are dropped.
const SMALL: f64 = 1e-3;

impl Global {
    /// Begins with a crowd if it is better than `state`.
    pub(super) fn crowd(
        &self,
        state: &mut State,
        lambda: f64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) {
        let (x, gauge, loss) = (self.oracle.x(), self.oracle.gauge(), self.loss.as_ref());
        let most = MOST.min(LARGEST / x.nrows());
        let mut hessian = vec![0.0; x.nrows()];
        loss.hessian_diagonal_into(&state.neurons.outputs(x), &mut hessian);
        let mut t = vec![0.0; x.nrows()];
        let mut drawn: Vec<(Vec<f64>, f64, f64)> = vec![];
        for (mut u, _) in self.oracle.random_starts(&state.nu, most, 0) {
            let size = gauge.value(&u);
            if size > 0.0 {
                u.iter_mut().for_each(|u| *u /= size);
                times(x, &u, &mut t);
                let price = t.iter().zip(&state.nu).map(|(t, v)| v * t.max(0.0)).sum();
                let curvature = t.iter().zip(&hessian).map(|(t, h)| h * t.max(0.0).powi(2)).sum();
                drawn.push((u, price, curvature));
            }
        }
        // those that no sample sees cannot move
        let steepest = drawn.iter().fold(0.0_f64, |a, d| a.max(d.2));
        drawn.retain(|d| d.2 > 1e-6 * steepest);
        let dearest = drawn.iter().fold(0.0_f64, |a, d| a.max(d.1.abs()));
        let count = ((DENSITY * dearest / lambda) as usize).clamp(FEWEST, MOST).min(drawn.len());
        let entering: Vec<(Vec<f64>, bool)> = drawn
            .into_iter()
            .take(count)
            .map(|(mut u, price, curvature)| {
                // its own best size, shared with the others
                let size = price.abs().max(lambda) / (count as f64 * curvature);
                u.iter_mut().for_each(|u| *u *= size);
                (u, price < 0.0)
            })
            .collect();
        let mut crowd = state.neurons.with(&entering);
        for width in WIDTHS {
            let effort = (SLIDES, 1e-6);
            crowd = slide(x, loss, lambda, &gauge, &crowd, effort, width, &mut |_| go_on());
            crowd = thinned(&crowd, &gauge, 0.1 * width);
        }
        self.place_if_better(state, crowd, lambda);
    }
}

impl Global {
    /// Fewer neurons for at most `cost`.
    pub(super) fn thin(&self, state: &mut State, cost: f64, lambda: f64) {
        let gauge = self.oracle.gauge();
        for angle in ANGLES {
            let fewer = thinned(&state.neurons, &gauge, angle);
            if fewer.len() < state.neurons.len()
                && self.objective(&fewer, lambda) <= state.upper + cost
            {
                self.place(state, fewer, lambda);
                return;
            }
        }
    }
}

/// Without the small neurons; those of the same sign within `angle` of a larger one are added to it.
fn thinned(neurons: &Neurons, gauge: &Gauge, angle: f64) -> Neurons {
    let sizes: Vec<f64> = (0..neurons.len()).map(|j| neurons.size(j, gauge)).collect();
    let mut order: Vec<usize> = (0..neurons.len()).collect();
    order.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]).then(a.cmp(&b)));
    let largest = order.first().map_or(0.0, |&j| sizes[j]);
    let mut kept: Vec<(Vec<f64>, bool)> = vec![];
    for j in order.into_iter().take_while(|&j| sizes[j] > SMALL * largest) {
        let (v, negative) = (column(&neurons.values, j), neurons.negative[j]);
        let near = |k: &&mut (Vec<f64>, bool)| {
            let cosine = dot(&k.0, v) / (norm(&k.0) * norm(v));
            k.1 == negative && cosine > 1.0 - 0.5 * angle * angle
        };
        match kept.iter_mut().find(near) {
            Some((sum, _)) => axpy(1.0, v, sum),
            None => kept.push((v.to_vec(), negative)),
        }
    }
    Neurons::none(neurons.values.nrows()).with(&kept)
}
