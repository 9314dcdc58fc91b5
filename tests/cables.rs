//! Cables that are pulled, and interfaces that vanish and come back as others.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::time::{Duration, Instant};

use support::can_make_namespaces;
use support::netns::Netns;
use support::probes::Probes;
use support::restarted::Restarted;
use support::talks::{self, Line};
use support::wire::{PLANT, PLANT_SIDE, ROBOT_SIDE};

fn carrier(space: &Netns, port: &str) -> bool {
    let state = space.run(&["ip", "-br", "link", "show", port]);
    state.contains("LOWER_UP") && !state.contains("NO-CARRIER")
}

/// How long after now the carrier of a port is as wanted.
fn waits_for_carrier(space: &Netns, port: &str, wanted: bool, patience: Duration) -> Duration {
    let started = Instant::now();
    while carrier(space, port) != wanted {
        assert!(started.elapsed() < patience, "{port} has a carrier: {}", !wanted);
        std::thread::sleep(Duration::from_millis(2));
    }
    started.elapsed()
}

#[test]
fn a_lost_link_is_mirrored_and_comes_back() {
    if !can_make_namespaces("a_lost_link_is_mirrored_and_comes_back") {
        return;
    }
    let line = Line::new("vbmir");
    let vambrace = Restarted::start_in_memory(&line.inside, "mirror", talks::POLICY, "[link]\nmirror = true\n");
    let restarts = vambrace.status()["restarts"].clone();
    let mut seen = Vec::new();
    for (here, port, there, other) in
        [(&line.plant, PLANT_SIDE, &line.robot, ROBOT_SIDE), (&line.robot, ROBOT_SIDE, &line.plant, PLANT_SIDE)]
    {
        here.run(&["ip", "link", "set", port, "down"]);
        seen.push(waits_for_carrier(there, other, false, Duration::from_secs(2)));
        std::thread::sleep(Duration::from_millis(1200));
        here.run(&["ip", "link", "set", port, "up"]);
        waits_for_carrier(there, other, true, Duration::from_secs(5));
        let probes = Probes::start((&line.plant, PLANT_SIDE), (&line.robot, ROBOT_SIDE));
        assert!(probes.back_after(Instant::now()).is_some(), "{}", vambrace.log());
        // Apart from the next: otherwise the link flaps, and is held down longer.
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("a lost link was seen at the other side after {seen:.0?}");
    // Including the time of the commands that look; the box itself looks every 20 ms.
    assert!(seen.iter().min().unwrap() < &Duration::from_millis(100), "{seen:?}");
    assert_eq!(vambrace.status()["restarts"], restarts);
}

#[test]
fn a_cable_that_is_out_is_not_mirrored_unless_asked_for() {
    if !can_make_namespaces("a_cable_that_is_out_is_not_mirrored_unless_asked_for") {
        return;
    }
    let line = Line::new("vbnom");
    let vambrace = Restarted::start_in_memory(&line.inside, "nomirror", talks::POLICY, "");
    line.plant.run(&["ip", "link", "set", PLANT_SIDE, "down"]);
    std::thread::sleep(Duration::from_millis(400));
    assert!(carrier(&line.robot, ROBOT_SIDE), "{}", vambrace.log());
}

#[test]
fn a_port_that_vanished_is_taken_up_again() {
    if !can_make_namespaces("a_port_that_vanished_is_taken_up_again") {
        return;
    }
    let line = Line::new("vbgon");
    let vambrace = Restarted::start_in_memory(&line.inside, "gone", talks::POLICY, "");
    let supervisor = vambrace.supervisor();
    for _ in 0..2 {
        line.inside.run(&["ip", "link", "del", PLANT]);
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(vambrace.ask(&["status"]).status.code(), Some(10), "degraded: {}", vambrace.log());
        line.plant.join(PLANT_SIDE, &line.inside, PLANT, 1508);
        let started = Instant::now();
        let probes = Probes::start((&line.plant, PLANT_SIDE), (&line.robot, ROBOT_SIDE));
        let back = probes.back_after(started).unwrap_or_else(|| panic!("{}", vambrace.log()));
        println!("frames pass {back:.0?} after the new interface");
    }
    assert_eq!(vambrace.supervisor(), supervisor);
    assert!(vambrace.records().contains("\"kind\":\"port\""), "{}", vambrace.records());
}
