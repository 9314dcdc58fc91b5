//! The engine in virtual time: frames made by hand go in, and what leaves is looked at frame by frame.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tag, Tags, TcpFlags};
use support::corpus;
use vambrace::engine::{Actions, Arena, Fate, Mode, Out, Pipeline, Rules};
use vambrace::event::{Event, Reason, Record};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 66);
const PLC_MAC: Mac = Mac([2, 0, 0, 0, 0, 21]);
const ROBOT_MAC: Mac = Mac([2, 0, 0, 0, 0, 40]);
const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 66]);

const POLICY: &str = r#"
version = 1
robot = "robot"
[refusal]
modbus = "reset"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["128..=131"]
value = "0..=120"
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
class = ["read"]
[[allow]]
id = "ssh"
from = "plc"
service = "tcp/22"
[[allow]]
id = "remote-io"
from = "robot"
to = "plc"
service = "tcp/502"
"#;

fn assets() -> Vec<Asset> {
    let asset =
        |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
    vec![asset("robot", ROBOT, true), asset("plc", PLC, false)]
}

fn policy(text: &str, generation: u32) -> Arc<Policy> {
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    Arc::new(
        Policy::compile("policy.toml", text, &assets(), generation, moment).unwrap_or_else(|error| panic!("{error}")),
    )
}

fn rules(mode: Mode, policy: Arc<Policy>) -> Arc<Rules> {
    let pass = vec![link::EtherType::PROFINET, link::EtherType::LLDP];
    Arc::new(Rules { pass, ..Rules::of(mode, policy, &assets()) })
}

/// What left, for one frame that went in.
struct Left {
    fate: Fate,
    frames: Vec<(Toward, Vec<u8>)>,
    events: Vec<Event>,
}

impl Left {
    fn toward(&self, toward: Toward) -> Vec<&[u8]> {
        self.frames.iter().filter(|(to, _)| *to == toward).map(|(_, bytes)| &bytes[..]).collect()
    }

    /// Resets toward a side, by sequence number.
    fn resets(&self, toward: Toward) -> Vec<u32> {
        let own = self.toward(toward).into_iter().map(|bytes| *link::parse(bytes).unwrap().tcp().unwrap());
        own.filter(|tcp| tcp.flags.rst()).map(|tcp| tcp.seq).collect()
    }

    fn refusals(&self) -> Vec<Reason> {
        self.events
            .iter()
            .filter_map(|event| match &event.record {
                Record::Command(command) if !command.verdict.is_allowed() => Some(command.verdict.reason),
                Record::Frame(frame) => Some(frame.verdict.reason),
                _ => None,
            })
            .collect()
    }
}

struct Box<'m> {
    pipeline: Pipeline<'m>,
    actions: Actions,
    now_ns: u64,
}

impl<'m> Box<'m> {
    fn new(arena: &'m mut Arena, rules: Arc<Rules>) -> Self {
        Self { pipeline: Pipeline::new(arena, rules, ()), actions: Actions::new(), now_ns: 1_000_000_000 }
    }

    fn frame(&mut self, toward: Toward, bytes: &[u8]) -> Left {
        self.now_ns += 1_000_000;
        let meta = FrameMeta { received_ns: self.now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
        self.actions.begin(0, toward);
        let fate = self.pipeline.handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        self.left(bytes, fate)
    }

    fn left(&mut self, received: &[u8], fate: Fate) -> Left {
        let frames = self.actions.outs().iter().map(|out| match *out {
            Out::Received { toward, .. } => (toward, received.to_vec()),
            Out::Crafted { range, toward } => (toward, self.actions.crafted(range).to_vec()),
        });
        let left = Left { fate, frames: frames.collect(), events: self.actions.events().to_vec() };
        self.actions.clear();
        assert!(self.pipeline.counters().balance(), "every frame is accounted for");
        assert_eq!(self.actions.lost(), 0);
        left
    }

    /// Lets time pass, looking at timers every 10 ms.
    fn wait(&mut self, nanoseconds: u64) -> Left {
        let end = self.now_ns + nanoseconds;
        let mut all = Left { fate: Fate::Forward, frames: Vec::new(), events: Vec::new() };
        while self.now_ns < end {
            self.now_ns += 10_000_000;
            self.pipeline.poll(self.now_ns, &mut self.actions);
            let left = self.left(&[], Fate::Forward);
            all.frames.extend(left.frames);
            all.events.extend(left.events);
        }
        all
    }
}

/// Both ends of one TCP connection.
struct Talk {
    client: (Ipv4Addr, u16),
    server: (Ipv4Addr, u16),
    macs: (Mac, Mac),
    tags: Tags,
    toward: Toward,
    seq: u32,
    ack: u32,
}

impl Talk {
    fn to(port: u16) -> Self {
        Self {
            client: (PLC, 40_000),
            server: (ROBOT, port),
            macs: (PLC_MAC, ROBOT_MAC),
            tags: Tags::default(),
            toward: Toward::Robot,
            seq: 1000,
            ack: 5000,
        }
    }

    fn template(&self) -> Template {
        let (client, server) =
            ((IpAddr::from(self.client.0), self.client.1), (IpAddr::from(self.server.0), self.server.1));
        Template::new(self.macs, self.tags, client, server).unwrap()
    }

    fn segment(&self, seq: u32, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
        let segment = Segment { seq, ack: self.ack, flags, window: 64_000, payload, ..Segment::default() };
        emit(&self.template(), &segment)
    }

    fn back(&self, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
        let segment = Segment { seq, ack, flags, window: 64_000, payload, ..Segment::default() };
        emit(&self.template().reversed(), &segment)
    }

    fn open(&mut self, vambrace: &mut Box<'_>) {
        let syn = emit(
            &self.template(),
            &Segment {
                seq: self.seq - 1,
                flags: TcpFlags::SYN,
                maximum_segment_size: Some(1460),
                ..Segment::default()
            },
        );
        let answer = emit(
            &self.template().reversed(),
            &Segment {
                seq: self.ack - 1,
                ack: self.seq,
                flags: both(TcpFlags::SYN, TcpFlags::ACK),
                window: 64_000,
                maximum_segment_size: Some(1460),
                ..Segment::default()
            },
        );
        for (toward, frame) in [
            (self.toward, syn),
            (self.toward.reverse(), answer),
            (self.toward, self.segment(self.seq, TcpFlags::ACK, &[])),
        ] {
            let left = vambrace.frame(toward, &frame);
            assert_eq!(left.fate, Fate::Forward);
            assert_eq!(left.toward(toward), [&frame[..]]);
        }
    }

    fn send(&mut self, vambrace: &mut Box<'_>, payload: &[u8]) -> Left {
        let frame = self.segment(self.seq, both(TcpFlags::PSH, TcpFlags::ACK), payload);
        self.seq += payload.len() as u32;
        vambrace.frame(self.toward, &frame)
    }

    fn acknowledge(&self, vambrace: &mut Box<'_>, ack: u32) -> Left {
        vambrace.frame(self.toward.reverse(), &self.back(self.ack, ack, TcpFlags::ACK, &[]))
    }
}

fn both(a: TcpFlags, b: TcpFlags) -> TcpFlags {
    TcpFlags(a.0 | b.0)
}

fn emit(template: &Template, segment: &Segment<'_>) -> Vec<u8> {
    let mut out = [0; 65_536];
    let len = craft::emit_tcp(template, segment, &mut out).unwrap();
    out[..len].to_vec()
}

fn write(address: u16, value: u16) -> Vec<u8> {
    let mut buffer = [0; 260];
    modbus::Mbap::new(7, modbus::UnitId(255)).write_single_register(&mut buffer, address, value).unwrap().to_vec()
}

fn payload(frame: &[u8]) -> Vec<u8> {
    link::parse(frame).unwrap().tcp().unwrap().payload.to_vec()
}

#[test]
fn every_frame_of_the_corpus_passes_unchanged_outside_enforcement() {
    for mode in [Mode::Observe, Mode::Learn, Mode::Shadow] {
        let mut arena = Arena::boxed(1);
        let mut vambrace = Box::new(&mut arena, rules(mode, policy(POLICY, 1)));
        for named in corpus::frames().iter().chain(&corpus::jumbo()) {
            for toward in [Toward::Robot, Toward::Plant] {
                let left = vambrace.frame(toward, &named.bytes);
                assert_eq!(left.frames, [(toward, named.bytes.clone())], "{mode} {}", named.name);
            }
        }
    }
}

#[test]
fn an_allowed_command_passes_untouched_and_a_forbidden_one_ends_the_connection_at_both_ends() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    let left = talk.send(&mut vambrace, &write(128, 120));
    assert_eq!(left.fate, Fate::Forward);
    assert!(left.refusals().is_empty());
    let robot_stands = talk.seq;
    let left = talk.send(&mut vambrace, &write(128, 121));
    assert_eq!(left.refusals(), [Reason::ValueNotAllowed]);
    // Unacknowledged: the robot stands before the allowed command or after it.
    assert_eq!(left.resets(Toward::Robot), [1000, robot_stands]);
    assert_eq!(left.resets(Toward::Plant), [5000]);
    assert!(left.toward(Toward::Robot).iter().all(|frame| payload(frame).is_empty()), "not one byte of it leaves");
    // Resets are repeated: Linux answers one challenge in 500 ms.
    let later = vambrace.wait(2_000_000_000);
    assert_eq!(later.resets(Toward::Robot).len(), 4);
    // Whoever still talks is told again, with the number it has just acknowledged.
    let left = talk.send(&mut vambrace, &write(128, 1));
    assert_eq!(left.fate, Fate::Drop(Reason::ConnectionEnded));
    assert_eq!(left.resets(Toward::Plant), [5000]);
    assert!(left.toward(Toward::Robot).is_empty());
}

#[test]
fn of_several_commands_in_a_segment_those_before_the_forbidden_one_leave() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    let all = [write(128, 1), write(129, 2), write(3, 1), write(130, 3)].concat();
    let left = talk.send(&mut vambrace, &all);
    let data: Vec<_> =
        left.toward(Toward::Robot).iter().map(|frame| payload(frame)).filter(|data| !data.is_empty()).collect();
    assert_eq!(data, [[write(128, 1), write(129, 2)].concat()]);
    assert_eq!(left.refusals(), [Reason::AddressNotAllowed]);
}

#[test]
fn a_command_split_over_segments_leaves_whole_in_one() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    let command = write(131, 7);
    let left = talk.send(&mut vambrace, &command[..5]);
    assert_eq!(left.fate, Fate::Absorb);
    // The acknowledgement in the held segment goes on alone.
    assert_eq!(left.toward(Toward::Robot).len(), 1);
    assert!(payload(left.toward(Toward::Robot)[0]).is_empty());
    let left = talk.send(&mut vambrace, &command[5..]);
    assert_eq!(payload(left.toward(Toward::Robot)[0]), command);
    let tcp = *link::parse(left.toward(Toward::Robot)[0]).unwrap().tcp().unwrap();
    assert_eq!(tcp.seq, 1000);
}

#[test]
fn a_forbidden_command_split_over_segments_never_leaves() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    for byte in write(3, 1) {
        let left = talk.send(&mut vambrace, &[byte]);
        assert!(left.toward(Toward::Robot).iter().all(|frame| payload(frame).is_empty()));
    }
}

#[test]
fn a_unit_that_is_never_completed_ends_the_connection() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    talk.send(&mut vambrace, &write(128, 1)[..7]);
    // Held for a while, it is acknowledged by the box itself; nothing of it goes to the robot.
    let waited = vambrace.wait(9_900_000_000);
    assert!(waited.toward(Toward::Robot).into_iter().all(|frame| payload(frame).is_empty()));
    assert!(waited.resets(Toward::Robot).is_empty() && waited.resets(Toward::Plant).is_empty());
    let left = vambrace.wait(200_000_000);
    assert_eq!(left.resets(Toward::Robot), [1000]);
    assert_eq!(left.resets(Toward::Plant), [5000]);
    assert_eq!(left.refusals(), [Reason::UnitTimeout], "what was held of it is in the records");
}

#[test]
fn repetitions_are_served_from_the_first_copy_and_old_ones_answered() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    talk.send(&mut vambrace, &write(128, 1));
    // The same place with another content: the robot gets the first copy again.
    let lie = talk.segment(1000, TcpFlags::ACK, &write(128, 2));
    let left = vambrace.frame(Toward::Robot, &lie);
    assert_eq!(payload(left.toward(Toward::Robot)[0]), write(128, 1));
    talk.acknowledge(&mut vambrace, 1012);
    let left = vambrace.frame(Toward::Robot, &talk.segment(1000, TcpFlags::ACK, &write(128, 1)));
    assert!(left.toward(Toward::Robot).is_empty(), "acknowledged long ago: nothing goes to the robot");
    let answer = *link::parse(left.toward(Toward::Plant)[0]).unwrap().tcp().unwrap();
    assert_eq!((answer.seq, answer.ack), (5000, 1012));
}

#[test]
fn a_repetition_of_other_content_is_recorded_once_and_the_second_ends_the_connection() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    let (allowed, forbidden) = (write(128, 1), write(3, 1));
    let at = talk.seq;
    vambrace.frame(Toward::Robot, &talk.segment(at, TcpFlags::ACK, &allowed[..10]));
    vambrace.wait(20_000_000);
    let lie = [&forbidden[..10], &allowed[10..]].concat();
    let left = vambrace.frame(Toward::Robot, &talk.segment(at, TcpFlags::ACK, &lie));
    assert_eq!(left.refusals(), [Reason::RetransmissionConflict]);
    let sent: Vec<_> = left.toward(Toward::Robot).into_iter().map(payload).collect();
    assert_eq!(sent, [allowed], "the first copy counts");
}

#[test]
fn the_robot_can_not_acknowledge_what_was_held_back() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    talk.send(&mut vambrace, &write(128, 1)[..6]);
    let left = talk.acknowledge(&mut vambrace, 1006);
    assert_eq!(left.fate, Fate::Drop(Reason::BadFlags));
}

#[test]
fn odd_segments_toward_the_robot_are_dropped_with_their_reason() {
    let fin_data = |talk: &Talk| talk.segment(1000, both(TcpFlags::FIN, TcpFlags::ACK), &write(128, 1)[..4]);
    let cases: [(&str, Reason, &dyn Fn(&Talk) -> Vec<u8>); 8] = [
        ("urgent data", Reason::UrgentData, &|talk| {
            talk.segment(1000, both(TcpFlags::URG, TcpFlags::ACK), &write(128, 1))
        }),
        ("SYN and FIN", Reason::BadFlags, &|talk| talk.segment(1000, both(TcpFlags::SYN, TcpFlags::FIN), &[])),
        ("no flags", Reason::BadFlags, &|talk| talk.segment(1000, TcpFlags(0), &write(128, 1))),
        ("far beyond the window", Reason::BeyondWindow, &|talk| {
            talk.segment(1000 + 70_000, TcpFlags::ACK, &write(128, 1))
        }),
        ("inexact reset", Reason::ResetInexact, &|talk| talk.segment(1100, TcpFlags::RST, &[])),
        ("bad checksum", Reason::BadChecksum, &|talk| {
            let mut frame = talk.segment(1000, TcpFlags::ACK, &write(128, 1));
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
        ("FIN inside a unit", Reason::FinInUnit, &fin_data),
        ("another VLAN", Reason::VlanStack, &|talk| {
            let tags = Tags::new(&[Tag { tpid: 0x8100, tci: 7 }]).unwrap();
            Talk { tags, ..Talk::to(502) }.segment(talk.seq, TcpFlags::ACK, &write(128, 1))
        }),
    ];
    for (name, reason, make) in cases {
        let mut arena = Arena::boxed(1);
        let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
        let mut talk = Talk::to(502);
        talk.open(&mut vambrace);
        let left = vambrace.frame(Toward::Robot, &make(&talk));
        assert_eq!(left.fate, Fate::Drop(reason), "{name}");
        assert_eq!(left.refusals(), [reason], "{name}");
        let data = left.toward(Toward::Robot);
        assert!(data.iter().all(|frame| payload(frame).is_empty()), "{name}");
    }
}

#[test]
fn priority_tags_are_the_same_vlan_and_another_mac_is_another_device() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    talk.tags = Tags::new(&[Tag { tpid: 0x88a8, tci: 0xe000 }, Tag { tpid: 0x8100, tci: 0 }]).unwrap();
    assert_eq!(talk.send(&mut vambrace, &write(128, 1)).fate, Fate::Forward);
    talk.macs = (OTHER_MAC, ROBOT_MAC);
    assert_eq!(talk.send(&mut vambrace, &write(128, 1)).fate, Fate::Drop(Reason::MacMismatch));
}

#[test]
fn who_has_no_rule_gets_nothing_through() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let syn = |talk: &Talk| talk.segment(999, TcpFlags::SYN, &[]);
    let stranger = Talk { client: (STRANGER, 4000), macs: (OTHER_MAC, ROBOT_MAC), ..Talk::to(502) };
    assert_eq!(vambrace.frame(Toward::Robot, &syn(&stranger)).fate, Fate::Drop(Reason::NoRuleForClient));
    assert_eq!(vambrace.frame(Toward::Robot, &syn(&Talk::to(30_002))).fate, Fate::Drop(Reason::NoServiceRule));
    assert_eq!(vambrace.frame(Toward::Robot, &syn(&Talk::to(6666))).fate, Fate::Drop(Reason::NoServiceRule));
    assert_eq!(vambrace.frame(Toward::Robot, &syn(&Talk::to(22))).fate, Fate::Forward);
    assert!(vambrace.pipeline.arena().shared().flows.len() == 1, "no state for those without a rule");
    let elsewhere = Talk { server: (Ipv4Addr::new(10, 20, 0, 99), 502), ..Talk::to(502) };
    assert_eq!(vambrace.frame(Toward::Robot, &syn(&elsewhere)).fate, Fate::Drop(Reason::UnknownDevice));
}

#[test]
fn the_robot_opens_only_what_a_rule_names() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let robot_opens = |server: (Ipv4Addr, u16)| Talk {
        client: (ROBOT, 50_000),
        server,
        macs: (ROBOT_MAC, PLC_MAC),
        toward: Toward::Plant,
        ..Talk::to(0)
    };
    robot_opens((PLC, 502)).open(&mut vambrace);
    let syn = robot_opens((PLC, 443)).segment(999, TcpFlags::SYN, &[]);
    assert_eq!(vambrace.frame(Toward::Plant, &syn).fate, Fate::Drop(Reason::EgressNotAllowed));
    let syn = robot_opens((STRANGER, 502)).segment(999, TcpFlags::SYN, &[]);
    assert_eq!(vambrace.frame(Toward::Plant, &syn).fate, Fate::Drop(Reason::EgressNotAllowed));
}

#[test]
fn a_connection_that_was_open_before_is_reset_at_both_ends() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    let left = talk.send(&mut vambrace, &write(128, 1));
    assert_eq!(left.fate, Fate::Drop(Reason::MidStream));
    assert_eq!(left.resets(Toward::Robot), [1000]);
    assert_eq!(left.resets(Toward::Plant), [5000]);
}

#[test]
fn a_clean_live_connection_is_taken_over_when_enforcement_begins() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Shadow, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    let left = talk.send(&mut vambrace, &write(3, 1));
    assert_eq!(left.fate, Fate::Drop(Reason::AddressNotAllowed), "shadow tells what enforcement would do");
    assert_eq!(left.frames.len(), 1, "and forwards all the same");
    vambrace.pipeline.set_rules(rules(Mode::Enforce, policy(POLICY, 1)));
    assert_eq!(talk.send(&mut vambrace, &write(128, 1)).fate, Fate::Forward);
    assert!(!talk.send(&mut vambrace, &write(3, 1)).resets(Toward::Robot).is_empty());
}

#[test]
fn a_live_connection_inside_a_unit_ends_when_enforcement_begins() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Learn, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    assert_eq!(talk.send(&mut vambrace, &write(128, 1)[..5]).frames.len(), 1);
    vambrace.pipeline.set_rules(rules(Mode::Enforce, policy(POLICY, 1)));
    let left = talk.send(&mut vambrace, &write(128, 1)[5..]);
    assert_eq!(left.fate, Fate::Drop(Reason::MidStream));
    assert!(left.toward(Toward::Robot).iter().all(|frame| payload(frame).is_empty()));
}

#[test]
fn a_new_policy_judges_live_connections_from_the_next_frame_on() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    assert_eq!(talk.send(&mut vambrace, &write(128, 1)).fate, Fate::Forward);
    let narrower = "version = 1\nrobot = \"robot\"\n";
    vambrace.pipeline.set_rules(rules(Mode::Enforce, policy(narrower, 2)));
    let left = talk.send(&mut vambrace, &write(128, 1));
    assert_eq!(left.fate, Fate::Drop(Reason::NoRuleForClient));
    assert!(!left.resets(Toward::Plant).is_empty());
}

#[test]
fn answers_are_paired_with_their_commands() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    let mut talk = Talk::to(502);
    talk.open(&mut vambrace);
    let asked = talk.send(&mut vambrace, &write(128, 9));
    let answer = talk.back(5000, talk.seq, both(TcpFlags::ACK, TcpFlags::PSH), &write(128, 9));
    // Cut in two: read all the same, forwarded as they come.
    let left = vambrace.frame(Toward::Plant, &answer);
    assert_eq!(left.fate, Fate::Forward);
    let to = left.events.iter().find_map(|event| match &event.record {
        Record::Answer(answer) => Some(answer.to),
        _ => None,
    });
    assert_eq!(to, asked.events.first().map(|event| event.id));
}

#[test]
fn below_ip_only_listed_protocols_and_honest_arp_pass() {
    let mut arena = Arena::boxed(1);
    let mut vambrace = Box::new(&mut arena, rules(Mode::Enforce, policy(POLICY, 1)));
    Talk::to(502).open(&mut vambrace);
    let arp = |sender: (Mac, Ipv4Addr), source: Mac| {
        let arp = link::Arp {
            operation: 2,
            sender_mac: sender.0,
            sender_ip: sender.1,
            target_mac: ROBOT_MAC,
            target_ip: ROBOT,
        };
        let mut out = [0; 64];
        let len = craft::emit_arp(ROBOT_MAC, source, &Tags::default(), &arp, &mut out).unwrap();
        out[..len].to_vec()
    };
    let fate = |vambrace: &mut Box<'_>, frame: &[u8]| vambrace.frame(Toward::Robot, frame).fate;
    assert_eq!(fate(&mut vambrace, &arp((PLC_MAC, PLC), PLC_MAC)), Fate::Forward);
    assert_eq!(fate(&mut vambrace, &arp((OTHER_MAC, PLC), OTHER_MAC)), Fate::Drop(Reason::ArpConflict), "another MAC");
    assert_eq!(
        fate(&mut vambrace, &arp((OTHER_MAC, ROBOT), OTHER_MAC)),
        Fate::Drop(Reason::ArpConflict),
        "the robot's own"
    );
    assert_eq!(fate(&mut vambrace, &arp((PLC_MAC, PLC), OTHER_MAC)), Fate::Drop(Reason::ArpConflict), "two senders");
    let ether = |ether_type: u16, payload: &[u8]| {
        let mut frame = [&ROBOT_MAC.0[..], &PLC_MAC.0, &ether_type.to_be_bytes(), payload].concat();
        frame.resize(60, 0);
        frame
    };
    assert_eq!(fate(&mut vambrace, &ether(0x8892, &[0x80, 0x00])), Fate::Forward);
    assert_eq!(fate(&mut vambrace, &ether(0x8892, &[0xfe, 0xfd, 0x04])), Fate::Drop(Reason::ProfinetDcpSet));
    assert_eq!(fate(&mut vambrace, &ether(0x88b5, &[])), Fate::Drop(Reason::EtherTypeNotListed));
    assert_eq!(
        fate(&mut vambrace, &ether(0x86dd, &[[0x60, 0, 0, 0, 0, 0, 59, 64].as_slice(), &[0xfe; 32]].concat())),
        Fate::Drop(Reason::Ipv6)
    );
    assert_eq!(fate(&mut vambrace, &ether(0x0800, &[0x45])), Fate::Drop(Reason::Truncated));
}

/// What passed while nothing was held to anything was not admitted by that.
#[test]
fn conversations_that_no_rule_admits_end_when_enforcement_begins() {
    for (mode, shadow) in [(Mode::Observe, false), (Mode::Learn, false), (Mode::Observe, true)] {
        let mut arena = Arena::boxed(1);
        let mut vambrace = Box::new(&mut arena, rules(mode, policy(POLICY, 1)));
        let mut stranger = Talk { client: (STRANGER, 40_000), macs: (OTHER_MAC, ROBOT_MAC), ..Talk::to(22) };
        stranger.open(&mut vambrace);
        let mut allowed = Talk::to(22);
        allowed.open(&mut vambrace);
        let mut datagram = [0; 256];
        let to_any = Talk { client: (STRANGER, 40_000), macs: (OTHER_MAC, ROBOT_MAC), ..Talk::to(2222) };
        let len = craft::emit_udp(&to_any.template(), b"hello", &mut datagram).unwrap();
        assert_eq!(vambrace.frame(Toward::Robot, &datagram[..len]).fate, Fate::Forward);
        if shadow {
            vambrace.pipeline.set_rules(rules(Mode::Shadow, policy(POLICY, 1)));
            let left = stranger.send(&mut vambrace, b"ls\n");
            assert_eq!((left.refusals(), left.toward(Toward::Robot).len()), (vec![Reason::NoRuleForClient], 1));
        }
        vambrace.pipeline.set_rules(rules(Mode::Enforce, policy(POLICY, 1)));
        let left = stranger.send(&mut vambrace, b"ls\n");
        assert!(matches!(left.fate, Fate::Drop(Reason::NoRuleForClient)), "{mode:?}: {:?}", left.fate);
        assert!(left.toward(Toward::Robot).iter().all(|bytes| link::parse(bytes).unwrap().tcp().unwrap().flags.rst()));
        let fate = vambrace.frame(Toward::Robot, &datagram[..len]).fate;
        assert!(matches!(fate, Fate::Drop(Reason::NoRuleForClient)), "{mode:?}: {fate:?}");
        assert_eq!(allowed.send(&mut vambrace, b"ls\n").fate, Fate::Forward, "{mode:?}");
    }
}
