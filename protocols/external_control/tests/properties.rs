//! What the records mean, against a writer of the tests' own made from the library's chapters; and properties over
//! arbitrary bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs
)]

use dissect::Step;
use external_control::{
    Action, Channel, Dialect, Freedrive, Function, Kind, MAX_FIELDS, Motion, Move, Order, Point, Record, Space,
    Trajectory,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes_of(integers: &[i32]) -> Vec<u8> {
    integers.iter().flat_map(|integer| integer.to_be_bytes()).collect()
}

fn record(bytes: &[u8]) -> Record<'_> {
    match Record::step(bytes, bytes.len() / 4) {
        Ok(Step::Whole { unit, len }) if len == bytes.len() => unit,
        other => panic!("{other:?}"),
    }
}

fn motion(timeout_ms: i32, values: [i32; 6], mode: i32) -> Motion {
    let mut integers = vec![timeout_ms];
    integers.extend(values);
    integers.push(mode);
    Motion::read(&record(&bytes_of(&integers))).unwrap()
}

#[test]
fn the_sockets_have_their_ports_and_lengths() {
    let known = Channel::ALL.map(|channel| (channel.port(), channel.fields(), channel.name()));
    let expected = [
        (50001, Some(8), "reverse"),
        (50002, None, "script"),
        (50003, Some(21), "trajectory"),
        (50004, Some(28), "command"),
    ];
    assert_eq!(known, expected);
    let numbers: Vec<_> = (0..=u8::MAX).filter_map(Channel::of_number).collect();
    assert_eq!(numbers, Channel::ALL);
}

#[test]
fn modes_are_told_apart() {
    let values = [1_570_796, -500_000, 0, 1, -1, i32::MIN];
    for (mode, how) in [(1, Move::Servoj), (2, Move::Speedj), (4, Move::Speedl), (5, Move::Pose), (8, Move::Torque)] {
        assert_eq!(motion(20, values, mode), Motion { timeout_ms: 20, action: Action::Move(how, values) });
        assert_eq!(how.mode(), mode);
    }
    assert_eq!(motion(100, [0; 6], -2).action, Action::Stop);
    assert_eq!(motion(100, values, 0).action, Action::Idle);
    for mode in [-3, -1, 7, 9, i32::MAX, i32::MIN] {
        assert_eq!(motion(100, values, mode).action, Action::Unknown(mode), "{mode}");
    }
}

#[test]
fn trajectories_begin_go_on_and_end() {
    let forward = |first, second| motion(200, [first, second, 5, 0, 0, 0], 3).action;
    assert_eq!(forward(-1, 9), Action::Forward(Trajectory::Cancel));
    assert_eq!(forward(0, 0), Action::Forward(Trajectory::Keep));
    assert_eq!(forward(1, 400), Action::Forward(Trajectory::Start { points: 400 }));
    assert_eq!(forward(2, 0), Action::Forward(Trajectory::StreamStart));
    assert_eq!(forward(3, 17), Action::Forward(Trajectory::StreamEnd { points: 17 }));
    assert_eq!(forward(4, 0), Action::Forward(Trajectory::Unknown(4)));
}

#[test]
fn freedrive_begins_and_ends() {
    let freedrive = |first| motion(100, [first, 0, 0, 0, 0, 0], 6).action;
    assert_eq!(freedrive(1), Action::Freedrive(Freedrive::Start));
    assert_eq!(freedrive(0), Action::Freedrive(Freedrive::Keep));
    assert_eq!(freedrive(-1), Action::Freedrive(Freedrive::Stop));
    assert_eq!(freedrive(2), Action::Freedrive(Freedrive::Unknown(2)));
}

#[test]
fn a_time_out_of_zero_or_below_is_none() {
    assert!(motion(0, [0; 6], 1).never_times_out() && motion(-1, [0; 6], 1).never_times_out());
    assert!(!motion(1, [0; 6], 1).never_times_out());
}

#[test]
fn a_motion_has_eight_integers() {
    for len in 1..8 {
        let error = Motion::read(&record(&bytes_of(&vec![0; len]))).unwrap_err();
        assert_eq!(error.offset as usize, len * 4, "{error}");
    }
}

fn point(kind: i32) -> Point {
    let mut integers: Vec<i32> = (1..=20).map(|n| n * 1_000_000).collect();
    integers.push(kind);
    Point::read(&record(&bytes_of(&integers))).unwrap()
}

#[test]
fn a_point_has_its_fields_in_the_order_that_the_library_writes() {
    let point = point(3);
    assert_eq!(point.target, [1, 2, 3, 4, 5, 6].map(|n| n * 1_000_000));
    assert_eq!(point.via(), [7, 8, 9, 10, 11, 12].map(|n| n * 1_000_000));
    assert_eq!(point.third, [13, 14, 15, 16, 17, 18].map(|n| n * 1_000_000));
    assert_eq!((point.duration, point.blend, point.kind), (19_000_000, 20_000_000, 3));
    assert!(Point::read(&record(&bytes_of(&[0; 20]))).is_err());
    assert!(Point::read(&record(&bytes_of(&[0; 22]))).is_ok(), "a newer program's");
}

#[test]
fn kinds_of_points_are_told_apart_in_both_editions() {
    use Space::{Joints, Pose};
    let new = [
        (0, Kind::Movej(Joints), "movej"),
        (1, Kind::Movel(Pose), "movel"),
        (2, Kind::Movep(Pose), "movep"),
        (3, Kind::Movec { via: Pose, to: Pose }, "movec"),
        (4, Kind::Optimovej(Joints), "optimovej"),
        (5, Kind::Optimovel(Pose), "optimovel"),
        (6, Kind::Movej(Pose), "movej"),
        (7, Kind::Movel(Joints), "movel"),
        (8, Kind::Movep(Joints), "movep"),
        (9, Kind::Movec { via: Joints, to: Joints }, "movec"),
        (10, Kind::Movec { via: Pose, to: Joints }, "movec"),
        (11, Kind::Movec { via: Joints, to: Pose }, "movec"),
        (12, Kind::Optimovej(Pose), "optimovej"),
        (13, Kind::Optimovel(Joints), "optimovel"),
        (51, Kind::Spline, "spline"),
    ];
    for number in -2..100 {
        let expected = new.iter().find(|(of, ..)| *of == number);
        let kind = point(number).kind(Dialect::New);
        assert_eq!(kind, expected.map(|(_, kind, _)| *kind), "{number}");
        assert_eq!(kind.map(Kind::name), expected.map(|(.., name)| *name));
    }
    let old = |number| point(number).kind(Dialect::Old);
    assert_eq!([0, 1, 2].map(old), [Kind::Movej(Joints), Kind::Movel(Pose), Kind::Spline].map(Some));
    assert_eq!([-1, 3, 51].map(old), [None; 3]);
    assert_eq!(Kind::Movec { via: Pose, to: Joints }.target(), Joints);
    assert_eq!(Kind::Spline.target(), Joints);
}

#[test]
fn orders_name_their_function_and_its_arguments() {
    let arguments = [0, 4, 1, 27, 0, 0, 0, 1, 8, 3, 6, 12, 11];
    let mut names = std::collections::BTreeSet::new();
    for (number, count) in arguments.into_iter().enumerate() {
        let mut integers: Vec<i32> = (0..MAX_FIELDS as i32).map(|n| n * 10).collect();
        integers[0] = number as i32;
        let bytes = bytes_of(&integers);
        let order = Order::read(&record(&bytes)).unwrap();
        let function = order.function.unwrap();
        assert_eq!(function as usize, number);
        assert!(names.insert(function.name()), "{}", function.name());
        assert_eq!(order.arguments().collect::<Vec<_>>(), integers[1..=count], "{}", function.name());
        let short = &bytes[..4 * count];
        assert!(count == 0 || Order::read(&record(short)).is_err(), "{} without its last argument", function.name());
    }
    for function in Function::ALL {
        let names: Vec<_> = function.parameters().iter().map(|argument| argument.name).collect();
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len(), "{}", function.name());
    }
    // A flag is on whatever stands there but 0; everything else is in millionths.
    let flags = Function::FtRtdeInputEnable.parameters();
    assert_eq!([flags[0].number(0), flags[0].number(7), flags[0].number(-1)], [0.0, 1.0, 1.0]);
    assert_eq!([flags[1].number(300_000), flags[1].number(-1)], [0.3, -0.000_001]);
    for number in [-1, 13, i32::MAX, i32::MIN] {
        let bytes = bytes_of(&[number, 1, 2]);
        let order = Order::read(&record(&bytes)).unwrap();
        assert_eq!((order.function, order.arguments().count()), (Err(number), 0));
    }
    assert_eq!(Function::ALL.len(), arguments.len());
}

/// All records of `bytes` given in pieces that end at `cuts`.
fn records(bytes: &[u8], cuts: &[usize], fields: usize) -> Vec<Vec<i32>> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        loop {
            let given = &bytes[from..end.max(from)];
            match Record::step(given, fields).unwrap() {
                Step::Whole { unit, len } => {
                    assert_eq!(len, fields * 4);
                    found.push((0..unit.len()).filter_map(|index| unit.get(index)).collect());
                    from += len;
                }
                Step::Partial { needed } => {
                    assert!(needed > given.len());
                    break;
                }
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_records(
        integers in vec(any::<i32>(), 0..120), fields in 1..=MAX_FIELDS, cuts in vec(any::<usize>(), 0..20)
    ) {
        let whole: Vec<Vec<i32>> = integers.chunks_exact(fields).map(<[i32]>::to_vec).collect();
        prop_assert_eq!(records(&bytes_of(&integers), &cuts, fields), whole);
    }

    #[test]
    fn what_is_written_is_read(timeout_ms in any::<i32>(), values in any::<[i32; 6]>(), mode in -4..10_i32) {
        let read = motion(timeout_ms, values, mode);
        prop_assert_eq!(Motion::read(&record(&read.emit())), Ok(read));
        if let Action::Move(..) = read.action {
            let mut integers = vec![timeout_ms];
            integers.extend(values);
            integers.push(mode);
            prop_assert_eq!(read.emit().to_vec(), bytes_of(&integers));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), fields in 0..40_usize) {
        if let Ok(Step::Whole { unit, .. }) = Record::step(&bytes, fields) {
            let _ = Motion::read(&unit).map(|motion| (motion.action.name(), motion.never_times_out()));
            let _ = Point::read(&unit).map(|point| (point.kind(Dialect::Old), point.kind(Dialect::New), point.via()));
            let _ = Order::read(&unit).map(|order| order.arguments().count());
        }
    }
}
