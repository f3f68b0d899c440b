//! Tables of named columns, read from CSV, Parquet, NPY and NPZ.

use std::path::Path;

use crate::error::{Error, Place};
use crate::text::{is_missing, mostly_numbers, number_text, parse_number};

mod csv;
pub(crate) mod npy;
pub(crate) mod npz;
#[cfg(feature = "parquet")]
mod parquet;

pub use csv::read_csv_bytes;
pub use npy::{Single, read_npy_bytes, read_npy_f32, write_npy};
pub use npz::read_npz_bytes;
#[cfg(feature = "parquet")]
pub use parquet::read_parquet_bytes;

/// A table: `columns.len() == names.len()`, every column `rows` long.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The file, as it begins messages.
    pub source: String,
    /// Column names, distinct and not empty.
    pub names: Vec<String>,
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Number of rows, at least 1.
    pub rows: usize,
    /// How rows are named in messages.
    pub places: Places,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Every cell is a finite number.
    Number(Vec<f64>),
    /// Some cell is not: the cells as text, with missing ones as in the file
    /// (Parquet NULLs as empty text) and numbers in their shortest form.
    /// Missing and infinite cells are refused only when the column is used, so
    /// that a table may carry columns nobody asks for.
    Text(Vec<String>),
}

/// The place of each row in its file.
#[derive(Clone, Debug, PartialEq)]
pub enum Places {
    /// The line on which each row begins.
    Lines(Vec<u64>),
    /// Rows counted from 1.
    Rows,
}

impl Column {
    /// A number column, or a text column if some value is not finite.
    pub fn from_numbers(values: Vec<f64>) -> Column {
        if values.iter().all(|v| v.is_finite()) {
            Column::Number(values)
        } else {
            Column::Text(values.iter().map(|&v| number_text(v)).collect())
        }
    }
}

impl Table {
    /// A table from its parts, with the rules of a table checked.
    ///
    /// # Errors
    /// No columns or rows, unnamed columns, two columns of one name.
    pub(crate) fn new(
        source: &str,
        names: Vec<String>,
        columns: Vec<Column>,
        rows: usize,
        places: Places,
    ) -> Result<Table, Error> {
        check_names(source, &names)?;
        if rows == 0 {
            return Err(Error::NoRows { file: source.to_owned() });
        }
        Ok(Table { source: source.to_owned(), names, columns, rows, places })
    }

    /// The column named `name`.
    ///
    /// # Errors
    /// [`Error::MissingColumn`] with the names there are.
    pub fn column(&self, name: &str) -> Result<&Column, Error> {
        self.names.iter().position(|n| n == name).and_then(|i| self.columns.get(i)).ok_or_else(
            || Error::MissingColumn {
                file: self.source.clone(),
                column: name.to_owned(),
                have: self.names.clone(),
            },
        )
    }

    /// Whether the first line of a text file, which was taken for the column names, looks like data.
    pub fn looks_headless(&self) -> bool {
        matches!(self.places, Places::Lines(_)) && mostly_numbers(&self.names)
    }

    /// Where the row with 0-based index `row` is in the file.
    pub fn place(&self, row: usize) -> Place {
        let counted = row as u64 + 1;
        match &self.places {
            Places::Lines(lines) => lines.get(row).map_or(Place::Row(counted), |&l| Place::Line(l)),
            Places::Rows => Place::Row(counted),
        }
    }

    /// Refuses a cell that is missing or infinite.
    pub(crate) fn check_present(&self, column: &str, row: usize, cell: &str) -> Result<(), Error> {
        let (file, place) = (self.source.clone(), self.place(row));
        let (column, value) = (column.to_owned(), cell.to_owned());
        if is_missing(cell) {
            return Err(Error::Missing { file, place, column, value });
        }
        if cell.trim().parse().is_ok_and(|v: f64| !v.is_finite()) {
            return Err(Error::NotFinite { file, place, column, value });
        }
        Ok(())
    }

    /// The error for the first cell of a text column that is not a number;
    /// the remedy depends on whether most cells are numbers.
    pub(crate) fn first_not_number(
        &self,
        column: &str,
        cells: &[String],
        remedy_few: &'static str,
        remedy_most: &'static str,
    ) -> Error {
        let first = cells.iter().enumerate().find(|(_, cell)| parse_number(cell).is_none());
        let (row, cell) = first.map_or((0, ""), |(row, cell)| (row, cell.as_str()));
        if let Err(error) = self.check_present(column, row, cell) {
            return error;
        }
        let bad = cells.iter().filter(|c| parse_number(c).is_none()).count();
        Error::NotNumber {
            file: self.source.clone(),
            place: self.place(row),
            column: column.to_owned(),
            value: cell.to_owned(),
            remedy: if 2 * bad < cells.len() { remedy_few } else { remedy_most },
        }
    }
}

/// Refuses empty lists of names, unnamed columns and equal names.
fn check_names(source: &str, names: &[String]) -> Result<(), Error> {
    let file = || source.to_owned();
    if names.is_empty() {
        return Err(Error::NoColumns { file: file() });
    }
    let mut seen = std::collections::HashMap::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            return Err(Error::UnnamedColumn { file: file(), position: index + 1 });
        }
        if let Some(first) = seen.insert(name.as_str(), index) {
            return Err(Error::DuplicateColumn {
                file: file(),
                column: name.clone(),
                first: first + 1,
                second: index + 1,
            });
        }
    }
    Ok(())
}

/// Reads the table at `path`; the extension (`.csv`, `.parquet`, `.npy`,
/// `.npz`, in any case) decides the format.
///
/// # Errors
/// An unknown extension, an unreadable file, and everything the reader of the
/// format refuses.
pub fn read_table(path: &Path) -> Result<Table, Error> {
    let file = path.display().to_string();
    let extension =
        path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    // The format first: a wrong extension is the clearer thing to report.
    if !matches!(extension.as_str(), "csv" | "parquet" | "npy" | "npz") {
        return Err(Error::InputFormat { file, found: extension });
    }
    let bytes = read_file(path)?;
    match extension.as_str() {
        "csv" => read_csv_bytes(&bytes, &file),
        "npy" => read_npy_bytes(&bytes, &file),
        "npz" => read_npz_bytes(&bytes, &file),
        #[cfg(feature = "parquet")]
        _ => parquet::read(bytes.into(), &file),
        #[cfg(not(feature = "parquet"))]
        _ => Err(Error::ParquetDisabled { file }),
    }
}

/// The bytes of a file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let file = path.display().to_string();
    if path.is_dir() {
        return Err(Error::IsDirectory { file });
    }
    std::fs::read(path).map_err(|cause| Error::Read { file, cause })
}
