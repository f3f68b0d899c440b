//! Is a network a stationary point of its weight-decay objective?
//!
//! For P = L(f) + β/2 Σ(ρ(w_j)² + a_j²) and one balanced neuron, s = sign(a), û = w/ρ(w),
//! t_i = sν_i with ν = −∇L, the directional derivative along δw is, up to the factor |a|,
//!
//! ```text
//! βûᵀδ − Σ_{active} t_i x_iᵀδ − Σ_{tied} t_i (x_iᵀδ)₊,     tied: x_iᵀw = 0.
//! ```
//!
//! It is ≥ 0 for all δ iff h_B ≤ h_A for two support functions, that is B ⊂ A for the zonotopes
//! B = Σ_{tied, t_i>0} t_i[0, x_i] and A = βû − Σ_{active} t_i x_i + Σ_{tied, t_i<0} |t_i|[0, x_i].
//! As A is convex that is a condition for each sum of a subset σ of the tied rows with t_i > 0
//! (every closed cell at w is on one side of those rows): there are θ_i ∈ [0, 1] with
//!
//! ```text
//! βû = Σ_{active} t_i x_i + Σ_{σ} t_i x_i + Σ_{tied, t_i<0} θ_i t_i x_i       for every σ.
//! ```
//!
//! Clarke stationarity asks for less, one θ ∈ [0, 1] on all tied rows. It holds at points with
//! descent directions. All of this is derived here.

use crate::linalg::{Mat, axpy, column, dot, norm};
use crate::network::{Bias, Network};
use crate::optimal_set::{bounded_least_squares, gauge};
use crate::{Error, Result};

/// What counts as zero. Training by stochastic gradients ends near, not at, a stationary point and
/// needs larger values than the defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StationarityOptions {
    /// Largest residual of the first-order condition, relative to β.
    pub residual: f64,
    /// A row is tied to a neuron if |x_iᵀû| ≤ this·‖x_i‖‖û‖. Too small a value makes the verdict
    /// strict where training stopped next to a kink; a large one treats near ties as exact.
    pub tie: f64,
    /// Largest |ρ(w) − |a|| relative to the larger of the two.
    pub balance: f64,
    /// Tied rows with t_i > 0 of one neuron whose subsets are all tried; at most 20.
    pub ties: usize,
}

impl Default for StationarityOptions {
    fn default() -> Self {
        Self { residual: 1e-5, tie: 1e-8, balance: 1e-6, ties: 12 }
    }
}

/// What kind of point a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No direction decreases the objective to first order.
    Stationary,
    /// Too many tied rows to try every cell; every cell that was tried passes.
    Undecided,
    /// 0 is in Clarke's subdifferential, yet some direction decreases the objective.
    ClarkeOnly,
    /// 0 is not even in Clarke's subdifferential.
    NotStationary,
}

/// One neuron's part in a [`Stationarity`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeuronStationarity {
    /// Largest distance in the directional condition over the subsets σ, relative to β.
    pub residual: f64,
    /// Distance in Clarke's condition, relative to β.
    pub clarke_residual: f64,
    /// |ρ(w) − |a|| / max(ρ(w), |a|).
    pub balance_defect: f64,
    /// Number of tied rows.
    pub ties: usize,
    /// The verdict on this neuron.
    pub verdict: Verdict,
}

/// The verdict with its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Stationarity {
    /// The worst verdict of a neuron.
    pub verdict: Verdict,
    /// Largest residual of a neuron; 0 without neurons.
    pub residual: f64,
    /// Largest Clarke residual of a neuron.
    pub clarke_residual: f64,
    /// The neuron with the largest residual.
    pub neuron: Option<usize>,
    /// Largest balance defect of a neuron.
    pub balance_defect: f64,
    /// In the order of the network.
    pub neurons: Vec<NeuronStationarity>,
}

/// Verdict on the ReLU neurons (w_j, a_j).
///
/// `features` n×d, with a last column of ones if there is a hidden bias; `weights` d×m, the bias
/// as last entry; `outputs` m; `nu` = −∇L at the outputs (free parameters refitted); `bias` says
/// whether the last entry belongs to ρ. Residuals are those of the balanced neuron, so that
/// balance is reported apart; an unbalanced neuron is not stationary all the same (rebalancing it
/// is free). Neurons with w = 0 and a = 0 are stationary.
pub fn stationarity(
    features: &Mat,
    weights: &Mat,
    outputs: &[f64],
    nu: &[f64],
    beta: f64,
    bias: Bias,
    options: StationarityOptions,
) -> Result<Stationarity> {
    let (n, d) = (features.nrows(), features.ncols());
    if weights.nrows() != d || weights.ncols() != outputs.len() || nu.len() != n {
        return Err(Error::Data(format!(
            "features are {n}×{d}, weights {}×{} with {} outputs, ν has {} entries: the shapes must agree",
            weights.nrows(),
            weights.ncols(),
            outputs.len(),
            nu.len()
        )));
    }
    if !(beta > 0.0 && beta.is_finite()) {
        return Err(Error::Option(format!("β is {beta}: stationarity needs a positive number")));
    }
    let finite = |v: &[f64]| v.iter().all(|v| v.is_finite());
    let all = |m: &Mat| (0..m.ncols()).all(|j| finite(column(m, j)));
    if !(finite(nu) && finite(outputs) && all(features) && all(weights)) {
        return Err(Error::Data("features, weights, outputs and ν must be finite".into()));
    }
    let lengths: Vec<f64> = (0..n)
        .map(|i| (0..d).map(|j| features[(i, j)] * features[(i, j)]).sum::<f64>().sqrt())
        .collect();
    let point = Point { features, lengths, nu, beta, bias, options };
    let neurons: Vec<NeuronStationarity> =
        outputs.iter().enumerate().map(|(j, &a)| point.neuron(column(weights, j), a)).collect();
    let mut worst = None;
    let mut report = Stationarity {
        verdict: Verdict::Stationary,
        residual: 0.0,
        clarke_residual: 0.0,
        neuron: None,
        balance_defect: 0.0,
        neurons,
    };
    for (j, neuron) in report.neurons.iter().enumerate() {
        if worst.is_none_or(|r| neuron.residual > r) {
            worst = Some(neuron.residual);
            report.neuron = Some(j);
        }
        report.clarke_residual = report.clarke_residual.max(neuron.clarke_residual);
        report.balance_defect = report.balance_defect.max(neuron.balance_defect);
        if severity(neuron.verdict) > severity(report.verdict) {
            report.verdict = neuron.verdict;
        }
    }
    report.residual = worst.unwrap_or(0.0);
    Ok(report)
}

/// [`stationarity`] of a ReLU network on scaled features `x` (n×d, without ones column).
pub fn network_stationarity(
    network: &Network,
    x: &Mat,
    nu: &[f64],
    beta: f64,
    bias: Bias,
    options: StationarityOptions,
) -> Result<Stationarity> {
    if network.gates.is_some() {
        return Err(Error::Option(
            "a gated network is a convex program in its weights: its certificate is the test"
                .into(),
        ));
    }
    if bias == Bias::None {
        return stationarity(x, &network.weights, &network.outputs, nu, beta, bias, options);
    }
    let d = network.inputs();
    let weights = Mat::from_fn(d + 1, network.neurons(), |i, j| {
        if i < d { network.weights[(i, j)] } else { network.biases[j] }
    });
    let features = crate::formulation::with_ones(x);
    stationarity(&features, &weights, &network.outputs, nu, beta, bias, options)
}

fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Stationary => 0,
        Verdict::Undecided => 1,
        Verdict::ClarkeOnly => 2,
        Verdict::NotStationary => 3,
    }
}

struct Point<'a> {
    features: &'a Mat,
    lengths: Vec<f64>,
    nu: &'a [f64],
    beta: f64,
    bias: Bias,
    options: StationarityOptions,
}

impl Point<'_> {
    fn row(&self, i: usize) -> Vec<f64> {
        (0..self.features.ncols()).map(|j| self.features[(i, j)]).collect()
    }

    fn neuron(&self, w: &[f64], a: f64) -> NeuronStationarity {
        let d = w.len();
        let rho = match (self.bias, w.split_last()) {
            (Bias::Free, Some((&b, w))) => gauge(w, b, self.bias),
            _ => norm(w),
        };
        let larger = rho.max(a.abs());
        let still = NeuronStationarity {
            residual: 0.0,
            clarke_residual: 0.0,
            balance_defect: 0.0,
            ties: 0,
            verdict: Verdict::Stationary,
        };
        if larger == 0.0 && w.iter().all(|v| *v == 0.0) {
            return still;
        }
        let balance_defect = (rho - a.abs()).abs() / larger;
        if !(rho > 0.0 && a != 0.0 && rho.is_finite() && a.is_finite()) {
            let verdict = Verdict::NotStationary;
            return NeuronStationarity {
                residual: 1.0,
                clarke_residual: 1.0,
                balance_defect,
                verdict,
                ..still
            };
        }
        let unit: Vec<f64> = w.iter().map(|v| v / rho).collect();
        let size = norm(&unit);
        // g = βû − Σ_active t_i x_i; a free bias has no part in û
        let mut g: Vec<f64> = unit.iter().map(|v| self.beta * v).collect();
        if self.bias == Bias::Free && d > 0 {
            g[d - 1] = 0.0;
        }
        let (mut gains, mut costs) = (vec![], vec![]);
        for i in 0..self.nu.len() {
            let (row, t) = (self.row(i), a.signum() * self.nu[i]);
            let value = dot(&row, &unit);
            if value.abs() > self.options.tie * self.lengths[i] * size {
                if value > 0.0 {
                    axpy(-t, &row, &mut g);
                }
            } else if self.lengths[i] > 0.0 {
                let scaled: Vec<f64> = row.iter().map(|x| t * x).collect();
                match t {
                    t if t > 0.0 => gains.push(scaled),
                    t if t < 0.0 => costs.push(scaled),
                    _ => {}
                }
            }
        }
        let ties = gains.len() + costs.len();
        let all: Vec<&[f64]> = gains.iter().chain(&costs).map(Vec::as_slice).collect();
        let clarke_residual = distance(&all, &g) / self.beta;
        let (residual, complete) = self.directional(&mut gains, &costs, &g);
        let tolerance = self.options.residual;
        let unbalanced = balance_defect > self.options.balance;
        let verdict = if unbalanced || clarke_residual > tolerance {
            Verdict::NotStationary
        } else if residual > tolerance {
            Verdict::ClarkeOnly
        } else if complete {
            Verdict::Stationary
        } else {
            Verdict::Undecided
        };
        NeuronStationarity { residual, clarke_residual, balance_defect, ties, verdict }
    }

    /// Largest residual over the subsets of `gains`, and whether that covers all of them.
    fn directional(&self, gains: &mut [Vec<f64>], costs: &[Vec<f64>], g: &[f64]) -> (f64, bool) {
        let costs: Vec<&[f64]> = costs.iter().map(Vec::as_slice).collect();
        let limit = self.options.ties.min(20);
        gains.sort_by(|p, q| norm(q).total_cmp(&norm(p)));
        // a row that is left out moves the condition by no more than its length
        let left_out: f64 = gains.iter().skip(limit).map(|v| norm(v)).sum::<f64>() / self.beta;
        let negligible = left_out <= 0.5 * self.options.residual;
        let mut worst = 0.0f64;
        let mut shifted = g.to_vec();
        let mut consider = |subset: &mut dyn Iterator<Item = &Vec<f64>>| {
            shifted.copy_from_slice(g);
            subset.for_each(|row| axpy(-1.0, row, &mut shifted));
            worst = worst.max(distance(&costs, &shifted) / self.beta);
        };
        let few = gains.len().min(limit);
        for subset in 0..1usize << few {
            let members = (0..few).filter(|k| subset >> k & 1 == 1);
            consider(&mut members.map(|k| &gains[k]));
        }
        if gains.len() > limit && !negligible {
            for row in gains.iter().skip(limit) {
                consider(&mut std::iter::once(row));
            }
            consider(&mut gains.iter());
            return (worst, false);
        }
        (worst + left_out, true)
    }
}

/// min over θ ∈ [0, 1] of ‖g − Σθ_k v_k‖, never below the truth.
fn distance(v: &[&[f64]], g: &[f64]) -> f64 {
    let a = Mat::from_fn(g.len(), v.len(), |i, k| v[k][i]);
    let distance = norm(&bounded_least_squares(&a, 0, 1.0, g).1);
    if distance.is_nan() { f64::INFINITY } else { distance }
}
