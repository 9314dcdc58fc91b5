//! A segment of a connection whose ends talk to each other: what the gate says of it, carried out in the ends' own
//! sequence numbers.

use dissect::Toward;
use link::craft::{Segment, Template};
use link::{TcpFlags, seq};

use super::judge::Observer;
use super::pipeline::{Fate, SharedArena};
use super::segment::{Connection, note_stamps};
use super::spliced::Told;
use crate::event::{Action, Notice, Reason, Record};
use crate::flow::{End, Flow, flag};
use crate::gate::{self, Outcome, Releases, SpliceSegment};

impl<O: Observer> Connection<'_, '_, '_, O> {
    pub(super) fn toward_robot(&mut self, slot: usize) -> Fate {
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
            let (end, now_ns) = (self.tcp.seq_end(), self.scene.now_ns);
            let robot = self.flow().map(|flow| {
                let robot = flow.end(Toward::Plant);
                let mut edge = robot.acked.wrapping_add(u32::from(robot.window));
                if seq::before(edge, end) {
                    // A window that is scaled reaches farther; few are, and fewer segments need to know.
                    edge = robot.acked.wrapping_add(flow.window(Toward::Plant));
                }
                (flow.payload_mss(), edge)
            });
            let (mss, edge) = robot.unwrap_or((1, self.tcp.seq));
            let segment = gate::Segment { seq: self.tcp.seq, payload: self.tcp.payload, edge, now_ns };
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
        let spliced = matches!(outcome, Outcome::Splice { .. });
        let fin_in_order = match self.fin_in_order(slot, fin && !spliced) {
            Ok(in_order) => in_order,
            Err(refusal) => {
                if outcome == Outcome::Replace && releases.iter().next().is_some() {
                    // What it let go leaves, without its FIN: it was judged, and waits for nothing.
                    self.send_pieces(slot, &releases, false);
                }
                if !matches!(outcome, Outcome::Refuse { .. } | Outcome::Splice { .. }) {
                    outcome = refusal;
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
                    note_stamps(flow, tcp, Toward::Robot, tcp.seq);
                }
                let mut watch = self.watch(slot);
                watch.splice(Some(sent));
                if tcp.flags.fin() {
                    return self.splice_fin(slot, told);
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

    /// The segment that spliced the connection was the client's last: its bytes are taken in, its FIN follows.
    fn splice_fin(&mut self, slot: usize, told: Told) -> Fate {
        let window = self.flow().map_or(0, |flow| flow.window(Toward::Robot));
        let segment = SpliceSegment {
            toward: Toward::Robot,
            seq: self.tcp.seq_end().wrapping_sub(1),
            ack: self.tcp.flags.ack().then_some(self.tcp.ack),
            window,
            fin: true,
            payload: &[],
            now_ns: self.scene.now_ns,
        };
        let mut watch = self.watch(slot);
        let Some((outcome, then)) = watch.with(|gate, stores, outside| gate.take(stores, &segment, outside)) else {
            return Fate::Drop(Reason::EngineFault);
        };
        let told = if then.refusal.is_some() { then } else { told };
        match watch.finish(outcome, told, true) {
            Some(reason) => Fate::Drop(reason),
            None => Fate::Absorb,
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
            self.scene.send(Toward::Robot, &template, &segment);
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
        self.scene.send(self.scene.toward, &template, &segment);
    }

    pub(super) fn toward_plant(&mut self, slot: usize) -> Fate {
        let enforce = self.scene.enforce;
        let Some(watched) = self.arena.watched.get_mut(slot) else { return Fate::Forward };
        if self.tcp.flags.ack() {
            let ack = self.tcp.ack.of_data(self.arena.flows.flow(self.id), Toward::Robot);
            if enforce {
                if let Err(reason) = watched.gate.acknowledge(ack) {
                    return self.refused(reason);
                }
            } else if watched.gate.acknowledge_passive(ack) {
                watched.session = watched.session.without_commands();
            }
        }
        if !self.tcp.payload.is_empty() {
            let (start, payload) = (self.tcp.seq, self.tcp.payload);
            let passed =
                self.watch(slot).with(|gate, stores, outside| gate.pass_reply(stores.answers, start, payload, outside));
            if let (true, Some((false, told))) = (enforce, passed) {
                self.watch(slot).refuse(Action::Reset, Reason::Malformed, told, true);
                return Fate::Drop(Reason::Malformed);
            }
        }
        Fate::Forward
    }

    /// Outside enforcement: the stream toward the robot can't be read further.
    pub(super) fn give_up_reading(&mut self, reason: Reason) {
        if let Some(flow) = self.flow() {
            flow.set(flag::UNREADABLE, true);
        }
        self.scene.record(Record::Notice(Notice::Unreadable { key: self.key, reason }));
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
