//! ARP for IPv4 over Ethernet (RFC 826).

use crate::bytes::header;
use crate::ether::{EtherType, Mac};
use core::net::Ipv4Addr;
use dissect::DissectError;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub(crate) const LEN: usize = 28;

/// What the addresses of an ARP packet are, and what it wants.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ArpKind {
    hardware: U16,
    protocol: U16,
    hardware_len: u8,
    protocol_len: u8,
    operation: U16,
}

/// The addresses of an ARP packet for IPv4 over Ethernet.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ArpAddresses {
    sender_mac: Mac,
    sender_ip: [u8; 4],
    target_mac: Mac,
    target_ip: [u8; 4],
}

/// An ARP packet that binds IPv4 to Ethernet addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What is asked or said: 1 request, 2 reply; any value may come.
    pub operation: u16,
    /// The MAC address that the sender claims.
    pub sender_mac: Mac,
    /// The IPv4 address that the sender claims; 0.0.0.0 in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// The MAC address asked for; without meaning in a request.
    pub target_mac: Mac,
    /// The IPv4 address asked for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Who has `target_ip`?
    pub const REQUEST: u16 = 1;
    /// `sender_ip` is at `sender_mac`.
    pub const REPLY: u16 = 2;

    /// Reads what follows the EtherType; `offset` is where that is in the frame.
    ///
    /// # Errors
    /// Truncated; unsupported for anything but IPv4 over Ethernet (hardware type 1, or 6 as Linux also takes it).
    pub(crate) fn parse(bytes: &[u8], offset: usize) -> Result<Self, DissectError> {
        let (kind, rest) = header::<ArpKind>(bytes, "ARP header", offset)?;
        let ArpKind { hardware, protocol, hardware_len: 6, protocol_len: 4, operation } = kind else {
            return Err(DissectError::unsupported("ARP address length", offset));
        };
        if !matches!(hardware.get(), 1 | 6) || protocol.get() != EtherType::IPV4.0 {
            return Err(DissectError::unsupported("ARP hardware or protocol type", offset));
        }
        let (addresses, _) = header::<ArpAddresses>(rest, "ARP addresses", offset.saturating_add(8))?;
        Ok(Self {
            operation: operation.get(),
            sender_mac: addresses.sender_mac,
            sender_ip: addresses.sender_ip.into(),
            target_mac: addresses.target_mac,
            target_ip: addresses.target_ip.into(),
        })
    }

    /// Whether the sender announces itself: both addresses are the same (RFC 5227, 3).
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// Whether the sender only asks whether an address is free and claims none (RFC 5227, 1.1).
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.sender_ip.is_unspecified()
    }
}
