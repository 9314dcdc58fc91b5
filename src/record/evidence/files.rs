//! The small files beside the segments: keys, counter, and where the last segments begin.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::replace;
use super::note::Signer;
use super::scan::{Chain, Scan};
use super::tree::{Frontier, hex, unhex};

/// The box's secret key.
pub(super) const KEY: &str = "evidence.key";
/// The public key.
pub(super) const PUBLIC: &str = "evidence.pub";
/// How often the store was opened.
pub(super) const COUNTER: &str = "evidence.counter";
/// Room that is held for a full disk, and how many bytes: enough to say and sign that sixteen segments are removed.
pub(super) const RESERVE: &str = "evidence.reserve";
pub(super) const RESERVE_LEN: u64 = 64 << 10;
/// Where the last segments begin.
const STATE: &str = "evidence.state";

/// Name of segment `number`.
pub(super) fn segment_name(number: u64) -> String {
    format!("evidence-{number:08}.pcapng")
}

/// Number of the segment at `path`; `None` where it is none.
pub(super) fn segment_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_prefix("evidence-")?.strip_suffix(".pcapng")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// Whether a file has the name of a segment.
#[must_use]
pub fn is_segment(path: &Path) -> bool {
    segment_number(path).is_some()
}

/// The evidence segments in `directory`, oldest first.
///
/// # Errors
/// The folder can't be read.
pub fn segment_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(number) = segment_number(&path) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The segments in `directory` in which what happened at `wall_ns` stands: that of the time and its neighbours, as
/// records wait a while. However many there are, few are looked into.
///
/// # Errors
/// The folder can't be read.
pub fn segments_around(directory: &Path, wall_ns: u64) -> io::Result<Vec<PathBuf>> {
    let paths = segment_files(directory)?;
    // One that was removed meanwhile, or is just being begun, counts as later than anything.
    let begins = |path: &PathBuf| Scan::first_trailer(path).ok().flatten().map_or(u64::MAX, |trailer| trailer.wall_ns);
    let behind = paths.partition_point(|path| begins(path) <= wall_ns);
    Ok(paths.into_iter().skip(behind.saturating_sub(2)).take(4).collect())
}

/// The key of the store in `directory`, made where there is none; and the file, locked for this process alone.
pub(super) fn key(directory: &Path, host: &str, has_segments: bool) -> io::Result<(Signer, File)> {
    let path = directory.join(KEY);
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let signer = match fs::read_to_string(&path) {
        Ok(text) => Signer::parse(&text).ok_or_else(|| {
            invalid(format!("{KEY} holds no key; put the right one back, or move all evidence files elsewhere"))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && has_segments => {
            return Err(invalid(format!(
                "{KEY} is missing beside segments that it signed; put it back, or move them elsewhere"
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
            let signer = Signer::of_seed(&name(host), &seed);
            replace(&path, signer.secret_line().as_bytes(), 0o600)?;
            signer
        }
        Err(error) => return Err(error),
    };
    let file = File::open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process records into it; end that one, or name another folder as record.directory",
            ));
        }
        // A file system without locks: nothing is known, nothing is lost.
        Err(TryLockError::Error(error)) => tracing::warn!(%error, "the evidence store can't be locked"),
    }
    let line = format!("{}\n", signer.public_line());
    let public = directory.join(PUBLIC);
    if fs::read_to_string(&public).is_ok_and(|text| text == line) {
        return Ok((signer, file));
    }
    replace(&public, line.as_bytes(), 0o644)?;
    Ok((signer, file))
}

/// The box's name in signatures.
fn name(host: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || ".-".contains(letter) { letter } else { '-' };
    let host: String = host.chars().map(plain).collect();
    format!("vambrace/{}", if host.is_empty() { "box" } else { &host })
}

/// The number in a counter's file; 0 where there is none.
pub(super) fn read_counter(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let what = format!("{} holds no number", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Where a segment begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) segment: u64,
    pub(super) chain: Chain,
    /// Whether the hashes of the tree are known; not where the segments before were damaged.
    pub(super) known: bool,
}

/// A short cut for the next start: where the newest and the oldest segment begin. What it says is held against the
/// segments; where they disagree, or it is missing, they are all read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) newest: Start,
    pub(super) oldest: Start,
    /// What the clock of retention showed.
    pub(super) elapsed_ns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StateText {
    newest: StartText,
    oldest: StartText,
    #[serde(default)]
    elapsed_ns: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StartText {
    segment: u64,
    leaves: u64,
    records: u64,
    trailer: String,
    frontier: Vec<String>,
    known: bool,
}

impl StartText {
    fn of(start: &Start) -> Self {
        Self {
            segment: start.segment,
            leaves: start.chain.frontier.leaves(),
            records: start.chain.records,
            trailer: hex(&start.chain.before),
            frontier: start.chain.frontier.roots().iter().map(|root| hex(root)).collect(),
            known: start.known,
        }
    }

    fn read(&self) -> Option<Start> {
        let roots = self.frontier.iter().map(|root| unhex(root)).collect::<Option<_>>()?;
        let frontier = Frontier::of(self.leaves, roots)?;
        let chain = Chain { frontier, before: unhex(&self.trailer)?, records: self.records };
        Some(Start { segment: self.segment, chain, known: self.known })
    }
}

impl State {
    /// What the file beside the segments says; `None` where it says nothing that can be read.
    pub(super) fn load(directory: &Path) -> Option<Self> {
        let text: StateText = serde_json::from_slice(&fs::read(directory.join(STATE)).ok()?).ok()?;
        let (newest, oldest) = (text.newest.read()?, text.oldest.read()?);
        Some(Self { newest, oldest, elapsed_ns: text.elapsed_ns })
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn save(&self, directory: &Path) -> io::Result<()> {
        let (newest, oldest) = (StartText::of(&self.newest), StartText::of(&self.oldest));
        let text = StateText { newest, oldest, elapsed_ns: self.elapsed_ns };
        replace(&directory.join(STATE), &serde_json::to_vec(&text).unwrap_or_default(), 0o640)
    }
}

/// Puts all segments of `directory` aside, into a folder of their own beside them: nothing is thrown away, and a store
/// begins anew.
pub(super) fn set_aside(directory: &Path, counter: u64) -> io::Result<PathBuf> {
    let mut aside = directory.join(format!("damaged-{counter}"));
    let mut more = 1u32;
    while aside.exists() {
        more = more.saturating_add(1);
        aside = directory.join(format!("damaged-{counter}-{more}"));
    }
    fs::create_dir(&aside)?;
    for path in segment_files(directory)? {
        fs::rename(&path, aside.join(path.file_name().unwrap_or_default()))?;
    }
    super::disk::sync_directory(&aside)?;
    super::disk::sync_directory(directory)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_the_format() {
        assert_eq!(segment_name(7), "evidence-00000007.pcapng");
        assert_eq!(segment_number(Path::new("/x/evidence-123456789.pcapng")), Some(123_456_789));
        for other in ["evidence-7.pcapng", "evidence-00000007.json", "evidence-000000x7.pcapng", "refused.pcapng"] {
            assert_eq!(segment_number(Path::new(other)), None, "{other}");
        }
        assert_eq!(name("cell 4_robot.plant-7"), "vambrace/cell-4-robot.plant-7");
    }
}
