//! The ONNX file against `bidual predict`, on raw inputs whose columns differ by
//! six orders of magnitude: a network that only fits scaled inputs would fail here.
//! Needs BIDUAL_PYTHON, a Python interpreter with onnx, onnxruntime and numpy.

mod common;

use common::{Place, table, text, without};
use std::path::Path;
use std::process::Command;

const SCALES: [f64; 5] = [1e-3, 1e-1, 1.0, 30.0, 1e3];

#[test]
fn onnxruntime_agrees_with_predict_on_raw_inputs() {
    let Some(python) = std::env::var_os("BIDUAL_PYTHON") else {
        println!("skipped: BIDUAL_PYTHON names no interpreter with onnx and onnxruntime");
        return;
    };
    let place = Place::new();
    let csv = table(120, &SCALES, 11);
    place.write("y.csv", without(&csv, "class"));
    place.write("class.csv", without(&csv, "y"));
    // rows that the fit has not seen
    place.write("new.csv", without(&without(&table(200, &SCALES, 12), "y"), "class"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_agrees.py");
    for (target, options) in [
        ("y", "--activation relu"),
        ("y", "--activation relu --bias none --no-output-bias --no-standardize"),
        ("y", "--activation gated"),
        ("y", "--activation relu --loss huber:0.3 --bias free"),
        ("class", "--activation relu"),
        ("class", "--activation gated"),
        ("class", "--activation gated --loss squared-hinge --bias none"),
    ] {
        let fit =
            format!("fit {target}.csv --target {target} --lambda 0.02 --tolerance 1e-3 {options}");
        place.expect(0, &format!("{fit} -o m.safetensors --onnx m.onnx --quiet"));
        for data in [format!("{target}.csv"), "new.csv".into()] {
            place.expect(0, &format!("predict m.safetensors {data} -o p.csv"));
            let run = Command::new(&python)
                .arg(&script)
                .args([place.path("m.onnx"), place.path(&data), place.path("p.csv")])
                .args((target == "class").then_some("yes"))
                .output()
                .unwrap();
            let (out, err) = (text(&run.stdout), text(&run.stderr));
            assert!(run.status.success(), "{target} {options} on {data}\n{out}\n{err}");
            println!("{target} {options} on {data}: {}", out.trim_end());
        }
    }
}
