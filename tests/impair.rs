//! The bad cable of the lab between two namespaces: a transfer arrives byte for byte, and the faults were really there.

#![cfg(feature = "lab")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use support::can_make_namespaces;
use support::netns::Netns;

/// `client ── bridge ── server`, each a namespace.
struct Line {
    client: Netns,
    server: Netns,
    bridge: Netns,
}

impl Line {
    fn new(tag: &str) -> Self {
        let line = Self {
            client: Netns::new(&format!("{tag}-c")),
            server: Netns::new(&format!("{tag}-s")),
            bridge: Netns::new(&format!("{tag}-b")),
        };
        line.client.join("eth0", &line.bridge, "plant", 1500);
        line.server.join("eth0", &line.bridge, "robot", 1500);
        line.client.run(&["ip", "addr", "add", "10.9.0.1/24", "dev", "eth0"]);
        line.server.run(&["ip", "addr", "add", "10.9.0.2/24", "dev", "eth0"]);
        line
    }

    fn start(&self, options: &str) -> Impair {
        let mut command = self.bridge.command(env!("CARGO_BIN_EXE_vambrace"));
        command.args("lab impair --plant plant --robot robot --seed 7".split(' ').chain(options.split_whitespace()));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(first.contains("are joined"), "{first}");
        Impair { child, out }
    }

    /// Sends 1 MiB and gets it back, byte for byte.
    fn transfer(&self) {
        let data: Vec<u8> = (0..1_u32 << 18).flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let listener = self.server.enter(|| TcpListener::bind("10.9.0.2:7000").unwrap());
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                stream.write_all(&received).unwrap();
                received
            });
            let mut stream = self.client.enter(|| TcpStream::connect("10.9.0.2:7000").unwrap());
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream.write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert!(server.join().unwrap() == data, "what arrived differs");
            assert!(back == data, "what came back differs");
        });
    }
}

struct Impair {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Impair {
    /// Ends it as Ctrl-C does and reads what it printed.
    fn stop(mut self) -> String {
        // `ip netns exec` becomes the program, so the signal reaches it.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "{text}");
        text
    }
}

impl Drop for Impair {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// The number before a word of the summary.
fn count(text: &str, what: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim().strip_suffix(what)).unwrap_or_else(|| panic!("{what}: {text}"));
    line.trim().parse().unwrap()
}

/// Frames that came in, both ways.
fn offered(text: &str) -> u64 {
    let of = |line: &str| line.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    text.lines().filter(|line| line.starts_with("toward the")).filter_map(of).sum()
}

#[test]
fn a_transfer_survives_loss_and_reordering_byte_for_byte() {
    if !can_make_namespaces("a_transfer_survives_loss_and_reordering_byte_for_byte") {
        return;
    }
    let line = Line::new("loss");
    let cable = line.start("--loss 5% --reorder 5%");
    line.transfer();
    let text = cable.stop();
    let share = |what| count(&text, what) as f64 / offered(&text) as f64;
    assert!(offered(&text) > 1_400, "{text}");
    assert!((0.02..0.09).contains(&share("lost")), "{text}");
    assert!((0.005..0.09).contains(&share("overtaken")), "{text}");
    assert_eq!(count(&text, "damaged") + count(&text, "doubled"), 0, "{text}");
    assert!(!text.contains("unasked") && !text.contains("checksum"), "{text}");
}

#[test]
fn a_transfer_survives_every_fault_at_once() {
    if !can_make_namespaces("a_transfer_survives_every_fault_at_once") {
        return;
    }
    let line = Line::new("all");
    let cable = line.start(
        "--loss 1% --reorder 2% --duplicate 2% --corrupt 1% --split 5% --merge 5% --fragment 5% --delay 200us --jitter 100us",
    );
    line.transfer();
    let text = cable.stop();
    for what in ["lost", "overtaken", "doubled", "damaged", "split in two segments", "cut in two fragments"] {
        assert!(count(&text, what) > 0, "{what}: {text}");
    }
}

#[test]
fn bad_input_is_one_line_with_what_to_do() {
    for (options, code, wanted) in [
        ("--plant lo --robot lo", 1, "--plant and --robot are both lo; a cable has two ends"),
        ("--plant nowhere0 --robot nowhere1", 1, "port nowhere0 is gone; check the cable"),
        ("--plant a --robot b --loss 101%", 2, "\"101%\" is no share of frames; write a percentage"),
        ("--plant a --robot b --delay 5", 2, "\"5\" is no time up to a minute; write 500us, 2ms or 1s"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
        let output = command.args(["lab", "impair"]).args(options.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{options}: {text}");
        assert!(text.lines().next().is_some_and(|line| line.contains(wanted)), "{options}: {text}");
    }
}
