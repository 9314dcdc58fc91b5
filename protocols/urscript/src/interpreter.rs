//! What the interpreter port (30020) says: one line for each line that it was sent.

use dissect::{DissectError, Step};

/// Longest line of the interpreter that is read, in bytes with its line end. It repeats the statement, for which no
/// limit is documented; far above what clients are known to send.
pub const MAX_INTERPRETER_REPLY: usize = 8192;

/// Most bytes of a statement that [`discard_line`] repeats.
const REPEATED: usize = 1024;

/// A buffer of this many bytes holds every line of [`discard_line`] whose reason is at most 64 bytes long.
pub const MAX_DISCARD_LINE: usize = REPEATED + 64 + 12;

/// One line of the interpreter.
///
/// Source: script manual, chapter on interpreter mode. Shape: `ack: <id>: <statement>`, `discard: <reason>: <statement>`
/// or `state: <n>: <command>`, ended by `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterReply<'a> {
    /// Which of the three it is.
    pub kind: InterpreterReplyKind,
    /// What stands between the first two colons, trimmed: an id, a reason or a number.
    pub about: &'a [u8],
    /// What follows, trimmed: the statement or control word that it answers.
    pub statement: &'a [u8],
    /// The line without its end.
    pub text: &'a [u8],
}

/// What became of a line that the interpreter was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterpreterReplyKind {
    /// `ack`: the statement is queued.
    Ack,
    /// `discard`: the statement will not be executed.
    Discard,
    /// `state`: answers a control word.
    State,
    /// In no table.
    Other,
}

impl<'a> InterpreterReply<'a> {
    /// Looks for one line at the start of `bytes`.
    ///
    /// # Errors
    /// A line longer than [`MAX_INTERPRETER_REPLY`].
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let window = bytes.get(..MAX_INTERPRETER_REPLY).unwrap_or(bytes);
        match memchr::memchr(b'\n', window) {
            Some(end) => {
                let text = window.get(..end).unwrap_or_default();
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                Ok(Step::Whole { unit: Self::read(text), len: end.saturating_add(1) })
            }
            None if window.len() >= MAX_INTERPRETER_REPLY => {
                Err(DissectError::malformed("interpreter reply", MAX_INTERPRETER_REPLY))
            }
            None => Ok(Step::Partial { needed: bytes.len().saturating_add(1) }),
        }
    }

    /// Reads one line that is given without its end.
    #[must_use]
    pub fn read(text: &'a [u8]) -> Self {
        let mut parts = text.splitn(3, |byte| *byte == b':').map(<[u8]>::trim_ascii);
        let kind = match parts.next() {
            Some(b"ack") => InterpreterReplyKind::Ack,
            Some(b"discard") => InterpreterReplyKind::Discard,
            Some(b"state") => InterpreterReplyKind::State,
            _ => InterpreterReplyKind::Other,
        };
        let (about, statement) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Self { kind, about, statement, text }
    }
}

/// Writes the line, with its `\n`, that stands in for the interpreter's own where `statement` is refused:
/// `discard: <reason>: <statement>`; returns its length.
///
/// The reason must be one word without a colon. The statement comes back trimmed, as printable ASCII (anything else as
/// `?`), and cut after 1024 bytes. Nothing where `buffer` is too small; [`MAX_DISCARD_LINE`] bytes suffice.
#[must_use]
pub fn discard_line(reason: &str, statement: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let statement = statement.trim_ascii();
    let statement = statement.get(..REPEATED).unwrap_or(statement);
    let mut len = 0_usize;
    for part in [&b"discard: "[..], reason.as_bytes(), b": ", statement] {
        for byte in part {
            let printable = byte.is_ascii_graphic() || *byte == b' ';
            *buffer.get_mut(len)? = if printable { *byte } else { b'?' };
            len = len.checked_add(1)?;
        }
    }
    *buffer.get_mut(len)? = b'\n';
    len.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (InterpreterReply<'_>, usize) {
        let Ok(Step::Whole { unit, len }) = InterpreterReply::step(text) else { panic!("not whole") };
        (unit, len)
    }

    #[test]
    fn the_three_lines_of_the_manual() {
        let (ack, len) = read(b"ack: 12: movej([0,0,0,0,0,0])\nack: 13: sync()\n");
        assert_eq!((ack.kind, ack.about, len), (InterpreterReplyKind::Ack, &b"12"[..], 30));
        assert_eq!(ack.statement, b"movej([0,0,0,0,0,0])");
        let (discard, _) = read(b"discard: syntax error: textmsg(\"a: b\")\r\n");
        assert_eq!(discard.kind, InterpreterReplyKind::Discard);
        assert_eq!((discard.about, discard.statement), (&b"syntax error"[..], &b"textmsg(\"a: b\")"[..]));
        let (state, _) = read(b"state: 4: statelastexecuted\n");
        assert_eq!((state.kind, state.about), (InterpreterReplyKind::State, &b"4"[..]));
        assert_eq!(read(b"\n").0.kind, InterpreterReplyKind::Other);
    }

    #[test]
    fn a_line_is_waited_for_up_to_its_cap() {
        assert_eq!(InterpreterReply::step(b"ack: 1"), Ok(Step::Partial { needed: 7 }));
        let mut long = [b'a'; MAX_INTERPRETER_REPLY];
        assert!(InterpreterReply::step(&long).is_err());
        long[MAX_INTERPRETER_REPLY - 1] = b'\n';
        assert!(InterpreterReply::step(&long).is_ok());
    }

    #[test]
    fn a_discard_line_is_one_line_whatever_the_statement() {
        let mut buffer = [0; MAX_DISCARD_LINE];
        let len = discard_line("no_rule", b"  movej(p[0,1])\r\n", &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"discard: no_rule: movej(p[0,1])\n");
        let len = discard_line("no_rule", b"a\nb\xff\x1b", &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"discard: no_rule: a?b??\n");
        let reason = core::str::from_utf8(&[b'r'; 64]).unwrap();
        let len = discard_line(reason, &[b'x'; 5000], &mut buffer).unwrap();
        assert_eq!(len, MAX_DISCARD_LINE);
        assert_eq!(read(&buffer).1, len);
        assert_eq!(discard_line("no_rule", b"halt", &mut [0; 22]), None);
        assert_eq!(discard_line("no_rule", b"halt", &mut [0; 23]), Some(23));
    }
}
