//! Any bytes as a Modbus stream, both ways, in one piece and cut.
#![no_main]

use dissect::Step;
use libfuzzer_sys::fuzz_target;
use modbus::{Adu, Request, Response, Session};

/// Reads all units; `most` bytes are seen at first, all of them when that is not enough.
fn units(bytes: &[u8], most: usize) -> Vec<usize> {
    let mut session = Session::new();
    let mut lengths = Vec::new();
    let mut rest = bytes;
    loop {
        let first = &rest[..most.min(rest.len())];
        let step = match Adu::step(first) {
            Ok(Step::Partial { needed }) => {
                assert!(needed > first.len());
                Adu::step(rest)
            }
            step => step,
        };
        let Ok(Step::Whole { unit, len }) = step else { return lengths };
        assert!((8..=rest.len()).contains(&len));
        if let Ok(request) = Request::read(&unit) {
            for span in request.read.into_iter().chain(request.write.map(|write| write.span)) {
                assert!(u32::from(span.address) + u32::from(span.quantity) <= 65536);
            }
            if session.request(&request, lengths.len() as u64).is_err() {
                session.forget_oldest();
            }
        }
        let _ = Response::read(&unit);
        lengths.push(len);
        rest = &rest[len..];
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((most, bytes)) = data.split_first() else { return };
    let _ = (modbus::probe(bytes), Adu::datagram(bytes).is_ok());
    assert_eq!(units(bytes, usize::from(*most)), units(bytes, usize::MAX));
});
