//! Exact pricing where the cells are listed: one projection for each cell and sign.

use super::Oracle;
use crate::arrangement::{Arrangement, CELL_WIDTH};
use crate::cone::{Workspace, support};
use crate::linalg::norm;
use crate::{Error, Result};
use rayon::prelude::*;

/// κ(ν) over the listed cells.
#[derive(Debug, Clone)]
pub struct CellPrices {
    /// Proved: no neuron of these cells (of any, if all open cells are listed) is dearer.
    pub upper: f64,
    /// The largest price attained, up to the rounding of its direction.
    pub lower: f64,
    /// Direction u of gauge 1 with that price; zero if no neuron has a positive price.
    pub direction: Vec<f64>,
    /// True if −Σ_k ν_k (x_kᵀu)_+ is positive.
    pub negative: bool,
    /// max over the cells of ρ°(XᵀDν): the bound that ignores the cones.
    pub gated: f64,
}

impl Oracle {
    /// Prices every listed cell for both signs of the output weight. `arrangement` is one of the
    /// rows of this oracle.
    pub fn price_cells(&self, nu: &[f64], arrangement: &Arrangement) -> Result<CellPrices> {
        let rows = self.rows();
        if nu.len() != rows.n || arrangement.patterns.samples() != rows.n {
            return Err(Error::Data(format!(
                "{} rows, {} entries of ν and patterns of {} samples: the three must agree",
                rows.n,
                nu.len(),
                arrangement.patterns.samples()
            )));
        }
        let gauge = self.gauge();
        let one = |p: usize, workspace: &mut Workspace| {
            let mut c = vec![0.0; rows.d];
            for i in (0..rows.n).filter(|&i| arrangement.patterns.get(p, i)) {
                let row = &rows.rows[i * rows.d..(i + 1) * rows.d];
                c.iter_mut().zip(row).for_each(|(c, x)| *c += nu[i] * x);
            }
            let gated = gauge.polar(&c);
            let mut best: Option<(f64, f64, Vec<f64>, bool)> = None;
            for negative in [false, true] {
                if negative {
                    c.iter_mut().for_each(|v| *v = -*v);
                }
                let bits = arrangement.patterns.bits(p);
                let found = support(&rows, bits, &c, &gauge, 0.0, &[], workspace);
                let upper = best.as_ref().map_or(found.upper, |b| b.0.max(found.upper));
                let direction = workspace.direction().to_vec();
                best = Some(match best {
                    Some(b) if b.1 >= found.lower => (upper, b.1, b.2, b.3),
                    _ => (upper, found.lower, direction, negative),
                });
            }
            best.map(|b| (b.0, b.1, b.2, b.3, gated))
        };
        let all: Vec<_> = (0..arrangement.len())
            .into_par_iter()
            .map_init(Workspace::default, |workspace, p| one(p, workspace))
            .collect();
        let mut result = CellPrices {
            upper: 0.0,
            lower: 0.0,
            direction: vec![0.0; rows.d],
            negative: false,
            gated: 0.0,
        };
        for (upper, lower, direction, negative, gated) in all.into_iter().flatten() {
            let upper = if upper.is_nan() { f64::INFINITY } else { upper };
            result.upper = result.upper.max(upper);
            result.gated = result.gated.max(gated);
            if lower > result.lower {
                (result.lower, result.direction, result.negative) = (lower, direction, negative);
            }
        }
        // rounding of XᵀDν, and cells too thin to be listed
        let share = (rows.n as f64 + 4.0) * f64::EPSILON
            + if arrangement.complete { CELL_WIDTH } else { 0.0 };
        let lengths = (0..rows.n).map(|i| norm(&rows.rows[i * rows.d..(i + 1) * rows.d]));
        let magnitude: f64 = lengths.zip(nu).map(|(x, v)| x * v.abs()).sum();
        result.upper += share * magnitude * (1.0 + gauge.bias_radius().unwrap_or(0.0));
        Ok(result)
    }
}
