//! A robot's Linux TCP behind a running, enforcing box; an adversary and an honest client on the plant's side.
//!
//! ```text
//! plant namespace                     box namespace               robot namespace
//!   plant_side ────────── veth ────── plant   robot ── veth ────── robot_side
//!   10.20.0.21 kernel: honest                                     10.20.0.40 kernel: servers
//!   10.20.0.22 no kernel: adversary                               a listener on the cable
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dissect::Toward;
use link::{Mac, seq};
use serde_json::Value;
use vambrace::event::Reason;

use super::adversary::{ODD, PATIENCE, ROBOT, ROBOT_MAC, RawTcp, Responder, SILENCE, Seen};
use super::can_make_namespaces;
use super::netns::Netns;
use super::raw::RawSocket;
use super::robot::{End, Robot};
use super::wire::{PLANT, PLANT_SIDE, ROBOT as ROBOT_PORT, ROBOT_SIDE};

/// Address of the honest client.
pub const PLC: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
/// Its MAC.
pub const PLC_MAC: Mac = Mac([2, 0, 10, 20, 0, 21]);

/// What the cell's clients may do.
pub const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = ["plc", "odd"]
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["128..=131"]
value = "0..=120"
[[allow]]
id = "panel"
from = ["plc", "odd"]
service = "dashboard"
class = ["read"]
[[allow]]
id = "script"
from = ["plc", "odd"]
service = "urscript"
kind = ["program", "secondary", "statement"]
function = ["textmsg"]
[[allow]]
id = "state"
from = ["plc", "odd"]
service = "rtde"
class = ["read"]
[[allow]]
id = "callback"
from = "robot"
to = "odd"
service = "tcp/40000"
[[allow]]
id = "datagrams"
from = ["plc", "odd"]
service = "udp/2222"
[[allow]]
id = "ping"
from = "plc"
service = "icmp"
"#;

/// The same, but a refused command ends its connection.
pub fn resetting() -> String {
    format!("{POLICY}[refusal]\nmodbus = \"reset\"\nrtde = \"reset\"\ndashboard = \"reset\"\nurscript = \"reset\"\n")
}

/// An independent listener on the cable between box and robot: frames toward the robot.
#[derive(Debug)]
pub struct Cable {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How often the listener found nothing more to read.
    idle: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cable {
    /// Listens on a port in a namespace.
    pub fn start(space: &Netns, port: &str) -> Self {
        let socket = space.enter(|| RawSocket::open(port).unwrap());
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let idle = Arc::new(AtomicUsize::new(0));
        let (all, stopped, nothing) = (Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&idle));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match socket.receive(Duration::from_millis(5)).unwrap() {
                    Some(bytes) => all.lock().unwrap().push(Seen { at: Instant::now(), bytes }),
                    None => {
                        nothing.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { seen, idle, stop, thread: Some(thread) }
    }

    /// How many frames were on the cable so far; for [`Cable::since`].
    ///
    /// On a busy machine the listener comes behind the cable: what waits to be read is read first. Where frames never
    /// stop coming, the wait ends after [`PATIENCE`].
    pub fn mark(&self) -> usize {
        let (before, started) = (self.idle.load(Ordering::Relaxed), Instant::now());
        // Two, since the first may have been found before this was asked.
        while self.idle.load(Ordering::Relaxed) < before + 2 && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seen.lock().unwrap().len()
    }

    /// The frames since a mark.
    pub fn since(&self, mark: usize) -> Vec<Seen> {
        self.seen.lock().unwrap()[mark..].to_vec()
    }

    /// Whether a frame since `mark` fits; waits for it.
    pub fn carries(&self, mark: usize, fits: impl Fn(&[u8]) -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if self.since(mark).iter().any(|seen| fits(&seen.bytes)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// The segments of a connection toward the robot, up to what is on the cable now.
    pub fn segments(&self, of: &RawTcp) -> Vec<Seen> {
        self.mark();
        let ports = (of.port(), of.template.destination.port);
        let own = |seen: &Seen| seen.tcp().is_some_and(|tcp| (tcp.source_port, tcp.destination_port) == ports);
        self.since(0).into_iter().filter(own).collect()
    }

    /// The bytes of a connection toward the robot, put together by sequence number from its last SYN on.
    ///
    /// Panics where two copies of a byte differ, and where a byte is missing before another.
    pub fn stream(&self, of: &RawTcp) -> Vec<u8> {
        let mut bytes: Vec<Option<u8>> = Vec::new();
        let mut start = None;
        for seen in self.segments(of) {
            let tcp = seen.tcp().unwrap();
            if tcp.flags.syn() && start.is_none_or(|(isn, _)| isn != tcp.seq) && bytes.is_empty() {
                start = Some((tcp.seq, tcp.seq.wrapping_add(1)));
            }
            let Some((_, first)) = start else { continue };
            let at = tcp.seq.wrapping_add(u32::from(tcp.flags.syn())).wrapping_sub(first) as usize;
            if tcp.payload.is_empty() {
                continue;
            }
            assert!(!seq::before(tcp.seq, first), "data before the stream: {seen:02x?}");
            bytes.resize(bytes.len().max(at + tcp.payload.len()), None);
            for (place, byte) in bytes[at..].iter_mut().zip(tcp.payload) {
                assert!(place.is_none_or(|first| first == *byte), "two copies differ: {seen:02x?}");
                *place = Some(*byte);
            }
        }
        bytes.into_iter().map(|byte| byte.expect("a hole in the stream toward the robot")).collect()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// `vambrace run`; ends with the value.
#[derive(Debug)]
pub struct Vambrace {
    directory: PathBuf,
    process: Child,
}

impl Vambrace {
    /// Starts it in a mode in the namespace of its two ports and waits until it answers.
    pub fn start(space: &Netns, name: &str, mode: &str, policy: &str) -> Self {
        Self::recording(space, name, mode, policy, "")
    }

    /// The same with more lines in `[record]`.
    pub fn recording(space: &Netns, name: &str, mode: &str, policy: &str, record: &str) -> Self {
        // Short: the path of a Unix socket has room for a hundred letters.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("odd-{name:.16}-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let own = directory.display();
        let asset = |name: &str, address: Ipv4Addr, side: &str| {
            format!("[[asset]]\nname = \"{name}\"\nip = \"{address}\"\nside = \"{side}\"\n")
        };
        let text = format!(
            "mode = \"{mode}\"\n[ports]\nplant = \"{PLANT}\"\nrobot = \"{ROBOT_PORT}\"\n\
             [fast_path]\npolling = \"blocking\"\n[control]\nsocket = \"{own}/control.sock\"\n\
             [record]\ndirectory = \"{own}/records\"\n{record}[policy]\nfile = \"{own}/policy.toml\"\n{}{}{}",
            asset("robot", ROBOT, "robot"),
            asset("plc", PLC, "plant"),
            asset("odd", ODD, "plant")
        );
        std::fs::write(directory.join("vambrace.toml"), text).unwrap();
        std::fs::write(directory.join("policy.toml"), policy).unwrap();
        let mut command = space.command(super::vambrace());
        command.args(["run", "--config"]).arg(directory.join("vambrace.toml")).stdout(Stdio::null());
        command.stderr(std::fs::File::create(directory.join("log")).unwrap());
        let mut vambrace = Self { process: command.spawn().unwrap(), directory };
        let started = Instant::now();
        while !vambrace.answers() {
            let ended = vambrace.process.try_wait().unwrap().is_some();
            assert!(!ended && started.elapsed() < Duration::from_secs(20), "{}", vambrace.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        vambrace
    }

    fn answers(&self) -> bool {
        let mut command = Command::new(super::vambrace());
        let output = command.arg("--socket").arg(self.directory.join("control.sock")).arg("status").output().unwrap();
        output.status.success()
    }

    /// Asks the running box.
    pub fn ask(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(super::vambrace());
        command.arg("--socket").arg(self.directory.join("control.sock")).args(arguments).output().unwrap()
    }

    /// The packet process: the only child of the supervisor.
    pub fn packet_process(&self) -> rustix::process::Pid {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let child = children.split_whitespace().next().unwrap().parse().unwrap();
        rustix::process::Pid::from_raw(child).unwrap()
    }

    /// Kills the packet process; the supervisor makes another one.
    pub fn kill_packet_process(&self) {
        rustix::process::kill_process(self.packet_process(), rustix::process::Signal::KILL).unwrap();
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Goes to another mode.
    pub fn switch(&self, mode: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
        let socket = self.directory.join("control.sock");
        let output = command.arg("--socket").arg(socket).args(["mode", mode]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        // Taken up between two batches of frames.
        std::thread::sleep(SILENCE);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The whole lines of the event file.
    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("records/eve.json")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for an event; panics with those that `of` selects where none came.
    pub fn waits_for(&self, what: &str, of: impl Fn(&Value) -> bool, fits: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| of(event) && fits(event)) {
                return event.clone();
            }
            if started.elapsed() > PATIENCE {
                let own: Vec<String> = events.iter().filter(|event| of(event)).map(Value::to_string).collect();
                panic!("no record of {what}; there are:\n{}", own.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Vambrace {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) && started.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// The reason of a record of something refused.
pub fn reason(event: &Value) -> Option<&str> {
    event["alert"]["context"]["reason"].as_str()
}

/// The cell.
#[derive(Debug)]
pub struct Guarded {
    /// The box.
    pub vambrace: Vambrace,
    /// The robot's servers.
    pub robot: Robot,
    /// Who listens at the robot.
    pub cable: Cable,
    _responder: Responder,
    /// The plant's namespace.
    pub plant: Netns,
    /// The robot's namespace.
    pub robot_space: Netns,
    _inside: Netns,
}

impl Guarded {
    /// The cell with the usual policy; none where namespaces can't be made.
    pub fn up(test: &str) -> Option<Self> {
        Self::with_policy(test, POLICY)
    }

    /// The cell with another policy.
    pub fn with_policy(test: &str, policy: &str) -> Option<Self> {
        Self::in_mode(test, "enforce", policy)
    }

    /// The cell in a mode.
    pub fn in_mode(test: &str, mode: &str, policy: &str) -> Option<Self> {
        Self::recording(test, mode, policy, "")
    }

    /// The same with more lines in `[record]`.
    pub fn recording(test: &str, mode: &str, policy: &str, record: &str) -> Option<Self> {
        if !can_make_namespaces(test) {
            return None;
        }
        let (plant, inside, robot_space) = (Netns::new("odp"), Netns::new("odb"), Netns::new("odr"));
        plant.join(PLANT_SIDE, &inside, PLANT, 1508);
        inside.join(ROBOT_PORT, &robot_space, ROBOT_SIDE, 1508);
        address(&plant, PLANT_SIDE, PLC, PLC_MAC);
        address(&robot_space, ROBOT_SIDE, ROBOT, ROBOT_MAC);
        let cable = Cable::start(&robot_space, ROBOT_SIDE);
        let robot = Robot::start(&robot_space);
        let vambrace = Vambrace::recording(&inside, test, mode, policy, record);
        let responder = Responder::start(&plant);
        Some(Self { vambrace, robot, cable, _responder: responder, plant, robot_space, _inside: inside })
    }

    /// An opened connection of the adversary.
    pub fn connect(&self, port: u16) -> RawTcp {
        RawTcp::open(&self.plant, port)
    }

    /// A socket of the plant's kernel, connected to the robot.
    pub fn honest(&self, port: u16) -> TcpStream {
        let to = SocketAddr::V4(SocketAddrV4::new(ROBOT, port));
        let stream = self.plant.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// An honest Modbus client comes, writes a register, gets its answer and goes.
    pub fn assert_honest_session(&self) {
        let mut stream = self.honest(502);
        let command = write_register(128, 77);
        stream.write_all(&command).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("the honest client got no answer: {error}"));
        assert_eq!(answer[..], command[..]);
        let port = stream.local_addr().unwrap().port();
        assert_eq!(self.robot.received(port), command, "the honest client's command arrived");
    }

    /// The robot's socket received these bytes of a connection, and no other byte was on the cable.
    pub fn assert_arrived(&self, of: &RawTcp, bytes: &[u8]) {
        let started = Instant::now();
        while self.robot.received(of.port()).len() < bytes.len() && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(hex(&self.robot.received(of.port())), hex(bytes), "what the robot's socket received");
        assert_eq!(hex(&self.cable.stream(of)), hex(bytes), "what was on the cable");
    }

    /// The connection still carries a command and its answer, after `before` arrived.
    pub fn assert_lives(&self, of: &mut RawTcp, before: &[u8]) {
        assert!(!of.is_reset, "the client was reset");
        let command = write_register(130, 99);
        assert_eq!(hex(&of.ask(&command, 12)), hex(&command), "the same connection still works");
        self.assert_arrived(of, &[before, &command].concat());
    }

    /// Both ends of the connection were reset.
    pub fn assert_both_reset(&self, of: &mut RawTcp) {
        assert!(of.waits_for_reset(), "the client was not reset: {:?}", of.heard.last());
        let ended = self.robot.waits_for_end(of.port());
        assert_eq!(ended, Some(End::Reset), "how the robot's socket ended");
    }

    /// A record that something of this connection was refused for this reason.
    pub fn assert_recorded(&self, of: &RawTcp, why: Reason) -> Value {
        let port = of.port();
        let own = |event: &Value| event["src_port"] == port || event["dest_port"] == port;
        self.vambrace.waits_for(&format!("{why} of port {port}"), own, |event| reason(event) == Some(why.name()))
    }

    /// A record that a frame from this MAC was refused for this reason.
    pub fn assert_frame_recorded(&self, from: Mac, toward: Toward, why: Reason) {
        let from = from.to_string();
        let side = if toward == Toward::Robot { "robot" } else { "plant" };
        let own = |event: &Value| event["ether"]["src_mac"] == from.as_str();
        self.vambrace.waits_for(&format!("{why} of {from}"), own, |event| {
            reason(event) == Some(why.name()) && event["alert"]["context"]["toward"] == side
        });
    }

    /// Nothing that fits comes out on the robot's cable.
    pub fn assert_nothing_since(&self, mark: usize, what: &str, fits: impl Fn(&[u8]) -> bool) {
        std::thread::sleep(SILENCE);
        let found: Vec<Seen> = self.cable.since(mark).into_iter().filter(|seen| fits(&seen.bytes)).collect();
        assert!(found.is_empty(), "{what} reached the robot: {found:02x?}");
    }
}

/// Gives a port its address and MAC, and the MTU of a device.
pub fn address(space: &Netns, port: &str, address: Ipv4Addr, mac: Mac) {
    // As a device has it: frames of 1500 bytes; the wire and the box carry more, for tags.
    space.run(&["ip", "link", "set", port, "address", &mac.to_string(), "mtu", "1500"]);
    space.run(&["ip", "address", "add", &format!("{address}/24"), "dev", port]);
}

/// Bytes for a message.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The Modbus command that writes one register; transaction 7, unit 255.
pub fn write_register(address: u16, value: u16) -> Vec<u8> {
    let mut buffer = [0; 260];
    modbus::Mbap::new(7, modbus::UnitId(255)).write_single_register(&mut buffer, address, value).unwrap().to_vec()
}

/// A Modbus command that the policy refuses.
pub fn forbidden() -> Vec<u8> {
    write_register(3, 0xdead)
}

/// The exception that answers [`forbidden`]: its transaction, unit and function, code 2 (illegal address).
pub fn refusal() -> Vec<u8> {
    vec![0, 7, 0, 0, 0, 3, 255, 0x86, 2]
}
