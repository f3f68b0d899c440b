//! Training problems over listed cells: smooth losses by column generation, the others and linear
//! terms by the conic solver.

use super::problem::{LossName, Problem, Skip, System};
use super::{Answer, MOST_CELLS};
use anyhow::{Context, Result};
use bidual::arrangement::Arrangement;
use bidual::formulation::{Formulation, GatedRelu, Relu, with_ones};
use bidual::global::{Global, Neurons, Target};
use bidual::loss::{Loss, WithIntercept};
use bidual::solver::{
    ColumnGeneration, Conic, Deadline, LinearTerms, Solution, Solver, SparseColumns,
};
use bidual::{Bias, Mat, Program};
use serde_json::json;
use std::sync::Arc;

/// A problem over its cells.
pub struct Training {
    pub formulation: Box<dyn Formulation>,
    /// The loss without output bias.
    pub loss: Arc<dyn Loss>,
    /// Open cells, or patterns given.
    pub patterns: usize,
    pub arrangement: Arrangement,
    terms: Option<LinearTerms>,
}

/// A trained network.
pub struct Trained {
    pub solution: Solution,
    /// Its objective, from its weights where it has any.
    pub value: f64,
    pub outputs: Vec<f64>,
}

impl Training {
    pub fn new(problem: &Problem) -> Result<Self> {
        let loss = problem.loss.build(&problem.y)?;
        let profiled: Arc<dyn Loss> = match problem.output_bias {
            true => Arc::new(WithIntercept::new(loss.clone()).context("data.y")?),
            false => loss.clone(),
        };
        let x = Arc::new(problem.x.clone());
        let arrangement = match &problem.system {
            System::Relu if problem.bias == Bias::None => Arrangement::all_cells(&x, MOST_CELLS)?,
            System::Relu => Arrangement::all_cells(&with_ones(&x), MOST_CELLS)?,
            System::ReluOn(patterns) | System::Gated(patterns) => {
                Arrangement::from_patterns(patterns)?
            }
        };
        let listed = arrangement.clone();
        let formulation: Box<dyn Formulation> = match &problem.system {
            System::Gated(_) => Box::new(GatedRelu::new(x, profiled, listed, problem.bias)?),
            _ => Box::new(Relu::new(x, profiled, listed, problem.bias)?),
        };
        let (n, d) = (problem.x.nrows(), problem.x.ncols());
        let terms = match problem.skip {
            Skip::None => None,
            Skip::Free => Some(LinearTerms { free: problem.x.clone(), penalised: None }),
            Skip::Penalised(gamma) => Some(LinearTerms {
                free: Mat::zeros(n, 0),
                penalised: Some((Mat::from_fn(n, d, |i, j| problem.x[(i, j)]), gamma)),
            }),
        };
        Ok(Self { formulation, loss, patterns: arrangement.cells, arrangement, terms })
    }

    /// Solves at `beta` to the relative gap `tolerance`.
    pub fn solve(
        &self,
        problem: &Problem,
        beta: f64,
        tolerance: f64,
        start: Option<&SparseColumns>,
        observer: &mut Deadline,
    ) -> Result<Trained> {
        let program = self.formulation.program(beta);
        if self.terms.is_none() && self.loss.is_smooth() {
            // for given gates too: more accurate than proximal steps where all is small
            let solver = ColumnGeneration { tolerance, ..Default::default() };
            let solution = solver.solve(&program, start, observer)?;
            let (value, outputs) = self.evaluate(problem, &program, &solution, &[], 0.0);
            return Ok(Trained { solution, value, outputs });
        }
        let none = LinearTerms::none(problem.x.nrows());
        let terms = self.terms.as_ref().unwrap_or(&none);
        let solver = Conic { tolerance, ..Default::default() };
        let found = solver.solve_with(&program, terms, observer)?;
        let linear = terms.outputs(&found.free, &found.penalised);
        let size = found.penalised.iter().map(|p| p * p).sum::<f64>().sqrt();
        let paid = terms.penalised.as_ref().map_or(0.0, |(_, gamma)| gamma * size);
        let (value, outputs) = self.evaluate(problem, &program, &found.solution, &linear, paid);
        Ok(Trained { solution: found.solution, value, outputs })
    }

    /// The smallest β with no neurons, where the residual without neurons is unique and at hand.
    pub fn largest(&self, problem: &Problem) -> Option<f64> {
        let plain = problem.skip == Skip::None && matches!(problem.loss, LossName::Smooth(_));
        plain.then(|| self.formulation.program(0.0).lambda_max())
    }

    /// Objective and Σρ of the network after Newton steps that may cross cells: the regulariser is
    /// known to the square root of a gap only, so the last digits matter. `None` where such steps
    /// do not apply.
    pub fn polish(
        &self,
        problem: &Problem,
        beta: f64,
        trained: &Trained,
        observer: &mut Deadline,
    ) -> Result<Option<(f64, f64)>> {
        if self.terms.is_some() || !self.loss.is_smooth() {
            return Ok(None);
        }
        let program = self.formulation.program(beta);
        let gauge = program.regularizer.gauge();
        let x = Arc::new(problem.x.clone());
        let features = if problem.bias == Bias::None { x.clone() } else { Arc::new(with_ones(&x)) };
        let global = Global::new(x, features, gauge, program.loss.clone(), problem.bias);
        let z = &trained.solution.z;
        let negative = z.columns.iter().map(|c| c % 2 == 1).collect();
        let start = Neurons { values: z.values.clone(), negative };
        let target = Target { lambda: beta, tolerance: 1e-14, budget: None, max_rounds: 20 };
        let found = global.solve(&target, Some(&start), observer)?;
        let better = found.upper <= trained.value;
        Ok(better.then(|| (found.upper, found.neurons.penalty(&gauge))))
    }

    /// Objective and outputs of the recovered network. Gates given as bits cannot be evaluated on
    /// a network, so there the program's own values are taken.
    fn evaluate(
        &self,
        problem: &Problem,
        program: &Program,
        solution: &Solution,
        linear: &[f64],
        paid: f64,
    ) -> (f64, Vec<f64>) {
        let gated = matches!(problem.system, System::Gated(_));
        let network = self.formulation.recover(&solution.z);
        let mut outputs = match gated {
            true => program.restrict(&solution.z.columns).outputs(&solution.z.values),
            false => network.predict(&problem.x),
        };
        if !gated {
            outputs.iter_mut().for_each(|f| *f -= network.output_bias);
        }
        outputs.iter_mut().zip(linear).for_each(|(f, l)| *f += l);
        if let Some(profiled) = program.loss.as_intercept() {
            let intercept = profiled.intercept(&outputs);
            outputs.iter_mut().for_each(|f| *f += intercept);
        }
        let value = match gated {
            true => solution.upper,
            false => {
                let decay = network.weight_decay(problem.bias);
                self.loss.value(&outputs) + program.lambda * decay + paid
            }
        };
        (value, outputs)
    }
}

pub fn answer(problem: &Problem, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    let training = Training::new(problem)?;
    let trained = training.solve(problem, problem.beta, 0.5 * tolerance, None, observer)?;
    let Trained { solution, value, outputs } = trained;
    let program = training.formulation.program(problem.beta);
    let smooth = training.loss.is_smooth() && problem.skip == Skip::None;
    // where there is no gradient, or a linear term, ν is the solver's
    let nu = if smooth { program.residual(&outputs) } else { solution.nu.clone() };
    // a target of 0 prices every column exactly
    let kappa = program.price(&nu, 0.0, &mut program.multipliers()).kappa();
    Ok(Answer {
        value: Some(value),
        lower: Some(solution.lower),
        upper: Some(value),
        scope: training.formulation.scope(),
        status: super::status(solution.lower, value, tolerance, solution.status),
        facts: json!({
            "dual_value": solution.lower,
            "n_patterns_used": training.patterns,
            "outputs_z": outputs,
            "dual_nu": nu,
            "kappa_at_dual": kappa,
            "beta_max": training.largest(problem),
        }),
    })
}
