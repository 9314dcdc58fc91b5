use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;
use dissect::Toward;
use rtrb::{Consumer, Producer, RingBuffer};

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
///
/// Events are read where they were written: hundreds of bytes each, so that every move of one shows. So there is one
/// [`Writer`], and one reader at a time.
#[derive(Debug)]
pub struct Queue {
    /// Until the writer is handed out.
    writer: Mutex<Option<Producer<Event>>>,
    reader: Mutex<Consumer<Event>>,
    frames: ArrayQueue<Box<FrameCopy>>,
    free: ArrayQueue<Box<FrameCopy>>,
    pub(super) units: LongUnits,
    lost: AtomicU64,
    last_lost: AtomicU64,
    frames_lost: AtomicU64,
}

/// Who hands events over; there is one for each queue.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    events: Producer<Event>,
}

impl Writer {
    /// Hands an event over; says whether there was room. Never blocks, never allocates.
    ///
    /// Cost: one copy of the event.
    #[inline]
    pub fn try_push(&mut self, event: &Event) -> bool {
        push(&mut self.events, event) || self.queue.is_lost(event)
    }

    /// How full the queue is, in eighths.
    #[must_use]
    pub fn eighths(&self) -> u64 {
        let capacity = self.events.buffer().capacity();
        let waiting = capacity.saturating_sub(self.events.slots()).saturating_mul(8);
        u64::try_from(waiting.checked_div(capacity).unwrap_or(0)).unwrap_or(8)
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

#[inline]
fn push(events: &mut Producer<Event>, event: &Event) -> bool {
    // Asked first, so that a full queue has nothing to give back, and the event is copied where it stays.
    events.slots() > 0 && events.push(*event).is_ok()
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
        let (writer, reader) = RingBuffer::new(events.max(1));
        Self {
            writer: Mutex::new(Some(writer)),
            reader: Mutex::new(reader),
            frames: ArrayQueue::new(frames),
            free,
            units: LongUnits::new(),
            lost: AtomicU64::new(0),
            last_lost: AtomicU64::new(0),
            frames_lost: AtomicU64::new(0),
        }
    }

    /// Hands the writer out; absent where somebody has it.
    #[must_use]
    pub fn writer(self: &Arc<Self>) -> Option<Writer> {
        let events = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Writer { queue: Arc::clone(self), events })
    }

    /// Hands an event over while nobody has the writer; says whether there was room.
    #[inline]
    pub fn try_push(&self, event: &Event) -> bool {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_mut().is_some_and(|events| push(events, event)) || self.is_lost(event)
    }

    #[cold]
    fn is_lost(&self, event: &Event) -> bool {
        self.last_lost.store(event.id.0, Ordering::Relaxed);
        self.lost.fetch_add(1, Ordering::Release);
        false
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

    /// Shows up to so many events to `each`, oldest first, and gives their room back; says how many there were.
    pub fn read(&self, most: usize, mut each: impl FnMut(&Event)) -> usize {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(reader.slots());
        let Ok(chunk) = reader.read_chunk(most) else { return 0 };
        let (first, second) = chunk.as_slices();
        first.iter().chain(second).for_each(&mut each);
        let read = chunk.len();
        chunk.commit_all();
        read
    }

    /// Takes the oldest event.
    pub fn pop(&self) -> Option<Event> {
        let mut event = None;
        self.read(1, |oldest| event = Some(*oldest));
        event
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

    /// Events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).slots()
    }

    /// Whether neither an event nor a copy waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::event::{Action, Notice, Reason, Record, RuleId};

    #[test]
    fn events_are_read_where_they_lie_around_the_end_too() {
        let queue = Arc::new(Queue::new(3, 1));
        let mut writer = queue.writer().unwrap();
        let mut read = Vec::new();
        for round in 0..10_u64 {
            assert!((0..3).all(|at| writer.try_push(&event(round * 3 + at))));
            assert_eq!((queue.len(), writer.eighths()), (3, 8));
            assert_eq!(queue.read(2, |event| read.push(event.id.0)), 2);
            assert_eq!((queue.read(64, |event| read.push(event.id.0)), queue.read(64, |_| ())), (1, 0));
        }
        assert_eq!(read, (0..30).collect::<Vec<_>>());
    }

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
        let queue = Arc::new(Queue::new(2, 1));
        assert!(queue.try_push(&event(1)));
        let mut writer = queue.writer().unwrap();
        assert!(queue.writer().is_none() && !queue.try_push(&event(9)), "there is one writer");
        assert_eq!(queue.take_lost(), Some((1, EventId(9))));
        assert!(writer.try_push(&event(2)));
        assert_eq!(writer.eighths(), 8);
        assert!(!writer.try_push(&event(3)) && !writer.try_push(&event(4)));
        assert_eq!(queue.take_lost(), Some((2, EventId(4))));
        assert_eq!(queue.take_lost(), None);
        assert_eq!(queue.pop().map(|event| event.id), Some(EventId(1)));
        assert!(writer.try_push(&event(5)));
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
