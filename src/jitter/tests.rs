//! Streams in virtual time with delays put in at known places.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use link::Endpoint;
use proptest::prelude::*;
use zerocopy::FromZeros;

use super::*;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const BEGAN: u64 = 1_700_000_000_000_000_000;

fn key(port: u16) -> FlowKey {
    let end = |last, port| Endpoint::new([10, 0, 0, last].into(), port);
    FlowKey::new(end(2, port), end(1, 30004), 6, 4)
}

fn flow(port: u16) -> Flow {
    let mut flow = Flow::new_zeroed();
    flow.key = key(port);
    flow.set_state(State::Established);
    flow.wall_ns = [BEGAN, BEGAN];
    flow
}

/// Seeded numbers (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// One conversation that is told to the measurement frame by frame.
struct Wire {
    jitter: Jitter,
    flow: Flow,
    id: FlowId,
    told: Vec<Late>,
    silences: Vec<Silence>,
    alarm_ns: u64,
}

impl Wire {
    fn new(stamps: bool) -> Self {
        let mut flow = flow(40_000);
        if stamps {
            flow.ends.iter_mut().for_each(|end| end.flags |= End::TIMESTAMPS);
        }
        Self { jitter: Jitter::new(), flow, id: FlowId(7), told: Vec::new(), silences: Vec::new(), alarm_ns: ALARM_NS }
    }

    /// A frame that its sender sent at `sent`, that came at `at` and left at `left`.
    fn frame(&mut self, toward: Toward, sent: u64, at: u64, left: u64) {
        let end = self.flow.end_mut(toward);
        end.next = end.next.wrapping_add(12);
        // Milliseconds from a moment of the sender's own: the number wraps within seconds.
        end.timestamp[0] = (((sent - BEGAN) / MS) as u32).wrapping_add(0xffff_f000);
        self.jitter.arrived((self.id, &self.flow), (toward, at, &[]), Departure::Left);
        self.jitter.departed(left, self.alarm_ns);
        self.take_told();
    }

    /// Nothing has come up to `now`.
    fn watch(&mut self, now: u64) -> bool {
        let beats = self.jitter.watch(now, self.alarm_ns, |talk| talk.is_of(&self.flow));
        self.take_told();
        beats
    }

    fn take_told(&mut self) {
        for told in std::iter::from_fn(|| self.jitter.next_told()) {
            match told {
                Told::Late(late) => self.told.push(late),
                Told::Silence(silence) => self.silences.push(silence),
            }
        }
    }

    fn stream(&self, toward: Toward) -> &Stream {
        &self.jitter.talks()[0].streams[toward as usize]
    }
}

/// Where delays are put in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Sender,
    Way,
    Box,
}

/// A stream of `beats` with a delay of 4 to 15 ms about every hundredth frame at one place; says how many there were.
fn stream(wire: &mut Wire, toward: Toward, place: Place, seed: u64, beats: u64) -> u64 {
    let mut seeded = Seeded(seed);
    let (mut sent, mut came, mut left, mut delays, mut calm) = (0, 0, 0, 0, 0_u64);
    for beat in 1..=beats {
        let delay = if calm > 80 && seeded.below(20) == 0 { 4 * MS + seeded.below(11 * MS) } else { 0 };
        calm = if delay > 0 { 0 } else { calm + 1 };
        delays += u64::from(delay > 0);
        let at = |of| if place == of { delay } else { 0 };
        // Nothing overtakes: what waits behind a late frame comes right after it.
        sent = (BEGAN + beat * 2 * MS + seeded.below(100 * US) + at(Place::Sender)).max(sent + 20 * US);
        came = (sent + 100 * US + seeded.below(50 * US) + at(Place::Way)).max(came + 10 * US);
        left = (came + 15 * US + seeded.below(5 * US) + at(Place::Box)).max(left);
        wire.frame(toward, sent, came, left);
    }
    delays
}

#[test]
fn a_delay_is_laid_at_the_door_where_it_was_put_in() {
    let cases = [
        (true, Toward::Robot, Place::Sender, Whose::Client),
        (true, Toward::Robot, Place::Way, Whose::Network),
        (true, Toward::Robot, Place::Box, Whose::Box),
        (true, Toward::Plant, Place::Sender, Whose::Robot),
        (true, Toward::Plant, Place::Way, Whose::Network),
        (true, Toward::Plant, Place::Box, Whose::Box),
        // Without timestamps the box can't tell who of two it was, and says so.
        (false, Toward::Robot, Place::Sender, Whose::Plant),
        (false, Toward::Robot, Place::Way, Whose::Plant),
        (false, Toward::Robot, Place::Box, Whose::Box),
        (false, Toward::Plant, Place::Sender, Whose::Robot),
    ];
    for (stamps, toward, place, whose) in cases {
        for seed in 0..10 {
            let mut wire = Wire::new(stamps);
            let delays = stream(&mut wire, toward, place, seed, 4000);
            assert!(delays > 20, "{delays}");
            let mut expected = [0; Whose::COUNT];
            expected[whose as usize] = delays;
            assert_eq!(*wire.jitter.late(), expected, "{toward:?} {place:?} stamps {stamps} seed {seed}");
            let period = wire.stream(toward).period_ns().unwrap();
            assert!(period.abs_diff(2 * MS) < 150 * US, "{period}");
            assert!(wire.told.iter().all(|late| late.whose == whose && late.toward == toward));
        }
    }
}

#[test]
fn histograms_see_the_delay_at_the_ports_behind_it_alone() {
    for (place, [before, behind, inside]) in
        [(Place::Way, [true, true, false]), (Place::Box, [false, true, true]), (Place::Sender, [true, true, false])]
    {
        let mut wire = Wire::new(true);
        stream(&mut wire, Toward::Robot, place, 5, 4000);
        let stream = wire.stream(Toward::Robot);
        let late = 4 * MS;
        assert_eq!(stream.entry.longest_ns() > late, before, "{place:?}");
        assert_eq!(stream.exit.longest_ns() > late, behind, "{place:?}");
        assert_eq!(stream.residence.longest_ns() > late, inside, "{place:?}");
        assert_eq!((stream.entry.total(), stream.exit.total(), stream.residence.total()), (3999, 3999, 4000));
    }
}

/// A cycle of requests and answers: the client asks every 10 ms, or when the answer came.
fn cycle(wire: &mut Wire, client_late: bool, robot_late: bool) -> u64 {
    let (mut seeded, mut asked, mut delays) = (Seeded(3), BEGAN, 0);
    let mut answered = BEGAN;
    for beat in 1..=1000_u64 {
        let delay = if beat % 97 == 0 { 15 * MS + seeded.below(10 * MS) } else { 0 };
        delays += u64::from(delay > 0);
        let pause = if client_late { delay } else { 0 };
        asked = (asked + 10 * MS).max(answered + 9 * MS) + pause + seeded.below(100 * US);
        wire.frame(Toward::Robot, asked, asked + 100 * US, asked + 120 * US);
        let think = MS + seeded.below(100 * US) + if robot_late { delay } else { 0 };
        answered = asked + 120 * US + think;
        wire.frame(Toward::Plant, answered, answered + 10 * US, answered + 30 * US);
    }
    delays
}

#[test]
fn a_late_answer_is_the_robots_and_the_late_question_after_it_nobodys() {
    let mut wire = Wire::new(true);
    let delays = cycle(&mut wire, false, true);
    assert_eq!(wire.jitter.late()[Whose::Robot as usize], delays);
    assert_eq!(wire.jitter.late().iter().sum::<u64>(), delays);
    assert_eq!(wire.stream(Toward::Robot).followed, delays);
    assert_eq!(wire.stream(Toward::Plant).followed, 0);
}

#[test]
fn a_late_question_is_the_clients_and_the_late_answer_to_it_nobodys() {
    let mut wire = Wire::new(true);
    let delays = cycle(&mut wire, true, false);
    assert_eq!(wire.jitter.late()[Whose::Client as usize], delays);
    assert_eq!(wire.jitter.late().iter().sum::<u64>(), delays);
    assert_eq!(wire.stream(Toward::Plant).followed, delays);
    assert_eq!(wire.stream(Toward::Robot).followed, 0);
}

/// 400 beats of 2 ms from a time after the start on, the 300th `late`; those that it holds up come right behind it.
fn beats_with_one_late(wire: &mut Wire, from: u64, late: u64) {
    let mut at = 0;
    for beat in 0..400 {
        let late = if beat == 300 { late } else { 0 };
        at = (BEGAN + from + beat * 2 * MS + late).max(at + 20 * US);
        wire.frame(Toward::Robot, at, at, at + 20 * US);
    }
}

#[test]
fn it_is_told_before_the_limit_of_20_ms_and_not_below_the_alarm() {
    let mut wire = Wire::new(true);
    beats_with_one_late(&mut wire, 0, 7 * MS);
    assert_eq!((wire.told.len(), wire.jitter.alarms()), (0, 0), "9 ms between two");
    assert_eq!(wire.jitter.late()[Whose::Client as usize], 1);
    let mut wire = Wire::new(true);
    beats_with_one_late(&mut wire, 0, 11 * MS + 200 * US);
    let [late] = wire.told[..] else { panic!("{:?}", wire.told) };
    assert_eq!((late.whose, late.toward, late.key), (Whose::Client, Toward::Robot, key(40_000)));
    assert_eq!((late.interval_ns, late.residence_ns, late.unreported), (13 * MS + 200 * US, 20 * US, 0));
    assert!(late.period_ns.abs_diff(2 * MS) < 20 * US);
}

#[test]
fn it_is_told_once_in_ten_seconds_and_the_others_are_counted() {
    let mut wire = Wire::new(true);
    for round in 0..5 {
        beats_with_one_late(&mut wire, round * 1000 * MS, 12 * MS);
    }
    let told = wire.told.len();
    beats_with_one_late(&mut wire, 12_000 * MS, 12 * MS);
    assert_eq!((told, wire.told.len()), (1, 2));
    assert!(wire.told[1].unreported >= 4, "{}", wire.told[1].unreported);
    wire.alarm_ns = 0;
    beats_with_one_late(&mut wire, 30_000 * MS, 12 * MS);
    assert_eq!(wire.told.len(), 2, "0 = never");
}

#[test]
fn a_lost_frame_is_the_networks() {
    let mut wire = Wire::new(true);
    let mut talk = link::craft::Segment { flags: link::TcpFlags::ACK, payload: b"twelve bytes", ..Default::default() };
    let template = link::craft::Template::new(
        (link::Mac([2; 6]), link::Mac([4; 6])),
        link::Tags::default(),
        ([10, 0, 0, 2].into(), 40_000),
        ([10, 0, 0, 1].into(), 30_004),
    )
    .unwrap();
    for beat in 0..300_u64 {
        talk.seq += 12;
        if beat == 200 {
            continue;
        }
        let at = BEGAN + beat * 2 * MS;
        let mut buffer = [0; 128];
        let len = link::craft::emit_tcp(&template, &talk, &mut buffer).unwrap();
        let end = wire.flow.end_mut(Toward::Robot);
        (end.next, end.timestamp[0]) = (talk.seq + 12, beat as u32 * 2);
        wire.jitter.arrived((wire.id, &wire.flow), (Toward::Robot, at, &buffer[..len]), Departure::Left);
        wire.jitter.departed(at + 20 * US, ALARM_NS);
    }
    assert_eq!(*wire.jitter.late(), [0, 1, 0, 0, 0]);
}

#[test]
fn acknowledgements_repetitions_and_handshakes_are_no_beats() {
    let mut wire = Wire::new(true);
    wire.flow.ends[0].isn = 99;
    wire.flow.ends[0].next = 100;
    wire.jitter.arrived((wire.id, &wire.flow), (Toward::Robot, BEGAN, &[]), Departure::Left);
    assert!(wire.jitter.talks().is_empty());
    for beat in 1..100 {
        let at = BEGAN + beat * 2 * MS;
        wire.frame(Toward::Robot, at, at, at);
        for repeated in [Toward::Plant, Toward::Robot] {
            wire.jitter.arrived((wire.id, &wire.flow), (repeated, at + MS, &[]), Departure::Left);
        }
    }
    assert_eq!((wire.stream(Toward::Robot).frames, wire.stream(Toward::Plant).frames), (99, 0));
    assert!(wire.stream(Toward::Robot).period_ns().unwrap().abs_diff(2 * MS) < 10 * US);
}

#[test]
fn what_comes_at_random_has_no_period_and_is_never_late() {
    for seed in 0..20 {
        let (mut wire, mut seeded, mut at) = (Wire::new(true), Seeded(seed), BEGAN);
        let mut regular = 0;
        for _ in 0..5000 {
            // Exponential in steps: a sum of chances of one in eight.
            at += 200 * US;
            while seeded.below(8) > 0 {
                at += MS;
            }
            wire.frame(Toward::Robot, at, at, at);
            regular += u64::from(wire.stream(Toward::Robot).period_ns().is_some());
        }
        assert!(regular < 250, "seed {seed}: {regular} of 5000");
    }
}

#[test]
fn a_refused_frame_leaves_no_lateness_behind_and_a_held_one_is_the_boxs() {
    for (departure, refuse, expected) in [
        (Departure::Refused, false, 0),
        // Swallowed whole: a command was refused with it.
        (Departure::Kept, true, 0),
        (Departure::Kept, false, 1),
    ] {
        let mut wire = Wire::new(true);
        for beat in 0..200_u64 {
            let at = BEGAN + beat * 2 * MS;
            if beat == 150 {
                let end = wire.flow.end_mut(Toward::Robot);
                end.next += 12;
                end.timestamp[0] += 2;
                wire.flow.commands[1] += u64::from(refuse);
                wire.jitter.arrived((wire.id, &wire.flow), (Toward::Robot, at, &[]), departure);
                wire.jitter.departed(at + 20 * US, ALARM_NS);
            } else {
                wire.frame(Toward::Robot, at, at, at + 20 * US);
            }
        }
        assert_eq!(*wire.jitter.late(), [0, 0, 0, 0, expected], "{departure:?} {refuse}");
    }
}

#[test]
fn a_pause_that_the_sender_chose_is_none_of_jitter() {
    let mut wire = Wire::new(true);
    for round in 0..3 {
        beats_with_one_late(&mut wire, round * 5_000 * MS, 0);
    }
    assert_eq!((wire.stream(Toward::Robot).pauses, wire.told.len()), (2, 0));
}

#[test]
fn a_clock_that_is_set_makes_nobody_late() {
    let mut wire = Wire::new(true);
    wire.jitter.clock(BEGAN);
    for beat in 0..600_u64 {
        let step = if beat >= 300 { 3_600_000 * MS } else { 0 };
        if wire.jitter.is_odd(BEGAN + step) {
            wire.jitter.clock(BEGAN + step);
        }
        let at = BEGAN + beat * 2 * MS + step;
        wire.frame(Toward::Robot, at, at, at + 20 * US);
    }
    assert_eq!((*wire.jitter.late(), wire.stream(Toward::Robot).pauses), ([0; 5], 0));
    assert_eq!(wire.stream(Toward::Robot).unmeasured, 2);
    // The usual discipline of a clock is no step.
    assert!(!wire.jitter.is_odd(BEGAN + 3_600_000 * MS + 500 * US));
}

#[test]
fn what_passes_unmeasured_makes_nobody_late() {
    let mut wire = Wire::new(true);
    for beat in 0..600_u64 {
        // Half a second of a stream of 2 ms is missing.
        let rest = if beat >= 300 { 500 * MS } else { 0 };
        if beat == 300 {
            wire.jitter.pause();
            let end = wire.flow.end_mut(Toward::Robot);
            end.next = end.next.wrapping_add(250 * 12);
        }
        let at = BEGAN + beat * 2 * MS + rest;
        wire.frame(Toward::Robot, at, at, at + 20 * US);
    }
    let stream = wire.stream(Toward::Robot);
    assert_eq!((*wire.jitter.late(), stream.pauses, stream.unmeasured), ([0; 5], 0, 2));
    assert_eq!((stream.frames, stream.left, stream.entry.total()), (600, 600, 598));
    assert!(stream.period_ns().is_some_and(|period| period.abs_diff(2 * MS) < MS / 10), "still known");
}

#[test]
fn of_ten_thousand_connections_the_periodic_one_stays() {
    let mut wire = Wire::new(true);
    let mut at = BEGAN;
    for number in 0..10_000_u32 {
        at += MS;
        let mut other = flow(1_000 + (number % 50_000) as u16);
        other.wall_ns[0] = at;
        other.ends[0].next = 12;
        let id = FlowId(8 + (number % 4_000) as u16);
        wire.jitter.arrived((id, &other), (Toward::Robot, at, &[]), Departure::Left);
        wire.jitter.departed(at, ALARM_NS);
        assert!(wire.jitter.talks().len() <= TALKS);
        // A beat of 20 ms, slower than 64 connections come: it may only lose its place before it has a period.
        if number % 20 == 0 {
            wire.frame(Toward::Plant, at, at, at);
        }
    }
    let own: Vec<_> = wire.jitter.talks().iter().filter(|talk| talk.id == wire.id).collect();
    let [own] = own[..] else { panic!("{own:?}") };
    assert_eq!(own.streams[Toward::Plant as usize].frames, 500);
    assert!(own.streams[1].period_ns().unwrap().abs_diff(20 * MS) < MS);
    assert_eq!((wire.jitter.talks().len(), wire.jitter.unwatched()), (TALKS, 0));
}

proptest! {
    /// Whatever comes, every frame stands in the histograms once.
    #[test]
    fn totals_are_the_frames(
        steps in prop::collection::vec((0_u16..90, any::<bool>(), any::<bool>(), 0_u8..3, 0_u64..40_000_000), 1..800),
        batch in 1_usize..80,
    ) {
        let mut jitter = Jitter::new();
        let mut flows: Vec<Flow> = (0..90).map(|n| { let mut it = flow(n + 1); it.ends[0].isn = 5; it }).collect();
        let (mut at, mut since) = (BEGAN, 0);
        for (number, to_robot, news, departure, step) in steps {
            at += step;
            let toward = if to_robot { Toward::Robot } else { Toward::Plant };
            let flow = &mut flows[usize::from(number)];
            flow.end_mut(toward).next += u32::from(news) * 12;
            let departure = [Departure::Left, Departure::Kept, Departure::Refused][usize::from(departure)];
            jitter.arrived((FlowId(number), flow), (toward, at, &[1, 2, 3]), departure);
            since += 1;
            if since >= batch.min(64) {
                jitter.departed(at + 1000, ALARM_NS);
                since = 0;
            }
        }
        jitter.departed(at + 1000, ALARM_NS);
        prop_assert!(jitter.talks().len() <= TALKS);
        prop_assert_eq!(jitter.unwatched(), 0);
        for stream in jitter.talks().iter().flat_map(|talk| &talk.streams) {
            prop_assert_eq!(stream.entry.total() + stream.unmeasured, stream.frames);
            prop_assert_eq!(stream.left + stream.kept + stream.refused, stream.frames);
            prop_assert_eq!(stream.residence.total(), stream.left);
            prop_assert!(stream.exit.total() <= stream.left);
        }
    }
}

/// 200 beats of 2 ms of what the robot sends by itself; says when the last one came.
fn robots_stream(wire: &mut Wire) -> u64 {
    for beat in 1..=200 {
        let at = BEGAN + beat * 2 * MS;
        wire.watch(at - 10 * US);
        wire.frame(Toward::Plant, at, at, at + 20 * US);
    }
    BEGAN + 400 * MS
}

/// Looks once a millisecond; says at which looks a silence was told of, in milliseconds.
fn watch_for(wire: &mut Wire, from: u64, ms: u64) -> Vec<u64> {
    let told = |wire: &mut Wire, ms: u64| {
        let before = wire.silences.len();
        wire.watch(from + ms * MS);
        wire.silences.len() > before
    };
    (1..=ms).filter(|ms| told(wire, *ms)).collect()
}

#[test]
fn a_silence_is_told_of_once_while_it_lasts_and_the_late_frame_completes_it() {
    let mut wire = Wire::new(false);
    let last = robots_stream(&mut wire);
    assert!(wire.silences.is_empty(), "{:?}", wire.silences);
    assert_eq!(watch_for(&mut wire, last, 300), [10], "before the 20 ms are over, and once");
    let expected = (Toward::Plant, 10 * MS, false);
    let [silence] = wire.silences[..] else { panic!() };
    assert_eq!((silence.toward, silence.silent_ns, silence.over), expected);
    assert!(silence.period_ns.abs_diff(2 * MS) < 100 * US);
    // It comes 350 ms late, and a second silence within ten seconds is told of by its late frame alone, if at all.
    let mut at = last + 350 * MS;
    wire.frame(Toward::Plant, at, at, at + 20 * US);
    let [late] = wire.told[..] else { panic!("{:?}", wire.told) };
    assert_eq!((late.whose, late.interval_ns, late.unreported), (Whose::Robot, 350 * MS, 0));
    for _ in 0..50 {
        at += 2 * MS;
        wire.frame(Toward::Plant, at, at, at + 20 * US);
    }
    assert!(watch_for(&mut wire, at, 50).is_empty());
    at += 50 * MS;
    wire.frame(Toward::Plant, at, at, at + 20 * US);
    assert_eq!((wire.told.len(), wire.jitter.alarms(), wire.stream(Toward::Plant).silences), (1, 2, 1));
}

#[test]
fn of_question_and_answer_only_the_one_whose_turn_it_is_is_silent() {
    for silent in [Toward::Robot, Toward::Plant] {
        let mut wire = Wire::new(false);
        let mut at = BEGAN;
        for _ in 0..200 {
            at += 4 * MS;
            wire.frame(Toward::Robot, at, at, at + 20 * US);
            wire.watch(at + 900 * US);
            wire.frame(Toward::Plant, at + MS, at + MS, at + MS + 20 * US);
            wire.watch(at + 3 * MS);
        }
        // Either the next question does not come, or its answer does not: that the question was 6 ms late is not the
        // robot's, whose answer is as late 7 ms after it, where it takes 1 otherwise.
        if silent == Toward::Plant {
            at += 10 * MS;
            wire.frame(Toward::Robot, at, at, at + 20 * US);
            assert_eq!(watch_for(&mut wire, at, 40), [7]);
        } else {
            assert_eq!(watch_for(&mut wire, at, 40), [10]);
        }
        assert_eq!(wire.silences.iter().map(|it| it.toward).collect::<Vec<_>>(), [silent], "{silent:?}");
    }
}

#[test]
fn a_pause_is_over_without_a_late_frame_and_what_ended_is_not_silent() {
    let mut wire = Wire::new(false);
    let last = robots_stream(&mut wire);
    assert_eq!(watch_for(&mut wire, last, 1500), [10]);
    assert!(!wire.watch(last + 1600 * MS), "nobody needs to look again soon");
    let at = last + 2000 * MS;
    wire.frame(Toward::Plant, at, at, at + 20 * US);
    let [_, over] = wire.silences[..] else { panic!("{:?}", wire.silences) };
    assert_eq!((over.over, over.silent_ns, wire.told.len()), (true, 2000 * MS, 0));

    // Closed connections, a limit of 0, and a clock that is set.
    let mut wire = Wire::new(false);
    let last = robots_stream(&mut wire);
    assert!(wire.jitter.watch(last + 15 * MS, ALARM_NS, |_| false));
    wire.alarm_ns = 0;
    assert!(watch_for(&mut wire, last, 100).is_empty());
    wire.alarm_ns = ALARM_NS;
    wire.jitter.clock(0);
    wire.jitter.clock(3600 * 1000 * MS);
    assert!(watch_for(&mut wire, last + 3600 * 1000 * MS, 100).is_empty());
}
