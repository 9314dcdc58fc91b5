//! TCP sequence numbers (RFC 9293, 3.4): arithmetic modulo 2^32.
//!
//! `a` is before `b` when going forward from `a` reaches `b` in less than 2^31 steps. At a distance of exactly 2^31
//! each is before the other; no window is that large (RFC 7323, 2.2: at most 2^30).

/// Whether `a` comes before `b`.
#[inline]
#[must_use]
pub const fn before(a: u32, b: u32) -> bool {
    distance(b, a) < 0
}

/// Whether `a` comes after `b`.
#[inline]
#[must_use]
pub const fn after(a: u32, b: u32) -> bool {
    distance(b, a) > 0
}

/// How far it is from `from` to `to`: negative when `to` comes before `from`.
#[inline]
#[must_use]
pub const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

/// Whether `seq` is one of the `len` numbers from `start` on; an empty window holds none.
#[inline]
#[must_use]
pub const fn in_window(seq: u32, start: u32, len: u32) -> bool {
    seq.wrapping_sub(start) < len
}

/// Whether a segment of `len` numbers (data, SYN and FIN) from `seq` on is acceptable to a receiver that expects
/// `rcv_nxt` and has `rcv_wnd` room: the four cases of RFC 9293, table 6.
#[must_use]
pub const fn acceptable(seq: u32, len: u32, rcv_nxt: u32, rcv_wnd: u32) -> bool {
    match (len, rcv_wnd) {
        (0, 0) => seq == rcv_nxt,
        (0, _) => in_window(seq, rcv_nxt, rcv_wnd),
        (_, 0) => false,
        (_, _) => {
            let last = seq.wrapping_add(len).wrapping_sub(1);
            in_window(seq, rcv_nxt, rcv_wnd) || in_window(last, rcv_nxt, rcv_wnd)
        }
    }
}

/// The later of two numbers.
#[inline]
#[must_use]
pub const fn max(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// The earlier of two numbers.
#[inline]
#[must_use]
pub const fn min(a: u32, b: u32) -> u32 {
    if before(b, a) { b } else { a }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::TcpSeqNumber;

    #[test]
    fn across_the_wrap() {
        assert!(before(u32::MAX, 0));
        assert!(after(3, u32::MAX - 2));
        assert_eq!(distance(u32::MAX, 1), 2);
        assert_eq!(distance(1, u32::MAX), -2);
        assert!(in_window(1, u32::MAX, 3));
        assert!(!in_window(2, u32::MAX, 3));
        assert!(!in_window(7, 7, 0));
        assert_eq!(max(u32::MAX, 0), 0);
        assert_eq!(min(u32::MAX, 0), u32::MAX);
    }

    #[test]
    fn rfc_9293_table_6() {
        assert!(acceptable(10, 0, 10, 0));
        assert!(!acceptable(9, 0, 10, 0));
        assert!(acceptable(14, 0, 10, 5));
        assert!(!acceptable(15, 0, 10, 5));
        assert!(!acceptable(10, 1, 10, 0));
        assert!(acceptable(8, 3, 10, 5));
        assert!(!acceptable(8, 2, 10, 5));
        assert!(acceptable(14, 9, 10, 5));
        assert!(!acceptable(15, 9, 10, 5));
    }

    proptest! {
        #[test]
        fn agrees_with_smoltcp(a: u32, near in -70_000i32..70_000, far: u32, use_far: bool) {
            let b = if use_far { far } else { a.wrapping_add_signed(near) };
            let (theirs_a, theirs_b) = (TcpSeqNumber(a.cast_signed()), TcpSeqNumber(b.cast_signed()));
            prop_assert_eq!(before(a, b), theirs_a < theirs_b);
            prop_assert_eq!(after(a, b), theirs_a > theirs_b);
            if a.wrapping_sub(b) != 1 << 31 {
                prop_assert_eq!(max(a, b).cast_signed(), theirs_a.max(theirs_b).0);
                prop_assert_eq!(min(a, b).cast_signed(), theirs_a.min(theirs_b).0);
                let ahead = if theirs_b >= theirs_a { Some(theirs_b - theirs_a) } else { None };
                prop_assert_eq!(usize::try_from(distance(a, b)).ok(), ahead);
            }
        }

        #[test]
        fn distance_undoes_addition(a: u32, by: i32) {
            prop_assert_eq!(distance(a, a.wrapping_add_signed(by)), by);
        }

        /// What table 6 shortens: a segment is acceptable when one of its numbers is in the window. Where the segment
        /// is longer than the window, both of its ends may lie outside; those are left out as the table does.
        #[test]
        fn acceptable_means_overlap(seq in 0u32..40, len in 1u32..9, nxt in 0u32..40, wnd in 9u32..20, base: u32) {
            let overlaps = (seq..seq + len).any(|number| (nxt..nxt + wnd).contains(&number));
            prop_assert_eq!(acceptable(base.wrapping_add(seq), len, base.wrapping_add(nxt), wnd), overlaps);
        }
    }
}
