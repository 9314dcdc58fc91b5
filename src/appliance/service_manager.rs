//! What the service manager is told: that the box works, and again and again that it still does.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3). Without a service manager nothing is told.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Tells it.
#[derive(Debug)]
pub(super) struct ServiceManager {
    /// Longest time between two signs of life; absent where none are wanted.
    period: Option<Duration>,
    told: Option<Instant>,
    /// Turns of the worker at the last sign of life.
    turns: u64,
    ready: bool,
}

impl ServiceManager {
    /// As the environment says.
    pub(super) fn new() -> Self {
        Self::every(sd_notify::watchdog_enabled())
    }

    /// A manager that ends the service where it hears nothing for `limit`.
    fn every(limit: Option<Duration>) -> Self {
        // Three chances to be heard before the limit.
        Self { period: limit.and_then(|limit| limit.checked_div(3)), told: None, turns: 0, ready: false }
    }

    /// The worker has gone round `turns` times so far. Nothing is told unless it has moved since the last time.
    pub(super) fn turned(&mut self, turns: u64, now: Instant) {
        if let Some(states) = self.due(turns, now) {
            tell(states);
        }
    }

    fn due(&mut self, turns: u64, now: Instant) -> Option<&'static [NotifyState<'static>]> {
        if turns == self.turns {
            return None;
        }
        if !self.ready {
            (self.ready, self.turns, self.told) = (true, turns, Some(now));
            return Some(&[NotifyState::Ready, NotifyState::Watchdog, NotifyState::Status("frames are judged")]);
        }
        let period = self.period?;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < period) {
            return None;
        }
        (self.turns, self.told) = (turns, Some(now));
        Some(&[NotifyState::Watchdog])
    }

    /// It ends as asked.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// A sentence for people who ask for the state of the service.
    pub(super) fn status(&self, sentence: &str) {
        tell(&[NotifyState::Status(sentence)]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_given_only_while_the_worker_moves() {
        let (mut manager, begun) = (ServiceManager::every(Some(Duration::from_secs(3))), Instant::now());
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let mut told = |turns, milliseconds| manager.due(turns, at(milliseconds)).map_or(0, <[_]>::len);
        assert_eq!(told(0, 0), 0, "nothing before the first turn");
        assert_eq!(told(4, 10), 3, "ready");
        assert_eq!(told(9, 500), 0, "too soon");
        assert_eq!(told(4000, 1010), 1);
        assert_eq!(told(4000, 2100), 0, "it stands");
        assert_eq!(told(4000, 60_000), 0, "and stands");
        assert_eq!(told(4001, 60_020), 1, "it moves again");
    }

    #[test]
    fn without_a_watchdog_it_says_ready_alone() {
        let mut manager = ServiceManager::every(None);
        assert_eq!(manager.due(1, Instant::now()).map(<[_]>::len), Some(3));
        assert!(manager.due(2, Instant::now() + Duration::from_secs(100)).is_none());
    }
}
