//! The gate: which bytes may reach the robot.
//!
//! One [`Gate`] stands in every watched TCP connection. It is a pure state machine over plain data: segments,
//! acknowledgements and times go in, and what may leave comes out. It knows no protocol: where units end, which are
//! allowed and how a refused one is answered is asked of a [`Judge`]. "Toward the robot" is a side of the box, never a
//! TCP role.
//!
//! It works in one of two ways:
//! - **Fast** (`fast`): frames pass untouched, at the sender's own sequence numbers, as long as they hold whole,
//!   allowed units in order. Both ends talk to each other; the gate keeps a copy of what is not acknowledged.
//! - **Splice** (`splice`): the gate is the receiver of either end and sends to the other with a sender of its own.
//!   So it can acknowledge what it holds, cut units out, put answers in and change bytes. A connection is spliced when
//!   that is needed, from then on; ports whose units are long are spliced from the handshake on.
//!
//! What holds (the numbers are those of the manual's chapter on the gate):
//! - I1, I9: a byte leaves toward the robot only as part of a unit whose verdict was to forward.
//! - I2, I3: the released bytes are the accepted bytes, in order; their numbers are the sender's minus what was cut.
//! - I5: bytes that were released are kept until they are acknowledged, and repeated from that copy.
//! - I7: in Fast only the ends acknowledge; in Splice only what is in the store is acknowledged, a FIN never before the
//!   other end has acknowledged it.
//! - I14: a unit is judged in the event in which its first byte leaves, so never by rules or a state of the robot that
//!   have changed since. What waits, for the robot's window above all, waits unjudged.
//! - I10: stores are bounded, and so is what one event can cause.
//! - I11: every limit that is hit ends in [`Outcome::Refuse`] or a drop, never in forwarding.
//!
//! ```text
//!    base             released            accepted           ahead (holes before it)
//!     |  let go, not    |  in order, not    |    ...    [from,to) [from,to)
//!     |  acknowledged   |  judged yet       |
//! ```

mod fast;
mod sender;
mod splice;
mod stream;

#[cfg(fuzzing)]
pub mod tests;
#[cfg(all(test, not(fuzzing)))]
mod tests;

use dissect::Toward;
use link::seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::{Action, Reason};
use sender::Sender;

pub use fast::{RELEASES, Releases};
pub use splice::{
    ANSWER, Exactness, Peers, Sack, Segment as SpliceSegment, SpliceOut, Spliced, Stores, TimedOut, Wire,
};
pub use stream::{AHEAD, STORE, Stream};

/// Release boundaries remembered for exact resets.
/// A receiver stands at one of them unless it acknowledged inside a segment; 8 cover a burst of a 500 Hz stream over a
/// 16 ms round trip.
pub const BOUNDARIES: usize = 8;

/// How long the first part of a unit is held before the gate acknowledges it itself: below it a sender that writes
/// header and body apart loses nothing, and a sender with Nagle's algorithm would wait for 40 ms and more.
/// Source: specification S10, at most 3 ms added to split writes.
pub const HOLD_NS: u64 = 2_000_000;

/// Bytes of an open unit above which the gate acknowledges at once. Source: design of the gate, "4 KiB".
const HOLD_BYTES: u32 = 4096;

/// Units judged in one go at most; each may be an event. A segment of the shortest units has three times as many.
const UNITS: u32 = 512;

/// Unfinished units that arrive in segments below this many bytes count as crumbs; so many are worth splicing.
const CRUMB: usize = 8;
const CRUMBS: u32 = 8;

/// Decides over the units of one connection.
pub trait Judge {
    /// Looks at `bytes`, whose first byte begins a unit toward the robot. Called again with more bytes behind the same
    /// ones after [`Judgement::Partial`], and with what follows after [`Judgement::Allow`].
    fn judge(&mut self, bytes: &[u8]) -> Judgement;

    /// Changes the bytes of a unit that [`Judgement::Clamp`] was said of; its length stays.
    fn clamp(&mut self, unit: &mut [u8]);

    /// Looks at `bytes`, whose first byte begins a unit of the robot's.
    fn reply(&mut self, bytes: &[u8]) -> Reply;

    /// Whether units of the robot can be told apart at all, so that an answer can be put between two of them.
    fn frames_replies(&self) -> bool;

    /// Whether [`Judge::reply`] is to look at what the robot sends. Also where nothing can be put in: then what it answers
    /// changes nothing but what it is shown next, and every byte goes on as it came.
    fn reads_replies(&self) -> bool;

    /// Units of the robot that have to come before an answer of the box's own is in its place.
    fn outstanding(&self) -> u32;

    /// Writes the answer to a refused unit into `out`.
    fn answer(&mut self, unit: &[u8], reason: Reason, out: &mut [u8]) -> Answer;
}

/// The answer of a [`Judge`] about a unit toward the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The first `len` bytes are a whole unit that may reach the robot.
    Allow {
        /// Length of the unit in bytes, at least 1.
        len: usize,
    },
    /// The same, once its bytes are changed by [`Judge::clamp`].
    Clamp {
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
        /// [`Action::Refuse`], [`Action::Reset`] or [`Action::Drop`].
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

/// The answer of a [`Judge`] about a unit of the robot's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The first `len` bytes are a whole unit.
    Whole {
        /// Length in bytes, at least 1.
        len: usize,
    },
    /// It is not whole yet.
    Partial,
    /// The bytes begin no unit: the robot's units can't be told apart from here on.
    Unreadable,
    /// The bytes are what no receiver should have to interpret: they don't go on, and the connection ends.
    Broken,
}

/// How a refused unit is answered in the robot's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// By the first `len` bytes of the buffer.
    Bytes {
        /// Length in bytes.
        len: usize,
    },
    /// Not at all: the protocol has no answer.
    Silent,
    /// It can't be answered: the connection has to end.
    Impossible,
}

/// A TCP segment toward the robot, as far as the gate in Fast cares.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// The payload, at least one byte.
    pub payload: &'a [u8],
    /// Right edge of the window that the robot offered last.
    pub edge: u32,
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
    /// The frame was taken in, and the connection has to be spliced ([`Gate::splice`]) for what comes next.
    Splice {
        /// What was let go before it was also sent.
        sent: u32,
    },
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

/// One direction: what came in and what of it went out. Plain data.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Half {
    /// Sends to the receiver, once spliced.
    sender: Sender,
    /// What the sender of this direction sent.
    stream: Stream,
    /// Right edge of the window that the sender of this direction was offered, as it numbers bytes.
    edge: u32,
    /// Number of its FIN, where one was seen.
    fin: u32,
    flags: u32,
    reserved: u32,
}

/// Its FIN was seen.
const FIN_SEEN: u32 = 1;
/// Its sender is owed an acknowledgement.
const ACK_OWED: u32 = 2;
/// Its sender asked with a probe; it gets its acknowledgement when the receiver has answered.
const PROBED: u32 = 4;
/// Its receiver is gone: bytes are acknowledged and forgotten.
const DISCARDED: u32 = 8;

impl Half {
    fn new(seq: u32) -> Self {
        let sender = Sender::new(seq, seq, seq, 536, 0);
        Self { sender, stream: Stream::new(seq), edge: seq, fin: 0, flags: 0, reserved: 0 }
    }

    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u32, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }

    /// The next number that its sender is expected to use, data only.
    fn expected(&self) -> u32 {
        self.stream.incoming(self.stream.accepted())
    }

    /// Whether its FIN came in order.
    fn fin_in_order(&self) -> bool {
        self.is(FIN_SEEN) && self.fin == self.expected()
    }
}

/// The state of the gate of one connection. Plain data: lives in the shared arena.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Gate {
    /// Toward the robot.
    commands: Half,
    /// Toward the plant.
    answers: Half,
    /// Monotonic time by which more of the open unit must have come; 0 = none is open.
    unit_ns: u64,
    /// Monotonic time by which the open unit must be whole.
    unit_end_ns: u64,
    /// Monotonic time at which an open unit is acknowledged by the gate itself; 0 = never.
    hold_ns: u64,
    /// Monotonic time by which the answer to a refused unit must have found its place.
    answer_ns: u64,
    /// Monotonic time until which is delivered what a client sent before its reset.
    drain_ns: u64,
    boundaries: [u32; BOUNDARIES],
    boundaries_len: u32,
    conflicts: u32,
    crumbs: u32,
    /// Up to where the robot's units were told apart.
    framed: u32,
    /// Highest number of the robot's that passed in Fast: before it nothing can be put in any more.
    passed: u32,
    /// Length of the refused unit at the head of the held bytes; 0 = none waits.
    refused_len: u32,
    refused_reason: u32,
    /// Up to where the open unit had come when it was last looked at.
    looked_at: u32,
    flags: u32,
    /// Bytes before it are not sent again, where [`SEALED`] is set.
    sealed: u32,
}

/// Spliced.
const SPLICED: u32 = 1;
/// The robot's units can't be told apart any more.
const REPLIES_LOST: u32 = 2;
/// Bytes toward the plant passed that are not in the store, so the connection can't be spliced.
const COPY_LOST: u32 = 4;
/// The client ended the connection with a reset; what it sent before is still delivered.
const CLIENT_RESET: u32 = 8;
/// The robot said what no receiver should have to interpret.
const REPLIES_BROKEN: u32 = 32;
/// A FIN passed in Fast, so that its number can't be shifted any more; or too little is known to splice.
const HALF_CLOSED: u32 = 16;
/// More could be judged than one event may (I10): the rest at the next look.
const MORE: u32 = 128;
/// The robot has bytes that were not seen, so that it is not known where its units begin.
const MISSED: u32 = 64;
/// What went out under rules that hold no more is not repeated.
const SEALED: u32 = 256;

impl Gate {
    /// A gate of a connection whose next byte toward the robot has sequence number `command`, and toward the plant
    /// `answer`.
    #[must_use]
    pub fn new(command: u32, answer: u32) -> Self {
        let mut gate = Self {
            commands: Half::new(command),
            answers: Half::new(answer),
            unit_ns: 0,
            unit_end_ns: 0,
            hold_ns: 0,
            answer_ns: 0,
            drain_ns: 0,
            boundaries: [0; BOUNDARIES],
            boundaries_len: 0,
            conflicts: 0,
            crumbs: 0,
            framed: answer,
            passed: answer,
            refused_len: 0,
            refused_reason: 0,
            looked_at: command,
            flags: 0,
            sealed: command,
        };
        gate.remember_boundary(command);
        gate
    }

    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The stream toward the robot.
    #[must_use]
    pub fn commands(&self) -> &Stream {
        &self.commands.stream
    }

    /// The stream toward the plant.
    #[must_use]
    pub fn answers(&self) -> &Stream {
        &self.answers.stream
    }

    /// Whether the gate receives and sends for itself.
    #[must_use]
    pub fn is_spliced(&self) -> bool {
        self.is(SPLICED)
    }

    /// Whether the robot's units can be told apart.
    #[must_use]
    pub fn reads_replies(&self) -> bool {
        !self.is(REPLIES_LOST)
    }

    /// The connection is never spliced: what both ends agreed on is not known.
    pub fn only_pass(&mut self) {
        self.flags |= HALF_CLOSED;
    }

    /// A FIN `toward` a side, with this number, passes in Fast.
    pub fn pass_fin(&mut self, toward: Toward, at: u32) {
        self.flags |= HALF_CLOSED;
        let half = self.half_mut(toward);
        if !half.is(FIN_SEEN) {
            half.fin = at;
            half.set(FIN_SEEN, true);
        }
    }

    /// Monotonic time by which the open unit must be whole.
    #[must_use]
    pub fn unit_due_ns(&self) -> Option<u64> {
        (self.unit_ns != 0).then_some(self.unit_ns)
    }

    /// Repetitions that differed from the first copy.
    #[must_use]
    pub fn conflicts(&self) -> u32 {
        self.conflicts
    }

    /// Outside enforcement: nothing is waited for any more, all that is held goes on.
    pub fn give_up_waiting(&mut self) {
        self.unit_ns = 0;
        self.hold_ns = 0;
        self.answer_ns = 0;
        self.refused_len = 0;
        self.flags &= !REPLIES_BROKEN;
    }

    /// From here on nothing is sent that was let go before: a repetition of it ends the connection. Says whether that can
    /// be; not where the robot has the beginning of a unit of which the rest waits for it.
    #[must_use]
    pub fn seal(&mut self) -> bool {
        self.sealed = self.commands.stream.released();
        self.flags |= SEALED;
        !self.is_spliced() || !seq::before(self.commands.sender.high(), self.sealed)
    }

    /// What was let go may be repeated again.
    pub fn unseal(&mut self) {
        self.flags &= !SEALED;
    }

    /// The robot has everything before `ack`: a seal that lies there is over, long before numbers come round to it again.
    fn seal_acknowledged(&mut self, ack: u32) {
        if self.is(SEALED) && !seq::before(ack, self.sealed) {
            self.unseal();
        }
    }

    /// Whether the byte `at`, which went out already, must not go out again.
    fn is_sealed(&self, at: u32) -> bool {
        self.is(SEALED) && seq::before(at, self.sealed)
    }

    /// When the gate wants to be looked at, monotonic nanoseconds.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        if self.is(MORE) {
            return Some(1);
        }
        // One less, so that 0, which is never, is the last of all: asked after every segment, this has no branches.
        let own = [self.unit_ns, self.hold_ns, self.answer_ns, self.drain_ns].map(|time| time.wrapping_sub(1));
        let own = own.into_iter().fold(u64::MAX, u64::min).checked_add(1);
        if !self.is_spliced() {
            return own;
        }
        [own, self.commands.sender.due_ns(), self.answers.sender.due_ns()].into_iter().flatten().min()
    }

    /// Whether enforcement can begin (or go on after a restart) without having missed a byte: the connection stands at a
    /// unit border with nothing held, no hole and no recorded conflict; or it is spliced, so that nothing went by.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.is_spliced() || (self.commands.stream.is_drained() && self.conflicts == 0 && !self.is(MISSED))
    }

    /// Where the robot may stand: numbers for resets that must be exact.
    pub fn robot_stands_at(&self) -> impl Iterator<Item = u32> + '_ {
        let (base, end) = (self.commands.stream.base(), self.commands.sender.next());
        let live = move |&at: &u32| seq::before(base, at);
        let known = self.boundaries.iter().copied().take(self.boundaries_len as usize);
        let end = (self.is_spliced() && !self.boundaries.contains(&end)).then_some(end);
        core::iter::once(base).chain(known.chain(end).filter(live))
    }

    /// Where the client may stand, spliced: numbers for resets, and what each end is told to have been received of it.
    #[must_use]
    pub fn spliced_numbers(&self) -> Option<Standing> {
        self.is_spliced().then(|| Standing {
            plant_at: [self.answers.sender.una(), self.answers.sender.next()],
            plant_received: self.received(Toward::Robot),
            robot_received: self.received(Toward::Plant),
        })
    }

    /// What the sender of frames `toward` a side is told to have arrived, spliced: everything in the store; its FIN only
    /// once the other end has acknowledged it.
    #[must_use]
    pub fn received(&self, toward: Toward) -> u32 {
        let half = self.half(toward);
        half.expected().wrapping_add(u32::from(half.fin_in_order() && half.sender.fin_acknowledged()))
    }

    fn half(&self, toward: Toward) -> &Half {
        match toward {
            Toward::Robot => &self.commands,
            Toward::Plant => &self.answers,
        }
    }

    fn half_mut(&mut self, toward: Toward) -> &mut Half {
        match toward {
            Toward::Robot => &mut self.commands,
            Toward::Plant => &mut self.answers,
        }
    }

    /// More of a unit came that is not whole yet. Its time counts from its last progress, so that a sender whose
    /// segments are lost comes to repeat them: the fourth try comes 7 s after the first where the time-out begins with a
    /// second and doubles (RFC 6298). All of it together gets ten times as long.
    fn open_unit(&mut self, arrived: usize, now_ns: u64, patience_ns: u64) {
        if arrived < CRUMB {
            self.crumbs = self.crumbs.saturating_add(1);
        }
        if self.unit_ns == 0 {
            self.unit_end_ns = now_ns.saturating_add(patience_ns.saturating_mul(10));
            self.hold_ns = now_ns.saturating_add(HOLD_NS);
        }
        self.looked_at = self.commands.stream.accepted();
        self.unit_ns = now_ns.saturating_add(patience_ns).min(self.unit_end_ns).max(1);
    }

    fn release(&mut self, len: usize) {
        if len == 0 {
            return;
        }
        self.commands.stream.release(len);
        self.unit_ns = 0;
        self.hold_ns = 0;
        if !self.is_spliced() {
            self.remember_boundary(self.commands.stream.released());
        }
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
}

/// Where the ends of a spliced connection stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The client expects one of these.
    pub plant_at: [u32; 2],
    /// The client's bytes before it were received.
    pub plant_received: u32,
    /// The robot's bytes before it were received.
    pub robot_received: u32,
}

const fn outgoing_action(action: Action) -> Action {
    match action {
        Action::Drop => Action::Drop,
        _ => Action::Reset,
    }
}
