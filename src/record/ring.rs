use std::sync::atomic::{AtomicU64, Ordering, fence};

use dissect::Toward;
use zerocopy::FromZeros;

use super::SNAP_LEN;
use crate::event::Reason;

/// Words in front of a frame's bytes: what it is, its number, its two times.
const HEAD: u64 = HEAD_WORDS as u64;
const HEAD_WORDS: usize = 4;

/// Smallest ring in bytes: some dozens of long frames.
pub const LEAST_RING: u64 = 64 << 10;

/// What became of a frame that passed the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It was received, and went on or was taken in.
    Passed,
    /// It was received and refused, and its copy is handed to the records with the event that tells of it.
    Copied,
    /// It was received and refused, and is not told of one by one; outside enforcement it went on all the same.
    Refused {
        /// Why.
        reason: Reason,
        /// Whether it went no further.
        enforced: bool,
    },
    /// The box made it.
    Made,
}

impl Became {
    /// In the lowest byte which of them, in the next one the reason.
    const fn code(self) -> u64 {
        match self {
            Self::Passed => 0,
            Self::Copied => 1,
            Self::Refused { reason, enforced: true } => 2 | (reason as u64) << 8,
            Self::Refused { reason, enforced: false } => 3 | (reason as u64) << 8,
            Self::Made => 4,
        }
    }

    fn of(code: u64) -> Self {
        let [kind, reason, ..] = code.to_le_bytes();
        let reason = Reason::ALL.get(usize::from(reason)).copied().unwrap_or(Reason::EngineFault);
        match kind {
            0 => Self::Passed,
            1 => Self::Copied,
            2 | 3 => Self::Refused { reason, enforced: kind == 2 },
            _ => Self::Made,
        }
    }
}

/// What is known of a frame in the ring beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The direction it travelled, or leaves in where the box made it.
    pub toward: Toward,
    /// What became of it.
    pub became: Became,
    /// Its length on the wire.
    pub wire_len: u32,
    /// When it was received or made: nanoseconds since 1970.
    pub wall_ns: u64,
    /// The same by the monotonic clock.
    pub monotonic_ns: u64,
}

/// A frame that was found in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) about: Passing,
    /// Frames that were put in before it, since the ring began.
    pub(super) number: u64,
    /// Bytes of it that are kept.
    pub(super) len: usize,
    /// Where the next one begins.
    pub(super) next: u64,
}

/// What stands at a place of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Frame(Found),
    /// Nothing yet.
    End,
    /// Something else by now; the oldest frame that is left begins there.
    Overwritten(u64),
}

/// The latest frames of both directions, so that those before a refusal can be kept when it comes: the pre-trigger ring.
///
/// The worker alone writes, the recorder alone reads, and neither waits for the other. The worker says first which frames
/// it is about to overwrite (`tail`), then writes, then says that it has (`head`). A reader that has copied something
/// looks at `tail` afterwards: what it copied is whole if its place is not below. All words are atomics, so that a copy
/// which is thrown away is no data race either.
///
/// Shape: 64-bit words in a circle. A frame takes four words and its bytes, filled up to whole words:
///
/// | word | what |
/// |---|---|
/// | 0 | length kept (16 bits), direction (8 bits), 8 bits unused, length on the wire (32 bits) |
/// | 1 | number of the frame (48 bits), what became of it (8 bits), reason (8 bits) |
/// | 2 | wall clock |
/// | 3 | monotonic clock |
#[derive(Debug)]
pub struct FrameRing {
    words: Box<[AtomicU64]>,
    /// Positions count words since the beginning; the place in `words` is what remains of them.
    mask: u64,
    /// Where the oldest frame begins that is not being overwritten.
    tail: AtomicU64,
    /// Where the next frame will begin.
    head: AtomicU64,
    /// Frames so far.
    count: AtomicU64,
}

impl FrameRing {
    /// A ring of at most `bytes` bytes, at least [`LEAST_RING`]. Its memory is taken now, as zeros of which the kernel makes
    /// pages when they are written first: a successor's frames do not wait for eight megabytes to be cleared.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let words = (bytes.max(LEAST_RING) / 8).checked_next_power_of_two().unwrap_or(1 << 40);
        let words = if words.saturating_mul(8) > bytes.max(LEAST_RING) { words / 2 } else { words };
        Self {
            words: <[AtomicU64]>::new_box_zeroed_with_elems(usize::try_from(words).unwrap_or(0)).unwrap_or_default(),
            mask: words.saturating_sub(1),
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            count: AtomicU64::new(0),
        }
    }

    /// Puts a frame in, over the oldest ones; only the first [`SNAP_LEN`] bytes of it. To be called by one thread only.
    ///
    /// Cost: no lock, no allocation; some 190 instructions and three for eight bytes.
    #[inline]
    pub fn push(&self, about: &Passing, bytes: &[u8]) {
        let bytes = bytes.get(..SNAP_LEN).unwrap_or(bytes);
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        let start = self.head.load(Ordering::Relaxed);
        let end = start.wrapping_add(HEAD).wrapping_add(len.div_ceil(8));
        let mut tail = self.tail.load(Ordering::Relaxed);
        let capacity = self.mask.wrapping_add(1);
        while end.wrapping_sub(tail) > capacity {
            let oldest = self.word(tail) & 0xffff;
            tail = tail.wrapping_add(HEAD).wrapping_add(oldest.div_ceil(8));
        }
        self.tail.store(tail, Ordering::Relaxed);
        // Who sees one of the words below sees this tail as well.
        fence(Ordering::Release);
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count.wrapping_add(1), Ordering::Relaxed);
        let what = len | (about.toward as u64) << 16 | u64::from(about.wire_len) << 32;
        let number = count << 16 | about.became.code();
        let head = [what, number, about.wall_ns, about.monotonic_ns];
        let first = usize::try_from(start & self.mask).unwrap_or(0);
        let taken = usize::try_from(end.wrapping_sub(start)).unwrap_or(usize::MAX);
        if let Some(room) = self.words.get(first..first.saturating_add(taken))
            && let Some((front, behind)) = room.split_first_chunk::<HEAD_WORDS>()
        {
            front.iter().zip(head).for_each(|(place, word)| place.store(word, Ordering::Relaxed));
            store(behind, bytes);
        } else {
            self.push_around(start, head, bytes);
        }
        self.head.store(end, Ordering::Release);
    }

    /// Writes a frame that goes on at the beginning of the circle.
    #[cold]
    fn push_around(&self, start: u64, head: [u64; HEAD_WORDS], bytes: &[u8]) {
        for (at, word) in (start..).zip(head) {
            if let Some(place) = self.place(at) {
                place.store(word, Ordering::Relaxed);
            }
        }
        let first = usize::try_from(start.wrapping_add(HEAD) & self.mask).unwrap_or(0);
        let (before, behind) = self.words.split_at_checked(first).unwrap_or_default();
        let (here, round) = bytes.split_at_checked(behind.len().wrapping_mul(8)).unwrap_or((bytes, &[]));
        store(behind, here);
        store(before, round);
    }

    /// Where the oldest frame begins, and where the next one will.
    pub(super) fn span(&self) -> (u64, u64) {
        let head = self.head.load(Ordering::Acquire);
        (self.tail.load(Ordering::Relaxed).min(head), head)
    }

    /// What stands at `at`, which is where a frame begins or began; its bytes go to `to`, those of before are gone.
    pub(super) fn read(&self, at: u64, to: &mut Vec<u8>) -> Look {
        to.clear();
        if at >= self.head.load(Ordering::Acquire) {
            return Look::End;
        }
        let [what, number, wall_ns, monotonic_ns] = [0, 1, 2, 3].map(|word| self.word(at.wrapping_add(word)));
        if let Some(tail) = self.overwritten(at) {
            return Look::Overwritten(tail);
        }
        let [len_low, len_high, toward, _, wire_len @ ..] = what.to_le_bytes();
        let len = usize::from(u16::from_le_bytes([len_low, len_high]));
        let first = at.wrapping_add(HEAD);
        let next = first.wrapping_add(u64::try_from(len.div_ceil(8)).unwrap_or(0));
        to.resize(len.next_multiple_of(8), 0);
        for (position, eight) in (first..next).zip(to.as_chunks_mut::<8>().0) {
            *eight = self.word(position).to_le_bytes();
        }
        to.truncate(len);
        if let Some(tail) = self.overwritten(at) {
            to.clear();
            return Look::Overwritten(tail);
        }
        let about = Passing {
            toward: if toward == Toward::Robot as u8 { Toward::Robot } else { Toward::Plant },
            became: Became::of(number & 0xffff),
            wire_len: u32::from_le_bytes(wire_len),
            wall_ns,
            monotonic_ns,
        };
        Look::Frame(Found { about, number: number >> 16, len, next })
    }

    /// Whether what was read from `at` may have been overwritten meanwhile: then where the oldest frame begins.
    fn overwritten(&self, at: u64) -> Option<u64> {
        fence(Ordering::Acquire);
        let tail = self.tail.load(Ordering::Relaxed);
        (tail > at).then_some(tail)
    }

    fn place(&self, position: u64) -> Option<&AtomicU64> {
        self.words.get(usize::try_from(position & self.mask).unwrap_or(usize::MAX))
    }

    fn word(&self, position: u64) -> u64 {
        self.place(position).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

/// Stores `bytes` in words, the last one filled up with zeros.
#[inline]
fn store(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        word.store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn about(number: u64) -> Passing {
        let toward = if number.is_multiple_of(3) { Toward::Plant } else { Toward::Robot };
        let reason = Reason::ALL[number as usize % Reason::ALL.len()];
        let kinds = [
            Became::Passed,
            Became::Copied,
            Became::Refused { reason, enforced: true },
            Became::Refused { reason, enforced: false },
            Became::Made,
        ];
        let became = kinds[number as usize % 5];
        Passing { toward, became, wire_len: number as u32, wall_ns: number * 7, monotonic_ns: number }
    }

    /// Of a length that goes through all of them, with bytes that tell of which frame they are.
    fn frame(number: u64) -> Vec<u8> {
        (0..number * 31 % 2049).map(|at| (number ^ at) as u8).collect()
    }

    #[test]
    fn the_latest_frames_are_there_whole_and_in_order() {
        let ring = FrameRing::new(0);
        let mut bytes = Vec::new();
        assert_eq!((ring.span(), ring.read(0, &mut bytes)), ((0, 0), Look::End));
        for last in 0..3000u64 {
            ring.push(&about(last), &frame(last));
            let (mut at, head) = ring.span();
            assert!(head - at <= LEAST_RING / 8 && (last < 64 || head - at > LEAST_RING / 8 - 600));
            if last % 97 != 0 {
                continue;
            }
            let mut number = None;
            while let Look::Frame(found) = ring.read(at, &mut bytes) {
                assert_eq!(found.number, number.map_or(found.number, |before| before + 1));
                assert_eq!((found.about, &bytes), (about(found.number), &frame(found.number)));
                (at, number) = (found.next, Some(found.number));
            }
            assert_eq!((at, number), (head, Some(last)));
        }
        assert!(matches!(ring.read(0, &mut bytes), Look::Overwritten(oldest) if oldest == ring.span().0));
        assert!(bytes.is_empty());
        // What is longer than what is kept is cut, and says how long it was.
        ring.push(&Passing { wire_len: 9000, ..about(1) }, &[0x5a; 9000]);
        let (mut at, _) = ring.span();
        let mut last = None;
        while let Look::Frame(found) = ring.read(at, &mut bytes) {
            (at, last) = (found.next, Some(found));
        }
        assert_eq!(last.map(|found| (found.len, found.about.wire_len)), Some((SNAP_LEN, 9000)));
    }

    #[test]
    fn sizes_are_powers_of_two_within_what_was_asked_for() {
        for (asked, words) in [(0, 8192), (64 << 10, 8192), (100_000, 8192), (1 << 20, 1 << 17), (3 << 20, 1 << 18)] {
            assert_eq!(FrameRing::new(asked).words.len(), words, "{asked}");
        }
    }

    #[test]
    fn a_reader_never_takes_what_is_being_overwritten() {
        let (ring, done) = (FrameRing::new(0), AtomicBool::new(false));
        let (mut read, mut overtaken) = (0u64, 0u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..400_000 {
                    ring.push(&about(number), &frame(number));
                }
                done.store(true, Ordering::Release);
            });
            let (mut at, mut bytes, mut expected) = (0, Vec::new(), 0);
            loop {
                let ended = done.load(Ordering::Acquire);
                match ring.read(at, &mut bytes) {
                    Look::Frame(found) => {
                        assert!(found.number >= expected);
                        assert_eq!((found.about, &bytes), (about(found.number), &frame(found.number)));
                        read += 1;
                        (at, expected) = (found.next, found.number + 1);
                    }
                    Look::Overwritten(oldest) => {
                        assert!(oldest > at);
                        overtaken += 1;
                        at = oldest;
                    }
                    Look::End if ended => break,
                    Look::End => std::thread::yield_now(),
                }
            }
            assert_eq!(expected, 400_000);
        });
        assert!(read > 1000 && overtaken > 0, "{read} read, {overtaken} times overtaken");
    }
}
