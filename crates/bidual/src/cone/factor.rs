//! Thin QR factorisation A = Q R of a growing and shrinking list of columns.

/// A = Q R with at most `d` columns of length `d`, kept orthogonal by repeated Gram–Schmidt, and
/// z = Qᵀc for one right-hand side c.
#[derive(Default)]
pub(super) struct Factor {
    d: usize,
    m: usize,
    /// Column i of Q at `q[i*d..]`.
    q: Vec<f64>,
    /// Column j of R at `r[j*d..]`, rows 0..=j.
    r: Vec<f64>,
    z: Vec<f64>,
    /// Columns deleted since the last reset.
    pub deleted: usize,
}

impl Factor {
    /// Forgets all columns and sets the dimension.
    pub(super) fn reset(&mut self, d: usize) {
        self.d = d;
        self.m = 0;
        self.deleted = 0;
        if self.q.len() < d * d {
            self.q.resize(d * d, 0.0);
            self.r.resize(d * d, 0.0);
            self.z.resize(d, 0.0);
        }
    }

    /// Appends the unit column `a` (overwritten) unless its distance to the span of the columns
    /// is at most `tol`. `p` is the current residual c − Q Qᵀc.
    #[inline(always)]
    pub(super) fn push(&mut self, a: &mut [f64], p: &[f64], tol: f64) -> bool {
        let (d, m) = (self.d, self.m);
        if m >= d {
            return false;
        }
        let column = &mut self.r[m * d..m * d + m];
        column.fill(0.0);
        let mut rho = 1.0;
        // Two passes restore orthogonality; a third one where nearly all of `a` cancels.
        for pass in 0..3 {
            if pass == 2 && rho > 1e-8 {
                break;
            }
            for (i, r) in column.iter_mut().enumerate() {
                let q = &self.q[i * d..(i + 1) * d];
                let t = dot(q, a);
                *r += t;
                axpy(-t, q, a);
            }
            rho = dot(a, a).sqrt();
            // Written so that a NaN is refused as well.
            if rho.partial_cmp(&tol) != Some(std::cmp::Ordering::Greater) {
                return false;
            }
        }
        self.r[m * d + m] = rho;
        let q = &mut self.q[m * d..(m + 1) * d];
        for (q, a) in q.iter_mut().zip(a.iter()) {
            *q = a / rho;
        }
        self.z[m] = dot(q, p);
        self.m = m + 1;
        true
    }

    /// The columns of Q.
    pub(super) fn columns(&self) -> impl Iterator<Item = &[f64]> {
        self.q.chunks_exact(self.d.max(1)).take(self.m)
    }

    /// Takes the component along the newest column out of `p`.
    #[inline(always)]
    pub(super) fn deflate(&self, p: &mut [f64]) {
        if let Some(i) = self.m.checked_sub(1) {
            axpy(-self.z[i], &self.q[i * self.d..(i + 1) * self.d], p);
        }
    }

    /// Deletes column `j`; the later ones move up by one.
    #[inline(always)]
    pub(super) fn remove(&mut self, j: usize) {
        let (d, m) = (self.d, self.m);
        for i in j..m - 1 {
            self.r.copy_within((i + 1) * d..(i + 1) * d + i + 2, i * d);
        }
        for i in j..m - 1 {
            // Givens rotation of rows i, i+1 against the subdiagonal entry of column i.
            let (a, b) = (self.r[i * d + i], self.r[i * d + i + 1]);
            let h = a.hypot(b);
            let (c, s) = if h > 0.0 { (a / h, b / h) } else { (1.0, 0.0) };
            for l in i..m - 1 {
                let (a, b) = (self.r[l * d + i], self.r[l * d + i + 1]);
                self.r[l * d + i] = c * a + s * b;
                self.r[l * d + i + 1] = c * b - s * a;
            }
            let (low, high) = self.q.split_at_mut((i + 1) * d);
            for (a, b) in low[i * d..].iter_mut().zip(&mut high[..d]) {
                (*a, *b) = (c * *a + s * *b, c * *b - s * *a);
            }
            let (a, b) = (self.z[i], self.z[i + 1]);
            (self.z[i], self.z[i + 1]) = (c * a + s * b, c * b - s * a);
        }
        self.m = m - 1;
        self.deleted += 1;
    }

    /// Takes another right-hand side.
    #[inline(always)]
    pub(super) fn project(&mut self, c: &[f64]) {
        for (z, q) in self.z.iter_mut().zip(self.q.chunks_exact(self.d.max(1))).take(self.m) {
            *z = dot(q, c);
        }
    }

    /// p = c − Q z, with one correction of z that makes p orthogonal to Q to working precision.
    #[inline(always)]
    pub(super) fn residual(&mut self, c: &[f64], p: &mut [f64]) {
        let d = self.d;
        p.copy_from_slice(c);
        for i in 0..self.m {
            axpy(-self.z[i], &self.q[i * d..(i + 1) * d], p);
        }
        for i in 0..self.m {
            let q = &self.q[i * d..(i + 1) * d];
            let t = dot(q, p);
            self.z[i] += t;
            axpy(-t, q, p);
        }
    }

    /// The minimiser of ‖c + A s‖, that is R s = −z.
    #[inline(always)]
    pub(super) fn minimiser(&self, s: &mut Vec<f64>) {
        s.clear();
        s.extend(self.z[..self.m].iter().map(|z| -z));
        self.back_substitute(s);
    }

    /// R⁻¹Qᵀg into `s`.
    #[inline(always)]
    pub(super) fn coefficients(&self, g: &[f64], s: &mut Vec<f64>) {
        let d = self.d;
        s.clear();
        s.extend((0..self.m).map(|i| dot(&self.q[i * d..(i + 1) * d], g)));
        self.back_substitute(s);
    }

    #[inline(always)]
    fn back_substitute(&self, s: &mut [f64]) {
        let d = self.d;
        for j in (0..self.m).rev() {
            let column = &self.r[j * d..j * d + j + 1];
            let t = s[j] / column[j];
            s[j] = t;
            axpy(-t, &column[..j], &mut s[..j]);
        }
    }
}

/// aᵀb, eight partial sums.
#[inline(always)]
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sum = [0.0; 8];
    let ((a8, a_rest), (b8, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut tail = 0.0;
    for (a, b) in a_rest.iter().zip(b_rest) {
        tail += a * b;
    }
    for (a, b) in a8.iter().zip(b8) {
        for l in 0..8 {
            sum[l] += a[l] * b[l];
        }
    }
    let pairs = [sum[0] + sum[4], sum[1] + sum[5], sum[2] + sum[6], sum[3] + sum[7]];
    (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]) + tail
}

/// y ← y + t x.
#[inline(always)]
pub(super) fn axpy(t: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += t * x;
    }
}

/// ‖a‖₂ without overflow or underflow of the squares.
pub(super) fn norm(a: &[f64]) -> f64 {
    let square = dot(a, a);
    if (1e-280..1e280).contains(&square) {
        return square.sqrt();
    }
    let top = a.iter().fold(0.0_f64, |t, v| t.max(v.abs()));
    if top == 0.0 || !square.is_finite() && !top.is_finite() {
        return square;
    }
    top * a.iter().map(|v| (v / top) * (v / top)).sum::<f64>().sqrt()
}
