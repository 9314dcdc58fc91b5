//! The table of contents of an export.

use serde::{Deserialize, Serialize};

use super::Base;
use super::note::hex;
use super::tree::{Hash, Tree};
use super::words::{hash, hashes};

/// Name of the file.
pub const MANIFEST: &str = "manifest.json";
/// Longest that is read, in bytes: a store of ten years in segments of ten minutes.
pub(super) const MAX_MANIFEST: u64 = 128 << 20;

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// `manifest.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Manifest {
    /// Version of this table: 1.
    pub vambrace_evidence: u32,
    /// Name of the box.
    pub name: String,
    /// When the export was made, RFC 3339.
    pub created: String,
    /// Of the program that made it.
    pub version: String,
    /// What follows, in order.
    pub files: Vec<Named>,
    /// What was left out at the begin.
    pub before: Option<Before>,
}

/// What was left out at the begin of an export.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Before {
    leaves: u64,
    records: u64,
    #[serde(deserialize_with = "hashes", serialize_with = "hexes")]
    frontier: Vec<Hash>,
    #[serde(deserialize_with = "hash", serialize_with = "as_hex")]
    trailer: Hash,
}

fn as_hex<S: serde::Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex(hash))
}

fn hexes<S: serde::Serializer>(hashes: &[Hash], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(hashes.iter().map(|hash| hex(hash)))
}

impl Before {
    /// What stands before a segment; `None` where nothing does.
    #[must_use]
    pub fn of(base: &Base) -> Option<Self> {
        (base.tree.leaves() > 0).then(|| Self {
            leaves: base.tree.leaves(),
            records: base.records,
            frontier: base.tree.frontier().to_vec(),
            trailer: base.trailer,
        })
    }

    pub(super) fn base(&self) -> Option<Base> {
        let tree = Tree::of_frontier(self.leaves, self.frontier.clone())?;
        Some(Base { tree, records: self.records, trailer: self.trailer, by: "export", told_in: None })
    }
}
