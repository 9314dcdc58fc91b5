//! The verifier of evidence over stores that were altered by somebody who knows the format, and over any bytes.
#![no_main]
#![allow(unreachable_pub)]

#[path = "../stores/mod.rs"]
mod stores;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| stores::play(bytes));
