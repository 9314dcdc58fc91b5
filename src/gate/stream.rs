use link::seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::Reason;

/// Bytes that one direction of a connection can keep. Source: the product's specification, 64 KiB a direction: the
/// largest window without scaling, and room for the 42 to 48 kB programs that real clients upload.
pub const STORE: usize = 64 * 1024;

/// Ranges held beyond a hole. More than 4 holes in one window is a storm: the sender repeats what is dropped.
pub const AHEAD: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Range {
    from: u32,
    to: u32,
}

/// One direction of a TCP connection put in order: positions into a store that the caller keeps. Plain data.
///
/// Invariant: `base <= released <= accepted` in sequence order, `accepted - base <= STORE`, every range ahead begins
/// after `accepted`, ranges are apart and ascending, and the byte with sequence number `s` in any of them is
/// `store[start + (s - base)]`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Stream {
    base: u32,
    released: u32,
    accepted: u32,
    start: u32,
    ahead: [Range; AHEAD],
    ahead_len: u32,
    reserved: u32,
}

impl Stream {
    /// An empty stream whose first byte will have sequence number `seq`.
    #[must_use]
    pub fn new(seq: u32) -> Self {
        Self {
            base: seq,
            released: seq,
            accepted: seq,
            start: 0,
            ahead: [Range::default(); AHEAD],
            ahead_len: 0,
            reserved: 0,
        }
    }

    /// Sequence number of the first byte kept.
    #[must_use]
    pub fn base(&self) -> u32 {
        self.base
    }

    /// Sequence number of the first byte not let go.
    #[must_use]
    pub fn released(&self) -> u32 {
        self.released
    }

    /// Sequence number of the first byte not received in order.
    #[must_use]
    pub fn accepted(&self) -> u32 {
        self.accepted
    }

    /// Whether all that was received was let go and no hole is open.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.released == self.accepted && self.ahead_len == 0
    }

    /// Whether bytes wait behind a hole.
    #[must_use]
    pub fn has_hole(&self) -> bool {
        self.ahead_len != 0
    }

    /// The bytes received in order and not let go.
    #[must_use]
    pub fn held<'s>(&self, store: &'s [u8]) -> &'s [u8] {
        self.bytes(store, self.released, self.accepted)
    }

    /// The kept bytes from sequence number `from` up to `to`; empty where they are not kept.
    #[must_use]
    pub fn bytes<'s>(&self, store: &'s [u8], from: u32, to: u32) -> &'s [u8] {
        store.get(self.offset(from)..self.offset(to)).unwrap_or_default()
    }

    fn offset(&self, at: u32) -> usize {
        (self.start as usize).saturating_add(span(self.base, at) as usize)
    }

    fn ahead(&self) -> &[Range] {
        self.ahead.get(..self.ahead_len as usize).unwrap_or_default()
    }

    /// The end of everything kept, holes included.
    fn end(&self) -> u32 {
        self.ahead().last().map_or(self.accepted, |range| range.to)
    }

    /// Whether a kept byte differs from the byte that `payload` brings for the same sequence number.
    #[must_use]
    pub fn conflicts_with(&self, store: &[u8], start: u32, payload: &[u8]) -> bool {
        let kept = core::iter::once(Range { from: self.base, to: self.accepted }).chain(self.ahead().iter().copied());
        let Ok(len) = u32::try_from(payload.len()) else { return true };
        let end = start.wrapping_add(len);
        kept.into_iter().any(|range| {
            let from = seq::max(range.from, start);
            let to = seq::min(range.to, end);
            if !seq::before(from, to) {
                return false;
            }
            let skip = span(start, from) as usize;
            let take = span(from, to) as usize;
            let brought = payload.get(skip..skip.saturating_add(take)).unwrap_or_default();
            brought != self.bytes(store, from, to)
        })
    }

    /// Puts `payload` right behind the last byte in order.
    ///
    /// # Errors
    /// [`Reason::StoreFull`]; nothing changed.
    pub fn append(&mut self, store: &mut [u8], payload: &[u8]) -> Result<(), Reason> {
        let Ok(len) = u32::try_from(payload.len()) else { return Err(Reason::StoreFull) };
        let end = self.accepted.wrapping_add(len);
        self.make_room(store, end)?;
        let (from, to) = (self.offset(self.accepted), self.offset(end));
        let Some(room) = store.get_mut(from..to) else { return Err(Reason::StoreFull) };
        room.copy_from_slice(payload);
        self.accepted = end;
        Ok(())
    }

    /// Puts `payload`, whose first byte has sequence number `start`, where it belongs; bytes that are kept already stay
    /// as they were first received.
    ///
    /// # Errors
    /// [`Reason::StoreFull`], or [`Reason::OutOfOrder`] for one hole more than can be kept; nothing changed.
    pub fn insert(&mut self, store: &mut [u8], start: u32, payload: &[u8]) -> Result<(), Reason> {
        let Ok(len) = u32::try_from(payload.len()) else { return Err(Reason::StoreFull) };
        let end = start.wrapping_add(len);
        let from = seq::max(start, self.accepted);
        if !seq::before(from, end) {
            return Ok(());
        }
        let mut merged = Range { from, to: end };
        let mut kept = [Range::default(); AHEAD + 1];
        let mut kept_len = 0_usize;
        let old = self.ahead;
        let old = old.get(..self.ahead_len as usize).unwrap_or_default();
        for range in old {
            let touches = !seq::before(merged.to, range.from) && !seq::before(range.to, merged.from);
            if touches {
                merged = Range { from: seq::min(merged.from, range.from), to: seq::max(merged.to, range.to) };
            } else if let Some(slot) = kept.get_mut(kept_len) {
                *slot = *range;
                kept_len = kept_len.saturating_add(1);
            }
        }
        let in_order = merged.from == self.accepted;
        if !in_order {
            if kept_len >= AHEAD {
                return Err(Reason::OutOfOrder);
            }
            if let Some(slot) = kept.get_mut(kept_len) {
                *slot = merged;
                kept_len = kept_len.saturating_add(1);
            }
        }
        self.make_room(store, seq::max(end, self.end()))?;
        self.copy_gaps(store, start, payload, old);
        if in_order {
            self.accepted = merged.to;
        }
        if let Some(ranges) = kept.get_mut(..kept_len) {
            ranges.sort_unstable_by_key(|range| span(self.base, range.from));
        }
        for (slot, range) in self.ahead.iter_mut().zip(kept) {
            *slot = range;
        }
        self.ahead_len = u32::try_from(kept_len).unwrap_or_default();
        Ok(())
    }

    /// Copies the bytes of `payload` that lie behind `accepted` and in none of `old`: the first copy of a byte stays.
    fn copy_gaps(&self, store: &mut [u8], start: u32, payload: &[u8], old: &[Range]) {
        let Ok(len) = u32::try_from(payload.len()) else { return };
        let end = start.wrapping_add(len);
        let mut at = seq::max(start, self.accepted);
        let behind = Range { from: end, to: end };
        for range in old.iter().chain(core::iter::once(&behind)) {
            let to = seq::min(range.from, end);
            if seq::before(at, to) {
                let skip = span(start, at) as usize;
                let take = span(at, to) as usize;
                let offset = self.offset(at);
                let source = payload.get(skip..skip.saturating_add(take));
                let target = store.get_mut(offset..offset.saturating_add(take));
                if let (Some(target), Some(source)) = (target, source) {
                    target.copy_from_slice(source);
                }
            }
            at = seq::max(at, range.to);
        }
    }

    /// Moves the kept bytes to the front of the store where `end` would lie beyond it.
    fn make_room(&mut self, store: &mut [u8], end: u32) -> Result<(), Reason> {
        if self.offset(end) <= store.len() {
            return Ok(());
        }
        if span(self.base, end) as usize > store.len() {
            return Err(Reason::StoreFull);
        }
        let from = self.start as usize;
        store.copy_within(from..self.offset(self.end()).min(store.len()), 0);
        self.start = 0;
        Ok(())
    }

    /// Lets `len` more bytes go.
    pub fn release(&mut self, len: usize) {
        let held = span(self.released, self.accepted);
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(held);
        self.released = self.released.wrapping_add(len);
    }

    /// Forgets the bytes before `ack`, which were let go and have arrived.
    pub fn acknowledge(&mut self, ack: u32) {
        if !seq::before(self.base, ack) || seq::before(self.released, ack) {
            return;
        }
        self.start = self.start.saturating_add(span(self.base, ack));
        self.base = ack;
        if self.base == self.accepted && self.ahead_len == 0 {
            self.start = 0;
        }
    }
}

/// Bytes from sequence number `from` up to `to`, which is not before it.
pub(super) const fn span(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from)
}
