//! I6: two ends that do as TCP asks, and links that lose, double and reorder, in virtual time. Whatever the verdicts,
//! everything ends delivered and acknowledged, cut and acknowledged, or the connection is refused for a reason.

use super::bench::{Bench, Ended};
use super::cases::{Naming, count, first, stream_of};
use super::cell::{Cell, Habit, Link};
use super::endpoint::Endpoint;
use super::random::Random;
use super::toy::*;
use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Longest time until everything has come to its end: a stream of 3 kB that loses each fifth frame on four links, with
/// back-offs of up to 3 s.
const LIMIT_NS: u64 = 600 * SECOND;

pub(super) fn run(seed: u64) -> u64 {
    let _naming = Naming(seed);
    let mut random = Random::new(seed ^ 0x11fe);
    let spliced = random.one_in(2);
    let starts = [random.start(), random.start()];
    let room = if spliced { random.of(&[200, 1000, STORE]) } else { STORE };
    let patience_ns = random.of(&[SECOND, 10 * SECOND]);
    let mut bench = Bench::new(starts, [room, room + ANSWER], Toy::new(patience_ns, true));
    bench.mss = [random.of(&[1, 12, 200]), random.of(&[1, 12, 200])];
    let windows = [0; 2].map(|_: u32| random.of(&[15, 100, 2_000]).min(room as u32));
    bench.offer(windows);
    if spliced {
        bench.splice_from_the_start();
    }
    let end = |toward, window| Endpoint::new(toward, starts, 60, window as usize);
    let (mut client, mut robot) = (end(Toward::Robot, windows[0]), end(Toward::Plant, windows[1]));
    client.offered(if spliced { room } else { windows[1] as usize });
    robot.offered(if spliced { room } else { windows[0] as usize });
    let units = if random.one_in(8) { 400 } else { random.within(1, 30) };
    let truncated = random.one_in(12);
    client.stream = stream_of(&mut random, units, truncated);
    client.closes = random.one_in(2);
    let mut cell = Cell::new(bench, client, robot, random);
    let lossy = cell.random.one_in(2);
    cell.link = Link {
        lost: if lossy { cell.random.of(&[20, 100, 200]) } else { 0 },
        doubled: cell.random.of(&[0, 50]),
        delay_ns: cell.random.of(&[0, 0, MS as usize, 50 * MS as usize]),
    };
    cell.robot_closes_after = cell.client.closes;
    cell.client.pause_ns = cell.random.of(&[0, 0, 100_000, 10 * MS]);
    let habits = windows.map(|window| {
        let from = cell.random.below(40_000) as u64 * 1_000;
        let shut = if cell.random.one_in(3) { cell.random.of(&[300 * MS, 5 * SECOND]) } else { 0 };
        Habit { shut_ns: (from, from + shut), window: window as usize, closes: false }
    });
    // Small windows and segments over long links: a reply may take more than a second.
    let slow = cell.link.delay_ns > MS as usize;
    // The client takes nothing, until the store is full of replies.
    let shut = habits[0].shut_ns.0 != habits[0].shut_ns.1;
    let settled = cell.settle(habits, LIMIT_NS);
    assert!(settled, "I6: something waits on nothing");
    let reference = Reference::of(&cell.client.stream);
    cell.check_settled(&reference);
    if let Some(Ended::Refused(_, reason)) = cell.bench.ended {
        match reason {
            Reason::NoRule | Reason::DeniedByRule | Reason::Malformed => {
                assert_eq!(Some(cell.bench.toy.judged()), reference.ends_at);
            }
            Reason::FinInUnit => assert!(reference.rest != 0 && cell.client.closes),
            Reason::UnitTimeout => assert!(reference.rest != 0 || lossy || slow, "a whole unit was waited for"),
            Reason::AnswerTimeout => assert!(lossy || slow || shut, "an answer did not find its place"),
            // A FIN that came in Fast with or before what is to be cut.
            Reason::ValueNotAllowed | Reason::EngineFault => assert!(cell.client.closes && !spliced),
            // A fifth of all frames lost: in rare cases ten repetitions one after another.
            Reason::PeerSilent => assert!(cell.link.lost >= 200, "an end that answers was taken for gone"),
            _ => panic!("refused for {reason}"),
        }
    } else {
        assert!(reference.ends_at.is_none(), "what ends a connection did not end it");
    }
    let quiet = !lossy
        && cell.link.doubled == 0
        && cell.link.delay_ns == 0
        && habits.iter().all(|habit| habit.shut_ns.0 == habit.shut_ns.1);
    if quiet && spliced && cell.bench.ended.is_none() {
        assert_eq!(cell.bench.own_bytes[0], reference.released.len(), "bytes were repeated that nobody lost");
    }
    cell.bench.digest
}

#[test]
fn two_ends_that_do_as_tcp_asks_come_to_an_end_over_any_link() {
    let begun = std::time::Instant::now();
    let cases = count(4_000).div_ceil(40);
    for seed in first()..first() + cases {
        run(seed);
    }
    println!("{cases} connections over bad links in {:.1} s", begun.elapsed().as_secs_f64());
}
