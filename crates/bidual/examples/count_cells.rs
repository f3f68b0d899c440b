//! Counts and visits all activation patterns of random data, with the time it takes.
//!
//! `cargo run --release --example count_cells -- [samples] [features] [tied] [list] [closed]`
//!
//! With `tied` the features are small integers, so that many samples depend on
//! each other; `list` and `closed` also store all open cells, all closed patterns.

use bidual::arrangement::{closed_patterns, count_cells, enumerate_cells, for_each_cell};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::ops::ControlFlow;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, default: usize| arguments.get(k).map_or(Ok(default), |a| a.parse());
    let (n, d) = (number(0, 300)?, number(1, 3)?);
    let asked = |word: &str| arguments.iter().any(|a| a == word);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let x: Vec<f64> = (0..n * d)
        .map(|_| {
            let v: f64 = StandardNormal.sample(&mut random);
            if asked("tied") { (3.0 * v).round() } else { v }
        })
        .collect();

    let start = Instant::now();
    let count = count_cells(&x, n, d, usize::MAX)?;
    println!("{n} × {d}: {count:?}, counted in {:.2?}", start.elapsed());

    let start = Instant::now();
    let (mut cells, mut active) = (0_u64, 0_u64);
    for_each_cell(&x, n, d, usize::MAX, &mut |pattern, _| {
        cells += 1;
        active += pattern.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        ControlFlow::Continue(())
    })?;
    let share = active as f64 / cells as f64;
    println!("visited {cells} in {:.2?}, {share:.2} samples active", start.elapsed());

    if asked("list") {
        let start = Instant::now();
        let list = enumerate_cells(&x, n, d, usize::MAX)?;
        println!("listed {} in {:.2?}", list.patterns.len(), start.elapsed());
    }
    if asked("closed") {
        let start = Instant::now();
        let closed = closed_patterns(&x, n, d, usize::MAX)?;
        println!("closed patterns {} in {:.2?}", closed.patterns.len(), start.elapsed());
    }
    Ok(())
}
