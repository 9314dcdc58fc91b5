//! What is removed, and how it is told of before.

use std::fs;
use std::io;
use std::path::Path;

use super::block::{PruneWhy, Word};
use super::files::{RESERVE, RESERVE_LEN, Start, segment_name};
use super::scan::{Chain, Scan};
use super::tree::hex;
use super::{ClockState, Evidence, Moment};

/// Most time without power that counts at one start: a long weekend. Whoever can set the clock and switch the box off
/// makes evidence no older than this with each start, and each start is in the evidence.
const MOST_OFF_NS: u64 = 4 * 24 * 3600 * 1_000_000_000;

/// The clock by which evidence grows old: nanoseconds since 1970, as far as time certainly went by.
///
/// While the box runs, only the monotonic clock moves it, whatever the wall clock jumps to. Time without power is told by
/// the wall clock alone: it counts once a start, when something keeps the clock with the time of others, and never more
/// than [`MOST_OFF_NS`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Elapsed {
    at_ns: u64,
    monotonic_ns: u64,
    is_caught_up: bool,
}

impl Elapsed {
    /// Goes on from `last_ns`, where the run before ended; from the wall clock where there was none.
    pub(super) fn begin(last_ns: Option<u64>, now: Moment) -> Self {
        let at_ns = last_ns.unwrap_or(now.wall_ns);
        Self { at_ns, monotonic_ns: now.monotonic_ns, is_caught_up: last_ns.is_none() }
    }

    /// What it shows at `now`.
    pub(super) fn at(&mut self, now: Moment, clock: ClockState) -> u64 {
        let passed = now.monotonic_ns.saturating_sub(self.monotonic_ns);
        self.at_ns = self.at_ns.saturating_add(passed);
        self.monotonic_ns = now.monotonic_ns.max(self.monotonic_ns);
        if !self.is_caught_up && clock == ClockState::Synchronised {
            self.is_caught_up = true;
            self.at_ns = self.at_ns.saturating_add(now.wall_ns.saturating_sub(self.at_ns).min(MOST_OFF_NS));
        }
        self.at_ns
    }
}

/// Most segments that are removed at once, so that frames that wait are not kept waiting long.
const AT_ONCE: usize = 16;

/// A segment that has ended.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// When its last record was written, by the clock of retention, as far as known.
    pub(super) until_ns: u64,
    /// The chain behind it, where it ended in this run.
    pub(super) end: Option<Chain>,
}

/// A segment whose removal is recorded.
#[derive(Debug)]
pub(super) struct Pruned {
    number: u64,
    /// Where the next one begins.
    next: Start,
}

impl Evidence {
    /// Removes the oldest segments until another whole one fits into the budget, and onto the disk where that is smaller:
    /// of a box that records for ever, the newest is worth more than the oldest.
    pub(super) fn make_room(&mut self, now: Moment) -> io::Result<()> {
        let mut bytes = self.bytes();
        // What others fill the disk with is no reason to remove evidence: whatever is given up, they would take.
        let missing = self.limit().saturating_sub(self.disk.free(&self.options.directory));
        let missing = if self.fills_the_disk() { missing } else { 0 };
        let budget = self.options.budget.saturating_sub(self.limit().saturating_add(RESERVE_LEN));
        let budget = budget.min(bytes.saturating_sub(missing));
        let mut count = 0usize;
        for closed in &self.closed {
            if bytes <= budget || count >= AT_ONCE {
                break;
            }
            bytes = bytes.saturating_sub(closed.bytes);
            count = count.saturating_add(1);
        }
        self.prune(count, PruneWhy::Size, now)
    }

    /// Whether half of what is in use on the disk is this store.
    #[must_use]
    pub fn fills_the_disk(&self) -> bool {
        self.bytes().saturating_mul(2) >= self.disk.used(&self.options.directory)
    }

    /// On a full disk: removes the oldest segments as [`Evidence::make_room`] does, in the room that was held in reserve
    /// for saying so. Whether anything was removed.
    pub(super) fn free_room(&mut self, now: Moment) -> io::Result<bool> {
        let before = self.closed.len();
        if before > 0 && self.fills_the_disk() {
            give_up_reserve(&self.options.directory);
            self.make_room(now)?;
        }
        Ok(self.closed.len() < before)
    }

    /// Removes segments that are older than asked for.
    pub(super) fn prune_old(&mut self, now: Moment) -> io::Result<()> {
        let Some(age) = self.options.max_age else { return Ok(()) };
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let elapsed_ns = self.elapsed_ns(now);
        let Some(oldest) = elapsed_ns.checked_sub(age) else { return Ok(()) };
        // A segment is never older than one before it: a clock that stood in 1970 for a while makes nothing old.
        let mut latest = 0;
        let is_old = |closed: &&Closed| {
            latest = closed.until_ns.min(elapsed_ns).max(latest);
            latest < oldest
        };
        let count = self.closed.iter().take(AT_ONCE).take_while(is_old).count();
        self.prune(count, PruneWhy::Age, now)
    }

    /// Removes the `count` oldest segments: says so, brings that to the disk, and only then removes.
    fn prune(&mut self, count: usize, why: PruneWhy, now: Moment) -> io::Result<()> {
        if self.pruned.is_empty() {
            for at in 0..count {
                self.announce(at, why, now);
            }
        }
        if self.pruned.is_empty() {
            return Ok(());
        }
        // Only that: on a full disk there may be no room for more.
        self.flush_words(now)?;
        self.sync()?;
        // Signed before anything is gone: hashes alone could be anybody's.
        self.sign(now)?;
        self.sync()?;
        for pruned in std::mem::take(&mut self.pruned) {
            let path = self.options.directory.join(segment_name(pruned.number));
            // One name after the other: a power cut undoes removals in any order, and would leave a hole.
            if let Err(error) = self.disk.remove(&path) {
                // Recording does not end for that; it is tried again with the next segment.
                tracing::warn!(path = %path.display(), %error, "old evidence is not removed");
                break;
            }
            // They are removed in their order, so it is the first; unless a removal was tried before and failed half way.
            if let Some(closed) = self.closed.front().filter(|closed| closed.number == pruned.number) {
                self.closed_bytes = self.closed_bytes.saturating_sub(closed.bytes);
                self.closed.pop_front();
            }
            self.oldest = pruned.next;
            self.state_is_due();
        }
        Ok(())
    }

    /// Says that the segment at place `at` of those that ended is removed.
    fn announce(&mut self, at: usize, why: PruneWhy, now: Moment) {
        let Some(closed) = self.closed.get(at) else { return };
        let start = self.pruned.last().map_or(&self.oldest, |pruned| &pruned.next);
        let number = closed.number;
        let next = match &closed.end {
            Some(end) if start.known => Start { segment: number.saturating_add(1), chain: end.clone(), known: true },
            _ => self.start_behind(number, start),
        };
        let chain = &next.chain;
        let roots = if next.known { chain.frontier.roots() } else { &[] };
        let word = Word::Prune {
            leaves: chain.frontier.leaves(),
            records: chain.records,
            segments: [number, number],
            frontier: roots.iter().map(|root| hex(root)).collect(),
            trailer: hex(&chain.before),
            why,
        };
        self.say_ahead(&word, now);
        self.pruned.push(Pruned { number, next });
    }

    /// Where the segment behind `number` begins, which begins at `start`.
    fn start_behind(&self, number: u64, start: &Start) -> Start {
        let path = |number| self.options.directory.join(segment_name(number));
        let segment = number.saturating_add(1);
        // One that can't be read to its end is damaged like one that makes no sense.
        let scan = Scan::read(&path(number), number, Some(&start.chain), &self.signer).unwrap_or_default();
        let is_read = start.known && scan.first_leaf.is_some();
        let (fits, chain) = match Scan::begins(&path(segment), segment) {
            Ok(Some(begins)) if begins.is_as_far_as(&scan.chain) => (true, scan.chain),
            Ok(Some(begins)) => (false, begins),
            // It is not begun yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (true, scan.chain),
            Ok(None) | Err(_) => (false, scan.chain),
        };
        if is_read && fits {
            return Start { segment, chain, known: true };
        }
        tracing::error!(
            segment = number,
            "this segment was changed after it was written; it is removed, but nothing can prove what it held"
        );
        Start { segment, chain, known: false }
    }
}

/// Gives up what is held in reserve in `directory`, so that on a full disk the little that must be written can be.
pub fn give_up_reserve(directory: &Path) {
    if fs::remove_file(directory.join(RESERVE)).is_ok() {
        tracing::warn!("the disk is full; the room that was held in reserve for this is used");
    }
}
