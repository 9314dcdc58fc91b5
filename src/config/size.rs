use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A number of bytes, written as `"8 GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Units, largest first; decimal and binary ones are told apart as IEC 80000-13 asks.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

const PATTERN: &str = "^[0-9]+(\\.[0-9]+)? ?(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$";

impl Size {
    /// `count` times 2^30 bytes.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// The text is no number with a unit of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no size; write a number and a unit, such as \"8 GiB\" or \"500 MB\"")]
pub struct NoSize;

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or(NoSize)?;
        let number = text.strip_suffix(unit).unwrap_or(text).trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(NoSize);
        }
        let bytes = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(*factor)).ok_or(NoSize)?;
        let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).unwrap_or(u32::MAX)).ok_or(NoSize)?;
        let part = u128::from(fraction.parse::<u64>().map_err(|_| NoSize)?).saturating_mul(u128::from(*factor));
        let part = part.checked_div(u128::from(scale)).unwrap_or(0);
        Ok(Self(bytes.checked_add(u64::try_from(part).unwrap_or(u64::MAX)).ok_or(NoSize)?))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        let (unit, factor) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{} {unit}", self.0.checked_div(factor).unwrap_or(self.0))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "description": "A number of bytes with its unit." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_exactly() {
        for (text, bytes) in [
            ("8 GiB", 8 << 30),
            ("8GiB", 8 << 30),
            ("500 MB", 500_000_000),
            ("1.5 KiB", 1536),
            ("0 B", 0),
            ("12 kB", 12_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "8", "GiB", "8 gib", "-1 B", "1e3 B", "99999999999 TiB", "1. B", ".5 GB"] {
            assert_eq!(text.parse::<Size>(), Err(NoSize), "{text}");
        }
    }

    #[test]
    fn shown_sizes_are_read_back() {
        for bytes in [0, 1, 1023, 1024, 1_000_000, 8 << 30, u64::MAX] {
            let size = Size(bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(Size::gib(8).to_string(), "8 GiB");
    }
}
