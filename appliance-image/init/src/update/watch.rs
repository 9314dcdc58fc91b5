//! PID 1's side of updates: it starts the updater, starts the box again where the updater asks for it, and goes back by
//! itself where a version on trial is not settled in time, whatever became of its updater.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::order::FOLDER;
use super::trial::Start;
use super::{KEPT, RUN};
use crate::Failure;
use crate::release::Release;
use crate::slots::VARIABLES;

/// In [`RUN`] while a watchdog is fed.
pub const WATCHDOG: &str = "watchdog";

/// In [`RUN`] when the box is to start again; says why.
pub const RESTART: &str = "restart";

/// In [`RUN`] when a trial is over.
pub const SETTLED: &str = "settled";

/// How long the updater may take longer than the trial's limit.
const GRACE: Duration = Duration::from_secs(60);

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(200);

/// What PID 1 knows of updates.
#[derive(Debug)]
pub struct Watch {
    run: PathBuf,
    deadline: Option<Instant>,
    looked: Option<Instant>,
}

impl Watch {
    /// Makes the folders. `slot` is the one that runs, `account` the one that may leave orders.
    ///
    /// # Errors
    /// A folder can't be made: then there are no updates, and the box runs.
    pub fn begin(release: Option<&Release>, slot: Option<&str>, account: u32, now: Instant) -> Result<Self, Failure> {
        let incoming = Path::new(KEPT).join(FOLDER);
        let made = fs::create_dir_all(RUN)
            .and_then(|()| fs::create_dir_all(&incoming))
            .and_then(|()| chown(&incoming, Some(account), Some(account)));
        made.map_err(|error| Failure(format!("updates: {error}")))?;
        let on_trial = slot.is_some_and(|slot| matches!(Start::of(Path::new(VARIABLES), slot), Start::OnTrial(_)));
        let limit = release.map(|release| release.trial.limit()).filter(|_| on_trial);
        Ok(Self::new(Path::new(RUN), limit, now))
    }

    fn new(run: &Path, limit: Option<Duration>, now: Instant) -> Self {
        let deadline = limit.and_then(|limit| now.checked_add(limit)?.checked_add(GRACE));
        Self { run: run.to_owned(), deadline, looked: None }
    }

    /// Says why the box is to start again, if it is.
    pub fn look(&mut self, now: Instant, watchdog: bool) -> Option<String> {
        if self.looked.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return None;
        }
        self.looked = Some(now);
        let marker = self.run.join(WATCHDOG);
        if watchdog != marker.exists() {
            let _ = if watchdog { fs::write(&marker, "") } else { fs::remove_file(&marker) };
        }
        if let Ok(why) = fs::read_to_string(self.run.join(RESTART)) {
            return Some(why);
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            if self.run.join(SETTLED).exists() {
                self.deadline = None;
                return None;
            }
            return Some("nobody settled the trial of this version in time".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_trial_that_nobody_settles_ends() {
        let run = std::env::temp_dir().join(format!("vbimg-watch-{}", std::process::id()));
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).unwrap();
        let (begun, limit) = (Instant::now(), Duration::from_secs(600));
        let late = begun + limit + GRACE;
        let mut watch = Watch::new(&run, Some(limit), begun);
        assert_eq!(watch.look(begun, true), None);
        assert!(run.join(WATCHDOG).exists());
        assert_eq!(watch.look(late.checked_sub(EVERY).unwrap(), false), None);
        assert!(!run.join(WATCHDOG).exists());
        assert!(watch.look(late, true).unwrap().contains("in time"));
        fs::write(run.join(SETTLED), "").unwrap();
        assert_eq!(watch.look(late + EVERY, true), None);
        fs::write(run.join(RESTART), "an update").unwrap();
        assert_eq!(watch.look(late + 2 * EVERY, true).unwrap(), "an update");
        // Without a trial no time runs.
        fs::remove_file(run.join(RESTART)).unwrap();
        fs::remove_file(run.join(SETTLED)).unwrap();
        assert_eq!(Watch::new(&run, None, begun).look(late, true), None);
        fs::remove_dir_all(&run).unwrap();
    }
}
