//! Who is kept out for a while, after too many refused commands in too short a time. Off unless the policy asks for it.
//!
//! Bound to MAC and address, and counted only where the sender has shown that it gets what the robot sends it: on TCP
//! connections that stand. Reads never count. So nobody can have a PLC kept out by sending in its name.

use std::net::IpAddr;

use link::{Endpoint, Mac, Network, Packet};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::connection::end;
use super::pipeline::SharedArena;
use super::scene::Scene;
use crate::event::{Action, Notice, Reason, Record};
use crate::flow::{FlowId, State};
use crate::policy::Escalation;

/// Senders that are counted at one time; of more, the one whose count is oldest is forgotten first.
pub(super) const OFFENDERS: usize = 32;

/// Senders of refused commands. Plain data; all zero = none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Quarantine {
    /// When the last quarantine ends, monotonic nanoseconds: nobody is kept out from then on.
    until_ns: u64,
    /// 1 = the connections of somebody who was put in are still to be ended.
    pending: u64,
    offenders: [Offender; OFFENDERS],
}

/// One sender. Plain data; all zero = a free entry.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Offender {
    address: [u8; 16],
    mac: [u8; 6],
    reserved: [u8; 2],
    /// Refused commands since `since_ns`.
    refusals: u64,
    since_ns: u64,
    /// End of its quarantine; 0 = it is in none.
    until_ns: u64,
}

/// A sender that is kept out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: Mac,
    /// Refused commands since counting for it began.
    pub refusals: u64,
    /// When it ends, monotonic nanoseconds.
    pub until_ns: u64,
}

impl Quarantine {
    /// Lets everybody in and forgets what was counted.
    pub(super) fn clear(&mut self) {
        self.zero();
    }

    /// Whether anybody is kept out at this time.
    #[inline]
    pub(super) fn is_on(&self, now_ns: u64) -> bool {
        self.until_ns > now_ns
    }

    /// Those who are kept out at this time, [`OFFENDERS`] of them at most.
    pub(super) fn held(&self, now_ns: u64) -> impl Iterator<Item = Held> + '_ {
        self.offenders.iter().filter(move |offender| offender.until_ns > now_ns).map(|offender| Held {
            address: Endpoint { address: offender.address, port: 0 }.ip(),
            mac: Mac(offender.mac),
            refusals: offender.refusals,
            until_ns: offender.until_ns,
        })
    }

    /// Whether the sender of a packet is kept out.
    pub(super) fn holds(&self, packet: &Packet<'_>, now_ns: u64) -> bool {
        let source = match &packet.network {
            Network::Ipv4(ip) => IpAddr::from(ip.source),
            Network::Ipv6(ip) => IpAddr::from(ip.source),
            _ => return false,
        };
        self.holds_sender(&Endpoint::new(source, 0).address, packet.source, now_ns)
    }

    fn holds_sender(&self, address: &[u8; 16], mac: Mac, now_ns: u64) -> bool {
        let held = self.offenders.iter().filter(|offender| offender.until_ns > now_ns);
        held.into_iter().any(|offender| offender.address == *address && offender.mac == mac.0)
    }

    /// Counts refused commands of a sender; says until when it is kept out, if that begins now.
    pub(super) fn count(
        &mut self,
        escalation: &Escalation,
        (address, mac): ([u8; 16], Mac),
        refusals: u64,
        now_ns: u64,
    ) -> Option<u64> {
        let own = |offender: &Offender| offender.since_ns != 0 && offender.address == address && offender.mac == mac.0;
        let place = self.offenders.iter().position(own).or_else(|| {
            // A free one has since_ns 0 and comes first.
            let age =
                |at: &usize| self.offenders.get(*at).map_or(0, |offender| offender.since_ns.max(offender.until_ns));
            (0..OFFENDERS).min_by_key(age)
        });
        let offender = self.offenders.get_mut(place?)?;
        let over = now_ns.saturating_sub(offender.since_ns) > escalation.within_ns;
        if !own(offender) || over {
            let until_ns = if own(offender) { offender.until_ns } else { 0 };
            *offender =
                Offender { address, mac: mac.0, reserved: [0; 2], refusals: 0, since_ns: now_ns.max(1), until_ns };
        }
        offender.refusals = offender.refusals.saturating_add(refusals);
        if offender.refusals < escalation.refusals || offender.until_ns > now_ns {
            return None;
        }
        offender.until_ns = now_ns.saturating_add(escalation.quarantine_ns);
        self.until_ns = self.until_ns.max(offender.until_ns);
        self.pending = 1;
        Some(offender.until_ns)
    }
}

/// Records that a sender is kept out from now on.
pub(super) fn record(scene: &mut Scene<'_>, address: [u8; 16], mac: Mac, until_ns: u64) {
    let address = Endpoint { address, port: 0 }.ip();
    let for_ns = until_ns.saturating_sub(scene.now_ns);
    scene.record(Record::Notice(Notice::Quarantine { address, mac, for_ns }));
}

/// Ends the connections of those who were put in quarantine, as many as there is room for; the rest the next time.
pub(super) fn end_connections(arena: &mut SharedArena, scene: &mut Scene<'_>) {
    if arena.quarantine.pending == 0 {
        return;
    }
    let now_ns = scene.now_ns;
    for id in (0..crate::flow::CAPACITY).filter_map(|at| u16::try_from(at).ok()).map(FlowId) {
        let Some(flow) = arena.flows.flow(id) else { continue };
        if matches!(flow.state(), State::Free | State::Dead | State::Closed | State::Datagrams) {
            continue;
        }
        let (key, [plant, robot]) = (flow.key, flow.macs);
        let peer = if key.is_mirrored() { (key.robot.address, robot) } else { (key.plant.address, plant) };
        if !arena.quarantine.holds_sender(&peer.0, peer.1, now_ns) {
            continue;
        }
        if !scene.actions.has_room() {
            return;
        }
        scene.turn_to(&key);
        scene.flux.conversation(id, arena);
        end(arena, scene, id, Action::Reset, Reason::Quarantined);
        scene.flux.settled(arena);
    }
    scene.flux.quarantine(arena);
    arena.quarantine.pending = 0;
    scene.flux.settled(arena);
}
