use dissect::Toward;
use link::craft::{Segment, Template};
use link::{FlowKey, Packet};

use super::actions::Actions;
use super::counters::Counters;
use super::flux::Flux;
use super::newcomers::Newcomers;
use crate::command::Service;
use crate::event::{Event, EventId, FrameRecord, MessageRecord, Reason, Record, RuleId, Said, Text, Verdict};

/// One frame (or one moment of a timer) and where its consequences go.
///
/// Of a mirrored conversation, in which the robot is the client and a device of the plant is guarded, everything that
/// the engine does is told in the swapped sides; only what leaves and what is recorded is turned back, here.
pub(super) struct Scene<'x> {
    /// The side that the frame travels to, as the conversation at hand sees it.
    pub(super) toward: Toward,
    /// Whether the conversation at hand is mirrored.
    pub(super) mirrored: bool,
    /// Monotonic clock, nanoseconds.
    pub(super) now_ns: u64,
    /// Wall clock of the frame, nanoseconds since 1970.
    pub(super) wall_ns: u64,
    /// Number of the frame; 0 for a timer.
    pub(super) frame: u64,
    /// Length on the wire.
    pub(super) wire_len: u32,
    /// Whether transport checksums may be unfinished.
    pub(super) checksum_partial: bool,
    /// Whether verdicts are carried out.
    pub(super) enforce: bool,
    /// Generation of the policy in force.
    pub(super) generation: u32,
    /// What leaves and what is recorded.
    pub(super) actions: &'x mut Actions,
    /// What is counted.
    pub(super) counters: &'x mut Counters,
    /// Number of the last event.
    pub(super) last_event: &'x mut u64,
    /// What is being changed.
    pub(super) flux: &'x Flux,
    /// How often records of one reason were made lately.
    pub(super) budgets: &'x mut Budgets,
    /// Who opens connections.
    pub(super) newcomers: &'x mut Newcomers,
}

impl Scene<'_> {
    /// The number of the next event.
    pub(super) fn next_event(&mut self) -> EventId {
        *self.last_event = self.last_event.saturating_add(1);
        EventId(*self.last_event)
    }

    /// Records something; answers with its number.
    #[inline]
    pub(super) fn record(&mut self, record: Record) -> EventId {
        let id = self.next_event();
        self.record_as(id, record);
        id
    }

    /// Records something under a number taken before.
    #[inline]
    pub(super) fn record_as(&mut self, id: EventId, record: Record) {
        // Made where it stays: an event is hundreds of bytes, and each move of it shows.
        let event = Event { id, monotonic_ns: self.now_ns, wall_ns: self.wall_ns, frame: self.frame, record };
        if let Some(event) = self.actions.record(event) {
            event.record.unmirror();
        }
    }

    /// Turns to a conversation: from here on sides are meant as it sees them.
    pub(super) fn turn_to(&mut self, key: &FlowKey) {
        if key.is_mirrored() != self.mirrored {
            self.mirrored = !self.mirrored;
            self.toward = self.toward.reverse();
        }
    }

    /// The side of the box that a side of the conversation at hand is.
    fn port(&self, toward: Toward) -> Toward {
        if self.mirrored { toward.reverse() } else { toward }
    }

    /// Sends a segment of the box's own `toward` a side of the conversation.
    pub(super) fn send(&mut self, toward: Toward, template: &Template, segment: &Segment<'_>) {
        let port = self.port(toward);
        if self.actions.send(port, template, segment) {
            Counters::add(&mut self.counters.crafted, port);
        }
    }

    /// Records that the current frame is refused below the level of commands, and keeps a copy of it, within the
    /// budget of its reason.
    pub(super) fn refuse_frame(
        &mut self,
        packet: Option<&Packet<'_>>,
        key: Option<FlowKey>,
        reason: Reason,
        rule: RuleId,
    ) {
        let Some(repeats) = self.budgets.take(reason, self.now_ns) else { return };
        let verdict = Verdict { action: crate::event::Action::Drop, reason, rule, generation: self.generation };
        let record = FrameRecord {
            toward: self.port(self.toward),
            key: key.map(FlowKey::unmirrored),
            macs: packet.map_or((link::Mac([0; 6]), link::Mac([0; 6])), |packet| (packet.source, packet.destination)),
            ether_type: packet.map_or(0, |packet| packet.ether_type.0),
            verdict,
            enforced: self.enforce,
            repeats,
        };
        let id = self.record(Record::Frame(record));
        self.actions.keep(id.0, verdict);
    }

    /// Whether a refusal that anybody can cause in anybody's name may be recorded now.
    pub(super) fn may_record(&mut self, reason: Reason) -> bool {
        self.budgets.take(reason, self.now_ns).is_some()
    }

    /// Records something that the robot said to all, within the budget of such records.
    pub(super) fn record_message(&mut self, key: FlowKey, service: Service, said: Said, text: Text<96>) {
        let Some(unreported) = self.budgets.take_message(self.now_ns) else { return };
        self.record(Record::Message(MessageRecord { key, service, said, text, unreported }));
    }

    /// Keeps a copy of the current frame with the records of a refused command, if it is the frame that brought it.
    pub(super) fn keep(&mut self, event: EventId, verdict: Verdict) {
        if self.frame != 0 && self.toward == Toward::Robot {
            self.actions.keep(event.0, verdict);
        }
    }
}

/// Frame records a second for each reason; beyond, they are counted and reported with the next one. A flood fills a
/// queue otherwise: 20 a second tell where it comes from.
const BUDGET_PER_SECOND: u32 = 20;

/// One second in nanoseconds.
const SECOND_NS: u64 = 1_000_000_000;

/// Keeps the records of frame refusals bounded, reason by reason.
#[derive(Clone, Debug)]
pub(super) struct Budgets {
    windows: [Window; Reason::ALL.len()],
    /// Frames below IP that went toward the robot in the current window.
    listed: Window,
    /// Of these, those of spanning tree.
    bridges: Window,
    /// What the robot said to all in the current window.
    messages: Window,
}

/// What the robot says to all, told of in ten seconds; beyond, it is counted and reported with the next one. A start or a
/// protective stop makes about ten messages, which every listener gets; a program that writes a text each cycle would
/// fill the records for good.
const MESSAGES: u32 = 40;
const MESSAGES_WINDOW_NS: u64 = 10 * SECOND_NS;

/// Frames below IP that may go toward the robot in a tenth of a second: 20,000 a second, sixteen PROFINET devices at
/// a millisecond with room to spare; a flood is ten times that.
const LISTED: u32 = 2_000;
/// Frames of spanning tree that may go toward the robot in the same time. A bridge says hello every two seconds and a few
/// times more when something changes; with a tree for each of 64 VLANs (IEEE 802.1Q, MSTP) in one frame it is no more.
const BRIDGES: u32 = 50;
const LISTED_WINDOW_NS: u64 = 100_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    start_ns: u64,
    used: u32,
    suppressed: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        let windows = [Window::default(); Reason::ALL.len()];
        Self { windows, listed: Window::default(), bridges: Window::default(), messages: Window::default() }
    }
}

impl Budgets {
    /// Whether one more frame below IP may go toward the robot. Those of bridges have a budget of their own, which a storm
    /// of others does not use up.
    pub(super) fn take_listed(&mut self, is_bridges: bool, now_ns: u64) -> bool {
        let (window, most) = if is_bridges { (&mut self.bridges, BRIDGES) } else { (&mut self.listed, LISTED) };
        if now_ns.saturating_sub(window.start_ns) >= LISTED_WINDOW_NS {
            *window = Window { start_ns: now_ns, ..Window::default() };
        }
        window.used = window.used.saturating_add(1);
        window.used <= most
    }

    /// Whether a record of a refused frame may be made now; how many were not, since the last.
    fn take(&mut self, reason: Reason, now_ns: u64) -> Option<u32> {
        self.windows.get_mut(reason as usize)?.take(now_ns, SECOND_NS, BUDGET_PER_SECOND)
    }

    /// The same of what the robot said to all.
    fn take_message(&mut self, now_ns: u64) -> Option<u32> {
        self.messages.take(now_ns, MESSAGES_WINDOW_NS, MESSAGES)
    }
}

impl Window {
    fn take(&mut self, now_ns: u64, length_ns: u64, most: u32) -> Option<u32> {
        if now_ns.saturating_sub(self.start_ns) >= length_ns {
            self.start_ns = now_ns;
            self.used = 0;
        }
        if self.used >= most {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.used = self.used.saturating_add(1);
        Some(std::mem::take(&mut self.suppressed))
    }
}
