//! `bidual certify` on networks of other programs.

mod common;

use common::{Place, table, without};
use std::path::Path;

fn fixture(place: &Place, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bidual-io/tests/fixtures");
    place.write(name, std::fs::read(folder.join(name)).unwrap());
}

/// Three inputs with either target.
fn place() -> Place {
    let place = Place::new();
    let csv = table(30, &[1.0, 2.0, 0.5], 3);
    place.write("y.csv", without(&csv, "class"));
    place.write("class.csv", without(&csv, "y"));
    for name in [
        "torch_scaled.onnx",
        "torch_sigmoid.onnx",
        "torch_deep.onnx",
        "torch_fc.safetensors",
        "torch_no_bias.safetensors",
        "sklearn.npz",
        "one_feature.npz",
    ] {
        fixture(&place, name);
    }
    place
}

#[test]
fn networks_of_other_programs_are_audited() {
    let place = place();
    for (name, format, scaled) in [
        ("torch_scaled.onnx", "ONNX", "as the network scales them"),
        ("torch_fc.safetensors", "safetensors", "standardised"),
        ("sklearn.npz", "NPZ", "standardised"),
    ] {
        let words = format!("certify {name} y.csv --target y --lambda abs:0.01");
        let said = place.expect(1, &words);
        assert!(said.contains(&format!("read         {format}")), "{said}");
        assert!(said.contains(scaled) && said.contains("squared (the target"), "{said}");
        for part in [
            "proved       no network of any width has an objective below",
            "stationary   no:",
            "verdict      not optimal: the best network found is",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        let json = place.json(1, &words);
        assert_eq!((&json["neurons"], &json["lambda"]), (&5.into(), &0.01.into()));
        assert_eq!((&json["certified"], &json["stationary"]), (&false.into(), &false.into()));
        let number = |key: &str| json[key].as_f64().unwrap();
        let best = json["best"]["objective"].as_f64().unwrap();
        assert!(number("lower") <= best && best < number("objective_after_free_improvements"));
        assert!(number("objective_after_free_improvements") <= number("objective"));
        assert!(json["best"]["relative_gap"].as_f64().unwrap() <= 1e-4, "{json:#}");
        let first = &json["add_first"];
        assert_eq!(first["direction"].as_array().map(Vec::len), Some(3), "{json:#}");
        assert!(first["price_over_lambda"].as_f64().unwrap() > 1.0);
    }
    let words = "certify torch_sigmoid.onnx class.csv --target class --lambda 0.1 --time-limit 20";
    let json = place.json(1, words);
    assert_eq!((&json["loss"], &json["logit"]), (&"logistic".into(), &true.into()));
    assert!((json["lambda_fraction"].as_f64().unwrap() - 0.1).abs() < 1e-12);
    let words = "certify torch_fc.safetensors y.csv --target y --lambda 0.2 --bias free --names";
    let names = "W1=fc1.weight,b1=fc1.bias,W2=fc2.weight,b2=fc2.bias";
    assert_eq!(place.json(1, &format!("{words} {names}"))["bias"], "free");
    let words = "certify torch_no_bias.safetensors y.csv --target y --lambda 0.2";
    let json = place.json(1, words);
    assert_eq!((&json["bias"], &json["output_bias"]), (&"none".into(), &false.into()));
}

/// The better network is a model like any other.
#[test]
fn improved_networks_are_models() {
    let place = place();
    let words =
        "certify torch_scaled.onnx y.csv --target y --lambda abs:0.01 --improve m.safetensors";
    let json = place.json(1, words);
    assert_eq!(json["files"]["model"], "m.safetensors");
    let best = json["best"]["objective"].as_f64().unwrap();
    let again = place.json(0, "certify m.safetensors y.csv");
    assert_eq!(again["objective"].as_f64(), Some(best));
    assert!(again["lower"].as_f64().unwrap() <= best);
    let predicted = place.expect(0, "predict m.safetensors y.csv");
    assert_eq!(predicted.lines().count(), 31);
    place.expect(0, "explain m.safetensors y.csv");
    place.expect(0, "export m.safetensors -o m.onnx");
}

/// Networks that bidual trained come back as optimal, with their λ read off them.
#[test]
fn optimal_networks_are_recognised() {
    let place = place();
    for (csv, target, bias) in
        [("y.csv", "y", "penalised"), ("class.csv", "class", "free"), ("y.csv", "y", "none")]
    {
        let fit = format!("fit {csv} --target {target} --lambda 0.1 --bias {bias} --onnx m.onnx");
        let lambda = place.json(0, &fit)["lambda"].as_f64().unwrap();
        let words = format!("certify m.onnx {csv} --target {target} --tolerance 1e-5");
        let words = if bias == "free" { words + " --bias free" } else { words };
        let said = place.expect(0, &words);
        assert!(said.contains("verdict      globally optimal, to 1.0e-5"), "{said}");
        assert!(said.contains("stationary   yes"), "{said}");
        let json = place.json(0, &words);
        assert_eq!((&json["bias"], &json["lambda_estimated"]), (&bias.into(), &true.into()));
        assert!((json["lambda"].as_f64().unwrap() / lambda - 1.0).abs() < 1e-4, "{json:#}");
        assert_eq!(json["certified"], true);
        // optimal to a tolerance: nothing to add that is worth more than that
        let price = json["add_first"]["price_over_lambda"].as_f64().unwrap_or(1.0);
        assert!(price < 1.0 + 1e-3, "{json:#}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = place();
    let refuse = |words: &str, says: &str| place.refuse(&format!("certify {words}"), &[says]);
    refuse("torch_scaled.onnx y.csv", "add --target COL");
    refuse("torch_deep.onnx y.csv --target y", "is a ReLU after the second layer");
    refuse("one_feature.npz y.csv --target y", "the network has 1 inputs, but the table has 3");
    refuse("torch_sigmoid.onnx y.csv --target y", "use --loss logistic");
    refuse("torch_fc.safetensors y.csv --target y --bias none", "contradicts the network");
    refuse("torch_fc.safetensors y.csv --target y --lambda cv", "--lambda cv does not apply");
    refuse("torch_fc.safetensors y.csv --target y --names W1=a,W2=b", "there is no array \"a\"");
    refuse("torch_fc.safetensors y.csv --target y --names W1=a", "expected W1=NAME");
    refuse("torch_fc.safetensors y.csv --target y --improve m.onnx", "a .safetensors file");
    refuse("torch_fc.safetensors y.csv --target y --scope sampled", "use auto or global");
    refuse("torch_fc.safetensors y.csv --target y --tolerance 2", "a number between 0 and 1");
    refuse(
        "torch_fc.safetensors y.csv --target y --lambda abs:1 --improve none/m.safetensors",
        "none",
    );
    place.expect(0, "fit y.csv --target y --lambda 0.5 -o m.safetensors --quiet");
    refuse("m.safetensors y.csv --time-limit 5", "--time-limit applies to networks of other");
    refuse("m.safetensors y.csv --loss squared", "--loss applies to networks of other programs");
}
