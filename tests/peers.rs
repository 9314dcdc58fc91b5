//! The measurement beside peers works: its smallest round, over every way that is here, with nothing left behind.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

#[path = "../benches/peers/harness/mod.rs"]
mod harness;
mod support;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use harness::ways::{Peer, Way};
use harness::{Load, Options};
use support::raw::RawSocket;
use vambrace::bench::inside;

/// One of them at a time: the namespaces of both bear this process's id, and the first counts them.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_smallest_round_measures_every_way_and_leaves_nothing_behind() {
    if !support::can_make_namespaces("peers") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let json = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}.json", std::process::id()));
    let smallest = ["peers", "--rounds", "1", "--seconds", "0.02", "--json", json.to_str().unwrap()];
    let run = |words: &[&str]| {
        let options = Options::parse_from(smallest.iter().chain(words));
        harness::run(&options).unwrap_or_else(|error| panic!("{error}"))
    };
    let report = run(&["--loads", "round-trip,paced,behind,k16,stream,flood,churn"]);

    // nftables, clang and Suricata are not everywhere.
    let here = |tool: &str, ways: &'static [&'static str]| if support::is_installed(tool) { ways } else { &[] };
    let mut kernel = vec!["wire", "kernel bridge"];
    kernel.extend(here("nft", &["nftables bridge"]));
    kernel.extend(here("clang", &["XDP redirect"]));
    let mut ours = vec!["AF_PACKET, no judgement", "vambrace, busy", "vambrace, adaptive", "vambrace, blocking"];
    ours.extend(here("clang", &["AF_XDP, no judgement", "vambrace, busy, XDP beside"]));
    for way in kernel.iter().copied().chain(ours) {
        for (load, columns) in [
            (Load::RoundTrip, &["p50", "p99", "p99.9", "max"][..]),
            (Load::Paced, &["p50"]),
            (Load::Behind, &["p50"]),
            (Load::K16, &["1/s"]),
            (Load::Stream, &["in p99", "out p99"]),
            (Load::Flood, &["64", "128", "256", "512", "1024", "1514"]),
            (Load::Churn, &["1/s"]),
        ] {
            for column in columns {
                let figure = report.figure(load, way, column);
                // In the few milliseconds of such a flood, what has a thread of its own may not have been on a core.
                let least = if load == Load::Flood && !kernel.contains(&way) { -1.0 } else { 0.0 };
                assert!(figure.is_some_and(|figure| figure > least), "{load:?}, {way}, {column}: {figure:?}");
            }
        }
    }
    let held = report.promises().into_iter().filter(|promise| promise.measured.is_some()).map(|promise| promise.id);
    assert_eq!(held.filter(|id| *id == "S3").count(), 2, "both lines of S3 are told");

    let report = run(&["--loads", "lossless,offline", "--ways", "bridge"]);
    assert!(report.figure(Load::Lossless, "kernel bridge", "1514").is_some_and(|rate| rate > 0.0));
    assert!(report.figure(Load::Offline, "vambrace engine in process", "k/s").is_some_and(|rate| rate > 1.0));
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert_eq!(told["tables"].as_array().map(Vec::len), Some(2));

    let own = format!("vbben-{}-", std::process::id());
    assert_eq!(namespaces(&own), Vec::<String>::new());

    let panicked = std::panic::catch_unwind(|| {
        let lane = vambrace::bench::Lane::new(200, vambrace::bench::Middle::Box).unwrap();
        assert_eq!(namespaces(&own).len(), 3, "{lane:?}");
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert_eq!(namespaces(&own), Vec::<String>::new());

    // What a killed measurement left goes when the next one begins.
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let left = format!("vbben-{}-1-p", gone.id());
    assert!(std::process::Command::new("ip").args(["netns", "add", &left]).status().unwrap().success());
    vambrace::bench::remove_left_behind();
    assert_eq!(namespaces(&left), Vec::<String>::new());
}

/// A way that loses or alters frames is not comparable: both directions, VLAN tags among the frames.
#[test]
fn what_passes_without_judgement_passes_byte_for_byte() {
    let name = "what_passes_without_judgement_passes_byte_for_byte";
    if !support::can_make_namespaces(name) || !support::has_tool(name, "clang") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = std::env::temp_dir().join(format!("vbben-passes-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    for (number, way) in [(210, Way::Forwarder), (211, Way::Xdp), (212, Way::AfXdp)] {
        let peer = Peer::new(way, number, &directory).unwrap();
        let (plant, robot, between) = (peer.lane.plant(), peer.lane.robot(), peer.lane.between().unwrap());
        // So that full frames with two tags go out.
        for (space, port) in [(&plant, "p0"), (&robot, "r0"), (&between, "plant0"), (&between, "robot0")] {
            let words = ["-n", space, "link", "set", port, "mtu", "1508"];
            assert!(std::process::Command::new("ip").args(words).status().unwrap().success());
        }
        let running = peer.start(0).unwrap();
        let open = |space: &str, port| inside(space, || RawSocket::open(port).unwrap()).unwrap();
        let ends = [open(&plant, "p0"), open(&robot, "r0")];
        let mut wrong = Vec::new();
        for (from, to) in [(0, 1), (1, 0)] {
            for frame in support::corpus::frames() {
                ends[from].send(&frame.bytes).unwrap();
                let arrived = ends[to].receive(Duration::from_millis(400)).unwrap();
                if arrived.as_ref() != Some(&frame.bytes) {
                    wrong.push((from, frame.name, arrived));
                }
            }
        }
        assert!(wrong.is_empty(), "{}: {} frames differ: {wrong:02x?}", way.name(), wrong.len());
        drop(running);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Namespaces whose names begin so.
fn namespaces(begin: &str) -> Vec<String> {
    let names = std::fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(begin)).collect()
}
