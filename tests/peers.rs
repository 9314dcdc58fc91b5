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

use clap::Parser;
use harness::{Load, Options};

#[test]
fn the_smallest_round_measures_every_way_and_leaves_nothing_behind() {
    if !support::can_make_namespaces("peers") {
        return;
    }
    let json = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}.json", std::process::id()));
    let smallest = ["peers", "--rounds", "1", "--seconds", "0.02", "--json", json.to_str().unwrap()];
    let run = |words: &[&str]| {
        let options = Options::parse_from(smallest.iter().chain(words));
        harness::run(&options).unwrap_or_else(|error| panic!("{error}"))
    };
    let report = run(&["--loads", "round-trip,paced,k16,stream,flood,churn"]);

    // nftables and Suricata are not everywhere.
    let kernel: &[&str] = &["wire", "kernel bridge", "nftables bridge"];
    let kernel = &kernel[..if support::is_installed("nft") { 3 } else { 2 }];
    let ours = ["vambrace, busy", "vambrace, adaptive", "vambrace, blocking"];
    for way in kernel.iter().copied().chain(["AF_PACKET, no judgement"]).chain(ours) {
        for (load, columns) in [
            (Load::RoundTrip, &["p50", "p99", "p99.9", "max"][..]),
            (Load::Paced, &["p50"]),
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

/// Namespaces whose names begin so.
fn namespaces(begin: &str) -> Vec<String> {
    let names = std::fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(begin)).collect()
}
