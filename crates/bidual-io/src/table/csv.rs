//! Reading of comma-separated tables with a header line.

use csv::{ByteRecord, ReaderBuilder, Trim};

use super::{Column, Places, Table};
use crate::error::{Error, Place};
use crate::text::parse_number;

/// Reads a CSV table: UTF-8 (a byte order mark is skipped), commas, optional
/// double quotes, the column names on line 1. Space around fields is dropped
/// and blank lines are skipped. A column of finite numbers becomes
/// [`Column::Number`], any other [`Column::Text`].
///
/// # Errors
/// Empty files, headers without rows, ragged lines, text that is not UTF-8,
/// unnamed or equally named columns; each names the line.
pub fn read_csv_bytes(bytes: &[u8], source: &str) -> Result<Table, Error> {
    let data = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rows = Rows::new(data, source);
    let Some(place) = rows.advance()? else {
        return Err(Error::Empty { file: source.to_owned() });
    };
    let names = strings(&rows.record, source, place)?;
    if let [only] = names.as_slice()
        && only.contains([';', '\t', '|'])
    {
        return Err(Error::Separator { file: source.to_owned(), place, found: only.clone() });
    }
    super::check_names(source, &names)?;

    // First pass: the form of every row, and which columns are numbers.
    let mut numbers: Vec<Option<Vec<f64>>> = vec![Some(Vec::new()); names.len()];
    let mut lines = Vec::new();
    while let Some(place) = rows.advance()? {
        let record = &rows.record;
        if record.len() != names.len() {
            return Err(Error::Ragged {
                file: source.to_owned(),
                place,
                expected: names.len(),
                found: record.len(),
            });
        }
        for (index, (field, column)) in record.iter().zip(&mut numbers).enumerate() {
            let text = utf8(field, source, place, index)?;
            if let Some(values) = column {
                match parse_number(text) {
                    Some(value) => values.push(value),
                    None => *column = None,
                }
            }
        }
        lines.push(rows.line);
    }

    // Second pass, for the text columns only: their earlier cells may have
    // looked like numbers, and the text must be kept as it was written.
    let mut texts: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    if numbers.iter().any(Option::is_none) {
        let mut rows = Rows::new(data, source);
        rows.advance()?;
        while let Some(place) = rows.advance()? {
            for (index, field) in rows.record.iter().enumerate() {
                if let (Some(None), Some(cells)) = (numbers.get(index), texts.get_mut(index)) {
                    cells.push(utf8(field, source, place, index)?.to_owned());
                }
            }
        }
    }
    let columns = numbers
        .into_iter()
        .zip(texts)
        .map(|(numbers, texts)| match numbers {
            Some(values) => Column::Number(values),
            None => Column::Text(texts),
        })
        .collect();
    Table::new(source, names, columns, lines.len(), Places::Lines(lines))
}

/// The records of a file with the line on which each begins.
struct Rows<'a> {
    reader: csv::Reader<&'a [u8]>,
    data: &'a [u8],
    source: &'a str,
    record: ByteRecord,
    /// Byte up to which line ends have been counted, and the line there.
    at: usize,
    line: u64,
}

impl<'a> Rows<'a> {
    fn new(data: &'a [u8], source: &'a str) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(data);
        Rows { reader, data, source, record: ByteRecord::new(), at: 0, line: 1 }
    }

    /// Reads the next row into `record`; `None` at the end of the file.
    fn advance(&mut self) -> Result<Option<Place>, Error> {
        let more = self.reader.read_byte_record(&mut self.record).map_err(|e| Error::Damaged {
            file: self.source.to_owned(),
            format: "CSV",
            reason: e.to_string(),
        })?;
        if !more {
            return Ok(None);
        }
        // The reader's own line is that of the blank lines before the record
        // (and it counts \r\n late), so lines are counted here.
        let start = self.record.position().map_or(0, |p| p.byte() as usize);
        let blank = self.data.get(start..).unwrap_or_default();
        let blank = blank.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
        let start = start + blank.count();
        let passed = self.data.get(self.at..start).unwrap_or_default();
        self.line += line_ends(passed);
        self.at = start;
        Ok(Some(Place::Line(self.line)))
    }
}

/// Line ends in `bytes`: `\n`, `\r\n` and a lone `\r` each count once.
fn line_ends(bytes: &[u8]) -> u64 {
    let mut count = 0;
    let mut previous = 0;
    for &byte in bytes {
        if byte == b'\r' || (byte == b'\n' && previous != b'\r') {
            count += 1;
        }
        previous = byte;
    }
    count
}

fn strings(record: &ByteRecord, source: &str, place: Place) -> Result<Vec<String>, Error> {
    let fields = record.iter().enumerate();
    fields.map(|(i, field)| utf8(field, source, place, i).map(str::to_owned)).collect()
}

fn utf8<'f>(field: &'f [u8], source: &str, place: Place, index: usize) -> Result<&'f str, Error> {
    std::str::from_utf8(field).map_err(|_| Error::NotUtf8 {
        file: source.to_owned(),
        place,
        field: index + 1,
    })
}
