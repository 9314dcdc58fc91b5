use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Size;
use crate::document::{Table, Value};

/// Frames that are kept in the evidence around a refusal, and on request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evidence {
    /// Memory for the frames that passed last; 0 B = none are kept.
    pub ring: Size,
    /// How long before a refusal.
    #[schemars(range(max = 60))]
    pub before_seconds: u32,
    /// How long after it.
    #[schemars(range(max = 60))]
    pub after_seconds: u32,
    /// The most that is kept in an hour.
    pub kept_an_hour: Size,
}

impl Default for Evidence {
    fn default() -> Self {
        Self { ring: Size(8 << 20), before_seconds: 2, after_seconds: 1, kept_an_hour: Size(32 << 20) }
    }
}

impl Evidence {
    /// How long before and after.
    #[must_use]
    pub fn times(&self) -> (Duration, Duration) {
        (Duration::from_secs(self.before_seconds.into()), Duration::from_secs(self.after_seconds.into()))
    }
}

/// Least and most memory of a ring that is not off: dozens of long frames, and half of what the box may take in all.
const RING: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

pub(super) fn evidence(table: &Table<'_>) -> Evidence {
    let default = Evidence::default();
    let ring = table.take("ring").and_then(|value| {
        let size = size(&value, "8 MiB")?;
        if size.bytes() != 0 && !RING.contains(&size.bytes()) {
            value.problem(
                format!("{size} is no size for the ring"),
                "write \"0 B\" to keep no frames, or 64 KiB to 64 MiB",
            );
        }
        Some(size)
    });
    let seconds = |value: Option<Value<'_>>| u32::try_from(value?.integer(0..=60)?).ok();
    let (before, after) = (seconds(table.take("before_seconds")), seconds(table.take("after_seconds")));
    let kept = table.take("kept_an_hour").and_then(|value| size(&value, "32 MiB"));
    table.finish();
    Evidence {
        ring: ring.unwrap_or(default.ring),
        before_seconds: before.unwrap_or(default.before_seconds),
        after_seconds: after.unwrap_or(default.after_seconds),
        kept_an_hour: kept.unwrap_or(default.kept_an_hour),
    }
}

fn size(value: &Value<'_>, such: &str) -> Option<Size> {
    let text = value.string()?;
    let size = text.parse().ok();
    if size.is_none() {
        value.problem(format!("\"{text}\" is no size"), format!("write a number and a unit, such as \"{such}\""));
    }
    size
}
