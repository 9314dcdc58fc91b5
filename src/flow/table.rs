use link::FlowKey;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::{Flow, State};

/// Conversations in the table. Source: the product's specification (availability, "memory").
pub const CAPACITY: usize = 4096;

/// Slots of the index: twice the conversations, so that a probe sequence stays short (load at most one half).
const SLOTS: usize = CAPACITY * 2;
const MASK: usize = SLOTS - 1;

const _: () = assert!(size_of::<FlowKey>().is_multiple_of(8), "the hash takes every byte of a key");

/// A flow's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(pub u16);

/// Conversations by key. Plain data of a megabyte: lives in the shared arena, all zero when new.
///
/// Open addressing with linear probing and backward-shift deletion: no tombstones, so look-ups never get slower. The
/// hash is keyed, so that nobody who does not know the seed can fill one probe sequence.
///
/// Invariant: slot `i` of the index is 0 or the number of a used flow plus 1, and no empty slot lies between a flow's
/// home and its slot.
#[derive(Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Table {
    seed: u64,
    used: u32,
    free: u32,
    index: [u16; SLOTS],
    flows: [Flow; CAPACITY],
}

impl Table {
    /// Sets the hash seed of an empty table; once, with random bits.
    pub fn seed(&mut self, seed: u64) {
        if self.used == 0 {
            self.seed = seed;
        }
    }

    /// Conversations in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn hash(&self, key: &FlowKey) -> u32 {
        let mut state = self.seed;
        for word in key.as_bytes().as_chunks::<8>().0 {
            // Folded multiply: the 128-bit product's halves xored. The odd constant is 2^64 / golden ratio.
            let product =
                u128::from(state ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let [low, high] = halves(product);
            state = low ^ high ^ self.seed.rotate_left(23);
        }
        let [low, high] = halves(u128::from(state).wrapping_mul(0xd6e8_feb8_6659_fd93));
        u32::try_from((low ^ high) >> 32).unwrap_or_default()
    }

    fn slot(&self, at: usize) -> usize {
        self.index.get(at & MASK).copied().unwrap_or_default().into()
    }

    fn set_slot(&mut self, at: usize, value: u16) {
        if let Some(slot) = self.index.get_mut(at & MASK) {
            *slot = value;
        }
    }

    /// The conversation with this key.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        let hash = self.hash(key);
        let mut at = hash as usize & MASK;
        loop {
            let id = self.slot(at).checked_sub(1)?;
            let flow = self.flows.get(id)?;
            if flow.hash == hash && flow.key.as_bytes() == key.as_bytes() {
                return u16::try_from(id).ok().map(FlowId);
            }
            at = at.wrapping_add(1) & MASK;
        }
    }

    /// The flow at a place.
    #[must_use]
    pub fn flow(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(usize::from(id.0))
    }

    /// The same, to change. Its key and hash must stay.
    pub fn flow_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.flows.get_mut(usize::from(id.0))
    }

    /// Every conversation and every free slot, to change.
    pub fn flows_mut(&mut self) -> impl Iterator<Item = &mut Flow> {
        self.flows.iter_mut()
    }

    /// Adds a conversation that is not in the table; absent where there is no room.
    pub fn insert(&mut self, key: &FlowKey) -> Option<FlowId> {
        self.insert_at(self.place()?, key)
    }

    /// Adds a conversation that is not in the table at a free place ([`Table::place`]).
    pub fn insert_at(&mut self, id: FlowId, key: &FlowKey) -> Option<FlowId> {
        self.free = u32::from(id.0).wrapping_add(1);
        let hash = self.hash(key);
        let mut at = hash as usize & MASK;
        while self.slot(at) != 0 {
            at = at.wrapping_add(1) & MASK;
        }
        let flow = self.flows.get_mut(usize::from(id.0))?;
        flow.zero();
        flow.key = *key;
        flow.hash = hash;
        flow.set_state(State::Datagrams);
        self.set_slot(at, id.0.checked_add(1)?);
        self.used = self.used.saturating_add(1);
        Some(id)
    }

    /// The free place for the next conversation; absent where there is none.
    #[must_use]
    pub fn place(&self) -> Option<FlowId> {
        let is_free = |at: &usize| self.flows.get(*at).is_some_and(|flow| flow.state() == State::Free);
        let start = self.free as usize % CAPACITY;
        (start..CAPACITY).chain(0..start).find(is_free).and_then(|at| u16::try_from(at).ok()).map(FlowId)
    }

    /// Takes a conversation out.
    pub fn remove(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(usize::from(id.0)) else { return };
        if flow.state() == State::Free {
            return;
        }
        let mut at = flow.hash as usize & MASK;
        flow.zero();
        let wanted = usize::from(id.0).saturating_add(1);
        while self.slot(at) != wanted {
            if self.slot(at) == 0 {
                return;
            }
            at = at.wrapping_add(1) & MASK;
        }
        self.close_gap(at);
        self.used = self.used.saturating_sub(1);
    }

    /// Empties a place without looking at the index: [`Table::rebuild`] has to follow.
    pub fn clear(&mut self, id: FlowId) {
        if let Some(flow) = self.flow_mut(id) {
            flow.zero();
        }
    }

    /// Makes the index anew from the flows, after a change that was not brought to its end. A flow whose key is not
    /// whole, or stands twice, is taken out.
    pub fn rebuild(&mut self) {
        self.index.fill(0);
        self.used = 0;
        for id in (0..CAPACITY).filter_map(|at| u16::try_from(at).ok()) {
            let Some(flow) = self.flow(FlowId(id)) else { continue };
            let hash = self.hash(&flow.key);
            if flow.state() == State::Free || flow.hash != hash || self.find(&flow.key).is_some() {
                self.clear(FlowId(id));
                continue;
            }
            let mut at = hash as usize & MASK;
            while self.slot(at) != 0 {
                at = at.wrapping_add(1) & MASK;
            }
            self.set_slot(at, id.saturating_add(1));
            self.used = self.used.saturating_add(1);
        }
    }

    /// Shifts what was pushed past `hole` by collisions back into it.
    fn close_gap(&mut self, mut hole: usize) {
        let mut at = hole.wrapping_add(1) & MASK;
        while let Some(id) = self.slot(at).checked_sub(1) {
            let home = self.flows.get(id).map_or(at, |flow| flow.hash as usize & MASK);
            // The entry may move to the hole unless its home lies between the hole and itself.
            let from_home = at.wrapping_sub(home) & MASK;
            let from_hole = at.wrapping_sub(hole) & MASK;
            if from_home >= from_hole {
                let value = u16::try_from(id.saturating_add(1)).unwrap_or_default();
                self.set_slot(hole, value);
                hole = at;
            }
            at = at.wrapping_add(1) & MASK;
        }
        self.set_slot(hole, 0);
    }
}

fn halves(product: u128) -> [u64; 2] {
    [
        u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default(),
        u64::try_from(product >> 64).unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(n: u16) -> FlowKey {
        let mut key = FlowKey::new_zeroed();
        key.plant.port = n;
        key
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0_u16..300, any::<bool>()), 1..600)) {
            let mut table = Table::new_box_zeroed().unwrap();
            table.seed(7);
            let mut model = HashMap::new();
            for (n, add) in steps {
                if add && !model.contains_key(&n) {
                    model.insert(n, table.insert(&key(n)).unwrap());
                } else if !add && let Some(id) = model.remove(&n) {
                    table.remove(id);
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for n in 0..300 {
                prop_assert_eq!(table.find(&key(n)), model.get(&n).copied());
            }
        }
    }

    #[test]
    fn a_rebuilt_index_finds_what_was_whole() {
        let mut table = Table::new_box_zeroed().unwrap();
        table.seed(7);
        let ids: Vec<_> = (0..300).map(|n| table.insert(&key(n)).unwrap()).collect();
        // Any part of the index may be torn, and of some entries the key.
        table.index.iter_mut().step_by(3).for_each(|slot| *slot = 77);
        table.flow_mut(ids[5]).unwrap().key = key(6);
        table.flow_mut(ids[7]).unwrap().hash ^= 1;
        table.rebuild();
        assert_eq!(table.len(), 298);
        for n in 0..300_u16 {
            let whole = n != 5 && n != 7;
            assert_eq!(table.find(&key(n)), whole.then(|| ids[usize::from(n)]));
        }
    }

    #[test]
    fn hash_spreads_neighbouring_ports() {
        let mut table = Table::new_box_zeroed().unwrap();
        table.seed(0x1234_5678_9abc_def0);
        let mut homes: Vec<_> = (0..2000).map(|n| table.hash(&key(n)) as usize & MASK).collect();
        homes.sort_unstable();
        homes.dedup();
        // 2,000 balls in 8,192 bins leave 1,775 bins hit on average.
        assert!(homes.len() > 1700, "{}", homes.len());
    }

    #[test]
    fn a_full_table_takes_no_more_and_finds_all() {
        let mut table = Table::new_box_zeroed().unwrap();
        for n in 0..CAPACITY as u16 {
            assert!(table.insert(&key(n)).is_some());
        }
        assert_eq!(table.insert(&key(60_000)), None);
        let id = table.find(&key(77)).unwrap();
        table.remove(id);
        assert_eq!(table.insert(&key(60_000)), Some(id));
        assert!((0..CAPACITY as u16).filter(|n| table.find(&key(*n)).is_some()).count() == CAPACITY - 1);
    }
}
