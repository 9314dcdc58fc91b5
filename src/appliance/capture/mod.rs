//! Live capture: what passes is shown to whoever asks, with what became of it, and is never waited for.
//!
//! The worker looks at one number a batch. Where somebody captures, it copies frames into memory that was taken before
//! ([`WAITING`] frames of [`LONGEST`] bytes); what finds no room is counted. A thread of its own, which exists while
//! there are readers, renders each copy for every reader into a buffer of bounded size. A reader that does not keep up
//! loses packets, which its statistics blocks tell; nobody else notices.

mod reader;
mod tap;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use dissect::Toward;

pub(super) use reader::Reader;
pub(super) use tap::WorkerTap;

use crate::engine::Shows;
use crate::event::{Event, EventId, Verdict};
use crate::export::Names;
use crate::record::SNAP_LEN;

/// Interfaces of a capture: the port that a frame came in by, or left by where the box made it.
pub(super) const INTERFACES: [&str; 4] = ["plant", "robot", "plant.dropped", "robot.dropped"];

/// Frames that wait to be rendered: the pause below at a million frames a second.
const WAITING: usize = 4096;

/// Most bytes of a frame that are shown; a longer one is cut and says how long it was.
pub(super) const LONGEST: usize = SNAP_LEN;

/// Most readers at once: each costs rendering and a buffer.
const MAX_READERS: usize = 4;

/// Pause of the rendering thread when nothing waits: short against what a person notices.
const PAUSE: Duration = Duration::from_millis(4);

/// What became of a copied frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// It went on untouched.
    Passed,
    /// It was taken in: its bytes go on in frames of the box's own, or were answered for.
    TakenIn,
    /// It was refused; outside enforcement it went on all the same.
    Refused {
        /// Whether it went no further.
        enforced: bool,
    },
    /// The box made it.
    Made,
}

/// A copy of a frame on its way to the readers.
#[derive(Debug)]
pub(super) struct Copied {
    toward: Toward,
    wall_ns: u64,
    wire_len: u32,
    became: Became,
    /// Why, where something was refused; the event where it was told of one by one; how many more refusals it caused.
    verdict: Option<Verdict>,
    event: Option<Event>,
    event_id: EventId,
    more: u32,
    len: usize,
    bytes: [u8; LONGEST],
}

impl Copied {
    fn empty() -> Box<Self> {
        Box::new(Self {
            toward: Toward::Robot,
            wall_ns: 0,
            wire_len: 0,
            became: Became::Passed,
            verdict: None,
            event: None,
            event_id: EventId(0),
            more: 0,
            len: 0,
            bytes: [0; LONGEST],
        })
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Its place in [`INTERFACES`].
    fn interface(&self) -> usize {
        interface(self.toward, self.became)
    }
}

/// The interface of a frame that travels `toward` a side: the port that it came in by; that it leaves by where the box
/// made it, as a sniffer on the cable sees it.
fn interface(toward: Toward, became: Became) -> usize {
    match (toward, became) {
        (Toward::Robot, Became::Refused { enforced: true }) => 2,
        (Toward::Plant, Became::Refused { enforced: true }) => 3,
        (Toward::Robot, Became::Made) | (Toward::Plant, Became::Passed | Became::TakenIn | Became::Refused { .. }) => 1,
        (Toward::Plant, Became::Made) | (Toward::Robot, Became::Passed | Became::TakenIn | Became::Refused { .. }) => 0,
    }
}

/// Copies on their way, and how many found no room, by interface.
#[derive(Debug)]
struct Room {
    full: ArrayQueue<Box<Copied>>,
    free: ArrayQueue<Box<Copied>>,
    lost: [AtomicU64; INTERFACES.len()],
}

impl Room {
    fn new() -> Self {
        let room = Self {
            full: ArrayQueue::new(WAITING),
            free: ArrayQueue::new(WAITING),
            lost: [const { AtomicU64::new(0) }; INTERFACES.len()],
        };
        for _ in 0..WAITING {
            let _ = room.free.push(Copied::empty());
        }
        room
    }

    fn lost(&self) -> [u64; INTERFACES.len()] {
        let mut counts = [0; INTERFACES.len()];
        for (count, lost) in counts.iter_mut().zip(&self.lost) {
            *count = lost.load(Ordering::Relaxed);
        }
        counts
    }
}

/// Who captures. Shared between the worker, the rendering thread and the control socket.
#[derive(Debug)]
pub(super) struct Captures {
    /// [`Shows`] as a number: what the worker copies.
    shows: AtomicU8,
    /// Taken when the first reader comes, and kept.
    room: OnceLock<Room>,
    readers: Mutex<Readers>,
    names: Arc<Names>,
}

#[derive(Debug, Default)]
struct Readers {
    each: Vec<Arc<Reader>>,
    /// Whether the rendering thread is there.
    rendered: bool,
}

impl Captures {
    pub(super) fn new(names: Arc<Names>) -> Arc<Self> {
        Arc::new(Self { shows: AtomicU8::new(0), room: OnceLock::new(), readers: Mutex::default(), names })
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more reader in.
    ///
    /// # Errors
    /// The sentence for the one who asked.
    pub(super) fn join(self: &Arc<Self>, only_dropped: bool, snap: u32) -> Result<Joined, String> {
        let room = self.room.get_or_init(Room::new);
        let mut readers = self.readers();
        if readers.each.len() >= MAX_READERS {
            return Err(format!("{MAX_READERS} captures run already; end one first"));
        }
        if !readers.rendered {
            let captures = Arc::clone(self);
            std::thread::Builder::new()
                .name("capture".into())
                .spawn(move || captures.render())
                .map_err(|error| format!("no thread for the capture: {error}"))?;
            readers.rendered = true;
        }
        let reader = Arc::new(Reader::new(only_dropped, snap, room.lost()));
        readers.each.push(Arc::clone(&reader));
        self.note(&readers.each);
        Ok(Joined { captures: Arc::clone(self), reader })
    }

    /// Tells the worker what is asked for.
    fn note(&self, readers: &[Arc<Reader>]) {
        let shows = if readers.is_empty() {
            Shows::Nothing
        } else if readers.iter().all(|reader| reader.only_dropped()) {
            Shows::Refused
        } else {
            Shows::All
        };
        self.shows.store(shows as u8, Ordering::Release);
    }

    /// The rendering thread: ends when nobody reads.
    fn render(&self) {
        let Some(room) = self.room.get() else { return };
        loop {
            let readers = {
                let mut readers = self.readers();
                if readers.each.is_empty() {
                    readers.rendered = false;
                    return;
                }
                readers.each.clone()
            };
            let mut busy = false;
            for _ in 0..WAITING {
                let Some(copied) = room.full.pop() else { break };
                busy = true;
                readers.iter().for_each(|reader| reader.take(&copied, &self.names));
                let _ = room.free.push(copied);
            }
            let lost = room.lost();
            readers.iter().for_each(|reader| reader.wake(lost));
            if !busy {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// A reader's place; given back with its value.
#[derive(Debug)]
pub(super) struct Joined {
    captures: Arc<Captures>,
    reader: Arc<Reader>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut readers = self.captures.readers();
        readers.each.retain(|reader| !Arc::ptr_eq(reader, &self.reader));
        self.captures.note(&readers.each);
    }
}

#[cfg(test)]
mod tests;
