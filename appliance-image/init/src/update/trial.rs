//! Which version is on trial: a variable of the firmware, so that a trial whose data partition is lost is still one.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::slots::{OWN, first, read_variable, remove_variable, write_variable};
use crate::{At, Failure};

/// Its name.
const VARIABLE: &str = "VambraceTrial";

/// A version that is to be tried once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The slot that it is in.
    pub slot: String,
    /// The version before.
    pub from: String,
    /// The version that is tried.
    pub to: String,
    /// Who ordered it.
    pub who: String,
}

/// What a start has to do with a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    Usual,
    /// What runs is on trial.
    OnTrial(Pending),
    /// What runs was kept; the power went before that was told.
    Kept(Pending),
    /// What runs is the version before: the other one did not start, or ended.
    CameBack(Pending),
}

impl Start {
    /// What this start of `slot` is.
    #[must_use]
    pub fn of(variables: &Path, slot: &str) -> Self {
        match read(variables) {
            None => Self::Usual,
            Some(pending) if pending.slot != slot => Self::CameBack(pending),
            Some(pending) if first(variables) == Some(slot) => Self::Kept(pending),
            Some(pending) => Self::OnTrial(pending),
        }
    }
}

fn read(variables: &Path) -> Option<Pending> {
    let text = String::from_utf8(read_variable(variables, VARIABLE, OWN)?).ok()?;
    toml::from_str(&text).ok()
}

/// Says that a version is to be tried.
///
/// # Errors
/// The firmware does not take it.
pub fn begin(variables: &Path, pending: &Pending) -> Result<(), Failure> {
    write_variable(variables, VARIABLE, OWN, toml::to_string(pending).at(VARIABLE)?.as_bytes())
}

/// Says that none is on trial any more.
///
/// # Errors
/// The firmware does not let it go.
pub fn end(variables: &Path) -> Result<(), Failure> {
    remove_variable(variables, VARIABLE, OWN).map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use crate::slots::put_first;

    #[test]
    fn a_start_is_told_by_slot_order_and_variable() {
        let variables = std::env::temp_dir().join(format!("vbimg-trial-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&variables);
        std::fs::create_dir_all(&variables).unwrap();
        put_first(&variables, "esp-a").unwrap();
        assert_eq!(Start::of(&variables, "esp-a"), Start::Usual);
        // The first slot did not start: no trial, so nothing goes back.
        assert_eq!(Start::of(&variables, "esp-b"), Start::Usual);
        let pending = Pending { slot: "esp-b".into(), from: "0.1.0".into(), to: "0.2.0".into(), who: "eva".into() };
        begin(&variables, &pending).unwrap();
        assert_eq!(Start::of(&variables, "esp-b"), Start::OnTrial(pending.clone()));
        assert_eq!(Start::of(&variables, "esp-a"), Start::CameBack(pending.clone()));
        put_first(&variables, "esp-b").unwrap();
        assert_eq!(Start::of(&variables, "esp-b"), Start::Kept(pending));
        end(&variables).unwrap();
        end(&variables).unwrap();
        assert_eq!(Start::of(&variables, "esp-b"), Start::Usual);
        std::fs::remove_dir_all(&variables).unwrap();
    }
}
