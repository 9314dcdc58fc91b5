//! Connections of real Linux TCP that never stop talking through the box, and what is checked of them: every answer is
//! the right one, every byte that reaches the robot belongs to an allowed command.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use link::Mac;

use super::modbus_load as load;
use super::netns::Netns;
use super::wire::{PLANT, PLANT_SIDE, ROBOT, ROBOT_SIDE};

/// The client's address, called `plc`.
pub const PLC_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
/// The robot's address.
pub const ROBOT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
const PLC_MAC: Mac = Mac([2, 0, 10, 20, 0, 21]);
const ROBOT_MAC: Mac = Mac([2, 0, 10, 20, 0, 40]);

/// Registers 128 to 137 and programs that only move.
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
id = "programs"
from = "plc"
service = "urscript"
kind = "program"
function = ["movej"]
"#;

/// The port that programs are sent to.
pub const SCRIPT_PORT: u16 = 30_001;

/// How long a connection may say nothing before it counts as stalled.
const STALLED: Duration = Duration::from_secs(20);

/// Plant, box and robot, each in a namespace of its own.
#[derive(Debug)]
pub struct Line {
    /// The plant's.
    pub plant: Netns,
    /// The box's.
    pub inside: Netns,
    /// The robot's.
    pub robot: Netns,
}

impl Line {
    /// With addresses and cables.
    pub fn new(tag: &str) -> Self {
        let space = |part: &str| Netns::new(&format!("{tag}-{part}"));
        let line = Self { plant: space("plc"), inside: space("box"), robot: space("rob") };
        line.plant.join(PLANT_SIDE, &line.inside, PLANT, 1508);
        line.robot.join(ROBOT_SIDE, &line.inside, ROBOT, 1508);
        super::guarded::address(&line.plant, PLANT_SIDE, PLC_ADDRESS, PLC_MAC);
        super::guarded::address(&line.robot, ROBOT_SIDE, ROBOT_ADDRESS, ROBOT_MAC);
        line
    }
}

/// What all threads share.
#[derive(Debug, Default)]
pub struct Shared {
    stop: AtomicBool,
    faults: Mutex<Vec<String>>,
    deaths: Mutex<Vec<(Instant, &'static str)>>,
    programs: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }

    /// What must not have happened: a forbidden or altered byte, a wrong answer, a connection that stalls.
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// Connections that were reset, in order.
    pub fn deaths(&self) -> Vec<(Instant, &'static str)> {
        self.deaths.lock().unwrap().clone()
    }

    /// Whole allowed programs that the robot got.
    pub fn programs(&self) -> u64 {
        self.programs.load(Ordering::Relaxed)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn keep(&self, thread: JoinHandle<()>) {
        self.threads.lock().unwrap().push(thread);
    }

    /// Ends all threads.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        loop {
            let Some(thread) = self.threads.lock().unwrap().pop() else { break };
            let _ = thread.join();
        }
    }
}

/// The robot's servers.
pub fn serve(space: &Netns, shared: &Arc<Shared>) {
    for port in [load::PORT, SCRIPT_PORT] {
        let listener = space.enter(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let all = Arc::clone(shared);
        shared.keep(std::thread::spawn(move || {
            while !all.stopped() {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let own = Arc::clone(&all);
                all.keep(std::thread::spawn(move || {
                    if port == load::PORT { registers(stream, &own) } else { programs(stream, &own) }
                }));
            }
        }));
    }
}

fn read_some(stream: &mut TcpStream, shared: &Shared, buffer: &mut [u8]) -> Option<usize> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while !shared.stopped() {
        match stream.read(buffer) {
            Ok(0) => return None,
            Ok(len) => return Some(len),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
    }
    None
}

/// As the policy has it, told by bytes alone.
fn may_arrive(adu: &[u8]) -> bool {
    let word = |at: usize| u16::from_be_bytes([adu[at], adu[at + 1]]);
    if adu.len() != 12 || adu[2..4] != [0, 0] {
        return false;
    }
    let address = word(8);
    match adu[7] {
        3 => (128..=137).contains(&address) && (1..=138 - address).contains(&word(10)),
        6 => (128..=137).contains(&address) && word(10) <= 120,
        _ => false,
    }
}

fn registers(mut stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let (mut pending, mut buffer) = (Vec::new(), [0; 4096]);
    while let Some(len) = read_some(&mut stream, shared, &mut buffer) {
        pending.extend_from_slice(&buffer[..len]);
        while let Some(len) = load::unit_len(&pending) {
            let unit: Vec<u8> = pending.drain(..len).collect();
            if !may_arrive(&unit) {
                shared.fault(format!("reached the robot: {unit:02x?}"));
                return;
            }
            if stream.write_all(&load::answer(&unit)).is_err() {
                return;
            }
        }
    }
}

/// The program that is sent again and again.
pub fn program() -> Vec<u8> {
    let mut text = b"def work():\n".to_vec();
    while text.len() < 20_000 {
        text.extend_from_slice(b"  movej([0.1,-1.5,1.5,-1.5,-1.5,0.0])\n");
    }
    text.extend_from_slice(b"end\n");
    text
}

fn programs(mut stream: TcpStream, shared: &Shared) {
    let (program, mut at, mut buffer) = (program(), 0, [0; 4096]);
    while let Some(len) = read_some(&mut stream, shared, &mut buffer) {
        for byte in &buffer[..len] {
            if program[at] != *byte {
                shared.fault(format!("another byte than the program's at {at}: {byte:02x}"));
                return;
            }
            at += 1;
            if at == program.len() {
                at = 0;
                shared.programs.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// How a client talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Allowed requests alone: the connection stays in Fast, without a map and with an empty store.
    Fast,
    /// The same, with a pause of some milliseconds between two.
    Calm,
    /// Every eighth request is refused and answered by the box: spliced, with shifted numbers.
    Refused,
    /// Header and body in segments of their own.
    Split,
}

/// One client; its numbers are those of its current connection.
#[derive(Debug)]
pub struct Client {
    /// How it is called.
    pub name: &'static str,
    /// Requests answered so far.
    pub answered: AtomicU64,
    /// Connections opened so far.
    pub opened: AtomicU64,
    /// Longest time from a request to its answer since it was last set back, nanoseconds.
    pub longest_ns: AtomicU64,
}

impl Client {
    fn new(name: &'static str) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new(Self { name, answered: zero(), opened: zero(), longest_ns: zero() })
    }
}

/// A client of registers that opens a new connection whenever one is reset.
pub fn talk(space: &Netns, shared: &Arc<Shared>, name: &'static str, kind: Kind) -> Arc<Client> {
    let client = Client::new(name);
    let (own, all) = (Arc::clone(&client), Arc::clone(shared));
    let name_of_space = space.name().to_owned();
    shared.keep(std::thread::spawn(move || {
        super::netns::move_into(&name_of_space);
        let mut n = 0;
        while !all.stopped() {
            let Some(mut stream) = connect(&all, load::PORT) else { continue };
            own.opened.fetch_add(1, Ordering::Relaxed);
            let ended = exchanges(&mut stream, &all, &own, kind, &mut n);
            if !all.stopped() {
                match ended {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::InvalidData => all.fault(format!("{name}: {error}")),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        all.fault(format!("{name}: no answer within {STALLED:?}"));
                    }
                    Err(_) => all.deaths.lock().unwrap().push((Instant::now(), name)),
                }
            }
        }
    }));
    client
}

fn connect(shared: &Shared, port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((ROBOT_ADDRESS, port));
    while !shared.stopped() {
        if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(STALLED)).unwrap();
            stream.set_write_timeout(Some(STALLED)).unwrap();
            return Some(stream);
        }
    }
    None
}

fn exchanges(stream: &mut TcpStream, shared: &Shared, client: &Client, kind: Kind, n: &mut u32) -> std::io::Result<()> {
    let wrong = |what: String| std::io::Error::new(ErrorKind::InvalidData, what);
    let mut first = true;
    while !shared.stopped() {
        *n = n.wrapping_add(1);
        let refuse = kind == Kind::Refused && (first || n.is_multiple_of(8));
        first = false;
        let (request, answer) = if refuse {
            let (request, code) = load::forbidden(*n);
            let answer = load::exception(&request, code);
            (request, answer)
        } else {
            let request = load::allowed(*n);
            let answer = load::answer(&request);
            (request, answer)
        };
        let started = Instant::now();
        let (header, body) = request.split_at(if kind == Kind::Split { 7 } else { request.len() });
        stream.write_all(header)?;
        if !body.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            stream.write_all(body)?;
        }
        let mut got = vec![0; answer.len()];
        stream.read_exact(&mut got)?;
        if got != answer {
            return Err(wrong(format!("answered {got:02x?} to {request:02x?}")));
        }
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap();
        client.longest_ns.fetch_max(took, Ordering::Relaxed);
        client.answered.fetch_add(1, Ordering::Relaxed);
        if kind == Kind::Calm {
            std::thread::sleep(Duration::from_millis(3));
        }
    }
    Ok(())
}

/// A client that sends the program again and again, and among them one that is not allowed.
pub fn upload(space: &Netns, shared: &Arc<Shared>, name: &'static str) {
    let all = Arc::clone(shared);
    let name_of_space = space.name().to_owned();
    shared.keep(std::thread::spawn(move || {
        super::netns::move_into(&name_of_space);
        let (text, mut n) = (program(), 0_u32);
        while !all.stopped() {
            let Some(mut stream) = connect(&all, SCRIPT_PORT) else { continue };
            while !all.stopped() {
                n += 1;
                let forbidden = b"def other():\n  set_digital_out(0,True)\nend\n";
                let what: &[u8] = if n.is_multiple_of(8) { forbidden } else { &text };
                if stream.write_all(what).is_err() {
                    // The robot's end closes at once when the test ends.
                    if !all.stopped() {
                        all.deaths.lock().unwrap().push((Instant::now(), name));
                    }
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = stream.shutdown(Shutdown::Both);
        }
    }));
}
