//! The worker over ports in memory and clocks that a test sets: a wall clock that jumps, more frames than can be done, a
//! port that fails.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use dissect::Toward;
use vambrace::appliance::{compile, rules};
use vambrace::config::Config;
use vambrace::engine::{Arena, Clock, Mode, Worker, WorkerShared};
use vambrace::event::{Event, Notice, Record, Shed};
use vambrace::nic::memory::{MemoryPort, pair};
use vambrace::nic::{BATCH, FramePort};
use vambrace::record::Queue;

const CONFIG: &str = "mode = \"enforce\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n\
                      [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n";
const POLICY: &str = "version = 1\nrobot = \"robot\"\n";

const SECOND: u64 = 1_000_000_000;
const YEAR: u64 = 365 * 86_400 * SECOND;

#[derive(Clone, Debug)]
struct Clocks {
    monotonic: Rc<Cell<u64>>,
    wall: Rc<Cell<u64>>,
}

impl Clock for Clocks {
    fn monotonic_ns(&self) -> u64 {
        self.monotonic.get()
    }

    fn wall_ns(&self) -> u64 {
        self.wall.get()
    }
}

impl Clocks {
    fn pass(&self, ns: u64) {
        self.monotonic.set(self.monotonic.get() + ns);
        self.wall.set(self.wall.get() + ns);
    }
}

/// Runs `work` with a worker between two wires: plant's and robot's far ends.
fn with(mode: Mode, room: usize, work: impl FnOnce(&mut Bench<'_>)) {
    let config = Config::parse("c", CONFIG).unwrap();
    let policy = compile(&config, "p", POLICY, 1).unwrap();
    let shared = Arc::new(WorkerShared::new(Arc::new(rules(&config, mode, policy))));
    let queue = Arc::new(Queue::new(room, 64));
    let clocks = Clocks { monotonic: Rc::new(Cell::new(5 * SECOND)), wall: Rc::new(Cell::new(50 * YEAR)) };
    let ((plant, plant_end), (robot, robot_end)) = (pair(100_000), pair(100_000));
    let mut arena = Arena::boxed(7);
    let queued = Arc::clone(&queue);
    let worker = Worker::new((plant, robot), &mut arena, queued, Arc::clone(&shared), clocks.clone(), ()).unwrap();
    let mut bench = Bench { worker, clocks, plant_end, robot_end, queue, shared };
    bench.worker.begin();
    work(&mut bench);
}

struct Bench<'m> {
    worker: Worker<'m, MemoryPort, Clocks, ()>,
    clocks: Clocks,
    plant_end: MemoryPort,
    robot_end: MemoryPort,
    queue: Arc<Queue>,
    shared: Arc<WorkerShared>,
}

impl Bench<'_> {
    fn turn(&mut self, ns: u64) {
        self.clocks.pass(ns);
        self.worker.turn();
    }

    fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.queue.pop()).collect()
    }

    fn notices(&self) -> Vec<Notice> {
        let notice = |event: Event| if let Record::Notice(notice) = event.record { Some(notice) } else { None };
        self.events().into_iter().filter_map(notice).collect()
    }
}

/// A frame of LLDP's type with a number.
fn listed(number: u16, destination: [u8; 6]) -> Vec<u8> {
    [&destination[..], &[2, 0, 0, 0, 0, 1, 0x88, 0xcc], &number.to_be_bytes(), &[0; 44]].concat()
}

const SOMEBODY: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

/// A bridge's hello.
fn spanning_tree() -> Vec<u8> {
    let llc = [0x42, 0x42, 0x03, 0, 0, 0, 0];
    [&[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 38][..], &llc, &[0; 39]].concat()
}

#[test]
fn a_wall_clock_that_jumps_by_years_is_told_of_and_changes_nothing() {
    with(Mode::Enforce, 1000, |bench| {
        bench.turn(SECOND);
        bench.turn(SECOND);
        let expected = [-10, 30, -20].map(|years: i64| {
            bench.events();
            let before = bench.clocks.wall.get();
            bench.clocks.wall.set(before.checked_add_signed(years * YEAR.cast_signed()).unwrap());
            bench.plant_end.transmit(&[&listed(1, SOMEBODY)]).unwrap();
            bench.turn(SECOND);
            assert_eq!(bench.robot_end.drain(), [listed(1, SOMEBODY)], "after a jump by {years} years");
            let jumps = bench.notices().into_iter().filter_map(|notice| match notice {
                Notice::ClockJump { by_ns } => Some(by_ns / YEAR.cast_signed()),
                _ => None,
            });
            (jumps.collect::<Vec<_>>(), vec![years])
        });
        expected.iter().for_each(|(told, wanted)| assert_eq!(told, wanted));
        // Slewing and the passing of time are no jumps.
        for _ in 0..100 {
            bench.clocks.wall.set(bench.clocks.wall.get() + 100_000);
            bench.turn(SECOND / 5);
        }
        assert!(!bench.notices().iter().any(|notice| matches!(notice, Notice::ClockJump { .. })));
    });
}

#[test]
fn under_overload_frames_that_nobody_judges_go_first_and_the_rest_is_judged() {
    with(Mode::Enforce, 4096, |bench| {
        bench.turn(SECOND);
        bench.events();
        let many = 60 * BATCH;
        // Broadcasts, and between them frames to one device, those of bridges, and commands of nobody's connection.
        let stray = {
            let mut frame =
                [&SOMEBODY[..], &[2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]].concat();
            frame.extend([
                10, 20, 0, 21, 10, 20, 0, 40, 0x9c, 0x40, 1, 0xf6, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0,
            ]);
            let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame
        };
        let of = |at: usize| match at % 16 {
            3 if at % 64 == 3 => spanning_tree(),
            5 => listed(5, SOMEBODY),
            7 => stray.clone(),
            _ => listed(0, BROADCAST),
        };
        let frames: Vec<_> = (0..many).map(of).collect();
        bench.plant_end.transmit(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        // Within the budget of frames below IP a second, so that it is not that which drops them.
        for _ in 0..60 {
            bench.turn(SECOND / 10);
        }
        let arrived = bench.robot_end.drain();
        let count = |wanted: &[u8]| arrived.iter().filter(|frame| frame[..] == *wanted).count();
        let each = many / 16;
        assert_eq!((count(&spanning_tree()), count(&listed(5, SOMEBODY)), count(&stray)), (each / 4, each, 0));
        let broadcasts = count(&listed(0, BROADCAST));
        // The last step is taken after forty full batches; twenty are left.
        let sent = many - each / 4 - 2 * each;
        assert!((sent * 39 / 60..=sent * 41 / 60).contains(&broadcasts), "{broadcasts} of {sent}");
        // It is over with the first batch that is not full.
        bench.plant_end.transmit(&[&listed(9, BROADCAST)]).unwrap();
        bench.turn(SECOND / 1000);
        assert_eq!(bench.robot_end.drain(), [listed(9, BROADCAST)]);
        (0..10).for_each(|_| bench.turn(SECOND / 4));
        let told: Vec<_> = bench
            .notices()
            .into_iter()
            .filter_map(
                |notice| if let Notice::Overload { shed, counts } = notice { Some((shed, counts)) } else { None },
            )
            .collect();
        let steps: Vec<_> = told.iter().map(|(shed, _)| *shed).collect();
        assert_eq!(steps, [&Shed::ALL[..], &[Shed::Nothing]].concat());
        let (_, counts) = told[5];
        assert_eq!(counts[4], u64::try_from(sent - broadcasts).unwrap());
        let snapshot = bench.shared.snapshot.lock().unwrap();
        assert_eq!(snapshot.shed, counts);
        assert!(snapshot.counters.balance(), "{:?}", snapshot.counters);
    });
}

#[test]
fn outside_enforcement_an_overload_costs_no_frame() {
    with(Mode::Shadow, 4096, |bench| {
        let frames: Vec<_> = (0..60 * BATCH).map(|_| listed(0, BROADCAST)).collect();
        bench.plant_end.transmit(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        (0..61).for_each(|_| bench.turn(SECOND / 10));
        assert_eq!(bench.robot_end.drain().len(), frames.len());
    });
}

#[test]
fn a_port_that_flaps_is_told_of_and_frames_pass_whenever_it_works() {
    with(Mode::Enforce, 1000, |bench| {
        for round in 0..50 {
            bench.robot_end.set_down(true);
            (0..3).for_each(|_| bench.turn(SECOND / 5));
            bench.robot_end.set_down(false);
            (0..3).for_each(|_| bench.turn(SECOND / 5));
            bench.plant_end.transmit(&[&listed(round, SOMEBODY)]).unwrap();
            bench.turn(SECOND / 1000);
            assert_eq!(bench.robot_end.drain(), [listed(round, SOMEBODY)]);
        }
        let told = bench.notices().into_iter().filter_map(|notice| match notice {
            Notice::Port { side: Toward::Robot, up } => Some(up),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>(), [false, true].repeat(50));
    });
}

#[test]
fn a_storm_toward_the_robot_is_limited_and_bridges_still_hear_each_other() {
    with(Mode::Enforce, 4096, |bench| {
        let storm: Vec<_> = (0..5000_u16).map(|number| listed(number, BROADCAST)).collect();
        // Batches that are not full: it is no overload of the box.
        for part in storm.chunks(BATCH - 1) {
            bench.plant_end.transmit(&part.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            bench.turn(1000);
        }
        bench.plant_end.transmit(&[&spanning_tree(), &listed(1, SOMEBODY)]).unwrap();
        bench.turn(1000);
        let arrived = bench.robot_end.drain();
        assert_eq!(arrived.len(), 2001, "2,000 in a tenth of a second, and the bridge's");
        assert_eq!(arrived[2000], spanning_tree());
        // Nor can a storm be made of theirs.
        (0..20).for_each(|_| {
            bench.plant_end.transmit(&[&spanning_tree()[..]; 10]).unwrap();
            bench.turn(1000);
        });
        assert_eq!(bench.robot_end.drain().len(), 49);
        // The other direction has no limit, and the next tenth of a second begins anew.
        bench.turn(SECOND / 10);
        bench.plant_end.transmit(&[&listed(2, SOMEBODY)]).unwrap();
        bench.turn(1000);
        assert_eq!(bench.robot_end.drain(), [listed(2, SOMEBODY)]);
    });
}

#[test]
fn broadcasts_that_come_back_are_told_of_as_a_loop() {
    with(Mode::Enforce, 4096, |bench| {
        bench.plant_end.transmit(&[&listed(1, BROADCAST)]).unwrap();
        // What leaves at one port comes in at the same port again, as over a second cable between the two sides.
        for _ in 0..20 {
            bench.turn(1_000_000);
            for frame in bench.robot_end.drain() {
                bench.robot_end.transmit(&[&frame]).unwrap();
            }
            for frame in bench.plant_end.drain() {
                bench.plant_end.transmit(&[&frame]).unwrap();
            }
        }
        let loops = bench.notices().into_iter().filter_map(|notice| match notice {
            Notice::Loop { mac } => Some(mac.0),
            _ => None,
        });
        assert_eq!(loops.collect::<Vec<_>>(), [[2, 0, 0, 0, 0, 1]]);
    });
}
