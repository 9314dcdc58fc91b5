//! What holds whatever the policy allows: quarantine after refusals, a cap on new connections, word of scans, IPv6. In
//! virtual time.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use link::craft::{Segment, Template, emit_tcp};
use link::{Mac, Tags, TcpFlags};
use support::modbus_load as load;
use support::virtual_net::{Cell, GOOD, PLANT, ROBOT, SECOND_NS, rules, rules_of};
use vambrace::engine::{Mode, Rules};
use vambrace::event::{Notice, Reason, Record};

/// Three refusals within ten seconds: a minute outside.
fn strict() -> String {
    format!("{}[refusal]\nescalate = {{ refusals = 3, within = \"10s\", quarantine = \"1m\" }}\n", load::POLICY)
}

fn quarantines(cell: &Cell) -> usize {
    let begun = |record: &&Record| matches!(record, Record::Notice(Notice::Quarantine { .. }));
    cell.records().iter().filter(begun).count()
}

fn connected(policy: &str) -> Cell {
    let mut cell = Cell::new(rules(Mode::Enforce, policy), GOOD, 1);
    cell.keep_records();
    cell.keep_trace(30);
    cell.open(load::PORT, Some(load::server()));
    cell
}

/// Sends a write that the policy refuses.
fn offend(cell: &mut Cell, n: u32) {
    let (request, _) = load::forbidden(n * 4);
    cell.client_mut().send(&request);
    cell.run_for(SECOND_NS / 10);
}

/// Whether a new connection of the plant's comes about.
fn can_connect(cell: &mut Cell) -> bool {
    cell.robot.listen(load::PORT, Some(load::server()));
    let line = cell.plant.connect(ROBOT, load::PORT);
    cell.run_for(3 * SECOND_NS);
    cell.plant.line(line).is_established()
}

#[test]
fn who_is_refused_too_often_is_kept_out_for_a_while() {
    let mut cell = connected(&strict());
    offend(&mut cell, 0);
    offend(&mut cell, 1);
    assert!(cell.client().is_established() && quarantines(&cell) == 0);
    offend(&mut cell, 2);
    cell.run_for(SECOND_NS);
    assert_eq!(quarantines(&cell), 1);
    assert!(!cell.client().is_established() && !cell.server().is_established(), "{}", cell.trace());
    assert!(cell.server().received().is_empty());
    assert!(!can_connect(&mut cell));
    assert!(cell.refusals().contains_key(&Reason::Quarantined), "{:?}", cell.refusals());
    cell.run_for(60 * SECOND_NS);
    assert!(can_connect(&mut cell), "its time is over");
}

#[test]
fn refusals_that_lie_apart_and_refused_reads_keep_nobody_out() {
    let mut cell = connected(&strict());
    for n in 0..6 {
        offend(&mut cell, n);
        cell.run_for(5 * SECOND_NS);
    }
    assert_eq!(quarantines(&cell), 0, "three in ten seconds, not in thirty");
    // The fourth kind of forbidden request reads.
    for n in 0..50 {
        let (request, _) = load::forbidden(n * 4 + 3);
        cell.client_mut().send(&request);
        cell.run_for(SECOND_NS / 100);
    }
    assert_eq!(quarantines(&cell), 0);
    assert!(cell.client().is_established());
}

#[test]
fn without_being_asked_to_the_box_keeps_nobody_out() {
    for policy in [
        load::POLICY.to_owned(),
        format!("{}[refusal]\nescalate = {{ refusals = 0, within = \"10s\", quarantine = \"5m\" }}\n", load::POLICY),
    ] {
        let mut cell = connected(&policy);
        (0..50).for_each(|n| offend(&mut cell, n));
        assert!(cell.client().is_established() && quarantines(&cell) == 0);
    }
}

#[test]
fn shadow_keeps_nobody_out() {
    let mut cell = Cell::new(rules(Mode::Shadow, &strict()), GOOD, 1);
    cell.keep_records();
    cell.open(load::PORT, Some(load::server()));
    (0..10).for_each(|n| offend(&mut cell, n));
    assert!(cell.client().is_established() && quarantines(&cell) == 0);
}

#[test]
fn another_policy_or_mode_lets_everybody_in_again() {
    let other = strict() + "# looked at\n";
    // The same policy under another generation: virtual patches were chosen anew, and nobody looked at anything.
    for (mode, policy, generation, lets_in) in
        [(Mode::Enforce, &other, 2, true), (Mode::Lockdown, &strict(), 1, true), (Mode::Enforce, &strict(), 2, false)]
    {
        let mut cell = connected(&strict());
        (0..3).for_each(|n| offend(&mut cell, n));
        assert!(!can_connect(&mut cell));
        cell.set_rules(rules_of(mode, policy, generation));
        assert_eq!(can_connect(&mut cell), lets_in, "{mode}, generation {generation}");
    }
}

/// Whoever does not get what the robot sends can't have somebody kept out by sending in his name, MAC and ports included.
#[test]
fn nobody_is_kept_out_for_what_others_send_in_his_name() {
    let mut cell = connected(&strict());
    let macs = (Mac([2, 0, 0, 0, 0, 21]), Mac([2, 0, 0, 0, 0, 40]));
    let (request, _) = load::forbidden(0);
    for n in 0..200_u32 {
        // On its connection, and on one that has no handshake.
        for port in [40_001, 41_000] {
            let ends = ((PLANT.into(), port), (ROBOT.into(), load::PORT));
            let template = Template::new(macs, Tags::default(), ends.0, ends.1).unwrap();
            let (seq, ack) = (n.wrapping_mul(0x0100_0193), n.wrapping_mul(0x9e37_79b9));
            let segment =
                Segment { seq, ack, flags: TcpFlags::ACK, window: 1000, payload: &request, ..Segment::default() };
            let mut bytes = vec![0; 200];
            let len = emit_tcp(&template, &segment, &mut bytes).unwrap();
            cell.inject(bytes[..len].to_vec());
        }
    }
    cell.run_for(SECOND_NS);
    assert!(cell.server().received().is_empty());
    assert_eq!(quarantines(&cell), 0);
    assert!(cell.client().is_established());
}

#[test]
fn a_quarantine_outlives_the_packet_process() {
    let mut cell = connected(&strict());
    (0..3).for_each(|n| offend(&mut cell, n));
    cell.restart();
    assert!(!can_connect(&mut cell));
}

#[test]
fn the_robot_itself_is_never_kept_out() {
    let policy = strict().replace("from = \"plc\"", "from = \"robot\"\nto = \"plc\"");
    let mut cell = Cell::new(rules(Mode::Enforce, &policy), GOOD, 1);
    cell.keep_records();
    cell.open_from_robot(load::PORT, Some(load::server()));
    (0..10).for_each(|n| offend(&mut cell, n));
    assert!(cell.client().is_established() && quarantines(&cell) == 0);
}

fn with(change: impl FnOnce(&mut Rules), policy: &str) -> Arc<Rules> {
    let mut rules = Arc::into_inner(rules(Mode::Enforce, policy)).unwrap();
    change(&mut rules);
    Arc::new(rules)
}

#[test]
fn a_sender_opens_no_more_connections_a_second_than_the_guard_allows() {
    let capped = with(|rules| rules.new_connections = 3, load::POLICY);
    let mut cell = Cell::new(capped, GOOD, 1);
    let lines: Vec<_> = (0..6)
        .map(|_| {
            cell.robot.listen(load::PORT, Some(load::server()));
            cell.plant.connect(ROBOT, load::PORT)
        })
        .collect();
    cell.run_for(SECOND_NS / 2);
    let established = lines.iter().filter(|line| cell.plant.line(**line).is_established()).count();
    assert_eq!((established, cell.refusals().get(&Reason::ConnectionRate)), (3, Some(&3)));
    // What TCP repeats a second later is within the cap again.
    cell.run_for(3 * SECOND_NS);
    assert!(lines.iter().all(|line| cell.plant.line(*line).is_established()));
}

#[test]
fn who_tries_door_after_door_is_told_of_once() {
    let mut cell = Cell::new(rules(Mode::Enforce, load::POLICY), GOOD, 1);
    cell.keep_records();
    for port in [22, 80, 443, 5900, 6666, 29_999, 30_001, 30_002, 30_003, 30_004, 30_020, 44_818] {
        cell.plant.connect(ROBOT, port);
    }
    cell.run_for(2 * SECOND_NS);
    let scans: Vec<_> = cell
        .records()
        .iter()
        .filter_map(|record| match record {
            Record::Notice(Notice::Scan { address, ports, .. }) => Some((*address, *ports)),
            _ => None,
        })
        .collect();
    assert_eq!(scans, [(PLANT.into(), 8)]);
}

#[test]
fn ipv6_passes_by_its_switch_alone_and_never_with_odd_headers() {
    use dissect::Toward;
    use vambrace::engine::{Actions, Arena, Fate, Pipeline};
    use vambrace::nic::{Frame, FrameMeta};

    /// An ICMPv6 message from fe80::1 to ff02::1, with a header before it or not.
    fn frame(kind: u8, hop_limit: u8, hop_by_hop: bool) -> Vec<u8> {
        let extension: &[u8] = if hop_by_hop { &[58, 0, 5, 2, 0, 0, 1, 0] } else { &[] };
        let message = [&[kind, 0, 0, 0][..], &[0; 20]].concat();
        let payload = [extension, &message].concat();
        let next = if hop_by_hop { 0 } else { 58 };
        let mut bytes = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 21, 0x86, 0xdd];
        bytes.extend([0x60, 0, 0, 0, 0, u8::try_from(payload.len()).unwrap(), next, hop_limit]);
        bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }
    let fate = |ipv6: bool, bytes: &[u8]| {
        let mut arena = Arena::boxed(1);
        let mut pipeline = Pipeline::new(&mut arena, with(|rules| rules.ipv6 = ipv6, load::POLICY), ());
        let mut actions = Actions::new();
        actions.begin(0, Toward::Robot);
        let meta = FrameMeta { received_ns: 1, wire_len: 100, checksum_partial: false };
        pipeline.handle(Toward::Robot, &Frame { bytes, meta }, 1, &mut actions)
    };
    let solicitation = frame(135, 255, false);
    let report = frame(143, 1, true);
    assert_eq!(fate(false, &solicitation), Fate::Drop(Reason::Ipv6));
    assert_eq!(fate(false, &report), Fate::Drop(Reason::Ipv6));
    assert_eq!(fate(true, &solicitation), Fate::Forward);
    assert_eq!(fate(true, &report), Fate::Forward);
    // A router passed it on; a redirect; an extension header where none belongs; an echo, which the policy has to allow.
    assert_eq!(fate(true, &frame(135, 64, false)), Fate::Drop(Reason::Ipv6));
    assert_eq!(fate(true, &frame(137, 255, false)), Fate::Drop(Reason::Ipv6));
    assert_eq!(fate(true, &frame(135, 255, true)), Fate::Drop(Reason::Ipv6));
    assert_eq!(fate(true, &frame(128, 64, true)), Fate::Drop(Reason::Ipv6));
    assert!(matches!(fate(true, &frame(128, 64, false)), Fate::Drop(Reason::UnknownDevice | Reason::NoRuleForClient)));
}

#[test]
fn ports_go_by_their_names() {
    let named = "version = 1\nrobot = \"robot\"\n[[allow]]\nfrom = \"plc\"\nservice = \"ethernet_ip\"\n[[allow]]\n\
                 from = \"plc\"\nservice = \"ssh\"\n[[test]]\nname = \"t\"\nfrom = \"plc\"\nservice = \"ssh\"\nexpect = \"allowed\"\n\
                 [[test]]\nname = \"u\"\nfrom = \"plc\"\nservice = \"udp/2222\"\nexpect = \"allowed\"\n\
                 [[test]]\nname = \"v\"\nfrom = \"plc\"\nservice = \"vnc\"\nexpect = \"refused\"\n";
    let rules = rules(Mode::Enforce, named);
    assert!(rules.policy.run_tests().iter().all(|test| test.passed), "{:?}", rules.policy.run_tests());
}
