#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::indexing_slicing)]
use external_control::Action;
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const AGE: u64 = 500 * MS;

/// An envelope in radians, seconds and metres, as a rule would have it.
fn envelope() -> Envelope {
    Envelope {
        position: Some([(-2_000_000, 2_000_000); 6]),
        step: Some([20_000; 6]),
        speed: Some([1_000_000; 6]),
        period_ns: 2 * MS,
        ..Envelope::default()
    }
}

fn motion(how: Move, values: Six) -> Motion {
    Motion { timeout_ms: 100, action: Action::Move(how, values) }
}

fn known(joints: Six, now_ns: u64) -> State {
    State { joints, joints_at_ns: now_ns, ..State::default() }
}

/// What goes to the robot of set-points asked for at these times, with the time of each.
fn stream(envelope: &Envelope, from: Six, asked: &[(u64, Six)]) -> Vec<(u64, Six)> {
    let mut now_ns = 1_000 * MS;
    let mut state = known(from, now_ns);
    let mut went = Vec::new();
    for (wait_ns, target) in asked {
        now_ns += wait_ns;
        let how = Move::Servoj;
        let Ok(allowed) = envelope.nearest((how, *target), &motion(how, *target), &state, now_ns, AGE) else {
            continue;
        };
        state.track = Envelope::after(Some(envelope), (how, allowed), &state, now_ns, AGE);
        went.push((now_ns, allowed));
    }
    went
}

fn six(most: i32) -> impl Strategy<Value = Six> {
    proptest::array::uniform6(-most..=most)
}

proptest! {
    #[test]
    fn whatever_is_asked_what_goes_keeps_to_the_limits(
        from in six(2_000_000),
        asked in prop::collection::vec((0..60 * MS, six(3_000_000)), 1..60),
    ) {
        let went = stream(&envelope(), from, &asked);
        prop_assert!(!went.is_empty());
        let mut before = from;
        for (_, target) in &went {
            for joint in 0..6 {
                prop_assert!(target[joint].abs() <= 2_000_000);
                prop_assert!((target[joint] - before[joint]).abs() <= 20_000, "the step");
            }
            before = *target;
        }
        // Over any stretch of time a joint goes no farther than its speed allows, and 100 ms of it at once.
        for first in 0..went.len() {
            for last in first..went.len() {
                let time_ms = i64::try_from((went[last].0 - went[first].0) / MS).unwrap() + 1;
                for joint in 0..6 {
                    let way = i64::from(went[last].1[joint]) - i64::from(went[first].1[joint]);
                    prop_assert!(way.abs() <= 1000 * (time_ms + 100));
                }
            }
        }
    }

    #[test]
    fn what_is_inside_goes_unchanged_however_the_network_bunches_it(
        speeds in six(1000), bunch in 1_usize..40,
    ) {
        // 500 Hz at most 0.5 rad/s, in bunches of up to 78 ms.
        let mut asked = Vec::new();
        for n in 0..200 {
            let wait = if n % bunch == 0 { 2 * MS * bunch as u64 } else { 0 };
            asked.push((wait, speeds.map(|speed| speed * (n as i32 + 1))));
        }
        let went = stream(&envelope(), [0; 6], &asked);
        prop_assert_eq!(went.iter().map(|(_, target)| *target).collect::<Vec<_>>(),
            asked.iter().map(|(_, target)| *target).collect::<Vec<_>>());
    }

    #[test]
    fn the_nearest_is_inside_itself(asked in six(3_000_000), from in six(2_000_000), speed in six(3_000_000)) {
        let now_ns = 1_000 * MS;
        let state = known(from, now_ns);
        let all = Envelope {
            acceleration: Some([5_000_000; 6]),
            tool_speed: Some(250_000),
            tool_turn: Some(500_000),
            torque: Some([10_000_000; 6]),
            pose: Some([Some((-600_000, 600_000)), None, Some((50_000, 900_000)), None, None, None]),
            pose_step: Some(20_000),
            pose_turn: Some(50_000),
            ..envelope()
        };
        let state = State { pose: [0, 0, 100_000, 3_000_000, 0, 0], pose_at_ns: now_ns, ..state };
        for how in Move::ALL {
            let values = if how == Move::Servoj { asked } else { speed };
            let once = all.nearest((how, values), &motion(how, values), &state, now_ns, AGE).unwrap();
            let twice = all.nearest((how, once), &motion(how, once), &state, now_ns, AGE).unwrap();
            prop_assert_eq!(once, twice, "{:?}", how);
        }
        let tool = all.nearest((Move::Speedl, speed), &motion(Move::Speedl, speed), &state, now_ns, AGE).unwrap();
        let length = |values: &[i32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        prop_assert!(length(&tool[..3]) <= 250_000.0 && length(&tool[3..]) <= 500_000.0);
    }

    #[test]
    fn speeds_never_lead_out_while_the_robot_waits(from in six(2_000_000), speed in six(50_000_000), wait in 1..1000_i32) {
        let now_ns = 1_000 * MS;
        let only = Envelope { position: envelope().position, ..Envelope::default() };
        let asked = Motion { timeout_ms: wait, action: Action::Move(Move::Speedj, speed) };
        let allowed = only.nearest((Move::Speedj, speed), &asked, &known(from, now_ns), now_ns, AGE).unwrap();
        for joint in 0..6 {
            let end = i64::from(from[joint]) + i64::from(allowed[joint]) * i64::from(wait) / 1000;
            prop_assert!(end.abs() <= 2_000_000);
        }
    }
}

proptest! {
    #[test]
    fn whatever_pose_is_asked_for_the_tool_makes_small_steps(asked in prop::collection::vec(six(3_000_000), 1..40)) {
        let bounds = [Some((-600_000, 600_000)), None, Some((50_000, 900_000)), None, None, Some((-1_000_000, 1_000_000))];
        let small = Envelope {
            pose: Some(bounds), pose_step: Some(20_000), pose_turn: Some(50_000), ..Envelope::default()
        };
        let mut now_ns = 1_000 * MS;
        let start = [100_000, 0, 100_000, 0, 0, 0];
        let mut state = State { pose: start, pose_at_ns: now_ns, ..State::default() };
        let mut before = start;
        for target in asked {
            now_ns += 2 * MS;
            let went = small.nearest((Move::Pose, target), &motion(Move::Pose, target), &state, now_ns, AGE).unwrap();
            prop_assert_eq!(into_box(went, &bounds), went);
            let way: f64 = (0..3).map(|axis| f64::from(went[axis] - before[axis]).powi(2)).sum();
            prop_assert!(way.sqrt() <= 20_000.0);
            prop_assert!(rotation::angle(direction(&before), direction(&went)) <= 0.05 + 2.0 * rotation::PRECISION);
            state.track = Envelope::after(Some(&small), (Move::Pose, went), &state, now_ns, AGE);
            before = went;
        }
    }
}

#[test]
fn a_pose_is_measured_from_the_last_one_or_from_where_the_tool_is() {
    let (now_ns, pose) = (1_000 * MS, [100_000, 0, 100_000, 0, 0, 0]);
    let small = Envelope { pose_step: Some(20_000), ..Envelope::default() };
    let judge = |asked: Six, state: &State| {
        small.nearest((Move::Pose, asked), &motion(Move::Pose, asked), state, now_ns, AGE).map_err(|miss| miss.reason)
    };
    assert_eq!(judge(pose, &State::default()), Err(Reason::StateUnknown));
    let known = State { pose, pose_at_ns: now_ns - 10 * MS, ..State::default() };
    assert_eq!(judge([110_000, 0, 100_000, 0, 0, 0], &known), Ok([110_000, 0, 100_000, 0, 0, 0]));
    assert_eq!(judge([150_000, 0, 100_000, 0, 0, 0], &known), Ok([120_000, 0, 100_000, 0, 0, 0]), "the nearest");
    // Once a pose went, it counts, wherever the tool is by then.
    let sent = Envelope::after(Some(&small), (Move::Pose, [120_000, 0, 100_000, 0, 0, 0]), &known, now_ns, AGE);
    let moving = State { track: sent, ..known };
    assert_eq!(judge([139_000, 0, 100_000, 0, 0, 0], &moving), Ok([139_000, 0, 100_000, 0, 0, 0]));
    // Without a limit to how it turns it may turn at once.
    assert_eq!(judge([120_000, 0, 100_000, 0, 3_000_000, 0], &moving), Ok([120_000, 0, 100_000, 0, 3_000_000, 0]));
}

#[test]
fn without_a_place_to_measure_from_no_step_is_inside() {
    let target = [1000; 6];
    let asked = (Move::Servoj, target);
    let judge = |envelope: &Envelope, state: &State| {
        envelope.nearest(asked, &motion(Move::Servoj, target), state, 1_000 * MS, AGE).map_err(|miss| miss.reason)
    };
    assert_eq!(judge(&envelope(), &State::default()), Err(Reason::StateUnknown));
    // Seen too long ago.
    assert_eq!(judge(&envelope(), &known([0; 6], 400 * MS)), Err(Reason::StateUnknown));
    assert_eq!(judge(&envelope(), &known([0; 6], 900 * MS)), Ok(target));
    let position_alone = Envelope { step: None, speed: None, ..envelope() };
    assert_eq!(judge(&position_alone, &State::default()), Ok(target));
    assert_eq!(judge(&envelope(), &known([2_500_000; 6], 900 * MS)), Err(Reason::ValueNotAllowed));
}

#[test]
fn a_motion_that_no_key_speaks_of_is_outside() {
    let judge = |how| envelope().nearest((how, [0; 6]), &motion(how, [0; 6]), &known([0; 6], 1), 1, AGE);
    for how in [Move::Pose, Move::Speedl, Move::Torque] {
        assert_eq!(judge(how).map_err(|miss| miss.reason), Err(Reason::Unproven), "{how:?}");
    }
    let endless = Motion { timeout_ms: 0, action: Action::Move(Move::Speedj, [0; 6]) };
    let judged = envelope().nearest((Move::Speedj, [0; 6]), &endless, &known([0; 6], 1), 1, AGE);
    assert_eq!(judged.map_err(|miss| miss.reason), Err(Reason::Unproven));
}

#[test]
fn an_acceleration_bounds_how_steps_change() {
    // 5 rad/s2 over 2 ms: the step may change by 20 millionths from one set-point to the next.
    let envelope = Envelope { acceleration: Some([5_000_000; 6]), period_ns: 2 * MS, ..Envelope::default() };
    let asked: Vec<_> = (1..=5).map(|n| (2 * MS, [n * 1000; 6])).collect();
    let went: Vec<_> = stream(&envelope, [0; 6], &asked).iter().map(|(_, target)| target[0]).collect();
    assert_eq!(went, [20, 60, 120, 200, 300]);
}

fn point(kind: i32, target: Six, third: Six, duration: i32) -> Point {
    Point { target, second: [0; 6], third, duration, blend: 0, kind }
}

#[test]
fn points_are_judged_as_every_edition_reads_them() {
    let now_ns = 1_000 * MS;
    let state = known([0; 6], now_ns);
    let place = Envelope { pose: Some([Some((-600_000, 600_000)); 6]), speed: None, ..envelope() };
    let judge = |envelope: &Envelope, point: &Point, dialect| {
        envelope.covers(point, dialect, &state, now_ns, AGE).map_err(|miss| miss.reason)
    };
    let movej = |joint| point(0, [joint; 6], [0; 6], 2_000_000);
    assert_eq!(judge(&place, &movej(1_900_000), None), Ok(()));
    assert_eq!(judge(&place, &movej(2_100_000), None), Err(Reason::ValueNotAllowed));
    // Type 2: a spline of joints or a motion to a pose; inside as joints, outside as a pose.
    let two = point(2, [1_000_000; 6], [0; 6], 2_000_000);
    assert_eq!(judge(&place, &two, Some(Dialect::Old)), Ok(()));
    assert_eq!(judge(&place, &two, Some(Dialect::New)), Err(Reason::ValueNotAllowed));
    assert_eq!(judge(&place, &two, None), Err(Reason::ValueNotAllowed));
    let poseless = Envelope { pose: None, ..place };
    assert_eq!(judge(&poseless, &point(1, [0; 6], [0; 6], 1_000_000), None), Err(Reason::Unproven));
}

#[test]
fn points_are_no_faster_than_joints_may_turn() {
    let now_ns = 1_000 * MS;
    let begun = |state: State| State { track: state.track.begun(9, 20, now_ns), ..state };
    let state = begun(known([0; 6], now_ns));
    let judge = |point: &Point, state: &State| {
        envelope().covers(point, Some(Dialect::New), state, now_ns, AGE).map_err(|miss| miss.reason)
    };
    // Half a radian in half a second, and in a bit less.
    assert_eq!(judge(&point(0, [500_000; 6], [0; 6], 500_000), &state), Ok(()));
    assert_eq!(judge(&point(0, [500_000; 6], [0; 6], 499_000), &state), Err(Reason::ValueNotAllowed));
    assert_eq!(judge(&point(0, [500_000; 6], [0; 6], 500_000), &begun(State::default())), Err(Reason::StateUnknown));
    // No duration: its own speed counts.
    assert_eq!(judge(&point(0, [500_000; 6], [1_000_000, 0, 0, 0, 0, 0], 0), &state), Ok(()));
    assert_eq!(judge(&point(0, [500_000; 6], [1_000_001, 0, 0, 0, 0, 0], 0), &state), Err(Reason::ValueNotAllowed));
    let spline = Point { second: [1_000_001; 6], ..point(51, [1000; 6], [0; 6], 500_000) };
    assert_eq!(judge(&spline, &state), Err(Reason::ValueNotAllowed));
}
