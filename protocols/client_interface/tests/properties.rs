//! What packages and records mean, and properties over arbitrary bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs
)]

use client_interface::emit::{self, Columns};
use client_interface::{
    ControlMode, HEADER, Header, Interface, Layout, MAX_PACKAGE, MAX_RECORD, Message, Package, PackageType, Program,
    Record, RobotMode, RobotModeData, RobotState, SafetyMode, Said, SubPackage, Version,
};
use dissect::{DissectError, Step};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const PLAYING: RobotModeData = RobotModeData {
    timestamp_us: 1_000_000,
    real_robot_connected: Some(true),
    real_robot_enabled: Some(true),
    power_on: Some(true),
    emergency_stopped: Some(false),
    protective_stopped: Some(false),
    program_running: Some(true),
    program_paused: Some(false),
    robot_mode: RobotMode::of(7),
    control_mode: Some(ControlMode::Position),
};

/// A robot state with a robot mode of `len` bytes and a masterboard.
fn state(mode: &RobotModeData, len: usize, safety: Option<SafetyMode>) -> Vec<u8> {
    let (mut first, mut second, mut buffer) = ([0; 200], [0; 70], [0; 400]);
    let parts = [emit::robot_mode(mode, len, &mut first).unwrap(), emit::masterboard(safety, &mut second)];
    let len = emit::robot_state(parts, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn package(bytes: &[u8]) -> Package<'_> {
    match Package::step(bytes) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => unit,
        other => panic!("{other:?}"),
    }
}

fn robot_state(bytes: &[u8]) -> RobotState<'_> {
    RobotState::read(&package(bytes)).unwrap()
}

fn record(bytes: &[u8]) -> Record<'_> {
    match Record::step(bytes) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => unit,
        other => panic!("{other:?}"),
    }
}

const LAYOUTS: [Layout; 6] = [Layout::V3_0, Layout::V3_2, Layout::V3_5, Layout::V3_10, Layout::V3_14, Layout::V5_10];

#[test]
fn ports_send_packages_or_records() {
    let of = |wanted| (0..=u16::MAX).filter(|port| Interface::of_port(*port) == Some(wanted)).collect::<Vec<_>>();
    assert_eq!(of(Interface::Packages), [30001, 30002, 30011, 30012]);
    assert_eq!(of(Interface::Records), [30003, 30013]);
}

#[test]
fn a_robot_mode_is_read_by_the_lengths_of_its_versions() {
    for len in [38, 46, 47, 48, 150] {
        let bytes = state(&PLAYING, len, SafetyMode::of(3));
        let read = robot_state(&bytes);
        assert_eq!(read.robot_mode(), Some(PLAYING), "{len}");
        assert_eq!(read.robot_mode().unwrap().program(), Some(Program::Playing));
        assert_eq!(read.safety_mode(), SafetyMode::of(3));
    }
    // Before 3.0 there were 29 bytes and other modes, and the masterboard was two bytes shorter in front.
    for len in [29, 37, 39, 45] {
        let (data, mut second, mut buffer) = (vec![1; len - HEADER], [0; 70], [0; 400]);
        let board = emit::masterboard(SafetyMode::of(1), &mut second);
        let written = emit::robot_state([SubPackage { kind: 0, data: &data }, board], &mut buffer).unwrap();
        let read = robot_state(&buffer[..written]);
        assert_eq!((read.robot_mode(), read.safety_mode()), (None, None), "{len}");
    }
}

#[test]
fn the_bytes_of_a_robot_state_stand_where_the_manual_says() {
    let mut bytes = vec![0, 0, 0, 52, 16, 0, 0, 0, 47, 0];
    bytes.extend(42_u64.to_be_bytes());
    bytes.extend([1, 1, 1, 0, 1, 0, 1, 7, 1]);
    bytes.extend([0; 25]);
    let mode = robot_state(&bytes).robot_mode().unwrap();
    assert_eq!((mode.timestamp_us, mode.protective_stopped, mode.emergency_stopped), (42, Some(true), Some(false)));
    assert_eq!((mode.program(), mode.control_mode), (Some(Program::Paused), Some(ControlMode::Teach)));
}

#[test]
fn contradictions_are_unknown() {
    let both = RobotModeData { program_paused: Some(true), ..PLAYING };
    assert_eq!(both.program(), None, "running and paused");
    let absurd = RobotModeData { program_running: None, robot_mode: None, control_mode: None, ..PLAYING };
    let bytes = state(&absurd, 47, None);
    let read = robot_state(&bytes);
    assert_eq!((read.robot_mode(), read.safety_mode()), (Some(absurd), None));
    assert_eq!(read.robot_mode().unwrap().program(), None);
    // Two of a kind: which one counts is anybody's guess.
    let (mut first, mut second, mut buffer) = ([0; 64], [0; 64], [0; 400]);
    let stopped = RobotModeData { program_running: Some(false), ..PLAYING };
    let parts =
        [emit::robot_mode(&PLAYING, 47, &mut first).unwrap(), emit::robot_mode(&stopped, 47, &mut second).unwrap()];
    let len = emit::robot_state(parts, &mut buffer).unwrap();
    assert_eq!(robot_state(&buffer[..len]).robot_mode(), None);
    // Behind the safety mode stand two flags.
    let mut bytes = state(&PLAYING, 47, SafetyMode::of(1));
    let reduced = bytes.len() - 9;
    bytes[reduced] = 7;
    assert_eq!(robot_state(&bytes).safety_mode(), None);
}

#[test]
fn sub_packages_fill_their_package() {
    let whole = state(&PLAYING, 47, SafetyMode::of(1));
    let parts: Vec<_> = robot_state(&whole).sub_packages().map(|part| (part.kind, part.data.len())).collect();
    assert_eq!(parts, [(0, 42), (3, 70)]);
    for (at, len) in [(8, 46), (8, 48), (8, 4), (8, 0), (5, 255)] {
        let mut bytes = whole.clone();
        bytes[at] = len;
        assert!(RobotState::read(&package(&bytes)).is_err(), "{at}");
    }
    assert_eq!(robot_state(&[0, 0, 0, 5, 16]).robot_mode(), None, "nothing in it");
}

#[test]
fn every_layout_of_a_record_says_what_it_has() {
    let columns = Columns {
        time_s: 12.5,
        robot_mode: RobotMode::of(5),
        safety_mode: SafetyMode::of(5),
        program: Some(Program::Paused),
        safety_status: SafetyMode::of(12),
    };
    let mut buffer = [0; MAX_RECORD];
    for layout in LAYOUTS {
        let len = emit::record(layout, &columns, &mut buffer).unwrap();
        let read = record(&buffer[..len]);
        assert_eq!((read.layout, read.time_s()), (Some(layout), Some(12.5)));
        assert_eq!((read.robot_mode(), read.safety_mode()), (columns.robot_mode, columns.safety_mode));
        assert_eq!(read.program(), columns.program.filter(|_| layout >= Layout::V3_2));
        assert_eq!(read.safety_status(), columns.safety_status.filter(|_| layout >= Layout::V3_10));
    }
    // Longer than any known one: what was there stays where it was.
    buffer[..4].copy_from_slice(&1301_u32.to_be_bytes());
    assert_eq!(record(&buffer[..1301]).program(), Some(Program::Paused));
    // Of older versions and unknown lengths nothing is read, whatever stands where it would.
    for len in [12_u32, 540, 764, 812, 1043, 1052, 1110, 1219] {
        buffer[..4].copy_from_slice(&len.to_be_bytes());
        let read = record(&buffer[..len as usize]);
        assert_eq!(
            (read.layout, read.robot_mode(), read.safety_mode(), read.program()),
            (None, None, None, None),
            "{len}"
        );
    }
}

#[test]
fn a_safety_mode_and_a_status_that_contradict_are_unknown() {
    let mut buffer = [0; MAX_RECORD];
    let mut read = |mode, status| {
        let columns =
            Columns { safety_mode: SafetyMode::of(mode), safety_status: SafetyMode::of(status), ..Columns::default() };
        let len = emit::record(Layout::V5_10, &columns, &mut buffer).unwrap();
        record(&buffer[..len]).safety_mode().map(SafetyMode::number)
    };
    assert_eq!(read(1, 1), Some(1));
    assert_eq!(read(5, 12), Some(5), "the status tells why");
    assert_eq!(read(1, 0), Some(1), "no status");
    for (mode, status) in [(1, 3), (3, 1), (2, 1), (1, 2), (0, 1)] {
        assert_eq!(read(mode, status), None, "{mode} {status}");
    }
}

type Unit = (i8, Vec<u8>);

/// All units of `bytes` given in pieces that end at `cuts`, and the error that ended them. Stepping over a package by its
/// head finds the same borders.
fn units(bytes: &[u8], cuts: &[usize], interface: Interface) -> (Vec<Unit>, Option<DissectError>) {
    let mut found = Vec::new();
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        loop {
            let given = &bytes[from..end.max(from)];
            let step = match interface {
                Interface::Packages => {
                    let step = Package::step(given);
                    if let (Ok(Step::Whole { len, .. }), Ok(Step::Whole { unit, .. })) = (&step, Header::step(given)) {
                        assert_eq!((*len, unit.len), (unit.len, *len));
                    }
                    step.map(|step| step.map(|package| package.kind.0))
                }
                Interface::Records => {
                    Record::step(given).map(|step| step.map(|record| i8::from(record.layout.is_some())))
                }
            };
            match step {
                Ok(Step::Whole { unit, len }) => {
                    assert!((HEADER..=given.len()).contains(&len));
                    found.push((unit, given[..len].to_vec()));
                    from += len;
                }
                Ok(Step::Partial { needed }) => {
                    assert!(needed > given.len() && needed <= MAX_PACKAGE);
                    break;
                }
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

/// Bytes that are often nearly a stream.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![select(vec![16_u8, 20, 25, 5, 0xff]), any::<u8>()];
    let part = (select(vec![0_u8, 1, 3, 9]), vec(0..4_u8, 0..90), prop_oneof![9 => Just(0_i32), 1 => -6..6_i32]);
    let parts = vec(part, 0..4).prop_map(|parts| {
        parts.into_iter().fold(Vec::new(), |mut body, (kind, data, wrong)| {
            body.extend((data.len() as i32 + 5 + wrong).to_be_bytes());
            body.push(kind);
            body.extend(data);
            body
        })
    });
    let message = (0..12_u8, vec(any::<u8>(), 0..60)).prop_map(|(kind, rest)| [&[0; 9][..], &[kind], &rest].concat());
    let body = prop_oneof![parts, message, vec(any::<u8>(), 0..60)];
    let wrong = prop_oneof![15 => Just(0_i32), 1 => -9..9_i32];
    vec((kind, body, wrong), 0..8).prop_map(|packages| {
        packages.into_iter().fold(Vec::new(), |mut bytes, (kind, body, wrong)| {
            bytes.extend((body.len() as i32 + 5 + wrong).to_be_bytes());
            bytes.push(kind);
            bytes.extend(body);
            bytes
        })
    })
}

fn robot_mode_data() -> impl Strategy<Value = RobotModeData> {
    let modes = (option::of(-1..=8_i8), option::of(0..4_u8));
    (any::<u64>(), any::<[Option<bool>; 7]>(), modes).prop_map(|(timestamp_us, flags, (robot, control))| {
        let [connected, enabled, power_on, emergency_stopped, protective_stopped, running, paused] = flags;
        RobotModeData {
            timestamp_us,
            real_robot_connected: connected,
            real_robot_enabled: enabled,
            power_on,
            emergency_stopped,
            protective_stopped,
            program_running: running,
            program_paused: paused,
            robot_mode: robot.and_then(RobotMode::of),
            control_mode: control.and_then(ControlMode::of),
        }
    })
}

fn said() -> impl Strategy<Value = Said<'static>> {
    // Leaked: a few thousand short texts a run.
    let text = || "[ -~]{0,40}".prop_map(|text: String| &*text.into_bytes().leak());
    let bytes = || vec(any::<u8>(), 0..60).prop_map(|bytes| &*bytes.leak());
    let pair = || any::<(i32, i32)>();
    let version = (text(), any::<[u8; 2]>(), any::<i32>(), option::of(0..0x2000_0000), text());
    prop_oneof![
        bytes().prop_map(Said::Text),
        (any::<i32>(), bytes()).prop_map(|(id, text)| Said::ProgramLabel { id, text }),
        (any::<(bool, bool)>(), text(), bytes()).prop_map(|((warning, error), title, text)| Said::Popup {
            warning: Some(warning),
            error: Some(error),
            title,
            text
        }),
        version.prop_map(|(project, [major, minor], bugfix, build, date)| {
            Said::Version(Version { project, major, minor, bugfix, build, date })
        }),
        (pair(), option::of(1..=20_i8)).prop_map(|((code, argument), mode)| Said::SafetyMode {
            code,
            argument,
            mode: mode.and_then(SafetyMode::of)
        }),
        (pair(), option::of(any::<u8>()), text()).prop_map(|((code, argument), level, text)| Said::ErrorCode {
            code,
            argument,
            level,
            text
        }),
        (pair(), bytes(), bytes()).prop_map(|((code, argument), title, text)| Said::Key {
            code,
            argument,
            title,
            text
        }),
        (any::<(u32, u32)>(), bytes()).prop_map(|((id, value_type), text)| Said::RequestValue { id, value_type, text }),
        (pair(), bytes()).prop_map(|((line, column), text)| Said::RuntimeException { line, column, text }),
        (11..=u8::MAX, bytes()).prop_map(|(kind, body)| Said::Other { kind, body }),
    ]
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_units(bytes in stream(), cuts in vec(any::<usize>(), 0..20)) {
        for interface in [Interface::Packages, Interface::Records] {
            prop_assert_eq!(units(&bytes, &cuts, interface), units(&bytes, &[], interface));
        }
    }

    #[test]
    fn any_cut_gives_the_same_records(
        lens in vec(select(vec![12_u32, 764, 1044, 1060, 1108, 1116, 1140, 1220, 4096]), 0..6), cuts in vec(any::<usize>(), 0..20)
    ) {
        let mut bytes = Vec::new();
        for len in &lens {
            bytes.extend(len.to_be_bytes());
            bytes.resize(bytes.len() + *len as usize - 4, 1);
        }
        let (found, error) = units(&bytes, &cuts, Interface::Records);
        prop_assert_eq!(error, None);
        prop_assert_eq!(found.iter().map(|(_, unit)| unit.len() as u32).collect::<Vec<_>>(), lens);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop_oneof![stream(), vec(any::<u8>(), 0..200)]) {
        if let Ok(Step::Whole { unit, .. }) = Package::step(&bytes) {
            let _ = Message::read(&unit).map(|message| (message.said.name(), message.said.text().len()));
            let _ = RobotState::read(&unit).map(|state| {
                (state.robot_mode().map(|mode| mode.program()), state.safety_mode(), state.sub_packages().count())
            });
        }
        for len in [1044_u32, 1220, 2000] {
            let mut record = len.to_be_bytes().to_vec();
            record.extend(bytes.iter().cycle().take(len as usize).chain([0; 2000].iter()).take(len as usize - 4));
            let Ok(Step::Whole { unit, .. }) = Record::step(&record) else { panic!("as long as it says") };
            let _ = (unit.time_s(), unit.robot_mode(), unit.safety_mode(), unit.program(), unit.safety_status());
        }
    }

    #[test]
    fn a_robot_mode_is_what_was_written(mode in robot_mode_data(), len in select(vec![38_usize, 46, 47, 60]), safety in option::of(1..=20_i8)) {
        let safety = safety.and_then(SafetyMode::of);
        let bytes = state(&mode, len, safety);
        prop_assert_eq!(robot_state(&bytes).robot_mode(), Some(mode));
        prop_assert_eq!(robot_state(&bytes).safety_mode(), safety);
    }

    #[test]
    fn a_message_is_what_was_written(timestamp_us in any::<u64>(), source in any::<i8>(), said in said()) {
        let message = Message { timestamp_us, source, said };
        let mut buffer = [0; 400];
        let len = message.emit(&mut buffer).unwrap();
        prop_assert_eq!(Message::read(&package(&buffer[..len])), Ok(message));
        // With less room nothing is written.
        prop_assert_eq!(message.emit(&mut buffer[..len - 1]), None);
    }

    #[test]
    fn a_package_is_what_was_written(kind in any::<i8>(), body in vec(any::<u8>(), 0..300)) {
        let written = Package { kind: PackageType(kind), body: &body };
        let mut buffer = [0; 400];
        let len = written.emit(&mut buffer).unwrap();
        prop_assert_eq!(package(&buffer[..len]), written);
    }

    #[test]
    fn a_column_that_is_no_number_of_its_table_says_nothing(bits in any::<u64>(), column in select(vec![95_usize, 102, 132, 139])) {
        let mut bytes = [0; 1220];
        bytes[..4].copy_from_slice(&1220_u32.to_be_bytes());
        bytes[4 + 8 * (column - 1)..4 + 8 * column].copy_from_slice(&bits.to_be_bytes());
        let read = record(&bytes);
        let value = f64::from_bits(bits);
        // All others are 0: a robot mode and a program state, but no safety mode.
        if column == 95 {
            prop_assert_eq!(read.robot_mode().map(|mode| f64::from(mode.number())), Some(value).filter(|_| (-1.0..=8.0).contains(&value) && value.fract() == 0.0));
        }
        if column == 132 {
            prop_assert_eq!(read.program().map(|program| f64::from(program as u8)), Some(value).filter(|_| (0.0..=5.0).contains(&value) && value.fract() == 0.0));
        }
        prop_assert_eq!(read.safety_mode().is_some(), column == 102 && value.fract() == 0.0 && (1.0..=20.0).contains(&value) || value == 22.0 && column == 102);
    }
}
