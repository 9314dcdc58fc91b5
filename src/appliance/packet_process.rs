use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::flag;

use super::capture::{Captures, WorkerTap};
use super::control::{Begun, Orders};
use super::heart_beat::{Around, BEAT, Beating};
use super::learner::{Frames, LearnerTap};
use super::patches::Loaded;
use super::pulse::{Pulse, Stage};
use super::standing::Standing;
use super::{Failure, plan};
use crate::config::Config;
use crate::engine::{Arena, Clock, Mode, Worker, WorkerShared};
use crate::event::Notice;
use crate::export::Names;
use crate::export::eve::EveRender;
use crate::harden;
use crate::nic::{AfPacket, FramePort, Geometry, Idle, Polling};
use crate::patches::Version;
use crate::record::{FrameRing, KeepOptions, Ledger, Queue, RecordOptions, Recorder};
use crate::sys;

/// What the supervisor hands to a packet process.
#[derive(Clone, Debug, clap::Args)]
pub struct Handed {
    /// Configuration file.
    #[arg(long)]
    pub config: PathBuf,
    /// Descriptor of the plant port's packet socket.
    #[arg(long)]
    pub plant_fd: i32,
    /// Descriptor of the robot port's packet socket.
    #[arg(long)]
    pub robot_fd: i32,
    /// Descriptor of the shared arena.
    #[arg(long)]
    pub arena_fd: i32,
    /// Descriptor of the numbers that the supervisor watches.
    #[arg(long)]
    pub pulse_fd: i32,
    /// MTU of the ports, which the rings were made for.
    #[arg(long)]
    pub mtu: u32,
    /// Frames that each ring was made for: the file may say something else by now.
    #[arg(long)]
    pub ring_frames: u32,
    /// How many packet processes came before it.
    #[arg(long, default_value_t = 0)]
    pub restarts: u32,
    /// How the one before it ended.
    #[arg(long, default_value = "asked")]
    pub after: String,
}

/// Events and copies of frames that wait for the recorder: some seconds of a busy cell.
const QUEUE: (usize, usize) = (16_384, 512);

/// How long an adaptive worker goes on asking after a frame: the longest beat of a controller is 8 ms (CB3, 125 Hz), so
/// that a stream of its own never meets the sleep.
const SPIN: Duration = Duration::from_millis(10);

struct SystemClock;

impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        nanoseconds(now)
    }

    fn wall_ns(&self) -> u64 {
        nanoseconds(rustix::time::clock_gettime(rustix::time::ClockId::Realtime))
    }
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Takes up sockets and state that the supervisor handed over, and judges until told to end.
///
/// # Errors
/// What was handed over can't be used, or the records can't be written.
pub fn run(handed: &Handed) -> Result<(), Failure> {
    // Without the supervisor nobody keeps the ports closed to others: the next one's packet process would send every
    // frame a second time.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| Failure::new(1, format!("bound to the supervisor's life: {error}")))?;
    let config = Config::load(&handed.config)
        .map_err(|problems| Failure { lines: problems.to_string().lines().map(str::to_owned).collect(), code: 2 })?;
    let core = config.fast_path.cores.first().copied();
    // All that are started from here on: whatever they do, frames don't wait for it.
    if let Some(core) = core
        && let Err(error) = sys::keep_off(usize::from(core))
    {
        tracing::warn!(core, %error, "other threads may run on the worker's core");
    }
    let mut standing = Standing::load(&config.record.directory)
        .ok_or_else(|| Failure::new(1, "standing orders are missing beside the records; start with `vambrace run`"))?;
    standing.restarts = handed.restarts;
    let mode = Mode::named(&standing.mode)
        .ok_or_else(|| Failure::new(1, format!("standing orders name an unknown mode {:?}", standing.mode)))?;
    let own = plan::compile(&config, &standing.policy_name, &standing.policy_text, standing.generation)?;
    // The supervisor took it; where its file was changed since, the wire is not to be lost for that.
    let pack = Loaded::of_or_built_in(&config);

    let geometry = Geometry::for_frames(handed.mtu, handed.ring_frames);
    let port = |fd: i32| -> Result<AfPacket, Failure> {
        let fd = sys::inherited(fd).map_err(|error| Failure::new(1, format!("inherited socket: {error}")))?;
        AfPacket::attach(fd, geometry, None).map_err(|error| Failure::new(1, error.to_string()))
    };
    let mut ports = (port(handed.plant_fd)?, port(handed.robot_fd)?);
    let port_names = [ports.0.name().to_owned(), ports.1.name().to_owned()];
    let memory = |what: &str, error: std::io::Error| Failure::new(1, format!("{what}: {error}"));
    let shared_memory = sys::inherited(handed.arena_fd)
        .and_then(sys::arena::Arena::from_fd)
        .map_err(|error| memory("inherited arena", error))?;
    // A state that was paged out would make a frame wait for a disk. What is not to be had costs no wire.
    if let Err(error) = shared_memory.lock() {
        let limit = "give it LimitMEMLOCK=256M, as its service unit does";
        tracing::warn!(%error, "the memory of connections is not locked and may be paged out; {limit}");
    }
    let pulse = sys::inherited(handed.pulse_fd).and_then(Pulse::from_fd);
    let pulse = Arc::new(pulse.map_err(|error| memory("memory shared with the supervisor", error))?);
    let mut seed = [0; 8];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| memory("random seed", error.into()))?;
    // For the rest of the process's life: two threads work in it, each in its own part.
    let shared_memory = Box::leak(Box::new(shared_memory)).as_mut_slice();
    let (of_worker, of_recorder) = shared_memory.split_at_mut_checked(Arena::SIZE).unwrap_or_default();
    let ledger = Ledger::over(of_recorder).ok_or_else(|| Failure::new(1, "the inherited arena is too small"))?;
    let seed = u64::from_le_bytes(seed);
    let (arena, known) =
        Arena::over(of_worker, seed).ok_or_else(|| Failure::new(1, "the inherited arena is too small"))?;

    confine(&config);
    let version = Version::of(&arena.shared().robot);
    let policy = Arc::new(pack.tighten(&own, version, standing.generation, plan::now()));
    let rules = Arc::new(plan::rules(&config, mode, policy));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = Arc::new(Names::new(host.clone(), config.assets.iter().map(|asset| (asset.ip, asset.name.clone()))));
    names.set_rules(rules.policy.generation(), rules.policy.rule_ids().map(str::to_owned).collect());
    names.set_attacks(rules.policy.generation(), pack.known_attacks(version));
    let queue = Arc::new(Queue::new(QUEUE.0, QUEUE.1));
    let shared = Arc::new(WorkerShared::new(Arc::clone(&rules)));
    let alarm_ns = u64::from(config.guard.late_ms).saturating_mul(1_000_000);
    shared.alarm_ns.store(alarm_ns, Ordering::Relaxed);
    let eve = EveRender { names: Arc::clone(&names), capture: false };
    let ring = (config.evidence.ring.bytes() > 0).then(|| Arc::new(FrameRing::new(config.evidence.ring.bytes())));
    let options = RecordOptions {
        directory: config.record.directory.clone(),
        size_budget: config.record.size_budget.0,
        max_age: config.record.max_age.map(crate::config::Age::time),
        witnesses: config.record.witness.clone(),
        counter: config.record.counter.clone(),
        host,
        names: config.assets.iter().map(|asset| (asset.ip, asset.name.clone())).collect(),
        recipients: config.record.encrypt_to.iter().map(|auditor| auditor.public).collect(),
        event_lines: config.record.event_lines,
        ledger: Some((ledger, None)),
        ring: ring.clone().map(|ring| (ring, keep_options(&config))),
        settling: crate::record::Settling::default(),
        beat: BEAT,
    };
    let render = Box::new(Beating { eve, shared: Arc::clone(&shared), begun: Instant::now() });
    let around = Arc::new(Around(Arc::clone(&shared)));
    let recorder = if known && arena.last_event > 0 {
        // Frames wait in the rings: they must not wait for a disk as well.
        let options = RecordOptions { ledger: Some((ledger, Some(arena.last_event))), ..options };
        Recorder::start_behind(options, Arc::clone(&queue), render, around)
            .map_err(|error| memory("recorder", error))?
    } else {
        let recorder = Recorder::start(options, Arc::clone(&queue), render, around)
            .map_err(|error| Failure::new(1, error.to_string()))?;
        arena.last_event = recorder.first_event_id().0.saturating_sub(1);
        recorder
    };

    let frames = Arc::new(Frames::new());
    let clock = SystemClock;
    let captures = Captures::new(Arc::clone(&names));
    let tap = WorkerTap { learner: LearnerTap(Arc::clone(&frames)), captures: Arc::clone(&captures) };
    if take_wire(&pulse, &mut ports) {
        arena.forget_conversations(seed);
        let _ = shared.notices.push(Notice::Opened { for_ms: pulse.openings().0 });
    }
    let mut worker = Worker::new(ports, arena, Arc::clone(&queue), Arc::clone(&shared), clock, tap)
        .map_err(|error| Failure::new(1, error.to_string()))?
        .with_ring(ring);
    worker.begin();
    let ends = ["signal", "exit", "hang", "never_began"];
    if let Some(how) = ends.into_iter().find(|end| handed.after == *end) {
        let _ = shared.notices.push(Notice::Replaced { how, restarts: handed.restarts });
    }

    let directory = config.record.directory.clone();
    let orders = Orders::new(
        &config,
        Begun { standing, own, pack, version },
        (Arc::clone(&shared), Arc::clone(&pulse)),
        (frames, captures),
        (recorder.counters(), move |standing: &Standing| standing.store(&directory)),
        port_names,
        names,
    )
    .map_err(|error| memory("thread that writes orders", error))?;
    let server = crate::control::Server::start(&config.control.socket, orders.clone())
        .map_err(|error| Failure::new(1, format!("control socket {}: {error}", config.control.socket.display())))?;

    // The management process asks under an account of its own. Where this one is not root's, that account is in its group
    // and needs nothing more.
    if let Some(name) = &config.console.account
        && rustix::process::geteuid().is_root()
    {
        let given = crate::config::Account::named(name)
            .and_then(|account| std::os::unix::fs::lchown(&config.control.socket, None, Some(account.gid)));
        if let Err(error) = given {
            tracing::error!(%error, "console.account can't use the control socket");
        }
    }

    let ended = AtomicFlags::register().map_err(|error| memory("signal handlers", error))?;
    let polling = match config.fast_path.polling {
        crate::config::Polling::Busy => Polling::Busy,
        crate::config::Polling::Adaptive => Polling::Adaptive { spin: SPIN },
        crate::config::Polling::Blocking => Polling::Blocking,
    };
    let keeper = Keeper::start(Arc::clone(&orders), Arc::clone(&ended.reload), handed.config.clone())
        .map_err(|error| memory("keeper thread", error))?;
    if let Some(core) = core
        && let Err(error) = sys::pin_to(usize::from(core))
    {
        tracing::warn!(core, %error, "the worker runs unpinned");
    }
    work(&mut worker, polling, &ended.stop, &pulse);
    pulse.step(Stage::Working, Stage::Ending);
    worker.finish();
    keeper.stop();
    drop(server);
    orders.finish();
    recorder.stop();
    Ok(())
}

/// Which frames go into the evidence around a refusal.
fn keep_options(config: &Config) -> KeepOptions {
    let (before, after) = config.evidence.times();
    let robot = config.robot().map(|robot| robot.ip);
    KeepOptions { robot, before, after, hourly: config.evidence.kept_an_hour.bytes() }
}

/// Gives up what this process and its threads don't need from here on. What the kernel does not know of stays as it was and
/// is told of: a box that does not start for it would guard nothing.
fn confine(config: &Config) {
    let mut files = harden::Files::default();
    files.write.push(config.record.directory.clone());
    files.writes_beside(&config.control.socket);
    // What is to be made below a folder needs the folder; whoever opens the files tells of what is in the way.
    files.write.iter().for_each(|folder| drop(std::fs::create_dir_all(folder)));
    config.record.counter.iter().for_each(|counter| files.writes_beside(counter));
    config.record.witness.iter().for_each(|witness| files.writes_on_medium(witness));
    files.reads_beside(&config.policy.file);
    config.patches.file.iter().for_each(|pack| files.reads_beside(pack));
    // The account of the management process.
    files.read.push(PathBuf::from("/etc/passwd"));
    // The sockets are open already. The control socket is given to the management process's account a little later; from
    // then on no call is left that would use it.
    if let Err(error) = harden::keep_capabilities(rustix::thread::CapabilitySet::CHOWN) {
        tracing::error!(%error, "the packet process keeps its capabilities");
    }
    match harden::keep_files(&files) {
        Ok(harden::Confined::Fully) => {}
        Ok(confined) => tracing::warn!(?confined, "the kernel's Landlock is older: files are confined less"),
        Err(error) => tracing::error!(%error, "the packet process keeps all files"),
    }
}

/// Waits until the wire is free; says whether frames passed meanwhile that nobody saw.
///
/// Where the kernel carries frames, copies of them lie in the rings. They are thrown away when it has stopped: what went
/// out once must not go out again. What arrives in this moment is lost, as on a cable that is plugged.
fn take_wire(pulse: &Pulse, ports: &mut (AfPacket, AfPacket)) -> bool {
    if pulse.step(Stage::Starting, Stage::Working) {
        return false;
    }
    pulse.step(Stage::Carried, Stage::Asking);
    while pulse.stage() != Stage::Cleared {
        std::thread::sleep(Duration::from_millis(1));
    }
    for port in [&mut ports.0, &mut ports.1] {
        // A port that fails is the worker's to tell of.
        while port.receive().is_ok_and(|taken| taken > 0) {
            port.release();
        }
    }
    pulse.step(Stage::Cleared, Stage::Working);
    true
}

/// The worker's loop. Nothing in it allocates, waits for a lock or writes a log.
fn work<C: Clock, T: crate::engine::Tap>(
    worker: &mut Worker<'_, AfPacket, C, T>,
    polling: Polling,
    stop: &AtomicBool,
    pulse: &Pulse,
) {
    let clock = SystemClock;
    let mut idle = Idle::new(polling, clock.monotonic_ns());
    while !stop.load(Ordering::Relaxed) {
        pulse.turn();
        if worker.turn() {
            idle.worked(clock.monotonic_ns());
            continue;
        }
        let ports = worker.ports();
        let ports: [&dyn FramePort; 2] = [ports.0, ports.1];
        let begun_ns = clock.monotonic_ns();
        // A failed wait is a busy turn: frames matter more than rest.
        if idle.pause(&ports, begun_ns, worker.rest()).unwrap_or(false) {
            pulse.slept(clock.monotonic_ns().saturating_sub(begun_ns));
        }
    }
}

struct AtomicFlags {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl AtomicFlags {
    fn register() -> std::io::Result<Self> {
        let flags = Self { stop: Arc::default(), reload: Arc::default() };
        flag::register(SIGTERM, Arc::clone(&flags.stop))?;
        // A terminal's Ctrl-C reaches the whole group; the supervisor asks with SIGTERM when it is time.
        flag::register(signal_hook::consts::SIGINT, Arc::default())?;
        flag::register(SIGHUP, Arc::clone(&flags.reload))?;
        Ok(flags)
    }
}

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_millis(20);

/// Looks after timed modes, reloads and virtual patches: what waits for compiling and for the disk.
struct Keeper {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Keeper {
    fn start(orders: Arc<Orders>, reload: Arc<AtomicBool>, config: PathBuf) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            // The last step of the start, for all threads; here, since frames wait for the worker already.
            if let Err(error) = harden::keep_calls(harden::PACKET_PROCESS) {
                tracing::error!(%error, "the packet process keeps all system calls");
            }
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK);
                if reload.swap(false, Ordering::Relaxed) {
                    orders.reload(&config);
                }
                orders.end_timed_mode();
                orders.look_after_patches();
                orders.look_after_bypass();
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}
