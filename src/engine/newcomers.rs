//! Who opens connections, how many and to which ports: a cap on the first, and word of those who try door after door.
//!
//! Soft state of one process: a successor begins to count anew.

use std::net::IpAddr;

use link::Endpoint;

/// Senders that are counted at one time; of more, the one that came first is forgotten first.
const SENDERS: usize = 64;

/// Ports that somebody tries in vain within [`SCAN_NS`] before it is called a scan. A client with a wrong configuration
/// tries one or two; a robot has nine services.
const SCAN_PORTS: u32 = 8;
const SCAN_NS: u64 = 10_000_000_000;

/// Word of the same scanner is given once in this time.
const SCAN_AGAIN_NS: u64 = 60_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What is known of one sender.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    address: [u8; 16],
    /// When it was first seen, monotonic nanoseconds; 0 = a free entry.
    first_ns: u64,
    /// Connections that it opened in the second that began then.
    second_ns: u64,
    opened: u32,
    /// Ports that it was refused since `ports_ns`, each as one of 64 bits.
    ports: u64,
    ports_ns: u64,
    told_ns: u64,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Newcomers {
    senders: [Sender; SENDERS],
}

impl Default for Newcomers {
    fn default() -> Self {
        Self { senders: [Sender::default(); SENDERS] }
    }
}

impl Newcomers {
    fn sender(&mut self, address: IpAddr, now_ns: u64) -> Option<&mut Sender> {
        let address = Endpoint::new(address, 0).address;
        let own = |sender: &Sender| sender.first_ns != 0 && sender.address == address;
        let first = |at: &usize| self.senders.get(*at).map_or(0, |sender| sender.first_ns);
        let place = self.senders.iter().position(own).or_else(|| (0..SENDERS).min_by_key(first))?;
        let sender = self.senders.get_mut(place)?;
        if !own(sender) {
            *sender = Sender { address, first_ns: now_ns.max(1), ..Sender::default() };
        }
        Some(sender)
    }

    /// Whether a sender may open one more connection now; `most` a second, 0 = as many as it likes.
    pub(super) fn may_open(&mut self, address: IpAddr, most: u32, now_ns: u64) -> bool {
        if most == 0 {
            return true;
        }
        let Some(sender) = self.sender(address, now_ns) else { return true };
        if now_ns.saturating_sub(sender.second_ns) >= SECOND_NS {
            sender.second_ns = now_ns;
            sender.opened = 0;
        }
        sender.opened = sender.opened.saturating_add(1);
        sender.opened <= most
    }

    /// Notes that a sender was refused a port; says how many different ones it tried, where that is a scan and worth a
    /// word now. Two ports can look alike, so there may have been more.
    pub(super) fn refused(&mut self, address: IpAddr, port: u16, now_ns: u64) -> Option<u32> {
        let sender = self.sender(address, now_ns)?;
        if now_ns.saturating_sub(sender.ports_ns) > SCAN_NS {
            sender.ports_ns = now_ns;
            sender.ports = 0;
        }
        // The odd constant is 2^16 / golden ratio: neighbours get different bits.
        sender.ports |= 1 << (port.wrapping_mul(40_503) >> 10);
        let ports = sender.ports.count_ones();
        let due = sender.told_ns == 0 || now_ns.saturating_sub(sender.told_ns) > SCAN_AGAIN_NS;
        if ports < SCAN_PORTS || !due {
            return None;
        }
        sender.told_ns = now_ns.max(1);
        Some(ports)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn connections_are_capped_a_second_and_a_sender() {
        let mut newcomers = Newcomers::default();
        let now_ns = 5 * SECOND_NS;
        assert!((0..3).all(|_| newcomers.may_open(ONE, 3, now_ns)));
        assert!(!newcomers.may_open(ONE, 3, now_ns + SECOND_NS - 1));
        assert!(newcomers.may_open(OTHER, 3, now_ns), "another sender has its own");
        assert!(newcomers.may_open(ONE, 3, now_ns + SECOND_NS));
        assert!((0..100).all(|_| newcomers.may_open(OTHER, 0, now_ns)), "0 = no cap");
    }

    #[test]
    fn door_after_door_is_a_scan_and_one_door_is_none() {
        let mut newcomers = Newcomers::default();
        let at = |n: u64| SECOND_NS + n * 1_000_000;
        assert!((0..1000).all(|n| newcomers.refused(ONE, 22, at(n)).is_none()), "one port again and again");
        let ports = [502, 22, 6666, 29_999, 30_001, 30_002, 30_003, 30_004, 30_020, 44_818, 80, 443, 5900];
        let told: Vec<_> = (0..).zip(ports).filter_map(|(n, port)| newcomers.refused(OTHER, port, at(n))).collect();
        assert_eq!(told, [SCAN_PORTS], "once");
        // Slowly it is none: what is so slow is seen in the records of refused connections.
        let slow = (0..).zip(1..2000_u16).filter_map(|(n, port)| newcomers.refused(ONE, port, at(n * 2_000)));
        assert_eq!(slow.count(), 0);
    }

    #[test]
    fn whoever_floods_with_many_addresses_costs_no_memory_and_hides_nobody_for_long() {
        let mut newcomers = Newcomers::default();
        for n in 0..10_000_u32 {
            let address = IpAddr::from((n | 0x0b00_0000).to_be_bytes());
            assert!(newcomers.may_open(address, 5, SECOND_NS + u64::from(n)));
        }
        let now_ns = 3 * SECOND_NS;
        let opened = (0..10).filter(|_| newcomers.may_open(ONE, 5, now_ns)).count();
        assert_eq!(opened, 5);
    }
}
