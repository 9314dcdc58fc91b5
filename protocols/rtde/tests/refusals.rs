//! Replies in the controller's place: against bytes written out by hand, and against a client's session.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs
)]

use dissect::{Step, Toward};
use proptest::collection::vec;
use proptest::prelude::*;
use rtde::emit::MAX_REFUSAL;
use rtde::{Outcome, Package, Reply, Request, Session, Version};

fn package(bytes: &[u8], toward: Toward) -> Package<'_> {
    match Package::step(bytes, toward) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => unit,
        other => panic!("{other:?}"),
    }
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u16::try_from(payload.len() + 3).unwrap();
    [&size.to_be_bytes()[..], &[kind], payload].concat()
}

fn session(version: Version) -> Session {
    let mut session = Session::new();
    if version == Version::V2 {
        session.request(&package(&[0, 5, b'V', 0, 2], Toward::Robot)).unwrap();
        session.reply(&package(&[0, 4, b'V', 1], Toward::Plant)).unwrap();
    }
    session
}

fn refusal(version: Version, request: &[u8]) -> Option<Vec<u8>> {
    let session = session(version);
    let package = package(request, Toward::Robot);
    let mut buffer = [0; MAX_REFUSAL];
    let len = Request::read(&package, &session).unwrap().refusal(version, &mut buffer)?;
    Some(buffer[..len].to_vec())
}

#[test]
fn each_request_has_its_own_no() {
    use Version::{V1, V2};
    for version in [V1, V2] {
        assert_eq!(refusal(version, &[0, 5, b'V', 0, 2]), Some(vec![0, 4, b'V', 0]));
        assert_eq!(refusal(version, &[0, 3, b'S']), Some(vec![0, 4, b'S', 0]));
        assert_eq!(refusal(version, &[0, 3, b'P']), Some(vec![0, 4, b'P', 0]));
        assert_eq!(refusal(version, &[0, 3, b'v']), None, "a version that is not known is not made up");
        assert_eq!(refusal(version, &framed(b'U', &[1, 0, 0, 0, 0])), None);
        // ur-rtde ends its lists with a comma.
        let inputs = framed(b'I', b"speed_slider_mask,speed_slider_fraction,");
        assert_eq!(refusal(version, &inputs), Some(framed(b'I', b"\0NOT_FOUND,NOT_FOUND")));
        assert_eq!(refusal(version, &framed(b'I', b"")), Some(framed(b'I', b"\0")));
    }
    let frequency = 125.0_f64.to_be_bytes();
    let outputs = framed(b'O', &[&frequency[..], b"timestamp"].concat());
    assert_eq!(refusal(V2, &outputs), Some(framed(b'O', b"\0NOT_FOUND")));
    assert_eq!(refusal(V2, &framed(b'O', &frequency)), Some(framed(b'O', b"\0")));
    assert_eq!(refusal(V1, &framed(b'O', b"timestamp,actual_q")), Some(framed(b'O', b"NOT_FOUND,NOT_FOUND")));
    assert_eq!(refusal(V1, &framed(b'O', b"")), None, "an empty list would say that all of it was found");
}

#[test]
fn the_longest_list_of_names_fits_exactly() {
    let names = framed(b'I', &b"a,".repeat(1024));
    let reply = refusal(Version::V2, &names).unwrap();
    // The last NOT_FOUND has no comma behind it.
    assert_eq!(reply.len(), MAX_REFUSAL - 1);
    let package = package(&names, Toward::Robot);
    let mut buffer = [0; MAX_REFUSAL];
    let request = Request::read(&package, &session(Version::V2)).map(|request| {
        (request.refusal(Version::V2, &mut buffer[..reply.len()]), request.refusal(Version::V2, &mut [0; 100]))
    });
    assert_eq!(request, Ok((Some(reply.len()), None)));
}

#[test]
fn what_is_outstanding_is_counted_until_its_reply() {
    let mut session = session(Version::V2);
    assert_eq!(session.outstanding(), 0);
    let outputs = framed(b'O', &[&10.0_f64.to_be_bytes()[..], b"timestamp"].concat());
    let requests =
        [framed(b'v', b""), outputs, framed(b'I', b"input_int_register_0"), framed(b'S', b""), framed(b'P', b"")];
    for (count, request) in (1..).zip(&requests) {
        session.request(&package(request, Toward::Robot)).unwrap();
        assert_eq!(session.outstanding(), count);
    }
    session.request(&package(&framed(b'U', &[1, 0, 0, 0, 0]), Toward::Robot)).unwrap();
    session.request(&package(&framed(b'M', b"\x01x\x00\x03"), Toward::Robot)).unwrap();
    assert_eq!(session.outstanding(), 5, "data and texts are answered by nothing");
    session.reply(&package(&framed(b'U', &[1, 0, 0, 0, 0, 0, 0, 0, 0]), Toward::Plant)).unwrap();
    session.reply(&package(&framed(b'M', b"\x01x\x00\x03"), Toward::Plant)).unwrap();
    assert_eq!(session.outstanding(), 5, "data and texts answer nothing");
    let replies: [&[u8]; 5] = [&[0; 16], b"\x01DOUBLE", b"\x01INT32", &[1], &[1]];
    for (left, (kind, reply)) in (0..5).rev().zip(b"vOISP".iter().zip(replies)) {
        session.reply(&package(&framed(*kind, reply), Toward::Plant)).unwrap();
        assert_eq!(session.outstanding(), left);
    }
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let names = proptest::string::string_regex("([a-z_0-9]{0,12},){0,20}[a-z]{0,5}").unwrap();
    (proptest::sample::select(b"VvMOISPU".to_vec()), names, any::<f64>(), vec(any::<u8>(), 0..8), 0..3_u8).prop_map(
        |(kind, names, frequency, rest, shape)| match (kind, shape) {
            (b'V', 0..2) => framed(kind, &[0, 2]),
            (b'O', 0) => framed(kind, names.as_bytes()),
            (b'O', 1) => framed(kind, &[&frequency.to_be_bytes()[..], names.as_bytes()].concat()),
            (b'I', 0..2) => framed(kind, names.as_bytes()),
            (b'S' | b'P' | b'v', 0..2) => framed(kind, b""),
            _ => framed(kind, &rest),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// A client whose request was refused takes the reply for the answer to it, and for a no.
    #[test]
    fn a_refusal_is_one_reply_that_says_no(bytes in request(), v2 in any::<bool>(), room in 0..300_usize) {
        let version = if v2 { Version::V2 } else { Version::V1 };
        let mut client = session(version);
        let asked = package(&bytes, Toward::Robot);
        let Ok(request) = Request::read(&asked, &client) else { return Ok(()) };
        let mut buffer = vec![0; room];
        let Some(len) = request.refusal(version, &mut buffer) else { return Ok(()) };
        let reply = package(&buffer[..len], Toward::Plant);
        prop_assert_eq!(reply.kind, asked.kind);
        let names = match request {
            Request::SetupOutputs { names, .. } | Request::SetupInputs { names } => names.iter().count(),
            _ => 0,
        };
        client.request(&asked).unwrap();
        prop_assert_eq!(client.outstanding(), 1);
        let answered = Reply::read(&reply, &client).unwrap();
        if let Reply::SetupOutputs { types, .. } | Reply::SetupInputs { types, .. } = answered {
            prop_assert_eq!(types.iter().count(), names);
        }
        match client.reply(&reply).unwrap() {
            Outcome::Version { accepted, .. } | Outcome::Start(accepted) | Outcome::Pause(accepted) => prop_assert!(!accepted),
            Outcome::Outputs(set_up) | Outcome::Inputs(set_up) => {
                prop_assert!(!set_up.is_accepted());
                prop_assert_eq!(usize::from(set_up.not_found), names);
            }
            Outcome::Nothing => prop_assert!(false, "says nothing"),
        }
        prop_assert_eq!(client.outstanding(), 0);
        prop_assert!(client.output_recipe().is_none() && client.recipes().next().is_none());
    }
}
