//! The optimal set as a polytope in the null space of the dictionary.

use super::check_shapes;
use super::columns::Columns;
use super::program::Polytope;
use crate::linalg::{Mat, axpy, column, column_mut, dot, norm};
use crate::{Error, Result};
use faer::Par;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};

/// Relative accuracy of outputs that are the same.
const EXACT: f64 = 1e-11;

/// Tolerances of an [`OptimalSet`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetOptions {
    /// Singular values of the columns of Φ (each divided by its norm, components along Z removed)
    /// up to this share of the largest count as zero.
    pub rank_tolerance: f64,
    /// Σc may exceed that of the given network by this share. At an optimum Σc is the same in the
    /// whole set, and the bound only absorbs rounding; elsewhere it keeps the set compact and its
    /// objective from rising.
    pub norm_slack: f64,
}

impl Default for SetOptions {
    fn default() -> Self {
        Self { rank_tolerance: 1e-9, norm_slack: 1e-9 }
    }
}

/// {c ≥ 0 : Φc + Zc₀ = f* for some c₀, Σc ≤ (1 + slack)·Σc*}, f* the outputs of the sizes c* given.
///
/// Kept as c* + Nη with N a basis of the null space, so that c* is always a member: the right-hand
/// side cannot be inconsistent.
#[derive(Debug, Clone)]
pub struct OptimalSet {
    pub(super) phi: Mat,
    pub(super) z: Mat,
    pub(super) sizes: Vec<f64>,
    pub(super) options: SetOptions,
    /// rank[Φ, Z] − rank Z.
    rank: usize,
    /// N, k×p, scaled so that ‖η‖ ≤ ‖c − c*‖ for c = c* + Nη.
    pub(super) null: Mat,
    /// 1ᵀN; empty if nothing but rounding.
    pub(super) sums: Vec<f64>,
    /// r×k coordinates of the columns of Φ without their components along Z.
    pub(super) coordinates: Mat,
}

impl OptimalSet {
    /// `phi` n×k (columns with sign, see [`unit_features`](super::unit_features)), `z` n×q free
    /// parameters' columns (possibly none), `sizes` the k sizes of one optimal network.
    pub fn new(phi: &Mat, z: &Mat, sizes: &[f64], options: SetOptions) -> Result<Self> {
        check_shapes(phi, z, sizes)?;
        if !(0.0..0.1).contains(&options.rank_tolerance)
            || !(0.0..1.0).contains(&options.norm_slack)
        {
            return Err(Error::Option(
                "the tolerances of an optimal set are small numbers ≥ 0".into(),
            ));
        }
        let (k, spectrum) = (sizes.len(), spectrum(phi, z)?);
        let rank = spectrum.rank(options.rank_tolerance);
        let Spectrum { values, right, norms } = spectrum;
        let top = norms.iter().copied().fold(0.0, f64::max);
        let mut null = Mat::zeros(k, k - rank);
        for i in 0..k {
            let row: Vec<f64> = (rank..k).map(|j| right[(i, j)]).collect();
            // a row of rounding errors is a size that does not move
            if norm(&row) > 10.0 * options.rank_tolerance.max(1e-14) {
                let unit = if norms[i] > 0.0 { top / norms[i] } else { 1.0 };
                row.iter().enumerate().for_each(|(j, v)| null[(i, j)] = v * unit);
            }
        }
        let null = orthonormal(&null).unwrap_or(null);
        let sums: Vec<f64> = (0..k - rank).map(|j| column(&null, j).iter().sum()).collect();
        let spread: f64 = (0..k - rank).map(|j| dot(column(&null, j), column(&null, j))).sum();
        let flat = norm(&sums) <= 1e-13 * spread.sqrt();
        let coordinates = Mat::from_fn(rank, k, |i, j| values[i] * right[(j, i)] * norms[j]);
        Ok(Self {
            phi: phi.clone(),
            z: z.clone(),
            sizes: sizes.to_vec(),
            options,
            rank,
            null,
            sums: if flat { vec![] } else { sums },
            coordinates,
        })
    }

    /// Number of directions k.
    pub fn directions(&self) -> usize {
        self.sizes.len()
    }

    /// The sizes of the network that the set was built from.
    pub fn sizes(&self) -> &[f64] {
        &self.sizes
    }

    /// Number of free parameters q.
    pub fn free_parameters(&self) -> usize {
        self.z.ncols()
    }

    /// rank[Φ, Z] − rank Z: a minimal network has at most so many neurons.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// k − rank: dimension of the affine hull if every direction is in use.
    pub fn freedom(&self) -> usize {
        self.null.ncols()
    }

    /// True if the columns of [Φ, Z] are independent (within `rank_tolerance`): on these directions
    /// there is one optimal network, up to the order of its neurons. A sufficient condition; the
    /// set may be a single point without it, which [`OptimalSet::ranges`] tells.
    pub fn has_independent_features(&self) -> bool {
        self.freedom() == 0
    }

    pub(super) fn total(&self) -> f64 {
        self.sizes.iter().sum()
    }

    pub(super) fn cap(&self) -> f64 {
        self.total() * (1.0 + self.options.norm_slack)
    }

    pub(super) fn polytope(&self) -> Polytope<'_> {
        Polytope { sizes: &self.sizes, null: &self.null, sums: &self.sums, cap: self.cap() }
    }

    /// c* + Nη.
    pub(super) fn at(&self, eta: &[f64]) -> Vec<f64> {
        let mut c = self.sizes.clone();
        eta.iter().enumerate().for_each(|(j, t)| axpy(*t, column(&self.null, j), &mut c));
        c
    }

    /// Coordinates of f* without its component along Z, length r.
    pub(super) fn target(&self) -> Vec<f64> {
        self.image(&self.sizes)
    }

    pub(super) fn image(&self, c: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.rank];
        c.iter().enumerate().for_each(|(k, c)| axpy(*c, column(&self.coordinates, k), &mut out));
        out
    }

    /// A member next to c* + Nη, which may be outside by the error of a solver: sizes that are zero
    /// up to that error become zero, and the others, largest first, take up the change of the
    /// outputs. Falls back to the largest step from c* that stays in the set.
    pub(super) fn settle(&self, eta: &[f64]) -> Vec<f64> {
        let rough = self.at(eta);
        let target = self.target();
        let total = self.total();
        let shares = [1e-8, 1e-10, 1e-12];
        let cut = |share: f64| -> Vec<f64> {
            rough.iter().map(|v| if *v > share * total { *v } else { 0.0 }).collect()
        };
        // a correction that moves sizes far, along nearly dependent columns, is a last resort
        let loose = EXACT.max(10.0 * self.options.rank_tolerance);
        for (accuracy, reach) in [(EXACT, 1e-6 * total), (loose, 0.0), (EXACT, f64::INFINITY)] {
            for c in shares.map(cut) {
                if self.is_near(&c, &target, accuracy) {
                    return c;
                }
                if reach > 0.0
                    && let Some(corrected) = self.correct(c.clone(), &target)
                    && self.is_near(&corrected, &target, accuracy)
                    && c.iter().zip(&corrected).all(|(a, b)| (a - b).abs() <= reach)
                {
                    return corrected;
                }
            }
        }
        let mut step = 1.0f64;
        for (from, to) in self.sizes.iter().zip(&rough) {
            if *to < 0.0 {
                step = step.min(from / (from - to));
            }
        }
        self.sizes.iter().zip(&rough).map(|(a, b)| (a + step * (b - a)).max(0.0)).collect()
    }

    /// Moves the positive sizes by the least that their largest independent columns need.
    fn correct(&self, mut c: Vec<f64>, target: &[f64]) -> Option<Vec<f64>> {
        let mut support: Vec<usize> = (0..c.len()).filter(|&k| c[k] > 0.0).collect();
        support.sort_by(|&i, &j| c[j].total_cmp(&c[i]).then(i.cmp(&j)));
        let (mut factor, mut chosen) = (Columns::new(self.rank), vec![]);
        let (mut along, mut work) = (vec![], vec![0.0; self.rank]);
        for k in support {
            let length = norm(column(&self.coordinates, k));
            if length == 0.0 {
                continue;
            }
            work.iter_mut().zip(column(&self.coordinates, k)).for_each(|(w, v)| *w = v / length);
            let rho = factor.split(&mut work, &mut along);
            if rho > 1e-7 {
                factor.push(&work, &along, rho);
                chosen.push((k, length));
            }
        }
        let mut missing = self.image(&c);
        missing.iter_mut().zip(target).for_each(|(m, t)| *m = t - *m);
        factor.split(&mut missing, &mut along);
        factor.solve(&mut along);
        chosen.iter().zip(&along).for_each(|(&(k, length), a)| c[k] += a / length);
        c.iter().all(|v| *v >= 0.0 && v.is_finite()).then_some(c)
    }

    /// Whether c ≥ 0 has the outputs of c* (1e-11 relative) and the sum it may have.
    pub(super) fn contains(&self, c: &[f64], target: &[f64]) -> bool {
        self.is_near(c, target, EXACT)
    }

    fn is_near(&self, c: &[f64], target: &[f64], accuracy: f64) -> bool {
        let image = self.image(c);
        let off = image.iter().zip(target).fold(0.0f64, |t, (a, b)| t.hypot(a - b));
        let sum: f64 = c.iter().sum();
        off <= accuracy * norm(target) && sum <= self.cap() + 1e-12 * self.total()
    }
}

/// rank[Φ, Z] − rank Z, counting singular values above `tolerance` times the largest of the columns
/// of Φ, each divided by its norm, without their components along Z.
pub fn feature_rank(phi: &Mat, z: &Mat, tolerance: f64) -> Result<usize> {
    check_shapes(phi, z, &vec![0.0; phi.ncols()])?;
    Ok(spectrum(phi, z)?.rank(tolerance))
}

/// Singular values of the normalised columns, all right singular vectors, and the norms.
struct Spectrum {
    values: Vec<f64>,
    right: Mat,
    norms: Vec<f64>,
}

impl Spectrum {
    fn rank(&self, tolerance: f64) -> usize {
        // the columns have unit norm: what is left below rounding is no column at all
        let floor = (tolerance * self.values.first().copied().unwrap_or(0.0)).max(1e-14);
        self.values.iter().filter(|v| **v > floor).count()
    }
}

fn spectrum(phi: &Mat, z: &Mat) -> Result<Spectrum> {
    let (n, k) = (phi.nrows(), phi.ncols());
    let norms: Vec<f64> = (0..k).map(|j| norm(column(phi, j))).collect();
    let free = basis(z);
    let mut along = vec![];
    let mut unit = Mat::zeros(n, k);
    for j in (0..k).filter(|&j| norms[j] > 0.0) {
        let to = column_mut(&mut unit, j);
        to.iter_mut().zip(column(phi, j)).for_each(|(t, v)| *t = v / norms[j]);
        free.split(to, &mut along);
    }
    let (values, right) = right_singular(&unit)?;
    Ok(Spectrum { values, right, norms })
}

/// Orthonormal basis of the columns of Z.
pub(super) fn basis(z: &Mat) -> Columns {
    let mut basis = Columns::new(z.nrows());
    let mut along = vec![];
    for j in 0..z.ncols() {
        let length = norm(column(z, j));
        let mut work: Vec<f64> = column(z, j).iter().map(|v| v / length).collect();
        if length > 0.0 {
            let rho = basis.split(&mut work, &mut along);
            if rho > 1e-12 {
                basis.push(&work, &along, rho);
            }
        }
    }
    basis
}

/// The same span with orthonormal columns; `None` if the scales of the rows differ too much.
fn orthonormal(null: &Mat) -> Option<Mat> {
    let (mut factor, mut along) = (Columns::new(null.nrows()), vec![]);
    let mut out = null.clone();
    for j in 0..null.ncols() {
        let work = column_mut(&mut out, j);
        let length = norm(work);
        let rho = factor.split(work, &mut along);
        if rho <= 1e-10 * length || rho.is_nan() {
            return None;
        }
        factor.push(work, &along, rho);
        work.iter_mut().for_each(|v| *v /= rho);
    }
    Some(out)
}

/// Singular values (padded with zeros to k) and the k×k right singular vectors of an n×k matrix.
fn right_singular(a: &Mat) -> Result<(Vec<f64>, Mat)> {
    let (n, k) = (a.nrows(), a.ncols());
    let small = n.min(k);
    if small == 0 {
        return Ok((vec![0.0; k], Mat::identity(k, k)));
    }
    let mut values = Diag::<f64>::zeros(small);
    let (mut left, mut right) = (Mat::zeros(n, small), Mat::zeros(k, k));
    let (u, v) = (ComputeSvdVectors::Thin, ComputeSvdVectors::Full);
    let mut memory = MemBuffer::new(svd_scratch::<f64>(n, k, u, v, Par::Seq, Default::default()));
    let done = svd(
        a.as_ref(),
        values.as_mut(),
        Some(left.as_mut()),
        Some(right.as_mut()),
        Par::Seq,
        MemStack::new(&mut memory),
        Default::default(),
    );
    if done.is_err() {
        return Err(Error::Data("the singular values of the features cannot be computed".into()));
    }
    let mut list: Vec<f64> = (0..small).map(|i| values.column_vector()[i]).collect();
    list.resize(k, 0.0);
    Ok((list, right))
}
