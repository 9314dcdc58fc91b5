//! Lockdown: reads and stops go on, nothing else does, in either direction. TCP stacks in virtual time.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use external_control::{Action, Freedrive, Motion, Move};
use support::modbus_load::{self as load, Load};
use support::virtual_net::{Cell, GOOD, PLANT, ROBOT, SECOND_NS, rules};
use vambrace::engine::Mode;
use vambrace::event::Reason;
use vambrace::nic::impairment::{Rates, Share};

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
command = ["play", "robotmode", "load"]
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
[[allow]]
id = "arm"
from = "plc"
service = "external_control"
[[allow]]
id = "scripts"
from = "plc"
service = "urscript"
[[allow]]
id = "ssh"
from = "plc"
service = "tcp/22"
[[allow]]
id = "io"
from = "robot"
to = "plc"
service = "modbus"
[[allow]]
id = "upload"
from = "robot"
to = "plc"
service = "tcp/21"
"#;

fn dashboard() -> support::virtual_net::Service {
    Box::new(|bytes, out| {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return 0 };
        out.extend_from_slice(b"ok\n");
        end + 1
    })
}

/// What of lines sent one by one reaches the robot.
fn lines_that_arrive(cell: &mut Cell, lines: &[&str]) -> Vec<String> {
    let before = cell.server().received().len();
    for line in lines {
        cell.client_mut().send(format!("{line}\n").as_bytes());
        cell.run_for(SECOND_NS / 10);
    }
    let arrived = String::from_utf8(cell.server().received()[before..].to_vec()).unwrap();
    arrived.lines().map(str::to_owned).collect()
}

#[test]
fn of_a_panels_commands_reads_and_stops_arrive() {
    let mut cell = Cell::connected(rules(Mode::Enforce, POLICY), GOOD, 1, 29_999, Some(dashboard()));
    let all = ["play", "robotmode", "stop", "pause", "power off", "load a.urp", "shutdown", "brake release", "quit"];
    let allowed = ["play", "robotmode", "load a.urp", "quit"];
    assert_eq!(lines_that_arrive(&mut cell, &all), allowed, "what the policy says, before");
    cell.set_rules(rules(Mode::Lockdown, POLICY));
    assert_eq!(lines_that_arrive(&mut cell, &all), ["robotmode", "stop", "pause", "power off", "quit"]);
    assert!(cell.client().is_established(), "the session stays");
    assert_eq!(cell.refusals()[&Reason::LockedDown], 4);
    cell.set_rules(rules(Mode::Enforce, POLICY));
    assert_eq!(lines_that_arrive(&mut cell, &all), allowed, "and after");
}

#[test]
fn a_deny_rule_keeps_its_word_and_a_stop_with_a_shell_in_it_is_none() {
    let denied = format!("{POLICY}[[deny]]\nservice = \"dashboard\"\ncommand = [\"pause\"]\n");
    let mut cell = Cell::connected(rules(Mode::Lockdown, &denied), GOOD, 1, 29_999, Some(dashboard()));
    assert_eq!(lines_that_arrive(&mut cell, &["robotmode", "pause", "stop"]), ["robotmode", "stop"]);
    for line in ["stop;reboot", "stop `reboot`", "stop && reboot"] {
        let mut cell = Cell::connected(rules(Mode::Lockdown, POLICY), GOOD, 1, 29_999, Some(dashboard()));
        assert!(lines_that_arrive(&mut cell, &[line]).is_empty(), "{line}");
    }
}

#[test]
fn nobody_without_a_rule_for_the_service_gets_a_word_through() {
    let other = POLICY
        .replace("service = \"dashboard\"", "service = \"rtde\"")
        .replace("command = [\"play\", \"robotmode\", \"load\"]\n", "");
    let mut cell = Cell::new(rules(Mode::Lockdown, &other), GOOD, 1);
    cell.robot.listen(29_999, Some(dashboard()));
    cell.plant.connect(ROBOT, 29_999);
    cell.run_for(2 * SECOND_NS);
    assert!(!cell.robot.line(0).is_established());
    assert_eq!(cell.refusals().keys().copied().collect::<Vec<_>>(), [Reason::NoServiceRule]);
}

#[test]
fn registers_are_read_but_not_written_in_either_direction() {
    for from_robot in [false, true] {
        let mut cell = Cell::new(rules(Mode::Enforce, POLICY), GOOD, 1);
        if from_robot {
            cell.open_from_robot(load::PORT, Some(load::server()));
        } else {
            cell.open(load::PORT, Some(load::server()));
        }
        load::run(&mut cell, Load { exchanges: 20, in_flight: 1, split: false, forbidden_every: 0 }).unwrap();
        cell.set_rules(rules(Mode::Lockdown, POLICY));
        let before = [cell.server().received().len(), cell.client().received().len()];
        let (read, write) = (load::allowed(0), load::allowed(9));
        cell.client_mut().send(&write);
        cell.client_mut().send(&read);
        cell.run_for(SECOND_NS);
        assert_eq!(&cell.server().received()[before[0]..], read, "from robot: {from_robot}");
        let answers = [load::exception(&write, 1), load::answer(&read)].concat();
        assert_eq!(&cell.client().received()[before[1]..], answers);
    }
}

#[test]
fn what_nobody_reads_ends() {
    for (from_robot, port) in [(false, 22), (true, 21)] {
        let mut cell = Cell::new(rules(Mode::Enforce, POLICY), GOOD, 1);
        if from_robot {
            cell.open_from_robot(port, None)
        } else {
            cell.open(port, None)
        }
        cell.client_mut().send(b"before");
        cell.run_for(SECOND_NS);
        assert_eq!(cell.server().received(), b"before");
        cell.set_rules(rules(Mode::Lockdown, POLICY));
        cell.client_mut().send(b"after");
        cell.run_for(SECOND_NS);
        assert_eq!(cell.server().received(), b"before", "{port}");
        assert!(!cell.client().is_established() && !cell.server().is_established(), "{port}");
        assert!(cell.refusals().contains_key(&Reason::LockedDown), "{:?}", cell.refusals());
    }
}

#[test]
fn the_arm_is_held_where_it_was_sent_last_and_can_be_stopped() {
    let mut cell = Cell::new(rules(Mode::Enforce, POLICY), GOOD, 1);
    cell.plant.listen(50_001, None);
    cell.robot.connect(PLANT, 50_001);
    cell.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established()).unwrap();
    let to = |at: i32| Motion { timeout_ms: 100, action: Action::Move(Move::Servoj, [at; 6]) };
    let stop = Motion { timeout_ms: 100, action: Action::Stop };
    let freedrive = Motion { timeout_ms: 100, action: Action::Freedrive(Freedrive::Start) };
    cell.client_mut().send(&to(1000).emit());
    cell.run_for(SECOND_NS / 100);
    cell.set_rules(rules(Mode::Lockdown, POLICY));
    for motion in [to(2000), freedrive, to(3000), stop] {
        cell.client_mut().send(&motion.emit());
        cell.run_for(SECOND_NS / 100);
    }
    let arrived: Vec<_> = cell.server().received().chunks(32).map(<[u8]>::to_vec).collect();
    let held = |record: &[u8]| record[4..28] == to(1000).emit()[4..28] && record[28..] == to(1000).emit()[28..];
    assert!(arrived[..arrived.len() - 1].iter().all(|record| held(record)), "{arrived:02x?}");
    assert_eq!(arrived.last().unwrap(), &stop.emit());
}

#[test]
fn programs_and_motions_in_scripts_are_refused_and_stop_arrives() {
    let mut cell = Cell::connected(rules(Mode::Lockdown, POLICY), GOOD, 1, 30_002, None);
    let arrived = lines_that_arrive(
        &mut cell,
        &["movej([0,0,0,0,0,0])", "def p():", "  textmsg(\"x\")", "end", "power on", "stop program", "power off"],
    );
    assert_eq!(arrived, ["stop program", "power off"]);
}

/// The robot's cable is pulled, an operator locks down, the cable comes back: neither the client nor the box repeats what
/// was on its way.
#[test]
fn what_was_lost_before_the_lockdown_is_not_repeated_after_it() {
    for spliced in [false, true] {
        let mut cell = Cell::connected(rules(Mode::Enforce, POLICY), GOOD, 1, 29_999, Some(dashboard()));
        let first = if spliced { "unlock protective stop" } else { "robotmode" };
        lines_that_arrive(&mut cell, &[first]);
        let before = cell.server().received().len();
        cell.set_robot_rates(Rates { loss: Share::percent(100), ..GOOD });
        cell.client_mut().send(b"play\n");
        cell.run_for(SECOND_NS / 1000);
        cell.set_rules(rules(Mode::Lockdown, POLICY));
        cell.run_for(SECOND_NS / 2);
        cell.set_robot_rates(GOOD);
        cell.run_for(10 * SECOND_NS);
        assert_eq!(cell.server().received().len(), before, "spliced: {spliced}");
        assert!(!cell.client().is_established(), "its client is told; spliced: {spliced}");
    }
}
