//! Any-time upper bounds on the pricing problem of two-layer ReLU networks,
//! κ(ν) = max over ‖u‖ ≤ 1 of |Σ_i ν_i (x_iᵀu)_+|, by moment relaxations inside a branch and bound
//! on row signs.

mod cone;
mod envelope;
mod kernels;
mod relax;
mod rows;
mod sphere;
mod tree;

use rayon::prelude::*;
use relax::{Candidate, Relaxation, Tables};
use rows::Rows;
use std::collections::BinaryHeap;
use tree::{Experience, Incumbent, Node};

/// Largest dimension that the relaxation handles.
pub const MAX_DIMENSION: usize = 15;

/// Nodes expanded between two looks at the clock; fixed, so that results do not depend on the
/// number of threads.
const BATCH: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// nodes with a bound at most this are discarded: proves κ ≤ target if it is true
    pub target: f64,
    /// relative: stop when upper ≤ max(target, lower·(1 + tolerance), 10⁻⁹Σ|ν_i|‖x_i‖); 10⁻⁷ is about
    /// the least that is reached
    pub tolerance: f64,
    /// most nodes bounded
    pub max_nodes: usize,
    /// most bytes for waiting nodes
    pub memory: usize,
    /// how many relaxed outputs of waiting nodes are wanted, see [`Outcome::relaxed`]
    pub relaxed: usize,
}

/// Progress, as shown to the caller.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// nodes bounded
    pub nodes: usize,
    /// nodes waiting
    pub waiting: usize,
    /// κ is at most this
    pub upper: f64,
    /// κ is at least this
    pub lower: f64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// rigorous upper bound on κ
    pub upper: f64,
    /// attained value
    pub lower: f64,
    /// distinct good directions (u of unit norm, sign + of ν, value), best first
    pub directions: Vec<(Vec<f64>, bool, f64)>,
    /// outputs z of the relaxation at the waiting nodes with the largest bounds (n numbers, sign +
    /// of ν): what keeps the bound up. No network has these outputs per unit of norm; as extra
    /// columns of the training problem they move ν to where the same nodes have smaller bounds
    pub relaxed: Vec<(Vec<f64>, bool)>,
    /// nodes bounded
    pub nodes: usize,
    /// upper ≤ max(target, lower·(1 + tolerance))
    pub closed: bool,
    /// the caller or a limit stopped it
    pub stopped: bool,
}

/// Upper bound on κ(ν) for the rows of `rows` (row-major n×p, p ≤ [`MAX_DIMENSION`]), with
/// incumbents. `starts`: good directions known before, true for the sign +. `go_on` is asked after
/// every batch of nodes. Not finite input gives upper = ∞.
pub fn price(
    rows: &[f64],
    p: usize,
    nu: &[f64],
    settings: &Settings,
    starts: &[(Vec<f64>, bool)],
    go_on: &mut dyn FnMut(State) -> bool,
) -> Outcome {
    let mut outcome = Outcome {
        upper: f64::INFINITY,
        lower: 0.0,
        directions: Vec::new(),
        relaxed: Vec::new(),
        nodes: 0,
        closed: false,
        stopped: true,
    };
    if rows.len() != p * nu.len() {
        return outcome;
    }
    let Some(plain) = Rows::new(rows, p, nu, 1.0) else { return outcome };
    if plain.n == 0 {
        outcome.upper = 2.0 * plain.dropped;
        (outcome.closed, outcome.stopped) = (true, false);
        return outcome;
    }
    let mut found = Found::default();
    first_incumbents(&plain, starts, &mut found);
    // a value that is zero to rounding closes too
    let floor = 1e-9 * plain.total;
    let goal =
        |lower: f64| f64::max(settings.target, lower * (1.0 + settings.tolerance)).max(floor);
    let scale = goal(found.best());
    if p > MAX_DIMENSION {
        outcome.upper = plain.total + 2.0 * plain.dropped;
        found.store(&mut outcome, 1.0, &plain);
        return outcome;
    }
    let Some(scaled) = Rows::new(rows, p, nu, scale) else { return outcome };
    found.list.iter_mut().for_each(|f| f.2 /= scale);
    let tables = Tables::new(p);
    let mut queue: BinaryHeap<Node> = BinaryHeap::new();
    let mut memory = 0;
    let mut stuck = f64::NEG_INFINITY;
    let mut ids = 2;
    outcome.stopped = false;
    let mut batch = Vec::new();
    let mut experience = Experience::new(scaled.n);
    // rounding of the folded weights: relative 4·2⁻⁵³ on every row
    let slack = 8.0 * f64::EPSILON * scaled.total + 2.0 * scaled.dropped;
    loop {
        let level = goal(found.best() * scale) / scale;
        let lower = found.best();
        let results: Vec<_> = if outcome.nodes == 0 {
            let mut relaxation = Relaxation::new(&scaled, &tables);
            [false, true]
                .map(|flip| {
                    let root = Node::root(&scaled, flip);
                    (None, tree::solve(&mut relaxation, &scaled, root, level, lower))
                })
                .into()
        } else {
            let chosen: Vec<(Node, Candidate)> = std::mem::take(&mut batch);
            chosen
                .par_iter()
                .with_max_len(1)
                .map_init(
                    || Relaxation::new(&scaled, &tables),
                    |relaxation, (node, choice)| {
                        let pair = tree::expand(relaxation, &scaled, node, *choice, level, lower);
                        let from = Some((*choice, node.bound));
                        pair.map(|solved| (from, solved))
                    },
                )
                .collect::<Vec<_>>()
                .into_iter()
                .flatten()
                .collect()
        };
        for (k, (from, solved)) in results.into_iter().enumerate() {
            outcome.nodes += 1;
            if let Some((choice, before)) = from {
                let now = solved.node.as_ref().map_or(level, |n| n.bound.max(level));
                experience.learn(&choice, k % 2, (before - now).max(0.0));
            }
            if let Some(i) = solved.incumbent {
                found.add(i);
            }
            if let Some(mut node) = solved.node {
                if node.candidates.is_empty() {
                    stuck = stuck.max(node.bound);
                } else {
                    node.id = ids;
                    ids += 1;
                    memory += node.bytes();
                    queue.push(node);
                }
            }
        }
        let level = goal(found.best() * scale) / scale;
        let top = queue.peek().map_or(f64::NEG_INFINITY, |n| n.bound);
        let upper = top.max(level).max(stuck) + slack;
        outcome.upper = upper * scale;
        outcome.lower = found.best() * scale;
        if top.max(stuck) <= level {
            outcome.closed = true;
            break;
        }
        let state = State {
            nodes: outcome.nodes,
            waiting: queue.len(),
            upper: outcome.upper,
            lower: outcome.lower,
        };
        if top <= stuck {
            break;
        }
        if !go_on(state) || outcome.nodes >= settings.max_nodes || memory > settings.memory {
            outcome.stopped = true;
            break;
        }
        while batch.len() < BATCH {
            match queue.pop() {
                Some(n) if n.bound > level => {
                    memory -= n.bytes();
                    if let Some(c) = experience.choose(&n.candidates) {
                        batch.push((n, c));
                    }
                }
                _ => break,
            }
        }
    }
    let waiting = queue.into_sorted_vec();
    for node in waiting.iter().rev().take(settings.relaxed) {
        let mut z = vec![0.0; nu.len()];
        for (i, v) in tree::relaxed_outputs(&scaled, node).into_iter().enumerate() {
            // from the scaled row back to x_i
            let k = scaled.index[i];
            z[k] = v * scale / nu[k].abs();
        }
        outcome.relaxed.push((z, !node.flip));
    }
    found.store(&mut outcome, scale, &scaled);
    outcome
}

/// Distinct good directions, best first.
#[derive(Default)]
struct Found {
    list: Vec<Incumbent>,
}

impl Found {
    fn best(&self) -> f64 {
        self.list.first().map_or(0.0, |f| f.2)
    }

    fn add(&mut self, new: Incumbent) {
        let same = |f: &Incumbent| {
            f.1 == new.1 && f.0.iter().zip(&new.0).map(|(a, b)| a * b).sum::<f64>() > 0.9999
        };
        if let Some(i) = self.list.iter().position(same) {
            if self.list[i].2 >= new.2 {
                return;
            }
            self.list.remove(i);
        }
        let at = self.list.partition_point(|f| f.2 >= new.2);
        self.list.insert(at, new);
        self.list.truncate(64);
    }

    /// Values in the caller's units, lowered by the rounding error of their evaluation: n + p
    /// operations on terms whose absolute values add up to at most `total`, and ‖u‖ = 1 to 2⁻⁵⁰.
    fn store(self, outcome: &mut Outcome, scale: f64, rows: &Rows) {
        let error =
            2.0 * (rows.n + rows.p + 16) as f64 * f64::EPSILON * rows.total + 2.0 * rows.dropped;
        let safe = |f: f64| ((f - error) * scale).max(0.0);
        outcome.lower = safe(self.best());
        outcome.directions =
            self.list.into_iter().map(|(u, flip, f)| (u, !flip, safe(f))).collect();
    }
}

fn first_incumbents(rows: &Rows, starts: &[(Vec<f64>, bool)], found: &mut Found) {
    for (u, plus) in starts {
        if u.len() == rows.p && u.iter().all(|c| c.is_finite()) {
            tree::ascend(rows, !plus, u, 0.0).into_iter().for_each(|i| found.add(i));
        }
    }
    let p = rows.p;
    for k in 0..rows.n.min(64) {
        let r = rows.row(k * rows.n / rows.n.min(64));
        for flip in [false, true] {
            for s in [1.0, -1.0] {
                let u: Vec<f64> = (0..p).map(|a| s * r[a]).collect();
                tree::ascend(rows, flip, &u, 0.0).into_iter().for_each(|i| found.add(i));
            }
        }
    }
}
