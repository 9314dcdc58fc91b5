//! What the gate says of itself when the engine asks.

use super::bench::{Bench, Ended};
use super::examples::{fast, units};
use super::toy::*;
use super::*;

/// A spliced connection that begins at these numbers.
fn spliced(starts: [u32; 2]) -> Bench {
    let mut bench = fast(starts);
    bench.splice_from_the_start();
    bench
}

#[test]
fn it_is_clean_between_units_without_holes_and_lies() {
    let whole = units(&[(ALLOW, 9)]);
    let mut bench = fast([100, 0]);
    assert!(bench.gate.is_clean());
    bench.client(0, &whole[..4]);
    assert!(!bench.gate.is_clean(), "a part of a unit is held");
    bench.client(4, &whole[4..]);
    assert!(bench.gate.is_clean());
    bench.client(whole.len() + 3, &whole);
    assert!(!bench.gate.is_clean(), "a hole is open");
    let mut bench = fast([100, 0]);
    bench.client(0, &whole);
    assert_eq!(bench.gate.conflicts(), 0);
    let mut lie = whole.clone();
    lie[5] ^= 1;
    bench.client(0, &lie);
    assert_eq!(bench.gate.conflicts(), 1);
    assert!(!bench.gate.is_clean(), "two copies of a byte differ");
    assert!(spliced([100, 0]).gate.is_clean(), "nothing goes by the box");
}

#[test]
fn the_robot_stands_at_a_border_of_what_was_released() {
    let one = units(&[(ALLOW, 3)]);
    let stands = |bench: &Bench| bench.gate.robot_stands_at().collect::<Vec<_>>();
    let mut bench = fast([100, 0]);
    assert_eq!(stands(&bench), [100]);
    for n in 0..3 {
        bench.client(5 * n, &one);
    }
    assert_eq!(stands(&bench), [100, 105, 110, 115]);
    bench.robot(0, &[], 10);
    assert_eq!(stands(&bench), [110, 115]);
    // The latest eight are remembered.
    for n in 3..14 {
        bench.client(5 * n, &one);
    }
    assert_eq!(stands(&bench), [&[110][..], &(0..8).map(|n| 135 + 5 * n).collect::<Vec<_>>()].concat());
}

#[test]
fn the_robot_stands_where_the_box_sent_to() {
    let mut bench = spliced([100, 0]);
    bench.mss[0] = 1460;
    bench.client(0, &units(&[(ALLOW, 3)]));
    bench.client(5, &units(&[(ALLOW, 3)]));
    assert_eq!(bench.gate.robot_stands_at().collect::<Vec<_>>(), [100, 105, 110]);
    for n in 2..14 {
        bench.client(5 * n, &units(&[(ALLOW, 3)]));
    }
    let stands: Vec<_> = bench.gate.robot_stands_at().collect();
    assert_eq!((stands.len(), stands[0]), (1 + BOUNDARIES, 100));
    assert_eq!(*stands.last().unwrap(), bench.gate.robot_stands_at().max().unwrap());
}

#[test]
fn what_lies_beyond_holes_is_told_in_the_senders_numbers() {
    let mut stream = Stream::new(1_000);
    let mut store = vec![0; STORE];
    stream.insert(&mut store, 1_000, b"0123456789").unwrap();
    stream.insert(&mut store, 1_020, b"ab").unwrap();
    stream.insert(&mut store, 1_030, b"c").unwrap();
    assert_eq!(stream.ranges_ahead().collect::<Vec<_>>(), [(1_020, 1_022), (1_030, 1_031)]);
    assert_eq!((stream.shift(), stream.incoming(1_020)), (0, 1_020));
    stream.cut(&mut store, 4);
    assert_eq!(stream.shift(), 4);
    assert_eq!((stream.outgoing(1_020), stream.incoming(1_016)), (1_016, 1_020));
    assert_eq!(stream.ranges_ahead().collect::<Vec<_>>(), [(1_020, 1_022), (1_030, 1_031)], "as the sender sees them");
}

#[test]
fn a_client_is_told_of_what_arrived_beyond_a_hole() {
    let mut bench = spliced([100, 0]);
    let whole = units(&[(ALLOW, 9)]);
    bench.client(4, &whole[4..]);
    let told = bench.toy.wire.frames.iter().find(|frame| frame.toward == Toward::Plant).unwrap();
    assert_eq!((told.ack, &bench.toy.wire.sack[..]), (100, &[(104, 111)][..]));
    assert!(Sack::default().as_slice().is_empty());
}

#[test]
fn resets_are_exact_inside_the_window_or_outside() {
    let mut bench = spliced([100, 5_000]);
    bench.client(0, &units(&[(ALLOW, 3)]));
    let exactness = |at| bench.gate.judges_reset(Toward::Robot, at);
    assert_eq!(exactness(105), Exactness::Exact);
    assert_eq!([106, 1_000].map(exactness), [Exactness::InWindow; 2]);
    assert_eq!([104, 100, 100_u32.wrapping_add(80_000)].map(exactness), [Exactness::Outside; 3]);
}

#[test]
fn room_is_wanted_by_an_open_unit_that_fills_half_a_store() {
    let mut bench = spliced([100, 0]);
    let unit = units(&[(ALLOW, 9)]);
    assert!(!bench.gate.wants_room(0), "no unit is open");
    bench.client(0, &unit[..6]);
    assert!(bench.gate.wants_room(10) && bench.gate.wants_room(11));
    assert!(!bench.gate.wants_room(12) && !bench.gate.wants_room(1_000));
    bench.client(6, &unit[6..]);
    assert!(!bench.gate.wants_room(0));
    let mut bench = fast([100, 0]);
    bench.client(0, &unit[..6]);
    assert!(!bench.gate.is_spliced() && !bench.gate.wants_room(10), "in Fast the store has its size");
}

#[test]
fn it_is_closed_when_both_ends_have_closed() {
    let mut bench = spliced([100, 500]);
    assert!(!bench.gate.is_closed());
    bench.gate.client_reset(1);
    assert!(!bench.gate.is_closed(), "what it sent before still goes to the robot");
}

#[test]
fn replies_are_read_until_some_are_missed() {
    let mut bench = fast([100, 500]);
    assert!(bench.gate.reads_replies());
    bench.client(0, &units(&[(ALLOW, 3)]));
    bench.robot(0, &said(REPLY, 0), 5);
    assert!(bench.gate.reads_replies());
    let Bench { gate, stores, toy, .. } = &mut bench;
    assert!(gate.pass_reply(&mut stores[1], 500 + (STORE as u32) + 100, b"far beyond", toy), "it passes all the same");
    assert!(!gate.reads_replies());
}

#[test]
fn a_client_that_sends_in_crumbs_is_spliced() {
    let mut bench = fast([100, 500]);
    let stream = units(&[(ALLOW, 9); 3]);
    let mut crumbs = 0;
    for (place, byte) in stream.iter().enumerate() {
        assert_eq!(bench.gate.is_spliced(), crumbs >= CRUMBS, "at {place}");
        bench.client(place, &[*byte]);
        // The last byte of a unit leaves none unfinished.
        crumbs += u32::from(place % 11 != 10);
    }
    assert_eq!(bench.at_robot(), stream);
    // In pieces of eight bytes or more it may go on.
    let mut bench = fast([100, 500]);
    for n in 0..12 {
        bench.client(11 * n, &stream[..8]);
        bench.client(11 * n + 8, &stream[8..11]);
    }
    assert!(!bench.gate.is_spliced());
}

#[test]
fn what_is_not_in_the_store_can_not_be_spliced_and_nothing_else_is_forgotten() {
    let mut store = vec![0; STORE];
    let mut toy = Toy::new(1_000_000_000, true);
    // More than the store takes, not acknowledged.
    let mut gate = Gate::new(100, 7);
    gate.only_pass();
    assert!(gate.pass_reply(&mut store, 7, &vec![0; STORE + 1], &mut toy));
    assert!(!gate.can_splice() && !gate.reads_replies());
    assert!(gate.is(HALF_CLOSED) && gate.is(COPY_LOST));
    // Outside enforcement an acknowledgement tells of bytes that were missed, before others that were seen.
    let mut gate = Gate::new(100, 7);
    gate.only_pass();
    gate.pass_reply(&mut store, 57, &[1, NEWS, 0], &mut toy);
    assert_eq!(gate.acknowledge_reply(30, false), Ok(()));
    assert!(gate.is(COPY_LOST) && gate.is(REPLIES_LOST) && gate.is(HALF_CLOSED));
    // One that covers all that was seen: from here on the copy can be whole.
    assert_eq!(gate.acknowledge_reply(60, false), Ok(()));
    assert!(!gate.is(COPY_LOST) && gate.is(REPLIES_LOST) && gate.is(HALF_CLOSED));
}

#[test]
fn a_store_is_filled_to_its_last_byte_and_not_beyond() {
    let mut bench = fast([100, 0]);
    // The robot's window is wider than the store.
    bench.offer([65_535, 1 << 20]);
    let unit = units(&[(QUIET, 8)]);
    let mut place = 0;
    while place + 2 * unit.len() <= STORE {
        bench.client(place, &unit);
        place += unit.len();
    }
    let left = STORE - place;
    let last = units(&[(QUIET, (left / 2 - 2) as u8), (QUIET, (left - left / 2 - 2) as u8)]);
    assert_eq!(bench.client(place, &last).frames.first().map(|frame| frame.len), Some(last.len()), "to the last byte");
    assert_eq!(place + last.len(), STORE);
    // No window is as wide: who sends more without an acknowledgement ends the connection.
    bench.client(STORE, &unit);
    assert_eq!((bench.at_robot().len(), bench.ended), (STORE, Some(Ended::Refused(Action::Reset, Reason::StoreFull))));
}
