//! Whether the box holds its clock for synchronised, as the guard says: to ask the kernel itself takes a system call that
//! the management process is better without.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::control::{Client, Request, Response};

/// How long an answer is good: clocks come and go by minutes.
const GOOD: Duration = Duration::from_secs(10);

/// Asks the guard now and then; shared by all who send.
#[derive(Debug)]
pub(super) struct Clock {
    socket: PathBuf,
    known: Mutex<Option<(Instant, bool)>>,
}

impl Clock {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), known: Mutex::default() }
    }

    /// Whether it is; not where the guard does not answer or does not know.
    pub(super) fn is_synchronised(&self) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = known.filter(|(at, _)| at.elapsed() < GOOD) {
            return answer;
        }
        let asked = Client::connect(&self.socket).and_then(|mut client| client.ask(&Request::Status));
        let answer = matches!(asked, Ok(Response::Status(status)) if status.clock_synchronised == Some(true));
        *known = Some((Instant::now(), answer));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::control::{Caller, Handler, Server, Status};

    struct Guard {
        says: Option<bool>,
        asked: Arc<AtomicU64>,
    }

    impl Handler for Guard {
        fn handle(&self, _: Request, _: &Caller) -> Response {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Response::Status(Box::new(Status { clock_synchronised: self.says, ..Status::default() }))
        }
    }

    #[test]
    fn the_guard_is_asked_now_and_then_and_nobody_guesses() {
        let folder = std::env::temp_dir().join(format!("vambrace-clock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (says, expected) in [(Some(true), true), (Some(false), false), (None, false)] {
            let socket = folder.join(format!("{says:?}.sock"));
            assert!(!Clock::new(&socket).is_synchronised(), "nobody answers");
            let asked = Arc::<AtomicU64>::default();
            let _server = Server::start(&socket, Arc::new(Guard { says, asked: Arc::clone(&asked) })).unwrap();
            let clock = Clock::new(&socket);
            assert!((0..100).all(|_| clock.is_synchronised() == expected), "{says:?}");
            assert_eq!(asked.load(Ordering::Relaxed), 1);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
