//! Two-layer training problems as JSON.
//!
//! The loss is a sum over samples here, and λ is the β of the file.

use super::node::Node;
use anyhow::{Context, Result, bail, ensure};
use bidual::arrangement::Patterns;
use bidual::loss::{Absolute, Hinge, Interpolation, Loss, unit_weights};
use bidual::{Bias, LossKind, Mat};
use std::sync::Arc;

/// A two-layer training problem.
pub struct Problem {
    /// n×d, used as it is.
    pub x: Mat,
    pub y: Vec<f64>,
    pub loss: LossName,
    pub beta: f64,
    pub bias: Bias,
    pub output_bias: bool,
    pub skip: Skip,
    pub system: System,
}

/// A linear term pᵀx beside the neurons.
#[derive(Clone, Copy, PartialEq)]
pub enum Skip {
    None,
    Free,
    /// Penalty γ‖p‖₂.
    Penalised(f64),
}

/// Losses of the schema.
#[derive(Clone, Copy, PartialEq)]
pub enum LossName {
    /// With derivatives.
    Smooth(LossKind),
    Hinge,
    Absolute,
    Interpolation,
}

/// Which networks compete.
pub enum System {
    /// ReLU networks of any width.
    Relu,
    /// ReLU networks on these patterns.
    ReluOn(Patterns),
    /// Gated networks with these gates.
    Gated(Patterns),
}

impl LossName {
    pub fn parse(settings: &Node) -> Result<Self> {
        Ok(match settings.text("loss")?.unwrap_or("squared") {
            "squared" => Self::Smooth(LossKind::Squared),
            "huber" => Self::Smooth(LossKind::Huber(settings.need("huber_delta")?.positive()?)),
            "logistic" => Self::Smooth(LossKind::Logistic),
            "sqhinge" => Self::Smooth(LossKind::SquaredHinge),
            "hinge" => Self::Hinge,
            "abs" => Self::Absolute,
            "interp" => Self::Interpolation,
            other => bail!(
                "settings.loss: {other:?} is unknown; expected squared, huber, logistic, sqhinge, hinge, abs or interp"
            ),
        })
    }

    fn is_classification(self) -> bool {
        match self {
            Self::Smooth(kind) => kind.is_classification(),
            other => other == Self::Hinge,
        }
    }

    /// The sum over samples of this loss.
    pub fn build(self, y: &[f64]) -> Result<Arc<dyn Loss>> {
        let (targets, weights) = (y.to_vec(), Some(unit_weights(y.len())));
        let loss: Arc<dyn Loss> = match self {
            Self::Smooth(kind) => kind.build(y, unit_weights(y.len())).context("data.y")?,
            Self::Hinge => Arc::new(Hinge::new(targets, weights).context("data.y")?),
            Self::Absolute => Arc::new(Absolute::new(targets, weights).context("data.y")?),
            Self::Interpolation => {
                Arc::new(Interpolation::new(targets, weights).context("data.y")?)
            }
        };
        Ok(loss)
    }
}

impl Problem {
    /// Families `relu`, `gated` and `relu_admm`.
    pub fn parse(root: &Node, family: &str) -> Result<Self> {
        let (data, settings) = (root.need("data")?, root.need("settings")?);
        for layout in ["patches", "gate_W1", "gates"] {
            if data.has(layout) {
                bail!(
                    "data.{layout}: family {family:?} with {layout} is not supported yet; supported are {}",
                    super::SUPPORTED
                );
            }
        }
        let mut problem = Self::plain(&data, &settings)?;
        if settings.has("gated") && settings.flag("gated")? != (family == "gated") {
            bail!("settings.gated: contradicts the family {family:?}; make the two agree");
        }
        if family == "gated" && problem.bias == Bias::Free {
            bail!(
                "settings.bias: \"unreg\" with given gates is not supported yet; use null or \"reg\""
            );
        }
        let n = problem.x.nrows();
        problem.system = match family {
            "relu" => System::Relu,
            "gated" => System::Gated(bit_strings(&data.need("gate_patterns")?, n)?),
            _ => System::ReluOn(bit_columns(&data.need("patterns")?, n)?),
        };
        Ok(problem)
    }

    /// ReLU networks of any width on `data.X`, `data.y`.
    pub fn plain(data: &Node, settings: &Node) -> Result<Self> {
        let loss = LossName::parse(settings)?;
        if let Some(slopes) = settings.get("slopes")
            && slopes.vector()? != [1.0, 0.0]
        {
            bail!(
                "settings.slopes: expected [1, 0], found {}: other slopes are not supported yet",
                slopes.value
            );
        }
        let x = data.need("X")?.matrix()?;
        let y = targets(&data.need("y")?, x.nrows(), loss)?;
        let bias = match settings.text("bias")? {
            None => Bias::None,
            Some("reg") => Bias::Penalised,
            Some("unreg") => Bias::Free,
            Some(other) => {
                bail!("settings.bias: expected null, \"reg\" or \"unreg\", found {other:?}")
            }
        };
        let skip = match settings.get("skip") {
            None => Skip::None,
            Some(node) if node.value.is_string() => match node.string()? {
                "free" => Skip::Free,
                other => {
                    bail!("settings.skip: expected null, \"free\" or a number, found {other:?}")
                }
            },
            Some(node) => Skip::Penalised(node.positive()?),
        };
        let beta = match settings.get("beta") {
            None if loss == LossName::Interpolation => 1.0,
            _ if settings.has("beta") => settings.need("beta")?.positive()?,
            // a path has its own list
            _ if data.has("betas") => 1.0,
            _ => settings.need("beta")?.positive()?,
        };
        Ok(Self {
            beta,
            // a free hidden bias produces every constant at no cost, so there is an output bias anyway
            output_bias: settings.flag("out_bias")? || bias == Bias::Free,
            x,
            y,
            loss,
            bias,
            skip,
            system: System::Relu,
        })
    }
}

impl Problem {
    /// Refuses what only training on cells can do.
    pub fn require_plain(&self, family: &str, biases: bool) -> Result<()> {
        ensure!(
            matches!(self.loss, LossName::Smooth(_)),
            "settings.loss: family {family:?} needs a loss with derivatives; use squared, huber, logistic or sqhinge"
        );
        ensure!(
            self.skip == Skip::None,
            "settings.skip: is not supported yet for family {family:?}; use null"
        );
        ensure!(
            self.bias == Bias::None && !self.output_bias || biases && self.bias != Bias::Free,
            "settings.bias, settings.out_bias: these are not supported yet for family {family:?}"
        );
        Ok(())
    }
}

fn targets(y: &Node, n: usize, loss: LossName) -> Result<Vec<f64>> {
    let values = y.vector()?;
    ensure!(
        values.len() == n,
        "{}: expected {n} numbers, one per row of data.X, found {}",
        y.path,
        values.len()
    );
    if loss.is_classification()
        && let Some(i) = values.iter().position(|v| v.abs() != 1.0)
    {
        bail!("{}[{i}]: expected a label 1 or -1, found {}", y.path, values[i]);
    }
    Ok(values)
}

fn bit_strings(node: &Node, n: usize) -> Result<Patterns> {
    let mut patterns = Patterns::new(n);
    for item in node.items()? {
        let text = item.string()?;
        ensure!(
            text.len() == n && text.bytes().all(|b| b == b'0' || b == b'1'),
            "{}: expected {n} characters 0 or 1, one per row of data.X, found {text:?}",
            item.path
        );
        patterns.push_bools(text.bytes().map(|b| b == b'1'));
    }
    ensure!(!patterns.is_empty(), "{}: expected at least one pattern, found none", node.path);
    Ok(patterns)
}

/// n rows of 0/1, a column a pattern.
fn bit_columns(node: &Node, n: usize) -> Result<Patterns> {
    let bits = node.matrix()?;
    ensure!(
        bits.nrows() == n,
        "{}: expected {n} rows, one per row of data.X, found {}",
        node.path,
        bits.nrows()
    );
    let mut patterns = Patterns::new(n);
    for k in 0..bits.ncols() {
        let column = bits.col_as_slice(k);
        if let Some(i) = column.iter().position(|v| *v != 0.0 && *v != 1.0) {
            bail!("{}[{i}][{k}]: expected 0 or 1, found {}", node.path, column[i]);
        }
        patterns.push_bools(column.iter().map(|v| *v == 1.0));
    }
    Ok(patterns)
}
