//! The gate: which bytes may reach the robot.
//!
//! One [`Gate`] stands in every watched TCP connection, in the direction toward the robot (a side of the box, never a
//! TCP role). It is a pure state machine over plain data: segments, acknowledgements and times go in, and what may leave
//! comes out. It knows no protocol: where units end and which are allowed is asked of a [`Judge`].
//!
//! What holds (the numbers are those of the manual's chapter on the gate):
//! - I1, I9: a byte leaves only as part of a unit whose verdict was to forward; of a refused unit not one byte leaves.
//! - I2, I3: the released bytes are the accepted bytes, in order and at their own sequence numbers.
//! - I5: bytes that were released are kept until the robot acknowledged them, and repeated from that copy.
//! - I10: the store is bounded, the segments held ahead are at most [`AHEAD`].
//! - I11: every limit that is hit ends in [`Outcome::Refuse`], never in forwarding.
//!
//! ```text
//!    base             released            accepted           ahead (holes before it)
//!     |  let go, not    |  in order, not    |    ...    [from,to) [from,to)
//!     |  acknowledged   |  judged yet       |
//! ```

mod stream;

#[cfg(test)]
mod tests;

use stream::span;
pub use stream::{AHEAD, STORE, Stream};

use link::seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::{Action, Reason};

/// Most pieces that one segment can release: a full store cut to the smallest segment size that TCP must accept.
/// Source: RFC 9293 section 3.7.1, default send MSS 536.
pub const RELEASES: usize = STORE / 536 + 2;

/// Release boundaries remembered for exact resets.
/// A receiver stands at one of them unless it acknowledged inside a segment; 8 cover a burst of a 500 Hz stream over a
/// 16 ms round trip.
pub const BOUNDARIES: usize = 8;

/// Unfinished units that arrive in segments below this many bytes count as crumbs.
const CRUMB: usize = 8;

/// Decides over the unit at the start of in-order bytes.
pub trait Judge {
    /// Looks at `bytes`, whose first byte begins a unit. Called again with more bytes behind the same ones after
    /// [`Judgement::Partial`], and with what follows after [`Judgement::Allow`].
    fn judge(&mut self, bytes: &[u8]) -> Judgement;
}

/// The answer of a [`Judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The first `len` bytes are a whole unit that may reach the robot.
    Allow {
        /// Length of the unit in bytes, at least 1.
        len: usize,
    },
    /// The unit is not whole yet.
    Partial {
        /// How long the rest may take, in nanoseconds.
        patience_ns: u64,
    },
    /// The first `len` bytes are a unit that must not reach the robot.
    Refuse {
        /// Length of the unit in bytes, at least 1.
        len: usize,
        /// [`Action::Reset`] or [`Action::Drop`].
        action: Action,
        /// Why.
        reason: Reason,
    },
    /// The bytes begin no unit: final for the connection, as no later border can be trusted.
    Broken {
        /// Why.
        reason: Reason,
    },
}

/// A TCP segment toward the robot, as far as the gate cares.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// The payload, at least one byte.
    pub payload: &'a [u8],
    /// Monotonic clock in nanoseconds.
    pub now_ns: u64,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame goes on as it is.
    Forward,
    /// The frame is replaced by the pieces in [`Releases`]; none = only its acknowledgement goes on.
    Replace,
    /// All of it was acknowledged by the robot long ago: the client lost that acknowledgement and gets it again.
    Repeated,
    /// A keepalive or window probe: goes on as an empty segment with the same sequence number.
    Probe,
    /// The frame is dropped; the connection lives.
    Drop(Reason),
    /// After the pieces in [`Releases`] the connection ends.
    Refuse {
        /// [`Action::Reset`] or [`Action::Drop`].
        action: Action,
        /// Why.
        reason: Reason,
    },
}

/// Pieces of the store to send toward the robot, in order.
#[derive(Clone, Copy, Debug)]
pub struct Releases {
    pieces: [(u32, u32); RELEASES],
    len: usize,
}

impl Default for Releases {
    fn default() -> Self {
        Self { pieces: [(0, 0); RELEASES], len: 0 }
    }
}

impl Releases {
    /// Forgets all pieces.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The pieces as sequence number and length.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.pieces.iter().copied().take(self.len)
    }

    /// Adds `from..to`, cut to `mss`. Pieces beyond the room are left out: they stay released and unacknowledged, and
    /// the sender's retransmission brings them.
    fn push(&mut self, from: u32, to: u32, mss: u32) {
        let mut at = from;
        while seq::before(at, to) {
            let len = span(at, to).min(mss.max(1));
            let Some(piece) = self.pieces.get_mut(self.len) else { return };
            *piece = (at, len);
            self.len = self.len.saturating_add(1);
            at = at.wrapping_add(len);
        }
    }
}

/// The state of the gate of one connection. Plain data: lives in the shared arena.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Gate {
    stream: Stream,
    /// Monotonic time by which the unit at `released` must be whole; 0 = none is open.
    deadline_ns: u64,
    boundaries: [u32; BOUNDARIES],
    boundaries_len: u32,
    conflicts: u32,
    crumbs: u32,
    reserved: u32,
}

impl Gate {
    /// A gate whose next byte has sequence number `seq` (the client's initial one plus 1).
    #[must_use]
    pub fn new(seq: u32) -> Self {
        let mut gate = Self {
            stream: Stream::new(seq),
            deadline_ns: 0,
            boundaries: [0; BOUNDARIES],
            boundaries_len: 0,
            conflicts: 0,
            crumbs: 0,
            reserved: 0,
        };
        gate.remember_boundary(seq);
        gate
    }

    /// The stream's positions.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// When the open unit runs out of time, monotonic nanoseconds.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        (self.deadline_ns != 0).then_some(self.deadline_ns)
    }

    /// Whether the connection stands at a unit border with nothing held, no hole and no recorded conflict, so that
    /// enforcement can begin (or go on after a restart) without having missed a byte.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.stream.is_drained() && self.conflicts == 0
    }

    /// Sequence numbers at which the robot may stand: for resets that must be exact.
    pub fn boundaries(&self) -> impl Iterator<Item = u32> + '_ {
        let base = self.stream.base();
        let live = move |&at: &u32| at == base || seq::before(base, at);
        let known = self.boundaries.iter().copied().take(self.boundaries_len as usize).filter(move |at| *at != base);
        core::iter::once(base).chain(known.filter(live))
    }

    /// Judges what the segment brings and says what leaves.
    ///
    /// With `enforce` unset the caller forwards every frame whatever the outcome, and the same machine runs on copies:
    /// a refused unit is stepped over instead of ending the connection; [`Outcome::Refuse`] then says that the stream
    /// can't be read further.
    ///
    /// Cost: for a segment that continues the stream at a unit border and holds whole units, one copy of the payload
    /// beside the judge's own work.
    pub fn accept<J: Judge>(
        &mut self,
        store: &mut [u8],
        segment: &Segment<'_>,
        enforce: bool,
        mss: u32,
        judge: &mut J,
        releases: &mut Releases,
    ) -> Outcome {
        let Segment { seq: start, payload, now_ns } = *segment;
        let Ok(len) = u32::try_from(payload.len()) else { return Outcome::Drop(Reason::BeyondWindow) };
        let end = start.wrapping_add(len);
        if start == self.stream.accepted() && self.stream.is_drained() {
            return self.accept_aligned(store, payload, now_ns, enforce, mss, judge, releases);
        }
        let base = self.stream.base();
        if len <= 1 && start == base.wrapping_sub(1) {
            return Outcome::Probe;
        }
        if !seq::before(base, end) {
            return Outcome::Repeated;
        }
        if span(base, end) as usize > STORE {
            return Outcome::Drop(Reason::BeyondWindow);
        }
        if self.stream.conflicts_with(store, start, payload) {
            self.conflicts = self.conflicts.saturating_add(1);
            if self.conflicts > 1 {
                return Outcome::Refuse { action: Action::Reset, reason: Reason::RetransmissionConflict };
            }
        }
        if seq::before(start, self.stream.released()) {
            let from = if seq::before(start, base) { base } else { start };
            let to = if seq::before(self.stream.released(), end) { self.stream.released() } else { end };
            releases.push(from, to, mss);
        }
        let ahead = seq::before(self.stream.accepted(), start);
        match self.stream.insert(store, start, payload) {
            Ok(()) => {}
            Err(_) if ahead => return Outcome::Drop(Reason::OutOfOrder),
            Err(reason) => return Outcome::Refuse { action: Action::Reset, reason },
        }
        self.judge_held(store, len, now_ns, enforce, mss, judge, releases)
    }

    /// The common case: the segment continues a drained stream, so units are judged where they lie in the frame.
    #[expect(clippy::too_many_arguments, reason = "the inner half of `accept`, with its arguments taken apart")]
    fn accept_aligned<J: Judge>(
        &mut self,
        store: &mut [u8],
        payload: &[u8],
        now_ns: u64,
        enforce: bool,
        mss: u32,
        judge: &mut J,
        releases: &mut Releases,
    ) -> Outcome {
        let start = self.stream.accepted();
        let mut rest = payload;
        let mut stop = None;
        while !rest.is_empty() {
            match judge.judge(rest) {
                Judgement::Allow { len } => rest = rest.get(len.max(1)..).unwrap_or_default(),
                Judgement::Refuse { len, .. } if !enforce => rest = rest.get(len.max(1)..).unwrap_or_default(),
                other => {
                    stop = Some(other);
                    break;
                }
            }
        }
        let allowed = payload.len().saturating_sub(rest.len());
        // What is kept: the released bytes until the robot has them, and the beginning of an open unit.
        let kept = if matches!(stop, None | Some(Judgement::Partial { .. })) { payload.len() } else { allowed };
        if let Err(reason) = self.stream.append(store, payload.get(..kept).unwrap_or_default()) {
            return Outcome::Refuse { action: Action::Reset, reason };
        }
        self.release(allowed);
        match stop {
            None => {
                self.crumbs = 0;
                return Outcome::Forward;
            }
            Some(Judgement::Partial { patience_ns }) => self.open_unit(payload.len(), now_ns, patience_ns),
            Some(_) => {}
        }
        releases.push(start, self.stream.released(), mss);
        Self::ended(stop)
    }

    #[expect(clippy::too_many_arguments, reason = "the inner half of `accept`, with its arguments taken apart")]
    fn judge_held<J: Judge>(
        &mut self,
        store: &[u8],
        arrived: u32,
        now_ns: u64,
        enforce: bool,
        mss: u32,
        judge: &mut J,
        releases: &mut Releases,
    ) -> Outcome {
        let from = self.stream.released();
        let mut stop = None;
        loop {
            let held = self.stream.held(store);
            if held.is_empty() {
                break;
            }
            match judge.judge(held) {
                Judgement::Allow { len } => self.release(len.max(1)),
                Judgement::Refuse { len, .. } if !enforce => self.release(len.max(1)),
                other => {
                    stop = Some(other);
                    break;
                }
            }
        }
        if self.stream.released() != from {
            self.deadline_ns = 0;
        }
        if let Some(Judgement::Partial { patience_ns }) = stop {
            self.open_unit(arrived as usize, now_ns, patience_ns);
        }
        releases.push(from, self.stream.released(), mss);
        Self::ended(stop)
    }

    fn ended(stop: Option<Judgement>) -> Outcome {
        match stop {
            Some(Judgement::Refuse { action, reason, .. }) => Outcome::Refuse { action, reason },
            Some(Judgement::Broken { reason }) => Outcome::Refuse { action: Action::Reset, reason },
            _ => Outcome::Replace,
        }
    }

    fn open_unit(&mut self, arrived: usize, now_ns: u64, patience_ns: u64) {
        if arrived < CRUMB {
            self.crumbs = self.crumbs.saturating_add(1);
        }
        if self.deadline_ns == 0 {
            self.deadline_ns = now_ns.saturating_add(patience_ns).max(1);
        }
    }

    fn release(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        self.stream.release(len);
        self.deadline_ns = 0;
        self.remember_boundary(self.stream.released());
    }

    fn remember_boundary(&mut self, at: u32) {
        if self.boundaries_len as usize == BOUNDARIES {
            self.boundaries.rotate_left(1);
            self.boundaries_len = self.boundaries_len.saturating_sub(1);
        }
        if let Some(slot) = self.boundaries.get_mut(self.boundaries_len as usize) {
            *slot = at;
            self.boundaries_len = self.boundaries_len.saturating_add(1);
        }
    }

    /// Takes an acknowledgement of the robot.
    ///
    /// # Errors
    /// It acknowledges bytes that were never let go (I7); the caller drops the frame while enforcing.
    pub fn acknowledge(&mut self, ack: u32) -> Result<(), Reason> {
        if seq::before(self.stream.released(), ack) {
            return Err(Reason::BadFlags);
        }
        self.stream.acknowledge(ack);
        Ok(())
    }

    /// Takes an acknowledgement outside enforcement: the robot has bytes in `..ack` whatever was seen of them.
    /// Says whether bytes were missed, so that the stream had to begin anew at `ack`.
    pub fn acknowledge_passive(&mut self, ack: u32) -> bool {
        if seq::before(self.stream.accepted(), ack) {
            self.stream = Stream::new(ack);
            self.deadline_ns = 0;
            return true;
        }
        let upto = if seq::before(self.stream.released(), ack) { self.stream.released() } else { ack };
        self.stream.acknowledge(upto);
        false
    }
}
