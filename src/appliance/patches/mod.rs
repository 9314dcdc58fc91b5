//! Virtual patches in force: which pack, beside which policy, and what comes of trying them.

mod keeper;
mod trials;

use std::path::PathBuf;

pub(super) use keeper::{Job, Keeper};
pub use trials::{Limits, try_all, under_mode};

use super::Failure;
use crate::config::Config;
use crate::export::KnownAttack;
use crate::patches::{BUILT_IN_NAME, Pack, PublicKey, Version};
use crate::policy::{Moment, Policy};

/// A pack and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The pack.
    pub pack: Pack,
    /// Its file, or that it is built in.
    pub source: String,
    /// Why it is not the one of the configuration, where it is not.
    pub trouble: Option<String>,
}

impl Loaded {
    /// The pack that is built in.
    #[must_use]
    pub fn built_in() -> Self {
        Self { pack: Pack::built_in(), source: BUILT_IN_NAME.to_owned(), trouble: None }
    }

    /// The pack that a configuration names; without one, the built-in one.
    ///
    /// # Errors
    /// Its file or signature can't be read, or the pack is not to be taken; one line an error.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let (Some(file), Some(key)) = (&config.patches.file, &config.patches.key) else { return Ok(Self::built_in()) };
        let key: PublicKey = key.parse().map_err(|error| Failure::new(2, format!("[patches] key: {error}")))?;
        let name = file.display().to_string();
        let beside = signature_path(file);
        let bytes = std::fs::read(file).map_err(|error| Failure::new(2, format!("{name}: {error}")))?;
        let signature = std::fs::read_to_string(&beside).map_err(|error| {
            Failure::new(2, format!("{}: {error}; a pack is taken only with its signature beside it", beside.display()))
        })?;
        let pack = Pack::signed(&name, &bytes, &signature, &key).map_err(|error| {
            let lines = error.to_string().lines().map(str::to_owned).collect();
            Failure { lines, code: 2 }
        })?;
        Ok(Self { pack, source: name, trouble: None })
    }

    /// The same; where it can't be taken, the built-in one and why. For a process that has to go on.
    #[must_use]
    pub fn of_or_built_in(config: &Config) -> Self {
        Self::of(config).unwrap_or_else(|failure| Self {
            trouble: Some(format!("the built-in pack of virtual patches is in force: {}", failure.lines.join("; "))),
            ..Self::built_in()
        })
    }

    /// What records call the known attacks on a controller of `version`; of an unknown one all are.
    #[must_use]
    pub fn known_attacks(&self, version: Option<Version>) -> Vec<KnownAttack> {
        let own = self.pack.patches().iter().filter(|patch| patch.applies(version));
        own.map(|patch| KnownAttack {
            id: patch.id.clone(),
            cve: patch.cve.clone(),
            rvd: patch.rvd.clone(),
            signs: patch.signs.iter().map(|sign| (sign.service, sign.reason)).collect(),
        })
        .collect()
    }

    /// A policy with the deny rules of this pack beside its own, for a controller of `version`.
    #[must_use]
    pub fn tighten(&self, policy: &Policy, version: Option<Version>, generation: u32, moment: Moment) -> Policy {
        policy.tightened(&self.pack.tightenings(version, policy, moment.wall_ns), generation, moment)
    }
}

/// Where the signature of a pack lies.
#[must_use]
pub fn signature_path(file: &std::path::Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}
