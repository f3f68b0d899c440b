//! Constants of ONNX graphs: initializers and the attributes of nodes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path};

use crate::error::Error;
use crate::onnx::proto::{DOUBLE, EXTERNAL, FLOAT, INT32, INT64, TensorProto};
use crate::text::quoted;

/// An array in C order; other element types than numbers are kept without
/// their values, because classifiers carry the names of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub shape: Vec<usize>,
    /// `None` for other element types than 32- and 64-bit numbers.
    pub values: Option<Vec<f64>>,
    /// Whether the elements are whole numbers, e.g. sizes and axes.
    pub integer: bool,
    /// Whether the elements are 32-bit floats.
    pub single: bool,
}

impl Constant {
    /// The numbers, if they broadcast along the last axis only.
    pub fn row(&self) -> Option<&[f64]> {
        let values = self.values.as_deref()?;
        let last = self.shape.last().copied().unwrap_or(1);
        (values.len() == last.max(1)).then_some(values)
    }

    /// The matrix as (rows, columns, values).
    pub fn matrix(&self) -> Option<(usize, usize, &[f64])> {
        match *self.shape.as_slice() {
            [rows, columns] => Some((rows, columns, self.values.as_deref()?)),
            // a vector on the right of a product is a column
            [rows] => Some((rows, 1, self.values.as_deref()?)),
            _ => None,
        }
    }

    /// The numbers as whole numbers, e.g. a shape.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let values = self.values.as_ref().filter(|_| self.integer && self.shape.len() <= 1)?;
        Some(values.iter().map(|v| *v as i64).collect())
    }

    /// The only number.
    pub fn number(&self) -> Option<f64> {
        match self.values.as_deref() {
            Some([one]) => Some(*one),
            _ => None,
        }
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Option<Constant> {
        let [rows, columns] = *self.shape.as_slice() else { return None };
        let values = self.values.as_deref()?;
        let by_columns = (0..columns).flat_map(|k| values.iter().skip(k).step_by(columns.max(1)));
        let values = Some(by_columns.take(rows * columns).copied().collect());
        Some(Constant { shape: vec![columns, rows], values, ..self.clone() })
    }
}

/// Where the constants of a graph are.
pub struct Store<'a> {
    /// The file, as it begins messages.
    pub file: &'a str,
    /// The folder of the graph, for weights in other files.
    pub folder: Option<&'a Path>,
}

impl Store<'_> {
    fn damaged(&self, tensor: &TensorProto, reason: &str) -> Error {
        let name = quoted(tensor.name.as_deref().unwrap_or_default());
        Error::Damaged {
            file: self.file.to_owned(),
            format: "ONNX",
            reason: format!("tensor {name}: {reason}"),
        }
    }

    /// The values of a tensor.
    ///
    /// # Errors
    /// Shapes that do not match the data, unreadable files of weights.
    pub fn constant(&self, tensor: &TensorProto) -> Result<Constant, Error> {
        let kind = tensor.data_type.unwrap_or(0);
        let size = match kind {
            FLOAT | INT32 => 4,
            DOUBLE | INT64 => 8,
            _ => {
                let shape = tensor.dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
                return Ok(Constant { shape, values: None, integer: false, single: false });
            }
        };
        let shape = (tensor.dims.iter())
            .map(|d| usize::try_from(*d).ok())
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(|| self.damaged(tensor, "a dimension is negative"))?;
        let count = (shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)))
            .filter(|n| n.checked_mul(size).is_some())
            .ok_or_else(|| self.damaged(tensor, "the dimensions are too large"))?;
        let values = if tensor.data_location == Some(EXTERNAL) {
            from_bytes(kind, &self.external(tensor, count * size)?)
        } else if let Some(raw) = &tensor.raw_data {
            from_bytes(kind, raw)
        } else {
            match kind {
                FLOAT => tensor.floats.iter().map(|v| f64::from(*v)).collect(),
                DOUBLE => tensor.doubles.clone(),
                INT32 => tensor.integers32.iter().map(|v| f64::from(*v)).collect(),
                _ => tensor.integers64.iter().map(|v| *v as f64).collect(),
            }
        };
        if values.len() != count {
            let reason = format!("{} values for the shape {shape:?}", values.len());
            return Err(self.damaged(tensor, &reason));
        }
        let integer = matches!(kind, INT32 | INT64);
        Ok(Constant { shape, values: Some(values), integer, single: kind == FLOAT })
    }

    /// The bytes of a tensor in a file beside the graph.
    fn external(&self, tensor: &TensorProto, length: usize) -> Result<Vec<u8>, Error> {
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|e| e.key.as_deref() == Some(key));
            found.and_then(|e| e.value.as_deref())
        };
        let number = |key: &str| entry(key).map(str::parse::<u64>).transpose();
        let location = entry("location").unwrap_or_default();
        let path = Path::new(location);
        let beside =
            path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        let Some(folder) = self.folder.filter(|_| beside && !location.is_empty()) else {
            let reason = format!("its values are in another file, {}", quoted(location));
            return Err(self.damaged(tensor, &reason));
        };
        let (Ok(offset), Ok(stored)) = (number("offset"), number("length")) else {
            return Err(self.damaged(tensor, "the place of its values is no number"));
        };
        if stored.is_some_and(|s| s != length as u64) {
            return Err(self.damaged(tensor, "the length of its values does not match its shape"));
        }
        let path = folder.join(path);
        let failed = |cause| Error::Read { file: path.display().to_string(), cause };
        let mut file = File::open(&path).map_err(failed)?;
        let there = file.metadata().map_err(failed)?.len();
        let offset = offset.unwrap_or(0);
        // before anything is allocated
        if offset.checked_add(length as u64).is_none_or(|end| end > there) {
            let reason = format!("{} is too short for its values", quoted(location));
            return Err(self.damaged(tensor, &reason));
        }
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

/// Little-endian elements; bytes that are left over are one more, so that the
/// count is wrong.
fn from_bytes(kind: i32, bytes: &[u8]) -> Vec<f64> {
    fn words<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (words, rest) = bytes.as_chunks::<N>();
        let over = if rest.is_empty() { None } else { Some(f64::NAN) };
        words.iter().map(|w| read(*w)).chain(over).collect()
    }
    match kind {
        FLOAT => words(bytes, |w| f64::from(f32::from_le_bytes(w))),
        DOUBLE => words(bytes, f64::from_le_bytes),
        INT32 => words(bytes, |w| f64::from(i32::from_le_bytes(w))),
        _ => words(bytes, |w| i64::from_le_bytes(w) as f64),
    }
}
