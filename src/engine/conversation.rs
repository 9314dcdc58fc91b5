use dissect::Toward;

use super::arena;
use super::connection::service_of;
use crate::command::Service;
use crate::event::Notice;
use crate::flow::State;
use crate::jitter::{Late, Silence, Talk, Told};

/// A conversation with what was measured and counted of it.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// What was measured.
    pub talk: Talk,
    /// Its service.
    pub service: Service,
    /// Who opened it: [`Toward::Robot`] = the plant side did.
    pub opened: Toward,
    /// Frames toward the robot and toward the plant.
    pub frames: [u64; 2],
    /// Bytes on the wire toward the robot and toward the plant.
    pub bytes: [u64; 2],
    /// Commands allowed and refused.
    pub commands: [u64; 2],
}

impl Conversation {
    /// Of a talk with what the flow table says of it; absent where the table has forgotten it.
    pub(super) fn of(talk: &Talk, arena: &arena::Shared) -> Option<Self> {
        let flow = arena.flows.flow(talk.id).filter(|flow| talk.is_of(flow))?;
        let mirrored = flow.key.is_mirrored();
        let turned = |mut pair: [u64; 2]| {
            if mirrored {
                pair.reverse();
            }
            pair
        };
        Some(Self {
            talk: *talk,
            service: service_of(flow),
            opened: if mirrored { flow.opened().reverse() } else { flow.opened() },
            frames: turned(flow.frames),
            bytes: turned(flow.bytes),
            commands: flow.commands,
        })
    }
}

/// Whether more may come of a talk: neither end has closed its connection.
pub(super) fn lives(talk: &Talk, arena: &arena::Shared) -> bool {
    let flow = arena.flows.flow(talk.id).filter(|flow| talk.is_of(flow));
    flow.is_some_and(|flow| matches!(flow.state(), State::Established | State::Datagrams))
}

/// The event of a late frame, or of a silence.
pub(super) fn notice(told: &Told, arena: &arena::Shared) -> Notice {
    let (Told::Late(Late { key, id, .. }) | Told::Silence(Silence { key, id, .. })) = *told;
    let service = arena.flows.flow(id).map_or(Service::of_tcp_port(key.robot.port), service_of);
    match *told {
        Told::Late(Late { toward, whose, interval_ns, period_ns, residence_ns, unreported, .. }) => {
            Notice::Late { key, service, toward, whose, interval_ns, period_ns, residence_ns, unreported }
        }
        Told::Silence(Silence { toward, silent_ns, period_ns, over, .. }) => {
            Notice::Silent { key, service, toward, silent_ns, period_ns, over }
        }
    }
}
