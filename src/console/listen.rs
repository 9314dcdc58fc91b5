//! Listening with bounds: so many connections at once, so many of one address, a thread for each.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often the loop looks whether it shall stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// How many connections are served at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of all.
    pub(super) all: usize,
    /// Of one address.
    pub(super) each: usize,
}

type Taken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Serves connections until told to stop; what finds no room is closed at once.
pub(super) fn listen(
    listener: &TcpListener,
    name: &'static str,
    bounds: Bounds,
    stop: &AtomicBool,
    serve: &Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync>,
) {
    if let Err(error) = listener.set_nonblocking(true) {
        tracing::error!(name, %error, "does not listen");
        return;
    }
    let taken = Taken::default();
    while !stop.load(Ordering::Relaxed) {
        let mut wait = [PollFd::new(listener, PollFlags::IN)];
        if !matches!(poll(&mut wait, Some(&LOOK)), Ok(ready) if ready > 0) {
            continue;
        }
        let Ok((stream, peer)) = listener.accept() else {
            // Out of descriptors: not again at once.
            thread::sleep(std::time::Duration::from_millis(20));
            continue;
        };
        let Some(place) = Place::take(&taken, peer.ip(), bounds) else { continue };
        if stream.set_nonblocking(false).is_err() {
            continue;
        }
        let serve = Arc::clone(serve);
        let spawned = thread::Builder::new().name(name.into()).spawn(move || {
            let _place = place;
            serve(stream, peer);
        });
        if let Err(error) = spawned {
            tracing::warn!(name, %error, "no thread for a connection");
        }
    }
}

/// One of the places for connections; given back with its value.
struct Place {
    taken: Taken,
    address: IpAddr,
}

impl Place {
    fn take(taken: &Taken, address: IpAddr, bounds: Bounds) -> Option<Self> {
        let mut table = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all = table.values().fold(0_usize, |sum, count| sum.saturating_add(*count));
        let each = table.get(&address).copied().unwrap_or(0);
        if all >= bounds.all || each >= bounds.each {
            return None;
        }
        table.insert(address, each.saturating_add(1));
        Some(Self { taken: Arc::clone(taken), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = table.get(&self.address).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            table.remove(&self.address);
        } else {
            table.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let taken = Taken::default();
        let bounds = Bounds { all: 3, each: 2 };
        let [one, two] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let held = [Place::take(&taken, one, bounds), Place::take(&taken, one, bounds)];
        assert!(held.iter().all(Option::is_some) && Place::take(&taken, one, bounds).is_none());
        let other = Place::take(&taken, two, bounds);
        assert!(other.is_some() && Place::take(&taken, two, bounds).is_none(), "three in all");
        drop((held, other));
        assert!(taken.lock().unwrap().is_empty());
    }
}
