//! Steps of updates: kept on the data partition, and told to the guard, which records them as events and as evidence.
//!
//! A step is kept before it is told, and told until the guard has taken it: an update that came back is recorded by the
//! version that it came back to.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::health::guards;
use crate::{At, Failure};

/// Steps that are kept.
const KEPT: usize = 64;

/// Name of the file.
const FILE: &str = "steps.toml";

/// How long the guard may take for one.
const PATIENCE: Duration = Duration::from_secs(20);

/// One step.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Seconds since 1970, by the clock of the box.
    pub at: u64,
    /// `refused`, `begun`, `written`, `tried`, `committed` or `reverted`.
    pub step: String,
    /// The version before.
    pub from: String,
    /// The version that was to come; empty where no bundle said so.
    pub to: String,
    /// Who ordered it.
    pub who: String,
    /// Why, where there is something to say.
    #[serde(default)]
    pub why: String,
    /// Whether the guard has recorded it.
    #[serde(default)]
    pub told: bool,
}

/// The steps of this box.
#[derive(Debug, Default)]
pub struct Steps {
    folder: PathBuf,
    all: VecDeque<Step>,
}

#[derive(Default, Deserialize, Serialize)]
struct Text {
    #[serde(default)]
    step: VecDeque<Step>,
}

impl Steps {
    /// Those that were kept; none where they can't be read.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        let text: Text = toml::from_str(&text).unwrap_or_default();
        Self { folder: folder.to_owned(), all: text.step }
    }

    /// All of them, the newest last.
    #[must_use]
    pub fn all(&self) -> Vec<Step> {
        self.all.iter().cloned().collect()
    }

    /// Keeps one more.
    ///
    /// # Errors
    /// The data partition does not take it; it is told all the same.
    pub fn add(&mut self, step: Step) -> Result<(), Failure> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.all.push_back(Step { at, told: false, ..step });
        while self.all.len() > KEPT {
            self.all.pop_front();
        }
        self.keep()
    }

    fn keep(&self) -> Result<(), Failure> {
        let text = toml::to_string(&Text { step: self.all.clone() }).at(FILE)?;
        let fresh = self.folder.join("steps.new");
        let mut file = File::create(&fresh).at(FILE)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at(FILE)?;
        fs::rename(&fresh, self.folder.join(FILE)).at(FILE)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).at(FILE)
    }

    /// Tells the guard the oldest one that it does not know. Says whether there is nothing more to tell.
    ///
    /// # Errors
    /// The guard does not take it now.
    pub fn tell(&mut self) -> Result<bool, Failure> {
        let Some(step) = self.all.iter_mut().find(|step| !step.told) else { return Ok(true) };
        let mut command = guards();
        command.args(["update", "record", "--step", &step.step]);
        for (name, value) in [("--from", &step.from), ("--to", &step.to), ("--who", &step.who), ("--why", &step.why)] {
            // In one word: a value may begin with a dash.
            command.arg(format!("{name}={value}"));
        }
        super::health::run(command, PATIENCE)?;
        step.told = true;
        self.keep()?;
        Ok(!self.all.iter().any(|step| !step.told))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn steps_outlast_the_process_and_the_oldest_go() {
        let folder = std::env::temp_dir().join(format!("vbimg-steps-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut steps = Steps::read(&folder);
        for number in 0..KEPT + 3 {
            steps.add(Step { step: "begun".into(), to: number.to_string(), ..Step::default() }).unwrap();
        }
        let again = Steps::read(&folder);
        assert_eq!(again.all(), steps.all());
        assert_eq!((again.all.len(), again.all[0].to.as_str()), (KEPT, "3"));
        assert!(again.all.iter().all(|step| !step.told && step.at > 0));
        fs::write(folder.join(FILE), "step = 1").unwrap();
        assert!(Steps::read(&folder).all.is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
