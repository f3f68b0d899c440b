//! Graphs built by hand: forms that exporters may write but the committed
//! files do not have, and forms that must be refused.

use prost::Message;

use super::{ForeignNetwork, read_onnx_network};
use crate::onnx::proto::*;

fn floats(name: &str, shape: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: Some(FLOAT),
        floats: values.to_vec(),
        name: Some(name.to_owned()),
        ..TensorProto::default()
    }
}

fn attribute(name: &str) -> Attribute {
    Attribute { name: Some(name.to_owned()), ..Attribute::default() }
}

/// x (two inputs) and the usual weights: f(x) = 2·max(0, x₁ − x₂ + 1) − max(0, 3·x₂) + 0.5.
struct Made(Graph);

impl Made {
    fn new(nodes: Vec<Node>) -> Self {
        let doubles = TensorProto {
            raw_data: None,
            doubles: vec![2.0, -1.0],
            ..TensorProto::doubles("A", &[2, 1], vec![])
        };
        Made(Graph {
            initializers: vec![
                floats("W", &[2, 2], &[1.0, 0.0, -1.0, 3.0]),
                floats("b", &[1, 2], &[1.0, 0.0]),
                doubles,
                floats("c", &[], &[0.5]),
                floats("zero", &[], &[0.0]),
                floats("one", &[1], &[1.0]),
                floats("row", &[2], &[2.0, 4.0]),
            ],
            nodes,
            inputs: vec![ValueInfo::doubles("X", "N", 2)],
            outputs: vec![ValueInfo::doubles("y", "N", 1)],
            ..Graph::default()
        })
    }

    /// The usual nodes, `before` from X to x and `after` from f to y.
    fn network(before: Vec<Node>, relu: Node, after: Vec<Node>) -> Self {
        let layers = [
            Node::new("MatMul", &["x", "W"], "z0"),
            Node::new("Add", &["b", "z0"], "z"),
            relu,
            Node::new("MatMul", &["h", "A"], "f0"),
            Node::new("Add", &["f0", "c"], "f"),
        ];
        Self::new(before.into_iter().chain(layers).chain(after).collect())
    }

    fn plain() -> Self {
        Self::network(vec![same("X", "x")], Node::new("Relu", &["z"], "h"), vec![same("f", "y")])
    }

    fn read(&self) -> Result<ForeignNetwork, String> {
        let model = Model { graph: Some(self.0.clone()), ..Model::default() };
        read_onnx_network(&model.encode_to_vec(), "g").map_err(|e| e.to_string())
    }

    fn values(&self) -> [f64; 3] {
        let network = self.read().unwrap().network;
        let inputs = bidual::Mat::from_fn(3, 2, |i, j| [[0.0, 0.0], [1.0, 2.0], [3.0, -1.0]][i][j]);
        network.predict(&inputs).try_into().unwrap()
    }

    fn refused(&self, says: &str) {
        let message = self.read().unwrap_err();
        assert!(message.contains(says) && message.starts_with("g: "), "{message}");
    }
}

fn same(from: &str, to: &str) -> Node {
    Node::new("Identity", &[from], to)
}

fn relu() -> Node {
    Node::new("Relu", &["z"], "h")
}

const PLAIN: [f64; 3] = [2.5, -5.5, 10.5];

#[test]
fn values_are_those_of_the_graph() {
    assert_eq!(Made::plain().values(), PLAIN);
    // weights among the inputs, as before IR version 4
    let mut old = Made::plain();
    old.0.inputs.extend(["W", "b", "A", "c"].map(|name| ValueInfo::doubles(name, "N", 1)));
    assert_eq!(old.values(), PLAIN);
    // nodes that no output needs may be anything
    let mut dead = Made::plain();
    dead.0.nodes.insert(1, Node::new("Conv", &["X", "W"], "unused"));
    dead.0.nodes.insert(2, Node::new("Add", &["unused", "c"], "unused too"));
    assert_eq!(dead.values(), PLAIN);
}

#[test]
fn scalings_before_and_after_are_folded() {
    // x = X·row + 1, with the row in a node's attribute; y = 1 − f
    let mut constant = Node::new("Constant", &[], "k");
    constant.attributes = vec![Attribute { floats: vec![0.5, 0.25], ..attribute("value_floats") }];
    let before = vec![
        constant,
        Node::new("Mul", &["X", "k"], "x0"),
        Node::new("Div", &["x0", "row"], "x1"),
        Node::new("Mul", &["row", "x1"], "x2"),
        Node::new("Div", &["x2", "k"], "x3"),
        Node::new("Neg", &["x3"], "x4"),
        Node::new("Sub", &["zero", "x4"], "x"),
    ];
    let after = vec![Node::new("Sub", &["one", "f"], "g"), Node::new("Neg", &["g"], "y")];
    let read = Made::network(before, relu(), after);
    assert_eq!(read.values(), PLAIN.map(|v| v - 1.0));
    // between the layers: h·row, with row on either side
    let hidden = |left: &str, right: &str| {
        let nodes = vec![
            Node::new("Relu", &["z"], "h0"),
            Node::new("Mul", &[left, right], "h"),
            Node::new("MatMul", &["h", "A"], "y"),
        ];
        let mut made = Made::plain();
        made.0.nodes.truncate(3);
        made.0.nodes.extend(nodes);
        made.values()
    };
    assert_eq!(hidden("h0", "row"), [4.0, -24.0, 20.0]);
    assert_eq!(hidden("row", "h0"), [4.0, -24.0, 20.0]);
}

#[test]
fn other_spellings_of_relu() {
    let spelled = |node: Node| Made::network(vec![same("X", "x")], node, vec![same("f", "y")]);
    assert_eq!(spelled(Node::new("Max", &["z", "zero"], "h")).values(), PLAIN);
    assert_eq!(spelled(Node::new("Max", &["zero", "z"], "h")).values(), PLAIN);
    assert_eq!(spelled(Node::new("Clip", &["z", "zero"], "h")).values(), PLAIN);
    spelled(Node::new("Clip", &["z", "zero", "one"], "h")).refused("has other bounds than 0");
    spelled(Node::new("Max", &["z", "one"], "h")).refused("has other bounds than 0");
    spelled(Node::new("LeakyRelu", &["z"], "h")).refused("\"LeakyRelu_h\" (LeakyRelu) is an act");
    spelled(Node::new("Conv", &["z", "W"], "h")).refused("\"Conv_h\" (Conv) is not supported");
    spelled(Node::new("Add", &["z", "x"], "h")).refused("(Add) combines two computed values");
}

#[test]
fn sides_of_a_decision() {
    let ended = |nodes: Vec<Node>| Made::network(vec![same("X", "x")], relu(), nodes);
    let sigmoid = || Node::new("Sigmoid", &["f"], "p");
    let complement = || Node::new("Sub", &["one", "p"], "q");
    let good = ended(vec![sigmoid(), complement(), Node::new("Concat", &["q", "p"], "y")]);
    assert!(good.read().unwrap().found.logit);
    let turned = ended(vec![sigmoid(), complement(), Node::new("Concat", &["p", "q"], "y")]);
    turned.refused("is not supported after a sigmoid or class");
    ended(vec![sigmoid(), complement(), same("q", "y")]).refused("for the first class only");
    ended(vec![Node::new("Less", &["f", "zero"], "y")]).refused("for the first class only");
    assert!(ended(vec![Node::new("Greater", &["f", "zero"], "y")]).read().unwrap().found.logit);
    ended(vec![sigmoid(), Node::new("Mul", &["p", "row"], "y")]).refused("after a sigmoid");
    ended(vec![sigmoid(), Node::new("MatMul", &["p", "W"], "y")]).refused("after a sigmoid");
}

#[test]
fn other_graphs_are_refused() {
    let mut two = Made::plain();
    two.0.inputs.push(ValueInfo::doubles("Z", "N", 2));
    two.refused("the graph has 2 inputs, expected one matrix");
    let mut wide = Made::plain();
    wide.0.inputs = vec![ValueInfo::doubles("X", "N", 3)];
    wide.refused("has 2 rows of weights for 3 values");
    let mut different = Made::plain();
    different.0.nodes.push(Node::new("Add", &["f", "one"], "other"));
    different.0.outputs.push(ValueInfo::doubles("other", "N", 1));
    different.refused("the 2 outputs come from different layers");
    let mut early = Made::plain();
    early.0.outputs = vec![ValueInfo::doubles("h", "N", 2)];
    early.refused("the output \"h\" comes before the second layer");
    early.0.outputs = vec![ValueInfo::doubles("nothing", "N", 2)];
    early.refused("nothing computes the output \"nothing\"");
    let mut cycle = Made::plain();
    cycle.0.nodes.reverse();
    cycle.refused("which nothing computes");
    let mut zero = Made::plain();
    zero.0.nodes[0] = Node::new("Div", &["X", "zero"], "x");
    zero.refused("the hidden weights hold ");
    let mut batch = Node::new("BatchNormalization", &["X", "row", "row", "row", "row"], "x");
    batch.attributes = vec![Attribute { integer: Some(1), ..attribute("training_mode") }];
    Made::network(vec![batch], relu(), vec![same("f", "y")]).refused("depends on the batch");
}

#[test]
fn damaged_tensors_are_refused() {
    let with = |tensor: TensorProto| {
        let mut made = Made::plain();
        made.0.initializers[0] = tensor;
        made
    };
    with(floats("W", &[2, 3], &[0.0; 4])).refused("4 values for the shape [2, 3]");
    with(floats("W", &[-2, -2], &[0.0; 4])).refused("a dimension is negative");
    with(floats("W", &[i64::MAX, 9], &[0.0; 4])).refused("the dimensions are too large");
    let raw = TensorProto { raw_data: Some(vec![0; 17]), ..floats("W", &[2, 2], &[]) };
    with(raw).refused("5 values for the shape [2, 2]");
    let half = TensorProto { data_type: Some(10), ..floats("W", &[2, 2], &[]) };
    with(half).refused("does not multiply by a constant matrix");
    for location in ["../weights", "/etc/passwd", ""] {
        let entry = |key: &str, value: &str| Entry {
            key: Some(key.to_owned()),
            value: Some(value.to_owned()),
        };
        let outside = TensorProto {
            data_location: Some(EXTERNAL),
            external_data: vec![entry("location", location), entry("length", "16")],
            ..floats("W", &[2, 2], &[])
        };
        let made = with(outside);
        made.refused("its values are in another file");
        // and not from a folder either
        let model = Model { graph: Some(made.0), ..Model::default() };
        let folder = Some(std::path::Path::new("."));
        let error = super::graph::read(&model.encode_to_vec(), "g", folder).unwrap_err();
        assert!(error.to_string().contains("in another file"), "{error}");
    }
}
