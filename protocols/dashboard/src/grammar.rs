//! Which lines are commands. Strict for every verb alike, since one verb of an unpatched controller hands text to an
//! operating system shell (CVE-2026-8153) and which one it is was not published.

use core::fmt;

use crate::{Argument, Verb};

/// Why a line is outside the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrammarError {
    /// No row of the command table is at its start.
    UnknownCommand,
    /// A control character (tab, carriage return inside the line, DEL, C1), a Unicode line separator or a byte that
    /// is not UTF-8: what could end the line for another reader.
    ControlByte,
    /// One of ``; | & ` $ ( ) < > \ " '``: what ends, joins, redirects, substitutes or quotes commands in a shell.
    ShellMetacharacter,
    /// What follows the verb is missing, must not be there or is not of the verb's kind.
    BadArgument,
    /// Nothing but blanks.
    Empty,
}

impl GrammarError {
    /// Its name in records: lower case, snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCommand => "unknown_command",
            Self::ControlByte => "control_byte",
            Self::ShellMetacharacter => "shell_metacharacter",
            Self::BadArgument => "bad_argument",
            Self::Empty => "empty",
        }
    }
}

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCommand => "is no known Dashboard command",
            Self::ControlByte => "has a control byte or is not UTF-8",
            Self::ShellMetacharacter => "has a shell metacharacter",
            Self::BadArgument => "has an argument that its command does not take",
            Self::Empty => "is empty",
        })
    }
}

impl core::error::Error for GrammarError {}

const METACHARACTERS: &[u8] = b";|&`$()<>\\\"'";

/// The row of the table that `text` (a line without its end) asks for, and its argument.
///
/// The argument is returned with errors too, as far as a verb was found, so that a record can show it.
pub(crate) fn read(text: &[u8]) -> (Result<&'static Verb, GrammarError>, &[u8]) {
    let line = trim(text);
    if line.is_empty() && text.iter().all(|byte| *byte == b' ') {
        return (Err(GrammarError::Empty), line);
    }
    let found = longest(line);
    let argument = found.map_or_else(Default::default, |(_, argument)| argument);
    let verdict = match (printable(text), found) {
        (false, _) => Err(GrammarError::ControlByte),
        _ if text.iter().any(|byte| METACHARACTERS.contains(byte)) => Err(GrammarError::ShellMetacharacter),
        (true, None) => Err(GrammarError::UnknownCommand),
        (true, Some((verb, argument))) if fits(argument, verb.argument) => Ok(verb),
        (true, Some(_)) => Err(GrammarError::BadArgument),
    };
    (verdict, argument)
}

/// The verb with the most words that `line` begins with: `load installation x` is never `load` of a file
/// "installation x".
fn longest(line: &[u8]) -> Option<(&'static Verb, &[u8])> {
    // A look at the first letter leaves some five of the rows to be compared word by word.
    let first = line.first()?;
    let begins = |verb: &&Verb| verb.name.as_bytes().first().is_some_and(|own| own.eq_ignore_ascii_case(first));
    let rows = Verb::all().iter().filter(begins).filter_map(|verb| Some((verb, words(line, verb.name)?)));
    rows.max_by_key(|(verb, _)| verb.name.len())
}

/// What follows the words of `name` at the start of `line`, whatever the letter case and the runs of blanks.
fn words<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    name.split(' ').try_fold(line, |rest, word| {
        let (start, rest) = rest.split_at_checked(word.len())?;
        let whole = rest.first().is_none_or(|next| *next == b' ');
        (whole && start.eq_ignore_ascii_case(word.as_bytes())).then_some(trim(rest))
    })
}

fn printable(text: &[u8]) -> bool {
    let separator = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    core::str::from_utf8(text).is_ok_and(|text| !text.chars().any(separator))
}

fn fits(argument: &[u8], kind: Argument) -> bool {
    // A leading dash would turn the argument into an option of whatever program it is handed to.
    let present = argument.first().is_some_and(|byte| *byte != b'-');
    match kind {
        Argument::None => argument.is_empty(),
        Argument::Path => present && is_path(argument),
        Argument::Text => present,
        Argument::Name => is_name(argument),
        Argument::OneOf(choices) => choices.iter().any(|choice| argument.eq_ignore_ascii_case(choice.as_bytes())),
    }
}

fn is_path(argument: &[u8]) -> bool {
    let Ok(path) = core::str::from_utf8(argument) else { return false };
    path.chars().all(|c| c.is_alphanumeric() || " /._-+,@=:".contains(c))
        // A server that collapses blanks would open another file than the one that was judged.
        && !path.contains("  ")
        && path.split('/').all(|component| component.trim() != "..")
}

fn is_name(argument: &[u8]) -> bool {
    let first = argument.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    first && argument.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Without blanks (0x20 only) at both ends.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}
