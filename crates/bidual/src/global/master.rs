//! The exact program on a few cells: what Newton's method falls back on.

use super::Global;
use super::neurons::Neurons;
use super::train::State;
use crate::Result;
use crate::arrangement::{Arrangement, Patterns};
use crate::formulation::{Formulation, Relu};
use crate::linalg::{Mat, column};
use crate::pricing::Candidate;
use crate::solver::{ColumnGeneration, Observer, Progress, Solver, SparseColumns, Status};
use std::sync::Arc;

/// Cells of one master, with a start value per (cell, sign).
struct Cells {
    bits: Vec<Vec<u64>>,
    columns: Vec<(usize, Vec<f64>)>,
}

impl Cells {
    /// Adds a start value; two neurons of one cell and sign merge into their sum.
    fn add(&mut self, bits: &[u64], negative: bool, value: &[f64]) {
        let cell = self.bits.iter().position(|b| b == bits).unwrap_or_else(|| {
            self.bits.push(bits.to_vec());
            self.bits.len() - 1
        });
        let column = 2 * cell + usize::from(negative);
        match self.columns.iter_mut().find(|(c, _)| *c == column) {
            Some((_, sum)) => sum.iter_mut().zip(value).for_each(|(s, v)| *s += v),
            None => self.columns.push((column, value.to_vec())),
        }
    }
}

impl Global {
    /// Solves the program on the cells of the neurons and of the dearest
    /// candidates to the relative gap `tolerance`; keeps the result if it is
    /// better. The status if the observer stopped it.
    pub(super) fn master(
        &self,
        state: &mut State,
        found: &[Candidate],
        lambda: f64,
        tolerance: f64,
        observer: &mut dyn Observer,
    ) -> Result<Option<Status>> {
        let x = self.oracle.x();
        let mut cells = Cells { bits: vec![], columns: vec![] };
        for (j, bits) in state.cells.iter().enumerate() {
            cells.add(bits, state.neurons.negative[j], column(&state.neurons.values, j));
        }
        let size = 1e-3 * (1.0 + state.neurons.penalty(&self.oracle.gauge()));
        for c in found.iter().take(10.max(state.neurons.len() / 2)) {
            let small: Vec<f64> = c.direction.iter().map(|v| size * v).collect();
            cells.add(&c.bits, c.negative, &small);
        }
        let mut patterns = Patterns::new(x.nrows());
        cells.bits.iter().for_each(|b| patterns.push(b));
        let start = SparseColumns {
            columns: cells.columns.iter().map(|(c, _)| *c).collect(),
            values: Mat::from_fn(x.ncols(), cells.columns.len(), |i, k| cells.columns[k].1[i]),
        };
        let arrangement = Arrangement {
            cells: patterns.len(),
            patterns: Arc::new(patterns),
            gates: None,
            complete: false,
        };
        let relu = Relu::new(self.x.clone(), self.loss.clone(), arrangement, self.bias)?;
        let solver = ColumnGeneration { tolerance, ..Default::default() };
        // its bounds are about these cells only
        let mut quiet = |p: &Progress| {
            observer.observe(&Progress { lower: f64::NEG_INFINITY, upper: state.upper, ..*p })
        };
        let solution = solver.solve(&relu.program(lambda), Some(&start), &mut quiet)?;
        let neurons = Neurons {
            negative: solution.z.columns.iter().map(|c| c % 2 == 1).collect(),
            values: solution.z.values,
        };
        // a column on the edge of its cell counts as the neuron that it is
        let value = self.objective(&neurons, lambda);
        if value < state.upper {
            state.upper = value;
            state.neurons = neurons;
            state.cells = solution.z.columns.iter().map(|c| cells.bits[c / 2].clone()).collect();
            state.nu = solution.nu;
        } else if value - state.upper <= tolerance * state.upper.abs() {
            // not a better network, but an optimal dual vector of these cells
            state.nu = solution.nu;
        }
        Ok(solution.status.is_early().then_some(solution.status))
    }
}
