//! The conic solver against column generation, the optimality conditions, and networks written out.

#[path = "common/golden.rs"]
mod golden;

use bidual::arrangement::Arrangement;
use bidual::formulation::{Formulation, Relu, with_ones};
use bidual::loss::*;
use bidual::solver::{
    ColumnGeneration, Conic, Fista, InteriorPoint, LinearTerms, Solver, Status, silent,
};
use bidual::{Bias, Error, Mat, Program};
use golden::*;
use std::sync::Arc;

const BIASES: [(Bias, bool); 4] =
    [(Bias::None, false), (Bias::Penalised, false), (Bias::None, true), (Bias::Free, true)];

fn relu(x: &Mat, loss: Arc<dyn Loss>, bias: Bias, output_bias: bool) -> Relu {
    let loss: Arc<dyn Loss> =
        if output_bias { Arc::new(WithIntercept::new(loss).unwrap()) } else { loss };
    let features = if bias == Bias::None { x.clone() } else { with_ones(x) };
    let cells = Arrangement::all_cells(&features, 10_000).unwrap();
    Relu::new(Arc::new(x.clone()), loss, cells, bias).unwrap()
}

fn labels(r: &mut Random, n: usize) -> Vec<f64> {
    (0..n).map(|i| if i == 0 || (i > 1 && r.below(2) == 0) { 1.0 } else { -1.0 }).collect()
}

fn smooth(r: &mut Random, kind: usize, n: usize) -> Arc<dyn Loss> {
    let (y, w) = ((0..n).map(|_| r.normal()).collect(), Some(unit_weights(n)));
    match kind {
        0 => Arc::new(Squared::new(y, w).unwrap()),
        1 => Arc::new(Huber::new(y, 0.4, w).unwrap()),
        2 => Arc::new(Logistic::new(labels(r, n), w).unwrap()),
        _ => Arc::new(SquaredHinge::new(labels(r, n), w).unwrap()),
    }
}

#[test]
fn agrees_with_column_generation() {
    for seed in 0..16 {
        let mut r = Random(seed);
        let (n, d) = (5 + r.below(4), 1 + r.below(2));
        let x = r.matrix(n, d);
        let (bias, output_bias) = BIASES[seed as usize / 4];
        let program =
            relu(&x, smooth(&mut r, seed as usize % 4, n), bias, output_bias).program(0.05);
        let other = ColumnGeneration { tolerance: 1e-8, ..Default::default() }
            .solve(&program, None, &mut silent())
            .unwrap();
        let found = Conic { tolerance: 1e-7, first: 8, ..Default::default() }
            .solve(&program, None, &mut silent())
            .unwrap();
        println!("{seed} {bias:?} {}: {} ≤ {}", program.loss.name(), found.lower, found.upper);
        assert_eq!(found.status, Status::Certified, "{seed}");
        assert!(found.lower <= other.upper && other.lower <= found.upper, "{seed}");
        assert!((found.upper - other.upper).abs() <= 1e-6 * other.upper.abs(), "{seed}");
    }
}

#[test]
fn losses_without_derivatives() {
    for seed in 0..24 {
        let mut r = Random(100 + seed);
        let (n, d) = (5 + r.below(4), 1 + r.below(2));
        let x = r.matrix(n, d);
        let w = Some(unit_weights(n));
        let (bias, output_bias) = BIASES[seed as usize / 6];
        let loss: Arc<dyn Loss> = match seed % 2 {
            0 => Arc::new(Hinge::new(labels(&mut r, n), w).unwrap()),
            _ => Arc::new(Absolute::new((0..n).map(|_| r.normal()).collect(), w).unwrap()),
        };
        let formulation = relu(&x, loss.clone(), bias, output_bias);
        let program = formulation.program([0.02, 0.2, 1.0][r.below(3)]);
        let found = Conic { tolerance: 1e-7, first: 8, ..Default::default() }
            .solve(&program, None, &mut silent())
            .unwrap();
        println!("{seed} {bias:?} {}: {} ≤ {}", loss.name(), found.lower, found.upper);
        assert!(found.lower <= found.upper + 1e-12);
        assert!(found.upper - found.lower <= 1e-7 * found.upper.abs() + 1e-8, "{seed}");
        // the columns lie in their cones, and the network has the objective of the program
        let few = program.restrict(&found.z.columns);
        let violation = few.constraint.as_ref().unwrap().violation(&found.z.values);
        assert!(violation < 1e-12, "{seed}: {violation}");
        let network = formulation.recover(&found.z);
        let value = loss.value(&network.predict(&x)) + program.lambda * network.weight_decay(bias);
        assert!((value - found.upper).abs() < 1e-8 * (1.0 + value), "{seed}: {value}");
        // random networks are not below
        for _ in 0..300 {
            let (u, b) = ((0..d).map(|_| r.normal()).collect::<Vec<f64>>(), r.normal());
            let b = if bias == Bias::None { 0.0 } else { b };
            let hidden: Vec<f64> = times(&x, &u).iter().map(|t| (t + b).max(0.0)).collect();
            let size = if bias == Bias::Penalised { norm(&u).hypot(b) } else { norm(&u) };
            let c = if output_bias { r.normal() } else { 0.0 };
            let a = r.normal();
            let f: Vec<f64> = hidden.iter().map(|h| a * h + c).collect();
            assert!(found.lower <= loss.value(&f) + program.lambda * a.abs() * size, "{seed}");
        }
    }
}

/// Free and penalised linear terms: the squared loss by projection, all losses by the dual.
#[test]
fn linear_terms() {
    for seed in 0..18 {
        let mut r = Random(200 + seed);
        let (n, d) = (8, 2);
        let x = r.matrix(n, d);
        let w = Some(unit_weights(n));
        let loss: Arc<dyn Loss> = match seed % 3 {
            0 => Arc::new(Squared::new((0..n).map(|_| r.normal()).collect(), w).unwrap()),
            1 => Arc::new(Hinge::new(labels(&mut r, n), w).unwrap()),
            _ => Arc::new(Huber::new((0..n).map(|_| r.normal()).collect(), 0.3, w).unwrap()),
        };
        let program = relu(&x, loss.clone(), Bias::None, seed % 4 == 0).program(0.1);
        let terms = match seed / 6 {
            0 => LinearTerms { free: x.clone(), penalised: None },
            1 => LinearTerms { free: Mat::zeros(n, 0), penalised: Some((x.clone(), 0.2)) },
            // dependent columns
            _ => LinearTerms { free: Mat::from_fn(n, 3, |i, j| x[(i, j % 2)]), penalised: None },
        };
        let solver = Conic { tolerance: 1e-7, ..Default::default() };
        let found = solver.solve_with(&program, &terms, &mut silent()).unwrap();
        let (lower, upper) = (found.solution.lower, found.solution.upper);
        println!("{seed} {}: {lower} ≤ {upper}", loss.name());
        assert!(lower <= upper + 1e-12 && upper - lower <= 1e-7 * upper.abs() + 1e-8, "{seed}");
        // with a linear term there is no more to pay than without
        let plain = solver.solve(&program, None, &mut silent()).unwrap();
        assert!(lower <= plain.upper, "{seed}");
        let few = program.restrict(&found.solution.z.columns);
        let mut f = few.outputs(&found.solution.z.values);
        let linear = terms.outputs(&found.free, &found.penalised);
        f.iter_mut().zip(&linear).for_each(|(f, l)| *f += l);
        let paid = 0.2 * norm(&found.penalised)
            + program.lambda * few.regularizer.value(&found.solution.z.values);
        // a profiled loss takes the best constant, which the solver may not have found as well
        let value = program.loss.value(&f) + paid;
        assert!((value - upper).abs() < 1e-7 * (1.0 + upper.abs()), "{seed}: {value} {upper}");
        if terms.penalised.is_none() {
            for j in 0..d {
                assert!(dot(column(&x, j), &found.solution.nu).abs() < 1e-12, "{seed}");
            }
        } else {
            let c: Vec<f64> = (0..d).map(|j| dot(column(&x, j), &found.solution.nu)).collect();
            assert!(norm(&c) < 0.2 * (1.0 + 1e-6), "{seed}");
        }
    }
}

#[test]
fn interpolation() {
    for seed in 0..12 {
        let mut r = Random(300 + seed);
        let (bias, output_bias) = BIASES[seed as usize % 4];
        let (n, d) = (5, 2);
        let x = r.matrix(n, d);
        let y: Vec<f64> = (0..n).map(|_| r.normal()).collect();
        let loss: Arc<dyn Loss> =
            Arc::new(Interpolation::new(y.clone(), Some(unit_weights(n))).unwrap());
        let formulation = relu(&x, loss, bias, output_bias);
        let program = formulation.program(1.0);
        let solver = Conic { tolerance: 1e-7, first: 6, ..Default::default() };
        let found = solver.solve(&program, None, &mut silent()).unwrap();
        println!("{seed} {bias:?}: {} ≤ {}", found.lower, found.upper);
        assert_eq!(found.status, Status::Certified, "{seed}");
        let network = formulation.recover(&found.z);
        let outputs = network.predict(&x);
        let off = outputs.iter().zip(&y).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off < 1e-12, "{seed}: {off:e}");
        assert!((network.weight_decay(bias) - found.upper).abs() < 1e-9 * found.upper);
        // the limit of the squared loss, from below
        let squared: Arc<dyn Loss> = Arc::new(Squared::new(y, Some(unit_weights(n))).unwrap());
        let beta = 1e-6;
        let near = relu(&x, squared, bias, output_bias).program(beta);
        let near = ColumnGeneration { tolerance: 1e-9, ..Default::default() }
            .solve(&near, None, &mut silent())
            .unwrap();
        assert!(near.lower / beta <= found.upper * (1.0 + 1e-9), "{seed}");
        assert!(near.upper / beta >= 0.99 * found.upper, "{seed}");
    }
    // parallel rows with targets that no network without bias fits
    let x = Mat::from_fn(3, 2, |i, j| [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]][i][j]);
    let loss = Arc::new(Interpolation::new(vec![1.0, 1.0, 0.0], None).unwrap());
    let program = relu(&x, loss, Bias::None, false).program(1.0);
    let error = Conic::default().solve(&program, None, &mut silent()).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error}");
}

#[test]
fn solvers_that_need_derivatives_refuse() {
    let x = Mat::from_fn(3, 1, |i, _| i as f64 + 1.0);
    let loss = Arc::new(Hinge::new(vec![1.0, -1.0, 1.0], None).unwrap());
    let program: Program = relu(&x, loss, Bias::None, false).program(0.1);
    let solvers: Vec<Box<dyn Solver>> = vec![
        Box::new(ColumnGeneration::default()),
        Box::new(InteriorPoint::default()),
        Box::new(Fista::default()),
    ];
    for solver in solvers {
        let error = solver.solve(&program, None, &mut silent()).unwrap_err();
        assert!(error.to_string().contains("without derivatives"), "{error}");
    }
}
