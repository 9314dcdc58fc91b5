use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dissect::Toward;

use super::learner::{Frames, Learner};
use super::plan;
use super::standing::Standing;
use crate::config::{Config, Side};
use crate::control::{
    FailureKind, Handler, InputStatus, Learning, Outcome, PolicyText, PortStatus, RecordStatus, Request, Response,
    RobotStatus, Status, TrafficStatus,
};
use crate::engine::{Mode, Rules, WorkerShared};
use crate::event::Notice;
use crate::export::Names;
use crate::learn::ProposalOptions;
use crate::policy::Policy;
use crate::record::RecordCounters;

/// Carries out what is ordered over the control socket.
pub(super) struct Orders {
    config: Config,
    shared: Arc<WorkerShared>,
    frames: Arc<Frames>,
    records: Arc<RecordCounters>,
    ports: [String; 2],
    names: Arc<Names>,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    standing: Standing,
    learner: Option<Learner>,
    before_learning: Option<Mode>,
}

impl Orders {
    pub(super) fn new(
        config: &Config,
        standing: Standing,
        shared: Arc<WorkerShared>,
        frames: Arc<Frames>,
        records: Arc<RecordCounters>,
        ports: [String; 2],
        names: Arc<Names>,
    ) -> Arc<Self> {
        let orders = Arc::new(Self {
            config: config.clone(),
            shared,
            frames,
            records,
            ports,
            names,
            begun: Instant::now(),
            state: Mutex::new(State { standing, learner: None, before_learning: None }),
        });
        if orders.shared.rules.load().mode == Mode::Learn {
            let mut state = orders.state();
            state.learner = Learner::start(Arc::clone(&orders.frames), orders.shared.rules.load_full()).ok();
        }
        orders
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

    fn write(&self, standing: &Standing) {
        if let Err(error) = standing.store(&self.config.record.directory) {
            tracing::error!(%error, "standing orders could not be written: a restart goes back to the ones before");
        }
    }

    /// Reads the policy file of the configuration again and puts it in force, or says why not.
    pub(super) fn reload(&self, config_path: &Path) {
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
        if seconds_now() >= until
            && let Some(mode) = Mode::named(&mode)
        {
            self.change_mode(&mut state, mode, None, 0);
        }
    }

    fn change_mode(&self, state: &mut State, mode: Mode, back: Option<(String, u64)>, uid: u32) -> Mode {
        let rules = self.rules();
        let before = rules.mode;
        if mode == Mode::Learn && before != Mode::Learn {
            state.learner = Learner::start(Arc::clone(&self.frames), self.rules()).ok();
            state.before_learning = Some(before);
        }
        self.put(mode, Arc::clone(&rules.policy));
        state.standing.mode = mode.name().to_owned();
        state.standing.mode_until = back;
        self.write(&state.standing);
        let _ = self.shared.notices.push(Notice::Mode { from: before.name(), to: mode.name(), uid });
        tracing::info!(from = before.name(), to = mode.name(), uid, "mode changed");
        before
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
        let back = for_seconds.map(|seconds| (now.name().to_owned(), seconds_now().saturating_add(seconds)));
        let from = self.change_mode(&mut state, mode, back, uid);
        Response::Mode(Outcome { from: from.name().to_owned(), to: mode.name().to_owned(), for_seconds })
    }

    fn apply(&self, text: String, name: String, uid: u32) -> Response {
        let mut state = self.state();
        let generation = state.standing.generation.saturating_add(1);
        let policy = match plan::compile(&self.config, &name, &text, generation) {
            Ok(policy) => policy,
            Err(failure) => {
                let kind = if failure.code == 3 { FailureKind::Findings } else { FailureKind::Usage };
                return Response::Failed { kind, messages: failure.lines };
            }
        };
        let before = (state.standing.policy_name.clone(), state.standing.policy_text.clone());
        state.standing.previous = Some(before);
        state.standing.policy_name = name;
        state.standing.policy_text = text;
        state.standing.generation = generation;
        self.names.set_rules(generation, policy.rule_ids().map(str::to_owned).collect());
        self.put(self.rules().mode, Arc::clone(&policy));
        self.write(&state.standing);
        let _ = self.shared.notices.push(Notice::Policy { generation, digest: policy.digest(), uid });
        let text = policy_text(&state.standing, &policy, false);
        // It is in force already; others need not wait while its rules are compared.
        drop(state);
        let warnings = policy.warnings(plan::now().monotonic_ns).iter().map(ToString::to_string).collect();
        Response::Policy(PolicyText { warnings, ..text })
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
        if before != Mode::Learn {
            state.before_learning = Some(before);
            self.change_mode(&mut state, Mode::Learn, None, uid);
        }
        Response::Learn(Learning { running: true, ..Learning::default() })
    }

    fn learn_stop(&self, uid: u32) -> Response {
        let mut state = self.state();
        let Some(mut learner) = state.learner.take() else {
            return Response::failed(
                FailureKind::Failed,
                "learning is not running; start it with `vambrace learn start`",
            );
        };
        learner.end();
        let mut learning = learning(&learner, false);
        if let Ok(gathered) = learner.gathered().lock() {
            let robot = self.config.robot().map(|robot| robot.name.clone()).unwrap_or_default();
            learning.proposal = gathered.observations.propose(&ProposalOptions {
                robot,
                assets: self.config.assets.iter().map(|asset| (asset.name.clone(), asset.ip)).collect(),
                trust: false,
                lost_frames: gathered.lost,
                made: format!("vambrace {}, live traffic", env!("CARGO_PKG_VERSION")),
            });
        }
        if self.rules().mode == Mode::Learn {
            let back = state.before_learning.take().unwrap_or(Mode::Observe);
            self.change_mode(&mut state, back, None, uid);
        }
        Response::Learn(learning)
    }

    fn status(&self) -> Status {
        let rules = self.rules();
        let state = self.state();
        let snapshot = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counters = &snapshot.counters;
        let sum = |pair: [u64; 2]| pair.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        let port = |role: &str, name: &str, from: Toward, up: bool| PortStatus {
            role: role.to_owned(),
            name: name.to_owned(),
            up,
            received: counters.received.get(from as usize).copied().unwrap_or(0),
            sent: [counters.forwarded, counters.crafted]
                .iter()
                .filter_map(|pair| pair.get(from.reverse() as usize))
                .fold(0, |total, count| total.saturating_add(*count)),
            kernel_drops: snapshot.kernel_drops.get(from as usize).copied().unwrap_or(0),
        };
        let mut degraded = Vec::new();
        for (up, role) in snapshot.up.into_iter().zip(["robot", "plant"]) {
            if !up {
                degraded.push(format!("the {role} port does not work; see `vambrace doctor`"));
            }
        }
        if let Some(error) = self.records.error() {
            degraded.push(format!("records can't be written: {error}"));
        }
        let [robot_up, plant_up] = snapshot.up;
        let [plant, robot] = &self.ports;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            mode: rules.mode.name().to_owned(),
            mode_ends_in_seconds: state
                .standing
                .mode_until
                .as_ref()
                .map(|(_, until)| until.saturating_sub(seconds_now())),
            degraded,
            bypassed: false,
            uptime_seconds: self.begun.elapsed().as_secs(),
            restarts: state.standing.restarts,
            policy: (!state.standing.policy_text.is_empty())
                .then(|| policy_text(&state.standing, &rules.policy, false)),
            ports: vec![port("plant", plant, Toward::Robot, plant_up), port("robot", robot, Toward::Plant, robot_up)],
            traffic: TrafficStatus {
                frames: sum(counters.received),
                forwarded: sum(counters.forwarded).saturating_add(sum(counters.absorbed)),
                dropped: counters.dropped.iter().fold(0, |total, count| total.saturating_add(*count)),
                allowed: counters.commands[0],
                refused: counters.commands[1],
                flows: u64::try_from(snapshot.flows).unwrap_or(0),
                flow_room: u64::try_from(crate::flow::CAPACITY).unwrap_or(0),
                p50_us: microseconds(snapshot.residence_ns[0]),
                p99_us: microseconds(snapshot.residence_ns[1]),
                longest_us: microseconds(snapshot.residence_ns[2]),
            },
            robots: self
                .config
                .assets
                .iter()
                .filter(|asset| asset.side == Side::Robot)
                .map(|asset| robot_status(&asset.name, asset.ip, &snapshot))
                .collect(),
            inputs: snapshot
                .inputs
                .iter()
                .map(|owned| InputStatus {
                    input: owned.input.to_owned(),
                    client: std::net::SocketAddr::new(owned.address, owned.port).to_string(),
                    since: jiff::Timestamp::from_nanosecond(owned.since_ns.into())
                        .unwrap_or_default()
                        .strftime("%Y-%m-%dT%H:%M:%SZ")
                        .to_string(),
                    sentence: owned.to_string(),
                })
                .collect(),
            records: RecordStatus {
                directory: self.config.record.directory.display().to_string(),
                written: self.records.written(),
                lost: self.records.lost(),
                frames_lost: self.records.frames_lost(),
                bytes: self.records.bytes(),
                budget: self.config.record.size_budget.0,
                error: self.records.error(),
            },
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below a second, for people")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

fn robot_status(name: &str, ip: std::net::IpAddr, snapshot: &crate::engine::Snapshot) -> RobotStatus {
    let state = &snapshot.robot;
    let parts = [state.program_at_ns, state.robot_mode_at_ns, state.safety_mode_at_ns, state.control_at_ns];
    let latest = parts.into_iter().max().unwrap_or(0);
    let number = |at: u64, number: i64| if at == 0 { "unknown".to_owned() } else { number.to_string() };
    RobotStatus {
        name: name.to_owned(),
        ip: ip.to_string(),
        program: match state.program {
            1 => "stopped",
            2 => "playing",
            3 => "paused",
            _ => "unknown",
        }
        .to_owned(),
        robot_mode: number(state.robot_mode_at_ns, state.robot_mode.into()),
        safety: number(state.safety_mode_at_ns, state.safety_mode.into()),
        control: match state.control {
            1 => "remote",
            2 => "local",
            _ => "unknown",
        }
        .to_owned(),
        version: (state.version_at_ns != 0).then(|| format!("{}.{}.{}", state.major, state.minor, state.bugfix)),
        age_ms: (latest != 0).then(|| snapshot.now_ns.saturating_sub(latest) / 1_000_000),
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

fn learning(learner: &Learner, running: bool) -> Learning {
    let Ok(gathered) = learner.gathered().lock() else { return Learning::default() };
    Learning {
        running,
        seconds: gathered.started.elapsed().as_secs(),
        commands: gathered.observations.commands(),
        behaviours: gathered.observations.behaviours(),
        proposal: String::new(),
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Handler for Orders {
    fn handle(&self, request: Request, peer_uid: u32) -> Response {
        match request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Mode { mode, for_seconds } => self.mode(&mode, for_seconds, peer_uid),
            Request::PolicyApply { text, name } => self.apply(text, name, peer_uid),
            Request::PolicyRollback => self.roll_back(peer_uid),
            Request::PolicyShow => {
                let state = self.state();
                Response::Policy(policy_text(&state.standing, &self.rules().policy, true))
            }
            Request::LearnStart => self.learn_start(peer_uid),
            Request::LearnStop => self.learn_stop(peer_uid),
            Request::LearnStatus => match &self.state().learner {
                Some(learner) => Response::Learn(learning(learner, true)),
                None => Response::Learn(Learning::default()),
            },
            Request::Events => Response::Events { directory: self.config.record.directory.display().to_string() },
        }
    }
}
