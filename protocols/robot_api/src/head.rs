//! Heads of HTTP messages, read strictly.

use dissect::{DissectError, Step};
use memchr::memmem;

use crate::MAX_HEAD;

/// The first line and the fields below it, each without its line end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// The request or status line.
    pub(crate) first: &'a [u8],
    fields: &'a [u8],
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// No field says anything.
    Unsaid,
    /// So many bytes.
    Bytes(usize),
    /// In chunks.
    Chunked,
}

impl<'a> Head<'a> {
    /// Looks for a head at the start of `bytes`; `len` counts the blank line.
    ///
    /// # Errors
    /// Longer than [`MAX_HEAD`]; a line end that is no CR LF, a control byte, a field without a name or with a blank
    /// before its colon, a line that continues the one before: servers differ about each of them.
    /// Source: RFC 9112, sections 2.2, 5 and 5.2.
    pub(crate) fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let end = memmem::find(window, b"\r\n\r\n");
        // Without waiting for the end of the head: what is wrong already stays wrong.
        let text = window.get(..end.unwrap_or(window.len())).unwrap_or_default();
        if let Some(at) = odd_byte(text, end.is_none()) {
            return Err(DissectError::malformed("byte of an HTTP head", at));
        }
        let Some(end) = end else {
            return if bytes.len() >= MAX_HEAD {
                Err(DissectError::forbidden("length of an HTTP head", MAX_HEAD))
            } else {
                Ok(Step::Partial { needed: bytes.len().saturating_add(1) })
            };
        };
        let (first, fields) = match memmem::find(text, b"\r\n") {
            Some(at) => (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(2)..).unwrap_or_default()),
            None => (text, &[][..]),
        };
        let head = Self { first, fields };
        for (name, _) in head.fields() {
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(DissectError::malformed("name of an HTTP field", first.len()));
            }
        }
        Ok(Step::Whole { unit: head, len: end.saturating_add(4) })
    }

    /// Names and values, blanks around the value left out; a line without a colon has no name.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.fields;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (line, after) = match memmem::find(rest, b"\r\n") {
                Some(at) => (rest.get(..at)?, rest.get(at.saturating_add(2)..)?),
                None => (rest, &[][..]),
            };
            rest = after;
            let colon = memchr::memchr(b':', line).unwrap_or(0);
            let (name, value) = (line.get(..colon)?, line.get(colon.saturating_add(1)..).unwrap_or_default());
            Some((name, value.trim_ascii()))
        })
    }

    /// Whether a field has this name, in whatever case.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields().any(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// How long the body is, by its fields.
    ///
    /// # Errors
    /// A length that is no plain number, several lengths, a length beside chunks, another coding than chunks: what one
    /// server takes for the body another takes for the next message. Source: RFC 9112, sections 6.1 to 6.3.
    pub(crate) fn length(&self) -> Result<Length, DissectError> {
        let mut length = Length::Unsaid;
        for (name, value) in self.fields() {
            let found = if name.eq_ignore_ascii_case(b"content-length") {
                Length::Bytes(number(value).ok_or(DissectError::malformed("Content-Length", 0))?)
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(DissectError::malformed("Transfer-Encoding", 0));
                }
                Length::Chunked
            } else {
                continue;
            };
            if length != Length::Unsaid {
                return Err(DissectError::malformed("length of an HTTP body, said twice", 0));
            }
            length = found;
        }
        Ok(length)
    }
}

/// The place of a byte that no head holds: a control other than CR LF, or a blank at the start of a line. In a head that
/// is still `open`, a last CR may get its LF.
fn odd_byte(text: &[u8], open: bool) -> Option<usize> {
    let mut before = 0_u8;
    for (at, byte) in text.iter().copied().enumerate() {
        let odd = match (before, byte) {
            (b'\r', b'\n') => false,
            (b'\r', _) => true,
            (_, b'\r' | b'\t') => false,
            // A field that goes on, or a head that begins with one.
            (b'\n', b' ') => true,
            (_, byte) => byte < b' ' || byte == 0x7f,
        };
        if odd || (before == b'\n' && byte == b'\t') || (at == 0 && matches!(byte, b' ' | b'\t' | b'\r')) {
            return Some(at);
        }
        before = byte;
    }
    (before == b'\r' && !open).then(|| text.len().saturating_sub(1))
}

/// Source: RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A number of one to nine decimal digits.
pub(crate) fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0_usize, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}
