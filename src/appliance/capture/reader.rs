use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Became, Copied, INTERFACES, Joined};
use crate::control::Stream;
use crate::export::{Names, sentence};
use crate::record::pcapng::{self, Flow, PacketNotes};

/// Most bytes that wait for a reader: some seconds of a busy cell.
const BUFFER: usize = 4 << 20;

/// How often a reader without packets is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Time between two rounds of statistics blocks, where a count changed.
const STATISTICS: Duration = Duration::from_secs(1);

/// A reader that takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of each interface: packets handed over and packets lost since the reader came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    written: [u64; INTERFACES.len()],
    lost: [u64; INTERFACES.len()],
}

/// What waits for a reader, and what was counted.
#[derive(Debug, Default)]
struct Waiting {
    blocks: Vec<u8>,
    counts: Counts,
    /// Lost on the way to all readers, since it came.
    lost_before: [u64; INTERFACES.len()],
}

/// One who captures.
#[derive(Debug)]
pub(in crate::appliance) struct Reader {
    only_dropped: bool,
    snap: usize,
    /// What was lost before it came.
    begun: [u64; INTERFACES.len()],
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl Reader {
    pub(super) fn new(only_dropped: bool, snap: u32, lost: [u64; INTERFACES.len()]) -> Self {
        let snap = usize::try_from(snap).unwrap_or(usize::MAX).clamp(1, super::LONGEST);
        Self { only_dropped, snap, begun: lost, waiting: Mutex::default(), more: Condvar::new() }
    }

    pub(super) fn only_dropped(&self) -> bool {
        self.only_dropped
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renders a copy into the buffer, or counts it as lost.
    pub(super) fn take(&self, copied: &Copied, names: &Names) {
        if self.only_dropped && !matches!(copied.became, Became::Refused { .. }) {
            return;
        }
        let at = copied.interface();
        let mut waiting = self.waiting();
        let Waiting { blocks, counts, .. } = &mut *waiting;
        let full = blocks.len() >= BUFFER;
        let count = if full { counts.lost.get_mut(at) } else { counts.written.get_mut(at) };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        if full {
            return;
        }
        let comment = comment(copied, names);
        let notes = PacketNotes {
            comment: &comment,
            packet_id: copied.event_id.0,
            verdict: copied.verdict.map_or("", |verdict| verdict.reason.name()),
        };
        let flow = if copied.became == Became::Made { Flow::Outbound } else { Flow::Inbound };
        let bytes = copied.bytes();
        let bytes = bytes.get(..bytes.len().min(self.snap)).unwrap_or_default();
        let interface = u32::try_from(at).unwrap_or(0);
        pcapng::directed_packet(blocks, interface, copied.wall_ns, copied.wire_len, bytes, &notes, flow);
    }

    /// Lets the reader look what waits; `lost` is what was lost on the way to all of them.
    pub(super) fn wake(&self, lost: [u64; INTERFACES.len()]) {
        let mut waiting = self.waiting();
        for ((before, lost), begun) in waiting.lost_before.iter_mut().zip(lost).zip(self.begun) {
            *before = lost.saturating_sub(begun);
        }
        if !waiting.blocks.is_empty() {
            self.more.notify_one();
        }
    }

    /// What waits, its memory exchanged for `into`, and the counts that go with it.
    fn exchange(&self, into: &mut Vec<u8>) -> Counts {
        into.clear();
        let mut waiting = self.waiting();
        if waiting.blocks.is_empty() {
            let waited = self.more.wait_timeout(waiting, LOOK).unwrap_or_else(PoisonError::into_inner);
            waiting = waited.0;
        }
        std::mem::swap(&mut waiting.blocks, into);
        let mut counts = waiting.counts;
        for (count, before) in counts.lost.iter_mut().zip(waiting.lost_before) {
            // Whether a copy that was never made would have been asked for is not known.
            *count = count.saturating_add(before);
        }
        counts
    }
}

/// The sentence beside a packet; empty where it went on as it came.
fn comment(copied: &Copied, names: &Names) -> String {
    let mut text = match (&copied.event, copied.verdict, copied.became) {
        (Some(event), _, _) => sentence(event, names),
        (None, Some(verdict), became) => {
            let what = if became == (Became::Refused { enforced: false }) { "Would be refused" } else { "Refused" };
            let (reason, generation) = (verdict.reason, verdict.generation);
            format!("{what} ({reason}, policy generation {generation}): {}", reason.sentence())
        }
        (None, None, Became::TakenIn) => "Taken in by the box: it goes on in frames of the box's own.".to_owned(),
        (None, None, Became::Made) => "Made by the box.".to_owned(),
        (None, None, _) => String::new(),
    };
    if copied.more > 0 {
        text.push_str(&format!(" ({} more in the same frame)", copied.more));
    }
    text
}

impl Stream for Joined {
    /// Hands packets over until the reader shuts its side down or goes away, or the box ends; then the last counts.
    fn run(self: Box<Self>, mut to: &UnixStream, stop: &AtomicBool) -> io::Result<()> {
        to.set_write_timeout(Some(PATIENCE))?;
        let application = concat!("vambrace ", env!("CARGO_PKG_VERSION"));
        let mut blocks = Vec::new();
        pcapng::start(&mut blocks, application, &INTERFACES, u32::try_from(self.reader.snap).unwrap_or(u32::MAX));
        to.write_all(&blocks)?;
        let (mut told, mut told_at) = (Counts::default(), Instant::now());
        loop {
            let ending = stop.load(Ordering::Relaxed) || has_ended(to);
            let counts = self.reader.exchange(&mut blocks);
            to.write_all(&blocks)?;
            if ending || (counts != told && told_at.elapsed() >= STATISTICS) {
                (told, told_at) = (counts, Instant::now());
                to.write_all(&statistics(&counts))?;
            }
            if ending {
                return Ok(());
            }
        }
    }
}

fn statistics(counts: &Counts) -> Vec<u8> {
    let mut blocks = Vec::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    for (interface, (written, lost)) in (0..).zip(counts.written.iter().zip(counts.lost)) {
        pcapng::statistics(&mut blocks, interface, now, written.saturating_add(lost), lost);
    }
    blocks
}

/// Whether the reader has shut its side down, or is gone.
fn has_ended(stream: &UnixStream) -> bool {
    let mut wait = [PollFd::new(stream, PollFlags::IN | PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut wait, Some(&now)) {
        Ok(ready) if ready > 0 => {
            let [wait] = wait;
            wait.revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
        }
        _ => false,
    }
}
