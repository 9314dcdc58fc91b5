//! The gate between two ends that do what the bytes say: segments of either end, cut, repeated, reordered and changed,
//! acknowledgements, windows, FIN, RST, time. The gate's own tests check everything that leaves.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| gate::gate::tests::play(bytes));
