//! Thin QR factorisation of a growing and shrinking list of columns of any length.

use crate::linalg::{axpy, dot, norm};

/// A = Q R for unit columns of length n, kept orthogonal by repeated Gram–Schmidt.
pub(crate) struct Columns {
    n: usize,
    q: Vec<Vec<f64>>,
    /// Column j of R, rows 0..=j.
    r: Vec<Vec<f64>>,
    spare: Vec<Vec<f64>>,
    rotations: Vec<(f64, f64)>,
}

impl Columns {
    /// No columns, of length `n`.
    pub(crate) fn new(n: usize) -> Self {
        Self { n, q: vec![], r: vec![], spare: vec![], rotations: vec![] }
    }

    /// Number of columns.
    pub(crate) fn len(&self) -> usize {
        self.q.len()
    }

    /// Splits `a` into Q·`along` and a remainder orthogonal to Q, which overwrites `a`; returns the
    /// norm of the remainder (0 if the columns span everything).
    pub(crate) fn split(&self, a: &mut [f64], along: &mut Vec<f64>) -> f64 {
        along.clear();
        along.resize(self.len(), 0.0);
        if self.len() >= self.n {
            self.q.iter().zip(along.iter_mut()).for_each(|(q, along)| *along = dot(q, a));
            a.fill(0.0);
            return 0.0;
        }
        let before = norm(a);
        let mut rho = before;
        // two passes restore orthogonality; a third one where nearly all of `a` cancels
        for pass in 0..3 {
            if pass == 2 && rho > 1e-8 * before {
                break;
            }
            for (q, along) in self.q.iter().zip(along.iter_mut()) {
                let t = dot(q, a);
                *along += t;
                axpy(-t, q, a);
            }
            rho = norm(a);
        }
        rho
    }

    /// Appends the column that [`Columns::split`] has just split, `rho` > 0.
    pub(crate) fn push(&mut self, remainder: &[f64], along: &[f64], rho: f64) {
        let mut q = self.spare.pop().unwrap_or_default();
        q.clear();
        q.extend(remainder.iter().map(|v| v / rho));
        self.q.push(q);
        let mut r = Vec::with_capacity(along.len() + 1);
        r.extend_from_slice(along);
        r.push(rho);
        self.r.push(r);
    }

    /// Deletes column `j`; the later ones move up by one.
    pub(crate) fn remove(&mut self, j: usize) {
        self.r.remove(j);
        self.rotations.clear();
        // Givens rotations of rows i, i+1 against the subdiagonal entry of column i, one column of
        // R after the other so that memory is read in order
        for (i, column) in self.r.iter_mut().enumerate().skip(j) {
            for (l, &(c, s)) in self.rotations.iter().enumerate() {
                let (a, b) = (column[j + l], column[j + l + 1]);
                (column[j + l], column[j + l + 1]) = (c * a + s * b, c * b - s * a);
            }
            let (a, b) = (column[i], column[i + 1]);
            let h = a.hypot(b);
            column[i] = h;
            column.truncate(i + 1);
            self.rotations.push(if h > 0.0 { (a / h, b / h) } else { (1.0, 0.0) });
        }
        for (l, &(c, s)) in self.rotations.iter().enumerate() {
            let (low, high) = self.q.split_at_mut(j + l + 1);
            for (a, b) in low[j + l].iter_mut().zip(&mut high[0]) {
                (*a, *b) = (c * *a + s * *b, c * *b - s * *a);
            }
        }
        if let Some(q) = self.q.pop() {
            self.spare.push(q);
        }
    }

    /// R⁻¹ in place: coefficients of the columns from coefficients of Q.
    pub(crate) fn solve(&self, s: &mut [f64]) {
        for j in (0..self.len()).rev() {
            let t = s[j] / self.r[j][j];
            s[j] = t;
            axpy(-t, &self.r[j][..j], &mut s[..j]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_after_deletions() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let n = 9;
        let all: Vec<Vec<f64>> = (0..7).map(|_| (0..n).map(|_| next()).collect()).collect();
        let (mut factor, mut along) = (Columns::new(n), vec![]);
        let mut kept: Vec<usize> = vec![];
        for (k, a) in all.iter().enumerate() {
            let mut a = a.clone();
            let rho = factor.split(&mut a, &mut along);
            factor.push(&a, &along, rho);
            kept.push(k);
            if k == 3 || k == 5 {
                factor.remove(1);
                kept.remove(1);
            }
        }
        let mut b = vec![0.0; n];
        kept.iter().enumerate().for_each(|(i, &k)| axpy(i as f64 + 1.0, &all[k], &mut b));
        let rho = factor.split(&mut b, &mut along);
        factor.solve(&mut along);
        assert!(rho < 1e-14, "{rho:e}");
        for (i, v) in along.iter().enumerate() {
            assert!((v - i as f64 - 1.0).abs() < 1e-12);
        }
    }
}
