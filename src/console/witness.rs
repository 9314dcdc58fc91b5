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

/// Largest file of kept notes: ten weeks of a box that pushes every ten seconds. Then every second note goes: what is
/// kept spans the whole time, the more thinly the longer.
const MOST: u64 = 64 << 20;

/// Notes of one box that are taken at once, and the time after which one more is: twice as often as a box pushes.
const BURST: u32 = 12;
const EVERY: Duration = Duration::from_secs(5);

/// Most files of notes that contradict those before, of one box. Who finds that many need not look for more.
const ASIDE: u32 = 8;

/// Largest of them.
const MOST_ASIDE: u64 = 4 << 20;

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

    /// Why it can't be of the same log as `before`, some time later; `None` where it can.
    fn contradicts(&self, before: &Self, user: &str) -> Option<String> {
        if before.origin != self.origin {
            return Some(format!("this is a checkpoint of {}; {user} is known for {}", self.origin, before.origin));
        }
        if self.leaves < before.leaves {
            return Some(format!("the log went back: {} leaves, it had {}", self.leaves, before.leaves));
        }
        let changed = self.leaves == before.leaves && self.root != before.root;
        changed.then(|| format!("the log was changed: another root at {} leaves", self.leaves))
    }
}

/// What is known of one who pushes.
#[derive(Debug, Default)]
struct Pushing {
    /// The head that was kept last; absent until its file was looked at.
    last: Option<Head>,
    /// The newest file of contradicting notes: its number, and its last head.
    aside: Option<(u32, Option<Head>)>,
    /// Notes that may still be taken, and since when that is counted.
    left: Option<(u32, Instant)>,
}

impl Pushing {
    /// Whether one more note is taken now.
    fn is_in_time(&mut self, now: Instant) -> bool {
        let (left, since) = self.left.unwrap_or((BURST, now));
        let gained = now.saturating_duration_since(since).as_secs().checked_div(EVERY.as_secs()).unwrap_or(0);
        let gained = u32::try_from(gained).unwrap_or(BURST);
        let left = left.saturating_add(gained).min(BURST);
        let since = since.checked_add(EVERY.saturating_mul(gained)).unwrap_or(now);
        self.left = Some((left.saturating_sub(1), since));
        left > 0
    }
}

/// Why a note was not kept among those of its box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unkept {
    /// There were too many, or it is none: nothing to be told of each time.
    Unfit(&'static str),
    /// It contradicts what was kept, or can't be written.
    Grave(String),
}

impl Unkept {
    pub(super) fn sentence(&self) -> &str {
        match self {
            Self::Unfit(sentence) => sentence,
            Self::Grave(sentence) => sentence,
        }
    }
}

/// Checkpoints that others pushed, a file for each of them.
pub(super) struct Kept {
    directory: PathBuf,
    /// By the user who pushes: the user's certificate says whose log it is.
    pushing: Mutex<HashMap<String, Pushing>>,
}

impl Kept {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), pushing: Mutex::default() }
    }

    /// Keeps the note behind those before, where it says more than the last. One that contradicts them is kept too, in a
    /// file of its own beside theirs: whoever pushes can neither take back what is kept nor keep others from being seen.
    ///
    /// # Errors
    /// It is no checkpoint, one too many, of another log, contradicts what was kept, or can't be written.
    pub(super) fn keep(&self, user: &str, note: &str) -> Result<(), Unkept> {
        self.keep_at(user, note, Instant::now())
    }

    fn keep_at(&self, user: &str, note: &str, now: Instant) -> Result<(), Unkept> {
        let head = Head::of(note).ok_or(Unkept::Unfit("this is no checkpoint"))?;
        let path = self.path(user);
        let failed = |error: io::Error| Unkept::Grave(format!("{}: {error}", path.display()));
        let mut table = self.pushing.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.entry(user.to_owned()).or_default();
        if own.last.is_none() {
            own.last = last_of(&path).map_err(failed)?;
        }
        if own.last.as_ref() == Some(&head) {
            return Ok(());
        }
        if !own.is_in_time(now) {
            return Err(Unkept::Unfit("too many checkpoints in a short time; this one is not kept"));
        }
        let Some(why) = own.last.as_ref().and_then(|before| head.contradicts(before, user)) else {
            append(&path, note, MOST).map_err(failed)?;
            own.last = Some(head);
            return Ok(());
        };
        let kept = self.put_aside(user, note, head, own).map_err(failed)?;
        Err(Unkept::Grave(format!("{why}; {kept}")))
    }

    /// Keeps a contradicting note in the newest of their files that it does not contradict; where it is.
    fn put_aside(&self, user: &str, note: &str, head: Head, own: &mut Pushing) -> io::Result<String> {
        if own.aside.is_none() {
            let there = |number: &u32| self.aside(user, *number).exists();
            let newest = (1..=ASIDE).take_while(there).last();
            own.aside =
                newest.map(|number| Ok::<_, io::Error>((number, last_of(&self.aside(user, number))?))).transpose()?;
        }
        let (number, begun) = match &own.aside {
            Some((_, Some(last))) if *last == head => return Ok("it is kept already".to_owned()),
            Some((number, Some(last))) if head.contradicts(last, user).is_none() => (*number, false),
            Some((number, None)) => (*number, false),
            Some((number, _)) => (number.saturating_add(1), true),
            None => (1, true),
        };
        if number > ASIDE {
            return Ok(format!("{ASIDE} files of such checkpoints are kept already, and no more"));
        }
        let path = self.aside(user, number);
        append(&path, note, MOST_ASIDE)?;
        own.aside = Some((number, Some(head)));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(format!("kept in {name}{}", if begun { "" } else { " behind others" }))
    }

    /// `witness-USER.aside-3.checkpoints`.
    fn aside(&self, user: &str, number: u32) -> PathBuf {
        self.path(user).with_extension(format!("aside-{number}.checkpoints"))
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

/// What the last whole note of a file says; `None` where there is none. What is no note is passed over.
fn last_of(path: &Path) -> io::Result<Option<Head>> {
    /// How far behind the end is looked, in bytes: a note, and a torn one behind it, many times over.
    const TAIL: u64 = 256 << 10;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(notes(&String::from_utf8_lossy(&bytes)).filter_map(Head::of).last())
}

/// The notes in a text, each without the empty line behind it; what stands between them is handed out as well.
fn notes(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // A note has an empty line in it, before its signatures, and ends before an empty line that follows one.
        let end = rest
            .match_indices("\n\n")
            .find(|(at, _)| {
                let line = rest.get(..*at).unwrap_or_default().rsplit('\n').next();
                line.is_some_and(|line| line.starts_with("\u{2014} "))
            })
            .map_or(rest.len(), |(at, _)| at.saturating_add(1));
        let note = rest.get(..end)?;
        rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
        // A torn note before a whole one: the whole one begins behind the last empty line but one.
        let body = note.rmatch_indices("\n\n").nth(1).map_or(0, |(at, _)| at.saturating_add(2));
        note.get(body..).map(|note| note.trim_start_matches('\n'))
    })
}

/// Writes the note and an empty line behind what is there; beyond `most` bytes, every second note goes first.
fn append(path: &Path, note: &str, most: u64) -> io::Result<()> {
    let len = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if len >= most {
        thin(path)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    // What a crash has left of a note must not run into this one.
    let mut end = [0; 2];
    let torn = len >= 2 && {
        file.seek(SeekFrom::End(-2))?;
        file.read_exact(&mut end)?;
        end != *b"\n\n"
    };
    file.write_all(format!("{}{note}\n", if torn { "\n\n" } else { "" }).as_bytes())?;
    file.sync_data()
}

/// Leaves every second note, and the last.
fn thin(path: &Path) -> io::Result<()> {
    let text = fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let whole: Vec<&str> = notes(&text).filter(|note| Head::of(note).is_some()).collect();
    let last = whole.len().saturating_sub(1);
    let left = whole.iter().enumerate().filter(|(at, _)| at % 2 == 0 || *at == last);
    let left: String = left.map(|(_, note)| format!("{note}\n")).collect();
    super::replace(path, left.as_bytes())
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
