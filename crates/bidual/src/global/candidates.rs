//! The neurons that enter: found by searches that deepen where they find nothing new.

use super::Global;
use super::train::State;
use crate::linalg::{dot, norm, times};
use crate::pricing::Candidate;

/// Neurons that enter in a round, at most.
const ENTERING: usize = 40;
/// Random starts of a local search, and how many times as many before a proof.
pub(super) const STARTS: usize = 192;
const DEEP: usize = 4;
/// Starts around each neuron: of a sketch, and of a search before a proof.
const SKETCH: usize = 12;
const AROUND: usize = 96;
/// Samples × starts of these searches, at most.
const DEEPEST: usize = 3_000_000;

/// What a round of training begins with.
pub(super) struct Found {
    /// Dearer than λ, the dearest first.
    pub candidates: Vec<Candidate>,
    /// The gap that ν could prove at best, were no neuron dearer than these.
    pub gap: f64,
}

/// How far to search: further after every round that gained little.
pub(super) struct Depth {
    now: u32,
    deepest: u32,
}

impl Depth {
    /// The deepest search belongs to fits that will be proved.
    pub fn new(proof: bool) -> Self {
        Self { now: 0, deepest: if proof { 2 } else { 1 } }
    }

    /// After a round that lowered the objective by `gain` when `gap` was left, both relative.
    pub fn adapt(&mut self, gain: f64, gap: f64) {
        self.now = if gain > 0.2 * gap { 0 } else { (self.now + 1).min(self.deepest) };
    }
}

impl Global {
    /// Searches to `depth`. `long` is the tolerance if a short proof has failed here: once the gap is
    /// half of it a long proof comes next, and the widest search costs less. `known` came from elsewhere.
    pub(super) fn candidates(
        &self,
        state: &State,
        known: Vec<Candidate>,
        depth: &Depth,
        seed: u64,
        long: Option<f64>,
        lambda: f64,
    ) -> Found {
        let directions = state.neurons.directions(&self.oracle.gauge());
        let (nu, level, n) = (&state.nu, level_of(lambda), self.x.nrows());
        let mut found = known;
        found.extend(self.oracle.search(nu, &directions, STARTS, seed, level));
        let mut gap = self.gap(state, &found, lambda);
        let proof = |gap: f64| long.is_some_and(|tolerance| gap <= 0.5 * tolerance);
        if depth.now >= 1 && !proof(gap) {
            let size = (SKETCH, ENTERING);
            found.extend(self.oracle.sketch_around(nu, &directions, size, seed + 1, level));
            gap = self.gap(state, &found, lambda);
        }
        if proof(gap) {
            let starts = (DEEP * STARTS).min(DEEPEST / n);
            found.extend(self.oracle.search(nu, &directions, starts, seed + 2, level));
        }
        if depth.now >= 2 || proof(gap) {
            // a known neuron may hide a dear one that differs by a few cells
            let around = AROUND.min(DEEPEST / (n * directions.len().max(1)));
            // else only what can enter
            let most = if proof(gap) { (DEEPEST / (6 * n)).max(ENTERING) } else { 2 * ENTERING };
            let size = (around, most);
            found.extend(self.oracle.search_around(nu, &directions, size, seed + 2, level));
        }
        sort(&mut found);
        Found { gap: self.gap(state, &found, lambda), candidates: found }
    }

    /// The gap that ν could prove at best, were no neuron dearer than those found.
    fn gap(&self, state: &State, found: &[Candidate], lambda: f64) -> f64 {
        let kappa = found.iter().map(|c| c.value).fold(lambda, f64::max);
        let hope = self.lower_bound(&state.nu, kappa, lambda);
        ((state.upper - hope) / state.upper.abs()).max(0.0)
    }

    /// Adds the dearest candidates of different directions as small neurons.
    pub(super) fn enter(&self, state: &mut State, found: &[Candidate], lambda: f64) {
        let x = self.oracle.x();
        let gauge = self.oracle.gauge();
        let mut hessian = vec![0.0; x.nrows()];
        self.loss.hessian_diagonal_into(&state.neurons.outputs(x), &mut hessian);
        let mut chosen: Vec<&Candidate> = vec![];
        for c in found {
            let near = |d: &&Candidate| {
                let cosine = dot(&d.direction, &c.direction);
                d.negative == c.negative && cosine > 0.98 * norm(&d.direction) * norm(&c.direction)
            };
            if chosen.len() < ENTERING && !chosen.iter().any(near) {
                chosen.push(c);
            }
        }
        let mut t = vec![0.0; x.nrows()];
        let count = chosen.len() as f64;
        let entering: Vec<(Vec<f64>, bool)> = chosen
            .into_iter()
            .map(|c| {
                times(x, &c.direction, &mut t);
                let curvature =
                    t.iter().zip(&hessian).map(|(t, h)| h * t.max(0.0).powi(2)).sum::<f64>();
                // its own best size, shared with the others
                let size = (c.value - lambda) / (count * curvature.max(1e-300));
                (
                    c.direction.iter().map(|u| u * size / gauge.value(&c.direction)).collect(),
                    c.negative,
                )
            })
            .collect();
        let all = state.neurons.with(&entering);
        self.place(state, all, lambda);
    }
}

/// Dearest first.
pub(super) fn sort(found: &mut [Candidate]) {
    found.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.bits.cmp(&b.bits)));
}

/// Prices above this are worth a neuron.
pub(super) fn level_of(lambda: f64) -> f64 {
    lambda * (1.0 + 1e-10)
}
