//! A simplicial cone `{Σ_k t_k v_k, t ≥ 0}` with everything that is linear on its vertices.

use super::kernel::{self, Block, Edge};
use super::nnls::{self, Distances, Factor, Projection, dot};
use pulp::Simd;

/// Most tangent cuts kept with a cone.
pub(super) const CUTS: usize = 6;

/// Unit roundoff of f64.
pub(super) const UNIT: f64 = f64::EPSILON / 2.0;

/// Angles below this (as `1 − cos`) are lost to cancellation.
const CANCELLED: f64 = 1e-11;

/// Relative squared length of an edge that halving can no longer resolve.
const POINT: f64 = 1e-28;

/// Convex combination of linear minorants of the minus rows, by their values on the vertices.
///
/// Each cut is `γ = Σ α_i x_i` with some `α ∈ [0,1]` over *all* minus rows, so it stays valid in
/// every sub-cone and moves to a new vertex by linearity.
#[derive(Clone, Copy)]
pub(super) struct Cuts<const P: usize> {
    pub len: usize,
    pub value: [[f64; P]; CUTS],
    pub weight: [f64; CUTS],
}

impl<const P: usize> Cuts<P> {
    pub const EMPTY: Self = Self { len: 0, value: [[0.0; P]; CUTS], weight: [0.0; CUTS] };

    /// The combination; weights are divided by their sum, so that it is convex to the last bit.
    #[inline(always)]
    pub fn mean(&self) -> [f64; P] {
        let mut sum = 0.0;
        let mut out = [0.0; P];
        for j in 0..self.len.min(CUTS) {
            sum += self.weight[j];
            for k in 0..P {
                out[k] += self.weight[j] * self.value[j][k];
            }
        }
        if sum > 0.0 {
            let scale = 1.0 / sum;
            for k in 0..P {
                out[k] *= scale;
            }
        }
        out
    }

    /// Adds a cut of weight zero (weight one if it is the first). When the store is full the
    /// unused cut that is largest at `t` goes; if all are used, the two lightest are merged.
    #[inline(always)]
    pub fn push(&mut self, cut: [f64; P], t: &[f64; P]) {
        if self.len < CUTS {
            self.weight[self.len] = if self.len == 0 { 1.0 } else { 0.0 };
            self.value[self.len] = cut;
            self.len += 1;
            return;
        }
        let (mut drop, mut level) = (CUTS, f64::INFINITY);
        for j in 0..CUTS {
            if self.weight[j] <= 0.0 {
                let value = dot(&self.value[j], t);
                if value < level {
                    (drop, level) = (j, value);
                }
            }
        }
        if drop == CUTS {
            let (mut a, mut b) = if self.weight[0] <= self.weight[1] { (0, 1) } else { (1, 0) };
            for j in 2..CUTS {
                if self.weight[j] < self.weight[a] {
                    (a, b) = (j, a);
                } else if self.weight[j] < self.weight[b] {
                    b = j;
                }
            }
            let (x, y) = (self.weight[a], self.weight[b]);
            let share = x / (x + y);
            for k in 0..P {
                self.value[b][k] = share * self.value[a][k] + (1.0 - share) * self.value[b][k];
            }
            self.weight[b] = x + y;
            drop = a;
        }
        self.value[drop] = cut;
        self.weight[drop] = 0.0;
    }
}

/// Where the packed rows of a cone lie in the arena: plus rows first, then minus rows, in blocks.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub start: usize,
    pub plus: usize,
    pub minus: usize,
}

impl Segment {
    pub fn end(&self) -> usize {
        self.start + self.plus + self.minus
    }
}

/// Cone with its carried data. "Vertex" `k` is an exact real vector: the vectors of the start
/// cones are exact and a new one is `left·v_k + right·v_l` in real arithmetic with the stored f64
/// factors, so the cover of the parent by the children is exact. Stored numbers are approximations
/// of what belongs to these exact vertices; `error` bounds their distance.
#[derive(Clone, Copy)]
pub(super) struct Cone<const P: usize> {
    pub vertex: [[f64; P]; P],
    /// Bound on the error of `vertex[k]`, and per unit of row norm on that of its projections.
    pub error: [f64; P],
    /// Squared distances of the gauge parts, which have norm one.
    pub distance: Distances<P>,
    /// Gram matrix in the metric of the data; decides which edge is cut, nothing else.
    pub metric: [[f64; P]; P],
    /// Value of linear term and all plus rows at the vertex.
    pub chord: [f64; P],
    /// Linear term and plus rows that are positive everywhere.
    pub plus_fixed: [f64; P],
    /// Minus rows that are positive everywhere.
    pub minus_fixed: [f64; P],
    pub cuts: Cuts<P>,
    /// Support of the last projection, and its coefficients.
    pub support: u32,
    pub t: [f64; P],
    /// Times the rows were re-sorted since they were loaded: every one rounds the fixed sums.
    pub rounds: u32,
    pub bound: f64,
}

/// What is the same for all cones of a search.
pub(super) struct Context<const P: usize> {
    /// 1 for coordinates inside the gauge, 0 for the free one.
    pub gauge: [f64; P],
    /// Size of the sums: an upper bound on `(‖c‖ + Σ|ν_i|‖h_i‖)·max‖v_k‖` after scaling.
    pub size: f64,
    /// Number of rows, as it enters the rounding margin.
    pub count: f64,
    /// Metric of the data.
    pub metric: [[f64; P]; P],
}

impl<const P: usize> Context<P> {
    /// Squared distance in the gauge.
    #[inline(always)]
    fn distance(&self, a: &[f64; P], b: &[f64; P]) -> f64 {
        let mut s = 0.0;
        for k in 0..P {
            let d = a[k] - b[k];
            s += self.gauge[k] * d * d;
        }
        s
    }
}

/// The vertex that halves an edge.
pub(super) struct Middle<const P: usize> {
    pub edge: Edge,
    vertex: [f64; P],
    error: f64,
    chord: f64,
    plus_fixed: f64,
    minus_fixed: f64,
    metric: [f64; P],
    metric_self: f64,
    cuts: [f64; CUTS],
}

impl<const P: usize> Cone<P> {
    /// Cone from its vertices; sums and cuts are empty.
    pub fn new(context: &Context<P>, vertex: [[f64; P]; P], error: [f64; P]) -> Self {
        let mut cone = Self {
            vertex,
            error,
            distance: [[0.0; P]; P],
            metric: [[0.0; P]; P],
            chord: [0.0; P],
            plus_fixed: [0.0; P],
            minus_fixed: [0.0; P],
            cuts: Cuts::EMPTY,
            support: (1u32 << P) - 1,
            t: [0.0; P],
            rounds: 0,
            bound: f64::INFINITY,
        };
        for k in 0..P {
            let image = nnls::product(&context.metric, &vertex[k]);
            for l in 0..P {
                cone.distance[k][l] = context.distance(&vertex[k], &vertex[l]);
                cone.metric[k][l] = dot(&image, &vertex[l]);
            }
        }
        cone
    }

    /// Edge with the widest angle in the metric of the data, up to twice as wide where the last
    /// projection lies near its ends, `None` if the cone has shrunk to a point. (The length of `v_k − v_l` in that metric would not do: it counts differences of
    /// length too, and halving can then cycle.)
    #[inline(always)]
    pub fn widest_edge(&self) -> Option<(usize, usize)> {
        let (mut best, mut edge, mut widest) = (f64::NEG_INFINITY, (0, 1), 0.0);
        let (mut inverse, mut share, mut sum) = ([0.0; P], [0.0; P], 0.0);
        for k in 0..P {
            let length = self.metric[k][k].sqrt();
            inverse[k] = 1.0 / length;
            share[k] = self.t[k] * length;
            sum += share[k];
        }
        let unit = if sum > 0.0 { 1.0 / sum } else { 0.0 };
        for k in 0..P {
            for l in k + 1..P {
                let angle = 1.0 - self.metric[k][l] * inverse[k] * inverse[l];
                widest = if angle > widest { angle } else { widest };
                let near = if unit > 0.0 { (share[k] + share[l]) * unit } else { 0.0 };
                let score = angle * (1.0 + near);
                if score > best {
                    (best, edge) = (score, (k, l));
                }
            }
        }
        if widest > CANCELLED { Some(edge) } else { self.longest_edge() }
    }

    /// Edge that is longest in the Euclidean metric, from differences; for thin cones.
    #[cold]
    fn longest_edge(&self) -> Option<(usize, usize)> {
        let (mut best, mut edge) = (POINT, None);
        for k in 0..P {
            for l in k + 1..P {
                let mut square = 0.0;
                for j in 0..P {
                    let d = self.vertex[k][j] - self.vertex[l][j];
                    square += d * d;
                }
                square /= dot(&self.vertex[k], &self.vertex[k]);
                if square > best {
                    (best, edge) = (square, Some((k, l)));
                }
            }
        }
        edge
    }

    /// Everything linear at the new vertex of an edge, and the plus rows' value there.
    #[inline(always)]
    pub fn middle<S: Simd>(
        &self,
        simd: S,
        plus: &[Block<P>],
        (first, second): (usize, usize),
    ) -> Middle<P> {
        // halves the angle in the metric of the data; gauge one
        let ratio = (self.metric[first][first] / self.metric[second][second]).sqrt();
        let ratio = if ratio.is_finite() { ratio.clamp(1e-3, 1e3) } else { 1.0 };
        // ‖v_k + r v_l‖² = (1 + r)² − r D_kl
        let square = (1.0 + ratio) * (1.0 + ratio) - ratio * self.distance[first][second];
        let left = 1.0 / square.sqrt();
        let right = left * ratio;
        let edge = Edge { first, second, left, right };
        let mix = |a: &[f64; P]| left * a[first] + right * a[second];
        let mut vertex = [0.0; P];
        for j in 0..P {
            vertex[j] = left * self.vertex[first][j] + right * self.vertex[second][j];
        }
        let mut metric = [0.0; P];
        for l in 0..P {
            metric[l] = left * self.metric[first][l] + right * self.metric[second][l];
        }
        let mut cuts = [0.0; CUTS];
        for j in 0..self.cuts.len.min(CUTS) {
            cuts[j] = mix(&self.cuts.value[j]);
        }
        let plus_fixed = mix(&self.plus_fixed);
        Middle {
            edge,
            vertex,
            // two roundings of each term (of a projection: per unit of row norm)
            error: mix(&self.error) * (1.0 + 4.0 * UNIT)
                + 3.0
                    * UNIT
                    * (left * length(&self.vertex[first]) + right * length(&self.vertex[second])),
            chord: plus_fixed + kernel::edge_value(simd, plus, edge),
            plus_fixed,
            minus_fixed: mix(&self.minus_fixed),
            metric,
            metric_self: mix(&metric),
            cuts,
        }
    }

    /// The half of this cone in which the new vertex replaces vertex `slot`.
    #[inline(always)]
    pub fn child(&self, context: &Context<P>, middle: &Middle<P>, slot: usize) -> Self {
        let mut c = *self;
        c.vertex[slot] = middle.vertex;
        c.error[slot] = middle.error;
        c.chord[slot] = middle.chord;
        c.plus_fixed[slot] = middle.plus_fixed;
        c.minus_fixed[slot] = middle.minus_fixed;
        for l in 0..P {
            let d = context.distance(&middle.vertex, &c.vertex[l]);
            c.distance[slot][l] = d;
            c.distance[l][slot] = d;
            c.metric[slot][l] = middle.metric[l];
            c.metric[l][slot] = middle.metric[l];
        }
        c.metric[slot][slot] = middle.metric_self;
        for j in 0..self.cuts.len.min(CUTS) {
            c.cuts.value[j][slot] = middle.cuts[j];
        }
        c
    }

    /// Coefficients `c` of the linear majorant `cᵀt` of the function on the cone.
    #[inline(always)]
    pub fn majorant(&self) -> [f64; P] {
        let mean = self.cuts.mean();
        let mut c = [0.0; P];
        for k in 0..P {
            c[k] = self.chord[k] - mean[k];
        }
        c
    }

    /// Projection of the majorant, from the support of the last one.
    #[inline(always)]
    pub fn projected(&self) -> Projection<P> {
        let factor = Factor::new(&self.distance, self.support);
        nnls::project(&self.distance, &self.majorant(), factor)
    }

    /// `(stretch, margin)`: `Σt ≤ stretch` for every point of the cone with gauge at most one, and
    /// the rounding margin of a bound of the given size.
    ///
    /// With `m` the normalised sum of the vertices, `1 ≥ ‖Vt‖ ≥ mᵀVt ≥ min_k(v_kᵀm)·Σt`.
    ///
    /// Margin. Let `u` be the unit roundoff, `S ≥ (‖c‖ + Σ|ν_i|‖h_i‖)·max‖v_k‖` and `e` the largest
    /// vertex error. A projection is off by at most `e‖x_i‖`; a sum over rows adds `n·u·S`; the
    /// fixed sums are rounded once per re-sorting and once per row; a mean of cuts adds a few
    /// `u·S`; a row filed as one-sided by its rounded projections may be off by another `e‖x_i‖`.
    /// Errors of sums travel to new vertices with the factor `Σβ_j`, where `v = Σβ_j v_j` in terms
    /// of the vertices at the time of the sum: at most the stretch of a start cone, `√(p + 3)`. So
    /// each `c_k` is off by at most `η = (2e + √(p + 3)(n + 2·rounds + 64)u)·S`, which costs
    /// `stretch·η`. The Gram matrix `1 − D/2` is off by `ε = 3e + (2p + 16)u` (the vertices have
    /// norm one up to `e` and a few `u`), which changes `c − Gt` by `ε·Σt` and `‖Vt‖` by at most
    /// `ε(Σt)²/(2‖Vt‖)`, and `Σt ≤ stretch·‖Vt‖`. All terms are doubled.
    #[inline(always)]
    pub fn margin(&self, context: &Context<P>, level: f64) -> (f64, f64) {
        let (mut sum, mut least, mut error) = (0.0, f64::INFINITY, 0.0);
        for k in 0..P {
            let mut row = 0.0;
            for l in 0..P {
                row += self.distance[k][l];
            }
            let row = P as f64 - 0.5 * row;
            sum += row;
            least = if row < least { row } else { least };
            error = if self.error[k] > error { self.error[k] } else { error };
        }
        let stretch = if least > 0.0 && sum > 0.0 {
            (1.0 + 1e-9) * sum.sqrt() / least
        } else {
            f64::INFINITY
        };
        let spread = (P as f64 + 3.0).sqrt();
        let terms = context.count + 2.0 * f64::from(self.rounds) + 64.0;
        let value_error = (2.0 * error + spread * terms * UNIT) * context.size;
        let gram_error = 3.0 * error + (2.0 * P as f64 + 16.0) * UNIT;
        (stretch, 2.0 * stretch * (value_error + 2.0 * stretch * gram_error * level))
    }

    /// Rigorous bound from any `t ≥ 0`: `‖Vt‖ + stretch·max_k (c − Gt)_k⁺ + margin`, because
    /// `cᵀt' = tᵀGt' + (c − Gt)ᵀt' ≤ ‖Vt‖·‖Vt'‖ + max_k(·)⁺·Σt'`.
    #[inline(always)]
    pub fn proved(&self, context: &Context<P>, at: &Projection<P>) -> f64 {
        let mut excess = 0.0;
        for k in 0..P {
            // a residual that is not a number must not look like none
            excess = if at.residual[k] <= excess { excess } else { at.residual[k] };
        }
        let (stretch, margin) = self.margin(context, at.norm);
        let bound = at.norm + stretch * excess + margin;
        if bound.is_nan() { f64::INFINITY } else { bound }
    }
}

#[inline(always)]
fn length<const P: usize>(x: &[f64; P]) -> f64 {
    dot(x, x).sqrt()
}
