//! Every bad input: exit code 2, one line that names place and remedy, nothing written.

mod common;

use common::{Place, table, without};

const FIT: &str = "--target y -o m.safetensors --onnx m.onnx --predictions p.csv";

/// A place with `data.csv`: two features, a target and two text classes.
fn place() -> Place {
    let place = Place::new();
    place.write("data.csv", without(&table(30, &[1.0, 1.0], 1), "class"));
    place.write("both.csv", table(30, &[1.0, 1.0], 1));
    place
}

#[test]
fn tables() {
    let place = place();
    let refuse = |content: &str, says: &[&str]| {
        place.write("bad.csv", content);
        place.refuse(&format!("fit bad.csv {FIT}"), says);
        place.refuse("path bad.csv --target y -o p.csv", says);
    };
    place.refuse(&format!("fit no.csv {FIT}"), &["no.csv: cannot be read", "check the path"]);
    place.refuse(&format!("fit . {FIT}"), &["use a .csv"]);
    place.write("data.txt", "a,y\n1,2\n");
    place.refuse(&format!("fit data.txt {FIT}"), &["\".txt\"", "use a .csv"]);
    refuse("", &["bad.csv: the file is empty", "expected a header"]);
    refuse("a,y\n", &["no rows"]);
    refuse("a,y\n1,2\n3\n", &["bad.csv, line 3", "expected 2 fields", "found 1"]);
    refuse("a,y\n1,2\n3,4,5\n", &["line 3", "found 3"]);
    refuse("a,y\n1,2\nred,4\n5,6\n7,8\n", &["line 3, column \"a\"", "\"red\" is not a number"]);
    refuse("a,y\n1,2\n5,6\n7,high\n9,9\n8,8\n", &["line 4, column \"y\"", "\"high\""]);
    refuse("a,y\n1,2\n,4\n5,6\n", &["line 3, column \"a\"", "missing"]);
    refuse("a,y\n1,2\nNaN,4\n5,6\n", &["line 3, column \"a\"", "missing"]);
    refuse("a,y\n1,2\n3,nan\n5,6\n", &["line 3, column \"y\"", "missing"]);
    refuse("a,y\n1,2\ninf,4\n5,6\n", &["line 3, column \"a\"", "not finite"]);
    refuse("a,y\n1,2\n3,-inf\n5,6\n", &["line 3, column \"y\"", "not finite"]);
    refuse("a,b\n1,2\n3,4\n", &["no column \"y\"", "\"a\", \"b\""]);
    refuse("a,y\n1,2\n3,2\n", &["column \"y\"", "every value of the target is 2"]);
    refuse("a,y\n1,yes\n3,yes\n", &["column \"y\"", "two classes", "\"yes\""]);
    refuse("a,y\n1,red\n3,green\n5,blue\n", &["two classes", "\"red\""]);
    refuse("a,y\n1,2\n", &["at least 2 rows", "found 1"]);
    refuse("y\n1\n2\n3\n", &["no column is left as an input"]);
    refuse("a,b,a,y\n1,2,3,4\n5,6,7,8\n", &["columns 1 and 3", "\"a\""]);
    let hint = "put a header line";
    refuse("1.5,2.5\n3,4\n5,6\n", &["no column \"y\"", "\"1.5\", \"2.5\"", hint]);
    refuse("0,7,0\n3,4,5\n5,6,7\n", &["columns 1 and 3", hint]);
    refuse("a;y\n1;2\n3;4\n", &["commas"]);
    let rows: String = (0..12).map(|i| format!("3,{}\n", i % 5)).collect();
    refuse(&format!("a,y\n{rows}"), &["constant"]);
    place.write("bad.csv", b"a,y\n1,2\n\xff\xfe,4\n");
    place.refuse(&format!("fit bad.csv {FIT}"), &["UTF-8"]);
    place.refuse("fit both.csv --target y -o m.safetensors", &["column \"class\"", "--one-hot"]);
    place.refuse("fit data.csv --target y --loss logistic", &["two classes"]);
    place.refuse("fit both.csv --target class --loss squared", &["is not a number"]);
}

#[test]
fn weights() {
    let place = Place::new();
    place.write("w.csv", "a,y,w\n1,2,1\n3,4,-1\n5,7,1\n");
    let refuse = |words: &str, says: &[&str]| {
        place.refuse(&format!("fit w.csv -o m.safetensors {words}"), says);
    };
    refuse("--target y --weights w", &["line 3, column \"w\"", "negative"]);
    refuse("--target y --weights v", &["no column \"v\""]);
    refuse("--target y --weights y", &["cannot be both"]);
    place.write("w.csv", "a,y,w\n1,2,1\n3,4,0\n5,7,0\n");
    refuse("--target y --weights w", &["positive weight"]);
}

#[test]
fn binary_files() {
    let place = place();
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    npy.extend(b"{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3), }");
    npy.resize(128, b' ');
    npy.extend([0u8; 40]);
    place.write("t.npy", &npy);
    place.write("t.npz", b"PK\x03\x04 cut");
    place.write("t.parquet", b"PAR1\x15\x04\x15 cut");
    for (file, format) in [("t.npy", "NPY"), ("t.npz", "NPZ"), ("t.parquet", "Parquet")] {
        let says = [file, "not a readable", format];
        place.refuse(&format!("fit {file} --target x0 -o m.safetensors"), &says);
    }
}

#[test]
fn options() {
    let place = place();
    let refuse = |words: &str, says: &[&str]| {
        place.refuse(&format!("fit data.csv {FIT} {words}"), says);
    };
    for bad in ["0", "-0.1", "abs:0", "abs:-1", "nan", "best"] {
        refuse(&format!("--lambda {bad}"), &[bad, "--lambda", "expected a positive"]);
    }
    for bad in ["0", "-1", "1.5", "some", "nan"] {
        refuse(&format!("--tolerance {bad}"), &[bad, "between 0 and 1"]);
        refuse(&format!("--active-share {bad}"), &[bad, "between 0 and 1"]);
    }
    refuse("--loss cubic", &["cubic", "expected auto, squared"]);
    refuse("--loss huber:-1", &["positive DELTA"]);
    refuse("--patterns 0", &["at least 1"]);
    refuse("--patterns many", &["all, or a file"]);
    refuse("--patterns no.npy", &["no.npy: cannot be read"]);
    refuse("--activation tanh", &["relu, gated"]);
    refuse("--bias yes", &["penalised, free, none"]);
    refuse("--time-limit 0", &["a positive time"]);
    refuse("--time-limit soon", &["a positive time"]);
    refuse("--max-iterations 0", &["--max-iterations"]);
    refuse("--threads 0", &["--threads"]);
    refuse("--seed -1", &["-1"]);
    refuse("--folds 1", &["--folds"]);
    refuse("--folds 20", &["needs at least 40 samples", "use fewer folds"]);
    refuse("--folds 4 --lambda 0.1", &["--lambda cv only"]);
    refuse("--depth 3", &["--depth"]);
    refuse("--activation gated --bias free", &["not regularised"]);
    refuse("--activation gated --patterns all --lambda 0.1", &["gates"]);
    refuse("--bias free --no-output-bias", &["switch the output bias on"]);
    refuse("--active-share 0.5 --bias none", &["hidden bias"]);
    refuse("--active-share 0.5 --patterns all", &["sampled patterns only"]);
    place.write("gates.csv", "a\n1\n2\n");
    refuse("--patterns gates.csv", &["expected 2 columns", "or 3", "found 1"]);
    place.refuse("path data.csv --target y --lambda 0.1", &["--lambda"]);
    place.refuse("path data.csv --target y --points 0", &["--points"]);
    place.refuse("path data.csv --target y --ratio 2", &["between 0 and 1"]);
    place.refuse("path data.csv --target y --validation 1", &["0 to below 1"]);
    place.refuse("path data.csv --target y --validation 0.99", &["too few rows"]);
    place.refuse("fit data.csv", &["--target"]);
    place.refuse("train data.csv", &["train"]);
}

#[test]
fn outputs() {
    let place = place();
    let refuse = |words: &str, says: &[&str]| {
        place.refuse(&format!("fit data.csv --target y {words}"), says);
    };
    refuse("-o m.pt", &["m.pt", ".safetensors"]);
    refuse("-o m", &[".safetensors"]);
    refuse("--onnx m.pb", &[".onnx"]);
    refuse("--predictions p.txt", &[".csv or .npy"]);
    refuse("-o no/m.safetensors", &["\"no\" does not exist"]);
    refuse("--onnx no/m.onnx", &["does not exist"]);
    refuse("--predictions no/p.csv", &["does not exist"]);
    refuse("--predictions data.csv", &["named twice"]);
    refuse("--predictions ./data.csv", &["named twice"]);
    place.refuse("fit both.csv --target class --one-hot --predictions p.npy", &["write a .csv"]);
    place.refuse("path data.csv --target y -o no/p.csv", &["does not exist"]);
    place.refuse("path data.csv --target y -o p.json", &[".csv or .npy"]);
}

#[test]
fn models() {
    let place = place();
    place
        .expect(0, "fit data.csv --target y --lambda 0.1 --scope sampled -o m.safetensors --quiet");
    let bytes = place.read("m.safetensors");
    let refuse = |says: &[&str]| {
        place.refuse("predict bad.safetensors data.csv -o p.csv", says);
        place.refuse("certify bad.safetensors data.csv", says);
        place.refuse("export bad.safetensors -o bad.onnx", says);
    };
    for end in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        place.write("bad.safetensors", &bytes[..end]);
        refuse(&["bad.safetensors: not a readable model"]);
    }
    place.write("bad.safetensors", b"\x02\0\0\0\0\0\0\0{}");
    refuse(&["bad.safetensors: not a model of bidual"]);

    let good = bidual_io::model::Tensors::from_bytes(&bytes, "m").unwrap();
    let spoil = |change: &dyn Fn(&mut bidual_io::model::Tensors), says: &[&str]| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.save(&place.path("bad.safetensors")).unwrap();
        refuse(says);
    };
    for name in good.tensors.keys() {
        spoil(&|m| drop(m.tensors.remove(name)), &["bad.safetensors: ", name]);
        spoil(
            &|m| {
                let tensor = m.tensors.get_mut(name).unwrap();
                tensor.shape.push(1);
            },
            &["bad.safetensors: ", name],
        );
        spoil(&|m| m.tensors.get_mut(name).unwrap().values[0] = f64::NAN, &[name, "NaN"]);
    }
    for (key, text) in &good.metadata {
        // texts that every reader takes as they are
        if !["bidual_version", "target", "features"].contains(&key.as_str()) {
            spoil(&|m| drop(m.metadata.insert(key.clone(), "?".into())), &[key.as_str()]);
        }
        if !["bidual_version", "features"].contains(&key.as_str()) {
            assert!(!text.is_empty());
            spoil(&|m| drop(m.metadata.remove(key)), &[key.as_str()]);
        }
    }
    let weights = |m: &mut bidual_io::model::Tensors| {
        let tensor = m.tensors.get_mut("hidden_weights").unwrap();
        tensor.shape[0] -= 1;
        tensor.values.truncate(tensor.shape[0] * tensor.shape[1]);
    };
    spoil(&weights, &["hidden_biases"]);

    place.refuse("predict no.safetensors data.csv", &["no.safetensors: cannot be read"]);
    place.refuse("predict m.safetensors data.csv -o p.parquet", &[".csv or .npy"]);
    place.refuse("predict m.safetensors data.csv -o data.csv", &["named twice"]);
    place.refuse("export m.safetensors -o m.pt", &[".onnx or .json"]);
    let order = "the order is MODEL DATA";
    for verb in ["predict", "certify", "explain"] {
        let swapped = format!("{verb} data.csv m.safetensors");
        place.refuse(&swapped, &["data.csv: is a table, expected a model", order]);
        for model in ["m.safetensors", "m.onnx"] {
            let twice = format!("{verb} m.safetensors {model}");
            place.refuse(&twice, &[&format!("{model}: is a model, expected a table"), order]);
        }
    }
    place.refuse("explain data.csv", &["data.csv: is a table", order]);
    place.write("other.csv", "x0,z\n1,2\n3,4\n");
    place.refuse("predict m.safetensors other.csv", &["other.csv", "no column \"x1\""]);
    place.refuse("certify m.safetensors other.csv", &["no column \"y\""]);
    place.refuse("certify m.safetensors data.csv --target z", &["no column \"z\""]);
}

#[test]
fn problems() {
    let place = Place::new();
    let good = r#"{"family":"relu","data":{"X":[[1,0],[0,1],[-1,-2]],"y":[1,-1,1]},"settings":{"loss":"squared","beta":0.1}}"#;
    place.write("p.json", good);
    assert_eq!(place.json(0, "solve p.json")["scope"], "complete");
    let refuse = |from: &str, to: &str, says: &[&str]| {
        assert!(good.contains(from), "{from}");
        place.write("bad.json", good.replace(from, to));
        place.refuse("solve bad.json --json", says);
    };
    place.refuse("solve no.json", &["no.json: cannot be read"]);
    refuse(good, "", &["bad.json: not valid JSON"]);
    refuse(good, "[1]", &["expected a JSON object"]);
    refuse("}}", "}", &["not valid JSON"]);
    refuse("relu", "thr", &["family: \"thr\" is not supported yet"]);
    refuse("relu", "foo", &["family: \"foo\" is unknown"]);
    refuse("\"family\":\"relu\",", "", &["family: is missing"]);
    refuse("[0,1]", "[0]", &["data.X[1]: expected 2 numbers", "found 1"]);
    refuse("[0,1]", "[0,\"a\"]", &["data.X[1][1]: expected a number, found \"a\""]);
    refuse("[0,1]", "[0,1e999]", &["not valid JSON"]);
    refuse("[[1,0],[0,1],[-1,-2]]", "[]", &["data.X: expected at least one row"]);
    refuse("[1,-1,1]", "[1,-1]", &["data.y: expected 3 numbers", "found 2"]);
    refuse(",\"y\":[1,-1,1]", "", &["data.y: is missing"]);
    refuse("0.1", "-1", &["settings.beta: expected a positive number, found -1"]);
    refuse(",\"beta\":0.1", "", &["settings.beta: is missing"]);
    refuse("squared", "cubic", &["settings.loss: \"cubic\" is unknown"]);
    refuse("squared", "huber", &["settings.huber_delta: is missing"]);
    refuse("\"beta\"", "\"skip\":\"big\",\"beta\"", &["settings.skip: expected null"]);
    refuse("\"beta\"", "\"skip\":-1,\"beta\"", &["settings.skip: expected a positive number"]);
    refuse("\"beta\"", "\"slopes\":[1,0.2],\"beta\"", &["settings.slopes", "not supported yet"]);
    refuse("\"beta\"", "\"bias\":\"big\",\"beta\"", &["settings.bias: expected null"]);
    refuse("\"beta\"", "\"gated\":true,\"beta\"", &["settings.gated"]);
    refuse("\"y\"", "\"patches\":[[[1]]],\"y\"", &["data.patches", "not supported yet"]);
    refuse("relu", "gated", &["data.gate_patterns: is missing"]);
    place.write("bad.json", good.replace("squared", "logistic").replace("[1,-1,1]", "[1,0,1]"));
    place.refuse("solve bad.json", &["data.y[1]: expected a label 1 or -1, found 0"]);
    // two parallel samples that one network cannot fit
    let interpolation = good.replace("squared", "interp").replace("[0,1]", "[2,0]");
    place.write("bad.json", &interpolation);
    place.refuse("solve bad.json", &["no network fits the targets exactly"]);
    for (family, data, says) in [
        ("arr", "{}", "data.X: is missing"),
        ("oracle", r#"{"X":[[1,0],[0,1]],"nu":[1]}"#, "data.nu: expected 2 numbers"),
        ("path", r#"{"X":[[1,0],[0,1]],"y":[1,2],"betas":[]}"#, "data.betas: expected at least"),
        ("stat", r#"{"X":[[1,0],[0,1]],"y":[1,2],"W":[[1]],"alpha":[1]}"#, "data.W: expected"),
        ("counts", r#"{"items":[{"X":[[1,2]],"settings":{"h":3}}]}"#, "does not fit"),
        ("certificate", r#"{"items":[{"A":[[1,2]],"c":[1]}]}"#, "data.items[0].c: expected 2"),
    ] {
        let settings = r#"{"loss":"squared","beta":0.1}"#;
        let text = format!(r#"{{"family":"{family}","data":{data},"settings":{settings}}}"#);
        place.write("bad.json", text);
        place.refuse("solve bad.json", &[says]);
    }
    let gated = good.replace("relu", "gated");
    for (gates, says) in [
        (r#"["010","01"]"#, "data.gate_patterns[1]: expected 3 characters"),
        (r#"["012"]"#, "data.gate_patterns[0]: expected 3 characters"),
        ("[]", "data.gate_patterns: expected at least one"),
        ("3", "data.gate_patterns: expected a list"),
    ] {
        place
            .write("bad.json", gated.replace("\"y\"", &format!("\"gate_patterns\":{gates},\"y\"")));
        place.refuse("solve bad.json", &[says]);
    }
}
