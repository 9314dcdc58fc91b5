//! One segment of a known connection: states, the gate, answers.

use dissect::Toward;
use link::craft::{Segment, Template};
use link::{Checksum, FlowKey, Packet, Tcp, TcpFlags, seq};

use super::connection::{admit, close, end, refused};
use super::counters::Counters;
use super::judge::Observer;
use super::lines::stamps;
use super::pipeline::{Fate, SharedArena};
use super::reset;
use super::rules::{Checksums, Rules};
use super::scene::Scene;
use super::spliced::{Told, Watch, slot_of};
use crate::command::Service;
use crate::event::{Action, FlowEnd, Notice, Reason, Record};
use crate::flow::{End, Flow, FlowId, State, flag};
use crate::gate::{self, Exactness, Outcome, Releases, SpliceSegment};
use crate::inspect;

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

    /// The connection without its frame.
    pub(super) fn watch(&mut self, slot: usize) -> Watch<'_, 's, O> {
        Watch {
            arena: self.arena,
            rules: self.rules,
            observer: self.observer,
            scene: self.scene,
            id: self.id,
            slot,
        }
    }

    pub(super) fn refused(&mut self, reason: Reason) -> Fate {
        refused(self.scene, self.packet, self.key, reason)
    }

    /// Takes it.
    pub(super) fn take(mut self) -> Fate {
        let (toward, enforce) = (self.scene.toward, self.scene.enforce);
        let (now_ns, wall_ns, wire_len) = (self.scene.now_ns, self.scene.wall_ns, self.scene.wire_len);
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        if flow.state() == State::Dead {
            return if enforce { self.dead() } else { Fate::Forward };
        }
        let mut fate = Fate::Forward;
        if enforce && toward == Toward::Robot {
            if !flow.tags.same_stack(&self.packet.tags) {
                return refused(self.scene, self.packet, self.key, Reason::VlanStack);
            }
            if flow.macs != [self.packet.source, self.packet.destination] {
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
        if self.rules.mode.judges() && flow.generation != self.scene.generation {
            flow.generation = self.scene.generation;
            flow.client = self.rules.policy.client(self.key.plant.ip()).0;
            let (service, opened) = (Service::of_tcp_port(flow.service_port), flow.opened());
            if let Err((reason, rule)) = admit(self.rules, &self.key, service, opened, now_ns) {
                self.scene.refuse_frame(Some(self.packet), Some(self.key), reason, rule);
                if enforce {
                    end(self.arena, self.scene, self.id, Action::Reset, reason);
                    return Fate::Drop(reason);
                }
                fate = Fate::Drop(reason);
            }
        }
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return fate };
        flow.count(toward, wire_len, now_ns, wall_ns);
        if enforce && flow.is(flag::DISSECTED) && !flow.is(flag::ENFORCED) && !self.begin_enforcing() {
            return refused(self.scene, self.packet, self.key, Reason::MidStream);
        }
        let judged = if self.tcp.flags.syn() {
            self.syn()
        } else if self.tcp.flags.rst() {
            self.rst()
        } else {
            self.segment()
        };
        self.note_due();
        if judged == Fate::Forward { fate } else { judged }
    }

    /// Enforcement can begin on a live connection only where nothing was missed; otherwise it ends.
    fn begin_enforcing(&mut self) -> bool {
        let slot = self.slot();
        let clean = slot.and_then(|slot| self.arena.watched.get(slot)).is_some_and(|watched| watched.gate.is_clean());
        let readable = self.flow().is_some_and(|flow| !flow.is(flag::UNREADABLE));
        if clean && readable {
            if let Some(flow) = self.flow() {
                flow.set(flag::ENFORCED, true);
            }
            self.splice_text();
            return true;
        }
        end(self.arena, self.scene, self.id, Action::Reset, Reason::MidStream);
        false
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
        let refuses_syn =
            flow.state() == State::SynSent && toward != flow.opened() && self.tcp.ack == flow.end(flow.opened()).next;
        let exact =
            seq_number == flow.end(toward).next || seq_number == flow.end(toward.reverse()).acked || refuses_syn;
        let enforced = flow.is(flag::ENFORCED) && toward == Toward::Robot;
        let watched = slot.and_then(|slot| self.arena.watched.get(slot));
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
        if self.scene.actions.send(Toward::Plant, &template, &segment) {
            Counters::add(&mut self.scene.counters.crafted, Toward::Plant);
        }
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
            return self.refused(Reason::DataOutsideStream);
        }
        if enforce && dissected && has_data && toward == Toward::Robot && flow.state() == State::Closed {
            // Whether the robot took the end of the connection is not known for sure.
            return self.refused(Reason::ConnectionEnded);
        }
        if enforce && dissected && toward == Toward::Robot && self.is_old(slot) {
            return self.refused(Reason::OldTimestamp);
        }
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        if flow.state() == State::SynReceived && toward == flow.opened() {
            flow.set_state(State::Established);
            if enforce && dissected {
                note_stamps(flow, self.tcp, toward);
                flow.end_mut(toward).acked = self.tcp.ack;
                flow.end_mut(toward).window = self.tcp.window;
                if self.splice_text() && !has_data {
                    return Fate::Forward;
                }
            }
        }
        if let Some(slot) = slot
            && self.arena.watched.get(slot).is_some_and(|watched| watched.gate.is_spliced())
        {
            return self.spliced(slot);
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
        if matches!(fate, Fate::Drop(_)) && enforce {
            return fate;
        }
        self.note_segment(slot, fate);
        fate
    }

    /// Whether the robot would drop the segment for its timestamp. Source: RFC 7323 section 5.3.
    fn is_old(&mut self, slot: Option<usize>) -> bool {
        let (Some((value, _)), Some(_)) = (self.tcp.timestamps(), slot) else { return false };
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
        note_stamps(flow, self.tcp, toward);
        let (seq_end, ack) = (self.tcp.seq_end(), self.tcp.ack);
        let sender = flow.end_mut(toward);
        sender.advance(seq_end);
        sender.window = self.tcp.window;
        if !sender.is(End::ACKED) || seq::before(sender.acked, ack) {
            sender.acked = ack;
            sender.flags |= End::ACKED;
        }
        let watched = slot.and_then(|slot| self.arena.watched.get_mut(slot));
        if self.tcp.flags.fin() && !watched.as_ref().is_some_and(|watched| watched.gate.is_spliced()) {
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
        let long = self.flow().is_some_and(|flow| Service::of_tcp_port(flow.service_port) == Service::UrScript);
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
        note_stamps(flow, tcp, toward);
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

    fn toward_robot(&mut self, slot: usize) -> Fate {
        let enforced = self.scene.enforce;
        let has_data = !self.tcp.payload.is_empty();
        let fin = self.tcp.flags.fin();
        if let Some(watched) = self.arena.watched.get_mut(slot) {
            let ack = self.tcp.ack.of_data(self.arena.flows.flow(self.id), Toward::Plant);
            if let Err(reason) = watched.gate.acknowledge_reply(ack, enforced) {
                return self.refused(reason);
            }
        }
        let unreadable = self.flow().is_some_and(|flow| flow.is(flag::UNREADABLE));
        if unreadable && !enforced {
            return Fate::Forward;
        }
        let mut releases = Releases::default();
        let mut outcome = Outcome::Forward;
        let mut told = Told::default();
        if has_data {
            let segment = gate::Segment { seq: self.tcp.seq, payload: self.tcp.payload, now_ns: self.scene.now_ns };
            let mss = self.flow().map_or(1, |flow| flow.payload_mss(Toward::Robot));
            let judged = self.watch(slot).with(|gate, stores, outside| {
                gate.accept(stores.commands, &segment, enforced, mss, outside, &mut releases)
            });
            (outcome, told) = judged.unwrap_or((Outcome::Drop(Reason::EngineFault), told));
        }
        if !enforced {
            return match outcome {
                Outcome::Refuse { reason, .. } => {
                    self.give_up_reading(reason);
                    Fate::Drop(reason)
                }
                _ => told.refusal.map_or(Fate::Forward, |verdict| Fate::Drop(verdict.reason)),
            };
        }
        let fin_in_order = match self.fin_in_order(slot, fin) {
            Ok(in_order) => in_order,
            Err(reason) => {
                if !matches!(outcome, Outcome::Refuse { .. } | Outcome::Splice { .. }) {
                    outcome = reason;
                }
                false
            }
        };
        self.carry_out(slot, outcome, &releases, told, fin_in_order)
    }

    /// Whether the segment's FIN may go to the robot now.
    fn fin_in_order(&self, slot: usize, fin: bool) -> Result<bool, Outcome> {
        let (true, Some(watched)) = (fin, self.arena.watched.get(slot)) else { return Ok(false) };
        let stream = watched.gate.commands();
        let at = self.tcp.seq_end().wrapping_sub(1);
        if at != stream.accepted() {
            // Before bytes that came it would cut a unit short.
            let early = seq::before(at, stream.accepted());
            return Err(Outcome::Drop(if early { Reason::DataOutsideStream } else { Reason::OutOfOrder }));
        }
        if stream.is_drained() {
            Ok(true)
        } else {
            Err(Outcome::Refuse { action: Action::Reset, reason: Reason::FinInUnit })
        }
    }

    fn carry_out(&mut self, slot: usize, outcome: Outcome, releases: &Releases, told: Told, fin: bool) -> Fate {
        match outcome {
            Outcome::Forward => {
                if self.tcp.flags.fin() && !fin {
                    Fate::Drop(Reason::OutOfOrder)
                } else {
                    Fate::Forward
                }
            }
            Outcome::Replace => {
                self.send_pieces(slot, releases, fin);
                if self.arena.watched.get(slot).is_some_and(|watched| watched.gate.commands().has_hole()) {
                    // Without it the client would learn of one lost segment by a time-out: a gap of 374 ms at 500 Hz.
                    self.acknowledge_for_robot();
                }
                Fate::Absorb
            }
            Outcome::Splice { sent } => {
                let tcp = self.tcp;
                if let Some(flow) = self.flow() {
                    let end = flow.end_mut(Toward::Robot);
                    end.window = tcp.window;
                    if !end.is(End::ACKED) || seq::before(end.acked, tcp.ack) {
                        end.acked = tcp.ack;
                    }
                    note_stamps(flow, tcp, Toward::Robot);
                }
                let mut watch = self.watch(slot);
                watch.splice(Some(sent));
                if tcp.flags.fin() {
                    // The spliced gate takes the FIN; the bytes before it are known to it.
                    return self.spliced(slot);
                }
                watch.advance();
                Fate::Absorb
            }
            Outcome::Probe => {
                // With a FIN it is the last byte once more, which the robot has.
                self.send_empty(if fin { self.tcp.seq_end().wrapping_sub(1) } else { self.tcp.seq }, fin);
                Fate::Absorb
            }
            Outcome::Repeated => {
                self.acknowledge_for_robot();
                Fate::Absorb
            }
            Outcome::Drop(reason) => {
                if reason == Reason::OutOfOrder {
                    self.acknowledge_for_robot();
                }
                self.refused(reason)
            }
            Outcome::Refuse { action, reason } => {
                if releases.iter().next().is_some() {
                    self.send_pieces(slot, releases, false);
                }
                self.watch(slot).refuse(action, reason, told, true);
                Fate::Drop(reason)
            }
        }
    }

    /// Sends what was released, in the client's name; with nothing released, the segment's acknowledgement alone.
    fn send_pieces(&mut self, slot: usize, releases: &Releases, fin: bool) {
        let SharedArena { watched, commands, .. } = &*self.arena;
        let (Some(watched), Some(store)) = (watched.get(slot), commands.get(slot)) else { return };
        let stream = watched.gate.commands();
        let Some(template) = Template::along(self.packet) else { return };
        let mut last = releases.iter().count();
        if last == 0 {
            self.send_empty(stream.released(), fin);
            return;
        }
        for (at, len) in releases.iter() {
            last = last.saturating_sub(1);
            let fin_bit = if fin && last == 0 { TcpFlags::FIN.0 } else { 0 };
            let segment = Segment {
                seq: at,
                ack: self.tcp.ack,
                flags: TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0 | fin_bit),
                window: self.tcp.window,
                timestamps: self.tcp.timestamps(),
                payload: stream.bytes(store, at, at.wrapping_add(len)),
                ..Segment::default()
            };
            if self.scene.actions.send(Toward::Robot, &template, &segment) {
                Counters::add(&mut self.scene.counters.crafted, Toward::Robot);
            }
        }
    }

    fn send_empty(&mut self, at: u32, fin: bool) {
        let Some(template) = Template::along(self.packet) else { return };
        let fin_bit = if fin { TcpFlags::FIN.0 } else { 0 };
        let segment = Segment {
            seq: at,
            ack: self.tcp.ack,
            flags: TcpFlags(TcpFlags::ACK.0 | fin_bit),
            window: self.tcp.window,
            timestamps: self.tcp.timestamps(),
            ..Segment::default()
        };
        if self.scene.actions.send(self.scene.toward, &template, &segment) {
            Counters::add(&mut self.scene.counters.crafted, self.scene.toward);
        }
    }

    fn toward_plant(&mut self, slot: usize) -> Fate {
        let enforce = self.scene.enforce;
        let Some(watched) = self.arena.watched.get_mut(slot) else { return Fate::Forward };
        if self.tcp.flags.ack() {
            let ack = self.tcp.ack.of_data(self.arena.flows.flow(self.id), Toward::Robot);
            if enforce {
                if let Err(reason) = watched.gate.acknowledge(ack) {
                    return self.refused(reason);
                }
            } else if watched.gate.acknowledge_passive(ack) {
                watched.session = inspect::Session::new();
            }
        }
        if !self.tcp.payload.is_empty() {
            let (start, payload) = (self.tcp.seq, self.tcp.payload);
            self.watch(slot).with(|gate, stores, outside| gate.pass_reply(stores.answers, start, payload, outside));
        }
        Fate::Forward
    }

    /// Outside enforcement: the stream toward the robot can't be read further.
    fn give_up_reading(&mut self, reason: Reason) {
        if let Some(flow) = self.flow() {
            flow.set(flag::UNREADABLE, true);
        }
        self.scene.record(Record::Notice(Notice::Unreadable { key: self.key, reason }));
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

/// Keeps the newest timestamps of a sender, from segments that do not lie beyond a hole: what a receiver compares later
/// ones with. Source: RFC 7323 section 4.3.
fn note_stamps(flow: &mut Flow, tcp: &Tcp<'_>, toward: Toward) {
    let Some((value, echo)) = tcp.timestamps() else { return };
    let sender = flow.end_mut(toward);
    let first = !sender.is(End::ACKED);
    if first || (!seq::before(value, sender.timestamp[0]) && !seq::before(sender.next, tcp.seq)) {
        sender.timestamp = [value, echo];
    }
}

/// Acknowledgements of a FIN count one more than the bytes.
trait AckOfData {
    /// The acknowledgement of what was sent `toward` a side, without its FIN.
    fn of_data(self, flow: Option<&Flow>, toward: Toward) -> Self;
}

impl AckOfData for u32 {
    fn of_data(self, flow: Option<&Flow>, toward: Toward) -> Self {
        match flow.map(|flow| *flow.end(toward)) {
            Some(end) if end.is(End::FIN) && self == end.next => self.wrapping_sub(1),
            _ => self,
        }
    }
}
