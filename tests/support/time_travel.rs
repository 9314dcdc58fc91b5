//! Records judged again, held against the capture that they came from judged anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The lines of `replay --json` over a capture or over records, the summary last.
fn lines(what: &Path, policy: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(super::vambrace());
    command.args(["--json", "replay"]).arg(what).arg("--policy").arg(policy).args(arguments);
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?} {complaint}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `replay` says of a command, wherever that stands in its type of line.
fn ours(line: &Value) -> &Value {
    let flowvar = || line["metadata"]["flowvars"].as_array()?.iter().find(|item| item["key"] == "vambrace");
    let places = [&line["alert"]["context"], &line["verdict"]];
    places.into_iter().find(|place| place.is_object()).or_else(flowvar).unwrap_or(&Value::Null)
}

/// Which frame and which bytes: the same in each run over a capture.
type Which = (u64, String);

fn verdicts(lines: &[Value]) -> BTreeMap<Which, Vec<(u64, bool, String)>> {
    let mut found: BTreeMap<Which, Vec<_>> = BTreeMap::new();
    for line in lines.iter().filter(|line| ours(line)["service"].is_string() && line["event_type"] != "flow") {
        let ours = ours(line);
        let which = (line["pcap_cnt"].as_u64().unwrap_or(0), ours["unit_hex"].as_str().unwrap_or("").to_owned());
        let verdict = (
            ours["event_id"].as_u64().unwrap(),
            ours["action"] == "allowed",
            ours["reason"].as_str().unwrap().to_owned(),
        );
        found.entry(which).or_default().push(verdict);
    }
    found
}

/// Records the capture under one policy, then asks the records what it and the others say; each must be what the capture
/// itself gets from that policy. Returns how many were judged again and how many could not be, over all policies.
pub fn assert_same(capture: &Path, arguments: &[&str], policy: &Path, others: &[&Path]) -> (u64, u64) {
    let recorded = lines(capture, policy, arguments);
    let records = policy.with_extension("records.json");
    let text: String = recorded.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&records, text).unwrap();
    let known: BTreeMap<u64, Which> = verdicts(&recorded)
        .into_iter()
        .flat_map(|(which, found)| found.into_iter().map(move |(id, ..)| (id, which.clone())))
        .collect();
    let (mut judged, mut untold) = (0, 0);
    for policy in [policy].iter().chain(others) {
        let anew = verdicts(&lines(capture, policy, arguments));
        let mut again = lines(&records, policy, arguments);
        let summary = again.pop().unwrap();
        assert_eq!(again.len(), known.len(), "every command is told of once");
        for line in again {
            if line["now"]["untold"].is_string() {
                untold += 1;
                continue;
            }
            judged += 1;
            let which = &known[&line["event_id"].as_u64().unwrap()];
            let allowed = line["now"]["action"] == "allowed";
            let reason = line["now"]["reason"].as_str().unwrap();
            let expected = &anew[which];
            assert!(
                expected.iter().any(|(_, was, why)| *was == allowed && why == reason),
                "{line} of {which:?} under {}: the capture itself gets {expected:?}",
                policy.display()
            );
        }
        let number = |key: &str| summary[key].as_u64().unwrap();
        assert_eq!(summary["event_type"], "summary");
        let told = number("same") + number("newly_refused") + number("newly_allowed");
        assert_eq!(told, number("allowed") + number("refused"));
    }
    std::fs::remove_file(records).unwrap();
    (judged, untold)
}

/// Every second rule of a policy.
pub fn every_second_rule(policy: &str) -> String {
    let mut parts = policy.split("\n[[allow]]");
    let head = parts.next().unwrap_or_default().to_owned();
    parts.step_by(2).fold(head, |text, rule| text + "\n[[allow]]" + rule)
}
