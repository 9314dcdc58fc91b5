//! UDP (RFC 768).

use crate::bytes::header;
use dissect::DissectError;

/// Bytes of a UDP header.
pub(crate) const HEADER_LEN: usize = 8;

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
        let (&[s0, s1, d0, d1, l0, l1, c0, c1], _) = header::<HEADER_LEN>(bytes, "UDP header", offset)?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len < HEADER_LEN {
            return Err(DissectError::malformed("UDP length", offset.saturating_add(4)));
        }
        let Some(datagram) = bytes.get(..len) else {
            return Err(DissectError::truncated("UDP datagram", offset, len, bytes.len()));
        };
        Ok(Self {
            source_port: u16::from_be_bytes([s0, s1]),
            destination_port: u16::from_be_bytes([d0, d1]),
            checksum: u16::from_be_bytes([c0, c1]),
            payload: datagram.get(HEADER_LEN..).unwrap_or_default(),
            payload_offset: offset.saturating_add(HEADER_LEN),
            datagram,
        })
    }
}
