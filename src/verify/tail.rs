//! What stands behind the last whole block of a store.

use super::note::{Key, checkpoint};
use super::pcapng::{ENTERPRISE, MAGIC, u32_at};

/// A checkpoint's block is shorter than this, in bytes: six lines and a signature.
const REACH: usize = 4096;

/// Where a custom block's payload begins, its enterprise number included.
const PAYLOAD: usize = 8;

/// What a disk writes as a whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Whether a sector in `bytes`, which begin at `offset` of the file with a block, was never written: zeros from its
/// beginning, or from that of the block, to its end.
pub(super) fn has_hole(bytes: &[u8], offset: u64) -> bool {
    let into = usize::try_from(offset.checked_rem(SECTOR as u64).unwrap_or(0)).unwrap_or(0);
    let (first, rest) = bytes.split_at_checked(SECTOR.saturating_sub(into)).unwrap_or_default();
    let is_blank = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    (!first.is_empty() && is_blank(first)) || rest.chunks_exact(SECTOR).any(is_blank)
}

/// Bytes in which no block is whole: what a power cut leaves, or what somebody made of a store that went on.
#[derive(Clone, Debug)]
pub(super) struct Torn {
    what: String,
    /// The block is longer than the file; else its bytes contradict themselves.
    cut: bool,
    /// Whether the block's own checkpoint may be whole but for what is behind it.
    may_be_own: bool,
    /// Offset of what is wrong.
    at: u64,
    /// Offset behind what was fed.
    end: u64,
    /// Whether all was zero so far in the sector that is not whole yet.
    is_blank: bool,
    has_hole: bool,
    /// How many zeros the file ends in, so far.
    zeros: u64,
    /// The last bytes, in which a checkpoint may have begun.
    window: Vec<u8>,
    /// How many bytes were in front of them.
    before: u64,
    signed: bool,
}

impl Torn {
    /// At `offset`, where a block should begin.
    pub(super) fn new(what: &str, cut: bool, offset: u64) -> Self {
        Self {
            what: what.to_owned(),
            cut,
            may_be_own: true,
            at: offset,
            end: offset,
            is_blank: true,
            has_hole: false,
            zeros: 0,
            window: Vec::new(),
            before: 0,
            signed: false,
        }
    }

    /// At `offset`, where a block is whole, and its bytes are wrong at `at`.
    pub(super) fn spoiled(what: &str, offset: u64, at: u64) -> Self {
        Self { may_be_own: false, at, ..Self::new(what, false, offset) }
    }

    /// Offset of what is wrong.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Whether a sector of it was never written.
    pub(super) const fn has_hole(&self) -> bool {
        self.has_hole
    }

    /// Looks for sectors that were never written.
    fn sectors(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let into = usize::try_from(self.end.checked_rem(SECTOR as u64).unwrap_or(0)).unwrap_or(0);
            let room = SECTOR.saturating_sub(into).min(rest.len());
            let (now, later) = rest.split_at_checked(room).unwrap_or_default();
            self.is_blank &= now.iter().all(|byte| *byte == 0);
            self.end = self.end.saturating_add(u64::try_from(now.len()).unwrap_or(u64::MAX));
            if into.saturating_add(now.len()) == SECTOR {
                self.has_hole |= self.is_blank;
                self.is_blank = true;
            }
            rest = later;
        }
    }

    /// Reads on to the end of the file.
    pub(super) fn feed(&mut self, bytes: &[u8], key: &Key) {
        self.sectors(bytes);
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == bytes.len() { self.zeros.saturating_add(count(zeros)) } else { count(zeros) };
        for piece in bytes.chunks(16 * REACH) {
            self.window.extend_from_slice(piece);
            // A checkpoint that is itself cut, in its last bytes, does not stand behind the place.
            let own = (self.before == 0 && self.may_be_own).then_some(PAYLOAD);
            self.signed |= holds_checkpoint(&self.window, key, own);
            let old = self.window.len().saturating_sub(REACH);
            self.window.drain(..old);
            self.before = self.before.saturating_add(count(old));
        }
    }

    /// Why this is not what a power cut leaves.
    pub(super) fn verdict(&self, has_hole: bool) -> Option<String> {
        // What was signed was on the disk before, whole, and all in front of it.
        if self.signed {
            return Some(format!("{}, and a signed checkpoint stands behind it", self.what));
        }
        // No whole block ends in four zeros: its length stands there.
        let is_cut = self.cut || (self.zeros >= 4 && self.may_be_own) || has_hole;
        (!is_cut).then(|| self.what.clone())
    }
}

/// Whether a checkpoint that `key` signed stands in `bytes`; the one at `own` only where something stands behind it.
fn holds_checkpoint(bytes: &[u8], key: &Key, own: Option<usize>) -> bool {
    let mut begin = ENTERPRISE.to_le_bytes().to_vec();
    begin.extend(MAGIC);
    begin.extend([3, 0, 0, 0]);
    memchr::memmem::find_iter(bytes, &begin).any(|at| {
        let rest = bytes.get(at.saturating_add(begin.len())..).unwrap_or_default();
        let length = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()).filter(|length| *length < REACH);
        let note = length.and_then(|length| rest.get(4..length.saturating_add(4)));
        // Length, note with its padding, and the block's length again.
        let whole = length.map_or(0, |length| length.next_multiple_of(4).saturating_add(8));
        let note = note.filter(|_| Some(at) != own || rest.len() > whole);
        note.is_some_and(|note| checkpoint(note, key, true).is_ok())
    })
}
