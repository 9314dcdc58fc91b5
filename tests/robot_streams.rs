//! What the robot sends on the URScript ports, through the whole packet path: it reaches the client as it was sent, whatever
//! it is, and what it says of the robot decides over rules with `when`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use client_interface::emit::{self, Columns};
use client_interface::{Layout, Message, Package, PackageType, Program, RobotMode, RobotModeData, SafetyMode, Said};
use support::bench::{Bench, Left, Talk};
use support::virtual_net::{CUTTING, Cell, GOOD, ROUGH, SECOND_NS, WILD, rules};
use vambrace::engine::Mode;
use vambrace::event::Reason;
use vambrace::nic::impairment::Rates;

/// Registers may be written while no program runs; scripts may only move.
const POLICY: &str = r#"
version = 1
robot = "robot"
[state]
max_age = "500ms"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["write_single_register"]
when = { program = ["stopped"] }
[[allow]]
id = "scripts"
from = "plc"
service = "urscript"
function = ["movej"]
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
command = ["is in remote control", "isProgramSaved"]
[[allow]]
id = "start"
from = "plc"
service = "dashboard"
command = ["play"]
when = { control = ["remote"] }
"#;

/// Writes 5 into register 128.
const WRITE: [u8; 12] = [0, 1, 0, 0, 0, 6, 255, 6, 0, 128, 0, 5];

fn robot_state(running: bool) -> Vec<u8> {
    let mode = RobotModeData {
        timestamp_us: 1,
        real_robot_connected: Some(true),
        real_robot_enabled: Some(true),
        power_on: Some(true),
        emergency_stopped: Some(false),
        protective_stopped: Some(false),
        program_running: Some(running),
        program_paused: Some(false),
        robot_mode: RobotMode::of(7),
        control_mode: None,
    };
    let (mut first, mut second, mut out) = ([0; 64], [0; 70], [0; 256]);
    let parts = [emit::robot_mode(&mode, 47, &mut first).unwrap(), emit::masterboard(SafetyMode::of(1), &mut second)];
    let len = emit::robot_state(parts, &mut out).unwrap();
    out[..len].to_vec()
}

fn record(program: Program) -> Vec<u8> {
    let columns = Columns { program: Some(program), robot_mode: RobotMode::of(7), ..Columns::default() };
    let mut out = vec![0; 1220];
    assert_eq!(emit::record(Layout::V5_10, &columns, &mut out), Some(1220));
    out
}

/// A package that is only stepped over, of this many bytes.
fn variables(len: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..len - 5).map(|at| at as u8).collect();
    let mut out = vec![0; len];
    assert_eq!(Package { kind: PackageType::PROGRAM_STATE, body: &body }.emit(&mut out), Some(len));
    out
}

fn text(words: &str) -> Vec<u8> {
    let mut out = [0; 300];
    let len = Message { timestamp_us: 1, source: -2, said: Said::Text(words.as_bytes()) }.emit(&mut out).unwrap();
    out[..len].to_vec()
}

/// A stream to `port` stands, and beside it a Modbus connection whose requests are answered by their echo.
fn cell(mode: Mode, rates: Rates, seed: u64, port: u16) -> Cell {
    let mut cell = Cell::connected(rules(mode, POLICY), rates, seed, port, None);
    cell.robot.listen(
        502,
        Some(Box::new(|bytes, out| {
            out.extend_from_slice(bytes);
            bytes.len()
        })),
    );
    cell.plant.connect(support::virtual_net::ROBOT, 502);
    cell.run_until(60 * SECOND_NS, |cell| cell.plant.line(1).is_established()).unwrap();
    cell
}

/// The robot sends bytes on the stream, and the client has exactly these in the end.
fn robot_sends(cell: &mut Cell, bytes: &[u8], what: &str) {
    let before = cell.client().received().len();
    cell.server_mut().send(bytes);
    cell.run_until(600 * SECOND_NS, |cell| cell.client().received().len() >= before + bytes.len())
        .unwrap_or_else(|stalled| panic!("{what}: {stalled:?}"));
    assert!(cell.client().received()[before..] == *bytes, "{what}: other bytes than were sent");
}

/// What a write is answered with: its echo, or an exception.
fn write(cell: &mut Cell) -> Vec<u8> {
    let before = cell.plant.line(1).received().len();
    cell.plant.line_mut(1).send(&WRITE);
    cell.run_until(60 * SECOND_NS, |cell| cell.plant.line(1).received().len() >= before + 9).unwrap();
    cell.run_for(SECOND_NS / 100);
    cell.plant.line(1).received()[before..].to_vec()
}

const REFUSED: [u8; 9] = [0, 1, 0, 0, 0, 3, 255, 0x86, 6];

#[test]
fn a_rule_decides_by_the_stream_of_every_port() {
    for port in [30001, 30002, 30003, 30011, 30012, 30013] {
        let says = |running| match port {
            30003 | 30013 => record(if running { Program::Playing } else { Program::Stopped }),
            _ => robot_state(running),
        };
        let mut cell = cell(Mode::Enforce, GOOD, 1, port);
        assert_eq!(write(&mut cell), REFUSED, "{port}: nothing is known yet");
        assert_eq!(cell.refusals().get(&Reason::StateUnknown), Some(&1));
        robot_sends(&mut cell, &says(true), "playing");
        assert_eq!(write(&mut cell), REFUSED, "{port}: a program runs");
        assert_eq!(cell.refusals().get(&Reason::StateMismatch), Some(&1));
        robot_sends(&mut cell, &says(false), "stopped");
        assert_eq!(write(&mut cell), WRITE, "{port}: none runs");
        cell.run_for(SECOND_NS);
        assert_eq!(write(&mut cell), REFUSED, "{port}: that was long ago");
        assert_eq!(cell.refusals().get(&Reason::StateUnknown), Some(&2));
        cell.assert_balanced();
    }
}

/// Ports 30011 to 30013 send what 30001 to 30003 do and take no script: nothing goes there, whatever a rule allows, and
/// what the robot says still decides.
#[test]
fn a_port_that_only_sends_takes_no_byte() {
    for port in [30011, 30012, 30013] {
        for bytes in [&b"set_digital_out(0, True)\n"[..], b"power on\n", b"\n", b" ", b"stop program\n"] {
            let policy = "version = 1\nrobot = \"robot\"\n[[allow]]\nfrom = \"plc\"\nservice = \"urscript\"\n";
            let mut cell = Cell::connected(rules(Mode::Enforce, policy), GOOD, 1, port, None);
            robot_sends(&mut cell, &robot_state(true), "before");
            cell.client_mut().send(bytes);
            cell.run_for(3 * SECOND_NS);
            assert_eq!(cell.server().received(), b"", "{port}: {bytes:?}");
            assert!(!cell.server().is_established() && !cell.client().is_established(), "{port}: {bytes:?}");
            // The same text goes where scripts are taken.
            let mut cell = Cell::connected(rules(Mode::Enforce, policy), GOOD, 1, port - 10, None);
            cell.client_mut().send(b"set_digital_out(0, True)\n");
            cell.run_until(SECOND_NS, |cell| cell.server().received() == b"set_digital_out(0, True)\n").unwrap();
        }
    }
}

#[test]
fn packages_larger_than_any_buffer_neither_stall_nor_end_a_connection() {
    for mode in [Mode::Observe, Mode::Enforce] {
        for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3), (WILD, 4)] {
            let what = format!("{mode:?}, seed {seed}");
            let mut cell = cell(mode, rates, seed, 30001);
            robot_sends(&mut cell, &robot_state(true), &what);
            for len in [70_000, 300_000] {
                robot_sends(&mut cell, &variables(len), &what);
            }
            // Many in one go, with what is read between what is not.
            let mixed =
                [variables(5), robot_state(true), variables(20_000), text("hello"), robot_state(false)].concat();
            robot_sends(&mut cell, &mixed.repeat(8), &what);
            assert!(cell.client().is_established() && cell.server().is_established(), "{what}");
            if mode == Mode::Enforce {
                cell.set_rates(GOOD);
                robot_sends(&mut cell, &robot_state(false), &what);
                assert_eq!(write(&mut cell), WRITE, "{what}: what came behind it is read");
            }
            cell.assert_balanced();
        }
    }
}

#[test]
fn what_is_no_stream_goes_on_all_the_same() {
    let noise: Vec<u8> = (0..100_000_u32).map(|at| ((at * 7919) >> 3) as u8 | 0x40).collect();
    for port in [30001, 30003] {
        for mode in [Mode::Observe, Mode::Enforce] {
            let what = format!("{port}, {mode:?}");
            let mut cell = cell(mode, ROUGH, 5, port);
            robot_sends(&mut cell, &noise, &what);
            robot_sends(&mut cell, &robot_state(false), &what);
            // Scripts are judged as ever, and what is refused is cut out of a session that goes on.
            let (allowed, refused) = (b"movej([0,0,0,0,0,0])\n", b"set_digital_out(1, True)\n");
            for script in [&allowed[..], refused, allowed] {
                cell.client_mut().send(script);
            }
            let expected = match mode {
                Mode::Enforce => [&allowed[..], allowed].concat(),
                _ => [&allowed[..], refused, allowed].concat(),
            };
            cell.run_until(60 * SECOND_NS, |cell| cell.server().received().len() >= expected.len())
                .unwrap_or_else(|stalled| panic!("{what}: {stalled:?}"));
            assert_eq!(cell.server().received(), expected, "{what}");
            robot_sends(&mut cell, &noise, &what);
            assert!(cell.client().is_established(), "{what}");
            cell.assert_balanced();
        }
    }
}

#[test]
fn a_unit_that_never_becomes_whole_holds_nothing_up() {
    for (port, head) in [
        (30001, &robot_state(false)[..40]),
        (30001, &[0, 15, 0, 0, 25, 1][..]),
        (30003, &record(Program::Stopped)[..900]),
    ] {
        let mut cell = cell(Mode::Enforce, GOOD, 1, port);
        robot_sends(&mut cell, head, "a part");
        cell.run_for(100 * SECOND_NS);
        let script = b"movej([0,0,0,0,0,0])\n";
        cell.client_mut().send(script);
        cell.run_until(SECOND_NS, |cell| cell.server().received() == script).unwrap();
        // The robot ends the connection in the middle of it.
        cell.server_mut().close();
        cell.run_until(SECOND_NS, |cell| cell.client().state() == smoltcp::socket::tcp::State::CloseWait).unwrap();
        cell.client_mut().close();
        cell.run_until(60 * SECOND_NS, |cell| !cell.server().is_established()).unwrap();
        assert!(cell.refusals().is_empty(), "{:?}", cell.refusals());
        cell.assert_balanced();
    }
}

/// The robot sends, and the client acknowledges.
fn says(bench: &mut Bench, talk: &mut Talk, bytes: &[u8]) -> Left {
    let left = talk.reply(bench, bytes);
    assert_eq!(talk.client_takes(&left), bytes, "every byte goes on");
    talk.acknowledge(bench);
    left
}

#[test]
fn messages_are_recorded_and_do_not_flood() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(4000, 30001);
    assert!(talk.open(&mut bench));
    assert_eq!(says(&mut bench, &mut talk, &text("once")).messages, 1);
    // As many as a segment takes, segment after segment.
    let many = text("x").repeat(80);
    let all: usize = (0..200).map(|_| says(&mut bench, &mut talk, &many).messages).sum();
    assert_eq!(all, 39, "the budget of ten seconds");
    bench.wait(10 * SECOND_NS);
    assert_eq!(says(&mut bench, &mut talk, &text("later")).messages, 1);
}

#[test]
fn remote_control_as_the_dashboard_tells_decides() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(4000, 29999);
    assert!(talk.open(&mut bench));
    let mut line = |talk: &mut Talk, ask: &[u8], answer: &[u8]| {
        let left = talk.send(&mut bench, ask);
        let reason = left.refusals.first().copied();
        talk.robot_takes(&left);
        talk.client_takes(&left);
        if reason.is_none() {
            let left = talk.reply(&mut bench, answer);
            talk.client_takes(&left);
        }
        talk.acknowledge(&mut bench);
        reason
    };
    line(&mut talk, b"isProgramSaved\n", b"Connected: Universal Robots Dashboard Server\ntrue\n");
    assert_eq!(line(&mut talk, b"play\n", b""), Some(Reason::StateUnknown));
    assert_eq!(line(&mut talk, b"is in remote control\n", b"false\n"), None);
    assert_eq!(line(&mut talk, b"play\n", b""), Some(Reason::StateMismatch));
    assert_eq!(line(&mut talk, b"isProgramSaved\n", b"true\n"), None);
    assert_eq!(line(&mut talk, b"play\n", b""), Some(Reason::StateMismatch), "that was another question");
    assert_eq!(line(&mut talk, b"is in remote control\n", b"true\n"), None);
    assert_eq!(line(&mut talk, b"play\n", b"Starting program\n"), None);
}

/// The emulated controller's own bytes, over a real socket, decide over a rule.
#[cfg(feature = "lab")]
#[test]
fn the_emulated_controllers_streams_are_read() {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpStream;
    use std::process::{Command, Stdio};

    // It listens on port 502 too.
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("VAMBRACE_NO_SKIP").is_none(), "needs root, and nothing may be skipped here");
        return support::skipped("the_emulated_controllers_streams_are_read", "needs root (ports below 1024)");
    }
    const ADDRESS: &str = "127.0.0.61";
    let mut child = Command::new(support::vambrace())
        .args(["lab", "actor", "controller", "--listen", ADDRESS])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut journal = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"ready\"") {
        line.clear();
        assert_ne!(journal.read_line(&mut line).unwrap(), 0, "it ended before it was ready");
    }
    for port in [30001, 30002, 30003, 30011, 30012, 30013] {
        let mut stream = TcpStream::connect((ADDRESS, port)).unwrap();
        let mut bytes = vec![0; 6000];
        stream.read_exact(&mut bytes).unwrap();
        let mut bench = Bench::new(POLICY);
        let (mut talk, mut modbus) = (Talk::new(4000, port), Talk::new(4001, 502));
        assert!(talk.open(&mut bench) && modbus.open(&mut bench));
        let left = modbus.send(&mut bench, &WRITE);
        assert_eq!(left.refusals, [Reason::StateUnknown], "{port}");
        modbus.client_takes(&left);
        for segment in bytes.chunks(1448) {
            let left = talk.reply(&mut bench, segment);
            assert_eq!(talk.client_takes(&left), segment);
            talk.acknowledge(&mut bench);
        }
        let left = modbus.send(&mut bench, &WRITE);
        assert_eq!(
            (left.refusals.as_slice(), modbus.robot_takes(&left)),
            (&[][..], WRITE.to_vec()),
            "{port}: no program runs"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
