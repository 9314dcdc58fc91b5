//! A client, a gate and a robot, with links between them that lose, delay and reorder, in virtual time.

use super::bench::{Bench, Ended, Sent};
use super::endpoint::Endpoint;
use super::random::Random;
use super::toy::*;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Box,
    Client,
    Robot,
}

/// A frame under way.
#[derive(Debug)]
struct Flight {
    at_ns: u64,
    to: Place,
    frame: Frame,
    payload: Vec<u8>,
}

/// How a link treats frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// Frames of a thousand that are lost, and that come twice.
    pub(super) lost: usize,
    pub(super) doubled: usize,
    /// Longest delay; a random share of it makes frames overtake each other.
    pub(super) delay_ns: usize,
}

/// What happens to an end on its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    /// From when to when its window is shut, and how wide it is otherwise.
    pub(super) shut_ns: (u64, u64),
    pub(super) window: usize,
    /// When it closes; the client's is behind its last byte.
    pub(super) closes: bool,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) bench: Bench,
    pub(super) client: Endpoint,
    pub(super) robot: Endpoint,
    pub(super) random: Random,
    pub(super) link: Link,
    flights: Vec<Flight>,
    pub(super) robot_closes_after: bool,
}

impl Cell {
    pub(super) fn new(bench: Bench, client: Endpoint, robot: Endpoint, random: Random) -> Self {
        Self { bench, client, robot, random, link: Link::default(), flights: Vec::new(), robot_closes_after: false }
    }

    /// The frames that just left reach the ends, but for one in `lost_one_in`.
    pub(super) fn deliver(&mut self, lost_one_in: usize) {
        let wire = std::mem::take(&mut self.bench.toy.wire);
        for frame in &wire.frames {
            if lost_one_in != 0 && self.random.one_in(lost_one_in) {
                continue;
            }
            let end = if frame.toward == Toward::Robot { &mut self.robot } else { &mut self.client };
            end.hear(frame, wire.payload(frame), self.bench.now_ns);
        }
        self.bench.toy.wire = wire;
        self.robot.run_robot();
    }

    fn fly(&mut self, to: Place, frame: &Frame, payload: &[u8]) {
        let copies = if self.random.below(1000) < self.link.lost {
            0
        } else {
            1 + usize::from(self.random.below(1000) < self.link.doubled)
        };
        for _ in 0..copies {
            let delay = 10_000 + if self.link.delay_ns == 0 { 0 } else { self.random.below(self.link.delay_ns) };
            let at_ns = self.bench.now_ns + delay as u64;
            self.flights.push(Flight { at_ns, to, frame: frame.clone(), payload: payload.to_vec() });
        }
    }

    fn fly_out(&mut self) {
        let wire = std::mem::take(&mut self.bench.toy.wire);
        for frame in &wire.frames {
            let to = if frame.toward == Toward::Robot { Place::Robot } else { Place::Client };
            self.fly(to, frame, wire.payload(frame));
        }
        self.bench.toy.wire = wire;
        self.bench.toy.wire.clear();
    }

    fn send(&mut self, robot: bool, probe: bool) -> bool {
        let now_ns = self.bench.now_ns;
        let end = if robot { &mut self.robot } else { &mut self.client };
        let sent = if probe { end.timed_out(now_ns) } else { end.next_segment(now_ns) };
        let Some(Sent { toward, seq, ack, window, fin, payload }) = sent else { return false };
        let frame = Frame { toward, seq, ack, window, fin, own: false, from: 0, len: payload.len() };
        let payload = payload.to_vec();
        self.fly(Place::Box, &frame, &payload);
        true
    }

    /// Lets both ends go on as TCP asks until all is delivered and acknowledged, or the connection ended. Says whether
    /// it came to that within `limit_ns` of virtual time.
    pub(super) fn settle(&mut self, habits: [Habit; 2], limit_ns: u64) -> bool {
        let begin = self.bench.now_ns;
        self.robot.closes |= habits[1].closes;
        for _ in 0..60_000 {
            let now = self.bench.now_ns;
            for (robot, habit) in [(false, habits[0]), (true, habits[1])] {
                let shut = (habit.shut_ns.0..habit.shut_ns.1).contains(&(now - begin));
                let end = if robot { &mut self.robot } else { &mut self.client };
                let window = if shut { 0 } else { habit.window };
                if window > end.window && end.window == 0 {
                    // Its own update tells that the window is open; where that is lost, probes do.
                    end.ack_owed = true;
                }
                end.window = window;
                while self.send(robot, false) {}
            }
            if self.robot_closes_after && self.robot.heard_fin() {
                self.robot.closes = true;
            }
            if self.bench.ended.is_some() || self.is_settled() {
                return true;
            }
            let openings = habits.iter().map(|habit| begin + habit.shut_ns.1).filter(|at| *at > now);
            let timers = [self.client.timer_ns, self.robot.timer_ns].into_iter().filter(|at| *at != 0);
            let pause = Some(self.client.not_before_ns).filter(|at| *at > now);
            let own = self.bench.gate.due_ns().into_iter();
            let flight = self.flights.iter().map(|flight| flight.at_ns);
            let Some(next) = own.chain(timers).chain(flight).chain(openings).chain(pause).min() else { return false };
            if next > begin + limit_ns {
                return false;
            }
            let now = now.max(next);
            self.bench.now_ns = now;
            if self.bench.gate.due_ns().is_some_and(|due| due <= now) {
                self.bench.time(now);
                self.fly_out();
            }
            let due = (0..self.flights.len()).filter(|at| self.flights[*at].at_ns <= now);
            if let Some(at) = due.min_by_key(|at| self.flights[*at].at_ns) {
                let Flight { to, frame, payload, .. } = self.flights.remove(at);
                self.arrive(to, &frame, &payload);
            }
            for robot in [false, true] {
                let timer = if robot { self.robot.timer_ns } else { self.client.timer_ns };
                if timer != 0 && timer <= now {
                    self.send(robot, true);
                }
            }
        }
        false
    }

    fn arrive(&mut self, to: Place, frame: &Frame, payload: &[u8]) {
        let now_ns = self.bench.now_ns;
        match to {
            Place::Box => {
                let Frame { toward, seq, ack, window, fin, .. } = *frame;
                self.bench.take(&Sent { toward, seq, ack, window, fin, payload });
                self.fly_out();
            }
            Place::Client => self.client.hear(frame, payload, now_ns),
            Place::Robot => {
                self.robot.hear(frame, payload, now_ns);
                self.robot.run_robot();
            }
        }
    }

    /// Whether all that both ends have to say is acknowledged, and everything meant for the client was read.
    pub(super) fn is_settled(&self) -> bool {
        let robot_has = self.robot.got.in_order().len();
        self.bench.gate.commands().is_drained()
            && self.client.is_done()
            && self.robot.is_done()
            && robot_has == self.bench.toy.allowed.len()
            && self.bench.is_script_read()
            && (!self.client.closes || self.robot.heard_fin())
            && (!self.robot.closes || self.client.heard_fin())
    }

    /// After it settled: what the robot has and the client read is what the stream asks for.
    pub(super) fn check_settled(&self, reference: &Reference) {
        let whole = match self.bench.ended {
            None | Some(Ended::Closed) => true,
            Some(Ended::Refused(..) | Ended::Reset | Ended::Drained) => false,
        };
        let released = &self.bench.toy.allowed;
        assert!(reference.released.starts_with(released), "I4: other units were released than the stream holds");
        assert!(reference.script.starts_with(&self.bench.toy.script), "I4: other verdicts than the stream asks for");
        if whole {
            assert_eq!(released, &reference.released, "I4, I6: units are missing");
            assert_eq!(self.robot.got.in_order(), released, "I6: the robot lacks bytes that are acknowledged");
            assert_eq!(self.bench.toy.script, reference.script);
        }
    }
}
