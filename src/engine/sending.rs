//! What a worker does with a batch once it is judged: it leaves, is remembered, is shown.

use dissect::Toward;

use super::actions::{Actions, Out};
use super::judge::Observer;
use super::pipeline::{Fate, Pipeline};
use super::worker::{Clock, Shown, Shows, Tap};
use crate::nic::{BATCH, Frame, FramePort, PortError};
use crate::record::{Became, FrameRing, Passing};

/// Sends what the actions say in batches, first what goes on in the direction of the frames that came; says which side
/// failed.
pub(super) fn send_all<P: FramePort>(
    actions: &Actions,
    (plant, robot): (&mut P, &mut P),
    toward: Toward,
    refused_by_port: &mut [u64; 2],
) -> Option<(Toward, PortError)> {
    let mut failed = None;
    for leaving in [toward, toward.reverse()] {
        let mut frames: [&[u8]; BATCH] = [&[]; BATCH];
        let mut count = 0_usize;
        let (from, to): (&P, &mut P) = match leaving {
            Toward::Robot => (&*plant, &mut *robot),
            Toward::Plant => (&*robot, &mut *plant),
        };
        let mut flush = |frames: &[&[u8]]| match to.transmit(frames) {
            Ok(sent) => count_refused(refused_by_port, leaving, frames.len().saturating_sub(sent)),
            Err(error) => failed = Some((leaving, error)),
        };
        for out in actions.outs() {
            let bytes = match *out {
                Out::Received { index, toward } if toward == leaving => from.frame(index).bytes,
                Out::Crafted { range, toward } if toward == leaving => actions.crafted(range),
                _ => continue,
            };
            if count == BATCH {
                flush(&frames);
                count = 0;
            }
            if let Some(slot) = frames.get_mut(count) {
                *slot = bytes;
                count = count.saturating_add(1);
            }
        }
        if count > 0 {
            flush(frames.get(..count).unwrap_or_default());
        }
    }
    failed
}

/// Counts frames that the port of a side did not take.
pub(super) fn count_refused(refused_by_port: &mut [u64; 2], leaving: Toward, frames: usize) {
    if let Some(count) = refused_by_port.get_mut(leaving as usize) {
        *count = count.saturating_add(u64::try_from(frames).unwrap_or(0));
    }
}

/// What became of the frames of the current batch.
pub(super) struct Batch {
    pub(super) now_ns: u64,
    pub(super) became: [Became; BATCH],
    /// How many were judged, and how many of them are in the ring.
    pub(super) judged: usize,
    pub(super) remembered: usize,
}

impl Batch {
    /// Puts into the ring what was judged since the last call; the frames came from `port`.
    pub(super) fn remember<P: FramePort>(&mut self, ring: &FrameRing, toward: Toward, port: &P) {
        for index in self.remembered..self.judged {
            let frame = port.frame(index);
            let became = self.became.get(index).copied().unwrap_or(Became::Passed);
            let (wall_ns, wire_len) = (frame.meta.received_ns, frame.meta.wire_len);
            ring.push(&Passing { toward, became, wire_len, wall_ns, monotonic_ns: self.now_ns }, frame.bytes);
        }
        self.remembered = self.judged;
    }
}

/// Shows the frames of the box's own, and puts them into the ring.
pub(super) fn show_made<C: Clock, T: Tap>(actions: &Actions, clock: &C, ring: Option<&FrameRing>, tap: Option<&T>) {
    let mut now = None;
    for out in actions.outs() {
        let Out::Crafted { range, toward } = *out else { continue };
        let (wall_ns, monotonic_ns) = *now.get_or_insert_with(|| (clock.wall_ns(), clock.monotonic_ns()));
        let bytes = actions.crafted(range);
        if let Some(tap) = tap {
            tap.made(toward, wall_ns, bytes);
        }
        if let Some(ring) = ring {
            let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            ring.push(&Passing { toward, became: Became::Made, wire_len, wall_ns, monotonic_ns }, bytes);
        }
    }
}

/// Shows a received frame with what became of it; `kept` is how many copies belonged into the records before it.
#[cold]
pub(super) fn show<T: Tap, O: Observer>(
    tap: &T,
    shows: Shows,
    pipeline: &Pipeline<'_, O>,
    (toward, frame, fate): (Toward, &Frame<'_>, Fate),
    (actions, kept): (&Actions, usize),
) {
    let rules = pipeline.rules();
    let kept = actions.kept().get(kept..).unwrap_or_default();
    if shows == Shows::All || !kept.is_empty() || matches!(fate, Fate::Drop(_)) {
        let (enforced, generation) = (rules.mode.enforces(), rules.policy.generation());
        tap.received(&Shown { toward, frame, fate, enforced, generation, kept, events: actions.events() });
    }
}
