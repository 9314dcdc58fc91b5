//! Any bytes as each of external control's sockets.
#![no_main]

use dissect::Step;
use external_control::{Channel, Dialect, Motion, Order, Point, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for fields in Channel::ALL.into_iter().filter_map(Channel::fields) {
        let mut rest = bytes;
        while let Ok(Step::Whole { unit, len }) = Record::step(rest, fields) {
            assert_eq!((unit.len(), len), (fields, fields * 4));
            let motion = Motion::read(&unit).expect("at least eight integers");
            assert_eq!(motion.never_times_out(), motion.timeout_ms <= 0);
            let written = motion.emit();
            let Ok(Step::Whole { unit: again, .. }) = Record::step(&written, 8) else { panic!("eight integers") };
            assert_eq!(Motion::read(&again), Ok(motion));
            let _ = motion.action.name();
            if let Ok(point) = Point::read(&unit) {
                let _ = point.via();
                let kinds = [Dialect::Old, Dialect::New].map(|dialect| point.kind(dialect));
                assert_eq!(kinds.iter().any(Option::is_some), (0..=13).contains(&point.kind) || point.kind == 51);
            }
            if let Ok(order) = Order::read(&unit) {
                assert_eq!(order.arguments().count(), order.function.map_or(0, |function| function.arguments()));
            }
            rest = &rest[len..];
        }
        assert!(rest.len() < fields * 4);
    }
});
