//! What an audit refuses, and the λ that it is about.

use super::{AuditLambda, AuditOptions};
use crate::data::Dataset;
use crate::linalg::column;
use crate::network::{Bias, Network};
use crate::optimal_set::gauge;
use crate::{Error, Result};

/// The network on scaled features, if it is one that the options are about.
pub(super) fn check(network: &Network, data: &Dataset, options: &AuditOptions) -> Result<Network> {
    if network.gates.is_some() {
        return Err(Error::Option("only ReLU networks can be audited".into()));
    }
    let (d, features) = (network.inputs(), data.features());
    if d != features || options.scaling.mean.len() != d {
        return Err(Error::Data(format!(
            "the network takes {d} features, the scaling {}, and the data have {features}: give the data that the network was trained on",
            options.scaling.mean.len()
        )));
    }
    let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
    let columns = (0..network.neurons()).all(|j| finite(column(&network.weights, j)));
    if !(columns
        && finite(&network.biases)
        && finite(&network.outputs)
        && network.output_bias.is_finite())
    {
        return Err(Error::Data(
            "the network has weights that are not finite: it has diverged".into(),
        ));
    }
    if !options.output_bias && network.output_bias != 0.0 {
        return Err(Error::Option(format!(
            "the network has the output bias {}: audit it with one",
            network.output_bias
        )));
    }
    let mut given = network.clone().unfold(&options.scaling);
    settle_biases(&mut given, network, options)?;
    Ok(given)
}

/// Without hidden biases those on scaled features must vanish: up to rounding they are set to 0.
fn settle_biases(given: &mut Network, raw: &Network, options: &AuditOptions) -> Result<()> {
    if options.bias != Bias::None {
        return Ok(());
    }
    if !raw.has_no_hidden_biases(&options.scaling) {
        return Err(Error::Option(
            "the network has hidden biases where weight decay is measured: audit it with penalised or free ones, or on features that are not centred"
                .into(),
        ));
    }
    given.biases.fill(0.0);
    Ok(())
}

pub(super) fn choose_lambda(
    options: &AuditOptions,
    estimate: Option<f64>,
    lambda_max: f64,
) -> Result<f64> {
    match (options.lambda, estimate) {
        (Some(AuditLambda::Absolute(value)), _) => Ok(value),
        (Some(AuditLambda::Fraction(share)), _) => Ok(share * lambda_max),
        (None, Some(value)) if value > 1e-12 * lambda_max => Ok(value),
        (None, Some(value)) => Err(Error::Option(format!(
            "the network is closest to stationary at λ = {value:.3e}, which is not positive: it was trained without weight decay, or is far from converged; give λ"
        ))),
        (None, None) => Err(Error::Option(
            "no neuron of the network is active on the data, so no λ can be read off it: give λ"
                .into(),
        )),
    }
}

/// Largest |ρ(w) − |a|| of the listed neurons, relative to the larger of the two.
pub(super) fn imbalance(network: &Network, neurons: &[usize], bias: Bias) -> f64 {
    let of = |&j: &usize| {
        let w = column(&network.weights, j);
        let (rho, a) = (gauge(w, network.biases[j], bias), network.outputs[j].abs());
        (rho - a).abs() / rho.max(a)
    };
    neurons.iter().map(of).fold(0.0, f64::max)
}
