//! Datagrams.

use dissect::{Step, Toward};
use link::{FlowKey, Packet};

use super::connection;
use super::detail;
use super::flux::Part;
use super::judge::{self, Observer, Who};
use super::pipeline::{Fate, SharedArena};
use super::rules::Rules;
use super::scene::Scene;
use crate::command::{Command, Service};
use crate::event::{Action, CommandRecord, Reason, Record, RuleId, Text, Verdict};
use crate::flow::{FlowId, State};
use crate::policy::Ask;

/// UDP and ICMP: admitted as a whole or not, Modbus over UDP also by command.
pub(super) fn datagram<O: Observer>(
    arena: &mut SharedArena,
    rules: &Rules,
    observer: &mut O,
    scene: &mut Scene<'_>,
    packet: &Packet<'_>,
    service: Service,
) -> Fate {
    let Some(key) = FlowKey::of(packet, scene.toward) else { return Fate::Drop(Reason::EngineFault) };
    let id = arena.flows.find(&key);
    let known = id.and_then(|id| arena.flows.flow(id));
    let fresh = known.is_some_and(|flow| flow.generation == scene.generation || !rules.mode.judges());
    let opened = known.map_or(scene.toward, crate::flow::Flow::opened);
    // A service is told by the port of who was spoken to first.
    let service = match service {
        Service::Udp(_) => Service::Udp(key.destination(opened).port),
        other => other,
    };
    if service == Service::Udp(modbus::PORT)
        && scene.toward == Toward::Robot
        && opened == Toward::Robot
        && let Some(udp) = packet.udp()
    {
        match modbus(arena, rules, observer, scene, (packet, key), udp.payload) {
            Some(verdict) if verdict.is_allowed() || !scene.enforce => {
                // Its answers pass as those of a conversation that is admitted.
                let id = place(arena, scene, id, &key);
                return count(arena, scene, id, &key);
            }
            Some(verdict) => return Fate::Drop(verdict.reason),
            None => {}
        }
    }
    let mut fate = Fate::Forward;
    if rules.mode.judges()
        && !fresh
        && let Err((reason, rule)) = connection::admit(rules, &key, service, opened, scene.now_ns)
    {
        scene.refuse_frame(Some(packet), Some(key), reason, rule);
        fate = Fate::Drop(reason);
        if scene.enforce {
            return fate;
        }
    }
    let id = place(arena, scene, id, &key);
    let first = id.and_then(|id| arena.flows.flow(id)).is_some_and(|flow| flow.frames == [0; 2]);
    if first {
        observer.connection(&Who { key, opened: scene.toward, service, wall_ns: scene.wall_ns, frame: scene.frame });
    }
    match count(arena, scene, id, &key) {
        Fate::Forward => fate,
        other => other,
    }
}

/// One more datagram of a conversation that was admitted before, and of which nothing is read; absent where it is none, or
/// was admitted by other rules.
#[inline]
pub(super) fn known(arena: &mut SharedArena, rules: &Rules, scene: &mut Scene<'_>, id: FlowId) -> Option<Fate> {
    let flow = arena.flows.flow(id)?;
    let fresh = flow.generation == scene.generation || !rules.mode.judges();
    if !fresh || flow.state() != State::Datagrams || flow.service_port == modbus::PORT {
        return None;
    }
    scene.flux.conversation(id, arena);
    let flow = arena.flows.flow_mut(id)?;
    flow.generation = scene.generation;
    flow.count(scene.toward, scene.wire_len, scene.now_ns, scene.wall_ns);
    Some(Fate::Forward)
}

/// The conversation of a datagram, a new one where there was none.
fn place(arena: &mut SharedArena, scene: &mut Scene<'_>, id: Option<FlowId>, key: &FlowKey) -> Option<FlowId> {
    match id {
        Some(id) => {
            scene.flux.conversation(id, arena);
            Some(id)
        }
        None => connection::insert(arena, scene, key),
    }
}

/// Counts a datagram that goes on to its conversation.
fn count(arena: &mut SharedArena, scene: &mut Scene<'_>, id: Option<FlowId>, key: &FlowKey) -> Fate {
    let Some(flow) = id.and_then(|id| arena.flows.flow_mut(id)) else {
        scene.counters.untracked = scene.counters.untracked.saturating_add(1);
        return if scene.enforce { Fate::Drop(Reason::FlowTableFull) } else { Fate::Forward };
    };
    if flow.frames == [0; 2] {
        flow.set_opened(scene.toward);
        flow.wall_ns[0] = scene.wall_ns;
        flow.service_port = key.destination(scene.toward).port;
    }
    flow.generation = scene.generation;
    flow.count(scene.toward, scene.wire_len, scene.now_ns, scene.wall_ns);
    Fate::Forward
}

/// A Modbus request in a datagram of its own, judged by the rules for Modbus; absent where a rule opens the port as a
/// whole, and, where nothing is judged, for what can't be read.
///
/// No answer is made in the robot's place: whoever speaks UDP reckons with loss. What is refused is recorded within the
/// budget of frames, as anybody can send it in anybody's name.
/// Source: as Modbus/TCP, one unit a datagram (tshark's `mbudp`).
fn modbus<O: Observer>(
    arena: &mut SharedArena,
    rules: &Rules,
    observer: &mut O,
    scene: &mut Scene<'_>,
    (packet, key): (&Packet<'_>, FlowKey),
    payload: &[u8],
) -> Option<Verdict> {
    let client = rules.policy.client(key.plant.ip());
    let judges = rules.mode.judges();
    if judges && rules.policy.admit(client, Service::Udp(modbus::PORT), Toward::Robot, scene.now_ns).is_allowed() {
        return None;
    }
    let refuse = |scene: &mut Scene<'_>, reason| {
        scene.refuse_frame(Some(packet), Some(key), reason, RuleId::NONE);
        Some(Verdict { action: Action::Drop, reason, rule: RuleId::NONE, generation: scene.generation })
    };
    if judges && !rules.is_robot(key.robot.ip()) {
        return refuse(scene, Reason::UnknownDevice);
    }
    let adu = match modbus::Adu::step(payload) {
        Ok(Step::Whole { unit, len }) if len == payload.len() => Some(unit),
        _ => None,
    };
    let Some(request) = adu.as_ref().and_then(|adu| modbus::Request::read(adu).ok()) else {
        return if judges { refuse(scene, Reason::Malformed) } else { None };
    };
    let command = Command::Modbus(request);
    let ask = Ask {
        client,
        opened: Toward::Robot,
        command: &command,
        state: &arena.robot,
        inputs: &arena.inputs,
        connection: 0,
        now_ns: scene.now_ns,
    };
    scene.flux.part(Part::Rates, &mut arena.rates);
    let verdict = judge::decide(rules, &ask, &mut arena.rates);
    scene.flux.part_done(Part::Rates, &mut arena.rates);
    let service = Service::Modbus;
    observer.command(
        &Who { key, opened: Toward::Robot, service, wall_ns: scene.wall_ns, frame: scene.frame },
        &command,
        &verdict,
    );
    if verdict.is_allowed() || scene.may_record(verdict.reason) {
        let record = CommandRecord {
            key,
            opened: Toward::Robot,
            service,
            class: command.gravest_class(),
            verdict,
            enforced: scene.enforce,
            len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            unit: Text::new(payload),
            robot: rules.policy.known(&arena.robot, scene.now_ns),
            detail: detail::of(&command, None, false),
        };
        let id = scene.record(Record::Command(record));
        if !verdict.is_allowed() {
            scene.keep(id, verdict);
        }
    }
    Some(verdict)
}
