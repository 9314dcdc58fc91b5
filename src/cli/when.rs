//! Times as event lines have them and as people say them.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::mode::parse_time;

/// The year 0 in microseconds since 1970: the first time that is written with four digits.
const FIRST: i64 = -62_167_219_200_000_000;

/// A time as it stands in event lines: `2026-11-23T13:58:02.114209+0000`.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+0000").to_string()
}

/// Microseconds since 1970 of a time exactly as event lines have it; `None` for any other form.
pub(super) fn microseconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'+')];
    if bytes.len() != 31
        || !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark))
        || text.get(27..) != Some("0000")
    {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i32> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let small = |from: usize, to: usize| i8::try_from(number(from, to)?).ok();
    let nanoseconds = number(20, 26)?.checked_mul(1000)?;
    let year = i16::try_from(number(0, 4)?).ok()?;
    let time =
        DateTime::new(year, small(5, 7)?, small(8, 10)?, small(11, 13)?, small(14, 16)?, small(17, 19)?, nanoseconds)
            .ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond())
}

/// The first time, in microseconds since 1970, of which `holds` says yes as it is written; it must go on saying so from
/// there.
pub(super) fn first(holds: impl Fn(&str) -> bool) -> i64 {
    let (mut low, mut high) = (FIRST, Timestamp::MAX.as_microsecond());
    while low < high {
        // Rounded down: before 1970, `midpoint` rounds up and would stay where it is.
        let middle = low.saturating_add(high.saturating_sub(low) / 2);
        let time = Timestamp::from_microsecond(middle).unwrap_or(Timestamp::MAX);
        if holds(&written(time)) {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    low
}

/// A time as people say it, as of `now`: `yesterday`, `today`, `2h`, `7d`, `2026-11-23`, `2026-11-23T13:58`,
/// `2026-11-23T13:58:02Z`. A day means its beginning; without a zone the local one is meant.
pub(super) fn said(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let wrong =
        || format!("{text:?} is no time; write yesterday, today, 2h, 7d, 2026-11-23, 2026-11-23T13:58 or with a zone");
    let day = |days: i64| {
        let day = now.checked_sub(days.days()).and_then(|day| day.start_of_day());
        day.map(|day| day.timestamp()).map_err(|_| wrong())
    };
    match text {
        "now" => return Ok(now.timestamp()),
        "today" => return day(0),
        "yesterday" => return day(1),
        _ => {}
    }
    let ago = match text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()) {
        Some(days) => Some(Duration::from_secs(days.saturating_mul(86_400))),
        None => parse_time(text).ok(),
    };
    if let Some(ago) = ago {
        return now.timestamp().checked_sub(ago).map_err(|_| wrong());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<DateTime>().or_else(|_| text.parse::<jiff::civil::Date>().map(DateTime::from));
    let local = local.and_then(|local| local.to_zoned(now.time_zone().clone()));
    local.map(|local| local.timestamp()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_say_is_understood() {
        let now: Zoned = "2026-11-24T13:58:02+01:00[Europe/Berlin]".parse().unwrap();
        for (text, expected) in [
            ("now", "2026-11-24T12:58:02.000000+0000"),
            ("today", "2026-11-23T23:00:00.000000+0000"),
            ("yesterday", "2026-11-22T23:00:00.000000+0000"),
            ("2h", "2026-11-24T10:58:02.000000+0000"),
            ("7d", "2026-11-17T12:58:02.000000+0000"),
            ("2026-11-23", "2026-11-22T23:00:00.000000+0000"),
            ("2026-11-23T13:58", "2026-11-23T12:58:00.000000+0000"),
            ("2026-11-23T13:58:02Z", "2026-11-23T13:58:02.000000+0000"),
            ("2026-11-23T13:58:02.114209+0000", "2026-11-23T13:58:02.114209+0000"),
        ] {
            assert_eq!(said(text, &now).map(written), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "tomorrowish", "2026-13-01", "-3h", "99999999999999999999d", "d"] {
            assert!(said(text, &now).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_times_are_read_and_stand_in_order(a in FIRST..253_402_200_000_000_000, b in FIRST..253_402_200_000_000_000) {
            let text = |time: i64| written(Timestamp::from_microsecond(time).unwrap());
            prop_assert_eq!(microseconds(&text(a)), Some(a));
            prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
            prop_assert_eq!(first(|written| written >= text(a).as_str()), a);
        }

        #[test]
        fn no_other_text_is_a_time(text in ".{0,40}") {
            if let Some(time) = microseconds(&text) {
                prop_assert_eq!(written(Timestamp::from_microsecond(time).unwrap()), text);
            }
        }
    }
}
