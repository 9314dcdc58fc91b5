//! Who fails again and again is kept out for a while, each time longer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures that cost nothing: an expired certificate and two attempts to see why.
const FREE: u32 = 3;

/// The wait after the first failure that counts, and the longest; each is twice the one before.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(900));

/// A failure so long ago is forgotten.
const FORGET: Duration = Duration::from_secs(3600);

/// Most addresses remembered, some 100 kB. Where more fail at once, the one that failed longest ago is forgotten.
const MOST: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    until: Instant,
}

/// Failed attempts by address. IPv6 hosts choose among the addresses of their network, so a /64 counts as one.
#[derive(Debug, Default)]
pub(super) struct Lockout(Mutex<HashMap<IpAddr, Failures>>);

impl Lockout {
    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an attempt from `address` is taken now.
    pub(super) fn is_open(&self, address: IpAddr, now: Instant) -> bool {
        self.table().get(&place(address)).is_none_or(|failures| now >= failures.until)
    }

    /// An attempt failed.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        let mut table = self.table();
        let place = place(address);
        if !table.contains_key(&place) && table.len() >= MOST {
            table.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET);
            if table.len() >= MOST
                && let Some(oldest) = table.iter().min_by_key(|(_, failures)| failures.last).map(|(place, _)| *place)
            {
                table.remove(&oldest);
            }
        }
        let failures = table.entry(place).or_insert(Failures { count: 0, last: now, until: now });
        if now.saturating_duration_since(failures.last) >= FORGET {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if let Some(beyond) = failures.count.checked_sub(FREE.saturating_add(1)) {
            let wait = WAIT.0.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX)).min(WAIT.1);
            failures.until = now.checked_add(wait).unwrap_or(now);
        }
    }

    /// An attempt succeeded: earlier failures are forgotten.
    pub(super) fn succeeded(&self, address: IpAddr) {
        self.table().remove(&place(address));
    }
}

fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let (lockout, begun) = (Lockout::default(), Instant::now());
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut now = begun;
        for _ in 0..FREE {
            lockout.failed(address, now);
            assert!(lockout.is_open(address, now));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            lockout.failed(address, now);
            assert!(!lockout.is_open(address, now + Duration::from_secs(seconds) - Duration::from_millis(1)));
            now += Duration::from_secs(seconds);
            assert!(lockout.is_open(address, now));
            assert!(lockout.is_open(IpAddr::from([10, 0, 0, 2]), now), "others are not kept out");
        }
        for _ in 0..60 {
            lockout.failed(address, now);
        }
        assert!(!lockout.is_open(address, now + Duration::from_secs(899)));
        lockout.succeeded(address);
        assert!(lockout.is_open(address, now));
        for _ in 0..=FREE {
            lockout.failed(address, now);
        }
        lockout.failed(address, now + FORGET);
        assert!(lockout.is_open(address, now + FORGET), "long ago is forgotten");
    }

    #[test]
    fn the_table_is_bounded_and_networks_count_as_one() {
        let (lockout, begun) = (Lockout::default(), Instant::now());
        for host in 0..5000_u32 {
            lockout.failed(IpAddr::from(host.to_be_bytes()), begun + Duration::from_millis(host.into()));
        }
        assert_eq!(lockout.table().len(), MOST);
        assert!(lockout.table().contains_key(&IpAddr::from(4999_u32.to_be_bytes())));
        let lockout = Lockout::default();
        for host in 0..8_u16 {
            lockout.failed(IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, host]), begun);
        }
        assert!(!lockout.is_open(IpAddr::from([0xfd00, 0, 0, 1, 9, 9, 9, 9]), begun));
        assert!(lockout.is_open(IpAddr::from([0xfd00, 0, 0, 2, 0, 0, 0, 1]), begun));
    }
}
