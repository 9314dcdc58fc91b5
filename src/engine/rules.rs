use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dissect::Toward;
use link::{EtherType, Mac};

use crate::command::Socket;
use crate::policy::{Asset, Policy};

/// What is done with traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every frame goes on; flows and commands are recorded.
    Observe,
    /// The same, and what is seen is gathered for a proposal.
    Learn,
    /// Every frame goes on; what enforcement would have refused is recorded.
    Shadow,
    /// What the policy allows goes on.
    Enforce,
    /// Of what the policy allows only reads go on, and stops of everybody whom it knows.
    Lockdown,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] = [Self::Observe, Self::Learn, Self::Shadow, Self::Enforce, Self::Lockdown];

    /// The name in configurations and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Learn => "learn",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
            Self::Lockdown => "lockdown",
        }
    }

    /// The mode called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// Whether the policy is asked.
    #[must_use]
    pub const fn judges(self) -> bool {
        matches!(self, Self::Shadow | Self::Enforce | Self::Lockdown)
    }

    /// Whether verdicts are carried out.
    #[must_use]
    pub const fn enforces(self) -> bool {
        matches!(self, Self::Enforce | Self::Lockdown)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is done about transport checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checksums {
    /// Segments that fail are dropped: the robot would drop them, and take the repetition that follows.
    Verify,
    /// They are not looked at: captures taken before an offload filled them in.
    Ignore,
}

/// A device of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name in policies and records.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC, where the configuration binds it.
    pub mac: Option<Mac>,
    /// Whether it lives behind the robot port.
    pub is_robot: bool,
}

/// All that frames are judged by; immutable, swapped as a whole.
#[derive(Debug)]
pub struct Rules {
    /// What is done with verdicts.
    pub mode: Mode,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Devices of the configuration.
    pub devices: Vec<Device>,
    /// EtherTypes that pass while enforcing.
    pub pass: Vec<EtherType>,
    /// Whether spanning tree and its relatives pass (LLC to 01-80-C2-00-00-00 to 0F).
    pub pass_stp: bool,
    /// Whether PROFINET DCP Set may reach the robot.
    pub dcp_set: bool,
    /// Transport checksums.
    pub checksums: Checksums,
    /// Whether Modbus connections that were open before may be taken up while enforcing, within five seconds of taking
    /// the wire and once a read request has proven where they stand.
    pub adopt_modbus: bool,
    /// Connections that one address may open in a second; 0 = any number.
    pub new_connections: u32,
    /// Whether the robot is of the PolyScope X generation, with the Robot API in the place of the Dashboard server.
    pub robot_api: bool,
    /// Whether IPv6 may pass, with its neighbour discovery and group membership.
    pub ipv6: bool,
    /// Whether addresses are bound to MACs and sides; not in captures, where both ends may have one address.
    pub bind: bool,
}

impl Rules {
    /// Rules of a mode and a policy alone, for these devices: what else a configuration can say is as strict as it gets, but
    /// that spanning tree passes.
    #[must_use]
    pub fn of(mode: Mode, policy: impl Into<Arc<Policy>>, devices: &[Asset]) -> Self {
        let device = |asset: &Asset| Device {
            name: asset.name.clone(),
            address: asset.address,
            mac: None,
            is_robot: asset.is_robot,
        };
        Self {
            mode,
            policy: policy.into(),
            devices: devices.iter().map(device).collect(),
            pass: Vec::new(),
            pass_stp: true,
            dcp_set: false,
            checksums: Checksums::Verify,
            adopt_modbus: false,
            new_connections: 0,
            robot_api: false,
            ipv6: false,
            bind: true,
        }
    }

    /// The socket of external control that a connection to this port is, if it is one. Where nothing is judged, the ports
    /// are those that nobody configured; where the policy speaks of none, such a connection is like any other.
    #[must_use]
    pub fn socket(&self, opened: Toward, port: u16) -> Option<Socket> {
        let known = if self.mode.judges() { None } else { Socket::of_port(port) };
        (opened == Toward::Plant).then(|| self.policy.socket(port).or(known)).flatten()
    }

    /// Whether a device behind the robot port has this address.
    #[must_use]
    pub fn is_robot(&self, address: IpAddr) -> bool {
        self.devices.iter().any(|device| device.is_robot && device.address == address)
    }
}
