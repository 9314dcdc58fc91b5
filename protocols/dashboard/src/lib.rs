//! Dashboard server: one command a line toward the robot, one reply a line toward the plant, and the command table.
//!
//! Source: Universal Robots, "Dashboard Server" (CB-Series and e-Series) and the open client library of the same maker.
//! README.md beside this file holds the whole table, and which facts could not be confirmed.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

mod grammar;
mod reply;
mod table;
mod verb;
mod wire;

pub use grammar::GrammarError;
pub use reply::{ProgramState, Reply, ReplyLine, RobotMode, SafetyMode};
pub use verb::{Argument, Class, Outcome, Verb};
pub use wire::Line;

/// TCP port of the Dashboard server.
pub const PORT: u16 = 29999;

/// Longest command line, in bytes with its line end. The server documents no limit; 1024 is far above every known
/// command, and a longer line is an error.
pub const MAX_LINE: usize = 1024;

/// Longest reply line, in bytes with its line end.
pub const MAX_REPLY: usize = 8192;

/// A buffer of this many bytes holds every answer that [`Line::failure_line`] can write.
pub const MAX_FAILURE_LINE: usize = MAX_LINE + 64;
