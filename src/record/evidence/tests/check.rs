//! What the page on the format says of a sound store, asked of the files. Written for tests of the writer: the verifier of
//! the house is another, and knows nothing of this one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;

type Hash = [u8; 32];

/// What stands in a sound store.
#[derive(Debug, Default)]
pub(in crate::record) struct Sound {
    pub(in crate::record) records: Vec<Value>,
    /// Interface, packet id, comment.
    pub(in crate::record) packets: Vec<(u32, u64, String)>,
    pub(in crate::record) leaves: u64,
    pub(in crate::record) first_leaf: u64,
    pub(in crate::record) last_record: u64,
    pub(in crate::record) checkpoints: Vec<(u64, String)>,
    /// Bytes behind the last whole block.
    pub(in crate::record) rest: usize,
    /// Largest evidence block.
    pub(in crate::record) longest: u64,
}

impl Sound {
    pub(in crate::record) fn events(&self) -> Vec<u64> {
        self.records.iter().filter_map(|record| record["event_id"].as_u64()).collect()
    }

    pub(in crate::record) fn words(&self, which: &str) -> Vec<&Value> {
        self.records.iter().filter(|record| record["evidence"] == which).collect()
    }

    pub(in crate::record) fn lost(&self) -> u64 {
        let gaps = self.words("gap");
        gaps.iter().map(|gap| gap["records"].as_u64().unwrap() + gap["frames"].as_u64().unwrap()).sum()
    }
}

struct Key {
    name: String,
    id: Vec<u8>,
    key: VerifyingKey,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::digest([&[1][..], left, right].concat()).into()
}

/// Root of the whole tree, computed anew: whole subtrees before, then leaves.
fn root(before: &[(u64, Hash)], leaves: &[Hash]) -> Hash {
    let mut stack: Vec<(u64, Hash)> = before.to_vec();
    for leaf in leaves {
        let mut top = (1, *leaf);
        while let Some((size, left)) = stack.last().filter(|(size, _)| *size == top.0).copied() {
            top = (size * 2, node(&left, &top.1));
            stack.pop();
        }
        stack.push(top);
    }
    let mut all = stack.into_iter().rev().map(|(_, hash)| hash);
    let last = all.next().unwrap_or_else(|| Sha256::digest([]).into());
    all.fold(last, |right, left| node(&left, &right))
}

fn subtrees(leaves: u64, frontier: &Value) -> Vec<(u64, Hash)> {
    let sizes = (0..64).rev().map(|bit| 1u64 << bit).filter(|size| leaves & size != 0);
    let hashes = frontier.as_array().unwrap().iter().map(|hash| unhex(hash.as_str().unwrap()));
    sizes.zip(hashes).collect()
}

fn unhex(text: &str) -> Hash {
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! demand {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

/// Whole blocks of a file, with where each begins, and the number of bytes behind.
fn blocks(bytes: &[u8]) -> (Vec<(usize, &[u8])>, usize) {
    let mut found = Vec::new();
    let mut at = 0;
    while bytes.len() >= at + 12 {
        let length = word(bytes, at + 4) as usize;
        if length < 12
            || !length.is_multiple_of(4)
            || at + length > bytes.len()
            || word(bytes, at + length - 4) as usize != length
        {
            break;
        }
        found.push((at, &bytes[at..at + length]));
        at += length;
    }
    (found, bytes.len() - at)
}

/// Checks the store.
pub(in crate::record) fn check(directory: &Path) -> Result<Sound, String> {
    let line = fs::read_to_string(directory.join("evidence.pub")).map_err(|error| error.to_string())?;
    let (name, rest) = line.trim_end().split_once('+').ok_or("key")?;
    let (id, base64) = rest.split_once('+').ok_or("key")?;
    let raw = STANDARD.decode(base64).map_err(|error| error.to_string())?;
    let hash = Sha256::digest([name.as_bytes(), b"\n", &raw].concat());
    demand!(hex(&hash[..4]) == id && raw[0] == 1, "key id");
    let key = Key {
        name: name.into(),
        id: hash[..4].to_vec(),
        key: VerifyingKey::from_bytes(raw[1..].try_into().unwrap()).map_err(|error| error.to_string())?,
    };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(number) = file.strip_prefix("evidence-").and_then(|rest| rest.strip_suffix(".pcapng")) {
            files.insert(number.parse::<u64>().map_err(|error| error.to_string())?, fs::read(path).unwrap());
        }
    }
    let prunes = all_prunes(&files);
    let mut sound = Sound::default();
    let mut checker = Checker { key, prunes, leaves: Vec::new(), base: None, before: [0; 32], record: 0, closed: true };
    let last = files.keys().last().copied().unwrap_or(0);
    let mut expected = None;
    for (segment, bytes) in &files {
        demand!(expected.is_none_or(|expected| expected == *segment), "segment {segment} does not follow");
        expected = Some(segment + 1);
        checker.segment(*segment, bytes, *segment == last, &mut sound)?;
    }
    sound.leaves = checker.count();
    sound.last_record = checker.record;
    Ok(sound)
}

fn all_prunes(files: &BTreeMap<u64, Vec<u8>>) -> Vec<Value> {
    let mut found = Vec::new();
    for bytes in files.values() {
        for (_, block) in blocks(bytes).0 {
            if word(block, 0) == 0xbad && block[16] == 1 {
                let length = word(block, 20) as usize;
                let value: Value = serde_json::from_slice(&block[24..24 + length]).unwrap();
                if value["evidence"] == "prune" {
                    found.push(value);
                }
            }
        }
    }
    found
}

struct Checker {
    key: Key,
    prunes: Vec<Value>,
    leaves: Vec<Hash>,
    base: Option<(u64, Vec<(u64, Hash)>)>,
    before: Hash,
    record: u64,
    /// Whether the last record was the close of its run.
    closed: bool,
}

impl Checker {
    fn count(&self) -> u64 {
        self.base.as_ref().map_or(0, |(leaves, _)| *leaves) + self.leaves.len() as u64
    }

    fn root(&self) -> Hash {
        root(self.base.as_ref().map_or(&[], |(_, subtrees)| subtrees.as_slice()), &self.leaves)
    }

    fn segment(&mut self, segment: u64, bytes: &[u8], is_last: bool, sound: &mut Sound) -> Result<(), String> {
        let (blocks, rest) = blocks(bytes);
        demand!(rest == 0 || is_last, "{rest} bytes behind segment {segment}");
        demand!(rest == 0 || !self.closed, "{rest} bytes behind the close in segment {segment}");
        sound.rest = rest;
        let (mut start, mut records, mut interfaces) = (0, Vec::new(), 0);
        let mut untrailed = 0;
        for (at, block) in &blocks {
            let place = format!("segment {segment} byte {at}");
            match (at, word(block, 0)) {
                (0, kind) => demand!(kind == 0x0a0d_0d0a, "{place}: no section header"),
                (_, 1) => interfaces += 1,
                (_, 4) => demand!(interfaces == 4, "{place}: names before interfaces"),
                (_, 6) => {
                    records.push(None);
                    sound.packets.push(packet(block));
                    untrailed += 1;
                }
                (_, 0xbad) => {
                    demand!(word(block, 8) == 32473 && &block[12..16] == b"VBR1", "{place}: not ours");
                    let length = word(block, 20) as usize;
                    let body = &block[24..24 + length];
                    demand!(
                        block[17..20] == [0; 3] && block[24 + length..block.len() - 4].iter().all(|b| *b == 0),
                        "{place}: zeros"
                    );
                    match block[16] {
                        1 => {
                            let record: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
                            untrailed += 1;
                            records.push(Some(record));
                        }
                        2 => {
                            self.trailer(segment, body, &bytes[start..*at], records.len() as u64, &place)?;
                            for record in records.drain(..) {
                                self.record(record, sound, &place)?;
                            }
                            sound.longest = sound.longest.max((at - start) as u64);
                            untrailed = 0;
                            start = at + block.len();
                            if self.base.as_ref().is_some_and(|(leaves, _)| *leaves > 0) || self.count() == 1 {
                                sound.first_leaf = self.base.as_ref().map_or(0, |(leaves, _)| *leaves);
                            }
                        }
                        3 => {
                            demand!(untrailed == 0, "{place}: records in front of a checkpoint have no trailer");
                            let note = std::str::from_utf8(body).map_err(|error| error.to_string())?;
                            self.checkpoint(note, &place)?;
                            sound.checkpoints.push((self.count(), note.to_owned()));
                        }
                        kind => return Err(format!("{place}: kind {kind}")),
                    }
                }
                (_, kind) => return Err(format!("{place}: block of type {kind}")),
            }
        }
        demand!(untrailed == 0 || (is_last && !self.closed), "segment {segment}: records without trailer");
        Ok(())
    }

    fn record(&mut self, record: Option<Value>, sound: &mut Sound, place: &str) -> Result<(), String> {
        self.closed = false;
        let Some(record) = record else { return Ok(()) };
        if record["evidence"] == "open" {
            // The leaf of this very block stands already.
            let stated = (record["leaves"].as_u64().unwrap(), unhex(record["root"].as_str().unwrap()));
            let leaf = self.leaves.pop().unwrap();
            let there = (self.count(), self.root());
            self.leaves.push(leaf);
            demand!(stated == there, "{place}: open states {} leaves or another root, {} are there", stated.0, there.0);
        }
        self.closed = record["evidence"] == "close";
        sound.records.push(record);
        Ok(())
    }

    fn trailer(&mut self, segment: u64, body: &[u8], covered: &[u8], records: u64, place: &str) -> Result<(), String> {
        demand!(body.len() == 232, "{place}: length");
        demand!(crc32fast::hash(&body[..228]) == word(body, 228), "{place}: crc");
        demand!(number(body, 0) == segment, "{place}: of another segment");
        if self.leaves.is_empty() && self.base.is_none() && number(body, 8) != 0 {
            let leaves = number(body, 8);
            let prune = self.prunes.iter().find(|prune| prune["leaves"] == leaves);
            let prune = prune.ok_or_else(|| format!("{place}: nothing tells what stood before leaf {leaves}"))?;
            self.base = Some((leaves, subtrees(leaves, &prune["frontier"])));
            self.before = unhex(prune["trailer"].as_str().unwrap());
            self.record = prune["records"].as_u64().unwrap();
        }
        demand!(number(body, 8) == self.count(), "{place}: leaf {} after {}", number(body, 8), self.count());
        demand!(number(body, 16) == self.record + 1, "{place}: first record");
        demand!(number(body, 24) == self.record + records, "{place}: last record");
        demand!(number(body, 104) == covered.len() as u64, "{place}: bytes covered");
        demand!(body[112..144] == Sha256::digest(covered)[..], "{place}: hash");
        demand!(body[144..176] == self.before, "{place}: chain");
        self.record += records;
        self.before = Sha256::digest(body).into();
        self.leaves.push(Sha256::digest([&[0][..], body].concat()).into());
        Ok(())
    }

    fn checkpoint(&self, note: &str, place: &str) -> Result<(), String> {
        let (text, line) = note.split_once("\n\n").ok_or("no note")?;
        let text = format!("{text}\n");
        let prefix = format!("\u{2014} {} ", self.key.name);
        let raw = STANDARD.decode(line.trim_end().strip_prefix(&prefix).ok_or("no signature")?).unwrap();
        demand!(raw[..4] == self.key.id, "{place}: another key");
        let signature = Signature::from_slice(&raw[4..]).map_err(|error| error.to_string())?;
        demand!(self.key.key.verify(text.as_bytes(), &signature).is_ok(), "{place}: signature");
        let lines: Vec<&str> = text.lines().collect();
        demand!(lines[0] == self.key.name, "{place}: origin");
        demand!(lines[1] == self.count().to_string(), "{place}: {} leaves signed, {} there", lines[1], self.count());
        demand!(lines[2] == STANDARD.encode(self.root()), "{place}: root");
        demand!(lines[4] == format!("records {}", self.record), "{place}: records");
        Ok(())
    }
}

fn packet(block: &[u8]) -> (u32, u64, String) {
    let kept = word(block, 20) as usize;
    let mut options = &block[28 + kept.next_multiple_of(4)..block.len() - 4];
    let (mut id, mut comment) = (0, String::new());
    loop {
        let code = u16::from_le_bytes([options[0], options[1]]);
        let length = usize::from(u16::from_le_bytes([options[2], options[3]]));
        let value = &options[4..4 + length];
        match code {
            0 => return (word(block, 8), id, comment),
            1 => comment = String::from_utf8(value.to_vec()).unwrap(),
            5 => id = number(value, 0),
            _ => {}
        }
        options = &options[4 + length.next_multiple_of(4)..];
    }
}
