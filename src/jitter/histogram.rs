/// Buckets an octave, as a power of two: a bucket is at most a quarter wider than its lower bound.
const SPLIT: u32 = 2;
/// Buckets of one histogram: 14 octaves of four, one for all below and one for all above.
pub const BUCKETS: usize = 58;

/// How often a time was measured, in buckets that grow with the time. Plain data; all zero = nothing measured.
///
/// The buckets begin at `2^LOWEST` nanoseconds and end at `2^(LOWEST + 14)`: 33 µs to 0.5 s for intervals
/// ([`Intervals`]), 0.5 µs to 8 ms for times in the box ([`Residences`]). What is outside is counted in the outermost.
///
/// Invariant: the buckets add up to the number of times that [`Histogram::record`] was called, until a bucket is full
/// (4,294,967,295; 99 days of a 500 Hz stream).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const LOWEST: u32> {
    buckets: [u32; BUCKETS],
    longest_ns: u64,
}

/// Times between two frames.
pub type Intervals = Histogram<15>;
/// Times from the kernel's stamp to the hand-over to the other port.
pub type Residences = Histogram<9>;

impl<const LOWEST: u32> Default for Histogram<LOWEST> {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], longest_ns: 0 }
    }
}

impl<const LOWEST: u32> Histogram<LOWEST> {
    /// Which bucket a time falls into.
    fn bucket(ns: u64) -> usize {
        // The octave above the lowest, and within it the two bits below the highest.
        let scaled = ns >> (LOWEST.saturating_sub(SPLIT));
        let Some(high) = scaled.checked_ilog2().and_then(|high| high.checked_sub(SPLIT)) else { return 0 };
        let within = (scaled >> high) & 3;
        let at = u64::from(high << SPLIT).saturating_add(within).saturating_add(1);
        usize::try_from(at).unwrap_or(BUCKETS).min(BUCKETS.saturating_sub(1))
    }

    /// Where a bucket begins, in nanoseconds.
    fn begins(bucket: usize) -> u64 {
        let Some(at) = bucket.checked_sub(1) else { return 0 };
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        let (octave, within) = (at >> SPLIT, u64::from(at & 3));
        within.saturating_add(4).checked_shl(octave.saturating_add(LOWEST).saturating_sub(SPLIT)).unwrap_or(u64::MAX)
    }

    /// Counts a time.
    ///
    /// Cost: some twenty instructions.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        if let Some(count) = self.buckets.get_mut(Self::bucket(ns)) {
            *count = count.saturating_add(1);
        }
        self.longest_ns = self.longest_ns.max(ns);
    }

    /// How many times were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |total, count| total.saturating_add(u64::from(*count)))
    }

    /// The longest time that was counted, exactly; 0 while there is none.
    #[must_use]
    pub const fn longest_ns(&self) -> u64 {
        self.longest_ns
    }

    /// The time that `per_mille` of a thousand were no longer than, by the place within its bucket: off by an eighth at
    /// most, as long as times in a bucket lie evenly. 0 while nothing is counted.
    #[must_use]
    pub fn at_most(&self, per_mille: u64) -> u64 {
        let total = self.total();
        if total == 0 {
            return 0;
        }
        // Rounded up: the last of 100 is not within 99 %.
        let rank = total.saturating_mul(per_mille.min(1000)).div_ceil(1000).max(1);
        let mut before = 0_u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            let count = u64::from(*count);
            if before.saturating_add(count) >= rank {
                let (from, to) = (Self::begins(bucket), Self::begins(bucket.saturating_add(1)));
                let width = u128::from(to.saturating_sub(from));
                let part = width.saturating_mul(u128::from(rank.saturating_sub(before))).checked_div(count.into());
                let within = u64::try_from(part.unwrap_or(0)).unwrap_or(0);
                return from.saturating_add(within).min(self.longest_ns);
            }
            before = before.saturating_add(count);
        }
        self.longest_ns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_meet_without_gap_and_every_time_falls_where_its_bucket_begins() {
        for bucket in 1..BUCKETS {
            let begins = Intervals::begins(bucket);
            assert_eq!(Intervals::bucket(begins), bucket, "{begins}");
            assert_eq!(Intervals::bucket(begins - 1), bucket - 1, "{begins}");
            let begins = Residences::begins(bucket);
            assert_eq!((Residences::bucket(begins), Residences::bucket(begins - 1)), (bucket, bucket - 1), "{begins}");
        }
        assert_eq!((Intervals::begins(1), Intervals::begins(BUCKETS - 1)), (1 << 15, 1 << 29));
        assert_eq!((Intervals::bucket(0), Intervals::bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    proptest! {
        #[test]
        fn totals_are_what_was_counted_and_shares_are_near(mut times in prop::collection::vec(40_000_u64..400_000_000, 1..400)) {
            let mut histogram = Intervals::default();
            times.iter().for_each(|ns| histogram.record(*ns));
            prop_assert_eq!(histogram.total(), times.len() as u64);
            times.sort_unstable();
            prop_assert_eq!(histogram.longest_ns(), times[times.len() - 1]);
            for share in [500, 990, 1000] {
                let exact = times[(times.len() * share).div_ceil(1000) - 1];
                let told = histogram.at_most(share as u64);
                // The width of one bucket.
                prop_assert!(told <= exact + exact / 4 && told >= exact - exact / 4, "{} told of {}", told, exact);
            }
        }
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!((Intervals::default().at_most(990), Intervals::default().longest_ns()), (0, 0));
    }
}
