//! `--choose`, and what `bidual path` says about widths and between its points.

mod common;

use common::{Place, columns, table, text, without};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn place() -> Place {
    let place = Place::new();
    place.write("y.csv", without(&table(14, &[1.0, 1.0], 3), "class"));
    place.write("more.csv", without(&table(40, &[1.0, 1.0], 4), "class"));
    place.write("class.csv", without(&table(40, &[1.0, 1.0], 5), "y"));
    place.write("more_class.csv", without(&table(40, &[1.0, 1.0], 6), "y"));
    place
}

#[test]
fn chosen_models_are_certified_and_say_how() {
    let place = place();
    for (target, options) in [
        ("y", "--lambda 0.01"),
        ("y", "--lambda 0.01 --patterns all --bias none"),
        ("y", "--lambda 0.02 --patterns 60"),
        ("y", "--lambda 0.02 --bias free"),
        ("class", "--lambda 0.02"),
    ] {
        let fit = format!("fit {target}.csv --target {target} {options}");
        let narrow = place.json(0, &fit);
        assert_eq!(narrow["choose"], serde_json::json!({"policy": "narrow"}), "{options}");
        let policies = ["least-width", "least-norm", "validation"];
        for policy in policies {
            let file = if target == "y" { "more.csv" } else { "more_class.csv" };
            let given = match policy {
                "validation" => format!("--validation {file}"),
                _ => String::new(),
            };
            let fitted =
                place.json(0, &format!("{fit} --choose {policy} {given} -o m.safetensors"));
            let at = format!("{policy} {options}");
            assert_eq!(fitted["choose"]["policy"], policy, "{at}");
            let (old, new) = (number(&narrow["objective"]), number(&fitted["objective"]));
            assert!(new <= old * (1.0 + 1e-9) && new >= number(&narrow["lower"]), "{at}");
            let certified = place.json(0, &format!("certify m.safetensors {target}.csv"));
            assert_eq!(certified["matches_stored"], true, "{at}");
            assert_eq!(certified["objective"], fitted["objective"], "{at}");
            let told = &fitted["choose"];
            assert!(number(&told["directions"]) >= number(&told["own_directions"]), "{at}");
            match policy {
                "least-width" => {
                    assert!(told["minimal"].is_boolean(), "{at}");
                    assert!(number(&fitted["neurons"]) <= number(&narrow["neurons"]), "{at}");
                }
                "validation" => {
                    let loss = &told["validation"];
                    assert!(number(&loss["loss"]) <= number(&loss["narrow_loss"]), "{at}");
                    assert_eq!(told["validation_file"], file, "{at}");
                }
                _ => assert!(number(&told["norm"]) <= number(&told["narrow_norm"]), "{at}"),
            }
            let said = place.expect(0, &format!("{fit} --choose {policy} {given}"));
            let line = said.lines().find(|l| l.starts_with("chosen")).unwrap();
            assert!(line.contains(policy) && line.contains("directions"), "{at}: {line}");
        }
        let said = place.expect(0, &fit);
        assert!(!said.contains("chosen"), "{said}");
    }
}

#[test]
fn the_model_file_keeps_the_choice() {
    let place = place();
    place.expect(
        0,
        "fit y.csv --target y --lambda 0.01 --choose least-norm -o m.safetensors --quiet",
    );
    let file = place.read("m.safetensors");
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let meta = &header["__metadata__"];
    assert_eq!(meta["choose"], "least-norm");
    let selection: Value = serde_json::from_str(meta["selection"].as_str().unwrap()).unwrap();
    assert_eq!(selection["policy"], "least-norm");
    // a damaged choice is refused
    let with = |from: &str, to: &str| {
        let text = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
        assert!(text.contains(from));
        let text = text.replacen(from, to, 1);
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.extend(&file[8 + length..]);
        bytes
    };
    place.write("bad.safetensors", with("\"choose\":\"least-norm\"", "\"chosen\":\"least-norm\""));
    place.refuse("certify bad.safetensors y.csv", &["\"choose\" and \"selection\""]);
    place.write("bad.safetensors", with("\"choose\":\"least-norm\"", "\"choose\":\"least-norn\""));
    place.refuse("certify bad.safetensors y.csv", &["\"choose\"", "write the model anew"]);
    place.write("bad.safetensors", with("own_directions", "own_directionz"));
    place.refuse("certify bad.safetensors y.csv", &["\"selection\"", "write the model anew"]);
}

#[test]
fn what_does_not_apply_is_refused() {
    let place = place();
    let fit = "fit y.csv --target y --lambda 0.1 -o m.safetensors";
    place.refuse(&format!("{fit} --choose narrowest"), &["possible values", "least-width"]);
    place.refuse(&format!("{fit} --choose validation"), &["add --validation FILE"]);
    place.refuse(&format!("{fit} --validation more.csv"), &["--choose validation", "drop one"]);
    let gated = "--activation gated --choose least-norm";
    place.refuse(&format!("{fit} {gated}"), &["is for ReLU networks"]);
    let listed = "--bias free --patterns 30 --choose least-norm";
    place.refuse(&format!("{fit} {listed}"), &["free hidden bias", "auto or global"]);
    let on = "--choose validation --validation";
    place.refuse(&format!("{fit} {on} none.csv"), &["--validation", "cannot be read"]);
    place.refuse(&format!("{fit} {on} class.csv"), &["--validation", "no column \"y\""]);
    place.write("same.safetensors", "");
    place.refuse(&format!("{fit} {on} same.safetensors"), &["--validation"]);
    place.refuse(
        "fit y.csv --target y --lambda 0.1 --predictions more.csv --choose validation --validation more.csv",
        &["more.csv", "named twice"],
    );
    place.refuse(
        "fit class.csv --target class --lambda 0.1 --choose validation --validation y.csv",
        &["--validation", "class"],
    );
    let path = "path y.csv --target y --points 3";
    place.refuse(&format!("{path} --at cv"), &["a positive fraction"]);
    place.refuse(&format!("{path} --at 0.1,-2"), &["a positive fraction"]);
    place.refuse(&format!("{path} --width --activation gated"), &["--width is for ReLU neurons"]);
    place.refuse(&format!("{path} --choose least-norm"), &["--choose"]);
}

#[test]
fn paths_bound_what_lies_between() {
    let place = place();
    let path = "path y.csv --target y --points 6 --ratio 0.01 --validation 0";
    let told = place.json(0, &format!("{path} --at 0.5,0.05,abs:0.01 --at 0.013"));
    let at = told["at"].as_array().unwrap();
    assert_eq!(at.len(), 4);
    for bound in at {
        let lambda = number(&bound["lambda"]);
        let fitted = place.json(0, &format!("fit y.csv --target y --lambda abs:{lambda:?}"));
        let (lower, upper) = (number(&bound["lower"]), number(&bound["upper"]));
        assert!(lower <= number(&fitted["upper"]) && number(&fitted["lower"]) <= upper);
        assert!(lower <= upper);
    }
    let said = place.expect(0, &format!("{path} --at 0.05"));
    let line = said.lines().last().unwrap();
    assert!(
        line.starts_with("at lambda")
            && line.contains("≤ optimum over all networks of any width ≤")
    );
    assert!(line.contains("without a fit"), "{line}");
    let said = place.expect(0, &format!("{path} --patterns 30 --at 0.05"));
    assert!(said.contains("activation patterns"), "{said}");
}

#[test]
fn paths_tell_the_least_width() {
    let place = place();
    let path = "path y.csv --target y --points 5 --ratio 0.01";
    let told = place.json(0, &format!("{path} --width -o path.csv"));
    for point in told["points"].as_array().unwrap() {
        assert!(number(&point["width"]) <= number(&point["neurons"]), "{point}");
        assert!(point["width_is_minimal"].is_boolean(), "{point}");
    }
    let written = columns(&place.read("path.csv"));
    let names: Vec<&str> = written.iter().map(|c| c[0].as_str()).collect();
    assert!(names.contains(&"width") && names.contains(&"width_is_minimal"), "{names:?}");
    let said = place.expect(0, &format!("{path} --width"));
    assert!(said.lines().next().unwrap().contains(" width"), "{said}");
    let told = place.json(0, path);
    assert!(told["points"][0].get("width").is_none() && told["at"].as_array().unwrap().is_empty());
    assert!(!text(&place.read("path.csv")).is_empty());
}
