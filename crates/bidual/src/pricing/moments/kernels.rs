//! Dense kernels of the relaxation: products with structure-of-arrays row blocks, Cholesky,
//! symmetric eigenproblems. Run-time dispatch to the widest vector unit.

use pulp::{Arch, Simd, WithSimd};

/// Every row array is padded with zeros to a multiple of this many entries.
pub(crate) const LANES: usize = 8;

/// The smallest padded length that holds `n` entries.
pub(crate) fn padded(n: usize) -> usize {
    n.div_ceil(LANES) * LANES
}

/// out_k = Σ_i rows[k·stride + i]·w_i for k < out.len(): inner products of contiguous arrays.
struct Dots<'a> {
    rows: &'a [f64],
    stride: usize,
    w: &'a [f64],
    out: &'a mut [f64],
}

impl WithSimd for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let w = S::as_simd_f64s(self.w).0;
        let row = |k: usize| S::as_simd_f64s(&self.rows[k * self.stride..(k + 1) * self.stride]).0;
        let total = self.out.len();
        let mut k = 0;
        while k + 8 <= total {
            let r: [&[S::f64s]; 8] = std::array::from_fn(|j| &row(k + j)[..w.len()]);
            let mut sums = [s.splat_f64s(0.0); 8];
            for i in 0..w.len() {
                let wi = w[i];
                for j in 0..8 {
                    sums[j] = s.mul_add_e_f64s(r[j][i], wi, sums[j]);
                }
            }
            for j in 0..8 {
                self.out[k + j] = s.reduce_sum_f64s(sums[j]);
            }
            k += 8;
        }
        while k < total {
            let r = row(k);
            let mut a = s.splat_f64s(0.0);
            let mut b = s.splat_f64s(0.0);
            let half = w.len() / 2 * 2;
            let mut i = 0;
            while i < half {
                a = s.mul_add_e_f64s(r[i], w[i], a);
                b = s.mul_add_e_f64s(r[i + 1], w[i + 1], b);
                i += 2;
            }
            if half < w.len() {
                a = s.mul_add_e_f64s(r[half], w[half], a);
            }
            self.out[k] = s.reduce_sum_f64s(s.add_f64s(a, b));
            k += 1;
        }
    }
}

/// out_k = Σ_i rows[k·stride + i]·w_i, k < out.len(); `w` has `stride` entries (padded).
pub(crate) fn dots(arch: Arch, rows: &[f64], stride: usize, w: &[f64], out: &mut [f64]) {
    if stride > 0 {
        arch.dispatch(Dots { rows, stride, w, out });
    } else {
        out.fill(0.0);
    }
}

/// out_i = Σ_k coefficients_k·rows[k·stride + i].
struct Combine<'a> {
    rows: &'a [f64],
    stride: usize,
    coefficients: &'a [f64],
    out: &'a mut [f64],
}

impl WithSimd for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let out = S::as_mut_simd_f64s(self.out).0;
        out.fill(s.splat_f64s(0.0));
        let row = |k: usize| S::as_simd_f64s(&self.rows[k * self.stride..(k + 1) * self.stride]).0;
        let total = self.coefficients.len();
        let mut k = 0;
        while k + 4 <= total {
            let r: [&[S::f64s]; 4] = std::array::from_fn(|j| &row(k + j)[..out.len()]);
            let c: [S::f64s; 4] = std::array::from_fn(|j| s.splat_f64s(self.coefficients[k + j]));
            for i in 0..out.len() {
                let a = s.mul_add_e_f64s(r[0][i], c[0], out[i]);
                let b = s.mul_f64s(r[1][i], c[1]);
                let a = s.mul_add_e_f64s(r[2][i], c[2], a);
                let b = s.mul_add_e_f64s(r[3][i], c[3], b);
                out[i] = s.add_f64s(a, b);
            }
            k += 4;
        }
        while k < total {
            let (r, c) = (row(k), s.splat_f64s(self.coefficients[k]));
            for i in 0..out.len() {
                out[i] = s.mul_add_e_f64s(r[i], c, out[i]);
            }
            k += 1;
        }
    }
}

/// out_i = Σ_k coefficients_k·rows[k·stride + i]; `out` has `stride` entries.
pub(crate) fn combine(
    arch: Arch,
    rows: &[f64],
    stride: usize,
    coefficients: &[f64],
    out: &mut [f64],
) {
    if stride > 0 {
        arch.dispatch(Combine { rows, stride, coefficients, out });
    }
}

/// Inner product with four running sums (vectorises where it is inlined).
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut s = [0.0; 4];
    let (ca, cb) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = ca.remainder().iter().zip(cb.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in ca.zip(cb) {
        for j in 0..4 {
            s[j] += x[j] * y[j];
        }
    }
    (s[0] + s[2]) + (s[1] + s[3]) + tail
}

/// Cholesky factor in place (lower triangle of the row-major `a`, order `d`); false if a pivot is
/// not positive.
pub(crate) fn cholesky(arch: Arch, a: &mut [f64], d: usize) -> bool {
    arch.dispatch(
        #[inline(always)]
        || {
            for i in 0..d {
                let (above, row) = a.split_at_mut(i * d);
                for j in 0..i {
                    let lj = &above[j * d..j * d + j + 1];
                    row[j] = (row[j] - dot(&row[..j], &lj[..j])) * lj[j];
                }
                let pivot = row[i] - dot(&row[..i], &row[..i]);
                if pivot.is_nan() || pivot <= 0.0 {
                    return false;
                }
                // the diagonal holds the reciprocal: the loops above multiply
                row[i] = 1.0 / pivot.sqrt();
            }
            true
        },
    )
}

/// x ← (LLᵀ)⁻¹x with the factor of [`cholesky`].
pub(crate) fn solve(arch: Arch, l: &[f64], d: usize, x: &mut [f64]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for i in 0..d {
                x[i] = (x[i] - dot(&l[i * d..i * d + i], &x[..i])) * l[i * d + i];
            }
            for i in (0..d).rev() {
                let xi = x[i] * l[i * d + i];
                x[i] = xi;
                for (y, c) in x[..i].iter_mut().zip(&l[i * d..i * d + i]) {
                    *y -= c * xi;
                }
            }
        },
    );
}

/// Lower triangle of `a` += w·v·vᵀ.
pub(crate) fn rank_one(arch: Arch, a: &mut [f64], d: usize, w: f64, v: &[f64]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for i in 0..d {
                let c = w * v[i];
                if c != 0.0 {
                    for (x, y) in a[i * d..i * d + i + 1].iter_mut().zip(&v[..=i]) {
                        *x += c * y;
                    }
                }
            }
        },
    );
}

/// Householder reduction of the symmetric `a` (row-major) to tridiagonal form: diagonal `d`,
/// off-diagonal `e` (e_i couples i and i + 1). With `vectors` `a` becomes the orthogonal matrix Qᵀ,
/// A = QTQᵀ, row by row.
fn tridiagonal(a: &mut [f64], d: &mut [f64], e: &mut [f64], vectors: bool) {
    let p = d.len();
    let mut w = [0.0; 32];
    for k in 0..p.saturating_sub(2) {
        // reflect row k beyond the diagonal onto its first entry
        let (top, rest) = a.split_at_mut((k + 1) * p);
        let v = &mut top[k * p + k + 1..(k + 1) * p];
        let m = v.len();
        let norm = v.iter().map(|c| c * c).sum::<f64>().sqrt();
        d[k] = 0.0;
        e[k] = 0.0;
        if norm == 0.0 {
            continue;
        }
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        e[k] = alpha;
        v[0] -= alpha;
        let h = norm * (norm + (v[0] + alpha).abs());
        // B ← (I − vvᵀ/h) B (I − vvᵀ/h)
        let w = &mut w[..m];
        for i in 0..m {
            w[i] = dot(&rest[i * p + k + 1..(i + 1) * p], v) / h;
        }
        let c = dot(w, v) / (2.0 * h);
        w.iter_mut().zip(v.iter()).for_each(|(w, v)| *w -= c * v);
        for i in 0..m {
            let row = &mut rest[i * p + k + 1..(i + 1) * p];
            for j in 0..m {
                row[j] -= v[i] * w[j] + w[i] * v[j];
            }
        }
        d[k] = 1.0 / h;
    }
    if p >= 2 {
        e[p - 2] = a[(p - 2) * p + p - 1];
    }
    // the diagonal, then the reflections' scale factors are no longer needed unless vectors are
    // wanted
    let mut scale = [0.0; 32];
    for k in 0..p {
        if k + 2 < p {
            scale[k] = d[k];
        }
        d[k] = a[k * p + k];
    }
    if !vectors {
        return;
    }
    // Q = H₀H₁…: build Qᵀ's rows from the last reflection backwards
    let mut q = [0.0; 32 * 32];
    for i in 0..p {
        q[i * p + i] = 1.0;
    }
    for k in (0..p.saturating_sub(2)).rev() {
        if scale[k] == 0.0 {
            continue;
        }
        let v = &a[k * p + k + 1..(k + 1) * p];
        // rows i of Qᵀ: q_i ← q_i − (q_i·v)v/h on the last coordinates
        for i in k + 1..p {
            let row = &mut q[i * p + k + 1..(i + 1) * p];
            let c = dot(row, v) * scale[k];
            row.iter_mut().zip(v).for_each(|(x, y)| *x -= c * y);
        }
    }
    a.copy_from_slice(&q[..p * p]);
}

/// Implicit QL iteration on a symmetric tridiagonal matrix; rows of `v` (if not empty) are rotated
/// along.
fn implicit_ql(d: &mut [f64], e: &mut [f64], v: &mut [f64]) {
    let p = d.len();
    for l in 0..p {
        for _ in 0..60 {
            let m = (l..p - 1)
                .find(|&m| e[m].abs() <= 1e-15 * (d[m].abs() + d[m + 1].abs()))
                .unwrap_or(p - 1);
            if m == l {
                break;
            }
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = g.hypot(1.0);
            let mut g = d[m] - d[l] + e[l] / (g + if g >= 0.0 { r } else { -r });
            let (mut s, mut c, mut shift) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let f = s * e[i];
                let b = c * e[i];
                let r = (f * f + g * g).sqrt();
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= shift;
                    e[m] = 0.0;
                    split = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                let g2 = d[i + 1] - shift;
                let r2 = (d[i] - g2) * s + 2.0 * c * b;
                shift = s * r2;
                d[i + 1] = g2 + shift;
                g = c * r2 - b;
                if !v.is_empty() {
                    let (top, bottom) = v.split_at_mut((i + 1) * p);
                    for (x, y) in top[i * p..].iter_mut().zip(&mut bottom[..p]) {
                        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                    }
                }
            }
            if split {
                continue;
            }
            d[l] -= shift;
            e[l] = g;
            e[m] = 0.0;
        }
    }
}

/// Eigenvalues and eigenvectors of a symmetric matrix (row-major, order p ≤ 31): `values` gets the
/// eigenvalues, row k of `a` the eigenvector of values_k. Not used for anything that must be
/// rigorous.
pub(crate) fn eigen(arch: Arch, a: &mut [f64], values: &mut [f64]) {
    let mut e = [0.0; 33];
    let p = values.len();
    arch.dispatch(
        #[inline(always)]
        || {
            tridiagonal(a, values, &mut e[..p], true);
            implicit_ql(values, &mut e[..p + 1], a);
        },
    );
}

/// Eigenvalues only; `a` is destroyed.
pub(crate) fn eigenvalues(arch: Arch, a: &mut [f64], values: &mut [f64]) {
    let mut e = [0.0; 33];
    let p = values.len();
    arch.dispatch(
        #[inline(always)]
        || {
            tridiagonal(a, values, &mut e[..p], false);
            implicit_ql(values, &mut e[..p + 1], &mut []);
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for round in 0..200 {
            let p = 1 + round % 12;
            let mut a = vec![0.0; p * p];
            for i in 0..p {
                for j in 0..=i {
                    let zero = round % 4 == 0 && (i + j) % 3 == 0;
                    a[i * p + j] = if zero { 0.0 } else { rng.random::<f64>() - 0.5 };
                    a[j * p + i] = a[i * p + j];
                }
            }
            let (mut v, mut values, mut only) = (a.clone(), vec![0.0; p], vec![0.0; p]);
            eigen(Arch::new(), &mut v, &mut values);
            eigenvalues(Arch::new(), &mut a.clone(), &mut only);
            for k in 0..p {
                assert!((values[k] - only[k]).abs() < 1e-12);
            }
            for i in 0..p {
                for j in 0..p {
                    let s: f64 = (0..p).map(|k| values[k] * v[k * p + i] * v[k * p + j]).sum();
                    assert!((s - a[i * p + j]).abs() < 1e-12, "{p} {i} {j} {s}");
                }
            }
        }
    }
}
