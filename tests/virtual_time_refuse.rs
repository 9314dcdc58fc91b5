//! Refusing one command while the session goes on, and texts larger than a sender has in flight, in virtual time.
//!
//! Needs the gate's `refuse` (answer for the robot, keep the connection) and its splice (acknowledge for the robot).

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::time::Instant;

use support::modbus_load::{self as load, Load};
use support::virtual_net::{CUTTING, Cell, GOOD, ROUGH, SECOND_NS, rules};
use vambrace::engine::Mode;
use vambrace::nic::impairment::Rates;

/// Programs of these functions; a refused one calls another in its last line.
const SCRIPTS: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "programs"
from = "plc"
service = "urscript"
kind = "program"
function = ["movej", "sleep", "textmsg"]
"#;

/// `VAMBRACE_EXCHANGES` makes a run longer: `tests/long/refuse_million` takes 1,000,000.
fn exchanges(unless_told: u32) -> u32 {
    std::env::var("VAMBRACE_EXCHANGES").ok().map_or(unless_told, |text| text.parse().unwrap())
}

/// The invariants are those of [`load::run`]: the server gets exactly the allowed requests, whole and in order; the
/// client gets one answer to each request in order, the server's or the exception, and not a byte more.
fn refuses(rates: Rates, seed: u64, in_flight: usize, split: bool, every: u32, count: u32) {
    let what = format!("seed {seed}, {in_flight} in flight, split {split}, every {every}th forbidden");
    let rules = rules(Mode::Enforce, load::POLICY);
    let mut cell = Cell::connected(rules, rates, seed, load::PORT, Some(load::server()));
    cell.keep_trace(24);
    let started = Instant::now();
    let load = Load { exchanges: count, in_flight, split, forbidden_every: every };
    load::run(&mut cell, load).unwrap_or_else(|error| panic!("{what}: {error}\n{}", cell.trace()));
    let refused: u64 = cell.refusals().values().sum();
    assert_eq!(refused, u64::from(count / every), "{what}: every refusal is recorded once: {:?}", cell.refusals());
    // Both ends agree that all of it arrived: the connection ends as it would have without the box.
    cell.client_mut().close();
    cell.run_until(60 * SECOND_NS, |cell| cell.server().state() == smoltcp::socket::tcp::State::CloseWait)
        .unwrap_or_else(|stalled| panic!("{what}: the end does not arrive: {stalled:?}\n{}", cell.trace()));
    println!(
        "{what}: {count} exchanges, {refused} refused, {:.1} virtual s, {:.2} s, {} frames, {} crafted",
        cell.now_ns() as f64 / 1e9,
        started.elapsed().as_secs_f64(),
        cell.frames(),
        cell.crafted()
    );
}

#[test]
fn the_session_goes_on_after_each_refused_command() {
    refuses(GOOD, 1, 1, false, 7, exchanges(20_000));
}

#[test]
fn the_session_goes_on_over_bad_cables() {
    for seed in 0..4 {
        refuses(ROUGH, seed, 1, false, 5, exchanges(2_000));
    }
}

#[test]
fn the_session_goes_on_where_segments_are_cut_and_joined() {
    for seed in 0..4 {
        refuses(CUTTING, seed, 1, false, 3, exchanges(2_000));
    }
}

#[test]
fn answers_keep_their_order_among_pipelined_requests() {
    for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (ROUGH, 3), (CUTTING, 4), (CUTTING, 5)] {
        refuses(rates, seed, 8, false, 3, exchanges(2_000));
    }
}

#[test]
fn split_requests_are_refused_whole() {
    for (rates, seed) in [(GOOD, 1), (CUTTING, 2)] {
        for in_flight in [1, 4] {
            refuses(rates, seed, in_flight, true, 3, exchanges(2_000));
        }
    }
}

#[test]
fn nothing_but_refused_commands_leaves_the_session_standing() {
    refuses(GOOD, 1, 1, false, 1, exchanges(2_000));
    refuses(ROUGH, 2, 4, false, 1, exchanges(2_000));
}

/// A program of at most `len` bytes, and nearly as many.
fn program(len: usize, last: &str) -> Vec<u8> {
    let mut text = b"def work():\n".to_vec();
    let mut at = 0;
    while text.len() + last.len() + 50 < len {
        text.extend_from_slice(format!("  movej([0.{at},-1.5,1.5,-1.5,-1.5,0.0])\n").as_bytes());
        at = (at + 1) % 1000;
    }
    text.extend_from_slice(last.as_bytes());
    text.extend_from_slice(b"end\n");
    text
}

fn sends_program(text: &[u8], rates: Rates, seed: u64, port: u16) -> Cell {
    let mut cell = Cell::new(rules(Mode::Enforce, SCRIPTS), rates, seed);
    // A kernel begins with 10 segments and sends no more until one is acknowledged.
    cell.plant.set_in_flight(14_480);
    cell.open(port, None);
    cell.keep_trace(24);
    cell.client_mut().send(text);
    cell
}

#[test]
fn an_allowed_program_arrives_whole_whatever_its_size() {
    for port in [30_001, 30_002, 30_003] {
        for len in [4 << 10, 48 << 10, 1 << 20] {
            for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3)] {
                let text = program(len, "  textmsg(\"done\")\n");
                let mut cell = sends_program(&text, rates, seed, port);
                cell.run_until(600 * SECOND_NS, |cell| cell.server().received().len() >= text.len()).unwrap_or_else(
                    |stalled| panic!("{len} bytes to {port}, seed {seed}: {stalled:?}\n{}", cell.trace()),
                );
                assert!(cell.server().received() == text, "{len} bytes to {port}: not the program");
                assert!(cell.refusals().is_empty(), "{:?}", cell.refusals());
                cell.assert_balanced();
            }
        }
    }
}

#[test]
fn of_a_refused_program_not_one_byte_arrives_whatever_its_size() {
    for port in [30_001, 30_002, 30_003] {
        for len in [4 << 10, 48 << 10, 1 << 20] {
            for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3)] {
                // The last line is what no rule allows: until then every byte looks like the allowed program.
                let text = program(len, "  set_digital_out(0,True)\n");
                let mut cell = sends_program(&text, rates, seed, port);
                cell.run_until(600 * SECOND_NS, |cell| !cell.refusals().is_empty()).unwrap_or_else(|stalled| {
                    panic!("{len} bytes to {port}, seed {seed}: no refusal: {stalled:?}\n{}", cell.trace())
                });
                cell.run_for(60 * SECOND_NS);
                assert_eq!(cell.server().received(), b"", "{len} bytes to {port}");
                assert!(
                    cell.refusals().keys().all(|reason| reason.name() == "command_not_allowed"),
                    "{len} bytes to {port}, seed {seed}: refused for another reason: {:?}",
                    cell.refusals()
                );
                cell.assert_balanced();
            }
        }
    }
}
