//! `vambrace evidence` as people call it: exit codes, sentences, exports that another machine verifies.

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
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evidence::{Maker, blocks, hex, sha256};
use serde_json::Value;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-evidence-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The store as a folder, with a secret key beside it that nobody may hand on.
    fn store(&self, maker: &Maker) -> PathBuf {
        let folder = self.0.join("store");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in maker.files() {
            fs::write(folder.join(name), bytes).unwrap();
        }
        fs::write(folder.join("evidence.key"), SECRET).unwrap();
        fs::write(folder.join("evidence.counter"), "2\n").unwrap();
        folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SECRET: &[u8] = b"this is the secret key and stays at home";

fn run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
    command.arg("--socket").arg("/nonexistent/control.sock");
    let Output { status, stdout, stderr } = command.args(arguments.iter().map(AsRef::as_ref)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn verify(path: &Path, more: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String) {
    let (code, out, err) = run(&[&[&"evidence" as &dyn AsRef<_>, &"verify", &path], more].concat());
    assert!(err.lines().count() <= 1, "{err}");
    (code, out + &err)
}

/// Two runs in three segments; behind the last checkpoint a block that nothing signs and half a record.
fn store() -> Maker {
    let mut maker = Maker::new(1, "vambrace/cell4");
    maker.open();
    maker.work(3, 100);
    maker.segment();
    maker.work(3, 100);
    maker.gap(7);
    maker.close();
    maker.open();
    maker.work(4, 50);
    maker.event(3);
    maker.trailer();
    maker.event(200);
    let cut = maker.segments[2].len() - 13;
    maker.segments[2].truncate(cut);
    maker
}

#[test]
fn exit_codes_and_sentences() {
    let scratch = Scratch::new("codes");
    let maker = store();
    let folder = scratch.store(&maker);
    let (code, said) = verify(&folder, &[]);
    assert_eq!(code, 0, "{said}");
    for sentence in [
        ": sound\n",
        "not pinned",
        "Signatures commit to everything up to ",
        "1 records behind that are chained, and signed by nothing yet.",
        "Nothing covers the last ",
        "Nothing outside of the store commits to its end",
        "gap: 7 records and 0 frames lost",
        "SFTP",
        "TLS",
        "USB",
        "teach pendant",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    let (key, notes) = (scratch.0.join("cell4.pub"), scratch.0.join("notes"));
    fs::write(&key, maker.line()).unwrap();
    fs::write(&notes, maker.notes.join("\n") + "\n").unwrap();
    let (code, said) = verify(&folder, &[&"--key", &key, &"--witness", &notes, &"--counter", &"2"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("(the one that was given)") && said.contains("a witness commits to it up to"), "{said}");
    assert!(said.contains("the counter says that run 2 is the last one"), "{said}");
    let (code, said) = verify(&folder, &[&"--counter", &"3"]);
    assert_eq!(code, 4, "{said}");

    let other = scratch.0.join("other.pub");
    fs::write(&other, Maker::new(2, "vambrace/cell4").line()).unwrap();
    assert_eq!(verify(&folder, &[&"--key", &other]).0, 4);

    // Altered in one place: the place is named, and so is what holds before it.
    let segment = folder.join("evidence-00000002.pcapng");
    let mut bytes = fs::read(&segment).unwrap();
    let at = blocks(&bytes)[6].0 + 30;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, said) = verify(&folder, &[]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("NOT SOUND") && said.contains("segment 2, block 4, byte 0: "), "{said}");
    assert!(said.contains("Before the first of these places it holds, signed up to "), "{said}");
    assert!(!said.contains("Signatures commit to everything"), "{said}");
    let (code, out, _) = run(&[&"--json", &"evidence", &"verify", &folder]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, value["sound"].as_bool(), out.lines().count()), (4, Some(false), 1));
    assert_eq!((&value["findings"][0]["segment"], &value["findings"][0]["block"]), (&2.into(), &4.into()));

    assert_eq!(verify(&scratch.0.join("absent"), &[]).0, 1);
    assert_eq!(verify(&scratch.0, &[]).0, 1);
    assert_eq!(verify(&key, &[]).0, 1, "a text is no tar file");
    assert_eq!(verify(&folder, &[&"--key", &notes]).0, 1);
    assert_eq!(verify(&folder, &[&"--witness", &key]).0, 1);
    assert_eq!(run(&[&"evidence", &"verify"]).0, 5, "nobody is asked");
    assert_eq!(run(&[&"evidence", &"verify", &folder, &"--counter", &"x"]).0, 2);
    assert_eq!(run(&[&"evidence", &"export", &folder]).0, 2);
}

#[test]
fn what_a_store_says_cannot_paint_the_screen() {
    let scratch = Scratch::new("paint");
    let mut maker = store();
    let cut = blocks(&maker.segments[2]).last().unwrap().1;
    maker.segments[2].truncate(cut);
    maker.record("{\"evidence\":\"\\u001b[31mgap\"}");
    let (code, said) = verify(&scratch.store(&maker), &[]);
    assert_eq!(code, 4);
    assert!(!said.contains('\u{1b}') && said.contains("malformed"), "{said:?}");
}

#[test]
fn segments_are_listed() {
    let scratch = Scratch::new("list");
    let maker = store();
    let folder = scratch.store(&maker);
    let (code, out, _) = run(&[&"evidence", &"list", &folder]);
    assert_eq!((code, out.lines().count()), (0, 6), "{out}");
    let (code, out, _) = run(&[&"--json", &"evidence", &"list", &folder]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (0, 3));
    assert_eq!(lines.iter().map(|line| line["records"].as_u64().unwrap()).sum::<u64>(), maker.records - 1);
    assert_eq!(lines[1]["first_record"], maker.begins[1].1 + 1);
    assert_eq!(lines[2]["bytes"], maker.segments[2].len());
}

/// Names and bytes of what is in a tar file.
fn contents(tar: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(fs::File::open(tar).unwrap());
    let read = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn an_export_is_verified_elsewhere_with_the_public_key_alone() {
    let scratch = Scratch::new("export");
    let maker = store();
    let folder = scratch.store(&maker);
    let (tar, key, policy) = (scratch.0.join("a.tar"), scratch.0.join("cell4.pub"), scratch.0.join("p.toml"));
    fs::write(&key, maker.line()).unwrap();
    fs::write(&policy, "version = 1\n").unwrap();
    let (code, out, err) = run(&[&"evidence", &"export", &folder, &"-o", &tar, &"--policy", &policy]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&hex(&sha256(maker.line().as_bytes()))), "{out}");
    let files = contents(&tar);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "manifest.json",
            "evidence-00000001.pcapng",
            "evidence-00000002.pcapng",
            "evidence-00000003.pcapng",
            "evidence.pub",
            "policy.toml",
            "custody.txt"
        ]
    );
    let all = fs::read(&tar).unwrap();
    assert!(!all.windows(SECRET.len()).any(|window| window == SECRET), "the secret key was handed on");
    let manifest: Value = serde_json::from_slice(&files[0].1).unwrap();
    for ((name, bytes), named) in files.iter().skip(1).zip(manifest["files"].as_array().unwrap()) {
        assert_eq!((named["name"].as_str(), named["sha256"].as_str()), (Some(&**name), Some(&*hex(&sha256(bytes)))));
    }
    // Up to the last whole trailer; half a record is not handed on.
    let last = blocks(&maker.segments[2]).iter().rfind(|(.., kind)| *kind == 2).unwrap().1;
    assert_eq!(files[3].1, maker.segments[2][..last]);
    fs::remove_dir_all(&folder).unwrap();
    let (code, said) = verify(&tar, &[&"--key", &key]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("Nothing covers the last"), "{said}");

    // Whatever is altered in it is found, or is no evidence: the time of the export, a date of tar.
    let changed = scratch.0.join("changed.tar");
    for at in (0..all.len()).step_by(149) {
        let mut bytes = all.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&changed, bytes).unwrap();
        let (code, said) = verify(&changed, &[&"--key", &key]);
        assert!(code == 4 || code == 1 || contents(&changed)[1..] == files[1..], "byte {at}: {said}");
    }
    for end in (0..all.len()).step_by(1021) {
        fs::write(&changed, &all[..end]).unwrap();
        let code = verify(&changed, &[&"--key", &key]).0;
        assert!(code == 4 || code == 1 || end > all.len() - 1100, "cut at {end}");
    }
    assert_eq!(run(&[&"evidence", &"export", &scratch.0, &"-o", &tar]).0, 2, "it was written over");
}

#[test]
fn a_part_says_what_was_left_out() {
    let scratch = Scratch::new("part");
    let maker = store();
    let folder = scratch.store(&maker);
    let times = {
        let (_, out, _) = run(&[&"--json", &"evidence", &"list", &folder]);
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().map(|line| line["from_ns"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let moment = |ns: u64| jiff::Timestamp::from_nanosecond(ns.into()).unwrap().to_string();
    let tar = scratch.0.join("part.tar");
    let (from, to) = (moment(times[1]), moment(times[1] + 1));
    let (code, _, err) = run(&[&"evidence", &"export", &folder, &"-o", &tar, &"--from", &from, &"--to", &to]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(contents(&tar)[1].0, "evidence-00000002.pcapng");
    let (code, said) = verify(&tar, &[]);
    assert_eq!(code, 0, "{said}");
    let (leaves, records, _) = maker.begins[1];
    let left_out = format!("before it: {leaves} blocks with {records} records, left out of this export");
    assert!(said.contains(&left_out), "{said}");
    assert!(said.contains("The last run ended in order."), "{said}");
    // A checkpoint that a witness got before is answered from what `before` holds, and one of later is missing.
    let notes = scratch.0.join("notes");
    fs::write(&notes, maker.notes.last().unwrap().clone() + "\n").unwrap();
    assert_eq!(verify(&tar, &[&"--witness", &notes]).0, 4);
    let empty = scratch.0.join("empty.tar");
    assert_eq!(run(&[&"evidence", &"export", &folder, &"-o", &empty, &"--from", &"2099-01-01"]).0, 1);
    assert!(!empty.exists());
    // From an export, a smaller one.
    let again = scratch.0.join("again.tar");
    let (code, _, err) = run(&[&"evidence", &"export", &tar, &"-o", &again]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(verify(&again, &[]).0, 0);
}
