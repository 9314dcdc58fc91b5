//! The gate against adversaries, lossy links and two models of either end.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_lossless,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]
// A fuzz target plays cases and nothing else.
#![cfg_attr(not(test), allow(dead_code, missing_docs, unused_imports))]

mod bench;
mod cases;
mod cell;
mod endpoint;
#[cfg(test)]
mod examples;
mod live;
#[cfg(test)]
mod questions;
mod random;
#[cfg(test)]
mod regressions;
#[cfg(test)]
mod sending;
#[cfg(test)]
mod step_by_step;
mod toy;

use super::*;

/// Runs the case that `bytes` decide, for the fuzz target of the gate; panics where anything is wrong.
#[cfg(fuzzing)]
pub fn play(bytes: &[u8]) {
    cases::play(bytes);
}

/// The kept inputs of the fuzz target, among them each one that ever found a fault.
#[test]
fn the_kept_inputs_of_the_fuzz_target_pass() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/gate");
    let directory = if std::path::Path::new(directory).is_dir() {
        directory
    } else {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/gate")
    };
    let mut inputs = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        cases::play(&std::fs::read(path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 10, "{inputs} inputs in {directory}");
}
