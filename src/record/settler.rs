//! Answers find their commands, and repeats become one record.

use std::collections::{HashMap, VecDeque};

// Seeded at random; no table has more than `Settling::groups` or `Settling::strange` entries, whatever somebody makes up.
use foldhash::fast::RandomState;

use super::repeats::{FrameKey, Group, Key, MessageKey};
use crate::command::Service;
use crate::event::{Answer, CommandRecord, Detail, Event, EventId, FrameRecord, MessageRecord, Record, Settled};

/// How records are settled.
#[derive(Clone, Copy, Debug)]
pub struct Settling {
    /// How long a command's record waits for its answer, in nanoseconds.
    pub answer_wait_ns: u64,
    /// Allowed commands that are identical are told of once in so many nanoseconds; 0 = each by itself.
    pub command_window_ns: u64,
    /// Refused frames that are alike are told of once in so many nanoseconds; 0 = each by itself.
    pub frame_window_ns: u64,
    /// Most commands that wait for an answer; beyond that the oldest is written without.
    pub waiting: usize,
    /// Most kinds of repeats that are followed; beyond that commands are written one by one.
    pub groups: usize,
    /// The same for refused frames and for messages. Whoever makes up addresses gets as many lines in each window.
    pub strange: usize,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            // Slower answers than 2 s end a Modbus client's patience (libmodbus 0.5 s, pymodbus 3 s) as well.
            answer_wait_ns: 2_000_000_000,
            // A cycle of 10 ms makes 1000 commands in it: one line instead of 1000.
            command_window_ns: 10_000_000_000,
            // A scan makes thousands of frames a second that differ in nothing but a port.
            frame_window_ns: 1_000_000_000,
            waiting: 4096,
            // Sixteen clients that each read and write some two hundred ranges.
            groups: 4096,
            strange: 1024,
        }
    }
}

impl Settling {
    /// Every command and frame by itself, as `replay` tells of them.
    #[must_use]
    pub fn one_by_one() -> Self {
        Self { command_window_ns: 0, frame_window_ns: 0, ..Self::default() }
    }
}

/// How often windows that end are looked for, in nanoseconds: short against the shortest, long against a look at all.
const LOOK_NS: u64 = 20_000_000;

/// Most memory of settled commands that is kept for the next ones: those of one batch.
const SPARE: usize = 1024;

/// Pairs answers with commands and counts repeats. Pure: time comes with the events.
///
/// Most events are the same few commands again, thousands a second: those are copied once, into memory that was used for
/// an earlier one, and never moved.
#[derive(Debug)]
pub struct Settler {
    settling: Settling,
    waiting: Waiting,
    groups: HashMap<Key, Group, RandomState>,
    frames: HashMap<FrameKey, FrameGroup, RandomState>,
    messages: HashMap<MessageKey, MessageGroup, RandomState>,
    /// Memory of commands that are settled.
    #[expect(
        clippy::vec_box,
        reason = "they move from here to what waits and to groups, and are not to be copied for it"
    )]
    spare: Vec<Box<Event>>,
    unmatched: u64,
    /// When windows that end are looked for next, monotonic nanoseconds.
    look_ns: u64,
}

/// Commands that wait for their answer, in the order of their numbers, in which they came.
#[derive(Debug, Default)]
struct Waiting {
    /// What was answered meanwhile is absent, and gone once it is the oldest.
    commands: VecDeque<Wait>,
    unanswered: usize,
}

#[derive(Debug)]
struct Wait {
    id: EventId,
    deadline_ns: u64,
    command: Option<Box<Event>>,
}

impl Waiting {
    fn push(&mut self, deadline_ns: u64, command: Box<Event>) {
        let id = command.id;
        let wait = Wait { id, deadline_ns, command: Some(command) };
        self.unanswered = self.unanswered.saturating_add(1);
        if self.commands.back().is_none_or(|last| last.id < id) {
            self.commands.push_back(wait);
        } else {
            // Numbers grow over the life of a store: nobody makes such a one.
            let at = self.commands.partition_point(|earlier| earlier.id < id);
            self.commands.insert(at, wait);
        }
    }

    /// The command of that number.
    fn answered(&mut self, id: EventId) -> Option<Box<Event>> {
        let at = self.commands.binary_search_by_key(&id, |wait| wait.id).ok()?;
        let command = self.commands.get_mut(at)?.command.take()?;
        self.unanswered = self.unanswered.saturating_sub(1);
        self.drop_answered();
        Some(command)
    }

    /// The oldest one, if it waited until `now_ns`.
    fn expired(&mut self, now_ns: u64) -> Option<Box<Event>> {
        if self.commands.front()?.deadline_ns > now_ns {
            return None;
        }
        let command = self.commands.pop_front()?.command;
        self.unanswered = self.unanswered.saturating_sub(1);
        self.drop_answered();
        command
    }

    /// The oldest is one that waits, where there is any.
    fn drop_answered(&mut self) {
        while self.commands.front().is_some_and(|oldest| oldest.command.is_none()) {
            self.commands.pop_front();
        }
    }
}

/// Refused frames that are alike.
#[derive(Debug)]
struct FrameGroup {
    ends_ns: u64,
    /// How many were not told of yet, and how many events of this box told of them.
    untold: u32,
    events: u64,
    last: Option<(Event, FrameRecord)>,
}

/// Messages that are the same one again.
#[derive(Debug)]
struct MessageGroup {
    ends_ns: u64,
    /// How many were not told of yet, and how many events of this box told of them.
    untold: u32,
    events: u64,
    last: Option<(Event, MessageRecord)>,
}

impl Settler {
    /// A settler with nothing in it.
    #[must_use]
    pub fn new(settling: Settling) -> Self {
        Self {
            settling,
            waiting: Waiting::default(),
            groups: HashMap::default(),
            frames: HashMap::default(),
            messages: HashMap::default(),
            spare: Vec::new(),
            unmatched: 0,
            look_ns: 0,
        }
    }

    /// Answers for which no command waited.
    #[must_use]
    pub fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Takes an event in and hands out what is settled by it.
    pub fn take(&mut self, event: &Event, out: &mut impl FnMut(Settled)) {
        match &event.record {
            Record::Command(_) => self.command(event, out),
            Record::Answer(answer) => match self.waiting.answered(answer.to) {
                Some(command) => self.settle(command, Some(answer), event.monotonic_ns, out),
                None => self.unmatched = self.unmatched.saturating_add(1),
            },
            Record::Frame(frame) => self.frame(event, frame, out),
            Record::Message(message) => self.message(event, message, out),
            Record::Flow(_) | Record::Notice(_) => out((*event).into()),
        }
    }

    /// Hands out what waited long enough at `now_ns`, monotonic; repeats at most 20 ms later than their window ends.
    pub fn expire(&mut self, now_ns: u64, out: &mut impl FnMut(Settled)) {
        while let Some(command) = self.waiting.expired(now_ns) {
            self.settle(command, None, now_ns, out);
        }
        if now_ns < self.look_ns {
            return;
        }
        self.look_ns = now_ns.saturating_add(LOOK_NS);
        let window = self.settling.command_window_ns;
        self.groups.retain(|_, group| {
            if group.ends_ns > now_ns {
                return true;
            }
            group.ends_ns = now_ns.saturating_add(window);
            group.take().map(&mut *out).is_some()
        });
        let window = self.settling.frame_window_ns;
        self.frames.retain(|_, group| {
            if group.ends_ns > now_ns {
                return true;
            }
            group.ends_ns = now_ns.saturating_add(window);
            group.take().map(&mut *out).is_some()
        });
        let window = self.settling.command_window_ns;
        self.messages.retain(|_, group| {
            if group.ends_ns > now_ns {
                return true;
            }
            group.ends_ns = now_ns.saturating_add(window);
            group.take().map(&mut *out).is_some()
        });
    }

    /// Hands out all that waits, at the end of a run.
    pub fn finish(&mut self, out: &mut impl FnMut(Settled)) {
        self.expire(u64::MAX, out);
        self.groups.clear();
        self.frames.clear();
        self.messages.clear();
    }

    fn command(&mut self, event: &Event, out: &mut impl FnMut(Settled)) {
        let mut kept = match self.spare.pop() {
            Some(mut kept) => {
                *kept = *event;
                kept
            }
            None => Box::new(*event),
        };
        let Record::Command(command) = &mut kept.record else { return };
        command.spell_out();
        if !is_answered(command) {
            return self.settle(kept, None, event.monotonic_ns, out);
        }
        if self.waiting.unanswered >= self.settling.waiting
            && let Some(oldest) = self.waiting.expired(u64::MAX)
        {
            self.settle(oldest, None, event.monotonic_ns, out);
        }
        self.waiting.push(event.monotonic_ns.saturating_add(self.settling.answer_wait_ns), kept);
    }

    fn settle(&mut self, event: Box<Event>, answer: Option<&Answer>, now_ns: u64, out: &mut impl FnMut(Settled)) {
        let window = self.settling.command_window_ns;
        let exception = answer.is_some_and(|answer| answer.exception != 0);
        let key = match &event.record {
            Record::Command(command) if window > 0 && !exception => Key::of(command),
            _ => None,
        };
        if let Some(key) = key {
            if let Some(group) = self.groups.get_mut(&key) {
                if group.ends_ns <= now_ns {
                    group.ends_ns = now_ns.saturating_add(window);
                    if let Some(told) = group.take() {
                        out(told);
                    }
                }
                self.spare.extend(group.add(event, answer));
                return;
            }
            if self.groups.len() < self.settling.groups {
                self.groups.insert(key, Group::new(now_ns.saturating_add(window)));
            }
        }
        let events = if answer.is_some() { 2 } else { 1 };
        out(Settled { event: *event, answer: answer.copied(), repeats: None, unit_hash: None, events });
        if self.spare.len() < SPARE {
            self.spare.push(event);
        }
    }

    fn frame(&mut self, event: &Event, frame: &FrameRecord, out: &mut impl FnMut(Settled)) {
        let window = self.settling.frame_window_ns;
        if window == 0 {
            return out((*event).into());
        }
        let mut key = FrameKey::of(frame);
        if !self.frames.contains_key(&key) && self.frames.len() >= self.settling.strange {
            // Somebody makes up addresses: what does not fit is told of by reason only.
            key = key.without_ends();
        }
        match self.frames.get_mut(&key) {
            Some(group) if group.ends_ns > event.monotonic_ns => {
                group.untold = group.untold.saturating_add(1).saturating_add(frame.repeats);
                group.events = group.events.saturating_add(1);
                group.last = Some((*event, *frame));
            }
            Some(group) => {
                let repeats = group.untold.saturating_add(frame.repeats);
                let events = group.events.saturating_add(1);
                *group =
                    FrameGroup { ends_ns: event.monotonic_ns.saturating_add(window), untold: 0, events: 0, last: None };
                let event = Event { record: Record::Frame(FrameRecord { repeats, ..*frame }), ..*event };
                out(Settled { events, ..event.into() });
            }
            None => {
                let ends_ns = event.monotonic_ns.saturating_add(window);
                self.frames.insert(key, FrameGroup { ends_ns, untold: 0, events: 0, last: None });
                out((*event).into());
            }
        }
    }

    /// The same message again is told of once in the window that repeats of a command have, whoever listened to it.
    fn message(&mut self, event: &Event, message: &MessageRecord, out: &mut impl FnMut(Settled)) {
        let window = self.settling.command_window_ns;
        if window == 0 {
            return out((*event).into());
        }
        let key = MessageKey::of(message);
        if let Some(group) = self.messages.get_mut(&key) {
            return group.add(event, message);
        }
        if self.messages.len() < self.settling.strange {
            let ends_ns = event.monotonic_ns.saturating_add(window);
            self.messages.insert(key, MessageGroup { ends_ns, untold: 0, events: 0, last: None });
        }
        out((*event).into());
    }
}

impl MessageGroup {
    fn add(&mut self, event: &Event, message: &MessageRecord) {
        self.untold = self.untold.saturating_add(1).saturating_add(message.unreported);
        self.events = self.events.saturating_add(1);
        self.last = Some((*event, *message));
    }

    fn take(&mut self) -> Option<Settled> {
        let (event, message) = self.last.take()?;
        let unreported = self.untold.saturating_sub(1);
        self.untold = 0;
        let event = Event { record: Record::Message(MessageRecord { unreported, ..message }), ..event };
        Some(Settled { events: std::mem::take(&mut self.events), ..event.into() })
    }
}

impl FrameGroup {
    fn take(&mut self) -> Option<Settled> {
        let (event, frame) = self.last.take()?;
        let repeats = self.untold.saturating_sub(1);
        self.untold = 0;
        let event = Event { record: Record::Frame(FrameRecord { repeats, ..frame }), ..event };
        Some(Settled { events: std::mem::take(&mut self.events), ..event.into() })
    }
}

/// Whether a command that reached the robot has an answer that says what came of it.
fn is_answered(command: &CommandRecord) -> bool {
    let forwarded = command.verdict.is_allowed() || !command.enforced;
    forwarded
        && match command.detail {
            Detail::Modbus(_) => true,
            Detail::Dashboard { .. } => command.service == Service::Dashboard,
            Detail::RtdeData { .. } => false,
            Detail::Rtde { package, .. } => package != b'U' && package != b'M',
            Detail::UrScript { kind, .. } => kind == urscript::Kind::Interpreter,
            Detail::ExternalControl { .. } | Detail::Transport | Detail::Unreadable { .. } => false,
        }
}
