//! Taking up Modbus connections that were open before the box saw them, where the configuration asks for it.
//!
//! Where such a stream stands between two requests is not known: that both ends agree on their acknowledgements says
//! nothing about framing. So one request goes on that can only read, alone, and the connection counts as taken up when
//! the robot has answered exactly that one. Anything else ends it, as it would have ended without being asked for.

use dissect::{Step, Toward};
use link::{Tcp, seq};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::connection::{end, mid_stream};
use super::judge::Observer;
use super::pipeline::{Fate, SharedArena};
use super::rules::Rules;
use super::segment::Connection;
use crate::command::Service;
use crate::event::{Action, Notice, Reason, Record};
use crate::flow::End;
use crate::gate::Gate;
use crate::inspect::Session;

/// How long after taking the wire a connection may be taken up: TCP repeats what was lost meanwhile within it, and
/// whatever turns up later was not open then. Source: design of the gate, hand-over.
const WITHIN_NS: u64 = 5_000_000_000;

/// Where the taking up of a connection stands. Plain data; all zero = it is not being taken up.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Adoption {
    phase: u32,
    /// Sequence number that the answer must have.
    reply_at: u32,
    /// Sequence numbers of the request: first byte, and one past the last.
    request: [u32; 2],
    transaction: u16,
    quantity: u16,
    unit: u8,
    function: u8,
    reserved: [u8; 2],
}

/// No request was let through yet.
const WAITING: u32 = 1;
/// One is under way.
const ASKED: u32 = 2;

impl Adoption {
    /// One that begins.
    pub(super) const BEGUN: Self = Self {
        phase: WAITING,
        reply_at: 0,
        request: [0; 2],
        transaction: 0,
        quantity: 0,
        unit: 0,
        function: 0,
        reserved: [0; 2],
    };
}

/// Whether a connection of which `tcp` is the first segment seen may be taken up.
pub(super) fn may_begin(
    arena: &SharedArena,
    rules: &Rules,
    tcp: &Tcp<'_>,
    (service, opened): (Service, Toward),
    now_ns: u64,
) -> bool {
    let flags = tcp.flags;
    rules.adopt_modbus
        && service == Service::Modbus
        && opened == Toward::Robot
        && flags.ack()
        && !(flags.syn() || flags.fin() || flags.rst())
        && in_time(arena, now_ns)
}

fn in_time(arena: &SharedArena, now_ns: u64) -> bool {
    arena.taken_ns != 0 && now_ns.saturating_sub(arena.taken_ns) < WITHIN_NS
}

impl<O: Observer> Connection<'_, '_, '_, O> {
    /// A segment of a connection that may be being taken up; says what becomes of it where that is decided by this.
    pub(super) fn adopt(&mut self, slot: usize) -> Option<Fate> {
        let adoption = self.arena.watched.get(slot)?.adoption;
        if adoption.phase == 0 || !self.scene.enforce {
            return None;
        }
        let (toward, tcp) = (self.scene.toward, self.tcp);
        if tcp.timestamps().is_some()
            && let Some(flow) = self.flow()
        {
            flow.end_mut(toward).flags |= End::TIMESTAMPS;
        }
        match (toward, adoption.phase) {
            (_, WAITING) => self.waiting(slot),
            (Toward::Robot, _) => self.asked(slot, &adoption),
            (Toward::Plant, _) => self.answered(slot, &adoption),
        }
    }

    /// Nothing was let go and nothing is held, so either end's numbers are those of its last segment.
    fn waiting(&mut self, slot: usize) -> Option<Fate> {
        let (toward, tcp, now_ns) = (self.scene.toward, self.tcp, self.scene.now_ns);
        if !tcp.flags.ack() {
            return Some(self.give_up());
        }
        let numbers = if toward == Toward::Robot { (tcp.seq, tcp.ack) } else { (tcp.ack, tcp.seq) };
        let robot = *self.flow()?.end(Toward::Plant);
        let in_time = in_time(self.arena, now_ns);
        let watched = self.arena.watched.get_mut(slot)?;
        watched.gate = Gate::new(numbers.0, numbers.1);
        watched.gate.only_pass();
        watched.session = Session::new();
        if toward == Toward::Plant || tcp.payload.is_empty() {
            return None;
        }
        let Some(asked) = read_request(tcp).filter(|_| in_time) else { return Some(self.give_up()) };
        if robot.is(End::ACKED) {
            if !seq::before(robot.acked, tcp.seq_end()) {
                // The robot has it all, and has answered it in sight.
                self.acknowledge_for_robot();
                return Some(Fate::Absorb);
            }
            if robot.acked != tcp.seq {
                // Something before it is under way, and what that is was not seen.
                return Some(self.give_up());
            }
        }
        self.arena.watched.get_mut(slot)?.adoption = asked;
        None
    }

    /// Toward the robot, while the first request is under way: that one again, or nothing new.
    fn asked(&mut self, slot: usize, adoption: &Adoption) -> Option<Fate> {
        let [start, request_end] = adoption.request;
        let again = self.tcp.seq == start && self.tcp.seq_end() == request_end;
        let accepted = self.arena.watched.get(slot)?.gate.commands().accepted();
        let probe = self.tcp.payload.len() <= 1 && self.tcp.seq == accepted.wrapping_sub(1);
        (!self.tcp.payload.is_empty() && !again && !probe).then(|| self.give_up())
    }

    /// Toward the plant, while the first request is under way: its answer proves where the stream stands.
    fn answered(&mut self, slot: usize, adoption: &Adoption) -> Option<Fate> {
        let [_, request_end] = adoption.request;
        let tcp = self.tcp;
        if tcp.payload.is_empty() || !seq::before(adoption.reply_at, tcp.seq_end()) {
            return None;
        }
        if tcp.seq != adoption.reply_at || tcp.ack != request_end || !answers(tcp.payload, adoption) {
            return Some(self.give_up());
        }
        self.arena.watched.get_mut(slot)?.adoption.zero();
        let what = "a connection that was open before the box saw it was taken up";
        self.scene.record(Record::Notice(Notice::Anomaly { key: self.key, service: Service::Modbus, what }));
        None
    }

    /// Ends it at both ends, with numbers from this segment.
    fn give_up(&mut self) -> Fate {
        end(self.arena, self.scene, self.id, Action::Reset, Reason::MidStream);
        mid_stream(self.scene, self.packet, self.tcp, self.key)
    }
}

/// The one request that a segment is, if it can only read.
fn read_request(tcp: &Tcp<'_>) -> Option<Adoption> {
    let Ok(Step::Whole { unit: adu, len }) = modbus::Adu::step(tcp.payload) else { return None };
    let request = modbus::Request::read(&adu).ok()?;
    // Source: Modbus application protocol, section 6: 1 to 4 read coils, inputs and registers, and nothing else.
    let reads = (1..=4).contains(&request.function.0) && request.write.is_none();
    let quantity = request.read?.quantity;
    (reads && len == tcp.payload.len()).then_some(Adoption {
        phase: ASKED,
        reply_at: tcp.ack,
        request: [tcp.seq, tcp.seq_end()],
        transaction: request.transaction,
        quantity,
        unit: request.unit.0,
        function: request.function.0,
        reserved: [0; 2],
    })
}

/// Whether bytes are the answer to the request, whole and nothing else.
fn answers(payload: &[u8], adoption: &Adoption) -> bool {
    let Ok(Step::Whole { unit: adu, len }) = modbus::Adu::step(payload) else { return false };
    let Ok(response) = modbus::Response::read(&adu) else { return false };
    let bytes = match response.values {
        Some(modbus::Values::Bits(bytes) | modbus::Values::Registers(bytes)) => bytes.len(),
        _ => return false,
    };
    let wanted = match adoption.function {
        1 | 2 => usize::from(adoption.quantity).div_ceil(8),
        _ => usize::from(adoption.quantity).saturating_mul(2),
    };
    len == payload.len()
        && response.exception.is_none()
        && (response.transaction, response.unit.0, response.function.0)
            == (adoption.transaction, adoption.unit, adoption.function)
        && bytes == wanted
}
