//! The optimal set: pruning, ranges and choices within it, against enumeration of all supports and
//! a golden case. Tolerances are next to each check.

#[path = "../common/golden.rs"]
mod golden;

mod instances;
mod merging;
mod pruning;
mod set;
