//! Frames for a long time: memory stays where it was, and every frame is accounted for. Source: the product's
//! specification, S9; `VAMBRACE_SOAK_SECONDS` makes it longer, as `tests/long/soak` does.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::can_make_namespaces;
use support::restarted::Restarted;
use support::talks::{self, Kind, Line, Shared};

/// Most that both processes may keep in memory. Source: S9.
const CEILING_KIB: u64 = 128 << 10;

/// Resident and proportional memory of a process, KiB; shared pages count half each for two.
fn memory_kib(process: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    above / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

#[test]
fn a_soak_takes_no_more_memory_at_its_end() {
    if !can_make_namespaces("a_soak_takes_no_more_memory_at_its_end") {
        return;
    }
    let seconds = std::env::var("VAMBRACE_SOAK_SECONDS").ok().map_or(20.0, |text| text.parse::<f64>().unwrap());
    let line = Line::new("vbsoak");
    // In memory where it is short; a long one writes gigabytes.
    let start = if seconds > 60.0 { Restarted::start } else { Restarted::start_in_memory };
    let vambrace = start(&line.inside, "soak", talks::POLICY, "");
    let shared = Arc::new(Shared::default());
    talks::serve(&line.robot, &shared);
    let clients = [("fast", Kind::Fast), ("calm", Kind::Calm), ("split", Kind::Split)];
    let clients = clients.map(|(name, kind)| talks::talk(&line.plant, &shared, name, kind));
    talks::upload(&line.plant, &shared, "programs");
    let both = || {
        let processes = [vambrace.supervisor(), vambrace.packet_process().unwrap()];
        processes.iter().map(|process| memory_kib(process.as_raw_nonzero().get())).sum::<u64>()
    };
    // What is taken once: tables of the recorder, arenas of threads, pages of the connections' stores.
    std::thread::sleep(Duration::from_secs_f64(seconds / 4.0));
    let (begun, mut points) = (Instant::now(), Vec::new());
    while begun.elapsed().as_secs_f64() < seconds * 0.75 {
        points.push((begun.elapsed().as_secs_f64(), both() as f64));
        std::thread::sleep(Duration::from_secs_f64((seconds / 200.0).max(0.1)));
    }
    let frames = vambrace.status()["traffic"]["frames"].as_u64().unwrap();
    let (first, last) = (points[0].1, points[points.len() - 1].1);
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let per_minute = slope(&points) * 60.0;
    println!(
        "{frames} frames in {seconds:.0} s; {:.1} MiB at the begin, {:.1} at the end, {:.1} at most; {:+.0} KiB a minute",
        first / 1024.0,
        last / 1024.0,
        most / 1024.0,
        per_minute,
    );
    shared.end();
    assert!(shared.faults().is_empty() && shared.deaths().is_empty(), "{:?} {:?}", shared.faults(), shared.deaths());
    assert!(clients.iter().all(|client| client.opened.load(std::sync::atomic::Ordering::Relaxed) == 1));
    let status = vambrace.status();
    assert_eq!(status["restarts"], 0, "{}", vambrace.log());
    let traffic = &status["traffic"];
    let number = |key: &str| traffic[key].as_u64().unwrap();
    assert_eq!(number("frames"), number("forwarded") + number("dropped"), "{traffic}");
    assert!(most < CEILING_KIB as f64, "{most} KiB");
    // A MiB is what a thread of the control socket may leave in the allocator; a leak of a byte a frame is more.
    let allowed = 1024.0_f64.max(frames as f64 / 1024.0 / 4.0);
    assert!(last - first < allowed, "{first} KiB became {last}: {points:?}");
}
