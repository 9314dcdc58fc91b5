//! The frame: Ethernet (IEEE 802.3-2018, clause 3), VLAN tags, LLC, and what is inside.

use crate::arp::Arp;
use crate::bytes::header;
use crate::checksum::Checksum;
use crate::ether::{EtherType, LinkProtocol, Mac};
use crate::icmp::Icmp;
use crate::ipv4::{Ipv4, Ipv4Start};
use crate::ipv6::Ipv6;
use crate::tags::{Tag, Tags};
use crate::tcp::Tcp;
use crate::transport::{Addresses, Transport};
use crate::udp::Udp;
use core::net::IpAddr;
use dissect::DissectError;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes before the payload of an untagged frame.
pub(crate) const HEADER_LEN: usize = 14;

/// The start of every frame.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EthernetHeader {
    destination: Mac,
    source: Mac,
    ether_type: U16,
}

/// A tag behind its tag protocol identifier, and what follows.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TagHeader {
    tci: U16,
    ether_type: U16,
}

/// A frame up to its EtherType.
struct Link<'a> {
    frame: &'a [u8],
    header: &'a EthernetHeader,
    tags: Tags,
    ether_type: EtherType,
    payload: &'a [u8],
}

impl<'a> Link<'a> {
    #[inline(always)]
    fn parse(frame: &'a [u8]) -> Result<Self, DissectError> {
        let (header, payload) = header::<EthernetHeader>(frame, "Ethernet header", 0)?;
        let (tags, ether_type, payload) = match EtherType(header.ether_type.get()) {
            tpid if tpid.is_tag() => parse_tags(tpid, payload, HEADER_LEN)?,
            ether_type => (Tags::NONE, ether_type, payload),
        };
        let ether_type = if ether_type.0 < 0x0600 { EtherType::LLC } else { ether_type };
        Ok(Self { frame, header, tags, ether_type, payload })
    }

    /// Where the payload starts in the frame.
    #[inline(always)]
    fn offset(&self) -> usize {
        self.frame.len().saturating_sub(self.payload.len())
    }

    #[inline(always)]
    fn packet(&self, network: Network<'a>) -> Packet<'a> {
        Packet {
            frame: self.frame,
            destination: self.header.destination,
            source: self.header.source,
            tags: self.tags,
            ether_type: self.ether_type,
            network_offset: self.offset(),
            network,
        }
    }
}

/// Reads the tags behind the first tag protocol identifier, `offset` bytes into the frame; returns what follows them.
fn parse_tags(
    tpid: EtherType,
    mut payload: &[u8],
    mut offset: usize,
) -> Result<(Tags, EtherType, &[u8]), DissectError> {
    let (mut tags, mut ether_type) = (Tags::NONE, tpid);
    while ether_type.is_tag() && tags.len() < Tags::MAX {
        let (tag, rest) = header::<TagHeader>(payload, "VLAN tag", offset)?;
        tags.push(Tag { tpid: ether_type.0, tci: tag.tci.get() });
        ether_type = EtherType(tag.ether_type.get());
        payload = rest;
        offset = offset.saturating_add(size_of::<TagHeader>());
    }
    Ok((tags, ether_type, payload))
}

/// The layer inside Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// IPv4.
    Ipv4(Ipv4<'a>),
    /// IPv6.
    Ipv6(Ipv6<'a>),
    /// ARP.
    Arp(Arp),
    /// IP, ARP or a further tag wrapped in LLC, with or without SNAP (RFC 1042): few receivers read it, and it hides
    /// what is inside from those that don't.
    IpInLlc,
    /// A third VLAN tag follows the two that are read.
    TooManyTags,
    /// Anything else; the EtherType says what.
    Other,
}

/// A frame and what was read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The whole frame, without frame check sequence, padding included.
    pub frame: &'a [u8],
    /// Destination address.
    pub destination: Mac,
    /// Source address.
    pub source: Mac,
    /// VLAN tags, outermost first.
    pub tags: Tags,
    /// What follows the tags; [`EtherType::LLC`] where the field is a length.
    pub ether_type: EtherType,
    /// Where the network layer starts in the frame: after the EtherType, or after the length for LLC.
    pub network_offset: usize,
    /// The network layer.
    pub network: Network<'a>,
}

/// Reads a frame from the outside in; the frame check sequence must not be part of it.
///
/// Checksums are not looked at. Cost: about 12 ns for TCP in IPv4, one bounds check a layer.
///
/// # Errors
/// [`DissectError`] with the offset from the start of the frame: truncated where a layer announces more than there is,
/// malformed where fields contradict each other, unsupported for ARP of other address families and for IPv6 with more
/// than eight extension headers. What is legal but unusual is no error but a variant of [`Network`] or [`Transport`].
/// [`Packet::link`] reads the outer layers of a frame that fails here.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Packet<'_>, DissectError> {
    let link = Link::parse(frame)?;
    // The way of nearly every frame stands alone: merged with the others it costs several times as much in moves.
    if link.ether_type == EtherType::IPV4 {
        let ip = Ipv4Start::parse(link.payload, link.offset())?;
        if ip.carries_tcp() {
            let tcp = Tcp::parse(ip.payload, ip.payload_offset())?;
            return Ok(link.packet(Network::Ipv4(ip.packet(Transport::Tcp(tcp)))));
        }
    }
    parse_other(frame)
}

/// Reads what is inside a frame that isn't TCP in IPv4.
#[inline(never)]
fn parse_other(frame: &[u8]) -> Result<Packet<'_>, DissectError> {
    let link = Link::parse(frame)?;
    let (payload, offset) = (link.payload, link.offset());
    let network = match link.ether_type {
        EtherType::IPV4 => Network::Ipv4(Ipv4Start::parse(payload, offset)?.parse_transport()?),
        EtherType::IPV6 => Network::Ipv6(Ipv6::parse(payload, offset)?),
        EtherType::ARP => Network::Arp(Arp::parse(payload, offset)?),
        EtherType::LLC if hides_ip(payload) => Network::IpInLlc,
        ether_type if ether_type.is_tag() => Network::TooManyTags,
        _ => Network::Other,
    };
    Ok(link.packet(network))
}

/// Whether an LLC frame carries IP, ARP or a tag: by the SAP of IP, or by SNAP with Ethernet's own type numbers.
fn hides_ip(llc: &[u8]) -> bool {
    match *llc {
        // The lowest bit of a SAP tells groups (DSAP) and responses (SSAP) apart, not protocols.
        [0x06 | 0x07, ..] | [_, 0x06 | 0x07, ..] => true,
        [0xaa | 0xab, _, _, 0, 0, 0 | 0xf8, a, b, ..] => {
            let inner = EtherType(u16::from_be_bytes([a, b]));
            inner.is_tag() || matches!(inner, EtherType::IPV4 | EtherType::IPV6 | EtherType::ARP)
        }
        _ => false,
    }
}

impl<'a> Packet<'a> {
    /// Reads addresses, tags and EtherType only; `network` is [`Network::Other`] whatever follows.
    ///
    /// # Errors
    /// Truncated: fewer than 14 bytes, or the frame ends inside a tag.
    pub fn link(frame: &'a [u8]) -> Result<Self, DissectError> {
        Link::parse(frame).map(|link| link.packet(Network::Other))
    }

    /// What follows the EtherType, padding included.
    #[must_use]
    pub fn link_payload(&self) -> &'a [u8] {
        self.frame.get(self.network_offset..).unwrap_or_default()
    }

    /// What a pass list of non-IP traffic would have to name for this frame.
    #[must_use]
    pub fn link_protocol(&self) -> LinkProtocol {
        if self.ether_type == EtherType::LLC && self.destination.is_link_local_group() {
            LinkProtocol::Stp
        } else {
            LinkProtocol::EtherType(self.ether_type)
        }
    }

    pub(crate) fn ip(&self) -> Option<(Addresses, &Transport<'a>)> {
        match &self.network {
            Network::Ipv4(ip) => Some((Addresses::V4(ip.source, ip.destination), &ip.transport)),
            Network::Ipv6(ip) => Some((Addresses::V6(ip.source, ip.destination), &ip.transport)),
            Network::Arp(_) | Network::IpInLlc | Network::TooManyTags | Network::Other => None,
        }
    }

    /// Source and destination address of an IP packet.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        self.ip().map(|(addresses, _)| (addresses.source(), addresses.destination()))
    }

    /// The layer inside IP.
    #[inline]
    #[must_use]
    pub fn transport(&self) -> Option<&Transport<'a>> {
        self.ip().map(|(_, transport)| transport)
    }

    /// The TCP segment, if there is one.
    #[inline]
    #[must_use]
    pub fn tcp(&self) -> Option<&Tcp<'a>> {
        match self.transport() {
            Some(Transport::Tcp(tcp)) => Some(tcp),
            _ => None,
        }
    }

    /// The UDP datagram, if there is one.
    #[inline]
    #[must_use]
    pub fn udp(&self) -> Option<&Udp<'a>> {
        match self.transport() {
            Some(Transport::Udp(udp)) => Some(udp),
            _ => None,
        }
    }

    /// The ICMP message, if there is one.
    #[inline]
    #[must_use]
    pub fn icmp(&self) -> Option<&Icmp<'a>> {
        match self.transport() {
            Some(Transport::Icmp(icmp)) => Some(icmp),
            _ => None,
        }
    }

    /// Checks the transport checksum over the whole segment; `None` where there is none to check.
    ///
    /// Cost: about 0.1 ns a byte.
    #[must_use]
    pub fn transport_checksum(&self) -> Option<Checksum> {
        match &self.network {
            Network::Ipv4(ip) => ip.transport_checksum(),
            Network::Ipv6(ip) => ip.transport_checksum(),
            Network::Arp(_) | Network::IpInLlc | Network::TooManyTags | Network::Other => None,
        }
    }

    /// Whether a receiver would take the packet for undamaged: IPv4 header and transport checksum fit, or there are
    /// none. A partial checksum is not ok.
    #[must_use]
    pub fn checksums_ok(&self) -> bool {
        let header = match &self.network {
            Network::Ipv4(ip) => ip.header_checksum_ok(),
            _ => true,
        };
        header && self.transport_checksum().is_none_or(Checksum::is_ok)
    }
}
