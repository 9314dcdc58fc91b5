use serde::{Deserialize, Serialize};

use super::patches::PatchReport;
use super::update::{UpdateOrder, UpdateStatus, UpdateStep};

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
    /// Keep the frames that the box remembers, and those of the moments after, in the evidence.
    KeepFrames,
    /// What became of known attacks when they were tried against the policy in force.
    Patches {
        /// Try them again now, whatever the mode; else what was found last, as the mode makes it.
        #[serde(default)]
        again: bool,
    },
    /// Event lines after a place; only over the remote API, where the folder is not at hand.
    EventLines {
        /// The place as the answer before said it; empty = from the oldest, `end` = what comes from now on.
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
    /// The files of evidence; only over the remote API.
    EvidenceFiles {
        /// Segments with a number above this one; 0 = all of them, and the public files beside them.
        #[serde(default)]
        after: u64,
    },
    /// Bytes of a file of evidence; only over the remote API.
    EvidencePart {
        /// Its name.
        file: String,
        /// From which byte on.
        from: u64,
    },
    /// The configuration and the log, without secrets; only over the remote API.
    Diagnostics,
    /// How updates of the appliance stand; only over the remote API, where its files are not at hand.
    UpdateStatus,
    /// Bytes of an update bundle; only over the remote API. The first part begins it anew.
    UpdatePart {
        /// Where in the bundle they stand.
        from: u64,
        /// The bytes, in base64.
        base64: String,
    },
    /// An order to the updater; only over the remote API.
    Update {
        /// What.
        order: UpdateOrder,
        /// Although a program runs on the robot, or may.
        #[serde(default)]
        now: bool,
    },
    /// A step of an update: for the records. Only the appliance's updater may say so.
    UpdateStep(UpdateStep),
    /// Somebody was given something over the remote API: for the records. Only the management process may say so.
    Given {
        /// What, and how much of it.
        what: String,
    },
    /// What the management process can't do, until it says something else or nothing for a while. Only it may say so.
    Troubles {
        /// One sentence each.
        sentences: Vec<String>,
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
    /// Whether only the management process may ask for it.
    #[must_use]
    pub fn is_of_the_console(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Given { .. } | Self::Troubles { .. })
    }

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
            Self::KeepFrames => "evidence keep".to_owned(),
            Self::Patches { again: false } => "patches status".to_owned(),
            Self::Patches { again: true } => "patches test".to_owned(),
            Self::EventLines { .. } => "events".to_owned(),
            Self::Capture { only_dropped: false, .. } => "capture".to_owned(),
            Self::Capture { only_dropped: true, .. } => "capture of refused frames".to_owned(),
            Self::EvidenceFiles { .. } | Self::EvidencePart { .. } => "evidence".to_owned(),
            Self::Diagnostics => "diagnostics".to_owned(),
            Self::UpdateStatus => "update status".to_owned(),
            Self::UpdatePart { .. } => "update bundle".to_owned(),
            Self::Update { order, now: false } => format!("update {}", order.name()),
            Self::Update { order, now: true } => format!("update {} --now", order.name()),
            Self::UpdateStep(_) => "update record".to_owned(),
            Self::Given { what } => what.clone(),
            Self::Troubles { .. } => "troubles".to_owned(),
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
    /// Answer to [`Request::EvidenceFiles`].
    EvidenceFiles {
        /// Files in the order of their numbers, each with its length now.
        files: Vec<EvidenceFile>,
        /// Whether there are more segments behind the last one.
        #[serde(default)]
        more: bool,
    },
    /// Answer to [`Request::EvidencePart`].
    EvidencePart {
        /// The bytes, in base64; none at the file's end.
        base64: String,
    },
    /// Answer to [`Request::Diagnostics`].
    Diagnostics {
        /// What the box tells of itself.
        texts: Vec<DiagnosticText>,
    },
    /// Answer to [`Request::UpdateStatus`].
    Update(Box<UpdateStatus>),
    /// Answer to [`Request::Update`]: it was left for the updater.
    UpdateOrdered {
        /// The mark by which the answer is known in [`UpdateStatus::order`].
        mark: String,
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

/// A text for those who help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticText {
    /// Its name, without folders.
    pub name: String,
    /// What it says, without secrets.
    pub text: String,
}

/// A file of the evidence store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceFile {
    /// Its name, without folders.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
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
    /// What is not as it should be, such as a disk that has not taken it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
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
    /// Whether the kernel holds its wall clock for synchronised; absent where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// Seconds since the packet process took the wire.
    pub uptime_seconds: u64,
    /// How often the packet process was replaced since the supervisor started.
    pub restarts: u32,
    /// How the worker waits for frames: `busy`, `adaptive` or `blocking`.
    #[serde(default)]
    pub polling: String,
    /// Milliseconds that the worker slept since the packet process took the wire, with nothing to do.
    #[serde(default)]
    pub slept_ms: u64,
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
    /// Who is kept out for a while, after too many refused commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<QuarantineStatus>,
    /// Virtual patches: the outcome of the last self-test, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches: Option<String>,
    /// Exemptions of the policy that last, and those that ended; one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exemptions: Vec<String>,
    /// The records.
    #[serde(default)]
    pub records: RecordStatus,
    /// The conversations that brought something last, at most 64; of periodic ones with whose jitter it was.
    #[serde(default)]
    pub conversations: Vec<ConversationStatus>,
    /// Late frames of periodic streams since the start, by where they lost their time: `client`, `network`, `plant`
    /// (client or network), `robot`, `box`.
    #[serde(default)]
    pub late: std::collections::BTreeMap<String, u64>,
    /// Those of them that were as late as is told of.
    #[serde(default)]
    pub late_alarms: u64,
}

/// One conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConversationStatus {
    /// Address and port of the end on the plant's side.
    pub client: String,
    /// Address and port of the end on the robot's side.
    pub robot: String,
    /// Its asset name, or its address.
    pub client_name: String,
    /// The same of the robot's side.
    pub robot_name: String,
    /// The service.
    pub service: String,
    /// The side that was called: `robot` or `plant`.
    pub opened_toward: String,
    /// For how many seconds it lasts.
    pub age_seconds: u64,
    /// Milliseconds since something new came from either end.
    pub silent_ms: u64,
    /// Frames toward the robot and toward the plant.
    pub frames: [u64; 2],
    /// Bytes on the wire toward the robot and toward the plant.
    pub bytes: [u64; 2],
    /// Commands allowed and refused.
    pub commands: [u64; 2],
    /// Its periodic directions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamStatus>,
}

/// The frames of a conversation that travel one way with a period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Where they travel to: `robot` or `plant`.
    pub toward: String,
    /// Frames that brought something new.
    pub frames: u64,
    /// The usual time between two, in microseconds.
    pub period_us: f64,
    /// Time between two at the port where they come in.
    pub entry: TimesStatus,
    /// Time between two at the port where they go out.
    pub exit: TimesStatus,
    /// Time in the box.
    pub in_the_box: TimesStatus,
    /// Longest time between two at either port in this or the last second, in microseconds.
    pub worst_us: f64,
    /// Late frames, more than a quarter of a period, by where they lost their time; those that occurred.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub late: std::collections::BTreeMap<String, u64>,
    /// Late frames that only answered a late frame of the other side.
    pub followed: u64,
    /// Silences of more than a second that the sender chose.
    pub pauses: u64,
    /// Silences that were told of while they lasted.
    #[serde(default)]
    pub silences: u64,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimesStatus {
    /// Half of them are no longer.
    pub p50_us: f64,
    /// 99 of 100 are no longer.
    pub p99_us: f64,
    /// The longest.
    pub longest_us: f64,
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

/// A sender in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineStatus {
    /// Asset name, or the address where it has none.
    pub client: String,
    /// Its address.
    pub address: String,
    /// Its MAC: frames of the same address with another one are not kept out.
    pub mac: String,
    /// When it began, as in RFC 3339.
    pub since: String,
    /// When it ends, as in RFC 3339.
    pub until: String,
    /// Until it ends.
    pub seconds_left: u64,
    /// Refused commands that led to it.
    pub refusals: u64,
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

/// One file that keeps checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessStatus {
    /// Its path.
    pub path: String,
    /// Seconds since it took a checkpoint; absent where it has taken none since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_one_seconds_ago: Option<u64>,
    /// What its medium refuses with, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
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
    /// Records and copies of frames that are missing in the evidence since the start, for whatever reason.
    #[serde(default)]
    pub evidence_lost: u64,
    /// Frames kept around refusals and on request.
    #[serde(default)]
    pub frames_around: u64,
    /// Frames that would have been kept so, for which there was no budget or no time.
    #[serde(default)]
    pub frames_missed: u64,
    /// Files on other media that keep checkpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessStatus>,
    /// Bytes of all record files.
    pub bytes: u64,
    /// Most bytes that they may take.
    pub budget: u64,
    /// Last error of the disk, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
