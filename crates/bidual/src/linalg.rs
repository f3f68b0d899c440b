//! The few dense kernels that the crate needs, over `faer`. Everything runs on
//! the calling thread: parallelism is decided by operators and solvers, over
//! fixed tiles, so that results do not depend on the number of threads.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::evd::{self, ComputeEigenvectors};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, MatMut, MatRef, Par};

/// Column-major dense matrix of `f64`.
pub type Mat = faer::Mat<f64>;

/// `out = a·b`, or `out += a·b` when `accumulate`.
pub(crate) fn gemm(out: MatMut<'_, f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, accumulate: bool) {
    let beta = if accumulate { Accum::Add } else { Accum::Replace };
    matmul(out, beta, a, b, 1.0, Par::Seq);
}

/// A = U diag(s) Vᵀ, the singular values falling.
pub(crate) struct Svd {
    pub u: Mat,
    pub s: Vec<f64>,
    pub v: Mat,
}

/// The thin singular value decomposition of `a`; `None` if it does not converge. `Mat::thin_svd`
/// takes several threads, and rounds differently with their number.
pub(crate) fn thin_svd(a: &Mat) -> Option<Svd> {
    let (m, n) = a.shape();
    let k = m.min(n);
    let (mut u, mut v, mut s) = (Mat::zeros(m, k), Mat::zeros(n, k), Diag::zeros(k));
    let thin = ComputeSvdVectors::Thin;
    let size = svd::svd_scratch::<f64>(m, n, thin, thin, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(size);
    let stack = MemStack::new(&mut memory);
    let (to_u, to_v) = (Some(u.as_mut()), Some(v.as_mut()));
    svd::svd(a.as_ref(), s.as_mut(), to_u, to_v, Par::Seq, stack, Default::default()).ok()?;
    Some(Svd { u, s: s.column_vector().iter().copied().collect(), v })
}

/// Eigenvalues, rising, and eigenvectors of a symmetric matrix, of which the lower half is read;
/// `None` if they are not found. On one thread, as [`thin_svd`].
pub(crate) fn eigen(a: &Mat) -> Option<(Vec<f64>, Mat)> {
    let n = a.nrows();
    let (mut u, mut s) = (Mat::zeros(n, n), Diag::zeros(n));
    let vectors = ComputeEigenvectors::Yes;
    let size = evd::self_adjoint_evd_scratch::<f64>(n, vectors, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(size);
    let stack = MemStack::new(&mut memory);
    let to_u = Some(u.as_mut());
    evd::self_adjoint_evd(a.as_ref(), s.as_mut(), to_u, Par::Seq, stack, Default::default())
        .ok()?;
    Some((s.column_vector().iter().copied().collect(), u))
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    // four partial sums: lets the compiler use SIMD without reordering between runs
    let mut sums = [0.0; 4];
    let (ca, cb) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = ca.remainder().iter().zip(cb.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in ca.zip(cb) {
        for l in 0..4 {
            sums[l] += x[l] * y[l];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + tail
}

pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// `y += alpha·x`.
pub(crate) fn axpy(alpha: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// Column `j` as a contiguous slice.
pub(crate) fn column(m: &Mat, j: usize) -> &[f64] {
    m.col_as_slice(j)
}

/// Column `j` as a contiguous mutable slice.
pub(crate) fn column_mut(m: &mut Mat, j: usize) -> &mut [f64] {
    m.col_as_slice_mut(j)
}

/// Whether shapes and entries are equal; `faer`'s `==` panics where the shapes differ.
pub(crate) fn same(a: &Mat, b: &Mat) -> bool {
    a.shape() == b.shape() && a == b
}

/// `out = Xv` for column-major `x` (n×d).
pub(crate) fn times(x: &Mat, v: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for (j, &vj) in v.iter().enumerate() {
        if vj != 0.0 {
            axpy(vj, column(x, j), out);
        }
    }
}

/// `out = Xᵀr` for column-major `x` (n×d).
pub(crate) fn transpose_times(x: &Mat, r: &[f64], out: &mut [f64]) {
    for (j, o) in out.iter_mut().enumerate() {
        *o = dot(column(x, j), r);
    }
}

/// Replaces the lower triangle of the symmetric `a` by its Cholesky factor.
/// False if `a` is not numerically positive definite.
pub(crate) fn cholesky_in_place(a: &mut Mat) -> bool {
    let n = a.nrows();
    let scratch = llt::factor::cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    llt::factor::cholesky_in_place(
        a.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    )
    .is_ok()
}

/// Solves `L Lᵀ x = b` in place, `factor` from [`cholesky_in_place`].
pub(crate) fn cholesky_solve(factor: &Mat, b: &mut [f64]) {
    let n = b.len();
    let rhs = MatMut::from_column_major_slice_mut(b, n, 1);
    let mut memory = MemBuffer::new(llt::solve::solve_in_place_scratch::<f64>(n, 1, Par::Seq));
    llt::solve::solve_in_place(factor.as_ref(), rhs, Par::Seq, MemStack::new(&mut memory));
}

/// B ← L⁻¹B, L the lower triangle of `factor`.
pub(crate) fn lower_solve(factor: &Mat, b: &mut Mat) {
    solve_lower_triangular_in_place(factor.as_ref(), b.as_mut(), Par::Seq);
}

/// A column vector viewed as an n×1 matrix.
pub(crate) fn as_column(v: &[f64]) -> MatRef<'_, f64> {
    MatRef::from_column_major_slice(v, v.len(), 1)
}
