//! Checks what the box recorded, after `manual::evidence_format` alone.
//!
//! Nothing here is shared with the writer: pcapng, trailers, tree and notes are read anew, so that a mistake of one is
//! not excused by the other.

mod manifest;
mod note;
mod pcapng;
mod report;
mod scan;
mod store;
mod tail;
mod trailer;
mod tree;
mod unseal;
mod walk;
mod words;

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

pub use manifest::{Before, MANIFEST, Manifest, Named};
pub use note::{Checkpoint, Key};
pub use report::{Absent, ClockStep, Encrypted, End, Finding, Gap, KEPT, NOT_SEEN, Report, Signed, Tail, Unclosed};
pub use scan::{Segment, list};
pub use store::{Entry, Export, Folder, Memory, Store, segment_name};
pub use tree::{Hash, Tree};
pub use unseal::{Identity, Unsealed};
pub use walk::{Base, Verifier};

use manifest::MAX_MANIFEST;
use note::{MAX_NOTE, NoteError, checkpoint, hex};

/// Name of the file with the store's own key.
const PUBLIC_KEY: &str = "evidence.pub";
/// Longest line of a key, in bytes.
const MAX_KEY: u64 = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("{file}: {source}")]
    Io {
        /// Which.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing to verify.
    #[error("holds no evidence: no file evidence-00000001.pcapng or a later one")]
    NoSegments,
    /// Nobody said whose signatures to check.
    #[error("holds no evidence.pub; name the box's public key with --key FILE")]
    NoKey,
    /// The key can't be used.
    #[error("{file}: {what}")]
    Key {
        /// The file that holds it.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// What should be a witness's file is none.
    #[error("{file}: {what}")]
    Witness {
        /// Which.
        file: String,
        /// What is wrong.
        what: String,
    },
}

fn io_error(file: &str) -> impl FnOnce(io::Error) -> Error {
    let file = file.to_owned();
    |source| Error::Io { file, source }
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The key that somebody trusts; the store's own where absent.
    pub key: Option<Key>,
    /// What witnesses hold.
    pub witnesses: Vec<Checkpoint>,
    /// How often the store was opened, as something else than the store says.
    pub counter: Option<u64>,
    /// Secret keys of auditors: what is encrypted to them is read, too. Nothing else needs one.
    pub identities: Vec<Identity>,
}

/// Verifies a store; `progress` is told how many bytes were read.
///
/// # Errors
/// What can't be read. What was altered is no error but an answer.
pub fn verify(store: &dyn Store, question: &Question, mut progress: impl FnMut(u64)) -> Result<Report, Error> {
    let segments: Vec<(&Entry, u64)> =
        store.entries().iter().filter_map(|entry| entry.segment().map(|number| (entry, number))).collect();
    let mut findings = Vec::new();
    let manifest = if store.is_export() { read_manifest(store, &mut findings)? } else { None };
    let Some((first, first_number)) = segments.first() else {
        // Of an export that was emptied, the manifest tells.
        return if findings.is_empty() { Err(Error::NoSegments) } else { Ok(Report { findings, ..Report::default() }) };
    };
    let own = match own_key(store)? {
        Some(Ok(key)) => Some(key),
        Some(Err(what)) => {
            findings.push(Finding::of_file(PUBLIC_KEY, what));
            None
        }
        None => None,
    };
    let pinned = question.key.is_some();
    let Some(key) = question.key.clone().or_else(|| own.clone()) else {
        return if findings.is_empty() { Err(Error::NoKey) } else { Ok(Report { findings, ..Report::default() }) };
    };
    if own.as_ref().is_some_and(|own| *own != key) {
        findings.push(Finding::of_file(PUBLIC_KEY, "the store's key is not the one that was given"));
    }
    if manifest.as_ref().is_some_and(|manifest| manifest.name != key.name()) {
        findings.push(Finding::of_file(MANIFEST, "names another box than the key"));
    }
    let base = match base_of(store, first, *first_number, manifest.as_ref().and_then(|it| it.before.as_ref()))? {
        Ok(base) => base,
        Err(finding) => {
            findings.push(finding);
            return Ok(Report {
                findings,
                name: key.name().into(),
                key: key.line().into(),
                pinned,
                ..Report::default()
            });
        }
    };
    let mut verifier = Verifier::new(key, pinned, base, question.witnesses.clone(), question.counter);
    verifier.read_with(&question.identities);
    for finding in findings {
        verifier.complain(finding);
    }
    let mut piece = vec![0; scan::PIECE];
    for (at, (entry, number)) in segments.iter().enumerate() {
        let is_last = at.saturating_add(1) == segments.len();
        let named = manifest.as_ref().and_then(|it| it.files.iter().find(|file| file.name == entry.name));
        let mut hasher = named.map(|_| Sha256::new());
        let mut from = store.open(entry).map_err(io_error(&entry.name))?;
        verifier.begin(*number, Some(entry.bytes), is_last);
        loop {
            let count = from.read(&mut piece).map_err(io_error(&entry.name))?;
            let bytes = piece.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
            verifier.feed(bytes);
            progress(u64::try_from(count).unwrap_or(0));
        }
        verifier.end();
        if let (Some(hasher), Some(named)) = (hasher, named)
            && hex(&hasher.finalize()) != named.sha256
        {
            verifier.complain(Finding::of_file(&entry.name, "the file is not the one that the manifest names"));
        }
    }
    Ok(verifier.finish())
}

/// Where the segments of a store begin, for [`list`].
///
/// # Errors
/// What can't be read.
pub fn base(store: &dyn Store) -> Result<Result<Base, Finding>, Error> {
    let manifest = if store.is_export() { read_manifest(store, &mut Vec::new())? } else { None };
    let first = store.entries().iter().find_map(|entry| entry.segment().map(|number| (entry, number)));
    let Some((first, number)) = first else { return Err(Error::NoSegments) };
    base_of(store, first, number, manifest.as_ref().and_then(|it| it.before.as_ref()))
}

fn base_of(
    store: &dyn Store,
    first: &Entry,
    number: u64,
    before: Option<&Before>,
) -> Result<Result<Base, Finding>, Error> {
    let read = || store.open(first).and_then(scan::first_leaf);
    let leaf = read().map_err(io_error(&first.name))?.unwrap_or(0);
    if leaf == 0 {
        return Ok(Ok(Base::default()));
    }
    let found = match before.map(Before::base) {
        Some(base) => base,
        None => scan::prune(store, number, leaf).map_err(io_error("evidence"))?.and_then(|(prune, told_in)| {
            let tree = prune.tree()?;
            Some(Base { tree, records: prune.records, trailer: prune.trailer, by: "prune", told_in: Some(told_in) })
        }),
    };
    Ok(found.filter(|base| base.tree.leaves() == leaf).ok_or_else(|| Finding {
        segment: Some(number),
        block: Some(leaf),
        byte: Some(0),
        file: None,
        what: format!("the store begins with block {leaf}, and nothing answers for what was before"),
    }))
}

/// The store's own key, or what is wrong with it; `None` where the file is absent.
///
/// # Errors
/// What can't be read.
pub fn own_key(store: &dyn Store) -> Result<Option<Result<Key, &'static str>>, Error> {
    let Some(entry) = store.entries().iter().find(|entry| entry.name == PUBLIC_KEY) else { return Ok(None) };
    let from = store.open(entry).map_err(io_error(PUBLIC_KEY))?;
    let mut text = Vec::new();
    from.take(MAX_KEY).read_to_end(&mut text).map_err(io_error(PUBLIC_KEY))?;
    let line = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
    Ok(Some(line.ok_or("this is no line that ends in a line feed").and_then(Key::parse)))
}

/// Reads the manifest and compares it with the files; what differs goes into `findings`.
fn read_manifest(store: &dyn Store, findings: &mut Vec<Finding>) -> Result<Option<Manifest>, Error> {
    let mut complain = |what: String| findings.push(Finding::of_file(MANIFEST, what));
    let Some((first, files)) = store.entries().split_first().filter(|(first, _)| first.name == MANIFEST) else {
        complain("is not the first file of the export".into());
        return Ok(None);
    };
    let from = store.open(first).map_err(io_error(MANIFEST))?;
    let manifest: Manifest = match serde_json::from_reader(io::BufReader::new(from.take(MAX_MANIFEST))) {
        Ok(manifest) => manifest,
        Err(error) => {
            complain(error.to_string());
            return Ok(None);
        }
    };
    if manifest.vambrace_evidence != 1 {
        complain("is of a version that this program does not know".into());
        return Ok(None);
    }
    let mut there = files.iter();
    for named in &manifest.files {
        let Some(entry) = there.next() else {
            complain(format!("names {}, which is not there", named.name));
            return Ok(None);
        };
        if (&entry.name, entry.bytes) != (&named.name, named.bytes) {
            complain(format!("names {} of {} bytes, and {} stands there", named.name, named.bytes, entry.name));
            return Ok(None);
        }
        // Segments are hashed while they are verified.
        if entry.segment().is_none() && hash_of(store, entry)? != named.sha256 {
            complain(format!("{} is not the file that is named", named.name));
        }
    }
    if let Some(entry) = there.next() {
        complain(format!("does not name {}, which is there", entry.name));
    }
    Ok(Some(manifest))
}

fn hash_of(store: &dyn Store, entry: &Entry) -> Result<String, Error> {
    let mut from = store.open(entry).map_err(io_error(&entry.name))?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 4096]);
    loop {
        let count = from.read(&mut piece).map_err(io_error(&entry.name))?;
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(piece.get(..count).unwrap_or_default());
    }
}

/// Reads what a witness holds of the box with `key`: notes one after the other, each followed by an empty line. What is
/// no note that `key` signed is passed over: anybody may have had it kept, and it proves nothing either way.
///
/// # Errors
/// The file can't be read, or holds no checkpoint of the box.
pub fn read_witness(file: &str, from: impl BufRead, key: &Key) -> Result<Vec<Checkpoint>, Error> {
    read_witness_telling(file, from, key, |_, _| {})
}

/// The same; what is passed over of the box's is told, by the line that it ends in and what is wrong with it.
///
/// # Errors
/// As [`read_witness`].
pub fn read_witness_telling(
    file: &str,
    mut from: impl BufRead,
    key: &Key,
    mut passed_over: impl FnMut(u64, &'static str),
) -> Result<Vec<Checkpoint>, Error> {
    let wrong = |what: String| Error::Witness { file: file.to_owned(), what };
    let mut held: Vec<Checkpoint> = Vec::new();
    let (mut note, mut line, mut signed, mut lines) = (Vec::new(), Vec::new(), false, 0_u64);
    let room = u64::try_from(MAX_NOTE).unwrap_or(u64::MAX);
    loop {
        line.clear();
        let count = from.by_ref().take(room).read_until(b'\n', &mut line).map_err(io_error(file))?;
        lines = lines.saturating_add(1);
        if (count == 0 || line == b"\n") && signed {
            match checkpoint(behind_torn(&note), key, false) {
                // Of several with the same leaves the newest says most.
                Ok(read) => match held.last_mut().filter(|last| last.leaves == read.leaves && last.root == read.root) {
                    Some(last) => *last = read,
                    None => held.push(read),
                },
                Err(NoteError::OtherOrigin) => {}
                Err(NoteError::Wrong(what)) => passed_over(lines, what),
            }
            note.clear();
            signed = false;
        } else if count > 0 {
            signed |= line.starts_with("\u{2014} ".as_bytes());
            note.extend_from_slice(&line);
        }
        if note.len() > MAX_NOTE {
            passed_over(lines, "this is no checkpoint");
            note.clear();
            signed = false;
        }
        if count == 0 {
            break;
        }
    }
    if held.is_empty() { Err(wrong(format!("holds no checkpoint of {}", key.name()))) } else { Ok(held) }
}

/// A note without what a crash of its keeper may have left of another one before it: that ends in an empty line, and a
/// note has one empty line of its own.
fn behind_torn(note: &[u8]) -> &[u8] {
    let ends = memchr::memmem::rfind_iter(note, b"\n\n").nth(1);
    let note = ends.and_then(|at| note.get(at.saturating_add(2)..)).unwrap_or(note);
    let blank = note.iter().take_while(|byte| **byte == b'\n').count();
    note.get(blank..).unwrap_or_default()
}
