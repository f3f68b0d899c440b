//! Which network of the optimal set a model is, in words, as JSON, and back.

use crate::model_text::damaged;
use crate::report::significant;
use anyhow::Result;
use bidual::choice::ValidationLoss;
use bidual::{Choose, Selection};
use serde_json::{Value, json};

/// Reads the policy in a model file.
pub fn choose_of(text: &str) -> Option<Choose> {
    [Choose::Narrow, Choose::LeastWidth, Choose::LeastNorm, Choose::Validation]
        .into_iter()
        .find(|c| c.name() == text)
}

/// What was chosen among what, in a sentence. `certified`: the network is proved optimal to the
/// tolerance; `width`: its neurons.
pub fn text(choose: Choose, how: &Selection, width: usize, certified: bool) -> String {
    let name = choose.name();
    if let Some(reason) = &how.kept {
        return format!("narrow instead of {name}: {reason}");
    }
    let set = match certified {
        true => "the optimal networks",
        false => "the networks with the same outputs and cost (not proved optimal)",
    };
    let source = if how.complete { "in the listed patterns" } else { "found by search" };
    let from = format!("{} of its own; {} more {source}", how.own, how.directions - how.own);
    let of = format!("{set} on the {} directions examined ({from})", how.directions);
    if how.freedom == 0 && choose != Choose::LeastWidth {
        return format!("{name}: nothing to choose, unique among {of}");
    }
    let [before, after] = how.norms.map(|v| significant(v, 6));
    match (choose, how.minimal, how.validation) {
        (_, Some(true), _) => {
            format!("{name}: {width} neurons, the fewest of {of}; narrow: {}", how.narrow_width)
        }
        (_, Some(false), _) => format!(
            "{name}: {width} neurons, not proved the fewest of {of}; narrow: {}",
            how.narrow_width
        ),
        (_, _, Some(loss)) => {
            let (chosen, narrow) = (significant(loss.chosen, 6), significant(loss.narrow, 6));
            let rest = match loss.gap <= 1e-6 * loss.chosen.abs() {
                true => format!("the least of {of}, to 6 digits"),
                false => format!("at most {:.1e} from the least of {of}", loss.gap),
            };
            format!("{name}: loss {chosen} there, {rest}; narrow: {narrow}")
        }
        _ => format!("{name}: ℓ2 norm of the sizes {after}, the least of {of}; narrow: {before}"),
    }
}

pub fn json(choose: Choose, how: Option<&Selection>) -> Value {
    let mut value = json!({"policy": choose.name()});
    if let Some(how) = how {
        value["directions"] = json!(how.directions);
        value["own_directions"] = json!(how.own);
        value["directions_complete"] = json!(how.complete);
        value["freedom"] = json!(how.freedom);
        value["narrow_neurons"] = json!(how.narrow_width);
        value["narrow_norm"] = json!(how.norms[0]);
        value["norm"] = json!(how.norms[1]);
        value["minimal"] = json!(how.minimal);
        value["validation"] =
            json!(how.validation.map(
                |loss| json!({"narrow_loss": loss.narrow, "loss": loss.chosen, "gap": loss.gap})
            ));
        value["kept_narrow_because"] = json!(how.kept);
    }
    value
}

/// Inverse of [`json`], for the text in a model file.
pub fn selection_of(text: &str) -> Result<Selection> {
    let wrong = || damaged("selection", "how the network was chosen", format!("{text:?}"));
    let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let count = |key: &str| value[key].as_u64().map(|v| v as usize);
    let loss = &value["validation"];
    let read = || {
        Some(Selection {
            directions: count("directions")?,
            own: count("own_directions")?,
            complete: value["directions_complete"].as_bool()?,
            freedom: count("freedom")?,
            narrow_width: count("narrow_neurons")?,
            norms: [value["narrow_norm"].as_f64()?, value["norm"].as_f64()?],
            minimal: value["minimal"].as_bool(),
            validation: match loss.is_null() {
                true => None,
                false => Some(ValidationLoss {
                    narrow: loss["narrow_loss"].as_f64()?,
                    chosen: loss["loss"].as_f64()?,
                    // JSON has no infinity
                    gap: loss["gap"].as_f64().unwrap_or(f64::INFINITY),
                }),
            },
            kept: value["kept_narrow_because"].as_str().map(str::to_owned),
        })
    };
    read().filter(|s| s.own <= s.directions).ok_or_else(wrong)
}
