//! Units that are longer than what an event holds: handed over in pieces, told of once by their hash.
//!
//! An event holds the first bytes of its unit ([`UNIT`](crate::event::UNIT)). A program has forty thousand and a policy
//! judges all of them, so whoever judges again needs all of them. The worker hands them over ([`LongUnits::try_push`])
//! before the event itself; the recorder writes them into the evidence once a segment, however often the same program is
//! uploaded, and the event's line names their hash.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use sha2::{Digest, Sha256};

use crate::event::EventId;

/// Bytes of a piece: one page.
const PIECE: usize = 4096;

/// Pieces that can wait: two programs of the greatest length that the gate holds, 1 MiB each.
const PIECES: usize = 512;

/// SHA-256 over a unit's bytes.
pub(super) type UnitHash = [u8; 32];

#[derive(Debug)]
struct Piece {
    event: EventId,
    len: u16,
    is_last: bool,
    bytes: [u8; PIECE],
}

/// The hand-over of long units from the packet path to the recorder: bounded, lock-free, never waited for. All memory is
/// taken at the start.
#[derive(Debug)]
pub(super) struct LongUnits {
    pieces: ArrayQueue<Box<Piece>>,
    free: ArrayQueue<Box<Piece>>,
    lost: AtomicU64,
}

impl LongUnits {
    pub(super) fn new() -> Self {
        let free = ArrayQueue::new(PIECES);
        for _ in 0..PIECES {
            let piece = Piece { event: EventId(0), len: 0, is_last: false, bytes: [0; PIECE] };
            let _ = free.push(Box::new(piece));
        }
        Self { pieces: ArrayQueue::new(PIECES), free, lost: AtomicU64::new(0) }
    }

    /// Hands the unit of an event over, whole or not at all; says whether there was room. To be called before the event
    /// is handed over, and in the order of events. Never blocks, never allocates.
    ///
    /// Cost: one copy, and two compare-and-swaps for each 4 KiB.
    pub(super) fn try_push(&self, event: EventId, unit: &[u8]) -> bool {
        // Nobody else takes free ones, so there are at least as many when they are taken.
        if self.free.len() < unit.len().div_ceil(PIECE) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let mut parts = unit.chunks(PIECE).peekable();
        while let Some(part) = parts.next() {
            let Some(mut piece) = self.free.pop() else { return false };
            if let Some(to) = piece.bytes.get_mut(..part.len()) {
                to.copy_from_slice(part);
            }
            piece.event = event;
            piece.len = u16::try_from(part.len()).unwrap_or(0);
            piece.is_last = parts.peek().is_none();
            // Never full: there are as many places as pieces.
            let _ = self.pieces.push(piece);
        }
        true
    }

    /// How many units found no room since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Segments' worth of programs differ: more different ones than this in one segment are written again.
const WRITTEN: usize = 4096;

/// Events whose unit's hash is known: a line waits ten seconds at most for its repeats.
const HASHES: usize = 4096;

/// Bytes of units written in a second, and at once: a program a second is more than any cell loads, and who uploads
/// another one each time must not push the rest out of the evidence.
const BYTES_A_SECOND: u64 = 64 << 10;
const BURST: u64 = 4 << 20;

/// The recorder's side: puts units together, and knows which ones the segment holds.
#[derive(Debug)]
pub(super) struct Told {
    next: Option<Box<Piece>>,
    hashes: VecDeque<(EventId, UnitHash)>,
    segment: u64,
    written: HashSet<UnitHash>,
    /// Bytes that may be written now, and when that was so (monotonic nanoseconds).
    budget: u64,
    budget_ns: u64,
}

impl Default for Told {
    fn default() -> Self {
        Self { next: None, hashes: VecDeque::new(), segment: 0, written: HashSet::new(), budget: BURST, budget_ns: 0 }
    }
}

impl Told {
    /// The unit of an event, put together; nothing where it found no room. Pieces of earlier events, which were lost
    /// themselves, are dropped.
    pub(super) fn take(&mut self, from: &LongUnits, event: EventId) -> Option<Vec<u8>> {
        let mut unit = Vec::new();
        while let Some(piece) = self.next.take().or_else(|| from.pieces.pop()) {
            if piece.event > event {
                self.next = Some(piece);
                break;
            }
            let (is_last, of_this) = (piece.is_last, piece.event == event);
            if of_this {
                unit.extend_from_slice(piece.bytes.get(..usize::from(piece.len)).unwrap_or_default());
            }
            let _ = from.free.push(piece);
            if of_this && is_last {
                return Some(unit);
            }
        }
        None
    }

    /// Notes the unit of an event; says its hash where the segment does not hold it and it is to be written now.
    pub(super) fn note(&mut self, event: EventId, unit: &[u8], segment: u64, now_ns: u64) -> Option<UnitHash> {
        let hash: UnitHash = Sha256::digest(unit).into();
        if self.hashes.len() >= HASHES {
            self.hashes.pop_front();
        }
        self.hashes.push_back((event, hash));
        if self.segment != segment || self.written.len() >= WRITTEN {
            self.segment = segment;
            self.written.clear();
        }
        let passed = now_ns.saturating_sub(self.budget_ns);
        let grown = passed.saturating_mul(BYTES_A_SECOND / 1000) / 1_000_000;
        if grown > 0 {
            self.budget = self.budget.saturating_add(grown).min(BURST);
            self.budget_ns = now_ns;
        }
        let bytes = u64::try_from(unit.len()).unwrap_or(u64::MAX);
        if self.written.contains(&hash) || self.budget < bytes {
            return None;
        }
        self.budget = self.budget.saturating_sub(bytes);
        self.written.insert(hash);
        Some(hash)
    }

    /// The hash of an event's unit, where it was handed over.
    pub(super) fn hash(&self, event: EventId) -> Option<UnitHash> {
        let at = self.hashes.binary_search_by_key(&event, |(id, _)| *id).ok()?;
        self.hashes.get(at).map(|(_, hash)| *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(seed: u8, len: usize) -> Vec<u8> {
        (0_u8..251).cycle().map(|at| seed.wrapping_add(at)).take(len).collect()
    }

    #[test]
    fn units_come_out_as_they_went_in() {
        let (units, mut told) = (LongUnits::new(), Told::default());
        for (id, len) in [(1_u8, 273), (2, PIECE), (3, PIECE + 1), (4, 1 << 20), (9, 300)] {
            let (event, unit) = (EventId(id.into()), program(id, len));
            assert!(units.try_push(event, &unit));
            assert_eq!(told.take(&units, event), Some(unit), "{len} bytes");
        }
        assert_eq!((units.free.len(), units.take_lost()), (PIECES, 0));
    }

    #[test]
    fn a_unit_without_room_is_lost_whole_and_counted() {
        let (units, mut told) = (LongUnits::new(), Told::default());
        let long = program(1, (PIECES - 1) * PIECE);
        assert!(units.try_push(EventId(1), &long));
        assert!(!units.try_push(EventId(2), &program(2, PIECE + 1)));
        assert!(units.try_push(EventId(3), &program(3, PIECE)));
        assert_eq!(units.take_lost(), 1);
        assert_eq!(told.take(&units, EventId(1)), Some(long));
        assert_eq!(told.take(&units, EventId(2)), None);
        assert_eq!(told.take(&units, EventId(3)), Some(program(3, PIECE)), "what came after is not mixed up");
    }

    #[test]
    fn units_of_lost_events_are_passed_over() {
        let (units, mut told) = (LongUnits::new(), Told::default());
        for id in [5_u8, 6, 7] {
            assert!(units.try_push(EventId(id.into()), &program(id, 5000)));
        }
        assert_eq!(told.take(&units, EventId(6)), Some(program(6, 5000)));
        assert_eq!(told.take(&units, EventId(7)), Some(program(7, 5000)));
        assert_eq!(units.free.len(), PIECES);
    }

    #[test]
    fn a_unit_is_written_once_a_segment_and_named_each_time() {
        let mut told = Told::default();
        let unit = program(1, 40_000);
        let hash = told.note(EventId(1), &unit, 1, 0).unwrap();
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&unit)));
        assert_eq!(told.note(EventId(2), &unit, 1, 0), None);
        assert_eq!(told.note(EventId(3), &unit, 2, 0), Some(hash));
        for id in [1, 2, 3] {
            assert_eq!(told.hash(EventId(id)), Some(hash));
        }
        assert_eq!(told.hash(EventId(4)), None);
    }

    #[test]
    fn who_uploads_another_one_each_time_does_not_fill_the_evidence() {
        let mut told = Told::default();
        let (mut written, second) = (0, 1_000_000_000);
        for n in 0..1000_u64 {
            let mut unit = program(3, 100_000);
            unit[..8].copy_from_slice(&n.to_le_bytes());
            // A hundred of them a second, for ten seconds.
            let hash = told.note(EventId(n + 1), &unit, 1, n * second / 100);
            written += hash.map_or(0, |_| unit.len() as u64);
            assert!(told.hash(EventId(n + 1)).is_some(), "its hash is told whatever happens");
        }
        assert!(written <= BURST + 10 * BYTES_A_SECOND, "{written}");
        assert!(written >= BURST, "{written}");
    }
}
