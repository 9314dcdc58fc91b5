use serde::{Deserialize, Serialize};

use super::patches::PatchReport;

/// Version of requests and responses; another one is refused with a sentence that says so.
pub const VERSION: u32 = 1;

/// What can be asked of a running appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Its state on one screen.
    Status,
    /// Change the mode.
    Mode {
        /// `observe`, `learn`, `shadow`, `enforce` or `lockdown`.
        mode: String,
        /// Back to the mode before after so many seconds; absent = until changed again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_seconds: Option<u64>,
    },
    /// Lead frames past the box, or to it again.
    Bypass {
        /// Past it for so many seconds; absent = to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_seconds: Option<u64>,
    },
    /// Compile a policy, run its tests and put it in force at once, or change nothing.
    PolicyApply {
        /// The policy as TOML.
        text: String,
        /// Where it came from, for messages: a file name.
        name: String,
    },
    /// Put the policy before the last apply in force again, under a new generation.
    PolicyRollback,
    /// The policy in force.
    PolicyShow,
    /// Start to learn: the mode becomes `learn`, earlier observations are dropped.
    LearnStart,
    /// Stop to learn and hand out the proposal; the mode before `learn` is in force again.
    LearnStop,
    /// How far learning is.
    LearnStatus,
    /// Where the event files are, so that a reader can follow them.
    Events,
    /// Show what passes: after the response, the connection carries pcapng until either end closes.
    Capture {
        /// Only what is refused, or outside enforcement would be.
        #[serde(default)]
        only_dropped: bool,
        /// Most bytes of a frame.
        snap: u32,
    },
    /// What became of known attacks when they were tried against the policy in force.
    Patches {
        /// Try them again now, whatever the mode; else what was found last, as the mode makes it.
        #[serde(default)]
        again: bool,
    },
    /// Event lines after a place; only over the remote API, where the folder is not at hand.
    EventLines {
        /// The place as the answer before said it; empty = from the oldest.
        #[serde(default)]
        after: String,
        /// Wait a few seconds for new ones where there are none.
        #[serde(default)]
        wait: bool,
    },
    /// Another box's newest checkpoint, to be kept; only over the remote API.
    Witness {
        /// The signed note.
        checkpoint: String,
    },
    /// Somebody was refused at the remote API: for the records. Only the management process may say so.
    Denied {
        /// What was asked for.
        what: String,
        /// Why it was refused.
        why: String,
    },
}

impl Request {
    /// What is asked for in a few words, for records; nothing longer than a name of a mode or file stands in it.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Status => "status".to_owned(),
            Self::Mode { mode, for_seconds: None } => format!("mode {mode}"),
            Self::Mode { mode, for_seconds: Some(seconds) } => format!("mode {mode} for {seconds} s"),
            Self::Bypass { for_seconds: None } => "bypass off".to_owned(),
            Self::Bypass { for_seconds: Some(seconds) } => format!("bypass on for {seconds} s"),
            Self::PolicyApply { name, .. } => format!("policy apply {name}"),
            Self::PolicyRollback => "policy rollback".to_owned(),
            Self::PolicyShow => "policy show".to_owned(),
            Self::LearnStart => "learn start".to_owned(),
            Self::LearnStop => "learn stop".to_owned(),
            Self::LearnStatus => "learn status".to_owned(),
            Self::Events => "events".to_owned(),
            Self::Patches { again: false } => "patches status".to_owned(),
            Self::Patches { again: true } => "patches test".to_owned(),
            Self::EventLines { .. } => "events".to_owned(),
            Self::Capture { .. } => "capture".to_owned(),
            Self::Witness { .. } => "witness".to_owned(),
            Self::Denied { what, .. } => what.clone(),
        }
    }
}

/// Who asks over the remote API, as the management process knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Name of the user; empty where it is not known.
    pub user: String,
    /// The user's role; empty where it is not known.
    pub role: String,
    /// Where from.
    pub address: std::net::IpAddr,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Answer to [`Request::Status`].
    Status(Box<Status>),
    /// Answer to [`Request::Mode`].
    Mode(Outcome),
    /// Answer to [`Request::PolicyApply`], [`Request::PolicyRollback`] and [`Request::PolicyShow`].
    Policy(PolicyText),
    /// Answer to [`Request::LearnStart`], [`Request::LearnStop`] and [`Request::LearnStatus`].
    Learn(Learning),
    /// Answer to [`Request::Events`].
    Events {
        /// Folder of the event files.
        directory: String,
    },
    /// Answer to [`Request::Capture`]: what follows on the connection is pcapng.
    Capture,
    /// Answer to [`Request::Patches`].
    Patches(Box<PatchReport>),
    /// Answer to [`Request::EventLines`].
    EventLines {
        /// Lines of the event files; none where there are no new ones.
        lines: Vec<String>,
        /// The place behind them.
        after: String,
        /// Whether unread event files were removed, and how many events at most are missing for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<u64>,
    },
    /// It was done, and there is nothing to say of it.
    Done,
    /// It was not done.
    Failed {
        /// What kind of failure; decides the exit code.
        kind: FailureKind,
        /// What, where, and how to mend it; one line an error.
        messages: Vec<String>,
    },
}

impl Response {
    /// A failure with one message.
    #[must_use]
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed { kind, messages: vec![message.into()] }
    }
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself is wrong: unknown mode, policy that does not compile. Exit code 2.
    Usage,
    /// Refused since it would be unsafe now. Exit code 6.
    Unsafe,
    /// A test of the policy failed. Exit code 3.
    Findings,
    /// The management process answers, but the packet process does not. Exit code 5.
    Unreachable,
    /// Anything else. Exit code 1.
    Failed,
}

/// A change of mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Mode before.
    pub from: String,
    /// Mode now.
    pub to: String,
    /// Seconds until it changes back, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyText {
    /// Generation number.
    pub generation: u32,
    /// Where it came from.
    pub name: String,
    /// Number of rules.
    pub rules: u32,
    /// First 8 bytes of the SHA-256 of its text, as hexadecimal digits.
    pub digest: String,
    /// Its text, for `policy show`; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What is worth knowing though it compiles; one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How much of what one client does was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The peer: its name where it has one.
    pub client: String,
    /// Whether the robot opens the connections and commands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub egress: bool,
    /// The service.
    pub service: String,
    /// Commands, or connections where nobody reads them.
    pub observations: u64,
    /// Different behaviours among them.
    pub behaviours: u64,
    /// Behaviours seen once.
    pub once: u64,
    /// How likely the next observation is of a behaviour that was seen (Good-Turing).
    pub coverage: f64,
    /// What that is at least, with 95 % confidence.
    pub at_least: f64,
    /// Whether enough is sure and nothing new came in the second half of the time.
    pub saturated: bool,
}

/// State of learning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// Whether observations are being made.
    pub running: bool,
    /// For how many seconds.
    pub seconds: u64,
    /// Commands seen.
    pub commands: u64,
    /// Different behaviours among them: what would become rules or rows of rules.
    pub behaviours: u64,
    /// Commands that the policy in force denies: nothing is learned from them.
    #[serde(default)]
    pub denied: u64,
    /// Whether every client has shown what it does.
    #[serde(default)]
    pub saturated: bool,
    /// Each client and service.
    #[serde(default)]
    pub clients: Vec<Learned>,
    /// The proposal as TOML, after `stop`; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proposal: String,
}

/// The appliance on one screen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program that runs.
    pub version: String,
    /// Name of the appliance.
    pub host: String,
    /// Mode in force.
    pub mode: String,
    /// Seconds until the mode changes back, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_ends_in_seconds: Option<u64>,
    /// Whether something works less well than configured; each sentence says what and how to mend it.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// Whether frames go past the policy.
    #[serde(default)]
    pub bypassed: bool,
    /// Seconds since the packet process took the wire.
    pub uptime_seconds: u64,
    /// How often the packet process was replaced since the supervisor started.
    pub restarts: u32,
    /// How often the kernel carried every frame, since no packet process judged.
    #[serde(default)]
    pub openings: u64,
    /// Policy in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyText>,
    /// The two ports, plant first.
    #[serde(default)]
    pub ports: Vec<PortStatus>,
    /// Frames and commands since the start.
    #[serde(default)]
    pub traffic: TrafficStatus,
    /// What is known of the robots.
    #[serde(default)]
    pub robots: Vec<RobotStatus>,
    /// RTDE inputs that a connection has in a recipe that the robot accepted: only that one can write them.
    #[serde(default)]
    pub inputs: Vec<InputStatus>,
    /// Virtual patches: the outcome of the last self-test, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<String>,
    /// Exemptions of the policy that last, and those that ended; one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemptions: Vec<String>,
    /// The records.
    #[serde(default)]
    pub records: RecordStatus,
}

/// One RTDE input that a connection has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputStatus {
    /// Name of the input.
    pub input: String,
    /// Address and port of the client.
    pub client: String,
    /// When the robot accepted its set-up, as in RFC 3339.
    pub since: String,
    /// The same in one sentence.
    pub sentence: String,
}

/// One port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// `plant` or `robot`.
    pub role: String,
    /// Interface name.
    pub name: String,
    /// Whether the link is up.
    pub up: bool,
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that the kernel dropped before they were seen.
    pub kernel_drops: u64,
    /// Frames that the port did not take: its queue stayed full, or its cable is out.
    #[serde(default)]
    pub refused: u64,
}

/// Frames and commands since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Frames received on both ports.
    pub frames: u64,
    /// Frames that went on.
    pub forwarded: u64,
    /// Frames that did not.
    pub dropped: u64,
    /// The same by reason, those that occurred.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub dropped_by: std::collections::BTreeMap<String, u64>,
    /// What was given up under overload, and how often.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub shed: std::collections::BTreeMap<String, u64>,
    /// Commands toward the robot that were allowed.
    pub allowed: u64,
    /// Commands that were refused, or would have been in shadow mode.
    pub refused: u64,
    /// Conversations in the flow table.
    pub flows: u64,
    /// Room of the flow table.
    pub flow_room: u64,
    /// Time in the box at the median, in microseconds; 0 while unknown.
    pub p50_us: f64,
    /// Time in the box at the 99th percentile, in microseconds; 0 while unknown.
    pub p99_us: f64,
    /// Longest time in the box, in microseconds; 0 while unknown.
    pub longest_us: f64,
}

/// What is known of one robot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RobotStatus {
    /// Asset name.
    pub name: String,
    /// Address.
    pub ip: String,
    /// `stopped`, `playing`, `paused` or `unknown`.
    pub program: String,
    /// Robot mode by name, or `unknown`.
    pub robot_mode: String,
    /// Safety mode by name, or `unknown`.
    pub safety: String,
    /// `remote`, `local` or `unknown`.
    #[serde(default)]
    pub control: String,
    /// Version of the controller, where it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Age of the youngest of the four in milliseconds, where any was ever seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// The record store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// Folder.
    pub directory: String,
    /// Events written since the start.
    pub written: u64,
    /// Events lost since the start: the queue was full or the disk refused them.
    pub lost: u64,
    /// Copies of refused frames lost since the start.
    pub frames_lost: u64,
    /// Bytes of all record files.
    pub bytes: u64,
    /// Most bytes that they may take.
    pub budget: u64,
    /// Last error of the disk, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
