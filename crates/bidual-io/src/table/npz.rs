//! NPZ archives: the inputs as `X`, the targets as `y`.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::npy::{self, Array, shape_text};
use super::{Column, Places, Table};
use crate::error::Error;

/// Names under which inputs and targets are looked for, in this order.
const INPUTS: [&str; 3] = ["X", "X_train", "x_train"];
const TARGETS: [&str; 2] = ["y", "y_train"];
/// Deflate compresses by at most about 1032 to 1.
const MOST_COMPRESSED: u64 = 1100;

/// Reads an NPZ archive with the inputs `X` (or `X_train`, `x_train`) and, if
/// there, the targets `y` (or `y_train`), as a table with the columns `x0`,
/// `x1`, … and `y`. `X` has the shape n × d; one dimension is one column, and
/// further dimensions are flattened. `y` has the shape n or n × 1.
///
/// # Errors
/// Damaged archives, missing or unsuitable arrays, different lengths.
pub fn read_npz_bytes(bytes: &[u8], source: &str) -> Result<Table, Error> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(source, e.to_string()))?;
    let members: Vec<String> = (0..archive.len())
        .filter_map(|i| archive.name_for_index(i)?.ok().map(|n| n.into_owned()))
        .collect();
    let find = |names: &[&'static str]| {
        let present = |name: &&&str| members.iter().any(|m| m.strip_suffix(".npy") == Some(name));
        names.iter().find(present).copied()
    };
    let Some(inputs) = find(&INPUTS) else {
        let array = |m: &String| m.strip_suffix(".npy").unwrap_or(m).to_owned();
        return Err(Error::MissingArray {
            file: source.to_owned(),
            expected: "X",
            have: members.iter().map(array).collect(),
        });
    };
    let x = member(&mut archive, inputs, source)?;
    let Some((&rows, rest)) = x.shape.split_first() else {
        return Err(shape_error(source, inputs, &x, "rows × columns"));
    };
    let columns = match rest.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) {
        Some(columns) => columns,
        // The array is empty: some other dimension is zero.
        None => return Err(shape_error(source, inputs, &x, "rows × columns")),
    };
    let (mut names, mut data) = npy::input_columns(&x.values, rows, columns);
    if let Some(targets) = find(&TARGETS) {
        let y = member(&mut archive, targets, source)?;
        if !matches!(y.shape.as_slice(), [_] | [_, 1]) {
            let expected = "one target per row, (n,) or (n, 1)";
            return Err(shape_error(source, targets, &y, expected));
        }
        if y.values.len() != rows {
            return Err(Error::ArrayLengths {
                file: source.to_owned(),
                x: rows,
                y: y.values.len(),
            });
        }
        names.push("y".to_owned());
        data.push(Column::from_numbers(y.values));
    }
    Table::new(source, names, data, rows, Places::Rows)
}

/// Every array of an NPZ archive, by name, sorted.
///
/// # Errors
/// Damaged archives, arrays of other element types than numbers.
pub(crate) fn read_arrays(bytes: &[u8], source: &str) -> Result<Vec<(String, Array)>, Error> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(source, e.to_string()))?;
    let mut names: Vec<String> = (0..archive.len())
        .filter_map(|i| archive.name_for_index(i)?.ok().map(|n| n.into_owned()))
        .filter_map(|name| name.strip_suffix(".npy").map(str::to_owned))
        .collect();
    names.sort();
    let arrays = names.into_iter().map(|name| {
        let array = member(&mut archive, &name, source)?;
        Ok((name, array))
    });
    arrays.collect()
}

/// Reads the array `name` of the archive.
fn member(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    source: &str,
) -> Result<Array, Error> {
    let failed = |reason: String| damaged(source, format!("{name}: {reason}"));
    let file = archive.by_name(&format!("{name}.npy")).map_err(|e| failed(e.to_string()))?;
    // The sizes in the archive are only claims, so the buffer grows with what
    // is really there, up to a plausible size.
    let (size, packed) = (file.size(), file.compressed_size());
    if size > packed.saturating_mul(MOST_COMPRESSED).saturating_add(1024) {
        return Err(failed(format!("{size} bytes cannot come from {packed}")));
    }
    let mut bytes = Vec::new();
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
    if bytes.len() as u64 != size {
        return Err(failed("its size differs from the archive's entry".into()));
    }
    npy::parse(&bytes, source, name)
}

fn damaged(source: &str, reason: String) -> Error {
    Error::Damaged { file: source.to_owned(), format: "NPZ", reason }
}

fn shape_error(source: &str, name: &str, array: &Array, expected: &'static str) -> Error {
    Error::ArrayShape {
        file: source.to_owned(),
        array: name.to_owned(),
        found: shape_text(&array.shape),
        expected,
    }
}
