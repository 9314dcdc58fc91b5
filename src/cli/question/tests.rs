#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;

static NEXT: AtomicU32 = AtomicU32::new(0);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vambrace-question-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let mut file = File::options().append(true).create(true).open(self.0.join(name)).unwrap();
        file.write_all(bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn asked(text: &str, changes: bool) -> Question {
    let filter = (!text.is_empty()).then(|| Filter::parse(text).unwrap());
    Question { filter, changes }
}

fn answer(folder: &Folder, question: &Question, index: UseIndex, limit: Option<Limit>) -> Vec<String> {
    let mut lines = Vec::new();
    question.answer(&folder.0, index, limit, |line, _| lines.push(line.to_owned())).unwrap();
    lines
}

/// Both ways give the same.
fn same(folder: &Folder, question: &Question, limit: Option<Limit>) -> Vec<String> {
    let read = answer(folder, question, UseIndex::Never, limit);
    assert_eq!(answer(folder, question, UseIndex::Always, limit), read, "{question:?}");
    read
}

fn time() -> impl Strategy<Value = String> {
    let written =
        |second: u32, micro: u32| format!("2026-11-23T13:58:{:02}.{:06}+0000", second % 60, micro % 1_000_000);
    prop_oneof![
        8 => (0..4u32, 0..3u32).prop_map(move |(second, micro)| written(second, micro)),
        1 => select(vec!["2026-11-23T13:58:01Z", "", "2026-11-23T13:58:01.000000+0100", "9"]).prop_map(str::to_owned),
    ]
}

fn word() -> impl Strategy<Value = String> {
    select(vec!["hmi", "plc", "HMI 2", "allowed", "no_rule", "modbus", "pick.urp", "", "1.5", "notice"])
        .prop_map(str::to_owned)
}

/// A member of any kind.
fn member() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => word().prop_map(Value::String),
        1 => Just(Value::Null),
        1 => (0..3u8).prop_map(|n| json!(n)),
        1 => prop::collection::vec(word(), 0..3).prop_map(|items| json!(items)),
        1 => any::<bool>().prop_map(Value::Bool),
    ]
}

fn command() -> impl Strategy<Value = Value> {
    prop_oneof![
        (select(vec![0u32, 130, 135, 65_535]), select(vec![0u32, 1, 2, 10, 3000])).prop_map(
            |(address, quantity)| json!({"function": "write", "write": {"address": address, "quantity": quantity}})
        ),
        word().prop_map(|name| json!({"command": "load", "text": format!("load {name}")})),
        word().prop_map(|name| json!({"kind": "program", "text": name, "program": "sha256:1"})),
        Just(json!({"variables": ["speed_slider=0.5"], "package": "data"})),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let kinds = select(vec!["modbus", "alert", "dashboard", "urscript", "notice", "flow", "drop"]);
    let ours = (member(), member(), member(), command(), select(vec!["modbus", "dashboard", "urscript", "rtde"]));
    let whole = (time(), kinds, ours, any::<bool>()).prop_map(|(time, kind, (client, rule, reason, command, service), sparse)| {
        let mut ours = json!({
            "event_id": 1, "client": client, "rule": rule, "reason": reason, "service": service, "action": "allowed",
            "command": command, "kind": reason,
        });
        if sparse {
            ours.as_object_mut().unwrap().retain(|key, _| key != "client" && key != "rule");
        }
        let mut line = json!({"timestamp": time, "event_type": kind, "src_ip": "10.0.0.1", "dest_ip": "10.0.0.2", "dest_port": 502});
        match kind {
            "alert" | "drop" => line["alert"] = json!({"context": ours}),
            "notice" => line["notice"] = ours,
            "dashboard" | "urscript" => {
                line[kind] = ours["command"].clone();
                line["verdict"] = ours;
            }
            _ => {
                ours["key"] = json!("vambrace");
                line["metadata"] = json!({"flowvars": [ours]});
            }
        }
        line.to_string()
    });
    prop_oneof![
        20 => whole,
        1 => select(vec!["not json", "{}", "[]", "5", "", "{\"timestamp\":5,\"event_type\":[\"flow\"]}"]).prop_map(str::to_owned),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let fields =
        select(vec!["event_type", "reason", "rule", "client", "service", "loads", "kind", "dest_port", "nothing"]);
    let operators = || select(vec!["=", "!=", "<", "<=", ">", ">=", "~"]);
    let leaf = prop_oneof![
        (fields, operators(), word()).prop_map(|(field, operator, word)| format!("{field} {operator} '{word}'")),
        (operators(), time()).prop_map(|(operator, time)| format!("timestamp {operator} '{time}'")),
        (operators(), select(vec!["0", "129.5", "130", "135", "139", "65535", "65536", "-1", "1e300", "x", "nan"]))
            .prop_map(|(operator, number)| format!("writes {operator} '{number}'")),
        select(vec!["writes", "loads", "rule", "timestamp", "client"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn with_the_index_and_without_the_answers_are_the_same(
        older in prop::collection::vec(line(), 0..12),
        newer in prop::collection::vec(line(), 0..12),
        more in prop::collection::vec(line(), 0..6),
        questions in prop::collection::vec((expression(), any::<bool>()), 6),
        ended in any::<bool>(),
    ) {
        let folder = Folder::new();
        let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        folder.append("eve-00000001-x.json", text(&older).as_bytes());
        folder.append("eve.json", text(&newer).as_bytes());
        let ask = |limit: Option<Limit>| {
            for (expression, changes) in &questions {
                same(&folder, &asked(expression, *changes), limit);
            }
            same(&folder, &asked("", true), limit);
        };
        ask(None);
        // It grows, by whole lines and by one without end.
        let grown = text(&more);
        folder.append("eve.json", if ended { grown.as_bytes() } else { grown.trim_end().as_bytes() });
        ask(None);
        let meta = folder.0.join("eve.json").metadata().unwrap();
        let before: usize = newer.iter().map(|line| line.len() + 1).sum();
        ask(Some((meta.ino(), u64::try_from(before).unwrap())));
        // It is turned over, and the oldest is removed.
        fs::rename(folder.0.join("eve.json"), folder.0.join("eve-00000002-x.json")).unwrap();
        folder.append("eve.json", text(&older).as_bytes());
        fs::remove_file(folder.0.join("eve-00000001-x.json")).unwrap();
        ask(None);
    }
}

#[test]
fn the_questions_of_the_manual_are_answered() {
    let folder = Folder::new();
    let modbus = |time: &str, client: &str, address: u32, quantity: u32| {
        let ours = json!({"key": "vambrace", "event_id": 1, "client": client, "service": "modbus", "action": "allowed",
            "command": {"function": "write_multiple_registers", "write": {"address": address, "quantity": quantity}}});
        json!({"timestamp": time, "event_type": "modbus", "src_ip": "10.0.0.1", "dest_ip": "10.0.0.9",
            "metadata": {"flowvars": [ours]}})
        .to_string()
    };
    let at = |minute: u32| format!("2026-11-23T13:{minute:02}:00.000000+0000");
    let load = |minute: u32, client: &str, text: &str| {
        json!({"timestamp": at(minute), "event_type": "dashboard", "src_ip": "10.0.0.2", "dest_ip": "10.0.0.9",
            "dashboard": {"command": text.split(' ').next(), "text": text},
            "verdict": {"event_id": 2, "client": client, "service": "dashboard", "action": "allowed"}})
        .to_string()
    };
    let mode = json!({"timestamp": at(4), "event_type": "notice", "notice": {"kind": "mode", "from": "learn", "to": "enforce"}});
    let lines = [
        modbus(&at(0), "plc", 130, 10),
        modbus(&at(1), "hmi", 128, 2),
        load(2, "panel", "load pick.urp"),
        load(3, "panel", "running"),
        mode.to_string(),
        modbus(&at(5), "hmi", 135, 1),
        load(6, "engineer", "load place.urp"),
        modbus(&at(7), "plc", 130, 10),
    ];
    folder.append("eve.json", lines.map(|line| line + "\n").concat().as_bytes());
    let times = |expression: &str, changes: bool| -> Vec<String> {
        let lines = same(&folder, &asked(expression, changes), None);
        lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["timestamp"].as_str().unwrap()[14..16].to_owned())
            .collect()
    };
    assert_eq!(times("writes = 135", false), ["00", "05", "07"]);
    assert_eq!(times("writes = 135 and timestamp >= 2026-11-23T13:05 and timestamp < 2026-11-23T13:07", false), ["05"]);
    assert_eq!(times("writes = 135 and client != plc", false), ["05"]);
    assert_eq!(times("loads", false), ["02", "06"]);
    assert_eq!(times("loads ~ PLACE and client = engineer", false), ["06"]);
    assert_eq!(times("", true), ["00", "01", "02", "03", "04", "05", "06"], "the last one repeats the first");
    assert_eq!(times("timestamp >= 2026-11-23T13:04", true), ["04", "05", "06"]);
    assert!(folder.0.join(INDEX_FILE).exists());
    let wrong = asked("writes = 135", false);
    // What is no index is made anew, and where none can be made every line is read.
    fs::write(folder.0.join(INDEX_FILE), b"no index").unwrap();
    assert_eq!(answer(&folder, &wrong, UseIndex::Always, None).len(), 3);
    fs::remove_file(folder.0.join(INDEX_FILE)).unwrap();
    fs::create_dir(folder.0.join(INDEX_FILE)).unwrap();
    assert_eq!(answer(&folder, &wrong, UseIndex::Always, None).len(), 3);
    // Nothing to narrow: no index is asked.
    assert_eq!(answer(&folder, &asked("dest_ip = 10.0.0.9", false), UseIndex::Auto, None).len(), 7);
}
