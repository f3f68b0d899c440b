//! `bidual certify` for a network that another program trained.

use crate::Outcome;
use crate::args::CertifyArgs;
use crate::data::{Training, encode};
use crate::export::extension;
use crate::model_text::{bias_key, loss_key};
use crate::report::{self, Score};
use crate::values::LossArg;
use anyhow::{Context, Result, bail, ensure};
use bidual::{Bias, Lambda, Network, Scaling};
use bidual_io::atomic::check_output;
use bidual_io::foreign::{Found, ReadOptions, read_network};
use bidual_io::model::Tensors;
use bidual_io::table::read_table;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

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

/// All that an audit needs.
struct Request {
    /// On raw features.
    network: Network,
    found: Found,
    training: Training,
    /// `None`: the λ at which the network is closest to stationary.
    lambda: Option<Lambda>,
    bias: Bias,
    /// The coordinates in which weight decay is measured.
    scaling: Scaling,
    /// How those were chosen.
    scaling_reason: &'static str,
}

pub fn run(args: &CertifyArgs) -> Result<Outcome> {
    check(args)?;
    let request = request(args)?;
    audit(args, &request)
}

/// What can be refused before files are read.
fn check(args: &CertifyArgs) -> Result<()> {
    ensure!(
        args.audit.lambda != Some(Lambda::CrossValidated),
        "--lambda cv does not apply to a network that is trained already: give the λ, or none"
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
    let options = &args.audit;
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
    let read = ReadOptions { names: options.names.clone(), layout: options.layout.map(Into::into) };
    let foreign = read_network(&args.model, &read)?;
    let (network, found) = (foreign.network, foreign.found);
    let table = read_table(&args.data)?;
    let loss = options.loss.unwrap_or(LossArg::Auto);
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
    let without = network.biases.iter().all(|b| *b == 0.0);
    let bias = match options.bias {
        Some(bias) => bias.into(),
        None if without => Bias::None,
        None => Bias::Penalised,
    };
    ensure!(
        bias != Bias::None || without,
        "--bias none contradicts the network, which has hidden biases: use penalised or free"
    );
    let (scaling, scaling_reason) = match &found.scaling {
        _ if options.no_standardize => (Scaling::identity(inputs), "as they are"),
        Some(scaling) => (scaling.clone(), "as the network scales them"),
        None => {
            let data = &training.dataset;
            (Scaling::standard(&data.x, &data.normalised_weights()), "standardised")
        }
    };
    let lambda = options.lambda;
    Ok(Request { network, found, training, lambda, bias, scaling, scaling_reason })
}

// ---------------------------------------------------------------------------
// SEAM: `bidual::audit` goes here. It gets the network in the coordinates of
// `request.scaling` (`network.unfold(&scaling)` on `scaling.apply(&x)`), the
// loss, λ and the bias, and returns objective, lower bound, stationarity, the
// neuron to add first and, for `args.audit.improve`, a better network. Until
// then the network is reported as it was read, and nothing is proved.
// ---------------------------------------------------------------------------
fn audit(args: &CertifyArgs, request: &Request) -> Result<Outcome> {
    ensure!(
        args.audit.improve.is_none(),
        "--improve is not supported yet for networks of other programs"
    );
    let data = &request.training.dataset;
    let outputs = request.network.predict(&data.x);
    let loss = request.training.loss;
    let score = Score::of(data, &outputs, loss.is_classification());
    let trained = request.network.clone().unfold(&request.scaling);
    let decay = trained.weight_decay(request.bias);
    if args.json {
        report::print_json(&json!({
            "format": request.found.format,
            "producer": request.found.producer,
            "parts": request.found.parts,
            "logit": request.found.logit,
            "neurons": request.network.neurons(),
            "loss": loss_key(loss),
            "bias": bias_key(request.bias),
            "weight_decay": decay,
            "lambda": match request.lambda {
                Some(Lambda::Absolute(value)) => Some(value),
                _ => None,
            },
            "samples": data.samples(),
            "score": score.json(),
            "lower": null,
            "certified": false,
            "version": env!("CARGO_PKG_VERSION"),
        }))?;
        return Ok(Outcome::StoppedEarly);
    }
    let found = &request.found;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // writing to a string cannot fail
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let producer = found.producer.as_ref().map(|p| format!(" of {p}")).unwrap_or_default();
    let parts = found.parts.join(", ");
    line("read", format!("{}{producer}: {parts}", found.format));
    line(
        "network",
        format!(
            "{} ReLU neurons of {} inputs; hidden bias {}",
            request.network.neurons(),
            request.network.inputs(),
            bias_key(request.bias)
        ),
    );
    let reason = request.training.loss_reason.map(|r| format!(" ({r})")).unwrap_or_default();
    line("loss", loss_key(loss) + &reason);
    line(
        "weight decay",
        format!("{} on the features {}", report::significant(decay, 6), request.scaling_reason),
    );
    line("proved", "no lower bound was proved".to_owned());
    line("score", score.text());
    report::print(&text)?;
    Ok(Outcome::StoppedEarly)
}
