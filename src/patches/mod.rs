//! Virtual patches: which known attacks on this very controller are contained, and by what. Pure: text and bytes in.
//!
//! A [`Pack`] is a list of entries, one a known flaw. Some are contained by the reader for everybody, some since nothing
//! passes without a rule; some bring deny rules, in the policy's own words, which are in force beside the policy where the
//! controller's version is one that they are about. Each has what its attack says on the wire, so that whether it is
//! contained is tried and not believed.
//!
//! One pack is built in; a newer one may come in a file that its issuer signed.

mod read;
mod signature;
mod vector;
mod version;

use std::fmt;

pub use signature::{PublicKey, SecretKey, SignatureError};
pub use vector::{Carrier, Claim, Sender, Vector};
pub use version::{Generation, Version};

use crate::command::Service;
use crate::document::Problems;
use crate::event::Reason;
use crate::policy::{Denials, Exemption, Policy, Tightening};
use version::Range;

/// The pack that is built in.
pub const BUILT_IN: &str = include_str!("pack.toml");

/// What records and people call it.
pub const BUILT_IN_NAME: &str = "the built-in pack";

/// Virtual patches of one issue.
#[derive(Clone, Debug)]
pub struct Pack {
    version: u32,
    attack: String,
    patches: Vec<Patch>,
}

/// One known flaw, or a group that is contained alike.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its id: the first CVE, else the first number in the Robot Vulnerability Database, else a word.
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// CVE ids.
    pub cve: Vec<String>,
    /// Numbers in the Robot Vulnerability Database (issues of aliasrobotics/RVD).
    pub rvd: Vec<u32>,
    /// Techniques of ATT&CK for ICS.
    pub techniques: Vec<String>,
    /// Where it is described.
    pub source: Vec<String>,
    /// Whether the box contains it.
    pub contained: Contained,
    /// By what.
    pub how: Vec<How>,
    /// The same in words; of what can't be contained, why.
    pub because: String,
    /// What stays open, where anything does.
    pub open: Option<String>,
    /// Refusals that name it: how the reader's refusal of its attack looks, where nothing harmless is refused so.
    pub signs: Vec<Sign>,
    /// What an attack says.
    pub vectors: Vec<Vector>,
    /// What must pass where a rule allows it.
    pub harmless: Vec<Vector>,
    affected: Vec<Range>,
    denials: Denials,
}

/// How a refusal by the reader looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Of which service; none = of whichever.
    pub service: Option<Service>,
    /// Why it was refused.
    pub reason: Reason,
}

/// Whether an attack is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contained {
    /// What the attack needs does not reach the robot.
    Yes,
    /// The transfer before it or what follows it does not.
    Partly,
    /// It does not pass the box.
    No,
}

impl Contained {
    /// Names and values.
    pub const NAMED: [(&'static str, Self); 3] = [("yes", Self::Yes), ("partly", Self::Partly), ("no", Self::No)];

    /// The name in packs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
        }
    }
}

/// By what an attack is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// The reader refuses its class for everybody, whatever the policy says.
    Grammar,
    /// Deny rules of the entry refuse it beside the policy.
    Rule,
    /// It needs a rule of the policy to pass.
    Default,
}

impl How {
    /// Names and values.
    pub const NAMED: [(&'static str, Self); 3] =
        [("grammar", Self::Grammar), ("rule", Self::Rule), ("default", Self::Default)];

    /// The name in packs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grammar => "grammar",
            Self::Rule => "rule",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a pack is not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PackError {
    /// Not its issuer's.
    #[error("{0}: {1}; the pack in force stays")]
    Signature(String, SignatureError),
    /// No UTF-8, or mistakes in it.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// An earlier issue than the one that is built in.
    #[error("{file}: version {version} is older than {built_in}, the version of {BUILT_IN_NAME}; take a newer one")]
    Older {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
        /// The built-in one's.
        built_in: u32,
    },
}

impl Pack {
    /// The pack that is built in.
    ///
    /// # Panics
    /// Never: a test reads the same text.
    #[must_use]
    #[expect(clippy::expect_used, reason = "text of this program, which a test reads")]
    pub fn built_in() -> Self {
        Self::read(BUILT_IN_NAME, BUILT_IN).expect("the built-in pack")
    }

    /// Reads the text of a pack; `name` is what problems call it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn read(name: &str, text: &str) -> Result<Self, Problems> {
        read::pack(name, text)
    }

    /// A pack from a file, if `key` signed it and it is no older than the one that is built in. Nothing of it is read
    /// before the signature is known to be good.
    ///
    /// # Errors
    /// The signature, the text or the version is wrong.
    pub fn signed(name: &str, bytes: &[u8], signature: &str, key: &PublicKey) -> Result<Self, PackError> {
        key.verify(bytes, signature).map_err(|error| PackError::Signature(name.to_owned(), error))?;
        let text = Problems::text(std::path::Path::new(name), Ok(bytes.to_vec()))?;
        let pack = Self::read(name, &text)?;
        let built_in = Self::built_in().version;
        if pack.version < built_in {
            return Err(PackError::Older { file: name.to_owned(), version: pack.version, built_in });
        }
        Ok(pack)
    }

    /// Its version: a number that grows with every issue.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The version of ATT&CK for ICS that its techniques are of.
    #[must_use]
    pub fn attack(&self) -> &str {
        &self.attack
    }

    /// Its entries, in the order of the file.
    #[must_use]
    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// The entry with this id.
    #[must_use]
    pub fn patch(&self, id: &str) -> Option<&Patch> {
        self.patches.iter().find(|patch| patch.id == id)
    }

    /// The deny rules that are in force beside a policy where a controller of `version` is guarded; of an unknown one all
    /// are. Those that the policy exempts itself from at `wall_ns` (nanoseconds since 1970) rest until the exemption ends.
    #[must_use]
    pub fn tightenings(&self, version: Option<Version>, policy: &Policy, wall_ns: u64) -> Vec<Tightening<'_>> {
        let own = self.patches.iter().filter(|patch| !patch.denials.is_empty() && patch.applies(version));
        own.map(|patch| Tightening {
            id: &patch.id,
            denials: &patch.denials,
            rests_until: patch.exemption(policy).filter(|it| it.lasts(wall_ns)).map(|it| it.until),
        })
        .collect()
    }

    /// What is odd about a policy's exemptions though it compiles, one line each; `file` is the policy's name.
    #[must_use]
    pub fn doubts(&self, file: &str, policy: &Policy, wall_ns: u64) -> Vec<String> {
        let doubt = |exemption: &Exemption| {
            let (line, column) = exemption.place;
            let id = &exemption.patch;
            let (what, mend) = match self.patch(id) {
                None => {
                    let near = crate::document::nearest(id, self.patches.iter().map(|patch| patch.id.as_str()));
                    let mend =
                        near.map_or("see `vambrace patches status`".to_owned(), |near| format!("write \"{near}\""));
                    (format!("\"{id}\" is no patch of the pack in force"), mend)
                }
                Some(_) if !exemption.lasts(wall_ns) => {
                    (format!("the exemption from {id} ended at {}", exemption.until), "take it out".to_owned())
                }
                Some(patch) if patch.denials.is_empty() => {
                    let what = format!("{id} has no deny rules, so that the exemption changes only what is reported");
                    (what, "take it out, or keep it as a note".to_owned())
                }
                Some(_) => return None,
            };
            Some(format!("{file}:{line}:{column}: {what}; {mend}"))
        };
        policy.exemptions().iter().filter_map(doubt).collect()
    }
}

impl Patch {
    /// Whether it is about a controller of this version; an unknown one may be any.
    #[must_use]
    pub fn applies(&self, version: Option<Version>) -> bool {
        match version {
            None => !self.affected.is_empty(),
            Some(version) => self.affected.iter().any(|range| range.holds(version)),
        }
    }

    /// The versions that it is about, in words; empty where no controller of Universal Robots has the flaw.
    #[must_use]
    pub fn affected(&self) -> String {
        self.affected.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whether it is about controllers of Universal Robots at all.
    #[must_use]
    pub fn is_of_controllers(&self) -> bool {
        !self.affected.is_empty()
    }

    /// How many deny rules it has.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.denials.len()
    }

    /// What a policy says to exempt itself from it.
    #[must_use]
    pub fn exemption<'p>(&self, policy: &'p Policy) -> Option<&'p Exemption> {
        policy.exemptions().iter().find(|exemption| exemption.patch == self.id)
    }
}

#[cfg(test)]
mod tests;
