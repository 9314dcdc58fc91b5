use dissect::{DissectError, Step};

use crate::grammar::{self, GrammarError};
use crate::{Argument, MAX_LINE, Verb};

/// One command line toward the robot.
///
/// Source: Universal Robots, "Dashboard Server". Shape: UTF-8 text, ended by `\n` or `\r\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line without its end (`\n` or `\r\n`).
    pub text: &'a [u8],
    /// The row of the command table; `Err` says why the line is outside the grammar.
    pub verb: Result<&'static Verb, GrammarError>,
    /// What follows the verb, blanks trimmed; empty where nothing does or no verb was found.
    pub argument: &'a [u8],
}

impl<'a> Line<'a> {
    /// Looks for one line at the start of `bytes`.
    ///
    /// A line outside the grammar is a whole unit too, with the reason in [`Line::verb`].
    ///
    /// Cost: one search for the line end; then the table is compared word by word.
    ///
    /// # Errors
    /// A line longer than [`MAX_LINE`].
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let step = line(bytes, MAX_LINE, "Dashboard command line")?;
        Ok(step.map(Self::read))
    }

    /// Reads one line that is given without its end.
    #[must_use]
    pub fn read(text: &'a [u8]) -> Self {
        let (verb, argument) = grammar::read(text);
        Self { text, verb, argument }
    }

    /// The choice that was made, spelled as in the table, where the verb takes [`Argument::OneOf`].
    #[must_use]
    pub fn choice(&self) -> Option<&'static str> {
        match self.verb.ok()?.argument {
            Argument::OneOf(choices) => {
                choices.iter().copied().find(|choice| self.argument.eq_ignore_ascii_case(choice.as_bytes()))
            }
            _ => None,
        }
    }

    /// Writes the answer, with its `\n`, that stands in for the robot's own where this line is refused: what the
    /// command itself answers when it fails, or `could not understand: '...'` for a line outside the grammar.
    ///
    /// Bytes of the client that are not printable ASCII come back as `?`. `None` where `buffer` is too small;
    /// [`crate::MAX_FAILURE_LINE`] bytes always suffice.
    pub fn failure_line<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let (pattern, filler) = match self.verb {
            Ok(verb) => (verb.failure, self.argument),
            Err(_) => ("could not understand: '{}'", grammar::trim(self.text)),
        };
        let (before, after) = pattern.split_once("{}").unwrap_or((pattern, ""));
        let filler = filler.get(..filler.len().min(MAX_LINE)).unwrap_or_default();
        let filler = if pattern.len() == before.len() { &[] } else { filler };
        let mut len = 0_usize;
        for byte in before.bytes().chain(filler.iter().copied()).chain(after.bytes()).chain([b'\n']) {
            let printable = byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n');
            *buffer.get_mut(len)? = if printable { byte } else { b'?' };
            len = len.checked_add(1)?;
        }
        buffer.get(..len)
    }
}

/// One line of at most `cap` bytes with its end, given without its end.
pub(crate) fn line<'a>(bytes: &'a [u8], cap: usize, field: &'static str) -> Result<Step<&'a [u8]>, DissectError> {
    let window = bytes.get(..cap).unwrap_or(bytes);
    match memchr::memchr(b'\n', window) {
        Some(end) => {
            let text = window.get(..end).unwrap_or_default();
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            Ok(Step::Whole { unit: text, len: end.saturating_add(1) })
        }
        None if bytes.len() >= cap => Err(DissectError::malformed(field, cap)),
        None => Ok(Step::Partial { needed: bytes.len().saturating_add(1) }),
    }
}
