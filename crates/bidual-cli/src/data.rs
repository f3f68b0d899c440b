//! From a table to the samples of a fit or of a stored model.

use crate::args::TrainArgs;
use crate::export::extension;
use crate::values::LossArg;
use anyhow::{Context, Result, bail};
use bidual::{Dataset, LossKind, Mat};
use bidual_io::encoding::{
    BinaryTarget, Encoding, Features, binary_signs, binary_target, is_binary, number_column,
    regression_target,
};
use bidual_io::table::{Column, Table, read_table};
use std::path::Path;

/// What is needed of a table to train on it.
pub struct Training {
    /// Samples, targets and weights.
    pub dataset: Dataset,
    /// How columns became features.
    pub encoding: Encoding,
    /// The loss, chosen or given.
    pub loss: LossKind,
    /// Why the loss is what it is, if nobody asked for it.
    pub loss_reason: Option<&'static str>,
    /// Names of −1 and +1, for classification.
    pub classes: Option<[String; 2]>,
    /// Whether the column names look like data.
    pub headless: bool,
}

/// Reads the table that `args` name and encodes it.
pub fn load_training(args: &TrainArgs) -> Result<Training> {
    let table = read_table(&args.data)?;
    let target = args.target.as_str();
    table.column(target)?;
    if args.weights.as_deref() == Some(target) {
        bail!("column {target:?} cannot be both --target and --weights: name another column");
    }
    if table.rows < 2 {
        bail!("{}: expected at least 2 rows, found {}; add rows", args.data.display(), table.rows);
    }
    encode(&table, target, args.weights.as_deref(), args.one_hot, args.loss)
}

/// The samples of a table: every column but target and weights is an input.
pub fn encode(
    table: &Table,
    target: &str,
    weights: Option<&str>,
    one_hot: bool,
    loss: LossArg,
) -> Result<Training> {
    let (loss, loss_reason) = match loss {
        LossArg::Is(loss) => (loss, None),
        LossArg::Auto if looks_like_classes(table, target)? => {
            (LossKind::Logistic, Some("the target has two classes"))
        }
        LossArg::Auto => (LossKind::Squared, Some("the target is a quantity")),
    };
    let (y, classes) = if loss.is_classification() {
        let BinaryTarget { classes, signs } = binary_target(table, target)?;
        (signs, Some(classes))
    } else {
        (regression_target(table, target)?, None)
    };
    let exclude: Vec<&str> = [Some(target), weights].into_iter().flatten().collect();
    let encoding = Encoding::learn(table, &exclude, one_hot)?;
    let x = matrix(&encoding.apply(table)?);
    let weights = sample_weights(table, weights)?;
    let dataset = Dataset::new(x, y, weights).with_context(|| table.source.clone())?;
    let headless = table.looks_headless();
    Ok(Training { dataset, encoding, loss, loss_reason, classes, headless })
}

/// Two distinct values; or text, so that the message of a failure is about classes.
fn looks_like_classes(table: &Table, target: &str) -> Result<bool> {
    if is_binary(table, target)? {
        return Ok(true);
    }
    Ok(match table.column(target)? {
        Column::Number(_) => false,
        // mostly numbers: a quantity with a bad cell, which the regression will name
        Column::Text(cells) => {
            let numbers = cells.iter().filter(|c| c.trim().parse::<f64>().is_ok()).count();
            2 * numbers < cells.len()
        }
    })
}

/// The features of a table as an n×d matrix.
pub fn matrix(features: &Features) -> Mat {
    let n = features.rows;
    Mat::from_fn(n, features.columns, |i, j| features.values[j * n + i])
}

/// Refuses a model and a table in the wrong order, where their extensions tell.
pub fn check_order(model: &Path, data: Option<&Path>) -> Result<()> {
    if matches!(extension(model).as_str(), "csv" | "parquet" | "npy") {
        bail!("{}: is a table, expected a model here; the order is MODEL DATA", model.display());
    }
    if let Some(data) = data
        && matches!(extension(data).as_str(), "safetensors" | "onnx" | "json")
    {
        bail!("{}: is a model, expected a table here; the order is MODEL DATA", data.display());
    }
    Ok(())
}

/// The features of a new table, as a stored model expects them.
pub fn load_features(path: &Path, encoding: &Encoding) -> Result<Mat> {
    let table = read_table(path)?;
    Ok(matrix(&encoding.apply(&table)?))
}

/// Samples and targets of a table, as a stored model expects them.
pub fn load_labelled(
    path: &Path,
    encoding: &Encoding,
    target: &str,
    classes: Option<&[String; 2]>,
    weight_column: Option<&str>,
) -> Result<Dataset> {
    let table = read_table(path)?;
    let y = match classes {
        Some(classes) => binary_signs(&table, target, classes)?,
        None => number_column(&table, target)?,
    };
    let weights = sample_weights(&table, weight_column)?;
    let x = matrix(&encoding.apply(&table)?);
    Dataset::new(x, y, weights).with_context(|| path.display().to_string())
}

/// The sample weights, each checked where its place in the file is known.
pub fn sample_weights(table: &Table, column: Option<&str>) -> Result<Option<Vec<f64>>> {
    let Some(name) = column else { return Ok(None) };
    let values = number_column(table, name)?;
    if let Some(row) = values.iter().position(|w| *w < 0.0) {
        bail!(
            "{}, {}, column {name:?}: the weight {} is negative; weights must be at least 0",
            table.source,
            table.place(row),
            values[row]
        );
    }
    Ok(Some(values))
}
