//! Problems as JSON: the schema of `tests/golden/README.md`, as far as it is supported.
//!
//! The loss is a sum over samples here, and λ is the β of the file.

use anyhow::{Context, Result, anyhow, bail, ensure};
use bidual::arrangement::Patterns;
use bidual::{Bias, LossKind, Mat};
use serde_json::Value;

/// A two-layer training problem.
pub struct Problem {
    /// n×d, used as it is.
    pub x: Mat,
    pub y: Vec<f64>,
    pub loss: LossKind,
    pub beta: f64,
    pub bias: Bias,
    pub output_bias: bool,
    pub system: System,
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

/// Families of the schema that later versions bring.
const LATER: [&str; 36] = [
    "act",
    "cone",
    "vec",
    "white",
    "oned",
    "thr",
    "arr",
    "oracle",
    "bound",
    "optset",
    "path",
    "stat",
    "cnn2_sum",
    "cnn2_max",
    "cnn2_vector",
    "circ_linear",
    "circ_relu3",
    "circ_relu3_short",
    "circ_relu4",
    "cnn3",
    "linear_cnn",
    "parallel_linear",
    "parallel3_sum",
    "parallel3_fro",
    "bn2",
    "bn_cnn",
    "bn_closed",
    "attention",
    "lowrank",
    "counts",
    "certificate",
    "poly",
    "robust_poly",
    "robust_relu",
    "prakhya_sdp",
    "primitive",
];
const SUPPORTED: &str = "relu, gated (with data.gate_patterns) and relu_admm";

impl Problem {
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)
            .map_err(|e| anyhow!("not valid JSON: {e}; write the file anew"))?;
        let root = Node { path: String::new(), value: &value };
        ensure!(value.is_object(), "expected a JSON object with family, data and settings");
        let family = root.need("family")?.string()?;
        let (data, settings) = match family {
            "relu" | "gated" | "relu_admm" => (root.need("data")?, root.need("settings")?),
            _ if LATER.contains(&family) || ["threshold", "vector_relu"].contains(&family) => {
                bail!("family: {family:?} is not supported yet; supported are {SUPPORTED}")
            }
            _ => bail!("family: {family:?} is unknown; supported are {SUPPORTED}"),
        };
        for layout in ["patches", "gate_W1", "gates"] {
            if data.has(layout) {
                bail!(
                    "data.{layout}: family {family:?} with {layout} is not supported yet; supported are {SUPPORTED}"
                );
            }
        }
        refuse_unsupported(&settings, family)?;
        let x = data.need("X")?.matrix()?;
        let y = data.need("y")?;
        let loss = loss(&settings)?;
        let y = targets(&y, x.nrows(), loss)?;
        let beta = settings.need("beta")?;
        let bias = match settings.text("bias")? {
            None => Bias::None,
            Some("reg") => Bias::Penalised,
            Some("unreg") => Bias::Free,
            Some(other) => {
                bail!("settings.bias: expected null, \"reg\" or \"unreg\", found {other:?}")
            }
        };
        if family == "gated" && bias == Bias::Free {
            bail!(
                "settings.bias: \"unreg\" with given gates is not supported yet; use null or \"reg\""
            );
        }
        let system = match family {
            "relu" => System::Relu,
            "gated" => System::Gated(bit_strings(&data.need("gate_patterns")?, x.nrows())?),
            _ => System::ReluOn(bit_columns(&data.need("patterns")?, x.nrows())?),
        };
        Ok(Self {
            beta: beta.positive()?,
            // a free hidden bias produces every constant at no cost, so there is an output bias anyway
            output_bias: settings.flag("out_bias")? || bias == Bias::Free,
            x,
            y,
            loss,
            bias,
            system,
        })
    }
}

/// Settings that would change the problem into one that cannot be solved yet.
fn refuse_unsupported(settings: &Node, family: &str) -> Result<()> {
    if let Some(skip) = settings.get("skip") {
        bail!("settings.skip: expected null, found {}: skips are not supported yet", skip.value);
    }
    if let Some(slopes) = settings.get("slopes")
        && slopes.vector()? != [1.0, 0.0]
    {
        bail!(
            "settings.slopes: expected [1, 0], found {}: other slopes are not supported yet",
            slopes.value
        );
    }
    if settings.has("gated") && settings.flag("gated")? != (family == "gated") {
        bail!("settings.gated: contradicts the family {family:?}; make the two agree");
    }
    Ok(())
}

fn loss(settings: &Node) -> Result<LossKind> {
    Ok(match settings.text("loss")?.unwrap_or("squared") {
        "squared" => LossKind::Squared,
        "huber" => LossKind::Huber(settings.need("huber_delta")?.positive()?),
        "logistic" => LossKind::Logistic,
        "sqhinge" => LossKind::SquaredHinge,
        later @ ("hinge" | "abs" | "interp") => bail!(
            "settings.loss: {later:?} is not supported yet; supported are squared, huber, logistic and sqhinge"
        ),
        other => bail!(
            "settings.loss: {other:?} is unknown; expected squared, huber, logistic or sqhinge"
        ),
    })
}

fn targets(y: &Node, n: usize, loss: LossKind) -> Result<Vec<f64>> {
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

/// A JSON value that knows where it is.
struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// The value under `key`; null counts as absent.
    fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key).filter(|v| !v.is_null())?;
        let path = if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) };
        Some(Node { path, value })
    }

    fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn need(&self, key: &str) -> Result<Node<'a>> {
        self.get(key).with_context(|| {
            let dot = if self.path.is_empty() { "" } else { "." };
            format!("{}{dot}{key}: is missing; add it", self.path)
        })
    }

    fn wrong(&self, expected: &str) -> anyhow::Error {
        let mut found = self.value.to_string();
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.truncate(end);
            found.push('…');
        }
        anyhow!("{}: expected {expected}, found {found}", self.path)
    }

    fn string(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("text"))
    }

    fn number(&self) -> Result<f64> {
        // the parser refuses numbers beyond the range of a double
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }

    fn positive(&self) -> Result<f64> {
        self.number().ok().filter(|v| *v > 0.0).ok_or_else(|| self.wrong("a positive number"))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key).map(|node| node.string()).transpose()
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(node) => node.value.as_bool().ok_or_else(|| node.wrong("true or false")),
        }
    }

    fn items(&self) -> Result<Vec<Node<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let node = |(i, value)| Node { path: format!("{}[{i}]", self.path), value };
        Ok(items.iter().enumerate().map(node).collect())
    }

    fn vector(&self) -> Result<Vec<f64>> {
        self.items()?.iter().map(Node::number).collect()
    }

    fn matrix(&self) -> Result<Mat> {
        let items = self.items()?;
        let rows = items.iter().map(Node::vector).collect::<Result<Vec<_>>>()?;
        let columns = rows.first().map_or(0, Vec::len);
        ensure!(columns > 0, "{}: expected at least one row of numbers, found none", self.path);
        if let Some(i) = rows.iter().position(|row| row.len() != columns) {
            bail!(
                "{0}[{i}]: expected {columns} numbers as in {0}[0], found {1}",
                self.path,
                rows[i].len()
            );
        }
        Ok(Mat::from_fn(rows.len(), columns, |i, j| rows[i][j]))
    }
}
