use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use dissect::Toward;

use super::long_units::LongUnits;
use crate::event::{Event, EventId, Verdict};

/// Most bytes of a refused frame that are kept; 2 KiB holds every frame of a network without jumbo frames.
pub const SNAP_LEN: usize = 2048;

/// A copy of a refused frame.
#[derive(Clone, Debug)]
pub struct FrameCopy {
    /// The event that tells of the refusal; `EventId(0)` where it was not told of one by one.
    pub event: EventId,
    /// When it was received: nanoseconds since 1970.
    pub wall_ns: u64,
    /// The direction it travelled.
    pub toward: Toward,
    /// The verdict.
    pub verdict: Verdict,
    /// Its length on the wire.
    pub wire_len: u32,
    len: u16,
    bytes: [u8; SNAP_LEN],
}

impl FrameCopy {
    /// The first [`SNAP_LEN`] bytes of the frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What is known of a refused frame beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The event that tells of the refusal; `EventId(0)` where it is not told of one by one.
    pub event: EventId,
    /// When it was received: nanoseconds since 1970.
    pub wall_ns: u64,
    /// The direction it travelled.
    pub toward: Toward,
    /// The verdict.
    pub verdict: Verdict,
    /// Its length on the wire.
    pub wire_len: u32,
}

/// The hand-off from the packet path to the recorder: bounded, lock-free, and never waited for.
///
/// All memory is taken at the start. What finds no room is lost, counted, and recorded as
/// [`Notice::RecordsLost`](crate::event::Notice::RecordsLost) as soon as there is room again.
#[derive(Debug)]
pub struct Queue {
    events: ArrayQueue<Event>,
    frames: ArrayQueue<Box<FrameCopy>>,
    free: ArrayQueue<Box<FrameCopy>>,
    pub(super) units: LongUnits,
    lost: AtomicU64,
    last_lost: AtomicU64,
    frames_lost: AtomicU64,
}

impl Queue {
    /// Room for `events` events (about half a KiB each) and `frames` copies of frames (2 KiB each), at least one of
    /// both.
    #[must_use]
    pub fn new(events: usize, frames: usize) -> Self {
        let frames = frames.max(1);
        let free = ArrayQueue::new(frames);
        let empty = FrameCopy {
            event: EventId(0),
            wall_ns: 0,
            toward: Toward::Robot,
            verdict: Verdict {
                action: crate::event::Action::Drop,
                reason: crate::event::Reason::EngineFault,
                rule: crate::event::RuleId::NONE,
                generation: 0,
            },
            wire_len: 0,
            len: 0,
            bytes: [0; SNAP_LEN],
        };
        for _ in 0..frames {
            let _ = free.push(Box::new(empty.clone()));
        }
        Self {
            events: ArrayQueue::new(events.max(1)),
            frames: ArrayQueue::new(frames),
            free,
            units: LongUnits::new(),
            lost: AtomicU64::new(0),
            last_lost: AtomicU64::new(0),
            frames_lost: AtomicU64::new(0),
        }
    }

    /// Hands an event over; says whether there was room. Never blocks, never allocates.
    ///
    /// Cost: one copy of the event and one compare-and-swap, about 20 ns.
    #[inline]
    pub fn try_push(&self, event: Event) -> bool {
        match self.events.push(event) {
            Ok(()) => true,
            Err(event) => {
                self.last_lost.store(event.id.0, Ordering::Relaxed);
                self.lost.fetch_add(1, Ordering::Release);
                false
            }
        }
    }

    /// Hands a copy of a refused frame over; says whether there was room. Never blocks, never allocates.
    #[inline]
    pub fn try_push_frame(&self, about: &Refused, frame: &[u8]) -> bool {
        let Some(mut copy) = self.free.pop() else {
            self.frames_lost.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let len = frame.len().min(SNAP_LEN);
        if let (Some(to), Some(from)) = (copy.bytes.get_mut(..len), frame.get(..len)) {
            to.copy_from_slice(from);
        }
        copy.len = u16::try_from(len).unwrap_or(0);
        copy.event = about.event;
        copy.wall_ns = about.wall_ns;
        copy.toward = about.toward;
        copy.verdict = about.verdict;
        copy.wire_len = about.wire_len;
        // Never full: there are as many places as copies.
        self.frames.push(copy).is_ok()
    }

    /// Hands over the whole unit of an event that holds only the beginning of it, before the event itself; says whether
    /// there was room. Never blocks, never allocates.
    pub fn try_push_unit(&self, event: EventId, unit: &[u8]) -> bool {
        self.units.try_push(event, unit)
    }

    /// Takes the oldest event.
    pub fn pop(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Takes the oldest copy of a frame; give it back with [`Queue::recycle`].
    pub fn pop_frame(&self) -> Option<Box<FrameCopy>> {
        self.frames.pop()
    }

    /// Gives a copy back, so that its memory is used again.
    pub fn recycle(&self, copy: Box<FrameCopy>) {
        let _ = self.free.push(copy);
    }

    /// How many events were lost since the last call, with the id of the last of them.
    pub fn take_lost(&self) -> Option<(u64, EventId)> {
        let count = self.lost.swap(0, Ordering::Acquire);
        (count > 0).then(|| (count, EventId(self.last_lost.load(Ordering::Relaxed))))
    }

    /// How many copies of frames were lost since the last call.
    pub fn take_frames_lost(&self) -> u64 {
        self.frames_lost.swap(0, Ordering::Relaxed)
    }

    /// How full it is, in eighths.
    #[must_use]
    pub fn eighths(&self) -> u64 {
        let (len, room) = (self.events.len().saturating_mul(8), self.events.capacity().max(1));
        u64::try_from(len.checked_div(room).unwrap_or(0)).unwrap_or(8)
    }

    /// Events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether neither an event nor a copy waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Action, Notice, Reason, Record, RuleId};

    fn event(id: u64) -> Event {
        let record = Record::Notice(Notice::Started);
        Event { id: EventId(id), monotonic_ns: id, wall_ns: id, frame: 0, record }
    }

    fn refused(event: u64) -> Refused {
        let verdict = Verdict { action: Action::Drop, reason: Reason::NoRule, rule: RuleId::NONE, generation: 1 };
        Refused { event: EventId(event), wall_ns: 7, toward: Toward::Plant, verdict, wire_len: 4000 }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let queue = Queue::new(2, 1);
        assert!(queue.try_push(event(1)) && queue.try_push(event(2)));
        assert_eq!(queue.eighths(), 8);
        assert!(!queue.try_push(event(3)) && !queue.try_push(event(4)));
        assert_eq!(queue.take_lost(), Some((2, EventId(4))));
        assert_eq!(queue.take_lost(), None);
        assert_eq!(queue.pop().map(|event| event.id), Some(EventId(1)));
        assert!(queue.try_push(event(5)));
        assert_eq!([queue.pop(), queue.pop()].map(|event| event.map(|event| event.id.0)), [Some(2), Some(5)]);
        assert!(queue.pop().is_none());
    }

    #[test]
    fn frames_are_cut_and_their_memory_goes_round() {
        let queue = Queue::new(1, 1);
        let long = [0xa5; 4000];
        assert!(queue.try_push_frame(&refused(1), &long));
        assert!(!queue.try_push_frame(&refused(2), &long));
        assert_eq!(queue.take_frames_lost(), 1);
        let copy = queue.pop_frame().unwrap();
        assert_eq!((copy.bytes().len(), copy.wire_len, copy.event), (SNAP_LEN, 4000, EventId(1)));
        queue.recycle(copy);
        assert!(queue.try_push_frame(&refused(3), b"short"));
        assert_eq!(queue.pop_frame().unwrap().bytes(), b"short");
        assert!(queue.is_empty());
    }
}
