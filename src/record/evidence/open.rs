//! Taking a store up: finding where it ends, cutting off what a crash left behind.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::block::Word;
use super::disk::{Disk, RealDisk, replace, sync_directory};
use super::files::{self, COUNTER, Start, State, segment_files, segment_number};
use super::note::Signer;
use super::retention::{Closed, Elapsed};
use super::scan::{Chain, Scan};
use super::seal::Sealer;
use super::tree::{Frontier, hex, unhex};
use super::writer::{Opened, SEGMENT_NS};
use super::{Evidence, EvidenceOptions, Surroundings};

/// Where the kernel tells the id of its run.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A segment that is there.
type Known = (u64, PathBuf);

/// Where a store ends.
#[derive(Debug)]
struct Found {
    segments: Vec<Known>,
    chain: Chain,
    oldest: Start,
    next_number: u64,
    /// Whether the run before ended in order.
    clean: bool,
    /// The last segment of the run before, and the bytes cut off there.
    cut_in: u64,
    cut: u64,
    counter: u64,
}

impl Found {
    /// Nothing yet.
    fn nothing() -> Self {
        Self {
            segments: Vec::new(),
            chain: Chain::default(),
            oldest: Start { segment: 1, chain: Chain::default(), known: true },
            next_number: 1,
            clean: true,
            cut_in: 0,
            cut: 0,
            counter: 0,
        }
    }
}

/// Segments read one after the other.
#[derive(Debug, Default)]
struct Run {
    chain: Chain,
    agrees: bool,
    closed: bool,
    counter: u64,
    prunes: Vec<Word>,
    /// The last segment that holds a trailer, and those behind it that hold none.
    last: Option<(Known, Scan)>,
    empty: Vec<Known>,
}

impl Evidence {
    /// Opens the store, which is made where missing. Where the run before did not end in order, what it left unfinished is
    /// cut off and recorded. A store that can't be gone on with is put aside as a whole, and another one begun.
    ///
    /// # Errors
    /// The folder can't be made or read, its key is missing or not readable, or another process writes there.
    pub fn open(options: EvidenceOptions, around: Arc<dyn Surroundings>) -> io::Result<Self> {
        Self::open_on(Box::new(RealDisk), options, around)
    }

    pub(super) fn open_on(
        disk: Box<dyn Disk>,
        options: EvidenceOptions,
        around: Arc<dyn Surroundings>,
    ) -> io::Result<Self> {
        let directory = &options.directory;
        fs::create_dir_all(directory)?;
        // A key that can't be used must stop the start: nothing is ever written in the clear in its place.
        Sealer::begin(&options.recipients, "", 0)?;
        let has_segments = !segment_files(directory)?.is_empty();
        let (signer, lock) = files::key(directory, &options.host, has_segments)?;
        let found = look(directory, &signer)?;

        let counter_file = options.counter.clone().unwrap_or_else(|| directory.join(COUNTER));
        let counted = files::read_counter(&counter_file).unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's own count of starts is gone on with");
            0
        });
        let in_store = found.as_ref().map_or(0, |found| found.counter);
        let counter = counted.max(in_store).saturating_add(1);
        if let Err(error) = replace(&counter_file, format!("{counter}\n").as_bytes(), 0o644) {
            tracing::warn!(path = %counter_file.display(), %error, "the count of starts is not kept outside the store");
        }
        let found = match found {
            Ok(found) => found,
            Err(Damaged(what)) => {
                let aside = files::set_aside(directory, counter)?;
                tracing::error!(
                    aside = %aside.display(),
                    "the evidence store can't be gone on with: {what}; it was put aside, and another one begins"
                );
                Found::nothing()
            }
        };

        let boot_text = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
        let leaves = found.chain.frontier.leaves();
        let mut first_words = vec![Word::Open {
            name: signer.name().to_owned(),
            key: signer.public_line(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: boot_text.clone(),
            counter,
            leaves,
            root: hex(&found.chain.frontier.root()),
            clean: found.clean,
        }];
        if !found.clean {
            first_words.push(Word::Recovered { segment: found.cut_in, cut_bytes: found.cut, leaves });
        }
        let mut closed = VecDeque::new();
        for (number, path) in found.segments {
            let metadata = fs::metadata(&path)?;
            let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let until_ns = written.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            closed.push_back(Closed { number, bytes: metadata.len(), until_ns, end: None });
        }
        // Dates of files are those of the same clock; of the last one it is whatever the wall clock said.
        let last_ns = State::load(directory).and_then(|state| state.elapsed_ns);
        let last_ns = last_ns.or(closed.back().map(|closed| closed.until_ns));
        let elapsed = Elapsed::begin(last_ns, around.now());
        if let (Some(last), Some(last_ns)) = (closed.back_mut(), last_ns) {
            last.until_ns = last.until_ns.min(last_ns.saturating_add(SEGMENT_NS));
        }
        Ok(Self::begin(Opened {
            around,
            disk,
            signer,
            lock,
            elapsed,
            counter,
            boot_id: boot_id(&boot_text),
            chain: found.chain,
            next_number: found.next_number,
            oldest: found.oldest,
            closed,
            first_words,
            options,
        }))
    }
}

/// Why a store can't be gone on with.
#[derive(Debug)]
struct Damaged(String);

/// Finds where the store ends, and cuts off there what is unfinished.
fn look(directory: &Path, signer: &Signer) -> io::Result<Result<Found, Damaged>> {
    let segments: Vec<Known> =
        segment_files(directory)?.into_iter().filter_map(|path| Some((segment_number(&path)?, path))).collect();
    let Some(first) = segments.first() else { return Ok(Ok(Found::nothing())) };
    let has_hole = segments.iter().zip(segments.iter().skip(1)).find(|(one, next)| one.0.saturating_add(1) != next.0);
    if let Some((one, _)) = has_hole {
        return Ok(Err(Damaged(format!("the segment behind number {} is missing", one.0))));
    }
    let (oldest, run) = match by_state(directory, &segments, signer)? {
        Some(found) => found,
        None => match by_reading(first, &segments, signer)? {
            Ok(found) => found,
            Err(damaged) => return Ok(Err(damaged)),
        },
    };
    let Run { chain, closed, counter, last, empty, .. } = run;
    let Some((last, scan)) = last else {
        // The very first run was cut short before it had written a block.
        let mut found = Found { clean: false, cut_in: first.0, ..Found::nothing() };
        for (_, path) in &empty {
            found.cut = found.cut.saturating_add(fs::metadata(path)?.len());
            fs::remove_file(path)?;
        }
        sync_directory(directory)?;
        return Ok(Ok(found));
    };
    let mut cut = scan.len.saturating_sub(scan.whole);
    if cut > 0 {
        cut_off(&last.1, &scan, signer)?;
    } else {
        // What was reserved behind the end is given back: a process that was killed could not.
        OpenOptions::new().write(true).open(&last.1)?.set_len(scan.whole)?;
    }
    let next_number = last.0.saturating_add(1);
    let mut cut_in = last.0;
    for (number, path) in &empty {
        cut = cut.saturating_add(fs::metadata(path)?.len());
        cut_in = *number;
        fs::remove_file(path)?;
    }
    sync_directory(directory)?;
    let segments = segments.into_iter().filter(|(number, _)| *number < next_number).collect();
    Ok(Ok(Found { segments, chain, oldest, next_number, clean: closed, cut_in, cut, counter }))
}

/// The short way: from where the state file says that a late segment begins, if the segments agree with it.
fn by_state(directory: &Path, segments: &[Known], signer: &Signer) -> io::Result<Option<(Start, Run)>> {
    let (Some(state), Some(first)) = (State::load(directory), segments.first()) else { return Ok(None) };
    let State { newest, oldest, .. } = state;
    let Some(at) = segments.iter().position(|(number, _)| *number == newest.segment) else { return Ok(None) };
    let Some(run) = read(segments.get(at..).unwrap_or_default(), Some(newest.chain), signer)? else {
        return Ok(None);
    };
    if !run.agrees || run.last.is_none() {
        return Ok(None);
    }
    let oldest = if oldest.segment == first.0 { Some(oldest) } else { run.start_at(first.0) };
    let begins = Scan::begins(&first.1, first.0)?;
    let is_sound = |start: &Start| begins.as_ref().is_some_and(|begins| begins.is_as_far_as(&start.chain));
    Ok(oldest.filter(is_sound).map(|oldest| (oldest, run)))
}

/// The long way: all segments.
fn by_reading(first: &Known, segments: &[Known], signer: &Signer) -> io::Result<Result<(Start, Run), Damaged>> {
    let broken = || Damaged("a segment does not follow on the one before".to_owned());
    let begins = Scan::begins(&first.1, first.0)?.unwrap_or_default();
    let oldest = if begins.frontier.leaves() == 0 && first.0 == 1 {
        Start { segment: first.0, chain: Chain::default(), known: true }
    } else {
        // What was removed before it, the store itself tells, in a later segment.
        let Some(run) = read(segments, None, signer)? else { return Ok(Err(broken())) };
        let Some(start) = run.start_at(first.0).filter(|start| begins.is_as_far_as(&start.chain)) else {
            return Ok(Err(Damaged(format!("nothing tells what stood before segment {}", first.0))));
        };
        start
    };
    let run = read(segments, Some(oldest.chain.clone()), signer)?;
    Ok(run.map(|run| (oldest, run)).ok_or_else(broken))
}

/// Reads segments one after the other; `None` where one does not follow on the one before.
fn read(segments: &[Known], chain: Option<Chain>, signer: &Signer) -> io::Result<Option<Run>> {
    let mut run = Run { chain: chain.clone().unwrap_or_default(), agrees: true, ..Run::default() };
    let mut chain = chain;
    let mut is_signed = false;
    for (number, path) in segments {
        let scan = Scan::read(path, *number, chain.as_ref(), signer)?;
        if scan.first_leaf.is_none() {
            run.empty.push((*number, path.clone()));
            continue;
        }
        if !run.empty.is_empty() {
            return Ok(None);
        }
        is_signed |= scan.agrees.is_some();
        run.agrees &= scan.agrees.unwrap_or(true);
        run.closed = scan.closed.unwrap_or(run.closed);
        run.counter = run.counter.max(scan.counter);
        run.prunes.extend(scan.prunes.iter().cloned());
        run.chain = scan.chain.clone();
        chain = Some(scan.chain.clone());
        run.last = Some(((*number, path.clone()), scan));
    }
    // A segment that was written but for its blocks is what a crash leaves; two are not.
    if run.empty.len() > 1 {
        return Ok(None);
    }
    run.agrees &= is_signed;
    Ok(Some(run))
}

impl Run {
    /// Where segment `number` begins, by what is told of the removal of the one before it.
    fn start_at(&self, number: u64) -> Option<Start> {
        self.prunes.iter().rev().find_map(|prune| match prune {
            Word::Prune { leaves, records, segments: [_, last], frontier, trailer, .. }
                if last.saturating_add(1) == number =>
            {
                let roots = frontier.iter().map(|root| unhex(root)).collect::<Option<_>>()?;
                let frontier = Frontier::of(*leaves, roots)?;
                let chain = Chain { frontier, before: unhex(trailer)?, records: *records };
                Some(Start { segment: number, chain, known: true })
            }
            _ => None,
        })
    }
}

/// Cuts off what stands behind the last whole evidence block and its checkpoints.
fn cut_off(path: &Path, scan: &Scan, signer: &Signer) -> io::Result<()> {
    if scan.cuts_checkpoints(path, signer)? {
        // No power cut takes what was signed, nor changes it. It is no part of the store any more, but somebody may want to see it.
        let copy = path.with_extension("damaged");
        fs::copy(path, &copy)?;
        tracing::error!(copy = %copy.display(), "a segment was changed within what was signed; it goes on before that");
    } else {
        tracing::warn!(path = %path.display(), at = scan.whole, "cut off what a crash left unfinished");
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(scan.whole)?;
    file.sync_all()
}

/// The sixteen bytes of a boot id; zeros where the kernel told none.
fn boot_id(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}
