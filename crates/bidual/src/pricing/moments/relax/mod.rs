//! The moment relaxation of one node: first and second moments (u, U) of measures on the unit
//! sphere inside the node's cone, maximised by a primal–dual interior-point method; every iterate
//! gives a rigorous bound. With t_i = h_iᵀu, q_i = h_iᵀUh_i and a_k the unit normals of the cone
//! {a_kᵀu ≥ 0}:
//!
//! maximise    cᵀu + Σ_P ψ_i(t_i, q_i) − Σ_N max(0, t_i, (q_i + lo_i t_i)/(hi_i + lo_i))
//! subject to  M = [[1, uᵀ], [u, U]] ⪰ 0,  tr U = 1,
//!             (hi_i − lo_i)t_i + hi_i lo_i − q_i ≥ 0      from (hi_i − t)(t + lo_i) ≥ 0,
//!             a_kᵀUa_l ≥ 0                                from (a_kᵀu)(a_lᵀu) ≥ 0,
//!             ‖Ua_k‖ ≤ a_kᵀu                              from (a_kᵀu)(1 − wᵀu) ≥ 0, ‖w‖ ≤ 1.
//!
//! All constraints but the first two are elastic: their multipliers are capped, so every point with
//! M ≻ 0 can start the iteration and no interior point of the cone is needed. With multipliers
//! y ≥ 0, ρ_k ≥ ‖γ_k‖ and the tangents of the envelopes the objective is at most k₀ + bᵀu + uᵀQu on
//! the node, which [`certify`] maximises over the sphere. Derived here; the last constraint is the
//! product of a half space with the ball (Sturm and Zhang, Mathematics of Operations Research 28,
//! 2003: exact for one half space).

mod moments;
mod newton;
mod pieces;
mod tables;

use crate::pricing::moments::kernels::{dot, dots, padded};
use crate::pricing::moments::rows::{Rows, pair};
use crate::pricing::moments::sphere::{Certificate, Scratch, certify};
use pieces::{Cone, ConeNewton, Elastic};
use pulp::Arch;
pub(crate) use tables::Tables;

/// Caps of the multipliers, in units where the pruning level is 1.
const CONE_CAP: f64 = 6.0;
const RANGE_CAP: f64 = 8.0;
/// The cone's pieces start this far inside (slack times multiplier): a new side is usually
/// violated, and a start near the boundary of its cone costs many short steps.
const CONE_START: f64 = 0.4;

/// Numbers that steer the iteration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// first duality gap aimed at
    pub first_gap: f64,
    /// weight of the uninformed moments mixed into the start
    pub mix: f64,
    /// stop when gap ≤ this × (bound − level)
    pub accuracy: f64,
    /// most Newton steps
    pub steps: usize,
    /// most products of cone rows
    pub products: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { first_gap: 3.0, mix: 0.3, accuracy: 0.1, steps: 40, products: 15 }
    }
}

/// A row to branch on, with estimates of what the sides h_iᵀu ≤ 0 and ≥ 0 gain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// the row
    pub row: u32,
    /// estimates for the two sides
    pub fall: [f32; 2],
}

impl Candidate {
    /// Product of the estimates.
    pub fn score(&self) -> f64 {
        f64::from(self.fall[0]) * f64::from(self.fall[1])
    }
}

/// Multipliers (b, Q, k₀) of a quadratic majorant.
#[derive(Default)]
struct Quadratic {
    b: Vec<f64>,
    q: Vec<f64>,
}

/// A product of two cone rows.
struct Product {
    coefficients: Vec<f64>,
    state: Elastic,
    room: f64,
    change: f64,
    step: Elastic,
}

/// ‖Ua_k‖ ≤ a_kᵀu.
#[derive(Default)]
struct Side {
    state: Cone,
    newton: ConeNewton,
    tau: f64,
    z: Vec<f64>,
    dtau: f64,
    dz: Vec<f64>,
    step: Cone,
}

/// Row arrays of one node, all of length `stride`.
#[derive(Default)]
struct Block {
    lo: Vec<f64>,
    hi: Vec<f64>,
    norm: Vec<f64>,
    t: Vec<f64>,
    q: Vec<f64>,
    dt: Vec<f64>,
    dq: Vec<f64>,
    /// multipliers at the iterate
    slope: Vec<f64>,
    curvature: Vec<f64>,
    /// multipliers of the Newton system, −Hessian in (t, q)
    slope_next: Vec<f64>,
    curvature_next: Vec<f64>,
    weight: [Vec<f64>; 3],
    /// epigraph variable and multipliers of N rows; range slack and multipliers; and their steps
    state: [Vec<f64>; 7],
    step: [Vec<f64>; 7],
}

impl Block {
    fn resize(&mut self, s: usize) {
        let Self { lo, hi, norm, t, q, dt, dq, .. } = self;
        let Self { slope, curvature, slope_next, curvature_next, .. } = self;
        let arrays = [lo, hi, norm, t, q, dt, dq, slope, curvature, slope_next, curvature_next];
        let arrays = arrays.into_iter().chain(&mut self.weight);
        for v in arrays.chain(&mut self.state).chain(&mut self.step) {
            v.clear();
            v.resize(s, 0.0);
        }
    }
}

/// Workspace of the relaxation; one a thread.
pub(crate) struct Relaxation<'a> {
    arch: Arch,
    rows: &'a Rows,
    tables: &'a Tables,
    pub tuning: Tuning,
    /// undecided rows, P rows first
    pub active: Vec<usize>,
    n_p: usize,
    stride: usize,
    h: Vec<f64>,
    products: Vec<f64>,
    block: Block,
    cone_cap: f64,
    linear: Vec<f64>,
    constant: f64,
    absolute: f64,
    normals: Vec<f64>,
    sides: Vec<Side>,
    pairs: Vec<Product>,
    pair_count: usize,
    /// u then U in the order of [`pair`]
    pub x: Vec<f64>,
    dx: Vec<f64>,
    now: Quadratic,
    next: Quadratic,
    k0: f64,
    magnitude: f64,
    /// Σ slack·multiplier of the linear and conic pieces
    complementarity: f64,
    /// value of the capped problem at x: no bound of this node can be below it
    pub value: f64,
    inverse: Vec<f64>,
    scaling: Vec<f64>,
    dual: Vec<f64>,
    lower_factor: Vec<f64>,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
    spread: Vec<f64>,
    vector: Vec<f64>,
    scratch: Scratch,
    certificate: Certificate,
    /// the best certificate so far
    pub best: Certificate,
    buffer: Vec<f64>,
    quartic: Vec<f64>,
    /// Newton steps taken since construction
    pub iterations: usize,
}

impl<'a> Relaxation<'a> {
    /// An empty workspace.
    pub fn new(rows: &'a Rows, tables: &'a Tables) -> Self {
        let p = rows.p;
        let square = || Quadratic { b: vec![0.0; p], q: vec![0.0; p * p] };
        let d = tables.variables();
        Self {
            arch: Arch::new(),
            rows,
            tables,
            tuning: Tuning::default(),
            active: Vec::new(),
            n_p: 0,
            stride: 0,
            h: Vec::new(),
            products: Vec::new(),
            block: Block::default(),
            cone_cap: CONE_CAP,
            linear: vec![0.0; p],
            constant: 0.0,
            absolute: 0.0,
            normals: Vec::new(),
            sides: Vec::new(),
            pairs: Vec::new(),
            pair_count: 0,
            x: vec![0.0; d],
            dx: vec![0.0; d],
            now: square(),
            next: square(),
            k0: 0.0,
            magnitude: 0.0,
            complementarity: 0.0,
            value: 0.0,
            inverse: vec![0.0; (p + 1) * (p + 1)],
            scaling: vec![0.0; (p + 1) * (p + 1)],
            dual: vec![0.0; (p + 1) * (p + 1)],
            lower_factor: vec![0.0; (p + 1) * (p + 1)],
            gradient: vec![0.0; d],
            hessian: vec![0.0; d * d],
            spread: vec![0.0; p * p],
            vector: vec![0.0; d],
            scratch: Scratch::default(),
            certificate: Certificate::default(),
            best: Certificate::default(),
            buffer: Vec::new(),
            quartic: Vec::new(),
            iterations: 0,
        }
    }

    /// Loads a node: for every row the range −lo ≤ h_iᵀu ≤ hi on the part that matters (2n numbers
    /// lo₀, hi₀, lo₁, …), the unit normals of its cone (m×p) and whether the sign of ν is flipped.
    /// Rows with lo = 0 become linear, rows with hi = 0 vanish; a range that is zero only to
    /// `snap`·‖h_i‖ does so at the price of its exact error (t)_+ − t ≤ lo, (t)_+ ≤ hi.
    pub fn load(&mut self, ranges: &[f64], normals: &[f64], flip: bool, snap: f64) {
        let (rows, p) = (self.rows, self.rows.p);
        self.linear.fill(0.0);
        (self.constant, self.absolute) = (0.0, 0.0);
        self.active.clear();
        self.normals.clear();
        self.normals.extend_from_slice(normals);
        for want_p in [true, false] {
            for i in 0..rows.n {
                let is_p = rows.positive[i] != flip;
                if is_p != want_p {
                    continue;
                }
                let (lo, hi) = (ranges[2 * i], ranges[2 * i + 1]);
                if hi <= snap * rows.norm[i] {
                    if is_p {
                        self.constant += hi.max(0.0);
                    }
                } else if lo <= snap * rows.norm[i] {
                    let s = if is_p { 1.0 } else { -1.0 };
                    if is_p {
                        self.constant += lo.max(0.0);
                    }
                    self.absolute += rows.norm[i];
                    self.linear.iter_mut().zip(rows.row(i)).for_each(|(c, x)| *c += s * x);
                } else {
                    self.active.push(i);
                }
            }
            if want_p {
                self.n_p = self.active.len();
            }
        }
        self.stride = padded(self.active.len());
        let s = self.stride;
        let np = self.tables.pairs.len();
        for (v, k) in [(&mut self.h, p), (&mut self.products, np), (&mut self.buffer, 1)] {
            v.clear();
            v.resize(k * s, 0.0);
        }
        self.block.resize(s);
        for (j, &i) in self.active.iter().enumerate() {
            for a in 0..p {
                self.h[a * s + j] = rows.h[i * p + a];
            }
            for (k, &c) in rows.products[i * np..(i + 1) * np].iter().enumerate() {
                self.products[k * s + j] = c;
            }
            self.block.lo[j] = ranges[2 * i];
            self.block.hi[j] = ranges[2 * i + 1];
            self.block.norm[j] = rows.norm[i];
        }
    }

    /// Starts from stored moments, mixed with uninformed ones.
    pub fn start(&mut self, x: &[f32]) {
        let p = self.rows.p;
        let mix = if x.is_empty() { 1.0 } else { self.tuning.mix };
        self.x.fill(0.0);
        for (y, &c) in self.x.iter_mut().zip(x) {
            *y = (1.0 - mix) * f64::from(c);
        }
        for a in 0..p {
            self.x[p + pair(a, a)] += mix / p as f64;
        }
        self.repair_trace();
        self.choose_products();
    }

    fn repair_trace(&mut self) {
        let p = self.rows.p;
        let trace: f64 = (0..p).map(|a| self.x[p + pair(a, a)]).sum();
        for a in 0..p {
            self.x[p + pair(a, a)] += (1.0 - trace) / p as f64;
        }
    }

    /// Rigorous bound from the multipliers at the iterate; keeps the best.
    fn bound(&mut self) {
        // every product and sum has relative error ≤ 2⁻⁵³; a sum of k terms loses at most
        // k·2⁻⁵³·Σ|terms|, with a factor of four for the coefficients' own rounding
        let n = self.rows.n + self.pair_count + 4 * self.sides.len() + 4 * self.rows.p + 32;
        let margin = 4.0 * n as f64 * f64::EPSILON * (self.magnitude + self.rows.total);
        let k = self.k0 + margin;
        let Quadratic { b, q } = &self.now;
        if certify(self.arch, k, b, q, &mut self.scratch, &mut self.certificate)
            && self.certificate.bound < self.best.bound
        {
            std::mem::swap(&mut self.best, &mut self.certificate);
        }
    }

    /// Runs the iteration until the bound is at most `level`, cannot get there, or is accurate
    /// enough. The result is in `best`; bounds that are already known (`known`) need not be beaten.
    /// `precise`: for nodes that cannot be branched, to full accuracy and with large caps.
    pub fn run(&mut self, level: f64, known: f64, precise: bool) {
        let Tuning { first_gap, accuracy, steps, .. } = self.tuning;
        let (accuracy, steps) = if precise { (0.0, 3 * steps) } else { (accuracy, steps) };
        self.cone_cap = if precise { 100.0 * CONE_CAP } else { CONE_CAP };
        self.best.bound = f64::INFINITY;
        let p = self.rows.p;
        let n = self.active.len();
        let terms = (p + 1 + 2 * n + 3 * (n - self.n_p) + 3 * self.sides.len()) as f64
            + 2.0 * self.pair_count as f64;
        let mut mu = first_gap / terms;
        if !self.invert() {
            self.start(&[]);
            self.invert();
        }
        self.moments();
        self.centre(mu);
        let mut lower = f64::NEG_INFINITY;
        let mut reach = (1.0, 1.0);
        for iteration in 0..steps {
            self.multipliers();
            self.bound();
            lower = f64::max(lower, self.value);
            let top = self.best.bound.min(known);
            let gap = top - lower;
            if top <= level || gap <= accuracy * (top - level) || gap < 1e-8 {
                return;
            }
            self.iterations += 1;
            self.dual_matrix(mu);
            if iteration > 0 {
                let measured = (self.complementarity + self.matrix_complementarity()) / terms;
                let r = f64::min(reach.0, reach.1);
                let sigma = if r > 0.8 {
                    0.1
                } else if r > 0.4 {
                    0.2
                } else {
                    0.5
                };
                mu = sigma * measured;
                self.dual_matrix(mu);
            }
            if !self.scale() || !self.direction(mu) {
                return;
            }
            reach = self.advance(mu);
            if reach.0 == 0.0 {
                return;
            }
        }
        self.multipliers();
        self.bound();
    }

    /// Candidates for branching: undecided P rows with a relaxation error, best product of the two
    /// sides' estimates first. On a side the row's own term falls by ψ − t or ψ, and ‖Ua‖ ≤ ±aᵀu
    /// becomes violated by ‖Uh‖ ∓ t (derived here; the product rule favours rows that help both
    /// children).
    pub fn candidates(&self, most: usize, out: &mut Vec<Candidate>) {
        out.clear();
        let k = &self.block;
        let mut z = Vec::new();
        for j in 0..self.n_p {
            let (t, q) = (k.t[j], k.q[j]);
            let m = crate::pricing::moments::envelope::majorant(t, q, k.lo[j], k.hi[j]);
            let v = m.constant + m.slope * t + m.curvature * q;
            if v > t.max(0.0) {
                let i = self.active[j];
                Self::times(self.rows.p, &self.x, self.rows.row(i), &mut z);
                let zeta = z.iter().map(|c| c * c).sum::<f64>().sqrt();
                let fall = [v + zeta + t, v - t + zeta - t].map(|f| f.max(0.0));
                out.push(Candidate { row: i as u32, fall: fall.map(|f| f as f32) });
            }
        }
        out.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.row.cmp(&b.row)));
        out.truncate(most);
    }

    /// (b, Q) of row multipliers.
    fn gather(&self, slope: &[f64], curvature: &[f64], out: &mut Quadratic) {
        let (p, np) = (self.rows.p, self.tables.pairs.len());
        dots(self.arch, &self.h, self.stride, slope, &mut out.b);
        out.b.iter_mut().zip(&self.linear).for_each(|(b, c)| *b += c);
        let mut packed = [0.0; 128];
        dots(self.arch, &self.products, self.stride, curvature, &mut packed[..np]);
        for (k, &(a, b)) in self.tables.pairs.iter().enumerate() {
            out.q[a * p + b] = packed[k];
            out.q[b * p + a] = packed[k];
        }
    }

    fn linear_value(&self) -> f64 {
        self.constant + dot(&self.linear, &self.x[..self.rows.p])
    }
}
