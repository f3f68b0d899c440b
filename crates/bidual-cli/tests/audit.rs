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
        "sklearn.npz",
        "one_feature.npz",
    ] {
        fixture(&place, name);
    }
    place
}

#[test]
fn networks_of_other_programs_are_read() {
    let place = place();
    for (name, format, producer) in [
        ("torch_scaled.onnx", "ONNX", "as the network scales them"),
        ("torch_fc.safetensors", "safetensors", "standardised"),
        ("sklearn.npz", "NPZ", "standardised"),
    ] {
        let words = format!("certify {name} y.csv --target y --lambda abs:0.01");
        let said = place.expect(1, &words);
        assert!(said.contains(&format!("read         {format}")), "{said}");
        assert!(said.contains(producer) && said.contains("squared (the target"), "{said}");
        let json = place.json(1, &words);
        assert_eq!(json["neurons"], 5);
        assert_eq!(json["lambda"], 0.01);
        assert!(json["weight_decay"].as_f64().unwrap() > 0.0);
    }
    let json = place.json(1, "certify torch_sigmoid.onnx class.csv --target class");
    assert_eq!((&json["loss"], &json["logit"]), (&"logistic".into(), &true.into()));
    let words = "certify torch_fc.safetensors y.csv --target y --bias free --names";
    let names = "W1=fc1.weight,b1=fc1.bias,W2=fc2.weight,b2=fc2.bias";
    assert_eq!(place.json(1, &format!("{words} {names}"))["bias"], "free");
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
    place.expect(0, "fit y.csv --target y --lambda 0.5 -o m.safetensors --quiet");
    refuse("m.safetensors y.csv --loss squared", "--loss applies to networks of other programs");
}
