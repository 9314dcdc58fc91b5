//! Which frames of the ring are kept: those around a refusal, those of a connection that was ended, all where somebody
//! asks for them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dissect::Toward;
use link::{FlowKey, Mac};

use super::ring::{Found, FrameRing, Look};
use crate::command::{Service, Socket};
use crate::event::{Event, EventId, FlowEnd, Notice, Record};

/// Conversations, devices and orders that are followed at one time; more are not kept. An attacker opens as many
/// connections as he likes, and each look through the ring costs the recorder a few milliseconds.
const WATCHES: usize = 32;

/// Time between two looks through the whole ring, so that a flood of refusals costs the recorder a twentieth of its
/// time: the ring holds seconds, and loses nothing of the time before within this.
const LOOK_NS: u64 = 100_000_000;

/// Most bytes of a device's frames that are kept after it sent something that is no command and was refused. Offices'
/// computers chatter like that all the time, and a flood from one would keep the recorder busy with nothing else.
const DEVICE: u64 = 64 << 10;

/// Which frames are kept in evidence around what happened.
#[derive(Clone, Debug)]
pub struct KeepOptions {
    /// The robot: what it says and hears on the ports that command it is its control traffic.
    pub robot: Option<IpAddr>,
    /// How long before and after an event.
    pub before: Duration,
    /// See `before`.
    pub after: Duration,
    /// Most bytes of frames that are kept in an hour; an hour's worth may come at once.
    pub hourly: u64,
}

/// A frame that is to be kept.
#[derive(Debug)]
pub(super) struct Kept<'r> {
    pub(super) found: Found,
    pub(super) bytes: &'r [u8],
    /// The event around which it is kept.
    pub(super) event: EventId,
}

/// Frames that would have been kept, and were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// There was no budget left for them.
    pub(super) budget: u64,
    /// They, or others of their time, were overwritten before the recorder came.
    pub(super) overwritten: u64,
}

/// What is looked for in the ring, and in which time.
#[derive(Clone, Copy, Debug)]
struct Watch {
    of: Of,
    from_ns: u64,
    until_ns: u64,
    event: EventId,
    /// When that event was, and how many bytes of what comes after it may still be kept.
    at_ns: u64,
    left: u64,
    /// Whether the ring was looked through for what was before it.
    looked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// All frames: somebody asked for them.
    All,
    /// Those of one conversation of which something was refused.
    Conversation(FlowKey),
    /// Those of one conversation that was reset: less than a refusal.
    Ended(FlowKey),
    /// Those from and to one device, which sent something that is no command and was refused.
    Device(Mac),
    /// Those of the robot on the ports that command it.
    Control,
}

impl Watch {
    /// Whether any frame may still be kept for it.
    const fn wants(&self) -> bool {
        !self.looked || self.left > 0
    }

    /// Whether a frame of that time may be kept for it; a look back is for those that have not had theirs.
    fn takes(&self, when: u64, is_new: bool) -> bool {
        (is_new || !self.looked)
            && (self.from_ns..=self.until_ns).contains(&when)
            && (when <= self.at_ns || self.left > 0)
    }
}

impl Of {
    /// Most bytes that are kept of what comes after the event.
    const fn most(self) -> u64 {
        if matches!(self, Self::Device(_)) { DEVICE } else { u64::MAX }
    }

    /// Whether only half of the budget is for it, so that the rest is there for refused commands.
    const fn is_lesser(self) -> bool {
        matches!(self, Self::Ended(_) | Self::Device(_) | Self::Control)
    }
}

/// Follows the ring.
#[derive(Debug)]
pub(super) struct Keeper {
    ring: Arc<FrameRing>,
    options: KeepOptions,
    watches: Vec<Watch>,
    /// Where the next frame begins that was not looked at, and its number.
    at: u64,
    number: u64,
    /// Places of frames in the ring that were kept, or counted as missed (`false`): none is kept or counted twice.
    done: BTreeMap<u64, bool>,
    /// Bytes that may be kept now, and when that was reckoned.
    budget: u64,
    reckoned_ns: u64,
    looked_ns: u64,
    missed: Missed,
    bytes: Vec<u8>,
}

impl Keeper {
    pub(super) fn new(ring: Arc<FrameRing>, options: KeepOptions) -> Self {
        let budget = options.hourly;
        Self {
            ring,
            options,
            watches: Vec::new(),
            at: 0,
            number: 0,
            done: BTreeMap::new(),
            budget,
            reckoned_ns: 0,
            looked_ns: 0,
            missed: Missed::default(),
            bytes: Vec::with_capacity(super::SNAP_LEN),
        }
    }

    /// Takes notice of an event: whether frames around it are to be kept.
    pub(super) fn see(&mut self, event: &Event) {
        match &event.record {
            Record::Command(command) if !command.verdict.is_allowed() => {
                self.watch(Of::Conversation(command.key.unmirrored()), event);
                self.watch(Of::Control, event);
            }
            Record::Frame(frame) if !frame.verdict.is_allowed() => self.watch(Of::Device(frame.macs.0), event),
            Record::Flow(flow) if flow.end == FlowEnd::Refused => {
                self.watch(Of::Conversation(flow.key.unmirrored()), event);
            }
            Record::Flow(flow) if flow.end == FlowEnd::Reset && flow.service.is_dissected() => {
                self.watch(Of::Ended(flow.key.unmirrored()), event);
            }
            Record::Notice(Notice::FramesKept { .. }) => self.watch(Of::All, event),
            _ => {}
        }
    }

    fn watch(&mut self, of: Of, event: &Event) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = event.monotonic_ns;
        let until_ns = at.saturating_add(nanoseconds(self.options.after));
        if let Some(known) = self.watches.iter_mut().find(|watch| watch.of == of && watch.until_ns >= at) {
            // What was before it is being kept already.
            known.until_ns = known.until_ns.max(until_ns);
            return;
        }
        // Whoever sends made-up frames shall not take the places of refused commands.
        let room = if of.is_lesser() { WATCHES / 2 } else { WATCHES };
        if self.watches.len() < room || of == Of::All {
            let from_ns = at.saturating_sub(nanoseconds(self.options.before));
            let (event, left) = (event.id, of.most());
            self.watches.push(Watch { of, from_ns, until_ns, event, at_ns: at, left, looked: false });
        }
    }

    /// Hands out the frames that are to be kept, those that have come until now; `now_ns` is monotonic. While `room` says
    /// that the disk refuses, frames are counted as missed: records go before them.
    pub(super) fn follow(&mut self, now_ns: u64, mut room: impl FnMut() -> bool, mut each: impl FnMut(&Kept<'_>)) {
        self.reckon(now_ns);
        let (oldest, head) = self.ring.span();
        if !self.done.is_empty() {
            self.done = self.done.split_off(&oldest);
        }
        if !self.watches.iter().any(Watch::wants) {
            // Nobody asks for them: not counted, and not missed.
            self.skip_to(head);
            self.watches.retain(|watch| watch.until_ns >= now_ns);
            return;
        }
        let fresh = self.watches.iter().any(|watch| !watch.looked);
        let look_back = fresh && now_ns.saturating_sub(self.looked_ns) >= LOOK_NS;
        let behind = self.at;
        let mut at = if look_back { oldest } else { self.at };
        if look_back {
            self.looked_ns = now_ns;
        }
        // What comes meanwhile is for the next time, or a busy wire would never let go.
        while at < head {
            let found = match self.ring.read(at, &mut self.bytes) {
                Look::Frame(found) => found,
                Look::Overwritten(oldest) => {
                    at = oldest;
                    continue;
                }
                Look::End => break,
            };
            if at >= behind {
                // What was overwritten unseen is counted, whether it would have been kept or not: nobody knows.
                let unseen = if self.number == 0 { 0 } else { found.number.saturating_sub(self.number) };
                self.missed.overwritten = self.missed.overwritten.saturating_add(unseen);
                self.number = found.number.saturating_add(1);
            }
            self.consider(at, at >= behind, &found, &mut room, &mut each);
            at = found.next;
        }
        self.at = at.max(behind);
        if look_back {
            self.watches.iter_mut().for_each(|watch| watch.looked = true);
        }
        // A watch that has not been looked for yet stays, however short it was.
        self.watches.retain(|watch| !watch.looked || watch.until_ns >= now_ns);
    }

    /// What was missed since the last call.
    pub(super) fn take_missed(&mut self) -> Missed {
        std::mem::take(&mut self.missed)
    }

    fn consider(
        &mut self,
        at: u64,
        is_new: bool,
        found: &Found,
        room: &mut impl FnMut() -> bool,
        each: &mut impl FnMut(&Kept<'_>),
    ) {
        let when = found.about.monotonic_ns;
        // Its copy goes another way.
        if found.about.became == super::Became::Copied || !self.watches.iter().any(|watch| watch.takes(when, is_new)) {
            return;
        }
        let ends = Ends::of(&self.bytes, found.about.toward, self.options.robot);
        let fitting = self.watches.iter_mut().filter(|watch| watch.takes(when, is_new) && ends.fits(watch.of));
        let Some(watch) = fitting.min_by_key(|watch| (watch.of != Of::All, watch.of.is_lesser())) else { return };
        let before = self.done.get(&at).copied();
        if before == Some(true) || (before == Some(false) && watch.of.is_lesser()) {
            return;
        }
        let cost = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        let least = if watch.of.is_lesser() { self.options.hourly / 2 } else { 0 };
        let is_free = watch.of == Of::All;
        if !room() || !(is_free || self.budget >= least.saturating_add(cost)) {
            self.missed.budget = self.missed.budget.saturating_add(u64::from(before.is_none()));
            self.done.insert(at, false);
            return;
        }
        // Missed for a lesser reason a moment ago, and perhaps told of already: then it is told of once too often.
        self.missed.budget = self.missed.budget.saturating_sub(u64::from(before.is_some()));
        if !is_free {
            self.budget = self.budget.saturating_sub(cost);
        }
        if when > watch.at_ns {
            watch.left = watch.left.saturating_sub(cost);
        }
        self.done.insert(at, true);
        each(&Kept { found: *found, bytes: &self.bytes, event: watch.event });
    }

    fn skip_to(&mut self, head: u64) {
        if self.at != head {
            self.at = head;
            // The number of the next frame is not known; it is not asked for.
            self.number = 0;
        }
    }

    /// Adds what the time since the last call allows.
    fn reckon(&mut self, now_ns: u64) {
        const HOUR_NS: u128 = 3_600_000_000_000;
        let passed = now_ns.saturating_sub(self.reckoned_ns);
        let more = u128::from(passed).saturating_mul(u128::from(self.options.hourly)) / HOUR_NS;
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        if more > 0 {
            self.reckoned_ns = now_ns;
            self.budget = self.budget.saturating_add(more).min(self.options.hourly);
        }
    }
}

/// Whose a frame is.
#[derive(Debug, Default)]
struct Ends {
    key: Option<FlowKey>,
    macs: Option<(Mac, Mac)>,
    is_control: bool,
}

impl Ends {
    fn of(bytes: &[u8], toward: Toward, robot: Option<IpAddr>) -> Self {
        let Ok(packet) = link::parse(bytes) else { return Self { macs: macs(bytes), ..Self::default() } };
        let key = FlowKey::of(&packet, toward);
        let is_control = key.is_some_and(|key| {
            Some(key.robot.ip()) == robot && [key.robot.port, key.plant.port].into_iter().any(is_control_port)
        });
        Self { key, macs: Some((packet.source, packet.destination)), is_control }
    }

    fn fits(&self, of: Of) -> bool {
        match of {
            Of::All => true,
            Of::Conversation(key) | Of::Ended(key) => self.key == Some(key),
            Of::Device(mac) => self.macs.is_some_and(|(source, destination)| source == mac || destination == mac),
            Of::Control => self.is_control,
        }
    }
}

/// The addresses of a frame that can't be read further.
fn macs(bytes: &[u8]) -> Option<(Mac, Mac)> {
    let (destination, rest) = bytes.split_first_chunk()?;
    Some((Mac(*rest.first_chunk()?), Mac(*destination)))
}

/// Whether commands travel over this port of the robot, or of a computer that the robot obeys.
fn is_control_port(port: u16) -> bool {
    Service::of_tcp_port(port).is_dissected() || Socket::of_port(port).is_some()
}
