//! `vambrace capture` and `vambrace-extcap` on a real wire, read by Wireshark's own reader.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;
#[path = "wireshark/tshark.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod tshark;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::guarded::{Guarded, forbidden, refusal};
use support::has_tool;

/// A capture that runs; ends with the value.
struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    fn start(cell: &Guarded, name: &str, arguments: &[&str]) -> Self {
        let file = cell.vambrace.directory().join(format!("{name}.pcapng"));
        let mut command = Command::new(support::vambrace());
        command.arg("--socket").arg(cell.vambrace.directory().join("control.sock")).arg("capture");
        command.args(arguments).arg(&file);
        command.stderr(std::fs::File::create(file.with_extension("log")).unwrap());
        let capture = Self { process: command.spawn().unwrap(), file };
        capture.waits_for(1);
        capture
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file.with_extension("log")).unwrap_or_default()
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |meta| meta.len())
    }

    /// Waits until the file has this many bytes.
    fn waits_for(&self, bytes: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.len() < bytes {
            assert!(Instant::now() < deadline, "{} bytes: {}", self.len(), self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Ends it in order; its last line.
    fn end(&mut self) -> String {
        self.send(Signal::INT);
        assert_eq!(self.process.wait().unwrap().code(), Some(0), "{}", self.log());
        self.log().lines().last().unwrap_or_default().to_owned()
    }

    /// What tshark shows of each packet that fits: these fields.
    fn packets(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut arguments = vec!["-Y", filter, "-T", "fields", "-E", "separator=|"];
        fields.iter().for_each(|field| arguments.extend(["-e", field]));
        let text = tshark::run(&self.file, &arguments);
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn up(test: &str) -> Option<Guarded> {
    if !has_tool(test, "tshark") {
        return None;
    }
    Guarded::up(test)
}

/// An honest session, and a command that is refused with an exception of the box's own.
fn talk(cell: &Guarded) {
    cell.assert_honest_session();
    let mut odd = cell.connect(502);
    assert_eq!(odd.ask(&forbidden(), 9), refusal());
}

#[test]
fn wireshark_shows_what_passed_and_what_did_not_and_why() {
    let Some(cell) = up("wireshark_shows_what_passed_and_what_did_not_and_why") else { return };
    let mut all = Capture::start(&cell, "all", &[]);
    let mut dropped = Capture::start(&cell, "dropped", &["--only", "dropped", "--snap", "60"]);
    talk(&cell);
    use std::io::{Read, Write};
    let mut panel = cell.honest(29999);
    panel.write_all(b"robotmode\n").unwrap();
    let mut answer = [0; 4];
    let _ = panel.read(&mut answer).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let said = all.end();
    assert!(said.contains("packets captured, 0 lost"), "{said}");
    dropped.end();

    let interfaces = tshark::run(&all.file, &["-T", "fields", "-e", "frame.interface_name"]);
    for (name, least) in [("plant", 10), ("robot", 8), ("plant.dropped", 1)] {
        let count = interfaces.lines().filter(|line| *line == name).count();
        assert!(count >= least, "{count} packets on {name}");
    }
    // The write that passed, as it came in, and its answer: once each.
    let fields = ["frame.interface_name", "frame.comment", "frame.packet_flags_direction"];
    let passed = all.packets("modbus.func_code == 6 && modbus.reference_num == 128", &fields);
    assert_eq!(passed, [["plant", "", "0x00000001"], ["robot", "", "0x00000001"]]);
    // The write that did not.
    let fields =
        ["frame.interface_name", "frame.comment", "frame.verdict.hw", "frame.packet_id", "modbus.reference_num"];
    for capture in [&all, &dropped] {
        let refused = capture.packets("frame.interface_name contains \"dropped\" && tcp.dstport == 502", &fields);
        let [interface, comment, verdict, id, register] = &refused[0][..] else { panic!("{refused:?}") };
        assert_eq!((interface.as_str(), refused.len()), ("plant.dropped", 1), "{refused:?}");
        assert!(comment.contains("odd (10.20.0.22)") && comment.contains("refused"), "{comment}");
        assert!(capture.file != all.file || register == "3", "{refused:?}");
        let event = cell.vambrace.events().into_iter().find(|event| event["event_type"] == "alert").unwrap();
        let context = &event["alert"]["context"];
        assert_eq!(verdict.replace(" ", ""), support::guarded::hex(context["reason"].as_str().unwrap().as_bytes()));
        let id = id.trim_start_matches("0x");
        assert_eq!(u64::from_str_radix(id, 16).ok(), context["event_id"].as_u64(), "{refused:?}");
    }
    // The exception that the box made, on the port that it left by.
    let fields = ["frame.interface_name", "frame.comment", "frame.packet_flags_direction"];
    let made = all.packets("modbus.exception_code == 2", &fields);
    assert_eq!(made, [["plant", "Made by the box.", "0x00000002"]]);
    // The dissectors in Lua read the live capture as any other.
    assert_eq!(all.packets("urdash.command", &["urdash.command"]), [["robotmode"]]);
    // Only what was refused, cut as asked.
    let lengths = dropped.packets("frame", &["frame.interface_name", "frame.cap_len"]);
    assert!(
        lengths.iter().all(|row| row[0].ends_with(".dropped") && row[1].parse::<u32>().unwrap() <= 60),
        "{lengths:?}"
    );
}

#[test]
fn readers_come_and_go_and_the_wire_does_not_notice() {
    let Some(cell) = up("readers_come_and_go_and_the_wire_does_not_notice") else { return };
    let mut stays = Capture::start(&cell, "stays", &[]);
    let goes = Capture::start(&cell, "goes", &[]);
    // One that never reads: its pipe fills up, and it loses packets.
    let mut command = Command::new(support::vambrace());
    command.arg("--socket").arg(cell.vambrace.directory().join("control.sock")).args(["capture", "-"]);
    let mut never_reads = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    talk(&cell);
    goes.send(Signal::KILL);
    drop(goes);
    for _ in 0..20 {
        cell.assert_honest_session();
    }
    drop(never_reads.stdout.take());
    talk(&cell);
    // Who is no longer read ends by itself, with the next packets at the latest.
    let deadline = Instant::now() + Duration::from_secs(10);
    while never_reads.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it did not notice that nobody reads");
        cell.assert_honest_session();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(never_reads.wait().unwrap().code(), Some(0));
    std::thread::sleep(Duration::from_millis(300));
    stays.end();
    let writes = stays.packets("frame.interface_name == \"plant\" && modbus.reference_num == 128", &["tcp.srcport"]);
    assert!(writes.len() >= 22, "{}", writes.len());
    let refused = stays.packets("frame.interface_name == \"plant.dropped\" && tcp.dstport == 502", &["frame.number"]);
    assert_eq!(refused.len(), 2);
}

#[test]
fn a_capture_outlives_the_packet_process() {
    let Some(cell) = up("a_capture_outlives_the_packet_process") else { return };
    let mut capture = Capture::start(&cell, "restart", &[]);
    talk(&cell);
    std::thread::sleep(Duration::from_millis(1500));
    let before = capture.len();
    cell.vambrace.kill_packet_process();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !capture.log().contains("waiting for it to come back") {
        assert!(Instant::now() < deadline, "{}", capture.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    // It is there again within the second.
    let deadline = Instant::now() + Duration::from_secs(10);
    while capture.len() == before {
        assert!(Instant::now() < deadline, "{}", capture.log());
        cell.assert_honest_session();
        std::thread::sleep(Duration::from_millis(100));
    }
    cell.assert_honest_session();
    std::thread::sleep(Duration::from_millis(300));
    capture.end();
    let writes = capture.packets("frame.interface_name == \"plant\" && modbus.reference_num == 128", &["tcp.srcport"]);
    assert!(writes.len() >= 2, "{writes:?}");
    // One section: readers of a pipe take no second one.
    let bytes = std::fs::read(&capture.file).unwrap();
    let headers =
        bytes.windows(8).filter(|bytes| bytes[..4] == [0x0a, 0x0d, 0x0d, 0x0a] && bytes[6..] == [0, 0]).count();
    assert_eq!(headers, 1);
}

#[test]
fn a_capture_ends_in_time_and_says_what_is_wrong_in_one_line() {
    let Some(cell) = up("a_capture_ends_in_time_and_says_what_is_wrong_in_one_line") else { return };
    let begun = Instant::now();
    let file = cell.vambrace.directory().join("two.pcapng");
    let output = cell.vambrace.ask(&["capture", "--for", "2s", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(5), "{took:?}");
    for (arguments, code) in [
        (vec!["capture", "--snap", "0", "-"], 2),
        (vec!["capture", "--only", "passed", "-"], 2),
        (vec!["capture", "/no/such/folder/x.pcapng"], 1),
        (vec!["capture"], 2),
    ] {
        let output = cell.vambrace.ask(&arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty());
    }
    let mut command = Command::new(support::vambrace());
    let output = command.args(["--socket", "/no/such.sock", "capture", "-"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("is `vambrace run` running?"), "{said}");
}

/// tshark with an extcap folder that holds nothing but ours, under its name: mounted over the installed one, where nobody
/// else sees it.
fn with_extcap(folder: &Path) -> Command {
    std::fs::create_dir_all(folder).unwrap();
    let link = folder.join("vambrace-extcap");
    if !link.exists() {
        std::os::unix::fs::symlink(support::vambrace(), link).unwrap();
    }
    let folders = Command::new("tshark").args(["-G", "folders"]).output().unwrap();
    let folders = String::from_utf8(folders.stdout).unwrap();
    let installed = folders.lines().find_map(|line| line.strip_prefix("Extcap path:")).unwrap().trim();
    let script = "mount --bind \"$0\" \"$1\" && shift && exec tshark \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(folder).arg(installed);
    command.env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command
}

#[test]
fn wireshark_captures_through_extcap() {
    let Some(cell) = up("wireshark_captures_through_extcap") else { return };
    if !["dumpcap", "unshare"].iter().all(|tool| has_tool("wireshark_captures_through_extcap", tool)) {
        return;
    }
    let folder = cell.vambrace.directory().join("extcap");
    let list = with_extcap(&folder).arg("-D").output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("vambrace (Vambrace: the robot's wire, with verdicts)"), "{list}");
    let types = with_extcap(&folder).args(["-i", "vambrace", "-L"]).output().unwrap();
    let types = format!("{}{}", String::from_utf8_lossy(&types.stdout), String::from_utf8_lossy(&types.stderr));
    assert!(types.contains("EN10MB"), "{types}");
    let socket = cell.vambrace.directory().join("control.sock");
    let file = cell.vambrace.directory().join("extcap.pcapng");
    let mut command = with_extcap(&folder);
    command.args(["-i", "vambrace", "-o"]).arg(format!("extcap.vambrace.controlsocket:{}", socket.display()));
    command.args(["-a", "duration:12", "-c", "30", "-w"]).arg(&file);
    let log = cell.vambrace.directory().join("extcap.log");
    let mut tshark = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while tshark.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
        talk(&cell);
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(tshark.wait().unwrap().success(), "{said}");
    let fields = ["-T", "fields", "-E", "separator=|", "-e", "frame.interface_name", "-e", "frame.comment"];
    let shown = tshark::run(&file, &fields);
    assert!(shown.lines().count() >= 30, "{said}\n{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("plant.dropped|") && line.contains("refused")),
        "{said}\n{shown}"
    );
}
