//! Bounded depth-first search below one cone.

use std::sync::Arc;

use pulp::{Simd, WithSimd};

use super::cone::{Cone, Context, Middle, Segment, UNIT};
use super::exchange::shift;
use super::kernel::{self, Block, LANES};
use super::nnls::{Projection, dot};
use super::rows::RowSet;

/// An open cone between dives.
#[derive(Clone)]
pub(super) struct Leaf<const P: usize> {
    pub vertex: [[f64; P]; P],
    pub error: [f64; P],
    /// Best cut found so far, or none.
    pub cut: Option<[f64; P]>,
    pub bound: f64,
    /// 0 for `f`, 1 for `−f`.
    pub side: u8,
    pub set: Arc<RowSet<P>>,
}

/// When cones are discarded.
#[derive(Clone, Copy)]
pub(super) struct Goal {
    pub target: f64,
    pub tolerance: f64,
}

impl Goal {
    /// Bounds up to here need no further work.
    pub fn threshold(&self, lower: f64) -> f64 {
        self.target.max(lower * (1.0 + self.tolerance))
    }
}

/// Limits of one dive.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Cones deeper than this below the start are handed back.
    pub depth: u32,
    /// Work (blocks times columns) after which the rest is handed back.
    pub work: u64,
    /// Cones after which the rest is handed back.
    pub cones: u64,
}

/// What a dive found.
pub(super) struct Found<const P: usize> {
    pub leaves: Vec<Leaf<P>>,
    /// Largest bound among the cones that were discarded.
    pub discarded: f64,
    /// Best point with its approximate value.
    pub best: Option<([f64; P], f64)>,
    pub cones: u64,
}

struct Frame<const P: usize> {
    cone: Cone<P>,
    rows: Segment,
    depth: u32,
}

/// Buffers that are kept from dive to dive.
pub(super) struct Scratch<const P: usize> {
    arena: Vec<Block<P>>,
    masks: Vec<u8>,
    frames: Vec<Frame<P>>,
}

impl<const P: usize> Default for Scratch<P> {
    fn default() -> Self {
        Self { arena: Vec::new(), masks: Vec::new(), frames: Vec::new() }
    }
}

/// Row passes spent on one cone at most.
const PASSES: usize = 16;
/// Exchanges between cuts after each row pass at most.
const EXCHANGES: usize = 6;
/// An exchange, and a row pass, must close at least this share of what is missing.
const EXCHANGE_GAIN: f64 = 0.002;
const PASS_GAIN: f64 = 0.005;
/// A bound this many margins above an attained value is not worth more work.
const ROUNDING: f64 = 8.0;

struct Dive<'a, S: Simd, const P: usize> {
    simd: S,
    context: &'a Context<P>,
    goal: Goal,
    limits: Limits,
    lower: f64,
    threshold: f64,
    work: u64,
    found: Found<P>,
}

/// The search below `leaf` against the incumbent value `lower`, for dispatch as a whole: small
/// kernels are too short to be dispatched one by one.
pub(super) struct Task<'a, const P: usize> {
    pub context: &'a Context<P>,
    pub goal: Goal,
    pub limits: Limits,
    pub lower: f64,
    pub leaf: Leaf<P>,
    pub scratch: &'a mut Scratch<P>,
}

impl<const P: usize> WithSimd for Task<'_, P> {
    type Output = Found<P>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Found<P> {
        let Task { context, goal, limits, lower, leaf, scratch } = self;
        let found = Found { leaves: Vec::new(), discarded: 0.0, best: None, cones: 0 };
        let threshold = goal.threshold(lower);
        let mut dive = Dive { simd, context, goal, limits, lower, threshold, work: 0, found };
        dive.run(leaf, scratch);
        dive.found
    }
}

impl<S: Simd, const P: usize> Dive<'_, S, P> {
    #[inline(always)]
    fn run(&mut self, leaf: Leaf<P>, scratch: &mut Scratch<P>) {
        let Scratch { arena, masks, frames } = scratch;
        frames.clear();
        let mut root = self.load(&leaf, arena, masks);
        let used = arena.len();
        if root.cone.bound == f64::INFINITY {
            self.found.cones += 1;
            let at = root.cone.projected();
            if self.refine(&mut root.cone, at, arena, root.rows.plus) {
                self.discard(root.cone.bound);
                return;
            }
        }
        frames.push(root);
        while let Some(frame) = frames.pop() {
            if frame.cone.bound <= self.threshold {
                self.discard(frame.cone.bound);
            } else if frame.depth > 0 && self.exhausted(frame.depth) {
                self.hand_back(&frame.cone, &leaf);
            } else {
                arena.truncate(frame.rows.end());
                self.split(&frame, arena, masks, frames);
            }
        }
        // few dives hand back cones: most row sets are never needed again
        let total = leaf.set.blocks();
        if !self.found.leaves.is_empty() && 2 * used < total && total > 16 {
            let set = self.shrink(&leaf, arena, masks);
            for leaf in &mut self.found.leaves {
                leaf.set = Arc::clone(&set);
            }
        }
        arena.clear();
    }

    fn exhausted(&self, depth: u32) -> bool {
        depth >= self.limits.depth
            || self.work >= self.limits.work
            || self.found.cones >= self.limits.cones
    }

    fn discard(&mut self, bound: f64) {
        self.found.discarded = self.found.discarded.max(bound);
    }

    fn hand_back(&mut self, cone: &Cone<P>, root: &Leaf<P>) {
        self.found.leaves.push(Leaf {
            vertex: cone.vertex,
            error: cone.error,
            cut: (cone.cuts.len > 0).then(|| cone.cuts.mean()),
            bound: cone.bound,
            side: root.side,
            set: Arc::clone(&root.set),
        });
    }

    /// Projects the rows of a leaf on its vertices.
    #[inline(always)]
    fn load(&mut self, leaf: &Leaf<P>, arena: &mut Vec<Block<P>>, masks: &mut Vec<u8>) -> Frame<P> {
        let set = &leaf.set;
        let mut cone = Cone::new(self.context, leaf.vertex, leaf.error);
        cone.bound = leaf.bound;
        for k in 0..P {
            // a projection computed afresh is rounded p times
            cone.error[k] += P as f64 * UNIT * dot(&leaf.vertex[k], &leaf.vertex[k]).sqrt();
            cone.plus_fixed[k] = dot(&set.plus_fixed, &leaf.vertex[k]);
            cone.minus_fixed[k] = dot(&set.minus_fixed, &leaf.vertex[k]);
        }
        arena.clear();
        let zero = [[0.0; LANES]; P];
        let total = set.blocks();
        arena.resize(total, zero);
        masks.clear();
        masks.resize(total, 0);
        self.work += (total * P * P) as u64;
        let (plus_out, minus_out) = arena.split_at_mut(set.plus.len());
        let (plus_masks, minus_masks) = masks.split_at_mut(set.plus.len());
        let simd = self.simd;
        let plus = kernel::project(simd, &set.plus, &leaf.vertex, plus_out, plus_masks);
        let minus = kernel::project(simd, &set.minus, &leaf.vertex, minus_out, minus_masks);
        let used_plus = kernel::compress(plus_out, plus_masks, plus.crossing);
        let used_minus = kernel::compress(minus_out, minus_masks, minus.crossing);
        arena.copy_within(set.plus.len()..set.plus.len() + used_minus, used_plus);
        arena.truncate(used_plus + used_minus);
        for k in 0..P {
            cone.plus_fixed[k] += plus.fixed[k];
            cone.minus_fixed[k] += minus.fixed[k];
            let mut unit = [0.0; P];
            unit[k] = 1.0;
            cone.chord[k] =
                cone.plus_fixed[k] + kernel::positive_sum(simd, &arena[..used_plus], &unit);
        }
        if let Some(cut) = leaf.cut {
            cone.cuts.push(cut, &cut);
        }
        cone.rounds = 1;
        let rows = Segment { start: 0, plus: used_plus, minus: used_minus };
        Frame { cone, rows, depth: 0 }
    }

    /// The row set of a leaf without the rows that do not change side in it.
    #[inline(always)]
    fn shrink(
        &mut self,
        leaf: &Leaf<P>,
        arena: &mut Vec<Block<P>>,
        masks: &mut Vec<u8>,
    ) -> Arc<RowSet<P>> {
        let (simd, set) = (self.simd, &leaf.set);
        let most = set.plus.len().max(set.minus.len());
        arena.resize(most, [[0.0; LANES]; P]);
        masks.resize(most, 0);
        let mut kept = |rows: &[Block<P>], fixed: &[f64; P]| {
            let (out, masks) = (&mut arena[..rows.len()], &mut masks[..rows.len()]);
            let crossing = kernel::project(simd, rows, &leaf.vertex, out, masks).crossing;
            let mut sum = kernel::fixed_sum(simd, rows, &leaf.vertex);
            for k in 0..P {
                sum[k] += fixed[k];
            }
            (kernel::select(rows, masks, crossing), sum)
        };
        let (plus, plus_fixed) = kept(&set.plus, &set.plus_fixed);
        let (minus, minus_fixed) = kept(&set.minus, &set.minus_fixed);
        RowSet::new(plus, minus, plus_fixed, minus_fixed, set.counter())
    }

    /// Bounds the two halves of a cone and pushes those that stay open.
    #[inline(always)]
    fn split(
        &mut self,
        frame: &Frame<P>,
        arena: &mut Vec<Block<P>>,
        masks: &mut Vec<u8>,
        frames: &mut Vec<Frame<P>>,
    ) {
        let Some(edge) = frame.cone.widest_edge() else {
            self.discard(frame.cone.bound);
            return;
        };
        let rows = frame.rows;
        let plus = &arena[rows.start..rows.start + rows.plus];
        let middle = frame.cone.middle(self.simd, plus, edge);
        for slot in [edge.0, edge.1] {
            self.found.cones += 1;
            self.work += ((rows.plus + 2 * P) * P) as u64;
            let mut child = frame.cone.child(self.context, &middle, slot);
            let known = child.cuts.len > 0;
            let mut at = child.projected();
            if known && (self.record(&mut child, &at) || self.exchange(&mut child, &mut at)) {
                self.discard(child.bound);
                continue;
            }
            let start = arena.len();
            let segment = self.sort_rows(&mut child, &rows, &middle, slot, arena, masks);
            if self.refine(&mut child, at, &arena[start..], segment.plus) {
                self.discard(child.bound);
                arena.truncate(start);
            } else {
                frames.push(Frame { cone: child, rows: segment, depth: frame.depth + 1 });
            }
        }
    }

    /// Copies the rows of a child into the arena, without those that have become one-sided if that
    /// saves memory.
    #[inline(always)]
    fn sort_rows(
        &mut self,
        child: &mut Cone<P>,
        rows: &Segment,
        middle: &Middle<P>,
        slot: usize,
        arena: &mut Vec<Block<P>>,
        masks: &mut Vec<u8>,
    ) -> Segment {
        let simd = self.simd;
        let start = arena.len();
        let total = rows.plus + rows.minus;
        if masks.len() < total {
            masks.resize(total, 0);
        }
        self.work += (total * P) as u64;
        let mut used = [0; 2];
        for (part, (from, blocks)) in
            [(rows.start, rows.plus), (rows.start + rows.plus, rows.minus)].into_iter().enumerate()
        {
            let sides = {
                let source = &arena[from..from + blocks];
                kernel::classify(simd, source, middle.edge, slot, &mut masks[..blocks])
            };
            let packed = sides.crossing.div_ceil(LANES);
            let at = arena.len();
            let pays = 8 * packed <= 7 * blocks;
            used[part] = if pays { packed } else { blocks };
            // packing wants a block to spare
            arena.resize(at + used[part] + usize::from(pays), [[0.0; LANES]; P]);
            let (old, new) = arena.split_at_mut(at);
            let source = &old[from..from + blocks];
            if pays {
                kernel::pack(simd, source, middle.edge, slot, &masks[..blocks], new);
                arena.truncate(at + packed);
                let fixed = if part == 0 { &mut child.plus_fixed } else { &mut child.minus_fixed };
                for k in 0..P {
                    fixed[k] += sides.fixed[k];
                }
            } else {
                kernel::copy_child(simd, source, middle.edge, slot, new);
            }
        }
        child.rounds += 1;
        Segment { start, plus: used[0], minus: used[1] }
    }

    /// Stores the bound proved by a projection; true if the cone can go.
    #[inline(always)]
    fn record(&self, cone: &mut Cone<P>, at: &Projection<P>) -> bool {
        let bound = cone.proved(self.context, at);
        if bound < cone.bound {
            cone.bound = bound;
        }
        (cone.support, cone.t) = (at.factor.support, at.t);
        cone.bound <= self.threshold
    }

    /// Moves weight between the stored cuts (Newton's direction, else pairwise Frank–Wolfe, with exact
    /// line search); true if the cone can go.
    #[inline(always)]
    fn exchange(&self, cone: &mut Cone<P>, at: &mut Projection<P>) -> bool {
        let mut pairs = false;
        let enough = self.threshold * (1.0 - 1e-12);
        for _ in 0..EXCHANGES {
            let (mut best, mut low) = (0, f64::INFINITY);
            let (mut worst, mut high) = (0, f64::NEG_INFINITY);
            // a cut with a large value gives a small majorant
            for j in 0..cone.cuts.len {
                let value = -dot(&cone.cuts.value[j], &at.t);
                if value < low {
                    (best, low) = (j, value);
                }
                if cone.cuts.weight[j] > 0.0 && value > high {
                    (worst, high) = (j, value);
                }
            }
            let drop = high - low;
            if best == worst || drop <= 1e-13 * at.norm * at.norm {
                return false;
            }
            // an attainable point that all the stored cuts leave above the threshold
            if dot(&cone.chord, &at.t) + low > self.threshold * at.norm {
                return false;
            }
            let before = at.norm;
            let ended = shift(cone, at, best, worst, pairs, enough);
            if self.record(cone, at) {
                return true;
            }
            // a small weight may end the step before it has gained anything
            if !ended && before - at.norm < EXCHANGE_GAIN * (cone.bound - self.threshold) {
                // Newton's step can fail where cuts all but coincide
                if pairs {
                    return false;
                }
                pairs = true;
            }
        }
        false
    }

    /// Improves the bound of a cone with its rows at hand, from the projection `at` of its
    /// majorant; true if the cone can go.
    #[inline(always)]
    fn refine(
        &mut self,
        cone: &mut Cone<P>,
        mut at: Projection<P>,
        rows: &[Block<P>],
        plus: usize,
    ) -> bool {
        let simd = self.simd;
        let (plus, minus) = rows.split_at(plus);
        if cone.cuts.len == 0 {
            let t = [1.0 / P as f64; P];
            self.cut(cone, minus, &t);
            at = cone.projected();
        }
        if self.record(cone, &at) {
            return true;
        }
        for pass in 0..PASSES {
            if at.norm <= 0.0 {
                return false;
            }
            let before = at.norm;
            let mut t = at.t;
            for k in 0..P {
                t[k] /= at.norm;
            }
            self.work += (minus.len() * P) as u64;
            let cut = self.cut(cone, minus, &t);
            // value of the concave majorant at an attainable point: no cuts go below it
            let relaxed = dot(&cone.chord, &t) - cut;
            if relaxed > self.lower {
                self.work += (plus.len() * P) as u64;
                let value = dot(&cone.plus_fixed, &t) + kernel::positive_sum(simd, plus, &t) - cut;
                self.offer(cone, &t, value);
                // the margin at the level of the value: a projection that failed on an all but
                // singular Gram matrix has any norm, and so would its margin
                let margin = cone.margin(self.context, value.abs()).1;
                if cone.bound <= self.threshold || cone.bound - value <= ROUNDING * margin {
                    return true;
                }
            }
            if relaxed > self.threshold || pass + 1 == PASSES {
                return false;
            }
            if self.exchange(cone, &mut at) {
                return true;
            }
            if before - at.norm < PASS_GAIN * (cone.bound - self.threshold) {
                return false;
            }
        }
        false
    }

    /// Adds the tightest cut at `t` and returns its value there, `Σ_minus (x_iᵀu)_+`.
    #[inline(always)]
    fn cut(&self, cone: &mut Cone<P>, minus: &[Block<P>], t: &[f64; P]) -> f64 {
        let mut cut = kernel::active_sum(self.simd, minus, t);
        for k in 0..P {
            cut[k] += cone.minus_fixed[k];
        }
        cone.cuts.push(cut, t);
        dot(&cut, t)
    }

    /// A point of the cone with gauge one and its value.
    #[inline(always)]
    fn offer(&mut self, cone: &Cone<P>, t: &[f64; P], value: f64) {
        if self.found.best.as_ref().is_none_or(|b| value > b.1) {
            let mut u = [0.0; P];
            for k in 0..P {
                for j in 0..P {
                    u[j] += t[k] * cone.vertex[k][j];
                }
            }
            self.found.best = Some((u, value));
        }
        if value > self.lower {
            self.lower = value;
            self.threshold = self.goal.threshold(value);
        }
    }
}
