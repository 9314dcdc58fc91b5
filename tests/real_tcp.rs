//! Linux TCP at both ends of the running, enforcing box: refused commands among thousands over cables that lose and
//! reorder, how soon a refusal is answered, and programs larger than a sender has in flight.

#![cfg(feature = "lab")]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::adversary::{ROBOT, ROBOT_MAC};
use support::can_make_namespaces;
use support::guarded::{Guarded, PLC, PLC_MAC, Vambrace, address};
use support::modbus_load as load;
use support::netns::Netns;
use support::wire::{PLANT, PLANT_SIDE, ROBOT as ROBOT_PORT, ROBOT_SIDE};

/// Longer than any retransmission back-off at these rates; an exchange that takes it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bad cable between two interfaces of a namespace of its own.
struct BadCable {
    child: Child,
    out: BufReader<ChildStdout>,
    _space: Netns,
}

impl BadCable {
    /// Joins a port of each namespace.
    fn between(ends: [(&Netns, &str); 2], options: &str, seed: usize) -> Self {
        let space = Netns::new("bad");
        for ((end, port), own) in ends.into_iter().zip(["from_plant", "to_robot"]) {
            end.join(port, &space, own, 1508);
        }
        let mut command = space.command(support::vambrace());
        let words = format!("lab impair --plant from_plant --robot to_robot --seed {seed} {options}");
        let mut child = command.args(words.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(first.contains("are joined"), "{first}");
        Self { child, out, _space: space }
    }

    /// Ends it; frames lost and overtaken.
    fn stop(mut self) -> [u64; 2] {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let mut text = String::new();
        self.out.read_to_string(&mut text).unwrap();
        let count = |what: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_suffix(what)).unwrap_or("0");
            line.trim().parse().unwrap()
        };
        [count("lost"), count("overtaken")]
    }
}

impl Drop for BadCable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Client, box and server, each in a namespace of its own, with cables as asked.
struct Line {
    client: Netns,
    server: Netns,
    cables: Vec<BadCable>,
    vambrace: Vambrace,
    _inside: Netns,
}

impl Line {
    /// The options of `lab impair` for the cable on either side; good ones where there are none.
    fn up(test: &str, options: [Option<&str>; 2]) -> Option<Self> {
        if !can_make_namespaces(test) {
            return None;
        }
        let (client, inside, server) = (Netns::new("rtc"), Netns::new("rtb"), Netns::new("rts"));
        let mut cables = Vec::new();
        for (at, (outside, own)) in
            [((&client, PLANT_SIDE), (&inside, PLANT)), ((&server, ROBOT_SIDE), (&inside, ROBOT_PORT))]
                .into_iter()
                .enumerate()
        {
            match options[at] {
                Some(options) => cables.push(BadCable::between([outside, own], options, 7 + at)),
                None => outside.0.join(outside.1, own.0, own.1, 1508),
            }
        }
        address(&client, PLANT_SIDE, PLC, PLC_MAC);
        address(&server, ROBOT_SIDE, ROBOT, ROBOT_MAC);
        let vambrace = Vambrace::start(&inside, test, "enforce", load::POLICY);
        Some(Self { client, server, cables, vambrace, _inside: inside })
    }

    /// A Modbus server of one connection; ends with what it received when the client closes.
    fn serve(&self) -> JoinHandle<Vec<u8>> {
        let listener = self.server.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, load::PORT)).unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut received, mut answered) = (Vec::new(), 0);
            let mut buffer = [0; 4096];
            loop {
                let len = stream.read(&mut buffer).expect("the server's connection was reset");
                if len == 0 {
                    return received;
                }
                received.extend_from_slice(&buffer[..len]);
                while let Some(len) = load::unit_len(&received[answered..]) {
                    let answer = load::answer(&received[answered..answered + len]);
                    answered += len;
                    stream.write_all(&answer).unwrap();
                }
            }
        })
    }

    fn connect(&self) -> TcpStream {
        let to = SocketAddr::from((ROBOT, load::PORT));
        let stream = self.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// Request `n` and its answer; every tenth is refused.
fn exchange(n: u32) -> (Vec<u8>, Vec<u8>, bool) {
    if n % 10 == 9 {
        let (request, code) = load::forbidden(n / 10);
        // Its own transaction, so that an answer out of its place is seen.
        let request = [&u16::try_from(n).unwrap().to_be_bytes()[..], &request[2..]].concat();
        let answer = load::exception(&request, code);
        (request, answer, false)
    } else {
        let request = load::allowed(n);
        let answer = load::answer(&request);
        (request, answer, true)
    }
}

/// `VAMBRACE_EXCHANGES` makes a run longer: `tests/long/real_tcp` takes 20,000.
fn exchanges(unless_told: u32) -> u32 {
    std::env::var("VAMBRACE_EXCHANGES").ok().map_or(unless_told, |text| text.parse().unwrap())
}

/// Why the box refused what it refused, for a message.
fn reasons(vambrace: &Vambrace) -> String {
    std::thread::sleep(Duration::from_millis(500));
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for event in vambrace.events() {
        let what = &event["alert"]["context"];
        if let Some(reason) = what["reason"].as_str() {
            *counts.entry(format!("{reason} ({})", what["action"].as_str().unwrap_or("frame"))).or_default() += 1;
        }
    }
    format!("the box refused {counts:?}")
}

/// Each request is answered in its turn, byte for byte; the server gets the allowed ones and nothing else; the connection
/// ends with a FIN at either end.
fn every_exchange_is_right(test: &str, options: [Option<&str>; 2], in_flight: usize, count: u32) {
    let Some(mut line) = Line::up(test, options) else { return };
    let server = line.serve();
    let mut stream = line.connect();
    let begun = Instant::now();
    let mut awaited: VecDeque<Vec<u8>> = VecDeque::new();
    let (mut arrives, mut next, mut slowest) = (Vec::new(), 0, Duration::ZERO);
    for n in 0..count {
        while next < count && awaited.len() < in_flight {
            let (request, answer, is_allowed) = exchange(next);
            stream.write_all(&request).unwrap_or_else(|error| panic!("request {next}: {error}"));
            awaited.push_back(answer);
            if is_allowed {
                arrives.extend(request);
            }
            next += 1;
        }
        let wanted = awaited.pop_front().unwrap();
        let mut answer = vec![0; wanted.len()];
        let asked = Instant::now();
        stream
            .read_exact(&mut answer)
            .unwrap_or_else(|error| panic!("answer {n}: {error}; {}", reasons(&line.vambrace)));
        slowest = slowest.max(asked.elapsed());
        assert_eq!(answer, wanted, "answer {n}");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the client's connection was reset");
    assert_eq!(rest, b"", "more than the answers");
    assert!(server.join().unwrap() == arrives, "the server got other bytes than the allowed requests");
    let faults: Vec<[u64; 2]> = line.cables.drain(..).map(BadCable::stop).collect();
    println!(
        "{count} exchanges, {} refused, {in_flight} in flight, {:.1} s, slowest {:.2} s, lost and overtaken {faults:?}",
        count / 10,
        begun.elapsed().as_secs_f64(),
        slowest.as_secs_f64()
    );
    assert!(faults.iter().all(|[lost, overtaken]| *lost > 0 && *overtaken > 0), "{faults:?}");
    assert!(!line.vambrace.events().is_empty());
}

#[test]
fn the_session_stands_over_a_bad_cable() {
    let name = "the_session_stands_over_a_bad_cable";
    every_exchange_is_right(name, [Some("--loss 2% --reorder 2%"), None], 1, exchanges(500));
}

#[test]
fn the_session_stands_between_bad_cables() {
    let name = "the_session_stands_between_bad_cables";
    let bad = Some("--loss 3% --reorder 3% --delay 100us --jitter 100us");
    every_exchange_is_right(name, [bad, bad], 4, exchanges(600));
}

/// Median and 99th percentile in microseconds.
fn figures(mut times: Vec<Duration>) -> [u128; 2] {
    times.sort();
    [times.len() / 2, times.len() * 99 / 100].map(|at| times[at].as_micros())
}

#[test]
fn a_refusal_takes_a_millisecond_at_most() {
    let Some(line) = Line::up("a_refusal_takes_a_millisecond_at_most", [None, None]) else { return };
    let server = line.serve();
    let mut stream = line.connect();
    let mut times = [Vec::new(), Vec::new()];
    // The first refusal splices the connection; the figures are those of its daily life.
    for n in 0..2_100 {
        let (request, wanted) = if n % 2 == 0 {
            let request = load::allowed(n);
            let answer = load::answer(&request);
            (request, answer)
        } else {
            let (request, code) = load::forbidden(n);
            let answer = load::exception(&request, code);
            (request, answer)
        };
        let mut answer = vec![0; wanted.len()];
        let asked = Instant::now();
        stream.write_all(&request).unwrap();
        stream.read_exact(&mut answer).unwrap();
        let took = asked.elapsed();
        assert_eq!(answer, wanted);
        if n >= 100 {
            times[n as usize % 2].push(took);
        }
    }
    drop(stream);
    server.join().unwrap();
    let [allowed, refused] = times.map(figures);
    let text = |[median, p99]: [u128; 2]| format!("median {median} us, 99th percentile {p99} us");
    println!("a refused command is answered: {}; an allowed one by the server: {}", text(refused), text(allowed));
    // A build without optimization, between the other tests of a loaded machine, has a figure of its own.
    let most = if std::env::var_os("VAMBRACE_BINARY").is_some() { 1_000 } else { 10_000 };
    assert!(refused[0] < most, "{} us", refused[0]);
}

/// A program of `len` bytes or a little more.
fn program(len: usize, last: &str) -> Vec<u8> {
    let mut text = String::from("def work():\n");
    for at in 0.. {
        if text.len() + last.len() >= len {
            break;
        }
        text += &format!("  textmsg(\"line {at} of a program that fills many segments\")\n");
    }
    (text + last + "end\n").into_bytes()
}

/// A kernel sends 10 segments at first, and no more until one is acknowledged: who holds a program back until it is
/// whole has to acknowledge it, and of a refused one must not let go a byte.
#[test]
fn a_program_arrives_whole_or_not_at_all() {
    let name = "a_program_arrives_whole_or_not_at_all";
    let Some(cell) = Guarded::up(name) else { return };
    for (port, len) in [(30_001, 48 << 10), (30_002, 48 << 10), (30_001, 1_000_000), (30_002, 1_000_000)] {
        let [allowed, refused] = ["", "  set_digital_out(0,True)\n"].map(|last| program(len, last));
        let mark = cell.cable.mark();
        let mut stream = cell.honest(port);
        let client = stream.local_addr().unwrap().port();
        let begun = Instant::now();
        stream.write_all(&refused).unwrap_or_else(|error| panic!("{len} bytes to {port}, refused: {error}"));
        let own = |event: &serde_json::Value| event["src_port"] == client;
        let is_refusal = |event: &serde_json::Value| support::guarded::reason(event) == Some("command_not_allowed");
        while !cell.vambrace.events().iter().any(|event| own(event) && is_refusal(event)) {
            assert!(begun.elapsed() < PATIENCE, "{len} bytes to {port}: no record of the refusal");
            std::thread::sleep(Duration::from_millis(20));
        }
        let told = begun.elapsed();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(cell.robot.received(client).len(), 0, "{len} bytes to {port}: of a refused program");
        let on_cable: usize = cell
            .cable
            .since(mark)
            .iter()
            .filter_map(|seen| seen.tcp().filter(|tcp| tcp.source_port == client).map(|tcp| tcp.payload.len()))
            .sum();
        assert_eq!(on_cable, 0, "{len} bytes to {port}: on the cable of a refused program");
        // The same connection goes on: the program was cut out.
        let begun = Instant::now();
        stream.write_all(&allowed).unwrap_or_else(|error| panic!("{len} bytes to {port}, allowed: {error}"));
        while cell.robot.received(client).len() < allowed.len() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = begun.elapsed();
        assert!(cell.robot.received(client) == allowed, "{len} bytes to {port}: not the program");
        println!("{len} bytes to {port}: refused after {told:.1?}, 0 bytes arrived; allowed: whole after {took:.1?}");
    }
}
