//! Commands that the robot itself sends, to a device of the plant: the device is what is guarded, by the same gate. Two
//! TCP stacks in virtual time, over good and bad cables.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use dissect::Toward;
use link::craft::{Segment, Template, emit_tcp};
use link::{Mac, Tags, TcpFlags};
use support::modbus_load::{self as load, Load};
use support::virtual_net::{CUTTING, Cell, GOOD, PLANT, ROBOT, ROUGH, SECOND_NS, WILD, rules, rules_of};
use vambrace::command::Service;
use vambrace::engine::Mode;
use vambrace::event::{Reason, Record};
use vambrace::nic::impairment::Rates;

/// What the load's policy allows the PLC on the robot, the robot may do on the PLC.
fn policy() -> String {
    load::POLICY.replace("from = \"plc\"", "from = \"robot\"\nto = \"plc\"")
}

fn connected(policy: &str, rates: Rates, seed: u64) -> Cell {
    let mut cell = Cell::new(rules(Mode::Enforce, policy), rates, seed);
    cell.keep_trace(24);
    cell.open_from_robot(load::PORT, Some(load::server()));
    cell
}

fn exchanges(cell: &mut Cell, load: Load) {
    load::run(cell, load).unwrap_or_else(|error| panic!("{error}\n{}", cell.trace()));
}

const ALLOWED: Load = Load { exchanges: 200, in_flight: 1, split: false, forbidden_every: 0 };
const MIXED: Load = Load { exchanges: 400, in_flight: 1, split: false, forbidden_every: 5 };

#[test]
fn allowed_commands_pass_untouched() {
    let mut cell = connected(&policy(), GOOD, 1);
    let of_the_handshake = cell.crafted();
    exchanges(&mut cell, ALLOWED);
    assert_eq!(cell.crafted(), of_the_handshake, "frames pass as they are");
    assert!(cell.refusals().is_empty(), "{:?}", cell.refusals());
}

#[test]
fn refused_commands_never_reach_the_device_and_the_session_goes_on() {
    for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3), (WILD, 4)] {
        for (in_flight, split) in [(1, false), (4, false), (1, true)] {
            let mut cell = connected(&policy(), rates, seed);
            exchanges(&mut cell, Load { in_flight, split, ..MIXED });
            // The end arrives as it would have without the box.
            cell.client_mut().close();
            cell.run_until(60 * SECOND_NS, |cell| cell.server().state() == smoltcp::socket::tcp::State::CloseWait)
                .unwrap_or_else(|stalled| panic!("seed {seed}: {stalled:?}\n{}", cell.trace()));
        }
    }
}

#[test]
fn records_name_the_robot_as_the_client_that_opened_and_commanded() {
    let mut cell = Cell::new(rules(Mode::Enforce, &policy()), GOOD, 1);
    cell.keep_records();
    cell.open_from_robot(load::PORT, Some(load::server()));
    exchanges(&mut cell, MIXED);
    cell.client_mut().close();
    cell.server_mut().close();
    cell.run_for(5 * SECOND_NS);
    let (mut allowed, mut refused, mut answers, mut flows) = (0, 0, 0, 0);
    for record in cell.records() {
        match record {
            Record::Command(command) => {
                assert_eq!((command.opened, command.toward()), (Toward::Plant, Toward::Plant));
                assert_eq!(command.service, Service::Modbus);
                assert_eq!((command.key.robot.ip(), command.key.plant.ip()), (ROBOT.into(), PLANT.into()));
                assert_eq!(command.key.plant.port, load::PORT);
                assert!(!command.key.is_mirrored());
                if command.verdict.is_allowed() { allowed += 1 } else { refused += 1 }
            }
            Record::Answer(answer) => {
                assert_eq!((answer.key.robot.ip(), answer.key.plant.port), (ROBOT.into(), load::PORT));
                answers += 1;
            }
            Record::Flow(flow) => {
                assert_eq!((flow.opened, flow.key.robot.ip()), (Toward::Plant, ROBOT.into()));
                // The device answers fewer than it was asked for.
                assert!(flow.bytes[0] < flow.bytes[1], "{:?}", flow.bytes);
                assert_eq!(flow.commands, [320, 80]);
                flows += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((allowed, refused, answers, flows), (320, 80, 320, 1));
}

#[test]
fn a_device_that_no_rule_names_is_not_reached() {
    for rule in [
        "",
        // The PLC may command the robot: that says nothing of the other way.
        "[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n",
        "[[allow]]\nfrom = \"robot\"\nto = \"10.20.0.99\"\nservice = \"modbus\"\n",
        "[[allow]]\nfrom = \"robot\"\nto = \"plc\"\nservice = \"dashboard\"\n",
        "[[allow]]\nfrom = \"robot\"\nto = \"plc\"\nservice = \"modbus\"\n[[deny]]\nfrom = \"plc\"\nservice = \"any\"\n",
    ] {
        let mut cell = Cell::new(rules(Mode::Enforce, &format!("version = 1\nrobot = \"robot\"\n{rule}")), GOOD, 1);
        cell.plant.listen(load::PORT, Some(load::server()));
        cell.robot.connect(PLANT, load::PORT);
        cell.run_for(3 * SECOND_NS);
        assert_eq!(cell.plant.line(0).state(), smoltcp::socket::tcp::State::Listen, "{rule}");
        let reasons: Vec<_> = cell.refusals().keys().copied().collect();
        let expected = [Reason::EgressNotAllowed, Reason::NoServiceRule, Reason::DeniedByRule, Reason::NoRuleForClient];
        assert!(reasons.len() == 1 && expected.contains(&reasons[0]), "{rule}: {reasons:?}");
    }
}

#[test]
fn a_rule_about_a_device_lets_it_command_nothing() {
    let mut cell = Cell::new(rules(Mode::Enforce, &policy()), GOOD, 1);
    cell.robot.listen(load::PORT, Some(load::server()));
    cell.plant.connect(ROBOT, load::PORT);
    cell.run_for(3 * SECOND_NS);
    assert_eq!(cell.robot.line(0).state(), smoltcp::socket::tcp::State::Listen);
    assert_eq!(cell.refusals().keys().copied().collect::<Vec<_>>(), [Reason::NoServiceRule]);
}

#[test]
fn connections_both_ways_between_the_same_two_are_judged_each_by_its_own_rules() {
    let both = format!(
        "{}[[allow]]\nid = \"coils\"\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"read_coils\"]\n",
        policy()
    );
    let mut cell = connected(&both, GOOD, 1);
    let there = cell.robot.listen(load::PORT, Some(load::server()));
    let here = cell.plant.connect(ROBOT, load::PORT);
    cell.run_until(SECOND_NS, |cell| cell.plant.line(here).is_established()).unwrap();
    exchanges(&mut cell, MIXED);
    // What the robot may do to the PLC, the PLC may not do to the robot.
    cell.plant.line_mut(here).send(&load::allowed(1));
    cell.run_for(SECOND_NS);
    assert!(cell.robot.line(there).received().is_empty());
    assert_eq!(cell.plant.line(here).received(), load::exception(&load::allowed(1), 1));
    let read_coils = [0, 9, 0, 0, 0, 6, 255, 1, 0, 0, 0, 1];
    cell.plant.line_mut(here).send(&read_coils);
    cell.run_for(SECOND_NS);
    assert_eq!(cell.robot.line(there).received(), read_coils);
}

#[test]
fn deny_rules_of_the_robots_own_commands_win() {
    let denied = policy().replace("[[allow]]", "[[deny]]\nfrom = \"robot\"\nto = \"plc\"\nservice = \"modbus\"\nfunction = [\"write_single_register\"]\n[[allow]]");
    let mut cell = connected(&denied, GOOD, 1);
    cell.client_mut().send(&load::allowed(9));
    cell.run_for(SECOND_NS);
    assert!(cell.server().received().is_empty());
    assert_eq!(cell.client().received(), load::exception(&load::allowed(9), 1));
    assert_eq!(cell.refusals().keys().copied().collect::<Vec<_>>(), [Reason::DeniedByRule]);
}

/// Register 258 is the robot mode where the robot answers; a device may have anything there.
#[test]
fn what_a_device_answers_says_nothing_of_the_robot() {
    let when = "[[allow]]\nid = \"read\"\nfrom = \"robot\"\nto = \"plc\"\nservice = \"modbus\"\nfunction = [\"read_holding_registers\"]\n\
                [[allow]]\nid = \"write\"\nfrom = \"robot\"\nto = \"plc\"\nservice = \"modbus\"\nfunction = [\"write_single_register\"]\n\
                when = { robot_mode = [\"running\"] }\n";
    let mut cell = Cell::new(rules(Mode::Enforce, &format!("version = 1\nrobot = \"robot\"\n{when}")), GOOD, 1);
    let answers: support::virtual_net::Service = Box::new(|bytes, out| {
        let Some(len) = load::unit_len(bytes) else { return 0 };
        out.extend_from_slice(&[bytes[0], bytes[1], 0, 0, 0, 5, 255, 3, 2, 0, 7]);
        len
    });
    cell.open_from_robot(load::PORT, Some(answers));
    cell.client_mut().send(&[0, 1, 0, 0, 0, 6, 255, 3, 1, 2, 0, 1]);
    cell.run_until(SECOND_NS, |cell| cell.client().received().len() == 11).unwrap();
    let received = cell.server().received().len();
    cell.client_mut().send(&[0, 2, 0, 0, 0, 6, 255, 6, 0, 128, 0, 1]);
    cell.run_for(SECOND_NS / 10);
    assert_eq!(cell.server().received().len(), received, "the write did not go on");
    assert_eq!(cell.refusals().keys().copied().collect::<Vec<_>>(), [Reason::StateUnknown]);
}

#[test]
fn another_policy_and_another_process_take_over_a_live_connection() {
    let mut cell = connected(&policy(), GOOD, 1);
    exchanges(&mut cell, ALLOWED);
    cell.restart();
    exchanges(&mut cell, MIXED);
    // A connection with a map lives on too, if its process ends between two events.
    cell.restart();
    exchanges(&mut cell, MIXED);
    cell.set_rules(rules_of(Mode::Enforce, "version = 1\nrobot = \"robot\"\n", 2));
    let before = cell.server().received().len();
    cell.client_mut().send(&load::allowed(1));
    cell.run_for(SECOND_NS);
    assert_eq!(cell.server().received().len(), before);
    assert!(!cell.client().is_established() && !cell.server().is_established(), "it ended at both sides");
}

#[test]
fn a_process_that_dies_in_a_change_ends_that_connection_on_both_sides() {
    let mut cell = connected(&policy(), GOOD, 1);
    exchanges(&mut cell, ALLOWED);
    cell.trip_at(3);
    let _ = load::run(&mut cell, ALLOWED);
    cell.run_for(SECOND_NS);
    assert!(cell.crashes().happened > 0);
    assert!(!cell.client().is_established() && !cell.server().is_established(), "{}", cell.trace());
}

#[test]
fn what_the_robot_does_is_learned_and_no_more_is_proposed() {
    let mut cell = Cell::new(rules(Mode::Learn, "version = 1\nrobot = \"robot\"\n"), GOOD, 1);
    cell.learn();
    cell.open_from_robot(load::PORT, Some(load::server()));
    exchanges(&mut cell, ALLOWED);
    let proposal = cell.proposal();
    assert!(proposal.contains("from = \"robot\"\nto = \"plc\"\n"), "{proposal}");
    let mut enforced = connected(&proposal, GOOD, 1);
    exchanges(&mut enforced, MIXED);
    assert_eq!(enforced.refusals().values().sum::<u64>(), 80, "{proposal}");
}

#[test]
fn enforcement_begins_on_a_live_connection() {
    let mut cell = Cell::new(rules(Mode::Shadow, &policy()), GOOD, 1);
    cell.keep_trace(24);
    cell.open_from_robot(load::PORT, Some(load::server()));
    exchanges(&mut cell, ALLOWED);
    cell.set_rules(rules(Mode::Enforce, &policy()));
    exchanges(&mut cell, MIXED);
}

#[test]
fn a_robot_that_was_restarted_reaches_its_device_again() {
    let mut cell = connected(&policy(), GOOD, 1);
    exchanges(&mut cell, MIXED);
    // Nothing but devices limits how many there are.
    for _ in 0..4 {
        let there = cell.plant.listen(load::PORT, Some(load::server()));
        let here = cell.robot.connect(PLANT, load::PORT);
        cell.run_until(SECOND_NS, |cell| cell.robot.line(here).is_established()).unwrap();
        cell.robot.line_mut(here).send(&load::allowed(1));
        cell.run_until(SECOND_NS, |cell| !cell.robot.line(here).received().is_empty()).unwrap();
        assert_eq!(cell.plant.line(there).received(), load::allowed(1));
    }
}

/// The robot is the client here, so what comes from the plant is answers, which nobody judges: but only the device's own.
#[test]
fn nobody_answers_in_the_devices_name_from_another_mac() {
    let to_any = policy().replace("to = \"plc\"", "to = \"10.20.0.0/24\"");
    let mut unbound = std::sync::Arc::into_inner(rules(Mode::Enforce, &to_any)).unwrap();
    // No address of the plant is in the configuration: none is bound to a MAC.
    unbound.devices.retain(|device| device.is_robot);
    let mut cell = Cell::new(unbound.into(), GOOD, 1);
    cell.open_from_robot(load::PORT, Some(load::server()));
    exchanges(&mut cell, ALLOWED);
    let (robot, device) = ((ROBOT.into(), 40_001), (PLANT.into(), load::PORT));
    let [own, other, at_robot] = [[2, 0, 0, 0, 0, 21], [2, 0, 0, 0, 0, 66], [2, 0, 0, 0, 0, 40]].map(Mac);
    for (mac, forged) in [(own, false), (other, true)] {
        let template = Template::new((mac, at_robot), Tags::default(), device, robot).unwrap();
        let segment = Segment { seq: 7, flags: TcpFlags::ACK, payload: b"forged", ..Segment::default() };
        let mut bytes = vec![0; 200];
        let len = emit_tcp(&template, &segment, &mut bytes).unwrap();
        bytes.truncate(len);
        cell.inject(bytes);
        let refused = cell.refusals().get(&Reason::MacMismatch).copied().unwrap_or(0);
        assert_eq!(refused, u64::from(forged), "{:?}", cell.refusals());
    }
}

#[test]
fn a_test_of_the_policy_says_what_the_robot_may_do_to_a_device() {
    let test = |extra: &str, expect: &str| {
        format!(
            "[[test]]\nname = \"t\"\nservice = \"modbus\"\nfunction = \"write_single_register\"\naddress = 130\n{extra}\nexpect = \"{expect}\"\n"
        )
    };
    let tests = [
        test("from = \"robot\"\nto = \"plc\"\nvalue = 120", "allowed"),
        test("from = \"robot\"\nto = \"plc\"\nvalue = 121", "refused"),
        test("from = \"robot\"\nto = \"10.20.0.99\"\nvalue = 1", "refused"),
        test("from = \"plc\"\nvalue = 1", "refused"),
        test("from = \"plc\"\nto = \"robot\"\nvalue = 1", "refused"),
    ];
    let rules = rules(Mode::Enforce, &format!("{}{}", policy(), tests.concat()));
    let failed: Vec<_> = rules.policy.run_tests().into_iter().filter(|test| !test.passed).collect();
    assert_eq!(failed, []);
}
