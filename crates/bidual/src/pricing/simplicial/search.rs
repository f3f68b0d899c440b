//! Best-first search over batches of dives.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};

use rayon::prelude::*;

use super::cone::{Context, UNIT};
use super::dive::{Found, Goal, Leaf, Limits, Scratch, Task};
use super::incumbent::Pool;
use super::rows::{self, Function};
use super::start;
use super::{Ball, Direction, Outcome, Problem, Settings, State};

/// Cones taken from the queue at a time, as long as the incumbent is likely to improve.
const BATCH: usize = 64;
/// Cones taken after the first `SETTLED` batches: fewer waits for the last dive of a batch.
const LATER: usize = 256;
const SETTLED: u32 = 6;
/// Levels below a queued cone that one dive explores at most. The first dives explore one:
/// depth-first work against a poor incumbent is wasted. Later ones go deeper, because loading the
/// rows of a queued cone is dear.
const DEPTH: u32 = 16;
/// Work of one dive, in blocks times columns; about a millisecond.
const WORK: u64 = 400_000;

struct Open<const P: usize> {
    leaf: Leaf<P>,
    number: u64,
}

impl<const P: usize> PartialEq for Open<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<const P: usize> Eq for Open<P> {}
impl<const P: usize> PartialOrd for Open<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<const P: usize> Ord for Open<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.leaf.bound.total_cmp(&other.leaf.bound).then(other.number.cmp(&self.number))
    }
}

/// Where the free coordinate ends and what lies beyond.
struct Free {
    /// All kinks satisfy `|b| ≤ reach·‖u‖`.
    reach: f64,
    /// Most that the function can gain between `reach` and the radius.
    beyond: f64,
}

fn free_coordinate(f: &Function<'_>, radius: f64) -> Free {
    let p = f.rows.dim();
    let last = p - 1;
    let (mut reach, mut up, mut down, mut size) = (0.0f64, f.slope[last], f.slope[last], 0.0);
    for (w, x, _) in f.active() {
        let h = x[last];
        if h != 0.0 {
            reach = reach.max(rows::norm(&x[..last]) / h.abs());
        }
        if h > 0.0 {
            up += w * h;
        } else {
            down += w * h;
        }
        size += (w * h).abs();
    }
    let reach = if reach > 0.0 { reach * (1.0 + 1e-12) } else { 1.0 };
    let rounding = 2.0 * (f.rows.len() as f64 + 4.0) * UNIT * (size + f.slope[last].abs());
    let beyond = (up.abs().max(down.abs()) + rounding) * (radius - reach).max(0.0);
    Free { reach, beyond }
}

/// Outcome when the input has no meaning.
fn invalid() -> Outcome {
    Outcome {
        upper: f64::INFINITY,
        lower: 0.0,
        directions: Vec::new(),
        cones: 0,
        closed: false,
        stopped: false,
    }
}

fn valid(problem: &Problem<'_>) -> bool {
    problem.nu.len() == problem.rows.len()
        && problem.linear.is_none_or(|c| c.len() == problem.rows.dim())
        && (problem.ball == Ball::Norm || problem.radius.is_finite())
}

/// Bound without a search: `|f(u)| ≤ ‖c‖ + Σ|ν_i|‖h_i‖` for `‖u‖ ≤ 1`.
pub(super) fn unsearched(problem: &Problem<'_>, settings: &Settings) -> Outcome {
    if !valid(problem) {
        return invalid();
    }
    let f = problem.rows.function(problem.nu, problem.linear);
    let size = match problem.ball {
        Ball::Norm => f.size,
        Ball::FreeBias => f.size * (1.0 + problem.radius * problem.radius).sqrt(),
    };
    let upper = size * (1.0 + 4.0 * (f.rows.len() as f64 + 16.0) * UNIT);
    if !f.finite || !upper.is_finite() {
        return invalid();
    }
    let closed = upper <= settings.target.max(0.0);
    Outcome { upper, closed, stopped: !closed, ..invalid() }
}

/// Power of two that brings `size` near one.
fn scale_for(size: f64) -> f64 {
    2f64.powi((-size.log2().floor()).clamp(-1000.0, 1000.0) as i32)
}

/// See [`super::price`].
pub(super) fn search<const P: usize>(
    problem: &Problem<'_>,
    settings: &Settings,
    starts: &[(Vec<f64>, bool)],
    go_on: &mut dyn FnMut(&State) -> bool,
) -> Outcome {
    if !valid(problem) {
        return invalid();
    }
    let f = problem.rows.function(problem.nu, problem.linear);
    if !f.finite {
        return invalid();
    }
    if f.size == 0.0 {
        return Outcome { upper: 0.0, closed: true, ..invalid() };
    }
    let free = (problem.ball == Ball::FreeBias).then(|| free_coordinate(&f, problem.radius));
    if P == 1 && free.is_some() {
        // the ball has no direction of positive gauge: only the free coordinate moves
        let upper = f.size * problem.radius.max(0.0) * (1.0 + 1e-12);
        return Outcome { upper, closed: upper <= settings.target, ..invalid() };
    }
    Search::<P>::new(problem, settings, &f, free).run(starts, go_on)
}

struct Search<'a, const P: usize> {
    context: Context<P>,
    settings: &'a Settings,
    pool: Pool<'a>,
    /// Values inside are those of the problem times this power of two.
    scale: f64,
    /// Added to every upper bound, unscaled.
    beyond: f64,
    open: BinaryHeap<Open<P>>,
    number: u64,
    cones: u64,
    discarded: f64,
    batches: u32,
    live: Arc<AtomicUsize>,
}

impl<'a, const P: usize> Search<'a, P> {
    fn new(
        problem: &Problem<'_>,
        settings: &'a Settings,
        f: &'a Function<'a>,
        free: Option<Free>,
    ) -> Self {
        let scale = scale_for(f.size);
        let reach = free.as_ref().map(|x| x.reach);
        let longest = reach.map_or(1.0, |r| (1.0 + r * r).sqrt());
        let gauge = start::gauge::<P>(reach.is_some());
        let context = Context {
            gauge,
            size: f.size * scale * longest * (1.0 + 1e-9 + 4.0 * UNIT * problem.rows.len() as f64),
            count: problem.rows.len() as f64,
            metric: metric(f, scale, reach),
        };
        let inner = if reach.is_some() { P - 1 } else { P };
        let live = Arc::new(AtomicUsize::new(0));
        let mut search = Self {
            context,
            settings,
            pool: Pool::new(f, inner, reach.unwrap_or(0.0), settings),
            scale,
            beyond: free.map_or(0.0, |x| x.beyond),
            open: BinaryHeap::new(),
            number: 0,
            cones: 0,
            discarded: 0.0,
            batches: 0,
            live,
        };
        let sets = rows::root_sets::<P>(f, scale, &search.live);
        for vertex in start::cones::<P>(reach) {
            for (side, set) in sets.iter().enumerate() {
                search.push(Leaf {
                    vertex,
                    error: [0.0; P],
                    cut: None,
                    bound: f64::INFINITY,
                    side: side as u8,
                    set: Arc::clone(set),
                });
            }
        }
        search
    }

    fn push(&mut self, leaf: Leaf<P>) {
        self.open.push(Open { leaf, number: self.number });
        self.number += 1;
    }

    fn goal(&self) -> Goal {
        let target = (self.settings.target - self.beyond) * self.scale;
        Goal {
            target: if target.is_nan() { 0.0 } else { target.max(0.0) },
            tolerance: self.settings.tolerance.max(0.0),
        }
    }

    fn lower(&self) -> f64 {
        self.pool.lower() * self.scale
    }

    fn threshold(&self) -> f64 {
        self.goal().threshold(self.lower())
    }

    fn state(&self) -> State {
        // before anything is bounded, the size is a bound
        let top = self.open.peek().map_or(0.0, |o| o.leaf.bound.min(self.context.size));
        let upper = top.max(self.discarded).max(self.lower()) / self.scale + self.beyond;
        // the division is exact, the addition rounds
        let upper = if self.beyond > 0.0 { upper * (1.0 + 2.0 * UNIT) } else { upper };
        State { cones: self.cones as usize, upper, lower: self.pool.lower() }
    }

    fn run(
        mut self,
        starts: &[(Vec<f64>, bool)],
        go_on: &mut dyn FnMut(&State) -> bool,
    ) -> Outcome {
        for (u, positive) in starts.iter().filter(|s| s.0.len() == P) {
            self.pool.offer(u, *positive);
        }
        self.pool.improve();
        let mut stopped = false;
        let mut deep = 0u32;
        while self.open.peek().is_some_and(|o| o.leaf.bound > self.threshold()) {
            if self.cones >= self.settings.max_cones as u64 || !go_on(&self.state()) {
                stopped = true;
                break;
            }
            let held = self.open.len() * size_of::<Open<P>>() + self.live.load(Atomic::Relaxed);
            deep = if held > self.settings.memory { deep + 1 } else { 0 };
            self.batch(deep);
        }
        let state = self.state();
        let limit = self.settings.target.max(state.lower * (1.0 + self.settings.tolerance));
        Outcome {
            upper: state.upper,
            lower: state.lower,
            cones: state.cones,
            closed: state.upper <= limit,
            stopped,
            directions: self.pool.into_directions(self.settings.wanted),
        }
    }

    /// Dives from the best open cones, in parallel against the same incumbent.
    fn batch(&mut self, deep: u32) {
        self.batches += 1;
        let threshold = self.threshold();
        let left = (self.settings.max_cones as u64).saturating_sub(self.cones);
        let count = match deep {
            0 if self.batches > SETTLED => LATER,
            0 => BATCH,
            _ => BATCH / 4,
        };
        let mut leaves = Vec::with_capacity(count);
        while leaves.len() < count && self.open.peek().is_some_and(|o| o.leaf.bound > threshold) {
            if let Some(open) = self.open.pop() {
                leaves.push(open.leaf);
            }
        }
        let limits = Limits {
            depth: if deep > 0 { u32::MAX } else { (3 * self.batches / 2).min(DEPTH) },
            work: WORK << deep.min(30),
            cones: (left / leaves.len().max(1) as u64).max(1),
        };
        let arch = pulp::Arch::new();
        let (context, goal, lower) = (&self.context, self.goal(), self.lower());
        let (pool, scale) = (&self.pool, self.scale);
        let floor = pool.floor();
        let found: Vec<(Found<P>, Option<Direction>)> = leaves
            .into_par_iter()
            .with_max_len(1)
            .map_init(Scratch::default, |scratch, leaf| {
                let positive = leaf.side == 0;
                let found = arch.dispatch(Task { context, goal, limits, lower, leaf, scratch });
                let best = found.best.filter(|(_, value)| value / scale > floor);
                (found, best.and_then(|(u, _)| pool.evaluate(&u, positive)))
            })
            .collect();
        for (found, best) in found {
            self.merge(found, best);
        }
        if self.lower() > lower {
            self.pool.improve();
        }
    }

    fn merge(&mut self, found: Found<P>, best: Option<Direction>) {
        self.cones += found.cones;
        self.discarded = self.discarded.max(found.discarded);
        if let Some(best) = best {
            self.pool.insert(best);
        }
        for leaf in found.leaves {
            self.push(leaf);
        }
    }
}

/// Metric in which the longest edge is cut: `Σ|ν_i|h_i h_iᵀ/‖h_i‖`, plus a little of the Euclidean
/// one (with the free coordinate in units of its reach) so that every edge is cut in the end.
fn metric<const P: usize>(f: &Function<'_>, scale: f64, reach: Option<f64>) -> [[f64; P]; P] {
    let moment = f.moment(scale);
    let mut h = [[0.0; P]; P];
    let mut trace = 0.0;
    for j in 0..P {
        for k in 0..P {
            h[j][k] = moment[j * P + k];
        }
        let unit = if j == P - 1 { reach.unwrap_or(1.0) } else { 1.0 };
        trace += h[j][j] * unit * unit;
    }
    for (j, row) in h.iter_mut().enumerate() {
        let unit = if j == P - 1 { reach.unwrap_or(1.0) } else { 1.0 };
        row[j] += 1e-4 * (trace + f64::MIN_POSITIVE) / (unit * unit);
    }
    h
}
