//! Who opens connections, how many and to which ports: a cap on the first, and word of those who try door after door.
//!
//! Soft state of one process: a successor begins to count anew.

use std::net::IpAddr;

use link::Endpoint;

/// Senders of either kind that are counted at one time; of more, the one that came first is forgotten first.
const SENDERS: usize = 64;

/// Ports that somebody tries in vain within [`SCAN_NS`] before it is called a scan. A client with a wrong configuration
/// tries one or two; a robot has nine services.
const SCAN_PORTS: u32 = 8;
const SCAN_NS: u64 = 10_000_000_000;

/// Word of the same scanner is given once in this time.
const SCAN_AGAIN_NS: u64 = 60_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Words of scans in ten seconds, whoever is said to scan: addresses cost nothing.
const SCANS_TOLD: u32 = 10;

/// What is known of one sender: since when, and how much.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    address: [u8; 16],
    /// When it was first seen, monotonic nanoseconds; 0 = a free entry.
    first_ns: u64,
    /// Begin of the time in which is counted.
    since_ns: u64,
    /// Connections that it opened; or ports that it was refused, each as one of 64 bits.
    count: u64,
    /// When word was given of it; 0 = never.
    told_ns: u64,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Newcomers {
    /// Who may open connections. Apart from the others, so that nobody who is refused can push a client out.
    admitted: [Sender; SENDERS],
    refused: [Sender; SENDERS],
    /// Words of scans since `told_ns`.
    told: u32,
    told_ns: u64,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self { admitted: [Sender::default(); SENDERS], refused: [Sender::default(); SENDERS], told: 0, told_ns: 0 }
    }
}

/// The entry of a sender, a new one where it has none; what it counted is gone once `length_ns` have passed.
fn sender(senders: &mut [Sender; SENDERS], address: IpAddr, length_ns: u64, now_ns: u64) -> Option<&mut Sender> {
    let address = Endpoint::new(address, 0).address;
    let own = |sender: &Sender| sender.first_ns != 0 && sender.address == address;
    let first = |at: &usize| senders.get(*at).map_or(0, |sender| sender.first_ns);
    let place = senders.iter().position(own).or_else(|| (0..SENDERS).min_by_key(first))?;
    let sender = senders.get_mut(place)?;
    if !own(sender) {
        *sender = Sender { address, first_ns: now_ns.max(1), ..Sender::default() };
    }
    if now_ns.saturating_sub(sender.since_ns) >= length_ns {
        sender.since_ns = now_ns;
        sender.count = 0;
    }
    Some(sender)
}

impl Newcomers {
    /// Whether a sender may open one more connection now; `most` a second, 0 = as many as it likes.
    pub(super) fn may_open(&mut self, address: IpAddr, most: u32, now_ns: u64) -> bool {
        if most == 0 {
            return true;
        }
        let Some(sender) = sender(&mut self.admitted, address, SECOND_NS, now_ns) else { return true };
        sender.count = sender.count.saturating_add(1);
        sender.count <= most.into()
    }

    /// Notes that a sender was refused a port; says how many different ones it tried, where that is a scan and worth a
    /// word now. Two ports can look alike, so there may have been more.
    pub(super) fn refused(&mut self, address: IpAddr, port: u16, now_ns: u64) -> Option<u32> {
        if now_ns.saturating_sub(self.told_ns) >= SCAN_NS {
            (self.told, self.told_ns) = (0, now_ns);
        }
        let sender = sender(&mut self.refused, address, SCAN_NS, now_ns)?;
        // The odd constant is 2^16 / golden ratio: neighbours get different bits.
        sender.count |= 1 << (port.wrapping_mul(40_503) >> 10);
        let ports = sender.count.count_ones();
        let due = sender.told_ns == 0 || now_ns.saturating_sub(sender.told_ns) > SCAN_AGAIN_NS;
        if ports < SCAN_PORTS || !due || self.told >= SCANS_TOLD {
            return None;
        }
        sender.told_ns = now_ns.max(1);
        self.told = self.told.saturating_add(1);
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

    #[test]
    fn who_is_refused_under_many_names_resets_nobodys_count_and_fills_no_records() {
        let mut newcomers = Newcomers::default();
        let now_ns = 5 * SECOND_NS;
        assert!((0..3).all(|_| newcomers.may_open(ONE, 3, now_ns)));
        let mut told = 0;
        for n in 0..2_000_u32 {
            let address = IpAddr::from((n | 0x0b00_0000).to_be_bytes());
            for port in [502, 22, 6666, 29_999, 30_001, 30_002, 30_003, 30_004, 30_020, 44_818, 80, 443, 5900] {
                told += usize::from(newcomers.refused(address, port, now_ns + u64::from(n)).is_some());
            }
        }
        assert!(told > 0 && told <= 20, "{told}");
        assert!(!newcomers.may_open(ONE, 3, now_ns + 1), "still at its cap");
    }
}
