//! Any bytes as Dashboard lines of both sides, in one piece and cut.
#![no_main]

use dashboard::{Line, ReplyLine};
use dissect::Step;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut rest = bytes;
    while let Ok(Step::Whole { unit, len }) = Line::step(rest) {
        assert!((1..=rest.len()).contains(&len));
        // A border doesn't move when fewer bytes are seen at first.
        let seen = usize::from(*cut).min(len.saturating_sub(1));
        assert!(!matches!(Line::step(&rest[..seen]), Ok(Step::Whole { len: other, .. }) if other != len));
        let mut buffer = [0; dashboard::MAX_FAILURE_LINE];
        let _ = unit.failure_line(&mut buffer);
        let _ = unit.choice();
        rest = &rest[len..];
    }
    let mut rest = bytes;
    while let Ok(Step::Whole { unit, len }) = ReplyLine::step(rest) {
        assert!((1..=rest.len()).contains(&len));
        let _ = unit.read(None);
        rest = &rest[len..];
    }
});
