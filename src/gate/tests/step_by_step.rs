//! The gate asked step by step, with a judge that says what a test wants.

use super::bench::{Bench, Ended, Sent};
use super::examples::{fast, units};
use super::toy::*;
use super::*;

/// A judge that says the same of everything.
struct Saying {
    judgement: Judgement,
    reply: Reply,
}

const PARTIAL: Judgement = Judgement::Partial { patience_ns: 1_000_000_000 };

impl Saying {
    fn of(judgement: Judgement) -> Self {
        Self { judgement, reply: Reply::Partial }
    }

    fn replies(reply: Reply) -> Self {
        Self { judgement: PARTIAL, reply }
    }
}

impl Judge for Saying {
    fn judge(&mut self, _: &[u8]) -> Judgement {
        self.judgement
    }

    fn clamp(&mut self, _: &mut [u8]) {}

    fn reply(&mut self, _: &[u8]) -> Reply {
        self.reply
    }

    fn frames_replies(&self) -> bool {
        true
    }

    fn reads_replies(&self) -> bool {
        true
    }

    fn outstanding(&self) -> u32 {
        0
    }

    fn answer(&mut self, _: &[u8], _: Reason, _: &mut [u8]) -> Answer {
        Answer::Impossible
    }
}

/// A gate whose next command byte is 100 and next reply byte 7, with the store of its commands.
struct Alone {
    gate: Gate,
    store: Vec<u8>,
    releases: Releases,
}

impl Alone {
    fn new() -> Self {
        Self { gate: Gate::new(100, 7), store: vec![0; STORE], releases: Releases::default() }
    }

    fn accept(&mut self, seq: u32, payload: &[u8], enforce: bool, judge: &mut Saying) -> Outcome {
        let segment = Segment { seq, payload, edge: seq.wrapping_add(60_000), now_ns: 1 };
        self.releases.clear();
        self.gate.accept(&mut self.store, &segment, enforce, 1460, judge, &mut self.releases)
    }
}

#[test]
fn outside_enforcement_a_refused_unit_goes_on_and_the_next_one_is_read() {
    for judgement in [
        Judgement::Refuse { len: 4, action: Action::Refuse, reason: Reason::ValueNotAllowed },
        Judgement::Clamp { len: 4 },
    ] {
        let mut alone = Alone::new();
        let mut judge = Saying::of(judgement);
        assert_eq!(alone.accept(100, b"onesevensfour", false, &mut judge), Outcome::Forward);
        assert_eq!(alone.gate.commands().released(), 113);
        // Held before, as it was not in order.
        assert_eq!(alone.accept(117, b"late", false, &mut judge), Outcome::Replace);
        assert_eq!(alone.accept(113, b"soon", false, &mut judge), Outcome::Replace);
        assert_eq!(alone.gate.commands().released(), 121);
    }
}

#[test]
fn what_ends_the_connection_is_not_kept() {
    for action in [Action::Reset, Action::Drop] {
        let mut alone = Alone::new();
        let refuse = Judgement::Refuse { len: 4, action, reason: Reason::ValueNotAllowed };
        let ended = Outcome::Refuse { action, reason: Reason::ValueNotAllowed };
        assert_eq!(alone.accept(100, b"four", true, &mut Saying::of(refuse)), ended);
        assert_eq!((alone.gate.commands().accepted(), alone.gate.is_clean()), (100, true));
    }
    // Nor is what would be answered, where no answer can be put in.
    let mut alone = Alone::new();
    alone.gate.only_pass();
    let refuse = Judgement::Refuse { len: 4, action: Action::Refuse, reason: Reason::ValueNotAllowed };
    let ended = Outcome::Refuse { action: Action::Reset, reason: Reason::ValueNotAllowed };
    assert_eq!(alone.accept(100, b"four", true, &mut Saying::of(refuse)), ended);
    assert_eq!(alone.gate.commands().accepted(), 100);
    let mut bench = fast([100, 0]);
    bench.client(0, &units(&[(DROP, 3)]));
    assert!(matches!(bench.ended, Some(Ended::Refused(Action::Drop, _))), "{:?}", bench.ended);
}

#[test]
fn an_open_unit_is_spliced_where_it_is_longer_than_is_held() {
    for (len, outcome) in [(4096, Outcome::Replace), (4097, Outcome::Splice { sent: 100 })] {
        let mut alone = Alone::new();
        assert_eq!(alone.accept(100, &vec![b'x'; len], true, &mut Saying::of(PARTIAL)), outcome, "{len}");
    }
    // In two parts, the second of which is no crumb.
    let mut alone = Alone::new();
    assert_eq!(alone.accept(100, &[b'x'; 4000], true, &mut Saying::of(PARTIAL)), Outcome::Replace);
    assert_eq!(alone.accept(4100, &[b'x'; 96], true, &mut Saying::of(PARTIAL)), Outcome::Replace);
    assert_eq!(alone.accept(4196, &[b'x'; 8], true, &mut Saying::of(PARTIAL)), Outcome::Splice { sent: 100 });
}

#[test]
fn a_crumb_is_shorter_than_eight_bytes() {
    for (len, spliced) in [(7, true), (8, false)] {
        let mut alone = Alone::new();
        let outcomes: Vec<_> = (0..8)
            .map(|n| alone.accept(100 + n * len, &vec![1; len as usize], true, &mut Saying::of(PARTIAL)))
            .collect();
        assert_eq!(outcomes.contains(&Outcome::Splice { sent: 100 }), spliced, "{len}: {outcomes:?}");
    }
}

#[test]
fn beyond_a_hole_the_store_takes_up_to_its_last_byte() {
    let all = vec![3; STORE];
    let mut alone = Alone::new();
    let mut judge = Saying::of(Judgement::Allow { len: 1000 });
    assert_eq!(alone.accept(110, &all[10..], true, &mut judge), Outcome::Replace);
    let mut alone = Alone::new();
    assert_eq!(alone.accept(111, &all[10..], true, &mut judge), Outcome::Drop(Reason::BeyondWindow));
    // A ninth range beyond holes finds no room, and is asked for again.
    let mut alone = Alone::new();
    for n in 0..AHEAD as u32 {
        assert_eq!(alone.accept(110 + 10 * n, b"ab", true, &mut judge), Outcome::Replace);
    }
    assert_eq!(alone.accept(110 + 10 * AHEAD as u32, b"ab", true, &mut judge), Outcome::Drop(Reason::OutOfOrder));
}

#[test]
fn nothing_is_waited_for_any_more_once_that_was_given_up() {
    let mut alone = Alone::new();
    alone.gate.only_pass();
    assert_eq!(alone.accept(100, b"part", true, &mut Saying::of(PARTIAL)), Outcome::Replace);
    assert!(!alone.gate.pass_reply(&mut vec![0; STORE], 7, b"broken", &mut Saying::replies(Reply::Broken)));
    assert!(alone.gate.unit_due_ns().is_some() && alone.gate.due_ns().is_some());
    let before = alone.gate.flags;
    assert!(alone.gate.is(REPLIES_BROKEN));
    alone.gate.give_up_waiting();
    assert_eq!((alone.gate.unit_due_ns(), alone.gate.due_ns()), (None, None));
    assert_eq!(alone.gate.flags, before & !REPLIES_BROKEN, "nothing else is forgotten");
    assert_ne!(alone.gate.flags, 0);
}

#[test]
fn outside_enforcement_the_robot_says_what_it_has() {
    let mut alone = Alone::new();
    let mut judge = Saying::of(Judgement::Allow { len: 4 });
    alone.accept(100, b"four", false, &mut judge);
    assert!(!alone.gate.acknowledge_passive(102));
    assert_eq!((alone.gate.commands().base(), alone.gate.is_clean()), (102, true));
    // A part waits; the robot has more than was seen.
    alone.accept(104, b"part", false, &mut Saying::of(PARTIAL));
    assert!(alone.gate.unit_due_ns().is_some());
    assert!(!alone.gate.acknowledge_passive(106), "what it can't have yet counts up to what was let go");
    assert_eq!(alone.gate.commands().base(), 104);
    let before = alone.gate.flags;
    assert!(alone.gate.acknowledge_passive(200));
    assert_eq!((alone.gate.commands().accepted(), alone.gate.unit_due_ns(), alone.gate.due_ns()), (200, None, None));
    assert_eq!(alone.gate.flags, before | MISSED);
    assert!(!alone.gate.is_clean(), "bytes were missed");
    alone.gate.flags |= COPY_LOST;
    assert!(alone.gate.acknowledge_passive(300));
    assert!(alone.gate.is(COPY_LOST) && alone.gate.is(MISSED));
}

#[test]
fn replies_are_waited_for_up_to_sixteen_kibibytes_and_broken_ones_do_not_pass() {
    let mut store = vec![0; STORE];
    let mut alone = Alone::new();
    let mut judge = Saying::replies(Reply::Partial);
    for n in 0..4 {
        assert!(alone.gate.pass_reply(&mut store, 7 + 4096 * n, &[1; 4096], &mut judge));
        assert!(alone.gate.reads_replies(), "{n}");
    }
    assert!(alone.gate.pass_reply(&mut store, 7 + 4 * 4096, &[1], &mut judge), "it passes unread");
    assert!(!alone.gate.reads_replies());
    let mut alone = Alone::new();
    alone.gate.only_pass();
    let before = alone.gate.flags;
    assert!(alone.gate.pass_reply(&mut store, 7, b"whole", &mut Saying::replies(Reply::Whole { len: 5 })));
    assert!(!alone.gate.pass_reply(&mut store, 12, b"broken", &mut Saying::replies(Reply::Broken)));
    assert_eq!(alone.gate.flags, before | REPLIES_BROKEN | REPLIES_LOST);
    assert!(!alone.gate.pass_reply(&mut store, 18, b"more", &mut Saying::replies(Reply::Whole { len: 4 })));
}

#[test]
fn both_ends_of_a_spliced_connection_stand_where_they_were_told() {
    assert_eq!(fast([100, 500]).gate.spliced_numbers(), None);
    let mut bench: Bench = fast([100, 500]);
    bench.splice_from_the_start();
    bench.client(0, &units(&[(ALLOW, 3)]));
    let standing = Standing { plant_at: [500, 500], plant_received: 105, robot_received: 500 };
    assert_eq!(bench.gate.spliced_numbers(), Some(standing));
    bench.robot(0, &said(REPLY, 0), 5);
    let standing = bench.gate.spliced_numbers().unwrap();
    assert_eq!((standing.plant_at, standing.robot_received), ([500, 503], 503));
}

#[test]
fn a_full_store_leaves_in_pieces_of_the_smallest_segments_and_never_in_more() {
    let mut releases = Releases::default();
    releases.again(0, 1, 536);
    releases.fresh(1, STORE as u32, 536);
    assert_eq!(releases.iter().map(|(_, len)| len as usize).sum::<usize>(), STORE);
    releases.fresh(1, STORE as u32, 1);
    assert_eq!(releases.iter().count(), 124, "65,536 bytes are 122 segments of 536 bytes and a part, and one run more");
}

/// RTDE's refusal of 1,024 names is the longest answer.
#[test]
fn the_store_keeps_room_for_the_longest_answer() {
    assert_eq!(ANSWER, 3 + 1 + 1_024 * "NOT_FOUND,".len());
}

#[test]
fn a_connection_is_closed_when_both_ends_know_of_both_fins_and_lingers_for_a_second() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let fin = |toward, seq, ack| Sent { toward, seq, ack, window: 60_000, fin: true, payload: &[] };
    let ack = |toward, seq, ack| Sent { toward, seq, ack, window: 60_000, fin: false, payload: &[] };
    for sent in [fin(Toward::Robot, 100, 7), ack(Toward::Plant, 7, 101), fin(Toward::Plant, 7, 101)] {
        bench.take(&sent);
        assert!(!bench.gate.is_closed());
    }
    bench.take(&ack(Toward::Robot, 101, 8));
    assert!(bench.gate.is_closed());
    assert_eq!(bench.gate.due_ns(), Some(bench.now_ns + 1_000_000_000));
    assert_eq!(bench.ended, None);
}

#[test]
fn data_with_an_old_acknowledgement_tells_of_no_loss() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let reply = said(NEWS, 0);
    bench.robot(0, &reply, 0);
    assert_eq!(bench.at_client(), reply);
    for n in 0..4 {
        let unit = units(&[(QUIET, 3)]);
        bench.take(&Sent {
            toward: Toward::Robot,
            seq: 100 + 5 * n,
            ack: 7,
            window: 65_535,
            fin: false,
            payload: &unit,
        });
        let again = bench.toy.wire.frames.iter().filter(|frame| frame.toward == Toward::Plant && frame.len != 0);
        assert_eq!(again.count(), 0, "{n}");
    }
    for n in 0..3 {
        bench.take(&Sent { toward: Toward::Robot, seq: 120, ack: 7, window: 65_535, fin: false, payload: &[] });
        let again = bench.toy.wire.frames.iter().filter(|frame| frame.toward == Toward::Plant && frame.len != 0);
        assert_eq!(again.count(), usize::from(n == 2), "bare: {n}");
    }
}

#[test]
fn a_reset_inside_the_window_asks_its_sender_where_it_stands() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    bench.client(0, &units(&[(ALLOW, 3)]));
    bench.reset(Toward::Robot, 106);
    let told: Vec<_> =
        bench.toy.wire.frames.iter().map(|frame| (frame.toward, frame.seq, frame.ack, frame.len)).collect();
    assert_eq!(told, [(Toward::Plant, 7, 105, 0)]);
    assert_eq!(bench.ended, None);
}

#[test]
fn a_hole_is_known_until_it_is_filled_and_a_store_moves_where_it_fits() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let unit = units(&[(ALLOW, 9)]);
    assert!(!bench.gate.commands().has_hole());
    bench.client(4, &unit[4..]);
    assert!(bench.gate.commands().has_hole());
    let Bench { gate, stores, .. } = &mut bench;
    let mut other = vec![0; STORE];
    assert!(gate.move_commands_to(&stores[0], &mut other));
    stores[0] = other;
    assert!(!gate.move_commands_to(&stores[0], &mut [0; 4]), "too small for what is in it");
    bench.client(0, &unit[..4]);
    assert!(!bench.gate.commands().has_hole());
    assert_eq!(bench.at_robot(), unit);
}

#[test]
fn a_fin_in_the_middle_of_a_unit_ends_a_spliced_connection() {
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let unit = units(&[(ALLOW, 9)]);
    bench.take(&Sent { toward: Toward::Robot, seq: 100, ack: 7, window: 60_000, fin: true, payload: &unit[..5] });
    assert_eq!((bench.ended, bench.at_robot().len()), (Some(Ended::Refused(Action::Reset, Reason::FinInUnit)), 0));
}

#[test]
fn of_a_client_that_is_gone_what_was_whole_goes_on_and_nothing_else_is_waited_for() {
    // A part of a unit is forgotten.
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let stream = units(&[(ALLOW, 3), (ALLOW, 9)]);
    bench.client(0, &stream[..9]);
    bench.reset(Toward::Robot, 109);
    assert_eq!(bench.ended, None, "the robot has not acknowledged the first");
    bench.robot(0, &[], 5);
    assert_eq!((bench.ended, bench.at_robot()), (Some(Ended::Drained), &stream[..5]));
    // A refused one, whose answer has to wait for a reply, is cut out: nobody waits for the answer any more.
    let mut bench = fast([100, 7]);
    bench.splice_from_the_start();
    let stream = units(&[(ALLOW, 3), (REFUSE, 4), (ALLOW, 2)]);
    bench.client(0, &stream);
    assert_eq!(bench.at_robot(), &stream[..5]);
    bench.reset(Toward::Robot, 100 + stream.len() as u32);
    let allowed = [&stream[..5], &stream[11..]].concat();
    bench.robot(0, &[], allowed.len());
    assert_eq!((bench.ended, bench.at_robot()), (Some(Ended::Drained), &allowed[..]));
}
