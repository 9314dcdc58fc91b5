//! Lockdown while the robot takes nothing: what waits for its window does not reach it when the window opens.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use support::adversary::{PATIENCE, SILENCE};
use support::guarded::{Guarded, POLICY};

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A client that does not care for windows, on a connection whose frames pass as they come.
#[test]
fn a_command_sent_into_a_shut_window_is_judged_when_the_window_opens() {
    let policy = POLICY.replace("class = [\"read\"]\n[[allow]]\nid = \"script\"", "[[allow]]\nid = \"script\"");
    let Some(cell) = Guarded::with_policy("lockdown-shut", &policy) else { return };
    let mut tcp = cell.connect(29_999);
    assert!(cell.robot.accepted(tcp.port()));
    cell.robot.pause(true);
    let is_shut = |tcp: &link::Tcp<'_>| tcp.flags.ack() && tcp.window == 0;
    let started = Instant::now();
    let asked = "robotmode\n".repeat(50);
    while !tcp.heard_since(0).iter().rev().take(1).any(is_shut) {
        assert!(started.elapsed() < PATIENCE, "the robot never shuts its window");
        let stands = tcp.heard_since(0).iter().rfind(|tcp| tcp.flags.ack()).map(|tcp| (tcp.ack, tcp.window));
        let room = stands.map_or(500, |(ack, window)| ack.wrapping_add(window.into()).wrapping_sub(tcp.seq));
        tcp.send(&asked.as_bytes()[..asked.len().min(room as usize)]);
        tcp.listen(Duration::from_millis(2));
    }
    tcp.send(b"play\n");
    tcp.listen(SILENCE);
    cell.assert_nothing_since(0, "a command that the robot does not take", |frame| has(frame, b"play"));
    cell.vambrace.switch("lockdown");
    cell.robot.pause(false);
    tcp.listen(SILENCE);
    // As a kernel does that got no acknowledgement.
    tcp.put_at(tcp.seq.wrapping_sub(5), b"play\n");
    tcp.listen(SILENCE);
    assert!(!has(&cell.robot.received(tcp.port()), b"play"), "the robot's socket received it");
    cell.assert_nothing_since(0, "a command from before the lockdown", |frame| has(frame, b"play"));
}

/// A program's kernel, on a port where the box receives for the robot: it is the box that holds what waits.
#[test]
fn nothing_that_the_box_holds_for_a_shut_window_goes_out_after_a_lockdown() {
    let Some(cell) = Guarded::up("lockdown-held") else { return };
    let mut stream = cell.honest(30_001);
    let port = stream.local_addr().unwrap().port();
    assert!(cell.robot.accepted(port));
    cell.robot.pause(true);
    stream.set_write_timeout(Some(SILENCE * 3)).unwrap();
    let statement = format!("textmsg(\"{}\")\n", "x".repeat(489));
    while stream.write_all(statement.as_bytes()).is_ok() {}
    cell.vambrace.switch("lockdown");
    let mark = cell.cable.mark();
    let before = cell.robot.received(port).len();
    cell.robot.pause(false);
    std::thread::sleep(SILENCE * 5);
    cell.assert_nothing_since(mark, "a byte from before the lockdown", |frame| {
        let packet = link::parse(frame).ok();
        let tcp = packet.as_ref().and_then(link::Packet::tcp);
        tcp.is_some_and(|tcp| tcp.source_port == port && !tcp.payload.is_empty())
    });
    assert!(cell.robot.received(port).len() > before, "the robot read on: what had reached it in time");
}
