//! Ranges of the rows on a cone intersected with the unit ball.

use crate::pricing::moments::rows::Rows;

/// Rows handled together by [`tighten`].
const BLOCK: usize = 64;

/// Shrinks the ranges (lo_i, hi_i interleaved) of undecided rows to max ±h_iᵀu over {Au ≥ 0, ‖u‖ ≤
/// 1}: any λ ≥ 0 gives hi_i ≤ ‖h_i + Aᵀλ‖, here from `sweeps` coordinate sweeps. A: m×p with unit
/// rows.
///
/// The residual is accumulated explicitly; each of its m·sweeps updates loses at most 4·2⁻⁵³(‖h‖ +
/// Σ|δ|), which the term 10⁻¹²(‖h‖ + Σ|δ|) covers up to thousands of updates.
pub(crate) fn tighten(rows: &Rows, cone: &[f64], sweeps: usize, ranges: &mut [f64]) {
    let p = rows.p;
    let undecided: Vec<usize> =
        (0..rows.n).filter(|&i| ranges[2 * i] > 0.0 && ranges[2 * i + 1] > 0.0).collect();
    let m = cone.len() / p.max(1);
    let mut r = vec![[0.0; BLOCK]; p];
    let mut lambda = vec![[0.0; BLOCK]; m];
    for block in undecided.chunks(BLOCK) {
        for side in 0..2 {
            let sign = if side == 1 { 1.0 } else { -1.0 };
            for a in 0..p {
                r[a] = [0.0; BLOCK];
                for (j, &i) in block.iter().enumerate() {
                    r[a][j] = sign * rows.h[i * p + a];
                }
            }
            lambda.fill([0.0; BLOCK]);
            let mut moved = [0.0; BLOCK];
            for _ in 0..sweeps {
                for k in 0..m {
                    let a = &cone[k * p..(k + 1) * p];
                    let mut s = [0.0; BLOCK];
                    for c in 0..p {
                        for j in 0..BLOCK {
                            s[j] += a[c] * r[c][j];
                        }
                    }
                    for j in 0..BLOCK {
                        let next = (lambda[k][j] - s[j]).max(0.0);
                        let delta = next - lambda[k][j];
                        lambda[k][j] = next;
                        moved[j] += delta.abs();
                        s[j] = delta;
                    }
                    for c in 0..p {
                        for j in 0..BLOCK {
                            r[c][j] += a[c] * s[j];
                        }
                    }
                }
            }
            for (j, &i) in block.iter().enumerate() {
                let length = (0..p).map(|c| r[c][j] * r[c][j]).sum::<f64>().sqrt();
                let top = length * (1.0 + 1e-13) + 1e-12 * (rows.norm[i] + moved[j]);
                if top < ranges[2 * i + side] {
                    ranges[2 * i + side] = top;
                }
            }
        }
    }
}
