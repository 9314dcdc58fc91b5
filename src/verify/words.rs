//! The store's own words: records that tell of the store and not of the robot.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::note::unhex;
use super::tree::{Hash, Tree};

/// A record with a member `evidence`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub(super) enum Word {
    /// A start.
    Open {
        name: String,
        key: String,
        counter: u64,
        leaves: u64,
        #[serde(deserialize_with = "hash")]
        root: Hash,
        clean: bool,
    },
    /// What a crash had left behind was cut off.
    Recovered { segment: u64, cut_bytes: u64, leaves: u64 },
    /// Records were lost.
    Gap { time_ns: u64, records: u64, frames: u64, why: String, since_ns: u64 },
    /// Old segments are about to be removed.
    Prune(Prune),
    /// An orderly end.
    Close { counter: u64 },
}

/// What stands in for removed segments.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Prune {
    pub(super) leaves: u64,
    pub(super) records: u64,
    pub(super) segments: (u64, u64),
    #[serde(deserialize_with = "hashes")]
    pub(super) frontier: Vec<Hash>,
    #[serde(deserialize_with = "hash")]
    pub(super) trailer: Hash,
}

impl Prune {
    /// The tree of what was removed.
    pub(super) fn tree(&self) -> Option<Tree> {
        Tree::of_frontier(self.leaves, self.frontier.clone())
    }
}

/// A hash in hex.
pub(super) fn hash<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
    let text = String::deserialize(from)?;
    unhex(&text).ok_or_else(|| D::Error::custom("this is no hash in lower-case hex"))
}

/// Hashes in hex.
pub(super) fn hashes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Hash>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| unhex(text).ok_or_else(|| D::Error::custom("this is no hash in lower-case hex"))).collect()
}

/// The word that a record is; `None` for an event.
///
/// # Errors
/// It has the member and is none that is known.
pub(super) fn read(record: &[u8]) -> Result<Option<Word>, String> {
    // Most records are events: what holds these bytes nowhere is none of ours, and is not parsed.
    if memchr::memmem::find(record, b"\"evidence\"").is_none() {
        return Ok(None);
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(record) else {
        return Err("a record is not JSON".into());
    };
    if value.get("evidence").is_none() {
        return Ok(None);
    }
    serde_json::from_value(value)
        .map(Some)
        .map_err(|error| format!("a record of the store's own is malformed: {error}"))
}
