//! Reading of flat Parquet tables.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::{Column, Places, Table};
use crate::error::Error;
use crate::text::number_text;

mod pages;
mod thrift;

use pages::CheckedPages;

/// Rows decoded at a time.
const BATCH: usize = 1 << 14;
/// Cells any file may hold, and cells per byte of larger files; beyond both
/// the counts in the metadata are taken as damaged, before memory is spent.
const FREE_CELLS: usize = 1 << 24;
const CELLS_PER_BYTE: usize = 1 << 12;

/// Reads a Parquet table with flat columns: BOOLEAN (as 0 and 1), INT32, INT64
/// (rounded beyond 2^53), FLOAT and DOUBLE become [`Column::Number`], UTF-8
/// strings [`Column::Text`]. A column with NULLs becomes text with the NULLs
/// as empty cells, which are refused when the column is used.
///
/// # Errors
/// Damaged files, nested columns, other types (dates, decimals, …).
pub fn read_parquet_bytes(bytes: &[u8], source: &str) -> Result<Table, Error> {
    read(Bytes::copy_from_slice(bytes), source)
}

pub(crate) fn read(bytes: Bytes, source: &str) -> Result<Table, Error> {
    // The decoders of the parquet crate are meant to return errors for
    // malformed data, but a few of their assertions can still be reached; a
    // damaged file must not end the program. The panic hook is left alone, as
    // it belongs to the program. Nothing outlives the closure on failure.
    catch_unwind(AssertUnwindSafe(|| read_file(bytes, source))).unwrap_or_else(|_| {
        Err(damaged(source, "the decoder stopped at inconsistent data".to_owned()))
    })
}

fn damaged(source: &str, reason: String) -> Error {
    Error::Damaged { file: source.to_owned(), format: "Parquet", reason }
}

fn read_file(bytes: Bytes, source: &str) -> Result<Table, Error> {
    let size = bytes.len();
    let broken = |e: ParquetError| damaged(source, e.to_string());
    if !thrift::schema_plausible(&bytes) {
        return Err(damaged(source, "its schema is inconsistent".to_owned()));
    }
    let reader = SerializedFileReader::new(bytes.clone()).map_err(broken)?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mut names = Vec::new();
    let mut kinds = Vec::new();
    for column in schema.columns() {
        names.push(column.path().string());
        kinds.push(Kind::of(column, source)?);
    }

    // Every claim of a row count must agree and be plausible.
    let inconsistent = || damaged(source, "its row counts are inconsistent".to_owned());
    let mut rows = 0usize;
    for group in metadata.row_groups() {
        let count = usize::try_from(group.num_rows()).map_err(|_| inconsistent())?;
        let same =
            |c: &parquet::file::metadata::ColumnChunkMetaData| c.num_values() == group.num_rows();
        if group.num_columns() != kinds.len() || !group.columns().iter().all(same) {
            return Err(inconsistent());
        }
        rows = rows.checked_add(count).ok_or_else(inconsistent)?;
    }
    let cells = rows.checked_mul(kinds.len()).ok_or_else(inconsistent)?;
    if usize::try_from(metadata.file_metadata().num_rows()) != Ok(rows)
        || cells > FREE_CELLS.max(size.saturating_mul(CELLS_PER_BYTE))
    {
        return Err(inconsistent());
    }

    let mut columns = Vec::with_capacity(kinds.len());
    for (index, kind) in kinds.iter().enumerate() {
        for group in metadata.row_groups() {
            let (start, length) = group.column(index).byte_range();
            let chunk = usize::try_from(start).ok().and_then(|start| {
                let end = start.checked_add(usize::try_from(length).ok()?)?;
                bytes.get(start..end)
            });
            if !chunk.is_some_and(thrift::pages_plausible) {
                return Err(broken(pages::inconsistent()));
            }
        }
        let mut cells = Cells::default();
        for group in 0..metadata.num_row_groups() {
            let group = reader.get_row_group(group).map_err(broken)?;
            kind.read(group.as_ref(), index, &mut cells).map_err(broken)?;
        }
        if cells.len != rows {
            return Err(inconsistent());
        }
        columns.push(cells.into_column(*kind));
    }
    Table::new(source, names, columns, rows, Places::Rows)
}

/// How the cells of a column are decoded.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float,
    Double,
    Text,
}

impl Kind {
    fn of(column: &ColumnDescriptor, source: &str) -> Result<Kind, Error> {
        let unsupported = |found: String, remedy| Error::ColumnType {
            file: source.to_owned(),
            column: column.path().string(),
            found,
            remedy,
        };
        if column.max_rep_level() > 0 || column.path().parts().len() > 1 {
            let remedy = "flatten the nested column into columns of numbers, or remove it";
            return Err(unsupported("nested".to_owned(), remedy));
        }
        use ConvertedType as C;
        let (converted, logical) = (column.converted_type(), column.logical_type_ref());
        let integer = matches!(logical, None | Some(LogicalType::Integer { .. }));
        let string =
            matches!(logical, Some(LogicalType::String | LogicalType::Enum | LogicalType::Json));
        let kind = match (column.physical_type(), converted) {
            (PhysicalType::BOOLEAN, C::NONE) => Some(Kind::Bool),
            (PhysicalType::FLOAT, C::NONE) => Some(Kind::Float),
            (PhysicalType::DOUBLE, C::NONE) => Some(Kind::Double),
            (PhysicalType::INT32, C::NONE | C::INT_8 | C::INT_16 | C::INT_32) if integer => {
                Some(Kind::Int32)
            }
            (PhysicalType::INT32, C::UINT_8 | C::UINT_16 | C::UINT_32) => Some(Kind::Uint32),
            (PhysicalType::INT64, C::NONE | C::INT_64) if integer => Some(Kind::Int64),
            (PhysicalType::INT64, C::UINT_64) => Some(Kind::Uint64),
            (PhysicalType::BYTE_ARRAY, C::UTF8 | C::ENUM | C::JSON) => Some(Kind::Text),
            (PhysicalType::BYTE_ARRAY, _) if string => Some(Kind::Text),
            _ => None,
        };
        kind.ok_or_else(|| {
            let found = match converted {
                C::NONE => column.physical_type().to_string(),
                other => format!("{} ({other})", column.physical_type()),
            };
            unsupported(found, "convert the column to a number or to UTF-8 text, or remove it")
        })
    }

    /// Appends the cells of column `index` of a row group.
    fn read(self, group: &dyn RowGroupReader, index: usize, to: &mut Cells) -> ParquetResult<()> {
        match self {
            Kind::Bool => {
                decode::<BoolType>(group, index, to, |&v, to| to.number(f64::from(u8::from(v))))
            }
            Kind::Int32 => decode::<Int32Type>(group, index, to, |&v, to| to.number(f64::from(v))),
            Kind::Uint32 => {
                decode::<Int32Type>(group, index, to, |&v, to| to.number(f64::from(v as u32)))
            }
            Kind::Int64 => decode::<Int64Type>(group, index, to, |&v, to| to.number(v as f64)),
            Kind::Uint64 => {
                decode::<Int64Type>(group, index, to, |&v, to| to.number(v as u64 as f64))
            }
            Kind::Float => decode::<FloatType>(group, index, to, |&v, to| to.number(f64::from(v))),
            Kind::Double => decode::<DoubleType>(group, index, to, |&v, to| to.number(v)),
            Kind::Text => decode::<ByteArrayType>(group, index, to, |v, to| {
                to.texts.push(v.as_utf8()?.to_owned());
                Ok(())
            }),
        }
    }
}

/// The cells of one column while it is read.
#[derive(Default)]
struct Cells {
    len: usize,
    numbers: Vec<f64>,
    texts: Vec<String>,
    /// Rows (from 0) that are NULL.
    nulls: Vec<usize>,
}

impl Cells {
    fn number(&mut self, value: f64) -> ParquetResult<()> {
        self.numbers.push(value);
        Ok(())
    }

    fn into_column(self, kind: Kind) -> Column {
        let cells = match (kind, Column::from_numbers(self.numbers)) {
            (Kind::Text, _) => self.texts,
            (_, column) if self.nulls.is_empty() => return column,
            (_, Column::Number(values)) => values.into_iter().map(number_text).collect(),
            (_, Column::Text(cells)) => cells,
        };
        // Put an empty cell where each NULL was.
        let mut present = cells.into_iter();
        let mut nulls = self.nulls.into_iter().peekable();
        let cell = |row| match nulls.next_if_eq(&row) {
            Some(_) => String::new(),
            None => present.next().unwrap_or_default(),
        };
        Column::Text((0..self.len).map(cell).collect())
    }
}

/// Decodes one column of a row group, handing every value to `put`.
fn decode<T: DataType>(
    group: &dyn RowGroupReader,
    index: usize,
    to: &mut Cells,
    put: impl Fn(&T::T, &mut Cells) -> ParquetResult<()>,
) -> ParquetResult<()> {
    let column = group.metadata().schema_descr().column(index);
    let nullable = column.max_def_level() > 0;
    let mut left = usize::try_from(group.metadata().num_rows())?;
    let pages = CheckedPages::new(group.get_column_page_reader(index)?, left, nullable);
    let mut reader = ColumnReaderImpl::<T>::new(column, Box::new(pages));
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    while left > 0 {
        levels.clear();
        values.clear();
        let (rows, ..) =
            reader.read_records(BATCH.min(left), Some(&mut levels), None, &mut values)?;
        if rows == 0 {
            return Err(pages::inconsistent());
        }
        for value in &values {
            put(value, to)?;
        }
        if nullable {
            let nulls = levels.iter().enumerate().filter(|(_, level)| **level == 0);
            to.nulls.extend(nulls.map(|(row, _)| to.len + row));
        }
        to.len += rows;
        left = left.saturating_sub(rows);
    }
    Ok(())
}
