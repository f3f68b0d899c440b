//! From arguments to the options of a fit.

use crate::args::TrainArgs;
use crate::values::{ActivationArg, PatternsArg, ScopeArg};
use anyhow::{Context, Result, bail, ensure};
use bidual::{Activation, Effort, Gates, Lambda, LossKind, Mat, Options, PatternChoice};
use bidual_io::encoding::number_column;
use bidual_io::table::read_table;
use std::num::NonZeroUsize;
use std::path::Path;

/// Patterns that are drawn unless `--patterns` says otherwise.
const SAMPLED: usize = 500;

/// Cells that `--patterns all` lists at most: beyond it each pricing round takes minutes.
const MOST_CELLS: usize = 200_000;

/// The options that `args` ask for, checked as far as possible without solving.
/// `names` are the features, to which gates in a file must fit.
pub fn options(
    args: &TrainArgs,
    loss: LossKind,
    lambda: Lambda,
    folds: usize,
    names: &[String],
) -> Result<Options> {
    let activation = match args.activation {
        ActivationArg::Relu => Activation::Relu,
        ActivationArg::Gated => Activation::Gated,
    };
    let listed = args.patterns.is_some() || args.active_share.is_some();
    let scope = args.scope.unwrap_or(match activation {
        Activation::Relu if !listed => ScopeArg::Auto,
        _ => ScopeArg::Sampled,
    });
    let generated = |effort| {
        ensure!(
            activation == Activation::Relu,
            "--scope {}: the gates of a gated network are part of the model, so it can only be proved best among networks with the same gates; use --activation relu or leave --scope out",
            if effort == Effort::Auto { "auto" } else { "global" }
        );
        ensure!(
            !listed,
            "--patterns and --active-share belong to --scope sampled: the other scopes cover all networks; drop one of the two"
        );
        Ok(PatternChoice::Generated(effort))
    };
    let patterns = match (scope, &args.patterns) {
        (ScopeArg::Auto, _) => generated(Effort::Auto)?,
        (ScopeArg::Global, _) => generated(Effort::Unlimited)?,
        (ScopeArg::Sampled, None) => PatternChoice::Sampled(SAMPLED),
        (ScopeArg::Sampled, Some(PatternsArg::Sampled(count))) => PatternChoice::Sampled(*count),
        (ScopeArg::Sampled, Some(PatternsArg::All)) => PatternChoice::All(MOST_CELLS),
        (ScopeArg::Sampled, Some(PatternsArg::File(path))) => {
            PatternChoice::Given(gates(path, names).with_context(|| "--patterns".to_owned())?)
        }
    };
    let options = Options {
        activation,
        loss,
        lambda,
        patterns,
        active_share: args.active_share,
        bias: args.bias.into(),
        output_bias: !args.no_output_bias,
        standardize: !args.no_standardize,
        seed: args.seed,
        tolerance: args.tolerance,
        max_iterations: args.max_iterations.get(),
        time_limit: args.time_limit,
        folds,
        ..Options::default()
    };
    options.validate()?;
    Ok(options)
}

/// Gates on raw features from a table: a row a gate, an optional last column the thresholds.
fn gates(path: &Path, names: &[String]) -> Result<Gates> {
    let table = read_table(path)?;
    let (rows, columns, d) = (table.rows, table.names.len(), names.len());
    if columns != d && columns != d + 1 {
        bail!(
            "{}: expected {d} columns (one per feature) or {} (the threshold last), found {columns}; \
             the features are {}",
            path.display(),
            d + 1,
            crate::report::list(names)
        );
    }
    let values = table.names.iter().map(|name| number_column(&table, name));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let thresholds = values.get(d).cloned().unwrap_or_else(|| vec![0.0; rows]);
    Ok(Gates { directions: Mat::from_fn(d, rows, |j, k| values[j][k]), thresholds })
}

/// Runs a verb on a pool of so many threads, by default one per core: from within the pool, its
/// many short parallel loops need not wake it.
pub fn pooled<T: Send>(
    threads: Option<NonZeroUsize>,
    verb: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global().with_context(
            || format!("--threads {threads}: the threads cannot be started; use fewer"),
        )?;
    }
    rayon::scope(|_| verb())
}
