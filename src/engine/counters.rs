use dissect::Toward;

use crate::event::Reason;

const REASONS: usize = Reason::ALL.len();

/// What became of every frame. Invariant: received = forwarded + absorbed + the sum of dropped.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Frames received toward the robot and toward the plant.
    pub received: [u64; 2],
    /// Received frames sent on untouched.
    pub forwarded: [u64; 2],
    /// Received frames whose bytes were taken in: they went on, or will, in crafted frames.
    pub absorbed: [u64; 2],
    /// Frames crafted by the box.
    pub crafted: [u64; 2],
    /// Received frames dropped, by reason.
    pub dropped: [u64; REASONS],
    /// Commands allowed and refused.
    pub commands: [u64; 2],
    /// Received frames that could not be tracked for lack of room, and went on all the same outside enforcement.
    pub untracked: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            received: [0; 2],
            forwarded: [0; 2],
            absorbed: [0; 2],
            crafted: [0; 2],
            dropped: [0; REASONS],
            commands: [0; 2],
            untracked: 0,
        }
    }
}

impl Counters {
    pub(super) fn add(side: &mut [u64; 2], toward: Toward) {
        if let Some(count) = side.get_mut(toward as usize) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn drop(&mut self, reason: Reason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Dropped frames by reason, those that occurred.
    pub fn dropped_by_reason(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().copied().zip(self.dropped).filter(|(_, count)| *count != 0)
    }

    /// Whether every received frame is accounted for.
    #[must_use]
    pub fn balance(&self) -> bool {
        let sum = |side: &[u64; 2]| side.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        let dropped = self.dropped.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        sum(&self.received) == sum(&self.forwarded).saturating_add(sum(&self.absorbed)).saturating_add(dropped)
    }
}
