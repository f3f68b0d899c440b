//! From table columns to the numeric inputs of a network, and targets.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::table::{Column, Table};
use crate::text::{number_text, parse_number};

mod target;

pub use target::{
    BinaryTarget, binary_signs, binary_target, is_binary, number_column, regression_target,
};

/// Most categories that a one-hot column may have.
const MOST_CATEGORIES: usize = 1000;

/// How the columns of a table become features; stored with a model, so that
/// new tables are encoded as the training table was.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Encoding {
    /// The input columns in the order of the features.
    pub inputs: Vec<Input>,
}

/// One input column.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Input {
    /// Name of the column.
    pub name: String,
    /// What the column holds.
    pub kind: InputKind,
}

/// What an input column holds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum InputKind {
    /// Numbers: one feature.
    Number,
    /// Categories: one feature per category, 1 in its rows and 0 elsewhere.
    OneHot {
        /// The categories, sorted.
        categories: Vec<String>,
    },
}

/// The features of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Names of the features, `columns` of them.
    pub names: Vec<String>,
    /// Number of rows.
    pub rows: usize,
    /// Number of features.
    pub columns: usize,
    /// The values, column by column: entry (i, j) at `j * rows + i`.
    pub values: Vec<f64>,
}

impl Encoding {
    /// Learns the encoding of all columns but those in `exclude` (the target,
    /// the weights), in the order of the table. Text columns are refused
    /// unless `one_hot`, which makes each a set of categories.
    ///
    /// # Errors
    /// Excluded columns that are not there; text without `one_hot`; missing or
    /// infinite cells; more than 1000 categories; no input left.
    pub fn learn(table: &Table, exclude: &[&str], one_hot: bool) -> Result<Encoding, Error> {
        for name in exclude {
            table.column(name)?;
        }
        let mut inputs = Vec::new();
        for (name, column) in table.names.iter().zip(&table.columns) {
            if exclude.contains(&name.as_str()) {
                continue;
            }
            let kind = match column {
                Column::Number(_) => InputKind::Number,
                Column::Text(cells) if one_hot => {
                    InputKind::OneHot { categories: categories(table, name, cells)? }
                }
                Column::Text(cells) => {
                    return Err(table.first_not_number(
                        name,
                        cells,
                        "replace it or drop the row: most cells of the column are numbers",
                        "replace it, drop the row, or pass --one-hot if the column holds categories",
                    ));
                }
            };
            let name = name.clone();
            inputs.push(Input { name, kind });
        }
        let encoding = Encoding { inputs };
        encoding.check_not_empty(table)?;
        Ok(encoding)
    }

    /// The names of the features: the column for numbers, `column=category`
    /// for categories.
    pub fn feature_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for Input { name, kind } in &self.inputs {
            match kind {
                InputKind::Number => names.push(name.clone()),
                InputKind::OneHot { categories } => {
                    names.extend(categories.iter().map(|c| format!("{name}={c}")));
                }
            }
        }
        names
    }

    /// Encodes a table; columns that are no inputs are ignored.
    ///
    /// # Errors
    /// Missing columns, unknown categories, text among numbers, missing or
    /// infinite cells, no features at all, too many to hold in memory.
    pub fn apply(&self, table: &Table) -> Result<Features, Error> {
        self.check_not_empty(table)?;
        let names = self.feature_names();
        let (rows, columns) = (table.rows, names.len());
        let too_large = || Error::TooLarge { file: table.source.clone(), rows, columns };
        let count = rows.checked_mul(columns).ok_or_else(too_large)?;
        let mut values: Vec<f64> = Vec::new();
        values.try_reserve_exact(count).map_err(|_| too_large())?;
        let by_name: HashMap<&str, &Column> =
            (table.names.iter().map(String::as_str)).zip(&table.columns).collect();
        for Input { name, kind } in &self.inputs {
            let column = match by_name.get(name.as_str()) {
                Some(column) => column,
                None => table.column(name)?,
            };
            match (kind, column) {
                (InputKind::Number, Column::Number(numbers)) => values.extend(numbers),
                (InputKind::Number, Column::Text(cells)) => {
                    return Err(table.first_not_number(name, cells, NUMBERS, NUMBERS));
                }
                (InputKind::OneHot { categories }, _) => {
                    one_hot(table, name, column, categories, &mut values)?;
                }
            }
        }
        Ok(Features { names, rows, columns, values })
    }

    fn check_not_empty(&self, table: &Table) -> Result<(), Error> {
        let empty = |input: &Input| match &input.kind {
            InputKind::Number => false,
            InputKind::OneHot { categories } => categories.is_empty(),
        };
        if self.inputs.iter().all(empty) {
            return Err(Error::NoFeatures { file: table.source.clone() });
        }
        Ok(())
    }
}

/// The remedy for text where a model expects numbers.
const NUMBERS: &str = "replace it or drop the row: the model was trained on numbers in this column";

/// The distinct cells of a text column, sorted.
fn categories(table: &Table, name: &str, cells: &[String]) -> Result<Vec<String>, Error> {
    let mut found = BTreeSet::new();
    for (row, cell) in cells.iter().enumerate() {
        if found.contains(cell.as_str()) {
            continue;
        }
        table.check_present(name, row, cell)?;
        found.insert(cell.as_str());
        if found.len() > MOST_CATEGORIES {
            return Err(Error::TooManyCategories {
                file: table.source.clone(),
                column: name.to_owned(),
                limit: MOST_CATEGORIES,
            });
        }
    }
    Ok(found.into_iter().map(str::to_owned).collect())
}

/// Appends one column of zeros and ones per category.
fn one_hot(
    table: &Table,
    name: &str,
    column: &Column,
    categories: &[String],
    values: &mut Vec<f64>,
) -> Result<(), Error> {
    // Where categories are numbers, a table without the others has a number
    // column, and 1.0 stands for the category "1".
    let exact: HashMap<&str, usize> = (categories.iter().enumerate().rev())
        .map(|(index, category)| (category.as_str(), index))
        .collect();
    let numeric: HashMap<u64, usize> = (categories.iter().enumerate().rev())
        .filter_map(|(index, category)| Some((bits(parse_number(category)?), index)))
        .collect();
    let start = values.len();
    values.resize(start + categories.len() * table.rows, 0.0);
    for row in 0..table.rows {
        let (text, index) = match column {
            Column::Text(cells) => {
                let cell = cells.get(row).map_or("", String::as_str);
                let number = || numeric.get(&bits(parse_number(cell)?));
                (cell.to_owned(), exact.get(cell).or_else(number))
            }
            Column::Number(numbers) => {
                let number = numbers.get(row).copied().unwrap_or(f64::NAN);
                let text = number_text(number);
                let index = exact.get(text.as_str());
                (text, index.or_else(|| numeric.get(&bits(number))))
            }
        };
        let Some(index) = index else {
            table.check_present(name, row, &text)?;
            return Err(Error::UnknownCategory {
                file: table.source.clone(),
                place: table.place(row),
                column: name.to_owned(),
                value: text,
                known: categories.to_vec(),
            });
        };
        if let Some(value) = values.get_mut(start + index * table.rows + row) {
            *value = 1.0;
        }
    }
    Ok(())
}

/// Bits of a number such that equal finite numbers have equal bits.
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}
