//! Traffic for measurements: whole connections made by hand, played through the packet path as a worker plays them.

#![allow(dead_code, reason = "each measurement uses a part")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "a measurement over traffic of its own ends at the first surprise"
)]

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tags, TcpFlags};
use vambrace::engine::{Actions, Arena, Clock, Fate, Mode, Pipeline, Rules, Worker, WorkerShared};
use vambrace::nic::{Frame, FrameMeta, FramePort, PortError};
use vambrace::policy::{Asset, Moment, Policy};
use vambrace::record::{FrameRing, LEAST_RING, Queue, QueueWriter};

pub const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
pub const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
pub const PLC_MAC: Mac = Mac([2, 0, 0, 0, 0, 21]);
pub const ROBOT_MAC: Mac = Mac([2, 0, 0, 0, 0, 40]);

/// What a production cell would allow.
pub const POLICY: &str = r#"
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
id = "cycle"
from = "plc"
service = "rtde"
outputs = ["timestamp", "actual_q", "robot_mode", "safety_mode", "runtime_state"]
frequency = "1..=500"
[allow.inputs]
speed_slider_mask = { value = "0..=1" }
speed_slider_fraction = { value = "0..=1" }
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
class = ["read"]
[[allow]]
id = "programs"
from = "plc"
service = "urscript"
class = ["read"]
[[allow]]
id = "datagrams"
from = "plc"
service = "udp/9999"
"#;

pub fn rules(mode: Mode) -> Arc<Rules> {
    let asset =
        |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
    let assets = vec![asset("robot", ROBOT, true), asset("plc", PLC, false)];
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    let policy = Policy::compile("bench", POLICY, &assets, 1, moment).unwrap_or_else(|error| panic!("{error}"));
    let pass = vec![link::EtherType::PROFINET, link::EtherType::LLDP];
    Arc::new(Rules { pass, ..Rules::of(mode, policy, &assets) })
}

/// Frames one behind the other in one piece of memory, as in a receive ring.
#[derive(Default, Clone)]
pub struct Frames {
    bytes: Vec<u8>,
    each: Vec<(Toward, usize, usize)>,
}

impl Frames {
    pub fn push(&mut self, toward: Toward, frame: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.each.push((toward, start, self.bytes.len()));
    }

    pub fn iter(&self) -> impl Iterator<Item = (Toward, &[u8])> {
        self.each.iter().map(|&(toward, start, end)| (toward, &self.bytes[start..end]))
    }

    pub fn len(&self) -> usize {
        self.each.len()
    }
}

/// One connection: what opens it, what is measured, what ends it.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub opening: Frames,
    pub measured: Frames,
    pub closing: Frames,
}

/// Writes both ends of a TCP connection.
pub struct Talk {
    template: Template,
    seq: u32,
    ack: u32,
    pub frames: Frames,
}

impl Talk {
    pub fn open(client_port: u16, port: u16) -> Self {
        let client = (IpAddr::from(PLC), client_port);
        let template =
            Template::new((PLC_MAC, ROBOT_MAC), Tags::default(), client, (IpAddr::from(ROBOT), port)).unwrap();
        let mut talk = Self { template, seq: 1000, ack: 5000, frames: Frames::default() };
        let opening = Segment { window: 64_000, maximum_segment_size: Some(1460), ..Segment::default() };
        let syn = Segment { seq: 999, flags: TcpFlags::SYN, ..opening };
        talk.frames.push(Toward::Robot, &emit(&talk.template, &syn));
        let flags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        let answer = Segment { seq: 4999, ack: 1000, flags, ..opening };
        talk.frames.push(Toward::Plant, &emit(&talk.template.reversed(), &answer));
        talk.segment(Toward::Robot, TcpFlags::ACK, &[]);
        talk
    }

    fn segment(&mut self, toward: Toward, flags: TcpFlags, payload: &[u8]) {
        let stamps = Some((77, 78));
        let len = payload.len() as u32;
        let common = Segment { flags, window: 64_000, payload, timestamps: stamps, ..Segment::default() };
        let frame = match toward {
            Toward::Robot => emit(&self.template, &Segment { seq: self.seq, ack: self.ack, ..common }),
            Toward::Plant => emit(&self.template.reversed(), &Segment { seq: self.ack, ack: self.seq, ..common }),
        };
        match toward {
            Toward::Robot => self.seq = self.seq.wrapping_add(len),
            Toward::Plant => self.ack = self.ack.wrapping_add(len),
        }
        self.frames.push(toward, &frame);
    }

    pub fn send(&mut self, toward: Toward, payload: &[u8]) {
        self.segment(toward, TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0), payload);
    }

    pub fn take(&mut self) -> Frames {
        std::mem::take(&mut self.frames)
    }

    pub fn close(&mut self) -> Frames {
        self.segment(Toward::Robot, TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0), &[]);
        self.take()
    }
}

pub fn emit(template: &Template, segment: &Segment<'_>) -> Vec<u8> {
    let mut out = [0; 2048];
    let len = craft::emit_tcp(template, segment, &mut out).unwrap();
    out[..len].to_vec()
}

/// A read of ten registers and its answer; every tenth request writes one register.
pub fn modbus_exchange(n: u16) -> (Vec<u8>, Vec<u8>) {
    let mbap = modbus::Mbap::new(n, modbus::UnitId(255));
    let (mut request, mut response) = ([0; 260], [0; 260]);
    if n % 10 == 9 {
        let value = n % 100;
        let written = modbus::FunctionCode(6);
        let pdu = [written.0, 0, 130, 0, value as u8];
        let request = mbap.write_single_register(&mut request, 130, value).unwrap().to_vec();
        return (request, mbap.pdu(&mut response, &pdu).unwrap().to_vec());
    }
    let function = modbus::FunctionCode(3);
    let request = mbap.read(&mut request, function, 128, 10).unwrap().to_vec();
    let registers: Vec<u16> = (0..10).map(|at| at * 7 + n).collect();
    (request, mbap.registers(&mut response, function, &registers).unwrap().to_vec())
}

pub fn modbus(exchanges: u16) -> Case {
    let mut talk = Talk::open(40_000, 502);
    let opening = talk.take();
    for n in 0..exchanges {
        let (request, response) = modbus_exchange(n);
        talk.send(Toward::Robot, &request);
        talk.send(Toward::Plant, &response);
    }
    let measured = talk.take();
    Case { name: "modbus", opening, measured, closing: talk.close() }
}

/// An input package toward the robot and an output package toward the plant, as in a control loop.
pub fn rtde(exchanges: u16) -> Case {
    use rtde::{DataType, Reply, ReplyType, Request, Value, Version};
    let mut talk = Talk::open(40_001, 30_004);
    let mut buffer = [0; 1024];
    let mut emitted = |talk: &mut Talk, toward, emit: &dyn Fn(&mut [u8]) -> Option<usize>| {
        let len = emit(&mut buffer).unwrap();
        talk.send(toward, &buffer[..len]);
    };
    let (robot, plant) = (Toward::Robot, Toward::Plant);
    emitted(&mut talk, robot, &|out| Request::ProtocolVersion(2).emit(Version::V1, out));
    emitted(&mut talk, plant, &|out| Reply::ProtocolVersion { accepted: true }.emit(Version::V1, out));
    let outputs: [&[u8]; 5] = [b"timestamp", b"actual_q", b"robot_mode", b"safety_mode", b"runtime_state"];
    let types = [DataType::Double, DataType::Vector6d, DataType::Int32, DataType::Int32, DataType::Uint32];
    emitted(&mut talk, robot, &|out| rtde::emit::setup_outputs(Some(500.0), outputs, out));
    emitted(&mut talk, plant, &|out| rtde::emit::outputs_reply(Some(1), types.map(ReplyType::Data), out));
    let inputs: [&[u8]; 2] = [b"speed_slider_mask", b"speed_slider_fraction"];
    let types = [DataType::Uint32, DataType::Double];
    emitted(&mut talk, robot, &|out| rtde::emit::setup_inputs(inputs, out));
    emitted(&mut talk, plant, &|out| rtde::emit::inputs_reply(1, types.map(ReplyType::Data), out));
    emitted(&mut talk, robot, &|out| Request::Start.emit(Version::V2, out));
    emitted(&mut talk, plant, &|out| Reply::Start { accepted: true }.emit(Version::V2, out));
    let opening = talk.take();
    for n in 0..exchanges {
        let x = f64::from(n);
        let inputs = [Value::Uint32(1), Value::Double(x / 65_536.0)];
        emitted(&mut talk, robot, &|out| rtde::emit::data(Some(1), inputs, out));
        let outputs = [
            Value::Double(x * 0.002),
            Value::Vector6d([x.sin(), x.cos(), 0.1, -1.2, 0.7, x / 100.0]),
            Value::Int32(7),
            Value::Int32(1),
            Value::Uint32(2),
        ];
        emitted(&mut talk, plant, &|out| rtde::emit::data(Some(1), outputs, out));
    }
    let measured = talk.take();
    Case { name: "rtde", opening, measured, closing: talk.close() }
}

/// A session with one recipe, and a package of it.
pub fn rtde_session() -> (Box<rtde::Session>, Vec<u8>) {
    use dissect::Step;
    use rtde::{DataType, Package, ReplyType, Value};
    let mut session = Box::new(rtde::Session::new());
    let mut buffer = [0; 256];
    let names: [&[u8]; 2] = [b"speed_slider_mask", b"speed_slider_fraction"];
    let len = rtde::emit::setup_inputs(names, &mut buffer).unwrap();
    if let Step::Whole { unit, .. } = Package::step(&buffer[..len], Toward::Robot).unwrap() {
        session.request(&unit).unwrap();
    }
    let types = [DataType::Uint32, DataType::Double].map(ReplyType::Data);
    let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
    if let Step::Whole { unit, .. } = Package::step(&buffer[..len], Toward::Plant).unwrap() {
        session.reply(&unit).unwrap();
    }
    let len = rtde::emit::data(Some(1), [Value::Uint32(1), Value::Double(0.5)], &mut buffer).unwrap();
    (session, buffer[..len].to_vec())
}

/// A question of one line and its answer.
pub fn dashboard(exchanges: u16) -> Case {
    let mut talk = Talk::open(40_002, 29_999);
    talk.send(Toward::Plant, b"Connected: Universal Robots Dashboard Server\n");
    let opening = talk.take();
    for _ in 0..exchanges {
        talk.send(Toward::Robot, b"robotmode\n");
        talk.send(Toward::Plant, b"Robotmode: RUNNING\n");
    }
    let measured = talk.take();
    Case { name: "dashboard", opening, measured, closing: talk.close() }
}

/// Plays frames through the packet path, with recording, as a worker does with one frame a batch.
pub struct Rig {
    pub pipeline: Pipeline<'static>,
    pub actions: Actions,
    pub queue: QueueWriter,
    pub now_ns: u64,
    pub popped: u64,
}

impl Rig {
    /// In `mode`, by [`POLICY`]. Its state is never given back.
    pub fn new(mode: Mode) -> Self {
        let arena = Box::leak(Arena::boxed(0x5eed));
        Self {
            pipeline: Pipeline::new(arena, rules(mode), ()),
            actions: Actions::new(),
            queue: Arc::new(Queue::new(4096, 64)).writer().unwrap(),
            now_ns: 1_000_000_000,
            popped: 0,
        }
    }

    /// One frame; its events are handed over and taken.
    #[inline]
    pub fn frame(&mut self, toward: Toward, bytes: &[u8]) -> Fate {
        self.now_ns += 1_000;
        let meta = FrameMeta { received_ns: self.now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
        self.actions.begin(0, toward);
        let fate = self.pipeline.handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        self.pipeline.poll(self.now_ns, &mut self.actions);
        for event in self.actions.events() {
            self.queue.try_push(event);
        }
        self.actions.clear();
        self.queue.queue().read(64, |event| {
            std::hint::black_box(event);
            self.popped += 1;
        });
        fate
    }

    /// All frames, each of which must pass.
    pub fn play(&mut self, frames: &Frames) {
        for (toward, bytes) in frames.iter() {
            let fate = self.frame(toward, bytes);
            assert_eq!(fate, Fate::Forward);
        }
    }
}

/// Datagrams of 60 bytes and a frame check sequence, to a port that a rule opens as a whole.
pub fn datagrams(count: u16) -> Frames {
    let ends = ((IpAddr::from(PLC), 20_000), (IpAddr::from(ROBOT), 9999));
    let template = Template::new((PLC_MAC, ROBOT_MAC), Tags::default(), ends.0, ends.1).unwrap();
    let mut out = [0; 64];
    let len = craft::emit_udp(&template, &[0x5a; 18], &mut out).unwrap();
    let mut frames = Frames::default();
    (0..count).for_each(|_| frames.push(Toward::Robot, &out[..len]));
    frames
}

/// A port that frames wait at, so many a batch, each when those before it have been taken at either port; what it is to
/// send is looked at and counted.
pub struct Waiting {
    frames: Rc<Frames>,
    next: Rc<Cell<usize>>,
    toward: Toward,
    batch: usize,
    held: usize,
    pub sent: usize,
}

impl FramePort for Waiting {
    fn receive(&mut self) -> Result<usize, PortError> {
        self.release();
        let next = self.next.get();
        let waits = |at: &usize| self.frames.each.get(*at).is_some_and(|(toward, ..)| *toward == self.toward);
        self.held = (next..next + self.batch).take_while(waits).count();
        Ok(self.held)
    }

    fn frame(&self, index: usize) -> Frame<'_> {
        let at = self.next.get() + index;
        let (_, start, end) = self.frames.each[at];
        let bytes = &self.frames.bytes[start..end];
        let received_ns = 1_000_000_000 + at as u64 * 1_000_000;
        Frame { bytes, meta: FrameMeta { received_ns, wire_len: bytes.len() as u32, checksum_partial: false } }
    }

    fn release(&mut self) {
        self.next.set(self.next.get() + self.held);
        self.held = 0;
    }

    fn transmit(&mut self, frames: &[&[u8]]) -> Result<usize, PortError> {
        self.sent += std::hint::black_box(frames).len();
        Ok(frames.len())
    }

    fn readiness(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// A clock that goes on by a microsecond each time it is read.
pub struct Ticks(Cell<u64>);

impl Clock for Ticks {
    fn monotonic_ns(&self) -> u64 {
        self.0.set(self.0.get() + 1_000);
        self.0.get()
    }

    fn wall_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}

/// A worker that enforces, remembers frames and measures, between ports where `frames` wait. Nothing of it is given back.
pub struct Works {
    pub worker: Worker<'static, Waiting, Ticks, ()>,
    pub queue: Arc<Queue>,
}

impl Works {
    pub fn new(frames: &Frames, batch: usize) -> Self {
        let queue = Arc::new(Queue::new(8192, 64));
        let (frames, next) = (Rc::new(frames.clone()), Rc::new(Cell::new(0)));
        let port = |toward| {
            let (frames, next) = (Rc::clone(&frames), Rc::clone(&next));
            Waiting { frames, next, toward, batch, held: 0, sent: 0 }
        };
        let ports = (port(Toward::Robot), port(Toward::Plant));
        let shared = Arc::new(WorkerShared::new(rules(Mode::Enforce)));
        let clock = Ticks(Cell::new(1_000_000_000));
        let arena = Box::leak(Arena::boxed(0x5eed));
        let ring = Arc::new(FrameRing::new(LEAST_RING));
        let worker = Worker::new(ports, arena, Arc::clone(&queue), shared, clock, ()).unwrap().with_ring(Some(ring));
        let mut works = Self { worker, queue };
        works.worker.begin();
        works
    }

    /// Turns until so many frames have left.
    pub fn until_sent(&mut self, frames: usize) {
        loop {
            let (plant, robot) = self.worker.ports();
            if plant.sent + robot.sent >= frames {
                return;
            }
            assert!(self.worker.turn(), "all frames pass");
        }
    }
}

/// A program as an engineering station uploads it, about `len` bytes.
pub fn script(len: usize) -> Vec<u8> {
    let mut text = b"def cycle():\n  # pick and place\n".to_vec();
    let mut n = 0;
    while text.len() < len {
        n += 1;
        let lines = format!(
            "  movej([{0}.1, -1.57, 1.2, -{0}.25, -1.57, 0.0], a=1.4, v=1.05, r=0.02)\n  if (digital_in_{0} == True):\n    \
             set_digital_out({1}, True) # gripper \"{0}\"\n    textmsg(\"part \", {0})\n  end\n  local_{0} = get_actual_tcp_pose()\n",
            n % 900,
            n % 8
        );
        text.extend_from_slice(lines.as_bytes());
    }
    text.extend_from_slice(b"end\n");
    text
}
