//! Explanations as text.

use std::fmt::Write as _;

use super::{Explanation, Neuron, Term};
use crate::text::one_line;

/// Terms of a direction that are shown.
const SHOWN: usize = 4;
/// Standardised coefficient from which a feature is named in a sentence.
const NOTABLE: f64 = 0.3;

/// `digits` significant digits, without an exponent where that is readable.
pub(super) fn short(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let exponent = scientific.split_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        format!("{value:.decimals$}")
    } else {
        scientific
    }
}

/// `37 %`, with a decimal where it is small.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent == 0.0 || percent >= 9.95 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// `0.61 to 0.93`, or the one number if both are the same to four digits.
fn range_text(least: f64, most: f64) -> String {
    let (from, to) = (short(least, 4), short(most, 4));
    match most - least <= 1e-4 * most.abs() {
        true => to,
        false => format!("{from} to {to}"),
    }
}

impl Explanation<'_> {
    /// The name of a feature on one line.
    pub(super) fn feature(&self, index: usize) -> String {
        self.subject.features.get(index).map(one_line).unwrap_or_default()
    }

    /// What the network's output is called.
    pub(super) fn output(&self) -> &'static str {
        if self.subject.classes.is_some() { "score" } else { "prediction" }
    }

    /// `0.83·f1 - 0.31·f2 + …`.
    pub(super) fn sum(&self, terms: &[Term]) -> String {
        let mut text = String::new();
        for (place, term) in terms.iter().take(SHOWN).enumerate() {
            let size = short(term.raw.abs(), 3);
            let sign = match (place, term.raw < 0.0) {
                (0, true) => "-",
                (0, false) => "",
                (_, true) => " - ",
                (_, false) => " + ",
            };
            // writing to a string cannot fail
            let _ = write!(text, "{sign}{size}·{}", self.feature(term.feature));
        }
        match terms.len() {
            0 => "0".to_owned(),
            n if n > SHOWN => format!("{text} + {} smaller terms", n - SHOWN),
            _ => text,
        }
    }

    /// Where a neuron is active.
    pub(super) fn condition(&self, n: &Neuron) -> String {
        let compare = if n.linear.is_some() { "≥" } else { ">" };
        match n.breakpoint {
            Some(b) => {
                let compare = match (b.above, n.linear.is_some()) {
                    (true, _) => compare,
                    (false, true) => "≤",
                    (false, false) => "<",
                };
                let about = if b.exact { "" } else { "about " };
                format!("{} {compare} {about}{}", self.feature(b.feature), short(b.value, 4))
            }
            None if n.direction.is_empty() => {
                let on = if n.linear.is_some() { n.threshold <= 0.0 } else { n.threshold < 0.0 };
                if on { "everywhere" } else { "nowhere" }.to_owned()
            }
            None => format!("{} {compare} {}", self.sum(&n.direction), short(n.threshold, 4)),
        }
    }

    /// What a neuron does, in a sentence.
    pub fn sentence(&self, n: &Neuron) -> String {
        let output = self.output();
        let samples = match n.active {
            Some(0.0) => " (none of the samples)".to_owned(),
            Some(share) if share >= 1.0 - 1e-12 => " (all samples: a linear term)".to_owned(),
            Some(share) => format!(" ({} of the samples)", percent(share)),
            None => String::new(),
        };
        let change = |by: f64| match by < 0.0 {
            true => format!("takes {} from the {output}", short(-by, 3)),
            false => format!("adds {} to the {output}", short(by, 3)),
        };
        let condition = self.condition(n);
        if let Some((terms, constant)) = &n.linear {
            let sign = if *constant < 0.0 { '-' } else { '+' };
            let (sum, constant) = (self.sum(terms), short(constant.abs(), 3));
            return format!(
                "Where {condition}{samples}, {sum} {sign} {constant} is added to the {output}."
            );
        }
        if n.direction.is_empty() {
            return format!(
                "For every sample it {}.",
                change(n.output_weight * n.hidden_bias.max(0.0))
            );
        }
        match n.breakpoint {
            Some(b) => {
                // s·(gᵀx − t): one feature changes it by s·g per unit
                let slope = n.strength * n.direction.first().map_or(0.0, |t| t.raw.abs());
                let (side, way) = if b.above { ("Above", "further") } else { ("Below", "lower") };
                let about = if b.exact { "" } else { "about " };
                let (name, value) = (self.feature(b.feature), short(b.value, 4));
                format!(
                    "{side} {name} = {about}{value}{samples}, each {way} unit of {name} {}.",
                    change(slope)
                )
            }
            None => format!(
                "Where {}{samples}, each standard deviation beyond the threshold {}.",
                self.tendency(n),
                change(n.strength)
            ),
        }
    }

    /// `f1 is low and f2 high in sum`: the features that make up most of a direction.
    fn tendency(&self, n: &Neuron) -> String {
        let leading = n.direction.iter().take(SHOWN).enumerate();
        let words: Vec<String> = leading
            .filter(|(place, t)| *place == 0 || t.standardised.abs() >= NOTABLE)
            .map(|(place, t)| {
                let verb = if place == 0 { " is" } else { "" };
                let side = if t.standardised > 0.0 { "high" } else { "low" };
                format!("{}{verb} {side}", self.feature(t.feature))
            })
            .collect();
        match words.split_last() {
            Some((last, first)) if !first.is_empty() => {
                format!("{} and {last} in sum", first.join(", "))
            }
            _ => format!("mostly {}", words.concat()),
        }
    }

    /// What the model is, in a line.
    pub(super) fn model_line(&self) -> String {
        let subject = &self.subject;
        let kind = if subject.network.gates.is_some() { "gated" } else { "ReLU" };
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let target = match subject.classes {
            Some([negative, positive]) => {
                format!("{:?} ({} or {})", subject.target, one_line(negative), one_line(positive))
            }
            None => format!("{:?}", subject.target),
        };
        format!(
            "{}, {}, target {target}",
            plural(subject.network.neurons(), &format!("{kind} neuron")),
            plural(subject.features.len(), "feature")
        )
    }

    /// How the output is put together, in a line.
    pub(super) fn output_line(&self) -> String {
        let constant = short(self.subject.network.output_bias, 4);
        let neurons = if self.neurons.is_empty() { "" } else { " plus what the neurons add" };
        match self.subject.classes {
            Some([_, positive]) => {
                format!("{constant}{neurons}; 0 or more means {}", one_line(positive))
            }
            None => format!("{constant}{neurons}"),
        }
    }

    /// The samples, in a line.
    pub(super) fn data_line(&self) -> Option<String> {
        let samples = self.samples?;
        let weighted = if samples.weights.is_some() { ", weighted" } else { "" };
        let deviation = self.deviation.map(|d| short(d, 4)).unwrap_or_default();
        Some(format!(
            "{}: {} samples{weighted}; the {} has the standard deviation {deviation}",
            one_line(samples.source),
            samples.x.nrows(),
            self.output(),
        ))
    }

    /// What the numbers of a table of neurons mean.
    pub(super) fn legend(&self) -> String {
        let mut text = String::new();
        if self.samples.is_some() {
            text += "deviation: standard deviation of what the neuron adds, over the samples; \
                     share: of the sum of all deviations; active: share of the samples. ";
        }
        if self.shown(6) {
            text += "Size range: of norm times |output| over the networks with the same outputs and \
                     cost. ";
        }
        text + "Output: the output weight; norm: of the hidden weights that weight decay sees. \
                Sums of several features are divided by their norm on standardised features: a \
                unit is a standard deviation."
    }

    /// The whole explanation as lines of text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line("model", &format!("{}: {}", one_line(self.subject.source), self.model_line()));
        if let Some(data) = self.data_line() {
            line("data", &data);
        }
        line(self.output(), &self.output_line());
        if let Some(others) = &self.others {
            line("others", &one_line(&others.statement));
        }
        if self.neurons.is_empty() {
            return text;
        }
        let pick = |row: [String; 8]| -> Vec<String> {
            row.into_iter().enumerate().filter(|(k, _)| self.shown(*k)).map(|(_, c)| c).collect()
        };
        let mut rows = vec![pick(self.headings().map(str::to_owned))];
        rows.extend(self.neurons.iter().map(|n| pick(self.row(n))));
        text.push('\n');
        push_table(&mut text, &rows);
        text.push('\n');
        for n in &self.neurons {
            let _ = writeln!(text, "{:>6}  {}", n.number, self.sentence(n));
        }
        text
    }

    /// Headings of the rows of [`Explanation::row`].
    pub(super) fn headings(&self) -> [&'static str; 8] {
        ["neuron", "share", "deviation", "active", "output", "norm", "size range", "active where"]
    }

    /// Whether column `k` of these has anything in it.
    pub(super) fn shown(&self, k: usize) -> bool {
        match k {
            1..4 => self.samples.is_some(),
            6 => self.neurons.iter().any(|n| n.range.is_some()),
            _ => true,
        }
    }

    /// A neuron as the cells of a table.
    pub(super) fn row(&self, n: &Neuron) -> [String; 8] {
        [
            n.number.to_string(),
            n.share.map(percent).unwrap_or_default(),
            n.deviation.map(|d| short(d, 4)).unwrap_or_default(),
            n.active.map(percent).unwrap_or_default(),
            short(n.output_weight, 4),
            short(n.norm, 4),
            n.range.map(|[least, most]| range_text(least, most)).unwrap_or_default(),
            self.condition(n),
        ]
    }
}

/// Columns aligned to the right, but for the last.
fn push_table(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |k: usize| rows.iter().filter_map(|r| r.get(k)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|k| width(k).unwrap_or(0)).collect();
    for row in rows {
        for (k, cell) in row.iter().enumerate() {
            if k + 1 == columns {
                text.push_str(cell);
            } else {
                let _ = write!(text, "{cell:>width$}  ", width = widths[k]);
            }
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (1.23456, "1.23"),
            (-123456.0, "-123456"),
            (0.000123456, "0.000123"),
            (1.5e-9, "1.50e-9"),
            (2.0e12, "2.00e12"),
            (99.99, "100"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value, 3), expected);
        }
        assert_eq!(
            (percent(0.1234), percent(0.01), percent(0.0)),
            ("12 %".into(), "1.0 %".into(), "0 %".into())
        );
    }
}
