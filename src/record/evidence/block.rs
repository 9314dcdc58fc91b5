//! The store's own blocks: custom blocks with a kind, trailers, and the words about the store itself.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::pcapng;
use super::tree::Hash;

/// Private enterprise number for documentation (RFC 5612), until one is owned.
pub(super) const ENTERPRISE: u32 = 32473;

/// What every payload of ours begins with.
pub(super) const MAGIC: [u8; 4] = *b"VBR1";

/// A custom block's kind.
pub(super) const RECORD: u8 = 1;
pub(super) const TRAILER: u8 = 2;
pub(super) const CHECKPOINT: u8 = 3;

/// Bytes of a trailer's body.
pub(super) const TRAILER_LEN: usize = 232;

/// Appends a custom block of ours.
pub(super) fn custom(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    pcapng::custom(out, ENTERPRISE, &[&MAGIC, &[kind, 0, 0, 0], &length.to_le_bytes(), body]);
}

/// Kind and body of a custom block of ours; `body` is the pcapng block's body.
pub(super) fn split(body: &[u8]) -> Option<(u8, &[u8])> {
    let (enterprise, rest) = body.split_first_chunk()?;
    let (magic, rest) = rest.split_first_chunk()?;
    let ([kind, ..], rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk()?;
    let ours = u32::from_le_bytes(*enterprise) == ENTERPRISE && *magic == MAGIC;
    ours.then(|| rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)).flatten().map(|body| (*kind, body))
}

/// Whether the wall clock is held for synchronised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockState {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It runs by itself.
    Free,
    /// Something keeps it with the time of others.
    Synchronised,
}

/// Frames of both ports since the packet process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Received.
    pub received: u64,
    /// Sent, crafted ones included.
    pub sent: u64,
    /// Refused.
    pub refused: u64,
}

/// What ends an evidence block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) segment: u64,
    pub(super) number: u64,
    pub(super) first_record: u64,
    pub(super) last_record: u64,
    pub(super) monotonic_ns: u64,
    pub(super) wall_ns: u64,
    pub(super) clock: ClockState,
    pub(super) boot_id: [u8; 16],
    pub(super) frames: FrameCounts,
    pub(super) lost: u64,
    pub(super) covered: u64,
    pub(super) hash: Hash,
    pub(super) before: Hash,
}

impl Trailer {
    /// Its bytes: a leaf of the tree.
    pub(super) fn emit(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(TRAILER_LEN);
        let numbers = [self.segment, self.number, self.first_record, self.last_record, self.monotonic_ns, self.wall_ns];
        for number in numbers {
            body.extend(number.to_le_bytes());
        }
        let clock = match self.clock {
            ClockState::Unknown => 0,
            ClockState::Free => 1,
            ClockState::Synchronised => 2,
        };
        body.extend([clock, 0, 0, 0, 0, 0, 0, 0]);
        body.extend(self.boot_id);
        let frames = self.frames;
        for number in [frames.received, frames.sent, frames.refused, self.lost, self.covered] {
            body.extend(number.to_le_bytes());
        }
        body.extend(self.hash);
        body.extend(self.before);
        body.resize(TRAILER_LEN.saturating_sub(4), 0);
        let crc = crc32fast::hash(&body);
        body.extend(crc.to_le_bytes());
        body
    }

    /// The trailer that these bytes are, if length and CRC hold.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let (rest, crc) = body.split_last_chunk()?;
        if body.len() != TRAILER_LEN || crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let number = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let hash = |at: usize| body.get(at..)?.first_chunk::<32>().copied();
        Some(Self {
            segment: number(0)?,
            number: number(8)?,
            first_record: number(16)?,
            last_record: number(24)?,
            monotonic_ns: number(32)?,
            wall_ns: number(40)?,
            clock: match body.get(48)? {
                1 => ClockState::Free,
                2 => ClockState::Synchronised,
                _ => ClockState::Unknown,
            },
            boot_id: *body.get(56..)?.first_chunk()?,
            frames: FrameCounts { received: number(72)?, sent: number(80)?, refused: number(88)? },
            lost: number(96)?,
            covered: number(104)?,
            hash: hash(112)?,
            before: hash(144)?,
        })
    }
}

/// The hash that the next trailer names.
pub(super) fn hash(body: &[u8]) -> Hash {
    Sha256::digest(body).into()
}

/// What the store says of itself, as a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "lowercase")]
pub(super) enum Word {
    /// A run begins.
    Open {
        name: String,
        key: String,
        version: String,
        boot_id: String,
        counter: u64,
        leaves: u64,
        root: String,
        clean: bool,
    },
    /// The run before ended without a word.
    Recovered { segment: u64, cut_bytes: u64, leaves: u64 },
    /// Records were lost.
    Gap { records: u64, frames: u64, why: Why, since_ns: u64 },
    /// The oldest segments are removed.
    Prune { leaves: u64, records: u64, segments: [u64; 2], frontier: Vec<String>, trailer: String, why: PruneWhy },
    /// The run ends.
    Close { counter: u64 },
}

/// Why records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Why {
    /// The recorder came not after.
    Queue,
    /// The disk refused for too long.
    Disk,
    /// The budget leaves no room.
    Budget,
    /// The packet process before was killed while they waited.
    Killed,
}

/// Why segments are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PruneWhy {
    /// The budget is used up.
    Size,
    /// They are older than asked for.
    Age,
}

/// A word with its times.
#[derive(Serialize, Deserialize)]
struct Timed {
    #[serde(flatten)]
    word: Word,
    time_ns: u64,
    monotonic_ns: u64,
}

impl Word {
    /// The word as a JSON object, `evidence` first.
    pub(super) fn json(&self, wall_ns: u64, monotonic_ns: u64) -> String {
        let timed = Timed { word: self.clone(), time_ns: wall_ns, monotonic_ns };
        // Plain numbers, texts and lists: nothing in it that JSON can't say.
        serde_json::to_string(&timed).unwrap_or_default()
    }

    /// The word in a record's body, if it is one. Events begin with other members.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        if !body.starts_with(b"{\"evidence\":") {
            return None;
        }
        serde_json::from_slice::<Timed>(body).ok().map(|timed| timed.word)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn trailers_stand_as_the_format_says() {
        // The check value of CRC-32 as every catalogue of them has it.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        let trailer = Trailer {
            segment: 1,
            number: 2,
            first_record: 3,
            last_record: 4,
            monotonic_ns: 5,
            wall_ns: 6,
            clock: ClockState::Synchronised,
            boot_id: [7; 16],
            frames: FrameCounts { received: 8, sent: 9, refused: 10 },
            lost: 11,
            covered: 12,
            hash: [13; 32],
            before: [14; 32],
        };
        let body = trailer.emit();
        assert_eq!(body.len(), 232);
        for (at, byte) in
            [(0, 1), (8, 2), (16, 3), (24, 4), (32, 5), (40, 6), (48, 2), (56, 7), (71, 7), (72, 8), (80, 9), (88, 10)]
        {
            assert_eq!(body[at], byte, "byte {at}");
        }
        assert_eq!((body[96], body[104], body[112], body[143], body[144], body[175]), (11, 12, 13, 13, 14, 14));
        assert!(body[176..228].iter().all(|byte| *byte == 0));
        assert_eq!(Trailer::parse(&body), Some(trailer));
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 0x10;
            assert_eq!(Trailer::parse(&flipped), None, "byte {at}");
        }
    }

    #[test]
    fn blocks_and_words_are_read_back() {
        let word = Word::Gap { records: 3, frames: 0, why: Why::Disk, since_ns: 9 };
        let json = word.json(11, 12);
        let text =
            r#"{"evidence":"gap","records":3,"frames":0,"why":"disk","since_ns":9,"time_ns":11,"monotonic_ns":12}"#;
        assert_eq!(json, text);
        assert_eq!(Word::parse(json.as_bytes()), Some(word));
        assert_eq!(Word::parse(br#"{"timestamp":"x","evidence":"close"}"#), None);
        let mut out = Vec::new();
        custom(&mut out, RECORD, b"{}x");
        assert_eq!(out.len() % 4, 0);
        assert_eq!(&out[..4], &[0xad, 0x0b, 0, 0]);
        assert_eq!(&out[8..24], b"\xd9\x7e\0\0VBR1\x01\0\0\0\x03\0\0\0");
        assert_eq!(split(&out[8..out.len() - 4]), Some((RECORD, &b"{}x"[..])));
        assert_eq!(split(b"\xd9\x7e\0\0VBR1\x01\0\0\0\xff\0\0\0{}"), None);
    }
}
