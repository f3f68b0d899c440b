//! `bidual solve` on every reference optimum, one line a case. `BIDUAL_GOLDEN`
//! names another folder of cases.

mod common;

use common::{Place, golden_folder, text};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn main() {
    // `cargo test -- --list` asks for names; there is one test here
    if std::env::args().any(|a| a == "--list") {
        println!("golden: test");
        return;
    }
    let folder = golden_folder();
    let mut cases = vec![];
    collect(&folder, &mut cases);
    cases.sort();
    assert!(!cases.is_empty(), "{}: no .json cases; set BIDUAL_GOLDEN", folder.display());
    let place = Place::new();
    let (mut ok, mut later, mut off) = (0, 0, 0);
    for path in &cases {
        let name = path.strip_prefix(&folder).unwrap_or(path).display();
        match check(&place, path) {
            Ok(Verdict::Right(told)) => {
                ok += 1;
                println!("ok                 {name}  {told}");
            }
            Ok(Verdict::Later(family)) => {
                later += 1;
                println!("not supported yet  {name}  ({family})");
            }
            Err(reason) => {
                off += 1;
                println!("OFF                {name}  {reason}");
            }
        }
    }
    println!("golden: {ok} ok, {later} not supported yet, {off} off");
    if off > 0 || ok == 0 {
        std::process::exit(1);
    }
}

enum Verdict {
    Right(String),
    Later(String),
}

fn collect(folder: &Path, cases: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, cases);
        } else if path.extension().is_some_and(|e| e == "json") {
            cases.push(path);
        }
    }
}

/// The cases that must be solved; for any other one the answer must be "not supported yet".
fn supported(case: &Value) -> bool {
    let (data, settings) = (&case["data"], &case["settings"]);
    match case["family"].as_str() {
        Some("relu") => {
            let smooth = ["squared", "huber", "logistic", "sqhinge"];
            settings["loss"].as_str().is_some_and(|loss| smooth.contains(&loss))
                && settings["skip"].is_null()
        }
        Some("gated") => !data["gate_patterns"].is_null(),
        Some("relu_admm") => true,
        _ => false,
    }
}

fn check(place: &Place, path: &Path) -> Result<Verdict, String> {
    let content = std::fs::read(path).map_err(|e| e.to_string())?;
    let case: Value = serde_json::from_slice(&content).map_err(|e| e.to_string())?;
    let output = place
        .command("solve --json")
        .arg(path.canonicalize().map_err(|e| e.to_string())?)
        .output()
        .map_err(|e| e.to_string())?;
    let said = text(&output.stderr);
    if !supported(&case) {
        let clear = output.status.code() == Some(2)
            && said.lines().count() == 1
            && said.contains("not supported yet");
        return match clear {
            true => Ok(Verdict::Later(case["family"].as_str().unwrap_or("?").to_owned())),
            false => Err(format!("expected one line `not supported yet`, found {said:?}")),
        };
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("no JSON ({e}): {}", said.trim_end()))?;
    compare(&case, &answer)
}

fn compare(case: &Value, answer: &Value) -> Result<Verdict, String> {
    let value = case["value"].as_f64().ok_or("the case has no value")?;
    let tolerance = match (case["abs_tol"].as_f64(), case["rel_tol"].as_f64()) {
        (Some(absolute), _) => absolute,
        (None, relative) => relative.unwrap_or(1e-6) * value.abs().max(1e-12),
    };
    let number = |key: &str| answer[key].as_f64().ok_or(format!("{key} is {}", answer[key]));
    let (found, lower, upper) = (number("value")?, number("lower")?, number("upper")?);
    if (found - value).abs() > tolerance {
        return Err(format!("value {found}, expected {value} ± {tolerance:e}"));
    }
    if lower > value + tolerance || upper < value - tolerance || lower > upper {
        return Err(format!("{lower} ≤ {value} ≤ {upper} does not hold"));
    }
    let loss = case["settings"]["loss"].as_str().unwrap_or("squared");
    let mut compared = 0;
    for (name, expected) in case["expected"].as_object().into_iter().flatten() {
        let found = &answer["facts"][name];
        let fits = match name.as_str() {
            "n_patterns_used" => found == expected,
            "dual_value" => near(found, expected, tolerance),
            "kappa_at_dual" | "beta_max" => {
                near(found, expected, 1e-5 * expected.as_f64().unwrap_or(0.0).abs())
            }
            // outputs are unique only where the loss is strictly convex, ν always
            "outputs_z" if !["squared", "logistic"].contains(&loss) => continue,
            "outputs_z" | "dual_nu" => all_near(found, expected, 1e-4),
            _ => continue,
        };
        if !fits {
            return Err(format!("{name} is {found}, expected {expected}"));
        }
        compared += 1;
    }
    let gap = (upper - lower) / upper.abs();
    Ok(Verdict::Right(format!(
        "off by {:.0e}, gap {gap:.0e}, {compared} facts",
        (found - value).abs()
    )))
}

fn near(found: &Value, expected: &Value, tolerance: f64) -> bool {
    matches!((found.as_f64(), expected.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= tolerance)
}

fn all_near(found: &Value, expected: &Value, tolerance: f64) -> bool {
    match (found.as_array(), expected.as_array()) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b, tolerance))
        }
        _ => false,
    }
}
