//! IPv4 (RFC 791).

use crate::bytes::{header, split};
use crate::checksum::{self, Checksum};
use crate::transport::{Addresses, Transport, protocol};
use core::net::Ipv4Addr;
use dissect::DissectError;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of an IPv4 header without options.
pub(crate) const HEADER_LEN: usize = 20;

/// The header as it stands on the wire, without options.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipv4Header {
    version_and_len: u8,
    traffic_class: u8,
    total_len: U16,
    identification: U16,
    /// Reserved, don't fragment, more fragments; then the offset in units of eight bytes.
    flags_and_offset: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

/// What the options of an IPv4 header are good for; the worst of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ipv4Options {
    /// The header has none, or only padding.
    None,
    /// Options that change neither the path nor the header on its way, such as router alert.
    Harmless,
    /// Record route (RFC 791, option 7) or timestamp (68): routers write into the header.
    RecordRoute,
    /// Loose (131) or strict (137) source route: the sender picks the path.
    SourceRoute,
}

impl Ipv4Options {
    /// Reads the bytes between the fixed header and the payload, `offset` bytes into the frame.
    fn parse(mut bytes: &[u8], offset: usize) -> Result<Self, DissectError> {
        let end = offset.saturating_add(bytes.len());
        let mut worst = Self::None;
        while let &[kind, ref rest @ ..] = bytes {
            let found = match kind {
                0 => break,
                1 => {
                    bytes = rest;
                    continue;
                }
                7 | 68 => Self::RecordRoute,
                131 | 137 => Self::SourceRoute,
                _ => Self::Harmless,
            };
            let after = match rest.first() {
                Some(&len @ 2..) => bytes.get(usize::from(len)..),
                _ => None,
            };
            let Some(after) = after else {
                return Err(DissectError::malformed("IPv4 option length", end.saturating_sub(bytes.len())));
            };
            bytes = after;
            worst = worst.max(found);
        }
        Ok(worst)
    }
}

/// An IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4<'a> {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Hops left.
    pub ttl: u8,
    /// The number of the protocol inside; see [`crate::protocol`].
    pub protocol: u8,
    /// Differentiated services field and ECN: the former type of service byte (RFC 2474, RFC 3168).
    pub traffic_class: u8,
    /// Identification.
    pub identification: u16,
    /// The don't-fragment flag.
    pub dont_fragment: bool,
    /// Whether this is a fragment: more are to come, or it does not start at 0.
    pub fragment: bool,
    /// What the options are good for.
    pub options: Ipv4Options,
    /// Header and options, 20 to 60 bytes.
    pub header: &'a [u8],
    /// What is inside by the packet's own length: Ethernet padding is cut off.
    pub payload: &'a [u8],
    /// What was read of it.
    pub transport: Transport<'a>,
}

/// An IPv4 packet up to its transport layer.
pub(crate) struct Ipv4Start<'a> {
    fixed: &'a Ipv4Header,
    options: Ipv4Options,
    header: &'a [u8],
    pub(crate) payload: &'a [u8],
    offset: usize,
}

impl<'a> Ipv4Start<'a> {
    /// Reads what follows the EtherType, `offset` bytes into the frame.
    ///
    /// # Errors
    /// Truncated: the frame ends before the packet does. Malformed: version, header length, total length or option
    /// length contradict each other.
    #[inline(always)]
    pub(crate) fn parse(bytes: &'a [u8], offset: usize) -> Result<Self, DissectError> {
        let (fixed, _) = header::<Ipv4Header>(bytes, "IPv4 header", offset)?;
        if fixed.version_and_len >> 4 != 4 {
            return Err(DissectError::malformed("IPv4 version", offset));
        }
        let header_len = usize::from(fixed.version_and_len & 0x0f).wrapping_mul(4);
        if header_len < HEADER_LEN {
            return Err(DissectError::malformed("IPv4 header length", offset));
        }
        let total_len = usize::from(fixed.total_len.get());
        if total_len < header_len {
            return Err(DissectError::malformed("IPv4 total length", offset.saturating_add(2)));
        }
        let (packet, _) = split(bytes, total_len, "IPv4 packet", offset)?;
        let (header, payload) = split(packet, header_len, "IPv4 header", offset)?;
        let options = match header.get(HEADER_LEN..) {
            None | Some([]) => Ipv4Options::None,
            Some(options) => Ipv4Options::parse(options, offset.saturating_add(HEADER_LEN))?,
        };
        Ok(Self { fixed, options, header, payload, offset })
    }

    #[inline(always)]
    fn is_fragment(&self) -> bool {
        self.fixed.flags_and_offset.get() & 0x3fff != 0
    }

    #[inline(always)]
    pub(crate) fn carries_tcp(&self) -> bool {
        self.fixed.protocol == protocol::TCP && !self.is_fragment()
    }

    /// Where the payload starts in the frame.
    #[inline(always)]
    pub(crate) fn payload_offset(&self) -> usize {
        self.offset.saturating_add(self.header.len())
    }

    /// The packet with whatever is inside.
    ///
    /// # Errors
    /// Errors of the transport layer.
    pub(crate) fn parse_transport(&self) -> Result<Ipv4<'a>, DissectError> {
        Ok(self.packet(if self.is_fragment() {
            Transport::Fragment
        } else {
            Transport::parse(self.fixed.protocol, false, self.payload, self.payload_offset())?
        }))
    }

    #[inline(always)]
    pub(crate) fn packet(&self, transport: Transport<'a>) -> Ipv4<'a> {
        let Self { fixed, options, header, payload, .. } = *self;
        Ipv4 {
            source: fixed.source.into(),
            destination: fixed.destination.into(),
            ttl: fixed.ttl,
            protocol: fixed.protocol,
            traffic_class: fixed.traffic_class,
            identification: fixed.identification.get(),
            dont_fragment: fixed.flags_and_offset.get() & 0x4000 != 0,
            fragment: self.is_fragment(),
            options,
            header,
            payload,
            transport,
        }
    }
}

impl Ipv4<'_> {
    /// Bytes of header and options, 20 to 60.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Bytes of header and payload.
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.header.len().saturating_add(self.payload.len())
    }

    /// Whether the header checksum fits.
    #[must_use]
    pub fn header_checksum_ok(&self) -> bool {
        checksum::sum(self.header) == 0xffff
    }

    /// Checks the transport checksum; `None` for fragments and protocols that are not read.
    #[must_use]
    pub fn transport_checksum(&self) -> Option<Checksum> {
        self.transport.checksum(Addresses::V4(self.source, self.destination), self.payload)
    }
}
