//! Reading segments back, to go on where they end.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::super::pcapng;
use super::super::store::highest_id;
use super::block::{self, CHECKPOINT, MAGIC, RECORD, TRAILER, Trailer, Word};
use super::files::segment_files;
use super::note::{Checkpoint, Signer};
use super::seal::{self, SEALED};
use super::tree::{Frontier, Hash};

/// Where the chain stands behind some trailer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Of all leaves up to there.
    pub(super) frontier: Frontier,
    /// Hash of that trailer.
    pub(super) before: Hash,
    /// Number of the last record.
    pub(super) records: u64,
}

impl Chain {
    /// Whether `trailer` is the one that comes next.
    fn takes(&self, trailer: &Trailer) -> bool {
        self.frontier.leaves() == trailer.number
            && self.before == trailer.before
            && self.records.checked_add(1) == Some(trailer.first_record)
            && trailer.first_record <= trailer.last_record.saturating_add(1)
    }

    /// Whether `other` stands at the same place, whatever is known of the tree.
    pub(super) fn is_as_far_as(&self, other: &Self) -> bool {
        self.frontier.leaves() == other.frontier.leaves()
            && self.before == other.before
            && self.records == other.records
    }

    /// Goes on behind a trailer with these bytes.
    pub(super) fn push(&mut self, body: &[u8], last_record: u64) {
        self.frontier.push(body);
        self.before = block::hash(body);
        self.records = last_record;
    }

    /// The chain before `trailer`, as far as it tells of it; the hashes of the tree are not known.
    fn ahead_of(trailer: &Trailer) -> Self {
        let roots = vec![[0; 32]; usize::try_from(trailer.number.count_ones()).unwrap_or(0)];
        Self {
            frontier: Frontier::of(trailer.number, roots).unwrap_or_default(),
            before: trailer.before,
            records: trailer.first_record.saturating_sub(1),
        }
    }
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Leaves before its first trailer; `None` where there is no trailer.
    pub(super) first_leaf: Option<u64>,
    /// Behind its last good trailer.
    pub(super) chain: Chain,
    /// Bytes up to the end of that trailer and of the whole checkpoints that follow it.
    pub(super) whole: u64,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Whether its checkpoints have the roots of its leaves; `None` where there is no checkpoint.
    pub(super) agrees: Option<bool>,
    /// Whether its last record says that the run ended; `None` where it has no record.
    pub(super) closed: Option<bool>,
    /// How often the store had been opened.
    pub(super) counter: u64,
    /// What it says of removed segments.
    pub(super) prunes: Vec<Word>,
}

impl Scan {
    /// Reads segment `number`, of which the first trailer follows on `chain` where that is given.
    ///
    /// Ends where the blocks do, or at a trailer that does not follow on the one before. Bytes that are not those that a
    /// trailer tells of end it too, unless a checkpoint behind says that they had reached the disk: then they were
    /// changed later, which is for a verifier to tell of.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn read(path: &Path, number: u64, chain: Option<&Chain>, signer: &Signer) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut scan = Self { len: file.metadata()?.len(), ..Self::default() };
        let mut now = Walk::begin(number, chain.cloned());
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut bytes = Vec::new();
        // Whether bytes were other than their trailer says, and no checkpoint came since.
        let mut doubt = false;
        while read_block(&mut reader, &mut bytes)? {
            let start = now.at;
            let kind = bytes.first_chunk().map_or(0, |kind| u32::from_le_bytes(*kind));
            let body = bytes.get(8..bytes.len().saturating_sub(4)).unwrap_or_default();
            let ours = if kind == pcapng::CUSTOM { block::split(body) } else { None };
            match ours {
                Some((TRAILER, body)) => {
                    let Some(sound) = now.trailer(body) else { break };
                    doubt |= !sound;
                    now.at = now.at.saturating_add(length(&bytes));
                    if !doubt {
                        now.keep(&mut scan);
                    }
                    continue;
                }
                Some((CHECKPOINT, body)) => {
                    let signed = std::str::from_utf8(body).ok().and_then(|note| Checkpoint::of_note(note, signer));
                    if let Some(checkpoint) = signed {
                        doubt = false;
                        scan.counter = scan.counter.max(checkpoint.counter);
                        let frontier = &now.chain.as_ref().map(|chain| &chain.frontier);
                        let agrees = frontier.is_some_and(|frontier| {
                            frontier.leaves() == checkpoint.leaves && frontier.root() == checkpoint.root
                        });
                        scan.agrees = Some(agrees && scan.agrees.unwrap_or(true));
                        if start == now.whole {
                            now.whole = start.saturating_add(length(&bytes));
                        }
                        now.keep(&mut scan);
                    }
                }
                Some((RECORD, body)) => now.record(Word::parse(body), &mut scan),
                Some((SEALED, _)) => now.record(None, &mut scan),
                Some(_) => {}
                None if kind == pcapng::PACKET => now.record(None, &mut scan),
                None => {}
            }
            now.cover(&bytes);
        }
        Ok(scan)
    }

    /// Where segment `number` begins, by its first trailer: the hashes of the tree are not known. `None` where it has none.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn begins(path: &Path, number: u64) -> io::Result<Option<Chain>> {
        let trailer = Self::first_trailer(path)?.filter(|trailer| trailer.segment == number);
        Ok(trailer.map(|trailer| Chain::ahead_of(&trailer)))
    }

    /// The first trailer in a segment, if it is whole.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn first_trailer(path: &Path) -> io::Result<Option<Trailer>> {
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut bytes = Vec::new();
        while read_block(&mut reader, &mut bytes)? {
            let kind = bytes.first_chunk().map_or(0, |kind| u32::from_le_bytes(*kind));
            let body = bytes.get(8..bytes.len().saturating_sub(4)).unwrap_or_default();
            if kind == pcapng::CUSTOM
                && let Some((TRAILER, body)) = block::split(body)
            {
                return Ok(Trailer::parse(body));
            }
        }
        Ok(None)
    }

    /// Whether more is to be cut off than a power cut takes: a checkpoint that is signed, or one that was changed. One that
    /// was cut short, or of which a part never reached the disk and is zeros, is what a power cut leaves.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn cuts_checkpoints(&self, path: &Path, signer: &Signer) -> io::Result<bool> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.whole))?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest)?;
        let [a, b, c, d] = MAGIC;
        let begin = [a, b, c, d, CHECKPOINT];
        let begins = memchr::memmem::find_iter(&rest, &begin);
        // Before that stand the block's type, its length, and whose it is.
        let from = |at: usize| rest.get(at.checked_sub(12)?..);
        Ok(begins.filter_map(from).any(|rest| is_no_power_cut(rest, signer)))
    }
}

/// Whether these bytes begin with a checkpoint's block that no power cut left there: signed, or whole and changed.
fn is_no_power_cut(bytes: &[u8], signer: &Signer) -> bool {
    let mut whole = Vec::new();
    if !matches!(read_block(&mut &*bytes, &mut whole), Ok(true)) {
        return false;
    }
    let body = whole.get(8..whole.len().saturating_sub(4)).unwrap_or_default();
    let Some((CHECKPOINT, note)) = block::split(body) else { return false };
    let is_signed = std::str::from_utf8(note).is_ok_and(|note| Checkpoint::of_note(note, signer).is_some());
    // What never reached the disk is zeros, of which a note has none.
    is_signed || !note.contains(&0)
}

/// Where the reading of a segment stands.
struct Walk {
    number: u64,
    chain: Option<Chain>,
    first_leaf: Option<u64>,
    at: u64,
    whole: u64,
    covered: Sha256,
    covered_len: u64,
    closed: Option<bool>,
    /// Of the records since the last trailer: whether the last one says that the run ended.
    ends: Option<bool>,
}

impl Walk {
    fn begin(number: u64, chain: Option<Chain>) -> Self {
        Self {
            number,
            chain,
            first_leaf: None,
            at: 0,
            whole: 0,
            covered: Sha256::new(),
            covered_len: 0,
            closed: None,
            ends: None,
        }
    }

    /// Takes a block in that the next trailer covers.
    fn cover(&mut self, bytes: &[u8]) {
        self.covered.update(bytes);
        self.covered_len = self.covered_len.saturating_add(length(bytes));
        self.at = self.at.saturating_add(length(bytes));
    }

    fn record(&mut self, word: Option<Word>, scan: &mut Scan) {
        self.ends = Some(matches!(word, Some(Word::Close { .. })));
        match word {
            Some(Word::Open { counter, .. }) => scan.counter = scan.counter.max(counter),
            Some(prune @ Word::Prune { .. }) => scan.prunes.push(prune),
            _ => {}
        }
    }

    /// Goes on behind a trailer: whether its bytes are those that it tells of; `None` where it can't stand there.
    fn trailer(&mut self, body: &[u8]) -> Option<bool> {
        let trailer = Trailer::parse(body)?;
        let chain = self.chain.get_or_insert_with(|| Chain::ahead_of(&trailer));
        if trailer.segment != self.number || !chain.takes(&trailer) || trailer.covered != self.covered_len {
            return None;
        }
        self.first_leaf.get_or_insert(trailer.number);
        chain.push(body, trailer.last_record);
        self.covered_len = 0;
        self.closed = self.ends.take().or(self.closed);
        let hash: Hash = self.covered.finalize_reset().into();
        // The trailer's block: its body, 12 bytes before and 4 behind of the custom block, 12 of ours.
        self.whole = self.at.saturating_add(length(body)).saturating_add(28);
        Some(hash == trailer.hash)
    }

    /// What stands up to here is good.
    fn keep(&self, scan: &mut Scan) {
        if let Some(chain) = self.chain.clone().filter(|_| self.first_leaf.is_some()) {
            scan.chain = chain;
            scan.first_leaf = self.first_leaf;
            scan.whole = self.whole;
            scan.closed = self.closed;
        }
    }
}

/// Hands out the bodies of the custom blocks of ours in a segment, with their kinds.
fn for_each_of_ours(from: impl Read, mut each: impl FnMut(u8, &[u8])) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, from);
    let mut bytes = Vec::new();
    while read_block(&mut reader, &mut bytes)? {
        let kind = bytes.first_chunk().map_or(0, |kind| u32::from_le_bytes(*kind));
        let body = bytes.get(8..bytes.len().saturating_sub(4)).unwrap_or_default();
        if kind == pcapng::CUSTOM
            && let Some((kind, body)) = block::split(body)
        {
            each(kind, body);
        }
    }
    Ok(())
}

/// Hands out the events that a segment holds, in order: each a JSON object, as it stood in the event file. Whether they
/// are what was written, a verifier says. Returns how many records are encrypted, and were not handed out.
///
/// # Errors
/// The file can't be read.
pub fn events(from: impl Read, mut each: impl FnMut(&str)) -> io::Result<u64> {
    let mut sealed = 0u64;
    for_each_of_ours(from, |kind, body| match kind {
        RECORD if Word::parse(body).is_none() => {
            if let Ok(text) = std::str::from_utf8(body) {
                each(text);
            }
        }
        SEALED => sealed = sealed.saturating_add(seal::records(body)),
        _ => {}
    })?;
    Ok(sealed)
}

/// Hands out the events of all segments in `directory`, as [`events`] does; `open` begins to read one.
///
/// # Errors
/// The folder or a file can't be read.
pub fn events_of_all<R: Read>(
    directory: &Path,
    open: impl Fn(&Path) -> io::Result<R>,
    mut each: impl FnMut(&str),
) -> io::Result<u64> {
    let mut sealed = 0u64;
    for segment in segment_files(directory)? {
        match open(&segment).and_then(|file| events(file, &mut each)) {
            Ok(more) => sealed = sealed.saturating_add(more),
            // Removed meanwhile, to keep to the budget.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sealed)
}

/// The highest event id in the segment at `path`, sealed or not; `None` where it holds no event.
///
/// # Errors
/// The file can't be read.
pub(in crate::record) fn highest_event(path: &Path) -> io::Result<Option<u64>> {
    let mut highest = None;
    for_each_of_ours(File::open(path)?, |kind, body| {
        highest = highest.max(match kind {
            RECORD => highest_id(body),
            SEALED => Some(seal::highest_event(body)).filter(|id| *id > 0),
            _ => None,
        });
    })?;
    Ok(highest)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Reads the next pcapng block, both lengths included; `false` at the end and where no whole block stands.
fn read_block(reader: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; 8];
    if !read_whole(reader, &mut head)? {
        return Ok(false);
    }
    let [_, _, _, _, length @ ..] = head;
    let length = u32::from_le_bytes(length);
    if !(12..=pcapng::MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) {
        return Ok(false);
    }
    bytes.clear();
    bytes.extend(head);
    bytes.resize(usize::try_from(length).unwrap_or(0), 0);
    let whole = bytes.get_mut(8..).map_or(Ok(false), |rest| read_whole(reader, rest))?;
    Ok(whole && bytes.last_chunk() == Some(&length.to_le_bytes()))
}

/// Fills `to`; `false` where the file ends before.
fn read_whole(reader: &mut impl Read, to: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
