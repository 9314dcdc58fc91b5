//! From bytes to commands: picks a dissector by service, keeps its session, wraps units as [`Command`]s.

mod answer;
mod handed;
mod refusal;
mod stream;

pub use answer::{Reading, Told, read_answer};
pub use refusal::{MAX_ANSWER, Refusal, answers_framed, answers_read, refusal_answer};
pub use stream::MAX_READ;

use dissect::{DissectError, Step, Toward};
use external_control::{Channel, Motion, Order, Point, Record};
use urscript::{Dialect, Scanner};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::{Command, External, Service, Socket};
use handed::Handed;

/// Commands of one connection whose tags are kept until their answer, where answers come in order (Dashboard,
/// interpreter, and RTDE's set-ups of inputs among themselves).
const PENDING: u32 = 16;

/// Time between two pieces of a unit. Source: RFC 6298: a sender whose time-out begins with a second repeats for the third
/// time after 7 s; a sender that is silent for longer is gone.
pub const PATIENCE_NS: u64 = 10_000_000_000;

/// The ports that send what 30001 to 30003 send, and take nothing. Source: UR, "Remote Control Via TCP/IP".
const SENDS_ONLY: std::ops::RangeInclusive<u16> = 30011..=30013;

/// The port of the interpreter. Source: UR script manual, chapter on interpreter mode.
const INTERPRETER: u16 = 30020;

/// The Dashboard's question whether the robot is in remote control, whose answer is a bare word.
const REMOTE_CONTROL: &str = "is in remote control";

/// The Dashboard's question for the version, whose answer is told from other text only by its question.
const VERSION: &str = "polyscopeversion";

/// What the dissectors know of one connection. Plain data; all zero when new.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Session {
    pub(crate) rtde: rtde::Session,
    pub(crate) modbus: modbus::Session,
    scanner: Scanner,
    pub(crate) pending: Pending,
    /// Tag of the newest Modbus request that was answered. Tags grow.
    answered: u64,
    /// Modbus requests whose answer is no longer waited for, as more were outstanding than are kept.
    forgotten: u64,
    /// Whether a line of the robot was seen on a Dashboard connection; the first is its greeting.
    greeted: u32,
    /// The socket of external control, as its channel's number, and the integers a record; 0 = it is none.
    channel: u32,
    fields: u32,
    /// The robot's port, which says what it sends on a URScript connection; 0 = not known.
    port: u32,
    /// Bytes still to come of a package that is only stepped over.
    skip: u32,
    /// Explicit padding.
    reserved: u32,
    handed: Handed,
}

impl Session {
    /// A session that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rtde: rtde::Session::new(),
            modbus: modbus::Session::new(),
            scanner: Scanner::default(),
            pending: Pending::default(),
            answered: 0,
            forgotten: 0,
            greeted: 0,
            channel: 0,
            fields: 0,
            port: 0,
            skip: 0,
            reserved: 0,
            handed: Handed::NOTHING,
        }
    }

    /// A session of a connection to the robot's `port`. On a URScript port the robot speaks first, and what it speaks
    /// depends on the port.
    #[must_use]
    pub fn of_port(port: u16) -> Self {
        Self { port: port.into(), ..Self::new() }
    }

    /// The session once bytes toward the robot were missed: what it knew of commands and their answers is gone. Streams
    /// that answer nothing go on where they stood.
    #[must_use]
    pub fn without_commands(&self) -> Self {
        Self { port: self.port, skip: self.skip, channel: self.channel, fields: self.fields, ..Self::new() }
    }

    /// Notes that the connection is a socket of external control.
    pub fn begin(&mut self, socket: Socket) {
        self.channel = u32::from(socket.channel as u8);
        self.fields = u32::try_from(socket.fields).unwrap_or(0);
    }

    /// The socket of external control that the connection is, if it is one.
    #[must_use]
    pub fn channel(&self) -> Option<Channel> {
        u8::try_from(self.channel).ok().and_then(Channel::of_number)
    }

    /// Looks for one unit of external control at the start of `bytes`. Of a text that is not `held` every part counts as a
    /// unit without meaning, until it is over ([`Session::text_over`]); one that is held is whole where it is `known`.
    ///
    /// # Errors
    /// The bytes begin no unit: the integers a record are too few for what they mean. Final for the connection.
    pub fn external<'b>(
        &mut self,
        bytes: &'b [u8],
        held: bool,
        known: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<Step<Option<External<'b>>>, DissectError> {
        let channel = self.channel().ok_or(DissectError::unsupported("external control socket", 0))?;
        if channel == Channel::Script {
            if !held {
                self.handed.add(bytes);
                return Ok(Step::Whole { unit: None, len: bytes.len() });
            }
            return Ok(match self.handed.find(bytes, known) {
                Some((len, digest)) => {
                    let text = External::Text { digest, len: u32::try_from(len).unwrap_or(u32::MAX) };
                    Step::Whole { unit: Some(text), len }
                }
                None => Step::Partial { needed: bytes.len().saturating_add(1) },
            });
        }
        let (record, len) = match Record::step(bytes, self.fields as usize)? {
            Step::Partial { needed } => return Ok(Step::Partial { needed }),
            Step::Whole { unit, len } => (unit, len),
        };
        let unit = match channel {
            Channel::Reverse => External::Motion(Motion::read(&record)?),
            Channel::Trajectory => External::Point(Point::read(&record)?),
            Channel::Script | Channel::ScriptCommand => External::Order(Order::read(&record)?),
        };
        Ok(Step::Whole { unit: Some(unit), len })
    }

    /// Whether a part of a text was handed over unjudged: no later border of this connection can be trusted.
    #[must_use]
    pub fn text_under_way(&self) -> bool {
        self.handed.is_under_way()
    }

    /// The hash of the text that is coming, as far as it came.
    #[must_use]
    pub fn text_digest(&self) -> [u8; 32] {
        self.handed.digest()
    }

    /// A text that was handed over is over: the robot asks again, or the connection ends.
    pub fn text_over(&mut self) -> Option<External<'static>> {
        self.handed.take().map(|(len, digest)| External::Text { digest, len })
    }

    /// How many replies of the robot are still to come before an answer of the box stands in order: those to commands
    /// that were let through, and on a Dashboard connection the greeting. Modbus and RTDE say themselves what they
    /// answer, but clients that read one reply after the other are the rule.
    ///
    /// It errs toward too many, as an answer that comes late or not at all misleads nobody: a blank line on the
    /// interpreter's port counts, though it is not known to be answered. Too few only of more than 16 Modbus requests,
    /// where the latest 16 count, and if the interpreter should answer a line of several statements with several lines.
    #[must_use]
    pub fn outstanding(&self, service: Service) -> u32 {
        match service {
            // Those before one that was answered were left out: a server answers in order or not at all.
            Service::Modbus => {
                let waiting = self.modbus.tags().filter(|tag| *tag >= self.answered).count();
                u32::try_from(waiting).unwrap_or(u32::MAX)
            }
            Service::Rtde => self.rtde.outstanding(),
            Service::Dashboard => {
                let greets = self.greeted == 0 && self.port != u32::from(robot_api::PORT);
                self.pending.count().saturating_add(u32::from(greets))
            }
            // Nothing is ever pending on 30001-30003: their streams are no answers.
            Service::UrScript => self.pending.count(),
            Service::ExternalControl | Service::Tcp(_) | Service::Udp(_) | Service::Icmp => 0,
        }
    }

    /// How many Modbus requests went on while 16 were outstanding: each pushed the oldest one out, whose answer will
    /// count as unsolicited.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Looks for one unit toward the robot at the start of `bytes`, has it judged by `decide`, and goes on in the
    /// session where it may pass: `decide` answers with the tag under which its answer is to be found, or nothing.
    ///
    /// # Errors
    /// The bytes begin no unit of the service. Final for the connection.
    pub fn command(
        &mut self,
        service: Service,
        port: u16,
        bytes: &[u8],
        decide: impl FnOnce(&Command<'_>, &[u8]) -> Option<u64>,
    ) -> Result<Step<()>, DissectError> {
        match service {
            Service::Modbus => Self::modbus_command(&mut self.modbus, &mut self.forgotten, bytes, decide),
            Service::Rtde => self.rtde_command(bytes, decide),
            Service::Dashboard if port == robot_api::PORT => {
                let step = robot_api::Request::step(bytes)?;
                Ok(judge(step, bytes, |request, unit| {
                    let mut words = [0; robot_api::MAX_LINE];
                    let line = dashboard::Line::read(request.line(&mut words));
                    if let Some(tag) = decide(&Command::Dashboard(line), unit) {
                        self.pending.push(tag);
                    }
                }))
            }
            Service::Dashboard => {
                let step = dashboard::Line::step(bytes)?;
                Ok(judge(step, bytes, |line, unit| {
                    let asks = |name| line.verb.is_ok_and(|verb| verb.name == name);
                    if let Some(tag) = decide(&Command::Dashboard(line), unit) {
                        self.pending.push(tag);
                        self.pending.mark_last(asks(REMOTE_CONTROL), asks(VERSION));
                    }
                }))
            }
            // Whether a controller passes over what comes there is not for a box to try out.
            Service::UrScript if SENDS_ONLY.contains(&port) && !bytes.is_empty() => {
                Err(DissectError::forbidden("text to a port that only sends", 0))
            }
            Service::UrScript => {
                let interpreter = port == INTERPRETER;
                self.port = port.into();
                let dialect = if interpreter { Dialect::Interpreter } else { Dialect::Client };
                let step = self.scanner.step(bytes, dialect)?;
                Ok(judge(step, bytes, |script, unit| {
                    if let Some(tag) = decide(&Command::UrScript(script), unit)
                        && interpreter
                    {
                        self.pending.push(tag);
                    }
                }))
            }
            // External control is read by [`Session::external`].
            Service::ExternalControl | Service::Tcp(_) | Service::Udp(_) | Service::Icmp => {
                Err(DissectError::unsupported("service without dissector", 0))
            }
        }
    }

    fn modbus_command(
        session: &mut modbus::Session,
        forgotten: &mut u64,
        bytes: &[u8],
        decide: impl FnOnce(&Command<'_>, &[u8]) -> Option<u64>,
    ) -> Result<Step<()>, DissectError> {
        match modbus::Adu::step(bytes)? {
            Step::Partial { needed } => Ok(Step::Partial { needed }),
            Step::Whole { unit: adu, len } => {
                let request = modbus::Request::read(&adu)?;
                let unit = bytes.get(..len).unwrap_or_default();
                if let Some(tag) = decide(&Command::Modbus(request), unit)
                    && session.request(&request, tag).is_err()
                {
                    // More outstanding requests than any server takes: the oldest answer will not come.
                    session.forget_oldest();
                    *forgotten = forgotten.saturating_add(1);
                    let _ = session.request(&request, tag);
                }
                Ok(Step::Whole { unit: (), len })
            }
        }
    }

    fn rtde_command(
        &mut self,
        bytes: &[u8],
        decide: impl FnOnce(&Command<'_>, &[u8]) -> Option<u64>,
    ) -> Result<Step<()>, DissectError> {
        match rtde::Package::step(bytes, Toward::Robot)? {
            Step::Partial { needed } => Ok(Step::Partial { needed }),
            Step::Whole { unit: package, len } => {
                let request = rtde::Request::read(&package, &self.rtde)?;
                let unit = bytes.get(..len).unwrap_or_default();
                let sets_inputs = matches!(request, rtde::Request::SetupInputs { .. });
                if let Some(tag) = decide(&Command::Rtde(request), unit) {
                    self.rtde.request(&package)?;
                    if sets_inputs {
                        self.pending.push(tag);
                    }
                }
                Ok(Step::Whole { unit: (), len })
            }
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

fn judge<T>(step: Step<T>, bytes: &[u8], judge: impl FnOnce(T, &[u8])) -> Step<()> {
    match step {
        Step::Partial { needed } => Step::Partial { needed },
        Step::Whole { unit, len } => {
            judge(unit, bytes.get(..len).unwrap_or_default());
            Step::Whole { unit: (), len }
        }
    }
}

/// Tags of commands whose answers come in the order of the commands. Plain data.
///
/// The tags are those of the oldest; what is sent while there is no room, or behind such a command, is only counted, so
/// that each answer goes to its own command or to none.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Pending {
    tags: [u64; PENDING as usize],
    len: u32,
    /// Commands behind those with tags.
    untagged: u32,
    /// Which of the tags are those of [`REMOTE_CONTROL`], a bit each.
    control: u32,
    /// Which are those of [`VERSION`], a bit each.
    version: u32,
}

/// What the next answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The command with this tag.
    Tag(u64),
    /// A command whose tag was not kept.
    Untagged,
    /// Nothing that was sent.
    Nothing,
}

impl Pending {
    /// Adds the newest.
    pub(crate) fn push(&mut self, tag: u64) {
        match self.tags.get_mut(self.len as usize) {
            Some(slot) if self.untagged == 0 => {
                *slot = tag;
                self.len = self.len.saturating_add(1);
            }
            _ => self.untagged = self.untagged.saturating_add(1),
        }
    }

    /// Says of the newest whether it is [`REMOTE_CONTROL`] or [`VERSION`].
    fn mark_last(&mut self, asks_control: bool, asks_version: bool) {
        if self.untagged == 0
            && let Some(bit) = self.len.checked_sub(1).and_then(|last| 1_u32.checked_shl(last))
        {
            self.control = if asks_control { self.control | bit } else { self.control & !bit };
            self.version = if asks_version { self.version | bit } else { self.version & !bit };
        }
    }

    /// The question that the next answer is to, where its answer means something only as that, and for sure: nothing
    /// else is waited for. Of several in a row one may be answered by no line or by two, and each bare word after it would
    /// be taken for another's.
    fn alone(&self) -> Option<&'static str> {
        match (self.count(), self.control & 1, self.version & 1) {
            (1, 1, _) => Some(REMOTE_CONTROL),
            (1, _, 1) => Some(VERSION),
            _ => None,
        }
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Asked {
        // Foreign bytes may claim any length.
        self.len = self.len.min(PENDING);
        match (self.len, self.tags.first().copied()) {
            (1.., Some(oldest)) => {
                self.tags.rotate_left(1);
                self.len = self.len.saturating_sub(1);
                self.control >>= 1;
                self.version >>= 1;
                Asked::Tag(oldest)
            }
            _ if self.untagged > 0 => {
                self.untagged = self.untagged.saturating_sub(1);
                Asked::Untagged
            }
            _ => Asked::Nothing,
        }
    }

    /// How many wait.
    fn count(&self) -> u32 {
        self.len.min(PENDING).saturating_add(self.untagged)
    }
}

#[cfg(test)]
mod tests;
