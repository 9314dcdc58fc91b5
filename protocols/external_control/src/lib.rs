//! External control: the sockets that a robot's program opens to a computer, which then moves the arm.
//!
//! The computer listens, the robot connects, and the commands are what the *server* sends. Each socket carries records of
//! a fixed number of 32-bit integers, big-endian, without any header:
//!
//! ```text
//! 50001  reverse         Motion   8 integers   what to do until the next record, and how long to wait for that
//! 50002  script          text     URScript, read by the crate `urscript`
//! 50003  trajectory      Point   21 integers   one point of a motion that the robot interpolates itself
//! 50004  script command  Order   28 integers   payload, tool voltage, force mode, ...
//! ```
//!
//! [`Record::step`] cuts a stream into records; [`Motion::read`], [`Point::read`] and [`Order::read`] say what one means, and
//! [`Motion::emit`] writes one.
//! Which number of integers a socket has is not on the wire, it is in the program that opened it: the numbers above are
//! those of the program that the library brings, see [`Channel`].
//!
//! Source: Universal_Robots_Client_Library ("the library" below), its chapters on ReverseInterface,
//! TrajectoryPointInterface and ScriptCommandInterface, and what it writes. The table of what was checked where is in this
//! crate's README.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

mod channel;
mod motion;
mod order;
mod record;
mod trajectory;

pub use channel::Channel;
pub use motion::{Action, Freedrive, Motion, Move, Trajectory};
pub use order::{Argument, Function, Order};
pub use record::{MAX_FIELDS, Record};
pub use trajectory::{Dialect, Kind, Point, Space};

/// Integers a radian, metre, radian per second and so on.
/// Source: the library, `MULT_JOINTSTATE`.
pub const UNITS: f64 = 1_000_000.0;
