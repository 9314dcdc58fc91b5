//! The whole program between two wires: transparent where it must be, soundly restarted when its packet process dies,
//! and clear about what it can't use.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::can_make_namespaces;
use support::corpus;
use support::wire::{PLANT, ROBOT, Wire};

const REFUSE_ALL: &str = "version = 1\nrobot = \"robot\"\n";

/// `vambrace run` in the box namespace of a wire, with files of its own; ends with the value.
struct Vambrace<'w> {
    wire: &'w Wire,
    directory: PathBuf,
    process: Child,
}

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("box-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn configure(directory: &Path, mode: &str, plant: &str, robot: &str) -> PathBuf {
    let path = directory.join("vambrace.toml");
    let own = directory.display();
    let text = format!(
        "mode = \"{mode}\"\n[ports]\nplant = \"{plant}\"\nrobot = \"{robot}\"\n[fast_path]\npolling = \"blocking\"\n\
         [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n\
         [control]\nsocket = \"{own}/control.sock\"\n[record]\ndirectory = \"{own}/records\"\n\
         [policy]\nfile = \"{own}/policy.toml\"\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::write(directory.join("policy.toml"), REFUSE_ALL).unwrap();
    path
}

impl<'w> Vambrace<'w> {
    fn start(wire: &'w Wire, name: &str, mode: &str) -> Self {
        let directory = directory(name);
        let config = configure(&directory, mode, PLANT, ROBOT);
        let mut command = wire.inside.command(support::vambrace());
        command.args(["run", "--config"]).arg(&config).stdout(Stdio::null());
        command.stderr(std::fs::File::create(directory.join("log")).unwrap());
        let vambrace = Self { wire, process: command.spawn().unwrap(), directory };
        assert!(wire.wait_for_box(Duration::from_secs(10)), "{}", vambrace.log());
        vambrace
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn ask(&self, args: &[&str]) -> Output {
        let mut command = Command::new(support::vambrace());
        command.arg("--socket").arg(self.directory.join("control.sock")).args(args).output().unwrap()
    }

    /// Pid of the packet process: the only child of the supervisor.
    fn packet_process(&self) -> i32 {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().next().map_or(0, |pid| pid.parse().unwrap())
    }
}

impl Drop for Vambrace<'_> {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let started = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            if started.elapsed() > Duration::from_secs(5) {
                let _ = self.process.kill();
                let _ = self.process.wait();
                panic!("it did not end when asked: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.wire;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The cores that each thread of a process may run on, the main thread's first.
fn cores_of_threads(pid: i32) -> Vec<String> {
    let allowed = |task: &Path| {
        let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap_or_default().trim().to_owned()
    };
    let mut tasks: Vec<_> =
        std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path()).collect();
    tasks.sort_by_key(|task| task.file_name().unwrap().to_str().unwrap().parse::<i32>().unwrap());
    tasks.iter().map(|task| allowed(task)).collect()
}

#[test]
fn the_worker_has_its_core_to_itself() {
    if !can_make_namespaces("the_worker_has_its_core_to_itself") {
        return;
    }
    if std::thread::available_parallelism().unwrap().get() < 2 {
        support::skipped("the_worker_has_its_core_to_itself", "there is one core");
        return;
    }
    let wire = Wire::new("vbcore", 1508);
    let vambrace = Vambrace::start(&wire, "core", "shadow");
    let cores = cores_of_threads(vambrace.packet_process());
    let (worker, others) = cores.split_first().unwrap();
    assert_eq!(worker, "1", "as fast_path.cores says by default");
    assert!(others.len() >= 3, "recorder, control and watch at least: {others:?}");
    for other in others {
        let mut ranges = other.split(',').map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap()
        });
        assert!(!ranges.any(|range| range.contains(&1)), "{other}");
    }
}

#[test]
fn a_timed_mode_within_a_timed_mode_ends_in_what_came_before_both() {
    if !can_make_namespaces("a_timed_mode_within_a_timed_mode_ends_in_what_came_before_both") {
        return;
    }
    let wire = Wire::new("vbmode", 1508);
    let vambrace = Vambrace::start(&wire, "mode", "shadow");
    assert!(vambrace.ask(&["mode", "observe", "--for", "10m"]).status.success());
    assert!(vambrace.ask(&["mode", "enforce", "--for", "1s"]).status.success());
    let started = Instant::now();
    loop {
        let status: serde_json::Value =
            serde_json::from_slice(&vambrace.ask(&["--json", "status"]).stdout).unwrap_or_default();
        if status["mode"] == "shadow" {
            break;
        }
        assert!(status["mode"] == "enforce" && started.elapsed() < Duration::from_secs(10), "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn frames_pass_within_a_second_of_the_start() {
    if !can_make_namespaces("frames_pass_within_a_second_of_the_start") {
        return;
    }
    let wire = Wire::new("vbstart", 1508);
    let times: Vec<_> = (0..3)
        .map(|round| {
            let started = Instant::now();
            let _vambrace = Vambrace::start(&wire, &format!("start-{round}"), "shadow");
            started.elapsed()
        })
        .collect();
    println!("frames passed after {times:?}");
    // The shortest: what other work on the machine adds is not counted.
    assert!(times.iter().min().unwrap() < &Duration::from_secs(1), "{times:?}");
}

#[test]
fn every_frame_of_the_corpus_passes_in_observe_learn_and_shadow() {
    if !can_make_namespaces("every_frame_of_the_corpus_passes_in_observe_learn_and_shadow") {
        return;
    }
    for mode in ["observe", "learn", "shadow"] {
        let wire = Wire::new("vbbox", 1508);
        let vambrace = Vambrace::start(&wire, mode, mode);
        wire.assert_transparent(&corpus::frames());
        drop(vambrace);
    }
}

#[test]
fn frames_of_nine_kilobytes_pass() {
    if !can_make_namespaces("frames_of_nine_kilobytes_pass") {
        return;
    }
    let wire = Wire::new("vbjum", 9008);
    let vambrace = Vambrace::start(&wire, "jumbo", "observe");
    wire.assert_transparent(&corpus::jumbo());
    drop(vambrace);
}

#[test]
fn a_killed_packet_process_is_replaced_and_forwards_again() {
    if !can_make_namespaces("a_killed_packet_process_is_replaced_and_forwards_again") {
        return;
    }
    let wire = Wire::new("vbkil", 1508);
    let vambrace = Vambrace::start(&wire, "kill", "observe");
    for _ in 0..5 {
        let pid = rustix::process::Pid::from_raw(vambrace.packet_process()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert!(wire.wait_for_box(Duration::from_secs(2)), "{}", vambrace.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    wire.assert_transparent(&corpus::frames());
    let status = vambrace.ask(&["--json", "status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"restarts\":5"), "{status:?}");
    // Each of them took the evidence up where the one before had left it.
    let deadline = Instant::now() + Duration::from_secs(10);
    let told = |word: &str| {
        let records = std::fs::read_dir(vambrace.directory.join("records")).unwrap();
        let paths =
            records.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("pcapng".as_ref()));
        let text: String =
            paths.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect();
        text.matches(&format!("{{\"evidence\":\"{word}\"")).count()
    };
    while told("open") < 6 {
        assert!(Instant::now() < deadline, "{} runs are recorded: {}", told("open"), vambrace.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((told("recovered"), told("close")), (5, 0));
}

#[test]
fn the_records_tell_that_the_box_lives() {
    if !can_make_namespaces("the_records_tell_that_the_box_lives") {
        return;
    }
    let wire = Wire::new("vbhea", 1508);
    let vambrace = Vambrace::start(&wire, "heart", "observe");
    wire.assert_transparent(&corpus::frames());
    let records = vambrace.directory.join("records/eve.json");
    let beat = || -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(&records).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.find(|line| line["event_type"] == "stats")
    };
    // One comes every ten seconds; a busy machine may need longer.
    let deadline = Instant::now() + Duration::from_secs(30);
    while beat().is_none() {
        assert!(Instant::now() < deadline, "no heart-beat within 30 s: {}", vambrace.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let stats = &beat().unwrap()["stats"];
    let sent = 2 * corpus::frames().len() as u64;
    assert!(stats["decoder"]["pkts"].as_u64() >= Some(sent), "{stats}");
    assert_eq!(stats["ips"]["accepted"], stats["decoder"]["pkts"], "{stats}");
}

#[test]
fn a_port_that_goes_away_and_comes_back_stops_nothing_else() {
    if !can_make_namespaces("a_port_that_goes_away_and_comes_back_stops_nothing_else") {
        return;
    }
    let wire = Wire::new("vbprt", 1508);
    let vambrace = Vambrace::start(&wire, "port", "observe");
    wire.inside.run(&["ip", "link", "set", ROBOT, "down"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(vambrace.ask(&["status"]).status.code(), Some(10), "degraded");
    wire.inside.run(&["ip", "link", "set", ROBOT, "up"]);
    assert!(wire.wait_for_box(Duration::from_secs(5)), "{}", vambrace.log());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(vambrace.ask(&["status"]).status.code(), Some(0));
}

#[test]
fn what_can_not_be_used_is_said_in_one_line_with_its_exit_code() {
    let directory = directory("bad");
    let run = |arguments: &[&str]| {
        let output = Command::new(support::vambrace()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{text}");
        (output.status.code(), text)
    };
    let config = configure(&directory, "enforce", "no-such-port", "nor-this");
    let config = config.display().to_string();
    let (code, text) = run(&["run", "--config", &config]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no-such-port"), "{text}");
    let (code, text) = run(&["run", "--config", "/no/such/file.toml"]);
    assert!(code == Some(2) && text.contains("/no/such/file.toml"), "{text}");
    std::fs::write(directory.join("policy.toml"), "version = 1\nrobot = \"robot\"\n[[alow]]\n").unwrap();
    let (code, text) = run(&["run", "--config", &config]);
    assert!(code == Some(2) && text.contains("policy.toml:3:") && text.contains("`allow`"), "{text}");
    let capture = directory.join("not-a-capture");
    std::fs::write(&capture, b"hello, this is no capture").unwrap();
    let (code, text) = run(&["replay", &capture.display().to_string()]);
    assert!(code == Some(1) && text.contains("not-a-capture"), "{text}");
    let (code, text) = run(&["--socket", "/no/such/control.sock", "status"]);
    assert!(code == Some(5) && text.contains("/no/such/control.sock"), "{text}");
    assert_eq!(run(&["mode"]).0, Some(2));
    let _ = std::fs::remove_dir_all(&directory);
}
