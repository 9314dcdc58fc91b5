//! The packet process ends where a test wants it to.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use std::net::IpAddr;

use vambrace::command::{Command, Socket};
use vambrace::engine::{Observer, Who};
use vambrace::event::Verdict;
use vambrace::learn::{Observations, Seen};

/// Ends between two events: what the last one changed is published, and nothing of it has left.
#[derive(Clone, Debug, Default)]
pub struct Crashes {
    /// Events so far: frames, and timers that did something.
    pub events: u64,
    /// After the event with this number, from 1.
    pub after: Option<u64>,
    /// After one of so many events on average, at random.
    pub one_in: Option<u64>,
    /// Where the random numbers stand.
    pub random: u64,
    /// How often it ended.
    pub happened: u64,
}

impl Crashes {
    pub(super) fn comes_after_event(&mut self) -> bool {
        self.events += 1;
        // Source: Knuth's MMIX; the upper bits are the random ones.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let hit = |one_in| (self.random >> 33).is_multiple_of(one_in);
        self.after == Some(self.events) || self.one_in.is_some_and(hit)
    }
}

/// Ends in the middle of an event, while a command is judged; and learns, where it is asked to.
#[derive(Clone, Debug, Default)]
pub struct Tripwire {
    pub(super) learned: Option<Observations>,
    left: Option<u64>,
    commands: u64,
}

struct Tripped;

impl Tripwire {
    pub(super) fn arm(&mut self, nth: u64) {
        self.left = Some(nth);
    }

    pub(super) fn disarmed(&self) -> Self {
        Self { left: None, commands: self.commands, learned: self.learned.clone() }
    }
}

impl Observer for Tripwire {
    fn command(&mut self, who: &Who, command: &Command<'_>, _: &Verdict) {
        self.commands += 1;
        if let Some(learned) = &mut self.learned {
            let peer = who.key.plant.ip();
            learned.command(&Seen { peer, opened: who.opened, service: who.service, wall_ns: who.wall_ns }, command);
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                // Unwinds without a word.
                resume_unwind(Box::new(Tripped));
            }
        }
    }

    fn connection(&mut self, _: &Who) {}

    fn part(&mut self, who: &Who, bytes: &[u8]) {
        if let Some(learned) = &mut self.learned {
            learned.part(who.key.plant.ip(), bytes);
        }
    }

    fn socket(&mut self, peer: IpAddr, port: u16) -> Option<Socket> {
        self.learned.as_mut()?.socket(peer, port)
    }
}

/// What an event says; nothing where it was not brought to its end.
pub(super) fn survive<T>(event: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(event)) {
        Ok(said) => Some(said),
        Err(other) if other.is::<Tripped>() => None,
        Err(other) => resume_unwind(other),
    }
}
