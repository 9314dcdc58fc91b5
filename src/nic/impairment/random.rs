//! Numbers from a seed.

use super::Share;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): one addition and two
/// multiplications a number, every seed good. For tests; whoever sees its output can foretell it.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.next()).wrapping_mul(u128::from(limit));
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// A number below `limit` for places in frames.
    pub(super) fn place(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        usize::try_from(self.below(limit)).unwrap_or_default()
    }

    /// Whether one of these many is hit.
    pub(super) fn hits(&mut self, share: Share) -> bool {
        share != Share::NONE && self.below(u64::from(Share::ALL.0)) < u64::from(share.0)
    }
}
