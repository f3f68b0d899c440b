//! Model files: named tensors and text metadata in the safetensors format.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::atomic::write_atomically;
use crate::error::Error;
use crate::table::read_file;

/// The content of a model file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    /// Tensors by name; `__metadata__` is not a valid name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
}

/// An array in C order; `values.len()` is the product of `shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Entries, row-major.
    pub values: Vec<f64>,
}

/// The key that the format reserves for metadata.
const METADATA: &str = "__metadata__";

impl Tensors {
    /// The bytes of the safetensors file: F64 tensors by name, metadata by key;
    /// the same content gives the same bytes.
    ///
    /// # Errors
    /// A tensor whose shape does not match its values, or named `__metadata__`.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        // Written here and not by the safetensors crate, which orders metadata
        // at random. `serde_json::Map` keeps insertion or key order, and both
        // are fixed.
        let mut header = serde_json::Map::new();
        if !self.metadata.is_empty() {
            header.insert(METADATA.to_owned(), serde_json::json!(self.metadata));
        }
        let mut offset = 0;
        for (name, tensor) in &self.tensors {
            let count = (tensor.shape.iter()).try_fold(1usize, |n, &d| n.checked_mul(d));
            if count != Some(tensor.values.len()) || name == METADATA {
                return Err(Error::TensorShape {
                    tensor: name.clone(),
                    found: tensor.shape.clone(),
                    expected: format!(
                        "one of {} values, and another name than {METADATA}",
                        tensor.values.len()
                    ),
                });
            }
            let end = offset + 8 * tensor.values.len();
            let entry = serde_json::json!({
                "dtype": "F64", "shape": tensor.shape, "data_offsets": [offset, end],
            });
            header.insert(name.clone(), entry);
            offset = end;
        }
        let mut header = serde_json::Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = Vec::with_capacity(8 + header.len() + offset);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        for tensor in self.tensors.values() {
            bytes.extend(tensor.values.iter().flat_map(|v| v.to_le_bytes()));
        }
        Ok(bytes)
    }

    /// Reads the bytes of a safetensors file; F32 tensors are widened. `source`
    /// begins the messages.
    ///
    /// # Errors
    /// Damaged or truncated files, and tensors of other types.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Tensors, Error> {
        let damaged = |e: safetensors::SafeTensorError| Error::Damaged {
            file: source.to_owned(),
            format: "model (safetensors)",
            reason: e.to_string(),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(bytes).map_err(damaged)?.iter() {
            let values = match view.dtype() {
                Dtype::F64 => words(view.data()).map(f64::from_le_bytes).collect(),
                Dtype::F32 => (words(view.data()).map(f32::from_le_bytes)).map(f64::from).collect(),
                other => {
                    return Err(Error::TensorType {
                        file: source.to_owned(),
                        tensor: name.to_owned(),
                        found: other.to_string(),
                    });
                }
            };
            let shape = view.shape().to_vec();
            tensors.insert(name.to_owned(), Tensor { shape, values });
        }
        Ok(Tensors { tensors, metadata: metadata.into_iter().collect() })
    }

    /// Whether some tensor of a safetensors file is in single precision.
    pub(crate) fn holds_single_precision(bytes: &[u8]) -> bool {
        SafeTensors::deserialize(bytes)
            .is_ok_and(|file| file.iter().any(|(_, view)| view.dtype() == Dtype::F32))
    }

    /// Writes the model file at `path`, atomically.
    ///
    /// # Errors
    /// Those of [`Tensors::to_bytes`] and [`write_atomically`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let bytes = self.to_bytes()?;
        write_atomically(path, |out| out.write_all(&bytes))
    }

    /// Reads the model file at `path`.
    ///
    /// # Errors
    /// An unreadable file, and those of [`Tensors::from_bytes`].
    pub fn load(path: &Path) -> Result<Tensors, Error> {
        Self::from_bytes(&read_file(path)?, &path.display().to_string())
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            tensor: name.to_owned(),
            have: self.tensors.keys().cloned().collect(),
        })
    }

    /// The tensor `name` as (rows, columns, values in row-major order).
    ///
    /// # Errors
    /// No such tensor; not two dimensions.
    pub fn matrix(&self, name: &str) -> Result<(usize, usize, &[f64]), Error> {
        let tensor = self.tensor(name)?;
        match *tensor.shape.as_slice() {
            [rows, columns] => Ok((rows, columns, &tensor.values)),
            _ => Err(Error::TensorShape {
                tensor: name.to_owned(),
                found: tensor.shape.clone(),
                expected: "a matrix (two dimensions)".to_owned(),
            }),
        }
    }

    /// The values of the one-dimensional tensor `name`.
    ///
    /// # Errors
    /// No such tensor; not one dimension.
    pub fn vector(&self, name: &str) -> Result<&[f64], Error> {
        let tensor = self.tensor(name)?;
        match tensor.shape.as_slice() {
            [_] => Ok(&tensor.values),
            _ => Err(Error::TensorShape {
                tensor: name.to_owned(),
                found: tensor.shape.clone(),
                expected: "a vector (one dimension)".to_owned(),
            }),
        }
    }

    /// The metadata under `key`.
    ///
    /// # Errors
    /// No such key.
    pub fn meta(&self, key: &str) -> Result<&str, Error> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| Error::MissingMetadata {
            key: key.to_owned(),
            have: self.metadata.keys().cloned().collect(),
        })
    }
}

/// The bytes of each element; a length that is no multiple was refused before.
fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        let matrix = Tensor {
            shape: vec![2, 3],
            values: vec![1.0, -0.0, 5e-324, f64::MAX, 0.1, f64::INFINITY],
        };
        let vector = Tensor { shape: vec![0], values: vec![] };
        let scalar = Tensor { shape: vec![], values: vec![2.5] };
        let keys = ["format", "a \"quoted\"\nkey", "z", "b"];
        Tensors {
            tensors: [("w", matrix), ("empty", vector), ("s", scalar)]
                .map(|(n, t)| (n.to_owned(), t))
                .into(),
            metadata: keys.map(|k| (k.to_owned(), format!("value of {k} é"))).into(),
        }
    }

    #[test]
    fn round_trip_through_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.safetensors");
        let model = sample();
        model.save(&path).unwrap();
        let loaded = Tensors::load(&path).unwrap();
        assert_eq!(loaded, model);
        assert_eq!(loaded.to_bytes().unwrap(), std::fs::read(&path).unwrap());
        assert!(loaded.matrix("w").unwrap().2[1].is_sign_negative());
        assert_eq!(loaded.matrix("w").unwrap().0, 2);
        assert_eq!(loaded.vector("empty").unwrap(), [0.0; 0]);
        assert_eq!(loaded.meta("z").unwrap(), "value of z é");
        Tensors::default().save(&path).unwrap();
        assert_eq!(Tensors::load(&path).unwrap(), Tensors::default());
    }

    #[test]
    fn single_precision_is_widened() {
        let file = |dtype: &str| {
            let header =
                format!(r#"{{"v":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,8]}}}}"#);
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend([1.5f32, -2.0].map(f32::to_le_bytes).concat());
            bytes
        };
        let loaded = Tensors::from_bytes(&file("F32"), "m").unwrap();
        assert_eq!(loaded.vector("v").unwrap(), [1.5, -2.0]);
        let message = Tensors::from_bytes(&file("I32"), "m").unwrap_err();
        assert_eq!(message.to_string(), "m: tensor \"v\" has the type I32; expected F64 or F32");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let model = sample();
        let says = |e: Error, text: &str| assert!(e.to_string().contains(text), "{e}");
        says(model.matrix("v").unwrap_err(), r#"no tensor "v"; it holds "empty", "s", "w""#);
        says(model.matrix("s").unwrap_err(), "shape []; expected a matrix");
        says(model.vector("w").unwrap_err(), "shape [2, 3]; expected a vector");
        says(model.meta("none").unwrap_err(), r#"no metadata "none""#);
        let bytes = model.to_bytes().unwrap();
        for end in 0..bytes.len() {
            let error = Tensors::from_bytes(&bytes[..end], "m.bin").unwrap_err().to_string();
            assert!(error.starts_with("m.bin: not a readable model"), "{error}");
            assert!(!error.contains('\n'));
        }
        let mut wrong = sample();
        wrong.tensors.get_mut("w").unwrap().shape = vec![7];
        says(wrong.to_bytes().unwrap_err(), "shape [7]; expected one of 6 values");
        says(Tensors::load(Path::new("/no/such/file")).unwrap_err(), "cannot be read");
    }
}
