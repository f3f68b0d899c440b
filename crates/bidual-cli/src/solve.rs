//! `bidual solve`: a problem as JSON, its optimum with bounds and facts as JSON.

use crate::Outcome;
use crate::args::SolveArgs;
use crate::problem::{Problem, System};
use crate::progress::Watch;
use crate::report::{self, gap_text, significant_above, significant_below};
use anyhow::{Context, Result};
use bidual::arrangement::Arrangement;
use bidual::certificate::relative_gap;
use bidual::formulation::{Formulation, GatedRelu, Relu, with_ones};
use bidual::loss::{Loss, WithIntercept, unit_weights};
use bidual::solver::{ColumnGeneration, Deadline, Solution, Solver, Status};
use bidual::{Bias, Program, Scope};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Cells at most.
const MOST_CELLS: usize = 1_000_000;

pub fn run(args: &SolveArgs) -> Result<Outcome> {
    let started = Instant::now();
    let file = args.problem.display().to_string();
    let text = std::fs::read_to_string(&args.problem)
        .with_context(|| format!("{file}: cannot be read; check the path"))?;
    let problem = Problem::parse(&text).with_context(|| file.clone())?;
    let mut watch = Watch::start(false)?;
    let answer = {
        let deadline = args.time_limit.map(|limit| started + limit);
        let mut limited = Deadline { inner: &mut watch, deadline };
        solve(&problem, args.tolerance, &mut limited).with_context(|| file.clone())
    };
    watch.finish();
    let answer = answer?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        report::print(&format!("{}\n", answer.json(seconds)))?;
    } else {
        report::print(&answer.text(seconds))?;
    }
    Ok(Outcome::certified(answer.status == Status::Certified))
}

struct Answer {
    value: f64,
    lower: f64,
    scope: Scope,
    status: Status,
    facts: Value,
}

fn solve(problem: &Problem, tolerance: f64, observer: &mut Deadline) -> Result<Answer> {
    let n = problem.y.len();
    let loss = problem.loss.build(&problem.y, unit_weights(n)).context("data.y")?;
    let loss: Arc<dyn Loss> = match problem.output_bias {
        true => Arc::new(WithIntercept::new(loss).context("data.y")?),
        false => loss,
    };
    let x = Arc::new(problem.x.clone());
    let arrangement = match &problem.system {
        System::Relu if problem.bias == Bias::None => Arrangement::all_cells(&x, MOST_CELLS)?,
        System::Relu => Arrangement::all_cells(&with_ones(&x), MOST_CELLS)?,
        System::ReluOn(patterns) | System::Gated(patterns) => Arrangement::from_patterns(patterns)?,
    };
    let patterns = arrangement.cells;
    let formulation: Box<dyn Formulation> = match &problem.system {
        System::Gated(_) => {
            Box::new(GatedRelu::new(x.clone(), loss.clone(), arrangement, problem.bias)?)
        }
        _ => Box::new(Relu::new(x.clone(), loss.clone(), arrangement, problem.bias)?),
    };
    let program = formulation.program(problem.beta);
    // for given gates too: more accurate than proximal steps where all is small
    let solver = ColumnGeneration { tolerance: 0.5 * tolerance, ..Default::default() };
    let solution = solver.solve(&program, None, observer)?;
    let (value, outputs) = evaluate(problem, formulation.as_ref(), &program, &solution);
    let nu = program.residual(&outputs);
    // a target of 0 prices every column exactly
    let kappa = program.price(&nu, 0.0, &mut program.multipliers()).kappa();
    let gap = relative_gap(solution.lower, value);
    let status = match solution.status {
        _ if gap <= tolerance => Status::Certified,
        Status::Certified => Status::Stalled,
        other => other,
    };
    Ok(Answer {
        value,
        lower: solution.lower,
        scope: formulation.scope(),
        status,
        facts: json!({
            "dual_value": solution.lower,
            "n_patterns_used": patterns,
            "outputs_z": outputs,
            "dual_nu": nu,
            "kappa_at_dual": kappa,
            "beta_max": formulation.program(0.0).lambda_max(),
        }),
    })
}

/// Objective and outputs of the recovered network. Gates given as bits cannot
/// be evaluated on a network, so there the program's own values are taken.
fn evaluate(
    problem: &Problem,
    formulation: &dyn Formulation,
    program: &Program,
    solution: &Solution,
) -> (f64, Vec<f64>) {
    let network = formulation.recover(&solution.z);
    if let System::Gated(_) = problem.system {
        let mut outputs = program.restrict(&solution.z.columns).outputs(&solution.z.values);
        if let Some(profiled) = program.loss.as_intercept() {
            let intercept = profiled.intercept(&outputs);
            outputs.iter_mut().for_each(|f| *f += intercept);
        }
        return (solution.upper, outputs);
    }
    let outputs = network.predict(&problem.x);
    let loss = match program.loss.as_intercept() {
        Some(profiled) => profiled.inner().value(&outputs),
        None => program.loss.value(&outputs),
    };
    (loss + problem.beta * network.weight_decay(problem.bias), outputs)
}

impl Answer {
    fn json(&self, seconds: f64) -> Value {
        json!({
            "value": self.value,
            "lower": self.lower,
            "upper": self.value,
            "scope": report::scope_key(self.scope),
            "status": report::status_key(self.status),
            "seconds": seconds,
            "facts": self.facts,
        })
    }

    fn text(&self, seconds: f64) -> String {
        format!(
            "value    {}\nlower    {}\ngap      {}\nscope    {}\nstatus   {}: {}\npatterns {}\ntime     {seconds:.2} s\n",
            significant_above(self.value, 12),
            significant_below(self.lower, 12),
            gap_text(relative_gap(self.lower, self.value)),
            self.scope,
            self.status.name(),
            self.status.advice(),
            self.facts["n_patterns_used"],
        )
    }
}
