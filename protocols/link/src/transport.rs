//! What IP carries.

use crate::checksum::{self, Checksum};
use crate::icmp::Icmp;
use crate::tcp::Tcp;
use crate::udp::Udp;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use dissect::DissectError;

/// IP protocol numbers (IANA protocol numbers registry).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// The layer inside IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// TCP.
    Tcp(Tcp<'a>),
    /// UDP.
    Udp(Udp<'a>),
    /// ICMP, or ICMPv6 inside IPv6.
    Icmp(Icmp<'a>),
    /// A fragment, the first one included: its transport header, if it has one, is not trusted and not read.
    Fragment,
    /// Another protocol, by its IP protocol number.
    Other(u8),
}

/// The addresses of an IP packet, as pseudo-headers need them.
#[derive(Clone, Copy)]
pub(crate) enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    pub(crate) fn source(self) -> IpAddr {
        match self {
            Self::V4(source, _) => source.into(),
            Self::V6(source, _) => source.into(),
        }
    }

    pub(crate) fn destination(self) -> IpAddr {
        match self {
            Self::V4(_, destination) => destination.into(),
            Self::V6(_, destination) => destination.into(),
        }
    }

    fn pseudo_header(self, protocol: u8, len: usize) -> u16 {
        match self {
            // IP lengths fit their fields, so neither conversion ever saturates.
            Self::V4(a, b) => checksum::pseudo_header_v4(a, b, protocol, u16::try_from(len).unwrap_or(u16::MAX)),
            Self::V6(a, b) => checksum::pseudo_header_v6(a, b, protocol, u32::try_from(len).unwrap_or(u32::MAX)),
        }
    }
}

impl<'a> Transport<'a> {
    /// Reads what IP carries as `number`, `offset` bytes into the frame.
    pub(crate) fn parse(number: u8, v6: bool, bytes: &'a [u8], offset: usize) -> Result<Self, DissectError> {
        match number {
            protocol::TCP => Tcp::parse(bytes, offset).map(Self::Tcp),
            protocol::UDP => Udp::parse(bytes, offset).map(Self::Udp),
            protocol::ICMP if !v6 => Icmp::parse(bytes, false, offset).map(Self::Icmp),
            protocol::ICMPV6 if v6 => Icmp::parse(bytes, true, offset).map(Self::Icmp),
            other => Ok(Self::Other(other)),
        }
    }

    /// Checks the transport checksum of the segment `bytes`; `None` where there is none to check.
    pub(crate) fn checksum(&self, addresses: Addresses, bytes: &[u8]) -> Option<Checksum> {
        let v6 = matches!(addresses, Addresses::V6(..));
        let (pseudo, field, bytes) = match self {
            Self::Tcp(tcp) => (addresses.pseudo_header(protocol::TCP, bytes.len()), tcp.checksum, bytes),
            Self::Udp(udp) if udp.checksum == 0 => {
                return Some(if v6 { Checksum::Invalid } else { Checksum::Absent });
            }
            Self::Udp(udp) => (addresses.pseudo_header(protocol::UDP, udp.datagram.len()), udp.checksum, udp.datagram),
            Self::Icmp(icmp) if v6 => (addresses.pseudo_header(protocol::ICMPV6, bytes.len()), icmp.checksum, bytes),
            Self::Icmp(icmp) => (0, icmp.checksum, bytes),
            Self::Fragment | Self::Other(_) => return None,
        };
        Some(if checksum::combine(pseudo, checksum::sum(bytes)) == 0xffff {
            Checksum::Valid
        } else if field == pseudo {
            Checksum::Partial
        } else {
            Checksum::Invalid
        })
    }
}
