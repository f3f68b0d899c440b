//! Networks in files of named arrays: which array is which.

use std::cmp::Ordering;

use super::{ArrayNames, ForeignNetwork, Found, Layout, ReadOptions, network};
use crate::error::Error;
use crate::model::Tensor;
use crate::text::{list, quoted};

const REMEDY: &str = "name the arrays: W1=NAME,b1=NAME,W2=NAME,b2=NAME (hidden weights and biases, \
     output weights and bias)";
const LAYOUT_REMEDY: &str = "say how they lie, a row a unit (torch) or a row an input \
     (scikit-learn, Keras)";

/// The roles of a two-layer network, each an array's index, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    hidden: usize,
    hidden_biases: Option<usize>,
    output: usize,
    output_bias: Option<usize>,
    /// Layouts of the hidden and the output weights.
    layouts: [Layout; 2],
}

/// A network from named arrays; `source` begins the messages.
///
/// Without names, the file must hold two matrices and at most a vector for
/// each, as a torch `state_dict` (`0.weight`, `0.bias`, `2.weight`, …,
/// `fc1.weight`, `hidden.weight`, `net.0.weight`), scikit-learn's `coefs_0`,
/// `intercepts_0`, or `W1`, `b1`, `W2`, `b2` do. The shapes decide which is the
/// hidden layer and how the matrices lie; where they leave a choice, both
/// matrices lie alike and the names are in the order of the layers.
///
/// # Errors
/// Names that are not there, other numbers of matrices, shapes that do not fit
/// together, several outputs, and files that can be read in two ways.
pub fn read_named(
    arrays: Vec<(String, Tensor)>,
    source: &str,
    options: &ReadOptions,
) -> Result<ForeignNetwork, Error> {
    let file = Arrays { arrays, source };
    let readings = match &options.names {
        Some(names) => file.named(names)?,
        None => file.guessed()?,
    };
    let reading = file.choose(readings, options.layout)?;
    file.build(&reading)
}

struct Arrays<'a> {
    arrays: Vec<(String, Tensor)>,
    source: &'a str,
}

/// Two layouts of a matrix.
const LAYOUTS: [Layout; 2] = [Layout::Units, Layout::Inputs];

impl Arrays<'_> {
    fn refuse<T>(&self, what: String, remedy: &'static str) -> Result<T, Error> {
        Err(Error::Network { file: self.source.to_owned(), what, remedy })
    }

    fn name(&self, index: usize) -> &str {
        self.arrays.get(index).map_or("", |(name, _)| name)
    }

    fn tensor(&self, index: usize) -> (&[usize], &[f64]) {
        self.arrays.get(index).map_or((&[], &[]), |(_, t)| (&t.shape, &t.values))
    }

    fn names(&self) -> Vec<&str> {
        self.arrays.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// (units, inputs) of an array as weights in a layout; a vector serves as
    /// the weights of one unit.
    fn sizes(&self, index: usize, layout: Layout) -> Option<(usize, usize)> {
        match (self.tensor(index).0, layout) {
            (&[a, b], Layout::Units) => Some((a, b)),
            (&[a, b], Layout::Inputs) => Some((b, a)),
            (&[inputs], _) => Some((1, inputs)),
            _ => None,
        }
    }

    /// Every way to read the arrays in these roles.
    fn readings(
        &self,
        hidden: (usize, Option<usize>),
        output: (usize, Option<usize>),
    ) -> Vec<Reading> {
        let length = |bias: Option<usize>| bias.map(|index| self.tensor(index).1.len());
        let mut found: Vec<Reading> = Vec::new();
        for first in LAYOUTS {
            for second in LAYOUTS {
                let Some((m, d)) = self.sizes(hidden.0, first) else { continue };
                let Some((k, width)) = self.sizes(output.0, second) else { continue };
                let fits = d > 0
                    && (m, k) == (width, 1)
                    && length(hidden.1).is_none_or(|n| n == m)
                    && length(output.1).is_none_or(|n| n == 1);
                if fits {
                    found.push(Reading {
                        hidden: hidden.0,
                        hidden_biases: hidden.1,
                        output: output.0,
                        output_bias: output.1,
                        layouts: [first, second],
                    });
                }
            }
        }
        found
    }

    /// The readings of arrays that were named.
    fn named(&self, names: &ArrayNames) -> Result<Vec<Reading>, Error> {
        let index = |name: &String| match self.arrays.iter().position(|(n, _)| n == name) {
            Some(index) => Ok(index),
            None => self.refuse(
                format!("there is no array {}; it holds {}", quoted(name), list(&self.names())),
                "name arrays of the file",
            ),
        };
        let optional = |name: &Option<String>| name.as_ref().map(index).transpose();
        let hidden = (index(&names.hidden_weights)?, optional(&names.hidden_biases)?);
        let output = (index(&names.output_weights)?, optional(&names.output_bias)?);
        let readings = self.readings(hidden, output);
        if readings.is_empty() { self.no_fit(hidden, output) } else { Ok(readings) }
    }

    /// The readings of a file with two matrices.
    fn guessed(&self) -> Result<Vec<Reading>, Error> {
        let of_rank = |fits: &dyn Fn(&[usize]) -> bool| -> Vec<usize> {
            (0..self.arrays.len()).filter(|&i| fits(self.tensor(i).0)).collect()
        };
        let mut matrices = of_rank(&|shape| shape.len() == 2);
        if matrices.len() > 2 {
            matrices.retain(|&index| !self.is_bias_row(index));
        }
        matrices.sort_by(|&a, &b| natural(self.name(a), self.name(b)));
        let [first, second] = *matrices.as_slice() else {
            let what = format!(
                "it holds {} matrices, expected the weights of two layers; its arrays are {}",
                matrices.len(),
                list(&self.names())
            );
            return self.refuse(what, REMEDY);
        };
        let others: Vec<usize> =
            (0..self.arrays.len()).filter(|i| ![first, second].contains(i)).collect();
        let biases = self.biases_of([first, second], &others)?;
        let in_order = self.readings((first, biases[0]), (second, biases[1]));
        if !in_order.is_empty() {
            return Ok(in_order);
        }
        let turned = self.readings((second, biases[1]), (first, biases[0]));
        if turned.is_empty() {
            return self.no_fit((first, biases[0]), (second, biases[1]));
        }
        Ok(turned)
    }

    /// Biases may be matrices with one row; then the name tells.
    fn is_bias_row(&self, index: usize) -> bool {
        let name = self.name(index).to_ascii_lowercase();
        let named = name.contains("bias") || name.contains("intercept") || name.starts_with('b');
        named && self.tensor(index).0.first() == Some(&1)
    }

    /// The bias that goes with each matrix: by the name's stem, else by length.
    fn biases_of(
        &self,
        matrices: [usize; 2],
        others: &[usize],
    ) -> Result<[Option<usize>; 2], Error> {
        let stems = matrices.map(|index| stem(self.name(index)));
        let mut found = [None; 2];
        let mut left = Vec::new();
        for &index in others {
            let own = stem(self.name(index));
            match (0..2).find(|&k| stems[0] != stems[1] && stems[k] == own && found[k].is_none()) {
                Some(k) => found[k] = Some(index),
                None => left.push(index),
            }
        }
        if left.is_empty() {
            return Ok(found);
        }
        // other names: the one of length one belongs to the output
        let lengths: Vec<usize> = left.iter().map(|&i| self.tensor(i).1.len()).collect();
        let is_output = |k: usize| self.tensor(matrices[k]).0.contains(&1);
        let by_length = match (left.as_slice(), lengths.as_slice()) {
            ([a, b], [n, 1]) if *n > 1 => Some((*a, *b)),
            ([a, b], [1, n]) if *n > 1 => Some((*b, *a)),
            _ => None,
        };
        match by_length {
            Some((hidden, output)) if found == [None, None] && is_output(0) != is_output(1) => {
                let biases = [Some(hidden), Some(output)];
                Ok(if is_output(1) { biases } else { [biases[1], biases[0]] })
            }
            _ => {
                let names: Vec<&str> = left.iter().map(|&i| self.name(i)).collect();
                let what = format!("it is not clear what {} is for", list(&names));
                self.refuse(what, REMEDY)
            }
        }
    }

    fn no_fit<T>(
        &self,
        hidden: (usize, Option<usize>),
        output: (usize, Option<usize>),
    ) -> Result<T, Error> {
        let parts = [Some(hidden.0), hidden.1, Some(output.0), output.1];
        let shape =
            |index: usize| format!("{} {:?}", quoted(self.name(index)), self.tensor(index).0);
        let parts: Vec<String> = parts.into_iter().flatten().map(shape).collect();
        let what = format!(
            "{} do not form a hidden layer and a layer with one output: the output weights must be \
             as many as hidden units, in one row or column",
            parts.join(", ")
        );
        self.refuse(what, "networks with several outputs or more layers are not supported")
    }

    /// The one reading that is left by the layout asked for, by the names, or
    /// because both matrices of a network lie alike.
    fn choose(&self, readings: Vec<Reading>, layout: Option<Layout>) -> Result<Reading, Error> {
        let same = |a: &Reading, b: &Reading| self.build(a).ok() == self.build(b).ok();
        let mut left: Vec<Reading> = match layout {
            Some(layout) => readings.into_iter().filter(|r| r.layouts[0] == layout).collect(),
            None => readings,
        };
        if left.is_empty() {
            return self.refuse(
                "the hidden weights do not lie as asked for".to_owned(),
                "leave the layout to the shapes",
            );
        }
        left.dedup_by(|a, b| same(a, b));
        if left.len() > 1 {
            let alike = |r: &Reading| {
                let vector = self.tensor(r.output).0.len() == 1;
                !vector && r.layouts[0] == r.layouts[1]
            };
            if left.iter().any(alike) {
                left.retain(alike);
            }
            left.dedup_by(|a, b| same(a, b));
        }
        if left.len() > 1 && self.name(left[0].hidden).ends_with("weight") {
            left.retain(|r| r.layouts[0] == Layout::Units);
        }
        match left.as_slice() {
            [one] => Ok(*one),
            _ => {
                let name = left.first().map_or("", |r| self.name(r.hidden));
                let what =
                    format!("{} can be read in two ways, as it is and transposed", quoted(name));
                self.refuse(what, LAYOUT_REMEDY)
            }
        }
    }

    fn build(&self, reading: &Reading) -> Result<ForeignNetwork, Error> {
        let (m, d) = self.sizes(reading.hidden, reading.layouts[0]).unwrap_or((0, 0));
        let (_, stored) = self.tensor(reading.hidden);
        let weights: Vec<f64> = match reading.layouts[0] {
            Layout::Units => stored.to_vec(),
            Layout::Inputs => {
                (0..m).flat_map(|j| stored.iter().skip(j).step_by(m).take(d).copied()).collect()
            }
        };
        let biases = match reading.hidden_biases {
            Some(index) => self.tensor(index).1.to_vec(),
            None => vec![0.0; m],
        };
        let outputs = self.tensor(reading.output).1.to_vec();
        let bias = reading.output_bias.and_then(|index| self.tensor(index).1.first().copied());
        let network = network(self.source, d, &weights, biases, outputs, bias.unwrap_or(0.0))?;
        let part = |what: &str, index: Option<usize>| match index {
            Some(index) => format!("{what} {}", quoted(self.name(index))),
            None => format!("no {what}"),
        };
        let transposed = match reading.layouts[0] {
            Layout::Units => "",
            Layout::Inputs => " (a row an input)",
        };
        let parts = vec![
            part("hidden weights", Some(reading.hidden)) + transposed,
            part("hidden biases", reading.hidden_biases),
            part("output weights", Some(reading.output)),
            part("output bias", reading.output_bias),
        ];
        Ok(ForeignNetwork { network, found: Found { parts, ..Found::default() } })
    }
}

/// What the names of a layer's weights and bias share: the name without the
/// words for weights and biases.
fn stem(name: &str) -> String {
    let mut stem = name.to_ascii_lowercase();
    for word in ["weights", "weight", "kernel", "coefs", "coef", "biases", "bias", "intercepts"] {
        if let Some(at) = stem.find(word) {
            stem.replace_range(at..at + word.len(), "");
            return stem;
        }
    }
    // W1 and b1, w_out and b_out
    match stem.strip_prefix(['w', 'b']) {
        Some(rest) => rest.to_owned(),
        None => stem,
    }
}

/// Names in order, with numbers inside them compared as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for c in text.chars() {
            match (c.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((number, text))) if text.is_empty() => {
                    *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                }
                (Some(digit), _) => parts.push((u64::from(digit), String::new())),
                (None, Some((u64::MAX, text))) => text.push(c),
                (None, _) => parts.push((u64::MAX, c.to_string())),
            }
        }
        parts
    };
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_numbers() {
        let mut names = ["net.10.weight", "net.2.weight", "hidden", "fc2", "fc1", "net.2.bias"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["fc1", "fc2", "hidden", "net.2.bias", "net.2.weight", "net.10.weight"]);
    }

    #[test]
    fn stems_pair_weights_and_biases() {
        for (a, b) in [
            ("0.weight", "0.bias"),
            ("fc1.weight", "fc1.bias"),
            ("W1", "b1"),
            ("coefs_0", "intercepts_0"),
            ("dense/kernel", "dense/bias"),
            ("w_out", "b_out"),
        ] {
            assert_eq!(stem(a), stem(b));
        }
        assert_ne!(stem("0.weight"), stem("2.bias"));
    }
}
