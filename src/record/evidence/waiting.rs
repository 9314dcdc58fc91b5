//! Records that wait to be written.

use std::collections::VecDeque;

use super::block::{self, RECORD, Word};

/// Most bytes that wait while the disk refuses: seconds of a busy cell.
const BACKLOG: usize = 1 << 20;

/// Longest record: longer ones would make blocks that readers of pcapng do not take.
const LONGEST: usize = 1 << 19;

/// A record that waits.
#[derive(Clone, Copy, Debug)]
struct Item {
    bytes: usize,
    /// Events that it accounts for.
    events: u64,
    is_frame: bool,
    /// Whether it is a word of the store's own, behind which the evidence block ends.
    ends: bool,
}

/// Records and frames, as pcapng blocks, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    items: VecDeque<Item>,
    ends: usize,
    /// Monotonic time since which the first of them waits.
    since_ns: u64,
}

/// The records of one evidence block, still waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) bytes: usize,
    pub(super) items: u64,
    pub(super) frames: u64,
    /// How many of them the store says of itself; the last one, if any.
    pub(super) words: u64,
    /// Bytes of that one.
    pub(super) word_bytes: usize,
}

impl Waiting {
    /// Adds a record; `false` where there is no room.
    pub(super) fn record(&mut self, json: &[u8], events: u64, now_ns: u64) -> bool {
        if json.len() > LONGEST {
            return false;
        }
        self.add(now_ns, events, false, |bytes| block::custom(bytes, RECORD, json))
    }

    /// Adds a packet's block; `false` where there is no room.
    pub(super) fn packet(&mut self, now_ns: u64, emit: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.add(now_ns, 0, true, emit)
    }

    /// Adds a word, for which there is always room.
    pub(super) fn word(&mut self, word: &Word, events: u64, wall_ns: u64, now_ns: u64) {
        self.push(now_ns, events, false, true, |bytes| {
            block::custom(bytes, RECORD, word.json(wall_ns, now_ns).as_bytes());
        });
    }

    /// Adds a word before all that waits, but behind the first `behind` items.
    pub(super) fn word_at(&mut self, behind: usize, word: &Word, wall_ns: u64, now_ns: u64) {
        let mut block = Vec::new();
        block::custom(&mut block, RECORD, word.json(wall_ns, now_ns).as_bytes());
        let behind = behind.min(self.items.len());
        let at = self.items.iter().take(behind).fold(0usize, |sum, item| sum.saturating_add(item.bytes));
        if self.items.is_empty() {
            self.since_ns = now_ns;
        }
        self.ends = self.ends.saturating_add(1);
        self.items.insert(behind, Item { bytes: block.len(), events: 0, is_frame: false, ends: true });
        self.bytes.splice(at..at, block);
    }

    /// How many words wait before the first record.
    pub(super) fn leading_words(&self) -> usize {
        self.items.iter().take_while(|item| item.ends).count()
    }

    fn add(&mut self, now_ns: u64, events: u64, is_frame: bool, emit: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.bytes.len() >= BACKLOG {
            return false;
        }
        self.push(now_ns, events, is_frame, false, emit);
        true
    }

    fn push(&mut self, now_ns: u64, events: u64, is_frame: bool, ends: bool, emit: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        emit(&mut self.bytes);
        if self.items.is_empty() {
            self.since_ns = now_ns;
        }
        self.ends = self.ends.saturating_add(usize::from(ends));
        let bytes = self.bytes.len().saturating_sub(before);
        self.items.push_back(Item { bytes, events, is_frame, ends });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether one of them ends its evidence block, or the first waits since `longest_ns`.
    pub(super) fn is_due(&self, now_ns: u64, longest_ns: u64) -> bool {
        self.ends > 0 || (!self.items.is_empty() && now_ns.saturating_sub(self.since_ns) >= longest_ns)
    }

    /// The first records that fit into `room` bytes together, at least one where any waits.
    pub(super) fn batch(&self, room: usize) -> Batch {
        let mut batch = Batch::default();
        for item in &self.items {
            let bytes = batch.bytes.saturating_add(item.bytes);
            if batch.items > 0 && bytes > room {
                break;
            }
            batch.bytes = bytes;
            batch.items = batch.items.saturating_add(1);
            batch.frames = batch.frames.saturating_add(u64::from(item.is_frame));
            if item.ends {
                batch.words = 1;
                batch.word_bytes = item.bytes;
                break;
            }
        }
        batch
    }

    /// The blocks of a batch.
    pub(super) fn bytes_of(&self, batch: Batch) -> &[u8] {
        self.bytes.get(..batch.bytes).unwrap_or_default()
    }

    /// The same in two parts: of the box's traffic, and what the store says of itself.
    pub(super) fn parts_of(&self, batch: Batch) -> (&[u8], &[u8]) {
        self.bytes_of(batch).split_at_checked(batch.bytes.saturating_sub(batch.word_bytes)).unwrap_or_default()
    }

    /// How many events a batch accounts for.
    pub(super) fn events_of(&self, batch: Batch) -> u64 {
        let count = usize::try_from(batch.items).unwrap_or(usize::MAX);
        self.items.iter().take(count).fold(0, |sum, item| sum.saturating_add(item.events))
    }

    /// Takes a batch away that was written.
    pub(super) fn done(&mut self, batch: Batch, now_ns: u64) {
        self.bytes.drain(..batch.bytes.min(self.bytes.len()));
        for _ in 0..batch.items {
            if self.items.pop_front().is_some_and(|item| item.ends) {
                self.ends = self.ends.saturating_sub(1);
            }
        }
        self.since_ns = now_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_to_room_order_and_ends() {
        let mut waiting = Waiting::default();
        assert!(!waiting.is_due(u64::MAX, 0));
        assert!(waiting.record(b"{}", 3, 5) && waiting.packet(6, |out| out.extend([1; 40])));
        assert!(!waiting.is_due(14, 10) && waiting.is_due(15, 10));
        let one = waiting.batch(1);
        assert_eq!((one.items, one.frames), (1, 0));
        assert_eq!(waiting.batch(1 << 16).items, 2);
        waiting.word(&Word::Close { counter: 1 }, 4, 7, 7);
        assert!(waiting.record(b"{}", 1, 8) && waiting.is_due(8, 1000));
        let batch = waiting.batch(1 << 16);
        assert_eq!((batch.items, batch.frames, batch.words), (3, 1, 1));
        assert_eq!(waiting.bytes_of(batch).len(), batch.bytes);
        assert_eq!(waiting.events_of(batch), 7);
        waiting.done(batch, 9);
        assert!(!waiting.is_due(10, 1000) && waiting.batch(9).items == 1);
        // Bounded, but never for words.
        while waiting.record(&[b' '; 1000], 1, 9) {}
        assert!(waiting.len() >= BACKLOG && waiting.len() < BACKLOG + 2000);
        waiting.word(&Word::Close { counter: 1 }, 4, 7, 7);
        assert!(!waiting.record(&vec![b' '; LONGEST + 1], 1, 9));
    }

    #[test]
    fn words_go_before_records_in_their_own_order() {
        let mut waiting = Waiting::default();
        let close = |counter| Word::Close { counter };
        assert!(waiting.record(b"{}", 1, 5) && waiting.record(b"{}", 1, 5));
        waiting.word_at(0, &close(1), 5, 5);
        waiting.word_at(waiting.leading_words(), &close(2), 5, 5);
        waiting.word_at(99, &close(3), 5, 5);
        assert_eq!(waiting.leading_words(), 2);
        for (expected, items) in [("\"counter\":1", 1), ("\"counter\":2", 1), ("\"counter\":3", 3)] {
            let batch = waiting.batch(1 << 16);
            let text = String::from_utf8_lossy(waiting.bytes_of(batch)).into_owned();
            assert!(text.contains(expected) && batch.items == items, "{text}");
            waiting.done(batch, 6);
        }
        assert_eq!((waiting.is_empty(), waiting.bytes.len()), (true, 0));
    }
}
