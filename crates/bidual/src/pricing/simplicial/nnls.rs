//! Non-negative least squares on a small Gram matrix, and the bound that its solution proves.

/// Ridge, relative to the largest squared distance in the support, that keeps the factorisation
/// alive on Gram matrices of deficient rank. It only changes the multipliers that are proposed;
/// the bound is checked without it.
const RIDGE: f64 = 1e-13;

/// Symmetric matrix of squared distances between unit vectors.
///
/// It holds the Gram matrix, `G = 1 − D/2`, with full relative accuracy in what distinguishes the
/// vectors of a thin cone, which the Gram matrix itself loses to cancellation.
pub(super) type Distances<const P: usize> = [[f64; P]; P];

/// Factor of the Gram matrix restricted to a support: the first vector `s` of the support is
/// eliminated by hand, the Schur complement `(D_ks + D_ls − D_kl)/2 − D_ks D_ls/4` as `L D Lᵀ`.
#[derive(Clone, Copy)]
pub(super) struct Factor<const P: usize> {
    lower: [[f64; P]; P],
    inverse: [f64; P],
    /// Half the squared distances from `s`.
    half: [f64; P],
    first: usize,
    pub support: u32,
}

#[inline(always)]
fn holds(support: u32, k: usize) -> bool {
    support >> k & 1 == 1
}

impl<const P: usize> Factor<P> {
    /// Factorises on the support.
    #[inline(always)]
    pub fn new(distance: &Distances<P>, support: u32) -> Self {
        let first = (support.trailing_zeros() as usize).min(P - 1);
        let mut lower = [[0.0; P]; P];
        let mut inverse = [0.0; P];
        let mut half = [0.0; P];
        let mut widest = 1e-30;
        for k in 0..P {
            half[k] = 0.5 * distance[first][k];
            widest = if half[k] > widest { half[k] } else { widest };
        }
        let ridge = RIDGE * widest;
        let rest = support & !(1 << first);
        for j in 0..P {
            if !holds(rest, j) {
                continue;
            }
            let mut scaled = [0.0; P];
            for m in 0..j {
                if holds(rest, m) {
                    let mut x = half[j] + half[m] - 0.5 * distance[j][m] - half[j] * half[m];
                    for q in 0..m {
                        x -= scaled[q] * lower[m][q];
                    }
                    scaled[m] = x;
                    lower[j][m] = x * inverse[m];
                }
            }
            let mut d = 2.0 * half[j] - half[j] * half[j] + ridge;
            for m in 0..j {
                d -= scaled[m] * lower[j][m];
            }
            inverse[j] = 1.0 / if d > 0.1 * ridge { d } else { 0.1 * ridge };
        }
        Self { lower, inverse, half, first, support }
    }

    /// Solves on the support; zero elsewhere.
    #[inline(always)]
    pub fn solve(&self, rhs: &[f64; P]) -> [f64; P] {
        let mut x = [0.0; P];
        if self.support == 0 {
            return x;
        }
        let rest = self.support & !(1 << self.first);
        let lead = rhs[self.first];
        for j in 0..P {
            if holds(rest, j) {
                let mut s = (rhs[j] - lead) + self.half[j] * lead;
                for m in 0..j {
                    s -= self.lower[j][m] * x[m];
                }
                x[j] = s;
            }
        }
        let mut own = lead;
        for j in (0..P).rev() {
            if holds(rest, j) {
                let mut s = x[j] * self.inverse[j];
                for m in j + 1..P {
                    s -= self.lower[m][j] * x[m];
                }
                x[j] = s;
                own -= (1.0 - self.half[j]) * s;
            }
        }
        x[self.first] = own;
        x
    }
}

/// Maximiser of `cᵀt − ½tᵀGt` over `t ≥ 0`.
#[derive(Clone, Copy)]
pub(super) struct Projection<const P: usize> {
    /// Coefficients, all ≥ 0.
    pub t: [f64; P],
    /// Residual `c − Gt`.
    pub residual: [f64; P],
    /// Factor on the final support.
    pub factor: Factor<P>,
    /// `‖Vt‖ = √(tᵀGt)`.
    pub norm: f64,
}

/// `G t` with `G = 1 − D/2`.
#[inline(always)]
fn image<const P: usize>(distance: &Distances<P>, t: &[f64; P]) -> [f64; P] {
    let mut sum = 0.0;
    let mut out = [0.0; P];
    for k in 0..P {
        sum += t[k];
        for j in 0..P {
            out[j] += distance[k][j] * t[k];
        }
    }
    for j in 0..P {
        out[j] = sum - 0.5 * out[j];
    }
    out
}

/// `M t` for a symmetric matrix.
#[inline(always)]
pub(super) fn product<const P: usize>(matrix: &[[f64; P]; P], t: &[f64; P]) -> [f64; P] {
    let mut out = [0.0; P];
    for k in 0..P {
        for j in 0..P {
            out[j] += matrix[k][j] * t[k];
        }
    }
    out
}

/// Dot product.
#[inline(always)]
pub(super) fn dot<const P: usize>(a: &[f64; P], b: &[f64; P]) -> f64 {
    let mut s = 0.0;
    for k in 0..P {
        s += a[k] * b[k];
    }
    s
}

/// Block principal pivoting from the support of `factor` (Portugal, Júdice, Vicente 1994), with the
/// least-index rule as the safeguard against cycling. The result need not be optimal to prove a
/// bound: negative coefficients are clipped and the residual is recomputed.
#[inline(always)]
pub(super) fn project<const P: usize>(
    distance: &Distances<P>,
    c: &[f64; P],
    mut factor: Factor<P>,
) -> Projection<P> {
    let mut size = 0.0;
    for k in 0..P {
        size = if c[k].abs() > size { c[k].abs() } else { size };
    }
    let slack = 1e-14 * size;
    let mut support = factor.support;
    let (mut best, mut patience) = (P as u32 + 1, 3);
    let mut round = 0;
    loop {
        let mut t = factor.solve(c);
        let product = image(distance, &t);
        let mut wrong = 0u32;
        for k in 0..P {
            let bad = if holds(support, k) { t[k] < 0.0 } else { c[k] - product[k] > slack };
            wrong |= u32::from(bad) << k;
        }
        round += 1;
        if wrong == 0 || round == 8 * P {
            let mut product = product;
            if wrong != 0 {
                for k in 0..P {
                    t[k] = if t[k] > 0.0 { t[k] } else { 0.0 };
                }
                product = image(distance, &t);
            }
            let square = dot(&t, &product);
            let mut residual = [0.0; P];
            for k in 0..P {
                residual[k] = c[k] - product[k];
            }
            let norm = if square > 0.0 { square.sqrt() } else { 0.0 };
            return Projection { t, residual, factor, norm };
        }
        let count = wrong.count_ones();
        if count < best {
            (best, patience) = (count, 3);
            support ^= wrong;
        } else if patience > 0 {
            patience -= 1;
            support ^= wrong;
        } else {
            support ^= 1 << (31 - wrong.leading_zeros());
        }
        factor = Factor::new(distance, support);
    }
}
