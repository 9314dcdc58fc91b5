//! The flow key: a conversation named by the two sides of the box.

use crate::icmp::Quoted;
use crate::packet::{Network, Packet};
use crate::transport::{Transport, protocol};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use dissect::Toward;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IP address and port, as plain data.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Endpoint {
    /// The address in network order; IPv4 addresses are mapped (RFC 4291, 2.5.5.2).
    pub address: [u8; 16],
    /// The port in host order.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint with this address and port.
    #[inline]
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Self { address, port }
    }

    /// The address; a mapped one comes out as IPv4.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }
}

impl fmt::Display for Endpoint {
    /// `10.20.0.21:49152` or `[fd00::21]:49152`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&SocketAddr::new(self.ip(), self.port), f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What names a TCP connection or UDP conversation: its two ends by side of the box, never by role.
///
/// Plain data, the same for both directions. VLAN tags are not part of it, since a receiver does not tell priority
/// tags from none; compare them with [`crate::Tags::same_stack`].
///
/// Invariant: `plant` is the end on the plant port's side unless [`FlowKey::is_mirrored`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey {
    /// The end on the plant port's side.
    pub plant: Endpoint,
    /// The end on the robot port's side.
    pub robot: Endpoint,
    /// 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
    pub protocol: u8,
    /// 4 or 6: IPv6 between mapped addresses is not the IPv4 flow of the same addresses.
    pub ip_version: u8,
    /// First 1 where the sides stand swapped, see [`FlowKey::mirrored`]; second always 0. One field, which is compared at
    /// once.
    mirror: [u8; 2],
}

impl FlowKey {
    /// The key for these ends.
    #[inline]
    #[must_use]
    pub const fn new(plant: Endpoint, robot: Endpoint, protocol: u8, ip_version: u8) -> Self {
        Self { plant, robot, protocol, ip_version, mirror: [0; 2] }
    }

    /// The same conversation with its sides swapped, and marked so: another key than every one that is not mirrored.
    /// Mirrored twice it is itself again.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        let [mirror, unused] = self.mirror;
        Self { plant: self.robot, robot: self.plant, mirror: [mirror ^ 1, unused], ..self }
    }

    /// Whether the sides stand swapped.
    #[must_use]
    pub const fn is_mirrored(&self) -> bool {
        let [mirror, _] = self.mirror;
        mirror != 0
    }

    /// The key with either end on its own side of the box.
    #[must_use]
    pub const fn unmirrored(self) -> Self {
        if self.is_mirrored() { self.mirrored() } else { self }
    }

    /// The flow that a packet on its way `toward` one side belongs to; `None` unless it is TCP, UDP or ICMP in one
    /// piece. All ICMP between two addresses is one flow, with ports 0.
    #[inline]
    #[must_use]
    pub fn of(packet: &Packet<'_>, toward: Toward) -> Option<Self> {
        let (source, destination, transport, ip_version) = match &packet.network {
            Network::Ipv4(ip) => {
                let mapped = |address: Ipv4Addr| address.to_ipv6_mapped().octets();
                (mapped(ip.source), mapped(ip.destination), &ip.transport, 4)
            }
            Network::Ipv6(ip) => (ip.source.octets(), ip.destination.octets(), &ip.transport, 6),
            Network::Arp(_) | Network::IpInLlc | Network::TooManyTags | Network::Other => return None,
        };
        let (source_port, destination_port, protocol) = match transport {
            Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port, protocol::TCP),
            Transport::Udp(udp) => (udp.source_port, udp.destination_port, protocol::UDP),
            Transport::Icmp(_) => (0, 0, if ip_version == 6 { protocol::ICMPV6 } else { protocol::ICMP }),
            Transport::Fragment | Transport::Other(_) => return None,
        };
        let source = Endpoint { address: source, port: source_port };
        let destination = Endpoint { address: destination, port: destination_port };
        Some(Self::directed(source, destination, protocol, ip_version, toward))
    }

    /// The flow that an ICMP error on its way `toward` one side is about; `None` unless that is TCP or UDP.
    #[must_use]
    pub fn of_quoted(quoted: &Quoted, toward: Toward) -> Option<Self> {
        let source = Endpoint::new(quoted.source, quoted.source_port);
        let destination = Endpoint::new(quoted.destination, quoted.destination_port);
        let ip_version = if quoted.source.is_ipv4() { 4 } else { 6 };
        // The quoted packet travelled the other way.
        matches!(quoted.protocol, protocol::TCP | protocol::UDP)
            .then(|| Self::directed(source, destination, quoted.protocol, ip_version, toward.reverse()))
    }

    #[inline]
    const fn directed(source: Endpoint, destination: Endpoint, protocol: u8, ip_version: u8, toward: Toward) -> Self {
        match toward {
            Toward::Robot => Self::new(source, destination, protocol, ip_version),
            Toward::Plant => Self::new(destination, source, protocol, ip_version),
        }
    }

    /// The end that a frame `toward` this side goes to.
    #[must_use]
    pub const fn destination(&self, toward: Toward) -> Endpoint {
        match toward {
            Toward::Robot => self.robot,
            Toward::Plant => self.plant,
        }
    }

    /// The end that a frame `toward` this side comes from.
    #[must_use]
    pub const fn source(&self, toward: Toward) -> Endpoint {
        self.destination(toward.reverse())
    }
}

impl fmt::Display for FlowKey {
    /// `tcp plant 10.20.0.21:49152 robot 10.20.0.40:502`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            protocol::TCP => f.write_str("tcp")?,
            protocol::UDP => f.write_str("udp")?,
            protocol::ICMP | protocol::ICMPV6 => f.write_str("icmp")?,
            other => write!(f, "ip-{other}")?,
        }
        write!(f, " plant {} robot {}", self.plant, self.robot)
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
