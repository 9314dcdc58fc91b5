//! Fast: frames pass untouched while they hold whole, allowed units in order; both ends talk to each other.

use link::seq;

use super::sender::BURST;
use super::stream::span;
use super::{
    COPY_LOST, CRUMBS, FIN_SEEN, Gate, HALF_CLOSED, HOLD_BYTES, Judge, Judgement, MISSED, Outcome, REPLIES_BROKEN,
    REPLIES_LOST, Reply, STORE, Segment, Stream, UNITS, outgoing_action,
};
use crate::event::{Action, Reason};

/// Most pieces that one segment can release: a full store cut to the smallest segment size that TCP must accept. What is
/// beyond stays released and unacknowledged, and the sender's retransmission brings it.
/// Source: RFC 9293 section 3.7.1, default send MSS 536.
pub const RELEASES: usize = STORE / 536 + 2;

/// A unit of the robot's that is longer is not waited for: the store must not fill up with it.
const LONGEST_REPLY: u32 = 16 * 1024;

/// As many pieces as one segment can release.
#[expect(clippy::cast_possible_truncation, reason = "124")]
const MOST: u32 = RELEASES as u32;

/// How many bytes from `from` on leave at once: what the robot takes, and what one event sends.
#[inline]
fn room(from: u32, edge: u32, mss: u32) -> u32 {
    let open = if seq::before(from, edge) { span(from, edge) } else { 0 };
    open.min(mss.saturating_mul(BURST))
}

/// Bytes of the store to send toward the robot: what was asked for again, then what was let go now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Releases {
    again: (u32, u32),
    fresh: (u32, u32),
    mss: u32,
}

impl Releases {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Pieces of at most one segment, in order, as sequence number and length.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mss = self.mss.max(1);
        let runs = [self.again, self.fresh].into_iter().flat_map(move |(from, to)| {
            let mut at = from;
            core::iter::from_fn(move || {
                let len = span(at, to).min(mss);
                let piece = (at, len);
                at = at.wrapping_add(len);
                (len != 0).then_some(piece)
            })
        });
        runs.take(RELEASES)
    }

    pub(super) fn again(&mut self, from: u32, to: u32, mss: u32) {
        self.again = (from, to);
        self.mss = mss;
    }

    /// How many bytes fit beside what was asked for again.
    fn room(&self, mss: u32) -> u32 {
        let (from, to) = self.again;
        let taken = span(from, to).div_ceil(mss.max(1));
        mss.saturating_mul(MOST.saturating_sub(taken))
    }

    pub(super) fn fresh(&mut self, from: u32, to: u32, mss: u32) {
        self.fresh = (from, to);
        self.mss = mss;
    }
}

impl Gate {
    /// Judges what a segment toward the robot brings and says what leaves.
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
        let Segment { seq: start, payload, edge, now_ns } = *segment;
        let Ok(len) = u32::try_from(payload.len()) else { return Outcome::Drop(Reason::BeyondWindow) };
        let stream = &self.commands.stream;
        let end = start.wrapping_add(len);
        if enforce && self.commands.is(FIN_SEEN) && seq::before(self.commands.fin, end) {
            return Outcome::Drop(Reason::DataOutsideStream);
        }
        if start == stream.accepted() && stream.is_drained() {
            if enforce && (seq::before(edge, end) || (len > mss && len > room(start, edge, mss))) && self.can_splice() {
                // The robot takes nothing of the last units yet: they are judged when it does.
                return match self.commands.stream.append(store, payload) {
                    Ok(()) => Outcome::Splice { sent: start },
                    Err(reason) => Outcome::Refuse { action: Action::Reset, reason },
                };
            }
            return self.accept_aligned(store, payload, now_ns, enforce, mss, judge, releases);
        }
        let base = stream.base();
        if len <= 1 && start == base.wrapping_sub(1) {
            return Outcome::Probe;
        }
        if !seq::before(base, end) {
            return Outcome::Repeated;
        }
        if span(base, end) as usize > STORE {
            return Outcome::Drop(Reason::BeyondWindow);
        }
        if stream.conflicts_with(store, start, payload) {
            self.conflicts = self.conflicts.saturating_add(1);
            if self.conflicts > 1 {
                return Outcome::Refuse { action: Action::Reset, reason: Reason::RetransmissionConflict };
            }
        }
        let stream = &self.commands.stream;
        if seq::before(start, stream.released()) {
            if self.is_sealed(seq::max(start, base)) {
                return Outcome::Refuse { action: Action::Reset, reason: Reason::LockedDown };
            }
            releases.again(seq::max(start, base), seq::min(stream.released(), end), mss);
        }
        let ahead = seq::before(stream.accepted(), start);
        match self.commands.stream.insert(store, start, payload) {
            Ok(()) => {}
            Err(_) if ahead => return Outcome::Drop(Reason::OutOfOrder),
            Err(reason) => return Outcome::Refuse { action: Action::Reset, reason },
        }
        let upto = if !enforce {
            u32::MAX
        } else if self.can_splice() {
            room(self.commands.stream.released(), edge, mss).min(releases.room(mss))
        } else {
            releases.room(mss)
        };
        self.judge_held(store, payload.len(), upto, now_ns, enforce, mss, judge, releases)
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
        let start = self.commands.stream.accepted();
        let mut rest = payload;
        let mut stop = None;
        while !rest.is_empty() {
            match Self::passive(judge.judge(rest), enforce) {
                Judgement::Allow { len } => rest = rest.get(len.max(1)..).unwrap_or_default(),
                other => {
                    stop = Some(other);
                    break;
                }
            }
        }
        let allowed = payload.len().saturating_sub(rest.len());
        // What is kept: the released bytes until the robot has them, and what waits behind them.
        let waits = match stop {
            None | Some(Judgement::Partial { .. } | Judgement::Clamp { .. }) => true,
            Some(Judgement::Refuse { action, .. }) => action == Action::Refuse && self.can_splice(),
            Some(Judgement::Allow { .. } | Judgement::Broken { .. }) => false,
        };
        let kept = if waits { payload.len() } else { allowed };
        if let Err(reason) = self.commands.stream.append(store, payload.get(..kept).unwrap_or_default()) {
            return Outcome::Refuse { action: Action::Reset, reason };
        }
        self.release(allowed);
        let Some(stop) = stop else {
            self.crumbs = 0;
            return Outcome::Forward;
        };
        self.stopped(start, payload.len(), now_ns, stop, enforce, mss, judge, store, releases)
    }

    #[expect(clippy::too_many_arguments, reason = "the inner half of `accept`, with its arguments taken apart")]
    fn judge_held<J: Judge>(
        &mut self,
        store: &mut [u8],
        arrived: usize,
        room: u32,
        now_ns: u64,
        enforce: bool,
        mss: u32,
        judge: &mut J,
        releases: &mut Releases,
    ) -> Outcome {
        let from = self.commands.stream.released();
        let mut left = UNITS;
        loop {
            let held = self.commands.stream.held(store);
            if held.is_empty() {
                releases.fresh(from, self.commands.stream.released(), mss);
                return Outcome::Replace;
            }
            // What would not be sent at once is not judged yet.
            let full = span(from, self.commands.stream.released()) >= room;
            if (left == 0 || full) && enforce && self.can_splice() {
                return Outcome::Splice { sent: from };
            }
            if full {
                releases.fresh(from, self.commands.stream.released(), mss);
                return Outcome::Replace;
            }
            left = left.saturating_sub(1);
            match Self::passive(judge.judge(held), enforce) {
                Judgement::Allow { len } => self.release(len.max(1)),
                stop => return self.stopped(from, arrived, now_ns, stop, enforce, mss, judge, store, releases),
            }
        }
    }

    /// Outside enforcement every unit goes on.
    fn passive(judgement: Judgement, enforce: bool) -> Judgement {
        match judgement {
            Judgement::Refuse { len, .. } | Judgement::Clamp { len } if !enforce => Judgement::Allow { len },
            other => other,
        }
    }

    /// The units from `from` on were released up to one that does not simply go on.
    #[expect(clippy::too_many_arguments, reason = "the inner half of `accept`, with its arguments taken apart")]
    fn stopped<J: Judge>(
        &mut self,
        from: u32,
        arrived: usize,
        now_ns: u64,
        stop: Judgement,
        enforce: bool,
        mss: u32,
        judge: &mut J,
        store: &mut [u8],
        releases: &mut Releases,
    ) -> Outcome {
        match stop {
            Judgement::Partial { patience_ns } => {
                self.open_unit(arrived, now_ns, patience_ns);
                let held = span(self.commands.stream.released(), self.commands.stream.accepted());
                if enforce && self.can_splice() && (self.crumbs >= CRUMBS || held > HOLD_BYTES) {
                    return Outcome::Splice { sent: from };
                }
            }
            Judgement::Refuse { len, action: Action::Refuse, reason } if self.can_splice() => {
                self.wait_to_answer(len, reason, now_ns);
                return Outcome::Splice { sent: from };
            }
            Judgement::Clamp { len } if self.can_splice() => {
                judge.clamp(self.commands.stream.held_mut(store, len));
                self.release(len.max(1));
                return Outcome::Splice { sent: from };
            }
            _ => {}
        }
        releases.fresh(from, self.commands.stream.released(), mss);
        match stop {
            Judgement::Refuse { action, reason, .. } => Outcome::Refuse { action: outgoing_action(action), reason },
            Judgement::Broken { reason } => Outcome::Refuse { action: Action::Reset, reason },
            // A changed unit needs the store's copy to be repeated from.
            Judgement::Clamp { .. } => Outcome::Refuse { action: Action::Reset, reason: Reason::EngineFault },
            Judgement::Partial { .. } | Judgement::Allow { .. } => Outcome::Replace,
        }
    }

    /// Whether everything that is under way in either direction is in the stores.
    #[must_use]
    pub fn can_splice(&self) -> bool {
        !self.is(COPY_LOST | HALF_CLOSED)
    }

    /// Takes an acknowledgement of the robot.
    ///
    /// # Errors
    /// It acknowledges bytes that were never let go (I7); the caller drops the frame while enforcing.
    pub fn acknowledge(&mut self, ack: u32) -> Result<(), Reason> {
        if seq::before(self.commands.stream.released(), ack) {
            return Err(Reason::BadFlags);
        }
        self.commands.stream.acknowledge(ack);
        self.seal_acknowledged(ack);
        Ok(())
    }

    /// Takes an acknowledgement outside enforcement: the robot has bytes in `..ack` whatever was seen of them.
    /// Says whether bytes were missed, so that the stream had to begin anew at `ack`.
    pub fn acknowledge_passive(&mut self, ack: u32) -> bool {
        let stream = &mut self.commands.stream;
        if seq::before(stream.accepted(), ack) {
            *stream = Stream::new(ack);
            self.flags |= MISSED;
            self.unit_ns = 0;
            self.hold_ns = 0;
            return true;
        }
        let upto = seq::min(stream.released(), ack);
        stream.acknowledge(upto);
        false
    }

    /// Takes bytes of the robot that pass: keeps a copy until the client has them, and reads them.
    /// Says whether they may go on: not where the judge called them broken.
    pub fn pass_reply<J: Judge>(&mut self, store: &mut [u8], start: u32, payload: &[u8], judge: &mut J) -> bool {
        let end = start.wrapping_add(u32::try_from(payload.len()).unwrap_or_default());
        self.passed = seq::max(self.passed, end);
        let stream = &mut self.answers.stream;
        if stream.insert(store, start, payload).is_err() {
            // What is under way is not known any more; the next acknowledgement of the client begins anew.
            self.flags |= COPY_LOST;
            self.lose_replies();
            return true;
        }
        let held = span(stream.released(), stream.accepted());
        stream.release(held as usize);
        while self.step_reply(store, judge) {}
        !self.is(REPLIES_BROKEN)
    }

    /// Reads one unit of the robot's; says whether there was one. Without framing, all that came counts as read.
    pub(super) fn step_reply<J: Judge>(&mut self, store: &[u8], judge: &mut J) -> bool {
        let stream = &self.answers.stream;
        let end = stream.accepted();
        if self.framed == end {
            return false;
        }
        if self.is(REPLIES_LOST) || !judge.reads_replies() {
            self.framed = end;
            return false;
        }
        match judge.reply(stream.bytes(store, self.framed, end)) {
            Reply::Whole { len } => {
                let len = u32::try_from(len.max(1)).unwrap_or(u32::MAX).min(span(self.framed, end));
                self.framed = self.framed.wrapping_add(len);
                true
            }
            Reply::Partial if span(self.framed, end) <= LONGEST_REPLY => false,
            Reply::Partial | Reply::Unreadable => {
                self.lose_replies();
                false
            }
            Reply::Broken => {
                self.flags |= REPLIES_BROKEN;
                self.lose_replies();
                false
            }
        }
    }

    fn lose_replies(&mut self) {
        self.framed = self.answers.stream.accepted();
        self.flags |= REPLIES_LOST;
    }

    /// Takes an acknowledgement of the client's while frames pass.
    ///
    /// # Errors
    /// While enforcing every byte of the robot's is seen, so this one acknowledges what was never sent; the caller drops
    /// the frame, as the robot would. Outside enforcement the box may have missed bytes, and begins anew behind them.
    pub fn acknowledge_reply(&mut self, ack: u32, enforce: bool) -> Result<(), Reason> {
        if enforce && seq::before(self.passed, ack) {
            return Err(Reason::BadFlags);
        }
        let stream = &mut self.answers.stream;
        let all = !seq::before(ack, self.passed);
        if seq::before(stream.accepted(), ack) || (self.flags & COPY_LOST != 0 && all) {
            // The client has bytes that are not in the store. From here on the copy can be complete again, but it
            // begins in the middle of some unit.
            *stream = Stream::new(ack);
            self.framed = ack;
            self.passed = seq::max(self.passed, ack);
            self.flags |= REPLIES_LOST;
            if all {
                self.flags &= !COPY_LOST
            } else {
                self.flags |= COPY_LOST
            }
            return Ok(());
        }
        let upto = seq::min(seq::min(stream.released(), self.framed), ack);
        stream.acknowledge(upto);
        Ok(())
    }
}
