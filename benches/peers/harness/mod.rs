//! Rounds over ways and loads. Also a test's: `tests/peers.rs` runs the smallest round.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a measurement ends at the first surprise"
)]

mod churn;
mod exchanges;
mod flood;
mod offline;
mod report;
mod stream;
pub mod ways;
mod xdp;

use std::path::PathBuf;

use vambrace::bench::{BenchError, Machine, Stop};

pub use report::Report;
use ways::{Peer, Way};

/// Measures the box beside its peers, interleaved: in every round each way gets the same loads, each way first in turn.
/// Printed are medians over the rounds, and medians of each round's ratio to the kernel bridge.
#[derive(Clone, Debug, clap::Parser)]
pub struct Options {
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Scales every load; 1 is the length of a published run.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Ways: wire, bridge, nftables, xdp, forwarder, af-xdp, busy, busy-xdp, adaptive, blocking, suricata, suricata-log.
    #[arg(long, value_delimiter = ',')]
    pub ways: Vec<Way>,
    /// Loads: round-trip, paced, behind, k16, stream, flood, lossless, churn, offline.
    #[arg(long, value_delimiter = ',')]
    pub loads: Vec<Load>,
    /// Writes every figure of every round to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Load {
    /// One Modbus exchange after the other, each as soon as the last is answered.
    RoundTrip,
    /// Modbus exchanges at 2,000 a second, measured from the time at which each was to begin.
    Paced,
    /// One exchange behind each burst of datagrams.
    Behind,
    /// 16 connections, one exchange open on each.
    K16,
    /// RTDE at 500 Hz both ways beside Modbus at 4,000 a second.
    Stream,
    /// UDP frames of six sizes as fast as they go.
    Flood,
    /// The highest rate of which at most one frame in a thousand is lost.
    Lossless,
    /// Connections opened, used once and closed.
    Churn,
    /// A capture through each program; no wire.
    Offline,
}

const ALL: [Load; 9] = [
    Load::RoundTrip,
    Load::Paced,
    Load::Behind,
    Load::K16,
    Load::Stream,
    Load::Flood,
    Load::Lossless,
    Load::Churn,
    Load::Offline,
];

/// The program under measurement: what `VAMBRACE_BINARY` names, else the one built with the bench.
pub fn vambrace() -> PathBuf {
    std::env::var_os("VAMBRACE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_vambrace").into(), PathBuf::from)
}

/// Measures and prints.
///
/// # Errors
/// What stopped it. Namespaces and processes are gone then too.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let stop = Stop::on_signals()?;
    let machine = Machine::now();
    println!("{machine}");
    machine.warning().into_iter().for_each(|warning| println!("WARNING: {warning}"));
    if machine.cores < 2 {
        return Err(BenchError::Said("two cores are needed: one for the traffic, one for what is measured".to_owned()));
    }
    vambrace::bench::remove_left_behind();
    let directory = Scratch::new()?;
    let loads = if options.loads.is_empty() { ALL.to_vec() } else { options.loads.clone() };
    let on_wires: Vec<Load> = loads.iter().copied().filter(|load| *load != Load::Offline).collect();
    let mut report = Report::new(machine.clone());
    let chosen = if options.ways.is_empty() { Way::ALL.to_vec() } else { options.ways.clone() };
    let mut peers = Vec::new();
    for way in if on_wires.is_empty() { Vec::new() } else { chosen } {
        match way.absent() {
            Some(why) => report.absent(&way.name(), &why),
            None => peers.push(Peer::new(way, peers.len() as u8 + 1, &directory.0)?),
        }
    }
    let cores = machine.cores_of_both();
    let outcome = rounds(options, &on_wires, &peers, cores, &mut report, &stop).and_then(|()| {
        if loads.contains(&Load::Offline) {
            offline::measure(options, &directory.0, &mut report, &stop)?;
        }
        Ok(())
    });
    drop(peers);
    // What was measured until something stopped it is told all the same.
    print!("{}", report.text());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()).map_err(BenchError::of(path.display()))?;
    }
    outcome.map(|()| report)
}

/// All rounds over wires.
fn rounds(
    options: &Options,
    on_wires: &[Load],
    peers: &[Peer],
    cores: [usize; 2],
    report: &mut Report,
    stop: &Stop,
) -> Result<(), BenchError> {
    for round in 0..if on_wires.is_empty() { 0 } else { options.rounds } {
        // Each way is the first of a round in turn.
        for at in 0..peers.len() {
            let peer = &peers[(at + round) % peers.len()];
            if report.is_absent(&peer.way.name()) {
                continue;
            }
            let running = match peer.start(cores[1]) {
                Ok(running) => running,
                // Such as a way of polling that this version has not.
                Err(error) if round == 0 => {
                    report.absent(&peer.way.name(), &error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            if round == 0 {
                peer.check_enforcement()?;
            }
            for load in on_wires {
                stop.check()?;
                match measure(*load, peer, options.seconds, cores[0], stop) {
                    Ok(figures) => report.add(*load, &peer.way.name(), figures),
                    Err(BenchError::Stopped) => return Err(BenchError::Stopped),
                    // A peer that fails at one load has failed at that.
                    Err(error) => report.failed(*load, &peer.way.name(), round, &error.to_string()),
                }
            }
            if let Some(bytes) = running.memory() {
                report.memory(&peer.way.name(), bytes);
            }
            if let ways::Running::Box(guarded, _) = &running {
                let records = guarded.records().filter(|[written, _]| *written > 0);
                let records =
                    records.ok_or_else(|| BenchError::Said(format!("{} recorded nothing", peer.way.name())))?;
                report.records(&peer.way.name(), records);
            }
        }
        eprintln!("round {} of {} done", round + 1, options.rounds);
    }
    Ok(())
}

/// One load on one way, on a thread of its own that has the traffic's core.
fn measure(load: Load, peer: &Peer, seconds: f64, core: usize, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    vambrace::bench::on_core(core, || match load {
        Load::RoundTrip => exchanges::round_trip(&peer.lane, seconds, stop),
        Load::Paced => exchanges::paced(&peer.lane, seconds, stop),
        Load::Behind => exchanges::behind(&peer.lane, seconds, stop),
        Load::K16 => exchanges::k16(&peer.lane, seconds, stop),
        Load::Stream => stream::measure(&peer.lane, seconds, stop),
        Load::Flood => flood::measure(&peer.lane, seconds, stop),
        Load::Lossless => flood::lossless(&peer.lane, seconds, stop),
        Load::Churn => churn::measure(&peer.lane, seconds, stop),
        Load::Offline => Ok(Vec::new()),
    })
    .map_err(|error| match error {
        BenchError::Stopped => BenchError::Stopped,
        other => BenchError::Said(format!("{load:?} through {}: {other}", peer.way.name())),
    })
}

/// A folder for files of peers; removed with the value.
pub struct Scratch(pub PathBuf);

impl Scratch {
    fn new() -> Result<Self, BenchError> {
        let path = std::env::temp_dir().join(format!("vbben-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(BenchError::of(path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
