//! Round trip of a Modbus request through the appliance against the Linux kernel bridge.
//!
//! `cargo bench --bench round_trip`, as root. One thread on core 0 owns both ends of the exchange and spins, so that no
//! wake-up of the scheduler counts; the appliance polls busily on core 1, enforces and records. Both ways stand in
//! namespaces of this program (`vbben-*`), without offloads; `bridge-nf-call-iptables` is off. In every round each way
//! gets the same exchanges, alternately first; printed are the medians over the rounds and the median of the rounds'
//! ratios. Before it counts, a write that the policy does not allow must end its connection.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a measurement ends at the first surprise"
)]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const EXCHANGES: usize = 20_000;
const WARM: usize = 1_000;

const PLANT: &str = "vbben-plant";
const ROBOT: &str = "vbben-robot";
const BOX: &str = "vbben-box";
const BRIDGE: &str = "vbben-bridge";

/// One way from plant to robot: the namespace between, and the third byte of its addresses.
#[derive(Clone, Copy)]
struct Way {
    between: &'static str,
    net: u8,
}

const WAYS: [Way; 2] = [Way { between: BRIDGE, net: 1 }, Way { between: BOX, net: 2 }];

impl Way {
    fn plant(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.net, 1)
    }

    fn robot(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.net, 2)
    }
}

fn run(command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr).trim());
}

/// The namespaces; gone when dropped.
struct Namespaces;

impl Namespaces {
    fn new() -> Self {
        Self::remove();
        let namespaces = Self;
        for name in [PLANT, ROBOT, BOX, BRIDGE] {
            run(&format!("ip netns add {name}"));
            run(&format!("ip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"));
            run(&format!("ip netns exec {name} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"));
        }
        for way in WAYS {
            let (net, between) = (way.net, way.between);
            for (end, side, inner, own, other) in
                [(PLANT, "p", "plant0", way.plant(), way.robot()), (ROBOT, "r", "robot0", way.robot(), way.plant())]
            {
                let (mac, peer) = if end == PLANT { (1, 2) } else { (2, 1) };
                let outer = format!("{side}{net}");
                run(&format!(
                    "ip link add {outer} netns {end} address 02:00:00:00:0{net}:0{mac} type veth peer name {inner} netns {between}"
                ));
                run(&format!("ip -n {end} addr add {own}/24 dev {outer}"));
                run(&format!("ip -n {end} link set {outer} up"));
                run(&format!(
                    "ip -n {end} neigh replace {other} lladdr 02:00:00:00:0{net}:0{peer} dev {outer} nud permanent"
                ));
                run(&format!("ip -n {between} link set {inner} up promisc on"));
                for (namespace, interface) in [(end, outer.as_str()), (between, inner)] {
                    let off = "tx off rx off tso off gso off gro off sg off rxvlan off txvlan off";
                    // Not every kernel knows every one of them.
                    let words = format!("netns exec {namespace} ethtool -K {interface} {off}");
                    let _ = Command::new("ip").args(words.split_whitespace()).output();
                }
            }
        }
        run(&format!("ip -n {BRIDGE} link add br0 type bridge stp_state 0 mcast_snooping 0"));
        for port in ["plant0", "robot0"] {
            run(&format!("ip -n {BRIDGE} link set {port} master br0"));
        }
        run(&format!("ip -n {BRIDGE} link set br0 up"));
        let off = "sysctl -qw net.bridge.bridge-nf-call-iptables=0";
        let _ = Command::new("ip").args(["netns", "exec", BRIDGE]).args(off.split_whitespace()).output();
        namespaces
    }

    fn remove() {
        for name in [PLANT, ROBOT, BOX, BRIDGE] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        Self::remove();
    }
}

/// Moves this thread; sockets stay in the namespace that they were made in.
fn enter(namespace: &str) {
    let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
}

/// The running appliance; ended when dropped.
struct Appliance {
    process: Child,
    socket: PathBuf,
}

impl Appliance {
    fn start(directory: &Path) -> Self {
        let (plant, robot) = (WAYS[1].plant(), WAYS[1].robot());
        let file = |name| directory.join(name).display().to_string();
        let (socket, records, policy) = (file("control.sock"), file("records"), file("policy.toml"));
        let config = format!(
            "mode = \"enforce\"\n[ports]\nplant = \"plant0\"\nrobot = \"robot0\"\n\
             [fast_path]\ncores = [1]\npolling = \"busy\"\n\
             [[asset]]\nname = \"robot\"\nip = \"{robot}\"\nside = \"robot\"\nprofile = \"ur-e-series\"\n\
             [[asset]]\nname = \"plc\"\nip = \"{plant}\"\nside = \"plant\"\n\
             [control]\nsocket = \"{socket}\"\n[record]\ndirectory = \"{records}\"\n[policy]\nfile = \"{policy}\"\n"
        );
        fs::write(directory.join("vambrace.toml"), config).unwrap();
        fs::write(directory.join("policy.toml"), POLICY).unwrap();
        let errors = File::create(directory.join("errors.txt")).unwrap();
        let process = Command::new("ip")
            .args(["netns", "exec", BOX, PROGRAM, "run", "--config", &file("vambrace.toml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut appliance = Self { process, socket: socket.into() };
        let end = Instant::now() + Duration::from_secs(20);
        while appliance.status().is_none() {
            let ended = appliance.process.try_wait().unwrap().is_some();
            let said = || fs::read_to_string(directory.join("errors.txt")).unwrap_or_default();
            assert!(!ended && Instant::now() < end, "the appliance did not come up: {}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
        appliance
    }

    /// What `vambrace status` says, once it says anything.
    fn status(&self) -> Option<serde_json::Value> {
        let output =
            Command::new(PROGRAM).args(["--json", "--socket"]).arg(&self.socket).arg("status").output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }
}

impl Appliance {
    /// Most memory that supervisor and packet process held so far, in MiB.
    fn memory(&self) -> f64 {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let most = |id: &str| -> u64 {
            let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let kib: u64 = children.split_whitespace().chain([id.to_string().as_str()]).map(most).sum();
        kib as f64 / 1024.0
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_vambrace");

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["0..=199"]
value = "0..=255"
"#;

/// Both ends of one connection, without blocking.
struct Ends {
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    /// Moves this thread through both namespaces.
    fn open(way: Way) -> Self {
        enter(ROBOT);
        let listener = TcpListener::bind((way.robot(), 502)).unwrap();
        enter(PLANT);
        let address = SocketAddr::from((way.robot(), 502));
        let client = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
        }
        Self { client, server }
    }

    /// One request and its response; nanoseconds, or nothing where the connection ends or is silent for two seconds.
    fn exchange(&mut self, n: u16, function: u8, address: u8) -> Option<u64> {
        let [high, low] = n.to_be_bytes();
        let quantity = if function == 3 { 10 } else { low };
        let request = [high, low, 0, 0, 0, 6, 1, function, 0, address, 0, quantity];
        let mut response = [0_u8; 29];
        response[..12].copy_from_slice(&request);
        let answer = if function == 3 {
            (response[5], response[8]) = (23, 20);
            &response[..29]
        } else {
            &response[..12]
        };
        let mut buffer = [0; 64];
        let start = Instant::now();
        self.client.write_all(&request).ok()?;
        receive(&mut self.server, &mut buffer[..12], start)?;
        self.server.write_all(answer).ok()?;
        receive(&mut self.client, &mut buffer[..answer.len()], start)?;
        let taken = start.elapsed();
        assert_eq!(buffer[..answer.len()], *answer);
        Some(taken.as_nanos() as u64)
    }
}

/// Spins until `buffer` is full.
fn receive(stream: &mut TcpStream, buffer: &mut [u8], start: Instant) -> Option<()> {
    let mut have = 0;
    while have < buffer.len() {
        match stream.read(&mut buffer[have..]) {
            Ok(0) => return None,
            Ok(more) => have += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if start.elapsed() > Duration::from_secs(2) {
                    return None;
                }
                std::hint::spin_loop();
            }
            Err(_) => return None,
        }
    }
    Some(())
}

/// Median and 99th percentile of a round, in microseconds.
fn round(way: Way) -> [f64; 2] {
    let mut ends = Ends::open(way);
    let mut taken = Vec::with_capacity(EXCHANGES);
    for n in 0..WARM + EXCHANGES {
        // Every tenth writes.
        let function = if n % 10 == 9 { 6 } else { 3 };
        let one = ends.exchange(n as u16, function, (n % 100) as u8).expect("an answer to an allowed request");
        if n >= WARM {
            taken.push(one);
        }
    }
    taken.sort_unstable();
    [taken[EXCHANGES / 2], taken[EXCHANGES / 100 * 99]].map(|ns| ns as f64 / 1000.0)
}

/// A write outside the policy must not arrive, and ends the connection.
fn check_enforcement() {
    let mut ends = Ends::open(WAYS[1]);
    assert!(ends.exchange(1, 6, 7).is_some(), "an allowed write is answered");
    assert!(ends.exchange(2, 6, 201).is_none(), "a forbidden write must not be answered");
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = figures.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn measure(directory: &Path) {
    vambrace::sys::pin_to(0).unwrap();
    let mut rounds: Vec<[[f64; 2]; 2]> = Vec::new();
    let (mut recorded, mut memory) = (0, 0.0_f64);
    for at in 0..ROUNDS {
        let mut figures = [[0.0; 2]; 2];
        // The appliance runs only while it is measured: its polling takes a core that the bridge must not share.
        let mut through_box = || {
            let appliance = Appliance::start(directory);
            if at == 0 {
                check_enforcement();
            }
            figures[1] = round(WAYS[1]);
            let status = appliance.status().unwrap();
            memory = appliance.memory().max(memory);
            recorded += status["records"]["written"].as_u64().unwrap_or(0);
        };
        if at % 2 == 0 {
            through_box();
            figures[0] = round(WAYS[0]);
        } else {
            let bridge = round(WAYS[0]);
            through_box();
            figures[0] = bridge;
        }
        println!(
            "round {}: bridge {:.2} / {:.2} us, appliance {:.2} / {:.2} us (p50 / p99)",
            at + 1,
            figures[0][0],
            figures[0][1],
            figures[1][0],
            figures[1][1]
        );
        rounds.push(figures);
    }
    assert!(recorded > 0, "the appliance recorded");
    println!("memory: {memory:.1} MiB at most in both processes, shared memory counted twice (promised: at most 128)");
    let name = ["p50", "p99"];
    let promise = [2.5, 2.8];
    let mut json = Vec::new();
    for (at, name) in name.into_iter().enumerate() {
        let bridge = median(rounds.iter().map(|round| round[0][at]));
        let appliance = median(rounds.iter().map(|round| round[1][at]));
        let ratio = median(rounds.iter().map(|round| round[1][at] / round[0][at]));
        println!(
            "{name}: bridge {bridge:.2} us, appliance {appliance:.2} us, ratio {ratio:.2} (promised: at most {:.1})",
            promise[at]
        );
        json.push(format!(
            "\"{name}\":{{\"bridge_us\":{bridge:.2},\"appliance_us\":{appliance:.2},\"ratio\":{ratio:.3}}}"
        ));
    }
    json.push(format!("\"memory_mib\":{memory:.1}"));
    println!("{{{},\"rounds\":{ROUNDS},\"exchanges\":{EXCHANGES}}}", json.join(","));
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: round_trip makes network namespaces and needs root");
        std::process::exit(77);
    }
    let directory = std::env::temp_dir().join(format!("vbben-{}", std::process::id()));
    fs::create_dir_all(directory.join("records")).unwrap();
    let namespaces = Namespaces::new();
    // A thread of its own changes namespaces; a panic in it still takes the namespaces down.
    let outcome = std::thread::scope(|scope| scope.spawn(|| measure(&directory)).join());
    drop(namespaces);
    let _ = fs::remove_dir_all(&directory);
    assert!(outcome.is_ok(), "the measurement failed");
}
