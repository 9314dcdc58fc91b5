//! Whole numbers of 32 bits that sets of numbers and sets of bits tell apart.

use super::number::unique;
use crate::policy::ranges::Numbers;

/// Most kinds of bits that are mixed with each other.
const KINDS: usize = 8;

/// One number for each mixture of bits in each range that there is, as its bits; whether none was left out.
///
/// Rules ask of a number: is it in a set, has it any of some bits, has it no other bits. Bits that all rules name alike are
/// of one kind; what counts is of which kinds the number has any.
pub(super) fn numbers(sets: &[&Numbers], bits: &[u64], signed: bool) -> (Vec<u32>, bool) {
    let named = |bit: u32| bits.iter().map(|set| set >> bit & 1).collect::<Vec<_>>();
    let firsts: Vec<u32> = if bits.is_empty() { Vec::new() } else { unique(0..32, named) };
    let all = firsts.len() <= KINDS;
    let kind =
        |first: &u32| (0..32_u32).filter(|bit| named(*bit) == named(*first)).fold(0_u32, |kind, bit| kind | 1 << bit);
    let kinds: Vec<u32> = firsts.iter().take(KINDS).map(kind).collect();
    let mixtures = 1_u32 << kinds.len();
    let mut numbers = Vec::new();
    for (low, high) in ranges(sets, signed) {
        for mixture in 0..mixtures {
            let (with, without): (Vec<_>, Vec<_>) =
                kinds.iter().enumerate().partition(|(at, _)| mixture >> at & 1 == 1);
            let needed: Vec<u32> = with.into_iter().map(|(_, kind)| *kind).collect();
            let forbidden = without.into_iter().fold(0, |set, (_, kind)| set | kind);
            numbers.extend(find((low, high), forbidden, &needed));
        }
    }
    (numbers, all)
}

/// The ranges that these sets cut, as bits; a range of negative numbers has the same order as its bits.
fn ranges(sets: &[&Numbers], signed: bool) -> Vec<(u32, u32)> {
    let (least, most) = if signed { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (0, u32::MAX.into()) };
    let mut firsts = vec![least, 0];
    for (first, last) in sets.iter().flat_map(|set| set.iter()) {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        firsts.extend([first.ceil() as i64, (last.floor() as i64).saturating_add(1)]);
    }
    firsts.retain(|first| (least..=most).contains(first));
    // What is small makes the better example.
    firsts.sort_unstable();
    firsts.dedup();
    let lasts = firsts.iter().skip(1).map(|next| next.saturating_sub(1)).chain([most]).collect::<Vec<_>>();
    let mut ranges: Vec<(i64, i64)> = firsts.into_iter().zip(lasts).collect();
    ranges.sort_by_key(|(first, _)| first.unsigned_abs());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the lower half is the number's bits")]
    let bits = |number: i64| number as u32;
    ranges.into_iter().map(|(first, last)| (bits(first), bits(last))).collect()
}

/// The smallest number of a range that has a bit of each of `needed` and none of `forbidden`.
fn find((low, high): (u32, u32), forbidden: u32, needed: &[u32]) -> Option<u32> {
    let fits = |number: u32| number & forbidden == 0 && needed.iter().all(|kind| number & kind != 0);
    if fits(low) {
        return Some(low);
    }
    // A larger number has a bit that `low` has not, and above it the bits of `low`.
    for bit in (0..32_u32).filter(|bit| low >> bit & 1 == 0) {
        let above = low.checked_shr(bit.saturating_add(1)).unwrap_or(0).checked_shl(bit.saturating_add(1)).unwrap_or(0);
        let mut number = above | 1 << bit;
        let below = (1_u32 << bit).saturating_sub(1);
        for kind in needed {
            if number & kind == 0 {
                let rest = kind & below;
                number |= rest & rest.wrapping_neg();
            }
        }
        if fits(number) {
            return (number <= high).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[test]
    fn the_smallest_number_is_found() {
        for low in 0..40_u32 {
            for high in low..40 {
                for (forbidden, needed) in
                    [(0, vec![1, 6]), (1, vec![2]), (8, vec![16, 7]), (0, vec![]), (3, vec![4, 8])]
                {
                    let fits = |number: &u32| number & forbidden == 0 && needed.iter().all(|kind| number & kind != 0);
                    assert_eq!(
                        find((low, high), forbidden, &needed),
                        (low..=high).find(fits),
                        "{low} {high} {needed:?}"
                    );
                }
            }
        }
    }
}
