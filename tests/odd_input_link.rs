//! Odd input against a real Linux behind the running box: tags, ARP, addresses that move, protocols that are not IP.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use dissect::Toward;
use link::{Arp, Mac, Tag, Tags};
use support::adversary::{DATA, ODD, ODD_MAC, ROBOT, ROBOT_MAC, RawTcp, Seen, arp_frame, tcp_frame};
use support::corpus;
use support::guarded::{Cable, Guarded, PLC, PLC_MAC, hex, write_register as write};
use support::raw::RawSocket;
use support::wire::{PLANT_SIDE, ROBOT_SIDE};
use vambrace::event::Reason;

const BROADCAST: Mac = Mac([0xff; 6]);

/// Frames made of an honest segment of a live connection: none reaches the robot, the reason stands in the records, and
/// the connection goes on.
fn dropped(name: &str, from: Mac, why: Reason, make: impl Fn(&RawTcp, &[u8]) -> Vec<Vec<u8>>) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.listen(Duration::from_millis(20));
    for frame in make(&tcp, &tcp_frame(&tcp.template, &tcp.segment(tcp.seq, DATA, &write(129, 2)))) {
        let mark = cell.cable.mark();
        tcp.frame(&frame);
        cell.assert_nothing_since(mark, "the frame", |seen| seen[6..12] == from.0 && seen[12..14] != [8, 6]);
    }
    cell.assert_frame_recorded(from, Toward::Robot, why);
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

fn tagged(tags: &[(u16, u16)], frame: &[u8]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

fn ethernet(to: Mac, from: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0[..], &from.0, &ether_type.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

#[test]
fn ip_inside_llc_is_dropped() {
    dropped("llc", ODD_MAC, Reason::LlcIp, |_, frame| {
        let packet = &frame[14..];
        let llc = |head: &[u8]| {
            let payload = [head, packet].concat();
            ethernet(ROBOT_MAC, ODD_MAC, payload.len() as u16, &payload)
        };
        vec![llc(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), llc(&[0xaa, 0xaa, 3, 0, 0, 0xf8, 8, 0]), llc(&[6, 6, 3])]
    });
}

#[test]
fn more_than_two_tags_are_dropped() {
    dropped("three-tags", ODD_MAC, Reason::VlanStack, |_, frame| {
        vec![
            tagged(&[(0x8100, 0), (0x8100, 0), (0x8100, 0)], frame),
            tagged(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)], frame),
        ]
    });
}

#[test]
fn another_tag_stack_than_the_syns_is_dropped() {
    dropped("other-tags", ODD_MAC, Reason::VlanStack, |_, frame| {
        vec![
            tagged(&[(0x8100, 5)], frame),
            tagged(&[(0x88a8, 5)], frame),
            tagged(&[(0x8100, 0), (0x8100, 5)], frame),
            tagged(&[(0x88a8, 5), (0x8100, 0)], frame),
        ]
    });
}

#[test]
fn another_mac_than_the_syns_is_dropped() {
    let other = Mac([2, 0, 10, 20, 0, 99]);
    dropped("other-mac", other, Reason::MacMismatch, |_, frame| {
        let mut frame = frame.to_vec();
        frame[6..12].copy_from_slice(&other.0);
        vec![frame]
    });
}

#[test]
fn priority_tags_at_any_depth_are_the_same_connection() {
    let Some(cell) = Guarded::up("vid-0") else { return };
    let mut tcp = cell.connect(502);
    let tag = |tpid, tci| Tag { tpid, tci };
    let stacks = [
        Tags::new(&[tag(0x8100, 0)]),
        Tags::new(&[tag(0x88a8, 0xe000)]),
        Tags::new(&[tag(0x88a8, 0x2000), tag(0x8100, 0)]),
        Tags::new(&[tag(0x8100, 0), tag(0x8100, 0xa000)]),
    ];
    let mut all = Vec::new();
    for stack in stacks {
        tcp.template.tags = stack.unwrap();
        assert_eq!(hex(&tcp.ask(&write(128, 1), 12)), hex(&write(128, 1)), "{stack:?}");
        all.extend(write(128, 1));
        cell.assert_arrived(&tcp, &all);
    }
    tcp.template.tags = Tags::default();
    cell.assert_lives(&mut tcp, &all);
    cell.assert_honest_session();
}

#[test]
fn what_the_box_makes_itself_carries_the_tags_of_the_syn() {
    let Some(cell) = Guarded::up("tags-kept") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 502);
    let stack = Tags::new(&[Tag { tpid: 0x8100, tci: 0xa000 }]).unwrap();
    tcp.template.tags = stack;
    tcp.handshake();
    // In pieces, so that the box puts them together.
    let command = write(128, 1);
    for part in command.chunks(5) {
        tcp.send(part);
        tcp.listen(Duration::from_millis(5));
    }
    assert_eq!(hex(tcp.wait_for(12)), hex(&command));
    cell.assert_arrived(&tcp, &command);
    let tags = |seen: &Seen| link::parse(&seen.bytes).unwrap().tags;
    let others: Vec<_> = cell.cable.segments(&tcp).iter().map(tags).filter(|tags| *tags != stack).collect();
    assert!(others.is_empty(), "{others:?}");
    cell.assert_lives(&mut tcp, &command);
    cell.assert_honest_session();
}

fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Arp {
    let ((sender_mac, sender_ip), (target_mac, target_ip)) = (sender, target);
    Arp { operation, sender_mac, sender_ip, target_mac, target_ip }
}

#[test]
fn arp_that_contradicts_a_binding_is_dropped() {
    let Some(cell) = Guarded::up("arp") else { return };
    // Both bindings are known from here on.
    cell.assert_honest_session();
    let tcp = cell.connect(502);
    let mark = cell.cable.mark();
    let robot = (ROBOT_MAC, ROBOT);
    for lie in [
        arp_frame(ROBOT_MAC, ODD_MAC, &arp(2, (ODD_MAC, PLC), robot)),
        arp_frame(BROADCAST, ODD_MAC, &arp(1, (ODD_MAC, PLC), robot)),
        arp_frame(BROADCAST, ODD_MAC, &arp(1, (ODD_MAC, PLC), (Mac([0; 6]), PLC))),
        arp_frame(BROADCAST, ODD_MAC, &arp(2, (ODD_MAC, ROBOT), (BROADCAST, ROBOT))),
        arp_frame(ROBOT_MAC, ODD_MAC, &arp(2, (PLC_MAC, PLC), robot)),
    ] {
        tcp.frame(&lie);
    }
    let honest = |seen: &[u8]| seen[28..32] == ODD.octets();
    cell.assert_nothing_since(mark, "a lie", |seen| {
        seen[6..12] == ODD_MAC.0 && seen[12..14] == [8, 6] && !honest(seen)
    });
    cell.assert_frame_recorded(ODD_MAC, Toward::Robot, Reason::ArpConflict);
    let neighbours = cell.robot_space.run(&["ip", "neigh", "show", &PLC.to_string()]);
    assert!(neighbours.contains(&PLC_MAC.to_string()), "{neighbours}");
    cell.assert_honest_session();
}

#[test]
fn a_mac_that_moves_to_the_other_port_is_dropped() {
    let Some(cell) = Guarded::up("mac-moves") else { return };
    cell.assert_honest_session();
    let socket = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let mark = cell.cable.mark();
    socket.send(&ethernet(Mac([1, 0x80, 0xc2, 0, 0, 0x0e]), ROBOT_MAC, 0x88cc, &[2, 7, 4])).unwrap();
    socket.send(&ethernet(BROADCAST, ROBOT_MAC, 0x8892, &[0x80, 1])).unwrap();
    cell.assert_nothing_since(mark, "a frame in the robot's own name", |seen| seen[6..12] == ROBOT_MAC.0);
    cell.assert_frame_recorded(ROBOT_MAC, Toward::Robot, Reason::MacMismatch);
    cell.assert_honest_session();
}

/// Frames of the corpus by the beginnings of their names.
fn frames(names: &[&str]) -> Vec<corpus::Named> {
    let wanted = |named: &corpus::Named| names.iter().any(|name| named.name.starts_with(name));
    let found: Vec<_> = corpus::frames().into_iter().filter(wanted).collect();
    assert!(found.len() >= names.len(), "{names:?}");
    found
}

/// Each frame comes out of the other port byte for byte, both ways.
fn passes(cell: &Guarded, frames: &[corpus::Named]) {
    let plant_cable = Cable::start(&cell.plant, PLANT_SIDE);
    let (plant, robot) = (
        cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap()),
        cell.robot_space.enter(|| RawSocket::open(ROBOT_SIDE).unwrap()),
    );
    let mut lost = Vec::new();
    for (from, to, way) in [(&plant, &cell.cable, "toward the robot"), (&robot, &plant_cable, "toward the plant")] {
        for named in frames {
            // Sources differ by side, as a MAC that moves is something else.
            let mut bytes = named.bytes.clone();
            bytes[11] = if way == "toward the robot" { 2 } else { 3 };
            let mark = to.mark();
            from.send(&bytes).unwrap();
            std::thread::sleep(Duration::from_millis(30));
            if !to.since(mark).iter().any(|seen| seen.bytes == bytes) {
                lost.push(format!("{} {way}", named.name));
            }
        }
    }
    assert!(lost.is_empty(), "{lost:?}");
    cell.assert_honest_session();
}

#[test]
fn listed_protocols_pass_unchanged_both_ways() {
    let Some(cell) = Guarded::up("listed") else { return };
    passes(&cell, &frames(&["PROFINET RT", "PROFINET DCP identify", "PTP", "MRP", "EtherCAT", "LLDP", "STP"]));
}

#[test]
fn link_local_groups_pass_unchanged_both_ways() {
    let Some(cell) = Guarded::up("link-local") else { return };
    passes(&cell, &frames(&["LACP", "EAPOL start", "LLDP", "STP", "PTP peer delay"]));
}

#[test]
fn unlisted_ether_types_are_dropped_toward_the_robot() {
    dropped("ether-types", ODD_MAC, Reason::EtherTypeNotListed, |_, frame| {
        // Local experiments, MPLS, PPPoE, provider backbone, GOOSE, loopback test.
        let make = |ether_type: u16| ethernet(ROBOT_MAC, ODD_MAC, ether_type, &frame[14..]);
        [0x88b5, 0x8847, 0x8864, 0x88e7, 0x88b8, 0x9000].map(make).to_vec()
    });
}

#[test]
fn profinet_dcp_set_is_dropped_and_other_profinet_passes() {
    let Some(cell) = Guarded::up("dcp") else { return };
    let socket = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let dcp =
        |service: u8| [&[0xfe, 0xfd, service, 0, 0, 0, 0, 1, 0, 0, 0, 8][..], &[2, 2, 0, 4, 0, 0, b'r', b'2']].concat();
    let mark = cell.cable.mark();
    let set = ethernet(ROBOT_MAC, ODD_MAC, 0x8892, &dcp(4));
    for frame in [&set, &tagged(&[(0x8100, 0xc000)], &set), &tagged(&[(0x88a8, 0), (0x8100, 0)], &set)] {
        socket.send(frame).unwrap();
    }
    let is_set = |seen: &[u8]| seen.windows(3).any(|part| part == [0xfe, 0xfd, 4]);
    cell.assert_nothing_since(mark, "DCP Set", is_set);
    cell.assert_frame_recorded(ODD_MAC, Toward::Robot, Reason::ProfinetDcpSet);
    let get = ethernet(ROBOT_MAC, ODD_MAC, 0x8892, &dcp(3));
    socket.send(&get).unwrap();
    assert!(cell.cable.carries(mark, |seen| seen == get), "DCP Get passes");
    cell.assert_honest_session();
}

#[test]
fn a_flood_of_listed_frames_is_held_to_a_budget_while_an_honest_session_works() {
    let Some(cell) = Guarded::up("budget") else { return };
    let socket = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let frame = ethernet(Mac([1, 0x80, 0xc2, 0, 0, 0x0e]), ODD_MAC, 0x88cc, &[2, 7, 4]);
    let flood = std::thread::spawn(move || {
        for _ in 0..60_000 {
            // Where the queue of the port is full, that one is lost.
            let _ = socket.send(&frame);
        }
    });
    cell.assert_honest_session();
    flood.join().unwrap();
    cell.assert_frame_recorded(ODD_MAC, Toward::Robot, Reason::Overload);
    cell.assert_honest_session();
}
