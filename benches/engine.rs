//! Time a frame in process, whole path, enforcement and recording on; beside it what other parsers take.
//!
//! `cargo bench --bench engine` prints a table, then the same as one line of JSON. Candidates are interleaved round by
//! round and medians reported, so that a busy machine shifts all of them alike. The median of ratios compares two of
//! them better than the ratio of medians.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement ends at the first surprise"
)]

mod support;

use std::hint::black_box;
use std::time::Instant;

use dissect::{Step, Toward};
use sawp::parser::{Direction, Parse};
use support::{Case, Rig};
use vambrace::command::Command;
use vambrace::engine::Mode;
use vambrace::policy::Ask;
use vambrace::robot::{Rates, State};

const ROUNDS: usize = 201;
const EXCHANGES: u16 = 1000;
const SCRIPT: usize = 256 << 10;

/// One row: its name, its unit, and a figure a round.
struct Row {
    name: &'static str,
    unit: &'static str,
    figures: Vec<f64>,
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn ns(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

/// A round of a whole-path case: nanoseconds a frame.
fn whole_path(rig: &mut Rig, case: &Case) -> f64 {
    rig.play(&case.opening);
    let taken = ns(|| rig.play(&case.measured));
    rig.play(&case.closing);
    taken / case.measured.len() as f64
}

fn main() {
    // `cargo test --all-targets` runs this too, and means that it starts, not that it measures.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let exchanges: Vec<_> = (0..EXCHANGES).map(support::modbus_exchange).collect();
    let requests: Vec<u8> = exchanges.iter().flat_map(|(request, _)| request.clone()).collect();
    let script = support::script(SCRIPT);
    let sawp = sawp_modbus::Modbus::default();
    let cases = [support::modbus(EXCHANGES), support::rtde(EXCHANGES), support::dashboard(EXCHANGES)];
    let mut rig = Rig::new(Mode::Enforce);
    let rules = support::rules(Mode::Enforce);
    let (session, package) = support::rtde_session();

    let policy = &rules.policy;
    let client = policy.client(support::PLC.into());
    let (state, inputs) = (State::default(), vambrace::robot::Inputs::new());
    let mut rates = [(); 3].map(|()| Rates::new());
    let [modbus_rates, rtde_rates, script_rates] = &mut rates;
    let decide = |command: &Command<'_>, rates: &mut Rates| {
        let ask =
            Ask { client, opened: Toward::Robot, command, state: &state, inputs: &inputs, connection: 1, now_ns: 5 };
        policy.decide(black_box(&ask), rates)
    };

    type Candidate<'a> = (&'static str, &'static str, Box<dyn FnMut(&mut Rig) -> f64 + 'a>);
    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for case in &cases {
        let name = match case.name {
            "modbus" => "whole path, Modbus request or response",
            "rtde" => "whole path, RTDE data package",
            _ => "whole path, Dashboard line",
        };
        candidates.push((name, "ns a frame", Box::new(|rig| whole_path(rig, case))));
    }
    candidates.push((
        "sawp-modbus parses a request",
        "ns",
        Box::new(|_| {
            let taken = ns(|| {
                for (request, _) in &exchanges {
                    let parsed = sawp.parse(black_box(request), Direction::ToServer).unwrap();
                    assert!(parsed.1.is_some());
                    black_box(parsed);
                }
            });
            taken / f64::from(EXCHANGES)
        }),
    ));
    candidates.push((
        "vambrace-modbus parses a request",
        "ns",
        Box::new(|_| {
            let taken = ns(|| {
                let mut rest = &requests[..];
                while !rest.is_empty() {
                    let Step::Whole { unit, len } = modbus::Adu::step(black_box(rest)).unwrap() else {
                        panic!("a whole request");
                    };
                    let _ = black_box(modbus::Request::read(&unit).unwrap());
                    rest = &rest[len..];
                }
            });
            taken / f64::from(EXCHANGES)
        }),
    ));
    candidates.push((
        "verdict on a Modbus request",
        "ns",
        Box::new(|_| {
            let taken = ns(|| {
                for (request, _) in &exchanges {
                    let Step::Whole { unit, .. } = modbus::Adu::step(black_box(request)).unwrap() else {
                        panic!("a whole request");
                    };
                    let command = Command::Modbus(modbus::Request::read(&unit).unwrap());
                    assert!(black_box(decide(&command, modbus_rates)).is_allowed());
                }
            });
            taken / f64::from(EXCHANGES)
        }),
    ));
    candidates.push((
        "verdict on an RTDE data package",
        "ns",
        Box::new(|_| {
            let taken = ns(|| {
                for _ in 0..EXCHANGES {
                    let Step::Whole { unit, .. } = rtde::Package::step(black_box(&package), Toward::Robot).unwrap()
                    else {
                        panic!("a whole package");
                    };
                    let command = Command::Rtde(rtde::Request::read(&unit, &session).unwrap());
                    assert!(black_box(decide(&command, rtde_rates)).is_allowed());
                }
            });
            taken / f64::from(EXCHANGES)
        }),
    ));
    candidates.push((
        "verdict on a URScript program",
        "MB/s",
        Box::new(|_| {
            let taken = ns(|| {
                let step = urscript::Scanner::default().step(black_box(&script), urscript::Dialect::Client).unwrap();
                let Step::Whole { unit, .. } = step else { panic!("a whole program") };
                black_box(decide(&Command::UrScript(unit), script_rates));
            });
            script.len() as f64 / taken * 1000.0
        }),
    ));
    candidates.push((
        "URScript tokens",
        "MB/s",
        Box::new(|_| {
            let taken = ns(|| {
                black_box(urscript::Tokens::new(black_box(&script)).count());
            });
            script.len() as f64 / taken * 1000.0
        }),
    ));
    candidates.push((
        "URScript unit found",
        "MB/s",
        Box::new(|_| {
            let taken = ns(|| {
                let step = urscript::Scanner::default().step(black_box(&script), urscript::Dialect::Client).unwrap();
                assert!(matches!(black_box(step), Step::Whole { .. }));
            });
            script.len() as f64 / taken * 1000.0
        }),
    ));
    candidates.push((
        "memchr over the lines of the same script",
        "MB/s",
        Box::new(|_| {
            let taken = ns(|| {
                black_box(memchr::memchr_iter(b'\n', black_box(&script)).count());
            });
            script.len() as f64 / taken * 1000.0
        }),
    ));

    let mut rows: Vec<Row> =
        candidates.iter().map(|&(name, unit, _)| Row { name, unit, figures: Vec::new() }).collect();
    for round in 0..ROUNDS + 3 {
        for (row, (_, _, measure)) in rows.iter_mut().zip(&mut candidates) {
            let figure = measure(&mut rig);
            // The first rounds warm caches and pages.
            if round >= 3 {
                row.figures.push(figure);
            }
        }
    }
    let mut json = Vec::new();
    for row in &rows {
        let middle = median(&row.figures);
        println!("{:<44} {middle:>10.1} {}", row.name, row.unit);
        json.push(format!("{:?}:{middle:.1}", format!("{} ({})", row.name, row.unit)));
    }
    let ratios: Vec<f64> = rows[0].figures.iter().zip(&rows[3].figures).map(|(ours, theirs)| ours / theirs).collect();
    let ratio = median(&ratios);
    println!("{:<44} {ratio:>10.2} times", "whole path Modbus / sawp-modbus parsing");
    json.push(format!("\"whole path Modbus / sawp-modbus parsing\":{ratio:.2}"));
    println!("{{{}}}", json.join(","));
}
