//! ONNX graphs: each node is run on values that are known as functions of the
//! inputs. What is not understood stays unknown, and is an error only if an
//! output of the graph needs it.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use bidual::Scaling;
use prost::Message;

use super::algebra::{Diagonal, Layer, Side, Value};
use super::constant::{Constant, Store};
use super::{ForeignNetwork, Found, network};
use crate::error::Error;
use crate::onnx::proto::{Graph, Model, Node, Size, ValueInfo};
use crate::text::{one_line, quoted};

const SUPPORTED: &str = "supported are two-layer ReLU networks with one output: the inputs, scaled \
     feature by feature, a linear layer, ReLU, a linear layer with one output, and a sigmoid or \
     class after it";

/// Reads an ONNX model; weights in other files are looked for in `folder`.
pub fn read(bytes: &[u8], file: &str, folder: Option<&Path>) -> Result<ForeignNetwork, Error> {
    let damaged = |reason: &str| Error::Damaged {
        file: file.to_owned(),
        format: "ONNX",
        reason: reason.to_owned(),
    };
    let model = Model::decode(bytes).map_err(|e| damaged(&e.to_string()))?;
    let graph = model.graph.as_ref().ok_or_else(|| damaged("it holds no graph"))?;
    if graph.outputs.is_empty() {
        return Err(damaged("the graph has no output"));
    }
    let store = Store { file, folder };
    let mut run = Run { store, values: HashMap::new(), parts: vec![], single: false };
    let inputs = run.start(graph)?;
    for node in &graph.nodes {
        run.node(node)?;
    }
    let (hidden, output, logit) = run.result(graph)?;
    if let Some(declared) = inputs.filter(|declared| *declared != hidden.rows) {
        let what =
            format!("the graph declares {declared} inputs and has weights for {}", hidden.rows);
        return Err(run.refuse(what));
    }
    let weights = transposed(&hidden);
    let bias = output.biases.first().copied().unwrap_or(0.0);
    let (b, a) = (hidden.biases.clone(), output.weights.clone());
    let network = network(file, hidden.rows, &weights, b, a, bias)?;
    let name = |text: &Option<String>| text.as_deref().map(one_line).unwrap_or_default();
    let producer = format!("{} {}", name(&model.producer_name), name(&model.producer_version));
    let producer = Some(producer.trim().to_owned()).filter(|p| !p.is_empty());
    let scaling = scaling(&hidden.inputs, hidden.rows);
    let (single_precision, parts) = (run.single, run.parts);
    Ok(ForeignNetwork {
        network,
        found: Found { format: "ONNX", producer, single_precision, logit, parts, scaling },
    })
}

/// x ↦ scale·x + shift as (x − mean)·inverse_scale; none for the identity, and
/// where a scale is not positive.
fn scaling(diagonal: &Diagonal, width: usize) -> Option<Scaling> {
    let entry = |values: &[f64], j: usize| match values {
        [one] => *one,
        _ => values.get(j).copied().unwrap_or(0.0),
    };
    let inverse_scale: Vec<f64> = (0..width).map(|j| entry(&diagonal.scale, j)).collect();
    let mean = (0..width).map(|j| -entry(&diagonal.shift, j) / inverse_scale[j]).collect();
    let usable = inverse_scale.iter().all(|s| *s > 0.0 && s.is_finite());
    (usable && !diagonal.is_identity()).then_some(Scaling { mean, inverse_scale })
}

/// A row a unit.
fn transposed(layer: &Layer) -> Vec<f64> {
    let columns = 0..layer.columns;
    columns
        .flat_map(|k| layer.weights.iter().skip(k).step_by(layer.columns.max(1)).copied())
        .collect()
}

/// How a node is named in messages.
fn label(node: &Node) -> String {
    let operator = node.operator.as_deref().unwrap_or_default();
    let name = node.name.as_deref().filter(|name| !name.is_empty());
    match name.or(node.outputs.first().map(String::as_str)) {
        Some(name) => format!("the node {} ({})", quoted(name), one_line(operator)),
        None => format!("a node ({})", one_line(operator)),
    }
}

/// The state of a run through the graph.
pub(super) struct Run<'a> {
    store: Store<'a>,
    values: HashMap<String, Value>,
    /// What was understood of the way from the inputs to the outputs.
    parts: Vec<String>,
    single: bool,
}

/// What a node makes of its inputs, or why it is not understood.
pub(super) type Step = Result<Value, String>;

impl Run<'_> {
    fn refuse(&self, what: String) -> Error {
        Error::Network { file: self.store.file.to_owned(), what, remedy: SUPPORTED }
    }

    /// Takes in constants and the one input; its width if the graph says it.
    fn start(&mut self, graph: &Graph) -> Result<Option<usize>, Error> {
        for tensor in &graph.initializers {
            let name = tensor.name.clone().unwrap_or_default();
            let value = Value::Constant(Rc::new(self.store.constant(tensor)?));
            self.values.insert(name, value);
        }
        // before IR version 4 the weights are inputs too
        let inputs: Vec<&ValueInfo> = (graph.inputs.iter())
            .filter(|i| !self.values.contains_key(i.name.as_deref().unwrap_or_default()))
            .collect();
        let [input] = inputs.as_slice() else {
            let what = format!("the graph has {} inputs, expected one matrix", inputs.len());
            return Err(self.refuse(what));
        };
        let width = declared_width(input);
        let name = input.name.clone().unwrap_or_default();
        self.values.insert(name, Value::Input(Diagonal::identity(), width));
        Ok(width)
    }

    /// The two layers that every output of the graph comes from.
    fn result(&self, graph: &Graph) -> Result<(Rc<Layer>, Rc<Layer>, bool), Error> {
        let mut found: Option<(Rc<Layer>, Rc<Layer>)> = None;
        let mut logit = false;
        for output in &graph.outputs {
            let name = output.name.as_deref().unwrap_or_default();
            let (hidden, layer) = match self.values.get(name) {
                Some(Value::Output(hidden, layer)) => (hidden, layer),
                Some(Value::Decision(_, _, Side::First)) => {
                    let what = format!("the output {} is for the first class only", quoted(name));
                    return Err(self.refuse(what));
                }
                Some(Value::Decision(hidden, layer, _)) => {
                    logit = true;
                    (hidden, layer)
                }
                Some(Value::Unknown(reason)) => return Err(self.refuse(reason.to_string())),
                Some(_) => {
                    let what = format!("the output {} comes before the second layer", quoted(name));
                    return Err(self.refuse(what));
                }
                None => {
                    return Err(
                        self.refuse(format!("nothing computes the output {}", quoted(name)))
                    );
                }
            };
            if layer.columns != 1 {
                let what = format!("the network has {} outputs ({})", layer.columns, quoted(name));
                return Err(self.refuse(what));
            }
            if found.as_ref().is_some_and(|(h, l)| **h != **hidden || **l != **layer) {
                let count = graph.outputs.len();
                return Err(self.refuse(format!("the {count} outputs come from different layers")));
            }
            found = Some((hidden.clone(), layer.clone()));
        }
        let (hidden, layer) =
            found.ok_or_else(|| self.refuse("the graph has no output".to_owned()))?;
        Ok((hidden, layer, logit))
    }

    pub(super) fn value(&self, node: &Node, index: usize) -> Option<&Value> {
        let name = node.inputs.get(index).filter(|name| !name.is_empty())?;
        self.values.get(name.as_str())
    }

    pub(super) fn constant(&self, node: &Node, index: usize) -> Option<&Constant> {
        match self.value(node, index)? {
            Value::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// Runs one node; its outputs beyond the first stay unknown.
    fn node(&mut self, node: &Node) -> Result<(), Error> {
        let unknown = node.inputs.iter().find_map(|name| match self.values.get(name.as_str()) {
            Some(Value::Unknown(reason)) => Some(reason.clone()),
            _ => None,
        });
        let missing =
            node.inputs.iter().find(|n| !n.is_empty() && !self.values.contains_key(n.as_str()));
        let value = match (unknown, missing) {
            (Some(reason), _) => Value::Unknown(reason),
            (None, Some(name)) => Value::Unknown(
                format!("{} needs {}, which nothing computes", label(node), quoted(name)).into(),
            ),
            (None, None) => match self.step(node)? {
                Ok(value) => {
                    self.note(node, &value);
                    value
                }
                Err(why) => Value::Unknown(format!("{} {why}", label(node)).into()),
            },
        };
        for (index, name) in node.outputs.iter().enumerate() {
            let value = if index == 0 {
                value.clone()
            } else {
                let why = format!("output {} of {} is not understood", index + 1, label(node));
                Value::Unknown(why.into())
            };
            if !name.is_empty() {
                self.values.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    /// Keeps what a node did for the report.
    fn note(&mut self, node: &Node, value: &Value) {
        let of_inputs = node.inputs.iter().any(|name| {
            !matches!(
                self.values.get(name.as_str()),
                Some(Value::Constant(_) | Value::Sizes(_)) | None
            )
        });
        if !of_inputs || matches!(value, Value::Sizes(_) | Value::Constant(_)) {
            return;
        }
        self.single |= (0..node.inputs.len())
            .any(|index| self.constant(node, index).is_some_and(|c| c.single));
        let what = match (node.operator.as_deref().unwrap_or_default(), value) {
            ("Gemm" | "MatMul", Value::Hidden(layer)) => {
                format!("hidden layer of {} units", layer.columns)
            }
            ("Gemm" | "MatMul", Value::Output(..)) => "output layer".to_owned(),
            ("Relu" | "Clip" | "Max", _) => "ReLU".to_owned(),
            (_, Value::Input(diagonal, _)) if !diagonal.is_identity() => {
                "scaling of the inputs".into()
            }
            ("Sigmoid", _) => "sigmoid".to_owned(),
            _ => return,
        };
        if self.parts.last() != Some(&what) {
            self.parts.push(what);
        }
    }

    /// What a node makes of its inputs. An error is damage; the inner error is
    /// a reason why the node is not understood.
    fn step(&mut self, node: &Node) -> Result<Step, Error> {
        let operator = node.operator.as_deref().unwrap_or_default();
        let domain = node.domain.as_deref().unwrap_or_default();
        if operator == "Constant" && domain.is_empty() {
            return self.constant_node(node);
        }
        Ok(match (domain, operator) {
            ("ai.onnx.ml", "Scaler") => self.scaler(node),
            ("ai.onnx.ml", "ZipMap" | "ArrayFeatureExtractor") => self.decision(node),
            ("" | "ai.onnx", _) => self.standard(node, operator),
            _ => Err(format!("is an operator of {}, which is not supported", quoted(domain))),
        })
    }

    fn constant_node(&mut self, node: &Node) -> Result<Step, Error> {
        let plain = |values: Vec<f64>, shape: Vec<usize>, integer: bool| {
            let constant = Constant { shape, values: Some(values), integer, single: !integer };
            Ok(Ok(Value::Constant(Rc::new(constant))))
        };
        let Some(attribute) = node.attributes.first() else {
            return Ok(Err("has no value".to_owned()));
        };
        match attribute.name.as_deref().unwrap_or_default() {
            "value" => match &attribute.tensor {
                Some(tensor) => {
                    let constant = self.store.constant(tensor)?;
                    Ok(Ok(Value::Constant(Rc::new(constant))))
                }
                None => Ok(Err("has no value".to_owned())),
            },
            "value_float" => plain(vec![f64::from(attribute.float.unwrap_or(0.0))], vec![], false),
            "value_floats" => {
                let values: Vec<f64> = attribute.floats.iter().map(|v| f64::from(*v)).collect();
                let shape = vec![values.len()];
                plain(values, shape, false)
            }
            "value_int" => plain(vec![attribute.integer.unwrap_or(0) as f64], vec![], true),
            "value_ints" => {
                let values: Vec<f64> = attribute.integers.iter().map(|v| *v as f64).collect();
                let shape = vec![values.len()];
                plain(values, shape, true)
            }
            _ => Ok(Err("has a value that is not supported".to_owned())),
        }
    }
}

/// The number of values in a row of the input, if the graph declares it.
fn declared_width(input: &ValueInfo) -> Option<usize> {
    let shape = input.r#type.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
    let (_, columns) = shape.dimensions.split_first()?;
    if columns.is_empty() {
        return None;
    }
    columns.iter().try_fold(1usize, |product, dimension| match dimension.size {
        Some(Size::Value(size)) if size > 0 => product.checked_mul(usize::try_from(size).ok()?),
        _ => None,
    })
}
