#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A reader written from the format's description alone: seven header fields parted by `|`, then pairs whose values run
/// to the last blank before the next unescaped `=`.
fn parsed(text: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut fields = vec![String::new()];
    let mut characters = text.chars();
    while fields.len() < 8 {
        match characters.next().expect("eight fields") {
            '\\' => fields.last_mut().unwrap().push(characters.next().unwrap()),
            '|' => fields.push(String::new()),
            other => fields.last_mut().unwrap().push(other),
        }
    }
    fields.pop();
    let extension: Vec<char> = characters.collect();
    let mut equals = Vec::new();
    let mut at = 0;
    while at < extension.len() {
        match extension[at] {
            '\\' => at += 1,
            '=' => equals.push(at),
            _ => {}
        }
        at += 1;
    }
    let key_start = |equal: usize| extension[..equal].iter().rposition(|c| *c == ' ').map_or(0, |blank| blank + 1);
    let mut pairs = BTreeMap::new();
    for (place, equal) in equals.iter().enumerate() {
        let end = equals.get(place + 1).map_or(extension.len(), |next| key_start(*next) - 1);
        let key: String = extension[key_start(*equal)..*equal].iter().collect();
        let mut value = String::new();
        let mut raw = extension[equal + 1..end].iter();
        while let Some(character) = raw.next() {
            match character {
                '\\' => value.push(match raw.next().unwrap() {
                    'n' => '\n',
                    'r' => '\r',
                    other => *other,
                }),
                other => value.push(*other),
            }
        }
        assert!(pairs.insert(key.clone(), value).is_none(), "{key} stands twice");
    }
    (fields, pairs)
}

fn alert() -> Value {
    json!({
        "timestamp": "2026-11-23T13:58:02.114209+0000", "event_type": "alert", "host": "box-4",
        "src_ip": "10.20.0.21", "src_port": 49152, "dest_ip": "10.20.0.40", "dest_port": 502, "proto": "TCP",
        "community_id": "1:abc=", "direction": "to_server", "app_proto": "modbus",
        "alert": {
            "action": "blocked", "gid": 1, "signature_id": 9_100_002, "rev": 1,
            "signature": "Vambrace modbus value_out_of_range", "category": "x", "severity": 2,
            "metadata": {"reason": ["value_out_of_range"], "mitre_technique_id": ["T0836"]},
            "context": {
                "event_id": 77, "action": "refused", "refusal": "refuse", "reason": "value_out_of_range",
                "rule": "plc-registers", "generation": 3, "service": "modbus", "class": "register", "client": "plc",
                "robot": "cell4-robot", "sentence": "plc wrote 200 to register 128 = too much",
                "command": {"unit": 1, "function": "write_single_register"}
            }
        }
    })
}

#[test]
fn an_alert_has_every_key() {
    let text = cef(&alert()).unwrap();
    let (fields, pairs) = parsed(&text);
    let version = env!("CARGO_PKG_VERSION");
    let wanted = ["CEF:0", "Vambrace", "Vambrace", version, "9100002", "Vambrace modbus value_out_of_range", "6"];
    assert_eq!(fields, wanted);
    for (key, value) in [
        ("rt", "1795442282114"),
        ("externalId", "77"),
        ("src", "10.20.0.21"),
        ("spt", "49152"),
        ("dst", "10.20.0.40"),
        ("dpt", "502"),
        ("proto", "TCP"),
        ("srcAssetName", "plc"),
        ("dstAssetName", "cell4-robot"),
        ("act", "refused"),
        ("app", "modbus"),
        ("deviceExternalId", "box-4"),
        ("cs1", "value_out_of_range"),
        ("cs1Label", "reason"),
        ("cs2", "plc-registers"),
        ("cs2Label", "rule"),
        ("cs3", "register"),
        ("cs4", "T0836"),
        ("cs5", "1:abc="),
        ("cs6", r#"{"function":"write_single_register","unit":1}"#),
        ("cn1", "3"),
        ("cn1Label", "generation"),
        ("msg", "plc wrote 200 to register 128 = too much"),
    ] {
        assert_eq!(pairs.get(key).map(String::as_str), Some(value), "{key} in {text}");
    }
}

#[test]
fn names_follow_their_addresses() {
    let mut line = alert();
    line["direction"] = "to_client".into();
    let (_, pairs) = parsed(&cef(&line).unwrap());
    assert_eq!((pairs["srcAssetName"].as_str(), pairs["dstAssetName"].as_str()), ("cell4-robot", "plc"));
}

#[test]
fn other_lines_have_names_of_their_own() {
    let stats = json!({"timestamp": "2026-11-23T13:58:02.114209+0000", "event_type": "stats", "host": "b",
        "stats": {"uptime": 5, "decoder": {"pkts": 9}, "ips": {"blocked": 1}}});
    let (fields, pairs) = parsed(&cef(&stats).unwrap());
    assert_eq!((fields[4].as_str(), fields[6].as_str()), ("stats", "0"));
    assert_eq!(pairs["msg"], "heart-beat: up 5 s, 9 frames, 1 dropped");
    let notice = json!({"event_type": "notice", "host": "b", "notice": {"event_id": 4, "kind": "mode", "uid": 0,
        "sentence": "mode changed"}});
    let (fields, pairs) = parsed(&cef(&notice).unwrap());
    assert_eq!((fields[4].as_str(), pairs["externalId"].as_str(), pairs["suid"].as_str()), ("notice.mode", "4", "0"));
    let drop = json!({"event_type": "drop", "host": "b", "ether": {"src_mac": "00:01:02:03:04:05",
        "dest_mac": "00:01:02:03:04:06"}, "alert": {"action": "blocked", "signature_id": 9_100_060, "signature": "s",
        "context": {"event_id": 9, "action": "refused", "reason": "fragment", "repeats": 12}}});
    let (_, pairs) = parsed(&cef(&drop).unwrap());
    assert_eq!((pairs["smac"].as_str(), pairs["cnt"].as_str()), ("00:01:02:03:04:05", "12"));
    assert_eq!(cef(&json!({"a": 1})), None);
}

proptest! {
    #[test]
    fn any_text_comes_back(name in "\\PC{0,60}", sentence in "[\\PC\n\r]{1,200}", rule in "[|=\\\\ a-z\n]{1,40}") {
        prop_assume!(!name.chars().chain(sentence.chars()).any(|c| told::is_odd(c) && c != '\n' && c != '\r'));
        let mut line = alert();
        line["alert"]["signature"] = name.clone().into();
        line["alert"]["context"]["sentence"] = sentence.clone().into();
        line["alert"]["context"]["rule"] = rule.clone().into();
        let text = cef(&line).unwrap();
        prop_assert!(!text.contains(['\n', '\r']), "one line");
        let (fields, pairs) = parsed(&text);
        prop_assert_eq!(&fields[5], &name);
        prop_assert_eq!(&pairs["msg"], &sentence);
        prop_assert_eq!(&pairs["cs2"], &rule);
        prop_assert_eq!(&pairs["cn1"], "3");
    }

    #[test]
    fn any_value_is_one_line(text in ".{0,300}", kind in ".{0,20}") {
        let line = json!({"event_type": kind, "host": text, "verdict": {"event_id": 1, "sentence": text, "reason": text}});
        let out = cef(&line).unwrap();
        prop_assert!(!out.chars().any(char::is_control), "{:?}", out);
        let (fields, _) = parsed(&out);
        prop_assert_eq!(fields.len(), 7);
    }
}
