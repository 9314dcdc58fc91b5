//! A cell of five conversations around the packet path, driven by bytes: each byte is one choice of what the ends, the
//! clock and the operator do next. Used by the fuzz target and, over the kept inputs, by the ordinary tests.

mod robot;
mod script;
mod step;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use dissect::Toward;
use link::{Mac, Tags};
use sha2::{Digest, Sha256};
use vambrace::engine::{Actions, Arena, Checksums, Device, Fate, Mode, Out, Pipeline, Rules};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

use robot::{REVERSE, Reader, SCRIPT};
use script::HANDED;

pub(crate) const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
pub(crate) const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
const PLC_MAC: Mac = Mac([2, 0, 0, 0, 0, 21]);
const ROBOT_MAC: Mac = Mac([2, 0, 0, 0, 0, 40]);

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register", "write_multiple_registers"]
address = ["128..=131"]
value = "0..=120"
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
class = ["read"]
[[allow]]
id = "script"
from = "plc"
service = "urscript"
kind = ["program", "secondary", "statement"]
function = ["textmsg"]
[[allow]]
id = "state"
from = "plc"
service = "rtde"
class = ["read"]
[[allow]]
id = "callback"
from = "robot"
to = "plc"
service = "tcp/40000"
[[allow]]
id = "set-points"
from = "plc"
service = "external_control"
mode = ["idle", "servoj"]
timeout_ms = "10..=200"
beyond = "clamp"
# Of the text that `script` hands over.
program = ["sha256:HANDED"]
[allow.envelope]
position_rad = ["-2..=2", "-2..=2", "-2..=2", "-2..=2", "-2..=2", "-2..=2"]
[[allow]]
id = "ping"
from = "plc"
service = "icmp"
"#;

/// Every mode by every policy; no policy lets a register be written that [`robot`] takes for marked.
fn all_rules() -> &'static [Arc<Rules>] {
    static ALL: OnceLock<Vec<Arc<Rules>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let handed: String = Sha256::digest(HANDED).iter().map(|byte| format!("{byte:02x}")).collect();
        let policy = POLICY.replace("HANDED", &handed);
        let resetting = format!("{policy}[refusal]\nmodbus = \"reset\"\ndashboard = \"reset\"\n");
        let dropping = format!("{policy}[refusal]\nmodbus = \"drop\"\nurscript = \"reset\"\n");
        let narrow = policy.replace("0..=120", "0..=10").replace("128..=131", "128..=129");
        let policies = [policy, resetting, dropping, narrow];
        let asset =
            |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
        let assets = vec![asset("robot", ROBOT, true), asset("plc", PLC, false)];
        let mut all = Vec::new();
        for (generation, text) in (1..).zip(&policies) {
            let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
            let policy = Policy::compile("policy.toml", text, &assets, generation, moment);
            let policy = Arc::new(policy.unwrap_or_else(|error| panic!("{error}")));
            for mode in [Mode::Enforce, Mode::Shadow, Mode::Learn, Mode::Observe] {
                let device = |asset: &Asset| Device {
                    name: asset.name.clone(),
                    address: asset.address,
                    mac: None,
                    is_robot: asset.is_robot,
                };
                all.push(Arc::new(Rules {
                    mode,
                    policy: Arc::clone(&policy),
                    devices: assets.iter().map(device).collect(),
                    pass: vec![link::EtherType::PROFINET, link::EtherType::LLDP],
                    pass_stp: true,
                    dcp_set: false,
                    checksums: Checksums::Verify,
                    bind: true,
                    adopt_modbus: false,
                    new_connections: 0,
                    ipv6: false,
                    robot_api: false,
                }));
            }
        }
        all
    })
}

/// Bytes that are used up as choices; behind the last one every choice is 0.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Up to `most` bytes as they are.
    pub(crate) fn some(&mut self, most: usize) -> &'a [u8] {
        let len = self.below(most + 1).min(self.0.len());
        let (some, rest) = self.0.split_at(len);
        self.0 = rest;
        some
    }
}

/// One end of a conversation. It takes what comes in order, and believes acknowledgements.
#[derive(Default)]
struct End {
    start: u32,
    stream: Vec<u8>,
    sent: usize,
    acked: usize,
    /// The next number that it expects of the other end.
    expects: u32,
    window: u16,
    /// What came, until it is answered.
    inbox: Vec<u8>,
}

impl End {
    fn begin(&mut self, start: u32) {
        *self = Self { start, window: 64_000, ..Self::default() };
    }

    fn seq(&self, place: usize) -> u32 {
        self.start.wrapping_add(1).wrapping_add(place as u32)
    }

    fn hear(&mut self, tcp: &link::Tcp<'_>) {
        if tcp.flags.syn() {
            self.expects = tcp.seq.wrapping_add(1);
        }
        let skip = self.expects.wrapping_sub(tcp.seq) as usize;
        if !tcp.flags.syn() && skip <= tcp.payload.len() {
            self.inbox.extend(&tcp.payload[skip..]);
            let end = tcp.seq.wrapping_add(tcp.payload.len() as u32);
            self.expects = end.wrapping_add(u32::from(tcp.flags.fin()));
        }
        let acked = tcp.ack.wrapping_sub(self.seq(0)) as usize;
        if tcp.flags.ack() && acked <= self.sent {
            self.acked = self.acked.max(acked);
        }
    }
}

struct Talk {
    client: u16,
    port: u16,
    /// Who opens it: the robot calls back on one port.
    opened: Toward,
    /// The end at the plant and the end at the robot.
    ends: [End; 2],
    tags: Tags,
    timestamps: bool,
    begun: u32,
}

const TALKS: [(u16, u16, Toward); 5] = [
    (50_001, 502, Toward::Robot),
    (50_002, 29_999, Toward::Robot),
    (50_003, 30_004, Toward::Robot),
    (50_004, 30_001, Toward::Robot),
    (40_000, 50_005, Toward::Plant),
];

/// The last two where the first byte asks for it: sockets of external control, which the robot opens.
const EXTERNAL: [(u16, u16, Toward); 2] = [(REVERSE, 50_006, Toward::Plant), (SCRIPT, 50_007, Toward::Plant)];

fn sender(toward: Toward) -> usize {
    usize::from(toward == Toward::Plant)
}

struct World<'m> {
    /// Absent only while a successor takes over.
    pipeline: Option<Pipeline<'m>>,
    actions: Actions,
    now_ns: u64,
    talks: [Talk; 5],
    history: VecDeque<(Toward, Vec<u8>)>,
    ever_enforced: bool,
    reader: Reader,
    digest: u64,
}

/// Does what `bytes` say; panics where anything that leaves is wrong. Answers with a number that stands for everything
/// that left.
pub(crate) fn play(bytes: &[u8]) -> u64 {
    let mut choices = Choices(bytes);
    let first = choices.byte();
    // Three of four runs enforce from the start.
    let at = if first & 3 == 0 { usize::from(first >> 2) % 16 } else { usize::from(first >> 2) % 4 * 4 };
    let rules = Arc::clone(&all_rules()[at]);
    let mut arena = Arena::boxed(7);
    let mut talks = TALKS;
    if first & 3 != 0 && first & 0x80 != 0 {
        talks[3..].copy_from_slice(&EXTERNAL);
    }
    let talk = |(client, port, opened)| Talk {
        client,
        port,
        opened,
        ends: <[End; 2]>::default(),
        tags: Tags::NONE,
        timestamps: false,
        begun: 0,
    };
    let mut world = World {
        ever_enforced: rules.mode.enforces(),
        pipeline: Some(Pipeline::new(&mut arena, rules, ())),
        actions: Actions::new(),
        now_ns: 1_000_000_000,
        talks: talks.map(talk),
        history: VecDeque::new(),
        reader: Reader::default(),
        digest: 0,
    };
    while !choices.0.is_empty() {
        world.step(&mut choices);
    }
    world.time(&[500_000; 4]);
    world.digest
}

/// Frames, bytes and events that one frame may cause; what [`Actions`] keeps room for.
const MOST: (usize, usize, usize) = (208, 160 * 1024, 2048);

impl World<'_> {
    fn enforces(&self) -> bool {
        self.pipeline.as_ref().is_some_and(|pipeline| pipeline.rules().mode.enforces())
    }

    /// A frame arrives at the box; what leaves reaches the ends.
    fn frame(&mut self, toward: Toward, bytes: &[u8], checksum_partial: bool) {
        if self.history.len() == 8 {
            self.history.pop_front();
        }
        self.history.push_back((toward, bytes.to_vec()));
        self.now_ns += 1_000;
        let meta = FrameMeta { received_ns: self.now_ns, wire_len: bytes.len() as u32, checksum_partial };
        self.actions.begin(3, toward);
        let fate =
            self.pipeline.as_mut().unwrap().handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        let crafted: usize = self.actions.outs().iter().map(crafted_len).sum();
        let found = (self.actions.outs().len(), crafted, self.actions.events().len());
        assert!(found.0 <= MOST.0 && found.1 <= MOST.1 && found.2 <= MOST.2, "more came of one frame: {found:?}");
        if !self.ever_enforced {
            assert_eq!(self.actions.outs(), [Out::Received { index: 3, toward }], "{fate:?}: not what came in");
        } else if self.enforces() && matches!(fate, Fate::Drop(_) | Fate::Absorb) {
            let passed = self.actions.outs().iter().any(|out| matches!(out, Out::Received { .. }));
            assert!(!passed, "{fate:?}, and yet it passed");
        }
        self.left(bytes);
    }

    /// Time passes in these steps.
    fn time(&mut self, steps: &[u64]) {
        for step in steps {
            self.now_ns += step;
            let next = self.pipeline.as_mut().unwrap().poll(self.now_ns, &mut self.actions);
            assert!(next > self.now_ns, "asks for a time that is over");
            assert!(self.ever_enforced || self.actions.outs().is_empty(), "a frame of its own outside enforcement");
            self.left(&[]);
        }
    }

    /// What left is checked and reaches the ends.
    fn left(&mut self, received: &[u8]) {
        let pipeline = self.pipeline.as_ref().unwrap();
        assert!(pipeline.counters().balance(), "a frame is not accounted for: {:?}", pipeline.counters());
        assert_eq!(self.actions.lost(), 0, "no room for what had to be done");
        let enforces = self.enforces();
        for out in self.actions.outs() {
            let (toward, bytes) = match *out {
                Out::Received { toward, .. } => (toward, received),
                Out::Crafted { range, toward } => (toward, self.actions.crafted(range)),
            };
            for byte in bytes {
                self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            let packet = link::parse(bytes);
            if matches!(out, Out::Crafted { .. }) {
                let packet = packet.as_ref().expect("crafted a frame that nobody can read");
                assert!(packet.checksums_ok(), "crafted a frame with a wrong checksum: {bytes:02x?}");
            }
            let Ok(packet) = packet else { continue };
            let Some(tcp) = packet.tcp().filter(|_| packet.checksums_ok()) else { continue };
            if toward == Toward::Robot {
                self.reader.take(&packet, tcp, enforces);
            }
            let (client, port) = match toward {
                Toward::Robot => (tcp.source_port, tcp.destination_port),
                Toward::Plant => (tcp.destination_port, tcp.source_port),
            };
            let talk = self.talks.iter_mut().find(|talk| (talk.client, talk.port) == (client, port));
            if let Some(talk) = talk {
                talk.ends[1 - sender(toward)].hear(tcp);
            }
        }
        self.actions.clear();
    }

    fn set_rules(&mut self, at: usize) {
        let rules = Arc::clone(&all_rules()[at % all_rules().len()]);
        if rules.mode.enforces() {
            self.ever_enforced = true;
        } else {
            // What passes now is nobody's promise.
            self.reader = Reader::default();
        }
        self.pipeline.as_mut().unwrap().set_rules(rules);
    }

    /// Another process takes over, between two events.
    fn succeed(&mut self) {
        let old = self.pipeline.take().unwrap();
        let rules = Arc::clone(old.rules());
        let mut next = Pipeline::new(old.into_arena(), rules, ());
        next.recover(self.now_ns, self.now_ns, &mut self.actions);
        self.pipeline = Some(next);
        assert!(self.actions.outs().is_empty(), "something was torn between two events");
        self.left(&[]);
    }
}

fn crafted_len(out: &Out) -> usize {
    match *out {
        Out::Crafted { range, .. } => range.1 - range.0,
        Out::Received { .. } => 0,
    }
}
