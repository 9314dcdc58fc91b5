//! What the updater tells of itself: a file in memory that everybody may read.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::tell::Step;
use crate::{At, Failure};

/// Name of the file below [`super::RUN`].
pub const FILE: &str = "status.toml";

/// What the updater does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
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

/// The state of updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Version that runs.
    pub version: String,
    /// The slot that it runs from.
    pub slot: String,
    /// The slot that starts first.
    pub first: String,
    /// What the other slot holds: its version, or why that is not known.
    pub other: String,
    /// Lowest security epoch that may run here.
    pub epoch: u32,
    /// What the updater does.
    pub state: State,
    /// On trial: for how many seconds everything has held, and for how many it must.
    pub held_seconds: u64,
    /// See `held_seconds`.
    pub hold_seconds: u64,
    /// On trial: seconds until the box goes back.
    pub left_seconds: u64,
    /// On trial: what does not hold; one sentence each.
    pub unmet: Vec<String>,
    /// The mark of the order that was taken up last.
    pub order: String,
    /// How it ended.
    pub result: Ended,
    /// The same in a sentence.
    pub outcome: String,
    /// Steps of updates, the newest last.
    pub steps: Vec<Step>,
}

/// Puts the state where others read it.
///
/// # Errors
/// It can't be written.
pub fn show(status: &Status, folder: &Path) -> Result<(), Failure> {
    let text = toml::to_string(status).at(FILE)?;
    let fresh = folder.join("status.new");
    let mut file = File::create(&fresh).at(FILE)?;
    file.set_permissions(Permissions::from_mode(0o644)).at(FILE)?;
    file.write_all(text.as_bytes()).at(FILE)?;
    fs::rename(&fresh, folder.join(FILE)).at(FILE)
}
