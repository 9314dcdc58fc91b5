//! Whether the two sides of the box are joined somewhere else: then what one device sends to all comes in at both ports.

use dissect::Toward;
use link::Mac;

/// Devices that are followed; two of the same place push each other out, which finds a loop later and never wrongly.
const PLACES: usize = 64;

/// A device that was seen on both sides within this time did not move by hand.
const WINDOW_NS: u64 = 1_000_000_000;

/// So many changes of side within the window are a loop: a cable that is moved from one side to the other makes one.
const CHANGES: u32 = 8;

/// Time between two reports.
const QUIET_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    mac: [u8; 6],
    from_robot: bool,
    since_ns: u64,
    changes: u32,
}

/// Senders of broadcasts, with the side that each was on last.
#[derive(Debug)]
pub(super) struct Loops {
    senders: [Sender; PLACES],
    told_ns: Option<u64>,
}

impl Default for Loops {
    fn default() -> Self {
        Self { senders: [Sender::default(); PLACES], told_ns: None }
    }
}

impl Loops {
    /// Looks at a frame that travels `toward` a side; says whose it is where it is the sign of a loop, at most once a
    /// minute. Only frames to all or to a group are looked at: a loop multiplies them first.
    #[inline]
    pub(super) fn look(&mut self, toward: Toward, frame: &[u8], now_ns: u64) -> Option<Mac> {
        match frame.first() {
            Some(first) if first & 1 == 1 => self.group(toward, frame, now_ns),
            _ => None,
        }
    }

    fn group(&mut self, toward: Toward, frame: &[u8], now_ns: u64) -> Option<Mac> {
        let mac: [u8; 6] = *frame.get(6..)?.first_chunk()?;
        let hash = mac.iter().fold(0_u8, |hash, byte| hash.rotate_left(3) ^ byte);
        let sender = self.senders.get_mut(usize::from(hash) & (PLACES - 1))?;
        let from_robot = toward == Toward::Plant;
        if sender.mac != mac || now_ns.saturating_sub(sender.since_ns) > WINDOW_NS {
            *sender = Sender { mac, from_robot, since_ns: now_ns, changes: 0 };
            return None;
        }
        if sender.from_robot == from_robot {
            return None;
        }
        sender.from_robot = from_robot;
        sender.changes = sender.changes.saturating_add(1);
        let is_quiet = self.told_ns.is_some_and(|told| now_ns.saturating_sub(told) < QUIET_NS);
        if sender.changes < CHANGES || is_quiet {
            return None;
        }
        self.told_ns = Some(now_ns);
        Some(Mac(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8) -> Vec<u8> {
        [&[to; 6][..], &[2, 0, 0, 0, 0, from], &[0x88, 0xcc, 0, 0]].concat()
    }

    /// How many frames of each side in turn until a loop is told of, at most a hundred.
    fn turns(loops: &mut Loops, frame: &[u8], begin_ns: u64, between_ns: u64) -> Option<u64> {
        (0_u64..100).find(|turn| {
            let toward = if turn % 2 == 0 { Toward::Robot } else { Toward::Plant };
            loops.look(toward, frame, begin_ns.saturating_add(turn.saturating_mul(between_ns))).is_some()
        })
    }

    #[test]
    fn who_broadcasts_on_both_sides_at_once_is_told_of_once_a_minute() {
        let mut loops = Loops::default();
        assert_eq!(turns(&mut loops, &frame(0xff, 1), 5, 1000), Some(8));
        assert_eq!(turns(&mut loops, &frame(0xff, 1), 1_000_000, 1000), None);
        assert!(turns(&mut loops, &frame(0xff, 2), QUIET_NS + 10_000, 1000).is_some());
    }

    #[test]
    fn a_device_that_moves_and_frames_to_one_are_no_loop() {
        let mut loops = Loops::default();
        assert_eq!(turns(&mut loops, &frame(0xff, 1), 0, WINDOW_NS), None);
        assert_eq!(turns(&mut loops, &frame(2, 1), 0, 1000), None);
        assert_eq!((0..100).find_map(|at| loops.look(Toward::Robot, &frame(0xff, 3), at)), None);
        assert_eq!(loops.look(Toward::Robot, &[0xff; 9], 0), None);
    }
}
