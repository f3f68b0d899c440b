//! All networks with the same outputs and cost on a dictionary.

use super::dictionary::{directions, joined, places};
use super::{Choose, UNCHANGED, ValidationLoss, applies, needed};
use crate::data::{Dataset, Scaling};
use crate::fit::{Model, Prepared, prepare};
use crate::linalg::{Mat, axpy, column};
use crate::network::{Bias, Network};
use crate::optimal_set::{NarrowNetwork, OptimalSet, Range, SetOptions, unit_features, with_sizes};
use crate::options::Options;
use crate::{Error, Result};

/// Ranges narrower than this share of Σc are points.
const POINT: f64 = 1e-6;
/// Most rows × directions² of a set, and directions² × degrees of freedom of its ranges: seconds.
const MOST_ROWS: f64 = 2e9;
const MOST_RANGES: f64 = 4e6;

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
    /// See [`Selection::complete`](super::Selection::complete).
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
    pub(super) fn choose(
        &self,
        options: &Options,
        validation: Option<&Dataset>,
    ) -> Result<(Vec<f64>, Found)> {
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
pub(super) enum Found {
    Nothing,
    Width(bool),
    Loss(ValidationLoss),
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

/// A column of ones if there is a free output bias.
fn free_columns(rows: usize, output_bias: bool) -> Mat {
    Mat::from_fn(rows, usize::from(output_bias), |_, _| 1.0)
}
