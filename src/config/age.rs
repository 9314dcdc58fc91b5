use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A time that something is kept, in seconds, written as `"90 days"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub u64);

/// Names of units and their seconds, largest first; a day is 24 hours.
const UNITS: [(&str, u64); 4] = [("days", 86_400), ("day", 86_400), ("hours", 3600), ("hour", 3600)];

const PATTERN: &str = "^[0-9]+ ?(days|day|hours|hour)$";

impl Age {
    /// The time.
    #[must_use]
    pub const fn time(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// The text is no number of days or hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no age; write a number and a unit, such as \"90 days\" or \"36 hours\"")]
pub struct NoAge;

impl FromStr for Age {
    type Err = NoAge;

    fn from_str(text: &str) -> Result<Self, NoAge> {
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or(NoAge)?;
        let number = text.strip_suffix(unit).unwrap_or(text).trim_end();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoAge);
        }
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(*seconds)).map(Self).ok_or(NoAge)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) = if self.0.is_multiple_of(86_400) { ("days", 86_400) } else { ("hours", 3600) };
        write!(f, "{} {unit}", self.0.checked_div(seconds).unwrap_or(0))
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Age {
    fn schema_name() -> Cow<'static, str> {
        "Age".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "description": "A number of days or hours." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_shown() {
        for (text, hours) in [("90 days", 90 * 24), ("1 day", 24), ("36 hours", 36), ("1hour", 1), ("0 days", 0)] {
            let age: Age = text.parse().unwrap();
            assert_eq!(age.time(), Duration::from_secs(hours * 3600), "{text}");
            assert_eq!(age.to_string().parse(), Ok(age));
        }
        for text in
            ["", "90", "days", "-1 days", "1.5 days", "90 d", "99999999999999999999 days", "9999999999999999 days"]
        {
            assert_eq!(text.parse::<Age>(), Err(NoAge), "{text}");
        }
    }
}
