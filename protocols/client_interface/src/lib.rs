//! Client interfaces: what a Universal Robots controller sends on the ports that take URScript.
//!
//! ```text
//! 30001, 30011  primary    Package   robot state ten times a second, and all messages
//! 30002, 30012  secondary  Package   robot state ten times a second, and the version message
//! 30003, 30013  realtime   Record    one fixed record 125 or 500 times a second
//! ```
//!
//! [`Package::step`] and [`Record::step`] cut a stream into units. A package is read further by [`RobotState::read`] or
//! [`Message::read`]; of all others only the length counts. What a unit says is only told where it can't be anything else:
//! a mode outside its table, a flag that is neither 0 nor 1, fields that contradict each other are unknown, never a guess.
//! [`emit`] writes units, for tests and emulated controllers.
//!
//! Commands travel the other way as text, which the crate `urscript` reads.
//!
//! Sources: the maker's manual of the client interfaces ("the manual" below), Universal_Robots_Client_Library ("the
//! library"), Robotics Library's `UniversalRobotsRealtime` ("RL"). The table of what was checked where, and of what is
//! hearsay, is in this crate's README.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

pub mod emit;
mod message;
mod mode;
mod package;
mod record;
mod state;

pub use message::{Message, Said, Version};
pub use mode::{ControlMode, Program, RobotMode, SafetyMode};
pub use package::{HEADER, Header, MAX_PACKAGE, Package, PackageType};
pub use record::{Layout, MAX_RECORD, Record};
pub use state::{RobotModeData, RobotState, SubPackage};

/// What kind of units a port sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// Primary and secondary: [`Package`]s.
    Packages,
    /// Realtime: [`Record`]s.
    Records,
}

impl Interface {
    /// What the controller's TCP port sends; the read-only twins send the same as the others.
    /// Source: the manual.
    #[must_use]
    pub const fn of_port(port: u16) -> Option<Self> {
        match port {
            30001 | 30002 | 30011 | 30012 => Some(Self::Packages),
            30003 | 30013 => Some(Self::Records),
            _ => None,
        }
    }
}
