//! Rows of a pricing problem with their weights folded in, as structure of arrays.

/// Position of the pair (a, b), a ≤ b, among the entries of a symmetric matrix.
#[inline]
pub(crate) fn pair(a: usize, b: usize) -> usize {
    b * (b + 1) / 2 + a
}

/// Rows h_i = |ν_i|x_i / scale that are not zero, with the sign of ν_i.
pub(crate) struct Rows {
    /// number of kept rows
    pub n: usize,
    /// dimension
    pub p: usize,
    /// row-major, n×p
    pub h: Vec<f64>,
    /// h_ia·h_ib in the order of [`pair`], row-major n × p(p+1)/2
    pub products: Vec<f64>,
    /// ‖h_i‖, rounded up
    pub norm: Vec<f64>,
    /// index in the caller's list
    pub index: Vec<usize>,
    /// ν_i > 0
    pub positive: Vec<bool>,
    /// Σ‖h_i‖
    pub total: f64,
    /// Σ‖h_i‖ over rows that were left out because they are 10²⁰ times shorter than the longest
    pub dropped: f64,
}

impl Rows {
    /// Folds |ν| into the rows and divides by `scale`; rows without weight are dropped. None if
    /// something is not finite.
    pub fn new(rows: &[f64], p: usize, nu: &[f64], scale: f64) -> Option<Self> {
        let length =
            |x: &[f64], w: f64| -> f64 { x.iter().map(|&c| (c * w) * (c * w)).sum::<f64>().sqrt() };
        let pairs = || rows.chunks_exact(p.max(1)).zip(nu);
        let longest = pairs().map(|(x, v)| length(x, v.abs() / scale)).fold(0.0, f64::max);
        let mut dropped = 0.0;
        let mut h = Vec::new();
        let mut index = Vec::new();
        let mut positive = Vec::new();
        let mut norm = Vec::new();
        for (i, (x, &v)) in pairs().enumerate() {
            let w = v.abs() / scale;
            let s = length(x, w);
            if !(v.is_finite() && s.is_finite()) {
                return None;
            }
            // the additive part keeps the norm of an underflowed row above the truth
            let s = s * (1.0 + 1e-14) + 1e-150;
            if v == 0.0 || x.iter().all(|&c| c == 0.0) {
                continue;
            }
            if s <= 1e-20 * longest {
                dropped += s;
            } else {
                h.extend(x.iter().map(|&c| c * w));
                index.push(i);
                positive.push(v > 0.0);
                norm.push(s);
            }
        }
        let n = positive.len();
        let mut products = vec![0.0; n * p * (p + 1) / 2];
        for i in 0..n {
            let r = &h[i * p..(i + 1) * p];
            for a in 0..p {
                for b in a..p {
                    products[i * p * (p + 1) / 2 + pair(a, b)] = r[a] * r[b];
                }
            }
        }
        let total = norm.iter().sum::<f64>() * (1.0 + 1e-12);
        Some(Self { n, p, h, products, norm, index, positive, total, dropped })
    }

    /// The row i.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.h[i * self.p..(i + 1) * self.p]
    }

    /// f(u) = Σ ±(h_iᵀu)_+ and one ascent direction of it (the gradient of the active rows).
    pub fn value(&self, flip: bool, u: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let mut f = 0.0;
        for i in 0..self.n {
            let r = self.row(i);
            let t: f64 = r.iter().zip(u).map(|(a, b)| a * b).sum();
            if t > 0.0 {
                let s = if self.positive[i] != flip { 1.0 } else { -1.0 };
                f += s * t;
                gradient.iter_mut().zip(r).for_each(|(g, c)| *g += s * c);
            }
        }
        f
    }
}

/// Divides by the Euclidean norm, which is returned.
pub(crate) fn normalise(u: &mut [f64]) -> f64 {
    let s = u.iter().map(|c| c * c).sum::<f64>().sqrt();
    if s > 0.0 {
        u.iter_mut().for_each(|c| *c /= s);
    }
    s
}
