//! Results as text for people and as JSON for programs.

use anyhow::{Context, Result};
use bidual::path::CrossValidation;
use bidual::solver::Status;
use bidual::{Certificate, Dataset, Method, Scope};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};

/// Writes to stdout; a reader that stopped reading is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("standard output cannot be written"),
    }
}

/// One JSON object, on several lines.
pub fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// `digits` significant digits.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok());
    match exponent {
        Some(e) if (-4..digits as i32).contains(&e) => {
            format!("{value:.*}", (digits as i32 - 1 - e) as usize)
        }
        _ => scientific,
    }
}

/// `digits` significant digits, rounded down: a printed bound is never above the proved one.
pub fn significant_below(value: f64, digits: usize) -> String {
    rounded(value, digits, -1.0)
}

/// `digits` significant digits, rounded up.
pub fn significant_above(value: f64, digits: usize) -> String {
    rounded(value, digits, 1.0)
}

/// Rounds to nearest, and again one unit further if that went against `direction`.
fn rounded(value: f64, digits: usize, direction: f64) -> String {
    let text = significant(value, digits);
    let wrong = text.parse::<f64>().is_ok_and(|near| (value - near) * direction > 0.0);
    if !wrong {
        return text;
    }
    let unit = 10f64.powi(value.abs().log10().floor() as i32 + 1 - digits as i32);
    significant(value + direction * unit, digits)
}

/// A gap: two digits say it all.
pub fn gap_text(gap: f64) -> String {
    if gap == 0.0 { "0".into() } else { format!("{gap:.1e}") }
}

/// The first names of a list.
pub fn list(names: &[String]) -> String {
    let shown = names.iter().take(12).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > 12 { format!("{shown}, … ({} in all)", names.len()) } else { shown }
}

/// Status as a key: `time_limit`.
pub fn status_key(status: Status) -> String {
    status.name().replace(' ', "_")
}

/// Scope as a key.
pub fn scope_key(scope: Scope) -> &'static str {
    match scope {
        Scope::Complete => "complete",
        Scope::Sampled(_) => "sampled",
        Scope::Gates(_) => "gates",
    }
}

/// What the lower bound says, in one sentence.
pub fn statement(certificate: &Certificate) -> String {
    let who = match certificate.scope {
        Scope::Complete => "no network of any width has".to_owned(),
        Scope::Sampled(1) => "no network on this one activation pattern has".to_owned(),
        Scope::Sampled(p) => {
            format!("no network on these {p} activation patterns has")
        }
        Scope::Gates(1) => "no gated network with this one gate has".to_owned(),
        Scope::Gates(p) => format!("no gated network with these {p} gates has"),
    };
    if certificate.lower.is_finite() {
        format!("{who} an objective below {}", significant_below(certificate.lower, 9))
    } else {
        "no lower bound was proved".to_owned()
    }
}

pub fn scope_json(scope: Scope) -> Value {
    match scope {
        Scope::Complete => json!({"kind": scope_key(scope)}),
        Scope::Sampled(p) | Scope::Gates(p) => json!({"kind": scope_key(scope), "patterns": p}),
    }
}

/// Bounds that were not reached (infinite) become null.
pub fn certificate_json(certificate: &Certificate) -> Value {
    let method = match certificate.method {
        Method::ConePricing => "cone_pricing",
        Method::AdjointNorm => "adjoint_norm",
        Method::SimplicialCones => "simplicial_cones",
        Method::Moments => "moments",
        Method::NormBound => "norm_bound",
    };
    json!({
        "lower": certificate.lower,
        "upper": certificate.upper,
        "relative_gap": certificate.relative_gap(),
        "scope": scope_json(certificate.scope),
        "method": method,
    })
}

pub fn cross_validation_json(cv: &CrossValidation) -> Value {
    json!({
        "lambdas": cv.lambdas,
        "scores": cv.scores,
        "folds": cv.folds,
        "finished": cv.finished,
    })
}

/// How well outputs match targets, under the sample weights.
pub enum Score {
    Regression { rmse: f64, r2: f64 },
    Classification { accuracy: f64 },
}

impl Score {
    pub fn of(data: &Dataset, outputs: &[f64], classification: bool) -> Self {
        let y = &data.y;
        let weight = |i: usize| data.weights.as_ref().map_or(1.0, |w| w[i]);
        let total: f64 = (0..y.len()).map(weight).sum();
        let mean = |value: &dyn Fn(usize) -> f64| {
            (0..y.len()).map(|i| weight(i) * value(i)).sum::<f64>() / total
        };
        if classification {
            let right = |i: usize| f64::from((outputs[i] >= 0.0) == (y[i] > 0.0));
            return Score::Classification { accuracy: mean(&right) };
        }
        let residual = mean(&|i| (outputs[i] - y[i]).powi(2));
        let centre = mean(&|i| y[i]);
        let r2 = 1.0 - residual / mean(&|i| (y[i] - centre).powi(2));
        Score::Regression { rmse: residual.sqrt(), r2 }
    }

    /// The number that tables show.
    pub fn main(&self) -> f64 {
        match self {
            Score::Regression { rmse, .. } => *rmse,
            Score::Classification { accuracy } => *accuracy,
        }
    }

    /// Name of [`Score::main`].
    pub fn name(classification: bool) -> &'static str {
        if classification { "accuracy" } else { "rmse" }
    }

    pub fn text(&self) -> String {
        match self {
            Score::Regression { rmse, r2 } => {
                format!("RMSE {}, R² {r2:.4}", significant(*rmse, 5))
            }
            Score::Classification { accuracy } => format!("accuracy {accuracy:.4}"),
        }
    }

    pub fn json(&self) -> Value {
        match self {
            Score::Regression { rmse, r2 } => json!({"rmse": rmse, "r2": r2}),
            Score::Classification { accuracy } => json!({"accuracy": accuracy}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(significant(0.0123456789, 4), "0.01235");
        assert_eq!(significant(1234567.0, 4), "1.235e6");
        assert_eq!(significant(999.96, 4), "1000");
        assert_eq!(significant(-2.5, 3), "-2.50");
        assert_eq!(significant(1e-9, 3), "1.00e-9");
        assert_eq!(significant(f64::NEG_INFINITY, 3), "-inf");
        assert_eq!(significant(0.0, 3), "0");
    }

    #[test]
    fn bounds_are_rounded_outwards() {
        for value in
            [0.123456789499, 1.0 / 3.0, 2.0 / 3.0, 9.999999999, -2.0 / 3.0, 1e-7 / 3.0, 6e9]
        {
            let below: f64 = significant_below(value, 6).parse().unwrap();
            let above: f64 = significant_above(value, 6).parse().unwrap();
            assert!(below <= value && value <= above, "{below} {value} {above}");
            assert!(above - below <= 2.1e-5 * value.abs(), "{below} {value} {above}");
        }
        assert_eq!(significant_below(0.5, 9), "0.500000000");
    }
}
