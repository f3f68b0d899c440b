//! Progress on a terminal, and Ctrl-C.

use anyhow::{Context, Result};
use bidual::certificate::relative_gap;
use bidual::solver::{Observer, Progress, Status};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set by the first Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A moment of a solve: seconds since the start of the program, best objective, best proved bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub seconds: f64,
    pub upper: f64,
    pub lower: f64,
    pub neurons: usize,
}

/// Shows iteration and gap on stderr if that is a terminal; stops the solver after Ctrl-C.
pub struct Watch {
    bar: ProgressBar,
    stage: String,
    drawn: Instant,
    started: Instant,
    history: Vec<Moment>,
}

impl Watch {
    /// Installs the handler of Ctrl-C as well: the first one stops the solver,
    /// which returns the best network so far, a second one ends the process.
    pub fn start(quiet: bool) -> Result<Self> {
        ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        .context("the handler of Ctrl-C cannot be installed")?;
        let visible = !quiet && std::io::stderr().is_terminal();
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
            bar.set_style(style);
        }
        if visible {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        let now = Instant::now();
        Ok(Self { bar, stage: "preparing".into(), drawn: now, started: now, history: vec![] })
    }

    /// How objective and bound of the final solve have closed, a row an improvement.
    pub fn history(&self) -> &[Moment] {
        &self.history
    }

    fn record(&mut self, progress: &Progress) {
        let last = self.history.last().copied();
        let moment = Moment {
            seconds: self.started.elapsed().as_secs_f64(),
            upper: last.map_or(progress.upper, |m| m.upper.min(progress.upper)),
            lower: last.map_or(progress.lower, |m| m.lower.max(progress.lower)),
            neurons: progress.active,
        };
        if last.is_none_or(|m| m.upper != moment.upper || m.lower != moment.lower) {
            self.history.push(moment);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Watch {
    fn stage(&mut self, name: &str) {
        self.stage = name.to_owned();
        self.bar.set_message(self.stage.clone());
    }

    fn observe(&mut self, progress: &Progress) -> ControlFlow<Status> {
        if INTERRUPTED.load(Ordering::SeqCst) {
            return ControlFlow::Break(Status::Interrupted);
        }
        // cross-validation solves other problems
        if self.stage == "solving" || self.stage.starts_with("proving") {
            self.record(progress);
        }
        // the text is built a few times a second, not at each iteration
        if !self.bar.is_hidden() && self.drawn.elapsed() >= Duration::from_millis(100) {
            self.drawn = Instant::now();
            self.bar.set_message(format!(
                "{}: iteration {}, gap {:.1e}, {} neurons",
                self.stage,
                progress.iteration,
                relative_gap(progress.lower, progress.upper),
                progress.active
            ));
        }
        ControlFlow::Continue(())
    }
}
