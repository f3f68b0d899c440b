//! What an audit found, as text and JSON.

use crate::data::Training;
use crate::model_text::{bias_key, loss_key};
use crate::report::{self, Score, gap_text, significant, significant_above};
use bidual::audit::{Audit, AuditOptions, Proposal};
use bidual::stationarity::Verdict;
use bidual::{Network, Scaling};
use bidual_io::foreign::Found;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Features of a direction that are shown as text.
const SHOWN: usize = 6;

/// An audit with what it was about.
pub struct Report<'a> {
    pub audit: &'a Audit,
    pub network: &'a Network,
    pub found: &'a Found,
    pub training: &'a Training,
    pub options: &'a AuditOptions,
    pub scaling_reason: &'static str,
    pub written: Option<&'a Path>,
    pub seconds: f64,
}

impl Report<'_> {
    fn score(&self) -> Score {
        let data = &self.training.dataset;
        let outputs = self.network.predict(&data.x);
        Score::of(data, &outputs, self.training.loss.is_classification())
    }

    fn certified(&self) -> bool {
        self.audit.relative_gap() <= self.options.tolerance
    }

    pub fn text(&self) -> String {
        let (audit, options, found) = (self.audit, self.options, self.found);
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // writing to a string cannot fail
            let _ = writeln!(text, "{name:<12} {value}");
        };
        let producer = found.producer.as_ref().map(|p| format!(" of {p}")).unwrap_or_default();
        line("read", format!("{}{producer}: {}", found.format, found.parts.join(", ")));
        line(
            "network",
            format!(
                "{} ReLU neurons of {} inputs; hidden bias {}, output bias {}",
                audit.neurons,
                self.network.inputs(),
                bias_key(options.bias),
                if options.output_bias { "free" } else { "none" }
            ),
        );
        let reason = self.training.loss_reason.map(|r| format!(" ({r})")).unwrap_or_default();
        line("loss", loss_key(options.loss) + &reason);
        line("weight decay", format!("on the features {}", self.scaling_reason));
        line("lambda", self.lambda_text());
        line("objective", self.objective_text());
        let gap = gap_text(audit.relative_gap());
        let statement = report::statement(&audit.certificate);
        line("proved", format!("{statement} (relative gap {gap})"));
        line("stationary", self.stationary_text());
        if let Some(proposal) = &audit.proposal {
            line("add first", self.proposal_text(proposal));
        }
        line(
            "best found",
            format!(
                "{}, {} neurons (relative gap {})",
                significant_above(audit.best, 9),
                audit.best_neurons,
                gap_text(audit.best_gap)
            ),
        );
        line("verdict", self.verdict_text());
        line("score", self.score().text());
        line("time", format!("{:.2} s", self.seconds));
        if let Some(path) = self.written {
            line("written", path.display().to_string());
        }
        text
    }

    fn lambda_text(&self) -> String {
        let audit = self.audit;
        let share = significant(audit.lambda / audit.lambda_max, 4);
        let (value, most) = (significant(audit.lambda, 6), significant(audit.lambda_max, 6));
        let why = match audit.estimate {
            _ if audit.lambda_estimated => {
                "; none was given, at this one the network is closest to stationary".to_owned()
            }
            Some(estimate) => {
                format!("; the network is closest to stationary at {}", significant(estimate, 4))
            }
            None => String::new(),
        };
        format!("{value} = {share} of λ_max {most}{why}")
    }

    fn objective_text(&self) -> String {
        let audit = self.audit;
        let idle = match audit.idle {
            0 => String::new(),
            1 => "1 idle neuron dropped, ".into(),
            k => format!("{k} idle neurons dropped, "),
        };
        let refitted = if self.options.output_bias { ", output bias refitted" } else { "" };
        format!(
            "{}; {} for free ({idle}weights balanced{refitted})",
            significant_above(audit.certificate.upper, 9),
            significant_above(audit.tidied, 9),
        )
    }

    fn stationary_text(&self) -> String {
        let (audit, found) = (self.audit, &self.audit.stationarity);
        let Some(worst) = audit.worst_neuron() else {
            return "yes: no neuron does anything".into();
        };
        let passing = found.neurons.iter().filter(|n| n.verdict == Verdict::Stationary).count();
        let (answer, residual) = match found.verdict {
            Verdict::Stationary => ("yes", found.residual),
            Verdict::Undecided => ("undecided, with too many samples on kinks", found.residual),
            Verdict::ClarkeOnly => ("no, stuck at a kink", found.residual),
            Verdict::NotStationary => ("no", found.residual),
        };
        format!(
            "{answer}: {passing} of {} neurons are, to {} λ; the worst, neuron {}, is off by {} λ",
            audit.checked.len(),
            significant(self.options.stationarity.residual, 1),
            worst + 1,
            significant(residual, 2)
        )
    }

    fn proposal_text(&self, proposal: &Proposal) -> String {
        format!(
            "{}·max(0, {}): price {} λ, lowers the objective by {}",
            significant(if proposal.negative { -proposal.size } else { proposal.size }, 4),
            self.direction_text(proposal),
            significant(proposal.price / self.audit.lambda, 5),
            significant(proposal.decrease, 3)
        )
    }

    /// `0.83·f1 - 0.31·f2 + 0.5`, the features that move it most first.
    fn direction_text(&self, proposal: &Proposal) -> String {
        let names = self.training.encoding.feature_names();
        let data = &self.training.dataset;
        let spread = Scaling::standard(&data.x, &data.normalised_weights()).inverse_scale;
        let effect = |j: usize| {
            if spread[j] > 0.0 { (proposal.direction[j] / spread[j]).abs() } else { 0.0 }
        };
        let mut order: Vec<usize> = (0..names.len()).filter(|&j| effect(j) > 0.0).collect();
        order.sort_by(|&a, &b| effect(b).total_cmp(&effect(a)).then(a.cmp(&b)));
        let mut text = String::new();
        let mut term = |value: f64, name: &str| {
            let sign = match (text.is_empty(), value < 0.0) {
                (true, false) => "",
                (true, true) => "-",
                (false, false) => " + ",
                (false, true) => " - ",
            };
            let _ = write!(text, "{sign}{}{name}", significant(value.abs(), 3));
        };
        for &j in order.iter().take(SHOWN) {
            term(proposal.direction[j], &format!("·{}", names[j]));
        }
        if proposal.offset != 0.0 || order.is_empty() {
            term(proposal.offset, "");
        }
        if order.len() > SHOWN { text + " + …" } else { text }
    }

    fn verdict_text(&self) -> String {
        let audit = self.audit;
        let upper = audit.certificate.upper;
        let tolerance = gap_text(self.options.tolerance);
        if self.certified() {
            return format!("globally optimal, to {tolerance} of the objective");
        }
        let better = (upper - audit.best) / upper.abs();
        if better > self.options.tolerance {
            return format!("not optimal: the best network found is {} % lower", percent(better));
        }
        format!(
            "open: the gap is above {tolerance}, and no network was found that is lower by as much; {}",
            audit.status.advice()
        )
    }

    pub fn json(&self) -> Value {
        let (audit, options, found) = (self.audit, self.options, self.found);
        let certificate = &audit.certificate;
        let names = self.training.encoding.feature_names();
        let stationarity = &audit.stationarity;
        let passing =
            |n: &&bidual::stationarity::NeuronStationarity| n.verdict == Verdict::Stationary;
        json!({
            "format": found.format,
            "producer": found.producer,
            "parts": found.parts,
            "logit": found.logit,
            "neurons": audit.neurons,
            "idle_neurons": audit.idle,
            "inputs": self.network.inputs(),
            "features": names,
            "loss": loss_key(options.loss),
            "bias": bias_key(options.bias),
            "output_bias": options.output_bias,
            "weight_decay_on": self.scaling_reason,
            "lambda": audit.lambda,
            "lambda_estimated": audit.lambda_estimated,
            "lambda_estimate": audit.estimate,
            "lambda_max": audit.lambda_max,
            "lambda_fraction": audit.lambda / audit.lambda_max,
            "objective": certificate.upper,
            "objective_after_free_improvements": audit.tidied,
            "imbalance": audit.imbalance,
            "lower": certificate.lower,
            "upper": certificate.upper,
            "own_lower": audit.own_lower,
            "relative_gap": audit.relative_gap(),
            "tolerance": options.tolerance,
            "certified": self.certified(),
            "certificate": report::certificate_json(certificate),
            "scope": report::scope_json(certificate.scope),
            "training_status": report::status_key(audit.status),
            "stationary": stationarity.verdict == Verdict::Stationary,
            "stationarity": {
                "verdict": match stationarity.verdict {
                    Verdict::Stationary => "stationary",
                    Verdict::Undecided => "undecided",
                    Verdict::ClarkeOnly => "clarke_only",
                    Verdict::NotStationary => "not_stationary",
                },
                "residual": stationarity.residual,
                "clarke_residual": stationarity.clarke_residual,
                "tolerance": options.stationarity.residual,
                "checked": audit.checked.len(),
                "passing": stationarity.neurons.iter().filter(passing).count(),
                "worst_neuron": audit.worst_neuron().map(|j| j + 1),
            },
            "add_first": audit.proposal.as_ref().map(|p| json!({
                "direction": p.direction,
                "offset": p.offset,
                "sign": if p.negative { -1 } else { 1 },
                "price": p.price,
                "price_over_lambda": p.price / audit.lambda,
                "gain": p.gain,
                "size": p.size,
                "decrease": p.decrease,
            })),
            "best": {
                "objective": audit.best,
                "neurons": audit.best_neurons,
                "relative_gap": audit.best_gap,
            },
            "samples": self.training.dataset.samples(),
            "score": self.score().json(),
            "seconds": self.seconds,
            "version": env!("CARGO_PKG_VERSION"),
            "files": self.written.map(|p| json!({"model": p.display().to_string()})),
        })
    }
}

/// Two digits of a percentage.
fn percent(share: f64) -> String {
    significant(100.0 * share, 2)
}
