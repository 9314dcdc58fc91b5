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
    /// The bypass that was ordered last, also where it is over.
    #[serde(default)]
    pub bypass: Option<Bypassed>,
    /// How often the packet process was replaced since the supervisor began; as handed over, not as stored.
    pub restarts: u32,
}

/// Frames led past the box for a while. Wall clock, seconds since 1970, since it must end after a power cut too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypassed {
    /// When it was ordered.
    pub since: u64,
    /// When it ends.
    pub until: u64,
    /// Uid of who asked.
    pub uid: u32,
}

impl Bypassed {
    /// Seconds that are left at `now`. A clock that stands before the order, as one does that lost its battery, has
    /// nothing to say of the end: it is over then.
    #[must_use]
    pub fn left(&self, now: u64) -> Option<u64> {
        if now < self.since { None } else { self.until.checked_sub(now).filter(|left| *left > 0) }
    }
}

impl Standing {
    /// Orders of nobody: observe, no policy.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            mode: "observe".to_owned(),
            mode_until: None,
            policy_name: "none".to_owned(),
            policy_text: String::new(),
            previous: None,
            generation: 0,
            bypass: None,
            restarts: 0,
        }
    }

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
