//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use crate::bytes::header;
use crate::transport::protocol;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use dissect::DissectError;

/// Bytes before what an ICMP message carries.
const HEADER_LEN: usize = 8;

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// The type field; its meaning differs between ICMP and ICMPv6.
    pub kind: u8,
    /// The code field.
    pub code: u8,
    /// The checksum field.
    pub checksum: u16,
    /// The packet that an error message is about, as far as it can be read; `None` for other messages.
    pub quoted: Option<Quoted>,
    /// What follows the first eight bytes.
    pub payload: &'a [u8],
    /// Whether this is ICMPv6.
    pub v6: bool,
}

impl<'a> Icmp<'a> {
    /// Reads what IP carries, `offset` bytes into the frame.
    ///
    /// # Errors
    /// Truncated: fewer than eight bytes, which no ICMP message has; for ICMPv6 fewer than four.
    pub(crate) fn parse(bytes: &'a [u8], v6: bool, offset: usize) -> Result<Self, DissectError> {
        let (&[kind, code, c0, c1], body) = header::<[u8; 4]>(bytes, "ICMP header", offset)?;
        if !v6 && bytes.len() < HEADER_LEN {
            return Err(DissectError::truncated("ICMP header", offset, HEADER_LEN, bytes.len()));
        }
        let payload = body.get(4..).unwrap_or_default();
        let mut icmp = Self { kind, code, checksum: u16::from_be_bytes([c0, c1]), quoted: None, payload, v6 };
        if icmp.is_error() {
            icmp.quoted = Quoted::read(payload, v6, offset.saturating_add(HEADER_LEN));
        }
        Ok(icmp)
    }

    /// Whether this is an echo request or reply.
    #[must_use]
    pub const fn is_echo(&self) -> bool {
        if self.v6 { matches!(self.kind, 128 | 129) } else { matches!(self.kind, 8 | 0) }
    }

    /// Whether this is an error message about another packet.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        if self.v6 { matches!(self.kind, 1..=4) } else { matches!(self.kind, 3 | 4 | 5 | 11 | 12) }
    }
}

/// The start of the packet that an ICMP error is about: it travelled against the direction of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Source address of the quoted packet.
    pub source: IpAddr,
    /// Destination address of the quoted packet.
    pub destination: IpAddr,
    /// IP protocol number of the quoted packet.
    pub protocol: u8,
    /// Source port; 0 where the protocol has none.
    pub source_port: u16,
    /// Destination port; 0 where the protocol has none.
    pub destination_port: u16,
    /// Sequence number of a quoted TCP segment.
    pub seq: Option<u32>,
    /// Where the quoted transport header starts in the frame.
    pub transport_offset: usize,
}

impl Quoted {
    /// Reads the quoted packet, whose tail is usually cut off: lengths and checksums are not held against it.
    fn read(bytes: &[u8], v6: bool, offset: usize) -> Option<Self> {
        let (source, destination, number, rest) = if v6 {
            let (ip, rest) = bytes.split_first_chunk::<40>()?;
            let &[version, _, _, _, _, _, next_header, _, ref addresses @ ..] = ip;
            let (source, destination) = addresses.split_first_chunk::<16>()?;
            let source = IpAddr::from(Ipv6Addr::from(*source));
            let destination = IpAddr::from(Ipv6Addr::from(*destination.first_chunk()?));
            (version >> 4 == 6).then_some((source, destination, next_header, rest))?
        } else {
            let (ip, _) = bytes.split_first_chunk::<20>()?;
            let &[version, _, _, _, _, _, fragment, low, _, number, _, _, a, b, c, d, e, f, g, h] = ip;
            let header_len = usize::from(version & 0x0f).checked_mul(4).filter(|len| *len >= 20)?;
            let rest = bytes.get(header_len..)?;
            // Behind the first fragment come no ports.
            let first = u16::from_be_bytes([fragment & 0x1f, low]) == 0;
            let (source, destination) = (Ipv4Addr::new(a, b, c, d).into(), Ipv4Addr::new(e, f, g, h).into());
            (version >> 4 == 4 && first).then_some((source, destination, number, rest))?
        };
        let transport_offset = offset.saturating_add(bytes.len().saturating_sub(rest.len()));
        let mut quoted = Self {
            source,
            destination,
            protocol: number,
            source_port: 0,
            destination_port: 0,
            seq: None,
            transport_offset,
        };
        if let (protocol::TCP | protocol::UDP, &[s0, s1, d0, d1, ref rest @ ..]) = (number, rest) {
            quoted.source_port = u16::from_be_bytes([s0, s1]);
            quoted.destination_port = u16::from_be_bytes([d0, d1]);
            if let (protocol::TCP, Some(seq)) = (number, rest.first_chunk()) {
                quoted.seq = Some(u32::from_be_bytes(*seq));
            }
        }
        Some(quoted)
    }
}
