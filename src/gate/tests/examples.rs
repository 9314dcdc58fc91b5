//! What the gate does in plain words, and properties of its parts.

use proptest::prelude::*;

use super::bench::{Bench, Ended, Sent};
use super::toy::*;
use super::*;

/// Units as verdict and length of the content.
pub(super) fn units(units: &[(u8, u8)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (verdict, n) in units {
        stream.extend([*n, *verdict]);
        stream.extend(1..=*n);
    }
    stream
}

/// A connection in Fast that begins at these numbers.
pub(super) fn fast(starts: [u32; 2]) -> Bench {
    Bench::new(starts, [STORE; 2], Toy::new(1_000_000_000, true))
}

impl Bench {
    /// The client sends this from `place` on, knows nothing of the robot's bytes and has a wide window.
    pub(super) fn client(&mut self, place: usize, payload: &[u8]) -> &Frames {
        let [seq, ack] = self.starts();
        let seq = seq.wrapping_add(place as u32);
        self.take(&Sent { toward: Toward::Robot, seq, ack, window: 60_000, fin: false, payload });
        &self.toy.wire
    }

    /// The robot sends this from `place` on, having got the bytes before `ack`.
    pub(super) fn robot(&mut self, place: usize, payload: &[u8], ack: usize) -> &Frames {
        let [start, seq] = self.starts();
        let (seq, ack) = (seq.wrapping_add(place as u32), start.wrapping_add(ack as u32));
        self.take(&Sent { toward: Toward::Plant, seq, ack, window: 60_000, fin: false, payload });
        &self.toy.wire
    }

    pub(super) fn at_robot(&self) -> &[u8] {
        self.seen[0].copies[0].in_order()
    }

    pub(super) fn at_client(&self) -> &[u8] {
        self.seen[1].copies[0].in_order()
    }
}

#[test]
fn a_whole_allowed_segment_passes_untouched() {
    let mut bench = fast([100, 0]);
    let stream = units(&[(ALLOW, 3), (QUIET, 2)]);
    let out = bench.client(0, &stream);
    assert_eq!((out.frames.len(), out.frames[0].len, out.frames[0].own), (1, stream.len(), false));
    assert!(bench.gate.is_clean());
}

#[test]
fn units_before_a_forbidden_one_leave_and_nothing_of_it() {
    let mut bench = fast([100, 0]);
    bench.client(0, &units(&[(ALLOW, 3), (RESET, 4), (ALLOW, 1)]));
    assert_eq!(bench.ended, Some(Ended::Refused(Action::Reset, Reason::NoRule)));
    assert_eq!(bench.at_robot(), units(&[(ALLOW, 3)]));
}

#[test]
fn a_split_unit_waits_and_leaves_whole() {
    let mut bench = fast([u32::MAX - 2, 0]);
    let stream = units(&[(ALLOW, 9)]);
    bench.client(0, &stream[..4]);
    assert_eq!(bench.gate.unit_due_ns(), Some(1_000_000_001));
    assert!(bench.at_robot().is_empty());
    bench.client(4, &stream[4..]);
    assert_eq!(bench.at_robot(), stream);
    assert_eq!(bench.gate.unit_due_ns(), None);
    assert!(!bench.gate.is_spliced());
}

#[test]
fn a_refused_unit_is_cut_out_and_answered_behind_the_earlier_reply() {
    let mut bench = fast([100, 7]);
    bench.client(0, &units(&[(ALLOW, 3), (REFUSE, 4), (ALLOW, 1)]));
    assert!(bench.gate.is_spliced());
    assert_eq!(bench.at_robot(), units(&[(ALLOW, 3)]), "what comes later waits until the answer is in its place");
    let reply = said(REPLY, 0);
    bench.robot(0, &reply, 5);
    assert_eq!(bench.at_client(), [reply, answer_to(0)].concat());
    assert_eq!(bench.at_robot(), units(&[(ALLOW, 3), (ALLOW, 1)]));
}

#[test]
fn a_second_lie_about_the_same_byte_ends_the_connection() {
    let mut bench = fast([7, 0]);
    let stream = units(&[(ALLOW, 9)]);
    bench.client(0, &stream);
    let mut lie = stream.clone();
    lie[5] ^= 1;
    bench.client(0, &lie);
    assert_eq!(bench.seen[0].copies[1].in_order(), stream, "served from the store, not from the lie");
    assert_eq!(bench.ended, None);
    bench.client(0, &lie);
    assert_eq!(bench.ended, Some(Ended::Refused(Action::Reset, Reason::RetransmissionConflict)));
}

#[test]
fn probes_and_old_bytes_are_no_data() {
    let mut bench = fast([1000, 0]);
    let stream = units(&[(ALLOW, 9)]);
    let end = stream.len();
    bench.client(0, &stream);
    bench.robot(0, &[], end);
    let probe = &bench.client(end - 1, &[0xff]).frames[0];
    assert_eq!((probe.toward, probe.seq, probe.len), (Toward::Robot, 1000 + end as u32 - 1, 0));
    let again = &bench.client(0, &stream).frames[0];
    assert_eq!((again.toward, again.ack, again.len), (Toward::Plant, 1000 + end as u32, 0));
    assert!(bench.robot(0, &[], end + 1).frames.is_empty(), "nothing is acknowledged that never left");
    assert!(bench.client(end + STORE, &stream).frames.is_empty(), "beyond every window");
}

#[test]
fn keepalives_in_the_middle_of_a_unit_are_asked_on_and_never_compared() {
    let mut bench = fast([1000, 7]);
    bench.splice_from_the_start();
    bench.client(0, &units(&[(ALLOW, 9)])[..5]);
    for _ in 0..3 {
        let asked = bench.client(4, &[0xff]).frames.iter().any(|frame| (frame.seq, frame.len) == (999, 0));
        assert!(asked, "the robot is asked whether it lives");
        let told = &bench.robot(0, &[], 0).frames[0];
        assert_eq!((told.toward, told.ack), (Toward::Plant, 1005));
    }
    assert_eq!(bench.ended, None);
}

#[test]
fn a_unit_that_never_ends_does_not_fill_more_than_the_store() {
    let mut bench = Bench::new([0, 0], [300, 300 + ANSWER], Toy::new(1_000_000_000, true));
    bench.splice_from_the_start();
    let stream = units(&[(ALLOW, 9); 60]);
    // Without an acknowledgement of the robot nothing is forgotten.
    for place in (0..600).step_by(20) {
        bench.client(place, &stream[place..place + 20]);
    }
    assert_eq!(bench.ended, None);
    assert_eq!(bench.gate.commands().accepted(), 300);
}

#[test]
fn a_second_lie_about_held_bytes_ends_a_spliced_connection() {
    let mut bench = fast([7, 0]);
    bench.splice_from_the_start();
    let stream = units(&[(ALLOW, 9)]);
    bench.client(0, &stream[..6]);
    let mut lie = stream.clone();
    lie[5] ^= 1;
    bench.client(5, &lie[5..8]);
    assert_eq!(bench.ended, None);
    bench.client(5, &lie[5..8]);
    assert_eq!(bench.ended, Some(Ended::Refused(Action::Reset, Reason::RetransmissionConflict)));
}

#[test]
fn bytes_beyond_a_hole_stay_as_they_first_came() {
    for spliced in [false, true] {
        let mut bench = fast([7, 0]);
        if spliced {
            bench.splice_from_the_start();
        }
        let stream = units(&[(QUIET, 9)]);
        let mut lie = stream.clone();
        lie[7] ^= 1;
        bench.client(5, &stream[5..9]);
        bench.toy.sent[0].note(5, &lie[5..]);
        bench.client(5, &lie[5..]);
        bench.client(0, &stream[..5]);
        assert_eq!(bench.at_robot(), stream);
    }
}

#[test]
fn a_unit_that_never_ends_ends_the_connection_in_its_time() {
    for spliced in [false, true] {
        let mut bench = fast([7, 0]);
        if spliced {
            bench.splice_from_the_start();
        }
        bench.client(0, &units(&[(ALLOW, 9)])[..6]);
        for _ in 0..50 {
            bench.time(bench.gate.due_ns().unwrap());
            if bench.ended.is_some() {
                break;
            }
        }
        assert_eq!(bench.ended, Some(Ended::Refused(Action::Reset, Reason::UnitTimeout)));
        assert_eq!(bench.now_ns, 1_000_000_001);
    }
}

#[test]
fn an_answer_without_a_place_ends_the_connection_in_ten_seconds() {
    let mut bench = fast([7, 0]);
    bench.client(0, &units(&[(ALLOW, 3), (REFUSE, 3)]));
    while bench.ended.is_none() {
        bench.robot(0, &[], 5);
        bench.time(bench.gate.due_ns().unwrap());
    }
    assert_eq!(bench.ended, Some(Ended::Refused(Action::Reset, Reason::AnswerTimeout)));
    assert_eq!(bench.now_ns, 10_000_000_001);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The million cases of `cases` have a seed and no shrinking; these few have both.
    #[test]
    fn any_cut_and_order_with_repetition_releases_the_same(
        start in prop_oneof![any::<u32>(), Just(u32::MAX - 30)],
        spliced in any::<bool>(),
        verdicts in prop::collection::vec((prop::sample::select(&[ALLOW, QUIET, CLAMP, SILENT, RESET]), 1_u8..=9), 1..40),
        cuts in prop::collection::vec(1_usize..50, 1..60),
        order in prop::collection::vec(any::<u16>(), 60),
    ) {
        let stream = units(&verdicts);
        let reference = Reference::of(&stream);
        let mut pieces = Vec::new();
        let mut from = 0;
        for len in cuts.iter().cycle() {
            if from >= stream.len() { break; }
            let to = (from + len).min(stream.len());
            pieces.push((from, to));
            from = to;
        }
        let mut shuffled: Vec<_> = pieces.iter().copied().zip(order.iter().cycle().copied()).collect();
        shuffled.sort_by_key(|(_, key)| *key);
        let mut bench = fast([start, 0]);
        if spliced {
            bench.splice_from_the_start();
        }
        for ((from, to), _) in &shuffled {
            bench.client(*from, &stream[*from..*to]);
        }
        // The sender repeats everything, as after a timeout (I6).
        for (from, to) in &pieces {
            bench.client(*from, &stream[*from..*to]);
        }
        prop_assert_eq!(bench.at_robot(), &reference.released[..]);
        prop_assert_eq!(bench.ended.is_some(), reference.ends_at.is_some());
    }

    #[test]
    fn the_stream_keeps_first_copies_like_smoltcps_assembler(
        pieces in prop::collection::vec((0_usize..400, 1_usize..60), 1..40),
    ) {
        let mut stream = Stream::new(0);
        let mut store = vec![0; STORE];
        let mut assembler = smoltcp::storage::Assembler::new();
        for (at, len) in pieces {
            let payload: Vec<u8> = (at..at + len).map(|at| at as u8).collect();
            if stream.insert(&mut store, at as u32, &payload).is_err() {
                continue;
            }
            let front = stream.accepted() as usize;
            // The assembler counts from its front and forgets what came before; the whole history is given anew.
            let _ = assembler.add(at, len);
            let contiguous = assembler.peek_front();
            prop_assert_eq!(front, contiguous);
            prop_assert_eq!(stream.held(&store), (0..front).map(|at| at as u8).collect::<Vec<_>>());
        }
    }
}
