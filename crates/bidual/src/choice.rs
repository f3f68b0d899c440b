//! The networks with the same outputs and the same cost as a trained one, and the choice of one.
//!
//! Of an optimal network the [optimal set](crate::optimal_set) on a dictionary: its own neurons and
//! the optimal directions that were found, the maximisers of |νᵀφ(Xu)| at its residual ν. The
//! statements here are about networks on that dictionary; where patterns are listed, and ρ is the
//! Euclidean norm, it holds the optimal directions of all of them. Nothing depends on optimality but
//! the name of the set: the sum of the sizes may not exceed that of the network, so a member never
//! costs more.

use crate::data::{Dataset, Scaling};
use crate::fit::{Model, Prepared, prepare};
use crate::formulation::{objective, with_ones};
use crate::linalg::{Mat, axpy, column, norm};
use crate::network::{Bias, Network};
use crate::optimal_set::{
    Directions, NarrowNetwork, OptimalSet, Range, SetOptions, cell_directions, gauge,
    optimal_directions, unit_features, with_sizes,
};
use crate::options::{Activation, Options};
use crate::{Error, Result};

/// Random starts of a search for optimal directions, and how often it is repeated.
const STARTS: usize = 192;
const SEARCHES: u64 = 4;
/// Candidates for an optimal direction have at least this share of the price λ before they are polished.
const LEVEL: f64 = 1.0 - 1e-5;
/// Directions of one sign closer than this to a neuron of the network are that neuron.
const SAME: f64 = 1e-4;
/// Neurons of one sign closer than this are one neuron in two parts.
const TWINS: f64 = 1e-9;
/// Ranges narrower than this share of Σc are points.
const POINT: f64 = 1e-6;
/// Most rows × directions² of a set, and directions² × degrees of freedom of its ranges: seconds.
const MOST_ROWS: f64 = 2e9;
const MOST_RANGES: f64 = 4e6;
/// The objective of a chosen network may exceed that of the trained one by this share.
pub const UNCHANGED: f64 = 1e-9;

/// Which of the networks with the same outputs and cost a fit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choose {
    /// Few neurons: those that others can replace at no cost are pruned.
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

/// How much the sizes of neurons differ between the networks with the same outputs and cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// For each neuron the range of its size ρ(w_j)|a_j|; neurons that add nothing have none. Neurons
    /// with the same direction and sign share one size in any way.
    pub ranges: Vec<Option<Range>>,
    /// Directions of the dictionary, and how many of them are the network's own.
    pub directions: usize,
    /// See `directions`.
    pub own: usize,
    /// See [`Selection::complete`].
    pub complete: bool,
    /// Own directions whose size is not the same in all these networks (up to 1e-6 of the sum).
    pub movable: usize,
    /// Own directions that some of these networks do without.
    pub dispensable: usize,
    /// Other directions that some of these networks use.
    pub joining: usize,
}

impl Spread {
    /// True if no other network on the dictionary has the same outputs and at most the same cost,
    /// up to the way in which neurons of one direction share their size.
    pub fn is_unique(&self) -> bool {
        self.movable == 0 && self.joining == 0
    }
}

/// The networks with the outputs of a network on its training data and no more weight decay, on a
/// dictionary: first the neurons of the network, then the optimal directions.
pub struct Alternatives {
    /// Neurons of size 1 on scaled features.
    dictionary: Network,
    /// For each neuron of the network its place in the dictionary.
    own: Vec<Option<usize>>,
    /// Number of directions of the network.
    known: usize,
    set: OptimalSet,
    complete: bool,
    scaling: Scaling,
    bias: Bias,
    /// Features of the dictionary.
    phi: Mat,
}

impl Alternatives {
    /// Those of a model on the data of its fit.
    pub fn of(model: &Model, data: &Dataset) -> Result<Self> {
        let options = &model.options;
        applies(options)?;
        let prepared = prepare(data, options, Some((&model.scaling, model.gates.as_ref())))?;
        let scaled = model.network.clone().unfold(&model.scaling);
        Self::new(data, options, &prepared, &scaled, None, model.lambda)
    }

    /// Those of `network`, on scaled features; the neurons of `more` are candidates too.
    pub(crate) fn new(
        data: &Dataset,
        options: &Options,
        prepared: &Prepared,
        network: &Network,
        more: Option<&Network>,
        lambda: f64,
    ) -> Result<Self> {
        let x = prepared.scaling.apply(&data.x);
        let (_, sizes) = unit_features(network, &x, options.bias);
        let own = places(network, &sizes, options.bias);
        let first: Vec<f64> = (0..sizes.len())
            .map(|j| f64::from(own[j].is_some() && !own[..j].contains(&own[j])))
            .collect();
        let units = with_sizes(network, &first, options.bias);
        let known = units.neurons();
        check_work(x.nrows(), known)?;
        let (found, complete) = directions(prepared, options, &x, &units, network, more, lambda)?;
        let dictionary = joined(&units, &found, options.bias);
        check_work(x.nrows(), dictionary.neurons())?;
        let (phi, _) = unit_features(&dictionary, &x, options.bias);
        let mut start = vec![0.0; dictionary.neurons()];
        own.iter().zip(&sizes).for_each(|(place, c)| {
            if let Some(k) = place {
                start[*k] += c;
            }
        });
        // Σc may rise by half of what the objective may rise by
        let cost = lambda * start.iter().sum::<f64>();
        let value = prepared.loss.value(&network.predict(&x)) + cost;
        let slack = if cost > 0.0 { (0.5 * UNCHANGED * value / cost).min(1e-6) } else { 0.0 };
        let z = free_columns(x.nrows(), options.output_bias);
        let tolerances = SetOptions { norm_slack: slack, ..SetOptions::default() };
        let set = OptimalSet::new(&phi, &z, &start, tolerances)?;
        let scaling = prepared.scaling.clone();
        Ok(Self { dictionary, own, known, set, complete, scaling, bias: options.bias, phi })
    }

    /// The sizes of the members, in the order of the dictionary.
    pub fn set(&self) -> &OptimalSet {
        &self.set
    }

    /// For each neuron of the network its place in the dictionary. Neurons that add nothing have
    /// none, and those with the same direction and sign share one.
    pub fn own(&self) -> &[Option<usize>] {
        &self.own
    }

    /// Number of directions of the network itself, the first ones of the dictionary.
    pub fn known(&self) -> usize {
        self.known
    }

    /// True if the dictionary holds all optimal directions in the scope of the certificate, up to
    /// the accuracy of ν.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The narrowest member that is found.
    pub fn least_width(&self) -> Result<NarrowNetwork> {
        self.check_ranges()?;
        let found = self.set.least_width()?;
        let width = self.set.sizes().iter().filter(|c| **c > 0.0).count();
        // a vertex that is not narrower is no reason to move
        Ok(match found.minimal || found.width < width {
            true => found,
            false => NarrowNetwork { sizes: self.set.sizes().to_vec(), width, minimal: false },
        })
    }

    fn check_ranges(&self) -> Result<()> {
        let (k, p) = (self.set.directions() as f64, self.set.freedom() as f64);
        if k * k * p > MOST_RANGES {
            return Err(Error::Option(format!(
                "{k} directions with {p} degrees of freedom are too many to compare their networks: choose a larger λ"
            )));
        }
        Ok(())
    }

    /// The ranges of the sizes of the network's neurons.
    pub fn spread(&self) -> Result<Spread> {
        self.check_ranges()?;
        let ranges = self.set.ranges()?;
        let total: f64 = self.set.sizes().iter().sum();
        let moves = |r: &&Range| r.max - r.min > POINT * total;
        let (own, others) = ranges.split_at(self.known);
        let of = |place: &Option<usize>| {
            let range = own[(*place)?];
            let twins = self.own.iter().filter(|other| *other == place).count();
            Some(if twins > 1 { Range { min: 0.0, ..range } } else { range })
        };
        Ok(Spread {
            ranges: self.own.iter().map(of).collect(),
            directions: ranges.len(),
            own: self.known,
            complete: self.complete,
            movable: own.iter().filter(moves).count(),
            dispensable: own.iter().filter(moves).filter(|r| r.min <= POINT * total).count(),
            joining: others.iter().filter(moves).count(),
        })
    }

    /// The member with these sizes, on raw features: its output bias keeps the outputs.
    pub fn network(&self, sizes: &[f64]) -> Network {
        self.scaled(sizes).fold(&self.scaling)
    }

    fn scaled(&self, sizes: &[f64]) -> Network {
        let mut network = with_sizes(&self.dictionary, sizes, self.bias);
        let mut difference = vec![0.0; self.phi.nrows()];
        for (k, (before, after)) in self.set.sizes().iter().zip(sizes).enumerate() {
            axpy(before - after, column(&self.phi, k), &mut difference);
        }
        if self.set.free_parameters() > 0 {
            network.output_bias += difference.iter().sum::<f64>() / difference.len() as f64;
        }
        network
    }

    /// The member that `options.choose` asks for.
    fn choose(&self, options: &Options, validation: Option<&Dataset>) -> Result<(Vec<f64>, Found)> {
        let narrow = self.set.sizes().to_vec();
        Ok(match options.choose {
            Choose::Narrow => (narrow, Found::Nothing),
            Choose::LeastNorm => (self.set.least_norm()?, Found::Nothing),
            Choose::LeastWidth => {
                let found = self.least_width()?;
                (found.sizes, Found::Width(found.minimal))
            }
            Choose::Validation => {
                let data = needed(validation)?;
                let (phi, _) =
                    unit_features(&self.dictionary, &self.scaling.apply(&data.x), self.bias);
                let loss = options.loss.build(&data.y, data.normalised_weights())?;
                let z = free_columns(data.samples(), options.output_bias);
                let free = vec![self.dictionary.output_bias; z.ncols()];
                let chosen = self.set.best_on(&phi, &z, &free, loss.as_ref())?;
                let value = |c: &[f64]| loss.value(&self.network(c).predict(&data.x));
                let (before, after) = (value(&narrow), value(&chosen.sizes));
                // the smallest of rounding errors must not make it worse than the default
                let (sizes, after) =
                    if after <= before { (chosen.sizes, after) } else { (narrow, before) };
                let gap = chosen.gap;
                (sizes, Found::Loss(ValidationLoss { narrow: before, chosen: after, gap }))
            }
        })
    }
}

/// What a choice has found out.
enum Found {
    Nothing,
    Width(bool),
    Loss(ValidationLoss),
}

/// Refuses what has no such set, or none that is implemented.
pub(crate) fn applies(options: &Options) -> Result<()> {
    if options.activation != Activation::Relu {
        return Err(Error::Option(
            "the choice among networks with the same outputs is for ReLU networks: a gated network is kept as it is; choose narrow, or ReLU neurons"
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
    selection.directions = all.set.directions();
    selection.own = all.known;
    selection.complete = all.complete;
    selection.freedom = all.set.freedom();
    selection.norms = [norm(all.set.sizes()), norm(&sizes)];
    match told {
        Found::Nothing => {}
        Found::Width(minimal) => selection.minimal = Some(minimal),
        Found::Loss(loss) => selection.validation = Some(loss),
    }
    if sizes == all.set.sizes() && all.known == narrow.neurons() {
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

/// Refuses what would take minutes.
fn check_work(rows: usize, directions: usize) -> Result<()> {
    if rows as f64 * (directions as f64).powi(2) > MOST_ROWS {
        return Err(Error::Option(format!(
            "{directions} directions on {rows} samples are too many to compare their networks: choose a larger λ or fewer samples"
        )));
    }
    Ok(())
}

/// For each neuron its place among the different directions of a network with these sizes.
fn places(network: &Network, sizes: &[f64], bias: Bias) -> Vec<Option<usize>> {
    let mut kept: Vec<(Vec<f64>, f64)> = vec![];
    let place = |j: usize| {
        if sizes[j] == 0.0 {
            return None;
        }
        let (u, sign) = (unit(network, j, network.inputs() + 1, bias), network.outputs[j].signum());
        let twin = kept.iter().position(|(v, s)| *s == sign && distance(v, &u) <= TWINS);
        Some(twin.unwrap_or_else(|| {
            kept.push((u, sign));
            kept.len() - 1
        }))
    };
    (0..sizes.len()).map(place).collect()
}

fn distance(u: &[f64], v: &[f64]) -> f64 {
    u.iter().zip(v).fold(0.0, |t: f64, (a, b)| t.hypot(a - b))
}

/// A column of ones if there is a free output bias.
fn free_columns(rows: usize, output_bias: bool) -> Mat {
    Mat::from_fn(rows, usize::from(output_bias), |_, _| 1.0)
}

/// The optimal directions at the residual of `network` that are not its own (`units`), and whether
/// these are all of them.
fn directions(
    prepared: &Prepared,
    options: &Options,
    x: &Mat,
    units: &Network,
    network: &Network,
    more: Option<&Network>,
    lambda: f64,
) -> Result<(Directions, bool)> {
    let features = if options.bias == Bias::None { x.clone() } else { with_ones(x) };
    let program = prepared.formulation.program(lambda);
    let nu = program.residual(&network.predict(x));
    let p = features.ncols();
    let (mut candidates, mut signs): (Vec<Vec<f64>>, Vec<f64>) = (vec![], vec![]);
    let mut complete = false;
    for network in [Some(units), more].into_iter().flatten() {
        for j in 0..network.neurons() {
            candidates.push(weights(network, j, p));
            signs.push(network.outputs[j].signum());
        }
    }
    if let Some(global) = &prepared.global {
        let starts: Vec<(Vec<f64>, bool)> =
            candidates.iter().zip(&signs).map(|(u, s)| (u.clone(), *s < 0.0)).collect();
        for seed in 0..SEARCHES {
            let starts = if seed == 0 { starts.as_slice() } else { &[] };
            for c in global.oracle().search(&nu, starts, STARTS, seed, LEVEL * lambda) {
                candidates.push(c.direction);
                signs.push(if c.negative { -1.0 } else { 1.0 });
            }
        }
    } else if let Some(patterns) = prepared.listed.as_ref().filter(|_| options.bias != Bias::Free) {
        let found = cell_directions(&features, patterns, &nu, lambda)?;
        for k in 0..found.signs.len() {
            candidates.push(column(&found.directions, k).to_vec());
            signs.push(found.signs[k]);
        }
        complete = true;
    }
    let all = Mat::from_fn(p, candidates.len(), |i, k| candidates[k][i]);
    let found = optimal_directions(&features, &nu, lambda, options.bias, &all, &signs)?;
    let known: Vec<Vec<f64>> =
        (0..units.neurons()).map(|j| unit(units, j, p, options.bias)).collect();
    let new = |k: &usize| {
        let u = column(&found.directions, *k);
        let own = known.iter().zip(&units.outputs);
        !own.into_iter().any(|(v, a)| a.signum() == found.signs[*k] && distance(v, u) <= SAME)
    };
    let kept: Vec<usize> = (0..found.signs.len()).filter(new).collect();
    let found = Directions {
        directions: Mat::from_fn(p, kept.len(), |i, k| found.directions[(i, kept[k])]),
        signs: kept.iter().map(|&k| found.signs[k]).collect(),
        prices: kept.iter().map(|&k| found.prices[k]).collect(),
    };
    Ok((found, complete))
}

/// (w_j, b_j), without b_j where there is no hidden bias.
fn weights(network: &Network, j: usize, p: usize) -> Vec<f64> {
    let mut u = column(&network.weights, j).to_vec();
    if u.len() < p {
        u.push(network.biases[j]);
    }
    u
}

fn unit(network: &Network, j: usize, p: usize, bias: Bias) -> Vec<f64> {
    let rho = gauge(column(&network.weights, j), network.biases[j], bias);
    weights(network, j, p).iter().map(|v| v / rho).collect()
}

/// The neurons of `units` and those of `found`, each of size 1.
fn joined(units: &Network, found: &Directions, bias: Bias) -> Network {
    let (d, m, k) = (units.inputs(), units.neurons(), found.signs.len());
    let at = |i: usize, j: usize| match j < m {
        true => units.weights[(i, j)],
        false => found.directions[(i, j - m)],
    };
    let mut network = units.clone();
    network.weights = Mat::from_fn(d, m + k, at);
    let offset = |j: usize| if bias == Bias::None { 0.0 } else { found.directions[(d, j)] };
    network.biases.extend((0..k).map(offset));
    network.outputs.extend(&found.signs);
    network
}
