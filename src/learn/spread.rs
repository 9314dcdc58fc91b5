use super::observe::Count;

/// Stretches that are told apart; the two nearest are put together when one more is needed.
const PARTS: usize = 16;

/// Different numbers that are listed one by one; more become ranges.
const LISTED: usize = 8;

/// A gap is closed if it is at most this many times the median gap: what scatters becomes one range, what lies far off
/// stays alone.
const CLOSED: f64 = 4.0;

/// A stretch of numbers with how many were seen in it, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) seen: Count,
}

impl Part {
    fn holds(&self, other: &Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }
}

/// Numbers seen, in bounded memory: the widest gaps between them are kept, so that a stray number stays alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spread {
    /// Ascending, apart from each other.
    parts: Vec<Part>,
    /// Whether they cover numbers that were not seen.
    wider: bool,
    /// Numbers this near to each other have none between them: 1 for integers, 0 for floating point.
    step: f64,
}

/// What a rule says of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) parts: Vec<Part>,
    /// Whether the parts cover numbers that were not seen.
    pub(super) wider: bool,
    /// Numbers seen once that became the end of a range.
    pub(super) ends: Vec<f64>,
}

impl Spread {
    /// Adds one number, or a stretch that one command may reach. NaN and the infinities are the caller's to tell of.
    pub(super) fn see(&mut self, low: f64, high: f64, step: f64, wall_ns: u64) {
        self.step = step;
        self.add(Part { low, high, seen: Count { count: 1, first_ns: wall_ns, last_ns: wall_ns } });
    }

    /// Adds what `other` saw.
    pub(super) fn join(&mut self, other: &Self) {
        self.wider |= other.wider;
        self.step = other.step;
        other.parts.iter().for_each(|part| self.add(*part));
    }

    /// Whether everything in `other` lies in what was seen here.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.parts.iter().all(|part| self.parts.iter().any(|own| own.holds(part)))
    }

    fn add(&mut self, mut part: Part) {
        if let Some(own) = self.parts.iter_mut().find(|own| own.holds(&part)) {
            own.seen = own.seen.with(part.seen);
            return;
        }
        self.parts.retain(|own| {
            let apart = own.high < part.low || part.high < own.low;
            if !apart {
                part.low = part.low.min(own.low);
                part.high = part.high.max(own.high);
                part.seen = part.seen.with(own.seen);
            }
            apart
        });
        let at = self.parts.partition_point(|own| own.low < part.low);
        self.parts.insert(at, part);
        if self.parts.len() > PARTS {
            let gaps = gaps(&self.parts);
            let narrowest = gaps.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let Some((at, gap)) = narrowest.map(|(at, gap)| (at, *gap)) {
                self.wider |= gap > self.step;
                close(&mut self.parts, at);
            }
        }
    }

    /// The numbers one by one if they are few; ranges over what scatters if they are many.
    pub(super) fn say(&self) -> Said {
        let mut said = Said { parts: self.parts.clone(), wider: self.wider, ends: Vec::new() };
        if self.parts.len() <= LISTED {
            return said;
        }
        let gaps = gaps(&self.parts);
        let mut sorted = gaps.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() >> 1).copied().unwrap_or(0.0);
        // From the end, so that places before it stay what they were.
        for (at, gap) in gaps.iter().enumerate().rev().filter(|(_, gap)| **gap <= median * CLOSED) {
            said.wider |= *gap > self.step;
            close(&mut said.parts, at);
        }
        let once =
            |number: f64| self.parts.iter().any(|own| own.seen.count == 1 && own.low == number && own.high == number);
        let ranges = said.parts.iter().filter(|part| part.low < part.high);
        said.ends = ranges.flat_map(|part| [part.low, part.high]).filter(|end| once(*end)).collect();
        said
    }
}

fn gaps(parts: &[Part]) -> Vec<f64> {
    parts.iter().zip(parts.iter().skip(1)).map(|(a, b)| b.low - a.high).collect()
}

/// Puts the part at `at` and the one after it together.
fn close(parts: &mut Vec<Part>, at: usize) {
    if at.saturating_add(1) >= parts.len() {
        return;
    }
    let next = parts.remove(at.saturating_add(1));
    if let Some(part) = parts.get_mut(at) {
        part.high = next.high;
        part.seen = part.seen.with(next.seen);
    }
}

/// One number as a policy may hold it, in a list or in a range.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value}") } else { format!("{value:?}") }
}

impl Part {
    /// As an element of a list.
    pub(super) fn text(&self) -> String {
        if self.low < self.high {
            format!("\"{}..={}\"", number(self.low), number(self.high))
        } else {
            number(self.low)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
    use proptest::prelude::*;

    use super::*;

    fn spread(values: impl IntoIterator<Item = f64>, step: f64) -> Spread {
        let mut spread = Spread::default();
        values.into_iter().for_each(|value| spread.see(value, value, step, 0));
        spread
    }

    fn texts(said: &Said) -> Vec<String> {
        said.parts.iter().map(Part::text).collect()
    }

    #[test]
    fn few_are_listed_many_become_a_range_and_a_stray_stays_alone() {
        assert_eq!(texts(&spread([5.0, 1.0, 5.0, 9.0], 1.0).say()), ["1", "5", "9"]);
        let cycle = (0..2000).map(|n| f64::from(n % 121));
        let said = spread(cycle.clone(), 1.0).say();
        assert_eq!((texts(&said), said.wider), (vec!["\"0..=120\"".to_owned()], false));
        let said = spread(cycle.clone().take(600).chain([9999.0]).chain(cycle), 1.0).say();
        assert_eq!(texts(&said), ["\"0..=120\"", "9999"]);
        assert_eq!(said.parts.last().map(|part| part.seen.count), Some(1));
    }

    #[test]
    fn an_end_that_was_seen_once_is_told() {
        let said = spread((0..30).flat_map(|n| [f64::from(n), f64::from(n)]).chain([31.0]), 1.0).say();
        assert_eq!((texts(&said), said.wider), (vec!["\"0..=31\"".to_owned()], true));
        assert_eq!(said.ends, [31.0]);
    }

    proptest! {
        #[test]
        fn everything_seen_is_held_and_nothing_beyond_the_ends(values in prop::collection::vec(-50_i32..300, 1..80)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let seen = spread(values.iter().copied(), 1.0);
            let said = seen.say();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(values.iter().all(|v| said.parts.iter().any(|part| part.low <= *v && *v <= part.high)));
            prop_assert_eq!(said.parts.first().map(|part| part.low), Some(low));
            prop_assert_eq!(said.parts.last().map(|part| part.high), Some(high));
            prop_assert_eq!(said.parts.iter().map(|part| part.seen.count).sum::<u64>(), values.len() as u64);
            let between = (low as i32..=high as i32).map(f64::from).filter(|n| !values.contains(n));
            let covers = |n: f64| said.parts.iter().any(|part| part.low <= n && n <= part.high);
            prop_assert_eq!(between.into_iter().any(covers), said.wider);
        }
    }
}
