//! Any bytes as an RTDE session: packages of both sides in turn, recipes remembered.
#![no_main]

use dissect::{Step, Toward};
use libfuzzer_sys::fuzz_target;
use rtde::{Package, Reply, Request, Session};

fuzz_target!(|data: &[u8]| {
    let Some((sides, mut rest)) = data.split_first() else { return };
    let (mut session, mut sides) = (Session::new(), *sides);
    loop {
        let toward = if sides & 1 == 0 { Toward::Robot } else { Toward::Plant };
        sides = sides.rotate_right(1);
        match Package::step(rest, toward) {
            Ok(Step::Whole { unit, len }) => {
                assert!((3..=rest.len()).contains(&len));
                match toward {
                    Toward::Robot => {
                        let _ = Request::read(&unit, &session);
                        let _ = session.request(&unit);
                    }
                    Toward::Plant => {
                        let _ = Reply::read(&unit, &session);
                        let _ = session.reply(&unit);
                    }
                }
                rest = &rest[len..];
            }
            Ok(Step::Partial { needed }) => {
                assert!(needed > rest.len());
                return;
            }
            Err(_) => return,
        }
    }
});
