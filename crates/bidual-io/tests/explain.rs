//! Explanations of networks built by hand.

use bidual::{Bias, Gates, Mat, Network, Scaling};
use bidual_io::explain::*;

fn network(weights: Mat, biases: &[f64], outputs: &[f64]) -> Network {
    let (biases, outputs) = (biases.to_vec(), outputs.to_vec());
    Network { weights, biases, outputs, output_bias: 0.5, gates: None }
}

fn names(d: usize) -> Vec<String> {
    (0..d).map(|j| format!("f<{j}>")).collect()
}

/// Every tag is closed, in order, and no bare `&` or `<` is left: XML.
fn assert_well_formed(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap_or(page);
    let (mut open, mut rest): (Vec<&str>, &str) = (vec![], body);
    while let Some((text, after)) = rest.split_once('<') {
        for part in text.split('&').skip(1) {
            let entity = part.split_once(';').unwrap_or_else(|| panic!("{part}")).0;
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "{entity}");
        }
        let (tag, after) = after.split_once('>').unwrap();
        assert!(!tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
        rest = after;
    }
    assert!(open.is_empty(), "{open:?}");
    for bad in ["NaN", "inf", "http://", "https://", "<script", "src="] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(bad), "{bad}");
    }
}

struct Case {
    network: Network,
    scaling: Scaling,
    numeric: Vec<bool>,
    classes: Option<[String; 2]>,
}

impl Case {
    fn new(network: Network) -> Self {
        let d = network.inputs();
        let numeric = vec![true; d];
        Self { network, scaling: Scaling::identity(d), numeric, classes: None }
    }

    fn with<T>(&self, samples: Option<Samples<'_>>, look: impl Fn(&Explanation<'_>) -> T) -> T {
        let features = names(self.network.inputs());
        let subject = Subject {
            source: "m.safetensors",
            network: &self.network,
            scaling: &self.scaling,
            features: &features,
            numeric: &self.numeric,
            target: "y & z",
            classes: self.classes.as_ref(),
            bias: Bias::Penalised,
        };
        let explanation = explain(subject, samples);
        assert_well_formed(&explanation.html());
        explanation.figure().iter().for_each(|svg| assert_well_formed(svg));
        look(&explanation)
    }
}

fn samples<'a>(x: &'a Mat, y: Option<&'a [f64]>) -> Samples<'a> {
    Samples { source: "d.csv", x, y, weights: None }
}

#[test]
fn one_feature_has_exact_breakpoints() {
    // 3·max(0, 2x − 1) and −max(0, −x + 2), on a feature with mean 10, deviation 4
    let mut case =
        Case::new(network(Mat::from_fn(1, 2, |_, j| [2.0, -1.0][j]), &[-1.0, 2.0], &[3.0, -1.0]));
    case.scaling = Scaling { mean: vec![10.0], inverse_scale: vec![0.25] };
    let x = Mat::from_fn(5, 1, |i, _| i as f64); // 0 1 2 3 4
    let y = [0.0; 5];
    case.with(Some(samples(&x, Some(&y))), |e| {
        let first = &e.neurons[0];
        assert_eq!((first.number, first.active), (1, Some(0.8)));
        let at = first.breakpoint.unwrap();
        assert_eq!((at.value, at.above, at.exact), (0.5, true, true));
        assert_eq!((first.strength, first.direction[0].standardised), (24.0, 1.0));
        // ‖(w̃, b̃)‖ = ‖(8, −1 + 20)‖
        assert_eq!(first.norm, 8f64.hypot(19.0));
        assert!((e.neurons.iter().map(|n| n.share.unwrap()).sum::<f64>() - 1.0).abs() < 1e-12);
        // outputs of the second: −2, −1, 0, 0, 0
        assert!((e.neurons[1].deviation.unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(
            e.sentence(first),
            "Above f<0> = 0.5000 (80 % of the samples), each further unit of f<0> adds 6.00 to the prediction."
        );
        assert_eq!(
            e.sentence(&e.neurons[1]),
            "Below f<0> = 2.000 (40 % of the samples), each lower unit of f<0> takes 1.00 from the prediction."
        );
        let svg = e.figure().unwrap();
        assert_eq!(svg.matches("<circle").count(), 5);
        assert_eq!(svg.matches("class=\"kink\"").count(), 2);
    });
    case.with(None, |e| {
        assert!(e.figure().unwrap().contains("class=\"curve\""));
        assert!(e.json()["neurons"][0]["active_share"].is_null());
        assert!(!e.text().contains("deviation"));
    });
}

#[test]
fn two_features_have_a_map() {
    let weights = Mat::from_fn(2, 3, |i, j| [[1.0, 0.0, 0.6], [0.0, -1.0, 0.8]][i][j]);
    let mut case = Case::new(network(weights, &[0.0, 0.5, 0.25], &[1.0, 2.0, -1.0]));
    let x = Mat::from_fn(40, 2, |i, j| ((i * (7 + 3 * j)) % 11) as f64 - 5.0);
    let y: Vec<f64> = (0..40).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
    case.with(Some(samples(&x, None)), |e| {
        let svg = e.figure().unwrap();
        assert_eq!(svg.matches("<circle").count(), 40);
        assert_eq!(svg.matches("class=\"kink\"").count(), 3);
    });
    case.classes = Some(["no <b>".into(), "yes".into()]);
    case.with(Some(samples(&x, Some(&y))), |e| {
        let svg = e.figure().unwrap();
        assert_eq!(svg.matches("point second").count(), 14);
        assert!(e.text().contains("0 or more means yes"));
        let third = e.neurons.iter().find(|n| n.number == 3).unwrap();
        assert!(e.sentence(third).starts_with("Where f<1> is high and f<0> high in sum ("));
    });
    case.with(None, |e| assert!(e.figure().is_some()));
    case.numeric[1] = false;
    case.with(None, |e| assert!(e.figure().is_none()));
}

#[test]
fn gates_are_conditions() {
    let mut gated = network(Mat::from_fn(1, 1, |_, _| 2.0), &[2.0], &[3.0]);
    gated.gates =
        Some(Gates { directions: Mat::from_fn(1, 1, |_, _| -4.0), thresholds: vec![2.0] });
    let case = Case::new(gated);
    let x = Mat::from_fn(4, 1, |i, _| i as f64 - 2.0); // −2 −1 0 1
    case.with(Some(samples(&x, None)), |e| {
        assert_eq!(e.neurons[0].active, Some(0.5));
        assert_eq!(
            e.sentence(&e.neurons[0]),
            "Where f<0> ≤ -0.5000 (50 % of the samples), 6.00·f<0> + 6.00 is added to the prediction."
        );
        // it jumps: two pieces
        let svg = e.figure().unwrap();
        let path = svg.split("class=\"curve\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
    });
}

#[test]
fn odd_networks_do_not_trip() {
    // no neurons; a neuron without direction; constant features; equal samples
    let case = Case::new(network(Mat::zeros(3, 0), &[], &[]));
    let x = Mat::from_fn(3, 3, |_, _| 1.0);
    case.with(Some(samples(&x, None)), |e| assert_eq!(e.text().lines().count(), 3));
    let mut flat = Case::new(network(Mat::zeros(1, 2), &[2.0, -1.0], &[1.5, 1.0]));
    flat.scaling = Scaling { mean: vec![1.0], inverse_scale: vec![0.0] };
    let x = Mat::from_fn(3, 1, |_, _| 1.0);
    for samples in [None, Some(samples(&x, Some(&[1.0, 1.0, 1.0])))] {
        flat.with(samples, |e| {
            let first = e.neurons.iter().find(|n| n.number == 1).unwrap();
            assert_eq!(e.sentence(first), "For every sample it adds 3.00 to the prediction.");
            assert!(e.figure().is_some());
        });
    }
    // six features, of which one is used: drawn over that one
    let one = Case::new(network(Mat::from_fn(6, 1, |i, _| f64::from(i == 4)), &[0.0], &[1.0]));
    one.with(None, |e| assert!(e.figure().unwrap().contains("f&lt;4&gt;")));
}
