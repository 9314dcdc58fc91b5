//! What stands between plant and robot.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vambrace::bench::{BenchError, Ends, Guarded, Lane, Middle, inside};
use vambrace::nic::{AfPacket, BATCH, FramePort, Geometry};

use super::xdp::{self, Passes};

/// Kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Way {
    /// One veth pair.
    Wire,
    /// The kernel's bridge.
    Bridge,
    /// The same with `bridge.nft`.
    Nftables,
    /// The kernel passes every frame on at the driver's door.
    Xdp,
    /// Our own ports, busily: every frame is sent on as it came.
    Forwarder,
    /// The same over AF_XDP sockets.
    AfXdp,
    /// The box, enforcing and recording, polling busily.
    Busy,
    /// The same, and what is of no robot's service passes beside it, at the driver's door.
    BusyXdp,
    /// The box, asking for a while and then sleeping.
    Adaptive,
    /// The same, sleeping until a frame comes.
    Blocking,
    /// Suricata inline with `suricata.rules`.
    Suricata,
    /// The same, and it writes its Modbus and flow records.
    SuricataLog,
}

impl Way {
    pub const ALL: [Self; 12] = [
        Self::Wire,
        Self::Bridge,
        Self::Nftables,
        Self::Xdp,
        Self::Forwarder,
        Self::AfXdp,
        Self::Busy,
        Self::BusyXdp,
        Self::Adaptive,
        Self::Blocking,
        Self::Suricata,
        Self::SuricataLog,
    ];

    /// Its row in the table, with the version of what is not ours.
    pub fn name(self) -> String {
        let suricata = || suricata().map_or("Suricata".to_owned(), |path| version(&path));
        match self {
            Self::Wire => "wire".to_owned(),
            Self::Bridge => super::report::BASE.to_owned(),
            Self::Nftables => "nftables bridge".to_owned(),
            Self::Xdp => "XDP redirect".to_owned(),
            Self::Forwarder => "AF_PACKET, no judgement".to_owned(),
            Self::AfXdp => "AF_XDP, no judgement".to_owned(),
            Self::Busy => "vambrace, busy".to_owned(),
            Self::BusyXdp => "vambrace, busy, XDP beside".to_owned(),
            Self::Adaptive => "vambrace, adaptive".to_owned(),
            Self::Blocking => "vambrace, blocking".to_owned(),
            Self::Suricata => suricata(),
            Self::SuricataLog => suricata() + ", log",
        }
    }

    /// Why it can't be measured here.
    pub fn absent(self) -> Option<String> {
        let is_there =
            |tool: &str| ["/usr/sbin", "/sbin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(tool).is_file());
        match self {
            Self::Suricata | Self::SuricataLog if suricata().is_none() => {
                Some("VAMBRACE_SURICATA names no binary; benches/peers/install-suricata gets one".to_owned())
            }
            Self::Nftables if !is_there("nft") => Some("the command nft is missing (package nftables)".to_owned()),
            Self::Xdp | Self::AfXdp | Self::BusyXdp => xdp::absent(),
            _ => None,
        }
    }

    fn polling(self) -> Option<&'static str> {
        match self {
            Self::Busy | Self::BusyXdp => Some("busy"),
            Self::Adaptive => Some("adaptive"),
            Self::Blocking => Some("blocking"),
            _ => None,
        }
    }

    /// Whether a write that the policy does not allow must not arrive.
    fn enforces(self) -> bool {
        self.polling().is_some() || matches!(self, Self::Suricata | Self::SuricataLog)
    }
}

/// The binary that `VAMBRACE_SURICATA` names.
pub fn suricata() -> Option<PathBuf> {
    std::env::var_os("VAMBRACE_SURICATA").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What a Suricata says of itself: `Suricata 8.0.7`.
pub fn version(path: &Path) -> String {
    let output = Command::new(path).arg("-V").output();
    let text = output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    let number = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    format!("Suricata {}", number.unwrap_or("of unknown version"))
}

/// A way with its wires.
pub struct Peer {
    pub way: Way,
    pub lane: Lane,
    directory: PathBuf,
}

impl Peer {
    pub fn new(way: Way, number: u8, directory: &Path) -> Result<Self, BenchError> {
        let lane = Lane::new(number, if way == Way::Wire { Middle::Wire } else { Middle::Box })?;
        let directory = directory.join(number.to_string());
        fs::create_dir(&directory).map_err(BenchError::of(directory.display()))?;
        if matches!(way, Way::Bridge | Way::Nftables) {
            lane.bridge()?;
        }
        if way == Way::Nftables {
            let rules = include_str!("../bridge.nft")
                .replace("PLANT", &lane.plant_address().to_string())
                .replace("ROBOT", &lane.robot_address().to_string());
            let file = directory.join("bridge.nft");
            fs::write(&file, rules).map_err(BenchError::of("bridge.nft"))?;
            let output =
                lane.command(Path::new("nft"))?.arg("-f").arg(&file).output().map_err(BenchError::of("nft"))?;
            if !output.status.success() {
                return Err(BenchError::Said(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())));
            }
        }
        churnable(&lane)?;
        Ok(Self { way, lane, directory })
    }

    /// Starts what has a process or thread of its own.
    pub fn start(&self, core: usize) -> Result<Running, BenchError> {
        let pass = |program| Passes::attach(&self.lane, &self.directory, program);
        if let Some(polling) = self.way.polling() {
            let beside = (self.way == Way::BusyXdp).then(|| pass("unless_robots")).transpose()?;
            let guarded = Guarded::start(&super::vambrace(), &self.lane, &self.directory, polling, core)?;
            return Ok(Running::Box(guarded, beside));
        }
        match self.way {
            Way::Xdp => pass("every_frame").map(Running::Xdp),
            Way::Forwarder => Forwarder::start(&self.lane, core, forward).map(Running::Forwarder),
            Way::AfXdp => {
                let object = xdp::compile(&self.directory)?;
                let forward = move |core, stop: &_, ready: &_| xdp::forward(&object, core, stop, ready);
                Forwarder::start(&self.lane, core, forward).map(Running::Forwarder)
            }
            Way::Suricata | Way::SuricataLog => self.start_suricata(core),
            _ => Ok(Running::Kernel),
        }
    }

    fn start_suricata(&self, core: usize) -> Result<Running, BenchError> {
        let binary = suricata().ok_or_else(|| BenchError::Said("no Suricata".to_owned()))?;
        let config = configuration(core, self.way == Way::SuricataLog);
        let rules = include_str!("../suricata.rules");
        let file = |name: &str| self.directory.join(name);
        for (name, text) in [("suricata.yaml", config.as_str()), ("suricata.rules", rules)] {
            fs::write(file(name), text).map_err(BenchError::of(name))?;
        }
        let log = file("suricata.log");
        let _ = fs::remove_file(&log);
        let child = self
            .lane
            .command(&binary)?
            .arg("-c")
            .arg(file("suricata.yaml"))
            .arg("-S")
            .arg(file("suricata.rules"))
            .arg("-l")
            .arg(&self.directory)
            .args(["--af-packet", "--runmode", "workers"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(BenchError::of(binary.display()))?;
        let mut running = Program(child);
        let start = Instant::now();
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Engine started") {
                return Ok(Running::Suricata(running));
            }
            let ended = running.0.try_wait().is_ok_and(|status| status.is_some());
            if ended || start.elapsed() > Duration::from_secs(60) {
                let line = said.lines().next_back().unwrap_or("no word").to_owned();
                return Err(BenchError::Said(format!("Suricata did not start: {line}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// That a forbidden write arrives exactly where nothing enforces: what does not judge is not compared as if it did.
    pub fn check_enforcement(&self) -> Result<(), BenchError> {
        let mut ends = Ends::open(&self.lane)?;
        let (request, answer) = vambrace::bench::modbus_exchange(9);
        if ends.exchange(&request, &answer)?.is_none() {
            return Err(BenchError::Said(format!("{}: an allowed write is not answered", self.way.name())));
        }
        // Register 201.
        ends.client.write_all(&[0, 1, 0, 0, 0, 6, 1, 6, 0, 201, 0, 7]).map_err(BenchError::of("forbidden write"))?;
        let start = Instant::now();
        let mut buffer = [0; 64];
        let mut arrived = false;
        while start.elapsed() < Duration::from_millis(150) && !arrived {
            arrived = match ends.server.read(&mut buffer) {
                Ok(len) => len > 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(_) => break,
            };
        }
        if arrived == self.way.enforces() {
            let what = if arrived { "a forbidden write arrived" } else { "a write was lost" };
            return Err(BenchError::Said(format!("{}: {what}", self.way.name())));
        }
        Ok(())
    }
}

/// The committed configuration with its words filled in.
pub fn configuration(core: usize, log: bool) -> String {
    let text = include_str!("../suricata.yaml");
    let other = usize::from(core == 0);
    text.replace("[ CORE ]", &format!("[ {core} ]"))
        .replace("[ OTHER ]", &format!("[ {other} ]"))
        .replace("enabled: LOG", if log { "enabled: yes" } else { "enabled: no" })
}

/// Ports enough for connections that come and go: one that was closed may be used again after a second.
fn churnable(lane: &Lane) -> Result<(), BenchError> {
    inside(&lane.plant(), || {
        let _ = fs::write("/proc/sys/net/ipv4/ip_local_port_range", "2048 65535");
        let _ = fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
    })
}

/// What runs while a way is measured; ended when dropped.
pub enum Running {
    Kernel,
    Xdp(Passes),
    Forwarder(Forwarder),
    Box(Guarded, Option<Passes>),
    Suricata(Program),
}

impl Running {
    /// Most memory so far, in bytes.
    pub fn memory(&self) -> Option<u64> {
        match self {
            Self::Box(guarded, _) => guarded.memory(),
            Self::Suricata(Program(child)) => {
                let text = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
                line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
            }
            _ => None,
        }
    }
}

/// A program of somebody else's; asked to end when dropped.
pub struct Program(pub Child);

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(id) = rustix::process::Pid::from_raw(self.0.id() as i32) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if start.elapsed() > Duration::from_secs(15) {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A thread that sends every frame out of the other port.
pub struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), BenchError>>>,
}

impl Forwarder {
    fn start(
        lane: &Lane,
        core: usize,
        forward: impl FnOnce(usize, &AtomicBool, &AtomicBool) -> Result<(), BenchError> + Send + 'static,
    ) -> Result<Self, BenchError> {
        let between = lane.between().unwrap_or_default();
        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(AtomicBool::new(false));
        let (stopped, is_ready) = (Arc::clone(&stop), Arc::clone(&ready));
        let thread = std::thread::spawn(move || inside(&between, || forward(core, &stopped, &is_ready))?);
        let start = Instant::now();
        while !ready.load(Ordering::Acquire) {
            if thread.is_finished() || start.elapsed() > Duration::from_secs(5) {
                stop.store(true, Ordering::Relaxed);
                let said = match thread.join() {
                    Ok(Err(error)) => error.to_string(),
                    other => format!("{other:?}"),
                };
                return Err(BenchError::Said(format!("the forwarder did not start: {said}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn forward(core: usize, stop: &AtomicBool, ready: &AtomicBool) -> Result<(), BenchError> {
    vambrace::sys::pin_to(core).map_err(BenchError::of("core"))?;
    // The ring that the box has by default: 4096 frames of 2 KiB.
    let geometry = Geometry { block_bytes: 256 << 10, blocks: 32, frame_bytes: 2048 };
    let open = |name| AfPacket::open(name, geometry).map_err(BenchError::of(name));
    let mut ports = [open("plant0")?, open("robot0")?];
    ready.store(true, Ordering::Release);
    while !stop.load(Ordering::Relaxed) {
        for from in 0..2 {
            let [first, second] = &mut ports;
            let (from, to) = if from == 0 { (first, second) } else { (second, first) };
            let count = from.receive().map_err(BenchError::of("receiving"))?;
            if count == 0 {
                continue;
            }
            let mut frames: [&[u8]; BATCH] = [&[]; BATCH];
            for (at, frame) in frames.iter_mut().enumerate().take(count) {
                *frame = from.frame(at).bytes;
            }
            let _ = to.transmit(&frames[..count]).map_err(BenchError::of("sending"))?;
            from.release();
        }
    }
    Ok(())
}
