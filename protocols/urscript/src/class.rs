//! What each byte can be, as one table, so that the scanner and the lexer branch once a byte.

/// Outside strings and comments no text of the language has this byte.
pub(crate) const BAD: u8 = 0;
pub(crate) const BLANK: u8 = 1;
pub(crate) const NEWLINE: u8 = 2;
pub(crate) const CARRIAGE_RETURN: u8 = 3;
pub(crate) const WORD: u8 = 4;
pub(crate) const QUOTE: u8 = 5;
pub(crate) const HASH: u8 = 6;
pub(crate) const DOLLAR: u8 = 7;
pub(crate) const OPEN: u8 = 8;
pub(crate) const CLOSE: u8 = 9;
pub(crate) const OPERATOR: u8 = 10;

/// The part of an entry that holds one of the classes above.
const CLASS: u8 = 0x0f;
/// Letters, digits, underscore.
pub(crate) const IN_WORD: u8 = 0x10;
/// Line ends, quotes and control bytes: what a scan through a string stops at.
pub(crate) const STOPS_STRING: u8 = 0x20;
/// Line ends and control bytes: what a scan through a comment stops at.
pub(crate) const STOPS_COMMENT: u8 = 0x40;
pub(crate) const DIGIT: u8 = 0x80;

static TABLE: [u8; 256] = table();

#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated at compile time only"
)]
const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        table[index] = match index as u8 {
            b' ' | b'\t' => BLANK,
            b'\n' => NEWLINE | STOPS_STRING | STOPS_COMMENT,
            b'\r' => CARRIAGE_RETURN | STOPS_STRING | STOPS_COMMENT,
            b'0'..=b'9' => WORD | IN_WORD | DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => WORD | IN_WORD,
            b'"' | b'\'' => QUOTE | STOPS_STRING,
            b'#' => HASH,
            b'$' => DOLLAR,
            b'(' | b'[' => OPEN,
            b')' | b']' => CLOSE,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'=' | b'!' | b'<' | b'>' | b',' | b'.' | b':' => OPERATOR,
            0x00..=0x1f | 0x7f => BAD | STOPS_STRING | STOPS_COMMENT,
            _ => BAD,
        };
        index += 1;
    }
    table
}

fn entry(byte: u8) -> u8 {
    TABLE.get(usize::from(byte)).copied().unwrap_or(BAD)
}

/// The class of `byte`.
pub(crate) fn of(byte: u8) -> u8 {
    entry(byte) & CLASS
}

/// Whether `byte` has one of `flags`.
pub(crate) fn has(byte: u8, flags: u8) -> bool {
    entry(byte) & flags != 0
}

/// The first position from `from` on whose byte has (`wanted`) or has not one of `flags`; the length if there is none.
pub(crate) fn find(bytes: &[u8], from: usize, flags: u8, wanted: bool) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let at = rest.iter().position(|byte| has(*byte, flags) == wanted).unwrap_or(rest.len());
    from.saturating_add(at)
}

/// Without blanks and line ends around.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}
