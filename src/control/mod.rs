//! The control socket: how the command line talks to a running appliance.
//!
//! A Unix stream socket, mode 0660. One request a line, one response a line, both JSON objects with the number of the
//! protocol, at most [`MAX_LINE`] bytes long. After the response to [`Request::Capture`] the connection carries pcapng and
//! nothing else; the client ends it by shutting its side down, and reads on to the end. The server learns the uid of its
//! peer from the kernel (`SO_PEERCRED`, unix(7)) and hands it to its [`Handler`], so that every change is recorded with who
//! asked for it. No credential crosses the socket: who may open it may use it.
//!
//! The same lines travel over the remote API, where both ends show certificates ([`tls`]). The management process reads
//! them there and passes them on to the socket with the [`Person`] who asks.

mod client;
mod message;
mod patches;
mod remote;
mod server;
pub mod tls;
mod update;

pub use client::{Captured, Client, ControlError, RequestLine, ResponseLine, read_line};
pub use message::{
    ConversationStatus, DiagnosticText, EvidenceFile, FailureKind, InputStatus, Learned, Learning, Outcome, Person,
    PolicyText, PortStatus, QuarantineStatus, RecordStatus, Request, Response, RobotStatus, Status, StreamStatus,
    TimesStatus, TrafficStatus, VERSION, WitnessStatus,
};
pub use patches::{PatchReport, PatchState, PatchStatus};
pub use remote::{REMOTE_PORT, RemoteBox};
pub use server::{Caller, Handler, Server, Stream, answer};
pub use update::{UpdateOrder, UpdateResult, UpdateState, UpdateStatus, UpdateStep};

/// Where the socket is, unless configured otherwise.
pub const DEFAULT_PATH: &str = "/run/vambrace/control.sock";

/// Longest line in bytes, its end included: a policy of thousands of rules fits, a runaway peer can't fill memory.
pub const MAX_LINE: usize = 1 << 20;

#[cfg(test)]
mod tests;
