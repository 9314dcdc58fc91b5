//! Looking through segments without judging them: what there is, and where what is left begins.

use std::io::{self, Read};
use std::ops::ControlFlow;

use serde::Serialize;

use super::Base;
use super::note::read_text;
use super::pcapng::{Block, Head, head, read};
use super::store::{Entry, Store};
use super::trailer::Trailer;
use super::tree::sha256;
use super::unseal::{Keys, Sealed};
use super::words::{self, Prune, Word};

/// How much is read at once, in bytes.
pub(super) const PIECE: usize = 256 << 10;

/// Hands out the whole blocks of a segment with their offsets, up to the first that is not whole.
fn for_each_block(mut from: impl Read, mut each: impl FnMut(&[u8], u64) -> ControlFlow<()>) -> io::Result<()> {
    let (mut buffer, mut offset, mut piece) = (Vec::new(), 0_u64, vec![0; PIECE]);
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(piece.get(..count).unwrap_or_default());
        let mut rest = buffer.as_slice();
        loop {
            match head(rest) {
                Head::Whole(block) => {
                    if each(block, offset).is_break() {
                        return Ok(());
                    }
                    offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
                    rest = rest.get(block.len()..).unwrap_or_default();
                }
                Head::Needs(_) => break,
                Head::Broken(_) => return Ok(()),
            }
        }
        let passed = buffer.len().saturating_sub(rest.len());
        buffer.drain(..passed);
    }
}

/// Number of the first trailer in a segment.
pub(super) fn first_leaf(from: impl Read) -> io::Result<Option<u64>> {
    let mut found = None;
    for_each_block(from, |block, _| match read(block) {
        Ok(Block::Trailer(body)) => {
            found = Trailer::parse(body).ok().map(|trailer| trailer.number);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    Ok(found)
}

/// The `prune` that answers for what stood before segment `number`, whose first block is number `leaf`; and the number
/// of the block that it stands in.
pub(super) fn prune(store: &dyn Store, number: u64, leaf: u64) -> io::Result<Option<(Prune, u64)>> {
    let segments: Vec<&Entry> = store.entries().iter().filter(|entry| entry.segment().is_some()).collect();
    // It was written just before the files were removed, so it is near the end, mostly.
    for entry in segments.iter().rev() {
        let (mut said, mut found) = (None, None);
        for_each_block(store.open(entry)?, |block, _| {
            let block = read(block);
            if let Ok(Block::Trailer(body)) = block
                && let Some(prune) = said.take()
            {
                found = Trailer::parse(body).ok().map(|trailer| (prune, trailer.number));
                return ControlFlow::Break(());
            }
            if let Ok(Block::Record(body)) = block
                && memchr::memmem::find(body, b"\"prune\"").is_some()
                && let Ok(Some(Word::Prune(prune))) = words::read(body)
                && prune.leaves == leaf
                && prune.segments.1.checked_add(1) == Some(number)
            {
                said = Some(prune);
            }
            ControlFlow::Continue(())
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What stands in a segment, as it says itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Wall time of its first trailer.
    pub from_ns: Option<u64>,
    /// Wall time of its last trailer.
    pub to_ns: Option<u64>,
    /// Number of its first record.
    pub first_record: Option<u64>,
    /// Number of its last record.
    pub last_record: Option<u64>,
    /// How many records, packets among them.
    pub records: u64,
    /// How many packets.
    pub packets: u64,
    /// Evidence blocks.
    pub blocks: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// Up to the last trailer and the checkpoints directly behind it, in bytes.
    pub whole_bytes: u64,
    /// Time of the last checkpoint in it.
    pub signed_ns: Option<u64>,
    /// Ids of the auditors' keys to which its records are encrypted; none where they stand in the clear.
    pub encrypted_to: Vec<String>,
    /// What stands before it.
    #[serde(skip)]
    pub before: Base,
}

/// Looks through all segments. Nothing is checked: that is what verifying is for.
///
/// # Errors
/// What the system says.
pub fn list(store: &dyn Store, base: Base, mut progress: impl FnMut(u64)) -> io::Result<Vec<Segment>> {
    let mut before = base;
    let mut segments = Vec::new();
    for entry in store.entries() {
        let Some(number) = entry.segment() else { continue };
        let mut segment = Segment { number, bytes: entry.bytes, before: before.clone(), ..Segment::default() };
        for_each_block(store.open(entry)?, |block, offset| {
            look(block, offset, &mut segment, &mut before);
            ControlFlow::Continue(())
        })?;
        progress(entry.bytes);
        segments.push(segment);
    }
    Ok(segments)
}

fn look(block: &[u8], offset: u64, segment: &mut Segment, before: &mut Base) {
    let end = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
    match read(block) {
        Ok(Block::Packet(_)) => segment.packets = segment.packets.saturating_add(1),
        Ok(Block::Keys(body)) => {
            if let Ok(keys) = Keys::parse(body) {
                segment.encrypted_to = keys.recipients().collect();
            }
        }
        Ok(Block::Sealed(body)) => {
            let packets = Sealed::parse(body).map_or(0, |sealed| u64::from(sealed.packets));
            segment.packets = segment.packets.saturating_add(packets);
        }
        Ok(Block::Trailer(body)) => {
            let Ok(trailer) = Trailer::parse(body) else { return };
            let records = trailer.last_record.saturating_add(1).saturating_sub(trailer.first_record);
            segment.from_ns = segment.from_ns.or(Some(trailer.wall_ns));
            segment.to_ns = Some(trailer.wall_ns);
            if records > 0 {
                segment.first_record = segment.first_record.or(Some(trailer.first_record));
                segment.last_record = Some(trailer.last_record);
            }
            segment.records = segment.records.saturating_add(records);
            segment.blocks = segment.blocks.saturating_add(1);
            segment.whole_bytes = end;
            before.tree.push(body);
            before.records = trailer.last_record;
            before.trailer = sha256(body);
        }
        Ok(Block::Checkpoint(note)) if segment.whole_bytes == offset => {
            segment.whole_bytes = end;
            let text = std::str::from_utf8(note).ok().and_then(|note| note.rsplit_once("\n\n"));
            let read = text.and_then(|(text, _)| read_text(&format!("{text}\n")));
            segment.signed_ns = read.map(|read| read.time_ns).or(segment.signed_ns);
        }
        _ => {}
    }
}
