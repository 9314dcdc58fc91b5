//! Programs that nobody in this project wrote talk to the emulated controller: the same transcript over a cable, through
//! a kernel bridge, and through the appliance.

#![cfg(feature = "lab")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

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
