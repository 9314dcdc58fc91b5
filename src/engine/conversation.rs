use dissect::Toward;

use super::arena;
use super::connection::service_of;
use crate::command::Service;
use crate::event::Notice;
use crate::flow::Flow;
use crate::jitter::{Late, Talk};

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

/// The event of a late frame.
pub(super) fn notice(late: &Late, flow: Option<&Flow>) -> Notice {
    let service = flow.map_or(Service::of_tcp_port(late.key.robot.port), service_of);
    let Late { key, toward, whose, interval_ns, period_ns, residence_ns, unreported, .. } = *late;
    Notice::Late { key, service, toward, whose, interval_ns, period_ns, residence_ns, unreported }
}
