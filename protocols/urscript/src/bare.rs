//! The second, undocumented language of 30001-30003: whole lines that are commands, not URScript.

use crate::class;

/// The bare commands that clients in the field send, lower case and with single blanks.
///
/// Source: the maker's open client library and other open clients (README.md). `set speed` is followed by one number.
/// Any other line of words alone is a [`crate::Doubts::WORDS`], so that a command missing here is never let through.
pub static BARE_COMMANDS: &[&str] = &[
    "brake release",
    "pause program",
    "power off",
    "power on",
    "restart safetyboard",
    "resume program",
    "run program",
    "set real",
    "set robotmode freedrive",
    "set robotmode run",
    "set sim",
    "set speed",
    "set unlock protective stop",
    "stop program",
];

/// The control words of the interpreter port, each alone on its line.
///
/// Source: script manual, chapter on interpreter mode.
pub static INTERPRETER_CONTROLS: &[&str] =
    &["abort", "skipbuffer", "statelastcleared", "statelastexecuted", "statelastinterpreted", "stateunexecuted"];

/// The bare command that `line` is, and what follows it.
///
/// A comment behind the command does not count: a controller that strips comments first would execute it.
pub(crate) fn command(line: &[u8]) -> Option<(&'static str, &[u8])> {
    let line = uncommented(line);
    BARE_COMMANDS.iter().find_map(|name| {
        let rest = words(line, name)?;
        let fits = if *name == "set speed" { is_number(rest) } else { rest.is_empty() };
        fits.then_some((*name, rest))
    })
}

/// The control word of the interpreter port that `line` is.
pub(crate) fn control(line: &[u8]) -> Option<&'static str> {
    let line = uncommented(line);
    INTERPRETER_CONTROLS.iter().copied().find(|name| words(line, name).is_some_and(<[u8]>::is_empty))
}

fn uncommented(line: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'#', b'$', line).unwrap_or(line.len());
    class::trim(line.get(..end).unwrap_or(line))
}

/// What follows the words of `name` at the start of `line`, whatever the letter case and the runs of blanks.
fn words<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    name.split(' ').try_fold(line, |rest, word| {
        let (start, rest) = rest.split_at_checked(word.len())?;
        let whole = rest.first().is_none_or(|next| class::of(*next) == class::BLANK);
        (whole && start.eq_ignore_ascii_case(word.as_bytes())).then_some(class::trim(rest))
    })
}

fn is_number(text: &[u8]) -> bool {
    core::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_blanks_and_comments_do_not_count() {
        assert_eq!(command(b"  Power \t ON  # now\r"), Some(("power on", &b""[..])));
        assert_eq!(command(b"set speed 0.5"), Some(("set speed", &b"0.5"[..])));
        assert_eq!(command(b"set unlock  protective stop"), Some(("set unlock protective stop", &b""[..])));
        for text in ["power", "poweron", "power on now", "set speed", "set speed x", "set speed inf", ""] {
            assert_eq!(command(text.as_bytes()), None, "{text}");
        }
        assert_eq!(control(b" SkipBuffer "), Some("skipbuffer"));
        assert_eq!(control(b"skipbuffer()"), None);
    }

    #[test]
    fn every_name_is_found_by_itself() {
        for name in BARE_COMMANDS.iter().filter(|name| **name != "set speed") {
            assert_eq!(command(name.as_bytes()), Some((*name, &b""[..])));
        }
    }
}
