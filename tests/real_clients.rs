//! Programs that nobody in this project wrote talk to the emulated controller: the same transcript over a cable, through
//! a kernel bridge, and through the appliance.

#![cfg(feature = "lab")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::clients::{CLIENTS, can_run, expected, transcript};
use support::{reader, replayed, time_travel, tshark};
use vambrace::lab::{BOX_PORTS, Cell, Host, Options, Wiring};

fn cell(name: &str, wiring: Wiring) -> Cell {
    let name = format!("{name}-{}", std::process::id());
    let program = Some(support::vambrace());
    let mut cell = Cell::up(&Options { name: Some(name), wiring, program }).unwrap();
    cell.start_robot().unwrap();
    cell
}

/// Every client in turn; all differences are told at once.
fn assert_transcripts(cell: &mut Cell) {
    // One transcript reads an input that the robot fetches from the remote I/O once they can reach each other.
    cell.process("controller").unwrap().wait_for("\"inputs\"", Duration::from_secs(10)).unwrap();
    let differing: Vec<String> = CLIENTS
        .iter()
        .filter_map(|client| {
            let (found, wanted) = (transcript(&*cell, client), expected(client));
            (found != wanted).then(|| format!("== {client}: expected\n{wanted}-- found\n{found}"))
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn over_a_cable() {
    if can_run("over_a_cable") {
        assert_transcripts(&mut cell("cable", Wiring::DirectCable));
    }
}

/// Shows that the box's place in the cell changes nothing by itself.
#[test]
fn through_a_kernel_bridge() {
    if !can_run("through_a_kernel_bridge") {
        return;
    }
    let mut cell = cell("bridge", Wiring::Box);
    let [plant, robot] = BOX_PORTS;
    let bridge = format!(
        "ip link add middle type bridge && ip link set {plant} master middle && ip link set {robot} master middle && \
         ip link set middle up"
    );
    let mut process = cell.spawn_program(Host::Box, "bridge", Path::new("sh"), &["-c", &bridge]).unwrap();
    process.finish(Duration::from_secs(10)).unwrap();
    assert_transcripts(&mut cell);
}

/// A policy that refuses everything: in shadow it must change nothing.
const REFUSE_ALL: &str = "version = 1\nrobot = \"cell4-robot\"\n";

fn guarded(name: &str, mode: &str) -> Cell {
    let mut cell = cell(name, Wiring::Box);
    std::fs::write(cell.directory().join("policy.toml"), REFUSE_ALL).unwrap();
    cell.start_appliance(mode).unwrap();
    cell
}

#[test]
fn through_the_appliance_while_it_observes() {
    if can_run("through_the_appliance_while_it_observes") {
        assert_transcripts(&mut guarded("observe", "observe"));
    }
}

#[test]
fn through_the_appliance_while_it_shadows_a_policy_that_refuses_all() {
    if can_run("through_the_appliance_while_it_shadows_a_policy_that_refuses_all") {
        assert_transcripts(&mut guarded("shadow", "shadow"));
    }
}

/// Every client once, through the box while it observes, and the capture of it, made at the robot: frames that the box
/// sends past the queueing discipline are not seen at its own ports.
fn recorded(cell: &mut Cell) -> PathBuf {
    let capture = cell.directory().join("all-clients.pcap");
    let file = capture.display().to_string();
    let args = ["-i", "any", "-U", "-B", "16384", "-w", &file];
    let mut recorder = cell.spawn_program(Host::Robot, "tcpdump", Path::new("tcpdump"), &args).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_transcripts(cell);
    std::thread::sleep(Duration::from_millis(300));
    recorder.end();
    capture
}

/// Under an empty policy every command is refused that an independent reader finds, and every Modbus request that tshark
/// finds; under the learned one none. Nothing is missed, whoever wrote the client.
fn assert_all_commands_are_judged(test: &str, capture: &Path, config: &str, learned: &str) {
    let IpAddr::V4(robot) = Host::Robot.address() else { panic!("the cell speaks IPv4") };
    let streams = reader::streams(capture, robot);
    let counted = reader::count(&streams);
    assert_eq!(counted.keys().collect::<Vec<_>>(), ["dashboard", "modbus", "rtde", "urscript"]);
    let refused = replayed::replay(capture, &["--config", config]);
    assert_eq!(refused.by_service(), counted);
    assert_eq!(refused.by_connection, reader::count_by_connection(&streams));
    let commands: u64 = counted.values().sum();
    assert_eq!((refused.number("allowed"), refused.number("refused")), (0, commands));
    let mut modbus = refused.by_connection;
    modbus.retain(|(_, port), _| *port == 502);
    if let Some(requests) = tshark::modbus_requests(test, capture, &robot.to_string()) {
        assert_eq!(modbus, requests);
    }
    let policy = Path::new(learned);
    let learned = replayed::replay(capture, &["--config", config, "--policy", learned]);
    assert_eq!((learned.number("allowed"), learned.number("refused")), (commands, 0));
    assert!(commands > 100, "{counted:?}");
    // The records alone tell what the capture tells, also under another policy.
    let half = policy.with_file_name("half.toml");
    std::fs::write(&half, time_travel::every_second_rule(&std::fs::read_to_string(policy).unwrap())).unwrap();
    let (again, untold) = time_travel::assert_same(capture, &["--config", config], policy, &[&half]);
    // What the robot sends to devices is among them.
    assert!(again + untold >= 2 * commands, "{again} {untold}");
    assert!(untold * 5 < again, "{again} judged again, {untold} not");
}

const EXEMPTION: &str = "
[[exempt]]
patch = \"CVE-2020-10265\"
reason = \"what real clients can say is tried out, all of it\"
until = 2100-01-01T00:00:00Z
";

/// What was learned from one run of all clients lets them do the same again, and nothing that none of them did.
#[test]
fn through_the_appliance_while_it_enforces_what_was_learned() {
    let test = "through_the_appliance_while_it_enforces_what_was_learned";
    if !can_run(test) {
        return;
    }
    let mut cell = guarded("enforce", "observe");
    let capture = recorded(&mut cell);
    let policy = cell.directory().join("learned.toml");
    let config = cell.directory().join("vambrace.toml").display().to_string();
    replayed::learn(&capture, &["--config", &config, "--robot", "cell4-robot"], &policy);
    // These clients do what no production cycle needs, such as releasing a protective stop: a virtual patch refuses it,
    // and a person who wants it says so.
    let exempted = std::fs::read_to_string(&policy).unwrap() + EXEMPTION;
    std::fs::write(&policy, exempted).unwrap();
    cell.operate(&["policy", "check", &policy.display().to_string(), "--config", &config]).unwrap();
    assert_all_commands_are_judged(test, &capture, &config, &policy.display().to_string());

    // A robot that nobody has written to yet, as the transcripts want it.
    let policy = std::fs::read_to_string(policy).unwrap();
    // ur_rtde leaves the analog value that its mask does not select uninitialised: no list of values can hold it, so a
    // person who reviews the proposal takes this bound away and keeps the mask's.
    let unbounded = |line: &str| match line.split_once(" = { value") {
        Some((name @ ("standard_analog_output_0" | "standard_analog_output_1"), _)) => format!("{name} = {{}}\n"),
        _ => format!("{line}\n"),
    };
    let policy: String = policy.lines().map(unbounded).collect();
    drop(cell);
    let mut cell = crate::cell("enforced", Wiring::Box);
    std::fs::write(cell.directory().join("policy.toml"), &policy).unwrap();
    cell.start_appliance("enforce").unwrap();
    cell.process("controller").unwrap().wait_for("\"inputs\"", Duration::from_secs(10)).unwrap();
    let differing: Vec<String> = CLIENTS
        .iter()
        .filter_map(|client| {
            let (found, wanted) = (transcript(&cell, client), expected(client));
            (found != wanted).then(|| format!("== {client}: expected\n{wanted}-- found\n{found}"))
        })
        .collect();
    let refused = std::fs::read_to_string(cell.directory().join("records/eve.json")).unwrap_or_default();
    let refused: Vec<&str> =
        refused.lines().filter(|line| line.contains("\"refused\"") || line.contains("blocked")).collect();
    assert!(differing.is_empty(), "{}\n{}\n{policy}", differing.join("\n"), refused.join("\n"));
}
