//! Events as syslog messages: RFC 5424 around CEF, framed by octet counting (RFC 5425, section 4.3; RFC 6587, 3.4.1).

use serde_json::Value;

use crate::config::Which;
use crate::export::{cef, cef_severity, told};

/// Facility of all messages: 16, `local0`; what a box in the network uses whose messages are of no system part.
const FACILITY: u8 = 16;

/// Longest message in bytes: receivers take at least 8192 with TLS (RFC 5425, section 4.3.1), and no value of CEF is
/// longer than 1023 characters, so that nothing of ours comes near.
const LONGEST: usize = 16 << 10;

/// Whether a receiver of `which` gets the event.
pub(super) fn is_wanted(line: &Value, which: Which) -> bool {
    let kind = line.get("event_type").and_then(Value::as_str).unwrap_or_default();
    which == Which::All || matches!(kind, "alert" | "drop" | "anomaly" | "notice" | "robot_message" | "stats")
}

/// The framed message of an event; `None` where the line is none.
pub(super) fn message(line: &Value, synchronised: bool) -> Option<Vec<u8>> {
    let text = cef(line)?;
    let field = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let severity = match cef_severity(line) {
        7.. => 2,   // critical
        5 | 6 => 4, // warning
        3 | 4 => 5, // notice
        _ => 6,     // informational
    };
    let id = told::event_id(line).map_or(String::new(), |id| format!(" eventId=\"{id}\""));
    Some(framed(
        &Head { severity, time: field("timestamp"), host: field("host"), kind: field("event_type"), id: &id },
        &text,
        synchronised,
    ))
}

/// A message of the sender itself, in the form of an event.
pub(super) fn own(host: &str, name: &str, text: &str, synchronised: bool) -> Vec<u8> {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f+0000").to_string();
    let line = serde_json::json!({
        "timestamp": time, "event_type": "notice", "host": host, "notice": {"kind": name, "sentence": text},
    });
    message(&line, synchronised).unwrap_or_default()
}

struct Head<'a> {
    severity: u8,
    time: &'a str,
    host: &'a str,
    kind: &'a str,
    id: &'a str,
}

fn framed(head: &Head<'_>, text: &str, synchronised: bool) -> Vec<u8> {
    let priority = FACILITY.saturating_mul(8).saturating_add(head.severity);
    let time = rfc3339(head.time).unwrap_or_else(|| "-".to_owned());
    let (host, kind) = (token(head.host, 255), token(head.kind, 32));
    let synchronised = u8::from(synchronised);
    let mut message = format!(
        "<{priority}>1 {time} {host} vambrace {} {kind} \
         [timeQuality tzKnown=\"1\" isSynced=\"{synchronised}\"][vambrace@32473{}] {text}",
        std::process::id(),
        head.id
    );
    if message.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
    }
    let mut framed = format!("{} ", message.len()).into_bytes();
    framed.extend_from_slice(message.as_bytes());
    framed
}

/// `2026-11-23T13:58:02.114209+0000` with the colon that RFC 5424 wants.
fn rfc3339(time: &str) -> Option<String> {
    let (date, offset) = time.split_at_checked(time.len().checked_sub(5)?)?;
    let (hours, minutes) = offset.split_at_checked(3)?;
    let fine = date.contains('T') && hours.starts_with(['+', '-']) && minutes.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| format!("{date}{hours}:{minutes}"))
}

/// A field of the header: printable ASCII without blanks, `-` where there is nothing.
fn token(text: &str, longest: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_framed_and_complete() {
        let line = json!({"timestamp": "2026-11-23T13:58:02.114209+0000", "event_type": "notice", "host": "box 4",
            "notice": {"event_id": 7, "kind": "mode", "sentence": "Mode a became b."}});
        let framed = String::from_utf8(message(&line, true).unwrap()).unwrap();
        let (len, text) = framed.split_once(' ').unwrap();
        assert_eq!(len.parse(), Ok(text.len()));
        let pid = std::process::id();
        let head = format!(
            "<133>1 2026-11-23T13:58:02.114209+00:00 box4 vambrace {pid} notice \
            [timeQuality tzKnown=\"1\" isSynced=\"1\"][vambrace@32473 eventId=\"7\"] CEF:0|Vambrace|"
        );
        assert!(text.starts_with(&head), "{text}");
    }

    #[test]
    fn only_what_is_wanted_goes_out() {
        let kind = |kind: &str| json!({"event_type": kind});
        assert!(is_wanted(&kind("alert"), Which::Security) && is_wanted(&kind("stats"), Which::Security));
        assert!(!is_wanted(&kind("modbus"), Which::Security) && is_wanted(&kind("modbus"), Which::All));
        assert!(!is_wanted(&kind("flow"), Which::Security));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let head = Head { severity: 6, time: "x", host: "", kind: "", id: "" };
        let framed = framed(&head, &"\u{e4}".repeat(20_000), false);
        let text = String::from_utf8(framed).unwrap();
        let (len, rest) = text.split_once(' ').unwrap();
        assert_eq!(len.parse(), Ok(rest.len()));
        assert!(rest.len() <= LONGEST && rest.starts_with("<134>1 - - vambrace "));
    }
}
