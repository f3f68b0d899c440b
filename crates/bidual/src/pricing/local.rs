//! Local search for dear neurons: monotone ascent from many directions at once,
//! then the exact maximum over the cell reached and over its neighbours.
//!
//! A lower bound on κ with the neurons that attain it; never a certificate.

use super::{Candidate, Oracle};
use crate::cone::{Gauge, Workspace, support};
use crate::linalg::{Mat, column, column_mut, dot, gemm, norm, times, transpose_times};
use pulp::Arch;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Ascent steps from a start.
const STEPS: usize = 30;
/// Cells visited from the end of an ascent.
const CELLS: usize = 60;
/// Ascents that are polished, at most.
const POLISHED: usize = 48;
/// Ends of a sketch differ by this angle.
const SKETCHED: f64 = 0.1;
/// Columns ascended together: fixed, so that results do not depend on the threads.
const BATCH: usize = 16;

impl Oracle {
    /// Neurons whose price exceeds `level`, dearest first and pairwise different,
    /// from the given starts and `random` seeded ones. Empty if none was found.
    pub fn search(
        &self,
        nu: &[f64],
        starts: &[(Vec<f64>, bool)],
        random: usize,
        seed: u64,
        level: f64,
    ) -> Vec<Candidate> {
        let mut begin: Vec<(Vec<f64>, bool)> = starts.to_vec();
        begin.extend(self.random_starts(nu, random, seed));
        let ends = self.ascents(nu, &begin);
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by(|&a, &b| ends[b].2.total_cmp(&ends[a].2).then(a.cmp(&b)));
        // known neurons are always polished: column generation moves them by a few cells
        let mut chosen: Vec<usize> = (0..starts.len()).collect();
        for &k in &order {
            let new = chosen.iter().all(|&c| !self.same(&ends[k], &ends[c], 0.1));
            if new && chosen.len() < starts.len() + POLISHED {
                chosen.push(k);
            }
        }
        self.polished(nu, chosen.iter().map(|&k| &ends[k]).collect(), level)
    }

    /// The same from `per` seeded directions around each start, at angles from 0.3 down to 0.01:
    /// a dear neuron may be hidden behind a known one that differs by a few cells. The `most` dearest
    /// ends are polished.
    pub fn search_around(
        &self,
        nu: &[f64],
        starts: &[(Vec<f64>, bool)],
        (per, most): (usize, usize),
        seed: u64,
        level: f64,
    ) -> Vec<Candidate> {
        let ends = self.ascents(nu, &self.around(starts, per, seed));
        // few must differ more
        let angle = if most < ends.len() { SKETCHED } else { 1e-3 };
        self.polished(nu, self.dearest(&ends, most, angle), level)
    }

    /// As [`Oracle::search_around`], much cheaper: the `most` dearest and different ends of the
    /// ascents as they are, for training that will move them anyway.
    pub fn sketch_around(
        &self,
        nu: &[f64],
        starts: &[(Vec<f64>, bool)],
        (per, most): (usize, usize),
        seed: u64,
        level: f64,
    ) -> Vec<Candidate> {
        let ends = self.ascents(nu, &self.around(starts, per, seed));
        let mut t = vec![0.0; nu.len()];
        let candidate = |(u, negative, value): &(Vec<f64>, bool, f64)| {
            times(&self.x, u, &mut t);
            Candidate { direction: u.clone(), negative: *negative, value: *value, bits: pack(&t) }
        };
        let chosen = self.dearest(&ends, most, SKETCHED).into_iter();
        chosen.take_while(|end| end.2 > level).map(candidate).collect()
    }

    /// The `most` dearest ends of ascents that differ by `angle`, by price.
    fn dearest<'e>(
        &self,
        ends: &'e [(Vec<f64>, bool, f64)],
        most: usize,
        angle: f64,
    ) -> Vec<&'e (Vec<f64>, bool, f64)> {
        let mut order: Vec<_> = ends.iter().collect();
        order.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut chosen: Vec<&(Vec<f64>, bool, f64)> = vec![];
        for end in order {
            if chosen.len() == most {
                break;
            }
            if chosen.iter().all(|c| !self.same(end, c, angle)) {
                chosen.push(end);
            }
        }
        chosen
    }

    /// `per` seeded directions around each start.
    fn around(&self, starts: &[(Vec<f64>, bool)], per: usize, seed: u64) -> Vec<(Vec<f64>, bool)> {
        let spread = self.spread();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut begin = vec![];
        for (u, negative) in starts {
            for k in 0..per {
                let angle = 0.3 * 0.5f64.powi((k % 6) as i32);
                let turn: Vec<f64> = gaussian(&mut rng, &spread, k / 6 % 2 == 1);
                let step = angle * norm(u) / norm(&turn).max(f64::MIN_POSITIVE);
                let mut v: Vec<f64> = u.iter().zip(&turn).map(|(u, t)| u + step * t).collect();
                normalise(&mut v, &self.gauge);
                begin.push((v, *negative));
            }
        }
        begin
    }

    /// The ends of ascents from all starts, with their prices.
    fn ascents(&self, nu: &[f64], starts: &[(Vec<f64>, bool)]) -> Vec<(Vec<f64>, bool, f64)> {
        starts.par_chunks(BATCH).flat_map_iter(|chunk| self.ascend(nu, chunk)).collect()
    }

    /// The maxima reached from ends of ascents, those above `level`, dearest first and different.
    fn polished(
        &self,
        nu: &[f64],
        ends: Vec<&(Vec<f64>, bool, f64)>,
        level: f64,
    ) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = ends
            .par_iter()
            .map_init(Workspace::default, |ws, end| self.polish(nu, &end.0, end.1, ws))
            .collect();
        found.retain(|c| c.value > level);
        found.sort_by(|a, b| {
            b.value
                .total_cmp(&a.value)
                .then_with(|| a.bits.cmp(&b.bits))
                .then(a.negative.cmp(&b.negative))
        });
        let mut distinct: Vec<Candidate> = vec![];
        for c in found {
            if distinct.iter().all(|d| d.negative != c.negative || d.bits != c.bits) {
                distinct.push(c);
            }
        }
        distinct
    }

    /// Same sign and an angle below `angle`, in the metric of the gauge.
    fn same(&self, a: &(Vec<f64>, bool, f64), b: &(Vec<f64>, bool, f64), angle: f64) -> bool {
        let scale = self.gauge.bias_radius().map_or(1.0, |r| 1.0 / r.max(1e-300));
        let last = a.0.len() - 1;
        let far = |j: usize| {
            let s = if j == last { scale } else { 1.0 };
            (s * (a.0[j] - b.0[j])).powi(2)
        };
        a.1 == b.1 && (0..=last).map(far).sum::<f64>() < angle * angle
    }

    /// Gaussian directions of either sign, half of them in the metric of the
    /// data; a free bias starts at the best breakpoint of its direction.
    pub(crate) fn random_starts(
        &self,
        nu: &[f64],
        count: usize,
        seed: u64,
    ) -> Vec<(Vec<f64>, bool)> {
        let spread = self.spread();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut starts: Vec<(Vec<f64>, bool)> = (0..count)
            .map(|k| {
                let mut u = gaussian(&mut rng, &spread, k % 2 == 1);
                normalise(&mut u, &self.gauge);
                (u, (k / 2) % 2 == 1)
            })
            .collect();
        if matches!(self.gauge, Gauge::FreeBias { .. }) {
            starts.par_iter_mut().for_each(|(u, negative)| self.best_bias(nu, u, *negative));
        }
        starts
    }

    /// 1/(root mean square) of each feature.
    fn spread(&self) -> Vec<f64> {
        let n = self.x.nrows() as f64;
        let root = |j| (dot(column(&self.x, j), column(&self.x, j)) / n).sqrt();
        (0..self.x.ncols()).map(root).map(|s| if s > 0.0 { 1.0 / s } else { 1.0 }).collect()
    }

    /// b ← the maximiser of ±Σν_k(x_kᵀu + b)_+ for fixed u: a breakpoint −x_kᵀu.
    fn best_bias(&self, nu: &[f64], u: &mut [f64], negative: bool) {
        let (n, last) = (nu.len(), u.len() - 1);
        let sign = if negative { -1.0 } else { 1.0 };
        let mut t = vec![0.0; n];
        u[last] = 0.0;
        times(&self.x, u, &mut t);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| t[b].total_cmp(&t[a]).then(a.cmp(&b)));
        // at b = −t of the k-th in order, those before it are on
        let (mut mass, mut moment, mut best) = (0.0, 0.0, (0.0, -t[order[0]]));
        for &k in &order {
            let value = sign * (moment - mass * t[k]);
            if value > best.0 {
                best = (value, -t[k]);
            }
            mass += nu[k];
            moment += nu[k] * t[k];
        }
        u[last] = best.1;
    }

    /// Monotone ascent: u ← g/‖g‖ where that climbs (the fixed point of a
    /// maximiser), shorter steps towards it where it does not.
    fn ascend(&self, nu: &[f64], starts: &[(Vec<f64>, bool)]) -> Vec<(Vec<f64>, bool, f64)> {
        let (n, p, b) = (self.x.nrows(), self.x.ncols(), starts.len());
        let mut best: Vec<(Vec<f64>, bool, f64)> =
            starts.iter().map(|(u, negative)| (u.clone(), *negative, f64::NEG_INFINITY)).collect();
        let mut gradient: Vec<Vec<f64>> = vec![vec![]; b];
        let mut step = vec![f64::INFINITY; b];
        let mut trial = Mat::from_fn(p, b, |j, k| starts[k].0[j]);
        let (mut t, mut g) = (Mat::zeros(n, b), Mat::zeros(p, b));
        for _ in 0..STEPS {
            gemm(t.as_mut(), self.x.as_ref().as_ref(), trial.as_ref(), false);
            Arch::new().dispatch(|| {
                for k in 0..b {
                    for (t, v) in column_mut(&mut t, k).iter_mut().zip(nu) {
                        *t = if *t > 0.0 { *v } else { 0.0 };
                    }
                }
            });
            gemm(g.as_mut(), self.x.as_ref().as_ref().transpose(), t.as_ref(), false);
            for k in 0..b {
                let sign = if best[k].1 { -1.0 } else { 1.0 };
                // the price is the slope along the direction itself
                let value = sign * dot(column(&trial, k), column(&g, k));
                if value > best[k].2 {
                    step[k] = if best[k].2 == f64::NEG_INFINITY { step[k] } else { 4.0 * step[k] };
                    best[k].2 = value;
                    best[k].0.copy_from_slice(column(&trial, k));
                    gradient[k] = column(&g, k).iter().map(|v| sign * v).collect();
                } else {
                    step[k] = if step[k] > 1.0 { 0.5 } else { 0.25 * step[k] };
                }
                self.step(&best[k].0, &gradient[k], step[k], column_mut(&mut trial, k));
            }
            if step.iter().all(|s| *s < 1e-3) {
                break;
            }
        }
        best
    }

    /// to ← u moved by `step` towards its ascent direction, on the unit sphere of the gauge.
    fn step(&self, u: &[f64], g: &[f64], step: f64, to: &mut [f64]) {
        let q = self.gauge.penalised(u.len());
        let size = norm(&g[..q]).max(f64::MIN_POSITIVE);
        if let Some(radius) = self.gauge.bias_radius() {
            let step = step.min(1.0);
            for j in 0..q {
                to[j] = u[j] + step * g[j] / size;
            }
            // the bias moves on the scale of the rows
            to[q] = (u[q] + step * radius * (0.1 * g[q] / size).clamp(-0.5, 0.5))
                .clamp(-radius, radius);
        } else if step > 1.0 {
            to.copy_from_slice(g);
        } else {
            for j in 0..q {
                to[j] = u[j] + step * g[j] / size;
            }
        }
        normalise(to, &self.gauge);
    }

    /// The maximum over the closed cell of u, then over neighbouring cells as
    /// long as one across the tight facets is dearer.
    pub(super) fn polish(
        &self,
        nu: &[f64],
        u: &[f64],
        negative: bool,
        ws: &mut Workspace,
    ) -> Candidate {
        let (n, p) = (self.x.nrows(), self.x.ncols());
        let sign = if negative { -1.0 } else { 1.0 };
        let mut t = vec![0.0; n];
        times(&self.x, u, &mut t);
        let mut bits = pack(&t);
        let mut best =
            Candidate { direction: u.to_vec(), negative, value: 0.0, bits: bits.clone() };
        let (mut masked, mut c) = (vec![0.0; n], vec![0.0; p]);
        let mut start: Vec<u32> = vec![];
        let mut single = false;
        for _ in 0..CELLS {
            for i in 0..n {
                masked[i] = if bits[i / 64] >> (i % 64) & 1 == 1 { sign * nu[i] } else { 0.0 };
            }
            transpose_times(&self.x, &masked, &mut c);
            let result = support(&self.rows(), &bits, &c, &self.gauge, 0.0, &start, ws);
            let better = result.lower > best.value * (1.0 + 1e-13);
            if better {
                best.value = result.lower;
                best.direction.copy_from_slice(ws.direction());
                best.bits.copy_from_slice(&bits);
            } else if single || best.value == 0.0 {
                break;
            }
            if !better {
                // crossing all of them together did not pay: the worst one alone
                single = true;
                bits.copy_from_slice(&best.bits);
                start.clear();
                let Some(i) = self.crossings(nu, sign, &best, ws).first().copied() else { break };
                bits[i / 64] ^= 1 << (i % 64);
                continue;
            }
            single = false;
            start.clear();
            start.extend_from_slice(ws.active());
            let across = self.crossable(nu, sign, ws);
            if across.is_empty() {
                break;
            }
            for &(i, _) in &across {
                bits[i / 64] ^= 1 << (i % 64);
            }
        }
        best
    }

    /// Tight rows whose multiplier says that the cell across is dearer, with by
    /// how much: there the same stationarity would need the multiplier −(μ ± ν_i).
    fn crossable(&self, nu: &[f64], sign: f64, ws: &Workspace) -> Vec<(usize, f64)> {
        let tight = ws.active().iter().zip(ws.multipliers());
        tight
            .map(|(&i, &mu)| (i as usize, mu + sign * nu[i as usize]))
            .filter(|(i, gain)| *gain > 1e-12 * nu[*i].abs())
            .collect()
    }

    /// The rows to cross from the best cell so far, the most promising first.
    fn crossings(&self, nu: &[f64], sign: f64, best: &Candidate, ws: &mut Workspace) -> Vec<usize> {
        let (n, p) = (self.x.nrows(), self.x.ncols());
        let (mut masked, mut c) = (vec![0.0; n], vec![0.0; p]);
        for i in 0..n {
            masked[i] = if best.bits[i / 64] >> (i % 64) & 1 == 1 { sign * nu[i] } else { 0.0 };
        }
        transpose_times(&self.x, &masked, &mut c);
        support(&self.rows(), &best.bits, &c, &self.gauge, 0.0, &[], ws);
        let mut across = self.crossable(nu, sign, ws);
        across.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        across.into_iter().map(|(i, _)| i).collect()
    }
}

/// Packed bits 1{t ≥ 0}.
pub(crate) fn pack(t: &[f64]) -> Vec<u64> {
    let mut bits = vec![0u64; t.len().div_ceil(64)];
    for (i, t) in t.iter().enumerate() {
        bits[i / 64] |= u64::from(*t >= 0.0) << (i % 64);
    }
    bits
}

/// A Gaussian direction, in the metric of the data if `scaled`.
fn gaussian(rng: &mut ChaCha8Rng, spread: &[f64], scaled: bool) -> Vec<f64> {
    let draw = |s: &f64| {
        let g: f64 = StandardNormal.sample(&mut *rng);
        if scaled { g * s } else { g }
    };
    spread.iter().map(draw).collect()
}

/// u ← u/‖u‖, the norm of the penalised coordinates; e₁ if that is 0.
fn normalise(u: &mut [f64], gauge: &Gauge) {
    let q = gauge.penalised(u.len());
    let size = norm(&u[..q]);
    if size > 0.0 && size.is_finite() {
        u.iter_mut().for_each(|v| *v /= size);
    } else {
        u.fill(0.0);
        u[0] = 1.0;
    }
    if let Some(radius) = gauge.bias_radius() {
        u[q] = u[q].clamp(-radius, radius);
    }
}
