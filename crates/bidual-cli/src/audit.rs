//! `bidual certify` for a network that another program trained.

use crate::Outcome;
use crate::args::CertifyArgs;
use crate::audit_report::Report;
use crate::data::{Training, encode};
use crate::export::extension;
use crate::model_file::Stored;
use crate::progress::Watch;
use crate::report;
use crate::values::{LossArg, ScopeArg};
use anyhow::{Context, Result, bail, ensure};
use bidual::audit::{AuditLambda, AuditOptions, audit};
use bidual::{Bias, Effort, Lambda, Network, Scaling};
use bidual_io::atomic::check_output;
use bidual_io::foreign::{Found, ReadOptions, read_network};
use bidual_io::model::Tensors;
use bidual_io::table::read_table;
use std::path::Path;
use std::time::Instant;

/// Whether a file holds a network of another program: by its format, or a
/// safetensors file without the mark of a model of bidual.
pub fn is_foreign(path: &Path) -> Result<bool> {
    Ok(match extension(path).as_str() {
        "onnx" | "npz" => true,
        "safetensors" => {
            let file = Tensors::load(path)?;
            !file.metadata.contains_key("bidual_version")
        }
        _ => false,
    })
}

/// A network with the data and the objective that it was trained on.
pub struct Request {
    /// On raw features.
    pub network: Network,
    /// What the file held.
    pub found: Found,
    /// The table.
    pub training: Training,
    /// The objective.
    pub options: AuditOptions,
    /// Why weight decay is measured on these features.
    pub scaling_reason: &'static str,
}

pub fn run(args: &CertifyArgs) -> Result<Outcome> {
    let started = Instant::now();
    check(args)?;
    let request = request(args)?;
    let mut watch = Watch::start(false)?;
    let result = audit(&request.network, &request.training.dataset, &request.options, &mut watch);
    watch.finish();
    let mut result = result.with_context(|| args.model.display().to_string())?;
    let Request { network, found, training, options, scaling_reason } = request;
    let (improved, written) = (result.improved.take(), args.audit.improve.as_deref());
    let report = Report {
        audit: &result,
        network: &network,
        found: &found,
        training: &training,
        options: &options,
        scaling_reason,
        written,
        seconds: started.elapsed().as_secs_f64(),
    };
    let text = if args.json { format!("{:#}\n", report.json()) } else { report.text() };
    if let (Some(path), Some(model)) = (written, improved) {
        let target = args.target.clone().unwrap_or_default();
        let (encoding, classes) = (training.encoding, training.classes);
        let weights = args.weights.clone();
        Stored { model, encoding, target, classes, weights }.to_tensors().save(path)?;
    }
    report::print(&text)?;
    Ok(Outcome::certified(result.relative_gap() <= options.tolerance))
}

/// What can be refused before files are read.
fn check(args: &CertifyArgs) -> Result<()> {
    ensure!(
        args.audit.lambda != Some(Lambda::CrossValidated),
        "--lambda cv does not apply to a network that is trained already: give the λ, or none"
    );
    ensure!(
        args.audit.scope != Some(ScopeArg::Sampled),
        "--scope sampled does not apply to an audit, which is about all networks: use auto or global"
    );
    if let Some(path) = &args.audit.improve {
        let found = extension(path);
        ensure!(
            found == "safetensors",
            "{}: expected a .safetensors file, found the extension {found:?}; rename it",
            path.display()
        );
        check_output(path)?;
        crate::fit::refuse_overwrite(path, &[&args.model, &args.data])?;
    }
    Ok(())
}

fn request(args: &CertifyArgs) -> Result<Request> {
    let asked = &args.audit;
    let target = args.target.as_deref().with_context(|| {
        format!(
            "{}: not a model of bidual; to audit a network of another program, add --target COL",
            args.model.display()
        )
    })?;
    ensure!(
        args.weights.as_deref() != Some(target),
        "column {target:?} cannot be both --target and --weights: name another column"
    );
    let read = ReadOptions { names: asked.names.clone(), layout: asked.layout.map(Into::into) };
    let foreign = read_network(&args.model, &read)?;
    let (network, found) = (foreign.network, foreign.found);
    let table = read_table(&args.data)?;
    let loss = asked.loss.unwrap_or(LossArg::Auto);
    let training = encode(&table, target, args.weights.as_deref(), false, loss)?;
    let (inputs, columns) = (network.inputs(), training.dataset.features());
    if inputs != columns {
        let names = training.encoding.feature_names();
        bail!(
            "{}: the network has {inputs} inputs, but the table has {columns} columns beside the target ({}); give a table with the inputs in their order",
            args.data.display(),
            report::list(&names)
        );
    }
    ensure!(
        !found.logit || training.loss.is_classification(),
        "the network ends in a probability or class, but the loss is for quantities: use --loss logistic, or a target with two classes"
    );
    let (scaling, scaling_reason, without) = coordinates(&network, &found, &training, args);
    let bias = match asked.bias {
        Some(bias) => bias.into(),
        None if without => Bias::None,
        None => Bias::Penalised,
    };
    ensure!(
        bias != Bias::None || without,
        "--bias none contradicts the network, which has hidden biases: use penalised or free"
    );
    let options = AuditOptions {
        bias,
        // a network without any biases is compared with its like
        output_bias: bias != Bias::None || network.output_bias != 0.0,
        lambda: match asked.lambda {
            Some(Lambda::Absolute(value)) => Some(AuditLambda::Absolute(value)),
            Some(Lambda::Fraction(share)) => Some(AuditLambda::Fraction(share)),
            Some(Lambda::CrossValidated) | None => None,
        },
        effort: if asked.scope == Some(ScopeArg::Global) {
            Effort::Unlimited
        } else {
            Effort::Auto
        },
        time_limit: asked.time_limit,
        improve: asked.improve.is_some(),
        ..AuditOptions::new(training.loss, scaling)
    };
    let options = match asked.tolerance {
        Some(tolerance) => AuditOptions { tolerance, ..options },
        None => options,
    };
    Ok(Request { network, found, training, options, scaling_reason })
}

/// The features on which weight decay is measured, why, and whether the network has no hidden
/// biases there.
fn coordinates(
    network: &Network,
    found: &Found,
    training: &Training,
    args: &CertifyArgs,
) -> (Scaling, &'static str, bool) {
    let unbiased = |scaling: &Scaling| network.has_no_hidden_biases(scaling);
    let raw = Scaling::identity(network.inputs());
    let without = unbiased(&raw);
    if args.audit.no_standardize {
        return (raw, "as they are", without);
    }
    if let Some(scaling) = &found.scaling {
        let without = unbiased(scaling);
        return (scaling.clone(), "as the network scales them", without);
    }
    let data = &training.dataset;
    let standard = Scaling::standard(&data.x, &data.normalised_weights());
    let unbiased_there = unbiased(&standard);
    let biased = matches!(args.audit.bias.map(Bias::from), Some(Bias::Penalised | Bias::Free));
    if without && !unbiased_there && !biased {
        // centring would give it biases
        return (raw, "as they are, for want of hidden biases", true);
    }
    (standard, "standardised", unbiased_there)
}
