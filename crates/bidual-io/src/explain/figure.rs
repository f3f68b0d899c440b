//! The fitted function of one or two features as SVG, drawn over the samples.

use std::fmt::Write as _;

use super::Explanation;
use super::html::escaped;
use super::text::short;

/// Size of the drawing and the frame inside it: left, right, top, bottom.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const FRAME: [f64; 4] = [64.0, 704.0, 16.0, 392.0];
/// Samples drawn at most: more would only hide each other.
const MOST_POINTS: usize = 1500;
/// Cells of the shading.
const GRID: [usize; 2] = [96, 64];
/// Steps of shading.
const LEVELS: f64 = 12.0;
/// Score from which shades do not get stronger: the class is beyond doubt.
const MOST_SCORE: f64 = 4.0;
/// Breakpoints that get a number.
const MOST_LABELS: usize = 24;

/// One axis: values `low` to `high` between pixels `start` and `end`.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// Round values, about five of them.
    fn ticks(&self) -> Vec<f64> {
        let span = self.high - self.low;
        let power = 10f64.powf((span / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
        let Some(step) = step.into_iter().find(|s| span / s <= 6.0) else { return vec![] };
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        if last.saturating_sub(first) > 20 {
            return vec![];
        }
        (first..=last).map(|k| k as f64 * step).collect()
    }
}

/// A range with some room, never empty.
fn padded(low: f64, high: f64) -> (f64, f64) {
    let room = 0.04 * (high - low);
    let room = if room > 0.0 { room } else { 0.5 * low.abs().max(1.0) };
    (low - room, high + room)
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found, v| match found {
        None => Some((v, v)),
        Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
    })
}

impl Explanation<'_> {
    /// The features that a figure has as axes: one or two quantities, of a
    /// network on no other features.
    pub(super) fn axes(&self) -> Vec<usize> {
        let subject = &self.subject;
        let d = subject.features.len();
        let used: Vec<usize> = if d <= 2 {
            (0..d).collect()
        } else {
            let uses = |j: &usize| {
                self.neurons.iter().any(|n| {
                    let linear = n.linear.iter().flat_map(|(terms, _)| terms);
                    n.direction.iter().chain(linear).any(|t| t.feature == *j)
                })
            };
            (0..d).filter(uses).collect()
        };
        let quantities = used.iter().all(|j| subject.numeric.get(*j) == Some(&true));
        if quantities && matches!(used.len(), 1 | 2) { used } else { vec![] }
    }

    /// The figure as an `svg` element, if the network has one or two features.
    pub fn figure(&self) -> Option<String> {
        match *self.axes().as_slice() {
            [feature] => Some(self.curve(feature)),
            [first, second] => Some(self.map(first, second)),
            _ => None,
        }
    }

    /// Values of a feature to draw: those of the samples, or around the mean
    /// of the fit and the breakpoints near it.
    fn span(&self, feature: usize) -> (f64, f64) {
        let drawn = self.samples.and_then(|s| range(s.x.col_as_slice(feature).iter().copied()));
        if let Some((low, high)) = drawn {
            return padded(low, high);
        }
        let scaling = self.subject.scaling;
        let (mean, inverse) = (scaling.mean[feature], scaling.inverse_scale[feature]);
        let deviation = if inverse > 0.0 { 1.0 / inverse } else { 1.0 };
        let near = |v: &f64| (v - mean).abs() <= 10.0 * deviation;
        let breaks = self.neurons.iter().filter_map(|n| n.breakpoint);
        let breaks = breaks.filter(|b| b.feature == feature).map(|b| b.value).filter(near);
        let ends = [mean - 2.5 * deviation, mean + 2.5 * deviation];
        let (low, high) = range(breaks.chain(ends)).unwrap_or((-1.0, 1.0));
        padded(low, high)
    }

    /// The output where the axes' features have these values; other features
    /// have no weight.
    fn value(&self, point: &[(usize, f64)]) -> f64 {
        let network = self.subject.network;
        let dot = |column: &[f64]| point.iter().map(|(j, x)| column[*j] * x).sum::<f64>();
        let neuron = |k: usize| {
            let z = dot(network.weights.col_as_slice(k)) + network.biases[k];
            let on = match &network.gates {
                None => z > 0.0,
                Some(gates) => dot(gates.directions.col_as_slice(k)) >= gates.thresholds[k],
            };
            if on { network.outputs[k] * z } else { 0.0 }
        };
        network.output_bias + (0..network.neurons()).map(neuron).sum::<f64>()
    }

    /// Indices of the samples that are drawn.
    pub(super) fn drawn(&self) -> Vec<usize> {
        let n = self.samples.map_or(0, |s| s.x.nrows());
        let step = n.div_ceil(MOST_POINTS).max(1);
        (0..n).step_by(step).collect()
    }

    /// f over one feature: pieces between breakpoints, each exactly a line.
    fn curve(&self, feature: usize) -> String {
        let (low, high) = self.span(feature);
        let mut breaks: Vec<(f64, usize)> = (self.neurons.iter())
            .filter_map(|n| Some((n.breakpoint?.value, n.number)))
            .filter(|(value, _)| *value > low && *value < high)
            .collect();
        breaks.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut nodes = vec![low];
        nodes.extend(breaks.iter().map(|(value, _)| *value));
        nodes.push(high);
        // gated networks may jump: each piece is drawn from values inside it
        let pieces: Vec<[f64; 4]> = (nodes.windows(2))
            .filter(|ends| ends[1] > ends[0])
            .map(|ends| {
                let (a, b) =
                    (ends[0] + 0.25 * (ends[1] - ends[0]), ends[0] + 0.75 * (ends[1] - ends[0]));
                let (fa, fb) = (self.value(&[(feature, a)]), self.value(&[(feature, b)]));
                let half = 0.5 * (fb - fa);
                [ends[0], fa - half, ends[1], fb + half]
            })
            .collect();
        let targets = self.samples.and_then(|s| s.y).filter(|_| self.subject.classes.is_none());
        let values = pieces.iter().flat_map(|p| [p[1], p[3]]);
        let values = values.chain(targets.into_iter().flatten().copied());
        let (bottom, top) = range(values).unwrap_or((0.0, 1.0));
        let (bottom, top) = padded(bottom, top);
        let x = Axis { low, high, start: FRAME[0], end: FRAME[1] };
        let y = Axis { low: bottom, high: top, start: FRAME[3], end: FRAME[2] };

        let mut svg = self.open(&format!("{} over {}", self.output(), self.feature(feature)));
        self.samples_on_curve(&mut svg, feature, x, y);
        for (k, (value, number)) in breaks.iter().enumerate() {
            let at = x.at(*value);
            let _ = write!(
                svg,
                r#"<line class="kink" x1="{at:.2}" y1="{:.2}" x2="{at:.2}" y2="{:.2}"/>"#,
                FRAME[2], FRAME[3]
            );
            if breaks.len() <= MOST_LABELS {
                let row = FRAME[2] + 20.0 + 11.0 * (k % 3) as f64;
                let _ = write!(
                    svg,
                    r#"<text class="mark" x="{:.2}" y="{row:.2}">{number}</text>"#,
                    at + 3.0
                );
            }
        }
        let mut path = String::new();
        let mut last = [f64::NAN; 2];
        for [x1, y1, x2, y2] in pieces {
            let (from, to) = ([x.at(x1), y.at(y1)], [x.at(x2), y.at(y2)]);
            let joined = (from[0] - last[0]).abs() < 0.01 && (from[1] - last[1]).abs() < 0.01;
            if !joined {
                let _ = write!(path, "M{:.2} {:.2}", from[0], from[1]);
            }
            let _ = write!(path, "L{:.2} {:.2}", to[0], to[1]);
            last = to;
        }
        let _ = write!(svg, r#"<path class="curve" d="{path}"/>"#);
        let vertical = match self.subject.classes {
            Some(_) => self.output().to_owned(),
            None => crate::text::one_line(self.subject.target),
        };
        self.frame(&mut svg, x, y, &self.feature(feature), &vertical);
        svg.push_str("</svg>");
        svg
    }

    fn samples_on_curve(&self, svg: &mut String, feature: usize, x: Axis, y: Axis) {
        let Some((samples, targets)) = self.samples.and_then(|s| Some((s, s.y?))) else { return };
        for i in self.drawn() {
            let at = x.at(samples.x[(i, feature)]);
            if self.subject.classes.is_none() {
                let _ = write!(
                    svg,
                    r#"<circle class="point" cx="{at:.2}" cy="{:.2}" r="2.4"/>"#,
                    y.at(targets[i])
                );
            } else {
                let (class, from) =
                    if targets[i] > 0.0 { ("second", FRAME[2]) } else { ("first", FRAME[3] - 9.0) };
                let _ = write!(
                    svg,
                    r#"<line class="tick-{class}" x1="{at:.2}" y1="{from:.2}" x2="{at:.2}" y2="{:.2}"/>"#,
                    from + 9.0
                );
            }
        }
    }

    /// f over two features: shaded by value, with the line of each neuron.
    fn map(&self, first: usize, second: usize) -> String {
        let (left, right) = self.span(first);
        let (bottom, top) = self.span(second);
        let x = Axis { low: left, high: right, start: FRAME[0], end: FRAME[1] - 84.0 };
        let y = Axis { low: bottom, high: top, start: FRAME[3], end: FRAME[2] };
        let [columns, rows] = GRID;
        let value = |i: usize, k: usize| {
            let (u, v) = ((i as f64 + 0.5) / columns as f64, (k as f64 + 0.5) / rows as f64);
            self.value(&[(first, left + u * (right - left)), (second, bottom + v * (top - bottom))])
        };
        let values: Vec<Vec<f64>> =
            (0..rows).map(|k| (0..columns).map(|i| value(i, k)).collect()).collect();
        let (least, most) = range(values.iter().flatten().copied()).unwrap_or((0.0, 1.0));
        let shading = Shading::new(least, most, self.subject.classes.is_some());

        let names = (self.feature(first), self.feature(second));
        let mut svg = self.open(&format!("{} over {} and {}", self.output(), names.0, names.1));
        let width = (x.end - x.start) / columns as f64;
        let height = (y.start - y.end) / rows as f64;
        for (k, row) in values.iter().enumerate() {
            let from_top = y.start - (k + 1) as f64 * height;
            let mut start = 0;
            while start < columns {
                let step = shading.step(row[start]);
                let length = row[start..].iter().take_while(|v| shading.step(**v) == step).count();
                shading.rect(
                    &mut svg,
                    step,
                    [x.start + start as f64 * width, from_top, length as f64 * width, height],
                );
                start += length;
            }
        }
        self.lines(&mut svg, [first, second], x, y);
        if let Some(samples) = self.samples {
            for i in self.drawn() {
                let (cx, cy) = (x.at(samples.x[(i, first)]), y.at(samples.x[(i, second)]));
                if let (None, Some(y)) = (self.subject.classes, samples.y) {
                    // the shade of the target, on the page's colour, to compare with that around it
                    let (class, opacity) = shading.shade(shading.step(y[i]));
                    let _ = write!(
                        svg,
                        r#"<g><circle class="paper" cx="{cx:.2}" cy="{cy:.2}" r="3.6"/><circle class="{class} ring" fill-opacity="{opacity:.2}" cx="{cx:.2}" cy="{cy:.2}" r="3.6"/></g>"#
                    );
                    continue;
                }
                let class = match (self.subject.classes, samples.y) {
                    (Some(_), Some(y)) if y[i] > 0.0 => "point second",
                    (Some(_), Some(_)) => "point first",
                    _ => "point",
                };
                let _ =
                    write!(svg, r#"<circle class="{class}" cx="{cx:.2}" cy="{cy:.2}" r="2.4"/>"#);
            }
        }
        self.frame(&mut svg, x, y, &names.0, &names.1);
        shading.bar(&mut svg, FRAME[1] - 56.0, y);
        svg.push_str("</svg>");
        svg
    }

    /// Where each neuron switches, inside the frame.
    fn lines(&self, svg: &mut String, features: [usize; 2], x: Axis, y: Axis) {
        for n in &self.neurons {
            let raw = |feature: usize| {
                n.direction.iter().find(|t| t.feature == feature).map_or(0.0, |t| t.raw)
            };
            let (g, h) = (raw(features[0]), raw(features[1]));
            // points of g·u + h·v = t on the border of the box
            let mut ends: Vec<[f64; 2]> = Vec::new();
            for u in [x.low, x.high] {
                let v = (n.threshold - g * u) / h;
                if h != 0.0 && v >= y.low && v <= y.high {
                    ends.push([x.at(u), y.at(v)]);
                }
            }
            for v in [y.low, y.high] {
                let u = (n.threshold - h * v) / g;
                if g != 0.0 && u > x.low && u < x.high {
                    ends.push([x.at(u), y.at(v)]);
                }
            }
            if let [a, b, ..] = ends.as_slice() {
                let _ = write!(
                    svg,
                    r#"<line class="kink" x1="{:.2}" y1="{:.2}" x2="{:.2}" y2="{:.2}"><title>neuron {}</title></line>"#,
                    a[0], a[1], b[0], b[1], n.number
                );
            }
        }
    }

    fn open(&self, label: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">"#,
            escaped(label)
        )
    }

    /// Frame, ticks and names of the axes.
    fn frame(&self, svg: &mut String, x: Axis, y: Axis, horizontal: &str, vertical: &str) {
        let (w, h) = (x.end - x.start, y.start - y.end);
        let _ = write!(
            svg,
            r#"<rect class="frame" x="{}" y="{}" width="{w}" height="{h}"/>"#,
            x.start, y.end
        );
        for tick in x.ticks() {
            let at = x.at(tick);
            let _ = write!(
                svg,
                r#"<line class="axis" x1="{at:.2}" y1="{0}" x2="{at:.2}" y2="{1}"/><text class="middle" x="{at:.2}" y="{2}">{3}</text>"#,
                y.start,
                y.start + 5.0,
                y.start + 18.0,
                tick_text(tick)
            );
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = write!(
                svg,
                r#"<line class="axis" x1="{0}" y1="{at:.2}" x2="{1}" y2="{at:.2}"/><text class="end" x="{2}" y="{3:.2}">{4}</text>"#,
                x.start - 5.0,
                x.start,
                x.start - 8.0,
                at + 4.0,
                tick_text(tick)
            );
        }
        let (centre, middle) = (0.5 * (x.start + x.end), 0.5 * (y.start + y.end));
        let _ = write!(
            svg,
            r#"<text class="middle name" x="{centre:.2}" y="{:.2}">{}</text>"#,
            HEIGHT - 10.0,
            escaped(horizontal)
        );
        let _ = write!(
            svg,
            r#"<text class="middle name" transform="translate(14 {middle:.2}) rotate(-90)">{}</text>"#,
            escaped(vertical)
        );
    }
}

/// A tick without digits that say nothing.
fn tick_text(value: f64) -> String {
    let text = short(value, 4);
    if !text.contains('.') || text.contains('e') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Shades for values: one colour, or two about zero.
struct Shading {
    low: f64,
    high: f64,
    about_zero: bool,
}

impl Shading {
    fn new(low: f64, high: f64, about_zero: bool) -> Self {
        let largest = low.abs().max(high.abs()).clamp(f64::MIN_POSITIVE, MOST_SCORE);
        match about_zero {
            true => Self { low: -largest, high: largest, about_zero },
            false => Self { low, high: if high > low { high } else { low + 1.0 }, about_zero },
        }
    }

    /// The step of a value, 0 to LEVELS − 1.
    fn step(&self, value: f64) -> i32 {
        let place = (value - self.low) / (self.high - self.low) * LEVELS;
        place.floor().clamp(0.0, LEVELS - 1.0) as i32
    }

    /// The colour and the opacity of a step.
    fn shade(&self, step: i32) -> (&'static str, f64) {
        if self.about_zero {
            let half = LEVELS / 2.0;
            let distance = f64::from(step) + 0.5 - half;
            (if distance < 0.0 { "low" } else { "high" }, 0.7 * distance.abs() / half)
        } else {
            ("high", 0.04 + 0.7 * f64::from(step) / (LEVELS - 1.0))
        }
    }

    fn rect(&self, svg: &mut String, step: i32, [x, y, width, height]: [f64; 4]) {
        let (class, opacity) = self.shade(step);
        let _ = write!(
            svg,
            r#"<rect class="shade {class}" fill-opacity="{opacity:.2}" x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}"/>"#
        );
    }

    /// The shades with their values, from `x` on beside the axis `y`.
    fn bar(&self, svg: &mut String, x: f64, y: Axis) {
        let height = (y.start - y.end) / LEVELS;
        for step in 0..LEVELS as i32 {
            self.rect(svg, step, [x, y.start - f64::from(step + 1) * height, 14.0, height]);
        }
        for place in [0.0, 0.5, 1.0] {
            let (value, at) =
                (self.low + place * (self.high - self.low), y.start - place * (y.start - y.end));
            let _ = write!(
                svg,
                r#"<text x="{:.2}" y="{:.2}">{}</text>"#,
                x + 18.0,
                at + 8.0 - 8.0 * place,
                short(value, 3)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let axis = |low: f64, high: f64| Axis { low, high, start: 0.0, end: 1.0 };
        assert_eq!(axis(-0.3, 4.2).ticks(), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(axis(0.0, 10.0).ticks().len(), 6);
        let labels: Vec<String> = axis(0.1, 0.62).ticks().iter().map(|t| tick_text(*t)).collect();
        assert_eq!(labels, ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]);
        assert!(axis(1e300, 1.0000001e300).ticks().len() <= 21);
        assert_eq!(padded(2.0, 2.0), (1.0, 3.0));
    }
}
