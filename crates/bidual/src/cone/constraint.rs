//! G_c z_c ≥ 0 for every column c of z, rows s_k x_kᵀ of a data matrix.

use super::bound::bound_with;
use super::nnls::{Lengths, sign};
use super::project::{Projection, in_order, make_feasible};
use super::support::{Gauge, Rows, Workspace, support, weighted};
use super::{Orthant, relative_interior};
use crate::linalg::{Mat, norm};
use crate::operator::{HalfSpaces, LinearOperator};
use std::sync::Arc;

/// The last multipliers of one column: reusable bounds and warm starts.
#[derive(Debug, Clone, Default)]
pub struct Multipliers {
    rows: Vec<u32>,
    values: Vec<f64>,
}

/// A cone within its own span.
#[derive(Debug, Clone)]
pub struct RelativeInterior {
    /// A unit direction in the relative interior.
    pub witness: Vec<f64>,
    /// Orthonormal basis (d×r) of the span; `None` if the cone is full-dimensional.
    pub basis: Option<Mat>,
    /// The rows that vanish on the cone.
    pub equalities: Vec<u32>,
}

/// One polyhedral cone {v : s_k x_kᵀv ≥ 0 for all k} per column.
#[derive(Clone)]
pub struct Constraint {
    operator: Arc<HalfSpaces>,
    /// X by rows and by columns, without padding: the active-set method gathers single rows.
    by_rows: Arc<Vec<f64>>,
    by_columns: Arc<Vec<f64>>,
    lengths: Arc<Lengths>,
}

impl Constraint {
    /// The rows of `operator` must be non-negative.
    pub fn new(operator: HalfSpaces) -> Self {
        let x = operator.data();
        let (n, d) = x.shape();
        let by_rows: Vec<f64> = (0..n).flat_map(|i| (0..d).map(move |j| x[(i, j)])).collect();
        let by_columns: Vec<f64> = (0..d).flat_map(|j| x.col_as_slice(j).to_vec()).collect();
        let rows = Rows { n, d, columns: &by_columns, rows: &by_rows, lengths: None };
        let mut lengths = Lengths::default();
        lengths.measure(&weighted(&rows, &[], 1.0), &mut vec![0.0; d]);
        Self {
            by_rows: Arc::new(by_rows),
            by_columns: Arc::new(by_columns),
            lengths: Arc::new(lengths),
            operator: Arc::new(operator),
        }
    }

    /// z ↦ (G_c z_c)_c.
    pub fn operator(&self) -> &dyn LinearOperator {
        self.operator.as_ref()
    }

    /// The cone that every G_c z_c must lie in.
    pub fn cone(&self) -> Orthant {
        Orthant
    }

    /// The same constraint for the listed columns.
    pub fn restrict(&self, columns: &[usize]) -> Self {
        Self { operator: Arc::new(self.operator.select(columns)), ..self.clone() }
    }

    /// Largest violation of a row by a column, relative to ‖z_c‖·max‖x_k‖; products summed in the
    /// order of the coordinates.
    pub fn violation(&self, z: &Mat) -> f64 {
        let rows = self.rows_of();
        let longest = (0..rows.n).map(|k| norm(rows.row(k))).fold(0.0, f64::max);
        let mut worst = 0.0f64;
        for c in 0..z.ncols() {
            let (v, bits) = (z.col_as_slice(c), self.operator.bits(c));
            let inside = |k: usize| sign(bits, k) * in_order(rows.row(k), v);
            let far = (0..rows.n).map(inside).fold(0.0, f64::min);
            if far < 0.0 {
                worst = worst.max(-far / (longest * norm(v)));
            }
        }
        worst
    }

    fn rows_of(&self) -> Rows<'_> {
        let x = self.operator.data();
        Rows {
            n: x.nrows(),
            d: x.ncols(),
            columns: &self.by_columns,
            rows: &self.by_rows,
            lengths: Some(&self.lengths),
        }
    }

    /// (upper, lower) bounds on max{cᵀu : u in the cone of `column`, ρ(u) ≤ 1}.
    /// Stops as soon as the upper bound is at most `target`; `last` is tried first and updated.
    pub fn price(
        &self,
        column: usize,
        c: &[f64],
        gauge: &Gauge,
        target: f64,
        last: &mut Multipliers,
        workspace: &mut Workspace,
    ) -> (f64, f64) {
        let (rows, bits) = (self.rows_of(), self.operator.bits(column));
        if !last.rows.is_empty() {
            let bound = bound_with(&rows, bits, c, gauge, &last.rows, &last.values);
            if bound <= target {
                return (bound, 0.0);
            }
        }
        let result = support(&rows, bits, c, gauge, target, &last.rows, workspace);
        last.rows.clear();
        last.rows.extend_from_slice(workspace.active());
        last.values.clear();
        last.values.extend_from_slice(workspace.multipliers());
        (result.upper, result.lower)
    }

    /// Projects `v` on the cone of `column`, starting from the tight rows of the last projection.
    pub(crate) fn project(&self, column: usize, v: &[f64], projection: &mut Projection) {
        projection.project(&self.rows_of(), self.operator.bits(column), v);
    }

    /// Moves `v`, which is in the cone of `column` up to rounding, until it is there in f64.
    pub(crate) fn make_feasible(
        &self,
        column: usize,
        v: &mut [f64],
        inside: &RelativeInterior,
    ) -> bool {
        let (rows, bits) = (self.rows_of(), self.operator.bits(column));
        make_feasible(&rows, bits, &inside.equalities, v, &inside.witness).is_some()
    }

    /// A relatively interior direction; `None` if the cone is {0}.
    pub fn interior(&self, column: usize) -> Option<RelativeInterior> {
        let (rows, bits) = (self.rows_of(), self.operator.bits(column));
        let reduced = relative_interior(&rows, bits, &mut Workspace::default());
        if reduced.r == 0 {
            return None;
        }
        let d = rows.d;
        let basis =
            (reduced.r < d).then(|| Mat::from_fn(d, reduced.r, |i, j| reduced.basis[j * d + i]));
        Some(RelativeInterior { witness: reduced.witness, basis, equalities: reduced.equalities })
    }

    /// Dense rows G_c, n×d.
    pub fn rows(&self, column: usize) -> Mat {
        self.operator.block(column)
    }
}
