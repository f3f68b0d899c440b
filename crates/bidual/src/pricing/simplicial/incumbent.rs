//! Known good directions.

use super::rows::Function;
use super::{Direction, Settings};

/// Directions closer than this (cosine) and of the same sign count as one.
const SAME: f64 = 0.9999;

/// Gradient steps at most.
const STEPS: usize = 30;

/// Rows visited by one exact ascent at most, about.
const CALLS: usize = 2_000_000;

/// The best directions found so far, distinct, best first.
pub(super) struct Pool<'a> {
    function: &'a Function<'a>,
    /// Coordinates inside the gauge.
    inner: usize,
    /// Largest absolute value of the free coordinate.
    reach: f64,
    wanted: usize,
    directions: Vec<Direction>,
}

impl<'a> Pool<'a> {
    pub fn new(function: &'a Function<'a>, inner: usize, reach: f64, settings: &Settings) -> Self {
        Self { function, inner, reach, wanted: settings.wanted.max(1), directions: Vec::new() }
    }

    /// Best value, 0 if there is none.
    pub fn lower(&self) -> f64 {
        self.directions.first().map_or(0.0, |d| d.value.max(0.0))
    }

    pub fn into_directions(self, wanted: usize) -> Vec<Direction> {
        let mut d = self.directions;
        d.truncate(wanted);
        d
    }

    /// Value below which a candidate has no chance.
    pub fn floor(&self) -> f64 {
        if self.directions.len() < self.wanted {
            0.0
        } else {
            self.directions.last().map_or(0.0, |d| d.value)
        }
    }

    fn gauge(&self, u: &[f64]) -> f64 {
        super::rows::norm(&u[..self.inner])
    }

    /// `u` scaled to gauge one, with the free coordinate inside its limits.
    fn normalised(&self, u: &[f64]) -> Option<Vec<f64>> {
        let length = self.gauge(u);
        if !(length > 0.0 && length.is_finite()) {
            return None;
        }
        let mut v: Vec<f64> = u.iter().map(|x| x / length).collect();
        for b in &mut v[self.inner..] {
            *b = b.clamp(-self.reach, self.reach);
        }
        v.iter().all(|x| x.is_finite()).then_some(v)
    }

    fn value(&self, u: &[f64], positive: bool) -> f64 {
        let f = self.function.value(u);
        if positive { f } else { -f }
    }

    /// A direction of any length with its value.
    pub fn evaluate(&self, u: &[f64], positive: bool) -> Option<Direction> {
        let u = self.normalised(u)?;
        let value = self.value(&u, positive);
        Some(Direction { u, positive, value })
    }

    /// Offers a direction of any length; true if it is the new best.
    pub fn offer(&mut self, u: &[f64], positive: bool) -> bool {
        self.evaluate(u, positive).is_some_and(|d| self.insert(d))
    }

    /// Offers an evaluated direction; true if it is the new best.
    pub fn insert(&mut self, new: Direction) -> bool {
        if new.value.is_nan()
            || new.value <= 0.0
            || (self.directions.len() >= self.wanted && new.value <= self.floor())
        {
            return false;
        }
        let best = new.value > self.lower();
        let size = super::rows::norm(&new.u);
        let near = |d: &Direction| {
            let cos: f64 = d.u.iter().zip(&new.u).map(|(a, b)| a * b).sum();
            d.positive == new.positive && cos >= SAME * size * super::rows::norm(&d.u)
        };
        if self.directions.iter().any(|d| near(d) && d.value >= new.value) {
            return false;
        }
        self.directions.retain(|d| !near(d));
        let at = self.directions.partition_point(|d| d.value >= new.value);
        self.directions.insert(at, new);
        self.directions.truncate(self.wanted);
        best
    }

    /// Improves the best direction: gradient steps, then exact ascent; offers the result.
    pub fn improve(&mut self) {
        let Some(best) = self.directions.first().cloned() else { return };
        let climbed = self.climb(&best.u, best.positive);
        let rows = self.function.rows.len().max(1);
        let u = if self.inner == climbed.len() {
            let calls = (CALLS / rows).clamp(20, 400);
            super::polish::ascend(self.function, &climbed, best.positive, calls)
        } else {
            climbed
        };
        self.offer(&u, best.positive);
    }

    /// Follows the gradient from a direction as long as the value rises.
    fn climb(&self, start: &[f64], positive: bool) -> Vec<f64> {
        let Some(mut u) = self.normalised(start) else { return start.to_vec() };
        let mut value = self.value(&u, positive);
        let mut gradient = vec![0.0; u.len()];
        for _ in 0..STEPS {
            self.function.gradient(&u, &mut gradient);
            if !positive {
                gradient.iter_mut().for_each(|g| *g = -*g);
            }
            // on a piece where f is linear its maximum over the ball is at the gradient
            let mut next = u.clone();
            next[..self.inner].copy_from_slice(&gradient[..self.inner]);
            let Some(next) = self.normalised(&next) else { break };
            let better = [1.0, 0.5, 0.1].into_iter().find_map(|share| {
                let mix: Vec<f64> =
                    u.iter().zip(&next).map(|(a, b)| (1.0 - share) * a + share * b).collect();
                let mix = self.normalised(&mix)?;
                let v = self.value(&mix, positive);
                (v > value).then_some((mix, v))
            });
            let Some((mix, v)) = better else { break };
            let rise = v - value;
            (u, value) = (mix, v);
            if rise <= 1e-9 * value {
                break;
            }
        }
        u
    }
}
