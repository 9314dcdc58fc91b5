//! Keys, signed notes and checkpoints.
//!
//! Source: C2SP signed-note and tlog-checkpoint.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

use super::tree::{Hash, sha256};

/// Longest note that is read, in bytes: a checkpoint and room for what witnesses add.
pub(super) const MAX_NOTE: usize = 16 << 10;

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
    line: String,
}

impl Key {
    /// Reads `NAME+HHHHHHHH+BASE64`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, &'static str> {
        let mut parts = line.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("this is no line NAME+ID+KEY");
        };
        if name.is_empty() || name.chars().any(|char| char.is_whitespace() || char.is_control()) {
            return Err("the name is empty or holds blanks");
        }
        let bytes = STANDARD.decode(key).map_err(|_| "the key is not base64")?;
        let Some(([1], key)) = bytes.split_first_chunk() else { return Err("the key is not of the kind Ed25519") };
        let raw = key.try_into().map_err(|_| "the key is not 32 bytes long")?;
        let found = key_id(name, &bytes);
        if hex(&found) != id {
            return Err("the key's id is not that of its name and bytes");
        }
        let key = VerifyingKey::from_bytes(raw).map_err(|_| "the key is no point of Ed25519")?;
        if key.is_weak() {
            return Err("the key is weak: anything is a signature under it");
        }
        Ok(Self { name: name.to_owned(), id: found, key, line: line.to_owned() })
    }

    /// Name of the box.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole line.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The key's id in hex.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// What people compare: SHA-256 over the line without its line feed, in hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(&sha256(self.line.as_bytes()))
    }
}

/// The id of a key. Source: C2SP signed-note, "Verifier keys".
fn key_id(name: &str, key: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(&[name.as_bytes(), b"\n", key].concat());
    [a, b, c, d]
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash out of lower-case hex.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// What a checkpoint commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of leaves.
    pub leaves: u64,
    /// Root of those.
    pub root: Hash,
    /// When it was signed, nanoseconds since 1970.
    pub time_ns: u64,
    /// Number of the last record in those leaves.
    pub records: u64,
    /// Of the run.
    pub counter: u64,
}

/// Why a note is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoteError {
    /// It is of another box.
    OtherOrigin,
    /// What is wrong with it.
    Wrong(&'static str),
}

/// Reads a checkpoint and checks its signature. In a store the box signs alone; a witness may have added signatures of
/// its own behind the box's, which are passed over.
pub(super) fn checkpoint(note: &[u8], key: &Key, alone: bool) -> Result<Checkpoint, NoteError> {
    use NoteError::Wrong;
    let note = std::str::from_utf8(note).map_err(|_| Wrong("the checkpoint is not UTF-8"))?;
    let at = note.rfind("\n\n").ok_or(Wrong("the checkpoint has no signature"))?;
    let text = note.get(..at.saturating_add(1)).unwrap_or_default();
    let signatures = note.get(at.saturating_add(2)..).unwrap_or_default();
    let signatures = signatures.strip_suffix('\n').ok_or(Wrong("the checkpoint's signature is cut short"))?;
    let origin = text.split('\n').next().unwrap_or_default();
    if origin != key.name {
        return Err(NoteError::OtherOrigin);
    }
    let mut found = None;
    for line in signatures.split('\n') {
        let line = line.strip_prefix("\u{2014} ").ok_or(Wrong("the checkpoint's signature is malformed"))?;
        let (name, signature) = line.split_once(' ').ok_or(Wrong("the checkpoint's signature is malformed"))?;
        let bytes = STANDARD.decode(signature).map_err(|_| Wrong("the checkpoint's signature is not base64"))?;
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
            return Err(Wrong("the checkpoint's signature is cut short"));
        };
        if name == key.name && *id == key.id {
            if found.is_some() {
                return Err(Wrong("the checkpoint is signed twice"));
            }
            found = Some(<[u8; 64]>::try_from(signature).map_err(|_| Wrong("the signature is not 64 bytes long"))?);
        } else if alone {
            return Err(Wrong("the checkpoint is signed with another key"));
        }
    }
    let signature = Signature::from_bytes(&found.ok_or(Wrong("the checkpoint is not signed with the box's key"))?);
    let read = read_text(text).ok_or(Wrong("the checkpoint's text is malformed"))?;
    key.key
        .verify_strict(text.as_bytes(), &signature)
        .map_err(|_| Wrong("the checkpoint's signature does not hold"))?;
    Ok(read)
}

/// Reads the six lines of a checkpoint.
pub(super) fn read_text(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix('\n')?.split('\n').skip(1);
    let leaves = decimal(lines.next()?)?;
    let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    let time_ns = decimal(lines.next()?.strip_prefix("time_ns ")?)?;
    let records = decimal(lines.next()?.strip_prefix("records ")?)?;
    let counter = decimal(lines.next()?.strip_prefix("counter ")?)?;
    lines.next().is_none().then_some(Checkpoint { leaves, root, time_ns, records, counter })
}

/// A number as it may be written in one way only.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}
