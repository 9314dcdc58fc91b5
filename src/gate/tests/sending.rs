//! The box's own sender, against the formulas of the RFCs that it follows.

use super::super::sender::{Acknowledged, Due, Sender};
use super::*;

const MS: u64 = 1_000_000;
const MSS: u32 = 100;
const START: u32 = u32::MAX - 250;

/// A sender with a stream of bytes to send.
struct Sending {
    sender: Sender,
    stream: Stream,
    store: Vec<u8>,
}

impl Sending {
    fn new() -> Self {
        Self {
            sender: Sender::new(START, START, START.wrapping_add(60_000), MSS, 0),
            stream: Stream::new(START),
            store: vec![0; STORE],
        }
    }

    /// Lets this many bytes more go.
    fn offer(&mut self, len: usize) {
        let at = self.stream.accepted();
        self.stream.insert(&mut self.store, at, &vec![7; len]).unwrap();
        self.stream.release(len);
    }

    /// What is sent now: places counted from the first byte, and lengths.
    fn send(&mut self, now_ns: u64) -> Vec<(u32, u32)> {
        let mut sent = Vec::new();
        self.sender.send(&self.stream, now_ns, |at, len, _| sent.push((at.wrapping_sub(START), len)));
        sent
    }

    /// The peer acknowledges the bytes before this place.
    fn acknowledge(&mut self, place: u32, now_ns: u64) -> Acknowledged {
        let ack = START.wrapping_add(place);
        let edge = START.wrapping_add(60_000);
        let what = self.sender.acknowledge(&self.stream, ack, edge, true, now_ns);
        self.stream.acknowledge(seq::min(ack, self.stream.released()));
        what
    }

    /// After which time the sender looks again for an answer to what it sends at `now_ns`.
    fn timeout(&mut self, now_ns: u64) -> u64 {
        self.offer(10);
        assert_eq!(self.send(now_ns).len(), 1);
        self.sender.due_ns().unwrap() - now_ns
    }
}

/// RFC 6298, section 2.
#[test]
fn time_outs_follow_the_round_trips() {
    let mut own = Sending::new();
    assert_eq!(own.timeout(1_000 * MS), 200 * MS, "before anything was measured");
    assert_eq!(own.acknowledge(10, 1_400 * MS), Acknowledged::New);
    assert_eq!(own.sender.due_ns(), None, "nothing is outstanding");
    // 400 + 4 * 200
    assert_eq!(own.timeout(2_000 * MS), 1_200 * MS);
    own.acknowledge(20, 2_800 * MS);
    // Smoothed 7/8 * 400 + 1/8 * 800 = 450; variation 3/4 * 200 + 1/4 * 400 = 250.
    assert_eq!(own.timeout(3_000 * MS), 1_450 * MS);
    own.acknowledge(30, 3_008 * MS);
    // Smoothed 394.75; variation 3/4 * 250 + 1/4 * 442 = 298: a round trip that differs widens it either way.
    assert_eq!(own.timeout(4_000 * MS), 394_750_000 + 4 * 298_000_000);
}

#[test]
fn time_outs_have_a_least_and_a_greatest() {
    let mut own = Sending::new();
    for round in 1..=40 {
        own.timeout(round * 1_000 * MS);
        own.acknowledge(u32::try_from(round).unwrap() * 10, round * 1_000 * MS + MS / 10);
    }
    assert_eq!(own.timeout(50_000 * MS), 200 * MS);
    let mut waits = Vec::new();
    let mut now_ns = 50_000 * MS;
    for _ in 0..6 {
        let due_ns = own.sender.due_ns().unwrap();
        assert_eq!(own.sender.poll(&own.stream, due_ns - 1), Due::Nothing);
        assert_eq!(own.sender.poll(&own.stream, due_ns), Due::Resend);
        assert_eq!(own.send(due_ns), [(400, 10)], "the same again");
        waits.push((due_ns - now_ns) / MS);
        now_ns = due_ns;
    }
    assert_eq!(waits, [200, 400, 800, 1_600, 3_000, 3_000]);
    // Karn: what was sent again measures nothing.
    own.acknowledge(410, now_ns + 5 * MS);
    assert_eq!(own.timeout(now_ns + 10 * MS), 3_000 * MS);
}

/// RFC 5681, section 3.1; RFC 6928.
#[test]
fn ten_segments_go_at_first_and_one_more_for_each_acknowledged() {
    let mut own = Sending::new();
    own.offer(5_000);
    let first: Vec<_> = (0..10).map(|n| (n * MSS, MSS)).collect();
    assert_eq!(own.send(MS), first);
    own.acknowledge(100, 2 * MS);
    assert_eq!(own.send(2 * MS), [(1_000, 100), (1_100, 100)]);
    // At most two segments more, whatever one acknowledgement covers.
    own.acknowledge(600, 3 * MS);
    assert_eq!(own.send(3 * MS).iter().map(|(_, len)| len).sum::<u32>(), 500 + 200);
}

/// RFC 6582 and 5681, section 3.2.
#[test]
fn three_repeated_acknowledgements_halve_what_is_under_way() {
    let mut own = Sending::new();
    own.offer(6_000);
    assert_eq!(own.send(MS).len(), 10);
    for _ in 0..2 {
        assert_eq!(own.acknowledge(0, 2 * MS), Acknowledged::Same);
        assert_eq!(own.send(2 * MS), []);
    }
    own.acknowledge(0, 2 * MS);
    assert_eq!(own.send(2 * MS), [(0, 100)], "the lost one, and nothing new: 500 + 3 * 100 is below what is out");
    // Each further one tells that one more segment has arrived.
    own.acknowledge(0, 2 * MS);
    own.acknowledge(0, 2 * MS);
    assert_eq!(own.send(2 * MS), []);
    own.acknowledge(0, 2 * MS);
    assert_eq!(own.send(2 * MS), [(1_000, 100)]);
    // All that was out when the loss was seen: from here on half of it.
    own.acknowledge(1_000, 3 * MS);
    assert_eq!(own.send(3 * MS).iter().map(|(_, len)| len).sum::<u32>(), 400);
    // No longer doubled in a round trip: 100 * 100 / 500 more.
    own.acknowledge(1_500, 4 * MS);
    assert_eq!(own.send(4 * MS).iter().map(|(_, len)| len).sum::<u32>(), 520);
}

#[test]
fn a_part_of_what_was_out_tells_of_the_next_loss() {
    let mut own = Sending::new();
    own.offer(1_000);
    own.send(MS);
    for _ in 0..3 {
        own.acknowledge(0, 2 * MS);
    }
    assert_eq!(own.send(2 * MS), [(0, 100)]);
    own.acknowledge(300, 3 * MS);
    assert_eq!(own.send(3 * MS), [(300, 100)]);
    own.acknowledge(1_000, 4 * MS);
    assert_eq!((own.send(4 * MS), own.sender.due_ns()), (vec![], None));
}

#[test]
fn it_says_whether_more_can_go_and_whether_all_arrived() {
    let mut own = Sending::new();
    assert!(own.sender.is_idle(&own.stream) && own.sender.is_ready(&own.stream));
    own.offer(2_000);
    assert!(!own.sender.is_idle(&own.stream) && !own.sender.is_ready(&own.stream), "the first window is 1,000");
    own.send(MS);
    own.acknowledge(1_000, 2 * MS);
    own.send(2 * MS);
    assert!(own.sender.is_ready(&own.stream), "all is out, and there is room");
    own.acknowledge(2_000, 3 * MS);
    assert!(own.sender.is_idle(&own.stream));
}

#[test]
fn acknowledgements_that_nobody_can_have_sent_are_told_apart() {
    let mut own = Sending::new();
    own.offer(300);
    own.send(MS);
    assert_eq!(own.acknowledge(301, 2 * MS), Acknowledged::NeverSent);
    assert_eq!(own.acknowledge(200, 2 * MS), Acknowledged::New);
    assert_eq!(own.acknowledge(100, 2 * MS), Acknowledged::Old);
    let far = 200_u32.wrapping_sub(1 << 20);
    assert_eq!(own.acknowledge(far, 2 * MS), Acknowledged::Old);
    assert_eq!(own.acknowledge(far.wrapping_sub(1), 2 * MS), Acknowledged::NeverSent);
}

#[test]
fn a_peer_is_gone_after_more_than_thirty_seconds_of_silence() {
    let mut own = Sending::new();
    own.offer(10);
    own.send(1_000 * MS);
    let mut last_ns = 0;
    loop {
        let due_ns = own.sender.due_ns().unwrap();
        match own.sender.poll(&own.stream, due_ns) {
            Due::Resend => assert_eq!(own.send(due_ns), [(0, 10)]),
            what => {
                assert_eq!(what, Due::Gone);
                assert!(due_ns > 31_000 * MS && last_ns <= 31_000 * MS, "{due_ns}");
                break;
            }
        }
        last_ns = due_ns;
    }
    // Exactly thirty seconds are none too many.
    let mut own = Sending::new();
    own.offer(10);
    own.send(1_000 * MS);
    assert_eq!(own.sender.poll(&own.stream, 31_000 * MS), Due::Resend);
    let mut own = Sending::new();
    own.offer(10);
    own.send(1_000 * MS);
    assert_eq!(own.sender.poll(&own.stream, 31_000 * MS + 1), Due::Gone);
}

#[test]
fn silence_counts_from_the_first_byte_that_waits_for_an_answer() {
    let mut own = Sending::new();
    own.offer(10);
    own.send(MS);
    own.acknowledge(10, 2 * MS);
    // An hour later, and again while that is under way.
    own.offer(10);
    own.send(3_600_000 * MS);
    own.offer(10);
    own.send(3_620_000 * MS);
    assert_eq!(own.sender.poll(&own.stream, 3_630_000 * MS), Due::Resend);
    let mut own = Sending::new();
    own.offer(10);
    own.send(1_000 * MS);
    own.offer(10);
    own.send(21_000 * MS);
    assert_eq!(own.sender.poll(&own.stream, 31_001 * MS), Due::Gone);
}

/// What is sent into a window that opened has a clock of its own, whatever the clock of the question whether it is open.
#[test]
fn what_follows_a_probe_has_its_own_time_out() {
    let mut own = Sending::new();
    let shut = Sending::new().sender.next();
    own.offer(10);
    assert_eq!(own.sender.acknowledge(&own.stream, START, shut, true, 0), Acknowledged::Same);
    assert_eq!(own.send(0), []);
    let mut due = own.sender.due_ns().unwrap();
    // Each question is asked after twice the time.
    for _ in 0..3 {
        assert_eq!(own.sender.poll(&own.stream, due), Due::Probe);
        let next = own.sender.due_ns().unwrap();
        assert!(next > due);
        due = next;
    }
    let opened = due - MS;
    own.acknowledge(0, opened);
    assert_eq!(own.send(opened), [(0, 10)]);
    assert!(own.sender.due_ns().unwrap() >= opened + 200 * MS, "not the clock of the last question");
}

#[test]
fn only_bare_acknowledgements_of_the_same_window_tell_of_a_loss() {
    let edge = START.wrapping_add(60_000);
    for (pure, step, sent_again) in [(true, 0, true), (false, 0, false), (true, 1, false)] {
        let mut own = Sending::new();
        own.offer(500);
        assert_eq!(own.send(MS).len(), 5);
        for n in 0..3 {
            own.sender.acknowledge(&own.stream, START, edge + step * (n + 1), pure, 2 * MS);
        }
        let wanted = if sent_again { vec![(0, MSS)] } else { Vec::new() };
        assert_eq!(own.send(2 * MS), wanted, "{pure} {step}");
    }
    // Nothing is under way that could be lost.
    let mut own = Sending::new();
    for _ in 0..3 {
        assert_eq!(own.acknowledge(0, MS), Acknowledged::Same);
    }
    own.offer(100);
    assert_eq!(own.send(2 * MS), [(0, 100)]);
    assert_eq!(own.send(2 * MS), []);
}

/// RFC 6582, section 3.2, step 1: what a time-out sent again is no second loss.
#[test]
fn after_a_time_out_repeated_acknowledgements_below_what_was_sent_tell_nothing() {
    let mut own = Sending::new();
    own.offer(1_000);
    assert_eq!(own.send(MS).len(), 10);
    let due_ns = own.sender.due_ns().unwrap();
    assert_eq!(own.sender.poll(&own.stream, due_ns), Due::Resend);
    assert_eq!(own.send(due_ns), [(0, 100)]);
    own.acknowledge(100, due_ns + MS);
    own.send(due_ns + MS);
    for _ in 0..3 {
        assert_eq!(own.acknowledge(100, due_ns + 2 * MS), Acknowledged::Same);
    }
    assert_eq!(own.send(due_ns + 2 * MS), []);
}

#[test]
fn what_went_to_the_peer_before_may_be_acknowledged() {
    let mut own = Sending::new();
    assert_eq!(own.acknowledge(50, MS), Acknowledged::NeverSent);
    own.sender.passed(START.wrapping_add(50));
    assert_eq!(own.sender.high(), START.wrapping_add(50));
    own.sender.passed(START.wrapping_add(20));
    assert_eq!(own.acknowledge(51, MS), Acknowledged::NeverSent);
    assert_eq!(own.acknowledge(50, MS), Acknowledged::New);
}

#[test]
fn it_is_ready_for_more_than_was_let_go_while_its_window_has_room() {
    let mut own = Sending::new();
    own.offer(999);
    assert!(own.sender.is_ready(&own.stream));
    own.offer(1);
    assert!(!own.sender.is_ready(&own.stream), "ten segments at first");
}

#[test]
fn a_shut_window_is_asked_about_only_while_something_waits_for_it() {
    let mut own = Sending::new();
    own.sender.acknowledge(&own.stream, START, START, true, MS);
    own.sender.keep_asking(true);
    assert_eq!(own.send(MS), []);
    let due_ns = own.sender.due_ns().unwrap();
    assert_eq!(own.sender.poll(&own.stream, due_ns), Due::Probe);
    own.sender.keep_asking(false);
    let due_ns = own.sender.due_ns().unwrap();
    assert_eq!(own.sender.poll(&own.stream, due_ns), Due::Nothing);
    assert_eq!(own.sender.due_ns(), None);
}
