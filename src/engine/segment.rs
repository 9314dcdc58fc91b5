//! One segment of a known connection: its states, where it stands, and whether the gate splices it or not.

use dissect::Toward;
use external_control::Channel;
use link::craft::{Segment, Template};
use link::{Checksum, FlowKey, Packet, Tcp, TcpFlags, seq};

use super::connection::{close, end, refused, service_of};
use super::judge::Observer;
use super::lines::stamps;
use super::pipeline::{Fate, SharedArena};
use super::renew::renew;
use super::reset;
use super::rules::{Checksums, Rules};
use super::scene::Scene;
use super::spliced::{Watch, slot_of};
use crate::command::Service;
use crate::event::{Action, FlowEnd, Reason, RuleId};
use crate::flow::{End, Flow, FlowId, State, flag};
use crate::gate::{self, Exactness, SpliceSegment};

/// At most one reset in this time answers the segments of an ended connection.
const ANSWER_RESET_NS: u64 = 100_000_000;

/// One segment of a known connection, with everything that it touches.
pub(super) struct Connection<'x, 's, 'f, O> {
    pub(super) arena: &'x mut SharedArena,
    pub(super) rules: &'x Rules,
    pub(super) observer: &'x mut O,
    pub(super) scene: &'x mut Scene<'s>,
    pub(super) packet: &'x Packet<'f>,
    pub(super) tcp: &'x Tcp<'f>,
    pub(super) key: FlowKey,
    pub(super) id: FlowId,
}

impl<'s, O: Observer> Connection<'_, 's, '_, O> {
    pub(super) fn flow(&mut self) -> Option<&mut Flow> {
        self.arena.flows.flow_mut(self.id)
    }

    pub(super) fn slot(&self) -> Option<usize> {
        slot_of(self.arena, self.id)
    }

    pub(super) fn is_spliced(&self) -> bool {
        self.slot().and_then(|slot| self.arena.watched.get(slot)).is_some_and(|watched| watched.gate.is_spliced())
    }

    /// The connection without its frame.
    pub(super) fn watch(&mut self, slot: usize) -> Watch<'_, 's, O> {
        Watch { arena: self.arena, rules: self.rules, observer: self.observer, scene: self.scene, id: self.id, slot }
    }

    pub(super) fn refused(&mut self, reason: Reason) -> Fate {
        refused(self.scene, self.packet, self.key, reason)
    }

    /// Takes it.
    pub(super) fn take(mut self) -> Fate {
        let (toward, enforce) = (self.scene.toward, self.scene.enforce);
        let (now_ns, wall_ns, wire_len) = (self.scene.now_ns, self.scene.wall_ns, self.scene.wire_len);
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        let shifted = flow.is(flag::SHIFTED) && matches!(flow.state(), State::Dead | State::Closed);
        if shifted || (enforce && flow.state() == State::Dead) {
            return match self.dead() {
                Fate::Drop(_) if !enforce => Fate::Absorb,
                other => other,
            };
        }
        if flow.state() == State::Dead {
            return Fate::Forward;
        }
        let mut fate = Fate::Forward;
        // Of a mirrored conversation the robot gets the answers: both directions lead to somebody who is guarded.
        if enforce && (toward == Toward::Robot || self.scene.mirrored) {
            if !flow.tags.same_stack(&self.packet.tags) {
                return refused(self.scene, self.packet, self.key, Reason::VlanStack);
            }
            let [client, guarded] = flow.macs;
            let macs = if toward == Toward::Robot { [client, guarded] } else { [guarded, client] };
            if macs != [self.packet.source, self.packet.destination] {
                return refused(self.scene, self.packet, self.key, Reason::MacMismatch);
            }
        }
        // Of what is read or sent on, a damaged copy must not be kept: neither end would take it.
        if enforce
            && (toward == Toward::Robot || flow.is(flag::DISSECTED))
            && self.rules.checksums == Checksums::Verify
            && !self.scene.checksum_partial
            && matches!(self.packet.transport_checksum(), Some(Checksum::Invalid | Checksum::Partial))
        {
            return refused(self.scene, self.packet, self.key, Reason::BadChecksum);
        }
        if flow.generation != self.scene.generation
            && self.rules.mode.judges()
            && let Err((reason, rule)) = renew(self.arena, self.rules, self.scene, self.id)
        {
            self.scene.refuse_frame(Some(self.packet), Some(self.key), reason, rule);
            if enforce {
                end(self.arena, self.scene, self.id, Action::Reset, reason);
                return Fate::Drop(reason);
            }
            fate = Fate::Drop(reason);
        }
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return fate };
        flow.count(toward, wire_len, now_ns, wall_ns);
        if enforce && flow.is(flag::DISSECTED) && !flow.is(flag::ENFORCED) && !self.begin_enforcing() {
            return refused(self.scene, self.packet, self.key, Reason::MidStream);
        }
        let spliced = self.is_spliced();
        self.text_over(toward);
        let judged = if self.tcp.flags.syn() {
            self.syn()
        } else if self.tcp.flags.rst() {
            self.rst()
        } else {
            self.segment()
        };
        self.note_due();
        match judged {
            Fate::Forward => fate,
            // Its numbers are not those of the other end: what is not taken in is dropped in every mode.
            Fate::Drop(_) if spliced && !enforce => Fate::Absorb,
            other => other,
        }
    }

    /// Outside enforcement a text that is handed to the robot ends where the robot asks again, or the connection ends.
    fn text_over(&mut self, toward: Toward) {
        let ends = self.tcp.flags.fin() || self.tcp.flags.rst();
        let asks = toward == Toward::Plant && !self.tcp.payload.is_empty();
        let is_text = self.flow().is_some_and(|flow| flow.channel == Channel::Script as u8);
        if is_text
            && !self.scene.enforce
            && (ends || asks)
            && let Some(slot) = self.slot()
        {
            self.watch(slot).with(|_, _, outside| outside.text_over());
        }
    }

    /// Enforcement can begin on a live connection only where nothing was missed; otherwise it ends.
    fn begin_enforcing(&mut self) -> bool {
        let slot = self.slot();
        let watched = slot.and_then(|slot| self.arena.watched.get(slot));
        let clean = watched.is_some_and(|watched| watched.gate.is_clean() && !watched.session.text_under_way());
        let readable = self.flow().is_some_and(|flow| !flow.is(flag::UNREADABLE) && flow.is(flag::FROM_START));
        // Anybody could claim anything in the client's name so far: what counts is what the robot said.
        let consistent = self.is_spliced() || self.believes_the_robot_alone(slot);
        if clean && readable && consistent {
            if let Some(flow) = self.flow() {
                flow.set(flag::ENFORCED, true);
            }
            if !self.is_spliced() {
                self.splice_text();
            }
            return true;
        }
        end(self.arena, self.scene, self.id, Action::Reset, Reason::MidStream);
        false
    }

    /// Whether the client is known to have acknowledged no more than the robot sent. Its newest timestamp becomes the one
    /// that the robot echoed last.
    fn believes_the_robot_alone(&mut self, slot: Option<usize>) -> bool {
        let SharedArena { flows, watched, .. } = &mut *self.arena;
        let (Some(flow), Some(watched)) = (flows.flow_mut(self.id), slot.and_then(|slot| watched.get(slot))) else {
            return false;
        };
        let robot = *flow.end(Toward::Plant);
        if flow.both(End::TIMESTAMPS) {
            flow.end_mut(Toward::Robot).timestamp[0] = robot.timestamp[1];
        }
        let claimed = [flow.end(Toward::Robot).acked, watched.gate.answers().accepted()];
        claimed.into_iter().all(|number| !seq::before(robot.next, number))
    }

    /// A segment of a connection that the box ended.
    fn dead(&mut self) -> Fate {
        let (toward, now_ns) = (self.scene.toward, self.scene.now_ns);
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        if self.tcp.flags.rst() {
            return if toward == Toward::Plant { Fate::Forward } else { Fate::Drop(Reason::ConnectionEnded) };
        }
        let silent = flow.is(flag::SILENT);
        let quiet = now_ns.saturating_sub(flow.last_ns) < ANSWER_RESET_NS;
        if !silent && !quiet && self.tcp.flags.ack() && !self.tcp.flags.syn() {
            flow.last_ns = now_ns;
            if let Some(back) = Template::answering(self.packet) {
                reset::answer(self.scene, &back, self.tcp.ack, self.tcp.seq_end());
            }
        }
        Fate::Drop(Reason::ConnectionEnded)
    }

    fn rst(&mut self) -> Fate {
        let (toward, seq_number) = (self.scene.toward, self.tcp.seq);
        let slot = self.slot();
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        if flow.state() == State::SynSent && toward == flow.opened() && self.scene.enforce && flow.is(flag::DISSECTED) {
            // The client's answer to such a challenge: about the robot's old connection, not about this one.
            let bare = self.tcp.payload.is_empty();
            return if bare { Fate::Forward } else { self.refused(Reason::DataOutsideStream) };
        }
        let refuses_syn =
            flow.state() == State::SynSent && toward != flow.opened() && self.tcp.ack == flow.end(flow.opened()).next;
        let exact =
            seq_number == flow.end(toward).next || seq_number == flow.end(toward.reverse()).acked || refuses_syn;
        let enforced = flow.is(flag::ENFORCED) && toward == Toward::Robot;
        let dissected = flow.is(flag::DISSECTED);
        let watched = slot.and_then(|slot| self.arena.watched.get(slot));
        let with_data = (enforced || self.scene.enforce) && dissected && !self.tcp.payload.is_empty();
        if with_data {
            let (packet, key) = (Some(self.packet), Some(self.key));
            self.scene.refuse_frame(packet, key, Reason::DataOutsideStream, RuleId::NONE);
        }
        if let (Some(slot), Some(watched)) = (slot, watched)
            && watched.gate.is_spliced()
        {
            return self.spliced_rst(slot);
        }
        if let (true, Some(watched)) = (enforced, watched) {
            let stream = watched.gate.commands();
            let within = !seq::before(seq_number, stream.base()) && !seq::before(stream.accepted(), seq_number);
            if !within {
                // In the window but not exact: answered as the robot would. Source: RFC 5961 section 3.2.
                self.acknowledge_for_robot();
                return self.refused(Reason::ResetInexact);
            }
            if seq_number != stream.released() || !self.tcp.payload.is_empty() {
                reset::both(self.scene, flow, Some(watched));
                close(self.arena, self.scene, self.id, FlowEnd::Reset);
                return Fate::Absorb;
            }
        }
        if with_data && toward == Toward::Robot {
            // Nobody judges any more: the connection has ended before.
            return Fate::Drop(Reason::DataOutsideStream);
        }
        if exact || enforced {
            close(self.arena, self.scene, self.id, FlowEnd::Reset);
        }
        Fate::Forward
    }

    /// A reset on a spliced connection ends the other side too, if it is exact.
    fn spliced_rst(&mut self, slot: usize) -> Fate {
        let (toward, seq_number, now_ns) = (self.scene.toward, self.tcp.seq, self.scene.now_ns);
        let SharedArena { flows, watched, .. } = &mut *self.arena;
        let (Some(flow), Some(watched)) = (flows.flow(self.id), watched.get_mut(slot)) else {
            return Fate::Drop(Reason::EngineFault);
        };
        match (watched.gate.judges_reset(toward, seq_number), toward) {
            (Exactness::Exact, Toward::Robot) => {
                watched.gate.client_reset(now_ns);
                self.watch(slot).advance();
                Fate::Absorb
            }
            (Exactness::Exact, Toward::Plant) => {
                reset::plant(self.scene, flow, watched);
                close(self.arena, self.scene, self.id, FlowEnd::Reset);
                Fate::Absorb
            }
            (Exactness::InWindow, _) => {
                self.watch(slot).challenge(toward);
                self.refused(Reason::ResetInexact)
            }
            (Exactness::Outside, _) => self.refused(Reason::ResetInexact),
        }
    }

    /// Sends the client the robot's last acknowledgement again, with what is held beyond holes.
    pub(super) fn acknowledge_for_robot(&mut self) {
        let slot = self.slot();
        let Some(flow) = self.arena.flows.flow(self.id) else { return };
        let robot = flow.end(Toward::Plant);
        let Some(template) = reset::template(flow, Toward::Plant) else { return };
        let mut sack = [(0, 0); 3];
        let mut ranges = 0_usize;
        if let Some(watched) = slot.and_then(|slot| self.arena.watched.get(slot))
            && flow.both(End::SACK)
        {
            for (place, range) in sack.iter_mut().zip(watched.gate.commands().ranges_ahead()) {
                *place = range;
                ranges = ranges.saturating_add(1);
            }
        }
        let segment = Segment {
            seq: robot.next,
            ack: robot.acked,
            flags: TcpFlags::ACK,
            window: robot.window,
            timestamps: stamps(flow, Toward::Plant),
            sack: sack.get(..ranges).unwrap_or_default(),
            ..Segment::default()
        };
        self.scene.send(Toward::Plant, &template, &segment);
    }

    /// A segment that is neither SYN nor RST.
    fn segment(&mut self) -> Fate {
        let toward = self.scene.toward;
        let enforce = self.scene.enforce;
        let slot = self.slot();
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        let has_data = !self.tcp.payload.is_empty();
        let dissected = flow.is(flag::DISSECTED);
        if enforce && dissected && flow.state() == State::SynSent {
            // The robot still has an old connection of these ports: it says where that one stands, and the client's reset
            // ends it. Source: RFC 5961 section 4.2.
            let challenge = toward != flow.opened() && !has_data && !self.tcp.flags.fin();
            return if challenge { Fate::Forward } else { self.refused(Reason::DataOutsideStream) };
        }
        if enforce && dissected && has_data && toward == Toward::Robot && slot.is_none() {
            // Whether the robot took the end of the connection is not known for sure, and nobody judges any more.
            return self.refused(Reason::DataOutsideStream);
        }
        if enforce && dissected && self.is_signed() {
            return self.refused(Reason::TcpOption);
        }
        // Spliced, the box is the receiver, and sends with timestamps of its own choice: nothing can be ambiguous.
        let spliced = self.is_spliced();
        let mut stands = Stands::In;
        if let Some(slot) = slot
            && enforce
            && dissected
            && !spliced
            && toward == Toward::Robot
        {
            stands = self.stands(slot);
            match stands {
                Stands::In => {}
                Stands::BadAcknowledgement => {
                    // Answered as the robot would. Source: RFC 5961 section 5.2.
                    self.acknowledge_for_robot();
                    return self.refused(Reason::BadFlags);
                }
                // The robot answers or not, as on a cable; nothing is learned from it.
                Stands::Outside if !has_data && !self.tcp.flags.fin() => return Fate::Forward,
                Stands::Outside => {}
            }
        }
        if enforce && dissected && !spliced && toward == Toward::Robot && self.is_old() {
            // What brings nothing new is an old copy that was overtaken: nobody's mistake.
            let news = slot.and_then(|slot| self.arena.watched.get(slot)).is_some_and(|watched| {
                has_data && seq::before(watched.gate.received(Toward::Robot), self.tcp.seq_end())
            });
            return if news { self.refused(Reason::OldTimestamp) } else { Fate::Drop(Reason::OldTimestamp) };
        }
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        if flow.state() == State::SynReceived && toward == flow.opened() {
            flow.set_state(State::Established);
            if enforce && dissected {
                let expected = flow.end(toward).next;
                note_stamps(flow, self.tcp, toward, expected);
                flow.end_mut(toward).acked = self.tcp.ack;
                flow.end_mut(toward).window = self.tcp.window;
                if self.splice_text() && !has_data && !self.tcp.flags.fin() {
                    return Fate::Forward;
                }
            }
        }
        if let Some(slot) = slot
            && self.is_spliced()
        {
            return self.spliced(slot);
        }
        if let Some(slot) = slot
            && let Some(fate) = self.adopt(slot)
        {
            return fate;
        }
        // Without its FIN: the last data may be repeated together with it.
        let data_end = self.tcp.seq_end().wrapping_sub(u32::from(self.tcp.flags.fin()));
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        if enforce
            && flow.is(flag::ENFORCED)
            && flow.end(toward).is(End::FIN)
            && has_data
            && seq::before(flow.end(toward).next.wrapping_sub(1), data_end)
        {
            return self.refused(Reason::DataOutsideStream);
        }
        let fate = match (toward, slot) {
            (Toward::Robot, Some(slot)) => self.toward_robot(slot),
            (Toward::Plant, Some(slot)) => self.toward_plant(slot),
            (_, None) => Fate::Forward,
        };
        if (matches!(fate, Fate::Drop(_)) && enforce) || stands != Stands::In {
            return fate;
        }
        self.note_segment(slot, fate);
        fate
    }

    /// Whether a segment toward the robot stands where the client can stand, so that the robot would take it. What does
    /// not may come from somebody who only knows the ports. Source: RFC 9293 section 3.10.7.4, RFC 5961 section 5.2.
    fn stands(&self, slot: usize) -> Stands {
        let SharedArena { flows, watched, .. } = &*self.arena;
        let (Some(flow), Some(watched)) = (flows.flow(self.id), watched.get(slot)) else { return Stands::Outside };
        let (start, end) = (self.tcp.seq, self.tcp.seq_end());
        let sent = flow.end(Toward::Plant).next;
        let window = LARGEST_WINDOW << flow.window_shift(Toward::Robot);
        let behind = sent.wrapping_sub(self.tcp.ack);
        if self.tcp.flags.ack() && (seq::before(sent, self.tcp.ack) || behind > window.saturating_add(1)) {
            return Stands::BadAcknowledgement;
        }
        // One before it: keepalives and probes.
        let first = watched.gate.commands().base().wrapping_sub(1);
        let window = LARGEST_WINDOW << flow.window_shift(Toward::Plant);
        let last = first.wrapping_add(window.saturating_add(1));
        if seq::before(end, first) || seq::before(last, start) { Stands::Outside } else { Stands::In }
    }

    /// Whether it carries a signature, which a receiver without the key has its own way with (RFC 2385, 5925).
    fn is_signed(&self) -> bool {
        // No options, or timestamps alone: nearly every segment.
        if matches!(self.tcp.option_bytes, [] | [1, 1, 8, 10, ..]) && self.tcp.option_bytes.len() <= 12 {
            return false;
        }
        let options = self.tcp.option_summary();
        options.md5 || options.authentication
    }

    /// Whether the robot would drop the segment for its timestamp. Source: RFC 7323 section 5.3.
    fn is_old(&mut self) -> bool {
        let Some((value, _)) = self.tcp.timestamps() else { return false };
        let Some(flow) = self.flow() else { return false };
        flow.both(End::TIMESTAMPS)
            && flow.state() != State::SynReceived
            && seq::before(value, flow.end(Toward::Robot).timestamp[0])
    }

    /// Takes in what a segment that passed says of its sender.
    fn note_segment(&mut self, slot: Option<usize>, fate: Fate) {
        let toward = self.scene.toward;
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return };
        if flow.state() == State::Dead {
            return;
        }
        let gate = slot.and_then(|slot| self.arena.watched.get(slot)).map(|watched| &watched.gate);
        let expected = match (toward, gate) {
            (Toward::Robot, Some(gate)) => gate.received(toward),
            _ => flow.end(toward).next,
        };
        note_stamps(flow, self.tcp, toward, expected);
        let (seq_end, ack) = (self.tcp.seq_end(), self.tcp.ack);
        let sender = flow.end_mut(toward);
        sender.advance(seq_end);
        sender.window = self.tcp.window;
        if !sender.is(End::ACKED) || seq::before(sender.acked, ack) {
            sender.acked = ack;
            sender.flags |= End::ACKED;
        }
        let watched = slot.and_then(|slot| self.arena.watched.get_mut(slot));
        let spliced = watched.as_ref().is_some_and(|watched| watched.gate.is_spliced());
        // A robot that did not get a reset may close later: that opens nothing again.
        if self.tcp.flags.fin() && !spliced && flow.state() != State::Closed {
            let sender = flow.end_mut(toward);
            sender.flags |= End::FIN;
            flow.set_state(State::Closing);
            if let Some(watched) = watched
                && fate != Fate::Drop(Reason::OutOfOrder)
            {
                watched.gate.pass_fin(toward, seq_end.wrapping_sub(1));
            }
        }
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return };
        let done = |toward: Toward| {
            let (sender, receiver) = (flow.end(toward), flow.end(toward.reverse()));
            sender.is(End::FIN) && receiver.acked == sender.next
        };
        if flow.state() == State::Closing && done(Toward::Robot) && done(Toward::Plant) {
            close(self.arena, self.scene, self.id, FlowEnd::Closed);
        }
    }

    /// Services whose units are long are spliced from the start: a sender stops after 14,480 unacknowledged bytes, and
    /// real programs have 42 to 48 kB. Says whether the connection is spliced now.
    fn splice_text(&mut self) -> bool {
        let long = self.flow().is_some_and(|flow| carries_text(flow));
        let slot = self.slot();
        let can = slot.and_then(|slot| self.arena.watched.get(slot)).is_some_and(|watched| watched.gate.can_splice());
        match slot {
            Some(slot) if long && can => {
                self.watch(slot).splice(None);
                true
            }
            _ => false,
        }
    }

    /// A segment of a spliced connection.
    fn spliced(&mut self, slot: usize) -> Fate {
        let (toward, tcp) = (self.scene.toward, self.tcp);
        let Some(flow) = self.flow() else { return Fate::Drop(Reason::EngineFault) };
        let window = u32::from(tcp.window) << flow.window_shift(toward);
        if let Some(watched) = self.arena.watched.get(slot)
            && let Some(flow) = self.arena.flows.flow_mut(self.id)
        {
            let expected = watched.gate.received(toward);
            let sender = flow.end_mut(toward);
            sender.advance(expected);
            sender.window = tcp.window;
            if !seq::before(tcp.seq_end(), expected) {
                note_stamps(flow, tcp, toward, expected);
            }
        }
        let segment = SpliceSegment {
            toward,
            seq: self.tcp.seq,
            ack: self.tcp.flags.ack().then_some(self.tcp.ack),
            window,
            fin: self.tcp.flags.fin(),
            payload: self.tcp.payload,
            now_ns: self.scene.now_ns,
        };
        let mut watch = self.watch(slot);
        let Some((outcome, told)) = watch.with(|gate, stores, outside| gate.take(stores, &segment, outside)) else {
            return Fate::Drop(Reason::EngineFault);
        };
        match watch.finish(outcome, told, true) {
            Some(reason) if matches!(outcome, gate::Spliced::Drop(_)) => self.refused(reason),
            Some(reason) => Fate::Drop(reason),
            None => Fate::Absorb,
        }
    }

    fn note_due(&mut self) {
        let Some(slot) = self.slot() else { return };
        let due_ns = self.arena.watched.get(slot).and_then(|watched| watched.gate.due_ns());
        let dead = self.flow().is_some_and(|flow| flow.state() == State::Dead);
        if !dead && let Some(due) = self.arena.due.get_mut(slot) {
            *due = due_ns.unwrap_or(0);
        }
    }
}

/// Whether its units are texts, which can be long.
fn carries_text(flow: &Flow) -> bool {
    service_of(flow) == Service::UrScript || flow.channel == Channel::Script as u8
}

/// Largest window without scaling.
const LARGEST_WINDOW: u32 = 65_535;

/// Where a segment toward the robot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// Where the client can stand.
    In,
    /// Its acknowledgement is none that the client can have sent.
    BadAcknowledgement,
    /// Beside what the robot expects.
    Outside,
}

/// Keeps the newest timestamps of a sender, from segments that do not lie beyond a hole: what a receiver compares later
/// ones with; `expected` is the next number in order. Source: RFC 7323 section 4.3.
pub(super) fn note_stamps(flow: &mut Flow, tcp: &Tcp<'_>, toward: Toward, expected: u32) {
    let Some((value, echo)) = tcp.timestamps() else { return };
    let sender = flow.end_mut(toward);
    let first = !sender.is(End::ACKED);
    if first || (!seq::before(value, sender.timestamp[0]) && !seq::before(expected, tcp.seq)) {
        sender.timestamp = [value, echo];
    }
}
