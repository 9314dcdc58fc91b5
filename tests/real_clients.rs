//! Programs that nobody in this project wrote talk to the emulated controller: the same transcript over a cable, through
//! a kernel bridge, and through the appliance.

#![cfg(feature = "lab")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use support::clients::{CLIENTS, expected, python, transcript};
use support::{can_make_namespaces, is_installed, skipped};
use vambrace::lab::{BOX_PORTS, Cell, Host, Options, Wiring};

fn can_run_clients(test: &str) -> bool {
    if !can_make_namespaces(test) {
        return false;
    }
    let missing = match python() {
        Err(error) => Some(error),
        Ok(_) if !is_installed("mbpoll") => Some("needs the command mbpoll".into()),
        Ok(_) => None,
    };
    if let Some(why) = &missing {
        assert!(std::env::var_os("VAMBRACE_NO_SKIP").is_none(), "{test}: {why}, and nothing may be skipped here");
        skipped(test, why);
    }
    missing.is_none()
}

fn cell(name: &str, wiring: Wiring) -> Cell {
    let name = format!("{name}-{}", std::process::id());
    let program = Some(env!("CARGO_BIN_EXE_vambrace").into());
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
    if can_run_clients("over_a_cable") {
        assert_transcripts(&mut cell("cable", Wiring::DirectCable));
    }
}

/// Shows that the box's place in the cell changes nothing by itself.
#[test]
fn through_a_kernel_bridge() {
    if !can_run_clients("through_a_kernel_bridge") {
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
    if can_run_clients("through_the_appliance_while_it_observes") {
        assert_transcripts(&mut guarded("observe", "observe"));
    }
}

#[test]
fn through_the_appliance_while_it_shadows_a_policy_that_refuses_all() {
    if can_run_clients("through_the_appliance_while_it_shadows_a_policy_that_refuses_all") {
        assert_transcripts(&mut guarded("shadow", "shadow"));
    }
}

/// Clients whose programs are longer than what a sender has in flight before an acknowledgement: they need the box to
/// acknowledge on the robot's behalf, which it does not do yet.
const NEED_ACKNOWLEDGEMENTS: &[&str] = &["ur_rtde_control"];

/// What was learned from one run of all clients lets them do the same again, and nothing that none of them did.
#[test]
fn through_the_appliance_while_it_enforces_what_was_learned() {
    if !can_run_clients("through_the_appliance_while_it_enforces_what_was_learned") {
        return;
    }
    let mut cell = guarded("enforce", "observe");
    let capture = cell.directory().join("all-clients.pcap");
    let file = capture.display().to_string();
    // At the robot: frames that the box sends past the queueing discipline are not seen at its own ports.
    let args = ["-i", "any", "-U", "-w", &file];
    let mut recorder = cell.spawn_program(Host::Robot, "tcpdump", Path::new("tcpdump"), &args).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_transcripts(&mut cell);
    std::thread::sleep(Duration::from_millis(300));
    recorder.end();

    let policy = cell.directory().join("learned.toml").display().to_string();
    let config = cell.directory().join("vambrace.toml").display().to_string();
    let learn = ["learn", &file, "--config", &config, "--robot", "cell4-robot", "--trust-capture", "-o", &policy];
    cell.operate(&learn).unwrap();
    cell.operate(&["policy", "check", &policy, "--config", &config]).unwrap();
    // Replayed, no command of the same traffic is refused.
    let replay = std::process::Command::new(cell.program())
        .args(["--json", "replay", &file, "--policy", &policy, "--config", &config])
        .output()
        .unwrap();
    let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
    let summary: serde_json::Value = serde_json::from_str(replayed.lines().last().unwrap()).unwrap();
    assert_eq!(summary["refused"], 0, "{summary}");
    assert!(summary["commands"].as_u64() > Some(100), "{summary}");

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
        .filter(|client| !NEED_ACKNOWLEDGEMENTS.contains(client))
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
