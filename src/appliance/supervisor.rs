use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::standing::Standing;
use super::{Failure, plan};
use crate::config::{Config, Mode};
use crate::engine::Arena;
use crate::nic::{AfPacket, FramePort, Geometry, prepare};
use crate::record::Ledger;
use crate::record::evidence::{give_up_reserve, is_full};
use crate::sys::arena::Arena as SharedMemory;

/// Runs until it is told to end: prepares the ports, keeps sockets and arena, replaces the packet process.
///
/// # Errors
/// The configuration, the policy or a port is unfit; nothing was started then.
pub fn run(config_path: &Path) -> Result<(), Failure> {
    let config = Config::load(config_path).map_err(|problems| Failure { lines: lines(&problems), code: 2 })?;
    super::patches::Loaded::of(&config)?;
    let standing = begin(&config)?;
    let ports = prepare::prepare(&config.ports.plant, &config.ports.robot)
        .map_err(|problems| Failure { lines: problems.iter().map(ToString::to_string).collect(), code: 2 })?;
    let open = |name: &str, mtu: u32| {
        AfPacket::open(name, Geometry::for_mtu(mtu)).map_err(|error| Failure::new(1, error.to_string()))
    };
    let plant = open(&ports.plant.name, ports.plant.mtu)?;
    let robot = open(&ports.robot.name, ports.robot.mtu)?;
    let arena = SharedMemory::create(Arena::SIZE.saturating_add(Ledger::SIZE))
        .map_err(|error| Failure::new(1, format!("memory for {} bytes of state: {error}", Arena::SIZE)))?;
    store(&standing, &config.record.directory)?;
    let keep = Keep { config_path, plant: &plant, robot: &robot, arena: &arena, mtu: ports.plant.mtu };
    let ended = keep.supervise();
    drop(ports);
    ended
}

fn lines(problems: &crate::document::Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

/// What is in force at the start: mode and policy of the configuration, under a generation above the last one.
fn begin(config: &Config) -> Result<Standing, Failure> {
    let before = Standing::load(&config.record.directory);
    let generation = before.as_ref().map_or(1, |standing| standing.generation.saturating_add(1));
    let file = &config.policy.file;
    let judges = matches!(config.mode, Mode::Shadow | Mode::Enforce | Mode::Lockdown);
    let (policy_name, policy_text) = if judges || file.exists() {
        let (_, text) = plan::policy_from(config, file, generation)?;
        (file.display().to_string(), text)
    } else {
        ("none".to_owned(), String::new())
    };
    Ok(Standing {
        mode: config.mode.name().to_owned(),
        mode_until: None,
        policy_name,
        policy_text,
        previous: None,
        generation,
        restarts: 0,
    })
}

/// Writes down what is in force at the start. On a full disk frames shall pass all the same: what lies there is good
/// enough where it says the same, under the generation of before; else what is held in reserve there is used for it.
fn store(standing: &Standing, directory: &Path) -> Result<(), Failure> {
    let first = match standing.store(directory) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if is_full(&first) {
        if Standing::load(directory).is_some_and(|known| known.says_the_same_as(standing)) {
            tracing::error!(error = %first, "{}: the disk is full; frames pass, records wait for room", directory.display());
            return Ok(());
        }
        give_up_reserve(directory);
        if standing.store(directory).is_ok() {
            return Ok(());
        }
    }
    let mend = if is_full(&first) { "free space there" } else { "make it writable" };
    Err(Failure::new(1, format!("{}: {first}; {mend}", directory.display())))
}

/// What the supervisor keeps over the life of its packet processes.
struct Keep<'k> {
    config_path: &'k Path,
    plant: &'k AfPacket,
    robot: &'k AfPacket,
    arena: &'k SharedMemory,
    mtu: u32,
}

/// A packet process that lived this long counts as sound: the next one starts at once. It forwards frames after a tenth
/// of this.
const SOUND: Duration = Duration::from_millis(200);

/// Packet processes that may end sooner one after the other before pauses begin: a frame that one dies of is not read
/// again by the next.
const AT_ONCE: u32 = 3;

/// Longest pause before a packet process that keeps ending is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Time that a packet process has to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(3);

impl Keep<'_> {
    fn supervise(&self) -> Result<(), Failure> {
        let failed = |what: &str, error: std::io::Error| Failure::new(1, format!("{what}: {error}"));
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD]).map_err(|error| failed("signal handlers", error))?;
        let mut pause = Duration::ZERO;
        let (mut early, mut restarts) = (0_u32, 0_u32);
        loop {
            let started = Instant::now();
            let mut child = self.spawn(restarts).map_err(|error| failed("packet process", error))?;
            let (status, asked) =
                self.watch(&mut child, &mut signals).map_err(|error| failed("packet process", error))?;
            if asked {
                return Ok(());
            }
            if let Some(code) = status.code().filter(|code| *code == 2) {
                // It could not take up what this process had checked: nothing that a restart would mend.
                return Err(Failure::new(
                    u8::try_from(code).unwrap_or(1),
                    "the packet process refused its configuration",
                ));
            }
            tracing::error!(%status, "packet process ended unasked; it is replaced");
            early = if started.elapsed() > SOUND { 0 } else { early.saturating_add(1) };
            pause = if early <= AT_ONCE {
                Duration::ZERO
            } else {
                pause.saturating_mul(2).clamp(Duration::from_millis(20), LONGEST_PAUSE)
            };
            std::thread::sleep(pause);
            restarts = restarts.saturating_add(1);
        }
    }

    fn spawn(&self, restarts: u32) -> std::io::Result<Child> {
        let fd = |fd: Option<BorrowedFd<'_>>| -> std::io::Result<String> {
            let fd = fd.ok_or_else(|| std::io::Error::other("port without descriptor"))?;
            // The child inherits it; this process starts no other program.
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            Ok(fd.as_raw_fd().to_string())
        };
        Command::new("/proc/self/exe")
            .arg("packet-process")
            .arg("--config")
            .arg(self.config_path)
            .args(["--plant-fd", &fd(self.plant.readiness())?])
            .args(["--robot-fd", &fd(self.robot.readiness())?])
            .args(["--arena-fd", &fd(Some(self.arena.as_fd()))?])
            .args(["--mtu", &self.mtu.to_string()])
            .args(["--restarts", &restarts.to_string()])
            .spawn()
    }

    /// Waits until the packet process ends; says whether this was asked for.
    fn watch(&self, child: &mut Child, signals: &mut Signals) -> std::io::Result<(ExitStatus, bool)> {
        if let Some(status) = child.try_wait()? {
            return Ok((status, false));
        }
        for signal in signals.forever() {
            match signal {
                SIGHUP => kill(child, rustix::process::Signal::HUP),
                SIGINT | SIGTERM => return Ok((end(child)?, true)),
                _ => {}
            }
            if let Some(status) = child.try_wait()? {
                return Ok((status, false));
            }
        }
        Ok((end(child)?, true))
    }
}

fn kill(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    kill(child, rustix::process::Signal::TERM);
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()
}
