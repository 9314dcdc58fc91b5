//! What is asked of event files: over all lines, or over those that the index names.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::filter::{COLUMNS, Filter, Found, found};
use super::{told, when};
use crate::index::{Condition, Facts, Index, IndexError, Place, Word};
use crate::record::{LONGEST_LINE, event_files};

/// Name of the index beside the event files.
const INDEX_FILE: &str = "index.sqlite";

/// Below so many bytes every line is read as fast as an index is opened.
const SMALL: u64 = 16 << 20;

/// Most lines that the index may name; with more, reading them one by one is slower than reading all.
const MOST: usize = 200_000;

/// When the index is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum UseIndex {
    /// Where there is much to read and it can narrow the question.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) filter: Option<Filter>,
    /// Only what the box tells of itself, and what was never done before.
    pub(super) changes: bool,
}

/// Up to where the growing file is read: its inode, and bytes.
pub(super) type Limit = (u64, u64);

/// What was done before.
#[derive(Debug, Default)]
pub(super) struct Seen(HashSet<[u8; 16]>);

impl Seen {
    /// Notes what a line tells of; says whether it is news.
    fn is_news(&mut self, behaviour: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(behaviour).into();
        digest.first_chunk().is_some_and(|digest| self.0.insert(*digest))
    }
}

/// Whether a line tells of the box itself: modes, policies, patches, ports. What tests of patches found is no change.
fn is_notice(line: &Value) -> bool {
    line.get("event_type").is_some_and(|kind| kind == "notice")
        && !matches!(found(line, "kind"), Found::Value(kind) if kind == "patch_test")
}

impl Question {
    /// Whether a line is asked for; `seen` is what the lines before it told of.
    pub(super) fn asks_for(&self, line: &Value, seen: &mut Seen) -> bool {
        // Noted also where the line is not asked for.
        let is_change = !self.changes || {
            let news = told::behaviour(line).is_some_and(|behaviour| seen.is_news(&behaviour));
            news || is_notice(line)
        };
        is_change && self.passes(line)
    }

    fn passes(&self, line: &Value) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(line))
    }

    /// Hands out every line of a folder that is asked for, in the order of writing; what they told of.
    pub(super) fn answer(
        &self,
        directory: &Path,
        index: UseIndex,
        limit: Option<Limit>,
        mut each: impl FnMut(&str, &Value),
    ) -> io::Result<Seen> {
        let files = event_files(directory)?;
        if self.wants_index(index, &files)
            && let Some(index) = self.index(directory, &files)
        {
            match self.found(&index, &files, limit) {
                Ok(Some(found)) => {
                    self.narrowed(&index, &files, &found, limit, &mut each)?;
                    return Ok(Seen::default());
                }
                // Too many for it to help.
                Ok(None) => {}
                Err(error) => eprintln!("vambrace: {}: {error}; every line is read", index.path().display()),
            }
        }
        let mut seen = Seen::default();
        for path in files {
            let Some(file) = open(&path)? else { continue };
            let limit = limited(&file, limit)?;
            read_lines(file, 0, limit, |_, text, value| {
                if self.asks_for(value, &mut seen) {
                    each(text, value);
                }
            })?;
        }
        Ok(seen)
    }

    fn wants_index(&self, index: UseIndex, files: &[PathBuf]) -> bool {
        let asks = self.filter.is_some() || self.changes;
        let sizes = files.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len());
        match index {
            UseIndex::Always => asks,
            UseIndex::Never => false,
            UseIndex::Auto => asks && sizes.fold(0, u64::saturating_add) >= SMALL,
        }
    }

    /// The index, up to date: beside the files, or in the user's cache. Without one, says so in a line.
    fn index(&self, directory: &Path, files: &[PathBuf]) -> Option<Index> {
        let beside = directory.join(INDEX_FILE);
        let made = match make(&beside, files) {
            Ok(index) => return Some(index),
            Err(error) => error,
        };
        let Some(cached) = cache(directory) else {
            eprintln!("vambrace: {}: {made}; every line is read", beside.display());
            return None;
        };
        let folder = cached.parent().map_or(Ok(()), std::fs::create_dir_all);
        match folder.map_err(IndexError::from).and_then(|()| make(&cached, files)) {
            Ok(index) => {
                eprintln!("vambrace: {}: {made}; the index is {}", beside.display(), cached.display());
                Some(index)
            }
            Err(error) => {
                eprintln!("vambrace: {}: {made}; {}: {error}; every line is read", beside.display(), cached.display());
                None
            }
        }
    }

    /// The lines that may be asked for; `None` where they are too many.
    fn found(&self, index: &Index, files: &[PathBuf], limit: Option<Limit>) -> Result<Option<Narrowed>, IndexError> {
        let mut condition = match &self.filter {
            Some(filter) => filter.narrow(index)?,
            None => Condition::Any,
        };
        let mut firsts = None;
        if self.changes {
            let notices = index.words(0, &mut |kind| kind == "notice")?;
            let notices = Condition::Words { column: 0, words: notices, absent: false };
            condition = Condition::All(vec![condition, Condition::One(vec![Condition::First, notices])]);
            let Some(first) = index.find(files, &Condition::First, MOST)? else { return Ok(None) };
            // What the index does not know is the latest, or what was first can't be told from it: a line without end
            // in an older file.
            let older = files.iter().zip(&first.from).rev().skip(1);
            if older.into_iter().any(|(path, from)| path.metadata().is_ok_and(|meta| meta.len() > *from)) {
                return Ok(None);
            }
            firsts = Some(first.places.iter().map(|place| (place.file, place.offset)).collect());
        }
        if condition.is_any() {
            return Ok(None);
        }
        let Some(mut found) = index.find(files, &condition, MOST)? else { return Ok(None) };
        // What came after the following began is shown by it.
        if let Some((inode, position)) = limit {
            let growing = files.iter().position(|path| path.metadata().is_ok_and(|meta| meta.ino() == inode));
            found.places.retain(|place| Some(place.file) != growing || place.offset < position);
        }
        Ok(Some(Narrowed { places: found.places, from: found.from, firsts }))
    }

    /// Reads the lines that the index names, and those that it does not know yet.
    fn narrowed(
        &self,
        index: &Index,
        files: &[PathBuf],
        narrowed: &Narrowed,
        limit: Option<Limit>,
        each: &mut impl FnMut(&str, &Value),
    ) -> io::Result<()> {
        let mut places = narrowed.places.iter().peekable();
        let mut seen = Seen::default();
        for (at, (path, from)) in files.iter().zip(&narrowed.from).enumerate() {
            let file = open(path)?;
            let mut reader = file.map(BufReader::new);
            let mut position = 0_u64;
            while let Some(place) = places.next_if(|place| place.file == at) {
                let Some(reader) = &mut reader else { continue };
                let Some((text, value)) = read_at(reader, &mut position, place)? else { continue };
                let first = narrowed.firsts.as_ref().is_none_or(|firsts| firsts.contains(&(at, place.offset)));
                if (first || is_notice(&value)) && self.passes(&value) {
                    each(&text, &value);
                }
            }
            let Some(reader) = reader else { continue };
            let file = reader.into_inner();
            let to = limited(&file, limit)?;
            let mut trouble = None;
            read_lines(file, *from, to, |_, text, value| {
                let mut known = |behaviour: &str| {
                    index.knows(behaviour).unwrap_or_else(|error| {
                        trouble = Some(error);
                        true
                    })
                };
                let news = !self.changes || is_notice(value) || {
                    let behaviour = told::behaviour(value);
                    behaviour.is_some_and(|behaviour| seen.is_news(&behaviour) && !known(&behaviour))
                };
                if news && self.passes(value) {
                    each(text, value);
                }
            })?;
            if let Some(error) = trouble {
                return Err(io::Error::other(error));
            }
        }
        Ok(())
    }
}

/// What the index named.
struct Narrowed {
    places: Vec<Place>,
    from: Vec<u64>,
    /// Lines that do what none before them did, where that is asked: file and first byte.
    firsts: Option<HashSet<(usize, u64)>>,
}

fn make(path: &Path, files: &[PathBuf]) -> Result<Index, IndexError> {
    let mut index = Index::open(path)?;
    index.update(files, &|line| facts(line))?;
    Ok(index)
}

/// The index of a folder in the user's cache.
fn cache(directory: &Path) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    let whole = directory.canonicalize().ok()?;
    let digest: [u8; 32] = Sha256::digest(whole.as_os_str().as_encoded_bytes()).into();
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(caches.join("vambrace").join(format!("index-{name}.sqlite")))
}

/// What the index knows of a line; `None` where it is none.
pub(super) fn facts(line: &str) -> Option<Facts> {
    let value: Value = serde_json::from_str(line).ok()?;
    let words = COLUMNS.iter().map(|path| match found(&value, path) {
        Found::Nothing => Word::Absent,
        Found::Value(Value::String(text)) => Word::Text(text.clone()),
        Found::Text(text) => Word::Text(text.to_owned()),
        Found::Value(_) | Found::Span(..) => Word::Odd,
    });
    Some(Facts {
        time_us: value.get("timestamp").and_then(Value::as_str).and_then(when::microseconds),
        words: words.collect(),
        written: told::writes(&value),
        behaviour: told::behaviour(&value),
    })
}

/// Opens a file; `None` where it was removed meanwhile, to keep to the budget.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn limited(file: &File, limit: Option<Limit>) -> io::Result<u64> {
    match limit {
        Some((inode, position)) if file.metadata()?.ino() == inode => Ok(position),
        _ => Ok(u64::MAX),
    }
}

/// Hands out the lines of a file between two bytes, with where they begin. What is no JSON is passed over.
pub(super) fn read_lines(
    mut file: File,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, &str, &Value),
) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::with_capacity(1 << 16, io::Read::take(file, to.saturating_sub(from)));
    let (mut offset, mut line) = (from, Vec::new());
    // Of what is longer each piece is passed over: it is no JSON.
    while reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Some((text, value)) = parsed(&line) {
            each(offset, text, &value);
        }
        offset = offset.saturating_add(u64::try_from(line.len()).unwrap_or(0));
        line.clear();
    }
    Ok(())
}

fn parsed(line: &[u8]) -> Option<(&str, Value)> {
    let text = std::str::from_utf8(line).ok()?.trim_end_matches(['\r', '\n']);
    Some((text, serde_json::from_str(text).ok()?))
}

/// The line at a place; `None` where the file no longer is what the index knew.
fn read_at(reader: &mut BufReader<File>, position: &mut u64, place: &Place) -> io::Result<Option<(String, Value)>> {
    let ahead = i64::try_from(place.offset.saturating_sub(*position)).unwrap_or(i64::MAX);
    reader.seek_relative(ahead)?;
    let mut line = Vec::new();
    io::Read::take(&mut *reader, place.length).read_until(b'\n', &mut line)?;
    *position = place.offset.saturating_add(u64::try_from(line.len()).unwrap_or(0));
    Ok(parsed(&line).map(|(text, value)| (text.to_owned(), value)))
}

#[cfg(test)]
mod tests;
