//! Interior and relative interior of a cone, by the point of least norm of its unit normals.

use super::factor::{axpy, dot, norm};
use super::nnls::{Problem, Start, product, sign};
use super::support::{Rows, Workspace};

/// Margins (of unit rows and unit directions) up to this value count as zero.
const FLAT: f64 = 1e-10;

/// Multipliers below this fraction of the largest do not prove an equality.
const SHARE: f64 = 1e-4;

/// Whether K = {u : s_k x_kᵀu ≥ 0} is full-dimensional.
#[derive(Clone, Debug, PartialEq)]
pub enum Interior {
    /// The unit direction with the largest least margin min_k s_k x_kᵀu/‖x_k‖; all margins of
    /// non-zero rows are positive as computed in f64.
    Open(Vec<f64>),
    /// No direction has all margins above 10⁻¹⁰.
    Flat {
        /// The rows with x_kᵀu = 0 on all of K, ascending.
        equalities: Vec<u32>,
    },
}

/// A cone within its own span.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduced {
    /// Orthonormal basis of the span of K, d×r column-major.
    pub basis: Vec<f64>,
    /// Dimension r of K.
    pub r: usize,
    /// The rows with x_kᵀu = 0 on all of K, ascending.
    pub equalities: Vec<u32>,
    /// Unit direction in the relative interior with the largest least margin (relative to the rows
    /// projected on the span); zero if r = 0.
    pub witness: Vec<f64>,
}

/// Decides whether some u has s_k x_kᵀu > 0 on all non-zero rows.
///
/// The largest least margin over the unit ball equals the least norm of conv{s_k x_k/‖x_k‖}, found
/// by NNLS. Margins below 10⁻¹⁰ count as none (relative to the rows' norms, so the answer does not
/// depend on the scale of rows); a cone thinner than that is reported as flat.
/// Zero rows impose nothing; with no other row every direction is interior.
pub fn interior(rows: &Rows<'_>, bits: &[u64], ws: &mut Workspace) -> Interior {
    let reduced = relative_interior(rows, bits, ws);
    if reduced.equalities.is_empty() {
        Interior::Open(reduced.witness)
    } else {
        Interior::Flat { equalities: reduced.equalities }
    }
}

/// Span, implicit equalities and a relatively interior direction of K, by facial reduction.
///
/// If the unit rows have a vanishing convex combination, the rows in it are equalities on K: restrict
/// to their null space, where further rows may vanish, and repeat (at most d rounds). Rows shorter
/// than 10⁻¹⁰ after projection, and combinations of norm up to 10⁻¹⁰, count as zero.
pub fn relative_interior(rows: &Rows<'_>, bits: &[u64], ws: &mut Workspace) -> Reduced {
    let d = rows.d;
    // No projection while K may span everything.
    let mut basis = identity(d);
    let mut whole = true;
    let mut equal = vec![false; rows.n];
    let lengths: Vec<f64> = (0..rows.n).map(|k| norm(rows.row(k))).collect();
    loop {
        let r = basis.len().checked_div(d).unwrap_or(0);
        gather(rows, bits, &basis, whole, &lengths, &mut equal, ws);
        let (direction, support) = if r == 0 {
            (Vec::new(), Vec::new())
        } else if ws.unit_index.is_empty() {
            let mut first = vec![0.0; r];
            first[0] = 1.0;
            (first, Vec::new())
        } else {
            widest(r, ws)
        };
        let mut witness = vec![0.0; d];
        product(d, &basis, &direction, &mut witness);
        let length = norm(&witness);
        if length > 0.0 {
            witness.iter_mut().for_each(|v| *v /= length);
        }
        let inside = (0..rows.n).all(|k| {
            let value = rows.row(k).iter().zip(&witness).fold(0.0, |t, (x, u)| t + x * u);
            lengths[k] == 0.0 || equal[k] || sign(bits, k) * value > 0.0
        });
        if r == 0 || support.is_empty() && inside {
            return Reduced {
                basis,
                r,
                equalities: (0..rows.n as u32).filter(|&k| equal[k as usize]).collect(),
                witness,
            };
        }
        if support.is_empty() {
            // The margins do not survive rounding: too thin to tell from flat.
            for &k in &ws.unit_index {
                let k = k as usize;
                let value = sign(bits, k) * dot(rows.row(k), &witness);
                // Negated, so that the loop also ends on data with NaN.
                let positive = value > FLAT * lengths[k];
                equal[k] |= !positive;
            }
        }
        for &i in &support {
            equal[ws.unit_index[i as usize] as usize] = true;
        }
        let normals = (0..rows.n).filter(|&k| equal[k] && lengths[k] > 0.0);
        whole = false;
        basis = complement(d, normals.map(|k| (rows.row(k), lengths[k])));
    }
}

fn identity(d: usize) -> Vec<f64> {
    let mut basis = vec![0.0; d * d];
    for j in 0..d {
        basis[j * d + j] = 1.0;
    }
    basis
}

/// Signed unit rows in the coordinates of `basis`, with a last coordinate 1, in both orders; rows
/// that vanish on the basis join `equal`.
fn gather(
    rows: &Rows<'_>,
    bits: &[u64],
    basis: &[f64],
    whole: bool,
    lengths: &[f64],
    equal: &mut [bool],
    ws: &mut Workspace,
) {
    let d = rows.d;
    ws.unit_rows.clear();
    ws.unit_index.clear();
    for k in 0..rows.n {
        if equal[k] || lengths[k] == 0.0 {
            continue;
        }
        let from = ws.unit_rows.len();
        if whole {
            let unit = rows.row(k).iter().map(|x| x / lengths[k]);
            ws.unit_rows.extend(unit);
        }
        for q in basis.chunks_exact(d).filter(|_| !whole) {
            let scaled = rows.row(k).iter().zip(q).map(|(x, q)| x / lengths[k] * q);
            ws.unit_rows.push(scaled.sum());
        }
        let length = norm(&ws.unit_rows[from..]);
        if length <= FLAT {
            equal[k] = true;
            ws.unit_rows.truncate(from);
            continue;
        }
        let t = sign(bits, k) / length;
        ws.unit_rows[from..].iter_mut().for_each(|v| *v *= t);
        ws.unit_rows.push(1.0);
        ws.unit_index.push(k as u32);
    }
    let n = ws.unit_index.len();
    let width = ws.unit_rows.len().checked_div(n).unwrap_or(0);
    ws.unit_columns.clear();
    for j in 0..width {
        let column = (0..n).map(|i| ws.unit_rows[i * width + j]);
        ws.unit_columns.extend(column);
    }
}

/// The direction of largest least margin of the gathered rows, or, if that margin is ≤ 10⁻¹⁰, the
/// rows of the vanishing combination.
///
/// min_{λ≥0} ‖Σλ_k a_k‖² + ω²(1 − Σλ_k)² is attained at a multiple of the convex combination w of
/// least norm N. With ω ≈ N nothing cancels, so thin cones are resolved by a second solve
/// (derived here).
fn widest(r: usize, ws: &mut Workspace) -> (Vec<f64>, Vec<u32>) {
    let mut weight = 1.0;
    let mut start = Vec::new();
    let n = ws.unit_index.len();
    for _ in 0..6 {
        let problem = Problem {
            n,
            d: r + 1,
            columns: &ws.unit_columns,
            rows: &ws.unit_rows,
            bits: None,
            last: weight,
            lengths: None,
        };
        let mut c = vec![0.0; r + 1];
        c[r] = -weight;
        ws.nnls.solve(&problem, &c, Start::Rows(&start), 1e-12, |_, _| false);
        let mut w = vec![0.0; r];
        for (&k, &l) in ws.nnls.passive.iter().zip(&ws.nnls.lambda) {
            axpy(l, &ws.unit_rows[k as usize * (r + 1)..][..r], &mut w);
        }
        let total: f64 = ws.nnls.lambda.iter().sum();
        let least = norm(&w) / total;
        if least <= FLAT || least.is_nan() {
            break;
        }
        if least > 0.01 * weight {
            let p = &ws.nnls.p[..r];
            let length = norm(p);
            return (p.iter().map(|v| v / length).collect(), Vec::new());
        }
        weight = least;
        start.clone_from(&ws.nnls.passive);
    }
    let lambda = &ws.nnls.lambda;
    let top = lambda.iter().fold(0.0_f64, |t, &v| t.max(v));
    let pairs = ws.nnls.passive.iter().zip(lambda);
    let support = pairs.filter(|&(_, &l)| l >= SHARE * top).map(|(&k, _)| k);
    (vec![0.0; r], support.collect())
}

/// Orthonormal basis of the complement of the given rows, with their lengths; rows within 10⁻¹⁰ of
/// the span of the others do not count.
fn complement<'a>(d: usize, normals: impl Iterator<Item = (&'a [f64], f64)>) -> Vec<f64> {
    let mut left: Vec<f64> = Vec::new();
    for (x, length) in normals {
        left.extend(x.iter().map(|v| v / length));
    }
    let mut q: Vec<f64> = Vec::new();
    // Pivoted Gram–Schmidt: the longest remainder first, so that near-dependence shows at the end.
    while q.len() < d * d {
        let longest = left
            .chunks_exact(d)
            .enumerate()
            .map(|(i, x)| (i, norm(x)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((i, length)) = longest.filter(|v| v.1 > FLAT) else {
            break;
        };
        let mut x = left[i * d..(i + 1) * d].to_vec();
        x.iter_mut().for_each(|v| *v /= length);
        orthonormalise(&mut x, &q);
        for row in left.chunks_exact_mut(d) {
            let t = dot(row, &x);
            axpy(-t, &x, row);
        }
        q.extend(x);
    }
    let rank = q.len();
    while q.len() < d * d {
        // The unit vector farthest from what is there.
        let rest = |j: usize| 1.0 - q.chunks_exact(d).map(|q| q[j] * q[j]).sum::<f64>();
        let j = (0..d).max_by(|&i, &j| rest(i).total_cmp(&rest(j)));
        let mut x = vec![0.0; d];
        x[j.unwrap_or(0)] = 1.0;
        orthonormalise(&mut x, &q);
        q.extend(x);
    }
    q.split_off(rank)
}

fn orthonormalise(x: &mut [f64], q: &[f64]) {
    for _ in 0..3 {
        for q in q.chunks_exact(x.len()) {
            let t = dot(q, x);
            axpy(-t, q, x);
        }
        let length = norm(x);
        x.iter_mut().for_each(|v| *v /= length);
    }
}
