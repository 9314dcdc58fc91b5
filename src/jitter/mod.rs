//! Whose jitter: for every conversation the time between two frames at the port where they come in and at the port where
//! they go out, and the time in the box, so that a late frame can be laid at somebody's door.
//!
//! Measured beside the packet path, by what the kernel stamped and the flow table says; nothing here reads a clock. Memory
//! is taken once, and a frame costs a look-up by the number of its flow.

mod histogram;
mod stream;

#[cfg(test)]
mod tests;

pub use histogram::{BUCKETS, Histogram, Intervals, Residences};
pub use stream::Stream;

use dissect::Toward;
use link::FlowKey;
use zerocopy::IntoBytes;

use crate::event::Whose;
use crate::flow::{CAPACITY, End, Flow, FlowId, State};
use stream::{Arrival, Outcome};

/// Conversations that are measured: more than a controller serves at a time. Where there are more, the one that was
/// silent for longest gives way, those without a period first.
pub const TALKS: usize = 64;

/// Frames between two calls of [`Jitter::departed`]: those of a batch. More are counted as [`Jitter::unwatched`].
const BATCH: usize = 64;

/// Late frames and silences that wait to be told of.
const TOLD: usize = 8;

/// When a late frame is told of where nothing else is configured: half of the 20 ms after which UR's client library and
/// the controller give up on set-points.
pub const ALARM_NS: u64 = 10_000_000;

/// Steps of the wall clock below this are its usual discipline.
const STEP_NS: u64 = 5_000_000;

/// One conversation under measurement.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// Both ends, each on its own side of the box.
    pub key: FlowKey,
    /// Place in the flow table.
    pub id: FlowId,
    /// Stamp of the conversation's first frame, which tells it from a later one between the same ends.
    pub began_ns: u64,
    /// Toward the robot and toward the plant.
    pub streams: [Stream; 2],
    /// Commands of it that were refused, as the flow table had it.
    refused: u64,
}

impl Talk {
    /// Stamp of the last frame with something new.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        let [robot, plant] = &self.streams;
        robot.last_ns.max(plant.last_ns)
    }

    /// Whether this is the conversation of that flow.
    #[must_use]
    #[inline]
    pub fn is_of(&self, flow: &Flow) -> bool {
        let [began, _] = flow.wall_ns;
        let mirrored = flow.key.is_mirrored();
        // The key as it lies there, where it is the same one: it is compared with every frame.
        let same = |key: &FlowKey| self.key.as_bytes() == key.as_bytes();
        self.began_ns == began
            && flow.state() != State::Free
            && if mirrored { same(&flow.key.unmirrored()) } else { same(&flow.key) }
    }

    fn is_periodic(&self) -> bool {
        self.streams.iter().any(|stream| stream.period_ns().is_some())
    }
}

/// What became of a frame while it was judged, as far as one can see from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It goes out with its batch, as it is or as bytes in a frame of the box's own.
    Left,
    /// Its bytes were taken in; they go out later, or were swallowed: then a command was refused with it.
    Kept,
    /// It was refused, and somebody is told so elsewhere.
    Refused,
}

/// A frame that came so late that it is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// The conversation, each end on its own side of the box.
    pub key: FlowKey,
    /// Its place in the flow table.
    pub id: FlowId,
    /// The direction it travelled.
    pub toward: Toward,
    /// Where it lost its time.
    pub whose: Whose,
    /// Since the frame before, at the port where that was longer, nanoseconds.
    pub interval_ns: u64,
    /// What is usual, nanoseconds.
    pub period_ns: u64,
    /// Time in the box; 0 where it did not leave by itself.
    pub residence_ns: u64,
    /// How many of this stream were not told of before it.
    pub unreported: u32,
}

/// A periodic stream of which nothing comes, though something is long due; or which has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The conversation, each end on its own side of the box.
    pub key: FlowKey,
    /// Its place in the flow table.
    pub id: FlowId,
    /// The direction that is silent.
    pub toward: Toward,
    /// For how long, nanoseconds: since its last frame, or since that of the other side that it has to answer.
    pub silent_ns: u64,
    /// The usual time between two frames, nanoseconds.
    pub period_ns: u64,
    /// Whether it is over. Told so only where no [`Late`] tells whose it was: the sender had stopped, or waited itself.
    pub over: bool,
}

/// What is to be told of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A late frame has come.
    Late(Late),
    /// None comes.
    Silence(Silence),
}

/// A frame of the current batch.
#[derive(Clone, Copy, Debug)]
struct Pending {
    talk: u8,
    toward: Toward,
    departure: Departure,
    arrival: Arrival,
}

/// The measurement. Allocates nothing after [`Jitter::new`].
#[derive(Debug)]
pub struct Jitter {
    talks: Vec<Talk>,
    /// Of every flow the place of its talk plus 1; 0 = none.
    places: Box<[u8; CAPACITY]>,
    pending: Vec<Pending>,
    told: Vec<Told>,
    late: [u64; Whose::COUNT],
    alarms: u64,
    unwatched: u64,
    offset_ns: Option<u64>,
}

impl Default for Jitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Jitter {
    /// Nothing measured, all memory taken.
    #[must_use]
    pub fn new() -> Self {
        Self {
            talks: Vec::with_capacity(TALKS),
            places: Box::new([0; CAPACITY]),
            pending: Vec::with_capacity(BATCH),
            told: Vec::with_capacity(TOLD),
            late: [0; Whose::COUNT],
            alarms: 0,
            unwatched: 0,
            offset_ns: None,
        }
    }

    /// Every conversation under measurement, in no order.
    #[must_use]
    pub fn talks(&self) -> &[Talk] {
        &self.talks
    }

    /// Late frames since the start, by [`Whose`], of conversations that ended or gave way too.
    #[must_use]
    pub fn late(&self) -> &[u64; Whose::COUNT] {
        &self.late
    }

    /// Late frames beyond the limit of alarms since the start, told of or not.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.alarms
    }

    /// Frames that found no room to be measured; 0 unless a batch is larger than it can be.
    #[must_use]
    pub fn unwatched(&self) -> u64 {
        self.unwatched
    }

    /// Takes a frame that came in at `at_ns` (the kernel's stamp) and travelled `toward` a side, after it was judged:
    /// `flow` is its conversation at `id` as the frame left it, `bytes` the frame.
    ///
    /// Cost: with its part of [`Jitter::departed`] 498 instructions (`benches/instructions.rs`); what brings nothing new ends
    /// early.
    pub fn arrived(
        &mut self,
        (id, flow): (FlowId, &Flow),
        (toward, at_ns, bytes): (Toward, u64, &[u8]),
        departure: Departure,
    ) {
        let as_seen = if flow.key.is_mirrored() { toward.reverse() } else { toward };
        let end = flow.end(as_seen);
        let datagram = match flow.state() {
            State::Datagrams => true,
            State::Established => false,
            _ => return,
        };
        let place = self.places.get(usize::from(id.0)).copied().unwrap_or(0);
        let known = usize::from(place).checked_sub(1).filter(|at| self.talks.get(*at).is_some_and(|it| it.is_of(flow)));
        let (at, first) = match known {
            Some(at) => (at, false),
            // The end of the handshake brings nothing new yet.
            None if !datagram && end.next == end.isn.wrapping_add(1) => return,
            None => (self.begin(id, flow, at_ns), true),
        };
        let Some(talk) = self.talks.get_mut(at) else { return };
        let [_, refused] = flow.commands;
        let swallowed = std::mem::replace(&mut talk.refused, refused) != refused;
        let departure = if swallowed && departure == Departure::Kept { Departure::Refused } else { departure };
        let Some(stream) = talk.streams.get_mut(toward as usize) else { return };
        if !datagram && !first && end.next == stream.next {
            return;
        }
        let before = std::mem::replace(&mut stream.next, end.next);
        stream.frames = stream.frames.wrapping_add(1);
        let heard_ns = std::mem::take(&mut stream.heard_ns);
        let mut arrival = Arrival { at_ns, ..Arrival::default() };
        let ticks = if end.is(End::TIMESTAMPS) { stream.clock.note(end.timestamp[0], at_ns) } else { None };
        let last_ns = std::mem::replace(&mut stream.last_ns, at_ns);
        if last_ns == 0 || last_ns > at_ns {
            stream.unmeasured = stream.unmeasured.wrapping_add(1);
        } else {
            let interval_ns = at_ns.wrapping_sub(last_ns);
            arrival.interval_ns = interval_ns;
            if heard_ns >= last_ns {
                arrival.answered_ns = Some(at_ns.saturating_sub(heard_ns));
            }
            stream.entry.record(interval_ns);
            stream.note_worst(at_ns, interval_ns);
            if interval_ns > stream.bound_ns() {
                arrival.hole = !datagram && follows_a_hole(bytes, before);
                arrival.sent = ticks.and_then(|ticks| stream.clock.sent(ticks, interval_ns));
            } else if let Some(answered) = arrival.answered_ns {
                // A sixteenth of the way, from either side.
                let kept = stream.answer_ns.wrapping_sub(stream.answer_ns >> 4);
                stream.answer_ns = kept.wrapping_add(answered >> 4);
            }
        }
        if self.pending.len() < BATCH {
            self.pending.push(Pending { talk: u8::try_from(at).unwrap_or(0), toward, departure, arrival });
        } else {
            self.unwatched = self.unwatched.saturating_add(1);
        }
    }

    /// The frames taken since the last call left at `wall_ns`, by the clock that stamps come from. Late ones are told of
    /// from `alarm_ns` on ([`Jitter::next_told`]); 0 = never.
    pub fn departed(&mut self, wall_ns: u64, alarm_ns: u64) {
        for at in 0..self.pending.len() {
            let Some(Pending { talk, toward, departure, arrival }) = self.pending.get(at).copied() else { continue };
            let Some(talk) = self.talks.get_mut(usize::from(talk)) else { continue };
            let (key, id) = (talk.key, talk.id);
            let (stream, other) = match (&mut talk.streams, toward) {
                ([robot, plant], Toward::Robot) => (robot, plant),
                ([robot, plant], Toward::Plant) => (plant, robot),
            };
            let (mut residence_ns, mut exit_ns) = (0, 0);
            match departure {
                Departure::Left => {
                    residence_ns = wall_ns.saturating_sub(arrival.at_ns);
                    // The other side hears it from here on: what the box takes is not part of its answer.
                    if other.heard_ns == 0 {
                        other.heard_ns = wall_ns;
                    }
                    stream.left = stream.left.wrapping_add(1);
                    stream.residence.record(residence_ns);
                    let left_ns = std::mem::replace(&mut stream.left_ns, wall_ns);
                    if left_ns != 0 && left_ns <= wall_ns {
                        exit_ns = wall_ns.wrapping_sub(left_ns);
                        stream.exit.record(exit_ns);
                        stream.note_worst(arrival.at_ns, exit_ns);
                    }
                }
                Departure::Kept => stream.kept = stream.kept.wrapping_add(1),
                Departure::Refused => {
                    stream.refused = stream.refused.wrapping_add(1);
                    // The gap that it leaves is nobody's jitter.
                    stream.left_ns = 0;
                }
            }
            if arrival.interval_ns.max(exit_ns) > stream.bound_ns() {
                let outcome = stream.judge(&arrival, exit_ns, toward == Toward::Robot);
                let period_ns = stream.period_ns().unwrap_or(0);
                let interval_ns = arrival.interval_ns.max(exit_ns);
                let silence = stream.ends_silence(&arrival);
                let room = self.told.len() < TOLD;
                if silence.is_some() && !matches!(outcome, Outcome::Late(_)) && room {
                    let silent_ns = arrival.interval_ns;
                    self.told.push(Told::Silence(Silence { key, id, toward, silent_ns, period_ns, over: true }));
                }
                match outcome {
                    Outcome::Fine => {}
                    Outcome::Followed => stream.followed = stream.followed.saturating_add(1),
                    Outcome::Pause => stream.pauses = stream.pauses.saturating_add(1),
                    Outcome::Late(whose) => {
                        for late in [&mut stream.late, &mut self.late] {
                            if let Some(count) = late.get_mut(whose as usize) {
                                *count = count.saturating_add(1);
                            }
                        }
                        // A whole beat is missing, and half of the time that others wait is over.
                        let alarms = alarm_ns != 0 && interval_ns >= alarm_ns.max(period_ns.saturating_mul(2));
                        self.alarms = self.alarms.saturating_add(alarms.into());
                        if room && (alarms || silence.is_some()) {
                            // What was begun to be told is told to its end.
                            if let Some(unreported) = silence.or_else(|| stream.tells(arrival.at_ns)) {
                                let late =
                                    Late { key, id, toward, whose, interval_ns, period_ns, residence_ns, unreported };
                                self.told.push(Told::Late(late));
                            }
                        }
                    }
                }
            }
            if arrival.interval_ns != 0 {
                stream.learn(arrival.interval_ns);
            }
        }
        self.pending.clear();
    }

    /// What is to be told of a stream.
    pub fn next_told(&mut self) -> Option<Told> {
        self.told.pop()
    }

    /// Looks at `wall_ns`, by the clock that stamps come from, whether a stream with a beat is silent: it is told of once
    /// in a silence, from `alarm_ns` and two beats on ([`Jitter::next_told`]; 0 = never), where `lives` says that the
    /// conversation goes on. Says whether any stream with a beat brought something within the last second, so that it is
    /// worth looking again soon.
    ///
    /// Cost: nothing on the path of a frame; some 20 instructions a conversation for each look.
    pub fn watch(&mut self, wall_ns: u64, alarm_ns: u64, mut lives: impl FnMut(&Talk) -> bool) -> bool {
        let mut beats = false;
        for at in 0..self.talks.len() {
            let Some(talk) = self.talks.get(at).filter(|talk| talk.is_periodic()) else { continue };
            if wall_ns.saturating_sub(talk.last_ns()) > stream::PAUSE_NS {
                continue;
            }
            beats = true;
            let both = talk.streams.iter().all(|stream| stream.period_ns().is_some());
            for toward in [Toward::Robot, Toward::Plant] {
                let Some(talk) = self.talks.get_mut(at) else { continue };
                let Some(stream) = talk.streams.get(toward as usize) else { continue };
                let Some((silent_ns, period_ns)) = stream.silence(wall_ns, both) else { continue };
                let is_long = alarm_ns != 0 && silent_ns >= alarm_ns.max(period_ns.saturating_mul(2));
                if !is_long || self.told.len() >= TOLD || !lives(talk) {
                    continue;
                }
                let (key, id) = (talk.key, talk.id);
                if talk.streams.get_mut(toward as usize).is_some_and(|stream| stream.tells_silence(wall_ns)) {
                    self.told.push(Told::Silence(Silence { key, id, toward, silent_ns, period_ns, over: false }));
                }
            }
        }
        beats
    }

    /// Frames pass that are not measured from here on: the next ones of every stream are measured from nothing.
    pub fn pause(&mut self) {
        self.talks.iter_mut().flat_map(|talk| &mut talk.streams).for_each(Stream::forget_times);
    }

    /// Whether the wall clock, which stamps come from, seems to have been set: it is `offset_ns` ahead of the monotonic
    /// one. Both are to be read once more then, one behind the other, for [`Jitter::clock`].
    #[must_use]
    pub fn is_odd(&self, offset_ns: u64) -> bool {
        self.offset_ns.is_none_or(|known| known.abs_diff(offset_ns) > STEP_NS / 5)
    }

    /// The wall clock is `offset_ns` ahead of the monotonic one. Where it was set, everything is measured from anew:
    /// otherwise the step would be a late frame of every stream.
    pub fn clock(&mut self, offset_ns: u64) {
        if self.offset_ns.replace(offset_ns).is_some_and(|known| known.abs_diff(offset_ns) > STEP_NS) {
            self.talks.iter_mut().flat_map(|talk| &mut talk.streams).for_each(Stream::forget_times);
        }
    }

    /// Takes a conversation up, in the place of another where there is no room.
    #[cold]
    fn begin(&mut self, id: FlowId, flow: &Flow, at_ns: u64) -> usize {
        let [began_ns, _] = flow.wall_ns;
        let mut streams = [Stream::default(); 2];
        let as_seen = |toward: Toward| if flow.key.is_mirrored() { toward.reverse() } else { toward };
        for (toward, stream) in [Toward::Robot, Toward::Plant].into_iter().zip(&mut streams) {
            stream.next = flow.end(as_seen(toward)).next;
        }
        let [_, refused] = flow.commands;
        let talk = Talk { key: flow.key.unmirrored(), id, began_ns, streams, refused };
        let at = if self.talks.len() < TALKS {
            self.talks.push(talk);
            self.talks.len().saturating_sub(1)
        } else {
            // Frames of this batch wait for their departure: theirs may not be taken.
            let waiting = self.pending.iter().fold(0_u64, |waiting, it| waiting | 1_u64.wrapping_shl(it.talk.into()));
            let is_free = |at: u32| waiting.checked_shr(at).is_some_and(|bits| bits & 1 == 0);
            let all = (0_u32..).zip(&self.talks).filter(|(at, _)| is_free(*at));
            // What was silent for a minute has no period any more.
            let keeps = |talk: &Talk| talk.is_periodic() && at_ns.saturating_sub(talk.last_ns()) < MINUTE_NS;
            let victim =
                all.min_by_key(|(_, talk)| (keeps(talk), talk.last_ns())).and_then(|(at, _)| usize::try_from(at).ok());
            // A batch has no more frames than there are places: this one is the first without one.
            let Some(victim) = victim else { return usize::MAX };
            if let Some(old) = self.talks.get_mut(victim) {
                let own = u8::try_from(victim.saturating_add(1)).unwrap_or(0);
                // The flow's number may be another conversation's by now.
                if let Some(place) = self.places.get_mut(usize::from(old.id.0)).filter(|place| **place == own) {
                    *place = 0;
                }
                *old = talk;
            }
            victim
        };
        if let Some(place) = self.places.get_mut(usize::from(id.0)) {
            *place = u8::try_from(at.saturating_add(1)).unwrap_or(0);
        }
        at
    }
}

/// A minute, nanoseconds.
const MINUTE_NS: u64 = 60_000_000_000;

/// Whether a segment begins behind the next number in order: what lies between was lost or overtaken on the way.
#[cold]
fn follows_a_hole(bytes: &[u8], next: u32) -> bool {
    let packet = link::parse(bytes).ok();
    packet.as_ref().and_then(link::Packet::tcp).is_some_and(|tcp| link::seq::before(next, tcp.seq))
}
