//! The real binary on small tables.

mod common;

use common::{Place, columns, table, text, without};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

/// Each kind of model that a file must hold.
const KINDS: [(&str, &str); 9] = [
    ("y", "--lambda cv --patterns 50"),
    ("y", "--lambda 0.05"),
    ("y", "--lambda abs:2 --bias none --no-output-bias --no-standardize"),
    ("y", "--lambda 0.1 --bias free --patterns 60"),
    ("y", "--lambda 0.05 --loss huber:0.4 --active-share 0.3"),
    ("y", "--lambda 0.05 --activation gated --weights w"),
    ("y", "--lambda 0.05 --patterns gates.csv"),
    ("class", "--lambda 0.1 --patterns all --bias none"),
    ("class", "--lambda 0.1 --loss squared-hinge --activation gated --bias none"),
];

/// A place with `y.csv` and `class.csv`, the same rows with either target, and gates.
fn place() -> Place {
    let place = Place::new();
    let csv = table(40, &[1e-3, 1.0, 1e3], 2);
    let quantity = without(&csv, "class");
    let weights = |(i, line): (usize, &str)| match i {
        0 => format!("{line},w\n"),
        _ => format!("{line},{}\n", 1 + i % 3),
    };
    place.write("y.csv", quantity.lines().enumerate().map(weights).collect::<String>());
    place.write("class.csv", without(&csv, "y"));
    place.write("gates.csv", "a,b,c,w,t\n1000,0,0,0,0\n0,1,0.001,0,0.1\n-1000,0.5,0,0,0.2\n");
    place
}

#[test]
fn certify_and_predict_reproduce_the_fit() {
    let place = place();
    for (target, options) in KINDS {
        let data = format!("{target}.csv");
        let fit = format!(
            "fit {data} --target {target} {options} -o m.safetensors --onnx m.onnx --predictions p.csv"
        );
        let fitted = place.json(0, &fit);
        assert!(number(&fitted["relative_gap"]) <= 1e-6, "{options}");
        assert_eq!(fitted["status"], "certified", "{options}");

        let certified = place.json(0, &format!("certify m.safetensors {data}"));
        for key in ["objective", "lower", "upper"] {
            let (a, b) = (number(&fitted[key]), number(&certified[key]));
            assert!(close(a, b, 1e-9), "{options}: {key} {a} {b}");
        }
        assert_eq!(certified["matches_stored"], true, "{options}");
        assert_eq!(fitted["score"], certified["score"], "{options}");

        let printed = place.expect(0, &format!("predict m.safetensors {data}"));
        assert_eq!(printed.as_bytes(), place.read("p.csv"), "{options}");
        place.write("inputs.csv", without(&text(&place.read(&data)), target));
        place.expect(0, "predict m.safetensors inputs.csv -o q.csv");
        assert_eq!(place.read("q.csv"), place.read("p.csv"), "{options}");

        place.expect(0, "export m.safetensors -o e.onnx");
        assert_eq!(place.read("e.onnx"), place.read("m.onnx"), "{options}");
        place.expect(0, "export m.safetensors -o e.json");
        let exported: Value = serde_json::from_slice(&place.read("e.json")).unwrap();
        assert_eq!(exported["output_weights"].as_array().unwrap().len(), fitted["neurons"]);
    }
}

#[test]
fn json_has_the_promised_keys() {
    let place = place();
    let fitted = place.json(0, "fit y.csv --target y --folds 3 -o m.safetensors --patterns 30");
    for key in [
        "objective",
        "lower",
        "upper",
        "relative_gap",
        "status",
        "lambda",
        "lambda_max",
        "lambda_fraction",
        "neurons",
        "samples",
        "features",
        "loss",
        "activation",
        "bias",
        "seconds",
        "iterations",
        "cross_validation",
        "version",
    ] {
        assert!(!fitted[key].is_null(), "{key} is missing in {fitted}");
    }
    assert_eq!(fitted["scope"]["kind"], "sampled");
    assert!(number(&fitted["scope"]["patterns"]) <= 30.0);
    assert_eq!(fitted["samples"], 40);
    assert_eq!(fitted["features"], 4);
    assert_eq!(fitted["loss"], "squared");
    assert_eq!(fitted["cross_validation"]["folds"], 3);
    assert!(number(&fitted["score"]["rmse"]) > 0.0);
    assert_eq!(fitted["files"]["model"], "m.safetensors");
    assert!(number(&fitted["lower"]) <= number(&fitted["upper"]));
    let fitted = place.json(0, "fit class.csv --target class --lambda 0.2 --patterns all");
    assert_eq!(fitted["scope"]["kind"], "complete");
    assert_eq!(fitted["loss"], "logistic");
    assert_eq!(fitted["classes"], serde_json::json!(["no", "yes"]));
    assert!(number(&fitted["score"]["accuracy"]) > 0.5);
}

#[test]
fn text_says_what_was_proved_and_quiet_says_nothing() {
    let place = place();
    let fit = "fit class.csv --target class --lambda 0.1";
    let said = place.expect(0, fit);
    for part in [
        "40 samples",
        "logistic (the target has two classes)",
        "no network of any width has an objective below",
        "certified:",
        "accuracy",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let said = place.expect(0, &format!("{fit} --activation gated"));
    assert!(said.contains("no gated network with these"), "{said}");
    assert_eq!(place.expect(0, &format!("{fit} --quiet")), "");
}

/// What is right, but seldom meant.
#[test]
fn text_notes_what_was_hardly_meant() {
    let place = place();
    let note = |words: &str| {
        let said = place.expect(0, words);
        said.lines().find_map(|l| l.strip_prefix("note         ").map(str::to_owned))
    };
    let fit = "fit class.csv --target class --scope sampled --lambda";
    assert_eq!(note(&format!("{fit} 0.9")), None);
    for (options, says) in [("", "network is constant, 0.1"), ("--no-output-bias", "is zero")] {
        for lambda in ["1", "1.5"] {
            let said = note(&format!("{fit} {lambda} {options}")).unwrap();
            assert!(said.starts_with("λ is at or above λ_max"), "{said}");
            assert!(said.contains(says) && said.contains("take a smaller one"), "{said}");
        }
    }
    place.write("bare.csv", "0.5,1.5\n3,4\n5,7\n6,9\n8,3\n");
    let said = note("fit bare.csv --target 1.5 --lambda 0.1 --scope sampled").unwrap();
    assert!(said.contains("look like data") && said.contains("put a header line"), "{said}");
}

/// The worst bug of other programs: weights that only fit standardised inputs.
#[test]
fn column_scales_do_not_matter() {
    let place = Place::new();
    place.write("even.csv", without(&table(60, &[1.0, 1.0, 1.0], 3), "class"));
    place.write("uneven.csv", without(&table(60, &[1e-3, 1.0, 1e3], 3), "class"));
    for activation in ["relu", "gated"] {
        let fit = |data: &str| {
            let words = format!(
                "fit {data}.csv --target y --lambda 0.02 --tolerance 1e-7 --activation {activation} -o {data}.safetensors --predictions {data}.p.csv"
            );
            place.json(0, &words)
        };
        let (even, uneven) = (fit("even"), fit("uneven"));
        for key in ["objective", "lower", "lambda_max"] {
            let (a, b) = (number(&even[key]), number(&uneven[key]));
            assert!(close(a, b, 1e-6), "{activation}: {key} {a} {b}");
        }
        let predictions = |data: &str| -> Vec<f64> {
            let column = columns(&place.read(&format!("{data}.p.csv"))).swap_remove(0);
            column[1..].iter().map(|cell| cell.parse().unwrap()).collect()
        };
        let pairs = predictions("even").into_iter().zip(predictions("uneven"));
        for (a, b) in pairs {
            assert!((a - b).abs() <= 1e-3, "{activation}: {a} {b}");
        }
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let place = Place::new();
    place.write("data.csv", table(80, &[1.0, 10.0, 0.1], 4));
    for options in [
        "--target y --one-hot --patterns 100",
        "--target y --one-hot --lambda 0.05 --activation gated",
    ] {
        for threads in [1, 2] {
            place.expect(
                0,
                &format!(
                    "fit data.csv {options} --threads {threads} -o m{threads}.safetensors --quiet"
                ),
            );
        }
        assert!(place.read("m1.safetensors") == place.read("m2.safetensors"), "{options}");
    }
}

#[test]
fn limits_stop_early_with_the_true_gap() {
    let place = place();
    for (limit, status) in
        [("--max-iterations 1", "iteration_limit"), ("--time-limit 0.000001s", "time_limit")]
    {
        let words = format!(
            "fit y.csv --target y --lambda 0.001 --activation gated {limit} -o m.safetensors"
        );
        let fitted = place.json(1, &words);
        assert_eq!(fitted["status"], status);
        let certified = place.json(1, "certify m.safetensors y.csv");
        assert_eq!(certified["matches_stored"], true);
        assert_eq!(certified["certified"], false);
    }
}

#[test]
fn certify_tells_other_data_apart() {
    let place = place();
    place.expect(0, "fit class.csv --target class --lambda 0.1 -o m.safetensors --quiet");
    place.write("other.csv", without(&table(40, &[1e-3, 1.0, 1e3], 9), "y"));
    let output = place.run("certify m.safetensors other.csv --json");
    assert_eq!(output.status.code(), Some(1));
    let certified: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(certified["matches_stored"], false);
    assert!(number(&certified["lower"]) <= number(&certified["upper"]));
}

#[test]
fn path_is_a_table() {
    let place = place();
    let path = place.json(0, "path y.csv --target y --points 4 --ratio 0.01 -o path.csv");
    let points = path["points"].as_array().unwrap();
    assert_eq!(points.len(), 4);
    assert_eq!(path["validation_samples"], 8);
    assert!(close(number(&points[3]["lambda_fraction"]), 0.01, 1e-12));
    assert!(points.iter().all(|p| p["validation_rmse"].is_number() && p["status"] == "certified"));
    let falls = |p: &[Value]| number(&p[1]["objective"]) <= number(&p[0]["objective"]) + 1e-9;
    assert!(points.windows(2).all(falls));
    let written = columns(&place.read("path.csv"));
    assert_eq!(written.len(), 8);
    assert_eq!(written[0].len(), 5);
    let said = place.expect(0, "path class.csv --target class --points 3 --validation 0");
    assert_eq!(said.lines().count(), 4);
    assert!(!said.contains("validation"));
    let said = place.expect(0, "path class.csv --target class --points 3");
    assert!(said.contains("validation_accuracy"), "{said}");
}

#[test]
fn help_has_an_example_for_each_verb() {
    let place = Place::new();
    for verb in ["fit", "predict", "certify", "path", "solve", "explain", "export", "completions"] {
        let help = place.expect(0, &format!("{verb} --help"));
        assert!(help.contains(&format!("Example:\n  bidual {verb}")), "{help}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(place.expect(0, &format!("completions {shell}")).contains("bidual"));
    }
    assert!(place.expect(0, "--version").starts_with("bidual "));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    /// Ctrl-C during a long fit: exit code 1 and a valid model with its true gap.
    #[test]
    fn ctrl_c_keeps_the_best_network() {
        let place = Place::new();
        place.write("data.csv", without(&table(300, &[1.0; 8], 5), "class"));
        for options in [
            "--lambda 1e-3 --activation gated --tolerance 1e-14 --max-iterations 1000000000",
            "--lambda cv --folds 10 --patterns 400 --tolerance 1e-9",
        ] {
            let words = format!("fit data.csv --target y {options} -o m.safetensors --json");
            let mut child = place.command(&words).stdout(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_secs(1));
            assert!(child.try_wait().unwrap().is_none(), "too short to interrupt: {options}");
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
            let asked = Instant::now();
            let output = child.wait_with_output().unwrap();
            assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
            assert_eq!(output.status.code(), Some(1), "{options}");
            let fitted: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(fitted["status"], "interrupted", "{options}");
            let certified = place.json(1, "certify m.safetensors data.csv");
            assert_eq!(certified["matches_stored"], true, "{options}");
            let pair = |key: &str| (number(&fitted[key]), number(&certified[key]));
            let (stored, now) = pair("objective");
            assert!(close(stored, now, 1e-9), "{options}: objective {stored} {now}");
            // the file holds what had been proved by then; with time one can prove more
            let (stored, now) = pair("lower");
            assert!(now >= stored - 1e-9 * stored.abs(), "{options}: lower {stored} {now}");
            let (stored, now) = pair("relative_gap");
            assert!(now <= stored + 1e-9, "{options}: relative gap {stored} {now}");
        }
    }

    /// `bidual ... | head` is no reason to panic.
    #[test]
    fn closed_pipes_are_no_error() {
        let place = place();
        place.expect(0, "fit y.csv --target y --lambda 0.1 -o m.safetensors --quiet");
        for words in [
            "predict m.safetensors y.csv",
            "completions zsh",
            "--help",
            "certify m.safetensors y.csv",
        ] {
            let mut child =
                place.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            drop(child.stdout.take());
            let output = child.wait_with_output().unwrap();
            assert_eq!(text(&output.stderr), "", "{words}");
            assert_eq!(output.status.code(), Some(0), "{words}");
        }
    }
}
