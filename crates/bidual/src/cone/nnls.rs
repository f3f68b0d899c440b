//! Active-set method for min_{λ≥0} ‖c + Aᵀλ‖ with A = diag(s) X diag(1, …, 1, w).
//!
//! Lawson and Hanson's non-negative least squares in the space of the few active rows: the passive
//! set holds linearly independent unit rows, factorised as Q R and updated row by row; a product
//! X p finds the rows that p = c + Aᵀλ violates most, from which rows enter until none is violated.

use super::factor::{Factor, axpy, dot, norm};
use pulp::Arch;

/// The rows of one problem.
#[derive(Clone, Copy)]
pub(super) struct Problem<'a> {
    pub n: usize,
    pub d: usize,
    /// n×d, column j at `columns[j*n..]`.
    pub columns: &'a [f64],
    /// n×d, row k at `rows[k*d..]`.
    pub rows: &'a [f64],
    /// Packed signs, bit set for +1; all +1 if absent.
    pub bits: Option<&'a [u64]>,
    /// Factor w of the last coordinate.
    pub last: f64,
    /// Lengths of the rows, where they are known.
    pub lengths: Option<&'a Lengths>,
}

impl Problem<'_> {
    fn sign(&self, k: usize) -> f64 {
        self.bits.map_or(1.0, |bits| sign(bits, k))
    }
}

/// +1 where bit `k` is set, else −1.
pub(super) fn sign(bits: &[u64], k: usize) -> f64 {
    match bits.get(k / 64) {
        Some(word) if word >> (k % 64) & 1 == 1 => 1.0,
        _ => -1.0,
    }
}

/// Why the iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// No row is violated beyond the tolerance.
    Optimal,
    /// The caller's check asked to stop.
    Stopped,
    /// Iteration limit.
    Limit,
}

/// Buffers and state of the active-set method.
#[derive(Default)]
pub(super) struct Nnls {
    factor: Factor,
    /// p = c + Aᵀλ.
    pub p: Vec<f64>,
    /// Passive rows, in the order of the factorisation.
    pub passive: Vec<u32>,
    /// Their multipliers λ (of the rows as given, not normalised).
    pub lambda: Vec<f64>,
    /// Iterations of the last run.
    pub iterations: usize,
    /// Multipliers of the unit rows.
    mu: Vec<f64>,
    trial: Vec<f64>,
    /// s_k/‖a_k‖; 0 for zero, passive and blocked rows.
    price: Vec<f64>,
    lengths: Lengths,
    y: Vec<f64>,
    row: Vec<f64>,
    scaled: Vec<f64>,
    blocked: Vec<u32>,
    /// The rows that the last pass over all of them found most violated.
    near: Vec<u32>,
}

/// The passive set to begin with.
pub(super) enum Start<'a> {
    /// These rows, as far as they are independent.
    Rows(&'a [u32]),
    /// That of the last run, which was on the same rows.
    Last,
}

/// Rows kept in sight between two passes over all.
const NEAR: usize = 32;
/// Rows looked at together.
const BLOCK: usize = 64;
/// Deletions after which the factorisation is made anew.
const WORN: usize = 100;
/// Distance below which a unit row counts as dependent on the rows of a warm start.
const DEPENDENT: f64 = 1e-9;

impl Nnls {
    /// Minimises ‖c + Aᵀλ‖ over λ ≥ 0, `c` in scaled coordinates. A row counts as violated if
    /// a_kᵀp < −tol·‖p‖ for its unit vector a_k. `check(rows, λ)` sees every iterate; true stops.
    pub(super) fn solve(
        &mut self,
        problem: &Problem<'_>,
        c: &[f64],
        start: Start<'_>,
        tol: f64,
        check: impl FnMut(&[u32], &[f64]) -> bool,
    ) -> End {
        // all that is inlined below is compiled for the vectors of this machine
        Arch::new().dispatch(|| self.run(problem, c, start, tol, check))
    }

    #[inline(always)]
    fn run(
        &mut self,
        problem: &Problem<'_>,
        c: &[f64],
        start: Start<'_>,
        tol: f64,
        mut check: impl FnMut(&[u32], &[f64]) -> bool,
    ) -> End {
        match start {
            Start::Last if self.factor.deleted <= WORN && self.p.len() == problem.d => {
                self.unblock(problem);
                self.factor.project(c);
            }
            Start::Last => {
                let rows = std::mem::take(&mut self.passive);
                self.prepare(problem);
                self.warm(problem, c, &rows);
            }
            Start::Rows(rows) => {
                self.prepare(problem);
                self.warm(problem, c, rows);
            }
        }
        self.keep_positive(problem, c);
        self.iterations = 0;
        let floor = 1e-15 * norm(c);
        let limit = 200 + 20 * problem.d;
        let mut size = norm(&self.p);
        loop {
            self.publish(problem);
            if check(&self.passive, &self.lambda) {
                return End::Stopped;
            }
            if size <= floor {
                break;
            }
            if self.iterations == limit {
                return End::Limit;
            }
            if !self.enter(problem, tol * size) {
                break;
            }
            self.iterations += 1;
            self.step_back(problem);
            self.factor.residual(c, &mut self.p);
            let new = norm(&self.p);
            // A row may enter once without a visible decrease; a decrease frees all of them. So
            // no passive set comes back and the method ends.
            if new < size * (1.0 - 1e-13) {
                self.unblock(problem);
            }
            size = new;
        }
        if self.polish(problem, c) {
            self.publish(problem);
            if check(&self.passive, &self.lambda) {
                return End::Stopped;
            }
        }
        End::Optimal
    }

    /// Norms and prices of all rows.
    #[inline(always)]
    fn prepare(&mut self, problem: &Problem<'_>) {
        let Problem { n, d, .. } = *problem;
        self.factor.reset(d);
        self.passive.clear();
        self.mu.clear();
        self.blocked.clear();
        self.near.clear();
        for v in [&mut self.p, &mut self.row, &mut self.scaled] {
            v.clear();
            v.resize(d, 0.0);
        }
        self.y.resize(n, 0.0);
        if problem.lengths.is_none() {
            self.lengths.measure(problem, &mut self.row);
        }
        let lengths = problem.lengths.unwrap_or(&self.lengths);
        self.price.clear();
        match problem.bits {
            None => self.price.extend_from_slice(&lengths.inverse),
            Some(bits) => {
                let words = bits.iter().copied().chain(std::iter::repeat(0));
                for (part, word) in lengths.inverse.chunks(64).zip(words) {
                    let signed = part.iter().enumerate().map(|(k, v)| {
                        // flips the sign where the bit is not set
                        f64::from_bits(v.to_bits() ^ (!(word >> k) & 1) << 63)
                    });
                    self.price.extend(signed);
                }
            }
        }
    }

    /// Passive set from `start`: independent rows.
    #[inline(always)]
    fn warm(&mut self, problem: &Problem<'_>, c: &[f64], start: &[u32]) {
        self.p.copy_from_slice(c);
        for &k in start {
            let k = k as usize;
            let usable = k < problem.n && self.price[k] != 0.0;
            if usable && self.append(problem, k, DEPENDENT) {
                self.factor.deflate(&mut self.p);
            }
        }
    }

    /// Drops rows until all multipliers are positive.
    #[inline(always)]
    fn keep_positive(&mut self, problem: &Problem<'_>, c: &[f64]) {
        loop {
            self.factor.minimiser(&mut self.trial);
            let worst = (0..self.trial.len())
                .filter(|&i| !positive(self.trial[i]))
                .min_by(|&i, &j| self.trial[i].total_cmp(&self.trial[j]));
            match worst {
                Some(i) => self.drop_row(problem, i),
                None => break,
            }
        }
        self.mu.clone_from(&self.trial);
        self.factor.residual(c, &mut self.p);
    }

    #[inline(always)]
    fn append(&mut self, problem: &Problem<'_>, k: usize, tol: f64) -> bool {
        load(problem, k, self.price[k], &mut self.row);
        if !self.factor.push(&mut self.row, &self.p, tol) {
            return false;
        }
        self.price[k] = 0.0;
        self.passive.push(k as u32);
        self.mu.push(0.0);
        true
    }

    #[inline(always)]
    fn drop_row(&mut self, problem: &Problem<'_>, i: usize) {
        self.factor.remove(i);
        self.mu.remove(i);
        let k = self.passive.remove(i);
        if !self.blocked.contains(&k) {
            self.free(problem, k);
        }
    }

    fn free(&mut self, problem: &Problem<'_>, k: u32) {
        let k = k as usize;
        self.price[k] = problem.sign(k) * problem.lengths.unwrap_or(&self.lengths).inverse[k];
    }

    fn unblock(&mut self, problem: &Problem<'_>) {
        while let Some(k) = self.blocked.pop() {
            if !self.passive.contains(&k) {
                self.free(problem, k);
            }
        }
    }

    /// Lets a violated row enter, the worst of those in sight or else of all; `trial` then holds the
    /// multipliers of the enlarged set. False if no row is violated by more than `threshold`.
    #[inline(always)]
    fn enter(&mut self, problem: &Problem<'_>, threshold: f64) -> bool {
        self.scaled.copy_from_slice(&self.p);
        if let Some(t) = self.scaled.last_mut() {
            *t *= problem.last;
        }
        let mut all_seen = false;
        loop {
            let Some(k) = self.worst_near(problem, threshold) else {
                if all_seen {
                    return false;
                }
                product(problem.n, problem.columns, &self.scaled, &mut self.y);
                self.look_round(threshold);
                all_seen = true;
                continue;
            };
            let entered = self.append(problem, k, 1e-15);
            self.price[k] = 0.0;
            self.blocked.push(k as u32);
            if entered {
                self.factor.minimiser(&mut self.trial);
                if self.trial.last().is_some_and(|&t| t > 0.0) {
                    return true;
                }
                // The sign contradicts the violation: rounding, so leave the row out for now.
                self.drop_row(problem, self.passive.len() - 1);
            }
        }
    }

    /// The row in sight that is violated most, if any is by more than `threshold`.
    #[inline(always)]
    fn worst_near(&self, problem: &Problem<'_>, threshold: f64) -> Option<usize> {
        let d = problem.d;
        let (mut worst, mut found) = (-threshold, None);
        for &k in &self.near {
            let k = k as usize;
            if self.price[k] != 0.0 {
                let value = self.price[k] * dot(&problem.rows[k * d..(k + 1) * d], &self.scaled);
                if value < worst {
                    (worst, found) = (value, Some(k));
                }
            }
        }
        found
    }

    /// Takes the most violated rows into sight.
    #[inline(always)]
    fn look_round(&mut self, threshold: f64) {
        self.near.clear();
        let (y, price) = (&self.y, &self.price);
        // a bar that rises to the worst NEAR of them keeps the list short
        let mut bar = -threshold;
        for (block, (y, w)) in y.chunks(BLOCK).zip(price.chunks(BLOCK)).enumerate() {
            if lowest(y, w) >= bar {
                continue;
            }
            for (k, (y, w)) in y.iter().zip(w).enumerate() {
                if y * w < bar {
                    self.near.push((BLOCK * block + k) as u32);
                }
            }
            if self.near.len() >= 2 * NEAR {
                let value = |k: &u32| self.y[*k as usize] * self.price[*k as usize];
                self.near.select_nth_unstable_by(NEAR - 1, |a, b| {
                    value(a).total_cmp(&value(b)).then(a.cmp(b))
                });
                self.near.truncate(NEAR);
                bar = value(&self.near[NEAR - 1]);
            }
        }
    }

    /// Walks from the multipliers to `trial`, dropping rows at which the sign would change.
    #[inline(always)]
    fn step_back(&mut self, problem: &Problem<'_>) {
        loop {
            let mut alpha = 1.0;
            let mut hit = None;
            for (i, (&mu, &trial)) in self.mu.iter().zip(&self.trial).enumerate() {
                if !positive(trial) {
                    let t = mu / (mu - trial);
                    if hit.is_none() || t < alpha {
                        (alpha, hit) = (if t.is_finite() { t } else { 0.0 }, Some(i));
                    }
                }
            }
            let Some(hit) = hit else { break };
            for (mu, &trial) in self.mu.iter_mut().zip(&self.trial) {
                let moved = *mu + alpha * (trial - *mu);
                *mu = if moved > 0.0 { moved } else { 0.0 };
            }
            self.mu[hit] = 0.0;
            for i in (0..self.mu.len()).rev() {
                if self.mu[i] == 0.0 && !positive(self.trial[i]) {
                    self.drop_row(problem, i);
                }
            }
            self.factor.minimiser(&mut self.trial);
        }
        self.mu.clone_from(&self.trial);
    }

    /// Orthonormal basis of the span of the passive rows, a column each.
    pub(super) fn normals(&self) -> impl Iterator<Item = &[f64]> {
        self.factor.columns()
    }

    fn publish(&mut self, problem: &Problem<'_>) {
        self.lambda.clear();
        let norms = &problem.lengths.unwrap_or(&self.lengths).norms;
        let terms = self.mu.iter().zip(&self.passive);
        self.lambda.extend(terms.map(|(mu, &k)| mu / norms[k as usize]));
    }

    /// One step of iterative refinement of the multipliers; true if they changed.
    #[inline(always)]
    fn polish(&mut self, problem: &Problem<'_>, c: &[f64]) -> bool {
        if self.mu.is_empty() {
            return false;
        }
        self.scaled.copy_from_slice(c);
        for (&mu, &k) in self.mu.iter().zip(&self.passive) {
            let k = k as usize;
            let length = problem.lengths.unwrap_or(&self.lengths).norms[k];
            load(problem, k, problem.sign(k) / length, &mut self.row);
            axpy(mu, &self.row, &mut self.scaled);
        }
        self.factor.coefficients(&self.scaled, &mut self.trial);
        let better = |(mu, t): (&f64, &f64)| mu - t > 0.0;
        if !self.mu.iter().zip(&self.trial).all(better) {
            return false;
        }
        for (mu, t) in self.mu.iter_mut().zip(&self.trial) {
            *mu -= t;
        }
        true
    }
}

/// Norms of the rows in scaled coordinates, and their reciprocals. Rows too short or too long for a
/// reciprocal have zeros: they constrain nothing here, h grows.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    norms: Vec<f64>,
    inverse: Vec<f64>,
}

impl Lengths {
    /// `row` has d entries to work with.
    #[inline(always)]
    pub(super) fn measure(&mut self, problem: &Problem<'_>, row: &mut [f64]) {
        let Problem { n, d, .. } = *problem;
        self.norms.clear();
        self.norms.resize(n, 0.0);
        for j in 0..d {
            let w = if j + 1 == d { problem.last } else { 1.0 };
            for (t, x) in self.norms.iter_mut().zip(&problem.columns[j * n..(j + 1) * n]) {
                let x = w * x;
                *t += x * x;
            }
        }
        self.inverse.clear();
        for (k, square) in self.norms.iter_mut().enumerate() {
            let length = if (1e-280..1e280).contains(square) {
                square.sqrt()
            } else {
                load(problem, k, 1.0, row);
                norm(row)
            };
            let inverse = if length > 0.0 { 1.0 / length } else { 0.0 };
            let usable = inverse.is_finite() && inverse != 0.0;
            *square = if usable { length } else { 0.0 };
            self.inverse.push(if usable { inverse } else { 0.0 });
        }
    }
}

/// v > 0; false for NaN, whose row then leaves.
fn positive(v: f64) -> bool {
    v > 0.0
}

/// t·x_k in scaled coordinates.
#[inline(always)]
fn load(problem: &Problem<'_>, k: usize, t: f64, row: &mut [f64]) {
    let d = problem.d;
    for (r, x) in row.iter_mut().zip(&problem.rows[k * d..(k + 1) * d]) {
        *r = t * x;
    }
    if let Some(r) = row.last_mut() {
        *r *= problem.last;
    }
}

/// y = X u for column-major X, every entry summed in the order of the coordinates.
#[inline(always)]
pub(super) fn product(n: usize, columns: &[f64], u: &[f64], y: &mut [f64]) {
    const BLOCK: usize = 1024;
    let mut from = 0;
    while from < n {
        let to = n.min(from + BLOCK);
        let y = &mut y[from..to];
        y.fill(0.0);
        let mut j = 0;
        while j + 4 <= u.len() {
            let x = |i: usize| &columns[(j + i) * n + from..(j + i) * n + to];
            let (u0, u1, u2, u3) = (u[j], u[j + 1], u[j + 2], u[j + 3]);
            let pairs = x(0).iter().zip(x(1)).zip(x(2).iter().zip(x(3)));
            for (y, ((x0, x1), (x2, x3))) in y.iter_mut().zip(pairs) {
                *y = (((*y + u0 * x0) + u1 * x1) + u2 * x2) + u3 * x3;
            }
            j += 4;
        }
        while j < u.len() {
            axpy(u[j], &columns[j * n + from..j * n + to], y);
            j += 1;
        }
        from = to;
    }
}

/// The smallest y_k w_k, 0 if none is negative.
#[inline(always)]
fn lowest(y: &[f64], w: &[f64]) -> f64 {
    let mut low = [0.0_f64; 8];
    let ((y8, y_rest), (w8, w_rest)) = (y.as_chunks::<8>(), w.as_chunks::<8>());
    let mut value = 0.0;
    for (y, w) in y_rest.iter().zip(w_rest) {
        let v = y * w;
        value = if v < value { v } else { value };
    }
    for (y, w) in y8.iter().zip(w8) {
        for l in 0..8 {
            let v = y[l] * w[l];
            low[l] = if v < low[l] { v } else { low[l] };
        }
    }
    for v in low {
        value = if v < value { v } else { value };
    }
    value
}
