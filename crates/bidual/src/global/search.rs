//! The exact search along a Newton step, across the hyperplanes that it crosses.

use super::newton::Newton;
use super::ties::Neuron;
use crate::linalg::{Mat, column, dot};
use crate::loss::Loss;
use pulp::Arch;

/// Buffers of a search.
pub(super) struct Scratch {
    pub f: Vec<f64>,
    pub df: Vec<f64>,
    pub nu: Vec<f64>,
    /// Output bias, and how it changes along the step: a variable of its own, so
    /// that a search needs no minimisation over it at every point.
    pub offset: f64,
    pub slope: f64,
}

impl Newton<'_> {
    /// The loss without its output bias.
    pub(super) fn plain(&self) -> &dyn Loss {
        self.loss.as_intercept().map_or(self.loss, |profiled| profiled.inner().as_ref())
    }

    /// The objective of the neurons as they stand, with their best output bias.
    pub(super) fn rest(&self, neurons: &[Neuron], t0: &Mat, scratch: &mut Scratch) -> f64 {
        let (n, m) = (self.x.nrows(), neurons.len());
        let (zero, still) = (Mat::zeros(n, m), Mat::zeros(self.x.ncols(), m));
        (scratch.offset, scratch.slope) = (0.0, 0.0);
        if let Some(profiled) = self.loss.as_intercept() {
            let mut f = vec![0.0; n];
            for (j, neuron) in neurons.iter().enumerate() {
                f.iter_mut().zip(column(t0, j)).for_each(|(f, t)| *f += neuron.sign * t.max(0.0));
            }
            scratch.offset = profiled.intercept(&f);
        }
        self.along(neurons, (t0, &zero), &still, 0.0, scratch).0
    }

    pub(super) fn penalised<'v>(&self, v: &'v [f64]) -> &'v [f64] {
        &v[..self.gauge.penalised(v.len())]
    }

    /// F + λΣ‖v_j‖ at V + tD from projections; with the right derivative along D.
    pub(super) fn along(
        &self,
        neurons: &[Neuron],
        (t0, td): (&Mat, &Mat),
        d: &Mat,
        t: f64,
        scratch: &mut Scratch,
    ) -> (f64, f64) {
        let Scratch { f, df, nu, offset, slope: along } = scratch;
        f.fill(*offset + t * *along);
        df.fill(*along);
        let (mut value, mut slope) = (0.0, 0.0);
        for (j, neuron) in neurons.iter().enumerate() {
            let s = neuron.sign;
            Arch::new().dispatch(|| {
                let outputs = f.iter_mut().zip(df.iter_mut());
                for ((f, df), (a, b)) in outputs.zip(column(t0, j).iter().zip(column(td, j))) {
                    let at = a + t * b;
                    let on = at > 0.0 || (at == 0.0 && *b > 0.0);
                    *f += if on { s * at } else { 0.0 };
                    *df += if on { s * b } else { 0.0 };
                }
            });
            let (v, dv) = (self.penalised(&neuron.v), self.penalised(column(d, j)));
            let (vv, vd, dd) = (dot(v, v), dot(v, dv), dot(dv, dv));
            let size = (vv + t * (2.0 * vd + t * dd)).max(0.0).sqrt();
            value += self.lambda * size;
            slope += self.lambda * if size > 0.0 { (vd + t * dd) / size } else { dd.sqrt() };
        }
        value += self.plain().value_and_residual(f, nu);
        slope -= dot(nu, df);
        (value, slope)
    }

    /// The least value along the step, by bisection over the hyperplanes that it
    /// crosses: ((t, value), kinks to tie there).
    pub(super) fn search(
        &self,
        neurons: &[Neuron],
        projections: (&Mat, &Mat),
        d: &Mat,
        value: f64,
        cap: f64,
        scratch: &mut Scratch,
    ) -> ((f64, f64), Vec<(u32, usize)>) {
        let (_, start) = self.along(neurons, projections, d, 0.0, scratch);
        let (full, end) = self.along(neurons, projections, d, cap, scratch);
        if full < value && (end.abs() <= 0.9 * start.abs() || end < 0.0) {
            return ((cap, full), vec![]);
        }
        let mut crossings: Vec<(f64, u32, u32)> = vec![];
        for j in 0..neurons.len() {
            let pairs = column(projections.0, j).iter().zip(column(projections.1, j));
            for (i, (a, b)) in pairs.enumerate() {
                // towards its hyperplane, or leaving it
                if *b != 0.0 && a * b <= 0.0 && a.abs() <= cap * b.abs() {
                    crossings.push((-a / b, j as u32, i as u32));
                }
            }
        }
        crossings.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut times: Vec<f64> = crossings.iter().map(|c| c.0).collect();
        times.dedup();
        // first crossing after which the objective climbs
        let (mut below, mut above) = (0, times.len());
        while below < above {
            let middle = (below + above) / 2;
            let (_, slope) = self.along(neurons, projections, d, times[middle], scratch);
            if slope > 0.0 { above = middle } else { below = middle + 1 }
        }
        let left = if above > 0 { times[above - 1] } else { 0.0 };
        let right = times.get(above).copied().unwrap_or(cap);
        // does it climb already before that crossing?
        let (mut low, mut high) = (left, right);
        let (_, mut slope_low) = self.along(neurons, projections, d, low, scratch);
        let inner = right - 1e-9 * (right - left);
        let (at_inner, mut slope_high) = self.along(neurons, projections, d, inner, scratch);
        if slope_high < 0.0 && above < times.len() {
            let (v, _) = self.along(neurons, projections, d, right, scratch);
            let kinks = crossings
                .iter()
                .filter(|c| c.0 == right)
                .map(|c| (self.classes.of[c.2 as usize], c.1 as usize))
                .filter(|(class, j)| self.kink(*class, neurons[*j].sign, &scratch.nu) > 0.0);
            let mut kinks: Vec<(u32, usize)> = kinks.collect();
            kinks.dedup();
            return ((right, v), kinks);
        }
        let mut best = if at_inner < value { (inner, at_inner) } else { (0.0, value) };
        (high, slope_low) = (inner.min(high), slope_low.min(0.0));
        for k in 0..40 {
            let secant = low - slope_low * (high - low) / (slope_high - slope_low);
            let t = if k % 3 == 2 || !secant.is_finite() { 0.5 * (low + high) } else { secant };
            let (v, slope) = self.along(neurons, projections, d, t, scratch);
            if v < best.1 {
                best = (t, v);
            }
            if slope.abs() <= 1e-6 * start.abs() || high - low <= 1e-13 * high {
                break;
            }
            if slope > 0.0 {
                (high, slope_high) = (t, slope);
            } else {
                (low, slope_low) = (t, slope);
            }
        }
        (best, vec![])
    }
}
