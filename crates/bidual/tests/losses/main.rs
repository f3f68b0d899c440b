//! Losses against definitions: derivatives, conjugates, lower bounds, intercepts.

#[path = "../common/golden.rs"]
mod golden;

mod common;
mod derivatives;
mod duality;
mod intercept;
mod kinked;
mod rounding;
mod samples;
mod scale;
