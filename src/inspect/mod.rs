//! From bytes to commands: picks a dissector by service, keeps its session, wraps units as [`Command`]s.

mod answer;

pub use answer::{Reading, read_answer};

use dissect::{DissectError, Step, Toward};
use urscript::{Dialect, Scanner};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::{Command, Service};

/// Commands of one connection that wait for their answer, where answers come in order (Dashboard).
const PENDING: usize = 16;

/// Time for the rest of a unit of a binary protocol. Source: design of the gate: a sender that needs longer is gone.
pub const BINARY_PATIENCE_NS: u64 = 2_000_000_000;

/// Time for the rest of a text unit: people type on these ports, and a program of 1 MiB takes its time.
pub const TEXT_PATIENCE_NS: u64 = 10_000_000_000;

/// The port of the interpreter. Source: UR script manual, chapter on interpreter mode.
const INTERPRETER: u16 = 30020;

/// What the dissectors know of one connection. Plain data; all zero when new.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Session {
    pub(crate) rtde: rtde::Session,
    pub(crate) modbus: modbus::Session,
    scanner: Scanner,
    pub(crate) pending: Pending,
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
        }
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
            Service::Modbus => Self::modbus_command(&mut self.modbus, bytes, decide),
            Service::Rtde => self.rtde_command(bytes, decide),
            Service::Dashboard => {
                let step = dashboard::Line::step(bytes)?;
                Ok(judge(step, bytes, |line, unit| {
                    if let Some(tag) = decide(&Command::Dashboard(line), unit) {
                        self.pending.push(tag);
                    }
                }))
            }
            Service::UrScript => {
                let dialect = if port == INTERPRETER { Dialect::Interpreter } else { Dialect::Client };
                let step = self.scanner.step(bytes, dialect)?;
                Ok(judge(step, bytes, |script, unit| {
                    decide(&Command::UrScript(script), unit);
                }))
            }
            Service::Tcp(_) | Service::Udp(_) | Service::Icmp => {
                Err(DissectError::unsupported("service without dissector", 0))
            }
        }
    }

    fn modbus_command(
        session: &mut modbus::Session,
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
                if decide(&Command::Rtde(request), unit).is_some() {
                    self.rtde.request(&package)?;
                }
                Ok(Step::Whole { unit: (), len })
            }
        }
    }

    /// How long the rest of a unit may take, in nanoseconds.
    #[must_use]
    pub const fn patience_ns(service: Service) -> u64 {
        match service {
            Service::Dashboard | Service::UrScript => TEXT_PATIENCE_NS,
            _ => BINARY_PATIENCE_NS,
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
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Pending {
    tags: [u64; PENDING],
    len: u32,
    reserved: u32,
}

impl Pending {
    /// Adds the newest; where there is no room the oldest is forgotten.
    pub(crate) fn push(&mut self, tag: u64) {
        if self.len as usize >= PENDING {
            self.pop();
        }
        if let Some(slot) = self.tags.get_mut(self.len as usize) {
            *slot = tag;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let oldest = self.tags.first().copied()?;
        if self.len == 0 {
            return None;
        }
        self.tags.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        Some(oldest)
    }
}
