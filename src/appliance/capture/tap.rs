use std::sync::Arc;
use std::sync::atomic::Ordering;

use dissect::Toward;

use super::super::learner::LearnerTap;
use super::{Became, Captures, Copied, LONGEST, interface};
use crate::engine::{Fate, Shown, Shows, Tap};
use crate::event::{Action, EventId, Reason, RuleId, Verdict};
use crate::nic::Frame;

/// The worker's end of the way to learner and captures.
pub(in crate::appliance) struct WorkerTap {
    pub(in crate::appliance) learner: LearnerTap,
    pub(in crate::appliance) captures: Arc<Captures>,
}

impl Tap for WorkerTap {
    fn frame(&self, toward: Toward, frame: &Frame<'_>) {
        self.learner.frame(toward, frame);
    }

    #[inline]
    fn shows(&self) -> Shows {
        match self.captures.shows.load(Ordering::Acquire) {
            0 => Shows::Nothing,
            1 => Shows::Refused,
            _ => Shows::All,
        }
    }

    fn received(&self, shown: &Shown<'_>) {
        // Of several refusals that a frame caused, the first one is told; a set-point that goes on changed is none.
        let refusal = |action: Action| action >= Action::Refuse;
        let noted = shown.kept.iter().find(|kept| refusal(kept.verdict.action)).or(shown.kept.first());
        let became = match (shown.fate, noted) {
            (_, Some(kept)) if refusal(kept.verdict.action) => Became::Refused { enforced: shown.enforced },
            (Fate::Drop(_), _) => Became::Refused { enforced: shown.enforced },
            (Fate::Absorb, _) => Became::TakenIn,
            (Fate::Forward, _) => Became::Passed,
        };
        let verdict = match (noted, shown.fate) {
            (Some(kept), _) => Some(kept.verdict),
            (None, Fate::Drop(reason)) => Some(untold(reason, shown.generation)),
            (None, _) => None,
        };
        self.captures.copy(shown.toward, became, shown.frame.meta.wire_len, shown.frame.bytes, |copied| {
            copied.wall_ns = shown.frame.meta.received_ns;
            copied.verdict = verdict;
            copied.event_id = EventId(noted.map_or(0, |kept| kept.event));
            copied.event =
                noted.and_then(|kept| shown.events.iter().rev().find(|event| event.id.0 == kept.event)).copied();
            copied.more = u32::try_from(shown.kept.len().saturating_sub(1)).unwrap_or(u32::MAX);
        });
    }

    fn made(&self, toward: Toward, wall_ns: u64, bytes: &[u8]) {
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.captures.copy(toward, Became::Made, wire_len, bytes, |copied| {
            copied.wall_ns = wall_ns;
            copied.verdict = None;
            copied.event_id = EventId(0);
            copied.event = None;
            copied.more = 0;
        });
    }
}

/// The verdict on a frame that is not told of one by one.
fn untold(reason: Reason, generation: u32) -> Verdict {
    Verdict { action: Action::Drop, reason, rule: RuleId::NONE, generation }
}

impl Captures {
    /// Copies a frame for the readers; counts it where there is no room. Never waits, never allocates.
    fn copy(&self, toward: Toward, became: Became, wire_len: u32, bytes: &[u8], fill: impl FnOnce(&mut Copied)) {
        let Some(room) = self.room.get() else { return };
        let Some(mut copied) = room.free.pop() else {
            if let Some(lost) = room.lost.get(interface(toward, became)) {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let len = bytes.len().min(LONGEST);
        if let (Some(to), Some(from)) = (copied.bytes.get_mut(..len), bytes.get(..len)) {
            to.copy_from_slice(from);
        }
        copied.len = len;
        copied.toward = toward;
        copied.became = became;
        copied.wire_len = wire_len;
        fill(&mut copied);
        // Never full: there are as many places as copies.
        let _ = room.full.push(copied);
    }
}
