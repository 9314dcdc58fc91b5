use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::now;
use crate::engine::WorkerShared;
use crate::event::{Event, Render, Settled, UnitPart};
use crate::export::Stats;
use crate::export::eve::EveRender;
use crate::record::evidence::{ClockState, FrameCounts, Surroundings};
use crate::sys;

/// Time between two `stats` lines: with 8,640 lines of 0.3 kB a day they are no burden, and who watches the event file
/// learns within ten seconds that the box has died.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// Renders events, and counters as the heart-beat.
pub(super) struct Beating {
    pub(super) eve: EveRender,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) begun: Instant,
}

impl Beating {
    fn stats(&self) -> Stats {
        let snapshot = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = &snapshot.counters;
        let sum = |counts: &[u64]| counts.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        Stats {
            wall_ns: now().wall_ns,
            uptime_seconds: self.begun.elapsed().as_secs(),
            frames: sum(&counters.received),
            kernel_drops: sum(&snapshot.kernel_drops),
            forwarded: sum(&counters.forwarded).saturating_add(sum(&counters.absorbed)),
            dropped: sum(&counters.dropped),
            flows: u64::try_from(snapshot.flows).unwrap_or(u64::MAX),
        }
    }
}

/// What the evidence store asks of the box.
#[derive(Debug)]
pub(super) struct Around(pub(super) Arc<WorkerShared>);

impl Surroundings for Around {
    fn frames(&self) -> FrameCounts {
        let snapshot = self.0.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = &snapshot.counters;
        let sum = |counts: &[u64]| counts.iter().fold(0_u64, |total, count| total.saturating_add(*count));
        FrameCounts {
            received: sum(&counters.received),
            sent: sum(&counters.forwarded).saturating_add(sum(&counters.crafted)),
            refused: sum(&counters.dropped),
        }
    }

    fn clock(&self) -> ClockState {
        match sys::clock::synchronised() {
            Ok(true) => ClockState::Synchronised,
            Ok(false) => ClockState::Free,
            Err(_) => ClockState::Unknown,
        }
    }
}

impl Render for Beating {
    fn line(&mut self, settled: &Settled, out: &mut String) {
        self.eve.line(settled, out);
    }

    fn sentence(&mut self, event: &Event) -> String {
        self.eve.sentence(event)
    }

    fn unit(&mut self, part: &UnitPart<'_>, out: &mut String) {
        self.eve.unit(part, out);
    }

    fn beat(&mut self, out: &mut String) {
        self.stats().render(&self.eve.names, out);
    }
}
