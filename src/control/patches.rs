use serde::{Deserialize, Serialize};

/// What became of known attacks when they were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchReport {
    /// Version of the pack.
    pub pack: u32,
    /// Where it came from: a file, or the program itself.
    pub source: String,
    /// Version of ATT&CK for ICS that its techniques are of.
    pub attack: String,
    /// The controller's version that entries were chosen for; absent where it was not seen, and every entry counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// Generation of the policy that was tried.
    pub generation: u32,
    /// The mode that states were told under.
    pub mode: String,
    /// Peers that vectors were tried from.
    pub peers: Vec<String>,
    /// Its entries.
    pub patches: Vec<PatchStatus>,
}

/// One entry of a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchStatus {
    /// Its id.
    pub id: String,
    /// What it is.
    pub title: String,
    /// CVE ids.
    #[serde(default)]
    pub cve: Vec<String>,
    /// Numbers in the Robot Vulnerability Database.
    #[serde(default)]
    pub rvd: Vec<u32>,
    /// Techniques of ATT&CK for ICS.
    #[serde(default)]
    pub techniques: Vec<String>,
    /// Versions that it is about.
    #[serde(default)]
    pub affected: String,
    /// `yes`, `partly` or `no`, as the pack claims.
    pub contained: String,
    /// By what: `grammar`, `rule`, `default`.
    #[serde(default)]
    pub how: Vec<String>,
    /// What came of it here.
    pub state: PatchState,
    /// Why it is so; one sentence each.
    #[serde(default)]
    pub why: Vec<String>,
    /// What stays open though it is contained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// When an exemption of the policy ends, where one lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt_until: Option<String>,
    /// Exchanges that were tried.
    pub tried: u32,
    /// Those of which nothing came through.
    pub refused: u32,
    /// Harmless exchanges that were tried where a rule allows everything.
    pub harmless: u32,
    /// Those that came through whole.
    pub passed: u32,
}

/// Whether an entry's attack is contained here and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchState {
    /// Nothing of it came through.
    Protected,
    /// Something did, or would, as the mode does not enforce.
    NotProtected,
    /// It is not about this controller.
    NotApplicable,
    /// It does not pass the box.
    NotContainable,
    /// It was not tried in time.
    #[default]
    Untested,
}

impl PatchState {
    /// The words for it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::NotProtected => "NOT PROTECTED",
            Self::NotApplicable => "not applicable",
            Self::NotContainable => "cannot be contained here",
            Self::Untested => "not tried",
        }
    }
}

impl PatchReport {
    /// How many entries are in this state.
    #[must_use]
    pub fn count(&self, state: PatchState) -> u16 {
        let count = self.patches.iter().filter(|patch| patch.state == state).count();
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// Whether something that is about this controller is not known to be contained, or something harmless is refused.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.patches.iter().any(|patch| {
            matches!(patch.state, PatchState::NotProtected | PatchState::Untested) || patch.passed < patch.harmless
        })
    }

    /// The same in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |state| self.count(state);
        let untested = count(PatchState::Untested);
        let rest = if untested == 0 { String::new() } else { format!(", {untested} not tried") };
        format!(
            "{} protected, {} not protected, {} not applicable, {} cannot be contained here{rest}",
            count(PatchState::Protected),
            count(PatchState::NotProtected),
            count(PatchState::NotApplicable),
            count(PatchState::NotContainable)
        )
    }
}
