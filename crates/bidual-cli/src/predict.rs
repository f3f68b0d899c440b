//! `bidual predict`: a stored network on a table.

use crate::Outcome;
use crate::args::PredictArgs;
use crate::data::{check_order, load_features};
use crate::model_file::Stored;
use anyhow::{Result, bail};
use bidual::LossKind;
use bidual_io::predictions::{OutColumn, OutputFormat, output_format, write_columns};
use std::path::Path;

pub fn run(args: &PredictArgs) -> Result<Outcome> {
    check_order(&args.model, Some(&args.data))?;
    let stored = Stored::load(&args.model)?;
    if let Some(path) = &args.output {
        check_output(path, stored.classes.as_ref())?;
        crate::fit::refuse_overwrite(path, &[&args.model, &args.data])?;
    }
    let x = load_features(&args.data, &stored.encoding)?;
    let outputs = stored.model.predict(&x);
    write(args.output.as_deref(), &outputs, stored.model.options.loss, stored.classes.as_ref())?;
    Ok(Outcome::Done)
}

/// Refuses a file that the predictions could not be written to.
pub fn check_output(path: &Path, classes: Option<&[String; 2]>) -> Result<()> {
    if output_format(path)? == OutputFormat::Npy
        && let Some(classes) = classes
        && let Some(text) = classes.iter().find(|c| c.parse::<f64>().is_err())
    {
        bail!(
            "{}: the class {text:?} is text, and a .npy file holds only numbers; write a .csv file instead",
            path.display()
        );
    }
    Ok(())
}

/// Columns `prediction`, or `score`, `label` and, for the logistic loss, the
/// `probability` of the second class.
pub fn write(
    path: Option<&Path>,
    outputs: &[f64],
    loss: LossKind,
    classes: Option<&[String; 2]>,
) -> Result<()> {
    let Some([negative, positive]) = classes else {
        return Ok(write_columns(path, &["prediction"], &[OutColumn::Number(outputs)])?);
    };
    let name = |f: &f64| if *f >= 0.0 { positive.clone() } else { negative.clone() };
    let labels: Vec<String> = outputs.iter().map(name).collect();
    let probabilities: Vec<f64> = outputs.iter().map(|f| 1.0 / (1.0 + (-f).exp())).collect();
    let mut names = vec!["score", "label"];
    let mut columns = vec![OutColumn::Number(outputs), OutColumn::Text(&labels)];
    if loss == LossKind::Logistic {
        names.push("probability");
        columns.push(OutColumn::Number(&probabilities));
    }
    Ok(write_columns(path, &names, &columns)?)
}
