//! What the running box does when its packet process dies, hangs or can't begin, and when somebody leads frames past it.
//! Source: the product's specification, S14 and the page on availability.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::can_make_namespaces;
use support::probes::{Probes, Tally};
use support::restarted::Restarted;
use support::talks::{self, Line, ROBOT_ADDRESS, Shared};
use support::thread::Held;
use support::wire::{PLANT_SIDE, ROBOT_SIDE};

/// Longest time from a fault until frames pass again. Source: S14.
const BACK: Duration = Duration::from_millis(500);

fn probes(line: &Line) -> [Probes; 2] {
    [
        Probes::start((&line.plant, PLANT_SIDE), (&line.robot, ROBOT_SIDE)),
        Probes::start((&line.robot, ROBOT_SIDE), (&line.plant, PLANT_SIDE)),
    ]
}

/// The notices of a kind.
fn notices(vambrace: &Restarted, kind: &str) -> Vec<Value> {
    let records = vambrace.records();
    let lines = records.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["notice"]["kind"] == kind).map(|line| line["notice"].clone()).collect()
}

fn waits_for(vambrace: &Restarted, kind: &str, count: usize) -> Vec<Value> {
    let started = Instant::now();
    loop {
        let found = notices(vambrace, kind);
        if found.len() >= count {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{count} of {kind}: {}", vambrace.state());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a packet process that is not the one before.
fn successor(vambrace: &Restarted, before: Pid) -> Pid {
    let started = Instant::now();
    loop {
        if let Some(pid) = vambrace.packet_process().filter(|pid| *pid != before) {
            // It is the program itself only from here on; before that the supervisor waits for it.
            let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if command.starts_with(b"/proc/self/exe") {
                return pid;
            }
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{}", vambrace.log());
        std::thread::yield_now();
    }
}

fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    println!(
        "{what}: frames pass again after {:.0?} (median), {:.0?} (longest)",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    times[times.len() / 2]
}

#[test]
fn a_worker_that_hangs_is_replaced_within_half_a_second() {
    if !can_make_namespaces("a_worker_that_hangs_is_replaced_within_half_a_second") {
        return;
    }
    let line = Line::new("vbhang");
    let vambrace = Restarted::start_in_memory(&line.inside, "hang", talks::POLICY, "");
    let [toward_robot, _toward_plant] = probes(&line);
    let (mut worker, mut process) = (Vec::new(), Vec::new());
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(400));
        let pid = vambrace.packet_process().unwrap();
        // By turns the worker alone, with the rest of its process well, and the whole process.
        let times = if round % 2 == 0 {
            let held = Held::hold(pid);
            let since = held.since();
            worker.push(toward_robot.back_after(since).unwrap_or_else(|| panic!("{}", vambrace.log())));
            held.gone();
            &worker
        } else {
            let since = Instant::now();
            kill_process(pid, Signal::STOP).unwrap();
            process.push(toward_robot.back_after(since).unwrap_or_else(|| panic!("{}", vambrace.log())));
            &process
        };
        assert!(!times.is_empty() && vambrace.packet_process() != Some(pid));
    }
    let medians = [report("a worker that hangs", worker), report("a process that stands", process)];
    // Of three each: the machine that tests may be busy.
    assert!(medians.iter().all(|median| *median < BACK), "{medians:?}");
    let told = waits_for(&vambrace, "replaced", 6);
    assert!(told.iter().all(|notice| notice["how"] == "hang"), "{told:?}");
    assert_eq!(vambrace.status()["restarts"], 6);
    // The mode enforces: the kernel never carried a frame.
    assert!(notices(&vambrace, "opened").is_empty());
}

/// Ends the packet process and keeps its successor from beginning for a while.
fn keep_from_beginning(vambrace: &Restarted, for_so_long: Duration) {
    let before = vambrace.packet_process().unwrap();
    kill_process(before, Signal::KILL).unwrap();
    let next = successor(vambrace, before);
    kill_process(next, Signal::STOP).unwrap();
    std::thread::sleep(for_so_long);
    kill_process(next, Signal::CONT).unwrap();
}

#[test]
fn the_kernel_carries_frames_while_nobody_judges_where_that_was_asked_for_and_none_comes_twice() {
    if !can_make_namespaces("the_kernel_carries_frames_while_nobody_judges") {
        return;
    }
    let line = Line::new("vbopen");
    let vambrace = Restarted::start_in_memory(&line.inside, "open", talks::POLICY, "[fail]\ncrash = \"open\"\n");
    let shared = Arc::new(Shared::default());
    talks::serve(&line.robot, &shared);
    let connect = || {
        let inside = || TcpStream::connect_timeout(&SocketAddr::from((ROBOT_ADDRESS, 502)), Duration::from_secs(5));
        let stream = line.plant.enter(inside).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let allowed = [0, 1, 0, 0, 0, 6, 255, 6, 0, 128, 0, 7];
    let forbidden = [0, 2, 0, 0, 0, 6, 255, 6, 0, 3, 0, 7];
    let mut old = connect();
    let ask = |stream: &mut TcpStream, command: &[u8]| -> std::io::Result<Vec<u8>> {
        let mut answer = vec![0; 12];
        stream.write_all(command)?;
        let len = stream.read(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    };
    assert_eq!(ask(&mut old, &allowed).unwrap(), allowed);
    let both = probes(&line);
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..3 {
        keep_from_beginning(&vambrace, Duration::from_millis(600));
        std::thread::sleep(Duration::from_millis(400));
    }
    let opened = waits_for(&vambrace, "opened", 3);
    let tallies = both.map(|probes| probes.tally());
    for Tally { sent, lost, doubled, longest_gap } in &tallies {
        println!("{sent} frames, {} lost, {} came twice, longest gap {longest_gap:.0?}", lost.len(), doubled.len());
        assert!(doubled.is_empty(), "{doubled:?}");
        // Without the kernel all of three times 600 ms would be missing.
        assert!(*longest_gap < Duration::from_millis(500) && lost.len() < 1200, "{longest_gap:?}, {} lost", lost.len());
    }
    assert!(opened.iter().all(|notice| notice["for_ms"].as_u64() >= Some(200)), "{opened:?}");
    // Who was connected meanwhile was seen by nobody: that connection ends, and the next one is judged.
    assert!(ask(&mut old, &forbidden).is_ok_and(|answer| answer.is_empty()) || ask(&mut old, &forbidden).is_err());
    let mut new = connect();
    assert_eq!(ask(&mut new, &allowed).unwrap(), allowed);
    assert_eq!(ask(&mut new, &forbidden).unwrap(), [0, 2, 0, 0, 0, 3, 255, 0x86, 2]);
    shared.end();
    assert!(shared.faults().is_empty(), "{:?}", shared.faults());
}

#[test]
fn the_wire_stays_closed_while_nobody_judges_where_the_mode_enforces() {
    if !can_make_namespaces("the_wire_stays_closed_while_nobody_judges_where_the_mode_enforces") {
        return;
    }
    let line = Line::new("vbclos");
    let vambrace = Restarted::start_in_memory(&line.inside, "closed", talks::POLICY, "");
    let [toward_robot, _toward_plant] = probes(&line);
    std::thread::sleep(Duration::from_millis(100));
    keep_from_beginning(&vambrace, Duration::from_millis(700));
    assert!(toward_robot.back_after(Instant::now()).is_some(), "{}", vambrace.log());
    let tally = toward_robot.tally();
    assert!(tally.longest_gap > Duration::from_millis(600), "{:?}", tally.longest_gap);
    assert!(notices(&vambrace, "opened").is_empty());
    assert!(vambrace.ask(&["mode", "shadow"]).status.success());
    let [toward_robot, _toward_plant] = probes(&line);
    std::thread::sleep(Duration::from_millis(100));
    keep_from_beginning(&vambrace, Duration::from_millis(700));
    let told = waits_for(&vambrace, "opened", 1);
    let tally = toward_robot.tally();
    assert!(tally.longest_gap < Duration::from_millis(500), "{:?}; {told:?}", tally.longest_gap);
}

#[test]
fn a_packet_process_that_ends_again_and_again_is_tried_until_it_works() {
    if !can_make_namespaces("a_packet_process_that_ends_again_and_again_is_tried_until_it_works") {
        return;
    }
    let line = Line::new("vbagn");
    let vambrace = Restarted::start_in_memory(&line.inside, "again", talks::POLICY, "[fail]\ncrash = \"open\"\n");
    let standing = vambrace.socket().with_file_name("records").join("standing.json");
    let whole = std::fs::read(&standing).unwrap();
    // None can begin on half an order.
    std::fs::write(&standing, &whole[..whole.len() / 2]).unwrap();
    vambrace.kill();
    std::thread::sleep(Duration::from_millis(500));
    let [toward_robot, _toward_plant] = probes(&line);
    std::thread::sleep(Duration::from_secs(2));
    let tries = vambrace.log().matches("ended unasked").count();
    println!("{tries} tries, {} frames carried by the kernel", toward_robot.came());
    assert!((6..40).contains(&tries), "{tries} tries in 2.5 s");
    assert!(toward_robot.came() > 500, "the kernel carries frames meanwhile: {}", vambrace.log());
    std::fs::write(&standing, &whole).unwrap();
    waits_for(&vambrace, "opened", 1);
    assert!(toward_robot.back_after(Instant::now()).is_some());
    let tally = toward_robot.tally();
    assert!(tally.doubled.is_empty() && tally.longest_gap < BACK, "{:?}", tally.longest_gap);
    assert_eq!(vambrace.status()["openings"], 1);
}

#[test]
fn a_packet_process_that_never_begins_is_replaced() {
    if !can_make_namespaces("a_packet_process_that_never_begins_is_replaced") {
        return;
    }
    let line = Line::new("vbnev");
    let vambrace = Restarted::start_in_memory(&line.inside, "never", talks::POLICY, "");
    let before = vambrace.packet_process().unwrap();
    kill_process(before, Signal::KILL).unwrap();
    kill_process(successor(&vambrace, before), Signal::STOP).unwrap();
    let told = waits_for(&vambrace, "replaced", 1);
    assert_eq!(told[0]["how"], "never_began", "{told:?}");
}

#[test]
fn a_packet_process_does_not_outlive_its_supervisor() {
    if !can_make_namespaces("a_packet_process_does_not_outlive_its_supervisor") {
        return;
    }
    let line = Line::new("vborph");
    let mut vambrace = Restarted::start_in_memory(&line.inside, "orphan", talks::POLICY, "");
    let process = vambrace.packet_process().unwrap().as_raw_nonzero();
    kill_process(vambrace.supervisor(), Signal::KILL).unwrap();
    let stat = format!("/proc/{process}/stat");
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ") && !text.contains(") X "));
    let started = Instant::now();
    while runs() {
        assert!(started.elapsed() < Duration::from_secs(2), "it runs on");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Nothing carries frames, and nothing is in the way of the next one.
    let [toward_robot, _toward_plant] = probes(&line);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(toward_robot.came(), 0);
    vambrace.start_anew(&line.inside, || {});
    assert!(toward_robot.back_after(Instant::now()).is_some(), "{}", vambrace.log());
    assert!(toward_robot.tally().doubled.is_empty());
}

#[test]
fn a_bypass_is_latched_with_its_end() {
    if !can_make_namespaces("a_bypass_is_latched_with_its_end") {
        return;
    }
    let line = Line::new("vbbyp");
    let folder = std::path::Path::new("/dev/shm").join(format!("vambrace-relay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (program, state) = (folder.join("relay"), folder.join("state"));
    std::fs::write(&program, format!("#!/bin/sh\necho $1 > {}\n", state.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let more = format!("[bypass]\ndriver = \"command\"\ncommand = [\"{}\"]\n", program.display());
    let mut vambrace = Restarted::start_in_memory(&line.inside, "bypass", talks::POLICY, &more);
    let relay = || std::fs::read_to_string(&state).unwrap_or_default().trim().to_owned();
    let code = |vambrace: &Restarted, words: &[&str]| vambrace.ask(words).status.code();
    assert_eq!(relay(), "off", "it is told at the start");
    assert_eq!(code(&vambrace, &["bypass", "status"]), Some(0));
    let ordered = Instant::now();
    assert_eq!(code(&vambrace, &["bypass", "on", "--for", "6s"]), Some(0), "{}", vambrace.log());
    assert_eq!((relay().as_str(), code(&vambrace, &["bypass", "status"])), ("on", Some(11)));
    assert_eq!(code(&vambrace, &["status"]), Some(11));
    // The packet process dies, and then everything; the order lies on the disk.
    vambrace.kill();
    std::fs::write(&state, "unknown").unwrap();
    vambrace.start_anew(&line.inside, || {});
    let started = Instant::now();
    while relay() != "on" {
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}: {}", relay(), vambrace.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ordered.elapsed() < Duration::from_secs(5), "the machine is too busy for this test");
    while relay() != "off" {
        assert!(ordered.elapsed() < Duration::from_secs(15), "{}", vambrace.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(ordered.elapsed() > Duration::from_secs(5));
    assert_eq!(code(&vambrace, &["bypass", "status"]), Some(0));
    assert_eq!(code(&vambrace, &["bypass", "on", "--for", "1h"]), Some(0));
    assert_eq!(code(&vambrace, &["bypass", "off"]), Some(0));
    assert_eq!(relay(), "off");
    // Each packet process tells anew that a bypass is on; what the killed one had not written yet is lost.
    let started = Instant::now();
    let told = loop {
        let told = notices(&vambrace, "bypass");
        let mut states: Vec<_> = told.iter().map(|notice| notice["state"].as_str().unwrap()).collect();
        states.dedup();
        if states == ["on", "off", "on", "off"] {
            break told;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{told:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((told[0]["for_seconds"].as_u64(), told[0]["uid"].as_u64()), (Some(6), Some(0)));
    // A relay that is stuck is told of, and the box does not claim a bypass that is none.
    std::fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    assert_eq!(code(&vambrace, &["bypass", "on"]), Some(1));
    let status = vambrace.status();
    assert!(status["degraded"].to_string().contains("bypass") && status["bypassed"] == false, "{status}");
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn without_a_relay_there_is_no_bypass() {
    if !can_make_namespaces("without_a_relay_there_is_no_bypass") {
        return;
    }
    let line = Line::new("vbnob");
    let vambrace = Restarted::start_in_memory(&line.inside, "nobypass", talks::POLICY, "");
    let refused = vambrace.ask(&["bypass", "on"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(6) && said.contains("[bypass]"), "{said}");
}

#[test]
fn the_service_manager_hears_that_the_worker_moves() {
    if !can_make_namespaces("the_service_manager_hears_that_the_worker_moves") {
        return;
    }
    let line = Line::new("vbsdn");
    let path = std::path::Path::new("/dev/shm").join(format!("vambrace-manager-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "900000")];
    let vambrace = Restarted::start_under(&line.inside, "notify", talks::POLICY, &environment);
    let heard = || -> String {
        let mut buffer = [0; 512];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let first = heard();
    assert!(first.contains("READY=1"), "{first}");
    let begun = Instant::now();
    for _ in 0..5 {
        assert!(heard().contains("WATCHDOG=1"));
    }
    // One each 300 ms.
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    // A worker that hangs: its process is replaced, and the signs of life go on with the successor.
    kill_process(vambrace.packet_process().unwrap(), Signal::STOP).unwrap();
    assert!(heard().contains("WATCHDOG=1"));
    waits_for(&vambrace, "replaced", 1);
    let _ = std::fs::remove_file(&path);
}

/// A field of `/proc/PID/status`, in KiB.
fn kib(pid: Pid, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn the_memory_of_connections_is_locked_where_the_limit_lets_it_and_the_wire_works_where_not() {
    const NAME: &str = "the_memory_of_connections_is_locked_where_the_limit_lets_it_and_the_wire_works_where_not";
    if !can_make_namespaces(NAME) {
        return;
    }
    let line = Line::new("vblock");
    let arena = u64::try_from(vambrace::engine::Arena::SIZE / 1024).unwrap();
    {
        let vambrace = Restarted::start_in_memory(&line.inside, "lock", talks::POLICY, "");
        let pid = vambrace.packet_process().unwrap();
        assert!(kib(pid, "VmLck") >= arena, "{} of {arena} KiB", kib(pid, "VmLck"));
        assert!(!vambrace.log().contains("not locked"), "{}", vambrace.log());
        // A successor locks it as well.
        kill_process(pid, Signal::KILL).unwrap();
        let successor = successor(&vambrace, pid);
        let started = Instant::now();
        while kib(successor, "VmLck") < arena {
            assert!(started.elapsed() < Duration::from_secs(10), "{}", vambrace.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // Without the right to lock as much as one likes, and with a limit that is far too low.
    let words = ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"];
    let vambrace = Restarted::start_by(&line.inside, "unlocked", talks::POLICY, &words);
    let [toward_robot, _toward_plant] = probes(&line);
    assert!(toward_robot.back_after(Instant::now()).is_some(), "{}", vambrace.log());
    assert!(kib(vambrace.packet_process().unwrap(), "VmLck") < arena);
    let told = "is not locked and may be paged out; give it LimitMEMLOCK=256M";
    assert!(vambrace.log().contains(told), "{}", vambrace.log());
}

#[test]
fn an_adaptive_worker_rests_where_nothing_comes_and_says_so() {
    if !can_make_namespaces("an_adaptive_worker_rests_where_nothing_comes_and_says_so") {
        return;
    }
    let line = Line::new("vbrest");
    let more = "[fast_path]\npolling = \"adaptive\"\n";
    let vambrace = Restarted::start_in_memory(&line.inside, "rest", talks::POLICY, more);
    let asleep = |over: Duration| {
        let before = vambrace.status();
        std::thread::sleep(over);
        let after = vambrace.status();
        assert_eq!((&after["polling"], &after["restarts"]), (&"adaptive".into(), &0.into()), "{}", vambrace.log());
        let slept = after["slept_ms"].as_u64().unwrap() - before["slept_ms"].as_u64().unwrap();
        slept as f64 / over.as_secs_f64() / 1000.0
    };
    std::thread::sleep(Duration::from_millis(500));
    let quiet = asleep(Duration::from_secs(2));
    // Probes each few milliseconds: less than its spin.
    let probes = probes(&line);
    assert!(probes[0].back_after(Instant::now()).is_some());
    let busy = asleep(Duration::from_secs(2));
    println!("asleep {:.0} % of its time without frames, {:.0} % with probes", quiet * 100.0, busy * 100.0);
    assert!(quiet > 0.8 && busy < 0.3, "{quiet} {busy}");
    assert!(line_of(&vambrace, "worker").contains("polls adaptive, asleep "));
}

/// The line of `status` for people that begins with a word.
fn line_of(vambrace: &Restarted, word: &str) -> String {
    let text = String::from_utf8(vambrace.ask(&["status"]).stdout).unwrap();
    text.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{text}")).to_owned()
}
