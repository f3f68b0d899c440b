//! Column generation with its second-order master against the interior-point solver, on random
//! programs with cones: all smooth losses, few samples, flat cones, repeated columns and patterns,
//! one pattern, λ from λ_max down to 10⁻⁵ of it. `BIDUAL_CASES` sets how many.

#[path = "common/problems.rs"]
mod problems;
#[path = "common/programs.rs"]
mod programs;

use bidual::solver::{ColumnGeneration, InteriorPoint};
use programs::{cases, disagreement, honest, program, solved};
use rayon::prelude::*;
use std::sync::atomic::AtomicU64;

#[test]
fn agrees_with_interior_point() {
    let open = AtomicU64::new(0);
    let failures: Vec<String> = (0..cases())
        .into_par_iter()
        .filter_map(|seed| {
            let program = program(seed, true);
            let own = ColumnGeneration { tolerance: 1e-9, ..Default::default() };
            let own = solved(&own, &program);
            let other = InteriorPoint { tolerance: 1e-9, ..Default::default() };
            let other = solved(&other, &program);
            for solution in [&own, &other] {
                if let Err(text) = honest(seed, &program, solution, 1e-9) {
                    return Some(text);
                }
                let constraint = program.constraint.as_ref().expect("cones");
                let violation =
                    constraint.restrict(&solution.z.columns).violation(&solution.z.values);
                if violation > 0.0 {
                    return Some(format!("seed {seed}: violation {violation:e}"));
                }
            }
            disagreement(seed, &program, &own, &other, &open)
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");
    let open = open.into_inner();
    assert!(open <= cases() / 100, "{open} of {} are open", cases());
}
