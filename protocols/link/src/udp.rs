//! UDP (RFC 768).

use crate::bytes::header;
use dissect::DissectError;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of a UDP header.
pub(crate) const HEADER_LEN: usize = 8;

/// The header as it stands on the wire.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UdpHeader {
    source_port: U16,
    destination_port: U16,
    len: U16,
    checksum: U16,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The checksum field; 0 over IPv4 means that there is none.
    pub checksum: u16,
    /// The data, by the datagram's own length.
    pub payload: &'a [u8],
    /// Where `payload` starts in the frame.
    pub payload_offset: usize,
    /// Header and data: what the checksum covers beside the pseudo-header.
    pub(crate) datagram: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Reads what IP carries, `offset` bytes into the frame.
    ///
    /// # Errors
    /// Truncated: the header or the data it announces is not there. Malformed: a length below 8.
    pub(crate) fn parse(bytes: &'a [u8], offset: usize) -> Result<Self, DissectError> {
        let (header, _) = header::<UdpHeader>(bytes, "UDP header", offset)?;
        let len = usize::from(header.len.get());
        if len < HEADER_LEN {
            return Err(DissectError::malformed("UDP length", offset.saturating_add(4)));
        }
        let Some(datagram) = bytes.get(..len) else {
            return Err(DissectError::truncated("UDP datagram", offset, len, bytes.len()));
        };
        Ok(Self {
            source_port: header.source_port.get(),
            destination_port: header.destination_port.get(),
            checksum: header.checksum.get(),
            payload: datagram.get(HEADER_LEN..).unwrap_or_default(),
            payload_offset: offset.saturating_add(HEADER_LEN),
            datagram,
        })
    }
}
