//! What a value of a graph is as a function of the inputs, as far as it
//! matters for a two-layer network.

use std::rc::Rc;

use super::constant::Constant;

/// A factor and an offset for each of `width` entries; one entry stands for
/// all where the width is not known yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonal {
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
}

impl Diagonal {
    /// The identity on any number of entries.
    pub fn identity() -> Self {
        Self { scale: vec![1.0], shift: vec![0.0] }
    }

    pub fn is_identity(&self) -> bool {
        self.scale.iter().all(|s| *s == 1.0) && self.shift.iter().all(|t| *t == 0.0)
    }

    /// x ↦ scale·x + shift after what is there.
    fn then(&mut self, scale: &[f64], shift: &[f64]) {
        let width = self.scale.len().max(scale.len()).max(shift.len());
        let old = self.clone();
        self.scale = (0..width).map(|j| at(scale, j) * at(&old.scale, j)).collect();
        self.shift = (0..width).map(|j| at(scale, j) * at(&old.shift, j) + at(shift, j)).collect();
    }
}

/// Entry j, or the only entry.
fn at(values: &[f64], j: usize) -> f64 {
    match values {
        [one] => *one,
        _ => values.get(j).copied().unwrap_or(f64::NAN),
    }
}

/// x ↦ xᵀW + b, W p×q in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub rows: usize,
    pub columns: usize,
    pub weights: Vec<f64>,
    pub biases: Vec<f64>,
    /// What was folded into it from before.
    pub inputs: Diagonal,
}

impl Layer {
    /// The layer `weights` (p×q, row-major) after a diagonal map of its inputs;
    /// none if the widths do not match.
    pub fn after(
        diagonal: &Diagonal,
        rows: usize,
        columns: usize,
        weights: &[f64],
    ) -> Option<Self> {
        let width = diagonal.scale.len();
        if (width != 1 && width != rows) || rows.checked_mul(columns) != Some(weights.len()) {
            return None;
        }
        let mut folded = Vec::with_capacity(weights.len());
        let mut biases = vec![0.0; columns];
        for (j, row) in weights.chunks_exact(columns.max(1)).enumerate() {
            let (scale, shift) = (at(&diagonal.scale, j), at(&diagonal.shift, j));
            folded.extend(row.iter().map(|w| w * scale));
            // without the test 0·∞ would spoil sums that need no shift
            if shift != 0.0 {
                biases.iter_mut().zip(row).for_each(|(b, w)| *b += shift * w);
            }
        }
        Some(Self { rows, columns, weights: folded, biases, inputs: diagonal.clone() })
    }

    /// x ↦ scale·x + shift on the outputs.
    fn then(&mut self, scale: &[f64], shift: &[f64]) {
        for row in self.weights.chunks_exact_mut(self.columns.max(1)) {
            row.iter_mut().enumerate().for_each(|(k, w)| *w *= at(scale, k));
        }
        let biases = self.biases.iter_mut().enumerate();
        biases.for_each(|(k, b)| *b = *b * at(scale, k) + at(shift, k));
    }
}

/// What a value says of the two classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It grows with the output of the network: the second class.
    Second,
    /// It falls with the output: the first class.
    First,
    /// Columns or a label for the first and the second class, in this order.
    Both,
}

impl Side {
    /// One minus the value, or its negation.
    pub fn complement(self) -> Option<Side> {
        match self {
            Side::Second => Some(Side::First),
            Side::First => Some(Side::Second),
            Side::Both => None,
        }
    }
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub enum Value {
    /// The same for every input.
    Constant(Rc<Constant>),
    /// A shape, or part of one; 0 stands for the number of rows.
    Sizes(Vec<i64>),
    /// The inputs, of which the graph may say how many, scaled feature by feature.
    Input(Diagonal, Option<usize>),
    /// A linear layer of the inputs.
    Hidden(Rc<Layer>),
    /// ReLUs of a linear layer, scaled unit by unit.
    Active(Rc<Layer>, Diagonal),
    /// A linear layer of ReLUs.
    Output(Rc<Layer>, Rc<Layer>),
    /// A probability, class or comparison computed from a single output.
    Decision(Rc<Layer>, Rc<Layer>, Side),
    /// What is not understood: the first node on the way that is not, and why.
    Unknown(Rc<str>),
}

impl Value {
    /// Number of columns where rows are samples, if known.
    pub fn width(&self) -> Option<usize> {
        match self {
            Value::Input(diagonal, None) if diagonal.scale.len() == 1 => None,
            Value::Input(diagonal, None) => Some(diagonal.scale.len()),
            Value::Input(_, width) => *width,
            Value::Hidden(layer) | Value::Active(layer, _) => Some(layer.columns),
            Value::Output(_, layer) => Some(layer.columns),
            Value::Constant(_) | Value::Sizes(_) | Value::Decision(..) | Value::Unknown(_) => None,
        }
    }

    /// scale·value + shift, entry by entry; none if that is not one of the
    /// values here or the widths do not match.
    pub fn scaled(&self, scale: &[f64], shift: &[f64]) -> Option<Value> {
        let width = self.width();
        let fits = |v: &[f64]| v.len() == 1 || width.is_none_or(|w| w == v.len());
        if scale.is_empty() || shift.is_empty() || !fits(scale) || !fits(shift) {
            return None;
        }
        if width.is_none() && scale.len() != 1 && shift.len() != 1 && scale.len() != shift.len() {
            return None;
        }
        Some(match self {
            Value::Input(diagonal, width) => {
                let mut diagonal = diagonal.clone();
                diagonal.then(scale, shift);
                Value::Input(diagonal, *width)
            }
            Value::Hidden(layer) => {
                let mut layer = Layer::clone(layer);
                layer.then(scale, shift);
                Value::Hidden(Rc::new(layer))
            }
            Value::Active(layer, diagonal) => {
                let mut diagonal = diagonal.clone();
                diagonal.then(scale, shift);
                Value::Active(layer.clone(), diagonal)
            }
            Value::Output(hidden, layer) => {
                let mut layer = Layer::clone(layer);
                layer.then(scale, shift);
                Value::Output(hidden.clone(), Rc::new(layer))
            }
            _ => return None,
        })
    }

    /// value·weights (`weights` p×q, row-major), or why not.
    pub fn times(&self, rows: usize, columns: usize, weights: &[f64]) -> Result<Value, String> {
        let wrong = |width: Option<usize>| match width {
            Some(width) => format!("has {rows} rows of weights for {width} values"),
            None => "has weights of an unexpected shape".to_owned(),
        };
        match self {
            Value::Input(diagonal, width) => Layer::after(diagonal, rows, columns, weights)
                .filter(|_| width.is_none_or(|w| w == rows))
                .map(|layer| Value::Hidden(Rc::new(layer)))
                .ok_or_else(|| wrong(self.width())),
            Value::Active(hidden, diagonal) => Layer::after(diagonal, rows, columns, weights)
                .filter(|_| hidden.columns == rows)
                .map(|layer| Value::Output(hidden.clone(), Rc::new(layer)))
                .ok_or_else(|| wrong(Some(hidden.columns))),
            Value::Hidden(_) => {
                Err("is a linear layer after a linear layer of the inputs, without \
                                     a ReLU between them"
                    .to_owned())
            }
            Value::Output(..) => Err("is a third layer".to_owned()),
            _ => Err("multiplies values that are not those of a layer".to_owned()),
        }
    }

    /// max(0, value), or why not.
    pub fn rectified(&self) -> Result<Value, String> {
        match self {
            Value::Hidden(layer) => Ok(Value::Active(layer.clone(), Diagonal::identity())),
            // max(0, s·max(0, z)) = s·max(0, z) for s ≥ 0
            Value::Active(_, diagonal)
                if diagonal.scale.iter().all(|s| *s >= 0.0)
                    && diagonal.shift.iter().all(|t| *t == 0.0) =>
            {
                Ok(self.clone())
            }
            Value::Output(..) => Err("is a ReLU after the second layer".to_owned()),
            Value::Input(..) => Err("is a ReLU of the inputs themselves".to_owned()),
            _ => Err("is a ReLU of something else than a linear layer".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalings_fold_into_layers() {
        // ((x − 1)/2)·W + b, then ·3
        let mut diagonal = Diagonal::identity();
        diagonal.then(&[1.0, 1.0], &[-1.0]);
        diagonal.then(&[0.5], &[0.0]);
        let mut layer = Layer::after(&diagonal, 2, 1, &[4.0, 6.0]).unwrap();
        layer.then(&[1.0], &[10.0]);
        layer.then(&[3.0], &[0.0]);
        assert_eq!((layer.weights, layer.biases), (vec![6.0, 9.0], vec![15.0]));
        assert!(Layer::after(&diagonal, 3, 1, &[1.0; 3]).is_none());
        assert!(Layer::after(&diagonal, 2, 2, &[1.0; 3]).is_none());
    }

    #[test]
    fn widths_must_match() {
        let input = Value::Input(Diagonal::identity(), Some(3));
        assert!(input.scaled(&[2.0], &[1.0, 2.0, 3.0]).is_some());
        assert!(input.scaled(&[2.0, 1.0], &[0.0]).is_none());
        let free = Value::Input(Diagonal::identity(), None);
        assert_eq!(free.scaled(&[2.0, 1.0], &[0.0]).unwrap().width(), Some(2));
        assert!(free.times(2, 2, &[1.0; 4]).unwrap().times(2, 1, &[1.0; 2]).is_err());
        assert!(free.rectified().is_err());
    }
}
