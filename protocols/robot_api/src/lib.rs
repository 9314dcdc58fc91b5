//! Robot API of PolyScope X: HTTP requests toward the robot, and the Dashboard command that each stands for.
//!
//! Controllers of this generation have no Dashboard server. What that did in lines, this does in requests with a JSON
//! body; [`Request::line`] says the same in the Dashboard's words, so that one policy serves both generations.
//! Source: Universal Robots, Robot API (first in PolyScope X 10.11), as its open client library calls it. README.md beside
//! this file holds the table, and which facts could not be confirmed.
//!
//! Strict where readers of HTTP are known to differ: what two servers may frame in two ways is an error. Zero-copy, no
//! I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

mod head;
mod json;
mod operation;
mod request;
mod response;

pub use operation::PREFIX;
pub use request::Request;
pub use response::{FORBIDDEN, Response};

/// TCP port of the Robot API.
pub const PORT: u16 = 80;

/// Longest head of a message, in bytes with the blank line. Common servers take 8 KiB.
pub const MAX_HEAD: usize = 8192;

/// Longest body of a request, in bytes: a command's is some dozens, and what is longer is no command.
pub const MAX_BODY: usize = 8192;

/// A buffer of this many bytes holds every line of [`Request::line`].
pub const MAX_LINE: usize = 1024;
