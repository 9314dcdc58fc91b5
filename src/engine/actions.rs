use dissect::Toward;
use link::craft::{self, Segment, Template};

use crate::event::{Event, Verdict};

/// Room for crafted frames of one batch: twice what one frame may need, so that a batch goes on after such a frame.
const CRAFTED: usize = 2 * CRAFTED_RESERVE;

/// Room that one more frame may need at worst: on a spliced connection a full window of 64 KiB in either direction, in
/// pieces with 100 bytes of headers at most.
const CRAFTED_RESERVE: usize = 160 * 1024;

/// Frames out of one batch, original or crafted.
const OUTS: usize = 512;

/// Frames out that one more frame may cause: the pieces of a full store or two bursts of the gate's senders, and two
/// rounds of resets.
const OUTS_RESERVE: usize = 128 + 2 * 24 + 32;

/// Events of one batch.
const EVENTS: usize = 4096;

/// Events that one more frame may cause: a 64 KiB segment of two-byte Dashboard lines would be 32,768, so the number of
/// units judged in one go is capped by the room left, and this is the least there must be.
const EVENTS_RESERVE: usize = 2048;

/// A frame that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// The received frame with this place in its batch, untouched.
    Received {
        /// Place in the batch.
        index: usize,
        /// The side it leaves to.
        toward: Toward,
    },
    /// A frame of our own, at these bytes of the batch's buffer.
    Crafted {
        /// Start and end in bytes.
        range: (usize, usize),
        /// The side it leaves to.
        toward: Toward,
    },
}

impl Out {
    /// The side it leaves to.
    #[must_use]
    pub const fn toward(&self) -> Toward {
        match self {
            Self::Received { toward, .. } | Self::Crafted { toward, .. } => *toward,
        }
    }
}

/// A received frame of which a copy belongs into the records.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Place in the batch.
    pub index: usize,
    /// The direction it travelled.
    pub toward: Toward,
    /// Event that tells about it.
    pub event: u64,
    /// The verdict.
    pub verdict: Verdict,
}

/// What came of a batch of frames: what leaves, what is recorded. Memory is taken once and kept.
#[derive(Debug)]
pub struct Actions {
    current: (usize, Toward),
    outs: Vec<Out>,
    crafted: Vec<u8>,
    events: Vec<Event>,
    kept: Vec<Kept>,
    scratch: Box<[u8; SCRATCH]>,
    lost: u64,
}

/// Longest frame crafted: the largest segment the box cuts (its MSS comes from a 16-bit option) and its headers.
const SCRATCH: usize = 66 * 1024;

impl Default for Actions {
    fn default() -> Self {
        Self::new()
    }
}

impl Actions {
    /// Empty, with all memory taken.
    #[must_use]
    pub fn new() -> Self {
        Self {
            current: (0, Toward::Robot),
            outs: Vec::with_capacity(OUTS),
            crafted: Vec::with_capacity(CRAFTED),
            events: Vec::with_capacity(EVENTS),
            kept: Vec::with_capacity(OUTS),
            scratch: Box::new([0; SCRATCH]),
            lost: 0,
        }
    }

    /// Forgets everything, before the next batch.
    pub fn clear(&mut self) {
        self.outs.clear();
        self.crafted.clear();
        self.events.clear();
        self.kept.clear();
    }

    /// Says which received frame the following actions are about.
    pub fn begin(&mut self, index: usize, toward: Toward) {
        self.current = (index, toward);
    }

    /// Whether one more frame surely fits; otherwise the batch is carried out first.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outs.len().saturating_add(OUTS_RESERVE) <= OUTS
            && self.crafted.len().saturating_add(CRAFTED_RESERVE) <= CRAFTED
            && self.events.len().saturating_add(EVENTS_RESERVE) <= EVENTS
    }

    /// Sends the current frame on, untouched.
    pub fn forward(&mut self) {
        let (index, toward) = self.current;
        if self.outs.len() < OUTS {
            self.outs.push(Out::Received { index, toward });
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Crafts a TCP segment and sends it `toward` a side; says whether there was room.
    pub fn send(&mut self, toward: Toward, template: &Template, segment: &Segment<'_>) -> bool {
        let Ok(len) = craft::emit_tcp(template, segment, self.scratch.as_mut_slice()) else {
            self.lost = self.lost.saturating_add(1);
            return false;
        };
        let start = self.crafted.len();
        let end = start.saturating_add(len);
        let (Some(frame), true, true) = (self.scratch.get(..len), end <= CRAFTED, self.outs.len() < OUTS) else {
            self.lost = self.lost.saturating_add(1);
            return false;
        };
        self.crafted.extend_from_slice(frame);
        self.outs.push(Out::Crafted { range: (start, end), toward });
        true
    }

    /// Records an event, and hands out where it stands; nothing where there is no room.
    #[inline]
    pub fn record(&mut self, event: Event) -> Option<&mut Event> {
        if self.events.len() >= EVENTS {
            self.lost = self.lost.saturating_add(1);
            return None;
        }
        self.events.push(event);
        self.events.last_mut()
    }

    /// Keeps a copy of the current frame with the records.
    pub fn keep(&mut self, event: u64, verdict: Verdict) {
        let (index, toward) = self.current;
        if self.kept.len() < OUTS {
            self.kept.push(Kept { index, toward, event, verdict });
        }
    }

    /// What leaves, in order.
    #[must_use]
    pub fn outs(&self) -> &[Out] {
        &self.outs
    }

    /// The bytes of a crafted frame.
    #[must_use]
    pub fn crafted(&self, range: (usize, usize)) -> &[u8] {
        self.crafted.get(range.0..range.1).unwrap_or_default()
    }

    /// What is recorded, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Frames to copy into the records.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Actions that found no room since the start; 0 unless a bound above is wrong.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
