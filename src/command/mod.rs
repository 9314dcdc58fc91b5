//! The closed vocabulary of what can be asked of a robot.
//!
//! Dissectors yield units; [`Command`] wraps the unit with what policy, learning and records need of every service
//! alike: its [`Service`] and its [`Class`]. Borrowed from the bytes; nothing is copied.

mod class;
mod effect;
mod service;

pub use class::{Class, Classes};
pub(crate) use effect::{of_fact, of_modbus};
pub use service::Service;

/// One unit toward the robot, read by its dissector.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// A Modbus request.
    Modbus(modbus::Request<'a>),
    /// An RTDE package.
    Rtde(rtde::Request<'a>),
    /// A Dashboard line.
    Dashboard(dashboard::Line<'a>),
    /// A URScript program, secondary, statement, bare command or interpreter line.
    UrScript(urscript::Unit<'a>),
    /// A TCP connection or UDP datagram to a port that no dissector reads.
    Transport(Service),
}

impl Command<'_> {
    /// The service that carries it.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Self::Modbus(_) => Service::Modbus,
            Self::Rtde(_) => Service::Rtde,
            Self::Dashboard(_) => Service::Dashboard,
            Self::UrScript(_) => Service::UrScript,
            Self::Transport(service) => *service,
        }
    }
}
