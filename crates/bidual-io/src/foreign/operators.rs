//! What the operators of ONNX do to the values of a two-layer network.

use std::rc::Rc;

use super::algebra::{Side, Value};
use super::constant::Constant;
use super::graph::{Run, Step};
use crate::onnx::proto::{Attribute, DOUBLE, FLOAT, Node};

impl Run<'_> {
    /// A node of the standard operators.
    pub(super) fn standard(&self, node: &Node, operator: &str) -> Step {
        let first = self.value(node, 0);
        if matches!(first, Some(Value::Decision(..)))
            || operator == "Sub" && matches!(self.value(node, 1), Some(Value::Decision(..)))
        {
            return self.decision(node);
        }
        match (operator, first) {
            (_, None) => Err("has no input".to_owned()),
            ("Identity", Some(value)) => Ok(value.clone()),
            // a third input says whether to train
            ("Dropout", Some(value)) if node.inputs.get(2).is_none_or(String::is_empty) => {
                Ok(value.clone())
            }
            ("Cast", Some(value)) => cast(node, value),
            ("Gemm", Some(value)) => self.gemm(node, value),
            ("MatMul", Some(value)) => match self.constant(node, 1).and_then(Constant::matrix) {
                Some((rows, columns, weights)) => value.times(rows, columns, weights),
                None => Err("does not multiply by a constant matrix on the right".to_owned()),
            },
            ("Add" | "Sub" | "Mul" | "Div", Some(_)) => self.arithmetic(node, operator),
            ("Neg", Some(value)) => value.scaled(&[-1.0], &[0.0]).ok_or_else(not_understood),
            ("BatchNormalization", Some(value)) => self.batch_normalization(node, value),
            ("Relu", Some(value)) => value.rectified(),
            ("Clip" | "Max", Some(value)) => self.clip(node, operator, value),
            ("Sigmoid" | "Greater" | "GreaterOrEqual", Some(Value::Output(hidden, layer)))
                if layer.columns == 1
                    && (operator == "Sigmoid" || self.constant(node, 1).is_some()) =>
            {
                Ok(Value::Decision(hidden.clone(), layer.clone(), Side::Second))
            }
            ("Less" | "LessOrEqual", Some(Value::Output(hidden, layer)))
                if layer.columns == 1 && self.constant(node, 1).is_some() =>
            {
                Ok(Value::Decision(hidden.clone(), layer.clone(), Side::First))
            }
            (
                "Softmax" | "LogSoftmax" | "ArgMax" | "ArgMin" | "Split" | "Slice" | "Gather",
                Some(Value::Output(_, layer)),
            ) if layer.columns > 1 => {
                Err(format!("works on {} outputs of the network", layer.columns))
            }
            ("Shape", Some(value)) => match value.width() {
                Some(width) if node.attributes.is_empty() => {
                    Ok(Value::Sizes(vec![0, width as i64]))
                }
                _ => Err(not_understood()),
            },
            ("Transpose", Some(Value::Constant(constant))) => constant
                .transposed()
                .map(|c| Value::Constant(Rc::new(c)))
                .ok_or_else(not_understood),
            (
                "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Gather" | "Concat" | "Slice",
                Some(value),
            ) => self.reshape(node, operator, value),
            (
                "Tanh" | "Sigmoid" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "Gelu" | "Softplus"
                | "Erf" | "HardSwish" | "HardSigmoid" | "Mish" | "Celu" | "ThresholdedRelu"
                | "Softmax",
                Some(_),
            ) => Err("is an activation that is not supported".to_owned()),
            _ => Err("is not supported here".to_owned()),
        }
    }

    /// A node after the network's output became a probability or a class: it
    /// may only pass that on, take its complement or choose the class.
    pub(super) fn decision(&self, node: &Node) -> Step {
        let count = node.inputs.len();
        let side = |index: usize| match self.value(node, index) {
            Some(Value::Decision(_, _, side)) => Some(*side),
            _ => None,
        };
        let source = (0..count).find_map(|index| match self.value(node, index) {
            Some(Value::Decision(hidden, layer, _)) => Some((hidden, layer)),
            _ => None,
        });
        let Some((hidden, layer)) = source else {
            return Err("does not work on the output of a two-layer network".to_owned());
        };
        let one_source = (0..count).all(|index| match self.value(node, index) {
            Some(Value::Decision(h, l, _)) => h == hidden && l == layer,
            Some(Value::Constant(_)) => true,
            _ => false,
        });
        let number = |index: usize| self.constant(node, index).and_then(Constant::number);
        let next = match node.operator.as_deref().unwrap_or_default() {
            "Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Round" => {
                side(0)
            }
            "Greater" | "GreaterOrEqual" => side(0).filter(|s| *s != Side::Both),
            "Less" | "LessOrEqual" | "Not" => side(0).and_then(Side::complement),
            "Sub" if number(0) == Some(1.0) => side(1).and_then(Side::complement),
            "Concat" if count == 2 => (side(0) == Some(Side::First)
                && side(1) == Some(Side::Second))
            .then_some(Side::Both),
            "ArgMax" | "ZipMap" => side(0).filter(|s| *s == Side::Both),
            "ArrayFeatureExtractor" => side(1).filter(|s| *s != Side::First),
            "Gather" if side(0) == Some(Side::Both) => match number(1) {
                Some(1.0 | -1.0) => Some(Side::Second),
                Some(0.0) => Some(Side::First),
                _ => None,
            },
            _ => None,
        };
        match next.filter(|_| one_source) {
            Some(side) => Ok(Value::Decision(hidden.clone(), layer.clone(), side)),
            None => Err("is not supported after a sigmoid or class".to_owned()),
        }
    }

    /// α·A·B + β·C with A the values and B, C constant.
    fn gemm(&self, node: &Node, value: &Value) -> Step {
        let weights = self.constant(node, 1).ok_or("does not multiply by constant weights")?;
        if integer(node, "transA").unwrap_or(0) != 0 {
            return Err("transposes its inputs".to_owned());
        }
        let turned = match integer(node, "transB").unwrap_or(0) {
            0 => None,
            _ => Some(weights.transposed().ok_or_else(not_understood)?),
        };
        let weights = turned.as_ref().unwrap_or(weights);
        let (rows, columns, numbers) = weights.matrix().ok_or_else(not_understood)?;
        let mut product = value.times(rows, columns, numbers)?;
        let alpha = number(node, "alpha").unwrap_or(1.0);
        if alpha != 1.0 {
            product = product.scaled(&[alpha], &[0.0]).ok_or_else(not_understood)?;
        }
        if node.inputs.get(2).is_some_and(|name| !name.is_empty()) {
            let bias = self.constant(node, 2).and_then(Constant::row);
            let bias = bias.ok_or("does not add a constant row")?;
            let beta = number(node, "beta").unwrap_or(1.0);
            let bias: Vec<f64> = bias.iter().map(|b| b * beta).collect();
            product = product.scaled(&[1.0], &bias).ok_or("adds a row of another length")?;
        }
        Ok(product)
    }

    /// A sum, difference, product or quotient of values and a constant.
    fn arithmetic(&self, node: &Node, operator: &str) -> Step {
        let row = |index: usize| self.constant(node, index).and_then(Constant::row);
        let (value, row, left) = match (self.value(node, 0), self.value(node, 1)) {
            (Some(value), Some(Value::Constant(_))) => (value, row(1), false),
            (Some(Value::Constant(_)), Some(value)) => (value, row(0), true),
            _ => return Err("combines two computed values".to_owned()),
        };
        let row = row.ok_or("has a constant that is not one row of numbers")?;
        let scaled = match (operator, left) {
            ("Add", _) => value.scaled(&[1.0], row),
            ("Mul", _) => value.scaled(row, &[0.0]),
            ("Sub", true) => value.scaled(&[-1.0], row),
            ("Sub", false) => {
                let shift: Vec<f64> = row.iter().map(|v| -v).collect();
                value.scaled(&[1.0], &shift)
            }
            ("Div", false) => {
                let scale: Vec<f64> = row.iter().map(|v| v.recip()).collect();
                value.scaled(&scale, &[0.0])
            }
            _ => return Err("divides by a computed value".to_owned()),
        };
        scaled.ok_or_else(|| "has a constant of an unexpected length".to_owned())
    }

    /// (x − mean)/√(variance + ε)·scale + offset with constants: inference.
    fn batch_normalization(&self, node: &Node, value: &Value) -> Step {
        if integer(node, "training_mode").unwrap_or(0) != 0 {
            return Err("depends on the batch; export the network for inference".to_owned());
        }
        let row = |index: usize| self.constant(node, index).and_then(Constant::row);
        let (Some(scale), Some(offset), Some(mean), Some(variance)) =
            (row(1), row(2), row(3), row(4))
        else {
            return Err("does not have four constant rows".to_owned());
        };
        let length = scale.len();
        if [offset, mean, variance].iter().any(|r| r.len() != length) {
            return Err("has rows of different lengths".to_owned());
        }
        let epsilon = number(node, "epsilon").unwrap_or(1e-5);
        let scale: Vec<f64> =
            scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        let shift: Vec<f64> =
            scale.iter().zip(mean).zip(offset).map(|((s, m), o)| o - s * m).collect();
        value.scaled(&scale, &shift).ok_or_else(|| "has rows of an unexpected length".to_owned())
    }

    /// (x − offset)·scale, as scikit-learn's scalers are exported.
    pub(super) fn scaler(&self, node: &Node) -> Step {
        let floats = |name: &str| -> Vec<f64> {
            let found = attribute(node, name).map(|a| a.floats.as_slice()).unwrap_or_default();
            found.iter().map(|v| f64::from(*v)).collect()
        };
        let value = self.value(node, 0).ok_or("has no input")?;
        let (offset, scale) = (floats("offset"), floats("scale"));
        let shift: Vec<f64> = match (offset.len(), scale.len()) {
            (a, b) if a == b => offset.iter().zip(&scale).map(|(o, s)| -o * s).collect(),
            (_, 1) => offset.iter().map(|o| -o * scale[0]).collect(),
            (1, _) => scale.iter().map(|s| -offset[0] * s).collect(),
            _ => return Err("has an offset and a scale of different lengths".to_owned()),
        };
        value.scaled(&scale, &shift).ok_or_else(|| "has rows of an unexpected length".to_owned())
    }

    /// A clip at zero from below, or a maximum with zero: the ReLU.
    fn clip(&self, node: &Node, operator: &str, value: &Value) -> Step {
        let zero =
            |index: usize| self.constant(node, index).and_then(Constant::number) == Some(0.0);
        let absent = |index: usize| node.inputs.get(index).is_none_or(|name| name.is_empty());
        let relu = match operator {
            // before operator set 11 the bounds are attributes
            "Clip" if absent(1) => {
                number(node, "min") == Some(0.0) && absent(2) && {
                    number(node, "max").is_none_or(|m| m >= f64::from(f32::MAX))
                }
            }
            "Clip" => zero(1) && absent(2),
            _ => {
                let flipped = matches!(value, Value::Constant(_)) && zero(0) && absent(2);
                if let Some(value) = self.value(node, 1).filter(|_| flipped) {
                    return value.rectified();
                }
                zero(1) && absent(2)
            }
        };
        if relu { value.rectified() } else { Err("has other bounds than 0 from below".to_owned()) }
    }

    /// A node that keeps the values and changes the shape, rows staying rows.
    fn reshape(&self, node: &Node, operator: &str, value: &Value) -> Step {
        if let Value::Sizes(_) = value {
            return self.sizes(node, operator);
        }
        let Some(width) = value.width() else {
            let flat = matches!(value, Value::Input(..)) && operator == "Flatten";
            let plain = flat && integer(node, "axis").unwrap_or(1) == 1;
            return if plain { Ok(value.clone()) } else { Err(not_understood()) };
        };
        let axes = || match self.constant(node, 1) {
            Some(constant) => constant.integers(),
            None => attribute(node, "axes").map(|a| a.integers.clone()),
        };
        let keeps_rows = match operator {
            "Flatten" => integer(node, "axis").unwrap_or(1) == 1,
            "Reshape" => {
                let sizes = match self.value(node, 1) {
                    Some(Value::Sizes(sizes)) => Some(sizes.clone()),
                    _ => self.constant(node, 1).and_then(Constant::integers),
                };
                let width = width as i64;
                match sizes.as_deref() {
                    Some([-1]) => width == 1,
                    Some([0 | -1, last]) if *last == width => true,
                    Some([0, -1]) => true,
                    _ => false,
                }
            }
            // the column of a single output, or nothing said: all axes of length one
            "Squeeze" => width == 1 && axes().is_none_or(|a| matches!(a.as_slice(), [1 | -1])),
            "Unsqueeze" => width == 1 && axes().is_some_and(|a| matches!(a.as_slice(), [1 | -1])),
            "Gather" => {
                let index = self.constant(node, 1).and_then(Constant::number);
                width == 1
                    && matches!(integer(node, "axis"), Some(1 | -1))
                    && matches!(index, Some(0.0 | -1.0))
            }
            _ => false,
        };
        if keeps_rows { Ok(value.clone()) } else { Err(not_understood()) }
    }

    /// Parts of a shape, on the way to a Reshape.
    fn sizes(&self, node: &Node, operator: &str) -> Step {
        let part = |index: usize| match self.value(node, index) {
            Some(Value::Sizes(sizes)) => Some(sizes.clone()),
            Some(Value::Constant(constant)) => constant.integers(),
            _ => None,
        };
        let sizes = part(0).ok_or_else(not_understood)?;
        match operator {
            "Unsqueeze" | "Squeeze" if sizes.len() == 1 => Ok(Value::Sizes(sizes)),
            "Gather" => {
                let index = self.constant(node, 1).and_then(Constant::number);
                let index = index.map(|i| if i < 0.0 { i + sizes.len() as f64 } else { i });
                let found = index.and_then(|i| sizes.get(i as usize));
                found.map(|s| Value::Sizes(vec![*s])).ok_or_else(not_understood)
            }
            "Concat" => {
                let parts: Option<Vec<Vec<i64>>> = (0..node.inputs.len()).map(part).collect();
                parts.map(|p| Value::Sizes(p.concat())).ok_or_else(not_understood)
            }
            _ => Err(not_understood()),
        }
    }
}

fn not_understood() -> String {
    "is not understood here".to_owned()
}

/// Between single and double precision; the weights say what was lost.
fn cast(node: &Node, value: &Value) -> Step {
    let to = integer(node, "to").unwrap_or(0);
    match value {
        Value::Sizes(_) => Ok(value.clone()),
        Value::Constant(constant) if to == i64::from(FLOAT) => {
            let round = |v: &f64| f64::from(*v as f32);
            let values = constant.values.as_ref().map(|v| v.iter().map(round).collect());
            let constant =
                Constant { values, integer: false, single: true, ..(**constant).clone() };
            Ok(Value::Constant(Rc::new(constant)))
        }
        Value::Constant(constant) if to == i64::from(DOUBLE) => {
            let constant = Constant { integer: false, ..(**constant).clone() };
            Ok(Value::Constant(Rc::new(constant)))
        }
        _ if to == i64::from(FLOAT) || to == i64::from(DOUBLE) => Ok(value.clone()),
        _ => Err("casts to another type than 32- or 64-bit floats".to_owned()),
    }
}

fn attribute<'a>(node: &'a Node, name: &str) -> Option<&'a Attribute> {
    node.attributes.iter().find(|a| a.name.as_deref() == Some(name))
}

fn integer(node: &Node, name: &str) -> Option<i64> {
    attribute(node, name)?.integer
}

fn number(node: &Node, name: &str) -> Option<f64> {
    attribute(node, name)?.float.map(f64::from)
}
