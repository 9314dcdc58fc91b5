//! Two verifiers that were written from one page, in two languages, say the same of stores, whole and altered; and a
//! third reader of logs agrees about keys, notes and roots.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "support/evidence.rs"]
mod evidence;
#[path = "support/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use evidence::{Maker, auditor_lines, blocks};
use serde_json::Value;
use vambrace::verify::{Identity, Key, Memory, Question, Report, verify};

type Files = Vec<(String, Vec<u8>)>;

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(folder: &Path, files: &Files) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn store(seed: u8) -> Maker {
    made(Maker::new(seed, "vambrace/cell4"))
}

/// The secret keys of the auditors of an encrypted store.
const AUDITORS: [[u8; 32]; 2] = [[7; 32], [8; 32]];

fn encrypted(seed: u8) -> Maker {
    let mut maker = Maker::new(seed, "vambrace/cell4");
    maker.auditors = AUDITORS.to_vec();
    made(maker)
}

fn made(mut maker: Maker) -> Maker {
    maker.open();
    maker.work(2, 40);
    maker.segment();
    maker.work(2, 60);
    maker.gap(7);
    maker.close();
    maker.open();
    maker.work(2, 50);
    maker.boot = 2;
    maker.open();
    maker.work(3, 30);
    maker.checkpoint();
    maker.event(10);
    maker.trailer();
    maker.event(3);
    maker.seal();
    maker
}

/// Stores with what was done to them.
fn stores(whole: &Maker) -> Vec<(String, Files)> {
    let mut pruned = whole.clone();
    pruned.prune(2);
    let mut closed = whole.clone();
    closed.close();
    let mut unanswered = whole.clone();
    unanswered.removed = 1;
    let mut zeros = whole.clone();
    zeros.segments.last_mut().unwrap().extend([0; 4096]);
    let mut all: Vec<(String, Files)> = vec![
        ("whole".into(), whole.files()),
        ("pruned".into(), pruned.files()),
        ("closed".into(), closed.files()),
        ("unanswered".into(), unanswered.files()),
        ("zeros".into(), zeros.files()),
    ];
    let files = whole.files();
    let last = files.iter().rposition(|(name, _)| name != "evidence.pub").unwrap();
    for from in (0..files[last].1.len()).step_by(512) {
        // A sector of the last segment that was never written, and one to its end.
        for to in [from + 512, files[last].1.len()] {
            let mut changed = files.clone();
            let to = to.min(files[last].1.len());
            changed[last].1[from..to].fill(0);
            all.push((format!("zeros from {from} to {to}"), changed));
        }
    }
    for (at, (name, bytes)) in files.iter().enumerate() {
        // A prime, so that every kind of place is met.
        for byte in (0..bytes.len()).step_by(61) {
            let mut changed = files.clone();
            changed[at].1[byte] ^= 1 << (byte % 8);
            all.push((format!("{name} flipped at {byte}"), changed));
        }
        for end in (0..bytes.len()).step_by(97) {
            let mut changed = files.clone();
            changed[at].1.truncate(end);
            all.push((format!("{name} cut at {end}"), changed));
        }
        let mut changed = files.clone();
        changed.remove(at);
        all.push((format!("{name} removed"), changed));
        for (from, to, kind) in blocks(bytes).into_iter().filter(|_| name != "evidence.pub") {
            let mut changed = files.clone();
            changed[at].1.drain(from..to);
            all.push((format!("{name} without the block at {from} of kind {kind}"), changed));
            let mut changed = files.clone();
            changed[at].1.splice(to..to, bytes[from..to].to_vec());
            all.push((format!("{name} with the block at {from} of kind {kind} twice"), changed));
        }
    }
    all
}

/// What both say of a store; `None` where it can't be read.
fn ours(files: &Files, question: &Question) -> Option<Report> {
    verify(&Memory::new(files.clone(), false), question, |_| {}).ok()
}

fn same(report: Option<&Report>, theirs: &Value) -> bool {
    let Some(report) = report else { return theirs.get("error").is_some() };
    if !report.sound {
        return theirs["sound"] == false;
    }
    let signed = report.signed.map(|signed| serde_json::to_value(signed).unwrap()).unwrap_or_default();
    theirs["sound"] == true
        && theirs["leaves"] == report.leaves
        && theirs["root"] == *report.root
        && theirs["last_record"] == report.last_record
        && theirs["packets"] == report.packets
        && theirs["signatures"] == report.signatures
        && theirs["signed"] == signed
        && theirs["gap_count"] == report.gap_count
        && theirs["unclosed_count"] == report.unclosed_count
        && theirs["runs"] == report.runs
        && theirs["tail_bytes"] == report.tail.as_ref().map_or(0, |tail| tail.bytes)
        && theirs["pinned"] == report.pinned
        && match &report.encrypted {
            None => theirs["encrypted"].is_null(),
            Some(told) => {
                theirs["encrypted"]["segments"] == told.segments
                    && theirs["encrypted"]["opened_segments"] == told.opened_segments
                    && theirs["encrypted"]["records"] == told.records
            }
        }
}

#[test]
fn two_verifiers_agree_on_whole_and_on_altered_stores() {
    let Some(python) = python::with("two_verifiers_agree_on_whole_and_on_altered_stores", "cryptography") else {
        return;
    };
    let scratch = Scratch::new("second-verifier");
    for (name, whole) in [("clear", store(1)), ("encrypted", encrypted(1))] {
        agree(&python, &scratch.0.join(name), &whole);
    }
}

fn agree(python: &Path, folder: &Path, whole: &Maker) {
    std::fs::create_dir(folder).unwrap();
    let key = folder.join("key");
    std::fs::write(&key, whole.line() + "\n").unwrap();
    let stores = stores(whole);
    let many = folder.join("stores");
    for (at, (_, files)) in stores.iter().enumerate() {
        write(&many.join(format!("{at:06}")), files);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/verify_evidence.py");
    let (secret, _) = auditor_lines("anna", &AUDITORS[1]);
    let identity = folder.join("anna.key");
    std::fs::write(&identity, format!("{secret}\n")).unwrap();
    for (pinned, opened) in [(false, false), (true, false), (true, true)] {
        let mut command = Command::new(python);
        command.arg(&script).arg("--many").arg(&many);
        let mut question = Question::default();
        if pinned {
            command.arg("--key").arg(&key);
            question.key = Some(Key::parse(&whole.line()).unwrap());
        }
        if opened {
            command.arg("--identity").arg(&identity);
            question.identities = vec![Identity::parse(&secret).unwrap()];
        }
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.is_empty(), "{errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), stores.len());
        let (mut sound, mut not) = (0, 0);
        for ((what, files), theirs) in stores.iter().zip(&answers) {
            let report = ours(files, &question);
            assert!(same(report.as_ref(), theirs), "{what}: {theirs}, and here {report:#?}");
            *(if report.is_some_and(|report| report.sound) { &mut sound } else { &mut not }) += 1;
        }
        assert!(sound > 10 && not > 200, "{sound} sound, {not} not: not both kinds were compared");
    }
}

#[test]
fn a_reader_of_transparency_logs_takes_our_key_notes_and_roots() {
    let test = "a_reader_of_transparency_logs_takes_our_key_notes_and_roots";
    let Some(python) = python::with(test, "aics_tlog") else { return };
    let scratch = Scratch::new("third-reader");
    let maker = store(1);
    write(&scratch.0, &maker.files());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/tlog_reader.py");
    let output = Command::new(python).arg(script).arg(&scratch.0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let wanted = format!("{} checkpoints of {} leaves hold", maker.notes.len(), maker.leaves.len());
    assert_eq!(said, wanted, "{}", String::from_utf8_lossy(&output.stderr));
}
