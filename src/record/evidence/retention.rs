//! What is removed, and how it is told of before.

use std::io;

use super::block::{PruneWhy, Word};
use super::files::{Start, segment_name};
use super::scan::{Chain, Scan};
use super::tree::hex;
use super::{Evidence, Moment};

/// Most segments that are removed at once, so that frames that wait are not kept waiting long.
const AT_ONCE: usize = 16;

/// A segment that has ended.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Wall time of its last record, as far as known.
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
        let missing = self.limit().saturating_sub(self.disk.free(&self.options.directory));
        let budget = self.options.budget.saturating_sub(self.limit()).min(bytes.saturating_sub(missing));
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

    /// Removes segments that are older than asked for.
    pub(super) fn prune_old(&mut self, now: Moment) -> io::Result<()> {
        let Some(age) = self.options.max_age else { return Ok(()) };
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let Some(oldest) = now.wall_ns.checked_sub(age) else { return Ok(()) };
        // A segment is never older than one before it: a clock that stood in 1970 for a while makes nothing old.
        let mut latest = 0;
        let is_old = |closed: &&Closed| {
            // Nor does one that was written while the clock stood in 2099 keep all that came after.
            latest = closed.until_ns.min(now.wall_ns).max(latest);
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
        self.flush(now)?;
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
        self.say(&word, now);
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
