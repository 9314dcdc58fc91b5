use super::histogram::{Intervals, Residences};
use crate::event::Whose;

/// Regular intervals after which a stream counts as periodic; half a second of an RTDE stream of 125 Hz.
const REGULAR: u8 = 32;
/// Most that a long regular past counts against what is irregular now.
const MOST_REGULAR: u8 = 128;
/// From here on a silence is a pause: who sends has stopped, rather than come late. External control gives up after
/// 20 ms (200 ms for trajectories), so everything that may still be repaired is far below.
pub(super) const PAUSE_NS: u64 = 1_000_000_000;
/// Time over which the sender's clock must have been watched before it is believed.
const WATCHED_NS: u64 = 100_000_000;
/// Time between two events about one stream.
const TOLD_NS: u64 = 10_000_000_000;

/// What is measured of the frames of one conversation that travel one way. Times of ports are the kernel's stamps.
///
/// Invariant: `entry.total() + unmeasured == frames`, `left + kept + refused == frames` after [`super::Jitter::departed`],
/// `residence.total() == left`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// Frames with something new; acknowledgements and repetitions are none.
    pub frames: u64,
    /// Of these, those without a frame before them to be measured from.
    pub unmeasured: u64,
    /// Frames that went on when they came.
    pub left: u64,
    /// Frames that were taken in and kept for later.
    pub kept: u64,
    /// Frames that were refused.
    pub refused: u64,
    /// Time between two frames at the port where they come in.
    pub entry: Intervals,
    /// Time between two frames at the port where they go out.
    pub exit: Intervals,
    /// Time in the box.
    pub residence: Residences,
    /// Late frames, by [`Whose`].
    pub late: [u64; Whose::COUNT],
    /// Late frames that answered a late frame of the other side as quickly as ever.
    pub followed: u64,
    /// Silences of more than a second that the sender chose.
    pub pauses: u64,
    /// Silences that were told of while they lasted.
    pub silences: u64,
    /// Stamp of the last frame, nanoseconds since 1970; 0 = none.
    pub last_ns: u64,
    /// Longest interval at either port in this and in the last second (of 1.07 s).
    pub worst_ns: [u64; 2],
    pub(super) period_ns: u64,
    /// Usual time from the other side's frame to this side's, where one comes between two.
    pub(super) answer_ns: u64,
    pub(super) left_ns: u64,
    /// When the first frame of the other side since the last of this one went out to it; 0 = none did.
    pub(super) heard_ns: u64,
    told_ns: u64,
    /// The frame before the silence that was told of last: its stamp, so that no later frame has to note anything.
    silent_since_ns: u64,
    silence_told_ns: u64,
    worst_second: u64,
    pub(super) clock: SenderClock,
    pub(super) next: u32,
    unreported: u32,
    regular: u8,
}

/// The sender's own clock, as the timestamps of its segments tell it (RFC 7323): ticks of a length to be found out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SenderClock {
    /// A tick and the stamp of the frame that told it, long ago.
    anchor: (u32, u64),
    /// The same of the last frame.
    last: (u32, u64),
}

impl SenderClock {
    /// Takes what a frame says; answers with the ticks since the frame before.
    #[inline]
    pub(super) fn note(&mut self, ticks: u32, at_ns: u64) -> Option<u32> {
        let before = std::mem::replace(&mut self.last, (ticks, at_ns));
        // Far from where the number wraps; a clock of microseconds gets there in 18 minutes.
        if before.1 == 0 || before.0.wrapping_sub(self.anchor.0) > 1 << 30 {
            self.anchor = (ticks, at_ns);
        }
        (before.1 != 0).then(|| ticks.wrapping_sub(before.0))
    }

    /// Nanoseconds between sending the last frame and the one before it, which was `ticks` earlier and came `interval_ns`
    /// earlier, and those of a tick: by what was seen up to the one before.
    pub(super) fn sent(&self, ticks: u32, interval_ns: u64) -> Option<(u64, u64)> {
        let watched_ns = self.last.1.checked_sub(interval_ns)?.checked_sub(self.anchor.1)?;
        let passed = self.last.0.wrapping_sub(ticks).wrapping_sub(self.anchor.0);
        if watched_ns < WATCHED_NS {
            return None;
        }
        let tick_ns = watched_ns.checked_div(passed.into())?;
        Some((tick_ns.saturating_mul(ticks.into()), tick_ns))
    }
}

/// A frame between its arrival and its departure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    pub(super) at_ns: u64,
    /// Since the frame before, at the port where it came in; 0 = there was none.
    pub(super) interval_ns: u64,
    /// Since the other side's first frame in between; `None` where there was none.
    pub(super) answered_ns: Option<u64>,
    /// Time since the frame before by the sender's clock, and a tick of that; only of a late frame.
    pub(super) sent: Option<(u64, u64)>,
    /// Whether bytes before it were not seen.
    pub(super) hole: bool,
}

/// What a late frame comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// In time, or of no periodic stream.
    Fine,
    /// Late, but only since what it answers was.
    Followed,
    /// The sender had stopped.
    Pause,
    /// Late.
    Late(Whose),
}

impl Stream {
    /// The time between two frames that is usual, where there is one.
    #[must_use]
    pub const fn period_ns(&self) -> Option<u64> {
        if self.regular >= REGULAR { Some(self.period_ns) } else { None }
    }

    /// From how long an interval on a frame is late: a quarter more than usual. `u64::MAX` where nothing is usual.
    pub(super) fn bound_ns(&self) -> u64 {
        self.period_ns().map_or(u64::MAX, |period| period.saturating_add(period >> 2))
    }

    /// Takes an interval at the entry for the estimate of what is usual: those within half of it count for it, the others
    /// against there being one.
    #[inline]
    pub(super) fn learn(&mut self, interval_ns: u64) {
        let (period, half) = (self.period_ns, self.period_ns >> 1);
        if interval_ns.wrapping_sub(half) <= period {
            self.period_ns = period.wrapping_sub(period >> 4).wrapping_add(interval_ns >> 4);
            self.regular = self.regular.saturating_add(1).min(MOST_REGULAR);
        } else {
            self.regular = self.regular.saturating_sub(2);
            if self.regular == 0 {
                self.period_ns = interval_ns;
            }
        }
    }

    /// Notes an interval at one of the ports for the worst of this second.
    #[inline]
    pub(super) fn note_worst(&mut self, at_ns: u64, interval_ns: u64) {
        let second = at_ns >> 30;
        if second != self.worst_second {
            let last = if second == self.worst_second.wrapping_add(1) { self.worst_ns[0] } else { 0 };
            self.worst_ns = [0, last];
            self.worst_second = second;
        }
        self.worst_ns[0] = self.worst_ns[0].max(interval_ns);
    }

    /// Forgets when frames came last: what comes next is measured from nothing.
    pub(super) fn forget_times(&mut self) {
        (self.last_ns, self.left_ns, self.heard_ns, self.clock) = (0, 0, 0, SenderClock::default());
    }

    /// Whose lateness it was. `exit_ns` is the time since the frame before at the port where it went out; 0 = unknown.
    ///
    /// What is lost at the entry was lost before the box, what the exit adds was lost in it: the larger share decides.
    pub(super) fn judge(&self, arrival: &Arrival, exit_ns: u64, toward_robot: bool) -> Outcome {
        let Some(period) = self.period_ns() else { return Outcome::Fine };
        let entry = arrival.interval_ns;
        if entry.max(exit_ns) <= self.bound_ns() {
            return Outcome::Fine;
        }
        let excess = entry.saturating_sub(period);
        if exit_ns.saturating_sub(entry) > excess {
            return Outcome::Late(Whose::Box);
        }
        if entry <= self.bound_ns() {
            // Both a little: neither port saw a late frame by itself.
            return Outcome::Fine;
        }
        if let Some(answered) = arrival.answered_ns {
            // The interval has two parts: until the other side spoke, and from then on. Which of them is longer than it
            // usually is?
            let answer = self.answer_ns.min(period);
            let took = answered.saturating_sub(answer);
            let waited = entry.saturating_sub(answered).saturating_sub(period.saturating_sub(answer));
            if waited > took {
                return Outcome::Followed;
            }
        }
        let sender = if toward_robot { Whose::Client } else { Whose::Robot };
        let unknown = if toward_robot { Whose::Plant } else { Whose::Robot };
        let whose = match (arrival.hole, arrival.sent) {
            (true, _) => Whose::Network,
            // A clock that is too coarse for this tells nothing.
            (false, Some((sent_ns, tick_ns))) if tick_ns.saturating_mul(2) <= excess => {
                if sent_ns.saturating_sub(period) >= excess >> 1 { sender } else { Whose::Network }
            }
            (false, _) => unknown,
        };
        if entry > PAUSE_NS && matches!(whose, Whose::Client | Whose::Plant | Whose::Robot) {
            return Outcome::Pause;
        }
        Outcome::Late(whose)
    }

    /// For how long nothing has come at `wall_ns` though something was due, and what is usual; `other_speaks` = both
    /// directions have a beat. `None` where there is no beat, or the sender waits for the other side.
    pub(super) fn silence(&self, wall_ns: u64, other_speaks: bool) -> Option<(u64, u64)> {
        let period = self.period_ns()?;
        if self.last_ns == 0 {
            return None;
        }
        let mut since = self.last_ns;
        if other_speaks && self.answer_ns != 0 {
            // Who answers is not late before it was asked.
            let asked = self.heard_ns.checked_sub(self.last_ns).filter(|_| self.heard_ns != 0)?;
            since = since.saturating_add(asked.saturating_sub(period.saturating_sub(self.answer_ns.min(period))));
        }
        Some((wall_ns.saturating_sub(since), period))
    }

    /// Whether an event about the silence that lasts at `wall_ns` is due; one every ten seconds.
    pub(super) fn tells_silence(&mut self, wall_ns: u64) -> bool {
        let is_told = self.silent_since_ns == self.last_ns;
        if is_told || (self.silence_told_ns != 0 && wall_ns.saturating_sub(self.silence_told_ns) < TOLD_NS) {
            return false;
        }
        (self.silence_told_ns, self.silent_since_ns) = (wall_ns, self.last_ns);
        self.silences = self.silences.saturating_add(1);
        true
    }

    /// Whether the silence that a frame ended was told of while it lasted; then how many late ones before it were not.
    pub(super) fn ends_silence(&mut self, arrival: &Arrival) -> Option<u32> {
        let before_ns = arrival.at_ns.wrapping_sub(arrival.interval_ns);
        if arrival.interval_ns == 0 || before_ns != self.silent_since_ns {
            return None;
        }
        self.told_ns = arrival.at_ns;
        Some(std::mem::take(&mut self.unreported))
    }

    /// Whether an event about a late frame is due, and how many are not told of; one every ten seconds.
    pub(super) fn tells(&mut self, at_ns: u64) -> Option<u32> {
        if self.told_ns != 0 && at_ns.saturating_sub(self.told_ns) < TOLD_NS {
            self.unreported = self.unreported.saturating_add(1);
            return None;
        }
        self.told_ns = at_ns;
        Some(std::mem::take(&mut self.unreported))
    }
}
