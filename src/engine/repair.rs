//! What a successor does about the part of the arena that its predecessor was changing when it ended.

use zerocopy::FromZeros;

use super::arena::{Arena, BINDINGS, Binding, Shared, WATCHED};
use super::flux::Torn;
use crate::event::Reason;
use crate::flow::{FlowId, State, flag};
use crate::gate::Gate;
use crate::inspect::Session;

/// Resets that a torn connection gets from the timer, as any other that the box ends.
const RESETS: u8 = 2;

impl Arena {
    /// Makes whole what is torn, and says which connection has to be ended; nothing where the predecessor ended between
    /// two events, as then everything is whole.
    ///
    /// The commit word stands until the last step, and every step can be done twice: a successor that is killed here
    /// leaves the work to the next one.
    ///
    /// Cost: some hundred microseconds, where something is torn.
    pub(super) fn repair(&mut self, enforces: bool) -> Option<FlowId> {
        let torn = self.flux.torn()?;
        let ended = self.shared.mend(&torn, enforces);
        self.flux.settled(&mut self.shared);
        ended
    }
}

impl Shared {
    fn mend(&mut self, torn: &Torn, enforces: bool) -> Option<FlowId> {
        if torn.robot {
            self.robot = crate::robot::State::default();
        }
        if torn.rates {
            // Which bucket it was can't be told: none has tokens left, and all fill up again.
            self.rates.buckets.iter_mut().for_each(|[tokens, _]| *tokens = 0);
        }
        if torn.quarantine {
            // Whose entry it was can't be told, and nobody may be kept out by half an entry.
            self.quarantine.clear();
        }
        if let Some(place) = torn.binding {
            self.forget_binding(usize::from(place));
        }
        if let Some(id) = torn.entry {
            self.flows.clear(id);
        }
        let ended = torn.conversation.and_then(|id| self.end_torn(id, enforces));
        if torn.entry.is_some() || torn.conversation.is_some() {
            self.flows.rebuild();
            self.free_orphans();
            self.free_inputs();
        }
        ended
    }

    /// Frees the RTDE inputs of connections that live no more, and entries whose client is not their connection's: one
    /// that was half written. The values need no mending: each component is one store of eight bytes, so it is the one
    /// before or the one that was let through, and both may be what the robot has.
    fn free_inputs(&mut self) {
        let Self { flows, inputs, .. } = self;
        inputs.keep(|connection, client| {
            let flow = connection.checked_sub(1).and_then(|flow| u16::try_from(flow).ok());
            flow.and_then(|flow| flows.flow(FlowId(flow))).is_some_and(|flow| {
                let live = !matches!(flow.state(), State::Free | State::Dead | State::Closed) && flow.stream != 0;
                live && (flow.key.plant.ip(), flow.key.plant.port) == client
            })
        });
    }

    /// Takes a binding out; the configuration's addresses are written again afterwards.
    fn forget_binding(&mut self, place: usize) {
        let used = |binding: &Binding| binding.address != [0; 4];
        // The torn one itself may have lost its address, which would end the list before its time.
        let behind = self.bindings.iter().skip(place.saturating_add(1)).take_while(|binding| used(binding)).count();
        let last = place.saturating_add(behind).min(BINDINGS.saturating_sub(1));
        let Some(moved) = self.bindings.get(last).copied() else { return };
        if let Some(binding) = self.bindings.get_mut(place) {
            *binding = moved;
        }
        if let Some(binding) = self.bindings.get_mut(last) {
            binding.zero();
        }
    }

    /// A conversation of which any byte may be old or new. Says whether both ends must be told that it is over.
    fn end_torn(&mut self, id: FlowId, enforces: bool) -> Option<FlowId> {
        let Self { flows, watched, due, .. } = self;
        let flow = flows.flow_mut(id)?;
        let slot = (flow.stream as usize).checked_sub(1);
        let own = |slot: usize| watched.get(slot).is_some_and(|it| it.used == 1 && it.flow == u32::from(id.0));
        let slot = slot.filter(|slot| own(*slot));
        if slot.is_none() {
            flow.stream = 0;
        }
        let spliced = slot.and_then(|slot| watched.get(slot)).is_some_and(|watched| watched.gate.is_spliced());
        match flow.state() {
            // It had not come into being, or there is nothing in it that was not in its last frame.
            State::Free | State::Datagrams => flow.zero(),
            _ if flow.frames == [0; 2] => flow.zero(),
            State::Closed => flow.stream = 0,
            // Numbers that the box has shifted can't be forwarded in any mode.
            _ if enforces || spliced => {
                let already = flow.state() == State::Dead;
                flow.set_state(State::Dead);
                flow.set(flag::SHIFTED, spliced || flow.is(flag::SHIFTED));
                if !already {
                    flow.reason = Reason::EngineFault as u8;
                    flow.set(flag::SILENT, false);
                }
                flow.resets = RESETS;
                if let Some(due) = slot.and_then(|slot| due.get_mut(slot)) {
                    *due = 1;
                }
                return Some(id).filter(|_| !flow.is(flag::SILENT));
            }
            _ => {
                flow.set(flag::UNREADABLE, true);
                let (command, answer) = (flow.end(dissect::Toward::Robot).next, flow.end(dissect::Toward::Plant).next);
                if let Some(watched) = slot.and_then(|slot| watched.get_mut(slot)) {
                    watched.gate = Gate::new(command, answer);
                    watched.gate.only_pass();
                    watched.session = Session::new();
                }
                if let Some(due) = slot.and_then(|slot| due.get_mut(slot)) {
                    *due = 0;
                }
            }
        }
        None
    }

    /// Gives back the slots and program stores that belong to nobody.
    fn free_orphans(&mut self) {
        for slot in 0..WATCHED {
            let Some(watched) = self.watched.get(slot) else { continue };
            let owner = u16::try_from(watched.flow).ok().and_then(|id| self.flows.flow(FlowId(id)));
            let owned = owner
                .is_some_and(|flow| flow.state() != State::Free && (flow.stream as usize).checked_sub(1) == Some(slot));
            if watched.used != 0 && !owned {
                self.unwatch(slot);
            }
        }
        let Self { watched, program_users, .. } = self;
        for (at, user) in program_users.iter_mut().enumerate() {
            let slot = usize::try_from(*user).ok().and_then(|user| user.checked_sub(1));
            let holds = slot
                .and_then(|slot| watched.get(slot))
                .is_some_and(|watched| watched.used != 0 && (watched.program as usize).checked_sub(1) == Some(at));
            if !holds {
                *user = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]
    use super::*;
    use link::FlowKey;

    fn key(port: u16) -> FlowKey {
        let mut key = FlowKey::new_zeroed();
        key.plant.port = port;
        key
    }

    /// Three watched connections, established, of which the second has a program's store.
    fn three() -> Box<Arena> {
        let mut arena = Arena::boxed(7);
        for port in [10, 11, 12] {
            let id = arena.shared.flows.insert(&key(port)).unwrap();
            let slot = arena.shared.watch(u32::from(id.0)).unwrap();
            let flow = arena.shared.flows.flow_mut(id).unwrap();
            flow.set_state(State::Established);
            flow.stream = slot as u32 + 1;
            flow.frames = [1, 1];
        }
        arena.shared.watched[1].program = 1;
        arena.shared.program_users[0] = 2;
        arena
    }

    fn id(arena: &Arena, port: u16) -> FlowId {
        arena.shared.flows.find(&key(port)).unwrap()
    }

    #[test]
    fn whole_state_is_left_alone() {
        let mut arena = three();
        assert_eq!(arena.repair(true), None);
        assert!(
            [10, 11, 12]
                .iter()
                .all(|port| { arena.shared.flows.flow(id(&arena, *port)).unwrap().state() == State::Established })
        );
    }

    #[test]
    fn the_conversation_in_flux_is_dead_and_the_others_stand() {
        let mut arena = three();
        let torn = id(&arena, 11);
        arena.flux.conversation(torn, &mut ());
        assert_eq!(arena.repair(true), Some(torn));
        assert_eq!(arena.shared.flows.flow(torn).unwrap().state(), State::Dead);
        assert_eq!((arena.shared.due[0], arena.shared.due[1], arena.shared.due[2]), (0, 1, 0));
        for port in [10, 12] {
            assert_eq!(arena.shared.flows.flow(id(&arena, port)).unwrap().state(), State::Established);
        }
        assert_eq!(arena.flux.torn(), None);
    }

    #[test]
    fn outside_enforcement_it_is_only_not_read_any_more() {
        let mut arena = three();
        let torn = id(&arena, 11);
        arena.flux.conversation(torn, &mut ());
        assert_eq!(arena.repair(false), None);
        let flow = arena.shared.flows.flow(torn).unwrap();
        assert_eq!((flow.state(), flow.is(flag::UNREADABLE)), (State::Established, true));
    }

    #[test]
    fn an_entry_torn_on_its_way_in_or_out_is_taken_out_with_its_slot_and_store() {
        let mut arena = three();
        let torn = id(&arena, 11);
        arena.flux.entry(torn, &mut ());
        // As a removal leaves it half way: some of the flow is gone, the index still names it.
        arena.shared.flows.flow_mut(torn).unwrap().key = FlowKey::new_zeroed();
        assert_eq!(arena.repair(true), None);
        assert_eq!(arena.shared.flows.len(), 2);
        assert_eq!(arena.shared.flows.find(&key(11)), None);
        assert_eq!((arena.shared.watched[1].used, arena.shared.program_users[0]), (0, 0));
        assert_eq!((id(&arena, 10), id(&arena, 12)), (FlowId(0), FlowId(2)));
        assert!(arena.shared.flows.insert(&key(13)).is_some());
    }

    #[test]
    fn a_slot_half_given_back_is_given_back() {
        let mut arena = three();
        let torn = id(&arena, 11);
        arena.flux.conversation(torn, &mut ());
        arena.shared.flows.flow_mut(torn).unwrap().stream = 0;
        assert_eq!(arena.repair(true), Some(torn), "both ends are told");
        assert_eq!((arena.shared.watched[1].used, arena.shared.program_users[0]), (0, 0));
        // The other way round: the slot is gone already, and the flow still names it.
        let torn = id(&arena, 12);
        arena.flux.conversation(torn, &mut ());
        arena.shared.unwatch(2);
        assert_eq!(arena.repair(true), Some(torn));
        assert_eq!(arena.shared.flows.flow(torn).unwrap().stream, 0);
    }

    #[test]
    fn inputs_of_the_torn_connection_and_half_written_ones_are_free() {
        let mut arena = three();
        let input = |name: &str| rtde::Variable::named(name.as_bytes());
        let client = |arena: &Arena, port: u16, of: u16| crate::robot::Connection {
            number: u32::from(id(arena, of).0) + 1,
            address: arena.shared.flows.flow(id(arena, of)).unwrap().key.plant.address,
            port,
            wall_ns: 1,
        };
        for (name, port, of) in [
            ("input_int_register_0", 10, 10),
            ("input_int_register_1", 11, 11),
            // Of a connection that lives, but with the port of another one.
            ("input_int_register_2", 11, 12),
        ] {
            let client = client(&arena, port, of);
            arena.shared.inputs.accepted(input(name), &client);
        }
        let torn = id(&arena, 11);
        arena.flux.conversation(torn, &mut ());
        arena.flux.part(super::super::flux::Part::Inputs, &mut ());
        assert_eq!(arena.repair(true), Some(torn));
        let owned: Vec<_> = arena.shared.inputs.owned().map(|own| (own.input, own.port)).collect();
        assert_eq!(owned, [("input_int_register_0", 10)]);
    }

    #[test]
    fn parts_beside_it_are_forgotten() {
        let mut arena = three();
        arena.shared.robot.see_robot_mode(7, 5);
        arena.shared.rates.buckets[3] = [4000, 9];
        for (at, address) in [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]].into_iter().enumerate() {
            arena.shared.bindings[at] = Binding { address, mac: [2; 6], side: 0, configured: 0 };
        }
        let one = id(&arena, 10);
        arena.flux.conversation(one, &mut ());
        arena.repair(true);
        assert_eq!(arena.shared.robot.robot_mode, 7, "it was not in flux");
        arena.flux.part(super::super::flux::Part::Robot, &mut ());
        arena.flux.part(super::super::flux::Part::Rates, &mut ());
        arena.repair(true);
        assert_eq!((arena.shared.robot.robot_mode_at_ns, arena.shared.rates.buckets[3]), (0, [0, 9]));
        arena.flux.binding(0, &mut ());
        arena.shared.bindings[0].address = [0; 4];
        arena.repair(true);
        let left = arena.shared.bindings.map(|binding| binding.address);
        assert_eq!(left[..3], [[10, 0, 0, 3], [10, 0, 0, 2], [0; 4]]);
    }
}
