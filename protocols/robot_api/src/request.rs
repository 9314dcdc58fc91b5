use dissect::{DissectError, Step};

use crate::head::{Head, Length};
use crate::{MAX_BODY, operation};

/// One request toward the robot: head and body.
///
/// Source: RFC 9112. Shape: request line, fields, blank line, as many bytes of body as Content-Length says.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in the sender's case.
    pub method: &'a [u8],
    /// The target as it is written: path, and query where there is one.
    pub target: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// Whether a field may make a server take it for another request than it looks like.
    ambiguous: bool,
}

/// Fields that make some servers act on another method, path or body.
const OVERRIDES: [&str; 7] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "content-encoding",
    "te",
];

impl<'a> Request<'a> {
    /// Looks for one request at the start of `bytes`.
    ///
    /// A request for what the table does not know is a whole unit too.
    ///
    /// Cost: one pass over the head.
    ///
    /// # Errors
    /// No HTTP/1.0 or 1.1; a head or body longer than [`crate::MAX_HEAD`] and [`MAX_BODY`]; a body in chunks or of unclear
    /// length; a change to another protocol. After any of them nobody knows where the next request begins.
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let (head, start) = match Head::step(bytes)? {
            Step::Partial { needed } => return Ok(Step::Partial { needed }),
            Step::Whole { unit, len } => (unit, len),
        };
        let (method, target) = request_line(head.first).ok_or(DissectError::malformed("HTTP request line", 0))?;
        if method == b"CONNECT" || head.has("upgrade") {
            return Err(DissectError::forbidden("change to another protocol", 0));
        }
        let len = match head.length()? {
            Length::Unsaid => 0,
            Length::Bytes(len) if len <= MAX_BODY => len,
            Length::Bytes(_) => return Err(DissectError::forbidden("length of an HTTP body", start)),
            Length::Chunked => return Err(DissectError::forbidden("body in chunks", start)),
        };
        let end = start.saturating_add(len);
        match bytes.get(start..end) {
            Some(body) => {
                let ambiguous = OVERRIDES.into_iter().any(|name| head.has(name));
                Ok(Step::Whole { unit: Self { method, target, body, ambiguous }, len: end })
            }
            None => Ok(Step::Partial { needed: end }),
        }
    }

    /// The request in the Dashboard's words, without a line end; for what is in no row of the table its method and
    /// target, which no row of the Dashboard's table has either. Cut where `buffer` is too small; [`crate::MAX_LINE`] bytes
    /// hold every known command.
    pub fn line<'b>(&self, buffer: &'b mut [u8]) -> &'b [u8] {
        let known = if self.ambiguous { None } else { operation::command(self.method, self.target, self.body) };
        let (words, argument) = match &known {
            Some((words, argument)) => (words.as_bytes(), *argument),
            None => (self.method, self.target),
        };
        let blank: &[u8] = if argument.is_empty() { b"" } else { b" " };
        let mut len = 0_usize;
        for byte in words.iter().chain(blank).chain(argument) {
            let Some(place) = buffer.get_mut(len) else { break };
            *place = *byte;
            len = len.saturating_add(1);
        }
        buffer.get(..len).unwrap_or_default()
    }
}

/// Method and target. Source: RFC 9112, section 3: one blank between the parts, nothing else.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = [&b" HTTP/1.1"[..], b" HTTP/1.0"].into_iter().find_map(|version| line.strip_suffix(version))?;
    let blank = memchr::memchr(b' ', rest)?;
    let (method, target) = (rest.get(..blank)?, rest.get(blank.checked_add(1)?..)?);
    let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
    let is_target = target.starts_with(b"/") && target.iter().all(u8::is_ascii_graphic);
    (is_method && is_target).then_some((method, target))
}
