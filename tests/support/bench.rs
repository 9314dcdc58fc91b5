//! The packet path alone, with both ends of every connection played by hand: exact frames at exact times.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tags, Tcp, TcpFlags};
use vambrace::engine::{Actions, Arena, Fate, Mode, Out, Pipeline, Rules};
use vambrace::event::{Notice, Reason, Record};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

/// The honest client.
pub const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
/// Another client with rules of its own.
pub const ODD: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 22);
/// The robot.
pub const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
/// Its MAC.
pub const ROBOT_MAC: Mac = Mac([2, 0, 0, 0, 0, 40]);

/// Flags of a segment with data.
pub const DATA: TcpFlags = TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0);
/// Flags of the last segment.
pub const FIN: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);
/// Flags of a robot's answer to a SYN.
pub const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);

/// One second.
pub const SECOND_NS: u64 = 1_000_000_000;

fn assets() -> Vec<Asset> {
    let asset =
        |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
    vec![asset("robot", ROBOT, true), asset("plc", PLC, false), asset("odd", ODD, false)]
}

/// Rules of a mode by a policy.
pub fn rules(mode: Mode, policy: &str) -> Arc<Rules> {
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    let policy = Policy::compile("policy.toml", policy, &assets(), 1, moment).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(Rules::of(mode, policy, &assets()))
}

/// What left for one event.
#[derive(Debug, Default)]
pub struct Left {
    /// What became of the frame; of a wait, of none.
    pub fate: Option<Fate>,
    /// Frames, by side.
    pub frames: Vec<(Toward, Vec<u8>)>,
    /// Reasons of refusals.
    pub refusals: Vec<Reason>,
    /// How many messages of the robot were recorded.
    pub messages: usize,
    /// What was told of beside commands: anomalies.
    pub notices: Vec<&'static str>,
}

impl Left {
    /// The segments toward a side.
    pub fn segments(&self, toward: Toward) -> Vec<Tcp<'_>> {
        let own = self.frames.iter().filter(|(to, _)| *to == toward);
        own.filter_map(|(_, bytes)| link::parse(bytes).unwrap().tcp().copied()).collect()
    }

    /// The payload bytes toward a side, in the order of sending.
    pub fn payload(&self, toward: Toward) -> Vec<u8> {
        self.segments(toward).iter().flat_map(|tcp| tcp.payload).copied().collect()
    }

    /// Whether a reset left toward a side.
    pub fn resets(&self, toward: Toward) -> bool {
        self.segments(toward).iter().any(|tcp| tcp.flags.rst())
    }

    fn add(&mut self, other: Self) {
        self.frames.extend(other.frames);
        self.refusals.extend(other.refusals);
        self.messages += other.messages;
        self.notices.extend(other.notices);
    }
}

/// The packet path with its clock.
pub struct Bench {
    pipeline: Pipeline<'static>,
    /// What leaves and is recorded.
    pub actions: Actions,
    /// The clock.
    pub now_ns: u64,
    mode: Mode,
    policy: String,
}

impl Bench {
    /// Enforces a policy.
    pub fn new(policy: &str) -> Self {
        Self::in_mode(Mode::Enforce, policy)
    }

    /// The same in another mode.
    pub fn in_mode(mode: Mode, policy: &str) -> Self {
        // Never given back: the kernel gives pages only to what is touched.
        let arena = Box::leak(Arena::boxed(1));
        let pipeline = Pipeline::new(arena, rules(mode, policy), ());
        Self { pipeline, actions: Actions::new(), now_ns: SECOND_NS, mode, policy: policy.into() }
    }

    /// Goes to another mode.
    pub fn switch(&mut self, mode: Mode) {
        self.mode = mode;
        self.pipeline.set_rules(rules(mode, &self.policy));
    }

    /// Judges by other rules.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.pipeline.set_rules(rules);
    }

    /// Takes a frame, a microsecond after the last.
    pub fn frame(&mut self, toward: Toward, bytes: &[u8]) -> Left {
        self.now_ns += 1000;
        let meta = FrameMeta { received_ns: self.now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
        self.actions.begin(0, toward);
        let fate = self.pipeline.handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        Left { fate: Some(fate), ..self.left(bytes) }
    }

    fn left(&mut self, received: &[u8]) -> Left {
        let frames = self.actions.outs().iter().map(|out| match *out {
            Out::Received { toward, .. } => (toward, received.to_vec()),
            Out::Crafted { range, toward } => (toward, self.actions.crafted(range).to_vec()),
        });
        let refusals = self.actions.events().iter().filter_map(|event| match &event.record {
            Record::Command(command) if !command.verdict.is_allowed() => Some(command.verdict.reason),
            Record::Frame(frame) => Some(frame.verdict.reason),
            _ => None,
        });
        let messages = self.actions.events().iter().filter(|event| matches!(event.record, Record::Message(_))).count();
        let notices = self.actions.events().iter().filter_map(|event| match event.record {
            Record::Notice(Notice::Anomaly { what, .. }) => Some(what),
            _ => None,
        });
        let (frames, refusals, notices) = (frames.collect(), refusals.collect(), notices.collect());
        let left = Left { fate: None, frames, refusals, messages, notices };
        self.actions.clear();
        assert!(self.pipeline.counters().balance(), "every frame is accounted for");
        left
    }

    /// Lets time pass, with a look at the timers every half a millisecond, or every five where it is long.
    pub fn wait(&mut self, nanoseconds: u64) -> Left {
        let end_ns = self.now_ns + nanoseconds;
        let mut all = Left::default();
        let step_ns = if nanoseconds > SECOND_NS / 2 { 5_000_000 } else { 500_000 };
        while self.now_ns < end_ns {
            self.now_ns += step_ns;
            self.pipeline.poll(self.now_ns, &mut self.actions);
            all.add(self.left(&[]));
        }
        all
    }
}

/// A frame of a segment.
pub fn emit(template: &Template, segment: &Segment<'_>) -> Vec<u8> {
    let mut out = vec![0; 70_000];
    let len = craft::emit_tcp(template, segment, &mut out).unwrap();
    out.truncate(len);
    out
}

/// Both ends of one TCP connection, as an honest client and an honest robot see it.
#[derive(Clone, Debug)]
pub struct Talk {
    /// The client's address, MAC and port.
    pub client: (Ipv4Addr, Mac, u16),
    /// The robot's port.
    pub port: u16,
    /// The client's next number.
    pub seq: u32,
    /// The client's expected number.
    pub ack: u32,
    /// The robot's next number.
    pub robot_seq: u32,
    /// The robot's expected number.
    pub robot_ack: u32,
    /// The clients' timestamp; none where absent.
    pub clock: Option<u32>,
    /// Segment size that either SYN says.
    pub mss: [u16; 2],
    /// Window of both.
    pub window: u16,
}

impl Talk {
    /// A connection of the honest client's.
    pub fn new(from: u16, port: u16) -> Self {
        Self::of(PLC, from, port)
    }

    /// Of a given client.
    pub fn of(client: Ipv4Addr, from: u16, port: u16) -> Self {
        let mac = Mac([2, 0, 0, 0, 0, client.octets()[3]]);
        Self {
            client: (client, mac, from),
            port,
            seq: 1_000_000,
            ack: 0,
            robot_seq: 5_000_000,
            robot_ack: 0,
            clock: Some(100_000),
            mss: [1460; 2],
            window: 64_000,
        }
    }

    fn template(&self) -> Template {
        let (address, mac, port) = self.client;
        let ends = ((IpAddr::from(address), port), (IpAddr::from(ROBOT), self.port));
        Template::new((mac, ROBOT_MAC), Tags::default(), ends.0, ends.1).unwrap()
    }

    /// A segment of the client's with given numbers.
    pub fn segment(&self, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
        let timestamps = self.clock.map(|clock| (clock, 7));
        let segment = Segment { seq, ack, flags, window: self.window, timestamps, payload, ..Segment::default() };
        emit(&self.template(), &segment)
    }

    /// A segment of the robot's with given numbers.
    pub fn back(&self, seq: u32, ack: u32, flags: TcpFlags, payload: &[u8]) -> Vec<u8> {
        let timestamps = self.clock.map(|clock| (7, clock));
        let segment = Segment { seq, ack, flags, window: self.window, timestamps, payload, ..Segment::default() };
        emit(&self.template().reversed(), &segment)
    }

    /// The client's SYN.
    pub fn syn(&self) -> Vec<u8> {
        let segment = Segment {
            seq: self.seq,
            flags: TcpFlags::SYN,
            window: self.window,
            maximum_segment_size: Some(self.mss[0]),
            timestamps: self.clock.map(|clock| (clock, 0)),
            ..Segment::default()
        };
        emit(&self.template(), &segment)
    }

    /// The robot's answer to it.
    pub fn syn_ack(&self) -> Vec<u8> {
        let segment = Segment {
            seq: self.robot_seq,
            ack: self.seq.wrapping_add(1),
            flags: SYN_ACK,
            window: self.window,
            maximum_segment_size: Some(self.mss[1]),
            timestamps: self.clock.map(|clock| (7, clock)),
            ..Segment::default()
        };
        emit(&self.template().reversed(), &segment)
    }

    /// SYN and answer.
    pub fn half_open(&mut self, bench: &mut Bench) -> Left {
        let left = bench.frame(Toward::Robot, &self.syn());
        bench.frame(Toward::Plant, &self.syn_ack());
        self.seq = self.seq.wrapping_add(1);
        self.robot_seq = self.robot_seq.wrapping_add(1);
        (self.ack, self.robot_ack) = (self.robot_seq, self.seq);
        left
    }

    /// The whole handshake. Says whether the SYN reached the robot.
    pub fn open(&mut self, bench: &mut Bench) -> bool {
        let left = self.half_open(bench);
        bench.frame(Toward::Robot, &self.segment(self.seq, self.ack, TcpFlags::ACK, &[]));
        !left.segments(Toward::Robot).is_empty()
    }

    /// The client sends data in order.
    pub fn send(&mut self, bench: &mut Bench, payload: &[u8]) -> Left {
        let frame = self.segment(self.seq, self.ack, DATA, payload);
        self.seq = self.seq.wrapping_add(payload.len() as u32);
        bench.frame(Toward::Robot, &frame)
    }

    /// The robot takes what left toward it, in order; answers with what was new.
    pub fn robot_takes(&mut self, left: &Left) -> Vec<u8> {
        let mut fresh = Vec::new();
        for tcp in left.segments(Toward::Robot) {
            let skip = self.robot_ack.wrapping_sub(tcp.seq) as usize;
            if let Some(bytes) = tcp.payload.get(skip..) {
                fresh.extend_from_slice(bytes);
                self.robot_ack = self.robot_ack.wrapping_add(bytes.len() as u32);
            }
        }
        fresh
    }

    /// The client takes what left toward it, in order; answers with what was new.
    pub fn client_takes(&mut self, left: &Left) -> Vec<u8> {
        let mut fresh = Vec::new();
        for tcp in left.segments(Toward::Plant) {
            let skip = self.ack.wrapping_sub(tcp.seq) as usize;
            if let Some(bytes) = tcp.payload.get(skip..) {
                fresh.extend_from_slice(bytes);
                self.ack = self.ack.wrapping_add(bytes.len() as u32);
            }
        }
        fresh
    }

    /// The robot sends data in order, and acknowledges what it has.
    pub fn reply(&mut self, bench: &mut Bench, payload: &[u8]) -> Left {
        let frame =
            self.back(self.robot_seq, self.robot_ack, if payload.is_empty() { TcpFlags::ACK } else { DATA }, payload);
        self.robot_seq = self.robot_seq.wrapping_add(payload.len() as u32);
        bench.frame(Toward::Plant, &frame)
    }

    /// The client acknowledges what it has.
    pub fn acknowledge(&self, bench: &mut Bench) -> Left {
        bench.frame(Toward::Robot, &self.segment(self.seq, self.ack, TcpFlags::ACK, &[]))
    }

    /// A Modbus exchange that works from end to end; panics with `what` where it does not.
    pub fn exchange(&mut self, bench: &mut Bench, request: &[u8], what: &str) {
        let left = self.send(bench, request);
        assert_eq!(self.robot_takes(&left), request, "{what}: the request does not arrive: {left:02x?}");
        let left = self.reply(bench, request);
        assert_eq!(self.client_takes(&left), request, "{what}: the answer does not arrive: {left:02x?}");
        self.acknowledge(bench);
    }
}
