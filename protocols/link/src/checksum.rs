//! The Internet checksum (RFC 1071), its pseudo-headers and incremental update (RFC 1624).
//!
//! A sum here is the folded ones'-complement sum, not complemented; a checksum is its complement, as it stands in a
//! header.

use core::net::{Ipv4Addr, Ipv6Addr};

/// What a transport checksum on the wire turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// It fits.
    Valid,
    /// The sum of the pseudo-header alone: the sender left the rest to its network card, and the frame was captured
    /// before that. Never seen on a wire.
    Partial,
    /// UDP over IPv4 without a checksum (RFC 768).
    Absent,
    /// It does not fit; a receiver drops the packet.
    Invalid,
}

impl Checksum {
    /// Whether a receiver takes the packet: valid or absent.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Valid | Self::Absent)
    }
}

/// Folds a wide sum to 16 bits with end-around carry.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add((sum >> 16) & 0xffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let [.., high, low] = sum.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The sum of `bytes` as big-endian 16-bit words; an odd last byte counts as the high half of a word.
///
/// Cost: about 0.1 ns a byte.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    // Native order: the ones'-complement sum commutes with swapping bytes (RFC 1071, 2.B).
    let add = |sum: u64, word: u64| {
        let (sum, carry) = sum.overflowing_add(word);
        // Never wraps: a sum that carried is below its largest value.
        sum.wrapping_add(u64::from(carry))
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let total = words.iter().fold(0, |sum, word| add(sum, u64::from_ne_bytes(*word)));
    let (half, rest) = rest.as_chunks::<4>();
    let total = half.iter().fold(total, |sum, word| add(sum, u64::from(u32::from_ne_bytes(*word))));
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let total = add(total, u64::from(u32::from_ne_bytes(last)));
    u16::from_be_bytes(fold(total).to_ne_bytes())
}

/// The sum of two sums.
#[inline]
#[must_use]
pub const fn combine(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    if carry { sum.wrapping_add(1) } else { sum }
}

/// The sum of the IPv4 pseudo-header (RFC 9293, 3.1): addresses, `protocol` and the `len` of the transport segment.
#[inline]
#[must_use]
pub fn pseudo_header_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: u16) -> u16 {
    let wide = u64::from(source.to_bits())
        .wrapping_add(u64::from(destination.to_bits()))
        .wrapping_add(u64::from(protocol))
        .wrapping_add(u64::from(len));
    fold(wide)
}

/// The sum of the IPv6 pseudo-header (RFC 8200, 8.1): addresses, `next_header` and the `len` of the transport segment.
#[inline]
#[must_use]
pub fn pseudo_header_v6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, len: u32) -> u16 {
    let addresses = combine(sum(&source.octets()), sum(&destination.octets()));
    combine(addresses, fold(u64::from(len).wrapping_add(u64::from(next_header))))
}

/// The checksum after one 16-bit word of what it covers changed from `old` to `new` (RFC 1624, equation 3).
///
/// Both words in host order; the word has to lie at an even offset of the covered bytes. Cost: 1 ns.
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !combine(combine(!checksum, !old), new)
}

/// The checksum after a 32-bit field, such as a sequence number, changed from `old` to `new`.
#[inline]
#[must_use]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    !combine(combine(!checksum, fold(!old as u64)), fold(new as u64))
}

/// The checksum after a run of bytes at an even offset changed from `old` to `new`, two runs of the same length.
#[must_use]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !combine(combine(!checksum, !sum(old)), sum(new))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::{IpProtocol, checksum as theirs};

    #[test]
    fn rfc_1071_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: the header whose checksum is 0xdd2f, a field going from 0x5555 to 0x3285, must give 0x0000.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    fn slow(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    proptest! {
        #[test]
        fn sums_agree(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sum(&bytes), slow(&bytes));
            prop_assert_eq!(sum(&bytes), theirs::data(&bytes));
        }

        #[test]
        fn pseudo_headers_agree(a: u32, b: u32, c: u128, d: u128, protocol: u8, len: u16) {
            let (a, b, c, d) = (a.into(), b.into(), c.into(), d.into());
            let theirs_v4 = theirs::pseudo_header_v4(&a, &b, IpProtocol::from(protocol), len.into());
            prop_assert_eq!(pseudo_header_v4(a, b, protocol, len), theirs_v4);
            let theirs_v6 = theirs::pseudo_header_v6(&c, &d, IpProtocol::from(protocol), len.into());
            prop_assert_eq!(pseudo_header_v6(c, d, protocol, len.into()), theirs_v6);
        }

        #[test]
        fn updates_agree_with_summing_again(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..64), at in 1usize..3, new: u32,
        ) {
            // A header that is never all zero, as no IP or TCP header is: then 0 and 0xffff don't both occur.
            bytes[0] |= 0x40;
            let before = !sum(&bytes);
            let at = at * 2;
            let old = bytes[at..at + 4].to_vec();
            let old32 = u32::from_be_bytes([old[0], old[1], old[2], old[3]]);
            bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
            let after = !sum(&bytes);
            prop_assert_eq!(update32(before, old32, new), after);
            prop_assert_eq!(update_bytes(before, &old, &new.to_be_bytes()), after);
            let halves = update(update(before, (old32 >> 16) as u16, (new >> 16) as u16), old32 as u16, new as u16);
            prop_assert_eq!(halves, after);
        }
    }
}
