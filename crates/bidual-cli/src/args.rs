//! The command line. Values are checked here as far as they can be without data.

use bidual::{Bias, Lambda, LossKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Two-layer ReLU networks, trained to certified global optimality.
#[derive(Parser)]
#[command(name = "bidual", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 certified to the tolerance, 1 stopped early (the best \
network so far is still returned, with its true gap), 2 bad input or usage.")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Fit a network to a table and prove how good it is
    #[command(
        after_help = "Example:\n  bidual fit concrete.csv --target strength -o concrete.safetensors --onnx concrete.onnx"
    )]
    Fit(FitArgs),
    /// Apply a fitted network to a table
    #[command(
        after_help = "Example:\n  bidual predict concrete.safetensors new.csv -o predictions.csv"
    )]
    Predict(PredictArgs),
    /// Recompute objective and certificate of a fitted network on a table
    #[command(
        after_help = "Example:\n  bidual certify concrete.safetensors concrete.csv\n\nExit code 0 if the relative gap is at most the tolerance of the fit, 1 if it is larger."
    )]
    Certify(CertifyArgs),
    /// Fit along a decreasing sequence of λ, with a certificate for each
    #[command(
        after_help = "Example:\n  bidual path concrete.csv --target strength --points 10 --validation 0.25 -o path.csv"
    )]
    Path(PathArgs),
    /// Solve a problem given as JSON (the schema of tests/golden/README.md)
    #[command(after_help = "Example:\n  bidual solve tests/golden/two_layer/relu01_sq.json --json")]
    Solve(SolveArgs),
    /// Write a fitted network in another format
    #[command(after_help = "Example:\n  bidual export concrete.safetensors -o concrete.onnx")]
    Export(ExportArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  bidual completions bash > ~/.local/share/bash-completion/completions/bidual"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The table and what is trained on it: common to `fit` and `path`.
#[derive(Args)]
pub struct TrainArgs {
    /// Table to fit: .csv (with a header), .parquet, .npy or .npz
    pub data: PathBuf,
    /// Target column
    #[arg(long, value_name = "COL")]
    pub target: String,
    /// Column of sample weights (the loss is their weighted mean)
    #[arg(long, value_name = "COL")]
    pub weights: Option<String>,
    /// Turn text columns into one feature per category
    #[arg(long)]
    pub one_hot: bool,
    /// Loss: auto, squared, huber, huber:DELTA, logistic or squared-hinge. auto is logistic for a
    /// target with two distinct values and squared otherwise; huber alone has DELTA = 1
    #[arg(long, value_name = "LOSS", default_value = "auto", value_parser = loss)]
    pub loss: LossArg,
    /// Network: ReLU neurons, or fixed gates with free weights
    #[arg(long, value_enum, default_value = "relu")]
    pub activation: ActivationArg,
    /// Hidden bias, and whether weight decay acts on it
    #[arg(long, value_enum, default_value = "penalised")]
    pub bias: BiasArg,
    /// Leave out the output bias (it is never penalised)
    #[arg(long)]
    pub no_output_bias: bool,
    /// Use the features as they are instead of with mean 0 and standard deviation 1
    #[arg(long)]
    pub no_standardize: bool,
    /// Activation patterns: how many to sample, `all` cells (small data; the proof then covers
    /// every network), or a table of gates on raw features, a row a gate: one column per feature,
    /// and optionally a last one with the threshold
    #[arg(long, value_name = "N|all|FILE", default_value = "500", value_parser = patterns)]
    pub patterns: PatternsArg,
    /// Share of the samples on which each sampled pattern is active
    #[arg(long, value_name = "Q", value_parser = share, allow_negative_numbers = true)]
    pub active_share: Option<f64>,
    /// Relative gap at which the result counts as certified
    #[arg(long, value_name = "GAP", default_value = "1e-6", value_parser = share, allow_negative_numbers = true)]
    pub tolerance: f64,
    /// Iterations of the solver at most
    #[arg(long, value_name = "N", default_value = "100000")]
    pub max_iterations: NonZeroUsize,
    /// Wall-clock limit: 30, 30s, 5m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    pub time_limit: Option<Duration>,
    /// Seed of everything that is random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Number of threads [default: one per core]; the result does not depend on it
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress bar and no text result
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct FitArgs {
    #[command(flatten)]
    pub train: TrainArgs,
    /// Write the model here (.safetensors)
    #[arg(short, long, value_name = "MODEL")]
    pub output: Option<PathBuf>,
    /// Write the network as ONNX here (.onnx)
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// Write the predictions for DATA here (.csv or .npy)
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// Weight decay: a fraction of the λ at which the network is constant, abs:VALUE, or cv for
    /// the best under cross-validation
    #[arg(long, value_name = "cv|FRACTION|abs:VALUE", default_value = "cv", value_parser = lambda, allow_negative_numbers = true)]
    pub lambda: Lambda,
    /// Folds of cross-validation, with --lambda cv [default: 5]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..))]
    pub folds: Option<u32>,
}

#[derive(Args)]
pub struct PathArgs {
    #[command(flatten)]
    pub train: TrainArgs,
    /// Number of values of λ
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub points: u32,
    /// Last λ as a share of the first, which is the λ at which the network is constant
    #[arg(long, value_name = "SHARE", default_value = "1e-3", value_parser = share, allow_negative_numbers = true)]
    pub ratio: f64,
    /// Share of the rows held out at random to validate on; 0 for none
    #[arg(long, value_name = "SHARE", default_value = "0.2", value_parser = share_or_zero, allow_negative_numbers = true)]
    pub validation: f64,
    /// Write the table here (.csv or .npy)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct PredictArgs {
    /// Fitted model (.safetensors)
    pub model: PathBuf,
    /// Table with the columns of the fit; the target is not needed
    pub data: PathBuf,
    /// Write here (.csv or .npy) instead of CSV to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args)]
pub struct CertifyArgs {
    /// Fitted model (.safetensors)
    pub model: PathBuf,
    /// Table with the columns of the fit and the target
    pub data: PathBuf,
    /// Target column [default: the name it had in the fit]
    #[arg(long, value_name = "COL")]
    pub target: Option<String>,
    /// Column of sample weights [default: that of the fit, if it had one]
    #[arg(long, value_name = "COL")]
    pub weights: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct SolveArgs {
    /// Problem (.json)
    pub problem: PathBuf,
    /// Relative gap at which the result counts as certified
    #[arg(long, value_name = "GAP", default_value = "1e-9", value_parser = share, allow_negative_numbers = true)]
    pub tolerance: f64,
    /// Wall-clock limit: 30, 30s, 5m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    pub time_limit: Option<Duration>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ExportArgs {
    /// Fitted model (.safetensors)
    pub model: PathBuf,
    /// Write here: .onnx, or .json with the weights as plain numbers
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossArg {
    Auto,
    Is(LossKind),
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum ActivationArg {
    Relu,
    Gated,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum BiasArg {
    Penalised,
    Free,
    None,
}

impl From<BiasArg> for Bias {
    fn from(bias: BiasArg) -> Bias {
        match bias {
            BiasArg::Penalised => Bias::Penalised,
            BiasArg::Free => Bias::Free,
            BiasArg::None => Bias::None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum PatternsArg {
    Sampled(usize),
    All,
    File(PathBuf),
}

/// A number of the given kind, or the sentence that says what was expected.
fn number(text: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("expected {expected}"))?;
    if fits(value) { Ok(value) } else { Err(format!("expected {expected}")) }
}

fn positive(text: &str, expected: &str) -> Result<f64, String> {
    number(text, expected, |v| v > 0.0 && v.is_finite())
}

fn share(text: &str) -> Result<f64, String> {
    number(text, "a number between 0 and 1", |v| v > 0.0 && v < 1.0)
}

fn share_or_zero(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to below 1", |v| (0.0..1.0).contains(&v))
}

/// Also reads the loss in a model file.
pub fn loss(text: &str) -> Result<LossArg, String> {
    let kind = match text {
        "auto" => return Ok(LossArg::Auto),
        "squared" => LossKind::Squared,
        "huber" => LossKind::Huber(1.0),
        "logistic" => LossKind::Logistic,
        "squared-hinge" => LossKind::SquaredHinge,
        _ => match text.strip_prefix("huber:") {
            Some(delta) => LossKind::Huber(positive(delta, "a positive DELTA in huber:DELTA")?),
            None => {
                return Err(
                    "expected auto, squared, huber, huber:DELTA, logistic or squared-hinge".into(),
                );
            }
        },
    };
    Ok(LossArg::Is(kind))
}

/// Also reads λ's choice in a model file.
pub fn lambda(text: &str) -> Result<Lambda, String> {
    if text == "cv" {
        return Ok(Lambda::CrossValidated);
    }
    match text.strip_prefix("abs:") {
        Some(value) => Ok(Lambda::Absolute(positive(value, "a positive VALUE in abs:VALUE")?)),
        None => Ok(Lambda::Fraction(positive(
            text,
            "a positive fraction of λ_max such as 0.1, abs:VALUE or cv",
        )?)),
    }
}

fn patterns(text: &str) -> Result<PatternsArg, String> {
    const EXPECTED: &str = "expected a number of at least 1, all, or a .npy file with gates";
    if text == "all" {
        return Ok(PatternsArg::All);
    }
    let file = PathBuf::from(text);
    match text.parse::<usize>() {
        Ok(0) => Err(EXPECTED.into()),
        Ok(count) => Ok(PatternsArg::Sampled(count)),
        // a decimal number is a typing error, not a file
        Err(_) if text.parse::<f64>().is_ok() || file.extension().is_none() => Err(EXPECTED.into()),
        Err(_) => Ok(PatternsArg::File(file)),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "a positive time such as 30, 30s, 5m or 2h";
    let (digits, unit) = match text.char_indices().next_back() {
        Some((end, 's')) => (&text[..end], 1.0),
        Some((end, 'm')) => (&text[..end], 60.0),
        Some((end, 'h')) => (&text[..end], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = unit * positive(digits, EXPECTED)?;
    // a century: beyond it `Instant` may overflow
    if seconds > 3.2e9 {
        return Err(format!("expected {EXPECTED}, of at most a century"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parse_or_say_what_was_expected() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        assert_eq!(lambda("0.1"), Ok(Lambda::Fraction(0.1)));
        assert_eq!(lambda("abs:3e-2"), Ok(Lambda::Absolute(0.03)));
        assert_eq!(loss("huber:0.5"), Ok(LossArg::Is(LossKind::Huber(0.5))));
        assert_eq!(patterns("all"), Ok(PatternsArg::All));
        assert_eq!(patterns("7"), Ok(PatternsArg::Sampled(7)));
        assert_eq!(patterns("g.npy"), Ok(PatternsArg::File("g.npy".into())));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["0", "-1", "abs:0", "abs:-1", "nan", "inf", "", "abs:"] {
            assert!(lambda(bad).is_err(), "{bad}");
        }
        for bad in ["huber:", "huber:0", "hinge", ""] {
            assert!(loss(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-3", "2.5", "some", ""] {
            assert!(patterns(bad).is_err(), "{bad}");
        }
        for bad in ["0", "m", "-5s", "1e99h", "5 m", "µ", ""] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
