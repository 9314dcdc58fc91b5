//! Ports on network interfaces when things go wrong: hand-over, cables, full queues, frames that don't fit.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use support::can_make_namespaces;
use support::raw::RawSocket;
use support::wire::{PLANT, PLANT_SIDE, Wire};
use vambrace::nic::{AfPacket, Counters, FramePort, Geometry, PortError, wait};

/// Eight slots: small enough to go round and to fill.
const SMALL: Geometry = Geometry { block_bytes: 4096, blocks: 4, frame_bytes: 2048 };

fn open(wire: &Wire, geometry: Geometry) -> (AfPacket, RawSocket) {
    let port = wire.inside.enter(|| AfPacket::open(PLANT, geometry).unwrap());
    (port, wire.outside.enter(|| RawSocket::open(PLANT_SIDE).unwrap()))
}

fn numbered(number: usize, len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; len];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame[14..18].copy_from_slice(&(number as u32).to_be_bytes());
    frame
}

fn numbers(port: &AfPacket, count: usize) -> Vec<usize> {
    let number = |index| u32::from_be_bytes(port.frame(index).bytes[14..18].try_into().unwrap()) as usize;
    (0..count).map(number).collect()
}

/// All that arrives within 200 ms of the last frame or until `most` frames.
fn collect(port: &mut AfPacket, most: usize) -> Vec<usize> {
    let mut all = Vec::new();
    while all.len() < most && wait(&[&*port], Duration::from_millis(200)).unwrap() {
        let count = port.receive().unwrap();
        all.extend(numbers(port, count));
        port.release();
    }
    all
}

fn until<T>(mut answer: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(3), "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_heir_of_the_socket_goes_on_where_the_first_one_stopped() {
    if !can_make_namespaces("an_heir_of_the_socket_goes_on_where_the_first_one_stopped") {
        return;
    }
    let wire = Wire::new("heir", 1500);
    let (mut port, sender) = open(&wire, SMALL);
    let mut next = 0;
    // Positions all round the ring; with nothing, some and all slots waiting; with and without frames in hand.
    for round in 0..60_usize {
        let (before, in_hand, waiting) = (round % 5, round % 3, [0, 1, 3, 8][round % 4]);
        let mut send = |count: usize| {
            (next..next + count).for_each(|number| sender.send(&numbered(number, 60)).unwrap());
            next += count;
            next - count..next
        };
        let range = send(before);
        assert_eq!(collect(&mut port, before), range.collect::<Vec<_>>(), "round {round}");
        let held = send(in_hand).count();
        if held > 0 {
            assert_eq!(port.receive().unwrap(), held);
        }
        let range = send(waiting.min(8 - held));
        let cursor = match round % 6 {
            0..3 => None,
            3 => Some(port.cursor()),
            4 => Some(port.cursor() + 3),
            _ => Some(9_999),
        };
        let socket = port.as_fd().try_clone_to_owned().unwrap();
        drop(port);
        port = AfPacket::attach(socket, SMALL, cursor).unwrap();
        // What was in hand is free again, so up to eight fit in all.
        let expected: Vec<_> = range.chain(send(2)).take(8).collect();
        assert_eq!(collect(&mut port, expected.len()), expected, "round {round}");
        assert_eq!(port.receive().unwrap(), 0, "round {round}");
        assert_eq!(port.counters().abandoned, held as u64, "round {round}");
        assert_eq!(port.name(), PLANT);
    }
}

#[test]
fn attaching_to_anything_else_is_an_error() {
    if !can_make_namespaces("attaching_to_anything_else_is_an_error") {
        return;
    }
    let wire = Wire::new("else", 1500);
    let (port, _sender) = open(&wire, SMALL);
    let other_shape = Geometry { blocks: 8, ..SMALL };
    let refused = AfPacket::attach(port.as_fd().try_clone_to_owned().unwrap(), other_shape, None).unwrap_err();
    assert!(matches!(refused, PortError::System { .. }), "{refused}");
    let file = std::fs::File::open("/proc/self/status").unwrap();
    assert!(AfPacket::attach(file.into(), SMALL, None).is_err());
}

#[test]
fn a_port_that_went_down_says_so_and_comes_back() {
    if !can_make_namespaces("a_port_that_went_down_says_so_and_comes_back") {
        return;
    }
    let wire = Wire::new("down", 1500);
    let (mut port, sender) = open(&wire, Geometry::for_mtu(1500));
    assert!(port.carrier().unwrap());
    wire.inside.run(&["ip", "link", "set", PLANT, "down"]);
    let error = until(|| port.receive().err());
    assert_eq!(error.to_string(), "port plant is down; run `ip link set plant up`");
    assert!(matches!(port.transmit(&[&numbered(0, 60)]), Err(PortError::Down { .. })));
    assert!(!port.carrier().unwrap());
    // Being down is quiet: no error is left that would wake a sleeper at once.
    assert!(!wait(&[&port], Duration::from_millis(50)).unwrap());
    wire.inside.run(&["ip", "link", "set", PLANT, "up"]);
    until(|| port.receive().ok());
    until(|| port.carrier().unwrap().then_some(()));
    sender.send(&numbered(7, 60)).unwrap();
    assert_eq!(collect(&mut port, 1), [7]);
    assert_eq!(port.transmit(&[&numbered(0, 60)]).unwrap(), 1);
    assert_eq!(port.counters().outages, 1);
}

#[test]
fn a_port_that_vanished_says_so_and_its_successor_can_be_bound() {
    if !can_make_namespaces("a_port_that_vanished_says_so_and_its_successor_can_be_bound") {
        return;
    }
    let wire = Wire::new("gone", 1500);
    let (mut port, _sender) = open(&wire, Geometry::for_mtu(1500));
    wire.inside.run(&["ip", "link", "del", PLANT]);
    until(|| port.receive().err().filter(|error| matches!(error, PortError::Gone { .. })));
    assert!(matches!(port.transmit(&[&numbered(0, 60)]), Err(PortError::Gone { .. })));
    assert!(port.rebind().is_err());
    wire.outside.join(PLANT_SIDE, &wire.inside, PLANT, 1500);
    port.rebind().unwrap();
    let sender = wire.outside.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    sender.send(&numbered(3, 60)).unwrap();
    assert_eq!(collect(&mut port, 1), [3]);
    assert_eq!(port.transmit(&[&numbered(0, 60)]).unwrap(), 1);
    let missing = wire.inside.enter(|| AfPacket::open("absent", SMALL).unwrap_err());
    assert!(matches!(missing, PortError::Gone { .. }));
}

#[test]
fn frames_that_cannot_go_out_are_dropped_and_counted() {
    if !can_make_namespaces("frames_that_cannot_go_out_are_dropped_and_counted") {
        return;
    }
    let wire = Wire::new("drop", 1500);
    let (mut port, outside) = open(&wire, Geometry::for_mtu(1500));
    let (good, long, short) = (numbered(1, 1514), numbered(2, 1600), vec![0; 13]);
    assert_eq!(port.transmit(&[&good, &long, &good, &short, &good]).unwrap(), 3);
    for _ in 0..3 {
        assert_eq!(outside.receive(Duration::from_secs(1)).unwrap().unwrap(), good);
    }
    wire.outside.run(&["ip", "link", "set", PLANT_SIDE, "down"]);
    until(|| (!port.carrier().unwrap()).then_some(()));
    let started = Instant::now();
    let batch: Vec<&[u8]> = vec![&good; 64];
    for _ in 0..100 {
        assert_eq!(port.transmit(&batch).unwrap(), 0);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "a dead cable cost {:?}", started.elapsed());
    wire.outside.run(&["ip", "link", "set", PLANT_SIDE, "up"]);
    until(|| (port.transmit(&[&good]).unwrap() == 1).then_some(()));
    let counted = port.counters();
    assert_eq!((counted.sent, counted.refused_size), (4, 2));
    assert!(counted.refused_full >= 6400, "{counted:?}");
}

#[test]
fn more_than_a_batch_is_sent_in_order() {
    if !can_make_namespaces("more_than_a_batch_is_sent_in_order") {
        return;
    }
    let wire = Wire::new("batch", 1500);
    let (mut port, outside) = open(&wire, Geometry::for_mtu(1500));
    let frames: Vec<_> = (0..150).map(|number| numbered(number, 60)).collect();
    let borrowed: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    assert_eq!(port.transmit(&borrowed).unwrap(), 150);
    for frame in &frames {
        assert_eq!(outside.receive(Duration::from_secs(1)).unwrap().as_ref(), Some(frame));
    }
    // The port's own frames never come back to it.
    assert_eq!(port.receive().unwrap(), 0);
    assert_eq!(port.counters(), Counters { sent: 150, ..Counters::default() });
}

#[test]
fn a_full_ring_loses_the_newest_and_counts() {
    if !can_make_namespaces("a_full_ring_loses_the_newest_and_counts") {
        return;
    }
    let wire = Wire::new("full", 1500);
    let (mut port, sender) = open(&wire, SMALL);
    (0..20).for_each(|number| sender.send(&numbered(number, 60)).unwrap());
    assert_eq!(collect(&mut port, usize::MAX), (0..8).collect::<Vec<_>>());
    assert_eq!(port.counters().kernel_drops, 12);
    sender.send(&numbered(99, 60)).unwrap();
    assert_eq!(collect(&mut port, 1), [99]);
    let counted = port.counters();
    assert_eq!((counted.received, counted.kernel_drops), (9, 12));
}

#[test]
fn a_frame_longer_than_its_slot_is_dropped_and_counted() {
    if !can_make_namespaces("a_frame_longer_than_its_slot_is_dropped_and_counted") {
        return;
    }
    let wire = Wire::new("cut", 9000);
    let (mut port, sender) = open(&wire, Geometry::for_mtu(1500));
    sender.send(&numbered(1, 60)).unwrap();
    sender.send(&numbered(2, 9014)).unwrap();
    sender.send(&numbered(3, 60)).unwrap();
    assert_eq!(collect(&mut port, 2), [1, 3]);
    assert_eq!(port.counters(), Counters { received: 2, truncated: 1, ..Counters::default() });
}

#[test]
fn frames_carry_the_time_of_their_arrival() {
    if !can_make_namespaces("frames_carry_the_time_of_their_arrival") {
        return;
    }
    let wire = Wire::new("time", 1500);
    let (mut port, sender) = open(&wire, Geometry::for_mtu(1500));
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let before = now();
    sender.send(&numbered(1, 60)).unwrap();
    until(|| (port.receive().unwrap() == 1).then_some(()));
    let stamp = port.frame(0).meta.received_ns;
    assert!((before..=now()).contains(&stamp), "{before} {stamp}");
}
