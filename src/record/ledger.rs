use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// Grows with every change of what lies in a ledger.
const LAYOUT: u64 = 1;

/// How many events the records account for, in memory that outlives the packet process: what waits when it is killed is
/// known by number to its successor, which writes down that it was lost.
///
/// Events are counted over the life of a store, as their ids are: the id of the last one is how many there were. They are
/// accounted for where they were written, told of as lost, or were answers to nothing, which nobody writes. Written means
/// handed to the operating system, so it holds for a process that is killed; after a power cut the ledger is gone.
///
/// Whoever is killed between a write and the note of it leaves that open: so the ledger says before a write how many there
/// will be, and which leaf of the evidence's tree it makes. Whether that leaf is there, the successor finds in the store.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Ledger {
    /// [`LAYOUT`] where the rest means something.
    layout: AtomicU64,
    accounted: AtomicU64,
    /// Accounted for once leaf `leaf` is there.
    intended: AtomicU64,
    leaf: AtomicU64,
}

impl Ledger {
    /// Bytes of memory that it takes.
    pub const SIZE: usize = size_of::<Self>();

    /// The ledger in `memory`, for the rest of the process's life. Absent where there is too little, or it is not aligned.
    #[must_use]
    pub fn over(memory: &'static mut [u8]) -> Option<&'static Self> {
        let ledger: &'static mut Self = Self::mut_from_bytes(memory.get_mut(..Self::SIZE)?).ok()?;
        Some(ledger)
    }

    /// Begins anew behind `last_event`: nothing before it is missing.
    pub fn begin(&self, last_event: u64) {
        self.account(last_event);
        self.layout.store(LAYOUT, Ordering::Release);
    }

    /// Goes on where a predecessor was killed that had made `last_event`, over a store of so many leaves; how many events
    /// it left unaccounted for.
    pub(super) fn take_over(&self, last_event: u64, leaves: u64) -> u64 {
        if self.layout.load(Ordering::Acquire) != LAYOUT {
            self.begin(last_event);
        }
        if leaves > self.leaf.load(Ordering::Relaxed) {
            self.account(self.intended.load(Ordering::Relaxed));
        }
        last_event.saturating_sub(self.accounted())
    }

    /// Events accounted for.
    pub(super) fn accounted(&self) -> u64 {
        self.accounted.load(Ordering::Relaxed)
    }

    /// Says before leaf `leaf` is written that with it so many will be accounted for.
    pub(super) fn intend(&self, accounted: u64, leaf: u64) {
        // Before it is known which leaf, none is.
        self.leaf.store(u64::MAX, Ordering::Release);
        self.intended.store(accounted, Ordering::Release);
        self.leaf.store(leaf, Ordering::Release);
    }

    /// So many are accounted for, and no write is under way.
    pub(super) fn account(&self, accounted: u64) {
        self.leaf.store(u64::MAX, Ordering::Release);
        self.accounted.store(accounted, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_successor_knows_what_its_predecessor_left() {
        let memory: &'static mut [u64] = Box::leak(vec![0u64; 4].into_boxed_slice());
        let ledger = Ledger::over(memory.as_mut_bytes()).unwrap();
        assert_eq!(ledger.take_over(70, 9), 0, "memory of nobody says nothing");
        ledger.account(75);
        assert_eq!((ledger.take_over(90, 9), ledger.accounted()), (15, 75));
        // Killed in the middle of a write, which made leaf 9, the tenth, or did not.
        ledger.intend(80, 9);
        assert_eq!(ledger.take_over(90, 9), 15);
        assert_eq!(ledger.take_over(90, 10), 10);
        assert_eq!((ledger.take_over(90, 99), ledger.accounted()), (10, 80));
        ledger.begin(10);
        assert_eq!(ledger.take_over(10, 99), 0);
        assert!(Ledger::over(Box::leak(vec![0u8; 8].into_boxed_slice())).is_none());
    }
}
