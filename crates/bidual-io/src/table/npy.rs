//! NumPy's NPY format: headers of versions 1 to 3, numeric element types.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use super::{Column, Places, Table};
use crate::error::Error;

/// A numeric array; `values` in C order, `values.len()` the product of `shape`.
#[derive(Debug)]
pub(crate) struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    /// Whether the elements are 32-bit floats.
    pub single_precision: bool,
}

/// Reads an NPY array with one dimension (one column) or two (rows × columns)
/// as a table with the columns `x0`, `x1`, …. All integer, float (4 and 8
/// bytes) and boolean types of either byte order are widened to `f64`;
/// integers beyond 2^53 are rounded.
///
/// # Errors
/// Damaged or truncated files, other element types, other shapes, no elements.
pub fn read_npy_bytes(bytes: &[u8], source: &str) -> Result<Table, Error> {
    let array = parse(bytes, source, "the array")?;
    let (rows, columns) = match *array.shape.as_slice() {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        _ => {
            return Err(Error::ArrayShape {
                file: source.to_owned(),
                array: "the array".to_owned(),
                found: shape_text(&array.shape),
                expected: "one or two dimensions; reshape it to rows × columns",
            });
        }
    };
    let (names, data) = input_columns(&array.values, rows, columns);
    Table::new(source, names, data, rows, Places::Rows)
}

/// A matrix of 32-bit floats, as it is in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Single {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Row by row: entry (i, j) at `i * columns + j`.
    pub values: Vec<f32>,
}

/// Reads an NPY matrix of 32-bit floats without widening it, for
/// `bidual::operator::Gated::unsigned_f32`; `None` if its elements are of another type.
/// Memory: 4 bytes an element.
///
/// # Errors
/// Files that cannot be read, damaged or truncated ones, arrays that are not rows × columns.
pub fn read_npy_f32(path: &Path) -> Result<Option<Single>, Error> {
    let file = path.display().to_string();
    let read = |cause| Error::Read { file: file.clone(), cause };
    let damaged = |reason: String| Error::Damaged { file: file.clone(), format: "NPY", reason };
    if path.is_dir() {
        return Err(Error::IsDirectory { file });
    }
    let mut source = BufReader::new(File::open(path).map_err(read)?);
    // the header of any NPY file that NumPy writes is far shorter
    let mut start = vec![];
    source.by_ref().take(1 << 16).read_to_end(&mut start).map_err(read)?;
    let (text, rest) = split(&start).ok_or_else(|| damaged("no NPY header".into()))?;
    let header =
        Header::parse(text).ok_or_else(|| damaged("the header cannot be parsed".into()))?;
    let element = Element::parse(&header.descr);
    let Some(element) = element.filter(|e| (e.kind, e.size) == (b'f', 4)) else { return Ok(None) };
    let [rows, columns] = *header.shape.as_slice() else {
        return Err(Error::ArrayShape {
            file,
            array: "the array".to_owned(),
            found: shape_text(&header.shape),
            expected: "two dimensions; reshape it to rows × columns",
        });
    };
    let bytes = source.get_ref().metadata().map_err(read)?.len();
    let held = bytes.saturating_sub((start.len() - rest.len()) as u64);
    let count = rows.checked_mul(columns).filter(|c| c.checked_mul(4) == Some(held as usize));
    let Some(count) = count else {
        return Err(damaged(format!(
            "the shape {} of {} does not match the {held} bytes of data",
            shape_text(&header.shape),
            header.descr
        )));
    };
    let mut values = vec![0f32; count];
    let mut data = rest.chain(source);
    let mut word = [0; 4];
    for k in 0..count {
        data.read_exact(&mut word).map_err(read)?;
        let at = if header.fortran_order { k % rows * columns + k / rows } else { k };
        values[at] = element.value(&word) as f32;
    }
    Ok(Some(Single { rows, columns, values }))
}

/// Names `x0`, `x1`, … and the columns of a row-major rows × columns matrix.
pub(crate) fn input_columns(
    values: &[f64],
    rows: usize,
    columns: usize,
) -> (Vec<String>, Vec<Column>) {
    if rows == 0 || columns == 0 {
        // An empty array may claim any number of columns.
        let names = if columns == 0 { vec![] } else { vec!["x0".to_owned()] };
        return (names, vec![Column::Number(vec![]); columns.min(1)]);
    }
    (0..columns)
        .map(|j| {
            let column = values.iter().skip(j).step_by(columns).copied().collect();
            (format!("x{j}"), Column::from_numbers(column))
        })
        .unzip()
}

/// Parses a whole NPY file; `name` is the array's name in messages.
pub(crate) fn parse(bytes: &[u8], file: &str, name: &str) -> Result<Array, Error> {
    let damaged = |reason: &str| Error::Damaged {
        file: file.to_owned(),
        format: "NPY",
        reason: format!("{name}: {reason}"),
    };
    let (text, data) = split(bytes).ok_or_else(|| damaged("no NPY header"))?;
    let header = Header::parse(text).ok_or_else(|| damaged("the header cannot be parsed"))?;
    let element = Element::parse(&header.descr).ok_or_else(|| Error::ArrayType {
        file: file.to_owned(),
        array: name.to_owned(),
        found: header.descr.clone(),
    })?;
    let count = (header.shape.iter())
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|n| n.checked_mul(element.size) == Some(data.len()));
    let Some(count) = count else {
        return Err(damaged(&format!(
            "the shape {} of {} does not match the {} bytes of data",
            shape_text(&header.shape),
            header.descr,
            data.len()
        )));
    };
    let mut values: Vec<f64> = Vec::with_capacity(count);
    values.extend(data.chunks_exact(element.size).map(|b| element.value(b)));
    if header.fortran_order && header.shape.len() > 1 {
        values = to_c_order(&values, &header.shape);
    }
    let single_precision = (element.kind, element.size) == (b'f', 4);
    Ok(Array { shape: header.shape, values, single_precision })
}

/// `(3, 4)`, and `(3,)` for one dimension, as NumPy writes it.
pub(crate) fn shape_text(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    match sizes.as_slice() {
        [one] => format!("({one},)"),
        _ => format!("({})", sizes.join(", ")),
    }
}

/// The header text and the data behind it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = match version[0] {
        1 => {
            let (n, rest) = rest.split_first_chunk::<2>()?;
            (u16::from_le_bytes(*n) as usize, rest)
        }
        2 | 3 => {
            let (n, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*n) as usize, rest)
        }
        _ => return None,
    };
    let (text, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, data))
}

/// The dictionary of an NPY header.
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Option<Header> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = string(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" if value.starts_with('[') => {
                    // A record type; the whole text serves as its name.
                    descr = Some(value.to_owned());
                    fortran_order = fortran_order.or(Some(false));
                    shape = shape.or(Some(vec![]));
                    break;
                }
                "descr" => {
                    let (found, after) = string(value)?;
                    descr = Some(found.to_owned());
                    after
                }
                "fortran_order" => {
                    let after = value.strip_prefix("True");
                    fortran_order = Some(after.is_some());
                    after.or_else(|| value.strip_prefix("False"))?
                }
                "shape" => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    let sizes = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
                    // Python 2 wrote long integers as `3L`.
                    let sizes = sizes.map(|s| s.strip_suffix('L').unwrap_or(s).parse().ok());
                    shape = Some(sizes.collect::<Option<Vec<usize>>>()?);
                    after
                }
                _ => return None,
            };
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if after.is_empty() => after,
                None => return None,
            };
        }
        Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A quoted Python string at the start of `text`, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text.get(1..)?.split_once(quote)
}

/// An element type such as `<f8`.
struct Element {
    kind: u8,
    size: usize,
    big_endian: bool,
}

impl Element {
    fn parse(descr: &str) -> Option<Element> {
        let (order, kind, size) = match *descr.as_bytes() {
            [order @ (b'<' | b'>' | b'|' | b'='), kind, size] => (order, kind, size),
            [kind, size] => (b'<', kind, size),
            _ => return None,
        };
        let size = match (kind, size) {
            (b'f', b'4' | b'8') | (b'i' | b'u', b'1' | b'2' | b'4' | b'8') | (b'b', b'1') => {
                usize::from(size - b'0')
            }
            _ => return None,
        };
        Some(Element { kind, size, big_endian: order == b'>' })
    }

    /// The value of one element; `bytes` has the element's size.
    fn value(&self, bytes: &[u8]) -> f64 {
        let mut word = [0u8; 8];
        // Little-endian in the low bytes of the word.
        let ordered = word.iter_mut().zip(bytes.iter());
        ordered.for_each(|(to, &from)| *to = from);
        if self.big_endian {
            let used = word.iter_mut().take(self.size);
            used.zip(bytes.iter().rev()).for_each(|(to, &from)| *to = from);
        }
        let raw = u64::from_le_bytes(word);
        let unused = 64 - 8 * self.size as u32;
        match (self.kind, self.size) {
            (b'f', 4) => f64::from(f32::from_bits(raw as u32)),
            (b'f', _) => f64::from_bits(raw),
            (b'i', _) => (((raw << unused) as i64) >> unused) as f64,
            (b'b', _) => f64::from(u8::from(raw != 0)),
            _ => raw as f64,
        }
    }
}

/// Reorders an array from Fortran order (first index fastest) to C order.
fn to_c_order(values: &[f64], shape: &[usize]) -> Vec<f64> {
    // Stride of each axis in the Fortran layout, last axis first.
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &size in shape {
        strides.push(stride);
        stride *= size;
    }
    let axes: Vec<(usize, usize)> = shape.iter().copied().zip(strides).rev().collect();
    (0..values.len())
        .map(|index| {
            let mut left = index;
            let mut from = 0;
            for &(size, stride) in &axes {
                from += (left % size) * stride;
                left /= size;
            }
            values.get(from).copied().unwrap_or(f64::NAN)
        })
        .collect()
}

/// Writes columns of equal length as a little-endian `f8` array in C order
/// (version 1.0): one dimension for one column, rows × columns otherwise.
///
/// # Errors
/// Those of the writer; columns of different lengths.
pub fn write_npy(out: &mut dyn Write, columns: &[&[f64]]) -> io::Result<()> {
    let rows = columns.first().map_or(0, |c| c.len());
    if columns.iter().any(|c| c.len() != rows) {
        let message = "columns of different lengths";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let shape = match columns.len() {
        1 => vec![rows],
        count => vec![rows, count],
    };
    let mut header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {}, }}", shape_text(&shape));
    // Magic, version, length and header end on a multiple of 64, with \n.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', length - header.len() - 1));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(length as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for row in 0..rows {
        for value in columns.iter().filter_map(|c| c.get(row)) {
            out.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn values(descr: &str, data: &[u8]) -> Vec<f64> {
        let header = format!("{{'shape': (2,), 'fortran_order': False, 'descr': '{descr}'}}");
        parse(&file(&header, data), "t.npy", "a").unwrap().values
    }

    #[test]
    fn element_types() {
        assert_eq!(values("|i1", &[255, 2]), [-1.0, 2.0]);
        assert_eq!(values("|u1", &[255, 2]), [255.0, 2.0]);
        assert_eq!(values("|b1", &[0, 7]), [0.0, 1.0]);
        assert_eq!(values("<i2", &[0xfe, 0xff, 1, 0]), [-2.0, 1.0]);
        assert_eq!(values(">i2", &[0xff, 0xfe, 0, 1]), [-2.0, 1.0]);
        assert_eq!(values(">u4", &[0, 0, 0, 9, 1, 0, 0, 0]), [9.0, 16777216.0]);
        let floats = [1.5f32, -2.25].map(f32::to_be_bytes).concat();
        assert_eq!(values(">f4", &floats), [1.5, -2.25]);
        let wide = [i64::MIN, -1].map(i64::to_le_bytes).concat();
        assert_eq!(values("<i8", &wide), [i64::MIN as f64, -1.0]);
    }

    #[test]
    fn fortran_order() {
        let data: Vec<u8> = (0..6).collect();
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
        let array = parse(&file(header, &data), "t.npy", "a").unwrap();
        assert_eq!(array.values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        let data: Vec<u8> = (0..8).collect();
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2)}";
        let array = parse(&file(header, &data), "t.npy", "a").unwrap();
        assert_eq!(array.values, [0.0, 4.0, 2.0, 6.0, 1.0, 5.0, 3.0, 7.0]);
    }

    #[test]
    fn written_arrays_read_back() {
        let (a, b) = ([1.0, 0.1, -0.0], [f64::MAX, 5e-324, 3.0]);
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &[&a, &b]).unwrap();
        assert_eq!((bytes.len() - 48) % 64, 0);
        let table = read_npy_bytes(&bytes, "t.npy").unwrap();
        assert_eq!(table.names, ["x0", "x1"]);
        assert_eq!(table.columns[1], Column::Number(b.to_vec()));
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &[&a]).unwrap();
        assert_eq!(parse(&bytes, "t", "a").unwrap().shape, [3]);
    }

    #[test]
    fn single_precision_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let read = |descr: &str, order: &str, shape: &str, data: &[u8]| {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}");
            std::fs::write(&path, file(&header, data)).unwrap();
            read_npy_f32(&path)
        };
        let numbers = [1.5f32, -2.0, 3.0, f32::MIN_POSITIVE, 5.0, 0.1];
        let little = numbers.map(f32::to_le_bytes).concat();
        let found = read("<f4", "False", "(2, 3)", &little).unwrap().unwrap();
        assert_eq!((found.rows, found.columns), (2, 3));
        assert_eq!(found.values, numbers);
        let big = numbers.map(f32::to_be_bytes).concat();
        let found = read(">f4", "True", "(2, 3)", &big).unwrap().unwrap();
        assert_eq!(found.values, [0, 2, 4, 1, 3, 5].map(|k| numbers[k]));
        assert_eq!(read("<f8", "False", "(3,)", &little).unwrap(), None);
        let message =
            |shape, data: &[u8]| read("<f4", "False", shape, data).unwrap_err().to_string();
        assert!(message("(6,)", &little).contains("(6,)"));
        assert!(message("(2, 4)", &little).contains("does not match the 24 bytes"));
        assert!(message("(18446744073709551615, 3)", &little).contains("does not match"));
        assert!(read_npy_f32(folder.path()).is_err());
        std::fs::write(&path, b"not an array").unwrap();
        assert!(read_npy_f32(&path).unwrap_err().to_string().contains("no NPY header"));
    }

    #[test]
    fn huge_shapes_are_refused() {
        for shape in ["(18446744073709551615, 3)", "(4294967296, 4294967296)", "(99999999999,)"] {
            let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}");
            let message = read_npy_bytes(&file(&header, &[0; 8]), "t.npy").unwrap_err();
            assert!(message.to_string().contains("does not match the 8 bytes"));
        }
        // Nothing to hold, but a claim of many columns.
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999)}";
        let message = read_npy_bytes(&file(header, &[]), "t.npy").unwrap_err();
        assert!(message.to_string().contains("no rows"));
    }
}
