//! A box whose records lie on a disk that is full when it starts: frames pass, the status says what is wrong, nothing of the
//! evidence is given up for what others put there, and recording begins when there is room. And one whose witness is gone.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::can_make_namespaces;
use support::netns::Netns;
use support::raw::RawSocket;
use support::wire::{PLANT, PLANT_SIDE, ROBOT, ROBOT_SIDE};
use vambrace::record::evidence::segment_files;

/// A small disk in memory; gone with its value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().unwrap();
        assert!(status.success());
        Self(at.to_owned())
    }

    /// Somebody else's file over all that is free.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("core");
        let mut file = std::fs::File::create(&path).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            while file.write(&vec![7; piece]).is_ok_and(|written| written > 0) {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The running box between two namespaces, with its records wherever `records` is.
struct Running {
    directory: PathBuf,
    inside: Netns,
    plant: Netns,
    robot: Netns,
    process: Option<Child>,
}

impl Running {
    fn new(name: &str, more: &str) -> Self {
        let (plant, inside, robot) = (Netns::new("fdp"), Netns::new("fdb"), Netns::new("fdr"));
        plant.join(PLANT_SIDE, &inside, PLANT, 1500);
        inside.join(ROBOT, &robot, ROBOT_SIDE, 1500);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let own = directory.display();
        let text = format!(
            "mode = \"observe\"\n[ports]\nplant = \"{PLANT}\"\nrobot = \"{ROBOT}\"\n\
             [fast_path]\npolling = \"blocking\"\n[control]\nsocket = \"{own}/control.sock\"\n\
             [record]\ndirectory = \"{own}/records\"\nsize_budget = \"64 MiB\"\n{more}\n\
             [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n"
        );
        std::fs::write(directory.join("vambrace.toml"), text).unwrap();
        Self { directory, inside, plant, robot, process: None }
    }

    fn records(&self) -> PathBuf {
        self.directory.join("records")
    }

    fn start(&mut self) {
        let mut command = self.inside.command(support::vambrace());
        command.args(["run", "--config"]).arg(self.directory.join("vambrace.toml")).stdout(Stdio::null());
        let log = std::fs::File::options().create(true).append(true).open(self.directory.join("log")).unwrap();
        self.process = Some(command.stderr(log).spawn().unwrap());
    }

    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = kill_process(Pid::from_child(&process), Signal::TERM);
        let started = Instant::now();
        while process.try_wait().unwrap().is_none() {
            if started.elapsed() > Duration::from_secs(5) {
                let _ = process.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Waits for a status that fits; how long it took.
    fn waits(&self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Duration {
        let started = Instant::now();
        loop {
            let mut command = Command::new(support::vambrace());
            command.arg("--socket").arg(self.directory.join("control.sock"));
            let output = command.args(["--json", "status"]).output().unwrap();
            let status = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
            if status.is_object() && fits(&status) {
                return started.elapsed();
            }
            assert!(started.elapsed() < Duration::from_secs(25), "{what}: {status}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a frame of a type that passes unread, and sees it arrive.
    fn frames_pass(&self) {
        let (sender, receiver) = (
            self.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap()),
            self.robot.enter(|| RawSocket::open(ROBOT_SIDE).unwrap()),
        );
        let frame = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xcc][..], &[9; 46]].concat();
        let started = Instant::now();
        loop {
            sender.send(&frame).unwrap();
            if receiver.receive(Duration::from_millis(50)).unwrap().is_some_and(|seen| seen == frame) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(15), "no frame passes:\n{}", self.log());
        }
    }

    fn is_sound(&self) -> Value {
        let mut command = Command::new(support::vambrace());
        let output = command.args(["--json", "evidence", "verify"]).arg(self.records()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", self.log());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn is_degraded(status: &Value) -> bool {
    let sentences = status["degraded"].as_array().unwrap();
    sentences.iter().any(|sentence| sentence.as_str().unwrap().contains("records can't be written"))
}

#[test]
fn a_box_on_a_disk_that_others_fill_passes_frames_says_so_and_records_when_there_is_room() {
    if !can_make_namespaces("a_box_on_a_disk_that_others_fill_passes_frames") {
        return;
    }
    let mut running = Running::new("disk-others", "");
    let disk = SmallDisk::mount(&running.records(), "8m");
    // A first run, so that there is evidence to lose.
    running.start();
    running.waits("a first run", |status| !is_degraded(status) && status["records"]["written"].as_u64() > Some(0));
    std::thread::sleep(Duration::from_millis(1500));
    running.end();
    let before = segment_files(&running.records()).unwrap();
    running.is_sound();

    let core = disk.fill();
    running.start();
    running.frames_pass();
    let took = running.waits("the alarm", is_degraded);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(running.log().contains("can't be"), "{}", running.log());
    std::thread::sleep(Duration::from_millis(2500));
    running.frames_pass();
    running.waits("the alarm lasts", is_degraded);
    assert!(before.iter().all(|path| path.exists()), "no evidence is given up for what others put there");

    std::fs::remove_file(core).unwrap();
    let took = running.waits("the end of the alarm", |status| !is_degraded(status));
    assert!(took < Duration::from_secs(5), "{took:?}");
    std::thread::sleep(Duration::from_millis(1500));
    running.end();
    let report = running.is_sound();
    assert_eq!((&report["runs"], &report["absent"]), (&2.into(), &Value::Null), "{report}");
    drop(running);
    drop(disk);
}

#[test]
fn a_box_that_has_never_recorded_starts_on_a_full_disk_if_it_can_say_what_is_in_force() {
    if !can_make_namespaces("a_box_that_has_never_recorded_starts_on_a_full_disk") {
        return;
    }
    let mut running = Running::new("disk-first", "");
    let disk = SmallDisk::mount(&running.records(), "1m");
    let core = disk.fill();
    // Nothing tells a packet process what is in force: it says what to do, and ends.
    running.start();
    let status = running.process.take().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(running.log().contains("free space there"), "{}", running.log());
    std::fs::remove_file(core).unwrap();
    running.start();
    running.frames_pass();
    running.waits("records", |status| !is_degraded(status) && status["records"]["written"].as_u64() > Some(0));
    running.end();
    drop(running);
    drop(disk);
}

#[test]
fn a_box_on_a_disk_that_its_own_evidence_fills_removes_the_oldest_of_it() {
    if !can_make_namespaces("a_box_on_a_disk_that_its_own_evidence_fills") {
        return;
    }
    let mut running = Running::new("disk-own", "");
    // Segments are 1.5 MiB of a budget of 64: it is used up long before the budget is.
    let disk = SmallDisk::mount(&running.records(), "8m");
    for _ in 0..3 {
        running.start();
        running.waits("a run", |status| !is_degraded(status) && status["records"]["written"].as_u64() > Some(0));
        std::thread::sleep(Duration::from_millis(1200));
        running.end();
    }
    // Months of a busy cell in a second.
    grow(&running.records(), 5 << 20);
    running.is_sound();
    let first = segment_files(&running.records()).unwrap()[0].clone();
    let core = disk.fill();
    assert!(std::fs::metadata(&core).unwrap().len() < 3 << 20, "most of the disk is evidence");
    running.start();
    running.frames_pass();
    running.waits("records again", |status| !is_degraded(status) && status["records"]["written"].as_u64() > Some(0));
    std::thread::sleep(Duration::from_millis(1500));
    running.end();
    assert!(!first.exists(), "the oldest went");
    assert!(!running.is_sound()["absent"].is_null());
    drop(running);
    drop(disk);
}

#[test]
fn the_status_tells_how_witnesses_fare() {
    if !can_make_namespaces("the_status_tells_how_witnesses_fare") {
        return;
    }
    let medium = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("medium-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&medium);
    let path = medium.join("box.checkpoints");
    let mut running = Running::new("witness", &format!("witness = [\"{}\"]", path.display()));
    running.start();
    running.waits("a witness without its medium", |status| {
        let witness = &status["records"]["witnesses"][0];
        witness["path"] == path.to_str().unwrap()
            && witness["error"].as_str().is_some_and(|error| error.contains("No such file"))
            && witness["took_one_seconds_ago"].is_null()
    });
    std::fs::create_dir(&medium).unwrap();
    running.waits("its medium is there", |status| {
        let witness = &status["records"]["witnesses"][0];
        witness["error"].is_null() && witness["took_one_seconds_ago"].as_u64().is_some_and(|seconds| seconds < 10)
    });
    let mut command = Command::new(support::vambrace());
    let output = command.arg("--socket").arg(running.directory.join("control.sock")).arg("status").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("witness    ") && text.contains("evidence   0 lost"), "{text}");
    drop(running);
    std::fs::remove_dir_all(medium).unwrap();
}

/// Lets the store grow, as the recorder of a busy cell does.
fn grow(records: &Path, bytes: u64) {
    use vambrace::record::evidence::{ClockState, Evidence, EvidenceOptions, FrameCounts, Surroundings};
    #[derive(Debug)]
    struct Busy;
    impl Surroundings for Busy {
        fn frames(&self) -> FrameCounts {
            FrameCounts::default()
        }
        fn clock(&self) -> ClockState {
            ClockState::Unknown
        }
    }
    let options = EvidenceOptions {
        directory: records.to_owned(),
        budget: 8 << 20,
        max_age: None,
        witnesses: Vec::new(),
        recipients: Vec::new(),
        counter: None,
        host: "box".into(),
        names: Vec::new(),
    };
    let mut evidence = Evidence::open(options, std::sync::Arc::new(Busy)).unwrap();
    let text = "x".repeat(4000);
    let mut number = 1_000_000u64;
    while evidence.bytes() < bytes {
        number += 1;
        evidence.record(format!("{{\"event_id\":{number},\"text\":\"{text}\"}}").as_bytes(), 1);
        evidence.tick();
    }
    assert_eq!(evidence.error(), None);
    evidence.close();
}

/// A disk that answers every write with an I/O error once it is broken: a file system on memory that can be sealed.
struct BreakingDisk {
    memory: std::os::fd::OwnedFd,
    at: PathBuf,
}

impl BreakingDisk {
    fn mount(at: &Path) -> Option<Self> {
        use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
        use std::os::fd::AsRawFd;
        let memory = memfd_create("breaking-disk", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&memory, 64 << 20).unwrap();
        let image = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()));
        let run = |program: &str, words: &[&str], last: &[&Path]| {
            Command::new(program).args(words).args(last).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
        };
        std::fs::create_dir_all(at).unwrap();
        // Without a journal, whose end would make the file system one to be read only.
        let made = run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal"], &[&image])
            && run("mount", &["-t", "ext4", "-o", "loop,errors=continue"], &[&image, at]);
        made.then(|| Self { memory, at: at.to_owned() })
    }

    /// From here on nothing can be written to it.
    fn breaks(&self) {
        rustix::fs::fcntl_add_seals(&self.memory, rustix::fs::SealFlags::FUTURE_WRITE).unwrap();
    }
}

impl Drop for BreakingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

#[test]
fn a_box_on_a_disk_with_io_errors_passes_frames_says_so_and_takes_orders() {
    const NAME: &str = "a_box_on_a_disk_with_io_errors_passes_frames_says_so_and_takes_orders";
    if !can_make_namespaces(NAME) || !support::has_tool(NAME, "mkfs.ext4") {
        return;
    }
    let mut running = Running::new("disk-eio", "");
    let Some(disk) = BreakingDisk::mount(&running.records()) else {
        support::skipped(NAME, "no loop device to mount a file with");
        return;
    };
    running.start();
    running.waits("records", |status| !is_degraded(status) && status["records"]["written"].as_u64() > Some(0));
    let ask = |words: &[&str]| {
        let mut command = Command::new(support::vambrace());
        command.arg("--socket").arg(running.directory.join("control.sock")).args(words).output().unwrap()
    };
    assert!(ask(&["evidence", "keep"]).status.success());

    disk.breaks();
    let broken = Instant::now();
    let told = |status: &Value| {
        let _ = ask(&["evidence", "keep"]);
        is_degraded(status)
    };
    running.waits("the alarm", told);
    assert!(broken.elapsed() < Duration::from_secs(10), "{:?}", broken.elapsed());
    assert!(running.log().contains("Input/output error"), "{}", running.log());
    running.frames_pass();
    running.waits("the alarm lasts", told);

    // An order is in force, and whoever gave it hears that a restart would not know of it; so does the status.
    let answer = ask(&["mode", "shadow", "--for", "1h"]);
    let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
    assert!(said.contains("no policy is in force"), "{said}");
    let answer = ask(&["mode", "learn"]);
    let said = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
    assert!(answer.status.success() && said.contains("observe -> learn"), "{said}");
    assert!(said.contains("warning: in force, but not on the disk"), "{said}");
    running.waits("the order", |status| {
        let sentences = status["degraded"].as_array().unwrap();
        let told = |it: &Value| it.as_str().unwrap().contains("standing orders can't be written");
        status["mode"] == "learn" && sentences.iter().any(told)
    });
    running.frames_pass();
    running.end();
    drop(running);
    drop(disk);
}
