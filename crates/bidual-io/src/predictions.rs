//! Columns of results as CSV or NPY.

use std::io::{self, Write};
use std::path::Path;

use crate::atomic::{check_output, write_atomically};
use crate::error::Error;
use crate::table::write_npy;
use crate::text::{number_text, parse_number};

/// One column of results.
#[derive(Clone, Copy, Debug)]
pub enum OutColumn<'a> {
    /// Numbers.
    Number(&'a [f64]),
    /// Strings.
    Text(&'a [String]),
}

impl OutColumn<'_> {
    fn len(&self) -> usize {
        match self {
            OutColumn::Number(values) => values.len(),
            OutColumn::Text(cells) => cells.len(),
        }
    }

    fn cell(&self, row: usize) -> String {
        match self {
            OutColumn::Number(values) => values.get(row).copied().map(number_text),
            OutColumn::Text(cells) => cells.get(row).cloned(),
        }
        .unwrap_or_default()
    }
}

/// A format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Comma-separated text with a header.
    Csv,
    /// A NumPy array, one column a name.
    Npy,
}

/// The format that [`write_columns`] would use for `path`, with its directory
/// checked; for use before long work.
///
/// # Errors
/// Another extension than `.csv` or `.npy`; no such directory.
pub fn output_format(path: &Path) -> Result<OutputFormat, Error> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let format = match extension.to_ascii_lowercase().as_str() {
        "csv" => OutputFormat::Csv,
        "npy" => OutputFormat::Npy,
        _ => {
            return Err(Error::OutputFormat {
                file: path.display().to_string(),
                found: extension.into_owned(),
            });
        }
    };
    check_output(path)?;
    Ok(format)
}

/// Writes columns of equal length to the file `path`, atomically, or as CSV to
/// the standard output for `None`.
///
/// `.csv`: a header with `names`, numbers in the shortest form that reads back
/// as the same `f64`. `.npy`: an `f8` array, n for one column and n × columns
/// for several, without names; text columns must hold numbers.
///
/// # Errors
/// Another extension, columns of different lengths, text that an NPY file
/// cannot hold, failures to write. That a reader of the standard output has
/// stopped reading is not an error.
pub fn write_columns(
    path: Option<&Path>,
    names: &[&str],
    columns: &[OutColumn<'_>],
) -> Result<(), Error> {
    let file = path.map_or("standard output".to_owned(), |p| p.display().to_string());
    let lengths: Vec<usize> = columns.iter().map(OutColumn::len).collect();
    if names.len() != columns.len()
        || columns.is_empty()
        || lengths.windows(2).any(|pair| pair.first() != pair.last())
    {
        return Err(Error::OutputLengths {
            file,
            found: format!("{} names and columns of the lengths {lengths:?}", names.len()),
        });
    }
    let Some(path) = path else {
        return match write_csv(&mut io::stdout().lock(), names, columns) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|cause| Error::Write { file, cause }),
        };
    };
    match output_format(path)? {
        OutputFormat::Csv => write_atomically(path, |out| write_csv(out, names, columns)),
        OutputFormat::Npy => {
            let named = names.iter().zip(columns);
            let values = named.map(|(name, column)| numbers(column, name, &file));
            let values = values.collect::<Result<Vec<_>, Error>>()?;
            let slices: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
            write_atomically(path, |out| write_npy(out, &slices))
        }
    }
}

fn write_csv(out: &mut dyn Write, names: &[&str], columns: &[OutColumn<'_>]) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(names)?;
    for row in 0..columns.first().map_or(0, OutColumn::len) {
        writer.write_record(columns.iter().map(|c| c.cell(row)))?;
    }
    writer.flush()
}

/// The numbers of a column, also of text that holds only numbers.
fn numbers(column: &OutColumn<'_>, name: &str, file: &str) -> Result<Vec<f64>, Error> {
    match column {
        OutColumn::Number(values) => Ok(values.to_vec()),
        OutColumn::Text(cells) => (cells.iter())
            .map(|cell| {
                parse_number(cell).ok_or_else(|| Error::TextInNpy {
                    file: file.to_owned(),
                    column: name.to_owned(),
                    value: cell.clone(),
                })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, read_table};

    #[test]
    fn columns_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let numbers = [0.1, -0.0, 1e300, 5e-324, 123456789.0];
        let labels = ["a,b", "c\"d", "e", "f\ng", "é"].map(str::to_owned);
        let columns = [OutColumn::Number(&numbers), OutColumn::Text(&labels)];
        write_columns(Some(&path("p.CSV")), &["f", "label"], &columns).unwrap();
        let table = read_table(&path("p.CSV")).unwrap();
        assert_eq!(table.names, ["f", "label"]);
        assert_eq!(table.columns[1], Column::Text(labels.to_vec()));
        let Column::Number(read) = &table.columns[0] else { panic!() };
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(read), bits(&numbers));

        let classes = ["1", "0", "1", "1", "0"].map(str::to_owned);
        let columns = [OutColumn::Number(&numbers), OutColumn::Text(&classes)];
        write_columns(Some(&path("p.npy")), &["f", "label"], &columns).unwrap();
        let table = read_table(&path("p.npy")).unwrap();
        assert_eq!(table.columns[0], Column::Number(numbers.to_vec()));
        assert_eq!(table.columns[1], Column::Number(vec![1.0, 0.0, 1.0, 1.0, 0.0]));
    }

    #[test]
    fn errors_name_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (numbers, text) = ([1.0], ["yes".to_owned()]);
        let columns = [OutColumn::Number(&numbers), OutColumn::Text(&text)];
        let fails = |name: &str, names: &[&str], columns: &[OutColumn<'_>], says: &str| {
            let error = write_columns(Some(&path(name)), names, columns).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(!path(name).exists());
        };
        fails("p.npy", &["f", "l"], &columns, "\"l\": \"yes\" is text");
        fails("p.txt", &["f", "l"], &columns, "\".txt\" is not an output format; use .csv");
        fails("p", &["f", "l"], &columns, "without an extension");
        fails("no/p.csv", &["f", "l"], &columns, "does not exist");
        fails("p.csv", &["f"], &columns, "found 1 names");
        fails("p.csv", &["f", "g"], &[columns[0], OutColumn::Text(&[])], "lengths [1, 0]");
        fails("p.csv", &[], &[], "found 0 names");
    }
}
