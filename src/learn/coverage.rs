//! How much of what a client does was seen, and whether learning may stop.

use std::net::IpAddr;

use super::observe::{Behaviour, Group, Observations};
use crate::command::Service;

/// How sure [`Coverage::at_least`] is.
pub const CONFIDENCE: f64 = 0.95;

/// A client has shown what it does when this share of it is sure to have been seen.
const ENOUGH: f64 = 0.95;

/// How much of what one client does over one service was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// The peer.
    pub peer: IpAddr,
    /// Whether the robot opens the connections and commands.
    pub egress: bool,
    /// The service.
    pub service: Service,
    /// Commands, or connections where nobody reads them.
    pub observations: u64,
    /// Different behaviours among them.
    pub behaviours: u64,
    /// Behaviours seen once.
    pub once: u64,
    /// Observations that found no room.
    pub dropped: u64,
    /// First and last observation, and the first of the newest behaviour; nanoseconds since 1970.
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
    /// See `first_ns`.
    pub newest_ns: u64,
}

impl Coverage {
    fn of((peer, egress, service): (IpAddr, bool, Service), group: &Group) -> Self {
        // RTDE outputs are asked for once a connection, however long it lasts.
        let rows = || group.rows.iter().filter(|(row, _)| !matches!(row, Behaviour::RtdeOutput(_)));
        let counts = || rows().map(|(_, row)| row.count.count);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            peer,
            egress,
            service,
            observations: counts().fold(0_u64, u64::saturating_add),
            behaviours: number(rows().count()),
            once: number(counts().filter(|count| *count == 1).count()),
            dropped: group.dropped,
            first_ns: group.rows.values().map(|row| row.count.first_ns).min().unwrap_or(0),
            last_ns: group.rows.values().map(|row| row.count.last_ns).max().unwrap_or(0),
            newest_ns: rows().map(|(_, row)| row.count.first_ns).max().unwrap_or(0),
        }
    }

    /// How likely the next observation is of a behaviour that was seen, by Good and Turing: 1 less the share of those seen
    /// once. Source: Good, Biometrika 40 (1953).
    #[must_use]
    pub fn estimate(&self) -> f64 {
        1.0 - share(self.once, self.observations)
    }

    /// What that is at least, with a confidence of [`CONFIDENCE`] if observations come independently of each other. A
    /// production cycle is more regular than that.
    ///
    /// Source: what was not seen exceeds its mean by e with a probability of at most exp(-n e²) (McAllester and Ortiz,
    /// JMLR 4, 2003, theorem 1), its mean is at most that of the estimate (Good), and the estimate falls short of its own
    /// mean by e with a probability of at most exp(-n e²/2) (McDiarmid: one observation moves it by 2/n). Half of what may
    /// go wrong for each.
    #[must_use]
    pub fn at_least(&self) -> f64 {
        if self.observations == 0 {
            return 0.0;
        }
        let doubt = (2.0 / (1.0 - CONFIDENCE)).ln() * share(1, self.observations);
        (self.estimate() - (1.0 + std::f64::consts::SQRT_2) * doubt.sqrt()).max(0.0)
    }

    /// The stop rule: 0.95 of what the client does is sure to have been seen, and the second half of the time brought
    /// nothing new. A cycle of some dozens of commands a second gets there within minutes, a person at a panel hardly.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        let half_ns = self.last_ns.saturating_sub(self.first_ns) / 2;
        self.at_least() >= ENOUGH && self.newest_ns <= self.first_ns.saturating_add(half_ns) && self.dropped == 0
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, three digits")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Observations {
    /// How much was seen of each client and service.
    pub fn coverage(&self) -> impl Iterator<Item = Coverage> {
        self.groups.iter().map(|(key, group)| Coverage::of(*key, group))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::cast_precision_loss, clippy::indexing_slicing)]
    use super::*;

    fn coverage(observations: u64, once: u64) -> Coverage {
        Coverage {
            peer: IpAddr::from([10, 0, 0, 1]),
            egress: false,
            service: Service::Modbus,
            observations,
            behaviours: 10,
            once,
            dropped: 0,
            first_ns: 0,
            last_ns: 1_000,
            newest_ns: 400,
        }
    }

    /// A xorshift generator: the same draws in every run.
    struct Draws(u64);

    impl Draws {
        fn next(&mut self) -> f64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// The share of behaviours not seen is within the stated bound in 95 of 100 runs at least, whatever the traffic looks
    /// like: even, with few common and many rare behaviours, or with a great many of them.
    #[test]
    fn the_bound_holds_on_seeded_traffic() {
        let zipf = |kinds: usize| -> Vec<f64> {
            let weights: Vec<f64> = (1..=kinds).map(|rank| 1.0 / rank as f64).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        };
        let mut rare = vec![0.9 / 10.0; 10];
        rare.extend(vec![0.1 / 2000.0; 2000]);
        for (name, kinds) in [("even", vec![1.0 / 50.0; 50]), ("zipf", zipf(500)), ("rare", rare)] {
            for draws in [50, 500, 3000] {
                let (runs, mut outside, mut off) = (400, 0, 0.0_f64);
                for run in 1..=runs {
                    let mut random = Draws(0x9e37_79b9_7f4a_7c15 ^ (run * 7919));
                    let mut seen = vec![0_u64; kinds.len()];
                    for _ in 0..draws {
                        let mut at = random.next();
                        let kind = kinds.iter().position(|p| {
                            at -= p;
                            at < 0.0
                        });
                        seen[kind.unwrap_or(kinds.len() - 1)] += 1;
                    }
                    let unseen: f64 = kinds.iter().zip(&seen).filter(|(_, seen)| **seen == 0).map(|(p, _)| p).sum();
                    let once = seen.iter().filter(|seen| **seen == 1).count() as u64;
                    let known = coverage(draws, once);
                    outside += usize::from(1.0 - unseen < known.at_least());
                    off += (known.estimate() - (1.0 - unseen)).abs();
                }
                assert!(outside * 20 <= 400, "{name}, {draws} draws: {outside} of {runs} outside the bound");
                // The estimate itself is near: within four of its standard deviations, 1/sqrt(n) at most.
                let mean = off / runs as f64;
                assert!(mean < 1.0 / (draws as f64).sqrt(), "{name}, {draws} draws: off by {mean} on average");
            }
        }
    }

    #[test]
    fn learning_may_stop_when_enough_is_sure_and_nothing_new_came_for_half_the_time() {
        assert!(coverage(20_000, 0).is_saturated());
        assert!(!coverage(2_000, 0).is_saturated(), "{}", coverage(2_000, 0).at_least());
        assert!(!coverage(20_000, 1_000).is_saturated());
        assert!(!Coverage { newest_ns: 600, ..coverage(20_000, 0) }.is_saturated());
        assert!(!Coverage { dropped: 1, ..coverage(20_000, 0) }.is_saturated());
        assert_eq!(coverage(0, 0).at_least(), 0.0);
    }
}
