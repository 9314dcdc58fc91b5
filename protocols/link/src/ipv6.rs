//! IPv6 (RFC 8200).

use crate::bytes::{header, split};
use crate::checksum::Checksum;
use crate::transport::{Addresses, Transport};
use core::net::Ipv6Addr;
use dissect::DissectError;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of the IPv6 base header.
pub(crate) const HEADER_LEN: usize = 40;

/// Extension headers read before giving up; RFC 8200 knows an order of at most seven.
const MOST_EXTENSIONS: usize = 8;

/// The base header as it stands on the wire.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv6Header {
    /// 4, 8 and 20 bits.
    version_class_and_label: U32,
    payload_len: U16,
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

/// Which extension headers stand between the base header and the transport layer: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ipv6Extensions(pub u8);

impl Ipv6Extensions {
    /// Hop-by-hop options (0); MLD always has one (RFC 3810, 5).
    pub const HOP_BY_HOP: Self = Self(0x01);
    /// Routing (43).
    pub const ROUTING: Self = Self(0x02);
    /// Fragment (44), also where it is the only one.
    pub const FRAGMENT: Self = Self(0x04);
    /// Destination options (60).
    pub const DESTINATION: Self = Self(0x08);
    /// Authentication header (51), mobility (135), host identity (139), shim6 (140) or experimental (253, 254).
    pub const OTHER: Self = Self(0x10);

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `extensions` are there.
    #[must_use]
    pub const fn contains(self, extensions: Self) -> bool {
        self.0 & extensions.0 == extensions.0
    }

    const fn of(next_header: u8) -> Option<Self> {
        match next_header {
            0 => Some(Self::HOP_BY_HOP),
            43 => Some(Self::ROUTING),
            44 => Some(Self::FRAGMENT),
            60 => Some(Self::DESTINATION),
            51 | 135 | 139 | 140 | 253 | 254 => Some(Self::OTHER),
            _ => None,
        }
    }
}

/// An IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6<'a> {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hops left.
    pub hop_limit: u8,
    /// Differentiated services field and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// The number of the protocol behind all extension headers; see [`crate::protocol`].
    pub protocol: u8,
    /// The extension headers in between.
    pub extensions: Ipv6Extensions,
    /// What follows the extension headers by the packet's own length: Ethernet padding is cut off.
    pub payload: &'a [u8],
    /// What was read of it.
    pub transport: Transport<'a>,
}

impl<'a> Ipv6<'a> {
    /// Reads what follows the EtherType, `offset` bytes into the frame.
    ///
    /// # Errors
    /// Truncated: the frame ends before the packet does, or the packet inside an extension header. Malformed: another
    /// version. Unsupported: more than eight extension headers. Errors of the transport layer.
    pub(crate) fn parse(bytes: &'a [u8], offset: usize) -> Result<Self, DissectError> {
        let (fixed, rest) = header::<Ipv6Header>(bytes, "IPv6 header", offset)?;
        let word = fixed.version_class_and_label.get();
        if word >> 28 != 6 {
            return Err(DissectError::malformed("IPv6 version", offset));
        }
        let [.., traffic_class] = (word >> 20).to_be_bytes();
        let payload_len = usize::from(fixed.payload_len.get());
        let start = offset.saturating_add(HEADER_LEN);
        let (mut payload, _) = split(rest, payload_len, "IPv6 payload", start)?;
        let end = start.saturating_add(payload_len);
        let (mut protocol, mut extensions, mut fragment) = (fixed.next_header, Ipv6Extensions::default(), false);
        let mut count = 0usize;
        while let Some(extension) = Ipv6Extensions::of(protocol) {
            extensions.0 |= extension.0;
            let at = end.saturating_sub(payload.len());
            if count == MOST_EXTENSIONS {
                return Err(DissectError::unsupported("IPv6 extension headers beyond the eighth", at));
            }
            count = count.saturating_add(1);
            let (&[next, len], _) = header::<[u8; 2]>(payload, "IPv6 extension header", at)?;
            // RFC 8200, 4: units of eight bytes after the first; the authentication header counts four after eight.
            let len = match protocol {
                44 => 8,
                51 => usize::from(len).saturating_add(2).saturating_mul(4),
                _ => usize::from(len).saturating_add(1).saturating_mul(8),
            };
            (_, payload) = split(payload, len, "IPv6 extension header", at)?;
            // A fragment header that holds the whole packet is an atomic fragment (RFC 6946); what follows it is still
            // not read, as receivers treat it differently.
            fragment |= protocol == 44;
            protocol = next;
            if fragment {
                break;
            }
        }
        let transport = if fragment {
            Transport::Fragment
        } else {
            Transport::parse(protocol, true, payload, end.saturating_sub(payload.len()))?
        };
        Ok(Self {
            source: fixed.source.into(),
            destination: fixed.destination.into(),
            hop_limit: fixed.hop_limit,
            traffic_class,
            flow_label: word & 0x000f_ffff,
            protocol,
            extensions,
            payload,
            transport,
        })
    }

    /// Checks the transport checksum; `None` for fragments and protocols that are not read.
    ///
    /// A routing header with segments left changes the destination that the checksum covers: it then reads as invalid.
    #[must_use]
    pub fn transport_checksum(&self) -> Option<Checksum> {
        self.transport.checksum(Addresses::V6(self.source, self.destination), self.payload)
    }
}
