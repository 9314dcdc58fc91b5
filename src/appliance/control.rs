mod status;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(super) use status::microseconds;

use super::capture::{Captures, Joined};
use super::learner::{Frames, Learner};
use super::patches::{Job, Keeper, Limits, Loaded, try_all};
use super::plan;
use super::pulse::{Bypass, Pulse};
use super::scribe::{Scribe, Ticket};
use super::standing::{Bypassed, Standing};
use crate::config::{Account, BypassDriver, Config};
use crate::control::{
    Caller, FailureKind, Handler, Learned, Learning, Outcome, Person, PolicyText, Request, Response, Stream, UpdateStep,
};
use crate::engine::{Mode, Rules, WorkerShared};
use crate::event::{Notice, Text};
use crate::export::Names;
use crate::learn::ProposalOptions;
use crate::patches::Version;
use crate::policy::Policy;
use crate::record::RecordCounters;

/// Carries out what is ordered over the control socket.
pub(super) struct Orders {
    config: Config,
    shared: Arc<WorkerShared>,
    frames: Arc<Frames>,
    captures: Arc<Captures>,
    records: Arc<RecordCounters>,
    ports: [String; 2],
    names: Arc<Names>,
    pulse: Arc<Pulse>,
    begun: Instant,
    /// How long workers of earlier packet processes slept.
    slept_before_ns: u64,
    patches: Arc<Keeper>,
    looked: Mutex<Option<Instant>>,
    /// Uid of the management process, where it has an account of its own.
    console_uid: Option<u32>,
    /// What the management process says that it can't do, and when it said so.
    console_troubles: Mutex<Option<(Instant, Vec<String>)>>,
    /// Held while a policy is compiled and put in force: the next generation is its. Taken before `state`, which others
    /// ask for in the meantime.
    applying: Mutex<()>,
    /// Held while known attacks are tried for somebody; when that was begun last for somebody far away.
    trying: Mutex<Option<Instant>>,
    /// What the bypass did last, as far as it is recorded.
    bypassed: Mutex<Bypass>,
    /// Writes what is in force to the disk; who holds `state` gives it, and waits for it without.
    scribe: Scribe,
    state: Mutex<State>,
}

/// Known attacks are tried so often at most for people far away: each time takes a tenth of a second of a core.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Who says nothing for so long has nothing to say.
const SAID: Duration = Duration::from_secs(30);

/// Steps of an update.
const STEPS: [&str; 6] = ["refused", "begun", "written", "tried", "committed", "reverted"];

/// Most sentences that are shown of the management process.
const SENTENCES: usize = 16;

/// Time between two looks whether other virtual patches are to be in force.
const LOOK: Duration = Duration::from_millis(200);

/// How long an order that must outlive a power cut is kept waiting for the disk. It is in force meanwhile.
const DISK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

/// How long the packet process waits for the disk when it ends: less than until it is killed.
const DISK_AT_END: Duration = Duration::from_secs(2);

/// How long the driver of the bypass may take: its command has two seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is in force when the packet process takes the wire.
pub(super) struct Begun {
    /// Mode, policy text and generation.
    pub(super) standing: Standing,
    /// The policy as its file says it.
    pub(super) own: Arc<Policy>,
    /// The pack of virtual patches.
    pub(super) pack: Loaded,
    /// The controller's version, where a predecessor saw it.
    pub(super) version: Option<Version>,
}

struct State {
    standing: Standing,
    /// The policy as its file says it: what virtual patches tighten.
    own: Arc<Policy>,
    learner: Option<Learner>,
    /// What the last learning came to, until the next begins: an answer may not have arrived.
    learned: Option<Learning>,
    before_learning: Option<Mode>,
    /// When a timed mode ends, whatever the wall clock says meanwhile.
    deadline: Option<Instant>,
}

impl Orders {
    pub(super) fn new(
        config: &Config,
        Begun { standing, own, pack, version }: Begun,
        (shared, pulse): (Arc<WorkerShared>, Arc<Pulse>),
        (frames, captures): (Arc<Frames>, Arc<Captures>),
        (records, write): (Arc<RecordCounters>, impl FnMut(&Standing) -> std::io::Result<()> + Send + 'static),
        ports: [String; 2],
        names: Arc<Names>,
    ) -> std::io::Result<Arc<Self>> {
        if let Some(trouble) = &pack.trouble {
            tracing::error!("{trouble}");
        }
        let patches = Keeper::new(pack, Arc::clone(&shared));
        let deadline = deadline(&standing);
        let orders = Arc::new(Self {
            config: config.clone(),
            shared,
            frames,
            captures,
            records,
            ports,
            names,
            slept_before_ns: pulse.slept_ns(),
            pulse,
            begun: Instant::now(),
            patches,
            looked: Mutex::new(None),
            console_uid: config.console.account.as_deref().and_then(|name| Account::named(name).ok()).map(|it| it.uid),
            console_troubles: Mutex::default(),
            applying: Mutex::default(),
            trying: Mutex::default(),
            bypassed: Mutex::new(Bypass::Off),
            scribe: Scribe::start(write)?,
            state: Mutex::new(State { deadline, standing, own, learner: None, learned: None, before_learning: None }),
        });
        orders.begin_patches(version);
        if orders.shared.rules.load().mode == Mode::Learn {
            let mut state = orders.state();
            state.learner = Learner::start(Arc::clone(&orders.frames), orders.shared.rules.load_full()).ok();
        }
        Ok(orders)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a mode and a policy in force together.
    fn put(&self, mode: Mode, policy: Arc<Policy>) {
        self.shared.rules.store(Arc::new(plan::rules(&self.config, mode, policy)));
    }

    fn rules(&self) -> Arc<Rules> {
        self.shared.rules.load_full()
    }

    /// Waits until orders are on the disk, for as long as somebody may be kept waiting; the warning where they are not.
    fn settle(&self, ticket: Ticket) -> Option<String> {
        let error = self.scribe.wait(ticket, DISK).err()?;
        Some(format!("in force, but not on the disk, so that a restart may go back to what was before: {error}"))
    }

    /// Gives the disk what it has not taken yet, at the end.
    pub(super) fn finish(&self) {
        self.scribe.end(DISK_AT_END);
    }

    /// Says what of the pack is in force from the start, and tries it.
    fn begin_patches(&self, version: Option<Version>) {
        let (generation, own) = (self.rules().policy.generation(), Arc::clone(&self.state().own));
        // The rules in force are these already; what was chosen is now known to the keeper.
        let _ = self.patches.tighten(&own, version, generation, plan::now());
        let _ = self.shared.notices.push(self.patches.notice(generation));
        self.test_patches(version);
    }

    fn test_patches(&self, version: Option<Version>) {
        let policy = Arc::clone(&self.rules().policy);
        self.patches.test(Job { config: self.config.clone(), policy, version });
    }

    /// Chooses anew where the controller says another version, or an exemption is over: the same policy under another
    /// generation, as if it were applied again.
    pub(super) fn look_after_patches(&self) {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| at.elapsed() < LOOK) {
                return;
            }
            *looked = Some(Instant::now());
        }
        // A policy that is being applied brings its own choice.
        let Ok(_applying) = self.applying.try_lock() else { return };
        let mut state = self.state();
        if self.patches.is_stale(&state.own) {
            let generation = state.standing.generation.saturating_add(1);
            state.standing.generation = generation;
            self.put_tightened(&state.own, generation);
            self.scribe.give(&state.standing);
            tracing::info!(version = ?self.patches.version(), generation, "other virtual patches are in force");
        }
    }

    /// Puts a policy in force with the virtual patches for the controller as it was seen last.
    fn put_tightened(&self, own: &Policy, generation: u32) {
        let version = self.patches.version();
        let policy = Arc::new(self.patches.tighten(own, version, generation, plan::now()));
        self.names.set_rules(generation, policy.rule_ids().map(str::to_owned).collect());
        self.names.set_attacks(generation, self.patches.loaded().known_attacks(version));
        self.put(self.rules().mode, policy);
        let _ = self.shared.notices.push(self.patches.notice(generation));
        self.test_patches(version);
    }

    fn patch_report(&self, again: bool, from_afar: bool) -> Response {
        let rules = self.rules();
        let report = if again {
            let Ok(mut tried) = self.trying.try_lock() else {
                return Response::failed(FailureKind::Failed, "known attacks are being tried already; ask again");
            };
            if from_afar {
                if tried.is_some_and(|at| at.elapsed() < TRY_AGAIN) {
                    let what = format!(
                        "known attacks are tried once in {} s at most for those far away; ask again",
                        TRY_AGAIN.as_secs()
                    );
                    return Response::failed(FailureKind::Failed, what);
                }
                *tried = Some(Instant::now());
            }
            let limits = Limits { deadline: Instant::now().checked_add(Duration::from_secs(25)) };
            let version = self.patches.version();
            Some(try_all(&self.config, &self.patches.loaded(), &rules.policy, version, plan::now(), limits))
        } else {
            self.patches.report_of(rules.policy.generation(), rules.mode)
        };
        match report {
            Some(report) => Response::Patches(Box::new(report)),
            None => Response::failed(FailureKind::Failed, "known attacks are still being tried; ask again"),
        }
    }

    /// Reads the policy file of the configuration again and puts it in force, or says why not.
    pub(super) fn reload(&self, config_path: &Path) {
        self.patches.reload(&self.config);
        let answer = match std::fs::read_to_string(&self.config.policy.file) {
            Ok(text) => self.apply(text, self.config.policy.file.display().to_string(), 0),
            Err(error) => Response::failed(
                FailureKind::Failed,
                format!("{} (from {}): {error}", self.config.policy.file.display(), config_path.display()),
            ),
        };
        match answer {
            Response::Failed { messages, .. } => tracing::error!(?messages, "reload refused; nothing changed"),
            _ => tracing::info!("policy reloaded"),
        }
    }

    /// Ends a mode whose time is over.
    pub(super) fn end_timed_mode(&self) {
        let mut state = self.state();
        let Some((mode, until)) = state.standing.mode_until.clone() else { return };
        let is_over = state.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if (is_over || seconds_now() >= until)
            && let Some(mode) = Mode::named(&mode)
        {
            self.change_mode(&mut state, mode, None, 0);
        }
    }

    /// Orders frames past the box for a while, or to it.
    fn bypass(&self, for_seconds: Option<u64>, uid: u32) -> Response {
        if self.config.bypass.driver == BypassDriver::None {
            let line = "this box has no relay to lead frames past it; name its driver in [bypass], or use \
                        `vambrace mode shadow --for 10m`, which lets every frame pass";
            return Response::failed(FailureKind::Unsafe, line);
        }
        let mut state = self.state();
        let now = seconds_now();
        let until = now.saturating_add(for_seconds.unwrap_or(0));
        let ordered = Bypassed { since: now, until, uid };
        let before = state.standing.bypass.replace(ordered.clone());
        let ticket = self.scribe.give(&state.standing);
        drop(state);
        // Unlike a mode, an order that is not on the disk would not end after a power cut.
        if let Err(error) = self.scribe.wait(ticket, DISK) {
            let mut state = self.state();
            // A disk that takes it later gets what was before right behind it.
            if state.standing.bypass.as_ref() == Some(&ordered) {
                state.standing.bypass = before;
                self.scribe.give(&state.standing);
            }
            return Response::failed(FailureKind::Failed, format!("the order could not be written: {error}"));
        }
        self.pulse.order_bypass();
        let wanted = if for_seconds.is_some() { Bypass::On } else { Bypass::Off };
        let asked = Instant::now();
        while self.pulse.bypass() != wanted {
            if asked.elapsed() > PATIENCE {
                let line = "the bypass did not obey its driver; see the log of `vambrace run`";
                return Response::failed(FailureKind::Failed, line);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.look_after_bypass();
        Response::Done
    }

    /// Records what the bypass did.
    pub(super) fn look_after_bypass(&self) {
        let now = self.pulse.bypass();
        let mut known = self.bypassed.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == now {
            return;
        }
        let ordered = self.state().standing.bypass.clone();
        let (uid, length) = ordered.map_or((0, 0), |it| (it.uid, it.until.saturating_sub(it.since)));
        let (state, uid, for_seconds) = match now {
            Bypass::On => ("on", uid, length),
            Bypass::Off => ("off", if length == 0 { uid } else { 0 }, 0),
            Bypass::Failed => ("failed", 0, 0),
        };
        if self.shared.notices.push(Notice::Bypass { state, uid, for_seconds }).is_ok() {
            *known = now;
        }
    }

    /// Puts a mode in force; says which was before, and the number under which the disk gets it.
    fn change_mode(&self, state: &mut State, mode: Mode, back: Option<(String, u64)>, uid: u32) -> (Mode, Ticket) {
        let rules = self.rules();
        let before = rules.mode;
        if mode == Mode::Learn && before != Mode::Learn {
            state.learner = Learner::start(Arc::clone(&self.frames), self.rules()).ok();
            state.learned = None;
            state.before_learning = Some(before);
        }
        self.put(mode, Arc::clone(&rules.policy));
        state.standing.mode = mode.name().to_owned();
        state.standing.mode_until = back;
        state.deadline = deadline(&state.standing);
        let ticket = self.scribe.give(&state.standing);
        let _ = self.shared.notices.push(Notice::Mode { from: before.name(), to: mode.name(), uid });
        tracing::info!(from = before.name(), to = mode.name(), uid, "mode changed");
        (before, ticket)
    }

    fn mode(&self, name: &str, for_seconds: Option<u64>, uid: u32) -> Response {
        let Some(mode) = Mode::named(name) else {
            let known = Mode::ALL.map(Mode::name).join(", ");
            return Response::failed(FailureKind::Usage, format!("unknown mode {name:?}; this version has {known}"));
        };
        let mut state = self.state();
        if mode.judges() && state.standing.policy_text.is_empty() {
            let line = format!(
                "no policy is in force, so {name} would refuse everything; apply one first (`vambrace policy apply FILE`)"
            );
            return Response::failed(FailureKind::Unsafe, line);
        }
        let now = self.rules().mode;
        // A mode that is in force for a while ends with it: what comes after is what came before.
        let after = state.standing.mode_until.as_ref().map_or_else(|| now.name().to_owned(), |(mode, _)| mode.clone());
        let back = for_seconds.map(|seconds| (after, seconds_now().saturating_add(seconds)));
        let (from, ticket) = self.change_mode(&mut state, mode, back, uid);
        drop(state);
        let warnings = self.settle(ticket).into_iter().collect();
        Response::Mode(Outcome { from: from.name().to_owned(), to: mode.name().to_owned(), for_seconds, warnings })
    }

    fn apply(&self, text: String, name: String, uid: u32) -> Response {
        let applying = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.state().standing.generation.saturating_add(1);
        // Seconds, for a large policy with its tests: other orders go on.
        let policy = match plan::compile(&self.config, &name, &text, generation) {
            Ok(policy) => policy,
            Err(failure) => {
                let kind = if failure.code == 3 { FailureKind::Findings } else { FailureKind::Usage };
                return Response::Failed { kind, messages: failure.lines };
            }
        };
        let mut state = self.state();
        let before = (state.standing.policy_name.clone(), state.standing.policy_text.clone());
        state.standing.previous = Some(before);
        state.standing.policy_name = name;
        state.standing.policy_text = text;
        state.standing.generation = generation;
        state.own = Arc::clone(&policy);
        let _ = self.shared.notices.push(Notice::Policy { generation, digest: policy.digest(), uid });
        self.put_tightened(&policy, generation);
        let ticket = self.scribe.give(&state.standing);
        let text = policy_text(&state.standing, &policy, false);
        let mut warnings = self.patches.loaded().pack.doubts(&state.standing.policy_name, &policy, plan::now().wall_ns);
        // It is in force already; others need not wait while its rules are compared and the disk takes it.
        drop(state);
        drop(applying);
        warnings.extend(self.settle(ticket));
        warnings.extend(policy.warnings(plan::now().monotonic_ns).iter().map(ToString::to_string));
        Response::Policy(PolicyText { warnings, ..text })
    }

    /// The order to keep frames is its own record, and what the recorder goes by.
    fn keep_frames(&self, uid: u32) -> Response {
        if self.config.evidence.ring.bytes() == 0 {
            let what = "the box remembers no frames: evidence.ring is \"0 B\"; write a size there, such as \"8 MiB\", and start it again";
            return Response::failed(FailureKind::Failed, what);
        }
        match self.shared.notices.push(Notice::FramesKept { uid }) {
            Ok(()) => Response::Done,
            Err(_) => Response::failed(FailureKind::Failed, "too much waits to be recorded; try again"),
        }
    }

    fn roll_back(&self, uid: u32) -> Response {
        let previous = self.state().standing.previous.clone();
        match previous {
            Some((name, text)) if !text.is_empty() => self.apply(text, name, uid),
            _ => Response::failed(FailureKind::Failed, "there is no policy before this one"),
        }
    }

    fn learn_start(&self, uid: u32) -> Response {
        let mut state = self.state();
        let before = self.rules().mode;
        state.learner = match Learner::start(Arc::clone(&self.frames), self.rules()) {
            Ok(learner) => Some(learner),
            Err(error) => return Response::failed(FailureKind::Failed, format!("learner: {error}")),
        };
        state.learned = None;
        if before != Mode::Learn {
            state.before_learning = Some(before);
            let (_, ticket) = self.change_mode(&mut state, Mode::Learn, None, uid);
            drop(state);
            let _ = self.settle(ticket);
        }
        Response::Learn(Learning { running: true, ..Learning::default() })
    }

    fn learn_stop(&self, uid: u32) -> Response {
        let mut state = self.state();
        let Some(mut learner) = state.learner.take() else {
            // Who asks again has not got the answer, mostly.
            if let Some(learned) = &state.learned {
                return Response::Learn(learned.clone());
            }
            return Response::failed(
                FailureKind::Failed,
                "learning is not running; start it with `vambrace learn start`",
            );
        };
        learner.end();
        let mut learning = learning(&self.config, &learner, false);
        if let Ok(gathered) = learner.gathered().lock() {
            let robot = self.config.robot().map(|robot| robot.name.clone()).unwrap_or_default();
            learning.proposal = gathered.observations.propose(&ProposalOptions {
                robot,
                assets: self.config.assets.iter().map(|asset| (asset.name.clone(), asset.ip)).collect(),
                trust: false,
                lost_frames: gathered.lost,
                made: format!("vambrace {}, live traffic", env!("CARGO_PKG_VERSION")),
                denials: crate::learn::denials(&state.standing.policy_text),
            });
        }
        state.learned = Some(learning.clone());
        if self.rules().mode == Mode::Learn {
            let back = state.before_learning.take().unwrap_or(Mode::Observe);
            let (_, ticket) = self.change_mode(&mut state, back, None, uid);
            drop(state);
            let _ = self.settle(ticket);
        }
        Response::Learn(learning)
    }

    /// Records a step of an update. The updater is root, or asks with the account that this process has; others have
    /// accounts of their own.
    fn update_step(&self, step: &UpdateStep, uid: u32, from_afar: bool) -> Response {
        if from_afar || (uid != 0 && uid != rustix::process::geteuid().as_raw()) {
            return Response::failed(FailureKind::Usage, "only the box's updater tells of its steps");
        }
        let Some(name) = STEPS.into_iter().find(|name| *name == step.step) else {
            let known = STEPS.join(", ");
            return Response::failed(FailureKind::Usage, format!("an update has no step {:?}, but {known}", step.step));
        };
        let notice = Notice::Update {
            step: name,
            from: Text::new(step.from.as_bytes()),
            to: Text::new(step.to.as_bytes()),
            who: Text::new(step.who.as_bytes()),
            why: Text::new(step.why.as_bytes()),
        };
        match self.shared.notices.push(notice) {
            Ok(()) => Response::Done,
            Err(_) => Response::failed(FailureKind::Failed, "too much waits to be recorded; try again"),
        }
    }

    /// Keeps what the management process can't do, for `status`.
    fn console_says(&self, sentences: Vec<String>) -> Response {
        let sentences = sentences.into_iter().take(SENTENCES).map(|it| it.chars().take(300).collect()).collect();
        let mut said = self.console_troubles.lock().unwrap_or_else(PoisonError::into_inner);
        *said = Some((Instant::now(), sentences));
        Response::Done
    }
}

fn policy_text(standing: &Standing, policy: &Policy, with_text: bool) -> PolicyText {
    PolicyText {
        generation: standing.generation,
        name: standing.policy_name.clone(),
        rules: u32::try_from(policy.rules()).unwrap_or(u32::MAX),
        digest: policy.digest().iter().map(|byte| format!("{byte:02x}")).collect(),
        text: if with_text { standing.policy_text.clone() } else { String::new() },
        warnings: Vec::new(),
    }
}

fn learning(config: &Config, learner: &Learner, running: bool) -> Learning {
    let Ok(gathered) = learner.gathered().lock() else { return Learning::default() };
    let named = |address: std::net::IpAddr| {
        let asset = config.assets.iter().find(|asset| asset.ip == address);
        asset.map_or_else(|| address.to_string(), |asset| asset.name.clone())
    };
    let clients: Vec<_> = gathered
        .observations
        .coverage()
        .map(|known| Learned {
            client: named(known.peer),
            egress: known.egress,
            service: known.service.to_string(),
            observations: known.observations,
            behaviours: known.behaviours,
            once: known.once,
            coverage: known.estimate(),
            at_least: known.at_least(),
            saturated: known.is_saturated(),
        })
        .collect();
    Learning {
        denied: gathered.observations.denied_commands(),
        saturated: !clients.is_empty() && clients.iter().all(|client| client.saturated),
        clients,
        running,
        seconds: gathered.started.elapsed().as_secs(),
        commands: gathered.observations.commands(),
        behaviours: gathered.observations.behaviours(),
        proposal: String::new(),
    }
}

/// When a timed mode ends by the clock that nobody sets.
fn deadline(standing: &Standing) -> Option<Instant> {
    let (_, until) = standing.mode_until.as_ref()?;
    Instant::now().checked_add(Duration::from_secs(until.saturating_sub(seconds_now())))
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Orders {
    fn obey(&self, request: Request, uid: u32, from_afar: bool) -> Response {
        match request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Mode { mode, for_seconds } => self.mode(&mode, for_seconds, uid),
            Request::Bypass { for_seconds } => self.bypass(for_seconds, uid),
            Request::PolicyApply { text, name } => self.apply(text, name, uid),
            Request::PolicyRollback => self.roll_back(uid),
            Request::PolicyShow => {
                let state = self.state();
                Response::Policy(policy_text(&state.standing, &self.rules().policy, true))
            }
            Request::LearnStart => self.learn_start(uid),
            Request::LearnStop => self.learn_stop(uid),
            Request::LearnStatus => match &self.state().learner {
                Some(learner) => Response::Learn(learning(&self.config, learner, true)),
                None => Response::Learn(Learning::default()),
            },
            Request::Patches { again } => self.patch_report(again, from_afar),
            Request::KeepFrames => self.keep_frames(uid),
            Request::Capture { .. } => Response::failed(FailureKind::Failed, "a capture is a stream"),
            // Of somebody far away the management process hands out the lines itself; that they were asked for is
            // recorded here.
            Request::Events | Request::EventLines { .. } => {
                Response::Events { directory: self.config.record.directory.display().to_string() }
            }
            // The management process keeps them, and hands them out; here it is recorded.
            Request::Witness { .. }
            | Request::Denied { .. }
            | Request::Given { .. }
            | Request::Diagnostics
            | Request::EvidenceFiles { .. }
            | Request::UpdateStatus
            | Request::UpdatePart { .. }
            | Request::Update { .. }
            | Request::EvidencePart { .. } => Response::Done,
            Request::UpdateStep(step) => self.update_step(&step, uid, from_afar),
            Request::Troubles { sentences } => self.console_says(sentences),
        }
    }
}

/// The record of what somebody asked for over the remote API, and of what became of it.
fn asked(person: &Person, request: &Request, response: &Response) -> Notice {
    let (answer, why) = match (request, response) {
        (Request::Denied { why, .. }, _) => ("denied", why.as_str()),
        (_, Response::Failed { messages, .. }) => ("failed", messages.first().map_or("", String::as_str)),
        _ => ("done", ""),
    };
    Notice::Asked {
        user: Text::new(person.user.as_bytes()),
        role: Text::new(person.role.as_bytes()),
        address: person.address,
        request: Text::new(request.summary().as_bytes()),
        answer,
        why: Text::new(why.as_bytes()),
    }
}

/// A capture of which the records tell.
struct Watched {
    joined: Box<Joined>,
    _recorded: Recorded,
}

impl Stream for Watched {
    fn run(self: Box<Self>, to: &UnixStream, stop: &AtomicBool) -> std::io::Result<()> {
        let Self { joined, _recorded } = *self;
        joined.run(to, stop)
    }
}

/// Tells the records that a capture ends, with its value.
struct Recorded {
    shared: Arc<WorkerShared>,
    uid: u32,
    only_dropped: bool,
    snap: u32,
}

impl Recorded {
    /// Hands the record over; whether there was room.
    fn tell(&self, begins: bool) -> bool {
        let Self { uid, only_dropped, snap, .. } = *self;
        self.shared.notices.push(Notice::Capture { uid, only_dropped, snap, begins }).is_ok()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // The worker takes notices up with every turn: whoever fills the queue does so for a moment.
        for _ in 0..100 {
            if self.tell(false) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        tracing::error!(uid = self.uid, "the end of a capture could not be recorded");
    }
}

impl Handler for Orders {
    fn handle(&self, request: Request, caller: &Caller) -> Response {
        let Some(person) = &caller.person else { return self.obey(request, caller.uid, false) };
        // Nothing is done for somebody far away that could not be recorded.
        if self.shared.notices.is_full() {
            return Response::failed(FailureKind::Failed, "too much waits to be recorded; try again");
        }
        let response = self.obey(request.clone(), caller.uid, true);
        if self.shared.notices.push(asked(person, &request, &response)).is_err() {
            tracing::error!(?person, ?request, "what was asked could not be recorded");
        }
        response
    }

    fn stream(&self, request: &Request, caller: &Caller) -> Option<Result<Box<dyn Stream>, Response>> {
        let Request::Capture { only_dropped, snap } = *request else { return None };
        let refused = |line: String| Response::failed(FailureKind::Failed, line);
        let full = || Some(Err(refused("too much waits to be recorded; try again".to_owned())));
        let joined = self.captures.join(only_dropped, snap).map_err(refused);
        let response = joined.as_ref().map_or_else(Clone::clone, |_| Response::Capture);
        // Nobody looks at frames without a record of it, and of somebody far away it is told who it was.
        if let Some(person) = &caller.person
            && self.shared.notices.push(asked(person, request, &response)).is_err()
        {
            return full();
        }
        let joined = match joined {
            Ok(joined) => joined,
            Err(response) => return Some(Err(response)),
        };
        let recorded = Recorded { shared: Arc::clone(&self.shared), uid: caller.uid, only_dropped, snap };
        if !recorded.tell(true) {
            std::mem::forget(recorded);
            return full();
        }
        tracing::info!(uid = caller.uid, only_dropped, "a capture begins");
        Some(Ok(Box::new(Watched { joined: Box::new(joined), _recorded: recorded })))
    }

    fn trusts(&self, uid: u32) -> bool {
        uid == 0 || self.console_uid == Some(uid)
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
