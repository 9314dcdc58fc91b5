//! One segment of a known connection: states, the gate, answers.

use dissect::{Step, Toward};
use link::craft::{Segment, Template};
use link::{Checksum, FlowKey, Packet, Tcp, TcpFlags, seq};

use super::connection::{admit, begin_end, end, refused, report, unfinished};
use super::counters::Counters;
use super::judge::{Observer, UnitJudge, Who};
use super::pipeline::{Fate, SharedArena};
use super::reset;
use super::rules::{Checksums, Rules};
use super::scene::Scene;
use crate::command::Service;
use crate::event::{Action, Answer, EventId, FlowEnd, Notice, Reason, Record, Verdict};
use crate::flow::{End, Flow, FlowId, State, flag};
use crate::gate::{self, Gate, Outcome, Releases, Stream};
use crate::inspect;
use crate::policy::Client;

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
    /// Whether a refusal by this segment has its record.
    pub(super) told: bool,
}

impl<O: Observer> Connection<'_, '_, '_, O> {
    fn flow(&mut self) -> Option<&mut Flow> {
        self.arena.flows.flow_mut(self.id)
    }

    fn slot(&mut self) -> Option<usize> {
        self.flow().and_then(|flow| (flow.stream as usize).checked_sub(1))
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
            if self.rules.checksums == Checksums::Verify
                && !self.scene.checksum_partial
                && matches!(self.packet.transport_checksum(), Some(Checksum::Invalid | Checksum::Partial))
            {
                return refused(self.scene, self.packet, self.key, Reason::BadChecksum);
            }
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

    fn syn(&mut self) -> Fate {
        let toward = self.scene.toward;
        let (enforce, seq_number, ack_number) = (self.scene.enforce, self.tcp.seq, self.tcp.ack);
        let slot = self.slot();
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        let opening = matches!(flow.state(), State::SynSent | State::SynReceived);
        if self.tcp.flags.ack() {
            if toward == flow.opened() {
                return if enforce { Fate::Drop(Reason::SplitHandshake) } else { Fate::Forward };
            }
            let opener = flow.end(flow.opened());
            if !opening || ack_number != opener.isn.wrapping_add(1) {
                return if enforce && opening { Fate::Drop(Reason::BadFlags) } else { Fate::Forward };
            }
            begin_end(flow.end_mut(toward), self.tcp);
            flow.set_state(State::SynReceived);
            if let Some(watched) = slot.and_then(|slot| self.arena.watched.get_mut(slot)) {
                watched.answers = Stream::new(seq_number.wrapping_add(1));
            }
            return Fate::Forward;
        }
        if toward != flow.opened() {
            if enforce && opening {
                end(self.arena, self.scene, self.id, Action::Reset, Reason::SplitHandshake);
                return refused(self.scene, self.packet, self.key, Reason::SplitHandshake);
            }
            return Fate::Forward;
        }
        if opening && seq_number != flow.end(toward).isn {
            // The client begins anew before the handshake is through; the answer tells which number counts.
            begin_end(flow.end_mut(toward), self.tcp);
            flow.set_state(State::SynSent);
            if let Some(watched) = slot.and_then(|slot| self.arena.watched.get_mut(slot)) {
                watched.gate = Gate::new(seq_number.wrapping_add(1));
            }
        }
        Fate::Forward
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
        if let (true, Some(watched)) = (enforced, watched) {
            let stream = watched.gate.stream();
            let within = !seq::before(seq_number, stream.base()) && !seq::before(stream.accepted(), seq_number);
            if !within {
                self.challenge();
                return refused(self.scene, self.packet, self.key, Reason::ResetInexact);
            }
            if seq_number != stream.released() || !self.tcp.payload.is_empty() {
                reset::both(self.scene, flow, Some(watched));
                self.close(FlowEnd::Reset);
                return Fate::Absorb;
            }
        }
        if exact || enforced {
            self.close(FlowEnd::Reset);
        }
        Fate::Forward
    }

    /// Answers a reset that is in the window but not exact as the robot would: with its last acknowledgement.
    /// Source: RFC 5961 section 3.2.
    fn challenge(&mut self) {
        self.acknowledge_for_robot();
    }

    /// Sends the client the robot's last acknowledgement again.
    fn acknowledge_for_robot(&mut self) {
        let Some(flow) = self.arena.flows.flow(self.id) else { return };
        let robot = flow.end(Toward::Plant);
        let Some(template) = reset::template(flow, Toward::Plant) else { return };
        let segment = Segment {
            seq: robot.next,
            ack: robot.acked,
            flags: TcpFlags::ACK,
            window: robot.window,
            timestamps: reset::timestamps(flow, Toward::Plant),
            ..Segment::default()
        };
        if self.scene.actions.send(Toward::Plant, &template, &segment) {
            Counters::add(&mut self.scene.counters.crafted, Toward::Plant);
        }
    }

    fn close(&mut self, how: FlowEnd) {
        report(self.arena, self.scene, self.id, how);
        let slot = self.slot();
        if let Some(flow) = self.flow() {
            flow.set_state(State::Closed);
            flow.stream = 0;
        }
        if let Some(slot) = slot {
            self.arena.unwatch(slot);
        }
    }

    /// A segment that is neither SYN nor RST.
    fn segment(&mut self) -> Fate {
        let toward = self.scene.toward;
        let enforce = self.scene.enforce;
        let stamps = self.tcp.timestamps();
        let slot = self.slot();
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        let has_data = !self.tcp.payload.is_empty();
        if flow.state() == State::SynSent && enforce && flow.is(flag::DISSECTED) {
            return refused(self.scene, self.packet, self.key, Reason::DataOutsideStream);
        }
        if flow.state() == State::SynReceived && toward == flow.opened() {
            flow.set_state(State::Established);
        }
        if enforce
            && flow.is(flag::ENFORCED)
            && flow.end(toward).is(End::FIN)
            && has_data
            && seq::before(flow.end(toward).next.wrapping_sub(1), self.tcp.seq_end())
        {
            return refused(self.scene, self.packet, self.key, Reason::DataOutsideStream);
        }
        let fate = match (toward, slot) {
            (Toward::Robot, Some(slot)) => self.toward_robot(slot),
            (Toward::Plant, Some(slot)) => self.toward_plant(slot),
            (_, None) => Fate::Forward,
        };
        if matches!(fate, Fate::Drop(_)) && enforce {
            return fate;
        }
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return fate };
        if flow.state() == State::Dead {
            return fate;
        }
        let (seq_end, ack) = (self.tcp.seq_end(), self.tcp.ack);
        let fin = self.tcp.flags.fin();
        let sender = flow.end_mut(toward);
        sender.advance(seq_end);
        sender.window = self.tcp.window;
        if let Some((value, echo)) = stamps {
            sender.timestamp = [value, echo];
        }
        if !sender.is(End::ACKED) || seq::before(sender.acked, ack) {
            sender.acked = ack;
            sender.flags |= End::ACKED;
        }
        if fin {
            sender.flags |= End::FIN;
            flow.set_state(State::Closing);
        }
        let done = |toward: Toward| {
            let (sender, receiver) = (flow.end(toward), flow.end(toward.reverse()));
            sender.is(End::FIN) && receiver.acked == sender.next
        };
        if flow.state() == State::Closing && done(Toward::Robot) && done(Toward::Plant) {
            self.close(FlowEnd::Closed);
        }
        fate
    }

    fn toward_robot(&mut self, slot: usize) -> Fate {
        let enforced = self.scene.enforce;
        let has_data = !self.tcp.payload.is_empty();
        let fin = self.tcp.flags.fin();
        let unreadable = self.flow().is_some_and(|flow| flow.is(flag::UNREADABLE));
        if unreadable && !enforced {
            return Fate::Forward;
        }
        let mut releases = Releases::default();
        let mut outcome = Outcome::Forward;
        let mut would_refuse = None;
        if has_data {
            (outcome, would_refuse) = self.judge(slot, &mut releases);
        } else if enforced && self.is_keepalive(slot) {
            outcome = Outcome::Forward;
        }
        if !enforced {
            return match outcome {
                Outcome::Refuse { reason, .. } => {
                    self.give_up_reading(reason);
                    Fate::Drop(reason)
                }
                _ => would_refuse.map_or(Fate::Forward, |verdict| Fate::Drop(verdict.reason)),
            };
        }
        let fin_in_order = match self.fin_in_order(slot, fin) {
            Ok(in_order) => in_order,
            Err(reason) => {
                if !matches!(outcome, Outcome::Refuse { .. }) {
                    outcome = reason;
                }
                false
            }
        };
        self.carry_out(slot, outcome, &releases, fin_in_order)
    }

    fn is_keepalive(&self, slot: usize) -> bool {
        self.arena.watched.get(slot).is_some_and(|watched| self.tcp.seq == watched.gate.stream().base().wrapping_sub(1))
    }

    /// Whether the segment's FIN may go to the robot now.
    fn fin_in_order(&self, slot: usize, fin: bool) -> Result<bool, Outcome> {
        let (true, Some(watched)) = (fin, self.arena.watched.get(slot)) else { return Ok(false) };
        let stream = watched.gate.stream();
        let at = self.tcp.seq_end().wrapping_sub(1);
        if at != stream.accepted() {
            return if seq::before(stream.accepted(), at) { Err(Outcome::Drop(Reason::OutOfOrder)) } else { Ok(true) };
        }
        if stream.is_drained() {
            Ok(true)
        } else {
            Err(Outcome::Refuse { action: Action::Reset, reason: Reason::FinInUnit })
        }
    }

    fn judge(&mut self, slot: usize, releases: &mut Releases) -> (Outcome, Option<Verdict>) {
        let enforce = self.scene.enforce;
        let SharedArena { flows, watched, commands, robot, rates, .. } = &mut *self.arena;
        let (Some(flow), Some(watched), Some(store)) =
            (flows.flow_mut(self.id), watched.get_mut(slot), commands.get_mut(slot))
        else {
            return (Outcome::Drop(Reason::EngineFault), None);
        };
        let (port, opened) = (flow.service_port, flow.opened());
        let who = Who {
            key: self.key,
            opened,
            service: Service::of_tcp_port(port),
            wall_ns: self.scene.wall_ns,
            frame: self.scene.frame,
        };
        let segment = gate::Segment { seq: self.tcp.seq, payload: self.tcp.payload, now_ns: self.scene.now_ns };
        let mss = u32::from(flow.end(Toward::Plant).mss);
        let mut judge = UnitJudge {
            who,
            port,
            client: Client(flow.client),
            session: &mut watched.session,
            rules: self.rules,
            state: robot,
            rates,
            observer: self.observer,
            scene: self.scene,
            counts: [0; 2],
            refusal: None,
        };
        let outcome = watched.gate.accept(store, &segment, enforce, mss, &mut judge, releases);
        let (counts, refusal) = (judge.counts, judge.refusal);
        self.told = refusal.is_some();
        for (total, count) in flow.commands.iter_mut().zip(counts) {
            *total = total.saturating_add(count);
        }
        for (total, count) in self.scene.counters.commands.iter_mut().zip(counts) {
            *total = total.saturating_add(count);
        }
        (outcome, refusal)
    }

    fn carry_out(&mut self, slot: usize, outcome: Outcome, releases: &Releases, fin: bool) -> Fate {
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
                Fate::Absorb
            }
            Outcome::Probe => {
                self.send_empty(self.tcp.seq, fin);
                Fate::Absorb
            }
            Outcome::Repeated => {
                self.acknowledge_for_robot();
                Fate::Absorb
            }
            Outcome::Drop(reason) => refused(self.scene, self.packet, self.key, reason),
            Outcome::Refuse { action, reason } => {
                if releases.iter().next().is_some() {
                    self.send_pieces(slot, releases, false);
                }
                if !self.told {
                    unfinished(self.arena, self.scene, self.id, reason, Some(self.packet));
                }
                end(self.arena, self.scene, self.id, action, reason);
                Fate::Drop(reason)
            }
        }
    }

    /// Sends what was released, in the client's name; with nothing released, the segment's acknowledgement alone.
    fn send_pieces(&mut self, slot: usize, releases: &Releases, fin: bool) {
        let SharedArena { watched, commands, .. } = &*self.arena;
        let (Some(watched), Some(store)) = (watched.get(slot), commands.get(slot)) else { return };
        let stream = watched.gate.stream();
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
            if enforce {
                if let Err(reason) = watched.gate.acknowledge(self.tcp.ack.min_fin(self.arena.flows.flow(self.id))) {
                    return refused(self.scene, self.packet, self.key, reason);
                }
            } else if watched.gate.acknowledge_passive(self.tcp.ack.min_fin(self.arena.flows.flow(self.id))) {
                watched.session = inspect::Session::new();
            }
        }
        if !self.tcp.payload.is_empty() {
            self.read_answers(slot);
        }
        Fate::Forward
    }

    /// Reads what the robot says; never holds or changes it.
    fn read_answers(&mut self, slot: usize) {
        let SharedArena { flows, watched, answers, robot, .. } = &mut *self.arena;
        let Some(flow) = flows.flow_mut(self.id) else { return };
        if flow.is(flag::ANSWERS_UNREADABLE) {
            return;
        }
        let service = Service::of_tcp_port(flow.service_port);
        if service == Service::UrScript {
            return;
        }
        let (Some(watched), Some(store)) = (watched.get_mut(slot), answers.get_mut(slot)) else { return };
        let (start, payload) = (self.tcp.seq, self.tcp.payload);
        let drained = watched.answers.is_drained() && watched.answers.accepted() == start;
        let mut lost;
        if drained {
            let (session, scene, key) = (&mut watched.session, &mut *self.scene, self.key);
            let read = answers_in(session, service, payload, robot, scene, key);
            lost = read.is_none();
            let rest = payload.get(read.unwrap_or(payload.len())..).unwrap_or_default();
            let after = start.wrapping_add(u32::try_from(payload.len().saturating_sub(rest.len())).unwrap_or_default());
            watched.answers = Stream::new(after);
            lost |= watched.answers.append(store, rest).is_err();
        } else if watched.answers.insert(store, start, payload).is_err() {
            lost = true;
        } else {
            let held = watched.answers.held(store);
            let read = answers_in(&mut watched.session, service, held, robot, self.scene, self.key);
            lost = read.is_none();
            watched.answers.release(read.unwrap_or(held.len()));
            watched.answers.acknowledge(watched.answers.released());
        }
        if lost {
            flow.set(flag::ANSWERS_UNREADABLE, true);
            let what = "answers can't be read further on this connection";
            self.scene.record(Record::Notice(Notice::Anomaly { key: self.key, service, what }));
        }
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
        let deadline = self.arena.watched.get(slot).and_then(|watched| watched.gate.deadline_ns());
        let dead = self.flow().is_some_and(|flow| flow.state() == State::Dead);
        if !dead && let Some(due) = self.arena.due.get_mut(slot) {
            *due = deadline.unwrap_or(0);
        }
    }
}

/// Acknowledgements of a FIN count one more than the bytes.
trait AckOfData {
    fn min_fin(self, flow: Option<&Flow>) -> u32;
}

impl AckOfData for u32 {
    fn min_fin(self, flow: Option<&Flow>) -> u32 {
        match flow.map(|flow| *flow.end(Toward::Robot)) {
            Some(end) if end.is(End::FIN) && self == end.next => self.wrapping_sub(1),
            _ => self,
        }
    }
}

/// Reads the whole answers at the start of `bytes`; how many bytes they took, or nothing where they can't be read.
fn answers_in(
    session: &mut inspect::Session,
    service: Service,
    bytes: &[u8],
    robot: &mut crate::robot::State,
    scene: &mut Scene<'_>,
    key: FlowKey,
) -> Option<usize> {
    let mut taken = 0_usize;
    loop {
        let rest = bytes.get(taken..).unwrap_or_default();
        if rest.is_empty() {
            return Some(taken);
        }
        match inspect::read_answer(session, service, rest, robot, scene.now_ns) {
            Ok(Step::Partial { .. }) => return Some(taken),
            Ok(Step::Whole { unit, len }) => {
                taken = taken.saturating_add(len.max(1));
                if unit.recorded {
                    scene.record(Record::Answer(Answer {
                        to: EventId(unit.to.unwrap_or(0)),
                        key,
                        service,
                        exception: unit.exception,
                        values: unit.values,
                        values_len: unit.values_len,
                        text: unit.text,
                    }));
                }
                if unit.unsolicited {
                    let what = "an answer that answers nothing outstanding";
                    scene.record(Record::Notice(Notice::Anomaly { key, service, what }));
                }
            }
            Err(_) => return None,
        }
    }
}
