//! The motion envelope: how far a set-point of external control may go.
//!
//! Everything is counted in millionths, as on the wire, so that what is judged is what the robot reads. One function,
//! [`Envelope::nearest`], finds the set-point inside that is nearest to the one asked for; a set-point is covered if that
//! is itself. So a rule that clamps and a rule that refuses can't disagree.

use external_control::{Dialect, Kind, Motion, Move, Point, Space, UNITS};

use super::rotation;
use super::rule::{Miss, Rank};
use crate::document::{Table, Value};
use crate::event::Reason;
use crate::robot::{State, Track};

/// A joint may be this far ahead of its allowed speed: what the network bunches together is no haste of the sender's.
/// A stream of 100 Hz over a link that stalls for some tens of milliseconds arrives in bunches of several set-points.
const CREDIT_NS: u64 = 100_000_000;

/// Time between two set-points where the rule does not say, in milliseconds: the control cycle of an e-Series arm.
const PERIOD_MS: f64 = 2.0;

/// Six numbers, one a joint.
type Six = [i32; 6];

/// First and last allowed value.
type Range = (i32, i32);

/// What set-points may be; an absent key is unbounded, but a motion that none of the keys can speak of is outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Envelope {
    position: Option<[Range; 6]>,
    step: Option<Six>,
    speed: Option<Six>,
    acceleration: Option<Six>,
    pose: Option<[Option<Range>; 6]>,
    pose_step: Option<i32>,
    pose_turn: Option<i32>,
    tool_speed: Option<i32>,
    tool_turn: Option<i32>,
    torque: Option<Six>,
    period_ns: u64,
}

const OUTSIDE: Miss = Miss { rank: Rank::Value, reason: Reason::ValueNotAllowed };
const UNKNOWN: Miss = Miss { rank: Rank::Value, reason: Reason::StateUnknown };
const UNPROVEN: Miss = Miss { rank: Rank::Value, reason: Reason::Unproven };

impl Envelope {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let six = |key| table.take(key).and_then(|value| read_six(&value, limit));
        let period = table.take("period_ms").and_then(|value| {
            let period = value.number().filter(|period| (1.0..=100.0).contains(period));
            if period.is_none() {
                value.problem(format!("{} is no period", value.raw()), "write milliseconds from 1 to 100");
            }
            period
        });
        let pose = table.table("pose").map(|pose| {
            let names = ["x", "y", "z", "rx", "ry", "rz"];
            let box_of = names.map(|name| pose.take(name).and_then(|value| range(&value)));
            pose.finish();
            box_of
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 100 milliseconds")]
        let envelope = Self {
            position: table.take("position_rad").and_then(|value| read_six(&value, range)),
            step: six("step_rad"),
            speed: six("speed_rad_s"),
            acceleration: six("acceleration_rad_s2"),
            pose,
            pose_step: table.take("pose_step_m").and_then(|value| limit(&value)),
            pose_turn: table.take("pose_turn_rad").and_then(|value| limit(&value)),
            tool_speed: table.take("tool_speed_m_s").and_then(|value| limit(&value)),
            tool_turn: table.take("tool_turn_rad_s").and_then(|value| limit(&value)),
            torque: six("torque_nm"),
            period_ns: (period.unwrap_or(PERIOD_MS) * 1e6) as u64,
        };
        table.finish();
        envelope
    }

    /// Where the joints stand in the middle of their positions.
    pub(super) fn middle(&self) -> Six {
        let middle = |(low, high): Range| saturate(i64::midpoint(low.into(), high.into()));
        self.position.map_or([0; 6], |position| position.map(middle))
    }

    /// The values at which some joint or axis is at its limit.
    pub(super) fn limits(&self) -> Vec<Six> {
        let mut limits = Vec::new();
        if let Some(position) = &self.position {
            limits.extend([position.map(|(low, _)| low), position.map(|(_, high)| high)]);
        }
        if let Some(pose) = &self.pose {
            limits.extend([
                pose.map(|range| range.map_or(0, |(low, _)| low)),
                pose.map(|range| range.map_or(0, |(_, high)| high)),
            ]);
        }
        let middle = self.middle();
        for limit in [self.step, self.speed, self.torque].into_iter().flatten() {
            limits.extend([limit, each(middle, |joint, from| from.saturating_add(at(&limit, joint)))]);
        }
        // What a joint may do at once: its credit, and one period's change of speed.
        let credit = self.speed.map(|speed| each(speed, |_, speed| saturate(over(speed, CREDIT_NS))));
        let change = self
            .acceleration
            .map(|most| each(most, |_, most| saturate(over(over(most, self.period_ns), self.period_ns))));
        for limit in [credit, change].into_iter().flatten() {
            limits.push(each(middle, |joint, from| from.saturating_add(at(&limit, joint))));
        }
        limits.extend(self.acceleration.map(|most| each(most, |_, most| saturate(over(most, self.period_ns)))));
        limits.extend([self.tool_speed, self.tool_turn].into_iter().flatten().map(|limit| [limit; 6]));
        limits
    }

    /// The nearest set-point to `asked` that is inside.
    ///
    /// # Errors
    /// There is none, or it depends on what is not known: where the joints are.
    pub(crate) fn nearest(
        &self,
        (how, asked): (Move, Six),
        motion: &Motion,
        state: &State,
        now_ns: u64,
        max_age_ns: u64,
    ) -> Result<Six, Miss> {
        match how {
            Move::Servoj => self.servoj(asked, state, now_ns, max_age_ns),
            Move::Speedj => self.speedj(asked, motion.timeout_ms, state, now_ns, max_age_ns),
            Move::Speedl if self.tool_speed.is_none() && self.tool_turn.is_none() => Err(UNPROVEN),
            Move::Speedl => {
                let mut allowed = asked;
                let (linear, turning) = allowed.split_at_mut(3);
                shorten(linear, self.tool_speed);
                shorten(turning, self.tool_turn);
                Ok(allowed)
            }
            Move::Pose => self.to_pose(asked, state, now_ns, max_age_ns),
            Move::Torque => {
                let torque = self.torque.ok_or(UNPROVEN)?;
                Ok(each(asked, |joint, value| value.clamp(at(&torque, joint).saturating_neg(), at(&torque, joint))))
            }
        }
    }

    fn servoj(&self, asked: Six, state: &State, now_ns: u64, max_age_ns: u64) -> Result<Six, Miss> {
        let mut allowed = asked.map(i64::from);
        if self.step.is_some() || self.speed.is_some() || self.acceleration.is_some() {
            let (from, change) = reference(state, now_ns, max_age_ns).ok_or(UNKNOWN)?;
            if self.position.is_some_and(|position| !inside(from, &position)) {
                // From out there no set-point is both near and inside.
                return Err(OUTSIDE);
            }
            let credit = self.credit(state, now_ns, max_age_ns);
            for (joint, allowed) in allowed.iter_mut().enumerate() {
                let from = i64::from(at(&from, joint));
                let mut within = |middle: i64, most: i64| {
                    *allowed = (*allowed).clamp(middle.saturating_sub(most), middle.saturating_add(most));
                };
                if let Some(acceleration) = &self.acceleration {
                    let middle = from.saturating_add(i64::from(at(&change, joint)));
                    within(middle, over(over(at(acceleration, joint), self.period_ns), self.period_ns));
                }
                if let Some(step) = &self.step {
                    within(from, i64::from(at(step, joint)));
                }
                if self.speed.is_some() {
                    within(from, i64::from(at(&credit, joint)));
                }
            }
        }
        Ok(each(asked, |joint, _| {
            let value = allowed.get(joint).copied().unwrap_or_default();
            let (low, high) = self.position.map_or((i32::MIN, i32::MAX), |position| at(&position, joint));
            saturate(value.clamp(low.into(), high.into()))
        }))
    }

    /// A pose of the tool. Where it would turn too far at once, it keeps the direction that it has.
    fn to_pose(&self, asked: Six, state: &State, now_ns: u64, max_age_ns: u64) -> Result<Six, Miss> {
        let steps = self.pose_step.is_some() || self.pose_turn.is_some();
        if self.pose.is_none() && !steps {
            return Err(UNPROVEN);
        }
        let bounds = self.pose.unwrap_or_default();
        let mut allowed = into_box(asked, &bounds);
        if !steps {
            return Ok(allowed);
        }
        let from = pose_reference(state, now_ns, max_age_ns).ok_or(UNKNOWN)?;
        if into_box(from, &bounds) != from {
            // From out there no pose is both near and inside.
            return Err(OUTSIDE);
        }
        let mut way = each(allowed, |axis, to| to.saturating_sub(at(&from, axis)));
        let (linear, _) = way.split_at_mut(3);
        shorten(linear, self.pose_step);
        let turned = turned(from, allowed);
        let turns = self.pose_turn.is_none_or(|most| turned <= f64::from(most) / UNITS + rotation::PRECISION);
        allowed = each(allowed, |axis, to| match axis {
            0..=2 => at(&from, axis).saturating_add(at(&way, axis)),
            _ if turns => to,
            _ => at(&from, axis),
        });
        Ok(allowed)
    }

    /// Speeds of joints: their own limits, and where they could take the arm until the robot stops waiting.
    fn speedj(&self, asked: Six, timeout_ms: i32, state: &State, now_ns: u64, max_age_ns: u64) -> Result<Six, Miss> {
        let joints = match &self.position {
            Some(_) if timeout_ms <= 0 => return Err(UNPROVEN),
            Some(position) if is_fresh(state.joints_at_ns, now_ns, max_age_ns) => Some((position, state.joints)),
            Some(_) => return Err(UNKNOWN),
            None => None,
        };
        let track = &state.track;
        let goes_on = track.mode == Move::Speedj.mode() && is_fresh(track.at_ns, now_ns, max_age_ns);
        let before = if goes_on { track.target } else { [0; 6] };
        Ok(each(asked, |joint, value| {
            let mut value = i64::from(value);
            if let Some(acceleration) = &self.acceleration {
                let (before, most) = (i64::from(at(&before, joint)), over(at(acceleration, joint), self.period_ns));
                value = value.clamp(before.saturating_sub(most), before.saturating_add(most));
            }
            if let Some(speed) = &self.speed {
                let most = i64::from(at(speed, joint));
                value = value.clamp(most.saturating_neg(), most);
            }
            if let Some((position, joints)) = &joints {
                let (low, high) = at(position, joint);
                let joint = i64::from(at(joints, joint));
                let until = |end: i32| {
                    let way = i64::from(end).saturating_sub(joint).saturating_mul(1000);
                    way.checked_div(timeout_ms.into()).unwrap_or(0)
                };
                value = value.clamp(until(low).min(0), until(high).max(0));
            }
            saturate(value)
        }))
    }

    /// How far each joint may go now.
    fn credit(&self, state: &State, now_ns: u64, max_age_ns: u64) -> Six {
        let Some(speed) = &self.speed else { return [0; 6] };
        let track = &state.track;
        let goes_on = track.mode == Move::Servoj.mode() && is_fresh(track.at_ns, now_ns, max_age_ns);
        each(*speed, |joint, speed| {
            let most = over(speed, CREDIT_NS);
            let gained = over(speed, now_ns.saturating_sub(track.at_ns));
            let credit = if goes_on { gained.saturating_add(at(&track.credit, joint).into()) } else { most };
            saturate(credit.min(most))
        })
    }

    /// What is to be remembered of a set-point that goes to the robot.
    pub(crate) fn after(
        envelope: Option<&Self>,
        (how, target): (Move, Six),
        state: &State,
        now_ns: u64,
        max_age_ns: u64,
    ) -> Track {
        let mut track = Track { at_ns: now_ns.max(1), target, mode: how.mode(), ..state.track };
        (track.change, track.credit) = ([0; 6], [0; 6]);
        if how == Move::Servoj {
            if let Some((from, _)) = reference(state, now_ns, max_age_ns) {
                track.change = each(target, |joint, to| to.saturating_sub(at(&from, joint)));
            }
            let credit = envelope.map_or([0; 6], |envelope| envelope.credit(state, now_ns, max_age_ns));
            let change = track.change;
            track.credit =
                each(credit, |joint, credit| credit.saturating_sub(at(&change, joint).saturating_abs()).max(0));
        }
        track
    }

    /// Whether a trajectory may begin now: where the speed of its points is bounded, only while the robot can't take a
    /// point of it for one that a trajectory before it still lacks. What it throws away moves nothing, and the next point
    /// would be reached from elsewhere than it was judged.
    pub(crate) fn may_begin(&self, track: &Track, now_ns: u64) -> Result<(), Miss> {
        let rests = track.expected == 0 || now_ns >= track.points_until_ns;
        if rests || self.speed.is_none() { Ok(()) } else { Err(UNPROVEN) }
    }

    /// Whether a point of a trajectory is inside, in every edition of the program that may read it.
    pub(crate) fn covers(
        &self,
        point: &Point,
        dialect: Option<Dialect>,
        state: &State,
        now_ns: u64,
        max_age_ns: u64,
    ) -> Result<(), Miss> {
        let read = |dialect| point.kind(dialect).map(|kind| (kind, dialect));
        let kinds = [Dialect::Old, Dialect::New].into_iter().filter(|own| dialect.is_none_or(|only| only == *own));
        for (kind, dialect) in kinds.filter_map(read) {
            self.covers_as(point, kind, dialect, state, now_ns, max_age_ns)?;
        }
        Ok(())
    }

    fn covers_as(
        &self,
        point: &Point,
        kind: Kind,
        dialect: Dialect,
        state: &State,
        now_ns: u64,
        max_age_ns: u64,
    ) -> Result<(), Miss> {
        self.holds(point.target, kind.target())?;
        if let Kind::Movec { via, .. } = kind {
            self.holds(point.via(), via)?;
        }
        let beyond = |values: Six, limits: &Six| {
            (0..6).any(|joint| at(&values, joint).unsigned_abs() > at(limits, joint).unsigned_abs())
        };
        if kind == Kind::Spline
            && (self.speed.is_some_and(|speed| beyond(point.second, &speed))
                || self.acceleration.is_some_and(|acceleration| beyond(point.third, &acceleration)))
        {
            return Err(OUTSIDE);
        }
        let Some(speed) = &self.speed else { return Ok(()) };
        if state.track.expected <= 0 {
            // It would wait at the robot for a trajectory that begins from nobody knows where.
            return Err(UNPROVEN);
        }
        if kind.target() == Space::Pose {
            // How fast joints turn on the way to a pose can't be told from it.
            return Err(UNPROVEN);
        }
        let [own_speed, ..] = point.third;
        if point.duration <= 0 {
            let slowest = speed.iter().copied().min().unwrap_or(0);
            return if kind != Kind::Spline && (0..=slowest).contains(&own_speed) { Ok(()) } else { Err(OUTSIDE) };
        }
        let track = &state.track;
        let from = match (track.has_point, is_fresh(state.joints_at_ns, now_ns, max_age_ns)) {
            (1, _) => track.point,
            (_, true) => state.joints,
            _ => return Err(UNKNOWN),
        };
        let scale = if dialect == Dialect::Old { 1_000_000 } else { 1_000 };
        let duration_ns = u64::try_from(point.duration).unwrap_or(0).saturating_mul(scale);
        let slow = |joint| {
            let way = i64::from(at(&point.target, joint)).saturating_sub(at(&from, joint).into());
            way.saturating_abs() <= over(at(speed, joint), duration_ns)
        };
        if (0..6).all(slow) { Ok(()) } else { Err(OUTSIDE) }
    }

    fn holds(&self, values: Six, space: Space) -> Result<(), Miss> {
        let inside = match space {
            Space::Joints => inside(values, self.position.as_ref().ok_or(UNPROVEN)?),
            Space::Pose => into_box(values, self.pose.as_ref().ok_or(UNPROVEN)?) == values,
        };
        if inside { Ok(()) } else { Err(OUTSIDE) }
    }

    /// The limits, for people.
    pub(crate) fn text(&self) -> String {
        let mut parts = Vec::new();
        let unit = |value: i32| format!("{:?}", f64::from(value) / UNITS);
        let list = |values: &Six| values.map(unit).join(", ");
        let between = |(low, high): Range| format!("{}..={}", unit(low), unit(high));
        if let Some(position) = &self.position {
            parts.push(format!("position_rad {}", position.map(between).join(", ")));
        }
        for (name, values) in [
            ("step_rad", &self.step),
            ("speed_rad_s", &self.speed),
            ("acceleration_rad_s2", &self.acceleration),
            ("torque_nm", &self.torque),
        ] {
            parts.extend(values.as_ref().map(|values| format!("{name} {}", list(values))));
        }
        if let Some(pose) = &self.pose {
            let names = ["x", "y", "z", "rx", "ry", "rz"].into_iter().zip(pose);
            let bounds = names.filter_map(|(name, range)| range.map(|range| format!("{name} {}", between(range))));
            parts.push(format!("pose {}", bounds.collect::<Vec<_>>().join(", ")));
        }
        for (name, value) in [
            ("pose_step_m", self.pose_step),
            ("pose_turn_rad", self.pose_turn),
            ("tool_speed_m_s", self.tool_speed),
            ("tool_turn_rad_s", self.tool_turn),
        ] {
            parts.extend(value.map(|value| format!("{name} {}", unit(value))));
        }
        parts.join("; ")
    }
}

/// Where the next step of the joints is measured from, and the change that led there: the last set-point, else where the
/// joints are.
fn reference(state: &State, now_ns: u64, max_age_ns: u64) -> Option<(Six, Six)> {
    let track = &state.track;
    if track.mode == Move::Servoj.mode() && is_fresh(track.at_ns, now_ns, max_age_ns) {
        return Some((track.target, track.change));
    }
    is_fresh(state.joints_at_ns, now_ns, max_age_ns).then_some((state.joints, [0; 6]))
}

/// Where the next pose is measured from: the last one that went to the robot, else where the tool is.
fn pose_reference(state: &State, now_ns: u64, max_age_ns: u64) -> Option<Six> {
    let track = &state.track;
    if track.mode == Move::Pose.mode() && is_fresh(track.at_ns, now_ns, max_age_ns) {
        return Some(track.target);
    }
    is_fresh(state.pose_at_ns, now_ns, max_age_ns).then_some(state.pose)
}

/// The angle by which the tool turns from one pose to another, in radians.
pub(crate) fn turned(from: Six, to: Six) -> f64 {
    rotation::angle(direction(&from), direction(&to))
}

/// The rotation vector of a pose, in radians.
fn direction(pose: &Six) -> [f64; 3] {
    let [.., x, y, z] = *pose;
    [x, y, z].map(|value| f64::from(value) / UNITS)
}

pub(crate) fn is_fresh(at_ns: u64, now_ns: u64, max_age_ns: u64) -> bool {
    at_ns != 0 && now_ns.saturating_sub(at_ns) <= max_age_ns
}

fn inside(values: Six, ranges: &[Range; 6]) -> bool {
    values.iter().zip(ranges).all(|(value, (low, high))| low <= value && value <= high)
}

fn into_box(values: Six, ranges: &[Option<Range>; 6]) -> Six {
    each(values, |at_axis, value| match at(ranges, at_axis) {
        Some((low, high)) => value.clamp(low, high),
        None => value,
    })
}

/// Shortens a vector to a length.
fn shorten(vector: &mut [i32], most: Option<i32>) {
    let Some(most) = most else { return };
    let square: i128 = vector.iter().map(|value| i128::from(*value).saturating_mul(i128::from(*value))).sum();
    let limit = i128::from(most).saturating_mul(i128::from(most));
    if square <= limit {
        return;
    }
    let root = square.isqrt();
    let whole = if root.saturating_mul(root) == square { root } else { root.saturating_add(1) };
    for value in vector {
        // Toward zero, so that the result is never longer.
        let scaled = i128::from(*value).saturating_mul(most.into()).checked_div(whole).unwrap_or(0);
        *value = i32::try_from(scaled).unwrap_or(0);
    }
}

/// What a rate in millionths a second adds up to over a time.
fn over(rate: impl Into<i64>, time_ns: u64) -> i64 {
    let product = i128::from(rate.into()).saturating_mul(time_ns.into());
    i64::try_from(product.checked_div(1_000_000_000).unwrap_or(0)).unwrap_or(i64::MAX)
}

fn at<T: Copy + Default>(values: &[T; 6], index: usize) -> T {
    values.get(index).copied().unwrap_or_default()
}

fn each(values: Six, mut change: impl FnMut(usize, i32) -> i32) -> Six {
    let mut index = 0_usize;
    values.map(|value| {
        let changed = change(index, value);
        index = index.saturating_add(1);
        changed
    })
}

fn saturate(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

/// Reads one value for each joint; another number of them is a problem.
pub(super) fn read_six<T: Copy>(value: &Value<'_>, read: impl Fn(&Value<'_>) -> Option<T>) -> Option<[T; 6]> {
    let items = value.array().unwrap_or_default();
    if items.len() != 6 {
        value.problem(format!("{} are not six values", value.raw()), "write one for each joint, from the base on");
        return None;
    }
    let read: Vec<T> = items.iter().filter_map(read).collect();
    <[T; 6]>::try_from(read).ok()
}

/// A limit above 0, in millionths.
fn limit(value: &Value<'_>) -> Option<i32> {
    let number = value.number()?;
    if !(number > 0.0 && number * UNITS <= f64::from(i32::MAX)) {
        value.problem(format!("{} is no limit", value.raw()), "write a number above 0 and below 2147");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below i32::MAX")]
    Some((number * UNITS).floor() as i32)
}

/// A range in millionths; its ends are rounded inward.
fn range(value: &Value<'_>) -> Option<Range> {
    let set = super::ranges::Numbers::read(value)?;
    let mut parts = set.iter();
    let (Some((first, last)), None) = (parts.next(), parts.next()) else {
        value.problem(format!("{} is more than one range", value.raw()), "write one range, \"-3.2..=3.2\"");
        return None;
    };
    #[expect(clippy::cast_possible_truncation, reason = "saturates: beyond it nothing can be sent")]
    let range = ((first * UNITS - SLACK).ceil() as i32, (last * UNITS + SLACK).floor() as i32);
    Some(range)
}

/// Of a millionth: what decimal fractions lose as floating point.
const SLACK: f64 = 1e-3;

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
