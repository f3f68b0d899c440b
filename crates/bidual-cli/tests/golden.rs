//! `bidual solve` on every reference optimum, one line a case. `BIDUAL_GOLDEN`
//! names another folder of cases.

mod common;

use common::{Place, golden_folder, text};
use serde_json::{Value, json};
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
        Some("relu") => settings["slopes"].is_null() || settings["slopes"] == json!([1.0, 0.0]),
        Some("gated") => !data["gate_patterns"].is_null(),
        Some(
            "relu_admm" | "arr" | "oracle" | "bound" | "optset" | "path" | "stat" | "counts"
            | "certificate",
        ) => true,
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
    let tolerance = match (case["abs_tol"].as_f64(), case["rel_tol"].as_f64()) {
        (Some(absolute), _) => absolute,
        (None, relative) => {
            relative.unwrap_or(1e-6) * case["value"].as_f64().unwrap_or(1.0).abs().max(1e-12)
        }
    };
    let told = match case["value"].as_f64() {
        Some(value) => optimum(value, tolerance, answer)?,
        None if answer["value"].is_null() => "no value".to_owned(),
        None => return Err(format!("value {}, expected null", answer["value"])),
    };
    let compared = match case["family"].as_str() {
        Some("bound") => bounds(case, answer, tolerance)?,
        _ => facts(case, answer, tolerance)?,
    };
    Ok(Verdict::Right(format!("{told}, {compared} facts")))
}

fn optimum(value: f64, tolerance: f64, answer: &Value) -> Result<String, String> {
    let number = |key: &str| answer[key].as_f64().ok_or(format!("{key} is {}", answer[key]));
    let (found, lower, upper) = (number("value")?, number("lower")?, number("upper")?);
    if (found - value).abs() > tolerance {
        return Err(format!("value {found}, expected {value} ± {tolerance:e}"));
    }
    if lower > value + tolerance || upper < value - tolerance || lower > upper {
        return Err(format!("{lower} ≤ {value} ≤ {upper} does not hold"));
    }
    let gap = (upper - lower) / upper.abs();
    Ok(format!("off by {:.0e}, gap {gap:.0e}", (found - value).abs()))
}

fn facts(case: &Value, answer: &Value, tolerance: f64) -> Result<usize, String> {
    let loss = case["settings"]["loss"].as_str().unwrap_or("squared");
    let family = case["family"].as_str().unwrap_or_default();
    let mut compared = 0;
    for (name, expected) in case["expected"].as_object().into_iter().flatten() {
        let found = &answer["facts"][name];
        let size = expected.as_f64().unwrap_or(0.0).abs();
        let fits = match name.as_str() {
            // those of another program
            "admm_iterations" => continue,
            "dual_value" => near(found, expected, tolerance),
            "kappa_at_dual" | "beta_max" => near(found, expected, 1e-5 * size),
            // outputs are unique only where the loss is strictly convex, ν where it is smooth
            "outputs_z" if !["squared", "logistic", "interp"].contains(&loss) => continue,
            "dual_nu" if expected.is_null() => continue,
            "outputs_z" | "dual_nu" => same(found, expected, 1e-4),
            // in any order
            "directions" | "direction_signs" => same_directions(case, answer),
            "kappa_residual_over_beta" => near(found, expected, 1e-6 * size.max(1.0)),
            "items" => same(found, expected, case["abs_tol"].as_f64().unwrap_or(0.0)),
            _ if ["relu", "gated", "relu_admm"].contains(&family) && found.is_null() => continue,
            _ => same(found, expected, tolerance),
        };
        if !fits {
            return Err(format!("{name} is {found}, expected {expected}"));
        }
        compared += 1;
    }
    Ok(compared)
}

/// The bounds of another program may be better or worse; what is proved must be true.
fn bounds(case: &Value, answer: &Value, tolerance: f64) -> Result<usize, String> {
    let (expected, found) = (&case["expected"], &answer["facts"]);
    let number = |v: &Value, key: &str| v[key].as_f64().ok_or(format!("{key} is {}", v[key]));
    let level1 = number(found, "level1_sdp_lower_bound")?;
    if (level1 - number(expected, "level1_sdp_lower_bound")?).abs() > tolerance {
        return Err(format!("level1_sdp_lower_bound is {level1}"));
    }
    let lower = number(answer, "lower")?;
    match expected["best_known_network_value"].as_f64() {
        Some(best) => {
            let upper = number(found, "best_known_network_value")?;
            let honest = lower <= best + tolerance && lower >= level1 - tolerance;
            if upper > best + tolerance || !honest {
                return Err(format!("{lower} and {upper}, expected {best}"));
            }
            Ok(3)
        }
        None => {
            let cells = found["n_open_cells"] == expected["n_open_cells"];
            if !cells || (lower - number(expected, "opt_lower")?).abs() > tolerance {
                return Err(format!("lower {lower}, cells {}", found["n_open_cells"]));
            }
            Ok(3)
        }
    }
}

/// The same unit directions with the same signs.
fn same_directions(case: &Value, answer: &Value) -> bool {
    let pairs = |v: &Value| -> Vec<(Value, Value)> {
        let list = |key: &str| v[key].as_array().cloned().unwrap_or_default();
        list("directions").into_iter().zip(list("direction_signs")).collect()
    };
    let (found, expected) = (pairs(&answer["facts"]), pairs(&case["expected"]));
    let has =
        |(u, s): &(Value, Value)| found.iter().any(|(v, t)| same(v, u, 1e-5) && near(t, s, 0.0));
    found.len() == expected.len() && expected.iter().all(has)
}

fn near(found: &Value, expected: &Value, tolerance: f64) -> bool {
    matches!((found.as_f64(), expected.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= tolerance)
}

/// Numbers within the tolerance, lists and objects entry by entry (further keys may be there),
/// anything else equal.
fn same(found: &Value, expected: &Value, tolerance: f64) -> bool {
    match (found, expected) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            b.iter().all(|(key, b)| a.get(key).is_some_and(|a| same(a, b, tolerance)))
        }
        (Value::Number(_), Value::Number(_)) => near(found, expected, tolerance),
        _ => found == expected,
    }
}
