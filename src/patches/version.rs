//! Versions of controllers, and which of them an entry is about.

use std::fmt;
use std::str::FromStr;

use crate::document::{Table, Value};

/// Version of a controller's software, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number, 5 in 5.12.3.
    pub major: u32,
    /// Second number, 12 in 5.12.3.
    pub minor: u32,
    /// Third number, 3 in 5.12.3.
    pub bugfix: u32,
}

impl Version {
    /// The version that was seen of a robot, if one was.
    #[must_use]
    pub fn of(state: &crate::robot::State) -> Option<Self> {
        (state.version_at_ns != 0).then(|| Self {
            major: state.major.into(),
            minor: state.minor.into(),
            bugfix: u32::try_from(state.bugfix).unwrap_or(0),
        })
    }

    /// The generation of controllers that has it. Source: Universal Robots' software downloads: 1.x for CB2, 3.x for
    /// CB3, 5.x for e-Series, 10.x for PolyScope X.
    #[must_use]
    pub const fn generation(self) -> Generation {
        match self.major {
            0..=2 => Generation::Cb2,
            3..=4 => Generation::Cb3,
            5..=9 => Generation::ESeries,
            10.. => Generation::PolyScopeX,
        }
    }

    const fn numbers(self) -> [u32; 3] {
        [self.major, self.minor, self.bugfix]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.bugfix)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bound = Bound::parse(text).ok_or_else(|| format!("\"{text}\" is no version; write one such as 5.12.3"))?;
        let [major, minor, bugfix] = bound.numbers;
        Ok(Self { major, minor, bugfix })
    }
}

/// A generation of controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generation {
    /// CB2: software 1.x.
    Cb2,
    /// CB3 and CB3.1: software 3.x.
    Cb3,
    /// e-Series and UR-Series with PolyScope 5: software 5.x.
    ESeries,
    /// PolyScope X: software 10.x.
    PolyScopeX,
}

impl Generation {
    /// Names and generations.
    pub const NAMED: [(&'static str, Self); 4] =
        [("cb2", Self::Cb2), ("cb3", Self::Cb3), ("e-series", Self::ESeries), ("polyscope-x", Self::PolyScopeX)];

    /// The name in packs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cb2 => "cb2",
            Self::Cb3 => "cb3",
            Self::ESeries => "e-series",
            Self::PolyScopeX => "polyscope-x",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One to three numbers: "3.4" as an upper end means every 3.4.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    numbers: [u32; 3],
    given: usize,
}

impl Bound {
    fn parse(text: &str) -> Option<Self> {
        let mut bound = Self { numbers: [0; 3], given: 0 };
        for part in text.split('.') {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *bound.numbers.get_mut(bound.given).filter(|_| digits)? = part.parse().ok()?;
            bound.given = bound.given.saturating_add(1);
        }
        Some(bound)
    }

    fn read(table: &Table<'_>, key: &'static str) -> Option<Self> {
        let value: Value<'_> = table.take(key)?;
        let text = value.string()?;
        let bound = Self::parse(text);
        if bound.is_none() {
            value.problem(format!("\"{text}\" is no version"), "write one to three numbers, such as \"5.12.3\"");
        }
        bound
    }

    fn text(&self) -> String {
        self.numbers.iter().take(self.given).map(u32::to_string).collect::<Vec<_>>().join(".")
    }
}

/// A range of versions of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    generation: Generation,
    from: Option<Bound>,
    to: Option<Bound>,
    below: Option<Bound>,
}

impl Range {
    pub(super) fn read(table: &Table<'_>) -> Option<Self> {
        let generation = table
            .require("generation", "write generation = \"cb2\", \"cb3\", \"e-series\" or \"polyscope-x\"")
            .and_then(|value| value.choice(&Generation::NAMED));
        let (from, to, below) = (Bound::read(table, "from"), Bound::read(table, "to"), Bound::read(table, "below"));
        if to.is_some() && below.is_some() {
            table.problem_at(table.offset(), "a range has both `to` and `below`", "keep one: `to` counts its end in");
        }
        let range = Self { generation: generation?, from, to, below };
        for end in [range.from, range.to, range.below].into_iter().flatten() {
            let [major, minor, bugfix] = end.numbers;
            let own = Version { major, minor, bugfix }.generation();
            // "below" may be the first version of the next generation, which is none of this one.
            if own != range.generation && Some(end) != range.below {
                let what = format!("{} is a version of {own}, not of {}", end.text(), range.generation);
                table.problem_at(table.offset(), what, "write a range for each generation");
            }
        }
        Some(range)
    }

    pub(super) fn holds(&self, version: Version) -> bool {
        let numbers = version.numbers();
        let up_to = |bound: &Bound| {
            numbers.iter().zip(bound.numbers).take(bound.given).map(|(own, end)| own.cmp(&end)).find(|it| it.is_ne())
                != Some(std::cmp::Ordering::Greater)
        };
        version.generation() == self.generation
            && self.from.is_none_or(|from| numbers >= from.numbers)
            && self.to.as_ref().is_none_or(up_to)
            && self.below.is_none_or(|below| numbers < below.numbers)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.generation)?;
        if let Some(from) = self.from {
            write!(f, " from {}", from.text())?;
        }
        if let Some(to) = self.to {
            write!(f, " to {}", to.text())?;
        }
        if let Some(below) = self.below {
            write!(f, " below {}", below.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::document::{Problems, Source};

    fn range(text: &str) -> Result<Range, Problems> {
        let source = Source::parse("r", text);
        let root = source.root();
        let range = Range::read(&root);
        root.finish();
        source.finish(range)
    }

    #[test]
    fn ends_count_as_they_are_written() {
        let range = range("generation = \"cb3\"\nfrom = \"3.1\"\nto = \"3.3.4\"").unwrap();
        for (version, holds) in
            [("3.0.9", false), ("3.1.0", true), ("3.3.4", true), ("3.3.5", false), ("3.4.0", false), ("5.2.0", false)]
        {
            assert_eq!(range.holds(version.parse().unwrap()), holds, "{version}");
        }
        assert_eq!(range.to_string(), "cb3 from 3.1 to 3.3.4");
    }

    #[test]
    fn a_short_upper_end_means_all_below_it() {
        let to = range("generation = \"cb3\"\nto = \"3.12\"").unwrap();
        assert!(to.holds("3.12.9".parse().unwrap()) && !to.holds("3.13.0".parse().unwrap()));
        let below = range("generation = \"e-series\"\nbelow = \"5.25.1\"").unwrap();
        assert!(below.holds("5.25.0".parse().unwrap()) && !below.holds("5.25.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_range_is_told() {
        for (text, what) in [
            ("generation = \"cb4\"", "has no \"cb4\""),
            ("generation = \"cb3\"\nfrom = \"5.0\"", "is a version of e-series"),
            ("generation = \"cb3\"\nfrom = \"3.x\"", "is no version"),
            ("generation = \"cb3\"\nfrom = \"3.1.2.4\"", "is no version"),
            ("generation = \"cb3\"\nto = \"3.1\"\nbelow = \"3.1\"", "both `to` and `below`"),
            ("from = \"3.1\"", "`generation` is missing"),
        ] {
            let problems = range(text).unwrap_err().to_string();
            assert!(problems.contains(what) && problems.lines().count() == 1, "{problems}");
        }
    }

    #[test]
    fn generations_are_told_by_the_first_number() {
        let generation = |text: &str| text.parse::<Version>().unwrap().generation().name();
        assert_eq!(["1.8.1", "3.15.8", "5.25.1", "10.11.0"].map(generation), ["cb2", "cb3", "e-series", "polyscope-x"]);
    }
}
