use serde::{Deserialize, Serialize};

/// What can be ordered of the updater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOrder {
    /// Take the bundle that was handed over before.
    Apply,
    /// Keep the version that is on trial.
    Confirm,
    /// Go back to the version before.
    Rollback,
}

impl UpdateOrder {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Confirm => "confirm",
            Self::Rollback => "rollback",
        }
    }
}

/// What the updater does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// It waits for orders.
    #[default]
    Idle,
    /// It checks a bundle or writes a slot.
    Busy,
    /// The version that runs is on trial.
    Trial,
    /// The box starts again in a moment.
    Restarting,
}

/// How an order ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateResult {
    /// It is being carried out.
    #[default]
    Pending,
    /// It was carried out.
    Done,
    /// It was refused.
    Refused,
    /// It was refused since it would be unsafe now.
    Unsafe,
}

/// The state of updates, as the appliance's updater tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Version that runs.
    pub version: String,
    /// The slot that it runs from.
    pub slot: String,
    /// The slot that starts first.
    pub first: String,
    /// What the other slot holds: its version, or why that is not known.
    pub other: String,
    /// Lowest security epoch that may run.
    pub epoch: u32,
    /// What the updater does.
    pub state: UpdateState,
    /// On trial: for how many seconds everything has held.
    pub held_seconds: u64,
    /// For how many it must.
    pub hold_seconds: u64,
    /// On trial: seconds until the box goes back.
    pub left_seconds: u64,
    /// On trial: what does not hold; one sentence each.
    #[serde(default)]
    pub unmet: Vec<String>,
    /// The mark of the order that was taken up last.
    #[serde(default)]
    pub order: String,
    /// How it ended.
    #[serde(default)]
    pub result: UpdateResult,
    /// The same in a sentence.
    #[serde(default)]
    pub outcome: String,
    /// Steps of updates, the newest last.
    #[serde(default)]
    pub steps: Vec<UpdateStep>,
}

/// One step of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStep {
    /// Seconds since 1970, by the clock of the box.
    #[serde(default)]
    pub at: u64,
    /// `refused`, `begun`, `written`, `tried`, `committed` or `reverted`.
    pub step: String,
    /// The version before.
    pub from: String,
    /// The version that was to come.
    pub to: String,
    /// Who ordered it.
    pub who: String,
    /// Why, where there is something to say.
    #[serde(default)]
    pub why: String,
}
