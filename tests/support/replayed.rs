//! What `vambrace learn` and `vambrace replay` make of a capture.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What `replay --json` said.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its last line.
    pub summary: Value,
    /// Refused commands by the client's and the robot's port.
    pub by_connection: BTreeMap<(u64, u64), u64>,
}

impl Replayed {
    /// A number of the summary.
    pub fn number(&self, key: &str) -> u64 {
        self.summary[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.summary))
    }

    /// Commands by service.
    pub fn by_service(&self) -> BTreeMap<String, u64> {
        serde_json::from_value(self.summary["by_service"].clone()).unwrap()
    }
}

/// Replays a capture; without `--policy` among the arguments everything is refused.
pub fn replay(capture: &Path, arguments: &[&str]) -> Replayed {
    let output = Command::new(super::vambrace()).args(["--json", "replay"]).arg(capture).args(arguments).output();
    let output = output.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let mut events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = events.pop().unwrap_or_else(|| panic!("replay said nothing: {complaint}"));
    assert_eq!(summary["event_type"], "summary", "{complaint}");
    let findings = summary["refused"] != 0 || summary["dropped"] != 0 || summary["to_devices"]["refused"] != 0;
    assert_eq!(output.status.code(), Some(if findings { 3 } else { 0 }), "{summary} {complaint}");
    let mut by_connection = BTreeMap::new();
    let toward_robot =
        |event: &&Value| event["event_type"] == "alert" && event["alert"]["context"]["toward"] != "plant";
    for event in events.iter().filter(toward_robot) {
        let port = |key: &str| event[key].as_u64().unwrap();
        *by_connection.entry((port("src_port"), port("dest_port"))).or_default() += 1;
    }
    Replayed { summary, by_connection }
}

/// Learns a policy from a capture, dangerous commands too.
pub fn learn(capture: &Path, arguments: &[&str], policy: &Path) {
    let mut command = Command::new(super::vambrace());
    command.arg("learn").arg(capture).args(arguments).args(["--trust-capture", "-o"]).arg(policy);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
