//! The closed vocabulary of what can be asked of a robot.
//!
//! Dissectors yield units; [`Command`] wraps the unit with what policy, learning and records need of every service
//! alike: its [`Service`] and its [`Class`]. Borrowed from the bytes; nothing is copied.

mod class;
mod effect;
mod service;

pub use class::{Class, Classes};
pub(crate) use effect::{of_fact, of_modbus};
pub use service::{Service, Socket};

use external_control::{Channel, Dialect};

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
    /// A record or text of external control.
    External(External<'a>),
    /// A TCP connection or UDP datagram to a port that no dissector reads.
    Transport(Service),
}

/// One unit of external control toward the robot.
#[derive(Clone, Copy, Debug)]
pub enum External<'a> {
    /// What the arm does now.
    Motion(external_control::Motion),
    /// A point of a motion to come.
    Point(external_control::Point),
    /// A setting or mode.
    Order(external_control::Order<'a>),
    /// A whole text that is handed to the robot.
    Text {
        /// SHA-256 of its bytes.
        digest: [u8; 32],
        /// Length in bytes.
        len: u32,
    },
}

impl External<'_> {
    /// The socket that carries it.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Motion(_) => Channel::Reverse,
            Self::Text { .. } => Channel::Script,
            Self::Point(_) => Channel::Trajectory,
            Self::Order(_) => Channel::ScriptCommand,
        }
    }

    /// The word for it in policies and records: the mode of a motion, the function of an order, the kind of a point.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Motion(motion) => motion.action.name(),
            Self::Point(point) => {
                let kind = [Dialect::New, Dialect::Old].into_iter().find_map(|dialect| point.kind(dialect));
                kind.map_or("unknown", external_control::Kind::name)
            }
            Self::Order(order) => order.function.map_or("unknown", external_control::Function::name),
            Self::Text { .. } => "program",
        }
    }
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
            Self::External(_) => Service::ExternalControl,
            Self::Transport(service) => *service,
        }
    }
}
