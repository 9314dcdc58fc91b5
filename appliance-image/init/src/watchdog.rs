//! The hardware watchdog: fed by the loop that supervises, so that a loop that stands still resets the box.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time between two feedings. The watchdog waits for thirty seconds.
const EVERY: Duration = Duration::from_secs(3);

/// An open watchdog. It is never closed in order: whoever ends this process ends the box.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    fed: Option<Instant>,
}

impl Watchdog {
    /// Opens one, which starts it.
    ///
    /// # Errors
    /// There is none.
    pub fn open(device: &Path) -> std::io::Result<Self> {
        Ok(Self { device: File::options().write(true).open(device)?, fed: None })
    }

    /// Feeds it if it is time to.
    ///
    /// # Errors
    /// The device is gone.
    pub fn feed(&mut self, now: Instant) -> std::io::Result<()> {
        if self.fed.is_some_and(|fed| now.saturating_duration_since(fed) < EVERY) {
            return Ok(());
        }
        self.fed = Some(now);
        // Any byte but `V`, which would ask it to stop.
        self.device.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn it_is_fed_in_time_and_not_more_often() {
        let file = std::env::temp_dir().join(format!("vbimg-watchdog-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let mut watchdog = Watchdog::open(&file).unwrap();
        let begun = Instant::now();
        for tenths in 0..100 {
            watchdog.feed(begun + Duration::from_millis(100 * tenths)).unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"\n\n\n\n");
        std::fs::remove_file(&file).unwrap();
    }
}
