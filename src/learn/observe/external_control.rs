//! What external control did: where it sent the arm, how fast, and what it called.

use external_control::{Action, Dialect, Kind, Motion, Move, Point, Space, Trajectory, UNITS};

use super::{Behaviour, Keeper};
use crate::command::External;

impl Keeper<'_> {
    pub(super) fn external(&mut self, unit: &External<'_>) {
        match unit {
            External::Motion(motion) if !motion.action.is_known() => {
                self.odd("an unknown mode of external control", motion.emit().as_slice());
            }
            // Every rule of the service lets it go.
            External::Motion(motion) if motion.action.only_stops() => {}
            External::Motion(motion) => {
                if let Some(row) = self.row(Behaviour::Mode(motion.action.name())) {
                    let timeout = f64::from(motion.timeout_ms);
                    row.number(timeout, timeout, 1.0);
                }
                self.positions(motion);
            }
            External::Point(_) if unit.name() == "unknown" => self.odd("an unknown point of a trajectory", &[]),
            External::Point(point) => {
                self.see(Behaviour::Mode("forward"));
                self.point(point);
            }
            External::Order(order) => match order.function {
                Ok(function) => {
                    self.see(Behaviour::Order(function.name()));
                    let named = function.parameters().iter().flat_map(|own| std::iter::repeat_n(own, own.len));
                    for ((place, argument), integer) in (0_u8..).zip(named).zip(order.arguments()) {
                        self.number(Behaviour::OrderArgument(function.name(), place), argument.number(integer));
                    }
                }
                Err(_) => self.odd("an unknown function of external control", &[]),
            },
            External::Text { digest, .. } => self.see(Behaviour::Handed(*digest)),
        }
    }

    /// Where the joints or the tool are sent, and how far from the set-point before.
    fn positions(&mut self, motion: &Motion) {
        if motion.action != Action::Forward(Trajectory::Keep) {
            self.group.point = None;
            self.set_point(motion);
        }
    }

    fn set_point(&mut self, motion: &Motion) {
        let target = |wanted| match motion.action {
            Action::Move(how, target) if how == wanted => Some(target),
            _ => None,
        };
        let (joints, pose) = (target(Move::Servoj), target(Move::Pose));
        let before = std::mem::replace(&mut self.group.target, joints);
        if let Some(target) = joints {
            self.joints(target);
            for (joint, (to, from)) in (0_u8..).zip(before.iter().flat_map(|from| target.into_iter().zip(*from))) {
                self.number(Behaviour::Step(joint), way(from, to));
            }
        }
        let before = std::mem::replace(&mut self.group.pose, pose);
        if let Some(target) = pose {
            self.axes(target);
            if let Some(from) = before {
                let linear = from.into_iter().zip(target).take(3).map(|(from, to)| way(from, to).powi(2));
                self.number(Behaviour::PoseStep, linear.sum::<f64>().sqrt());
                self.number(Behaviour::PoseTurn, crate::policy::turned(from, target));
            }
        }
    }

    /// Where a point of a trajectory sends the joints or the tool, and how fast, as far as every edition of the program
    /// that may read it takes it for the same.
    fn point(&mut self, point: &Point) {
        let kinds = || [Dialect::Old, Dialect::New].into_iter().filter_map(|dialect| point.kind(dialect));
        let mut spaces = kinds().map(|kind| kind.target());
        let first = spaces.next();
        if spaces.any(|space| Some(space) != first) {
            return self.see(Behaviour::AmbiguousPoint);
        }
        let via = kinds().find_map(|kind| if let Kind::Movec { via, .. } = kind { Some(via) } else { None });
        for (space, target) in [(first, point.target), (via, point.via())] {
            match space {
                Some(Space::Joints) => self.joints(target),
                Some(Space::Pose) => self.axes(target),
                None => {}
            }
        }
        let spline = kinds().any(|kind| kind == Kind::Spline);
        let from = self.group.point.take();
        if first != Some(Space::Joints) || via == Some(Space::Pose) || (spline && point.duration <= 0) {
            return self.see(Behaviour::PointUntimed);
        }
        self.group.point = Some(point.target);
        if spline {
            for (joint, velocity) in (0_u8..).zip(point.second) {
                self.number(Behaviour::PointSpeed(joint), way(0, velocity));
            }
        }
        match (point.duration, from) {
            // Of the two readings of a duration, the shorter: what is fast enough for it is slow enough for the other.
            (1.., Some(from)) => {
                let seconds = f64::from(point.duration) / UNITS;
                for (joint, (to, from)) in (0_u8..).zip(point.target.into_iter().zip(from)) {
                    self.number(Behaviour::PointSpeed(joint), way(from, to) / seconds);
                }
            }
            (1.., None) => {}
            _ => {
                let [velocity, ..] = point.third;
                let behaviour = if velocity > 0 { Behaviour::PointVelocity } else { Behaviour::PointUntimed };
                self.number(behaviour, way(0, velocity));
            }
        }
    }

    fn number(&mut self, behaviour: Behaviour, number: f64) {
        if let Some(row) = self.row(behaviour) {
            row.number(number, number, 0.0);
        }
    }

    fn axes(&mut self, pose: [i32; 6]) {
        for (axis, value) in (0_u8..).zip(pose) {
            self.number(Behaviour::Axis(axis), f64::from(value) / UNITS);
        }
    }

    fn joints(&mut self, target: [i32; 6]) {
        for (joint, value) in (0_u8..).zip(target) {
            self.number(Behaviour::Position(joint), f64::from(value) / UNITS);
        }
    }
}

/// How far it is, in the units of the values.
fn way(from: i32, to: i32) -> f64 {
    (f64::from(to) - f64::from(from)).abs() / UNITS
}
