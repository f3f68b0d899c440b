//! The networks with the same outputs and the same cost as a trained one, and the choice of one.
//!
//! Of an optimal network the [optimal set](crate::optimal_set) on a dictionary: its own neurons and
//! the optimal directions that were found, the maximisers of |νᵀφ(Xu)| at its residual ν. The
//! statements here are about networks on that dictionary; where patterns are listed it holds the
//! optimal directions of all of them. Nothing depends on optimality but the name of the set: the sum
//! of the sizes may exceed that of the network by rounding only, so that a member costs as much, to
//! [`UNCHANGED`].

mod alternatives;
mod dictionary;

pub use alternatives::{Alternatives, Spread};

use crate::data::Dataset;
use crate::fit::Prepared;
use crate::formulation::objective;
use crate::linalg::norm;
use crate::network::{Bias, Network};
use crate::options::{Activation, Options, PatternChoice};
use crate::{Error, Result};
use alternatives::Found;

/// The objective of a chosen network may exceed that of the trained one by this share.
pub const UNCHANGED: f64 = 1e-9;

/// Which of the networks with the same outputs and cost a fit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choose {
    /// Few neurons: those of one closed cell are added up, and those that others can replace at no
    /// cost are pruned.
    #[default]
    Narrow,
    /// The fewest neurons, where the directions are few enough to tell.
    LeastWidth,
    /// The least ℓ2 norm of the sizes ρ(w_j)|a_j|: cost spread over many neurons.
    LeastNorm,
    /// The least loss on validation data.
    Validation,
}

impl Choose {
    /// Name, as printed and stored.
    pub fn name(self) -> &'static str {
        match self {
            Choose::Narrow => "narrow",
            Choose::LeastWidth => "least-width",
            Choose::LeastNorm => "least-norm",
            Choose::Validation => "validation",
        }
    }
}

/// Validation losses of a choice by validation data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationLoss {
    /// Of the narrow network, which is what `Choose::Narrow` returns.
    pub narrow: f64,
    /// Of the chosen network.
    pub chosen: f64,
    /// No network on the dictionary has less than `chosen − gap` (up to the accuracy of a linear
    /// program).
    pub gap: f64,
}

/// How a network was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Directions of the dictionary.
    pub directions: usize,
    /// How many of them are neurons of the narrow network.
    pub own: usize,
    /// True if the others are all optimal directions in the scope of the certificate (up to the
    /// accuracy of ν), false if they are those that a search found.
    pub complete: bool,
    /// Directions minus rank of their features: 0 if the narrow network is the only one.
    pub freedom: usize,
    /// Neurons of the narrow network.
    pub narrow_width: usize,
    /// ‖c‖₂ of the narrow and of the chosen network.
    pub norms: [f64; 2],
    /// For [`Choose::LeastWidth`]: whether no network on the dictionary has fewer neurons.
    pub minimal: Option<bool>,
    /// For [`Choose::Validation`].
    pub validation: Option<ValidationLoss>,
    /// Why the narrow network was kept after all, if it was.
    pub kept: Option<String>,
}

/// Refuses what has no such set, or none that is implemented.
pub(crate) fn applies(options: &Options) -> Result<()> {
    if options.activation != Activation::Relu {
        return Err(Error::Option(
            "the choice among networks with the same outputs is for ReLU networks: a gated network is kept as it is; choose narrow, or ReLU neurons"
                .into(),
        ));
    }
    let listed = !matches!(options.patterns, PatternChoice::Generated(_));
    if listed && options.bias == Bias::Free {
        return Err(Error::Option(
            "with a free hidden bias the networks with the same outputs are compared over all patterns only, not over listed ones: use the scope auto or global, or another hidden bias"
                .into(),
        ));
    }
    Ok(())
}

/// Checks a choice against its validation data, before anything is trained.
pub(crate) fn check(options: &Options, data: &Dataset, validation: Option<&Dataset>) -> Result<()> {
    if options.choose == Choose::Narrow {
        return Ok(());
    }
    applies(options)?;
    if options.choose == Choose::Validation {
        let given = needed(validation)?;
        if given.features() != data.features() {
            return Err(Error::Data(format!(
                "the validation data have {} features, the training data {}: give the same columns",
                given.features(),
                data.features()
            )));
        }
        // targets that the loss cannot take are refused here, not after the training
        options.loss.build(&given.y, given.normalised_weights())?;
    }
    Ok(())
}

fn needed(validation: Option<&Dataset>) -> Result<&Dataset> {
    validation.ok_or_else(|| {
        Error::Option(
            "the choice by validation loss needs validation data: give them, or choose another policy"
                .into(),
        )
    })
}

/// The network that `options.choose` asks for, on raw features, in place of `narrow` (on scaled
/// features), whose objective is `upper`; `more` are further neurons of the same solution. What
/// goes wrong is a reason to keep `narrow`, which is certified.
pub(crate) fn select(
    data: &Dataset,
    validation: Option<&Dataset>,
    options: &Options,
    prepared: &Prepared,
    narrow: &Network,
    more: &Network,
    (lambda, upper): (f64, f64),
) -> (Option<(Network, f64)>, Selection) {
    let mut selection = Selection {
        directions: narrow.neurons(),
        own: narrow.neurons(),
        complete: false,
        freedom: 0,
        narrow_width: narrow.neurons(),
        norms: [0.0; 2],
        minimal: None,
        validation: None,
        kept: None,
    };
    let found = Alternatives::new(data, options, prepared, narrow, Some(more), lambda)
        .and_then(|all| Ok((all.choose(options, validation)?, all)));
    let ((sizes, told), all) = match found {
        Ok(found) => found,
        Err(error) => {
            selection.kept = Some(error.to_string());
            return (None, selection);
        }
    };
    selection.directions = all.set().directions();
    selection.own = all.known();
    selection.complete = all.is_complete();
    selection.freedom = all.set().freedom();
    selection.norms = [norm(all.set().sizes()), norm(&sizes)];
    match told {
        Found::Nothing => {}
        Found::Width(minimal) => selection.minimal = Some(minimal),
        Found::Loss(loss) => selection.validation = Some(loss),
    }
    if sizes == all.set().sizes() && all.known() == narrow.neurons() {
        return (None, selection);
    }
    let network = all.network(&sizes);
    let value =
        objective(&network, data, &prepared.scaling, prepared.loss.as_ref(), lambda, options.bias);
    if value <= upper + UNCHANGED * upper.abs() {
        return (Some((network, value)), selection);
    }
    selection.kept = Some(format!(
        "the network found has the objective {value:?}, more than {UNCHANGED:e} above {upper:?}"
    ));
    selection.norms[1] = selection.norms[0];
    if let Some(loss) = &mut selection.validation {
        // nothing is known of the best member then
        (loss.chosen, loss.gap) = (loss.narrow, f64::INFINITY);
    }
    selection.minimal = selection.minimal.map(|_| false);
    (None, selection)
}
