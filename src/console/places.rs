//! Bounds on what is handed out: how many at once, and how much a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A number of places, taken one by one.
#[derive(Debug)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// One of them, where one is free; given back with its value.
    pub(super) fn take(&self) -> Option<Place> {
        let room = |taken: usize| (taken < self.most).then(|| taken.saturating_add(1));
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        taken.ok().map(|_| Place(Arc::clone(&self.taken)))
    }
}

/// A place that somebody has.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Holds whoever sends to a number of bytes a second. What was not used is not saved up.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), next: None }
    }

    /// So many bytes were sent: how long to wait before the next.
    pub(super) fn sent(&mut self, bytes: u64, now: Instant) -> Duration {
        let nanoseconds = u128::from(bytes).saturating_mul(1_000_000_000).checked_div(self.bytes_per_second.into());
        let cost = Duration::from_nanos(nanoseconds.and_then(|it| u64::try_from(it).ok()).unwrap_or(u64::MAX));
        let from = self.next.map_or(now, |next| next.max(now));
        let next = from.checked_add(cost).unwrap_or(from);
        self.next = Some(next);
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_end_and_are_given_back() {
        let places = Places::new(2);
        let held = [places.take(), places.take()];
        assert!(held.iter().all(Option::is_some) && places.take().is_none());
        drop(held);
        assert!(places.take().is_some());
    }

    #[test]
    fn a_pace_is_kept_and_not_saved_up() {
        let (mut pace, begun) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.sent(500, begun), Duration::from_millis(500));
        assert_eq!(pace.sent(500, begun), Duration::from_secs(1));
        let later = begun.checked_add(Duration::from_secs(60)).unwrap();
        assert_eq!(pace.sent(1000, later), Duration::from_secs(1), "a minute's rest is no minute's credit");
    }
}
