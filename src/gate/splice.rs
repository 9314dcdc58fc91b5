//! Splice: the gate receives from either end and sends to the other with senders of its own, so that it can acknowledge
//! what it holds, cut out what is refused, put answers in and change bytes.

use dissect::Toward;
use link::seq;

use super::sender::{Acknowledged, Due, Sender};
use super::stream::span;
use super::{
    ACK_OWED, Answer, BOUNDARIES, CLIENT_RESET, DISCARDED, FIN_SEEN, Gate, Half, Judge, Judgement, MORE, PROBED,
    REPLIES_BROKEN, REPLIES_LOST, SEALED, SPLICED, UNITS, outgoing_action,
};
use crate::event::{Action, Reason};

/// How long the answer to a refused unit waits for its place behind the robot's earlier replies. A reply whose segment is
/// lost three times in a row comes after 7 s where the robot's time-out begins with a second (RFC 6298).
const ANSWER_WAIT_NS: u64 = 10_000_000_000;

/// How long what a client sent before its reset is still delivered. Source: design of the gate, "drain 2 s".
const DRAIN_NS: u64 = 2_000_000_000;

/// How long a connection that both ends have closed is kept, to repeat the last acknowledgement: Linux repeats a FIN
/// after 0.2 and 0.6 s.
const LINGER_NS: u64 = 1_000_000_000;

/// Most bytes of an own answer, kept free in the store: RTDE's refusal of 1,024 names has 10,244.
pub const ANSWER: usize = 10 * 1024 + 4;

/// Largest window offered: what the field says without scaling.
const LARGEST_WINDOW: u32 = 65_535;

/// The bytes of both directions.
#[derive(Debug)]
pub struct Stores<'a> {
    /// Toward the robot.
    pub commands: &'a mut [u8],
    /// Toward the plant.
    pub answers: &'a mut [u8],
}

/// A segment of either end.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The side it travels to.
    pub toward: Toward,
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// Acknowledgement number, where it has one.
    pub ack: Option<u32>,
    /// Window in bytes.
    pub window: u32,
    /// Whether it ends the stream.
    pub fin: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// Monotonic clock in nanoseconds.
    pub now_ns: u64,
}

/// Up to three ranges that arrived beyond a hole, for the SACK option beside timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sack {
    blocks: [(u32, u32); 3],
    len: usize,
}

impl Sack {
    /// The ranges: first number, number after the last.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        self.blocks.get(..self.len).unwrap_or_default()
    }
}

/// A segment that the gate sends.
#[derive(Clone, Copy, Debug)]
pub struct SpliceOut<'a> {
    /// The side it travels to.
    pub toward: Toward,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window in bytes.
    pub window: u32,
    /// Whether it ends the stream.
    pub fin: bool,
    /// The payload.
    pub payload: &'a [u8],
    /// What arrived beyond holes.
    pub sack: Sack,
}

/// Takes what the gate sends.
pub trait Wire {
    /// Sends a segment.
    fn send(&mut self, out: &SpliceOut<'_>);
}

/// What both ends had told each other when a connection is spliced.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    /// Right edge of the window that the robot offered last.
    pub robot_edge: u32,
    /// Right edge of the window that the client offered last.
    pub plant_edge: u32,
    /// What the client has acknowledged.
    pub plant_acknowledged: u32,
    /// Payload bytes of the largest segment that the robot takes.
    pub robot_mss: u32,
    /// Payload bytes of the largest segment that the client takes.
    pub plant_mss: u32,
}

/// What became of an event on a spliced connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// It goes on.
    Goes,
    /// The segment is dropped; the connection lives.
    Drop(Reason),
    /// The connection ends.
    Refuse {
        /// [`Action::Reset`] or [`Action::Drop`].
        action: Action,
        /// Why.
        reason: Reason,
    },
    /// What the client sent before its reset is delivered: the robot gets the reset now.
    Drained,
    /// Both ends have closed and know it.
    Closed,
}

/// What the passing of time did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedOut {
    /// Nothing but what was sent.
    Nothing,
    /// The connection has to be spliced, so that a unit held for long is acknowledged.
    Splice,
    /// As after a segment.
    Spliced(Spliced),
}

impl Gate {
    /// Takes over both directions. `sent` is what went out toward the robot of what was let go. The caller goes on with
    /// [`Gate::advance`].
    pub fn splice(&mut self, sent: u32, peers: &Peers, now_ns: u64) {
        let commands = &mut self.commands;
        commands.sender = Sender::new(commands.stream.base(), sent, peers.robot_edge, peers.robot_mss, now_ns);
        commands.sender.cover(commands.stream.released());
        // The client was offered the robot's window, the robot the client's.
        commands.edge = peers.robot_edge;
        commands.flags |= ACK_OWED;
        let answers = &mut self.answers;
        let sent = answers.stream.released();
        // What the store has forgotten was acknowledged, be it by a frame that did not pass.
        let una = seq::max(seq::min(peers.plant_acknowledged, sent), answers.stream.base());
        answers.sender = Sender::new(una, sent, peers.plant_edge, peers.plant_mss, now_ns);
        answers.sender.passed(self.passed);
        answers.edge = peers.plant_edge;
        // The client may not have acknowledged yet what passed; the robot must not repeat it for that.
        answers.flags |= ACK_OWED;
        self.hold_ns = 0;
        self.flags |= SPLICED;
    }

    /// Takes a segment of a spliced connection; what leaves goes `outside`.
    pub fn take<O: Judge + Wire>(
        &mut self,
        stores: &mut Stores<'_>,
        segment: &Segment<'_>,
        outside: &mut O,
    ) -> Spliced {
        let mut dropped = None;
        if let Some(ack) = segment.ack {
            dropped = self.acknowledged(segment, ack);
        }
        if dropped.is_none() {
            dropped = match self.receive(stores, segment, outside) {
                Ok(dropped) => dropped,
                Err(refused) => return refused,
            };
        }
        match (self.advance(stores, segment.now_ns, outside), dropped) {
            (Spliced::Goes, Some(reason)) => Spliced::Drop(reason),
            (other, _) => other,
        }
    }

    /// Takes the acknowledgement of a segment.
    fn acknowledged(&mut self, segment: &Segment<'_>, ack: u32) -> Option<Reason> {
        let about = segment.toward.reverse();
        let framed = self.framed;
        let half = self.half_mut(about);
        if half.is(PROBED) {
            half.set(PROBED, false);
            half.set(ACK_OWED, true);
        }
        let pure = segment.payload.is_empty() && !segment.fin;
        let edge = ack.wrapping_add(segment.window);
        match half.sender.acknowledge(&half.stream, ack, edge, pure, segment.now_ns) {
            Acknowledged::New => {
                let ack = seq::min(ack, half.stream.released());
                half.stream.acknowledge(if about == Toward::Plant { seq::min(ack, framed) } else { ack });
                if half.sender.fin_acknowledged() {
                    // Its sender learns of that now, not when it repeats its FIN.
                    half.set(ACK_OWED, true);
                }
                if about == Toward::Robot {
                    self.seal_acknowledged(ack);
                }
                None
            }
            Acknowledged::Same | Acknowledged::Old => None,
            Acknowledged::NeverSent => {
                self.half_mut(segment.toward).set(ACK_OWED, true);
                Some(Reason::BadFlags)
            }
        }
    }

    /// Takes payload and FIN of a segment.
    fn receive<W: Wire>(
        &mut self,
        stores: &mut Stores<'_>,
        segment: &Segment<'_>,
        wire: &mut W,
    ) -> Result<Option<Reason>, Spliced> {
        let Segment { toward, seq: start, payload, fin, .. } = *segment;
        let Ok(len) = u32::try_from(payload.len()) else { return Ok(Some(Reason::BeyondWindow)) };
        let half = self.half_mut(toward);
        let expected = half.expected();
        if len <= 1 && !fin && start == expected.wrapping_sub(1) {
            if half.is(DISCARDED) {
                half.set(ACK_OWED, true);
            } else {
                half.set(PROBED, true);
                self.probe(toward, stores, wire);
            }
            return Ok(None);
        }
        if payload.is_empty() && !fin {
            // One of the past: a probe of a sender that did not get the last acknowledgement. Source: RFC 9293, 3.10.7.4.
            let owed = half.is(ACK_OWED) || seq::before(start, expected);
            half.set(ACK_OWED, owed);
            return Ok(None);
        }
        half.set(ACK_OWED, true);
        if toward == Toward::Robot && self.is(CLIENT_RESET) {
            return Ok(Some(Reason::ConnectionEnded));
        }
        let end = start.wrapping_add(len);
        let half = self.half_mut(toward);
        if half.is(FIN_SEEN) && (seq::before(half.fin, end) || (fin && half.fin != end)) {
            return Ok(Some(Reason::DataOutsideStream));
        }
        if fin && seq::before(end, half.stream.incoming(half.stream.end())) {
            // Bytes came that lie behind this FIN: it is made up.
            return Ok(Some(Reason::DataOutsideStream));
        }
        if seq::before(half.edge, end) {
            return Ok(Some(Reason::BeyondWindow));
        }
        if fin && seq::before(end, half.stream.incoming(half.stream.end())) {
            // Nobody ends a stream before bytes that came already.
            return Ok(Some(Reason::OutOfOrder));
        }
        let known = half.stream.incoming(half.stream.released());
        if seq::before(known, end) {
            let skip = if seq::before(start, known) { span(start, known) } else { 0 };
            let fresh = payload.get(skip as usize..).unwrap_or_default();
            let start = half.stream.outgoing(start.wrapping_add(skip));
            let store = if toward == Toward::Robot { &mut *stores.commands } else { &mut *stores.answers };
            if half.stream.conflicts_with(store, start, fresh) {
                self.conflicts = self.conflicts.saturating_add(1);
                if self.conflicts > 1 {
                    let reason = Reason::RetransmissionConflict;
                    return Err(Spliced::Refuse { action: Action::Reset, reason });
                }
            }
            let half = self.half_mut(toward);
            if half.stream.insert(store, start, fresh).is_err() {
                return Ok(Some(Reason::OutOfOrder));
            }
        }
        if fin {
            let half = self.half_mut(toward);
            half.fin = end;
            half.set(FIN_SEEN, true);
        }
        Ok(None)
    }

    /// An empty segment below what the receiver expects: it answers with where it stands.
    fn probe<W: Wire>(&mut self, toward: Toward, stores: &Stores<'_>, wire: &mut W) {
        let at = self.half(toward).sender.una().wrapping_sub(1);
        let out = self.outgoing(toward, at, stores);
        self.tell(&out);
        wire.send(&out);
    }

    /// An empty segment `toward` a side, that says how far its other side was received.
    fn outgoing(&self, toward: Toward, seq: u32, stores: &Stores<'_>) -> SpliceOut<'static> {
        let back = toward.reverse();
        let ack = self.received(back);
        let window = self.window(back, stores);
        let mut sack = Sack::default();
        for (slot, range) in sack.blocks.iter_mut().zip(self.half(back).stream.ranges_ahead()) {
            *slot = range;
            sack.len = sack.len.saturating_add(1);
        }
        SpliceOut { toward, seq, ack, window, fin: false, payload: &[], sack }
    }

    /// Bytes of the sender of frames `toward` a side that its store takes.
    fn capacity(toward: Toward, stores: &Stores<'_>) -> u32 {
        let capacity = match toward {
            Toward::Robot => stores.commands.len(),
            Toward::Plant => stores.answers.len().saturating_sub(ANSWER),
        };
        u32::try_from(capacity).unwrap_or(u32::MAX)
    }

    /// The window to offer to the sender of frames `toward` a side. Its right edge never moves back.
    fn window(&self, toward: Toward, stores: &Stores<'_>) -> u32 {
        let half = self.half(toward);
        let free = Self::capacity(toward, stores).saturating_sub(half.stream.buffered()).min(LARGEST_WINDOW);
        let expected = half.expected();
        span(expected, seq::max(half.edge, expected.wrapping_add(free)))
    }

    /// The other side is told with `out` how far it may send.
    fn tell(&mut self, out: &SpliceOut<'_>) {
        let half = self.half_mut(out.toward.reverse());
        half.edge = half.expected().wrapping_add(out.window);
    }

    /// Does whatever can be done now: judges, places answers, sends.
    pub fn advance<O: Judge + Wire>(&mut self, stores: &mut Stores<'_>, now_ns: u64, outside: &mut O) -> Spliced {
        let mut outcome = Spliced::Goes;
        let mut left = UNITS;
        self.flags &= !MORE;
        loop {
            match self
                .move_answers(stores, outside)
                .and_then(|()| self.move_commands(stores, now_ns, outside, &mut left))
            {
                Ok(true) => {}
                Ok(false) => break,
                Err(refused) => {
                    outcome = refused;
                    break;
                }
            }
        }
        if outcome == Spliced::Goes && self.is(SEALED) && self.commands.sender.repeats_before(self.sealed) {
            outcome = Spliced::Refuse { action: Action::Reset, reason: Reason::LockedDown };
        } else {
            self.emit(Toward::Robot, stores, now_ns, outside);
        }
        self.emit(Toward::Plant, stores, now_ns, outside);
        if outcome != Spliced::Goes {
            return outcome;
        }
        if self.is(CLIENT_RESET) {
            let half = &self.commands;
            let delivered = half.stream.is_drained() && half.sender.is_idle(&half.stream);
            return if delivered { Spliced::Drained } else { Spliced::Goes };
        }
        let done = |half: &Half| half.fin_in_order() && half.sender.fin_acknowledged();
        if done(&self.commands) && done(&self.answers) && self.drain_ns == 0 {
            self.drain_ns = now_ns.saturating_add(LINGER_NS);
        }
        Spliced::Goes
    }

    /// Whether both ends have closed and only repetitions are waited for.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.drain_ns != 0 && !self.is(CLIENT_RESET)
    }

    /// Lets the robot's bytes go on to the client, and puts a waiting answer between two of its units.
    fn move_answers<J: Judge>(&mut self, stores: &mut Stores<'_>, judge: &mut J) -> Result<(), Spliced> {
        loop {
            if self.refused_len != 0 {
                self.place_answer(stores, judge, false)?;
            }
            if !self.step_reply(stores.answers, judge) {
                break;
            }
        }
        if self.is(REPLIES_BROKEN) {
            return Err(Spliced::Refuse { action: Action::Reset, reason: Reason::Malformed });
        }
        if self.refused_len != 0 && self.answers.fin_in_order() {
            // All that the robot said was read: no reply will come any more.
            self.place_answer(stores, judge, true)?;
        }
        let half = &mut self.answers;
        let held = span(half.stream.released(), half.stream.accepted());
        half.stream.release(held as usize);
        if half.is(DISCARDED) {
            // As far as it was read: what follows is read from the store.
            let upto = seq::min(half.stream.released(), self.framed);
            half.stream.acknowledge(upto);
        }
        if half.fin_in_order() && self.refused_len == 0 {
            half.sender.queue_fin();
        }
        if !seq::before(half.stream.released(), self.passed) {
            self.passed = half.stream.released();
        }
        Ok(())
    }

    /// Puts the answer to the refused unit in, if its place has come, and cuts the unit out. `over` = the robot has closed
    /// and all that it said was read.
    fn place_answer<J: Judge>(&mut self, stores: &mut Stores<'_>, judge: &mut J, over: bool) -> Result<(), Spliced> {
        let reason = Reason::ALL.get(self.refused_reason as usize).copied().unwrap_or(Reason::EngineFault);
        let refuse = Err(Spliced::Refuse { action: Action::Reset, reason });
        let unit = self.commands.stream.held(stores.commands).get(..self.refused_len as usize).unwrap_or_default();
        let mut bytes = [0; ANSWER];
        let len = match judge.answer(unit, reason, &mut bytes) {
            Answer::Silent => 0,
            _ if self.is(CLIENT_RESET) => 0,
            Answer::Impossible => return refuse,
            Answer::Bytes { .. } if self.is(REPLIES_LOST) || !judge.frames_replies() => return refuse,
            // The robot has closed and the client knows it: nothing can follow its FIN.
            Answer::Bytes { .. } if self.answers.sender.is_ending() => return refuse,
            Answer::Bytes { len } => {
                let stream = &self.answers.stream;
                let at_border = !seq::before(self.framed, stream.released());
                let no_hole_below = !seq::before(self.framed, self.passed);
                if !at_border || !no_hole_below {
                    return if over { refuse } else { Ok(()) };
                }
                if judge.outstanding() != 0 && !over {
                    return Ok(());
                }
                len
            }
        };
        let answer = bytes.get(..len).unwrap_or_default();
        if !answer.is_empty() {
            let stream = &mut self.answers.stream;
            let ahead = span(stream.released(), self.framed);
            stream.release(ahead as usize);
            if stream.put_in(stores.answers, answer).is_err() {
                // The client does not take what it has; the answer waits, within its time.
                return Ok(());
            }
            self.framed = stream.released();
        }
        self.commands.stream.cut(stores.commands, self.refused_len as usize);
        self.refused_len = 0;
        self.answer_ns = 0;
        self.unit_ns = 0;
        Ok(())
    }

    /// A unit of `len` bytes at the head of the held ones is refused: it stays until its answer has found its place.
    pub(super) fn wait_to_answer(&mut self, len: usize, reason: Reason, now_ns: u64) {
        self.refused_len = u32::try_from(len.max(1)).unwrap_or(u32::MAX);
        self.refused_reason = reason as u32;
        self.answer_ns = now_ns.saturating_add(ANSWER_WAIT_NS);
        self.unit_ns = 0;
        self.hold_ns = 0;
    }

    /// Judges what can be sent at once; says whether a refused unit is to be answered now.
    fn move_commands<J: Judge>(
        &mut self,
        stores: &mut Stores<'_>,
        now_ns: u64,
        judge: &mut J,
        left: &mut u32,
    ) -> Result<bool, Spliced> {
        // Judged is only what goes out at once, so that nothing judged waits for another policy or another state.
        while self.refused_len == 0 && self.commands.sender.is_ready(&self.commands.stream) {
            let held = self.commands.stream.held(stores.commands);
            let looked_at = self.unit_ns != 0 && self.looked_at == self.commands.stream.accepted();
            let over = self.is(CLIENT_RESET) || self.commands.fin_in_order();
            if held.is_empty() || (looked_at && !over) {
                break;
            }
            if *left == 0 {
                self.flags |= MORE;
                break;
            }
            *left = left.saturating_sub(1);
            match judge.judge(held) {
                Judgement::Allow { len } => self.release(len.max(1)),
                Judgement::Clamp { len } => {
                    judge.clamp(self.commands.stream.held_mut(stores.commands, len));
                    self.release(len.max(1));
                }
                Judgement::Refuse { len, action: Action::Refuse, reason } => {
                    self.wait_to_answer(len, reason, now_ns);
                    return Ok(true);
                }
                Judgement::Refuse { action, reason, .. } => {
                    return Err(Spliced::Refuse { action: outgoing_action(action), reason });
                }
                Judgement::Broken { reason } => return Err(Spliced::Refuse { action: Action::Reset, reason }),
                Judgement::Partial { .. } if self.is(CLIENT_RESET) => {
                    self.commands.stream.forget_held();
                    self.unit_ns = 0;
                }
                Judgement::Partial { .. } if self.commands.fin_in_order() => {
                    return Err(Spliced::Refuse { action: Action::Reset, reason: Reason::FinInUnit });
                }
                Judgement::Partial { patience_ns } => {
                    self.open_unit(usize::MAX, now_ns, patience_ns);
                    self.hold_ns = 0;
                    break;
                }
            }
        }
        if self.refused_len == 0 && !self.commands.sender.is_ready(&self.commands.stream) {
            // The robot is waited for, not the client: its unit may be whole by now.
            self.unit_ns = 0;
        }
        let waits = self.refused_len == 0 && (self.unit_ns == 0 || self.came_since_look());
        let half = &mut self.commands;
        half.sender.keep_asking(waits && half.stream.accepted() != half.stream.released());
        if half.fin_in_order() && half.stream.is_drained() {
            half.sender.queue_fin();
        }
        Ok(false)
    }

    /// Whether more of the open unit came than was looked at, as the robot takes nothing now.
    fn came_since_look(&self) -> bool {
        self.is_spliced() && self.looked_at != self.commands.stream.accepted()
    }

    /// Sends what may go `toward` a side, and the acknowledgement that it is owed.
    fn emit<W: Wire>(&mut self, toward: Toward, stores: &Stores<'_>, now_ns: u64, wire: &mut W) {
        if self.half(toward).is(DISCARDED) {
            self.half_mut(toward.reverse()).set(ACK_OWED, false);
            return;
        }
        // A sender whose window was shut learns that it is open.
        let back = toward.reverse();
        let told = span(self.half(back).expected(), self.half(back).edge);
        let head = self.outgoing(toward, 0, stores);
        let most = Self::capacity(back, stores).min(LARGEST_WINDOW);
        if told < most / 4 && head.window >= most / 2 {
            self.half_mut(back).set(ACK_OWED, true);
        }
        let Self { commands, answers, boundaries, boundaries_len, .. } = self;
        let (half, other, store) = match toward {
            Toward::Robot => (commands, answers, &*stores.commands),
            Toward::Plant => (answers, commands, &*stores.answers),
        };
        let Half { sender, stream, .. } = half;
        let mut sent = false;
        sender.send(stream, now_ns, |seq, len, fin| {
            sent = true;
            let end = seq.wrapping_add(len);
            wire.send(&SpliceOut { seq, fin, payload: stream.bytes(store, seq, end), ..head });
            if toward == Toward::Robot {
                if *boundaries_len as usize == BOUNDARIES {
                    boundaries.rotate_left(1);
                    *boundaries_len = boundaries_len.saturating_sub(1);
                }
                if let Some(slot) = boundaries.get_mut(*boundaries_len as usize) {
                    *slot = end;
                    *boundaries_len = boundaries_len.saturating_add(1);
                }
            }
        });
        if !sent && other.is(ACK_OWED) {
            sent = true;
            wire.send(&SpliceOut { seq: sender.high(), ..head });
        }
        other.set(ACK_OWED, false);
        if sent {
            self.tell(&head);
        }
    }

    /// Asks the sender of frames `toward` a side to say where it stands, by telling it where it is expected: the answer
    /// to a segment that is in its window but not exact. Source: RFC 5961 sections 3.2 and 4.2.
    pub fn challenge<W: Wire>(&mut self, toward: Toward, stores: &Stores<'_>, wire: &mut W) {
        let back = toward.reverse();
        let at = self.half(back).sender.high();
        let out = self.outgoing(back, at, stores);
        self.tell(&out);
        wire.send(&out);
    }

    /// Whether a reset of the sender of frames `toward` a side is exact, or at least inside the window.
    #[must_use]
    pub fn judges_reset(&self, toward: Toward, at: u32) -> Exactness {
        let half = self.half(toward);
        let expected = self.received(toward);
        if at == expected {
            Exactness::Exact
        } else if !seq::before(at, expected) && seq::before(at, half.edge) {
            Exactness::InWindow
        } else {
            Exactness::Outside
        }
    }

    /// The client ended the connection with an exact reset: what it sent before, in whole allowed units, still goes to
    /// the robot (a program that closes with unread answers makes its kernel send a reset).
    pub fn client_reset(&mut self, now_ns: u64) {
        if self.is(CLIENT_RESET) {
            // Said again: the time runs already.
            return;
        }
        self.flags |= CLIENT_RESET;
        self.answers.flags |= DISCARDED;
        self.drain_ns = now_ns.saturating_add(DRAIN_NS);
    }

    /// Does what is due at `now_ns`.
    pub fn due<O: Judge + Wire>(&mut self, stores: &mut Stores<'_>, now_ns: u64, outside: &mut O) -> TimedOut {
        let passed = |time: u64| time != 0 && time <= now_ns;
        let refuse = |reason| TimedOut::Spliced(Spliced::Refuse { action: Action::Reset, reason });
        if passed(self.unit_ns) {
            if self.came_since_look() {
                // It is the robot that does not take what came.
                self.unit_ns = 0;
            } else {
                return refuse(Reason::UnitTimeout);
            }
        }
        if passed(self.answer_ns) {
            return refuse(Reason::AnswerTimeout);
        }
        if !self.is_spliced() {
            let splice = passed(self.hold_ns) && self.can_splice();
            self.hold_ns = if passed(self.hold_ns) { 0 } else { self.hold_ns };
            return if splice { TimedOut::Splice } else { TimedOut::Nothing };
        }
        if passed(self.drain_ns) {
            return TimedOut::Spliced(if self.is(CLIENT_RESET) { Spliced::Drained } else { Spliced::Closed });
        }
        for toward in [Toward::Robot, Toward::Plant] {
            let half = self.half_mut(toward);
            match half.sender.poll(&half.stream, now_ns) {
                Due::Nothing | Due::Resend => {}
                Due::Probe => self.probe(toward, stores, outside),
                Due::Gone => return refuse(Reason::PeerSilent),
            }
        }
        TimedOut::Spliced(self.advance(stores, now_ns, outside))
    }

    /// Moves the bytes toward the robot into a store of another size. Says whether they fit.
    pub fn move_commands_to(&mut self, from: &[u8], to: &mut [u8]) -> bool {
        self.commands.stream.relocate(from, to)
    }

    /// Whether the store toward the robot is too small for the unit that is being received.
    #[must_use]
    pub fn wants_room(&self, capacity: usize) -> bool {
        // Half a store of one open unit: room for the window that is offered until the next look.
        let held = span(self.commands.stream.released(), self.commands.stream.accepted());
        self.is_spliced() && self.unit_ns != 0 && held as usize > capacity / 2
    }
}

/// How a reset stands to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// At exactly the expected number.
    Exact,
    /// Inside the window.
    InWindow,
    /// Anywhere else.
    Outside,
}
