use link::seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::Reason;

/// Bytes that one direction of a connection can keep. Source: the product's specification, 64 KiB a direction: the
/// largest window without scaling, and room for the 42 to 48 kB programs that real clients upload.
pub const STORE: usize = 64 * 1024;

/// Ranges held beyond a hole. At 5 % loss a window of 45 segments has two or three holes; more than 8 is a storm, and the
/// sender repeats what is dropped.
pub const AHEAD: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Range {
    from: u32,
    to: u32,
}

/// One direction of a TCP connection put in order: positions into a store that the caller keeps. Plain data.
///
/// All positions are sequence numbers as the receiver sees them (outgoing). As long as nothing was cut or put in they
/// are the sender's own; afterwards the two differ by [`Stream::shift`], and [`Stream::incoming`] and
/// [`Stream::outgoing`] translate. One shift is enough: whoever cuts or inserts acknowledges to the sender itself, so
/// bytes before the last change never come up again.
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
    /// Sender's number minus receiver's number of the bytes from `released` on.
    shift: u32,
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
            shift: 0,
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

    /// How far the sender's numbers are ahead of the receiver's: what was cut minus what was put in.
    #[must_use]
    pub fn shift(&self) -> u32 {
        self.shift
    }

    /// The receiver's number for the sender's number `seq` of a byte that was not let go yet.
    #[must_use]
    pub fn outgoing(&self, seq: u32) -> u32 {
        seq.wrapping_sub(self.shift)
    }

    /// The sender's number for the receiver's number `seq` of a byte that was not let go yet.
    #[must_use]
    pub fn incoming(&self, seq: u32) -> u32 {
        seq.wrapping_add(self.shift)
    }

    /// Bytes kept in order, let go or not.
    #[must_use]
    pub fn buffered(&self) -> u32 {
        span(self.base, self.accepted)
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

    /// The ranges kept beyond holes, as the sender numbers them: first byte, byte after the last.
    pub fn ranges_ahead(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ahead().iter().map(|range| (self.incoming(range.from), self.incoming(range.to)))
    }

    fn ahead(&self) -> &[Range] {
        self.ahead.get(..self.ahead_len as usize).unwrap_or_default()
    }

    /// The end of everything kept, holes included.
    pub(super) fn end(&self) -> u32 {
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

    /// Takes the next `len` held bytes out, so that what follows closes up.
    pub fn cut(&mut self, store: &mut [u8], len: usize) {
        let len = len.min(span(self.released, self.accepted) as usize);
        let from = self.offset(self.released);
        let end = self.offset(self.end()).min(store.len());
        let start = self.start as usize;
        let len_seq = u32::try_from(len).unwrap_or_default();
        // What lies before or what lies behind closes up, whichever is less: a flood of refused units moves nothing.
        if from.saturating_sub(start) <= end.saturating_sub(from.saturating_add(len)) {
            store.copy_within(start..from, start.saturating_add(len));
            self.start = self.start.saturating_add(len_seq);
        } else {
            store.copy_within(from.saturating_add(len).min(end)..end, from);
        }
        let len = len_seq;
        self.accepted = self.accepted.wrapping_sub(len);
        self.move_ahead(len.wrapping_neg());
        self.shift = self.shift.wrapping_add(len);
    }

    /// Puts `bytes` of our own right behind what was let go, and lets them go.
    ///
    /// # Errors
    /// [`Reason::StoreFull`]; nothing changed.
    pub fn put_in(&mut self, store: &mut [u8], bytes: &[u8]) -> Result<(), Reason> {
        let Ok(len) = u32::try_from(bytes.len()) else { return Err(Reason::StoreFull) };
        self.make_room(store, self.end().wrapping_add(len))?;
        let from = self.offset(self.released);
        let end = self.offset(self.end()).min(store.len());
        store.copy_within(from..end, from.saturating_add(bytes.len()));
        let Some(room) = store.get_mut(from..from.saturating_add(bytes.len())) else { return Err(Reason::StoreFull) };
        room.copy_from_slice(bytes);
        self.released = self.released.wrapping_add(len);
        self.accepted = self.accepted.wrapping_add(len);
        self.move_ahead(len);
        self.shift = self.shift.wrapping_sub(len);
        Ok(())
    }

    fn move_ahead(&mut self, by: u32) {
        for range in self.ahead.iter_mut().take(self.ahead_len as usize) {
            range.from = range.from.wrapping_add(by);
            range.to = range.to.wrapping_add(by);
        }
    }

    /// Copies everything kept from one store to the start of another. Says whether it has the room.
    pub(super) fn relocate(&mut self, from: &[u8], to: &mut [u8]) -> bool {
        let kept = from.get(self.start as usize..self.offset(self.end())).unwrap_or_default();
        let Some(room) = to.get_mut(..kept.len()) else { return false };
        room.copy_from_slice(kept);
        self.start = 0;
        true
    }

    /// The next `len` held bytes, to be changed.
    pub(super) fn held_mut<'s>(&self, store: &'s mut [u8], len: usize) -> &'s mut [u8] {
        let from = self.offset(self.released);
        let len = len.min(span(self.released, self.accepted) as usize);
        store.get_mut(from..from.saturating_add(len)).unwrap_or_default()
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

    /// Forgets what is kept beyond holes, and what was not let go.
    pub(super) fn forget_held(&mut self) {
        self.ahead_len = 0;
        self.shift = self.shift.wrapping_add(span(self.released, self.accepted));
        self.accepted = self.released;
    }
}

/// Bytes from sequence number `from` up to `to`, which is not before it.
pub(super) const fn span(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from)
}
