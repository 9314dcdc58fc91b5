//! TCP connections: opening, ending, what is due, what is reported.

use dissect::Toward;
use external_control::Channel;
use link::craft::{Segment, Template};
use link::{FlowKey, Packet, Tcp, TcpFlags};

use super::adopt::{self, Adoption};
use super::arena::{WATCHED, Watched, connection_number, stores};
use super::detail;
use super::judge::{Observer, Who};
use super::pipeline::{Fate, SharedArena};
use super::renew::renew;
use super::reset;
use super::rules::{Mode, Rules};
use super::scene::Scene;
use super::segment::Connection;
use super::spliced::{Told, Watch, slot_of};
use crate::command::{Class, External, Service};
use crate::event::{
    Action, CommandRecord, Detail, FlowEnd, FlowRecord, Notice, Reason, Record, RobotContext, RuleId, Text, Verdict,
};
use crate::flow::{End, Flow, FlowId, State, flag};
use crate::gate::{Gate, Spliced, TimedOut};
use crate::inspect::Session;
use crate::policy::Client;

/// How long an ended connection stays ended: longer than any sender keeps trying.
/// Source: design of the gate, I11; Linux gives up after 15 retransmissions, 13 to 30 minutes, but each try is answered
/// with a reset that ends it.
pub(super) const DEAD_NS: u64 = 600_000_000_000;

/// When resets are repeated: Linux answers one challenge in 500 ms, so the second comes after that.
/// Source: RFC 5961 section 5; Linux `tcp_invalid_ratelimit` is 500 ms.
const RESET_AGAIN_NS: [u64; 2] = [200_000_000, 1_000_000_000];

/// Takes one TCP segment of the conversation at `id`, or of none.
pub(super) fn tcp<O: Observer>(
    arena: &mut SharedArena,
    rules: &Rules,
    observer: &mut O,
    scene: &mut Scene<'_>,
    packet: &Packet<'_>,
    tcp: &Tcp<'_>,
    (key, id): (FlowKey, Option<FlowId>),
) -> Fate {
    if rules.mode.judges()
        && let Err(reason) = plausible(tcp)
    {
        return refused(scene, packet, key, reason);
    }
    scene.turn_to(&key);
    if let Some(id) = id {
        let starts_anew = tcp.flags.syn()
            && !tcp.flags.ack()
            && arena.flows.flow(id).is_some_and(|flow| match flow.state() {
                State::Closed => true,
                // Both ends have closed; only repetitions were waited for.
                State::Established | State::Closing => is_over(arena, flow.stream),
                // Once both ends were told. Nothing of the old connection passes by that: data needs the robot's answer
                // to the SYN, which it gives when the old connection is gone.
                State::Dead => flow.stream == 0 || !rules.mode.enforces(),
                _ => false,
            });
        if !starts_anew {
            scene.flux.conversation(id, arena);
            return Connection { arena, rules, observer, scene, packet, tcp, key, id }.take();
        }
        remove(arena, scene, id);
    }
    open(arena, rules, observer, scene, packet, tcp, key)
}

/// The conversation, whichever way it is looked at; the key as it is known by.
pub(super) fn find(arena: &SharedArena, key: FlowKey) -> (FlowKey, Option<FlowId>) {
    let id = arena.flows.find(&key);
    if id.is_some() {
        return (key, id);
    }
    match arena.flows.find(&key.mirrored()) {
        Some(id) => (key.mirrored(), Some(id)),
        None => (key, None),
    }
}

/// Whether the gate of a slot waits for nothing but repetitions.
fn is_over(arena: &SharedArena, stream: u32) -> bool {
    let slot = (stream as usize).checked_sub(1);
    slot.and_then(|slot| arena.watched.get(slot)).is_some_and(|watched| watched.gate.is_closed())
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
    Ok(())
}

pub(super) fn refused(scene: &mut Scene<'_>, packet: &Packet<'_>, key: FlowKey, reason: Reason) -> Fate {
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
    let opened = if key.is_mirrored() { opened.reverse() } else { opened };
    if !rules.is_robot(key.unmirrored().robot.ip()) {
        return Err((Reason::UnknownDevice, RuleId::NONE));
    }
    if rules.mode == Mode::Lockdown && !service.is_judged(opened) && service != Service::Icmp {
        // Nobody sees what is done over it.
        return Err((Reason::LockedDown, RuleId::NONE));
    }
    let verdict = rules.policy.admit(client_of(rules, key), service, opened, now_ns);
    if verdict.is_allowed() { Ok(()) } else { Err((verdict.reason, verdict.rule)) }
}

/// The robot's peer, as the policy knows it.
pub(super) fn client_of(rules: &Rules, key: &FlowKey) -> Client {
    rules.policy.client(key.unmirrored().plant.ip())
}

/// Adds a conversation; where the table is full, takes out one of a few that nobody misses.
pub(super) fn insert(arena: &mut SharedArena, scene: &mut Scene<'_>, key: &FlowKey) -> Option<FlowId> {
    if let Some(id) = arena.flows.place() {
        scene.flux.entry(id, arena);
        return arena.flows.insert_at(id, key);
    }
    // A bounded search from a place that differs from frame to frame: half-open and closed ones go first, then those
    // that the box ended and told both ends of (what still comes of them is of no known connection, and refused); never
    // one that is established.
    let start = key.plant.port ^ key.robot.port;
    let place = |step: u16| FlowId(start.wrapping_add(step.wrapping_mul(61)) % CAPACITY);
    let missed_by_nobody = |id: &FlowId| {
        arena.flows.flow(*id).is_some_and(|flow| {
            matches!(flow.state(), State::SynSent | State::SynReceived | State::Closed | State::Datagrams)
        })
    };
    let ended = |id: &FlowId| arena.flows.flow(*id).is_some_and(|flow| flow.state() == State::Dead && flow.stream == 0);
    let victim = (0..16).map(place).find(missed_by_nobody).or_else(|| (0..64).map(place).find(ended))?;
    scene.flux.entry(victim, arena);
    report(arena, scene, victim, FlowEnd::TimedOut);
    remove(arena, scene, victim);
    // The same place: it stays named.
    arena.flows.insert_at(victim, key)
}

/// Watched connections that one client may have: eight clients at their limit fill the places.
const PER_CLIENT: usize = WATCHED / 8;

/// A client at its limit loses the connection that was idle for longest, if for at least this time: the past of a client
/// that lost its power.
const PAST_NS: u64 = 60_000_000_000;

/// Sees to it that a watched connection of this client can be added, where others can be missed: those that the box
/// ended, half-open ones, and idle ones of the same client.
fn make_place(arena: &mut SharedArena, scene: &mut Scene<'_>, key: &FlowKey) {
    let used = arena.watched.iter().filter(|watched| watched.used != 0);
    let flow_of = |watched: &Watched| u16::try_from(watched.flow).ok().map(FlowId);
    let (mut all, mut own) = (0_usize, 0_usize);
    // Of all and of its own: the oldest that nobody misses; of its own: the one that is idle for longest.
    let (mut any, mut half_open, mut idle): (Oldest, Oldest, Oldest) = (None, None, None);
    for id in used.filter_map(flow_of) {
        let Some(flow) = arena.flows.flow(id) else { continue };
        let is_own = is_of_same_client(&flow.key, key);
        all = all.saturating_add(1);
        own = own.saturating_add(usize::from(is_own));
        let at = Some((flow.last_ns, id.0));
        let older = |than: Oldest| if than.is_none_or(|than| at < Some(than)) { at } else { than };
        if matches!(flow.state(), State::SynSent | State::SynReceived | State::Dead | State::Closed) {
            any = older(any);
            half_open = if is_own { older(half_open) } else { half_open };
        } else if is_own {
            idle = older(idle);
        }
    }
    let victim = if own >= PER_CLIENT {
        half_open.or(idle.filter(|(last_ns, _)| scene.now_ns.saturating_sub(*last_ns) > PAST_NS))
    } else if all >= WATCHED {
        any
    } else {
        None
    };
    let Some((_, id)) = victim else { return };
    let id = FlowId(id);
    match arena.flows.flow(id).map(Flow::state) {
        Some(State::Dead | State::Established | State::Closing) => {
            scene.flux.conversation(id, arena);
            if let Some(victim) = arena.flows.flow(id) {
                scene.turn_to(&victim.key);
            }
            end(arena, scene, id, Action::Reset, Reason::FlowTableFull);
            scene.turn_to(key);
            if let Some(slot) = slot_of(arena, id) {
                arena.unwatch(slot);
            }
            if let Some(flow) = arena.flows.flow_mut(id) {
                flow.stream = 0;
            }
        }
        _ => {
            scene.flux.entry(id, arena);
            report(arena, scene, id, FlowEnd::TimedOut);
            remove(arena, scene, id);
        }
    }
}

/// When the last frame of a flow came, and its place.
type Oldest = Option<(u64, u16)>;

/// Whether one more watched connection of this client would be more than it may have.
fn has_too_many(arena: &SharedArena, key: &FlowKey) -> bool {
    let used = arena.watched.iter().filter(|watched| watched.used != 0);
    let flows = used.filter_map(|watched| arena.flows.flow(FlowId(u16::try_from(watched.flow).ok()?)));
    flows.filter(|flow| is_of_same_client(&flow.key, key)).count() >= PER_CLIENT
}

/// Whether two connections are of one client; the robot, where it commands devices, is another one to each.
fn is_of_same_client(one: &FlowKey, other: &FlowKey) -> bool {
    let to_one_device = one.robot.address == other.robot.address;
    one.plant.address == other.plant.address
        && one.is_mirrored() == other.is_mirrored()
        && (to_one_device || !one.is_mirrored())
}

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const CAPACITY: u16 = crate::flow::CAPACITY as u16;

/// What is spoken in a conversation.
pub(super) fn service_of(flow: &Flow) -> Service {
    match flow.key.protocol {
        link::protocol::TCP if flow.channel != 0 => Service::ExternalControl,
        link::protocol::TCP if flow.robot_api != 0 => Service::Dashboard,
        link::protocol::TCP => Service::of_tcp_port(flow.service_port),
        link::protocol::UDP => Service::Udp(flow.service_port),
        _ => Service::Icmp,
    }
}

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
    let opened = if syn { scene.toward } else { opener(rules, &key, scene.toward) };
    let port = key.destination(opened).port;
    let learned = opened == Toward::Plant && !rules.mode.judges();
    let learned = learned.then(|| observer.socket(key.plant.ip(), port)).flatten();
    let socket = learned.or_else(|| rules.socket(opened, port));
    let service = socket.map_or(Service::of_tcp_port(port), |_| Service::ExternalControl);
    let service = if is_robot_api(rules, scene, &key, service, opened) { Service::Dashboard } else { service };
    let commands_device = opened == Toward::Plant && service.is_judged_on_devices();
    let dissected = service.is_judged(opened);
    let from = key.source(opened).ip();
    // From here on the device is what is guarded, and the robot is its client.
    let (key, opened) = if commands_device { (key.mirrored(), opened.reverse()) } else { (key, opened) };
    scene.turn_to(&key);
    let mut fate = Fate::Forward;
    if rules.mode.judges() {
        if let Err((reason, rule)) = admit(rules, &key, service, opened, scene.now_ns) {
            if syn && let Some(ports) = scene.newcomers.refused(from, port, scene.now_ns) {
                scene.record(Record::Notice(Notice::Scan { address: from, mac: packet.source, ports }));
            }
            scene.refuse_frame(Some(packet), Some(key), reason, rule);
            fate = Fate::Drop(reason);
        } else if syn && !scene.newcomers.may_open(from, rules.new_connections, scene.now_ns) {
            fate = refused(scene, packet, key, Reason::ConnectionRate);
        } else if scene.enforce && !syn && !adopt::may_begin(arena, rules, tcp, (service, opened), scene.now_ns) {
            return mid_stream(scene, packet, tcp, key);
        } else if syn && dissected && has_unguarded_option(tcp) {
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
    if dissected && scene.enforce {
        make_place(arena, scene, &key);
        if has_too_many(arena, &key) {
            return full(scene);
        }
    }
    let Some(id) = insert(arena, scene, &key) else { return full(scene) };
    let slot = if dissected { arena.watch(u32::from(id.0)) } else { None };
    if dissected && slot.is_none() {
        if scene.enforce {
            remove(arena, scene, id);
        }
        return full(scene);
    }
    let next = if syn { tcp.seq.wrapping_add(1) } else { tcp.seq };
    if let Some(watched) = slot.and_then(|slot| arena.watched.get_mut(slot)) {
        watched.gate = match scene.toward {
            Toward::Robot => Gate::new(next, tcp.ack),
            Toward::Plant => Gate::new(tcp.ack, next),
        };
        watched.session = Session::of_port(port);
        if let Some(socket) = socket {
            watched.session.begin(socket);
        }
        if !syn {
            // What both ends agreed on in their handshake, window scale above all, is not known.
            watched.gate.only_pass();
            if scene.enforce {
                watched.adoption = Adoption::BEGUN;
            }
        }
    }
    let Some(flow) = arena.flows.flow_mut(id) else { return fate };
    flow.set_opened(opened);
    flow.set_state(if syn { State::SynSent } else { State::Established });
    flow.set(flag::FROM_START, syn);
    flow.set(flag::DISSECTED, dissected);
    flow.set(flag::ENFORCED, scene.enforce && dissected);
    flow.stream = slot.map_or(0, |slot| u32::try_from(slot).unwrap_or_default().saturating_add(1));
    flow.client = client_of(rules, &key).0;
    flow.generation = scene.generation;
    flow.service_port = port;
    flow.robot_api = u8::from(port == robot_api::PORT && service == Service::Dashboard);
    flow.channel = socket.map_or(0, |socket| socket.channel as u8);
    flow.tags = packet.tags;
    flow.macs = match scene.toward {
        Toward::Robot => [packet.source, packet.destination],
        Toward::Plant => [packet.destination, packet.source],
    };
    flow.wall_ns[0] = scene.wall_ns;
    observer.connection(&Who { key, opened, service, wall_ns: scene.wall_ns, frame: scene.frame }.unmirrored());
    if syn {
        flow.count(scene.toward, scene.wire_len, scene.now_ns, scene.wall_ns);
        let guarded = scene.enforce && dissected;
        begin_end(flow.end_mut(scene.toward), tcp, guarded);
        return if guarded && fate == Fate::Forward {
            super::handshake::pass_syn(scene, packet, tcp, key)
        } else {
            fate
        };
    }
    for (toward, at) in [(scene.toward, tcp.seq), (scene.toward.reverse(), tcp.ack)] {
        flow.end_mut(toward).next = at;
        flow.end_mut(toward).mss = DEFAULT_MSS;
    }
    scene.flux.conversation(id, arena);
    match (Connection { arena, rules, observer, scene, packet, tcp, key, id }.take()) {
        Fate::Forward => fate,
        other => other,
    }
}

/// Whether a connection is to the Robot API and read; a client that may use the port as a whole and not the API is not.
fn is_robot_api(rules: &Rules, scene: &Scene<'_>, key: &FlowKey, service: Service, opened: Toward) -> bool {
    rules.robot_api
        && service == Service::Tcp(robot_api::PORT)
        && opened == Toward::Robot
        && (!rules.mode.judges() || admit(rules, key, Service::Dashboard, opened, scene.now_ns).is_ok())
}

/// Who opened a connection whose SYN was not seen: whoever talks to a known service, else the plant side.
fn opener(rules: &Rules, key: &FlowKey, toward: Toward) -> Toward {
    if Service::of_tcp_port(key.robot.port).is_dissected() {
        Toward::Robot
    } else if rules.socket(Toward::Plant, key.plant.port).is_some() || key.plant.port < key.robot.port {
        Toward::Plant
    } else if key.plant.port > key.robot.port {
        Toward::Robot
    } else {
        toward
    }
}

/// Segment size where a SYN says nothing. Source: RFC 9293 section 3.7.1.
const DEFAULT_MSS: u16 = 536;

/// Notes what a SYN says of its sender. A `guarded` one goes on without its window scale.
pub(super) fn begin_end(end: &mut End, tcp: &Tcp<'_>, guarded: bool) {
    let options = tcp.option_summary();
    *end = End::default();
    end.window = tcp.window;
    if tcp.flags.ack() {
        end.acked = tcp.ack;
        end.flags |= End::ACKED;
    }
    end.isn = tcp.seq;
    end.next = tcp.seq.wrapping_add(1);
    end.mss = options.maximum_segment_size.unwrap_or(DEFAULT_MSS);
    if let Some((value, echo)) = options.timestamps {
        end.flags |= End::TIMESTAMPS;
        end.timestamp = [value, echo];
    }
    if options.sack_permitted {
        end.flags |= End::SACK;
    }
    if let Some(shift) = options.window_scale.filter(|_| !guarded) {
        end.flags |= End::SCALED;
        end.shift = shift;
    }
}

/// Options that break when a frame is rewritten, or that two receivers read in two ways. What lets data travel outside
/// the guarded sequence space (Fast Open, Multipath) is taken off instead.
fn has_unguarded_option(tcp: &Tcp<'_>) -> bool {
    let options = tcp.option_summary();
    options.md5 || options.authentication || options.malformed
}

/// A connection that was open before the box saw it: ends at both sides, with numbers from this live segment.
pub(super) fn mid_stream(scene: &mut Scene<'_>, packet: &Packet<'_>, tcp: &Tcp<'_>, key: FlowKey) -> Fate {
    if tcp.flags.rst() {
        return if scene.toward == Toward::Plant { Fate::Forward } else { Fate::Drop(Reason::MidStream) };
    }
    let fate = refused(scene, packet, key, Reason::MidStream);
    if tcp.flags.ack()
        && let (Some(along), Some(back)) = (Template::along(packet), Template::answering(packet))
    {
        reset::answer(scene, &back, tcp.ack, tcp.seq_end());
        let segment = Segment { seq: tcp.seq, ack: tcp.ack, flags: RST_ACK, ..Segment::default() };
        scene.send(scene.toward, &along, &segment);
    }
    fate
}

const RST_ACK: TcpFlags = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);

/// Ends a connection: nothing passes any more, both ends get resets unless it is to be silent.
pub(super) fn end(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId, action: Action, reason: Reason) {
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    if flow.state() == State::Dead {
        return;
    }
    let spliced = is_spliced(&arena.watched, flow);
    flow.set(flag::SHIFTED, spliced);
    flow.set_state(State::Dead);
    flow.reason = reason as u8;
    flow.set(flag::SILENT, action == Action::Drop);
    arena.inputs.ended(connection_number(id.0.into()));
    tell_end(arena, scene, id);
}

fn is_spliced(watched: &[Watched], flow: &Flow) -> bool {
    let slot = (flow.stream as usize).checked_sub(1);
    slot.and_then(|slot| watched.get(slot)).is_some_and(|watched| watched.gate.is_spliced())
}

/// Tells both ends of a connection that it is over, unless it is to be silent, and records it.
pub(super) fn tell_end(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId) {
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    flow.last_ns = scene.now_ns;
    let slot = (flow.stream as usize).checked_sub(1);
    if !flow.is(flag::SILENT) {
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

/// Records that a unit which never became whole is refused, with the bytes that were held of it.
pub(super) fn unfinished(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId, reason: Reason, by_frame: bool) {
    let slot = slot_of(arena, id);
    let SharedArena { flows, watched, commands, answers, programs, .. } = arena;
    let Some(flow) = flows.flow_mut(id) else { return };
    let watched = slot.and_then(|slot| Some((slot, watched.get(slot)?)));
    let stores = watched.and_then(|(slot, watched)| stores(commands, answers, programs, watched, slot));
    let held = match (watched, &stores) {
        (Some((_, watched)), Some(stores)) => watched.gate.commands().held(stores.commands),
        _ => &[],
    };
    let len = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let mut class = Class::Unknown;
    let mut detail = Detail::Unreadable {
        field: "end of the unit",
        offset: len,
        bytes: Text::new(held.get(..held.len().min(32)).unwrap_or_default()),
    };
    let mut reason = reason;
    if let Some((_, watched)) = watched
        && flow.channel == Channel::Script as u8
    {
        // Only a text that is known comes to an end.
        let text = External::Text { digest: watched.session.text_digest(), len };
        (class, detail, reason) = (Class::Program, detail::external(&text), Reason::ProgramNotAllowed);
    }
    let verdict = Verdict { action: Action::Reset, reason, rule: RuleId::NONE, generation: scene.generation };
    let record = CommandRecord {
        key: flow.key,
        opened: flow.opened(),
        service: service_of(flow),
        class,
        verdict,
        enforced: scene.enforce,
        len,
        unit: Text::new(held),
        robot: RobotContext::default(),
        detail,
    };
    flow.commands[1] = flow.commands[1].saturating_add(1);
    scene.counters.commands[1] = scene.counters.commands[1].saturating_add(1);
    let event = scene.record(Record::Command(record));
    if by_frame {
        scene.keep(event, verdict);
    }
}

/// Records that a conversation is over, and gives its slot back.
pub(super) fn close(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId, how: FlowEnd) {
    report(arena, scene, id, how);
    let slot = slot_of(arena, id);
    if let Some(flow) = arena.flows.flow_mut(id) {
        let spliced = is_spliced(&arena.watched, flow);
        flow.set(flag::SHIFTED, spliced);
        flow.set_state(State::Closed);
        flow.stream = 0;
    }
    if let Some(slot) = slot {
        arena.unwatch(slot);
    }
}

/// A watched connection asked to be looked at: something of the gate's is due, or resets are to be repeated.
pub(super) fn due<O: Observer>(
    arena: &mut SharedArena,
    rules: &Rules,
    observer: &mut O,
    scene: &mut Scene<'_>,
    slot: usize,
) {
    let Some(watched) = arena.watched.get(slot) else { return };
    let Ok(id) = u16::try_from(watched.flow).map(FlowId) else { return };
    scene.flux.conversation(id, arena);
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    scene.turn_to(&flow.key);
    if flow.state() != State::Dead {
        let now_ns = scene.now_ns;
        let key = flow.key;
        if let Err((reason, rule)) = renew(arena, rules, scene, id) {
            scene.refuse_frame(None, Some(key), reason, rule);
            if scene.enforce {
                end(arena, scene, id, Action::Reset, reason);
                return;
            }
        }
        if slot_of(arena, id) != Some(slot) {
            return;
        }
        let mut watch = Watch { arena, rules, observer, scene, id, slot };
        match watch.with(|gate, stores, outside| gate.due(stores, now_ns, outside)) {
            Some((TimedOut::Splice, _)) if watch.scene.enforce => {
                watch.splice(None);
                watch.advance();
            }
            Some((TimedOut::Spliced(outcome), told)) => {
                let told = if matches!(outcome, Spliced::Refuse { .. }) { told } else { Told::default() };
                watch.finish(outcome, told, false);
            }
            _ => {}
        }
        let alive = arena.flows.flow(id).is_some_and(|flow| flow.state() != State::Dead && flow.stream != 0);
        let due_ns = arena.watched.get(slot).and_then(|watched| watched.gate.due_ns());
        if alive && let Some(due) = arena.due.get_mut(slot) {
            *due = due_ns.unwrap_or(0);
        }
        return;
    }
    let Some(watched) = arena.watched.get(slot) else { return };
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
    // Of a connection that ended with a predecessor.
    report(arena, scene, id, FlowEnd::Refused);
}

/// Records a conversation, once.
pub(super) fn report(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId, how: FlowEnd) {
    let Some(flow) = arena.flows.flow_mut(id) else { return };
    if flow.is(flag::REPORTED) {
        return;
    }
    flow.set(flag::REPORTED, true);
    let service = service_of(flow);
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
pub(super) fn remove(arena: &mut SharedArena, scene: &Scene<'_>, id: FlowId) {
    scene.flux.entry(id, arena);
    let slot = arena.flows.flow(id).and_then(|flow| (flow.stream as usize).checked_sub(1));
    if let Some(slot) = slot.filter(|slot| *slot < WATCHED) {
        arena.unwatch(slot);
    }
    arena.flows.remove(id);
}
