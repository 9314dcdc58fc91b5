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

    pub(super) fn number(&mut self, key: &str, number: impl Into<u64>) {
        let _ = write!(self.key(key), "{}", number.into());
    }

    pub(super) fn signed(&mut self, key: &str, number: i64) {
        let _ = write!(self.key(key), "{number}");
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
            let _ = write!(out, "{number}");
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
                self.text(&format!("{key}_hex"), &hex(bytes));
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
    for character in text.chars() {
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
    out.push('"');
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
