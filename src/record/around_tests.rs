//! Which frames are kept around refusals, and what bounds them.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use dissect::Toward;
use link::{Endpoint, FlowKey, Mac};

use super::around::{KeepOptions, Keeper, Missed};
use super::evidence::tests::{check::check, sound};
use super::tests::{Ids, Quiet, command, folder, frame, options, wait};
use super::*;
use crate::event::{Event, EventId, FlowEnd, FlowRecord, Notice, Reason, Record};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const ROBOT: [u8; 4] = [10, 20, 0, 40];
const PLC: [u8; 4] = [10, 20, 0, 21];
const OTHER: [u8; 4] = [10, 20, 0, 22];

/// A TCP segment toward a side, between ports of a client and of the robot, that ends with `mark`.
fn segment(client: [u8; 4], ports: (u16, u16), toward: Toward, mark: u16) -> Vec<u8> {
    let (macs, addresses, ports) = match toward {
        Toward::Robot => ([[4; 6], [client[3]; 6]], [client, ROBOT], [ports.0, ports.1]),
        Toward::Plant => ([[client[3]; 6], [4; 6]], [ROBOT, client], [ports.1, ports.0]),
    };
    let mut bytes = macs.concat();
    bytes.extend([8, 0, 0x45, 0, 0, 42, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(addresses.concat());
    bytes.extend(ports.map(u16::to_be_bytes).concat());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    bytes.extend(mark.to_be_bytes());
    bytes
}

struct Bench {
    ring: Arc<FrameRing>,
    keeper: Keeper,
    kept: Vec<(u16, EventId)>,
}

impl Bench {
    fn new(hourly: u64) -> Self {
        let ring = Arc::new(FrameRing::new(1 << 20));
        let second = Duration::from_secs(1);
        let options = KeepOptions { robot: Some(ROBOT.into()), before: 2 * second, after: second, hourly };
        Self { keeper: Keeper::new(Arc::clone(&ring), options), ring, kept: Vec::new() }
    }

    fn pass(&self, at_ms: u64, became: Became, toward: Toward, bytes: &[u8]) {
        let (wall_ns, monotonic_ns) = (at_ms * MS + 7, at_ms * MS);
        self.ring.push(&Passing { toward, became, wire_len: bytes.len() as u32, wall_ns, monotonic_ns }, bytes);
    }

    fn plc_sends(&self, at_ms: u64, mark: u16) {
        self.pass(at_ms, Became::Passed, Toward::Robot, &segment(PLC, (49152, 502), Toward::Robot, mark));
    }

    fn follow(&mut self, at_ms: u64) {
        self.follow_with(at_ms, true);
    }

    fn follow_with(&mut self, at_ms: u64, room: bool) {
        let kept = &mut self.kept;
        self.keeper.follow(
            at_ms * MS,
            || room,
            |found| {
                let mark = found.bytes.last_chunk().map_or(0, |mark| u16::from_be_bytes(*mark));
                kept.push((mark, found.event));
            },
        );
    }

    fn marks(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.kept).into_iter().map(|(mark, _)| mark).collect()
    }
}

fn refusal(id: u64, at_ms: u64) -> Event {
    let detail = crate::event::Detail::Transport;
    command(id, at_ms * MS, Reason::NoRule, detail)
}

fn ended(id: u64, at_ms: u64, end: FlowEnd, service: crate::command::Service) -> Event {
    let client = Endpoint::new(PLC.into(), 49152);
    let record = Record::Flow(FlowRecord {
        key: FlowKey::new(client, Endpoint::new(ROBOT.into(), 502), 6, 4),
        opened: Toward::Robot,
        service,
        start_ns: 0,
        end_ns: 0,
        frames: [0; 2],
        bytes: [0; 2],
        commands: [0; 2],
        end,
        reason: Reason::NoRule,
    });
    Event { record, ..refusal(id, at_ms) }
}

#[test]
fn what_was_before_and_comes_after_a_refusal_is_kept_once() {
    let mut bench = Bench::new(1 << 20);
    for step in 0..100u16 {
        let at = 10_000 + u64::from(step) * 50;
        bench.plc_sends(at, step);
        // Another client's commands are control traffic as well; a file transfer is not, nor what is for no robot.
        bench.pass(at, Became::Passed, Toward::Plant, &segment(OTHER, (5000, 30_003), Toward::Plant, 1000 + step));
        bench.pass(at, Became::Passed, Toward::Robot, &segment(OTHER, (5001, 22), Toward::Robot, 2000 + step));
        bench.pass(at, Became::Passed, Toward::Robot, &[step as u8; 20]);
        if step == 60 {
            bench.keeper.see(&refusal(7, at));
        }
        if step == 70 {
            bench.keeper.see(&refusal(8, at));
        }
        bench.follow(at + 10);
    }
    // From two seconds before the first to one second after the second, each once.
    let mut marks = bench.marks();
    marks.sort_unstable();
    let expected: Vec<u16> = (20..=90).chain(1020..=1090).collect();
    assert_eq!(marks, expected);
    assert_eq!(bench.keeper.take_missed(), Missed::default());
    // A later refusal of the same connection goes back over frames that are kept already.
    bench.keeper.see(&refusal(9, 15_000));
    bench.follow(15_010);
    let mut marks = bench.marks();
    marks.sort_unstable();
    assert_eq!(marks, (91..100).chain(1091..1100).collect::<Vec<_>>());
}

#[test]
fn frames_whose_copy_goes_another_way_are_left_out_and_the_boxes_own_are_not() {
    let mut bench = Bench::new(1 << 20);
    let bytes = |mark| segment(PLC, (49152, 502), Toward::Robot, mark);
    bench.pass(5000, Became::Copied, Toward::Robot, &bytes(1));
    bench.pass(5001, Became::Refused { reason: Reason::NoRule, enforced: true }, Toward::Robot, &bytes(2));
    bench.pass(5002, Became::Made, Toward::Plant, &segment(PLC, (49152, 502), Toward::Plant, 3));
    bench.keeper.see(&refusal(1, 5000));
    bench.follow(5010);
    assert_eq!(bench.marks(), [2, 3]);
}

#[test]
fn what_ended_a_connection_is_kept_and_a_device_that_is_refused_is_followed() {
    use crate::command::Service;
    let mut bench = Bench::new(1 << 20);
    bench.plc_sends(5000, 1);
    for (end, service) in [
        (FlowEnd::Closed, Service::Modbus),
        (FlowEnd::TimedOut, Service::Modbus),
        (FlowEnd::Lasting, Service::Modbus),
        (FlowEnd::Reset, Service::Tcp(22)),
    ] {
        bench.keeper.see(&ended(1, 5001, end, service));
        bench.follow(5200);
        assert_eq!(bench.marks(), [0; 0], "{end:?}");
    }
    bench.keeper.see(&ended(2, 5001, FlowEnd::Reset, Service::Modbus));
    bench.follow(5400);
    assert_eq!(bench.kept, [(1, EventId(2))]);
    bench.marks();
    // A frame below the level of commands: whatever else the device sends, or is sent.
    let strange = |mac: [u8; 6]| [&[4; 6][..], &mac, &[0x99, 0x99, 0, 9]].concat();
    bench.pass(9000, Became::Passed, Toward::Robot, &strange([2; 6]));
    bench.pass(9000, Became::Passed, Toward::Robot, &strange([3; 6]));
    let mut event = frame(3, 9001 * MS, Reason::NoRule);
    bench.keeper.see(&event);
    bench.follow(9200);
    assert_eq!(bench.marks(), [9]);
    // Allowed ones say nothing.
    let Record::Frame(record) = &mut event.record else { panic!() };
    (record.verdict.action, record.macs.0) = (crate::event::Action::Forward, Mac([3; 6]));
    bench.keeper.see(&event);
    bench.follow(9400);
    assert_eq!(bench.marks(), [0; 0]);
}

#[test]
fn a_flood_of_refusals_is_bounded_and_what_is_not_kept_is_counted() {
    // Frames of 56 bytes: room for a hundred of the connection's own, or fifty of lesser worth.
    let mut bench = Bench::new(5600);
    for round in 0..1000u16 {
        let at = 5000 + u64::from(round) * 20;
        bench.plc_sends(at, round);
        bench.keeper.see(&refusal(round.into(), at));
        bench.follow(at + 1);
    }
    let kept = bench.marks().len();
    // An hour's worth at once, and what twenty seconds more allow.
    assert!((100..=101).contains(&kept), "{kept}");
    assert_eq!(bench.keeper.take_missed(), Missed { budget: 1000 - kept as u64, overwritten: 0 });
    // An hour later there is as much again, and not more.
    let hour = 3_600_000;
    for round in 0..200u16 {
        bench.plc_sends(2 * hour + u64::from(round), round);
    }
    bench.keeper.see(&refusal(9, 2 * hour));
    bench.follow(2 * hour + 300);
    assert_eq!(bench.marks(), (0..100).collect::<Vec<_>>());
    assert_eq!(bench.keeper.take_missed().budget, 100);
    // Control traffic of others takes half of it at most.
    for round in 0..200u16 {
        let other = segment(OTHER, (5000, 30_003), Toward::Robot, round);
        bench.pass(4 * hour, Became::Passed, Toward::Robot, &other);
    }
    bench.keeper.see(&refusal(9, 4 * hour));
    bench.plc_sends(4 * hour + 1, 999);
    bench.follow(4 * hour + 300);
    let marks = bench.marks();
    assert_eq!((marks.len(), marks.last()), (51, Some(&999)));
}

#[test]
fn made_up_devices_take_no_places_of_refused_commands() {
    let mut bench = Bench::new(1 << 20);
    for number in 0..200u8 {
        let mut event = frame(number.into(), 5000 * MS, Reason::NoRule);
        let Record::Frame(record) = &mut event.record else { panic!() };
        record.macs.0 = Mac([number; 6]);
        bench.keeper.see(&event);
    }
    bench.plc_sends(5001, 1);
    bench.keeper.see(&refusal(200, 5002));
    bench.follow(5100);
    assert_eq!(bench.kept, [(1, EventId(200))]);
}

#[test]
fn of_a_device_that_floods_little_is_kept_after_its_refused_frame() {
    let mut bench = Bench::new(64 << 20);
    let long = |mark: u16| [&[4; 6][..], &[2; 6], &[0x99, 0x99], &mark.to_be_bytes(), &[0; 1000]].concat();
    let flood = |bench: &mut Bench, from: u64| {
        for at in 0..500 {
            bench.pass(from + at, Became::Passed, Toward::Robot, &long(0));
            let mut event = frame(3, (from + at) * MS, Reason::NoRule);
            if let Record::Frame(record) = &mut event.record {
                record.macs.0 = Mac([2; 6]);
            }
            bench.keeper.see(&event);
            bench.follow(from + at + 1);
        }
        std::mem::take(&mut bench.kept).len()
    };
    // What was there when the ring was looked through first, and 64 KiB.
    let kept = flood(&mut bench, 5000);
    assert!((65..=170).contains(&kept), "{kept}");
    // Not even where it goes on, refused all the time.
    assert_eq!(flood(&mut bench, 5500), 0);
    assert_eq!(bench.keeper.take_missed(), Missed::default());
    // Those of others are kept meanwhile, and its own again once it was quiet.
    bench.plc_sends(6000, 7);
    bench.keeper.see(&refusal(9, 6001));
    bench.follow(6300);
    assert_eq!(bench.marks(), [7]);
    assert!(flood(&mut bench, 9000) >= 65);
}

#[test]
fn everything_is_kept_for_who_asks_whatever_was_kept_before() {
    let mut bench = Bench::new(0);
    bench.pass(5000, Became::Passed, Toward::Plant, &[7; 20]);
    bench.plc_sends(5001, 1);
    bench.keeper.see(&Event { record: Record::Notice(Notice::FramesKept { uid: 0 }), ..refusal(5, 5100) });
    bench.follow(5101);
    bench.plc_sends(6100, 2);
    bench.plc_sends(6101, 3);
    bench.follow(6200);
    assert_eq!(bench.marks(), [0x0707, 1, 2], "to the moment after, and no budget counts");
    bench.plc_sends(6300, 4);
    bench.follow(6301);
    assert_eq!((bench.marks().len(), bench.keeper.take_missed()), (0, Missed::default()));
}

#[test]
fn what_is_overwritten_before_it_is_looked_at_is_counted_and_a_disk_that_refuses_gets_none() {
    let mut bench = Bench::new(1 << 30);
    bench.plc_sends(5000, 1);
    bench.keeper.see(&refusal(1, 5000));
    bench.follow(5001);
    assert_eq!(bench.marks(), [1]);
    let long = [0; 1800];
    for _ in 0..1000 {
        bench.pass(5002, Became::Passed, Toward::Robot, &long);
    }
    bench.follow(5003);
    let Missed { budget: 0, overwritten } = bench.keeper.take_missed() else { panic!() };
    // A MiB of 1,832 bytes each is left.
    assert_eq!(overwritten, 1000 - (1 << 20) / 1832);
    bench.plc_sends(5004, 2);
    bench.follow_with(5005, false);
    assert_eq!((bench.marks().len(), bench.keeper.take_missed()), (0, Missed { budget: 1, overwritten: 0 }));
}

/// From the worker's end to the auditor's: what the recorder keeps is sound evidence on the right interfaces.
#[test]
fn the_recorder_keeps_frames_as_evidence() {
    let directory = folder("around");
    let (queue, ring) = (Arc::new(Queue::new(64, 8)), Arc::new(FrameRing::new(1 << 20)));
    let second = Duration::from_secs(1);
    let which = KeepOptions { robot: Some(ROBOT.into()), before: 2 * second, after: second, hourly: 1 << 20 };
    let options = RecordOptions { ring: Some((Arc::clone(&ring), which)), ..options(&directory, 64 << 20) };
    let recorder = Recorder::start(options, Arc::clone(&queue), Box::new(Ids), Arc::new(Quiet)).unwrap();
    let counters = recorder.counters();
    let push = |became, toward, mark| {
        let bytes = segment(PLC, (49152, 502), toward, mark);
        ring.push(&Passing { toward, became, wire_len: 56, wall_ns: 9 * SECOND, monotonic_ns: 5 * SECOND }, &bytes);
    };
    push(Became::Passed, Toward::Robot, 1);
    push(Became::Passed, Toward::Plant, 2);
    push(Became::Refused { reason: Reason::Quarantined, enforced: true }, Toward::Robot, 3);
    push(Became::Refused { reason: Reason::Quarantined, enforced: false }, Toward::Robot, 4);
    push(Became::Made, Toward::Plant, 5);
    push(Became::Made, Toward::Robot, 6);
    assert!(queue.try_push(&refusal(41, 5001)));
    wait("the frames", || counters.frames_around() == 6);
    recorder.stop();
    let told: Vec<(u32, u64, String)> = sound(&directory).packets;
    let said = |at: usize| told[at].2.as_str();
    assert_eq!(told.iter().map(|(port, id, _)| (*port, *id)).collect::<Vec<_>>(), [0, 1, 2, 0, 0, 1].map(|at| (at, 0)));
    assert_eq!((said(0), said(1)), ("Around event 41.", "Around event 41."));
    assert!(said(2).starts_with("Refused (quarantined):") && said(3).starts_with("Would be refused (quarantined):"));
    assert_eq!(said(4), "Made by the box. Around event 41.");
    assert!(check(&directory).is_ok());
    fs::remove_dir_all(directory).unwrap();
}
