//! The Robot API of PolyScope X through the packet path: one policy serves both generations. TCP stacks in virtual time.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;

use support::virtual_net::{CUTTING, Cell, GOOD, ROUGH, SECOND_NS, Service, rules};
use vambrace::engine::{Mode, Rules};
use vambrace::event::Reason;
use vambrace::nic::impairment::Rates;

const PORT: u16 = 80;

/// What an operator's panel may do to a robot of either generation.
const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
class = ["read"]
command = ["load", "play", "pause", "stop"]
[[deny]]
id = "no-other-program"
service = "dashboard"
command = ["load"]
argument = ["evil.urpx"]
"#;

fn api(mode: Mode, policy: &str) -> Arc<Rules> {
    let mut rules = Arc::into_inner(rules(mode, policy)).unwrap();
    rules.robot_api = true;
    Arc::new(rules)
}

/// A server as small as can be: answers every request, some in chunks.
fn server() -> Service {
    let mut count = 0;
    Box::new(move |bytes, out| {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return 0 };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        let len = end + 4 + length;
        if bytes.len() < len {
            return 0;
        }
        count += 1;
        out.extend_from_slice(if count % 2 == 0 {
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
        } else {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n0\r\n\r\n"
        });
        len
    })
}

fn put(path: &str, body: &str) -> Vec<u8> {
    let path = format!("/universal-robots/robot-api{path}");
    format!("PUT {path} HTTP/1.1\r\nHost: robot\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET /universal-robots/robot-api{path} HTTP/1.1\r\nHost: robot\r\n\r\n").into_bytes()
}

fn state(action: &str) -> Vec<u8> {
    put("/robotstate/v1/state", &format!("{{\"action\":\"{action}\"}}"))
}

fn program(action: &str) -> Vec<u8> {
    put("/program/v1/state", &format!("{{\"action\":\"{action}\"}}"))
}

fn load(name: &str) -> Vec<u8> {
    put("/program/v1/load", &format!("{{\"programName\":\"{name}\"}}"))
}

/// Requests, and whether the policy lets them go on.
fn requests() -> Vec<(Vec<u8>, bool)> {
    vec![
        (get("/robotstate/v1/robotmode"), true),
        (load("pick.urpx"), true),
        (load("evil.urpx"), false),
        (program("play"), true),
        (state("BRAKE_RELEASE"), false),
        (state("POWER_ON"), false),
        (program("stop"), true),
        (put("/programs/v1/", "{}"), false),
        (get("/program/v1/state"), true),
        (state("UNLOCK_PROTECTIVE_STOP"), false),
    ]
}

fn run(rates: Rates, seed: u64) {
    let mut cell = Cell::connected(api(Mode::Enforce, POLICY), rates, seed, PORT, Some(server()));
    cell.keep_trace(30);
    let mut expected = Vec::new();
    for (request, goes) in requests() {
        let answered = cell.client().received().len();
        cell.client_mut().send(&request);
        if goes {
            expected.extend_from_slice(&request);
        }
        let ends = |bytes: &[u8]| bytes.ends_with(b"done") || bytes.ends_with(b"0\r\n\r\n") || bytes.ends_with(b"}");
        cell.run_until(120 * SECOND_NS, |cell| {
            cell.client().received().len() > answered && ends(&cell.client().received()[answered..])
        })
        .unwrap_or_else(|stalled| panic!("{}: {stalled:?}\n{}", String::from_utf8_lossy(&request), cell.trace()));
        let answer = String::from_utf8_lossy(&cell.client().received()[answered..]).into_owned();
        assert!(answer.starts_with(if goes { "HTTP/1.1 200 " } else { "HTTP/1.1 403 " }), "{answer}");
    }
    assert_eq!(String::from_utf8_lossy(cell.server().received()), String::from_utf8_lossy(&expected), "seed {seed}");
    assert!(cell.client().is_established());
    assert_eq!(cell.refusals().values().sum::<u64>(), 5, "{:?}", cell.refusals());
    cell.assert_balanced();
}

#[test]
fn the_dashboards_rules_hold_for_requests_over_any_cable() {
    for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3)] {
        run(rates, seed);
    }
}

#[test]
fn what_frames_in_two_ways_ends_the_connection_before_the_robot_sees_it() {
    for odd in [
        "PUT /a HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "GET / HTTP/1.1\nHost: robot\n\n",
        "brake release\n",
    ] {
        let mut cell = Cell::connected(api(Mode::Enforce, POLICY), GOOD, 1, PORT, Some(server()));
        cell.client_mut().send(odd.as_bytes());
        cell.run_for(15 * SECOND_NS);
        assert!(cell.server().received().is_empty(), "{odd}");
        assert!(!cell.client().is_established() && !cell.server().is_established(), "{odd}");
    }
}

#[test]
fn a_client_with_a_rule_for_the_port_as_a_whole_is_not_read() {
    let web = "version = 1\nrobot = \"robot\"\n[[allow]]\nid = \"web\"\nfrom = \"plc\"\nservice = \"http\"\n";
    let mut cell = Cell::connected(api(Mode::Enforce, web), GOOD, 1, PORT, Some(server()));
    cell.client_mut().send(&state("BRAKE_RELEASE"));
    cell.run_for(SECOND_NS);
    assert_eq!(cell.server().received(), state("BRAKE_RELEASE"));
}

#[test]
fn a_robot_of_the_older_generation_has_no_robot_api() {
    let mut cell = Cell::new(rules(Mode::Enforce, POLICY), GOOD, 1);
    cell.robot.listen(PORT, Some(server()));
    cell.plant.connect(support::virtual_net::ROBOT, PORT);
    cell.run_for(2 * SECOND_NS);
    assert!(!cell.robot.line(0).is_established());
    assert_eq!(cell.refusals().keys().copied().collect::<Vec<_>>(), [Reason::NoServiceRule]);
}

#[test]
fn what_was_seen_is_learned_as_the_dashboard_would_have_been() {
    let mut cell = Cell::new(api(Mode::Learn, "version = 1\nrobot = \"robot\"\n"), GOOD, 1);
    cell.learn();
    cell.open(PORT, Some(server()));
    for _ in 0..3 {
        for request in [get("/robotstate/v1/robotmode"), load("pick.urpx"), program("play")] {
            cell.client_mut().send(&request);
            cell.run_for(SECOND_NS / 10);
        }
    }
    let proposal = cell.proposal();
    let mut enforced = Cell::connected(api(Mode::Enforce, &proposal), GOOD, 1, PORT, Some(server()));
    for request in [load("pick.urpx"), load("other.urpx"), program("play"), state("BRAKE_RELEASE")] {
        enforced.client_mut().send(&request);
        enforced.run_for(SECOND_NS / 10);
    }
    let expected = [load("pick.urpx"), program("play")].concat();
    assert_eq!(enforced.server().received(), expected, "{proposal}");
}

#[test]
fn the_policy_to_begin_with_reads_and_moves_nothing() {
    let text = vambrace::policy::template(vambrace::policy::Controller::PolyscopeX, "robot", &["plc".to_owned()]);
    let mut cell = Cell::connected(api(Mode::Enforce, &text), GOOD, 1, PORT, Some(server()));
    for request in [get("/robotstate/v1/robotmode"), program("play"), state("POWER_ON"), load("pick.urpx")] {
        cell.client_mut().send(&request);
        cell.run_for(SECOND_NS / 10);
    }
    assert_eq!(cell.server().received(), get("/robotstate/v1/robotmode"), "{text}");
}

#[test]
fn lockdown_holds_for_it() {
    let mut cell = Cell::connected(api(Mode::Lockdown, POLICY), GOOD, 1, PORT, Some(server()));
    for request in [program("play"), state("POWER_OFF"), get("/robotstate/v1/robotmode"), state("POWER_ON")] {
        cell.client_mut().send(&request);
        cell.run_for(SECOND_NS / 10);
    }
    assert_eq!(cell.server().received(), [state("POWER_OFF"), get("/robotstate/v1/robotmode")].concat());
}
