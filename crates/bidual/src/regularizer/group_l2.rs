//! Group lasso: the Euclidean norm of each column.

use super::Regularizer;
use crate::cone::Gauge;
use crate::linalg::norm;

/// ρ(v) = ‖v‖₂, or, with a free hidden bias as last entry v = (u, b),
/// ρ(v) = max(‖u‖₂, |b|/R).
///
/// A free bias would give the seminorm ‖u‖₂ and a dual with equality
/// constraints that rounding breaks. With R ≥ max_i ‖x_i‖ all breakpoints
/// −x_iᵀu of a neuron lie in |b| ≤ R‖u‖, a larger b only adds a constant, which
/// the output bias absorbs, so the bound changes no optimal value and the polar
/// ‖g_u‖ + R|g_b| is finite everywhere (derived here).
#[derive(Debug, Clone)]
pub struct GroupL2 {
    gauge: Gauge,
}

impl GroupL2 {
    /// ‖v‖₂ of whole columns.
    pub fn new() -> Self {
        Self { gauge: Gauge::Norm }
    }

    /// max(‖u‖₂, |b|/radius) of columns (u, b).
    pub fn with_free_bias(radius: f64) -> Self {
        Self { gauge: Gauge::FreeBias { radius } }
    }
}

impl Default for GroupL2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Regularizer for GroupL2 {
    fn column_value(&self, v: &[f64]) -> f64 {
        self.gauge.value(v)
    }

    fn prox_column(&self, v: &mut [f64], step: f64) {
        let k = self.gauge.penalised(v.len());
        let u = norm(&v[..k]);
        let Some(r) = self.gauge.bias_radius() else {
            let shrink = if u > step { 1.0 - step / u } else { 0.0 };
            v.iter_mut().for_each(|v| *v *= shrink);
            return;
        };
        // Moreau: v minus its projection on the polar ball {‖g_u‖ + R|g_b| ≤ step};
        // in (p, q) = (‖u‖, |b|) that is the projection on p + Rq ≤ step, p, q ≥ 0
        let (p, q) = (u, v[k].abs());
        if p + r * q <= step {
            v.fill(0.0);
            return;
        }
        let excess = (p + r * q - step) / (1.0 + r * r);
        let (mut gp, mut gq) = (p - excess, q - r * excess);
        if gp < 0.0 {
            (gp, gq) = (0.0, step / r);
        } else if gq < 0.0 {
            (gp, gq) = (step, 0.0);
        }
        let scale = if u > 0.0 { 1.0 - gp / u } else { 0.0 };
        v[..k].iter_mut().for_each(|v| *v *= scale);
        v[k] -= gq.copysign(v[k]);
    }

    fn column_polar(&self, g: &[f64]) -> f64 {
        self.gauge.polar(g)
    }

    fn gauge(&self) -> Gauge {
        self.gauge
    }
}
