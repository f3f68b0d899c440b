//! The one mathematical object: minimise F(A z) + λ Ω(z) subject to G_c z_c ≥ 0.
//!
//! **Sign.** The dual vector is ν = −∇F (the residual; squared loss: ν = ω(y − f)),
//! D(ν) = −F*(−ν), and weak duality reads F(Az) + λΩ(z) ≥ D(ν) whenever
//! κ(ν) = max_c max{(Aᵀν)_cᵀu : G_c u ≥ 0, ρ(u) ≤ 1} ≤ λ. By conic duality the
//! inner maximum is min_{μ ≥ 0} ρ°((Aᵀν)_c + G_cᵀμ), so every μ ≥ 0 gives a
//! rigorous bound; that is all a certificate needs.

use crate::cone::{Constraint, Multipliers};
use crate::linalg::{Mat, as_column, column};
use crate::loss::{Loss, best_dual_value};
use crate::operator::LinearOperator;
use crate::regularizer::Regularizer;
use faer::MatMut;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Columns priced between two questions whether to go on.
const PRICING_CHUNK: usize = 64;

/// Loss ∘ structured operator + λ·regularizer, with an optional cone per column.
#[derive(Clone)]
pub struct Program {
    /// F, a function of the n outputs.
    pub loss: Arc<dyn Loss>,
    /// A, from d×P to n.
    pub operator: Arc<dyn LinearOperator>,
    /// Ω, a sum of gauges over the columns.
    pub regularizer: Arc<dyn Regularizer>,
    /// G_c z_c ≥ 0 for every column c.
    pub constraint: Option<Constraint>,
    /// λ ≥ 0.
    pub lambda: f64,
}

/// What the columns are worth at a dual vector ν.
#[derive(Debug, Clone)]
pub struct Prices {
    /// Rigorous upper bound on the price of each column.
    pub upper: Vec<f64>,
    /// Value attained in the cone of each column (0 where the upper bound was enough).
    pub lower: Vec<f64>,
}

impl Prices {
    /// κ: the largest upper bound.
    pub fn kappa(&self) -> f64 {
        // a price that is not a number proves nothing
        self.upper.iter().fold(0.0, |k, &v| if v.is_nan() { f64::INFINITY } else { v.max(k) })
    }

    /// Columns whose attained price exceeds `level`, dearest first.
    pub fn above(&self, level: f64) -> Vec<usize> {
        let mut columns: Vec<usize> =
            (0..self.lower.len()).filter(|&c| self.lower[c] > level).collect();
        columns.sort_by(|&a, &b| self.lower[b].total_cmp(&self.lower[a]).then(a.cmp(&b)));
        columns
    }
}

impl Program {
    /// Number of samples n.
    pub fn samples(&self) -> usize {
        self.operator.range().0
    }

    /// (d, P): length of a column, number of columns.
    pub fn shape(&self) -> (usize, usize) {
        self.operator.domain()
    }

    /// f = A z.
    pub fn outputs(&self, z: &Mat) -> Vec<f64> {
        let n = self.samples();
        let mut f = vec![0.0; n];
        self.operator.apply_into(z.as_ref(), MatMut::from_column_major_slice_mut(&mut f, n, 1));
        f
    }

    /// F(A z) + λ Ω(z).
    pub fn objective(&self, z: &Mat) -> f64 {
        self.objective_at(z, &self.outputs(z))
    }

    /// The objective at z where its outputs f = A z are known.
    pub(crate) fn objective_at(&self, z: &Mat, f: &[f64]) -> f64 {
        self.loss.value(f) + self.lambda * self.regularizer.value(z)
    }

    /// ν = −∇F(f), clipped into the domain of the conjugate.
    pub fn residual(&self, f: &[f64]) -> Vec<f64> {
        let mut nu = vec![0.0; f.len()];
        self.loss.residual_into(f, &mut nu);
        self.loss.clip_dual(&mut nu);
        nu
    }

    /// Aᵀν, d×P.
    pub fn adjoint(&self, nu: &[f64]) -> Mat {
        let (d, p) = self.shape();
        let mut c = Mat::zeros(d, p);
        self.operator.adjoint_into(as_column(nu), c.as_mut());
        c
    }

    /// The same program on the listed columns.
    pub fn restrict(&self, columns: &[usize]) -> Self {
        Self {
            operator: self.operator.restrict(columns),
            constraint: self.constraint.as_ref().map(|c| c.restrict(columns)),
            ..self.clone()
        }
    }

    /// Rounding error of one column of Aᵀν, measured by the polar.
    fn price_margin(&self, nu: &[f64]) -> f64 {
        let radius = self.regularizer.gauge().bias_radius().unwrap_or(0.0);
        self.operator.adjoint_rounding(nu) * (1.0 + radius)
    }

    /// Prices of all columns at ν. Columns that are proved to cost at most
    /// `target` keep that bound; the others are priced exactly. `multipliers`
    /// holds the last multipliers of each column: tried first, updated after.
    pub fn price(&self, nu: &[f64], target: f64, multipliers: &mut [Multipliers]) -> Prices {
        let always = &mut || ControlFlow::<std::convert::Infallible>::Continue(());
        match self.price_while(nu, target, usize::MAX, multipliers, always) {
            ControlFlow::Continue(prices) => prices,
            ControlFlow::Break(never) => match never {},
        }
    }

    /// [`Program::price`], asking `go_on` every few dozen columns. Once `enough` columns are known to
    /// be dearer than `target`, others are priced only as far as to prove that they are not among
    /// the dearest: κ and these columns are the same.
    pub fn price_while<B>(
        &self,
        nu: &[f64],
        target: f64,
        enough: usize,
        multipliers: &mut [Multipliers],
        go_on: &mut dyn FnMut() -> ControlFlow<B>,
    ) -> ControlFlow<B, Prices> {
        let c = self.adjoint(nu);
        let margin = self.price_margin(nu);
        let gauge = self.regularizer.gauge();
        let (mut upper, mut lower) = (vec![0.0; c.ncols()], vec![0.0; c.ncols()]);
        for (j, (upper, lower)) in upper.iter_mut().zip(&mut lower).enumerate() {
            let plain = self.regularizer.column_polar(column(&c, j));
            *upper = plain + margin;
            *lower = if self.constraint.is_none() { plain } else { 0.0 };
        }
        if let Some(constraint) = &self.constraint {
            // the adjoint norm bounds the price in any cone: only the rest needs a projection
            let cheap = |j: &usize| upper[*j] <= target;
            let mut open: Vec<usize> = (0..upper.len()).filter(|j| !cheap(j)).collect();
            open.sort_by(|&a, &b| upper[b].total_cmp(&upper[a]).then(a.cmp(&b)));
            let mut dearest: Vec<f64> = vec![];
            for chunk in open.chunks(PRICING_CHUNK) {
                go_on()?;
                let bar = dearest.get(enough.wrapping_sub(1)).copied().unwrap_or(target);
                let goal = bar.max(target) - margin;
                let priced: Vec<_> = chunk
                    .par_iter()
                    .map_init(Default::default, |workspace, &j| {
                        let mut last = multipliers[j].clone();
                        let bounds =
                            constraint.price(j, column(&c, j), &gauge, goal, &mut last, workspace);
                        (bounds, last)
                    })
                    .collect();
                for (&j, (bounds, last)) in chunk.iter().zip(priced) {
                    (upper[j], lower[j]) = (bounds.0 + margin, bounds.1);
                    multipliers[j] = last;
                    dearest.push(bounds.1);
                }
                dearest.sort_by(|a, b| b.total_cmp(a));
                dearest.truncate(enough);
            }
        }
        ControlFlow::Continue(Prices { upper, lower })
    }

    /// A lower bound from ν by adjoint norms alone (cones ignored): weak, but one adjoint.
    pub fn quick_bound(&self, nu: &[f64]) -> f64 {
        let kappa = self.regularizer.polar(&self.adjoint(nu)) + self.price_margin(nu);
        self.lower_bound(nu, kappa)
    }

    /// Fresh (empty) multipliers for [`Program::price`].
    pub fn multipliers(&self) -> Vec<Multipliers> {
        vec![Multipliers::default(); self.shape().1]
    }

    /// Best lower bound from ν when κ(ν) ≤ `kappa`: max D(tν) over 0 ≤ t ≤ λ/κ.
    pub fn lower_bound(&self, nu: &[f64], kappa: f64) -> f64 {
        let t_max = if kappa == 0.0 {
            f64::MAX
        } else if kappa > 0.0 {
            self.lambda / kappa * (1.0 - 1e-12)
        } else {
            0.0 // not a number
        };
        best_dual_value(self.loss.as_ref(), nu, t_max).0
    }

    /// Smallest λ at which z = 0 is optimal: κ at the residual of the zero
    /// output, cones included (exact up to the pricing tolerance).
    pub fn lambda_max(&self) -> f64 {
        let nu = self.residual(&vec![0.0; self.samples()]);
        let c = self.adjoint(&nu);
        let plain: Vec<f64> =
            (0..c.ncols()).map(|j| self.regularizer.column_polar(column(&c, j))).collect();
        let Some(constraint) = &self.constraint else {
            return plain.into_iter().fold(0.0, f64::max);
        };
        let mut order: Vec<usize> = (0..plain.len()).collect();
        order.sort_by(|&a, &b| plain[b].total_cmp(&plain[a]).then(a.cmp(&b)));
        let gauge = self.regularizer.gauge();
        let mut best = 0.0f64;
        // growing chunks: the first few prices prune most of the others; of fixed
        // sizes, so that the pruning does not depend on the number of threads
        let mut rest = &order[..];
        let mut size = 2;
        while let Some(&dearest) = rest.first() {
            if plain[dearest] <= best {
                break;
            }
            let (chunk, later) = rest.split_at(size.min(rest.len()));
            (rest, size) = (later, (2 * size).min(64));
            let values: Vec<f64> = chunk
                .par_iter()
                .filter(|&&j| plain[j] > best)
                .map_init(Default::default, |workspace, &j| {
                    let mut last = Multipliers::default();
                    constraint.price(j, column(&c, j), &gauge, best, &mut last, workspace).0
                })
                .collect();
            best = values.into_iter().fold(best, f64::max);
        }
        best
    }
}
