//! A round of training: neurons enter, slide, and are finished.

use super::neurons::Neurons;
use super::newton::Newton;
use super::slide::slide;
use super::smooth::Smooth;
use super::{Global, Target};
use crate::Result;
use crate::linalg::{column, times};
use crate::pricing::{Candidate, pack};
use crate::solver::{Observer, Progress, Status};
use std::cell::Cell;
use std::ops::ControlFlow;

/// L-BFGS iterations of a slide for each width of the kinks, Newton steps of a finish.
const SLIDES: usize = 100;
const STEPS: usize = 300;
/// Gaps at which neurons are finished.
const FINISHING: f64 = 1e-2;

/// Where training stands.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub neurons: Neurons,
    /// Pattern of each neuron: it may lie on facets, so the bits are kept.
    pub cells: Vec<Vec<u64>>,
    pub nu: Vec<f64>,
    pub upper: f64,
}

impl Global {
    pub(super) fn begin(&self, start: Option<&Neurons>, lambda: f64) -> State {
        let zero = Neurons::none(self.oracle.x().ncols());
        let mut state = State { neurons: zero.clone(), cells: vec![], nu: vec![], upper: 0.0 };
        self.place(&mut state, start.unwrap_or(&zero).clone(), lambda);
        let nothing = self.objective(&zero, lambda);
        if nothing <= state.upper {
            self.place(&mut state, zero, lambda);
        }
        state
    }

    /// Moves to `neurons`, with the cells that they lie in.
    pub(super) fn place(&self, state: &mut State, neurons: Neurons, lambda: f64) {
        let x = self.oracle.x();
        let mut t = vec![0.0; x.nrows()];
        state.cells = (0..neurons.len())
            .map(|j| {
                times(x, column(&neurons.values, j), &mut t);
                pack(&t)
            })
            .collect();
        let f = neurons.outputs(x);
        state.upper = self.loss.value(&f) + lambda * neurons.penalty(&self.oracle.gauge());
        state.nu = self.residual(&f);
        state.neurons = neurons;
    }

    /// Moves to `neurons` if they are better, without those that have almost vanished.
    pub(super) fn place_if_better(&self, state: &mut State, neurons: Neurons, lambda: f64) {
        let gauge = self.oracle.gauge();
        let sizes: Vec<f64> = (0..neurons.len()).map(|j| neurons.size(j, &gauge)).collect();
        let largest = sizes.iter().fold(0.0_f64, |a, b| a.max(*b));
        let keep: Vec<usize> = (0..neurons.len()).filter(|&j| sizes[j] > 1e-6 * largest).collect();
        let neurons = neurons.select(&keep);
        if self.objective(&neurons, lambda) < state.upper {
            self.place(state, neurons, lambda);
        }
    }

    /// Newton's method on the neurons as they are, kept if it is no worse.
    pub(super) fn finish(
        &self,
        state: &mut State,
        accuracy: f64,
        lambda: f64,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) {
        let (x, rows, loss) = (self.oracle.x(), self.oracle.by_rows(), self.loss.as_ref());
        let (classes, gauge) = (&self.classes, self.oracle.gauge());
        let newton = Newton { x, rows, classes, loss, lambda, gauge };
        let done = newton.run(&state.neurons, STEPS, accuracy.max(1e-15), go_on);
        let value = self.objective(&done.neurons, lambda);
        if value <= state.upper {
            state.nu = self.residual(&done.neurons.outputs(x));
            (state.upper, state.neurons, state.cells) = (value, done.neurons, done.cells);
        }
    }

    /// One round of training: the dearest candidates enter, all neurons slide
    /// and are finished; the cone program where that gets nowhere.
    pub(super) fn improve(
        &self,
        state: &mut State,
        found: &[Candidate],
        target: &Target,
        gap: f64,
        observer: &mut dyn Observer,
    ) -> Result<Option<Status>> {
        let lambda = target.lambda;
        let before = state.clone();
        self.enter(state, found, lambda);
        let best = Cell::new((before.upper, before.neurons.len()));
        let reached = |state: &State| {
            if state.upper < best.get().0 {
                best.set((state.upper, state.neurons.len()));
            }
        };
        let mut early = None;
        let mut go_on = || {
            let (upper, active) = best.get();
            let progress = Progress { iteration: 0, upper, lower: f64::NEG_INFINITY, active };
            observer.observe(&progress).map_break(|status| early = Some(status))
        };
        let gauge = self.oracle.gauge();
        let (x, loss) = (self.oracle.x(), self.loss.as_ref());
        let mut slid = state.neurons.clone();
        for width in widths(gap) {
            slid = slide(x, loss, lambda, &gauge, &slid, (SLIDES, 1e-7), width, &mut |_| go_on());
        }
        self.place_if_better(state, slid, lambda);
        reached(state);
        if before.upper - state.upper < 0.05 * gap * state.upper.abs() {
            let smoothed = Smooth::new(x, loss, lambda, gauge).run(&state.neurons, &mut go_on);
            self.place_if_better(state, smoothed, lambda);
            reached(state);
        }
        if gap <= FINISHING {
            // early rounds need no more accuracy than the gap deserves
            let accuracy =
                if gap > 10.0 * target.tolerance { 1e-3 * gap } else { 1e-4 * target.tolerance };
            self.finish(state, accuracy, lambda, &mut go_on);
        } else {
            // while much is left to gain, the next neurons matter more than the last digits of these
            self.thin(state, 0.01 * (before.upper - state.upper), lambda);
        }
        if state.upper > before.upper {
            *state = before.clone();
        }
        if early.is_none() && before.upper - state.upper < 0.003 * gap * state.upper.abs() {
            let accuracy = (0.02 * gap).max(0.1 * target.tolerance);
            early = self.master(state, found, lambda, accuracy, observer)?;
        }
        Ok(early)
    }
}

/// Widths of the kinks while neurons slide, the wider the more there is to gain; the true kinks last.
fn widths(gap: f64) -> Vec<f64> {
    let mut widths: Vec<f64> = std::iter::successors(Some(gap.clamp(3e-3, 0.1)), |w| Some(0.3 * w))
        .take_while(|w| *w > 1e-3)
        .collect();
    widths.push(0.0);
    widths
}
