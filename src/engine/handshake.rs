//! The handshake: what a SYN may bring along, and SYNs on connections that live.

use dissect::Toward;
use link::craft::{Segment, Template};
use link::{FlowKey, Tcp, TcpFlags, TcpOption};

use super::connection::{begin_end, close, end, remove};
use super::judge::Observer;
use super::pipeline::Fate;
use super::scene::Scene;
use super::segment::Connection;
use crate::event::{Action, FlowEnd, Reason, RuleId};
use crate::flow::{State, flag};
use crate::gate::Gate;

/// Time between two answers to SYNs on a connection that lives.
const SECOND_NS: u64 = 1_000_000_000;

impl<O: Observer> Connection<'_, '_, '_, O> {
    /// A segment with SYN on a known connection.
    pub(super) fn syn(&mut self) -> Fate {
        let toward = self.scene.toward;
        let (enforce, seq_number, ack_number) = (self.scene.enforce, self.tcp.seq, self.tcp.ack);
        let slot = self.slot();
        let spliced = self.is_spliced();
        let Some(flow) = self.arena.flows.flow_mut(self.id) else { return Fate::Drop(Reason::EngineFault) };
        let guarded = (enforce || spliced) && flow.is(flag::DISSECTED);
        let opening = matches!(flow.state(), State::SynSent | State::SynReceived);
        if self.tcp.flags.ack() {
            if toward == flow.opened() {
                if enforce && opening {
                    end(self.arena, self.scene, self.id, Action::Reset, Reason::SplitHandshake);
                }
                return if enforce { self.refused(Reason::SplitHandshake) } else { Fate::Forward };
            }
            if guarded
                && toward == Toward::Robot
                && flow.state() != State::SynSent
                && flow.end(toward).isn != seq_number
            {
                // The robot took the first answer to its SYN, or will: by another number it and the gate would count from
                // two places, and read other units of the same bytes.
                return self.refused(Reason::SplitHandshake);
            }
            let opener = flow.end(flow.opened());
            if !opening {
                return match slot {
                    // The robot did not get the last segment of the handshake.
                    Some(slot) if spliced => {
                        self.watch(slot).challenge(toward);
                        Fate::Absorb
                    }
                    _ if !enforce && ack_number != opener.isn.wrapping_add(1) => {
                        // Another connection of the same ports, in the place of one whose end was not seen: what is known
                        // of the old one says nothing about it.
                        close(self.arena, self.scene, self.id, FlowEnd::Closed);
                        remove(self.arena, self.scene, self.id);
                        Fate::Forward
                    }
                    _ => Fate::Forward,
                };
            }
            if ack_number != opener.isn.wrapping_add(1) {
                return if enforce { Fate::Drop(Reason::BadFlags) } else { Fate::Forward };
            }
            begin_end(flow.end_mut(toward), self.tcp, guarded);
            flow.set_state(State::SynReceived);
            if let Some(watched) = slot.and_then(|slot| self.arena.watched.get_mut(slot)) {
                let next = seq_number.wrapping_add(1);
                watched.gate = match toward {
                    Toward::Plant => Gate::new(ack_number, next),
                    Toward::Robot => Gate::new(next, ack_number),
                };
            }
            return if guarded { self.pass_syn() } else { Fate::Forward };
        }
        if toward != flow.opened() {
            if enforce && opening {
                // Its own number is what its reset has to acknowledge.
                begin_end(flow.end_mut(toward), self.tcp, guarded);
                end(self.arena, self.scene, self.id, Action::Reset, Reason::SplitHandshake);
                return self.refused(Reason::SplitHandshake);
            }
            // Of the robot's own connections the plant begins none: stacks differ in what they make of such a SYN.
            return if guarded && toward == Toward::Robot { self.refused(Reason::SynOnLive) } else { Fate::Forward };
        }
        let begins_anew = flow.state() == State::SynSent || (toward == Toward::Plant && opening);
        if begins_anew && seq_number != flow.end(toward).isn {
            // The client begins anew before the robot has answered; the answer tells which number counts. After it the
            // robot challenges another number, and the client's reset ends the first.
            begin_end(flow.end_mut(toward), self.tcp, guarded);
            flow.set_state(State::SynSent);
            if let Some(watched) = slot.and_then(|slot| self.arena.watched.get_mut(slot)) {
                let next = seq_number.wrapping_add(1);
                watched.gate = if toward == Toward::Robot { Gate::new(next, 0) } else { Gate::new(0, next) };
            }
        }
        match (guarded, opening, slot) {
            (true, true, _) => self.pass_syn(),
            (true, false, Some(slot)) => self.syn_on_live(slot),
            _ => Fate::Forward,
        }
    }

    /// A SYN on a connection that lives: a client that was restarted. It is answered as the robot would, with where it
    /// stands; the client's reset then ends the old connection on both sides. Nothing of it reaches the robot. Where the
    /// robot is the one that was restarted, the computer answers for itself, unless it knows other numbers.
    /// Source: RFC 5961 section 4.2.
    fn syn_on_live(&mut self, slot: usize) -> Fate {
        let (toward, now_ns) = (self.scene.toward, self.scene.now_ns);
        if toward == Toward::Plant && !self.is_spliced() {
            return Fate::Forward;
        }
        if let Some(flow) = self.flow()
            && now_ns >= flow.until_ns
        {
            flow.until_ns = now_ns.saturating_add(SECOND_NS);
            if self.is_spliced() {
                self.watch(slot).challenge(toward);
            } else {
                self.acknowledge_for_robot();
            }
        }
        self.refused(Reason::SynOnLive)
    }

    /// Sends a SYN on with nothing but what the gate understands.
    pub(super) fn pass_syn(&mut self) -> Fate {
        pass_syn(self.scene, self.packet, self.tcp, self.key)
    }
}

/// Whether a SYN says only what the gate can keep up with: segment size, selective acknowledgements, timestamps; no
/// data, no window scale (with it a client could have more under way than the store takes), no congestion marks (the
/// gate would have to echo them), nothing unknown.
fn is_plain(tcp: &Tcp<'_>) -> bool {
    let known = |option: &TcpOption<'_>| {
        use TcpOption::{MaximumSegmentSize, NoOperation, SackPermitted, Timestamps};
        matches!(option, NoOperation | MaximumSegmentSize(_) | SackPermitted | Timestamps { .. })
    };
    let marked = tcp.flags.contains(TcpFlags::ECE) || tcp.flags.contains(TcpFlags::CWR);
    tcp.payload.is_empty() && !marked && tcp.options().all(|option| option.as_ref().is_ok_and(known))
}

/// Sends a SYN of a guarded connection on, cut down to what the gate can keep up with.
pub(super) fn pass_syn(scene: &mut Scene<'_>, packet: &link::Packet<'_>, tcp: &Tcp<'_>, key: FlowKey) -> Fate {
    if is_plain(tcp) {
        return Fate::Forward;
    }
    let Some(template) = Template::along(packet) else { return Fate::Drop(Reason::EngineFault) };
    let options = tcp.option_summary();
    let ack = if tcp.flags.ack() { TcpFlags::ACK.0 } else { 0 };
    let segment = Segment {
        seq: tcp.seq,
        ack: tcp.ack,
        flags: TcpFlags(TcpFlags::SYN.0 | ack),
        window: tcp.window,
        maximum_segment_size: options.maximum_segment_size,
        sack_permitted: options.sack_permitted,
        timestamps: options.timestamps,
        ..Segment::default()
    };
    scene.send(scene.toward, &template, &segment);
    if !tcp.payload.is_empty() {
        scene.refuse_frame(Some(packet), Some(key), Reason::DataOutsideStream, RuleId::NONE);
    }
    Fate::Absorb
}
