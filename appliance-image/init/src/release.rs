//! What the image that runs is: a file in it that its build wrote, and that the firmware checked with everything else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use semver::Version;
use serde::Deserialize;

use crate::{At, Failure};

/// Where the build puts it.
pub const FILE: &str = "/usr/lib/vambrace/release.toml";

/// What the build says of its image.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// The kind of machine that it runs on, as bundles name it.
    pub hardware: String,
    /// Version of the configuration file's keys that it reads.
    pub config_schema: u32,
    /// Security epoch: raised where no earlier version shall come back.
    pub epoch: u32,
    /// Public key of those who make updates: 64 hexadecimal digits.
    pub update_key: String,
    /// What an update has to show before it stays.
    pub trial: Trial,
}

/// When an update stays.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// For how many seconds everything must hold without a break.
    pub hold_seconds: u64,
    /// After how many seconds the box goes back to the version before.
    pub limit_seconds: u64,
    /// Most microseconds that a frame may be in the box, at 99 %.
    pub latency_us: u64,
}

impl Trial {
    /// For how long everything must hold.
    #[must_use]
    pub const fn hold(&self) -> Duration {
        Duration::from_secs(self.hold_seconds)
    }

    /// After how long the box goes back.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        Duration::from_secs(self.limit_seconds)
    }
}

impl Release {
    /// Reads it.
    ///
    /// # Errors
    /// The image was built without it, or wrongly.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let what = file.display().to_string();
        toml::from_str(&fs::read_to_string(file).at(&what)?).at(&what)
    }
}
