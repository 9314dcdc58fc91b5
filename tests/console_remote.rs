//! Evidence and live captures of a box far away: over real certificates, from a real box, read by Wireshark and by a
//! stranger; interrupted, slow, and by people who may not.

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

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::console::{Ending, Folder, as_user, free, keygen, said, start, wait_for};
use support::guarded::{Guarded, forbidden, refusal, write_register};
use support::has_tool;
use support::raw::RawSocket;
use support::wire::PLANT_SIDE;
use vambrace::control::{Client, RemoteBox, Request, Response};

/// A guarded cell, and its management process with a user of every role, named after it.
struct Afar {
    console: Option<Ending>,
    cell: Guarded,
    folder: Folder,
    remote: SocketAddr,
}

impl Afar {
    fn up(test: &str) -> Option<Self> {
        let cell = Guarded::up(test)?;
        let folder = Folder::new(&format!("afar-{test:.20}"));
        keygen(&folder, &["ca"]);
        keygen(&folder, &["box", "127.0.0.1"]);
        let roles = ["viewer", "auditor", "operator", "engineer"];
        let users = roles.map(|role| keygen(&folder, &["user", role, "--role", role])).concat();
        let (remote, own) = (free(), folder.0.display());
        let text = std::fs::read_to_string(cell.vambrace.directory().join("vambrace.toml")).unwrap();
        let console = format!(
            "{text}[console]\ndirectory = \"{own}/console\"\nlisten = \"{remote}\"\n\
             certificate = \"{own}/keys/box.pem\"\nkey = \"{own}/keys/box.key\"\nclient_ca = \"{own}/keys/ca.pem\"\n{users}"
        );
        let config = folder.file("console.toml");
        std::fs::write(&config, console).unwrap();
        let console = start(&folder, &["console"], &config, "console.log");
        wait_for("the remote API", || TcpStream::connect(remote).is_ok());
        Some(Self { console: Some(console), cell, folder, remote })
    }

    fn ask(&self, user: &str, args: &[&str]) -> Output {
        as_user(&self.folder, self.remote, user, args).output().unwrap()
    }

    fn client(&self, user: &str) -> Client {
        let key = |name: &str| self.folder.file("keys").join(name);
        let (certificate, key_file) = (key(&format!("{user}.pem")), key(&format!("{user}.key")));
        let remote = RemoteBox { address: self.remote.to_string(), certificate, key: key_file, ca: key("ca.pem") };
        Client::connect_remote(&remote).unwrap()
    }

    /// Frames of 1.4 kB toward the robot that the box refuses and records with their bytes.
    fn flood(&self, frames: u32) {
        let socket = self.cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
        for n in 0..frames {
            let mut frame = [&[0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[0x5a; 1386]].concat();
            frame[20..24].copy_from_slice(&n.to_be_bytes());
            let _ = socket.send(&frame);
            if n % 64 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Waits until something that was asked for is in the records; how often.
    fn recorded(&self, parts: &[&str]) -> usize {
        let count = || {
            let events = self.cell.vambrace.events();
            events.iter().map(ToString::to_string).filter(|line| parts.iter().all(|part| line.contains(part))).count()
        };
        wait_for(&format!("a record of {parts:?}"), || count() > 0);
        count()
    }
}

/// A capture over the remote API into a file.
struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    fn start(afar: &Afar, user: &str, name: &str, args: &[&str]) -> Self {
        let file = afar.folder.file(name);
        let mut command = as_user(&afar.folder, afar.remote, user, &["capture"]);
        command.args(args).arg(&file).stderr(std::fs::File::create(file.with_extension("log")).unwrap());
        let capture = Self { process: command.spawn().unwrap(), file };
        wait_for("its first bytes", || std::fs::metadata(&capture.file).is_ok_and(|meta| meta.len() > 0));
        capture
    }

    fn end(&mut self) -> String {
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
        let code = self.process.wait().unwrap().code();
        let log = std::fs::read_to_string(self.file.with_extension("log")).unwrap();
        assert_eq!(code, Some(0), "{log}");
        log.lines().last().unwrap_or_default().to_owned()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn wireshark_reads_a_capture_from_afar() {
    const NAME: &str = "wireshark_reads_a_capture_from_afar";
    if !has_tool(NAME, "tshark") {
        return;
    }
    let Some(afar) = Afar::up(NAME) else { return };
    let mut all = Capture::start(&afar, "engineer", "all.pcapng", &[]);
    let mut dropped = Capture::start(&afar, "engineer", "dropped.pcapng", &["--only", "dropped"]);
    // Those at the box have room still, those far away have not.
    let (code, text) = said(&afar.ask("engineer", &["capture", "-"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2 captures from afar run already; end one first") && text.lines().count() == 1, "{text}");
    let local = afar.cell.vambrace.directory().join("local.pcapng");
    let output = afar.cell.vambrace.ask(&["capture", "--for", "1s", local.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    afar.cell.assert_honest_session();
    let mut odd = afar.cell.connect(502);
    assert_eq!(odd.ask(&forbidden(), 9), refusal());
    std::thread::sleep(Duration::from_millis(500));
    let last = all.end();
    assert!(last.contains("packets captured, 0 lost"), "{last}");
    dropped.end();
    let shown = |file: &Path, filter: &str, fields: &[&str]| {
        let mut arguments = vec!["-Y", filter, "-T", "fields", "-E", "separator=|"];
        fields.iter().for_each(|field| arguments.extend(["-e", field]));
        tshark::run(file, &arguments)
    };
    let passed = shown(&all.file, "modbus.func_code == 6 && modbus.reference_num == 128", &["frame.interface_name"]);
    assert_eq!(passed.lines().collect::<Vec<_>>(), ["plant", "robot"]);
    for capture in [&all, &dropped] {
        let filter = "frame.interface_name == \"plant.dropped\" && tcp.dstport == 502";
        let refused = shown(&capture.file, filter, &["frame.comment"]);
        assert!(refused.contains("odd (10.20.0.22)") && refused.lines().count() == 1, "{refused}");
    }
    assert_eq!(shown(&dropped.file, "frame.interface_name == \"robot\"", &["frame.number"]), "");
    // Who captured, and how much was handed over, is in the records.
    afar.recorded(&["\"user\":\"engineer\"", "\"request\":\"capture\"", "\"answer\":\"done\""]);
    afar.recorded(&["\"user\":\"engineer\"", "\"request\":\"capture of refused frames\""]);
    afar.recorded(&["\"user\":\"engineer\"", "\"request\":\"capture: ", " bytes\""]);
    afar.recorded(&["\"user\":\"engineer\"", "\"answer\":\"denied\"", "2 captures from afar"]);
    for user in ["viewer", "auditor", "operator"] {
        let (code, text) = said(&afar.ask(user, &["capture", "-"]));
        assert_eq!((code, text.contains("this takes the role engineer")), (Some(1), true), "{text}");
        afar.recorded(&[&format!("\"user\":\"{user}\""), "\"request\":\"capture\"", "\"answer\":\"denied\""]);
    }
}

#[test]
fn a_capture_from_afar_outlives_the_packet_process() {
    let Some(afar) = Afar::up("a_capture_from_afar_outlives_the_packet_process") else { return };
    let mut capture = Capture::start(&afar, "engineer", "restart.pcapng", &[]);
    let log = capture.file.with_extension("log");
    afar.cell.assert_honest_session();
    std::thread::sleep(Duration::from_millis(500));
    let before = std::fs::metadata(&capture.file).unwrap().len();
    afar.cell.vambrace.kill_packet_process();
    wait_for("word of it", || std::fs::read_to_string(&log).unwrap().contains("waiting for it to come back"));
    wait_for("more", || {
        afar.cell.assert_honest_session();
        std::fs::metadata(&capture.file).unwrap().len() > before
    });
    let last = capture.end();
    assert!(last.contains("packets captured"), "{last}");
    let bytes = std::fs::read(&capture.file).unwrap();
    let sections = bytes.windows(4).filter(|bytes| *bytes == [0x0a, 0x0d, 0x0d, 0x0a]).count();
    assert_eq!(sections, 1, "one file, one section");
}

#[test]
fn a_slow_reader_from_afar_loses_packets_and_is_told_how_many() {
    let Some(afar) = Afar::up("a_slow_reader_from_afar_loses_packets_and_is_told_how_many") else { return };
    let mut command = as_user(&afar.folder, afar.remote, "engineer", &["capture", "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut out = process.stdout.take().unwrap();
    let mut first = [0; 28];
    out.read_exact(&mut first).unwrap();
    // More than the pipe, both ends' sockets and the box's buffer hold together.
    afar.flood(30_000);
    // Nobody else notices.
    afar.cell.assert_honest_session();
    let (code, text) = said(&afar.ask("viewer", &["status"]));
    assert!(matches!(code, Some(0 | 10)), "{text}");
    // It wakes up and reads; then it ends in order.
    let reading = std::thread::spawn(move || {
        let mut bytes = first.to_vec();
        out.read_to_end(&mut bytes).unwrap();
        bytes
    });
    std::thread::sleep(Duration::from_secs(4));
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    let output = process.wait_with_output().unwrap();
    let bytes = reading.join().unwrap();
    let last = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
    let lost = last.split(", ").find_map(|part| part.strip_suffix(" lost")).unwrap_or_else(|| panic!("{last}"));
    assert!(lost.parse::<u64>().unwrap() > 100, "{last}");
    assert!(output.status.success() && bytes.len() > 1 << 20, "{} bytes", bytes.len());
}

/// Passes a number of bytes of the box's on, and closes.
fn cut_after(bytes: u64, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(to).unwrap();
        let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut into));
        let _ = std::io::copy(&mut (&server).take(bytes), &mut &client);
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = server.shutdown(std::net::Shutdown::Both);
    });
    address
}

#[test]
fn evidence_from_afar_is_evidence() {
    let Some(mut afar) = Afar::up("evidence_from_afar_is_evidence") else { return };
    let key = afar.folder.file("pinned.pub");
    std::fs::copy(afar.cell.vambrace.directory().join("records/evidence.pub"), &key).unwrap();
    let key = key.to_str().unwrap();
    afar.cell.assert_honest_session();
    let mut odd = afar.cell.connect(502);
    for value in 0..1500 {
        odd.ask(&write_register(3, value), 9);
    }
    let segment = afar.cell.vambrace.directory().join("records/evidence-00000001.pcapng");
    wait_for("some evidence", || std::fs::metadata(&segment).is_ok_and(|meta| meta.len() > 900_000));
    std::thread::sleep(Duration::from_millis(1500));

    // Cut off in the middle: no file under the name, one line that says what to do, and what was fetched is kept.
    let bundle = afar.folder.file("bundle.tar");
    let parts = afar.folder.file("bundle.tar.parts");
    let export = ["evidence", "export", "-o", bundle.to_str().unwrap()];
    let proxy = cut_after(900_000, afar.remote);
    let (code, text) = said(&as_user(&afar.folder, proxy, "auditor", &export).output().unwrap());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the same command goes on with it") && text.lines().count() == 1, "{text}");
    assert!(!bundle.exists());
    let kept = std::fs::metadata(parts.join("evidence-00000001.pcapng")).unwrap().len();
    assert!(kept >= 512 << 10, "{kept}");
    // Something else lies there, and one that has the name of a segment that the box does not have.
    std::fs::write(parts.join("evidence-00000077.pcapng"), "x").unwrap();
    let (code, text) = said(&afar.ask("auditor", &export));
    assert_eq!(code, Some(0), "{text}");
    assert!(!parts.exists());
    // It went on where it was: the second time not all of it was fetched.
    wait_for("the second record", || afar.recorded(&["\"user\":\"auditor\"", "\"request\":\"evidence 1-1: "]) == 2);

    // A stranger with the file and the box's public key.
    let verify =
        |path: &Path| support::console::vambrace().args(["evidence", "verify"]).arg(path).args(["--key", key]).output();
    let (code, text) = said(&verify(&bundle).unwrap());
    assert_eq!((code, text.contains("sound")), (Some(0), true), "{text}");
    let (code, text) = said(&afar.ask("auditor", &export));
    assert_eq!((code, text.contains("is there already")), (Some(2), true), "{text}");
    // A folder of somebody's own under that name stays as it is.
    std::fs::remove_file(&bundle).unwrap();
    std::fs::create_dir_all(&parts).unwrap();
    std::fs::write(parts.join("thesis.txt"), "x").unwrap();
    let (code, text) = said(&afar.ask("auditor", &export));
    assert_eq!((code, text.contains("\"thesis.txt\" lies there")), (Some(1), true), "{text}");
    std::fs::remove_file(parts.join("thesis.txt")).unwrap();
    // What was fetched before and is not what the box has is fetched anew.
    std::fs::write(parts.join("evidence-00000001.pcapng"), vec![0x77; 100_000]).unwrap();
    let (code, text) = said(&afar.ask("engineer", &export));
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(said(&verify(&bundle).unwrap()).0, Some(0));

    // Listed and verified from afar as on the box.
    let (code, text) = said(&afar.ask("auditor", &["--json", "evidence", "list"]));
    assert_eq!((code, text.contains("\"number\":1")), (Some(0), true), "{text}");
    let (code, text) = said(&afar.ask("auditor", &["evidence", "verify", "--key", key]));
    assert_eq!(code, Some(0), "{text}");
    for user in ["viewer", "operator"] {
        for args in [&["evidence", "list"][..], &["evidence", "export", "-o", "/nonexistent/x.tar"]] {
            let (code, text) = said(&afar.ask(user, args));
            assert!(matches!(code, Some(1)), "{text}");
        }
        let (_, text) = said(&afar.ask(user, &["evidence", "list"]));
        assert!(text.contains("this takes the role auditor") && text.lines().count() == 1, "{text}");
        afar.recorded(&[&format!("\"user\":\"{user}\""), "\"request\":\"evidence\"", "\"answer\":\"denied\""]);
    }
    assert!(!Path::new("/nonexistent").exists(), "nothing is made for who may not, nor folders above");
    let (code, text) = said(&afar.ask("auditor", &["evidence", "export", "-o", "/nonexistent/x.tar"]));
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
    assert!(!Path::new("/nonexistent").exists());
    afar.recorded(&["\"user\":\"auditor\"", "\"request\":\"evidence\"", "\"answer\":\"done\""]);

    // Two may fetch at one time, and orders go on beside them.
    let mut held: Vec<Client> = ["auditor", "engineer"].map(|user| afar.client(user)).into();
    for client in &mut held {
        let answer = client.ask(&Request::EvidenceFiles { after: 0 }).unwrap();
        assert!(matches!(answer, Response::EvidenceFiles { .. }), "{answer:?}");
    }
    let (code, text) = said(&afar.ask("auditor", &["evidence", "list"]));
    assert_eq!((code, text.contains("2 connections already; try again later")), (Some(1), true), "{text}");
    assert_eq!(said(&afar.ask("operator", &["mode", "lockdown"])).0, Some(0));
    held.pop();
    wait_for("a free place", || afar.ask("auditor", &["evidence", "list"]).status.success());
    // Nothing but evidence, whatever the name.
    for name in ["evidence.key", "../vambrace.toml", "standing.json", "eve.json"] {
        let answer = held[0].ask(&Request::EvidencePart { file: name.into(), from: 0 }).unwrap();
        assert!(matches!(answer, Response::Failed { .. }), "{name}: {answer:?}");
    }
    // No box, no evidence: one line, code 5.
    afar.console = None;
    let (code, text) = said(&afar.ask("auditor", &["evidence", "list"]));
    assert_eq!((code, text.lines().count()), (Some(5), 1), "{text}");
}

#[test]
fn who_is_kept_out_stands_in_status() {
    let strict = format!(
        "{}[refusal]\nescalate = {{ refusals = 2, within = \"10s\", quarantine = \"5m\" }}\n",
        support::guarded::POLICY
    );
    let Some(cell) = Guarded::with_policy("who_is_kept_out_stands_in_status", &strict) else { return };
    let mut odd = cell.connect(502);
    assert_eq!(odd.ask(&forbidden(), 9), refusal());
    odd.send(&forbidden());
    let mut text = String::new();
    wait_for("the quarantine", || {
        text = said(&cell.vambrace.ask(&["--json", "status"])).1;
        text.contains("\"quarantine\":[")
    });
    assert!(
        text.contains("\"client\":\"odd\",\"address\":\"10.20.0.22\"") && text.contains("\"refusals\":2"),
        "{text}"
    );
    let (code, text) = said(&cell.vambrace.ask(&["status"]));
    assert!(text.contains("\nquarantine odd (10.20.0.22, ") && text.contains("after 2 refused commands"), "{text}");
    assert!(matches!(code, Some(0 | 10)), "{text}");
}

/// `vambrace top` on a terminal of its own; what it draws, as bytes.
struct Screen {
    script: Child,
    drawn: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(afar: &Afar, user: &str) -> Self {
        let top = as_user(&afar.folder, afar.remote, user, &["top"]);
        let words = std::iter::once(top.get_program()).chain(top.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        // It draws nothing on a terminal without a size.
        let command = format!("stty rows 40 columns 160; exec {}", words.join(" "));
        let mut script = std::process::Command::new("script");
        script.args(["-qefc", &command, "/dev/null"]).env("TERM", "xterm").env("XDG_CONFIG_HOME", "/nonexistent");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let drawn = std::sync::Arc::<std::sync::Mutex<Vec<u8>>>::default();
        let (own, mut from) = (std::sync::Arc::clone(&drawn), script.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                own.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { script, drawn }
    }

    /// Waits until words were drawn, in whatever places and colours; from here on only what comes later counts.
    fn shows(&self, words: &[&str]) {
        wait_for(&format!("{words:?} on the screen"), || {
            let text = String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned();
            words.iter().all(|word| text.contains(word))
        });
        self.drawn.lock().unwrap().clear();
    }

    fn press(&mut self, key: &str) {
        use std::io::Write;
        self.script.stdin.as_mut().unwrap().write_all(key.as_bytes()).unwrap();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn top_shows_a_box_far_away_while_it_is_there_and_when_it_is_gone() {
    const NAME: &str = "top_shows_a_box_far_away_while_it_is_there_and_when_it_is_gone";
    if !has_tool(NAME, "script") {
        return;
    }
    let Some(mut afar) = Afar::up(NAME) else { return };
    let mut screen = Screen::start(&afar, "viewer");
    screen.shows(&["enforce", "generation", "Wire"]);
    // What is refused meanwhile comes to the feed, over the console's own connection.
    screen.press("4");
    afar.flood(3);
    screen.shows(&["REFUSED", "ether_type_not_listed"]);
    // The console goes away: the last picture stays, and says so. It comes back: so does the live one.
    afar.console = None;
    screen.shows(&["REACHABLE"]);
    afar.console = Some(start(&afar.folder, &["console"], &afar.folder.file("console.toml"), "console.log"));
    screen.shows(&["generation"]);
    screen.press("q");
    wait_for("its end", || screen.script.try_wait().unwrap().is_some());
    assert_eq!(screen.script.wait().unwrap().code(), Some(0));
    // Who has no certificate of a user sees nothing but a line.
    let stranger = Screen::start(&afar, "box");
    wait_for("a refusal", || String::from_utf8_lossy(&stranger.drawn.lock().unwrap()).contains("vambrace: "));
}
