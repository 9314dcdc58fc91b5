//! TCP options (RFC 9293, 3.2).

use dissect::DissectError;

/// Up to four ranges of sequence numbers that arrived out of order (RFC 2018, 3): first number, number after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(u32, u32); 4],
    len: u8,
}

impl SackBlocks {
    /// The blocks, in the order sent.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        self.blocks.get(..usize::from(self.len)).unwrap_or(&self.blocks)
    }

    fn push(&mut self, block: (u32, u32)) {
        if let Some(slot) = self.blocks.get_mut(usize::from(self.len)) {
            *slot = block;
            self.len = self.len.saturating_add(1);
        }
    }
}

/// One TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Kind 1: padding between options.
    NoOperation,
    /// Kind 2: the largest segment that the sender takes, in bytes (RFC 9293, 3.7.1).
    MaximumSegmentSize(u16),
    /// Kind 3: shift count of the window field (RFC 7323, 2.2), as sent; above 14 counts as 14.
    WindowScale(u8),
    /// Kind 4: selective acknowledgments are understood (RFC 2018, 2).
    SackPermitted,
    /// Kind 5: selective acknowledgments (RFC 2018, 3).
    Sack(SackBlocks),
    /// Kind 8: timestamps (RFC 7323, 3.2).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The last clock seen from the other side; without meaning when ACK is not set.
        echo_reply: u32,
    },
    /// Kind 19: MD5 signature (RFC 2385); the digest.
    Md5(&'a [u8]),
    /// Kind 29: authentication option (RFC 5925, 2.2); key ids and code.
    Authentication(&'a [u8]),
    /// Kind 30: Multipath TCP (RFC 8684, 3).
    Multipath(&'a [u8]),
    /// Kind 34: Fast Open cookie (RFC 7413, 4.1.1); empty asks for one.
    FastOpen(&'a [u8]),
    /// Any other kind, or one of the above with a length that it can't have; receivers skip both.
    Unknown {
        /// The option's kind.
        kind: u8,
        /// What follows kind and length.
        data: &'a [u8],
    },
}

/// A reader of options that ends at the end-of-list option, at the end of the bytes or after the first error.
///
/// It reads as Linux does: an option whose length does not suit its kind is skipped and those behind it count; only a
/// length below 2 or beyond the end is an error and ends the list.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> TcpOptions<'a> {
    /// A reader of the bytes between the fixed header and the data.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// Where the next option starts, in bytes from the first option.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.total.saturating_sub(self.rest.len())
    }

    fn fail(&mut self) -> Option<Result<TcpOption<'a>, DissectError>> {
        let error = DissectError::malformed("TCP option length", self.offset());
        self.rest = &[];
        Some(Err(error))
    }
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = Result<TcpOption<'a>, DissectError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, len) = match *self.rest {
            [] => return None,
            [0, ..] => {
                self.rest = &[];
                return None;
            }
            [1, ref rest @ ..] => {
                self.rest = rest;
                return Some(Ok(TcpOption::NoOperation));
            }
            [_] => return self.fail(),
            [kind, len, ..] => (kind, len),
        };
        let Some((option, rest)) = self.rest.split_at_checked(usize::from(len)) else {
            return self.fail();
        };
        let [_, _, data @ ..] = option else { return self.fail() };
        let option = match (kind, data) {
            (2, &[a, b]) => TcpOption::MaximumSegmentSize(u16::from_be_bytes([a, b])),
            (3, &[shift]) => TcpOption::WindowScale(shift),
            (4, []) => TcpOption::SackPermitted,
            (5, data) if !data.is_empty() && data.len().is_multiple_of(8) => {
                let mut blocks = SackBlocks::default();
                for &[a, b, c, d, e, f, g, h] in data.as_chunks::<8>().0 {
                    blocks.push((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
                }
                TcpOption::Sack(blocks)
            }
            (8, &[a, b, c, d, e, f, g, h]) => TcpOption::Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo_reply: u32::from_be_bytes([e, f, g, h]),
            },
            (19, data) => TcpOption::Md5(data),
            (29, data) => TcpOption::Authentication(data),
            (30, data) => TcpOption::Multipath(data),
            (34, data) => TcpOption::FastOpen(data),
            (kind, data) => TcpOption::Unknown { kind, data },
        };
        self.rest = rest;
        Some(Ok(option))
    }
}

/// All options of one segment; of an option given twice the last one counts, as in Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptionSummary {
    /// Largest segment that the sender takes, in bytes.
    pub maximum_segment_size: Option<u16>,
    /// Shift count of the window field, as sent.
    pub window_scale: Option<u8>,
    /// Selective acknowledgments are understood.
    pub sack_permitted: bool,
    /// Selective acknowledgments.
    pub sack: SackBlocks,
    /// Timestamp value and echo reply.
    pub timestamps: Option<(u32, u32)>,
    /// A Fast Open cookie or request for one.
    pub fast_open: bool,
    /// Multipath TCP.
    pub multipath: bool,
    /// An MD5 signature.
    pub md5: bool,
    /// An authentication option.
    pub authentication: bool,
    /// An option of a kind that is not read here.
    pub unknown: bool,
    /// An option has a length that it can't have, or the list ends in the middle of one.
    pub malformed: bool,
}

impl TcpOptionSummary {
    /// Reads the bytes between the fixed header and the data.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut all = Self::default();
        for option in TcpOptions::new(bytes) {
            match option {
                Ok(TcpOption::NoOperation) => {}
                Ok(TcpOption::MaximumSegmentSize(size)) => all.maximum_segment_size = Some(size),
                Ok(TcpOption::WindowScale(shift)) => all.window_scale = Some(shift),
                Ok(TcpOption::SackPermitted) => all.sack_permitted = true,
                Ok(TcpOption::Sack(blocks)) => all.sack = blocks,
                Ok(TcpOption::Timestamps { value, echo_reply }) => all.timestamps = Some((value, echo_reply)),
                Ok(TcpOption::Md5(_)) => all.md5 = true,
                Ok(TcpOption::Authentication(_)) => all.authentication = true,
                Ok(TcpOption::Multipath(_)) => all.multipath = true,
                Ok(TcpOption::FastOpen(_)) => all.fast_open = true,
                // Fast Open's experimental form, which Linux still reads: a shared kind and an identifier (RFC 6994).
                Ok(TcpOption::Unknown { kind: 253 | 254, data: [0xf9, 0x89, ..] }) => all.fast_open = true,
                Ok(TcpOption::Unknown { kind: 2..=5 | 8, .. }) => all.malformed = true,
                Ok(TcpOption::Unknown { .. }) => all.unknown = true,
                Err(_) => all.malformed = true,
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::TcpOption as Theirs;

    #[test]
    fn a_linux_syn() {
        let bytes = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7];
        let all = TcpOptionSummary::of(&bytes);
        assert_eq!(all.maximum_segment_size, Some(1460));
        assert_eq!(all.timestamps, Some((7, 0)));
        assert_eq!(all.window_scale, Some(7));
        assert!(all.sack_permitted && !all.malformed && !all.unknown && !all.fast_open);
    }

    #[test]
    fn the_options_that_matter_to_a_gate() {
        let all = TcpOptionSummary::of(&[34, 2, 30, 4, 0, 0, 253, 2, 19, 3, 0, 29, 2]);
        assert!(all.fast_open && all.multipath && all.md5 && all.authentication && all.unknown && !all.malformed);
    }

    #[test]
    fn stops_at_the_end_and_at_nonsense() {
        assert_eq!(TcpOptions::new(&[0, 3, 3, 7]).count(), 0);
        for bad in [&[2, 4, 1][..], &[3, 0, 0], &[3, 1, 0], &[8], &[253, 9, 0]] {
            let mut options = TcpOptions::new(bad);
            assert!(matches!(options.next(), Some(Err(_))), "{bad:?}");
            assert_eq!(options.next(), None);
            assert!(TcpOptionSummary::of(bad).malformed);
        }
    }

    #[test]
    fn nothing_hides_behind_an_option_of_wrong_length() {
        for bad in [&[2, 3, 1][..], &[3, 2], &[4, 3, 0], &[5, 2], &[5, 9, 0, 0, 0, 0, 0, 0, 0], &[8, 4, 0, 0]] {
            let all = TcpOptionSummary::of(&[bad, &[34, 2]].concat());
            assert!(all.malformed && all.fast_open && !all.unknown, "{bad:?}");
        }
        assert!(TcpOptionSummary::of(&[254, 4, 0xf9, 0x89]).fast_open);
    }

    proptest! {
        #[test]
        fn agrees_with_smoltcp(bytes in proptest::collection::vec(prop_oneof![0u8..12, any::<u8>()], 0..40)) {
            let mut ours = TcpOptions::new(&bytes);
            let mut rest = &bytes[..];
            loop {
                let at = ours.offset();
                let our = ours.next();
                if our.is_none() {
                    prop_assert!(rest.is_empty() || matches!(Theirs::parse(rest), Ok((_, Theirs::EndOfList))));
                    break;
                }
                prop_assert_eq!(at, bytes.len() - rest.len());
                match (our.unwrap(), Theirs::parse(rest)) {
                    (Err(_), Err(_)) => break,
                    // The stricter reader ends here.
                    (Ok(TcpOption::Unknown { kind: 2..=5, .. }), Err(_)) => break,
                    (Ok(our), Ok((next, their))) => {
                        match (our, their) {
                            (TcpOption::NoOperation, Theirs::NoOperation)
                            | (TcpOption::SackPermitted, Theirs::SackPermitted) => {}
                            (TcpOption::MaximumSegmentSize(a), Theirs::MaxSegmentSize(b)) => prop_assert_eq!(a, b),
                            (TcpOption::WindowScale(a), Theirs::WindowScale(b)) => prop_assert_eq!(a, b),
                            (TcpOption::Sack(a), Theirs::SackRange(b)) => {
                                let b: Vec<_> = b.into_iter().flatten().collect();
                                prop_assert_eq!(&a.as_slice()[..b.len()], &b[..]);
                            }
                            (TcpOption::Timestamps { value, echo_reply }, Theirs::TimeStamp { tsval, tsecr }) => {
                                prop_assert_eq!((value, echo_reply), (tsval, tsecr));
                            }
                            (TcpOption::Unknown { kind, data }, Theirs::Unknown { kind: k, data: d }) => {
                                prop_assert_eq!((kind, data), (k, d));
                            }
                            (TcpOption::Md5(data), Theirs::Unknown { kind: 19, data: d })
                            | (TcpOption::Authentication(data), Theirs::Unknown { kind: 29, data: d })
                            | (TcpOption::Multipath(data), Theirs::Unknown { kind: 30, data: d })
                            | (TcpOption::FastOpen(data), Theirs::Unknown { kind: 34, data: d }) => {
                                prop_assert_eq!(data, d);
                            }
                            (our, their) => prop_assert!(false, "{:?} against {:?}", our, their),
                        }
                        rest = next;
                    }
                    (our, their) => prop_assert!(false, "{:?} against {:?}", our, their),
                }
            }
        }
    }
}
