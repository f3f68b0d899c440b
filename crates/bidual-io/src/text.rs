//! Small helpers for values inside messages, class names and CSV cells.

/// Longest excerpt of a value or of a foreign message that is shown.
const SHOWN: usize = 60;
/// Most names listed in one message.
const LISTED: usize = 12;

/// `value` in double quotes, control characters escaped, shortened.
pub(crate) fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for (count, c) in value.chars().enumerate() {
        if count == SHOWN {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.push('"');
    out
}

/// A message of another library as one line of bounded length.
pub(crate) fn one_line(message: impl std::fmt::Display) -> String {
    let text = message.to_string();
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(4 * SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// `"a", "b", … (20 in all)`, or `none`.
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = names.iter().take(LISTED).map(|n| quoted(n.as_ref())).collect();
    let shown = shown.join(", ");
    if names.len() > LISTED { format!("{shown}, … ({} in all)", names.len()) } else { shown }
}

/// The shortest decimal text that reads back as the same `f64`; whole numbers
/// without a trailing `.0`.
pub(crate) fn number_text(value: f64) -> String {
    let mut text = format!("{value:?}");
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

/// The finite number written in `cell`, if it is one.
pub(crate) fn parse_number(cell: &str) -> Option<f64> {
    cell.trim().parse().ok().filter(|v: &f64| v.is_finite())
}

/// Whether most of the column names are numbers, as where a table has no header. Columns that are
/// counted, from 0 or 1, are named so on purpose.
pub(crate) fn mostly_numbers(names: &[String]) -> bool {
    let number = |(place, name): &(usize, &String)| {
        let place = *place as f64;
        parse_number(name).is_some_and(|v| v != place && v != place + 1.0)
    };
    2 * names.iter().enumerate().filter(number).count() > names.len()
}

/// Whether a cell is one of the usual spellings of a missing value. `None` and
/// `null` are left out of the spellings: they are common category names, and
/// in a column of numbers they are refused as "not a number" anyway.
pub(crate) fn is_missing(cell: &str) -> bool {
    let cell = cell.trim();
    cell.is_empty() || cell == "NA" || cell == "<NA>" || cell.eq_ignore_ascii_case("nan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_stay_on_one_line() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), SHOWN + 3);
        assert_eq!(one_line("a\n  b\u{0}c"), "a b c");
        assert!(one_line("é ".repeat(900)).chars().count() <= 4 * SHOWN + 1);
        assert_eq!(list::<&str>(&[]), "none");
        assert!(list(&vec!["n"; 20]).ends_with("… (20 in all)"));
    }

    #[test]
    fn numbers_read_back() {
        for v in [0.1, -0.0, 1e300, 5e-324, 3.0, 1e16, f64::MAX] {
            assert_eq!(number_text(v).parse::<f64>().unwrap().to_bits(), v.to_bits());
        }
        assert_eq!(number_text(3.0), "3");
        assert_eq!(parse_number(" 1e999 "), None);
        assert_eq!(parse_number(" +1.5"), Some(1.5));
        let headless = |names: &[&str]| {
            mostly_numbers(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>())
        };
        assert!(headless(&["5.1", "-3", "red"]) && headless(&["0.5"]));
        assert!(
            !headless(&["0", "1", "2"]) && !headless(&["1", "2", "y"]) && !headless(&["a", "3"])
        );
        assert!(is_missing("NaN") && is_missing(" ") && !is_missing("none"));
    }
}
