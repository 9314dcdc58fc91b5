//! `vambrace bench`: what it prints, and that it takes nothing that is in use and gives back what it took.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::guarded::{POLICY, Vambrace};
use support::netns::Netns;
use support::raw::RawSocket;
use support::{can_make_namespaces, vambrace};

/// `Exit::Unsafe`.
const UNSAFE: i32 = 6;

fn start(space: &Netns, words: &[&str]) -> Child {
    let mut command = Command::new(vambrace());
    command.args(["--json", "--socket", "/nowhere/control.sock", "bench"]).args(words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    space.enter(|| command.spawn().unwrap())
}

fn run(space: &Netns, words: &[&str]) -> Output {
    start(space, words).wait_with_output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a measurement said, in JSON.
fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", errors(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Two ports with a cable between them, as they are before and must be afterwards.
fn cable(space: &Netns) -> String {
    space.join("left", space, "right", 1500);
    shown(space)
}

/// State, names and addresses of the two; the numbers of interfaces may change.
fn shown(space: &Netns) -> String {
    let mut lines: Vec<_> = space
        .run(&["ip", "-br", "address"])
        .lines()
        .filter(|line| line.contains("left") || line.contains("right"))
        .map(|line| line.split_whitespace().map(|word| word.split('@').next().unwrap()).collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines.join("\n")
}

/// No namespace of that process is left.
fn assert_gone(id: u32) {
    let names = std::fs::read_dir("/run/netns").unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| name.starts_with(&format!("vbben-{id}-"))).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_engine_alone_needs_no_right_and_reads_any_capture() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let capture = directory.join("modbus.pcap");
    std::fs::write(&capture, vambrace::bench::built_in_modbus(20).pcap()).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(vambrace());
        command.args(["--json", "bench", "--in-process", "--rounds", "1"]).args(words).output().unwrap()
    };
    let all = told(&run(&[]));
    let protocols: Vec<_> =
        all["engine"].as_array().unwrap().iter().map(|it| it["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["modbus", "rtde", "dashboard"]);
    assert!(
        all["engine"].as_array().unwrap().iter().all(|it| it["p50_ns"].as_f64().unwrap() > 0.0 && it["dropped"] == 0)
    );
    assert_eq!(all["round_trips_absent"], "left out by --in-process");

    let path = capture.to_str().unwrap();
    let one = told(&run(&[path]));
    assert_eq!((&one["engine"][0]["frames"], &one["engine"][0]["dropped"]), (&44.into(), &0.into()));

    // With a policy that allows nothing it enforces, and says so.
    let policy = directory.join("policy.toml");
    std::fs::write(&policy, "version = 1\nrobot = \"robot\"\n").unwrap();
    let refused = told(&run(&[path, "--policy", policy.to_str().unwrap()]));
    assert!(refused["engine"][0]["dropped"].as_u64().unwrap() > 0, "{refused}");

    let wrong = run(&[directory.join("absent.pcap").to_str().unwrap()]);
    // A warning that the machine is busy may stand before it.
    let lines: Vec<_> = errors(&wrong).lines().filter(|line| !line.contains("is busy")).map(str::to_owned).collect();
    assert_eq!((wrong.status.code(), lines.len()), (Some(1), 1), "{lines:?}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn round_trips_in_namespaces_of_its_own() {
    if !can_make_namespaces("round_trips_in_namespaces_of_its_own") {
        return;
    }
    let space = Netns::new("bench");
    let child = start(&space, &["--rounds", "1", "--seconds", "1"]);
    let id = child.id();
    let all = told(&child.wait_with_output().unwrap());
    let ways = all["round_trips"].as_array().unwrap();
    assert!(ways.len() >= 2 && ways[0]["way"] == "kernel bridge", "{all}");
    assert!(ways.iter().all(|way| way["p50_us"].as_f64().unwrap() > 0.0 && way["p50_to_bridge"].as_f64().is_some()));
    assert!(ways.iter().all(|way| way["flood_kfps"]["64"].as_f64().unwrap() > 0.0), "{all}");
    assert_gone(id);
}

#[test]
fn a_cable_is_borrowed_and_given_back_also_after_ctrl_c() {
    if !can_make_namespaces("a_cable_is_borrowed_and_given_back_also_after_ctrl_c") {
        return;
    }
    let space = Netns::new("bench");
    let before = cable(&space);
    let all = told(&run(&space, &["--rounds", "1", "--seconds", "1", "--ports", "left", "right"]));
    assert!(all["round_trips"][1]["p50_us"].as_f64().unwrap() > 0.0, "{all}");
    assert_eq!(shown(&space), before);

    let child = start(&space, &["--rounds", "100", "--seconds", "60", "--ports", "left", "right"]);
    let (id, since) = (child.id(), Instant::now());
    while shown(&space).contains("left") {
        assert!(since.elapsed() < Duration::from_secs(20), "the port is not taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let process = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("stopped before the end"), "{}", errors(&output));
    assert_eq!(shown(&space), before);
    assert_gone(id);
}

#[test]
fn what_is_in_use_is_not_touched() {
    if !can_make_namespaces("what_is_in_use_is_not_touched") {
        return;
    }
    let space = Netns::new("bench");
    let before = cable(&space);
    let refused = |words: &[&str], what: &str| {
        let output = run(&space, &[&["--rounds", "1", "--seconds", "1"], words].concat());
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(UNSAFE), "{said}");
        assert!(said.contains(what), "{said}");
    };
    let ports = ["--ports", "left", "right"];
    let listening = space.enter(|| RawSocket::open("right").unwrap());
    refused(&ports, "port right is in use");
    drop(listening);
    space.run(&["ip", "address", "add", "10.9.0.1/24", "dev", "left"]);
    refused(&ports, "port left has the IP address 10.9.0.1/24");
    space.run(&["ip", "address", "flush", "dev", "left"]);
    refused(&["--ports", "left", "nowhere"], "there is no port nowhere");
    refused(&["--ports", "left", "left"], "same port");
    assert_eq!(shown(&space), before);
}

#[test]
fn beside_a_running_box_nothing_is_measured_on_wires() {
    if !can_make_namespaces("beside_a_running_box_nothing_is_measured_on_wires") {
        return;
    }
    let space = Netns::new("bench");
    cable(&space);
    space.join("plant", &space, "plant_side", 1500);
    space.join("robot", &space, "robot_side", 1500);
    let guarded = Vambrace::start(&space, "bench", "enforce", POLICY);
    let all = told(&run(&space, &["--rounds", "1", "--seconds", "1"]));
    assert_eq!(all["round_trips"], Value::Array(Vec::new()));
    assert!(all["round_trips_absent"].as_str().unwrap().starts_with("a box runs on this machine"), "{all}");
    let output = run(&space, &["--rounds", "1", "--ports", "left", "right"]);
    assert_eq!(output.status.code(), Some(UNSAFE), "{}", errors(&output));
    assert!(guarded.ask(&["status"]).status.success());
}
