//! The cell proves something only if its attacks work where nothing stands in their way, and if the independent receiver
//! then finds every one of them.

#![cfg(feature = "lab")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use support::can_make_namespaces;
use vambrace::lab::{Cell, Host, Options, Process};

fn json(process: &Process) -> Vec<Value> {
    process.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cell(name: &str) -> Cell {
    let name = format!("{name}-{}", std::process::id());
    let program = Some(support::vambrace());
    let mut cell = Cell::direct_cable(&Options { name: Some(name), program, ..Options::default() }).unwrap();
    cell.start_robot().unwrap();
    cell
}

#[test]
fn every_attack_arrives_over_a_cable_and_the_receiver_finds_it() {
    if !can_make_namespaces("every_attack_arrives_over_a_cable_and_the_receiver_finds_it") {
        return;
    }
    let mut cell = cell("attacks");
    let file = |name: &str| cell.directory().join(name).display().to_string();
    let (pcap, reports) = (file("robot-port.pcap"), file("attacks.jsonl"));
    let arguments = ["lab", "actor", "receiver", "--interface", "eth0", "--pcap", &pcap, "--reports", &reports];
    let mut receiver = cell.spawn(Host::Robot, "receiver", &arguments).unwrap();
    receiver.wait_for("\"ready\"", Duration::from_secs(10)).unwrap();
    // External control needs a program that plays, and a computer. No PLC: the robot would know its MAC, believe the
    // attacker's other one, and answer the PLC's attacks no more.
    cell.start_part(Host::Panel).unwrap();
    cell.start_part(Host::Ros).unwrap();
    let mut text = String::new();
    let mut wanted = HashSet::new();
    for host in [Host::Ros, Host::Attacker, Host::Plc, Host::Panel] {
        let name = format!("attacks-{}", host.name());
        let mut attacks = cell.spawn(host, &name, &["lab", "actor", "attacks", "--host", host.name()]).unwrap();
        attacks.finish(Duration::from_secs(120)).unwrap();
        for report in json(&attacks) {
            wanted.insert((report["name"].to_string(), report["host"].to_string()));
            text += &format!("{report}\n");
        }
    }
    std::fs::write(&reports, text).unwrap();
    receiver.finish(Duration::from_secs(60)).unwrap();
    let verdict = json(&receiver).pop().unwrap();
    let found: HashSet<_> = verdict["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["attack"].to_string(), finding["host"].to_string()))
        .collect();
    let differ: Vec<_> = found.symmetric_difference(&wanted).collect();
    assert!(differ.is_empty(), "{differ:?}");
    assert!(wanted.len() > 160, "{} attacks", wanted.len());
    assert!(verdict["frames"].as_u64() >= verdict["frames_on_port"].as_u64(), "the receiver missed frames");
}

#[test]
fn the_cycle_keeps_its_beat_over_a_cable() {
    if !can_make_namespaces("the_cycle_keeps_its_beat_over_a_cable") {
        return;
    }
    let mut cell = cell("cycle");
    cell.start_cycle().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    for (name, least) in [("plc", 20), ("panel", 10), ("ros", 6)] {
        let cycles = json(cell.process(name).unwrap());
        assert!(cycles.len() >= least, "{name} made {} cycles", cycles.len());
        let missed: Vec<_> = cycles.iter().filter(|cycle| cycle["missed"] == true).collect();
        // One late beat may be the machine's: other tests run beside this one.
        assert!(missed.len() <= 1, "{missed:?}");
    }
    let actions = json(cell.process("controller").unwrap());
    for (interface, did) in [
        ("modbus", "modbus"),
        ("rtde", "write"),
        ("dashboard", "play"),
        ("remote-io", "inputs"),
        ("external text", "text"),
        ("external command", "set_payload"),
        ("external trajectory", "point"),
        ("external reverse", "mode"),
    ] {
        assert!(
            actions.iter().any(|action| action["interface"] == interface && action["did"] == did),
            "the controller did nothing of {interface}"
        );
    }
}

#[test]
fn nothing_of_a_cell_is_left() {
    if !can_make_namespaces("nothing_of_a_cell_is_left") {
        return;
    }
    let (namespace, controller) = {
        let mut cell = cell("left");
        let controller = cell.process("controller").unwrap().id();
        (cell.namespace(Host::Robot), controller)
    };
    assert!(!std::path::Path::new("/run/netns").join(namespace).exists());
    assert!(!std::path::Path::new("/proc").join(controller.to_string()).exists());
}
