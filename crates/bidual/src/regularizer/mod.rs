//! Gauges of a column, summed over columns: Ω(z) = Σ_c ρ(z_c).

mod group_l2;

pub use group_l2::GroupL2;

use crate::cone::Gauge;
use crate::linalg::{Mat, column};

/// A sum of one gauge over the columns of z.
pub trait Regularizer: Send + Sync {
    /// ρ(v) of one column.
    fn column_value(&self, v: &[f64]) -> f64;

    /// v ← argmin_u ½‖u − v‖² + step·ρ(u).
    fn prox_column(&self, v: &mut [f64], step: f64);

    /// Polar ρ°(g) = max{gᵀv : ρ(v) ≤ 1}.
    fn column_polar(&self, g: &[f64]) -> f64;

    /// The unit ball of ρ in the form that conic methods need.
    fn gauge(&self) -> Gauge;

    /// Ω(z).
    fn value(&self, z: &Mat) -> f64 {
        (0..z.ncols()).map(|c| self.column_value(column(z, c))).sum()
    }

    /// Ω°(g) = max_c ρ°(g_c).
    fn polar(&self, g: &Mat) -> f64 {
        (0..g.ncols()).map(|c| self.column_polar(column(g, c))).fold(0.0, f64::max)
    }
}
