//! Networks of other programs: what their exporters wrote, and graphs and
//! arrays built by hand.

use std::path::{Path, PathBuf};

use bidual::Mat;
use bidual_io::foreign::*;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn expected() -> Vec<Value> {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The largest difference, relative to the largest output; of probabilities for
/// logits, which were computed from them.
fn difference(own: &[f64], theirs: &[f64], logits: bool) -> f64 {
    assert_eq!(own.len(), theirs.len());
    let map = |v: &f64| if logits { 1.0 / (1.0 + (-v).exp()) } else { *v };
    let largest = theirs.iter().map(map).fold(1.0, |a: f64, v| a.max(v.abs()));
    let pairs = own.iter().map(map).zip(theirs.iter().map(map));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest
}

#[test]
fn networks_of_torch_and_scikit_learn_predict_the_same() {
    let mut read = 0;
    for case in expected() {
        let name = case["file"].as_str().unwrap();
        let result = read_network(&fixtures().join(name), &ReadOptions::default());
        if case["kind"] == "refused" {
            assert!(result.is_err(), "{name} was read");
            continue;
        }
        let found = result.unwrap_or_else(|e| panic!("{e}"));
        let rows: Vec<Vec<f64>> = case["inputs"].as_array().unwrap().iter().map(numbers).collect();
        let d = rows[0].len();
        let x = Mat::from_fn(rows.len(), d, |i, j| rows[i][j]);
        assert_eq!(found.network.inputs(), d, "{name}");
        let own = found.network.predict(&x);
        let theirs = numbers(&case["outputs"]);
        let worst = difference(&own, &theirs, found.found.logit);
        assert!(worst <= 1e-5, "{name}: {worst:e}");
        assert_eq!(found.found.logit, case["kind"] == "logit", "{name}");
        assert_eq!(
            found.found.single_precision,
            !name.contains("double") && {
                !name.starts_with("sklearn.") && !name.starts_with("one_feature")
            }
        );
        read += 1;
    }
    assert!(read >= 30, "{read}");
}

#[test]
fn what_is_not_understood_is_named() {
    for (name, says) in [
        ("torch_deep.onnx", r#""node_relu_1" (Relu) is a ReLU after the second layer"#),
        ("torch_legacy_deep.onnx", r#""/3/Relu" (Relu) is a ReLU after the second layer"#),
        ("sklearn_deep.onnx", r#""Relu1" (Relu)"#),
        ("torch_tanh.onnx", r#""node_tanh" (Tanh) is an activation that is not supported"#),
        ("sklearn_tanh.onnx", r#""Tanh" (Tanh)"#),
        ("torch_outputs.onnx", "the network has 3 outputs"),
        ("torch_legacy_outputs.onnx", "the network has 3 outputs"),
        ("sklearn_classes.onnx", "(Softmax) works on 3 outputs of the network"),
        ("torch_linear.onnx", r#""node_linear_1" (Gemm) is a linear layer after a linear layer"#),
    ] {
        let error = read_network(&fixtures().join(name), &ReadOptions::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains("supported are two-layer ReLU networks"), "{message}");
        assert!(!message.contains('\n'));
    }
    // weights beside the graph need its folder
    let bytes = std::fs::read(fixtures().join("torch_external.onnx")).unwrap();
    let message = read_onnx_network(&bytes, "g.onnx").unwrap_err().to_string();
    assert!(message.contains("its values are in another file, \"torch_external.onnx.data\""));
}

#[test]
fn reports_say_what_was_found() {
    let read = |name: &str| read_network(&fixtures().join(name), &ReadOptions::default()).unwrap();
    let found = read("torch_sigmoid.onnx").found;
    let parts =
        ["scaling of the inputs", "hidden layer of 5 units", "ReLU", "output layer", "sigmoid"];
    assert_eq!(found.parts, parts);
    assert!(found.producer.unwrap().starts_with("pytorch 2."));
    // the weights as they were trained
    let scaled = read("sklearn_double.onnx");
    let scaling = scaled.found.scaling.unwrap();
    assert_eq!(scaling.mean.len(), 3);
    let trained = scaled.network.clone().unfold(&scaling);
    assert!(trained.weights != scaled.network.weights);
    let (again, folded) = (trained.fold(&scaling), scaled.network);
    for (a, b) in again.biases.iter().zip(&folded.biases) {
        assert!((a - b).abs() < 1e-12);
    }
    assert_eq!(read("torch_sequential.onnx").found.scaling, None);
    let found = read("sklearn.npz").found;
    assert_eq!(found.parts[0], "hidden weights \"coefs_0\" (a row an input)");
    assert_eq!((found.format, found.producer), ("NPZ", None));
}

#[test]
fn graphs_that_bidual_writes_are_read() {
    use bidual_io::onnx::{OnnxNetwork, to_onnx};
    let network = OnnxNetwork {
        weights: &[1.0, 2.0, -3.0, 0.5],
        biases: &[0.25, -1.0],
        outputs: &[2.0, -1.0],
        output_bias: 0.125,
        gates: None,
        inputs: 2,
        classifier: true,
        doc: "",
    };
    let read = read_onnx_network(&to_onnx(&network).unwrap(), "own").unwrap();
    assert_eq!(read.network.weights.col_as_slice(1), [-3.0, 0.5]);
    assert_eq!(read.network.biases, network.biases);
    assert_eq!(read.network.outputs, network.outputs);
    assert_eq!(read.network.output_bias, 0.125);
    assert!(!read.found.single_precision);
    let gated = OnnxNetwork { gates: Some((&[1.0; 4], &[0.0; 2])), ..network };
    let message = read_onnx_network(&to_onnx(&gated).unwrap(), "own").unwrap_err().to_string();
    assert!(message.contains("(GreaterOrEqual) is not supported here"), "{message}");
}

mod arrays {
    use super::*;
    use bidual_io::model::Tensor;

    fn file(arrays: &[(&str, &[usize])]) -> Vec<(String, Tensor)> {
        let tensor = |shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            Tensor { shape: shape.to_vec(), values: (1..=count).map(|v| v as f64).collect() }
        };
        arrays.iter().map(|(name, shape)| ((*name).to_owned(), tensor(shape))).collect()
    }

    fn read(arrays: &[(&str, &[usize])], options: &ReadOptions) -> Result<ForeignNetwork, String> {
        read_named(file(arrays), "f.npz", options).map_err(|e| e.to_string())
    }

    fn first_unit(arrays: &[(&str, &[usize])]) -> Vec<f64> {
        let network = read(arrays, &ReadOptions::default()).unwrap().network;
        network.weights.col_as_slice(0).to_vec()
    }

    #[test]
    fn shapes_decide_how_matrices_lie() {
        // torch, scikit-learn, and a mixture
        assert_eq!(first_unit(&[("0.weight", &[3, 2]), ("2.weight", &[1, 3])]), [1.0, 2.0]);
        assert_eq!(first_unit(&[("W1", &[2, 3]), ("W2", &[3, 1])]), [1.0, 4.0]);
        assert_eq!(first_unit(&[("W1", &[3, 2]), ("W2", &[3, 1])]), [1.0, 2.0]);
        // square hidden weights: both lie alike
        assert_eq!(first_unit(&[("W1", &[3, 3]), ("W2", &[3, 1])]), [1.0, 4.0, 7.0]);
        assert_eq!(first_unit(&[("W1", &[3, 3]), ("W2", &[1, 3])]), [1.0, 2.0, 3.0]);
        // one input, one unit
        assert_eq!(first_unit(&[("W1", &[1, 4]), ("W2", &[4, 1])]), [1.0]);
        assert_eq!(first_unit(&[("fc1.weight", &[4, 1]), ("fc2.weight", &[1, 4])]), [1.0]);
        assert_eq!(first_unit(&[("W1", &[1, 4]), ("W2", &[1, 1])]), [1.0, 2.0, 3.0, 4.0]);
        // names against the order of the layers: only one reading fits
        assert_eq!(
            first_unit(&[("decoder.weight", &[1, 3]), ("encoder.weight", &[3, 2])]),
            [1.0, 2.0]
        );
        // biases as rows, and with other names
        let rows = [("W1", &[2usize, 3][..]), ("W2", &[3, 1]), ("b1", &[1, 3]), ("b2", &[1, 1])];
        assert_eq!(first_unit(&rows), [1.0, 4.0]);
        let other = [("P", &[2usize, 3][..]), ("Q", &[3, 1]), ("x", &[3]), ("y", &[1])];
        assert_eq!(first_unit(&other), [1.0, 4.0]);
    }

    #[test]
    fn names_choose_arrays_and_layouts_settle_the_rest() {
        let arrays = [("p", &[3usize, 3][..]), ("q", &[3]), ("r", &[3]), ("extra", &[7, 7])];
        let names = |text: &str| ReadOptions { names: Some(text.parse().unwrap()), layout: None };
        let plain = names("W1=p,W2=q,b1=r");
        assert!(read(&arrays, &plain).unwrap_err().contains("can be read in two ways"));
        let units = ReadOptions { layout: Some(Layout::Units), ..plain.clone() };
        let network = read(&arrays, &units).unwrap().network;
        assert_eq!(network.weights.col_as_slice(0), [1.0, 2.0, 3.0]);
        let inputs = ReadOptions { layout: Some(Layout::Inputs), ..plain };
        let network = read(&arrays, &inputs).unwrap().network;
        assert_eq!(network.weights.col_as_slice(0), [1.0, 4.0, 7.0]);
        assert_eq!((network.biases, network.output_bias), (vec![1.0, 2.0, 3.0], 0.0));
        let says = |options: &ReadOptions, text: &str| {
            let message = read(&arrays, options).unwrap_err();
            assert!(message.contains(text), "{message}");
        };
        says(&names("W1=p,W2=z"), "there is no array \"z\"; it holds \"p\"");
        says(&names("W1=p,W2=extra"), "do not form a hidden layer");
        says(&ReadOptions::default(), "it is not clear what \"q\", \"r\" is for");
    }

    #[test]
    fn unsuitable_files_are_refused() {
        for (arrays, says) in [
            (vec![("a", &[3usize, 2][..])], "it holds 1 matrices"),
            (vec![("a", &[3, 2]), ("b", &[3, 3]), ("c", &[1, 3])], "it holds 3 matrices"),
            (vec![("a", &[3, 2]), ("b", &[4, 3])], "do not form a hidden layer"),
            (vec![("a", &[0, 2]), ("b", &[1, 0])], "0 hidden units"),
            (vec![("a", &[3, 0]), ("b", &[1, 3])], "do not form a hidden layer"),
            (vec![("0.weight", &[3, 2]), ("0.bias", &[2]), ("2.weight", &[1, 3])], "do not form"),
        ] {
            let message = read(&arrays, &ReadOptions::default()).unwrap_err();
            assert!(message.contains(says), "{message}");
            assert!(message.starts_with("f.npz: "), "{message}");
        }
        let mut bad = file(&[("a", &[3, 2]), ("b", &[1, 3])]);
        bad[0].1.values[4] = f64::NAN;
        let message = read_named(bad, "f", &ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("the hidden weights hold NaN"), "{message}");
    }
}

/// Networks that `benchmarks/foreign_networks.py train` wrote, if BIDUAL_FOREIGN
/// names their folder; run in the folder that the paths of its tables are for.
#[test]
fn trained_networks_predict_the_same() {
    use bidual_io::table::{Column, read_table};
    let Some(folder) = std::env::var_os("BIDUAL_FOREIGN").map(PathBuf::from) else {
        println!("skipped: BIDUAL_FOREIGN names no folder of networks");
        return;
    };
    let column = |column: &Column| match column {
        Column::Number(values) => values.clone(),
        Column::Text(_) => panic!("text"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_str(&manifest).unwrap();
    for entry in &manifest {
        let text = |key: &str| entry[key].as_str().unwrap();
        let table = read_table(&root.join(text("data"))).unwrap();
        let named = table.names.iter().zip(&table.columns).filter(|(n, _)| *n != text("target"));
        let columns: Vec<Vec<f64>> = named.map(|(_, c)| column(c)).collect();
        let x = Mat::from_fn(table.rows, columns.len(), |i, j| columns[j][i]);
        let read = read_network(&folder.join(text("file")), &ReadOptions::default()).unwrap();
        let theirs = column(&read_table(&folder.join(text("predictions"))).unwrap().columns[0]);
        let own = read.network.predict(&x);
        let worst = difference(&own, &theirs, read.found.logit);
        assert!(worst <= 1e-5, "{}: {worst:e}", text("file"));
        println!("{}: {worst:.1e}", text("file"));
    }
}
