//! Sets of numbers as people write them: `5`, `"128..=131"`, `"..=9"`, or a list of those.

use crate::document::Value;

/// A set of 16-bit numbers: sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Box<[(u16, u16)]>);

impl Ranges {
    /// The union of `ranges`, each given by its first and last number.
    pub(crate) fn new(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if u32::from(first) <= u32::from(open.1).saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    /// Whether every number from `first` to `last` is in the set.
    #[inline]
    pub(crate) fn covers(&self, first: u16, last: u16) -> bool {
        if let [only] = &*self.0 {
            return only.0 <= first && last <= only.1;
        }
        self.at_or_before(first).is_some_and(|(_, end)| last <= end)
    }

    /// Whether any number from `first` to `last` is in the set.
    #[inline]
    pub(crate) fn touches(&self, first: u16, last: u16) -> bool {
        self.at_or_before(last).is_some_and(|(_, end)| first <= end)
    }

    /// The range that starts last at or before `number`.
    fn at_or_before(&self, number: u16) -> Option<(u16, u16)> {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        self.0.get(after.checked_sub(1)?).copied()
    }

    /// Whether any number is in both sets.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        few.iter().any(|(first, last)| many.touches(first, last))
    }

    /// What is in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
        Self::new(pairs.collect())
    }

    /// The ranges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }

    /// As it may stand in a file: one element a range.
    pub(crate) fn text(&self) -> Vec<String> {
        let one = |(first, last)| if first == last { format!("{first}") } else { format!("\"{first}..={last}\"") };
        self.iter().map(one).collect()
    }

    /// Reads a number, a range or a list of them, each from `least` to `most`.
    pub(crate) fn read(value: &Value<'_>, least: u16, most: u16) -> Option<Self> {
        let mut ranges = Vec::new();
        let mut whole = true;
        for item in value.any_of() {
            match read_one(&item, f64::from(least), f64::from(most)) {
                Some((first, last)) if first.fract() == 0.0 && last.fract() == 0.0 => {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside least..=most")]
                    ranges.push((first as u16, last as u16));
                }
                Some(_) => {
                    item.problem(format!("{} is no whole number", item.raw()), "write whole numbers");
                    whole = false;
                }
                None => whole = false,
            }
        }
        whole.then(|| Self::new(ranges))
    }
}

/// A set of numbers: sorted ranges that don't overlap.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Numbers(Box<[(f64, f64)]>);

impl Numbers {
    /// Whether `number` is in the set; NaN never is.
    #[inline]
    pub(crate) fn contains(&self, number: f64) -> bool {
        self.0.iter().any(|(first, last)| *first <= number && number <= *last)
    }

    /// The ranges in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.0.iter().copied()
    }

    /// As it may stand in a file.
    pub(crate) fn text(&self) -> Vec<String> {
        let one = |(first, last): (f64, f64)| match (first.is_finite(), last.is_finite()) {
            (true, true) if first == last => format!("{first:?}"),
            (true, true) => format!("\"{first:?}..={last:?}\""),
            (true, false) => format!("\"{first:?}..\""),
            (false, true) => format!("\"..={last:?}\""),
            (false, false) => "\"..\"".to_owned(),
        };
        self.iter().map(one).collect()
    }

    /// The set of one number.
    pub(crate) fn only(number: f64) -> Self {
        Self(Box::new([(number, number)]))
    }

    /// Reads `true` or `false` as 1 or 0, a number, a range or a list of them.
    pub(crate) fn read_flags(value: &Value<'_>) -> Option<Self> {
        match value.raw() {
            "true" => Some(Self::only(1.0)),
            "false" => Some(Self::only(0.0)),
            _ => Self::read(value),
        }
    }

    /// Reads a number, a range or a list of them.
    pub(crate) fn read(value: &Value<'_>) -> Option<Self> {
        let items = value.any_of();
        let mut ranges: Vec<_> =
            items.iter().map(|item| read_one(item, f64::NEG_INFINITY, f64::INFINITY)).collect::<Option<_>>()?;
        ranges.sort_by(|a, b| a.0.total_cmp(&b.0));
        Some(Self(ranges.into()))
    }
}

/// A number or a range inside `least..=most`; anything else is a problem.
fn read_one(value: &Value<'_>, least: f64, most: f64) -> Option<(f64, f64)> {
    let found = match (value.as_number(), value.as_string()) {
        (Some(number), _) => Some((number, number)),
        (None, Some(text)) => parse(text, least, most),
        (None, None) => None,
    };
    let Some((first, last)) = found else {
        value.problem(format!("{} is no number and no range", value.raw()), "write 5, \"5..=9\", \"..=9\" or \"5..\"");
        return None;
    };
    if first > last || first.is_nan() || last.is_nan() {
        value.problem(format!("the range {} holds nothing", value.raw()), "write the smaller number first");
        return None;
    }
    if first < least || last > most {
        value.problem(format!("{} goes beyond {least} to {most}", value.raw()), "write numbers inside");
        return None;
    }
    Some((first, last))
}

fn parse(text: &str, least: f64, most: f64) -> Option<(f64, f64)> {
    let number = |text: &str| {
        let text = text.trim();
        match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok().map(f64::from),
            // "inf" and "nan" are numbers to Rust, not to people who write rules.
            None if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE_".contains(&byte)) => text.parse().ok(),
            None => None,
        }
    };
    let Some((first, last)) = text.split_once("..") else {
        let only = number(text)?;
        return Some((only, only));
    };
    // A half-open range would read as one number more than it holds.
    let last = match last.strip_prefix('=') {
        Some(last) => number(last)?,
        None if last.trim().is_empty() => most,
        None => return None,
    };
    let first = if first.trim().is_empty() { least } else { number(first)? };
    Some((first, last))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
    use proptest::prelude::*;

    use super::*;
    use crate::document::Source;

    fn read(text: &str) -> Result<Ranges, String> {
        let text = format!("a = {text}");
        let source = Source::parse("f", &text);
        let ranges = Ranges::read(&source.root().take("a").unwrap(), 0, u16::MAX);
        source.finish(ranges).map_err(|problems| problems.to_string())
    }

    #[test]
    fn numbers_and_ranges_are_read() {
        assert_eq!(read("5"), Ok(Ranges::new(vec![(5, 5)])));
        assert_eq!(read("[\"128..=131\", 132, \"..=3\"]"), Ok(Ranges::new(vec![(0, 3), (128, 132)])));
        assert_eq!(read("\"65000..\""), Ok(Ranges::new(vec![(65000, 65535)])));
        assert_eq!(read("\"0x10..=0xff\""), Ok(Ranges::new(vec![(16, 255)])));
        assert_eq!(read("[]"), Ok(Ranges::default()));
        for (text, what) in [
            ("\"5..9\"", "no number and no range"),
            ("\"9..=5\"", "holds nothing"),
            ("70000", "goes beyond"),
            ("1.5", "no whole number"),
            ("true", "no number and no range"),
            ("\"inf\"", "no number and no range"),
        ] {
            assert!(read(text).unwrap_err().contains(what), "{text}");
        }
    }

    #[test]
    fn open_ranges_read_back_as_they_are_shown() {
        for text in ["\"..=1.4\"", "\"5.0..\"", "\"..\"", "7.0", "\"-1.5..=2.0\""] {
            let file = format!("a = {text}");
            let source = Source::parse("f", &file);
            assert_eq!(Numbers::read(&source.root().take("a").unwrap()).unwrap().text(), [text]);
        }
    }

    proptest! {
        #[test]
        fn sets_agree_with_counting(
            ranges in proptest::collection::vec((0u16..60, 0u16..12), 0..6), first in 0u16..70, len in 0u16..9,
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(first, len)| (first, first + len)).collect();
            let holds = |number: u16| ranges.iter().any(|(first, last)| (*first..=*last).contains(&number));
            let set = Ranges::new(ranges.clone());
            let span = first..=first + len;
            prop_assert_eq!(set.covers(first, first + len), span.clone().all(holds));
            prop_assert_eq!(set.touches(first, first + len), span.clone().any(holds));
            let other = Ranges::new(vec![(first, first + len)]);
            let both = set.intersection(&other);
            for number in 0..90 {
                prop_assert_eq!(both.covers(number, number), holds(number) && span.contains(&number));
            }
        }
    }
}
