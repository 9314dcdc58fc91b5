//! TCP segments (RFC 9293, 3.1).

use crate::bytes::{header, split};
use crate::tcp_option::{TcpOptionSummary, TcpOptions};
use core::fmt;
use core::ops::{BitOr, BitOrAssign};
use dissect::DissectError;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a TCP header without options.
pub(crate) const HEADER_LEN: usize = 20;

/// The eight control bits of a TCP header.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number is meant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is meant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// These flags without `flags`.
    #[inline]
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// FIN.
    #[inline]
    #[must_use]
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// SYN.
    #[inline]
    #[must_use]
    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// RST.
    #[inline]
    #[must_use]
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// PSH.
    #[inline]
    #[must_use]
    pub const fn psh(self) -> bool {
        self.contains(Self::PSH)
    }

    /// ACK.
    #[inline]
    #[must_use]
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }

    /// URG.
    #[inline]
    #[must_use]
    pub const fn urg(self) -> bool {
        self.contains(Self::URG)
    }

    /// How many sequence numbers SYN and FIN take: 0 to 2.
    #[inline]
    #[must_use]
    pub const fn sequence_len(self) -> u32 {
        (self.syn() as u32).wrapping_add(self.fin() as u32)
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for TcpFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for TcpFlags {
    /// The names that are set, joined by `|`; `none` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut separator = "";
        for (bit, name) in NAMES.iter().enumerate() {
            if self.0 >> bit & 1 == 1 {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if self.0 == 0 { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header as it stands on the wire, without options.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct TcpHeader {
    source_port: U16,
    destination_port: U16,
    seq: U32,
    ack: U32,
    /// Words of the header in the high half; reserved bits in the low half, which receivers ignore.
    data_offset: u8,
    flags: TcpFlags,
    window: U16,
    checksum: U16,
    urgent: U16,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first data byte, or of SYN.
    pub seq: u32,
    /// Next sequence number expected from the other side; without meaning when ACK is not set.
    pub ack: u32,
    /// The control bits.
    pub flags: TcpFlags,
    /// The window field as it stands, not scaled.
    pub window: u16,
    /// The checksum field.
    pub checksum: u16,
    /// The urgent pointer; without meaning when URG is not set.
    pub urgent: u16,
    /// The options, padding included: 0 to 40 bytes. See [`Tcp::options`].
    pub option_bytes: &'a [u8],
    /// The data; Ethernet padding is not part of it.
    pub payload: &'a [u8],
    /// Where the TCP header starts in the frame.
    pub header_offset: usize,
    /// Where `payload` starts in the frame.
    pub payload_offset: usize,
}

impl<'a> Tcp<'a> {
    /// Reads what IP carries, `offset` bytes into the frame.
    ///
    /// # Errors
    /// Truncated: the header or its options are not there. Malformed: a data offset below 5.
    #[inline(always)]
    pub(crate) fn parse(bytes: &'a [u8], offset: usize) -> Result<Self, DissectError> {
        let (header, rest) = header::<TcpHeader>(bytes, "TCP header", offset)?;
        let Some(options_len) = usize::from(header.data_offset >> 4).checked_sub(5).map(|words| words.wrapping_mul(4))
        else {
            return Err(DissectError::malformed("TCP data offset", offset.saturating_add(12)));
        };
        let options_offset = offset.saturating_add(HEADER_LEN);
        let (option_bytes, payload) = split(rest, options_len, "TCP options", options_offset)?;
        Ok(Self {
            source_port: header.source_port.get(),
            destination_port: header.destination_port.get(),
            seq: header.seq.get(),
            ack: header.ack.get(),
            flags: header.flags,
            window: header.window.get(),
            checksum: header.checksum.get(),
            urgent: header.urgent.get(),
            option_bytes,
            payload,
            header_offset: offset,
            payload_offset: options_offset.saturating_add(options_len),
        })
    }

    /// The options, one by one.
    #[must_use]
    pub const fn options(&self) -> TcpOptions<'a> {
        TcpOptions::new(self.option_bytes)
    }

    /// All options read at once.
    #[must_use]
    pub fn option_summary(&self) -> TcpOptionSummary {
        TcpOptionSummary::of(self.option_bytes)
    }

    /// Timestamp value and echo reply (RFC 7323, 3.2).
    ///
    /// Cost: one comparison where the option stands alone and aligned, as nearly every sender puts it.
    #[inline]
    #[must_use]
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        if let &[1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3] = self.option_bytes {
            return Some((u32::from_be_bytes([v0, v1, v2, v3]), u32::from_be_bytes([e0, e1, e2, e3])));
        }
        if self.option_bytes.is_empty() { None } else { self.option_summary().timestamps }
    }

    /// Sequence numbers that the segment takes: data, SYN and FIN.
    #[inline]
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        let data = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        data.wrapping_add(self.flags.sequence_len())
    }

    /// The sequence number after the segment.
    #[inline]
    #[must_use]
    pub fn seq_end(&self) -> u32 {
        self.seq.wrapping_add(self.sequence_len())
    }
}
