//! The measurement beside peers works: its smallest round, over every way that is here, with nothing left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

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
    let mut options =
        Options::parse_from(["peers", "--rounds", "1", "--seconds", "0.02", "--json", json.to_str().unwrap()]);
    options.bench = false;
    let report = harness::run(&options).unwrap_or_else(|error| panic!("{error}"));
    println!("{}", report.text());

    for way in ["wire", "kernel bridge", "AF_PACKET, no judgement", "vambrace, busy", "vambrace, blocking"] {
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
                assert!(figure.is_some_and(|figure| figure > 0.0), "{load:?}, {way}, {column}: {figure:?}");
            }
        }
    }
    assert!(report.figure(Load::Offline, "vambrace engine in process", "k/s").is_some_and(|rate| rate > 1.0));
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    assert_eq!(told["tables"].as_array().map(Vec::len), Some(8));

    let own = format!("vbben-{}-", std::process::id());
    let left: Vec<_> = std::fs::read_dir("/run/netns")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with(&own))
        .collect();
    assert!(left.is_empty(), "namespaces are left: {left:?}");
}
