//! Connections that the gate splices: frames of either end are taken in, and what leaves is crafted.

use dissect::Toward;

use super::arena::{self, WATCHED};
use super::connection::{end, service_of, unfinished};
use super::flux::Part;
use super::judge::{Observer, Surroundings, Who};
use super::lines::Lines;
use super::pipeline::SharedArena;
use super::quarantine::Counted;
use super::reset;
use super::rules::Rules;
use super::scene::Scene;
use crate::event::{Action, FlowEnd, Reason, RuleId, Verdict};
use crate::flow::{FlowId, State, flag};
use crate::gate::{Gate, Peers, Spliced, Stores};
use crate::policy::Client;
use crate::robot;

/// Everything that an event on a watched connection touches, without the frame that caused it.
pub(super) struct Watch<'x, 's, O> {
    pub(super) arena: &'x mut SharedArena,
    pub(super) rules: &'x Rules,
    pub(super) observer: &'x mut O,
    pub(super) scene: &'x mut Scene<'s>,
    pub(super) id: FlowId,
    pub(super) slot: usize,
}

/// What an event brought: whether a refusal has its record, and which it was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) refusal: Option<Verdict>,
}

impl<O: Observer> Watch<'_, '_, O> {
    /// Calls `act` with the gate, its stores and what lies outside it; adds up what was judged.
    pub(super) fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Gate, &mut Stores<'_>, &mut Surroundings<'_, '_, O>) -> T,
    ) -> Option<(T, Told)> {
        let SharedArena { flows, watched, commands, answers, programs, robot, rates, inputs, quarantine, .. } =
            &mut *self.arena;
        let flow = flows.flow_mut(self.id)?;
        let watched = watched.get_mut(self.slot)?;
        let mut stores = arena::stores(commands, answers, programs, watched, self.slot)?;
        let (port, opened) = (flow.service_port, flow.opened());
        let who = Who {
            key: flow.key,
            opened,
            service: service_of(flow),
            wall_ns: self.scene.wall_ns,
            frame: self.scene.frame,
        };
        let mut outside = Surroundings {
            who,
            port,
            client: Client(flow.client),
            session: &mut watched.session,
            rules: self.rules,
            robot,
            rates,
            inputs,
            connection: robot::Connection {
                number: arena::connection_number(self.id.0.into()),
                address: who.key.plant.address,
                port: who.key.plant.port,
                wall_ns: self.scene.wall_ns,
            },
            observer: self.observer,
            scene: self.scene,
            // A connection that is being spliced sends at once.
            lines: None,
            unreadable: flow.is(flag::UNREADABLE),
            counts: [0; 2],
            refusal: None,
            grave: 0,
            corrected: None,
        };
        if watched.gate.is_spliced() {
            outside.lines = Some(Lines::of(flow));
        }
        let conflicts = watched.gate.conflicts();
        let result = act(&mut watched.gate, &mut stores, &mut outside);
        if watched.gate.conflicts() != conflicts && outside.scene.enforce {
            // The first copy counts; that there was another is worth knowing all the same.
            outside.scene.refuse_frame(None, Some(who.key), Reason::RetransmissionConflict, RuleId::NONE);
        }
        let (counts, refusal, grave) = (outside.counts, outside.refusal, outside.grave);
        // The robot itself is never kept out.
        if grave != 0
            && self.scene.enforce
            && !flow.key.is_mirrored()
            && matches!(flow.state(), State::Established | State::Closing)
            && let Some(escalation) = self.rules.policy.escalation()
        {
            let [mac, _] = flow.macs;
            let (address, now_ns) = (flow.key.plant.address, self.scene.now_ns);
            self.scene.flux.part(Part::Quarantine, quarantine);
            let counted = quarantine.count(escalation, (address, mac), grave, now_ns);
            if matches!(counted, Counted::Full { .. }) {
                quarantine.end_uncounted(self.id);
            }
            self.scene.flux.part_done(Part::Quarantine, quarantine);
            match counted {
                Counted::Begun { until_ns } => super::quarantine::record(self.scene, address, mac, until_ns),
                Counted::Full { until_ns, is_news: true } => {
                    super::quarantine::record_full(self.scene, address, mac, until_ns);
                }
                Counted::Full { is_news: false, .. } | Counted::Below => {}
            }
        }
        for (total, count) in flow.commands.iter_mut().zip(counts) {
            *total = total.saturating_add(count);
        }
        for (total, count) in self.scene.counters.commands.iter_mut().zip(counts) {
            *total = total.saturating_add(count);
        }
        Some((result, Told { refusal }))
    }

    /// Splices the connection, of whose released bytes those before `sent` went out; absent = all of them.
    pub(super) fn splice(&mut self, sent: Option<u32>) {
        let now_ns = self.scene.now_ns;
        let Some(flow) = self.arena.flows.flow(self.id) else { return };
        let (client, robot) = (flow.end(Toward::Robot), flow.end(Toward::Plant));
        let peers = Peers {
            robot_edge: robot.acked.wrapping_add(flow.window(Toward::Plant)),
            plant_edge: client.acked.wrapping_add(flow.window(Toward::Robot)),
            plant_acknowledged: client.acked,
            robot_mss: flow.payload_mss(),
            plant_mss: flow.payload_mss(),
        };
        if let Some(watched) = self.arena.watched.get_mut(self.slot) {
            let sent = sent.unwrap_or(watched.gate.commands().released());
            watched.gate.splice(sent, &peers, now_ns);
        }
    }

    /// Does what can be done now on a spliced connection.
    pub(super) fn advance(&mut self) {
        let now_ns = self.scene.now_ns;
        let done = self.with(|gate, stores, outside| gate.advance(stores, now_ns, outside));
        if let Some((outcome, told)) = done {
            self.finish(outcome, told, false);
        }
    }

    /// Tells the sender of frames `toward` a side where it is expected to stand.
    pub(super) fn challenge(&mut self, toward: Toward) {
        self.with(|gate, stores, outside| gate.challenge(toward, stores, outside));
    }

    /// Carries out what the gate decided about the connection; says why the current segment is dropped, if it is.
    pub(super) fn finish(&mut self, outcome: Spliced, told: Told, by_frame: bool) -> Option<Reason> {
        match outcome {
            Spliced::Goes => {
                self.fit_store();
                None
            }
            Spliced::Drop(reason) => Some(reason),
            Spliced::Refuse { action, reason } => {
                self.refuse(action, reason, told, by_frame);
                Some(reason)
            }
            Spliced::Drained => {
                let SharedArena { flows, watched, .. } = &*self.arena;
                if let (Some(flow), Some(watched)) = (flows.flow(self.id), watched.get(self.slot)) {
                    reset::robot(self.scene, flow, watched);
                }
                super::connection::close(self.arena, self.scene, self.id, FlowEnd::Reset);
                None
            }
            Spliced::Closed => {
                super::connection::close(self.arena, self.scene, self.id, FlowEnd::Closed);
                None
            }
        }
    }

    /// Ends the connection, or outside enforcement stops reading it.
    pub(super) fn refuse(&mut self, action: Action, reason: Reason, told: Told, by_frame: bool) {
        if self.scene.enforce {
            if told.refusal.is_none() {
                unfinished(self.arena, self.scene, self.id, reason, by_frame);
            }
            end(self.arena, self.scene, self.id, action, reason);
            return;
        }
        if let Some(flow) = self.arena.flows.flow_mut(self.id)
            && !flow.is(flag::UNREADABLE)
            && flow.state() != State::Dead
        {
            flow.set(flag::UNREADABLE, true);
            if let Some(watched) = self.arena.watched.get_mut(self.slot) {
                watched.gate.give_up_waiting();
            }
            self.advance();
        }
    }

    /// Gives a long program a larger store, and takes it back when it is through.
    fn fit_store(&mut self) {
        let Some(watched) = self.arena.watched.get(self.slot) else { return };
        if watched.program != 0 {
            self.arena.shrink_program(self.slot);
        } else if watched.gate.wants_room(crate::gate::STORE) {
            self.arena.take_program(self.slot);
        }
    }
}

/// The slot of a flow.
pub(super) fn slot_of(arena: &SharedArena, id: FlowId) -> Option<usize> {
    let slot = (arena.flows.flow(id)?.stream as usize).checked_sub(1)?;
    (slot < WATCHED).then_some(slot)
}
