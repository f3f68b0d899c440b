//! Random training problems, and their objective written out without the crate:
//! scaling, network, loss and weight decay from their definitions.
#![allow(dead_code)] // each test file uses its own part

use bidual::{Activation, Bias, Dataset, Lambda, LossKind, Mat, Network, Options, PatternChoice};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Seeded random numbers.
pub struct Random(pub ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    pub fn normals(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.normal()).collect()
    }

    /// Uniform in low..=high.
    pub fn integer(&mut self, low: i32, high: i32) -> i32 {
        self.0.random_range(low..=high)
    }

    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        self.0.random_range(low..high)
    }

    pub fn matrix(&mut self, n: usize, d: usize) -> Mat {
        Mat::from_fn(n, d, |_, _| self.normal())
    }
}

/// Data and options of problem `seed`: all losses, biases and kinds of patterns come up.
pub fn random_problem(seed: u64) -> (Dataset, Options) {
    let mut r = Random::new(1000 + seed);
    let (n, d) = (r.integer(3, 12) as usize, r.integer(1, 4) as usize);
    let loss = match seed % 4 {
        0 => LossKind::Squared,
        1 => LossKind::Huber(r.uniform(0.1, 1.5)),
        2 => LossKind::Logistic,
        _ => LossKind::SquaredHinge,
    };
    let integers = seed.is_multiple_of(3);
    let mut x =
        Mat::from_fn(n, d, |_, _| if integers { f64::from(r.integer(-2, 2)) } else { r.normal() });
    if integers {
        for j in 0..d {
            x[(1, j)] = x[(0, j)]; // a repeated sample
            x[(2, j)] *= f64::from(r.integer(0, 1)); // now and then a zero one
        }
        match r.integer(0, 3) {
            0 if d > 1 => (0..n).for_each(|i| x[(i, 1)] = 2.0), // constant
            1 if d > 1 => (0..n).for_each(|i| x[(i, 1)] = x[(i, 0)]), // repeated
            2 if d > 1 => (0..n).for_each(|i| x[(i, 1)] = 0.0),
            _ => {}
        }
    }
    let classes = loss.is_classification();
    let mut y: Vec<f64> = (0..n)
        .map(|_| match (classes, integers) {
            (true, _) => f64::from(2 * r.integer(0, 1) - 1),
            (false, true) => f64::from(r.integer(-3, 3)),
            (false, false) => 1.5 * r.normal() + 0.5,
        })
        .collect();
    y[n - 1] = if classes { -y[0] } else { y[0] + 1.0 };
    let weights = (r.integer(0, 2) > 0).then(|| {
        let mut w: Vec<f64> = (0..n).map(|_| r.uniform(0.1, 3.0)).collect();
        if n > 4 && r.integer(0, 3) == 0 {
            w[n / 2] = 0.0;
        }
        w
    });
    let gated = seed % 5 == 4;
    let output_bias = r.integer(0, 1) == 1;
    let bias = match r.integer(0, 2) {
        0 => Bias::None,
        1 if output_bias && !gated => Bias::Free,
        _ => Bias::Penalised,
    };
    let patterns = if gated || r.integer(0, 2) == 0 {
        PatternChoice::Sampled(r.integer(3, 40) as usize)
    } else {
        PatternChoice::All(4000)
    };
    let options = Options {
        activation: if gated { Activation::Gated } else { Activation::Relu },
        loss,
        lambda: Lambda::Fraction([0.9, 0.3, 0.1, 0.02][r.integer(0, 3) as usize]),
        patterns,
        bias,
        output_bias,
        standardize: r.integer(0, 2) > 0,
        seed,
        ..Options::default()
    };
    (Dataset::new(x, y, weights).expect("valid data"), options)
}

/// ℓ(f, y) and its derivative in f.
pub fn loss_of(kind: LossKind, f: f64, y: f64) -> (f64, f64) {
    match kind {
        LossKind::Squared => (0.5 * (f - y) * (f - y), f - y),
        LossKind::Huber(delta) => {
            let r = f - y;
            if r.abs() <= delta {
                (0.5 * r * r, r)
            } else {
                (delta * r.abs() - 0.5 * delta * delta, delta * r.signum())
            }
        }
        LossKind::Logistic => {
            let m = y * f;
            let value = if m > 0.0 { (-m).exp().ln_1p() } else { m.exp().ln_1p() - m };
            (value, -y / (1.0 + m.exp()))
        }
        LossKind::SquaredHinge => {
            let s = (1.0 - y * f).max(0.0);
            (0.5 * s * s, -y * s)
        }
    }
}

/// A training problem on scaled features, rows with no bias entry.
pub struct Setup {
    pub x: Vec<Vec<f64>>,
    pub y: Vec<f64>,
    pub omega: Vec<f64>,
    pub loss: LossKind,
    pub bias: Bias,
    pub output_bias: bool,
    pub lambda: f64,
    pub mean: Vec<f64>,
    /// 1 where the features are not scaled, 0 where a feature is constant.
    pub deviation: Vec<f64>,
}

impl Setup {
    pub fn new(data: &Dataset, options: &Options, lambda: f64) -> Self {
        let (n, d) = (data.samples(), data.features());
        let raw = data.weights.clone().unwrap_or_else(|| vec![1.0; n]);
        let total: f64 = raw.iter().sum();
        let omega: Vec<f64> = raw.iter().map(|w| w / total).collect();
        let (mut mean, mut deviation) = (vec![0.0; d], vec![1.0; d]);
        if options.standardize {
            for j in 0..d {
                mean[j] = (0..n).map(|i| omega[i] * data.x[(i, j)]).sum();
                let square = |i: usize| omega[i] * (data.x[(i, j)] - mean[j]).powi(2);
                let spread = (0..n).map(square).sum::<f64>().sqrt();
                deviation[j] = if spread < 1e-12 * (1.0 + mean[j].abs()) { 0.0 } else { spread };
            }
        }
        let scaled = |i: usize, j: usize| match deviation[j] {
            0.0 => 0.0,
            s => (data.x[(i, j)] - mean[j]) / s,
        };
        Self {
            x: (0..n).map(|i| (0..d).map(|j| scaled(i, j)).collect()).collect(),
            y: data.y.clone(),
            omega,
            loss: options.loss,
            bias: options.bias,
            output_bias: options.output_bias,
            lambda,
            mean,
            deviation,
        }
    }

    pub fn matrix(&self) -> Mat {
        Mat::from_fn(self.x.len(), self.x[0].len(), |i, j| self.x[i][j])
    }

    /// Σ ω ℓ(f + c) with the best constant c if there is an output bias.
    pub fn loss_at(&self, f: &[f64]) -> f64 {
        let c = self.best_constant(f);
        (0..f.len()).map(|i| self.omega[i] * loss_of(self.loss, f[i] + c, self.y[i]).0).sum()
    }

    /// Bisection on the derivative, which grows in c.
    pub fn best_constant(&self, f: &[f64]) -> f64 {
        if !self.output_bias {
            return 0.0;
        }
        let slope = |c: f64| -> f64 {
            (0..f.len()).map(|i| self.omega[i] * loss_of(self.loss, f[i] + c, self.y[i]).1).sum()
        };
        let (mut low, mut high) = (-1.0, 1.0);
        while slope(low) > 0.0 && low > -1e9 {
            low *= 2.0;
        }
        while slope(high) < 0.0 && high < 1e9 {
            high *= 2.0;
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if slope(middle) > 0.0 {
                high = middle;
            } else {
                low = middle;
            }
        }
        0.5 * (low + high)
    }

    /// The network on scaled features (its gates, if any, as bits of the samples).
    pub fn competitor(&self, network: &Network, x: &Mat) -> Competitor {
        let d = self.x[0].len();
        let mut neurons = vec![];
        for k in 0..network.neurons() {
            let mut b = network.biases[k];
            let raw: Vec<f64> = (0..d).map(|j| network.weights[(j, k)]).collect();
            let mut w = vec![0.0; d];
            for j in 0..d {
                b += raw[j] * self.mean[j];
                w[j] = raw[j] * self.deviation[j];
            }
            let on = network.gates.as_ref().map(|g| {
                let side = |i: usize| (0..d).map(|j| g.directions[(j, k)] * x[(i, j)]).sum::<f64>();
                (0..x.nrows()).map(|i| side(i) >= g.thresholds[k]).collect()
            });
            neurons.push(Neuron { w, b, a: network.outputs[k], on });
        }
        Competitor { neurons, c: network.output_bias }
    }
}

/// One hidden neuron on scaled features; with fixed gates, `on` says where it is active.
#[derive(Clone)]
pub struct Neuron {
    pub w: Vec<f64>,
    pub b: f64,
    pub a: f64,
    pub on: Option<Vec<bool>>,
}

/// Any network of the trained kind.
#[derive(Clone)]
pub struct Competitor {
    pub neurons: Vec<Neuron>,
    pub c: f64,
}

impl Neuron {
    fn hidden(&self, x: &[f64], i: usize) -> (f64, bool) {
        let h = self.b + self.w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        (h, self.on.as_ref().map_or(h > 0.0, |on| on[i]))
    }

    fn square(&self, bias: Bias) -> f64 {
        let b = if bias == Bias::Penalised { self.b * self.b } else { 0.0 };
        self.w.iter().map(|w| w * w).sum::<f64>() + b
    }
}

impl Competitor {
    pub fn random(setup: &Setup, width: usize, size: f64, r: &mut Random) -> Self {
        let neuron = |r: &mut Random| Neuron {
            w: r.normals(setup.x[0].len()).iter().map(|v| size * v).collect(),
            b: if setup.bias == Bias::None { 0.0 } else { size * r.normal() },
            a: size * r.normal(),
            on: None,
        };
        Self { neurons: (0..width).map(|_| neuron(r)).collect(), c: 0.0 }
    }

    pub fn outputs(&self, setup: &Setup) -> Vec<f64> {
        let one = |(i, x): (usize, &Vec<f64>)| {
            let on = |n: &Neuron| match n.hidden(x, i) {
                (h, true) => n.a * h,
                _ => 0.0,
            };
            self.c + self.neurons.iter().map(on).sum::<f64>()
        };
        setup.x.iter().enumerate().map(one).collect()
    }

    /// Loss + λ/2·Σ(‖w‖² + a²), as it stands.
    pub fn objective(&self, setup: &Setup) -> f64 {
        let f = self.outputs(setup);
        let loss: f64 =
            (0..f.len()).map(|i| setup.omega[i] * loss_of(setup.loss, f[i], setup.y[i]).0).sum();
        let decay: f64 =
            self.neurons.iter().map(|n| 0.5 * (n.square(setup.bias) + n.a * n.a)).sum();
        loss + setup.lambda * decay
    }

    /// The least objective of the same function: neurons balanced, constant refitted.
    pub fn best_objective(&self, setup: &Setup) -> f64 {
        let norms: f64 = self.neurons.iter().map(|n| n.square(setup.bias).sqrt() * n.a.abs()).sum();
        setup.loss_at(&self.outputs(setup)) + setup.lambda * norms
    }

    /// Plain gradient descent, the step halved when it fails and grown when it works.
    pub fn descend(&mut self, setup: &Setup, steps: usize) {
        let (mut step, mut value) = (0.1, self.objective(setup));
        for _ in 0..steps {
            let f = self.outputs(setup);
            let slope: Vec<f64> = (0..f.len())
                .map(|i| setup.omega[i] * loss_of(setup.loss, f[i], setup.y[i]).1)
                .collect();
            let mut next = self.clone();
            if setup.output_bias {
                next.c -= step * slope.iter().sum::<f64>();
            }
            for (n, to) in self.neurons.iter().zip(&mut next.neurons) {
                let mut gw: Vec<f64> = n.w.iter().map(|w| setup.lambda * w).collect();
                let mut ga = setup.lambda * n.a;
                let mut gb = if setup.bias == Bias::Penalised { setup.lambda * n.b } else { 0.0 };
                for (i, x) in setup.x.iter().enumerate() {
                    let (h, on) = n.hidden(x, i);
                    if on {
                        ga += slope[i] * h;
                        gb += slope[i] * n.a;
                        gw.iter_mut().zip(x).for_each(|(g, x)| *g += slope[i] * n.a * x);
                    }
                }
                to.a -= step * ga;
                to.w.iter_mut().zip(&gw).for_each(|(w, g)| *w -= step * g);
                if setup.bias != Bias::None {
                    to.b -= step * gb;
                }
            }
            let reached = next.objective(setup);
            if reached < value {
                (*self, value) = (next, reached);
                step *= 1.3;
            } else {
                step *= 0.4;
            }
        }
    }
}
