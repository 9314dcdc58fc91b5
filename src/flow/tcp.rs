use link::seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a conversation stands. Source: RFC 9293 section 3.3.2, as far as a box in the middle can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// The slot is free.
    Free = 0,
    /// No TCP: UDP or ICMP.
    Datagrams = 1,
    /// A SYN was seen.
    SynSent = 2,
    /// SYN and SYN-ACK were seen.
    SynReceived = 3,
    /// The handshake is complete, or the connection was open before the box.
    Established = 4,
    /// A FIN was seen.
    Closing = 5,
    /// Both FINs and their acknowledgements, or an exact reset.
    Closed = 6,
    /// The box ended it: nothing passes but exact resets.
    Dead = 7,
}

impl State {
    pub(super) const fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Free,
            1 => Self::Datagrams,
            2 => Self::SynSent,
            3 => Self::SynReceived,
            4 => Self::Established,
            5 => Self::Closing,
            6 => Self::Closed,
            _ => Self::Dead,
        }
    }
}

/// One sender of a TCP connection.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct End {
    /// Its initial sequence number.
    pub isn: u32,
    /// One past the highest sequence number that went by (SYN and FIN count).
    pub next: u32,
    /// Highest acknowledgement number it sent: what it stands at as a receiver.
    pub acked: u32,
    /// Last timestamp value it sent (RFC 7323), and the last it echoed.
    pub timestamp: [u32; 2],
    /// Largest segment that it takes, from its SYN; 536 where it said nothing (RFC 9293 section 3.7.1).
    pub mss: u16,
    /// Last window field it sent, unscaled.
    pub window: u16,
    /// Bits: 1 = timestamps offered, 2 = FIN seen, 4 = acknowledgement seen, 8 = selective acknowledgements understood,
    /// 16 = window scale offered.
    pub flags: u8,
    /// Shift count of its window field, as its SYN said; counts only where both ends offered one (RFC 7323, 2.2).
    pub shift: u8,
    /// Explicit padding.
    pub reserved: [u8; 2],
}

impl End {
    /// Timestamps are in use.
    pub const TIMESTAMPS: u8 = 1;
    /// Its FIN went by.
    pub const FIN: u8 = 2;
    /// It acknowledged something, so `acked` counts.
    pub const ACKED: u8 = 4;
    /// Selective acknowledgements are understood (RFC 2018).
    pub const SACK: u8 = 8;
    /// A window scale was offered.
    pub const SCALED: u8 = 16;

    /// Whether a flag is set.
    #[must_use]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Moves `next` forward to `to`; never back.
    pub fn advance(&mut self, to: u32) {
        if seq::before(self.next, to) {
            self.next = to;
        }
    }
}
