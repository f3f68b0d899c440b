//! Targets and other columns that must be numbers or classes.

use crate::error::Error;
use crate::table::{Column, Table};
use crate::text::{number_text, parse_number};

/// Remedy for text in a column that must be numbers.
const REPLACE: &str = "replace it, drop the row, or choose another column";
/// Classes listed in a message.
const LISTED: usize = 6;

/// A target with two classes.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryTarget {
    /// The classes, in numeric order if both are numbers, else alphabetical.
    pub classes: [String; 2],
    /// Per row -1 for `classes[0]` and +1 for `classes[1]`.
    pub signs: Vec<f64>,
}

/// The column `name`, which must be numbers.
///
/// # Errors
/// No such column (the columns there are get listed); a cell that is missing,
/// infinite or text.
pub fn number_column(table: &Table, name: &str) -> Result<Vec<f64>, Error> {
    match table.column(name)? {
        Column::Number(values) => Ok(values.clone()),
        Column::Text(cells) => Err(table.first_not_number(name, cells, REPLACE, REPLACE)),
    }
}

/// The column `name` as the target of a regression.
///
/// # Errors
/// Those of [`number_column`]; a constant target.
pub fn regression_target(table: &Table, name: &str) -> Result<Vec<f64>, Error> {
    let values = number_column(table, name)?;
    match values.split_first() {
        Some((first, rest)) if rest.iter().any(|v| v != first) => Ok(values),
        first => Err(Error::ConstantTarget {
            file: table.source.clone(),
            column: name.to_owned(),
            value: number_text(first.map_or(f64::NAN, |(v, _)| *v)),
        }),
    }
}

/// A class as found in a cell: numbers by value, so that 1 and 1.0 are one
/// class, anything else by its text. Numbers come before text.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Class<'a> {
    Number(f64),
    Text(&'a str),
}

impl<'a> Class<'a> {
    fn of(cell: &'a str) -> Class<'a> {
        match parse_number(cell) {
            Some(number) => Class::Number(number),
            None => Class::Text(cell.trim()),
        }
    }

    fn name(&self) -> String {
        match self {
            // Adding zero turns -0 into 0.
            Class::Number(number) => number_text(number + 0.0),
            Class::Text(text) => (*text).to_owned(),
        }
    }
}

/// Calls `each` with the rows' classes until it returns `false`.
///
/// # Errors
/// No such column; a missing or infinite cell.
fn for_each_class<'t>(
    table: &'t Table,
    name: &str,
    mut each: impl FnMut(usize, Class<'t>) -> bool,
) -> Result<(), Error> {
    match table.column(name)? {
        Column::Number(values) => {
            let mut rows = values.iter().enumerate();
            rows.all(|(row, &value)| each(row, Class::Number(value)));
        }
        Column::Text(cells) => {
            for (row, cell) in cells.iter().enumerate() {
                table.check_present(name, row, cell)?;
                if !each(row, Class::of(cell)) {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The distinct classes of a column, sorted, at most `limit` of them.
fn distinct<'t>(table: &'t Table, name: &str, limit: usize) -> Result<Vec<Class<'t>>, Error> {
    let mut found: Vec<Class<'t>> = Vec::new();
    for_each_class(table, name, |_, class| {
        if !found.contains(&class) {
            found.push(class);
        }
        found.len() < limit
    })?;
    found.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    Ok(found)
}

/// Whether the column `name` has exactly two distinct values.
///
/// # Errors
/// No such column; a missing or infinite cell before a third value.
pub fn is_binary(table: &Table, name: &str) -> Result<bool, Error> {
    Ok(distinct(table, name, 3)?.len() == 2)
}

/// The column `name` as a target with two classes, numbers or text.
///
/// # Errors
/// No such column; missing or infinite cells; one class, or more than two.
pub fn binary_target(table: &Table, name: &str) -> Result<BinaryTarget, Error> {
    let mut found = distinct(table, name, LISTED)?;
    if !found.iter().all(|c| matches!(c, Class::Number(_))) {
        // Beside text, numbers are sorted as text too.
        found.sort_by_key(Class::name);
    }
    let names: Vec<String> = found.iter().map(Class::name).collect();
    let file = table.source.clone();
    let column = name.to_owned();
    match <[String; 2]>::try_from(names) {
        Ok(classes) => {
            let signs = binary_signs(table, name, &classes)?;
            Ok(BinaryTarget { classes, signs })
        }
        Err(names) if names.len() < 2 => {
            Err(Error::OneClass { file, column, found: names.concat() })
        }
        Err(mut found) => {
            if found.len() == LISTED {
                found.truncate(LISTED - 1);
                found.push("…".to_owned());
            }
            Err(Error::ManyClasses { file, column, found })
        }
    }
}

/// The classes of the column `name` as -1 (`classes[0]`) and +1 (`classes[1]`),
/// for data to which a model with these classes is applied. Numbers are
/// compared by value: 1 and 1.0 are one class. One class alone is allowed.
///
/// # Errors
/// No such column; missing or infinite cells; another class.
pub fn binary_signs(table: &Table, name: &str, classes: &[String; 2]) -> Result<Vec<f64>, Error> {
    let [negative, positive] = classes;
    let (negative, positive) = (Class::of(negative), Class::of(positive));
    let mut signs = Vec::with_capacity(table.rows);
    let mut unknown = None;
    for_each_class(table, name, |row, class| {
        if class == negative {
            signs.push(-1.0);
        } else if class == positive {
            signs.push(1.0);
        } else {
            unknown = Some((row, class.name()));
        }
        unknown.is_none()
    })?;
    match unknown {
        None => Ok(signs),
        Some((row, value)) => Err(Error::UnknownClass {
            file: table.source.clone(),
            place: table.place(row),
            column: name.to_owned(),
            value,
            classes: classes.to_vec(),
        }),
    }
}
