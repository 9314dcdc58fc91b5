use link::seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::stream::{Stream, span};

/// Segments in flight before anything is acknowledged. Source: RFC 6928 section 2.
const INITIAL_WINDOW: u32 = 10;

/// Least and greatest retransmission time-out. The least is that of Linux, below RFC 6298's second: the box sits in the
/// cabinet, and a robot that waits a second has stopped. The greatest keeps a peer that comes back from waiting long.
const LEAST_RTO_NS: u64 = 200_000_000;
const GREATEST_RTO_NS: u64 = 3_000_000_000;

/// After this time without a sign of life the peer is taken for gone. Source: design of the gate, "give up after 30 s".
const GIVE_UP_NS: u64 = 30_000_000_000;

/// Repeated acknowledgements that tell of a lost segment. Source: RFC 5681 section 3.2.
const DUPLICATES: u32 = 3;

/// Segments sent in one go; more follow at the next look. Bounds what one event can cause (I10).
pub(super) const BURST: u32 = 64;

/// How far an acknowledgement may lie back: the largest window that scaling allows to a connection that was open before.
const OLDEST: u32 = 1 << 20;

/// What an acknowledgement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// It covers bytes for the first time.
    New,
    /// It repeats the last one.
    Same,
    /// It is older than the last one.
    Old,
    /// It covers what was never sent, or is older than any that can still be under way: nobody who knows the connection
    /// sends it. Source: RFC 5961 section 5.2.
    NeverSent,
}

/// What the passing of time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// To send, again what is not acknowledged or on.
    Resend,
    /// To ask with an empty segment whether the window is open.
    Probe,
    /// The peer gave no sign of life for [`GIVE_UP_NS`].
    Gone,
}

/// A TCP sender of the box's own, over the bytes that a [`Stream`] has let go: NewReno with time-outs and window probes.
/// Plain data.
///
/// Source: RFC 5681 (congestion control), 6582 (NewReno), 6298 (time-outs), 9293 section 3.8.6.1 (probes).
/// Invariant: `una <= next <= high`, and `high` is at most one (the FIN) past the stream's released bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Sender {
    /// When to send again or to probe, monotonic nanoseconds; 0 = never.
    timer_ns: u64,
    /// When the peer last gave a sign of life while something was outstanding.
    heard_ns: u64,
    /// When the byte `timed` was sent; 0 = none is timed.
    timed_ns: u64,
    rto_ns: u64,
    smoothed_ns: u64,
    variation_ns: u64,
    una: u32,
    next: u32,
    high: u32,
    /// Right edge of the peer's window.
    edge: u32,
    congestion: u32,
    threshold: u32,
    recover: u32,
    timed: u32,
    duplicates: u32,
    mss: u32,
    flags: u32,
    reserved: u32,
}

const RECOVERING: u32 = 1;
const RESEND: u32 = 2;
const FIN_QUEUED: u32 = 4;
const FIN_ACKED: u32 = 8;
/// More will follow as soon as the window opens, so a shut one is asked about.
const ASKING: u32 = 16;
/// The timer tells not of a loss but of what a burst left over.
const MORE: u32 = 32;

impl Sender {
    /// A sender to a peer that has acknowledged everything before `una`, was sent everything before `next` and takes
    /// bytes before `edge`, in segments of at most `mss`.
    pub(super) fn new(una: u32, next: u32, edge: u32, mss: u32, now_ns: u64) -> Self {
        let mss = mss.max(1);
        let flight = span(una, next);
        Self {
            timer_ns: if flight == 0 { 0 } else { now_ns.saturating_add(LEAST_RTO_NS) },
            heard_ns: now_ns,
            timed_ns: 0,
            rto_ns: LEAST_RTO_NS,
            smoothed_ns: 0,
            variation_ns: 0,
            una,
            next,
            high: next,
            edge,
            congestion: mss.saturating_mul(INITIAL_WINDOW).max(flight.saturating_add(mss)),
            threshold: u32::MAX >> 1,
            recover: una,
            timed: 0,
            duplicates: 0,
            mss,
            flags: 0,
            reserved: 0,
        }
    }

    fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u32, on: bool) {
        if on { self.flags |= flag } else { self.flags &= !flag }
    }

    /// The first byte that the peer did not acknowledge.
    pub(super) fn una(&self) -> u32 {
        self.una
    }

    /// The next byte to send.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// One past the highest number ever sent.
    pub(super) fn high(&self) -> u32 {
        self.high
    }

    /// Whether the peer acknowledged the FIN.
    pub(super) fn fin_acknowledged(&self) -> bool {
        self.is(FIN_ACKED)
    }

    /// When something is to be done, monotonic nanoseconds.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (self.timer_ns != 0).then_some(self.timer_ns)
    }

    /// Bytes before `high` went to the peer before this sender took over, some of them beyond holes.
    pub(super) fn passed(&mut self, high: u32) {
        self.high = seq::max(self.high, high);
    }

    /// Whether the first byte that was not let go yet would be sent at once.
    pub(super) fn is_ready(&self, stream: &Stream) -> bool {
        span(self.next, stream.released()) < self.room().min(self.mss.saturating_mul(BURST))
    }

    /// Everything before `upto` may be in flight, as it was let go while the peer's own sender saw to congestion.
    pub(super) fn cover(&mut self, upto: u32) {
        self.congestion = self.congestion.max(span(self.una, upto));
    }

    /// Whether the next to be sent is a byte before `at` that went out already.
    pub(super) fn repeats_before(&self, at: u32) -> bool {
        let from_una = self.is(RESEND) && self.una != self.high && seq::before(self.una, at);
        from_una || (seq::before(self.next, self.high) && seq::before(self.next, at))
    }

    /// Whether everything let go was acknowledged.
    pub(super) fn is_idle(&self, stream: &Stream) -> bool {
        self.una == stream.released() || self.is(FIN_ACKED)
    }

    /// Sends a FIN behind the last byte let go.
    pub(super) fn queue_fin(&mut self) {
        self.set(FIN_QUEUED, true);
    }

    /// Whether a FIN stands behind the last byte let go, so that nothing can be put there any more.
    pub(super) fn is_ending(&self) -> bool {
        self.is(FIN_QUEUED)
    }

    /// Whether bytes that were not let go yet wait for the window to open.
    pub(super) fn keep_asking(&mut self, waiting: bool) {
        self.set(ASKING, waiting);
    }

    /// Bytes that may be sent now.
    fn room(&self) -> u32 {
        let limit = seq::min(self.edge, self.una.wrapping_add(self.congestion));
        if seq::before(self.next, limit) { span(self.next, limit) } else { 0 }
    }

    /// Takes an acknowledgement with the right edge of the window that came with it. The stream's bytes are the
    /// caller's to forget.
    pub(super) fn acknowledge(
        &mut self,
        stream: &Stream,
        ack: u32,
        edge: u32,
        pure: bool,
        now_ns: u64,
    ) -> Acknowledged {
        if seq::before(self.high, ack) && seq::before(stream.released(), ack) {
            return Acknowledged::NeverSent;
        }
        if seq::before(ack, self.una) {
            let old = span(ack, self.una) <= OLDEST;
            return if old { Acknowledged::Old } else { Acknowledged::NeverSent };
        }
        self.heard_ns = now_ns;
        let same_window = edge == self.edge;
        self.edge = edge;
        if ack != self.una {
            self.advance(stream, ack, now_ns);
            return Acknowledged::New;
        }
        if self.una != self.next && pure && same_window {
            self.duplicates = self.duplicates.saturating_add(1);
            if self.is(RECOVERING) {
                self.congestion = self.congestion.saturating_add(self.mss);
            } else if self.duplicates == DUPLICATES && !seq::before(self.una, self.recover) {
                self.halve();
                self.congestion = self.threshold.saturating_add(self.mss.saturating_mul(DUPLICATES));
                self.recover = self.high;
                self.flags |= RECOVERING | RESEND;
            }
        }
        Acknowledged::Same
    }

    fn advance(&mut self, stream: &Stream, ack: u32, now_ns: u64) {
        if self.timed_ns != 0 && seq::before(self.timed, ack) {
            self.measure(now_ns.saturating_sub(self.timed_ns));
            self.timed_ns = 0;
        }
        let fresh = span(self.una, ack);
        self.una = ack;
        self.next = seq::max(self.next, ack);
        self.high = seq::max(self.high, ack);
        self.duplicates = 0;
        if self.is(RECOVERING) {
            if seq::before(ack, self.recover) {
                // A part: the next hole is told by it. Source: RFC 6582 section 3.2, step 3.
                self.congestion = self.congestion.saturating_sub(fresh).saturating_add(self.mss);
                self.flags |= RESEND;
            } else {
                self.congestion = self.threshold;
                self.set(RECOVERING, false);
            }
        } else {
            if !seq::before(ack, self.recover) {
                // Kept close behind, so that it never falls half the number space back.
                self.recover = ack;
            }
            let gain = if self.congestion < self.threshold {
                fresh.min(self.mss.saturating_mul(2))
            } else {
                self.mss.saturating_mul(self.mss).checked_div(self.congestion).unwrap_or(1).max(1)
            };
            self.congestion = self.congestion.saturating_add(gain);
        }
        self.congestion = self.congestion.min(1 << 24);
        if self.is(FIN_QUEUED) && seq::before(stream.released(), ack) {
            self.set(FIN_ACKED, true);
        }
        self.timer_ns = if self.una == self.next { 0 } else { now_ns.saturating_add(self.rto_ns) };
    }

    fn halve(&mut self) {
        let flight = span(self.una, self.high);
        self.threshold = (flight / 2).max(self.mss.saturating_mul(2));
    }

    /// Source: RFC 6298 section 2.
    fn measure(&mut self, sample_ns: u64) {
        if self.smoothed_ns == 0 {
            self.smoothed_ns = sample_ns;
            self.variation_ns = sample_ns / 2;
        } else {
            let difference = self.smoothed_ns.abs_diff(sample_ns);
            self.variation_ns = (self.variation_ns / 4).saturating_mul(3).saturating_add(difference / 4);
            self.smoothed_ns = (self.smoothed_ns / 8).saturating_mul(7).saturating_add(sample_ns / 8);
        }
        let wanted = self.smoothed_ns.saturating_add(self.variation_ns.saturating_mul(4));
        self.rto_ns = wanted.clamp(LEAST_RTO_NS, GREATEST_RTO_NS);
    }

    /// Says what the time asks for, and prepares to do it: [`Sender::send`] follows.
    pub(super) fn poll(&mut self, stream: &Stream, now_ns: u64) -> Due {
        if self.timer_ns == 0 || now_ns < self.timer_ns {
            return Due::Nothing;
        }
        self.timer_ns = 0;
        if self.is(MORE) {
            return Due::Resend;
        }
        let outstanding = self.una != self.high;
        let waiting = self.next != stream.released() || self.is(ASKING);
        if !outstanding && !waiting && (!self.is(FIN_QUEUED) || self.is(FIN_ACKED)) {
            return Due::Nothing;
        }
        if now_ns.saturating_sub(self.heard_ns) > GIVE_UP_NS {
            return Due::Gone;
        }
        if outstanding {
            self.halve();
            self.congestion = self.mss;
            self.next = self.una;
            self.recover = self.high;
            self.set(RECOVERING, false);
            self.set(RESEND, false);
            self.duplicates = 0;
            self.timed_ns = 0;
            self.rto_ns = self.rto_ns.saturating_mul(2).min(GREATEST_RTO_NS);
            if self.room() == 0 {
                // The window closed over what was sent: nothing can be sent again, so the peer is asked.
                self.timer_ns = now_ns.saturating_add(self.rto_ns);
                return Due::Probe;
            }
            return Due::Resend;
        }
        if self.room() == 0 && waiting {
            self.rto_ns = self.rto_ns.saturating_mul(2).min(GREATEST_RTO_NS);
            self.timer_ns = now_ns.saturating_add(self.rto_ns);
            return Due::Probe;
        }
        Due::Resend
    }

    /// Sends what may be sent: `emit` gets sequence number, length and whether a FIN goes with it.
    pub(super) fn send(&mut self, stream: &Stream, now_ns: u64, mut emit: impl FnMut(u32, u32, bool)) {
        let released = stream.released();
        if self.is(MORE) {
            self.set(MORE, false);
            self.timer_ns = 0;
        }
        if self.una == self.high {
            // Nothing was outstanding: the peer's silence counts from now.
            self.heard_ns = now_ns;
        }
        if self.is(RESEND) && self.una != self.high {
            self.set(RESEND, false);
            self.timed_ns = 0;
            // Never more than went out before: the peer's window may end there.
            let last = seq::min(self.high, released);
            let len = if seq::before(self.una, last) { span(self.una, last).min(self.mss) } else { 0 };
            let end = self.una.wrapping_add(len);
            let fin = self.is(FIN_QUEUED) && end == released && seq::before(released, self.high);
            if len != 0 || fin {
                emit(self.una, len, fin);
                self.next = seq::max(self.next, end.wrapping_add(u32::from(fin)));
            }
            self.timer_ns = now_ns.saturating_add(self.rto_ns);
        }
        let mut burst = 0;
        while seq::before(self.next, released) && burst < BURST {
            let waiting = span(self.next, released);
            let len = waiting.min(self.mss).min(self.room());
            if len == 0 {
                break;
            }
            if self.una == self.next {
                // A probe's clock, or none: what is sent now gets its own.
                self.timer_ns = 0;
            }
            let end = self.next.wrapping_add(len);
            let fin = self.is(FIN_QUEUED) && end == released;
            emit(self.next, len, fin);
            self.went_out(end.wrapping_add(u32::from(fin)), now_ns);
            burst = burst.saturating_add(1);
        }
        if self.is(FIN_QUEUED) && !self.is(FIN_ACKED) && self.next == released {
            emit(self.next, 0, true);
            self.went_out(released.wrapping_add(1), now_ns);
        }
        if self.timer_ns == 0 {
            let more = seq::before(self.next, released) || (self.is(ASKING) && self.room() == 0);
            if burst == BURST && more {
                self.set(MORE, true);
                self.timer_ns = now_ns.saturating_add(1);
            } else if more || self.una != self.next {
                self.timer_ns = now_ns.saturating_add(self.rto_ns);
            }
        }
    }

    fn went_out(&mut self, end: u32, now_ns: u64) {
        if seq::before(self.high, end) {
            if self.timed_ns == 0 {
                self.timed = self.next;
                self.timed_ns = now_ns.max(1);
            }
            self.high = end;
        }
        self.next = end;
    }
}
