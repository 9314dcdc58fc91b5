use std::fmt;
use std::net::{IpAddr, SocketAddr};

use dissect::Toward;
use link::FlowKey;

use crate::command::{Class, Service};
use crate::event::{Reason, RobotContext, RtdeFields, Text, Verdict, Whose};

/// Identity of an event: a number that grows by one an event, from 1, over the life of a record store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u64);

/// One event with its time.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// Monotonic clock of the box in nanoseconds; orders events.
    pub monotonic_ns: u64,
    /// Wall clock in nanoseconds since 1970: the kernel's or the capture's stamp of the frame that caused it.
    pub wall_ns: u64,
    /// Number of the frame that caused it, counted from 1 over both ports; 0 where a timer did.
    pub frame: u64,
    /// What happened.
    pub record: Record,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "records are made where nothing may be allocated; most are commands")]
pub enum Record {
    /// A unit toward the robot, or of the robot's own toward a device, was judged.
    Command(CommandRecord),
    /// An answer to an earlier command came by; the recorder pairs it with the command's record.
    Answer(Answer),
    /// The robot said something to all who listen.
    Message(MessageRecord),
    /// A frame was refused below the level of commands.
    Frame(FrameRecord),
    /// A connection or exchange ended, or is reported while it lasts.
    Flow(FlowRecord),
    /// Something about the box or the wire that is no verdict.
    Notice(Notice),
}

impl Record {
    /// Puts either end on its own side of the box, whichever way the conversation was looked at.
    pub fn unmirror(&mut self) {
        let key = match self {
            Self::Command(CommandRecord { key, .. })
            | Self::Answer(Answer { key, .. })
            | Self::Message(MessageRecord { key, .. })
            | Self::Flow(FlowRecord { key, .. })
            | Self::Notice(
                Notice::Anomaly { key, .. }
                | Notice::Unreadable { key, .. }
                | Notice::Late { key, .. }
                | Notice::Silent { key, .. },
            ) => key,
            Self::Frame(_) | Self::Notice(_) => return,
        };
        if !key.is_mirrored() {
            return;
        }
        *key = key.unmirrored();
        match self {
            Self::Command(command) => command.opened = command.opened.reverse(),
            Self::Flow(flow) => {
                flow.opened = flow.opened.reverse();
                flow.frames.reverse();
                flow.bytes.reverse();
            }
            _ => {}
        }
    }
}

/// Bytes of a unit that a record keeps: all of whatever is no text of URScript (the longest Modbus unit has 260).
pub const UNIT: usize = 272;

/// A unit and its verdict.
#[derive(Clone, Copy, Debug)]
pub struct CommandRecord {
    /// The conversation.
    pub key: FlowKey,
    /// Who opened the connection: `Toward::Robot` = the plant side did.
    pub opened: Toward,
    /// The service.
    pub service: Service,
    /// The gravest class of the unit.
    pub class: Class,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the mode enforced the verdict; otherwise a refusal was only noted and the unit went on.
    pub enforced: bool,
    /// Length of the unit in bytes.
    pub len: u32,
    /// Its first bytes.
    pub unit: Text<UNIT>,
    /// What was known of the robot.
    pub robot: RobotContext,
    /// What it said.
    pub detail: Detail,
}

impl CommandRecord {
    /// The side that the unit travels to: the plant's where the robot commands a device of the plant.
    #[must_use]
    pub fn toward(&self) -> Toward {
        self.service.commands_toward(self.opened)
    }

    /// Spells out what was left for later: off the packet path, before anybody reads the record.
    pub fn spell_out(&mut self) {
        if let Detail::RtdeData { recipe, fields } = self.detail {
            let text = fields.spell(self.unit.as_bytes());
            self.detail = Detail::Rtde { package: rtde::PackageType::Data as u8, recipe, text, in_use: None };
        }
    }
}

/// What a unit said, by service.
#[derive(Clone, Copy, Debug)]
pub enum Detail {
    /// A Modbus request.
    Modbus(ModbusDetail),
    /// An RTDE package: type byte, recipe id (0 = none), names and values as text.
    Rtde {
        /// Type byte of the package.
        package: u8,
        /// Recipe id of a data package.
        recipe: u8,
        /// `name` or `name=value`, comma-separated.
        text: Text<160>,
        /// An input that was refused since another connection has it.
        in_use: Option<InUse>,
    },
    /// An RTDE data package that was allowed: what its values are, which lie in the record's unit.
    RtdeData {
        /// Recipe id.
        recipe: u8,
        /// Its fields.
        fields: RtdeFields,
    },
    /// A Dashboard line.
    Dashboard {
        /// Verb of the command table, or empty.
        verb: &'static str,
        /// The whole line.
        text: Text<160>,
    },
    /// A URScript unit.
    UrScript {
        /// Kind of unit.
        kind: urscript::Kind,
        /// SHA-256 over its tokens.
        token_hash: [u8; 32],
        /// Name of a program; otherwise the first characters of the unit.
        text: Text<96>,
        /// Functions called that are not local, comma-separated, each once.
        functions: Text<96>,
    },
    /// A record or text of external control.
    ExternalControl {
        /// The socket.
        channel: external_control::Channel,
        /// Mode, kind or function; `program` for a text.
        name: &'static str,
        /// `name=value` pairs, comma-separated; of a text its hash and length.
        text: Text<160>,
    },
    /// A transport-level command: only its service.
    Transport,
    /// Bytes that no dissector could read.
    Unreadable {
        /// The field that was wrong.
        field: &'static str,
        /// Where, in bytes from the unit's start.
        offset: u32,
        /// The first bytes of the unit.
        bytes: Text<32>,
    },
}

/// A Modbus request in a record.
#[derive(Clone, Copy, Debug)]
pub struct ModbusDetail {
    /// Transaction identifier.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: u8,
    /// Function code.
    pub function: u8,
    /// Sub-function or MEI type.
    pub sub_function: Option<u16>,
    /// Address and quantity read.
    pub read: Option<(u16, u16)>,
    /// Address and quantity written.
    pub write: Option<(u16, u16)>,
    /// The first values written.
    pub values: [u16; 16],
    /// How many of `values` count.
    pub values_len: u8,
}

/// An answer, paired by the recorder.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The command's event; `EventId(0)` where nothing outstanding fits.
    pub to: EventId,
    /// The conversation.
    pub key: FlowKey,
    /// The service.
    pub service: Service,
    /// Modbus exception code, or 0.
    pub exception: u8,
    /// The first values read (Modbus registers or bits).
    pub values: [u16; 16],
    /// How many of `values` count.
    pub values_len: u8,
    /// Text answers: Dashboard replies, RTDE types, interpreter acknowledgements.
    pub text: Text<96>,
    /// Id of the RTDE recipe that the answer is about; 0 = none.
    pub recipe: u8,
    /// The first RTDE input that the robot called in use, with the connection that has it.
    pub in_use: Option<InUse>,
}

/// An RTDE input that a connection has in a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Name of the input.
    pub input: &'static str,
    /// Address of the client that has it.
    pub address: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Since when, nanoseconds since 1970.
    pub since_ns: u64,
}

impl fmt::Display for InUse {
    /// `speed_slider_mask is owned by 10.0.0.21:40112 since 12:03:11 UTC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = SocketAddr::new(self.address, self.port);
        let seconds = (self.since_ns / 1_000_000_000) % 86_400;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{} is owned by {client} since {hours:02}:{minutes:02}:{seconds:02} UTC", self.input)
    }
}

/// Something that the robot said to all who listen on its primary interface. It is no answer, and no word of it is proof.
#[derive(Clone, Copy, Debug)]
pub struct MessageRecord {
    /// The conversation that it came by.
    pub key: FlowKey,
    /// The service.
    pub service: Service,
    /// What it is.
    pub said: Said,
    /// Its words: title and text.
    pub text: Text<96>,
    /// How many were not reported since the last report.
    pub unreported: u32,
}

/// What a robot says. Numbers are the controller's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// A text of its program.
    Text,
    /// A window for people.
    Popup {
        /// Whether it warns or tells of an error; absent where the layout is not known.
        grave: Option<bool>,
    },
    /// Which controller it is.
    Version {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
        /// Bugfix version.
        bugfix: i32,
    },
    /// The mode of the safety system changed.
    SafetyMode {
        /// Code.
        code: i32,
        /// Its argument.
        argument: i32,
        /// The mode, as RTDE numbers it.
        mode: Option<i8>,
    },
    /// An error or a warning.
    ErrorCode {
        /// Code.
        code: i32,
        /// Its argument.
        argument: i32,
        /// How grave it is.
        level: Option<u8>,
    },
    /// Something that happened, by a key.
    Key {
        /// Code.
        code: i32,
        /// Its argument.
        argument: i32,
    },
    /// A program failed.
    RuntimeException {
        /// Line of the program.
        line: i32,
        /// Column.
        column: i32,
    },
}

impl Said {
    /// The word for it in records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Popup { .. } => "popup",
            Self::Version { .. } => "version",
            Self::SafetyMode { .. } => "safety_mode",
            Self::ErrorCode { .. } => "error_code",
            Self::Key { .. } => "key",
            Self::RuntimeException { .. } => "runtime_exception",
        }
    }
}

/// A frame refused below the level of commands.
#[derive(Clone, Copy, Debug)]
pub struct FrameRecord {
    /// The direction it travelled.
    pub toward: Toward,
    /// The conversation, where it has one.
    pub key: Option<FlowKey>,
    /// Source and destination MAC.
    pub macs: (link::Mac, link::Mac),
    /// EtherType after tags.
    pub ether_type: u16,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the mode enforced it.
    pub enforced: bool,
    /// How many alike were not reported since the last report of this reason.
    pub repeats: u32,
}

/// A conversation.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Both ends.
    pub key: FlowKey,
    /// Who opened it.
    pub opened: Toward,
    /// Its service.
    pub service: Service,
    /// First frame, nanoseconds since 1970.
    pub start_ns: u64,
    /// Last frame, nanoseconds since 1970.
    pub end_ns: u64,
    /// Frames toward the robot and toward the plant.
    pub frames: [u64; 2],
    /// Bytes on the wire toward the robot and toward the plant.
    pub bytes: [u64; 2],
    /// Units that were allowed and refused.
    pub commands: [u64; 2],
    /// How it ended.
    pub end: FlowEnd,
    /// Reason of a refusal that ended it.
    pub reason: Reason,
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// Both FINs.
    Closed,
    /// A reset by one of the ends.
    Reset,
    /// The box ended it.
    Refused,
    /// Idle too long.
    TimedOut,
    /// The box stopped watching (end of run or of capture) while it lasted.
    Lasting,
}

/// Something about the box or the wire.
#[derive(Clone, Copy, Debug)]
pub enum Notice {
    /// The packet process took the wire.
    Started,
    /// It did so in the place of another one that ended unasked.
    Replaced {
        /// How that one ended: `signal`, `exit`, `hang` (its worker moved no more) or `never_began`.
        how: &'static str,
        /// How many ended so since the supervisor started.
        restarts: u32,
    },
    /// While no packet process judged, the kernel carried every frame.
    Opened {
        /// For how many milliseconds.
        for_ms: u64,
    },
    /// The hardware that leads frames past the box was switched, or failed.
    Bypass {
        /// What it does: `on`, `off` or `failed`.
        state: &'static str,
        /// Uid of who asked; 0 where it ended by itself.
        uid: u32,
        /// For how many seconds it was ordered; 0 where it is not on.
        for_seconds: u64,
    },
    /// The mode changed.
    Mode {
        /// From.
        from: &'static str,
        /// To.
        to: &'static str,
        /// Uid of who asked.
        uid: u32,
    },
    /// Another policy is in force.
    Policy {
        /// Its generation.
        generation: u32,
        /// First bytes of the SHA-256 of its text.
        digest: [u8; 8],
        /// Uid of who asked.
        uid: u32,
    },
    /// Somebody asked for something over the remote API.
    Asked {
        /// Name of the user; empty where it is not known.
        user: Text<32>,
        /// The user's role; empty where it is not known.
        role: Text<12>,
        /// Where from.
        address: IpAddr,
        /// What was asked for.
        request: Text<48>,
        /// What became of it: `done`, `failed` or `denied`.
        answer: &'static str,
        /// Why it failed or was denied.
        why: Text<64>,
    },
    /// A step of an update of the appliance.
    Update {
        /// `refused`, `begun`, `written`, `tried`, `committed` or `reverted`.
        step: &'static str,
        /// The version before.
        from: Text<24>,
        /// The version that was to come; empty where no bundle said so.
        to: Text<24>,
        /// Who ordered it.
        who: Text<48>,
        /// Why.
        why: Text<80>,
    },
    /// Other virtual patches have their deny rules in force, beside the policy.
    Patches {
        /// Version of the pack.
        pack: u32,
        /// How many of its entries have rules in force.
        in_force: u16,
        /// Generation of the policy with them.
        generation: u32,
        /// The controller's version that they were chosen for; absent where it was not seen.
        version: Option<(u8, u8, i32)>,
    },
    /// Known attacks were tried against the policy in force, off the wire.
    PatchTest {
        /// Entries of which nothing would have come through.
        protected: u16,
        /// Entries of which something would have.
        not_protected: u16,
        /// Entries that are not about this controller.
        not_applicable: u16,
        /// Entries whose attack does not pass the box.
        not_containable: u16,
        /// Entries that were not tried in time.
        untested: u16,
    },
    /// A response that answers nothing, or a server answer outside its protocol.
    Anomaly {
        /// The conversation.
        key: FlowKey,
        /// The service.
        service: Service,
        /// What.
        what: &'static str,
    },
    /// A conversation can't be read further; nothing is enforced on it outside enforcement.
    Unreadable {
        /// The conversation.
        key: FlowKey,
        /// Why.
        reason: Reason,
    },
    /// A frame of a regular stream came, or left, so late that who waits for it may soon give up.
    Late {
        /// The conversation.
        key: FlowKey,
        /// The service.
        service: Service,
        /// The direction it travelled.
        toward: Toward,
        /// Where it lost its time.
        whose: Whose,
        /// Time since the frame before it in this direction, nanoseconds: at the port where that was longer.
        interval_ns: u64,
        /// The usual time between two, nanoseconds.
        period_ns: u64,
        /// How long it was in the box, nanoseconds; 0 where it did not leave by itself.
        residence_ns: u64,
        /// How many as late as this were not told of since the last of this direction.
        unreported: u32,
    },
    /// Nothing comes of a regular stream, and who waits for it may soon give up; or the silence is over.
    Silent {
        /// The conversation.
        key: FlowKey,
        /// The service.
        service: Service,
        /// The direction that is silent.
        toward: Toward,
        /// For how long, nanoseconds.
        silent_ns: u64,
        /// The usual time between two frames, nanoseconds.
        period_ns: u64,
        /// Whether it is over, and nobody was late: the sender had stopped, or had nothing to answer. Of a silence that
        /// ends in a late frame [`Notice::Late`] tells.
        over: bool,
    },
    /// Somebody is kept out for a while, after too many refused commands.
    Quarantine {
        /// Its address.
        address: IpAddr,
        /// Its MAC.
        mac: link::Mac,
        /// For how long, in nanoseconds.
        for_ns: u64,
    },
    /// Somebody's refused commands can't be counted, as every place is that of somebody who is kept out: each of them ends
    /// a connection meanwhile.
    QuarantineFull {
        /// Its address.
        address: IpAddr,
        /// Its MAC.
        mac: link::Mac,
        /// Until there is a place again, in nanoseconds.
        for_ns: u64,
    },
    /// Somebody tried one port after another, and was refused each.
    Scan {
        /// Its address.
        address: IpAddr,
        /// Its MAC.
        mac: link::Mac,
        /// How many different ports within ten seconds, at least.
        ports: u32,
    },
    /// Somebody asked that the frames which the box remembers be kept in the evidence.
    FramesKept {
        /// Uid of who asked.
        uid: u32,
    },
    /// Somebody begins to watch what passes, or ends.
    Capture {
        /// Uid of who asked.
        uid: u32,
        /// Whether only refused frames are shown.
        only_dropped: bool,
        /// Most bytes of a frame that are shown.
        snap: u32,
        /// Whether it begins.
        begins: bool,
    },
    /// Records were lost because the hand-off queue was full.
    RecordsLost {
        /// How many.
        count: u64,
    },
    /// More came than could be done: something is given up, or nothing any more.
    Overload {
        /// What is given up last; all before it in [`Shed::ALL`] is as well.
        shed: Shed,
        /// At the end of an overload, how often each was given up in it.
        counts: [u64; 5],
    },
    /// A device's broadcasts come in at both ports: the two sides are joined past the box.
    Loop {
        /// The device's MAC.
        mac: link::Mac,
    },
    /// A port's link or state changed.
    Port {
        /// `Toward::Robot` = the robot port.
        side: Toward,
        /// Whether it works now.
        up: bool,
    },
    /// The wall clock jumped against the monotonic one.
    ClockJump {
        /// By how much, in nanoseconds.
        by_ns: i64,
    },
}

/// What is given up under overload, in this order. Verdicts are not among it: what can't be judged is not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shed {
    /// Nothing.
    Nothing = 0,
    /// Details of metrics: how long frames were in the box.
    Detail = 1,
    /// Frames for the learner.
    Samples = 2,
    /// Payload of refused frames in the records; their headers stay.
    Payload = 3,
    /// Records of connections, of which one in sixteen stays.
    Flows = 4,
    /// Broadcasts, and datagrams that nobody reads, while enforcing.
    Unenforced = 5,
}

impl Shed {
    /// What is given up, in order.
    pub const ALL: [Self; 5] = [Self::Detail, Self::Samples, Self::Payload, Self::Flows, Self::Unenforced];

    /// What is given up last after so many steps.
    #[must_use]
    pub fn step(steps: usize) -> Self {
        steps.checked_sub(1).and_then(|at| Self::ALL.get(at.min(4))).copied().unwrap_or(Self::Nothing)
    }

    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Detail => "detail",
            Self::Samples => "samples",
            Self::Payload => "payload",
            Self::Flows => "flows",
            Self::Unenforced => "unenforced",
        }
    }
}
