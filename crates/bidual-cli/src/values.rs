//! Values on the command line: what they may be, and how they are read.

use bidual::{Bias, Choose, Lambda, LossKind};
use bidual_io::foreign::Layout;
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossArg {
    Auto,
    Is(LossKind),
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum ActivationArg {
    Relu,
    Gated,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum BiasArg {
    Penalised,
    Free,
    None,
}

/// Which of the networks with the same outputs and cost a fit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChooseArg {
    /// Few neurons: those active on the same samples are added up, and those that others can
    /// replace at no cost are pruned
    Narrow,
    /// The fewest neurons that can be found; the report says whether that is proved
    LeastWidth,
    /// The least ℓ2 norm of the sizes ‖w‖|a|: cost spread over more neurons
    LeastNorm,
    /// The least loss on the table of --validation
    Validation,
}

impl From<ChooseArg> for Choose {
    fn from(choose: ChooseArg) -> Choose {
        match choose {
            ChooseArg::Narrow => Choose::Narrow,
            ChooseArg::LeastWidth => Choose::LeastWidth,
            ChooseArg::LeastNorm => Choose::LeastNorm,
            ChooseArg::Validation => Choose::Validation,
        }
    }
}

/// How weight matrices lie in a file of named arrays.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum LayoutArg {
    /// A row a unit, as in torch
    Units,
    /// A row an input, as in scikit-learn and Keras
    Inputs,
}

impl From<LayoutArg> for Layout {
    fn from(layout: LayoutArg) -> Layout {
        match layout {
            LayoutArg::Units => Layout::Units,
            LayoutArg::Inputs => Layout::Inputs,
        }
    }
}

impl From<BiasArg> for Bias {
    fn from(bias: BiasArg) -> Bias {
        match bias {
            BiasArg::Penalised => Bias::Penalised,
            BiasArg::Free => Bias::Free,
            BiasArg::None => Bias::None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    Auto,
    Global,
    Sampled,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PatternsArg {
    Sampled(usize),
    All,
    File(PathBuf),
}

/// A number of the given kind, or the sentence that says what was expected.
fn number(text: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("expected {expected}"))?;
    if fits(value) { Ok(value) } else { Err(format!("expected {expected}")) }
}

fn positive(text: &str, expected: &str) -> Result<f64, String> {
    number(text, expected, |v| v > 0.0 && v.is_finite())
}

pub fn share(text: &str) -> Result<f64, String> {
    number(text, "a number between 0 and 1", |v| v > 0.0 && v < 1.0)
}

pub fn share_or_zero(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to below 1", |v| (0.0..1.0).contains(&v))
}

/// Also reads the loss in a model file.
pub fn loss(text: &str) -> Result<LossArg, String> {
    let kind = match text {
        "auto" => return Ok(LossArg::Auto),
        "squared" => LossKind::Squared,
        "huber" => LossKind::Huber(1.0),
        "logistic" => LossKind::Logistic,
        "squared-hinge" => LossKind::SquaredHinge,
        _ => match text.strip_prefix("huber:") {
            Some(delta) => LossKind::Huber(positive(delta, "a positive DELTA in huber:DELTA")?),
            None => {
                return Err(
                    "expected auto, squared, huber, huber:DELTA, logistic or squared-hinge".into(),
                );
            }
        },
    };
    Ok(LossArg::Is(kind))
}

/// Also reads λ's choice in a model file.
pub fn lambda(text: &str) -> Result<Lambda, String> {
    if text == "cv" {
        return Ok(Lambda::CrossValidated);
    }
    match text.strip_prefix("abs:") {
        Some(value) => Ok(Lambda::Absolute(positive(value, "a positive VALUE in abs:VALUE")?)),
        None => Ok(Lambda::Fraction(positive(
            text,
            "a positive fraction of λ_max such as 0.1, abs:VALUE or cv",
        )?)),
    }
}

/// λ without a choice.
pub fn fixed_lambda(text: &str) -> Result<Lambda, String> {
    match lambda(text) {
        Ok(Lambda::CrossValidated) | Err(_) => {
            Err("expected a positive fraction of λ_max such as 0.1, or abs:VALUE".into())
        }
        Ok(lambda) => Ok(lambda),
    }
}

pub fn patterns(text: &str) -> Result<PatternsArg, String> {
    const EXPECTED: &str =
        "expected a number of at least 1, all, or a file (csv, npy, npz, parquet) with gates";
    if text == "all" {
        return Ok(PatternsArg::All);
    }
    let file = PathBuf::from(text);
    match text.parse::<usize>() {
        Ok(0) => Err(EXPECTED.into()),
        Ok(count) => Ok(PatternsArg::Sampled(count)),
        // a decimal number is a typing error, not a file
        Err(_) if text.parse::<f64>().is_ok() || file.extension().is_none() => Err(EXPECTED.into()),
        Err(_) => Ok(PatternsArg::File(file)),
    }
}

pub fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "a positive time such as 30, 30s, 5m or 2h";
    let (digits, unit) = match text.char_indices().next_back() {
        Some((end, 's')) => (&text[..end], 1.0),
        Some((end, 'm')) => (&text[..end], 60.0),
        Some((end, 'h')) => (&text[..end], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = unit * positive(digits, EXPECTED)?;
    // a century: beyond it `Instant` may overflow
    if seconds > 3.2e9 {
        return Err(format!("expected {EXPECTED}, of at most a century"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parse_or_say_what_was_expected() {
        assert_eq!(lambda("0.1"), Ok(Lambda::Fraction(0.1)));
        assert_eq!(lambda("abs:3e-2"), Ok(Lambda::Absolute(0.03)));
        assert_eq!(loss("huber:0.5"), Ok(LossArg::Is(LossKind::Huber(0.5))));
        assert_eq!(patterns("all"), Ok(PatternsArg::All));
        assert_eq!(patterns("7"), Ok(PatternsArg::Sampled(7)));
        assert_eq!(patterns("g.npy"), Ok(PatternsArg::File("g.npy".into())));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["0", "-1", "abs:0", "abs:-1", "nan", "inf", "", "abs:"] {
            assert!(lambda(bad).is_err(), "{bad}");
        }
        for bad in ["huber:", "huber:0", "hinge", ""] {
            assert!(loss(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-3", "2.5", "some", ""] {
            assert!(patterns(bad).is_err(), "{bad}");
        }
        for bad in ["0", "m", "-5s", "1e99h", "5 m", "µ", ""] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
