//! A relay that is held by being fed. Source of the way of feeding: Linux, `Documentation/watchdog/watchdog-api.rst`; cards
//! with a bypass have such a timer of their own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Relay;

/// Time between two feedings: such timers run for seconds.
const FEED: Duration = Duration::from_millis(200);

/// Frames come to the box while bytes are written to the device, and go past it when none came for as long as its timer
/// runs: also when nobody is left to write, and without power.
#[derive(Debug)]
pub(super) struct Watchdog {
    device: PathBuf,
    file: Option<File>,
    fed: Option<Instant>,
    feeds: bool,
}

impl Watchdog {
    pub(super) fn new(device: PathBuf) -> Self {
        Self { device, file: None, fed: None, feeds: false }
    }

    fn feed(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            // Not created: what is not there is no timer.
            none => none.insert(OpenOptions::new().append(true).open(&self.device)?),
        };
        // Any byte feeds it but `V`, behind which a closed timer stands still instead of running out.
        file.write_all(b"\0")
    }
}

impl Relay for Watchdog {
    /// Past the box = no more food: it takes until the timer has run out. The device stays open, since closing one may
    /// stop its timer.
    fn set(&mut self, past: bool) -> io::Result<()> {
        self.feeds = !past;
        self.fed = None;
        self.keep(Instant::now())
    }

    fn keep(&mut self, now: Instant) -> io::Result<()> {
        if !self.feeds || self.fed.is_some_and(|fed| now.saturating_duration_since(fed) < FEED) {
            return Ok(());
        }
        self.fed = Some(now);
        self.feed().map_err(|error| {
            self.file = None;
            io::Error::new(error.kind(), format!("{}: {error}", self.device.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_while_frames_come_to_the_box_and_no_longer() {
        let device = std::env::temp_dir().join(format!("vambrace-watchdog-{}", std::process::id()));
        std::fs::write(&device, "").unwrap();
        let fed = || std::fs::metadata(&device).unwrap().len();
        let (mut relay, begun) = (Watchdog::new(device.clone()), Instant::now());
        relay.keep(begun).unwrap();
        assert_eq!(fed(), 0, "not before somebody says so");
        relay.set(false).unwrap();
        assert_eq!(fed(), 1);
        for look in 1..=500 {
            relay.keep(begun + Duration::from_millis(20 * look)).unwrap();
        }
        // Ten seconds, five times in each.
        assert!((49..=51).contains(&fed()), "{}", fed());
        relay.set(true).unwrap();
        let before = fed();
        relay.keep(begun + Duration::from_secs(3600)).unwrap();
        assert_eq!(fed(), before);
        assert!(std::fs::read(&device).unwrap().iter().all(|byte| *byte != b'V'));
        relay.set(false).unwrap();
        assert_eq!(fed(), before + 1, "at once");
        std::fs::remove_file(&device).unwrap();
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_taken_up_when_it_comes() {
        let device = std::env::temp_dir().join(format!("vambrace-no-watchdog-{}", std::process::id()));
        let mut relay = Watchdog::new(device.clone());
        let error = relay.set(false).unwrap_err();
        assert!(error.to_string().starts_with(&device.display().to_string()), "{error}");
        assert!(!device.exists());
        std::fs::write(&device, "").unwrap();
        relay.set(false).unwrap();
        assert_eq!(std::fs::read(&device).unwrap(), b"\0");
        std::fs::remove_file(&device).unwrap();
    }
}
