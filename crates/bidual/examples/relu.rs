//! A two-layer ReLU network on small data, certified over all networks of any width.
//!
//! `cargo run --release --example relu`

use bidual::solver::silent;
use bidual::{Dataset, Lambda, Mat, Options, PatternChoice, fit};

fn main() -> bidual::Result<()> {
    // a tent of two inputs on a grid
    let x = Mat::from_fn(25, 2, |i, j| if j == 0 { (i % 5) as f64 } else { (i / 5) as f64 });
    let y = (0..25).map(|i| (x[(i, 0)] - 2.0).abs() - 0.5 * (x[(i, 1)] - 2.0).max(0.0)).collect();
    let data = Dataset::new(x, y, None)?;
    let options = Options {
        lambda: Lambda::Fraction(0.05),
        patterns: PatternChoice::All(100_000), // every cell: the bound covers all networks
        ..Options::default()
    };
    let model = fit(&data, &options, &mut silent())?;
    let certificate = model.certificate;
    println!("{} neurons, objective {:.9}", model.network.neurons(), certificate.upper);
    println!("proved over {}: at least {:.9}", certificate.scope, certificate.lower);
    println!("relative gap {:.1e}: {}", certificate.relative_gap(), model.status.advice());
    Ok(())
}
