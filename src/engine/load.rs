//! What is given up when more comes than can be done, and in which order. Judging never is.

use crate::event::{Record, Shed};

/// Full batches in a row after which a step is taken. A ring of 4,096 frames holds 64 batches, so the last step is taken
/// before the kernel drops frames that nobody has looked at.
const BATCHES: [u32; 5] = [8, 16, 24, 32, 40];

/// Fullness of the hand-off queue in eighths at which a step is taken. The last step drops frames, and a slow disk is no
/// reason to: it is never taken for the queue.
const EIGHTHS: [u64; 4] = [4, 5, 6, 7];

/// Of records about connections that ended, one in so many is kept.
const FLOWS: u64 = 16;

/// Bytes of a refused frame that are kept when payload is given up: Ethernet with two tags, IPv4 and TCP with options.
const HEADERS: usize = 128;

/// How long after the last step an overload counts as over.
const OVER_NS: u64 = 1_000_000_000;

/// How much is given up at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// Full batches in a row, from the plant and from the robot.
    full: [u32; 2],
    /// Steps taken now, 0 to 5: the first so many of [`Shed::ALL`] are given up.
    steps: usize,
    /// Most steps since the overload began; 0 = there is none.
    worst: usize,
    /// When it was last given up anything, monotonic nanoseconds.
    last_ns: u64,
    /// How often each was given up, since the start.
    counts: [u64; 5],
    /// The same when the overload began.
    before: [u64; 5],
    flows: u64,
}

/// What is to be told of an overload: the step it reached, and how often each was given up in it.
pub(super) type Told = (Shed, [u64; 5]);

impl Load {
    /// A batch was taken from the port on the side with this index; `full` says whether more may wait behind it.
    #[inline]
    pub(super) fn batch(&mut self, side: usize, full: bool) {
        if let Some(count) = self.full.get_mut(side) {
            *count = if full { count.saturating_add(1) } else { 0 };
        }
    }

    /// Looks once a turn: how full the queue is, in eighths. Says what is to be told: that an overload reached another
    /// step, or that it is over.
    #[inline]
    pub(super) fn look(&mut self, eighths: u64, now_ns: u64) -> Option<Told> {
        let most = self.full.iter().copied().max().unwrap_or(0);
        let of = |reached: usize, step: usize| if reached > step { reached } else { step };
        let by_frames = BATCHES.iter().filter(|batches| most >= **batches).count();
        let by_records = EIGHTHS.iter().filter(|wanted| eighths >= **wanted).count();
        self.steps = of(by_frames, by_records);
        if self.steps == 0 && self.worst == 0 {
            return None;
        }
        self.tell(now_ns)
    }

    #[cold]
    fn tell(&mut self, now_ns: u64) -> Option<Told> {
        if self.steps > 0 {
            self.last_ns = now_ns;
        }
        if self.steps > self.worst {
            if self.worst == 0 {
                self.before = self.counts;
            }
            self.worst = self.steps;
            return Some((Shed::step(self.worst), [0; 5]));
        }
        if self.steps > 0 || now_ns.saturating_sub(self.last_ns) < OVER_NS {
            return None;
        }
        self.worst = 0;
        let mut shed = self.counts;
        shed.iter_mut().zip(self.before).for_each(|(now, before)| *now = now.saturating_sub(before));
        Some((Shed::Nothing, shed))
    }

    /// Whether something is given up now; counts it then.
    #[inline]
    pub(super) fn sheds(&mut self, what: Shed) -> bool {
        let shed = self.steps >= what as usize;
        if shed && let Some(count) = (what as usize).checked_sub(1).and_then(|at| self.counts.get_mut(at)) {
            *count = count.saturating_add(1);
        }
        shed
    }

    /// Whether frames that nobody judges are given up in the batch at hand.
    #[inline]
    pub(super) fn sheds_frames(&self) -> bool {
        let [.., last] = BATCHES;
        self.full.iter().any(|full| *full >= last)
    }

    /// Frames that nobody judges were given up.
    pub(super) fn shed_frames(&mut self, count: u64) {
        if let Some(all) = self.counts.last_mut() {
            *all = all.saturating_add(count);
        }
    }

    /// Whether a record is left out.
    #[inline]
    pub(super) fn leaves_out(&mut self, record: &Record) -> bool {
        if self.steps < Shed::Flows as usize || !matches!(record, Record::Flow(_)) {
            return false;
        }
        self.flows = self.flows.wrapping_add(1);
        !self.flows.is_multiple_of(FLOWS) && self.sheds(Shed::Flows)
    }

    /// The part of a refused frame that is kept.
    #[inline]
    pub(super) fn kept<'f>(&mut self, frame: &'f [u8]) -> &'f [u8] {
        match frame.get(..HEADERS) {
            Some(headers) if self.sheds(Shed::Payload) => headers,
            _ => frame,
        }
    }

    /// How often each was given up since the start, in the order of [`Shed::ALL`].
    pub(super) fn counts(&self) -> [u64; 5] {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Notice;

    fn load(batches: u32) -> Load {
        let mut load = Load::default();
        (0..batches).for_each(|_| load.batch(0, true));
        load
    }

    #[test]
    fn the_order_is_kept_and_judging_is_not_in_it() {
        let order = [Shed::Detail, Shed::Samples, Shed::Payload, Shed::Flows, Shed::Unenforced];
        assert_eq!(Shed::ALL, order);
        for (place, batches) in BATCHES.into_iter().enumerate() {
            for (more, sheds) in [(0, place + 1), (0_u32.wrapping_sub(1), place)] {
                let mut load = load(batches.wrapping_add(more));
                load.look(0, 1);
                let shed: Vec<bool> = order.into_iter().map(|what| load.sheds(what)).collect();
                assert_eq!(shed, (0..5).map(|at| at < sheds).collect::<Vec<_>>(), "{batches} {more}");
                assert_eq!(load.sheds_frames(), sheds == 5);
            }
        }
    }

    #[test]
    fn a_slow_disk_costs_records_and_no_frame() {
        let mut load = Load::default();
        load.look(8, 1);
        assert!(load.sheds(Shed::Flows) && !load.sheds_frames());
        load.look(3, 2);
        assert!(!load.sheds(Shed::Detail));
    }

    #[test]
    fn one_batch_that_is_not_full_ends_it_at_once() {
        let mut load = load(1000);
        load.look(0, 1);
        assert!(load.sheds_frames());
        load.batch(0, false);
        assert!(!load.sheds_frames());
        load.look(0, 2);
        assert!(!load.sheds(Shed::Detail));
    }

    #[test]
    fn an_overload_is_told_of_at_each_step_and_at_its_end() {
        let mut load = load(8);
        assert_eq!(load.look(0, 1), Some((Shed::Detail, [0; 5])));
        assert_eq!(load.look(0, 2), None);
        (0..100).for_each(|_| load.batch(0, true));
        assert_eq!(load.look(0, 3), Some((Shed::Unenforced, [0; 5])));
        load.shed_frames(7);
        assert!(load.sheds(Shed::Samples));
        load.batch(0, false);
        assert_eq!(load.look(0, 4), None);
        assert_eq!(load.look(0, 3 + OVER_NS), Some((Shed::Nothing, [0, 1, 0, 0, 7])));
        assert_eq!(load.look(0, 4 + OVER_NS), None);
    }

    #[test]
    fn of_flows_one_in_sixteen_is_kept_and_of_the_rest_everything() {
        let mut load = load(32);
        load.look(0, 1);
        assert!(!load.leaves_out(&Record::Notice(Notice::Started)));
        let long = [0; 1500];
        assert_eq!((load.kept(&long).len(), load.kept(&long[..60]).len()), (HEADERS, 60));
    }
}
