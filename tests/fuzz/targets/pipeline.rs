//! The whole packet path between five conversations that do what the bytes say.
#![no_main]

#[path = "../cell/mod.rs"]
mod cell;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cell::play(bytes);
});
