//! `bidual explain` on the bundled data.

mod common;

use common::{Place, text};
use serde_json::Value;
use std::path::Path;

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data").join(name);
    path.canonicalize().unwrap().display().to_string()
}

fn numbers(list: &Value, key: &str) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|n| n[key].as_f64().unwrap()).collect()
}

/// The neurons without the ranges of their sizes.
fn without_ranges(told: &Value) -> Vec<Value> {
    let mut neurons = told["neurons"].as_array().unwrap().clone();
    neurons.iter_mut().for_each(|n| n["size_range"] = Value::Null);
    neurons
}

/// The table with these columns only.
fn columns(path: &str, keep: &[usize]) -> String {
    let csv = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        keep.iter().map(|k| cells[*k]).collect::<Vec<_>>().join(",") + "\n"
    };
    csv.lines().map(line).collect()
}

#[test]
fn neurons_add_up_to_the_model() {
    let place = Place::new();
    for (name, options) in [
        ("blood.csv", "--lambda 0.05 --patterns 50"),
        ("yacht.csv", "--lambda 0.05 --patterns 50 --activation gated"),
        ("yacht.csv", "--lambda 0.1 --patterns 50 --bias free"),
    ] {
        let csv = data(name);
        place.expect(0, &format!("fit {csv} --target target {options} -o m.safetensors --quiet"));
        let told = place.json(0, &format!("explain m.safetensors {csv}"));
        let exported = place.expect(0, "export m.safetensors -o m.json");
        assert_eq!(exported, "");
        let file: Value = serde_json::from_slice(&place.read("m.json")).unwrap();
        let neurons = told["neurons"].as_array().unwrap();
        assert_eq!(neurons.len(), file["output_weights"].as_array().unwrap().len(), "{name}");
        let deviations = numbers(&told["neurons"], "deviation");
        assert!(deviations.windows(2).all(|pair| pair[0] >= pair[1]), "{name}");
        let shares: f64 = numbers(&told["neurons"], "contribution_share").iter().sum();
        assert!((shares - 1.0).abs() < 1e-9, "{name}: {shares}");
        for neuron in neurons {
            let squares: f64 =
                numbers(&neuron["direction"], "standardised").iter().map(|s| s * s).sum();
            assert!((squares - 1.0).abs() < 1e-9, "{name}: {neuron}");
        }
        // the JSON export of the model says the same, but for other networks
        let from_json = place.json(0, &format!("explain m.json {csv}"));
        assert_eq!(without_ranges(&from_json), without_ranges(&told), "{name}");
        let gated = options.contains("gated");
        let free = options.contains("free");
        assert_eq!(told["unique"].is_boolean(), !gated && !free, "{name}");
        assert_eq!(told["other_networks"].is_null(), gated, "{name}");
        assert!(from_json["unique"].is_null());
        let said = place.expect(0, &format!("explain m.safetensors {csv}"));
        assert_eq!(said.lines().filter(|l| l.contains("of the samples")).count(), neurons.len());
        assert!(said.contains("active where"), "{said}");
        let said = place.expect(0, "explain m.safetensors");
        assert!(!said.contains("of the samples"), "{said}");
    }
}

#[test]
fn pages_draw_one_and_two_features() {
    let place = Place::new();
    place.write("one.csv", columns(&data("yacht.csv"), &[5, 6]));
    place.write("two.csv", columns(&data("blood.csv"), &[0, 3, 4]));
    for (name, points) in [("one", 308), ("two", 748)] {
        let fit = format!("fit {name}.csv --target target --lambda 0.05 --patterns 60");
        place.expect(0, &format!("{fit} -o m.safetensors --quiet"));
        place.expect(0, &format!("explain m.safetensors {name}.csv --html m.html"));
        let page = text(&place.read("m.html"));
        assert_eq!(page.matches("<circle").count(), points);
        assert!(page.contains("prefers-color-scheme:dark") && page.contains("</html>"));
        place.expect(0, "explain m.safetensors --html n.html");
        assert!(text(&place.read("n.html")).contains("<svg"));
    }
    // new data without the target, with other columns in between
    place.write("inputs.csv", "f4,extra,f1\n0.5,1,0.25\n-1,2,0.5\n");
    let said = place.expect(0, "explain m.safetensors inputs.csv");
    assert!(said.contains("2 samples"), "{said}");
}

#[test]
fn bad_input_is_refused() {
    let place = Place::new();
    let csv = data("yacht.csv");
    let fit = format!("fit {csv} --target target --lambda 0.5 --patterns 20");
    place.expect(0, &format!("{fit} -o m.safetensors --quiet"));
    place.refuse("explain m.safetensors --html m.txt", &["expected a .html file"]);
    place.refuse("explain m.safetensors --html no/m.html", &["does not exist"]);
    place.refuse("explain none.safetensors", &["cannot be read"]);
    place.write("a.csv", "f1,target\n1,2\n");
    place.refuse("explain m.safetensors a.csv", &["there is no column \"f2\""]);
    place.write("m.json", "{\"target\": 3}");
    place.refuse("explain m.json", &["there is no \"encoding\"", "export the model anew"]);
    place.write("m.json", "[");
    place.refuse("explain m.json", &["not valid JSON"]);
}

#[test]
fn other_networks_are_told() {
    let place = Place::new();
    // a function of one feature and its mirror image: sizes can be exchanged
    let rows: String = (-6..=6).map(|i: i32| format!("{i},{}\n", i.abs() + i % 3)).collect();
    place.write("v.csv", format!("x,y\n{rows}"));
    place.write("w.csv", format!("x,y\n{rows}7,1\n"));
    place.write("inputs.csv", "x\n1\n2\n");
    place.expect(0, "fit v.csv --target y --lambda 0.02 -o m.safetensors --quiet");
    let told = place.json(0, "explain m.safetensors v.csv");
    let unique = told["unique"].as_bool().unwrap();
    let statement = told["other_networks"].as_str().unwrap();
    let start = if unique {
        "unique on the directions examined: no other network"
    } else {
        "not unique: other networks"
    };
    assert!(statement.starts_with(start), "{statement}");
    assert!(statement.contains("the same outputs on these samples and the same weight decay"));
    for neuron in told["neurons"].as_array().unwrap() {
        let size = neuron["size"].as_f64().unwrap();
        let range = neuron["size_range"].as_array().unwrap();
        let (least, most) = (range[0].as_f64().unwrap(), range[1].as_f64().unwrap());
        assert!(least <= size * (1.0 + 1e-9) && size <= most * (1.0 + 1e-9), "{neuron}");
        assert!(!unique || most - least <= 1e-5 * most, "{neuron}");
    }
    let said = place.expect(0, "explain m.safetensors v.csv --html m.html");
    assert!(said.contains(&format!("others       {statement}")), "{said}");
    assert!(said.contains("size range"), "{said}");
    assert!(text(&place.read("m.html")).contains("<b>others</b>"));
    // without data nothing is said; on other data why not
    let told = place.json(0, "explain m.safetensors");
    assert!(told["other_networks"].is_null());
    for (data, says) in [("w.csv", "give the data of the fit"), ("inputs.csv", "no column \"y\"")] {
        let said = place.expect(0, &format!("explain m.safetensors {data}"));
        let line = said.lines().find(|l| l.starts_with("others")).unwrap();
        assert!(line.contains("not compared: ") && line.contains(says), "{line}");
        assert!(!said.contains("size range"), "{said}");
    }
}
