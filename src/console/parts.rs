//! Which parts of the management process run. One that can't is told of, in `status` and in the metrics, and stops no
//! other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::control::{Client, Request};

/// How often the packet process is told what does not run; it shows for half a minute what it was told.
const TELL: Duration = Duration::from_secs(10);

/// How often is looked meanwhile whether to end.
const LOOK: Duration = Duration::from_millis(200);

/// The parts that are configured, each with the sentence that says why it does not run, where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts(Vec<(String, Option<String>)>);

impl Parts {
    /// Notes a part; it is there where it runs.
    pub(super) fn note<T>(&mut self, name: &str, made: Result<T, impl std::fmt::Display>) -> Option<T> {
        let (part, why) = match made {
            Ok(part) => (Some(part), None),
            Err(error) => {
                tracing::error!(%error, "the {name} does not run; what else is configured does");
                (None, Some(format!("the management process runs without its {name}: {error}; mend it and restart it")))
            }
        };
        self.0.push((name.to_owned(), why));
        part
    }

    /// Each part, and whether it runs.
    pub(super) fn each(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|(name, why)| (name.as_str(), why.is_none()))
    }

    /// What is to be told of.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.0.iter().filter_map(|(_, why)| why.clone()).collect()
    }
}

/// Tells the packet process of them until told to stop.
pub(super) fn tell(socket: &Path, troubles: &[String], stop: &AtomicBool) {
    let request = Request::Troubles { sentences: troubles.to_vec() };
    while !stop.load(Ordering::Relaxed) {
        if let Err(error) = Client::connect(socket).and_then(|mut client| client.ask(&request)) {
            tracing::debug!(%error, "the packet process was not told");
        }
        let begun = Instant::now();
        while begun.elapsed() < TELL && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }
}
