//! Numbers that some sets tell apart, one of each kind.

use crate::policy::ranges::{Numbers, Ranges};

/// The cells into which these sets cut the numbers from `least` to `most`, each by its first and last number.
pub(super) fn cells<'r>(
    sets: impl Iterator<Item = &'r Ranges>,
    also: &[u16],
    (least, most): (u16, u16),
) -> Vec<(u16, u16)> {
    let mut firsts = vec![least];
    for (first, last) in sets.flat_map(Ranges::iter) {
        firsts.push(first);
        firsts.extend(last.checked_add(1));
    }
    firsts.extend_from_slice(also);
    firsts.retain(|first| (least..=most).contains(first));
    firsts.sort_unstable();
    firsts.dedup();
    let lasts = firsts.iter().skip(1).map(|next| next.saturating_sub(1)).chain([most]).collect::<Vec<_>>();
    firsts.into_iter().zip(lasts).collect()
}

/// One number of each kind that these sets tell apart.
pub(super) fn distinct(sets: &[&Ranges], range: (u16, u16)) -> Vec<u16> {
    let overlaps = Overlaps::of(sets.iter().copied());
    let signature = |number: u16| overlaps.touching(number, number);
    unique(cells(sets.iter().copied(), &[], range).into_iter().map(|(first, _)| first), signature)
}

/// Ranges of many sets, so arranged that those which meet a span are found without a look at the others.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    /// First and last number and the place of the set, by first number: an implicit search tree whose root is its middle.
    ranges: Vec<(u16, u16, u32)>,
    /// Of each node, the highest last number in its subtree.
    furthest: Vec<u16>,
}

impl Overlaps {
    /// The ranges of these sets.
    pub(super) fn of<'r>(sets: impl Iterator<Item = &'r Ranges>) -> Self {
        let mut ranges: Vec<(u16, u16, u32)> = sets
            .zip(0_u32..)
            .flat_map(|(set, place)| set.iter().map(move |(first, last)| (first, last, place)))
            .collect();
        ranges.sort_unstable();
        let mut overlaps = Self { furthest: vec![0; ranges.len()], ranges };
        overlaps.measure(0, overlaps.ranges.len());
        overlaps
    }

    /// Whether there is no range.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn measure(&mut self, from: usize, to: usize) -> u16 {
        let middle = from.midpoint(to);
        if from >= to {
            return 0;
        }
        let own = self.ranges.get(middle).map_or(0, |(_, last, _)| *last);
        let furthest = own.max(self.measure(from, middle)).max(self.measure(middle.saturating_add(1), to));
        if let Some(slot) = self.furthest.get_mut(middle) {
            *slot = furthest;
        }
        furthest
    }

    /// Places of the sets that have a number from `first` to `last`, ascending.
    pub(super) fn touching(&self, first: u16, last: u16) -> Vec<u32> {
        self.found((first, last), |_| true)
    }

    /// Places of the sets that have every number from `first` to `last`, ascending.
    pub(super) fn covering(&self, first: u16, last: u16) -> Vec<u32> {
        self.found((first, last), |range| range.0 <= first && last <= range.1)
    }

    fn found(&self, span: (u16, u16), fits: impl Fn((u16, u16)) -> bool) -> Vec<u32> {
        let mut found = Vec::new();
        self.search((0, self.ranges.len()), span, &fits, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn search(
        &self,
        (from, to): (usize, usize),
        span: (u16, u16),
        fits: &impl Fn((u16, u16)) -> bool,
        found: &mut Vec<u32>,
    ) {
        let middle = from.midpoint(to);
        let (Some((first, last, place)), Some(furthest)) = (self.ranges.get(middle), self.furthest.get(middle)) else {
            return;
        };
        if from >= to || *furthest < span.0 {
            return;
        }
        self.search((from, middle), span, fits, found);
        if *first > span.1 {
            return;
        }
        if *last >= span.0 && fits((*first, *last)) {
            found.push(*place);
        }
        self.search((middle.saturating_add(1), to), span, fits, found);
    }
}

/// One number of each kind that these sets tell apart; `fits` says which numbers there are, `also` which more to look at.
pub(in crate::policy) fn distinct_numbers(sets: &[&Numbers], also: &[f64], fits: impl Fn(f64) -> bool) -> Vec<f64> {
    let mut ends: Vec<f64> = sets.iter().flat_map(|set| set.iter()).flat_map(|(first, last)| [first, last]).collect();
    ends.extend_from_slice(also);
    ends.retain(|end| end.is_finite());
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    let mut numbers = vec![0.0, 1.0];
    numbers.extend(ends.windows(2).filter_map(|pair| match pair {
        [low, high] => Some(low + (high - low) / 2.0),
        _ => None,
    }));
    for end in &ends {
        numbers.extend([end.floor() - 1.0, end.floor(), *end, end.ceil(), end.ceil() + 1.0]);
    }
    numbers.retain(|number| fits(*number));
    // Plain numbers first: they make the better examples.
    numbers.sort_by(|a, b| {
        (a.fract() != 0.0, a.abs()).partial_cmp(&(b.fract() != 0.0, b.abs())).unwrap_or(std::cmp::Ordering::Equal)
    });
    let signature = |number: f64| sets.iter().map(|set| set.contains(number)).collect::<Vec<_>>();
    unique(numbers.into_iter(), signature)
}

/// The first of each signature.
pub(super) fn unique<T: Copy, S: Ord>(items: impl Iterator<Item = T>, signature: impl Fn(T) -> S) -> Vec<T> {
    let mut known = std::collections::BTreeSet::new();
    items.filter(|item| known.insert(signature(*item))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn overlaps_are_what_a_look_at_each_set_finds(
            sets in proptest::collection::vec(proptest::collection::vec((0_u16..60, 0_u16..30), 0..4), 0..30),
            first in 0_u16..90, len in 0_u16..20,
        ) {
            let sets: Vec<Ranges> = sets
                .into_iter()
                .map(|ranges| Ranges::new(ranges.into_iter().map(|(first, len)| (first, first.saturating_add(len))).collect()))
                .collect();
            let last = first.saturating_add(len);
            let overlaps = Overlaps::of(sets.iter());
            let with = |fits: &dyn Fn(&Ranges) -> bool| -> Vec<u32> {
                (0_u32..).zip(&sets).filter(|(_, set)| fits(set)).map(|(place, _)| place).collect()
            };
            prop_assert_eq!(overlaps.touching(first, last), with(&|set| set.touches(first, last)));
            prop_assert_eq!(overlaps.covering(first, last), with(&|set| set.covers(first, last)));
        }
    }
}
