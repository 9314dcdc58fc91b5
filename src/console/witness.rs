//! Witnesses in the network: this box pushes its checkpoints to another's remote API, and keeps those that others push.
//!
//! A witness checks no signature: the verifier does. It sees that a log only grows. One that went back, or that has two
//! roots at the same place, is refused and recorded, and the notes that prove it stay in both places.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::WitnessBox;
use crate::control::{Client, RemoteBox, Request, Response};

/// Time between two pushes: what a thief of the box could still have made different is no longer than this.
const PUSH: Duration = Duration::from_secs(10);

/// Longest note: four lines of ours, a few signatures.
const LONGEST: usize = 4096;

/// Largest file of kept notes: two months of one box. Then it is put aside, in the place of the one before.
const MOST: u64 = 128 << 20;

/// Longest block that is read; an evidence block's custom blocks are far below.
const BLOCK: u64 = 16 << 20;

/// Follows the segments for the newest checkpoint.
#[derive(Debug)]
struct Checkpoints {
    directory: PathBuf,
    segment: u64,
    position: u64,
    newest: Option<String>,
}

impl Checkpoints {
    fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), segment: 0, position: 0, newest: None }
    }

    /// The newest checkpoint, if any was ever written. Source: the manual's `evidence-format.md`.
    fn newest(&mut self) -> io::Result<Option<&str>> {
        let mut last = None;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            last = last.max(number_of(&path).map(|number| (number, path)));
        }
        if let Some((number, path)) = last {
            if number != self.segment {
                (self.segment, self.position) = (number, 0);
            }
            self.read(&path)?;
        }
        Ok(self.newest.as_deref())
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut file = io::BufReader::new(File::open(path)?);
        let len = file.get_ref().metadata()?.len();
        file.seek(SeekFrom::Start(self.position))?;
        loop {
            let mut head = [0; 8];
            if self.position.saturating_add(8) > len {
                return Ok(());
            }
            file.read_exact(&mut head)?;
            let [a, b, c, d, e, f, g, h] = head;
            let (kind, size) = (u32::from_le_bytes([a, b, c, d]), u64::from(u32::from_le_bytes([e, f, g, h])));
            let end = self.position.saturating_add(size);
            // A block that is being written, zeros behind the last one, or damage: the verifier tells which.
            if !(12..=BLOCK).contains(&size) || !size.is_multiple_of(4) || end > len {
                return Ok(());
            }
            let rest = size.saturating_sub(8);
            if kind == 0x0000_0bad {
                let mut block = Vec::new();
                file.by_ref().take(rest).read_to_end(&mut block)?;
                if let Some(note) = checkpoint(&block) {
                    self.newest = Some(note.to_owned());
                }
            } else {
                file.seek_relative(i64::try_from(rest).unwrap_or(i64::MAX))?;
            }
            self.position = end;
        }
    }
}

/// The number of a segment's file: `evidence-00000012.pcapng`.
fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("evidence-")?.strip_suffix(".pcapng")?.parse().ok()
}

/// The note in a custom block, where it is a checkpoint of ours; `block` begins behind the block's length.
fn checkpoint(block: &[u8]) -> Option<&str> {
    let payload = block.strip_prefix(&32473_u32.to_le_bytes())?.strip_prefix(b"VBR1\x03\0\0\0")?;
    let (len, body) = payload.split_first_chunk::<4>()?;
    std::str::from_utf8(body.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?).ok()
}

/// How a witness is doing, for metrics.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    /// Checkpoints that it took.
    pub(super) taken: AtomicU64,
    /// Attempts that failed.
    pub(super) failures: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Pushed {
    /// It took one.
    pub(super) fn took(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Since the last push that was taken.
    pub(super) fn age(&self) -> Option<Duration> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).map(|last| last.elapsed())
    }
}

/// Pushes checkpoints to one witness until told to stop.
pub(super) struct Pusher {
    name: String,
    to: RemoteBox,
    checkpoints: Checkpoints,
    pushed: Arc<Pushed>,
    stop: Arc<AtomicBool>,
    every: Duration,
}

impl Pusher {
    pub(super) fn new(to: &WitnessBox, records: &Path, stop: Arc<AtomicBool>) -> Self {
        let WitnessBox { name, address, ca, certificate, key } = to.clone();
        let checkpoints = Checkpoints::new(records);
        Self {
            name,
            to: RemoteBox { address, certificate, key, ca },
            checkpoints,
            pushed: Arc::default(),
            stop,
            every: PUSH,
        }
    }

    pub(super) fn pushed(&self) -> Arc<Pushed> {
        Arc::clone(&self.pushed)
    }

    pub(super) fn run(mut self) {
        let (mut client, mut sent, mut told) = (None, String::new(), String::new());
        while !self.stop.load(Ordering::Relaxed) {
            match self.push(&mut client, &mut sent) {
                Ok(()) => told.clear(),
                Err(error) => {
                    client = None;
                    self.pushed.failures.fetch_add(1, Ordering::Relaxed);
                    if error != told {
                        tracing::warn!(witness = self.name, error, "has no newer checkpoint of this box");
                        told = error;
                    }
                }
            }
            let begun = Instant::now();
            while begun.elapsed() < self.every && !self.stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn push(&mut self, client: &mut Option<Client>, sent: &mut String) -> Result<(), String> {
        let newest = self.checkpoints.newest().map_err(|error| error.to_string())?;
        let Some(note) = newest.filter(|note| note != sent) else { return Ok(()) };
        if client.is_none() {
            *client = Some(Client::connect_remote(&self.to).map_err(|error| error.to_string())?);
        }
        let Some(client) = client else { return Ok(()) };
        let request = Request::Witness { checkpoint: note.to_owned() };
        match client.ask(&request).map_err(|error| error.to_string())? {
            Response::Done => {}
            Response::Failed { messages, .. } => return Err(messages.join("; ")),
            _ => return Err("it answered something else".to_owned()),
        }
        note.clone_into(sent);
        self.pushed.took();
        Ok(())
    }
}

/// What a checkpoint says: which log, how many leaves, and their root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    origin: String,
    leaves: u64,
    root: String,
}

impl Head {
    fn of(note: &str) -> Option<Self> {
        let (text, signatures) = note.split_once("\n\n")?;
        let signed = signatures.lines().all(|line| line.starts_with("\u{2014} ")) && signatures.ends_with('\n');
        let mut lines = text.lines();
        let (origin, leaves, root) = (lines.next()?, lines.next()?.parse().ok()?, lines.next()?);
        let plain = !note.chars().any(|character| character.is_control() && character != '\n');
        let fine = signed && plain && note.len() <= LONGEST && !origin.is_empty() && root.len() == 44;
        fine.then(|| Self { origin: origin.to_owned(), leaves, root: root.to_owned() })
    }
}

/// Checkpoints that others pushed, a file for each of them.
pub(super) struct Kept {
    directory: PathBuf,
    /// By the user who pushes: the user's certificate says whose log it is.
    last: Mutex<HashMap<String, Head>>,
}

impl Kept {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), last: Mutex::default() }
    }

    /// Keeps the note behind those before.
    ///
    /// # Errors
    /// It is no checkpoint, of another log, contradicts what was kept, or can't be written: in a sentence.
    pub(super) fn keep(&self, user: &str, note: &str) -> Result<(), String> {
        let head = Head::of(note).ok_or("this is no checkpoint")?;
        let path = self.path(user);
        let mut table = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match table.get(user) {
            Some(before) => Some(before.clone()),
            None => last_of(&path).map_err(|error| format!("{}: {error}", path.display()))?,
        };
        if let Some(before) = before {
            if before.origin != head.origin {
                return Err(format!("this is a checkpoint of {}; {user} is known for {}", head.origin, before.origin));
            }
            if head.leaves < before.leaves {
                return Err(format!("the log went back: {} leaves, it had {}", head.leaves, before.leaves));
            }
            if head.leaves == before.leaves && head.root != before.root {
                return Err(format!("the log was changed: another root at {} leaves", head.leaves));
            }
        }
        append(&path, note).map_err(|error| format!("{}: {error}", path.display()))?;
        table.insert(user.to_owned(), head);
        Ok(())
    }

    fn path(&self, user: &str) -> PathBuf {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        // Names that differ get files that differ: what can't stand in a file's name stands there by its number.
        let mut name = String::new();
        for character in user.chars() {
            if fine(character) {
                name.push(character);
            } else {
                name += &format!("%{:x}%", u32::from(character));
            }
        }
        self.directory.join(format!("witness-{name}.checkpoints"))
    }
}

/// What the last note of a file says; `None` where there is no file.
fn last_of(path: &Path) -> io::Result<Option<Head>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let tail = u64::try_from(LONGEST.saturating_mul(2)).unwrap_or(u64::MAX);
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(tail)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // A note, an empty line: the next note begins behind an empty line that no signature follows.
    let mut starts = text.match_indices("\n\n").map(|(at, _)| at.saturating_add(2)).collect::<Vec<_>>();
    starts.insert(0, 0);
    let found = starts.iter().rev().find_map(|start| {
        let note = text.get(*start..)?;
        let end = note.match_indices("\n\n").nth(1).map(|(at, _)| at.saturating_add(1))?;
        Head::of(note.get(..end)?)
    });
    match found {
        None if len > 0 => Err(io::Error::new(io::ErrorKind::InvalidData, "ends in no checkpoint; put it aside")),
        found => Ok(found),
    }
}

fn append(path: &Path, note: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > MOST) {
        fs::rename(path, path.with_extension("checkpoints.1"))?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
