//! The one error type of the crate.
//!
//! Every message is a single line: what was expected, what was found and
//! where, and what to do about it. A file name begins the message.

use std::fmt;
use std::io;

use crate::text::{list, mostly_numbers, one_line, parse_number, quoted};

/// Where a row is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file as an editor counts it; the header is line 1.
    Line(u64),
    /// Row of a binary table, from 1.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(n) => write!(f, "line {n}"),
            Place::Row(n) => write!(f, "row {n}"),
        }
    }
}

/// What can go wrong with files, tables and models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the messages say what each variant and field means
pub enum Error {
    // Files.
    #[error("{file}: cannot be read: {}; check the path and its permissions", one_line(cause))]
    Read { file: String, cause: io::Error },
    #[error(
        "{file}: cannot be written: {}; check the path, its permissions and the free space",
        one_line(cause)
    )]
    Write { file: String, cause: io::Error },
    #[error(
        "{file}: the directory {} does not exist; create it or choose another path",
        quoted(directory)
    )]
    Directory { file: String, directory: String },
    #[error("{file}: is a directory; name a file in it")]
    IsDirectory { file: String },
    #[error(
        "{file}: {} is not a table format that can be read; use a .csv, .parquet, .npy or .npz file",
        extension_text(found)
    )]
    InputFormat { file: String, found: String },
    #[error("{file}: {} is not an output format; use .csv or .npy", extension_text(found))]
    OutputFormat { file: String, found: String },
    #[error(
        "{file}: this build does not read Parquet; convert the file to .csv, or build with the feature `parquet`"
    )]
    ParquetDisabled { file: String },
    #[error(
        "{file}: not a readable {format} file: {}; check that the file is complete and of this format, or write it anew",
        one_line(reason)
    )]
    Damaged { file: String, format: &'static str, reason: String },
    #[error(
        "{file}: the table has {rows} rows and {columns} columns, which do not fit in memory; use fewer rows or columns"
    )]
    TooLarge { file: String, rows: usize, columns: usize },

    // The form of a table.
    #[error(
        "{file}: the file is empty; expected a header line with the column names, then one line per row"
    )]
    Empty { file: String },
    #[error("{file}: the table has columns but no rows; expected at least one row of values")]
    NoRows { file: String },
    #[error("{file}: the table has no columns; expected at least one")]
    NoColumns { file: String },
    #[error(
        "{file}: column {position} has no name; name every column in the header, or remove the column"
    )]
    UnnamedColumn { file: String, position: usize },
    #[error(
        "{file}: columns {first} and {second} are both named {}; rename or remove one of them{}",
        quoted(column),
        header_hint(parse_number(column).is_some())
    )]
    DuplicateColumn { file: String, column: String, first: usize, second: usize },
    #[error(
        "{file}, {place}: expected column names separated by commas, found one name {}; save the file with commas as separators",
        quoted(found)
    )]
    Separator { file: String, place: Place, found: String },
    #[error(
        "{file}, {place}: expected {expected} fields as in the header, found {found}; check commas and quotes in this line"
    )]
    Ragged { file: String, place: Place, expected: usize, found: usize },
    #[error(
        "{file}, {place}, field {field}: the text is not UTF-8; save the file in the encoding UTF-8"
    )]
    NotUtf8 { file: String, place: Place, field: usize },
    #[error("{file}, column {}: the type {found} is not supported; {remedy}", quoted(column))]
    ColumnType { file: String, column: String, found: String, remedy: &'static str },
    #[error("{file}: {array} has the shape {found}; expected {expected}")]
    ArrayShape { file: String, array: String, found: String, expected: &'static str },
    #[error(
        "{file}: {array} has the element type {}; expected numbers (f4, f8, i1 to i8, u1 to u8 or b1), e.g. by .astype(\"float64\")",
        quoted(found)
    )]
    ArrayType { file: String, array: String, found: String },
    #[error(
        "{file}: the archive has no array named {expected}; it holds {}; save the inputs as X and the targets as y",
        list(have)
    )]
    MissingArray { file: String, expected: &'static str, have: Vec<String> },
    #[error("{file}: X has {x} rows but y has {y} values; they must be equally many")]
    ArrayLengths { file: String, x: usize, y: usize },

    // Cells and columns.
    #[error(
        "{file}, {place}, column {}: {} is a missing value; missing values are not allowed: fill them in or drop the row",
        quoted(column),
        quoted(value)
    )]
    Missing { file: String, place: Place, column: String, value: String },
    #[error(
        "{file}, {place}, column {}: {} is not finite; replace it or drop the row",
        quoted(column),
        quoted(value)
    )]
    NotFinite { file: String, place: Place, column: String, value: String },
    #[error(
        "{file}, {place}, column {}: {} is not a number; {remedy}",
        quoted(column),
        quoted(value)
    )]
    NotNumber { file: String, place: Place, column: String, value: String, remedy: &'static str },
    #[error(
        "{file}: there is no column {}; the columns are {}{}",
        quoted(column),
        list(have),
        header_hint(mostly_numbers(have))
    )]
    MissingColumn { file: String, column: String, have: Vec<String> },
    #[error(
        "{file}: no column is left as an input; add input columns beside the target and the weights"
    )]
    NoFeatures { file: String },
    #[error(
        "{file}, column {}: more than {limit} categories; leave the column out or group its values",
        quoted(column)
    )]
    TooManyCategories { file: String, column: String, limit: usize },
    #[error(
        "{file}, {place}, column {}: {} is not a known category; the model knows {}; correct the cell, drop the row, or train again with such rows",
        quoted(column),
        quoted(value),
        list(known)
    )]
    UnknownCategory {
        file: String,
        place: Place,
        column: String,
        value: String,
        known: Vec<String>,
    },
    #[error(
        "{file}, column {}: every value of the target is {value}; there is nothing to learn, choose another target",
        quoted(column)
    )]
    ConstantTarget { file: String, column: String, value: String },
    #[error(
        "{file}, column {}: expected exactly two classes, found only {}; add rows of the other class or choose another target",
        quoted(column),
        quoted(found)
    )]
    OneClass { file: String, column: String, found: String },
    #[error(
        "{file}, column {}: expected exactly two classes, found more: {}; keep two classes, or train a regression if the target is a quantity",
        quoted(column),
        list(found)
    )]
    ManyClasses { file: String, column: String, found: Vec<String> },
    #[error(
        "{file}, {place}, column {}: {} is not a class of the model; the classes are {}; correct the cell or drop the row",
        quoted(column),
        quoted(value),
        list(classes)
    )]
    UnknownClass { file: String, place: Place, column: String, value: String, classes: Vec<String> },

    // Model files.
    #[error("{file}: tensor {} has the type {found}; expected F64 or F32", quoted(tensor))]
    TensorType { file: String, tensor: String, found: String },
    #[error(
        "the model has no tensor {}; it holds {}; was the file written by another program or version?",
        quoted(tensor),
        list(have)
    )]
    MissingTensor { tensor: String, have: Vec<String> },
    #[error("tensor {} has the shape {found:?}; expected {expected}", quoted(tensor))]
    TensorShape { tensor: String, found: Vec<usize>, expected: String },
    #[error(
        "the model has no metadata {}; it holds {}; was the file written by another program or version?",
        quoted(key),
        list(have)
    )]
    MissingMetadata { key: String, have: Vec<String> },

    // Networks of other programs.
    #[error(
        "{file}: {} is not a network format that can be read; use .onnx, .safetensors or .npz{}",
        extension_text(found),
        network_hint(found)
    )]
    NetworkFormat { file: String, found: String },
    #[error("{file}: {what}; {remedy}")]
    Network { file: String, what: String, remedy: &'static str },

    // Output.
    #[error("{file}: expected as many names as columns and columns of equal length, found {found}")]
    OutputLengths { file: String, found: String },
    #[error(
        "{file}, column {}: {} is text, and a .npy file holds only numbers; write a .csv file instead",
        quoted(column),
        quoted(value)
    )]
    TextInNpy { file: String, column: String, value: String },
    #[error("ONNX export: {what}: expected {expected}, found {found}")]
    Onnx { what: &'static str, expected: String, found: String },
}

/// How the files of well-known programs become readable ones.
fn network_hint(found: &str) -> &'static str {
    match found {
        "pt" | "pth" | "bin" | "ckpt" => {
            " (torch.onnx.export, or safetensors.torch.save_file of the state_dict)"
        }
        "pkl" | "pickle" | "joblib" => " (skl2onnx.to_onnx, or numpy.savez of coefs_, intercepts_)",
        "h5" | "keras" | "tflite" | "pb" => " (tf2onnx, or numpy.savez of the weights)",
        _ => "",
    }
}

/// What to do about a table whose first row was taken for the header.
fn header_hint(numbers: bool) -> &'static str {
    match numbers {
        true => "; if the first row is data, put a header line with the column names before it",
        false => "",
    }
}

fn extension_text(found: &str) -> String {
    if found.is_empty() {
        "a file without an extension".to_owned()
    } else {
        quoted(&format!(".{found}"))
    }
}
