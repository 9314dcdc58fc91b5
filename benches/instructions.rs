//! Instructions a step of the packet path takes, counted by callgrind: the same from run to run, so that a change shows.
//!
//! `benches/count` runs it, with the limits of [`MEASURED`] where the compiler is the one they were measured with. Each
//! count is of [`EXCHANGES`] steps or frames. benches/README.md says how to renew the table.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement ends at the first surprise"
)]

mod support;

use std::hint::black_box;
use std::sync::Arc;

use dissect::{Step, Toward};
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use support::{Case, Frames, Rig, Works};
use vambrace::command::Command;
use vambrace::engine::{Mode, Rules};
use vambrace::event::{Event, Reason, Render, Settled};
use vambrace::export::Names;
use vambrace::export::eve::EveRender;
use vambrace::flow::{Flow, FlowId, Table};
use vambrace::gate;
use vambrace::jitter::{ALARM_NS, Departure, Jitter};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::policy::Ask;
use vambrace::record::{Became, FrameRing, LEAST_RING, Passing, Settler, Settling};
use vambrace::robot::{Inputs, Rates, State};
use zerocopy::FromZeros;

/// Steps or frames in each count.
const EXCHANGES: u16 = 1000;

/// The compiler that the table was measured with. Another one makes other code: `benches/count` then holds nothing to it.
const MEASURED_WITH: &str = "rustc 1.95.0 (59807616e 2026-04-14)";

/// Instructions a step or a frame, as measured. A count fails where it is more than [`ROOM`] above.
const MEASURED: Counts = Counts {
    parse: 190,
    modbus: 141,
    dashboard: 2_527,
    rtde: 344,
    find: 127,
    decide: 583,
    gate: 301,
    whole_modbus: 3_112,
    whole_rtde: 4_154,
    whole_dashboard: 4_399,
    jitter: 498,
    ring: 212,
    ring_long: 719,
    turn_modbus: 4_228,
    turn_flood: 897,
    settle: 577,
    line: 30_745,
};

/// Per cent that a count may be above the table: the C library picks other copying code on other processors.
const ROOM: u64 = 5;

struct Counts {
    parse: u64,
    modbus: u64,
    dashboard: u64,
    rtde: u64,
    find: u64,
    decide: u64,
    gate: u64,
    whole_modbus: u64,
    whole_rtde: u64,
    whole_dashboard: u64,
    jitter: u64,
    ring: u64,
    ring_long: u64,
    turn_modbus: u64,
    turn_flood: u64,
    settle: u64,
    line: u64,
}

fn at_most(instructions_a_step: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    let mut callgrind = Callgrind::default();
    if std::env::var("VAMBRACE_COUNTED_WITH").is_ok_and(|compiler| compiler == MEASURED_WITH) {
        let limit = instructions_a_step * u64::from(EXCHANGES) * (100 + ROOM) / 100;
        callgrind.hard_limits([(EventKind::Ir, limit)]);
    }
    config.tool(callgrind);
    config
}

/// Requests of the Modbus case, frame by frame.
fn request_frames() -> Vec<Vec<u8>> {
    let case = support::modbus(EXCHANGES);
    case.measured.iter().filter(|(toward, _)| *toward == Toward::Robot).map(|(_, bytes)| bytes.to_vec()).collect()
}

#[library_benchmark(setup = request_frames, config = at_most(MEASURED.parse))]
#[bench::modbus()]
fn parse(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for frame in &frames {
        let _ = black_box(link::parse(black_box(frame)).unwrap());
    }
    frames
}

fn request_units() -> Vec<Vec<u8>> {
    (0..EXCHANGES).map(|n| support::modbus_exchange(n).0).collect()
}

#[library_benchmark(setup = request_units, config = at_most(MEASURED.modbus))]
#[bench::requests()]
fn dissect_modbus(units: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for unit in &units {
        let Step::Whole { unit, .. } = modbus::Adu::step(black_box(unit)).unwrap() else { panic!("whole") };
        let _ = black_box(modbus::Request::read(&unit).unwrap());
    }
    units
}

#[library_benchmark(config = at_most(MEASURED.dashboard))]
#[bench::lines()]
fn dissect_dashboard() {
    for _ in 0..EXCHANGES {
        let _ = black_box(dashboard::Line::step(black_box(b"robotmode\n")).unwrap());
    }
}

#[library_benchmark(setup = support::rtde_session, config = at_most(MEASURED.rtde))]
#[bench::data()]
fn dissect_rtde((session, package): (Box<rtde::Session>, Vec<u8>)) -> (Box<rtde::Session>, Vec<u8>) {
    for _ in 0..EXCHANGES {
        let Step::Whole { unit, .. } = rtde::Package::step(black_box(&package), Toward::Robot).unwrap() else {
            panic!("whole")
        };
        let rtde::Request::Data(data) = rtde::Request::read(&unit, &session).unwrap() else { panic!("data") };
        for field in data.fields() {
            black_box(field);
        }
    }
    (session, package)
}

/// A thousand conversations in the table, and their keys.
fn flows() -> (Box<Table>, Vec<link::FlowKey>) {
    let mut table = Table::new_box_zeroed().unwrap();
    table.seed(7);
    let key = |n| {
        let talk = support::Talk::open(40_000 + n, 502);
        let (toward, frame) = talk.frames.iter().next().unwrap();
        link::FlowKey::of(&link::parse(frame).unwrap(), toward).unwrap()
    };
    let keys: Vec<_> = (0..EXCHANGES).map(key).collect();
    for key in &keys {
        table.insert(key).unwrap();
    }
    (table, keys)
}

#[library_benchmark(setup = flows, config = at_most(MEASURED.find))]
#[bench::thousand()]
fn find_flow((table, keys): (Box<Table>, Vec<link::FlowKey>)) -> Box<Table> {
    for key in &keys {
        black_box(table.find(black_box(key)).unwrap());
    }
    table
}

fn units_and_rules() -> (Vec<Vec<u8>>, Arc<Rules>, Box<Inputs>) {
    (request_units(), support::rules(Mode::Enforce), Box::default())
}

// Includes reading the request: take the count of `dissect_modbus` off.
#[library_benchmark(setup = units_and_rules, config = at_most(MEASURED.decide))]
#[bench::modbus()]
fn decide((units, rules, inputs): (Vec<Vec<u8>>, Arc<Rules>, Box<Inputs>)) -> (Vec<Vec<u8>>, Arc<Rules>, Box<Inputs>) {
    let client = rules.policy.client(support::PLC.into());
    let (state, opened) = (State::default(), Toward::Robot);
    let mut rates = Rates::new();
    for unit in &units {
        let Step::Whole { unit, .. } = modbus::Adu::step(unit).unwrap() else { panic!("whole") };
        let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
        let ask = Ask { client, opened, command: &command, state: &state, inputs: &inputs, connection: 1, now_ns: 5 };
        assert!(black_box(rules.policy.decide(black_box(&ask), &mut rates)).is_allowed());
    }
    (units, rules, inputs)
}

/// Every unit is twelve bytes long and allowed: what is left is the gate itself.
struct Twelve;

impl gate::Judge for Twelve {
    fn judge(&mut self, bytes: &[u8]) -> gate::Judgement {
        black_box(bytes);
        gate::Judgement::Allow { len: 12 }
    }

    fn clamp(&mut self, _: &mut [u8]) {}

    fn reply(&mut self, _: &[u8]) -> gate::Reply {
        gate::Reply::Unreadable
    }

    fn frames_replies(&self) -> bool {
        false
    }

    fn reads_replies(&self) -> bool {
        false
    }

    fn outstanding(&self) -> u32 {
        0
    }

    fn answer(&mut self, _: &[u8], _: Reason, _: &mut [u8]) -> gate::Answer {
        gate::Answer::Silent
    }
}

fn gate_and_store() -> (gate::Gate, Vec<u8>) {
    (gate::Gate::new(1000, 1), vec![0; gate::STORE])
}

#[library_benchmark(setup = gate_and_store, config = at_most(MEASURED.gate))]
#[bench::aligned()]
fn gate_accept((mut gate, mut store): (gate::Gate, Vec<u8>)) -> (gate::Gate, Vec<u8>) {
    let mut seq = 1000_u32;
    let mut releases = gate::Releases::default();
    for _ in 0..EXCHANGES {
        let segment = gate::Segment { seq, payload: black_box(&[7; 12]), edge: seq.wrapping_add(64_000), now_ns: 5 };
        let outcome = gate.accept(&mut store, &segment, true, 1460, &mut Twelve, &mut releases);
        assert_eq!(black_box(outcome), gate::Outcome::Forward);
        seq += 12;
        gate.acknowledge(seq).unwrap();
    }
    (gate, store)
}

/// A path with an open connection, and the frames to come.
fn opened(case: Case) -> (Box<Rig>, Frames) {
    let mut rig = Box::new(Rig::new(Mode::Enforce));
    rig.play(&case.opening);
    (rig, case.measured)
}

fn opened_modbus() -> (Box<Rig>, Frames) {
    opened(support::modbus(EXCHANGES / 2))
}

fn opened_rtde() -> (Box<Rig>, Frames) {
    opened(support::rtde(EXCHANGES / 2))
}

fn opened_dashboard() -> (Box<Rig>, Frames) {
    opened(support::dashboard(EXCHANGES / 2))
}

#[library_benchmark]
#[bench::modbus(setup = opened_modbus, args = (), config = at_most(MEASURED.whole_modbus))]
#[bench::rtde(setup = opened_rtde, args = (), config = at_most(MEASURED.whole_rtde))]
#[bench::dashboard(setup = opened_dashboard, args = (), config = at_most(MEASURED.whole_dashboard))]
fn whole_path((mut rig, frames): (Box<Rig>, Frames)) -> (Box<Rig>, Frames) {
    rig.play(black_box(&frames));
    (rig, frames)
}

/// A measurement that has seen the conversation, and the conversation.
fn measured_flow() -> (Box<Jitter>, Box<Flow>) {
    let mut flow = Flow::new_box_zeroed().unwrap();
    flow.set_state(vambrace::flow::State::Established);
    flow.ends.iter_mut().for_each(|end| end.flags |= vambrace::flow::End::TIMESTAMPS);
    flow.ends[0].next = 12;
    let mut jitter = Box::new(Jitter::new());
    jitter.arrived((FlowId(7), &flow), (Toward::Robot, BEGAN_NS, &[]), Departure::Left);
    jitter.departed(BEGAN_NS, ALARM_NS);
    (jitter, flow)
}

const BEGAN_NS: u64 = 1_700_000_000_000_000_000;

// Beside the path, with every frame that brings something new.
#[library_benchmark(setup = measured_flow, config = at_most(MEASURED.jitter))]
#[bench::beats()]
fn whose_jitter((mut jitter, mut flow): (Box<Jitter>, Box<Flow>)) -> (Box<Jitter>, Box<Flow>) {
    for beat in 1..=u64::from(EXCHANGES) {
        let at = BEGAN_NS + beat * 2_000_000;
        flow.ends[0].next += 12;
        flow.ends[0].timestamp[0] += 2;
        jitter.arrived(black_box((FlowId(7), &flow)), black_box((Toward::Robot, at, &[])), Departure::Left);
        jitter.departed(at + 20_000, black_box(ALARM_NS));
    }
    (jitter, flow)
}

/// A ring that is full, and frames to put over its oldest ones.
fn ring_and(frames: Vec<Vec<u8>>) -> (Box<FrameRing>, Vec<Vec<u8>>) {
    let ring = Box::new(FrameRing::new(LEAST_RING));
    for frame in frames.iter().cycle().take(2000) {
        remember(&ring, frame);
    }
    (ring, frames)
}

fn ring_and_requests() -> (Box<FrameRing>, Vec<Vec<u8>>) {
    ring_and(request_frames())
}

fn ring_and_long() -> (Box<FrameRing>, Vec<Vec<u8>>) {
    ring_and(vec![vec![7; 1514]; EXCHANGES.into()])
}

fn remember(ring: &FrameRing, frame: &[u8]) {
    let (toward, became, wire_len) = (Toward::Robot, Became::Passed, frame.len() as u32);
    ring.push(&Passing { toward, became, wire_len, wall_ns: 5, monotonic_ns: 5 }, black_box(frame));
}

// What every frame costs beside the path below, so that the one before a refusal can be kept.
#[library_benchmark]
#[bench::modbus(setup = ring_and_requests, args = (), config = at_most(MEASURED.ring))]
#[bench::long(setup = ring_and_long, args = (), config = at_most(MEASURED.ring_long))]
fn ring((ring, frames): (Box<FrameRing>, Vec<Vec<u8>>)) -> (Box<FrameRing>, Vec<Vec<u8>>) {
    for frame in &frames {
        remember(&ring, frame);
    }
    (ring, frames)
}

/// A worker with an open connection, and how many frames have left when all have.
fn worker_and_modbus() -> (Box<Works>, usize) {
    let case = support::modbus(EXCHANGES / 2);
    let (mut all, opening) = (case.opening.clone(), case.opening.len());
    case.measured.iter().for_each(|(toward, bytes)| all.push(toward, bytes));
    let mut works = Box::new(Works::new(&all, 1));
    works.until_sent(opening);
    (works, all.len())
}

/// A worker that knows the conversation, and full batches of it.
fn worker_and_flood() -> (Box<Works>, usize) {
    let mut works = Box::new(Works::new(&support::datagrams(EXCHANGES + 64), 64));
    works.until_sent(64);
    (works, usize::from(EXCHANGES) + 64)
}

// The whole of a worker but the calls into the kernel: judging, sending, remembering, measuring, handing over.
#[library_benchmark]
#[bench::modbus(setup = worker_and_modbus, args = (), config = at_most(MEASURED.turn_modbus))]
#[bench::flood(setup = worker_and_flood, args = (), config = at_most(MEASURED.turn_flood))]
fn worker((mut works, frames): (Box<Works>, usize)) -> Box<Works> {
    works.until_sent(frames);
    works
}

/// What the recorder gets of a Modbus connection, the first exchanges of which it has seen.
fn settler_and_events() -> (Settler, Vec<Event>) {
    let case = support::modbus(EXCHANGES / 2 + 20);
    let mut rig = Rig::new(Mode::Enforce);
    let mut events = Vec::new();
    for frames in [&case.opening, &case.measured] {
        for (toward, bytes) in frames.iter() {
            rig.now_ns += 1_000;
            let meta = FrameMeta { received_ns: rig.now_ns, wire_len: 80, checksum_partial: false };
            rig.actions.begin(0, toward);
            rig.pipeline.handle(toward, &Frame { bytes, meta }, rig.now_ns, &mut rig.actions);
            events.extend_from_slice(rig.actions.events());
            rig.actions.clear();
        }
    }
    let mut settler = Settler::new(Settling::default());
    let behind = events.len() - usize::from(EXCHANGES);
    events.drain(..behind).for_each(|event| settler.take(&event, &mut |_| ()));
    (settler, events)
}

// An event of a repeated command or of its answer: what the recorder does with nearly all that it gets.
#[library_benchmark(setup = settler_and_events, config = at_most(MEASURED.settle))]
#[bench::modbus()]
fn settle((mut settler, events): (Settler, Vec<Event>)) -> (Settler, Vec<Event>) {
    for event in &events {
        settler.take(black_box(event), &mut |_| panic!("a repeat is not told of"));
    }
    (settler, events)
}

/// What the recorder writes first of a Modbus connection, and the names of it.
fn settled_and_render() -> (Vec<Settled>, EveRender, String) {
    let (mut settled, mut settler) = (Vec::new(), Settler::new(Settling::one_by_one()));
    for event in &settler_and_events().1 {
        settler.take(event, &mut |one| settled.push(one));
    }
    settler.finish(&mut |one| settled.push(one));
    let address = |last| std::net::IpAddr::from([10, 20, 0, last]);
    let names = Names::new("box", [(address(21), "plc".to_owned()), (address(40), "robot".to_owned())]);
    names.set_rules(1, vec!["registers".to_owned()]);
    (settled, EveRender { names: Arc::new(names), capture: false }, String::with_capacity(64 << 10))
}

// An allowed Modbus command as a line of EVE: what each kind of command costs once in ten seconds, and each refused one.
#[library_benchmark(setup = settled_and_render, config = at_most(MEASURED.line / 2))]
#[bench::modbus()]
fn line((settled, mut render, mut out): (Vec<Settled>, EveRender, String)) -> (Vec<Settled>, EveRender, String) {
    for one in &settled {
        out.clear();
        render.line(black_box(one), &mut out);
    }
    (settled, render, out)
}

library_benchmark_group!(
    name = steps,
    benchmarks = [
        parse,
        dissect_modbus,
        dissect_dashboard,
        dissect_rtde,
        find_flow,
        decide,
        gate_accept,
        ring,
        whole_path,
        whose_jitter,
        worker,
        settle,
        line
    ]
);
main!(library_benchmark_groups = steps);
