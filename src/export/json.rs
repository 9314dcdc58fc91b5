//! Writing JSON by hand: one pass into a string, no tree in between.

use std::fmt::Write;

/// A JSON object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Writes one object; `fill` writes its members.
    pub(super) fn write(out: &'a mut String, fill: impl FnOnce(&mut Object<'_>)) {
        out.push('{');
        let mut object = Object { out: &mut *out, empty: true };
        fill(&mut object);
        out.push('}');
    }

    fn key(&mut self, key: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        quote(self.out, key);
        self.out.push(':');
        self.out
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        quote(self.key(key), text);
    }

    /// Bytes in hexadecimal digits.
    pub(super) fn hex(&mut self, key: &str, bytes: &[u8]) {
        let out = self.key(key);
        out.push('"');
        push_hex(out, bytes);
        out.push('"');
    }

    pub(super) fn number(&mut self, key: &str, number: impl Into<u64>) {
        self.key(key).push_str(itoa::Buffer::new().format(number.into()));
    }

    pub(super) fn signed(&mut self, key: &str, number: i64) {
        self.key(key).push_str(itoa::Buffer::new().format(number));
    }

    /// A number of this whole part and so many millionths.
    pub(super) fn decimal(&mut self, key: &str, whole: u64, millionths: u64) {
        let _ = write!(self.key(key), "{whole}.{millionths:06}");
    }

    /// A finite number by its text; written anew, as Rust reads more forms than JSON has.
    pub(super) fn raw_number(&mut self, key: &str, text: &str) {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                let _ = write!(self.key(key), "{number:?}");
            }
            _ => self.text(key, text),
        }
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.key(key).push_str(if flag { "true" } else { "false" });
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        Object::write(self.key(key), fill);
    }

    /// An array, each item written by `write`.
    pub(super) fn array<T>(&mut self, key: &str, items: impl IntoIterator<Item = T>, write: impl Fn(&mut String, T)) {
        let out = self.key(key);
        out.push('[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write(out, item);
        }
        out.push(']');
    }

    pub(super) fn numbers(&mut self, key: &str, numbers: &[u16]) {
        self.array(key, numbers, |out, number| {
            out.push_str(itoa::Buffer::new().format(*number));
        });
    }

    pub(super) fn texts<'t>(&mut self, key: &str, texts: impl IntoIterator<Item = &'t str>) {
        self.array(key, texts, quote);
    }

    /// Text from the wire. `key` holds it readable, bytes that are no UTF-8 as U+FFFD; then `key_hex` holds every byte,
    /// so that nothing is lost. `key_cut` says that there was more on the wire.
    pub(super) fn wire_text(&mut self, key: &str, bytes: &[u8], cut: bool) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(key, text),
            Err(_) => {
                self.text(key, &String::from_utf8_lossy(bytes));
                self.hex(&format!("{key}_hex"), bytes);
            }
        }
        if cut {
            self.flag(&format!("{key}_cut"), true);
        }
    }
}

/// A JSON string. Besides what JSON asks for, escapes everything that a terminal or a log viewer might act on: C1
/// controls, line and paragraph separators, bidirectional overrides and invisible marks.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        // Nearly all text is plain: it is looked at byte by byte and copied as a whole.
        let plain = rest.bytes().position(begins_special).unwrap_or(rest.len());
        let (run, behind) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        out.push_str(run);
        let mut characters = behind.chars();
        let Some(character) = characters.next() else { break };
        escape(out, character);
        rest = characters.as_str();
    }
    out.push('"');
}

/// Whether a character that [`escape`] might change begins with this byte of UTF-8: U+0080 to U+00BF begin with C2,
/// U+2000 to U+2FFF with E2, U+FEFF with EF.
const fn begins_special(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | b'"' | b'\\' | 0x7f | 0xc2 | 0xe2 | 0xef)
}

fn escape(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        }
        other => out.push(other),
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    push_hex(&mut out, bytes);
    out
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    out.reserve(bytes.len().saturating_mul(2));
    for byte in bytes {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
        out.push(digit(byte >> 4));
        out.push(digit(byte & 0xf));
    }
}

/// A number in `width` decimal digits, with zeros before it.
pub(super) fn digits(out: &mut String, number: u32, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    (text.len()..width).for_each(|_| out.push('0'));
    out.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_reads_back_and_the_dangerous_ones_are_escaped() {
        for character in '\0'..=char::MAX {
            let text = format!("a{character}{character}z");
            let mut out = String::new();
            quote(&mut out, &text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            let dangerous = matches!(u32::from(character),
                0..0x20 | 0x7f..=0x9f | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff)
                || "\"\\".contains(character);
            assert_eq!(out.contains(&text), !dangerous, "U+{:04X}", u32::from(character));
        }
    }

    #[test]
    fn digits_are_filled_up_with_zeros() {
        let mut out = String::new();
        for (number, width) in [(0, 2), (7, 2), (59, 2), (42, 6), (2026, 4), (1234, 2)] {
            digits(&mut out, number, width);
            out.push(' ');
        }
        assert_eq!(out, "00 07 59 000042 2026 1234 ");
        assert_eq!(hex(&[0, 0x1f, 0xa5, 0xff]), "001fa5ff");
    }
}
