#![allow(clippy::arithmetic_side_effects, reason = "a test may stop at the first surprise")]

use std::net::Ipv4Addr;

use dissect::Step;
use proptest::collection::vec;
use proptest::prelude::*;

use super::refusal::exception_code;
use super::*;
use crate::event::Reason;
use crate::robot::{Connection, Control, Inputs, State};

const MODBUS: (Service, u16) = (Service::Modbus, 502);
const RTDE: (Service, u16) = (Service::Rtde, 30004);
const DASHBOARD: (Service, u16) = (Service::Dashboard, 29999);
const CLIENT: (Service, u16) = (Service::UrScript, 30001);
const LINES: (Service, u16) = (Service::UrScript, INTERPRETER);

/// Shows the session one whole unit that is let through under `tag`.
fn sent(session: &mut Session, (service, port): (Service, u16), unit: &[u8], tag: u64) {
    let step = session.command(service, port, unit, |_, bytes| {
        assert_eq!(bytes, unit);
        Some(tag)
    });
    assert_eq!(step, Ok(Step::Whole { unit: (), len: unit.len() }));
}

/// Reads an answer that tells of the robot's state.
pub(super) fn heard(
    session: &mut Session,
    service: Service,
    bytes: &[u8],
    state: &mut State,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    let mut inputs = Inputs::new();
    let connection = Connection {
        number: 1,
        address: Ipv4Addr::new(10, 20, 0, 21).to_ipv6_mapped().octets(),
        port: 40112,
        wall_ns: 1,
    };
    read_answer(session, service, bytes, Told { state, inputs: &mut inputs, connection: &connection }, now_ns)
}

/// Reads an answer that tells nobody anything.
fn read(session: &mut Session, service: Service, bytes: &[u8]) -> Result<Step<Reading>, DissectError> {
    heard(session, service, bytes, &mut State::default(), 1)
}

pub(super) fn answered(session: &mut Session, service: Service, bytes: &[u8]) -> Reading {
    match read(session, service, bytes) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => unit,
        other => panic!("{other:?}"),
    }
}

fn refused(
    session: &Session,
    (service, port): (Service, u16),
    unit: &[u8],
    reason: Reason,
) -> Result<Vec<u8>, Refusal> {
    let mut out = [0; MAX_ANSWER];
    match refusal_answer(service, port, unit, reason, session, &mut out) {
        Refusal::Answer { len } => Ok(out[..len].to_vec()),
        other => Err(other),
    }
}

#[test]
fn modbus_answers_with_the_exception_that_the_reason_is() {
    let write = [0x12, 0x34, 0, 0, 0, 6, 0xff, 6, 0, 130, 0, 200];
    let session = Session::new();
    for (reason, code) in [
        (Reason::NoRule, 1),
        (Reason::CommandNotAllowed, 1),
        (Reason::DeniedByRule, 1),
        (Reason::AddressNotAllowed, 2),
        (Reason::ValueNotAllowed, 3),
        (Reason::QuantityNotAllowed, 3),
        (Reason::RateExceeded, 6),
        (Reason::StateMismatch, 6),
        (Reason::StateUnknown, 6),
    ] {
        let expected = vec![0x12, 0x34, 0, 0, 0, 3, 0xff, 0x86, code];
        assert_eq!(refused(&session, MODBUS, &write, reason), Ok(expected), "{reason}");
    }
    // On TCP unit id 0 is the device itself, no broadcast.
    let zero = [0, 9, 0, 0, 0, 6, 0, 5, 0, 16, 0xff, 0];
    assert_eq!(refused(&session, MODBUS, &zero, Reason::NoRule), Ok(vec![0, 9, 0, 0, 0, 3, 0, 0x85, 1]));
    for reason in Reason::ALL {
        assert!(matches!(exception_code(*reason).0, 1 | 2 | 3 | 6), "{reason}: a code that clients know");
    }
    let mut two = zero.to_vec();
    two.extend(zero);
    let exception = [0, 9, 0, 0, 0, 3, 0, 0x85, 1];
    for bytes in [&zero[..11], &two, b"", &exception] {
        assert_eq!(refused(&session, MODBUS, bytes, Reason::NoRule), Err(Refusal::None), "{bytes:?}");
    }
}

#[test]
fn dashboard_answers_with_the_verbs_own_failure() {
    let session = Session::new();
    let refused = |line: &[u8]| String::from_utf8(refused(&session, DASHBOARD, line, Reason::NoRule).unwrap()).unwrap();
    assert_eq!(refused(b"play\n"), "Failed to execute: play\n");
    assert_eq!(refused(b"  power on \r\n"), "Failed to execute: power on\n");
    assert_eq!(refused(b"popup hello\n"), "Failed to execute: popup hello\n");
    assert_eq!(refused(b"load /programs/x.urp\n"), "Error while loading program: /programs/x.urp\n");
    assert_eq!(refused(b"fly\n"), "could not understand: 'fly'\n");
    let mut longest = vec![b'x'; dashboard::MAX_LINE];
    *longest.last_mut().unwrap() = b'\n';
    assert!(refused(&longest).len() <= dashboard::MAX_FAILURE_LINE);
    for verb in dashboard::Verb::all() {
        let answer = refused(format!("{}\n", verb.name).as_bytes());
        // People would act on it.
        assert!(!answer.contains("not allowed") && !answer.contains("switch"), "{answer}");
        let Ok(Step::Whole { unit, .. }) = dashboard::ReplyLine::step(answer.as_bytes()) else { panic!("{answer}") };
        assert_ne!(unit.read(None), dashboard::Reply::NotRemote);
    }
    let cut: &[u8] = b"play";
    assert_eq!(super::tests::refused(&session, DASHBOARD, cut, Reason::NoRule), Err(Refusal::None));
}

#[test]
fn rtde_answers_in_the_version_in_force() {
    let mut session = Session::new();
    let outputs = b"\x00\x0cOtimestamp";
    assert_eq!(refused(&session, RTDE, outputs, Reason::NoRule), Ok(b"\x00\x0cONOT_FOUND".to_vec()));
    assert_eq!(refused(&session, RTDE, &[0, 5, b'V', 0, 2], Reason::NoRule), Ok(vec![0, 4, b'V', 0]));
    sent(&mut session, RTDE, &[0, 5, b'V', 0, 2], 1);
    assert_eq!(refused(&session, RTDE, outputs, Reason::NoRule), Err(Refusal::None), "either version may be in force");
    answered(&mut session, Service::Rtde, &[0, 4, b'V', 1]);
    let outputs = [&[0, 30, b'O'][..], &125.0_f64.to_be_bytes(), b"timestamp,actual_q,"].concat();
    let expected = [&[0, 23, b'O', 0][..], b"NOT_FOUND,NOT_FOUND"].concat();
    assert_eq!(refused(&session, RTDE, &outputs, Reason::VariableNotAllowed), Ok(expected));
    assert_eq!(refused(&session, RTDE, &[0, 3, b'S'], Reason::NoRule), Ok(vec![0, 4, b'S', 0]));
    assert_eq!(refused(&session, RTDE, &[0, 3, b'P'], Reason::NoRule), Ok(vec![0, 4, b'P', 0]));
    assert_eq!(refused(&session, RTDE, &[0, 3, b'v'], Reason::NoRule), Err(Refusal::None));
    assert_eq!(refused(&session, RTDE, &[0, 5, b'U', 1, 0], Reason::RecipeUnknown), Err(Refusal::Silent));
    assert_eq!(refused(&session, RTDE, &[0, 7, b'M', 1, b'x', 0, 3], Reason::NoRule), Err(Refusal::Silent));
}

#[test]
fn only_the_interpreter_answers_scripts() {
    let session = Session::new();
    assert_eq!(refused(&session, CLIENT, b"movej([0,0,0,0,0,0])\n", Reason::NoRule), Err(Refusal::Silent));
    let expected = b"discard: command_not_allowed: movej([0,0,0,0,0,0])\n".to_vec();
    let reason = Reason::CommandNotAllowed;
    assert_eq!(refused(&session, LINES, b" movej([0,0,0,0,0,0])\r\n", reason), Ok(expected));
    for nothing in [&b"\n"[..], b"  # note\n", b"$ 3 \"label\"\n"] {
        assert_eq!(refused(&session, LINES, nothing, reason), Err(Refusal::Silent));
    }
    for reason in Reason::ALL {
        let longest = [&[b'x'; 4000][..], b"\n"].concat();
        assert!(refused(&session, LINES, &longest, *reason).unwrap().len() <= urscript::MAX_DISCARD_LINE, "{reason}");
    }
    assert_eq!(refused(&session, (Service::Tcp(22), 22), b"x", reason), Err(Refusal::None));
}

#[test]
fn only_ports_with_units_both_ways_take_answers() {
    for (service, port) in [MODBUS, RTDE, DASHBOARD, LINES] {
        assert!(answers_framed(service, port), "{port}");
    }
    for (service, port) in [CLIENT, (Service::UrScript, 30003), (Service::Tcp(22), 22), (Service::Udp(502), 502)] {
        assert!(!answers_framed(service, port), "{port}");
    }
}

#[test]
fn modbus_requests_are_outstanding_until_their_response() {
    let mut session = Session::new();
    let read = |transaction| [0, transaction, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];
    for transaction in 1..=20 {
        sent(&mut session, MODBUS, &read(transaction), transaction.into());
        assert_eq!(session.outstanding(Service::Modbus), u32::from(transaction).min(16));
    }
    let mut left = 16;
    for transaction in 5..=20 {
        let reading = answered(&mut session, Service::Modbus, &[0, transaction, 0, 0, 0, 3, 1, 0x83, 2]);
        left -= 1;
        assert_eq!((reading.to, session.outstanding(Service::Modbus)), (Some(transaction.into()), left));
    }
    // What was refused never counts.
    let step = session.command(Service::Modbus, 502, &read(21), |_, _| None);
    assert_eq!((step, session.outstanding(Service::Modbus)), (Ok(Step::Whole { unit: (), len: 12 }), 0));
}

#[test]
fn dashboard_waits_for_the_greeting_and_pairs_in_order() {
    let mut session = Session::new();
    assert_eq!(session.outstanding(Service::Dashboard), 1);
    sent(&mut session, DASHBOARD, b"running\n", 7);
    assert_eq!(session.outstanding(Service::Dashboard), 2);
    let greeting = answered(&mut session, Service::Dashboard, b"Connected: Universal Robots Dashboard Server\n");
    assert_eq!((greeting.to, greeting.unsolicited, session.outstanding(Service::Dashboard)), (None, false, 1));
    let reading = answered(&mut session, Service::Dashboard, b"Program running: false\n");
    assert_eq!((reading.to, session.outstanding(Service::Dashboard)), (Some(7), 0));
    // More than tags are kept for: none is lost or given to another command.
    for tag in 1..=20 {
        sent(&mut session, DASHBOARD, b"robotmode\n", tag);
    }
    assert_eq!(session.outstanding(Service::Dashboard), 20);
    let mode = b"Robotmode: IDLE\n";
    assert_eq!(answered(&mut session, Service::Dashboard, mode).to, Some(1));
    sent(&mut session, DASHBOARD, b"robotmode\n", 21);
    for tag in 2..=21 {
        let reading = answered(&mut session, Service::Dashboard, mode);
        assert_eq!((reading.to, reading.unsolicited), ((tag <= 16).then_some(tag), false), "{tag}");
        assert_eq!(reading.recorded, tag <= 16);
    }
    assert!(answered(&mut session, Service::Dashboard, mode).unsolicited);
    assert_eq!(session.outstanding(Service::Dashboard), 0);
    sent(&mut session, DASHBOARD, b"robotmode\n", 22);
    assert_eq!(answered(&mut session, Service::Dashboard, mode).to, Some(22));
}

#[test]
fn the_interpreter_answers_line_by_line_and_the_others_never() {
    let mut session = Session::new();
    sent(&mut session, LINES, b"sync()\n", 3);
    sent(&mut session, LINES, b"statelastexecuted\n", 4);
    assert_eq!(session.outstanding(Service::UrScript), 2);
    let reading = answered(&mut session, Service::UrScript, b"ack: 1: sync()\n");
    assert_eq!((reading.to, reading.recorded, reading.text.as_bytes()), (Some(3), true, &b"ack: 1: sync()"[..]));
    assert_eq!(answered(&mut session, Service::UrScript, b"state: 1: statelastexecuted\n").to, Some(4));
    assert_eq!(session.outstanding(Service::UrScript), 0);
    let more = answered(&mut session, Service::UrScript, b"ack: 2: sync()\n");
    assert_eq!((more.to, more.recorded, more.unsolicited), (None, false, false));
    let mut session = Session::new();
    sent(&mut session, CLIENT, b"sync()\n", 3);
    assert_eq!(session.outstanding(Service::UrScript), 0);
}

/// What stands in register 258 is the robot's mode, as an answer to a read that holds it; no other answer says so.
#[test]
fn the_robots_mode_is_read_from_its_register() {
    let says = |function: u8, address: u16, answer: &[u8], major: u8| {
        let (mut session, mut state) = (Session::new(), State::default());
        if major != 0 {
            state.see_version(major, 1, 0, 1);
        }
        let [high, low] = address.to_be_bytes();
        sent(&mut session, MODBUS, &[0, 1, 0, 0, 0, 6, 255, function, high, low, 0, 2], 1);
        let len = u8::try_from(answer.len() + 1).unwrap();
        heard(&mut session, Service::Modbus, &[&[0, 1, 0, 0, 0, len, 255][..], answer].concat(), &mut state, 9)
            .unwrap();
        (state.robot_mode_at_ns != 0).then_some(state.robot_mode)
    };
    for function in [3, 4] {
        assert_eq!(says(function, 258, &[function, 4, 0, 7, 0, 9], 0), Some(7));
        assert_eq!(says(function, 257, &[function, 4, 0, 9, 0, 5], 5), Some(5));
        assert_eq!(says(function, 259, &[function, 4, 0, 7, 0, 7], 0), None);
        assert_eq!(says(function, 256, &[function, 4, 0, 7, 0, 7], 0), None);
        // No mode, an exception, and fewer registers than were asked for.
        assert_eq!(says(function, 258, &[function, 4, 0, 99, 0, 7], 0), None);
        assert_eq!(says(function, 258, &[function, 4, 0xff, 0xff, 0, 7], 0), None);
        assert_eq!(says(function, 258, &[function | 0x80, 2], 0), None);
        assert_eq!(says(function, 258, &[function, 2, 0, 7], 0), None);
        // Controllers before 3.0 number their modes otherwise.
        assert_eq!(says(function, 258, &[function, 4, 0, 7, 0, 9], 1), None);
    }
    assert_eq!(says(1, 258, &[1, 1, 3], 0), None, "coils are no registers");
    // Of two in flight under one transaction the answer to the second would be taken for the first one's.
    let (mut session, mut state) = (Session::new(), State::default());
    sent(&mut session, MODBUS, &[0, 1, 0, 0, 0, 6, 255, 3, 1, 2, 0, 1], 1);
    sent(&mut session, MODBUS, &[0, 1, 0, 0, 0, 6, 255, 3, 0, 128, 0, 1], 2);
    let answer = [0, 1, 0, 0, 0, 5, 255, 3, 2, 0, 7];
    heard(&mut session, Service::Modbus, &answer, &mut state, 9).unwrap();
    assert_eq!(state.robot_mode_at_ns, 0, "one of two");
    heard(&mut session, Service::Modbus, &answer, &mut state, 9).unwrap();
    assert_eq!(state.robot_mode_at_ns, 0, "the other's");
}

/// The version is told by an answer to its own question alone: what else the Dashboard says may hold anybody's text.
#[test]
fn the_version_is_told_only_where_it_was_asked_for() {
    let says = |before: &[&[u8]], answer: &[u8]| {
        let (mut session, mut state) = (Session::new(), State::default());
        before.iter().zip(1..).for_each(|(line, tag)| sent(&mut session, DASHBOARD, line, tag));
        heard(&mut session, Service::Dashboard, answer, &mut state, 9).unwrap();
        (state.version_at_ns != 0).then_some((state.major, state.minor, state.bugfix))
    };
    let version = b"URSoftware 5.12.3.1101319 (Mar 17 2022)\n";
    assert_eq!(says(&[b"PolyscopeVersion\n"], version), Some((5, 12, 3)));
    assert_eq!(says(&[b"get variable note\n"], version), None);
    assert_eq!(says(&[b"PolyscopeVersion\n", b"get variable note\n"], version), None);
    assert_eq!(says(&[], version), None);
    assert_eq!(says(&[b"polyscopeversion\n"], b"URSoftware 300.1.1\n"), None);
    // RTDE says it in numbers.
    let (mut session, mut state) = (Session::new(), State::default());
    sent(&mut session, RTDE, &[0, 3, b'v'], 1);
    let numbers: Vec<u8> = [3_u32, 15, 8, 0].into_iter().flat_map(u32::to_be_bytes).collect();
    heard(&mut session, Service::Rtde, &[&[0, 19, b'v'][..], &numbers].concat(), &mut state, 7).unwrap();
    assert_eq!((state.major, state.minor, state.bugfix, state.version_at_ns), (3, 15, 8, 7));
}

#[test]
fn the_dashboard_says_who_commands_the_robot_where_only_that_was_asked() {
    let mut session = Session::of_port(29999);
    let mut state = State::default();
    let mut hear = |session: &mut Session, line: &[u8], now_ns| {
        assert!(matches!(heard(session, Service::Dashboard, line, &mut state, now_ns), Ok(Step::Whole { .. })));
        (state.control, state.control_at_ns)
    };
    let greeting = b"Connected: Universal Robots Dashboard Server\n";
    assert_eq!(hear(&mut session, greeting, 1), (0, 0));
    let asks = b"Is In  Remote control\n";
    sent(&mut session, DASHBOARD, asks, 1);
    assert_eq!(hear(&mut session, b"true\n", 2), (Control::Remote as u8, 2));
    sent(&mut session, DASHBOARD, asks, 2);
    assert_eq!(hear(&mut session, b"false\n", 3), (Control::Local as u8, 3));
    // Another question has the same words for an answer.
    sent(&mut session, DASHBOARD, b"isProgramSaved\n", 3);
    assert_eq!(hear(&mut session, b"true\n", 4), (Control::Local as u8, 3));
    // Among others it is not sure which one is answered: a line too many or too few before it, and it is another's.
    sent(&mut session, DASHBOARD, b"isProgramSaved\n", 4);
    sent(&mut session, DASHBOARD, asks, 5);
    assert_eq!(hear(&mut session, b"true\n", 5), (Control::Local as u8, 3));
    sent(&mut session, DASHBOARD, b"isProgramSaved\n", 6);
    assert_eq!(hear(&mut session, b"true\n", 6), (Control::Local as u8, 3));
    assert_eq!(hear(&mut session, b"true\n", 7), (Control::Local as u8, 3));
    sent(&mut session, DASHBOARD, asks, 7);
    assert_eq!(hear(&mut session, b"maybe\n", 8), (Control::Local as u8, 3));
    // A line that nobody asked for.
    assert_eq!(hear(&mut session, b"true\n", 9), (Control::Local as u8, 3));
    // Beyond those whose tags are kept it is only counted.
    for tag in 10..=30 {
        sent(&mut session, DASHBOARD, asks, tag);
    }
    for now_ns in 10..=29 {
        assert_eq!(hear(&mut session, b"true\n", now_ns), (Control::Local as u8, 3));
    }
    assert_eq!(hear(&mut session, b"true\n", 30), (Control::Local as u8, 3), "its tag was not kept");
    sent(&mut session, DASHBOARD, asks, 31);
    assert_eq!(hear(&mut session, b"true\n", 31), (Control::Remote as u8, 31));
}

#[test]
fn any_bytes_are_a_session() {
    let mut session = Session::new();
    session.as_mut_bytes().fill(0xff);
    for service in [Service::Modbus, Service::Rtde, Service::Dashboard, Service::UrScript] {
        assert!(session.outstanding(service) > 0);
    }
    for _ in 0..40 {
        session.pending.push(1);
        session.pending.pop();
    }
    assert!(size_of::<Session>().is_multiple_of(8));
}

/// Units as clients send them, and what is nearly one.
fn unit() -> impl Strategy<Value = ((Service, u16), Vec<u8>)> {
    let modbus = (any::<[u8; 2]>(), any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..24)).prop_map(
        |([high, low], unit, function, data)| {
            let length = u8::try_from(data.len() + 2).unwrap();
            (MODBUS, [&[high, low, 0, 0, 0, length, unit, function], &data[..]].concat())
        },
    );
    let requests = prop_oneof![
        Just(vec![3, 0, 0, 0, 1]),
        Just(vec![6, 0, 130, 0, 7]),
        Just(vec![5, 0, 16, 0xff, 0]),
        Just(vec![16, 0, 128, 0, 1, 2, 0, 9]),
        Just(vec![0x2b, 0x0e, 1, 0]),
    ];
    let legal = (any::<[u8; 2]>(), any::<u8>(), requests).prop_map(|([high, low], unit, pdu)| {
        let length = u8::try_from(pdu.len() + 1).unwrap();
        (MODBUS, [&[high, low, 0, 0, 0, length, unit], &pdu[..]].concat())
    });
    let names = proptest::string::string_regex("([a-z_0-9]{1,12},){0,20}").unwrap();
    let rtde = (proptest::sample::select(b"VvMOISPU".to_vec()), names, 0..3_u8).prop_map(|(kind, names, shape)| {
        let payload = match (kind, shape) {
            (b'V', 0..2) => vec![0, 2],
            (b'O' | b'I', 0..2) => names.into_bytes(),
            (b'S' | b'P' | b'v', _) => Vec::new(),
            _ => names.into_bytes().into_iter().take(5).collect(),
        };
        let size = u16::try_from(payload.len() + 3).unwrap().to_be_bytes();
        (RTDE, [&size[..], &[kind], &payload].concat())
    });
    let verbs: Vec<&'static str> = dashboard::Verb::all().iter().map(|verb| verb.name).collect();
    let dashboard = (proptest::sample::select(verbs), vec(any::<u8>(), 0..30)).prop_map(|(verb, rest)| {
        let mut line = [verb.as_bytes(), b" ", &rest].concat();
        line.retain(|byte| *byte != b'\n');
        (DASHBOARD, [&line[..], b"\n"].concat())
    });
    let statement = prop_oneof![
        Just(b"movej([0,0,0,0,0,0], a=1.4)\n".to_vec()),
        Just(b"statelastexecuted\n".to_vec()),
        vec(any::<u8>(), 0..60).prop_map(|mut bytes| {
            bytes.push(b'\n');
            bytes
        }),
    ];
    let script = (any::<bool>(), statement).prop_map(|(lines, text)| (if lines { LINES } else { CLIENT }, text));
    let anything = (proptest::sample::select(vec![MODBUS, RTDE, DASHBOARD, LINES, CLIENT]), vec(any::<u8>(), 0..80));
    prop_oneof![modbus, legal, rtde, dashboard, script, anything]
}

#[test]
fn an_answer_that_does_not_carry_what_was_asked_for_is_told_apart() {
    let mut session = Session::new();
    let read = [0, 9, 0, 0, 0, 6, 255, 3, 0, 128, 0, 2];
    for (answer, mismatched) in [
        (&[0, 9, 0, 0, 0, 7, 255, 3, 4, 0, 1, 0, 2][..], false),
        (&[0, 9, 0, 0, 0, 5, 255, 3, 2, 0, 1], true),
        (&[0, 9, 0, 0, 0, 3, 255, 0x83, 2], false),
    ] {
        sent(&mut session, MODBUS, &read, 5);
        let reading = answered(&mut session, Service::Modbus, answer);
        assert_eq!((reading.to, reading.unsolicited, reading.mismatched), (Some(5), false, mismatched), "{answer:?}");
    }
    let reading = answered(&mut session, Service::Modbus, &[0, 9, 0, 0, 0, 5, 255, 3, 2, 0, 1]);
    assert!(reading.unsolicited && !reading.mismatched);
}

#[test]
fn the_seventeenth_outstanding_request_pushes_the_oldest_out_and_says_so() {
    let mut session = Session::new();
    for tag in 0..18_u8 {
        sent(&mut session, MODBUS, &[0, tag, 0, 0, 0, 6, 255, 3, 0, 128, 0, 1], tag.into());
        assert_eq!(session.forgotten(), u64::from(tag.saturating_sub(15)));
    }
    let oldest = answered(&mut session, Service::Modbus, &[0, 0, 0, 0, 0, 5, 255, 3, 2, 0, 1]);
    let latest = answered(&mut session, Service::Modbus, &[0, 17, 0, 0, 0, 5, 255, 3, 2, 0, 1]);
    assert_eq!((oldest.to, oldest.unsolicited, latest.to), (None, true, Some(17)));
}

#[test]
fn a_set_up_of_inputs_is_paired_with_its_answer_and_the_owner_is_told() {
    let mut session = Session::new();
    let (mut state, mut inputs) = (State::default(), Inputs::new());
    let variable = rtde::Variable::named(b"speed_slider_mask");
    let other = Connection {
        number: 2,
        address: Ipv4Addr::new(10, 20, 0, 22).to_ipv6_mapped().octets(),
        port: 40112,
        wall_ns: 0,
    };
    let own = Connection {
        number: 1,
        address: Ipv4Addr::new(10, 20, 0, 21).to_ipv6_mapped().octets(),
        port: 40113,
        wall_ns: 0,
    };
    inputs.accepted(variable, &other);
    sent(&mut session, RTDE, b"\x00\x14Ispeed_slider_mask", 7);
    let mut told = |bytes: &[u8], inputs: &mut Inputs| {
        let told = Told { state: &mut state, inputs, connection: &own };
        match read_answer(&mut session, Service::Rtde, bytes, told, 1) {
            Ok(Step::Whole { unit, .. }) => unit,
            other => panic!("{other:?}"),
        }
    };
    let reading = told(b"\x00\x0aI\0IN_USE", &mut inputs);
    assert_eq!((reading.to, reading.recorded), (Some(7), true));
    assert_eq!(reading.in_use.map(|in_use| in_use.port), Some(40112));
    assert!(inputs.other_owner(variable, 1).is_some(), "a refusal takes it from nobody");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is refused is answered with one whole unit that the client takes for the answer to it, or not at all.
    #[test]
    fn an_answer_is_one_unit_that_pairs_with_its_request(
        (on, bytes) in unit(),
        reason in proptest::sample::select(Reason::ALL.to_vec()),
        room in prop_oneof![0..64_usize, Just(MAX_ANSWER)],
    ) {
        let (service, port) = on;
        let mut out = vec![0xaa; room];
        let fresh = Session::new();
        let refusal = refusal_answer(service, port, &bytes, reason, &fresh, &mut out);
        // A client's view: what it sent, and what came back.
        let mut client = Session::new();
        client.greeted = 1;
        let mut whole = false;
        let step = client.command(service, port, &bytes, |_, unit| {
            whole = unit.len() == bytes.len();
            Some(99)
        });
        if !whole || step.is_err() {
            return Ok(());
        }
        match refusal {
            Refusal::Answer { len } => {
                prop_assert!(len <= room && out[len..].iter().all(|byte| *byte == 0xaa));
                prop_assert_eq!(client.outstanding(service), 1);
                let answer = &out[..len];
                let read = read(&mut client, service, answer);
                let Ok(Step::Whole { unit: reading, len: read }) = read else { panic!("{answer:?}: {read:?}") };
                prop_assert_eq!(read, len);
                prop_assert!(!reading.unsolicited);
                prop_assert_eq!(client.outstanding(service), 0);
                prop_assert!(service == Service::Rtde || reading.to == Some(99));
                prop_assert_eq!(reading.exception, if service == Service::Modbus { exception_code(reason).0 } else { 0 });
            }
            Refusal::Silent => prop_assert!(matches!(service, Service::Rtde | Service::UrScript)),
            // Too little room, or nothing true to say.
            Refusal::None => prop_assert!(room < MAX_ANSWER || bytes.get(2) == Some(&b'v') || bytes == [0, 3, b'O']),
        }
    }

    #[test]
    fn no_bytes_and_no_room_make_it_panic(
        on in proptest::sample::select(vec![MODBUS, RTDE, DASHBOARD, LINES, CLIENT, (Service::Icmp, 0)]),
        bytes in vec(any::<u8>(), 0..200),
        room in 0..300_usize,
        memory in any::<u8>(),
    ) {
        let (service, port) = on;
        let mut session = Session::new();
        session.as_mut_bytes().fill(memory);
        let mut out = vec![0; room];
        if let Refusal::Answer { len } = refusal_answer(service, port, &bytes, Reason::NoRule, &session, &mut out) {
            prop_assert!((1..=room).contains(&len));
        }
        let _ = session.outstanding(service);
        let _ = read(&mut session, service, &bytes);
        let _ = session.outstanding(service);
    }
}
