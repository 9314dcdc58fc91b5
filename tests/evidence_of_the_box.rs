//! From the wire to the auditor: what a running box recorded is verified, exported, judged again, and a refusal in it
//! becomes the narrowest rule.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::guarded::{Guarded, POLICY, reason, write_register};

fn vambrace(arguments: &[&str]) -> Output {
    Command::new(support::vambrace()).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

/// The verifier's report on a folder or file that it calls sound.
fn sound(path: &Path, more: &[&str]) -> Value {
    let output = vambrace(&[&["--json", "evidence", "verify", path.to_str().unwrap()], more].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    json(&output)
}

/// One Modbus exchange: the answer to a write.
fn write(cell: &Guarded, value: u16) -> Vec<u8> {
    let mut stream = cell.honest(502);
    stream.write_all(&write_register(129, value)).unwrap();
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
    stream.read_exact(&mut rest).unwrap();
    [head.to_vec(), rest].concat()
}

#[test]
fn what_a_box_recorded_is_evidence() {
    let Some(cell) = Guarded::up("what_a_box_recorded_is_evidence") else { return };
    let records = cell.vambrace.directory().join("records");
    assert_eq!(write(&cell, 77), write_register(129, 77));
    assert_eq!(write(&cell, 200)[7], 0x86, "a Modbus exception in the robot's place");
    let refusal = cell.vambrace.waits_for(
        "the refused write",
        |event| event["event_type"] == "alert",
        |event| reason(event) == Some("value_not_allowed"),
    );
    let context = &refusal["alert"]["context"];
    assert_eq!(context["unit_hex"], support::guarded::hex(&write_register(129, 200)));

    // A stranger with the export and the public key, while the box goes on recording.
    let key = std::fs::read_to_string(records.join("evidence.pub")).unwrap();
    let pinned = cell.vambrace.directory().join("pinned.pub");
    std::fs::write(&pinned, key).unwrap();
    let started = Instant::now();
    let bundle = cell.vambrace.directory().join("bundle.tar");
    let report = loop {
        let output = vambrace(&["evidence", "export", records.to_str().unwrap(), "-o", bundle.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let report = sound(&bundle, &["--key", pinned.to_str().unwrap()]);
        if report["packets"].as_u64() > Some(0) {
            break report;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "the refused frame is not in the evidence: {report}");
        std::fs::remove_file(&bundle).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(report["last_record"].as_u64() > Some(2) && report["refused"] == 1, "{report}");
    sound(&records, &["--key", pinned.to_str().unwrap()]);

    // The same commands, judged again: as they were, and by a policy that allows the value.
    let policy = cell.vambrace.directory().join("again.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let config = cell.vambrace.directory().join("vambrace.toml");
    let again = |text: &str| {
        std::fs::write(&policy, text).unwrap();
        let files = [records.as_path(), policy.as_path(), config.as_path()].map(|path| path.to_str().unwrap());
        json(&vambrace(&["--json", "replay", files[0], "--policy", files[1], "--config", files[2]]))
    };
    let same = again(POLICY);
    assert_eq!((&same["newly_refused"], &same["newly_allowed"], &same["refused"]), (&0.into(), &0.into(), &1.into()));
    assert!(same["same"].as_u64() >= Some(2), "{same}");
    let wider = again(&POLICY.replace("0..=120", "0..=200"));
    assert_eq!((&wider["newly_refused"], &wider["newly_allowed"]), (&0.into(), &1.into()), "{wider}");

    // The refusal becomes a rule, for ten minutes.
    let id = context["event_id"].as_u64().unwrap().to_string();
    let output =
        cell.vambrace.ask(&["explain", &id, "--records", records.to_str().unwrap(), "--allow", "--until", "10m"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(write(&cell, 200), write_register(129, 200), "the narrowest rule allows it");
    assert_eq!(write(&cell, 199)[7], 0x86, "and nothing beside it");
    let shown = String::from_utf8(cell.vambrace.ask(&["policy", "show"]).stdout).unwrap();
    assert!(shown.contains(&format!("event-{id}")) && shown.contains("until = "), "{shown}");
    // What the event files no longer hold is found in the evidence.
    std::fs::write(records.join("eve.json"), "").unwrap();
    let output = cell.vambrace.ask(&["explain", &id, "--records", records.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("value_not_allowed"), "{output:?}");
    let output = cell.vambrace.ask(&["explain", &id, "--records", records.to_str().unwrap(), "--until", "10m"]);
    assert_eq!(output.status.code(), Some(2), "--until without --allow");
}

/// A program of some 40 kB that calls one function again and again, the last time another one.
fn program(last: &str) -> String {
    let body: String = (0..1200).map(|n| format!("  textmsg(\"count {n:04} of this program\")\n")).collect();
    format!("def long_program():\n{body}  {last}\nend\n")
}

/// The lines of a kind in the evidence of a folder.
fn evidence_lines(records: &Path, kind: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    vambrace::record::evidence::events_of_all(
        records,
        |path: &std::path::Path| std::fs::File::open(path),
        |text| {
            let line: Value = serde_json::from_str(text).unwrap();
            if line["event_type"] == kind {
                lines.push(line);
            }
        },
    )
    .unwrap();
    lines
}

#[test]
fn programs_are_kept_whole_once_and_judged_again() {
    let Some(cell) = Guarded::up("programs_are_kept_whole_once_and_judged_again") else { return };
    let records = cell.vambrace.directory().join("records");
    let (harmless, odd) = (program("textmsg(\"end\")"), program("set_digital_out(0, True)"));
    for text in [&harmless, &harmless, &odd] {
        let mut stream = cell.honest(30_002);
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let refusal = cell.vambrace.waits_for(
        "the refused program",
        |event| event["event_type"] == "alert",
        |event| reason(event) == Some("command_not_allowed"),
    );
    let context = &refusal["alert"]["context"];
    assert_eq!(context["unit_cut"], true);

    // Both programs stand in the evidence, once each, byte for byte, under the hashes that their lines name.
    let started = Instant::now();
    let kept = loop {
        let kept = evidence_lines(&records, "unit");
        if kept.iter().any(|line| line["unit"]["sha256"] == context["unit_sha256"]) {
            break kept;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{} is not in the evidence", context["unit_sha256"]);
        std::thread::sleep(Duration::from_millis(100));
    };
    let texts: Vec<&str> = kept.iter().map(|line| line["unit"]["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 2, "the same program again is not written again");
    // What reaches the box may end with the text's last line end or before it.
    assert!(texts[0].trim_end() == harmless.trim_end() && texts[1].trim_end() == odd.trim_end());
    sound(&records, &[]);

    // Judged again from the evidence alone: as it was, and by a policy that allows what was refused and the reverse.
    std::fs::write(records.join("eve.json"), "").unwrap();
    let (policy, config) =
        (cell.vambrace.directory().join("again.toml"), cell.vambrace.directory().join("vambrace.toml"));
    let again = |text: &str| {
        std::fs::write(&policy, text).unwrap();
        let files = [records.as_path(), policy.as_path(), config.as_path()].map(|path| path.to_str().unwrap());
        json(&vambrace(&["--json", "replay", files[0], "--policy", files[1], "--config", files[2]]))
    };
    let same = again(POLICY);
    assert_eq!((&same["newly_refused"], &same["newly_allowed"]), (&0.into(), &0.into()), "{same}");
    assert!(same["untold"].as_object().unwrap().is_empty() && same["refused"] == 1, "{same}");
    let wider = again(&POLICY.replace("[\"textmsg\"]", "[\"textmsg\", \"set_digital_out\"]"));
    assert_eq!((&wider["newly_refused"], &wider["newly_allowed"]), (&0.into(), &1.into()), "{wider}");
    let other = again(&POLICY.replace("[\"textmsg\"]", "[\"set_digital_out\"]"));
    assert_eq!(other["newly_allowed"], 0, "{other}");
    assert!(other["newly_refused"].as_u64() >= Some(1), "{other}");
}

/// A box that keeps what it saw from everybody but an auditor: from the key to the records, and back.
#[test]
fn only_the_auditor_reads_what_a_box_recorded() {
    let keys = std::env::temp_dir().join(format!("vambrace-auditor-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&keys);
    std::fs::create_dir(&keys).unwrap();
    let made = vambrace(&["--json", "evidence", "keygen", "anna", "--directory", keys.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let line = json(&made)["key"].as_str().unwrap().to_owned();
    let secret = keys.join("anna.key");
    let secret = secret.to_str().unwrap();
    let record = format!("encrypt_to = \"{line}\"\nevent_lines = false\n");
    let test = "only_the_auditor_reads_what_a_box_recorded";
    let Some(cell) = Guarded::recording(test, "enforce", POLICY, &record) else { return };
    let records = cell.vambrace.directory().join("records");
    let folder = records.to_str().unwrap();
    assert_eq!(write(&cell, 77), write_register(129, 77));
    assert_eq!(write(&cell, 200)[7], 0x86, "a Modbus exception in the robot's place");
    let started = Instant::now();
    let refusal = loop {
        let output = vambrace(&[
            "--json",
            "events",
            "--records",
            folder,
            "--identity",
            secret,
            "--where",
            "reason = value_not_allowed",
        ]);
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = text.lines().next() {
            break serde_json::from_str::<Value>(line).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "the refusal is not in the evidence: {output:?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let id = refusal["alert"]["context"]["event_id"].as_u64().unwrap().to_string();
    assert_eq!(std::fs::metadata(records.join("eve.json")).unwrap().len(), 0, "lines in the clear");
    // Beside the orders that the box was given, which lie there too.
    let files = std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.file_name().is_some_and(|name| name != "standing.json")) {
        let bytes = std::fs::read(&path).unwrap();
        for text in [&b"value_not_allowed"[..], b"event_type", b"plc", &write_register(129, 200)] {
            assert!(!bytes.windows(text.len()).any(|window| window == text), "{}: in the clear", path.display());
        }
    }

    // Anybody verifies; only she reads.
    let report = sound(&records, &[]);
    assert_eq!((&report["encrypted"]["opened_segments"], &report["encrypted"]["segments"]), (&0.into(), &1.into()));
    assert_eq!(sound(&records, &["--identity", secret])["encrypted"]["opened_segments"], 1);
    let policy = cell.vambrace.directory().join("policy.toml");
    let config = cell.vambrace.directory().join("vambrace.toml");
    let blind: [&[&str]; 3] = [
        &["events", "--records", folder],
        &["explain", &id, "--records", folder],
        &["replay", folder, "--policy", policy.to_str().unwrap(), "--config", config.to_str().unwrap()],
    ];
    for command in blind {
        let output = vambrace(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{command:?}: {said}");
        assert!(said.contains("are encrypted; name the auditor's secret key with --identity FILE"), "{said}");
        let output = vambrace(&[command, &["--identity", secret]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("value_not_allowed") || text.contains("as recorded"), "{command:?}: {output:?}");
    }
    // With the bytes of the refused frame.
    let output = vambrace(&["explain", &id, "--records", folder, "--identity", secret]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\nBytes\n"), "{output:?}");

    // The packet process is killed: its successor goes on, with ids behind those that it can't read.
    cell.vambrace.kill_packet_process();
    let started = Instant::now();
    while !cell.vambrace.ask(&["status"]).status.success() {
        assert!(started.elapsed() < Duration::from_secs(20), "the box does not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    let later = loop {
        assert_eq!(write(&cell, 199)[7], 0x86);
        std::thread::sleep(Duration::from_millis(1200));
        let output = vambrace(&[
            "--json",
            "events",
            "--records",
            folder,
            "--identity",
            secret,
            "--where",
            "reason = value_not_allowed",
            "-n",
            "1",
        ]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        let newest = value["alert"]["context"]["event_id"].as_u64().unwrap();
        if newest > id.parse().unwrap() {
            break newest;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{newest}");
    };
    assert!(later > id.parse().unwrap());
    sound(&records, &["--identity", secret]);
    let _ = std::fs::remove_dir_all(keys);
}
