//! The bodies of commands: a JSON object with one string, and nothing else.

/// The name and value of the only member of an object, where the value is a string without escapes.
///
/// Whatever else a body may be, no command of the table has it; so nothing is read in two ways.
/// Source: RFC 8259.
pub(crate) fn only_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    let (name, rest) = string(inside.trim_ascii())?;
    let (value, rest) = string(rest.trim_ascii().strip_prefix(b":")?.trim_ascii())?;
    rest.trim_ascii().is_empty().then_some((name, value))
}

/// A string at the start of `text`, and what follows it.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', inside)?;
    let (value, rest) = inside.split_at_checked(end)?;
    let plain = value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f) && core::str::from_utf8(value).is_ok();
    Some((value, rest.strip_prefix(b"\"")?)).filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::only_string;

    #[test]
    fn one_string_and_nothing_else() {
        let read = |text: &'static str| only_string(text.as_bytes());
        assert_eq!(read(r#"{"action":"POWER_ON"}"#), Some((&b"action"[..], &b"POWER_ON"[..])));
        assert_eq!(read(" { \"a\" :\r\n \"b c\" } "), Some((&b"a"[..], &b"b c"[..])));
        for other in [
            "",
            "{}",
            "\"a\"",
            r#"{"a":1}"#,
            r#"{"a":"b","c":"d"}"#,
            r#"{"a":"b","a":"d"}"#,
            r#"{"a":"\u0050"}"#,
            r#"{"a\n":"b"}"#,
            r#"[{"a":"b"}]"#,
            r#"{"a":"b"}{"a":"c"}"#,
            r#"{"a":"b"} x"#,
            r#"{"a":"b",}"#,
            r#"{"a":{"b":"c"}}"#,
            "{\"a\":\"b\u{1}\"}",
        ] {
            assert_eq!(only_string(other.as_bytes()), None, "{other}");
        }
    }
}
