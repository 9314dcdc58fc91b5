//! The gate against an adversarial sender and two model robots.
//!
//! The toy protocol: a unit is a length byte `n` (1 to 9), a verdict byte (`a` allowed, `f` forbidden) and `n` bytes of
//! content. The robots re-frame what reaches them by themselves and share nothing with the gate.

#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use proptest::prelude::*;

use super::*;

/// Judges the toy protocol.
struct Toy;

impl Judge for Toy {
    fn judge(&mut self, bytes: &[u8]) -> Judgement {
        let n = usize::from(bytes[0]);
        if !(1..=9).contains(&n) {
            return Judgement::Broken { reason: Reason::Malformed };
        }
        if bytes.len() < n + 2 {
            return Judgement::Partial { patience_ns: 1_000 };
        }
        match bytes[1] {
            b'a' => Judgement::Allow { len: n + 2 },
            _ => Judgement::Refuse { len: n + 2, action: Action::Reset, reason: Reason::NoRule },
        }
    }

    fn clamp(&mut self, _: &mut [u8]) {}

    fn reply(&mut self, _: &[u8]) -> Reply {
        Reply::Unreadable
    }

    fn frames_replies(&self) -> bool {
        false
    }

    fn outstanding(&self) -> u32 {
        0
    }

    fn answer(&mut self, _: &[u8], _: Reason, _: &mut [u8]) -> Answer {
        Answer::Impossible
    }
}

/// A receiver that takes bytes at sequence numbers and reads units from the first byte on.
struct Robot {
    start: u32,
    bytes: Vec<Option<u8>>,
    last_copy_wins: bool,
}

impl Robot {
    fn new(start: u32, last_copy_wins: bool) -> Self {
        Self { start, bytes: Vec::new(), last_copy_wins }
    }

    fn take(&mut self, seq: u32, payload: &[u8]) {
        for (at, byte) in payload.iter().enumerate() {
            let place = seq.wrapping_sub(self.start) as usize + at;
            assert!(place < 1 << 20, "a byte far outside the stream left the gate");
            if self.bytes.len() <= place {
                self.bytes.resize(place + 1, None);
            }
            if self.bytes[place].is_none() || self.last_copy_wins {
                self.bytes[place] = Some(*byte);
            }
        }
    }

    fn in_order(&self) -> Vec<u8> {
        self.bytes.iter().map_while(|byte| *byte).collect()
    }

    /// Units executed; an unfinished one at the end executes too: the worst case.
    fn verdicts(&self) -> Vec<u8> {
        let mut rest = &self.in_order()[..];
        let mut verdicts = Vec::new();
        while rest.len() >= 2 {
            verdicts.push(rest[1]);
            rest = &rest[rest.len().min(usize::from(rest[0]) + 2)..];
        }
        verdicts
    }
}

/// A gate with its store, and everything that left it.
struct Bench {
    gate: Gate,
    store: Vec<u8>,
    robots: [Robot; 2],
    emitted: Vec<(u32, Vec<u8>)>,
    refused: Option<Reason>,
    start: u32,
}

impl Bench {
    fn new(start: u32) -> Self {
        Self {
            gate: Gate::new(start, 0),
            store: vec![0xee; STORE],
            robots: [Robot::new(start, false), Robot::new(start, true)],
            emitted: Vec::new(),
            refused: None,
            start,
        }
    }

    fn emit(&mut self, seq: u32, payload: &[u8]) {
        self.emitted.push((seq, payload.to_vec()));
        self.robots.iter_mut().for_each(|robot| robot.take(seq, payload));
    }

    fn segment(&mut self, seq: u32, payload: &[u8]) -> Outcome {
        if self.refused.is_some() || payload.is_empty() {
            return Outcome::Drop(Reason::ConnectionEnded);
        }
        let mut releases = Releases::default();
        let segment = Segment { seq, payload, now_ns: 1 };
        let outcome = self.gate.accept(&mut self.store, &segment, true, 1460, &mut Toy, &mut releases);
        if outcome == Outcome::Forward {
            self.emit(seq, payload);
        }
        let pieces: Vec<_> = releases.iter().collect();
        for (at, len) in pieces {
            let bytes = self.gate.commands().bytes(&self.store, at, at.wrapping_add(len)).to_vec();
            assert_eq!(bytes.len(), len as usize, "a released piece is not in the store");
            self.emit(at, &bytes);
        }
        if let Outcome::Refuse { reason, .. } = outcome {
            self.refused = Some(reason);
        }
        outcome
    }

    fn check(&self) {
        for robot in &self.robots {
            let verdicts = robot.verdicts();
            assert!(verdicts.iter().all(|verdict| *verdict == b'a'), "I1: a forbidden unit reached a robot");
        }
        assert_eq!(self.robots[0].in_order(), self.robots[1].in_order(), "I5: two copies of a byte differ");
        let released = self.gate.commands().released().wrapping_sub(self.start) as usize;
        assert!(self.robots[0].bytes.len() <= released, "a byte beyond the released ones left");
    }
}

/// Units as (content length, allowed).
fn stream_of(units: &[(u8, bool)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (at, (n, allowed)) in units.iter().enumerate() {
        stream.push(*n);
        stream.push(if *allowed { b'a' } else { b'f' });
        // Content that would read as a forbidden unit, were it taken for the start of one.
        stream.extend((0..*n).map(|i| if i % 2 == 0 { 1 + (at as u8 % 9) } else { b'f' }));
    }
    stream
}

fn units() -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((1_u8..=9, prop::bool::weighted(0.97)), 1..40)
}

/// What the sender does next.
#[derive(Clone, Debug)]
enum Step {
    /// Sends `len` bytes from where it stands plus `shift`.
    Send { shift: i16, len: u8 },
    /// The same, with one byte changed: two contents for one sequence number.
    Lie { shift: i16, len: u8, at: u8, value: u8 },
    /// The robot acknowledges up to this share of what was released.
    Acknowledge { share: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (-3_i16..=3, 1_u8..60).prop_map(|(shift, len)| Step::Send { shift: shift * 4, len }),
        3 => (0_i16..1, 1_u8..60).prop_map(|(shift, len)| Step::Send { shift, len }),
        2 => (-40_i16..=40, 1_u8..60, 0_u8..60, any::<u8>())
            .prop_map(|(shift, len, at, value)| Step::Lie { shift, len, at, value }),
        2 => any::<u8>().prop_map(|share| Step::Acknowledge { share }),
    ]
}

fn run(start: u32, units: &[(u8, bool)], steps: &[Step]) -> Bench {
    let stream = stream_of(units);
    let mut bench = Bench::new(start);
    let piece = |from: i64, len: u8| -> Option<(u32, Vec<u8>)> {
        let from = from.clamp(0, stream.len() as i64) as usize;
        let to = (from + usize::from(len)).min(stream.len());
        (from < to).then(|| (start.wrapping_add(from as u32), stream[from..to].to_vec()))
    };
    for step in steps {
        let stands = i64::from(bench.gate.commands().accepted().wrapping_sub(start));
        match step {
            Step::Send { shift, len } => {
                if let Some((seq, payload)) = piece(stands + i64::from(*shift), *len) {
                    bench.segment(seq, &payload);
                }
            }
            Step::Lie { shift, len, at, value } => {
                if let Some((seq, mut payload)) = piece(stands + i64::from(*shift), *len) {
                    let at = usize::from(*at) % payload.len();
                    payload[at] = *value;
                    bench.segment(seq, &payload);
                }
            }
            Step::Acknowledge { share } => {
                let stream = bench.gate.commands();
                let open = stream.released().wrapping_sub(stream.base());
                let ack = stream.base().wrapping_add(open * u32::from(*share) / 255);
                bench.gate.acknowledge(ack).unwrap();
            }
        }
        bench.check();
    }
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn no_forbidden_unit_leaves_whatever_the_sender_does(
        start in prop_oneof![any::<u32>(), Just(u32::MAX - 30)],
        units in units(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        run(start, &units, &steps);
    }

    #[test]
    fn any_cut_and_order_with_repetition_releases_the_same(
        start in prop_oneof![any::<u32>(), Just(u32::MAX - 30)],
        units in units(),
        cuts in prop::collection::vec(1_usize..50, 1..60),
        order in prop::collection::vec(any::<u16>(), 60),
    ) {
        let stream = stream_of(&units);
        // In one piece after another, in order: the reference.
        let allowed: usize = units.iter().take_while(|(_, allowed)| *allowed).map(|(n, _)| usize::from(*n) + 2).sum();
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
        let mut bench = Bench::new(start);
        for ((from, to), _) in &shuffled {
            bench.segment(start.wrapping_add(*from as u32), &stream[*from..*to]);
            bench.check();
        }
        // The sender repeats everything, as after a timeout (I6).
        for (from, to) in &pieces {
            bench.segment(start.wrapping_add(*from as u32), &stream[*from..*to]);
            bench.check();
        }
        prop_assert_eq!(bench.robots[0].in_order(), &stream[..allowed]);
        prop_assert_eq!(bench.refused.is_some(), allowed < stream.len());
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

#[test]
fn a_whole_allowed_segment_is_forwarded_untouched() {
    let mut bench = Bench::new(100);
    assert_eq!(bench.segment(100, &stream_of(&[(3, true), (2, true)])), Outcome::Forward);
    assert!(bench.gate.is_clean());
}

#[test]
fn units_before_a_forbidden_one_leave_and_nothing_of_it() {
    let mut bench = Bench::new(100);
    let outcome = bench.segment(100, &stream_of(&[(3, true), (4, false), (1, true)]));
    assert_eq!(outcome, Outcome::Refuse { action: Action::Reset, reason: Reason::NoRule });
    assert_eq!(bench.robots[0].in_order(), stream_of(&[(3, true)]));
}

#[test]
fn a_split_unit_waits_and_leaves_whole() {
    let mut bench = Bench::new(u32::MAX - 2);
    let stream = stream_of(&[(9, true)]);
    let start = bench.start;
    assert_eq!(bench.segment(start, &stream[..4]), Outcome::Replace);
    assert_eq!(bench.gate.unit_due_ns(), Some(1_001));
    assert!(bench.robots[0].in_order().is_empty());
    assert_eq!(bench.segment(start.wrapping_add(4), &stream[4..]), Outcome::Replace);
    assert_eq!(bench.robots[0].in_order(), stream);
    assert_eq!(bench.gate.unit_due_ns(), None);
}

#[test]
fn a_second_lie_about_the_same_byte_ends_the_connection() {
    let mut bench = Bench::new(7);
    let stream = stream_of(&[(9, true)]);
    bench.segment(7, &stream);
    let mut lie = stream.clone();
    lie[5] ^= 1;
    assert_eq!(bench.segment(7, &lie), Outcome::Replace);
    assert_eq!(bench.robots[1].in_order(), stream, "served from the store, not from the lie");
    let refused = Outcome::Refuse { action: Action::Reset, reason: Reason::RetransmissionConflict };
    assert_eq!(bench.segment(7, &lie), refused);
}

#[test]
fn probes_and_old_bytes_are_no_data() {
    let mut bench = Bench::new(1000);
    let stream = stream_of(&[(9, true)]);
    bench.segment(1000, &stream);
    let end = 1000 + stream.len() as u32;
    bench.gate.acknowledge(end).unwrap();
    assert_eq!(bench.segment(end - 1, &[0xff]), Outcome::Probe);
    assert_eq!(bench.segment(1000, &stream), Outcome::Repeated);
    assert_eq!(bench.gate.acknowledge(end + 1), Err(Reason::BadFlags));
    assert_eq!(bench.segment(end + STORE as u32, &stream), Outcome::Drop(Reason::BeyondWindow));
}

#[test]
fn more_held_bytes_than_the_store_takes_end_the_connection() {
    struct Never;
    impl Judge for Never {
        fn judge(&mut self, _: &[u8]) -> Judgement {
            Judgement::Partial { patience_ns: 1 }
        }

        fn clamp(&mut self, _: &mut [u8]) {}

        fn reply(&mut self, _: &[u8]) -> Reply {
            Reply::Partial
        }

        fn frames_replies(&self) -> bool {
            false
        }

        fn outstanding(&self) -> u32 {
            0
        }

        fn answer(&mut self, _: &[u8], _: Reason, _: &mut [u8]) -> Answer {
            Answer::Silent
        }
    }
    let mut gate = Gate::new(0, 0);
    let mut store = vec![0; STORE];
    let mut releases = Releases::default();
    let payload = [7; 1460];
    let mut seq = 0_u32;
    let outcome = loop {
        let segment = Segment { seq, payload: &payload, now_ns: 1 };
        match gate.accept(&mut store, &segment, true, 1460, &mut Never, &mut releases) {
            Outcome::Replace => seq += 1460,
            other => break other,
        }
    };
    assert!(matches!(outcome, Outcome::Drop(Reason::BeyondWindow)), "{outcome:?}");
    assert!(seq as usize + 1460 > STORE);
}
