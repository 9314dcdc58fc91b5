//! VLAN tags (IEEE 802.1Q-2018, clause 9).

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One VLAN tag: tag protocol identifier and tag control information, in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tag {
    /// Tag protocol identifier: 0x8100 (C-tag) or 0x88a8 (S-tag).
    pub tpid: u16,
    /// Tag control information: priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub tci: u16,
}

impl Tag {
    /// The VLAN identifier, 0 to 4095; 0 is a priority tag, which names no VLAN.
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    #[must_use]
    pub const fn priority(self) -> u16 {
        self.tci >> 13
    }

    /// What a receiver tells VLANs apart by; `None` for a priority tag.
    const fn vlan(self) -> Option<(u16, u16)> {
        if self.vid() == 0 { None } else { Some((self.tpid, self.vid())) }
    }
}

/// The tags of a frame, outermost first, at most two; plain data.
///
/// Derived equality compares every bit; use [`Tags::same_stack`] to ask whether two frames are in the same VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tags {
    stack: [Tag; 2],
    /// How many of `stack` are in use; unused entries are zero, so that equality of bytes is equality of tags.
    len: u16,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { stack: [Tag { tpid: 0, tci: 0 }; 2], len: 0 };
    /// The most tags that a frame may carry.
    pub const MAX: usize = 2;

    /// The given tags, outermost first; `None` when there are more than two.
    #[must_use]
    pub fn new(tags: &[Tag]) -> Option<Self> {
        let mut all = Self::NONE;
        tags.iter().all(|tag| all.push(*tag)).then_some(all)
    }

    /// Adds a tag inside the others; `false`, and nothing changed, when two are there already.
    pub fn push(&mut self, tag: Tag) -> bool {
        let Some(slot) = self.stack.get_mut(usize::from(self.len)) else { return false };
        *slot = tag;
        self.len = self.len.saturating_add(1);
        true
    }

    /// The tags, outermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[Tag] {
        self.stack.get(..usize::from(self.len)).unwrap_or(&self.stack)
    }

    /// How many tags there are, 0 to 2.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no tag at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Bytes that the tags take in a frame.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.len().saturating_mul(4)
    }

    /// The outermost VLAN identifier that is not 0; `None` when the frame belongs to no VLAN.
    #[must_use]
    pub fn vid(&self) -> Option<u16> {
        self.as_slice().iter().map(|tag| tag.vid()).find(|vid| *vid != 0)
    }

    /// Whether two frames belong to the same VLAN: the same identifiers under the same tag protocol identifiers in the
    /// same order, where VLAN identifier 0 at any depth counts as no tag and priorities don't count.
    ///
    /// A Linux receiver delivers untagged and priority-tagged segments, singly or doubly, to the same socket.
    #[must_use]
    pub fn same_stack(&self, other: &Self) -> bool {
        let [a, b] = self.vlans();
        let [c, d] = other.vlans();
        a == c && b == d
    }

    fn vlans(&self) -> [Option<(u16, u16)>; 2] {
        let [outer, inner] = self.stack.map(Tag::vlan);
        if outer.is_none() { [inner, None] } else { [outer, inner] }
    }
}

impl fmt::Display for Tags {
    /// `8100:5` for each tag, outermost first, joined by slashes; `untagged` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.pad("untagged");
        }
        for (index, tag) in self.as_slice().iter().enumerate() {
            let slash = if index == 0 { "" } else { "/" };
            write!(f, "{slash}{:04x}:{}", tag.tpid, tag.vid())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &[(u16, u16)]) -> Tags {
        let list: Vec<Tag> = list.iter().map(|&(tpid, tci)| Tag { tpid, tci }).collect();
        Tags::new(&list).unwrap()
    }

    #[test]
    fn vid_0_counts_as_untagged_at_any_depth() {
        let untagged = [tags(&[]), tags(&[(0x8100, 0)]), tags(&[(0x88a8, 0xe000)]), tags(&[(0x8100, 0), (0x8100, 0)])];
        for a in &untagged {
            for b in &untagged {
                assert!(a.same_stack(b), "{a} {b}");
            }
            assert!(!a.same_stack(&tags(&[(0x8100, 5)])));
            assert_eq!(a.vid(), None);
        }
        let five = [
            tags(&[(0x8100, 5)]),
            tags(&[(0x8100, 0x6005)]),
            tags(&[(0x88a8, 0), (0x8100, 5)]),
            tags(&[(0x8100, 5), (0x8100, 0)]),
        ];
        for a in &five {
            for b in &five {
                assert!(a.same_stack(b), "{a} {b}");
            }
            assert_eq!(a.vid(), Some(5));
        }
        assert!(!tags(&[(0x8100, 5)]).same_stack(&tags(&[(0x88a8, 5)])));
        assert!(!tags(&[(0x8100, 5), (0x8100, 6)]).same_stack(&tags(&[(0x8100, 6), (0x8100, 5)])));
    }

    #[test]
    fn holds_two_and_no_more() {
        let mut two = tags(&[(0x88a8, 7), (0x8100, 9)]);
        assert_eq!(two.to_string(), "88a8:7/8100:9");
        let before = two;
        assert!(!two.push(Tag { tpid: 0x8100, tci: 1 }));
        assert_eq!(two, before);
        assert_eq!(Tags::NONE.to_string(), "untagged");
        assert!(Tags::new(&[Tag::default(); 3]).is_none());
    }

    #[test]
    fn a_torn_length_reads_as_two() {
        let torn = Tags::read_from_bytes(&[0xff; 10]).unwrap();
        assert_eq!(torn.len(), 2);
    }
}
