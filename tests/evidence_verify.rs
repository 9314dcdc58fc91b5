//! What a verifier says of stores: sound ones, and those whose makers hold a key and know the format.

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

use evidence::{Maker, blocks, custom, hex, sha256};
use vambrace::verify::{Error, Key, Memory, Question, Report, read_witness, read_witness_telling, verify};

fn ask(maker: &Maker, question: &Question) -> Report {
    verify(&Memory::new(maker.files(), false), question, |_| {}).unwrap()
}

fn pinned(maker: &Maker) -> Question {
    Question { key: Some(Key::parse(&maker.line()).unwrap()), ..Question::default() }
}

fn says(report: &Report, what: &str) {
    assert!(!report.sound, "sound, but {what}");
    let first = report.findings.first().unwrap().to_string();
    assert!(first.contains(what), "{first}: should say: {what}");
}

/// Two runs, the first of which ended in order; a gap, a pruned begin where `pruned`.
fn store(seed: u8) -> Maker {
    let mut maker = Maker::new(seed, "vambrace/cell4");
    maker.open();
    maker.work(3, 100);
    maker.segment();
    maker.work(3, 100);
    maker.gap(7);
    maker.close();
    maker.open();
    maker.work(4, 50);
    maker
}

#[test]
fn a_sound_store_is_told_in_full() {
    let maker = store(1);
    let report = ask(&maker, &Question::default());
    assert_eq!(report.findings, []);
    assert!(report.sound && !report.pinned);
    assert_eq!((report.first_segment, report.last_segment), (1, 3));
    assert_eq!(report.leaves, maker.leaves.len() as u64);
    assert_eq!(report.root, hex(&evidence::root(&maker.leaves)));
    assert_eq!((report.first_record, report.last_record), (1, maker.records));
    assert_eq!((report.packets, report.refused), (20, 10 + 4));
    assert_eq!((report.runs, report.unclosed_count, report.gap_count, report.lost_records), (2, 0, 1, 7));
    assert_eq!((report.lost_untold, report.clock_step_count, report.unsynchronised), (0, 0, 0));
    assert_eq!(report.signatures, maker.notes.len() as u64);
    let signed = report.signed.unwrap();
    assert_eq!((signed.leaves, signed.records), (report.leaves, report.last_record));
    assert_eq!((report.unsigned_leaves, report.unsigned_records, report.tail), (0, 0, None));
    assert!(!report.end.closed && report.end.witness.is_none() && report.end.opened_ns.is_some());
    let report = ask(&maker, &pinned(&maker));
    assert!(report.sound && report.pinned);
}

#[test]
fn any_cut_into_pieces_gives_the_same_answer() {
    struct Dribble(Memory);
    struct Bytes<R>(R, usize);
    impl<R: std::io::Read> std::io::Read for Bytes<R> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1 * 7 % 31 + 1;
            let room = to.len().min(self.1);
            self.0.read(&mut to[..room])
        }
    }
    impl vambrace::verify::Store for Dribble {
        fn entries(&self) -> &[vambrace::verify::Entry] {
            self.0.entries()
        }
        fn open(&self, entry: &vambrace::verify::Entry) -> std::io::Result<Box<dyn std::io::Read + '_>> {
            Ok(Box::new(Bytes(self.0.open(entry)?, 3)))
        }
    }
    let maker = store(1);
    let memory = Memory::new(maker.files(), false);
    let whole = verify(&memory, &Question::default(), |_| {}).unwrap();
    assert_eq!(verify(&Dribble(memory), &Question::default(), |_| {}).unwrap(), whole);
}

#[test]
fn a_run_without_a_close_is_told_and_sound() {
    let mut maker = Maker::new(1, "vambrace/cell4");
    maker.open();
    maker.work(2, 10);
    maker.boot = 2;
    maker.monotonic = 0;
    maker.open();
    let report = ask(&maker, &Question::default());
    assert!(report.sound, "{:?}", report.findings);
    assert_eq!(report.unclosed.len(), 1);
    assert_eq!((report.unclosed[0].counter, report.unclosed[0].cut_bytes), (Some(1), Some(100)));
}

#[test]
fn an_end_in_order_is_said_and_nothing_may_stand_behind_it() {
    let mut maker = store(1);
    maker.close();
    assert!(ask(&maker, &Question::default()).end.closed);
    let mut with_rest = maker.clone();
    with_rest.segments[2].extend([0; 40]);
    says(&ask(&with_rest, &Question::default()), "behind an end in order");
    let mut with_record = maker.clone();
    with_record.event(5);
    says(&ask(&with_record, &Question::default()), "behind the end of a run");
    // What a start left that wrote nothing else is no harm.
    maker.segment();
    let report = ask(&maker, &Question::default());
    assert!(report.sound && report.tail.unwrap().byte == 0);
    let short = maker.segments[3].len() - 5;
    maker.segments[3].truncate(short);
    assert!(ask(&maker, &Question::default()).sound);
}

#[test]
fn clocks_that_step_or_run_free_are_told() {
    let mut maker = store(1);
    maker.wall -= 2_000_000_000;
    maker.clock = 1;
    maker.event(1);
    maker.trailer();
    let report = ask(&maker, &Question::default());
    assert!(report.sound);
    assert_eq!((report.clock_step_count, report.unsynchronised), (1, 1));
    assert_eq!(report.clock_steps[0].step_ns, -2_000_000_000);
    assert_eq!((report.unsigned_leaves, report.unsigned_records), (1, 1));
}

#[test]
fn losses_that_no_gap_tells_of_are_told() {
    let mut maker = store(1);
    maker.lost = 3;
    maker.event(1);
    maker.trailer();
    assert_eq!(ask(&maker, &Question::default()).lost_untold, 3);
}

#[test]
fn removed_segments_need_a_prune() {
    let mut maker = store(1);
    maker.prune(1);
    let report = ask(&maker, &Question::default());
    assert!(report.sound, "{:?}", report.findings);
    let absent = report.absent.unwrap();
    assert_eq!((absent.leaves, absent.records, absent.by), (maker.begins[1].0 as u64, maker.begins[1].1, "prune"));
    assert_eq!(report.leaves, maker.leaves.len() as u64);
    // Announced and not yet removed.
    maker.removed = 0;
    assert!(ask(&maker, &Question::default()).sound);
    // More removed than any prune says.
    maker.removed = 2;
    says(&ask(&maker, &Question::default()), "nothing answers for what was before");
    let mut never = store(1);
    never.removed = 1;
    says(&ask(&never, &Question::default()), "nothing answers for what was before");
    // A prune by somebody without the key: hashes alone are anybody's.
    let mut forged = store(1);
    forged.forge_prune(1);
    says(&ask(&forged, &Question::default()), "signed by nothing");
    let key = Key::parse(&forged.line()).unwrap();
    says(&ask(&forged, &Question { key: Some(key), ..Question::default() }), "signed by nothing");
    forged.checkpoint();
    assert!(ask(&forged, &Question::default()).sound, "once it is signed it holds");
    // A prune of blocks that never were, by who holds the key.
    let mut liar = store(1);
    liar.begins[1].2 = [7; 32];
    liar.prune(1);
    says(&ask(&liar, &Question::default()), "does not follow");
    liar.removed = 0;
    says(&ask(&liar, &Question::default()), "a prune names other blocks");
}

#[test]
fn witnesses_and_counters_hold_the_end() {
    let maker = store(1);
    let key = Key::parse(&maker.line()).unwrap();
    let held = maker.notes.join("\n") + "\n";
    let witnesses = read_witness("w", held.as_bytes(), &key).unwrap();
    let question = Question { witnesses, counter: Some(2), ..Question::default() };
    let report = ask(&maker, &question);
    assert!(report.sound, "{:?}", report.findings);
    assert_eq!(report.end.witness.unwrap().leaves, report.leaves);
    assert_eq!(report.end.counter, Some(2));
    let mut back = maker.clone();
    back.segments.pop();
    says(&ask(&back, &question), "was cut off");
    says(&ask(&back, &Question { counter: Some(2), ..Question::default() }), "opened 2 times");
    assert!(ask(&back, &Question::default()).sound, "nothing commits to the last run");
    // Rolled back and gone on with, by the box itself.
    let mut other = rolled_back();
    other.work(9, 9);
    says(&ask(&other, &question), "a witness holds another root");
    // A note that is being written, one of another box, and one that is false.
    let other_box = Maker::new(2, "vambrace/cell5").note();
    let text = format!("{other_box}\n{held}{}", &maker.notes[0][..40]);
    assert!(read_witness("w", text.as_bytes(), &key).is_ok());
    assert!(matches!(read_witness("w", other_box.as_bytes(), &key), Err(Error::Witness { .. })));
    let false_one = Maker::new(3, "vambrace/cell4").note();
    assert!(matches!(read_witness("w", false_one.as_bytes(), &key), Err(Error::Witness { .. })));
    assert!(matches!(read_witness("w", &vec![b'x'; 1 << 20][..], &key), Err(Error::Witness { .. })));
    // Whoever can push to a witness can't make what it holds unreadable: false notes prove nothing, and the others count.
    let long = "x".repeat(1 << 16);
    let torn = &maker.notes[1][..60];
    let text = format!("{false_one}\n{long}\n\n{}\n{torn}\n\n{}\n\u{2014} x\n\n", held, maker.notes[2]);
    let mut told = 0;
    let read = read_witness_telling("w", text.as_bytes(), &key, |_, _| told += 1).unwrap();
    assert!(told >= 2, "{told}");
    let clean = read_witness("w", format!("{held}{}\n", maker.notes[2]).as_bytes(), &key).unwrap();
    assert_eq!(read, clean);
    says(&ask(&back, &Question { witnesses: read, ..Question::default() }), "was cut off");
}

/// The first run of `store` with another one behind it.
fn rolled_back() -> Maker {
    let mut maker = Maker::new(1, "vambrace/cell4");
    maker.open();
    maker.work(3, 100);
    maker.segment();
    maker.work(3, 100);
    maker.gap(7);
    maker.close();
    maker.counter = 2;
    maker.open();
    maker
}

#[test]
fn starts_that_left_nothing_are_counted() {
    let mut maker = store(1);
    maker.close();
    maker.counter += 2;
    maker.open();
    let report = ask(&maker, &Question::default());
    assert!(report.sound);
    assert_eq!(report.starts_without_records, 2);
    // Somebody took the whole store away, and the box began another.
    let mut second = Maker::new(1, "vambrace/cell4");
    second.counter = 6;
    second.open();
    assert_eq!(ask(&second, &Question::default()).starts_without_records, 6);
}

#[test]
fn another_key_is_seen_when_one_is_pinned() {
    let (own, forged) = (store(1), store(2));
    assert!(ask(&forged, &Question::default()).sound, "without a pinned key nobody can tell");
    let report = ask(&forged, &pinned(&own));
    assert!(!report.sound && report.pinned);
    let mut mixed = forged.clone();
    mixed.secret = own.secret.clone();
    says(&ask(&mixed, &pinned(&own)), "another name or key");
    let mut files = own.files();
    files.pop();
    let memory = Memory::new(files, false);
    assert!(matches!(verify(&memory, &Question::default(), |_| {}), Err(Error::NoKey)));
    assert!(verify(&memory, &pinned(&own), |_| {}).unwrap().sound);
    let nothing = Memory::new([], false);
    assert!(matches!(verify(&nothing, &pinned(&own), |_| {}), Err(Error::NoSegments)));
}

#[test]
fn who_holds_the_key_must_still_keep_to_the_format() {
    let question = Question::default();
    let mut hole = store(1);
    hole.records += 1;
    hole.event(1);
    hole.trailer();
    says(&ask(&hole, &question), "the block says that it holds records");
    let mut other_run = store(1);
    other_run.counter = 9;
    other_run.checkpoint();
    says(&ask(&other_run, &question), "is of run 9");
    let mut twice = store(1);
    let note = twice.notes.last().unwrap().clone();
    twice.segments[2].extend(custom(3, note.as_bytes()));
    says(&ask(&twice, &question), "twice");
    let mut early = store(1);
    early.event(1);
    early.checkpoint();
    says(&ask(&early, &question), "no trailer is in front");
    let mut dirty = store(1);
    dirty.close();
    dirty.work(1, 1);
    says(&ask(&dirty, &question), "behind the end of a run");
    let mut again = store(1);
    again.counter = 1;
    again.close();
    says(&ask(&again, &question), "close of run 1 stands in another run");
    let mut lagging = Maker::new(1, "vambrace/cell4");
    lagging.open();
    lagging.close();
    lagging.counter = 0;
    lagging.open();
    says(&ask(&lagging, &question), "run 1 follows run 1");
    let mut unknown = store(1);
    unknown.record(r#"{"evidence":"nothing"}"#);
    says(&ask(&unknown, &question), "malformed");
    let mut no_port = store(1);
    no_port.packet(4, &[0; 60]);
    says(&ask(&no_port, &question), "interface 4");
    let mut gone = store(1);
    gone.segments.remove(1);
    says(&ask(&gone, &question), "");
}

#[test]
fn ends_that_a_power_cut_leaves_are_sound_up_to_the_signature() {
    let mut maker = store(1);
    maker.event(300);
    maker.packet(0, &[9; 1000]);
    let whole = blocks(&store(1).segments[2]).last().unwrap().1;
    let all = maker.segments[2].clone();
    for end in whole..all.len() {
        maker.segments[2] = all[..end].to_vec();
        let report = ask(&maker, &Question::default());
        assert!(report.sound, "{end}: {:?}", report.findings);
        let length = (end - whole) as u64;
        assert_eq!(report.tail.map_or(0, |tail| tail.bytes), length);
        for zeros in [4, 5000] {
            maker.segments[2].resize(end + zeros, 0);
            let report = ask(&maker, &Question::default());
            assert!(report.sound, "{end} and {zeros} zeros: {:?}", report.findings);
            maker.segments[2].truncate(end);
        }
    }
    // Anything else is not a power cut's.
    maker.segments[2] = all[..whole].to_vec();
    maker.segments[2].extend([7; 64]);
    assert!(!ask(&maker, &Question::default()).sound);
    assert_ne!(sha256(&all), [0; 32]);
}

#[test]
fn a_length_that_was_altered_hides_nothing_that_is_signed() {
    let mut maker = store(1);
    let (begin, ..) = blocks(&maker.segments[2])[6];
    for length in [0u32, 12, 1 << 16, 1 << 20, (16 << 20) - 4, 1 << 30, u32::MAX - 3] {
        maker.segments[2][begin + 4..begin + 8].copy_from_slice(&length.to_le_bytes());
        assert!(!ask(&maker, &Question::default()).sound, "{length}");
    }
}

/// A store of `mebibytes` in segments of 60 MiB, in `folder`.
fn large(folder: &std::path::Path, mebibytes: usize) -> Maker {
    let mut maker = Maker::new(1, "vambrace/cell4");
    maker.open();
    let (mut written, mut count) = (0, 0);
    while written < mebibytes << 20 {
        let begin = maker.segments.last().unwrap().len();
        while maker.segments.last().unwrap().len() < begin + (60 << 10) {
            maker.event(600);
            maker.packet(2, &[1; 100]);
        }
        maker.trailer();
        count += 1;
        if count % 4 == 0 {
            maker.checkpoint();
        }
        written += maker.segments.last().unwrap().len() - begin;
        if maker.segments.last().unwrap().len() > 60 << 20 {
            maker.segment();
        }
    }
    maker.checkpoint();
    for (name, bytes) in maker.files() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    maker
}

/// `cargo test --release --test evidence_verify -- --ignored --nocapture`
#[test]
#[ignore = "prints figures, and takes long without --release"]
fn speed_beside_sha256sum_and_samples_of_a_large_store() {
    let folder = std::env::temp_dir().join(format!("vambrace-speed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let maker = large(&folder, 256);
    let paths = (1..=maker.segments.len()).map(|number| folder.join(vambrace::verify::segment_name(number as u64)));
    let paths: Vec<_> = paths.collect();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        assert!(std::process::Command::new("sha256sum").args(&paths).output().unwrap().status.success());
        let theirs = start.elapsed();
        let start = std::time::Instant::now();
        let store = vambrace::verify::Folder::open(&folder).unwrap();
        let report = verify(&store, &Question::default(), |_| {}).unwrap();
        let own = start.elapsed();
        assert!(report.sound, "{:?}", report.findings);
        let ratio = theirs.as_secs_f64() / own.as_secs_f64();
        println!(
            "{} MiB, {} records, {} signatures: sha256sum {theirs:.3?}, verify {own:.3?}: {ratio:.2} times its speed",
            report.bytes >> 20,
            report.last_record,
            report.signatures
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let mut files = maker.files();
    for round in 0..40_usize {
        // Spread by the golden ratio, so that any number of rounds meets all of it.
        let at = round % maker.segments.len();
        let byte = (round * 0x9e37_79b9) % files[at].1.len();
        files[at].1[byte] ^= 1 << (round % 8);
        assert!(
            !verify(&Memory::new(files.clone(), false), &Question::default(), |_| {}).unwrap().sound,
            "{at} {byte}"
        );
        files[at].1[byte] ^= 1 << (round % 8);
    }
}
