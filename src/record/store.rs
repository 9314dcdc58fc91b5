//! The event files: one that grows, the older ones beside it, all within a budget.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::evidence;
use super::files::{self, EVENT_FILE, event_files, whole_len};
use crate::event::EventId;

/// Largest file: opens quickly in jq and in editors.
const MAX_SEGMENT: u64 = 64 << 20;

/// Smallest file: below it, turning files over would cost more than writing them.
const MIN_SEGMENT: u64 = 64 << 10;

/// A file that only grows, by whole records.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: Option<File>,
    len: u64,
    /// Since when something stands in it that may not have reached the disk.
    unsynced: Option<Instant>,
}

impl Segment {
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut segment = Self { path, file: None, len: 0, unsynced: None };
        segment.reopen()?;
        Ok(segment)
    }

    fn reopen(&mut self) -> io::Result<&mut File> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.len = file.metadata()?.len();
        Ok(self.file.insert(file))
    }

    /// Appends all of `bytes` or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = self.file.as_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        match file.write_all(bytes) {
            Ok(()) => {
                self.len = self.len.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                self.unsynced.get_or_insert_with(Instant::now);
                Ok(())
            }
            Err(error) => {
                // Half a record would spoil the next one; a file that can't be cut is opened anew.
                let _ = file.set_len(self.len);
                self.file = None;
                Err(error)
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Brings to the disk what has waited for that since `longest`.
    pub(super) fn sync_after(&mut self, longest: Duration) {
        if self.unsynced.is_some_and(|since| since.elapsed() >= longest) {
            self.sync();
        }
    }

    pub(super) fn sync(&mut self) {
        self.unsynced = None;
        if let Some(Err(error)) = self.file.as_ref().map(File::sync_data) {
            tracing::warn!(path = %self.path.display(), %error, "not synced");
        }
    }
}

/// The record files of one folder.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    pub(super) events: Segment,
    budget: u64,
    segment: u64,
    /// Older files with their sizes, oldest first.
    older: Vec<(PathBuf, u64)>,
    next_number: u64,
}

impl Store {
    /// Opens the files in `directory`, which is made where missing, and mends what a crash left behind.
    pub(super) fn open(directory: &Path, budget: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut older = Vec::new();
        let mut next_number = 1u64;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if let Some(number) = number_of(&entry.path()) {
                next_number = next_number.max(number.saturating_add(1));
                older.push((entry.path(), entry.metadata()?.len()));
            }
        }
        older.sort_by_key(|(path, _)| number_of(path));
        let events = directory.join(EVENT_FILE);
        mend(&events, whole_len)?;
        Ok(Self {
            directory: directory.to_owned(),
            events: Segment::open(events)?,
            budget,
            segment: (budget / 32).clamp(MIN_SEGMENT, MAX_SEGMENT),
            older,
            next_number,
        })
    }

    /// Turns the event file over where `more` bytes would make it too large, then keeps to the budget.
    pub(super) fn make_room(&mut self, more: usize) -> io::Result<()> {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if !self.events.is_empty() && self.events.len.saturating_add(more) > self.segment {
            self.events.sync();
            self.turn()?;
        }
        while self.bytes().saturating_add(more) > self.budget && !self.older.is_empty() {
            let (path, _) = self.older.remove(0);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "old records not removed");
            }
        }
        Ok(())
    }

    /// On a full disk: removes the oldest file. All that it holds stands in the evidence as well.
    pub(super) fn give_way(&mut self) {
        if self.older.is_empty() {
            return;
        }
        let (path, _) = self.older.remove(0);
        tracing::warn!(path = %path.display(), "the disk is full: the oldest event file is removed");
        let _ = fs::remove_file(&path);
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let older = self.older.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len));
        older.saturating_add(self.events.len)
    }

    /// Puts the file aside and begins another one.
    fn turn(&mut self) -> io::Result<()> {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let to = self.directory.join(format!("eve-{number:08}-{time}.json"));
        let events = &mut self.events;
        fs::rename(&events.path, &to)?;
        self.older.push((to, events.len));
        events.file = None;
        events.len = 0;
        events.reopen().map(drop)
    }
}

/// The first event id that no event in `directory` bears: 1 where there is none.
///
/// # Errors
/// The folder or a file can't be read.
pub fn next_event_id(directory: &Path) -> io::Result<EventId> {
    // Ids grow from file to file but for the few seconds that answers and repeats are waited for, so the last file
    // that holds any is enough, with the one before it.
    let mut last = None;
    for path in event_files(directory)?.into_iter().rev() {
        let highest = highest_id(&fs::read(&path)?);
        if highest.is_some() && last.is_some() {
            last = last.max(highest);
            break;
        }
        last = last.or(highest);
    }
    Ok(EventId(last.unwrap_or(0).saturating_add(1)))
}

/// `next`, or the id behind the highest one in the newest evidence that holds any: after a power cut the evidence may
/// reach farther than the event files, and event files may be moved away.
pub(super) fn behind_evidence(directory: &Path, next: EventId) -> io::Result<EventId> {
    // A run that ended at once leaves a segment without events.
    const LOOK: usize = 8;
    for path in evidence::segment_files(directory)?.iter().rev().take(LOOK) {
        if let Some(highest) = evidence::highest_event(path)? {
            return Ok(next.max(EventId(highest.saturating_add(1))));
        }
    }
    Ok(next)
}

/// The highest event id in lines of JSON. In text from the wire the quotes are escaped, so that it can't feign one.
pub(super) fn highest_id(lines: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"event_id\":";
    let ids = memchr::memmem::find_iter(lines, KEY).filter_map(|at| {
        let after = lines.get(at.saturating_add(KEY.len())..)?;
        let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(after.get(..digits)?).ok()?.parse().ok()
    });
    ids.max()
}

/// The number in the name of an older file. Frame files of earlier versions, `refused-...pcapng`, count as well: they are
/// kept and removed in their turn.
fn number_of(path: &Path) -> Option<u64> {
    let of_frames = || {
        let rest = path.file_name()?.to_str()?.strip_suffix(".pcapng")?.strip_prefix("refused-")?;
        rest.split('-').next()?.parse().ok()
    };
    files::number_of(path).or_else(of_frames)
}

/// Cuts a file at the end of its last whole record.
fn mend(path: &Path, whole: impl Fn(&mut File) -> io::Result<u64>) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    let whole = whole(&mut file)?;
    if whole < file.metadata()?.len() {
        tracing::warn!(path = %path.display(), at = whole, "cut a record that a crash left unfinished");
        file.set_len(whole)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a power cut takes is what was written since the last sync, so a sync must come without anybody's asking.
    #[test]
    fn what_was_written_is_synced_after_a_while_and_once() {
        let directory = std::env::temp_dir().join(format!("vambrace-store-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let mut store = Store::open(&directory, 1 << 20).unwrap();
        let events = &mut store.events;
        assert!(events.unsynced.is_none());
        events.append(b"{}\n").unwrap();
        let since = events.unsynced;
        events.append(b"{}\n").unwrap();
        assert!(since.is_some() && events.unsynced == since, "the first one counts");
        events.sync_after(Duration::from_secs(60));
        assert_eq!(events.unsynced, since);
        std::thread::sleep(Duration::from_millis(20));
        events.sync_after(Duration::from_millis(20));
        assert!(events.unsynced.is_none());
        store.give_way();
        store.turn().unwrap();
        assert_eq!(store.older.len(), 1);
        store.give_way();
        assert_eq!(event_files(&directory).unwrap(), [directory.join(EVENT_FILE)]);
        fs::remove_dir_all(directory).unwrap();
    }
}
