//! How external control moves the emulated arm: the joints go where set-points, speeds and points say.
//!
//! There are no kinematics here: a pose or a speed of the tool moves joint n by component n, which is as visible.

use std::collections::VecDeque;
use std::f64::consts::PI;

use super::state::Six;

/// Fastest that a joint turns, rad/s. Source: data sheet of the UR5e, 180 degrees a second.
const FASTEST: f64 = PI;

/// A trajectory came to its end. Source: the maker's client library, `TrajectoryResult`.
pub(super) const SUCCESS: i32 = 0;
/// A trajectory ended before.
pub(super) const CANCELED: i32 = 1;

/// What the arm does until it is told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Goal {
    /// It stands.
    #[default]
    Rest,
    /// It can be moved by hand; nobody does.
    Free,
    /// The joints go to positions, rad.
    Positions(Six),
    /// The joints turn, rad/s.
    Speeds(Six),
    /// The joints are turned with torques, Nm; each gains 1 rad/s2 a Nm, an inertia made up for the emulation.
    Torques(Six),
    /// It follows the points of a trajectory.
    Points,
}

/// A point of a trajectory that was not reached yet.
#[derive(Clone, Copy, Debug)]
struct Leg {
    to: Six,
    /// Time that is left for it, s.
    seconds: f64,
}

/// Goal, points and motion of the arm while external control has it.
#[derive(Debug, Default)]
pub(crate) struct Drive {
    goal: Goal,
    speed: Six,
    legs: VecDeque<Leg>,
    /// Points of the trajectory under way that were not reached, whether they came or not.
    left: u32,
    /// Results of trajectories that nobody was told yet.
    results: VecDeque<i32>,
}

impl Drive {
    /// Joint speeds, rad/s.
    pub(super) fn speed(&self) -> Six {
        self.speed
    }

    /// Takes another goal; a trajectory under way ends by it.
    pub(super) fn set(&mut self, goal: Goal) {
        if self.goal == Goal::Points && goal != Goal::Points {
            self.cancel();
        }
        self.goal = goal;
    }

    /// Begins a trajectory of `points` points, of which some may have come.
    pub(super) fn start(&mut self, points: u32) {
        if self.left > 0 {
            self.cancel();
        }
        self.left = points;
        self.goal = Goal::Points;
    }

    /// Of a trajectory of unknown length that was begun, `points` is the number of all.
    pub(super) fn end_stream(&mut self, points: u32) {
        let reached = u32::MAX - self.left;
        self.left = points.saturating_sub(reached);
        if self.left == 0 {
            self.done(SUCCESS);
        }
    }

    /// Ends a trajectory before its last point.
    pub(super) fn cancel(&mut self) {
        self.legs.clear();
        if self.left > 0 {
            self.done(CANCELED);
        }
    }

    /// One more point, to be reached within `seconds`; where that is 0, as fast as `rad_s` allows.
    pub(super) fn point(&mut self, at: Six, to: Six, seconds: f64, rad_s: f64) {
        let from = self.legs.back().map_or(at, |leg| leg.to);
        let way = (0..6).map(|joint| (to[joint] - from[joint]).abs()).fold(0.0, f64::max);
        let fastest = if rad_s > 0.0 { rad_s.min(FASTEST) } else { FASTEST };
        let seconds = if seconds > 0.0 { seconds } else { way / fastest };
        self.legs.push_back(Leg { to, seconds });
    }

    /// The result that nobody was told yet.
    pub(super) fn take_result(&mut self) -> Option<i32> {
        self.results.pop_front()
    }

    fn done(&mut self, result: i32) {
        self.left = 0;
        self.goal = Goal::Rest;
        self.results.push_back(result);
    }

    /// Where the joints are `seconds` after they were at `from`.
    pub(super) fn advance(&mut self, from: Six, seconds: f64) -> Six {
        if seconds <= 0.0 {
            return from;
        }
        let most = FASTEST * seconds;
        let to: Six = match self.goal {
            Goal::Rest | Goal::Free => from,
            Goal::Positions(target) => {
                std::array::from_fn(|joint| from[joint] + (target[joint] - from[joint]).clamp(-most, most))
            }
            Goal::Speeds(speeds) => {
                std::array::from_fn(|joint| from[joint] + (speeds[joint] * seconds).clamp(-most, most))
            }
            Goal::Torques(torques) => std::array::from_fn(|joint| {
                from[joint] + ((self.speed[joint] + torques[joint] * seconds) * seconds).clamp(-most, most)
            }),
            Goal::Points => self.follow(from, seconds),
        };
        self.speed = std::array::from_fn(|joint| (to[joint] - from[joint]) / seconds);
        to
    }

    fn follow(&mut self, mut at: Six, mut seconds: f64) -> Six {
        while self.left > 0
            && let Some(leg) = self.legs.front_mut()
        {
            if leg.seconds > seconds {
                let part = seconds / leg.seconds;
                leg.seconds -= seconds;
                return std::array::from_fn(|joint| at[joint] + (leg.to[joint] - at[joint]) * part);
            }
            seconds -= leg.seconds;
            at = leg.to;
            self.legs.pop_front();
            self.left -= 1;
            if self.left == 0 {
                self.done(SUCCESS);
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joints_go_to_a_set_point_no_faster_than_they_can() {
        let mut drive = Drive::default();
        drive.set(Goal::Positions([1.0, -1.0, 0.001, 0.0, 0.0, 0.0]));
        let at = drive.advance([0.0; 6], 0.1);
        assert!((at[0] - FASTEST * 0.1).abs() < 1e-9 && (at[1] + FASTEST * 0.1).abs() < 1e-9, "{at:?}");
        assert!((at[2] - 0.001).abs() < 1e-9, "{at:?}");
        assert!((drive.advance(at, 10.0)[0] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_trajectory_passes_its_points_and_tells_its_result_once() {
        let mut drive = Drive::default();
        drive.start(2);
        drive.point([0.0; 6], [0.2; 6], 0.1, 0.0);
        let at = drive.advance([0.0; 6], 0.05);
        assert!((at[0] - 0.1).abs() < 1e-9, "{at:?}");
        let at = drive.advance(at, 0.1);
        assert!((at[0] - 0.2).abs() < 1e-9, "waits for the second point: {at:?}");
        assert_eq!(drive.take_result(), None);
        // 0.2 rad at 1 rad/s.
        drive.point(at, [0.4; 6], 0.0, 1.0);
        let at = drive.advance(at, 0.1);
        assert!((at[5] - 0.3).abs() < 1e-9, "{at:?}");
        drive.advance(at, 1.0);
        assert_eq!((drive.take_result(), drive.take_result()), (Some(SUCCESS), None));
    }

    #[test]
    fn another_goal_cancels_a_trajectory() {
        let mut drive = Drive::default();
        drive.start(1);
        drive.point([0.0; 6], [1.0; 6], 1.0, 0.0);
        drive.advance([0.0; 6], 0.1);
        drive.set(Goal::Rest);
        assert_eq!(drive.take_result(), Some(CANCELED));
        drive.start(u32::MAX);
        drive.point([0.0; 6], [1.0; 6], 0.1, 0.0);
        drive.advance([0.0; 6], 0.2);
        drive.end_stream(1);
        assert_eq!(drive.take_result(), Some(SUCCESS));
    }

    #[test]
    fn torques_add_up_to_speed() {
        let mut drive = Drive::default();
        drive.set(Goal::Torques([2.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        let at = drive.advance([0.0; 6], 0.1);
        let next = drive.advance(at, 0.1);
        assert!(next[0] - at[0] > at[0], "{at:?} {next:?}");
    }
}
