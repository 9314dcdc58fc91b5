//! What is told of many times that were measured.

/// Percentiles of one round, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Half of the times are at most this.
    pub p50: f64,
    /// 99 % are.
    pub p99: f64,
    /// 99.9 % are.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The mean of all.
    pub mean: f64,
}

impl Figures {
    /// Of times in nanoseconds, which are put in order; absent where there is none.
    ///
    /// A percentile is the smallest of the times that at least so many are not above (nearest rank).
    #[must_use]
    pub fn of(times: &mut [u64]) -> Option<Self> {
        times.sort_unstable();
        let rank = |share: f64| {
            let rank = (share * times.len() as f64).ceil();
            // A share of a length fits into one; the cast cuts nothing.
            #[allow(clippy::cast_possible_truncation, reason = "at most the length")]
            times.get((rank as usize).saturating_sub(1)).map(|time| *time as f64)
        };
        let sum: f64 = times.iter().map(|time| *time as f64).sum();
        let mean = sum / times.len() as f64;
        Some(Self { p50: rank(0.5)?, p99: rank(0.99)?, p999: rank(0.999)?, max: rank(1.0)?, mean })
    }

    /// One figure after the other, for medians over rounds.
    #[must_use]
    pub fn each(&self) -> [f64; 4] {
        [self.p50, self.p99, self.p999, self.max]
    }
}

/// The middle one of figures in any order (the upper of two middles); absent where there is none.
#[must_use]
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<_> = figures.into_iter().filter(|figure| !figure.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut times: Vec<u64> = (1..=1000).rev().collect();
        let figures = Figures::of(&mut times).unwrap();
        assert_eq!(figures.each(), [500.0, 990.0, 999.0, 1000.0]);
        assert!((figures.mean - 500.5).abs() < 1e-9);
        assert_eq!(Figures::of(&mut [7]).unwrap().each(), [7.0; 4]);
        assert_eq!(Figures::of(&mut []), None);
    }

    #[test]
    fn the_median_leaves_out_what_is_no_number() {
        assert_eq!(median([3.0, f64::NAN, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(4.0));
        assert_eq!(median([]), None);
    }
}
