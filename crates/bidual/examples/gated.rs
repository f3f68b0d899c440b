//! The convex program by hand: gates, program, solver, network.
//!
//! `cargo run --release --example gated`

use bidual::arrangement::{Arrangement, Share, sample_gates};
use bidual::formulation::{Formulation, GatedRelu};
use bidual::loss::{Squared, WithIntercept};
use bidual::solver::{Fista, Solver, silent};
use bidual::{Bias, Mat};
use std::sync::Arc;

fn main() -> bidual::Result<()> {
    let x = Mat::from_fn(60, 3, |i, j| ((i * (5 + 2 * j)) % 13) as f64 / 6.0 - 1.0);
    let y = (0..60).map(|i| x[(i, 0)] * x[(i, 1)] + 0.2 * x[(i, 2)]).collect();

    // 200 random gates on the rows of x; duplicates and the zero pattern are removed
    let gates = sample_gates(&x, 200, 0, Share::Biased, true)?;
    let arrangement = Arrangement::from_gates(&x, &gates)?;
    // mean of ½(f − y)², with an unpenalised output bias
    let loss =
        Arc::new(WithIntercept::new(Arc::new(Squared::new(y, Some(vec![1.0 / 60.0; 60]))?))?);
    let x = Arc::new(x);
    let formulation = GatedRelu::new(x.clone(), loss, arrangement, Bias::Penalised)?;

    let lambda_max = formulation.program(0.0).lambda_max();
    let program = formulation.program(0.05 * lambda_max);
    let solution = Fista::default().solve(&program, None, &mut silent())?;
    let network = formulation.recover(&solution.z);

    println!("λ_max {lambda_max:.6}, {} of {} gates in use", network.neurons(), program.shape().1);
    println!("{:.9} ≤ optimum ≤ {:.9}", solution.lower, solution.upper);
    println!("f(x₀) = {:.6}", network.predict(&x)[0]);
    Ok(())
}
