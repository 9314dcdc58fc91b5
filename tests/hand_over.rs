//! The packet process ends at every place where it can between two events, and in the middle of events; its successor
//! goes on over the same arena while two TCP stacks talk through it in virtual time.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Instant;

use smoltcp::socket::tcp::State;
use support::modbus_load::{self as load, Load};
use support::virtual_net::{Cell, GOOD, ROBOT, ROUGH, SECOND_NS, rules};
use vambrace::engine::Mode;
use vambrace::event::Reason;
use vambrace::nic::impairment::Rates;

const SCRIPT_PORT: u16 = 30_001;

/// The registers of [`load::POLICY`], and programs that only move.
const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["128..=137"]
value = "0..=120"
[[allow]]
id = "programs"
from = "plc"
service = "urscript"
kind = "program"
function = ["movej", "sleep", "textmsg"]
"#;

/// Where the process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Never,
    After(u64),
    OneIn(u64),
}

fn cell(mode: Mode, rates: Rates, seed: u64, end: End) -> Cell {
    let mut cell = Cell::new(rules(mode, POLICY), rates, seed);
    cell.keep_trace(24);
    let crashes = cell.crashes();
    match end {
        End::Never => {}
        End::After(event) => crashes.after = Some(event),
        End::OneIn(events) => (crashes.one_in, crashes.random) = (Some(events), seed),
    }
    cell
}

/// Says which lines they are, plant's and robot's. The segments of the handshake may be lost as any other.
fn open(cell: &mut Cell, port: u16) -> Result<[usize; 2], String> {
    let service = (port == load::PORT).then(load::server);
    let lines = [cell.plant.connect(ROBOT, port), cell.robot.listen(port, service)];
    let both = |cell: &Cell| cell.plant.line(lines[0]).is_established() && cell.robot.line(lines[1]).is_established();
    cell.run_until(60 * SECOND_NS, both).map_err(|stalled| format!("no connection: {stalled:?}"))?;
    Ok(lines)
}

fn close(cell: &mut Cell, lines: [usize; 2]) -> Result<(), String> {
    cell.plant.line_mut(lines[0]).close();
    let ended = |cell: &Cell| cell.robot.line(lines[1]).state() == State::CloseWait;
    cell.run_until(600 * SECOND_NS, ended).map_err(|stalled| format!("no FIN: {stalled:?}"))?;
    if cell.crashes().one_in.is_some() {
        // Where the last acknowledgement is lost again and again, the robot is left alone with its end.
        return Ok(());
    }
    cell.robot.line_mut(lines[1]).close();
    let ended = |cell: &Cell| {
        matches!(cell.plant.line(lines[0]).state(), State::TimeWait | State::Closed)
            && cell.robot.line(lines[1]).state() == State::Closed
    };
    cell.run_until(60 * SECOND_NS, ended).map_err(|stalled| format!("no end: {stalled:?}"))
}

fn exchanges(cell: &mut Cell, load: Load) -> Result<(), String> {
    let lines = open(cell, load::PORT)?;
    load::run(cell, load)?;
    close(cell, lines)
}

fn program(len: usize) -> Vec<u8> {
    let mut text = b"def work():\n".to_vec();
    while text.len() < len {
        text.extend_from_slice(b"  movej([0.1,-1.5,1.5,-1.5,-1.5,0.0])\n");
    }
    text.extend_from_slice(b"end\n");
    text
}

/// An allowed program arrives whole, of a refused one nothing.
fn upload(cell: &mut Cell) -> Result<(), String> {
    cell.plant.set_in_flight(14_480);
    let lines = open(cell, SCRIPT_PORT)?;
    let text = program(20_000);
    for upto in [1, 2] {
        cell.client_mut().send(&text);
        cell.run_until(600 * SECOND_NS, |cell| cell.server().received().len() >= upto * text.len())
            .map_err(|stalled| format!("{} bytes: {stalled:?}", cell.server().received().len()))?;
    }
    // Cut without a word; the connection goes on with the next one.
    cell.client_mut().send(b"def other():\n  set_digital_out(0,True)\nend\n");
    cell.client_mut().send(b"def last():\n  sleep(0.1)\nend\n");
    let wanted = [&text[..], &text, b"def last():\n  sleep(0.1)\nend\n"].concat();
    cell.run_until(600 * SECOND_NS, |cell| cell.server().received().len() >= wanted.len())
        .map_err(|stalled| format!("{} bytes: {stalled:?}", cell.server().received().len()))?;
    if cell.server().received() != wanted {
        return Err("other bytes than the allowed programs'".to_owned());
    }
    close(cell, lines)
}

fn is_late(cell: &Cell) -> bool {
    [Reason::UnitTimeout, Reason::AnswerTimeout].iter().any(|reason| cell.refusals().contains_key(reason))
}

/// Runs a scene without an end, then with an end after each of its events, then with ends at random, after one of `one_in`
/// events. Of the last ones a few may meet a time limit of the gate: a unit has 2 s to become whole and an answer 1 s to
/// find its place, and a sender that lost the same segment twice waits for longer.
fn at_every_boundary(
    what: &str,
    (mode, rates, one_in): (Mode, Rates, u64),
    scene: impl Fn(&mut Cell) -> Result<(), String>,
) {
    let started = Instant::now();
    let play = |seed, end| {
        let mut cell = cell(mode, rates, seed, end);
        let late = match scene(&mut cell) {
            Ok(()) => 0,
            Err(_) if matches!(end, End::OneIn(_)) && is_late(&cell) => 1,
            Err(error) => panic!("{what}, seed {seed}, {end:?}: {error}\n{}", cell.trace()),
        };
        cell.assert_balanced();
        (cell.crashes().events, cell.crashes().happened, late)
    };
    let (events, ..) = play(1, End::Never);
    for event in 1..=events {
        assert_eq!(play(1, End::After(event)).1, 1);
    }
    let (mut many, mut late) = (0, 0);
    for seed in 1..=32 {
        let (_, happened, too_late) = play(seed, End::OneIn(one_in));
        many += happened;
        late += too_late;
    }
    assert!(late <= 3, "{what}: {late} of 32 runs met a time limit");
    println!(
        "{what}: {events} events, and {many} ends in 32 runs of which {late} were late, {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

const FAST: Load = Load { exchanges: 12, in_flight: 1, split: false, forbidden_every: 0 };

#[test]
fn between_two_events_nothing_is_lost_but_frames_in_fast() {
    at_every_boundary("one by one", (Mode::Enforce, GOOD, 8), |cell| exchanges(cell, FAST));
    at_every_boundary("4 in flight", (Mode::Enforce, GOOD, 8), |cell| exchanges(cell, Load { in_flight: 4, ..FAST }));
}

#[test]
fn between_two_events_nothing_is_lost_but_frames_of_split_units() {
    let load = Load { split: true, ..FAST };
    at_every_boundary("header and body apart", (Mode::Enforce, GOOD, 32), |cell| exchanges(cell, load));
    let load = Load { in_flight: 3, ..load };
    at_every_boundary("the same, 3 in flight", (Mode::Enforce, GOOD, 32), |cell| exchanges(cell, load));
}

#[test]
fn between_two_events_nothing_is_lost_but_frames_around_refusals() {
    let load = Load { forbidden_every: 3, ..FAST };
    at_every_boundary("every third refused", (Mode::Enforce, GOOD, 24), |cell| exchanges(cell, load));
    let load = Load { in_flight: 4, ..load };
    at_every_boundary("the same, 4 in flight", (Mode::Enforce, GOOD, 24), |cell| exchanges(cell, load));
    let load = Load { split: true, ..load };
    at_every_boundary("the same, split", (Mode::Enforce, GOOD, 32), |cell| exchanges(cell, load));
}

#[test]
fn between_two_events_nothing_is_lost_but_frames_of_programs() {
    at_every_boundary("programs", (Mode::Enforce, GOOD, 64), upload);
}

#[test]
fn between_two_events_nothing_is_lost_but_frames_over_bad_cables() {
    let load = Load { forbidden_every: 4, ..FAST };
    at_every_boundary("bad cables", (Mode::Enforce, ROUGH, 32), |cell| exchanges(cell, load));
}

#[test]
fn between_two_events_nothing_is_lost_but_frames_outside_enforcement() {
    at_every_boundary("shadow", (Mode::Shadow, GOOD, 8), |cell| exchanges(cell, FAST));
}

/// Connections that talk at the same time: two in Fast, one that was spliced by a refusal, one with a program. What each
/// sends in one round, and what the robot must have got of it.
struct Talks {
    lines: Vec<[usize; 2]>,
    sent: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    dead: BTreeSet<usize>,
}

impl Talks {
    fn open(cell: &mut Cell) -> Self {
        let ports = [load::PORT, load::PORT, load::PORT, SCRIPT_PORT];
        let lines: Vec<_> = ports.into_iter().map(|port| open(cell, port).unwrap()).collect();
        Self { sent: vec![Vec::new(); 4], answers: vec![Vec::new(); 4], lines, dead: BTreeSet::new() }
    }

    fn round(&mut self, cell: &mut Cell, n: u32) {
        for talk in 0..4 {
            if self.dead.contains(&talk) {
                continue;
            }
            let line = cell.plant.line_mut(self.lines[talk][0]);
            if talk == 3 {
                let text = program(300);
                line.send(&text);
                self.sent[3].extend_from_slice(&text);
                continue;
            }
            if talk == 2 && n.is_multiple_of(2) {
                let (request, code) = load::forbidden(n / 2);
                line.send(&request);
                self.answers[2].extend_from_slice(&load::exception(&request, code));
            }
            let request = load::allowed(n);
            line.send(&request);
            self.sent[talk].extend_from_slice(&request);
            self.answers[talk].extend_from_slice(&load::answer(&request));
        }
    }

    /// Waits until everything has come through on every connection that lives.
    fn settle(&mut self, cell: &mut Cell, what: &str) {
        let ended = |cell: &Cell, [plant, robot]: [usize; 2]| {
            let closed = |state| !matches!(state, State::Established);
            closed(cell.plant.line(plant).state()) && closed(cell.robot.line(robot).state())
        };
        let arrived = |talks: &Self, cell: &Cell, talk: usize| {
            let [plant, robot] = talks.lines[talk];
            cell.robot.line(robot).received().len() >= talks.sent[talk].len()
                && cell.plant.line(plant).received().len() >= talks.answers[talk].len()
        };
        let done = |cell: &Cell| {
            (0..4).all(|talk| self.dead.contains(&talk) || ended(cell, self.lines[talk]) || arrived(self, cell, talk))
        };
        let came = cell.run_until(120 * SECOND_NS, done);
        came.unwrap_or_else(|stalled| panic!("{what}: {stalled:?}\n{}", cell.trace()));
        for talk in 0..4 {
            let [plant, robot] = self.lines[talk];
            if ended(cell, self.lines[talk]) {
                self.dead.insert(talk);
            }
            let (got, sent) = (cell.robot.line(robot).received(), &self.sent[talk]);
            assert!(sent.starts_with(got), "{what}: other bytes reached the robot on connection {talk}");
            let (got, answers) = (cell.plant.line(plant).received(), &self.answers[talk]);
            assert!(answers.starts_with(got), "{what}: other bytes reached the client on connection {talk}");
            assert!(self.dead.contains(&talk) || arrived(self, cell, talk), "{what}: connection {talk}");
        }
    }
}

/// The connection whose command was being judged ends at both ends; the others go on as if nothing had happened.
#[test]
fn in_the_middle_of_an_event_only_its_own_connection_ends() {
    // The commands of a round: one each in Fast, two or one on the refused connection, one program.
    let mut ended = BTreeSet::new();
    for nth in 1..=18 {
        let what = format!("in the middle of command {nth}");
        let mut cell = cell(Mode::Enforce, GOOD, 3, End::Never);
        let mut talks = Talks::open(&mut cell);
        talks.round(&mut cell, 0);
        talks.settle(&mut cell, &what);
        assert!(talks.dead.is_empty());
        cell.trip_at(nth);
        for n in 1..8 {
            talks.round(&mut cell, n);
            talks.settle(&mut cell, &what);
        }
        assert_eq!(cell.crashes().happened, 1, "{what}");
        assert_eq!(talks.dead.len(), 1, "{what}: {:?}\n{}", talks.dead, cell.trace());
        ended.extend(talks.dead);
        cell.assert_balanced();
    }
    assert_eq!(ended.len(), 4, "each of them was hit once: {ended:?}");
}

/// In shadow there is nothing to end: the connection is no more read, and every byte goes on.
#[test]
fn in_the_middle_of_an_event_nothing_ends_outside_enforcement() {
    for nth in 1..=6 {
        let mut cell = cell(Mode::Shadow, GOOD, 3, End::Never);
        let lines = open(&mut cell, load::PORT).unwrap();
        cell.trip_at(nth);
        load::run(&mut cell, FAST).unwrap_or_else(|error| panic!("command {nth}: {error}\n{}", cell.trace()));
        close(&mut cell, lines).unwrap();
        assert_eq!(cell.crashes().happened, 1);
    }
}
