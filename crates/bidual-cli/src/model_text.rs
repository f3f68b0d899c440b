//! Options and results as the text in a model file, and back.

use crate::report::status_key;
use crate::values::{self, LossArg};
use anyhow::{Result, anyhow};
use bidual::path::CrossValidation;
use bidual::solver::Status;
use bidual::{
    Activation, Bias, Certificate, Effort, Gates, Lambda, LossKind, Method, PatternChoice, Scaling,
    Scope,
};
use serde_json::Value;

/// Text that reads back as the same `f64`.
pub fn exact(value: f64) -> String {
    format!("{value:?}")
}

pub fn damaged(key: &str, expected: &str, found: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the metadata {key:?}: expected {expected}, found {found}; write the model anew")
}

pub fn activation_key(activation: Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::Gated => "gated",
    }
}

pub fn activation_of(text: &str) -> Option<Activation> {
    [Activation::Relu, Activation::Gated].into_iter().find(|a| activation_key(*a) == text)
}

pub fn loss_key(loss: LossKind) -> String {
    match loss {
        LossKind::Squared => "squared".into(),
        LossKind::Huber(delta) => format!("huber:{delta:?}"),
        LossKind::Logistic => "logistic".into(),
        LossKind::SquaredHinge => "squared-hinge".into(),
    }
}

pub fn loss_of(text: &str) -> Option<LossKind> {
    match values::loss(text) {
        Ok(LossArg::Is(loss)) => Some(loss),
        _ => None,
    }
}

pub fn bias_key(bias: Bias) -> &'static str {
    match bias {
        Bias::Penalised => "penalised",
        Bias::Free => "free",
        Bias::None => "none",
    }
}

pub fn bias_of(text: &str) -> Option<Bias> {
    [Bias::Penalised, Bias::Free, Bias::None].into_iter().find(|b| bias_key(*b) == text)
}

pub fn status_of(text: &str) -> Option<Status> {
    use Status::*;
    [Certified, IterationLimit, TimeLimit, Interrupted, ProofLimit, Stalled]
        .into_iter()
        .find(|s| status_key(*s) == text)
}

pub fn lambda_key(lambda: Lambda) -> String {
    match lambda {
        Lambda::Fraction(fraction) => exact(fraction),
        Lambda::Absolute(value) => format!("abs:{value:?}"),
        Lambda::CrossValidated => "cv".into(),
    }
}

pub fn patterns_key(patterns: &PatternChoice) -> String {
    match patterns {
        PatternChoice::Generated(Effort::Auto) => "generated:auto".into(),
        PatternChoice::Generated(Effort::Unlimited) => "generated:unlimited".into(),
        PatternChoice::Sampled(count) => format!("sampled:{count}"),
        PatternChoice::All(limit) => format!("all:{limit}"),
        PatternChoice::Given(_) => "given".into(),
    }
}

pub fn patterns_of(text: &str, gates: Option<&Gates>, scaling: &Scaling) -> Result<PatternChoice> {
    let number = |text: &str| text.parse().ok();
    let choice = match (text.split_once(':'), gates) {
        (Some(("generated", "auto")), _) => Some(PatternChoice::Generated(Effort::Auto)),
        (Some(("generated", "unlimited")), _) => Some(PatternChoice::Generated(Effort::Unlimited)),
        (Some(("sampled", count)), _) => number(count).map(PatternChoice::Sampled),
        (Some(("all", limit)), _) => number(limit).map(PatternChoice::All),
        (None, Some(gates)) if text == "given" => {
            // the stored gates are on scaled features, the choice was on raw ones
            let mut raw = gates.clone();
            for k in 0..raw.thresholds.len() {
                let mut offset = 0.0;
                scaling.fold(raw.directions.col_as_slice_mut(k), &mut offset);
                raw.thresholds[k] -= offset;
            }
            Some(PatternChoice::Given(raw))
        }
        _ => None,
    };
    choice.ok_or_else(|| damaged("patterns", "a choice with its gates", format!("{text:?}")))
}

pub fn certificate_of(text: &str) -> Result<Certificate> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| damaged("certificate", "a JSON object", e))?;
    let wrong = || damaged("certificate", "lower, upper, scope and method", format!("{text:?}"));
    let patterns = value["scope"]["patterns"].as_u64().map(|p| p as usize);
    let scope = match (value["scope"]["kind"].as_str(), patterns) {
        (Some("complete"), _) => Scope::Complete,
        (Some("sampled"), Some(patterns)) => Scope::Sampled(patterns),
        (Some("gates"), Some(patterns)) => Scope::Gates(patterns),
        _ => return Err(wrong()),
    };
    let method = match value["method"].as_str() {
        Some("cone_pricing") => Method::ConePricing,
        Some("adjoint_norm") => Method::AdjointNorm,
        Some("simplicial_cones") => Method::SimplicialCones,
        Some("moments") => Method::Moments,
        Some("norm_bound") => Method::NormBound,
        _ => return Err(wrong()),
    };
    // JSON has no infinity: a bound that was not reached is null
    let lower = value["lower"].as_f64().unwrap_or(f64::NEG_INFINITY);
    let upper = value["upper"].as_f64().ok_or_else(wrong)?;
    Ok(Certificate { lower, upper, scope, method })
}

pub fn cross_validation_of(text: &str) -> Result<CrossValidation> {
    let wrong = || damaged("cross_validation", "lambdas, scores and folds", format!("{text:?}"));
    let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let numbers = |key: &str| -> Option<Vec<f64>> {
        Some(value[key].as_array()?.iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect())
    };
    let lambdas = numbers("lambdas").ok_or_else(wrong)?;
    let scores = numbers("scores").filter(|s| s.len() == lambdas.len()).ok_or_else(wrong)?;
    let folds = value["folds"].as_u64().ok_or_else(wrong)? as usize;
    let finished = value["finished"].as_bool().ok_or_else(wrong)?;
    Ok(CrossValidation { lambdas, scores, folds, finished })
}
