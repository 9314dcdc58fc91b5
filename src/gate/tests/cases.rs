//! Adversarial cases: a sender that cuts, repeats, reorders and lies as it likes, ends that acknowledge and shut their
//! windows as they like, and time that passes as it likes. Afterwards, where nobody lied about content, both ends go on
//! as TCP asks, and all must come to its end.

use super::bench::{Bench, Ended, Sent};
use super::cell::{Cell, Habit};
use super::endpoint::Endpoint;
use super::random::Random;
use super::toy::*;
use super::*;

const SECOND: u64 = 1_000_000_000;

/// What a case is like.
#[derive(Clone, Copy, Debug)]
struct Plan {
    spliced: bool,
    /// The client sends two contents for one byte, and acknowledges what it never got.
    lies: bool,
    frames: bool,
    patience_ns: u64,
    truncated: bool,
}

/// A client's stream: units, most of them allowed.
pub(super) fn stream_of(random: &mut Random, units: usize, truncated: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    // Some streams have nothing that ends them, some no refusal at all.
    let strictness = random.below(3);
    for _ in 0..units {
        let n = random.within(1, 9) as u8;
        let verdict = match (random.below(40), strictness) {
            (0, 2) => RESET,
            (1, 2) => DROP,
            (2..=6, 1..) => REFUSE,
            (7..=9, 1..) => SILENT,
            (10..=13, _) => CLAMP,
            (14..=20, _) => QUIET,
            _ => ALLOW,
        };
        stream.push(n);
        stream.push(verdict);
        // Content that would read as a forbidden unit, were it taken for the start of one.
        stream.extend((0..n).map(|at| if at % 2 == 0 { 1 + at } else { random.of(&[RESET, REFUSE, DROP, MARK]) }));
    }
    if strictness == 2 && random.one_in(8) {
        stream.extend([0, 1, 2]);
    }
    if truncated {
        stream.extend([9, ALLOW, 1, 2]);
    }
    stream
}

struct Case {
    plan: Plan,
    cell: Cell,
    news: u8,
    client_window: u32,
    robot_window: u32,
    unreadable: bool,
    reset: bool,
    sealed: bool,
}

impl Case {
    fn new(mut random: Random) -> Self {
        let plan = Plan {
            spliced: random.one_in(2),
            lies: random.one_in(3),
            frames: !random.one_in(8),
            patience_ns: random.of(&[1_000_000, SECOND, 10 * SECOND]),
            truncated: random.one_in(12),
        };
        let starts = [random.start(), random.start()];
        let toy = Toy::new(plan.patience_ns, plan.frames);
        let room = if plan.spliced { random.of(&[64, 200, 1000, STORE]) } else { STORE };
        let mut bench = Bench::new(starts, [room, room + ANSWER], toy);
        let mss = [random.of(&[1, 3, 12, 40, 1460]), random.of(&[1, 3, 12, 40, 1460])];
        bench.mss = mss;
        bench.lies = plan.lies;
        let windows =
            if plan.spliced { [random.of(&[0, 20, 65_535]), random.of(&[0, 20, 65_535])] } else { [65_535; 2] };
        bench.offer(windows);
        if plan.spliced {
            bench.splice_from_the_start();
        }
        let [client_window, robot_window] = windows;
        let mut client = Endpoint::new(Toward::Robot, starts, 60, client_window as usize);
        let robot = Endpoint::new(Toward::Plant, starts, 60, robot_window as usize);
        let units = random.within(1, 30);
        client.stream = stream_of(&mut random, units, plan.truncated);
        let cell = Cell::new(bench, client, robot, random);
        Self { plan, cell, news: 0, client_window, robot_window, unreadable: false, reset: false, sealed: false }
    }

    /// The client sends the bytes `from..from + len` of its stream as far as there are any, changed by `change`.
    fn send(&mut self, from: isize, len: usize, fin: bool, change: Option<(usize, u8)>) {
        let client = &self.cell.client;
        let from = from.clamp(0, client.stream.len() as isize) as usize;
        let to = (from + len).min(client.stream.len());
        let fin = fin && (to == client.stream.len() || self.plan.lies);
        if from == to && !fin {
            return;
        }
        let mut payload = [0; 128];
        let payload = &mut payload[..to - from];
        payload.copy_from_slice(&client.stream[from..to]);
        if let Some((at, value)) = change
            && !payload.is_empty()
        {
            payload[at % (to - from)] = value;
        }
        let sent = Sent {
            toward: Toward::Robot,
            seq: client.seq(from),
            ack: client.peer_seq(client.expects()),
            window: self.client_window,
            fin,
            payload,
        };
        self.cell.bench.take(&sent);
        let client = &mut self.cell.client;
        client.sent_up_to(to + usize::from(fin));
        client.closes |= fin;
    }

    /// The robot sends the bytes `from..from + len` of its stream.
    fn say(&mut self, from: isize, len: usize, fin: bool) {
        let robot = &self.cell.robot;
        let from = from.clamp(0, robot.stream.len() as isize) as usize;
        let to = (from + len).min(robot.stream.len());
        let fin = fin && to == robot.stream.len();
        if from == to && !fin {
            return;
        }
        let payload = robot.stream[from..to].to_vec();
        let sent = Sent {
            toward: Toward::Plant,
            seq: robot.seq(from),
            ack: robot.peer_seq(robot.expects()),
            window: self.robot_window,
            fin,
            payload: &payload,
        };
        self.cell.bench.take(&sent);
        let robot = &mut self.cell.robot;
        robot.sent_up_to(to + usize::from(fin));
        robot.closes |= fin;
    }

    /// An end sends an empty segment or one byte at `seq`, with this acknowledgement.
    fn bare(&mut self, toward: Toward, seq: u32, ack: u32, payload: &[u8]) {
        let window = if toward == Toward::Robot { self.client_window } else { self.robot_window };
        self.cell.bench.take(&Sent { toward, seq, ack, window, fin: false, payload });
    }

    fn step(&mut self) {
        let random = &mut self.cell.random;
        let (pick, len, shift) = (random.below(100), random.within(1, 60), random.within(0, 24) as isize - 12);
        let value = random.next();
        let lost = random.of(&[0, 0, 4]);
        let (una, nxt) = (self.cell.client.una as isize, self.cell.client.nxt as isize);
        match pick {
            0..=19 => self.send(nxt, len, false, None),
            20..=29 => self.send(una + shift, len, false, None),
            30..=33 => self.send(nxt + shift * 4, len, false, None),
            34..=38 => self.send(nxt, 1, false, None),
            39..=44 if self.plan.lies => {
                self.send(una + shift, len, false, Some((value as usize, (value >> 32) as u8)))
            }
            39..=44 => self.send(una, len * 2, false, None),
            45 => self.send(nxt, len, true, None),
            46 if self.plan.lies => self.send(una + shift, len % 16, true, None),
            46 => self.send(self.cell.client.stream.len() as isize, 0, true, None),
            47..=49 => self.probe(value),
            50..=57 => self.acknowledge(Toward::Robot, value),
            58..=67 => self.acknowledge(Toward::Plant, value),
            68..=79 => self.say(self.cell.robot.nxt as isize, len, false),
            80..=83 => self.say(self.cell.robot.una as isize + shift, len, false),
            84..=86 if !self.cell.robot.closes && !self.unreadable => {
                self.news = self.news.wrapping_add(1);
                self.cell.robot.stream.extend(said(NEWS, self.news));
            }
            87 if !self.cell.robot.closes && value.is_multiple_of(16) => {
                self.cell.robot.stream.extend([0, 0, 0]);
                self.unreadable = true;
            }
            88 if value.is_multiple_of(4) => self.say(self.cell.robot.stream.len() as isize - len as isize, len, true),
            89..=90 => self.client_window = [0, 1, 20, 300, 65_535][(value % 5) as usize],
            91..=92 => self.robot_window = [0, 1, 20, 300, 65_535][(value % 5) as usize],
            93 if value.is_multiple_of(8) => self.reset(value),
            93 if value % 8 == 1 => self.cell.bench.move_store([100, 400, STORE, 2 * STORE][(value >> 8) as usize % 4]),
            93 if value % 64 == 2 => {
                self.cell.bench.seal();
                self.sealed = true;
            }
            93..=99 => {
                let after = [50_000, 1_000_000, 3_000_000, 250_000_000, 700_000_000][(value % 5) as usize];
                let now = self.cell.bench.now_ns + after;
                self.cell.bench.time(now);
            }
            _ => return,
        }
        self.cell.deliver(lost);
    }

    /// A keepalive or window probe, with a byte that means nothing.
    fn probe(&mut self, value: u64) {
        let toward = if value.is_multiple_of(3) { Toward::Plant } else { Toward::Robot };
        let end = if toward == Toward::Robot { &self.cell.client } else { &self.cell.robot };
        if end.una != end.nxt || end.closes || end.una == 0 && toward == Toward::Plant {
            return;
        }
        let seq = end.seq(end.una).wrapping_sub(1);
        let ack = end.peer_seq(end.expects());
        let payload = [0xff];
        self.bare(toward, seq, ack, &payload[..(value >> 8) as usize % 2]);
    }

    /// A bare acknowledgement: right, too old, or of what was never sent.
    fn acknowledge(&mut self, toward: Toward, value: u64) {
        let end = if toward == Toward::Robot { &self.cell.client } else { &self.cell.robot };
        let expects = end.expects();
        let place = match value % 8 {
            0 => expects.saturating_sub((value >> 8) as usize % 40),
            1 => expects + 100_000 + (value >> 8) as usize % 64,
            _ => expects,
        };
        let (seq, ack) = (end.seq(end.nxt), end.peer_seq(place));
        self.bare(toward, seq, ack, &[]);
    }

    fn reset(&mut self, value: u64) {
        let toward = if value.is_multiple_of(3) { Toward::Plant } else { Toward::Robot };
        let end = if toward == Toward::Robot { &self.cell.client } else { &self.cell.robot };
        let at = end.seq(end.una).wrapping_add(if (value >> 8).is_multiple_of(2) { 0 } else { 5 });
        self.cell.bench.reset(toward, at);
        self.reset = true;
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.cell.bench.ended.is_some() {
                return;
            }
            self.step();
        }
    }

    /// Both ends go on as TCP asks.
    fn settle(&mut self) {
        let habit = Habit { shut_ns: (0, 0), window: 65_535, closes: false };
        self.cell.client.go_back();
        self.cell.robot.go_back();
        // Where they do not tell that their windows are open again, the gate has to ask.
        self.cell.client.ack_owed = self.cell.random.one_in(2);
        self.cell.robot.ack_owed = self.cell.random.one_in(2);
        let settled = self.cell.settle([habit; 2], 200 * SECOND);
        assert!(settled, "I6: something waits on nothing");
        let reference = Reference::of(&self.cell.client.stream);
        self.cell.check_settled(&reference);
        let Some(Ended::Refused(_, reason)) = self.cell.bench.ended else { return };
        let at_end = self.cell.bench.toy.judged() == reference.ends_at.unwrap_or(usize::MAX);
        match reason {
            Reason::NoRule | Reason::DeniedByRule | Reason::Malformed => {
                assert!(at_end, "{reason} without such a unit")
            }
            // No way to answer.
            Reason::ValueNotAllowed => {
                let can = self.plan.frames && !self.unreadable && !self.cell.robot.closes && !self.cell.client.closes;
                assert!(!can, "a refusal was not answered");
            }
            Reason::FinInUnit => assert!(self.cell.client.closes),
            Reason::LockedDown => assert!(self.sealed),
            Reason::UnitTimeout => {}
            Reason::AnswerTimeout => {}
            // A connection that is half closed can't be spliced any more.
            Reason::EngineFault => assert!(self.cell.client.closes || self.cell.robot.closes),
            // Before it went on as TCP asks, an end said nothing for so long that it counts as gone.
            Reason::PeerSilent => {
                let bench = &self.cell.bench;
                let silent = bench.heard_ns.iter().any(|heard_ns| bench.now_ns - heard_ns > 30 * SECOND);
                assert!(silent, "an end that speaks was taken for gone");
            }
            _ => panic!("an honest client was refused for {reason}"),
        }
    }
}

/// Tells the case that failed.
pub(super) struct Naming(pub(super) u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case has the seed {}", self.0);
        }
    }
}

/// Runs one case; says what left, as one number.
pub(super) fn run(seed: u64) -> u64 {
    let _naming = Naming(seed);
    let mut case = Case::new(Random::new(seed));
    let steps = 8 + (seed % 7) as usize * 12;
    case.run(steps);
    if case.cell.bench.ended.is_none() && !case.plan.lies && !case.reset {
        case.settle();
    }
    case.cell.bench.digest
}

/// Runs the case that `bytes` decide, until they are used up.
pub(super) fn play(bytes: &[u8]) {
    let mut case = Case::new(Random::told(bytes));
    while case.cell.bench.ended.is_none() && !case.cell.random.is_spent() {
        case.step();
    }
    if case.cell.bench.ended.is_none() && !case.plan.lies && !case.reset {
        case.settle();
    }
}

/// Cases that a run takes.
pub(super) fn count(otherwise: u64) -> u64 {
    std::env::var("VAMBRACE_GATE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(otherwise)
}

/// The first case, to begin where another run ended.
pub(super) fn first() -> u64 {
    std::env::var("VAMBRACE_GATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

#[test]
fn what_left_is_right_whatever_the_ends_do() {
    let begun = std::time::Instant::now();
    let cases = count(3_000);
    let first = first();
    for seed in first..first + cases {
        let digest = run(seed);
        if seed % 16 == 0 {
            assert_eq!(digest, run(seed), "I13: the same events gave other frames");
        }
    }
    println!(
        "{cases} cases from {first} on, each checked after every event, in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}
