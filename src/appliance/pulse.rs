//! What supervisor and packet process tell each other without waiting: that the worker moves, and who has the wire.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::words::Words;

/// How far a packet process is. Only the change that is named leads from one to the next, so that packet process and
/// kernel never both carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Stage {
    /// It reads its configuration and compiles the policy.
    Starting = 0,
    /// Meanwhile the kernel carries frames (supervisor, from `Starting`).
    Carried = 1,
    /// It is ready and asks for the wire (packet process, from `Carried`).
    Asking = 2,
    /// The kernel carries no more (supervisor, from `Asking`).
    Cleared = 3,
    /// It has the wire (packet process, from `Starting` or `Cleared`).
    Working = 4,
    /// It ends by itself (packet process, from `Working`).
    Ending = 5,
}

impl Stage {
    const ALL: [Self; 6] = [Self::Starting, Self::Carried, Self::Asking, Self::Cleared, Self::Working, Self::Ending];
}

/// Places of the numbers.
const TURNS: usize = 0;
const STAGE: usize = 1;
const OPENED_MS: usize = 2;
const OPENINGS: usize = 3;
const BYPASS_ORDERS: usize = 4;
const BYPASS_STATE: usize = 5;
const SLEPT_NS: usize = 6;

/// Shared by the supervisor and its packet process of the moment.
#[derive(Debug)]
pub(super) struct Pulse(Words);

impl Pulse {
    /// The supervisor's.
    pub(super) fn create() -> std::io::Result<Self> {
        Words::create().map(Self)
    }

    /// The packet process's.
    pub(super) fn from_fd(fd: OwnedFd) -> std::io::Result<Self> {
        Words::from_fd(fd).map(Self)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        let words = self.0.all();
        words.get(at).unwrap_or(&words[Words::COUNT - 1])
    }

    /// The worker went round once more. Source of every statement that it lives: nothing else of the process says so.
    #[inline]
    pub(super) fn turn(&self) {
        self.word(TURNS).fetch_add(1, Ordering::Relaxed);
    }

    /// How often it went round, over all packet processes.
    pub(super) fn turns(&self) -> u64 {
        self.word(TURNS).load(Ordering::Relaxed)
    }

    /// The worker slept for so long, with empty rings.
    #[inline]
    pub(super) fn slept(&self, ns: u64) {
        self.word(SLEPT_NS).fetch_add(ns, Ordering::Relaxed);
    }

    /// How long it slept in all, over all packet processes, nanoseconds.
    pub(super) fn slept_ns(&self) -> u64 {
        self.word(SLEPT_NS).load(Ordering::Relaxed)
    }

    /// How far the packet process is.
    pub(super) fn stage(&self) -> Stage {
        let now = self.word(STAGE).load(Ordering::Acquire);
        Stage::ALL.into_iter().find(|stage| *stage as u64 == now).unwrap_or(Stage::Starting)
    }

    /// Before another packet process is started.
    pub(super) fn set(&self, stage: Stage) {
        self.word(STAGE).store(stage as u64, Ordering::Release);
    }

    /// Goes from one stage to another; says whether it was at the first.
    pub(super) fn step(&self, from: Stage, to: Stage) -> bool {
        let (from, to) = (from as u64, to as u64);
        self.word(STAGE).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The kernel carried frames past the policy for so many milliseconds.
    pub(super) fn was_open(&self, milliseconds: u64) {
        self.word(OPENED_MS).store(milliseconds, Ordering::Release);
        self.word(OPENINGS).fetch_add(1, Ordering::Relaxed);
    }

    /// For how long it did so last, and how often at all.
    pub(super) fn openings(&self) -> (u64, u64) {
        (self.word(OPENED_MS).load(Ordering::Acquire), self.word(OPENINGS).load(Ordering::Relaxed))
    }

    /// Other standing orders for the bypass lie beside the records.
    pub(super) fn order_bypass(&self) {
        self.word(BYPASS_ORDERS).fetch_add(1, Ordering::Release);
    }

    /// How often there were other orders.
    pub(super) fn bypass_orders(&self) -> u64 {
        self.word(BYPASS_ORDERS).load(Ordering::Acquire)
    }

    /// What the bypass driver did last.
    pub(super) fn set_bypass(&self, state: Bypass) {
        self.word(BYPASS_STATE).store(state as u64, Ordering::Release);
    }

    /// The same, as the packet process sees it.
    pub(super) fn bypass(&self) -> Bypass {
        match self.word(BYPASS_STATE).load(Ordering::Acquire) {
            1 => Bypass::On,
            2 => Bypass::Failed,
            _ => Bypass::Off,
        }
    }
}

impl AsFd for Pulse {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the hardware that leads frames past the box does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Bypass {
    /// Frames come to the box.
    Off = 0,
    /// Frames go past it.
    On = 1,
    /// Its driver failed; what frames do is not known.
    Failed = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_has_one_owner() {
        let supervisor = Pulse::create().unwrap();
        let process = Pulse::from_fd(supervisor.as_fd().try_clone_to_owned().unwrap()).unwrap();
        // Ready before the supervisor gave up on it: it takes the wire, and the kernel does not.
        assert!(process.step(Stage::Starting, Stage::Working));
        assert!(!supervisor.step(Stage::Starting, Stage::Carried));
        // The other way round it has to ask.
        supervisor.set(Stage::Starting);
        assert!(supervisor.step(Stage::Starting, Stage::Carried));
        assert!(!process.step(Stage::Starting, Stage::Working));
        assert!(!process.step(Stage::Cleared, Stage::Working));
        assert!(process.step(Stage::Carried, Stage::Asking));
        assert!(supervisor.step(Stage::Asking, Stage::Cleared));
        assert!(process.step(Stage::Cleared, Stage::Working));
        assert_eq!(supervisor.stage(), Stage::Working);
    }

    #[test]
    fn turns_and_openings_are_counted() {
        let pulse = Pulse::create().unwrap();
        (0..5).for_each(|_| pulse.turn());
        assert_eq!((pulse.turns(), pulse.openings()), (5, (0, 0)));
        pulse.was_open(250);
        assert_eq!(pulse.openings(), (250, 1));
        pulse.set_bypass(Bypass::On);
        assert_eq!(pulse.bypass(), Bypass::On);
    }
}
