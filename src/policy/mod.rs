//! Rules become an immutable [`Policy`], and a policy decides. Pure: no frames, no sockets, no clock.

use std::net::IpAddr;

use dissect::Toward;

use crate::command::{Command, Service};
use crate::event::Verdict;
use crate::robot;

/// A peer of the robot as the policy knows it; found once a connection, then used for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Client(pub u16);

impl Client {
    /// An address that no rule names.
    pub const UNKNOWN: Self = Self(u16::MAX);
}

/// A policy in force: compiled, immutable, with its generation.
#[derive(Debug)]
pub struct Policy {
    generation: u32,
}

/// What a decision is asked with.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The peer on the other side, whoever opened the connection.
    pub client: Client,
    /// Who opened the connection: `Toward::Robot` = the plant side did.
    pub opened: Toward,
    /// The command.
    pub command: &'a Command<'a>,
    /// The robot's live state.
    pub state: &'a robot::State,
    /// Monotonic clock in nanoseconds.
    pub now_ns: u64,
}

impl Policy {
    /// Generation number: grows by one with every apply.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The peer with this address.
    #[must_use]
    pub fn client(&self, peer: IpAddr) -> Client {
        let _ = peer;
        Client::UNKNOWN
    }

    /// Whether a connection (or datagram exchange) may exist at all, before any command of it is seen.
    #[must_use]
    pub fn admit(&self, client: Client, service: Service, opened: Toward, now_ns: u64) -> Verdict {
        let _ = (client, service, opened, now_ns);
        unimplemented!()
    }

    /// The verdict over one command.
    #[must_use]
    pub fn decide(&self, ask: &Ask<'_>, rates: &mut robot::Rates) -> Verdict {
        let _ = (ask, rates);
        unimplemented!()
    }
}
