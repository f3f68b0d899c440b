//! `bidual fit`: a table in, a certified network out.

use crate::Outcome;
use crate::args::FitArgs;
use crate::chosen;
use crate::data::{Training, load_labelled, load_training};
use crate::export::{extension, onnx};
use crate::model_file::Stored;
use crate::model_text::{activation_key, bias_key, loss_key};
use crate::options::options;
use crate::predict;
use crate::progress::{Moment, Watch};
use crate::report::{self, Score, gap_text, significant, significant_above};
use anyhow::{Context, Result, bail, ensure};
use bidual::solver::Status;
use bidual::{Activation, Choose, Lambda, Options, PatternChoice};
use bidual_io::atomic::{check_output, write_atomically};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub fn run(args: &FitArgs) -> Result<Outcome> {
    let started = Instant::now();
    check_outputs(args)?;
    ensure!(
        args.folds.is_none() || args.lambda == Lambda::CrossValidated,
        "--folds applies to --lambda cv only: drop one of the two"
    );
    let choose = Choose::from(args.choose);
    ensure!(
        choose == Choose::Validation || args.validation.is_none(),
        "--validation is the table of --choose validation, found --choose {}: drop one of the two",
        choose.name()
    );
    ensure!(
        choose != Choose::Validation || args.validation.is_some(),
        "--choose validation needs a table to choose on: add --validation FILE, with the columns of {}",
        args.train.data.display()
    );
    let training = load_training(&args.train)?;
    if let Some(path) = &args.predictions {
        predict::check_output(path, training.classes.as_ref())?;
    }
    let Training { dataset, encoding, loss, loss_reason, classes, headless } = training;
    let folds = args.folds.map_or(bidual::Options::default().folds, |k| k as usize);
    let names = encoding.feature_names();
    let options = Options { choose, ..options(&args.train, loss, args.lambda, folds, &names)? };
    options.validate()?;
    let (target, weights) = (args.train.target.clone(), args.train.weights.clone());
    let validation = args.validation.as_ref().map(|path| {
        load_labelled(path, &encoding, &target, classes.as_ref(), weights.as_deref())
            .context("--validation")
    });
    let validation = validation.transpose()?;

    let mut watch = Watch::start(args.train.quiet)?;
    let model = bidual::fit_with_validation(&dataset, validation.as_ref(), &options, &mut watch);
    watch.finish();
    let stored = Stored { model: model?, encoding, target, classes, weights };

    // everything that can fail in memory before the first file is touched
    let tensors = stored.to_tensors();
    let exported = args.onnx.as_ref().map(|_| onnx(&stored)).transpose()?;
    if let Some(path) = &args.output {
        tensors.save(path)?;
    }
    if let Some(path) = &args.history {
        let mut text = String::from("seconds,upper,lower,neurons\n");
        let mut moments = watch.history().to_vec();
        let certificate = stored.model.certificate;
        moments.push(Moment {
            seconds: started.elapsed().as_secs_f64(),
            upper: certificate.upper,
            lower: certificate.lower,
            neurons: stored.model.network.neurons(),
        });
        for m in moments {
            // writing to a string cannot fail
            let _ = writeln!(text, "{:.4},{:?},{:?},{}", m.seconds, m.upper, m.lower, m.neurons);
        }
        write_atomically(path, |out| out.write_all(text.as_bytes()))?;
    }
    if let (Some(path), Some(bytes)) = (&args.onnx, exported) {
        write_atomically(path, |out| out.write_all(&bytes))?;
    }
    let outputs = stored.model.predict(&dataset.x);
    if let Some(path) = &args.predictions {
        predict::write(Some(path), &outputs, loss, stored.classes.as_ref())?;
    }

    let result = Fitted {
        args,
        stored: &stored,
        score: Score::of(&dataset, &outputs, loss.is_classification()),
        samples: dataset.samples(),
        loss_reason,
        headless,
        seconds: started.elapsed().as_secs_f64(),
    };
    if args.train.json {
        report::print_json(&result.json())?;
    } else if !args.train.quiet {
        report::print(&result.text())?;
    }
    Ok(Outcome::certified(stored.model.status == Status::Certified))
}

/// Before the long computation: extensions, directories, and no file named twice.
fn check_outputs(args: &FitArgs) -> Result<()> {
    let named = [(&args.output, "safetensors"), (&args.onnx, "onnx"), (&args.history, "csv")];
    for (path, expected) in named {
        let Some(path) = path else { continue };
        let found = extension(path);
        if found != expected {
            bail!(
                "{}: expected a .{expected} file, found the extension {found:?}; rename it",
                path.display()
            );
        }
        check_output(path)?;
    }
    if let Some(path) = &args.predictions {
        predict::check_output(path, None)?;
    }
    let mut others = vec![&args.train.data];
    if let Some(crate::values::PatternsArg::File(path)) = &args.train.patterns {
        others.push(path);
    }
    others.extend(args.validation.as_ref());
    for path in [&args.output, &args.onnx, &args.predictions, &args.history].into_iter().flatten() {
        refuse_overwrite(path, &others)?;
        others.push(path);
    }
    Ok(())
}

/// Refuses an output that is also an input or another output.
pub fn refuse_overwrite(path: &Path, others: &[&PathBuf]) -> Result<()> {
    let same = |a: &Path, b: &Path| {
        a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    match others.iter().find(|other| same(path, other)) {
        Some(_) => bail!("{}: is named twice; write to another file", path.display()),
        None => Ok(()),
    }
}

/// What is told about a fit.
struct Fitted<'a> {
    args: &'a FitArgs,
    stored: &'a Stored,
    score: Score,
    samples: usize,
    loss_reason: Option<&'static str>,
    headless: bool,
    seconds: f64,
}

impl Fitted<'_> {
    fn files(&self) -> [(&'static str, Option<&PathBuf>); 4] {
        let args = self.args;
        [
            ("model", args.output.as_ref()),
            ("onnx", args.onnx.as_ref()),
            ("predictions", args.predictions.as_ref()),
            ("history", args.history.as_ref()),
        ]
    }

    fn text(&self) -> String {
        let (model, options) = (&self.stored.model, &self.stored.model.options);
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // writing to a string cannot fail
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line("data", self.data_text());
        if self.headless {
            let hint = "the column names look like data: if the first line is a row, put a header line before it";
            line("note", hint.to_owned());
        }
        let reason = self.loss_reason.map(|r| format!(" ({r})")).unwrap_or_default();
        line("loss", loss_key(options.loss) + &reason);
        line("lambda", self.lambda_text());
        let kind = match options.activation {
            Activation::Relu => "ReLU neurons",
            Activation::Gated => "gated neurons",
        };
        let from = match (options.activation, &options.patterns) {
            (_, PatternChoice::Generated(_)) => String::new(),
            (Activation::Relu, _) => format!(", from {} activation patterns", model.patterns),
            (Activation::Gated, _) => format!(", from {} gates", model.patterns),
        };
        line(
            "network",
            format!(
                "{} {kind}{from}; hidden bias {}, output bias {}",
                model.network.neurons(),
                bias_key(options.bias),
                if options.output_bias { "free" } else { "none" }
            ),
        );
        if model.network.neurons() == 0 && model.lambda >= model.lambda_max {
            line("note", self.constant_text());
        }
        if let Some(how) = &model.selection {
            let certified = model.status == Status::Certified;
            line("chosen", chosen::text(options.choose, how, model.network.neurons(), certified));
        }
        line("objective", significant_above(model.certificate.upper, 9));
        let gap = gap_text(model.certificate.relative_gap());
        line("proved", format!("{} (relative gap {gap})", report::statement(&model.certificate)));
        line("status", format!("{}: {}", model.status.name(), model.status.advice()));
        line("train score", self.score.text());
        line("time", format!("{:.2} s, {} iterations", self.seconds, model.iterations));
        let files = self.files().into_iter().filter_map(|(_, path)| path);
        let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
        if !files.is_empty() {
            line("written", files.join(", "));
        }
        text
    }

    fn data_text(&self) -> String {
        let weighted = self.stored.weights.as_ref().map(|w| format!(", weighted by {w:?}"));
        let target = match &self.stored.classes {
            Some([negative, positive]) => {
                format!("{:?} ({negative} or {positive})", self.stored.target)
            }
            None => format!("{:?}", self.stored.target),
        };
        format!(
            "{}: {} samples, {} features, target {target}{}",
            self.args.train.data.display(),
            self.samples,
            self.stored.model.network.inputs(),
            weighted.unwrap_or_default()
        )
    }

    fn lambda_text(&self) -> String {
        let model = &self.stored.model;
        let chosen = match &model.cross_validation {
            Some(cv) if cv.finished && cv.ends_at_best() => format!(
                ", chosen by {}-fold cross-validation: the smallest tried, a smaller one may predict better",
                cv.folds
            ),
            Some(cv) if cv.finished => format!(", chosen by {}-fold cross-validation", cv.folds),
            Some(cv) => {
                format!(", from {}-fold cross-validation that was stopped early", cv.folds)
            }
            None => String::new(),
        };
        format!(
            "{} = {} of λ_max {}{chosen}",
            significant(model.lambda, 6),
            significant(model.lambda / model.lambda_max, 4),
            significant(model.lambda_max, 6)
        )
    }

    /// Why there are no neurons.
    fn constant_text(&self) -> String {
        let model = &self.stored.model;
        let constant = match model.options.output_bias {
            true => format!("constant, {}", significant(model.network.output_bias, 4)),
            false => "zero everywhere".to_owned(),
        };
        let advice = match model.cross_validation {
            Some(_) => "no smaller one tried predicted better",
            None => "for neurons take a smaller one, such as --lambda 0.1",
        };
        format!("λ is at or above λ_max, where the best network is {constant}; {advice}")
    }

    fn choose_json(&self) -> Value {
        let model = &self.stored.model;
        let mut value = chosen::json(model.options.choose, model.selection.as_ref());
        if let Some(path) = &self.args.validation {
            value["validation_file"] = json!(path.display().to_string());
        }
        value
    }

    fn json(&self) -> Value {
        let (model, options) = (&self.stored.model, &self.stored.model.options);
        let certificate = &model.certificate;
        let mut scope = report::scope_json(certificate.scope);
        scope["patterns"] = json!(model.patterns);
        let files: serde_json::Map<String, Value> = self
            .files()
            .into_iter()
            .filter_map(|(name, path)| Some((name.to_owned(), json!(path?.display().to_string()))))
            .collect();
        json!({
            "objective": certificate.upper,
            "lower": certificate.lower,
            "upper": certificate.upper,
            "relative_gap": certificate.relative_gap(),
            "tolerance": options.tolerance,
            "scope": scope,
            "status": report::status_key(model.status),
            "advice": model.status.advice(),
            "lambda": model.lambda,
            "lambda_max": model.lambda_max,
            "lambda_fraction": model.lambda / model.lambda_max,
            "cross_validation": model.cross_validation.as_ref().map(report::cross_validation_json),
            "neurons": model.network.neurons(),
            "choose": self.choose_json(),
            "samples": self.samples,
            "features": model.network.inputs(),
            "target": self.stored.target,
            "classes": self.stored.classes,
            "loss": loss_key(options.loss),
            "activation": activation_key(options.activation),
            "bias": bias_key(options.bias),
            "output_bias": options.output_bias,
            "standardize": options.standardize,
            "seed": options.seed,
            "score": self.score.json(),
            "seconds": self.seconds,
            "iterations": model.iterations,
            "cones": model.cones,
            "method": report::certificate_json(certificate)["method"],
            "version": env!("CARGO_PKG_VERSION"),
            "files": files,
        })
    }
}
