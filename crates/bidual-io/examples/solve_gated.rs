//! Solves gated programs given as NPY files, or the exact ReLU programs on the same patterns, and
//! prints what it took and what was proved.
//!
//! ```text
//! cargo run --release -p bidual-io --example solve_gated -- \
//!     X.npy y.npy patterns.npy LOSS TOLERANCE OUT.npy LAMBDA [LAMBDA ...]
//!     X.npy y.npy patterns.npy LOSS TOLERANCE OUT.npy --path POINTS RATIO
//!     [--cones] [--threads 1] [--time-limit SECONDS] [--repeat 1]
//! ```
//!
//! X is n×d (in f32 it is kept so), y has n entries (±1 for the logistic loss), the patterns are n×P zeros and ones. LOSS
//! is `squared` or `logistic`, a mean over the rows and without an intercept; λ is absolute.
//! With `--cones` there are two columns with cones per pattern, 2i for output weight +1 and 2i+1 for −1.
//! Prints a line of JSON per λ: `seconds` (wall) and `cpu_seconds` (of all threads, null where
//! unknown) are those of the solver alone, and `history` has [seconds, upper, lower].
//!
//! The λ of a list are solved each from zero, those of a path each from the one before: POINTS of
//! them from λ_max down to RATIO·λ_max, equally spaced in log λ. `--repeat` solves everything
//! again and prints all. OUT.npy receives the solutions of the last time, a column per non-zero
//! column of W: the index of its λ, its pattern, its d entries. The time limit is per λ.

use bidual::arrangement::Patterns;
use bidual::certificate::relative_gap;
use bidual::cone::Constraint;
use bidual::loss::{Logistic, Loss, Squared};
use bidual::operator::{Gated, HalfSpaces};
use bidual::path::{lambda_grid, predict};
use bidual::regularizer::GroupL2;
use bidual::solver::{Deadline, Progress, Solution, Solver, SparseColumns};
use bidual::{Mat, Program};
use bidual_io::table::{Column, Single, read_npy_f32, read_table, write_npy};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The solver that `fit` uses on listed patterns.
fn solver(program: &Program, tolerance: f64) -> Box<dyn Solver> {
    bidual::default_solver(program, tolerance, 10_000_000)
}

struct Task {
    program: Program,
    lambdas: Vec<f64>,
    warm: bool,
    tolerance: f64,
    limit: Option<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = option(&mut arguments, "--threads", 1)?.map_or(Ok(1), |v| v[0].parse())?;
    let repeat: usize = option(&mut arguments, "--repeat", 1)?.map_or(Ok(1), |v| v[0].parse())?;
    let limit = match option(&mut arguments, "--time-limit", 1)? {
        Some(v) => Some(Duration::try_from_secs_f64(v[0].parse()?)?),
        None => None,
    };
    let path = option(&mut arguments, "--path", 2)?;
    let cones = option(&mut arguments, "--cones", 0)?.is_some();
    let [x, y, patterns, loss, tolerance, out, lambdas @ ..] = arguments.as_slice() else {
        return Err("usage: X.npy y.npy patterns.npy LOSS TOLERANCE OUT.npy LAMBDA...".into());
    };
    let program = program(x, y, patterns, loss, cones)?;
    let warm = path.is_some();
    let lambdas = match path {
        Some(_) if !lambdas.is_empty() => return Err("--path, or a list of λ, not both".into()),
        Some(v) => lambda_grid(program.lambda_max(), v[0].parse()?, v[1].parse()?),
        None if lambdas.is_empty() => return Err("no λ: give a list or --path".into()),
        None => lambdas.iter().map(|v| v.parse()).collect::<Result<_, _>>()?,
    };
    let task = Task { program, lambdas, warm, tolerance: tolerance.parse()?, limit };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut solutions = vec![];
    for _ in 0..repeat {
        solutions = pool.install(|| task.solve())?;
    }
    write(out, task.program.shape().0, &solutions)
}

/// Takes `name` and the `count` values after it out of the arguments.
fn option(
    arguments: &mut Vec<String>,
    name: &str,
    count: usize,
) -> Result<Option<Vec<String>>, String> {
    let Some(at) = arguments.iter().position(|a| a == name) else { return Ok(None) };
    if at + count >= arguments.len() {
        return Err(format!("{name} needs {count} value(s)"));
    }
    Ok(Some(arguments.drain(at..=at + count).skip(1).collect()))
}

/// The columns of an NPY file, each n long.
fn columns(path: &str) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    let read = |column| match column {
        Column::Number(values) => Ok(values),
        Column::Text(_) => Err(format!("{path}: not a finite number in every place").into()),
    };
    read_table(Path::new(path))?.columns.into_iter().map(read).collect()
}

/// The program with λ = 0.
fn program(
    x: &str,
    y: &str,
    patterns: &str,
    loss: &str,
    cones: bool,
) -> Result<Program, Box<dyn Error>> {
    let (data, y) = (Data::read(x, cones)?, columns(y)?.remove(0));
    let n = data.rows();
    if y.len() != n {
        return Err(format!("X has {n} rows, y has {}", y.len()).into());
    }
    let mut gates = Patterns::new(n);
    for column in columns(patterns)? {
        if column.len() != n {
            return Err(format!("X has {n} rows, a pattern has {}", column.len()).into());
        }
        gates.push_bools(column.iter().map(|v| *v != 0.0));
    }
    let loss: Arc<dyn Loss> = match loss {
        "squared" => Arc::new(Squared::new(y, None)?),
        "logistic" => Arc::new(Logistic::new(y, None)?),
        other => return Err(format!("the loss {other:?} is neither squared nor logistic").into()),
    };
    let gates = Arc::new(gates);
    let (operator, constraint) = match data {
        Data::Single(x) => (Gated::unsigned_f32(&x.values, x.columns, gates)?, None),
        Data::Double(x) if cones => {
            let cones = Constraint::new(HalfSpaces::signed(x.clone(), gates.clone()));
            (Gated::signed(x, gates), Some(cones))
        }
        Data::Double(x) => (Gated::unsigned(x, gates), None),
    };
    Ok(Program {
        loss,
        operator: Arc::new(operator),
        regularizer: Arc::new(GroupL2::new()),
        constraint,
        lambda: 0.0,
    })
}

/// X as its file has it: data in f32 stay so, except where cones need them in f64.
enum Data {
    Single(Single),
    Double(Arc<Mat>),
}

impl Data {
    fn read(path: &str, cones: bool) -> Result<Self, Box<dyn Error>> {
        if !cones && let Some(single) = read_npy_f32(Path::new(path))? {
            return Ok(Self::Single(single));
        }
        let x = columns(path)?;
        Ok(Self::Double(Arc::new(Mat::from_fn(x[0].len(), x.len(), |i, j| x[j][i]))))
    }

    fn rows(&self) -> usize {
        match self {
            Self::Single(x) => x.rows,
            Self::Double(x) => x.nrows(),
        }
    }
}

impl Task {
    /// Solves for every λ, printing a line each.
    fn solve(&self) -> bidual::Result<Vec<Solution>> {
        let mut solutions: Vec<Solution> = vec![];
        for &lambda in &self.lambdas {
            let program = Program { lambda, ..self.program.clone() };
            let before: Vec<_> =
                self.lambdas.iter().copied().zip(solutions.iter().map(|s| &s.z)).collect();
            let (cpu, started) = (cpu_seconds(), Instant::now());
            let start = self.warm.then(|| predict(&program, &before));
            solutions.push(self.solve_one(&program, start.as_ref(), started, cpu)?);
        }
        Ok(solutions)
    }

    fn solve_one(
        &self,
        program: &Program,
        start: Option<&SparseColumns>,
        started: Instant,
        cpu: Option<f64>,
    ) -> bidual::Result<Solution> {
        let mut history: Vec<[f64; 3]> = vec![];
        let mut record = |progress: &Progress| {
            let seconds = started.elapsed().as_secs_f64();
            // a few hundred lines of history, however many iterations
            if history.last().is_none_or(|last| seconds >= 1.02 * last[0]) {
                history.push([seconds, progress.upper, progress.lower]);
            }
            ControlFlow::Continue(())
        };
        let mut observer =
            Deadline { inner: &mut record, deadline: self.limit.map(|limit| started + limit) };
        let solution = solver(program, self.tolerance).solve(program, start, &mut observer)?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu = cpu.zip(cpu_seconds()).map(|(from, to)| to - from);
        history.push([seconds, solution.upper, solution.lower]);
        let line = serde_json::json!({
            "lambda": program.lambda,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "upper": solution.upper,
            "lower": solution.lower,
            "relative_gap": relative_gap(solution.lower, solution.upper),
            "active": solution.z.columns.len(),
            "status": solution.status.name(),
            "iterations": solution.iterations,
            "history": history,
        });
        println!("{line}");
        Ok(solution)
    }
}

/// CPU time of this process so far, all threads.
#[cfg(unix)]
fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64)
}

#[cfg(not(unix))]
fn cpu_seconds() -> Option<f64> {
    None
}

/// One column of the file per non-zero column of a solution: index of λ, pattern, d entries.
fn write(path: &str, d: usize, solutions: &[Solution]) -> Result<(), Box<dyn Error>> {
    let mut columns: Vec<Vec<f64>> = vec![];
    for (index, solution) in solutions.iter().enumerate() {
        for (k, &pattern) in solution.z.columns.iter().enumerate() {
            let mut column = vec![index as f64, pattern as f64];
            column.extend((0..d).map(|i| solution.z.values[(i, k)]));
            columns.push(column);
        }
    }
    let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    write_npy(&mut file, &columns)?;
    std::io::Write::flush(&mut file)?;
    Ok(())
}
