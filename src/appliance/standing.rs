use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What was ordered while running and must outlive the packet process: mode, policy, generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Mode in force.
    pub mode: String,
    /// Mode that comes back, and when: seconds since 1970.
    pub mode_until: Option<(String, u64)>,
    /// Where the policy came from.
    pub policy_name: String,
    /// The policy's text.
    pub policy_text: String,
    /// The policy before, for a roll-back.
    pub previous: Option<(String, String)>,
    /// Generation of the policy in force.
    pub generation: u32,
    /// How often the packet process was replaced since the supervisor began; as handed over, not as stored.
    pub restarts: u32,
}

impl Standing {
    /// Where it lies beside the records.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join("standing.json")
    }

    /// Reads it; absent where there is none or it can't be understood.
    #[must_use]
    pub fn load(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(directory)).ok()?).ok()
    }

    /// Whether the same is in force by both, whatever their generations.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.mode_until == other.mode_until
            && self.policy_name == other.policy_name
            && self.policy_text == other.policy_text
    }

    /// Writes it whole or not at all, also across a power cut.
    ///
    /// # Errors
    /// The disk's.
    pub fn store(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let path = Self::path(directory);
        let fresh = path.with_extension("json.new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        fs::File::open(directory)?.sync_all()
    }
}
