use dissect::{DissectError, Step};

use crate::head::{Head, Length, number};

/// What the box answers where it refuses a request: that it was understood and is not allowed.
/// Source: RFC 9110, section 15.5.4.
pub const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n\
{\"error\":\"not allowed by policy\"}";

/// One response toward the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status: 200, 404 and so on.
    pub status: u16,
    /// The status line.
    pub line: &'a [u8],
    /// Whether another response to the same request follows (100 to 199).
    pub interim: bool,
}

impl<'a> Response<'a> {
    /// Looks for one response at the start of `bytes`.
    ///
    /// Source: RFC 9112, section 6.3. No request of the table is a HEAD, so a body is there wherever a length is said.
    ///
    /// # Errors
    /// No HTTP; a body that lasts until the connection ends, or of unclear length: where the next response begins is not
    /// told.
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let (head, start) = match Head::step(bytes)? {
            Step::Partial { needed } => return Ok(Step::Partial { needed }),
            Step::Whole { unit, len } => (unit, len),
        };
        let rest = head.first.strip_prefix(b"HTTP/1.1 ").or_else(|| head.first.strip_prefix(b"HTTP/1.0 "));
        let status = rest.and_then(|rest| number(rest.get(..3)?)).filter(|status| (100..600).contains(status));
        let status = status.and_then(|status| u16::try_from(status).ok());
        let status = status.ok_or(DissectError::malformed("HTTP status line", 0))?;
        let unit = Self { status, line: head.first, interim: status < 200 };
        if status < 200 || status == 204 || status == 304 {
            return Ok(Step::Whole { unit, len: start });
        }
        match head.length()? {
            Length::Unsaid => Err(DissectError::unsupported("body that lasts until the end", start)),
            Length::Bytes(len) => {
                let end = start.saturating_add(len);
                if bytes.len() < end { Ok(Step::Partial { needed: end }) } else { Ok(Step::Whole { unit, len: end }) }
            }
            Length::Chunked => Ok(match chunks(bytes.get(start..).unwrap_or_default())? {
                Step::Partial { .. } => Step::Partial { needed: bytes.len().saturating_add(1) },
                Step::Whole { len, .. } => Step::Whole { unit, len: start.saturating_add(len) },
            }),
        }
    }
}

/// Longest line with the size of a chunk.
const MAX_SIZE_LINE: usize = 64;

/// A body in chunks, without trailer. Source: RFC 9112, section 7.1.
fn chunks(bytes: &[u8]) -> Result<Step<()>, DissectError> {
    let mut at = 0_usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let window = rest.get(..MAX_SIZE_LINE).unwrap_or(rest);
        let Some(end) = memchr::memmem::find(window, b"\r\n") else {
            return if rest.len() >= MAX_SIZE_LINE {
                Err(DissectError::malformed("size of a chunk", at))
            } else {
                Ok(Step::Partial { needed: bytes.len().saturating_add(1) })
            };
        };
        let size = window.get(..end).and_then(hexadecimal).ok_or(DissectError::malformed("size of a chunk", at))?;
        let data = at.saturating_add(end).saturating_add(2);
        let after = data.saturating_add(size);
        match bytes.get(after..after.saturating_add(2)) {
            None => return Ok(Step::Partial { needed: after.saturating_add(2) }),
            Some(b"\r\n") if size == 0 => return Ok(Step::Whole { unit: (), len: after.saturating_add(2) }),
            Some(b"\r\n") => at = after.saturating_add(2),
            Some(_) => return Err(DissectError::malformed("end of a chunk", after)),
        }
    }
}

/// One to six hexadecimal digits, without an extension.
fn hexadecimal(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 6 {
        return None;
    }
    text.iter().try_fold(0_usize, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        number.checked_mul(16)?.checked_add(usize::try_from(digit).ok()?)
    })
}
