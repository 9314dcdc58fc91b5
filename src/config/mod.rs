//! The configuration file: which ports, which devices, which mode. TOML, read with the place of every mistake.
//!
//! Only `mode`, `ports.plant`, `ports.robot` and one asset with `side = "robot"` are required; `vambrace config
//! defaults` prints [`SAMPLE`], where every default stands with its reason.

mod account;
mod age;
mod auditor;
mod console;
mod evidence;
mod mail;
mod management;
mod read;
mod sample;
mod size;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

pub use crate::document::{Problem, Problems};
pub use account::Account;
pub use age::Age;
pub use auditor::{Auditor, NoAuditor};
pub use console::{Console, Metrics, Role, Syslog, Transport, User, Which, WitnessBox};
pub use evidence::Evidence;
pub use mail::{MailTo, Security};
pub use management::Management;
pub use sample::SAMPLE;
pub use size::Size;

/// The configuration of one box.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is done with traffic.
    pub mode: Mode,
    /// The network ports.
    pub ports: Ports,
    /// The management port's place in the network.
    #[serde(default)]
    pub management: Management,
    /// What the wire does when the box can't judge.
    #[serde(default)]
    pub fail: Fail,
    /// Hardware that leads frames past the box.
    #[serde(default)]
    pub bypass: Bypass,
    /// The cables.
    #[serde(default)]
    pub link: Link,
    /// Connections that were open before the box saw them.
    #[serde(default)]
    pub midstream: MidStream,
    /// The thread that moves frames.
    #[serde(default)]
    pub fast_path: FastPath,
    /// Traffic below IP.
    #[serde(default)]
    pub layer2: Layer2,
    /// Limits that hold whatever the policy allows.
    #[serde(default)]
    pub guard: Guard,
    /// The devices that have a name here; exactly one has `side = "robot"`.
    #[serde(rename = "asset")]
    pub assets: Vec<Asset>,
    /// Where records go.
    #[serde(default)]
    pub record: Record,
    /// What goes into the evidence beside events.
    #[serde(default)]
    pub evidence: Evidence,
    /// The policy.
    #[serde(default)]
    pub policy: PolicyFile,
    /// The local control socket.
    #[serde(default)]
    pub control: Control,
    /// Virtual patches beside those that are built in.
    #[serde(default)]
    pub patches: Patches,
    /// The management process: remote API, senders, metrics.
    #[serde(default)]
    pub console: Console,
}

/// What is done with traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every frame passes; flows and commands are recorded.
    Observe,
    /// Every frame passes; what was seen becomes a proposed policy.
    Learn,
    /// Every frame passes; what `enforce` would have refused is recorded.
    Shadow,
    /// What the policy allows passes, the rest is refused.
    Enforce,
    /// Of what the policy allows only reads pass, and stops of everybody whom it knows.
    Lockdown,
}

impl Mode {
    /// Names and modes of this version.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("observe", Self::Observe),
        ("learn", Self::Learn),
        ("shadow", Self::Shadow),
        ("enforce", Self::Enforce),
        ("lockdown", Self::Lockdown),
    ];

    /// The name in configurations, commands and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Learn => "learn",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
            Self::Lockdown => "lockdown",
        }
    }

    /// The mode called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, mode)| mode)
    }
}

/// The network ports, each by interface name, MAC address or PCI path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Toward the plant network.
    pub plant: String,
    /// Toward the robot.
    pub robot: String,
    /// For people and logs; without one, events stay in the local store.
    #[serde(default)]
    pub management: Option<String>,
}

/// What the wire does after two causes; everything else ends closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fail {
    /// When the packet process ends without being asked to.
    pub crash: OnCrash,
    /// When the box loses power.
    pub power: FailState,
}

impl Default for Fail {
    fn default() -> Self {
        Self { crash: OnCrash::ByMode, power: FailState::Closed }
    }
}

/// What the wire does while no packet process judges frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCrash {
    /// Closed where the mode enforces, open where every frame passes anyway.
    ByMode,
    /// No frame passes.
    Closed,
    /// Every frame passes.
    Open,
}

/// The state of a wire that nobody judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailState {
    /// No frame passes.
    Closed,
    /// Every frame passes.
    Open,
}

/// The cables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Whether a port whose cable is out takes the other one down.
    pub mirror: bool,
}

/// Hardware that leads frames past the box, for `vambrace bypass`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bypass {
    /// What switches it.
    pub driver: BypassDriver,
    /// With the driver `command`: program and arguments; `on` or `off` is added.
    pub command: Vec<String>,
    /// With the drivers `gpio` and `watchdog`: the chip or the timer.
    pub device: PathBuf,
    /// With the driver `gpio`: number of the line at its chip, from 0.
    pub line: u32,
    /// With the driver `gpio`: whether the line is active without voltage.
    pub active_low: bool,
}

impl Default for Bypass {
    fn default() -> Self {
        Self { driver: BypassDriver::None, command: Vec::new(), device: PathBuf::new(), line: 0, active_low: false }
    }
}

/// What switches the bypass hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BypassDriver {
    /// There is none.
    None,
    /// A program.
    Command,
    /// A line of a GPIO chip, active while frames go past the box.
    Gpio,
    /// A timer that holds the relay while it is fed.
    Watchdog,
}

impl BypassDriver {
    /// Every driver with its name in the file.
    pub const NAMED: [(&'static str, Self); 4] =
        [("none", Self::None), ("command", Self::Command), ("gpio", Self::Gpio), ("watchdog", Self::Watchdog)];
}

/// What is done with connections that were open before the box saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MidStream {
    /// Modbus connections.
    pub modbus: OnMidStream,
    /// Dashboard, URScript and RTDE connections: nothing in them would prove where the stream stands.
    pub text: OnMidStreamText,
}

impl Default for MidStream {
    fn default() -> Self {
        Self { modbus: OnMidStream::Reset, text: OnMidStreamText::Reset }
    }
}

/// What is done with a connection whose beginning was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnMidStream {
    /// It is reset, so that its client opens a new one.
    Reset,
    /// It is taken up within five seconds of taking the wire, if the robot's answer to one read request proves where it
    /// stands; else it is reset.
    Adopt,
}

/// The same for services of which none can be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnMidStreamText {
    /// It is reset, so that its client opens a new one.
    Reset,
}

/// The thread that moves frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FastPath {
    /// Number of worker threads: 1, since a box has one robot.
    #[schemars(range(min = 1, max = 1))]
    pub workers: u16,
    /// The core of each worker.
    pub cores: Vec<u16>,
    /// How a worker waits for frames.
    pub polling: Polling,
    /// Frames of the receive ring of each port: a power of two. Those of more than 2 KiB take several places.
    #[schemars(range(min = 256, max = 65536))]
    pub ring_frames: u32,
}

impl Default for FastPath {
    fn default() -> Self {
        Self { workers: 1, cores: vec![1], polling: Polling::Busy, ring_frames: 2048 }
    }
}

/// How a worker waits for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Polling {
    /// It looks without pause: lowest latency, one core always busy.
    Busy,
    /// It looks without pause for 10 ms after each frame, then sleeps until the next: as fast as `Busy` on what has a
    /// beat, and at rest where nothing comes.
    Adaptive,
    /// It sleeps in the kernel until a frame comes.
    Blocking,
}

impl Polling {
    /// Every way with its name in the file.
    pub const NAMED: [(&'static str, Self); 3] =
        [("busy", Self::Busy), ("adaptive", Self::Adaptive), ("blocking", Self::Blocking)];

    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Adaptive => "adaptive",
            Self::Blocking => "blocking",
        }
    }
}

/// Traffic below IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Layer2 {
    /// Link-layer protocols that pass unchanged.
    pub pass: Vec<Layer2Protocol>,
    /// PROFINET DCP Set requests toward the robot: what renames or readdresses a device.
    pub profinet_dcp_set: DcpSet,
    /// IPv6, with its neighbour discovery and group membership.
    pub ipv6: Ipv6,
}

impl Default for Layer2 {
    fn default() -> Self {
        Self { pass: Layer2Protocol::DEFAULT.to_vec(), profinet_dcp_set: DcpSet::Refuse, ipv6: Ipv6::Refuse }
    }
}

/// What is done with IPv6. What the policy allows of it is another matter: it names addresses and services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6 {
    /// None of it passes.
    Refuse,
    /// Neighbour discovery and group membership pass, and what the policy allows.
    Pass,
}

/// Limits that hold whatever the policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Connections that one address may open in a second; 0 = any number.
    #[schemars(range(max = 10_000))]
    pub connections_per_second: u32,
    /// Milliseconds between two frames of a periodic stream from which on a late one is told of; 0 = never.
    #[schemars(range(max = 1_000))]
    pub late_ms: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self { connections_per_second: 50, late_ms: 10 }
    }
}

/// A link-layer protocol of automation networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layer2Protocol {
    /// PROFINET real time and DCP, EtherType 0x8892.
    Profinet,
    /// EtherCAT, EtherType 0x88A4.
    Ethercat,
    /// Precision Time Protocol over Ethernet, EtherType 0x88F7.
    Ptp,
    /// Media Redundancy Protocol, EtherType 0x88E3.
    Mrp,
    /// Link Layer Discovery Protocol, EtherType 0x88CC.
    Lldp,
    /// Spanning tree and what else goes to 01-80-C2-00-00-0x without an EtherType.
    Stp,
    /// IEC 61850 GOOSE, EtherType 0x88B8.
    Goose,
}

impl Layer2Protocol {
    /// Names and protocols.
    pub const NAMED: [(&'static str, Self); 7] = [
        ("profinet", Self::Profinet),
        ("ethercat", Self::Ethercat),
        ("ptp", Self::Ptp),
        ("mrp", Self::Mrp),
        ("lldp", Self::Lldp),
        ("stp", Self::Stp),
        ("goose", Self::Goose),
    ];

    /// What passes where the file does not say.
    pub const DEFAULT: [Self; 6] = [Self::Profinet, Self::Ethercat, Self::Ptp, Self::Mrp, Self::Lldp, Self::Stp];

    /// Its EtherType; `None` for [`Layer2Protocol::Stp`], which is known by its destination and LLC header.
    #[must_use]
    pub const fn ether_type(self) -> Option<u16> {
        match self {
            Self::Profinet => Some(0x8892),
            Self::Ethercat => Some(0x88a4),
            Self::Ptp => Some(0x88f7),
            Self::Mrp => Some(0x88e3),
            Self::Lldp => Some(0x88cc),
            Self::Stp => None,
            Self::Goose => Some(0x88b8),
        }
    }
}

/// What is done with PROFINET DCP Set requests toward the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DcpSet {
    /// They are dropped.
    Refuse,
    /// They pass like the rest of PROFINET.
    Pass,
}

/// A device with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Its name in policies and records.
    pub name: String,
    /// Its IP address.
    pub ip: IpAddr,
    /// Its MAC address, `00:1b:1b:aa:bb:cc`; where given, frames from another MAC are refused toward the robot.
    #[serde(default)]
    #[schemars(with = "Option<String>", regex(pattern = r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"))]
    pub mac: Option<[u8; 6]>,
    /// What kind of robot controller it is; only for the robot.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// The side of the box that it is on.
    pub side: Side,
}

/// The side of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Behind the robot port.
    Robot,
    /// Behind the plant port.
    Plant,
}

/// Kind of robot controller: its ports and services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Universal Robots CB3.
    UrCb3,
    /// Universal Robots e-Series and UR-Series with PolyScope 5.
    #[default]
    UrESeries,
    /// PolyScope X: the Robot API over HTTP in the place of the Dashboard server.
    #[serde(rename = "polyscope-x")]
    PolyscopeX,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Folder of the store.
    pub directory: PathBuf,
    /// The most that the store may take; the oldest segments go first.
    pub size_budget: Size,
    /// Evidence that is older is removed; without it, only the budget counts.
    pub max_age: Option<Age>,
    /// Files on other media that get a signed checkpoint every ten seconds.
    pub witness: Vec<PathBuf>,
    /// The file that counts how often the store was opened; beside the store where absent.
    pub counter: Option<PathBuf>,
    /// Who alone can read the evidence's records and packets; where empty, they are written in the clear.
    pub encrypt_to: Vec<Auditor>,
    /// Whether events are written as lines of JSON too, which are never encrypted.
    pub event_lines: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/vambrace/evidence"),
            size_budget: Size::gib(8),
            max_age: None,
            witness: Vec::new(),
            counter: None,
            encrypt_to: Vec::new(),
            event_lines: true,
        }
    }
}

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFile {
    /// Path of the policy file.
    pub file: PathBuf,
}

impl Default for PolicyFile {
    fn default() -> Self {
        Self { file: PathBuf::from("/etc/vambrace/policy.toml") }
    }
}

/// The local control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Path of the Unix socket, made with mode 0660.
    pub socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: PathBuf::from("/run/vambrace/control.sock") }
    }
}

/// A pack of virtual patches in the place of the one that is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Patches {
    /// Path of the pack; its signature lies beside it, `.sig` behind the name.
    pub file: Option<PathBuf>,
    /// The issuer's public key, `ed25519:` and 64 hexadecimal digits.
    #[schemars(regex(pattern = r"^ed25519:[0-9A-Fa-f]{64}$"))]
    pub key: Option<String>,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        Self::parse(&name, &Problems::text(path, std::fs::read(path))?)
    }

    /// Reads and checks `text`; `name` stands in the messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        read::config(name, text)
    }

    /// The asset with `side = "robot"`; there is exactly one.
    #[must_use]
    pub fn robot(&self) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.side == Side::Robot)
    }

    /// The asset called `name`.
    #[must_use]
    pub fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }

    /// JSON Schema, draft-07, of the configuration file, for editors.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<Self>();
        schema.insert("title".to_owned(), "Vambrace configuration".into());
        schema.to_value()
    }
}
