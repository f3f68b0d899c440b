//! Choosing one optimal network: least norm of the sizes, fewest neurons, best on validation data.

use super::columns::Columns;
use super::prune::{DEPENDENT, prune};
use super::set::{OptimalSet, basis};
use crate::linalg::{Mat, axpy, column, column_mut, dot, gemm, norm, times, transpose_times};
use crate::loss::Loss;
use crate::solver::require_smooth;
use crate::{Error, Result};

/// Subsets of at most so many directions are all tried.
const ENUMERATED: usize = 16;
/// Newton steps of the search on validation data.
const STEPS: usize = 100;

/// Sizes chosen by validation loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Sizes c, a member of the set.
    pub sizes: Vec<f64>,
    /// Values of the free parameters that keep the training outputs.
    pub free: Vec<f64>,
    /// Validation loss.
    pub loss: f64,
    /// No member has a smaller validation loss than `loss − gap` (Frank–Wolfe gap, up to the
    /// accuracy of the linear program).
    pub gap: f64,
}

/// The narrowest member that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct NarrowNetwork {
    /// Sizes c, a member of the set.
    pub sizes: Vec<f64>,
    /// Number of positive sizes.
    pub width: usize,
    /// True if no member on these directions is narrower; false if `sizes` is just a vertex.
    pub minimal: bool,
}

impl OptimalSet {
    /// The member with the least ‖c‖₂ (a quadratic program).
    pub fn least_norm(&self) -> Result<Vec<f64>> {
        let p = self.freedom();
        if p == 0 {
            return Ok(self.sizes.clone());
        }
        let mut quadratic = Mat::zeros(p, p);
        gemm(quadratic.as_mut(), self.null.transpose(), self.null.as_ref(), false);
        let mut linear = vec![0.0; p];
        transpose_times(&self.null, &self.sizes, &mut linear);
        let found = self.polytope().minimise(Some(&quadratic), &linear).ok_or_else(failed)?;
        let c = self.settle(&found.eta);
        Ok(if norm(&c) <= norm(&self.sizes) { c } else { self.sizes.clone() })
    }

    /// The member with the fewest neurons. A narrowest member has independent features, so subsets
    /// of growing size are tried, up to 16 directions beyond those that no member can do without
    /// (by [`OptimalSet::ranges`], where sizes up to 1e-9·Σc count as zero); with more, the vertex
    /// that pruning reaches. Among the narrowest the one with the least ‖c‖₂.
    pub fn least_width(&self) -> Result<NarrowNetwork> {
        let vertex = prune(&self.phi, &self.z, &self.sizes, DEPENDENT)?;
        let width = |c: &[f64]| c.iter().filter(|v| **v > 0.0).count();
        let k = self.directions();
        let negligible = 1e-9 * self.total();
        let (mut needed, mut optional): (Vec<usize>, Vec<usize>) = (vec![], (0..k).collect());
        if k > ENUMERATED {
            let ranges = self.ranges()?;
            needed = (0..k).filter(|&j| ranges[j].min > negligible).collect();
            optional = (0..k)
                .filter(|&j| ranges[j].min <= negligible && ranges[j].max > negligible)
                .collect();
        }
        let target = self.target();
        if optional.len() > ENUMERATED {
            return Ok(NarrowNetwork { width: width(&vertex), sizes: vertex, minimal: false });
        }
        let mut search = Search::new(self, &target, needed, optional);
        if !search.consistent {
            return Ok(NarrowNetwork { width: width(&vertex), sizes: vertex, minimal: false });
        }
        for width in search.needed.len()..=width(&vertex).min(self.rank()) {
            if let Some(sizes) = search.of_width(width) {
                return Ok(NarrowNetwork { width, sizes, minimal: true });
            }
        }
        Ok(NarrowNetwork { width: width(&vertex), sizes: vertex, minimal: true })
    }

    /// The member with the least validation loss L(Φ_v c + Z_v c₀), c₀ such that the training
    /// outputs stay. `phi` and `z` are the columns on the validation samples, `free` the present
    /// values of the free parameters. Newton steps whose quadratic model is minimised over the
    /// set, with a line search: one step for squared loss.
    pub fn best_on(&self, phi: &Mat, z: &Mat, free: &[f64], loss: &dyn Loss) -> Result<Chosen> {
        let (rows, k, q, p) = (phi.nrows(), self.directions(), self.z.ncols(), self.freedom());
        if phi.ncols() != k || z.ncols() != q || free.len() != q || z.nrows() != rows {
            return Err(Error::Data(format!(
                "validation features are {rows}×{} and {}×{} with {} free parameters, expected {k} and {q} columns",
                phi.ncols(),
                z.nrows(),
                z.ncols(),
                free.len()
            )));
        }
        if loss.samples() != rows || loss.as_intercept().is_some() {
            return Err(Error::Option(
                "validation needs the plain loss of the validation samples, without profiled intercept"
                    .into(),
            ));
        }
        require_smooth(loss, "choice by validation loss")?;
        let exchange = self.exchange()?;
        // f_v(η) = base + Gη
        let effect = |c: &[f64]| -> Vec<f64> {
            let (mut out, free) = (vec![0.0; rows], self.free_at(&exchange, free, c));
            c.iter().enumerate().for_each(|(j, c)| axpy(*c, column(phi, j), &mut out));
            free.iter().enumerate().for_each(|(j, v)| axpy(*v, column(z, j), &mut out));
            out
        };
        let mut tangent = phi.clone();
        for j in 0..k {
            for l in 0..q {
                axpy(-exchange[(l, j)], column(z, l), column_mut(&mut tangent, j));
            }
        }
        let mut map = Mat::zeros(rows, p);
        gemm(map.as_mut(), tangent.as_ref(), self.null.as_ref(), false);
        let (base, mut eta) = (effect(&self.sizes), vec![0.0; p]);
        let mut f = base.clone();
        let mut value = loss.value(&f);
        for _ in 0..if p > 0 { STEPS } else { 0 } {
            let (slope, curvature) = model(&map, &f, loss);
            // the model is written around η = 0: q = g − Hη
            let mut q = slope.clone();
            (0..p).for_each(|j| q[j] -= dot(column(&curvature, j), &eta));
            let Some(found) = self.polytope().minimise(Some(&curvature), &q) else { break };
            let step: Vec<f64> = found.eta.iter().zip(&eta).map(|(a, b)| a - b).collect();
            let decrease = -dot(&slope, &step);
            if decrease <= 1e-13 * value.abs() {
                break;
            }
            let mut t = 1.0;
            let moved = loop {
                let trial: Vec<f64> = eta.iter().zip(&step).map(|(e, s)| e + t * s).collect();
                let mut out = vec![0.0; rows];
                times(&map, &trial, &mut out);
                out.iter_mut().zip(&base).for_each(|(o, b)| *o += b);
                let next = loss.value(&out);
                if next <= value - 1e-4 * t * decrease {
                    break Some((trial, out, next));
                }
                t *= 0.5;
                if t < 1e-9 {
                    break None;
                }
            };
            let Some((trial, out, next)) = moved else { break };
            (eta, f, value) = (trial, out, next);
        }
        let sizes = self.settle(&eta);
        let f = effect(&sizes);
        Ok(Chosen {
            gap: self.linear_gap(&map, &f, loss, &sizes),
            loss: loss.value(&f),
            free: self.free_at(&exchange, free, &sizes),
            sizes,
        })
    }

    /// max of −∇ᵀ(c' − c) over the members c'.
    fn linear_gap(&self, map: &Mat, f: &[f64], loss: &dyn Loss, c: &[f64]) -> f64 {
        if self.freedom() == 0 {
            return 0.0;
        }
        let (slope, _) = model(map, f, loss);
        let Some(found) = self.polytope().minimise(None, &slope) else { return f64::INFINITY };
        // the gradient in c along the null space: NᵀΔ, with Δ = c − c* in the coordinates η
        let here = self.coefficients(c);
        (dot(&slope, &here) - dot(&slope, &found.eta)).max(0.0)
    }

    /// η of a member: c − c* = Nη, by least squares (N has independent columns).
    fn coefficients(&self, c: &[f64]) -> Vec<f64> {
        let mut factor = Columns::new(c.len());
        let (mut along, mut lengths) = (vec![], vec![]);
        for j in 0..self.freedom() {
            let length = norm(column(&self.null, j));
            let mut work: Vec<f64> = column(&self.null, j).iter().map(|v| v / length).collect();
            let rho = factor.split(&mut work, &mut along);
            factor.push(&work, &along, rho);
            lengths.push(length);
        }
        let mut difference: Vec<f64> = c.iter().zip(&self.sizes).map(|(a, b)| a - b).collect();
        factor.split(&mut difference, &mut along);
        factor.solve(&mut along);
        along.iter().zip(lengths).map(|(a, l)| a / l).collect()
    }

    /// Z⁺Φ, q×k.
    fn exchange(&self) -> Result<Mat> {
        let (q, k) = (self.z.ncols(), self.directions());
        let factor = basis(&self.z);
        if factor.len() < q {
            return Err(Error::Option(
                "the columns of the free parameters depend on each other: drop some".into(),
            ));
        }
        let mut along = vec![];
        let mut out = Mat::zeros(q, k);
        for j in 0..k {
            let mut work = column(&self.phi, j).to_vec();
            factor.split(&mut work, &mut along);
            factor.solve(&mut along);
            for l in 0..q {
                out[(l, j)] = along[l] / norm(column(&self.z, l));
            }
        }
        Ok(out)
    }

    fn free_at(&self, exchange: &Mat, free: &[f64], c: &[f64]) -> Vec<f64> {
        let mut out = free.to_vec();
        for (j, (new, old)) in c.iter().zip(&self.sizes).enumerate() {
            axpy(old - new, column(exchange, j), &mut out);
        }
        out
    }
}

/// Gradient and Hessian in η of the loss at the outputs f, the Hessian with a trace of ridge.
fn model(map: &Mat, f: &[f64], loss: &dyn Loss) -> (Vec<f64>, Mat) {
    let (rows, p) = (map.nrows(), map.ncols());
    let (mut nu, mut h) = (vec![0.0; rows], vec![0.0; rows]);
    loss.residual_into(f, &mut nu);
    loss.hessian_diagonal_into(f, &mut h);
    let mut slope = vec![0.0; p];
    transpose_times(map, &nu, &mut slope);
    slope.iter_mut().for_each(|v| *v = -*v);
    let weighted = Mat::from_fn(rows, p, |i, j| h[i] * map[(i, j)]);
    let mut curvature = Mat::zeros(p, p);
    gemm(curvature.as_mut(), map.transpose(), weighted.as_ref(), false);
    let ridge = 1e-14 * (0..p).map(|j| curvature[(j, j)]).fold(0.0, f64::max);
    (0..p).for_each(|j| curvature[(j, j)] += ridge);
    (slope, curvature)
}

/// Depth-first search over subsets, one QR factorisation along the branch.
struct Search<'a> {
    set: &'a OptimalSet,
    target: &'a [f64],
    needed: Vec<usize>,
    /// The needed columns are independent, as they must be.
    consistent: bool,
    optional: Vec<usize>,
    lengths: Vec<f64>,
    factor: Columns,
    chosen: Vec<usize>,
    along: Vec<f64>,
    work: Vec<f64>,
    best: Option<(f64, Vec<f64>)>,
}

impl<'a> Search<'a> {
    fn new(
        set: &'a OptimalSet,
        target: &'a [f64],
        needed: Vec<usize>,
        optional: Vec<usize>,
    ) -> Self {
        let lengths = (0..set.directions()).map(|k| norm(column(&set.coordinates, k))).collect();
        let mut search = Self {
            set,
            target,
            needed: vec![],
            consistent: true,
            optional,
            lengths,
            factor: Columns::new(set.rank()),
            chosen: vec![],
            along: vec![],
            work: vec![0.0; set.rank()],
            best: None,
        };
        search.consistent = needed.iter().all(|&k| search.enter(k));
        search.needed = needed;
        search
    }

    fn of_width(&mut self, width: usize) -> Option<Vec<f64>> {
        self.best = None;
        self.extend(0, width - self.needed.len());
        self.best.take().map(|(_, c)| c)
    }

    fn extend(&mut self, from: usize, missing: usize) {
        if missing == 0 {
            return self.judge();
        }
        for at in from..(self.optional.len() + 1).saturating_sub(missing) {
            if self.enter(self.optional[at]) {
                self.extend(at + 1, missing - 1);
                self.chosen.pop();
                self.factor.remove(self.chosen.len());
            }
        }
    }

    /// False for a column that depends on the chosen ones: a narrower subset does as well.
    fn enter(&mut self, k: usize) -> bool {
        let length = self.lengths[k];
        if length == 0.0 {
            return false;
        }
        let from = column(&self.set.coordinates, k);
        self.work.iter_mut().zip(from).for_each(|(w, v)| *w = v / length);
        let rho = self.factor.split(&mut self.work, &mut self.along);
        if rho <= 1e-9 {
            return false;
        }
        self.factor.push(&self.work, &self.along, rho);
        self.chosen.push(k);
        true
    }

    /// Keeps the chosen subset if it is a member with less norm than the best.
    fn judge(&mut self) {
        self.work.copy_from_slice(self.target);
        // with as many columns as coordinates nothing is left over
        let rho = self.factor.split(&mut self.work, &mut self.along);
        if rho > 1e-10 * norm(self.target) {
            return;
        }
        self.factor.solve(&mut self.along);
        let mut c = vec![0.0; self.lengths.len()];
        let floor = -1e-12 * self.set.total();
        for (&k, along) in self.chosen.iter().zip(&self.along) {
            c[k] = along / self.lengths[k];
            if c[k] < floor || c[k].is_nan() {
                return;
            }
            c[k] = c[k].max(0.0);
        }
        let size = norm(&c);
        if self.set.contains(&c, self.target) && self.best.as_ref().is_none_or(|b| size < b.0) {
            self.best = Some((size, c));
        }
    }
}

fn failed() -> Error {
    Error::Data("the quadratic program over the optimal set could not be solved: its columns may be too badly scaled".into())
}
