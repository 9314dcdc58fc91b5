//! Any bytes as HTTP messages of both sides, in one piece and cut.
#![no_main]

use dissect::Step;
use libfuzzer_sys::fuzz_target;
use robot_api::{Request, Response};

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let mut rest = bytes;
    while let Ok(Step::Whole { unit, len }) = Request::step(rest) {
        assert!((1..=rest.len()).contains(&len));
        // A border doesn't move when fewer bytes are seen at first.
        let seen = usize::from(*cut).min(len.saturating_sub(1));
        assert!(!matches!(Request::step(&rest[..seen]), Ok(Step::Whole { len: other, .. }) if other != len));
        let mut words = [0; robot_api::MAX_LINE];
        let line = unit.line(&mut words);
        assert!(!line.is_empty() && !line.contains(&b'\n'));
        rest = &rest[len..];
    }
    let mut rest = bytes;
    while let Ok(Step::Whole { len, .. }) = Response::step(rest) {
        assert!((1..=rest.len()).contains(&len));
        rest = &rest[len..];
    }
});
