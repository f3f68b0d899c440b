//! Training over all networks of any width: price, add, solve, slide, prune, prove.
//!
//! The master is the exact program on the few cells that hold neurons; pricing
//! proposes new neurons from anywhere; sliding moves all neurons jointly across
//! cells. What is left when pricing finds nothing is handed to the proof.

mod gram;
mod newton;
mod slide;

use crate::Result;
use crate::arrangement::{Arrangement, Patterns};
use crate::cone::Gauge;
use crate::formulation::{Formulation, Relu};
use crate::linalg::{Mat, column, times};
use crate::loss::{Loss, best_dual_value};
use crate::network::Bias;
use crate::pricing::{Candidate, Oracle};
use crate::solver::{ColumnGeneration, Observer, Progress, Solver, SparseColumns, Status};
use newton::{Classes, Newton};
use slide::{Neurons, slide};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The data of a global fit, on scaled features.
pub struct Global {
    x: Arc<Mat>,
    oracle: Oracle,
    loss: Arc<dyn Loss>,
    bias: Bias,
}

/// Where training stands: a network, its cells, its best dual vector.
#[derive(Debug, Clone)]
pub struct State {
    neurons: Neurons,
    /// Pattern of each neuron: it may lie on facets, so the bits are kept.
    cells: Vec<Vec<u64>>,
    nu: Vec<f64>,
    upper: f64,
}

fn pack(t: &[f64]) -> Vec<u64> {
    let mut bits = vec![0u64; t.len().div_ceil(64)];
    for (i, t) in t.iter().enumerate() {
        bits[i / 64] |= u64::from(*t >= 0.0) << (i % 64);
    }
    bits
}

impl Global {
    pub fn new(x: Arc<Mat>, features: Arc<Mat>, gauge: Gauge, loss: Arc<dyn Loss>, bias: Bias) -> Self {
        Self { x, oracle: Oracle::new(features, gauge), loss, bias }
    }

    pub fn train(
        &self,
        lambda: f64,
        tolerance: f64,
        observer: &mut dyn Observer,
    ) -> Result<(State, f64)> {
        let n = self.x.nrows();
        let gauge = self.oracle.gauge();
        let x = self.oracle.x();
        let f = vec![0.0; n];
        let mut nu = vec![0.0; n];
        self.loss.residual_into(&f, &mut nu);
        self.loss.clip_dual(&mut nu);
        let mut state = State {
            neurons: Neurons::none(x.ncols()),
            cells: vec![],
            nu,
            upper: self.loss.value(&f),
        };
        let mut lower = f64::NEG_INFINITY;
        let classes = Classes::new(x);
        for round in 0..60u64 {
            let t0 = std::time::Instant::now();
            let starts: Vec<(Vec<f64>, bool)> = (0..state.neurons.len())
                .map(|j| {
                    let v = column(&state.neurons.values, j);
                    let size = gauge.value(v).max(1e-300);
                    (v.iter().map(|v| v / size).collect(), state.neurons.negative[j])
                })
                .collect();
            let many = std::env::var("MANY").ok().and_then(|v| v.parse().ok()).unwrap_or(128);
            let found = self.oracle.search(&state.nu, &starts, many, round, lambda * (1.0 + 1e-10));
            let t1 = std::time::Instant::now();
            let kappa = found.first().map_or(lambda, |c| c.value);
            let (bound, _) = best_dual_value(self.loss.as_ref(), &state.nu, lambda / kappa);
            lower = bound;
            eprintln!(
                "round {round}: upper {:.9} est.gap {:.2e} kappa/lambda-1 {:.2e} found {} neurons {} search {:.3}s",
                state.upper,
                (state.upper - bound) / state.upper,
                kappa / lambda - 1.0,
                found.len(),
                state.neurons.len(),
                (t1 - t0).as_secs_f64()
            );
            if state.upper - bound <= tolerance * state.upper {
                break;
            }
            let progress = Progress {
                iteration: round as usize,
                upper: state.upper,
                lower: f64::NEG_INFINITY,
                active: state.neurons.len(),
            };
            if observer.observe(&progress).is_break() {
                break;
            }
            let gap = ((state.upper - bound) / state.upper).min(0.1);
            let before = state.upper;
            self.enter(&mut state, &found, lambda);
            let t1 = std::time::Instant::now();
            self.slide(&mut state, lambda, 200);
            let us = state.upper;
            let t2 = std::time::Instant::now();
            let (ok, its) = self.newton(&mut state, &classes, lambda);
            let t3 = std::time::Instant::now();
            eprintln!(
                "   slide {:.9} {:.3}s newton {:.9} {:.3}s {its} its conv {ok} neurons {}",
                us,
                (t2 - t1).as_secs_f64(),
                state.upper,
                (t3 - t2).as_secs_f64(),
                state.neurons.len()
            );
            if !ok && before - state.upper < 0.01 * gap * state.upper {
                self.master(&mut state, &found, lambda, (0.02 * gap).max(0.1 * tolerance), observer)?;
                eprintln!(
                    "   master {:.9} {:.3}s neurons {}",
                    state.upper,
                    t3.elapsed().as_secs_f64(),
                    state.neurons.len()
                );
            }
        }
        Ok((state, lower))
    }

    /// Adds the dearest candidates as small neurons.
    fn enter(&self, state: &mut State, found: &[Candidate], lambda: f64) {
        let x = self.oracle.x();
        let gauge = self.oracle.gauge();
        let f = state.neurons.outputs(x);
        let mut hessian = vec![0.0; x.nrows()];
        self.loss.hessian_diagonal_into(&f, &mut hessian);
        let mut chosen: Vec<&Candidate> = vec![];
        for c in found {
            let cos = |a: &[f64], b: &[f64]| {
                crate::linalg::dot(a, b) / (crate::linalg::norm(a) * crate::linalg::norm(b))
            };
            let new = chosen
                .iter()
                .all(|d| d.negative != c.negative || cos(&d.direction, &c.direction) < 0.98);
            if new && chosen.len() < 10 {
                chosen.push(c);
            }
        }
        let count = chosen.len() as f64;
        let mut t = vec![0.0; x.nrows()];
        for c in chosen {
            times(x, &c.direction, &mut t);
            let curvature: f64 =
                t.iter().zip(&hessian).map(|(t, h)| h * t.max(0.0).powi(2)).sum::<f64>();
            let size = (c.value - lambda) / (count * curvature.max(1e-300)) / gauge.value(&c.direction);
            let v: Vec<f64> = c.direction.iter().map(|u| u * size).collect();
            state.neurons.push(&v, c.negative);
            state.cells.push(c.bits.clone());
        }
        let f = state.neurons.outputs(x);
        state.upper = self.loss.value(&f) + lambda * state.neurons.penalty(&gauge);
        self.loss.residual_into(&f, &mut state.nu);
        self.loss.clip_dual(&mut state.nu);
    }

    /// Second-order finish; true if it converged.
    fn newton(&self, state: &mut State, classes: &Classes, lambda: f64) -> (bool, usize) {
        let gauge = self.oracle.gauge();
        let x = self.oracle.x();
        let newton = Newton { x, rows: self.oracle.by_rows(), classes, loss: self.loss.as_ref(), lambda, gauge };
        let done = newton.run(&state.neurons, 200, &mut || ControlFlow::Continue(()));
        let f = done.neurons.outputs(x);
        let value = self.loss.value(&f) + lambda * done.neurons.penalty(&gauge);
        if value <= state.upper {
            state.upper = value;
            state.neurons = done.neurons;
            state.cells = done.cells;
            self.loss.residual_into(&f, &mut state.nu);
            self.loss.clip_dual(&mut state.nu);
        }
        (done.converged, done.iterations)
    }

    /// The program on the cells of the neurons and of the candidates.
    fn master(
        &self,
        state: &mut State,
        found: &[Candidate],
        lambda: f64,
        tolerance: f64,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let n = self.x.nrows();
        let mut patterns = Patterns::new(n);
        let mut cells: Vec<Vec<u64>> = vec![];
        let mut index = |bits: &Vec<u64>, patterns: &mut Patterns| -> usize {
            match cells.iter().position(|c| c == bits) {
                Some(k) => k,
                None => {
                    patterns.push(bits);
                    cells.push(bits.clone());
                    cells.len() - 1
                }
            }
        };
        let mut start = SparseColumns::zero(self.oracle.x().ncols());
        let mut columns: Vec<(usize, Vec<f64>)> = vec![];
        for (j, bits) in state.cells.iter().enumerate() {
            let c = 2 * index(bits, &mut patterns) + usize::from(state.neurons.negative[j]);
            let v = column(&state.neurons.values, j);
            match columns.iter_mut().find(|(own, _)| *own == c) {
                Some((_, sum)) => sum.iter_mut().zip(v).for_each(|(s, v)| *s += v),
                None => columns.push((c, v.to_vec())),
            }
        }
        for c in found.iter().take(10.max(state.neurons.len() / 2)) {
            let k = 2 * index(&c.bits, &mut patterns) + usize::from(c.negative);
            if columns.iter().all(|(own, _)| *own != k) {
                let g = self.oracle.gauge().value(&c.direction).max(1e-300);
                let scale = 1e-3 * (1.0 + state.neurons.penalty(&self.oracle.gauge())) / g;
                columns.push((k, c.direction.iter().map(|v| v * scale).collect()));
            }
        }
        start.columns = columns.iter().map(|(c, _)| *c).collect();
        start.values = Mat::from_fn(self.oracle.x().ncols(), columns.len(), |i, k| columns[k].1[i]);
        let arrangement =
            Arrangement { cells: cells.len(), patterns: Arc::new(patterns), gates: None, complete: false };
        let relu = Relu::new(self.x.clone(), self.loss.clone(), arrangement, self.bias)?;
        let program = relu.program(lambda);
        let solver = ColumnGeneration { tolerance, ..Default::default() };
        let solution = solver.solve(&program, Some(&start), observer)?;
        let neurons = Neurons {
            values: solution.z.values.clone(),
            negative: solution.z.columns.iter().map(|c| c % 2 == 1).collect(),
        };
        let f = neurons.outputs(self.oracle.x());
        let value = self.loss.value(&f) + lambda * neurons.penalty(&self.oracle.gauge());
        if value < state.upper {
            state.upper = value;
            state.neurons = neurons;
            state.cells = solution.z.columns.iter().map(|c| cells[c / 2].clone()).collect();
            state.nu = solution.nu;
        }
        Ok(())
    }

    fn slide(&self, state: &mut State, lambda: f64, iterations: usize) {
        let gauge = self.oracle.gauge();
        let x = self.oracle.x();
        let (slid, value) = slide(
            x,
            self.loss.as_ref(),
            lambda,
            &gauge,
            &state.neurons,
            iterations,
            1e-9,
            &mut |_| ControlFlow::Continue(()),
        );
        if value < state.upper - 1e-9 * state.upper.abs() {
            let largest = (0..slid.len()).map(|j| gauge.value(column(&slid.values, j))).fold(0.0, f64::max);
            let keep: Vec<usize> = (0..slid.len())
                .filter(|&j| gauge.value(column(&slid.values, j)) > 1e-7 * largest)
                .collect();
            state.neurons = slid.select(&keep);
            let mut t = vec![0.0; x.nrows()];
            state.cells = (0..keep.len())
                .map(|j| {
                    times(x, column(&state.neurons.values, j), &mut t);
                    pack(&t)
                })
                .collect();
            let f = state.neurons.outputs(x);
            state.upper = self.loss.value(&f) + lambda * state.neurons.penalty(&gauge);
            self.loss.residual_into(&f, &mut state.nu);
            self.loss.clip_dual(&mut state.nu);
        }
    }
}

#[allow(dead_code)]
fn unused(_: Status) {}
