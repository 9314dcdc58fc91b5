//! Real TCP stacks talk through the packet path over cables that lose, double, reorder and cut, in virtual time.

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
use support::virtual_net::{CUTTING, Cell, GOOD, ROUGH, SECOND_NS, WILD, rules};
use vambrace::engine::Mode;
use vambrace::nic::impairment::{Rates, Share};

const ONE_BY_ONE: Load = Load { exchanges: 2_000, in_flight: 1, split: false, forbidden_every: 0 };

fn modbus(mode: Mode, rates: Rates, seed: u64) -> Cell {
    Cell::connected(rules(mode, load::POLICY), rates, seed, load::PORT, Some(load::server()))
}

/// `VAMBRACE_EXCHANGES` makes a run longer.
fn exchanges(unless_told: u32) -> u32 {
    std::env::var("VAMBRACE_EXCHANGES").ok().map_or(unless_told, |text| text.parse().unwrap())
}

fn passes(cell: &mut Cell, load: Load, what: &str) {
    let (started, frames) = (Instant::now(), cell.frames());
    load::run(cell, load).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (seconds, frames) = (started.elapsed().as_secs_f64(), cell.frames() - frames);
    println!(
        "{what}: {} exchanges in {:.1} virtual s, {seconds:.2} s, {:.0} frames/s, {} crafted",
        load.exchanges,
        cell.now_ns() as f64 / 1e9,
        frames as f64 / seconds,
        cell.crafted()
    );
}

#[test]
fn allowed_exchanges_are_byte_exact_over_good_cables() {
    let mut cell = modbus(Mode::Enforce, GOOD, 1);
    passes(&mut cell, Load { exchanges: exchanges(20_000), ..ONE_BY_ONE }, "good cables");
    assert_eq!(cell.crafted(), 1, "but for the SYN's options, what is allowed and in order is never touched");
}

#[test]
fn allowed_exchanges_are_byte_exact_over_bad_cables() {
    for seed in 0..4 {
        let mut cell = modbus(Mode::Enforce, ROUGH, seed);
        passes(&mut cell, Load { exchanges: exchanges(2_000), ..ONE_BY_ONE }, "5 % loss, reordering, duplication");
        assert!(cell.cables().iter().all(|cable| cable.counts().lost > 0 && cable.counts().duplicated > 0));
    }
}

#[test]
fn allowed_exchanges_are_byte_exact_over_cables_that_cut_and_join_segments() {
    for seed in 0..4 {
        let mut cell = modbus(Mode::Enforce, CUTTING, seed);
        passes(&mut cell, ONE_BY_ONE, "cutting and joining");
    }
}

#[test]
fn pipelined_requests_are_byte_exact() {
    for (rates, seed) in [(GOOD, 0), (ROUGH, 1), (ROUGH, 2), (CUTTING, 3), (CUTTING, 4)] {
        let mut cell = modbus(Mode::Enforce, rates, seed);
        passes(&mut cell, Load { in_flight: 8, ..ONE_BY_ONE }, "8 in flight");
    }
}

#[test]
fn split_writes_are_byte_exact() {
    for (rates, seed) in [(GOOD, 0), (CUTTING, 1), (CUTTING, 2)] {
        let mut cell = modbus(Mode::Enforce, rates, seed);
        passes(&mut cell, Load { split: true, ..ONE_BY_ONE }, "header and body apart");
        let mut cell = modbus(Mode::Enforce, rates, seed);
        passes(&mut cell, Load { split: true, in_flight: 4, ..ONE_BY_ONE }, "header and body apart, 4 in flight");
    }
}

/// The cell itself asserts that each frame leaves as it came, alone, and that the box never speaks. A seventh of the
/// requests would be refused.
#[test]
fn outside_enforcement_the_frames_out_are_the_frames_in() {
    let worst = Rates { fragment: Share::percent(5), ..WILD };
    let requests: Vec<Vec<u8>> =
        (0..700).map(|n| if n % 7 == 0 { load::forbidden(n).0 } else { load::allowed(n) }).collect();
    let sent = requests.concat();
    let answers: Vec<u8> = requests.iter().flat_map(|request| load::answer(request)).collect();
    for mode in [Mode::Observe, Mode::Learn, Mode::Shadow] {
        for (seed, in_flight) in [(0, 1), (1, 8)] {
            let mut cell = modbus(mode, worst, seed);
            for some in requests.chunks(in_flight) {
                some.iter().for_each(|request| cell.client_mut().send(request));
                cell.run_for(1_000_000);
            }
            cell.run_until(load::PATIENCE_NS, |cell| cell.client().received().len() >= answers.len())
                .unwrap_or_else(|stalled| panic!("{mode}: {stalled:?}"));
            assert!(cell.server().received() == sent && cell.client().received() == answers, "{mode}");
            cell.client_mut().close();
            cell.run_for(10 * SECOND_NS);
            assert_eq!(cell.crafted(), 0);
            cell.assert_balanced();
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut cell = modbus(Mode::Enforce, WILD, 7);
        let ended = load::run(&mut cell, Load { exchanges: 300, ..ONE_BY_ONE });
        (ended, cell.now_ns(), cell.frames(), cell.crafted(), cell.cables().each_ref().map(|cable| *cable.counts()))
    };
    assert_eq!(run(), run());
}
