//! What a running box puts into its evidence beside events: the frames around a refusal, those that somebody asks for, who
//! watched; and how many records a kill cost.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "support/python.rs"]
mod python;
mod support;
#[path = "wireshark/tshark.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod tshark;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::guarded::{Guarded, hex, write_register};
use support::has_tool;
use vambrace::record::evidence::{events_of_all, segment_files};

fn vambrace(arguments: &[&str]) -> Output {
    Command::new(support::vambrace()).args(arguments).output().unwrap()
}

/// The verifier's report on what the box has written so far, which must be sound.
fn exported(cell: &Guarded, name: &str) -> (PathBuf, Value) {
    let records = cell.vambrace.directory().join("records");
    let bundle = cell.vambrace.directory().join(name);
    let _ = std::fs::remove_file(&bundle);
    let output = vambrace(&["evidence", "export", records.to_str().unwrap(), "-o", bundle.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let output = vambrace(&["--json", "evidence", "verify", bundle.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (bundle, serde_json::from_str(text.lines().last().unwrap()).unwrap())
}

fn status(cell: &Guarded) -> Value {
    let output = cell.vambrace.ask(&["--json", "status"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Waits until the status says so.
fn waits(cell: &Guarded, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let status = status(cell);
        if fits(&status["records"]) {
            return status;
        }
        assert!(started.elapsed() < Duration::from_secs(15), "{what}: {}", status["records"]);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One Modbus exchange on an open connection.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
    stream.read_exact(&mut rest).unwrap();
    [head.to_vec(), rest].concat()
}

/// Each packet of the newest segments: interface, direction, verdict and comment, payload of TCP.
fn packets(records: &Path) -> Vec<[String; 4]> {
    let mut all = Vec::new();
    for segment in segment_files(records).unwrap() {
        let fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.comment", "tcp.payload"];
        let mut arguments = vec!["-T", "fields", "-E", "separator=|", "-E", "occurrence=f"];
        fields.iter().for_each(|field| arguments.extend(["-e", field]));
        let text = tshark::run(&segment, &arguments);
        for line in text.lines() {
            let mut parts = line.split('|').map(str::to_owned);
            all.push([(); 4].map(|()| parts.next().unwrap_or_default()));
        }
    }
    all
}

#[test]
fn the_frames_around_a_refusal_are_evidence() {
    let Some(cell) = Guarded::up("the_frames_around_a_refusal_are_evidence") else { return };
    if !has_tool("the_frames_around_a_refusal_are_evidence", "tshark") {
        return;
    }
    let records = cell.vambrace.directory().join("records");
    let mut plc = cell.honest(502);
    let (before, refused, after) = (write_register(128, 71), write_register(129, 200), write_register(130, 72));
    let answer = exchange(&mut plc, &before);
    assert_eq!(answer, before, "the robot's own answer");
    let exception = exchange(&mut plc, &refused);
    assert_eq!(exception[7], 0x86);
    assert_eq!(exchange(&mut plc, &after), after);
    waits(&cell, "frames around", |records| records["frames_around"].as_u64() >= Some(6));
    std::thread::sleep(Duration::from_millis(2500));
    let (bundle, report) = exported(&cell, "around.tar");
    assert!(report["packets"].as_u64() >= Some(7), "{report}");

    let all = packets(&records);
    // As it came in; what the box made says that it went out.
    let going = |interface: &str, bytes: &[u8], out: bool| -> Vec<&[String; 4]> {
        let is_out = |packet: &[String; 4]| packet[1] == "0x00000002";
        all.iter().filter(|it| it[0] == interface && it[3] == hex(bytes) && is_out(it) == out).collect()
    };
    let on = |interface: &str, bytes: &[u8]| going(interface, bytes, false);
    // What came before, what came after, and the answers of robot and box: each once, on the port that it passed.
    for (interface, bytes) in
        [("plant", &before), ("plant", &after), ("robot", &answer), ("robot", &after), ("plant.dropped", &refused)]
    {
        let found = on(interface, bytes);
        assert_eq!(found.len(), 1, "{interface} {}: {all:?}", hex(bytes));
    }
    assert!(on("plant", &refused).is_empty() && on("robot", &refused).is_empty());
    assert!(on("plant", &before)[0][2].starts_with("Around event "), "{all:?}");
    // The answer in the robot's place, and what goes on behind it in frames of the box's own.
    assert_eq!([&exception, &after].map(|bytes| going("plant", bytes, true).len()), [1, 1], "{all:?}");
    let made = going("plant", &exception, true)[0];
    assert!(made[2].starts_with("Made by the box."), "{made:?}");
    assert!(on("plant.dropped", &refused)[0][2].contains("200"), "the sentence of the refusal: {all:?}");
    // Its opening is there as well: a segment with no bytes.
    assert!(all.iter().any(|packet| packet[0] == "plant" && packet[3].is_empty()), "{all:?}");

    // A second verifier, written in another language.
    let Some(python) = python::with("the_frames_around_a_refusal_are_evidence", "cryptography") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/verify_evidence.py");
    let output = Command::new(python).arg(script).arg(&bundle).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn who_asks_for_frames_and_who_watches_is_in_the_evidence() {
    let Some(cell) = Guarded::up("who_asks_for_frames_and_who_watches_is_in_the_evidence") else { return };
    let records = cell.vambrace.directory().join("records");
    let mut plc = cell.honest(502);
    for value in 1..20 {
        exchange(&mut plc, &write_register(128, value));
    }
    assert_eq!(status(&cell)["records"]["frames_around"], 0, "nothing was refused, and nobody asked");
    let output = cell.vambrace.ask(&["evidence", "keep"]);
    assert!(output.status.success(), "{output:?}");
    waits(&cell, "frames kept", |records| records["frames_around"].as_u64() >= Some(38));

    let file = cell.vambrace.directory().join("live.pcapng");
    let socket = cell.vambrace.directory().join("control.sock");
    let mut capture = Command::new(support::vambrace());
    capture.arg("--socket").arg(&socket).args(["capture", "--only", "dropped", "--snap", "96", "--for", "1s"]);
    let status = capture.arg(&file).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let kind = |kind: &'static str| move |event: &Value| event["notice"]["kind"] == kind;
    for wanted in ["frames_kept", "capture_began", "capture_ended"] {
        let event = cell.vambrace.waits_for(wanted, kind(wanted), |_| true);
        assert_eq!(event["notice"]["uid"], 0, "{event}");
        if wanted != "frames_kept" {
            assert_eq!((&event["notice"]["only_dropped"], &event["notice"]["snap"]), (&true.into(), &96.into()));
        }
    }
    std::thread::sleep(Duration::from_millis(1500));
    exported(&cell, "watched.tar");
    let mut kinds = Vec::new();
    events_of_all(
        &records,
        |path: &std::path::Path| std::fs::File::open(path),
        |line| {
            let event: Value = serde_json::from_str(line).unwrap();
            kinds.extend(event["notice"]["kind"].as_str().map(str::to_owned));
        },
    )
    .unwrap();
    let at = |kind: &str| kinds.iter().position(|known| known == kind);
    assert!(at("frames_kept").is_some() && at("capture_began") < at("capture_ended"), "{kinds:?}");
}

#[test]
fn what_a_kill_costs_is_counted_to_the_record() {
    let Some(cell) = Guarded::up("what_a_kill_costs_is_counted_to_the_record") else { return };
    let records = cell.vambrace.directory().join("records");
    let started =
        |cell: &Guarded| cell.vambrace.events().iter().filter(|event| event["notice"]["kind"] == "started").count();
    let mut told = 0;
    for round in 1..=4u16 {
        let mut plc = cell.honest(502);
        // Refusals are written one by one, so that each event has a line of its own.
        for value in 0..400 {
            assert_eq!(exchange(&mut plc, &write_register(129, 200 + value))[7], 0x86, "round {round}");
        }
        cell.vambrace.kill_packet_process();
        let since = Instant::now();
        while started(&cell) < usize::from(round) + 1 {
            assert!(since.elapsed() < Duration::from_secs(15), "round {round}");
            std::thread::sleep(Duration::from_millis(50));
        }
        // The gap is written within a second, and signed.
        let since = Instant::now();
        let (lost, missing) = loop {
            std::thread::sleep(Duration::from_millis(500));
            let (_, report) = exported(&cell, "killed.tar");
            let gaps = report["gaps"].as_array().unwrap();
            let killed = gaps.iter().filter(|gap| gap["why"] == "killed");
            let lost: u64 = killed.map(|gap| gap["records"].as_u64().unwrap()).sum();
            let (mut ids, mut last_start) = (BTreeSet::new(), 0);
            events_of_all(
                &records,
                |path: &std::path::Path| std::fs::File::open(path),
                |line| {
                    let event: Value = serde_json::from_str(line).unwrap();
                    let Some((_, rest)) = line.split_once("\"event_id\":") else { return };
                    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap();
                    let id: u64 = rest[..digits].parse().unwrap();
                    ids.insert(id);
                    if event["notice"]["kind"] == "started" {
                        last_start = last_start.max(id);
                    }
                },
            )
            .unwrap();
            let missing = (1..last_start).filter(|id| !ids.contains(id)).count() as u64;
            if lost == missing && lost > told || since.elapsed() > Duration::from_secs(6) {
                break (lost, missing);
            }
        };
        assert_eq!(lost, missing, "round {round}: told, and really missing");
        assert!(lost > told, "round {round}: a kill in the midst of a flood cost nothing");
        let status = status(&cell);
        assert!(status["records"]["evidence_lost"].as_u64() >= Some(lost - told), "{status}");
        told = lost;
    }
}
