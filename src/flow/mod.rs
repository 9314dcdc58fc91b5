//! Conversations: a fixed table of [`Flow`]s, found by [`link::FlowKey`], and the TCP tracking that each needs.
//!
//! Plain data over memory that the caller keeps (the shared arena), all zero when new. Nothing is allocated and nothing
//! moves, so that another process can go on with the same table.

mod table;
mod tcp;

pub use table::{CAPACITY, FlowId, Table};
pub use tcp::{End, State};

use dissect::Toward;
use link::{FlowKey, Mac, Tags};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One conversation. Plain data; all zero = a free slot.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Flow {
    /// Both ends, by side.
    pub key: FlowKey,
    /// Monotonic time of the last frame.
    pub last_ns: u64,
    /// Wall clock of the first and the last frame, nanoseconds since 1970.
    pub wall_ns: [u64; 2],
    /// Frames toward the robot and toward the plant.
    pub frames: [u64; 2],
    /// Bytes on the wire toward the robot and toward the plant.
    pub bytes: [u64; 2],
    /// Commands allowed and refused.
    pub commands: [u64; 2],
    /// Monotonic time until which a dead flow stays dead, or of the next reset to be repeated.
    pub until_ns: u64,
    /// Senders toward the robot and toward the plant.
    pub ends: [End; 2],
    /// Hash of the key; place in the index.
    pub hash: u32,
    /// Slot of the watched stream plus 1; 0 = none.
    pub stream: u32,
    /// Policy's number of the peer, and the generation it was asked of.
    pub client: u16,
    /// TCP port or protocol number that the service was told by.
    pub service_port: u16,
    /// Generation of the policy that admitted it.
    pub generation: u32,
    /// Tag stack of the first frame.
    pub tags: Tags,
    /// MAC of the plant side and of the robot side, as the first frame had them.
    pub macs: [Mac; 2],
    state: u8,
    opened: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Reason of the refusal that ended it, as its number.
    pub reason: u8,
    /// Resets still to be repeated.
    pub resets: u8,
    /// The socket of external control, as its channel's number; 0 = it is none.
    pub channel: u8,
    /// 1 = it is the Robot API of PolyScope X, which does what the Dashboard server did.
    pub robot_api: u8,
    /// Explicit padding.
    pub reserved: [u8; FLOW_PADDING],
}

/// Bytes that fill [`Flow`] to a multiple of its alignment.
const FLOW_PADDING: usize = 11;

/// Payload bytes below which no segment is cut, whatever a SYN asks for: else every byte would cost a frame.
/// Source: Linux `TCP_MIN_SND_MSS`, 48 less the timestamps.
const LEAST_PAYLOAD: u32 = 36;

/// Bits of [`Flow::flags`].
pub mod flag {
    /// Units toward the robot are held until judged.
    pub const ENFORCED: u8 = 1;
    /// The stream toward the robot can't be read (bytes were missed, or it is not its protocol).
    pub const UNREADABLE: u8 = 2;
    /// The stream toward the plant can't be read.
    pub const ANSWERS_UNREADABLE: u8 = 4;
    /// The SYN was seen.
    pub const FROM_START: u8 = 8;
    /// A dissector reads its service.
    pub const DISSECTED: u8 = 16;
    /// Its record was made.
    pub const REPORTED: u8 = 32;
    /// It ended without a word to either end.
    pub const SILENT: u8 = 64;
    /// It was spliced when it ended: its ends know different numbers, so nothing of it can go on as it is.
    pub const SHIFTED: u8 = 128;
}

impl Flow {
    /// The connection's state.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(self.state)
    }

    /// Moves to another state.
    pub fn set_state(&mut self, state: State) {
        self.state = state as u8;
    }

    /// Who opened it: [`Toward::Robot`] = the plant side did.
    #[must_use]
    pub fn opened(&self) -> Toward {
        if self.opened == Toward::Plant as u8 { Toward::Plant } else { Toward::Robot }
    }

    /// Notes who opened it.
    pub fn set_opened(&mut self, toward: Toward) {
        self.opened = toward as u8;
    }

    /// The sender of frames that travel `toward` a side.
    #[must_use]
    pub fn end(&self, toward: Toward) -> &End {
        let [robot, plant] = &self.ends;
        match toward {
            Toward::Robot => robot,
            Toward::Plant => plant,
        }
    }

    /// The same, to change.
    pub fn end_mut(&mut self, toward: Toward) -> &mut End {
        let [robot, plant] = &mut self.ends;
        match toward {
            Toward::Robot => robot,
            Toward::Plant => plant,
        }
    }

    /// Whether both ends have a flag.
    #[must_use]
    pub fn both(&self, flag: u8) -> bool {
        self.ends.iter().all(|end| end.is(flag))
    }

    /// Shift of the window field in frames `toward` a side. Source: RFC 7323 section 2.2: at most 14, and only where
    /// both ends offered one.
    #[must_use]
    pub fn window_shift(&self, toward: Toward) -> u8 {
        if self.both(End::SCALED) { self.end(toward).shift.min(14) } else { 0 }
    }

    /// The window that frames `toward` a side offered last, in bytes.
    #[must_use]
    pub fn window(&self, toward: Toward) -> u32 {
        u32::from(self.end(toward).window) << self.window_shift(toward)
    }

    /// Payload bytes of the largest segment to either end: what the SYNs said, less the timestamps that every segment
    /// carries. The lesser of both, as on a cable: neither end sends more than its own link carries, and the other's may
    /// carry more than the way to it.
    #[must_use]
    pub fn payload_mss(&self) -> u32 {
        let options = if self.both(End::TIMESTAMPS) { 12 } else { 0 };
        let least = self.ends.iter().map(|end| u32::from(end.mss)).min().unwrap_or(0);
        least.saturating_sub(options).max(LEAST_PAYLOAD)
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sets or clears a flag.
    pub fn set(&mut self, flag: u8, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }

    /// Counts a frame.
    pub fn count(&mut self, toward: Toward, wire_len: u32, now_ns: u64, wall_ns: u64) {
        let side = toward as usize;
        if let (Some(frames), Some(bytes)) = (self.frames.get_mut(side), self.bytes.get_mut(side)) {
            *frames = frames.saturating_add(1);
            *bytes = bytes.saturating_add(u64::from(wire_len));
        }
        self.last_ns = now_ns;
        self.wall_ns[1] = wall_ns;
    }
}
