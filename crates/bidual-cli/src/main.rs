//! The command `bidual`: one verb a file, thin around the crates `bidual` and `bidual-io`.

mod args;
mod audit;
mod audit_report;
mod certify;
mod chosen;
mod data;
mod explain;
mod export;
mod fit;
mod model_file;
mod model_text;
mod options;
mod path;
mod predict;
mod progress;
mod report;
mod solve;
mod values;

use args::{Cli, Verb};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use options::pooled;
use std::io::Write;
use std::process::ExitCode;

/// How a verb ends when nothing is wrong with its input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and where a proof was asked for, proved to the tolerance.
    Done,
    /// Stopped before the tolerance was reached.
    StoppedEarly,
}

impl Outcome {
    /// `Done` if proved, else `StoppedEarly`.
    pub fn certified(yes: bool) -> Self {
        if yes { Outcome::Done } else { Outcome::StoppedEarly }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let outcome = match cli.verb {
        Verb::Fit(args) => pooled(args.train.threads, || fit::run(&args)),
        Verb::Predict(args) => predict::run(&args),
        Verb::Certify(args) => pooled(None, || certify::run(&args)),
        Verb::Path(args) => pooled(args.train.threads, || path::run(&args)),
        Verb::Solve(args) => solve::run(&args),
        Verb::Explain(args) => explain::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Completions { shell } => completions(shell),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::StoppedEarly) => ExitCode::from(1),
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Help and versions as clap writes them; errors in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let _ = error.print(); // a reader that went away is no error
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.to_string();
    let told = text.split("\n\nUsage:").next().unwrap_or_default();
    let told = told.split("\n\nFor more information").next().unwrap_or_default();
    let told = told.strip_prefix("error: ").unwrap_or(told).trim_end().replace("\n\n", "; ");
    fail(&format!("{told}; see --help"))
}

/// One line on stderr, exit code 2.
fn fail(message: &str) -> ExitCode {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(std::io::stderr(), "error: {line}");
    ExitCode::from(2)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<Outcome> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "bidual", &mut script);
    report::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
