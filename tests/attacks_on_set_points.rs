//! Attacks on external control from the computer's side of a connection that the robot opens: segments made by hand.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use dissect::Toward;
use external_control::{Action, Motion, Move};
use link::TcpFlags;
use support::bench::{Bench, Left, Talk};
use vambrace::event::Reason;

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "ext"
from = "plc"
service = "external_control"
mode = ["servoj"]
timeout_ms = "10..=200"
beyond = "refuse"
[allow.envelope]
position_rad = ["-2..=2", "-2..=2", "-2..=2", "-2..=2", "-2..=2", "-2..=2"]
"#;

const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
const DATA: TcpFlags = TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0);

/// The number of the robot's SYN, and that of the computer's answer.
const ROBOT: u32 = 5_000_000;
const COMPUTER: u32 = 1_000_000;

fn set_point(joint: i32) -> [u8; 32] {
    Motion { timeout_ms: 20, action: Action::Move(Move::Servoj, [joint; 6]) }.emit()
}

/// The robot has sent its SYN and got the first answer.
fn answered() -> (Bench, Talk) {
    let (mut bench, talk) = (Bench::new(POLICY), Talk::new(50_001, 40_123));
    bench.frame(Toward::Plant, &talk.back(ROBOT, 0, TcpFlags::SYN, &[]));
    let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER, ROBOT + 1, SYN_ACK, &[]));
    assert_eq!(left.segments(Toward::Robot).len(), 1, "{:?}", left.refusals);
    (bench, talk)
}

fn opened() -> (Bench, Talk) {
    let (mut bench, talk) = answered();
    bench.frame(Toward::Plant, &talk.back(ROBOT + 1, COMPUTER + 1, TcpFlags::ACK, &[]));
    (bench, talk)
}

fn nothing_reaches_the_robot(left: &Left) {
    assert!(left.segments(Toward::Robot).is_empty(), "{:?}", left.fate);
}

#[test]
fn a_set_point_inside_passes_and_one_outside_does_not() {
    let (mut bench, talk) = opened();
    let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 1, ROBOT + 1, DATA, &set_point(1)));
    assert_eq!(left.payload(Toward::Robot), set_point(1));
    let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 33, ROBOT + 1, DATA, &set_point(2_000_001)));
    assert_eq!((left.payload(Toward::Robot), left.refusals.clone()), (vec![], vec![Reason::ValueNotAllowed]));
}

/// By a second answer to its SYN the gate would count from another place than the robot, and read other units of the same
/// bytes: shifted by one byte, a set-point inside becomes one that is 256 times as far.
#[test]
fn a_second_answer_to_the_robots_syn_changes_nothing() {
    for by in [1_u32, 31, 100, u32::MAX, u32::MAX - 30] {
        for after_the_handshake in [false, true] {
            let (mut bench, talk) = if after_the_handshake { opened() } else { answered() };
            let second = talk.segment(COMPUTER.wrapping_add(by), ROBOT + 1, SYN_ACK, &[]);
            nothing_reaches_the_robot(&bench.frame(Toward::Robot, &second));
            if !after_the_handshake {
                bench.frame(Toward::Plant, &talk.back(ROBOT + 1, COMPUTER + 1, TcpFlags::ACK, &[]));
            }
            // The first one again, as where its acknowledgement was lost.
            bench.frame(Toward::Robot, &talk.segment(COMPUTER, ROBOT + 1, SYN_ACK, &[]));
            let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 1, ROBOT + 1, DATA, &set_point(1)));
            assert_eq!(left.payload(Toward::Robot), set_point(1), "{by}: units begin where the robot counts from");
            let shifted = talk.segment((COMPUTER + 33).wrapping_add(by), ROBOT + 1, DATA, &set_point(1));
            // What the robot has may be repeated to it; of the rest nothing goes on, as it is no whole unit where it stands.
            let left = bench.frame(Toward::Robot, &shifted);
            let fresh = |tcp: &link::Tcp<'_>| link::seq::before(COMPUTER + 33, tcp.seq_end());
            assert!(!left.segments(Toward::Robot).iter().any(fresh), "{by}");
        }
    }
}

#[test]
fn a_syn_of_the_plants_on_the_robots_connection_does_not_reach_the_robot() {
    for flags in [TcpFlags::SYN, TcpFlags(TcpFlags::SYN.0 | TcpFlags::CWR.0)] {
        let (mut bench, talk) = opened();
        let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 1, 0, flags, &[]));
        nothing_reaches_the_robot(&left);
        let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 1, ROBOT + 1, DATA, &set_point(1)));
        assert_eq!(left.payload(Toward::Robot), set_point(1), "the session lives");
    }
}

#[test]
fn a_robot_that_begins_anew_before_it_is_connected_gets_the_answer_to_its_new_syn() {
    let (mut bench, talk) = answered();
    let again = ROBOT + 77_000;
    bench.frame(Toward::Plant, &talk.back(again, 0, TcpFlags::SYN, &[]));
    let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 500, again + 1, SYN_ACK, &[]));
    assert_eq!(left.segments(Toward::Robot).len(), 1, "{:?}", left.refusals);
    bench.frame(Toward::Plant, &talk.back(again + 1, COMPUTER + 501, TcpFlags::ACK, &[]));
    let left = bench.frame(Toward::Robot, &talk.segment(COMPUTER + 501, again + 1, DATA, &set_point(3)));
    assert_eq!(left.payload(Toward::Robot), set_point(3));
}

#[test]
fn a_set_point_in_parts_passes_whole_or_not_at_all() {
    for (joint, passes) in [(5, true), (2_000_001, false)] {
        for cut in 1..32 {
            let (mut bench, talk) = opened();
            let record = set_point(joint);
            let (head, tail) = record.split_at(cut);
            let mut arrived = Vec::new();
            let at = COMPUTER + 1 + u32::try_from(cut).unwrap();
            for (seq, part) in [(COMPUTER + 1, head), (at, tail)] {
                let left = bench.frame(Toward::Robot, &talk.segment(seq, ROBOT + 1, DATA, part));
                arrived.extend(left.payload(Toward::Robot));
            }
            assert_eq!(arrived, if passes { record.to_vec() } else { Vec::new() }, "cut at {cut}");
        }
    }
}
