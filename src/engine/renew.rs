//! A conversation under other rules than those that let it in.

use dissect::Toward;

use super::connection::{admit, client_of, service_of};
use super::pipeline::SharedArena;
use super::rules::{Mode, Rules};
use super::scene::Scene;
use super::spliced::slot_of;
use crate::event::{Reason, RuleId};
use crate::flow::{FlowId, flag};

/// Looks at a conversation anew where the rules have changed since it was looked at last: before anything of it is
/// judged, repeated or passed on.
///
/// # Errors
/// It may not go on. It is the caller's to end it, where that is enforced.
pub(super) fn renew(
    arena: &mut SharedArena,
    rules: &Rules,
    scene: &Scene<'_>,
    id: FlowId,
) -> Result<(), (Reason, RuleId)> {
    let slot = slot_of(arena, id);
    let SharedArena { flows, watched, .. } = &mut *arena;
    let Some(flow) = flows.flow_mut(id) else { return Ok(()) };
    if !rules.mode.judges() || flow.generation == scene.generation {
        return Ok(());
    }
    let key = flow.key;
    flow.generation = scene.generation;
    flow.client = client_of(rules, &key).0;
    let watched = slot.and_then(|slot| watched.get_mut(slot));
    let spliced = watched.as_ref().is_some_and(|watched| watched.gate.is_spliced());
    if flow.channel != 0 && !spliced && rules.socket(flow.opened(), flow.service_port).is_none() {
        // Of a socket of external control that the policy does not speak of any more nothing is read; like any other
        // connection of the robot's it may go on if a rule names its port.
        flow.channel = 0;
        flow.set(flag::DISSECTED, false);
        flow.set(flag::ENFORCED, false);
        flow.stream = 0;
        if let Some(slot) = slot {
            arena.unwatch(slot);
        }
    } else if let Some(watched) = watched {
        if rules.mode != Mode::Lockdown {
            watched.gate.unseal();
        } else if !watched.gate.seal() {
            return Err((Reason::LockedDown, RuleId::NONE));
        }
    }
    let Some(flow) = arena.flows.flow(id) else { return Ok(()) };
    let (service, opened) = (service_of(flow), flow.opened());
    if opened == Toward::Plant && service.is_judged_on_devices() {
        // What began as something else, or under a box that did not read it.
        return Err((Reason::MidStream, RuleId::NONE));
    }
    admit(rules, &key, service, opened, scene.now_ns)
}
