//! The command line. Values are checked here as far as they can be without data.

use crate::values::{
    ActivationArg, BiasArg, ChooseArg, LayoutArg, LossArg, PatternsArg, ScopeArg, duration,
    fixed_lambda, lambda, loss, patterns, share, share_or_zero,
};
use bidual::Lambda;
use bidual_io::foreign::ArrayNames;
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Two-layer ReLU networks, trained to certified global optimality.
#[derive(Parser)]
#[command(name = "bidual", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, and proved to the tolerance where there is something to \
prove; 1 a larger gap is left: `fit` or `path` stopped early (the best network so far is still \
returned, with its true gap), or `certify` has not proved the network optimal; 2 bad input or usage."
)]
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
    /// Recompute objective and certificate of a fitted network on a table, or audit a network that
    /// another program trained
    #[command(
        after_help = "Example:\n  bidual certify concrete.safetensors concrete.csv\n  bidual certify torch.onnx concrete.csv --target strength --lambda abs:1e-3\n\nExit code 0 if the relative gap is at most the tolerance (of the fit, or --tolerance), 1 if it is larger: for a network of another program the verdict is then `not optimal` or `open`."
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
    /// Say in words, numbers and a picture what a fitted network does
    #[command(
        after_help = "Example:\n  bidual explain concrete.safetensors concrete.csv --html concrete.html"
    )]
    Explain(ExplainArgs),
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
    /// Over which networks to train and prove. global: all ReLU networks of any width, until it is
    /// proved or time is up. auto: the same, but the proof stops after a fixed amount of work (about
    /// half a minute). sampled: networks on randomly drawn activation patterns or gates. [default:
    /// auto for ReLU neurons without --patterns, sampled otherwise]
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// Activation patterns or gates of the sampled scope: how many to draw, `all` cells (small
    /// data), or a table of gates on raw features, a row a gate: one column per feature, and
    /// optionally a last one with the threshold [default: 500]
    #[arg(long, value_name = "N|all|FILE", value_parser = patterns)]
    pub patterns: Option<PatternsArg>,
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
    /// Write how objective and proved bound have closed here (.csv): seconds, upper, lower, neurons
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Weight decay: a fraction of the λ at which the network is constant, abs:VALUE, or cv for
    /// the best under cross-validation
    #[arg(long, value_name = "cv|FRACTION|abs:VALUE", default_value = "cv", value_parser = lambda, allow_negative_numbers = true)]
    pub lambda: Lambda,
    /// Folds of cross-validation, with --lambda cv [default: 5]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..))]
    pub folds: Option<u32>,
    /// Which network to return of those with the same outputs and the same cost (ReLU neurons only)
    #[arg(long, value_name = "POLICY", value_enum, default_value = "narrow")]
    pub choose: ChooseArg,
    /// Table to choose on, with --choose validation: the columns of DATA, other rows
    #[arg(long, value_name = "FILE")]
    pub validation: Option<PathBuf>,
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
    /// Add the fewest neurons that an optimal network was found to need at each λ, with ≤ where
    /// fewer may do (ReLU neurons only)
    #[arg(long)]
    pub width: bool,
    /// Bound the optimum at these λ too, without a fit there: it is concave in λ, so the
    /// certificates of the path bound it in between. Fractions or abs:VALUE, separated by commas
    #[arg(long, value_name = "LAMBDA", value_delimiter = ',', value_parser = fixed_lambda, allow_negative_numbers = true)]
    pub at: Vec<Lambda>,
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
    /// Fitted model (.safetensors), or a two-layer ReLU network of another program: .onnx, or
    /// .safetensors or .npz with named weights
    pub model: PathBuf,
    /// Table with the columns of the fit and the target; for a network of another program the
    /// other columns are its inputs, in their order
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
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// For networks that bidual did not train.
#[derive(Args)]
#[command(next_help_heading = "Networks of other programs")]
pub struct AuditArgs {
    /// Loss: auto, squared, huber, huber:DELTA, logistic or squared-hinge [default: auto, logistic
    /// for a target with two distinct values and squared otherwise]
    #[arg(long, value_name = "LOSS", value_parser = loss)]
    pub loss: Option<LossArg>,
    /// Weight decay that the network was trained with: abs:VALUE, or a fraction of the λ at which
    /// the network is constant [default: the λ at which the network is closest to stationary]
    #[arg(long, value_name = "FRACTION|abs:VALUE", value_parser = lambda, allow_negative_numbers = true)]
    pub lambda: Option<Lambda>,
    /// Hidden bias, and whether weight decay acts on it [default: penalised, or none if all hidden
    /// biases are zero]
    #[arg(long, value_enum)]
    pub bias: Option<BiasArg>,
    /// Measure weight decay on the features as they are [default: as the network scales them, or
    /// standardised]
    #[arg(long)]
    pub no_standardize: bool,
    /// Which arrays of a .safetensors or .npz file are the weights [default: by shape and name]
    #[arg(long, value_name = "W1=..,b1=..,W2=..,b2=..")]
    pub names: Option<ArrayNames>,
    /// How the matrices of such a file lie [default: by shape]
    #[arg(long, value_enum)]
    pub layout: Option<LayoutArg>,
    /// Relative gap at which the network counts as globally optimal [default: 1e-4]
    #[arg(long, value_name = "GAP", value_parser = share, allow_negative_numbers = true)]
    pub tolerance: Option<f64>,
    /// auto: the proof stops after a fixed amount of work (about half a minute). global: it goes
    /// on until it is done or time is up [default: auto]
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// Wall-clock limit: 30, 30s, 5m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    pub time_limit: Option<Duration>,
    /// Write the best network found here (.safetensors): a model like those of `fit`, never worse
    /// than the network given
    #[arg(long, value_name = "MODEL")]
    pub improve: Option<PathBuf>,
}

impl AuditArgs {
    /// The first option given, by name.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.loss.is_some(), "--loss"),
            (self.lambda.is_some(), "--lambda"),
            (self.bias.is_some(), "--bias"),
            (self.no_standardize, "--no-standardize"),
            (self.names.is_some(), "--names"),
            (self.layout.is_some(), "--layout"),
            (self.tolerance.is_some(), "--tolerance"),
            (self.scope.is_some(), "--scope"),
            (self.time_limit.is_some(), "--time-limit"),
            (self.improve.is_some(), "--improve"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, name)| name)
    }
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
pub struct ExplainArgs {
    /// Fitted model (.safetensors, or .json as `export` writes it)
    pub model: PathBuf,
    /// Table with the columns of the fit, to say on how many samples each neuron is active and
    /// how much it contributes; the target is drawn if it is there
    pub data: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page with the same content here (.html), with a picture of the function if the
    /// network has one or two numeric features
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Args)]
pub struct ExportArgs {
    /// Fitted model (.safetensors)
    pub model: PathBuf,
    /// Write here: .onnx, or .json with the weights as plain numbers
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
