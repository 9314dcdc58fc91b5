//! How a worker passes the time while no frame comes.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::FramePort;

/// Most ports that [`wait`] looks at.
pub const MOST_PORTS: usize = 8;

/// How a worker passes the time while no frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Asks again at once. Fastest (7 microseconds a round trip against 37), takes the whole core; not together with a
    /// real-time priority on a core that others need.
    Busy,
    /// Asks again at once for `spin` after the last frame, then sleeps until the next one. With a spin of at least the
    /// robot's period (2 ms at 500 Hz) a cyclic connection never meets the sleep.
    Adaptive {
        /// How long to go on asking.
        spin: Duration,
    },
    /// Sleeps until the next frame: least work, a wake-up (17 microseconds and more) a frame.
    Blocking,
}

/// A worker's waiting: says after each empty round whether to go on asking or to sleep.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    polling: Polling,
    last_frame_ns: u64,
}

impl Idle {
    /// A worker that saw its last frame now (monotonic nanoseconds).
    #[must_use]
    pub fn new(polling: Polling, now_ns: u64) -> Self {
        Self { polling, last_frame_ns: now_ns }
    }

    /// Frames came.
    pub fn worked(&mut self, now_ns: u64) {
        self.last_frame_ns = now_ns;
    }

    /// Nothing came: returns at once while it is time to ask again, else sleeps until a frame comes or `timeout` has
    /// passed. Says whether it slept, so that the caller reads the clock anew.
    ///
    /// A frame that comes while it sleeps waits for one wake-up, whatever `timeout` is.
    ///
    ///
    /// # Errors
    /// As [`wait`].
    pub fn pause(&self, ports: &[&dyn FramePort], now_ns: u64, timeout: Duration) -> std::io::Result<bool> {
        let rests = self.rests(now_ns);
        if rests {
            wait(ports, timeout)?;
        } else {
            std::hint::spin_loop();
        }
        Ok(rests)
    }

    /// Whether it is time to sleep rather than to ask again.
    fn rests(&self, now_ns: u64) -> bool {
        match self.polling {
            Polling::Busy => false,
            Polling::Adaptive { spin } => u128::from(now_ns.saturating_sub(self.last_frame_ns)) >= spin.as_nanos(),
            Polling::Blocking => true,
        }
    }
}

/// Sleeps until a frame waits at one of the ports, an interface went down, or `timeout` has passed; says whether
/// something happened. Allocates nothing. Looks at the first [`MOST_PORTS`] ports; returns at once where one of them
/// has nothing to wait on.
///
/// # Errors
/// The kernel's, memory shortage for one; an interrupting signal is no error.
pub fn wait(ports: &[&dyn FramePort], timeout: Duration) -> std::io::Result<bool> {
    let Some(first) = ports.first().and_then(|port| port.readiness()) else { return Ok(true) };
    let mut set: [PollFd<'_>; MOST_PORTS] =
        std::array::from_fn(|_| PollFd::from_borrowed_fd(first, PollFlags::empty()));
    for (place, port) in set.iter_mut().zip(ports) {
        let Some(fd) = port.readiness() else { return Ok(true) };
        *place = PollFd::from_borrowed_fd(fd, PollFlags::IN);
    }
    let used = set.get_mut(..ports.len().min(MOST_PORTS)).unwrap_or_default();
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    match poll(used, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nic::memory::pair;

    #[test]
    fn adaptive_polling_asks_for_its_spin_and_then_rests() {
        let (port, _other) = pair(4);
        let spin = Duration::from_millis(10);
        let mut idle = Idle::new(Polling::Adaptive { spin }, 5_000_000);
        let rests = |idle: &Idle, now_ns| idle.rests(now_ns);
        assert!(!rests(&idle, 5_000_000) && !rests(&idle, 14_999_999));
        assert!(rests(&idle, 15_000_000));
        // A stream of 125 Hz never lets it rest.
        for beat in 0_u64..100 {
            let at = 20_000_000 + beat * 8_000_000;
            assert!(beat == 0 || !rests(&idle, at - 1), "before beat {beat}");
            idle.worked(at);
        }
        // A clock that seems to go back is no rest.
        assert!(!rests(&idle, 0));
        for (polling, expected) in [(Polling::Busy, false), (Polling::Blocking, true)] {
            assert_eq!(Idle::new(polling, 0).rests(u64::MAX), expected);
        }
        // A port without a descriptor can't be slept on: the pause ends at once.
        assert!(Idle::new(Polling::Blocking, 0).pause(&[&port], 0, Duration::from_secs(60)).unwrap());
    }
}
