//! Every way to alter a store that we could think of, on one of about 200 KiB with several segments and runs.
//!
//! All of it twice: on a store in the clear and on one that is encrypted, each with the box's public key alone.
//!
//! Exhaustive: all eight bits of every byte (of the encrypted store, one of every byte); truncation of every segment at
//! every byte; every pcapng block deleted, duplicated, swapped with the next and replaced by that of another device's
//! store; every segment deleted, duplicated, swapped with every other; a roll-back to every checkpoint against a witness.
//! Sampled: zeroed sectors, and the same flips through the whole reading of files.
//!
//! A mutation must be found, or make the statement weaker where nothing that was signed is gone: never the same.

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

use std::sync::atomic::{AtomicUsize, Ordering};

use evidence::{Maker, blocks};
use vambrace::verify::{Base, Key, Memory, Question, Report, Verifier, read_witness, segment_name, verify};

/// Three runs in six segments: one that ended in order, one that did not, one that was cut in the middle of a record
/// behind a block that nothing signs yet.
fn store(seed: u8) -> Maker {
    made(Maker::new(seed, "vambrace/cell4"))
}

/// The same, encrypted to two auditors.
fn encrypted(seed: u8) -> Maker {
    let mut maker = Maker::new(seed, "vambrace/cell4");
    maker.auditors = vec![[7; 32], [8; 32]];
    made(maker)
}

/// Both kinds of stores; what is asked of them needs the box's public key alone.
const STORES: [fn(u8) -> Maker; 2] = [store, encrypted];

fn made(mut maker: Maker) -> Maker {
    maker.open();
    maker.work(28, 300);
    maker.segment();
    maker.work(27, 280);
    maker.gap(3);
    maker.close();
    maker.open();
    maker.work(30, 260);
    maker.segment();
    maker.work(26, 350);
    maker.boot = 2;
    maker.open();
    maker.work(28, 310);
    maker.segment();
    maker.work(26, 330);
    maker.checkpoint();
    maker.event(200);
    maker.trailer();
    maker.event(100);
    maker.seal();
    let cut = maker.segments.last().unwrap().len() - 21;
    maker.segments.last_mut().unwrap().truncate(cut);
    maker
}

/// The state in front of a piece: what stands between two places at which nothing is half read.
struct Piece {
    segment: usize,
    from: usize,
    to: usize,
    state: Verifier,
}

struct Case {
    segments: Vec<Vec<u8>>,
    pieces: Vec<Piece>,
    /// State in front of each segment.
    begins: Vec<Verifier>,
    report: Report,
}

impl Case {
    fn new(maker: &Maker) -> Self {
        let key = Key::parse(&maker.line()).unwrap();
        let mut state = Verifier::new(key, true, Base::default(), Vec::new(), None);
        let (mut pieces, mut begins) = (Vec::new(), Vec::new());
        let segments = maker.segments.clone();
        for (at, segment) in segments.iter().enumerate() {
            begins.push(state.clone());
            state.begin(at as u64 + 1, None, at + 1 == segments.len());
            let mut from = 0;
            for to in ends(segment) {
                pieces.push(Piece { segment: at, from, to, state: state.clone() });
                state.feed(&segment[from..to]);
                from = to;
            }
            if from < segment.len() {
                pieces.push(Piece { segment: at, from, to: segment.len(), state: state.clone() });
                state.feed(&segment[from..]);
            }
            state.end();
        }
        let report = state.finish();
        assert!(report.sound, "{:?}", report.findings);
        assert!(report.tail.is_some() && report.unsigned_leaves == 1 && report.runs == 3);
        Self { segments, pieces, begins, report }
    }

    /// Reads on from `state` over `rest` of segment `at`, its `first` bytes at once, then over the others; `None` where
    /// something is found.
    fn go_on(&self, state: &Verifier, at: usize, rest: &[u8], first: usize) -> Option<Report> {
        let mut state = state.clone();
        let (first, rest) = rest.split_at(first);
        for part in std::iter::once(first).chain(rest.chunks(2048)) {
            state.feed(part);
            if state.is_bad() {
                return None;
            }
        }
        state.end();
        for (number, segment) in self.segments.iter().enumerate().skip(at + 1) {
            if state.is_bad() {
                return None;
            }
            state.begin(number as u64 + 1, None, number + 1 == self.segments.len());
            state.feed(segment);
            state.end();
        }
        let report = state.finish();
        report.sound.then_some(report)
    }

    /// The mutation was found, or says less.
    fn demand(&self, report: Option<Report>, what: &dyn Fn() -> String) {
        if let Some(report) = report {
            assert!(is_weaker(&report, &self.report), "{}: sound, and says as much: {report:#?}", what());
        }
    }

    /// Where the store's last checkpoint begins.
    fn last_checkpoint(&self) -> usize {
        let end = self.unsigned_from();
        blocks(self.segments.last().unwrap()).iter().find(|(_, to, _)| *to == end).unwrap().0
    }

    /// First byte that no signature covers, in the last segment.
    fn unsigned_from(&self) -> usize {
        let last = self.segments.last().unwrap();
        let trailing = self.pieces.iter().filter(|piece| piece.segment + 1 == self.segments.len());
        trailing.map(|piece| piece.to).filter(|to| is_behind_checkpoint(last, *to)).max().unwrap()
    }
}

/// Ends of trailers and checkpoints.
fn ends(segment: &[u8]) -> Vec<usize> {
    blocks(segment).iter().filter(|(.., kind)| *kind >= 2).map(|(_, end, _)| *end).collect()
}

fn is_behind_checkpoint(segment: &[u8], at: usize) -> bool {
    blocks(segment).iter().any(|(_, end, kind)| *end == at && *kind == 3)
}

/// Whether a sound statement says less than another, and nothing that the other does not.
fn is_weaker(report: &Report, than: &Report) -> bool {
    let says = |report: &Report| {
        let signed = report.signed.unwrap_or(vambrace::verify::Signed { leaves: 0, records: 0, time_ns: 0 });
        [signed.time_ns, signed.leaves, signed.records, report.leaves, report.last_record, report.signatures]
    };
    let (less, more) = (says(report), says(than));
    less.iter().zip(&more).all(|(less, more)| less <= more) && less != more
}

/// Two threads go through `count` numbers.
fn in_parallel(count: usize, each: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    each(at);
                }
            });
        }
    });
}

#[test]
fn every_bit_that_is_flipped() {
    every_bit_that_is_flipped_of(store);
}

#[test]
fn every_byte_that_is_changed_in_an_encrypted_store() {
    every_bit_that_is_flipped_of(encrypted);
}

fn every_bit_that_is_flipped_of(store: fn(u8) -> Maker) {
    let case = Case::new(&store(1));
    let size: usize = case.segments.iter().map(Vec::len).sum();
    assert!((190 << 10..250 << 10).contains(&size), "{size} bytes");
    // What is sealed is hashed like anything else: of each of its bytes one bit, for the time that all take.
    let is_encrypted = !store(1).auditors.is_empty();
    let signed = case.unsigned_from();
    in_parallel(case.pieces.len(), |at| {
        let piece = &case.pieces[at];
        let mut rest = case.segments[piece.segment][piece.from..].to_vec();
        for byte in 0..piece.to - piece.from {
            for bit in (0..8).filter(|bit| !is_encrypted || *bit == byte % 8) {
                rest[byte] ^= 1 << bit;
                let place = piece.from + byte;
                let found = case.go_on(&piece.state, piece.segment, &rest, piece.to - piece.from);
                let is_tail = piece.segment + 1 == case.segments.len() && place >= signed;
                if !is_tail {
                    // What stands behind the last trailer of a segment is covered by its own signature alone.
                    assert!(found.is_none(), "segment {}, byte {place}, bit {bit}: sound", piece.segment + 1);
                } else if place < usize::try_from(case.report.tail.as_ref().unwrap().byte).unwrap() {
                    case.demand(found, &|| format!("byte {place}, bit {bit}"));
                }
                rest[byte] ^= 1 << bit;
            }
        }
    });
}

#[test]
fn every_block_deleted_duplicated_swapped_or_spliced() {
    STORES.into_iter().for_each(every_block_deleted_duplicated_swapped_or_spliced_of);
}

fn every_block_deleted_duplicated_swapped_or_spliced_of(store: fn(u8) -> Maker) {
    let case = Case::new(&store(1));
    let others = [Case::new(&store(2)), {
        let mut same_key = Maker::new(1, "vambrace/cell4");
        same_key.auditors.clone_from(&store(1).auditors);
        same_key.wall += 77;
        let mut like = same_key.clone();
        like.open();
        like.work(80, 300);
        like.checkpoint();
        like.event(1);
        like.trailer();
        like.event(1);
        like.seal();
        let cut = like.segments[0].len() - 5;
        like.segments[0].truncate(cut);
        Case { segments: like.segments, pieces: Vec::new(), begins: Vec::new(), report: Report::default() }
    }];
    for (number, segment) in case.segments.iter().enumerate() {
        let all = blocks(segment);
        in_parallel(all.len(), |at| {
            let (from, to, kind) = all[at];
            let piece = case.pieces.iter().rfind(|piece| piece.segment == number && piece.from <= from).unwrap();
            let build = |parts: &[&[u8]]| {
                let rest = [&[&segment[piece.from..from]], parts].concat().concat();
                case.go_on(&piece.state, number, &rest, 0)
            };
            let told = |what: &str| {
                let what = format!("segment {}, block at {from}, kind {kind}: {what}", number + 1);
                move || what.clone()
            };
            let (this, after) = (&segment[from..to], &segment[to..]);
            case.demand(build(&[after]), &told("deleted"));
            case.demand(build(&[this, this, after]), &told("duplicated"));
            let cut = case.report.tail.as_ref().unwrap();
            if !after.is_empty() && (number as u64 + 1 < cut.segment || (to as u64) < cut.byte) {
                case.demand(build(&[this]), &told("the last one"));
            }
            if let Some((next, end, _)) = all.get(at + 1)
                && segment[*next..*end] != *this
            {
                let swapped = build(&[&segment[*next..*end], this, &segment[*end..]]);
                // Two checkpoints that sign the same blocks: the clock seems to have gone back, and that is said.
                let steps = swapped.as_ref().map_or(0, |report| report.clock_step_count);
                if steps <= case.report.clock_step_count {
                    case.demand(swapped, &told("swapped with the next"));
                }
            }
            for other in &others {
                let other = other.segments.get(number).or(other.segments.first()).unwrap();
                let theirs = blocks(other);
                if let Some((begin, end, _)) = theirs.get(at)
                    && other[*begin..*end] != *this
                {
                    case.demand(build(&[&other[*begin..*end], after]), &told("replaced by another device's"));
                }
            }
        });
    }
}

#[test]
fn every_segment_cut_at_every_byte() {
    STORES.into_iter().for_each(every_segment_cut_at_every_byte_of);
}

fn every_segment_cut_at_every_byte_of(store: fn(u8) -> Maker) {
    let case = Case::new(&store(1));
    in_parallel(case.pieces.len(), |at| {
        let piece = &case.pieces[at];
        let segment = &case.segments[piece.segment];
        for end in piece.from..piece.to {
            let report = case.go_on(&piece.state, piece.segment, &segment[piece.from..end], 0);
            let what = || format!("segment {} cut at {end}", piece.segment + 1);
            if piece.segment + 1 < case.segments.len() {
                // Nothing hashes the checkpoints behind a segment's last trailer; one less is one signature less.
                case.demand(report, &what);
            } else {
                let report = report.unwrap_or_else(|| panic!("{}: not sound", what()));
                let tail = report.tail.as_ref().map_or(0, |tail| tail.bytes);
                let own = case.report.tail.as_ref().unwrap().bytes;
                assert!(is_weaker(&report, &case.report) || tail < own, "{}: says as much", what());
            }
        }
    });
}

#[test]
fn every_segment_deleted_duplicated_or_swapped() {
    STORES.into_iter().for_each(every_segment_deleted_duplicated_or_swapped_of);
}

fn every_segment_deleted_duplicated_or_swapped_of(store: fn(u8) -> Maker) {
    let maker = store(1);
    let question = Question { key: Some(Key::parse(&maker.line()).unwrap()), ..Question::default() };
    let ask = |segments: Vec<Vec<u8>>| {
        let mut changed = maker.clone();
        changed.segments = segments;
        verify(&Memory::new(changed.files(), false), &question, |_| {}).unwrap()
    };
    let whole = ask(maker.segments.clone());
    assert!(whole.sound && whole.pinned);
    let count = maker.segments.len();
    for at in 0..count {
        let mut fewer = maker.segments.clone();
        fewer.remove(at);
        let report = ask(fewer);
        assert!(!report.sound || (at + 1 == count && is_weaker(&report, &whole)), "{at} deleted");
        let mut more = maker.segments.clone();
        more.insert(at, more[at].clone());
        assert!(!ask(more).sound, "{at} duplicated");
        let mut empty = maker.segments.clone();
        empty[at].clear();
        let report = ask(empty);
        assert!(!report.sound || (at + 1 == count && is_weaker(&report, &whole)), "{at} emptied");
        for other in at + 1..count {
            let mut swapped = maker.segments.clone();
            swapped.swap(at, other);
            assert!(!ask(swapped).sound, "{at} and {other} swapped");
        }
        // As files: one that is not there, and one under another's name.
        let mut files = maker.files();
        files.remove(at);
        let report = verify(&Memory::new(files, false), &question, |_| {}).unwrap();
        assert!(!report.sound || (at + 1 == count && is_weaker(&report, &whole)), "file {at} deleted");
        let mut files = maker.files();
        files[at].0 = "evidence-00000099.pcapng".into();
        assert!(!verify(&Memory::new(files, false), &question, |_| {}).unwrap().sound, "file {at} renamed");
        for seed in [2, 3] {
            let mut spliced = maker.segments.clone();
            spliced[at] = store(seed).segments[at].clone();
            assert!(!ask(spliced).sound, "{at} of another device");
        }
    }
    for seed in [2, 3] {
        let forged = store(seed);
        assert!(!verify(&Memory::new(forged.files(), false), &question, |_| {}).unwrap().sound, "another key");
    }
}

#[test]
fn a_roll_back_to_every_checkpoint() {
    STORES.into_iter().for_each(a_roll_back_to_every_checkpoint_of);
}

fn a_roll_back_to_every_checkpoint_of(store: fn(u8) -> Maker) {
    let maker = store(1);
    let key = Key::parse(&maker.line()).unwrap();
    let held = maker.notes.join("\n") + "\n";
    let witnesses = read_witness("witness", held.as_bytes(), &key).unwrap();
    let question = Question { witnesses, ..Question::default() };
    let ask =
        |maker: &Maker, question: &Question| verify(&Memory::new(maker.files(), false), question, |_| {}).unwrap();
    let whole = ask(&maker, &question);
    assert!(whole.sound, "{:?}", whole.findings);
    let last = whole.signed.unwrap().leaves;
    let (mut rolled_back, end_of_all) = (0, ends(maker.segments.last().unwrap()).pop().unwrap());
    for (at, segment) in maker.segments.iter().enumerate() {
        for end in ends(segment).into_iter().filter(|end| at + 1 < maker.segments.len() || *end < end_of_all) {
            let mut earlier = maker.clone();
            earlier.segments.truncate(at + 1);
            earlier.segments[at].truncate(end);
            let alone = ask(&earlier, &Question::default());
            assert!(alone.sound && is_weaker(&alone, &whole), "{at} {end}");
            assert_eq!(ask(&earlier, &question).sound, alone.leaves >= last, "{at} {end}");
            rolled_back += usize::from(alone.leaves < last);
        }
    }
    assert!(rolled_back > 100, "{rolled_back}");
}

#[test]
fn zeros_in_place_of_what_was_written() {
    STORES.into_iter().for_each(zeros_in_place_of_what_was_written_of);
}

fn zeros_in_place_of_what_was_written_of(store: fn(u8) -> Maker) {
    let case = Case::new(&store(1));
    in_parallel(case.pieces.len(), |at| {
        let piece = &case.pieces[at];
        let segment = &case.segments[piece.segment];
        let told = |what: &str| {
            let what = format!("segment {}, from {}: {what}", piece.segment + 1, piece.from);
            move || what.clone()
        };
        // To the end, from the piece on and from its middle.
        for keep in [0, (piece.to - piece.from) / 2] {
            let mut rest = segment[piece.from..].to_vec();
            rest[keep..].fill(0);
            let found = case.go_on(&piece.state, piece.segment, &rest, 0);
            let is_tail = piece.segment + 1 == case.segments.len()
                && piece.from + keep >= usize::try_from(case.report.tail.as_ref().unwrap().byte).unwrap();
            if !is_tail {
                case.demand(found, &told("zeros to the end"));
            }
        }
        // A sector.
        let mut rest = segment[piece.from..].to_vec();
        let length = rest.len().min(512);
        rest[..length].fill(0);
        let found = case.go_on(&piece.state, piece.segment, &rest, 0);
        if piece.segment + 1 < case.segments.len() || piece.from + length <= case.last_checkpoint() {
            assert!(found.is_none(), "{}", told("a zeroed sector")());
        } else if piece.from < case.unsigned_from() {
            // With all that says so: a disk that never wrote the sector would have left the same.
            case.demand(found, &told("a zeroed sector"));
        }
    });
    assert_eq!(case.begins.len(), case.segments.len());
}

#[test]
fn flips_through_the_whole_reading_of_files() {
    STORES.into_iter().for_each(flips_through_the_whole_reading_of_files_of);
}

fn flips_through_the_whole_reading_of_files_of(store: fn(u8) -> Maker) {
    let maker = store(1);
    let question = Question { key: Some(Key::parse(&maker.line()).unwrap()), ..Question::default() };
    let files = maker.files();
    let whole = verify(&Memory::new(files.clone(), false), &question, |_| {}).unwrap();
    for (at, (name, bytes)) in files.iter().enumerate() {
        let step = if name == "evidence.pub" { 1 } else { 2003 };
        for byte in (0..bytes.len()).step_by(step) {
            let mut changed = files.clone();
            changed[at].1[byte] ^= 1 << (byte % 8);
            let report = verify(&Memory::new(changed, false), &question, |_| {}).unwrap();
            let tail = whole.tail.as_ref().unwrap();
            let is_tail = *name == segment_name(tail.segment) && byte as u64 >= tail.byte;
            assert!(is_tail || !report.sound || is_weaker(&report, &whole), "{name} {byte}");
        }
    }
}
