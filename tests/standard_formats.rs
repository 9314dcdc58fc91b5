//! Events as others read them: EVE against Suricata's own schema, Zeek's logs by their fields.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "support/python.rs"]
mod python;
mod support;
#[path = "../benches/support/mod.rs"]
mod traffic;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use dissect::Toward;
use serde_json::Value;
use vambrace::command::Service;
use vambrace::event::{Event, EventId, Notice, Record};
use vambrace::export::eve::{Context, render};
use vambrace::export::{Names, Stats};
use vambrace::record::pcapng::{self, PacketNotes};

const TRANSACTIONS: u16 = 40;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("formats-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A capture of a Modbus connection, one of them refused, one of the Dashboard, and a frame of nothing known.
    fn capture(&self) -> PathBuf {
        let mut out = Vec::new();
        pcapng::start(&mut out, "test", &["wire"], 65_535);
        let mut at_ns = 1_795_442_282_114_209_000;
        let mut put = |frame: &[u8]| {
            at_ns += 1_000_000;
            pcapng::packet(&mut out, 0, at_ns, frame.len() as u32, frame, &PacketNotes::default());
        };
        for case in [traffic::modbus(TRANSACTIONS), traffic::dashboard(3)] {
            for frames in [&case.opening, &case.measured, &case.closing] {
                frames.iter().for_each(|(_, frame)| put(frame));
            }
        }
        let mut talk = traffic::Talk::open(41_000, 502);
        let mut buffer = [0; 260];
        let mbap = modbus::Mbap::new(1, modbus::UnitId(1));
        let refused = mbap.write_single_register(&mut buffer, 7, 7).unwrap().to_vec();
        talk.send(Toward::Robot, &refused);
        talk.take().iter().for_each(|(_, frame)| put(frame));
        put(&[0x55; 60]);
        let path = self.0.join("cell.pcapng");
        std::fs::write(&path, out).unwrap();
        let policy = traffic::POLICY.replace("\"plc\"", "\"10.20.0.21\"");
        std::fs::write(self.0.join("policy.toml"), policy).unwrap();
        path
    }

    fn replay(&self, format: &str) -> Vec<Value> {
        let capture = self.capture();
        let mut command = Command::new(support::vambrace());
        command.args(["replay", "--format", format, "--policy"]).arg(self.0.join("policy.toml")).arg(capture);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn zeek_has_a_line_for_each_transaction_and_connection() {
    let lines = Folder::new("zeek").replay("zeek");
    let of = |path: &str| lines.iter().filter(|line| line["_path"] == path).collect::<Vec<_>>();
    let (conn, modbus) = (of("conn"), of("modbus_detailed"));
    assert_eq!(conn.len() + modbus.len(), lines.len());
    assert_eq!((conn.len(), modbus.len()), (3, usize::from(TRANSACTIONS) + 1));
    let uids: BTreeSet<&str> = conn.iter().map(|line| line["uid"].as_str().unwrap()).collect();
    for line in &modbus {
        assert!(uids.contains(line["uid"].as_str().unwrap()));
    }
    // Request and response in one line, with the address, each register a number.
    let reads: Vec<_> =
        modbus.iter().filter(|line| line["func"] == "READ_HOLDING_REGISTERS" && line["matched"] == true).collect();
    assert_eq!(reads.len(), usize::from(TRANSACTIONS) * 9 / 10);
    for line in reads {
        assert_eq!((&line["address"], &line["quantity"]), (&128.into(), &10.into()));
        assert_eq!(line["response_values"].as_array().unwrap().len(), 10);
        assert!(line["ts"].as_f64().unwrap() > 1_795_442_282.0);
    }
}

/// The schema that Suricata publishes; none, visibly, where it can't be fetched. It is GPL: never kept here.
fn schema(test: &str, folder: &Folder) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("VAMBRACE_SURICATA_SCHEMA") {
        return Some(path.into());
    }
    let path = folder.0.join("schema.json");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/suricata_schema.sh");
    if Command::new(script).arg(&path).output().is_ok_and(|output| output.status.success()) {
        return Some(path);
    }
    support::skipped(test, "Suricata's schema can't be fetched; name a copy with VAMBRACE_SURICATA_SCHEMA");
    None
}

const VALIDATE: &str = r"
import json, sys, jsonschema
schema = json.load(open(sys.argv[1]))
validator = jsonschema.validators.validator_for(schema, jsonschema.Draft7Validator)(schema)
for line in open(sys.argv[2]):
    for error in validator.iter_errors(json.loads(line)):
        print('/'.join(map(str, error.absolute_path)), error.message[:300], line[:200])
";

#[test]
fn suricatas_schema_takes_every_record_of_its_types() {
    let test = "suricatas_schema_takes_every_record_of_its_types";
    let folder = Folder::new("eve");
    let mut lines = folder.replay("eve");
    let names = Names::new("box", []);
    let mut text = String::new();
    let stats = Stats { wall_ns: 1_795_442_282_114_209_000, frames: 7, forwarded: 6, dropped: 1, ..Stats::default() };
    stats.render(&names, &mut text);
    lines.push(serde_json::from_str(&text).unwrap());
    let talk = traffic::Talk::open(40_000, 502);
    let (toward, frame) = talk.frames.iter().next().unwrap();
    let key = link::FlowKey::of(&link::parse(frame).unwrap(), toward).unwrap();
    let record = Record::Notice(Notice::Anomaly { key, service: Service::Modbus, what: "answer_to_nothing" });
    let event = Event { id: EventId(9), monotonic_ns: 5, wall_ns: stats.wall_ns, frame: 3, record };
    text.clear();
    render(&event, &Context { names: &names, answer: None, repeats: None, unit_hash: None, capture: true }, &mut text);
    lines.push(serde_json::from_str(&text).unwrap());

    const TYPES: [&str; 6] = ["alert", "flow", "modbus", "anomaly", "drop", "stats"];
    lines.retain(|line| TYPES.iter().any(|kind| line["event_type"] == *kind));
    let there: BTreeSet<&str> = lines.iter().map(|line| line["event_type"].as_str().unwrap()).collect();
    assert_eq!(there, BTreeSet::from(TYPES), "each type has a record");
    let Some(schema) = schema(test, &folder) else { return };
    let Some(python) = python::with(test, "jsonschema") else { return };
    let complaints = |lines: &[Value]| {
        let file = folder.0.join("eve.json");
        std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let output = Command::new(&python).args(["-c", VALIDATE]).arg(&schema).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(complaints(&lines), "");
    // It would say so.
    for line in &mut lines {
        line["src_port"] = "502".into();
    }
    assert_eq!(complaints(&lines).lines().count(), lines.len());
}
