use std::fmt;

use dissect::Toward;
use external_control::Channel;

/// What is spoken on a port of the robot (or, for connections that the robot opens, of its peer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Modbus/TCP, port 502.
    Modbus,
    /// RTDE, port 30004.
    Rtde,
    /// Dashboard server, port 29999.
    Dashboard,
    /// URScript: 30001-30003, 30011-30013, 30020.
    UrScript,
    /// External control: connections that the robot opens to a computer which then moves it, 50001-50004 of that.
    ExternalControl,
    /// Any other TCP port, by number: `tcp/22`.
    Tcp(u16),
    /// Any UDP port, by number: `udp/2222`.
    Udp(u16),
    /// An IP protocol without ports that a rule names: ICMP echo is `icmp`.
    Icmp,
}

impl Service {
    /// The service of a TCP port of the robot with the profile's default ports. Of external control the ports are the
    /// computer's: what the robot connects to is told by the policy, see [`crate::policy::Policy::socket`].
    /// Source: UR's port list (Remote Control via TCP/IP) and the contract's profile.
    #[must_use]
    pub const fn of_tcp_port(port: u16) -> Self {
        match port {
            modbus::PORT => Self::Modbus,
            dashboard::PORT => Self::Dashboard,
            rtde::PORT => Self::Rtde,
            30001..=30003 | 30011..=30013 | 30020 => Self::UrScript,
            other => Self::Tcp(other),
        }
    }

    /// What stands behind a port of a robot, or of who it talks to, where that is well known and no dissector reads it. For
    /// people: nothing is decided by it.
    /// Source: UR's list of ports of the controller; the maker's client library; IANA.
    #[must_use]
    pub const fn known_as(self) -> Option<&'static str> {
        Some(match self {
            Self::Tcp(21) => "FTP",
            Self::Tcp(22) => "SSH and SFTP",
            Self::Tcp(53) | Self::Udp(53) => "DNS",
            Self::Tcp(80) => "web interface",
            Self::Udp(123) => "NTP",
            Self::Tcp(443) => "web interface in TLS",
            Self::Udp(502) => "Modbus over UDP",
            Self::Tcp(802) => "Modbus in TLS",
            Self::Udp(2222) => "EtherNet/IP, cyclic",
            Self::Tcp(44_818) | Self::Udp(44_818) => "EtherNet/IP",
            Self::Udp(34_962..=34_964) => "PROFINET",
            Self::Tcp(5900) => "VNC",
            Self::Tcp(6080) => "VNC in a browser",
            Self::Tcp(50_001..=50_004) => "external control",
            Self::Tcp(54_321) => "serial line of the tool",
            Self::Tcp(63_352) => "gripper",
            _ => return None,
        })
    }

    /// Whether a dissector reads it, so that single commands are judged.
    #[must_use]
    pub const fn is_dissected(self) -> bool {
        matches!(self, Self::Modbus | Self::Rtde | Self::Dashboard | Self::UrScript | Self::ExternalControl)
    }
}

/// Ports that go by a name in policies. XML-RPC is not among them: each program that serves it chooses its own port.
/// Source: IANA; ODVA (EtherNet/IP); PROFINET (context manager and the ports beside it).
const NAMED_PORTS: [(&str, &[Service]); 9] = [
    ("ssh", &[Service::Tcp(22)]),
    ("ftp", &[Service::Tcp(21)]),
    ("http", &[Service::Tcp(80)]),
    ("https", &[Service::Tcp(443)]),
    ("vnc", &[Service::Tcp(5900)]),
    ("dns", &[Service::Udp(53), Service::Tcp(53)]),
    ("ntp", &[Service::Udp(123)]),
    ("ethernet_ip", &[Service::Tcp(44_818), Service::Udp(44_818), Service::Udp(2222)]),
    ("profinet_udp", &[Service::Udp(34_962), Service::Udp(34_963), Service::Udp(34_964)]),
];

impl Service {
    /// The ports that go by this name, such as `ssh`; none of them is read by a dissector.
    #[must_use]
    pub fn ports_named(name: &str) -> Option<&'static [Self]> {
        NAMED_PORTS.into_iter().find(|(known, _)| *known == name).map(|(_, ports)| ports)
    }

    /// The names of [`Self::ports_named`].
    pub fn port_names() -> impl Iterator<Item = &'static str> {
        NAMED_PORTS.into_iter().map(|(name, _)| name)
    }

    /// The side that commands travel to over a connection that somebody `opened` toward a side: the one that was connected
    /// to. Of external control the computer commands, although the robot opens the connections.
    #[must_use]
    pub const fn commands_toward(self, opened: Toward) -> Toward {
        if matches!(self, Self::ExternalControl) { Toward::Robot } else { opened }
    }

    /// Whether single commands are judged on connections that this side opened; otherwise the connection is what is
    /// allowed or refused. Of external control the robot opens the connections.
    #[must_use]
    pub const fn is_judged(self, opened: Toward) -> bool {
        match (opened, self) {
            (Toward::Plant, Self::ExternalControl) => true,
            (Toward::Plant, other) => other.is_judged_on_devices(),
            (Toward::Robot, Self::ExternalControl) => false,
            (Toward::Robot, other) => other.is_dissected(),
        }
    }

    /// Whether the commands are judged that the robot itself sends to a device of the plant over it. RTDE is not among
    /// them: its inputs are kept for this robot alone, and no robot is known to be another one's RTDE client.
    #[must_use]
    pub const fn is_judged_on_devices(self) -> bool {
        matches!(self, Self::Modbus | Self::Dashboard | Self::UrScript)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modbus => f.write_str("modbus"),
            Self::Rtde => f.write_str("rtde"),
            Self::Dashboard => f.write_str("dashboard"),
            Self::UrScript => f.write_str("urscript"),
            Self::ExternalControl => f.write_str("external_control"),
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Icmp => f.write_str("icmp"),
        }
    }
}

/// A socket of external control: which, and how many integers a record has there (0 = text).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Which.
    pub channel: Channel,
    /// Integers a record.
    pub fields: usize,
}

impl Socket {
    /// The socket of a port where no policy says anything.
    #[must_use]
    pub fn of_port(port: u16) -> Option<Self> {
        let channel = Channel::ALL.into_iter().find(|channel| channel.port() == port)?;
        Some(Self { channel, fields: channel.fields().unwrap_or(0) })
    }
}
