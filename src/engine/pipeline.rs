use std::sync::Arc;

use dissect::Toward;
use link::{FlowKey, LinkProtocol, Network, Transport};

use super::actions::Actions;
use super::arena::{Arena, WATCHED};
use super::connection;
use super::counters::Counters;
use super::datagram;
use super::guard;
use super::judge::Observer;
use super::newcomers::Newcomers;
use super::quarantine;
use super::recent::{Known, Plain, Recent};
use super::rules::Rules;
use super::scene::{Budgets, Scene};
use super::spliced::slot_of;
use crate::command::Service;
use crate::event::{FlowEnd, Notice, Reason, Record, RuleId};
use crate::flow::{self, Flow, FlowId, State};
use crate::nic::Frame;

/// Time between two looks at timers. Source: the finest deadline is that of a held unit, 2 ms.
const TICK_NS: u64 = 500_000;

/// Conversations looked at each tick for idleness: the whole table of 4,096 takes a second.
const SWEEP: usize = 2;

const SECOND_NS: u64 = 1_000_000_000;

/// What became of a frame, or would have become of it outside enforcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on untouched.
    Forward,
    /// Its bytes were taken in and go on in crafted frames, now or later.
    Absorb,
    /// It is dropped.
    Drop(Reason),
}

/// The packet path of one worker: owns the state in `arena`, judges frame after frame.
///
/// Deterministic: the same frames at the same times give the same actions. Allocates nothing after
/// [`Pipeline::new`].
pub struct Pipeline<'m, O = ()> {
    arena: &'m mut Arena,
    rules: Arc<Rules>,
    observer: O,
    counters: Counters,
    budgets: Budgets,
    newcomers: Newcomers,
    recent: Recent,
    next_tick_ns: u64,
    sweep: u16,
    wall_ns: u64,
    /// The conversation of the last frame.
    touched: Option<FlowId>,
    /// Whether frames that nobody judges are dropped toward the robot while enforcing, and how many were.
    shed: (bool, u64),
    /// A connection that was torn and of which both ends are still to be told.
    torn: Option<FlowId>,
}

impl<'m, O: Observer> Pipeline<'m, O> {
    /// A pipeline over `arena` that judges by `rules`. What a predecessor left torn is made whole; call
    /// [`Pipeline::recover`] next.
    pub fn new(arena: &'m mut Arena, rules: Arc<Rules>, observer: O) -> Self {
        let torn = arena.repair(rules.mode.enforces());
        let mut pipeline = Self {
            arena,
            rules: Arc::clone(&rules),
            observer,
            counters: Counters::default(),
            budgets: Budgets::default(),
            newcomers: Newcomers::default(),
            recent: Recent::default(),
            next_tick_ns: 0,
            sweep: 0,
            wall_ns: 0,
            touched: None,
            shed: (false, 0),
            torn,
        };
        if rules.mode.judges() {
            // The predecessor may have ended before it saw to its conversations under these rules.
            pipeline.arena.split().0.flows.flows_mut().for_each(|flow| flow.generation = 0);
        }
        pipeline.set_rules(rules);
        pipeline
    }

    /// Judges by other rules from the next frame on.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        if !rules.mode.enforces() {
            // Nothing is held back any more: what was let go before may be repeated.
            self.arena.split().0.watched.iter_mut().for_each(|watched| watched.gate.unseal());
            // What passes now is not held to anything: whether enforcement can go on is looked at when it begins again.
            self.arena.split().0.flows.flows_mut().for_each(|flow| flow.set(flow::flag::ENFORCED, false));
        }
        if rules.mode.judges() && (!self.rules.mode.enforces() || rules.mode != self.rules.mode) {
            // What passed so far was admitted by nobody, or by a mode that admits more, though it has the number of the
            // policy in force.
            self.arena.split().0.flows.flows_mut().for_each(|flow| flow.generation = 0);
        }
        let (arena, _, flux) = self.arena.split();
        if rules.policy.digest() != self.rules.policy.digest() || rules.mode != self.rules.mode {
            // Whoever changes either has looked at what happened. A policy gets another generation without anybody, where
            // virtual patches are chosen anew.
            flux.quarantine(arena);
            arena.quarantine.clear();
            flux.settled(arena);
        }
        if rules.bind {
            guard::configure(&mut arena.bindings, &rules.devices, flux);
        }
        self.recent.clear();
        self.rules = rules;
    }

    /// Whether frames that nobody judges are dropped from here on, while enforcing: under overload, those that are judged
    /// come first.
    pub fn shed_unenforced(&mut self, shed: bool) {
        self.shed.0 = shed;
    }

    /// How many were dropped since the last call.
    pub fn take_shed(&mut self) -> u64 {
        std::mem::take(&mut self.shed.1)
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// What was counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The state.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        self.arena
    }

    /// The conversation that the last frame belonged to and changed, where it did, as the frame left it.
    #[inline]
    #[must_use]
    pub fn touched(&self) -> Option<(FlowId, &Flow)> {
        self.touched.and_then(|id| Some((id, self.arena.shared().flows.flow(id)?)))
    }

    /// Who listens.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Ends the pipeline and hands its listener out.
    #[must_use]
    pub fn into_observer(self) -> O {
        self.observer
    }

    /// Ends the pipeline and hands its state out, for a successor.
    #[must_use]
    pub fn into_arena(self) -> &'m mut Arena {
        self.arena
    }

    /// After a crash of a predecessor: the connection that it was changing ends, and both its ends are told; all others
    /// go on as they were. Nothing where the predecessor ended between two events. Notes the time where there was none.
    pub fn recover(&mut self, now_ns: u64, wall_ns: u64, actions: &mut Actions) {
        let taken_ns = &mut self.arena.split().0.taken_ns;
        if *taken_ns == 0 {
            *taken_ns = now_ns.max(1);
        }
        let Some(id) = self.torn.take() else { return };
        let (arena, _, _, mut scene) = self.parts(Toward::Robot, now_ns, wall_ns, 0, actions);
        if let Some(flow) = arena.flows.flow(id) {
            scene.turn_to(&flow.key);
        }
        scene.flux.conversation(id, arena);
        connection::tell_end(arena, &mut scene, id);
        self.arena.settle();
    }

    /// Records something that happened outside the path.
    pub fn notice(&mut self, notice: Notice, now_ns: u64, wall_ns: u64, actions: &mut Actions) {
        let (_, _, _, mut scene) = self.parts(Toward::Robot, now_ns, wall_ns, 0, actions);
        scene.record(Record::Notice(notice));
    }

    fn parts<'x>(
        &'x mut self,
        toward: Toward,
        now_ns: u64,
        wall_ns: u64,
        frame: u64,
        actions: &'x mut Actions,
    ) -> (&'x mut SharedArena, &'x Rules, &'x mut O, Scene<'x>) {
        let Self { arena, rules, observer, counters, budgets, newcomers, .. } = self;
        let (shared, last_event, flux) = arena.split();
        let scene = Scene {
            toward,
            now_ns,
            wall_ns,
            frame,
            wire_len: 0,
            checksum_partial: false,
            mirrored: false,
            enforce: rules.mode.enforces(),
            generation: rules.policy.generation(),
            actions,
            counters,
            last_event,
            flux,
            budgets,
            newcomers,
        };
        (shared, rules, observer, scene)
    }

    /// Takes one frame that travels `toward` a side, at monotonic time `now_ns`; what comes of it is added to
    /// `actions`, which must have room ([`Actions::has_room`]).
    pub fn handle(&mut self, toward: Toward, frame: &Frame<'_>, now_ns: u64, actions: &mut Actions) -> Fate {
        self.arena.frames = self.arena.frames.saturating_add(1);
        self.wall_ns = frame.meta.received_ns;
        Counters::add(&mut self.counters.received, toward);
        let fate = self.judge(toward, frame, now_ns, actions);
        self.touched = self.arena.in_flux();
        // Published: nothing of it has left yet, as what leaves is carried out after this.
        self.arena.settle();
        let enforce = self.rules.mode.enforces();
        match fate {
            // Outside enforcement too: of a spliced connection no frame can go on as it is.
            Fate::Absorb => Counters::add(&mut self.counters.absorbed, toward),
            Fate::Drop(reason) if enforce => self.counters.drop(reason),
            _ => {
                actions.forward();
                Counters::add(&mut self.counters.forwarded, toward);
            }
        }
        fate
    }

    fn judge(&mut self, toward: Toward, frame: &Frame<'_>, now_ns: u64, actions: &mut Actions) -> Fate {
        let judges = self.rules.mode.judges();
        let number = self.arena.frames;
        let Self { arena, rules, observer, counters, budgets, newcomers, recent, .. } = self;
        let (arena, last_event, flux) = arena.split();
        let mut scene = Scene {
            toward,
            now_ns,
            wall_ns: frame.meta.received_ns,
            frame: number,
            wire_len: frame.meta.wire_len,
            checksum_partial: frame.meta.checksum_partial,
            mirrored: false,
            enforce: rules.mode.enforces(),
            generation: rules.policy.generation(),
            actions,
            counters,
            last_event,
            flux,
            budgets,
            newcomers,
        };
        let plain = Plain::read(frame.bytes, toward);
        if let Some(plain) = &plain
            && !self.shed.0
            && !arena.quarantine.is_on(now_ns)
            && let Some(Known { key, id }) = recent.find(plain, &arena.flows)
        {
            if plain.is_datagram(frame.bytes) {
                if let Some(fate) = datagram::known(arena, rules, &mut scene, id) {
                    return fate;
                }
            } else if let Ok(packet) = link::parse(frame.bytes)
                && let Some(tcp) = packet.tcp()
            {
                return connection::tcp(arena, rules, observer, &mut scene, &packet, tcp, (key, Some(id)));
            }
        }
        let packet = match link::parse(frame.bytes) {
            Ok(packet) => packet,
            Err(_) => {
                if judges {
                    scene.refuse_frame(None, None, Reason::Truncated, RuleId::NONE);
                }
                return Fate::Drop(Reason::Truncated);
            }
        };
        if self.shed.0 && scene.enforce && toward == Toward::Robot && guard::is_unenforced(&packet) {
            self.shed.1 = self.shed.1.saturating_add(1);
            scene.refuse_frame(Some(&packet), None, Reason::Overload, RuleId::NONE);
            return Fate::Drop(Reason::Overload);
        }
        let is_ip = match guard::check(&packet, toward, rules, &arena.bindings) {
            Ok(is_ip) => is_ip,
            Err(reason) => {
                if judges {
                    scene.refuse_frame(Some(&packet), FlowKey::of(&packet, toward), reason, RuleId::NONE);
                    return Fate::Drop(reason);
                }
                matches!(packet.network, Network::Ipv4(_) | Network::Ipv6(_))
            }
        };
        if scene.enforce
            && toward == Toward::Robot
            && arena.quarantine.is_on(now_ns)
            && arena.quarantine.holds(&packet, now_ns)
        {
            let key = FlowKey::of(&packet, toward);
            scene.refuse_frame(Some(&packet), key, Reason::Quarantined, RuleId::NONE);
            return Fate::Drop(Reason::Quarantined);
        }
        let learned = guard::learn(&mut arena.bindings, &packet, toward, scene.enforce, flux);
        if learned {
            recent.clear();
        }
        if !is_ip {
            let is_bridges = matches!(packet.link_protocol(), LinkProtocol::Stp);
            if scene.enforce && toward == Toward::Robot && !scene.budgets.take_listed(is_bridges, now_ns) {
                scene.refuse_frame(Some(&packet), None, Reason::Overload, RuleId::NONE);
                return Fate::Drop(Reason::Overload);
            }
            return Fate::Forward;
        }
        let mut note = |arena: &SharedArena, key| {
            if let (Some(plain), false, (key, Some(id))) = (&plain, learned, connection::find(arena, key)) {
                recent.note(plain, Known { key, id });
            }
        };
        match packet.transport() {
            Some(Transport::Tcp(tcp)) => {
                let Some(key) = FlowKey::of(&packet, toward) else { return Fate::Drop(Reason::EngineFault) };
                let found = connection::find(arena, key);
                let fate = connection::tcp(arena, rules, observer, &mut scene, &packet, tcp, found);
                note(arena, key);
                fate
            }
            Some(Transport::Udp(udp)) => {
                let port = if toward == Toward::Robot { udp.destination_port } else { udp.source_port };
                let fate = datagram::datagram(arena, rules, observer, &mut scene, &packet, Service::Udp(port));
                if let Some(key) = FlowKey::of(&packet, toward) {
                    note(arena, key);
                }
                fate
            }
            Some(Transport::Icmp(icmp)) => {
                let quoted = icmp.quoted.as_ref().and_then(|quoted| FlowKey::of_quoted(quoted, toward));
                let quoted = quoted.map(|key| connection::find(arena, key));
                if let Some((key, Some(id))) = quoted {
                    let slot = slot_of(arena, id).and_then(|slot| arena.watched.get(slot));
                    if scene.enforce && slot.is_some_and(|watched| watched.gate.is_spliced()) {
                        return connection::refused(&mut scene, &packet, key, Reason::IcmpQuote);
                    }
                    return Fate::Forward;
                }
                datagram::datagram(arena, rules, observer, &mut scene, &packet, Service::Icmp)
            }
            _ => {
                if judges {
                    scene.refuse_frame(Some(&packet), None, Reason::IpProtocol, RuleId::NONE);
                }
                Fate::Drop(Reason::IpProtocol)
            }
        }
    }

    /// Does what is due at `now_ns` and says when to be called next. The wall clock is that of the last frame.
    pub fn poll(&mut self, now_ns: u64, actions: &mut Actions) -> u64 {
        if now_ns < self.next_tick_ns {
            return self.next_tick_ns;
        }
        self.next_tick_ns = now_ns.saturating_add(TICK_NS);
        let mut sweep = self.sweep;
        let wall_ns = self.wall_ns;
        let (arena, rules, observer, mut scene) = self.parts(Toward::Robot, now_ns, wall_ns, 0, actions);
        for slot in 0..WATCHED {
            if arena.due.get(slot).is_some_and(|due| *due != 0 && *due <= now_ns) && scene.actions.has_room() {
                connection::due(arena, rules, observer, &mut scene, slot);
            }
        }
        quarantine::end_connections(arena, &mut scene);
        for _ in 0..SWEEP {
            idle(arena, &mut scene, FlowId(sweep));
            sweep = sweep.wrapping_add(1);
            if usize::from(sweep) >= flow::CAPACITY {
                sweep = 0;
            }
        }
        self.sweep = sweep;
        self.arena.settle();
        self.next_tick_ns
    }

    /// Reports every conversation that lasts: at the end of a run or of a capture.
    pub fn finish(&mut self, now_ns: u64, actions: &mut Actions, mut carry_out: impl FnMut(&mut Actions)) {
        let wall_ns = self.wall_ns;
        for at in 0..flow::CAPACITY {
            if !actions.has_room() {
                carry_out(actions);
                actions.clear();
            }
            let (arena, _, _, mut scene) = self.parts(Toward::Robot, now_ns, wall_ns, 0, actions);
            let Ok(id) = u16::try_from(at).map(FlowId) else { continue };
            if arena.flows.flow(id).is_some_and(|flow| flow.state() != State::Free) {
                connection::report(arena, &mut scene, id, FlowEnd::Lasting);
            }
        }
        carry_out(actions);
        actions.clear();
    }
}

/// An arena as the functions of the engine see it.
pub(super) type SharedArena = super::arena::Shared;

/// Takes out what was idle for too long.
fn idle(arena: &mut SharedArena, scene: &mut Scene<'_>, id: FlowId) {
    let Some(flow) = arena.flows.flow(id) else { return };
    let idle_ns = scene.now_ns.saturating_sub(flow.last_ns);
    // Established connections of people and programs pause for hours; what is read is kept for a day, since an
    // enforced connection that is forgotten has to be reset. The rest is bookkeeping.
    let limit_ns = match flow.state() {
        State::Free => return,
        State::Datagrams => 60 * SECOND_NS,
        State::SynSent | State::SynReceived => 30 * SECOND_NS,
        State::Established if flow.stream != 0 => 24 * 3600 * SECOND_NS,
        State::Established => 2 * 3600 * SECOND_NS,
        State::Closing => 300 * SECOND_NS,
        State::Closed => 10 * SECOND_NS,
        State::Dead => connection::DEAD_NS,
    };
    if idle_ns > limit_ns {
        scene.flux.entry(id, arena);
        connection::report(arena, scene, id, FlowEnd::TimedOut);
        connection::remove(arena, scene, id);
    }
}
