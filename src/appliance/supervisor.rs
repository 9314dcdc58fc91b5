use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::hang::{Hang, Thread};
use super::mirror::{Link, Mirror, Order};
use super::pulse::{Pulse, Stage};
use super::relay::Keeper;
use super::service_manager::ServiceManager;
use super::standing::Standing;
use super::{Failure, plan};
use crate::config::{Config, Mode, OnCrash};
use crate::engine::Arena;
use crate::nic::prepare::{Carried, Prepared};
use crate::nic::{AfPacket, FramePort, Geometry, prepare};
use crate::record::Ledger;
use crate::record::evidence::{give_up_reserve, is_full};
use crate::sys::arena::Arena as SharedMemory;

/// Runs until it is told to end: prepares the ports, keeps sockets and arena, replaces the packet process.
///
/// # Errors
/// The configuration, the policy or a port is unfit; nothing was started then.
pub fn run(config_path: &Path, resume: bool) -> Result<(), Failure> {
    let config = Config::load(config_path).map_err(|problems| Failure { lines: lines(&problems), code: 2 })?;
    super::patches::Loaded::of(&config)?;
    // Its looks at the worker, fifty a second, are not to hold the worker up. The packet process takes its core itself.
    for core in &config.fast_path.cores {
        if let Err(error) = crate::sys::keep_off(usize::from(*core)) {
            tracing::warn!(core, %error, "the supervisor may run on the worker's core");
        }
    }
    let standing = if resume { resumed(&config) } else { None }.map_or_else(|| begin(&config), Ok)?;
    let failed = |what: &str, error: io::Error| Failure::new(1, format!("{what}: {error}"));
    let mut events = Events::new().map_err(|error| failed("signal handlers", error))?;
    let pulse = Pulse::create().map_err(|error| failed("memory shared with the packet process", error))?;
    let arena = SharedMemory::create(Arena::SIZE.saturating_add(Ledger::SIZE))
        .map_err(|error| Failure::new(1, format!("memory for {} bytes of state: {error}", Arena::SIZE)))?;
    let mut lasting = Lasting { manager: ServiceManager::new(), relay: Keeper::new(&config.bypass), restarts: 0 };
    let mut again = false;
    loop {
        let taken = take_ports(&config);
        let (ports, plant, robot) = match taken {
            Ok(taken) => taken,
            // It may still be on its way, or somebody brings it up.
            Err(failure) if again => {
                failure.lines.iter().for_each(|line| tracing::error!("{line}"));
                let waited = Instant::now();
                while let Some(left) = RETRY.checked_sub(waited.elapsed()) {
                    if events.next(left.min(LOOK)).map_err(|error| failed("signals", error))?.ends {
                        return Ok(());
                    }
                    lasting.relay.keep(&pulse, Instant::now());
                }
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if !again {
            store(&standing, &config.record.directory)?;
        }
        again = true;
        let (pulse, arena, ports) = (&pulse, &arena, &ports);
        let keep = Keep { config_path, config: &config, ports, plant: &plant, robot: &robot, arena, pulse };
        if !keep.supervise(&mut events, &mut lasting)? {
            return Ok(());
        }
        tracing::warn!("a port was replaced by another of the same name; both are taken up anew");
    }
}

/// Time between two tries to take up a port that is to come back.
const RETRY: Duration = Duration::from_secs(1);

/// Prepares both ports and opens their sockets, plant first.
fn take_ports(config: &Config) -> Result<(Prepared, AfPacket, AfPacket), Failure> {
    let ports = prepare::prepare(&config.ports.plant, &config.ports.robot)
        .map_err(|problems| Failure { lines: problems.iter().map(ToString::to_string).collect(), code: 2 })?;
    let open = |name: &str, mtu: u32| {
        AfPacket::open(name, Geometry::for_frames(mtu, config.fast_path.ring_frames))
            .map_err(|error| Failure::new(1, error.to_string()))
    };
    let plant = open(&ports.plant.name, ports.plant.mtu)?;
    let robot = open(&ports.robot.name, ports.robot.mtu)?;
    Ok((ports, plant, robot))
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
        // It lasts over a power cut, until its end.
        bypass: before.and_then(|standing| standing.bypass),
        restarts: 0,
    })
}

/// Mode and policy that were in force last, under a generation above; a mode for a while is over. Where that policy can't be
/// in force any more, the mode stays with the policy of the configuration, or with an empty one: a box that guarded does not
/// let everything pass because of it. `None` where nothing was in force: the configuration says then.
fn resumed(config: &Config) -> Option<Standing> {
    let last = Standing::load(&config.record.directory)?;
    let generation = last.generation.saturating_add(1);
    let mode = last.mode_until.as_ref().map_or(&last.mode, |(back, _)| back).clone();
    if Mode::named(&mode).is_none() {
        tracing::error!(mode, "the mode in force last is not known; the configuration's is in force");
        return None;
    }
    match plan::compile(config, &last.policy_name, &last.policy_text, generation) {
        Ok(_) => Some(Standing { mode, mode_until: None, generation, restarts: 0, ..last }),
        Err(failure) => {
            tracing::error!(lines = ?failure.lines, mode, "the policy in force last does not fit; that of the configuration is in force");
            let own = begin(config).unwrap_or_else(|failure| {
                tracing::error!(lines = ?failure.lines, mode, "nor does that of the configuration; an empty one is in force");
                Standing { generation, bypass: last.bypass, ..Standing::empty() }
            });
            Some(Standing { mode, ..own })
        }
    }
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
    config: &'k Config,
    ports: &'k Prepared,
    plant: &'k AfPacket,
    robot: &'k AfPacket,
    arena: &'k SharedMemory,
    pulse: &'k Pulse,
}

/// What lasts as long as the supervisor.
struct Lasting {
    manager: ServiceManager,
    relay: Keeper,
    restarts: u32,
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

/// How often the worker is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Time that a packet process has to begin: 10,000 rules take a tenth of a second, a debug build ten times that, and a
/// busy machine ten times that again.
const BEGIN: Duration = Duration::from_secs(10);

/// How long nobody judges frames before the kernel carries them, where the configuration says so. A successor takes 20 to
/// 50 ms; what the kernel carried costs the connections of an enforcing box, so it is not begun for less.
const OPEN_AFTER: Duration = Duration::from_millis(100);

/// How a packet process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As it was asked to.
    Asked,
    /// By itself or by a signal of somebody.
    Unasked(ExitStatus),
    /// It was killed, since its worker moved no more.
    Hung,
    /// It was killed, since it did not begin.
    NeverBegan,
    /// It was asked to end, since an interface was replaced by another one.
    Replugged,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Asked | Self::Replugged => "asked",
            Self::Unasked(status) if status.code().is_some() => "exit",
            Self::Unasked(_) => "signal",
            Self::Hung => "hang",
            Self::NeverBegan => "never_began",
        }
    }
}

/// What lasts from one packet process to the next.
struct Course<'k, 'l> {
    lasting: &'l mut Lasting,
    mirror: Mirror,
    /// While the kernel carries frames: since when.
    carried: Option<(Carried<'k>, Instant)>,
    /// When the last packet process ended.
    ended: Option<Instant>,
}

impl<'k> Keep<'k> {
    /// Runs packet processes one after the other; says whether the ports are to be taken up anew.
    fn supervise(&'k self, events: &mut Events, lasting: &mut Lasting) -> Result<bool, Failure> {
        let failed = |error: io::Error| Failure::new(1, format!("packet process: {error}"));
        let mut course = Course { lasting, mirror: Mirror::new(), carried: None, ended: None };
        let (mut pause, mut early) = (Duration::ZERO, 0_u32);
        let mut before = End::Asked;
        loop {
            let started = Instant::now();
            self.pulse.set(if course.carried.is_some() { Stage::Carried } else { Stage::Starting });
            let mut child = self.spawn(course.lasting.restarts, before).map_err(failed)?;
            let end = self.watch(&mut child, events, &mut course).map_err(failed)?;
            before = end;
            match end {
                End::Asked => {
                    course.lasting.manager.stopping();
                    self.give_back(&course.mirror);
                    return Ok(false);
                }
                End::Replugged => return Ok(true),
                End::Unasked(status) if status.code() == Some(2) => {
                    // It could not take up what this process had checked: nothing that a restart would mend.
                    return Err(Failure::new(2, "the packet process refused its configuration"));
                }
                End::Unasked(status) => tracing::error!(%status, "packet process ended unasked; it is replaced"),
                End::Hung => tracing::error!("the worker hung; its packet process was ended and is replaced"),
                End::NeverBegan => tracing::error!("packet process did not begin within 10 s; it is replaced"),
            }
            course.ended.get_or_insert_with(Instant::now);
            early = if started.elapsed() > SOUND { 0 } else { early.saturating_add(1) };
            pause = if early <= AT_ONCE {
                Duration::ZERO
            } else {
                pause.saturating_mul(2).clamp(Duration::from_millis(20), LONGEST_PAUSE)
            };
            let paused = Instant::now();
            while let Some(left) = pause.checked_sub(paused.elapsed()).filter(|left| !left.is_zero()) {
                if events.next(left.min(LOOK)).map_err(failed)?.ends {
                    course.lasting.manager.stopping();
                    self.give_back(&course.mirror);
                    return Ok(false);
                }
                self.look_at_wire(&mut course);
            }
            course.lasting.restarts = course.lasting.restarts.saturating_add(1);
        }
    }

    fn spawn(&self, restarts: u32, before: End) -> io::Result<Child> {
        let fd = |fd: Option<BorrowedFd<'_>>| -> io::Result<String> {
            let fd = fd.ok_or_else(|| io::Error::other("port without descriptor"))?;
            // The child inherits it; a bypass command does too, and has no use for it.
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
            .args(["--pulse-fd", &fd(Some(self.pulse.as_fd()))?])
            .args(["--mtu", &self.ports.plant.mtu.to_string()])
            .args(["--ring-frames", &self.config.fast_path.ring_frames.to_string()])
            .args(["--restarts", &restarts.to_string()])
            .args(["--after", before.name()])
            .spawn()
    }

    /// Waits until the packet process ends, and ends it where its worker moves no more.
    fn watch(&'k self, child: &mut Child, events: &mut Events, course: &mut Course<'k, '_>) -> io::Result<End> {
        let (begun, mut hang, mut looked) = (Instant::now(), Hang::default(), Instant::now());
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(End::Unasked(status));
            }
            let told = events.next(LOOK)?;
            if told.ends {
                return end(child).map(|_| End::Asked);
            }
            if told.reloads {
                kill(child, rustix::process::Signal::HUP);
            }
            if let Some(status) = child.try_wait()? {
                return Ok(End::Unasked(status));
            }
            // Where this thread itself came late, nobody knows how the worker fared meanwhile.
            let since = looked.elapsed();
            if since < LOOK {
                continue;
            }
            looked = Instant::now();
            let hung = match self.pulse.stage() {
                Stage::Working => {
                    let turns = self.pulse.turns();
                    course.lasting.manager.turned(turns, looked);
                    let thread = Thread::main_of(child.id());
                    hang.look(turns, thread, since.min(LOOK.saturating_mul(2))).then_some(End::Hung)
                }
                Stage::Ending => None,
                _ => (begun.elapsed() > BEGIN).then_some(End::NeverBegan),
            };
            if let Some(end) = hung {
                child.kill()?;
                child.wait()?;
                return Ok(end);
            }
            if self.plant.is_succeeded() || self.robot.is_succeeded() {
                return end(child).map(|_| End::Replugged);
            }
            self.look_at_wire(course);
        }
    }

    /// Takes a port down with the other's cable, and up with it.
    fn look_at_links(&self, mirror: &mut Mirror, now: Instant) {
        let ports = [self.plant, self.robot];
        // A port that is gone is no cable that is out.
        let [Ok(plant), Ok(robot)] = ports.map(AfPacket::link) else { return };
        let links = [plant, robot].map(|(up, carrier)| Link { up, carrier });
        let Some(order) = mirror.look(links, now) else { return };
        let (place, up) = match order {
            Order::Down(place) => (place, false),
            Order::Up(place) => (place, true),
        };
        let Some(port) = ports.get(place) else { return };
        match port.set_up(up) {
            Ok(()) => tracing::warn!(port = port.name(), up, "the other port's cable is mirrored"),
            Err(error) => tracing::error!(%error, "the other port's cable can't be mirrored"),
        }
    }

    /// Brings a port up that is down for the other's sake.
    fn give_back(&self, mirror: &Mirror) {
        let ports = [self.plant, self.robot];
        if let Some(error) = mirror.held().and_then(|place| ports.get(place)?.set_up(true).err()) {
            tracing::error!(%error, "a port stays down");
        }
    }

    /// Gives the wire to the kernel where nobody judges, takes it back where somebody is ready to; keeps the bypass.
    fn look_at_wire(&'k self, course: &mut Course<'k, '_>) {
        let now = Instant::now();
        let wall_seconds =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.config.link.mirror {
            self.look_at_links(&mut course.mirror, now);
        }
        let standing = || Standing::load(&self.config.record.directory);
        course.lasting.relay.look(self.pulse, now, wall_seconds, standing);
        match self.pulse.stage() {
            Stage::Working => course.ended = None,
            Stage::Asking => {
                if let Some((carried, since)) = course.carried.take() {
                    drop(carried);
                    self.pulse.was_open(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
                    tracing::error!(milliseconds = since.elapsed().as_millis(), "frames went past the policy; no more");
                    course.lasting.manager.status("frames are judged");
                }
                self.pulse.step(Stage::Asking, Stage::Cleared);
            }
            Stage::Starting
                if course.carried.is_none()
                    && course.ended.is_some_and(|ended| now.saturating_duration_since(ended) >= OPEN_AFTER)
                    && self.opens()
                    && self.pulse.step(Stage::Starting, Stage::Carried) =>
            {
                match self.ports.carry() {
                    Ok(carried) => {
                        tracing::error!("OPEN: the kernel carries every frame until a packet process is ready");
                        course.lasting.manager.status("OPEN: frames go past the policy");
                        course.carried = Some((carried, now));
                    }
                    Err(error) => {
                        // The packet process asks for the wire, gets it, and finds nothing to throw away.
                        tracing::error!(%error, "the kernel can't carry frames: the wire stays closed");
                        course.ended = None;
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether the wire is to be open while nobody judges.
    fn opens(&self) -> bool {
        match self.config.fail.crash {
            OnCrash::Closed => false,
            OnCrash::Open => true,
            OnCrash::ByMode => {
                let mode = Standing::load(&self.config.record.directory).and_then(|it| Mode::named(&it.mode));
                mode.is_some_and(|mode| !matches!(mode, Mode::Enforce | Mode::Lockdown))
            }
        }
    }
}

/// Signals, waited for with a limit.
struct Events {
    signals: Signals,
    pipe: UnixStream,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    ends: bool,
    reloads: bool,
}

impl Events {
    fn new() -> io::Result<Self> {
        let all = [SIGINT, SIGTERM, SIGHUP, SIGCHLD];
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        for signal in all {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { signals: Signals::new(all)?, pipe })
    }

    /// Waits for signals, at most as long as told.
    fn next(&mut self, limit: Duration) -> io::Result<Told> {
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let mut set = [rustix::event::PollFd::new(&self.pipe, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut set, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 64];
        while self.pipe.read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
        let mut told = Told::default();
        for signal in self.signals.pending() {
            told.ends |= matches!(signal, SIGINT | SIGTERM);
            told.reloads |= signal == SIGHUP;
        }
        Ok(told)
    }
}

fn kill(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn end(child: &mut Child) -> io::Result<ExitStatus> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str =
        "version = 1\nrobot = \"arm\"\n[[allow]]\nid = \"a\"\nfrom = \"10.0.0.2\"\nservice = \"tcp/22\"\n";

    fn config(directory: &Path) -> Config {
        let text = format!(
            "mode = \"learn\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n[[asset]]\nname = \"arm\"\nip = \"10.0.0.1\"\n\
             side = \"robot\"\n[record]\ndirectory = \"{}\"\n",
            directory.display()
        );
        Config::parse("test", &text).unwrap()
    }

    #[test]
    fn what_was_in_force_last_is_resumed_and_a_mode_for_a_while_is_over() {
        let directory = std::env::temp_dir().join(format!("vambrace-resume-{}", std::process::id()));
        let config = config(&directory);
        let _ = std::fs::remove_dir_all(&directory);
        assert_eq!(resumed(&config), None, "nothing was in force yet");
        let last = Standing {
            mode: "enforce".to_owned(),
            policy_name: "p.toml".to_owned(),
            policy_text: POLICY.to_owned(),
            generation: 7,
            restarts: 3,
            ..Standing::empty()
        };
        last.store(&directory).unwrap();
        let found = resumed(&config).unwrap();
        assert_eq!((found.mode.as_str(), found.generation, found.restarts), ("enforce", 8, 0));
        assert_eq!(found.policy_text, POLICY);
        // Without, the configuration says.
        assert_eq!(begin(&config).unwrap().mode, "learn");

        // The clock of the end may be wrong after a power cut: the mode before is back at once.
        let until = Some(("enforce".to_owned(), u64::MAX));
        Standing { mode: "shadow".to_owned(), mode_until: until, ..last.clone() }.store(&directory).unwrap();
        let found = resumed(&config).unwrap();
        assert_eq!((found.mode.as_str(), found.mode_until), ("enforce", None));

        // A policy for another robot can't be in force any more. The mode stays: nothing passes that was refused before.
        Standing { policy_text: POLICY.replace("arm", "other"), ..last.clone() }.store(&directory).unwrap();
        let found = resumed(&config).unwrap();
        assert_eq!((found.mode.as_str(), found.policy_text.as_str(), found.generation), ("enforce", "", 8));
        // A mode that there is not says nothing.
        Standing { mode: "trust".to_owned(), ..last }.store(&directory).unwrap();
        assert_eq!(resumed(&config), None);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
