//! What was lost, until it is told of.

/// Records and frames that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) frames: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.records = self.records.saturating_add(other.records);
        self.frames = self.frames.saturating_add(other.frames);
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { records: self.records.saturating_sub(before.records), frames: self.frames.saturating_sub(before.frames) }
    }

    pub(super) fn sum(self) -> u64 {
        self.records.saturating_add(self.frames)
    }
}

/// What was lost and not told of yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) queue: Tally,
    pub(super) disk: Tally,
    /// What a predecessor that was killed left unwritten.
    pub(super) killed: Tally,
    /// Events that those account for.
    pub(super) events: u64,
    /// What there was no budget for.
    pub(super) budget: Tally,
    /// Wall time of the first of them.
    pub(super) since_ns: u64,
    /// All records and frames lost in this run.
    pub(super) total: u64,
    /// Of them, frames that came as far as here.
    pub(super) frames_here: u64,
}

impl Losses {
    pub(super) fn is_empty(&self) -> bool {
        self.queue
            .sum()
            .saturating_add(self.disk.sum())
            .saturating_add(self.budget.sum())
            .saturating_add(self.killed.sum())
            == 0
    }

    /// Counts what was lost before it came to the store, at `wall_ns`.
    pub(super) fn before(&mut self, lost: Tally, wall_ns: u64) {
        self.begin(wall_ns);
        self.queue.add(lost);
        self.events = self.events.saturating_add(lost.records);
        self.total = self.total.saturating_add(lost.sum());
    }

    /// Counts events that a predecessor left unwritten, as is seen at `wall_ns`.
    pub(super) fn at_kill(&mut self, events: u64, wall_ns: u64) {
        self.begin(wall_ns);
        self.killed.add(Tally { records: events, frames: 0 });
        self.events = self.events.saturating_add(events);
        self.total = self.total.saturating_add(events);
    }

    /// Counts what the store lost, which accounts for so many events, at `wall_ns`.
    pub(super) fn here(&mut self, lost: Tally, events: u64, wall_ns: u64) {
        self.begin(wall_ns);
        self.events = self.events.saturating_add(events);
        self.disk.add(lost);
        self.frames_here = self.frames_here.saturating_add(lost.frames);
        self.total = self.total.saturating_add(lost.sum());
    }

    /// Counts frames that the budget left no room for, at `wall_ns`. No record was lost by that, and no copy of a refused
    /// frame: the total is left alone.
    pub(super) fn not_kept(&mut self, frames: u64, wall_ns: u64) {
        self.begin(wall_ns);
        self.budget.add(Tally { records: 0, frames });
    }

    /// All of it has been told of.
    pub(super) fn told(&mut self) {
        *self = Self { total: self.total, frames_here: self.frames_here, ..Self::default() };
    }

    fn begin(&mut self, wall_ns: u64) {
        if self.is_empty() {
            self.since_ns = wall_ns;
        }
    }
}
