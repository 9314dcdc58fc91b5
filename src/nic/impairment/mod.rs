//! A cable worse than any real one: frames are lost, doubled, delayed, overtaken, damaged, cut and joined, all of it
//! decided by a seed.
//!
//! [`Impairment`] is pure: frames and times go in, frames with times come out, and the same seed with the same input
//! gives the same output. It stands in front of a pipeline in virtual time, or between two ports in the lab.

mod random;
mod surgery;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use dissect::Toward;

use random::Random;

/// Frames on their way that one direction keeps; more are dropped and counted, as a queue does. At 1,000 frames a
/// second, the traffic of a busy cell, this is 8 s of delay.
const QUEUE: usize = 8192;

/// Most frames that overtake one that was put aside. TCP takes a segment for lost after 3 duplicates: both sides of
/// that happen.
const OVERTAKERS: u64 = 4;

/// How long a frame that is to be overtaken waits for others, nanoseconds. Two periods of a 500 Hz stream.
const ASIDE_NS: u64 = 4_000_000;

/// How long a segment that is to be merged waits for the next one, nanoseconds. What a sender writes at once comes
/// within microseconds.
const MERGE_NS: u64 = 500_000;

/// Longest IPv4 packet that merging makes: the MTU of Ethernet.
const MOST_PACKET: usize = 1500;

/// A share of frames in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// No frame.
    pub const NONE: Self = Self(0);
    /// Every frame.
    pub const ALL: Self = Self(1_000_000);

    /// So many of a million; absent above a million.
    #[must_use]
    pub const fn per_million(parts: u32) -> Option<Self> {
        if parts <= Self::ALL.0 { Some(Self(parts)) } else { None }
    }

    /// So many of a hundred; everything above counts as all.
    #[must_use]
    pub const fn percent(parts: u32) -> Self {
        match Self::per_million(parts.saturating_mul(10_000)) {
            Some(share) => share,
            None => Self::ALL,
        }
    }
}

/// What was written is no share of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no share of frames; write a percentage from 0% to 100%, such as 5% or 0.1%")]
pub struct ShareError(String);

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let wrong = || ShareError(text.to_owned());
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Four places behind the point are a millionth.
        if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 4 {
            return Err(wrong());
        }
        let parts: u32 = format!("{whole}{part:0<4}").parse().map_err(|_| wrong())?;
        Self::per_million(parts).ok_or_else(wrong)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 10_000, self.0 % 10_000);
        let text = format!("{whole}.{part:04}");
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// How bad a cable is. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Frames that vanish.
    pub loss: Share,
    /// Frames that arrive twice.
    pub duplicate: Share,
    /// Frames that 1 to 4 later ones of the same direction overtake, if as many come within 4 ms.
    pub reorder: Share,
    /// IPv4 packets with one bit turned over. Other frames are left alone: what no checksum guards, the frame check
    /// sequence of a real link does.
    pub corrupt: Share,
    /// TCP segments in IPv4 that become two at a random byte of their data.
    pub split: Share,
    /// TCP segments in IPv4 that wait 0.5 ms for the next of their connection to become one with it.
    pub merge: Share,
    /// IPv4 packets that become two fragments, whatever their don't-fragment flag asks.
    pub fragment: Share,
    /// What every frame takes, nanoseconds.
    pub delay_ns: u64,
    /// What it takes beyond that at most, nanoseconds; it alone never changes the order.
    pub jitter_ns: u64,
}

/// What was done, both directions together unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came in, toward the robot and toward the plant.
    pub offered: [u64; 2],
    /// Frames that went out, the same.
    pub delivered: [u64; 2],
    /// Frames that vanished.
    pub lost: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Frames that at least one later frame overtook.
    pub reordered: u64,
    /// Frames with a turned bit.
    pub corrupted: u64,
    /// Segments that became two.
    pub split: u64,
    /// Pairs of segments that became one.
    pub merged: u64,
    /// Packets that became two fragments.
    pub fragmented: u64,
    /// Frames for which the queue had no room.
    pub overflowed: u64,
}

/// A frame that has arrived at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The side it travels to.
    pub toward: Toward,
    /// The frame. Hand it to [`Impairment::recycle`] when it is done with, and the next frame takes its memory.
    pub bytes: Vec<u8>,
    /// When it arrived, nanoseconds on the caller's clock.
    pub due_ns: u64,
    /// Frames were put on the line in this order.
    number: u64,
}

/// A frame that is kept back.
#[derive(Debug)]
struct Aside {
    bytes: Vec<u8>,
    until_ns: u64,
    /// How many later frames may still overtake it.
    overtakers: u64,
    overtaken: bool,
}

/// One direction of the cable.
#[derive(Debug, Default)]
struct Way {
    /// What is on the line; times ascend.
    line: VecDeque<Arrival>,
    /// What is to be overtaken.
    aside: Vec<Aside>,
    /// A segment that waits for its neighbour.
    waiting: Option<Aside>,
    last_ns: u64,
}

/// A cable between two ends, both directions.
#[derive(Debug)]
pub struct Impairment {
    rates: Rates,
    random: Random,
    ways: [Way; 2],
    counts: Counts,
    numbered: u64,
    spare: Vec<Vec<u8>>,
}

impl Impairment {
    /// A cable of these rates; `seed` decides which frames they hit.
    #[must_use]
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self {
            rates,
            random: Random::new(seed),
            ways: [Way::default(), Way::default()],
            counts: Counts::default(),
            numbered: 0,
            spare: Vec::new(),
        }
    }

    /// Sets other rates from the next frame on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Puts a frame that travels `toward` a side on the cable. Times never go back.
    pub fn offer(&mut self, toward: Toward, frame: &[u8], now_ns: u64) {
        self.expire(now_ns);
        count(&mut self.counts.offered, toward);
        if self.random.hits(self.rates.loss) {
            self.counts.lost = self.counts.lost.saturating_add(1);
            return;
        }
        let mut bytes = self.copy_of(frame);
        if let Some(first) = self.way(toward).waiting.take() {
            let mut joined = self.buffer();
            if surgery::merge(&first.bytes, &bytes, MOST_PACKET, &mut joined) {
                self.counts.merged = self.counts.merged.saturating_add(1);
                self.discard(first.bytes);
                self.discard(std::mem::replace(&mut bytes, joined));
                return self.cut(toward, bytes, now_ns);
            }
            self.discard(joined);
            self.cut(toward, first.bytes, now_ns);
        }
        if self.random.hits(self.rates.merge) && surgery::is_plain_segment(&bytes) {
            let until_ns = now_ns.saturating_add(MERGE_NS);
            self.way(toward).waiting = Some(Aside { bytes, until_ns, overtakers: 0, overtaken: false });
            return;
        }
        self.cut(toward, bytes, now_ns);
    }

    /// The next frame that has arrived by `now_ns`, in the order of arrival.
    pub fn due(&mut self, now_ns: u64) -> Option<Arrival> {
        self.expire(now_ns);
        let [robot, plant] = &mut self.ways;
        let time = |way: &Way| way.line.front().map(|first| (first.due_ns, first.number));
        let way = match (time(robot), time(plant)) {
            (Some(to_robot), Some(to_plant)) if to_plant < to_robot => plant,
            (Some(_), _) => robot,
            (None, _) => plant,
        };
        way.line.front().filter(|first| first.due_ns <= now_ns)?;
        let arrival = way.line.pop_front()?;
        count(&mut self.counts.delivered, arrival.toward);
        Some(arrival)
    }

    /// When [`Impairment::due`] has something next; absent while the cable is empty.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let times = |way: &Way| {
            let line = way.line.front().map(|first| first.due_ns);
            let waiting = way.waiting.as_ref().map(|waiting| waiting.until_ns);
            let aside = way.aside.iter().map(|aside| aside.until_ns).min();
            [line, waiting, aside].into_iter().flatten().min()
        };
        self.ways.iter().filter_map(times).min()
    }

    /// Takes the memory of a frame that is done with.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.discard(bytes);
    }

    fn way(&mut self, toward: Toward) -> &mut Way {
        let [robot, plant] = &mut self.ways;
        match toward {
            Toward::Robot => robot,
            Toward::Plant => plant,
        }
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn copy_of(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut bytes = self.buffer();
        bytes.extend_from_slice(frame);
        bytes
    }

    fn discard(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < QUEUE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Lets go of what has waited long enough.
    fn expire(&mut self, now_ns: u64) {
        for toward in [Toward::Robot, Toward::Plant] {
            if let Some(waited) = self.way(toward).waiting.take_if(|waiting| waiting.until_ns <= now_ns) {
                self.cut(toward, waited.bytes, waited.until_ns);
            }
            while let Some(at) = self.way(toward).aside.iter().position(|aside| aside.until_ns <= now_ns) {
                self.end_aside(toward, at, None);
            }
        }
    }

    fn end_aside(&mut self, toward: Toward, at: usize, now_ns: Option<u64>) {
        let aside = self.way(toward).aside.remove(at);
        if aside.overtaken {
            self.counts.reordered = self.counts.reordered.saturating_add(1);
        }
        self.put(toward, aside.bytes, now_ns.unwrap_or(aside.until_ns));
    }

    /// Splits or fragments, and passes the pieces on.
    fn cut(&mut self, toward: Toward, bytes: Vec<u8>, now_ns: u64) {
        let split = self.random.hits(self.rates.split);
        let fragment = !split && self.random.hits(self.rates.fragment);
        if !split && !fragment {
            return self.damage(toward, bytes, now_ns);
        }
        let (mut first, mut second) = (self.buffer(), self.buffer());
        let done = if split {
            surgery::split(&bytes, &mut self.random, &mut first, &mut second)
        } else {
            surgery::fragment(&bytes, &mut self.random, &mut first, &mut second)
        };
        if !done {
            self.discard(first);
            self.discard(second);
            return self.damage(toward, bytes, now_ns);
        }
        let counted = if split { &mut self.counts.split } else { &mut self.counts.fragmented };
        *counted = counted.saturating_add(1);
        self.discard(bytes);
        self.damage(toward, first, now_ns);
        self.damage(toward, second, now_ns);
    }

    /// Doubles and corrupts, each copy on its own.
    fn damage(&mut self, toward: Toward, bytes: Vec<u8>, now_ns: u64) {
        let copy = self.random.hits(self.rates.duplicate).then(|| self.copy_of(&bytes));
        self.counts.duplicated = self.counts.duplicated.saturating_add(u64::from(copy.is_some()));
        for mut bytes in [Some(bytes), copy].into_iter().flatten() {
            if self.random.hits(self.rates.corrupt) && surgery::corrupt(&mut bytes, &mut self.random) {
                self.counts.corrupted = self.counts.corrupted.saturating_add(1);
            }
            self.order(toward, bytes, now_ns);
        }
    }

    /// Puts a frame aside, or on the line and past those that are aside.
    fn order(&mut self, toward: Toward, bytes: Vec<u8>, now_ns: u64) {
        if self.random.hits(self.rates.reorder) {
            let overtakers = self.random.below(OVERTAKERS).saturating_add(1);
            let until_ns = now_ns.saturating_add(ASIDE_NS);
            self.way(toward).aside.push(Aside { bytes, until_ns, overtakers, overtaken: false });
            return;
        }
        self.put(toward, bytes, now_ns);
        for aside in &mut self.way(toward).aside {
            aside.overtakers = aside.overtakers.saturating_sub(1);
            aside.overtaken = true;
        }
        while let Some(at) = self.way(toward).aside.iter().position(|aside| aside.overtakers == 0) {
            self.end_aside(toward, at, Some(now_ns));
        }
    }

    /// Puts a frame on the line.
    fn put(&mut self, toward: Toward, bytes: Vec<u8>, now_ns: u64) {
        let jitter_ns = match self.rates.jitter_ns {
            0 => 0,
            most => self.random.below(most.saturating_add(1)),
        };
        let due_ns = now_ns.saturating_add(self.rates.delay_ns).saturating_add(jitter_ns);
        self.numbered = self.numbered.saturating_add(1);
        let number = self.numbered;
        let way = self.way(toward);
        if way.line.len() >= QUEUE {
            self.counts.overflowed = self.counts.overflowed.saturating_add(1);
            return self.discard(bytes);
        }
        way.last_ns = way.last_ns.max(due_ns);
        let due_ns = way.last_ns;
        way.line.push_back(Arrival { toward, bytes, due_ns, number });
    }
}

fn count(counter: &mut [u64; 2], toward: Toward) {
    if let Some(counter) = counter.get_mut(toward as usize) {
        *counter = counter.saturating_add(1);
    }
}
