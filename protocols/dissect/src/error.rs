use core::fmt;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes end before the field does, in a place where no more bytes can follow.
    Truncated,
    /// A field contradicts its specification or another field.
    Malformed,
    /// The value is well-formed, but nobody may send it in this direction.
    Forbidden,
    /// The value is legal, but this dissector does not read it.
    Unsupported,
}

/// Why bytes could not be read as their protocol: blames the peer, names the field.
///
/// Small and `Copy`, so that it can travel on the packet path; the text is made only when somebody reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DissectError {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The field in its specification's own words, such as `"MBAP length"`.
    pub field: &'static str,
    /// Bytes that the field (or the unit up to its end) needs; 0 where length is not the trouble.
    pub needed: u32,
    /// Bytes there were.
    pub have: u32,
    /// Where the field starts, in bytes from the start of what was given.
    pub offset: u32,
}

impl DissectError {
    /// A field that contradicts its specification, at `offset`.
    #[must_use]
    pub fn malformed(field: &'static str, offset: usize) -> Self {
        Self::at(ErrorKind::Malformed, field, offset)
    }

    /// A well-formed value that nobody may send, at `offset`.
    #[must_use]
    pub fn forbidden(field: &'static str, offset: usize) -> Self {
        Self::at(ErrorKind::Forbidden, field, offset)
    }

    /// A legal value that is not read here, at `offset`.
    #[must_use]
    pub fn unsupported(field: &'static str, offset: usize) -> Self {
        Self::at(ErrorKind::Unsupported, field, offset)
    }

    /// Bytes that end too early: `needed` from `offset` on, `have` there.
    #[must_use]
    pub fn truncated(field: &'static str, offset: usize, needed: usize, have: usize) -> Self {
        Self { needed: clamp(needed), have: clamp(have), ..Self::at(ErrorKind::Truncated, field, offset) }
    }

    fn at(kind: ErrorKind, field: &'static str, offset: usize) -> Self {
        Self { kind, field, needed: 0, have: 0, offset: clamp(offset) }
    }
}

fn clamp(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl fmt::Display for DissectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, field, needed, have, offset } = *self;
        match kind {
            ErrorKind::Truncated => write!(f, "{field} at byte {offset} needs {needed} bytes, {have} are there"),
            ErrorKind::Malformed => write!(f, "{field} at byte {offset} is malformed"),
            ErrorKind::Forbidden => write!(f, "{field} at byte {offset} is forbidden"),
            ErrorKind::Unsupported => write!(f, "{field} at byte {offset} is not supported"),
        }
    }
}

impl core::error::Error for DissectError {}
