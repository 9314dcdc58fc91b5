//! TCP: opening, the gate, answers, ends.

use dissect::{Step, Toward};
use link::craft::{Segment, Template};
use link::{Checksum, FlowKey, Packet, Tcp, TcpFlags, seq};

use super::arena::WATCHED;
use super::counters::Counters;
use super::judge::{Observer, UnitJudge, Who};
use super::pipeline::{Fate, SharedArena};
use super::reset;
use super::rules::{Checksums, Rules};
use super::scene::Scene;
use crate::command::Service;
use crate::event::{
    Action, Answer, EventId, FlowEnd, FlowRecord, Notice, Reason, Record, RuleId, Verdict,
};
use crate::flow::{End, Flow, FlowId, State, flag};
use crate::gate::{self, Gate, Outcome, Releases, Stream};
use crate::inspect;
use crate::policy::Client;

/// How long an ended connection stays ended: longer than any sender keeps trying.
/// Source: design of the gate, I11; Linux gives up after 15 retransmissions, 13 to 30 minutes, but each try is answered
/// with a reset that ends it.
pub(super) const DEAD_NS: u64 = 600_000_000_000;

/// When resets are repeated: Linux answers one challenge in 500 ms, so the second comes after that.
/// Source: RFC 5961 section 5; Linux `tcp_invalid_ratelimit` is 500 ms.
const RESET_AGAIN_NS: [u64; 2] = [200_000_000, 1_000_000_000];

/// At most one reset in this time answers the segments of an ended connection.
const ANSWER_RESET_NS: u64 = 100_000_000;

/// Takes one TCP segment.
pub(super) fn tcp<O: Observer>(
    arena: &mut SharedArena,
    rules: &Rules,
    observer: &mut O,
    scene: &mut Scene<'_>,
    packet: &Packet<'_>,
    tcp: &Tcp<'_>,
) -> Fate {
    let Some(key) = FlowKey::of(packet, scene.toward) else { return Fate::Drop(Reason::EngineFault) };
    if rules.mode.judges() && let Err(reason) = plausible(tcp) {
        return refused(scene, packet, key, reason);
    }
    if let Some(id) = arena.flows.find(&key) {
        let starts_anew = tcp.flags.syn()
            && !tcp.flags.ack()
            && arena.flows.flow(id).is_some_and(|flow| match flow.state() {
                State::Closed => true,
                State::Dead => scene.now_ns.saturating_sub(flow.last_ns) > DEAD_NS || !rules.mode.enforces(),
                _ => false,
            });
        if !starts_anew {
            return Connection { arena, rules, observer, scene, packet, tcp, key, id }.take();
        }
        remove(arena, id);
    }
    open(arena, rules, observer, scene, packet, tcp, key)
}

/// Flags that no honest stack sends, and data that receivers read in two ways.
fn plausible(tcp: &Tcp<'_>) -> Result<(), Reason> {
    let flags = tcp.flags;
    if flags.syn() && (flags.fin() || flags.rst()) || !(flags.syn() || flags.rst() || flags.ack()) {
        return Err(Reason::BadFlags);
    }
    if flags.urg() && !tcp.payload.is_empty() {
        return Err(Reason::UrgentData);
    }
    if flags.syn() && !tcp.payload.is_empty() {
        return Err(Reason::DataOutsideStream);
    }
    Ok(())
}

fn refused(scene: &mut Scene<'_>, packet: &Packet<'_>, key: FlowKey, reason: Reason) -> Fate {
    scene.refuse_frame(Some(packet), Some(key), reason, RuleId::NONE);
    Fate::Drop(reason)
}

/// Whether this conversation may exist.
pub(super) fn admit(
    rules: &Rules,
    key: &FlowKey,
    service: Service,
    opened: Toward,
    now_ns: u64,
) -> Result<(), (Reason, RuleId)> {
    if !rules.is_robot(key.robot.ip()) {
        return Err((Reason::UnknownDevice, RuleId::NONE));
    }
    let client = rules.policy.client(key.plant.ip());
    let verdict = rules.policy.admit(client, service, opened, now_ns);
    if verdict.is_allowed() { Ok(()) } else { Err((verdict.reason, verdict.rule)) }
}

/// Adds a conversation; where the table is full, takes out one of a few that nobody misses.
pub(super) fn insert(arena: &mut SharedArena, scene: &mut Scene<'_>, key: &FlowKey) -> Option<FlowId> {
    if let Some(id) = arena.flows.insert(key) {
        return Some(id);
    }
    // A bounded search from a place that differs from frame to frame: half-open and ended ones go first; never one
    // that is established.
    let start = key.plant.port ^ key.robot.port;
    let place = |step: u16| FlowId(start.wrapping_add(step.wrapping_mul(61)) % CAPACITY);
    let victim = (0..16).map(place).find(|id| {
        arena.flows.flow(*id).is_some_and(|flow| {
            matches!(flow.state(), State::SynSent | State::SynReceived | State::Closed | State::Datagrams)
        })
    })?;
    report(arena, scene, victim, FlowEnd::TimedOut);
    remove(arena, victim);
    arena.flows.insert(key)
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const CAPACITY: u16 = crate::flow::CAPACITY as u16;

/// A segment of no known connection.
fn open<O: Observer>(
    arena: &mut SharedArena,
    rules: &Rules,
    observer: &mut O,
    scene: &mut Scene<'_>,
    packet: &Packet<'_>,
    tcp: &Tcp<'_>,
    key: FlowKey,
) -> Fate {
    let syn = tcp.flags.syn() && !tcp.flags.ack();
    let opened = if syn { scene.toward } else { opener(&key, scene.toward) };
    let port = key.destination(opened).port;
    let service = Service::of_tcp_port(port);
    let mut fate = Fate::Forward;
    if rules.mode.judges() {
        if let Err((reason, rule)) = admit(rules, &key, service, opened, scene.now_ns) {
            scene.refuse_frame(Some(packet), Some(key), reason, rule);
            fate = Fate::Drop(reason);
        } else if scene.enforce && !syn {
            return mid_stream(scene, packet, tcp, key);
        } else if syn && has_unguarded_option(tcp) {
            fate = refused(scene, packet, key, Reason::TcpOption);
        }
        if scene.enforce && fate != Fate::Forward {
            return fate;
        }
    }
    if tcp.flags.rst() {
        return fate;
    }
    let full = |scene: &mut Scene<'_>| {
        scene.counters.untracked = scene.counters.untracked.saturating_add(1);
        if scene.enforce { refused(scene, packet, key, Reason::FlowTableFull) } else { fate }
    };
    let Some(id) = insert(arena, scene, &key) else { return full(scene) };
    let dissected = service.is_dissected() && opened == Toward::Robot;
    let slot = if dissected { arena.watch(u32::from(id.0)) } else { None };
    if dissected && slot.is_none() {
        if scene.enforce {
            remove(arena, id);
        }
        return full(scene);
    }
    let next = if syn { tcp.seq.wrapping_add(1) } else { tcp.seq };
    let begins = if scene.toward == Toward::Robot { next } else { tcp.ack };
    if let Some(watched) = slot.and_then(|slot| arena.watched.get_mut(slot)) {
        watched.gate = Gate::new(begins);
        watched.answers = Stream::new(if scene.toward == Toward::Robot { tcp.ack } else { next });
    }
    let Some(flow) = arena.flows.flow_mut(id) else { return fate };
    flow.set_opened(opened);
    flow.set_state(if syn { State::SynSent } else { State::Established });
    flow.set(flag::FROM_START, syn);
    flow.set(flag::DISSECTED, dissected);
    flow.set(flag::ENFORCED, scene.enforce && dissected);
    flow.stream = slot.map_or(0, |slot| u32::try_from(slot).unwrap_or_default().saturating_add(1));
    flow.client = rules.policy.client(key.plant.ip()).0;
    flow.generation = scene.generation;
    flow.service_port = port;
    flow.tags = packet.tags;
    flow.macs = match scene.toward {
        Toward::Robot => [packet.source, packet.destination],
        Toward::Plant => [packet.destination, packet.source],
    };
    flow.wall_ns[0] = scene.wall_ns;
    observer.connection(&Who { key, opened, service, wall_ns: scene.wall_ns });
    if syn {
        flow.count(scene.toward, scene.wire_len, scene.now_ns, scene.wall_ns);
        begin_end(flow.end_mut(scene.toward), tcp);
        return fate;
    }
    for (toward, at) in [(scene.toward, tcp.seq), (scene.toward.reverse(), tcp.ack)] {
        flow.end_mut(toward).next = at;
        flow.end_mut(toward).mss = DEFAULT_MSS;
    }
    match (Connection { arena, rules, observer, scene, packet, tcp, key, id }.take()) {
        Fate::Forward => fate,
        other => other,
    }
}

/// Who opened a connection whose SYN was not seen: whoever talks to a known service, else the plant side.
fn opener(key: &FlowKey, toward: Toward) -> Toward {
    if Service::of_tcp_port(key.robot.port).is_dissected() {
        Toward::Robot
    } else if key.plant.port < key.robot.port {
        Toward::Plant
    } else if key.plant.port > key.robot.port {
        Toward::Robot
    } else {
        toward
    }
}

/// Segment size where a SYN says nothing. Source: RFC 9293 section 3.7.1.
const DEFAULT_MSS: u16 = 536;

fn begin_end(end: &mut End, tcp: &Tcp<'_>) {
    let options = tcp.option_summary();
    end.isn = tcp.seq;
    end.next = tcp.seq.wrapping_add(1);
    end.mss = options.maximum_segment_size.unwrap_or(DEFAULT_MSS);
    if options.timestamps.is_some() {
        end.flags |= End::TIMESTAMPS;
    }
}

/// Options that let data travel outside the sequence space the gate guards, or that break when a frame is rewritten.
fn has_unguarded_option(tcp: &Tcp<'_>) -> bool {
    let options = tcp.option_summary();
    options.fast_open || options.multipath || options.md5 || options.authentication || options.malformed
}

/// A connection that was open before the box saw it: ends at both sides, with numbers from this live segment.
fn mid_stream(scene: &mut Scene<'_>, packet: &Packet<'_>, tcp: &Tcp<'_>, key: FlowKey) -> Fate {
    if tcp.flags.rst() {
        return if scene.toward == Toward::Plant { Fate::Forward } else { Fate::Drop(Reason::MidStream) };
    }
    let fate = refused(scene, packet, key, Reason::MidStream);
    if tcp.flags.ack()
        && let (Some(along), Some(back)) = (Template::along(packet), Template::answering(packet))
    {
        reset::answer(scene, &back, tcp.ack, tcp.seq_end());
        let segment = Segment { seq: tcp.seq, ack: tcp.ack, flags: RST_ACK, ..Segment::default() };
        if scene.actions.send(scene.toward, &along, &segment) {
            Counters::add(&mut scene.counters.crafted, scene.toward);
        }
    }
    fate
}

const RST_ACK: TcpFlags = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);

/// One segment of a known connection, with everything that it touches.
struct Connection<'x, 's, 'f, O> {
    arena: &'x mut SharedArena,
    rules: &'x Rules,
    observer: &'x mut O,
    scene: &'x mut Scene<'s>,
    packet: &'x Packet<'f>,
    tcp: &'x Tcp<'f>,
    key: FlowKey,
    id: FlowId,
}

impl<O: Observer> Connection<'_, '_, '_, O> {
    fn flow(&mut self) -> Option<&mut Flow> {
        self.arena.flows.flow_mut(self.id)
    }

    fn slot(&mut self) -> Option<usize> {
        self.flow().and_then(|flow| (flow.stream as usize).checked_sub(1))
    }

    fn take(mut self) -> Fate {
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
        let refuses_syn = flow.state() == State::SynSent
            && toward != flow.opened()
            && self.tcp.ack == flow.end(flow.opened()).next;
        let exact = seq_number == flow.end(toward).next || seq_number == flow.end(toward.reverse()).acked || refuses_syn;
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
        if enforce && flow.is(flag::ENFORCED) && flow.end(toward).is(End::FIN) && has_data
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
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return (Outcome::Drop(Reason::EngineFault), None) };
        let SharedArena { watched, commands, robot, rates, .. } = &mut *self.arena;
        let (Some(watched), Some(store)) = (watched.get_mut(slot), commands.get_mut(slot)) else {
            return (Outcome::Drop(Reason::EngineFault), None);
        };
        let (port, opened) = (flow.service_port, flow.opened());
        let who = Who { key: self.key, opened, service: Service::of_tcp_port(port), wall_ns: self.scene.wall_ns };
        let segment =
            gate::Segment { seq: self.tcp.seq, payload: self.tcp.payload, now_ns: self.scene.now_ns };
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
                if self.tcp.flags.fin() && !fin { Fate::Drop(Reason::OutOfOrder) } else { Fate::Forward }
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
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return };
        if flow.is(flag::ANSWERS_UNREADABLE) {
            return;
        }
        let service = Service::of_tcp_port(flow.service_port);
        if service == Service::UrScript {
            return;
        }
        let SharedArena { watched, answers, robot, .. } = &mut *self.arena;
        let (Some(watched), Some(store)) = (watched.get_mut(slot), answers.get_mut(slot)) else { return };
        let (start, payload) = (self.tcp.seq, self.tcp.payload);
        let drained = watched.answers.is_drained() && watched.answers.accepted() == start;
        let mut lost = false;
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

/// Ends a connection: nothing passes any more, both ends get resets unless it is to be silent.
pub(super) fn end(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId, action: Action, reason: Reason) {
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    if flow.state() == State::Dead {
        return;
    }
    flow.set_state(State::Dead);
    flow.reason = reason as u8;
    flow.set(flag::SILENT, action == Action::Drop);
    flow.last_ns = scene.now_ns;
    let slot = (flow.stream as usize).checked_sub(1);
    if action != Action::Drop {
        let watched = slot.and_then(|slot| arena.watched.get(slot));
        reset::both(scene, flow, watched);
        flow.resets = u8::try_from(RESET_AGAIN_NS.len()).unwrap_or_default();
    }
    if let Some(due) = slot.and_then(|slot| arena.due.get_mut(slot)) {
        let [first, _] = RESET_AGAIN_NS;
        *due = scene.now_ns.saturating_add(first);
    }
    report(arena, scene, id, FlowEnd::Refused);
}

/// Ends the connection that is watched in a slot.
pub(super) fn end_watched(arena: &mut SharedArena, rules: &Rules, scene: &mut Scene<'_>, slot: usize, reason: Reason) {
    let Some(watched) = arena.watched.get(slot) else { return };
    if watched.used == 0 {
        return;
    }
    let Ok(id) = u16::try_from(watched.flow).map(FlowId) else { return };
    if rules.mode.enforces() {
        end(arena, scene, id, Action::Reset, reason);
    } else if let Some(flow) = arena.flows.flow_mut(id) {
        flow.set(flag::UNREADABLE, true);
    }
}

/// A watched connection asked to be looked at: a unit ran out of time, or resets are to be repeated.
pub(super) fn due(arena: &mut SharedArena, rules: &Rules, scene: &mut Scene<'_>, slot: usize) {
    let Some(watched) = arena.watched.get(slot) else { return };
    let Ok(id) = u16::try_from(watched.flow).map(FlowId) else { return };
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    if flow.state() != State::Dead {
        if let Some(due) = arena.due.get_mut(slot) {
            *due = 0;
        }
        end_watched(arena, rules, scene, slot, Reason::UnitTimeout);
        return;
    }
    if flow.resets == 0 || flow.is(flag::SILENT) {
        flow.stream = 0;
        arena.unwatch(slot);
        return;
    }
    flow.resets = flow.resets.saturating_sub(1);
    let [_, second] = RESET_AGAIN_NS;
    reset::both(scene, flow, Some(watched));
    if let Some(due) = arena.due.get_mut(slot) {
        *due = scene.now_ns.saturating_add(second);
    }
}

/// Records a conversation, once.
pub(super) fn report(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId, how: FlowEnd) {
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    if flow.is(flag::REPORTED) {
        return;
    }
    flow.set(flag::REPORTED, true);
    let service = match flow.key.protocol {
        link::protocol::TCP => Service::of_tcp_port(flow.service_port),
        link::protocol::UDP => Service::Udp(flow.service_port),
        _ => Service::Icmp,
    };
    let reason = match how {
        FlowEnd::Refused => Reason::ALL.get(usize::from(flow.reason)).copied().unwrap_or(Reason::EngineFault),
        _ => Reason::Allowed,
    };
    let record = FlowRecord {
        key: flow.key,
        opened: flow.opened(),
        service,
        start_ns: flow.wall_ns[0],
        end_ns: flow.wall_ns[1],
        frames: flow.frames,
        bytes: flow.bytes,
        commands: flow.commands,
        end: how,
        reason,
    };
    scene.record(Record::Flow(record));
}

/// Takes a conversation out of the table.
pub(super) fn remove(arena: &mut SharedArena, id: FlowId) {
    let slot = arena.flows.flow(id).and_then(|flow| (flow.stream as usize).checked_sub(1));
    if let Some(slot) = slot.filter(|slot| *slot < WATCHED) {
        arena.unwatch(slot);
    }
    arena.flows.remove(id);
}
