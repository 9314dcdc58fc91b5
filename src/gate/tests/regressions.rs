//! Faults that were found, each as the smallest case that shows it.

use super::bench::{Bench, Ended, Sent};
use super::examples::{fast, units};
use super::toy::*;
use super::*;

#[test]
fn the_robot_is_acknowledged_what_passed_when_the_connection_is_spliced() {
    let mut bench = fast([100, 7]);
    bench.robot(0, &said(NEWS, 3), 0);
    let out = bench.client(0, &units(&[(REFUSE, 4)]));
    let toward_robot = out.frames.iter().find(|frame| frame.toward == Toward::Robot);
    assert_eq!(toward_robot.map(|frame| frame.ack), Some(7 + said(NEWS, 3).len() as u32));
}

#[test]
fn a_fin_is_acknowledged_as_soon_as_the_other_end_has_acknowledged_it() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    bench.take(&Sent { toward: Toward::Robot, seq: 100, ack: 7, window: 60_000, fin: true, payload: &[] });
    assert!(bench.toy.wire.frames.iter().any(|frame| frame.toward == Toward::Robot && frame.fin));
    assert!(bench.toy.wire.frames.iter().all(|frame| frame.toward == Toward::Robot || frame.ack == 100));
    let out = bench.robot(0, &[], 1);
    assert_eq!(out.frames.iter().map(|frame| (frame.toward, frame.ack)).collect::<Vec<_>>(), [(Toward::Plant, 101)]);
}

#[test]
fn a_reply_in_two_parts_is_read_whole_after_the_client_is_gone() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let command = units(&[(ALLOW, 3)]);
    bench.client(0, &command);
    bench.reset(Toward::Robot, 100 + command.len() as u32);
    let reply = said(REPLY, 2);
    // The judge is never asked about bytes that were forgotten.
    bench.robot(0, &reply[..1], 0);
    bench.robot(1, &reply[1..], 0);
    assert_eq!(bench.toy.outstanding(), 0);
}

#[test]
fn no_answer_is_put_behind_the_fin_of_the_robot() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    bench.take(&Sent { toward: Toward::Plant, seq: 7, ack: 100, window: 60_000, fin: true, payload: &[] });
    assert!(bench.toy.wire.frames.iter().any(|frame| frame.toward == Toward::Plant && frame.fin));
    bench.client(0, &units(&[(REFUSE, 3)]));
    assert!(bench.at_client().is_empty());
    assert_eq!(bench.ended, Some(Ended::Refused(Action::Reset, Reason::ValueNotAllowed)));
}

#[test]
fn a_shut_window_that_opens_bit_by_bit_is_told() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    // The robot takes nothing: the store fills up and the client's window shuts.
    bench.take(&Sent { toward: Toward::Plant, seq: 7, ack: 100, window: 0, fin: false, payload: &[] });
    let unit = units(&[(QUIET, 8)]).repeat(146);
    let mut place = 0;
    while place < STORE - unit.len() {
        bench.client(place, &unit);
        place += unit.len();
    }
    bench.client(place, &unit[..STORE - place]);
    assert_eq!(bench.toy.wire.frames.last().map(|frame| (frame.toward, frame.window)), Some((Toward::Plant, 0)));
    // It opens its window by a little again and again.
    let told = (0..40).any(|step| {
        let out = bench.robot(0, &[], step * unit.len());
        out.frames.iter().any(|frame| frame.toward == Toward::Plant && frame.window > 16_384)
    });
    assert!(told);
}

#[test]
fn a_fast_retransmission_stays_inside_the_window_of_the_peer() {
    let mut bench = fast([100, 7]);
    bench.offer([60_000, 20]);
    bench.splice_from_the_start();
    bench.client(0, &units(&[(QUIET, 9); 5]));
    let lengths = |out: &Frames| out.frames.iter().filter(|frame| frame.own).map(|frame| frame.len).collect::<Vec<_>>();
    for _ in 0..3 {
        let ack = Sent { toward: Toward::Plant, seq: 7, ack: 100, window: 20, fin: false, payload: &[] };
        bench.take(&ack);
    }
    assert_eq!(lengths(&bench.toy.wire), [20]);
}

#[test]
fn an_answer_comes_behind_the_reply_that_the_robot_closes_with() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    bench.client(0, &units(&[(ALLOW, 3), (REFUSE, 4)]));
    let reply = said(REPLY, 0);
    bench.take(&Sent { toward: Toward::Plant, seq: 7, ack: 105, window: 60_000, fin: true, payload: &reply });
    assert_eq!(bench.at_client(), [reply, answer_to(0)].concat());
    assert_eq!(bench.seen[1].fin, Some(bench.at_client().len()));
}

#[test]
fn a_window_that_closed_over_what_was_sent_is_asked_about() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    bench.client(0, &units(&[(QUIET, 9)]));
    // The bytes were lost, and the robot takes back its window.
    bench.take(&Sent { toward: Toward::Plant, seq: 7, ack: 100, window: 0, fin: false, payload: &[] });
    bench.time(bench.gate.due_ns().unwrap());
    let asked: Vec<_> = bench.toy.wire.frames.iter().map(|frame| (frame.toward, frame.seq, frame.len)).collect();
    assert_eq!(asked, [(Toward::Robot, 99, 0)]);
}

#[test]
fn a_fin_below_bytes_that_came_changes_nothing() {
    let stream = units(&[(QUIET, 9)]);
    let fin = |bytes| Sent { toward: Toward::Robot, seq: 100, ack: 7, window: 60_000, fin: true, payload: bytes };
    for spliced in [false, true] {
        let mut bench = fast([100, 7]);
        if spliced {
            bench.splice_from_the_start();
        }
        bench.client(0, &stream);
        bench.take(&fin(&stream[..4]));
        assert!(bench.toy.wire.frames.iter().all(|frame| !frame.fin), "a FIN in the middle of a unit");
        bench.client(stream.len(), &stream);
        assert_eq!(bench.at_robot(), stream.repeat(2), "what follows is no data behind a FIN");
    }
}

#[test]
fn a_refused_unit_with_a_fin_is_answered_and_the_fin_goes_on() {
    let mut bench = fast([100, 7]);
    let stream = units(&[(REFUSE, 3)]);
    bench.take(&Sent { toward: Toward::Robot, seq: 100, ack: 7, window: 60_000, fin: true, payload: &stream });
    assert_eq!(bench.at_client(), answer_to(0));
    assert_eq!((bench.ended, bench.seen[0].fin), (None, Some(0)));
}

#[test]
fn no_byte_passes_behind_a_fin_that_passed() {
    let mut bench = fast([100, 7]);
    let stream = units(&[(QUIET, 3)]);
    // A bare acknowledgement tells of bytes that were lost on their way.
    bench.client(2 * stream.len(), &[]);
    bench.take(&Sent { toward: Toward::Robot, seq: 100, ack: 7, window: 60_000, fin: true, payload: &stream });
    bench.client(stream.len(), &stream);
    assert_eq!(bench.at_robot(), stream);
}

#[test]
fn what_a_burst_left_over_follows_and_nothing_is_repeated() {
    let mut bench = fast([100, 7]);
    bench.mss = [1, 1460];
    bench.splice_from_the_start();
    let stream = units(&[(QUIET, 8)]);
    let mut place = 0;
    // The robot acknowledges at once: more and more may be in flight.
    for _ in 0..30 {
        bench.client(place, &stream);
        place += stream.len();
        bench.robot(0, &[], place);
    }
    bench.client(place, &stream.repeat(20));
    let toward_robot = |bench: &Bench| {
        let frames = bench.toy.wire.frames.iter().filter(|frame| frame.toward == Toward::Robot);
        frames.map(|frame| (frame.seq as usize - 100, frame.len)).collect::<Vec<_>>()
    };
    assert_eq!(toward_robot(&bench).len(), 64);
    bench.time(bench.gate.due_ns().unwrap());
    assert_eq!(toward_robot(&bench).first(), Some(&(place + 64, 1)));
}

#[test]
fn a_unit_that_is_whole_is_not_waited_for_while_the_window_of_the_robot_is_shut() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let stream = units(&[(QUIET, 9)]);
    bench.client(0, &stream[..4]);
    bench.take(&Sent { toward: Toward::Plant, seq: 7, ack: 100, window: 0, fin: false, payload: &[] });
    bench.client(4, &stream[4..]);
    let mut asked = false;
    for _ in 0..4 {
        let Some(due) = bench.gate.due_ns() else { break };
        bench.time(due);
        asked |= bench.toy.wire.frames.iter().any(|frame| (frame.toward, frame.seq) == (Toward::Robot, 99));
    }
    assert_eq!(bench.ended, None, "the robot, not the client, is waited for");
    assert!(asked, "whether the window is open");
    bench.robot(0, &[], 0);
    assert_eq!(bench.at_robot(), stream);
}

#[test]
fn an_acknowledgement_of_replies_that_never_came_changes_nothing() {
    let mut bench = fast([100, 7]);
    // One made-up frame with the right addresses, before the robot has said anything.
    let lie = Sent { toward: Toward::Robot, seq: 100, ack: 5_000, window: 60_000, fin: false, payload: &[] };
    bench.take(&lie);
    assert!(bench.toy.wire.frames.is_empty());
    bench.client(0, &units(&[(ALLOW, 3), (REFUSE, 2)]));
    let reply = said(REPLY, 0);
    bench.robot(0, &reply, 5);
    assert_eq!(bench.at_client(), [reply, answer_to(0)].concat());
}

#[test]
fn a_probe_of_a_client_that_missed_acknowledgements_is_answered() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let stream = units(&[(QUIET, 9)]);
    bench.client(0, &stream);
    // Its acknowledgement was lost, and the window that it knows of is shut: it asks below what it sent.
    bench.take(&Sent { toward: Toward::Robot, seq: 99, ack: 7, window: 60_000, fin: false, payload: &[] });
    let out = &bench.toy.wire;
    assert_eq!(out.frames.iter().map(|frame| (frame.toward, frame.ack)).collect::<Vec<_>>(), [(Toward::Plant, 111)]);
}

#[test]
fn first_copies_stay_on_both_sides_of_the_wrap() {
    let start = u32::MAX - 9;
    let mut stream = Stream::new(start);
    let mut store = [0; 64];
    stream.insert(&mut store, start.wrapping_add(4), b"aa").unwrap();
    stream.insert(&mut store, start.wrapping_add(12), b"bb").unwrap();
    stream.insert(&mut store, start, &[b'-'; 16]).unwrap();
    assert_eq!(stream.held(&store), b"----aa------bb--");
}

#[test]
fn what_a_dropped_segment_acknowledged_is_not_sent_again_once_spliced() {
    let mut bench = fast([100, 7]);
    let reply = said(NEWS, 0);
    bench.robot(0, &reply, 0);
    // A part of a unit, then a FIN far behind a hole: dropped, but it acknowledges the reply.
    bench.client(0, &units(&[(QUIET, 9)])[..4]);
    let ack = 7 + reply.len() as u32;
    bench.take(&Sent { toward: Toward::Robot, seq: 300, ack, window: 60_000, fin: true, payload: &[] });
    bench.time(bench.gate.due_ns().unwrap());
    assert!(bench.gate.is_spliced());
    bench.take(&Sent { toward: Toward::Plant, seq: ack, ack: 100, window: 60_000, fin: true, payload: &[] });
    bench.time(bench.now_ns + 400_000_000);
    let again = bench.toy.wire.frames.iter().filter(|frame| frame.toward == Toward::Plant && frame.fin);
    assert_eq!(again.map(|frame| (frame.seq, frame.len)).collect::<Vec<_>>(), [(ack, 0)]);
}

/// A robot that takes nothing, in either way of working: what comes meanwhile is judged by the rules of the moment when it
/// leaves, not of the one when it came.
#[test]
fn a_unit_that_waits_for_the_robots_window_is_judged_when_it_opens() {
    let window = |window| Sent { toward: Toward::Plant, seq: 7, ack: 100, window, fin: false, payload: &[] };
    let stream = units(&[(QUIET, 9), (REFUSE, 1)]);
    for spliced in [false, true] {
        let mut bench = fast([100, 7]);
        if spliced {
            bench.splice_from_the_start();
        }
        bench.take(&window(0));
        bench.client(0, &stream);
        assert_eq!(bench.toy.judged(), 0, "spliced before: {spliced}");
        assert!(bench.gate.is_spliced() && bench.at_robot().is_empty());
        // Room for the beginning of the first one: it goes, and the other one waits.
        bench.take(&window(5));
        assert_eq!((bench.toy.judged(), bench.at_robot()), (11, &stream[..5]));
        bench.take(&window(60_000));
        assert_eq!((bench.toy.judged(), bench.at_robot()), (stream.len(), &stream[..11]));
    }
}

#[test]
fn what_is_sealed_ends_the_connection_before_it_goes_out_again() {
    let unit = units(&[(QUIET, 9)]);
    let locked = Some(Ended::Refused(Action::Reset, Reason::LockedDown));
    // The client repeats, or the box's own time-out comes.
    for spliced in [false, true] {
        let mut bench = fast([100, 7]);
        if spliced {
            bench.splice_from_the_start();
        }
        bench.client(0, &unit);
        bench.seal();
        assert_eq!(bench.ended, None, "the robot may have it");
        if spliced {
            bench.time(bench.gate.due_ns().unwrap());
        } else {
            bench.client(0, &unit);
        }
        assert_eq!((bench.ended, bench.toy.wire.frames.iter().any(|frame| frame.len != 0)), (locked, false));
    }
    // What the robot has acknowledged is no reason to end anything, and what comes later is repeated.
    for spliced in [false, true] {
        let mut bench = fast([100, 7]);
        if spliced {
            bench.splice_from_the_start();
        }
        bench.client(0, &unit);
        bench.seal();
        bench.robot(0, &[], unit.len());
        bench.client(0, &unit);
        bench.client(unit.len(), &unit);
        if spliced {
            bench.time(bench.gate.due_ns().unwrap());
        } else {
            bench.client(unit.len(), &unit);
        }
        assert_eq!(bench.ended, None);
        assert!(bench.toy.wire.frames.iter().any(|frame| frame.len == unit.len()), "spliced: {spliced}");
    }
    // Of a unit that is half out the rest stays here.
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    bench.take(&Sent { toward: Toward::Plant, seq: 7, ack: 100, window: 5, fin: false, payload: &[] });
    bench.client(0, &unit);
    assert_eq!(bench.at_robot(), &unit[..5]);
    bench.seal();
    assert_eq!(bench.ended, locked);
}

#[test]
fn once_unsealed_what_went_out_is_repeated() {
    let mut bench = fast([100, 7]);
    let unit = units(&[(QUIET, 9)]);
    bench.client(0, &unit);
    assert!(bench.gate.seal());
    bench.gate.unseal();
    bench.client(0, &unit);
    assert_eq!((bench.ended, bench.toy.wire.frames.first().map(|frame| frame.len)), (None, Some(unit.len())));
}

/// A lockdown may last for days: the numbers of a connection come round meanwhile.
#[test]
fn a_seal_is_over_when_the_robot_has_what_lies_before_it() {
    for spliced in [false, true] {
        let mut bench = fast([100, 7]);
        if spliced {
            bench.splice_from_the_start();
        }
        let unit = units(&[(QUIET, 9)]);
        bench.client(0, &unit);
        assert!(bench.gate.seal() && bench.gate.is_sealed(100));
        bench.robot(0, &[], unit.len());
        assert!(!bench.gate.is_sealed(100), "spliced: {spliced}");
    }
}

/// A robot of tiny segments: what is asked for again takes pieces that new units then have not.
#[test]
fn what_goes_out_again_leaves_less_room_for_new_units() {
    super::cases::run(242_048);
}
