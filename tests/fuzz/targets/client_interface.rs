//! Any bytes as what a controller sends: packages and records, each step checked against a second reading of its length.
#![no_main]

use client_interface::{Header, MAX_RECORD, Message, Package, Record, RobotState};
use dissect::Step;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    loop {
        match Package::step(rest) {
            Ok(Step::Whole { unit, len }) => {
                let Ok(Step::Whole { unit: header, .. }) = Header::step(rest) else { panic!("a package has a head") };
                assert_eq!((header.len, header.kind, unit.body.len() + 5), (len, unit.kind, len));
                if let Ok(state) = RobotState::read(&unit) {
                    let parts: usize = state.sub_packages().map(|part| part.data.len() + 5).sum();
                    assert_eq!(parts, unit.body.len());
                    assert!(state.safety_mode().is_none() || state.robot_mode().is_some());
                }
                if let Ok(message) = Message::read(&unit) {
                    let mut again = vec![0; len + 64];
                    assert!(message.emit(&mut again).is_some());
                }
                rest = &rest[len..];
            }
            Ok(Step::Partial { needed }) => {
                assert!(needed > rest.len());
                break;
            }
            Err(_) => break,
        }
    }
    let mut rest = bytes;
    while let Ok(Step::Whole { unit, len }) = Record::step(rest) {
        assert!((12..=MAX_RECORD).contains(&len));
        let says = unit.robot_mode().is_some() || unit.safety_mode().is_some() || unit.program().is_some();
        assert!(!says || unit.layout.is_some());
        rest = &rest[len..];
    }
});
