//! What the robot sends on the URScript ports: packages and records that answer nothing, read for its live state.

use client_interface::{
    Header, Interface, MAX_RECORD, Message, Package, PackageType, Program as Shown, Record, RobotMode, RobotState,
    SafetyMode, Said as Words,
};
use dissect::{DissectError, Step};

use super::{Reading, Session};
use crate::event::{Said, Text};
use crate::robot::{Program, State};

/// Longest package that is read. A robot state of the newest version has less than half of it; a message of this length is
/// longer than any record holds. Longer ones are stepped over as they come, so that what waits to be read never takes more
/// room than this from the stream's store, however long a package says that it is.
pub const MAX_READ: usize = 4096;

const _: () = assert!(MAX_RECORD <= MAX_READ);

/// Looks for one unit at the start of `bytes`, or for more of one that is only stepped over.
pub(super) fn read(
    session: &mut Session,
    interface: Interface,
    bytes: &[u8],
    state: &mut State,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    let waiting = usize::try_from(session.skip).unwrap_or(usize::MAX);
    if waiting > 0 {
        let len = waiting.min(bytes.len());
        if len == 0 {
            return Ok(Step::Partial { needed: 1 });
        }
        session.skip = u32::try_from(waiting.saturating_sub(len)).unwrap_or(0);
        return Ok(Step::Whole { unit: Reading::NOTHING, len });
    }
    match interface {
        Interface::Records => Ok(Record::step(bytes)?.map(|record| {
            see_record(&record, state, now_ns);
            Reading::NOTHING
        })),
        Interface::Packages => packages(session, bytes, state, now_ns),
    }
}

fn packages(
    session: &mut Session,
    bytes: &[u8],
    state: &mut State,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    let header = match Header::step(bytes)? {
        Step::Partial { needed } => return Ok(Step::Partial { needed }),
        Step::Whole { unit, .. } => unit,
    };
    let is_read = matches!(header.kind, PackageType::ROBOT_STATE | PackageType::ROBOT_MESSAGE);
    if !is_read || header.len > MAX_READ {
        let len = header.len.min(bytes.len());
        session.skip = u32::try_from(header.len.saturating_sub(len)).unwrap_or(0);
        return Ok(Step::Whole { unit: Reading::NOTHING, len });
    }
    // A package that is none inside has its borders all the same: it is stepped over, and nothing is taken from it.
    Ok(Package::step(bytes)?.map(|package| {
        if let Ok(robot) = RobotState::read(&package) {
            see_state(&robot, state, now_ns);
        }
        Message::read(&package).map_or(Reading::NOTHING, |message| message_said(&message, state, now_ns))
    }))
}

/// The numbers of robot modes, safety modes and program states are RTDE's: [`RobotMode`], [`SafetyMode`] and [`Shown`] say
/// where that is written.
fn see_state(robot: &RobotState<'_>, state: &mut State, now_ns: u64) {
    let Some(mode) = robot.robot_mode() else { return };
    if let Some(program) = mode.program() {
        state.see_program(program_of(program), now_ns);
    }
    if let Some(mode) = mode.robot_mode.map(RobotMode::number) {
        state.see_robot_mode(mode, now_ns);
    }
    if let Some(mode) = robot.safety_mode().map(SafetyMode::number) {
        state.see_safety_mode(mode, now_ns);
    }
}

fn see_record(record: &Record<'_>, state: &mut State, now_ns: u64) {
    if let Some(program) = record.program() {
        state.see_program(program_of(program), now_ns);
    }
    if let Some(mode) = record.robot_mode().map(RobotMode::number) {
        state.see_robot_mode(mode, now_ns);
    }
    if let Some(mode) = record.safety_mode().map(SafetyMode::number) {
        state.see_safety_mode(mode, now_ns);
    }
}

/// On the way to another state a program may still move the arm.
const fn program_of(shown: Shown) -> Program {
    match shown {
        Shown::Stopped => Program::Stopped,
        Shown::Paused => Program::Paused,
        Shown::Stopping | Shown::Playing | Shown::Pausing | Shown::Resuming => Program::Playing,
    }
}

/// What a message is worth in the records; labels of program lines and questions for values are not.
fn message_said(message: &Message<'_>, state: &mut State, now_ns: u64) -> Reading {
    let mut text = Text::EMPTY;
    let said = match message.said {
        Words::Text(_) => Said::Text,
        Words::Popup { warning, error, title, .. } => {
            titled(&mut text, title);
            Said::Popup { grave: warning.zip(error).map(|(warning, error)| warning || error) }
        }
        Words::Version(version) => {
            let (major, minor, bugfix) = (version.major, version.minor, version.bugfix);
            state.see_version(major, minor, bugfix, now_ns);
            titled(&mut text, version.project);
            Said::Version { major, minor, bugfix }
        }
        Words::SafetyMode { code, argument, mode } => {
            Said::SafetyMode { code, argument, mode: mode.map(SafetyMode::number) }
        }
        Words::ErrorCode { code, argument, level, .. } => Said::ErrorCode { code, argument, level },
        Words::Key { code, argument, title, .. } => {
            titled(&mut text, title);
            Said::Key { code, argument }
        }
        Words::RuntimeException { line, column, .. } => Said::RuntimeException { line, column },
        Words::ProgramLabel { .. } | Words::RequestValue { .. } | Words::Other { .. } => return Reading::NOTHING,
    };
    text.push(message.said.text());
    Reading { said: Some(said), text, ..Reading::NOTHING }
}

fn titled(text: &mut Text<96>, title: &[u8]) {
    if !title.is_empty() {
        text.push(title);
        text.push(b": ");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "a test may stop at the first surprise")]

    use client_interface::emit::{self, Columns};
    use client_interface::{Layout, RobotModeData, Version};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::command::Service;
    use crate::inspect::tests::heard;

    const MODE: RobotModeData = RobotModeData {
        timestamp_us: 0,
        real_robot_connected: Some(true),
        real_robot_enabled: Some(true),
        power_on: Some(true),
        emergency_stopped: Some(false),
        protective_stopped: Some(false),
        program_running: Some(true),
        program_paused: Some(false),
        robot_mode: RobotMode::of(7),
        control_mode: None,
    };

    fn state_package(mode: &RobotModeData, safety: i8) -> Vec<u8> {
        let (mut first, mut second, mut out) = ([0; 64], [0; 70], [0; 256]);
        let board = emit::masterboard(SafetyMode::of(safety), &mut second);
        let mode = emit::robot_mode(mode, 47, &mut first).unwrap();
        let len = emit::robot_state([mode, board], &mut out).unwrap();
        out[..len].to_vec()
    }

    fn message(said: Words<'_>) -> Vec<u8> {
        let mut out = vec![0; 20_000];
        let len = Message { timestamp_us: 1, source: -2, said }.emit(&mut out).unwrap();
        out.truncate(len);
        out
    }

    /// Reads all of `bytes`, which must be whole units; what was said, and the state after it.
    fn hear(port: u16, bytes: &[u8]) -> (Vec<(Said, String)>, State) {
        let (mut session, mut state, mut rest, mut said) =
            (Session::of_port(port), State::default(), bytes, Vec::new());
        while !rest.is_empty() {
            match heard(&mut session, Service::UrScript, rest, &mut state, 9) {
                Ok(Step::Whole { unit, len }) => {
                    said.extend(unit.said.map(|said| (said, unit.text.to_string())));
                    assert!(!unit.recorded && !unit.unsolicited && unit.to.is_none(), "it answers nothing");
                    rest = &rest[len..];
                }
                other => panic!("{other:?}"),
            }
        }
        (said, state)
    }

    #[test]
    fn a_robot_state_is_the_live_state() {
        for port in [30001, 30002, 30011, 30012] {
            let (_, state) = hear(port, &state_package(&MODE, 3));
            assert_eq!((state.program, state.program_at_ns), (Program::Playing as u8, 9), "{port}");
            assert_eq!((state.robot_mode, state.robot_mode_at_ns), (7, 9));
            assert_eq!((state.safety_mode, state.safety_mode_at_ns), (3, 9));
            assert_eq!(state.control_at_ns, 0, "these ports don't tell");
        }
        let absurd = RobotModeData { program_paused: Some(true), robot_mode: None, ..MODE };
        let (_, state) = hear(30001, &state_package(&absurd, 0));
        assert_eq!([state.program_at_ns, state.robot_mode_at_ns, state.safety_mode_at_ns], [0; 3], "unknown");
    }

    #[test]
    fn a_record_is_the_live_state() {
        let columns = |program| Columns {
            program,
            robot_mode: RobotMode::of(5),
            safety_mode: SafetyMode::of(1),
            safety_status: SafetyMode::of(1),
            ..Columns::default()
        };
        let mut out = [0; MAX_RECORD];
        for port in [30003, 30013] {
            for (shown, program) in [
                (Shown::Stopped, Program::Stopped),
                (Shown::Paused, Program::Paused),
                (Shown::Playing, Program::Playing),
                (Shown::Stopping, Program::Playing),
                (Shown::Pausing, Program::Playing),
                (Shown::Resuming, Program::Playing),
            ] {
                let len = emit::record(Layout::V5_10, &columns(Some(shown)), &mut out).unwrap();
                let (_, state) = hear(port, &out[..len]);
                assert_eq!((state.program, state.program_at_ns), (program as u8, 9), "{shown:?}");
                assert_eq!((state.robot_mode, state.safety_mode), (5, 1));
            }
        }
        let len = emit::record(Layout::V5_10, &Columns::default(), &mut out).unwrap();
        let (_, state) = hear(30003, &out[..len]);
        assert_eq!([state.program_at_ns, state.robot_mode_at_ns, state.safety_mode_at_ns], [0; 3], "NaN is no mode");
    }

    #[test]
    fn what_the_robot_says_is_told_and_its_version_kept() {
        let version = Version { project: b"URControl", major: 5, minor: 13, bugfix: 1, build: Some(7), date: b"today" };
        let bytes = [
            message(Words::Version(version)),
            message(Words::Text(b"hello")),
            message(Words::Popup { warning: Some(false), error: Some(true), title: b"Stop", text: b"Look here" }),
            message(Words::ErrorCode { code: 204, argument: 3, level: Some(2), text: b"Protective stop" }),
            message(Words::Key { code: 3, argument: 0, title: b"PROGRAM_STARTED", text: b"x.urp" }),
            message(Words::SafetyMode { code: 5, argument: 1, mode: SafetyMode::of(3) }),
            message(Words::RuntimeException { line: 7, column: 3, text: b"division by zero" }),
            message(Words::ProgramLabel { id: 4, text: b"not told" }),
            message(Words::Other { kind: 18, body: b"not told" }),
        ];
        let (said, state) = hear(30001, &bytes.concat());
        let expected = [
            (Said::Version { major: 5, minor: 13, bugfix: 1 }, "URControl: today"),
            (Said::Text, "hello"),
            (Said::Popup { grave: Some(true) }, "Stop: Look here"),
            (Said::ErrorCode { code: 204, argument: 3, level: Some(2) }, "Protective stop"),
            (Said::Key { code: 3, argument: 0 }, "PROGRAM_STARTED: x.urp"),
            (Said::SafetyMode { code: 5, argument: 1, mode: Some(3) }, ""),
            (Said::RuntimeException { line: 7, column: 3 }, "division by zero"),
        ];
        assert_eq!(said, expected.map(|(said, text)| (said, text.to_owned())));
        assert_eq!((state.major, state.minor, state.bugfix, state.version_at_ns), (5, 13, 1, 9));
        assert_eq!([state.program_at_ns, state.safety_mode_at_ns], [0; 2], "messages are no state");
    }

    #[test]
    fn what_is_not_read_takes_no_room() {
        // Whatever length it claims, more than a part of what is read never waits: Partial only within that.
        let huge = [&0x000f_ff00_u32.to_be_bytes()[..], &[25]].concat();
        let long_text = message(Words::Text(&[b'x'; 10_000]));
        for head in [&huge[..], &long_text[..5]] {
            let (mut session, mut state) = (Session::of_port(30001), State::default());
            let mut left = u32::from_be_bytes(*head.first_chunk().unwrap()) as usize;
            let mut give = head.to_vec();
            while left > 0 {
                let step = heard(&mut session, Service::UrScript, &give, &mut state, 1).unwrap();
                let Step::Whole { unit, len } = step else { panic!("{step:?}") };
                assert_eq!((len, unit.said), (give.len(), None), "all that came is let go");
                left -= len;
                give = vec![0; left.min(1460)];
            }
            let next = state_package(&MODE, 1);
            let step = heard(&mut session, Service::UrScript, &next, &mut state, 5);
            assert!(matches!(step, Ok(Step::Whole { len, .. }) if len == next.len()));
            assert_eq!(state.program_at_ns, 5, "what follows it is read");
        }
    }

    #[test]
    fn bytes_that_begin_no_unit_are_not_read() {
        let refused = |port, bytes: &[u8]| {
            heard(&mut Session::of_port(port), Service::UrScript, bytes, &mut State::default(), 1).is_err()
        };
        assert!(refused(30001, b"Hello, world\n") && refused(30001, &[0; 5]) && refused(30001, &[0, 0, 0, 4, 16]));
        assert!(refused(30003, b"Hello, world\n") && refused(30003, &[0; 4]) && refused(30003, &[0, 0, 16, 1]));
        assert!(refused(0, &state_package(&MODE, 1)), "of a connection whose port is not known");
        // A package whose parts don't fill it has borders all the same, and says nothing.
        let mut torn = state_package(&MODE, 1);
        torn[8] = 46;
        assert_eq!(hear(30001, &torn).1.program_at_ns, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However a stream is cut, the same is said, and what waits never takes more than it may.
        #[test]
        fn any_cut_says_the_same(
            kinds in vec(0..6_u8, 1..12), cuts in vec(1..3000_usize, 1..40)
        ) {
            let mut bytes = Vec::new();
            for kind in &kinds {
                bytes.extend(match kind {
                    0 => state_package(&MODE, 1),
                    1 => message(Words::Text(b"hello")),
                    2 => message(Words::Text(&[b'y'; 6000])),
                    3 => [&9000_u32.to_be_bytes()[..], &[25], &[0; 8995]].concat(),
                    4 => vec![0, 0, 0, 5, 0xff],
                    _ => state_package(&RobotModeData { program_running: Some(false), ..MODE }, 5),
                });
            }
            let whole = hear(30002, &bytes);
            let (mut session, mut state, mut said) = (Session::of_port(30002), State::default(), Vec::new());
            let (mut at, mut end, mut cuts) = (0, 0, cuts.into_iter().cycle());
            while at < bytes.len() {
                match heard(&mut session, Service::UrScript, &bytes[at..end], &mut state, 9).unwrap() {
                    Step::Whole { unit, len } => {
                        prop_assert!(len >= 1 && at + len <= end);
                        said.extend(unit.said.map(|said| (said, unit.text.to_string())));
                        at += len;
                    }
                    Step::Partial { needed } => {
                        prop_assert!(needed > end - at && needed <= MAX_READ);
                        end = (end + cuts.next().unwrap()).min(bytes.len());
                    }
                }
                if at == end {
                    end = (end + cuts.next().unwrap()).min(bytes.len());
                }
            }
            prop_assert_eq!(said, whole.0);
            prop_assert_eq!(state.program, whole.1.program);
        }

        #[test]
        fn any_bytes_are_a_stream(bytes in vec(any::<u8>(), 0..200), port in prop::sample::select(vec![30001_u16, 30003])) {
            let (mut session, mut state) = (Session::of_port(port), State::default());
            let mut rest = &bytes[..];
            while let Ok(Step::Whole { len, .. }) = heard(&mut session, Service::UrScript, rest, &mut state, 1) {
                prop_assert!((1..=rest.len()).contains(&len));
                rest = &rest[len..];
            }
        }
    }
}
