//! Steps of the wall clock against the monotonic one.

use super::{Clock, Verifier};
use crate::verify::report::{ClockStep, keep};
use crate::verify::trailer::Trailer;

impl Verifier {
    /// Compares clocks with the trailer before.
    pub(super) fn tick(&mut self, trailer: &Trailer) {
        let now = Clock { boot_id: trailer.boot_id, monotonic_ns: trailer.monotonic_ns, wall_ns: trailer.wall_ns };
        if trailer.clock != 2 {
            self.report.unsynchronised = self.report.unsynchronised.saturating_add(1);
        }
        let Some(before) = self.clock.replace(now) else { return };
        let difference = |now: u64, before: u64| i128::from(now).saturating_sub(i128::from(before));
        let wall = difference(now.wall_ns, before.wall_ns);
        let step = if now.boot_id == before.boot_id {
            let elapsed = difference(now.monotonic_ns, before.monotonic_ns);
            let step = wall.saturating_sub(elapsed);
            // Slewing by adjtime moves a clock by 500 ppm at most; a millisecond for reading two clocks.
            let tolerated = elapsed.checked_div(1000).unwrap_or(0).saturating_add(1_000_000);
            if elapsed < 0 {
                elapsed
            } else if step.abs() > tolerated {
                step
            } else {
                0
            }
        } else {
            wall.min(0)
        };
        if step != 0 {
            self.stepped(now.wall_ns, step);
        }
    }

    pub(super) fn stepped(&mut self, time_ns: u64, step: i128) {
        let step_ns = i64::try_from(step).unwrap_or(if step < 0 { i64::MIN } else { i64::MAX });
        let step = ClockStep { block: self.tree.leaves(), time_ns, step_ns };
        keep(&mut self.report.clock_steps, &mut self.report.clock_step_count, step);
    }
}
