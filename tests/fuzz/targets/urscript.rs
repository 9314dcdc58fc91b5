//! Any bytes as URScript of both dialects: the same units in one piece and byte group by byte group.
#![no_main]

use dissect::Step;
use libfuzzer_sys::fuzz_target;
use urscript::{Dialect, Scanner};

/// Lengths and digests of all units; the scanner sees `more` bytes more each time that it wants more.
fn units(bytes: &[u8], dialect: Dialect, more: usize) -> Vec<(usize, [u8; 32])> {
    let mut scanner = Scanner::default();
    let mut found = Vec::new();
    let (mut at, mut seen) = (0, more.min(bytes.len()));
    loop {
        match scanner.step(&bytes[at..seen], dialect) {
            Ok(Step::Whole { unit, len }) => {
                assert!((1..=seen - at).contains(&len));
                let _ = (unit.facts().count(), unit.bare(), unit.bare_value());
                found.push((len, unit.token_hash()));
                at += len;
            }
            Ok(Step::Partial { needed }) => {
                assert!(needed > seen - at);
                if seen == bytes.len() {
                    return found;
                }
                seen = (seen + more).min(bytes.len());
            }
            Err(_) => return found,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((more, bytes)) = data.split_first() else { return };
    for dialect in [Dialect::Client, Dialect::Interpreter] {
        let more = usize::from(*more).max(1);
        assert_eq!(units(bytes, dialect, more), units(bytes, dialect, bytes.len().max(1)));
    }
});
