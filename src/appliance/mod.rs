//! The running box: a supervisor that keeps sockets and state, and the packet process that judges.
//!
//! ```text
//! vambrace run ── supervisor: prepares the ports, opens the packet sockets and the shared arena, parses nothing; sees that
//!                  │ the worker moves, has the kernel carry frames where nobody judges them and the configuration says so
//!                   └─ packet process (the same program, hidden command): replaced when it ends unasked
//!                        ├─ worker, pinned: both ports, the pipeline
//!                        ├─ recorder: event files
//!                        ├─ control: mode, policy, learning, status
//!                        ├─ scribe: writes what was ordered to the disk
//!                        ├─ patches, at times: known attacks tried against the policy in force
//!                        ├─ learner, while learning: copies of frames through an engine of its own
//!                        └─ capture, while somebody captures: copies of frames for readers
//! ```
//! Sockets and arena are the supervisor's: when the packet process is gone, its successor goes on with the same rings
//! and the same connections.

mod capture;
mod control;
mod conversations;
mod hang;
mod heart_beat;
mod learner;
mod mirror;
mod packet_process;
pub mod patches;
mod plan;
mod pulse;
mod relay;
mod scribe;
mod service_manager;
mod standing;
mod supervisor;

pub(crate) use learner::{learn_command, seen};
pub use packet_process::{Handed, run as run_packet_process};
pub use plan::{assets, compile, default_pass, has_robot_api, now, policy_from, rules};
pub use standing::{Bypassed, Standing};
pub use supervisor::run as run_supervisor;

/// Why the box can't run: one line, what and how to mend it, with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// Lines for people.
    pub lines: Vec<String>,
    /// Exit code: 2 for a wrong configuration, 1 for the rest.
    pub code: u8,
}

impl Failure {
    pub(crate) fn new(code: u8, line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], code }
    }
}
