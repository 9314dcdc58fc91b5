//! Encrypted evidence as people meet it: keys, commands, captures; and what a box with a key could not get past an auditor.

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

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evidence::{Maker, auditor_lines, blocks, sha256};
use serde_json::Value;
use vambrace::verify::{Identity, Key, Memory, Question, Report, verify};

/// The auditors of the stores here.
const ANNA: [u8; 32] = [7; 32];
const BERT: [u8; 32] = [8; 32];

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-encrypted-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self, maker: &Maker) -> PathBuf {
        let folder = self.0.join("store");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in maker.files() {
            fs::write(folder.join(name), bytes).unwrap();
        }
        folder
    }

    fn secret(&self, name: &str, secret: &[u8; 32]) -> PathBuf {
        let path = self.0.join(format!("{name}.key"));
        fs::write(&path, auditor_lines(name, secret).0 + "\n").unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn store() -> Maker {
    let mut maker = Maker::new(1, "vambrace/cell4");
    maker.auditors = vec![ANNA, BERT];
    maker.open();
    maker.work(3, 100);
    maker.segment();
    maker.work(3, 60);
    maker.close();
    maker
}

fn run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
    command.arg("--socket").arg("/nonexistent/control.sock");
    let Output { status, stdout, stderr } = command.args(arguments.iter().map(AsRef::as_ref)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_pair_of_keys_is_made_once_and_only_its_owner_reads_the_secret() {
    let scratch = Scratch::new("keygen");
    let (code, out, err) = run(&[&"evidence", &"keygen", &"anna", &"--directory", &scratch.0]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (secret, public) = (scratch.0.join("anna.key"), scratch.0.join("anna.pub"));
    assert_eq!((mode(&secret), mode(&public)), (0o600, 0o644));
    let (secret_text, public_text) = (fs::read_to_string(&secret).unwrap(), fs::read_to_string(&public).unwrap());
    assert!(out.contains(&format!("encrypt_to = [\"{}\"]", public_text.trim())), "{out}");
    assert!(!out.contains("PRIVATE"), "the secret is printed");
    assert_eq!(Identity::parse(&secret_text).unwrap().public_line() + "\n", public_text);
    assert_eq!(public_text.trim().parse::<vambrace::config::Auditor>().unwrap().to_string(), public_text.trim());

    // Never over one that is there, not even half of it, nor through a link.
    for there in [&secret, &public] {
        let kept = fs::read(there).unwrap();
        let other = if there == &secret { &public } else { &secret };
        fs::remove_file(other).unwrap();
        let (code, _, err) = run(&[&"evidence", &"keygen", &"anna", &"--directory", &scratch.0]);
        assert_eq!((code, err.lines().count()), (1, 1), "{err}");
        assert!(err.contains("never written over") && fs::read(there).unwrap() == kept && !other.exists(), "{err}");
        fs::write(other, if other == &secret { &secret_text } else { &public_text }).unwrap();
    }
    std::os::unix::fs::symlink("/nonexistent/elsewhere", scratch.0.join("link.key")).unwrap();
    assert_eq!(run(&[&"evidence", &"keygen", &"link", &"--directory", &scratch.0]).0, 1);
    for name in ["", "a/b", "../x", "a b", "a+b", ".hidden"] {
        let (code, _, err) = run(&[&"evidence", &"keygen", &name, &"--directory", &scratch.0]);
        assert!(code == 2 && err.lines().count() == 1, "{name}: {err}");
    }
    assert_eq!(run(&[&"evidence", &"keygen", &"c", &"--directory", &scratch.0.join("absent")]).0, 1);
    let (_, out, _) = run(&[&"--json", &"evidence", &"keygen", &"d", &"--directory", &scratch.0]);
    let made: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(made["key"].as_str().unwrap().split('+').nth(1), made["id"].as_str());
}

#[test]
fn commands_say_what_is_encrypted_and_read_it_with_the_key() {
    let scratch = Scratch::new("commands");
    let folder = scratch.store(&store());
    let (anna, other) = (scratch.secret("anna", &ANNA), scratch.secret("other", &[9; 32]));
    let id = Identity::parse(&fs::read_to_string(&anna).unwrap()).unwrap().id();
    let said = |more: &[&dyn AsRef<std::ffi::OsStr>]| {
        let (code, out, err) = run(&[&[&"evidence" as &dyn AsRef<_>, &"verify", &folder], more].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out
    };
    let blind = said(&[]);
    assert!(blind.contains("encrypted: 24 records in 2 segments, to ") && blind.contains(&id), "{blind}");
    assert!(blind.contains("not read, which --identity FILE does"), "{blind}");
    assert!(said(&[&"--identity", &anna]).contains("; all of them read"), "{blind}");
    assert!(said(&[&"--identity", &other]).contains("; not read"));
    for (file, what) in
        [(folder.join("evidence.pub"), "no auditor's secret key"), (scratch.0.join("absent"), "No such file")]
    {
        let (code, _, err) = run(&[&"evidence", &"verify", &folder, &"--identity", &file]);
        assert!(code == 1 && err.contains(what) && err.lines().count() == 1, "{err}");
    }
    let (_, out, _) = run(&[&"evidence", &"list", &folder]);
    assert!(out.contains("encrypted to") && out.matches(&id).count() == 2, "{out}");
    let (_, out, _) = run(&[&"--json", &"evidence", &"list", &folder]);
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["packets"], &first["encrypted_to"][0]), (&6.into(), &id.as_str().into()));

    // Handed on as it is.
    let bundle = scratch.0.join("bundle.tar");
    assert_eq!(run(&[&"evidence", &"export", &folder, &"-o", &bundle]).0, 0);
    let bytes = fs::read(&bundle).unwrap();
    assert!(!bytes.windows(12).any(|window| window == b"the word \\\"e"), "an export in the clear");
    assert_eq!(run(&[&"evidence", &"verify", &bundle, &"--identity", &anna]).0, 0);

    // As a capture, for her alone; once.
    for store in [&folder, &bundle] {
        let capture = scratch.0.join("capture.pcapng");
        let (code, _, err) = run(&[&"evidence", &"decrypt", store, &"-o", &capture]);
        assert!(code == 2 && err.contains("--identity FILE"), "{err}");
        let (code, _, err) = run(&[&"evidence", &"decrypt", store, &"-o", &capture, &"--identity", &other]);
        assert!(code == 1 && err.contains("encrypted to others") && !capture.exists(), "{err}");
        let (code, out, err) = run(&[&"evidence", &"decrypt", store, &"-o", &capture, &"--identity", &anna]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert_eq!(mode(&capture), 0o600);
        let (code, _, err) = run(&[&"evidence", &"decrypt", store, &"-o", &capture, &"--identity", &anna]);
        assert!(code == 2 && err.contains("is there already"), "{err}");
        if let Some(frames) = tshark(&capture, &["-Y", "eth", "-T", "fields", "-e", "frame.comment"]) {
            assert_eq!(frames.lines().count(), 12);
            assert!(frames.contains("refused: no rule allows it"), "{frames}");
        }
        fs::remove_file(&capture).unwrap();
    }
    // A segment is a capture as it stands: without a packet, and without an error.
    if let Some(frames) = tshark(&folder.join("evidence-00000001.pcapng"), &["-Y", "eth"]) {
        assert_eq!(frames, "");
    }
}

fn tshark(capture: &Path, more: &[&str]) -> Option<String> {
    let output = Command::new("tshark").arg("-r").arg(capture).args(more).output().ok()?;
    assert!(output.status.success(), "{}: {output:?}", capture.display());
    Some(String::from_utf8(output.stdout).unwrap())
}

fn ask(maker: &Maker, identities: &[[u8; 32]]) -> Report {
    let identities = identities.iter().map(|secret| Identity::parse(&auditor_lines("x", secret).0).unwrap()).collect();
    let key = Some(Key::parse(&maker.line()).unwrap());
    verify(&Memory::new(maker.files(), false), &Question { key, identities, ..Question::default() }, |_| {}).unwrap()
}

/// Makes the store anew with other bytes in the blocks of one kind, by somebody who holds the box's key: hashes and
/// signatures hold.
fn forged(kind: u8, change: impl Fn(&mut [u8])) -> Maker {
    let mut maker = Maker::new(1, "vambrace/cell4");
    maker.auditors = vec![ANNA, BERT];
    maker.open();
    maker.event(60);
    maker.packet(2, &[0xee; 90]);
    maker.seal();
    let segment = maker.segments.last_mut().unwrap();
    let (from, to, _) = blocks(segment).into_iter().rfind(|(.., found)| *found == kind).unwrap();
    let length = u32::from_le_bytes(segment[from + 20..from + 24].try_into().unwrap()) as usize;
    change(&mut segment[from + 24..from + 24 + length]);
    assert!(to <= segment.len());
    if kind == 4 {
        // It stands in the evidence block of the open, which is made again.
        let mut again = Maker::new(1, "vambrace/cell4");
        again.auditors = vec![ANNA, BERT];
        let keys = segment[from..to].to_vec();
        again.segment();
        let here = again.segments.last_mut().unwrap();
        let (from, to, _) = blocks(here).into_iter().find(|(.., found)| *found == 4).unwrap();
        here.splice(from..to, keys);
        again.open_here();
        again.event(60);
        again.trailer();
        again.checkpoint();
        return again;
    }
    maker.trailer();
    maker.checkpoint();
    maker
}

/// What the box itself could forge, who holds the signing key: the auditor finds it, and what is told in the clear is
/// found by everybody.
#[test]
fn what_is_sealed_otherwise_than_it_says_is_found() {
    let fine = forged(5, |_| {});
    assert!(ask(&fine, &[ANNA]).sound && ask(&fine, &[]).sound, "{:?}", ask(&fine, &[ANNA]).findings);
    let fine = forged(4, |_| {});
    assert!(ask(&fine, &[ANNA]).sound && ask(&fine, &[]).sound, "{:?}", ask(&fine, &[ANNA]).findings);
    let says = |report: &Report, what: &str| {
        assert!(
            !report.sound && report.findings.iter().any(|it| it.what.contains(what)),
            "{what}: {:?}",
            report.findings
        );
    };
    // Segment, evidence block, first record: another place.
    for place in [0, 8, 16] {
        let moved = forged(5, |body| body[place] ^= 4);
        says(&ask(&moved, &[]), "belongs to another place");
    }
    // A nonce for the second time, and the last one there is.
    says(&ask(&forged(5, |body| body[24..32].fill(0)), &[]), "nonce");
    says(&ask(&forged(5, |body| body[24..32].fill(255)), &[]), "nonce");
    // Counts that do not add up, or not with the records.
    says(&ask(&forged(5, |body| body[44] = 9), &[]), "malformed");
    says(&ask(&forged(5, |body| body[52] = 1), &[]), "malformed");
    says(&ask(&forged(5, |body| body[40] = 3), &[]), "says that it holds");
    // What nobody without the key can see: other bytes, another event id, another count of refused packets.
    for place in [24, 32, 48, 60, 100] {
        let other = forged(5, |body| body[place] = body[place].wrapping_add(if place == 48 { 255 } else { 1 }));
        assert!(ask(&other, &[]).sound, "{place}");
        says(&ask(&other, &[ANNA]), "does not open");
        says(&ask(&other, &[BERT]), "does not open");
    }
    // Keys: of another segment or box; wrapped so that one of two auditors gets another; that nothing commits to.
    says(&ask(&forged(4, |body| body[8] ^= 1), &[]), "another segment or box");
    says(&ask(&forged(4, |body| body[16] ^= 1), &[]), "another segment or box");
    says(&ask(&forged(4, |body| body[0] = 2), &[]), "not known");
    says(&ask(&forged(4, |body| body[4] = 3), &[]), "malformed");
    let wrong = forged(4, |body| body[80 + 112 + 70] ^= 1);
    assert!(ask(&wrong, &[]).sound && ask(&wrong, &[ANNA]).sound);
    says(&ask(&wrong, &[BERT]), "can't be unwrapped");
}

#[test]
fn nothing_of_the_traffic_may_stand_in_the_clear_beside_it() {
    for packet in [false, true] {
        let mut maker = store();
        maker.open();
        // A box that forgot to seal.
        let auditors = std::mem::take(&mut maker.auditors);
        if packet {
            maker.packet(0, &[1; 60])
        } else {
            maker.event(10)
        }
        maker.auditors = auditors;
        maker.trailer();
        maker.checkpoint();
        let report = ask(&maker, &[]);
        assert!(
            !report.sound && report.findings[0].what.contains("in the clear in an encrypted segment"),
            "{report:?}"
        );
    }
    // The key of a segment does not open another's blocks.
    let maker = store();
    let sealed = |segment: &[u8]| blocks(segment).into_iter().rfind(|(.., kind)| *kind == 5).unwrap();
    let ((a, b, _), (c, d, _)) = (sealed(&maker.segments[0]), sealed(&maker.segments[1]));
    let mut spliced = maker.clone();
    let other = maker.segments[1][c..d].to_vec();
    spliced.segments[0].splice(a..b, other);
    assert!(!ask(&spliced, &[]).sound);
    assert_ne!(sha256(&maker.segments[0][a..b]), sha256(&maker.segments[1][c..d]));
}
