//! RTDE inputs in the engine, frame by frame: what counts as written, who owns what, and what outlives a connection and a
//! packet process.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tags, TcpFlags};
use rtde::{DataType, ReplyType, Value, Variable, Version};
use vambrace::engine::{Actions, Arena, Mode, Out, Pipeline, Rules};
use vambrace::event::{Detail, Event, Reason, Record};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
const FRACTION: &str = "speed_slider_fraction";
const MASK: &str = "speed_slider_mask";

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "slider"
from = "plc"
service = "rtde"
outputs = []
[allow.inputs]
speed_slider_mask = { value = [0, 1] }
speed_slider_fraction = { value = "0.0..=1.0", step = "..=0.1", owner = "exclusive", rate = { per_second = 1, burst = 3 } }
"#;

fn rules(mode: Mode) -> Arc<Rules> {
    let asset =
        |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
    let assets = [asset("robot", ROBOT, true), asset("plc", PLC, false)];
    let policy = Policy::compile("policy.toml", POLICY, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 1 });
    let policy = policy.unwrap_or_else(|error| panic!("{error}"));
    Arc::new(Rules { pass_stp: false, ..Rules::of(mode, policy, &assets) })
}

/// The engine, and what left of it last.
struct Rig<'m> {
    pipeline: Pipeline<'m>,
    actions: Actions,
    now_ns: u64,
    frames: Vec<(Toward, Vec<u8>)>,
    events: Vec<Event>,
}

impl<'m> Rig<'m> {
    fn new(arena: &'m mut Arena, mode: Mode) -> Self {
        Self {
            pipeline: Pipeline::new(arena, rules(mode), ()),
            actions: Actions::new(),
            now_ns: 43_391_000_000_000,
            frames: Vec::new(),
            events: Vec::new(),
        }
    }

    fn frame(&mut self, toward: Toward, bytes: &[u8]) {
        self.now_ns += 1_000_000;
        let meta = FrameMeta { received_ns: self.now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
        self.actions.begin(0, toward);
        self.pipeline.handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        let frames = self.actions.outs().iter().map(|out| match *out {
            Out::Received { toward, .. } => (toward, bytes.to_vec()),
            Out::Crafted { range, toward } => (toward, self.actions.crafted(range).to_vec()),
        });
        self.frames = frames.collect();
        self.events = self.actions.events().to_vec();
        self.actions.clear();
    }

    /// Lets time pass, looking at timers every 10 ms.
    fn wait(&mut self, nanoseconds: u64) {
        let end = self.now_ns + nanoseconds;
        while self.now_ns < end {
            self.now_ns += 10_000_000;
            self.pipeline.poll(self.now_ns, &mut self.actions);
            self.actions.clear();
        }
    }

    /// Payloads that left toward a side.
    fn payloads(&self, toward: Toward) -> Vec<u8> {
        let own = self.frames.iter().filter(|(to, _)| *to == toward);
        own.flat_map(|(_, bytes)| link::parse(bytes).unwrap().tcp().unwrap().payload.to_vec()).collect()
    }

    fn reasons(&self) -> Vec<Reason> {
        let commands = self.events.iter().filter_map(|event| match &event.record {
            Record::Command(command) => Some(command.verdict.reason),
            _ => None,
        });
        commands.collect()
    }

    fn last(&self) -> Option<f64> {
        self.pipeline.arena().shared().inputs.reference(Variable::named(FRACTION.as_bytes()), 0)
    }

    fn owned(&self) -> Vec<String> {
        self.pipeline.arena().shared().inputs.owned().map(|owned| owned.to_string()).collect()
    }
}

/// One connection of the PLC.
struct Talk {
    template: Template,
    seq: u32,
    ack: u32,
}

impl Talk {
    fn open(rig: &mut Rig<'_>, port: u16) -> Self {
        let macs = (Mac([2, 0, 0, 0, 0, 21]), Mac([2, 0, 0, 0, 0, 40]));
        let template = Template::new(macs, Tags::default(), (PLC.into(), port), (ROBOT.into(), rtde::PORT)).unwrap();
        let mut talk = Self { template, seq: 1000, ack: 5000 };
        talk.seq -= 1;
        talk.client(rig, TcpFlags::SYN, &[]);
        talk.seq += 1;
        talk.ack -= 1;
        talk.robot(rig, TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0), &[]);
        talk.ack += 1;
        talk.client(rig, TcpFlags::ACK, &[]);
        talk
    }

    /// Opens and agrees on version 2 and on a recipe of mask and fraction.
    fn set_up(rig: &mut Rig<'_>, port: u16) -> Self {
        let mut talk = Self::open(rig, port);
        talk.version_2(rig);
        talk.send(rig, &names());
        talk.answer(rig, &types());
        talk
    }

    fn version_2(&mut self, rig: &mut Rig<'_>) {
        let mut buffer = [0; 16];
        let len = rtde::Request::ProtocolVersion(2).emit(Version::V1, &mut buffer).unwrap();
        self.send(rig, &buffer[..len]);
        let len = rtde::Reply::ProtocolVersion { accepted: true }.emit(Version::V1, &mut buffer).unwrap();
        self.answer(rig, &buffer[..len]);
    }

    fn emit(&self, from_client: bool, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
        let (template, seq, ack) = match from_client {
            true => (self.template, self.seq, self.ack),
            false => (self.template.reversed(), self.ack, self.seq),
        };
        let maximum_segment_size = flags.syn().then_some(1460);
        let ack = if flags.ack() { ack } else { 0 };
        let segment = Segment { seq, ack, flags, window: 64_000, maximum_segment_size, payload, ..Segment::default() };
        let mut out = [0; 2000];
        let len = craft::emit_tcp(&template, &segment, &mut out).unwrap();
        out[..len].to_vec()
    }

    fn client(&self, rig: &mut Rig<'_>, flags: TcpFlags, payload: &[u8]) {
        rig.frame(Toward::Robot, &self.emit(true, flags, payload));
    }

    fn robot(&self, rig: &mut Rig<'_>, flags: TcpFlags, payload: &[u8]) {
        rig.frame(Toward::Plant, &self.emit(false, flags, payload));
    }

    fn send(&mut self, rig: &mut Rig<'_>, payload: &[u8]) {
        self.client(rig, TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0), payload);
        self.seq += payload.len() as u32;
    }

    fn answer(&mut self, rig: &mut Rig<'_>, payload: &[u8]) {
        self.robot(rig, TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0), payload);
        self.ack += payload.len() as u32;
    }

    fn reset(&self, rig: &mut Rig<'_>) {
        self.client(rig, TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0), &[]);
    }
}

fn names() -> Vec<u8> {
    let mut buffer = [0; 200];
    let len = rtde::emit::setup_inputs([MASK, FRACTION].map(str::as_bytes), &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn types() -> Vec<u8> {
    let mut buffer = [0; 200];
    let types = [DataType::Uint32, DataType::Double].map(ReplyType::Data);
    let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn fraction(value: f64) -> Vec<u8> {
    let mut buffer = [0; 64];
    let len = rtde::emit::data(Some(1), [Value::Uint32(1), Value::Double(value)], &mut buffer).unwrap();
    buffer[..len].to_vec()
}

#[test]
fn what_is_refused_or_repeated_counts_for_nothing_and_a_reconnect_resets_nothing() {
    let mut arena = Arena::boxed(1);
    let mut rig = Rig::new(&mut arena, Mode::Enforce);
    let mut talk = Talk::set_up(&mut rig, 40_112);
    talk.send(&mut rig, &fraction(0.5));
    assert_eq!((rig.reasons(), rig.last()), (vec![Reason::Allowed], Some(0.5)));
    // The same segment again, as after a loss: it is no second write, and takes no token.
    let again = Talk { seq: talk.seq - fraction(0.5).len() as u32, ..talk };
    for _ in 0..9 {
        again.client(&mut rig, TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0), &fraction(0.5));
        assert_eq!((rig.reasons(), rig.last()), (vec![], Some(0.5)));
    }
    talk.send(&mut rig, &fraction(0.55));
    assert_eq!((rig.reasons(), rig.last()), (vec![Reason::Allowed], Some(0.55)));
    talk.send(&mut rig, &fraction(0.9));
    assert_eq!((rig.reasons(), rig.last()), (vec![Reason::StepNotAllowed], Some(0.55)));
    assert!(rig.payloads(Toward::Robot).is_empty(), "not one byte of it leaves");
    talk.reset(&mut rig);
    assert_eq!(rig.owned().len(), 2, "what it sent before its reset is still delivered: so long it lives");
    rig.wait(3_000_000_000);
    assert!(rig.owned().is_empty());
    let mut talk = Talk::set_up(&mut rig, 40_113);
    assert_eq!(rig.owned().len(), 2, "the new connection's");
    talk.send(&mut rig, &fraction(0.9));
    assert_eq!((rig.reasons(), rig.last()), (vec![Reason::StepNotAllowed], Some(0.55)));
}

#[test]
fn a_second_connection_is_told_that_the_input_is_in_use_and_people_by_whom() {
    let mut arena = Arena::boxed(1);
    let mut rig = Rig::new(&mut arena, Mode::Enforce);
    let first = Talk::set_up(&mut rig, 40_112);
    let sentence = "speed_slider_mask is owned by 10.20.0.21:40112 since 12:03:11 UTC";
    assert_eq!(rig.owned()[1], sentence);
    let mut second = Talk::open(&mut rig, 40_200);
    second.version_2(&mut rig);
    second.send(&mut rig, &names());
    assert_eq!(rig.reasons(), [Reason::InputInUse]);
    let said = rig.events.iter().find_map(|event| match &event.record {
        Record::Command(command) => match command.detail {
            Detail::Rtde { in_use, .. } => in_use.map(|in_use| in_use.to_string()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(said.as_deref(), Some(sentence));
    assert!(rig.payloads(Toward::Robot).is_empty());
    assert!(rig.payloads(Toward::Plant).ends_with(b"\0IN_USE,IN_USE"), "{:?}", rig.payloads(Toward::Plant));
    // A connection that is gone owns nothing: the robot's own reset is the last that is heard of it.
    first.robot(&mut rig, TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0), &[]);
    assert!(rig.owned().is_empty());
    Talk::set_up(&mut rig, 40_201);
    assert_eq!(rig.owned().len(), 2);
}

#[test]
fn a_connection_that_the_box_ends_owns_nothing_any_more() {
    let mut arena = Arena::boxed(1);
    let mut rig = Rig::new(&mut arena, Mode::Enforce);
    let mut talk = Talk::set_up(&mut rig, 40_112);
    assert_eq!(rig.owned().len(), 2);
    talk.send(&mut rig, &[0, 0, b'U']);
    assert_eq!(rig.reasons(), [Reason::Malformed]);
    assert!(rig.owned().is_empty());
}

#[test]
fn outside_enforcement_what_goes_on_counts_and_the_robots_own_in_use_is_explained() {
    for mode in [Mode::Observe, Mode::Shadow] {
        let mut arena = Arena::boxed(1);
        let mut rig = Rig::new(&mut arena, mode);
        let mut first = Talk::set_up(&mut rig, 40_112);
        for value in [0.1, 0.9] {
            first.send(&mut rig, &fraction(value));
            assert_eq!(rig.last(), Some(value), "{mode}: it went to the robot");
        }
        let mut second = Talk::open(&mut rig, 40_200);
        second.version_2(&mut rig);
        second.send(&mut rig, &names());
        let command = rig.events.iter().find(|event| matches!(event.record, Record::Command(_))).unwrap().id;
        let mut buffer = [0; 64];
        let len = rtde::emit::inputs_reply(0, [ReplyType::InUse; 2], &mut buffer).unwrap();
        second.answer(&mut rig, &buffer[..len]);
        let answer = rig.events.iter().find_map(|event| match event.record {
            Record::Answer(answer) => Some(answer),
            _ => None,
        });
        let answer = answer.unwrap();
        assert_eq!(answer.to, command, "{mode}: paired with the set-up");
        let in_use = answer.in_use.unwrap().to_string();
        assert_eq!(in_use, "speed_slider_mask is owned by 10.20.0.21:40112 since 12:03:11 UTC", "{mode}");
        assert_eq!(rig.owned().len(), 2);
    }
}

#[test]
fn a_packet_process_that_takes_over_knows_last_values_and_owners() {
    let mut arena = Arena::boxed(1);
    let mut rig = Rig::new(&mut arena, Mode::Enforce);
    let mut talk = Talk::set_up(&mut rig, 40_112);
    talk.send(&mut rig, &fraction(0.5));
    let now_ns = rig.now_ns;
    drop(rig);
    let mut rig = Rig { now_ns, ..Rig::new(&mut arena, Mode::Enforce) };
    assert_eq!((rig.last(), rig.owned().len()), (Some(0.5), 2));
    talk.send(&mut rig, &fraction(0.7));
    assert_eq!((rig.reasons(), rig.last()), (vec![Reason::StepNotAllowed], Some(0.5)));
}
