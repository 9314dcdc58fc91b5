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

/// Senders that are counted at one time. Of more, the one whose count is oldest is forgotten first, never one that is kept
/// out: where all are, a newcomer can't be counted, and each refused command of its own ends its connection.
pub(super) const OFFENDERS: usize = 32;

/// Senders of refused commands. Plain data; all zero = none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Quarantine {
    /// When the last quarantine ends, monotonic nanoseconds: nobody is kept out from then on.
    until_ns: u64,
    /// 1 = the connections of somebody who was put in are still to be ended.
    pending: u64,
    /// The connection, plus 1, of a sender that could not be counted and is to end; 0 = none.
    uncounted: u64,
    /// Until when nobody is told again that all places are taken, monotonic nanoseconds.
    told_full_ns: u64,
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

    /// Counts refused commands of a sender.
    pub(super) fn count(
        &mut self,
        escalation: &Escalation,
        (address, mac): ([u8; 16], Mac),
        refusals: u64,
        now_ns: u64,
    ) -> Counted {
        let own = |offender: &Offender| offender.since_ns != 0 && offender.address == address && offender.mac == mac.0;
        let place = self.offenders.iter().position(own).or_else(|| {
            let kept_out = |at: &usize| self.offenders.get(*at).is_some_and(|offender| offender.until_ns > now_ns);
            // A free one has since_ns 0 and comes first.
            let age =
                |at: &usize| self.offenders.get(*at).map_or(0, |offender| offender.since_ns.max(offender.until_ns));
            (0..OFFENDERS).filter(|at| !kept_out(at)).min_by_key(age)
        });
        let Some(offender) = place.and_then(|place| self.offenders.get_mut(place)) else { return self.full(now_ns) };
        let over = now_ns.saturating_sub(offender.since_ns) > escalation.within_ns;
        if !own(offender) || over {
            let until_ns = if own(offender) { offender.until_ns } else { 0 };
            *offender =
                Offender { address, mac: mac.0, reserved: [0; 2], refusals: 0, since_ns: now_ns.max(1), until_ns };
        }
        offender.refusals = offender.refusals.saturating_add(refusals);
        if offender.refusals < escalation.refusals || offender.until_ns > now_ns {
            return Counted::Below;
        }
        offender.until_ns = now_ns.saturating_add(escalation.quarantine_ns);
        self.until_ns = self.until_ns.max(offender.until_ns);
        self.pending = 1;
        Counted::Begun { until_ns: offender.until_ns }
    }

    /// All places are those of senders that are kept out.
    fn full(&mut self, now_ns: u64) -> Counted {
        let until_ns = self.offenders.iter().map(|offender| offender.until_ns).min().unwrap_or(now_ns);
        let is_news = self.told_full_ns <= now_ns;
        if is_news {
            self.told_full_ns = until_ns;
        }
        Counted::Full { until_ns, is_news }
    }

    /// The connection of a sender that could not be counted ends at the next look; of several until then the first.
    pub(super) fn end_uncounted(&mut self, id: FlowId) {
        if self.uncounted == 0 {
            self.uncounted = u64::from(id.0).saturating_add(1);
        }
    }
}

/// What counting refused commands came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// There are not enough of them.
    Below,
    /// The sender is kept out from now on.
    Begun {
        /// Until when.
        until_ns: u64,
    },
    /// There is no place to count them.
    Full {
        /// When there will be one.
        until_ns: u64,
        /// Whether that was not told yet.
        is_news: bool,
    },
}

/// Records that a sender is kept out from now on.
pub(super) fn record(scene: &mut Scene<'_>, address: [u8; 16], mac: Mac, until_ns: u64) {
    let address = Endpoint { address, port: 0 }.ip();
    let for_ns = until_ns.saturating_sub(scene.now_ns);
    scene.record(Record::Notice(Notice::Quarantine { address, mac, for_ns }));
}

/// Records that there is no place to count a sender, until this time.
pub(super) fn record_full(scene: &mut Scene<'_>, address: [u8; 16], mac: Mac, until_ns: u64) {
    let address = Endpoint { address, port: 0 }.ip();
    let for_ns = until_ns.saturating_sub(scene.now_ns);
    scene.record(Record::Notice(Notice::QuarantineFull { address, mac, for_ns }));
}

/// Ends the connection of a sender that could not be counted.
fn end_uncounted(arena: &mut SharedArena, scene: &mut Scene<'_>) {
    let Some(id) = arena.quarantine.uncounted.checked_sub(1).and_then(|id| u16::try_from(id).ok()).map(FlowId) else {
        return;
    };
    scene.flux.quarantine(arena);
    arena.quarantine.uncounted = 0;
    scene.flux.settled(arena);
    let Some(flow) = arena.flows.flow(id) else { return };
    if scene.actions.has_room() && matches!(flow.state(), State::Established | State::Closing) {
        let key = flow.key;
        scene.turn_to(&key);
        scene.flux.conversation(id, arena);
        end(arena, scene, id, Action::Reset, Reason::Quarantined);
        scene.flux.settled(arena);
    }
}

/// Ends the connections of those who were put in quarantine, as many as there is room for; the rest the next time.
pub(super) fn end_connections(arena: &mut SharedArena, scene: &mut Scene<'_>) {
    if arena.quarantine.uncounted != 0 {
        end_uncounted(arena, scene);
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, clippy::panic, reason = "a test may stop at the first surprise")]
    use super::*;

    const MINUTE: u64 = 60_000_000_000;
    const RULE: Escalation = Escalation { refusals: 3, within_ns: MINUTE, quarantine_ns: 5 * MINUTE };

    fn sender(n: usize) -> ([u8; 16], Mac) {
        (Endpoint::new(IpAddr::from([10, 20, 1, n as u8]), 0).address, Mac([2, 0, 0, 0, 1, n as u8]))
    }

    fn is_held(quarantine: &Quarantine, n: usize, now_ns: u64) -> bool {
        let (address, mac) = sender(n);
        quarantine.holds_sender(&address, mac, now_ns)
    }

    #[test]
    fn nobody_who_is_kept_out_gives_its_place_to_a_newcomer() {
        let mut quarantine = Quarantine::new_zeroed();
        for n in 0..OFFENDERS {
            let now_ns = 1 + n as u64;
            assert_eq!(quarantine.count(&RULE, sender(n), 3, now_ns), Counted::Begun { until_ns: now_ns + 5 * MINUTE });
        }
        let first_ends_ns = 1 + 5 * MINUTE;
        for (n, is_news) in [(32, true), (33, false), (32, false)] {
            let full = Counted::Full { until_ns: first_ends_ns, is_news };
            assert_eq!(quarantine.count(&RULE, sender(n), 3, MINUTE), full);
        }
        assert!((0..OFFENDERS).all(|n| is_held(&quarantine, n, first_ends_ns - 1)), "to the last nanosecond");
        assert_eq!(quarantine.held(first_ends_ns - 1).count(), OFFENDERS);
        // Those who are in are still known for what they are, and a place that is over is free.
        assert_eq!(quarantine.count(&RULE, sender(5), 9, MINUTE), Counted::Below);
        let begun = Counted::Begun { until_ns: first_ends_ns + 5 * MINUTE };
        assert_eq!(quarantine.count(&RULE, sender(32), 3, first_ends_ns), begun);
        assert!((1..=OFFENDERS).all(|n| is_held(&quarantine, n, first_ends_ns)));
        // Full once more: that is news again.
        let again = quarantine.count(&RULE, sender(33), 1, first_ends_ns);
        assert_eq!(again, Counted::Full { until_ns: first_ends_ns + 1, is_news: true });
    }

    #[test]
    fn of_counts_alone_the_oldest_is_forgotten() {
        let mut quarantine = Quarantine::new_zeroed();
        for n in 0..=OFFENDERS {
            assert_eq!(quarantine.count(&RULE, sender(n), 2, 1 + n as u64), Counted::Below);
        }
        assert_eq!(quarantine.count(&RULE, sender(0), 1, 100), Counted::Below, "it begins anew");
        assert!(matches!(quarantine.count(&RULE, sender(9), 1, 100), Counted::Begun { .. }));
    }
}
