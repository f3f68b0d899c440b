//! Cones: which columns are allowed, and what they are worth there.

mod bound;
mod constraint;
mod factor;
mod interior;
mod nnls;
mod project;
mod support;
#[cfg(test)]
mod tests;

pub use bound::bound_with;
pub use constraint::{Constraint, Multipliers, RelativeInterior};
pub use interior::{Interior, Reduced, interior, relative_interior};
pub(crate) use project::Projection;
pub use project::{make_feasible, project};
pub use support::{Gauge, Rows, Stop, Support, Workspace, support};

use crate::linalg::norm;

/// A closed convex cone in Rⁿ.
pub trait Cone: Send + Sync {
    /// s ← its Euclidean projection on the cone.
    fn project(&self, s: &mut [f64]);

    /// s ← its projection on the dual cone, by Moreau: Π_{K*}(s) = s + Π_K(−s).
    fn project_dual(&self, s: &mut [f64]) {
        let mut negative: Vec<f64> = s.iter().map(|v| -v).collect();
        self.project(&mut negative);
        s.iter_mut().zip(negative).for_each(|(s, n)| *s += n);
    }
}

/// {s : s ≥ 0}; its own dual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Orthant;

impl Cone for Orthant {
    fn project(&self, s: &mut [f64]) {
        s.iter_mut().for_each(|v| *v = v.max(0.0));
    }
}

impl Gauge {
    /// Radius R of a free bias.
    pub fn bias_radius(&self) -> Option<f64> {
        match self {
            Gauge::Norm => None,
            Gauge::FreeBias { radius } => Some(*radius),
        }
    }

    /// ρ(v): ‖v‖₂, or max(‖u‖₂, |b|/R) of v = (u, b).
    pub fn value(&self, v: &[f64]) -> f64 {
        let u = norm(&v[..self.penalised(v.len())]);
        self.bias_radius().map_or(u, |r| u.max(v[v.len() - 1].abs() / r))
    }

    /// ρ°(g): ‖g‖₂, or ‖g_u‖₂ + R|g_b|.
    pub fn polar(&self, g: &[f64]) -> f64 {
        let u = norm(&g[..self.penalised(g.len())]);
        self.bias_radius().map_or(u, |r| u + r * g[g.len() - 1].abs())
    }
}
