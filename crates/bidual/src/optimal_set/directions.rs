//! The optimal directions of a dual vector.

use super::{bounded_least_squares, gauge};
use crate::arrangement::Patterns;
use crate::cone::{Rows, Workspace, project};
use crate::linalg::{Mat, axpy, column, column_mut, dot, norm, same};
use crate::network::Bias;
use crate::{Error, Result};
use rayon::prelude::*;

/// A direction is optimal if its price is at least β(1 − this).
pub const PRICE_TOLERANCE: f64 = 1e-6;

/// Directions of one sign closer than this are one direction.
const SAME: f64 = 1e-4;

/// Unit-gauge directions with the sign of their output weight.
#[derive(Debug, Clone)]
pub struct Directions {
    /// u_k, d×k, ρ(u_k) = 1.
    pub directions: Mat,
    /// ±1.
    pub signs: Vec<f64>,
    /// sign·νᵀφ(Xu_k).
    pub prices: Vec<f64>,
}

impl PartialEq for Directions {
    /// Lists of different shapes are different.
    fn eq(&self, other: &Self) -> bool {
        same(&self.directions, &other.directions)
            && self.signs == other.signs
            && self.prices == other.prices
    }
}

impl Directions {
    /// Columns sign_k·φ(Xu_k), n×k, for the features they were made for.
    pub fn features(&self, features: &Mat) -> Mat {
        let mut phi = Mat::zeros(features.nrows(), self.signs.len());
        for (k, sign) in self.signs.iter().enumerate() {
            hidden(features, column(&self.directions, k), column_mut(&mut phi, k));
            column_mut(&mut phi, k).iter_mut().for_each(|v| *v *= sign);
        }
        phi
    }
}

/// The candidates that are optimal at ν: price sign·νᵀφ(Xu)/ρ(u) ≥ β(1 − [`PRICE_TOLERANCE`]), and
/// of those within 1e-4 of each other with one sign only the dearest, in the order given.
///
/// `features` n×d includes the ones column if there is a hidden bias; `bias` says whether its
/// weight, the last entry of a candidate (d×m), belongs to ρ. `nu` = −∇L, of the scale of `beta`.
pub fn optimal_directions(
    features: &Mat,
    nu: &[f64],
    beta: f64,
    bias: Bias,
    candidates: &Mat,
    signs: &[f64],
) -> Result<Directions> {
    let (n, d) = (features.nrows(), features.ncols());
    if nu.len() != n || candidates.nrows() != d || candidates.ncols() != signs.len() {
        return Err(Error::Data(format!(
            "features are {n}×{d}, ν has {} entries, candidates are {}×{} with {} signs: the shapes must agree",
            nu.len(),
            candidates.nrows(),
            candidates.ncols(),
            signs.len()
        )));
    }
    let mut out = vec![0.0; n];
    let mut dear: Vec<(usize, f64, Vec<f64>)> = vec![];
    for (k, sign) in signs.iter().enumerate() {
        let u = column(candidates, k);
        let rho = rho(u, bias);
        hidden(features, u, &mut out);
        let price = sign * dot(nu, &out) / rho;
        if rho > 0.0 && price >= beta * (1.0 - PRICE_TOLERANCE) {
            dear.push((k, price, u.iter().map(|v| v / rho).collect()));
        }
    }
    dear.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut kept: Vec<(usize, f64, Vec<f64>)> = vec![];
    for (k, price, u) in dear {
        let near = |v: &[f64]| v.iter().zip(&u).fold(0.0f64, |t, (a, b)| t.hypot(a - b)) <= SAME;
        if !kept.iter().any(|(j, _, v)| signs[*j] == signs[k] && near(v)) {
            kept.push((k, price, u));
        }
    }
    kept.sort_by_key(|(k, ..)| *k);
    Ok(Directions {
        directions: Mat::from_fn(d, kept.len(), |i, k| kept[k].2[i]),
        signs: kept.iter().map(|(k, ..)| signs[*k]).collect(),
        prices: kept.iter().map(|(_, price, _)| *price).collect(),
    })
}

/// The optimal directions among the maximisers of all given cells, both signs: Π_K(±XᵀDν), D the
/// pattern, K its cone. With all open cells of `features` these are all optimal directions. For
/// the Euclidean gauge: no hidden bias, or a penalised one as a column of `features`.
pub fn cell_directions(
    features: &Mat,
    patterns: &Patterns,
    nu: &[f64],
    beta: f64,
) -> Result<Directions> {
    let (n, d) = (features.nrows(), features.ncols());
    if nu.len() != n || patterns.samples() != n {
        return Err(Error::Data(format!(
            "{n} rows, {} entries of ν and patterns of {} samples: the three must agree",
            nu.len(),
            patterns.samples()
        )));
    }
    let columns: Vec<f64> = (0..d).flat_map(|j| column(features, j).to_vec()).collect();
    let by_rows: Vec<f64> =
        (0..n).flat_map(|i| (0..d).map(move |j| (i, j))).map(|at| features[at]).collect();
    let Some(rows) = Rows::new(n, d, &columns, &by_rows) else {
        return Err(Error::Data("too many samples".into()));
    };
    let level = beta * (1.0 - PRICE_TOLERANCE);
    let dear = |p: usize, workspace: &mut Workspace| -> Vec<(f64, Vec<f64>)> {
        let mut c = vec![0.0; d];
        for i in (0..n).filter(|&i| patterns.get(p, i)) {
            axpy(nu[i], &by_rows[i * d..(i + 1) * d], &mut c);
        }
        if norm(&c) < level {
            return vec![];
        }
        let one = |sign: f64, workspace: &mut Workspace| {
            let c: Vec<f64> = c.iter().map(|v| sign * v).collect();
            let u = project(&rows, patterns.bits(p), &c, workspace);
            (norm(&u) >= level && level > 0.0).then_some((sign, u))
        };
        [one(1.0, workspace), one(-1.0, workspace)].into_iter().flatten().collect()
    };
    let found: Vec<(f64, Vec<f64>)> = (0..patterns.len())
        .into_par_iter()
        .map_init(Workspace::default, |workspace, p| dear(p, workspace))
        .collect::<Vec<_>>()
        .concat();
    let candidates = Mat::from_fn(d, found.len(), |i, k| found[k].1[i]);
    let signs: Vec<f64> = found.iter().map(|(sign, _)| *sign).collect();
    optimal_directions(features, nu, beta, Bias::Penalised, &candidates, &signs)
}

/// Sizes c ≥ 0 that reproduce `outputs` as Φc + Zc₀ best in the least-squares sense, and the norm of
/// what remains: a first member of the optimal set where only its directions are known.
pub fn fit_sizes(phi: &Mat, z: &Mat, outputs: &[f64]) -> Result<(Vec<f64>, f64)> {
    let (k, q) = (phi.ncols(), z.ncols());
    super::check_shapes(phi, z, &vec![0.0; k])?;
    if outputs.len() != phi.nrows() {
        return Err(Error::Data(format!(
            "{} outputs for {} samples: one each is needed",
            outputs.len(),
            phi.nrows()
        )));
    }
    let all =
        Mat::from_fn(phi.nrows(), q + k, |i, j| if j < q { z[(i, j)] } else { phi[(i, j - q)] });
    let (x, residual) = bounded_least_squares(&all, q, f64::INFINITY, outputs);
    Ok((x[q..].to_vec(), norm(&residual)))
}

fn rho(u: &[f64], bias: Bias) -> f64 {
    match (bias, u.split_last()) {
        (Bias::Free, Some((_, w))) => gauge(w, 0.0, bias),
        _ => norm(u),
    }
}

/// φ(Xu) into `out`.
fn hidden(features: &Mat, u: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    u.iter().enumerate().for_each(|(j, &u)| axpy(u, column(features, j), out));
    out.iter_mut().for_each(|v| *v = v.max(0.0));
}
