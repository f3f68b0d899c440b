//! Best-first branch and bound on the signs of rows.

use crate::pricing::moments::cone::tighten;
use crate::pricing::moments::envelope::majorant;
use crate::pricing::moments::relax::{Candidate, Relaxation};
use crate::pricing::moments::rows::{Rows, normalise, pair};
use std::cmp::Ordering;

/// A part of the sphere: the sides of some rows, and for every row a range that holds wherever f
/// exceeds the level at which it was computed.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// no value of f on the node exceeds max(this, pruning level)
    pub bound: f64,
    /// order of creation, breaks ties
    pub id: u64,
    /// which sign of ν
    pub flip: bool,
    /// branched rows with h_iᵀu ≥ 0 (true) or ≤ 0
    pub sides: Vec<(u32, bool)>,
    /// lo_i, hi_i interleaved
    pub ranges: Vec<f32>,
    /// moments to start the children from
    pub moments: Vec<f32>,
    /// rows to branch on
    pub candidates: Vec<Candidate>,
}

impl PartialEq for Node {
    fn eq(&self, o: &Self) -> bool {
        self.cmp(o) == Ordering::Equal
    }
}
impl Eq for Node {}
impl PartialOrd for Node {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Node {
    fn cmp(&self, o: &Self) -> Ordering {
        self.bound.total_cmp(&o.bound).then(o.id.cmp(&self.id))
    }
}

impl Node {
    /// The whole sphere.
    pub fn root(rows: &Rows, flip: bool) -> Self {
        let ranges = rows.norm.iter().flat_map(|&s| [up(s), up(s)]).collect();
        Self {
            bound: f64::INFINITY,
            id: u64::from(flip),
            flip,
            sides: Vec::new(),
            ranges,
            moments: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        128 + 12 * (self.sides.len() + self.candidates.len())
            + 4 * (self.ranges.len() + self.moments.len())
    }
}

/// The next f32 at or above x.
fn up(x: f64) -> f32 {
    let y = x as f32;
    if f64::from(y) < x { y.next_up() } else { y }
}

/// An attained value: direction, value.
pub(crate) type Incumbent = (Vec<f64>, bool, f64);

/// Outcome of one node.
pub(crate) struct Solved {
    /// the node, unless it is pruned
    pub node: Option<Node>,
    /// a good point of the sphere
    pub incumbent: Option<Incumbent>,
}

/// Bounds `node` against `level`; its `moments` are the start. `lower`: the best value known.
pub(crate) fn solve(
    relaxation: &mut Relaxation<'_>,
    rows: &Rows,
    mut node: Node,
    level: f64,
    lower: f64,
) -> Solved {
    let p = rows.p;
    let mut cone = Vec::with_capacity(node.sides.len() * p);
    for &(i, side) in &node.sides {
        let s = if side { 1.0 } else { -1.0 };
        let mut a: Vec<f64> = rows.row(i as usize).iter().map(|c| s * c).collect();
        normalise(&mut a);
        cone.extend(a);
    }
    let mut ranges: Vec<f64> = node.ranges.iter().map(|&r| f64::from(r)).collect();
    if !node.sides.is_empty() {
        tighten(rows, &cone, 6, &mut ranges);
    }
    let mut incumbent = None;
    let mut fixed = undecided(&ranges);
    for round in 0..3 {
        relaxation.load(&ranges, &cone, node.flip, SNAP);
        relaxation.start(&node.moments);
        relaxation.run(level, node.bound, false);
        node.bound = node.bound.min(relaxation.best.bound);
        if round == 0 {
            incumbent = ascend(rows, node.flip, &relaxation.x[..p], lower);
        }
        if node.bound <= level {
            return Solved { node: None, incumbent };
        }
        node.moments.clear();
        node.moments.extend(relaxation.x.iter().map(|&c| c as f32));
        // f > level only inside an ellipsoid
        let best = &relaxation.best;
        if !best.bound.is_finite() {
            break;
        }
        let radius = (best.bound - level).max(0.0).sqrt() * (1.0 + 1e-12);
        let mut y = vec![0.0; p];
        for i in 0..rows.n {
            if ranges[2 * i] <= 0.0 || ranges[2 * i + 1] <= 0.0 {
                continue;
            }
            let h = rows.row(i);
            let centre: f64 = h.iter().zip(&best.centre).map(|(a, b)| a * b).sum();
            let reach = best.reach(radius, h, &mut y) + 1e-12 * rows.norm[i];
            ranges[2 * i] = ranges[2 * i].min(reach - centre);
            ranges[2 * i + 1] = ranges[2 * i + 1].min(reach + centre);
            if ranges[2 * i] + ranges[2 * i + 1] < 0.0 {
                return Solved { node: None, incumbent };
            }
        }
        let now = undecided(&ranges);
        if now as f64 > 0.85 * fixed as f64 {
            break;
        }
        fixed = now;
    }
    let open = |i: usize| ranges[2 * i] > 0.0 && ranges[2 * i + 1] > 0.0;
    relaxation.candidates(usize::MAX, &mut node.candidates);
    node.candidates.retain(|c| open(c.row as usize));
    if node.candidates.is_empty() {
        // nothing left to branch on: the relaxation is exact but for its accuracy
        relaxation.load(&ranges, &cone, node.flip, 0.0);
        relaxation.start(&[]);
        relaxation.run(level, node.bound, true);
        node.bound = node.bound.min(relaxation.best.bound);
        let attained = ascend(rows, node.flip, &relaxation.x[..p], lower);
        if attained.as_ref().map(|i| i.2) > incumbent.as_ref().map(|i| i.2) {
            incumbent = attained;
        }
        if node.bound <= level {
            return Solved { node: None, incumbent };
        }
        relaxation.candidates(usize::MAX, &mut node.candidates);
        node.candidates.retain(|c| open(c.row as usize));
    }
    node.candidates.truncate(CANDIDATES);
    node.ranges.clear();
    node.ranges.extend(ranges.iter().map(|&r| up(r)));
    Solved { node: Some(node), incumbent }
}

fn undecided(ranges: &[f64]) -> usize {
    ranges.chunks_exact(2).filter(|r| r[0] > 0.0 && r[1] > 0.0).count()
}

/// The child of a node on one side of its branching row.
pub(crate) fn child(node: &Node, row: u32, side: bool) -> Node {
    let mut c = node.clone();
    c.candidates.clear();
    c.sides.push((row, side));
    c.ranges[2 * row as usize + usize::from(!side)] = 0.0;
    c
}

/// Local ascent of f from u on the sphere; None if it stays clearly below `lower`.
pub(crate) fn ascend(rows: &Rows, flip: bool, u: &[f64], lower: f64) -> Option<Incumbent> {
    let p = rows.p;
    let mut u = u.to_vec();
    if normalise(&mut u) == 0.0 {
        return None;
    }
    let mut g = vec![0.0; p];
    let mut f = rows.value(flip, &u, &mut g);
    if f < 0.5 * lower {
        return None;
    }
    let (mut trial, mut next) = (vec![0.0; p], vec![0.0; p]);
    let mut step = 1.0;
    for _ in 0..60 {
        let length = g.iter().map(|c| c * c).sum::<f64>().sqrt();
        if length == 0.0 {
            break;
        }
        for i in 0..p {
            trial[i] = u[i] + step * (g[i] / length - u[i]);
        }
        normalise(&mut trial);
        let v = rows.value(flip, &trial, &mut next);
        if v > f {
            let small = v - f < 1e-10 * v.abs();
            f = v;
            u.copy_from_slice(&trial);
            g.copy_from_slice(&next);
            if small {
                break;
            }
            step = f64::min(1.0, 2.0 * step);
        } else {
            step *= 0.5;
            if step < 1e-4 {
                break;
            }
        }
    }
    (f > 0.0).then_some((u, flip, f))
}

/// Ranges below this part of the row's norm count as zero, at the price of their length.
const SNAP: f64 = 1e-7;

/// Rows kept for the choice at expansion.
const CANDIDATES: usize = 24;

/// Averages, row by row and side by side, of gained bound over estimated gain.
#[derive(Default)]
pub(crate) struct Experience {
    sums: Vec<[(f64, f64); 2]>,
    all: (f64, f64),
}

impl Experience {
    /// No experience with n rows.
    pub fn new(n: usize) -> Self {
        Self { sums: vec![[(0.0, 0.0); 2]; n], all: (0.0, 0.0) }
    }

    /// Records that side `side` of candidate `c` gained `gain`.
    pub fn learn(&mut self, c: &Candidate, side: usize, gain: f64) {
        let estimate = f64::from(c.fall[side]);
        let s = &mut self.sums[c.row as usize][side];
        *s = (s.0 + gain, s.1 + estimate);
        self.all = (self.all.0 + gain, self.all.1 + estimate);
    }

    fn expected(&self, c: &Candidate, side: usize) -> f64 {
        let w = 3.0;
        let e = f64::from(c.fall[side]);
        let prior = if self.all.1 > 0.0 { self.all.0 / self.all.1 } else { 1.0 };
        let s = self.sums[c.row as usize][side];
        e * (s.0 + w * e * prior) / (s.1 + w * e)
    }

    /// The candidate with the best product of expected gains.
    pub fn choose(&self, candidates: &[Candidate]) -> Option<Candidate> {
        let score = |c: &Candidate| self.expected(c, 0).max(1e-9) * self.expected(c, 1).max(1e-9);
        let mut best: Option<(f64, Candidate)> = None;
        for c in candidates {
            let s = score(c);
            if best.is_none_or(|b| s > b.0) {
                best = Some((s, *c));
            }
        }
        best.map(|b| b.1)
    }
}

/// Both children of a node, bounded.
pub(crate) fn expand(
    relaxation: &mut Relaxation<'_>,
    rows: &Rows,
    node: &Node,
    choice: Candidate,
    level: f64,
    lower: f64,
) -> [Solved; 2] {
    [false, true].map(|side| solve(relaxation, rows, child(node, choice.row, side), level, lower))
}

/// Outputs of the rows in the relaxation at a node's moments: best majorant for P rows, best
/// minorant for N rows.
pub(crate) fn relaxed_outputs(rows: &Rows, node: &Node) -> Vec<f64> {
    let p = rows.p;
    let x: Vec<f64> = node.moments.iter().map(|&c| f64::from(c)).collect();
    (0..rows.n)
        .map(|i| {
            let h = rows.row(i);
            let (mut t, mut q) = (0.0, 0.0);
            for a in 0..p {
                t += h[a] * x[a];
                for b in 0..p {
                    q += h[a] * h[b] * x[p + pair(a.min(b), a.max(b))];
                }
            }
            let (lo, hi) = (f64::from(node.ranges[2 * i]), f64::from(node.ranges[2 * i + 1]));
            if hi <= 0.0 {
                0.0
            } else if lo <= 0.0 {
                t
            } else if rows.positive[i] != node.flip {
                let m = majorant(t, q, lo, hi);
                m.constant + m.slope * t + m.curvature * q
            } else {
                t.max((q + lo * t) / (lo + hi)).max(0.0)
            }
        })
        .collect()
}
