#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

pub(in crate::record) mod check;
mod cuts;
mod faults;
mod life;
mod power_cuts;
mod sealed;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::disk::Disk;
use super::*;
use crate::record::pcapng::PacketNotes;
use check::{Sound, check};
use faults::FaultyDisk;

const SECOND: u64 = 1_000_000_000;
const BEGIN: u64 = 1_764_000_000 * SECOND;

/// A box whose clocks run when the test says so.
#[derive(Clone, Debug, Default)]
pub(in crate::record) struct Box_ {
    passed_ns: Arc<AtomicU64>,
    /// How far the wall clock was set ahead, and whether it says that it is synchronised.
    ahead_ns: Arc<AtomicU64>,
    synchronised: Arc<AtomicBool>,
}

impl Box_ {
    pub(in crate::record) fn pass(&self, time: Duration) {
        self.passed_ns.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Sets the wall clock, as a time server does.
    pub(in crate::record) fn set_ahead(&self, by: Duration) {
        self.ahead_ns.store(by.as_nanos() as u64, Ordering::Relaxed);
        self.synchronised.store(true, Ordering::Relaxed);
    }
}

impl Surroundings for Box_ {
    fn frames(&self) -> FrameCounts {
        FrameCounts { received: 30, sent: 20, refused: 10 }
    }

    fn clock(&self) -> ClockState {
        if self.synchronised.load(Ordering::Relaxed) { ClockState::Synchronised } else { ClockState::Free }
    }

    fn now(&self) -> Moment {
        let passed = self.passed_ns.load(Ordering::Relaxed);
        Moment { monotonic_ns: SECOND + passed, wall_ns: BEGIN + passed + self.ahead_ns.load(Ordering::Relaxed) }
    }
}

pub(in crate::record) fn folder(name: &str) -> PathBuf {
    // In memory where there is such a place: a store waits for the disk every second, of which there are thousands here.
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = parent.join(format!("vambrace-evidence-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

pub(in crate::record) fn options(directory: &Path) -> EvidenceOptions {
    EvidenceOptions {
        directory: directory.to_owned(),
        budget: 64 << 20,
        max_age: None,
        witnesses: Vec::new(),
        counter: None,
        host: "cell 4".into(),
        names: vec![("10.20.0.40".parse().unwrap(), "cell4-robot".into()), ("fd00::21".parse().unwrap(), "plc".into())],
        recipients: Vec::new(),
    }
}

pub(in crate::record) fn open(options: &EvidenceOptions, of: &Box_) -> Evidence {
    Evidence::open(options.clone(), Arc::new(of.clone())).unwrap()
}

fn open_on(disk: impl Disk + 'static, options: &EvidenceOptions, of: &Box_) -> Evidence {
    Evidence::open_on(Box::new(disk), options.clone(), Arc::new(of.clone())).unwrap()
}

fn event(number: u64) -> String {
    format!("{{\"timestamp\":\"2026-11-23T13:58:02.114209+0000\",\"event_type\":\"alert\",\"event_id\":{number}}}")
}

fn refused(evidence: &mut Evidence, number: u64, port: Port) {
    let notes = PacketNotes { comment: "plc wrote 700", packet_id: number, verdict: "value_not_allowed" };
    evidence.packet(port, BEGIN + number, 61, &[0x5a; 61], &notes);
}

fn last_segment(directory: &Path) -> PathBuf {
    segment_files(directory).unwrap().pop().unwrap()
}

pub(in crate::record) fn sound(directory: &Path) -> Sound {
    check(directory).unwrap_or_else(|what| panic!("{what}"))
}
