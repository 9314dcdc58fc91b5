//! A cable that is out on one side is out on the other too: whoever looks at a link then sees what a wire would show.

use std::time::{Duration, Instant};

/// How long a port stays down at least, and how long at most where a link flaps.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A link that is lost again so soon flaps.
const FLAPS: Duration = Duration::from_secs(10);

/// Time that a port has to find its carrier when it comes up again: both ends of a copper link agree within three seconds.
const SETTLES: Duration = Duration::from_secs(5);

/// A port as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Administratively up.
    pub(super) up: bool,
    /// The other end of the cable is there.
    pub(super) carrier: bool,
}

/// What is to be done: take a port (by its place) down, or up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Down(usize),
    Up(usize),
}

/// Decides; pure.
#[derive(Debug)]
pub(super) struct Mirror {
    /// The port that was taken down, and when.
    held: Option<(usize, Instant)>,
    /// The port that came up again, and until when its carrier is waited for.
    settles: Option<(usize, Instant)>,
    stays: Duration,
    ended: Option<Instant>,
}

impl Mirror {
    pub(super) fn new() -> Self {
        Self { held: None, settles: None, stays: SHORTEST, ended: None }
    }

    /// Looks at both ports.
    pub(super) fn look(&mut self, links: [Link; 2], now: Instant) -> Option<Order> {
        let carries = |at: usize| links.get(at).is_some_and(|link| link.up && link.carrier);
        if let Some((held, since)) = self.held {
            if !carries(other(held)) || now.saturating_duration_since(since) < self.stays {
                return None;
            }
            self.held = None;
            self.ended = Some(now);
            self.settles = now.checked_add(SETTLES).map(|until| (held, until));
            return Some(Order::Up(held));
        }
        if let Some((port, until)) = self.settles
            && (carries(port) || now >= until)
        {
            self.settles = None;
        }
        let lost = (0..links.len()).find(|at| {
            let settles = self.settles.is_some_and(|(port, _)| port == *at);
            !settles && links.get(*at).is_some_and(|link| link.up && !link.carrier) && carries(other(*at))
        })?;
        let flaps = self.ended.is_some_and(|ended| now.saturating_duration_since(ended) < FLAPS);
        self.stays = if flaps { self.stays.saturating_mul(2).min(LONGEST) } else { SHORTEST };
        self.held = Some((other(lost), now));
        Some(Order::Down(other(lost)))
    }
}

impl Mirror {
    /// The port that is down for the other's sake, to be given back at the end.
    pub(super) fn held(&self) -> Option<usize> {
        self.held.map(|(port, _)| port)
    }
}

const fn other(port: usize) -> usize {
    1_usize.saturating_sub(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Link = Link { up: true, carrier: true };
    const LOST: Link = Link { up: true, carrier: false };
    const DOWN: Link = Link { up: false, carrier: false };

    #[test]
    fn a_lost_link_takes_the_other_port_down_and_brings_it_back() {
        let (mut mirror, begun) = (Mirror::new(), Instant::now());
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        assert_eq!(mirror.look([FINE, FINE], at(0)), None);
        assert_eq!(mirror.look([LOST, FINE], at(20)), Some(Order::Down(1)));
        assert_eq!(mirror.look([LOST, DOWN], at(40)), None);
        assert_eq!(mirror.look([FINE, DOWN], at(60)), None, "not within a second");
        assert_eq!(mirror.look([FINE, DOWN], at(1020)), Some(Order::Up(1)));
        // It takes a while to find its carrier, which is not to take the first port down.
        assert_eq!(mirror.look([FINE, LOST], at(1040)), None);
        assert_eq!(mirror.look([FINE, LOST], at(3000)), None);
        assert_eq!(mirror.look([FINE, FINE], at(3020)), None);
        assert_eq!(mirror.look([FINE, LOST], at(30_000)), Some(Order::Down(0)));
    }

    #[test]
    fn a_link_that_flaps_is_damped_up_to_half_a_minute() {
        let (mut mirror, mut now) = (Mirror::new(), Instant::now());
        let mut stayed = Vec::new();
        for _ in 0..8 {
            assert_eq!(mirror.look([LOST, FINE], now), Some(Order::Down(1)));
            let down = now;
            while mirror.look([FINE, DOWN], now) != Some(Order::Up(1)) {
                now += Duration::from_millis(100);
            }
            stayed.push(now.duration_since(down).as_secs());
            now += Duration::from_millis(100);
            mirror.look([FINE, FINE], now);
        }
        assert_eq!(stayed, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn a_port_that_somebody_took_down_or_two_lost_links_are_left_alone() {
        let mut mirror = Mirror::new();
        for links in [[DOWN, FINE], [FINE, DOWN], [LOST, LOST], [DOWN, LOST]] {
            assert_eq!(mirror.look(links, Instant::now()), None, "{links:?}");
        }
    }
}
