//! Least squares with bounds, for few variables: Stark and Parker's active-set method (1995,
//! "Bounded-variable least squares"), with leading variables that are free.

use super::columns::Columns;
use crate::linalg::{Mat, axpy, column, dot, norm};

/// Residual correlations below this, for unit columns and a unit right-hand side, are rounding.
const FLAT: f64 = 1e-13;

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Lower,
    Upper,
    Inside,
}

/// Minimises ‖b − Ax‖ with the first `free` entries of x free and 0 ≤ x_j ≤ `upper` for the others
/// (`upper` may be ∞). Returns x and the residual b − Ax of that x. Whatever x comes back satisfies
/// its bounds, so the norm of the residual is never below the minimum.
pub(crate) fn bounded_least_squares(
    a: &Mat,
    free: usize,
    upper: f64,
    b: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let (n, m) = (a.nrows(), a.ncols());
    let norms: Vec<f64> = (0..m).map(|j| norm(column(a, j))).collect();
    let unit: Vec<Vec<f64>> = (0..m)
        .map(|j| {
            column(a, j).iter().map(|v| if norms[j] > 0.0 { v / norms[j] } else { 0.0 }).collect()
        })
        .collect();
    let limits: Vec<f64> = norms.iter().map(|s| if *s > 0.0 { upper * s } else { 0.0 }).collect();
    let mut state = State {
        factor: Columns::new(n),
        inside: vec![],
        place: vec![Place::Lower; m],
        x: vec![0.0; m],
        along: vec![],
        work: vec![0.0; n],
    };
    for j in (0..free.min(m)).filter(|&j| norms[j] > 0.0) {
        state.enter(&unit, j);
    }
    let floor = FLAT * norm(b);
    let mut residual = b.to_vec();
    let mut barred = vec![false; m];
    for _ in 0..20 * (m + 5) {
        state.descend(&unit, &limits, free, b);
        state.residual(&unit, b, &mut residual);
        // the bound variable whose release reduces the residual fastest
        let gain = |j: usize| match state.place[j] {
            Place::Lower => dot(&unit[j], &residual),
            Place::Upper => -dot(&unit[j], &residual),
            Place::Inside => 0.0,
        };
        let best = (free.min(m)..m)
            .filter(|&j| limits[j] > 0.0 && !barred[j])
            .map(|j| (j, gain(j)))
            .max_by(|p, q| p.1.total_cmp(&q.1).then(q.0.cmp(&p.0)));
        match best {
            Some((j, gain)) if gain > floor => {
                if !state.enter(&unit, j) {
                    barred[j] = true; // dependent on the inner ones: the gain was rounding
                }
            }
            _ => break,
        }
    }
    let x = state.x.iter().zip(&norms).enumerate().map(|(j, (x, s))| match state.place[j] {
        Place::Lower => 0.0,
        Place::Upper => upper,
        Place::Inside if j < free => x / s,
        Place::Inside => (x / s).clamp(0.0, upper),
    });
    (x.collect(), residual)
}

struct State {
    factor: Columns,
    /// Variables between their bounds, in the order of the factorisation.
    inside: Vec<usize>,
    place: Vec<Place>,
    x: Vec<f64>,
    along: Vec<f64>,
    work: Vec<f64>,
}

impl State {
    /// False if the column depends on those inside.
    fn enter(&mut self, unit: &[Vec<f64>], j: usize) -> bool {
        self.work.copy_from_slice(&unit[j]);
        let rho = self.factor.split(&mut self.work, &mut self.along);
        if rho <= 1e-12 {
            return false;
        }
        self.factor.push(&self.work, &self.along, rho);
        self.inside.push(j);
        self.place[j] = Place::Inside;
        true
    }

    fn leave(&mut self, position: usize, place: Place, limit: f64) {
        let j = self.inside.remove(position);
        self.factor.remove(position);
        self.place[j] = place;
        self.x[j] = if place == Place::Upper { limit } else { 0.0 };
    }

    /// The least-squares solution in the inner variables, as far as the bounds let it go.
    fn descend(&mut self, unit: &[Vec<f64>], limits: &[f64], free: usize, b: &[f64]) {
        loop {
            self.work.copy_from_slice(b);
            for j in (0..self.x.len()).filter(|&j| self.place[j] == Place::Upper) {
                axpy(-self.x[j], &unit[j], &mut self.work);
            }
            self.factor.split(&mut self.work, &mut self.along);
            self.factor.solve(&mut self.along);
            let mut step = 1.0;
            let mut hit = None;
            for (position, (&j, &goal)) in self.inside.iter().zip(&self.along).enumerate() {
                let (from, limit) = (self.x[j], limits[j]);
                let (bound, place) = if goal < 0.0 {
                    (0.0, Place::Lower)
                } else if goal > limit {
                    (limit, Place::Upper)
                } else {
                    continue;
                };
                let t = ((bound - from) / (goal - from)).clamp(0.0, 1.0);
                if j >= free && (hit.is_none() || t < step) {
                    (step, hit) = (t, Some((position, place, limit)));
                }
            }
            for (&j, &goal) in self.inside.iter().zip(&self.along) {
                self.x[j] += step * (goal - self.x[j]);
            }
            match hit {
                Some((position, place, limit)) => self.leave(position, place, limit),
                None => return,
            }
        }
    }

    fn residual(&self, unit: &[Vec<f64>], b: &[f64], out: &mut [f64]) {
        out.copy_from_slice(b);
        for (x, unit) in self.x.iter().zip(unit) {
            if *x != 0.0 {
                axpy(-x, unit, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{times, transpose_times};

    /// Optimality conditions on random problems with dependent, zero and badly scaled columns.
    #[test]
    fn meets_the_optimality_conditions() {
        let mut state = 7u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        for case in 0..400 {
            let (n, m, free) = (1 + case % 7, case % 11, (case % 3).min(case % 11));
            let mut a = Mat::from_fn(n, m, |_, _| next());
            for j in 1..m {
                let kind = next();
                let scale = 10f64.powf(8.0 * next());
                for i in 0..n {
                    a[(i, j)] = match kind {
                        k if k < -0.3 => -a[(i, j - 1)],
                        k if k < -0.2 => 0.0,
                        _ => a[(i, j)] * scale,
                    };
                }
            }
            let b: Vec<f64> = (0..n).map(|_| 3.0 * next()).collect();
            let upper = if case % 2 == 0 { 1.0 } else { f64::INFINITY };
            let (x, residual) = bounded_least_squares(&a, free, upper, &b);
            let mut image = vec![0.0; n];
            times(&a, &x, &mut image);
            let mut slope = vec![0.0; m];
            transpose_times(&a, &residual, &mut slope);
            for i in 0..n {
                assert!((b[i] - image[i] - residual[i]).abs() < 1e-11, "case {case}");
            }
            for j in 0..m {
                let tolerance = 1e-10 * norm(column(&a, j));
                assert!(j < free || (0.0..=upper).contains(&x[j]), "case {case}");
                assert!(slope[j] <= tolerance || j >= free && x[j] == upper, "case {case}");
                assert!(slope[j] >= -tolerance || j >= free && x[j] == 0.0, "case {case}");
            }
        }
    }
}
