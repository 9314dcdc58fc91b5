//! Writes standing orders to the disk beside those who give them, so that a slow disk holds up nobody else.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::standing::Standing;

/// The number of an order to write, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// A thread that writes standing orders, the latest in place of all that wait.
///
/// Whoever gives them holds his lock meanwhile, so that they are written in their order, and waits without it.
pub(super) struct Scribe {
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Option<Standing>,
    /// When what is not on the disk yet was given, the oldest of it.
    since: Option<Instant>,
    given: u64,
    tried: u64,
    written: u64,
    /// Why the last try failed, where it did.
    error: Option<(io::ErrorKind, String)>,
    ends: bool,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is given until it is told to end and nothing waits.
    fn work(&self, mut write: impl FnMut(&Standing) -> io::Result<()>) {
        loop {
            let mut state = self.state();
            while state.waiting.is_none() && !state.ends {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(standing) = state.waiting.take() else { return };
            let number = state.given;
            drop(state);
            let outcome = write(&standing);
            if let Err(error) = &outcome {
                tracing::error!(%error, "standing orders could not be written: a restart goes back to the ones before");
            }
            let mut state = self.state();
            state.tried = number;
            if outcome.is_ok() {
                state.written = number;
            }
            state.error = outcome.err().map(|error| (error.kind(), error.to_string()));
            if state.given == number {
                state.since = None;
            }
            self.changed.notify_all();
        }
    }
}

impl Scribe {
    /// A scribe with a way of writing.
    ///
    /// # Errors
    /// No thread is to be had.
    pub(super) fn start(write: impl FnMut(&Standing) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let state = State { waiting: None, since: None, given: 0, tried: 0, written: 0, error: None, ends: false };
        let desk = Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new() });
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("scribe".into()).spawn(move || own.work(write))?;
        Ok(Self { desk, thread: Mutex::new(Some(thread)) })
    }

    /// Has orders written, in place of older ones that wait. Does not wait for it.
    pub(super) fn give(&self, standing: &Standing) -> Ticket {
        let mut state = self.desk.state();
        state.waiting = Some(standing.clone());
        state.since.get_or_insert_with(Instant::now);
        state.given = state.given.saturating_add(1);
        self.desk.changed.notify_all();
        Ticket(state.given)
    }

    /// Waits until orders, or later ones, are on the disk.
    ///
    /// # Errors
    /// The disk's; it has taken longer than `limit`, and they are written all the same when it gets to them.
    pub(super) fn wait(&self, Ticket(number): Ticket, limit: Duration) -> io::Result<()> {
        let (state, _) = self
            .desk
            .changed
            .wait_timeout_while(self.desk.state(), limit, |state| state.tried < number)
            .unwrap_or_else(PoisonError::into_inner);
        match &state.error {
            _ if state.written >= number => Ok(()),
            Some((kind, error)) if state.tried >= number => Err(io::Error::new(*kind, error.clone())),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "the disk has not taken it yet")),
        }
    }

    /// What is wrong with the disk, where orders are not on it that were given longer than `patience` ago.
    pub(super) fn trouble(&self, patience: Duration) -> Option<String> {
        let state = self.desk.state();
        if let Some((_, error)) = &state.error {
            return Some(format!("standing orders can't be written: {error}; a restart goes back to the ones before"));
        }
        let late = state.since.map(|since| since.elapsed()).filter(|late| *late > patience)?;
        Some(format!("standing orders wait for the disk for {} s; a power cut would lose them", late.as_secs()))
    }

    /// Ends the thread once nothing waits; gives up on a disk that takes longer than `limit`.
    pub(super) fn end(&self, limit: Duration) {
        let number = {
            let mut state = self.desk.state();
            state.ends = true;
            self.desk.changed.notify_all();
            state.given
        };
        if self.wait(Ticket(number), limit).is_ok()
            && let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(generation: u32) -> Standing {
        Standing { generation, ..Standing::empty() }
    }

    #[test]
    fn the_latest_orders_are_written_and_nobody_waits_for_others() {
        let (written, disk) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(())));
        let (log, slow) = (Arc::clone(&written), Arc::clone(&disk));
        let scribe = Scribe::start(move |standing| {
            drop(slow.lock().unwrap());
            log.lock().unwrap().push(standing.generation);
            Ok(())
        })
        .unwrap();
        scribe.wait(scribe.give(&orders(1)), Duration::from_secs(60)).unwrap();
        let held = disk.lock().unwrap();
        let tickets: Vec<_> = (2..=50).map(|generation| scribe.give(&orders(generation))).collect();
        let late = scribe.wait(tickets[48], Duration::from_millis(20)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(scribe.trouble(Duration::ZERO).unwrap().contains("wait for the disk"));
        assert_eq!(scribe.trouble(Duration::from_secs(60)), None);
        drop(held);
        for ticket in tickets {
            scribe.wait(ticket, Duration::from_secs(60)).unwrap();
        }
        assert_eq!(scribe.trouble(Duration::ZERO), None);
        scribe.end(Duration::from_secs(60));
        let written = written.lock().unwrap();
        // The one that it was at, and the last: none between, none twice.
        assert!(written.len() <= 3 && written.is_sorted() && written.last() == Some(&50), "{written:?}");
    }

    #[test]
    fn what_a_disk_refuses_is_told_until_it_takes_something() {
        let mut refusals = 2;
        let scribe = Scribe::start(move |_| {
            refusals -= 1;
            if refusals >= 0 { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
        })
        .unwrap();
        for generation in [1, 2] {
            let error = scribe.wait(scribe.give(&orders(generation)), Duration::from_secs(60)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        assert!(scribe.trouble(Duration::from_secs(60)).unwrap().contains("can't be written"));
        scribe.wait(scribe.give(&orders(3)), Duration::from_secs(60)).unwrap();
        assert_eq!(scribe.trouble(Duration::ZERO), None);
    }

    #[test]
    fn a_disk_that_hangs_holds_up_no_end() {
        let scribe = Scribe::start(|_| {
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        })
        .unwrap();
        scribe.give(&orders(1));
        let begun = Instant::now();
        scribe.end(Duration::from_millis(50));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
