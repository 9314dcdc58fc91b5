//! The writer's own stores, read by the verifier that knows only the page.

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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evidence::blocks;
use vambrace::record::evidence::{ClockState, Evidence, EvidenceOptions, FrameCounts, Moment, Port, Surroundings};
use vambrace::record::pcapng::PacketNotes;
use vambrace::verify::{Folder, Key, Memory, Question, Report, read_witness, verify};

const SECOND: u64 = 1_000_000_000;

/// A box whose clocks run when the test says so.
#[derive(Clone, Debug, Default)]
struct Clocks {
    passed_ns: Arc<AtomicU64>,
    back_ns: Arc<AtomicU64>,
}

impl Surroundings for Clocks {
    fn frames(&self) -> FrameCounts {
        FrameCounts { received: 30, sent: 20, refused: 10 }
    }

    fn clock(&self) -> ClockState {
        ClockState::Synchronised
    }

    fn now(&self) -> Moment {
        let passed = self.passed_ns.load(Ordering::Relaxed);
        let wall_ns = 1_764_000_000 * SECOND + passed - self.back_ns.load(Ordering::Relaxed);
        Moment { monotonic_ns: SECOND + passed, wall_ns }
    }
}

/// A folder that goes when it is dropped, in memory where there is such a place.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("vambrace-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options(directory: &Path) -> EvidenceOptions {
    EvidenceOptions {
        directory: directory.join("store"),
        budget: 1 << 30,
        max_age: None,
        witnesses: vec![directory.join("witness")],
        counter: Some(directory.join("counter")),
        host: "cell 4".into(),
        names: vec![("10.20.0.40".parse().unwrap(), "cell4-robot".into())],
        recipients: Vec::new(),
    }
}

fn open(options: &EvidenceOptions, clocks: &Clocks) -> Evidence {
    Evidence::open(options.clone(), Arc::new(clocks.clone())).unwrap()
}

/// Seconds in which `each` events and refused frames a second are recorded.
fn live(evidence: &mut Evidence, clocks: &Clocks, seconds: u64, each: u64) {
    for tenth in 0..seconds * 10 {
        for number in (0..each).filter(|number| number % 10 == tenth % 10) {
            let event = format!("{{\"event_type\":\"modbus\",\"event_id\":{number},\"tenth\":{tenth}}}");
            evidence.record(event.as_bytes(), 1);
            let notes = PacketNotes { comment: "plc wrote 700", packet_id: number, verdict: "value_not_allowed" };
            evidence.packet(Port::PlantDropped, clocks.now().wall_ns, 61, &[0x5a; 61], &notes);
        }
        clocks.passed_ns.fetch_add(SECOND / 10, Ordering::Relaxed);
        evidence.tick();
    }
}

/// As the power cut would leave it.
fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn ask(store: &Path, question: &Question) -> Report {
    verify(&Folder::open(store).unwrap(), question, |_| {}).unwrap()
}

fn sound(store: &Path, question: &Question) -> Report {
    let report = ask(store, question);
    assert!(report.sound, "{:?}", report.findings);
    report
}

fn key(store: &Path) -> Key {
    Key::parse(fs::read_to_string(store.join("evidence.pub")).unwrap().trim()).unwrap()
}

/// What a question to a store of `options` pins: key, witness, counter.
fn pinned(options: &EvidenceOptions) -> Question {
    let key = key(&options.directory);
    let held = fs::read(&options.witnesses[0]).unwrap();
    let witnesses = read_witness("witness", held.as_slice(), &key).unwrap();
    let counter = fs::read_to_string(options.counter.as_ref().unwrap()).unwrap().trim().parse().unwrap();
    Question { key: Some(key), witnesses, counter: Some(counter), ..Question::default() }
}

#[test]
fn a_life_of_three_runs_is_sound_with_key_witness_and_counter() {
    let scratch = Scratch::new("life");
    let (options, clocks) = (options(&scratch.0), Clocks::default());
    let store = &options.directory;
    let mut evidence = open(&options, &clocks);
    live(&mut evidence, &clocks, 12, 7);
    evidence.lost_before(5, 2);
    live(&mut evidence, &clocks, 3, 3);
    evidence.close();
    let first = sound(store, &pinned(&options));
    assert!(first.end.closed && first.pinned && first.end.counter == Some(1));
    assert_eq!((first.lost_records, first.lost_frames, first.lost_untold, first.gap_count), (5, 2, 0, 1));
    assert!(first.signatures >= 15, "{}", first.signatures);
    assert_eq!(first.packets, first.refused);

    clocks.back_ns.store(7 * SECOND, Ordering::Relaxed);
    let mut evidence = open(&options, &clocks);
    live(&mut evidence, &clocks, 3, 9);
    // The power goes: what is on the disk now is all there is.
    let cut = scratch.0.join("cut");
    copy(store, &cut);
    drop(evidence);
    let at_the_cut = sound(&cut, &Question::default());
    assert_eq!((at_the_cut.runs, at_the_cut.end.closed, at_the_cut.clock_step_count), (2, false, 1));

    copy(&cut, store);
    let mut evidence = open(&options, &clocks);
    live(&mut evidence, &clocks, 2, 4);
    evidence.close();
    let report = ask(store, &pinned(&options));
    // The witness saw the second run's end, which the disk then lost: that is a roll-back, and it is told.
    assert!(!report.sound && report.findings[0].what.contains("a witness holds"), "{:?}", report.findings);
    let question = Question { witnesses: Vec::new(), ..pinned(&options) };
    let report = sound(store, &question);
    assert_eq!((report.runs, report.unclosed_count, report.end.counter), (3, 1, Some(3)));
    assert!(report.end.closed);
}

#[test]
fn a_store_that_is_written_and_pruned_is_sound_at_every_moment() {
    let scratch = Scratch::new("pruned");
    let mut options = options(&scratch.0);
    options.budget = 2 << 20;
    let clocks = Clocks::default();
    let mut evidence = open(&options, &clocks);
    let mut removed = 0;
    for round in 0..30 {
        live(&mut evidence, &clocks, 2, 300);
        let report = sound(&options.directory, &Question::default());
        removed = report.absent.map_or(0, |absent| absent.leaves);
        assert!(report.unsigned_leaves < 8, "{round}: {} blocks are not signed", report.unsigned_leaves);
    }
    assert!(removed > 0, "nothing was pruned");
    evidence.close();
    let report = sound(&options.directory, &pinned(&options));
    assert!(report.end.closed && report.end.witnessed > 0 && report.end.witness_too_old > 0);
}

#[test]
fn whatever_a_power_cut_leaves_is_sound_and_so_is_what_the_next_start_makes_of_it() {
    let scratch = Scratch::new("cuts");
    let (options, clocks) = (options(&scratch.0), Clocks::default());
    let store = &options.directory;
    let mut evidence = open(&options, &clocks);
    live(&mut evidence, &clocks, 2, 5);
    let origin = scratch.0.join("origin");
    copy(store, &origin);
    drop(evidence);
    let bytes = fs::read(origin.join("evidence-00000001.pcapng")).unwrap();
    for (round, end) in (0..=bytes.len()).rev().step_by(233).enumerate() {
        copy(&origin, store);
        let mut left = bytes[..end].to_vec();
        // The file's length may have reached the disk before its bytes.
        left.resize(end + [0, 0, 4096][round % 3], 0);
        fs::write(store.join("evidence-00000001.pcapng"), left).unwrap();
        let before = sound(store, &Question::default());
        let mut evidence = open(&options, &clocks);
        live(&mut evidence, &clocks, 1, 2);
        evidence.close();
        let after = sound(store, &Question::default());
        assert!(after.leaves > before.leaves && after.end.closed, "cut at {end}");
        assert!(after.last_record > before.last_record, "cut at {end}");
    }
}

#[test]
fn altered_bytes_of_real_stores_are_found() {
    let scratch = Scratch::new("altered");
    let (options, clocks) = (options(&scratch.0), Clocks::default());
    for _ in 0..3 {
        let mut evidence = open(&options, &clocks);
        live(&mut evidence, &clocks, 3, 20);
        evidence.close();
    }
    let question = pinned(&options);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&options.directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .filter(|(name, _)| name.ends_with(".pcapng") || name == "evidence.pub")
        .collect();
    files.sort();
    let whole = verify(&Memory::new(files.clone(), false), &question, |_| {}).unwrap();
    assert!(whole.sound && whole.end.closed, "{:?}", whole.findings);
    let asked = |files: &[(String, Vec<u8>)]| verify(&Memory::new(files.to_vec(), false), &question, |_| {}).unwrap();
    for at in 0..files.len() {
        for byte in (at..files[at].1.len()).step_by(211) {
            files[at].1[byte] ^= 1 << (byte % 8);
            assert!(!asked(&files).sound, "{} {byte}", files[at].0);
            files[at].1[byte] ^= 1 << (byte % 8);
        }
        // Blocks that go or come twice; a checkpoint at a segment's end is the one thing that nothing misses.
        let pristine = files[at].1.clone();
        for (from, to, kind) in blocks(&pristine).into_iter().step_by(3) {
            files[at].1.drain(from..to);
            let report = asked(&files);
            assert!(!report.sound || (kind == 3 && report.signatures < whole.signatures), "{} {from}", files[at].0);
            files[at].1.clone_from(&pristine);
            files[at].1.splice(to..to, pristine[from..to].iter().copied());
            assert!(!asked(&files).sound, "{} {from} twice", files[at].0);
            files[at].1.clone_from(&pristine);
        }
    }
}
