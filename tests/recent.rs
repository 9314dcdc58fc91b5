//! What is remembered of the latest conversations saves look-ups and changes nothing: the same frames through two packet
//! paths, of which one forgets before every frame, come to the same end.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::IpAddr;
use std::sync::Arc;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tag, Tags, TcpFlags};
use support::bench::{Bench, DATA, PLC, ROBOT, ROBOT_MAC, SECOND_NS, SYN_ACK, rules};
use vambrace::engine::{Actions, Arena, Fate, Mode, Out, Pipeline, Rules};
use vambrace::event::{Event, Reason, Record};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "datagrams"
from = "plc"
service = "udp/9999"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers"]
"#;
const NOTHING: &str = "version = 1\nrobot = \"robot\"\n";
const PLC_MAC: Mac = Mac([2, 0, 0, 0, 0, 21]);
const OTHER_MAC: Mac = Mac([2, 0, 0, 0, 0, 66]);

/// Rules that enforce the policy of this number.
fn of_generation(generation: u32, policy: &str) -> Arc<Rules> {
    let mut rules = Arc::try_unwrap(rules(Mode::Enforce, policy)).unwrap();
    let asset = |name: &str, address: IpAddr, is_robot| Asset { name: name.into(), address, is_robot };
    let assets = [asset("robot", ROBOT.into(), true), asset("plc", PLC.into(), false)];
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    rules.policy = Arc::new(Policy::compile("policy.toml", policy, &assets, generation, moment).unwrap());
    Arc::new(rules)
}

fn template(macs: (Mac, Mac), tags: Tags, ports: (u16, u16)) -> Template {
    Template::new(macs, tags, (IpAddr::from(PLC), ports.0), (IpAddr::from(ROBOT), ports.1)).unwrap()
}

fn datagram(template: &Template, payload: &[u8]) -> Vec<u8> {
    let mut out = [0; 2048];
    let len = craft::emit_udp(template, payload, &mut out).unwrap();
    out[..len].to_vec()
}

fn segment(template: &Template, segment: &Segment<'_>) -> Vec<u8> {
    support::bench::emit(template, segment)
}

fn plain_datagram() -> Vec<u8> {
    datagram(&template((PLC_MAC, ROBOT_MAC), Tags::default(), (20_000, 9999)), &[0x5a; 18])
}

#[test]
fn a_known_conversation_from_another_mac_or_by_other_rules_is_refused() {
    let mut bench = Bench::new(POLICY);
    for _ in 0..3 {
        assert_eq!(bench.frame(Toward::Robot, &plain_datagram()).fate, Some(Fate::Forward));
    }
    let stolen = datagram(&template((OTHER_MAC, ROBOT_MAC), Tags::default(), (20_000, 9999)), &[0x5a; 18]);
    assert_eq!(bench.frame(Toward::Robot, &stolen).fate, Some(Fate::Drop(Reason::MacMismatch)));
    // The same frame out of the other port.
    assert_eq!(bench.frame(Toward::Plant, &plain_datagram()).fate, Some(Fate::Drop(Reason::MacMismatch)));
    assert_eq!(bench.frame(Toward::Robot, &plain_datagram()).fate, Some(Fate::Forward));
    bench.set_rules(of_generation(2, NOTHING));
    assert!(matches!(bench.frame(Toward::Robot, &plain_datagram()).fate, Some(Fate::Drop(_))));
}

#[test]
fn what_is_damaged_in_a_known_conversation_is_refused_as_ever() {
    let mut bench = Bench::new(POLICY);
    for (what, at, xor, reason) in [
        ("header checksum", 24, 1, Reason::BadChecksum),
        ("more fragments", 20, 0x20, Reason::Fragment),
        ("no hop left", 22, 64, Reason::TtlZero),
        ("UDP length", 39, 0x80, Reason::Truncated),
        ("total length", 17, 0x40, Reason::Truncated),
    ] {
        assert_eq!(bench.frame(Toward::Robot, &plain_datagram()).fate, Some(Fate::Forward), "{what}");
        assert_eq!(bench.frame(Toward::Robot, &plain_datagram()).fate, Some(Fate::Forward), "{what}");
        let mut frame = plain_datagram();
        frame[at] ^= xor;
        if at != 24 {
            mend(&mut frame);
        }
        assert_eq!(bench.frame(Toward::Robot, &frame).fate, Some(Fate::Drop(reason)), "{what}");
    }
}

/// Sets the checksum of an untagged frame's IPv4 header right.
fn mend(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = !link::checksum::sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A packet path, and what came of its last frame.
struct Path {
    pipeline: Pipeline<'static>,
    actions: Actions,
}

/// All that can be seen of a frame from outside: its fate, what left, what was recorded.
type Seen = (Fate, Vec<(Toward, Vec<u8>)>, Vec<(u64, &'static str)>);

impl Path {
    fn new(rules: &Arc<Rules>) -> Self {
        let pipeline = Pipeline::new(Box::leak(Arena::boxed(1)), Arc::clone(rules), ());
        Self { pipeline, actions: Actions::new() }
    }

    fn frame(&mut self, toward: Toward, bytes: &[u8], now_ns: u64) -> Seen {
        let meta = FrameMeta { received_ns: now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
        self.actions.begin(0, toward);
        let fate = self.pipeline.handle(toward, &Frame { bytes, meta }, now_ns, &mut self.actions);
        self.pipeline.poll(now_ns, &mut self.actions);
        let outs = self.actions.outs().iter().map(|out| match *out {
            Out::Received { toward, .. } => (toward, bytes.to_vec()),
            Out::Crafted { range, toward } => (toward, self.actions.crafted(range).to_vec()),
        });
        let seen = (fate, outs.collect(), self.actions.events().iter().map(told).collect());
        self.actions.clear();
        seen
    }
}

fn told(event: &Event) -> (u64, &'static str) {
    let what = match &event.record {
        Record::Command(command) => command.verdict.reason.name(),
        Record::Frame(frame) => frame.verdict.reason.name(),
        Record::Answer(_) => "answer",
        Record::Message(_) => "message",
        Record::Flow(_) => "flow",
        Record::Notice(_) => "notice",
    };
    (event.id.0, what)
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Frames of some conversations, honest ones, stolen ones, tagged ones, and a TCP connection that comes and goes.
fn frames() -> Vec<(Toward, Vec<u8>)> {
    let mut all = Vec::new();
    let priority = Tags::new(&[Tag { tpid: 0x8100, tci: 0 }]).unwrap();
    for macs in [(PLC_MAC, ROBOT_MAC), (OTHER_MAC, ROBOT_MAC), (ROBOT_MAC, PLC_MAC)] {
        for tags in [Tags::default(), priority] {
            for ports in [(20_000, 9999), (20_001, 9999), (20_000, 502), (20_000, 7)] {
                let there = template(macs, tags, ports);
                all.push((Toward::Robot, datagram(&there, &[1; 18])));
                all.push((Toward::Plant, datagram(&there.reversed(), &[2; 30])));
            }
        }
    }
    for from in [40_000, 40_001] {
        let there = template((PLC_MAC, ROBOT_MAC), Tags::default(), (from, 502));
        let back = there.reversed();
        let (read, answer) = ([0, 1, 0, 0, 0, 6, 1, 3, 0, 128, 0, 1], [0, 1, 0, 0, 0, 5, 1, 3, 2, 0, 7]);
        let at = |seq, ack, flags, payload| Segment { seq, ack, flags, window: 60_000, payload, ..Segment::default() };
        all.push((Toward::Robot, segment(&there, &at(999, 0, TcpFlags::SYN, &[]))));
        all.push((Toward::Plant, segment(&back, &at(4999, 1000, SYN_ACK, &[]))));
        all.push((Toward::Robot, segment(&there, &at(1000, 5000, TcpFlags::ACK, &[]))));
        all.push((Toward::Robot, segment(&there, &at(1000, 5000, DATA, &read))));
        all.push((Toward::Plant, segment(&back, &at(5000, 1012, DATA, &answer))));
        all.push((Toward::Robot, segment(&there, &at(1012, 5011, TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0), &[]))));
    }
    all
}

#[test]
fn remembering_changes_nothing() {
    let both = [rules(Mode::Enforce, POLICY), of_generation(2, NOTHING)];
    let watching = rules(Mode::Observe, POLICY);
    let frames = frames();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut forwarded, mut dropped) = (0, 0);
    for _ in 0..40 {
        let mut force = &both[0];
        let (mut quick, mut slow) = (Path::new(force), Path::new(force));
        let (mut now_ns, mut at) = (SECOND_NS, 0);
        for step in 0..1500 {
            now_ns += [1_000, 100_000, SECOND_NS][random.below(100).saturating_sub(97)];
            if random.below(200) == 0 {
                force = [&both[0], &both[0], &both[1], &watching][random.below(4)];
                quick.pipeline.set_rules(Arc::clone(force));
            }
            // Mostly one after the other, so that connections open; often the same again.
            at = if random.below(3) == 0 { random.below(frames.len()) } else { (at + random.below(2)) % frames.len() };
            let (mut toward, mut bytes) = frames[at].clone();
            if random.below(4) == 0 {
                let place = random.below(bytes.len().min(60));
                bytes[place] ^= 1 << random.below(8);
                if random.below(3) > 0 {
                    mend(&mut bytes);
                }
            }
            if random.below(50) == 0 {
                toward = toward.reverse();
            }
            if random.below(50) == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
            slow.pipeline.set_rules(Arc::clone(force));
            let (seen, expected) = (quick.frame(toward, &bytes, now_ns), slow.frame(toward, &bytes, now_ns));
            assert_eq!(seen, expected, "step {step}, {toward:?}: {bytes:02x?}");
            *if matches!(seen.0, Fate::Drop(_)) { &mut dropped } else { &mut forwarded } += 1;
        }
    }
    assert!(forwarded > 10_000 && dropped > 10_000, "{forwarded} passed, {dropped} dropped");
}
