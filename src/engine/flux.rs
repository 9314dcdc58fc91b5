//! The commit word: which part of the arena is being changed.
//!
//! A packet process that is killed stops between two instructions; its successor starts when it is gone and finds
//! every store that it had made, in whatever order the processor made them visible to others meanwhile. What is left
//! to care about is the compiler: it must not move a change of a conversation before the word that announces it or
//! behind the one that takes it back. So the successor reads the arena as a signal handler of the predecessor's thread
//! would, and what orders the two is [`compiler_fence`]; beside it, [`black_box`] makes the compiler take the state for
//! read and written at that point whatever it knows of who else may see it.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use zerocopy::{FromBytes, IntoBytes, KnownLayout};

use crate::flow::FlowId;

/// What is being changed right now. Plain data; zero = nothing, so the state is whole.
///
/// Invariant: while a byte of the arena's shared state differs from what the last finished event left and the next one
/// will find, the word names the conversation, the table or the binding that it belongs to.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Flux {
    word: AtomicU64,
}

/// A flow with its watched slot, its stores and its place in the list of programs.
const CONVERSATION: u64 = 1 << 16;
/// A flow that comes into the table or leaves it, and the table's index.
const TABLE: u64 = 1 << 17;
/// One bound address.
const BINDING: u64 = 1 << 18;
/// The robot's live state, beside one of the above.
const ROBOT: u64 = 1 << 19;
/// The token buckets, beside one of the above.
const RATES: u64 = 1 << 20;
/// The robot's RTDE inputs, beside one of the above.
const INPUTS: u64 = 1 << 21;
/// The quarantine, by itself or beside one of the above.
const QUARANTINE: u64 = 1 << 22;

/// What a word says: the successor's to mend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Torn {
    /// A conversation that was in flux.
    pub conversation: Option<FlowId>,
    /// A flow that was coming into the table or leaving it.
    pub entry: Option<FlowId>,
    /// A place among the bindings.
    pub binding: Option<u16>,
    /// The robot's live state.
    pub robot: bool,
    /// The token buckets.
    pub rates: bool,
    /// The robot's RTDE inputs.
    pub inputs: bool,
    /// The quarantine.
    pub quarantine: bool,
}

/// One of the parts that change beside a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Robot,
    Rates,
    Inputs,
    Quarantine,
}

impl Part {
    const fn bit(self) -> u64 {
        match self {
            Self::Robot => ROBOT,
            Self::Rates => RATES,
            Self::Inputs => INPUTS,
            Self::Quarantine => QUARANTINE,
        }
    }
}

impl Flux {
    /// From here on a conversation changes, and nothing else does; `state` is what it is part of.
    ///
    /// Cost: with the other methods alike, one store and no register kept over it.
    #[inline]
    pub(super) fn conversation<T>(&self, id: FlowId, state: &mut T) {
        self.set(CONVERSATION | u64::from(id.0), state);
    }

    /// From here on a flow comes into the table or leaves it.
    #[inline]
    pub(super) fn entry<T>(&self, id: FlowId, state: &mut T) {
        self.set(TABLE | u64::from(id.0), state);
    }

    /// From here on one binding changes.
    #[inline]
    pub(super) fn binding<T>(&self, place: usize, state: &mut T) {
        self.set(BINDING | u64::try_from(place).unwrap_or(0) & 0xffff, state);
    }

    /// From here on the quarantine changes, and nothing else does.
    #[inline]
    pub(super) fn quarantine<T>(&self, state: &mut T) {
        self.set(QUARANTINE, state);
    }

    /// From here on a part changes beside what is named already.
    #[inline]
    pub(super) fn part<T>(&self, part: Part, state: &mut T) {
        self.set(self.word.load(Ordering::Relaxed) | part.bit(), state);
    }

    /// The part is whole again.
    #[inline]
    pub(super) fn part_done<T>(&self, part: Part, state: &mut T) {
        self.set(self.word.load(Ordering::Relaxed) & !part.bit(), state);
    }

    /// Nothing changes any more: what was changed is published.
    #[inline]
    pub(super) fn settled<T>(&self, state: &mut T) {
        self.set(0, state);
    }

    /// The conversation that was named last, until everything is settled.
    #[inline]
    pub(super) fn in_flux(&self) -> Option<FlowId> {
        let word = self.word.load(Ordering::Relaxed);
        let [low, high, ..] = word.to_le_bytes();
        (word & CONVERSATION != 0).then_some(FlowId(u16::from_le_bytes([low, high])))
    }

    #[inline]
    fn set<T>(&self, word: u64, state: &mut T) {
        black_box(&mut *state);
        compiler_fence(Ordering::SeqCst);
        self.word.store(word, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        black_box(state);
    }

    /// What was in flux when the predecessor ended; nothing where it ended between two events.
    #[must_use]
    pub fn torn(&self) -> Option<Torn> {
        let word = self.word.load(Ordering::Relaxed);
        let [low, high, ..] = word.to_le_bytes();
        let number = u16::from_le_bytes([low, high]);
        let on = |bit: u64| word & bit != 0;
        (word != 0).then(|| Torn {
            conversation: on(CONVERSATION).then_some(FlowId(number)),
            entry: on(TABLE).then_some(FlowId(number)),
            binding: on(BINDING).then_some(number),
            robot: on(ROBOT),
            rates: on(RATES),
            inputs: on(INPUTS),
            quarantine: on(QUARANTINE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_set() {
        let flux = Flux { word: AtomicU64::new(0) };
        let nothing = &mut ();
        assert_eq!(flux.torn(), None);
        flux.conversation(FlowId(4095), nothing);
        flux.part(Part::Robot, nothing);
        let conversation = Torn { conversation: Some(FlowId(4095)), ..Torn::default() };
        assert_eq!(flux.torn(), Some(Torn { robot: true, ..conversation }));
        flux.part(Part::Rates, nothing);
        flux.part_done(Part::Robot, nothing);
        assert_eq!(flux.torn(), Some(Torn { rates: true, ..conversation }));
        flux.part(Part::Inputs, nothing);
        assert_eq!(flux.torn(), Some(Torn { rates: true, inputs: true, ..conversation }));
        flux.entry(FlowId(0), nothing);
        assert_eq!(flux.torn(), Some(Torn { entry: Some(FlowId(0)), ..Torn::default() }));
        flux.binding(63, nothing);
        assert_eq!(flux.torn(), Some(Torn { binding: Some(63), ..Torn::default() }));
        flux.settled(nothing);
        assert_eq!(flux.torn(), None);
    }
}
